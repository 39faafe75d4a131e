import json
import os
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from studies import validated

import joint
from joint.command.report import _names_of
from joint.saved.folder import RunFolder, lock_run
from joint.study import (
    Axis,
    StudyError,
    check_study,
    confirm,
    create_study,
    elsewhere,
    open_study,
    progress,
    rate_accuracy,
    report,
    rows,
    run_study,
    scenes,
    select_designs,
    study_html,
    watch,
    winner,
    work,
)
from joint.study.ledger import ATTEMPTS_FILE
from joint.study.race_decision import race_note
from joint.study.store import refreshed


def _end(ledger, run, value, *, metric="balanced_accuracy", **test):
    """What a run leaves that has this number on the validation part."""
    validated(ledger, run, {metric: value}, digest=run.digest, epochs=1, test=test)


def _fail(ledger, run, error):
    ledger.path(run).mkdir(parents=True, exist_ok=True)
    RunFolder(ledger.path(run)).fail(error)


def _to_the_end(ledger, value, **settings):
    """End every run that is called, rung by rung, by a number of its design and seed."""
    while "pending" in ledger.states():
        for run, state in zip(ledger.runs, ledger.states(), strict=True):
            if state == "pending":
                _end(ledger, run, value(run.design, run.seed), **settings)
        ledger = refreshed(ledger)
    return ledger


def _seeds(ledger):
    """Seeds that each design has, by number."""
    found = Counter(run.design for run in ledger.runs)
    return [found[number] for number in range(len(ledger.designs))]


def _by_hand(values, rungs, keep):
    """Seeds of each design by the whole table of numbers, of which the race sees a part."""
    count, seeds = values.shape
    have, left = np.zeros(count, dtype=int), np.arange(count)
    for rung, after in zip((0, *rungs), (*rungs, seeds), strict=True):
        if rung:
            means = np.array([np.mean(values[d, :rung]) for d in left])
            kept = -(-round(keep * 100) * len(left) // 100)
            border = np.sort(means)[-kept]
            left = left[means >= border - 1e-12]
        have[left] = after
    return have.tolist()


# ------------------------------------------------------------------------------- what is decided


@pytest.mark.parametrize(
    ("rungs", "keep", "designs", "seeds", "sizes", "total"),
    [
        ((1, 2, 4), 0.5, 32, 8, {1: 32, 2: 16, 4: 8, 8: 4}, 80),
        ((2,), 0.25, 9, 3, {2: 9, 3: 3}, 21),
        ((1, 3), 0.07, 100, 4, {1: 100, 3: 7, 4: 1}, 115),  # 0.07 * 100 is a little above 7
        ((1,), 0.5, 1, 2, {1: 1, 2: 1}, 2),
    ],
)
def test_runs_are_as_many_as_counted_by_hand(
    raced, tmp_path, rungs, keep, designs, seeds, sizes, total
):
    study = raced(rungs, keep, designs=designs, seeds=seeds)
    assert study.race.sizes(designs, seeds) == sizes
    ledger = create_study(study, tmp_path)
    assert (len(ledger.runs), ledger.wanted) == (designs * rungs[0], total)
    assert len(ledger.planned) == designs * seeds
    assert ledger.tally() == (total, 0, 0, 0)
    ledger = _to_the_end(ledger, lambda design, seed: 0.5 + design / 1000)
    assert (len(ledger.runs), ledger.wanted) == (total, total)
    assert ledger.tally() == (0, 0, total, 0)
    assert Counter(_seeds(ledger)) == Counter(
        {rung: count - after for (rung, count), after in zip(
            sizes.items(), [*list(sizes.values())[1:], 0], strict=True
        ) if count > after}
    )  # fmt: skip
    assert winner(ledger).number == designs - 1
    assert winner(ledger).of == [*sizes.values()][-1]


@pytest.mark.parametrize("seed", range(8))
def test_decisions_are_those_of_the_whole_table(raced, tmp_path, seed):
    generator = np.random.default_rng(seed)
    designs, seeds = int(generator.integers(2, 12)), int(generator.integers(3, 7))
    rungs = sorted(generator.choice(np.arange(1, seeds), generator.integers(1, 3), replace=False))
    rungs, keep = tuple(map(int, rungs)), round(float(generator.uniform(0.1, 0.9)), 2)
    # Many means are equal, up to rounding.
    values = generator.integers(0, 8, (designs, seeds)) / 10
    study = raced(rungs, keep, designs=designs, seeds=seeds)
    ledger = _to_the_end(create_study(study, tmp_path), lambda d, s: float(values[d, s]))
    assert _seeds(ledger) == _by_hand(values, rungs, keep)
    assert set(open_study(tmp_path).runs) == set(ledger.runs)
    whole = np.where(np.array(_seeds(ledger)) == seeds, values.mean(1).round(12), -1)
    assert winner(ledger).number == int(whole.argmax())


def test_less_is_better_where_it_is(raced, tmp_path):
    study = raced((1,), designs=4, seeds=2, metric="loss")
    ledger = _to_the_end(create_study(study, tmp_path), lambda d, s: float(d), metric="loss")
    assert _seeds(ledger) == [2, 2, 1, 1]


def test_all_that_are_equal_at_the_border_go_on(raced, tmp_path):
    ledger = create_study(raced((1, 2), 0.25, designs=4, seeds=3), tmp_path)
    assert ledger.wanted == 4 + 1 + 1
    ledger = _to_the_end(ledger, lambda d, s: 0.2 if d == 1 else 0.7 + (d == 3 and s == 1))
    assert _seeds(ledger) == [2, 1, 2, 3]
    assert ledger.wanted == 4 + 3 + 1


def test_rounding_leaves_no_design_behind(raced, tmp_path):
    values = [(0.1, 0.2), (0.3, 0.0), (0.0, 0.3), (0.2, 0.1)]
    ledger = create_study(raced((2,), 0.5, designs=4, seeds=3), tmp_path)
    ledger = _to_the_end(ledger, lambda d, s: values[d][s] if s < 2 else 0.5)
    assert _seeds(ledger) == [3, 3, 3, 3]


def test_nothing_is_decided_before_all_have_ended(raced, tmp_path):
    ledger = create_study(raced((1,), designs=4, seeds=2), tmp_path)
    for run in ledger.runs[:3]:
        _end(ledger, run, 0.9)
    assert refreshed(ledger) is ledger
    assert ledger.tally() == (3, 0, 3, 0)
    with pytest.raises(StudyError, match="on all of its seeds yet"):
        winner(ledger)
    _end(ledger, ledger.runs[3], 0.95)
    assert len(refreshed(ledger).runs) == 4 + 4  # of which three are equal


# ----------------------------------------------------------------------------------- what failed


@pytest.mark.parametrize(("metric", "on"), [("balanced_accuracy", {0, 2}), ("loss", {1, 2})])
def test_a_run_that_failed_is_an_outcome(raced, tmp_path, metric, on):
    """It scores 0 where the metric is a share; of a loss the design has no number."""
    ledger = create_study(raced((2,), designs=4, seeds=3, metric=metric), tmp_path)
    better = -1 if metric == "loss" else 1
    for run in ledger.runs:
        if run.design == 3 or (run.design, run.seed) == (0, 1):
            _fail(ledger, run, RuntimeError("diverged"))
        else:
            value = (1.0, 0.4, 0.6)[run.design]
            _end(ledger, run, 0.5 + better * (value - 0.5), metric=metric)
    ledger = refreshed(ledger)
    assert {number for number, seeds in enumerate(_seeds(ledger)) if seeds == 3} == on


def test_designs_that_all_failed_do_not_go_on(raced, tmp_path):
    ledger = create_study(raced((1,), 0.5, designs=4, seeds=2), tmp_path)
    for run in ledger.runs:
        if run.design < 2:
            _fail(ledger, run, RuntimeError("diverged"))
        else:
            _end(ledger, run, 0.1 * run.design)
    assert _seeds(refreshed(ledger)) == [1, 1, 2, 2]  # half of all, not of those that ended well


@pytest.mark.parametrize("failed", [True, False])
def test_a_race_that_has_nothing_to_decide_by_ends(raced, tmp_path, cheap, failed):
    ledger = create_study(raced((1,), designs=3, seeds=2, metric="loss"), tmp_path)
    for run in ledger.runs[1:]:
        if failed:
            _fail(ledger, run, RuntimeError("diverged"))
        else:
            _end(ledger, run, None, metric="loss")
    cheap(lambda config: {"loss": None})
    with pytest.raises(
        StudyError, match=r"no remaining design .* has a loss on the validation part"
    ):
        work(tmp_path, poll=0.01)
    ledger = open_study(tmp_path)
    assert _seeds(ledger) == [1, 1, 1]  # nothing more is spent
    assert ledger.tally().pending == 2


def test_nothing_is_decided_while_a_run_is_given_up(raced, tmp_path, cheap):
    cheap(_numbers)
    ledger = create_study(raced((2,), 0.5, designs=4, seeds=3), tmp_path)
    for run in ledger.runs:
        if (run.design, run.seed) == (2, 0):
            _fail(ledger, run, MemoryError())
        else:
            _end(ledger, run, 0.2 + 0.05 * run.design)
    assert refreshed(ledger) is ledger
    with pytest.raises(StudyError, match=r"cannot decide: 1 of the runs .* given up"):
        work(tmp_path)
    assert "4 designs, 1 with 1 seed, 3 with 2 seeds so far" in race_note(open_study(tmp_path))
    assert open_study(tmp_path).reset_failed() == 1
    work(tmp_path)
    assert _seeds(refreshed(ledger)) == [2, 2, 3, 3]


def test_what_is_tried_again_is_decided_anew_by_who_has_it_open(raced, tmp_path, cheap):
    ledger = create_study(raced((1, 2), 0.5, designs=4, seeds=4), tmp_path)
    for run in ledger.runs:
        if run.design == 0:
            _fail(ledger, run, RuntimeError("a file was not there"))
        else:
            _end(ledger, run, 0.1 * run.design)
    second = refreshed(ledger)
    assert _seeds(second) == [1, 1, 2, 2]
    for run in second.runs[4:]:
        _end(second, run, 0.1 * run.design)
    third = refreshed(second)
    assert _seeds(third) == [1, 1, 2, 4]
    _fail(third, third.runs[-1], RuntimeError("a file was not there"))
    # Another decision, which does not call what failed: that is tried again all the same.
    _end(third, third.runs[3], 0.0)
    assert _seeds(refreshed(third)) == [1, 2, 2, 1]
    assert refreshed(third).reset_failed() == 2
    for older in (ledger, second, third):
        assert _seeds(refreshed(older)) == [1, 1, 1, 1]
    cheap(lambda config: {"balanced_accuracy": 0.9})
    work(tmp_path)
    again = open_study(tmp_path)
    assert _seeds(again) == [4, 1, 2, 1]
    for older in (ledger, second, third):
        assert refreshed(older).runs == again.runs
        assert refreshed(older).tally() == (0, 0, 8, 0)
    assert "foreign" not in {fault.kind for fault in check_study(tmp_path).faults}


@pytest.mark.parametrize("race", [True, False])
def test_what_is_pending_again_is_taken_by_who_waits(raced, tmp_path, cheap, race):
    """Its folder is removed, as is advised of a damaged one, while a worker waits for another."""
    cheap(_numbers)
    changes = {} if race else {"race": None}
    ledger = create_study(raced((1,), designs=3, seeds=2, **changes), tmp_path)
    removed, last, looks = ledger.runs[0], ledger.runs[-1], []
    with lock_run(ledger.path(last)) as folder:

        def stop():
            looks.append(ledger.states())
            if {*looks[-1][:-1]} == {"done"} and looks[-1][-1] == "running":
                shutil.rmtree(ledger.path(removed))
                folder.append_history({"epoch": 0, "validation": {"balanced_accuracy": 0.1}})
                folder.finish({"best_epoch": 0, "costs": {}, "test": {}})
            return len(looks) > 200

        assert not work(tmp_path, poll=0.01, stop=stop).stopped
    ledger = refreshed(ledger)
    assert {*ledger.states()} == {"done"}
    assert len(ledger.runs) == (5 if race else 6)


# ----------------------------------------------------------------------------------- the workers


def _numbers(config):
    light, seed = config.system.sensor.photons, config.training.seed
    return {"balanced_accuracy": 0.5 + 0.01 * light + 0.001 * ((7 * light + 3 * seed) % 5)}


def test_a_race_depends_on_its_file_alone(raced, tmp_path, cheap):
    cheap(_numbers)
    study = raced(designs=8, seeds=6)
    whole, parts, many = (create_study(study, tmp_path / name) for name in "abc")
    assert work(whole.folder) == (8 + 4 + 2 * 2 + 1 * 2, 0, False)
    whole = refreshed(whole)
    assert _seeds(whole) == [1, 1, 1, 1, 2, 2, 4, 6]
    for _ in range(18):  # interrupted again and again
        asked = iter([False] * 5)
        work(parts.folder, stop=lambda asked=asked: next(asked, True))
    work(parts.folder)
    with ThreadPoolExecutor(3) as pool:  # by several, whoever is faster
        done = run_study(many.folder, workers=3, executor=pool, progress=False, poll=0.01)
    assert done == (0, 0, 18, 0)
    for other in (parts, many):
        assert refreshed(other).runs == whole.runs
        there = {path.name for path in (other.folder / "runs").iterdir()}
        assert there == {run.digest for run in whole.runs}
    starts = [(many.path(run) / ATTEMPTS_FILE).read_text() for run in whole.runs]
    assert all(text.count("\n") == 1 for text in starts)


def _stay_in_the_tenth(folder):
    """Work, and stay in a run that a decision has called: it is killed there."""
    worker, begun = import_module("joint.study.work"), []

    def execute(config, folder, dataset, *, device, stop):
        begun.append(config)
        time.sleep(600 if len(begun) == 10 else 0)
        folder.append_history({"epoch": 0, "validation": _numbers(config), "train": {}})
        folder.finish({"best_epoch": 0, "costs": {}, "test": {}})
        return True

    worker.execute = execute
    scenes.build_data = lambda config: SimpleNamespace(encoding=None, classes=())
    work(folder, poll=0.05)


def test_a_race_survives_a_killed_worker(forked, raced, tmp_path, cheap, worked_on):
    study = raced(designs=8, seeds=6)
    killed, alone = (create_study(study, tmp_path / name) for name in ("killed", "alone"))
    process = forked.Process(target=_stay_in_the_tenth, args=(killed.folder,))
    process.start()
    end = time.monotonic() + 300
    while not [run for run in worked_on(killed) if run in killed.runs[9:]]:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
        killed = refreshed(killed)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    cheap(_numbers)
    assert work(killed.folder).done == 18 - 9
    work(alone.folder)
    assert open_study(killed.folder).runs == open_study(alone.folder).runs


def test_how_far_a_race_is(raced, tmp_path, cheap, capsys):
    cheap(_numbers)
    ledger = create_study(raced(designs=8, seeds=6), tmp_path)
    assert progress(ledger).tally == (18, 0, 0, 0)
    asked = iter([False] * 24)
    work(tmp_path, stop=lambda: next(asked, True))
    ledger = refreshed(ledger)
    now = progress(ledger).tally
    assert now == ledger.tally()
    assert 8 < now.done < now.total == 18
    work(tmp_path)
    assert watch(tmp_path) == (0, 0, 18, 0)
    assert "18/18 runs ended" in capsys.readouterr().out
    assert len(rows(open_study(tmp_path))) == 18


def test_only_what_goes_on_is_trained(raced, tmp_path):
    lights = Axis(path="system.sensor.photons", values=(1.0, 5000.0))
    # By the loss: of so few pictures, accuracies are often equal, and then both designs go on.
    asked = raced((1,), axes={"light": lights}, seeds=2, metric="loss")
    ledger = create_study(asked, tmp_path / "study")
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        settings = {"executor": pool, "threads": threads, "progress": False, "poll": 0.01}
        assert run_study(ledger.folder, workers=2, **settings) == (0, 0, 3, 0)
    ledger = open_study(ledger.folder)
    assert sorted(_seeds(ledger)) == [1, 2]
    assert len(list((ledger.folder / "runs").iterdir())) == 3
    assert check_study(ledger.folder).whole
    best = winner(ledger).number
    found = elsewhere(ledger, [joint.OperatingPoint(photons=100.0)], resamples=100)
    assert {n: each.count for n, each in found.places[0].estimates.items()} == {
        best: 2,
        1 - best: 1,
    }
    assert "1 with 1 seed, 1 with 2 seeds. Designs continued because of" in str(found)
    assert found.to_dict()["race"] == found.race
    # The number that decided is damaged: who opens it is told, and the check says where.
    run = ledger.runs[0]
    (ledger.path(run) / "result.json").write_text("{")
    with pytest.raises(joint.CheckpointError, match=r"result\.json is damaged"):
        open_study(ledger.folder)
    (fault,) = check_study(ledger.folder).faults
    assert (fault.kind, fault.path.name) == ("damaged", "result.json")
    (ledger.path(ledger.runs[-1]) / "history.jsonl").write_text("{")
    faults = check_study(ledger.folder).faults
    assert [fault.path.name for fault in faults] == ["result.json", "history.jsonl"]
    assert _names_of([ledger.path(run)]) == [run.digest]  # a page of its runs can be made


# ------------------------------------------------------------------------------ an earlier study


def test_more_seeds_cost_their_own_runs_alone(raced, tmp_path):
    def value(design, seed):
        return 0.5 + 0.01 * ((design * 5) % 8) + 0.001 * seed

    small = _to_the_end(create_study(raced(seeds=6), tmp_path / "small"), value)
    large = create_study(raced(seeds=8), tmp_path / "large", earlier=small.folder)
    assert _seeds(large) == [8 if n == 6 else n for n in _seeds(small)]
    assert large.tally() == (2, 0, 18, 0)
    large = _to_the_end(large, value)
    straight = _to_the_end(create_study(raced(seeds=8), tmp_path / "straight"), value)
    assert large.runs == straight.runs
    assert winner(large) == winner(straight)
    # A study without a race has more that it lacks; one with another race decides anew.
    whole = create_study(raced(seeds=6, race=None), tmp_path / "whole", earlier=small.folder)
    assert whole.tally() == (8 * 6 - 18, 0, 18, 0)
    other = create_study(raced((2,), seeds=6), tmp_path / "other", earlier=small.folder)
    assert other.tally().done == 8 + 4
    assert len(list((other.folder / "runs").iterdir())) == 12


def test_the_race_is_part_of_the_study(raced, tmp_path):
    create_study(raced(), tmp_path)
    with pytest.raises(StudyError, match="holds another study: race"):
        create_study(raced(keep=0.25), tmp_path)
    assert open_study(tmp_path).study == raced()


# ------------------------------------------------------------------------------ what was found


@pytest.fixture
def ended(raced, tmp_path, pretend):
    """Four designs of growing skill, of which two have two seeds and one has four."""
    ledger = create_study(raced((1, 2), designs=4, seeds=4), tmp_path / "study")
    while "pending" in ledger.states():
        for run in ledger.runs:
            pretend(ledger, run, 0.5 + 0.1 * run.design)
            line = {"epoch": 0, "validation": {"balanced_accuracy": 0.5 + 0.1 * run.design}}
            (ledger.path(run) / "history.jsonl").write_text(json.dumps(line) + "\n")
        ledger = refreshed(ledger)
    return ledger


_CHOSEN = (
    "a race, decided by balanced_accuracy on the validation part: of 4 designs, 2 with 1 seed, 1 "
    "with 2 seeds, 1 with 4 seeds. Designs continued because of their results, so their "
    "means are too good and those of the others too bad: confirm a choice on fresh seeds "
    "(lens2label study confirm)"
)


def test_a_report_says_what_a_race_does_to_its_means(ended):
    found = report(ended)
    assert [each.number for each in found.designs][:2] == [3, 2]  # by seeds, then by the mean
    assert [each.estimate.count for each in found.designs] == [4, 2, 1, 1]
    assert [each.on_front for each in found.designs] == [True, False, False, False]
    assert found.luck is None
    assert found.race == _CHOSEN
    assert _CHOSEN in str(found)
    assert "those with most seeds first" in str(found)
    assert "*: no other design with all seeds is ahead at" in str(found)
    assert json.loads(found.to_json())["race"] == _CHOSEN
    assert found.to_csv().splitlines()[0].split(",")[5] == "runs"


def test_a_page_leaves_out_what_compares_unequal_seeds(ended, monkeypatch, undrawn):
    monkeypatch.setattr("joint.study.page.whole.outcomes", None)  # what only that needs
    text = study_html(ended, elements=False)
    assert "A race, decided by" in text
    assert "Most seeds first;" in text
    assert "front: no other design with all seeds is better" in text
    assert "are left out: they need designs with equal numbers of seeds" in text
    assert "after 1, 2 seeds, the best 0.5 by balanced_accuracy" in text
    for title in ("which choice matters", "fronts", "rate and accuracy"):
        assert f"Exploration: {title}" not in text


def test_no_p_is_made_of_chosen_seeds(ended):
    with pytest.raises(ValueError, match=r"no p of them is valid: confirm its result"):
        select_designs(ended, at_least={"accuracy": 0.5})
    with pytest.raises(ValueError, match=r"a curve through them would be wrong"):
        rate_accuracy(ended)


def test_what_a_race_found_is_confirmed_on_fresh_seeds(ended, tmp_path):
    new = confirm(ended, tmp_path / "confirmed")
    assert new.study.race is None
    assert new.study.seeds == tuple(range(4, 10))
    assert new.designs == (ended.designs[3], ended.designs[0])
    assert "the best on the validation part of 1 that a race left of 4" in new.study.question


def test_seeds_that_have_not_ended_are_not_told(raced, tmp_path, pretend):
    ledger = create_study(raced((2,), designs=4, seeds=3), tmp_path)
    told = "a race, decided by balanced_accuracy on the validation part: of 4 designs, "
    assert report(ledger).race == f"{told}4 with 0 seeds so far"
    for run in ledger.runs:
        _end(ledger, run, 0.1 * run.design)
        pretend(ledger, run, 0.5)
    ledger = refreshed(ledger)
    assert report(ledger).race.startswith(f"{told}4 with 2 seeds so far. Designs continued because")
    assert not any(each.on_front for each in report(ledger).designs)  # of all seeds
    pretend(ledger, ledger.runs[-1], 0.5)
    found = report(ledger)
    assert found.race.startswith(f"{told}3 with 2 seeds, 1 with 3 seeds so far. Designs")
    assert [each.number for each in found.designs if each.on_front] == [3]
    assert found.designs[0].number == 3
