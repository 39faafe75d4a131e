import json
import shutil

import pytest
import torch
from pages import RESAMPLES, Grey, Page

import classify
import joint
import optics
from joint.report import report_html
from joint.report.scenes import Scenes, coded_pixels
from joint.report.sections import SECTIONS


def test_scenes_that_are_gone_leave_what_the_folder_says(whole, tmp_path, undrawn):
    folder = tmp_path / "copied"
    shutil.copytree(whole, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {"kind": "ham10000", "root": str(tmp_path / "person" / "gone.zip")}
    (folder / "config.json").write_text(json.dumps(config))
    text = report_html([folder], resamples=RESAMPLES)
    assert text.count("The scenes are not available: ") == len(SECTIONS) - 4
    assert "balanced accuracy" in Page(text).rows()
    # Folders may name persons: the configuration names the file alone.
    read = Page(text)
    assert '"root": "gone.zip"' in "".join(read.text)


class _Twice(torch.nn.Module):
    """A restoration that says nothing of the size of what it makes."""

    def forward(self, picture):
        return picture.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize(
    ("stages", "pixels"),
    [
        ({}, 24 * 24),
        ({"sensor": optics.Sensor(cfa="rggb", demosaicing="packed")}, 12 * 12),
        ({"sensor": optics.Sensor(binning=3)}, 8 * 8),
        ({"restoration": _Twice()}, 48 * 48),
    ],
)
def test_the_pixels_of_the_codec_are_counted(stages, pixels):
    scenes = classify.LesionPhantom(2, 24, seed=1)
    system = joint.ImagingSystem(**stages, classifier=Grey())
    assert coded_pixels(Scenes(system, scenes, scenes)) == pixels
