"""Front ends: what stands between the scene and the sensor.

A front end only ever redistributes light. An element with a signed response therefore takes two
exposures with non-negative kernels, each for half of the time, and their difference is formed
after the sensor, where it costs the noise of both.

::

    scene [B,C,H,W] ──forward──► irradiance [B,E*C,H,W] ──Sensor──► raw ──combine──► measurement
                                 E exposures share the time                          [B,F*C,H,W]
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from .quantity import check_tensor

__all__ = ["FrontEnd", "check_part", "check_raw"]


class FrontEnd(nn.Module, ABC):
    """A camera element: linear scene radiance in, irradiance on the sensor out.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the scene, and of the measurement after :meth:`combine`.
    exposures : int
        Captures that share one exposure time; the irradiance has ``exposures`` times as many
        channels as one capture.
    phase_depth : float, radians, optional
        Scenes are transparent objects, lit with irradiance 1, that delay light by so much where
        they are 1, see :func:`optics.phase_object`. None where they are light.
    """

    in_channels: int
    out_channels: int
    exposures: int
    phase_depth: float | None = None

    @property
    def draws(self) -> bool:
        """Whether :meth:`forward` takes random numbers; not unless a class says so.

        It then has an argument ``generator``, as :meth:`optics.Sensor.forward`.
        """
        return False

    @property
    def interferes(self) -> bool:
        """Whether fields of a scene interfere, so that irradiance is not linear in its radiance.

        That of a phase object does; otherwise not unless a class says so.
        """
        return self.phase_depth is not None

    @abstractmethod
    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance on the sensor.

        Both are linear light with full scale 1. Every exposure lasts ``1 / exposures`` of the
        time and is scaled accordingly, so that all of them together receive at most the light of
        the scene.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``
            Radiance, full scale 1.

        Returns
        -------
        Tensor ``[B, exposures * C, H, W]``

        Raises
        ------
        ValueError
            When the scene is not four-dimensional or has other channels.
        """

    @abstractmethod
    def throughput(self) -> Tensor:
        """Fraction of a point source's light that reaches the sensor, scalar in 0..1.

        Where it differs across the picture, that of an even scene, without the falloff of a
        :class:`optics.Projection`, which is that of a size of picture.
        """

    @abstractmethod
    def combine(self, raw: Tensor) -> Tensor:
        """Digital step after the sensor: raw exposures to a measurement.

        Parameters
        ----------
        raw : Tensor ``[B, exposures * C, H, W]``
            What the sensor read, full scale 1.

        Returns
        -------
        Tensor ``[B, out_channels, H, W]``

        Raises
        ------
        ValueError
            When there are not as many channels as the exposures have.
        """


def check_raw(raw: Tensor, channels: int) -> None:
    """Raise a ValueError unless ``raw`` is ``[B, channels, H, W]``, what a sensor read."""
    check_tensor("raw", raw)
    if raw.ndim != 4 or raw.shape[1] != channels:
        raise ValueError(f"combine takes [B, {channels}, H, W], not {tuple(raw.shape)}")


def check_part(name: str, part: object, kind: type) -> None:
    """Raise a TypeError for a part of a front end that is there and of another kind."""
    if part is not None and not isinstance(part, kind):
        given = f"the class {part.__name__}" if isinstance(part, type) else type(part).__name__
        raise TypeError(f"{name} must be an optics.{kind.__name__}(...), not {given}")
