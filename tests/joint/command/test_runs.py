import json
import os

import pytest
from commands import MISTAKE, run

import joint
from joint.saved.folder import lock_run


def test_runs_of_any_origin_are_written_for_tensorboard(trained, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, curves = tmp_path / "runs", tmp_path / "curves"
    root.mkdir()
    (root / "done").symlink_to(trained)
    for name in ("damaged", "begun"):
        joint.save_config(joint.RunConfig(), root / name)
    (root / "damaged" / "history.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    before = sorted(trained.iterdir())
    for _ in range(2):  # a second time it starts again
        status, out, err = run(capsys, "runs", root, "--tensorboard", curves)
        assert status == 0, err
        assert len(out.splitlines()) == 3
        assert "line 1 of" in err
        assert "is no record of an epoch" in err
        assert sorted(path.name for path in curves.iterdir()) == ["done"]
        read = EventAccumulator(str(curves / "done" / "tensorboard")).Reload()
        for line in joint.read_history(trained):
            for name, value in line["validation"].items():
                if value is not None:
                    (event,) = read.Scalars(f"validation/{name}")
                    assert (event.step, event.value) == (0, pytest.approx(value, rel=1e-6))
    assert sorted(trained.iterdir()) == before
    # One run is named as its folder is, also by a path without a name.
    monkeypatch.chdir(trained)
    status, _, err = run(capsys, "runs", ".", "--tensorboard", curves)
    assert status == 0, err
    assert (curves / trained.name).is_dir()


def test_runs_lists_what_is_there(trained, tmp_path, capsys):
    joint.save_config(joint.RunConfig(), tmp_path / "begun")
    (tmp_path / "done").symlink_to(trained)
    with lock_run(tmp_path / "begun"):
        status, out, _ = run(capsys, "runs", tmp_path)
    assert status == 0
    begun, done = out.splitlines()
    assert begun.split()[:4] == ["begun", "running", "0/20", "epochs"]
    assert f"process {os.getpid()} on" in begun
    assert done.split()[:5] == ["done", "done", "1/1", "epochs", "balanced_accuracy"]
    status, out, _ = run(capsys, "runs", tmp_path, "--json")
    listed = json.loads(out)
    assert [each["state"] for each in listed] == ["interrupted", "done"]
    assert listed[1]["path"] == str(tmp_path / "done")
    (tmp_path / "empty").mkdir()
    assert "no run folder in" in run(capsys, "runs", tmp_path / "empty")[1]
    status, _, err = run(capsys, "runs", tmp_path / "nowhere")
    assert status == MISTAKE
    assert "nowhere is no folder" in err
