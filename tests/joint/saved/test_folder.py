import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import joint
from joint.config.run import run_directory
from joint.saved.folder import (
    RunFolder,
    RunSummary,
    is_done,
    list_runs,
    lock_run,
    read_history,
    read_result,
    summarise_run,
    why_not_begun,
)
from joint.saved.lock import RunLocked


def _record(epoch, **validation):
    return {"epoch": epoch, "validation": validation or {"loss": 1.0 / (epoch + 1)}}


def test_a_configuration_has_one_folder(tmp_path):
    config = joint.RunConfig()
    other = joint.RunConfig(training=joint.Training(seed=1))
    assert run_directory(tmp_path, config) == tmp_path / config.digest()
    assert run_directory(tmp_path, other) != run_directory(tmp_path, joint.RunConfig())
    assert run_directory("root", config).parent == Path("root")


def test_a_held_folder_is_passed_through_and_another_is_refused(tmp_path):
    with lock_run(tmp_path / "run") as run:
        with lock_run(run) as again:
            assert again is run
        with lock_run(tmp_path / "other"):
            pass
        with pytest.raises(RunLocked), lock_run(tmp_path / "run"):
            pass
        assert summarise_run(run.path).state == "running"
    with lock_run(str(tmp_path / "run")) as run:
        assert str(run) == str(tmp_path / "run")


def test_what_killed_writers_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".checkpoint.safetensors.99-0123abcd").write_bytes(b"half")
    with lock_run(tmp_path):
        assert os.listdir(tmp_path) == ["lock.json"]
    assert os.listdir(tmp_path) == []


def test_the_newest_checkpoints_are_two(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.has_checkpoint()
    for number in range(3):
        run.save_checkpoint({"x": torch.tensor(number)}, {"number": number})
    assert run.load_checkpoint()[1]["number"] == run.load_head()["number"] == 2
    files = {"checkpoint.safetensors", "checkpoint.previous.safetensors"}
    assert {*os.listdir(tmp_path)} == files
    (tmp_path / "checkpoint.safetensors").unlink()
    assert run.has_checkpoint()
    assert run.load_head()["number"] == 1  # and says nothing
    with pytest.warns(UserWarning, match="checkpoint.safetensors is missing"):
        assert run.load_checkpoint()[1]["number"] == 1


def test_history_is_appended_and_rewritten(tmp_path):
    run = RunFolder(tmp_path)
    assert read_history(tmp_path) == []
    for epoch in range(3):
        run.append_history(_record(epoch))
    assert read_history(tmp_path) == [_record(epoch) for epoch in range(3)]
    run.rewrite_history([_record(0)])
    run.append_history(_record(1))
    assert read_history(tmp_path) == [_record(0), _record(1)]
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_history(_record(2, loss=float("nan")))


def test_a_torn_last_line_is_none_wherever_it_was_torn(tmp_path):
    run = RunFolder(tmp_path)
    for epoch in range(3):
        run.append_history(_record(epoch))
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        assert read_history(tmp_path) == [_record(0), _record(1)], length
    path.write_bytes(whole[:last] + bytes(20) + b"\n")  # what a power cut can leave
    assert read_history(tmp_path) == [_record(0), _record(1)]


@pytest.mark.parametrize("damaged", [b"{", b"[1]", b"\xff"])
def test_another_damaged_line_is_named(tmp_path, damaged):
    lines = [json.dumps(_record(epoch)).encode() for epoch in range(3)]
    (tmp_path / "history.jsonl").write_bytes(b"\n".join([lines[0], damaged, lines[2], b""]))
    with pytest.raises(joint.CheckpointError, match=r"line 2 of .*history\.jsonl is damaged: "):
        read_history(tmp_path)
    assert "line 2" in summarise_run(tmp_path).note


def test_a_full_disk_refuses_a_line_in_words(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(joint.CheckpointError, match=r"No space left.*are intact. Make room"):
        RunFolder(tmp_path).append_history(_record(0))


def test_an_environment_is_added_where_it_changes(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    for _ in range(2):
        run.record_environment("cpu")
    monkeypatch.setattr(torch, "__version__", "99.0")
    for _ in range(2):
        run.record_environment(torch.device("cpu"))
    known = json.loads((tmp_path / "environment.json").read_text())
    assert [entry["pytorch"] == "99.0" for entry in known] == [False, True]
    (tmp_path / "environment.json").write_text("damaged")
    run.record_environment("cpu")
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 1


def test_a_result_means_done(tmp_path):
    run = RunFolder(tmp_path)
    assert not is_done(tmp_path)
    with pytest.raises(joint.CheckpointError, match=r"no .*result\.json: the run is not d"):
        read_result(tmp_path)
    run.finish({"test": {"accuracy": 0.5}})
    assert is_done(tmp_path)
    assert read_result(tmp_path) == {"test": {"accuracy": 0.5}}
    for damage in ("{", "null", "[]", '{"x": 1}'):
        (tmp_path / "result.json").write_text(damage)
        with pytest.raises(
            joint.CheckpointError, match=r"json is damaged: .* remove it and resume"
        ):
            read_result(tmp_path)
        joint.save_config(joint.RunConfig(), tmp_path)
        listed = summarise_run(tmp_path)
        assert listed.state == "done"
        assert "result.json is damaged" in listed.note
    run.begin()
    assert not is_done(tmp_path)


def test_a_run_that_is_done_no_more_keeps_what_it_came_to_under_other_names(tmp_path):
    run, names = RunFolder(tmp_path), ("predictions.safetensors", "result.json")

    def content():
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    def tested(said, count=2):
        for name in names[:count]:
            (tmp_path / name).write_text(said)

    previous = ("predictions.previous.safetensors", "result.previous.json")
    tested("first")
    run.begin()
    assert content() == dict.fromkeys(previous, "first")
    tested("killed before its result", 1)
    run.begin()
    assert content() == dict.fromkeys(previous, "first")
    tested("second")
    run.begin()
    assert content() == dict.fromkeys(previous, "second")


def test_no_run_is_begun_over_what_is_left_of_one(tmp_path):
    assert why_not_begun(tmp_path) is None
    for name in ("history.jsonl", "config.json"):
        (tmp_path / name).touch()
    assert why_not_begun(tmp_path) is None
    for name in ("result.json", "best.safetensors"):
        (tmp_path / name).touch()
    assert "has best.safetensors and result.json of a run" in str(why_not_begun(tmp_path))


def _run(folder, epochs=4, done=2, monitor="loss"):
    run = RunFolder(folder)
    config = joint.RunConfig(training=joint.Training(epochs=epochs, monitor=monitor))
    joint.save_config(config, folder)
    for epoch in range(done):
        run.append_history(_record(epoch))
    return run


def test_the_states_of_a_run(tmp_path):
    folder = tmp_path / "run"
    run = _run(folder)
    assert summarise_run(folder) == RunSummary(folder, "interrupted", 2, 4, "loss", 0.5)
    run.fail(joint.TrainingDiverged("the loss became nan"))
    failed = summarise_run(folder)
    assert (failed.state, failed.note) == ("failed", "the loss became nan")
    with lock_run(folder):
        running = summarise_run(folder)
        assert running.state == "running"
        assert f"process {os.getpid()} on" in running.note
    run.begin()
    assert summarise_run(folder).state == "interrupted"
    run.finish({"test": {}})
    assert summarise_run(folder) == RunSummary(folder, "done", 2, 4, "loss", 0.5)


def test_what_is_no_folder_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(NotADirectoryError, match=f"{name} is no folder: give that of a run"):
            summarise_run(tmp_path / name)
    assert summarise_run(tmp_path).state == "interrupted"  # nothing lies in it yet
    assert read_history(tmp_path / "nowhere") == []  # somebody may wait for it to begin


@pytest.mark.parametrize("given", [3, None, joint.RunConfig()])
def test_what_is_no_path_is_named(given):
    asked = (
        joint.load_run, joint.load_system, joint.load_codec, joint.summarise_run,
        joint.read_history, joint.list_runs, joint.load_predictions, is_done, read_result,
    )  # fmt: skip
    message = rf"(directory|root|path) must be a path, .* not {type(given).__name__}"
    for ask in asked:
        with pytest.raises(TypeError, match=message):
            ask(given)


def test_a_failure_on_a_full_disk_is_no_second_one(tmp_path):
    (tmp_path / "file").touch()
    RunFolder(tmp_path / "file").fail(ValueError("x"))


def test_a_start_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.recorded_start() == {}
    folder.record_start({"codec": "0f"})
    assert folder.recorded_start() == {"codec": "0f"}
    for damage in ("{", "[]", '{"codec": 1}'):
        (tmp_path / "start.json").write_text(damage)
        with pytest.raises(
            joint.CheckpointError, match=r"start\.json is damaged: it has no digests"
        ):
            folder.recorded_start()
    folder.record_start({})
    assert [*tmp_path.iterdir()] == []


def test_runs_are_listed_by_name_whatever_else_is_there(tmp_path):
    for name in ("b", "a"):
        _run(tmp_path / name)
    (tmp_path / "c").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "config.json").write_text("[]")
    runs = list_runs(tmp_path)
    assert [run.path.name for run in runs] == ["a", "b", "d"]
    assert (runs[2].of, runs[2].monitor, runs[2].latest) == (None, None, None)
    assert [run.path.name for run in list_runs(tmp_path / "a")] == ["a"]
    assert list_runs(str(tmp_path / "c")) == []
    with pytest.raises(NotADirectoryError, match="is no folder: give the one that holds"):
        list_runs(tmp_path / "notes.txt")


def test_listing_reads_no_clock_and_writes_nothing(tmp_path):
    _run(tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    first = list_runs(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    assert list_runs(tmp_path) == first
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert [run.epochs for run in list_runs(tmp_path)] == [2, 2]
