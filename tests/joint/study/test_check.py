import json
import shutil
from pathlib import Path

import pytest
import torch

import joint
from joint.saved.folder import RunFolder, lock_run
from joint.saved.lock import LOCK_FILE
from joint.study import (
    TPE,
    Axis,
    Plan,
    StudyError,
    check_study,
    create_study,
    open_study,
    report,
    study_html,
    work,
)
from joint.study.attempt import begin
from joint.study.ledger import design_path
from joint.study.store import add_design, seal

STUDY, BEST = "study.json", "best.safetensors"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
CONFIG, HISTORY = "config.json", "history.jsonl"
SCORES, RESULT = "predictions.safetensors", "result.json"


class Pixels(torch.nn.Linear):
    """A classifier that is small on the disk: studies are copied here."""

    def __init__(self, classes):
        super().__init__(3 * 16 * 16, classes)

    def forward(self, image):
        return super().forward(image.flatten(1))


@pytest.fixture(scope="module")
def made(small_study, small_base, tmp_path_factory):
    """Two lights on two seeds, trained for two epochs."""
    light = Axis(path="system.sensor.photons", values=(50, 5000))
    base = small_base(epochs=2, restore_best=True)
    small = joint.CustomConfig(class_path=f"{Pixels.__module__}.Pixels")
    system = base.system.model_copy(update={"classifier": small})
    base = base.model_copy(update={"system": system})
    study = small_study(base=base, axes={"light": light}, seeds=(0, 1), plan=Plan(resamples=100))
    folder = tmp_path_factory.mktemp("made") / "study"
    create_study(study, folder)
    work(folder)
    return folder


@pytest.fixture
def study(made, tmp_path):
    """A copy of it, which may be damaged."""
    shutil.copytree(made, tmp_path / "study")
    return open_study(tmp_path / "study")


def _told(folder):
    """Path and kind of each fault."""
    return [(str(fault.path), fault.kind) for fault in check_study(folder).faults]


def _mend(ledger, run, fault):
    """Do as the remedy of a fault says."""
    if fault.remedy.startswith("delete it"):
        (ledger.folder / fault.path).unlink()
    if "delete the folder of the run" in fault.remedy:
        shutil.rmtree(ledger.path(run))
    elif "delete result.json" in fault.remedy:
        (ledger.path(run) / RESULT).unlink(missing_ok=True)
    work(ledger.folder)


def test_a_study_that_is_whole_has_no_fault(study):
    found = check_study(study.folder)
    assert found.whole
    assert found.runs == (0, 0, 4, 0)
    assert found.to_dict() == {
        "folder": str(study.folder), "whole": True, "faults": [],
        "runs": {"pending": 0, "running": 0, "done": 4, "failed": 0},
    }  # fmt: skip
    lines = str(found).splitlines()
    assert lines[0].endswith("study: 4 runs: 0 pending, 0 running, 4 done, 0 failed")
    assert lines[1] == "all files are whole"


@pytest.mark.parametrize("name", [CONFIG, HISTORY, SCORES, RESULT, BEST, CHECKPOINT, PREVIOUS])
def test_a_file_that_was_cut_off_is_damaged(study, name):
    path = study.path(study.runs[0]) / name
    path.write_bytes(path.read_bytes()[:-50])
    assert _told(study.folder) == [(str(path.relative_to(study.folder)), "damaged")]


@pytest.mark.parametrize("name", [CONFIG, HISTORY, SCORES, BEST])
def test_a_file_that_is_gone_is_missing(study, name):
    path = study.path(study.runs[0]) / name
    path.unlink()
    assert _told(study.folder) == [(str(path.relative_to(study.folder)), "missing")]
    for needless in (CHECKPOINT, PREVIOUS):
        (path.parent / needless).unlink()
    assert len(_told(study.folder)) == 1


@pytest.mark.parametrize("other", [1, 2])  # another light on the same seed, and another seed
@pytest.mark.parametrize("name", [CONFIG, HISTORY, SCORES, RESULT, BEST, CHECKPOINT])
def test_a_file_of_another_run_is_told(study, name, other):
    """Whole, and with a design of the same training and objective, its head the same."""
    source, path = (study.path(study.runs[number]) / name for number in (other, 0))
    shutil.copy(source, path)
    kind = "changed" if name == CONFIG else "swapped"
    assert _told(study.folder) == [(str(path.relative_to(study.folder)), kind)]


@pytest.mark.parametrize(
    "number", ["accuracy", "balanced_accuracy", "macro_f1", "auc", "mcc", "ece"]
)
def test_a_number_that_the_scores_do_not_give_is_told(study, number):
    run = study.runs[0]
    path = study.path(run) / RESULT
    result = json.loads(path.read_text())
    for table in (result["test"], result["test"]["report"]):
        if number in table:
            table[number] += 1e-4
    path.write_text(json.dumps(result))
    (fault,) = check_study(study.folder).faults
    assert (fault.path.name, fault.kind) == (SCORES, "swapped")
    assert fault.words == "its scores do not give the numbers of the test in result.json"
    with pytest.raises(joint.CheckpointError, match="does not belong to the test in result"):
        report(study)
    _mend(study, run, fault)
    assert check_study(study.folder).whole


def test_a_page_that_stops_at_a_damaged_line_names_the_check(study):
    path = study.path(study.runs[0]) / HISTORY
    path.write_text("{\n" + path.read_text())
    with pytest.raises(joint.CheckpointError, match=r"line 1 of .* lens2label study check .*study"):
        study_html(study)
    assert _told(study.folder) == [(str(path.relative_to(study.folder)), "damaged")]


@pytest.mark.parametrize("name", [CONFIG, HISTORY, SCORES, BEST, CHECKPOINT])
def test_what_is_told_to_do_mends_it(study, name):
    run = study.runs[0]
    before = report(study).designs
    path = study.path(run) / name
    path.write_bytes(path.read_bytes()[:-50])
    (fault,) = check_study(study.folder).faults
    _mend(study, run, fault)
    assert check_study(study.folder).whole
    assert report(study).designs == before


def test_a_run_whose_checkpoints_are_gone_is_trained_again(study):
    folder = study.path(study.runs[0])
    for name in (CHECKPOINT, PREVIOUS, SCORES):
        (folder / name).unlink()
    (fault,) = check_study(study.folder).faults
    assert fault.remedy.startswith("delete the folder of the run, then lens2label study work ")
    assert fault.remedy.endswith(": it is trained again")


def test_weights_of_other_pictures_are_told(study):
    path = study.path(study.runs[0]) / RESULT
    result = json.loads(path.read_text())
    result["scenes"]["train"] = "other"
    path.write_text(json.dumps(result))
    faults = check_study(study.folder).faults
    assert {fault.path.name for fault in faults} == {BEST, CHECKPOINT, PREVIOUS}
    assert {fault.words for fault in faults} == {
        "they are of another train set than result.json says"
    }


def test_a_run_that_nobody_holds_has_begun(study):
    path = study.path(study.runs[0])
    (path / RESULT).unlink()
    (fault,) = check_study(study.folder).faults
    assert (fault.path, fault.kind) == (Path("runs", path.name), "begun")
    with lock_run(path):
        (path / HISTORY).write_bytes(b"\n\n")  # somebody is writing
        found = check_study(study.folder)
    assert (found.whole, found.runs.running) == (True, 1)
    assert _told(study.folder) == [
        (f"runs/{path.name}/{HISTORY}", "damaged"), (f"runs/{path.name}", "begun"),
    ]  # fmt: skip


def test_what_has_not_begun_or_has_failed_is_no_fault(ledger):
    first, second, third = (ledger.path(run) for run in ledger.runs[:3])
    for path in (first, second, third):
        path.mkdir(parents=True)
    (first / LOCK_FILE).touch()
    RunFolder(second).fail(ValueError("the lens fell down"))
    found = check_study(ledger.folder)
    assert (found.whole, found.runs) == (True, (31, 0, 0, 1))
    (second / "failure.json").write_text("[")
    begin(RunFolder(third))
    faults = check_study(ledger.folder).faults
    assert [(fault.path.parent.name, fault.kind) for fault in faults] == [
        (second.name, "damaged"), ("runs", "begun"),
    ]  # fmt: skip
    assert faults[0].remedy.endswith("--retry-failed")


def test_what_is_of_no_run_is_foreign(ledger):
    runs = ledger.folder / "runs"
    for name in ("0123456789ab", ".copied-x"):
        (runs / name).mkdir(parents=True)
    (ledger.folder / "designs").mkdir()
    (ledger.folder / "designs" / "0001.json").touch()
    ledger.path(ledger.runs[0]).touch()  # a file for a folder
    (ledger.folder / "found").mkdir()  # what a person keeps beside it
    assert sorted(_told(ledger.folder)) == [
        ("designs/0001.json", "foreign"),
        ("runs/.copied-x", "foreign"),
        ("runs/0123456789ab", "foreign"),
        (f"runs/{ledger.runs[0].digest}", "damaged"),
    ]


def test_a_study_file_that_was_changed_is_told(ledger):
    path = ledger.folder / STUDY
    content = json.loads(path.read_text())
    content["study"]["base"]["training"]["epochs"] = 3
    path.write_text(json.dumps(content))
    found = check_study(ledger.folder)  # without a warning
    assert {fault.kind for fault in found.faults} == {"changed"}
    assert [fault.path for fault in found.faults[:1]] == [Path(STUDY)]
    assert len(found.faults) == 1 + 32
    assert "  and 27 more\n" in str(found)  # told once
    content["seal"] = seal(content)  # as by a version that makes other configurations
    path.write_text(json.dumps(content))
    assert len(check_study(ledger.folder).faults) == 32
    content["designs"][0]["light"] = -1
    content["seal"] = seal(content)
    path.write_text(json.dumps(content))
    told = [fault.words for fault in check_study(ledger.folder).faults]
    assert told.count("there is no level -1; choose from 50, 5000") == 8


def test_designs_of_a_search_are_read(small_study, tmp_path):
    light = Axis(path="system.sensor.photons", low=10, high=1e4)
    sampler = TPE(count=6, startup=2)
    study = small_study(axes={"light": light}, plan=Plan(), sampler=sampler, seeds=(0,))
    ledger = create_study(study, tmp_path / "study")
    for level in (20.0, 30.0, 40.0):
        ledger = add_design(ledger, {"light": level})
    last = ledger.path(ledger.runs[-1])
    last.mkdir(parents=True)
    assert check_study(ledger.folder).whole
    path = design_path(ledger, 3)
    kept = path.read_text()
    path.write_text(kept[:-9])
    assert _told(ledger.folder) == [("designs/0003.json", "damaged")]  # and its runs not foreign
    path.unlink()
    assert _told(ledger.folder) == [("designs/0003.json", "missing")]
    assert check_study(ledger.folder).runs.total == 6
    path.write_text(kept)
    shutil.copy(path, path.with_name("0099.json"))
    assert _told(ledger.folder) == [("designs/0099.json", "foreign")]


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(StudyError, match="there is no study in"):
        check_study(tmp_path)
