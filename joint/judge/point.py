"""Operating points of a trained system: other light, quality, distance or motion."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import product
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from compress import Codec, LearnedCodec
from joint.caution import caution
from joint.system import ImagingSystem
from optics import CodedExposure, FrontEnd
from optics.imaging.psf_imaging import PSFImaging
from optics.imaging.shutter import behind_shutter
from optics.quantity import check_scalar

from .light_cut import what_is_cut

__all__ = [
    "AS_BUILT",
    "OperatingPoint",
    "at_quality",
    "every_point",
    "operating",
    "told_quality",
    "warn_of_cut",
]


class OperatingPoint(NamedTuple):
    """Requested operating point of a system; None keeps the system's own value."""

    photons: float | None = None
    """Light, photons/pixel at full scale; see :meth:`optics.Sensor.under`."""
    quality: float | None = None
    """Quality of a codec that has several; see :meth:`compress.Codec.at`."""
    distance: float | None = None
    """Metres from the lens to all scenes; see :meth:`optics.IncoherentImaging.at`."""
    motion: float | None = None
    """RMS distance by which scenes move, pixels; see :meth:`optics.CodedExposure.moving`."""

    def asked(self) -> dict[str, float]:
        """The requested numbers by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def check(self) -> None:
        """Raise a TypeError unless each requested value is one number, a ValueError if complex."""
        for name, value in self.asked().items():
            check_scalar(name, value, remedy=f"call once for each {name}")

    def to_dict(self) -> dict[str, float | str]:
        """The requested numbers for JSON; an infinite distance is ``"inf"``, as in config.json."""
        # JSON does not take numbers of NumPy or torch.
        told = {}
        for name, value in self.asked().items():
            number = value.item() if isinstance(value, np.generic | Tensor) else value
            told[name] = "inf" if number == math.inf else number
        return told

    def __str__(self) -> str:
        words = {
            "photons": "{:g} photons/pixel",
            "quality": "quality {:g}",
            "distance": "{:g} m",
            "motion": "motion of {:g} pixels RMS",
        }
        told = [words[name].format(value) for name, value in self.asked().items()]
        return ", ".join(told) or "as built"


#: The system's own operating point.
AS_BUILT = OperatingPoint()


def every_point(*asked: Sequence[float]) -> list[OperatingPoint]:
    """All combinations of the given numbers, each once, in the order of the fields.

    Without numbers, the system's own point.
    """
    points = product(*(each or (None,) for each in asked))
    return list(dict.fromkeys(OperatingPoint(*point) for point in points))


@contextmanager
def operating(system: ImagingSystem, point: OperatingPoint) -> Iterator[None]:
    """Set distance, motion, light and quality of a system within a ``with`` block.

    Raises
    ------
    ValueError
        When the system has no such stage, or the stage no such operating point.
    """
    front, sensor, codec = _within(system.front_end), system.sensor, system.codec
    has = "none" if front is None else type(front).__name__
    with ExitStack() as stack:
        if point.motion is not None:
            if not isinstance(front, CodedExposure):
                raise ValueError(
                    f"motion={point.motion:g} needs a front end that draws one, an "
                    f"optics.CodedExposure, but the system has {has}"
                )
            stack.enter_context(front.moving(point.motion))
        if point.distance is not None:
            lens = behind_shutter(front)
            if not isinstance(lens, PSFImaging) or lens.pupil is None:
                raise ValueError(
                    f"distance={point.distance:g} needs a lens, an optics.IncoherentImaging or an "
                    f"optics.VaryingImaging with a pupil, but the system has {has}"
                )
            stack.enter_context(lens.at(point.distance))
        if point.photons is not None:
            if sensor is None:
                raise ValueError(
                    f"photons={point.photons:g} needs a sensor, but the system has none"
                )
            stack.enter_context(sensor.under(point.photons))
        if point.quality is not None:
            if codec is None:
                raise ValueError(
                    f"quality={point.quality:g} needs a codec, but the system has none"
                )
            stack.enter_context(codec.at(point.quality))
        yield


def warn_of_cut(system: ImagingSystem, point: OperatingPoint) -> None:
    """Warn of light that the simulation of a lens loses at the requested distance.

    This includes working distances, of which training may have warned already: a reader who
    compares results needs the warning for each of them.
    """
    if point.distance is None:
        return
    lens = behind_shutter(_within(system.front_end))
    cut = what_is_cut(lens, distance=float(point.distance))
    if cut is not None:
        caution(cut)


def _within(front_end: FrontEnd | None) -> FrontEnd | None:
    """The innermost front end, without wrappers that disturb its pictures, as in a tolerance."""
    while isinstance(inner := getattr(front_end, "inner", None), FrontEnd):
        front_end = inner
    return front_end


def told_quality(codec: nn.Module | None) -> str | None:
    """Quality of a learned codec with several in evaluation, as text; None for other codecs."""
    if not isinstance(codec, LearnedCodec) or codec.levels == 1:
        return None
    middle = (codec.levels - 1) / 2
    at = middle if codec.quality is None else codec.quality
    return f"{at:.12g} of 0 to {codec.levels - 1}{' (the middle)' if at == middle else ''}"


def at_quality(codec: Codec, quality: float | None) -> AbstractContextManager[None]:
    """:meth:`compress.Codec.at`; None keeps the codec's own quality."""
    return nullcontext() if quality is None else codec.at(quality)
