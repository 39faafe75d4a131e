import math

import numpy as np
import pytest
import torch

import joint
import optics
from joint.analysis import alignment
from joint.analysis.tolerancing.alignment import DECENTRES, TILTS
from joint.analysis.tolerancing.disturbed import MovedPhase, Tilted
from joint.analysis.tolerancing.perturbation import KINDS, applicable, perturbed, resolved

_SPACING = 2.5e-3 / 64
_WAVELENGTH = torch.tensor([550e-9], dtype=torch.float64)


def _pupil(*elements, focal_length=20e-3, pixel_pitch=2e-6):
    return optics.Pupil(
        elements, wavelengths=(550e-9,), focal_length=focal_length, pixel_pitch=pixel_pitch,
        psf_size=15, size=65, spacing=_SPACING,
    )  # fmt: skip


def _system(*elements, **lens):
    pupil = _pupil(*elements, **lens).double()
    return joint.ImagingSystem(front_end=optics.IncoherentImaging(pupil), encoding="linear")


def _fast():
    """At f/2 a few micrometres are out of focus."""
    return _system(focal_length=5e-3, pixel_pitch=1e-6)


def _made(system, name, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return perturbed(system, name, level, channels=1, generator=generator)


def _phase(system):
    return system.front_end.pupil.elements[0].phase_shift(_WAVELENGTH)[0]


def _same_phase(found, expected, *, atol):
    """Apart from whole turns."""
    away = torch.remainder(found - expected + math.pi, 2 * math.pi) - math.pi
    return bool((away.abs() < atol).all())


def _smooth():
    """A phase without symmetry that is smooth from sample to sample."""
    t = torch.linspace(-1, 1, 65, dtype=torch.float64)
    y, x = t[:, None], t
    return 3 * x**3 + 2 * y**3 + 1.5 * x * y**2 + 2 * x


def test_a_decentre_in_y_is_the_transposed_decentre_in_x():
    phase = _smooth()
    upright, lying = (
        _system(optics.PhaseMask(p, spacing=_SPACING)) for p in (phase, phase.T.contiguous())
    )
    for level in (0.03, -0.1):
        down = _made(upright, "decentre_y", level).front_end.psf()[0]
        across = _made(lying, "decentre", level).front_end.psf()[0]
        assert torch.allclose(down, across.T, atol=1e-12)
        assert float((down - upright.front_end.psf()[0]).abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "axis"), [("decentre", 1), ("decentre_y", 0)])
def test_a_plate_that_is_decentred_is_the_shifted_plate(name, axis):
    # By whole samples that of the grid, and in between the interpolated phase of a smooth one.
    mask = optics.PhaseMask(_smooth(), spacing=_SPACING)
    whole = _phase(_made(_system(mask), name, 3 / 64))
    expected = _smooth().roll(3, axis)
    inside = slice(3, None)
    assert _same_phase(whole.movedim(axis, 0)[inside], expected.movedim(axis, 0)[inside], atol=1e-3)
    cubic = optics.CubicMask(
        65, spacing=_SPACING, diameter=64 * _SPACING, alpha=2.0, design_wavelength=550e-9
    )
    level = 0.04
    samples = optics.PhaseMask(cubic.phase_shift(_WAVELENGTH)[0].detach(), spacing=_SPACING)
    first, second = (_made(_system(plate), name, level) for plate in (cubic, samples))
    exact, found = _phase(first), _phase(second)
    element = first.front_end.pupil.elements[0]
    sits = element.seat.shift_y / 32, element.seat.shift / 32  # half diameters
    t = torch.arange(-32, 33, dtype=torch.float64) / 32
    y, x = t[:, None], t
    away = {"decentre": (0.0, 2 * level), "decentre_y": (2 * level, 0.0)}[name]
    assert sits == pytest.approx(away, rel=1e-4)
    cubed = 2 * math.pi * 2.0 * ((y - sits[0]) ** 3 + (x - sits[1]) ** 3)
    within = y.square() + x.square() < 0.7
    # Linear interpolation of 4 pi x^3 leaves 3 pi h^2 at most, at h = 1/32, and that of phasors D
    # apart w (1 - w) (1 - 2 w) D^3 / 6 more, D^3 / (36 sqrt 3) at most.
    step = 12 * math.pi * (0.7**0.5 + 2 * level) ** 2 / 32
    bound = 3 * math.pi / 32**2 + step**3 / (36 * 3**0.5)
    assert _same_phase(found[within], cubed[within], atol=bound)
    # That of a formula is the formula, also where it comes from beyond the grid.
    torch.testing.assert_close(exact, cubed, rtol=1e-6, atol=1e-6)  # alpha was made in float32


@pytest.mark.parametrize("samples", [128, 129])
@pytest.mark.parametrize("plate", ["spherical", "cubic"])
def test_a_plate_that_is_decentred_brings_what_was_beyond_its_rim(plate, samples):
    spacing = 2.5e-3 / (samples - 1)
    grid = {"spacing": spacing, "diameter": 2.5e-3}
    if plate == "spherical":
        element = optics.Aberration(
            samples, coefficients=torch.tensor([0.1 * 550e-9]), indices=[11], **grid
        )
    else:
        element = optics.CubicMask(samples, alpha=2.0, design_wavelength=550e-9, **grid)
    pupil = optics.Pupil(
        [element], wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=1e-6, psf_size=9
    )
    system = joint.ImagingSystem(
        front_end=optics.IncoherentImaging(pupil.double()), encoding="linear"
    )
    lag = 48
    frequency = torch.tensor([lag * spacing / (550e-9 * 20e-3)], dtype=torch.float64)
    t = (torch.arange(samples, dtype=torch.float64) - samples // 2) * 2 * spacing / 2.5e-3
    y, aperture = t[:, None], pupil.aperture

    def expected(level):
        """Overlap of two pupils that are 48 samples apart (Goodman, Fourier Optics, eq. 6-31)."""
        x = t - 2 * level
        if plate == "spherical":  # Noll's 11, beyond the rim too
            r2 = x.square() + y.square()
            waves = 0.1 * 5**0.5 * (6 * r2.square() - 6 * r2 + 1)
        else:
            waves = 2 * (x**3 + y**3)
        field = aperture * torch.exp(2j * math.pi * waves)
        overlap = (field[:, lag:] * field[:, :-lag].conj()).sum().abs()
        return float(overlap / aperture.square().sum())

    def found(level):
        camera = _made(system, "decentre", level)
        return float(camera.front_end.pupil.mtf(frequency, pixel=False))

    levels = (-0.05, 0.0, 0.05)
    below, plain, above = map(expected, levels)
    # The coefficients were made in float32.
    assert [found(level) for level in levels] == pytest.approx([below, plain, above], abs=1e-6)
    # Either way it is the same lens, mirrored, and that is no sharper.
    assert below == pytest.approx(above, abs=1e-4)
    assert plate == "cubic" or above < plain - 0.005


def test_a_radial_decentre_has_its_distance_in_any_direction():
    system = _system(optics.PhaseMask(_smooth(), spacing=_SPACING))
    diameter = 64
    azimuths = []
    for seed in range(200):
        element = _made(system, "decentre_radial", 0.05, seed).front_end.pupil.elements[0]
        assert math.hypot(element.seat.shift, element.seat.shift_y) == pytest.approx(
            0.05 * diameter, rel=1e-4
        )
        azimuths.append(math.atan2(element.seat.shift_y, element.seat.shift))
    # Rayleigh's test: the mean direction of so many uniform ones is below this with 99.9 %.
    assert abs(np.exp(1j * np.array(azimuths)).mean()) < math.sqrt(-math.log(0.001) / 200)
    parts = KINDS["decentre_radial"].parts(0.05, torch.Generator().manual_seed(7))
    assert [part.name for part in parts] == ["decentre", "decentre_y"]
    both = system
    for part, level in parts.items():
        both = _made(both, part, level)
    radial = _made(system, "decentre_radial", 0.05, 7)
    assert torch.equal(_phase(radial), _phase(both))


def test_a_group_moves_its_elements_alone_and_has_its_name():
    system = _system(*(optics.PhaseMask(_smooth(), spacing=_SPACING) for _ in range(3)))
    for kind, name in (
        (alignment("decentre_y", (0, 2)), "decentre_y.0+2"),
        (alignment("rotation", 1), "rotation.1"),
        (alignment("decentre_radial"), "decentre_radial.all"),
        (alignment("decentre", [1], title="rear"), "rear"),
    ):
        assert kind.name == name
        made = _made(system, kind, 0.1)
        moved = {
            k for k, e in enumerate(made.front_end.pupil.elements) if isinstance(e, MovedPhase)
        }
        which = name.rpartition(".")[2]
        groups = {"0+2": {0, 2}, "1": {1}, "all": {0, 1, 2}, "rear": {1}}
        assert moved == groups[which]
    assert [*resolved([alignment("decentre", 2)], system, channels=1)]
    with pytest.raises(ValueError, match=r"no decentre.2\+3: it needs a pupil with the elements 2"):
        resolved([alignment("decentre", (2, 3))], system, channels=1)
    with pytest.raises(ValueError, match=r"two imperfections are called decentre\.1"):
        resolved(["decentre", alignment("decentre", 1)], system, channels=1)
    for one in (np.int64(1), torch.tensor(1), np.array([1])):
        assert alignment("decentre", one).name == "decentre.1"
    for wrong in ((), (-1,), (1, 1), True, (0, True), 1.0, "1"):
        with pytest.raises(ValueError, match="elements must be numbers of elements in the pupil"):
            alignment("decentre", wrong)
    with pytest.raises(ValueError, match=r"at least one, not \(1, 1\)"):
        alignment("decentre", map(int, "11"))
    with pytest.raises(ValueError, match="name must be one of decentre, decentre_y"):
        alignment("tilt_x")


def test_an_element_that_is_moved_and_turned_is_interpolated_once():
    system = _system(optics.PhaseMask(_smooth(), spacing=_SPACING))
    made = _made(_made(_made(system, "decentre", 0.02), "decentre_y", -0.03), "rotation", 90.0)
    element = made.front_end.pupil.elements[0]
    assert isinstance(element, MovedPhase)
    assert not isinstance(element.inner, MovedPhase)
    # Turned from +x to +y, what was moved along +x has been moved along +y.
    shift = 64 * np.array([0.03, 0.02])
    assert (element.seat.shift, element.seat.shift_y) == pytest.approx(tuple(shift), rel=1e-4)
    assert element.seat.angle == 90
    # As what was moved in one step after the other, by whole samples.
    (first,) = _made(system, "decentre", 1 / 64).front_end.pupil.elements
    step = 1 / float(first.seat.shift)
    one = _made(_made(system, "decentre", 2 * step / 64), "rotation", 90.0)
    expected = _smooth().roll(2, 1).rot90(-1)
    assert _same_phase(_phase(one)[2:], expected[2:], atol=1e-9)


def _point(size, place):
    scene = torch.zeros(1, 1, size, size, dtype=torch.float64)
    scene[0, 0, *place] = 1.0
    return scene


@pytest.mark.parametrize(
    ("name", "place", "sign"),
    [
        ("tilt_x", (120, 64), 1),
        ("tilt_x", (8, 64), -1),
        ("tilt_x", (64, 120), 0),
        ("tilt_y", (64, 120), -1),
        ("tilt_y", (64, 8), 1),
        ("tilt_y", (120, 64), 0),
    ],
)
@pytest.mark.parametrize("defocus", [0.0, 0.3])
def test_a_tilted_sensor_is_out_of_focus_by_its_distance_from_the_image(name, place, sign, defocus):
    system = _fast()
    level = 8.0
    away = sign * 56e-6 * math.tan(math.radians(level))
    # D^2 / 8 (1 / f - 1 / (f + dz)) at the rim, a focus before the sensor as that of a positive
    # defocus; sinc^2 of the waves is left in the middle (Born and Wolf, sec. 8.8).
    waves = defocus + (64 * _SPACING) ** 2 / 8 * (1 / 5e-3 - 1 / (5e-3 + away)) / 550e-9
    assert abs(waves - defocus) == pytest.approx(0.44 * abs(sign), rel=0.02)
    made = _made(system, "defocus", defocus) if defocus else system
    made = _made(made, name, level)
    assert isinstance(made.front_end, Tilted)
    image = made.front_end(_point(128, place))[0, 0]
    sharp = system.front_end.psf()[0, 7, 7]
    assert float(image[*place] / sharp) == pytest.approx(np.sinc(waves) ** 2, abs=0.005)


def test_both_tilts_are_one_and_transposed_tilts_see_transposed_scenes():
    system = _fast()
    scene = torch.rand(2, 1, 96, 80, generator=torch.Generator().manual_seed(0)).double()
    both = _made(_made(system, "tilt_x", 4.0), "tilt_y", -3.0).front_end
    assert both.slopes == pytest.approx((math.tan(math.radians(4.0)), math.tan(math.radians(3.0))))
    assert isinstance(both.inner, optics.IncoherentImaging)
    other = _made(_made(system, "tilt_y", -4.0), "tilt_x", 3.0).front_end
    assert torch.allclose(both(scene), other(scene.mT).mT, atol=1e-12)
    assert float((both(scene) - system.front_end(scene)).abs().max()) > 0.01


def test_the_corner_of_a_known_field_is_where_its_angle_puts_it():
    # As wide as its pixels, it is the tilt of a camera that does not know its field, and twice as
    # wide that of twice the slope.
    scene = torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(0)).double()
    plain = _fast().front_end
    corner = 40 * plain.pupil.pixel_pitch
    for wide in (1.0, 2.0):
        half_field = math.atan(wide * corner / plain.pupil.image_distance)
        projection = optics.Projection(half_field=torch.tensor(half_field, dtype=torch.float64))
        known = optics.IncoherentImaging(plain.pupil, projection=projection)
        slope = math.tan(math.radians(4.0))
        found = Tilted(known, (slope, 0.0))(scene)
        expected = Tilted(plain, (wide * slope, 0.0))(scene)
        illumination = projection.illumination((48, 64))
        torch.testing.assert_close(found, expected * illumination, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["tilt_x", "tilt_y"])
def test_a_camera_without_another_focus_elsewhere_refuses_a_tilt(name):
    pupil = _pupil()
    fronts = (
        optics.CoherentImaging(pupil),
        optics.IncoherentImaging(torch.full((5, 5), 0.04), channels=1),
        optics.LearnedKernel("gaussian", 5, channels=1),
        optics.IncoherentImaging(pupil, working_distances=torch.tensor([0.5, 1.0])),
        optics.VaryingImaging(torch.full((2, 2, 5, 5), 0.04), rank=1, channels=1),
        None,
    )
    for front in fronts:
        system = joint.ImagingSystem(front_end=front)
        assert name not in applicable(system, channels=1)
        with pytest.raises(
            ValueError,
            match=rf"no {name}: it needs optics.IncoherentImaging\(Pupil.* are drawn",
        ):
            resolved([name], system, channels=1)


def test_angles_and_distances_have_their_ranges():
    assert [kind.name for kind in (*DECENTRES, *TILTS)] == [
        "decentre", "decentre_y", "decentre_radial", "tilt_x", "tilt_y",
    ]  # fmt: skip
    for kind in TILTS:
        assert kind.allowed(10)
        assert kind.allowed(-10)
        assert not kind.allowed(10.1)
        assert kind.rule == "from -10 to 10"
    assert not DECENTRES[2].allowed(-0.1)


def test_a_traced_lens_that_is_decentred_carries_its_stop_with_it():
    surfaces = [
        optics.Surface(0.0, 0.8e-3, semi_diameter=0.4e-3, stop=True),
        optics.Surface(1 / 5.2e-3, 1.2e-3, "n_bk7", 1.2e-3),
        optics.Surface(-1 / 5.2e-3, 4.7e-3, semi_diameter=1.2e-3),
    ]
    camera = optics.compound_imaging(
        optics.CompoundLens(surfaces, wavelength=550e-9), picture=9, pixel_pitch=3e-6,
        wavelengths=(550e-9,), psf_size=9, rank=4, places=2, pupil_size=32,
    )  # fmt: skip
    system = joint.ImagingSystem(front_end=camera, encoding="linear")
    assert not {"decentre", "decentre_y", "decentre_radial", "rotation"} & {*applicable(system)}
    with pytest.raises(ValueError, match=r"no decentre: .*not a traced lens, which carries"):
        resolved(["decentre"], system, channels=1)
    # A plate beside it moves alone.
    plate = optics.PhaseMask(torch.zeros(camera.pupil.size), spacing=camera.pupil.spacing)
    camera.pupil.elements.append(plate)
    moved = _made(system, "decentre", 0.02).front_end.pupil.elements
    assert isinstance(moved[0], optics.CompoundPupil)
    assert isinstance(moved[1], MovedPhase)
