"""From a configuration to the split of its scenes and a system."""

import warnings
from pathlib import Path

import torch
from torch import nn

import classify
import optics
from classify.weights import load_state, read_state

from .config.codecs import build_codec
from .config.custom import CustomConfig, build_custom
from .config.front_ends import LensConfig, build_front_end
from .config.psf import PSFConfig
from .config.restoration import UNetConfig, build_restoration
from .config.run import ClassifierConfig, RunConfig, SensorConfig, SystemConfig
from .settings import NoneConfig
from .system import ImagingSystem, evaluating

__all__ = ["as_begun", "build_split", "build_system"]


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
