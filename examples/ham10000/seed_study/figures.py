"""Figures of a study without any picture of its data: curves, confusions, filters, rates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from joint.figure import SHADE, draw_confusion, save_figure
from joint.panel.look import COLOURS, looks, open_axis

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


# What a stage is called where it is no row of the study.
_NAMES = {
    "kmeans_joint": "soft k-means, trained jointly",
    "classifier": "classifier alone",
    **{f"autoencoder_{width}": f"{width.upper()} autoencoder" for width in ("6x", "3x", "1.5x")},
    **{f"joint_{width}": f"{width.upper()}, trained jointly" for width in ("6x", "3x", "1.5x")},
    "codec": "learned codec",
    "rated": "learned codec, trained jointly",
    "jpeg_joint": "JPEG, classifier trained on it",
    "balanced_3x": "3X, jointly, balanced loss",
    "optics_none": "no optics",
    "optics_laplacian": "optics: Laplacian",
    "optics_unsharp": "optics: unsharp mask",
    "optics_learned": "optics: learned",
    "classifier_inception_s": "classifier: Inception S",
    "classifier_resnet18": "classifier: ResNet-18",
    "classifier_convnext_atto": "classifier: ConvNeXt Atto",
}

#: Training loss, validation loss, validation accuracy.
_LINES = (("grey", ":"), (COLOURS[0], "-"), (COLOURS[1], "--"))


def curves(rows: Mapping[str, Any], title: str) -> Figure:
    """Loss of training and validation, and validation accuracy, of every row that trains."""
    trained = [name for name in rows if len(rows[name]["history"]) > 0]
    columns = min(5, len(trained))
    lines = -(-len(trained) // columns)
    figure = _figure(max(6.5, 2.4 * columns), 1.75 * lines + 0.8, title)
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axis in axes[len(trained) :]:
        axis.set_visible(False)
    told: dict[str, Any] = {}
    for place, (axis, name) in enumerate(zip(axes, trained, strict=False)):
        history = rows[name]["history"]
        epochs = range(1, len(history) + 1)
        marker = "." if len(history) < 3 else ""  # of one epoch a line is nothing
        for key, label, (colour, dash) in zip(
            ("train", "loss"), ("training loss", "validation loss"), _LINES[:2], strict=True
        ):
            values = [line[key] for line in history]
            (told[label],) = axis.plot(epochs, values, marker + dash, color=colour, label=label)
        last = place % columns == columns - 1 or place == len(trained) - 1
        axis.set_title(_NAMES.get(name, name.replace("_", " ")), fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axis.tick_params(labelsize=7)
        if place + columns >= len(trained):  # nothing below it
            axis.set_xlabel("epoch", fontsize=8)
        if place % columns == 0:
            axis.set_ylabel("loss", fontsize=8)
        if history[0]["accuracy"] is not None:
            other = axis.twinx()
            colour, dash = _LINES[2]
            values = [line["accuracy"] for line in history]
            (told["validation accuracy, on the right"],) = other.plot(
                epochs, values, marker + dash, color=colour, label="validation accuracy"
            )
            other.set_ylim(0, 1)
            other.tick_params(labelsize=7, colors=colour)
            if last:
                other.set_ylabel("accuracy", fontsize=8, color=colour)
    figure.legend(
        told.values(), told, loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def _reported(rows: Mapping[str, Any]) -> list[Row]:
    """Rows whose report the study prints, of those that are done."""
    return [row for row in ROWS if row.stage in rows and row.report is not None]


def confusions(rows: Mapping[str, Any], title: str) -> Figure:
    """Confusion matrices of the study's figures, and of its classifier alone."""
    shown = _reported(rows)
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure(max(6.5, 2.9 * columns + 0.6), 3.2 * lines + 0.4, title)
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis, row in zip(axes, shown, strict=False):
        assert row.report is not None
        found, number = rows[row.stage], REPORTS[row.report].figure
        drawn = draw_confusion(axis, np.array(found["confusion"]), found["classes"])
        printed = REPORTS[2].accuracy
        if row.losses is not None and row.stage != "classifier":
            printed = LOSSES[row.losses].rows["test"].accuracy
        of = f"figure {number}: " if number else ""
        accuracy = found["test"]["accuracy"]
        name = row.title.replace(" + ", " +\n") if len(row.title) > 25 else row.title
        axis.set_title(f"{of}{name}\naccuracy {accuracy:.3f}, published {printed}", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
    if shown:
        bar = figure.colorbar(drawn, ax=list(axes), shrink=0.5, aspect=30, label=SHADE)
        bar.ax.tick_params(labelsize=8)
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
    bar = figure.colorbar(
        image, ax=axes, shrink=0.7, label=f"fraction of the light, linear within ±{limit / 100:.2g}"
    )
    ticks = [limit * part for part in (-1, -0.1, 0, 0.1, 1)]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    return figure


def rates(rows: Mapping[str, Any], title: str) -> Figure:
    """Balanced accuracy against bits of files."""
    figure = _figure(6.5, 4.4, title)
    axis: Axes = figure.subplots()
    for name, label, style, colour in (
        ("rated", "learned codec, trained jointly", "o-", COLOURS[1]),
        ("jpeg_joint", "JPEG, classifier trained on it", "s-", COLOURS[0]),
        ("jpeg_frozen", "JPEG, classifier of raw pictures", "D:", "grey"),
    ):
        points = sorted(
            (point["bpp_bytes"], point["adjusted_balanced_accuracy"])
            for point in rows[name]["points"]
        )
        axis.plot(*zip(*points, strict=True), style, color=colour, ms=5, label=label)
    adjusted = rows["classifier"]["adjusted"]
    raw = adjusted["balanced_accuracy"]
    axis.axhline(raw, color="black", lw=1, ls="--", label="raw pictures, 24 bits per pixel")
    between = (adjusted.get("intervals") or {}).get("balanced_accuracy")
    if between is not None:
        axis.axhspan(*between, color="black", alpha=0.08, lw=0, label="its 95 % interval")
    axis.set(xscale="log", xlabel="bits per pixel, files with headers", ylabel="balanced accuracy")
    # Numbers as they are read, not as powers of ten.
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    open_axis(axis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def rate_map(found: Mapping[str, Any], title: str) -> Figure:
    """Density of the bits on lesion, boundary and background, by class, with intervals."""
    figure = _figure(6.5, 3.9, title)
    axis: Axes = figure.subplots()
    rows = [row for row in found["rows"] if row["pictures"]]
    regions = ("lesion", "boundary", "background")
    for k, (region, look) in enumerate(zip(regions, looks(len(regions)), strict=True)):
        cells = [next(r for r in row["regions"] if r["region"] == region) for row in rows]
        places = np.arange(len(rows)) + 0.22 * (k - 1)
        density = [cell["density"] for cell in cells]
        axis.plot(
            places,
            [np.nan if value is None else value for value in density],
            look.marker,
            color=look.colour,
            ms=5,
            label=region,
        )
        for place, cell in zip(places, cells, strict=True):
            between = cell.get("interval")
            if between is not None and None not in between:
                axis.vlines(place, *between, color=look.colour, linewidth=1.5, alpha=0.6)
    axis.axhline(1, color="grey", lw=1, ls="--")
    axis.set_xticks(range(len(rows)), labels=[row["name"] for row in rows])
    axis.set_ylabel("share of bits / share of pixels")
    level = found.get("level", 0.95)
    axis.set_xlabel(f"lines: {100 * level:g} % intervals over lesions; dashed: bits spread evenly")
    open_axis(axis)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _figure(width: float, height: float, title: str) -> Figure:
    """A figure that finds room for its labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    return figure
