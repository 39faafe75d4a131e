import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import classify
import compress
import joint
import optics
from joint.figure import draw_reliability, report_figure, save_figure, system_figure


class _Grey(torch.nn.Module):
    def forward(self, image):
        return image[:, :3].mean((-2, -1))


@pytest.mark.parametrize(
    ("front_end", "channels"),
    [
        (lambda: optics.LearnedKernel("log"), 3),
        (lambda: optics.LearnedKernel("sobel", mix_channels=True), 6),
        (lambda: optics.LearnedKernel("gaussian", signed=False), 3),
        (lambda: optics.FourierFilter(16, "spiral"), 3),
        (lambda: joint.build_front_end(joint.LensConfig(element="cubic"), (16, 16), 3), 3),
        (lambda: None, 3),
    ],
)
def test_every_front_end_can_be_drawn(front_end, channels, lesions, tmp_path):
    system = joint.ImagingSystem(
        front_end=front_end(),
        sensor=optics.Sensor(),
        codec=compress.FactorizedCodec(channels=channels),
        classifier=_Grey(),
    )
    figure = system_figure(system, lesions, joint.evaluate(system, lesions), title="a run")
    save_figure(figure, tmp_path / "figure.png")
    picture = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_only_the_figures_need_matplotlib(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, joint; sys.exit('matplotlib' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _report():
    probabilities = np.array(
        [[0.85, 0.15, 0.0], [0.55, 0.3, 0.15], [0.2, 0.65, 0.15], [0.15, 0.85, 0.0]]
    )
    labels = np.array([0, 1, 1, 1])
    return classify.report(
        probabilities, labels, classes=("mel", "nv", "df"), kind="probabilities", bins=10
    )


def test_a_report_is_drawn_with_its_counts_and_its_confidence(tmp_path):
    report = _report()
    figure = report_figure(report, title="phantom")
    confusion, reliability = figure.axes
    written = [int(text.get_text()) for text in confusion.texts]
    assert written == report.confusion.ravel().tolist() == [1, 0, 0, 1, 2, 0, 0, 0, 0]
    assert [tick.get_text() for tick in confusion.get_yticklabels()] == ["mel", "nv", "df"]
    assert confusion.get_title() == "accuracy 0.750, balanced 0.833"
    assert reliability.get_title() == f"calibration error {report.ece:.3f}"
    save_figure(figure, tmp_path / "report.png")
    assert np.asarray(Image.open(tmp_path / "report.png").convert("L")).std() > 20


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
