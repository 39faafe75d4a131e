import contextlib
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, j1

import optics
from optics.lens_data.measured import _overlap

_I = torch.arange(65, dtype=torch.float64) - 32


def _gauss(sigma, y=0.0, x=0.0):
    return torch.exp(-((_I[:, None] - y) ** 2 + (_I - x) ** 2) / (2 * sigma**2))


_SPOT = _gauss(1.5)
# A tenth of the light, in a halo of 0.4 % of the peak.
_HALO = _SPOT + 0.1 / 0.9 * (1.5 / 8) ** 2 * _gauss(8)


def _noisy(spot, noise, seed):
    """A camera's picture: background 100, peak 1000, noise a share of the peak."""
    generator = torch.Generator().manual_seed(seed)
    return 100 + 1000 * (spot + noise * torch.randn(65, 65, generator=generator).double())


def _core(psf):
    return float(psf[28:37, 28:37].sum() / psf.sum())


def test_a_measured_psf_is_centred_cut_and_has_the_light_it_is_given():
    y, x = np.indices((41, 50))
    spot = np.exp(-((y - 17.3) ** 2 + (x - 28.6) ** 2) / (2 * 2.0**2))
    picture = torch.from_numpy(400 * spot + 100)
    psf = optics.measured_psf(picture, size=21, throughput=0.6)
    i = np.arange(21) - 10
    expected = np.exp(-(np.hypot(i[:, None], i) ** 2) / (2 * 2.0**2))
    expected *= 0.6 / expected.sum()
    np.testing.assert_allclose(psf.numpy(), expected, atol=2e-5)
    stack = optics.measured_psf(picture.expand(3, 41, 50), size=21, background=100.0)
    assert stack.shape == (3, 21, 21)
    torch.testing.assert_close(stack.sum((-2, -1)), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01])
@pytest.mark.parametrize("background", [None, 100.0])
def test_noise_makes_no_pedestal(noise, background):
    # What is below the background set to zero and no more leaves shares of 0.81, 0.63 and 0.45.
    expected = optics.mtf(_SPOT / _SPOT.sum())
    for seed in range(8):
        psf = optics.measured_psf(_noisy(_SPOT, noise, seed), size=65, background=background)
        assert (psf >= 0).all()
        assert _core(psf) == pytest.approx(_core(_SPOT), abs=0.02)
        mtf = optics.mtf(psf)
        assert float(mtf[32, 42]) == pytest.approx(float(expected[32, 42]), rel=0.04)
        assert abs(mtf - expected).max() <= 0.03


def test_a_faint_halo_stays_where_the_noise_lets_it_be_seen():
    expected = optics.mtf(_HALO / _HALO.sum())
    for seed in range(8):
        psf = optics.measured_psf(_noisy(_HALO, 0.0005, seed), size=65)
        # 0.914 with the halo and 0.996 without.
        assert _core(psf) == pytest.approx(_core(_HALO), abs=0.008)
        assert abs(optics.mtf(psf) - expected).max() <= 0.01
        psf = optics.measured_psf(_noisy(_HALO, 0.002, seed), size=65)
        assert _core(psf) == pytest.approx(_core(_HALO), abs=0.025)
    # Without noise it lacks what of the halo is taken for background or, known to be none, for
    # noise: its own change along the border.
    for background, allowed in ((100.0, 1e-5), (None, 5e-4)):
        psf = optics.measured_psf(_noisy(_HALO, 0.0, 0), size=65, background=background)
        assert _core(psf) == pytest.approx(_core(_HALO), abs=allowed)


def test_a_picture_in_codes_has_its_noise_between_them():
    # 8 bits: noise of 0.1 to 2 codes, and a background that is no whole code. Where few pixels
    # are a code above the rest, taking all of these for light would leave a share of 0.945.
    for noise in (0.0005, 0.002, 0.01):
        for seed in range(4):
            codes = (0.2 * _noisy(_SPOT, noise, seed) + 0.3).round().to(torch.uint8)
            assert int(codes.max()) < 255
            psf = optics.measured_psf(codes, size=65)
            assert psf.dtype == torch.float32
            assert _core(psf) == pytest.approx(_core(_SPOT), abs=0.015)
            # The same as fractions, whose type does not tell.
            fractions = optics.measured_psf(codes.double() / 255, size=65)
            torch.testing.assert_close(psf.double(), fractions, rtol=0, atol=5e-4)


def test_the_noise_can_be_said():
    picture = _noisy(_SPOT, 0.005, 0)
    # Without any the picture is as it was, less what lies below the background.
    plain = optics.measured_psf(_noisy(_SPOT, 0.005, 0), size=65, background=100.0, noise=0.0)
    assert _core(plain) < 0.65
    most = optics.measured_psf(picture, size=65, background=100.0, noise=30.0)
    assert int((most > 1e-3 * most.max()).sum()) < 120
    with pytest.raises(ValueError, match="no light above its background and noise"):
        optics.measured_psf(picture, size=65, noise=1000.0)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="noise must be 0 or more, in the unit of the picture"):
            optics.measured_psf(picture, size=65, noise=bad)


def test_a_picture_of_noise_is_warned_of():
    with pytest.warns(UserWarning, match=r"the noise is 0\.\d+ of the brightest pixel.*average"):
        optics.measured_psf(_noisy(_SPOT, 0.08, 0), size=65)
    with pytest.raises(ValueError, match="no light above its background and noise"):
        optics.measured_psf(_noisy(0 * _SPOT, 0.01, 0), size=65)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optics.measured_psf(_noisy(_SPOT, 0.02, 0), size=65)


def _place(psf):
    i = torch.arange(psf.shape[-1], dtype=psf.dtype) - psf.shape[-1] // 2
    total = psf.sum((-2, -1))
    return (
        torch.stack(((psf.sum(-1) * i).sum(-1), (psf.sum(-2) * i).sum(-1)), -1) / total[..., None]
    )


def test_lateral_colour_stays_unless_each_channel_is_centred():
    red, blue = _gauss(1.5, 3.0, 1.0), 0.5 * _gauss(2.0, 3.6, -2.0)
    picture = 100 + 1000 * torch.stack((red, blue))
    weight = float(blue.sum() / (red + blue).sum())
    middle = torch.tensor([3 + 0.6 * weight, 1 - 3 * weight], dtype=torch.float64)
    wanted = torch.tensor([[3.0, 1.0], [3.6, -2.0]], dtype=torch.float64) - middle
    found = _place(optics.measured_psf(picture, size=41))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)
    each = _place(optics.measured_psf(picture, size=41, centre="each"))
    torch.testing.assert_close(each, torch.zeros_like(each), rtol=0, atol=2e-3)
    # Pictures of a batch have nothing in common.
    batch = torch.stack((picture, picture.roll((-4, 5), (-2, -1))))
    both = optics.measured_psf(batch, size=41)
    torch.testing.assert_close(_place(both)[1], wanted, rtol=0, atol=2e-3)
    torch.testing.assert_close(both[0], optics.measured_psf(picture, size=41))
    with pytest.raises(ValueError, match="centre must be 'common', 'each' or 'kept', not 'all'"):
        optics.measured_psf(picture, size=41, centre="all")


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_the_middle_of_the_picture_can_be_kept(ratio):
    # Off the middle by 2 pixels up and 1 to the right, as a lopsided PSF is.
    picture = torch.from_numpy(_pixels(61, 1e-6, 4e-6)).roll((-2 * ratio, ratio), (0, 1))
    pitches = {"picture_pitch": 1e-6, "pixel_pitch": ratio * 1e-6}
    own = {"size": 15, "background": 0.0, "noise": 0.0, "centre": "kept"}
    for pixel in ("area", "centre"):
        psf = optics.measured_psf(picture, pixel=pixel, **own, **pitches)
        assert divmod(int(psf.argmax()), 15) == (7 - 2, 7 + 1)
    assert optics.measured_psf(picture.expand(2, 3, -1, -1), **own, **pitches).shape[:2] == (2, 3)


def _pixels(size, pitch, sigma):
    """Light of a Gaussian on each pixel, all of it 1."""
    edges = (np.arange(size + 1) - size // 2 - 0.5) * pitch / (sigma * math.sqrt(2))
    along = np.diff(erf(edges)) / 2
    return along[:, None] * along


@pytest.mark.parametrize(
    # Whole multiples are exact; others spread a sample evenly, with the error that is documented.
    ("pitch", "size", "allowed"),
    [
        (1e-6, 31, 1e-12),
        (2e-6, 21, 1e-12),
        (3e-6, 15, 1e-12),
        (4e-6, 15, 1e-12),
        (1.5e-6, 31, 0.02),
        (2.7e-6, 17, 0.02),
    ],
)
def test_samples_are_gathered_on_the_areas_of_pixels(pitch, size, allowed):
    sigma = 4e-6
    picture = torch.from_numpy(_pixels(61, 1e-6, sigma))
    psf = optics.measured_psf(
        picture, size=size, background=0.0, noise=0.0, picture_pitch=1e-6, pixel_pitch=pitch
    ).numpy()
    expected = _pixels(size, pitch, sigma)
    expected /= expected.sum()
    assert abs(psf - expected).max() <= allowed * expected.max()


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 6), st.integers(1, 40), st.sampled_from([0.0, 0.5]))
def test_no_light_is_lost_between_pixels(ratio, samples, first):
    # Every sample that pixels cover gives all of its light away, and a pixel takes its width.
    size = 2 * math.ceil(samples / ratio / 2) + 3
    overlap = _overlap(samples, size, ratio, first)
    torch.testing.assert_close(overlap.sum(0), torch.ones(samples, dtype=torch.float64))
    assert float(overlap.sum(1).max()) <= ratio + 1e-9
    assert (overlap >= 0).all()


@pytest.mark.parametrize("ratio", [1.0, 2.0, 2.7, 4.0])
def test_pixels_can_be_read_at_their_centres(ratio):
    i = torch.arange(90, dtype=torch.float64) - 45
    picture = torch.exp(-(i[:, None].square() + i.square()) / (2 * 4.0**2))
    psf = optics.measured_psf(
        picture, size=19, background=0.0, noise=0.0,
        picture_pitch=1e-6, pixel_pitch=ratio * 1e-6, pixel="centre",
    )  # fmt: skip
    i = ratio * (torch.arange(19, dtype=torch.float64) - 9)
    expected = torch.exp(-(i[:, None].square() + i.square()) / (2 * 4.0**2))
    torch.testing.assert_close(psf, expected / expected.sum(), rtol=0, atol=1e-8)


def test_the_psf_of_a_pupil_is_measured_on_the_bench():
    def lens(pitch, size):
        return optics.Pupil(
            [], size=64, spacing=2.5e-3 / 63, wavelengths=(545e-9,), focal_length=20e-3,
            pixel_pitch=pitch, psf_size=size,
        )().double()  # fmt: skip

    known, picture = lens(3.5e-6, 15), lens(3.5e-6 / 4, 127)
    pitches = {"picture_pitch": 3.5e-6 / 4, "pixel_pitch": 3.5e-6}
    own = {"size": 15, "background": 0.0, "noise": 0.0, "throughput": float(known.sum())}
    centre = optics.measured_psf(picture, pixel="centre", **own, **pitches)
    area = optics.measured_psf(picture, **own, **pitches)
    assert (centre - known).abs().max() < 2e-3 * known.max()
    assert (area - known).abs().max() > 0.1 * known.max()
    with pytest.raises(ValueError, match="pixel must be 'area' or 'centre', not 'middle'"):
        optics.measured_psf(picture, pixel="middle", **own, **pitches)


def test_pitches_that_make_no_pixels_are_refused():
    both = "give both picture_pitch and pixel_pitch, in metres, or none of them"
    for given_one in ({"picture_pitch": 1e-6}, {"pixel_pitch": 1e-6}):
        with pytest.raises(ValueError, match=both):
            optics.measured_psf(_SPOT, size=9, **given_one)
    with pytest.raises(ValueError, match=r"at least picture_pitch, 2e-06 metres, not 1e-06: take"):
        optics.measured_psf(_SPOT, size=9, picture_pitch=2e-6, pixel_pitch=1e-6)
    with pytest.raises(ValueError, match="picture_pitch must be positive and finite, in metres"):
        optics.measured_psf(_SPOT, size=9, picture_pitch=-1e-6, pixel_pitch=1e-6)
    with pytest.raises(
        ValueError, match=r"at most the picture's \(21, 21\) pixels, not \(22, 22\)"
    ):
        optics.measured_psf(_SPOT, size=22, picture_pitch=1e-6, pixel_pitch=3e-6)
    assert optics.measured_psf(_SPOT, size=21, picture_pitch=1e-6, pixel_pitch=3e-6).shape[0] == 21


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "i4", "f4", ">f8"])
def test_arrays_and_whole_numbers_are_pictures(kind):
    codes = (200 * _SPOT + 20).round().numpy()
    given_codes = codes.astype(kind)
    given_codes.flags.writeable = False
    psf = optics.measured_psf(given_codes, size=21)
    assert psf.dtype == (torch.float64 if kind == ">f8" else torch.float32)
    expected = optics.measured_psf(torch.from_numpy(codes), size=21)
    torch.testing.assert_close(psf.double(), expected, rtol=0, atol=1e-6)


def test_whole_and_half_tensors_are_pictures():
    codes = (200 * _SPOT + 20).round()
    expected = optics.measured_psf(codes, size=21).float()
    for kind in (torch.uint8, torch.uint16, torch.int64, torch.float16):
        psf = optics.measured_psf(codes.to(kind), size=21)
        torch.testing.assert_close(psf, expected, rtol=0, atol=1e-6)


def test_other_pictures_are_refused():
    with pytest.raises(TypeError, match=r"a Tensor or a numpy array \[\.\.\., H, W\], not list"):
        optics.measured_psf([[1.0]], size=1)
    for kind in (bool, complex, object):
        with pytest.raises(ValueError, match="picture must be real numbers"):
            optics.measured_psf(np.ones((5, 5), kind), size=3)
    for kind in (torch.bool, torch.complex64):
        with pytest.raises(ValueError, match="picture must be real floating point"):
            optics.measured_psf(torch.ones(5, 5, dtype=kind), size=3)
    with pytest.raises(ValueError, match="picture must be finite"):
        optics.measured_psf(torch.full((5, 5), math.nan), size=3)
    with pytest.raises(ValueError, match=r"size must be at most the picture's \(5, 5\) pixels"):
        optics.measured_psf(torch.ones(5, 5), size=7)
    with pytest.raises(ValueError, match="no light above its background"):
        optics.measured_psf(torch.ones(5, 5), size=3)
    with pytest.raises(ValueError, match="throughput must be a fraction"):
        optics.measured_psf(torch.ones(5, 5), size=3, throughput=2)


def test_a_psf_is_measured_in_full_precision_under_autocast():
    x = optics.coordinates(33)
    picture = torch.exp(-(x[:, None] ** 2 + x**2) / 8).float()
    expected = optics.measured_psf(picture, size=11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(optics.measured_psf(picture, size=11), expected)
    with pytest.raises(TypeError, match="throughput must be one number, not 'all'"):
        optics.measured_psf(picture, size=11, throughput="all")


def _warnings(picture, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        optics.measured_psf(picture, size=31, **options)
    return [str(one.message) for one in told]


def test_a_saturated_picture_is_warned_of():
    full = (100 + 3000 * _gauss(1.8, 0.3, -0.4)).clamp_max(2000)
    noise = torch.randn(65, 65, generator=torch.Generator().manual_seed(0)).double()
    noisy = (100 + 3000 * _gauss(1.8, 0.3, -0.4) + 10 * noise).clamp_max(2000)
    for picture in (full, noisy, noisy.round().to(torch.uint16), torch.stack((_SPOT, full))):
        (told,) = _warnings(picture)
        assert "pixels share the largest value, as of a saturated picture" in told
        assert told.endswith("expose shorter")


@pytest.mark.parametrize("height", [0.2, 1.0, 3.0])
def test_a_hot_pixel_and_a_second_source_are_warned_of(height):
    hot = _noisy(_SPOT, 0.005, 0)
    hot[5, 9] += 1000 * height
    second = _noisy(_SPOT + height * _gauss(1.5, 17.0, 17.0), 0.005, 0)
    for picture, place in ((hot, "row 5, column 9"), (second, None)):
        (told,) = _warnings(picture)
        assert "apart from the spot, is light of" in told
        assert place is None or place in told
    assert _warnings(_noisy(_SPOT, 0.005, 0)) == []
    # Without noise their tails meet.
    (told,) = _warnings(_SPOT + height * _gauss(1.5, 17.0, 17.0))
    assert "apart from the spot" in told


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float64])
def test_a_hot_pixel_is_found_in_a_picture_of_few_codes(dtype):
    # 0, 60, 120, 240: the least difference of what there is says nothing of a code.
    picture = torch.zeros(33, 33, dtype=torch.int32)
    line = torch.tensor([1, 2, 1])
    picture[15:18, 15:18] = 60 * line[:, None] * line
    assert _warnings(picture.to(dtype)) == []
    picture[4, 5] = 120
    (told,) = _warnings(picture.to(dtype))
    assert "row 4, column 5, apart from the spot" in told


def _spot(kind, size, width, y, x):
    rows, columns = np.indices((size, size)) - size // 2
    radius = np.hypot(rows - y, columns - x)
    if kind == "gauss":
        return np.exp(-(radius**2) / (2 * width**2))
    z = np.maximum(math.pi * radius / width, 1e-9)
    return (2 * j1(z) / z) ** 2


@pytest.mark.parametrize("kind", ["gauss", "airy"])
def test_well_exposed_pictures_are_not_warned_of(kind):
    # Shot noise of 100 to 100 000 photons, read noise, a background, 8 to 16 bits or none.
    random = np.random.default_rng(0)
    for _ in range(100):
        size = int(random.choice([48, 65, 96]))
        width = math.exp(random.uniform(math.log(0.7), math.log(size / 14)))
        spot = _spot(kind, size, width, *random.uniform(-3, 3, 2))
        photons = 10 ** random.uniform(2, 5)
        read = random.choice([0.3, 2.0])
        picture = random.poisson(photons * spot + random.choice([0, 20])) + 5 * read
        picture = picture + random.normal(scale=read, size=spot.shape)
        top = random.choice([0, 250, 4000, 60_000])
        if top:
            codes = picture * (top * random.uniform(0.3, 0.95) / picture.max())
            picture = codes.round().clip(0).astype(np.uint16)
        told = [text for text in _warnings(picture) if not text.startswith("the noise is")]
        assert told == [], (size, width, photons, read, top)


def test_a_dim_point_is_told_from_noise():
    # Noise over nine pixels can be brighter than a sharp spot of two dozen photons.
    random = np.random.default_rng(12)
    for _ in range(300):
        spot = _spot("airy", 64, random.uniform(0.7, 1.1), *random.uniform(-3, 3, 2))
        picture = random.poisson(random.uniform(20, 60) * spot + 2) + random.normal(10, 2, (64, 64))
        with contextlib.suppress(ValueError):  # no light above the noise at all
            told = [text for text in _warnings(picture) if not text.startswith("the noise is")]
            assert told == []


def test_a_lopsided_psf_is_one_source():
    # The lobes of a cubic phase lie along two axes, the furthest far from the brightest.
    mask = optics.CubicMask(64, spacing=1e-4, diameter=6.3e-3, alpha=5.0, design_wavelength=550e-9)
    psf = optics.Pupil(
        [mask], wavelengths=(550e-9,), focal_length=0.05, pixel_pitch=2e-6, psf_size=95,
        aperture=torch.ones(64, 64),
    )().detach()[0].double()  # fmt: skip
    random = np.random.default_rng(0)
    for photons in (300, 3000, 30_000):
        picture = random.poisson((photons * psf / psf.max() + 20).numpy()).astype(float)
        assert _warnings(picture) == []


def test_the_layout_of_a_picture_does_not_matter():
    pictures = torch.stack([_gauss(1.5, 2, -3), _gauss(2.0, -1, 4)]).expand(2, 2, 65, 65)
    expected = optics.measured_psf(pictures.contiguous(), size=21)
    turned = optics.measured_psf(pictures.mT.contiguous().mT, size=21)
    last = pictures.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(turned, expected)
    torch.testing.assert_close(optics.measured_psf(last, size=21), expected)
    columns = np.asfortranarray(pictures[0].numpy())
    torch.testing.assert_close(optics.measured_psf(columns, size=21), expected[0])


@pytest.mark.parametrize("centre", ["common", "kept"])
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_pictures_are_mapped_and_compile_to_one_graph(centre):
    pictures = torch.stack([_noisy(_gauss(sigma, y=0.4), 1e-3, 5) for sigma in (1.2, 1.5, 1.9)])

    def psf(picture):
        return optics.measured_psf(picture, size=(15, 17), centre=centre)

    each = torch.stack([psf(picture) for picture in pictures])
    torch.testing.assert_close(torch.func.vmap(psf)(pictures), each)
    slope = torch.func.grad(lambda picture: psf(picture).square().sum())
    slopes = torch.stack([slope(picture) for picture in pictures])
    assert slopes.abs().sum() > 0
    torch.testing.assert_close(torch.func.vmap(slope)(pictures), slopes)
    compiled = torch.compile(psf, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(pictures[0]), each[0])


def test_no_picture_is_refused():
    with pytest.raises(
        ValueError, match=r"picture must hold at least one \[H, W\], not \(0, 9, 9\)"
    ):
        optics.measured_psf(torch.ones(0, 9, 9), size=5)


@pytest.mark.parametrize("centre", ["common", "kept"])
def test_the_gradient_is_the_finite_difference_for_a_given_background_and_noise(centre):
    spot = _gauss(1.5, y=0.3)[24:41, 23:40].clone().requires_grad_()

    def psf(picture):
        return optics.measured_psf(picture, size=(7, 9), background=0.0, noise=0.0, centre=centre)

    # Along one direction; pixels of the spot alone, for others are at its threshold.
    seen = (spot > 1e-3).double().detach()
    along = torch.randn(17, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    along, step = along * seen * spot.detach(), 1e-6
    weights = torch.rand(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (slope,) = torch.autograd.grad((psf(spot) * weights).sum(), spot)
    with torch.no_grad():
        change = ((psf(spot + step * along) - psf(spot - step * along)) * weights).sum() / 2 / step
    assert float(change) != 0
    assert float((slope * along).sum()) == pytest.approx(float(change), rel=1e-6)


def test_a_background_or_a_noise_that_is_no_number_is_refused():
    for background in ([1.0], "a"):
        with pytest.raises(TypeError, match="background must be one number or a Tensor"):
            optics.measured_psf(_SPOT, size=33, background=background)
    with pytest.raises(ValueError, match="background must be finite"):
        optics.measured_psf(_SPOT, size=33, background=math.nan)
    with pytest.raises(TypeError, match="noise must be one number, in the unit of the picture"):
        optics.measured_psf(_SPOT, size=33, noise="x")
