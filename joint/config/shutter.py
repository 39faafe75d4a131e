"""A shutter in front of a scene that moves: how it is configured, and how it is built."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

import optics
from joint.settings import NoneConfig, Settings, added

from .lens import LensConfig, build_lens
from .psf import PSFConfig, build_psf

__all__ = ["ShutterConfig", "build_shutter"]


class ShutterConfig(Settings):
    """A shutter that opens and closes while the scene moves, see optics.CodedExposure."""

    kind: Literal["shutter"] = "shutter"
    start: optics.ShutterStart = "open"
    """Where training begins, or what it is: open, fluttered (52 slots, half of them open), or
    random slots."""
    slots: int = Field(default=16, ge=1)
    """Equal parts of the exposure, in each of which the shutter lets a share of the light through;
    a fluttered one has 52."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Part of the slots that are open: in the middle of the exposure, or drawn. By default all of
    an open shutter, and half of a random one."""
    motion: float = Field(default=4.0, ge=0)
    """RMS distance along each axis by which scenes move during the whole exposure, pixels."""
    trained: bool = True
    """Learn the code; otherwise it stays exactly as it starts."""
    boundary: optics.Boundary = "replicate"
    """What lies outside of the picture."""
    lens: Annotated[LensConfig | PSFConfig | NoneConfig, Field(discriminator="kind")] = added(
        NoneConfig()
    )
    """What the light passes besides; by default a lens that blurs nothing."""

    @model_validator(mode="after")
    def _has_a_share(self) -> Self:
        if self.start == "fluttered" and self.share is not None:
            raise ValueError("a fluttered shutter is open for half of the time: leave out share")
        return self

    @model_validator(mode="after")
    def _exposes_once(self) -> Self:
        if not isinstance(self.lens, NoneConfig) and self.lens.colour.patterns > 1:
            raise ValueError(
                f"lens.colour.patterns={self.lens.colour.patterns} are as many exposures, each of "
                "which would see another motion: set lens.colour.patterns=1"
            )
        return self


def build_shutter(
    config: ShutterConfig, image_size: tuple[int, int], channels: int
) -> optics.CodedExposure:
    """Build the shutter of a configuration; what is random in it comes from torch's generator.

    Raises what :func:`build_lens` and :func:`build_psf` do.
    """
    lens = None
    if isinstance(config.lens, LensConfig):
        lens = build_lens(config.lens, image_size, channels)
    elif isinstance(config.lens, PSFConfig):
        lens = build_psf(config.lens, channels)
    return optics.CodedExposure(
        optics.shutter_code(config.start, config.slots, share=config.share),
        config.motion,
        trainable=config.trained,
        lens=lens,
        channels=channels,
        boundary=config.boundary,
    )
