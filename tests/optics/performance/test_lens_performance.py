import json
import math
from dataclasses import replace

import pytest
import torch
from scipy import optimize, special

import optics

FOCAL, DIAMETER, PITCH, WAVE = 10e-3, 3.5e-3, 3e-6, 550e-9


def _disk(samples=128):
    """A circle with a sharp edge, and its spacing."""
    spacing = DIAMETER / (0.9 * samples)
    y = optics.coordinates(samples, spacing=spacing)
    return (y[:, None] ** 2 + y**2 <= (DIAMETER / 2) ** 2).float(), spacing


def _pupil(*elements, samples=128, focus=math.inf, wavelengths=(WAVE,)):
    aperture, spacing = _disk(samples)
    return optics.Pupil(
        elements,
        size=samples,
        spacing=spacing,
        aperture=aperture,
        wavelengths=wavelengths,
        focal_length=FOCAL,
        pixel_pitch=PITCH,
        psf_size=15,
        oversample=3,
        focus=focus,
    )


def _aberration(waves, index, samples=128):
    _, spacing = _disk(samples)
    coefficients = torch.as_tensor(waves) * WAVE
    return optics.Aberration(
        samples,
        spacing=spacing,
        diameter=DIAMETER,
        coefficients=coefficients.reshape(*coefficients.shape, 1)
        if coefficients.ndim
        else coefficients[None],
        indices=[index],
    )


def test_an_open_circle_has_the_numbers_of_the_textbook():
    found = optics.lens_performance(_pupil(), shares=(0.3, 0.5, 0.8))
    number = FOCAL / DIAMETER
    assert found.f_number == pytest.approx(number, rel=5e-3)
    assert found.working_f_number == pytest.approx(number, rel=5e-3)
    assert found.airy_radius.item() == pytest.approx(1.21967 * WAVE * number, rel=5e-3)
    assert found.cutoff.item() == pytest.approx(1 / (WAVE * number), rel=5e-3)
    assert found.q_sampling.item() == pytest.approx(WAVE * number / PITCH, rel=5e-3)
    assert found.throughput.item() == found.strehl.item() == pytest.approx(1, abs=1e-6)

    def energy(v):  # Rayleigh, 1881
        return 1 - special.j0(v) ** 2 - special.j1(v) ** 2

    for share, radius in zip(found.shares, found.radius[0].tolist(), strict=True):
        v = float(optimize.brentq(lambda v, share=share: energy(v) - share, 0.1, 12))  # pyright: ignore[reportArgumentType]
        assert radius == pytest.approx(v * WAVE * number / math.pi, rel=1e-3)
    # Goodman's MTF of a circle, times that of the pixels.
    for frequency, both in zip(found.frequency.tolist(), found.contrast[0].tolist(), strict=True):
        part = frequency * WAVE * number
        lens = 2 / math.pi * (math.acos(part) - part * math.sqrt(1 - part**2))
        pixel = math.sin(math.pi * frequency * PITCH) / (math.pi * frequency * PITCH)
        assert both == pytest.approx([lens * pixel] * 2, abs=4e-3)


def test_of_a_lens_that_is_focused_near():
    found = optics.lens_performance(_pupil(focus=0.1))
    image = 1 / (1 / FOCAL - 1 / 0.1)
    assert found.image_distance == pytest.approx(image)
    assert found.magnification == pytest.approx(image / 0.1)
    assert found.object_pixel == pytest.approx(PITCH * 0.1 / image)
    assert found.pixel_angle == pytest.approx(PITCH / image)
    far = optics.lens_performance(_pupil())
    assert (far.magnification, far.object_pixel) == (0, math.inf)


def test_at_the_ends_of_the_depth_of_field_the_strehl_ratio_is_that_of_a_quarter_wave():
    pupil = _pupil(focus=0.4)
    depth = optics.lens_performance(pupil).depth_of_field()
    assert depth.near < 0.4 < depth.far
    at = optics.lens_performance(pupil, distance=[depth.near, 0.4, depth.far])
    quarter = (math.sin(math.pi / 4) / (math.pi / 4)) ** 2
    assert at.strehl[:, 0].tolist() == pytest.approx([quarter, 1, quarter], abs=5e-3)
    number = pupil.image_distance / pupil.diameter
    assert depth.image == pytest.approx(2 * WAVE * number**2)  # the textbook's +-2 lambda N^2


def test_at_the_ends_of_that_of_a_spot_rays_of_the_rim_are_as_far_apart():
    pupil = _pupil(focus=0.4)
    depth = optics.lens_performance(pupil).depth_of_field(6e-6)
    for distance in (depth.near, depth.far):
        sharp = 1 / (1 / FOCAL - 1 / distance)
        spot = pupil.diameter * abs(sharp - pupil.image_distance) / sharp
        assert spot == pytest.approx(6e-6)
    assert depth.image == pytest.approx(6e-6 * pupil.image_distance / pupil.diameter)
    # Beyond the hyperfocal distance it reaches to infinity.
    distant = optics.lens_performance(_pupil(focus=1e3)).depth_of_field(6e-6)
    assert distant.far == math.inf
    assert distant.near == pytest.approx(FOCAL * DIAMETER / 6e-6, rel=2e-2)


@pytest.mark.parametrize("blur", [0.0, -1e-6, math.nan])
def test_a_spot_is_positive(blur):
    found = optics.lens_performance(_pupil())
    with pytest.raises(ValueError, match="blur must be"):
        found.depth_of_field(blur)


@pytest.mark.parametrize("index", [4, 8, 11])
def test_the_strehl_ratio_is_that_of_the_psf_and_of_marechal(index):
    aberrated, plain = _pupil(_aberration(0.05, index)), _pupil()
    found = optics.lens_performance(aberrated).strehl.item()
    assert found == pytest.approx(math.exp(-((2 * math.pi * 0.05) ** 2)), abs=3e-3)

    def wide(pupil):  # one point to a pixel, and pixels so small that Q is 2
        return optics.Pupil(
            [*pupil.elements], size=128, spacing=pupil.spacing, aperture=pupil.aperture,
            wavelengths=(WAVE,), focal_length=FOCAL, pixel_pitch=WAVE * FOCAL / DIAMETER / 2,
            psf_size=127,
        )()  # fmt: skip

    assert found == pytest.approx(optics.strehl(wide(aberrated), wide(plain)).item(), abs=2e-3)


def test_light_that_is_kept_back_is_no_aberration():
    _, spacing = _disk()
    grey = optics.AmplitudeMask(torch.full((128, 128), 0.25), spacing=spacing, trainable=False)
    found = optics.lens_performance(_pupil(grey))
    assert found.throughput.item() == pytest.approx(0.25, abs=1e-6)
    assert found.strehl.item() == pytest.approx(1, abs=1e-6)


def test_contrast_is_that_of_the_pupil_along_y_and_x():
    pupil = _pupil(_aberration(0.15, 6), wavelengths=(620e-9, 460e-9))  # astigmatism
    frequency = torch.tensor([2e4, 8e4])
    found = optics.lens_performance(pupil, frequency=frequency)
    assert found.contrast.shape == (2, 2, 2)
    for direction, angle in enumerate((math.pi / 2, 0.0)):
        expected = pupil.mtf(frequency, angle=angle).double()
        torch.testing.assert_close(
            found.contrast[..., direction], expected, atol=2e-6, rtol=0, check_dtype=False
        )
    assert (found.contrast[..., 0] - found.contrast[..., 1]).abs().max() < 0.02  # about best focus


def test_in_the_corners_tangential_is_along_the_radius():
    """Coma that grows with the height: all four corners alike, and worse along the radius."""
    samples = 64
    _, spacing = _disk(samples)
    coefficients = optics.seidel_coefficients(3, size=(30, 40), coma=0.8 * WAVE)
    coma = optics.Aberration(samples, spacing=spacing, diameter=DIAMETER, coefficients=coefficients)
    found = optics.lens_performance(_pupil(coma, samples=samples), picture=(30, 40))
    assert found.strehl.shape == (3, 3, 1)
    assert found.contrast.shape == (3, 3, 1, 3, 2)
    corners = found.contrast[[0, 0, 2, 2], [0, 2, 0, 2]]
    # The grid of the pupil is square, the direction of these corners is not on it.
    assert (corners - corners[:1]).abs().max() < 1e-3
    edges = found.contrast[[0, 1], [1, 2], 0]  # heights of 0.6 and 0.8
    assert (edges[1] < edges[0] - 1e-3).all()
    assert (corners[0, 0, :, 0] < corners[0, 0, :, 1] - 0.02).all()
    middle = found.contrast[1, 1, 0]
    assert (middle[:, 0] - middle[:, 1]).abs().max() < 1e-3
    assert found.places is not None
    assert found.places[2, 2].tolist() == pytest.approx([0.6, 0.8])
    shown = str(found).splitlines()
    assert [line.split()[1] for line in shown[-3:]] == ["0.00", "0.80", "1.00"]


def _in_places(*elements):
    _, spacing = _disk(64)
    coefficients = optics.seidel_coefficients(3, size=(30, 60), astigmatism=WAVE)
    plate = optics.Aberration(64, spacing=spacing, diameter=DIAMETER, coefficients=coefficients)
    return _pupil(plate, *elements, samples=64)


def test_the_shape_of_the_picture_is_that_of_the_vignetting_or_told():
    _, spacing = _disk(64)
    rim = optics.Vignetting(
        64, spacing=spacing, diameter=1.2 * DIAMETER, shift=1e-3, places=3, picture=(30, 60)
    )
    known = optics.lens_performance(_in_places(rim))
    given = optics.lens_performance(_in_places(rim), picture=(60, 121))  # the same, but a column
    assert known.places is not None
    torch.testing.assert_close(known.places[2, 2], torch.tensor([1.0, 2.0]).double() / 5**0.5)
    torch.testing.assert_close(given.contrast, known.contrast, atol=1e-3, rtol=0)
    with pytest.warns(UserWarning, match=r"is 48 x 48 pixels.* for 30 x 60") as found:
        square = optics.lens_performance(_in_places(rim), picture=48)
    assert found[0].filename == __file__
    assert (square.contrast - known.contrast).abs().max() > 0.02
    with pytest.warns(UserWarning, match=r"taken as square: give picture=") as found:
        assumed = optics.lens_performance(_in_places())
    assert found[0].filename == __file__
    torch.testing.assert_close(
        assumed.contrast, optics.lens_performance(_in_places(), picture=1).contrast
    )
    optics.lens_performance(_pupil())  # the same everywhere


def test_a_pupil_that_is_too_coarse_is_told():
    # 25 cm away from a focus at infinity: 47 um for 85 um of half of the light, of 32 samples.
    def lens(samples):
        return optics.Pupil(
            [], size=samples, spacing=3e-3 / (samples - 1), wavelengths=(WAVE,), focal_length=0.02,
            pixel_pitch=2e-6, psf_size=9,
        )  # fmt: skip

    fine = optics.lens_performance(lens(128), distance=0.25).radius[0, 0, 0]
    coarse = lens(32)
    with pytest.warns(UserWarning, match="sampled too coarsely for a point 4 dioptres") as found:
        wrong = optics.lens_performance(coarse, distance=0.25).radius[0, 0, 0]
    assert [each.filename for each in found] == [__file__]
    assert wrong < 0.6 * fine
    optics.lens_performance(coarse, distance=0.25)  # said once


def test_distances_are_those_of_the_front_end_or_given():
    lens = optics.IncoherentImaging(
        _pupil(focus=0.4, wavelengths=(620e-9, 550e-9, 460e-9)), working_distances=(0.35, 0.5)
    )
    found = optics.lens_performance(lens)
    assert found.distance == (0.35, 0.5)
    assert found.strehl.shape == (2, 3)
    one = optics.lens_performance(lens, distance=0.35)
    assert one.distance == pytest.approx((0.35,))
    torch.testing.assert_close(one.strehl[0], found.strehl[0])
    torch.testing.assert_close(one.radius[0], found.radius[0])
    assert "350 mm" in str(one)
    assert "MTF    of lens and pixel, at cycles/pixel" in str(one)


def test_a_share_that_the_grid_does_not_hold_has_no_radius():
    """A wave per sample of random phase scatters light everywhere, to beyond the period."""
    _, spacing = _disk()
    phase = 2 * math.pi * torch.rand(128, 128, generator=torch.Generator().manual_seed(0))
    rough = optics.PhaseMask(phase, spacing=spacing, design_wavelength=WAVE)
    found = optics.lens_performance(_pupil(rough), shares=(0.2, 0.99))
    assert found.radius[0, 0] < math.inf
    assert found.radius[0, 1] == math.inf
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["radius"][0][1] is None


def test_what_is_not_finite_is_none():
    found = optics.lens_performance(_pupil())
    missing = replace(found, strehl=torch.tensor([math.nan, math.inf]))
    told = json.loads(json.dumps(missing.to_dict(), allow_nan=False))
    assert told["strehl"] == [None, None]


def test_it_is_json_and_text():
    found = optics.lens_performance(_pupil(focus=0.4))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["f_number"] == found.f_number
    assert told["depth_of_field"]["near"] == found.depth_of_field().near
    assert told["depth_of_field_of_a_pixel"] == found.depth_of_field(PITCH)._asdict()
    text = str(found)
    assert "10 mm, f/2.8" in text
    assert "a pixel of 3 um sees 117 um" in text
    # Beside a Strehl ratio of the elements, such as a defocus, this would contradict it.
    for rule in ("a quarter wave at the rim", "a spot of one pixel"):
        assert f"{rule}, of the lens without its elements" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": (0.5, 1.0)}, "above 0 and below 1"),
        ({"shares": (0.0,)}, "above 0 and below 1"),
        ({"shares": (-0.5,)}, "between 0 and 1"),
        ({"shares": ()}, "at least one"),
        ({"frequency": [math.nan]}, "frequency must be finite"),
        ({"frequency": [1e4, -1e4]}, "frequency must be 0 or more, in cycles/m; it .* -10000"),
        (
            {"distance": [0.4, 0.0]},
            r"other than 0, where the lens itself stands, not \[0\.4, 0\.0\]",
        ),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optics.lens_performance(_pupil(), **options)


def test_a_dark_pupil_and_what_is_none_are_refused():
    _, spacing = _disk()
    dark = optics.AmplitudeMask(torch.zeros(128, 128), spacing=spacing, trainable=False)
    with pytest.raises(ValueError, match="passes no light"):
        optics.lens_performance(_pupil(dark))
    with pytest.raises(TypeError, match="must be a Pupil"):
        optics.lens_performance(_pupil)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="contains 0"):
        optics.lens_performance(optics.LearnedKernel("identity", 3))


def _brute(pupil, weights, frequency, shares):
    """Strehl ratio, contrast along y and x, and radii of PSFs that are added on fine pixels."""
    fine = {
        "size": pupil.size, "spacing": pupil.spacing, "aperture": pupil.aperture,
        "wavelengths": pupil.wavelengths, "focal_length": FOCAL, "pixel_pitch": 4e-7,
        "psf_size": 301,
    }  # fmt: skip
    seen = optics.Pupil([*pupil.elements], **fine)().double()
    flat = optics.Pupil([], **fine)().double()
    weights = torch.tensor(weights, dtype=torch.float64)[:, None, None]
    both = torch.stack([(weights * each).sum(0) for each in (seen, flat)])
    middle = both[:, 150, 150]
    x = optics.coordinates(301, spacing=4e-7)
    wave = torch.exp(-2j * math.pi * x * frequency)
    image = both[0].to(torch.complex128)
    light = sum(
        w * float(psf.sum()) for w, psf in zip(weights.flatten().tolist(), seen, strict=True)
    )
    contrast = [abs(image.sum(1) @ wave) / light, abs(image.sum(0) @ wave) / light]
    radii = torch.linspace(5e-7, 5e-6, 121)
    energy = optics.encircled_energy(both[0], radii, pixel_pitch=4e-7) / light
    found = [float(radii[int((energy >= share).double().argmax())]) for share in shares]
    return float(middle[0] / middle[1]), [float(each) for each in contrast], found


def test_all_wavelengths_together_are_the_sum_of_their_psfs():
    """Axial and lateral colour, and elements that pass another share of each."""
    waves, weights, frequency, shares = (620e-9, 550e-9, 460e-9), (1.0, 3.0, 2.0), 7e4, (0.4, 0.7)
    samples = 128
    _, spacing = _disk(samples)
    colour = optics.Aberration(
        samples,
        spacing=spacing,
        diameter=DIAMETER,
        coefficients=torch.tensor([[0.12, 0.1], [0.0, 0.0], [-0.12, -0.15]]) * WAVE,
        indices=[2, 4],
    )
    pupil = _pupil(colour, samples=samples, wavelengths=waves)
    found = optics.lens_performance(pupil, weights=weights, frequency=[frequency], shares=shares)
    strehl, contrast, radii = _brute(pupil, weights, frequency, shares)
    mixed = found.polychromatic
    assert mixed.weights.tolist() == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert mixed.strehl.item() == pytest.approx(strehl, rel=2e-3)
    pixel = float(optics.pixel_mtf(torch.tensor(frequency), pitch=PITCH))
    assert (mixed.contrast[0] / pixel).tolist() == pytest.approx(contrast, abs=4e-3)
    # The mean of the moduli is more, along x, where the colours lie beside each other.
    moduli = mixed.weights @ found.contrast[:, 0, 1]
    assert mixed.contrast[0, 1] < moduli - 0.01
    assert mixed.radius.tolist() == pytest.approx(radii, rel=1.5e-2)


def test_of_one_wavelength_all_are_that_one_and_of_weights_only_ratios_count():
    pupil = _pupil(_aberration(0.05, 8), samples=128)
    one = optics.lens_performance(pupil)
    for name in ("strehl", "radius", "contrast"):
        alone = getattr(one, name)[0]
        torch.testing.assert_close(getattr(one.polychromatic, name), alone, msg=name)
    assert "all" not in str(one)
    waves = (620e-9, 550e-9, 460e-9)
    blind = optics.lens_performance(_pupil(wavelengths=waves), weights=[0.0, 0.0, 2.0])
    torch.testing.assert_close(blind.polychromatic.radius, blind.radius[2], rtol=1e-3, atol=0)
    text = str(blind).splitlines()
    assert text[-1] == "all: the wavelengths together, 0 %, 0 %, 100 %"
    assert text[-2].split()[:2] == ["all", "1.000"]
    equal = optics.lens_performance(_pupil(wavelengths=waves))
    assert str(equal).endswith("all: the wavelengths together, equal parts")
    told = json.loads(json.dumps(equal.to_dict(), allow_nan=False))["polychromatic"]
    assert told["weights"] == pytest.approx([1 / 3] * 3)
    # Small circles, whose light goes as their area, of waves twice as long.
    far = optics.lens_performance(_pupil(wavelengths=(400e-9, 800e-9)), shares=[1e-4, 0.5])
    small, half = far.polychromatic.radius.tolist()
    assert far.radius[0, 0] < small < far.radius[1, 0]
    assert far.radius[0, 1] < half < far.radius[1, 1]


def test_light_that_an_element_keeps_back_is_not_in_the_sum():
    """A colour filter in the pupil: what passes counts, beside the weights."""

    class _Filter(optics.Element):
        def transmission(self, wavelength):
            amplitude = torch.where(wavelength < 500e-9, 0.5, 1.0)
            return amplitude[:, None, None].expand(-1, *self.size).to(torch.complex64)

    waves = (620e-9, 460e-9)
    _, spacing = _disk()
    found = optics.lens_performance(_pupil(_Filter(128, spacing), wavelengths=waves))
    assert found.throughput.tolist() == pytest.approx([1.0, 0.25])
    expected = (found.contrast[0] + 0.25 * found.contrast[1]) / 1.25
    torch.testing.assert_close(found.polychromatic.contrast, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0]])
def test_weights_are_one_for_each_wavelength(weights):
    with pytest.raises(ValueError, match="weights must be"):
        optics.lens_performance(_pupil(wavelengths=(620e-9, 460e-9)), weights=weights)
