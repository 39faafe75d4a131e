"""Small studies: one that trains in seconds, and ledgers whose results were made up."""

import importlib
import json
import multiprocessing
import time
from types import SimpleNamespace

import numpy as np
import pytest
from small import identity

import joint
from joint.saved.checkpoint import save_checkpoint
from joint.saved.folder import RunFolder
from joint.saved.predictions import Predictions
from joint.study import Axis, Comparison, Outcome, Plan, Race, Study, create_study
from joint.study.findings.draws import Draws
from joint.study.findings.lesion_units import Units
from joint.study.ledger import ATTEMPTS_FILE

CLASSES = ("a", "b", "c")


def _small_base(**training):
    """One epoch of 16 x 16 phantom pictures without a codec."""
    settings = {"epochs": 1, "augmentation": "none", "monitor": "loss", "restore_best": False}
    return joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16, balance=0),
        system=joint.SystemConfig(front_end=joint.NoneConfig(), codec=joint.NoneConfig()),
        objective=joint.Objective(),
        training=joint.Training(**{**settings, **training}),
    )


def _small_study(*, base=None, **changes):
    """Two cameras at two light levels."""
    settings = {
        "base": base or _small_base(),
        "axes": {
            "light": Axis(path="system.sensor.photons", values=(50, 5000)),
            "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
        },
        "plan": Plan(
            comparisons=(Comparison(first={"light": 5000}, second={"light": 50}),), resamples=100
        ),
        "seeds": tuple(range(8)),
    }
    return Study(**{**settings, **changes})


def _scores(skill, *, seed, count=60):
    """Predictions of a classifier that is right with probability ``skill``, three classes."""
    labels = np.arange(count) % 3
    generator = np.random.default_rng(seed)
    guesses = np.where(generator.random(count) < skill, labels, (labels + 1) % 3)
    return SimpleNamespace(
        logits=4.0 * np.eye(3)[guesses],
        labels=labels,
        identifiers=[f"picture{i}" for i in range(count)],
        groups=[f"lesion{i // 2}" for i in range(count)],
    )


def _pretend(ledger, run, skill, *, bpp=None, bits=100.0):
    """Write what a run of this skill would have written."""
    path = ledger.path(run)
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    made = _scores(skill, seed=run.seed)
    folder.save_predictions(made, CLASSES)
    right = float((made.logits.argmax(1) == made.labels).mean())
    test = {"count": 60, "rate": None, "accuracy": right, "bpp": bpp, "report": {"classes": "..."}}
    photons = ledger.designs[run.design].get("light")
    costs = {"photons": photons, "bits": bits, "parameters": 10}
    folder.finish({"digest": run.digest, "best_epoch": 0, "costs": costs, "test": test})


def validated(ledger, run, *epochs, **result):
    """Write what a run leaves that had these numbers on the validation part, epoch by epoch."""
    path = ledger.path(run)
    path.mkdir(parents=True, exist_ok=True)
    lines = [{"epoch": n, "validation": numbers} for n, numbers in enumerate(epochs)]
    (path / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    content = {"best_epoch": 0, "costs": {}, "test": {}, **result}
    (path / "result.json").write_text(json.dumps(content))


def _leave(folder, weights, *, name="best", image_size=(16, 16), channels=3):
    """Write weights with what training keeps of its scenes."""
    said = identity(image_size=image_size, channels=channels, classes=CLASSES)
    save_checkpoint(folder / f"{name}.safetensors", weights, {"identity": said})


def _predictions(margins, labels, groups):
    """Two classes; a picture is right where its margin is above 0."""
    logits = np.zeros((len(labels), 2))
    logits[np.arange(len(labels)), labels] = margins
    names = tuple(map(str, range(len(labels))))
    return Predictions(("a", "b"), names, tuple(groups), labels, logits)


def _outcome(seed, margins, labels, groups):
    part = _predictions(margins, labels, groups)
    right = part.logits.argmax(1) == labels
    return Outcome(seed, float(np.mean([right[labels == k].mean() for k in (0, 1)])), part)


def _world(generator, *, seeds, lesions, seed_spread, design_spread, per_lesion=2):
    """Two equally good designs: lesions differ in difficulty, also by design, and seeds in luck."""
    labels = np.repeat(np.arange(lesions) % 2, per_lesion)
    groups = np.repeat([f"lesion{i}" for i in range(lesions)], per_lesion)
    hard = generator.normal(0, 1, lesions)
    found = []
    for _ in range(2):
        own = np.repeat(hard + generator.normal(0, design_spread, lesions), per_lesion)
        found.append(
            [
                _outcome(
                    seed,
                    0.8 + generator.normal(0, seed_spread) + own + generator.normal(0, 1, len(own)),
                    labels,
                    groups,
                )
                for seed in range(seeds)
            ]
        )
    return found


def _draws(means, drawn=None, *, metric="loss"):
    """Means of designs on six seeds as they might be drawn anew; all alike by default."""
    means = np.asarray(means, dtype=float)
    drawn = np.tile(means, (20, 1)) if drawn is None else drawn
    return Draws(
        metric=metric,
        designs=tuple(range(len(means))),
        left_out=(),
        values=np.tile(means[:, None], (1, 6)),
        means=means,
        drawn=drawn,
        of_seeds=np.tile(means, (len(drawn), 1)),
        of_lesions=drawn,  # as the seeds are all alike
        lesions=Units((6,), 6, (6.0,)),
        times=np.ones((len(drawn), 6)),
        seeds=tuple(range(6)),
        unit="seeds and lesions",
        note=None,
    )


@pytest.fixture(scope="session")
def draws_of():
    """Make draws by hand."""
    return _draws


@pytest.fixture(scope="session")
def small_base():
    """Make a configuration that trains in a second."""
    return _small_base


@pytest.fixture(scope="session")
def small_study():
    """Make a study of four designs."""
    return _small_study


@pytest.fixture
def raced(small_study):
    """Make a study of some lights in a race."""

    def make(rungs=(1, 2, 4), keep=0.5, *, designs=8, seeds=8, metric=None, **changes):
        lights = tuple(float(10 + number) for number in range(designs))
        settings = {
            "axes": {"light": Axis(path="system.sensor.photons", values=lights)},
            "plan": Plan(resamples=100),
            "seeds": tuple(range(seeds)),
            "race": Race(rungs=rungs, keep=keep, metric=metric),
        }
        return small_study(**{**settings, **changes})

    return make


def _worked_on(ledger):
    """Runs that are worked on now, and the process of each.

    A run is held a moment before its start is noted: one without a whole note has not begun, and
    whoever is killed there leaves no trace.
    """
    found = {}
    for run in ledger.runs:
        notes = ledger.path(run) / ATTEMPTS_FILE
        text = notes.read_text() if notes.exists() else ""
        if text.endswith("\n") and ledger.state(run) == "running":
            found[run] = json.loads(text.splitlines()[-1])["pid"]
    return found


@pytest.fixture(scope="session")
def worked_on():
    """Find the runs that are worked on now, and the process of each."""
    return _worked_on


@pytest.fixture(scope="session")
def pretend():
    """Write a result that was made up."""
    return _pretend


@pytest.fixture(scope="session")
def leave():
    """Leave weights in a run folder as training does."""
    return _leave


@pytest.fixture(scope="session")
def outcome():
    """Make a run from the margins of its pictures."""
    return _outcome


@pytest.fixture(scope="session")
def world():
    """Make runs of two equally good designs."""
    return _world


@pytest.fixture
def ledger(tmp_path):
    """A study of 4 designs on 8 seeds, of which nothing has run."""
    return create_study(_small_study(), tmp_path / "study")


@pytest.fixture
def finished(ledger):
    """The same, done: more light is better, and more bits change little."""
    for run in ledger.runs:
        light = ledger.designs[run.design]["light"]
        _pretend(ledger, run, 0.9 if light == 5000 else 0.6, bits=100.0 * (1 + run.design % 2))
    return ledger


class Cheap:
    """A stand-in for training: writes what a run would, from a formula over its configuration."""

    def __init__(self, formula, *, seconds=0.0):
        self.formula, self.seconds = formula, seconds

    def __call__(self, config, folder, dataset, *, device, stop):
        joint.save_config(config, folder.path)
        time.sleep(self.seconds)
        if stop():
            return False
        numbers = self.formula(config)
        folder.append_history(
            {"epoch": 0, "validation": numbers, "images_per_second": 100.0, "train": {}}
        )
        costs = {"photons": config.system.sensor.photons, "bits": None, "parameters": 10}
        folder.finish(
            {"digest": config.digest(), "best_epoch": 0, "epochs": 1, "costs": costs, "test": {}}
        )
        return True


@pytest.fixture
def cheap(monkeypatch):
    """Let workers of this process run a formula instead of training."""
    worker = importlib.import_module("joint.study.work")

    def install(formula, **settings):
        monkeypatch.setattr(worker, "execute", Cheap(formula, **settings))
        monkeypatch.setattr(
            "joint.study.scenes.build_data",
            lambda config: SimpleNamespace(encoding=None, classes=()),
        )

    return install


@pytest.fixture
def forked(monkeypatch):
    """Processes are forked from one that has loaded the library; those of a study are spawned."""
    context = multiprocessing.get_context("forkserver")
    # The first optimizer of a process loads torch._dynamo.
    context.set_forkserver_preload(["joint.study", "joint.study.work", "torch._dynamo"])
    monkeypatch.setattr("multiprocessing.get_context", lambda kind=None: context)
    return context
