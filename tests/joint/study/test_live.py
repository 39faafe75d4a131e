import io
import json
import os
from contextlib import ExitStack

import pytest

from joint.saved.folder import RunFolder, lock_run
from joint.study import Axis, Plan, StudyError, create_study, progress, watch
from joint.study.attempt import attempts, end
from joint.study.live import Board, _duration


def _begun(ledger, run, *, epochs, of=10, began=0, seconds=0.0, speed=250.0):
    """A run that took so many seconds for the epochs since its last start."""
    path = ledger.path(run)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"training": {"epochs": of}}))
    (path / "attempts.jsonl").write_text("{}\n" + json.dumps({"epochs": began}) + "\n")
    line = {"images_per_second": speed, "validation": {}}
    (path / "history.jsonl").write_text(
        "".join(json.dumps({**line, "epoch": epoch}) + "\n" for epoch in range(epochs))
    )
    start = 4e9  # a clock that is wrong by decades
    os.utime(path / "attempts.jsonl", (start, start))
    os.utime(path / "history.jsonl", (start + seconds, start + seconds))
    return path


def _ended(ledger, run, **settings):
    path = _begun(ledger, run, **settings)
    (path / "result.json").write_text("{}")
    end = 4e9 + settings["seconds"]
    os.utime(path / "result.json", (end, end))


@pytest.fixture
def at_work(ledger):
    """32 runs of one epoch as planned: two done, two running, the others to go."""
    with ExitStack() as held:
        for run in ledger.runs[:2]:
            _ended(ledger, run, epochs=1, of=1, seconds=30.0)
        for run, ended in zip(ledger.runs[2:4], (4, 0), strict=True):
            held.enter_context(lock_run(ledger.path(run)))
            _begun(ledger, run, epochs=ended, began=min(2, ended), seconds=5.0 * ended)
        yield ledger


def test_what_is_running_is_told_with_its_pace(at_work):
    now = progress(at_work)
    assert now.tally == (28, 2, 2, 0)
    first, second = now.running
    assert (first.epochs, first.of, first.images_per_second) == (4, 10, 250.0)
    # Since its last start: two epochs in 20 s, so that six take a minute.
    assert first.seconds_left == pytest.approx(60)
    # Nothing of its own: the median of the others, 30, 30 and 10 s an epoch.
    assert (second.epochs, second.images_per_second) == (0, None)
    assert second.seconds_left == pytest.approx(300)
    assert now.seconds_left == pytest.approx((60 + 300 + 28 * 30 * 1) / 2)
    assert str(now) == "2/32 runs ended (0 failed), 2 running, 28 to go; about 10 min left"


def test_nothing_is_told_of_what_nobody_knows(ledger):
    assert progress(ledger).seconds_left is None
    run = ledger.runs[0]
    with lock_run(ledger.path(run)):
        _begun(ledger, run, epochs=0)
        (ledger.path(run) / "config.json").write_text("{")
        (going,) = progress(ledger).running
        assert (going.of, going.seconds_left) == (None, None)
        (ledger.path(run) / "history.jsonl").write_text("damaged\n\n")
        assert progress(ledger).running[0].epochs == 0
        # A copy, whose files are as old as each other.
        _begun(ledger, run, epochs=3, seconds=0.0)
        assert progress(ledger).running[0].seconds_left is None
    assert "?" not in str(progress(ledger))


def test_runs_that_were_copied_take_as_long_as_they_took(at_work, tmp_path):
    """With times of their own, as by cp -r, they seemed to take no time, and so did the rest."""
    for run in at_work.runs[:2]:
        path = at_work.path(run)
        end(RunFolder(path), seconds=30.0)
        now = 5e9
        for name in ("attempts.jsonl", "history.jsonl", "result.json"):
            now += 1e-3
            os.utime(path / name, (now, now))
    assert [a.get("seconds") for a in attempts(path / "attempts.jsonl")] == [None, 30.0]
    told = progress(at_work)
    # As before it was copied.
    assert told.seconds_left == pytest.approx((60 + 300 + 28 * 30 * 1) / 2)
    (path / "attempts.jsonl").write_text('{"epochs": 0, "seconds": "long"}\n')
    assert progress(at_work).seconds_left is not None


def test_a_study_that_is_over_takes_no_time(finished):
    now = progress(finished)
    assert (now.tally.done, now.running, now.seconds_left) == (32, (), 0.0)
    assert json.loads(now.to_json())["tally"] == {"pending": 0, "running": 0, "done": 32,
                                                  "failed": 0}  # fmt: skip


def test_what_is_left_counts_the_epochs_of_each_design(small_study, tmp_path):
    axes = {"epochs": Axis(path="training.epochs", values=(10, 100))}
    study = small_study(axes=axes, plan=Plan(), seeds=(0, 1))
    ledger = create_study(study, tmp_path)
    going, *waiting = ledger.runs
    with lock_run(ledger.path(going)):
        _begun(ledger, going, epochs=4, seconds=40.0)
        # 6 epochs of its own and 100, 10 and 100 of those that wait, at 10 s each.
        assert [ledger.config(run).training.epochs for run in waiting] == [100, 10, 100]
        assert progress(ledger).seconds_left == pytest.approx(10 * (6 + 210))


class _Screen(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def test_a_terminal_has_a_table_that_stays_in_place(at_work, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LINES", "24")
    screen = _Screen(terminal=True)
    board = Board(at_work, stream=screen)
    assert board.show(at_work) == (28, 2, 2, 0)
    head, titles, first, second = screen.getvalue().splitlines()
    assert head == "study: 2/32 runs ended (0 failed), 2 running, 28 to go; about 10 min left"
    assert titles.split() == ["run", "design", "seed", "epoch", "images/s", "left"]
    assert at_work.runs[2].digest in first
    assert first.split()[-4:] == ["4/10", "250", "60", "s"]
    assert "light=5000, depth=4" in first
    assert second.split()[-3:] == ["-", "5", "min"]
    board.show(at_work)
    assert screen.getvalue().count("\x1b[4F\x1b[J") == 1  # four lines up
    monkeypatch.setenv("LINES", "3")
    monkeypatch.setenv("COLUMNS", "20")
    small = _Screen(terminal=True)
    Board(at_work, stream=small).show(at_work)
    assert [len(line) for line in small.getvalue().splitlines()] == [19, 19]


def test_elsewhere_a_line_is_written_when_something_has_ended(ledger, pretend, capfd):
    screen = _Screen(terminal=False)
    board = Board(ledger, stream=screen)
    board.show(ledger)
    assert screen.getvalue() == ""
    pretend(ledger, ledger.runs[0], 0.9)
    board.show(ledger)
    board.show(ledger)
    assert screen.getvalue() == "1/32 runs ended (0 failed), 0 running, 31 to go\n"
    quiet = Board(ledger, shown=False)
    pretend(ledger, ledger.runs[1], 0.9)
    assert quiet.show(ledger).done == 2
    assert capfd.readouterr().err == ""


def test_watching_ends_with_the_study(finished, at_work):
    screen = _Screen(terminal=False)
    assert watch(finished.folder, stream=screen).done == 32
    assert screen.getvalue().count("\n") == 1
    lines = _Screen(terminal=False)
    watch(finished.folder, as_json=True, stream=lines)
    assert json.loads(lines.getvalue())["seconds_left"] == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_who_watches_what_nobody_works_on_is_told(ledger, terminal):
    screen = _Screen(terminal=terminal)
    watch(ledger.folder, stop=lambda: True, stream=screen)
    assert (
        f"nobody is working on it; to continue: lens2label study run {ledger.folder}"
        in screen.getvalue()
    )


def test_who_watches_others_at_work_is_not(at_work):
    screen = _Screen(terminal=False)
    watch(at_work.folder, stop=lambda: True, stream=screen)
    assert "nobody" not in screen.getvalue()


def test_a_script_is_told_of_changes_only(at_work):
    looks = iter([False, False, True])
    lines = _Screen(terminal=False)
    watch(at_work.folder, as_json=True, every=0.01, stop=lambda: next(looks), stream=lines)
    (line,) = lines.getvalue().splitlines()
    assert [run["epochs"] for run in json.loads(line)["running"]] == [4, 0]


def test_what_cannot_be_watched(ledger, tmp_path):
    with pytest.raises(StudyError, match="there is no study in"):
        watch(tmp_path / "nothing")
    with pytest.raises(ValueError, match="time between two updates must be positive, not 0 s"):
        watch(ledger.folder, every=0)


def test_durations_are_for_people():
    shown = [_duration(seconds) for seconds in (0, 119, 120, 7199, 7200, 86400, 200000)]
    assert shown == ["0 s", "119 s", "2 min", "120 min", "2 h", "24 h", "2 d"]
