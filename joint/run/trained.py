"""What training left in a run folder: its weights, and whole systems brought back with them."""

import re
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
from joint.saved.checkpoint import CheckpointError, load_checkpoint, load_weights
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, CONFIG_FILE, as_path
from joint.settings import ConfigError, NoneConfig
from joint.stages import STAGES, Stage
from joint.system import ImagingSystem
from joint.train.training import Training

from .build import build_split, build_system
from .printed import differing, printed_stage

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
    """What training left in a run folder."""

    weights: dict[str, Tensor]
    """Of any shape, by their names in the system."""
    head: dict[str, Any]
    """What their file says of the run."""
    path: Path
    """Their file."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the run was: its settings, its system as printed, digests of its scenes."""
        return self.head["identity"]

    def of_stage(self, stage: Stage) -> dict[str, Tensor]:
        """The weights of one stage, of any shape, by their names in it."""
        own = f"{stage}."
        named = self.weights.items()
        return {name.removeprefix(own): t for name, t in named if name.startswith(own)}

    @property
    def scenes(self) -> SceneKind:
        """What kind of scenes it was trained on."""
        kept = self.identity["scenes"]
        return SceneKind(tuple(kept["image_size"]), kept["channels"], tuple(kept["classes"]))


def load_trained(directory: Path, training: Training) -> Trained:
    """Read the weights with which :func:`joint.fit` leaves a system: those that a run is tested by.

    Parameters
    ----------
    directory : path
        The run folder.
    training : Training
        How it was trained: with ``restore_best`` they are those of the best epoch, and without the
        last ones, or their average.

    Returns
    -------
    Trained

    Raises
    ------
    CheckpointError
        When no epoch is over yet, or their file is missing, damaged, or not of a training.
    """
    path = directory / (BEST_FILE if training.restore_best else CHECKPOINT_FILE)
    if not path.exists():
        raise CheckpointError(
            f"{directory} holds no trained weights yet: there is no checkpoint at {path}"
        )
    tensors, head = load_checkpoint(path)
    if not _is_of_a_training(head):
        raise CheckpointError(f"{path} does not say how it was trained: joint.fit did not write it")
    if training.restore_best:
        return Trained(tensors, head, path)
    if head.get("records") == []:
        raise CheckpointError(f"{directory} holds no trained weights yet: no epoch is over")
    part = "system." if training.averaging is None else "average."
    own = {name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)}
    return Trained(own, head, path)


def _is_of_a_training(head: dict[str, Any]) -> bool:
    """Whether a checkpoint says of itself what those of :func:`joint.fit` do."""
    identity = head.get("identity")
    if not isinstance(identity, dict) or not identity.keys() >= _IDENTITY:
        return False
    scenes, training = identity["scenes"], identity["training"]
    return (
        isinstance(training, dict)
        and training.keys() >= {"restore_best", "averaging"}
        and isinstance(scenes, dict)
        and scenes.keys() >= {*SceneKind._fields}
    )


def load_run(
    directory: Path | str, *, data: DataConfig | classify.LesionDataset | None = None
) -> tuple[RunConfig, ImagingSystem, classify.Split]:
    """Rebuild a saved run: its configuration, its system as it was tested, its scenes, split.

    The system has the weights of the best epoch; with ``restore_best=False`` the last ones, or
    their average. It is in evaluation mode: what it says of a picture does not change it.

    Parameters
    ----------
    directory : path
        The run folder, here or copied from elsewhere.
    data : DataConfig or LesionDataset, optional
        Where its scenes are now, or the data set, built once for many runs; what the configuration
        says by default. They must be the same.

    Returns
    -------
    (RunConfig, ImagingSystem, classify.Split)

    Raises
    ------
    ConfigError, CheckpointError
        When the folder lacks one of them, or they do not belong together.

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
    """Refuse, by a CheckpointError, parts of other pictures than a run has learned from."""
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
    """Rebuild the system of a saved run alone, as it was tested, in evaluation mode.

    Neither the data nor the files that training began with are looked at, so a run folder that was
    copied to another machine is enough. See :func:`load_run` for a system with its split.

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
    """The system of a run, for such scenes, with its weights, in evaluation mode.

    What its weights' file knows of how it was built is compared with the configuration: somebody
    may have edited that.
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
    """The teacher of a run, as it was tested; None where there is none, or nothing weighs it.

    Parameters
    ----------
    config : RunConfig
        The run that is taught.
    parts : classify.Split
        Its scenes, which the teacher is shown: the teacher's own are not needed.

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
        has no weight for what it says.
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
            "on: where they hold some that are validated or tested here, the results are too good",
            stacklevel=1,  # once, wherever it is asked for
        )
    return rebuilt(theirs, trained, ours)


def _check_teaches(
    theirs: RunConfig, trained: Trained, ours: classify.LesionDataset, directory: Path
) -> None:
    """Refuse a teacher that has nothing to say of these scenes, or says it of something else."""
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
    """Give a system the weights with which :func:`joint.fit` left the one that it trained.

    For a run in Python, whose folder knows the weights and not how the system was built: build it
    again in the same way. They are the weights of the best epoch or, of a run with
    ``restore_best=False``, the last ones or their average. Their names and shapes are compared, the
    encoding, and what the stages and their parts print (``repr``) of what has no weights; what they
    do not print is as it is here, whatever it was there.

    Parameters
    ----------
    system : ImagingSystem
        Of the same architecture; its weights are replaced in place, wherever it lies.
    directory : path
        The folder that ``fit`` was given, or a copy of it; ``lens2label train`` writes such ones
        too.

    Returns
    -------
    ImagingSystem
        The same one, in evaluation mode.

    Raises
    ------
    CheckpointError
        When no epoch is over yet, a file is missing or damaged, or the system is of another
        architecture or takes scenes of another encoding.

    Warns
    -----
    UserWarning
        For each stage that is set otherwise than the one that was trained, or that only one of the
        two has: the first differences are named. Not for a quality of a codec of several that was
        trained at them all, nor for how a stage learns.
    """
    trained = _left_by_fit(as_path(directory))
    remedy = "build the system as it was for joint.fit"
    _check_encoding(system, trained, remedy=remedy)
    _give_weights(system, trained, source=str(trained.path), remedy=remedy)
    if system.classifier is not None:
        system.classes = trained.scenes.classes
    return system.eval()


def _check_encoding(system: ImagingSystem, trained: Trained, *, remedy: str) -> None:
    """Refuse the weights of a run whose scenes were of another encoding than the system takes."""
    encoding = re.search(r"^(?:  |\w+\()encoding='(\w+)'", trained.identity["system"], re.MULTILINE)
    if encoding is not None and encoding[1] != system.encoding:
        raise CheckpointError(
            f"{trained.path} was trained on scenes of encoding={encoding[1]!r}, and this system "
            f"takes them for {system.encoding!r}: build it with encoding={encoding[1]!r}, or "
            f"{remedy}"
        )


def _give_weights(system: ImagingSystem, trained: Trained, *, source: str, remedy: str) -> None:
    """Load weights, and tell what has none and is otherwise here than the run printed it."""
    # Before the weights are there, of which a stage may print something: the run began without.
    others = _other_stages(system, trained.identity["system"])
    load_weights(system, trained.weights, source=source)
    for stage, other in others.items():
        caution(
            f"the weights in {trained.path} were trained with another {stage.replace('_', ' ')}: "
            f"{other}. If that is not meant, {remedy}"
        )


def _other_stages(system: ImagingSystem, printed: str) -> dict[Stage, str]:
    """What is otherwise in each stage than it was printed, of those where anything is."""
    found: dict[Stage, str] = {}
    for stage in STAGES if printed else ():
        there, here = printed_stage(printed, stage), getattr(system, stage)
        if there is None or here is None:
            kind = "none" if there is None else there.partition("(")[0]
            other = f"{kind} there, {'none' if here is None else type(here).__name__} here"
            other = None if there is here else other
        else:  # a sensor leaves out what is as by default, and always did
            other = differing(there, here, both=stage == "sensor")
        if other is not None:
            found[stage] = other
    return found


def _left_by_fit(directory: Path) -> Trained:
    """What training left in a folder, by what its files say of how it was trained."""
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
    """Rebuild the codec of a saved run alone, as it was tested, in evaluation mode.

    Neither the scenes nor the other stages are looked at, so a run folder that was copied to
    another machine is enough to read its files there. Its ``channels`` are those of the pictures
    that it was given in training, also where its files could have others: as JPEG, grey or colour.

    Parameters
    ----------
    directory : path
        The run folder.
    codec : compress.Codec, optional
        Built as it was for the run: of a folder that :func:`joint.fit` wrote, which has no
        configuration. Its weights are replaced in place.

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
        When the codec prints other settings than the one that was trained: the first are named.
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
    """Channels of the pictures that the codec of a run was given; None where nothing says so.

    Of a codec that had none to say, as ``compress.JPEG()``, those of its scenes: a camera may have
    made others of them, which is certain where they are neither 1 nor 3.
    """
    scenes = trained.scenes.channels
    return trained.identity["codec_channels"] or (scenes if scenes in (1, 3) else None)


def _codec_with(codec: compress.Codec, trained: Trained, *, remedy: str) -> compress.Codec:
    load_weights(codec, trained.of_stage("codec"), source=str(trained.path))
    printed = printed_stage(trained.identity["system"], "codec")
    # Of tables that are fixed, what they came with is their quality.
    other = None if printed is None else differing(printed, codec)
    if other is not None:
        caution(
            f"the codec in {trained.path} was trained with other settings: {other}. If that is not "
            f"meant, {remedy}"
        )
    return for_channels(codec, _codec_channels(trained)).eval()
