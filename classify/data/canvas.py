"""A field of skin to draw on, in millimetres: smooth noise, lattices, disks and lines.

Nothing here depends on the size of the pixels but how finely it is seen: a lesion is the same
lesion at every picture size, and what the pixels cannot resolve is averaged, not aliased. B fields
are drawn at once; no field depends on the others.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .draws import Draws

__all__ = ["FIELD", "ZOOM", "Canvas"]

#: Side of the field of view, in mm: the middle of a HAM10000 frame, 150 of its 200 columns.
FIELD: Final = 9.0

#: Least and greatest zoom of a pose.
ZOOM: Final = (0.82, 1.35)

_ROUGHNESS = 0.479  # standard deviation of a cubic B-spline surface on unit knots


@dataclass(frozen=True, eq=False, kw_only=True)
class Canvas:
    """B fields of view on ``size`` pixels a side; x ``[B, 1, S]`` and y ``[B, S, 1]`` in mm."""

    size: int
    pixel: Tensor
    """Side of a pixel in mm, ``[B, 1, 1]``."""
    x: Tensor
    y: Tensor

    @classmethod
    def seen(cls, size: int, *, zoom: Tensor, shift: Tensor) -> "Canvas":
        """Fields at ``zoom`` ``[B, 1]``, displaced by ``shift`` ``[B, 2]`` mm."""
        pixel = (FIELD / size / zoom)[..., None]
        steps = (torch.arange(size, device=zoom.device) - (size - 1) / 2) * pixel
        x, y = steps - shift[:, :1, None], steps - shift[:, 1:, None]
        return cls(size=size, pixel=pixel, x=x, y=y.mT)

    def of(self, rows: Tensor) -> "Canvas":
        """Some of the fields."""
        return Canvas(size=self.size, pixel=self.pixel[rows], x=self.x[rows], y=self.y[rows])

    def noise(self, draws: Draws, scale: float | Tensor, *, least: float | None = None) -> Tensor:
        """Smooth noise ``[B, S, S]`` of mean 0 and deviation 1 whose knots are ``scale`` mm apart.

        A ``scale`` that differs from field to field is ``[B, 1, 1]`` and no smaller than
        ``least``: the number of knots must not depend on who shares the batch.
        """
        if not isinstance(scale, Tensor):
            scale, least = torch.full_like(self.pixel, scale), scale
        if least is None:
            raise TypeError("noise(...) of a scale that is a Tensor needs least=, its lower bound")
        knots = math.ceil(FIELD / ZOOM[0] / least) + 6
        phase = draws.uniform(count=2)
        row, down = _spline(self.y[:, :, 0] / scale[:, 0] + phase[:, :1], knots)
        column, across = _spline(self.x[:, 0] / scale[:, 0] + phase[:, 1:], knots)
        heights = draws.surface(row, column, knots)
        return (down @ heights @ across.mT) * ((scale / self.pixel).clamp(max=1) / _ROUGHNESS)

    def honeycomb(
        self, draws: Draws, pitch: Tensor, *, least: float, disorder: float | Tensor = 0.2
    ) -> Tensor:
        """Irregular hexagons ``[B, S, S]``, ``pitch`` mm apart: 1 in their centres, 0 on walls."""
        wave = pitch * (math.sqrt(3) / 2)
        bend = disorder * pitch
        x = self.x + bend * self.noise(draws, 2 * pitch, least=2 * least)
        y = self.y + bend * self.noise(draws, 2 * pitch, least=2 * least)
        turn = draws.uniform(0, math.pi)[..., None]
        total = torch.zeros_like(x)
        for third in range(3):
            angle = turn + third * 2 * math.pi / 3
            step = 2 * math.pi / wave
            total += torch.cos(step * torch.cos(angle) * x + step * torch.sin(angle) * y)
        # The mean of the cells is 1/3, and all that is left where a pixel holds half a wave.
        contrast = torch.where(wave > 2 * self.pixel, torch.sinc(self.pixel / wave), 0)
        return (contrast * total + 1.5) / 4.5

    def disks(
        self, x: Tensor, y: Tensor, radius: Tensor, *, largest: float, level: Tensor | None = None
    ) -> Tensor:
        """Disks ``[B, M]`` at (x, y) of ``radius`` mm, at most ``largest``, on ``[B, S, S]``.

        ``level`` 0..1 is how full each is. Their sides fade over a pixel, in a way that keeps
        their area; below a pixel they get fainter.
        """
        pixel = self.pixel[..., 0]
        square = (radius / pixel) ** 2
        rim = torch.sqrt((square - 1 / 12).clamp(min=0.25)) + 0.5
        full = (3 * square).clamp(max=1)
        if level is not None:
            full = full * level
        column, row = (x - self.x[:, 0, :1]) / pixel, (y - self.y[:, 0, :1]) / pixel
        half = math.ceil(largest / self._least_pixel() + 1)
        sheet = _Sheet.around(column, row, full, half=half, size=self.size)
        away = torch.hypot(sheet.columns - sheet.of(column), sheet.rows - sheet.of(row))
        return sheet.printed((sheet.of(rim) - away).clamp(0, 1) * sheet.of(full))

    def lines(
        self, courses: Tensor, widths: Tensor, *, longest: float, widest: float,
        level: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Lines through points ``[B, L, P, 2]`` (x, y) mm, ``widths`` ``[B, L]`` mm, ``[B, S, S]``.

        No step between two points is longer than ``longest``, no line wider than ``widest``.
        """
        corner = torch.stack((self.x[:, 0, 0], self.y[:, 0, 0]), 1)[:, None, None]
        points = (courses - corner) / self.pixel[..., None]
        steps = points.shape[2] - 1
        wide = widths / self.pixel[..., 0]
        full = wide.clamp(max=1) if level is None else wide.clamp(max=1) * level
        wide, full = (part.repeat_interleave(steps, 1) for part in (wide, full))
        x, y = points[:, :, :-1].flatten(1, 2).unbind(2)
        along_x, along_y = points.diff(dim=2).flatten(1, 2).unbind(2)
        half = math.ceil((longest + widest) / 2 / self._least_pixel() + 1)
        middle = (x + along_x / 2, y + along_y / 2)
        sheet = _Sheet.around(*middle, full, half=half, size=self.size)
        from_x, from_y = sheet.columns - sheet.of(x), sheet.rows - sheet.of(y)
        along_x, along_y = sheet.of(along_x), sheet.of(along_y)
        square = (along_x * along_x + along_y * along_y).clamp(min=1e-12)
        share = ((from_x * along_x + from_y * along_y) / square).clamp(0, 1)
        away = torch.hypot(from_x - share * along_x, from_y - share * along_y)
        cover = (sheet.of(wide) / 2 + 0.5 - away).clamp(min=0)
        return sheet.printed(torch.minimum(cover, sheet.of(full)))

    def _least_pixel(self) -> float:
        return FIELD / self.size / ZOOM[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sheet:
    """T small patches of B pictures, for marks that cover few pixels."""

    shape: tuple[int, int]
    """B, S."""
    marks: Tensor
    """Which of the B M marks they belong to, ``[T]``."""
    per_picture: int
    """M."""
    columns: Tensor
    """``[T, 1, P]``."""
    rows: Tensor
    """``[T, P, 1]``."""

    @classmethod
    def around(cls, x: Tensor, y: Tensor, full: Tensor, *, half: int, size: int) -> "_Sheet":
        """Patches around those of the points ``[B, M]``, in pixels, that are there and in view."""
        x, y = x.round(), y.round()
        last = size - 1 + half
        seen = (full > 0) & (x >= -half) & (x <= last) & (y >= -half) & (y <= last)
        marks = torch.nonzero(seen.flatten())[:, 0]
        near = torch.arange(-half, half + 1, device=x.device)
        return cls(
            shape=(len(x), size),
            marks=marks,
            per_picture=x.shape[1],
            columns=x.flatten()[marks][:, None, None] + near,
            rows=y.flatten()[marks][:, None, None] + near[:, None],
        )

    def of(self, values: Tensor) -> Tensor:
        """Values ``[B, M]`` of the marks, ``[T, 1, 1]``."""
        return values.flatten()[self.marks][:, None, None]

    def printed(self, cover: Tensor) -> Tensor:
        """The greatest cover ``[T, P, P]`` at each pixel, ``[B, S, S]``."""
        count, size = self.shape
        right, low = self.columns.clamp(0, size - 1), self.rows.clamp(0, size - 1)
        cover = cover * ((right == self.columns) & (low == self.rows))
        picture = (self.marks // self.per_picture)[:, None, None]
        place = (picture * size + low.long()) * size + right.long()
        sheet = torch.zeros(count * size * size, device=cover.device)
        sheet.scatter_reduce_(0, place.flatten(), cover.flatten(), "amax")
        return sheet.reshape(count, size, size)


def _spline(at: Tensor, knots: int) -> tuple[Tensor, Tensor]:
    """First knot (even) ``[B]`` and weights ``[B, S, knots]``, a uniform cubic B-spline.

    ``at`` ``[B, S]`` is rising.
    """
    first = 2 * torch.floor((at[:, 0] - 1) / 2)
    whole = torch.floor(at)
    t = (at - whole)[..., None]
    u = 1 - t
    middle = (2 / 3 - t * t * (1 - t / 2), 2 / 3 - u * u * (1 - u / 2))
    four = torch.cat((u * u * u / 6, *middle, t * t * t / 6), 2)
    place = (whole - first[:, None])[..., None] + torch.arange(-1, 3, device=at.device)
    weights = torch.zeros(*at.shape, knots, dtype=at.dtype, device=at.device)
    return first, weights.scatter_(2, place.long(), four)
