"""Bits by region: masks drawn by hand, distances by scipy, and what must add up."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from compress.region import bits_by_region

REGIONS = ("lesion", "boundary", "background")


def drawn(*rows: str) -> torch.Tensor:
    """A mask [1, 1, H, W] from a drawing, # inside."""
    return torch.tensor([[[[character == "#" for character in row] for row in rows]]])


def areas(mask: torch.Tensor, band: float) -> dict[str, torch.Tensor]:
    """The regions as maps: each pixel is asked for alone, by the gradient of the bits."""
    bits = torch.ones(mask.shape, requires_grad=True)
    result = bits_by_region(bits, mask, band=band)
    return {
        name: torch.autograd.grad(getattr(result, name).bits.sum(), bits, retain_graph=True)[0]
        for name in REGIONS
    }


def test_a_band_of_one_is_a_pixel_on_either_side():
    mask = drawn(
        ".......",
        ".......",
        ".####..",
        ".####..",
        ".####..",
        ".......",
        ".......",
    )
    found = areas(mask, 1)
    boundary = drawn(
        ".......",
        ".####..",
        "######.",
        "##..##.",
        "######.",
        ".####..",
        ".......",
    )
    assert torch.equal(found["boundary"].bool(), boundary)
    assert torch.equal(found["lesion"].bool(), mask & ~boundary)
    assert torch.equal(found["background"].bool(), ~mask & ~boundary)
    # The corners of the ring are sqrt(2) away.
    assert areas(mask, 1.5)["boundary"].sum() == boundary.sum() + 4


def test_shares_and_densities_by_hand():
    mask = drawn("####....").expand(1, 1, 4, 8)
    bits_map = torch.tensor([1.0, 1, 1, 5, 5, 1, 1, 1]).expand(1, 1, 4, 8)
    result = bits_by_region(bits_map, mask, band=1)
    assert [getattr(result, name).bits.item() for name in REGIONS] == [12, 40, 12]
    assert [getattr(result, name).area_share.item() for name in REGIONS] == [3 / 8, 1 / 4, 3 / 8]
    assert result.boundary.bits_share.item() == 40 / 64
    assert result.boundary.density.item() == 40 / 64 * 4
    assert result.lesion.density.item() == 0.5


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20), st.integers(0, 25), st.booleans()
)
def test_the_band_is_the_euclidean_distance_of_scipy(seed, height, width, band, half):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, 1, height, width)) < rng.choice([0.02, 0.5, 0.98])
    band = band + 0.3 * half
    found = areas(torch.from_numpy(mask), band)
    for i in range(3):
        plane = mask[i, 0]
        if plane.all() or not plane.any():
            boundary = np.zeros_like(plane)
        else:
            away = np.where(plane, distance_transform_edt(plane), distance_transform_edt(~plane))
            boundary = away <= band
        assert np.array_equal(found["boundary"][i, 0].numpy(), boundary)
        assert np.array_equal(found["lesion"][i, 0].numpy(), plane & ~boundary)
        assert np.array_equal(found["background"][i, 0].numpy(), ~plane & ~boundary)


@pytest.mark.parametrize("square", range(1, 60))
def test_a_band_reaches_what_is_just_as_far(square):
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 0, 0] = True
    y = torch.arange(9)
    distance = y[:, None] ** 2 + y**2  # whole numbers
    near = (distance <= square) & (distance > 0)
    near[0, 0] = True
    for band in (math.sqrt(square), np.sqrt(square), math.nextafter(square**0.5, math.inf)):
        found = bits_by_region(torch.ones(1, 1, 9, 9), mask, band=band).boundary.bits
        assert found.tolist() == [int(near.sum())]


def test_a_band_may_be_wider_than_any_picture():
    mask = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    mask[..., 0, 0] = True
    for band in (7.9, 1e200):
        assert bits_by_region(torch.ones(1, 1, 5, 6), mask, band=band).boundary.bits.tolist() == [
            30
        ]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.floats(0, 9))
def test_bits_and_areas_add_up_and_follow_the_map(seed, height, width, band):
    generator = torch.Generator().manual_seed(seed)
    bits_map = torch.rand(4, 1, height, width, generator=generator) * 3
    mask = torch.rand(4, 1, height, width, generator=generator) < 0.5
    result = bits_by_region(bits_map, mask, band=band)
    parts = [getattr(result, name) for name in REGIONS]
    total = bits_map.double().sum((1, 2, 3))
    torch.testing.assert_close(
        sum(part.bits for part in parts).double(), total, rtol=1e-6, atol=0.0
    )
    one = torch.ones(4)
    torch.testing.assert_close(sum(part.bits_share for part in parts), one)
    torch.testing.assert_close(sum(part.area_share for part in parts), one)
    # Twice the bits: twice the bits of each region, and the same shares.
    double = bits_by_region(2 * bits_map, mask, band=band)
    for part, name in zip(parts, REGIONS, strict=True):
        torch.testing.assert_close(getattr(double, name).bits, 2 * part.bits)
        torch.testing.assert_close(getattr(double, name).density, part.density, equal_nan=True)
    # Each picture alone, turned, and with inside and outside exchanged.
    alone = bits_by_region(bits_map[1:2], mask[1:2], band=band)
    torch.testing.assert_close(alone.boundary.bits, result.boundary.bits[1:2])
    turned = bits_by_region(bits_map.mT.flip(-1), mask.mT.flip(-1), band=band)
    torch.testing.assert_close(turned.boundary.bits, result.boundary.bits)
    torch.testing.assert_close(turned.lesion.bits, result.lesion.bits)
    swapped = bits_by_region(bits_map, ~mask, band=band)
    assert torch.equal(swapped.lesion.bits, result.background.bits)
    assert torch.equal(swapped.boundary.bits, result.boundary.bits)


def test_even_bits_have_a_density_of_one():
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    result = bits_by_region(torch.full((1, 1, 32, 32), 0.25), mask, band=2)
    for name in REGIONS:
        torch.testing.assert_close(getattr(result, name).density, torch.ones(1))


def test_an_empty_and_a_full_mask_have_no_boundary():
    bits_map = torch.ones(2, 1, 6, 6)
    mask = torch.stack([torch.zeros(1, 6, 6), torch.ones(1, 6, 6)]).bool()
    result = bits_by_region(bits_map, mask, band=3)
    assert result.boundary.bits.tolist() == [0, 0]
    assert result.boundary.area_share.tolist() == [0, 0]
    assert result.boundary.density.isnan().tolist() == [True, True]
    assert result.lesion.bits.tolist() == [0, 36]
    assert result.background.bits.tolist() == [36, 0]
    assert result.lesion.density.isnan().tolist() == [True, False]
    assert result.background.density.isnan().tolist() == [False, True]
    assert result.background.density[0] == result.lesion.density[1] == 1


def test_the_frame_is_not_an_edge():
    mask = drawn(*["####......"] * 5)
    found = areas(mask, 2)
    assert torch.equal(found["boundary"].bool(), drawn(*["..####...."] * 5))
    assert torch.equal(found["lesion"].bool(), drawn(*["##........"] * 5))


def test_a_picture_without_bits():
    mask = drawn("##..", "##..")
    bits_map = torch.zeros(1, 1, 2, 4, requires_grad=True)
    result = bits_by_region(bits_map, mask, band=0)
    assert result.lesion.bits.item() == 0
    assert result.lesion.bits_share.isnan().all()
    assert result.lesion.density.isnan().all()
    assert result.boundary.area_share.item() == 0


def test_gradients():
    mask = drawn("#####.....", *["..####...."] * 5)
    generator = torch.Generator().manual_seed(0)
    bits_map = torch.rand(mask.shape, generator=generator, dtype=torch.float64, requires_grad=True)

    def densities(x):
        result = bits_by_region(x, mask, band=1)
        return torch.cat([getattr(result, name).density for name in REGIONS])

    assert torch.autograd.gradcheck(densities, bits_map)
    # A picture without a lesion does not spoil the mean of the others.
    pair = torch.cat([mask, torch.zeros_like(mask)])
    both = torch.rand(pair.shape, generator=generator, requires_grad=True)
    result = bits_by_region(both, pair, band=1)
    (gradient,) = torch.autograd.grad(result.boundary.density.nanmean(), both)
    assert gradient.isfinite().all()
    assert gradient[0].any()
    assert not gradient[1].any()


def test_the_answer_is_float32_under_autocast_and_of_half_maps():
    mask = drawn(*["#####....."] * 10)
    bits_map = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    expected = bits_by_region(bits_map, mask).boundary
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = bits_by_region(bits_map, mask).boundary
    assert torch.equal(cast.density, expected.density)
    assert bits_by_region(bits_map.bfloat16(), mask).boundary.bits.dtype == torch.float32


def test_bad_arguments():
    bits_map, mask = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    for bad in (bits_map[:, 0], bits_map.expand(2, 3, 4, 4), bits_map.int()):
        with pytest.raises(ValueError, match=r"floating-point map of bits \[B, 1, H, W\], got "):
            bits_by_region(bad, mask)
    for pair in ((bits_map.numpy(), mask), (bits_map, mask.numpy())):
        with pytest.raises(TypeError, match=r"a map and a mask, tensors \[.*\], got ndarray"):
            bits_by_region(*pair)
    with pytest.raises(ValueError, match=r"torch.bool \[2, 1, 4, 4\], got torch.bool \[1, 1"):
        bits_by_region(bits_map, mask[:1])
    with pytest.raises(ValueError, match=r"got torch.float32 .*Threshold a grey mask first"):
        bits_by_region(bits_map, mask.float())
    for band in (-1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match=f"band must be .*, got {band!r}"):
            bits_by_region(bits_map, mask, band=band)
