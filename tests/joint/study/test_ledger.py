import json

import pytest

from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import FAILURE_FILE, RunFolder, lock_run
from joint.saved.lock import LOCK_FILE
from joint.study import (
    Axis,
    Plan,
    Sobol,
    StudyError,
    create_study,
    open_study,
)
from joint.study.attempt import began_with
from joint.study.ledger import ATTEMPTS_FILE, is_machine_fault, read_failure, without_weights


def test_every_design_has_every_seed(ledger):
    assert len(ledger.runs) == 4 * 8
    assert {(run.design, run.seed) for run in ledger.runs} == {
        (design, seed) for design in range(4) for seed in range(8)
    }
    assert len({run.digest for run in ledger.runs}) == 32
    # What is there early covers all designs.
    assert [run.design for run in ledger.runs[:4]] == [0, 1, 2, 3]


def test_a_run_is_named_by_its_configuration(ledger):
    for run in ledger.runs[::5]:
        config = ledger.config(run)
        assert config.digest() == run.digest == ledger.path(run).name
        assert config.system.seed == config.training.seed == run.seed
        assert config.system.sensor.photons == ledger.designs[run.design]["light"]


def test_another_version_is_not_mixed_in(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["runs"][0]["digest"] = "0" * 12
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="was changed after it was written"):
        changed = open_study(ledger.folder)
    with pytest.raises(StudyError, match="written by another version of lens2label"):
        changed.config(changed.runs[0])


@pytest.mark.parametrize(
    ("error", "message", "machine"),
    [
        ("RunAbandoned", "killed", True),
        ("OutOfMemoryError", "CUDA out of memory", True),
        ("MemoryError", "", True),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried", True),
        ("RuntimeError", "shapes cannot be multiplied", False),
        ("TrainingDiverged", "the loss is nan", False),
        (None, None, False),
    ],
)
def test_no_memory_is_no_outcome_of_a_design(error, message, machine):
    assert is_machine_fault(error, message) is machine


@pytest.mark.parametrize("best", [True, False])
def test_runs_without_weights_are_counted(small_base, small_study, tmp_path, pretend, best):
    ledger = create_study(small_study(base=small_base(restore_best=best)), tmp_path)
    for run in ledger.runs[:3]:
        pretend(ledger, run, 0.9)
    name = "best.safetensors" if best else "checkpoint.safetensors"
    (ledger.path(ledger.runs[0]) / name).touch()
    assert without_weights(ledger) == 2


def test_weights_are_those_that_each_design_keeps(small_base, small_study, tmp_path, pretend):
    axes = {"best": Axis(path="training.restore_best", values=(True, False))}
    study = small_study(base=small_base(), axes=axes, plan=Plan(resamples=100))
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
        best = ledger.designs[run.design]["best"]
        (ledger.path(run) / f"{'best' if best else 'checkpoint'}.safetensors").touch()
    assert without_weights(ledger) == 0
    (ledger.path(ledger.runs[0]) / "best.safetensors").unlink()
    assert without_weights(ledger) == 1


def test_states_are_those_of_the_files(ledger, pretend):
    first, second, third, fourth = ledger.runs[:4]
    pretend(ledger, first, 0.9)
    ledger.path(second).mkdir(parents=True)
    RunFolder(ledger.path(second)).fail(RuntimeError("no"))
    with lock_run(ledger.path(third)):
        # What somebody else, who was killed, has left.
        ledger.path(fourth).mkdir(parents=True)
        (ledger.path(fourth) / LOCK_FILE).write_text("{}")
        assert ledger.states()[:5] == ("done", "failed", "running", "pending", "pending")
        assert ledger.state(third) == "running"
        assert ledger.tally() == (29, 1, 1, 1)
        assert ledger.tally().finished == 2
        assert ledger.tally().total == 32
    assert ledger.state(third) == "pending"


def test_a_run_that_is_tried_again_is_running_not_failed(ledger):
    run = ledger.runs[0]
    with lock_run(ledger.path(run)):
        RunFolder(ledger.path(run)).fail(RuntimeError("before"))
        assert ledger.state(run) == "running"


def test_failures_keep_their_traceback(tmp_path):
    try:
        raise ValueError("the lens fell down")
    except ValueError as error:
        RunFolder(tmp_path).fail(error)
    found = read_failure(tmp_path)
    assert (found["error"], found["message"]) == ("ValueError", "the lens fell down")
    assert "test_failures_keep_their_traceback" in found["traceback"]
    (tmp_path / FAILURE_FILE).write_text("[")
    assert read_failure(tmp_path) == read_failure(tmp_path / "missing") == {}


def test_failed_runs_can_be_tried_again(ledger, pretend):
    first, second = ledger.runs[:2]
    pretend(ledger, first, 0.9)
    ledger.path(second).mkdir(parents=True)
    RunFolder(ledger.path(second)).fail(RuntimeError("no"))
    (ledger.path(second) / ATTEMPTS_FILE).write_text("{}\n")
    (ledger.path(second) / "files.json").write_text('{"w.pt": "a"}')
    assert ledger.reset_failed() == 1
    assert ledger.states()[:2] == ("done", "pending")
    assert not (ledger.path(second) / ATTEMPTS_FILE).exists()
    assert began_with(ledger.path(second)) == {"w.pt": "a"}  # which its checkpoint is made of
    assert ledger.reset_failed() == 0


def test_two_thousand_runs_are_listed_at_once(small_study, tmp_path):
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    study = small_study(axes={"light": light}, sampler=Sobol(count=250), plan=Plan())
    large = create_study(study, tmp_path)
    assert len(large.runs) == 2000
    for run in large.runs:
        path = large.path(run)
        path.mkdir(parents=True)
        for name in ("config.json", "history.jsonl", "checkpoint.safetensors", "result.json"):
            (path / name).touch()
    opened = open_study(tmp_path)  # without a look into the files, which are empty
    assert opened.tally().done == 2000


def test_a_damaged_result_says_what_to_do(ledger, pretend):
    run = ledger.runs[0]
    pretend(ledger, run, 1.0)
    (ledger.path(run) / "result.json").write_bytes(b'{"test": ')
    with pytest.raises(CheckpointError, match=r"result.json is damaged.* Remove the file .* again"):
        ledger.result(run)
    (ledger.path(run) / "result.json").write_text('{"test": {}, "costs": null}')
    with pytest.raises(CheckpointError, match=r"its costs is null, not a table. Remove the file"):
        ledger.result(run)
    (ledger.path(run) / "result.json").write_text('{"test": {"report": 1}}')
    with pytest.raises(CheckpointError, match=r"its report is 1, not a table. Remove the file"):
        ledger.result(run)
    (ledger.path(run) / "result.json").write_text('{"test": {}, "digest": "0123456789ab"}')
    with pytest.raises(CheckpointError, match=r"that of the run 0123456789ab. Remove the file"):
        ledger.result(run)


def test_of_what_is_no_search_chance_chose_nothing(ledger):
    """No file is looked for, of which there may be thousands."""
    path = ledger.folder / "designs" / "0000.json"
    path.parent.mkdir()
    path.write_text('{"by_chance": true}')
    assert ledger.by_chance() == ()
