"""From a configuration to scenes, a system, and a saved run brought back."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import classify
import compress
import optics
from classify.weights import load_state, read_state

from .checkpoint import CheckpointError, load_checkpoint, load_weights
from .config.codecs import build_codec
from .config.custom import CustomConfig, build_custom
from .config.front_ends import LensConfig, build_front_end
from .config.psf import PSFConfig
from .config.restoration import UNetConfig, build_restoration
from .config.run import ClassifierConfig, RunConfig, SensorConfig, SystemConfig, load_config
from .config.scenes import DataConfig, build_data
from .folder import BEST_FILE, CHECKPOINT_FILE, PREDICTIONS_FILE, load_predictions
from .settings import ConfigError, NoneConfig
from .system import ImagingSystem, evaluating
from .train.training import Training

__all__ = [
    "Trained",
    "as_begun",
    "build_split",
    "build_system",
    "load_codec",
    "load_fitted",
    "load_run",
    "load_teacher",
    "load_trained",
]


def as_begun(
    dataset: classify.LesionDataset, config: RunConfig, directory: Path | str
) -> classify.LesionDataset:
    """The scenes of a run that has begun, taken for what its system took them for.

    Before data sets said what their codes are, a system of linear light took sRGB codes for light,
    and no run of today does. Such a run goes on, and is judged, as it was trained; a warning says
    so.
    """
    taken = config.system.encoding
    if dataset.encoding in (None, taken):
        return dataset
    warnings.warn(
        f"the run in {directory} takes its {dataset.encoding} scenes for {taken} ones, as was "
        "possible when it began, and goes on to: its optics see other light than was there. "
        f"Train anew with system.encoding={dataset.encoding!r}",
        stacklevel=3,
    )
    return dataset.taken_as(taken)


def build_split(config: RunConfig, dataset: classify.LesionDataset) -> classify.Split:
    """Divide the scenes ``dataset`` as ``config`` says."""
    wanted = config.split
    if wanted.folds is not None:
        folds = classify.k_folds(
            dataset, wanted.folds, by=wanted.by, seed=wanted.seed, validation=True
        )
        return folds[wanted.fold]
    return classify.split(
        dataset,
        fractions=wanted.fractions,
        by=wanted.by,
        method=wanted.method,
        seed=wanted.seed,
    )


def build_system(
    config: SystemConfig, *, image_size: tuple[int, int], channels: int, classes: int
) -> ImagingSystem:
    """Build the system of a configuration for scenes ``[B, channels, H, W]``.

    The initial weights are a pure function of ``config.seed``; torch's global generator is left
    as it was.

    Parameters
    ----------
    config : SystemConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels, classes : int
        Of the scenes, and of their labels.

    Returns
    -------
    ImagingSystem

    Raises
    ------
    ValueError
        When a stage does not fit the scenes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        front_end = build_front_end(config.front_end, image_size, channels)
        sensor = None
        seen = channels if front_end is None else front_end.out_channels
        read_size = image_size
        if isinstance(config.sensor, SensorConfig):
            lens = config.front_end
            mixes = isinstance(lens, LensConfig | PSFConfig)
            captured = lens.colour.captured(channels) if mixes else channels
            _check_fits(config.sensor, image_size, captured)
            sensor = optics.Sensor(
                config.sensor.photons,
                quantum_efficiency=config.sensor.quantum_efficiency,
                read_noise=config.sensor.read_noise,
                dark_current=config.sensor.dark_current,
                exposure_time=config.sensor.exposure_time,
                full_well=config.sensor.full_well,
                bit_depth=config.sensor.bit_depth,
                gain=config.sensor.gain,
                black_level=config.sensor.black_level,
                prnu=config.sensor.prnu,
                dsnu=config.sensor.dsnu,
                resolution=image_size,
                binning=config.sensor.binning,
                cfa=config.sensor.cfa,
                demosaicing=config.sensor.demosaicing,
                white_balance=config.sensor.white_balance,
                trainable_gain=config.sensor.trainable_gain,
                shot_noise=config.sensor.shot_noise,
                converter=config.sensor.converter,
            )
            seen, height, width = sensor.picture_shape(seen, *image_size)
            read_size = height, width
        restoration = build_restoration(
            config.restoration, channels=(seen, channels), sizes=(read_size, image_size)
        )
        if isinstance(config.restoration, UNetConfig):  # which makes the scene's
            seen, read_size = channels, image_size
        elif restoration is not None:
            seen, read_size = _made_by(restoration, seen, read_size)
        classifier = None
        if isinstance(config.classifier, CustomConfig):
            classifier = build_custom(
                config.classifier,
                nn.Module,
                "classifier",
                image_size=read_size,
                channels=seen,
                in_channels=seen,
                classes=classes,
            )
        elif isinstance(config.classifier, ClassifierConfig):
            classifier = classify.backbone(
                config.classifier.name,
                classes,
                in_channels=seen,
                image_size=read_size,
                dropout=config.classifier.dropout,
                head=config.classifier.head,
                frozen=config.classifier.frozen,
            )
            _load(classifier, config.classifier, config.sensor)
        return ImagingSystem(
            front_end=front_end,
            sensor=sensor,
            restoration=restoration,
            codec=build_codec(config.codec, seen, image_size=read_size),
            classifier=classifier,
            encoding=config.encoding,
        )


def _made_by(
    restoration: nn.Module, channels: int, size: tuple[int, int]
) -> tuple[int, tuple[int, int]]:
    """Channels and size of what a restoration makes of pictures: a module is asked by a picture."""
    with evaluating(restoration), torch.no_grad():
        made = restoration(torch.full((1, channels, *size), 0.5))
    if made.ndim != 4:
        raise ValueError(
            f"the restoration makes {tuple(made.shape)} of pictures [1, {channels}, {size[0]}, "
            f"{size[1]}]: it must make pictures [B, C, H, W]"
        )
    return made.shape[1], (made.shape[2], made.shape[3])


def _check_fits(config: SensorConfig, image_size: tuple[int, int], channels: int) -> None:
    """Refuse a scene that does not fit the sensor, before a run."""
    height, width = image_size
    if height % config.binning or width % config.binning:
        raise ValueError(
            f"sensor.binning={config.binning} does not divide pictures of {height} x {width}; "
            "choose another image_size or binning"
        )
    if config.cfa is not None and channels != 3:
        raise ValueError(
            f"sensor.cfa={config.cfa!r} needs pictures of 3 channels, not {channels}; use cfa=null"
        )
    if config.demosaicing == "packed" and (height % 2 or width % 2):
        raise ValueError(
            "sensor.demosaicing='packed' packs whole blocks of 2 x 2 pixels, and pictures of "
            f"{height} x {width} are not made of them; choose an even image_size"
        )


def _load(
    classifier: classify.Classifier, config: ClassifierConfig, sensor: SensorConfig | NoneConfig
) -> None:
    """Let a classifier begin at the weights of a file, if there is one.

    Refused are those whose first layer knows colours where it is handed a mosaic.
    """
    if config.weights is None:
        return
    record, state = classify.backbone_record(config.name), read_state(config.weights)
    handed = classifier.in_channels
    if isinstance(sensor, SensorConfig) and sensor.hands_on_mosaic:
        for key in (f"net.{record.stem}.weight", f"{record.stem}.weight"):
            known = state[key].shape[1] if key in state and state[key].ndim == 4 else handed
            if known != handed:
                raise ValueError(
                    f"{config.weights} is of a classifier of {known} channels, and "
                    f"sensor.demosaicing={sensor.demosaicing!r} hands it {handed}, whose pixels "
                    "have one colour each: begin at random weights, or at those of a run with the "
                    "same demosaicing, or set sensor.demosaicing='bilinear'"
                )
    load_state(classifier, state, source=config.weights, record=record, name=config.name)


class Trained(NamedTuple):
    """What training left in a run folder."""

    weights: dict[str, Tensor]
    """Of any shape, by their names in the system."""
    head: dict[str, Any]
    """What their file says of the run."""
    path: Path
    """Their file."""


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
        When no epoch is over yet, or their file is missing or damaged.
    """
    path = directory / (BEST_FILE if training.restore_best else CHECKPOINT_FILE)
    if not path.exists():
        raise CheckpointError(
            f"{directory} holds no trained weights yet: there is no checkpoint at {path}"
        )
    tensors, head = load_checkpoint(path)
    if training.restore_best:
        return Trained(tensors, head, path)
    if head.get("records") == []:
        raise CheckpointError(f"{directory} holds no trained weights yet: no epoch is over")
    part = "system." if training.averaging is None else "average."
    own = {name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)}
    return Trained(own, head, path)


def load_run(
    directory: Path | str, *, data: DataConfig | None = None
) -> tuple[RunConfig, ImagingSystem, classify.Split]:
    """Rebuild a saved run: its configuration, its system as it was tested, its scenes, split.

    The system has the weights of the best epoch; with ``restore_best=False`` the last ones, or
    their average.

    Parameters
    ----------
    directory : path
        The run folder, here or copied from elsewhere.
    data : DataConfig, optional
        Where its scenes are now; what the configuration says by default. They must be the same.

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
        When the run is of a time when data sets did not say what their codes are, and its system
        took them for something else: here it still does.
    """
    directory = Path(directory)
    config = load_config(directory)
    trained = load_trained(directory, config.training)
    dataset = as_begun(build_data(config.data if data is None else data), config, directory)
    parts = build_split(config, dataset)
    if _identity(trained.head).get("train") != parts.train.fingerprint:
        raise CheckpointError(
            f"the scenes of {directory} are no longer those that it was trained on, so that its "
            "test set may hold training pictures: restore them, or evaluate on other data"
        )
    # Everything is in the checkpoint; the files that training began with may be gone.
    system = build_system(
        config.system.without_files(),
        image_size=dataset.image_size,
        channels=dataset.channels,
        classes=len(dataset.classes),
    )
    load_weights(system, trained.weights, source=str(trained.path))
    return config, system, parts


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
            f"the teacher {directory} rests, for the objective has distillation=0", stacklevel=1
        )
        return None
    theirs = load_config(directory)
    trained = load_trained(directory, theirs.training)
    _check_teaches(theirs, trained, ours, directory)
    if _identity(trained.head).get("train") != ours.fingerprint:
        warnings.warn(
            f"the teacher {directory} was trained on other pictures than those that it teaches "
            "on: where they hold some that are validated or tested here, the results are too good",
            stacklevel=1,  # once, wherever it is asked for
        )
    teacher = build_system(
        theirs.system.without_files(),
        image_size=ours.image_size,
        channels=ours.channels,
        classes=len(ours.classes),
    )
    load_weights(teacher, trained.weights, source=str(trained.path))
    return teacher.eval()


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
    head = trained.weights.get("classifier.head.weight")  # which one of their own may not have
    names = None
    if (directory / PREDICTIONS_FILE).exists():
        names = load_predictions(directory).classes
    count = len(ours.classes) if head is None else len(head)
    if count != len(ours.classes) or names not in (None, ours.classes):
        said = f"{count} of them" if names is None else ", ".join(names)
        raise ConfigError(
            f"{directory} tells other classes apart ({said}) than it is to teach "
            f"({', '.join(ours.classes)}): choose a run of the same classes, in their order"
        )


def _identity(head: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says that it was trained on."""
    identity = head.get("identity")
    return identity if isinstance(identity, dict) else {}


def load_fitted(system: ImagingSystem, directory: Path | str) -> ImagingSystem:
    """Give a system the weights with which :func:`joint.fit` left the one that it trained.

    For a run in Python, whose folder knows the weights and not how the system was built: build it
    again in the same way. They are the weights of the best epoch or, of a run with
    ``restore_best=False``, the last ones or their average. Nothing but their names and shapes is
    compared; what has no weights (a sensor's photons, the encoding) is as it is here.

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
        architecture.
    """
    trained = _left_by_fit(Path(directory))
    load_weights(system, trained.weights, source=str(trained.path))
    return system.eval()


def _left_by_fit(directory: Path) -> Trained:
    """What training left in a folder, by what its files say of how it was trained."""
    paths = [directory / BEST_FILE, directory / CHECKPOINT_FILE]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise CheckpointError(
            f"{directory} holds no trained weights: there is neither {BEST_FILE} nor "
            f"{CHECKPOINT_FILE}; give the directory of joint.fit"
        )
    training = _identity(load_checkpoint(path)[1]).get("training")
    if not isinstance(training, dict) or "restore_best" not in training:
        raise CheckpointError(f"{path} does not say how it was trained: joint.fit did not write it")
    which = {name: training.get(name) for name in ("restore_best", "averaging")}
    return load_trained(directory, Training.model_validate(which))


def load_codec(directory: Path | str, *, codec: compress.Codec | None = None) -> compress.Codec:
    """Rebuild the codec of a saved run alone, as it was tested, in evaluation mode.

    Neither the scenes nor the other stages are looked at, so a run folder that was copied to
    another machine is enough to read its files there.

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
    """
    directory = Path(directory)
    if codec is not None:
        weights, _, path = _left_by_fit(directory)
        return _codec_with(codec, weights, path)
    run = load_config(directory)
    config = run.system.codec
    weights, head, path = load_trained(directory, run.training)
    channels = _identity(head).get("codec_channels") or 3
    try:
        codec = build_codec(config, channels)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not say for how many channels its codec is: {error}"
        ) from error
    if codec is None:
        raise ValueError(f"the run in {directory} has no codec: choose one that was trained with")
    return _codec_with(codec, weights, path)


def _codec_with(codec: compress.Codec, weights: dict[str, Tensor], path: Path) -> compress.Codec:
    own = {n.removeprefix("codec."): t for n, t in weights.items() if n.startswith("codec.")}
    load_weights(codec, own, source=str(path))
    return codec.eval()
