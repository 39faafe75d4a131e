"""JPEG as a part of the graph against libjpeg: pixels, bits, tables, and what they learn."""

import io
import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch
from drawn import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch.nn import functional

from compress import JPEG, CorruptStream, jpeg, psnr
from compress.jpeg import DifferentiableJPEG
from compress.jpeg_file import standard_tables
from compress.jpeg_scan import jpeg_block_bits


def scenes(
    count: int = 4, channels: int = 3, height: int = 64, width: int = 64, seed: int = 0
) -> torch.Tensor:
    """Smooth blobs with correlated channels, a grain that they share, and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels + 1, height + 16, width + 16, generator=generator)
    for _ in range(2):
        x = functional.avg_pool2d(x, 9, 1)
    x = x[:, :1] + 0.5 * x[:, 1:]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    x = (x - low) / (high - low).clamp_min(1e-3)
    grain = torch.randn(count, 1, height + 2, width + 2, generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    return (x + 0.04 * functional.avg_pool2d(grain, 3, 1) + 0.01 * noise).clamp(0, 1)


def odd_tables(codec: DifferentiableJPEG, seed: int = 0) -> None:
    """Give a codec tables without any symmetry."""
    tables = torch.randint(1, 60, (2, 8, 8), generator=seeded(seed))
    with torch.no_grad():
        codec.log_tables.copy_(tables.float().log())


def tables_of(data: bytes) -> dict[int, list[int]]:
    """The quantisation tables of a JPEG file, as Pillow reads them: in rows."""
    picture = Image.open(io.BytesIO(data))
    assert isinstance(picture, JpegImageFile)
    return picture.quantization


def over_pixels(blocks: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """The bits of blocks ``[h, w]`` shared by those of their pixels that are in the picture."""
    shared = np.zeros(size)
    for row, column in np.ndindex(*blocks.shape):
        block = shared[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        block[:] = blocks[row, column] / block.size
    return torch.from_numpy(shared).float()


# --- pixels ----------------------------------------------------------------------------------


def test_the_transform_is_the_cosine_transform_to_its_rounding():
    blocks = torch.randint(0, 256, (500, 8, 8), generator=seeded()).float()
    exact = scipy.fft.dctn(blocks.double().numpy() - 128, axes=(1, 2), norm="ortho")
    ours = (jpeg._transform(blocks) / 8).mT.numpy()  # horizontal frequency first
    assert np.abs(ours - exact).max() < 0.3
    assert np.sqrt(np.square(ours - exact).mean()) < 0.07
    assert (ours * 8 == np.round(ours * 8)).all()
    back = np.asarray(scipy.fft.idctn(exact, axes=(1, 2), norm="ortho")) + 128
    assert np.abs(jpeg._inverse(torch.from_numpy(exact).mT).numpy() - back.clip(0, 255)).max() <= 1


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 100),
    st.sampled_from(["4:2:0", "4:4:4"]),
    st.sampled_from([1, 3]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
)
def test_the_picture_and_its_bits_are_those_of_the_file(
    quality, subsampling, channels, height, width, odd
):
    image = scenes(2, channels, height, width)
    codec = DifferentiableJPEG(quality, subsampling=subsampling)
    if odd:
        odd_tables(codec, quality)
    coded, files = codec(image), codec.compress(image)
    decoded = codec.decompress(files)
    assert coded.rate == "rounded"
    assert coded.reconstruction.shape == image.shape
    assert torch.equal(coded.reconstruction, decoded)
    if not odd:
        assert files == JPEG(quality, subsampling=subsampling).compress(image)
    for file, bits, bits_map in zip(files, coded.bits, coded.bits_map[:, 0], strict=True):
        assert bits.item() == pytest.approx(8 * len(file), rel=0.01, abs=32)
        expected = over_pixels(jpeg_block_bits(file), (height, width))
        torch.testing.assert_close(bits_map, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("training", [False, True])
def test_every_pixel_is_the_files(subsampling, training):
    noise = torch.rand(2, 3, 128, 128, generator=seeded())
    image = torch.cat(
        [
            scenes(4, 3, 128, 128),
            noise,
            noise.round(),
            noise.round()[..., ::8, ::8].repeat_interleave(8, -2).repeat_interleave(8, -1),
        ]
    )
    for quality in (1, 10, 25, 50, 63, 75, 90, 95, 99, 100):
        codec = DifferentiableJPEG(quality, subsampling=subsampling).train(training)
        decoded = codec.decompress(codec.compress(image))
        assert torch.equal(codec(image).reconstruction, decoded)


def test_the_estimate_is_within_half_a_percent_of_the_file():
    image = scenes(8, 3, 128, 128)
    errors = []
    for quality in (10, 25, 50, 75, 90, 95):
        codec = DifferentiableJPEG(quality)
        sizes = torch.tensor([8.0 * len(data) for data in codec.compress(image)])
        coded = codec(image)
        errors.append(coded.bits / sizes - 1)
        # Markers and tables, and nothing that grows with the picture but the stuffing.
        header = (coded.side_bits - 0.003 * coded.bits_map.sum((1, 2, 3))) / 8
        assert 250 < header.min() <= header.max() < 500
    assert torch.cat(errors).abs().max() < 0.005
    assert torch.cat(errors).mean().abs() < 0.001


def test_headers_of_constant_pictures():
    for channels, subsampling in itertools.product((1, 3), ("4:2:0", "4:4:4")):
        for size in ((1, 1), (16, 16), (40, 56)):
            codec = DifferentiableJPEG(50, subsampling=subsampling)
            grey = torch.full((1, channels, *size), 128 / 255)
            bits = codec(grey).bits.item()
            assert bits == pytest.approx(8 * codec.header_bytes(size, channels), abs=1)


# --- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_the_tables_of_the_file_are_the_tables_in_use(channels):
    codec = DifferentiableJPEG(trainable=True)
    odd_tables(codec)
    exported = codec.export_tables()
    (data,) = codec.compress(scenes(1, channels))
    theirs = tables_of(data)
    assert len(theirs) == (2 if channels == 3 else 1)
    for i, table in theirs.items():
        assert table == exported[i].flatten().tolist()
        assert torch.equal(codec.tables[i].detach(), exported[i].float())
    assert (exported[0] != exported[0].T).any()


def test_a_table_saves_where_it_is_coarse():
    # Vertical and horizontal frequencies must not be confused.
    stripes = (0.5 + 0.4 * torch.sin(torch.arange(64.0) * 2.0)).expand(1, 1, 64, 64)
    codec = DifferentiableJPEG(90)
    with torch.no_grad():
        codec.log_tables[:, 0, 1:] = math.log(255)  # row 0: horizontal frequencies
    across, down = (codec(x).bits.item() for x in (stripes, stripes.mT.contiguous()))
    assert across < 0.7 * down
    assert len(codec.compress(stripes)[0]) < 0.7 * len(codec.compress(stripes.mT)[0])


def test_tables_stay_whole_numbers_of_1_to_255_and_can_come_back():
    codec = DifferentiableJPEG(trainable=True)
    with torch.no_grad():
        codec.log_tables[0] = -1.0
        codec.log_tables[1] = 7.0
    assert codec.tables.detach().unique().tolist() == [1, 255]
    assert codec(scenes(1)).reconstruction.isfinite().all()
    codec.compress(scenes(1))
    for sign in (1, -1):  # of a loss that the optimiser descends
        (gradient,) = torch.autograd.grad(sign * codec.tables.sum(), codec.log_tables)
        assert (gradient[0] == 0).all() == (sign == 1)
        assert (gradient[1] == 0).all() == (sign == -1)
    with torch.no_grad():
        codec.log_tables.copy_(torch.linspace(-1, 7, 128).view(2, 8, 8))
    tables = codec.tables.detach()
    assert torch.equal(tables, tables.round().clamp(1, 255))
    slopes = torch.autograd.grad(codec.tables.sum(), codec.log_tables)[0].flatten()
    inside = (codec.log_tables > 0) & (codec.log_tables < math.log(255))
    expected = codec.log_tables.exp().flatten()
    torch.testing.assert_close(slopes[inside.flatten()], expected[inside.flatten()].detach())


def test_tables_survive_a_checkpoint_and_another_type():
    codec = DifferentiableJPEG(30, trainable=True)
    odd_tables(codec)
    other = DifferentiableJPEG(80)
    other.load_state_dict(codec.state_dict())
    image = scenes(1)
    assert other.compress(image) == codec.compress(image)
    for quality in (1, 37, 75, 100):
        tables = standard_tables(quality)
        made = torch.stack(DifferentiableJPEG(quality).double().export_tables())
        assert torch.equal(made, tables)
    half = DifferentiableJPEG(75).bfloat16()
    assert half.tables.dtype == torch.float32
    assert torch.equal(torch.stack(half.export_tables()), half.tables.long())


# --- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_the_gradient_to_the_picture_is_that_of_the_linear_parts(subsampling, training):
    image = (1.4 * scenes(2, 3, 48, 64) - 0.2).double().requires_grad_()  # some of it is clipped
    codec = DifferentiableJPEG(30, subsampling=subsampling).train(training)
    slope = torch.randn(image.shape, generator=seeded(), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(codec(image).reconstruction, image, slope)
    if subsampling == "4:4:4":
        torch.testing.assert_close(gradient, slope, rtol=0, atol=0.01)
        return
    # Halving and interpolating the chrominance, by other means.
    ycc = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    ).double()
    x = image.detach().requires_grad_()
    planes = torch.einsum("ij,bjhw->bihw", ycc, x)
    chroma = functional.interpolate(
        functional.avg_pool2d(planes[:, 1:], 2), scale_factor=2, mode="bilinear"
    )
    planes = torch.cat([planes[:, :1], chroma], 1)
    shown = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(ycc), planes)
    (expected,) = torch.autograd.grad(shown, x, slope)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0.01)


def test_the_gradient_to_a_table_is_the_error_of_its_coefficients():
    codec = DifferentiableJPEG(40, trainable=True).double()
    image = scenes(1, 1, 40, 40).double()
    slope = torch.randn(image.shape, generator=seeded(), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(codec(image).reconstruction, codec.log_tables, slope)

    def blocks(x):
        x = x[0, 0].numpy().reshape(5, 8, 5, 8).swapaxes(1, 2)
        return np.asarray(scipy.fft.dctn(x, axes=(2, 3), norm="ortho"))

    table = codec.tables[0].detach().numpy()
    steps = blocks((255 * image).round() - 128) / table
    # 255 levels make 1; the slope of the tables to their logarithms is themselves. What becomes 0
    # changes with the step only next to the border, where it stands for the rest.
    error, zero = np.round(steps) - steps, np.abs(steps) < 0.5
    error = np.where(zero, error * (np.abs(steps) >= 0.45) / (1 - 0.9**3), error)
    expected = (blocks(slope) / 255 * error * table).sum((0, 1))
    # Where a coefficient is close to a border, libjpeg's rounding may differ.
    away = np.minimum(np.abs(steps % 1 - 0.5), np.abs(np.abs(steps) - 0.45))
    safe = (away > 0.01).all((0, 1))
    assert safe.mean() > 0.5
    np.testing.assert_allclose(
        gradient[0].numpy()[safe], expected[safe], atol=0.02 * np.abs(expected).max()
    )
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_and_distortion_reach_the_picture_and_the_tables(channels, training):
    codec = DifferentiableJPEG(60, trainable=True).train(training)
    image = scenes(2, channels).requires_grad_()
    coded = codec(image)
    # Frequencies that are all but absent cost nothing, and a finer table would not change that; nor
    # does a coarser one lose any of what is 0 already.
    values = ((coded.bpp.sum(), 0.4), ((coded.reconstruction - 0.3).square().sum(), 0.3))
    for value, share in values:
        gradients = torch.autograd.grad(value, [image, codec.log_tables], retain_graph=True)
        for gradient in gradients:
            assert gradient.isfinite().all()
        to_image, to_tables = gradients
        assert (to_image.flatten(1).abs().amax(1) > 0).all()
        assert (to_image != 0).float().mean() > 0.95
        assert (to_tables[0] != 0).float().mean() >= share
        assert (to_tables[1] != 0).any() == (channels == 3)
    # Coarser tables cost less, whichever they are.
    (slope,) = torch.autograd.grad(coded.bpp.sum(), codec.log_tables)
    assert (slope <= 0).float().mean() > 0.95


def test_the_gradient_foretells_what_coarser_tables_lose():
    image = scenes(8, 3, 128, 128)
    for quality in (10, 30, 50, 75, 90):
        codec = DifferentiableJPEG(quality, trainable=True)
        start = codec.log_tables.detach().clone()

        def loss(codec, tables, image=image):
            with torch.no_grad():
                codec.log_tables.copy_(tables)
            return (codec(image).reconstruction - image).square().sum()

        (gradient,) = torch.autograd.grad(loss(codec, start), codec.log_tables)
        change = (loss(codec, start + 0.1) - loss(codec, start - 0.1)).item() / 0.2
        assert gradient.sum().item() == pytest.approx(change, rel=0.35)  # twice that without care


def test_the_gradient_foretells_what_coarser_tables_save():
    image = scenes(8, 3, 128, 128)
    for quality in (10, 30, 50, 75, 90):
        codec = DifferentiableJPEG(quality, trainable=True)
        start = codec.log_tables.detach().clone()

        def rate(codec, tables):
            with torch.no_grad():
                codec.log_tables.copy_(tables)
            return codec(image).bits_map.sum()

        (gradient,) = torch.autograd.grad(rate(codec, start), codec.log_tables)
        counts, steps = [], []
        for change in (-0.2, 0.2):
            counts.append(rate(codec, start + change).item())
            steps.append(codec.tables.detach().log())
        foretold = (gradient * (steps[1] - steps[0])).sum().item()
        assert foretold == pytest.approx(counts[1] - counts[0], rel=0.25), quality


@pytest.mark.parametrize("rounding", ["straight_through", "noise"])
def test_the_gradient_foretells_what_less_contrast_saves(rounding):
    image = scenes(8, 3, 128, 128)
    centre = image.mean((-2, -1), keepdim=True)
    for quality in (30, 60, 90):
        codec = DifferentiableJPEG(quality, rounding=rounding).train()
        contrast = torch.ones((), requires_grad=True)
        bits = codec(centre + contrast * (image - centre)).bits_map.sum()
        (gradient,) = torch.autograd.grad(bits, contrast)
        low, high = (codec(centre + c * (image - centre)).bits_map.sum() for c in (0.9, 1.1))
        assert gradient.item() == pytest.approx((high - low).item() / 0.2, rel=0.25), quality


def test_a_picture_learns_to_cost_less():
    image, codec = scenes(2), DifferentiableJPEG(75)
    shown = image.clone().requires_grad_()
    optimiser = torch.optim.Adam([shown], lr=3e-3)
    for _ in range(60):
        loss = codec(shown).bpp.mean() + 0.03 * 255**2 * (shown - image).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    before, after = (sum(map(len, codec.compress(x.detach()))) for x in (image, shown))
    assert after < 0.9 * before
    assert psnr(shown.detach(), image).min() > 33


# --- use -------------------------------------------------------------------------------------


def real_files(codec, image: torch.Tensor) -> tuple[float, float]:
    """Mean bits per pixel and mean PSNR of the files that a codec writes."""
    files = codec.compress(image)
    bpp = sum(8 * len(data) for data in files) / image[:, 0].numel()
    return bpp, psnr(codec.decompress(files), image).mean().item()


@pytest.mark.parametrize(("quality", "weight"), [(25, 0.017), (50, 0.03)])
def test_trained_tables_make_smaller_files_than_the_standard_ones(quality, weight):
    codec = DifferentiableJPEG(quality, trainable=True).train()
    optimiser = torch.optim.Adam(codec.parameters(), lr=0.05)
    for step in range(60):
        image = scenes(4, seed=step)
        coded = codec(image)
        distortion = 255**2 * (coded.reconstruction - image).square().mean()
        loss = coded.bpp.mean() + weight * distortion
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unseen = scenes(4, 3, 128, 128, seed=12345)
    bpp, fidelity = real_files(codec.eval(), unseen)
    standard = [real_files(JPEG(q), unseen) for q in range(quality - 15, quality + 40)]
    assert standard[0][1] < fidelity < standard[-1][1]
    cheapest = min(rate for rate, decibels in standard if decibels >= fidelity)
    assert bpp < 0.9 * cheapest
    assert abs(codec(unseen).bpp.mean().item() / bpp - 1) < 0.005


@pytest.mark.parametrize("rounding", ["noise", "soft", "dither"])
def test_other_rounding_is_of_training_only(rounding):
    codec, image = DifferentiableJPEG(70, rounding=rounding, trainable=True), scenes(2)
    plain = DifferentiableJPEG(70)(image)
    codec.eval()
    coded = codec(image)
    assert torch.equal(coded.reconstruction, plain.reconstruction)
    assert torch.equal(coded.bits, plain.bits)
    codec.train()
    state = torch.get_rng_state()
    noisy = codec(image, generator=seeded(3))
    assert torch.equal(noisy.reconstruction, codec(image, generator=seeded(3)).reconstruction)
    assert not torch.equal(noisy.reconstruction, codec(image, generator=seeded(4)).reconstruction)
    assert torch.equal(torch.get_rng_state(), state)
    assert psnr(noisy.reconstruction, image).min() > 20
    # A file has no noise: neither have its bits.
    assert noisy.rate == "rounded"
    assert torch.equal(noisy.bits_map, plain.bits_map)
    assert torch.equal(noisy.side_bits, plain.side_bits)
    (noisy.bpp.sum() + noisy.reconstruction.sum()).backward()
    assert codec.log_tables.grad is not None
    assert codec.log_tables.grad.isfinite().all()
    assert codec.compress(image) == DifferentiableJPEG(70).compress(image)


def test_noise_costs_more_than_its_blur_and_a_constant_only_the_header():
    noise = torch.rand(1, 3, 128, 128, generator=seeded())
    blur = functional.avg_pool2d(noise, 5, 1, 2)
    coded = DifferentiableJPEG()(torch.cat([0 * noise + 0.5, blur, noise]))
    constant, blurred, noisy = coded.bits / 8
    assert constant < 400
    assert constant < blurred < noisy


def test_every_picture_stands_alone():
    codec, image = DifferentiableJPEG(60), scenes(5, 3, 40, 56)
    coded = codec(image)
    order = [3, 0, 4]
    part = codec(image[order])
    assert torch.equal(part.reconstruction, coded.reconstruction[order])
    torch.testing.assert_close(part.bits_map, coded.bits_map[order])
    torch.testing.assert_close(part.side_bits, coded.side_bits[order])


def test_types_layouts_and_autocast():
    codec, image = DifferentiableJPEG(60), scenes(2)
    coded = codec(image)
    double = codec(image.double())
    assert double.reconstruction.dtype == double.bits_map.dtype == torch.float64
    assert psnr(double.reconstruction, coded.reconstruction.double()).min() > 60
    of_double = codec.eval()(image.double()).reconstruction
    assert torch.equal(of_double, codec.decompress(codec.compress(image.double())).double())
    torch.testing.assert_close(double.bits.float(), coded.bits, rtol=1e-3, atol=0)
    strided = codec(image.to(memory_format=torch.channels_last))
    assert torch.equal(strided.reconstruction, coded.reconstruction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = codec(image)
    assert torch.equal(cast.reconstruction, coded.reconstruction)
    assert torch.equal(cast.bits, coded.bits)
    half = codec(image.half())
    assert torch.equal(half.bits, codec(image.half().float()).bits)
    assert codec.compress(image.half()) == codec.compress(image.half().float())
    assert half.reconstruction.dtype == torch.float16
    assert half.bits_map.dtype == torch.float32


@pytest.mark.parametrize("quality", [1, 100])
def test_extremes_are_finite(quality):
    codec = DifferentiableJPEG(quality, trainable=True)
    image = torch.stack(
        [
            torch.zeros(3, 24, 24),
            torch.ones(3, 24, 24),
            torch.full((3, 24, 24), -1e30),
            torch.full((3, 24, 24), 3e38),
            torch.rand(3, 24, 24, generator=seeded()).round(),
            (torch.arange(24) % 2 * 1.0).expand(3, 24, 24),
        ]
    ).requires_grad_()
    coded = codec(image)
    assert coded.reconstruction.isfinite().all()
    assert 0 <= coded.reconstruction.min() <= coded.reconstruction.max() <= 1
    assert coded.bits.isfinite().all()
    value = coded.bpp.sum() + coded.reconstruction.square().sum()
    for gradient in torch.autograd.grad(value, [image, codec.log_tables]):
        assert gradient.isfinite().all()
    files = codec.compress(image.detach())
    assert torch.equal(codec.decompress(files), coded.reconstruction.detach())


@pytest.mark.parametrize("quality", [0, 101, 75.5, "75", None])
def test_the_quality_is_checked(quality):
    for build in (DifferentiableJPEG, standard_tables):
        with pytest.raises(ValueError, match="quality must be a whole number of 1 to 100, got"):
            build(quality)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tables_that_are_no_numbers_are_refused(value):
    codec, image = DifferentiableJPEG(50), scenes(1)
    with torch.no_grad():
        codec.log_tables[1, 2, 3] = value
    for use in (codec.eval(), codec.compress, lambda _: codec.export_tables()):
        with pytest.raises(ValueError, match="tables hold NaN or infinite numbers: their trai"):
            use(image)
    codec.quality = 50
    assert codec.compress(image) == JPEG(50).compress(image)


def test_a_subsampling_that_is_set_is_checked_when_it_is_used():
    codec, image = DifferentiableJPEG(50), scenes(1)
    codec.subsampling = "4:4:4"
    assert codec.compress(image) == JPEG(50, subsampling="4:4:4").compress(image)
    codec.subsampling = "4:2:2"
    for use in (codec, codec.compress):
        with pytest.raises(ValueError, match=r"subsampling must be one of .* got '4:2:2'"):
            use(image)


def test_a_quality_that_is_set_starts_the_tables_anew(blobs):
    codec, image = DifferentiableJPEG(50, trainable=True), blobs(1, 3, 24, 24)
    tables = codec.log_tables
    for quality in range(1, 101):
        codec.quality = quality
        assert codec.quality == quality
        assert torch.equal(codec.tables, standard_tables(quality).float())
    codec.quality = 10
    assert codec.compress(image) == JPEG(10).compress(image)
    assert codec.log_tables is tables  # an optimiser keeps what it was given
    assert tables.requires_grad
    with torch.no_grad():
        tables.add_(0.2)
    assert codec.quality is None
    with pytest.raises(ValueError, match="quality must be a whole number of 1 to 100, got 0"):
        codec.quality = 0
    assert codec.quality is None


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"subsampling must be one of \('4:2:0', '4:4:4'\), got"):
        DifferentiableJPEG(subsampling="4:2:2")
    with pytest.raises(ValueError, match=r"rounding must be one of .* got 'polynomial'"):
        DifferentiableJPEG(rounding="polynomial")  # type: ignore[arg-type]
    codec = DifferentiableJPEG()
    with pytest.raises(ValueError, match="expected pictures of 1 or 3 channels"):
        codec(torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match=r"the values of picture \[1\] .* are not finite"):
        codec(torch.tensor([0.0, math.nan]).view(2, 1, 1, 1))
    with pytest.raises(ValueError, match="at most 65500 pixels along a side"):
        codec(torch.zeros(1, 1, 1, 65501))
    with pytest.raises(CorruptStream, match="payload 0: "):
        codec.decompress([b"\xff\xd8 no JPEG"])


def test_tables_are_trained_only_on_demand():
    assert not any(p.requires_grad for p in DifferentiableJPEG().parameters())
    assert [p.requires_grad for p in DifferentiableJPEG(trainable=True).parameters()] == [True]
    assert not DifferentiableJPEG()(scenes(1)).bits.requires_grad


def test_repr():
    assert repr(DifferentiableJPEG(trainable=True)) == (
        "DifferentiableJPEG(subsampling='4:2:0', rounding='straight_through', trainable=True)"
    )
    codec = DifferentiableJPEG(30)
    end = "subsampling='4:2:0', rounding='straight_through')"
    assert repr(codec) == f"DifferentiableJPEG(quality=30, {end}"
    with torch.no_grad():
        codec.log_tables[0, 0, 0] = 5.0
    assert repr(codec) == f"DifferentiableJPEG(tables of its own, {end}"
    with torch.no_grad():
        codec.log_tables[0, 0, 0] = math.nan
    assert repr(codec) == f"DifferentiableJPEG(tables of its own, {end}"


@pytest.mark.parametrize("side", [128, 200])
def test_of_noise_at_the_highest_qualities_the_rate_is_that_of_the_file(side):
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    for quality in (95, 100):
        codec = DifferentiableJPEG(quality, subsampling="4:4:4").eval()
        (data,) = codec.compress(noise)
        assert float(codec(noise).bits) == pytest.approx(8 * len(data), rel=0.005)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("what", ["reconstruction", "bits"])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_torch_func_and_forward_mode_have_the_gradient_of_backward(what, subsampling):
    generator = torch.Generator().manual_seed(0)
    picture, direction = torch.rand(2, 2, 3, 16, 24, generator=generator)
    codec = DifferentiableJPEG(50, subsampling=subsampling, trainable=True)
    logarithms = codec.log_tables.detach()
    towards = torch.randn(logarithms.shape, generator=generator)

    def value(x, tables):
        coded = torch.func.functional_call(codec, {"log_tables": tables}, (x,))
        return getattr(coded, what).square().mean()

    leaves = picture.clone().requires_grad_(), logarithms.clone().requires_grad_()
    backward = torch.autograd.grad(value(*leaves), leaves)
    for ours, expected in zip(
        torch.func.grad(value, (0, 1))(picture, logarithms), backward, strict=True
    ):
        torch.testing.assert_close(ours, expected)
    slope = sum((g * t).sum() for g, t in zip(backward, (direction - 0.5, towards), strict=True))
    found, forward = torch.func.jvp(value, (picture, logarithms), (direction - 0.5, towards))
    assert float(found) == float(value(picture, logarithms))
    assert float(slope) != 0
    torch.testing.assert_close(forward, slope, rtol=1e-3, atol=1e-6)
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(picture, direction - 0.5)
        alone = torch.autograd.forward_ad.unpack_dual(value(dual, logarithms)).tangent
    torch.testing.assert_close(alone, (backward[0] * (direction - 0.5)).sum(), rtol=1e-3, atol=1e-6)
