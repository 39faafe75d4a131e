import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator
from scipy.special import erf, j0, j1

import optics

_FREQUENCY = torch.linspace(0, 2, 201, dtype=torch.float64)  # cycles/pixel


def _gauss_mtf(sigma, frequency=_FREQUENCY):
    return torch.exp(-2 * (math.pi * sigma * frequency) ** 2)


def _grid(height, width):
    y, x = np.mgrid[:height, :width]
    return y - height // 2, x - width // 2


def _diffraction(frequency, cutoff):
    s = np.clip(np.asarray(frequency) / cutoff, 0, 1)
    return torch.from_numpy(2 / math.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)))


def _misplaced(found, expected):
    """Share of the light that lies elsewhere."""
    found, expected = (psf / psf.sum() for psf in (found.double(), expected.double()))
    return float((found - expected).abs().sum()) / 2


@pytest.mark.parametrize("size", [31, (30, 33)])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.5])
def test_the_curve_of_a_gaussian_gives_the_gaussian(sigma, size):
    found = optics.psf_from_mtf(_FREQUENCY, _gauss_mtf(sigma), size=size, pixel="centre")
    y, x = _grid(*found.psf.shape)
    gauss = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    np.testing.assert_allclose(found.psf, gauss / gauss.sum(), atol=2e-5 * gauss.max())
    area = optics.psf_from_mtf(_FREQUENCY, _gauss_mtf(sigma), size=size).psf
    sides = [
        (erf((at + 0.5) / (sigma * math.sqrt(2))) - erf((at - 0.5) / (sigma * math.sqrt(2)))) / 2
        for at in (y, x)
    ]
    np.testing.assert_allclose(area, sides[0] * sides[1], atol=2e-5)
    assert float(found.negative) < 1e-4
    assert abs(float(found.outside)) < 1e-4


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])  # lambda N, pixels: folded at Nyquist below 2
def test_the_curve_of_an_open_pupil_gives_the_pattern_of_airy(width):
    curve = _diffraction(_FREQUENCY, 1 / width)
    found = optics.psf_from_mtf(_FREQUENCY, curve, size=63, pixel="centre", cutoff=1 / width)
    y, x = _grid(63, 63)
    z = np.maximum(math.pi / width * np.hypot(x, y), 1e-9)
    airy = math.pi / 4 / width**2 * (2 * j1(z) / z) ** 2
    # The window is scaled to 1, by what it reports to be outside.
    unscaled = found.psf.numpy() * (1 - float(found.outside))
    np.testing.assert_allclose(unscaled, airy, atol=2e-4 * airy.max())
    assert float(found.outside) == pytest.approx(1 - airy.sum(), abs=4e-4)
    assert float(found.negative) < 1e-4
    assert float(found.psf.sum()) == pytest.approx(1, abs=1e-12)


def test_a_table_is_transformed_as_hankel_does():
    # A lens maker's table: few points, in line pairs/mm, beyond Nyquist.
    lines = np.array([0.0, 10, 20, 40, 80, 120, 160, 200])
    table = np.array([1.0, 0.96, 0.9, 0.74, 0.42, 0.2, 0.07, 0.0])
    pitch = 3e-6
    found = optics.psf_from_mtf(
        torch.from_numpy(1e3 * lines),
        torch.from_numpy(table),
        size=41,
        pixel_pitch=pitch,
        pixel="centre",
    )
    cubic = PchipInterpolator(1e3 * lines * pitch, table)

    def hankel(r):
        # Monotone cubics have kinks of their slopes at the points.
        return sum(
            quad(lambda f: 2 * math.pi * f * cubic(f) * j0(2 * math.pi * f * r), low, high)[0]
            for low, high in zip(cubic.x[:-1], cubic.x[1:], strict=True)
        )

    psf = found.psf.numpy() * (1 - float(found.outside) + float(found.negative))
    for y, x in ((0, 0), (0, 1), (1, 1), (2, 0), (3, 2)):
        assert psf[20 + y, 20 + x] == pytest.approx(hankel(math.hypot(x, y)), abs=2e-5)


@pytest.mark.parametrize("azimuth", [0.0, 0.5, math.pi / 2, -2.0])
def test_two_curves_of_an_elliptical_gaussian_give_it(azimuth):
    wide, narrow = 2.0, 1.0
    found = optics.psf_from_mtf(
        _FREQUENCY,
        _gauss_mtf(narrow),
        tangential=_gauss_mtf(wide),
        azimuth=azimuth,
        size=33,
        pixel="centre",
    )
    y, x = _grid(33, 33)
    # Tangential lines run across the way to the axis: they are blurred along it.
    along = x * math.cos(azimuth) + y * math.sin(azimuth)
    across = -x * math.sin(azimuth) + y * math.cos(azimuth)
    gauss = np.exp(-(along**2 / wide**2 + across**2 / narrow**2) / 2)
    np.testing.assert_allclose(found.psf, gauss / gauss.sum(), atol=2e-5)
    assert float(found.negative) < 2e-4


def test_the_azimuth_is_not_learned():
    azimuth = torch.nn.Parameter(torch.tensor(0.3))
    with pytest.raises(TypeError, match="azimuth is not learned here"):
        optics.psf_from_mtf(_FREQUENCY, _gauss_mtf(1.0), size=9, azimuth=azimuth)


def test_two_equal_curves_are_one():
    curve = _diffraction(_FREQUENCY, 0.45)
    one = optics.psf_from_mtf(_FREQUENCY, curve, size=21)
    two = optics.psf_from_mtf(_FREQUENCY, curve, tangential=curve, azimuth=0.3, size=21)
    torch.testing.assert_close(two.psf, one.psf, atol=1e-7, rtol=0)


@pytest.mark.parametrize("azimuth", [0.0, 0.7])
def test_the_pixel_of_a_camera_is_divided_out_once(azimuth):
    lens = _gauss_mtf(1.0)
    pixel = torch.sinc(_FREQUENCY * math.cos(azimuth)) * torch.sinc(_FREQUENCY * math.sin(azimuth))
    camera = lens * pixel
    for pixels in ("area", "centre"):
        expected = optics.psf_from_mtf(_FREQUENCY, lens, size=21, pixel=pixels).psf
        found = optics.psf_from_mtf(
            _FREQUENCY, camera, size=21, measured="camera", pixel=pixels, azimuth=azimuth
        ).psf
        # Above 3/4 cycle/pixel this lens has 2e-5 of the contrast.
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_psf_has_the_curve_that_it_was_made_from():
    curve = _diffraction(_FREQUENCY, 0.45)
    found = optics.psf_from_mtf(_FREQUENCY, curve, size=255, cutoff=0.45)
    back = optics.mtf(found.psf)[127, 127:]
    frequency = optics.frequencies(255)[127:]
    expected = _diffraction(frequency, 0.45) * torch.sinc(frequency)
    # The window takes low frequencies.
    np.testing.assert_allclose(back, expected, atol=0.006)


_DIAMETER, _LENGTH, _GREEN, _PITCH = 2.5e-3, 20e-3, 550e-9, 2e-6


def _lens(coefficients, *, pitch=_PITCH, size=63):
    """A lens of f/8 with aberrations in waves RMS by Noll's index."""
    plate = optics.Aberration(
        192, spacing=_DIAMETER / 191, diameter=_DIAMETER, indices=list(coefficients),
        coefficients=_GREEN * torch.tensor(list(coefficients.values()), dtype=torch.float64),
    )  # fmt: skip
    return optics.Pupil(
        [plate], wavelengths=(_GREEN,), focal_length=_LENGTH, pixel_pitch=pitch, psf_size=size
    )


def _curves(pupil):
    """Frequencies, cycles/m, and contrast along x and along y."""
    finer, count = 8, 2048
    field = pupil.field()[0].detach().to(torch.complex128)
    frequency = optics.frequencies(count)[count // 2 :] * finer / _PITCH
    kept = frequency <= 0.51 / _PITCH
    sides = (
        optics.otf_from_pupil(
            field, wavelength=_GREEN, focal_length=_LENGTH, pupil_spacing=_DIAMETER / 191,
            pixel_pitch=_PITCH / finer, size=size,
        )
        for size in ((1, count), (count, 1))
    )  # fmt: skip
    along_x, along_y = (side.flatten()[count // 2 :][kept] for side in sides)
    return frequency[kept], along_x, along_y


@pytest.mark.parametrize("aberration", [{4: 0.0}, {4: 0.05}, {4: 0.1}, {11: 0.07}])
def test_a_lens_comes_back_from_its_curve(aberration):
    pupil = _lens(aberration)
    frequency, curve, _ = _curves(pupil)
    # No cutoff: the transfer of a pupil with soft edges lies 0.003 above that of a sharp one.
    found = optics.psf_from_mtf(frequency, curve.abs(), size=63, pixel_pitch=_PITCH, pixel="centre")
    assert _misplaced(found.psf, pupil().detach()[0]) < 1e-3


def test_what_a_curve_cannot_tell():
    given = {"size": 63, "pixel_pitch": _PITCH, "pixel": "centre"}
    # Contrast that is reversed is right with its sign alone.
    pupil = _lens({4: 0.2})
    frequency, curve, _ = _curves(pupil)
    own = pupil().detach()[0]
    assert _misplaced(optics.psf_from_mtf(frequency, curve.real, **given).psf, own) < 1e-3
    assert _misplaced(optics.psf_from_mtf(frequency, curve.abs(), **given).psf, own) > 0.08
    # Coma's is all in the phase.
    pupil = _lens({8: 0.1})
    frequency, curve, _ = _curves(pupil)
    found = optics.psf_from_mtf(frequency, curve.abs(), **given).psf
    assert _misplaced(found, pupil().detach()[0]) > 0.2
    torch.testing.assert_close(found, found.flip(0, 1))
    # Astigmatism, off its medial focus and within it.
    for aberration, low, high in (({4: 0.12, 6: 0.08}, 0.04, 0.06), ({6: 0.1}, 0.12, 0.17)):
        pupil = _lens(aberration)
        frequency, tangential, sagittal = _curves(pupil)
        found = optics.psf_from_mtf(
            frequency, sagittal.abs(), tangential=tangential.abs(), **given
        ).psf
        assert low < _misplaced(found, pupil().detach()[0]) < high


def _picture(pupil, size=80):
    """An edge of 5 degrees, of four samples a pixel, averaged over pixels."""
    steps = (torch.arange(size * 4) + 0.5) / 4 - size / 2
    bright = steps > math.tan(math.radians(5)) * steps[:, None]
    light = optics.IncoherentImaging(pupil)(0.1 + 0.8 * bright.float()[None, None])
    return torch.nn.functional.avg_pool2d(light, 4)[0, 0, 8:-8, 8:-8].detach().double()


@pytest.mark.filterwarnings("ignore:.*came out negative:UserWarning")
@pytest.mark.parametrize(
    ("aberration", "misplaced"), [({4: 0.0}, (0.03, 0.11)), ({4: 0.1}, (0.07, 0.09))]
)
def test_a_lens_comes_back_from_the_picture_of_an_edge(aberration, misplaced):
    own = _lens(aberration)().detach()[0]
    picture = _picture(_lens(aberration, pitch=_PITCH / 4, size=289))
    given = {"size": 63, "measured": "camera", "pixel": "centre"}
    edge = optics.slanted_edge_mtf(picture)
    whole = optics.psf_from_mtf(edge.frequency, edge.mtf, beyond="zero", **given)
    assert _misplaced(whole.psf, own) < 0.03
    # With noise: what stands above it, and a rule for the rest.
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edge = optics.slanted_edge_mtf(picture + 0.008 * noise)
    above = (edge.mtf > 0.1).cumprod(0).bool()
    rules = ("diffraction", "gaussian")
    for rule, most in zip(rules, misplaced, strict=True):
        found = optics.psf_from_mtf(
            edge.frequency[above], edge.mtf[above], cutoff=_PITCH / (_GREEN * 8),
            beyond=rule, **given,
        )  # fmt: skip
        assert _misplaced(found.psf, own) < most
    with pytest.warns(UserWarning, match=r"0\.\d+ of the light came out negative, .* is noisy"):
        noisy = optics.psf_from_mtf(edge.frequency, edge.mtf, beyond="zero", **given)
    assert _misplaced(noisy.psf, own) > 0.25
    assert float(noisy.negative) > 0.3


def test_the_line_spread_of_a_disc_is_turned_into_the_disc():
    # Out of focus: contrast is reversed again and again.
    radius, at = 3.3, torch.linspace(-6, 6, 1201, dtype=torch.float64)
    line = 2 * (radius**2 - at**2).clamp_min(0).sqrt() / (math.pi * radius**2)
    found = optics.psf_from_lsf(at, 7 * line, size=15)
    y, x = (np.repeat(np.repeat(g, 40, 0), 40, 1).astype(float) for g in _grid(15, 15))
    part = (np.arange(600) % 40 + 0.5) / 40 - 0.5
    inside = np.hypot(y + part[:, None], x + part) < radius
    disc = inside.reshape(15, 40, 15, 40).mean((1, 3)) / (math.pi * radius**2)
    np.testing.assert_allclose(found.psf.numpy(), disc, atol=0.06 * disc.max())
    assert float(np.abs(found.psf.numpy() - disc).sum()) / 2 < 0.02
    assert float(found.negative) < 0.01


def test_a_line_spread_of_uneven_steps_in_metres_beside_its_centre():
    pitch, sigma = 4e-6, 1.2
    generator = np.random.default_rng(0)
    steps = generator.uniform(0.1, 0.3, 80)
    at = np.cumsum(steps) - steps.sum() / 2
    line = np.exp(-((at - 0.37) ** 2) / (2 * sigma**2))
    found = optics.psf_from_lsf(
        torch.from_numpy(pitch * at), torch.from_numpy(line), size=21, pixel_pitch=pitch,
        pixel="centre", throughput=0.8,
    )  # fmt: skip
    y, x = _grid(21, 21)
    gauss = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    np.testing.assert_allclose(found.psf, 0.8 * gauss / gauss.sum(), atol=5e-4)
    lines = torch.from_numpy(np.stack([line, 3 * line]))
    both = optics.psf_from_lsf(torch.from_numpy(at), lines, size=21, pixel="centre")
    torch.testing.assert_close(both.psf, (found.psf / 0.8).expand(2, -1, -1))


def test_channels_types_and_light():
    curves = torch.stack([_gauss_mtf(sigma) for sigma in (0.8, 1.0, 1.5)])
    found = optics.psf_from_mtf(_FREQUENCY, curves, size=15, throughput=0.9)
    assert found.psf.shape == (3, 15, 15)
    assert found.negative.shape == found.outside.shape == (3,)
    assert float((found.psf.sum((-2, -1)) - 0.9).abs().max()) < 1e-12
    assert bool((found.psf >= 0).all())
    for row, psf in zip(curves, found.psf, strict=True):
        alone = optics.psf_from_mtf(_FREQUENCY, row, size=15, throughput=0.9).psf
        torch.testing.assert_close(psf, alone)
    single = optics.psf_from_mtf(_FREQUENCY.float(), curves.float(), size=15, throughput=0.9)
    assert single.psf.dtype == torch.float32
    torch.testing.assert_close(single.psf.double(), found.psf, atol=1e-6, rtol=0)
    scene = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    camera = optics.IncoherentImaging(single.psf)
    expected = optics.convolve(scene, single.psf, boundary="replicate")
    torch.testing.assert_close(camera(scene), expected)


@pytest.mark.parametrize("beyond", [None, "gaussian", "diffraction"])
def test_the_psf_follows_every_value_of_its_curves(beyond):
    frequency = torch.tensor([0.0, 0.05, 0.12, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    curve = _gauss_mtf(0.9, frequency)
    cutoff = 0.9
    kept = slice(None) if beyond is None else slice(0, 5)

    def psf(*curves):
        return optics.psf_from_mtf(
            frequency[kept], torch.cat((torch.ones(1, dtype=torch.float64), curves[0])),
            tangential=torch.cat((torch.ones(1, dtype=torch.float64), curves[1])),
            size=5, cutoff=cutoff, beyond=beyond, azimuth=0.4,
        ).psf  # fmt: skip

    own = curve[kept][1:].clone().requires_grad_()
    other = (0.9 * curve[kept][1:]).requires_grad_()
    assert torch.autograd.gradcheck(psf, (own, other), atol=1e-7, fast_mode=True)


_HALF = torch.linspace(0, 0.5, 51, dtype=torch.float64)


@pytest.mark.parametrize(
    ("frequency", "curve", "given", "message"),
    [
        (_HALF, 100 * _gauss_mtf(1.5, _HALF), {}, r"mtf must be 1 at frequency 0, not 100: .*100"),
        (_HALF + 0.1, _gauss_mtf(1.5, _HALF), {}, "must increase from 0, but begins at 0.1: if"),
        (-_HALF, _gauss_mtf(1.5, _HALF), {}, "frequency must increase from 0"),
        (_HALF, _gauss_mtf(1.5, _HALF) + 0.3 * _HALF, {}, "beyond='zero', 'gaussian' or 'diffrac"),
        (_HALF, 1 + 0.3 * _HALF, {}, r"mtf is 1.15 at 0.5 cycles/pixel, more than 0.05 above 1, "),
        (
            _HALF,
            _diffraction(_HALF, 0.6),
            {"cutoff": 0.4},
            r"mtf is 0\.\d+ at 0\.\d+ cycles/pixel, more than 0.05 above 0\.\d+, that of the cut",
        ),
        (_HALF, 1 - 0.5 * _HALF, {"measured": "camera"}, "sharpened"),
        (_HALF[:20], _gauss_mtf(3, _HALF[:20]), {}, "ends at 0.19 cycles/pixel with a contrast of"),
        (_HALF, _gauss_mtf(0.5, _HALF), {}, "a contrast of 0.291, but has to .* fall to 0.05"),
        (_HALF, 1 - 0.1 * _HALF, {"beyond": "gaussian"}, "of 0.95, too high for a Gaussian"),
        (_HALF, _gauss_mtf(0.5, _HALF), {"beyond": "diffraction"}, "needs the cutoff, 1 / "),
        (_HALF, _gauss_mtf(1.5, _HALF), {"cutoff": -1.0}, "cutoff must be positive"),
        (1e5 * _HALF, _gauss_mtf(1.5, _HALF), {}, "reaches 5e.04 cycles/pixel, .* give pixel_pit"),
        (
            200 * _HALF,
            _gauss_mtf(0.5, _HALF),
            {"pixel_pitch": 3e-6, "beyond": "zero"},
            "ends at 0.0003 cycles/pixel, .*1 line pair/mm is 1000 cycles/m",
        ),
        (2 * _HALF[[0, 50]], _HALF[[50, 0]] * 2, {"measured": "camera"}, "two values or more up"),
        (_HALF[:1], _HALF[:1] + 1, {}, r"frequency must be real \[F\], two or more"),
        (_HALF, _HALF[:9], {}, r"mtf must be real \[..., F\] with F = 51 frequencies"),
        (_HALF, math.nan * _HALF, {}, "mtf must be finite"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"measured": "eye"}, "measured must be one of"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"pixel": "round"}, "pixel must be one of"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"beyond": "linear"}, "beyond must be one of"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"throughput": 1.2}, r"throughput must be a fraction"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"azimuth": math.inf}, "azimuth must be finite"),
        (_HALF, _gauss_mtf(1.5, _HALF), {"pixel_pitch": 0.0}, "pixel_pitch must be positive"),
        (
            _HALF,
            _gauss_mtf(1.5, _HALF),
            {"tangential": _gauss_mtf(1.5, _HALF)[None]},
            r"tangential must have the shape of mtf, \(51,\), not \(1, 51\)",
        ),
        (
            _HALF,
            _gauss_mtf(1.5, _HALF),
            {"tangential": _gauss_mtf(1.5, _HALF) - 0.2 * _HALF},
            "must be 0 or more where there are two, and reach -0.",
        ),
    ],
)
def test_what_is_no_curve_of_a_lens_is_refused(frequency, curve, given, message):
    with pytest.raises(ValueError, match=message):
        optics.psf_from_mtf(frequency, curve, size=15, **given)


def test_a_rule_makes_a_short_curve_of_use():
    short, curve = _HALF[:20], _gauss_mtf(1.0, _HALF[:20])
    found = optics.psf_from_mtf(short, curve, size=15, beyond="gaussian")
    whole = optics.psf_from_mtf(_FREQUENCY, _gauss_mtf(1.0), size=15)
    assert _misplaced(found.psf, whole.psf) < 1e-3
    found = optics.psf_from_mtf(
        short, _diffraction(short, 0.4), size=15, cutoff=0.4, beyond="diffraction"
    )
    whole = optics.psf_from_mtf(_HALF, _diffraction(_HALF, 0.4), size=15)
    assert _misplaced(found.psf, whole.psf) < 1e-3
    with pytest.warns(UserWarning, match="the curve ends abruptly"):
        optics.psf_from_mtf(short, curve, size=15, beyond="zero")


def test_a_window_that_is_too_small_is_told():
    with pytest.warns(UserWarning, match=r"0\.\d+ of the light is outside of the window"):
        found = optics.psf_from_mtf(_HALF, _gauss_mtf(4.0, _HALF), size=9)
    assert float(found.outside) == pytest.approx(1 - erf(4.5 / (4 * 2**0.5)) ** 2, abs=1e-3)


def test_a_warning_points_to_who_asked():
    at = torch.linspace(-20, 20, 401)
    for asked in (
        lambda: optics.psf_from_lsf(at, torch.exp(-(at**2) / 32), size=9),
        lambda: optics.psf_from_mtf(_HALF, _gauss_mtf(4.0, _HALF), size=9),
    ):
        with pytest.warns(UserWarning, match="outside of the window") as caught:
            asked()
        assert {Path(each.filename).name for each in caught} == {Path(__file__).name}


def test_what_is_no_line_spread_is_refused():
    at = torch.linspace(-3, 3, 61)
    line = torch.exp(-(at**2))
    with pytest.raises(ValueError, match=r"position must be real \[N\] and rise"):
        optics.psf_from_lsf(-at, line, size=9)
    with pytest.raises(ValueError, match=r"lsf must be real \[..., N\] with N = 61 positions"):
        optics.psf_from_lsf(at, line[:-1], size=9)
    with pytest.raises(ValueError, match="lsf holds no light"):
        optics.psf_from_lsf(at, -line, size=9)
    with pytest.raises(ValueError, match="lsf must be finite"):
        optics.psf_from_lsf(at, line * math.nan, size=9)
    with pytest.raises(TypeError, match="lsf must be a Tensor, not ndarray"):
        optics.psf_from_lsf(at, line.numpy(), size=9)
    with pytest.raises(TypeError, match="mtf must be a Tensor, not list"):
        optics.psf_from_mtf(_HALF, [1.0], size=9)


@pytest.mark.parametrize(
    "options",
    [{}, {"measured": "camera", "beyond": "zero"}, {"cutoff": 2.5, "beyond": "diffraction"}],
    ids=str,
)
def test_curves_are_mapped(options):
    curves = torch.stack([_gauss_mtf(sigma) for sigma in (0.8, 1.0, 1.3)])

    def psf(curve):
        return optics.psf_from_mtf(_FREQUENCY, curve, size=(15, 16), **options).psf

    if options.get("measured") == "camera":
        sinc = torch.sinc(_FREQUENCY)
        curves = curves * sinc
    each = torch.stack([psf(curve) for curve in curves])
    torch.testing.assert_close(torch.func.vmap(psf)(curves), each)
    slope = torch.func.grad(lambda curve: psf(curve).square().sum())
    slopes = torch.stack([slope(curve) for curve in curves])
    assert slopes.abs().sum() > 0
    torch.testing.assert_close(torch.func.vmap(slope)(curves), slopes)


def test_two_curves_and_line_spreads_are_mapped():
    pairs = torch.stack([_gauss_mtf(sigma) for sigma in (0.8, 1.0, 1.3)])

    def both(sagittal, tangential):
        return optics.psf_from_mtf(_FREQUENCY, sagittal, tangential=tangential, size=15).psf

    each = torch.stack([both(one, other) for one, other in zip(pairs, pairs.flip(0), strict=True)])
    torch.testing.assert_close(torch.func.vmap(both)(pairs, pairs.flip(0)), each)

    position = torch.linspace(-8, 8, 65, dtype=torch.float64)
    lines = torch.stack([torch.exp(-((position / width) ** 2)) for width in (1.2, 1.6, 2.0)])

    def psf(line):
        return optics.psf_from_lsf(position, line, size=15).psf

    each = torch.stack([psf(line) for line in lines])
    torch.testing.assert_close(torch.func.vmap(psf)(lines), each)


def test_what_decides_the_sum_is_not_mapped():
    curve, scales = _gauss_mtf(1.0), torch.tensor([1.0, 1.1], dtype=torch.float64)

    def of_frequency(scale):
        return optics.psf_from_mtf(_FREQUENCY * scale, curve, size=15).psf

    def of_position(scale):
        position = torch.linspace(-8, 8, 65, dtype=torch.float64)
        return optics.psf_from_lsf(position * scale, torch.exp(-(position**2)), size=15).psf

    def with_a_rule(scale):
        short = _FREQUENCY[:31]
        return optics.psf_from_mtf(
            short, _gauss_mtf(0.8, short) ** scale, size=15, beyond="gaussian"
        ).psf

    for name, psf in (("frequency", of_frequency), ("position", of_position)):
        with pytest.raises(ValueError, match=rf"{name} decides .*vmap hides: map over curves"):
            torch.func.vmap(psf)(scales)
    with pytest.raises(ValueError, match=r"beyond='gaussian' reaches .*vmap hides: give the curve"):
        torch.func.vmap(with_a_rule)(scales)


@pytest.mark.parametrize("pitch", [1.12e-6, 1.4e-6, 2e-6, 3.45e-6, 6.5e-6])
def test_curves_in_single_precision_end_where_they_end(pitch):
    frequency, taps = torch.linspace(0, 0.5 / pitch, 65), torch.arange(-16, 17)
    contrast = torch.exp(-5 * (frequency * pitch / 0.5) ** 2)
    line = torch.exp(-(taps.float() ** 2) / 2.88)
    for made in (
        optics.psf_from_mtf(frequency, contrast, size=31, pixel_pitch=pitch),
        optics.psf_from_lsf(taps * pitch, line, size=31, pixel_pitch=pitch),
    ):
        assert float(made.psf.sum()) == pytest.approx(1, abs=1e-3)
    for f_number in (8, 11, 16, 22):
        cutoff = 1 / (550e-9 * f_number)
        given = torch.linspace(0, cutoff, 65)
        curve = torch.from_numpy(_disk_curve(given.numpy() / cutoff)).float()
        optics.psf_from_mtf(given, curve, size=201, pixel_pitch=pitch, cutoff=cutoff)


def _disk_curve(share):
    share = np.clip(share, 0, 1)
    return 2 / np.pi * (np.arccos(share) - share * np.sqrt(1 - share**2))
