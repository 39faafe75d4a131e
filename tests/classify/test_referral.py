import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import binom
from sklearn.metrics import roc_curve

import classify
from classify.scores import InvalidScores

CLASSES = ("bcc", "mel", "nv")


def _case(seed, count=80):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 3)
    return 1.5 * np.eye(3)[labels] + random.normal(size=(count, 3)), labels


# With ties it may take every picture, or none, to keep a goal of 1.
@pytest.mark.filterwarnings("ignore:(every|no) picture is referred")
@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.05, 1), st.booleans(), st.booleans())
@example(624, 1.0, True, True)
def test_no_cutoff_that_keeps_the_goal_costs_less(seed, least, ties, of_sensitivity):
    logits, labels = _case(seed)
    if ties:
        logits = logits.round()
    goal = "sensitivity" if of_sensitivity else "specificity"
    referral = classify.choose_cutoff(
        logits, labels, classes=CLASSES, positive=("bcc", "mel"), **{goal: least}
    )
    chance = softmax(logits, 1)[:, :2].sum(1)
    false_alarms, found, _ = roc_curve(labels < 2, chance.round(12), drop_intermediate=False)
    rates = {"sensitivity": found, "specificity": 1 - false_alarms}
    other = {"sensitivity": "specificity", "specificity": "sensitivity"}[goal]
    best = rates[other][rates[goal] >= least - 1e-12].max()
    assert getattr(referral, other) == pytest.approx(best)
    assert getattr(referral, goal) >= least - 1e-12
    # What it says of these pictures is what it does to them.
    refers = referral.refers(logits)
    np.testing.assert_array_equal(refers, chance >= referral.cutoff)
    assert referral.sensitivity == pytest.approx(refers[labels < 2].mean())
    assert referral.specificity == pytest.approx((~refers)[labels == 2].mean())
    shares = referral.shares(logits, labels)
    assert shares["nv"] == pytest.approx(1 - referral.specificity)
    assert shares["mel"] == pytest.approx(refers[labels == 1].mean())


def test_the_cutoff_lies_between_two_pictures():
    chance = np.array([0.9, 0.7, 0.4, 0.6, 0.3, 0.1])
    logits, labels = np.log(np.stack([chance, 1 - chance], 1)), np.array([0, 0, 0, 1, 1, 1])
    referral = classify.choose_cutoff(
        logits, labels, classes=("mel", "nv"), positive="mel", sensitivity=0.6
    )
    odds = np.log(chance / (1 - chance))
    assert referral.cutoff == pytest.approx(expit((odds[1] + odds[3]) / 2))
    assert (referral.sensitivity, referral.specificity) == (pytest.approx(2 / 3), 1)
    referral = classify.choose_cutoff(
        logits, labels, classes=("mel", "nv"), positive="mel", specificity=1.0
    )
    assert referral.cutoff == pytest.approx(expit((odds[1] + odds[3]) / 2))
    assert str(referral) == (
        "refers pictures with a probability of mel of at least 0.652: sensitivity 0.667, "
        "specificity 1.000 on the pictures it was chosen on"
    )
    assert json.loads(json.dumps(referral.to_dict()))["cutoff"] == referral.cutoff


@pytest.mark.parametrize("goal", ["sensitivity", "specificity"])
def test_an_assured_goal_is_kept_as_often_as_it_says(goal):
    """Of normal scores the true rate at a cutoff has a closed form."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    kept = {0.9: 0, None: 0}
    trials = 400
    for assurance, _ in itertools.product(kept, range(trials)):
        odds = random.normal(size=120) + np.where(labels == 0, 1.0, -1.0)
        referral = classify.choose_cutoff(
            np.stack([odds, 0 * odds], 1),
            labels,
            classes=("mel", "nv"),
            positive="mel",
            assurance=assurance,
            **{goal: 0.9},
        )
        normal = torch.distributions.Normal(1.0 if goal == "sensitivity" else -1.0, 1.0)
        below = float(normal.cdf(torch.tensor(referral.log_odds)))
        kept[assurance] += (1 - below if goal == "sensitivity" else below) >= 0.9
    # The least number of 400 that 9 of 10 come to in all but one of a thousand trials.
    assert kept[0.9] >= binom.ppf(0.001, trials, 0.9)
    assert kept[None] < 0.75 * trials


def test_lesions_are_what_an_assurance_counts():
    logits, labels = _case(3, count=300)
    ask = {"classes": CLASSES, "positive": "mel", "sensitivity": 0.9, "assurance": 0.9}
    alone = classify.choose_cutoff(logits, labels, **ask)
    twice = np.repeat(np.arange(300), 2)
    groups = [f"lesion {n}" for n in twice]
    same = classify.choose_cutoff(logits[twice], labels[twice], groups=groups, **ask)
    assert same.log_odds == pytest.approx(alone.log_odds)
    assert (same.units, same.unit, alone.unit) == (alone.units, "lesions", "pictures")
    assert "holds on other pictures with a confidence of 0.9 (100 lesions)" in str(same)
    surer = classify.choose_cutoff(logits[twice], labels[twice], **ask)
    assert surer.log_odds > same.log_odds
    with pytest.raises(ValueError, match="rows"):
        classify.choose_cutoff(logits, labels, groups=groups, **ask)


def test_an_assurance_is_kept_by_lesions_of_unequal_size():
    """Pictures of a lesion are alike: 20 of 100 lesions have 15, and the others one."""
    random = np.random.default_rng(0)
    sizes = np.where(np.arange(100) < 20, 15, 1)
    rows = np.repeat(np.arange(200), np.tile(sizes, 2))
    labels, groups = (rows >= 100).astype(int), [f"lesion {row}" for row in rows]
    kept, trials = 0, 200
    for _ in range(trials):
        odds = (random.normal(size=200) + np.where(np.arange(200) < 100, 1.0, -1.0))[rows]
        screen = classify.choose_cutoff(
            np.stack([odds, 0 * odds], 1),
            labels,
            classes=("mel", "nv"),
            positive="mel",
            sensitivity=0.9,
            assurance=0.9,
            groups=groups,
        )
        below = float(torch.distributions.Normal(1.0, 1.0).cdf(torch.tensor(screen.log_odds)))
        kept += 1 - below >= 0.9
    assert screen.equal_units == pytest.approx(380**2 / (80 + 20 * 15**2))
    assert str(screen).endswith("(100 lesions, which count as 31.53 of equal size)")
    assert kept >= binom.ppf(0.001, trials, 0.9)
    with pytest.raises(ValueError, match=r"^100 lesions, which count as 31.53 of equal size,"):
        classify.choose_cutoff(
            np.stack([odds, 0 * odds], 1),
            labels,
            classes=("mel", "nv"),
            positive="mel",
            sensitivity=0.95,
            assurance=0.9,
            groups=groups,
        )


def test_so_many_lesions_are_needed():
    chance = np.linspace(0.99, 0.01, 90)
    logits, labels = np.log(np.stack([chance, 1 - chance], 1)), np.repeat([0, 1], 45)
    ask = {"classes": ("mel", "nv"), "positive": "mel", "sensitivity": 0.95, "assurance": 0.9}
    assert classify.choose_cutoff(logits, labels, **ask).specificity == 1  # 0.95 ** 45 < 0.1
    match = r"44 pictures cannot .* at most 0.949, .*: ask for less, or use 45 of equal size"
    with pytest.raises(ValueError, match=match):
        classify.choose_cutoff(logits[1:], labels[1:], **ask)
    with pytest.raises(ValueError, match="no number of them can; ask for less than 1"):
        classify.choose_cutoff(logits, labels, **ask | {"sensitivity": 1.0})


def test_a_report_of_a_referral_has_its_numbers():
    logits, labels = _case(1)
    referral = classify.choose_cutoff(
        logits, labels, classes=CLASSES, positive=("mel",), sensitivity=0.9
    )
    test, truth = _case(2, count=200)
    found = classify.report(
        referral.scores(torch.from_numpy(test)),
        referral.labels(torch.from_numpy(truth)),
        classes=classify.referral.REFER_OR_LEAVE,
        resamples=100,
    )
    refers, ill = referral.refers(test), truth == 1
    assert found.number("recall.refer") == pytest.approx(refers[ill].mean())
    assert found.number("recall.leave") == pytest.approx((~refers)[~ill].mean())
    assert found.number("precision.refer") == pytest.approx(ill[refers].mean())
    assert found.number("precision.leave") == pytest.approx((~ill)[~refers].mean())
    low, high = found.interval("recall.refer")
    assert low < refers[ill].mean() < high
    values = classify.predictive_values(
        refers[ill].mean(), (~refers)[~ill].mean(), prevalence=ill.mean()
    )
    assert values.positive == pytest.approx(ill[refers].mean())
    assert values.negative == pytest.approx((~ill)[~refers].mean())
    assert values.referred == pytest.approx(refers.mean())


def test_predictive_values_at_the_ends():
    rare = classify.predictive_values(0.95, 0.8, 0.01)
    assert rare.positive == pytest.approx(0.0095 / (0.0095 + 0.198))
    assert np.isnan(classify.predictive_values(0, 1, 0.5).positive)
    assert np.isnan(classify.predictive_values(1, 0, 0.5).negative)
    with pytest.raises(ValueError, match=r"prevalence must lie in 0..1, not 2"):
        classify.predictive_values(0.5, 0.5, 2)


def test_scores_of_any_size_and_impossible_classes():
    labels = np.array([0, 0, 1, 2])
    sure = np.array([[900.0, 0, 0], [50.0, 0, 0], [0, 41.0, 0], [0, 0, 60.0]])
    ask = {"classes": CLASSES, "positive": ("bcc", "mel"), "sensitivity": 1.0}
    referral = classify.choose_cutoff(sure, labels, **ask)
    assert referral.specificity == referral.sensitivity == 1
    assert referral.refers(sure).tolist() == [True, True, True, False]
    # Beyond a probability that a double can hold beside 1, log-odds still tell.
    surer = sure + np.array([[40.0, 40, 0]])
    high = classify.choose_cutoff(surer, labels, **ask)
    assert high.refers(surer).tolist() == [True, True, True, False]
    ruled_out = np.array([[0.0, 1, -np.inf], [2, 0, -np.inf], [0, 0, 0], [-np.inf, -np.inf, 1]])
    referral = classify.choose_cutoff(ruled_out, labels, **ask)
    assert referral.refers(ruled_out).tolist() == [True, True, True, False]


@pytest.mark.parametrize("goal", ["sensitivity", "specificity"])
@pytest.mark.parametrize("sure", [1e3, 1e6])
def test_sure_scores_are_told_apart_as_others_are(goal, sure):
    logits, labels = _case(5)
    usual, surer = (
        classify.choose_cutoff(
            factor * logits, labels, classes=CLASSES, positive="mel", **{goal: 0.9}
        )
        for factor in (1e2, sure)  # at which one score is nearly all of their logarithm
    )
    assert (surer.sensitivity, surer.specificity) == (usual.sensitivity, usual.specificity)
    np.testing.assert_array_equal(surer.refers(sure * logits), usual.refers(1e2 * logits))
    ruled_out = sure * logits
    ruled_out[np.arange(80), labels] = -np.inf
    ruled_out[0] = 0
    assert np.isfinite(surer.scores(ruled_out)).all()


@pytest.mark.filterwarnings("ignore:no picture is referred")
def test_a_cutoff_lies_beyond_pictures_that_are_certain():
    certain = np.array([[-np.inf, 0.0], [0, -np.inf]])
    referral = classify.choose_cutoff(
        certain[[0, 1, 1]], np.array([0, 0, 1]), classes=("mel", "nv"), positive="mel",
        specificity=1.0,
    )  # fmt: skip
    assert referral.specificity == 1
    assert not referral.refers(certain).any()


def test_scores_that_tell_nothing_are_told():
    labels = np.array([0, 1, 2, 0, 1, 2])
    for goal, refers in (("sensitivity", "every"), ("specificity", "no")):
        with pytest.warns(UserWarning, match=f"{refers} picture is referred: .* mel from the rest"):
            referral = classify.choose_cutoff(
                np.zeros((6, 3)), labels, classes=CLASSES, positive="mel", **{goal: 0.5}
            )
        assert referral.refers(np.zeros((6, 3))).all() == (goal == "sensitivity")
    with pytest.warns(UserWarning, match="taken as logits"):
        classify.choose_cutoff(
            softmax(_case(0)[0], 1), _case(0)[1], classes=CLASSES, positive="mel", sensitivity=0.9
        )


def test_what_does_not_fit_is_refused():
    logits, labels = _case(0)
    fine = {"classes": CLASSES, "positive": "mel", "sensitivity": 0.9}
    for changes, match in (
        ({"positive": "melanoma"}, "no class 'melanoma' among bcc, mel, nv"),
        ({"positive": ()}, "some of the classes bcc, mel, nv, not none"),
        ({"positive": CLASSES}, "not all of them"),
        ({"specificity": 0.9}, "give either a sensitivity or a specificity"),
        ({"sensitivity": None}, "give either a sensitivity or a specificity"),
        ({"sensitivity": 0}, "sensitivity must lie above 0 and be at most 1, not 0"),
        ({"sensitivity": np.nan}, "sensitivity must lie"),
        ({"assurance": 1}, "assurance must lie between 0 and 1, not 1"),
        ({"classes": CLASSES[:2], "positive": "bcc"}, r"need scores \[N, 2\]"),
    ):
        with pytest.raises(ValueError, match=match):
            classify.choose_cutoff(logits, labels, **fine | changes)
    with pytest.raises(ValueError, match="none of these 80 pictures is of a class to refer"):
        classify.choose_cutoff(logits, 0 * labels, **fine)
    with pytest.raises(ValueError, match="of a class to leave"):
        classify.choose_cutoff(logits, 0 * labels + 1, **fine)
    referral = classify.choose_cutoff(logits, labels, **fine)
    with pytest.raises(ValueError, match=r"takes scores \[N, 3\] of the classes bcc, mel, nv, not"):
        referral.scores(logits[:, :2])


@pytest.mark.parametrize("ask", ["scores", "refers", "shares"])
def test_scores_of_another_kind_are_not_referred_by(ask):
    logits, labels = _case(0)
    referral = classify.choose_cutoff(
        logits, labels, classes=CLASSES, positive="mel", sensitivity=0.9
    )
    rest = (labels,) if ask == "shares" else ()
    with pytest.warns(UserWarning, match="taken as logits: give their logarithms") as told:
        getattr(referral, ask)(softmax(logits, 1), *rest)
    assert [each.filename for each in told] == [__file__]
    for bad in ([np.nan, 0, 0], [-np.inf] * 3, [np.inf, 0, 0]):
        logits[7] = bad
        with pytest.raises(InvalidScores, match=r"1 rows of scores .*, the first is row 7"):
            getattr(referral, ask)(logits, *rest)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1, 0], "not -1 as in row 0"),
        ([0, 3], "label 3 is beyond the 3 classes"),
        ([True, False], "must be integers of 0 or more, not bool"),
        ([0.0, 1.0], "not float64"),
        ([[0, 1]], r"labels must be \[N\], not \(1, 2\)"),
    ],
)
def test_labels_that_are_no_classes_are_not_referred(labels, message):
    logits, true = _case(0)
    referral = classify.choose_cutoff(
        logits, true, classes=CLASSES, positive="mel", sensitivity=0.9
    )
    with pytest.raises(ValueError, match=message):
        referral.labels(np.array(labels))
    with pytest.raises(ValueError, match=message):
        referral.shares(logits[:2], np.array(labels))
    with pytest.raises(ValueError, match="80 rows of scores need as many labels, not 2"):
        referral.shares(logits, true[:2])


def test_a_referral_is_read_back():
    logits, labels = _case(0)
    told = ((0.8, None), (np.float32(0.8), torch.tensor(0.5, requires_grad=True)), (0.8, 0.5))
    for least, assurance in told:
        referral = classify.choose_cutoff(
            logits, labels, classes=CLASSES, positive="mel", sensitivity=least, assurance=assurance
        )
        again = classify.Referral.from_dict(json.loads(json.dumps(referral.to_dict())))
        assert again == referral
        assert hash(again) == hash(referral)
        assert (again.classes, again.positive) == (CLASSES, ("mel",))
    values = {k: v for k, v in referral.to_dict().items() if k not in ("cutoff", "log_odds")}
    with pytest.raises(ValueError, match="missing are log_odds, unknown threshold"):
        classify.Referral.from_dict(values | {"threshold": 0.5})


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"positive": ["wart"]}, ValueError, "there is no class 'wart' among bcc, mel, nv"),
        ({"positive": []}, ValueError, "must name some of the classes bcc, mel, nv, not none"),
        ({"positive": "mel"}, TypeError, r"positive must be names, such as .*, not 'mel'"),
        ({"classes": [1, 2, "mel"]}, TypeError, "classes must be names, such as"),
        ({"log_odds": "1"}, TypeError, "log_odds must be a number, not str"),
        ({"log_odds": True}, TypeError, "log_odds must be a number, not bool"),
        ({"log_odds": np.nan}, ValueError, "log_odds must be finite, not nan"),
        ({"log_odds": np.inf}, ValueError, "log_odds must be finite, not inf"),
        ({"log_odds": 10**400}, ValueError, "log_odds must be finite, not 1000"),
        ({"sensitivity": "high"}, TypeError, "sensitivity must be a number, not str"),
        ({"units": None}, TypeError, "units must be a number, not None"),
        ({"assurance": "x"}, TypeError, "assurance must be a number, not str"),
        ({"sensitivity": 7.0}, ValueError, r"sensitivity must lie in \[0, 1\], not 7"),
        ({"assurance": 55}, ValueError, r"assurance must lie in \[0, 1\], not 55"),
        ({"units": -1}, ValueError, "units must not be negative, not -1"),
        ({"goal": "banana"}, ValueError, "goal must be sensitivity or specificity, not 'banana'"),
        ({"unit": 3}, ValueError, "unit must be lesions or pictures, not 3"),
        ({"classes": ["bcc", "mel", "mel"]}, ValueError, "classes must be different names"),
        ({"positive": ["mel", "mel"]}, ValueError, "positive must be different names"),
        ({"cutoff": 0.01}, ValueError, "cutoff is 0.01, but the log_odds of .* decide"),
        ({"cutoff": "low"}, TypeError, "cutoff must be a number, not str"),
    ],
)
def test_a_referral_that_was_edited_is_looked_at(wrong, error, message):
    logits, labels = _case(1)
    kept = classify.choose_cutoff(
        logits, labels, classes=CLASSES, positive="mel", sensitivity=0.9
    ).to_dict()
    with pytest.raises(error, match=message):
        classify.Referral.from_dict(kept | wrong)
    with pytest.raises(TypeError, match="a referral must be a mapping, not int"):
        classify.Referral.from_dict(3)
