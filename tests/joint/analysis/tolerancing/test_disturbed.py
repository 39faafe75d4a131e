import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

import optics
from joint.analysis.tolerancing.disturbed import (
    Disturbed,
    MovedElement,
    MovedPhase,
    Seat,
    Tilted,
    moved,
    shifted,
)


@given(
    seed=st.integers(0, 2**31),
    angle=st.floats(-180, 180),
    shift=st.floats(-3, 3),
    shift_y=st.floats(-3, 3),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
)
@settings(deadline=None)
def test_moved_maps_agree_with_scipy(seed, angle, shift, shift_y, height, width):
    image = np.random.default_rng(seed).standard_normal((height, width))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    back = np.array([[c, -s], [s, c]])  # (row, column) of the result to those of the source
    centre = np.array([height // 2, width // 2])
    offset = centre - back @ np.array([centre[0] + shift_y, centre[1] + shift])
    for ours, theirs in (("zeros", "grid-constant"), ("border", "nearest")):
        expected = affine_transform(image, back, offset, order=1, mode=theirs)
        found = moved(torch.from_numpy(image), Seat(shift, shift_y, angle), outside=ours)
        assert np.allclose(found.numpy(), expected, atol=1e-6)


@given(pixels=st.floats(-4, 4))
@settings(deadline=None)
def test_shifted_pictures_agree_with_numpy(pixels):
    image = torch.rand(2, 1, 3, 9, generator=torch.Generator().manual_seed(0)).double()
    expected = [
        np.interp(np.arange(9) - pixels, np.arange(9), row) for row in image.reshape(-1, 9).numpy()
    ]
    assert np.allclose(shifted(image, pixels).reshape(-1, 9).numpy(), expected)


def test_a_front_end_is_disturbed_before_and_behind():
    inner = optics.LearnedKernel("unsharp", 7)
    scene = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    lamp = torch.tensor([2.0, 1.0, 0.5])[:, None, None]
    both = Disturbed(inner, 3, gains=(2.0, 1.0, 0.5), shifts=(0.0, 2.0))
    first, second = both(scene).detach().chunk(2, 1)
    one, two = inner(scene * lamp).detach().chunk(2, 1)
    assert torch.equal(first, one)
    assert torch.equal(second[..., 2:], two[..., :-2])
    assert both.exposures == 2
    assert (both.in_channels, both.out_channels) == (inner.in_channels, inner.out_channels)
    assert torch.equal(both.throughput(), inner.throughput())
    assert torch.equal(both.combine(both(scene)), inner.combine(both(scene)))
    none = Disturbed(None, 3, gains=(2.0, 1.0, 0.5))
    assert torch.equal(none(scene), scene * lamp)
    assert torch.equal(none.combine(scene), scene)
    assert none.throughput() == none.exposures == 1


@pytest.mark.parametrize("angle", [0.0, 180.0])
def test_phase_and_amplitude_move_alike(angle):
    phase = torch.rand(33, 33, generator=torch.Generator().manual_seed(0))
    mask = optics.PhaseMask(phase, spacing=1e-5)
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    expected = phase.rot90(int(angle) // 90)[:, :-4]
    sits = MovedPhase(mask, Seat(4.0, angle=angle)).phase_shift(wavelength)[0]
    assert torch.allclose(sits[:, 4:], expected, atol=1e-4)
    field = MovedElement(mask, Seat(4.0, angle=angle)).transmission(wavelength)[0]
    assert torch.allclose(field[:, 4:].angle(), expected.to(field.angle()), atol=1e-4)
    down = MovedElement(mask, Seat(shift_y=4.0, angle=angle)).transmission(wavelength)[0]
    lower = phase.rot90(int(angle) // 90)[:-4]
    assert torch.allclose(down[4:].angle(), lower.to(down.angle()), atol=1e-4)


def _fresnel(decentre=0.0, levels=None, folded=True):
    """A lens of green light, and the relief that takes it back, drawn at its place; in samples."""
    spacing, wave, focal_length = 2.5e-3 / 127, 540e-9 / 0.5, 0.25
    x = optics.coordinates(128)
    turns = -((x[:, None].square() + (x - decentre).square()) * spacing**2) / (
        2 * 540e-9 * focal_length
    )
    height = (turns.remainder(1) if folded else turns - turns.min()) * wave
    relief = optics.HeightMap(
        height, spacing=spacing, material=1.5, design_wavelength=540e-9,
        max_height=wave if folded else 12 * wave, levels=levels,
    )  # fmt: skip
    return relief, optics.Lens(128, spacing=spacing, focal_length=-focal_length)


def _peak(*elements, wavelength=540e-9):
    pupil = optics.Pupil(
        elements, wavelengths=(wavelength,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=41
    )
    return float(pupil().detach().amax())


@pytest.mark.parametrize("folded", [True, False])
def test_a_relief_is_the_same_when_it_is_turned_and_the_one_at_its_place_when_it_is_moved(folded):
    relief, lens = _fresnel(folded=folded)
    sharp = _peak(relief, lens)
    # The steepest phase is 0.7 radians a sample, at the rim, and interpolated phasors so far apart
    # are off by 0.7^3 / (36 sqrt 3): the amplitude by as much at most, the peak by twice that.
    bound = 2 * 0.7**3 / (36 * 3**0.5)
    assert _peak(MovedPhase(relief, Seat(angle=1.0)), lens) == pytest.approx(sharp, rel=bound)
    for shift in (0.25, 0.5, 1.0):
        there = _peak(_fresnel(shift)[0], lens)
        moved_ = _peak(MovedPhase(relief, Seat(shift)), lens)
        assert moved_ == pytest.approx(there, rel=bound)
        assert moved_ < 0.99 * sharp


@pytest.mark.parametrize(("wavelength", "levels"), [(540e-9, 8), (620e-9, None), (460e-9, None)])
def test_other_jumps_than_whole_waves_are_steps_of_a_sample(wavelength, levels):
    (relief, lens), (there, _) = (_fresnel(d, levels) for d in (0.0, 0.5))
    turned, moved_ = (
        _peak(MovedPhase(relief, askew), lens, wavelength=wavelength)
        for askew in (Seat(angle=1.0), Seat(0.5))
    )
    # What docs/howto/tolerance.md promises.
    assert turned == pytest.approx(_peak(relief, lens, wavelength=wavelength), rel=0.06)
    assert moved_ == pytest.approx(_peak(there, lens, wavelength=wavelength), rel=0.06)


def _fast_lens(focus=math.inf):
    """At f/2."""
    pupil = optics.Pupil(
        [], wavelengths=(550e-9,), focal_length=5e-3, pixel_pitch=1e-6, psf_size=15, size=65,
        spacing=2.5e-3 / 64, focus=focus,
    )  # fmt: skip
    return optics.IncoherentImaging(pupil.double())


@pytest.mark.parametrize("focus", [math.inf, 0.3])
def test_a_sensor_that_is_not_tilted_is_the_camera(focus):
    camera = _fast_lens(focus)
    scene = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(0)).double()
    tilted = Tilted(camera, (0.0, 0.0))
    assert torch.allclose(tilted(scene), camera(scene), atol=1e-14)
    assert torch.equal(tilted.throughput(), camera.throughput())
    assert tilted.pupil is camera.pupil
    assert torch.equal(tilted.combine(scene), scene)
    assert (tilted.in_channels, tilted.out_channels, tilted.exposures) == (1, 1, 1)


@pytest.mark.parametrize("focus", [math.inf, 0.3])
def test_each_point_of_a_tilted_sensor_has_the_psf_of_its_distance(focus):
    camera = _fast_lens(focus)
    tilted = Tilted(camera, (0.1, -0.05))
    far = camera.pupil.image_distance
    for row, column in ((20, 100), (100, 64), (64, 64)):
        scene = torch.zeros(1, 1, 128, 128, dtype=torch.float64)
        scene[0, 0, row, column] = 1
        behind = 0.1 * (row - 64) * 1e-6 - 0.05 * (column - 64) * 1e-6
        # Where the scene would be, for the lens to have its image on the sensor there: its PSF is
        # that of a camera which is focused elsewhere.
        vergence = 1 / (far + behind) - 1 / far
        distance = 1 / (1 / focus + vergence) if vergence or focus < math.inf else math.inf
        expected = camera.psf(distance=distance)[0]
        found = tilted(scene)[0, 0, row - 7 : row + 8, column - 7 : column + 8]
        assert float((found - expected).abs().max()) < 0.004 * float(camera.psf().max())
        assert float(found.sum()) == pytest.approx(float(expected.sum()), abs=2e-3)


def test_a_tilted_camera_with_its_aperture_beside_the_axis_sees_each_point_where_it_goes():
    # Out of focus such a PSF moves, by what grows with the distance from the axis.
    spacing = 5e-3 / 95
    aperture = optics.circular_aperture(96, diameter=1e-3, spacing=spacing).roll(34, 1)
    pupil = optics.Pupil(
        [], size=96, spacing=spacing, aperture=aperture, wavelengths=(550e-9,), focal_length=50e-3,
        pixel_pitch=8e-6, psf_size=31,
    )  # fmt: skip
    slope = 0.15
    tilted = Tilted(optics.IncoherentImaging(pupil, boundary="zero"), (0.0, slope))
    for column in (30, 47, 68):
        scene = torch.zeros(1, 1, 31, 121)
        scene[..., 15, column] = 1
        found = tilted(scene)[0, 0, :, column - 15 : column + 16]
        there = pupil.image_distance + slope * (column - 60) * 8e-6
        expected = pupil(distance=1 / (1 / there - 1 / pupil.image_distance))[0]
        assert float((found - expected).abs().max() / expected.max()) < 0.01


def test_a_tilted_camera_has_its_distortion_and_its_colours():
    bands = (640e-9, 600e-9, 570e-9, 550e-9)
    pupil = optics.Pupil(
        [], wavelengths=bands, focal_length=5e-3, pixel_pitch=1e-6, psf_size=15, size=65,
        spacing=2.5e-3 / 64,
    )  # fmt: skip
    filters = optics.ColourFilters(torch.tensor([[0.8, 0.1, 0.0, 0.0], [0.0, 0.2, 0.7, 0.9]]))
    camera = optics.IncoherentImaging(
        pupil.double(),
        projection=optics.Projection(radial=(-0.2,), half_field=0.6).double(),
        colour=optics.ColourChannels(4, filters=filters).double(),
    )
    scene = torch.rand(2, 4, 24, 24, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        seen = camera(scene)
        slight = Tilted(camera, (1e-7, 0.0))(scene)
        assert slight.shape == seen.shape == (2, 2, 24, 24)
        # As far as light is where it would be: a tilt of nothing is the camera.
        assert torch.allclose(slight, seen, atol=1e-6)


def test_a_tilted_camera_is_refocused_for_where_its_scene_is():
    camera = _fast_lens(0.3)
    scene = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(0)).double()
    tilted = Tilted(camera, (1e-9, 0.0))
    with camera.at(0.25):
        expected = camera(scene)
        assert torch.allclose(tilted(scene), expected, atol=1e-5)
    assert not torch.allclose(tilted(scene), expected, atol=1e-3)


def test_light_has_a_gradient_through_a_tilted_sensor():
    phase = torch.zeros(65, 65, dtype=torch.float64, requires_grad=True)
    camera = _fast_lens()
    mask = optics.PhaseMask(torch.nn.Parameter(phase), spacing=2.5e-3 / 64)
    camera.pupil.elements.append(mask)
    scene = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    Tilted(camera, (0.1, 0.1))(scene).square().sum().backward()
    assert float(mask.phase.grad.abs().max()) > 0


def test_a_tilt_needs_a_pupil_and_room():
    with pytest.raises(ValueError, match="a fixed PSF has one focus"):
        Tilted(optics.IncoherentImaging(torch.full((5, 5), 0.04)), (0.1, 0.0))
    with pytest.raises(ValueError, match=r"reaches 0.008 metres towards the pupil, which is 0.005"):
        Tilted(_fast_lens(), (1000.0, 0.0))(torch.ones(1, 1, 16, 16))


def test_what_lies_around_a_camera_shows_its_pupil():
    camera = _fast_lens()
    assert Disturbed(Tilted(camera, (0.1, 0.0)), 1, shifts=(1.0,)).pupil is camera.pupil
    assert Disturbed(optics.LearnedKernel("gaussian", 5), 3, shifts=(1.0,)).pupil is None
    assert Disturbed(None, 3, shifts=(1.0,)).pupil is None


def test_what_lies_around_a_camera_tells_its_psf():
    camera = _fast_lens()
    around = Disturbed(camera, 1, gains=(1.5,), magnification=1.1, shifts=(1.0,))
    frequency = torch.tensor([5e4])
    for each in (around, copy.deepcopy(around), Disturbed(around, 1, shifts=(2.0,))):
        assert torch.equal(each.psf(distance=0.3), camera.psf(distance=0.3))
        assert torch.equal(each.mtf(frequency), camera.mtf(frequency))
    kernel = optics.LearnedKernel("gaussian", 5)
    assert torch.equal(Disturbed(kernel, 3, shifts=(1.0,)).kernels, kernel.kernels)
    with pytest.raises(
        AttributeError, match=r"no psf of a camera .* around a LearnedKernel, which"
    ):
        _ = Disturbed(kernel, 3, shifts=(1.0,)).psf
    with pytest.raises(AttributeError, match=r"no mtf of a camera .* around no front end, which"):
        _ = Disturbed(None, 3, shifts=(1.0,)).mtf
    with pytest.raises(AttributeError, match="no psf of a tilted sensor"):
        _ = Disturbed(Tilted(camera, (0.1, 0.0)), 1, shifts=(1.0,)).inner.psf
    # What makes pictures is not handed on: it would make those of a camera that is not disturbed.
    assert not hasattr(around, "image_layers")


class _Twice(optics.FrontEnd):
    """Two exposures of a phase object."""

    in_channels, out_channels, exposures, phase_depth = 3, 3, 2, 0.7

    def __init__(self, front):
        super().__init__()
        self.front = front

    def forward(self, scene):
        return torch.cat(2 * [self.front(scene) / 2], 1)

    def throughput(self):
        return self.front.throughput()

    def combine(self, raw):
        return raw.unflatten(1, (2, -1)).sum(1)


def test_a_lamp_lights_phase_objects_and_does_not_thicken_them():
    front = optics.FourierFilter(8, "phase_contrast", phase_depth=0.7)
    lamp = Disturbed(front, 3, gains=(1.5, 1.0, 0.5))
    scene = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = front(scene) * torch.tensor([1.5, 1.0, 0.5])[:, None, None]
    torch.testing.assert_close(lamp(scene), expected)
    assert lamp.phase_depth == 0.7
    assert lamp.interferes
    assert Disturbed(optics.FourierFilter(8), 3).interferes
    assert not Disturbed(None, 3).interferes
    twice = _Twice(front)
    lamp = Disturbed(twice, 3, gains=(1.5, 1.0, 0.5))
    torch.testing.assert_close(lamp(scene), torch.cat((expected, expected), 1) / 2)


class _Thin(optics.PhaseMask):
    def penalty(self):
        return torch.tensor(0.3)


def test_what_is_disturbed_is_as_far_from_what_can_be_made_as_before():
    made = _Thin(torch.zeros(16, 16), spacing=1e-4)
    pupil = optics.Pupil(
        [made], wavelengths=(550e-9,), focal_length=1e-2, pixel_pitch=2e-6, psf_size=5
    )
    camera = optics.IncoherentImaging(pupil)
    askew = MovedPhase(made, Seat(shift=1.0)), MovedElement(made, Seat(angle=5.0))
    around = Disturbed(camera, 1, shifts=(2.0,)), Tilted(camera, (0.1, 0.0))
    for each in (*askew, *around):
        assert each.penalty() == torch.tensor(0.3)
    assert Disturbed(None, 3).penalty() is None


@pytest.mark.parametrize(("angle", "turns"), [(0.0, 0), (90.0, -1), (180.0, 2), (-90.0, 1)])
@pytest.mark.parametrize(("shift", "shift_y"), [(4, 0), (0, 3), (-2, 5)])
def test_an_element_sits_where_it_was_moved_and_its_rim_goes_on(angle, turns, shift, shift_y):
    """From +x to +y, which is down: rot90 turns the other way; then to the right and down."""
    phase = torch.rand(33, 33, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    rows = (torch.arange(33) - shift_y).clamp(0, 32)
    columns = (torch.arange(33) - shift).clamp(0, 32)
    where = Seat(float(shift), float(shift_y), angle)
    mask = optics.PhaseMask(phase, spacing=1e-5)
    sits = MovedPhase(mask, where).phase_shift(wavelength)[0].double()
    expected = phase.rot90(turns)[rows][:, columns]
    torch.testing.assert_close(sits, expected, rtol=0, atol=1e-4)
    share = optics.AmplitudeMask(0.1 + 0.8 * phase, spacing=1e-5, trainable=False)
    field = MovedElement(share, where).transmission(wavelength)[0]
    given = share.transmission(wavelength)[0].real.rot90(turns)[rows][:, columns]
    torch.testing.assert_close(field.real, given, rtol=0, atol=1e-4)
    assert not field.imag.any()
