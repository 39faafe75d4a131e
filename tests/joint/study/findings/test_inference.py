import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from classify import report
from joint.judge.metric import range_of
from joint.saved.predictions import Predictions
from joint.study import Outcome, compare, estimate, infer, resample
from joint.study.findings.inference import merged_notes, variance_of
from joint.study.findings.lesion_units import units


def test_what_lesions_leave_is_told_from_what_seeds_do():
    # A lesion is easy or hard for good, with chances of 0.8 and 0.2: their variance, 0.09, lasts,
    # and that of each seed on each lesion, 0.16, does not.
    generator = np.random.default_rng(0)
    labels, names = np.arange(600) % 2, tuple(map(str, range(600)))
    chance = generator.permutation(np.repeat([0.2, 0.8], 300))

    def run(seed):
        right = generator.random(600) < chance
        logits = np.eye(2)[np.where(right, labels, 1 - labels)]
        part = Predictions(("a", "b"), names, names, labels, logits)
        return Outcome(seed, float(right.mean()), part)

    spread = infer([run(seed) for seed in range(3)], metric="accuracy").spread
    assert spread.lasting == pytest.approx(0.09 / 600, rel=0.2)
    assert spread.of_lesions == pytest.approx((0.09 + 0.16 / 3) / 600, rel=0.2)
    many = spread.on(100)
    assert many.of_lesions == pytest.approx((0.09 + 0.16 / 100) / 600, rel=0.2)
    assert many.of_seeds == pytest.approx(spread.of_seeds * 3 / 100)
    # What three seeds have beyond both is of 2 / 99 times 3 / 100 on a hundred.
    beyond = spread.variance - spread.of_seeds - spread.of_lesions
    assert many.variance - many.of_seeds - many.of_lesions == pytest.approx(
        beyond * 2 / 99 * 3 / 100
    )
    assert beyond > 0.05 * spread.variance
    assert many.lasting == spread.lasting < many.variance < spread.variance
    assert spread.on(3).variance == pytest.approx(spread.variance)
    assert spread.on(3).freedom == pytest.approx(spread.freedom)
    # That noise is in both parts, and once more over two in what is drawn thrice.
    twice = spread.of_seeds + spread.of_lesions
    assert spread.variance == pytest.approx(twice + 0.16 / 3 / 600 / 2, rel=0.04)


def test_the_luck_of_seeds_on_lesions_is_not_counted_three_times():
    assert variance_of(0.6, 0.2, 0.2, 2) == pytest.approx(0.6)  # of few seeds it makes up for t
    assert variance_of(0.6, 0.2, 0.2, 6) == pytest.approx(0.44)
    assert variance_of(0.3, 0.2, 0.2, 6) == pytest.approx(0.4)  # drawn too small, by chance


@pytest.mark.parametrize(
    "metric",
    [
        "recall.b", "accuracy", "balanced_accuracy", "macro_f1", "average_precision", "auc.a",
        "auc.b", "specificity.a", "specificity.b", "macro_specificity", "auc", "sensitivity",
    ],
)  # fmt: skip
@pytest.mark.parametrize("counts", [(40, 20), (60, 3), (60, 20, 3)])
def test_seeds_without_an_error_leave_as_much_open_as_a_report(metric, counts):
    """Six seeds right on all 20 lesions had a recall of 1.00 [1.00, 1.00]."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names, classes = tuple(map(str, range(len(labels)))), tuple("abc"[: len(counts)])
    eye = np.eye(len(counts))
    part = Predictions(classes, names, names, labels, 3.0 * eye[labels])
    wanted = report(part.logits, labels, classes=classes, groups=names, resamples=100)
    runs = [Outcome(seed, 1.0, part) for seed in range(6)]
    found = infer(runs, metric=metric, resamples=100)
    # The AUCs of two classes are one number, of as many pairs.
    same = "auc.a" if metric == "auc" and len(counts) == 2 else metric
    assert found.interval == pytest.approx(wanted.interval(same))
    assert "widened" in found.note
    rare = {"accuracy": False, "recall.b": counts[1] < 10, "auc.a": counts == (60, 3)}
    rare |= {"specificity.a": counts == (60, 3), "specificity.b": False}
    rare |= {"auc.b": counts[1] < 10, "macro_specificity": counts == (60, 3)}
    assert ("too narrow" in found.note) == rare.get(metric, min(counts) < 10)
    assert resample({0: runs}, metric=metric, resamples=100).of(0) == replace(found, spread=None)
    if len(counts) == 2 and metric != "average_precision":
        # All wrong is the same from the other end, as the share of errors is.
        wrong = replace(part, logits=3.0 * eye[1 - labels])
        failed = infer([Outcome(i, 0.0, wrong) for i in range(6)], metric=metric, resamples=100)
        assert failed.interval == pytest.approx((0.0, 1 - found.interval.low))
    # A difference is no share, and has a note alone.
    between = infer(runs, runs, metric=metric, resamples=100)
    assert between.interval == (0, 0)
    assert ("zero width" in between.note) != ("too narrow" in between.note)


def test_the_interval_of_a_share_near_one_covers_it():
    """At a recall of 0.97 in 20 lesions the draws of six seeds alone did in 0.69."""
    generator, covered, rounds = np.random.default_rng(2), 0, 100
    labels, names = np.repeat([0, 1], [40, 20]), tuple(map(str, range(60)))
    spread = 1.0  # of a seed on a lesion; lesions are as hard as they are for nine times as much
    truth, limit = 0.97, stats.norm.ppf(0.97) * math.sqrt(10)
    for _ in range(rounds):
        own = 3 * generator.normal(size=60)
        runs = []
        for seed in range(6):
            right = own + spread * generator.normal(size=60) < limit
            logits = np.eye(2)[np.where(right, labels, 1 - labels)]
            part = Predictions(("a", "b"), names, names, labels, logits)
            runs.append(Outcome(seed, float(right[labels == 1].mean()), part))
        low, high = infer(runs, metric="recall.b", resamples=50).interval
        covered += low <= truth <= high
    assert covered / rounds > 0.92


@pytest.mark.parametrize(
    "metric", ["accuracy", "recall.b", "specificity.b", "balanced_accuracy", "auc.a", "auc"]
)
def test_lesions_of_many_pictures_leave_as_much_open_as_a_report_says(metric):
    """Ends counted all lesions, and an accuracy that 4 of 40 decide was in them in 0.36."""
    sizes = np.where(np.arange(40) % 10 == 3, 30, 1)
    labels, lesions = (np.repeat(each, sizes) for each in (np.arange(40) % 2, np.arange(40)))
    names = tuple(map(str, range(len(labels))))
    part = Predictions(("a", "b"), names, tuple(map(str, lesions)), labels, np.eye(2)[labels])
    wanted = report(
        part.logits, labels, classes=part.classes, groups=part.groups, resamples=100
    ).interval("auc.a" if metric == "auc" else metric)
    runs = [Outcome(seed, 1.0, part) for seed in range(6)]
    assert [*infer(runs, metric=metric, resamples=100).interval] == pytest.approx([*wanted])
    found = units(part, "accuracy")
    assert found.counts == (40,)
    assert found.equal == (pytest.approx(156**2 / (4 * 30**2 + 36)),)
    assert found.telling == 40  # of the spread they tell as they did
    assert found.as_one_class(0.9) == pytest.approx(found.equal[0])


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_without_lesions_all_of_the_variance_falls_with_the_seeds(metric):
    values = [0.5, 0.7, 0.6]
    spread = infer([Outcome(i, v) for i, v in enumerate(values)], metric=metric).spread
    assert spread.on(12).error == pytest.approx(np.std(values, ddof=1) / math.sqrt(12))
    assert spread.on(12).freedom == pytest.approx(11)


@pytest.mark.parametrize(("seed_spread", "design_spread"), [(0.02, 1.0), (0.3, 0.5), (0.6, 0.05)])
def test_the_interval_covers_as_often_as_it_says(seed_spread, design_spread, world):
    # From designs that differ by lesions alone to such that differ by the luck of seeds alone.
    generator = np.random.default_rng(3)
    rounds = 200
    covered = 0
    for _ in range(rounds):
        first, second = world(
            generator, seeds=6, lesions=40, seed_spread=seed_spread, design_spread=design_spread
        )
        low, high = infer(first, second, metric="balanced_accuracy", resamples=100).interval
        covered += low <= 0 <= high
    assert covered / rounds > 0.92


def test_without_predictions_it_is_the_t_interval():
    values = [1.0, 2.5, 3.0, 2.0, 4.0]
    found = infer([Outcome(i, v) for i, v in enumerate(values)], metric="loss", level=0.9)
    theirs = stats.ttest_1samp(values, 0)
    assert found.unit == "seeds"
    assert found.mean == pytest.approx(2.5)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval(0.9)))
    assert found.p == pytest.approx(theirs.pvalue)


def test_differences_are_those_of_the_paired_test():
    first, second = [0.9, 0.8, 0.85, 0.95], [0.7, 0.75, 0.8, 0.7]
    runs = [[Outcome(i, v) for i, v in enumerate(values)] for values in (first, second)]
    found = infer(*runs, metric="loss")
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_what_is_no_pairs_is_refused():
    runs = [Outcome(i, 0.5 + i) for i in range(3)]
    for others in (runs[:2], runs[::-1]):
        with pytest.raises(ValueError, match=r"in pairs, but their seeds are \[0, 1, 2\] and"):
            infer(runs, others, metric="loss")


@pytest.mark.parametrize(
    ("metric", "values", "end"),
    [
        ("ece", (0.001, 0.001, 0.06), 0),
        ("nll", (0.01, 0.01, 0.6), 0),
        ("brier", (1.99, 1.99, 1.5), 2),
        ("bpp", (0.01, 0.01, 0.3), 0),
        ("mcc", (-0.99, -0.99, -0.5), -1),
        ("psnr", (0.1, 0.1, 3), None),
    ],
)
def test_an_interval_ends_where_its_number_does(metric, values, end):
    runs = [Outcome(i, value) for i, value in enumerate(values)]
    interval = infer(runs, metric=metric).interval
    error = stats.sem(values) * stats.t.ppf(0.975, 2)
    free = (np.mean(values) - error, np.mean(values) + error)
    assert interval == pytest.approx(tuple(np.clip(free, *range_of(metric))))
    assert end is None or end in interval
    # A difference goes both ways, as far as the range is wide.
    shifted = [Outcome(i, 0.0) for i in range(3)]
    width = np.subtract(*reversed(range_of(metric)))
    between = infer(runs, shifted, metric=metric).interval
    assert between == pytest.approx(tuple(np.clip(free, -width, width)))


def test_no_difference_is_wider_than_what_its_number_can_be():
    """Two seeds know little of their spread: Student's t alone reached to 1.2 of shares."""
    one, other = ([Outcome(i, v) for i, v in enumerate(own)] for own in ((0.2, 0.9), (0.8, 0.5)))
    theirs = stats.ttest_rel((0.2, 0.9), (0.8, 0.5)).confidence_interval(0.95)
    assert theirs.low < -1 < 1 < theirs.high
    assert infer(one, other, metric="accuracy").interval == (-1, 1)
    assert infer(one, other, metric="psnr").interval == pytest.approx(tuple(theirs))
    # A cut on one side only, and what has no end stays as it is.
    close = [Outcome(i, v) for i, v in enumerate((0.1, 0.0))]
    apart = infer([Outcome(0, 0.9), Outcome(1, 0.95)], close, metric="accuracy").interval
    assert apart.high == 1
    assert -1 < apart.low < 0.875


def test_seeds_that_agree_leave_the_spread_of_the_lesions(outcome):
    # One and the same classifier on six seeds: the spread is that of a share of lesions.
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    margins = generator.normal(0.7, 1, 400)
    groups = [f"lesion{i}" for i in range(400)]
    runs = [outcome(seed, margins, labels, groups) for seed in range(6)]
    found = infer(runs, metric="accuracy", resamples=4000)
    share = (margins > 0).mean()
    half = stats.norm.ppf(0.975) * math.sqrt(share * (1 - share) / 400)
    low, high = found.interval
    assert found.unit == "seeds and lesions"
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


def test_pictures_of_one_lesion_are_one_piece_of_evidence(outcome):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(50) % 2, 4)
    margins = np.repeat(generator.normal(0.5, 1, 50), 4)

    def width(groups):
        runs = [outcome(seed, margins, labels, groups) for seed in range(6)]
        low, high = infer(runs, metric="accuracy", resamples=2000).interval
        return high - low

    together = width(np.repeat([f"lesion{i}" for i in range(50)], 4))
    apart = width([f"picture{i}" for i in range(200)])
    assert together == pytest.approx(2 * apart, rel=0.1)


def test_seeds_widen_the_interval_where_all_lesions_are_alike(outcome):
    # Each seed is right on all lesions or on none of a class: only the seeds differ.
    labels, groups = np.arange(40) % 2, [f"lesion{i}" for i in range(40)]
    runs = [
        outcome(seed, np.where(labels == 0, 1.0, sign), labels, groups)
        for seed, sign in enumerate([1, 1, -1, 1, -1, 1])
    ]
    values = [run.value for run in runs]
    low, high = infer(runs, metric="balanced_accuracy", resamples=5000, level=0.5).interval
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.5)
    assert (high - low) == pytest.approx(theirs.high - theirs.low, rel=0.05)


def test_a_draw_without_a_class_says_nothing_of_it(outcome):
    # One lesion of the second class, and one of the first that is taken for the second.
    labels = np.array([0] * 9 + [1])
    right = np.array([False] + [True] * 9)
    margins = np.where(right, 1.0, -1.0)
    runs = [outcome(seed, margins, labels, list("abcdefghij")) for seed in range(6)]
    low, _ = infer(runs, metric="macro_recall", resamples=4000, level=0.5).interval
    generator = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        rows = generator.integers(0, 10, 10)
        recalls = [right[rows][labels[rows] == k] for k in (0, 1)]
        means.append(np.mean([recall.mean() for recall in recalls if len(recall)]))
    # The single lesion has no spread: it varies as the nine do, each by 1/9 of it in their recall.
    half = stats.t.ppf(0.75, (1 / 9 + 1) ** 2 / ((1 / 9) ** 2 / 8 + 1)) * np.std(means)
    half *= math.sqrt((1 / 9 + 1) / (1 / 9))
    center = np.mean([8 / 9, 1])
    assert low == pytest.approx(center - half, rel=0.02)


def _rare(generator, *, lesions, classes=("a", "b", "rare"), skill=1.2):
    """Runs on two classes of 40 lesions and a rare one; each lesion is right as often as told."""
    labels = np.concatenate([np.repeat([0, 1], 40), np.full(lesions, 2)])
    names = tuple(map(str, range(len(labels))))
    spread = math.sqrt(1 + 1 + 1.5**2)
    own = generator.normal(skill * spread, math.sqrt(spread**2 - 1), len(labels))
    found = []
    for seed in range(6):
        right = own + generator.normal(0, 1, len(labels)) > 0
        logits = 4.0 * np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
        value = float(np.mean([right[labels == k].mean() for k in range(3)]))
        found.append(Outcome(seed, value, Predictions(classes, names, names, labels, logits)))
    return found


@pytest.mark.parametrize("lesions", [3, 8])
def test_the_interval_covers_where_a_class_is_rare(lesions):
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(1.2)
    rounds, covered = 200, 0
    for _ in range(rounds):
        runs = _rare(generator, lesions=lesions)
        low, high = infer(runs, metric="balanced_accuracy", resamples=100).interval
        covered += low <= truth <= high
    assert covered / rounds > 0.915  # 0.95 less two standard errors


def test_one_lesion_says_nothing_of_others():
    labels = np.array([0] * 4 + [1] * 8)
    groups = ("mole",) * 4 + tuple(f"lesion{i}" for i in range(8))
    names = tuple(map(str, range(12)))

    def runs(right):
        logits = np.eye(2)[np.where(np.arange(12) < right, labels, 1 - labels)]
        part = Predictions(("a", "b"), names, groups, labels, logits)
        return [Outcome(seed, right / 12 + 0.001 * seed, part) for seed in range(8)]

    first, second = runs(12), runs(0)
    found = infer(first, second, metric="recall.a")
    assert (found.interval, found.p) == (None, 1.0)
    assert found.note == "class a has 1 lesion to test on, which says nothing of others"
    assert resample({0: first}, metric="recall.a", resamples=10).of(0).interval is None
    judged = compare(first, second, metric="recall.a")
    assert judged.verdict == f"not shown: {found.note}"
    assert infer(first, second, metric="accuracy").interval is not None
    # All in one patient: no number of seeds makes up for the others.
    alone = [
        replace(run, predictions=replace(run.predictions, groups=("p",) * 12)) for run in first
    ]
    found = infer(alone, metric="accuracy")
    assert found.interval is None
    assert found.note == "the test part has 1 lesion to test on, which says nothing of others"
    assert infer(alone, metric="macro_f1").note.startswith("each class has 1 lesion to")


@pytest.mark.parametrize(("lesions", "shown"), [(3, False), (5, False), (6, True)])
def test_few_lesions_of_a_class_show_no_difference_of_it(lesions, shown):
    labels = np.array([0] * lesions + [1] * 40)
    names = tuple(map(str, range(len(labels))))

    def runs(right):
        logits = np.eye(2)[np.where((labels == 1) | right, labels, 1 - labels)]
        part = Predictions(("a", "b"), names, names, labels, logits)
        return [Outcome(seed, float(right) + 0.001 * seed, part) for seed in range(10)]

    found = compare(runs(True), runs(False), metric="recall.a", planned=True)
    assert found.interval_p == max(
        2.0 ** (1 - lesions), infer(runs(True), runs(False), metric="recall.a").p
    )
    assert (found.verdict == "better") == shown
    if not shown:
        wanted = 1 - math.log2(0.05)
        assert found.more_lesions == pytest.approx(wanted / lesions)
        assert found.needed is None
        assert "too few lesions to test on" in str(found)
    assert compare(runs(True), runs(False), metric="accuracy").interval_p < 2.0 ** (1 - lesions)


def test_a_rare_class_without_a_spread_does_not_make_the_interval_endless():
    """Three seeds on 31 lesions, as a user had: the interval spanned everything that can be."""
    counts, generator = (10, 7, 5, 4, 2, 2, 1), np.random.default_rng(0)
    labels = np.repeat(np.arange(7), counts)
    names = tuple(map(str, range(31)))
    runs = []
    for seed in range(3):
        logits = generator.normal(0, 1, (31, 7))
        logits[:, 0] += 1
        right = logits.argmax(1) == labels
        value = np.mean([right[labels == k].mean() for k in range(7)])
        part = Predictions(tuple("abcdefg"), names, names, labels, logits)
        runs.append(Outcome(seed, float(value), part))
    low, high = infer(runs, metric="balanced_accuracy").interval
    assert high - low < 0.6
    # Drawn with other designs it is the same, but for the draws.
    drawn = resample({0: runs}, metric="balanced_accuracy").of(0)
    assert drawn.interval.high == pytest.approx(high, abs=0.02)


def test_notes_of_designs_are_told_once_and_of_which():
    notes = {4: ["few", "few; wide"], 1: ["few"], 7: ["few; wide", None], 2: ["few"]}
    assert merged_notes(notes) == ["few", "designs 4, 7: wide"]
    assert merged_notes({3: [None], 5: ["wide"]}) == ["design 5: wide"]
    assert merged_notes({}) == []
    many = merged_notes({n: ["wide" if n < 12 else None] for n in range(20)})
    assert many == ["designs 0, 1, 2, 3, 4, 5, 6, 7 and 4 more: wide"]


def test_few_lesions_of_a_class_are_told():
    generator = np.random.default_rng(0)
    rare = _rare(generator, lesions=4)
    told = "class rare has 4 lesions in the test part: intervals may be too narrow"
    assert infer(rare, metric="balanced_accuracy", resamples=100).note == told
    assert infer(rare, rare, metric="auc", resamples=100).note == told
    # Where all pictures weigh the same, a rare class hardly counts.
    assert infer(rare, metric="accuracy", resamples=100).note is None
    enough = _rare(generator, lesions=10)
    assert infer(enough, metric="balanced_accuracy", resamples=100).note is None
    single = _rare(generator, lesions=1)
    told_of_one = (
        "class rare has 1 lesion in the test part, whose spread is estimated from the other "
        "classes: intervals may be too narrow"
    )
    assert infer(single, metric="balanced_accuracy", resamples=100).note == told_of_one
    # Passed on to people.
    assert estimate(rare, resamples=100).note == told
    other = _rare(generator, lesions=4, skill=0.5)
    contrast = compare(rare, other, resamples=100)
    assert contrast.to_dict()["note"] == told
    assert str(contrast).endswith(told)


def test_a_share_stays_a_share():
    runs = [Outcome(seed, value) for seed, value in enumerate([0.0, 1.0, 1.0])]
    assert infer(runs, metric="accuracy").interval == (0, 1)


def test_few_values_have_no_interval():
    assert infer([], metric="loss").mean is None
    alone = infer([Outcome(0, 0.5)], metric="accuracy")
    assert (alone.mean, alone.interval, alone.p) == (0.5, None, 1.0)
    same = infer([Outcome(0, 0.5), Outcome(1, 0.5)], metric="loss")
    assert same.interval == (0.5, 0.5)
    assert same.p == 0


def test_draws_come_from_the_generator(world):
    generator = np.random.default_rng(3)
    first, second = world(generator, seeds=6, lesions=20, seed_spread=0.3, design_spread=0.5)

    def found(seed):
        source = torch.Generator().manual_seed(seed)
        return infer(first, second, metric="accuracy", resamples=50, generator=source)

    assert found(1) == found(1) != found(2)


def test_other_pictures_are_no_pairs(outcome):
    labels, groups = np.arange(6) % 2, list("abcdef")
    one = outcome(0, np.ones(6), labels, groups)
    other = outcome(1, np.ones(6), 1 - labels, groups)
    with pytest.raises(ValueError, match=r"tested on different pictures \(6 and 6"):
        infer([one, other], metric="accuracy")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_diverged_has_no_number(value):
    # As a number it would have the p of a certainty: 0.
    with pytest.raises(ValueError, match=r"seed 3 is (nan|inf): .* None for a run that diverged"):
        Outcome(3, value)


def test_what_has_no_interval_is_refused(outcome):
    runs = [Outcome(i, 0.5 + i) for i in range(3)]
    for level in (0, 1, math.nan):
        with pytest.raises(ValueError, match=r"level in \(0, 1\)"):
            infer(runs, metric="loss", level=level)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        infer(runs, metric="loss", resamples=0)
    with pytest.raises(ValueError, match="metric 'los' is unknown"):
        infer(runs, metric="los")
    with pytest.raises(ValueError, match="seed 0 occurs twice"):
        infer([runs[0], runs[0]], metric="loss")


def test_other_lesions_are_no_pairs(outcome):
    # They would be drawn as those of whichever is named first.
    labels, margins = np.arange(6) % 2, np.ones(6)
    one, other = (
        [outcome(seed, margins, labels, [f"{word}{i}" for i in range(6)]) for seed in range(3)]
        for word in ("lesion", "patient")
    )
    with pytest.raises(ValueError, match="or with other labels or lesions"):
        infer(one, other, metric="accuracy", resamples=100)


@pytest.mark.parametrize(
    ("metric", "theirs"), [("mcc", matthews_corrcoef), ("cohen_kappa", cohen_kappa_score)]
)
def test_what_may_be_below_chance_is_not_cut_at_it(outcome, metric, theirs):
    """An interval of a coefficient ends at -1: cut at 0, it would not hold its own mean."""
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 2
    groups = [f"lesion{i}" for i in range(120)]
    runs = []
    for seed in range(6):
        run = outcome(seed, generator.normal(-0.3, 1, 120), labels, groups)
        value = float(theirs(labels, run.predictions.logits.argmax(1)))
        runs.append(Outcome(seed, value, run.predictions))
    mean = np.mean([run.value for run in runs])
    draws = resample({0: runs, 1: runs}, metric=metric, resamples=200)
    for found in (infer(runs, metric=metric, resamples=200), draws.of(0)):
        assert found.mean == pytest.approx(mean)
        assert -1 <= found.interval.low < mean < found.interval.high < 0


def test_an_interval_without_a_width_says_so(outcome):
    labels, groups = np.arange(40) % 2, [f"lesion{i}" for i in range(40)]
    perfect = [outcome(seed, np.ones(40), labels, groups) for seed in range(6)]
    found = infer([replace(run, value=1.0) for run in perfect], metric="mcc", resamples=100)
    assert found.interval == (1, 1)
    assert "all seeds and lesions gave the same" in found.note
    runs = {0: [replace(run, value=1.0) for run in perfect]}
    assert resample(runs, metric="mcc", resamples=100).of(0).note == found.note
    assert "gave the same" in str(compare(perfect, perfect, metric="accuracy", resamples=100))
    one = outcome(6, np.where(np.arange(40) < 3, -1, 1), labels, groups)
    again = [*perfect, replace(perfect[0], seed=6)]
    assert infer([*perfect, one], again, metric="accuracy", resamples=100).note is None


def test_a_class_rests_on_its_own_lesions():
    # The recall of a class is the accuracy on its pictures, whose lesions alone are drawn there.
    runs = _rare(np.random.default_rng(0), lesions=30)
    alone = []
    for run in runs:
        whole = run.predictions
        of = whole.labels == 2
        names = tuple(name for name, own in zip(whole.groups, of, strict=True) if own)
        few = Predictions(whole.classes, names, names, whole.labels[of], whole.logits[of])
        alone.append(Outcome(run.seed, float((few.logits.argmax(1) == 2).mean()), few))
    of_class = [
        Outcome(run.seed, one.value, run.predictions) for run, one in zip(runs, alone, strict=True)
    ]
    found = infer(of_class, metric="recall.rare", resamples=8000)
    expected = infer(alone, metric="accuracy", resamples=8000)
    assert found.mean == expected.mean
    # Of 110 lesions 30 +- 4.7 are drawn, whose mean of 1/n is 1 + 0.7 / 30 times 1/30; and the
    # spread of 8000 draws is known to 0.8 %.
    widths = [each.interval.high - each.interval.low for each in (found, expected)]
    assert widths[0] == pytest.approx(math.sqrt(1 + 0.7 / 30) * widths[1], rel=0.03)
    assert found.note is None
    single = _rare(np.random.default_rng(0), lesions=1)
    told = "class rare has 1 lesion to test on, which says nothing of others"
    assert infer(single, metric="recall.rare", resamples=100).note == told
    assert infer(single, metric="recall.a", resamples=100).note is None
