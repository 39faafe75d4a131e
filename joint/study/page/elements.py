"""Figures of learned elements: how similar they are, and sheets of the elements themselves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from joint.panel.look import blank_figure
from joint.study.axis import Design
from joint.study.findings.element import Element
from joint.study.findings.stability import Atlas, Learned

from .charts import level_words

if TYPE_CHECKING:  # slow to import, and only a figure needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["atlas_figure", "contact_figures"]

Array = npt.NDArray[Any]

_ROWS, _COLUMNS = 6, 8  # designs and seeds on a sheet
_MOST_PLACES = 3  # along a side of the picture, of the PSFs drawn


def atlas_figure(found: Atlas) -> "Figure":
    """Draw the similarity of each pair of elements, and their agreement beyond chance."""
    count = len(found.elements)
    figure = blank_figure(10.0, 5.0)
    for axis, matrix, title in zip(
        figure.subplots(1, 2),
        (found.similarity, found.agreement.clip(0, 1)),
        ("similarity", "agreement beyond start and chance"),
        strict=True,
    ):
        drawn = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        figure.colorbar(drawn, ax=axis, shrink=0.75)
        axis.set_title(title)
        designs = [each.design for each in found.elements]
        edges = [n for n in range(1, count) if designs[n] != designs[n - 1]]
        for edge in edges:
            axis.axhline(edge - 0.5, color="white", linewidth=0.8)
            axis.axvline(edge - 0.5, color="white", linewidth=0.8)
        starts = [0, *edges]
        middles = [(a + b - 1) / 2 for a, b in zip(starts, [*edges, count], strict=True)]
        names = [str(designs[n]) for n in starts]
        axis.set_xticks(middles, labels=names)
        axis.set_yticks(middles, labels=names)
        axis.set(xlabel="design, its seeds side by side", ylabel="design")
    return figure


def contact_figures(
    elements: Sequence[Learned], levels: Mapping[int, Design]
) -> list[tuple["Figure", tuple[int, ...]]]:
    """Draw the elements of each design on a sheet, each with its transfer function below it.

    The first column is the start of the first seed. Each filter has its own scale. A filter with
    negative values is drawn as the mean over the colours, with negative values in blue; any other
    filter is drawn in the colours of its channels, as the square root of the light. Of several
    filters, the first four are drawn; of a PSF that varies across the picture, up to 3 x 3 places,
    arranged from border to border. Transfer functions are moduli, averaged over the channels, with
    frequency 0 in the middle, one for each place.

    Returns
    -------
    list of (Figure, tuple of int)
        Each sheet, and the designs on it.
    """
    by_design: dict[int, list[Learned]] = {}
    for each in elements:
        by_design.setdefault(each.design, []).append(each)
    numbers = list(by_design)
    sheets = []
    for first in range(0, len(numbers), _ROWS):
        chosen = numbers[first : first + _ROWS]
        columns = 1 + min(_COLUMNS, max(len(by_design[number]) for number in chosen))
        width, height = 1.15 * columns + 1.9, 2.45 * len(chosen)
        figure = blank_figure(width, height)
        figure.set_layout_engine("none")  # a regular grid needs no layout search
        grid = figure.subplots(
            2 * len(chosen),
            columns,
            squeeze=False,
            gridspec_kw={
                "left": 1.9 / width,
                "right": 0.99,
                "bottom": 0.05 / height,
                "top": 1 - 0.25 / height,
                "wspace": 0.08,
                "hspace": 0.22,
            },
        )
        for row, number in enumerate(chosen):
            own = by_design[number]
            drawn = [("start", own[0].start)]
            drawn += [(f"seed {each.seed}", each.element) for each in own[: columns - 1]]
            for axis in grid[2 * row : 2 * row + 2, len(drawn) :].flat:
                axis.set_axis_off()
            for column, (title, element) in enumerate(drawn):
                upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
                _show(upper, element)
                upper.set_title(title, fontsize=8)
                transfer = _transfer(element)
                peak = float(transfer.max()) or 1.0
                lower.imshow(transfer, cmap="gray", vmin=0, vmax=peak, interpolation="nearest")
                for axis in (upper, lower):
                    axis.set(xticks=[], yticks=[])
                    axis.spines[:].set_color("lightgrey")
            words = "\n".join(f"{name}={level_words(v)}" for name, v in levels[number].items())
            grid[2 * row, 0].annotate(
                f"{number}:\n{words}",
                (-0.12, 0.5),
                xycoords="axes fraction",
                ha="right",
                va="center",
                fontsize=8,
            )
        sheets.append((figure, tuple(chosen)))
    return sheets


def _tiles(element: Element) -> Array:
    """Tiles to draw side by side, ``[F, S, P, h, w]``: filters, or places in their arrangement."""
    if element.places is None:
        return element.parts[:4]
    parts = element.parts.reshape(*element.places, -1, *element.parts.shape[2:])
    rows, columns = (
        np.linspace(0, n - 1, min(n, _MOST_PLACES)).round().astype(int) for n in element.places
    )
    return parts[rows[:, None], columns].reshape(-1, *parts.shape[2:])


def _across(element: Element) -> int:
    """Number of tiles in a row."""
    return 2 if element.places is None else min(element.places[1], _MOST_PLACES)


def _show(axis: "Axes", element: Element) -> None:
    tiles, across = _tiles(element), _across(element)
    signed = not np.iscomplexobj(tiles) and bool((tiles < -1e-9 * np.abs(tiles).max()).any())
    if signed:
        shown = _tiled(tiles.mean((1, 2)), across)
        limit = float(np.abs(shown).max()) or 1.0
        axis.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        return
    light = np.square(np.abs(tiles)) if np.iscomplexobj(tiles) else tiles.clip(0)
    channels = light.reshape(len(light), -1, *light.shape[-2:])
    if channels.shape[1] != 3:
        channels = channels.mean(1, keepdims=True).repeat(3, 1)
    picture = np.stack([_tiled(channels[:, c], across) for c in range(3)], -1)
    axis.imshow(np.sqrt(picture / (picture.max() or 1.0)), interpolation="nearest")


def _tiled(filters: Array, across: int) -> Array:
    """Arrange filters ``[F, h, w]`` in rows of so many."""
    if len(filters) == 1:
        return filters[0]
    gap = np.pad(filters, ((0, -len(filters) % across), (0, 1), (0, 1)))
    rows = [np.hstack(list(gap[n : n + across])) for n in range(0, len(gap), across)]
    return np.vstack(rows)


def _transfer(element: Element) -> Array:
    parts = _tiles(element)
    size = max(33, *parts.shape[-2:])
    modulus = np.abs(np.fft.fftshift(np.fft.fft2(parts, (size, size)), (-2, -1)))
    return _tiled(modulus.mean((1, 2)), _across(element))
