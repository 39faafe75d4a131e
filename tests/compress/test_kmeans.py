"""K-means: fixed points, scikit-learn's results, and the same ones in any batch."""

import numpy as np
import pytest
import torch
from drawn import phantoms, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compress.kmeans
from compress.kmeans import kmeans, lloyd


def clouds(seed: int = 0, batch: int = 3, count: int = 200, channels: int = 3) -> torch.Tensor:
    """Points in 0..255 that are whole numbers."""
    return torch.randint(0, 256, (batch, count, channels), generator=seeded(seed)).double()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 60), st.integers(1, 4))
def test_the_end_is_a_fixed_point(seed, clusters, count, channels):
    points = torch.randn(2, count, channels, generator=seeded(seed), dtype=torch.float64)
    weights = torch.randint(0, 4, (2, count), generator=seeded(seed)).double()
    weights[:, 0] = 1
    found = kmeans(points, clusters, weights=weights, generator=seeded(seed))
    distance = torch.cdist(points, found.palette).square()
    own = distance.gather(2, found.labels[..., None])[..., 0]
    assert (own <= distance.min(2).values + 1e-9).all()
    torch.testing.assert_close(found.inertia, (weights * own).sum(1))
    share = nn.functional.one_hot(found.labels, clusters).double() * weights[..., None]
    torch.testing.assert_close(found.sizes, share.sum(1))
    means = share.mT @ points / share.sum(1)[..., None]
    used = found.sizes > 0
    torch.testing.assert_close(found.palette[used], means[used])


def test_scikit_learn_cannot_improve_it():
    from sklearn.cluster import KMeans

    points = phantoms()[:2].flatten(2).mT
    found = kmeans(points, 8, generator=seeded())
    for i in range(2):
        start = found.palette[i].numpy()
        theirs = KMeans(8, init=start, n_init=1, tol=0).fit(points[i].double().numpy())
        assert theirs.inertia_ == pytest.approx(found.inertia[i].item(), rel=1e-9)
        assert np.array_equal(theirs.labels_, found.labels[i].numpy())
        assert theirs.cluster_centers_ == pytest.approx(found.palette[i].numpy(), abs=1e-9)


# Local optima differ: between seeds of scikit-learn's own best of four, by up to 4 % here.
@pytest.mark.parametrize("clusters", [4, 16])
def test_it_is_as_good_as_scikit_learns(clusters):
    from sklearn.cluster import KMeans

    noise = torch.rand(2, 2000, 3, generator=seeded(), dtype=torch.float64)
    pictures = phantoms()[:4].flatten(2).mT.double()
    ratios = []
    for points in (noise, pictures):
        ours = kmeans(points, clusters, restarts=4, generator=seeded()).inertia
        rough = kmeans(points, clusters, restarts=4, tolerance=1e-2, generator=seeded()).inertia
        assert (rough >= ours * (1 - 1e-9)).all()
        for i in range(len(points)):
            theirs = KMeans(clusters, n_init=4, tol=0, random_state=0).fit(points[i].numpy())
            ratios += [ours[i].item() / theirs.inertia_, rough[i].item() / theirs.inertia_]
    assert max(ratios) < 1.06
    assert np.mean(ratios) < 1.02


def test_inertia_never_rises_from_one_iteration_to_the_next():
    points = torch.cat([clouds(1), clouds(2) // 16 * 16])
    for step in (None, 1 / 16, 1.0):
        inertia = torch.stack(
            [
                kmeans(points, 9, restarts=1, iterations=n, step=step, generator=seeded()).inertia
                for n in range(1, 30)
            ]
        )
        # The result of n iterations comes after up to 2 n: the restart's, and the winner's.
        assert (inertia.diff(dim=0) <= 1e-9 * inertia[:-1]).all()
        assert (inertia[0] > inertia[-1]).all()


def test_more_clusters_fit_better():
    points = phantoms()[:3, :, ::2, ::2].flatten(2).mT
    inertia = torch.stack([kmeans(points, k, generator=seeded()).inertia for k in range(1, 20)])
    # Local optima: a further cluster may end up to a few per cent above the optimum.
    assert (inertia[1:] <= 1.05 * inertia[:-1]).all()
    assert (inertia[4:] < inertia[:-4]).all()


def test_one_cluster_is_the_mean_and_the_total_variance():
    points = torch.randn(3, 50, 4, generator=seeded(), dtype=torch.float64)
    found = kmeans(points, 1, generator=seeded())
    torch.testing.assert_close(found.palette[:, 0], points.mean(1))
    torch.testing.assert_close(found.inertia, 50 * points.var(1, correction=0).sum(1))


@pytest.mark.parametrize("clusters", [5, 6, 20])
@pytest.mark.parametrize("step", [None, 0.25])
def test_as_many_clusters_as_points_lose_nothing(clusters, step):
    distinct = torch.tensor([[0.0, 0, 0], [255, 0, 1], [3, 3, 3], [3, 3, 4], [90, 255, 17]])
    points = distinct[torch.randint(0, 5, (2, 100), generator=seeded())]
    found = kmeans(points, clusters, step=step, generator=seeded(), iterations=50)
    assert (found.inertia < 1e-9).all()
    assert ((found.sizes > 0).sum(1) == 5).all()
    chosen = found.palette.gather(1, found.labels[..., None].expand(-1, -1, 3))
    torch.testing.assert_close(chosen, points.double(), rtol=0, atol=1e-9)
    assert (found.iterations < 20).all()


@pytest.mark.parametrize("clusters", [1, 2, 7, 256])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("step", [1.0, 1 / 16])
def test_with_a_step_it_is_the_first_of_the_nearest_and_exactly(clusters, channels, step):
    points = clouds(count=300, channels=channels) - 100
    points = points // 8 * 8  # equally far from some centres
    sixteenths = torch.randint(-1600, 2480, (3, clusters, channels), generator=seeded(1)).double()
    centres = (sixteenths / 16 / step).round() * step
    centres[:, clusters // 2] = centres[:, 0]
    found = lloyd(points, torch.ones(3, 300).double(), centres, iterations=1, step=step)
    distance = (points[:, :, None] - centres[:, None]).square().sum(-1)
    nearest = distance == distance.amin(-1, keepdim=True)
    assert torch.equal(found.labels, nearest.int().argmax(-1))  # argmax: the first of those
    assert torch.equal(found.inertia, distance.amin(-1).sum(1))


def test_far_from_zero_where_no_index_fits_beside_a_distance_it_is_the_same():
    points, weights = clouds(), torch.ones(3, 200).double()
    centres, far = points[:, :30], 2.0**24
    here = lloyd(points, weights, centres, iterations=9, step=1.0)
    there = lloyd(points + far, weights, centres + far, iterations=9, step=1.0)
    assert compress.kmeans._scale(points + far, centres + far, 1.0) is None
    assert compress.kmeans._scale(points, centres, 1.0) == 32
    assert torch.equal(there.labels, here.labels)
    assert torch.equal(there.palette - far, here.palette)
    assert torch.equal(there.inertia, here.inertia)


def test_a_centre_without_points_moves_to_the_farthest():
    points = torch.tensor([0.0, 1, 2, 10, 11, 30])[None, :, None].double()
    centres = torch.tensor([1.0, 1e3, 1e4])[None, :, None].double()
    found = lloyd(points, torch.ones(1, 6).double(), centres, iterations=20)
    assert found.labels.tolist() == [[0, 0, 0, 2, 2, 1]]
    assert found.palette.flatten().tolist() == [1, 30, 10.5]
    inertia = [
        lloyd(points, torch.ones(1, 6).double(), centres, iterations=n).inertia for n in (1, 2, 3)
    ]
    assert inertia == sorted(inertia, reverse=True)


def test_a_centre_of_one_light_point_moves_onto_it():
    points = torch.tensor([0.0, 1, 10])[None, :, None].double()
    centres = torch.tensor([0.5, 3.0])[None, :, None].double()
    found = lloyd(points, torch.tensor([[1.0, 1, 0.25]]).double(), centres, iterations=20)
    assert found.palette.flatten().tolist() == [0.5, 10]
    assert found.sizes.tolist() == [[2, 0.25]]
    assert found.inertia.tolist() == [0.5]


def test_centres_near_zero_find_points_that_are_far_from_it():
    # Where a centre goes in the end, a squared distance leaves no room for an index.
    points = torch.tensor([0.0, 1, 2**30, 2**30 + 1, 2**30 + 4])[None, :, None].double()
    centres = torch.arange(8.0)[None, :, None].double()
    found = lloyd(points, torch.ones(1, 5).double(), centres, iterations=50, step=1.0)
    distance = (points - found.palette.mT).square()[0]
    assert found.labels.tolist() == [distance.argmin(1).tolist()]
    assert found.inertia.item() == distance.amin(1).sum().item() == 0


def test_a_tolerance_ends_the_search_earlier():
    points, weights = clouds(), torch.ones(3, 200).double()
    start = points[:, :8]
    slow = lloyd(points, weights, start, iterations=300)
    quick = lloyd(points, weights, start, iterations=300, tolerance=0.05)
    assert (quick.iterations < slow.iterations).all()
    assert (quick.inertia > slow.inertia).all()
    assert (quick.inertia < 1.5 * slow.inertia).all()


@pytest.mark.parametrize("clusters", [8, 49])
def test_what_counts_nothing_may_lie_anywhere(clusters):
    points = torch.randn(1, 50, 3, generator=seeded(), dtype=torch.float64)
    alone = kmeans(points, clusters, generator=seeded())
    weights = torch.cat([torch.ones(1, 50), torch.zeros(1, 1)], 1)
    for place in (0.0, 1e6, 1e9):
        more = torch.cat([points, torch.full((1, 1, 3), place, dtype=torch.float64)], 1)
        found = kmeans(more, clusters, weights=weights, generator=seeded())
        torch.testing.assert_close(found.inertia, alone.inertia, rtol=1e-9, atol=0)
        assert (found.sizes > 0).all()


def test_a_weight_is_a_repetition():
    points = clouds(count=40)
    weights = torch.randint(1, 5, (3, 40), generator=seeded())
    counted = kmeans(points, 6, weights=weights, step=1 / 16, generator=seeded())
    for i in range(3):
        repeated = points[i].repeat_interleave(weights[i], 0)[None]
        spelt = kmeans(repeated, 6, step=1 / 16, generator=seeded())
        assert torch.equal(spelt.palette[0], counted.palette[i])
        assert torch.equal(spelt.inertia[0], counted.inertia[i])
        assert torch.equal(spelt.sizes[0], counted.sizes[i])


def test_a_set_does_not_see_its_batch_mates(monkeypatch):
    points = clouds(batch=8)
    whole = kmeans(points, 7, step=1 / 16, tolerance=1e-2, generator=seeded())
    assert len(set(whole.iterations.tolist())) > 1
    monkeypatch.setattr(compress.kmeans, "budget", lambda device: 100)
    for i in (5, 0, 7):
        alone = kmeans(points[i : i + 1], 7, step=1 / 16, tolerance=1e-2, generator=seeded())
        for one, many in zip(alone, whole, strict=True):
            assert torch.equal(one[0], many[i])


def test_far_from_zero_it_is_the_same():
    points = torch.randn(1, 300, 2, generator=seeded(), dtype=torch.float64)
    near, far = (kmeans(points + shift, 5, generator=seeded()) for shift in (0, 2.0**26))
    assert torch.equal(near.labels, far.labels)
    torch.testing.assert_close(near.inertia, far.inertia, rtol=1e-6, atol=0)


def test_the_palette_keeps_to_its_step():
    points = clouds() / 64
    found = kmeans(points, 20, step=2**-7, generator=seeded())
    assert torch.equal((128 * found.palette).round(), 128 * found.palette)
    share = nn.functional.one_hot(found.labels, 20).double()
    means = share.mT @ points / share.sum(1)[..., None]
    assert (means - found.palette).abs().max() <= 2**-8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(5, 3)}, r"expected points \[B, N, C\], at least one, got \[5, 3\]"),
        ({"points": torch.zeros(1, 0, 3)}, r"at least one, got \[1, 0, 3\]"),
        ({"points": torch.full((2, 3, 1), torch.nan)}, r"the points of picture \[0, 1\]"),
        (
            {"points": torch.full((1, 2, 1), -1e160, dtype=torch.float64)},
            r"the points of picture \[0\] in the batch are not finite or beyond 1e\+150",
        ),
        ({"clusters": 0}, "clusters must be a whole number of 1 to 1048576, got 0"),
        ({"clusters": 2.5}, "clusters must be a whole number of 1 to 1048576, got 2.5"),
        ({"restarts": 0}, "restarts must be a whole number of 1 to 1024, got 0"),
        ({"iterations": -1}, "iterations must be a whole number of 1 to 1048576, got -1"),
        ({"tolerance": float("nan")}, "tolerance must be 0 or more, got nan"),
        ({"step": 0.3}, "step must be a power of two, such as 0.25, got 0.3"),
        ({"tolerance": "a"}, "tolerance must be 0 or more, got 'a'"),
        ({"step": 0.0}, "step must be a power of two"),
        ({"step": "1"}, "step must be a power of two, such as 0.25, got '1'"),
        (
            {"step": 0.25, "points": torch.full((1, 4, 3), 0.375)},
            "with a step of 0.25 all points must be multiples of it, got 0.375",
        ),
        ({"weights": torch.ones(1, 5)}, r"expected weights \[1, 4\].*got \[1, 5\]"),
        (
            {"weights": -torch.ones(1, 4)},
            "weights must be 0 or more, and at least one of each set above",
        ),
        (
            {"weights": torch.zeros(1, 4)},
            "weights must be 0 or more, and at least one of each set above",
        ),
        ({"weights": torch.full((1, 4), torch.inf)}, "the weights of picture"),
    ],
)
def test_bad_arguments_of_kmeans(change, message):
    with pytest.raises(ValueError, match=message):
        kmeans(**{"points": torch.zeros(1, 4, 3), "clusters": 2, **change})
