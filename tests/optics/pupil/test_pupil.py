import math

import numpy as np
import pytest
import torch
from scipy.special import j1

import optics
from optics.pupil.pupil import middle_wavelength

_LAMBDA, _FOCAL = 550e-9, 10e-3
_UNIT = 1e-3  # diameter of the pupil


def _pupil(elements=(), **options):
    given = {
        "wavelengths": (450e-9, 550e-9, 650e-9),
        "focal_length": _FOCAL,
        "pixel_pitch": 2e-6,
        "psf_size": 31,
    }
    grid = {} if elements else {"size": 64, "spacing": 1e-3 / 63}
    return optics.Pupil(elements, **(given | grid | options))


def test_a_pupil_is_its_function():
    phase = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    spacing = 1e-3 / 63
    pupil = _pupil([optics.PhaseMask(phase, spacing=spacing)])
    aperture = optics.circular_aperture(64, diameter=1e-3, spacing=spacing)
    expected = optics.psf_from_pupil(
        aperture * torch.polar(torch.ones_like(phase), phase),
        wavelength=torch.tensor([450e-9, 550e-9, 650e-9], dtype=torch.float64),
        focal_length=_FOCAL,
        pupil_spacing=spacing,
        pixel_pitch=2e-6,
        size=31,
    )
    torch.testing.assert_close(pupil(), expected, rtol=1e-4, atol=1e-8)
    assert pupil.q_sampling[1] == pytest.approx(550e-9 * 10 / 2e-6, rel=1e-4)


def test_a_pupil_is_the_product_of_its_elements_in_any_order():
    generator, spacing = torch.Generator().manual_seed(1), 1e-3 / 63
    elements = [
        optics.PhaseMask(torch.rand(64, 64, generator=generator), spacing=spacing),
        optics.AmplitudeMask(torch.rand(64, 64, generator=generator), spacing=spacing),
        optics.Aberration(
            64, spacing=spacing, diameter=1e-3, coefficients=torch.tensor([0.0, 5e-8, 3e-8, 1e-7])
        ),
    ]
    pupil = _pupil(elements, focus=0.5)
    wavelength = torch.tensor([450e-9, 550e-9, 650e-9], dtype=torch.float64)
    expected = pupil.aperture.to(torch.complex64)
    for element in elements:
        expected = element(expected, wavelength=wavelength)
    torch.testing.assert_close(pupil.field(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(_pupil(elements[::-1]).field(), expected, rtol=1e-5, atol=1e-6)
    power = pupil.aperture.square().sum()
    for distance in (None, torch.tensor([0.3, 0.5])):
        psf = optics.psf_from_pupil(
            pupil.field(distance=distance),
            wavelength=wavelength,
            focal_length=pupil.image_distance,
            pupil_spacing=spacing,
            pixel_pitch=2e-6,
            size=31,
            incident_power=power,
        )
        torch.testing.assert_close(pupil(distance=distance), psf, rtol=1e-4, atol=1e-8)
    # Without any, the open aperture; with the mask alone, no phase.
    for few in ([], elements[1:2]):
        field = _pupil(few, focus=0.5).field()
        assert field.shape == (3, 64, 64)
        assert not field.imag.any()


def test_light_of_a_pupil_is_a_fraction_of_its_open_aperture():
    spacing = 1e-3 / 63
    opened = _pupil()().sum((-2, -1))
    half = optics.AmplitudeMask(torch.full((64, 64), 0.5), spacing=spacing, trainable=False)
    torch.testing.assert_close(_pupil([half])().sum((-2, -1)), opened / 2)
    assert (opened <= 1).all()
    assert (opened > 0.9).all()


def test_distances_blur_and_the_focus_is_sharp():
    pupil = _pupil(focus=0.5)
    stack = pupil(distance=torch.tensor([0.2, 0.5, 2.0]))
    assert stack.shape == (3, 3, 31, 31)
    torch.testing.assert_close(stack[1], pupil())
    ratio = optics.strehl(stack, pupil()[None])
    assert (ratio[[0, 2]] < 0.9).all()
    distance = torch.tensor(0.3, requires_grad=True)
    pupil(distance=distance)[0, 15, 15].backward()
    assert distance.grad != 0


def _first_zero(pupil):
    """Radius of the first dark ring along a row, metres, by a parabola through three pixels."""
    row = pupil()[0, pupil.psf_size[0] // 2, pupil.psf_size[1] // 2 :].detach().double()
    at = next(i for i in range(1, len(row) - 1) if row[i] < row[i - 1] and row[i] < row[i + 1])
    below, least, above = row[at - 1 : at + 2].tolist()
    return (at + (below - above) / (2 * (below - 2 * least + above))) * pupil.pixel_pitch


@pytest.mark.parametrize("focus", [math.inf, 1.0, 0.1, 0.06])
def test_the_airy_disk_grows_with_the_image_distance(focus):
    focal_length, diameter, samples = 50e-3, 10e-3, 128
    spacing = diameter / (samples - 2)
    image = 1 / (1 / focal_length - 1 / focus)  # the lens law
    pitch = 550e-9 * image / diameter / 20
    pupil = optics.Pupil(
        [],
        wavelengths=(550e-9,),
        focal_length=focal_length,
        focus=focus,
        pixel_pitch=pitch,
        psf_size=101,
        size=samples,
        spacing=spacing,
        aperture=optics.circular_aperture(samples, diameter=diameter, spacing=spacing),
    )
    assert pupil.image_distance == pytest.approx(image, rel=1e-12)
    assert _first_zero(pupil) == pytest.approx(1.22 * 550e-9 * image / diameter, rel=5e-3)
    quality = 550e-9 * image / (pupil.diameter * pitch)
    assert pupil.q_sampling[0] == pytest.approx(quality, rel=1e-12)
    # The window, and what falls outside of it, is the same in units of diffraction.
    far = optics.psf_from_pupil(
        pupil.field(),
        wavelength=550e-9,
        focal_length=image,
        pupil_spacing=spacing,
        pixel_pitch=pitch,
        size=101,
    )
    audit = optics.audit_sampling(pupil)
    assert float(audit.q) == pytest.approx(quality, rel=1e-12)
    assert float(audit.window_loss) == pytest.approx(1 - float(far.sum()), abs=1e-5)


def test_the_image_lies_in_the_focal_plane_or_at_twice_its_distance():
    assert _pupil().image_distance == _FOCAL
    assert _pupil(focus=2 * _FOCAL).image_distance == pytest.approx(2 * _FOCAL, rel=1e-12)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_wavelengths_are_not_rounded_with_the_module(dtype):
    prism = optics.Lens(64, spacing=1e-3 / 63, focal_length=0.5)
    pupil = _pupil([prism], focus=0.5)
    seen = []
    shift = prism.phase_shift
    prism.phase_shift = lambda wavelength: (seen.append(wavelength), shift(wavelength))[1]
    pupil.to(dtype)()
    assert seen[0].tolist() == [450e-9, 550e-9, 650e-9]
    # The rim of the aperture is rounded, by a part of a sample.
    assert pupil.q_sampling == pytest.approx(_pupil(focus=0.5).q_sampling, rel=1e-4)
    assert {*pupil.state_dict()} == {"aperture", "elements.0.focal_length"}


class _InMicrometres(optics.PhaseElement):
    """An element of one's own, that changes what it is given."""

    def phase_shift(self, wavelength):
        wavelength *= 1e6
        return torch.zeros(len(wavelength), *self.size)


class _Attenuator(optics.Element):
    def transmission(self, wavelength):
        wavelength *= 1e6
        return torch.full((len(wavelength), *self.size), 0.5)


def test_an_element_that_changes_its_wavelengths_changes_those_of_nobody_else():
    grid = {"size": 64, "spacing": 1e-3 / 63}
    tilt = optics.Aberration(
        64, spacing=1e-3 / 63, diameter=1e-3, coefficients=torch.tensor([0.0, 2e-7])
    )
    own = [_InMicrometres(**grid), _Attenuator(**grid)]
    expected = _pupil([tilt], focus=0.5)(distance=0.4)
    found = _pupil([*own, tilt], focus=0.5)(distance=0.4)
    torch.testing.assert_close(found, expected / 4, rtol=1e-5, atol=1e-9)
    assert torch.equal(_pupil([tilt], focus=0.5)(distance=0.4), expected)


def test_an_aperture_that_is_a_parameter_is_trained_and_whole_numbers_are_one():
    soft = optics.circular_aperture(64, diameter=1e-3, spacing=1e-3 / 63)
    aperture = torch.nn.Parameter(soft)
    pupil = _pupil(aperture=aperture, focus=0.5)
    assert pupil.aperture is aperture
    assert [name for name, _ in pupil.named_parameters()] == ["aperture"]
    pupil(distance=0.4)[:, 15, 15].sum().backward()
    assert aperture.grad.abs().sum() > 0
    hard = soft > 0.5
    for given in (hard, hard.long()):
        torch.testing.assert_close(
            _pupil(aperture=given, focus=0.5).field(distance=0.4),
            _pupil(aperture=hard.float(), focus=0.5).field(distance=0.4),
            rtol=0,
            atol=0,
        )


def test_points_further_apart_than_the_unit_of_diffraction_are_refused():
    # Q is 0.45 at 450 nm: what an f/2.8 lens has on pixels of 2.8 micrometres.
    coarse = {"pixel_pitch": 10e-6, "psf_size": 15}
    with pytest.raises(ValueError, match=r"Q = lambda s' / \(D p\) is 0\.45.* oversample=3, or"):
        _pupil(**coarse)
    pupil = _pupil(**coarse, oversample=3)
    light = pupil().sum((-2, -1))
    assert (light < 1).all()
    assert (light > 0.98).all()
    assert "oversample=3" in repr(pupil)
    assert "oversample" not in repr(_pupil())
    with pytest.raises(ValueError, match="oversample must be odd"):
        _pupil(**coarse, oversample=4)
    with pytest.raises(ValueError, match="pixels, but a coherent image needs amplitudes"):
        pupil.amplitude_spread()
    with pytest.raises(ValueError, match="pixels, but a coherent image needs amplitudes"):
        optics.CoherentImaging(pupil)(torch.ones(1, len(pupil.wavelengths), 8, 8))


def test_a_sparse_aperture_is_as_wide_as_its_holes_are_apart():
    # Two holes, 29 samples from rim to rim: with points further apart than lambda s' / D their
    # fringes alias, and the sum was 1.96.
    spacing, holes = 1e-3 / 32, torch.zeros(33, 33)
    holes[14:19, 2:5] = holes[14:19, 28:31] = 1
    wavelength = 550e-9
    given = {"wavelengths": (wavelength,), "size": 33, "spacing": spacing, "psf_size": 25}

    def apart(samples, **options):
        pitch = wavelength * _FOCAL / (samples * spacing)
        return _pupil(**({"aperture": holes, "pixel_pitch": pitch} | given | options))

    pupil = apart(29)
    assert pupil.diameter == pytest.approx(29 * spacing, rel=1e-12)
    assert pupil.q_sampling[0] == pytest.approx(1, rel=1e-12)
    assert 0.9 < float(pupil().sum()) < 1
    for turned in (holes, holes.T.contiguous()):
        with pytest.raises(ValueError, match=r"Q = lambda s' / \(D p\) is 0\.897"):
            apart(26, aperture=turned)


def test_the_diameter_is_that_of_the_aperture_as_it_is():
    spacing = 1e-3 / 63
    wide, narrow = (
        _pupil(aperture=optics.circular_aperture(64, diameter=d, spacing=spacing))
        for d in (1e-3, 0.5e-3)
    )
    first = wide.q_sampling
    wide.load_state_dict(narrow.state_dict())
    assert wide.diameter == narrow.diameter == pytest.approx(0.5e-3, abs=2 * spacing)
    assert wide.q_sampling == narrow.q_sampling != first
    # So far out of focus the large one is coarse, and the small one is not.
    wide(distance=0.025)
    with pytest.warns(UserWarning, match="out of focus"):
        _pupil()(distance=0.025)


@pytest.mark.parametrize("grey", [1.0, 0.2])
def test_the_diameter_of_a_soft_edge_is_that_of_the_circle(grey):
    # Up to two samples too large where each that the rim crosses was counted whole: f/4.77 of f/5.
    for size, across in ((64, 40), (64, 41.02), (65, 40.5), (34, 31.02), (64, 63)):
        spacing = 2e-3 / across
        aperture = optics.circular_aperture(size, diameter=2e-3, spacing=spacing)
        pupil = _pupil(size=size, spacing=spacing, aperture=grey * aperture)
        assert pupil.diameter == pytest.approx(2e-3, rel=3e-4)
        assert optics.lens_performance(pupil).f_number == pytest.approx(_FOCAL / 2e-3, rel=3e-4)


def test_a_dark_tail_does_not_make_an_aperture_wider():
    spacing = 2e-3 / 63
    y = optics.coordinates(64, spacing=spacing)
    gauss = torch.exp(-(y[:, None] ** 2 + y**2) / 1e-4**2)
    pupil = _pupil(size=64, spacing=spacing, aperture=gauss, psf_size=15)
    # To a thousandth of the amplitude.
    assert pupil.diameter == pytest.approx(2e-4 * math.sqrt(math.log(1e3)), abs=2 * spacing)


def test_light_beyond_an_aberration_is_told():
    def plate(samples):
        return optics.Aberration(
            64, spacing=1e-5, diameter=samples * 1e-5, coefficients=torch.tensor([5e-8]),
            indices=[11],
        )  # fmt: skip

    _pupil([plate(63)])
    _pupil([plate(61.5)])
    with pytest.warns(UserWarning, match="beyond the diameter of an Aberration") as found:
        _pupil([plate(63), plate(58)])
    assert found[0].filename == __file__
    # What an aperture, a mask or a rim makes dark is not lit.
    small = optics.circular_aperture(64, diameter=58e-5, spacing=1e-5)
    _pupil([plate(58)], aperture=small)
    stop = optics.AmplitudeMask(small.square(), spacing=1e-5, trainable=False)
    _pupil([plate(58), stop])
    rim = optics.Vignetting(64, spacing=1e-5, diameter=58e-5, shift=0.0, places=2, picture=48)
    _pupil([plate(58), rim])


def test_the_middle_wavelength_is_so_by_length():
    assert middle_wavelength((545e-9,)) == 545e-9
    assert middle_wavelength((612e-9, 463e-9, 545e-9)) == 545e-9
    assert middle_wavelength((612e-9, 545e-9, 463e-9, 850e-9)) == 612e-9


def test_a_window_wider_than_the_period_of_the_psf_is_refused_when_the_pupil_is_made():
    # lambda f / (spacing * pitch) is 550e-9 * 0.01 / (1e-3 / 63 * 2e-6) = 173.25 pixels.
    given = {"wavelengths": (550e-9,)}
    assert _pupil(psf_size=173, **given)().shape == (1, 173, 173)
    with pytest.raises(ValueError, match=r"pupil is undersampled.* repeats every 173\.3 pixels"):
        _pupil(psf_size=(9, 174), **given)
    # The shortest wavelength has the shortest period: 157.5 pixels at 500 nm.
    with pytest.raises(ValueError, match=r"repeats every 157\.5 pixels"):
        _pupil(psf_size=173, wavelengths=(550e-9, 500e-9))


def test_lengths_in_two_units_are_told_from_large_pixels():
    with pytest.raises(
        ValueError, match=r"; give all lengths in metres; of these, oversample=\d+ "
    ):
        _pupil(pixel_pitch=2.0)
    with pytest.raises(ValueError, match="; give all lengths in metres; of these, oversample"):
        _pupil(size=64, spacing=1 / 63)
    # 550 nm * 10 / 30.9 is 178 nm: 31 points on a side of a pixel are enough of 30.9 units.
    pitch = 30.9 * 550e-9 * _FOCAL / _UNIT
    with pytest.raises(ValueError, match="; give oversample=31, or more"):
        _pupil(wavelengths=(550e-9,), pixel_pitch=pitch, psf_size=1)


def test_frequencies_in_another_unit_are_warned_of():
    # 1000 * 550 nm: the cut-off D / (lambda f) is 182 line pairs/mm.
    pupil = _pupil(wavelengths=(550e-9,))
    for wrong in ([0.0, 50.0, 180.0], [0.25], [-0.1, -0.5]):  # line pairs/mm, and cycles/pixel
        with pytest.warns(UserWarning, match=r"frequency is in cycles/m, and reaches .* is 1\.8"):
            pupil.mtf(torch.tensor(wrong))
    for right in ([0.0], [], [0.0, 0.25 / 2e-6], [500.0]):
        pupil.mtf(torch.tensor(right))


def test_the_diameter_is_not_looked_for_where_the_unit_is_right(monkeypatch):
    """It is found where the aperture is, so that a host would wait for its accelerator."""
    pupil = _pupil(wavelengths=(550e-9,))
    monkeypatch.setattr(optics.Pupil, "diameter", property(lambda _: pytest.fail("looked for")))
    pupil.mtf(torch.tensor([0.0, 500.0, 0.25 / 2e-6]))


@pytest.mark.parametrize("n", [24, 25])
def test_the_amplitude_transfer_is_the_transform_of_the_spread_in_nyquists_window(n):
    """The spread by direct summation, 1 within a quarter of its period and 0 from 3/4 on."""
    generator = torch.Generator().manual_seed(0)
    share = 0.1 * torch.rand(n, n, generator=generator, dtype=torch.float64)
    phase = 3 * torch.rand(n, n, generator=generator, dtype=torch.float64)
    d, f, p, size = 50e-6, 20e-3, 4e-6, (33, 40)
    plates = [
        optics.AmplitudeMask(share, spacing=d, trainable=False),
        optics.PhaseMask(phase, spacing=d),
    ]
    pupil = optics.Pupil(
        plates, wavelengths=(450e-9, 650e-9), focal_length=f, pixel_pitch=p, psf_size=9
    ).double()
    at = (np.arange(n) - n // 2) * d
    found = pupil.amplitude_transfer(size).numpy()
    for field, wavelength, transfer in zip(
        pupil.field().numpy(), pupil.wavelengths, found, strict=True
    ):
        period = wavelength * f / (d * p)
        x = np.arange(-math.floor(0.75 * period), math.floor(0.75 * period) + 1)
        wave = np.exp(-2j * np.pi * np.outer(x * p, at) / (wavelength * f)) / period
        roll = np.clip(np.abs(x) / period - 0.25, 0, 0.5)
        window = np.cos(np.pi * roll) ** 2
        spread = (wave @ field @ wave.T) * window[:, None] * window
        rows, columns = (
            np.exp(-2j * np.pi * np.outer((np.arange(m) - m // 2) / m, x)) for m in size
        )
        # Whole pixels alias the raised cosine from 10 samples away on: 1 / (pi 10^3) of one each.
        np.testing.assert_allclose(transfer, rows @ spread @ columns.T, atol=3e-4)


def test_the_middle_of_the_amplitude_transfer_is_that_of_the_pupil():
    pupil = _pupil(elements=[optics.PhaseMask(torch.rand(64, 64), spacing=1e-3 / 63)])
    middle = pupil.amplitude_transfer((16, 21))[:, 8, 10]
    torch.testing.assert_close(middle, pupil.field()[:, 32, 32], rtol=0, atol=1e-6)


def test_points_as_far_apart_as_the_unit_of_diffraction_hold_all_light():
    # Powers of two, so that Q is 1 without a rounding error; the OTF ends where the pixels repeat.
    slit = torch.zeros(64, 64)
    slit[28:36, 28:36] = 1
    lengths = {"wavelengths": (2**-21,), "focal_length": 2**-6, "pixel_pitch": 2**-17}
    pupil = _pupil(aperture=slit, spacing=2**-13, psf_size=8, **lengths)
    assert pupil.q_sampling == (1.0,)
    # sinc^2 at whole numbers: the middle has all of it.
    expected = torch.zeros(8, 8)
    expected[4, 4] = 1
    torch.testing.assert_close(pupil()[0], expected, rtol=0, atol=1e-6)


def test_large_pixels_see_what_small_ones_see_that_are_binned():
    small = _pupil(pixel_pitch=2e-6, psf_size=75, focus=0.5)(distance=0.4)
    large = _pupil(pixel_pitch=10e-6, psf_size=15, focus=0.5, oversample=5)(distance=0.4)
    torch.testing.assert_close(large, optics.bin_pixels(small[None], 5)[0], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _pupil(size=None), "without any, give size and spacing"),
        (lambda: _pupil(wavelengths=()), "wavelengths must hold at least one, in metres"),
        (lambda: _pupil(wavelengths=(-1.0,)), "wavelengths must be positive"),
        (lambda: _pupil(focus=-1.0), "focus must be positive, in metres, not -1"),
        (lambda: _pupil(focus=_FOCAL), r"focus must be beyond the focal length of 0\.01 metres"),
        (lambda: _pupil(focus=5e-3), r"not at 0\.005: a lens forms no real image"),
        (lambda: _pupil(aperture=torch.ones(3, 3)), r"aperture must be real \(64, 64\), not"),
        (lambda: _pupil(aperture=torch.full((64, 64), 2.0)), r"amplitude in 0\.\.1"),
        (lambda: _pupil(psf_size=5000), "the pupil is undersampled"),
        (
            lambda: _pupil(
                [
                    optics.PhaseMask(torch.zeros(8, 8), spacing=1e-5),
                    optics.PhaseMask(torch.zeros(8, 8), spacing=2e-5),
                ]
            ),
            r"all elements must share one grid \(size, spacing\); they have",
        ),
    ],
)
def test_pupils_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()()


def test_units_are_printed():
    text = repr(_pupil())
    assert "wavelengths=(450, 550, 650) nm" in text
    assert "pixel_pitch=2e-06 m" in text


def test_a_window_that_misses_the_light_warns_and_one_wavelength_is_a_sequence():
    # Millimetres: the PSF is as good as even, and black.
    with pytest.warns(UserWarning, match=r"is 4.97e\+04 pixels, .* give all lengths in metres"):
        assert float(_pupil(wavelengths=(9.94e-3,), focal_length=1e-2)().sum()) < 1e-2
    with pytest.raises(ValueError, match=r"wavelengths must be in metres, .* not 550\.0: 550 nm"):
        _pupil(wavelengths=(550.0,))
    with pytest.warns(UserWarning, match="nearly all light falls outside of it"):
        _pupil(focal_length=10_000.0)
    # At most 72 pixels: over ten times the shorter side of this window, and not the longer one.
    assert _pupil(focal_length=0.1, pixel_pitch=9e-7, psf_size=(4, 31))().shape == (3, 4, 31)
    with pytest.raises(TypeError, match=r"must be a sequence, in metres, such as \(550e-9,\), not"):
        _pupil(wavelengths=550e-9)


@pytest.mark.parametrize("size", [1, (1, 8)])
def test_a_grid_of_one_sample_needs_an_aperture(size):
    lengths = {"wavelengths": (550e-9,), "focal_length": 1e-2, "pixel_pitch": 2e-6, "psf_size": 1}
    with pytest.raises(ValueError, match=r"size=\(1, [18]\) holds no circle, .* or an aperture"):
        optics.Pupil([], size=size, spacing=1e-4, **lengths)
    slit = torch.ones(1, 8)
    optics.Pupil([], size=(1, 8), spacing=1e-4, aperture=slit, **lengths)


def test_what_is_no_length_no_element_and_no_aperture_is_called_by_its_name():
    for name in ("focal_length", "focus", "pixel_pitch"):
        with pytest.raises(TypeError, match=f"{name} must be one number, in metres, not None"):
            _pupil(**{name: None})
    mask = optics.PhaseMask(torch.zeros(64, 64), spacing=1e-3 / 63)
    for given, name in ((mask, "PhaseMask"), ([torch.ones(64, 64)], "Tensor"), ([mask, 1], "int")):
        with pytest.raises(TypeError, match=f"elements must be a sequence of .* not of {name}"):
            _pupil(given)
    with pytest.raises(TypeError, match="aperture must be a Tensor, not ndarray"):
        _pupil(aperture=torch.ones(64, 64).numpy())


@pytest.mark.parametrize("several", [(3e-6, 4e-6), [3e-6, 4e-6], torch.tensor([3e-6, 4e-6])])
def test_oblong_pixels_are_refused_with_what_to_do(several):
    with pytest.raises(TypeError, match=r"pixel_pitch must be one number.*\(image, \(k, l\)\)$"):
        _pupil(pixel_pitch=several)
    with pytest.raises(TypeError, match=r"spacing must be one number.* interpolate the map"):
        _pupil([], size=64, spacing=several)
    for name in ("focal_length", "focus"):
        with pytest.raises(TypeError, match=f"{name} must be one number, in metres, not"):
            _pupil(**{name: several})


def test_oblong_pixels_are_square_ones_that_are_averaged():
    # As the error says. Pixels of 2 by 3 micrometres, against the integral of Airy's pattern.
    psf = _pupil(wavelengths=(550e-9,), pixel_pitch=1e-6, psf_size=(60, 66))()
    oblong = torch.nn.functional.avg_pool2d(psf, (2, 3))[0].double()
    fine = 1e-6 * (np.arange(5 * 60)[:, None] - 152) / 5, 1e-6 * (np.arange(5 * 66) - 167) / 5
    v = np.pi * _UNIT * np.hypot(*fine) / (550e-9 * _FOCAL)
    airy = (2 * j1(v) / np.where(v == 0, 2, v)) ** 2 + (v == 0)
    whole = torch.from_numpy(airy.reshape(30, 10, 22, 15).sum((1, 3)))
    torch.testing.assert_close(oblong / oblong.max(), whole / whole.max(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["focal_length", "focus", "pixel_pitch", "spacing"])
def test_a_length_that_nothing_would_train_is_refused(name):
    learned = torch.nn.Parameter(torch.tensor(2e-2))
    with pytest.raises(TypeError, match=f"{name} is not learned here, .* float, in metres, such"):
        _pupil([], size=64, **{"spacing": 1e-3 / 63, name: learned})
    with pytest.raises(TypeError, match="each of wavelengths is not learned here"):
        _pupil(wavelengths=torch.nn.Parameter(torch.tensor([550e-9])))
    assert _pupil(focal_length=torch.tensor(1e-2)).focal_length == pytest.approx(1e-2)
    frozen = torch.nn.Parameter(torch.tensor(1e-2), requires_grad=False)
    assert _pupil(focal_length=frozen).focal_length == pytest.approx(1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_light_of_a_pupil_in_half_precision_is_added_up_in_single(dtype):
    # 65504, the largest number of float16, is less than the samples of the open circle.
    pupil = _pupil(size=320, spacing=1e-3 / 319)
    light = pupil().sum((-2, -1))
    pupil.to(dtype)
    assert pupil.incident_power.dtype == torch.float32
    torch.testing.assert_close(pupil().sum((-2, -1)), light, rtol=1e-3, atol=0)


def test_the_phases_in_a_pupil_of_half_precision_are_added_up_in_single():
    pupil = _pupil(focus=0.5).half()
    single = _pupil(focus=0.5, aperture=pupil.aperture.float())
    assert torch.equal(pupil(distance=0.1), single(distance=0.1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_of_half_precision_have_a_psf(dtype):
    shares = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    parts = [
        optics.AmplitudeMask(shares, spacing=1e-3 / 63),
        optics.PhaseMask(shares, spacing=1e-3 / 63),
    ]
    wanted = _pupil(parts)().detach()
    found = _pupil(parts).to(dtype)()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02 * float(wanted.max()))


def test_the_shortest_wave_decides_whether_a_defocus_is_too_coarse():
    # a dx / d at the rim, radius a, is the path from sample to sample: half of 450 nm and more,
    # and less than half of 650 nm.
    spacing, distance = 4e-3 / 63, 0.481
    grid = {"spacing": spacing, "pixel_pitch": 0.5e-6}
    assert 450e-9 / 2 < 2e-3 * spacing / distance < 650e-9 / 2
    for wavelengths in ((450e-9,), (450e-9, 650e-9), (650e-9, 450e-9)):
        with pytest.warns(UserWarning, match="sampled too coarsely"):
            _pupil(**grid, wavelengths=wavelengths)(distance=distance)
    _pupil(**grid, wavelengths=(650e-9,))(distance=distance)


def test_distances_are_those_of_all_places():
    basis = torch.zeros(2, 3, 1, 1)
    plate = optics.Aberration(
        16, spacing=1e-4, diameter=1.5e-3, coefficients=basis + 1e-8, indices=[11]
    )
    pupil = optics.Pupil(
        [plate], wavelengths=(550e-9,), focal_length=0.05, pixel_pitch=5e-6, psf_size=9
    )
    assert pupil(distance=torch.tensor([1.0, 2.0])).shape == (2, 2, 3, 1, 9, 9)
    with pytest.raises(ValueError, match=r"distance must be one number or \[D\].* not \[2, 3\]"):
        pupil(distance=torch.ones(2, 3))


def test_the_amplitude_transfer_of_a_lens_that_is_focused_near_is_that_of_its_image_distance():
    options = {
        "size": 64, "spacing": 1e-3 / 63, "wavelengths": (550e-9,), "pixel_pitch": 2e-6,
        "psf_size": 31,
    }  # fmt: skip
    near = optics.Pupil((), focal_length=10e-3, focus=30e-3, **options)
    assert near.image_distance == pytest.approx(15e-3, rel=1e-12)
    far = optics.Pupil((), focal_length=15e-3, **options)
    at_infinity = optics.Pupil((), focal_length=10e-3, **options)
    found = near.amplitude_transfer(48)
    torch.testing.assert_close(found, far.amplitude_transfer(48))
    assert not torch.equal(found, at_infinity.amplitude_transfer(48))


@pytest.mark.parametrize(
    ("grid", "refused"),
    [
        ({"size": 32}, True),
        ({"size": (64, 32)}, True),
        ({"spacing": 1e-5}, True),
        ({"size": 64, "spacing": 1e-5}, True),
        ({"size": 64}, False),
        ({"spacing": 2e-3 / 63}, False),
        ({}, False),
    ],
)
def test_a_grid_that_is_told_is_that_of_the_elements(grid, refused):
    element = optics.PhaseMask(torch.zeros(64, 64), spacing=2e-3 / 63)
    lengths = {"focal_length": 0.02, "pixel_pitch": 2e-6, "wavelengths": (550e-9,)}
    if refused:
        with pytest.raises(ValueError, match="all elements must share one grid"):
            optics.Pupil([element], psf_size=15, **lengths, **grid)
        return
    made = optics.Pupil([element], psf_size=15, **lengths, **grid)
    assert (made.size, made.spacing) == ((64, 64), 2e-3 / 63)
    with pytest.raises(ValueError, match="without any, give size and spacing"):
        optics.Pupil([], psf_size=15, **lengths, **(grid or {"size": 64}))


class _Weighed(optics.PhaseMask):
    """An element as far from one that can be made as its phase is steep."""

    def penalty(self):
        return self.phase.square().mean()


def test_a_camera_has_the_sum_of_the_penalties_of_its_elements():
    start = torch.linspace(-1, 1, 16 * 16).reshape(16, 16)
    one, other = (_Weighed(torch.nn.Parameter(k * start), spacing=1e-4) for k in (1, 2))
    plain = optics.PhaseMask(start, spacing=1e-4)
    given = {"wavelengths": (550e-9,), "focal_length": 1e-2, "pixel_pitch": 2e-6, "psf_size": 5}
    pupil = optics.Pupil([one, plain, other], **given)
    wanted = 5 * start.square().mean()
    cameras = optics.IncoherentImaging(pupil), optics.CoherentImaging(pupil)
    for camera in (*cameras, optics.CodedExposure(lens=cameras[0])):
        torch.testing.assert_close(camera.penalty(), wanted)
    cameras[0].penalty().backward()
    torch.testing.assert_close(other.phase.grad, 2 * other.phase.detach() / start.numel())
    for camera in (
        optics.IncoherentImaging(optics.Pupil([plain], **given)),
        optics.IncoherentImaging(psf=torch.ones(1, 3, 3) / 9),
        optics.CodedExposure(),
        optics.LearnedKernel(),
    ):
        assert camera.penalty() is None


class _Framed(optics.Element):
    """Elements in a frame."""

    def __init__(self, *parts):
        super().__init__(parts[0].size, parts[0].spacing)
        self.parts = torch.nn.ModuleList(parts)

    def transmission(self, wavelength):
        return math.prod(part.transmission(wavelength) for part in self.parts)


def test_an_element_has_the_penalties_of_those_within_it():
    one, other, plain = (
        kind(torch.full((16, 16), value), spacing=1e-4)
        for kind, value in ((_Weighed, 1.0), (_Weighed, 2.0), (optics.PhaseMask, 3.0))
    )
    framed = _Framed(_Framed(one, plain), other)
    given = {"wavelengths": (550e-9,), "focal_length": 1e-2, "pixel_pitch": 2e-6, "psf_size": 5}
    assert float(framed.penalty()) == float(optics.Pupil([framed], **given).penalty()) == 5.0
    assert _Framed(plain).penalty() is None


def test_a_plain_pupil_is_open_as_its_aperture():
    pupil = _pupil(focus=0.5)
    assert torch.equal(pupil.opening[0], pupil.aperture)
    path = optics.defocus_path(pupil.size, spacing=pupil.spacing, distance=1.0, focus=math.inf)
    torch.testing.assert_close(pupil.curve[0], path)
