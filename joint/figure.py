"""Figures of a run and of its analyses. The only module-level home of matplotlib.

What one panel of them shows is drawn in :mod:`joint.panel`, whose functions can be had here too.
In titles and names a dollar sign is one, and begins no formula.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatter
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from classify import LesionDataset, Report

from .analysis import (
    ConfusionContrast,
    ContrastByClass,
    ContrastSweep,
    Kept,
    OptimalImage,
    Reliance,
    RingScores,
)
from .checkpoint import write_atomically
from .evaluate import Evaluation, check_encoding, device_of
from .feed import as_scenes, derive_seed, generators
from .look import COLOURS, WRONG, blank_figure, label_points, looks, open_axis
from .panel import (
    SHADE,
    PlaneColours,
    as_codes,
    draw_confusion,
    draw_filter,
    draw_light,
    draw_picture,
    draw_reliability,
    in_colours,
    label_guess,
    label_recalls,
    no_formulas,
    plane_colours,
)
from .stages import Encoding
from .system import ImagingSystem, evaluating

__all__ = [
    "SHADE",
    "contrast_figure",
    "draw_confusion",
    "draw_filter",
    "draw_light",
    "draw_reliability",
    "handed_figure",
    "kept_figure",
    "optimal_figure",
    "pairs_figure",
    "reliance_figure",
    "report_figure",
    "save_figure",
    "sweep_figure",
    "system_figure",
]

_MEASURES = {
    "gcnr": "gCNR",
    "soft_gcnr": "soft gCNR",
    "cnr": "CNR",
    "rms": "RMS contrast",
    "weber": "Weber contrast",
    "michelson": "Michelson contrast",
    "delta_e": "ΔE (CIEDE2000)",
}
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "+++")


@no_formulas()
def system_figure(
    system: ImagingSystem,
    dataset: LesionDataset,
    evaluation: Evaluation,
    *,
    title: str = "",
    rows: int = 4,
    seed: int = 0,
) -> Figure:
    """Draw what light goes through, the learned element, and what comes out.

    Left, for one picture of each of ``rows`` classes: the scene, the light on the sensor, the
    measurement, and what the classifier is handed. Right: the learned filter and the confusion
    matrix of ``evaluation``.
    """
    index = _one_of_each_class(dataset, rows)
    device = device_of(system)
    scenes, labels = as_scenes(dataset.gather(index), device)
    with evaluating(system), torch.no_grad():
        noise = torch.Generator(device).manual_seed(derive_seed(seed, "figure"))
        output = system(scenes, generator=noise)

    figure = blank_figure(13.5, 1.75 * len(index) + 0.8, title=title)
    left, right = _halves(figure, "beside", (1.35, 1.0))
    names = [dataset.classes[int(label)] for label in labels]
    draw_light(
        left, output, names, dataset.classes,
        encoding=system.encoding, exposures=system.exposures, colours=plane_colours(system),
    )  # fmt: skip
    upper, lower = _halves(right, "below", (0.8, 1.2))
    if system.front_end is not None:
        draw_filter(upper, system.front_end)
    if evaluation.report is not None:
        axis = lower.subplots()
        drawn = draw_confusion(axis, evaluation.report.confusion, dataset.classes)
        lower.colorbar(drawn, ax=axis, shrink=0.8, label=SHADE)
    return figure


@no_formulas()
def report_figure(report: Report, *, title: str = "") -> Figure:
    """Draw a report: what was taken for what, and how far its confidence can be trusted.

    Beside the matrix stands the recall of each class, where the report has its intervals.
    """
    side = 2.2 + 0.45 * len(report.classes)
    intervals = report.class_intervals.get("recall")
    beside = 0.8 if intervals is None else 2.2
    figure = blank_figure(side + 4.6 + beside, max(side, 4.4), title=title)
    left, right = figure.subplots(1, 2, width_ratios=(side + beside, 4.6))
    drawn = draw_confusion(left, report.confusion, report.classes)
    figure.colorbar(drawn, ax=left, shrink=0.8, label=SHADE)
    left.set_title(
        f"accuracy {report.accuracy:.3f}, balanced {report.balanced_accuracy:.3f}", fontsize=9
    )
    if intervals is not None:
        heading = f"recall,\n{100 * report.level:g} % intervals\nover {report.unit}"
        label_recalls(left, report.recall, intervals, heading=heading)
    draw_reliability(right, report.reliability, level=report.level)
    right.set_title(f"calibration error {report.ece:.3f}", fontsize=9)
    return figure


@no_formulas()
def handed_figure(
    systems: Mapping[str, ImagingSystem],
    dataset: LesionDataset,
    *,
    most: int = 12,
    seed: int = 0,
    title: str = "",
) -> Figure:
    """Draw what each system hands to its classifier, a row for the first picture of each class.

    Light is encoded for the eye, not its differences. Beside the pictures stands what each of them
    differs by from the scene, all by one factor;
    where nothing differs it is grey. Smaller pictures are compared with the scene reduced to them.

    Parameters
    ----------
    systems : mapping of name to ImagingSystem
        Such as a codec before and after joint training. Those with a classifier say what they
        take each picture for.
    dataset : LesionDataset
        Where the pictures come from: with the data of others, the figure is theirs too.
    most : int
        Rows; of more classes, the first ones.
    seed : int
        Source of the sensor's noise.
    title : str
        Of the figure.
    """
    if not systems:
        raise ValueError("there is no system whose pictures could be drawn")
    targets = dataset.targets
    index = torch.stack([(targets == k).nonzero()[0, 0] for k in targets.unique()[:most]])
    seeds = [derive_seed(seed, "figure", name) for name in dataset.subset(index).identifiers]
    handed, guesses, colours = [], [], []
    for system in systems.values():
        check_encoding(system, dataset)
        device = device_of(system)
        scenes, labels = as_scenes(dataset.gather(index), device)
        with evaluating(system), torch.no_grad():
            output = system(scenes, generator=generators(seeds, device))
        colours.append(plane_colours(system))
        handed.append(in_colours(output.handed.float().cpu(), colours[-1].picture))
        guesses.append(None if output.logits is None else output.logits.argmax(1).tolist())
    scenes = in_colours(scenes.cpu(), colours[0].scene)
    names = [dataset.classes[int(label)] for label in labels]
    differences = [
        picture - _as_many(adaptive_avg_pool2d(scenes, picture.shape[-2:]), picture.shape[1])
        for picture in handed
    ]
    largest = max(float(d.abs().flatten().quantile(0.99)) for d in differences)
    factor = 0.5 / max(largest, 1 / 255)
    encodings: list[Encoding] = [system.encoding for system in systems.values()]
    seen = map(as_codes, handed, encodings)
    columns = [("scene", as_codes(scenes, encodings[0])), *zip(systems, seen, strict=True)]
    columns += [
        (f"{name} - scene, {factor:.1f}x", 0.5 + factor * difference)
        for name, difference in zip(systems, differences, strict=True)
    ]
    figure = blank_figure(1.6 * len(columns), 1.75 * len(index) + 0.5, title=title)
    axes = figure.subplots(len(index), len(columns), squeeze=False)
    for row, line in enumerate(axes):
        for axis, (heading, pictures) in zip(line, columns, strict=True):
            draw_picture(axis, pictures[row])
            if row == 0:
                axis.set_title(heading, fontsize=9)
        line[0].set_ylabel(names[row], fontsize=9)
        for axis, said in zip(line[1:], guesses, strict=False):
            if said is not None:
                label_guess(axis, dataset.classes[said[row]], names[row])
    return figure


def _as_many(scenes: Tensor, channels: int) -> Tensor:
    """Scenes in grey, where that is what a picture of one channel is compared with."""
    return scenes.mean(1, keepdim=True) if channels == 1 else scenes


@final
class _PlainNumbers(LogFormatter):
    """Labels between the decades where matplotlib has them, and these are formulas there."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


@no_formulas()
def kept_figure(found: Kept, *, title: str = "") -> Figure:
    """Draw which frequencies and which regions of the scene systems hand on, with intervals."""
    figure = blank_figure(12.5, 3.9, title=title)
    power, coherence, difference = figure.subplots(1, 3)
    step = 0.7 / len(found.systems)
    for number, (system, look) in enumerate(
        zip(found.systems, looks(len(found.systems)), strict=True)
    ):
        middle = [(annulus.low + annulus.high) / 2 for annulus in system.annuli]
        colour = look.colour
        for axis, name in ((power, "power"), (coherence, "coherence")):
            values = [getattr(annulus, name) for annulus in system.annuli]
            low, high = zip(*(getattr(a, f"{name}_interval") for a in system.annuli), strict=True)
            axis.plot(middle, values, f"{look.marker}-", ms=4, color=colour, label=system.name)
            axis.fill_between(middle, low, high, color=colour, alpha=0.25, linewidth=0)
        there = [d for d in system.differences if not np.isnan(d.rms)]
        at = np.arange(len(there)) + step * (number - (len(found.systems) - 1) / 2)
        hatch = _HATCHES[number % len(_HATCHES)]  # beside the colour, for print in grey
        difference.bar(
            at, [d.rms for d in there], 0.9 * step, color=colour, hatch=hatch, edgecolor="white"
        )
        low, high = zip(*(d.interval for d in there), strict=True)
        difference.vlines(at, low, high, color="black", linewidth=1.2)
        difference.set_xticks(range(len(there)), labels=[d.region for d in there])
    power.axhline(1, color="grey", linestyle="--", linewidth=1)
    power.set(yscale="log", xlim=(0, 0.5), xlabel="spatial frequency, cycles/pixel")
    power.yaxis.set_major_formatter("{x:g}")
    power.yaxis.set_minor_formatter(_PlainNumbers())
    power.set_ylabel("power, handed / scene")
    coherence.set(ylim=(0, 1.02), xlim=(0, 0.5), xlabel="spatial frequency, cycles/pixel")
    coherence.set_ylabel("coherence with the scene")
    difference.set_ylabel("RMS difference to scene, codes of 8 bits")
    difference.set_xlabel(f"shades, black lines: {100 * found.level:g} % intervals over lesions")
    for axis in (power, coherence, difference):
        open_axis(axis)
    figure.legend(
        *coherence.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
    )
    return figure


@no_formulas()
def optimal_figure(
    found: Mapping[str, OptimalImage],
    classes: Sequence[str],
    *,
    title: str = "",
    system: ImagingSystem | None = None,
) -> Figure:
    """Draw the best optimal image of each class, and what the classifier is handed of it.

    Parameters
    ----------
    found : mapping of class name to OptimalImage
        Of several starts, the one that came furthest is shown.
    classes : sequence of str
        Names of all classes.
    title : str
        Of the figure.
    system : ImagingSystem, optional
        That they were found for: it says which channels are red, green and blue.
    """
    colours = PlaneColours() if system is None else plane_colours(system)
    figure = blank_figure(1.6 * len(found) + 0.4, 4.1, title=title)
    axes = figure.subplots(2, len(found), squeeze=False)
    for (upper, lower), (name, each) in zip(axes.T, found.items(), strict=True):
        best = int(each.best[-1].argmax())
        scene, handed = (as_codes(p[best], each.encoding) for p in (each.scenes, each.handed))
        draw_picture(upper, in_colours(scene, colours.scene))
        draw_picture(lower, in_colours(handed, colours.picture))
        upper.set_title(name, fontsize=9)
        guess = int(each.logits[best].argmax())
        chance = float(each.logits[best].softmax(0)[each.target])
        label_guess(
            lower, f"{classes[guess]}\n{name} {chance:.2f}", name, right=guess == each.target
        )
        bits = "" if each.bpp is None else f"\n{float(each.bpp[best]):.2f} bit/px"
        upper.set_xlabel(f"light {float(each.light[best]):.2f}{bits}", fontsize=8)
    axes[0, 0].set_ylabel("scene")
    axes[1, 0].set_ylabel("handed")
    return figure


@no_formulas()
def contrast_figure(found: Mapping[str, ContrastByClass], *, title: str = "") -> Figure:
    """Draw the contrast of each class at several planes, or in several systems, side by side.

    Parameters
    ----------
    found : mapping of str to joint.analysis.ContrastByClass
        Of one measure and the same classes, by the name of the plane or system. Classes without a
        picture in the first are left out.
    title : str
        Of the figure.

    Raises
    ------
    ValueError
        Without results, or for those of several measures or of other classes.
    """
    if not found:
        raise ValueError("there is no contrast to draw: give at least one result, by its name")
    first, *others = found.values()
    names = [row.name for row in first.classes]
    for each in others:
        if each.measure != first.measure or [row.name for row in each.classes] != names:
            raise ValueError(
                "a figure has the contrast of one measure and the same classes: "
                f"{first.measure} of {', '.join(names)}, and {each.measure} of "
                f"{', '.join(row.name for row in each.classes)}"
            )
    there = [k for k, row in enumerate(first.classes) if row.pictures]
    width = 1.2 + 0.28 * len(there) * (len(found) + 1.2)
    figure = blank_figure(max(5.0, min(10.5, width)), 3.1, title=title)
    axis = figure.subplots()
    places, step = np.arange(len(there)), 0.6 / len(found)
    for n, ((name, each), look) in enumerate(zip(found.items(), looks(len(found)), strict=True)):
        at = places + step * (n - (len(found) - 1) / 2)
        rows = [each.classes[k] for k in there]
        low, high = ([row.interval[end] for row in rows] for end in (0, 1))
        axis.vlines(at, low, high, color=look.colour, linewidth=1.5, alpha=0.6)
        medians = [row.median for row in rows]
        axis.plot(at, medians, look.marker, color=look.colour, label=name, ms=4.5)
    long = 0.09 * sum(len(names[k]) + 2 for k in there) > figure.get_figwidth() - 2
    slant = {"rotation": 25, "ha": "right"} if long else {}
    axis.set_xticks(places, labels=[names[k] for k in there], **slant)
    axis.set(xlim=(-0.6, len(there) - 0.4), ylabel=_MEASURES.get(first.measure, first.measure))
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)
    return figure


@no_formulas()
def sweep_figure(found: Mapping[str, ContrastSweep], *, title: str = "") -> Figure:
    """Draw recall of the same lesions against their contrast, a panel for each system."""
    figure = blank_figure(5.0 * len(found) + 1.4, 3.9, title=title)
    axes = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axis, (name, sweep) in zip(axes, found.items(), strict=True):
        for k, (label, look) in enumerate(
            zip(sweep.classes, looks(len(sweep.classes)), strict=True)
        ):
            axis.plot(
                sweep.factors,
                sweep.recall[:, k],
                f"{look.marker}-",
                ms=4,
                linewidth=1.2,
                color=look.colour,
                label=label,
            )
        low, high = zip(*sweep.balanced_intervals, strict=True)
        axis.plot(
            sweep.factors, sweep.balanced_accuracy, "k-", linewidth=2.2, label="balanced accuracy"
        )
        axis.fill_between(
            sweep.factors,
            low,
            high,
            color="black",
            alpha=0.15,
            linewidth=0,
            label=f"its {100 * sweep.level:g} % interval",
        )
        axis.axvline(1, color="grey", linestyle=":", linewidth=1)
        axis.set(xlabel="contrast, as a multiple of the picture's own", ylim=(0, 1))
        axis.set_title(name, fontsize=9)
        open_axis(axis)
    axes[0].set_ylabel("recall of each class")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


@no_formulas()
def pairs_figure(
    found: ConfusionContrast, *, marked: tuple[str, str] | None = None, title: str = ""
) -> Figure:
    """Draw how often each pair of classes is confused against how far apart it is in contrast."""
    figure = blank_figure(7.2, 4.8)
    axis = figure.subplots()
    colours = []
    for pair in found.pairs:
        strong = marked is not None and {pair.first, pair.second} == {*marked}
        colours.append(WRONG if strong else COLOURS[0])
        axis.hlines(pair.confusion, *pair.distance_interval, color=colours[-1], alpha=0.3)
        axis.vlines(pair.distance, *pair.confusion_interval, color=colours[-1], alpha=0.3)
        axis.plot(
            pair.distance, pair.confusion, "D" if strong else "o", ms=5, color=colours[-1], zorder=3
        )
    low, high = found.interval
    axis.set_title(
        f"{title}{': ' if title else ''}Spearman {found.spearman:+.2f} [{low:+.2f}, {high:+.2f}]; "
        f"lines: {100 * found.level:g} % intervals over {found.unit}",
        fontsize=9,
    )
    measure = _MEASURES.get(found.measure, found.measure.replace("_", " "))
    apart = {"wasserstein": "Wasserstein distance", "separation": "separation"}[found.distance]
    axis.set_xlabel(f"{apart} of the two classes in {measure}")
    axis.set_ylabel("share confused, mean of both ways")
    open_axis(axis)
    label_points(
        axis,
        [(pair.distance, pair.confusion) for pair in found.pairs],
        [f"{pair.first}-{pair.second}" for pair in found.pairs],
        colours=colours,
        lines=[
            line
            for pair in found.pairs
            for line in (
                (
                    (pair.distance_interval[0], pair.confusion),
                    (pair.distance_interval[1], pair.confusion),
                ),
                (
                    (pair.distance, pair.confusion_interval[0]),
                    (pair.distance, pair.confusion_interval[1]),
                ),
            )
        ],
    )
    return figure


@no_formulas()
def reliance_figure(
    found: Mapping[str, Reliance], *, metric: str = "balanced_accuracy", title: str = ""
) -> Figure:
    """Draw what each ring of the scenes' frequencies is worth, above how much light is in it.

    A line spans a ring, and a shade its interval. The axis is of octaves, and 0, which it does not
    reach, stands an octave below the first end.

    Parameters
    ----------
    found : mapping of name to Reliance
        Of several systems, or of rings taken out and kept alone. Below is the power of the first.
    metric : {"accuracy", "balanced_accuracy", "auc"}
        What the change is of.
    title : str
        Of the figure.
    """
    if metric not in RingScores._fields:
        raise ValueError(f"metric must be one of {', '.join(RingScores._fields)}, not {metric!r}")
    figure = blank_figure(6.8, 4.8, title=title)
    change, power = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    every = [ring for each in found.values() for ring in each.rings]
    start = min(ring.low or ring.high / 2 for ring in every)
    for (name, each), look in zip(found.items(), looks(len(found)), strict=True):
        for number, ring in enumerate(each.rings):
            ends = np.array([max(ring.low, start), ring.high])
            score = getattr(ring.change, metric)
            change.fill_between(ends, *score.interval, color=look.colour, alpha=0.2, linewidth=0)
            change.plot(ends, [score.value] * 2, color=look.colour, linewidth=1.5)
            change.plot(
                np.sqrt(ends.prod()),
                score.value,
                look.marker,
                ms=5,
                color=look.colour,
                label=name if number == 0 else None,
            )
    first = next(iter(found.values()))
    for ring in first.rings:
        power.fill_between(
            [max(ring.low, start), ring.high], 0, 100 * ring.power, color="grey", alpha=0.5
        )
    change.axhline(0, color="grey", linestyle="--", linewidth=1)
    level = 100 * first.level
    named = {"auc": "AUC"}.get(metric, metric.replace("_", " "))
    change.set_ylabel(f"change of {named}\n(shades: {level:g} % intervals)", fontsize=9)
    ends = sorted({end for ring in every for end in (ring.low, ring.high)})
    power.set_xscale("log", base=2)
    power.set_xticks(
        [max(end, start) for end in ends], labels=[f"{end:.3g}" for end in ends], fontsize=8
    )
    power.minorticks_off()
    power.set(ylabel="% of variance", xlabel="spatial frequency of the scene, cycles/pixel")
    for axis in (change, power):
        open_axis(axis)
    if len(found) > 1:
        change.legend(fontsize=8)
    return figure


def save_figure(
    figure: Figure, path: Path | str, *, dpi: int = 110, colours: int | None = None
) -> None:
    """Write a PNG, whole or not at all.

    Parameters
    ----------
    figure : Figure
        What is written.
    path : path
        Of the file.
    dpi : int
        Pixels an inch.
    colours : int, optional
        At most 256: a palette of so many, a third of the bytes where a figure holds many pictures.
        Of 256, shades of pictures move by 1 to 3 units of CIEDE2000 in the mean, to be seen beside
        the original only. All colours are kept by default.
    """
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    # Nothing of it is transparent, and to say so of each pixel is an eighth of the bytes.
    picture = Image.open(drawn).convert("RGB")
    if colours is not None:
        # Cut at medians, then moved to the means; dither would be noise, and three times the bytes.
        picture = picture.quantize(
            colours, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        )
    picture.save(content, format="png", optimize=True)
    write_atomically(Path(path), content.getvalue())


def _halves(
    figure: Figure | SubFigure, where: Literal["beside", "below"], ratios: tuple[float, float]
) -> tuple[SubFigure, SubFigure]:
    grid = (
        figure.subfigures(1, 2, width_ratios=ratios)
        if where == "beside"
        else figure.subfigures(2, 1, height_ratios=ratios)
    )
    assert isinstance(grid, np.ndarray)
    return grid[0], grid[1]


def _one_of_each_class(dataset: LesionDataset, rows: int) -> Tensor:
    """First picture of each class that is there, those that are hard to tell apart first."""
    targets = dataset.targets
    present = sorted(
        set(targets.tolist()),
        key=lambda c: (dataset.classes[c] not in ("mel", "bcc", "nv", "bkl"), c),
    )
    return torch.stack([(targets == c).nonzero()[0, 0] for c in present[:rows]])
