"""What is run: the stages of the study as it was published, and as it should be.

::

    options ─► Scale ─┬─ seed    by image, squeezed, Adam, L2, checkpoint on validation accuracy
                      └─ honest  by lesion, isotropic, AdamW, averaged weights, paired seeds
                                 and what the study left for the future

Where the study does not say (batch size, learning rate, which augmentation, how the joint model
began), :data:`CHOSEN` says what is taken here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from joint import (
    AutoencoderConfig,
    ClassifierConfig,
    HAM10000Config,
    HyperpriorConfig,
    JPEGConfig,
    KernelConfig,
    KMeansConfig,
    NoneConfig,
    Objective,
    PhantomConfig,
    RunConfig,
    SensorConfig,
    SplitConfig,
    SystemConfig,
    Training,
    data_config,
)
from joint.config.front_ends import FrontEndConfig
from joint.config.scenes import DataConfig

from .stages import Point, Stage, at_seed

ProtocolName = Literal["seed", "honest"]

WIDTHS = {"6x": 6.0, "3x": 3.0, "1.5x": 1.5}
COLORS = 16
PHOTONS = 300.0
JPEG_QUALITIES = (1, 5, 10, 20, 40, 75)
LEVELS = 4
PHANTOM_EPOCHS = 12
# What the latents of the autoencoders cost when they are numbers that a file can hold.
_IN_BITS = (Point("8 bit latent", latent_bits=8), Point("4 bit latent", latent_bits=4))

CHOSEN = (
    "batch size 128 (64 in the CPU preset), learning rate 0.001 held constant, L2 weight 0.0001",
    "augmentation: flips and quarter turns",
    "k-means: 16 colours, a palette for each picture",
    "classifiers begin from random weights, or --weights; that of the honest protocol is trained "
    "on procedural lesions first (not in the CPU preset)",
    "joint models of the seed's protocol begin from fresh weights; of the honest one, from the "
    "trained pair",
    "Inception: blocks of Inception v3 with a stem for small pictures, from random weights "
    "(--backbone inception_v3 takes torchvision's, --weights its public file); the honest protocol "
    "takes a smaller residual net, and the Inception is one of its other classifiers",
)


@dataclass(frozen=True)
class Scale:
    """How large the study is made."""

    data: str = "phantom"
    """``phantom``, or the path of HAM10000."""
    pixels: int = 128
    """Along a side."""
    backbone: str | None = None
    """Classifier of all rows but the comparison of architectures; by default the Inception of the
    study as published, and a small residual net as it should be."""
    weights: Path | None = None
    """Public weights that it begins from."""
    phantoms: int = 12_000
    """Procedural lesions that the classifier of the honest protocol is trained on first, at most
    ``limit``; 0 for none."""
    architectures: tuple[str, ...] = ("inception_s", "resnet18", "convnext_atto")
    epochs_scale: float = 1.0
    """Factor on all numbers of epochs, which stay at least 1."""
    limit: int | None = None
    """Use only this many pictures."""
    batch_size: int = 128
    resamples: int = 1000
    """Of the lesions, for intervals."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of codec and classifier."""


class Recipe(NamedTuple):
    """What all stages of a protocol share."""

    protocol: ProtocolName
    data: DataConfig
    split: SplitConfig
    training: Training
    objective: Objective
    scale: Scale
    judges_training: bool = True
    """Test on the training part too, unless a stage says otherwise."""

    @property
    def backbone(self) -> str:
        """Name of the classifier of the study."""
        default = "inception_s" if self.protocol == "seed" else "resnet_s"
        return self.scale.backbone or default

    def epochs(self, published: int) -> int:
        """Epochs at this scale."""
        return max(1, round(published * self.scale.epochs_scale))

    def stage(
        self,
        name: str,
        system: dict[str, Any],
        *,
        epochs: int = 1,
        training: dict[str, Any] | None = None,
        objective: Objective | None = None,
        parents: dict[Any, Stage] | None = None,
        **more: Any,  # noqa: ANN401
    ) -> Stage:
        """Make a stage of seed 0 from what is particular to it."""
        parts = {"front_end": NoneConfig(), "sensor": NoneConfig(), "codec": NoneConfig()}
        changed = {"epochs": self.epochs(epochs), **(training or {})}
        config = RunConfig(
            data=self.data,
            split=self.split,
            system=SystemConfig(**{**parts, **system}),
            objective=objective or self.objective,
            # model_copy does not check what it is given.
            training=Training.model_validate(self.training.model_dump() | changed),
        )
        return Stage(
            protocol=self.protocol,
            name=name,
            config=config,
            parents=parents or {},
            resamples=self.scale.resamples,
            **{"judges_training": self.judges_training, **more},
        )

    def classifier(self, name: str | None = None) -> ClassifierConfig:
        """The classifier of the study, or another one."""
        own = name is None or name == self.backbone
        return ClassifierConfig(
            name=name or self.backbone, weights=self.scale.weights if own else None
        )


def recipe(protocol: ProtocolName, scale: Scale) -> Recipe:
    """Data, split, training and objective of a protocol."""
    geometry = "squeeze" if protocol == "seed" else "crop"
    common: dict[str, Any] = {
        "batch_size": scale.batch_size,
        "precision": scale.precision,
    }
    if protocol == "seed":
        training = Training(
            optimizer="adam",
            learning_rate=1e-3,
            schedule="constant",
            weight_decay=1e-4,
            augmentation="dihedral",
            monitor="accuracy",
            **common,
        )
        objective = Objective(label_smoothing=0)
    else:
        # The area under the curves needs no operating point and lets rare classes count alike.
        training = Training(
            learning_rate=2e-3, augmentation="full", averaging=0.998, monitor="auc", **common
        )
        objective = Objective()
    split = SplitConfig(by="image" if protocol == "seed" else "lesion")
    return Recipe(protocol, _data(scale, geometry), split, training, objective, scale)


def _data(scale: Scale, geometry: str) -> DataConfig:
    source = data_config(scale.data, image_size=scale.pixels)
    match source:
        case PhantomConfig():
            # As unbalanced as HAM10000, unless there are too few to divide.
            balance = 1.0 if scale.limit is None else 0.25
            return source.model_copy(update={"count": scale.limit or 1600, "balance": balance})
        case HAM10000Config():
            return source.model_copy(update={"limit": scale.limit, "geometry": geometry})
        case _:
            raise ValueError(
                f"the study is one of HAM10000, and {scale.data} is something else: give its "
                "folder or zip, or 'phantom'"
            )


def published_rows(made: Recipe) -> dict[str, Stage]:
    """The rows that the study has, by name."""
    fresh = made.protocol == "seed"
    begun = None if fresh or made.scale.phantoms == 0 else _phantoms(made)
    alone = made.stage(
        "classifier",
        {"classifier": made.classifier()},
        epochs=35 if fresh else 90,
        parents={} if begun is None else {"classifier": begun},
    )
    # The softness with which all rows were measured.
    soft = KMeansConfig(colors=COLORS, temperature=1e-3)
    palette = {"codec": soft, "classifier": made.classifier()}
    stages = [
        *([] if begun is None else [begun]),
        alone,
        made.stage(
            "kmeans_frozen",
            palette,
            parents={"classifier": alone},
            trains=False,
            judges_training=False,
        ),
        # A palette has nothing to learn itself: what learns through its soft assignment is the
        # mixture of colours that it is made of. Clustering at every step is slow, hence 5 epochs.
        made.stage(
            "kmeans_joint",
            {**palette, "front_end": KernelConfig(kernel_size=1, mix_channels=True)},
            epochs=5,
            parents={"classifier": alone},
            judges_training=False,
        ),
    ]
    for name, ratio in WIDTHS.items():
        codec = AutoencoderConfig(width_ratio=ratio)
        pair = {"codec": codec, "classifier": made.classifier()}
        coder = made.stage(
            f"autoencoder_{name}",
            {"codec": codec, "classifier": NoneConfig()},
            epochs=50,
            training={"monitor": "loss"},
            objective=Objective(task=0, distortion=1, distortion_kind="mae"),
        )
        both = {"codec": coder, "classifier": alone}
        stages += [
            coder,
            made.stage(
                f"frozen_{name}",
                pair,
                parents=both,
                trains=False,
                points=_IN_BITS,
                judges_training=False,
            ),
            made.stage(
                f"joint_{name}",
                pair,
                epochs=35 if fresh else 20,
                training={} if fresh else {"learning_rate": 1e-3},
                parents={} if fresh else both,
                points=_IN_BITS,
            ),
        ]
    return {stage.name: stage for stage in stages}


def _phantoms(made: Recipe) -> Stage:
    """The classifier on procedural lesions, of the same classes: where the honest one begins."""
    count = made.scale.phantoms
    pictures = PhantomConfig(
        count=count if made.scale.limit is None else min(count, made.scale.limit),
        image_size=made.scale.pixels,
        seed=7,  # others than those of a study of phantoms
    )
    return made._replace(data=pictures).stage(
        "phantoms",
        {"classifier": made.classifier()},
        epochs=PHANTOM_EPOCHS,
        # As docs/classifiers.md tried it.
        training={"averaging": None},
        judges_training=False,
    )


def further_rows(made: Recipe, rows: dict[str, Stage]) -> dict[str, Stage]:
    """Measured bits, and the three future steps: optics, rare classes, other classifiers."""
    # The study printed nothing of these, so that nothing is asked of them on the training part.
    made = made._replace(judges_training=False)
    stages = [*_rated(made, rows), *_optics(made, rows["joint_3x"])]
    joint = rows["joint_3x"]
    stages.append(
        made.stage(
            "balanced_3x",
            {"codec": joint.config.system.codec, "classifier": made.classifier()},
            epochs=20,
            training={"learning_rate": 1e-3},
            objective=made.objective.model_copy(update={"logit_adjustment": 1.0}),
            parents=dict(joint.parents),
        )
    )
    alone = rows["classifier"]
    if alone.parents:
        stages.append(
            made.stage(
                "classifier_random",
                {"classifier": made.classifier()},
                training={"epochs": alone.config.training.epochs},
            )
        )
    for name in made.scale.architectures:
        if name != made.backbone:
            stages.append(
                made.stage(f"classifier_{name}", {"classifier": made.classifier(name)}, epochs=35)
            )
    return {stage.name: stage for stage in stages}


def _rated(made: Recipe, rows: dict[str, Stage]) -> Iterable[Stage]:
    """A codec whose bits are measured, and JPEG with the same care."""
    alone = rows["classifier"]
    learned = HyperpriorConfig(levels=LEVELS, level_ratio=4)
    gently = {"learning_rate": 1e-3}
    codec = made.stage(
        "codec",
        {"codec": learned, "classifier": NoneConfig()},
        epochs=50,
        training={"monitor": "loss", "weight_decay": 0.0, "gradient_clip": 1.0, **gently},
        objective=Objective.rate_distortion(0.004),
    )
    yield codec
    qualities = tuple(Point(f"quality {q}", quality=float(q)) for q in range(LEVELS))
    yield made.stage(
        "rated",
        {"codec": learned, "classifier": made.classifier()},
        epochs=20,
        training=gently,
        objective=Objective.rate_distortion(0.004, lambda_task=1.0),
        parents={"codec": codec, "classifier": alone},
        points=qualities,
    )
    files = tuple(Point(f"JPEG {q}", codec=JPEGConfig(quality=q)) for q in JPEG_QUALITIES)
    jpeg = {"codec": JPEGConfig(quality=20), "classifier": made.classifier()}
    yield made.stage(
        "jpeg_frozen",
        jpeg,
        parents={"classifier": alone},
        trains=False,
        points=files,
    )
    # JPEG deserves a classifier that knows it, as the learned codec has.
    yield made.stage(
        "jpeg_joint",
        jpeg,
        epochs=20,
        training={**gently, "stages": ("classifier",)},
        parents={"classifier": alone},
        points=files,
    )


def _optics(made: Recipe, joint: Stage) -> Iterable[Stage]:
    """The physical edge filter in front of the joint model, at few photons, and its rivals."""
    sensor = SensorConfig(photons=PHOTONS, bit_depth=10, black_level=10)
    designs: dict[str, tuple[FrontEndConfig, bool]] = {
        "optics_none": (NoneConfig(), False),
        "optics_laplacian": (KernelConfig(start="laplacian"), False),
        "optics_unsharp": (KernelConfig(start="unsharp"), False),
        "optics_learned": (KernelConfig(start="unsharp"), True),
    }
    for name, (front_end, learns) in designs.items():
        stages = ("front_end", "codec", "classifier") if learns else ("codec", "classifier")
        yield made.stage(
            name,
            {
                "front_end": front_end,
                "sensor": sensor,
                "codec": joint.config.system.codec,
                "classifier": made.classifier(),
            },
            epochs=20,
            training={"learning_rate": 1e-3, "stages": stages},
            parents={"codec": joint, "classifier": joint},
        )


class Claim(NamedTuple):
    """A comparison that conclusions are drawn from, named before the first run."""

    name: str
    first: str
    second: str
    metric: Literal["accuracy", "balanced_accuracy"] = "balanced_accuracy"
    """The balanced one with the offset that each run chose on its validation part."""


#: With so many, eight paired seeds are the fewest that can show one of them: six show one alone.
#: What is dear and has no claim, as a codec with a rate, is run with one seed.
CLAIMS = (
    Claim("joint 3X against the classifier alone", "joint_3x", "classifier", "accuracy"),
    Claim("joint 3X against the frozen pair", "joint_3x", "frozen_3x", "accuracy"),
    Claim("learned filter against none, 300 photons", "optics_learned", "optics_none"),
    Claim("learned filter against the fixed one it began as", "optics_learned", "optics_unsharp"),
    Claim("rare classes weighed against not", "balanced_3x", "joint_3x"),
)


class Plan(NamedTuple):
    """All stages, in an order in which each comes after those that it needs."""

    rows: dict[ProtocolName, dict[str, Stage]]
    """Of seed 0, by protocol and name."""
    stages: tuple[Stage, ...]
    """Of all seeds."""
    seeds: tuple[int, ...]

    def longest_first(self) -> tuple[Stage, ...]:
        """All stages, those first whose longest chain of stages to come has the most epochs."""
        waiting = {stage.digest: 0 for stage in self.stages}
        for stage in reversed(self.stages):  # what needs a stage comes after it
            waiting[stage.digest] += stage.config.training.epochs
            for parent in stage.parents.values():
                waiting[parent.digest] = max(waiting[parent.digest], waiting[stage.digest])
        return tuple(sorted(self.stages, key=lambda stage: -waiting[stage.digest]))


def plan(protocols: Sequence[ProtocolName], scale: Scale, *, seeds: int = 1) -> Plan:
    """Stages of the protocols; further seeds take what the claims need, and nothing else.

    Raises
    ------
    ValueError
        For fewer than one seed, or data that are not HAM10000.
    """
    if seeds < 1:
        raise ValueError(f"a study needs at least one seed, not {seeds}")
    rows: dict[ProtocolName, dict[str, Stage]] = {}
    for protocol in protocols:
        made = recipe(protocol, scale)
        rows[protocol] = published_rows(made)
        if protocol == "honest":
            rows[protocol] |= further_rows(made, rows[protocol])
    stages = [stage for found in rows.values() for stage in found.values()]
    if "honest" in rows:
        needed = dict.fromkeys(name for claim in CLAIMS for name in (claim.first, claim.second))
        for seed in range(1, seeds):
            for name in needed:
                stages += at_seed(rows["honest"][name], seed).ancestors()
    return Plan(rows, tuple({stage.digest: stage for stage in stages}.values()), (*range(seeds),))
