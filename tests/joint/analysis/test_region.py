import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from joint.analysis.region import check_masks, contour, distance_outside, octant, skin_ring


def _random_masks(seed, height, width, share):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator) < share


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    reach=st.floats(0.5, 12) | st.sampled_from((1e6, 1e300)),
    share=st.sampled_from((0.01, 0.1, 0.6)),
)
@settings(deadline=None)
def test_distance_is_exact_within_reach(seed, height, width, reach, share):
    masks = _random_masks(seed, height, width, share)
    ours = distance_outside(masks, reach).numpy()
    for mask, distance in zip(masks.numpy(), ours, strict=True):
        if not mask.any():
            assert np.isinf(distance).all()
            continue
        true = distance_transform_edt(~mask)
        near = true <= reach
        assert np.allclose(distance[near], true[near], atol=1e-5)
        assert np.isinf(distance[~near]).all()


@pytest.mark.parametrize(("inner", "outer"), [(2.0, 10.0), (0.0, 1.0), (3.5, 4.5)])
def test_ring_lies_between_its_radii(inner, outer):
    masks = _random_masks(0, 40, 50, 0.002)
    assert masks.flatten(1).any(1).all()
    ring = skin_ring(masks, inner=inner, outer=outer).numpy()
    for mask, band in zip(masks.numpy(), ring, strict=True):
        true = distance_transform_edt(~mask)
        assert (band == ((true > inner) & (true <= outer))).all()


def test_no_ring_around_nothing_and_around_everything():
    masks = torch.stack((torch.zeros(9, 9), torch.ones(9, 9))).bool()
    assert not skin_ring(masks).any()
    assert not contour(masks).any()


def test_contour_has_both_sides_but_not_the_frame():
    mask = torch.zeros(1, 5, 6, dtype=torch.bool)
    mask[0, 1:4, :3] = True
    expected = torch.tensor(
        [
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0, 0],
        ]
    ).bool()
    assert torch.equal(contour(mask)[0], expected)


def test_octants_turn_from_x_towards_y_about_the_centroid():
    mask = torch.zeros(1, 21, 31, dtype=torch.bool)
    mask[0, 5:10, 20:25] = True  # centroid at row 7, column 22
    around = octant(mask)[0]
    towards = [(1, 3), (3, 1), (3, -1), (1, -3), (-1, -3), (-3, -1), (-3, 1), (-1, 3)]
    assert [int(around[7 + dy, 22 + dx]) for dy, dx in towards] == list(range(8))
    assert int(octant(torch.zeros_like(mask)).max()) <= 7


def test_octants_of_a_disc_are_told_exactly():
    """Pixels on a diagonal open an octant; rounding must not decide."""
    step = torch.arange(41) - 20
    disc = (step[:, None] ** 2 + step**2 < 100)[None]
    counts = torch.bincount(octant(disc)[disc], minlength=8).tolist()
    assert counts == [40, 37, 39, 37, 39, 37, 39, 37]  # the centre is in the first
    x, y = step[None, :].expand(41, 41), step[:, None].expand(41, 41)
    tall = disc & (y != 9)  # a centroid between pixels
    row = float((y * tall[0]).sum() / tall.sum())
    angle = np.degrees(np.arctan2((y - row).numpy(), x.numpy())) % 360
    assert torch.equal(octant(tall)[0], torch.from_numpy(angle // 45).long())


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_octants_turn_with_the_mask(turns):
    step = torch.arange(40) - 19.5
    masks = (step[:, None] ** 2 + step**2 < 100)[None]
    ours = octant(masks.rot90(turns, (-2, -1)))
    turned = (octant(masks).rot90(turns, (-2, -1)) - 2 * turns) % 8  # y points down
    assert torch.equal(ours, turned)


def test_what_is_no_mask_is_refused():
    masks, images = torch.zeros(2, 4, 5, dtype=torch.bool), torch.zeros(2, 3, 4, 5)
    check_masks(masks, images)
    with pytest.raises(ValueError, match=r"masks must be bool \[B, H, W\].*torch.uint8.*mask > 0"):
        check_masks(masks.to(torch.uint8))
    with pytest.raises(ValueError, match=r"masks must be bool.*\[4, 5\]"):
        check_masks(masks[0])
    with pytest.raises(
        ValueError, match=r"floats \[B, C, H, W\].*uint8.*divide 8-bit codes by 255"
    ):
        check_masks(masks, images.to(torch.uint8))
    with pytest.raises(ValueError, match=r"\[2, 3, 4, 5\] and masks \[1, 4, 5\] differ"):
        check_masks(masks[:1], images)
    for inner, outer in ((-1, 2), (2, 2), (1, float("inf"))):
        with pytest.raises(ValueError, match=r"0 <= inner < outer pixels, not"):
            skin_ring(masks, inner=inner, outer=outer)
