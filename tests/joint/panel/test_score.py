import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest
from toys import report_of_four

import classify
from joint.panel.look import COLOURS
from joint.panel.score import draw_precision_recall, draw_reliability, draw_roc


def test_the_reliability_bars_are_the_bins_with_pictures():
    report = report_of_four()
    axis = Figure().subplots()
    draw_reliability(axis, report.reliability)
    bars = sorted((bar.get_x(), bar.get_width(), bar.get_height()) for bar in axis.patches)
    np.testing.assert_allclose(bars, [(0.5, 0.1, 0), (0.6, 0.1, 1), (0.8, 0.1, 1)], atol=1e-12)
    points = axis.lines[0]
    np.testing.assert_allclose(points.get_xdata(), [0.55, 0.65, 0.85])
    np.testing.assert_allclose(points.get_ydata(), [0, 1, 1])
    fullest = max(axis.patches, key=lambda bar: bar.get_facecolor()[3])
    assert fullest.get_x() == pytest.approx(0.8)  # two of the four pictures


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_lines_of_the_reliability_bars_are_wilsons_intervals(level):
    report = report_of_four()
    axis = Figure().subplots()
    draw_reliability(axis, report.reliability, level=level)
    (lines,) = axis.collections
    filled = report.reliability.count > 0
    at, count = report.reliability.confidence[filled], report.reliability.count[filled]
    right = np.rint(report.reliability.accuracy[filled] * count)
    for line, x, k, n in zip(lines.get_segments(), at, right, count, strict=True):
        low, high = binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
        np.testing.assert_allclose(line, [(x, low), (x, high)], atol=1e-12)


def _curves():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)  # none of the third
    scores = (rng.normal(size=(40, 3)) + np.eye(3)[labels]).round(1)
    return classify.operating_curves(scores, labels, classes=("_mel", "nv", "df"))


def test_the_areas_under_the_lines_are_those_of_the_curves():
    curves = _curves()
    roc, precise = Figure().subplots(1, 2)
    for label, line in zip(curves, draw_roc(roc, curves), strict=True):
        area = np.trapezoid(line.get_ydata(), line.get_xdata())
        assert area == pytest.approx(0 if label == "df" else curves[label].auc)
        assert line.get_drawstyle() == "default"
    for label, line in zip(curves, draw_precision_recall(precise, curves), strict=True):
        x, y = map(np.asarray, line.get_data())
        assert line.get_drawstyle() == "steps-pre"  # a step has the height of its end
        area = (np.diff(x) * y[1:]).sum()
        assert area == pytest.approx(0 if label == "df" else curves[label].average_precision)
    for axis in (roc, precise):
        axis.figure.canvas.draw()
        assert (axis.get_xlim(), axis.get_ylim()) == ((-0.02, 1.02), (-0.02, 1.02))


def test_chance_is_the_diagonal_and_the_prevalence():
    curves = _curves()
    roc, precise = Figure().subplots(1, 2)
    draw_roc(roc, curves)
    assert roc.lines[0].get_linestyle() == "--"
    assert roc.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    draw_precision_recall(precise, curves)
    dotted = [line for line in precise.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [
        curve.prevalence for curve in curves.values() if curve.pictures
    ]
    assert [line.get_color() for line in dotted] == list(COLOURS[:2])


def test_a_curve_that_is_not_there_keeps_its_colour():
    curves = {"none": None, **_curves()}
    for draw in (draw_roc, draw_precision_recall):
        axis = Figure().subplots()
        lines = draw(axis, curves)
        axis.figure.canvas.draw()
        assert [line.get_color() for line in lines] == list(COLOURS[:4])
        assert [len(line.get_xdata()) > 0 for line in lines] == [False, True, True, False]


def test_the_precision_of_no_call_is_not_drawn():
    logits = np.array([[3.0, 0], [2, 0], [1, 0]])
    curves = classify.operating_curves(logits, np.array([1, 0, 0]))
    line, _ = draw_precision_recall(Figure().subplots(), curves)
    assert line.get_xdata().tolist() == [0, 0.5, 1]
    assert line.get_ydata().tolist() == [0.5, 0.5, 2 / 3]
