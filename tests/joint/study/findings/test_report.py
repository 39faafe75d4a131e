import csv
import io
import json
import math
from dataclasses import replace
from textwrap import indent

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import recall_score

import joint
from classify import Interval
from joint.saved.folder import RunFolder
from joint.saved.predictions import load_predictions
from joint.study import (
    Axis,
    Comparison,
    Plan,
    compare_designs,
    confirm,
    create_study,
    expected_maximum,
    fronts,
    holm,
    outcomes,
    report,
    resample,
    rows,
    study_html,
    to_csv,
)
from joint.study.attempt import RunAbandoned
from joint.study.page.exploration import designs


def test_what_was_planned_is_apart_from_what_was_found(finished):
    found = report(finished)
    assert [contrast.name for contrast in found.planned] == [
        "light=5000 against light=50 at depth=4",
        "light=5000 against light=50 at depth=8",
    ]
    assert [contrast.verdict for contrast in found.planned] == ["better", "better"]
    # Two comparisons share their error.
    larger = [max(contrast.p, contrast.interval_p) for contrast in found.planned]
    assert [contrast.adjusted_p for contrast in found.planned] == pytest.approx(holm(larger))
    assert found.planned[0].adjusted_p == pytest.approx(2 * larger[0])
    text = str(found)
    planned, explored = text.index("planned before the first run"), text.index("exploration:")
    assert planned < text.index(": better") < explored
    assert "better" not in text[explored:]
    details = text[planned:explored].splitlines()[2:4]
    assert all(line.startswith("    ") for line in details)  # below their comparison
    assert "32 runs: 32 done, 0 failed, 0 running, 0 to go" in text


def test_a_study_may_say_what_costs(small_study, pretend, tmp_path):
    """The lamp costs the same whatever the stop; the file is what was measured."""
    axes = {
        "light": Axis(values=(50, 5000)),
        "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
    }
    study = small_study(
        axes=axes,
        derived={"system.sensor.photons": "light / depth"},
        costs={"lamp": "2 * light", "seconds": "bits / 50 + depth", "none": "macs"},
        plan=Plan(resamples=100),
    )
    ledger = create_study(study, tmp_path / "costs")
    for run in ledger.runs:
        design = ledger.designs[run.design]
        pretend(ledger, run, 0.9 if design["light"] == 5000 else 0.6, bits=100.0 * (1 + run.seed))
    found = report(ledger)
    costs = {(d.levels["light"], d.levels["depth"]): d.costs for d in found.designs}
    assert costs[50, 4] == {"lamp": 100, "seconds": 2 * 4.5 + 4, "none": None}
    assert costs[5000, 8] == {"lamp": 10_000, "seconds": 2 * 4.5 + 8, "none": None}
    # More depth costs seconds and brings nothing.
    assert {(d.levels["light"], d.levels["depth"]) for d in found.designs if d.on_front} == {
        (50, 4), (5000, 4),
    }  # fmt: skip
    assert "lamp   seconds" in str(found)
    assert "none" not in str(found)
    assert "photons: per pixel" not in str(found)  # it is no cost here
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["cost.lamp"]) for row in read] == [10_000, 10_000, 100, 100]
    runs = list(csv.DictReader(io.StringIO(to_csv(rows(ledger)))))
    assert [float(row["cost.seconds"]) for row in runs[:4]] == [6, 10, 6, 10]
    assert runs[0]["cost.none"] == ""
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=50)
    assert [front.costs for front in fronts(rows(ledger), draws)] == [
        ("lamp",), ("seconds",), ("lamp", "seconds"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no cost 'photons'; choose from lamp, seconds, none"):
        fronts(rows(ledger), draws, costs=["photons"])


def test_designs_at_other_rates_than_their_target_are_told(small_study, pretend, tmp_path, undrawn):
    """As a user had: bits=0.4 was 0.55 bits/pixel of one stop, and 0.72 of the other."""
    axes = {
        "light": Axis(path="system.sensor.photons", values=(50, 5000)),
        "bits": Axis(path="objective.rate_target", values=(0.4, 1.0)),
    }
    plan = Plan(
        comparisons=(Comparison(first={"light": 5000}, second={"light": 50}),), resamples=100
    )
    base = small_study().base
    system = base.system.model_copy(update={"codec": joint.FactorizedConfig()})
    objective = joint.Objective(rate=1.0, rate_target=1.0)
    base = base.model_copy(update={"system": system, "objective": objective})
    study = small_study(base=base, axes=axes, plan=plan, seeds=tuple(range(8)))
    ledger = create_study(study, tmp_path / "rates")
    # Means over seeds: the third is off by 5 % less a little, which is no reason to speak.
    means = {(50, 0.4): 0.7, (5000, 0.4): 0.55, (50, 1.0): 1.0499, (5000, 1.0): 0.9}
    for run in ledger.runs:
        light, bits = ledger.designs[run.design].values()
        pretend(ledger, run, 0.8, bpp=means[light, bits] + 0.01 * (run.seed - 3.5))
    found = report(ledger)
    assert {(*d.levels.values(),): round(d.bpp, 9) for d in found.designs} == means
    assert {d.rate_target for d in found.designs} == {0.4, 1.0}
    told = (
        "3 of 4 designs are more than 5 % off their objective.rate_target, bits/pixel: design 0 "
        "has 0.7, not 0.4, design 2 has 0.55, not 0.4, design 3 has 0.9, not 1. Designs with the "
        "same target may differ in rate: compare them as curves, or train for more epochs"
    )
    assert f"\n  {told}\n" in str(found)
    assert " (0.55 and 0.7 estimated bpp): " in str(found)
    assert json.loads(found.to_json())["off_target"] == told
    assert [c["bpp"] for c in json.loads(found.to_json())["planned"]] == [
        pytest.approx([0.55, 0.7]), pytest.approx([0.9, 1.0499]),
    ]  # fmt: skip
    html = study_html(ledger)
    assert told in html
    assert "bpp of each" in html
    assert "0.55, 0.7" in html
    # By the rate itself, it is the mean that is compared.
    assert " bpp): " not in str(report(ledger, metric="bpp"))


def test_without_a_target_there_is_none_to_miss(finished, undrawn):
    found = report(finished)
    assert found.off_target is None
    assert all(d.bpp is None for d in found.designs)
    assert found.planned[0].bpp is None
    assert "rate_target" not in str(found)
    assert "bpp of each" not in study_html(finished)


def test_a_design_without_the_number_is_told_and_not_compared(
    small_study, pretend, tmp_path, undrawn
):
    """A camera without a codec among others that have one, judged by the rate."""
    axes = {"codec": Axis(path="system.codec", values=({"kind": "none"}, {"kind": "jpeg"}))}
    study = small_study(axes=axes, plan=Plan(resamples=100), seeds=(0, 1))
    ledger = create_study(study, tmp_path / "codecs")
    for run in ledger.runs:
        pretend(ledger, run, 0.7, bpp=None if run.design == 0 else 2.0 + run.seed)
    found = report(ledger, metric="bpp")
    jpeg, none = found.designs
    assert (jpeg.number, jpeg.estimate.mean) == (1, 2.5)
    assert (none.number, none.estimate.mean, none.estimate.count) == (0, None, 0)
    assert "  design 0 has no bpp" in str(found)
    assert "Design 0 has no bpp." in study_html(ledger, metric="bpp")
    with pytest.raises(ValueError, match="design 0 has no bpp: it cannot be compared; choose"):
        compare_designs(ledger, 0, 1, metric="bpp")
    comparison = Comparison(first={"codec": "jpeg"}, second={"codec": "none"})
    plan = Plan(metric="bpp", comparisons=(comparison,), resamples=100)
    planned = replace(ledger, study=study.model_copy(update={"plan": plan}))
    with pytest.raises(ValueError, match="design 0 has no bpp: it cannot be compared"):
        report(planned)
    # By the metric of another plan it is exploration, and no run that is still to come.
    plan = Plan(comparisons=(comparison,), resamples=100)
    planned = replace(ledger, study=study.model_copy(update={"plan": plan}))
    (contrast,) = report(planned, metric="bpp").explored
    assert contrast.verdict == "not shown: design 0 has no bpp"
    assert (contrast.first, contrast.second, contrast.difference) == (None, None, None)
    assert f"{contrast.name}: {contrast.verdict}." in study_html(planned, metric="bpp")
    # What failed of such a design has no score either.
    run = next(run for run in ledger.runs if run.design == 0)
    (ledger.path(run) / "result.json").unlink()
    RunFolder(ledger.path(run)).fail(RuntimeError("diverged"))
    none = report(ledger, metric="bpp").designs[1]
    assert (none.number, none.estimate.count, none.estimate.failed) == (0, 0, 0)
    # Nobody has it; or one seed lacks it, and to leave that out would choose among seeds.
    with pytest.raises(ValueError, match=r"run \w+ has no psnr: it has no such stage"):
        report(ledger, metric="psnr")
    run = next(run for run in ledger.runs if run.design == 1)
    pretend(ledger, run, 0.7, bpp=None)
    with pytest.raises(ValueError, match=f"run {run.digest} has no bpp"):
        report(ledger, metric="bpp")


def test_the_luck_of_the_best_is_told(finished):
    found = report(finished)
    runs = [[run.value for run in design] for design in outcomes(finished, found.metric).values()]
    rest = np.array(runs) - np.mean(runs, 0)  # without what a seed does to all designs
    spread = np.sqrt(np.mean(stats.sem(rest, axis=1) ** 2) * 4 / 3)
    assert found.luck == pytest.approx(expected_maximum(4) * spread)
    assert f"the best of 4 equal designs would be {found.luck:.4f} above" in str(found)
    assert expected_maximum(4) == pytest.approx(1.0294, abs=1e-4)


def test_designs_that_were_named_before_the_runs_are_no_choice(finished, tmp_path, pretend):
    made = confirm(finished, tmp_path / "new", design=3, baseline=0)
    for run in made.runs:
        pretend(made, run, 0.7)
    found = report(made)
    assert found.luck is None
    assert "confirm a choice" not in str(found)
    assert "This table is exploration" not in "".join(designs(found))
    # By a number that was not planned, they are looked at all the same.
    assert report(made, metric="accuracy").luck > 0


def test_an_unfinished_study_shows_nothing(ledger, pretend):
    empty = report(ledger)
    assert empty.luck is None
    assert all(design.estimate.mean is None for design in empty.designs)
    assert "not shown: 8 of 8 pairs have not ended" in str(empty)
    for run in ledger.runs[:-1]:
        pretend(ledger, run, 0.9 if ledger.designs[run.design]["light"] == 5000 else 0.5)
    verdicts = [contrast.verdict for contrast in report(ledger).planned]
    assert verdicts == ["better", "not shown: 1 of 8 pairs have not ended"]


def test_failures_are_shown(ledger, pretend):
    for run in ledger.runs:
        if run.design == 0:
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(RuntimeError("diverged"))
        else:
            pretend(ledger, run, 0.9)
    found = report(ledger)
    worst = found.designs[-1]
    assert (worst.number, worst.estimate.failed, worst.estimate.mean) == (0, 8, 0)
    assert not worst.on_front
    assert found.planned[0].failed == (0, 8)


def test_another_metric_was_not_planned(finished):
    found = report(finished, metric="accuracy")
    assert found.planned == ()
    assert found.metric == "accuracy"
    text = str(found)
    assert "\n  nothing for accuracy: the plan is for balanced_accuracy\n" in text
    # The comparisons are there as what they are now.
    named = report(finished, metric="balanced_accuracy")
    assert named.explored == ()
    assert [each.name for each in found.explored] == [each.name for each in named.planned]
    exploration = text[text.index("exploration:") :]
    for each in found.explored:
        assert each.verdict == "perhaps better: confirm it on fresh seeds"
        assert "\n" + indent(str(each), "  ") + "\n" in exploration + "\n"
        assert each.adjusted_p == 2 * max(each.p, each.interval_p)
    kept = json.loads(found.to_json())
    assert (kept["planned"], len(kept["explored"])) == ([], 2)
    assert kept["plan_metric"] == "balanced_accuracy"


def test_a_comparison_on_the_spot_is_exploration(finished):
    by_light = {design["light"]: number for number, design in enumerate(finished.designs)}
    found = compare_designs(finished, by_light[5000], by_light[50])
    assert not found.planned
    assert found.verdict == "perhaps better: confirm it on fresh seeds"
    with pytest.raises(ValueError, match="no design 9: they are counted from 0 to 3"):
        compare_designs(finished, 0, 9)


def test_a_report_is_json(finished):
    content = json.loads(report(finished).to_json())
    assert content["tally"]["done"] == 32
    assert content["planned"][0]["verdict"] == "better"
    assert len(content["designs"]) == 4


def test_an_end_that_is_no_number_is_null(finished):
    found = report(finished)
    estimate = replace(found.designs[0].estimate, interval=Interval(math.nan, 1.0))
    found = replace(found, designs=(replace(found.designs[0], estimate=estimate),))
    (told,) = json.loads(found.to_json(), parse_constant=pytest.fail)["designs"]
    assert told["estimate"]["interval"] == [None, 1.0]


def test_a_note_is_told_once(finished):
    found = report(finished)
    noted = tuple(
        replace(design, estimate=replace(design.estimate, note="class x has 4 lesions"))
        for design in found.designs
    )
    assert str(replace(found, designs=noted)).count("\n  class x has 4 lesions\n") == 1
    assert "lesions in the test part" not in str(found)


def test_a_doubt_is_repeated(small_study, tmp_path):
    with pytest.warns(UserWarning, match="nothing can be shown"):
        ledger = create_study(small_study(seeds=(0, 1)), tmp_path)
    assert "nothing can be shown. Use at least 7 seeds" in str(report(ledger))


def test_intervals_say_their_level(small_study, tmp_path):
    ledger = create_study(small_study(plan=Plan(alpha=0.2)), tmp_path)
    assert " mean 80 % interval " in " ".join(str(report(ledger)).split())


def test_one_design_needs_no_luck(small_study, tmp_path, pretend):
    axes = {"light": Axis(path="system.sensor.photons", values=(50,))}
    ledger = create_study(small_study(axes=axes, plan=Plan()), tmp_path)
    for run in ledger.runs:
        pretend(ledger, run, 0.7)
    assert "equal designs" not in str(report(ledger))


def test_why_runs_failed_is_told(ledger, pretend):
    """A design of broken runs has a mean of 0 and must not look like one that learned nothing."""
    assert report(ledger).failures == ()
    assert "--retry-failed" not in str(report(ledger))
    for run in ledger.runs:
        if run.design == 1 or (run.design, run.seed) == (3, 2):
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(ValueError("3 does not divide 16\nat all"))
        elif (run.design, run.seed) == (2, 0):
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(RuntimeError("out of light"))
        else:
            pretend(ledger, run, 0.9)
    found = report(ledger)
    first, second = found.failures
    assert (first.error, first.message) == ("ValueError", "3 does not divide 16\nat all")
    assert (first.designs, first.runs) == ((1, 3), 9)
    assert (second.designs, second.runs) == ((2,), 1)
    text = str(found)
    assert "  9 of designs 1, 3: ValueError: 3 does not divide 16\n" in text
    assert "  1 of design 2: RuntimeError: out of light\n" in text
    assert "a run that failed scores 0; to retry after fixing the cause" in text
    assert text.index("out of light") < text.index("planned before the first run")
    assert "a run that failed is left out" in str(report(ledger, metric="nll"))
    assert json.loads(found.to_json())["failures"][0]["designs"] == [1, 3]


def test_runs_that_their_machine_gave_up_are_told_as_not_ended(ledger, pretend):
    for run in ledger.runs:
        if run.design == 1:
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(MemoryError("no room"))
        else:
            pretend(ledger, run, 0.9)
    text = str(report(ledger))
    assert "  a run that failed counts as not ended; to retry after" in text
    assert "  8 of design 1, which count as not ended: MemoryError: no room\n" in text
    assert "scores 0" not in text


def test_runs_that_failed_alike_have_one_reason(ledger):
    """Each names its own folder, and diverged in an epoch of its own."""
    for number, run in enumerate(ledger.runs):
        folder = ledger.path(run)
        folder.mkdir(parents=True)
        loss = "nan" if run.design < 3 else "inf"
        words = f"the loss became {loss} in epoch {number}, step {3 * number}; it is in {folder}/a"
        RunFolder(folder).fail(RuntimeError(words))
    most, fewest = report(ledger).failures
    assert (most.designs, most.runs) == ((0, 1, 2), 24)
    assert (fewest.designs, fewest.runs) == ((3,), 8)
    assert str(ledger.path(ledger.runs[0])) in most.message
    assert "the loss became nan in epoch 0, step 0; it is in /" in most.message


def test_runs_that_a_machine_gave_up_have_one_reason(ledger):
    """Its words are of a process, a host and the room that there was."""
    for number, run in enumerate(ledger.runs):
        folder = RunFolder(ledger.path(run))
        folder.path.mkdir(parents=True)
        words = f"3 starts ended without a word, the last in process {number} on node{number}"
        given = RunAbandoned(words) if number % 2 else torch.OutOfMemoryError(f"{number} GiB")
        folder.fail(given)
    found = report(ledger).failures
    assert {(each.error, each.runs) for each in found} == {
        ("RunAbandoned", 16),
        ("OutOfMemoryError", 16),
    }
    assert all(each.of_the_machine for each in found)


def test_many_reasons_of_failure_are_cut(ledger):
    for number, run in enumerate(ledger.runs):
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(ValueError(f"the loss is {number % 9}"))
    text = str(report(ledger))
    assert text.count("ValueError: the loss is") == 5
    assert "and 4 more reasons: lens2label study list FOLDER" in text


def test_another_metric_is_in_no_plan(small_study, tmp_path):
    with pytest.warns(UserWarning, match="paired seeds"):
        ledger = create_study(small_study(seeds=(0, 1)), tmp_path)
    assert "nothing can be shown" in str(report(ledger))
    other = report(ledger, metric="auc")
    assert (other.doubt, other.planned) == (None, ())
    assert "paired seeds" not in str(other)


def test_one_comparison_that_is_of_no_pairs_does_not_end_the_report(ledger, pretend, undrawn):
    for run in ledger.runs:
        levels = ledger.designs[run.design]
        pretend(ledger, run, 0.9 if levels["light"] == 5000 else 0.6)
        if levels == {"light": 50, "depth": 8}:
            own = load_predictions(ledger.path(run))
            other = replace(own, identifiers=tuple(f"other {name}" for name in own.identifiers))
            RunFolder(ledger.path(run)).save_predictions(other, own.classes)
    found = report(ledger)
    assert [contrast.verdict for contrast in found.planned] == [
        "better", "not shown: tested on different pictures",
    ]  # fmt: skip
    assert "at depth=8: balanced_accuracy: not shown: tested on different pictures" in str(found)
    assert json.loads(found.to_json())["planned"][1]["difference"] is None
    page = study_html(ledger, elements=False)
    assert "at depth=8: not shown: tested on different pictures.<" in page
    assert "Tested on different pictures." not in page
    first, second = (
        next(n for n, levels in enumerate(ledger.designs) if levels == {"light": light, "depth": 8})
        for light in (5000, 50)
    )
    with pytest.raises(ValueError, match="the runs were tested on different pictures"):
        compare_designs(ledger, first, second)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "loss"])
def test_where_all_runs_failed_nothing_is_on_the_front(small_study, tmp_path, metric, undrawn):
    comparisons = small_study().plan.comparisons
    plan = Plan(metric=metric, comparisons=comparisons, resamples=100)
    ledger = create_study(small_study(plan=plan), tmp_path)
    for run in ledger.runs:
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(TypeError("no such argument"))
    found = report(ledger)
    assert [design.on_front for design in found.designs] == [False] * 4
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["on_front"] for row in read] == ["False"] * 4
    text = str(found)
    assert "*: no design is ahead" not in text
    assert text.count("not shown: all runs failed\n") == 2
    assert "number of seeds" not in text
    page = study_html(ledger, elements=False)
    assert "not shown: all runs failed.<" in page
    assert "number of seeds" not in page


def test_a_study_is_judged_by_one_class(finished):
    found = report(finished, metric="recall.b")
    for summary in found.designs:
        values = []
        for run, state in zip(finished.runs, finished.states(), strict=True):
            if state == "done" and run.design == summary.number:
                part = load_predictions(finished.path(run))
                values.append(recall_score(part.labels == 1, part.logits.argmax(1) == 1))
        assert summary.estimate.mean == pytest.approx(np.mean(values))
        low, high = summary.estimate.interval
        assert 0 <= low < summary.estimate.mean < high <= 1
    light = found.explored[0]
    assert light.metric == "recall.b"
    assert light.unit == "seeds and lesions"
    assert "exploration: recall.b of 4 designs, best first" in str(found)
    with pytest.raises(
        ValueError, match=r"recall.polyp' names none of the 3 classes; use 'recall.a"
    ):
        report(finished, metric="recall.polyp")
