"""Where a trained system is judged: other distances, light and rates, without training it anew."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from compress import LearnedCodec
from optics import IncoherentImaging

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

    def asked(self) -> dict[str, float]:
        """The numbers that were asked for, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        words = {"photons": "{:g} photons/pixel", "quality": "quality {:g}", "distance": "{:g} m"}
        return ", ".join(words[name].format(value) for name, value in self.asked().items())


#: The point of a system as it is.
AS_BUILT = OperatingPoint()


@contextmanager
def operating(system: ImagingSystem, point: OperatingPoint) -> Iterator[None]:
    """Bring scenes, sensor and codec to another distance, light and quality for a while.

    Raises
    ------
    ValueError
        When the system has no such stage, or the stage no such operating point.
    """
    front, sensor, codec = system.front_end, system.sensor, system.codec
    with ExitStack() as stack:
        if point.distance is not None:
            if not isinstance(front, IncoherentImaging) or front.pupil is None:
                raise ValueError(
                    f"distance={point.distance:g} needs a lens, an optics.IncoherentImaging with a "
                    f"pupil, and the system has {'none' if front is None else type(front).__name__}"
                )
            stack.enter_context(front.at(point.distance))
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
