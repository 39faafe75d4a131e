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
    focal = classify.task_loss(logits, labels, focal_gamma=gamma)
    sure = logits.softmax(1)[torch.arange(12), labels]
    torch.testing.assert_close(focal, (-((1 - sure) ** gamma) * sure.log()).mean())
    assert focal <= classify.task_loss(logits, labels)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_a_sure_answer_has_a_finite_gradient(gamma):
    logits = torch.tensor([[400.0, 0.0, 0.0], [30.0, 0.0, 0.0]], requires_grad=True)
    classify.task_loss(logits, torch.tensor([0, 0]), focal_gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all()


def test_weights_and_smoothing_are_those_of_torch_with_focal_too():
    logits, labels = _batch(3)
    weights = torch.rand(5, dtype=torch.float64) + 0.1
    torch.testing.assert_close(
        classify.task_loss(logits, labels, weights=weights, label_smoothing=0.1),
        functional.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1),
    )
    each = functional.cross_entropy(
        logits, labels, weight=weights, label_smoothing=0.1, reduction="none"
    )
    sure = logits.softmax(1)[torch.arange(12), labels]
    torch.testing.assert_close(
        classify.task_loss(logits, labels, weights=weights, label_smoothing=0.1, focal_gamma=2.0),
        ((1 - sure) ** 2 * each).sum() / weights[labels].sum(),
    )


def test_gradients():
    logits, labels = _batch(0)
    weights = torch.rand(5, dtype=torch.float64) + 0.1
    for options in (
        {"focal_gamma": 2.0},
        {"focal_gamma": 1.5, "weights": weights},
        {"label_smoothing": 0.1, "log_prior": weights.log()},
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classify.class_weights(torch.tensor([-1, 2])), "at least one of them positive"),
        (lambda: classify.class_weights(torch.zeros(3)), r"not \[0.0, 0.0, 0.0\]"),
        (lambda: classify.log_prior(torch.ones(2, 2)), "counts must be a vector"),
        (lambda: classify.class_weights(HAM, power=-1), "power must be 0 or more, not -1"),
        (lambda: classify.effective_number_weights(HAM, beta=1), r"beta must lie in \[0, 1\)"),
        (lambda: classify.task_loss(*_batch(0), focal_gamma=-1), "focal_gamma must be 0 or more"),
    ],
)
def test_bad_counts_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
