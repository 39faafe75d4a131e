import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import joint
import joint.judge
from joint.cli import main
from joint.options import read_evaluate_options

_MISTAKE = 1
_SMALL = ["--data.count", "60", "--data.image-size", "32", "--training.epochs", "1", "--quiet"]


def _evaluate(capsys, *arguments):
    status = main(["evaluate", *map(str, arguments), "--resamples", "0"])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose codec has three qualities."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    options = ["--system.codec.levels", "3", *_SMALL]
    assert main(["train", "--output", str(folder), *options]) == 0
    return folder


def test_other_light_and_quality_are_those_of_evaluate(trained, capsys):
    asked = ["--photons", "50", "5000", "--quality", "0", "2", "--no-count-bytes"]
    status, out, err = _evaluate(capsys, trained, *asked, "--json")
    assert status == 0, err
    printed = json.loads(out)
    config, system, parts = joint.load_run(trained)
    wanted = [
        joint.evaluate(
            system, parts.test, objective=config.objective, photons=photons, quality=quality
        ).to_dict()
        for photons in (50.0, 5000.0)
        for quality in (0.0, 2.0)
    ]
    assert printed == wanted
    points = [(one["photons"], one["quality"]) for one in printed]
    assert points == [(50, 0), (50, 2), (5000, 0), (5000, 2)]
    assert printed[0]["bpp"] < printed[1]["bpp"]  # more quality, more bits
    status, out, err = _evaluate(capsys, trained, *asked)
    assert status == 0, err
    heads = [line for line in out.splitlines() if line.startswith("at ")]
    assert heads[1] == "at 50 photons/pixel, quality 2:"
    assert len(heads) == out.count("\nbalanced accuracy") == 4


def test_scenes_may_be_at_other_distances_of_a_lens(tmp_path, capsys, trained):
    folder = tmp_path / "lens"
    lens = ["--front-end", "lens", "--system.front-end.working-distances", "0.3", "0.6"]
    options = ["--codec", "none", "--system.front-end.focus", "0.5", *lens, *_SMALL]
    assert main(["train", "--output", str(folder), *options]) == 0
    capsys.readouterr()
    status, out, err = _evaluate(capsys, folder, "--distance", "0.5", "0.25", "--json")
    assert status == 0, err
    sharp, near = json.loads(out)
    assert (sharp["distance"], near["distance"]) == (0.5, 0.25)
    assert sharp["psnr_scene"] > near["psnr_scene"] + 3
    _, system, parts = joint.load_run(folder)
    with system.front_end.at(0.25):
        expected = joint.evaluate(system, parts.test)
    assert near["psnr_scene"] == expected.psnr_scene
    status, out, err = _evaluate(capsys, folder, "--distance", "0.25")
    assert out.startswith("at 0.25 m:")
    status, out, err = _evaluate(capsys, trained, "--distance", "0.25")
    assert status == _MISTAKE
    assert "distance=0.25 needs a lens" in err


def test_one_point_is_an_object_that_says_where(trained, capsys):
    status, out, err = _evaluate(capsys, trained, "--photons", "50", "--json")
    assert status == 0, err
    printed = json.loads(out)
    assert printed["photons"] == 50
    assert "quality" not in printed
    _, out, _ = _evaluate(capsys, trained, "--json")
    assert not {"photons", "quality"} & json.loads(out).keys()
    assert "at " not in _evaluate(capsys, trained)[1].split("bpp")[0]


def test_scores_are_adjusted_at_the_same_light(trained, capsys):
    asked = ["--photons", "50", "--adjust", "balanced_accuracy", "--json", "--no-count-bytes"]
    status, out, err = _evaluate(capsys, trained, *asked)
    assert status == 0, err
    printed = json.loads(out)
    options = read_evaluate_options([str(trained), *asked, "--resamples", "0"])
    (judged,) = joint.judge.judge_run(options, lambda size: options)
    _, system, parts = joint.load_run(trained)
    validation = joint.evaluate(system, parts.validation, photons=50)
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    guesses = (validation.logits - printed["choice"]["tau"] * prior).argmax(1)
    hits = [np.mean(guesses[validation.labels == k] == k) for k in np.unique(validation.labels)]
    assert max(printed["choice"]["values"]) == pytest.approx(np.mean(hits))
    assert json.loads(json.dumps(judged.to_dict())) == printed


def test_the_scores_are_shifted_as_when_the_shift_was_chosen(trained, monkeypatch):
    # Post-hoc logit adjustment (Menon et al., ICLR 2021): what is rare is raised.
    choose = joint.judge.choose_tau
    monkeypatch.setattr(
        "joint.judge.choose_tau", lambda *args, **how: replace(choose(*args, **how), tau=0.75)
    )
    asked = [str(trained), "--adjust", "balanced_accuracy", "--no-count-bytes", "--resamples", "0"]
    options = read_evaluate_options(asked)
    (judged,) = joint.judge.judge_run(options, lambda size: options)
    _, system, parts = joint.load_run(trained)
    counts = parts.train.counts.numpy()
    shifted = joint.evaluate(system, parts.test).logits - 0.75 * np.log(counts / counts.sum())
    np.testing.assert_allclose(judged.adjusted.logits, shifted, rtol=1e-5, atol=1e-5)


def test_the_weight_of_an_adjustment_is_not_chosen_on_what_it_is_judged_by(trained, capsys):
    asked = ["--adjust", "balanced_accuracy", "--part", "validation"]
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (_MISTAKE, "")
    assert "--adjust is chosen on the validation part: judge it on another one" in err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--photons", "50", "0"], "photons=0.0 is out of range; give a positive number"),
        (["--quality", "1", "7"], "quality must be 0 to 2 (levels - 1) or None, got 7.0"),
    ],
)
def test_a_point_that_is_not_there_is_refused_before_the_first_pass(
    trained, capsys, monkeypatch, asked, message
):
    monkeypatch.setattr("joint.judge.evaluate", None)
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (_MISTAKE, "")
    assert message in err


def test_other_scenes_have_their_options(trained, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    names = joint.load_run(trained)[2].train.classes
    rows = ["photo;dx;patient_id"]
    for number in range(14):
        codes = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(codes).save(tmp_path / "pictures" / f"{number}.png")
        rows.append(f"{number};{names[number % 7]};P{number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    where = ["--data", tmp_path / "labels.csv", "--data.root", tmp_path / "pictures"]
    more = ["--data.image", "photo", "--data.label", "dx", "--json", "--no-count-bytes"]
    status, out, err = _evaluate(capsys, trained, *where, *more)
    assert status == 0, err  # they have the 32 pixels of the run
    printed = json.loads(out)
    assert printed["count"] == 14
    config, system, _ = joint.load_run(trained)
    data = joint.ImageTableConfig(
        table=tmp_path / "labels.csv",
        root=tmp_path / "pictures",
        image="photo",
        label="dx",
        image_size=32,
    )
    wanted = joint.evaluate(system, joint.build_data(data), objective=config.objective)
    assert printed == wanted.to_dict()
    status, _, err = _evaluate(capsys, trained, *where, *more[:2])
    assert status == _MISTAKE
    assert "lacks the columns label; it has photo, dx, patient_id" in err
    with pytest.raises(SystemExit):
        _evaluate(capsys, trained, "--data.label", "dx")  # of no scenes
    assert "Unrecognized options: --data.label" in capsys.readouterr().err
