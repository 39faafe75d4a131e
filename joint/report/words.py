"""A configuration in words, with units."""

from collections.abc import Iterator
from pathlib import Path

from joint.config.front_ends import FourierConfig, FrontEndConfig, KernelConfig, LensConfig
from joint.config.psf import PSFConfig
from joint.config.run import ClassifierConfig, RunConfig, SensorConfig, SplitConfig
from joint.config.scenes import DataConfig, PhantomConfig
from joint.objective import Objective
from joint.settings import NoneConfig, Settings
from joint.train.training import Training

__all__ = ["configuration_words"]


def configuration_words(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Name and description of each part of a run, in the order of the light."""
    system = config.system
    yield "scenes", _scenes(config.data)
    yield "split", _split(config.split)
    yield "front end", _front_end(system.front_end)
    yield "sensor", _sensor(system.sensor)
    yield "codec", _settings(system.codec, "none: the classifier sees the measurement")
    yield "classifier", _classifier(system.classifier)
    yield "objective", _objective(config.objective)
    yield "training", _training(config.training)
    yield "seeds", f"initial weights {system.seed}, training {config.training.seed}"


def _scenes(data: DataConfig) -> str:
    if isinstance(data, PhantomConfig):
        return (
            f"{data.count} procedural lesions of {data.image_size} × {data.image_size} pixels, "
            f"difficulty {data.difficulty:g}, contrast {data.contrast:g}, seed {data.seed}"
        )
    return _settings(data, "")


def _split(split: SplitConfig) -> str:
    whole = "all pictures of a lesion in one part" if split.by == "lesion" else "picture by picture"
    if split.folds is not None:
        return f"fold {split.fold} of {split.folds} (from 0) is the test part, {whole}"
    train, validation, test = (f"{100 * share:g} %" for share in split.fractions)
    return f"{train} training, {validation} validation, {test} test, {whole}, seed {split.seed}"


def _front_end(front_end: FrontEndConfig) -> str:
    match front_end:
        case KernelConfig():
            exposures = "two exposures that are subtracted" if front_end.signed else "one exposure"
            mixed = ", channels mixed" if front_end.mix_channels else ""
            return (
                f"learned kernel of {front_end.kernel_size} × {front_end.kernel_size} pixels, "
                f"{exposures}{mixed}; training began from {front_end.start}"
            )
        case FourierConfig():
            return (
                f"learned transmission in the Fourier plane of a 4f system, "
                f"{front_end.illumination} light; training began from {front_end.start}"
            )
        case LensConfig():
            element = (
                "no element in the pupil"
                if front_end.element == "none"
                else f"{front_end.element} element in the pupil (strength {front_end.strength:g} "
                "waves before training)"
            )
            sharp = "" if front_end.focus is None else f", focused on {front_end.focus:g} m"
            if front_end.working_distances:
                metres = ", ".join(f"{distance:g}" for distance in front_end.working_distances)
                sharp += f", scenes at one of {metres} m"
            restored = (
                ""
                if front_end.restoration is None
                else ", its blur undone after the sensor (noise to signal "
                f"{front_end.restoration:g} before training)"
            )
            return (
                f"lens of {1e3 * front_end.focal_length:g} mm at f/{front_end.f_number:g}, pixels "
                f"of {1e6 * front_end.pixel_pitch:g} µm, {element}, {front_end.defocus:g} waves of "
                f"defocus{sharp}{restored}"
            )
        case PSFConfig():
            source = "a point" if front_end.file is None else front_end.file.name
            if front_end.content == "picture" and front_end.file is not None:
                source = f"the picture {source} of a point source"
            what = "learned PSF, which began from" if front_end.trained else "fixed PSF of"
            return f"{what} {source}, window {front_end.psf_size} × {front_end.psf_size} pixels"
        case NoneConfig():
            return "none: the sensor sees the scene"


def _sensor(sensor: SensorConfig | NoneConfig) -> str:
    if isinstance(sensor, NoneConfig):
        return "none: light is read without noise or rounding"
    depth = "not rounded" if sensor.bit_depth is None else f"{sensor.bit_depth} bits"
    own = sensor.quantum_efficiency
    efficiency = " / ".join(f"{each:g}" for each in (own if isinstance(own, tuple) else [own]))
    words = [
        f"{sensor.photons:,g} photons/pixel at full scale",
        f"quantum efficiency {efficiency}{', white balanced' if sensor.white_balance else ''}",
        f"read noise {sensor.read_noise:g} electrons RMS",
        depth,
        f"{sensor.shot_noise} shot noise" if sensor.shot_noise != "none" else "no shot noise",
    ]
    if sensor.dark_current:
        words.append(f"dark current {sensor.dark_current:g} electrons/s")
    if sensor.binning > 1:
        words.append(f"binning {sensor.binning} × {sensor.binning} pixels")
    if sensor.cfa is not None:
        words.append(f"{sensor.cfa} mosaic, {sensor.demosaicing} demosaicing")
    return ", ".join(words)


def _classifier(classifier: ClassifierConfig | NoneConfig) -> str:
    if isinstance(classifier, NoneConfig):
        return "none: the system ends with a picture"
    words = [classifier.name, f"{classifier.head} head"]
    if classifier.dropout:
        words.append(f"dropout {classifier.dropout:g}")
    words.append("from random weights" if classifier.weights is None else "from given weights")
    return ", ".join(words)


def _objective(objective: Objective) -> str:
    terms = [
        (objective.task, "cross-entropy (nats)"),
        (objective.rate, "rate (bits/pixel)"),
        (objective.distortion, f"distortion ({objective.distortion_kind})"),
        (objective.restoration, f"restoration ({objective.distortion_kind})"),
    ]
    words = [" + ".join(f"{weight:g} × {name}" for weight, name in terms if weight) or "nothing"]
    for name in (
        "label_smoothing", "class_weight_power", "effective_number", "logit_adjustment",
        "focal_gamma", "margin",
    ):  # fmt: skip
        value = getattr(objective, name)
        if value:
            words.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(words)


def _training(training: Training) -> str:
    named = isinstance(training.augmentation, str)
    views = f"{training.augmentation} views" if named else "views of its own settings"
    tested = f"best epoch by {training.monitor.replace('_', ' ')}"
    return (
        f"{training.plan} plan, up to {training.epochs} epochs, {training.batch_size} pictures a "
        f"step, {training.optimizer} at {training.learning_rate:g} ({training.schedule}), {views}, "
        f"{tested if training.restore_best else 'last epoch'}"
    )


def _settings(settings: Settings, absent: str) -> str:
    """Kind and settings as they are; of a path, the name alone."""
    if isinstance(settings, NoneConfig):
        return absent
    values = dict(settings)
    words = [str(values.pop("kind"))]
    for name, value in values.items():
        if value is not None:
            shown = value.name if isinstance(value, Path) else value
            words.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(words)
