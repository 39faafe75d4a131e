import numpy as np
import pytest
import torch

import compress
from compress.given import is_number, whole_number


@pytest.mark.parametrize(
    "value", [3, 0.5, np.int64(3), np.float32(0.5), np.array(3), torch.tensor(3), torch.tensor(0.5)]
)
def test_a_number_of_any_kind_is_one(value):
    assert is_number(value)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, np.array(True), torch.tensor(True), "3", None, 1j, torch.tensor(1j), [3],
     np.ones(2), torch.ones(1)],
)  # fmt: skip
def test_neither_true_nor_several_are_a_number(value):
    assert not is_number(value)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_whole_number_of_any_kind_is_an_int(value):
    whole = whole_number("colors", value, 1, 5)
    assert type(whole) is int
    assert whole == 3


@pytest.mark.parametrize(
    "value",
    [3.0, np.float32(3), 2.5, 0, 6, -(2**70), "3", None, float("nan"), True, torch.tensor(True)],
)
def test_what_is_no_whole_number_in_the_range(value):
    with pytest.raises(ValueError, match=r"colors must be a whole number of 1 to 5, got "):
        whole_number("colors", value, 1, 5)
    with pytest.raises(ValueError, match=r"of 1 to 5, or None, got "):
        whole_number("colors", value, 1, 5, otherwise=", or None")


_PICTURE = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("switch", [True, torch.tensor(True)])
@pytest.mark.parametrize(
    "call",
    [
        lambda value: compress.psnr(_PICTURE, _PICTURE, data_range=value),
        lambda value: compress.ssim(_PICTURE, _PICTURE, data_range=value),
        lambda value: compress.quantize(_PICTURE, mode="soft", sharpness=value),
        lambda value: compress.bits_by_region(_PICTURE, _PICTURE > 0.5, band=value),
        lambda value: compress.FactorizedPrior(3, init_scale=value),
        lambda value: compress.FactorizedCodec(levels=2, level_ratio=value),
        lambda value: compress.KMeansCodec(tolerance=value),
        lambda value: compress.JPEG2000(value),
        lambda value: compress.JPEG2000(psnr=value),
        lambda value: setattr(compress.FactorizedCodec(levels=2), "quality", value),
    ],
)
def test_true_is_refused_where_1_is_taken(call, switch):
    call(1)
    with pytest.raises((TypeError, ValueError), match="True"):
        call(switch)
