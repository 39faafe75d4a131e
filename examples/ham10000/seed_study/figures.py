"""Figures of a study without any picture of its data: curves, confusions, filters, rates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from joint.figure import draw_confusion, save_figure

from .published import LOSSES, REPORTS, ROWS, Row

_TITLES = {"seed": "the seed's protocol", "honest": "the honest protocol"}


def draw(document: Mapping[str, Any], folder: Path, *, prefix: str = "") -> list[Path]:
    """Draw all figures of a run into a folder; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    for protocol, found in document["protocols"].items():
        rows, title = found["rows"], f"{_TITLES[protocol]}; {document['label']}"
        if any(row["history"] for row in rows.values()):
            figures[f"{protocol}_curves"] = curves(rows, title)
        if _reported(rows):
            figures[f"{protocol}_confusion"] = confusions(rows, title)
        analyses = found.get("analyses") or {}
        if "filters" in analyses:
            figures["filters"] = filters(analyses["filters"], title)
        if {"rated", "jpeg_frozen", "jpeg_joint", "classifier"} <= rows.keys():
            figures["rates"] = rates(rows, title)
        if "rate_map" in analyses:
            figures["rate_map"] = rate_map(analyses["rate_map"], title)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{prefix}{name}.png")
        save_figure(figure, paths[-1])
    return paths


def curves(rows: Mapping[str, Any], title: str) -> Figure:
    """Loss of training and validation, and validation accuracy, of every row that trains."""
    trained = [name for name in rows if len(rows[name]["history"]) > 0]
    columns = 5
    lines = -(-len(trained) // columns)
    figure = _figure(2.7 * columns, 1.9 * lines + 0.5, title, loose=True)
    axes = np.atleast_2d(figure.subplots(lines, columns))
    for axis in axes.flat[len(trained) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, trained, strict=False):
        history = rows[name]["history"]
        epochs = range(1, len(history) + 1)
        axis.plot(epochs, [line["train"] for line in history], ".-C7", label="training loss")
        axis.plot(epochs, [line["loss"] for line in history], ".-C0", label="validation loss")
        if history[0]["accuracy"] is not None:
            other = axis.twinx()
            other.plot(epochs, [line["accuracy"] for line in history], ".-C3")
            other.set_ylim(0, 1)
            other.tick_params(labelsize=6, colors="C3")
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=6)
    axes.flat[0].legend(fontsize=6, frameon=False)
    figure.supxlabel("epoch; red, on the right: validation accuracy", fontsize=8)
    return figure


def _reported(rows: Mapping[str, Any]) -> list[Row]:
    """Rows whose report the study prints, of those that are done."""
    return [row for row in ROWS if row.stage in rows and row.report is not None]


def confusions(rows: Mapping[str, Any], title: str) -> Figure:
    """Confusion matrices of the study's figures, and of its classifier alone."""
    shown = _reported(rows)
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure(3.3 * columns, 3.5 * lines + 0.4, title, loose=True)
    axes = np.atleast_2d(figure.subplots(lines, columns))
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, row in zip(axes.flat, shown, strict=False):
        assert row.report is not None
        found, number = rows[row.stage], REPORTS[row.report].figure
        draw_confusion(axis, np.array(found["confusion"]), found["classes"])
        printed = REPORTS[2].accuracy
        if row.losses is not None and row.stage != "classifier":
            printed = LOSSES[row.losses].rows["test"].accuracy
        of = f"figure {number}: " if number else ""
        accuracy = found["test"]["accuracy"]
        axis.set_title(f"{of}{row.title}\naccuracy {accuracy:.3f}, published {printed}", fontsize=7)
        axis.tick_params(labelsize=6)
    return figure


def filters(found: Mapping[str, Any], title: str) -> Figure:
    """The filter that the optics began with, and what became of it."""
    figure = _figure(2.2 * 3 + 0.8, 2.3 * len(found) + 0.4, title)
    axes = figure.subplots(len(found), 3, squeeze=False)
    limit = max(float(np.abs(each["response"]).max()) for each in found.values())
    scale = SymLogNorm(limit / 100, vmin=-limit, vmax=limit)
    for line, (name, each) in zip(axes, found.items(), strict=True):
        for axis, kernel, colour in zip(
            line, each["response"], ("red", "green", "blue"), strict=False
        ):
            image = axis.imshow(np.array(kernel), cmap="RdBu_r", norm=scale)
            axis.set_title(f"{name.removeprefix('optics_')}, {colour}", fontsize=8)
            axis.set(xticks=[], yticks=[])
    bar = figure.colorbar(image, ax=axes, shrink=0.7, label="fraction of the light")
    ticks = [limit * part for part in (-1, -0.1, 0, 0.1, 1)]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    return figure


def rates(rows: Mapping[str, Any], title: str) -> Figure:
    """Balanced accuracy against bits of files."""
    figure = _figure(6.5, 4.2, title)
    axis: Axes = figure.subplots()
    for name, label, style in (
        ("rated", "learned codec, trained jointly", "o-C3"),
        ("jpeg_joint", "JPEG, classifier trained on it", "s-C0"),
        ("jpeg_frozen", "JPEG, classifier of raw pictures", "s:C7"),
    ):
        points = sorted(
            (point["bpp_bytes"], point["adjusted_balanced_accuracy"])
            for point in rows[name]["points"]
        )
        axis.plot(*zip(*points, strict=True), style, label=label)
    raw = rows["classifier"]["adjusted"]["balanced_accuracy"]
    axis.axhline(raw, color="black", lw=1, ls="--", label="raw pictures, 24 bits per pixel")
    axis.set(xscale="log", xlabel="bits per pixel, files with headers", ylabel="balanced accuracy")
    axis.legend(fontsize=8)
    return figure


def rate_map(found: Mapping[str, Any], title: str) -> Figure:
    """Density of the bits on lesion, boundary and background, by class."""
    figure = _figure(6.5, 3.6, title)
    axis: Axes = figure.subplots()
    rows = [row for row in found["rows"] if row["pictures"]]
    for k, region in enumerate(("lesion", "boundary", "background")):
        cells = [next(r for r in row["regions"] if r["region"] == region) for row in rows]
        places = np.arange(len(rows)) + 0.27 * (k - 1)
        axis.bar(places, [cell["density"] or 0 for cell in cells], 0.25, label=region)
    axis.axhline(1, color="black", lw=1)
    axis.set_xticks(range(len(rows)), labels=[row["name"] for row in rows])
    axis.set_ylabel("share of bits / share of pixels")
    axis.legend(fontsize=8)
    return figure


def _figure(width: float, height: float, title: str, *, loose: bool = False) -> Figure:
    """A figure that finds room for its labels; many small axes are spaced by hand, much faster."""
    figure = Figure(figsize=(width, height), layout=None if loose else "constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    if loose:
        top, bottom = 1 - 0.6 / height, 0.6 / height
        figure.subplots_adjust(0.05, bottom, 0.97, top, wspace=0.35, hspace=0.45)
    return figure
