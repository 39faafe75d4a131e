"""A coded shutter for moving scenes: its configuration and construction."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

import optics
from joint.settings import NoneConfig, Settings

from .compound import CompoundConfig, build_compound
from .lens import LensConfig, build_lens
from .psf import PSFConfig, build_psf

__all__ = ["ShutterConfig", "build_shutter"]

_FLUTTERED = len(optics.shutter_code("fluttered"))


class ShutterConfig(Settings):
    """A shutter that opens and closes while the scene moves, see optics.CodedExposure."""

    kind: Literal["shutter"] = "shutter"
    start: optics.ShutterStart = "open"
    """Initial code of a trained shutter, or the code of a fixed one: open, fluttered (52 slots,
    half of them open), or random slots."""
    slots: int = Field(default=16, ge=1)
    """Number of equal time slots of the exposure, in each of which the shutter transmits a share of
    the light; leave it out for a fluttered shutter, which has 52."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Share of the slots that are open: those in the middle of the exposure (open), or drawn
    (random). By default all of an open shutter, and half of a random one."""
    motion: float = Field(default=4.0, ge=0)
    """RMS distance along each axis by which scenes move during the whole exposure, pixels."""
    trained: bool = True
    """Learn the code; otherwise it keeps its initial values exactly."""
    boundary: optics.Boundary = "replicate"
    """How the picture is continued beyond its border."""
    lens: Annotated[
        LensConfig | PSFConfig | CompoundConfig | NoneConfig, Field(discriminator="kind")
    ] = NoneConfig()
    """Lens that forms the image; by default an ideal one without blur."""

    @model_validator(mode="after")
    def _fits_its_start(self) -> Self:
        if self.start == "fluttered" and self.share is not None:
            raise ValueError("a fluttered shutter is open for half of the time: leave out share")
        # A saved configuration holds the default where the user gave nothing.
        default = type(self).model_fields["slots"].default
        if self.start == "fluttered" and self.slots not in (default, _FLUTTERED):
            raise ValueError(
                f"a fluttered shutter has {_FLUTTERED} slots, not {self.slots}: leave out slots"
            )
        return self

    @model_validator(mode="after")
    def _exposes_once(self) -> Self:
        if not isinstance(self.lens, NoneConfig) and self.lens.colour.patterns > 1:
            raise ValueError(
                f"lens.colour.patterns={self.lens.colour.patterns} takes one exposure per pattern, "
                "each of which would have another motion: set lens.colour.patterns=1"
            )
        return self


def build_shutter(
    config: ShutterConfig, image_size: tuple[int, int], channels: int
) -> optics.CodedExposure:
    """Build the shutter of a configuration; random slots come from torch's global generator.

    Raises the errors of :func:`build_lens` and :func:`build_psf`.
    """
    lens = None
    if isinstance(config.lens, LensConfig):
        lens = build_lens(config.lens, image_size, channels)
    elif isinstance(config.lens, PSFConfig):
        lens = build_psf(config.lens, channels)
    elif isinstance(config.lens, CompoundConfig):
        lens = build_compound(config.lens, image_size, channels)
    return optics.CodedExposure(
        optics.shutter_code(config.start, config.slots, share=config.share),
        config.motion,
        trainable=config.trained,
        lens=lens,
        channels=channels,
        boundary=config.boundary,
    )
