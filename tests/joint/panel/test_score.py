import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest

import classify
from joint.panel.score import draw_reliability


def _report():
    probabilities = np.array(
        [[0.85, 0.15, 0.0], [0.55, 0.3, 0.15], [0.2, 0.65, 0.15], [0.15, 0.85, 0.0]]
    )
    labels = np.array([0, 1, 1, 1])
    return classify.report(
        probabilities, labels, classes=("mel", "nv", "df"), kind="probabilities", bins=10
    )


def test_the_reliability_bars_are_the_bins_with_pictures():
    report = _report()
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
    report = _report()
    axis = Figure().subplots()
    draw_reliability(axis, report.reliability, level=level)
    (lines,) = axis.collections
    filled = report.reliability.count > 0
    at, count = report.reliability.confidence[filled], report.reliability.count[filled]
    right = np.rint(report.reliability.accuracy[filled] * count)
    for line, x, k, n in zip(lines.get_segments(), at, right, count, strict=True):
        low, high = binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
        np.testing.assert_allclose(line, [(x, low), (x, high)], atol=1e-12)
