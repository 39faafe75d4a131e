"""A stage of the study: one run folder, made from the folders of the stages before it.

::

    classifier ─┬──────────────► frozen 6X, 3X, 1.5X        weights come from the folders of the
    autoencoder ┴► joint 6X ... ─► front ends, remedies     stages before; nothing is trained twice

A stage is named by what it depends on: its configuration, what it is tested with, and the stages
that its weights come from. So a folder that is done is right, and one that is not is resumed.
"""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

import classify
import compress
from joint import (
    Evaluation,
    ImagingSystem,
    RunConfig,
    RunFolder,
    build_codec,
    build_split,
    build_system,
    evaluate,
    fit,
    is_done,
    load_checkpoint,
    load_weights,
    lock_run,
    save_config,
)
from joint.config.codecs import CodecConfig
from joint.saved.folder import BEST_FILE, read_result

Part = Literal["codec", "classifier"]


@dataclass(frozen=True)
class Point:
    """Another codec, or another setting of the own one, at which a stage is tested too."""

    label: str
    codec: CodecConfig | None = None
    """In the place of the own one."""
    quality: float | None = None
    """Of a learned codec that has several."""
    latent_bits: int | None = None
    """Of an autoencoder, whose latent is then entropy-coded."""

    def said(self) -> list[object]:
        """What it depends on, as JSON has it."""
        codec = None if self.codec is None else self.codec.model_dump(mode="json")
        return [self.label, codec, self.quality, self.latent_bits]


@dataclass(frozen=True)
class Stage:
    """One training, or one test of parts that are trained."""

    protocol: str
    """``seed`` or ``honest``."""
    name: str
    config: RunConfig
    parents: Mapping[Part, "Stage"] = field(default_factory=dict)
    """Where weights come from that this stage begins with."""
    trains: bool = True
    """Otherwise it is tested as it comes from its parents."""
    points: tuple[Point, ...] = ()
    judges_training: bool = True
    """Test on the training part too, as the study did for most tables."""
    resamples: int = 1000
    """Of the lesions, for the intervals of the test part."""

    @property
    def seed(self) -> int:
        """Source of weights, order, views and noise."""
        return self.config.training.seed

    @functools.cached_property  # asked for wherever a folder is named
    def digest(self) -> str:
        """Of everything that the result depends on."""
        said = {
            "config": self.config.canonical(),
            "parents": {part: stage.digest for part, stage in self.parents.items()},
            "trains": self.trains,
            "points": [point.said() for point in self.points],
            "judges_training": self.judges_training,
            "resamples": self.resamples,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def folder(self, root: Path) -> Path:
        """Where it lies; the name is for people, the digest tells it from all others."""
        return root / f"{self.protocol}-{self.name}-s{self.seed}-{self.digest}"

    def ancestors(self) -> Iterator["Stage"]:
        """The stages that it needs, earliest first, itself last."""
        for parent in self.parents.values():
            yield from parent.ancestors()
        yield self


def run_stage(
    stage: Stage,
    scenes: Callable[[], classify.LesionDataset],
    root: Path,
    *,
    device: str = "cpu",
    stop: Callable[[], bool] | None = None,
    progress: bool = True,
) -> bool:
    """Train and test a stage whose parents are done; go on with it where it was interrupted.

    Its scenes are built once it is held, which another process may do.

    Returns
    -------
    bool
        Whether it is done; False when it was stopped.

    Raises
    ------
    ValueError, CheckpointError, TrainingDiverged
        As :func:`joint.fit`; the reason is left in the folder.
    """
    if is_done(stage.folder(root)):
        return True
    with lock_run(stage.folder(root)) as folder:
        if is_done(folder.path):
            return True
        folder.begin()
        save_config(stage.config, folder.path)
        folder.record_environment(device)
        try:
            return _run_held(stage, scenes(), root, folder, device, stop, progress)
        except Exception as error:
            folder.fail(error)
            raise


def _run_held(
    stage: Stage,
    scenes: classify.LesionDataset,
    root: Path,
    folder: RunFolder,
    device: str,
    stop: Callable[[], bool] | None,
    progress: bool,
) -> bool:
    started = time.perf_counter()
    parts = build_split(stage.config, scenes)
    system = start(stage, scenes, root).to(device)
    epochs: dict[str, Any] = {"epochs": 0, "best_epoch": None}
    if stage.trains:
        assert parts.validation is not None
        history = fit(
            system,
            parts.train,
            parts.validation,
            objective=stage.config.objective,
            config=stage.config.training,
            directory=folder,
            resume=True,
            device=device,
            stop=stop,
            progress=progress,
        )
        if history.interrupted:
            return False
        epochs = {"epochs": len(history.epochs), "best_epoch": history.best_epoch}
    tested = _test(stage, system, parts, folder)
    folder.finish(
        {
            "protocol": stage.protocol,
            "stage": stage.name,
            "seed": stage.seed,
            "digest": stage.digest,
            "parents": {part: parent.digest for part, parent in stage.parents.items()},
            **epochs,
            **tested,
            "seconds": round(time.perf_counter() - started, 1),
        }
    )
    return True


def start(stage: Stage, scenes: classify.LesionDataset, root: Path) -> ImagingSystem:
    """The system of a stage with the weights that it begins with."""
    system = build_system(
        stage.config.system,
        image_size=scenes.image_size,
        channels=scenes.channels,
        classes=len(scenes.classes),
    )
    for part, parent in stage.parents.items():
        _take(part, parent, system, root)
    return system


def trained(stage: Stage, scenes: classify.LesionDataset, root: Path) -> ImagingSystem:
    """The system of a stage that is done."""
    system = start(stage, scenes, root)
    if stage.trains:
        path = stage.folder(root) / BEST_FILE
        load_weights(system, load_checkpoint(path)[0], source=str(path))
    return system


def has_weights(stage: Stage, root: Path) -> bool:
    """Whether the weights are there that a stage, as trained, is made of."""
    made_of = [stage, *stage.parents.values()]
    return all((each.folder(root) / BEST_FILE).exists() for each in made_of if each.trains)


def _take(part: Part, parent: Stage, system: ImagingSystem, root: Path) -> None:
    """Load one part from the folder of the stage that trained it."""
    path = parent.folder(root) / BEST_FILE
    weights, _ = load_checkpoint(path)
    own = {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(f"{part}.")}
    load_weights(getattr(system, part), own, source=str(path))


def _test(
    stage: Stage, system: ImagingSystem, parts: classify.Split, folder: RunFolder
) -> dict[str, Any]:
    """Numbers of all parts; what is chosen is chosen on the validation part."""
    assert parts.validation is not None
    objective, size = stage.config.objective, stage.config.training.batch_size

    def look(data: classify.LesionDataset, *, final: bool = False) -> Evaluation:
        # Files are written for the test part alone: what they cost is asked of it.
        files = final and system.codec is not None
        resamples = stage.resamples if final else 0
        return evaluate(
            system,
            data,
            objective=objective,
            batch_size=size,
            count_bytes=files,
            resamples=resamples,
        )

    validation, test = look(parts.validation), look(parts.test, final=True)
    folder.save_predictions(test, parts.test.classes)
    found: dict[str, Any] = {
        "pictures": {name: len(part) for name, part in parts.parts.items()},
        "leaked": parts.shared_lesions,
        "train": look(parts.train).to_dict() if stage.judges_training else None,
        "validation": validation.to_dict(),
        "test": test.to_dict(),
    }
    offset: np.ndarray | None = None
    if validation.logits is not None:
        prior = classify.log_prior(parts.train.counts)
        choice = classify.choose_tau(validation.logits, validation.labels, log_prior=prior)
        offset = (-choice.tau * prior).numpy()
        adjusted = test.adjusted(offset, resamples=stage.resamples).report
        assert adjusted is not None
        found["adjusted"] = {
            "tau": choice.tau,
            "offset": offset.tolist(),
            "report": adjusted.to_dict(),
        }
        if parts.shared_lesions > 0:
            found["by_leak"] = _by_leak(test, set(parts.train.groups))
    found["points"] = [_at(point, stage, system, parts.test, offset) for point in stage.points]
    return found


def _by_leak(test: Evaluation, known: set[str]) -> dict[str, Any]:
    """Accuracy on test pictures whose lesion was trained on, and on the others.

    Classes leak in different shares, so the difference is taken within each class, and averaged
    with the weights of the pictures that leaked.
    """
    assert test.logits is not None
    leaked = np.array([group in known for group in test.groups])
    right = test.logits.argmax(1) == test.labels
    gaps, weights = [], []
    for label in np.unique(test.labels):
        mine = test.labels == label
        if (mine & leaked).any() and (mine & ~leaked).any():
            gaps.append(right[mine & leaked].mean() - right[mine & ~leaked].mean())
            weights.append(int((mine & leaked).sum()))
    return {
        "leaked": {"pictures": int(leaked.sum()), "accuracy": _mean(right[leaked])},
        "clean": {"pictures": int((~leaked).sum()), "accuracy": _mean(right[~leaked])},
        "within_class": float(np.average(gaps, weights=weights)) if gaps else None,
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _at(
    point: Point,
    stage: Stage,
    system: ImagingSystem,
    test: classify.LesionDataset,
    offset: np.ndarray | None,
) -> dict[str, Any]:
    """Numbers of the test part at a point, with what was chosen for the stage itself."""
    if point.codec is not None:
        codec = build_codec(point.codec, test.channels)
        system = ImagingSystem(codec=codec, classifier=system.classifier)
    with _latent_in(system, point.latent_bits):
        seen = evaluate(
            system,
            test,
            batch_size=stage.config.training.batch_size,
            quality=point.quality,
            count_bytes=True,
        )
    numbers = seen.scalars()
    found: dict[str, Any] = {"label": point.label}
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "bpp_bytes", "psnr"):
        found[name] = numbers[name]
    if offset is not None:
        report = seen.adjusted(offset).report
        assert report is not None
        found["adjusted_balanced_accuracy"] = report.balanced_accuracy
    return found


@contextmanager
def _latent_in(system: ImagingSystem, bits: int | None) -> Iterator[None]:
    """Let an autoencoder round its latent for a while."""
    codec = system.codec
    if bits is None or not isinstance(codec, compress.Autoencoder):
        yield
        return
    before = codec.latent_bits
    codec.latent_bits = bits
    try:
        yield
    finally:
        codec.latent_bits = before


def result(stage: Stage, root: Path) -> dict[str, Any]:
    """What a stage that is done came to."""
    return read_result(stage.folder(root))


def at_seed(stage: Stage, seed: int) -> Stage:
    """The same stage, and all that it comes from, from other weights, order, views and noise.

    Scenes and split stay: two stages of one seed are a pair.
    """
    system = stage.config.system.model_copy(update={"seed": seed})
    training = stage.config.training.model_copy(update={"seed": seed})
    config = stage.config.model_copy(update={"system": system, "training": training})
    parents = {part: at_seed(parent, seed) for part, parent in stage.parents.items()}
    return dataclasses.replace(stage, config=config, parents=parents)
