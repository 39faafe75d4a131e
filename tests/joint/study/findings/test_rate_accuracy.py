import json
import math

import pytest
from scipy import stats

import joint
from joint.study import Axis, Plan, create_study
from joint.study.findings.rate_accuracy import rate_accuracy


@pytest.fixture(scope="module")
def codecs(small_study, small_base, pretend, tmp_path_factory):
    """JPEG, WebP that needs half of its bits, and k-means that is worse; frozen or not."""
    values = [
        {"kind": kind, name: number}
        for kind, name, numbers in (
            ("jpeg", "quality", (2, 10, 40, 75, 95)),
            ("webp", "quality", (2, 10, 40, 75, 95)),
            ("kmeans", "colors", (2, 4)),
        )
        for number in numbers
    ]
    labels = [" ".join(map(str, value.values())) for value in values]
    axes = {
        "codec": Axis(path="system.codec", values=tuple(values), labels=tuple(labels)),
        "price": Axis(path="objective.rate", values=(0.0,)),
        "plan": Axis(path="training.plan", values=("joint", "frozen")),
    }
    base = small_base()
    judge = joint.ClassifierConfig(weights="trained.safetensors")  # which is frozen
    system = joint.SystemConfig(front_end=joint.NoneConfig(), classifier=judge)
    base = base.model_copy(update={"system": system})
    study = small_study(base=base, axes=axes, plan=Plan(resamples=100), seeds=tuple(range(7)))
    ledger = create_study(study, tmp_path_factory.mktemp("codecs"))
    for run in ledger.runs:
        kind, number = ledger.designs[run.design]["codec"].split()
        rank = (2, 10, 40, 75, 95).index(int(number)) if kind != "kmeans" else int(number) // 4
        bits = 1000.0 * 2**rank * (0.5 if kind == "webp" else 1)
        pretend(ledger, run, 0.45 + 0.12 * rank - 0.1 * (kind == "kmeans"), bits=bits + run.seed)
    return ledger


@pytest.fixture(scope="module")
def found(codecs):
    """What their 168 runs come to."""
    return rate_accuracy(codecs)


def test_families_are_what_differs_in_the_codec_alone(found):
    names = [family.name for family in found.families]
    assert sorted(names) == sorted(
        f"{kind}, plan={plan}"
        for kind in ("jpeg", "webp", "kmeans")
        for plan in ("joint", "frozen")
    )
    jpeg = next(f for f in found.families if f.name == "jpeg, plan=joint")
    assert [point.rate for point in jpeg.points] == [1003, 2003, 4003, 8003, 16003]
    first = jpeg.points[0]
    reach = stats.t.ppf(0.975, 6) * math.sqrt(28 / 6 / 7)  # bits 1000 to 1006
    assert first.rate_interval == pytest.approx((1003 - reach, 1003 + reach))
    assert first.interval.low < first.accuracy < first.interval.high
    assert found.anchor == "jpeg, plan=joint"
    # Each is compared with the JPEG that was trained as it was.
    anchors = {each.family: each.anchor for each in found.differences}
    assert anchors["webp, plan=frozen"] == "jpeg, plan=frozen"
    assert "jpeg, plan=joint" not in anchors


def test_half_the_bits_are_found_with_an_interval(found):
    webp = next(each for each in found.differences if each.family == "webp, plan=joint")
    assert webp.rate == pytest.approx(-50, abs=1)
    assert webp.rate_interval.low <= webp.rate <= webp.rate_interval.high < 0
    assert webp.verdict == "fewer bits"
    # The smallest of a sign-flip test of seven seeds, of three differences that have an interval.
    assert webp.rate_p == pytest.approx(3 * 2 / 2**7)
    assert webp.rate_known == 1
    kmeans = next(each for each in found.differences if each.family == "kmeans, plan=joint")
    assert math.isnan(kmeans.rate)
    assert "has 2 points" in kmeans.rate_reason
    assert kmeans.verdict == "not shown"
    text = str(found)
    assert "webp, plan=joint against jpeg, plan=joint: -49.9" in text
    assert "], fewer bits, p = 0.0469; balanced_accuracy +" in text
    assert "none (the curve" in text
    assert json.loads(json.dumps(found.to_dict()))["differences"][0]["family"]


def test_noise_of_seeds_on_lesions_counts_as_in_other_intervals(codecs, found, monkeypatch):
    """Draws of both have it three times, which made the intervals wider than those of a mean."""

    def width(found):
        (webp,) = (each for each in found.differences if each.family == "webp, plan=joint")
        return webp.accuracy_interval.high - webp.accuracy_interval.low

    monkeypatch.setattr("joint.study.findings.rate_accuracy.variance_of", lambda both, *_: both)
    assert 0 < width(found) < 0.9 * width(rate_accuracy(codecs))


def test_few_seeds_have_the_interval_of_student_and_show_nothing(small_study, pretend, tmp_path):
    values = [
        {"kind": kind, "quality": quality}
        for kind in ("jpeg", "webp")
        for quality in (10, 40, 75, 95)
    ]
    labels = [f"{value['kind']} {value['quality']}" for value in values]
    axes = {"codec": Axis(path="system.codec", values=tuple(values), labels=tuple(labels))}
    plan = Plan(resamples=100)
    ledger = create_study(small_study(axes=axes, plan=plan, seeds=(0, 1, 2)), tmp_path)
    for run in ledger.runs:
        rank, webp = run.design % 4, run.design > 3
        bits = 1000.0 * 2**rank * ((0.5 + 0.025 * (run.seed - 1)) if webp else 1)
        pretend(ledger, run, 0.45 + 0.12 * rank, bits=bits)  # as accurate as the other
    found = rate_accuracy(ledger)
    (webp,) = found.differences
    reach = stats.t.ppf(0.975, 2) * 0.05 / math.sqrt(3)
    wanted = 100 * (0.5 * math.exp(-reach) - 1), 100 * (0.5 * math.exp(reach) - 1)
    assert webp.rate == pytest.approx(-50)
    assert webp.rate_interval == pytest.approx(wanted, abs=1)  # percentiles: -52.5 to -47.5
    assert webp.rate_p == 0.25
    assert webp.verdict == "not shown"
    assert "], not shown, p = 0.25; " in str(found)


def test_bad_questions_are_refused(codecs):
    with pytest.raises(ValueError, match="needs a metric that grows, not 'nll'"):
        rate_accuracy(codecs, metric="nll")
    with pytest.raises(ValueError, match="no axis 'rate': choose from codec, price, plan"):
        rate_accuracy(codecs, along=["rate"])
    with pytest.raises(ValueError, match="no family 'png': choose from 'jpeg, plan=joint'"):
        rate_accuracy(codecs, anchor="png")


def test_a_family_may_run_along_other_axes(codecs):
    found = rate_accuracy(codecs, along=["codec", "price", "plan"], anchor="webp")
    assert [family.name for family in found.families] == ["jpeg", "webp", "kmeans"]
    assert found.anchor == "webp"
    assert len(found.families[0].points) == 10


def test_an_axis_that_changes_more_than_the_rate_is_no_way_along_a_curve(
    small_study, small_base, pretend, tmp_path
):
    system = joint.SystemConfig(front_end=joint.NoneConfig())  # and a codec that learns
    base = small_base().model_copy(update={"system": system})
    rate = Axis(path="objective.rate", values=(0.1, 1))
    axes = {"rate": rate, "light": Axis(values=(50, 500))}

    def families(**more):
        derived = {"system.sensor.photons": "light", **more}
        study = small_study(
            base=base, axes=axes, derived=derived, plan=Plan(resamples=100), seeds=(0, 1)
        )
        ledger = create_study(study, tmp_path / str(len(derived)))
        for run in ledger.runs:
            pretend(ledger, run, 0.7, bits=100.0 + run.design)
        return [family.name for family in rate_accuracy(ledger).families]

    assert families() == ["factorized, light=50", "factorized, light=500"]
    assert len(families(**{"system.sensor.bit_depth": "round(8 + rate)"})) == 4


def test_a_study_that_has_not_begun_has_no_curves(ledger):
    found = rate_accuracy(ledger)
    assert found.families == ()
    assert found.anchor is None
    assert "exploration" in str(found)


def test_other_curves_of_the_codec_of_the_anchor_are_compared_with_it(found):
    anchors = {each.family: each.anchor for each in found.differences}
    assert anchors["jpeg, plan=frozen"] == "jpeg, plan=joint"
    assert len(anchors) == len(found.families) - 1
    frozen = next(each for each in found.differences if each.family == "jpeg, plan=frozen")
    assert frozen.rate == pytest.approx(0, abs=1)


def test_codecs_of_ones_own_are_told_apart_by_their_class(small_study, pretend, tmp_path):
    values = [
        {"kind": "custom", "class_path": f"mylab.codecs.{name}", "init_args": {"quality": quality}}
        for name in ("First", "Second")
        for quality in (1, 2)
    ]
    labels = [f"{value['class_path'][-1]}{value['init_args']['quality']}" for value in values]
    axes = {"codec": Axis(path="system.codec", values=tuple(values), labels=tuple(labels))}
    ledger = create_study(small_study(axes=axes, plan=Plan(), seeds=(0, 1)), tmp_path)
    for run in ledger.runs:
        pretend(ledger, run, 0.5 + 0.1 * run.design, bits=100.0 + run.design)
    found = rate_accuracy(ledger, resamples=20)
    told = [(f.name, [point.design for point in f.points]) for f in found.families]
    assert told == [
        ("custom mylab.codecs.First", [0, 1]), ("custom mylab.codecs.Second", [2, 3]),
    ]  # fmt: skip
