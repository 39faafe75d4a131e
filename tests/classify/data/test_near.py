import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from classify.data import near
from classify.data.near import near_pairs, thumbnails


def textures(count, seed=0, side=64):
    """Smooth random colour pictures, uint8 [N, 3, side, side]."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, side, side))
    smooth = gaussian_filter(noise, (0, 0, side / 12, side / 12), mode="nearest")
    smooth = smooth / smooth.std((-2, -1), keepdims=True)
    return torch.from_numpy((128 + 40 * smooth).clip(0, 255).astype(np.uint8))


def find(images, threshold=0.975, align=True, content=None):
    count = len(images)
    content = torch.arange(count) if content is None else torch.tensor(content)
    blank = torch.zeros(count, dtype=torch.bool)
    return near_pairs(thumbnails(images), content, blank, threshold=threshold, align=align)


def test_plain_similarity_is_the_best_of_eight_correlations():
    images = textures(6)
    images[4] = images[1].flip(-1).rot90(1, (-2, -1))
    found = find(images, threshold=0.01, align=False)
    small = thumbnails(images).coarse.numpy().astype(np.float64)
    small = small - small.mean((-2, -1), keepdims=True)
    small /= np.linalg.norm(small.reshape(6, -1), axis=1)[:, None, None, None]
    expected = {}
    for a in range(6):
        for b in range(a + 1, 6):
            poses = [
                np.rot90(p, k, (-2, -1)) for p in (small[b], small[b, ..., ::-1]) for k in range(4)
            ]
            value = max(float((small[a] * pose).sum()) for pose in poses)
            if value > 0.01:
                expected[a, b] = value
    values = dict(zip(map(tuple, found.rows.tolist()), found.similarity.tolist(), strict=True))
    assert values == pytest.approx(expected, abs=1e-5)
    assert found.rows[0].tolist() == [1, 4]
    assert found.similarity.tolist() == sorted(found.similarity.tolist(), reverse=True)


@pytest.mark.parametrize("pose", range(8))
def test_every_pose_is_found_exactly(pose):
    images = textures(4)
    images[3] = torch.rot90(images[0].flip(-1) if pose >= 4 else images[0], pose % 4, (-2, -1))
    found = find(images, align=False)
    assert found.rows.tolist() == [[0, 3]]
    assert found.similarity.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("pose", range(8))
@pytest.mark.parametrize("swap", [False, True])
def test_a_shifted_and_scaled_picture_needs_alignment(pose, swap):
    big = textures(3, side=80).float()
    cut = torch.nn.functional.interpolate(big[:1, :, 3:79, 0:76], 80, mode="bicubic")
    images = big.clone()
    images[2] = torch.rot90(cut[0].flip(-1) if pose >= 4 else cut[0], pose % 4, (-2, -1))
    images = images.clamp(0, 255).to(torch.uint8)
    if swap:
        images = images.flip(0)
    assert find(images, align=False).rows.tolist() == []
    found = find(images)
    assert found.rows.tolist() == [[0, 2]]
    assert found.similarity.item() > 0.98


def test_more_than_the_reach_of_alignment_is_not_found():
    big = textures(2, side=80).float()
    cut = torch.nn.functional.interpolate(big[:1, :, 20:60, 20:60], 80, mode="bicubic")
    images = torch.cat([big, cut]).clamp(0, 255).to(torch.uint8)
    assert find(images).rows.tolist() == []


def test_candidates_for_alignment_do_not_depend_on_the_order(monkeypatch):
    monkeypatch.setattr("classify.data.near._registered", lambda first, _: torch.ones(len(first)))
    monkeypatch.setattr("classify.data.near._ALIKE", 0.2)
    monkeypatch.setattr("classify.data.near._TANGENT", 0.3)
    images = textures(40)
    pairs = {(a, b) for a, b in find(images).rows.tolist()}
    back = {(39 - b, 39 - a) for a, b in find(images.flip(0)).rows.tolist()}
    assert pairs == back
    assert 20 < len(pairs) < 700


def test_equal_content_and_blank_pictures_are_passed_over():
    images = textures(4)
    images[1] = images[0]
    images[3] = images[2].flip(-1)
    assert find(images, content=[0, 0, 1, 2]).rows.tolist() == [[2, 3]]
    blank = torch.tensor([False, False, False, True])
    found = near_pairs(
        thumbnails(images), torch.tensor([0, 0, 1, 2]), blank, threshold=0.9, align=True
    )
    assert found.rows.shape == (0, 2)
    none = near_pairs(
        thumbnails(images),
        torch.arange(4),
        torch.ones(4, dtype=torch.bool),
        threshold=0.9,
        align=True,
    )
    assert none.rows.shape == (0, 2)
    assert none.complete


def test_blocks_are_of_no_account(monkeypatch):
    images = textures(40)
    for row in (3, 17, 25):
        images[row + 10] = images[row].rot90(1, (-2, -1))
    whole = find(images, threshold=0.3)
    monkeypatch.setattr("classify.data.near._BLOCK", 7)
    monkeypatch.setattr("classify.data.near._CHUNK", 5)
    parts = find(images, threshold=0.3)
    assert len(whole.rows) > 20
    assert {(*pair,) for pair in whole.rows.tolist()} == {(*pair,) for pair in parts.rows.tolist()}
    assert torch.allclose(whole.similarity, parts.similarity, atol=1e-5)


@pytest.mark.parametrize("side", [8, 20])
def test_bounds_are_no_less_than_correlations_and_pass_over_no_pair(monkeypatch, side):
    images = textures(60).float()
    images[30:] += 0.5 * (images[:30].flip(-1) - images[30:])  # some pairs of any likeness
    images[55:] = images[:5] + 0.1 * torch.arange(5)[:, None, None, None]  # and others of nearly 1
    pictures = near._unit(torch.nn.functional.adaptive_avg_pool2d(images, side))
    fine = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    pictures = near._unit(pictures + 0.02 * fine)
    bounds, exact = near._bounds(pictures), pictures.flatten(1) @ pictures.flatten(1).T
    assert (bounds @ bounds.T >= exact).all()
    assert (bounds @ bounds.T > 0.5).float().mean() < 0.1  # and not much more
    for many in (0, 1):  # all are correlated, or those above the bound
        monkeypatch.setattr(near, "_MANY", many)
        for upper in (False, True):
            wanted = (exact.triu(1) if upper else exact) > 0.5
            pairs, value = near._above(pictures[:25], pictures, bounds, 0.5, upper)
            assert pairs.tolist() == torch.nonzero(wanted[:25]).tolist()
            torch.testing.assert_close(value, exact[:25][wanted[:25]], rtol=0, atol=1e-6)


def test_the_search_stops_where_everything_looks_alike(monkeypatch):
    monkeypatch.setattr("classify.data.near._MOST", 10)
    images = textures(1).repeat(30, 1, 1, 1)
    found = find(images, align=False)
    assert len(found.rows) == 10
    assert not found.complete


def recorded(monkeypatch, name):
    """First argument of each call of a function of the module."""
    firsts, function = [], getattr(near, name)

    def call(first, *rest):
        firsts.append(first)
        return function(first, *rest)

    monkeypatch.setattr(near, name, call)
    return firsts


def test_the_stop_bounds_memory(monkeypatch):
    monkeypatch.setattr(near, "_MOST", 100)
    monkeypatch.setattr(near, "_BLOCK", 5)
    keys = recorded(monkeypatch, "_distinct")
    images = textures(1).repeat(61, 1, 1, 1)
    images[:] = images.float().add(images.flip(-1)).add(images.flip(-2)).div(3).to(torch.uint8)
    images[60] = textures(1, seed=1)[0]
    found = find(images, threshold=0.5)
    assert len(found.rows) == 100
    assert not found.complete
    # All pairs of a block once, and again those of one pose; not those of all poses or blocks.
    assert 285 <= max(map(len, keys)) <= 2 * 5 * 60
    # Once the list is full, only pictures without a pair are of interest.
    assert sum(map(len, keys[8:-1])) == 0


def test_the_list_is_full_and_pictures_are_still_looked_for(monkeypatch):
    monkeypatch.setattr(near, "_MOST", 100)
    monkeypatch.setattr(near, "_BLOCK", 16)
    many = textures(1).repeat(20, 1, 1, 1)
    many[:, 0, 0, 0] = torch.arange(20)
    others = textures(20, seed=1)
    images = torch.cat([many, others, others[:15].flip(-1)])
    for align in (False, True):
        found = find(images, align=align)
        assert len(found.rows) == 100
        assert not found.complete
        assert found.touched.tolist() == [True] * 35 + [False] * 5 + [True] * 15


def surrounded(images, radius):
    """Black outside a circle, as dermoscopes show it; radius in half sides."""
    axis = (torch.arange(64) + 0.5) / 32 - 1
    return images * (axis**2 + axis[:, None] ** 2 < radius**2)


@pytest.mark.parametrize("radius", [1.0, 0.8])
@pytest.mark.parametrize("align", [False, True])
def test_a_black_surround_makes_no_pictures_alike(radius, align):
    big = textures(16, side=80)
    # Flat skin under a lesion: what differs is little beside the surround.
    images = surrounded((150 + 0.3 * big[:, :, 8:72, 8:72].float()).to(torch.uint8), radius)
    images[12:] = images[:4].flip(-1)
    small = near._unit(thumbnails(images).coarse).flatten(1)
    assert int((small @ small.T > 0.975).sum()) > 16 + 2 * 30  # alike as a whole
    found = find(images, align=align)
    assert sorted(found.rows.tolist()) == [[row, row + 12] for row in range(4)]


def test_pictures_on_black_ground_are_compared_as_a_whole():
    strokes = (textures(8)[:, :1] > 190).to(torch.uint8) * 255  # thin and few, as digits are
    assert 0 < (strokes > 0).float().mean() < 0.2
    images = torch.cat([strokes, strokes[:3].flip(-1)])
    assert sorted(find(images).rows.tolist()) == [[0, 8], [1, 9], [2, 10]]


def alike(count):
    """Noise over one layout: all pairs are candidates, and none is near."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, 20)], indexing="ij")
    noise = 16 * torch.randn(count, 3, 20, 20, generator=generator)
    return (60 + 120 * (x**2 + y**2 < 0.4) + noise).clamp(0, 255).to(torch.uint8)


def test_alignment_has_a_budget_and_takes_the_most_alike(monkeypatch):
    images = alike(30)
    candidates = recorded(monkeypatch, "_reach")
    assert find(images).aligned
    every = candidates[-1]
    assert len(every) > 2000  # of 435 pairs in eight poses
    small = thumbnails(images).coarse
    unit = torch.nn.functional.normalize((small - small.mean((-2, -1), keepdim=True)).flatten(1))
    posed = [
        unit.view_as(small).flip(-1) if pose >= 4 else unit.view_as(small) for pose in range(8)
    ]
    posed = [torch.rot90(picture, pose % 4, (-2, -1)) for pose, picture in enumerate(posed)]
    likeness = {
        8 * (30 * a + b) + pose: (unit[a] @ posed[pose][b].flatten()).item()
        for pose in range(8) for a in range(30) for b in range(a + 1, 30)
    }  # fmt: skip
    best = sorted(likeness, key=likeness.__getitem__)[-50:]
    monkeypatch.setattr(near, "_BLOCK", 7)
    monkeypatch.setattr(near, "_BUDGET", 50)
    some = find(images)
    assert sorted(candidates[-1].tolist()) == sorted(best)
    assert not some.aligned
    assert some.complete
    monkeypatch.setattr(near, "_BUDGET", len(every))
    assert find(images).aligned
    assert find(images, align=False).aligned
    registered = recorded(monkeypatch, "_aligned")
    monkeypatch.setattr(near, "_TANGENT", 0.9)
    assert find(images).aligned
    reach = near._reach(every, near._unit(small))
    assert 100 < len(registered[-1]) == int((reach > 0.9).sum())
    monkeypatch.setattr(near, "_REGISTERED", 20)
    assert not find(images).aligned
    assert set(registered[-1].tolist()) == set(every[reach.topk(20).indices].tolist())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 40, 24)])
def test_small_grey_and_oblong_pictures(shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, *shape), generator=generator, dtype=torch.uint8)
    images[4] = images[0].flip(-2)
    assert find(images).rows.tolist() == [[0, 4]]


@pytest.mark.parametrize("align", [False, True])
def test_pairs_of_two_sets_are_those_of_all_that_lie_across(monkeypatch, align):
    monkeypatch.setattr(near, "_BLOCK", 7)
    images = textures(40)
    for row in (3, 12, 17, 25):  # within the first, across twice, and within the second
        images[row + 9] = images[row].rot90(1, (-2, -1))
    images[30] = images[0]
    images[5] = images[35] = 90
    blank = torch.arange(40) == 5
    blank[35] = True
    content = torch.arange(40)
    content[30] = 0

    def pairs(first):
        found = near_pairs(
            thumbnails(images), content, blank, threshold=0.3, align=align, first=first
        )
        rows = map(tuple, found.rows.tolist())
        return dict(zip(rows, found.similarity.tolist(), strict=True))

    whole = pairs(None)
    across = {(a, b): value for (a, b), value in whole.items() if a < 20 <= b}
    assert 5 < len(across) < len(whole)
    assert pairs(20) == pytest.approx(across, abs=1e-5)
    assert pairs(0) == pairs(40) == {}
