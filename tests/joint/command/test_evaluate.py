import csv
import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import MISTAKE, OPTION, TINY, run
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

import classify
import joint
from joint.cli import main
from joint.command.evaluate import judge_run, read_evaluate_options
from joint.judge.point import OperatingPoint

_SMALL = [*TINY, "--quiet"]


def _evaluate(capsys, *arguments):
    return run(capsys, "evaluate", *arguments, "--resamples", 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose codec has three qualities."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    options = ["--system.codec.levels", "3", *_SMALL]
    assert main(["train", "--output", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def skilled(tmp_path_factory):
    """A run that tells rare classes apart, so that a large tau costs accuracy."""
    folder = tmp_path_factory.mktemp("skilled") / "run"
    blind = ["--front-end", "none", "--sensor", "none", "--codec", "none"]
    scenes = ["--data.count", "400", "--data.image-size", "16", "--data.balance", "1"]
    steps = ["--training.epochs", "8", "--training.batch-size", "16"]
    rate = ["--training.learning-rate", "3e-3"]
    assert main(["train", "--output", str(folder), "--quiet", *blind, *scenes, *steps, *rate]) == 0
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


def test_several_points_are_a_table_for_people_and_for_programs(trained, capsys, tmp_path):
    asked = ["evaluate", trained, "--photons", "50", "5000", "--resamples", "30"]
    asked += ["--adjust", "balanced_accuracy", "--taus", "0.5", "--csv", tmp_path / "new" / "a.csv"]
    assert main([*map(str, asked)]) == 0
    out, told, rest = capsys.readouterr().out.partition(f"wrote {tmp_path / 'new' / 'a.csv'}\n")
    assert (bool(told), rest) == (True, "")
    config, system, parts = joint.load_run(trained)
    with (tmp_path / "new" / "a.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    heads, *lines = [line for line in out.split("\n\n")[-1].splitlines() if line]
    assert heads.split()[:4] == ["photons", "accuracy", "balanced", "accuracy"]
    for photons, row, line in zip((50, 5000), rows, lines, strict=True):
        wanted = joint.evaluate(
            system, parts.test, objective=config.objective, photons=photons,
            count_bytes=True, resamples=30,
        )  # fmt: skip
        assert float(row["photons"]) == photons
        for name, value in wanted.scalars().items():
            assert (name in row) == (value is not None)
            if value is not None:
                assert float(row[name]) == pytest.approx(value, rel=1e-9)
        for name, interval in wanted.report.intervals.items():  # nll, mcc, ... too
            assert float(row[name]) == pytest.approx(getattr(wanted.report, name), rel=1e-9)
            assert (float(row[f"{name}_low"]), float(row[f"{name}_high"])) == interval
        assert float(row["ece"]) == wanted.report.ece
        adjusted = wanted.adjusted(-0.5 * classify.log_prior(parts.train.counts), resamples=30)
        assert row["tau"] == "0.5"
        assert float(row["adjusted_macro_f1"]) == adjusted.report.macro_f1
        assert float(row["adjusted_nll"]) == adjusted.report.nll
        assert f" {adjusted.report.balanced_accuracy:.4g} [" in line  # beside the plain one
        assert float(row["adjusted_accuracy_low"]) == adjusted.report.intervals["accuracy"].low
        low, high = wanted.report.intervals["balanced_accuracy"]
        balanced = wanted.report.balanced_accuracy
        assert line.split()[:5] == [
            f"{photons}", f"{wanted.report.accuracy:.4g}", f"{balanced:.4g}",
            f"[{low:.3f},", f"{high:.3f}]",
        ]  # fmt: skip


def test_one_point_is_no_table_and_its_row_may_be_kept(trained, capsys, tmp_path, monkeypatch):
    status, out, err = _evaluate(capsys, trained, "--csv", tmp_path / "a.csv", "--json")
    assert status == 0, err
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert float(row["accuracy"]) == json.loads(out)["accuracy"]
    assert "photons" not in row
    assert not any(name.endswith("_low") for name in row)
    status, out, err = _evaluate(capsys, trained, "--csv", tmp_path)
    assert (status, out) == (OPTION, "")
    assert f"--csv: {tmp_path} is a folder, name a file in it" in err
    monkeypatch.setattr("joint.command.evaluate.load_run", None)  # before anything is loaded
    status, out, err = _evaluate(capsys, trained, "--csv", tmp_path / "a.csv" / "b.csv")
    assert (status, out) == (MISTAKE, "")
    assert "b.csv: Not a directory. Choose another folder" in err


def test_several_points_are_drawn(trained, capsys, tmp_path):
    figure = tmp_path / "new" / "light.svg"
    asked = ["evaluate", trained, "--photons", "50", "5000", "--resamples", "30", "--json"]
    asked += ["--adjust", "balanced_accuracy", "--taus", "0.5"]
    asked += ["--figure", figure, "--figure-metric"]
    assert main([*map(str, asked), "macro_f1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    drawn = figure.read_text()
    for words in ("macro f1", "light, photons/pixel", f"{trained.name}, adjusted"):
        assert f"<!-- {words} -->" in drawn
    assert main([*map(str, asked), "recall.polyp"]) == MISTAKE
    assert "metric 'recall.polyp' names none of the" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--figure", "a.png"], "--figure needs several points to draw against: give"),
        (["--photons", "50", "50", "--figure", "a.png"], "give several"),
        (["--photons", "50", "500", "--figure", "a.eps"], "writes a .png, .pdf or .svg, not a.eps"),
        (["--photons", "50", "500", "--figure", "."], "--figure: . is a folder"),
        (["--figure-metric", "auc"], "--figure-metric needs --figure"),
        (
            ["--photons", "50", "500", "--figure", "a.png", "--figure-metric", "f1"],
            "--figure-metric: metric 'f1' is unknown",
        ),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_at_once(trained, capsys, asked, message):
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (OPTION, "")
    assert message in err


def test_scenes_may_be_at_other_distances_of_a_lens(tmp_path, capsys, trained):
    folder = tmp_path / "lens"
    lens = ["--front-end", "lens", "--system.front-end.working-distances", "0.3", "0.6"]
    lens += ["--system.front-end.psf-size", "41"]
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
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        status, out, err = _evaluate(capsys, folder, "--distance", "0.5", "0.18")
    assert err.startswith(
        "lens2label: warning: At 0.18 m this PSF is not that of the manufactured element"
    )
    assert err.count("warning") == 1
    status, out, err = _evaluate(capsys, folder, "--distance", "0.25")
    assert out.startswith("at 0.25 m:")
    status, out, err = _evaluate(capsys, trained, "--distance", "0.25")
    assert status == MISTAKE
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
    (judged,) = judge_run(options, lambda *_: options)
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
    monkeypatch.setattr(
        "joint.judge.choose.choose_tau",
        lambda *args, **how: replace(classify.choose_tau(*args, **how), tau=0.75),
    )
    asked = [str(trained), "--adjust", "balanced_accuracy", "--no-count-bytes", "--resamples", "0"]
    options = read_evaluate_options(asked)
    (judged,) = judge_run(options, lambda *_: options)
    _, system, parts = joint.load_run(trained)
    counts = parts.train.counts.numpy()
    shifted = joint.evaluate(system, parts.test).logits - 0.75 * np.log(counts / counts.sum())
    np.testing.assert_allclose(judged.adjusted.logits, shifted, rtol=1e-5, atol=1e-5)


def test_the_weight_of_an_adjustment_is_not_chosen_on_what_it_is_judged_by(trained, capsys):
    asked = ["--adjust", "balanced_accuracy", "--part", "validation"]
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (OPTION, "")
    assert "--adjust is chosen on the validation part: judge it on another one" in err


def test_what_was_asked_for_reaches_the_evaluation(trained, monkeypatch):
    seen = []

    def evaluated(system, dataset, **how):
        seen.append(({str(p.device) for p in system.parameters()}, len(dataset), how))

    monkeypatch.setattr("joint.command.evaluate.evaluate", evaluated)
    # A device that every machine has, and that is refused, as it computes nothing.
    monkeypatch.setattr("joint.command.evaluate.usable_device", torch.device)
    asked = [str(trained), "--device", "meta", "--resamples", "7", "--batch-size", "5"]
    for more, counted in (([], True), (["--no-count-bytes"], False)):
        options = read_evaluate_options([*asked, *more])
        assert len([*judge_run(options, lambda *_, given=options: given)]) == 1
        devices, count, how = seen.pop()
        assert devices == {"meta"}
        assert count == len(joint.load_run(trained)[2].test)
        assert (how["count_bytes"], how["resamples"], how["batch_size"]) == (counted, 7, 5)


def test_the_intervals_of_adjusted_scores_have_as_many_draws(trained):
    asked = [str(trained), "--adjust", "balanced_accuracy", "--no-count-bytes", "--resamples", "7"]
    options = read_evaluate_options(asked)
    (judged,) = judge_run(options, lambda *_: options)
    counts = joint.load_run(trained)[2].train.counts
    offset = -judged.choice.tau * classify.log_prior(counts)
    wanted, other = (judged.result.adjusted(offset, resamples=n).report for n in (7, 1000))
    assert judged.adjusted.report.intervals == wanted.intervals != other.intervals


def test_what_has_no_adjustment_is_told(trained, capsys, monkeypatch):
    config, system, parts = joint.load_run(trained)
    blind = config.model_copy(update={"objective": joint.Objective(task=0, distortion=1.0)})
    asked = ["--adjust", "balanced_accuracy"]
    for without, message in (
        ((config, system, replace(parts, validation=None)), "the split of this run has none"),
        ((blind, system.replace(classifier=None), parts), "the system of this run has none"),
    ):
        monkeypatch.setattr("joint.command.evaluate.load_run", lambda run, given=without: given)
        status, out, err = _evaluate(capsys, trained, *asked)
        assert (status, out) == (MISTAKE, "")
        assert message in err
        assert err.count("\n") == 1


def test_an_adjustment_keeps_what_it_has_to(skilled, capsys):
    _, system, parts = joint.load_run(skilled)
    validation, test = (joint.evaluate(system, part) for part in (parts.validation, parts.test))
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    taus = np.arange(-20, 41) / 20
    guesses = [(validation.logits - tau * prior).argmax(1) for tau in taus]
    accuracy = np.array([accuracy_score(validation.labels, guess) for guess in guesses])
    f1 = np.array(
        [f1_score(validation.labels, g, average="macro", zero_division=0) for g in guesses]
    )
    balanced = np.array([_balanced(validation.labels, guess) for guess in guesses])
    # A floor that the best tau of all does not keep.
    free = _nearest_best(taus, balanced)
    least = round(float(accuracy.max() + accuracy[free]) / 2, 3)
    assert accuracy[free] < least
    kept = (accuracy >= least - 1e-12) & (f1 >= 0.01)
    tau = taus[kept][_nearest_best(taus[kept], balanced[kept])]
    assert tau != taus[free]
    asked = ["--adjust", "balanced_accuracy", "--at-least", f"accuracy={least}", "macro_f1=0.01"]
    status, out, err = _evaluate(capsys, skilled, *asked, "--json", "--no-count-bytes")
    assert status == 0, err
    printed = json.loads(out)
    assert printed["choice"]["tau"] == pytest.approx(tau)
    assert printed["choice"]["at_least"] == {"accuracy": least, "macro_f1": 0.01}
    assert printed["choice"]["kept"]["accuracy"] == pytest.approx([*accuracy])
    assert printed["choice"]["kept"]["macro_f1"] == pytest.approx([*f1])
    adjusted = (test.logits - tau * prior).argmax(1)
    assert printed["adjusted"]["accuracy"] == accuracy_score(test.labels, adjusted)
    status, out, err = _evaluate(capsys, skilled, *asked, "--no-count-bytes")
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("adjusted, as chosen on the")]
    chosen = int(np.flatnonzero(taus == tau)[0])
    assert f"balanced_accuracy {balanced[chosen]:.3f} at tau = {tau:g}, the best of 61" in line
    assert f"with accuracy {accuracy[chosen]:.3f} >= {least:g}, macro_f1 {f1[chosen]:.3f}" in line
    common = int(counts.argmax())
    wanted = f"recall.{parts.train.classes[common]}"
    asked = ["--adjust", "balanced_accuracy", "--at-least", f"{wanted}=0.01", "--taus", "-1", "2"]
    status, out, err = _evaluate(capsys, skilled, *asked, "--json", "--no-count-bytes")
    assert status == 0, err
    first, last = guesses[0], guesses[-1]
    recalls = [(guess[validation.labels == common] == common).mean() for guess in (first, last)]
    assert json.loads(out)["choice"]["kept"][wanted] == pytest.approx(recalls)


def test_an_adjustment_stays_within_reach_of_the_best(skilled, capsys):
    _, system, parts = joint.load_run(skilled)
    validation = joint.evaluate(system, parts.validation)
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    taus = np.array([-0.5, 0.0, 0.7, 1.4, 2.5])
    guesses = [(validation.logits - tau * prior).argmax(1) for tau in taus]
    accuracy = np.array([accuracy_score(validation.labels, guess) for guess in guesses])
    balanced = np.array([_balanced(validation.labels, guess) for guess in guesses])
    chosen = []
    for less in (0.0, (accuracy.max() - accuracy[_nearest_best(taus, balanced)]) / 2, 1.0):
        asked = ["--adjust", "balanced_accuracy", "--within", f"accuracy={less}"]
        asked += ["--taus", *map(str, taus), "--json", "--no-count-bytes"]
        status, out, err = _evaluate(capsys, skilled, *asked)
        assert status == 0, err
        choice = json.loads(out)["choice"]
        reach = accuracy >= accuracy.max() - less - 1e-12
        best = taus[reach][_nearest_best(taus[reach], balanced[reach])]
        assert (choice["tau"], choice["taus"]) == (best, [*taus])
        assert choice["at_least"]["accuracy"] == pytest.approx(accuracy.max() - less)
        chosen.append(best)
    assert len(set(chosen)) > 1


def _nearest_best(taus, values):
    """Place of the best value; of equals, the one whose tau is nearest to 0."""
    return max(range(len(taus)), key=lambda i: (values[i], -abs(taus[i]), taus[i]))


def _balanced(labels, guesses):
    return np.mean([np.mean(guesses[labels == k] == k) for k in np.unique(labels)])


def test_what_no_adjustment_keeps_is_told_with_what_can_be(skilled, capsys):
    _, system, parts = joint.load_run(skilled)
    validation = joint.evaluate(system, parts.validation)
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    guesses = [(validation.logits - tau * prior).argmax(1) for tau in np.arange(-20, 41) / 20]
    most = max(accuracy_score(validation.labels, guess) for guess in guesses)
    asked = ["--adjust", "balanced_accuracy", "--at-least", "accuracy=1"]
    status, out, err = _evaluate(capsys, skilled, *asked, "--no-count-bytes")
    assert (status, out) == (MISTAKE, "")
    assert err.startswith(
        "lens2label: on the validation part, --adjust: no tau of 61 between -1 and"
    )
    assert f"keeps accuracy >= 1 on these pictures: accuracy reaches {most:.4g} at tau = " in err
    assert err.endswith("; ask for less\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--at-least", "accuracy=0.5"], "--at-least needs --adjust, the metric that tau is"),
        (["--within", "accuracy=0.01"], "--within needs --adjust, the metric that tau is"),
        (["--taus", "0", "1"], "--taus needs --adjust, the metric that tau is"),
        (["--adjust", "auc", "--at-least", "acuracy=0.5"], "did you mean 'accuracy'?"),
        (["--adjust", "auc", "--at-least", "f1=0.5"], "use 'macro_f1', their mean"),
        (["--adjust", "auc", "--at-least", "nll=1"], "choose by it, --adjust nll"),
        (["--adjust", "auc", "--at-least", "accuracy"], "such as accuracy=0.8, not 'accuracy'"),
        (["--adjust", "auc", "--at-least", "=0.5"], "such as accuracy=0.8, not '=0.5'"),
        (["--adjust", "auc", "--at-least", "mcc=much"], "such as accuracy=0.8, not 'mcc=much'"),
        (["--adjust", "auc", "--at-least", "mcc=nan"], "such as accuracy=0.8, not 'mcc=nan'"),
        (["--adjust", "auc", "--at-least", "mcc=0", "mcc=1"], "names mcc twice: give one number"),
        (["--adjust", "auc", "--at-least", "accuracy=30"], "to 1, not 30: for 30 % write 0.3"),
        (["--adjust", "auc", "--within", "acuracy=0"], "--within: there is no metric 'acuracy'"),
        (["--adjust", "auc", "--within", "nll=0.1"], "--within takes metrics of which more is"),
        (["--adjust", "auc", "--within", "mcc"], "such as accuracy=0.01, not 'mcc'"),
        (["--adjust", "auc", "--within", "mcc=-0.5"], "--within mcc=-0.5 is negative"),
        (["--adjust", "auc", "--taus", "1", "nan"], "--taus must be finite numbers, not 1.0 nan"),
    ],
)
def test_what_is_to_be_kept_is_checked_before_anything_is_loaded(
    trained, capsys, monkeypatch, asked, message
):
    monkeypatch.setattr("joint.command.evaluate.load_run", None)
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (OPTION, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--quality", "1", "7"], "quality must be 0 to 2 (levels - 1) or None, got 7.0"),
        (["--distance", "1", "inf"], "distance=1 needs a lens"),
    ],
)
def test_a_point_that_is_not_there_is_refused_before_the_first_pass(
    trained, capsys, monkeypatch, asked, message
):
    monkeypatch.setattr("joint.command.evaluate.evaluate", None)
    status, out, err = _evaluate(capsys, trained, *asked)
    assert (status, out) == (MISTAKE, "")
    assert message in err


def test_a_motion_beyond_the_pictures_is_refused_before_the_first_pass(
    tmp_path, capsys, monkeypatch
):
    shutter = ["--front-end", "shutter", "--sensor", "none", "--codec", "none"]
    assert main(["train", "--output", str(tmp_path / "run"), *shutter, *_SMALL]) == 0
    status, out, err = _evaluate(capsys, tmp_path / "run", "--motion", "0", "4", "--json")
    assert status == 0, err
    assert len(json.loads(out)) == 2
    monkeypatch.setattr("joint.command.evaluate.evaluate", None)
    status, out, err = _evaluate(capsys, tmp_path / "run", "--motion", "0", "4", "1000")
    assert (status, out) == (MISTAKE, "")
    assert "motion=1000 pixels RMS is more than" in err


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
    assert status == MISTAKE
    assert "lacks the columns label; it has photo, dx, patient_id" in err
    with pytest.raises(SystemExit):
        _evaluate(capsys, trained, "--data.label", "dx")  # of no scenes
    assert "Unrecognized options: --data.label" in capsys.readouterr().err


def _referred(skilled, positive, cutoff):
    """Sensitivity, specificity and predictive values on the test part, by hand."""
    _, system, parts = joint.load_run(skilled)
    test = joint.evaluate(system, parts.test)
    chosen = [parts.test.classes.index(name) for name in positive]
    refers = torch.from_numpy(test.logits).double().softmax(1)[:, chosen].sum(1).numpy() >= cutoff
    ill = np.isin(test.labels, chosen)
    return refers[ill].mean(), (~refers)[~ill].mean(), ill[refers].mean(), (~ill)[~refers].mean()


def test_a_referral_is_chosen_on_the_validation_part(skilled, capsys):
    asked = ["--refer", "mel", "bcc", "--sensitivity", "0.9", "--no-count-bytes"]
    status, out, err = _evaluate(capsys, skilled, *asked, "--prevalence", "0.02", "--json")
    assert status == 0, err
    printed = json.loads(out)["referral"]
    _, system, parts = joint.load_run(skilled)
    seen = joint.evaluate(system, parts.validation)
    wanted = classify.choose_cutoff(
        seen.logits, seen.labels, classes=parts.train.classes, positive=("mel", "bcc"),
        sensitivity=0.9, groups=seen.groups,
    )  # fmt: skip
    assert printed["chosen"] == json.loads(json.dumps(wanted.to_dict()))
    names = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    by_hand = _referred(skilled, ("mel", "bcc"), wanted.cutoff)
    assert [printed[name] for name in names] == pytest.approx(by_hand)
    there = classify.predictive_values(*by_hand[:2], 0.02)
    assert printed["at_prevalence"] == pytest.approx(there._asdict())
    assert printed["referred"].keys() == set(parts.train.classes)
    assert printed["intervals"] == {}
    status, out, err = _evaluate(capsys, skilled, *asked, "--adjust", "auc", "--taus", "0")
    assert status == 0, err
    assert f"referred, as chosen on the validation part: {wanted}" in out
    assert f"\nsensitivity                {by_hand[0]:.3f}\n" in out
    assert "\nadjusted, as chosen on the validation part: " in out


def test_a_referral_has_intervals_and_columns(skilled, capsys, tmp_path):
    asked = ["--refer", "nv", "--specificity", "0.8", "--assurance", "0.5", "--no-count-bytes"]
    table = tmp_path / "a.csv"
    options = ["--resamples", "60", "--csv", str(table)]
    assert main(["evaluate", str(skilled), *asked, *options]) == 0
    out = capsys.readouterr().out
    (row,) = csv.DictReader(table.read_text().splitlines())
    by_hand = _referred(skilled, ("nv",), float(row["cutoff"]))
    assert float(row["referral_sensitivity"]) == pytest.approx(by_hand[0])
    assert float(row["referral_specificity"]) == pytest.approx(by_hand[1])
    low, high = (float(row[f"referral_specificity_{end}"]) for end in ("low", "high"))
    assert low < by_hand[1] < high
    assert f"\nspecificity                {by_hand[1]:.3f} [{low:.3f}, {high:.3f}]\n" in out
    assert "a specificity of 0.8 holds on other pictures with a confidence of 0.5 (" in out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--sensitivity", "0.9"], "--sensitivity needs --refer, the classes to refer"),
        (["--prevalence", "0.9"], "such as --refer mel, or a --rule that refers"),
        (["--refer", "mel"], "--refer needs one goal that its cutoff keeps: --sensitivity 0.95"),
        (["--refer", "mel", "--sensitivity", "1.5"], "--sensitivity must lie between 0 and 1"),
        (
            ["--refer", "mel", "--sensitivity", "1", "--assurance", "1"],
            "--assurance must lie between 0 and 1, not 1",
        ),
        (["--refer", "mell", "--sensitivity", "0.9"], "no class 'mell'; did you mean 'mel'?"),
        (
            ["--refer", "mel", "--sensitivity", "0.9", "--part", "validation"],
            "--refer is chosen on the validation part: judge it on another one",
        ),
    ],
)
def test_a_referral_that_cannot_be_is_refused(skilled, capsys, asked, message):
    status, _, err = _evaluate(capsys, skilled, *asked)
    assert status == OPTION
    assert message in err


def test_a_referral_says_how_many_lesions_it_needs(skilled, capsys):
    asked = ["--refer", "mel", "--sensitivity", "0.99", "--assurance", "0.99"]
    status, _, err = _evaluate(capsys, skilled, *asked, "--no-count-bytes")
    assert status == MISTAKE
    assert "on the validation part, --refer: " in err
    assert "or use 459 of equal size" in err


@pytest.mark.parametrize(
    ("asked", "reports"),
    [
        (["--refer", "nv"], 0),
        (["--calibrate", "temperature"], 1),
        (["--calibrate", "temperature", "--refer", "nv"], 1),
        (["--calibrate", "temperature", "--adjust", "accuracy"], 2),
    ],
)
def test_no_report_is_made_that_nobody_reads(skilled, monkeypatch, asked, reports):
    counted = []

    def ruled(*args, **how):
        counted.append(joint.deploy.decision.ruled(*args, **how))
        return counted[-1]

    monkeypatch.setattr("joint.command.evaluate.ruled", ruled)
    goal = ["--sensitivity", "0.8"] if "--refer" in asked else []
    judged, _, test = _chosen(skilled, *asked, *goal)
    assert len(counted) == reports
    if goal:
        refers = judged.rule.refers(test.logits)
        np.testing.assert_array_equal(judged.referred.result.logits.argmax(1) == 0, refers)


def _chosen(skilled, *asked):
    """What evaluate chose and found, by its own objects; the validation and the test part."""
    options = read_evaluate_options([str(skilled), *asked, "--no-count-bytes", "--resamples", "0"])
    options.check()
    (judged,) = judge_run(options, lambda *_: options)
    _, system, parts = joint.load_run(skilled)
    return judged, joint.evaluate(system, parts.validation), joint.evaluate(system, parts.test)


def test_calibration_is_fitted_on_the_validation_part(skilled, capsys):
    judged, seen, test = _chosen(skilled, "--calibrate", "temperature")
    temperature = classify.fit_temperature(seen.logits, seen.labels)
    assert (judged.rule.temperature, set(judged.rule.offset)) == (temperature, {0.0})
    said = softmax(test.logits.astype(float) / temperature, 1)
    assert judged.calibrated.report.nll == pytest.approx(log_loss(test.labels, said), rel=1e-5)
    brier = ((said - np.eye(7)[test.labels]) ** 2).sum(1).mean()
    assert judged.calibrated.report.brier == pytest.approx(brier, rel=1e-5)
    assert judged.adjusted is judged.choice is judged.by_rule is judged.referred is None
    status, out, err = _evaluate(capsys, skilled, "--calibrate", "temperature", "--no-count-bytes")
    assert status == 0, err
    before, after = test.report, judged.calibrated.report
    fitted = f"calibrated, as fitted on the validation part: softmax(scores / {temperature:.4g})"
    assert f"\n{fitted}\nbefore -> after:\n" in out
    for name in ("nll", "brier", "ece", "accuracy"):
        change = f"{before.number(name):.4f} -> {after.number(name):.4f}"
        assert f"\n{name:<18} {change}\n" in out


def test_calibration_then_adjustment_then_referral(skilled, tmp_path, capsys):
    asked = ["--calibrate", "bias", "--adjust", "balanced_accuracy", "--refer", "mel", "bcc"]
    asked += ["--sensitivity", "0.8"]
    judged, seen, test = _chosen(skilled, *asked)
    temperature, bias = classify.fit_bias_corrected_temperature(seen.logits, seen.labels)
    counts = joint.load_run(skilled)[2].train.counts.numpy()
    prior = np.log(counts / counts.sum())
    calibrated = seen.logits.astype(float) / temperature + bias
    balanced = [
        _balanced(seen.labels, (calibrated - t * prior).argmax(1)) for t in judged.choice.taus
    ]
    assert judged.choice.values == pytest.approx(balanced)
    np.testing.assert_allclose(
        softmax(judged.calibrated.logits, 1),
        softmax(test.logits / temperature + bias, 1), rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    tau = judged.choice.tau
    referral = classify.choose_cutoff(
        calibrated - tau * prior, seen.labels, classes=judged.rule.classes, groups=seen.groups,
        positive=("mel", "bcc"), sensitivity=0.8,
    )  # fmt: skip
    found = judged.rule.referral
    assert found.log_odds == pytest.approx(referral.log_odds, abs=1e-4)
    assert (found.sensitivity, found.specificity) == (referral.sensitivity, referral.specificity)
    final = test.logits.astype(float) / temperature + bias - tau * prior
    np.testing.assert_allclose(
        softmax(judged.adjusted.logits, 1), softmax(final, 1), rtol=1e-4, atol=1e-6
    )
    refers = softmax(final, 1)[:, [judged.rule.classes.index(n) for n in ("mel", "bcc")]].sum(1)
    np.testing.assert_array_equal(
        judged.referred.result.logits.argmax(1) == 0, refers >= referral.cutoff
    )
    fitted = judged.rule.fitted
    assert (fitted["part"], fitted["pictures"], fitted["views"]) == (
        "validation",
        seen.count,
        "identity",
    )
    assert (fitted["calibrate"], fitted["adjust"], fitted["tau"]) == (
        "bias",
        "balanced_accuracy",
        tau,
    )
    table = tmp_path / "a.csv"
    status, out, err = _evaluate(capsys, skilled, *asked, "--csv", table, "--json")
    assert status == 0, err
    (row,) = csv.DictReader(table.read_text().splitlines())
    printed = json.loads(out)
    for name, other in (("calibrated", judged.calibrated), ("adjusted", judged.adjusted)):
        for number in ("nll", "ece", "macro_f1"):
            assert float(row[f"{name}_{number}"]) == getattr(other.report, number)
            assert printed[name][number] == pytest.approx(getattr(other.report, number))
    assert float(row["temperature"]) == temperature
    calibration = classify.DecisionRule(judged.rule.classes, temperature, bias)
    assert f"\ncalibrated, as fitted on the validation part: {calibration}\nbefore" in str(judged)
    assert f"akiec {bias[0]:+.3g}, " in str(calibration)
    assert printed["rule"] == json.loads(json.dumps(judged.rule.to_dict()))


def test_a_rule_is_saved_and_judges_elsewhere_as_it_did(skilled, tmp_path, capsys):
    kept = tmp_path / "new" / "rule.json"
    asked = ["--calibrate", "temperature", "--adjust", "accuracy", "--taus", "0.5"]
    asked += ["--refer", "nv", "--specificity", "0.8", "--no-count-bytes"]
    status, out, err = _evaluate(capsys, skilled, *asked, "--save-rule", kept)
    assert status == 0, err
    assert out.endswith(f"wrote {kept}\n")
    chosen, _, _ = _chosen(skilled, *asked[:-1])
    assert classify.DecisionRule.from_dict(json.loads(kept.read_text())) == chosen.rule
    judged, _, _ = _chosen(skilled, "--rule", str(kept), "--prevalence", "0.5")
    np.testing.assert_array_equal(judged.by_rule.logits, chosen.adjusted.logits)
    assert judged.by_rule.report.to_dict() == chosen.adjusted.report.to_dict()
    assert judged.referred.to_dict()["chosen"] == chosen.referred.to_dict()["chosen"]
    assert judged.referred.prevalence == 0.5
    assert judged.choice is judged.adjusted is judged.calibrated is None
    table = tmp_path / "a.csv"
    status, out, err = _evaluate(
        capsys, skilled, "--rule", kept, "--part", "train", "--no-count-bytes", "--csv", table
    )
    assert (status, err) == (0, "")
    assert f"\nby the rule {replace(chosen.rule, referral=None)}\n" in out
    assert out.count(str(chosen.rule.referral)) == 1
    assert "\nwithout -> with the rule:\nnll " in out
    assert "\nreferred, by the rule: " in out
    (row,) = csv.DictReader(table.read_text().splitlines())
    _, system, parts = joint.load_run(skilled)
    logits = joint.evaluate(system, parts.train)
    wanted = chosen.rule.probabilities(logits.logits).argmax(1)
    assert float(row["by_rule_accuracy"]) == accuracy_score(logits.labels, wanted)
    assert float(row["by_rule_accuracy"]) != float(row["accuracy"])


def test_predictions_by_a_saved_rule_are_those_of_the_evaluation(skilled, tmp_path, capsys):
    """From evaluate over a file to predict, of the same pictures, to the precision of floats."""
    kept, clinic = tmp_path / "rule.json", tmp_path / "clinic"
    asked = [
        "--calibrate",
        "bias",
        "--adjust",
        "balanced_accuracy",
        "--refer",
        "mel",
        "bcc",
        "akiec",
    ]
    asked += ["--sensitivity", "0.7"]
    status, _, err = _evaluate(capsys, skilled, *asked, "--no-count-bytes", "--save-rule", kept)
    assert status == 0, err
    judged, _, test = _chosen(skilled, *asked)
    scenes = joint.load_run(skilled)[2].test
    clinic.mkdir()
    for number, codes in enumerate(scenes.gather(range(len(scenes))).images):
        Image.fromarray(codes.permute(1, 2, 0).numpy()).save(clinic / f"{number:03}.png")
    status, out, err = run(capsys, "predict", skilled, clinic, "--rule", kept, "--json", "--quiet")
    assert (status, err) == (0, "")
    said = json.loads(out)
    found = np.array([[*each["probabilities"].values()] for each in said])
    wanted = softmax(judged.adjusted.logits.astype(float), 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    labels = [judged.rule.classes[k] for k in wanted.argmax(1)]
    assert [each["label"] for each in said] == labels
    assert labels != [judged.rule.classes[k] for k in test.logits.argmax(1)]
    refers = judged.referred.result.logits.argmax(1) == 0
    assert [each["referred"] for each in said] == refers.tolist()
    assert 0 < refers.mean() < 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--save-rule", "a.json"], "--save-rule keeps what is chosen: give --calibrate, --adjust"),
        (
            ["--save-rule", "a.json", "--adjust", "auc", "--photons", "50", "500"],
            "--save-rule keeps the rule of one point",
        ),
        (["--save-rule", ".", "--adjust", "auc"], "--save-rule: . is a folder, name a file in it"),
        (
            ["--rule", "a.json", "--adjust", "auc", "--save-rule", "b.json"],
            "--rule applies what was chosen earlier: leave --adjust and --save-rule out",
        ),
        (
            ["--rule", "a.json", "--sensitivity", "0.9"],
            "the rule has its own cutoff: leave --sensitivity out",
        ),
        (["--rule", "a.json", "--assurance", "0.9"], "own cutoff: leave --assurance out"),
        (["--rule", "a.json", "--taus", "0"], "--taus needs --adjust"),
        (
            ["--calibrate", "bias", "--part", "validation"],
            "--calibrate is chosen on the validation part: judge it on another one",
        ),
    ],
)
def test_a_rule_that_cannot_be_chosen_is_refused(
    skilled, capsys, monkeypatch, tmp_path, asked, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(classify.DecisionRule(("a", "b")).to_dict()))
    status, out, err = _evaluate(capsys, skilled, *asked)
    assert (status, out) == (OPTION, "")
    assert message in err


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_a_rule_of_something_else_is_refused_or_told(skilled, capsys, tmp_path):
    kept = tmp_path / "rule.json"
    config, _, parts = joint.load_run(skilled)
    classes = parts.train.classes

    def judge(rule, *asked):
        kept.write_text(json.dumps(rule.to_dict()))
        return _evaluate(capsys, skilled, "--rule", kept, "--no-count-bytes", *asked)

    status, _, err = judge(classify.DecisionRule(classes[::-1]))
    assert status == MISTAKE
    assert f"--rule {kept}: the rule has the classes {', '.join(classes[::-1])}, in this" in err
    status, _, err = judge(classify.DecisionRule(classes), "--prevalence", "0.1")
    assert status == OPTION
    assert f"--prevalence needs a rule that refers, and {kept} has no cutoff" in err
    own = {"run": config.digest(), "part": "validation", "photons": None, "views": "identity"}
    rule = classify.DecisionRule(classes, fitted=own)
    assert judge(rule)[2] == ""
    status, _, err = judge(rule, "--part", "validation")
    assert status == 0
    assert f"the rule of {kept} was chosen on these pictures: its numbers are too good" in err
    assert (
        "chosen under other conditions (views identity, not mirror)"
        in judge(rule, "--views", "mirror")[2]
    )
    kept.write_text("{}")
    status, _, err = _evaluate(capsys, skilled, "--rule", kept)
    assert status == MISTAKE
    assert f"cannot read a decision rule from {kept}: " in err


def test_no_temperature_is_refused(skilled, capsys, monkeypatch, tmp_path):
    judge = joint.evaluate

    def sure(*args, **how):
        found = judge(*args, **how)
        return replace(found, logits=np.eye(7, dtype=np.float32)[found.labels])

    monkeypatch.setattr("joint.command.evaluate.evaluate", sure)
    for how in ("temperature", "bias"):
        status, out, err = _evaluate(
            capsys, skilled, "--calibrate", how, "--save-rule", tmp_path / "a.json"
        )
        assert (status, out) == (MISTAKE, "")
        assert "on the validation part, --calibrate: no temperature is best: the lower the" in err
    assert not (tmp_path / "a.json").exists()


@pytest.fixture
def folders(tmp_path):
    """Pictures of two classes, and a run that was trained on them."""
    for number in range(20):
        path = tmp_path / "old" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    run = tmp_path / "run"
    asked = ["--data", str(tmp_path / "old"), "--data.image-size", "16", "--training.epochs", "1"]
    bare = ["--front-end", "none", "--sensor", "none", "--codec", "none", "--quiet"]
    assert main(["train", "--output", str(run), *asked, *bare]) == 0
    return run, tmp_path / "old", tmp_path / "new"


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_other_scenes_are_judged_where_those_of_the_run_are_gone(folders, capsys):
    run, old, new = folders
    _, system, _ = joint.load_run(run)
    old.rename(new)
    shutil.rmtree(old.parent / "old.cache", ignore_errors=True)
    status, out, err = _evaluate(capsys, run, "--data", new, "--json")
    assert status == 0, err
    assert f"whether the run has learned from pictures of {new} is unknown, as its own" in err
    scenes = joint.build_data(joint.data_config(str(new), image_size=16))
    wanted = joint.evaluate(system, scenes)
    printed = json.loads(out)
    assert printed["count"] == 20
    assert printed["accuracy"] == wanted.report.accuracy
    assert printed["report"]["nll"] == pytest.approx(wanted.report.nll)
    # What is chosen on the validation part needs it; and without other scenes they are missed.
    for chosen in (
        ["--adjust", "auc"],
        ["--refer", "a", "--sensitivity", "0.9"],
        ["--calibrate", "bias"],
    ):
        status, _, err = _evaluate(capsys, run, "--data", new, *chosen)
        assert status == MISTAKE
        assert f"{chosen[0]} is chosen on the validation part of the run, whose scenes" in err
    # What was chosen earlier needs it no more.
    kept = run.parent / "rule.json"
    kept.write_text(json.dumps(classify.DecisionRule(("a", "b"), 2.0, (0.0, 0.1)).to_dict()))
    status, out, err = _evaluate(capsys, run, "--data", new, "--rule", kept, "--json")
    assert status == 0, err
    said = softmax(wanted.logits / 2 + [0, 0.1], 1)
    assert json.loads(out)["by_rule"]["nll"] == pytest.approx(log_loss(wanted.labels, said))
    status, _, err = _evaluate(capsys, run)
    assert status == MISTAKE
    assert "does not exist" in err


@pytest.mark.filterwarnings("ignore:the validation part")
def test_a_run_that_is_damaged_is_no_run_without_scenes(folders, capsys):
    run, old, new = folders
    old.rename(new)
    weights = run / "best.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    status, _, err = _evaluate(capsys, run, "--data", new)
    assert status == MISTAKE
    assert "best.safetensors" in err


def test_evaluate_prints_what_train_measured(trained, capsys):
    status, out, _ = run(capsys, "evaluate", trained, "--json")
    assert status == 0
    printed = json.loads(out)
    recorded = json.loads((trained / "result.json").read_text())["test"]
    assert printed == recorded
    status, out, _ = run(capsys, "evaluate", trained, "--part", "validation")
    assert status == 0
    assert "precision" in out
    assert out.count("balanced accuracy") == 1
    assert "balanced_accuracy" not in out


def test_evaluate_averages_views_and_adjusts_by_the_validation_part(trained, capsys):
    asked = ["--views", "mirror", "--no-count-bytes", "--resamples", "0"]
    command = ["evaluate", trained, *asked, "--adjust", "balanced_accuracy"]
    status, out, err = run(capsys, *command, "--json")
    assert status == 0, err
    printed = json.loads(out)
    config, system, parts = joint.load_run(trained)
    validation, test = (
        joint.evaluate(system, part, objective=config.objective, views="mirror")
        for part in (parts.validation, parts.test)
    )
    counts = parts.train.counts.numpy()
    prior = np.log(counts / counts.sum())
    taus = np.arange(-20, 41) / 20
    guesses = [(validation.logits - tau * prior).argmax(1) for tau in taus]
    balanced = [balanced_accuracy_score(validation.labels, guess) for guess in guesses]
    tau = max(zip(balanced, -np.abs(taus), taus, strict=True))[2]  # of equals the nearest to 0
    assert printed["choice"]["tau"] == pytest.approx(tau)
    assert printed["report"]["accuracy"] == test.report.accuracy
    adjusted = (test.logits - tau * prior).argmax(1)
    assert printed["adjusted"]["accuracy"] == (adjusted == test.labels).mean()
    status, out, err = run(capsys, *command)
    assert status == 0, err
    assert f"at tau = {tau:g}, the best of 61" in out
    assert out.count("f1-score") == 2


def test_an_adjustment_that_cannot_be_chosen_is_refused(trained, capsys):
    for asked, said in (
        (
            ["balancd_accuracy"],
            "--adjust: there is no metric 'balancd_accuracy'; did you mean 'balanced_accuracy'?",
        ),
        (["skill"], "metric 'skill' is unknown; use one of accuracy, balanced_accuracy"),
        (["recall"], "has one value per class; use 'macro_recall'"),
        (["accuracy", "--part", "validation"], "chosen on the validation part: judge it on"),
    ):
        status, _, err = run(capsys, "evaluate", trained, "--adjust", *asked)
        assert status == OPTION
        assert said in err


def test_other_classes_are_not_scored(trained, tmp_path, capsys):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(tmp_path / "pets" / name / "a.png")
    status, _, err = run(capsys, "evaluate", trained, "--data", tmp_path / "pets")
    assert status == MISTAKE
    assert "has the classes cat, dog, but the run was trained on akiec" in err


def test_an_evaluation_is_at_every_light_quality_distance_and_motion():
    def points(*asked):
        return read_evaluate_options(["run", *asked]).points()

    assert points() == [OperatingPoint()]
    assert points("--photons", "5") == [OperatingPoint(photons=5)]
    assert points("--quality", "0", "1.5") == [OperatingPoint(quality=q) for q in (0, 1.5)]
    assert points("--distance", "0.4", "2") == [OperatingPoint(distance=m) for m in (0.4, 2)]
    assert points("--motion", "0", "3") == [OperatingPoint(motion=pixels) for pixels in (0, 3)]
    both = points("--photons", "5", "50", "--quality", "0", "1")
    assert both == [OperatingPoint(light, q) for light in (5, 50) for q in (0, 1)]


def test_what_an_adjustment_keeps_is_a_number_of_each_metric():
    def bounds(*asked):
        return read_evaluate_options(["run", "--adjust", "auc", *asked]).bounds()

    assert bounds() == {"at_least": {}, "within": {}}
    asked = bounds("--at-least", "accuracy=0.8", "mcc=-1e-1", "auc=1", "--within", "accuracy=1e-2")
    assert asked["at_least"] == {"accuracy": 0.8, "mcc": -0.1, "auc": 1}
    assert asked["within"] == {"accuracy": 0.01}
