import importlib
import json
import warnings

import numpy as np
import pytest
import torch

import joint
from joint.saved.folder import CHECKPOINT_FILE, HISTORY_FILE, RunFolder, lock_run, read_history
from joint.saved.predictions import load_predictions
from joint.study import Axis, Plan, create_study, work
from joint.study.attempt import attempts
from joint.study.ledger import ATTEMPTS_FILE, read_failure
from joint.study.together import companions, train_together

ensemble = importlib.import_module("joint.train.ensemble")
# Sixteen pictures of 16 x 16: a stack of them pays on a CPU.
_TRAINING = {"epochs": 2, "batch_size": 16}


def _ledger(small_study, folder, base, *, seeds=(0, 1), **axes):
    axes = axes or {"light": Axis(path="system.sensor.photons", values=(50, 5000))}
    return create_study(small_study(base=base, axes=axes, plan=Plan(), seeds=seeds), folder)


def _stacked(ledger):
    """Runs with which each start was made."""
    return [
        [line["together"] for line in attempts(ledger.path(run) / ATTEMPTS_FILE)]
        for run in ledger.runs
    ]


def _same(ledger, other):
    """Check that two ledgers hold the same runs, up to rounding."""
    for run in ledger.runs:
        ours, theirs = ledger.result(run), other.result(run)
        assert ours["epochs"] == theirs["epochs"]
        assert ours["costs"] == theirs["costs"]
        assert ours["test"]["loss"] == pytest.approx(theirs["test"]["loss"], rel=1e-3)
        ours, theirs = (load_predictions(each.path(run)) for each in (ledger, other))
        assert ours.identifiers == theirs.identifiers
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=2e-3)


def _begun(ledger, run, *, together=1, times=1):
    """Starts that came to nothing."""
    ledger.path(run).mkdir(parents=True, exist_ok=True)
    line = {"reached": None, "epochs": 0, "pid": 7, "host": "there", "together": together}
    (ledger.path(run) / ATTEMPTS_FILE).write_text((json.dumps(line) + "\n") * times)


def _pass(ledger, runs, *, stop=lambda: False):
    train_together(ledger, runs, joint.build_data, device=torch.device("cpu"), stop=stop)


def test_runs_together_are_the_runs_alone(small_study, small_base, tmp_path):
    base = small_base(**_TRAINING)
    alone = _ledger(small_study, tmp_path / "alone", base)
    work(alone.folder)
    ledger = _ledger(small_study, tmp_path / "together", base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert work(ledger.folder, together=3) == (4, 0, False)
    # Three were trained at once and tested one by one, and the fourth had nobody left.
    assert _stacked(ledger) == [[3, 1], [3, 1], [3, 1], [1]]
    assert _stacked(alone) == [[1]] * 4
    _same(ledger, alone)
    for run in ledger.runs:
        config, _, _ = joint.load_run(ledger.path(run))
        assert config == ledger.config(run)


def test_what_runs_need_in_common(small_study, small_base, tmp_path):
    ledger = _ledger(
        small_study,
        tmp_path,
        small_base(**_TRAINING),
        light=Axis(path="system.sensor.photons", values=(50, 5000)),
        rate=Axis(path="training.learning_rate", values=(1e-3, 1e-2)),
        net=Axis(path="system.classifier.dropout", values=(0.0, 0.5)),
    )
    assert len(ledger.runs) == 16
    for first in ledger.runs:
        found = companions(ledger, first, 16, without=())
        own = ledger.designs[first.design]
        assert found[0] == first
        # Two lights, two seeds.
        assert len(found) == len(set(found)) == 4
        for run in found:
            design = ledger.designs[run.design]
            assert (design["rate"], design["net"]) == (own["rate"], own["net"])
    first, *others = companions(ledger, ledger.runs[0], 16, without=())
    assert companions(ledger, first, 2, without=()) == [first, others[0]]
    assert companions(ledger, first, 16, without={others[0]}) == [first, *others[1:]]


def test_what_ended_or_is_held_is_left_out(ledger, pretend, monkeypatch):
    done, failed, held, first, *_ = ledger.runs
    pretend(ledger, done, 0.9)
    ledger.path(failed).mkdir(parents=True)
    RunFolder(ledger.path(failed)).fail(RuntimeError("no"))
    with lock_run(ledger.path(held)):
        found = companions(ledger, first, 99, without=())
        assert found == [first, *ledger.runs[4:]]
        # Somebody may be faster between a look and a hold.
        _pass(ledger, [done, failed, held])
    assert _stacked(ledger) == [[]] * len(ledger.runs)


def test_a_run_that_was_lost_among_others_goes_alone(small_study, small_base, tmp_path):
    ledger = _ledger(small_study, tmp_path, small_base(**_TRAINING))
    lost, *others = ledger.runs
    _begun(ledger, lost, together=4)
    assert companions(ledger, lost, 4, without=()) == others
    assert companions(ledger, others[0], 4, without=()) == others
    # Nor does it take a place.
    assert companions(ledger, lost, 2, without=()) == others[:2]
    assert companions(ledger, others[2], 2, without=()) == [others[2], others[0]]
    assert work(ledger.folder, together=4) == (4, 0, False)
    assert _stacked(ledger) == [[4, 1], [3, 1], [3, 1], [3, 1]]


def test_what_is_trained_and_waits_for_its_test_takes_no_place(small_study, small_base, tmp_path):
    ledger = _ledger(small_study, tmp_path, small_base(**_TRAINING))
    trained, half_way, *others = ledger.runs
    for run, epochs in ((trained, 2), (half_way, 1)):
        ledger.path(run).mkdir(parents=True)
        (ledger.path(run) / HISTORY_FILE).write_text("{}\n" * epochs)
    assert companions(ledger, others[0], 4, without=()) == [others[0], half_way, others[1]]
    assert companions(ledger, trained, 4, without=()) == [half_way, *others]


def test_one_that_is_given_up_ends_no_start_of_the_others(small_study, small_base, tmp_path):
    ledger = _ledger(small_study, tmp_path, small_base(**_TRAINING))
    _begun(ledger, ledger.runs[1], times=3)
    assert work(ledger.folder, together=4) == (3, 1, False)
    assert _stacked(ledger) == [[3, 1], [1, 1, 1], [3, 1], [3, 1]]
    assert read_failure(ledger.path(ledger.runs[1]))["error"] == "RunAbandoned"


def test_an_ensemble_that_is_refused_is_not_held_against_its_runs(
    small_study, small_base, tmp_path
):
    ledger = _ledger(small_study, tmp_path, small_base(epochs=1, batch_size=32), seeds=(0,))
    _begun(ledger, ledger.runs[0], times=2)  # once more, and it is given up
    with pytest.warns(UserWarning, match="2 runs are trained one by one"):
        assert work(ledger.folder, together=2) == (2, 0, False)
    assert _stacked(ledger) == [[1, 1, 2, 1], [2, 1]]


def test_a_worker_that_is_asked_leaves_all_of_them_to_the_next(small_study, small_base, tmp_path):
    base = small_base(**_TRAINING)
    alone = _ledger(small_study, tmp_path / "alone", base)
    work(alone.folder)
    ledger = _ledger(small_study, tmp_path / "together", base)
    first = ledger.path(ledger.runs[0])
    stopped = work(ledger.folder, together=4, stop=lambda: bool(read_history(first)))
    assert stopped == (0, 0, True)
    assert ledger.tally() == (4, 0, 0, 0)
    assert all((ledger.path(run) / CHECKPOINT_FILE).exists() for run in ledger.runs)
    # One of them is taken by a worker that trains one by one.
    with lock_run(ledger.path(ledger.runs[1])), lock_run(ledger.path(ledger.runs[2])):
        assert work(ledger.folder, together=2, wait_for_others=False) == (2, 0, False)
    assert work(ledger.folder) == (2, 0, False)
    assert _stacked(ledger) == [[4, 2, 1], [4, 1], [4, 1], [4, 2, 1]]
    _same(ledger, alone)


def test_what_cannot_be_stacked_is_trained_one_by_one(
    small_study, small_base, tmp_path, monkeypatch
):
    ledger = _ledger(small_study, tmp_path / "large", small_base(epochs=1, batch_size=32))
    with pytest.warns(UserWarning, match="4 runs are trained one by one: batches of .* pixels"):
        assert work(ledger.folder, together=4) == (4, 0, False)

    def no_room(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("joint.study.together.fit_ensemble", no_room)
    ledger = _ledger(small_study, tmp_path / "room", small_base(**_TRAINING), seeds=(0,))
    with pytest.warns(UserWarning, match="2 runs are trained one by one: CUDA out of memory"):
        assert work(ledger.folder, together=2) == (2, 0, False)


def test_one_that_fails_takes_no_other_with_it(small_study, small_base, tmp_path):
    axes = {"binning": Axis(path="system.sensor.binning", values=(1, 3))}  # 3 does not divide 16
    ledger = _ledger(small_study, tmp_path / "build", small_base(**_TRAINING), seeds=(0,), **axes)
    with pytest.warns(UserWarning, match="does not divide"):
        assert work(ledger.folder, together=2) == (1, 1, False)
    assert ledger.states() == ("done", "failed")

    axes = {"weight": Axis(path="objective.task", values=(1.0, 1e39))}
    base = small_base(**_TRAINING, gradient_clip=None)
    ledger = _ledger(small_study, tmp_path / "diverge", base, seeds=(0,), **axes)
    with pytest.warns(UserWarning, match="2 runs are trained one by one"):
        assert work(ledger.folder, together=2) == (1, 1, False)
    assert ledger.states() == ("done", "failed")
    assert read_failure(ledger.path(ledger.runs[1]))["error"] == "TrainingDiverged"


def test_a_full_disk_stops_the_worker(small_study, small_base, tmp_path, monkeypatch):
    ledger = _ledger(small_study, tmp_path, small_base(**_TRAINING))

    def full(*_, **__):
        raise joint.CheckpointError("cannot write") from OSError(28, "No space left on device")

    monkeypatch.setattr("joint.study.together.fit_ensemble", full)
    with pytest.raises(joint.CheckpointError, match="cannot write"):
        work(tmp_path, together=2)
    assert ledger.tally().failed == 0
