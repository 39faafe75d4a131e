"""JPEG against Pillow itself."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compress import JPEG, CorruptStream, psnr


def pictures(count: int = 3, channels: int = 3, height: int = 48, width: int = 40, seed: int = 0):
    """Smooth random pictures."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, height + 8, width + 8, generator=generator)
    x = torch.nn.functional.avg_pool2d(x, 9, 1)
    return (x - x.min()) / (x.max() - x.min())


def decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 100),
    st.sampled_from(["4:2:0", "4:2:2", "4:4:4"]),
    st.sampled_from([1, 3]),
    st.integers(16, 50),
    st.integers(16, 50),
)
def test_bits_are_the_file_and_pixels_are_pillows(quality, subsampling, channels, height, width):
    image = pictures(2, channels, height, width)
    codec = JPEG(quality, subsampling=subsampling)
    files, coded = codec.compress(image), codec(image)
    for i, data in enumerate(files):
        levels = (255 * image[i]).round().byte().movedim(0, -1).numpy()
        theirs = io.BytesIO()
        Image.fromarray(levels.squeeze()).save(
            theirs, "JPEG", quality=quality, subsampling=subsampling, optimize=True
        )
        assert data == theirs.getvalue()
        shown = (255 * coded.reconstruction[i]).round().byte().movedim(0, -1).numpy().squeeze()
        assert np.array_equal(shown, decode(data))
        assert coded.bits[i].item() == pytest.approx(8 * len(data), rel=1e-5)
        assert coded.bpp[i].item() == pytest.approx(8 * len(data) / (height * width), rel=1e-5)
    assert torch.equal(codec.decompress(files), coded.reconstruction)
    assert coded.rate == "bytes"
    assert coded.latent is None
    assert coded.bits_map.shape == (2, 1, height, width)


def test_quality_buys_bits_and_fidelity():
    image = pictures()
    coded = [JPEG(quality, subsampling="4:4:4")(image) for quality in (1, 10, 25, 50, 75, 90, 100)]
    bits = torch.stack([c.bits for c in coded])
    fidelity = torch.stack([psnr(c.reconstruction, image) for c in coded])
    assert (bits.diff(dim=0) >= 0).all()
    assert (fidelity.diff(dim=0) >= -0.1).all()
    assert fidelity[-1].min() > 40


def test_noise_costs_more_than_its_blur_and_a_constant_only_the_header():
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    blur = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    constant, blurred, noisy = JPEG()(torch.cat([0 * noise + 0.5, blur, noise])).bits / 8
    assert constant < 400
    assert blurred < noisy


def test_recoding_what_was_decoded_hardly_changes_it():
    once = JPEG(75, subsampling="4:4:4")(pictures()).reconstruction
    twice = JPEG(75, subsampling="4:4:4")(once).reconstruction
    assert psnr(twice, once).min() > 45


def test_gradient_is_the_identity_to_the_picture_and_the_bits_have_none():
    image = (1.5 * pictures() - 0.2).requires_grad_()  # some of it is clipped
    for codec in (JPEG().train(), JPEG().eval()):
        coded = codec(image)
        slope = torch.rand(image.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(coded.reconstruction, image, slope)
        assert torch.equal(gradient, slope)
        assert not coded.bits.requires_grad


def test_values_are_clipped():
    image = pictures()
    wide = 3 * image - 1
    assert JPEG().compress(wide) == JPEG().compress(wide.clamp(0, 1))


def test_types_and_layouts():
    image = pictures()
    files = JPEG().compress(image)
    assert JPEG().compress(image.double()) == files
    assert JPEG().compress(image.to(memory_format=torch.channels_last)) == files
    assert JPEG()(image.double()).reconstruction.dtype == torch.float64


@pytest.mark.parametrize("quality", [90, 100])
def test_noise_too_rich_for_pillows_buffer_is_still_written(quality):
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    codec = JPEG(quality, subsampling="4:4:4")
    (data,) = codec.compress(noise)
    assert decode(data).shape == (256, 256, 3)


def test_damaged_files():
    image, codec = pictures(2), JPEG()
    good, other = codec.compress(image)
    for bad in (b"", b"\0" * 100, good[: len(good) // 2], good[:2], b"\x89PNG\r\n" + good):
        with pytest.raises(CorruptStream, match="payload 1: not a complete JPEG"):
            codec.decompress([good, bad])
    for bit in range(0, 8 * len(good), 7):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        # A JPEG file has no checksum: it shows something else or is refused, never more.
        with contextlib.suppress(CorruptStream):
            assert codec.decompress([bytes(damaged)]).isfinite().all()
    cmyk = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(cmyk, "JPEG")
    with pytest.raises(CorruptStream, match="mode CMYK, not grey or RGB"):
        codec.decompress([cmyk.getvalue()])
    grey = codec.compress(image[:1, :1])
    with pytest.raises(ValueError, match="different sizes do not form one batch: 48x40x1, 48x40x3"):
        codec.decompress([other, *grey])


def test_a_header_that_asks_for_a_giant_picture_is_refused():
    data = bytearray(JPEG().compress(pictures(1))[0])
    start = data.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    data[start + 5 : start + 9] = b"\x1f\xff\x1f\xff"
    with pytest.raises(CorruptStream, match="payload 0: 8191x8191 is too large"):
        JPEG().decompress([bytes(data)])
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(CorruptStream, match="payload 0: not a complete JPEG"):
        JPEG().decompress([bytes(data)])


@pytest.mark.parametrize("quality", [0, 101, -5, 50.5, "75", float("nan"), None])
def test_quality_is_checked(quality):
    with pytest.raises(ValueError, match=r"quality must be a whole number of 1 to 100, got"):
        JPEG(quality)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"subsampling must be one of .* got '4:1:1'"):
        JPEG(subsampling="4:1:1")
    with pytest.raises(ValueError, match="pictures of 1 or 3 channels"):
        JPEG()(torch.zeros(1, 2, 32, 32))
    image = torch.zeros(3, 3, 16, 16)
    image[1, 0, 3, 3] = float("nan")
    with pytest.raises(
        ValueError, match=r"the values of picture \[1\] in the batch are not finite"
    ):
        JPEG()(image)
    with pytest.raises(ValueError, match="at most 65500 pixels along a side"):
        JPEG().compress(torch.zeros(1, 1, 16, 65501))


def test_repr():
    assert repr(JPEG(50)) == "JPEG(quality=50, subsampling='4:2:0')"
