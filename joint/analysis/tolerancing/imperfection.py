"""An imperfection of a camera: a name, a unit, and a change of a copy of a system.

::

    level ─┬─ change ──► the copy at that level
           └─ shared ──► {imperfection: level, ...} ─ each by its own change ─► the copy

An imperfection of some amount that is shared out at random is one of the second kind: a place
within a circle, x and y; a wavefront, its terms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from joint.system import ImagingSystem
from optics import Pupil, coordinates

__all__ = [
    "Imperfection",
    "diameter_of",
    "has_cones",
    "in_any_direction",
    "pupil_of",
    "rounded_down",
]

Change: TypeAlias = Callable[[ImagingSystem, float, int, torch.Generator], None]
Where = Literal["element", "place", "wavefront", "field", "around"]


def _unchanged(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
    """Nothing: a matter of the evaluation, or of others that this is shared out over."""


@dataclass(frozen=True, eq=False)
class Imperfection:
    """One kind of deviation of a camera from its design.

    Built-in ones have names (:data:`PERTURBATIONS`), or are made by :func:`zernike_error` and
    :func:`wavefront_error`. Others are made by setting the fields, and are used in the same way::

        def absorb(camera, level, channels, generator):
            pupil = camera.front_end.pupil
            passed = torch.full_like(pupil.aperture, 1 - level)
            pupil.elements.append(AmplitudeMask(passed, spacing=pupil.spacing))

        coating = Imperfection("coating", "of the light", absorb, where="wavefront")
        tolerance(system, scenes, {coating: (0.0, 0.1)})

    The example adds an element, because the aperture defines the incident light, and light that it
    blocks is not counted as lost.
    """

    name: str
    """Name in results, which also seeds its random numbers; it must be unique in a table of
    limits."""
    unit: str
    """Unit of its level."""
    change: Change = _unchanged
    """Function that brings a copy of the front end and the sensor to a level other than the nominal
    one, in place and without gradients. Arguments: system, level, channels of the scenes, and a
    generator for random values."""
    needs: str = "it needs nothing"
    """What the system must have, as text for the error message."""
    fits: Callable[[ImagingSystem, int], bool] = lambda *_: True
    """Whether a system, for scenes with a number of channels, can have it."""
    levels: Callable[[ImagingSystem], tuple[float, ...]] = lambda _: ()
    """Default levels of a sweep."""
    nominal: Callable[[ImagingSystem], float] = lambda _: 0.0
    """Level of the system as designed."""
    allowed: Callable[[float], bool] = lambda _: True
    """Whether a finite level is allowed."""
    rule: str = "finite numbers"
    """The allowed levels as text."""
    most: Callable[[ImagingSystem], float] = lambda _: math.inf
    """Largest level that a system can have."""
    drawn: bool = False
    """Whether more than its level is random, such as a pattern or a direction."""
    circular: bool = False
    """Whether the level is a distance from the axis: a tolerance is then the radius of a circle,
    over whose area places are drawn (uniformly, or with normal x and y)."""
    shared: Callable[[float, torch.Generator], Mapping["Imperfection", float]] | None = None
    """Function that divides a level randomly among other imperfections, which may divide theirs in
    turn."""
    each: Callable[[ImagingSystem], Sequence["Imperfection"]] | None = None
    """Function that gives the imperfections that replace it in a system, each with its own level,
    such as one per element. If it gives none, it is not replaced."""
    where: Where = "around"
    """Order of action: on an element itself, then on its position, then on the wavefront, which is
    not moved, then over the field, then around the front end."""

    def parts(self, level: float, generator: torch.Generator) -> dict["Imperfection", float]:
        """The imperfections that act at a level: itself, or those among which it is divided.

        Parameters
        ----------
        level : float
            Level, in :attr:`unit`.
        generator : torch.Generator
            Source of the shares.

        Returns
        -------
        dict of Imperfection to float
        """
        if self.shared is None:
            return {self: level}
        found: dict[Imperfection, float] = {}
        for other, own in self.shared(level, generator).items():
            for part, share in other.parts(own, generator).items():
                found[part] = found.get(part, 0.0) + share
        return found

    @property
    def order(self) -> int:
        """Index of :attr:`where` in the order of action."""
        return get_args(Where).index(self.where)


def rounded_down(limit: float) -> str:
    """A largest level in three digits that are allowed themselves."""
    if not 0 < limit < math.inf:
        return f"{limit:g}"
    unit = 10.0 ** (math.floor(math.log10(limit)) - 2)
    return f"{math.floor(limit / unit) * unit:.3g}"


def pupil_of(system: ImagingSystem) -> Pupil | None:
    """The pupil of a front end, where it has one."""
    pupil = getattr(system.front_end, "pupil", None)
    return pupil if isinstance(pupil, Pupil) else None


def in_any_direction(
    x: Imperfection, y: Imperfection
) -> Callable[[float, torch.Generator], dict[Imperfection, float]]:
    """How a distance from the axis is shared out over ``x`` and ``y``: all azimuths are as likely.

    It is what :attr:`Imperfection.shared` of both together takes.
    """

    def shared(level: float, generator: torch.Generator) -> dict[Imperfection, float]:
        azimuth = 2 * math.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
        return {x: level * math.cos(azimuth), y: level * math.sin(azimuth)}

    return shared


def has_cones(pupil: Pupil) -> bool:
    """Whether light comes in another cone at each place of the picture, as of a traced lens."""
    return pupil.curve.ndim > 3


def diameter_of(pupil: Pupil) -> float:
    """Of the disk about the axis that holds the open aperture, metres.

    What is dark within, as a central stop, or passes in part makes it no smaller: the rim is where
    it is. A sample at the rim that is open in part is one that the rim cuts, so that of a circle
    this is its diameter; of a square it is the diagonal.
    """
    share = pupil.aperture.detach().double().clamp(0, 1)
    y, x = (coordinates(samples, device=share.device) for samples in share.shape)
    angle = torch.atan2(y[:, None], x)
    across, down = angle.cos().abs(), angle.sin().abs()
    long, short = torch.maximum(across, down), torch.minimum(across, down)
    # From the sample's middle to a straight rim that leaves this share of it open: the rim cuts two
    # opposite sides of it, or a corner off.
    more = share - 0.5
    corner = (long + short) / 2 - (2 * long * short * torch.minimum(share, 1 - share)).sqrt()
    cut = torch.where(more.abs() <= (1 - short / long) / 2, more * long, corner.copysign(more))
    rim = (torch.hypot(y[:, None], x) + cut)[share > 0]
    return 2 * pupil.spacing * max(0.5, float(rim.max()))
