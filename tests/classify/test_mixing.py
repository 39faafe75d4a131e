import math

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from classify import mixing
from classify.mixing import mix


def _pair(kind="mixup", alpha=1.0, seed=0, count=16, size=(12, 10), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (count,), generator=generator)
    # Each picture is its own number everywhere, so that what it became can be read off it.
    images = torch.arange(1.0, count + 1).view(-1, 1, 1, 1).expand(-1, 3, *size).to(dtype)
    targets = functional.one_hot(labels, 5).to(dtype)
    return images, targets, mix(images, targets, kind=kind, alpha=alpha, generator=generator)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["mixup", "cutmix"]),
    st.floats(0.01, 20),
    st.integers(0, 2**31),
    st.integers(1, 9),
)
def test_labels_sum_to_one_and_say_how_much_of_whom(kind, alpha, seed, count):
    images, targets, (mixed, labels) = _pair(kind, alpha, seed, count)
    assert mixed.shape == images.shape
    torch.testing.assert_close(labels.sum(1), torch.ones(count))
    assert labels.min() >= 0
    # Every picture tells its partner and share itself, which tells its label.
    for i in range(count):
        own = mixed[i, 0]
        candidates = []
        for j in range(count):
            if i == j:
                share = 1.0
                fits = bool((own == images[i, 0]).all())
            elif kind == "cutmix":
                theirs = own == images[j, 0]
                share = 1 - float(theirs.double().mean())
                fits = bool((theirs | (own == images[i, 0])).all())
            else:
                share = 1 - float((own[0, 0] - images[i, 0, 0, 0]) / (j - i))
                fits = -1e-6 <= share <= 1 + 1e-6 and bool((own - own[0, 0]).abs().max() < 1e-5)
            if fits:
                candidates.append(share * targets[i] + (1 - share) * targets[j])
        errors = [float((c - labels[i]).abs().max()) for c in candidates]
        assert min(errors) < 1e-5


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_share_of_one_is_the_identity_and_one_of_nothing_the_partner(kind):
    # An alpha this small draws nothing else.
    images, targets, (mixed, labels) = _pair(kind, alpha=1e-6, count=64)
    own = (mixed == images).flatten(1).all(1)
    assert 16 < int(own.sum()) < 48
    assert torch.equal(labels[own], targets[own])
    if kind == "mixup":  # a box is cut off at the border
        shown = mixed[:, 0, 0, 0].long() - 1
        assert torch.equal(mixed, images[shown])
        assert torch.equal(labels, targets[shown])


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    count = 40_000
    drawn = mixing._beta(alpha, count, torch.Generator().manual_seed(1)).double().numpy()
    beta = scipy.stats.beta(alpha, alpha)
    # Away from 0 and 1, to which float32 rounds the draws of a small alpha.
    low, high = 1e-30, 0.999
    inner = drawn[(drawn > low) & (drawn < high)]
    inside = beta.cdf(high) - beta.cdf(low)
    fit = scipy.stats.kstest(inner, lambda x: (beta.cdf(x) - beta.cdf(low)) / inside)
    assert fit.pvalue > 1e-3
    assert len(inner) / count == pytest.approx(inside, abs=0.01)
    assert drawn.mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(count))
    assert drawn.var() == pytest.approx(beta.var(), rel=0.02)


def test_the_smallest_alpha_still_gives_numbers():
    drawn = mixing._beta(1e-4, 1000, torch.Generator().manual_seed(0))
    assert ((drawn == 0) | (drawn == 1)).double().mean() > 0.99
    assert drawn.mean() == pytest.approx(0.5, abs=0.07)
    # Where even logarithms overflow.
    assert torch.isfinite(mixing._beta(1e-310, 100, torch.Generator().manual_seed(0))).all()


@pytest.mark.parametrize(("kind", "spread"), [("mixup", 0.0), ("cutmix", 0.02)])
def test_the_loss_of_mixed_labels_is_the_mix_of_losses(kind, spread):
    """In a linear model the mixed picture has the mixed logits; the label costs its parts."""
    _, _, (mixed, labels) = _pair(kind, dtype=torch.float64)
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits = mixed.mean((-2, -1)) @ weight.T / 16
    whole = functional.cross_entropy(logits, labels, reduction="none")
    parts = sum(
        labels[:, k] * functional.cross_entropy(logits, torch.full((16,), k), reduction="none")
        for k in range(5)
    )
    torch.testing.assert_close(whole, parts)
    # And the pictures hold the light that the labels claim, on average over many draws.
    light, claimed = [], []
    for seed in range(300):
        images, _, (mixed, _) = _pair(kind, seed=seed)
        light.append(float(mixed.mean()))
        claimed.append(float(images.mean()))
    assert np.mean(light) == pytest.approx(np.mean(claimed), rel=max(spread, 0.02))


def test_the_box_is_where_and_as_large_as_asked():
    centre = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.5, 0.999]])
    window = mixing.box(centre, torch.tensor([0.5, 0.5, 1.0]), (8, 16))
    assert window.shape == (3, 1, 8, 16)
    assert [int(w.sum()) for w in window] == [4 * 8, 2 * 4, 8 * 9]
    assert window[0, 0, 2:6, 4:12].all()
    assert window[1, 0, :2, :4].all()
    assert not mixing.box(centre, torch.zeros(3), (8, 16)).any()


@pytest.mark.parametrize("pixels", [16, 28, 32, 33])
def test_a_side_is_rounded_to_whole_pixels_as_torchvision_rounds_it(pixels):
    sides = torch.tensor([0.02, 0.05, 0.1, 0.25, 0.3, 0.49, 0.9])
    centre = torch.full((len(sides), 2), 0.5)
    found = mixing.box(centre, sides, (pixels, pixels))
    picture = torch.zeros(1, pixels, pixels)
    for side, window in zip(sides.tolist(), found, strict=True):
        *_, height, width, _ = torchvision.transforms.RandomErasing.get_params(
            picture, scale=(side**2, side**2), ratio=(1.0, 1.0), value=[0.0]
        )
        assert int(window.sum()) == height * width
        rows, columns = window[0].nonzero(as_tuple=True)
        if len(rows):  # the middle pixel is in the middle, or next to it
            assert abs(float(rows.double().mean()) - pixels // 2) <= 0.5
            assert abs(float(columns.double().mean()) - pixels // 2) <= 0.5


def test_the_area_of_the_box_is_the_share_of_the_partner():
    # An alpha this large draws shares of a half alone.
    pairs = [_pair("cutmix", alpha=1e12, seed=seed, size=(32, 48)) for seed in range(20)]
    kept = torch.cat([(targets * labels).sum(1) for _, targets, (_, labels) in pairs])
    # Half of the picture where the border does not cut it off, in whole pixels, and no more
    # anywhere. One of twelve boxes is not cut off, and four of five are of another class.
    half = 1 - round(32 * 0.5**0.5) * round(48 * 0.5**0.5) / (32 * 48)
    whole = (kept - half).abs() < 1e-6
    assert float(kept.min()) == pytest.approx(half, rel=1e-6)
    assert float(whole.double().mean()) == pytest.approx(0.8 * (9 / 32) * (14 / 48), abs=0.05)


def test_it_is_a_function_of_the_generator_and_leaves_the_global_one_alone():
    before = torch.random.get_rng_state()
    for kind in ("mixup", "cutmix"):
        first, again, other = (_pair(kind, seed=seed)[2] for seed in (0, 0, 1))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
        assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gradients_reach_both_pictures():
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.eye(6)
    for kind in ("mixup", "cutmix"):
        mixed, _ = mix(
            images, targets, kind=kind, alpha=1.0, generator=torch.Generator().manual_seed(2)
        )
        (gradient,) = torch.autograd.grad(mixed.sum(), images)
        torch.testing.assert_close(gradient.sum(), torch.tensor(96.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "blend"}, r"'mixup', 'cutmix'.*not 'blend'"),
        ({"alpha": 0.0}, "alpha must be positive and finite, not 0.0; leave out mix"),
        ({"alpha": float("inf")}, "alpha must be positive and finite"),
        ({"targets": torch.zeros(4, dtype=torch.int64)}, r"not torch.int64 \[4\]; make them"),
        ({"targets": torch.zeros(3, 5)}, r"float \[B, K\] with B = 4, not torch.float32 \[3, 5\]"),
        ({"images": torch.zeros(4, 3, 8), "kind": "cutmix"}, r"cutmix takes .* \[4, 3, 8\]"),
        ({"images": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)}, "mixup takes .* torch.uint8"),
    ],
)
def test_bad_input_is_refused(changes, message):
    given = {
        "images": torch.zeros(4, 3, 8, 8),
        "targets": torch.zeros(4, 5),
        "kind": "mixup",
        "alpha": 1.0,
        **changes,
    }
    images, targets = given.pop("images"), given.pop("targets")
    with pytest.raises(ValueError, match=message):
        mix(images, targets, **given, generator=torch.Generator())
