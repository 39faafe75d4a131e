"""Front ends: the optics between the scene and the sensor.

A front end only redistributes light. An element with a signed response therefore takes two
exposures with non-negative kernels, each for half of the time. Their difference is formed after the
sensor and has the noise of both.

::

    scene [B,C,H,W] ──forward──► irradiance [B,E*C,H,W] ──Sensor──► raw ──combine──► measurement
                                 E exposures share the time                          [B,F*C,H,W]
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from .quantity import check_tensor

__all__ = ["FrontEnd", "check_part", "check_raw", "check_scene"]


class FrontEnd(nn.Module, ABC):
    """Base class of a camera element: linear scene radiance in, irradiance on the sensor out.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the scene, and of the measurement after :meth:`combine`.
    exposures : int
        Number of exposures that share one exposure time. The irradiance has ``exposures`` times the
        channels of one exposure.
    phase_depth : float, radians, optional
        If given, scenes are transparent objects illuminated with irradiance 1, and a value of 1
        delays light by this phase, see :func:`optics.phase_object`. None if scenes are radiance.
    """

    in_channels: int
    out_channels: int
    exposures: int
    phase_depth: float | None = None

    @property
    def draws(self) -> bool:
        """Whether :meth:`forward` draws random numbers; False unless a class overrides it.

        If True, it has an argument ``generator``, as :meth:`optics.Sensor.forward`.
        """
        return False

    @property
    def interferes(self) -> bool:
        """Whether the light of a scene interferes: irradiance is then not linear in its radiance.

        True for phase objects; otherwise False unless a class overrides it.
        """
        return self.phase_depth is not None

    @abstractmethod
    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance on the sensor.

        Scene and irradiance are linear light with full scale 1. Every exposure lasts
        ``1 / exposures`` of the time and is scaled accordingly, so that all exposures together
        receive at most the light of the scene.

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
            When the scene is not four-dimensional or has the wrong channels.
        """

    @abstractmethod
    def throughput(self) -> Tensor:
        """Fraction of a point source's light that reaches the sensor, scalar in 0..1.

        Where it varies across the image, it is that of a uniform scene. The falloff of a
        :class:`optics.Projection` is not included, as it depends on the size of the image.
        """

    def penalty(self) -> Tensor | None:
        """How far this front end is from one that can be made; None unless a class overrides it.

        :attr:`joint.Objective.penalty` is its weight in a training.

        Returns
        -------
        Tensor, scalar
            0 or more, with a gradient; 0 for a front end that can be made.
        """
        return None

    @abstractmethod
    def combine(self, raw: Tensor) -> Tensor:
        """Combine raw exposures to a measurement: the digital step after the sensor.

        Parameters
        ----------
        raw : Tensor ``[B, exposures * C, H, W]``
            Output of the sensor, full scale 1.

        Returns
        -------
        Tensor ``[B, out_channels, H, W]``

        Raises
        ------
        ValueError
            When the number of channels is not that of the exposures.
        """


def check_scene(scene: Tensor, channels: int) -> None:
    """Raise an error unless a scene is a Tensor ``[B, channels, H, W]``."""
    check_tensor("scene", scene)
    if scene.ndim != 4 or scene.shape[1] != channels:
        raise ValueError(
            f"the front end takes scenes [B, {channels}, H, W], not {tuple(scene.shape)}"
        )


def check_raw(raw: Tensor, channels: int) -> None:
    """Raise a ValueError unless ``raw``, the output of a sensor, is ``[B, channels, H, W]``."""
    check_tensor("raw", raw)
    if raw.ndim != 4 or raw.shape[1] != channels:
        raise ValueError(f"combine takes [B, {channels}, H, W], not {tuple(raw.shape)}")


def check_part(name: str, part: object, kind: type) -> None:
    """Raise a TypeError unless a part of a front end is None or of this type."""
    if part is not None and not isinstance(part, kind):
        given = f"the class {part.__name__}" if isinstance(part, type) else type(part).__name__
        raise TypeError(f"{name} must be an optics.{kind.__name__}(...), not {given}")
