import hashlib
import json
import os

import pytest

from joint.saved.folder import CHECKPOINT_FILE, HISTORY_FILE, RunFolder
from joint.study.attempt import (
    RunAbandoned,
    attempts,
    began_with,
    begin,
    end,
    ended_epochs,
    lost_together,
    take_back,
    why_abandoned,
)
from joint.study.ledger import ATTEMPTS_FILE


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def _arrive(folder):
    """Write a checkpoint, later than any before."""
    (folder.path / CHECKPOINT_FILE).write_bytes(b"")


def test_starts_are_noted(folder):
    begin(folder)
    begin(folder, together=3)
    found = list(attempts(folder.path / ATTEMPTS_FILE))
    assert [line["together"] for line in found] == [1, 3]
    assert [line["reached"] for line in found] == [None, None]
    _arrive(folder)
    begin(folder)
    *_, last = attempts(folder.path / ATTEMPTS_FILE)
    assert last["reached"] is not None


def test_three_starts_without_progress_are_enough(folder):
    for _ in range(3):
        begin(folder)
    with pytest.raises(RunAbandoned, match="3 starts from the same point ended without a message"):
        begin(folder)
    _arrive(folder)
    begin(folder)


def test_a_start_that_is_taken_back_is_none(folder):
    take_back(folder)  # of none
    begin(folder)
    begin(folder)
    begin(folder)
    take_back(folder)
    assert len([*attempts(folder.path / ATTEMPTS_FILE)]) == 2
    begin(folder)
    with pytest.raises(RunAbandoned):
        begin(folder)


def test_starts_among_others_are_not_held_against_a_run(folder):
    # An ensemble ends for others' faults, or is refused before it has begun.
    begin(folder)
    begin(folder)
    for _ in range(5):
        begin(folder, together=4)
    assert why_abandoned(folder.path) is None
    begin(folder)
    assert "3 starts from the same point" in why_abandoned(folder.path)
    begun = (folder.path / ATTEMPTS_FILE).read_bytes()
    with pytest.raises(RunAbandoned):
        begin(folder, together=4)
    assert (folder.path / ATTEMPTS_FILE).read_bytes() == begun
    _arrive(folder)
    assert why_abandoned(folder.path) is None


def test_epochs_that_ended_are_the_lines_of_the_history(folder):
    assert ended_epochs(folder.path) == 0
    (folder.path / HISTORY_FILE).write_text('{"epoch": 0}\n{"epoch": 1}\n{"ep')
    assert ended_epochs(folder.path) == 2


def test_a_run_that_was_lost_among_others_is_known(folder):
    assert not lost_together(folder.path)
    begin(folder)
    assert not lost_together(folder.path)
    begin(folder, together=2)
    assert lost_together(folder.path)
    begin(folder)  # alone since: from the same point it is not tried with others again
    assert lost_together(folder.path)
    _arrive(folder)
    assert not lost_together(folder.path)


@pytest.mark.parametrize("line", ["", "{", "[]", "null", json.dumps({"together": "x"})])
def test_damaged_lines_say_nothing(folder, line):
    (folder.path / ATTEMPTS_FILE).write_text(line + "\n")
    assert not lost_together(folder.path)
    begin(folder)


def test_the_seconds_of_a_run_stand_with_its_last_start(folder):
    begin(folder)
    begin(folder)
    end(folder, seconds=12.5)
    assert [start.get("seconds") for start in attempts(folder.path / ATTEMPTS_FILE)] == [None, 12.5]
    # Of a torn line nothing is said, and the run is not lost for it.
    path = folder.path / ATTEMPTS_FILE
    path.write_bytes(path.read_bytes() + b'{"pid": 1')
    torn = path.read_bytes()
    end(folder, seconds=3.0)
    assert path.read_bytes() == torn


def test_files_that_a_run_began_with_are_known_by_their_digests(folder):
    weights = folder.path / "weights.pt"
    weights.write_bytes(b"old")
    begin(folder)
    assert began_with(folder.path) == {}
    begin(folder, [weights])
    digest = hashlib.sha256(b"old").hexdigest()
    assert began_with(folder.path) == {str(weights): digest}
    weights.write_bytes(b"new")
    os.utime(weights, ns=(1, 1))
    begin(folder, [weights])  # without a checkpoint it is read again
    now = {str(weights): hashlib.sha256(b"new").hexdigest()}
    assert began_with(folder.path) == now
    _arrive(folder)
    weights.unlink()
    begin(folder, [weights])  # which a run that goes on does not need
    assert began_with(folder.path) == now
    # Neither are they known less once its starts are: of a full disk, or to try it again.
    take_back(folder)
    take_back(folder)
    assert began_with(folder.path) == now
    (folder.path / ATTEMPTS_FILE).unlink()
    begin(folder, [weights])
    assert began_with(folder.path) == now
    for damaged in ("{", "[]"):
        (folder.path / "files.json").write_text(damaged)
        assert began_with(folder.path) == {}
