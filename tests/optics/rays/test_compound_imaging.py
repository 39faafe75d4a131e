"""The camera of a lens whose surfaces are trained."""

import math
import re
import warnings

import lenses
import pytest
import torch

import optics
from optics.rays.compound_imaging import _fields_of, compound_pupil_in
from optics.rays.ray_aiming import aimed
from optics.wave.zernike import zernike_at

_LIGHT = (480e-9, 550e-9, 650e-9)


def _pupil(lens=None, **options):
    """Of pixels of 0.9 mm, which put the corner of the picture at 20 degrees."""
    lens = optics.CompoundLens(lenses.mounted(), wavelength=550e-9) if lens is None else lens
    given = {
        "samples": 32, "wavelengths": _LIGHT, "places": 3, "picture": (24, 32),
        "pixel_pitch": 0.9e-3,
    }  # fmt: skip
    return optics.CompoundPupil(**{"lens": lens} | given | options)


@pytest.mark.parametrize(
    ("surfaces", "degrees"), [(lenses.menisci(), 35.0), (lenses.cooke(), 20.0)]
)
def test_the_slopes_of_its_wavefronts_are_the_distances_of_the_rays_in_the_image(surfaces, degrees):
    given = {"fields": [math.radians(degrees)], "wavelengths": _LIGHT}
    height = float(optics.lens_image(surfaces, **given).heights[0, 1])
    lens = optics.CompoundLens(surfaces, wavelength=550e-9)
    element = _pupil(lens, picture=(1000, 2), pixel_pitch=2 * height / math.hypot(1000, 2))
    light = torch.tensor(_LIGHT, dtype=torch.float64)
    found = aimed(element._traced(light), element.points)
    place = element._cosines(found, element.points)[-1].detach().requires_grad_()
    terms = element.coefficients(light).detach()[2, 1]
    polynomials = zernike_at(range(1, 29), place[..., 1], place[..., 0], rim=math.inf)
    path = torch.einsum("lj,jln->", terms, polynomials)
    (slope,) = torch.autograd.grad(path, place)
    rays = 2 * lens.f_number * slope
    wanted = (found.rays.position[-1, ..., :2] - found.chief.position[-1, 1, 0, :2]).detach()
    assert float(wanted[..., 1].std()) > 10e-6
    torch.testing.assert_close(rays, wanted, rtol=0, atol=1e-6)


def _moments(psf, pitch):
    """Light, mean y and RMS widths along y and x of a PSF, metres."""
    psf = psf.double()
    y, x = ((torch.arange(n) - (n - 1) / 2) * pitch for n in psf.shape)
    light = psf.sum()
    rows, columns = psf.sum(1) / light, psf.sum(0) / light
    mean = (rows * y).sum(), (columns * x).sum()
    down = (rows * (y - mean[0]) ** 2).sum().sqrt()
    across = (columns * (x - mean[1]) ** 2).sum().sqrt()
    return float(light), float(mean[0]), float(down), float(across)


def test_psfs_off_the_axis_are_those_of_another_program():
    # Second moments in a window of 606 um, and centroids of the rays, of optiland 0.6.3's
    # HuygensPSF with 128 rays across and ray aiming, of the same glasses.
    height, pitch, n = 71.71447e-3, 6e-6, 101
    camera = optics.compound_imaging(
        optics.CompoundLens(lenses.menisci(), wavelength=550e-9),
        picture=(round(2 * height / pitch), 3), pixel_pitch=pitch, wavelengths=_LIGHT, psf_size=n,
        rank=4, places=2, pupil_size=80, oversample=1,
    )  # fmt: skip
    psfs = camera.pupil().detach()[1, 1]
    found = [_moments(psf, pitch) for psf in psfs]
    for (light, _, down, across), wanted in zip(
        found, ((64.69e-6, 81.23e-6), (53.16e-6, 67.91e-6), (45.16e-6, 56.56e-6)), strict=True
    ):
        assert light == pytest.approx(1.0, abs=0.02)
        assert (down, across) == pytest.approx(wanted, rel=0.04)
    assert found[0][1] - found[1][1] == pytest.approx(7.45e-6, abs=0.5e-6)
    assert found[2][1] - found[1][1] == pytest.approx(-6.75e-6, abs=0.5e-6)


def test_a_cone_is_narrower_off_the_axis_and_its_light_is_that_of_the_axis():
    surfaces = lenses.menisci()
    given = {"fields": [math.radians(35)], "wavelengths": [550e-9]}
    image = optics.lens_image(surfaces, **given)
    element = _pupil(
        optics.CompoundLens(surfaces, wavelength=550e-9), samples=51,
        picture=(1000, 2), pixel_pitch=2 * float(image.heights) / math.hypot(1000, 2),
    )  # fmt: skip
    stop = element.stop[:, 1, 0].double()
    circle = optics.circular_aperture(
        element.size, diameter=element.diameter, spacing=element.spacing
    )
    light = stop.square().sum((-2, -1))
    assert light.tolist() == pytest.approx([float(circle.square().sum())] * 3, rel=1e-6)
    area = (stop > stop.amax((-2, -1), keepdim=True) / 2).double().sum((-2, -1))
    # The area of direction cosines is what the irradiance of the image is made of.
    assert float(image.illumination) < 0.5
    assert float(area[2] / area[1]) == pytest.approx(float(image.illumination), abs=0.02)


def test_its_fields_are_those_whose_image_is_at_the_heights():
    element = _pupil()
    found = optics.lens_image(lenses.mounted(), fields=element.fields, wavelengths=[550e-9])
    torch.testing.assert_close(found.heights[:, 0], element.heights, rtol=1e-9, atol=1e-15)
    near = optics.CompoundLens(lenses.mounted(), wavelength=550e-9, object_distance=0.3)
    element = _pupil(near, pixel_pitch=0.5e-3)
    found = optics.lens_image(
        near(), fields=element.fields, wavelengths=[550e-9], object_distance=0.3
    )
    torch.testing.assert_close(found.heights[:, 0].detach(), element.heights, rtol=1e-9, atol=1e-15)


def test_rims_darken_a_place_as_the_rays_say():
    element = _pupil()
    image = optics.lens_image(
        lenses.mounted(), fields=element.fields, wavelengths=[550e-9], rings=30
    )
    opening = (element.open * element.stop).square().mean((-3, -2, -1))
    share = opening / opening.max()
    assert float(image.lit[-1, 0]) < 0.6
    assert float(share[0, 0]) == pytest.approx(float(image.lit[-1, 0]), abs=0.02)
    # As of a picture that is turned by half a turn.
    torch.testing.assert_close(share, share.flip(0, 1), rtol=0, atol=0.01)


def test_a_camera_of_it_has_the_distortion_and_the_light_of_the_lens():
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    lens = optics.CompoundLens(phone, trained=("aspheric",), wavelength=587.6e-9)
    camera = optics.compound_imaging(
        lens, picture=(48, 64), pixel_pitch=45e-6, wavelengths=(550e-9, 587.6e-9, 630e-9),
        psf_size=3, rank=9, places=3, pupil_size=64, oversample=25,
    )  # fmt: skip
    element = camera.pupil.elements[0]
    found = optics.lens_image(phone, fields=element.fields, wavelengths=[587.6e-9])
    radius = element.heights / element.heights[-1]
    terms = camera.projection.radial.double()
    powers = torch.stack([radius ** (2 * n + 3) for n in range(len(terms))])
    made = (radius + terms @ powers) * element.heights[-1]
    torch.testing.assert_close(made, found.ideal.detach(), rtol=0, atol=2e-6)
    # An even scene, with no loss in the windows: the light of each place is the lens's.
    picture = camera(torch.ones(1, 3, 48, 64)).detach()[0, 1]
    for row, column in ((0, 0), (6, 6), (14, 10)):
        height = math.hypot(23.5 - row, 31.5 - column) * 45e-6
        wanted = _light_at(lens, height, 587.6e-9)
        assert float(picture[row, column] / picture[24, 32]) == pytest.approx(wanted, abs=0.03)
    assert "CompoundPupil" in repr(camera)


def test_a_picture_beside_the_focus_is_not_distorted_by_its_size():
    # Focused far away, with the scene near: the image is 1.7 % smaller than that in focus.
    surfaces = lenses.mounted()
    far = float(optics.first_order(surfaces, wavelength=550e-9).image_distance)
    surfaces = [*surfaces[:-1], surfaces[-1]._replace(thickness=far)]
    lens = optics.CompoundLens(surfaces, wavelength=550e-9, object_distance=3.0)
    camera = optics.compound_imaging(
        lens, picture=81, pixel_pitch=50e-6, wavelengths=(550e-9,), psf_size=3, rank=4, places=2,
        pupil_size=64, oversample=19,
    )  # fmt: skip
    scene = torch.zeros(1, 1, 81, 81)
    columns = torch.arange(81.0)
    scene[..., 60:63] = 1.0  # a line 21 pixels beside the middle
    row = camera.projection(scene)[0, 0, 40]
    assert float((row * columns).sum() / row.sum()) == pytest.approx(61.0, abs=0.02)
    # The lens has hardly any there.
    assert float(camera.projection.radial.abs().max()) < 2e-3


def test_a_stop_wider_than_the_rims_is_told():
    surfaces = optics.set_stop(lenses.mounted(), wavelength=550e-9, f_number=1.5)
    wide = optics.CompoundLens(surfaces, wavelength=550e-9)
    told = r"^rims cut off \d+% and no rays reach \d+% of the stop on the axis.*f/1\.5: give"
    with pytest.warns(UserWarning, match=told):
        _pupil(wide, picture=(4, 4))
    narrow = [surface._replace(semi_diameter=3.5e-3) for surface in lenses.cooke()[:1]]
    told = r"^rims cut off \d+% of the stop on the axis.*f/5: give"
    with pytest.warns(UserWarning, match=told):
        _pupil(optics.CompoundLens([*narrow, *lenses.cooke()[1:]], wavelength=550e-9))


def test_a_stop_that_rays_do_not_reach_is_told_to_be_no_fault_of_rims():
    # Total reflection behind the ball keeps rays from so wide a stop; there is no rim.
    ball = [
        optics.Surface(1 / 1e-3, 1.9e-3, 1.5),
        optics.Surface(-1 / 1e-3, 0.1e-3),
        optics.Surface(0.0, 0.5e-3, semi_diameter=0.8e-3, stop=True),
    ]
    lens = optics.CompoundLens(ball, wavelength=550e-9)
    with pytest.warns(UserWarning, match="^no rays reach 94% of the stop on the axis"):
        _pupil(lens, picture=(4, 4), pixel_pitch=4e-6)


def test_a_lens_whose_rims_hold_its_light_is_built_without_a_warning(recwarn):
    mounted = optics.CompoundLens(lenses.mounted(), wavelength=550e-9)
    _pupil(mounted, picture=(4, 4))
    assert not recwarn.list


def _light_at(lens, height, wavelength):
    """Illumination of a height in the image, over that of the axis."""
    heights = torch.tensor([0.0, height], dtype=torch.float64)
    with torch.no_grad():
        fields = _fields_of(lens, heights, torch.tensor(wavelength, dtype=torch.float64))
        found = optics.lens_image(lens(), fields=fields, wavelengths=[wavelength], rings=20)
    return float(found.illumination[1, 0])


def test_a_camera_of_narrow_rims_has_the_light_that_they_leave():
    rows = [
        optics.Surface(1 / 3.4e-3, 1e-3, (1.62, 36.0), 1.15e-3),
        optics.Surface(1 / 12e-3, 1.5e-3, None, 1.1e-3),
        optics.Surface(0.0, 5e-3, semi_diameter=0.6e-3, stop=True),
    ]
    image = float(optics.first_order(rows, wavelength=550e-9).image_distance)
    rows[-1] = rows[-1]._replace(thickness=image)
    lens = optics.CompoundLens(rows, wavelength=550e-9)
    camera = optics.compound_imaging(
        lens, picture=80, pixel_pitch=40e-6, wavelengths=(550e-9,), psf_size=5, rank=6, places=3,
        pupil_size=96, oversample=19,
    )  # fmt: skip
    picture = camera(torch.ones(1, 1, 80, 80)).detach()[0, 0]
    wanted = _light_at(lens, math.hypot(39.5, 39.5) * 40e-6, 550e-9)
    assert wanted < 0.5  # the rims leave 0.6 of the stop
    assert float(picture[0, 0] / picture[40, 40]) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"lens": 1}, TypeError, "lens must be an optics.CompoundLens, not int"),
        ({"samples": 1}, ValueError, "samples must be a whole number of at least 2"),
        ({"pixel_pitch": -1.0}, ValueError, "pixel_pitch must be positive"),
        ({"pixel_pitch": 3e-3}, ValueError, "the lens has no image 0.06 m beside the axis"),
        ({"heights": 1}, ValueError, "heights must be a whole number of at least 2"),
        ({"places": 1}, ValueError, "two or more along each side"),
        ({"wavelengths": (550.0,)}, ValueError, "550 nm are 550e-9"),
        ({"wavelengths": ()}, ValueError, "wavelengths must be several in a row, not (0,)"),
        ({"wavelengths": 550e-9}, ValueError, "wavelengths must be several in a row, not ()"),
        ({"wavelengths": "550e-9"}, TypeError, "wavelengths must be numbers or a Tensor"),
    ],
)
def test_a_pupil_that_is_none_is_refused(options, error, told):
    lens = options.pop("lens", None) or optics.CompoundLens(lenses.cooke(), wavelength=550e-9)
    with pytest.raises(error) as found:
        _pupil(lens, **options)
    assert told in str(found.value)


def test_a_corner_without_light_is_refused():
    surfaces = lenses.mounted()
    surfaces[0] = surfaces[0]._replace(semi_diameter=1e-3)
    with pytest.raises(ValueError, match=r"no ray comes 0\.0\d+ m beside the axis"):
        _pupil(optics.CompoundLens(surfaces, wavelength=550e-9))


def test_numbers_of_a_lens_know_the_picture_that_it_is_for():
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    camera = optics.compound_imaging(
        optics.CompoundLens(phone, wavelength=587.6e-9), picture=(48, 64), pixel_pitch=30e-6,
        wavelengths=(550e-9, 587.6e-9, 630e-9), psf_size=3, rank=4, places=3, pupil_size=64,
        oversample=17,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a picture whose shape is not known
        optics.through_focus(camera.pupil)


def test_a_camera_of_no_lens_is_refused():
    with pytest.raises(TypeError, match=r"must be an optics\.CompoundLens"):
        optics.compound_imaging(
            None, picture=8, pixel_pitch=1e-5, wavelengths=(5e-7,), psf_size=3, rank=1
        )


def _defocus(lens, distance):
    """Noll's fourth coefficient on the axis, of a point at a distance."""
    given = {"fields": [0.0], "wavelengths": (550e-9,), "object_distance": distance}
    with torch.no_grad():
        return float(optics.lens_wavefronts(lens.surfaces, **given).coefficients[0, 0, 3])


def test_a_distance_defocuses_a_lens_of_close_objects_as_its_rays_are():
    surfaces = [
        optics.Surface(0.0, 1e-3, None, 1e-3, stop=True),
        optics.Surface(1 / 10.3e-3, 1e-3, 1.5, 3e-3),
        optics.Surface(-1 / 10.3e-3, 19.6e-3, None, 3e-3),
    ]
    lens = optics.CompoundLens(surfaces, trained=(), wavelength=550e-9, object_distance=20e-3)
    camera = optics.compound_imaging(
        lens, picture=(33, 33), pixel_pitch=5e-6, wavelengths=(550e-9,), psf_size=33, rank=4,
        places=2, pupil_size=64, oversample=5,
    )  # fmt: skip
    pupil = camera.pupil
    assert pupil.focus == pytest.approx(20e-3)
    assert float(pupil.working_f_number) == pytest.approx(lens.f_number, rel=0.01)

    for distance in (20.2e-3, 19.5e-3):
        radius = pupil.diameter / 2
        path = optics.defocus_path((1, 3), spacing=radius, distance=distance, focus=pupil.focus)
        rim = float(path[0, -1]) / (2 * math.sqrt(3))
        found = _defocus(lens, distance) - _defocus(lens, 20e-3)
        assert found == pytest.approx(rim, rel=0.03)


@pytest.mark.parametrize(("gap", "within"), [(10.1306e-3, 0.03), (12e-3, 0.11)])
def test_a_lens_that_is_telecentric_towards_the_object_or_beyond_is_imaged(gap, within):
    glass = [
        optics.Surface(1 / 10.3e-3, 1e-3, 1.5, 5e-3),
        optics.Surface(-1 / 10.3e-3, gap, None, 5e-3),
    ]
    given = {"wavelength": 550e-9, "object_distance": 30e-3}
    front = [optics.Surface(0.0, 0.0, None, 1e-3, stop=True), *glass]
    image = float(optics.first_order(front, **given).image_distance)
    stop = optics.Surface(0.0, image - gap, None, 0.2e-3, stop=True)
    lens = optics.CompoundLens([*glass, stop], trained=(), **given)
    numbers = optics.first_order(lens.surfaces, **given)
    assert not -30e-3 < float(numbers.entrance_pupil) < 1.0
    camera = optics.compound_imaging(
        lens, picture=(33, 33), pixel_pitch=5e-6, wavelengths=(550e-9,), psf_size=15, rank=4,
        places=2, pupil_size=64, oversample=5,
    )  # fmt: skip
    assert float(camera.pupil.working_f_number) == pytest.approx(lens.f_number, rel=0.01)
    assert 0.9 < float(camera.psf().sum()) / 4 <= 1
    told = optics.lens_performance(camera, picture=33)
    assert (told.focus, told.depth_of_field().far) == pytest.approx((30e-3, 30e-3), rel=0.05)
    head = str(told).splitlines()[0]  # the pupil is far away, and its diameter no f-number
    assert head.startswith("lens   10.")
    assert " mm; focused at 30 mm" in head
    assert head.endswith(f"its light is that of f/{told.working_f_number:.3g}")
    assert told.magnification == pytest.approx(abs(float(numbers.magnification)), rel=2e-3)
    away = camera.pupil.entrance_pupil
    for distance in (30.1e-3, 29.9e-3):
        bent = 1 / (distance + away) - 1 / (30e-3 + away)
        wanted = bent * camera.pupil.diameter**2 / 8 / (2 * math.sqrt(3))
        found = _defocus(lens, distance) - _defocus(lens, 30e-3)
        assert found == pytest.approx(wanted, rel=within)


def _relay(gap, *, stop_behind=False):
    """Two lenses of 30 mm, for an object at 0.1 m, with a stop between or behind them."""
    lens = [
        optics.Surface(1 / 30e-3, 4e-3, (1.5168, 64.2)),
        optics.Surface(-1 / 30e-3, 1e-3),
    ]
    stop = optics.Surface(0.0, 5e-3, semi_diameter=1e-3, stop=True)
    if stop_behind:
        rows = [*lens, lens[0], lens[1]._replace(thickness=gap), stop]
    else:
        rows = [lens[0], lens[1]._replace(thickness=gap), stop._replace(thickness=gap), *lens]
    given = {"wavelength": 550e-9, "object_distance": 0.1}
    rows = optics.set_stop(rows, f_number=16.0 if stop_behind else 8.0, **given)
    image = float(optics.first_order(rows, **given).image_distance)
    rows = [*rows[:-1], rows[-1]._replace(thickness=image)]
    lens = optics.CompoundLens(rows, trained=("curvature", "thickness"), **given)
    camera = optics.compound_imaging(
        lens, picture=16, pixel_pitch=5e-6, wavelengths=(550e-9,), psf_size=9, rank=4, places=2,
        pupil_size=48, oversample=9,
    )  # fmt: skip
    return lens, camera


def _modelled(pupil, distance):
    """Noll's fourth coefficient of the defocus of a pupil, on the axis."""
    with torch.no_grad():
        vergence = float(pupil.vergence(distance))
    return vergence * pupil.elements[0].diameter ** 2 / 8 / (2 * math.sqrt(3))


def test_a_defocus_and_a_scale_follow_a_lens_in_training():
    lens, camera = _relay(4e-3)
    told = optics.lens_performance(camera, picture=16)
    assert camera.pupil.widening == 1
    with torch.no_grad():
        lens.raw_thickness[1] += 8
        lens.raw_curvature[0] += 4
        first = optics.first_order(lens(), wavelength=550e-9, object_distance=0.1)
    for distance in (0.08, 0.13):
        wanted = _defocus(lens, distance) - _defocus(lens, 0.1)
        assert _modelled(camera.pupil, distance) == pytest.approx(wanted, rel=6e-3)
    assert camera.pupil.entrance_pupil == pytest.approx(float(first.entrance_pupil))
    now = optics.lens_performance(camera, picture=16)
    assert now.magnification == pytest.approx(abs(float(first.magnification)), rel=1e-3)
    assert abs(now.magnification - told.magnification) > 0.01 * told.magnification
    # And back, as sensors that are tilted, and curves through focus, need it.
    vergence = camera.pupil.vergence(0.08).detach()
    assert float(camera.pupil.defocused(0.1, vergence)) == pytest.approx(0.08)
    raw = lens.raw_thickness
    (slope,) = torch.autograd.grad(camera.pupil.vergence(0.08), raw)
    ends = []
    for step in (-1e-2, 1e-2):
        with torch.no_grad():
            raw[1] += step
            ends.append(float(camera.pupil.vergence(0.08)))
            raw[1] -= step
    assert float(slope[1]) == pytest.approx((ends[1] - ends[0]) / 2e-2, rel=1e-3)
    place = torch.tensor(0.08, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(camera.pupil.vergence(place), place)
    ends = [float(camera.pupil.vergence(0.08 + step).detach()) for step in (-1e-5, 1e-5)]
    assert float(slope) == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-4)


def test_a_lens_that_sees_around_its_object_is_defocused_as_its_rays_are():
    lens, camera = _relay(14e-3, stop_behind=True)
    first = optics.first_order(lens(), wavelength=550e-9, object_distance=0.1)
    place = camera.pupil.entrance_pupil
    assert place == pytest.approx(float(first.entrance_pupil.detach()))
    assert -0.2 < place < -0.15  # between object and infinity
    for distance, within in ((0.09, 0.03), (0.08, 0.03), (0.12, 0.08)):
        wanted = _defocus(lens, distance) - _defocus(lens, 0.1)
        assert _modelled(camera.pupil, distance) == pytest.approx(wanted, rel=within)
    told = optics.lens_performance(camera, picture=16)
    assert told.magnification == pytest.approx(abs(float(first.magnification.detach())), rel=1e-3)
    near, far, _ = told.depth_of_field()
    assert (near, far) == pytest.approx((0.0902, 0.1078), abs=1e-4)
    quarter = 550e-9 / 4 / (2 * math.sqrt(3))  # at the rim
    assert _modelled(camera.pupil, near) == pytest.approx(quarter, rel=1e-3)
    assert _modelled(camera.pupil, far) == pytest.approx(-quarter, rel=1e-3)
    # All objects in front of the pupil are sharp enough.
    assert told.depth_of_field(1e-3).near == -math.inf


def test_a_wavefront_is_the_same_whichever_others_are_asked_for():
    element = _pupil(optics.CompoundLens(lenses.menisci(), wavelength=550e-9))
    light = torch.tensor(_LIGHT, dtype=torch.float64)
    with torch.no_grad():
        together = element.coefficients(light)
        alone = torch.cat([element.coefficients(each) for each in light.split(1)], 2)
        turned = element.coefficients(light.flip(0)).flip(2)
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(turned, together, rtol=1e-9, atol=1e-15)
    # Lateral colour, of the first and last light from the middle one, in the corners.
    lateral = together[0, 0, [0, 2], 1:3] - together[0, 0, 1, 1:3]
    assert (lateral.abs().amax(1) > 10e-9).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"wavelengths": (450e-9,)}, "wavelengths must be those of the optics.CompoundPupil"),
        ({"wavelengths": _LIGHT[::-1]}, "in their order, not (6.5e-07, "),
        ({"focal_length": 55e-3}, "focal_length must be that of the optics.CompoundPupil among"),
        ({"pixel_pitch": 2e-6}, "1e-06 metres, not 2e-06"),
    ],
)
def test_a_pupil_has_the_light_and_the_pixels_of_the_lens_in_it(options, told):
    given = {"wavelengths": _LIGHT, "focal_length": 50e-3, "pixel_pitch": 1e-6, "psf_size": 3}
    with pytest.raises(ValueError, match=re.escape(told)):
        optics.Pupil([_pupil(pixel_pitch=1e-6)], **given | options)


def test_a_distance_is_measured_from_the_first_vertex():
    surfaces = optics.set_stop(lenses.cooke(), wavelength=550e-9, f_number=8.0)
    first = optics.first_order(surfaces, wavelength=550e-9, object_distance=0.12)
    image = float(first.image_distance)
    surfaces = [*surfaces[:-1], surfaces[-1]._replace(thickness=image)]

    def camera(distance):
        return optics.compound_imaging(
            optics.CompoundLens(surfaces, wavelength=550e-9, object_distance=distance),
            picture=(9, 9), pixel_pitch=6e-6, wavelengths=(550e-9,), psf_size=31, rank=4, places=2,
            pupil_size=64, oversample=5,
        )  # fmt: skip

    made = camera(0.12)
    assert made.pupil.focus == 0.12
    assert made.pupil.entrance_pupil == pytest.approx(float(first.entrance_pupil))
    assert 0.011 < made.pupil.entrance_pupil < 0.012
    there, anew = (p.detach()[0, 0, 0] for p in (made.pupil(distance=0.118), camera(0.118).pupil()))
    torch.testing.assert_close(there, anew, rtol=0, atol=0.05 * float(anew.max()))
    told = optics.lens_performance(made, picture=9)
    assert (told.focal_length, told.f_number) == pytest.approx((50e-3, 8.0), rel=2e-3)
    assert told.magnification == pytest.approx(abs(float(first.magnification)), rel=2e-3)
    near, far, _ = told.depth_of_field()
    assert (near, far) == pytest.approx((119.5e-3, 120.5e-3), abs=0.1e-3)


def test_a_distance_defocuses_off_the_axis_as_the_rays_do():
    surfaces = optics.set_stop(lenses.cooke(), wavelength=550e-9, f_number=8.0)
    given = {"fields": [math.radians(20)], "wavelengths": [550e-9]}
    height = float(optics.lens_image(surfaces, **given).heights)

    def camera(distance):
        return optics.compound_imaging(
            optics.CompoundLens(surfaces, wavelength=550e-9, object_distance=distance),
            picture=(round(2 * height / 6e-6), 3), pixel_pitch=6e-6, wavelengths=(550e-9,),
            psf_size=45, rank=4, places=2, pupil_size=80, oversample=3,
        )  # fmt: skip

    near = camera(3.0)
    there, anew, sharp = (
        _moments(psf.detach()[1, 1, 0], 6e-6)
        for psf in (camera(math.inf).pupil(distance=3.0), near.pupil(), near.pupil(distance=1e9))
    )
    assert there[2:] == pytest.approx(anew[2:], rel=0.05)
    assert abs(sharp[2] - anew[2]) > 0.2 * anew[2]  # the distance counts


def test_a_pupil_has_the_stop_and_the_focus_of_the_lens_in_it():
    element = _pupil(pixel_pitch=1e-6)
    given = {"wavelengths": _LIGHT, "focal_length": 50e-3, "pixel_pitch": 1e-6, "psf_size": 3}
    pupil = optics.Pupil([element], **given)
    circle = optics.circular_aperture(
        element.size, diameter=element.diameter, spacing=element.spacing
    )
    torch.testing.assert_close(pupil.aperture, circle)
    assert pupil.image_distance == pytest.approx(element.diameter * element.lens.f_number)
    for options in ({"aperture": circle}, {"focus": 1.0}):
        with pytest.raises(ValueError, match="no aperture and no focus beside an optics"):
            optics.Pupil([element], **given, **options)
    # Also within another element.
    coated = optics.Pupil([_Coated(element)], **given)
    assert coated.opening is element.stop
    assert coated.penalty() == element.lens.penalty() > 0
    for two in ([element, element], [_Coated(element), _pupil(pixel_pitch=1e-6)]):
        with pytest.raises(ValueError, match="elements hold 2 whole lenses"):
            optics.Pupil(two, **given)


class _Coated(optics.Element):
    def __init__(self, inner):
        super().__init__(inner.size, inner.spacing)
        self.inner = inner

    def transmission(self, wavelength):
        return 0.99 * self.inner.transmission(wavelength)


@pytest.mark.parametrize(
    ("f_number", "pitch", "picture", "light"),
    [
        (9.0, 0.9e-3, (24, 32), _LIGHT),
        (6.0, 0.8e-3, (24, 32), _LIGHT),
        (6.0, 0.9e-3, (32, 24), _LIGHT),
        (6.0, 0.9e-3, (24, 32), (480e-9, 560e-9, 650e-9)),
    ],
)
def test_a_state_of_another_pupil_is_refused(f_number, pitch, picture, light):
    def made(f_number, **options):
        surfaces = optics.set_stop(lenses.cooke(), wavelength=550e-9, f_number=f_number)
        return _pupil(optics.CompoundLens(surfaces, wavelength=550e-9), **options)

    own = made(6.0)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    other = made(f_number, pixel_pitch=pitch, picture=picture, wavelengths=light)
    with torch.no_grad():
        other.lens.raw_curvature += 5
    with pytest.raises(RuntimeError, match="state of a pupil with another diameter, place"):
        own.load_state_dict(other.state_dict())
    # Nor its lens, which would not be that of the stop.
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


@pytest.mark.filterwarnings("ignore:rims cut off 60%")
def test_a_state_of_a_lens_with_other_rims_leaves_the_openings_as_they_were():
    own = _pupil()
    rims = [surface._replace(semi_diameter=3.5e-3) for surface in lenses.cooke()[:1]]
    other = _pupil(optics.CompoundLens([*rims, *lenses.cooke()[1:]], wavelength=550e-9))
    before = {name: value.clone() for name, value in own.state_dict().items()}
    with pytest.raises(RuntimeError, match="state of a lens with other glasses, rims"):
        own.load_state_dict(other.state_dict())
    assert not torch.equal(other.open, own.open)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_in_half_precision_it_keeps_its_fields_and_the_bend_of_a_defocus():
    element, rounded = _pupil(), _pupil().half()
    assert torch.equal(rounded.fields, element.fields)
    assert rounded.stop.dtype == rounded.bend.dtype == torch.float16
    wanted = element.whole_lens().curve
    found = rounded.whole_lens().curve
    assert wanted.dtype == found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)
    element.load_state_dict(rounded.state_dict())


def test_a_distance_in_its_pupil_is_refused_as_it_was_given():
    element = _pupil(pixel_pitch=1e-6)
    pupil = optics.Pupil(
        [element], wavelengths=_LIGHT, focal_length=50e-3, pixel_pitch=1e-6, psf_size=3
    )
    there = -pupil.entrance_pupil
    assert there != 0
    told = f"distance must be metres other than {there:g}, the place of the pupil, not {there}"
    with pytest.raises(ValueError, match=re.escape(told)):
        pupil(distance=there)


def test_an_aberration_beside_it_that_does_not_cover_its_cones_is_told():
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    lens = optics.CompoundLens(phone, wavelength=587.6e-9)
    element = _pupil(lens, picture=(2160, 2880), pixel_pitch=1e-6)
    assert element.widest > 1.2
    given = {
        "wavelengths": _LIGHT, "focal_length": lens.focal_length, "pixel_pitch": 1e-6,
        "psf_size": 3,
    }  # fmt: skip
    terms = torch.zeros(4)

    def beside(diameter):
        plate = optics.Aberration(
            element.size, spacing=element.spacing, diameter=diameter, coefficients=terms
        )
        optics.Pupil([element, plate], **given)

    with pytest.warns(UserWarning, match="beyond the diameter of an Aberration"):
        beside(element.diameter)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        beside(element.diameter * 1.05 * element.widest)


def test_a_cone_that_is_far_wider_than_that_of_the_axis_is_told(monkeypatch):
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    lens = optics.CompoundLens(phone, wavelength=587.6e-9)
    monkeypatch.setattr("optics.rays.compound_imaging._WIDEST", 1.2)
    with pytest.warns(UserWarning, match=r"up to 1\.3\d? times as wide .* cut off at 1\.2"):
        element = _pupil(lens, picture=(48, 64), pixel_pitch=45e-6, samples=31)
    assert element.size == (37, 37)


def test_a_camera_has_the_penalty_of_its_lens():
    lens = optics.CompoundLens(lenses.mounted(), wavelength=550e-9, edge=5e-3)
    element = _pupil(lens)
    assert element.penalty() == optics.lens_penalty(lens(), edge=5e-3) > 0


def _even_rays(surfaces, field, distance, *, reach, middle, samples=300):
    """Rays from one point that fill the stop: over the beam evenly, or over direction cosines."""
    y, x = torch.meshgrid(
        *(torch.linspace(-reach, reach, samples, dtype=torch.float64) for _ in range(2)),
        indexing="ij",
    )
    even = torch.stack((x, y + middle), -1)
    if math.isinf(distance):
        position = torch.cat((even, torch.zeros_like(x)[..., None]), -1)
        direction = torch.tensor([0.0, math.sin(field), math.cos(field)], dtype=torch.float64)
        direction = direction.expand_as(position)
    else:
        forward = (1 - even.square().sum(-1, keepdim=True)).sqrt()
        direction = torch.cat((even, forward), -1)
        position = direction * distance / forward
        position = torch.stack((position[..., 0], position[..., 1] + field, 0 * x), -1)
    path, valid = torch.zeros_like(x), torch.ones_like(x, dtype=torch.bool)
    rays = optics.Rays(position, direction, path, valid)
    rims = [each if each.stop else each._replace(semi_diameter=math.inf) for each in surfaces]
    found = optics.trace(rays, rims, wavelength=550e-9)
    return found.direction[found.valid][:, :2]


@pytest.mark.parametrize(
    ("distance", "f_number", "field", "reach", "middle"),
    [(math.inf, 4.0, math.radians(20), 12e-3, -4e-3), (0.15, 8.0, 40e-3, 0.05, -0.25)],
)
def test_a_pupil_has_the_light_of_an_even_beam_or_of_even_direction_cosines(
    distance, f_number, field, reach, middle
):
    surfaces = optics.set_stop(
        lenses.cooke(), wavelength=550e-9, f_number=f_number, object_distance=distance
    )
    lens = optics.CompoundLens(surfaces, wavelength=550e-9, object_distance=distance)
    given = {"wavelengths": [550e-9], "object_distance": distance}
    height = abs(float(optics.lens_image(surfaces, fields=[field], **given).heights))
    element = _pupil(
        lens, samples=201, picture=(1000, 2),
        pixel_pitch=2 * height / math.hypot(1000, 2),
    )  # fmt: skip
    y, x = element._grid()
    light = element.stop[:, 1, 0].double().square()
    flat = light[1][torch.hypot(y, x) < 0.93]
    assert 0.99 * float(flat.mean()) < float(flat.min()) < float(flat.max()) < 1.01 * flat.mean()
    end = light[2] / light[2].sum()
    mean = (y * end).sum()
    found = float(mean), float((y.square() * end).sum() - mean**2), float((x.square() * end).sum())
    signed = float(element.fields[-1])
    middle = math.copysign(middle, middle * signed)
    rays = _even_rays(surfaces, signed, distance, reach=reach, middle=middle)
    with torch.no_grad():
        given = element._traced(torch.tensor([550e-9], dtype=torch.float64))
        chief = aimed(given, element.points).chief
    place = 2 * lens.f_number * (chief.direction[-1, 0, 0, :2] - rays)
    assert len(place) > 10_000
    wanted = float(place[:, 1].mean()), *place.var(0).flip(0).tolist()
    assert found == pytest.approx(wanted, abs=1.5e-3)


def test_a_traced_lens_is_found_wherever_it_is():
    element = _pupil()
    assert compound_pupil_in(element) is element
    assert compound_pupil_in(torch.nn.Sequential(torch.nn.Flatten(), element)) is element
    assert compound_pupil_in(optics.LearnedKernel()) is None
