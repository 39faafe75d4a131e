"""Stages of a system: their order, the requirements on each, and which fit together."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from compress.files import FileCodec
from optics import Sensor
from optics.quantity import looked_at

__all__ = [
    "HIGHEST",
    "LOWEST",
    "NETWORKS",
    "REMEDY",
    "STAGES",
    "Encoding",
    "Stage",
    "check_channels",
    "check_codes",
    "check_encoding_name",
    "check_pixels",
    "check_stage",
]

Stage = Literal["front_end", "sensor", "restoration", "codec", "classifier"]
Encoding = Literal["srgb", "linear"]

#: The stages, in the order in which light becomes a label.
STAGES: tuple[Stage, ...] = get_args(Stage)
#: Those of them that are computed, by networks; the others are physical.
NETWORKS: tuple[Stage, ...] = ("restoration", "codec", "classifier")

# What makes a module a stage of its kind: those of a wrapper, as of torch.compile, are looked at
# too. What is missing, and what to do.
_KINDS: dict[Stage, tuple[str, tuple[str, ...], str]] = {
    "front_end": (
        "an optics.FrontEnd",
        ("exposures", "out_channels", "combine", "throughput"),
        "derive it from optics.FrontEnd (docs/howto/element.md)",
    ),
    "sensor": (
        "an optics.Sensor",
        ("photons", "under"),
        "use optics.Sensor, or put a layer of your own in front of the classifier",
    ),
    "restoration": ("from pictures to pictures", (), ""),
    "codec": (
        "a compress.Codec",
        ("compress", "decompress"),
        "derive it from compress.Codec (docs/howto/codec.md), or put a layer of your own in front "
        "of the classifier",
    ),
    "classifier": ("from pictures to logits", (), ""),
}

# The attributes by which a network says how many channels it takes, and makes; None: as many.
_CHANNELS: dict[Stage, tuple[str, str | None]] = {
    "restoration": ("in_channels", "out_channels"),
    "codec": ("channels", None),
    "classifier": ("in_channels", None),
}

# An sRGB code lies in 0..1. What is a little beyond, as a picture that an analysis disturbs, is
# clipped on the way; nothing that was meant as such a code is beyond by this much. Below it is half
# the way to the -1 of pictures that a classifier's transform has centred.
LOWEST, HIGHEST = -0.5, 2.0

REMEDY = (
    "divide 8-bit codes by 255; of pictures in -1..1 give (x + 1) / 2; light above full scale is "
    "allowed with encoding='linear'"
)


def check_stage(name: Stage, stage: object) -> None:
    """Refuse a stage that would otherwise fail only with pictures, or in training."""
    if stage is None:
        return
    kind, needed, remedy = _KINDS[name]
    if isinstance(stage, type):
        raise TypeError(f"{name} is the class {stage.__name__}: give a module, made by calling it")
    if not isinstance(stage, nn.Module):
        raise TypeError(f"{name} must be a module, {kind}, not {type(stage).__name__}")
    missing = [attribute for attribute in needed if not hasattr(stage, attribute)]
    if missing:
        raise TypeError(
            f"{name} must be {kind}, and {type(stage).__name__} has no {', no '.join(missing)}: "
            f"{remedy}"
        )


def check_pixels(sensor: Sensor) -> None:
    """Refuse a restoration of the front end on pixels that are not those of its PSF."""
    if getattr(sensor, "binning", 1) > 1:
        raise ValueError(
            f"the front end restores by the PSF at the pixels of the scene, but the sensor bins "
            f"{sensor.binning} x {sensor.binning} of them: leave out the restoration or the "
            "binning"
        )
    filters = getattr(sensor, "cfa", None)
    if filters is not None and not filters.interpolates:
        raise ValueError(
            "the front end restores pictures in full colour, but the sensor gives its mosaic "
            f"(demosaicing={filters.method!r}): leave out the restoration, or give "
            "demosaicing='bilinear' or 'malvar'"
        )


def _given(front_end: nn.Module | None, sensor: nn.Module | None) -> tuple[str, int] | None:
    """The stage that makes the measurement, and its channels; None if they are the scene's."""
    channels = getattr(front_end, "out_channels", None)
    filters = getattr(sensor, "cfa", None)
    if filters is None or filters.interpolates:
        return ("front end", channels) if isinstance(channels, int) else None
    exposures = 1 if not isinstance(channels, int) else channels // len(filters.channels)
    return "sensor", exposures * filters.picture_channels


def check_channels(stages: Mapping[Stage, nn.Module], scene: int | None = None) -> None:
    """Compare the channels that a network gets with those that it takes, if both are known.

    Parameters
    ----------
    stages : mapping of stage to module
        The stages of the system.
    scene : int, optional
        Channels of the scenes, which the networks get unless a front end changes their number.

    Raises
    ------
    ValueError
        When a network takes another number of channels than it gets.
    """
    given = _given(stages.get("front_end"), stages.get("sensor"))
    reads = type(stages.get("sensor")) in (type(None), Sensor)  # a custom one may read other planes
    if given is None and scene is not None and "front_end" not in stages and reads:
        given = "scene", scene
    for name in NETWORKS:
        stage = stages.get(name)
        if stage is None:
            continue
        takes, makes = _CHANNELS[name]
        taken = getattr(stage, takes, None)
        if isinstance(taken, int):
            either = isinstance(stage, FileCodec) and given is not None and stage.takes(given[1])
            if given is not None and taken != given[1] and not either:
                raise ValueError(
                    f"the {given[0]} gives {given[1]} channels but the {name} takes {taken}: "
                    f"build the {name} with {given[1]}"
                )
            given = given if either else (name, taken)
        if makes is not None:
            made = getattr(stage, makes, None)
            given = (name, made) if isinstance(made, int) else None


def check_encoding_name(encoding: str) -> None:
    """Refuse an unknown encoding."""
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding must be 'srgb' or 'linear', not {encoding!r}")


def check_codes(pictures: Tensor, encoding: Encoding) -> None:
    """Refuse values that cannot be sRGB codes in 0..1, such as 8-bit codes; only on a CPU.

    Values that are not finite are left to the caller.

    Raises
    ------
    ValueError
        For such values, and for an unknown encoding.
    """
    check_encoding_name(encoding)
    if encoding != "srgb" or pictures.numel() == 0 or not looked_at(pictures):
        return
    values = pictures.detach()
    low, high = (float(end) for end in torch.where(values.isfinite(), values, 0).aminmax())
    if low < LOWEST or high > HIGHEST:
        raise ValueError(
            f"pictures of encoding='srgb' are codes in 0..1, but these reach from {low:g} to "
            f"{high:g}: {REMEDY}"
        )
