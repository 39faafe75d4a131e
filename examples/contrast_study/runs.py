"""The systems that are compared: a classifier, codecs alone, and each of them with it."""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from torch import nn

import classify
from joint import (
    AutoencoderConfig,
    ClassifierConfig,
    FactorizedConfig,
    ImagingSystem,
    NoneConfig,
    Objective,
    RunConfig,
    SplitConfig,
    SystemConfig,
    Training,
    build_data,
    build_split,
    data_config,
    fit,
    load_run,
)
from joint.analysis import Alteration, altered, equal_contrast, keep_region, scalable
from joint.run.complete import complete_run
from joint.stages import Stage

#: Altered pictures: what is left of them, and how. With whole ones, the classifier is trained as
#: long: to be trained further helps by itself.
VIEWS: dict[str, Alteration] = {
    "whole": lambda images, masks: images,
    "boundary only": partial(keep_region, region="boundary"),
    "lesion only": partial(keep_region, region="lesion"),
    "equal contrast": partial(equal_contrast, distance=20.0),
}


@dataclass(frozen=True)
class Options:
    """Put the study's five claims about contrast to a test."""

    data: str = "phantom"
    """phantom, or the path of HAM10000: the folder or the zip, as downloaded."""
    run: Path | None = None
    """Instead of training: a folder of the runs classifier, codec and joint, as of quickstart."""
    limit: int | None = None
    """Use only this many pictures, in the class shares of the whole; 400 phantoms by default."""
    image_size: int = 48
    """Pixels along a side."""
    codec: tuple[Literal["6X", "3X", "1.5X", "factorized"], ...] = (
        "6X",
        "3X",
        "1.5X",
        "factorized",
    )
    """The study's autoencoders by their width ratios, and a codec that is trained for few bits."""
    view: tuple[Literal["whole", "boundary only", "lesion only", "equal contrast"], ...] = (
        "whole",
        "boundary only",
        "lesion only",
        "equal contrast",
    )
    """Altered pictures that the classifier is trained on with."""
    seed: tuple[int, ...] = (0,)
    """Sources of initial weights and of training, of a classifier and codecs each; the classifier
    of the first is the one that is judged alone and trained on altered pictures."""
    epochs: int = 9
    """Epochs of the classifier."""
    codec_epochs: int = 2
    """Epochs of each codec alone."""
    joint_epochs: int = 3
    """Epochs of each codec with the classifier, and of the classifier on altered pictures."""
    resamples: int = 500
    """Bootstrap resamples of the lesions, for the intervals."""
    steps: int = 60
    """Steps to each optimal image."""
    device: str = "cpu"
    """Where to train and to measure."""
    output: Path = Path("runs/contrast")
    """Folder of the runs, the numbers and the figures; what is there is taken up."""


class Arm(NamedTuple):
    """A codec, before and after it was trained with the classifier."""

    name: str
    seed: int
    frozen: ImagingSystem
    """The codec alone, then the classifier that never saw it."""
    joint: ImagingSystem


class Study(NamedTuple):
    """What is measured."""

    parts: classify.Split
    classifier: ImagingSystem
    arms: list[Arm]
    views: dict[str, ImagingSystem]
    """The classifier, trained on with altered pictures of each kind."""


def train(options: Options) -> Study:
    """Train what is not there yet."""
    data = data_config(options.data, image_size=options.image_size)
    if options.limit or data.kind == "phantom":
        name = "count" if data.kind == "phantom" else "limit"
        data = data.model_copy(update={name: options.limit or 400})
    first, *_ = options.seed
    training = Training(epochs=options.epochs, augmentation="full", monitor="balanced_accuracy")
    further = training.model_copy(update={"epochs": options.joint_epochs, "learning_rate": 1e-3})
    task = Objective(class_weight_power=0.5)
    none = NoneConfig()
    bare = SystemConfig(front_end=none, sensor=none, codec=none)
    split = SplitConfig(fractions=(0.7, 0.1, 0.2))
    alone = RunConfig(data=data, split=split, system=bare, objective=task, training=training)
    parts = build_split(alone, build_data(data, progress=True))
    print(parts)

    def run(
        name: str, config: RunConfig, start: Mapping[Stage, nn.Module] | None = None
    ) -> ImagingSystem:
        print(f"\n== {name} ({options.output / name})")
        return complete_run(
            config, parts, options.output / name, start=start, device=options.device
        )

    classifiers = {
        seed: run(
            f"classifier-{seed}",
            alone.model_copy(
                update={
                    "system": bare.model_copy(update={"seed": seed}),
                    "training": training.model_copy(update={"seed": seed}),
                }
            ),
        )
        for seed in options.seed
    }
    arms = []
    for seed, name in itertools.product(options.seed, options.codec):
        net = classifiers[seed].classifier
        assert net is not None
        rate = 0.1 if name == "factorized" else 0.0
        config = (
            FactorizedConfig()
            if rate
            else AutoencoderConfig(width_ratio=float(name[:-1]), latent_bits=6)
        )
        system = bare.model_copy(update={"codec": config, "classifier": none, "seed": seed})
        fidelity = Objective.rate_distortion(0.01) if rate else Objective(task=0, distortion=1)
        briefly = {"epochs": options.codec_epochs, "monitor": "loss", "augmentation": "dihedral"}
        by_itself = alone.model_copy(
            update={
                "system": system,
                "objective": fidelity,
                "training": training.model_copy(update=briefly | {"seed": seed}),
            }
        )
        # As in the study, only the label counts: what a picture looks like does not.
        together = alone.model_copy(
            update={
                "system": system.model_copy(update={"classifier": ClassifierConfig()}),
                "objective": task.model_copy(update={"rate": rate, "distortion": 10 * rate}),
                "training": further.model_copy(update={"seed": seed}),
            }
        )
        codec = run(f"codec-{name}-{seed}", by_itself).codec
        assert codec is not None
        start: dict[Stage, nn.Module] = {"codec": codec, "classifier": net}
        joint = run(f"joint-{name}-{seed}", together, start)
        arms.append(Arm(name, seed, ImagingSystem(codec=codec, classifier=net), joint))

    views = {}
    for name in options.view:
        folder = options.output / name.replace(" ", "-")
        print(f"\n== {name} ({folder})")
        views[name] = copy.deepcopy(classifiers[first])
        whole = (parts.train, parts.parts["validation"])
        shown = [altered(part.subset(scalable(part)), VIEWS[name]) for part in whole]
        fit(
            views[name],
            *shown,
            objective=task,
            config=further.model_copy(update={"seed": first}),
            directory=folder,
            resume=True,
            device=options.device,
        )
    return Study(parts, classifiers[first], arms, views)


def load(folder: Path, device: str) -> Study:
    """Take the runs classifier, codec and joint of a folder."""
    _, classifier, parts = load_run(folder / "classifier")
    (_, codec, _), (config, joint, _) = (load_run(folder / name) for name in ("codec", "joint"))
    frozen = ImagingSystem(codec=codec.codec, classifier=classifier.classifier)
    arm = Arm(config.system.codec.kind, config.training.seed, frozen.to(device), joint.to(device))
    return Study(parts, classifier.to(device), [arm], {})
