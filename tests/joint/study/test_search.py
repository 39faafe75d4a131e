import importlib
import json
import math
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from studies import validated

import joint
from joint.feed import derive_seed
from joint.judge.metric import STUDY_METRICS, lower_is_better
from joint.saved.folder import RunFolder, lock_run
from joint.settings import ConfigError
from joint.study import (
    GP,
    NSGA2,
    TPE,
    Axis,
    Plan,
    Random,
    Study,
    StudyError,
    create_study,
    open_study,
    run_study,
    scenes,
    work,
)
from joint.study.ledger import ATTEMPTS_FILE
from joint.study.sampler import OBJECTIVES
from joint.study.search import Trial, ask, ask_next, known_trials, objectives
from joint.study.store import add_design, refreshed

# The package may have a function of that name.
search = importlib.import_module("joint.study.search")

pytest.importorskip("optuna")

LIGHT = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
BITS = Axis(path="system.sensor.bit_depth", low=1, high=12, integer=True)
NOISE = Axis(path="system.sensor.read_noise", values=(0.5, 1, 2, 4, 8))
UP = {"accuracy": "up"}


def _study(sampler, **changes):
    axes = {"light": LIGHT, "bits": BITS, "noise": NOISE}
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16, balance=0),
        system=joint.SystemConfig(front_end=joint.NoneConfig(), codec=joint.NoneConfig()),
        objective=joint.Objective(),
    )
    return Study(**{"base": base, "axes": axes, "sampler": sampler, "seeds": (0,), **changes})


def _hill(design):
    """1 at 1600 photons, 9 bits and 2 electrons."""
    return (
        1
        - 0.1 * (math.log10(design["light"]) - 3.2) ** 2
        - 0.01 * (design["bits"] - 9) ** 2
        - 0.02 * (math.log2(design["noise"]) - 1) ** 2
    )


def _searched(study, values):
    """Designs of a search over a formula, in the rounds in which workers would ask for them."""
    known = [(design, values(design)) for design in study.designs()]
    digests = [study.config(design, 0).digest() for design, _ in known]
    while len(known) < study.sampler.count:
        ended = study.sampler.known_to(len(known))
        design = ask(
            study,
            [
                Trial(one, digest, found if number < ended else None)
                for number, ((one, found), digest) in enumerate(zip(known, digests, strict=True))
            ],
        ).design
        known.append((design, values(design)))
        digests.append(study.config(design, 0).digest())
    return [design for design, _ in known]


def _formula(config):
    sensor = config.system.sensor
    light, bits, noise = sensor.photons, sensor.bit_depth, sensor.read_noise
    value = _hill({"light": light, "bits": bits, "noise": noise})
    return {"accuracy": value + 0.001 * config.training.seed, "balanced_accuracy": value}


def _asked(ledger):
    return [json.dumps(design) for design in ledger.designs]


# --------------------------------------------------------------------------- against brute force


def _lead(sampler, seeds, count):
    """How far the best of so many designs is from the top, searched and drawn: means over seeds."""
    searched, drawn = [], []
    for seed in seeds:
        study = _study(sampler(count=count, seed=seed, startup=8, objectives=UP))
        searched.append(1 - max(map(_hill, _searched(study, lambda d: (_hill(d),)))))
        chance = _study(Random(count=count, seed=seed))
        drawn.append(1 - max(map(_hill, chance.designs())))
    return float(np.mean(searched)), float(np.mean(drawn))


@pytest.mark.parametrize(("sampler", "seeds", "count"), [(TPE, 6, 24), (GP, 2, 14)])
def test_a_search_comes_nearer_to_the_top_than_chance(sampler, seeds, count):
    searched, drawn = _lead(sampler, range(seeds), count)
    assert searched < 0.5 * drawn


PATHS = {
    "light": "system.sensor.photons",
    "noise": "system.sensor.read_noise",
    "rate": "training.learning_rate",
    "decay": "training.weight_decay",
    "average": "training.averaging",
    "task": "objective.task",
}


def _zdt1(design):
    """Test problem of Zitzler, Deb and Thiele (2000): the front is 1 - sqrt(light)."""
    light, *rest = design.values()
    far = 1 + 9 * np.mean(rest)
    return far * (1 - math.sqrt(light / far)), light


def _volume(points):
    """Area that the points dominate, both smaller, within 0..10 and 0..1."""
    area, top = 0.0, 10.0
    for loss, light in sorted(points, key=lambda point: point[1]):
        if loss < top:
            area += (top - loss) * (1 - light)
            top = loss
    return area


def test_a_genetic_search_learns_from_one_generation_to_the_next():
    axes = {name: Axis(path=path, low=0.001, high=0.999) for name, path in PATHS.items()}
    goals = {"loss": "down", "photons": "down"}
    gains, distances = [], []
    for seed in range(2):
        study = _study(NSGA2(count=72, seed=seed, population=12, objectives=goals), axes=axes)
        searched = _searched(study, _zdt1)
        chance = _study(Random(count=72, seed=seed), axes=axes)
        gains.append(_volume(map(_zdt1, searched)) - _volume(map(_zdt1, chance.designs())))
        distances += [np.mean([*design.values()][1:]) for design in searched[-24:]]
    assert np.mean(gains) > 0
    # By chance the distance from the front is 0.5, its mean over 48 designs within 0.02 of it.
    assert np.mean(distances) < 0.4


# -------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(("sampler", "count"), [(TPE, 14), (GP, 8), (NSGA2, 14)])
def test_a_small_space_is_searched_to_its_end_and_nothing_asked_twice(sampler, count):
    axes = {"bits": BITS.model_copy(update={"high": 4.0}), "noise": NOISE}
    few = {"population": 4} if sampler is NSGA2 else {"startup": 4, "batch": 3}
    constraints = (
        "bits < 4 or noise != 8",
        "bits > 1 or noise >= 1",
        "noise != 2 or bits != 2",
        "noise != 4 or bits == 4 or bits < 2",
    )
    sampled = sampler(count=count, objectives=UP, **few)
    study = _study(sampled, axes=axes, constraints=constraints)
    assert len(study.every()) == 15
    found = _searched(study, lambda d: (_hill({**d, "light": 1600}),))
    assert len({json.dumps(design) for design in found}) == count
    assert all(study.allows(design) for design in found)
    too_many = study.model_copy(update={"sampler": sampler(count=16, objectives=UP, **few)})
    with pytest.raises(ValueError, match="wants 16 designs, and only 15 meet the constraints"):
        too_many.designs()


def test_the_same_question_has_the_same_answer():
    study = _study(TPE(count=20, startup=6, objectives=UP))
    known = [Trial(d, study.config(d, 0).digest(), (_hill(d),)) for d in study.designs()]
    assert ask(study, known) == ask(study, known)
    # Each part of what is known tells.
    assert ask(study, known) != ask(study, known[:-1])
    other = _study(TPE(count=20, startup=6, seed=1, objectives=UP))
    assert ask(other, known) != ask(study, known)
    running = ask(study, known).design
    waiting = [*known, Trial(running, study.config(running, 0).digest(), None)]
    assert ask(study, waiting).design != running


@pytest.mark.parametrize("sampler", [TPE, GP])
def test_an_answer_is_that_of_optuna_alone(sampler):
    optuna = pytest.importorskip("optuna")
    study = _study(sampler(count=6, seed=3, startup=4, objectives=UP))
    known = [
        Trial(design, study.config(design, 0).digest(), (value,))
        for design, value in zip(study.designs(), (0.1, 0.7, 0.4, 0.2), strict=True)
    ]
    seed = derive_seed(3, "ask", 4, 0) % 2**32
    if sampler is TPE:
        own = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True
        )
    else:
        own = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
    alone = optuna.create_study(direction="maximize", sampler=own)
    noises = list(NOISE.values)
    space = {
        "light": optuna.distributions.FloatDistribution(10, 1e4, log=True),
        "bits": optuna.distributions.IntDistribution(1, 12),
        "noise": optuna.distributions.IntDistribution(0, 4),
    }
    for design, _, (value,) in known:
        params = {**design, "noise": noises.index(design["noise"])}
        alone.add_trial(optuna.trial.create_trial(value=value, params=params, distributions=space))
    asked = alone.ask(space).params
    assert ask(study, known).design == {
        "light": float(f"{asked['light']:.6g}"),
        "bits": asked["bits"],
        "noise": noises[asked["noise"]],
    }


def test_a_process_over_all_axes_is_told_the_middle_of_those_that_are_absent():
    optuna = pytest.importorskip("optuna")
    codec = Axis(path="system.codec", values=({"kind": "none"}, {"kind": "jpeg"}))
    quality = Axis(path="system.codec.quality", low=20, high=80, when={"codec": ("jpeg",)})
    axes = {"codec": codec, "quality": quality, "light": LIGHT}
    study = _study(GP(count=6, seed=3, startup=4, objectives=UP), axes=axes)
    designs = [
        {"codec": "none", "light": 20.0},
        {"codec": "jpeg", "quality": 30.0, "light": 300.0},
        {"codec": "none", "light": 4000.0},
        {"codec": "jpeg", "quality": 70.0, "light": 2000.0},
    ]
    values = (0.1, 0.5, 0.6, 0.9)
    known = [
        Trial(design, study.config(design, 0).digest(), (value,))
        for design, value in zip(designs, values, strict=True)
    ]
    space = {
        "codec": optuna.distributions.CategoricalDistribution(["none", "jpeg"]),
        "quality": optuna.distributions.FloatDistribution(20, 80),
        "light": optuna.distributions.FloatDistribution(10, 1e4, log=True),
    }
    own = optuna.samplers.GPSampler(seed=derive_seed(3, "ask", 4, 0) % 2**32, n_startup_trials=1)
    alone = optuna.create_study(direction="maximize", sampler=own)
    for design, value in zip(designs, values, strict=True):
        params = {"quality": 50.0, **design}
        alone.add_trial(optuna.trial.create_trial(value=value, params=params, distributions=space))
    asked = alone.ask(space).params
    found = ask(study, known).design
    expected = {"codec": asked["codec"], "light": float(f"{asked['light']:.6g}")}
    if asked["codec"] == "jpeg":
        expected["quality"] = float(f"{asked['quality']:.6g}")
    assert found == expected


def test_designs_that_are_no_configuration_are_not_asked_for():
    camera = Axis(path="system.front_end", values=({"kind": "none"}, {"kind": "kernel"}))
    size = Axis(path="system.front_end.kernel_size", values=(3, 5, 7))
    study = _study(TPE(count=5, startup=2, objectives=UP), axes={"camera": camera, "size": size})
    first = Trial({"camera": "kernel", "size": 3}, "x", (1.0,))
    for number in range(2):
        found = ask(
            study, [first, *[Trial({"camera": "kernel", "size": 5}, "y", (0.9,))] * number]
        ).design
        assert found["camera"] == "kernel"
    study = study.model_copy(update={"constraints": ("camera == none",)})
    with pytest.raises(ConfigError, match=r"kernel_size: no such key"):
        ask(study, [first])


def test_a_design_at_which_a_constraint_has_no_value_is_not_asked_for():
    noise = Axis(path="system.sensor.read_noise", low=0, high=1, integer=True)
    study = _study(
        NSGA2(count=40, population=4), axes={"light": LIGHT, "noise": noise},
        constraints=("light / noise >= 5",),
    )  # fmt: skip
    known = [Trial({"light": 100.0, "noise": 1}, "", (1.0,))]
    for number in range(8):
        found = ask(study, known).design
        assert found["noise"] == 1, number
        known.append(Trial(found, study.config(found, 0).digest(), (1.0,)))


@pytest.mark.parametrize(
    "sampler", [GP(count=14, startup=8, batch=3), TPE(count=16, startup=8, batch=4)]
)
def test_the_model_chooses_where_the_best_of_all_is_not_allowed(sampler):
    """The top is at 100 photons and 3 electrons, and of what is allowed at 100 and 5."""
    noise = Axis(path="system.sensor.read_noise", low=0.0, high=10.0)
    axes = {"light": LIGHT, "noise": noise}
    study = _study(sampler, axes=axes, constraints=("noise >= 5 or light >= 1000",))

    def value(design):
        return -((math.log10(design["light"]) - 2) ** 2) - ((design["noise"] - 3) / 5) ** 2

    known = []
    for design in study.designs():
        known.append(Trial(design, study.config(design, 0).digest(), (value(design),)))
    first = max(value(one.design) for one in known)
    while len(known) < sampler.count:
        asked = ask(study, known)
        assert not asked.by_chance
        assert study.allows(asked.design)
        digest = study.config(asked.design, 0).digest()
        known.append(Trial(asked.design, digest, (value(asked.design),)))
    assert ask(study, known) == ask(study, known)
    best = max(value(one.design) for one in known)
    assert best > (-0.18 if sampler.kind == "gp" else first)  # of -0.16


def test_the_model_chooses_in_a_small_space_of_which_no_draw_is_allowed(monkeypatch):
    """Of designs that can be listed, all that are allowed are scored."""
    monkeypatch.setattr(search, "_LOOKED_AT", 0)
    constraints = ("noise >= 4 or bits <= 1",)
    axes = {"bits": BITS, "noise": NOISE}
    study = _study(GP(count=12, startup=4, objectives=UP), axes=axes, constraints=constraints)
    known = [
        Trial(d, study.config(d, 0).digest(), (_hill({**d, "light": 1600}),))
        for d in study.every()[:12:3]
    ]
    for number in range(4):
        asked = ask(study, known)
        assert study.allows(asked.design)
        assert not asked.by_chance, number
        value = _hill({**asked.design, "light": 1600})
        known.append(Trial(asked.design, study.config(asked.design, 0).digest(), (value,)))


def test_where_no_draw_is_allowed_the_model_is_not_asked_twice(monkeypatch):
    monkeypatch.setattr(search, "_LOOKED_AT", 0)
    asked, answer = [], search._answer
    monkeypatch.setattr(
        search, "_answer", lambda *given, **also: asked.append(also) or answer(*given, **also)
    )
    study = _study(GP(count=6, startup=4, objectives=UP), constraints=("bits >= 12",))
    designs = enumerate(study.designs(), start=1)
    known = [Trial({**one, "bits": n}, str(n), (-float(n),)) for n, one in designs]
    found = ask(study, known)
    assert found.by_chance
    assert study.allows(found.design)
    assert asked == [{}]


def test_a_space_without_another_design_ends_the_search():
    study = _study(TPE(count=2, startup=2, objectives=UP), axes={"noise": NOISE})
    known = [Trial(d, study.config(d, 0).digest(), (1.0,)) for d in study.every()]
    with pytest.raises(StudyError, match="has found 5 designs, and no other one"):
        ask(study, known)


def test_without_any_result_chance_decides():
    study = _study(TPE(count=9, startup=2, objectives=UP))
    lost = [Trial(design, "x", None) for design in study.designs()]
    asked = ask(study, lost)
    assert study.allows(asked.design)
    assert asked.by_chance


def test_optuna_may_be_missing(monkeypatch):
    study = _study(TPE(count=9, startup=2, objectives=UP))
    known = [Trial(design, "x", (1.0,)) for design in study.designs()]
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(StudyError, match=r"not installed: pip install 'lens2label\[optuna\]'"):
        ask(study, known)


# -------------------------------------------------------------------------------- what is known


def _made(ledger, run, value, *, epochs=(0.1,)):
    numbers = [{"accuracy": number, "loss": 1 - number} for number in (*epochs, value)]
    costs = {"photons": 10.0 * run.design}
    validated(ledger, run, *numbers, best_epoch=len(epochs), costs=costs)


def test_a_round_waits_for_the_one_before_and_means_are_over_seeds(tmp_path):
    goals = {"accuracy": "up", "loss": "down", "photons": "down"}
    study = _study(TPE(count=6, startup=2, batch=2, objectives=goals), seeds=(0, 1))
    ledger = create_study(study, tmp_path)
    assert ledger.wanted == 12
    assert ledger.tally() == (12, 0, 0, 0)
    *first, last = ledger.runs
    for number, run in enumerate(first):
        _made(ledger, run, 0.5 + 0.1 * number)
    assert ask_next(ledger) is None  # one of the round is missing
    with lock_run(ledger.path(last)):
        assert known_trials(ledger) is None
    ledger.path(last).mkdir(exist_ok=True)
    RunFolder(ledger.path(last)).fail(RuntimeError("diverged"))
    one, two = known_trials(ledger)
    # A share that failed is nothing; of other numbers, the worst that was seen.
    assert one.values == pytest.approx((0.6, 0.4, 0.0))
    assert two.values == pytest.approx((0.3, 0.45, 10.0))
    assert one.digest == ledger.runs[0].digest
    ledger = ask_next(ledger)
    assert [t.values is None for t in known_trials(ledger)] == [False, False, True]
    ledger = ask_next(ledger)
    assert len(ledger.designs) == 4
    assert ledger.tally() == (8, 0, 3, 1)
    assert ask_next(ledger) is None  # the next round
    assert open_study(tmp_path).runs == ledger.runs
    assert ask_next(refreshed(ledger)) is None


def test_a_seed_that_failed_says_nothing_of_a_cost(tmp_path):
    costs = {"lamp": "2 * light", "price": "photons + light"}
    goals = {"accuracy": "up", "photons": "down", **dict.fromkeys(costs, "down")}
    study = _study(TPE(count=6, startup=3, batch=2, objectives=goals), costs=costs, seeds=(0, 1, 2))
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:  # one seed of design 0 fails, and all of design 1
        if run.design == 1 or (run.design, run.seed) == (0, 1):
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(RuntimeError("it diverged"))
        else:
            _made(ledger, run, 0.6)
    light = [design["light"] for design in ledger.designs]
    prices = [light[0], max(light[0], 20 + light[2]), 20 + light[2]]
    # By _made, design 2 takes 20 photons. Of design 1 the formula of its axis is known alone.
    accuracy, photons = (0.4, 0.0, 0.6), (0.0, 20.0, 20.0)
    for number, one in enumerate(known_trials(ledger)):
        expected = (accuracy[number], photons[number], 2 * light[number], prices[number])
        assert one.values == pytest.approx(expected), number


def test_what_a_machine_gave_up_is_no_outcome_of_a_design(tmp_path):
    goals = {"accuracy": "up", "photons": "down"}
    study = _study(TPE(count=6, startup=2, batch=2, objectives=goals), seeds=(0, 1))
    ledger = create_study(study, tmp_path)
    for number, run in enumerate(ledger.runs):
        _made(ledger, run, 0.5 + 0.1 * number)
    whole = known_trials(ledger)
    first, other = (run for run in ledger.runs if run.design == 0)

    def lose(run):
        (ledger.path(run) / "result.json").unlink()
        RunFolder(ledger.path(run)).fail(RuntimeError("DefaultCPUAllocator: can't allocate"))

    kept = {run: (ledger.path(run) / "result.json").read_text() for run in (first, other)}
    lose(other)
    one, two = known_trials(ledger)
    assert two == whole[1]
    assert one.values[0] == pytest.approx(0.5)  # of the seed that there is
    assert one.values[1] == whole[0].values[1]
    lose(first)
    with pytest.raises(StudyError, match=r"all runs of design 0 .* were given up, .* --retry"):
        known_trials(ledger)
    # A result beside it, as of two folders that were merged, counts.
    for run, text in kept.items():
        (ledger.path(run) / "result.json").write_text(text)
    assert known_trials(ledger) == whole


def test_a_search_may_look_for_what_a_study_says_costs(tmp_path):
    costs = {"price": "photons / 10 + light"}
    goals = {"accuracy": "up", "price": "down"}
    study = _study(TPE(count=4, startup=2, objectives=goals), costs=costs)
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        _made(ledger, run, 0.5)
    known = known_trials(ledger)
    # _made counts ten photons for each design before.
    assert [one.values for one in known] == [
        (0.5, pytest.approx(number + one.design["light"])) for number, one in enumerate(known)
    ]
    with pytest.raises(ValueError, match="price is better down: write price = 'down'"):
        _study(TPE(count=4, objectives={"price": "up"}), costs=costs)
    with pytest.raises(ValueError, match="cannot optimise 'prize'; did you mean 'price'"):
        _study(TPE(count=4, objectives={"prize": "down"}), costs=costs)


def test_an_objective_that_no_run_has_is_told(tmp_path):
    study = _study(TPE(count=3, startup=2, objectives={"psnr_scene": "up"}))
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        _made(ledger, run, 0.5)
    with pytest.raises(StudyError, match=r"no run of .* has psnr_scene, which the search"):
        known_trials(ledger)


# ------------------------------------------------------------------------------------- at work


@pytest.mark.parametrize("goal", [{"accuracy": "up"}, {"loss": "down"}])
def test_a_round_that_failed_does_not_end_the_search(tmp_path, goal):
    # Whether another worker has ended a run of the round under way makes no difference.
    ended, waiting = (
        create_study(_study(TPE(count=4, startup=2, batch=2, objectives=goal)), tmp_path / name)
        for name in ("ended", "waiting")
    )
    found = []
    for ledger in (ended, waiting):
        for run in ledger.runs:
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(RuntimeError("it diverged"))
        more = ask_next(ledger)
        if ledger is ended:
            _made(more, more.runs[2], 0.9)
        assert [one.values for one in known_trials(more)] == [None] * 3
        found.append(ask_next(more).designs)
    assert found[0] == found[1]


def test_a_search_depends_on_its_file_alone(tmp_path, cheap):
    cheap(_formula)
    study = _study(TPE(count=9, startup=4, batch=2, objectives=UP), seeds=(0, 1))
    whole, parts, many = (create_study(study, tmp_path / name) for name in ("a", "b", "c"))
    assert work(whole.folder) == (18, 0, False)
    whole = refreshed(whole)
    assert len(whole.designs) == 9
    assert whole.tally() == (0, 0, 18, 0)
    # Interrupted again and again.
    for _ in range(9):
        asked = iter([False] * 5)
        work(parts.folder, stop=lambda asked=asked: next(asked, True))
    work(parts.folder)
    assert _asked(refreshed(parts)) == _asked(whole)
    # By several, whoever is faster.
    with ThreadPoolExecutor(3) as pool:
        done = run_study(many.folder, workers=3, executor=pool, progress=False, poll=0.01)
    assert done == (0, 0, 18, 0)
    assert _asked(refreshed(many)) == _asked(whole)
    starts = [(many.path(run) / ATTEMPTS_FILE).read_text() for run in refreshed(many).runs]
    assert all(text.count("\n") == 1 for text in starts)


def _stay_in_the_fifth(folder):
    """Work, and stay in the first run that was searched for: it is killed there."""
    worker, begun = importlib.import_module("joint.study.work"), []

    def execute(config, folder, dataset, *, device, stop):
        begun.append(config)
        time.sleep(600 if len(begun) == 5 else 0)
        folder.append_history({"epoch": 0, "validation": _formula(config), "train": {}})
        folder.finish({"best_epoch": 0, "costs": {}, "test": {}})
        return True

    worker.execute = execute
    scenes.build_data = lambda config: SimpleNamespace(encoding=None, classes=())
    work(folder, poll=0.05)


def test_a_search_survives_a_killed_worker(forked, tmp_path, cheap, worked_on):
    study = _study(TPE(count=9, startup=3, batch=3, objectives=UP))
    killed, alone = (create_study(study, tmp_path / name) for name in ("killed", "alone"))
    process = forked.Process(target=_stay_in_the_fifth, args=(killed.folder,))
    process.start()
    end = time.monotonic() + 300
    while not (searched := [run for run in worked_on(killed) if run in killed.runs[4:]]):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
        killed = refreshed(killed)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    cheap(_formula)
    assert work(killed.folder).done == 5
    killed = refreshed(killed)
    assert killed.tally() == (0, 0, 9, 0)
    starts = {run: (killed.path(run) / ATTEMPTS_FILE).read_text() for run in killed.runs}
    twice = [run for run, text in starts.items() if text.count("\n") == 2]
    assert twice == searched
    work(alone.folder)
    assert _asked(refreshed(alone)) == _asked(killed)


# ----------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"kind": "tpe", "count": 9, "objectives": {"acuracy": "up"}}, "did you mean 'accuracy'"),
        ({"kind": "gp", "count": 9, "objectives": {"photons": "up"}}, "photons is better down"),
        ({"kind": "gp", "count": 9, "objectives": {"auc": "down"}}, "auc is better up"),
        ({"kind": "nsga2", "count": 9, "population": 1}, "greater than or equal to 2"),
        ({"kind": "tpe", "count": 9, "batch": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_search_is_refused(sampler, message):
    with pytest.raises(ValueError, match=message):
        Study.model_validate({"axes": {"light": LIGHT}, "sampler": sampler})


def test_a_search_plans_nothing():
    pair = {"first": {"noise": 1}, "second": {"noise": 2}}
    with pytest.raises(ValueError, match="a search cannot plan comparisons"):
        _study(TPE(count=9), plan=Plan.model_validate({"comparisons": [pair]}))
    with pytest.raises(ValueError, match="sensitivity is not measured on the validation part"):
        _study(TPE(count=9), plan=Plan(metric="sensitivity"))
    assert _study(TPE(count=9)).sampler.first == 9
    assert _study(NSGA2(count=9, population=4)).sampler.known_to(9) == 8


def test_without_objectives_the_metric_of_the_plan_has_its_own_direction():
    for metric in sorted({*OBJECTIVES} & {*STUDY_METRICS}):
        study = _study(TPE(count=9), plan=Plan(metric=metric))
        assert objectives(study) == {metric: lower_is_better(metric)}


def test_a_damaged_design_is_told(tmp_path, cheap):
    cheap(_formula)
    ledger = create_study(_study(TPE(count=3, startup=2, objectives=UP)), tmp_path)
    work(tmp_path)
    path = tmp_path / "designs" / "0002.json"
    good = path.read_text()
    for content in ("{", '{"design": {"x": 1}, "runs": {}}', "[]"):
        path.write_text(content)
        with pytest.raises(StudyError, match=r"0002.json is damaged"):
            open_study(tmp_path)
    path.write_text(good)
    assert len(refreshed(ledger).runs) == 3


def test_a_chosen_design_of_other_seeds_is_told(tmp_path):
    ledger = create_study(_study(TPE(count=3, startup=2, objectives=UP)), tmp_path)
    more = add_design(ledger, {"light": 100.0, "bits": 8, "noise": 1})
    assert [run.seed for run in more.runs] == [0, 0, 0]
    (path,) = (tmp_path / "designs").glob("*.json")
    content = json.loads(path.read_text())
    content["runs"] = dict.fromkeys(content["runs"], 1)
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match="it has other seeds than the study"):
        open_study(tmp_path)
