"""Where a trained system is judged: other light, rates, distances, motion; without training."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from compress import LearnedCodec
from optics import CodedExposure, IncoherentImaging
from optics.shutter import behind_shutter

from .system import ImagingSystem

__all__ = ["AS_BUILT", "OperatingPoint", "operating"]


class OperatingPoint(NamedTuple):
    """What was asked for instead of what a system has; None for its own."""

    photons: float | None = None
    """Light, photons/pixel at full scale; see :meth:`optics.Sensor.under`."""
    quality: float | None = None
    """Operating point of a codec that has several, 0 to ``levels - 1``."""
    distance: float | None = None
    """Metres from the lens to all scenes; see :meth:`optics.IncoherentImaging.at`."""
    motion: float | None = None
    """RMS distance by which scenes move, pixels; see :meth:`optics.CodedExposure.moving`."""

    def asked(self) -> dict[str, float]:
        """The numbers that were asked for, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        words = {
            "photons": "{:g} photons/pixel",
            "quality": "quality {:g}",
            "distance": "{:g} m",
            "motion": "motion of {:g} pixels RMS",
        }
        return ", ".join(words[name].format(value) for name, value in self.asked().items())


#: The point of a system as it is.
AS_BUILT = OperatingPoint()


@contextmanager
def operating(system: ImagingSystem, point: OperatingPoint) -> Iterator[None]:
    """Bring scenes, sensor and codec to another distance, motion, light and quality for a while.

    Raises
    ------
    ValueError
        When the system has no such stage, or the stage no such operating point.
    """
    front, sensor, codec = system.front_end, system.sensor, system.codec
    has = "none" if front is None else type(front).__name__
    with ExitStack() as stack:
        if point.motion is not None:
            if not isinstance(front, CodedExposure):
                raise ValueError(
                    f"motion={point.motion:g} needs a front end that draws one, an "
                    f"optics.CodedExposure, and the system has {has}"
                )
            stack.enter_context(front.moving(point.motion))
        if point.distance is not None:
            lens = behind_shutter(front)
            if not isinstance(lens, IncoherentImaging) or lens.pupil is None:
                raise ValueError(
                    f"distance={point.distance:g} needs a lens, an optics.IncoherentImaging with a "
                    f"pupil, and the system has {has}"
                )
            stack.enter_context(lens.at(point.distance))
        if point.photons is not None:
            if sensor is None:
                raise ValueError(
                    f"photons={point.photons:g} needs a sensor, and the system has none"
                )
            stack.enter_context(sensor.under(point.photons))
        if point.quality is not None:
            if not isinstance(codec, LearnedCodec):
                has = (
                    "no codec" if codec is None else f"{type(codec).__name__}: replace system.codec"
                )
                raise ValueError(
                    f"quality={point.quality:g} needs a learned codec with several levels, and the "
                    f"system has {has}"
                )
            stack.callback(setattr, codec, "quality", codec.quality)
            codec.quality = point.quality
        yield
