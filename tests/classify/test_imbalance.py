import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import classify

HAM = torch.tensor([327, 514, 1099, 115, 1113, 6705, 142])
_COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=9).filter(any)


def _batch(seed, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, classes, generator=generator, dtype=torch.float64) * 2
    return logits, torch.randint(classes, (12,), generator=generator)


def test_balanced_weights_are_those_of_scikit_learn_up_to_their_sum():
    labels = torch.repeat_interleave(torch.arange(7), HAM).numpy()
    theirs = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(7), y=labels))
    ours = classify.class_weights(HAM, power=1.0)
    torch.testing.assert_close(ours, (theirs * 7 / theirs.sum()).float())
    root = classify.class_weights(HAM)
    torch.testing.assert_close(root, (theirs.sqrt() * 7 / theirs.sqrt().sum()).float())


@settings(deadline=None)
@given(_COUNTS, st.floats(0, 1), st.floats(0, 0.999999))
def test_weights_sum_to_the_classes_and_rarer_ones_weigh_no_less(counts, power, beta):
    counts = torch.tensor(counts)
    present = counts > 0
    for weights in (
        classify.class_weights(counts, power=power),
        classify.effective_number_weights(counts, beta=beta),
    ):
        assert torch.isfinite(weights).all()
        assert (weights[~present] == 0).all()
        assert float(weights.sum()) == pytest.approx(int(present.sum()), rel=1e-5)
        ordered = weights[present][counts[present].argsort()]
        assert (ordered.diff() <= 1e-5 * ordered[:-1]).all()


def test_limits_of_the_weights():
    torch.testing.assert_close(classify.class_weights(HAM, power=0), torch.ones(7))
    torch.testing.assert_close(classify.effective_number_weights(HAM, beta=0), torch.ones(7))
    balanced = classify.class_weights(HAM, power=1.0)
    close = classify.effective_number_weights(HAM, beta=1 - 1e-9)
    torch.testing.assert_close(close, balanced, rtol=1e-3, atol=0)


def test_effective_numbers_of_ham10000():
    expected = torch.tensor([0.94, 0.65, 0.39, 2.40, 0.39, 0.26, 1.97])
    torch.testing.assert_close(
        classify.effective_number_weights(HAM, beta=0.999), expected, rtol=0, atol=0.006
    )


def test_log_prior():
    expected = torch.tensor([-3.42, -2.97, -2.21, -4.47, -2.20, -0.40, -4.26])
    torch.testing.assert_close(classify.log_prior(HAM), expected, rtol=0, atol=0.006)
    assert torch.isfinite(classify.log_prior(torch.tensor([0, 5]))).all()


@pytest.mark.parametrize("seed", range(5))
def test_without_options_it_is_the_cross_entropy(seed):
    logits, labels = _batch(seed)
    torch.testing.assert_close(
        classify.task_loss(logits, labels), functional.cross_entropy(logits, labels)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.1, 5))
def test_focal_loss_is_smaller_and_has_the_gradient_of_its_formula(seed, gamma):
    logits, labels = _batch(seed)
    logits.requires_grad_()
    focal = classify.task_loss(logits, labels, focal_gamma=gamma)
    sure = logits.softmax(1)[torch.arange(12), labels]
    formula = (-((1 - sure) ** gamma) * sure.log()).mean()
    torch.testing.assert_close(focal, formula)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (focal, formula))
    )
    assert focal <= classify.task_loss(logits, labels)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0, 0.5), st.floats(0, 4))
def test_a_mixed_label_costs_what_its_parts_cost(seed, smoothing, gamma):
    logits, labels = _batch(seed)
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(5, (12,), generator=generator)
    shares = torch.rand(12, 1, generator=generator, dtype=torch.float64)
    mixed = shares * functional.one_hot(labels, 5) + (1 - shares) * functional.one_hot(others, 5)

    def loss(row, label):
        return classify.task_loss(
            logits[row : row + 1],
            label[row : row + 1],
            label_smoothing=smoothing,
            focal_gamma=gamma,
        )

    for row, share in enumerate(shares[:, 0]):
        parts = share * loss(row, labels) + (1 - share) * loss(row, others)
        torch.testing.assert_close(loss(row, mixed), parts)
    # One label of each kind, told in two ways.
    weights = torch.rand(5, generator=generator) + 0.1
    torch.testing.assert_close(
        classify.task_loss(logits, functional.one_hot(labels, 5).double(), weights=weights),
        functional.cross_entropy(logits, labels, weight=weights.double()),
    )
    torch.testing.assert_close(
        classify.task_loss(logits, mixed), functional.cross_entropy(logits, mixed)
    )


def test_smoothing_is_least_at_the_entropy_of_the_smoothed_label():
    logits, labels = _batch(1)
    epsilon, classes = 0.2, 5
    smoothed = (1 - epsilon) * functional.one_hot(labels, classes).double() + epsilon / classes
    at_best = classify.task_loss(smoothed.log(), labels, label_smoothing=epsilon)
    entropy = -(smoothed * smoothed.log()).sum(1).mean()
    torch.testing.assert_close(at_best, entropy)
    assert classify.task_loss(smoothed.log() + 0.1 * logits, labels, label_smoothing=0.2) > entropy
    # Spread over all classes, or over the wrong ones alone: the same with (K - 1) / K of it.
    wrong = epsilon * (classes - 1) / classes
    spread = torch.full((12, classes), wrong / (classes - 1), dtype=torch.float64)
    spread[torch.arange(12), labels] = 1 - wrong
    torch.testing.assert_close(
        classify.task_loss(logits, labels, label_smoothing=epsilon),
        functional.cross_entropy(logits, spread),
    )


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_a_sure_answer_has_a_finite_gradient(gamma):
    logits = torch.tensor([[400.0, 0.0, 0.0], [30.0, 0.0, 0.0]], requires_grad=True)
    classify.task_loss(logits, torch.tensor([0, 0]), focal_gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_half_precision_is_left_before_anything_is_lost(dtype, gamma):
    half = torch.tensor([[30.0, 0.0, -30.0], [-40.0, 40.0, 0.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([0, 0])
    options = {
        "weights": classify.class_weights(torch.tensor([1, 60_000, 0]), power=1.0),
        "log_prior": classify.log_prior(torch.tensor([1, 60_000, 0])),
        "focal_gamma": gamma,
        "label_smoothing": 0.05,
    }
    loss = classify.task_loss(half, labels, **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, classify.task_loss(half.double(), labels, **options).float())
    loss.backward()
    assert torch.isfinite(half.grad).all()
    assert half.grad.abs().max() > 0


def test_a_batch_that_weighs_nothing_costs_nothing():
    logits, _ = _batch(0, classes=2)
    logits.requires_grad_()
    weights = classify.class_weights(torch.tensor([5, 0]))
    loss = classify.task_loss(
        logits, torch.ones(12, dtype=torch.int64), weights=weights, label_smoothing=0.1
    )
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_mixed_labels_weigh_what_their_parts_weigh():
    logits, labels = _batch(5)
    others = labels.flip(0)
    weights = torch.rand(5, dtype=torch.float64) + 0.1
    mixed = 0.3 * functional.one_hot(labels, 5) + 0.7 * functional.one_hot(others, 5).double()
    parts = torch.stack(
        [functional.cross_entropy(logits, y, reduction="none") for y in (labels, others)]
    )
    share = torch.stack([0.3 * weights[labels], 0.7 * weights[others]])
    found = classify.task_loss(logits, mixed, weights=weights)
    torch.testing.assert_close(found, (share * parts).sum() / share.sum())
    # torch divides by the pictures: the two differ by the mean weight.
    theirs = functional.cross_entropy(logits, mixed, weight=weights)
    torch.testing.assert_close(found * share.sum() / 12, theirs)


def test_weights_and_smoothing_are_those_of_torch_with_focal_too():
    logits, labels = _batch(3)
    weights = torch.rand(5, dtype=torch.float64) + 0.1
    torch.testing.assert_close(
        classify.task_loss(logits, labels, weights=weights, label_smoothing=0.1),
        functional.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1),
    )
    p = logits.softmax(1)
    smoothed = 0.9 * functional.one_hot(labels, 5) + 0.1 / 5
    costs = smoothed * weights * (1 - p) ** 2 * -p.log()
    torch.testing.assert_close(
        classify.task_loss(logits, labels, weights=weights, label_smoothing=0.1, focal_gamma=2.0),
        costs.sum() / weights[labels].sum(),
    )


def test_gradients():
    logits, labels = _batch(0)
    weights = torch.rand(5, dtype=torch.float64) + 0.1
    for options in (
        {"focal_gamma": 2.0},
        {"focal_gamma": 1.5, "weights": weights},
        {"label_smoothing": 0.1, "log_prior": weights.log()},
        {"margins": weights, "weights": weights, "focal_gamma": 1.0},
    ):
        assert torch.autograd.gradcheck(
            lambda z, o=options: classify.task_loss(z, labels, **o), (logits.requires_grad_(),)
        )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_balanced_softmax_and_logit_adjustment_are_one(seed):
    logits, labels = _batch(seed)
    counts = torch.randint(1, 500, (5,), generator=torch.Generator().manual_seed(seed))
    balanced = functional.cross_entropy(logits + counts.double().log(), labels)
    adjusted = classify.task_loss(logits, labels, log_prior=classify.log_prior(counts))
    torch.testing.assert_close(adjusted, balanced, rtol=1e-5, atol=1e-6)
    equal = classify.task_loss(logits, labels, log_prior=classify.log_prior(torch.full((5,), 9)))
    torch.testing.assert_close(equal, functional.cross_entropy(logits, labels))


def test_adjusted_scores_of_a_known_mixture_reach_the_best_balanced_accuracy():
    """Scores fitted to unbalanced Gaussians, and what Bayes' rule makes of equal priors."""
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [1.6, 0.0], [0.0, 1.6]], dtype=torch.float64)
    counts = torch.tensor([36_000, 3_000, 1_000])
    labels = torch.repeat_interleave(torch.arange(3), counts)
    points = means[labels] + torch.randn(len(labels), 2, generator=generator, dtype=torch.float64)
    features = torch.cat((points, torch.ones(len(points), 1)), 1)
    weight = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = classify.task_loss(features @ weight, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    fresh = torch.repeat_interleave(torch.arange(3), 20_000)
    x = means[fresh] + torch.randn(len(fresh), 2, generator=generator, dtype=torch.float64)
    scores = torch.cat((x, torch.ones(len(x), 1)), 1) @ weight.detach()
    prior = classify.log_prior(counts)
    shares = []

    def recall(logits):
        shares.append(float((logits.argmax(1) == 2).double().mean()))
        return float((logits.argmax(1) == fresh).double().mean())  # classes are equally frequent

    best = recall(-torch.cdist(x, means))
    plain = recall(scores)
    shares.clear()
    curve = [recall(classify.adjust_logits(scores, prior, tau=tau)) for tau in (0, 0.5, 1, 1.5)]
    assert curve[0] == plain
    assert curve[2] == pytest.approx(best, abs=0.01)
    assert plain < best - 0.15
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classify.class_weights(torch.tensor([-1, 2])), "at least one of them positive"),
        (lambda: classify.class_weights(torch.zeros(3)), r"not \[0.0, 0.0, 0.0\]"),
        (lambda: classify.log_prior(torch.ones(2, 2)), "counts must be a vector"),
        # Each would be taken for one picture: a uniform prior, in silence.
        (
            lambda: classify.log_prior(torch.tensor([0.75, 0.25])),
            r"not \[0.75, 0.25\]: multiply shares",
        ),
        (
            lambda: classify.effective_number_weights(torch.tensor([0.75, 0.25])),
            r"counts must be numbers of pictures.*multiply shares",
        ),
        (
            lambda: classify.class_weights(HAM, power=-1),
            "power must be 0 or more, and finite, not -1",
        ),
        (lambda: classify.effective_number_weights(HAM, beta=1), r"beta must lie in \[0, 1\)"),
        (lambda: classify.task_loss(*_batch(0), focal_gamma=-1), "focal_gamma must be 0 or more"),
        (
            lambda: classify.task_loss(*_batch(0), label_smoothing=1.5),
            r"label_smoothing must lie in \[0, 1\], not 1.5",
        ),
        (
            lambda: classify.task_loss(torch.zeros(3, 2), torch.zeros(3, 4)),
            r"shares of the classes \[B, K\].*\[3, 2\], not torch.float32 \[3, 4\]",
        ),
        (
            lambda: classify.task_loss(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int32)),
            r"labels must be int64 \[B\].*not torch.int32 \[3\]",
        ),
        (lambda: classify.class_weights(HAM, power=float("inf")), "and finite, not inf"),
        (lambda: classify.log_prior(torch.tensor([1, float("inf")])), "counts must be a vector"),
        (
            lambda: classify.task_loss(torch.zeros(3, 2), torch.tensor([0, 1, 2])),
            r"labels must lie in 0..1 for logits \[3, 2\]: .*smaller than num_classes",
        ),
        (
            lambda: classify.task_loss(*_batch(0), weights=torch.ones(1)),
            r"weights must be \[K\] for logits \[B, K\] = \[12, 5\], not \[1\]",
        ),
        (lambda: classify.task_loss(*_batch(0), log_prior=HAM), r"log_prior must be .* not \[7\]"),
        (
            lambda: classify.task_loss(*_batch(0), margins=torch.tensor(0.5)),
            r"margins must be .* not \[\]",
        ),
    ],
)
def test_bad_counts_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", [list, np.array])
def test_counts_of_any_kind(kind):
    counts = kind([3, 0, 12])
    for made in (classify.class_weights, classify.log_prior, classify.ldam_margins):
        assert torch.equal(made(counts), made(torch.tensor([3, 0, 12])))


def test_no_power_is_too_large():
    torch.testing.assert_close(
        classify.class_weights(torch.tensor([1, 0, 1000]), power=500.0), torch.tensor([2.0, 0, 0])
    )


@pytest.mark.parametrize("options", [{}, {"weights": torch.tensor([1.0, 2.0, 3.0, 4.0])}])
def test_an_impossible_class_that_is_not_the_true_one_costs_nothing(options):
    labels = torch.tensor([0, 1, 2, 0])
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for loss in (
        lambda z: classify.task_loss(z, labels, **options),
        lambda z: functional.cross_entropy(z, labels, weight=options.get("weights")),
        lambda z: classify.task_loss(z, labels, focal_gamma=1e-9, **options),
    ):
        given = scores.clone().requires_grad_()
        value = loss(torch.cat([given, torch.full((4, 1), -torch.inf)], 1))
        value.backward()
        losses.append(value.detach())
        gradients.append(given.grad)
    for value, gradient in zip(losses[::2], gradients[::2], strict=True):
        torch.testing.assert_close(value, losses[1])
        torch.testing.assert_close(gradient, gradients[1])
    impossible = torch.tensor([[-torch.inf, 0.0, 0.0, 0.0]])
    assert classify.task_loss(impossible, labels[:1], **options) == torch.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_prior": torch.tensor([0.5, 0.3, 0.2])}, "shares of the classes: take np.log"),
        ({"log_prior": torch.tensor([50, 30, 20])}, "numbers of pictures: take classify.log_prior"),
        ({"weights": torch.tensor([1.0, -1.0, 1.0])}, "weights must be 0 or more"),
        ({"weights": torch.tensor([1.0, torch.nan, 1.0])}, r"weights must not be nan or \+inf"),
        ({"weights": torch.tensor([1.0, torch.inf, 1.0])}, r"weights must not be nan or \+inf"),
        ({"log_prior": torch.tensor([-1.0, torch.nan, 0])}, "log_prior must not be nan"),
        ({"margins": torch.tensor([0.5, torch.nan, 0])}, "margins must not be nan"),
        ({"focal_gamma": torch.inf}, "focal_gamma must be 0 or more, and finite, not inf"),
        ({"focal_gamma": torch.nan}, "focal_gamma must be 0 or more, and finite, not nan"),
        ({"labels": torch.tensor([[1.0, 0, 0], [0.5, 0.2, 0]])}, "sum to 1, but row 1 is"),
        ({"labels": torch.tensor([[1.5, -0.5, 0], [1, 0, 0]])}, "sum to 1, but row 0 is"),
        ({"labels": torch.tensor([[1.0, 0, 0], [torch.nan, 0, 0]])}, "sum to 1, but row 1 is"),
    ],
)
def test_what_would_be_another_loss_is_refused(change, message):
    given = {"logits": torch.zeros(2, 3), "labels": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match=message):
        classify.task_loss(**given | change)


def test_shares_in_half_precision_sum_to_one_as_far_as_they_can():
    shares = torch.full((2, 3), 1 / 3, dtype=torch.bfloat16)
    assert shares.double().sum(1)[0] != 1
    assert float(classify.task_loss(torch.zeros(2, 3), shares)) == pytest.approx(
        np.log(3), rel=2**-7
    )


@pytest.mark.parametrize("options", [{}, {"weights": torch.ones(3)}])
def test_an_empty_batch_costs_nothing(options):
    logits = torch.zeros(0, 3, requires_grad=True)
    for labels in (torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3)):
        loss = classify.task_loss(logits, labels, **options)
        loss.backward()
        assert loss.item() == 0


def test_numbers_that_are_not_there_are_not_looked_at():
    prior, labels = torch.tensor([0.5, 0.3, 0.2]).log(), torch.eye(3)

    def loss(logits, prior, labels):
        return classify.task_loss(logits[None], labels[None], log_prior=prior)

    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    found = torch.vmap(loss, (0, None, 0))(logits, prior, labels)
    expected = torch.stack([loss(*each) for each in zip(logits, [prior] * 3, labels, strict=True)])
    torch.testing.assert_close(found, expected)
    adjusted = torch.vmap(lambda scores: classify.adjust_logits(scores, prior))(logits)
    torch.testing.assert_close(adjusted, classify.adjust_logits(logits, prior))
