import math
import warnings

import numpy as np
import pytest
import torch
from scipy.special import erf

import optics


def _edge(height=64, width=64, *, degrees=5.0, sigma=1.0, x=0.0):
    """An edge from 0.1 to 0.9, blurred by a Gaussian: its profile is the error function."""
    rows, columns = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2 - x
    angle = math.radians(degrees)
    across = columns * math.cos(angle) - rows * math.sin(angle)
    return torch.from_numpy(0.5 + 0.4 * erf(across / (sigma * math.sqrt(2))))


def _gauss_mtf(frequency, sigma):
    return np.exp(-2 * (math.pi * sigma * np.asarray(frequency)) ** 2)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("degrees", [2, 3, 5, -5, 7, 8.75, -10])
def test_a_gaussian_has_the_transform_of_a_gaussian(degrees, sigma):
    found = optics.slanted_edge_mtf(_edge(degrees=degrees, sigma=sigma, x=0.3))
    expected = _gauss_mtf(found.frequency, sigma)
    np.testing.assert_allclose(found.mtf.numpy(), expected, atol=0.005)
    assert math.degrees(found.angle) == pytest.approx(degrees, abs=0.002)
    half = math.sqrt(math.log(2) / 2) / (math.pi * sigma)
    assert float(found.frequency_at(0.5)) == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize(("width", "sigma"), [(40, 1.5), (40, 2.5), (64, 2.5)])
@pytest.mark.parametrize("height", [24, 40, 100, 150])
@pytest.mark.parametrize("degrees", [3, 10])
def test_more_rows_do_not_narrow_the_window(degrees, height, width, sigma):
    found = optics.slanted_edge_mtf(_edge(height, width, degrees=degrees, sigma=sigma, x=0.3))
    # A Gaussian under the Hamming window of half the width, which is all that is off.
    side, tilt = width // 2 - 2, math.cos(math.radians(degrees))
    along = found.frequency.numpy() * tilt

    def windowed(f):
        beside = sum(_gauss_mtf(f + shift / (2 * side), sigma / tilt) for shift in (-1, 1))
        return 0.54 * _gauss_mtf(f, sigma / tilt) + 0.23 * beside

    np.testing.assert_allclose(found.mtf.numpy(), windowed(along) / windowed(0), atol=0.003)


def test_bins_that_half_of_the_rows_leave_empty_are_left_out():
    # Rows at 14 degrees, a quarter of a pixel apart, fill eighths of a pixel only together.
    found = optics.slanted_edge_mtf(_edge(48, 40, degrees=14, x=0.01), oversampling=8)
    assert len(found.lsf) == 2 * 15 * 8 - 1  # of 18 pixels on a side
    np.testing.assert_allclose(found.mtf.numpy(), _gauss_mtf(found.frequency, 1.0), atol=0.007)


def _diffraction(frequency, cutoff):
    s = np.clip(frequency / cutoff, 0, 1)
    return 2 / math.pi * (np.arccos(s) - s * np.sqrt(1 - s * s))


def _camera(*, finer, boundary="replicate"):
    """A lens of f/8 over pixels of 2 um, rendered on samples ``finer`` times as fine."""
    diameter, size = 20e-3 / 8, 192
    pupil = optics.Pupil(
        [], size=size, spacing=diameter / (size - 1), wavelengths=(550e-9,), focal_length=20e-3,
        pixel_pitch=2e-6 / finer, psf_size=72 * finer + 1,
    )  # fmt: skip
    return optics.IncoherentImaging(pupil, boundary=boundary)


def _scene(size, finer, *, degrees=5.0):
    """A sharp edge, on samples that are 1 / finer of a pixel."""
    steps = (torch.arange(size * finer) + 0.5) / finer - size / 2
    bright = steps > math.tan(math.radians(degrees)) * steps[:, None]
    return 0.1 + 0.8 * bright.float()[None, None]


def test_a_rendered_camera_has_the_contrast_of_lens_and_pixel():
    # ISO 12233 on the simulator: fine scene, PSF, pixels of 4 x 4 samples.
    picture = _camera(finer=4)(_scene(112, 4))
    sensor = optics.Sensor(1e5, binning=4, bit_depth=16, read_noise=5, shot_noise="none")
    raw = sensor(picture, generator=torch.Generator().manual_seed(0))
    frequency = torch.tensor([0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
    found = optics.slanted_edge_mtf(raw[0, 0, 8:-8, 8:-8], frequency=frequency)
    expected = _diffraction(frequency.numpy(), 2e-6 / (550e-9 * 8)) * np.sinc(frequency.numpy())
    # The window of the PSF and that of the picture lift the low frequencies.
    np.testing.assert_allclose(found.mtf.numpy(), expected, atol=0.025)
    np.testing.assert_allclose(found.mtf.numpy()[3:], expected[3:], atol=0.009)
    assert (found.mtf.numpy() > expected - 0.002).all()


def test_the_area_of_a_pixel_is_in_the_scene_or_nowhere():
    # docs/concepts/sampling.md: a scene averaged over pixels has it, one read at points has not.
    frequency = torch.tensor([0.2, 0.3])
    lens = _diffraction(frequency.numpy(), 2e-6 / (550e-9 * 8))
    camera = _camera(finer=1)
    averaged = torch.nn.functional.avg_pool2d(_scene(112, 16), 16)
    for scene, expected in ((averaged, lens * np.sinc(frequency)), (_scene(112, 1), lens)):
        picture = camera(scene)[0, 0, 8:-8, 8:-8]
        found = optics.slanted_edge_mtf(picture, frequency=frequency)
        np.testing.assert_allclose(found.mtf.numpy(), expected, atol=0.012)


def test_bins_and_brightness_do_not_matter_and_pictures_go_by_themselves():
    edge = _edge()
    alone = optics.slanted_edge_mtf(edge)
    for other in (4095 * edge, 1 - edge, edge.flip(0), edge.flip(1)):
        torch.testing.assert_close(optics.slanted_edge_mtf(other).mtf, alone.mtf, atol=2e-3, rtol=0)
    finer = optics.slanted_edge_mtf(_edge(degrees=3.3), oversampling=8)
    np.testing.assert_allclose(finer.mtf.numpy(), _gauss_mtf(finer.frequency, 1.0), atol=0.006)
    both = torch.stack((edge, _edge(degrees=-4.0, sigma=2.0)))[:, None]
    found = optics.slanted_edge_mtf(both.float())
    assert found.mtf.shape == (2, 1, 101)
    assert found.mtf.dtype == torch.float32
    assert found.frequency_at(0.5).shape == found.angle.shape == (2, 1)
    torch.testing.assert_close(found.mtf[0, 0].double(), alone.mtf, atol=1e-5, rtol=0)
    assert optics.slanted_edge_mtf(edge.half()).mtf.dtype == torch.float32


def test_noise_scatters_the_contrast_and_does_not_shift_it():
    generator = torch.Generator().manual_seed(1)
    noise = 0.008 * torch.randn(40, 64, 64, generator=generator, dtype=torch.float64)
    frequency = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    found = optics.slanted_edge_mtf(_edge() + noise, frequency=frequency).mtf
    np.testing.assert_allclose(found.mean(0), _gauss_mtf(frequency, 1.0), atol=0.006)
    # Without the window it scatters by 0.016.
    assert float(found.std(0).max()) == pytest.approx(0.01, abs=0.003)


def test_the_contrast_follows_the_picture():
    # Between two changes of a bin the measurement is smooth.
    generator = torch.Generator().manual_seed(0)
    picture = _edge(24, 24, degrees=6.3).requires_grad_()
    direction = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    frequency = torch.tensor([0.1, 0.3], dtype=torch.float64)

    def contrast(image):
        return optics.slanted_edge_mtf(image, frequency=frequency).mtf.sum()

    (slope,) = torch.autograd.grad(contrast(picture), picture)
    step = 1e-6 * direction
    there, back = (contrast(picture.detach() + s) for s in (step, -step))
    difference = float(there - back) / 2e-6
    assert float((slope * direction).sum()) == pytest.approx(difference, rel=1e-4)


def _told(picture):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        optics.slanted_edge_mtf(picture)
    return [(str(one.message), one.filename) for one in found]


def test_a_saturated_edge_is_told():
    # Cut off at 0.7 of what goes on to 0.9, its contrast falls to a half 1.4 times as far.
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).double()
    for edge in (_edge(), _edge().flip(1)):
        codes = (4095 * (edge + 0.005 * noise)).round()
        cut = codes.clamp_max(2866)
        highest = (edge / 0.7 * 255).clamp_max(255).round().to(torch.uint8)
        for picture in (cut, cut.to(torch.int16), cut.numpy().astype(np.uint16), highest,
                        highest.numpy(), torch.stack((codes, cut)), cut / 4095):  # fmt: skip
            ((message, filename),) = _told(picture)
            assert "saturated picture" in message
            assert filename == __file__
    # Noise on both sides, and none on either, of codes and of fractions.
    clean = (255 * _edge(sigma=0.5)).round()
    for picture in (codes, codes / 4095, clean, clean.to(torch.uint8), _edge(sigma=0.5),
                    _edge(degrees=10, sigma=1.5, x=14), (_edge() > 0.5).double()):  # fmt: skip
        assert _told(picture) == []


def test_a_dark_side_that_is_cut_off_is_told():
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).double()
    for edge in (_edge(), _edge().flip(1)):
        codes = (4095 * (edge + 0.005 * noise)).round()
        cut = (codes - 1200).clamp_min(0)
        lowest = (edge * 255 - 60).clamp_min(0).round().to(torch.uint8)
        whole = (cut.to(torch.int16), cut.numpy().astype(np.uint16), lowest, lowest.numpy())
        for picture in (*whole, cut, cut / 4095, cut - 500, torch.stack((codes, cut))):
            ((message, filename),) = _told(picture)
            assert "black is cut off" in message
            assert filename == __file__
    both = (edge * 400 - 80).clamp(0, 255).round().to(torch.uint8)
    assert [("largest" in each, "smallest" in each) for each, _ in _told(both)] == [
        (True, False), (False, True)
    ]  # fmt: skip


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("change", [0.05, -0.05, 0.2])
def test_uneven_light_is_told(change, flip):
    light = 1 + change * torch.linspace(-1, 1, 64, dtype=torch.float64)
    edge = _edge().flip(1) if flip else _edge()
    # The bright side slopes by so much of 0.9, of a step of 0.8, from the middle to its end.
    ((message, filename),) = _told(edge * light)
    told = float(message.split("slopes by ")[1].split(" %")[0]) / 100
    assert told == pytest.approx(abs(change) * 0.9 / 0.8, rel=0.35)
    assert filename == __file__
    assert "light it evenly" in message
    # Of less the contrast is right to some per cent; along the edge it does no harm.
    small = 1 + 0.2 * change * torch.linspace(-1, 1, 64, dtype=torch.float64)
    for lit in (edge * small, edge * (1 + small[:, None]) / 2):
        if abs(change) < 0.1:
            assert _told(lit) == []


def test_noise_and_blur_are_not_taken_for_uneven_light():
    for seed in range(8):
        noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)).double()
        assert _told(_edge() + 0.01 * noise) == _told(_edge() + 0.08 * noise) == []
    assert _told(_edge(sigma=4.0)) == []
    assert "give more columns" in _told(_edge(40, 40, sigma=6.0))[0][0]


def test_a_frequency_is_found_between_its_neighbours():
    line = optics.SlantedEdge(
        torch.tensor([[1.0, 0.6, 0.2, 0.7], [1.0, 0.9, 0.8, 0.7]]),
        torch.tensor([0.0, 0.1, 0.2, 0.3]),
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, 1),
    )
    found = line.frequency_at(0.5)
    assert float(found[0]) == pytest.approx(0.125)
    assert math.isnan(found[1])
    # In whatever order they are told.
    mixed = [2, 0, 3, 1]
    told = line._replace(mtf=line.mtf[:, mixed], frequency=line.frequency[mixed])
    torch.testing.assert_close(told.frequency_at(0.5), found, rtol=0, atol=0, equal_nan=True)
    # Below it from the first on, or with nothing to go between: not to be told.
    late = line._replace(mtf=line.mtf[0, 2:], frequency=line.frequency[2:])
    assert math.isnan(late.frequency_at(0.5))
    alone = line._replace(mtf=line.mtf[0, 2:3], frequency=line.frequency[2:3])
    assert math.isnan(alone.frequency_at(0.5))
    for contrast in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="contrast must lie between 0 and 1"):
            line.frequency_at(contrast)


def test_a_contrast_that_does_not_fall_puts_no_nan_into_a_gradient():
    rows = [[1.0, 0.6, 0.2], [1.0, 1.0, 0.9], [0.4, 0.3, 0.2]]
    contrast = torch.tensor(rows, requires_grad=True)
    line = optics.SlantedEdge(contrast, torch.tensor([0.0, 0.1, 0.2]), *torch.zeros(3, 3, 1))
    line.frequency_at(0.5).nansum().backward()
    assert torch.isfinite(contrast.grad).all()
    # found = 0.1 + 0.1 (a - 0.5) / (a - b) at a = 0.6, b = 0.2
    torch.testing.assert_close(contrast.grad[0], torch.tensor([0.0, 0.1875, 0.0625]))
    assert (contrast.grad[1:] == 0).all()


_NOISE = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (_edge(degrees=0), "the edge moves by 0 pixels over 64 rows, .* tilt it by 2 to 10"),
        (_edge().mT, r"runs along the rows rather than across them; give picture\.mT"),
        (torch.ones(64, 64), "no straight edge from the first row to the last"),
        (_NOISE, "no straight edge|along the rows"),
        (_edge(x=29), "the edge comes within 0 pixels of a side of the picture 64 x 64"),
        (_edge()[:6], "picture must be at least 8 x 8 pixels, not 6 x 64"),
        (_edge() > 0.5, r"picture must be real floating point \[\.\.\., H, W\]"),
        (_edge() * math.nan, "picture must be finite"),
        (torch.ones(0, 3, 64, 64), r"must hold at least one \[H, W\], not \(0, 3, 64, 64\)"),
    ],
)
def test_what_is_no_tilted_edge_is_refused(picture, message):
    with pytest.raises(ValueError, match=message):
        optics.slanted_edge_mtf(picture)


def test_frequencies_that_the_bins_do_not_hold_are_refused():
    with pytest.raises(ValueError, match="frequency must be between 0 and 2, in cycles/pixel"):
        optics.slanted_edge_mtf(_edge(), frequency=torch.tensor([0.5, 2.5]))
    with pytest.raises(ValueError, match=r"frequency must be real \[F\], in cycles/pixel"):
        optics.slanted_edge_mtf(_edge(), frequency=torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="frequency must be a Tensor, not list"):
        optics.slanted_edge_mtf(_edge(), frequency=[0.1, 0.2])
    coarse = optics.slanted_edge_mtf(_edge(), oversampling=1)
    assert float(coarse.frequency[-1]) == 0.5
    with pytest.raises(ValueError, match="oversampling must be a whole number"):
        optics.slanted_edge_mtf(_edge(), oversampling=0)
    with pytest.raises(ValueError, match="an edge at 5 degrees leaves some of the 32 bins of a"):
        optics.slanted_edge_mtf(_edge(24), oversampling=32)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("degrees", [3, 5, -7, 10])
def test_the_line_spread_of_a_gaussian_is_a_gaussian(degrees, sigma):
    found = optics.slanted_edge_mtf(_edge(degrees=degrees, sigma=sigma, x=0.3))
    x, lsf = found.position.numpy(), found.lsf.numpy()
    assert x.shape == lsf.shape
    assert np.trapezoid(lsf, x) == pytest.approx(1, abs=1e-3)
    gauss = np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    # Twice the width of a bin: of its mean, and of the difference of two.
    gauss *= 1 + 2 * 0.25**2 / 24 * (x**2 / sigma**2 - 1) / sigma**2
    np.testing.assert_allclose(lsf, gauss, atol=0.003 / sigma)


def test_line_spreads_of_several_pictures_are_as_long_as_the_shortest():
    pictures = torch.stack([_edge(x=-8, sigma=1.0), _edge(x=5, sigma=1.2)])
    found = optics.slanted_edge_mtf(pictures[:, None])
    assert found.lsf.shape == found.position.shape == (2, 1, found.lsf.shape[-1])
    for together, picture in zip(found.lsf[:, 0], pictures, strict=True):
        alone = optics.slanted_edge_mtf(picture).lsf
        cut = (len(alone) - len(together)) // 2
        torch.testing.assert_close(together, alone[cut : len(alone) - cut])
    # Both stand about the edge.
    assert found.position.mean(-1).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "i4", "f4"])
def test_whole_numbers_and_arrays_are_pictures(kind):
    codes = (200 * _edge()).round().numpy()
    expected = optics.slanted_edge_mtf(torch.from_numpy(codes).float())
    found = optics.slanted_edge_mtf(codes.astype(kind))
    assert found.mtf.dtype == torch.float32
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    if kind == "u1":
        for whole in (torch.uint8, torch.uint16):
            ours = optics.slanted_edge_mtf(torch.from_numpy(codes).to(whole)).mtf
            torch.testing.assert_close(ours, expected.mtf)
    with pytest.raises(TypeError, match=r"picture must be a Tensor or a numpy array .* not list"):
        optics.slanted_edge_mtf(codes.tolist())


def test_a_stack_is_measured_rather_than_mapped():
    pictures = torch.stack([_edge(degrees=degrees) for degrees in (4.0, 6.0)])
    with pytest.raises(ValueError, match=r"decides how many bins .*vmap hides: give the pictures"):
        torch.func.vmap(lambda picture: optics.slanted_edge_mtf(picture).mtf)(pictures)
    # Which is no loss: of a sum over a stack each picture has the gradient that it has alone.
    slope = torch.func.grad(lambda picture: optics.slanted_edge_mtf(picture).mtf.square().sum())
    together, alone = slope(pictures), torch.stack([slope(picture) for picture in pictures])
    assert alone.abs().sum() > 0
    torch.testing.assert_close(together, alone)
