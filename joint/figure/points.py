"""One or more trained systems at several points: a number against light, quality or distance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from classify.metric_names import is_metric
from joint.judge.evaluation import Evaluation
from joint.judge.point import OperatingPoint
from joint.panel.look import blank_figure, looks, no_formulas, open_axis, plain_log_axis

__all__ = ["Along", "points_figure"]

Along: TypeAlias = Literal["photons", "quality", "distance", "motion", "bpp"]

_AXES: dict[Along, str] = {
    "photons": "light, photons/pixel",
    "quality": "quality of the codec",
    "distance": "distance, m",
    "motion": "motion, pixels RMS",
    "bpp": "rate, bits/pixel",
}
# Number of requested values up to which each is a tick, and the share of the axis for one label.
_FEW, _APART = 8, 0.09
_UNITS = {"psnr": "PSNR, dB", "psnr_scene": "PSNR against the scene, dB", "bpp": "rate, bits/pixel"}


class _Point(NamedTuple):
    """A number and where it was measured."""

    x: float
    y: float
    low: float
    """Lower end of the interval; y without an interval."""
    high: float


@no_formulas()
def points_figure(
    found: Mapping[str, Sequence[Evaluation]],
    *,
    metric: str = "balanced_accuracy",
    along: Along | None = None,
    title: str = "",
) -> Figure:
    """Draw a number of evaluations, with its interval, against their operating points.

    There is a line for each system, and for each value of the other numbers in which its points
    differ: light at three qualities gives three lines. Axes of light and distance are logarithmic.
    Up to 8 requested values are labelled on the axis themselves.

    Parameters
    ----------
    found : mapping of str to sequence of Evaluation
        Results of :func:`joint.evaluate` at several points, by the name of the system.
    metric : str
        One of :data:`classify.metric_names.METRICS`, also of one class, such as ``recall.mel``, or
        one of :meth:`joint.Evaluation.scalars`.
    along : {"photons", "quality", "distance", "motion", "bpp"}, optional
        Quantity on the axis; by default the first of the four that differs. ``bpp`` is the measured
        rate, as for a codec at several qualities: from the files if they were counted at all points
        of a line, otherwise as the codec estimates it.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`. Points without the number, or without a place on the
        axis, are left out.

    Raises
    ------
    TypeError
        For evaluations without the names of their systems.
    ValueError
        If no two points differ and ``along`` is not given, if no point has the number, or for an
        unknown axis.
    """
    if not isinstance(found, Mapping):
        raise TypeError(
            f"found must be evaluations by the name of their system, {{'sharp': [...]}}, not "
            f"{type(found).__name__}"
        )
    every = [each for evaluations in found.values() for each in evaluations]
    axis_name = _varying(every) if along is None else along
    if axis_name not in _AXES:
        raise ValueError(f"along must be one of {', '.join(_AXES)}, not {axis_name!r}")
    lines = [line for item in found.items() for line in _lines(*item, axis_name, metric)]
    if not lines:
        raise ValueError(f"none of {len(every)} evaluations has both {axis_name} and {metric}")
    figure = blank_figure(5.4, 3.6, title=title)
    axis = figure.subplots()
    for (name, points), look in zip(lines, looks(len(lines)), strict=True):
        x, y, low, high = (list(column) for column in zip(*points, strict=True))
        axis.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axis.plot(x, y, f"{look.marker}-", ms=4, linewidth=1.2, color=look.colour, label=name)
    drawn = [point.x for _, points in lines for point in points]
    if axis_name in ("photons", "distance") and min(drawn) > 0:
        plain_log_axis(axis, "x")
    if axis_name != "bpp":  # the rate is measured, not requested
        _label_asked(axis, sorted(set(drawn)))
    axis.set_xlabel(_AXES[axis_name])
    axis.set_ylabel(_UNITS.get(metric, metric.replace("_", " ")))
    open_axis(axis)
    shaded = any(point.low < point.high for _, points in lines for point in points)
    if len(lines) > 1 or shaded:
        axis.legend(fontsize=8, title="shaded: interval" if shaded else None, title_fontsize=8)
    return figure


def _label_asked(axis: Axes, asked: Sequence[float]) -> None:
    """Put a tick at each requested value, given in order, if they are few."""
    if len(asked) > _FEW:
        return
    places = np.log(asked) if axis.get_xscale() == "log" else np.asarray(asked)
    labels, least = [], -math.inf
    for x, place in zip(asked, places, strict=True):
        labels.append(f"{x:g}" if place >= least else "")
        if place >= least:
            least = place + _APART * (places[-1] - places[0])
    axis.set_xticks(asked, labels)
    axis.xaxis.set_minor_locator(NullLocator())


def _varying(every: Sequence[Evaluation]) -> Along:
    """The first number in which the points of the evaluations differ."""
    names: tuple[Along, ...] = ("photons", "quality", "distance", "motion")
    for name in names:
        if len({getattr(each.point, name) for each in every}) > 1:
            return name
    raise ValueError(
        f"{len(every)} evaluations are at one point: evaluate at others too, for example with "
        "photons=, or name the axis, along='bpp'"
    )


def _lines(
    name: str, evaluations: Sequence[Evaluation], along: Along, metric: str
) -> Iterator[tuple[str, list[_Point]]]:
    """The lines of a system, each with the numbers that distinguish it from the others."""
    within = "quality" if along == "bpp" else along  # the number in which points of a line differ
    groups: dict[OperatingPoint, list[Evaluation]] = {}
    for each in evaluations:
        groups.setdefault(each.point._replace(**{within: None}), []).append(each)
    for rest, members in groups.items():
        placed = zip(members, _places(members, along), strict=True)
        points = sorted(filter(None, (_point(each, x, metric) for each, x in placed)))
        if points:
            yield (f"{name}, {rest}" if len(groups) > 1 else name), points


def _places(line: Sequence[Evaluation], along: Along) -> list[float | None]:
    """Positions of the points of a line on the axis."""
    if along != "bpp":
        return [getattr(each.point, along) for each in line]
    files = [each.bpp_bytes for each in line]
    # Estimated and counted rates of a codec differ, so a line must not mix them.
    return [each.bpp for each in line] if None in files else files


def _point(found: Evaluation, x: float | None, metric: str) -> _Point | None:
    """A number and its position; None if either is missing."""
    y, interval = found.scalars().get(metric), None
    if is_metric(metric) and found.report is not None:
        y, interval = found.report.number(metric), found.report.interval(metric)
    # A distance may be infinite, which has no place on the axis.
    if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
        return None
    low, high = interval or (y, y)
    return _Point(x, y, low, high)
