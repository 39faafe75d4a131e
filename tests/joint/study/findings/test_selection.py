import csv
import importlib
import json

import numpy as np
import pytest
from scipy import stats

import joint
from joint.saved.folder import FAILURE_FILE, RunFolder
from joint.study import (
    Plan,
    Requirements,
    create_study,
    holm,
    outcomes,
    report,
    resample,
    select_designs,
    study_html,
)


def _psnr(ledger, values):
    """Make each run of design d and seed s one of ``values[d][s]`` dB; None has failed."""
    for run in ledger.runs:
        path = ledger.path(run)
        path.mkdir(parents=True, exist_ok=True)
        value = values[run.design][run.seed]
        if value is None:
            (path / FAILURE_FILE).write_text('{"error": "DivergedError", "message": "nan"}')
            continue
        test = {"count": 60, "accuracy": None, "bpp": 0.1 * (1 + run.design), "psnr": value}
        costs = {"photons": ledger.designs[run.design]["light"], "bits": 100.0 * (1 + run.design)}
        result = {"digest": run.digest, "best_epoch": 0, "costs": costs, "test": test}
        (path / "result.json").write_text(json.dumps(result))
    return ledger


VALUES = np.array([30.0, 31.0, 31.6, 31.5])[:, None] + np.random.default_rng(0).normal(
    0, 0.4, (4, 8)
)


@pytest.fixture
def measured(ledger):
    """Four designs on eight seeds, of which no lesions are known."""
    return _psnr(ledger, VALUES.tolist())


def test_a_bound_is_tested_as_students_t_does(measured):
    found = select_designs(measured, at_least={"psnr": 31.0})
    by_number = {each.number: each for each in found.designs}
    wanted = [stats.ttest_1samp(row, 31.0, alternative="greater").pvalue for row in VALUES]
    assert [by_number[n].p for n in range(4)] == pytest.approx(wanted)
    assert [by_number[n].adjusted_p for n in range(4)] == pytest.approx(list(holm(wanted)))
    assert {n: each.verdict for n, each in by_number.items()} == {
        0: "does not", 1: "perhaps" if VALUES[1].mean() >= 31 else "does not",
        2: "meets", 3: "meets",
    }  # fmt: skip
    assert found.alpha == 0.025
    assert found.tested == 4
    # Of those two, which differ in light and in bits.
    assert [measured.designs[n]["light"] for n in (2, 3)] == [5000, 5000]
    assert found.cheapest == {"photons": (2, 3), "bits": (2,)}
    assert by_number[0].held_back == "psnr >= 31"
    assert by_number[2].held_back is None
    least = select_designs(measured, at_most={"psnr": 31.0})
    other = {each.number: each.p for each in least.designs}
    assert [other[n] for n in range(4)] == pytest.approx([1 - p for p in wanted])


def test_within_the_best_is_tested_against_each_of_the_others(measured):
    found = select_designs(measured, within=0.7, metric="psnr")
    by_number = {each.number: each for each in found.designs}
    for number, row in enumerate(VALUES):
        p = max(
            stats.ttest_rel(row + 0.7, other, alternative="greater").pvalue
            for place, other in enumerate(VALUES)
            if place != number
        )
        assert by_number[number].p == pytest.approx(p)
    assert by_number[0].verdict == "does not"
    assert by_number[2].verdict == "meets"
    assert found.requirements == ("within 0.7 of the best psnr",)
    # Of a loss, the best is the lowest: of the same numbers, the other way round.
    flipped = select_designs(_renamed(measured, "loss"), within=0.7, metric="loss")
    best = min(range(4), key=lambda n: VALUES[n].mean())
    assert next(e for e in flipped.designs if e.number == best).verdict == "meets"


def _renamed(ledger, name):
    for run in ledger.runs:
        path = ledger.path(run) / "result.json"
        path.write_text(path.read_text().replace('"psnr"', f'"{name}"'))
    return ledger


def test_all_requirements_count_and_costs_are_as_they_are(measured):
    found = select_designs(measured, at_least={"psnr": 31.0}, at_most={"bits": 300, "bpp": 1})
    by_number = {each.number: each for each in found.designs}
    assert by_number[3].verdict == "does not"  # 400 bits
    assert by_number[3].held_back == "bits <= 300"
    assert found.tested == 3  # one that costs too much was never in question
    p = [stats.ttest_1samp(row, 31.0, alternative="greater").pvalue for row in VALUES[:3]]
    assert [by_number[n].adjusted_p for n in range(3)] == pytest.approx(list(holm(p)))
    assert found.cheapest["bits"] == (2,)
    assert found.designs[0].verdict == "meets"
    assert by_number[3].adjusted_p == 1


def test_the_words_the_rows_and_the_json_say_the_same(measured):
    found = select_designs(measured, at_least={"psnr": 31.0}, within=2.0, metric="psnr")
    text = str(found)
    assert text.startswith("designs by the requirements psnr >= 31, within 2 of the best psnr\n")
    assert "lowest bits of those that meet them: 300, design 2\n" in text
    assert "adjusted for 4 designs (Holm); shown at 0.025" in text
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    content = json.loads(found.to_json())
    assert [int(row["design"]) for row in rows] == [each.number for each in found.designs]
    for row, each, kept in zip(rows, found.designs, content["designs"], strict=True):
        assert float(row["psnr"]) == kept["means"]["psnr"] == each.means["psnr"]
        assert float(row["psnr.low"]) == each.intervals["psnr"].low
        assert row["verdict"] == kept["verdict"] == each.verdict
        assert float(row["cost.bits"]) == each.costs["bits"]
    assert content["cheapest"]["bits"] == [2]
    nothing = select_designs(measured, at_least={"psnr": 50.0})
    assert nothing.meeting() == ()
    assert "no design is shown to meet them" in str(nothing)


def test_what_has_not_ended_or_has_failed_is_not_shown(ledger):
    values = (VALUES + 5).tolist()
    values[2][3] = None
    _psnr(ledger, values)
    gone = next(run for run in ledger.runs if run.design == 3)
    (ledger.path(gone) / "result.json").unlink()
    found = {d.number: d for d in select_designs(ledger, at_least={"psnr": 31.0}).designs}
    assert found[1].verdict == "meets"
    assert (found[2].verdict, found[3].verdict) == ("perhaps", "perhaps")
    assert found[2].held_back == "1 of 8 runs failed, and have no psnr"
    assert found[3].held_back == "7 of 8 runs are done"
    # Which is the best is not known before all have ended.
    close = select_designs(ledger, within=50.0, metric="psnr")
    assert close.meeting() == ()
    assert {d.number: d.held_back for d in close.designs}[0] == "1 of the others has not ended"
    # What a machine gave up has not ended either.
    RunFolder(ledger.path(gone)).fail(MemoryError())
    close = select_designs(ledger, within=50.0, metric="psnr")
    assert {d.number: d.held_back for d in close.designs}[0] == "1 of the others has not ended"
    # A cost that is not known excludes no design from those that are tested.
    assert select_designs(ledger, at_least={"psnr": 31.0}, at_most={"bits": 500}).tested == 4


def test_a_study_of_which_nothing_is_done(ledger):
    found = select_designs(ledger, at_least={"psnr": 31.0})
    assert {each.verdict for each in found.designs} == {"perhaps"}
    assert found.designs[0].held_back == "no run is done"
    assert found.cheapest == {}
    assert found.tested == 4


def test_a_design_whose_runs_all_failed(ledger):
    values = VALUES.tolist()
    values[1] = [None] * 8
    _psnr(ledger, values)
    for measure in ("psnr", "bpp"):
        found = select_designs(ledger, at_most={measure: 100.0})
        failed = next(each for each in found.designs if each.number == 1)
        assert failed.verdict == "perhaps"
        assert failed.held_back == f"8 of 8 runs failed, and have no {measure}"


def test_lesions_that_came_out_alike_show_what_their_number_does(ledger, pretend):
    for run in ledger.runs:
        pretend(ledger, run, 1.0)
    # 60 pictures of three classes, two to a lesion: 20 lesions of this one, all recognised.
    found = select_designs(ledger, at_least={"recall.a": 0.9})
    assert [each.p for each in found.designs] == pytest.approx([0.9**20] * 4)
    assert {each.verdict for each in found.designs} == {"perhaps"}
    assert found.designs[0].means == {"recall.a": 1.0}
    found = select_designs(ledger, at_least={"recall.a": 0.7})
    assert [each.adjusted_p for each in found.designs] == pytest.approx([4 * 0.7**20] * 4)
    assert len(found.meeting()) == 4
    # And of equal designs, that none is behind another.
    found = select_designs(ledger, within=0.1, metric="recall.a")
    assert [each.p for each in found.designs] == pytest.approx([0.9**20] * 4)
    (low,) = {each.p for each in select_designs(ledger, at_most={"recall.a": 0.9}).designs}
    assert low == 1


def test_of_a_classifier_the_lesions_count(finished):
    found = select_designs(finished, at_least={"balanced_accuracy": 0.65})
    draws = resample(
        outcomes(finished, "balanced_accuracy"),
        metric="balanced_accuracy",
        resamples=finished.study.plan.resamples,
    )
    for each in found.designs:
        bright = each.levels["light"] == 5000
        assert each.verdict == ("meets" if bright else "does not")
        # The p is that of an interval whose end is the bound; or that of as many right of as many
        # lesions.
        alone = [float(number == each.number) for number in draws.designs]
        found_p = draws.infer(alone, null=0.65).p / 2
        low, high = draws.infer(alone, level=1 - 2 * found_p).interval
        assert (low if bright else high) == pytest.approx(0.65)
        count = draws.lesions.as_one_class(0.65)
        right = count * each.means["balanced_accuracy"]
        by_chance = stats.beta.cdf(0.65, right, count - right + 1)
        assert each.p == pytest.approx(max(found_p if bright else 1.0, by_chance))
    assert found.cheapest["photons"] == tuple(
        n for n, design in enumerate(finished.designs) if design["light"] == 5000
    )


def test_what_the_plan_requires_is_judged_by_itself(small_study, tmp_path):
    wanted = Requirements(at_least={"loss": 31.0}, at_most={"bits": 350})
    study = small_study(plan=Plan(requirements=wanted, metric="auc"))
    ledger = _psnr(create_study(study, tmp_path / "study"), VALUES.tolist())
    _renamed(ledger, "loss")
    found = select_designs(ledger)
    asked = select_designs(ledger, at_least={"loss": 31.0}, at_most={"bits": 350})
    assert found.planned
    assert not asked.planned
    assert found.designs == asked.designs
    assert found.bounds == asked.bounds == wanted.bounds()
    assert str(found).endswith("shown at 0.025")
    assert str(asked).endswith("if the requirements were fixed before any results")
    # What is asked for by hand is that alone.
    assert select_designs(ledger, at_least={"loss": 30.0}).requirements == ("loss >= 30",)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "give at least one requirement"),
        ({"at_least": {"nonsense": 1.0}}, "'nonsense' is neither a metric of a study nor one"),
        ({"at_most": {"bits": float("nan")}}, r"^at_most.bits: must be a finite number, not nan$"),
        ({"within": 0.0}, r"^within: must be greater than 0, not 0.0$"),
        ({"within": float("inf")}, r"^within: must be a finite number, not inf$"),
        ({"metric": "psnr", "at_least": {"psnr": 1}}, "applies to a margin: give within="),
        ({"within": 0.1, "metric": "bits"}, "metric 'bits' is unknown"),
        ({"at_least": {"recall.zz": 0.5}}, "zz"),
        ({"at_least": {"accuracy": 30}}, r"^accuracy is from 0 to 1, not 30: .* write 0.3$"),
        ({"at_most": {"bpp": -1}}, r"^bpp is 0 or more, not -1$"),
    ],
)
def test_requirements_that_cannot_be_are_refused(finished, asked, told):
    with pytest.raises(ValueError, match=told):
        select_designs(finished, **asked)


def _of_folders(small_study, small_base, tmp_path, **required):
    """A study of scenes whose classes are in no configuration."""
    data = joint.ClassFolders(root=tmp_path / "scenes")
    base = small_base().model_copy(update={"data": data})
    plan = Plan(requirements=Requirements(**required))
    return create_study(small_study(base=base, plan=plan), tmp_path / "study")


def test_what_the_report_has_read_is_not_read_again(
    small_study, small_base, pretend, tmp_path, monkeypatch
):
    wanted = {"at_least": {"accuracy": 0.5, "recall.a": 0.5}, "within": 0.2}
    ledger = _of_folders(small_study, small_base, tmp_path, **wanted)
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
    module = importlib.import_module("joint.study.findings.selection")
    asked = []
    monkeypatch.setattr(
        module, "outcomes", lambda of, name: asked.append(name) or outcomes(of, name)
    )
    monkeypatch.setattr(module, "rows", None)
    found = report(ledger)
    assert asked == ["accuracy", "recall.a"]
    assert found.selection is not None
    monkeypatch.undo()
    assert found.selection == select_designs(ledger)


def test_a_requirement_that_no_run_has_does_not_end_the_report(
    small_study, small_base, pretend, tmp_path, undrawn
):
    ledger = _of_folders(small_study, small_base, tmp_path, at_least={"recall.zzz": 0.5})
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
    found = report(ledger)
    assert found.selection is None
    assert "zzz" in found.unjudged
    assert f"  requirements not judged: {found.unjudged}" in str(found)
    assert "The requirements of the plan cannot be judged: " in study_html(ledger, elements=False)
