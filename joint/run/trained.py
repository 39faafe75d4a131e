"""What training left in a run folder: its weights, and whole systems brought back with them."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

import classify
import compress
from joint.caution import caution
from joint.config.codecs import build_codec, for_channels
from joint.config.run import RunConfig, load_config
from joint.config.scenes import DataConfig, build_data
from joint.described import described, differing, part_of
from joint.saved.checkpoint import CheckpointError, load_checkpoint, load_weights
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, CONFIG_FILE, as_path
from joint.settings import ConfigError, NoneConfig
from joint.stages import STAGES, Stage
from joint.system import ImagingSystem
from joint.train.identity import EARLIER
from joint.train.training import Training

from .build import build_split, build_system

__all__ = [
    "SceneKind",
    "Trained",
    "check_parts",
    "load_codec",
    "load_fitted",
    "load_run",
    "load_system",
    "load_teacher",
    "load_trained",
    "rebuilt",
]


# What a training says of itself in its checkpoints.
_IDENTITY = {"codec_channels", "scenes", "system", "train", "training", "validation"}


class SceneKind(NamedTuple):
    """What kind of scenes a run was trained on."""

    image_size: tuple[int, int]
    """Height and width, pixels."""
    channels: int
    classes: tuple[str, ...]


class Trained(NamedTuple):
    """Result of a training in a run folder."""

    weights: dict[str, Tensor]
    """Weights of any shape, by their names in the system."""
    head: dict[str, Any]
    """Header of their file, which describes the run."""
    path: Path
    """Their file."""

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the run: its settings, what its system is made of, digests of its scenes."""
        return self.head["identity"]

    def of_stage(self, stage: Stage) -> dict[str, Tensor]:
        """The weights of one stage, of any shape, by their names in it."""
        own = f"{stage}."
        named = self.weights.items()
        return {name.removeprefix(own): t for name, t in named if name.startswith(own)}

    @property
    def scenes(self) -> SceneKind:
        """Kind of the scenes that it was trained on."""
        kept = self.identity["scenes"]
        return SceneKind(tuple(kept["image_size"]), kept["channels"], tuple(kept["classes"]))


def load_trained(directory: Path, training: Training) -> Trained:
    """Read the final weights of :func:`joint.fit`, with which a run is tested.

    Parameters
    ----------
    directory : path
        The run folder.
    training : Training
        Settings of the training: with ``restore_best`` the weights are those of the best epoch,
        without it the last ones, or their average.

    Returns
    -------
    Trained

    Raises
    ------
    CheckpointError
        When no epoch has ended yet, or their file is missing, damaged, not from a training, or of
        an earlier version of this library.
    """
    path = directory / (BEST_FILE if training.restore_best else CHECKPOINT_FILE)
    if not path.exists():
        raise CheckpointError(
            f"{directory} holds no trained weights yet: there is no checkpoint at {path}"
        )
    tensors, head = load_checkpoint(path)
    identity = head.get("identity")
    if isinstance(identity, dict) and isinstance(identity.get("system"), str):
        raise CheckpointError(f"{path} {EARLIER}")
    if not _is_of_a_training(head):
        raise CheckpointError(f"{path} does not say how it was trained: joint.fit did not write it")
    if training.restore_best:
        return Trained(tensors, head, path)
    if head.get("records") == []:
        raise CheckpointError(f"{directory} holds no trained weights yet: no epoch has ended")
    part = "system." if training.averaging is None else "average."
    own = {name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)}
    return Trained(own, head, path)


def _is_of_a_training(head: dict[str, Any]) -> bool:
    """Whether the header of a checkpoint is one of :func:`joint.fit`."""
    identity = head.get("identity")
    if not isinstance(identity, dict) or not identity.keys() >= _IDENTITY:
        return False
    scenes, training = identity["scenes"], identity["training"]
    return (
        isinstance(identity["system"], dict)
        and isinstance(training, dict)
        and training.keys() >= {"restore_best", "averaging"}
        and isinstance(scenes, dict)
        and scenes.keys() >= {*SceneKind._fields}
    )


def load_run(
    directory: Path | str, *, data: DataConfig | classify.LesionDataset | None = None
) -> tuple[RunConfig, ImagingSystem, classify.Split]:
    """Rebuild a saved run: its configuration, its trained system, and its scenes with their split.

    The system has the weights of the best epoch; with ``restore_best=False`` the last ones, or
    their average. It is in evaluation mode, so that classifying pictures does not change it.

    Parameters
    ----------
    directory : path
        The run folder, here or copied from elsewhere.
    data : DataConfig or LesionDataset, optional
        Place of the scenes, or the data set, which many runs may share; by default the data of the
        configuration. The scenes must be the same.

    Returns
    -------
    (RunConfig, ImagingSystem, classify.Split)

    Raises
    ------
    ConfigError, CheckpointError
        When the folder lacks one of these, or they do not belong together.

    Warns
    -----
    UserWarning
        When ``config.json`` is of a stage that is set otherwise than that of the training.
    """
    directory = as_path(directory)
    config = load_config(directory)
    trained = load_trained(directory, config.training)
    if not isinstance(data, classify.LesionDataset):
        data = build_data(config.data if data is None else data)
    parts = build_split(config, data)
    check_parts(directory, trained, parts)
    return config, rebuilt(config, trained, data), parts


def check_parts(directory: Path, trained: Trained, parts: classify.Split) -> None:
    """Raise a CheckpointError if parts are not those that a run was trained and validated on."""
    was, validation = trained.identity, parts.validation
    now = None if validation is None else validation.fingerprint
    same_train = was["train"] == parts.train.fingerprint
    if not same_train or was["validation"] != now:
        use, held = ("trained on", "training") if not same_train else ("validated by", "validation")
        raise CheckpointError(
            f"the scenes of {directory} are no longer those that it was {use}, so that its "
            f"test set may hold {held} pictures: restore them, or evaluate on other data"
        )


def load_system(directory: Path | str) -> ImagingSystem:
    """Rebuild only the trained system of a saved run, in evaluation mode.

    Neither the data nor the files of initial weights are read, so that a run folder is enough, also
    on another machine. See :func:`load_run` for a system with its split.

    Parameters
    ----------
    directory : path
        The run folder, of ``lens2label train`` or :func:`joint.run.complete.complete_run`.

    Returns
    -------
    ImagingSystem

    Raises
    ------
    ConfigError, CheckpointError
        When the folder lacks configuration or weights, or they do not belong together.

    Warns
    -----
    UserWarning
        When ``config.json`` is of a stage that is set otherwise than that of the training.
    """
    directory = as_path(directory)
    config = load_config(directory)
    trained = load_trained(directory, config.training)
    return rebuilt(config, trained, trained.scenes)


def rebuilt(
    config: RunConfig, trained: Trained, scenes: classify.LesionDataset | SceneKind
) -> ImagingSystem:
    """The system of a run, for scenes of this kind, with its weights, in evaluation mode.

    The description of the system in the weights' file is compared with the configuration, which
    may have been edited.
    """
    # Everything is in the checkpoint; the files that training began with may be gone.
    system = build_system(
        config.system.without_files(),
        image_size=scenes.image_size,
        channels=scenes.channels,
        classes=len(scenes.classes),
    )
    remedy = f"put back the {trained.path.with_name(CONFIG_FILE)} that it was trained by"
    _check_encoding(system, trained, remedy=remedy)
    try:
        # Not as a file, of which it would be said that the configuration beside it is its own.
        _give_weights(system, trained, source=f"the file {trained.path}", remedy=remedy)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {remedy}") from error
    system.classes = None if system.classifier is None else scenes.classes
    # One picture that passes in training mode would change its batch statistics for all others.
    return system.eval()


def load_teacher(config: RunConfig, parts: classify.Split) -> ImagingSystem | None:
    """The trained teacher of a run; None without a teacher, or if distillation has no weight.

    Parameters
    ----------
    config : RunConfig
        The run that learns from it.
    parts : classify.Split
        Scenes of that run, which the teacher classifies; the teacher's own are not needed.

    Returns
    -------
    ImagingSystem or None

    Raises
    ------
    ConfigError, CheckpointError
        When the folder ``config.teacher`` is no run or has no trained weights; when the run there
        has no classifier, or was trained on scenes of another size or for other classes.

    Warns
    -----
    UserWarning
        When the teacher was trained on other pictures than ``parts.train``; and when the objective
        has no weight for distillation.
    """
    directory, ours = config.teacher, parts.train
    if directory is None:
        return None
    if not config.objective.distillation:
        warnings.warn(
            f"the teacher {directory} has no effect, because the objective has distillation=0",
            stacklevel=1,
        )
        return None
    theirs = load_config(directory)
    trained = load_trained(directory, theirs.training)
    _check_teaches(theirs, trained, ours, directory)
    if trained.identity["train"] != ours.fingerprint:
        warnings.warn(
            f"the teacher {directory} was trained on other pictures than those that it teaches "
            "on: if they include pictures validated or tested here, the results are too good",
            stacklevel=1,  # once, wherever it is asked for
        )
    return rebuilt(theirs, trained, ours)


def _check_teaches(
    theirs: RunConfig, trained: Trained, ours: classify.LesionDataset, directory: Path
) -> None:
    """Refuse a teacher without classifier, for another size of scenes or for other classes."""
    if isinstance(theirs.system.classifier, NoneConfig):
        raise ConfigError(
            f"{directory} cannot teach: its run has no classifier. Choose one that has"
        )
    size = theirs.data.image_size
    if size is not None and (size, size) != ours.image_size:
        height, width = ours.image_size
        raise ConfigError(
            f"{directory} was trained on scenes of {size} x {size} pixels, and is to teach on "
            f"{height} x {width}: a teacher is shown the scenes of the run that it teaches, so "
            "train both on one size (--data.image-size)"
        )
    names = trained.scenes.classes
    if names != ours.classes:
        raise ConfigError(
            f"{directory} tells other classes apart ({', '.join(names)}) than it is to teach "
            f"({', '.join(ours.classes)}): choose a run of the same classes, in their order"
        )


def load_fitted(system: ImagingSystem, directory: Path | str) -> ImagingSystem:
    """Give a system the final weights of a training with :func:`joint.fit`.

    For a run in Python, whose folder holds the weights but not the construction of the system:
    build it again in the same way. The weights are those of the best epoch or, for a run with
    ``restore_best=False``, the last ones or their average. Their names and shapes are compared, the
    encoding, and the settings that stages and their parts hold, see
    :func:`joint.described.described`; they stay those of ``system``.

    Parameters
    ----------
    system : ImagingSystem
        A system of the same architecture, on any device; its weights are replaced in place.
    directory : path
        The folder that was given to ``fit``, or a copy of it; also one of ``lens2label train``.

    Returns
    -------
    ImagingSystem
        The same system, in evaluation mode.

    Raises
    ------
    CheckpointError
        When no epoch has ended yet, a file is missing or damaged, or the system has another
        architecture or another encoding.

    Warns
    -----
    UserWarning
        For each stage with other settings than the trained one, or that only one of the two
        systems has: the first differences are named. Not for the quality of a codec that was
        trained for all of its qualities, nor for settings of learning.
    """
    trained = _left_by_fit(as_path(directory))
    remedy = "build the system as it was for joint.fit"
    _check_encoding(system, trained, remedy=remedy)
    _give_weights(system, trained, source=str(trained.path), remedy=remedy)
    if system.classifier is not None:
        system.classes = trained.scenes.classes
    return system.eval()


def _check_encoding(system: ImagingSystem, trained: Trained, *, remedy: str) -> None:
    """Refuse the weights of a run whose scenes had another encoding than the system takes."""
    whole = trained.identity["system"].get("", {"settings": {}})
    encoding = whole["settings"].get("encoding", system.encoding)
    if encoding != system.encoding:
        raise CheckpointError(
            f"{trained.path} was trained on scenes of encoding={encoding!r}, and this system "
            f"takes them for {system.encoding!r}: build it with encoding={encoding!r}, or {remedy}"
        )


def _give_weights(system: ImagingSystem, trained: Trained, *, source: str, remedy: str) -> None:
    """Load weights, and warn of settings that differ from those of the run."""
    # Before the weights are there: the run was described without.
    there, here = trained.identity["system"], described(system)
    load_weights(system, trained.weights, source=source)
    for stage in STAGES if there else ():
        other = differing(part_of(there, stage), part_of(here, stage), learning=False)
        if other is not None:
            caution(
                f"the weights in {trained.path} were trained with another "
                f"{stage.replace('_', ' ')}: {other}. If that is not meant, {remedy}"
            )


def _left_by_fit(directory: Path) -> Trained:
    """Final weights in a folder, by the settings of the training in its files."""
    paths = [directory / BEST_FILE, directory / CHECKPOINT_FILE]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise CheckpointError(
            f"{directory} holds no trained weights: there is neither {BEST_FILE} nor "
            f"{CHECKPOINT_FILE}; give the directory of joint.fit"
        )
    # Which of its weights count, is said by the file, whichever of the two it is.
    identity = load_trained(directory, Training(restore_best=path.name == BEST_FILE)).identity
    which = {name: identity["training"][name] for name in ("restore_best", "averaging")}
    return load_trained(directory, Training.model_validate(which))


def load_codec(directory: Path | str, *, codec: compress.Codec | None = None) -> compress.Codec:
    """Rebuild only the trained codec of a saved run, in evaluation mode.

    Neither the scenes nor the other stages are read, so that a copy of the run folder on another
    machine is enough to read the codec's files there. Its ``channels`` are those of its pictures in
    training, also if its files could have others, as JPEG can be grey or colour.

    Parameters
    ----------
    directory : path
        The run folder.
    codec : compress.Codec, optional
        The codec, built in the same way as for the run; needed for a folder of :func:`joint.fit`,
        which has no configuration. Its weights are replaced in place.

    Returns
    -------
    compress.Codec

    Raises
    ------
    ConfigError, CheckpointError
        When the folder lacks configuration or weights, or they do not belong together.
    ValueError
        When the run has no codec.

    Warns
    -----
    UserWarning
        When the settings of the codec differ from those of the trained one: the first are named.
    """
    directory = as_path(directory)
    if codec is not None:
        trained = _left_by_fit(directory)
        return _codec_with(codec, trained, remedy="build it as it was for joint.fit")
    run = load_config(directory)
    config = run.system.codec
    trained = load_trained(directory, run.training)
    try:
        codec = build_codec(config, _codec_channels(trained))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{trained.path} does not say for how many channels its codec is: {error}"
        ) from error
    if codec is None:
        raise ValueError(f"the run in {directory} has no codec: choose one that was trained with")
    remedy = f"put back the {directory / CONFIG_FILE} that it was trained by"
    return _codec_with(codec, trained, remedy=remedy)


def _codec_channels(trained: Trained) -> int | None:
    """Channels of the input pictures of a run's codec; None if unknown.

    Of a codec that had none to say, as ``compress.JPEG()``, those of its scenes: a camera may have
    made others of them, which is certain where they are neither 1 nor 3.
    """
    scenes = trained.scenes.channels
    return trained.identity["codec_channels"] or (scenes if scenes in (1, 3) else None)


def _codec_with(codec: compress.Codec, trained: Trained, *, remedy: str) -> compress.Codec:
    load_weights(codec, trained.of_stage("codec"), source=str(trained.path))
    there = part_of(trained.identity["system"], "codec")
    # Of tables that are fixed, what they came with is their quality.
    other = differing(there, described(codec), learning=False) if there else None
    if other is not None:
        caution(
            f"the codec in {trained.path} was trained with other settings: {other}. If that is not "
            f"meant, {remedy}"
        )
    return for_channels(codec, _codec_channels(trained)).eval()
