"""One trained system, or several, judged elsewhere: a number against light, quality, distance."""

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
# Values asked for, of which each is a tick, and the part of the axis that the label of one takes.
_FEW, _APART = 8, 0.09
_UNITS = {"psnr": "PSNR, dB", "psnr_scene": "PSNR against the scene, dB", "bpp": "rate, bits/pixel"}


class _Point(NamedTuple):
    """A number where it was measured."""

    x: float
    y: float
    low: float
    """Lower end of its interval; y without one."""
    high: float


@no_formulas()
def points_figure(
    found: Mapping[str, Sequence[Evaluation]],
    *,
    metric: str = "balanced_accuracy",
    along: Along | None = None,
    title: str = "",
) -> Figure:
    """Draw a number of evaluations against where they were made, with its interval.

    A line for each system, and for each of the other numbers that its points differ in: over light
    at three qualities there are three. Light has a logarithmic axis, and so have distances. Up to 8
    values that were asked for are themselves on the axis.

    Parameters
    ----------
    found : mapping of str to sequence of Evaluation
        By the name of the system: what :func:`joint.evaluate` returned at several points.
    metric : str
        One of :data:`classify.metric_names.METRICS`, that of a class such as ``recall.mel``, or one
        of :meth:`joint.Evaluation.scalars`.
    along : {"photons", "quality", "distance", "motion", "bpp"}, optional
        What the axis is of; by default the first of the four that differs. ``bpp`` is the rate that
        was measured, as for a codec at several qualities: of the files, where those of all points
        of a line were counted, and else what the codec estimates.
    title : str
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`. Points that lack the number, or the place on the axis, are left
        out.

    Raises
    ------
    TypeError
        For evaluations without the names of their systems.
    ValueError
        Where no two points differ and ``along`` is not given, none has the number, or for an axis
        that there is not.
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
    if axis_name != "bpp":  # which is measured
        _label_asked(axis, sorted(set(drawn)))
    axis.set_xlabel(_AXES[axis_name])
    axis.set_ylabel(_UNITS.get(metric, metric.replace("_", " ")))
    open_axis(axis)
    shaded = any(point.low < point.high for _, points in lines for point in points)
    if len(lines) > 1 or shaded:
        axis.legend(fontsize=8, title="shaded: interval" if shaded else None, title_fontsize=8)
    return figure


def _label_asked(axis: Axes, asked: Sequence[float]) -> None:
    """Give the values that were asked for, in order, their own ticks, where they are few."""
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
    """The first number of their points that evaluations differ in."""
    names: tuple[Along, ...] = ("photons", "quality", "distance", "motion")
    for name in names:
        if len({getattr(each.point, name) for each in every}) > 1:
            return name
    raise ValueError(
        f"{len(every)} evaluations are of one point: evaluate at others too, as with photons=, or "
        "say what the axis is of, along='bpp'"
    )


def _lines(
    name: str, evaluations: Sequence[Evaluation], along: Along, metric: str
) -> Iterator[tuple[str, list[_Point]]]:
    """The lines of a system, each with what tells it from its others."""
    within = "quality" if along == "bpp" else along  # what the points of one line differ in
    groups: dict[OperatingPoint, list[Evaluation]] = {}
    for each in evaluations:
        groups.setdefault(each.point._replace(**{within: None}), []).append(each)
    for rest, members in groups.items():
        placed = zip(members, _places(members, along), strict=True)
        points = sorted(filter(None, (_point(each, x, metric) for each, x in placed)))
        if points:
            yield (f"{name}, {rest}" if len(groups) > 1 else name), points


def _places(line: Sequence[Evaluation], along: Along) -> list[float | None]:
    """Where the points of a line are on the axis."""
    if along != "bpp":
        return [getattr(each.point, along) for each in line]
    files = [each.bpp_bytes for each in line]
    # Estimates and files of one codec differ, as points of one line must not.
    return [each.bpp for each in line] if None in files else files


def _point(found: Evaluation, x: float | None, metric: str) -> _Point | None:
    """A number and where it is; None where there is none of either."""
    y, interval = found.scalars().get(metric), None
    if is_metric(metric) and found.report is not None:
        y, interval = found.report.number(metric), found.report.interval(metric)
    # A distance may be infinite, which is on no axis.
    if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
        return None
    low, high = interval or (y, y)
    return _Point(x, y, low, high)
