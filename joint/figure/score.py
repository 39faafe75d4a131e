"""Figures of a report: confusion matrix, reliability, and curves of each class."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np
from matplotlib.figure import Figure

from classify import Interval, OperatingCurve, Report
from joint.panel.look import ABREAST, COLOURS, blank_figure, no_formulas, panel_grid
from joint.panel.score import (
    SHADE,
    draw_confusion,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    label_recalls,
)

__all__ = ["operating_figure", "report_figure", "roc_figure"]

# Numbers of curves in one panel, and of panels, that can still be told apart.
_MOST_CURVES, _MOST_PANELS = len(COLOURS), 12


@no_formulas()
def report_figure(report: Report, *, title: str = "") -> Figure:
    """Draw a report: its confusion matrix and its reliability diagram.

    Next to the matrix is the recall of each class, if the report has its intervals.

    Parameters
    ----------
    report : classify.Report
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.
    """
    side = 2.2 + 0.45 * len(report.classes)
    intervals = report.class_intervals.get("recall")
    beside = 0.8 if intervals is None else 2.2
    other = max(4.6, 0.5 * side)  # not too small next to the matrix of many classes
    figure = blank_figure(side + other + beside, max(side, 4.4), title=title)
    left, right = figure.subplots(1, 2, width_ratios=(side + beside, other))
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
def operating_figure(
    curves: Mapping[str, OperatingCurve], *, report: Report | None = None, title: str = ""
) -> Figure:
    """Draw the ROC curve, and precision against recall, of each class against the rest.

    Of more than seven classes, those with the most pictures are drawn.

    Parameters
    ----------
    curves : mapping of str to classify.OperatingCurve
        From :func:`classify.operating_curves`.
    report : classify.Report, optional
        Report on the same scores, for intervals of the areas.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    ValueError
        Without a curve, or with a report on other scores.
    """
    if not curves:
        raise ValueError("give at least one curve, as classify.operating_curves returns them")
    drawn = _commonest(curves, _MOST_CURVES)
    if report is not None:
        _check_report(report, curves)
    head = "" if not report or not report.intervals else f"\n{100 * report.level:g} % intervals"
    if len(drawn) < len(curves):
        head += f"\nthe {len(drawn)} most frequent of {len(curves)} classes"
    panels = []
    for area, number, draw in (
        ("AUC", "auc", draw_roc),
        ("average precision", "average_precision", draw_precision_recall),
    ):
        labels = {}
        for name, curve in drawn.items():
            interval = None if report is None else report.interval(f"{number}.{name}")
            labels[_area(name, curve, getattr(curve, number), interval)] = curve
        panels.append((f"{area}{head}", draw, labels))
    beside = _beside(text for head, _, labels in panels for text in (*head.split("\n"), *labels))
    figure = blank_figure(2 * (3.45 + beside), 3.5, title=title)
    for axis, (head, draw, labels) in zip(figure.subplots(1, 2), panels, strict=True):
        axis.legend(
            draw(axis, labels), labels,
            title=head, title_fontsize=8, fontsize=8, loc="center left",
            bbox_to_anchor=(1.01, 0.5), frameon=False, alignment="left",
        )  # fmt: skip
    return figure


@no_formulas()
def roc_figure(systems: Mapping[str, Mapping[str, OperatingCurve]], *, title: str = "") -> Figure:
    """Draw the ROC curves of several systems in the same axes, a panel for each class.

    Of more than twelve classes, those with the most pictures in the first system that has them are
    drawn; of more than seven systems, the first ones.

    Parameters
    ----------
    systems : mapping of str to mapping of str to classify.OperatingCurve
        Results of :func:`classify.operating_curves`, by the name of each system.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    ValueError
        Without a system, or if no class of any system has both pictures and others.
    """
    drawn = dict(islice(systems.items(), _MOST_CURVES))
    there: dict[str, OperatingCurve] = {}
    for name, curve in (pair for curves in drawn.values() for pair in curves.items()):
        if not math.isnan(curve.auc):
            there.setdefault(name, curve)
    classes = _commonest(there, _MOST_PANELS)
    if not classes:
        raise ValueError(
            "there is no curve to draw: give classify.operating_curves of each system by its name, "
            "such as {'sharp': curves}, with pictures of two classes or more"
        )
    figure, axes = panel_grid(len(classes), 2.8, 2.8, beside=_beside(drawn), title=title)
    for number, (axis, name) in enumerate(zip(axes, classes, strict=True)):
        lines = draw_roc(axis, {system: curves.get(name) for system, curves in drawn.items()})
        axis.set_title(name, fontsize=9)
        if number % ABREAST:
            axis.set_ylabel("")
        if number == 0:
            figure.legend(lines, drawn, fontsize=8, loc="outside right center", frameon=False)
    return figure


def _beside(labels: Iterable[str]) -> float:
    """Width in inches of a legend with these labels."""
    return 0.75 + 0.06 * max(map(len, labels))


def _commonest(curves: Mapping[str, OperatingCurve], most: int) -> dict[str, OperatingCurve]:
    """The most frequent classes, at most so many, in their original order."""
    chosen = sorted(curves, key=lambda name: -curves[name].pictures)[:most]
    return {name: curve for name, curve in curves.items() if name in chosen}


def _check_report(report: Report, curves: Mapping[str, OperatingCurve]) -> None:
    areas = np.array([curve.auc for curve in curves.values()])
    same = report.classes == tuple(curves)
    if not (same and np.allclose(report.class_auc, areas, atol=1e-9, equal_nan=True)):
        raise ValueError(
            f"the report, of {', '.join(report.classes)}, and the curves, of {', '.join(curves)}, "
            "are not on the same scores: give both the same logits, labels and classes"
        )


def _area(name: str, curve: OperatingCurve, value: float, interval: Interval | None) -> str:
    """Label of a curve in the legend."""
    if math.isnan(value):
        return f"{name}: no {'others' if curve.pictures else 'pictures'}"
    known = interval is not None and not math.isnan(interval.low)
    return f"{name} {value:.2f}" + (f" {interval:.2f}" if known else "")
