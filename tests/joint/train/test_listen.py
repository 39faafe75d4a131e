"""Event files are read back by TensorBoard itself."""

import builtins
import json
import math
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import compress
import joint
import joint.train.step
from joint.cli import main
from joint.saved.checkpoint import CheckpointError
from joint.train.listen import listeners, retell, tensorboard_writer


def _system(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 3),
        )  # fmt: skip
        return joint.ImagingSystem(codec=compress.FactorizedCodec(), classifier=head)


def _fit(system, lesions, others, **options):
    return joint.fit(
        system,
        lesions,
        others,
        objective=joint.Objective(rate=0.1, distortion=1.0),
        config=joint.Training(epochs=3, batch_size=10),
        progress=False,
        **options,
    )


def _state(system):
    return {name: tensor.clone() for name, tensor in system.state_dict().items()}


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _record(epoch, **changes):
    made = {
        "epoch": epoch,
        "train": {"total": 1.5 - epoch, "rate": None},
        "validation": {"loss": 0.1, "auc": None},
        "rate_factor": 0.5,
        "images_per_second": 12.5,
        "gradient_norms": {"codec": 3.25},
        "peak_memory": 2**33 + 1,
    }
    return joint.EpochRecord(**{**made, **changes})


def _accumulator(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})


def _read(run, accumulator=None):
    """Step and value of every point by its tag."""
    accumulator = (accumulator or _accumulator(run)).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def _expected(records):
    """The same of records, as TensorBoard keeps them: float32, no gaps but those of None."""
    points = {}
    for record in records:
        groups = (
            ("train", record.train),
            ("validation", record.validation),
            ("gradient_norm", record.gradient_norms),
            (
                "run",
                {
                    n: getattr(record, n)
                    for n in ("rate_factor", "images_per_second", "peak_memory")
                },
            ),
        )
        for group, values in groups:
            for name, value in values.items():
                if value is not None:
                    point = (record.epoch, float(np.float32(value)))
                    points.setdefault(f"{group}/{name}", []).append(point)
    return points


def _history(run):
    return [joint.EpochRecord(**line) for line in joint.read_history(run)]


# ------------------------------------------------------------------------------------ listeners


def test_listeners_are_told_in_their_order_when_the_epoch_is_safe(lesions, others, tmp_path):
    told = []

    def first(record):
        _, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
        assert (head["epoch"], head["step"]) == (record.epoch + 1, 0)
        assert _history(tmp_path)[-1] == record
        told.append(("first", record))

    def second(record):
        told.append(("second", record))

    history = _fit(_system(), lesions, others, directory=tmp_path, on_epoch=[first, second])
    assert told == [(name, record) for record in history.epochs for name in ("first", "second")]


def test_one_listener_needs_no_list_and_a_run_no_folder(lesions, others):
    told = []
    whole, heard = _system(), _system()
    _fit(whole, lesions, others)
    history = _fit(heard, lesions, others, on_epoch=told.append)
    assert tuple(told) == history.epochs
    assert _same(_state(whole), _state(heard))


def test_a_resumed_run_tells_of_its_epochs_from_the_beginning(lesions, others, tmp_path):
    polls = iter([False] * 12 + [True])
    before, after, again = [], [], []
    options = {"directory": tmp_path, "resume": True}
    part = _fit(
        _system(), lesions, others, stop=lambda: next(polls), on_epoch=before.append, **options
    )
    assert part.interrupted
    assert tuple(before) == part.epochs
    assert len(before) == 2  # the third was begun
    history = _fit(_system(), lesions, others, on_epoch=after.append, **options)
    assert tuple(after) == history.epochs
    assert len(after) == 3
    assert after[:2] == before
    _fit(_system(), lesions, others, on_epoch=again.append, **options)  # it is over
    assert again == after


def test_what_a_listener_raises_ends_a_training_that_can_go_on(lesions, others, tmp_path):
    class Lost(Exception):
        pass

    def loses(record):
        if record.epoch == 1:
            raise Lost

    told, after = [], []
    whole, resumed = _system(), _system(seed=3)
    expected = _fit(whole, lesions, others)
    with pytest.raises(Lost):
        _fit(
            _system(), lesions, others, directory=tmp_path, on_epoch=[loses, told.append]
        )  # fmt: skip
    assert [record.epoch for record in told] == [0]
    assert [record.epoch for record in _history(tmp_path)] == [0, 1]
    history = _fit(
        resumed, lesions, others, directory=tmp_path, resume=True, on_epoch=after.append
    )  # fmt: skip
    assert tuple(after) == history.epochs
    assert [record.train for record in after] == [record.train for record in expected.epochs]
    assert _same(_state(whole), _state(resumed))


@pytest.mark.parametrize("wrong", ["loud", 3, [print, None]])
def test_what_cannot_be_called_is_refused_first(lesions, others, monkeypatch, wrong):
    monkeypatch.setattr(joint.train.step, "_step", None)
    with pytest.raises(ValueError, match=r"on_epoch=.* cannot be called: give a function of an"):
        _fit(_system(), lesions, others, on_epoch=wrong)
    assert listeners(None) == ()
    assert listeners((print, max)) == (print, max)


def test_a_history_is_told_again_or_its_damage_named(tmp_path):
    told = []
    lines = [json.dumps(asdict(_record(epoch))) for epoch in range(2)]
    (tmp_path / "history.jsonl").write_text("\n".join([*lines, ""]))
    retell(tmp_path, [told.append])
    assert told == [_record(0), _record(1)]
    (tmp_path / "history.jsonl").write_text("\n".join([lines[0], '{"epoch": 1, "train": 3}', ""]))
    with pytest.raises(
        CheckpointError, match=r"line 2 of .*history.jsonl is no record of an epoch: train: Input"
    ):
        retell(tmp_path, [told.append])
    retell(tmp_path, [])  # nobody asks
    assert len(told) == 2


# ---------------------------------------------------------------------------------- TensorBoard


def test_tensorboard_reads_what_the_history_says(lesions, others, tmp_path):
    accumulator = _accumulator(tmp_path)
    with tensorboard_writer(tmp_path) as log:
        history = _fit(_system(), lesions, others, directory=tmp_path, on_epoch=log)
    points = _read(tmp_path, accumulator)
    assert points == _expected(_history(tmp_path))
    assert points == _expected(history.epochs)
    for tag in ("train/task", "validation/balanced_accuracy", "gradient_norm/codec"):
        assert [step for step, _ in points[tag]] == [0, 1, 2], tag
    assert {"run/rate_factor", "run/images_per_second", "run/peak_memory"} <= points.keys()


def test_what_is_no_number_is_left_out(tmp_path):
    with_gaps = [
        _record(0),
        _record(1, validation={"loss": math.nan, "auc": 0.75}, peak_memory=None),
        _record(2, gradient_norms={"codec": math.inf, "sensor": 1.0}),
    ]
    accumulator = _accumulator(tmp_path)
    with tensorboard_writer(tmp_path) as log:
        for record in with_gaps:
            log(record)
            # What was told can be read, whatever happens to the process.
            assert _read(tmp_path)["run/rate_factor"][-1] == (record.epoch, 0.5)
    points = _read(tmp_path, accumulator)
    assert "train/rate" not in points
    assert points["validation/loss"] == [(epoch, float(np.float32(0.1))) for epoch in (0, 2)]
    assert points["validation/auc"] == [(1, 0.75)]
    assert points["gradient_norm/codec"] == [(0, 3.25), (1, 3.25)]
    assert points["run/peak_memory"] == [(epoch, float(2**33)) for epoch in (0, 2)]


_KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
sys.path[:0] = sys.argv[1], sys.argv[1] + "/train"
from conftest import _lesions
from test_listen import _fit, _system, tensorboard_writer

def kill(record):
    if record.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)

with tensorboard_writer(sys.argv[2]) as log:
    _fit(
        _system(), _lesions(48, 16, 0), _lesions(18, 16, 1), directory=sys.argv[2],
        on_epoch=[log, kill] if sys.argv[3] == "after" else [kill, log],
    )
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_and_resumed_has_each_epoch_once(
    fresh_joint, lesions, others, tmp_path, when
):
    """Killed when an epoch is safe and not yet logged; or logged, with the file torn."""
    accumulator = _accumulator(tmp_path)
    done = fresh_joint.run(_KILLED, Path(__file__).parents[1], tmp_path, when)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(_history(tmp_path)) == 2
    (event_file,) = (tmp_path / "tensorboard").iterdir()
    logged = {"before": [0], "after": [0, 1]}[when]
    assert [step for step, _ in _read(tmp_path)["train/total"]] == logged
    if when == "after":
        event_file.write_bytes(event_file.read_bytes()[:-7])
    foreign = tmp_path / "tensorboard" / "notes.txt"
    foreign.write_text("mine")
    with tensorboard_writer(tmp_path) as log:
        history = _fit(
            _system(), lesions, others, directory=tmp_path, resume=True, on_epoch=log
        )  # fmt: skip
    assert len(history.epochs) == 3
    assert _read(tmp_path, accumulator) == _expected(_history(tmp_path))
    assert foreign.read_text() == "mine"
    assert event_file.stat().st_size == 0
    with tensorboard_writer(tmp_path) as log:
        retell(tmp_path, [log])
    assert _read(tmp_path) == _expected(history.epochs)
    assert not event_file.exists()  # what was emptied goes the next time


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_tensorboard_that_looks_on_sees_each_epoch_once(tmp_path, epochs):
    records = [_record(epoch) for epoch in range(epochs + 1)]
    accumulator = _accumulator(tmp_path)
    with tensorboard_writer(tmp_path) as log:
        for record in records[:-1]:
            log(record)
    (old,) = (tmp_path / "tensorboard").iterdir()
    # An hour ago: TensorBoard reads the files in the order of their names, which have seconds.
    seconds = old.name.split(".")[3]
    old.rename(old.with_name(old.name.replace(seconds, str(int(seconds) - 3600))))
    assert _read(tmp_path, accumulator) == _expected(records[:-1])
    with tensorboard_writer(tmp_path) as log:
        for record in records:
            log(record)
    assert _read(tmp_path, accumulator) == _expected(records)


def test_one_writer_may_hear_a_run_twice(tmp_path):
    pytest.importorskip("tensorboard")
    with tensorboard_writer(tmp_path) as log:
        for epoch in (0, 0, 1, 2, 0, 1):
            log(_record(epoch))
    assert _read(tmp_path) == _expected([_record(0), _record(1)])


def test_without_tensorboard_its_extra_is_named(tmp_path, monkeypatch, capsys):
    original = builtins.__import__

    def without(name, *arguments):
        if name.startswith("tensorboard") or name == "torch.utils.tensorboard":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    words = (
        "a log for TensorBoard needs TensorBoard, which is not installed: "
        'pip install "lens2label[tensorboard]"'
    )
    with pytest.raises(ImportError) as caught, tensorboard_writer(tmp_path):
        pass
    assert str(caught.value) == words
    run = tmp_path / "run"
    assert main(["train", "--quiet", "--output", str(run), "--tensorboard"]) == 1
    assert capsys.readouterr().err == f"lens2label: {words}\n"
    assert not run.exists()


def test_a_log_that_cannot_be_written_says_so_and_spares_the_run(lesions, others, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(OSError, match="tensorboard"), tensorboard_writer(tmp_path) as log:
        _fit(_system(), lesions, others, directory=tmp_path, on_epoch=log)
    assert len(_history(tmp_path)) == 1
