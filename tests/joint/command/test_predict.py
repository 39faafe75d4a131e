import csv
import json

import numpy as np
import pytest
from commands import OPTION, run
from PIL import Image

import joint


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Class folders of pictures of two sizes, neither of them square."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("clinic")
    for name, mean in (("fine", 90), ("pit", 160)):
        (folder / name).mkdir()
        for number in range(12):
            size = (30, 44, 3) if number % 2 else (50, 36, 3)
            codes = random.normal(mean, 25, size).clip(0, 255).astype(np.uint8)
            Image.fromarray(codes).save(folder / name / f"{name}{number}.png")
    return folder


@pytest.fixture(scope="module")
def camera(tmp_path_factory, clinic):
    """A run with a shutter, a noisy sensor and JPEG."""
    from joint.cli import main

    folder = tmp_path_factory.mktemp("predict") / "run"
    asked = ["--data", str(clinic), "--data.image-size", "24", "--training.epochs", "1", "--quiet"]
    stages = ["--front-end", "shutter", "--codec", "jpeg", "--system.sensor.photons", "60"]
    assert main(["train", "--output", str(folder), *asked, *stages]) == 0
    return folder


def test_it_predicts_at_a_point(camera, clinic, capsys):
    point = {"photons": 50.0, "quality": 10.0, "motion": 2.0, "temperature": 3.0}
    options = [word for name, value in point.items() for word in (f"--{name}", value)]
    status, out, _ = run(capsys, "predict", camera, clinic, "--quiet", "--json", *options)
    assert status == 0
    assert json.loads(out) == [each.to_dict() for each in joint.predict(camera, clinic, **point)]
    assert json.loads(out) != [each.to_dict() for each in joint.predict(camera, clinic)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--photons", 0), "--photons must be positive and finite, not 0"),
        (("--quality", -1), "--quality must be at least 0 and finite, not -1"),
        (("--distance", 0), "--distance must be positive, not 0"),
        (("--motion", "inf"), "--motion must be at least 0 and finite, not inf"),
        (("--temperature", 0), "--temperature must be positive and finite, not 0"),
    ],
)
def test_a_point_that_no_system_has_is_refused(camera, clinic, capsys, options, message):
    status, _, err = run(capsys, "predict", camera, clinic, *options)
    assert status == OPTION
    assert message in err


def test_it_prints_and_keeps_what_is_said(camera, clinic, tmp_path, capsys):
    pictures, table = [clinic / "fine", clinic / "pit" / "pit0.png"], tmp_path / "a.csv"
    status, out, _ = run(capsys, "predict", camera, *pictures, "--quiet", "--csv", table)
    assert status == 0
    said = joint.predict(camera, pictures)
    assert len(out.splitlines()) == len(said) == 13
    for line, each in zip(out.splitlines(), said, strict=True):
        first, second = each.ranked()
        wanted = [each.name, first[0], f"{first[1]:.3f}", second[0], f"{second[1]:.3f}"]
        assert line.split() == wanted
    _, out, _ = run(capsys, "predict", camera, *pictures, "--quiet", "--json")
    assert json.loads(out) == [each.to_dict() for each in said]
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["label"] for row in rows] == [each.label for each in said]
    assert [float(row["probability.pit"]) for row in rows] == [e.probabilities[1] for e in said]
