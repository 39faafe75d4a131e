"""A field of skin to draw on, in millimetres: smooth noise, lattices, disks and lines.

Nothing here depends on the size of the pixels but how finely it is seen: a lesion is the same
lesion at every picture size, and what the pixels cannot resolve is averaged, not aliased.
"""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

__all__ = ["FIELD", "Canvas"]

Array: TypeAlias = npt.NDArray[np.floating[Any]]

#: Side of the field of view, in mm: the middle of a HAM10000 frame, 150 of its 200 columns.
FIELD = 9.0

_REACH = 7.5  # mm; noise is defined this far from the centre, beyond any pose
_ROUGHNESS = 0.479  # standard deviation of a cubic B-spline surface on unit normal knots


class Canvas:
    """The field of view, seen at ``zoom`` and displaced by ``shift`` mm, on ``size`` pixels."""

    def __init__(
        self,
        size: int,
        random: np.random.Generator,
        *,
        zoom: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.random = random
        self.size = size
        self.pixel = FIELD / size / zoom
        steps = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * np.float32(self.pixel)
        self.x, self.y = (
            steps[None, :] - np.float32(shift[0]),
            steps[:, None] - np.float32(shift[1]),
        )
        self._fine = 4 if size <= 128 else 2  # lines and disks are drawn finer, then averaged

    def noise(self, scale: float) -> Array:
        """Smooth noise ``[S, S]`` of mean 0 and deviation 1 whose knots are ``scale`` mm apart."""
        knots = math.ceil(2 * _REACH / scale) + 4
        heights = self.random.standard_normal((knots, knots), dtype=np.float32)
        phase = self.random.random(2, dtype=np.float32)
        row, downward = _spline((self.y.ravel() + _REACH) / scale + phase[0])
        tall = np.zeros((self.size, knots), np.float32)
        for tap, weight in enumerate(downward):
            tall += weight[:, None] * heights[row + tap]
        column, across = _spline((self.x.ravel() + _REACH) / scale + phase[1])
        total = np.zeros((self.size, self.size), np.float32)
        for tap, weight in enumerate(across):
            total += weight * tall.take(column + tap, axis=1)
        return total * np.float32(min(1.0, scale / self.pixel) / _ROUGHNESS)

    def honeycomb(self, pitch: float, *, disorder: float = 0.2) -> Array:
        """Irregular hexagons ``[S, S]``, ``pitch`` mm apart: 1 in their centres, 0 on walls."""
        wave = pitch * math.sqrt(3) / 2
        bend = disorder * pitch
        x = self.x + bend * self.noise(2 * pitch)
        y = self.y + bend * self.noise(2 * pitch)
        turn = self.random.uniform(0, math.pi)
        total = np.zeros_like(x)
        for third in range(3):
            a = turn + third * 2 * math.pi / 3
            total += np.cos(
                (2 * math.pi / wave * math.cos(a)) * x + (2 * math.pi / wave * math.sin(a)) * y
            )
        # The mean of the cells is 1/3, and all that is left where a pixel holds half a wave.
        seen = np.sinc(self.pixel / wave) if wave > 2 * self.pixel else 0.0
        return (np.float32(seen) * total + 1.5) / 4.5

    def disks(self, x: Array, y: Array, radius: Array, level: Array | None = None) -> Array:
        """Disks at (x, y) of ``radius`` mm, ``[S, S]``; ``level`` 0..1 is how full each is."""
        picture, pen = self._sheet()
        columns, rows, radii = self._column(x), self._row(y), radius / self.pixel * self._fine
        fills = np.full(len(x), 255) if level is None else np.rint(255 * level).astype(int)
        for column, row, r, fill in zip(columns, rows, radii, fills, strict=True):
            pen.ellipse((column - r, row - r, column + r, row + r), fill=int(fill))
        return self._developed(picture)

    def lines(self, courses: Iterable[Array], widths: Iterable[float]) -> Array:
        """Lines through points ``[n, 2]`` (x, y) mm, each of its width in mm, ``[S, S]``."""
        picture, pen = self._sheet()
        for course, width in zip(courses, widths, strict=True):
            wide = width / self.pixel * self._fine
            points = np.stack((self._column(course[:, 0]), self._row(course[:, 1])), 1)
            pen.line(
                points.ravel().tolist(), fill=round(255 * min(1.0, wide)), width=max(1, round(wide))
            )
        return self._developed(picture)

    def _column(self, x: Array) -> Array:
        return ((x - self.x[0, 0]) / self.pixel + 0.5) * self._fine

    def _row(self, y: Array) -> Array:
        return ((y - self.y[0, 0]) / self.pixel + 0.5) * self._fine

    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        picture = Image.new("L", (self.size * self._fine, self.size * self._fine))
        return picture, ImageDraw.Draw(picture)

    def _developed(self, picture: Image.Image) -> Array:
        return np.asarray(picture.reduce(self._fine), dtype=np.float32) / 255


def _spline(at: Array) -> tuple[npt.NDArray[np.intp], tuple[Array, ...]]:
    """First of the four knots around ``at`` ``[n]``; their weights, a uniform cubic B-spline."""
    first = np.floor(at).astype(np.intp)
    t = at - first
    u = 1 - t
    middle = (2 / 3 - t * t * (1 - t / 2), 2 / 3 - u * u * (1 - u / 2))
    return first, (u**3 / 6, *middle, t**3 / 6)
