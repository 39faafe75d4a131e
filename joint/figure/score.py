"""A report: what was taken for what, and how far its confidence can be trusted."""

from matplotlib.figure import Figure

from classify import Report
from joint.panel.look import blank_figure, no_formulas
from joint.panel.score import SHADE, draw_confusion, draw_reliability, label_recalls

__all__ = ["report_figure"]


@no_formulas()
def report_figure(report: Report, *, title: str = "") -> Figure:
    """Draw a report: what was taken for what, and how far its confidence can be trusted.

    Beside the matrix stands the recall of each class, where the report has its intervals.

    Parameters
    ----------
    report : classify.Report
    title : str
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`.
    """
    side = 2.2 + 0.45 * len(report.classes)
    intervals = report.class_intervals.get("recall")
    beside = 0.8 if intervals is None else 2.2
    other = max(4.6, 0.5 * side)  # not lost beside the matrix of many classes
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
