"""The planes between the stages: the values of a plane, and the logits as a function of them.

::

    scene ─► front_end ─► irradiance ─► sensor ─► raw ─► combine, encode, restore ─► measurement
                                                                                         │
                                        logits ◄─ classifier ◄─ handed ◄─ codec ◄────────┘
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from optics import Generators, Sensor

from .system import ImagingSystem, seen_by

__all__ = ["Noise", "Plane", "reach", "values_read"]

Plane = Literal["scene", "irradiance", "raw", "measurement", "handed"]


def values_read(sensor: Sensor, raw: Tensor) -> int:
    """Values that a ``sensor`` converts for one picture of ``raw``, in all exposures.

    A mosaic is read before its missing colours are interpolated, if they are.
    """
    filled = sensor.cfa is not None and sensor.cfa.interpolates
    return raw[0].numel() // (len(sensor.cfa.channels) if sensor.cfa is not None and filled else 1)


class Noise:
    """Source of generators in the state of the given ones, which are never advanced.

    Parameters
    ----------
    generator : torch.Generator, or one for each picture, optional
        By default a new one of seed 0.
    device : torch.device
        Device of that generator.
    """

    def __init__(self, generator: Generators | None, device: torch.device) -> None:
        given = torch.Generator(device).manual_seed(0) if generator is None else generator
        self._one = isinstance(given, torch.Generator)
        every = [given] if isinstance(given, torch.Generator) else given
        self._states = [(source.device, source.get_state()) for source in every]

    def fresh(self) -> Generators:
        """New generators; all of them draw the same numbers."""
        made = [torch.Generator(device).set_state(state) for device, state in self._states]
        return made[0] if self._one else made


def reach(
    system: ImagingSystem, scenes: Tensor, plane: Plane, noise: Noise
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Values of a plane for these scenes, and the logits as a function of them.

    The function is one: the noise of every call is that with which the plane was reached, and at
    the value returned it gives the logits of the whole pass, to the bit.

    Raises
    ------
    ValueError
        For an unknown plane, or one that this system does not have.
    """
    if plane not in get_args(Plane):
        raise ValueError(f"plane must be one of {', '.join(get_args(Plane))}, not {plane!r}")
    if plane == "scene":
        return scenes, lambda value: _from_scene(system, value, noise)
    if plane in ("irradiance", "raw"):
        return _reach_sensor(system, scenes, plane, noise)
    drawn = noise.fresh()
    measurement = system.measure(scenes, generator=drawn).measurement
    # The codec draws after the sensor, and from a plane in between must draw the same.
    later = Noise(drawn, scenes.device)
    if plane == "measurement":
        return measurement, lambda value: _from_measurement(system, value, later)
    assert system.classifier is not None
    label = partial(seen_by, system.classifier)
    if system.codec is None:
        return measurement, label
    coded = system.codec(measurement, generator=later.fresh())
    return coded.reconstruction, label


def _reach_sensor(
    system: ImagingSystem, scenes: Tensor, plane: Literal["irradiance", "raw"], noise: Noise
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    if system.sensor is None and (plane == "raw" or system.front_end is None):
        needed = "a sensor" if plane == "raw" else "a front end or a sensor"
        raise ValueError(f"this system has no plane {plane!r}, which needs {needed}")
    drawn = noise.fresh()
    irradiance = system.image(scenes, generator=drawn)
    later = Noise(drawn, scenes.device)
    if plane == "irradiance":
        return irradiance, lambda value: _from_irradiance(system, value, later)
    drawn = later.fresh()
    raw = system.read(irradiance, generator=drawn)
    later = Noise(drawn, scenes.device)
    return raw, lambda value: _from_raw(system, value, later)


def _from_scene(system: ImagingSystem, value: Tensor, noise: Noise) -> Tensor:
    logits = system(value, generator=noise.fresh()).logits
    assert logits is not None
    return logits


def _from_irradiance(system: ImagingSystem, value: Tensor, noise: Noise) -> Tensor:
    drawn = noise.fresh()
    if system.sensor is not None:
        value = system.read(value, generator=drawn)
    return _from_raw(system, value, Noise(drawn, value.device))


def _from_raw(system: ImagingSystem, value: Tensor, noise: Noise) -> Tensor:
    return _from_measurement(system, system.restore(system.develop(value)), noise)


def _from_measurement(system: ImagingSystem, value: Tensor, noise: Noise) -> Tensor:
    assert system.classifier is not None
    if system.codec is not None:
        value = system.codec(value, generator=noise.fresh()).reconstruction
    return seen_by(system.classifier, value)
