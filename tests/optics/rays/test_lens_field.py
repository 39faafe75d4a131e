"""Wavefronts, spots, heights and light of a lens over its field."""

import math

import lenses
import pytest
import torch

import optics
from optics.rays.lens_field import paths
from optics.rays.ray_aiming import _aim, _from_object, aimed, given_lens

_MICROMETRE = 1e-6


def _waves(surfaces, fields, micrometres, points):
    """y in the image, metres, and paths in waves, at points of the stop; the chief ray first."""
    lens = given_lens(surfaces, fields, [micrometres * _MICROMETRE], math.inf)
    found = aimed(lens, torch.tensor(points, dtype=torch.float64))
    assert found.lit.all()
    path = paths(lens, found, reference=None) / (micrometres * _MICROMETRE)
    return torch.cat((found.chief.position, found.rays.position), 2)[:, 0, :, 1], path[:, 0]


@pytest.mark.parametrize("name", ["cooke", "phone"])
def test_rays_and_paths_are_those_of_optiland(name):
    expected = lenses.COOKE_RAYS if name == "cooke" else lenses.PHONE_RAYS
    for micrometres in {w for w, _ in expected}:
        fields = [field for w, field in expected if w == micrometres]
        diameter = 10e-3 if name == "cooke" else 1.7e-3
        surfaces = lenses.filled(getattr(lenses, name)(micrometres), micrometres, diameter)
        angles = [math.radians(field) for field in fields]
        y, path = _waves(surfaces, angles, micrometres, lenses.POINTS)
        for number, field in enumerate(fields):
            heights, waves = (
                torch.tensor(part, dtype=torch.float64) for part in expected[micrometres, field]
            )
            torch.testing.assert_close(y[number] * 1e3, heights, rtol=0, atol=1e-9)
            torch.testing.assert_close(path[number], waves, rtol=0, atol=1e-6)


def test_distortion_is_that_of_optiland():
    surfaces = lenses.cooke()
    fields = [math.radians(angle) for angle in (0, 14, 20)]
    found = optics.lens_image(surfaces, fields=fields, wavelengths=[550e-9])
    chief = [lenses.COOKE_RAYS[0.55, field][0][0] for field in (0, 14, 20)]
    chief = torch.tensor(chief, dtype=torch.float64) * 1e-3
    torch.testing.assert_close(found.heights[:, 0], chief, rtol=0, atol=1e-12)
    # As its Distortion: of a real chief ray so near the axis that it has none. The image lies
    # 0.2 mm before the paraxial one, where the focal length of 49.99978 mm says 0.4 % more.
    tiny = optics.lens_image(surfaces, fields=[1e-6], wavelengths=[550e-9])
    scale = float(tiny.heights) / math.tan(1e-6)
    assert scale == pytest.approx(49.999783071431914e-3, rel=5e-3)
    ideal = scale * torch.tensor(fields, dtype=torch.float64).tan()
    torch.testing.assert_close(found.ideal, ideal, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.distortion[1:], (chief / ideal - 1)[1:], rtol=1e-6, atol=1e-9)
    assert float(found.distortion[0]) == 0


@pytest.mark.parametrize("object_distance", [math.inf, 1.0])
def test_an_image_beside_the_focus_has_another_size_and_no_distortion(object_distance):
    # A thin lens with its stop: chief rays go straight on, whatever the sensor's distance.
    thin = [
        optics.Surface(1 / 50e-3, 0.0, 1.5, 1e-3, stop=True),
        optics.Surface(-1 / 50e-3, 60e-3),
    ]
    field = [1e-5, 0.01]
    light = {"wavelengths": [550e-9], "object_distance": object_distance}
    found = optics.lens_image(thin, fields=field, **light)
    far = math.isinf(object_distance)
    straight = [60e-3 * (math.tan(each) if far else -each / object_distance) for each in field]
    assert found.ideal.tolist() == pytest.approx(straight, rel=1e-12)
    assert float(found.distortion.abs().max()) < 1e-4
    # In the paraxial image it is the focal length, or the magnification.
    first = optics.first_order(thin, wavelength=550e-9, object_distance=object_distance)
    thin[-1] = thin[-1]._replace(thickness=float(first.image_distance))
    found = optics.lens_image(thin, fields=field, **light)
    scale = float(first.focal_length if far else first.magnification)
    ideal = [scale * (math.tan(each) if far else each) for each in field]
    assert found.ideal.tolist() == pytest.approx(ideal, rel=1e-12)


def test_a_window_has_a_size_of_its_image_too():
    window = [optics.Surface(0.0, 1e-3, 1.5, 2e-3, stop=True), optics.Surface(0.0, 10e-3)]
    found = optics.lens_image(window, fields=[0.0, 0.1], wavelengths=[550e-9])
    way = 10e-3 + 1e-3 / 1.5
    assert found.ideal.tolist() == pytest.approx([0.0, way * math.tan(0.1)], rel=1e-12)
    assert float(found.distortion[1]) == pytest.approx(0.0, abs=1e-3)


def test_polynomials_are_the_wavefront_at_any_point_of_the_stop():
    surfaces, fields = lenses.cooke(), [0.0, 0.2, 0.35]
    found = optics.lens_wavefronts(surfaces, fields=fields, wavelengths=[550e-9])
    assert float(found.residual.max()) < 1e-4 * 550e-9
    points = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = (points - 0.5) * 1.4
    _, path = _waves(surfaces, fields, 0.55, points.tolist())
    rho, theta = torch.hypot(*points.T), torch.atan2(points[:, 1], points[:, 0])
    made = sum(
        found.coefficients[:, 0, number, None] * optics.zernike(index, rho, theta)
        for number, index in enumerate(found.indices)
    )
    torch.testing.assert_close(made / 550e-9, path, rtol=0, atol=3e-4)


# --------------------------------------------------------------------------- Lenses without error


def test_a_hyperboloid_focuses_a_collimated_beam_without_aberration():
    index, focal = 1.5168, 50e-3
    bend = -1 / ((index - 1) * focal)
    surfaces = [
        optics.Surface(0.0, 5e-3, index, 12e-3, stop=True),
        optics.Surface(bend, focal, conic=-(index**2)),
    ]
    found = optics.lens_wavefronts(surfaces, fields=[0.0], wavelengths=[550e-9])
    assert float(found.coefficients.abs().max() / 550e-9) < 1e-9
    assert float(found.residual / 550e-9) < 1e-9
    spots = optics.lens_spots(surfaces, fields=[0.0], wavelengths=[550e-9])
    assert float(spots.radius) < 1e-15
    # The same lens of a sphere is not free of it: the test could have failed.
    bare = [surfaces[0], surfaces[1]._replace(conic=0.0)]
    found = optics.lens_wavefronts(bare, fields=[0.0], wavelengths=[550e-9])
    assert float(found.residual / 550e-9) > 1e-6
    assert float(found.coefficients[0, 0, 10] / 550e-9) < -5


def test_an_ellipsoid_has_its_focus_in_the_glass():
    index, radius = 1.6, 20e-3
    surfaces = [
        optics.Surface(0.0, 0.0, semi_diameter=9e-3, stop=True),
        optics.Surface(1 / radius, radius * index / (index - 1), index, conic=-1 / index**2),
    ]
    found = optics.lens_wavefronts(surfaces, fields=[0.0], wavelengths=[550e-9])
    assert float(found.coefficients.abs().max() / 550e-9) < 1e-9


def test_two_hyperboloids_image_a_point_at_a_finite_distance():
    index, focal = 1.5, 30e-3
    bend = 1 / ((index - 1) * focal)
    surfaces = [
        optics.Surface(bend, 4e-3, index, conic=-(index**2)),
        optics.Surface(0.0, 2e-3),
        optics.Surface(0.0, 3e-3, semi_diameter=6e-3, stop=True),
        optics.Surface(0.0, 4e-3, index),
        optics.Surface(-bend, focal, conic=-(index**2)),
    ]
    options = {"wavelengths": [550e-9], "object_distance": focal}
    found = optics.lens_wavefronts(surfaces, fields=[0.0], **options)
    assert float(found.coefficients.abs().max() / 550e-9) < 1e-9
    # Imaged upside down at the same size.
    image = optics.lens_image(surfaces, fields=[0.0, 1e-4], **options)
    assert float(image.heights[1, 0]) == pytest.approx(-1e-4, rel=1e-3)


def test_defocus_lags_where_the_focus_is_behind_the_image():
    surfaces = lenses.cooke()
    nearer = [*surfaces[:-1], surfaces[-1]._replace(thickness=surfaces[-1].thickness - 1e-4)]
    both = [
        optics.lens_wavefronts(lens, fields=[0.0], wavelengths=[550e-9], indices=range(1, 12))
        for lens in (surfaces, nearer)
    ]
    change = float(both[1].coefficients[0, 0, 3] - both[0].coefficients[0, 0, 3])
    assert change == pytest.approx(1e-4 / (8 * 5.0**2) / math.sqrt(12), rel=2e-2)


def test_small_aberrations_are_those_of_seidel():
    # At an eighth of the aperture and field the third order is nearly all.
    lens = optics.set_stop(lenses.cooke(), wavelength=550e-9, entrance_diameter=10e-3 / 8)
    field = math.radians(20) / 8
    sums = [float(p.sum()) for p in optics.seidel_sums(lens, wavelength=550e-9, field=field)]
    image = optics.first_order(lens, wavelength=550e-9).image_distance
    lens = [*lens[:-1], lens[-1]._replace(thickness=image)]
    found = optics.lens_wavefronts(lens, fields=[0.0, field], wavelengths=[550e-9])
    terms = found.coefficients[:, 0]
    # Seidel's wavefronts are positive where light is ahead. Along y, (h . r)^2 has -cos(2 theta).
    made = (
        -float(terms[0, 10]) * math.sqrt(180) * 8,
        -float(terms[1, 6]) * math.sqrt(72) * 2,
        float(terms[1, 5]) * math.sqrt(24) * 2,
    )
    assert made == pytest.approx(sums[:3], rel=0.03)
    curved = -float(terms[1, 3] - terms[0, 3]) * math.sqrt(12) * 4 - made[2] * 2
    assert curved == pytest.approx(sums[3], rel=0.03)


# --------------------------------------------------------------------------- Light


def test_the_light_of_a_field_is_that_which_enters():
    """By what the lens takes in: its beam's area, and the solid angle of a part of the picture."""
    surfaces = lenses.cooke()
    fields = torch.linspace(0, math.radians(20), 5, dtype=torch.float64)
    found = optics.lens_image(surfaces, fields=fields, wavelengths=[550e-9])
    turn = torch.arange(400, dtype=torch.float64) * (2 * math.pi / 400)
    rim = torch.stack((turn.cos(), turn.sin()), -1)
    edge = _aim(given_lens(surfaces, fields, [550e-9], math.inf), rim)[0][:, 0]
    x, y = edge.unbind(-1)
    area = (x * y.roll(-1, 1) - y * x.roll(-1, 1)).sum(1) / 2 * fields.cos()
    step = 1e-5
    near = [
        optics.lens_image(surfaces, fields=fields + s, wavelengths=[550e-9]).heights[:, 0]
        for s in (-step, step)
    ]
    scale = (near[1] - near[0]) / (2 * step)
    per_image = torch.where(fields == 0, scale**-2, fields.sin() / (found.heights[:, 0] * scale))
    light = area * per_image
    # Rays of one field that fall beside each other are of fields beside each other at one place.
    torch.testing.assert_close(found.illumination[:, 0], light / light[0], rtol=4e-3, atol=0)
    assert 0.8 < float(found.illumination[-1, 0]) < 0.9  # the pupil grows, where cos^4 is 0.78


def test_a_stop_behind_all_glass_lights_the_image_as_a_disc():
    """Of two parallel discs, of which one is small (Foote, 1915), whatever the glass in front."""
    stop, way = 2e-3, 60e-3
    surfaces = [
        optics.Surface(25.0, 6e-3, 1.5168),
        optics.Surface(-1 / 60e-3, 2e-3, 1.7),
        optics.Surface(-5.0, 10e-3),
        optics.Surface(0.0, way, None, stop, stop=True),
    ]
    found = optics.lens_image(surfaces, fields=[0.0, 0.1, 0.2, 0.3], wavelengths=[550e-9])
    h, r = found.heights[:, 0] / way, stop / way
    disc = 1 - (1 + h**2 - r**2) / ((1 + h**2 + r**2) ** 2 - 4 * h**2 * r**2).sqrt()
    torch.testing.assert_close(found.illumination[:, 0], disc / disc[0], rtol=5e-4, atol=0)


def _backwards(surfaces):
    """The lens as the image sees it."""
    before = [None, *(surface.material for surface in surfaces)]
    return [
        surface._replace(
            curvature=-surface.curvature,
            thickness=surfaces[number - 1].thickness if number else 10e-3,
            material=before[number],
        )
        for number, surface in reversed([*enumerate(surfaces)])
    ]


def _singlet():
    return [
        optics.Surface(0.0, 0.8e-3, semi_diameter=0.6e-3, stop=True),
        optics.Surface(1 / 5.2e-3, 1.2e-3, "n_bk7"),
        optics.Surface(-1 / 5.2e-3, 4.7e-3),
    ]


@pytest.mark.parametrize(("name", "off"), [("cooke", 2e-4), ("singlet", 1.5e-3)])
def test_the_light_of_a_point_of_the_image_is_the_cone_that_it_sees(name, off):
    """The singlet's field is curved: the beams of its fields are 8 % brighter at its corner."""
    surfaces = lenses.cooke() if name == "cooke" else _singlet()
    fields = [math.radians(angle) for angle in (0, 7, 15)]
    found = optics.lens_image(surfaces, fields=fields, wavelengths=[550e-9])
    turn = torch.arange(720, dtype=torch.float64) * (2 * math.pi / 720)
    rim = torch.stack((turn.cos(), turn.sin()), -1)
    back = given_lens(_backwards(surfaces), found.heights[:, 0], [550e-9], surfaces[-1].thickness)
    x, y = _from_object(back, _aim(back, rim)[0]).direction[:, 0, :, :2].unbind(-1)
    cone = (x * y.roll(-1, -1) - y * x.roll(-1, -1)).sum(-1).abs()
    torch.testing.assert_close(found.illumination[:, 0], cone / cone[0], rtol=off, atol=0)


def test_the_image_of_an_eye_lies_in_water():
    eye = [
        optics.Surface(0.0, 0.5e-3, semi_diameter=1e-3, stop=True),
        optics.Surface(1 / 5.55e-3, 22.2e-3, 1.333),
    ]
    found = optics.lens_image(eye, fields=[0.0, 0.01, 0.1], wavelengths=[550e-9])
    torch.testing.assert_close(found.heights[:, 0], found.ideal, rtol=4e-3, atol=0)


def test_rays_fill_the_stop_of_a_lens_without_power():
    window = [
        optics.Surface(0.0, 1e-3, 1.5, 2e-3, stop=True),
        optics.Surface(0.0, 10e-3),
    ]
    options = {"fields": [0.0, 0.1], "wavelengths": [550e-9]}
    spots = optics.lens_spots(window, **options)
    torch.testing.assert_close(spots.radius[:, 0], torch.full((2,), 2e-3 / 2**0.5).double())
    assert torch.isfinite(optics.lens_image(window, **options).illumination).all()


def test_a_rim_in_front_of_the_stop_cuts_off_a_part_of_two_circles():
    stop, way, angle = 2e-3, 20e-3, 0.05
    surfaces = [
        optics.Surface(0.0, way, semi_diameter=stop),
        optics.Surface(0.0, 0.0, semi_diameter=stop, stop=True),
        optics.Surface(20.0, 0.0, 1.5),
        optics.Surface(-20.0, 0.05),
    ]
    options = {"fields": [0.0, angle], "wavelengths": [550e-9], "rings": 40}
    found = optics.lens_image(surfaces, **options)
    apart = way * math.tan(angle)
    lost = 1 - float(found.lit[1, 0])
    assert optics.vignetting_shift(lost, diameter=2 * stop) == pytest.approx(apart, rel=0.01)
    assert float(found.lit[0, 0]) == pytest.approx(1.0)
    spots = optics.lens_spots(surfaces, **options)
    assert float((spots.lit * spots.weights).sum(-1)[1, 0]) == pytest.approx(1 - lost)
    # What is fitted are the lit rays alone.
    waves = optics.lens_wavefronts(surfaces, indices=range(1, 12), **options)
    assert float(waves.lit[1, 0]) == pytest.approx(1 - lost)


@pytest.mark.parametrize("way", ["missed", "shut"])
def test_a_field_without_light_is_not_perfect(way):
    surfaces = [*lenses.cooke()]
    bend = torch.tensor(surfaces[0].curvature, dtype=torch.float64, requires_grad=True)
    surfaces[0] = surfaces[0]._replace(curvature=bend)
    if way == "shut":
        surfaces = [optics.Surface(0.0, 50e-3, semi_diameter=6e-3), *surfaces]
    options = {"fields": [0.0, 0.9 if way == "missed" else 0.3], "wavelengths": [550e-9]}
    waves = optics.lens_wavefronts(surfaces, **options)
    spots, image = optics.lens_spots(surfaces, **options), optics.lens_image(surfaces, **options)
    numbers = [waves.coefficients.sum(-1), waves.residual, spots.radius]
    if way == "missed":  # a chief ray that a rim cuts off has its place
        numbers += [image.heights, image.distortion[:, None]]
    for part in numbers:
        assert torch.isfinite(part[0]).all()
        assert torch.isnan(part[1]).all()
    assert not (waves.lit[1] + image.lit[1] + image.illumination[1].detach()).any()
    for part in (*numbers, image.illumination):
        (slope,) = torch.autograd.grad(part[0].sum(), bend, retain_graph=True)
        assert torch.isfinite(slope)


# --------------------------------------------------------------------------- Colour and gradients


def test_lateral_colour_is_a_tilt_about_the_image_of_one_wavelength():
    surfaces = [
        s._replace(material=None if s.material is None else ((1.62, 60.3), (1.62, 36.4))[n == 2])
        for n, s in enumerate(lenses.cooke())
    ]
    options = {"fields": [0.3], "wavelengths": [480e-9, 550e-9, 650e-9], "indices": range(1, 29)}
    own, one = (optics.lens_wavefronts(surfaces, **options, reference=r) for r in (None, 1))
    heights = optics.lens_image(surfaces, fields=[0.3], wavelengths=options["wavelengths"]).heights
    tilt = (one.coefficients - own.coefficients)[0, :, 2]
    assert float(tilt[1]) == pytest.approx(0, abs=1e-12)
    # A tilt of 2 W at the rim moves the image by 2 W N of the whole height, Noll's 3 is W / 2.
    moved = heights[0] - heights[0, 1]
    ratio = tilt[[0, 2]] / moved[[0, 2]]
    assert float(ratio[0] / ratio[1]) == pytest.approx(1, rel=0.01)
    assert float(ratio[0]) == pytest.approx(1 / (4 * 5.0), rel=0.25)


def test_the_magnification_is_that_of_the_chief_rays():
    surfaces = [
        s._replace(material=None if s.material is None else (1.62, 40.0)) for s in lenses.cooke()
    ]
    light = [650e-9, 480e-9, 550e-9]
    found = optics.lens_image(surfaces, fields=[0.0, 0.1, 0.3, 1.2], wavelengths=light)
    assert float(found.magnification[2]) == pytest.approx(1, rel=1e-15)
    made = found.heights[1:3, 2:] * found.magnification
    colour = float((found.heights[2] - found.heights[2, 2]).abs().max())
    assert float((made - found.heights[1:3]).abs().max()) < 0.3 * colour


def test_gradients_of_wavefronts_and_spots_are_finite_differences():
    surfaces = lenses.cooke()
    start = torch.tensor(
        [(s.curvature / 50, s.thickness * 1e3, 0.1) for s in surfaces], dtype=torch.float64
    )

    def lens(numbers):
        return [
            s._replace(
                curvature=n[0] * 50, thickness=n[1] * 1e-3, conic=n[2], aspheric=(n[2] * 10,)
            )
            for s, n in zip(surfaces, numbers, strict=True)
        ]

    def waves(numbers):
        found = optics.lens_wavefronts(
            lens(numbers), fields=[0.0, 0.3], wavelengths=[480e-9, 650e-9], rings=4, reference=0,
            indices=range(1, 12),
        )  # fmt: skip
        spots = optics.lens_spots(lens(numbers), fields=[0.3], wavelengths=[550e-9], rings=3)
        return found.coefficients * 1e6, spots.points * 1e3, spots.radius * 1e3

    def image(numbers):
        found = optics.lens_image(lens(numbers), fields=[0.3], wavelengths=[550e-9], rings=2)
        return found.heights * 1e3, found.distortion, found.illumination

    numbers = start.requires_grad_()
    assert torch.autograd.gradcheck(waves, numbers, fast_mode=True)
    assert torch.autograd.gradcheck(image, numbers, fast_mode=True)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"fields": [20.0]}, ValueError, "20 degrees are math.radians(20)"),
        ({"fields": 0.1}, ValueError, "fields must be several in a row"),
        ({"fields": torch.zeros(2, 3)}, ValueError, "[F, 2] along x and y, not (2, 3)"),
        ({"fields": torch.tensor([[0.1, 2.0]])}, ValueError, "20 degrees are math.radians(20)"),
        ({"fields": [math.nan]}, ValueError, "fields must be finite"),
        ({"fields": "x"}, TypeError, "fields must be numbers"),
        ({"wavelengths": [550.0]}, ValueError, "550 nm are 550e-9"),
        ({"wavelengths": []}, ValueError, "wavelengths must be several in a row"),
        ({"reference": 1}, ValueError, "reference must be a number of the 1 wavelengths"),
        ({"indices": [0]}, ValueError, "each of indices must be a whole number of at least 1"),
        ({"rings": 7}, ValueError, "rings must be 8 or more"),
        ({"rings": 0}, ValueError, "rings must be a whole number of at least 1"),
        ({"object_distance": 0.0}, ValueError, "object_distance must be a float above 0"),
    ],
)
def test_bad_input_is_refused(options, error, told):
    given = {"fields": [0.1], "wavelengths": [550e-9]} | options
    with pytest.raises(error) as found:
        optics.lens_wavefronts(lenses.cooke(), **given)
    assert told in str(found.value)


def test_distortion_is_of_a_lens_about_one_axis():
    given = {"fields": [0.1], "wavelengths": [550e-9]}
    for surfaces, options, told in (
        (optics.misalign(lenses.cooke(), 2, tilt=(1e-3, 0.0)), {}, "but surface 2 has a decentre"),
        (lenses.cooke(), {"fields": torch.tensor([[0.1, 0.0]])}, r"but fields are \[F, 2\]"),
    ):
        with pytest.raises(ValueError, match=told):
            optics.lens_image(surfaces, **given | options)


@pytest.mark.parametrize("distance", [math.inf, 0.5])
def test_fields_along_x_and_y_are_those_along_y_turned(distance):
    far = math.isinf(distance)
    size, azimuth = (0.2, 0.02)[not far], 0.7
    along = math.tan(size) if far else size
    both = torch.tensor([[along * math.cos(azimuth), along * math.sin(azimuth)]]).double()
    given = {"wavelengths": [550e-9], "object_distance": distance}
    found = optics.lens_wavefronts(
        lenses.cooke(), fields=both.atan() if far else both, **given
    ).coefficients[0, 0]
    wanted = optics.lens_wavefronts(lenses.cooke(), fields=[size], **given).coefficients[0, 0]
    turn = azimuth - math.pi / 2
    for cos, sin, often in ((1, 2, 1), (5, 4, 2), (7, 6, 1)):  # tilt, astigmatism, coma
        c, s = math.cos(often * turn), math.sin(often * turn)
        turned = torch.stack((c * wanted[cos] - s * wanted[sin], s * wanted[cos] + c * wanted[sin]))
        torch.testing.assert_close(found[[cos, sin]], turned, rtol=0, atol=1e-11)
    torch.testing.assert_close(found[[0, 3, 10]], wanted[[0, 3, 10]], rtol=0, atol=1e-11)


def test_an_element_beside_the_axis_makes_coma_on_it():
    given = {"fields": [0.0], "wavelengths": [550e-9]}
    moves = (0.0, 1e-5, 2e-5)
    coma = [
        optics.lens_wavefronts(
            optics.misalign(lenses.cooke(), (2, 3), decentre=(0.0, off)), **given
        ).coefficients[0, 0, 6:8]
        for off in moves
    ]
    assert coma[0].abs().max() < 1e-13
    # Along y alone, and as large as the decentre.
    assert float(coma[1][0].abs()) > 5e-9
    assert float(coma[1][1].abs()) < 1e-13
    assert float(coma[2][0] / coma[1][0]) == pytest.approx(2, rel=1e-3)
