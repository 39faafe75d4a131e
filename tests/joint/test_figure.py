import numpy as np
import pytest
import torch
from PIL import Image

import compress
import joint
import optics
from joint.figure import save_figure, system_figure


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
