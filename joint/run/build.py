"""From a configuration to the split of its scenes and a system."""

import torch
from torch import nn

import classify
from joint.caution import caution
from joint.config.classifier import build_classifier
from joint.config.codecs import build_codec
from joint.config.custom import CustomConfig
from joint.config.front_ends import FrontEndConfig, build_front_end, lens_of
from joint.config.restoration import UNetConfig, build_restoration
from joint.config.run import RunConfig, SystemConfig
from joint.config.scenes import ClassFolders
from joint.config.sensor import SensorConfig, build_sensor
from joint.settings import ConfigError, nearest
from joint.stages import check_channels
from joint.system import ImagingSystem, evaluating
from optics.quantity import image_size as as_size

__all__ = ["build_split", "build_system"]


def build_split(config: RunConfig, dataset: classify.LesionDataset) -> classify.Split:
    """Divide the scenes ``dataset`` by the split of ``config``.

    Raises
    ------
    ConfigError
        When ``split.column`` is no column of the scenes, or does not name the parts.
    ValueError
        As :func:`classify.split` and :func:`classify.k_folds`.

    Warns
    -----
    UserWarning
        As :func:`classify.given_split`, and when folders are parts of a split, but
        ``split.column`` does not use them.
    """
    wanted = config.split
    if wanted.column is not None:
        return _given_split(dataset, wanted.column)
    if isinstance(config.data, ClassFolders) and "part" in dataset.metadata:
        caution(
            f"the folders of {config.data.root} are parts of a split, and are divided anew: give "
            "split.column='part' (--split.column part) to divide them as they are",
        )
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


def _given_split(dataset: classify.LesionDataset, column: str) -> classify.Split:
    """The parts that a column of the scenes names."""
    said = dataset.metadata.get(column)
    if said is None:
        raise ConfigError(
            f"split.column: the scenes have no column {column!r}"
            f"{nearest(column, list(dataset.metadata)) if dataset.metadata else ', and no other'}"
        )
    try:
        return classify.given_split(dataset, said)
    except ValueError as error:
        raise ConfigError(f"split.column={column!r}: {error}") from error


def build_system(
    config: SystemConfig, *, image_size: int | tuple[int, int], channels: int, classes: int
) -> ImagingSystem:
    """Build the system of a configuration for scenes ``[B, channels, H, W]``.

    The initial weights are a pure function of ``config.seed``; the state of torch's global
    generator does not change.

    Parameters
    ----------
    config : SystemConfig
    image_size : int or (int, int), pixels
        Height and width of the scenes; a single number for both.
    channels, classes : int
        Of the scenes, and of their labels.

    Returns
    -------
    ImagingSystem

    Raises
    ------
    TypeError
        For what is no configuration of a system.
    ValueError
        When the size is none, or a stage does not fit the scenes.
    """
    if not isinstance(config, SystemConfig):
        remedy = "make one with joint.SystemConfig(...)"
        if isinstance(config, RunConfig):
            remedy = "give its .system"
        raise TypeError(
            f"config must be a joint.SystemConfig, not {type(config).__name__}; {remedy}"
        )
    image_size = as_size(image_size, "image_size")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        front_end = build_front_end(config.front_end, image_size, channels)
        sensor = build_sensor(config.sensor, image_size, _captured(config.front_end, channels))
        seen, size = channels if front_end is None else front_end.out_channels, image_size
        if sensor is not None:
            seen, height, width = sensor.picture_shape(seen, *image_size)
            size = height, width
        restoration = build_restoration(
            config.restoration, channels=(seen, channels), sizes=(size, image_size)
        )
        if isinstance(config.restoration, UNetConfig):  # which makes the scene's
            seen, size = channels, image_size
        elif restoration is not None:
            seen, size = _made_by(restoration, seen, size)
        classifier = build_classifier(
            config.classifier,
            seen,
            classes=classes,
            image_size=size,
            mosaic=isinstance(config.sensor, SensorConfig) and config.sensor.hands_on_mosaic,
        )
        system = ImagingSystem(
            front_end=front_end,
            sensor=sensor,
            restoration=restoration,
            codec=build_codec(config.codec, seen, image_size=size),
            classifier=classifier,
            encoding=config.encoding,
        )
    check_channels(dict(system.stages()), channels)
    return system


def _captured(config: FrontEndConfig, channels: int) -> int | None:
    """Channels of an exposure; if colours are mixed, not those of the scenes."""
    if isinstance(config, CustomConfig):
        return None
    _, lens = lens_of(config)
    return channels if lens is None else lens.colour.captured(channels)


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
