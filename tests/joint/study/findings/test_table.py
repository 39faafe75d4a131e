import csv
import io
import json
import shutil
from dataclasses import replace

import pytest
import torch

import classify
import joint
from classify.metric_names import METRICS
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import PREDICTIONS_FILE, RunFolder
from joint.saved.predictions import load_predictions
from joint.study import Axis, Plan, create_study, outcomes, rows, to_csv, to_json, to_text
from joint.study.attempt import RunAbandoned


def test_one_row_a_run(ledger, pretend):
    pretend(ledger, ledger.runs[0], 1.0, bpp=0.5)
    ledger.path(ledger.runs[1]).mkdir(parents=True)
    RunFolder(ledger.path(ledger.runs[1])).fail(ValueError("x"))
    table = rows(ledger)
    assert len(table) == 32
    done, failed, pending = table[:3]
    assert done.state == "done"
    assert done.levels == {"light": 50, "depth": 4}
    assert done.numbers == {
        "photons": 50, "bits": 100.0, "parameters": 10, "accuracy": 1.0, "bpp": 0.5,
    }  # fmt: skip
    assert done.best_epoch == 0
    assert (failed.state, failed.error, failed.numbers) == ("failed", "ValueError", {})
    assert (failed.message, done.message, failed.flat()["message"]) == ("x", None, "x")
    assert (pending.state, pending.error, pending.best_epoch) == ("pending", None, None)


def test_csv_and_json_have_the_same_cells(finished):
    table = rows(finished)
    text = to_csv(table)
    read = list(csv.DictReader(io.StringIO(text)))
    listed = json.loads(to_json(table))
    assert len(read) == len(listed) == 32
    assert list(read[0]) == [
        "digest", "state", "design", "axis.light", "axis.depth", "seed", "best_epoch",
        "photons", "bits", "parameters", "accuracy", "bpp", "error", "message",
    ]  # fmt: skip
    for row, entry in zip(read, listed, strict=True):
        assert row == {name: "" if v is None else str(v) for name, v in entry.items()}


def test_an_axis_may_be_called_like_a_column(small_study, pretend, tmp_path):
    axes = {
        name: Axis(path=path, values=values)
        for name, path, values in [
            ("bits", "system.sensor.bit_depth", (4, 8)),
            ("photons", "system.sensor.photons", (50, 5000)),
            ("state", "training.batch_size", (16,)),
            ("accuracy", "training.epochs", (3,)),
        ]
    }
    ledger = create_study(small_study(axes=axes, plan=Plan()), tmp_path)
    pretend(ledger, ledger.runs[0], 1.0, bits=123.0)
    read = list(csv.DictReader(io.StringIO(to_csv(rows(ledger)))))
    for row in (read[0], json.loads(to_json(rows(ledger)))[0]):
        cells = {name: str(value) for name, value in row.items()}
        assert (cells["bits"], cells["state"], cells["accuracy"]) == ("123.0", "done", "1.0")
        assert [cells[f"axis.{name}"] for name in axes] == ["4", "50", "16", "3"]
    assert [row["axis.bits"] for row in read[:4]] == ["4", "4", "8", "8"]


def test_runs_without_results_have_empty_cells(ledger, pretend):
    pretend(ledger, ledger.runs[3], 1.0)
    read = list(csv.DictReader(io.StringIO(to_csv(rows(ledger)))))
    assert read[3]["accuracy"] == "1.0"
    assert read[0]["accuracy"] == ""
    assert to_csv([]) == "\n"
    assert to_json([]) == "[]\n"


def test_rows_for_people_are_aligned(ledger):
    ledger.path(ledger.runs[1]).mkdir(parents=True)
    RunFolder(ledger.path(ledger.runs[1])).fail(ValueError("x is no number\n  of two lines"))
    lines = to_text(rows(ledger)).splitlines()
    assert len(lines) == 33
    run = ledger.runs[1]
    assert (
        lines[2]
        == f"  {run.digest}  failed   1: light=50, depth=8    0     ValueError: x is no number"
    )
    assert lines[0].index("seed") == lines[2].index("0     Val")


def test_rows_for_people_show_a_metric_where_it_is_known(ledger, pretend):
    assert to_text(rows(ledger), metric="accuracy") == to_text(rows(ledger))
    pretend(ledger, ledger.runs[3], 1.0)
    lines = to_text(rows(ledger), metric="accuracy").splitlines()
    place = lines[0].index("accuracy")
    assert (lines[4][place:], lines[3][place:]) == ("1.0000", "")


def test_outcomes_are_those_that_ended(ledger, pretend):
    one, two, three = ledger.runs[:3]
    pretend(ledger, one, 1.0)
    ledger.path(two).mkdir(parents=True)
    RunFolder(ledger.path(two)).fail(ValueError("x"))
    found = outcomes(ledger, "balanced_accuracy")
    assert found.keys() == {0, 1, 2, 3}
    (run,) = found[one.design]
    assert (run.seed, run.value, len(run.predictions.labels)) == (0, 1.0, 60)
    (failed,) = found[two.design]
    assert (failed.value, failed.predictions) == (None, None)
    assert found[three.design] == []


def test_what_its_machine_gave_up_is_no_outcome_of_a_design(ledger, pretend):
    one, two, three = ledger.runs[:3]
    pretend(ledger, one, 1.0)
    for run, error in ((two, RunAbandoned("killed")), (three, torch.OutOfMemoryError("64 GiB"))):
        ledger.path(run).mkdir(parents=True)
        RunFolder(ledger.path(run)).fail(error)
    found = outcomes(ledger, "balanced_accuracy")
    assert found[two.design] == found[three.design] == []
    # For people it has failed, with its reason.
    assert [row.state for row in rows(ledger)[1:3]] == ["failed", "failed"]


def test_a_metric_that_is_not_there_is_told(ledger, pretend):
    pretend(ledger, ledger.runs[0], 1.0, bpp=None)
    with pytest.raises(ValueError, match="metric 'skill' is unknown"):
        outcomes(ledger, "skill")
    with pytest.raises(ValueError, match="has no bpp: it has no such stage; choose another metric"):
        outcomes(ledger, "bpp")
    (ledger.path(ledger.runs[0]) / "predictions.safetensors").unlink()
    with pytest.raises(ValueError, match="has no auc: its classifier's scores are missing"):
        outcomes(ledger, "auc")


def test_a_metric_of_the_run_is_read(ledger, pretend):
    pretend(ledger, ledger.runs[0], 1.0, bpp=0.25)
    assert outcomes(ledger, "bpp")[0][0].value == 0.25


def test_predictions_that_are_gone_are_told_from_none(ledger, pretend):
    pretend(ledger, ledger.runs[0], 1.0)
    (ledger.path(ledger.runs[0]) / PREDICTIONS_FILE).unlink()
    with pytest.raises(ValueError, match=r"predictions.safetensors is gone from .* Copy it there"):
        outcomes(ledger, "accuracy")


def test_predictions_of_another_run_are_told(ledger, pretend):
    one, other = ledger.runs[:2]
    pretend(ledger, one, 1.0)
    pretend(ledger, other, 0.5)
    shutil.copy(ledger.path(other) / PREDICTIONS_FILE, ledger.path(one))
    message = "predictions.safetensors does not belong to the test in result.json. Remove"
    for metric in ("balanced_accuracy", "loss"):
        with pytest.raises(CheckpointError, match=message):
            outcomes(ledger, metric)


def test_predictions_of_a_run_that_is_as_often_right_are_told(ledger, pretend):
    """Two runs of one accuracy, and other scores: the log-loss of the result is of its own."""
    one, other = ledger.runs[:2]
    for run, scale in ((one, 1.0), (other, 0.9)):
        pretend(ledger, run, 0.7)
        folder, result = RunFolder(ledger.path(run)), ledger.result(run)
        part = load_predictions(ledger.path(run))
        part = replace(part, logits=(part.logits * scale).astype("float32"))
        folder.save_predictions(part, part.classes)
        judged = classify.report(part.logits, part.labels, classes=part.classes).to_dict()
        folder.finish(result | {"test": result["test"] | {"report": judged}})
    assert ledger.result(one)["test"]["accuracy"] == ledger.result(other)["test"]["accuracy"]
    assert outcomes(ledger, "nll")[one.design][0].value > 0
    shutil.copy(ledger.path(other) / PREDICTIONS_FILE, ledger.path(one))
    with pytest.raises(
        CheckpointError, match=r"predictions.safetensors does not belong to the test"
    ):
        outcomes(ledger, "balanced_accuracy")


def test_damaged_predictions_say_what_to_do(ledger, pretend):
    pretend(ledger, ledger.runs[0], 1.0)
    path = ledger.path(ledger.runs[0]) / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:100])
    message = r"predictions.safetensors is damaged. Remove result.json in its folder, and a worker"
    with pytest.raises(CheckpointError, match=message):
        outcomes(ledger, "accuracy")


def test_a_row_has_every_number_of_the_report(small_study, small_base, pretend, tmp_path):
    base = small_base().model_copy(update={"data": joint.ClassFolders(root=tmp_path / "scenes")})
    study = small_study(base=base, plan=Plan(metric="recall.b", resamples=100))
    ledger = create_study(study, tmp_path / "study")
    run = ledger.runs[0]
    pretend(ledger, run, 0.7)
    part = load_predictions(ledger.path(run))
    judged = classify.report(part.logits, part.labels, classes=part.classes)
    result = json.loads((ledger.path(run) / "result.json").read_text())
    result["test"]["report"] = json.loads(json.dumps(judged.to_dict()))
    (ledger.path(run) / "result.json").write_text(json.dumps(result))
    row = rows(ledger)[0]
    for name in METRICS:
        assert row.numbers[name] == pytest.approx(getattr(judged, name))
    assert row.numbers["recall.b"] == judged.recall[1]
    assert f"{judged.recall[1]:.4f}" in to_text([row], metric="recall.b")
