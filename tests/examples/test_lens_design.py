import importlib.util
import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import optics

EXAMPLE = Path(__file__).parents[2] / "examples" / "lens_design.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("lens_design", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(example):
    return example.Options(
        limit=30, image_size=32, field=12.0, steps=6, epochs=1, joint_epochs=1, tuning_epochs=1,
        seeds=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def designed(example, small, tmp_path_factory):
    """Rows, folder and what was printed."""
    folder, told = tmp_path_factory.mktemp("lens_design"), io.StringIO()
    with redirect_stdout(told):
        rows = example.main(replace(small, output=folder))
    return rows, folder, told.getvalue()


def test_the_start_has_its_focal_length_f_number_and_paraxial_focus(example, small):
    lens = example.start(small)
    with torch.no_grad():
        surfaces = lens()
        numbers = optics.first_order(surfaces, wavelength=540e-9)
    assert float(numbers.focal_length) == pytest.approx(0.25e-3, rel=1e-3)
    assert float(numbers.f_number) == pytest.approx(2.2)
    assert float(surfaces[-1].thickness) == pytest.approx(float(numbers.image_distance))
    assert lens.penalty() == 0
    assert (lens.centre, lens.edge, lens.air) == (50e-6, 25e-6, 20e-6)
    # The corner of the picture is at the field.
    corner = 32 / 2 * 2**0.5 * example.pixel_pitch(small)
    assert corner == pytest.approx(0.25e-3 * np.tan(np.radians(12)))
    assert "aspheric" not in lens.trained
    assert "aspheric" in example.start(replace(small, aspheres=True)).trained


def test_spots_count_lateral_colour_and_are_those_of_the_library_for_one_colour(
    example, designed, monkeypatch
):
    camera = designed[0]["start"].trials[0].camera
    element = example.traced(camera)
    given = {"fields": element.fields, "rings": 4}
    each = optics.lens_spots(element.lens(), wavelengths=example.LIGHT, **given)
    assert each.lit.all()
    # Variance within the colours, and between them.
    middles = (each.weights[:, None] * each.points).sum(-2)
    between = middles.var(1, correction=0).sum(-1)
    whole = (each.radius.square().mean(1) + between).sqrt()
    assert torch.allclose(example.spot_radius(camera), whole)
    assert between[-1] > 1e-4 * whole[-1] ** 2
    monkeypatch.setattr(example, "LIGHT", example.LIGHT[1:2])
    assert torch.allclose(example.spot_radius(camera), each.radius[:, 1])


def test_the_design_lowers_the_spots_and_all_are_compared(example, designed):
    rows, folder, told = designed
    assert [*rows] == ["start", "small spots", "end to end", "spots, end to end", "no aberrations"]
    assert float(rows["small spots"].spots.mean()) < 0.7 * float(rows["start"].spots.mean())
    for name, origin in (("end to end", "start"), ("spots, end to end", "small spots")):
        assert not torch.equal(rows[name].spots, rows[origin].spots)
    ideal = rows["no aberrations"]
    assert not ideal.spots.any()
    for name, row in rows.items():
        assert row.report.support.sum() == len(row.logits)
        assert row.report.unit == "lesions"
        if name != "no aberrations":
            assert (row.contrast[:, 10] < ideal.contrast[:, 10]).all()
            assert row.trials[0].camera.penalty() < 0.1
    assert "small spots - start" in told
    assert all(told.count(f"seed 0, {name}: ") == 1 for name in rows)
    with Image.open(folder / "lens_design.png") as figure:
        assert figure.size[0] > 1000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": 0}, "--seeds 0 trains nothing: give 1 or more"),
        ({"data": "nowhere"}, "there is nothing at nowhere"),
        ({"device": "gpu"}, "device 'gpu' is unknown"),
        ({"field": 60.0}, "picture"),
        ({"f_number": 0.0}, "f_number"),
    ],
)
def test_what_cannot_be_had_is_refused_before_there_is_anything(
    example, small, tmp_path, changed, message
):
    output = tmp_path / "runs"
    with pytest.raises(ValueError, match=message):
        example.main(replace(small, output=output, **changed))
    assert not output.exists()
