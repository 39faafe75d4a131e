import json
from functools import cache

import numpy as np
import pytest
import torch
from judgeable import scored
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import classify


def test_adjustment_by_hand_and_as_the_loss_has_it():
    counts = torch.tensor([90, 9, 1])
    prior = classify.log_prior(counts)
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.equal(classify.adjust_logits(logits, prior, tau=0), logits)
    adjusted = classify.adjust_logits(logits, prior, tau=0.5)
    torch.testing.assert_close(adjusted, logits - 0.5 * torch.log(counts / 100))
    adjusted.sum().backward()
    assert torch.equal(logits.grad, torch.ones_like(logits))
    as_array = classify.adjust_logits(logits.detach().numpy(), prior, tau=0.5)
    np.testing.assert_allclose(as_array, adjusted.detach().numpy(), rtol=1e-6)
    # Adding the prior in the loss and taking it off afterwards are each other's inverse.
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    torch.testing.assert_close(
        classify.task_loss(classify.adjust_logits(logits, prior), labels, log_prior=prior),
        classify.task_loss(logits, labels),
    )


def test_adjustment_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"log_prior must be \[K\] .* not \(2,\) for \(4, 3\)"):
        classify.adjust_logits(torch.zeros(4, 3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"must be finite, .*counts a class without pictures as"):
        classify.adjust_logits(np.zeros((4, 2)), np.array([0, -np.inf]))
    with pytest.raises(ValueError, match="log_prior and tau must be finite"):
        classify.adjust_logits(np.zeros((4, 2)), np.zeros(2), tau=np.nan)


def test_shares_and_counts_are_no_logarithms():
    logits, labels = scored(0, classes=3)
    counts = np.array([900, 90, 10])
    for prior, kind in (
        (counts / 1000, "shares of the classes: take np.log"),
        ((counts / 1000).astype(np.float16), "shares of the classes"),
        (counts, "numbers of pictures: take classify.log_prior"),
        (counts.astype(float), "numbers of pictures"),
    ):
        message = rf"log_prior must be logarithms, but \[.*\] are {kind}"
        with pytest.raises(ValueError, match=message):
            classify.adjust_logits(logits, prior)
        with pytest.raises(ValueError, match=message):
            classify.choose_tau(logits, labels, log_prior=torch.as_tensor(prior))
    # A constant is of no account, so that logarithms of counts do.
    expected = classify.adjust_logits(logits, classify.log_prior(torch.as_tensor(counts)))
    found = classify.adjust_logits(logits, np.log(counts))
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-5)
    for fine in (np.zeros(3), np.log(counts / 10), [0, -1, -2], -np.log(3) * np.ones(3)):
        classify.adjust_logits(logits, np.array(fine))


def test_tau_may_be_a_tensor():
    prior, tau = np.log([0.9, 0.1]), torch.tensor(0.5, requires_grad=True)
    logits = np.array([[2.0, 1.0], [0.0, 3.0]])
    expected = classify.adjust_logits(logits, prior, tau=0.5)
    found = classify.adjust_logits(logits, prior, tau=tau)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)
    classify.adjust_logits(torch.from_numpy(logits), prior, tau=tau).sum().backward()
    assert tau.grad == pytest.approx(-2 * prior.sum())


_PRIOR = np.array([0.90, 0.08, 0.02])


_MEANS = np.array([[0.0, 0.0], [1.5, 0.5], [0.5, 1.8]])


def _mixture(seed, count, shares):
    random = np.random.default_rng(seed)
    labels = random.choice(3, count, p=shares)
    return _MEANS[labels] + random.normal(size=(count, 2)), labels


@cache
def _fitted():
    """Scores on validation and balanced test points of a classifier of a skewed mixture."""
    points, labels = _mixture(0, 30_000, _PRIOR)
    model = LogisticRegression(C=1e6).fit(points, labels)
    validation, truth = _mixture(1, 30_000, _PRIOR)
    test, test_truth = _mixture(2, 60_000, np.ones(3) / 3)
    prior = classify.log_prior(torch.from_numpy(np.bincount(labels)))
    bayes = np.stack([multivariate_normal(mean).logpdf(test) for mean in _MEANS], 1).argmax(1)
    scores = model.decision_function(validation), model.decision_function(test)
    return scores, (truth, test_truth), prior, balanced_accuracy_score(test_truth, bayes)


def _validated(count=4_000):
    """Scores and labels of the first validation points, and the prior."""
    (scores, _), (truth, _), prior, _ = _fitted()
    return scores[:count], truth[:count], prior


def test_adjustment_reaches_the_bayes_rule_of_balanced_classes():
    (_, scores), (_, truth), prior, best = _fitted()

    def balanced(tau):
        adjusted = classify.adjust_logits(scores, prior, tau=tau)
        return balanced_accuracy_score(truth, adjusted.argmax(1))

    assert balanced(0) < best - 0.1
    assert balanced(1) == pytest.approx(best, abs=0.01)
    rare = [
        (classify.adjust_logits(scores, prior, tau=t).argmax(1) == 2).mean()
        for t in np.linspace(0, 2, 21)
    ]
    assert (np.diff(rare) >= 0).all()
    assert rare[-1] > rare[0]


def test_tau_is_chosen_near_the_best_and_shown_as_a_curve():
    (scores, truth, prior), (*_, best) = _validated(10_000), _fitted()
    choice = classify.choose_tau(scores, truth, log_prior=prior)
    assert choice.taus == pytest.approx(np.arange(-20, 41) / 20)
    assert 0.6 <= choice.tau <= 1.4
    assert max(choice.values) == choice.values[choice.taus.index(choice.tau)]
    assert max(choice.values) == pytest.approx(best, abs=0.03)
    for tau, value in zip(choice.taus[::10], choice.values[::10], strict=True):
        adjusted = classify.adjust_logits(scores, prior, tau=tau)
        assert value == pytest.approx(balanced_accuracy_score(truth, adjusted.argmax(1)))
    # What is best for accuracy, and for the likelihood of a calibrated classifier, is to leave it.
    assert classify.choose_tau(
        scores, truth, log_prior=prior, metric="accuracy"
    ).tau == pytest.approx(0, abs=0.2)
    nll = classify.choose_tau(scores, truth, log_prior=prior, metric="nll").tau
    assert nll == pytest.approx(0, abs=0.05)
    assert str(choice) == (
        f"balanced_accuracy {max(choice.values):.3f} at tau = {choice.tau:g}, the best of 61 "
        "between -1 and 2 on these pictures"
    )
    assert json.loads(json.dumps(choice.to_dict()))["tau"] == choice.tau


def test_pictures_that_lack_a_class_are_no_ground_to_choose_tau_on():
    logits, labels = scored(0)
    prior, some = np.log([0.4, 0.3, 0.2, 0.1]), labels < 3
    with pytest.warns(UserWarning, match=r"none of these \d+ pictures is of rare, so that bal"):
        choice = classify.choose_tau(
            logits[some], labels[some], log_prior=prior, classes=("a", "b", "c", "rare")
        )
    assert choice.taus.index(choice.tau) == choice.values.index(max(choice.values))


def test_a_metric_that_tau_does_not_change_says_so():
    logits, labels = scored(0, classes=2)
    prior = np.log([0.9, 0.1])
    for metric in ("auc", "average_precision", "sensitivity"):
        choice = classify.choose_tau(logits, labels, log_prior=prior, metric=metric)
        assert np.ptp(choice.values) < 1e-12
        assert choice.tau == 0
        assert ", the same at each of 61 between -1 and 2 on these pictures" in str(choice)
    one = classify.choose_tau(logits, labels, log_prior=prior, taus=[0.5])
    assert "at tau = 0.5, the best of 1 between" in str(one)


def test_tau_takes_any_metric_and_the_smallest_of_equals():
    logits, labels = scored(0)
    prior = np.log(np.ones(4) / 4)  # equal classes: tau changes nothing
    choice = classify.choose_tau(logits, labels, log_prior=prior, taus=(1.0, 0.5, 2.0))
    assert choice.tau == 0.5
    for taus, nearest in (((-1.0, -0.5, 1.0), -0.5), ((-0.5, 0.5), 0.5), (None, 0.0)):
        assert classify.choose_tau(logits, labels, log_prior=prior, taus=taus).tau == nearest

    def hits_of_rare(logits, labels):
        return (logits.argmax(1) == labels)[labels == 3].mean()

    prior = np.log([0.4, 0.3, 0.2, 0.1])
    choice = classify.choose_tau(
        torch.from_numpy(logits), torch.from_numpy(labels), log_prior=prior, metric=hits_of_rare
    )
    assert choice.metric == "hits_of_rare"
    assert choice.values[-1] == max(choice.values) > choice.values[0]


def test_of_a_function_more_is_better_whatever_its_name():
    logits, labels = scored(0)

    def nll(logits, labels):
        return (logits.argmax(1) == labels)[labels == 3].mean()

    choice = classify.choose_tau(logits, labels, log_prior=np.log([0.4, 0.3, 0.2, 0.1]), metric=nll)
    assert choice.metric == "nll"
    assert choice.values[choice.taus.index(choice.tau)] == max(choice.values) > min(choice.values)


def test_tau_refuses_what_it_cannot_choose_by():
    logits, labels = scored(0, classes=2)
    prior = np.log([0.5, 0.5])
    with pytest.raises(ValueError, match="taus must hold at least one number"):
        classify.choose_tau(logits, labels, log_prior=prior, taus=())
    with pytest.raises(ValueError, match="metric 'f2' is unknown"):
        classify.choose_tau(logits, labels, log_prior=prior, metric="f2")
    with pytest.raises(ValueError, match="auc is undefined for every tau on these labels"):
        classify.choose_tau(logits, labels * 0, log_prior=prior, metric="auc")
    with pytest.raises(ValueError, match="metric 'f1' has one value per class; use 'macro_f1'"):
        classify.choose_tau(logits, labels, log_prior=prior, metric="f1")


def test_whole_numbers_are_adjusted_as_floats():
    prior = torch.log(torch.tensor([0.9, 0.1]))
    logits = torch.tensor([[2, 1], [0, 3]])
    adjusted = classify.adjust_logits(logits, prior)
    torch.testing.assert_close(adjusted, logits.float() - prior)
    as_array = classify.adjust_logits(logits.numpy(), prior)
    np.testing.assert_allclose(as_array, adjusted.numpy(), rtol=1e-6)


def test_tau_keeps_what_it_must():
    scores, truth, prior = _validated()
    free = classify.choose_tau(scores, truth, log_prior=prior)
    accuracy = [((scores - tau * np.asarray(prior)).argmax(1) == truth).mean() for tau in free.taus]
    least = accuracy[free.taus.index(0)] - 0.01
    choice = classify.choose_tau(scores, truth, log_prior=prior, at_least={"accuracy": least})
    assert choice.kept["accuracy"] == pytest.approx(accuracy)
    assert choice.values == free.values
    best = max((i for i in range(61) if accuracy[i] >= least), key=lambda i: free.values[i])
    assert choice.tau == free.taus[best]
    assert free.values[0] < free.values[best] < max(free.values)
    assert accuracy[free.taus.index(free.tau)] < least
    assert str(choice).endswith(
        f"between -1 and 2 on these pictures with accuracy {accuracy[best]:.3f} >= {least:g}"
    )
    assert json.loads(json.dumps(choice.to_dict()))["at_least"] == {"accuracy": least}
    # The curve's own value, taken from a choice, is kept.
    same = {"accuracy": choice.kept["accuracy"][best], "mcc": -1}
    assert classify.choose_tau(scores, truth, log_prior=prior, at_least=same).tau == choice.tau
    assert classify.choose_tau(scores, truth, log_prior=prior, at_least={}) == free


def test_tau_stays_within_reach_of_the_best():
    scores, truth, prior = _validated(10_000)
    free = classify.choose_tau(scores, truth, log_prior=prior)
    guesses = [(scores - tau * np.asarray(prior)).argmax(1) for tau in free.taus]
    accuracy = [accuracy_score(truth, guess) for guess in guesses]
    f1 = [f1_score(truth, guess, average="macro", zero_division=0) for guess in guesses]
    for points in (0.0, 0.01, 0.05, 1.0):
        choice = classify.choose_tau(scores, truth, log_prior=prior, within={"accuracy": points})
        reach = [i for i in range(61) if accuracy[i] >= max(accuracy) - points - 1e-12]
        assert choice.values[free.taus.index(choice.tau)] == max(free.values[i] for i in reach)
        assert choice.at_least == {"accuracy": pytest.approx(max(accuracy) - points)}
        assert choice.kept["accuracy"] == pytest.approx(accuracy)
    assert choice.tau == free.tau

    # The stricter of two bounds of one metric holds; those of different metrics hold together.
    def chosen(**bounds):
        return classify.choose_tau(scores, truth, log_prior=prior, **bounds)

    strict = chosen(within={"accuracy": 0.01}, at_least={"accuracy": 0.1})
    assert strict.at_least["accuracy"] == pytest.approx(max(accuracy) - 0.01)
    floor = max(accuracy) - 0.005
    assert chosen(within={"accuracy": 0.01}, at_least={"accuracy": floor}).at_least == {
        "accuracy": floor
    }
    both = chosen(within={"accuracy": 0.02, "macro_f1": 0.001})
    assert both.at_least["macro_f1"] == pytest.approx(max(f1) - 0.001)
    reach = [
        i for i in range(61) if accuracy[i] >= max(accuracy) - 0.02 and f1[i] >= max(f1) - 0.001
    ]
    assert both.values[free.taus.index(both.tau)] == max(free.values[i] for i in reach)
    for within, message in (
        ({"nll": 0.1}, "within takes finite numbers for metrics where higher is better, not 'nll'"),
        ({"accuracy": np.inf}, "within takes finite numbers .*, not 'accuracy': inf"),
        ({"accuracy": -0.01}, "how far accuracy may be below its best, 0 or more, not -0.01"),
        ({"f2": 0.1}, "f2"),
    ):
        with pytest.raises(ValueError, match=message):
            chosen(within=within)
    with pytest.raises(ValueError, match="auc is undefined for every tau on these labels"):
        classify.choose_tau(
            scores, truth * 0, log_prior=prior, metric="accuracy", within={"auc": 0.1}
        )


def test_a_classifier_trained_with_weights_can_be_led_back():
    """Scores without the prior, as full class weights leave them: accuracy wants tau = -1."""
    scores, truth, prior = _validated()
    weighted = scores - np.asarray(prior)
    choice = classify.choose_tau(weighted, truth, log_prior=prior, metric="accuracy")
    assert -1 <= choice.tau < -0.7
    plain = accuracy_score(truth, scores.argmax(1))
    assert max(choice.values) >= plain > accuracy_score(truth, weighted.argmax(1))
    kept = classify.choose_tau(weighted, truth, log_prior=prior, at_least={"accuracy": plain})
    assert kept.tau < 0


def test_tau_says_how_much_can_be_kept():
    logits, labels = scored(0)
    prior = np.log([0.4, 0.3, 0.2, 0.1])
    accuracy = max(classify.choose_tau(logits, labels, log_prior=prior, metric="accuracy").values)
    for at_least, message in (
        (
            {"accuracy": 0.99},
            f"no tau of 61 between -1 and 2 keeps accuracy >= 0.99 on these pictures: accuracy "
            f"reaches {accuracy:.4g} at tau = [-0-9.]*; ask for less$",
        ),
        ({"nll": 1.0}, "metrics where higher is better, not 'nll': 1.0; for others"),
        ({"accuracy": np.nan}, "takes finite numbers for .*, not 'accuracy': nan"),
        ({"recall": 0.5}, "metric 'recall' has one value per class; use 'macro_recall'"),
    ):
        with pytest.raises(ValueError, match=message):
            classify.choose_tau(logits, labels, log_prior=prior, at_least=at_least)
    with pytest.raises(ValueError, match="or try other taus"):
        classify.choose_tau(logits, labels, log_prior=prior, at_least={"accuracy": 1.0}, taus=[0.0])
    alone = labels * 0  # no AUC exists, and no smaller number would help
    with pytest.raises(ValueError, match="auc is undefined for every tau on these labels"):
        classify.choose_tau(
            logits, alone, log_prior=prior, metric="accuracy", at_least={"auc": 0.5}
        )


def test_tau_finds_what_a_class_must_have():
    scores, truth, prior = _validated()
    names = [f"class {k}" for k in range(scores.shape[1])]
    rare = int(np.argmin(np.asarray(prior)))
    guesses = [(scores - tau * np.asarray(prior)).argmax(1) for tau in np.linspace(-1, 2, 61)]
    recalls = [(guess[truth == rare] == rare).mean() for guess in guesses]
    least = sorted(recalls)[50]
    wanted = f"recall.class {rare}"
    choice = classify.choose_tau(
        scores, truth, log_prior=prior, metric="accuracy", classes=names, at_least={wanted: least}
    )
    assert choice.kept[wanted] == pytest.approx(recalls)
    assert recalls[choice.taus.index(choice.tau)] >= least
    allowed = [
        value for value, recall in zip(choice.values, recalls, strict=True) if recall >= least
    ]
    assert choice.values[choice.taus.index(choice.tau)] == max(allowed)
    by_number = classify.choose_tau(scores, truth, log_prior=prior, metric=f"recall.{rare}")
    assert max(by_number.values) == pytest.approx(max(recalls))
    # No smaller number would help.
    there = truth != rare
    with pytest.raises(ValueError, match=f"{wanted} is undefined for every tau on these labels"):
        classify.choose_tau(
            scores[there], truth[there], log_prior=prior, classes=names, at_least={wanted: 0.5}
        )
    with pytest.raises(ValueError, match="names none of the"):
        classify.choose_tau(scores, truth, log_prior=prior, metric="recall.mel")


def test_probabilities_are_told_once():
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.ones(3), size=30)
    prior, labels = np.log([0.5, 0.3, 0.2]), np.arange(30) % 3
    for scores in (chances, torch.from_numpy(chances).requires_grad_()):
        with pytest.warns(UserWarning, match="taken as logits: give their logarithms") as told:
            classify.adjust_logits(scores, prior)
        assert [each.filename for each in told] == [__file__]
    with pytest.warns(UserWarning, match="taken as logits") as told:
        classify.choose_tau(chances, labels, log_prior=prior)
    assert len(told) == 1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_scores_in_half_precision_become_float32(kind):
    adjusted = classify.adjust_logits(torch.zeros(2, 3, dtype=kind), torch.log(torch.ones(3) / 3))
    assert adjusted.dtype == torch.float32
