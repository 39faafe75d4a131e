import json

import numpy as np
import pytest
import torch
from seed_study import analyses
from seed_study.protocol import Scale, plan

from joint import ImagingSystem
from optics import LearnedKernel


@pytest.fixture(scope="module")
def rows():
    return plan(("honest",), Scale(backbone="resnet_s", limit=60)).rows["honest"]


def test_an_analysis_is_kept_by_the_stages_that_it_is_of(rows, tmp_path):
    one, again, other, named = (
        analyses._kept(tmp_path, name, [rows[stage]])
        for name, stage in (
            ("a", "joint_3x"),
            ("a", "joint_3x"),
            ("a", "joint_6x"),
            ("b", "joint_3x"),
        )
    )
    assert one == again
    assert len({one, other, named}) == 3
    analyses._keep(one, {"value": 1})
    assert json.loads(one.read_text()) == {"value": 1}
    assert [path.name for path in one.parent.iterdir()] == [one.name]


def test_a_filter_is_told_with_its_light():
    found = analyses._kernel(ImagingSystem(front_end=LearnedKernel("unsharp", 5)))
    response = torch.tensor(found["response"])
    assert response.shape == (3, 5, 5)
    assert found["exposures"] == 2
    assert found["sum"] == pytest.approx(response.sum((1, 2)).tolist())
    assert 0 < found["throughput"] <= 1


def test_pictures_stand_in_a_grid():
    columns = {"original": torch.rand(2, 3, 8, 8), "joint_6x": torch.rand(2, 3, 8, 8)}
    figure = analyses._grid(columns, ["akiec", "bcc"])
    (axis,) = figure.axes
    sheet = axis.get_images()[0].get_array()
    assert sheet.shape == (20, 20, 3)  # a pixel of white about each
    for column, batch in enumerate(columns.values()):
        for line, picture in enumerate(batch):
            top, left = 10 * line + 1, 10 * column + 1
            shown = sheet[top : top + 8, left : left + 8]
            assert np.allclose(shown, picture.movedim(0, -1).numpy())
    for found, names in (
        (axis.get_xticklabels(), ["original", "joint_6x"]),
        (axis.get_yticklabels(), ["akiec", "bcc"]),
    ):
        assert [label.get_text() for label in found] == names
    assert axis.get_xticks().tolist() == axis.get_yticks().tolist() == [5, 15]
