import csv
import json

import numpy as np
import pytest
from commands import MISTAKE, OPTION, run
from PIL import Image

import classify
import joint
from joint.deploy.decision import place, save_rule


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
        (("--temperature", 2, "--rule", "a.json"), "--rule has its own temperature: leave"),
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


@pytest.mark.parametrize("refers", [True, False])
def test_it_predicts_by_a_rule(camera, clinic, tmp_path, capsys, refers):
    kept, table, pictures = tmp_path / "rule.json", tmp_path / "a.csv", [clinic / "fine"]
    plain = np.log([each.probabilities for each in joint.predict(camera, pictures)])
    rule = classify.DecisionRule(("fine", "pit"), 2.0, (0.0, 0.4))
    if refers:
        odds = np.diff(rule.scores(plain))[:, 0]
        pit = odds >= np.median(odds)
        referral = classify.choose_cutoff(
            rule.scores(plain), pit.astype(int), classes=rule.classes, positive="pit", sensitivity=1
        )
        rule = classify.DecisionRule(rule.classes, rule.temperature, rule.offset, referral)
    save_rule(kept, rule)
    asked = ["predict", camera, *pictures, "--quiet", "--rule", kept]
    status, out, err = run(capsys, *asked, "--csv", table)
    assert (status, err) == (0, "")
    said = joint.predict(camera, pictures, rule=rule)
    wanted = rule.probabilities(plain)
    np.testing.assert_allclose([each.probabilities for each in said], wanted, rtol=1e-4)
    referred = pit.tolist() if refers else [None] * len(said)
    assert [each.referred for each in said] == referred
    words = {True: "refer", False: "leave", None: None}
    for line, each in zip(out.splitlines(), said, strict=True):
        first, second = each.ranked()
        told = [words[each.referred]] if refers else []
        assert line.split() == [
            each.name, *told, first[0], f"{first[1]:.3f}", second[0], f"{second[1]:.3f}"
        ]  # fmt: skip
    _, out, _ = run(capsys, *asked, "--json")
    assert json.loads(out) == [each.to_dict() for each in said]
    assert [each.get("referred") for each in json.loads(out)] == referred
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    yes = {True: "yes", False: "no", None: None}
    assert [row.get("referred") for row in rows] == [yes[each] for each in referred]


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_a_rule_of_another_run_or_place_is_refused_or_told(camera, clinic, tmp_path, capsys):
    kept, file = tmp_path / "rule.json", clinic / "pit" / "pit0.png"
    asked = ["predict", camera, file, "--quiet", "--rule", kept]
    save_rule(kept, classify.DecisionRule(("pit", "fine")))
    status, _, err = run(capsys, *asked)
    assert status == MISTAKE
    assert "the rule has the classes pit, fine, in this order, but the scores have fine" in err
    kept.write_text("[]")
    status, _, err = run(capsys, *asked)
    assert status == MISTAKE
    assert "it must be an object, not list; lens2label evaluate --save-rule writes one" in err
    config = joint.load_config(camera)
    here = place(config, joint.OperatingPoint(photons=50.0), "identity")
    save_rule(kept, classify.DecisionRule(("fine", "pit"), fitted=here))
    status, _, err = run(capsys, *asked, "--photons", "50")
    assert (status, err) == (0, "")
    status, _, err = run(capsys, *asked, "--photons", "500")
    assert status == 0
    assert "chosen under other conditions (photons 50.0, not 500.0): its" in err
