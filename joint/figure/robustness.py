"""Accuracy against the level of each imperfection."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from joint.analysis import Robustness
from joint.analysis.scores import Scores
from joint.panel.look import (
    ABREAST,
    by_name,
    looks,
    no_formulas,
    open_axis,
    panel_grid,
    plain_log_axis,
)

__all__ = ["robustness_figure"]


@no_formulas()
def robustness_figure(
    found: Mapping[str, Robustness] | Robustness,
    *,
    metric: str = "balanced_accuracy",
    title: str = "",
) -> Figure:
    """Draw accuracy against the level of each imperfection, a line for each system.

    Each imperfection has a panel. The interval is shaded, and a dotted line marks the level of the
    system as it is. The axis of photons is logarithmic.

    Parameters
    ----------
    found : mapping of str to joint.analysis.Robustness, or one
        Results by the name of the system. A system has a line only in the panels of imperfections
        that were swept for it.
    metric : {"balanced_accuracy", "accuracy"}
        Metric to draw.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    TypeError
        For something that is not such a result.
    ValueError
        Without a curve, or for another metric.
    """
    found = by_name(found, Robustness, "curve")
    if metric not in Scores._fields:
        raise ValueError(f"metric must be one of {', '.join(Scores._fields)}, not {metric!r}")
    panels = list(
        dict.fromkeys((c.perturbation, c.unit) for each in found.values() for c in each.curves)
    )
    if not panels:
        raise ValueError(
            "there is no curve to draw: give a result of joint.analysis.robustness that has one"
        )
    figure, axes = panel_grid(len(panels), 3.5, 2.9, beside=1.4, sharey=True, title=title)
    drawn = {}
    for axis, panel in zip(axes, panels, strict=True):
        for (name, each), look in zip(found.items(), looks(len(found)), strict=True):
            for curve in each.curves:
                if (curve.perturbation, curve.unit) != panel:
                    continue
                points = sorted(curve.points, key=lambda point: point.level)
                levels = [point.level for point in points]
                scores = [getattr(point.scores, metric) for point in points]
                low, high = np.array([score.interval for score in scores]).T
                axis.fill_between(levels, low, high, color=look.colour, alpha=0.15, linewidth=0)
                (drawn[name],) = axis.plot(
                    levels,
                    [score.value for score in scores],
                    f"{look.marker}-",
                    ms=4,
                    linewidth=1.2,
                    color=look.colour,
                )
                axis.axvline(curve.nominal, color=look.colour, linestyle=":", linewidth=1)
        perturbation, unit = panel
        if perturbation == "photons":
            plain_log_axis(axis, "x")
        axis.set_title(perturbation.replace("_", " "), fontsize=9)
        axis.set_xlabel(unit)
        open_axis(axis)
    for axis in axes[::ABREAST]:
        axis.set_ylabel(metric.replace("_", " "))
    figure.legend(
        [*drawn.values()], [*drawn], loc="outside right center", fontsize=8,
        title="shaded: interval\ndotted: as it is", title_fontsize=8,
    )  # fmt: skip
    return figure
