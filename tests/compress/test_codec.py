"""What all codecs share: the door, the result, and a light import."""

import subprocess
import sys

import pytest
import torch

import compress
from compress import JPEG, Autoencoder, Codec, Coded, FactorizedCodec
from compress.codec import check_finite


def codecs() -> list[Codec]:
    return [Autoencoder(6), FactorizedCodec(), JPEG()]


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[0.5]], r"expected a tensor \[B, .*3, H, W\], got list"),
        (torch.zeros(3, 32, 32), r"\[3, 32, 32\]. Add a batch axis with image\[None\]"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"torch.uint8 .*divide 8-bit values by 255"),
        (torch.zeros(0, 3, 32, 32), r"expected a floating-point batch"),
        (torch.zeros(1, 4, 32, 32), r"expected pictures of .*3 channels, got .*\[1, 4, 32, 32\]"),
        (torch.zeros(1, 3, 15, 32), r"at least 16x16 pixels, got .*\[1, 3, 15, 32\]"),
        (torch.zeros(1, 3, 32, 8), r"at least 16x16 pixels, got .*\[1, 3, 32, 8\]"),
    ],
)
def test_the_door(codec, image, message):
    for entry in (codec, codec.compress):
        with pytest.raises(ValueError, match=message):
            entry(image)


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_never_coded(codec, value):
    image = torch.zeros(4, 3, 16, 16)
    image[1, 2, 3, 4] = image[3, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"the values of picture \[1, 3\] .* are not finite"):
        codec.compress(image)


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: type(codec).__name__)
def test_the_way_back_is_checked(codec):
    with pytest.raises(ValueError, match="the list of payloads is empty"):
        codec.decompress([])
    (data,) = codec.compress(torch.zeros(1, 3, 16, 16))
    for wrong in (data, [data, "text"], [None]):
        with pytest.raises(ValueError, match="expected a list of byte strings"):
            codec.decompress(wrong)  # type: ignore[arg-type]
    (other,) = codec.compress(torch.zeros(1, 3, 16, 24))
    with pytest.raises(ValueError, match=r"different sizes do not form one batch: 16x16.*, 16x24"):
        codec.decompress([data, other])


def test_a_long_list_of_bad_pictures_is_cut():
    with pytest.raises(ValueError, match=r"picture \[0, 1, .*, 9\] and 15 more in the batch"):
        check_finite(torch.full((25, 1), float("nan")), "the values")


def test_the_sums_of_a_result():
    bits_map = torch.ones(2, 1, 4, 5) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    coded = Coded(torch.zeros(2, 3, 4, 5), None, bits_map, torch.tensor([20.0, 40.0]), "bytes")
    assert coded.bits.tolist() == [40, 80]
    assert coded.bpp.tolist() == [2, 4]


def test_what_the_package_offers():
    assert sorted(compress.__all__) == sorted(set(compress.__all__))
    assert all(hasattr(compress, name) for name in compress.__all__)


def test_importing_it_is_light():
    heavy = ["torchvision", "matplotlib", "sklearn", "skimage", "kornia", "constriction"]
    code = (
        "import sys, torch; before = set(sys.modules); import compress;"
        f"print(sorted((set(sys.modules) - before) & set({heavy})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
