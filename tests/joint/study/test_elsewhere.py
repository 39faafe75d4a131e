import csv
import importlib
import itertools
import json
import math
import re
import warnings
from dataclasses import replace
from textwrap import indent

import numpy as np
import pytest
from PIL import Image

import joint
from joint.command.study import main
from joint.saved.checkpoint import CheckpointError
from joint.settings import OptionError
from joint.study import (
    Axis,
    Place,
    Plan,
    StudyError,
    compare,
    create_study,
    elsewhere,
    outcomes,
    work,
)
from joint.study.findings.statistics import adjusted, estimate
from joint.study.store import refreshed

POINTS = [joint.OperatingPoint(), joint.OperatingPoint(photons=60)]

# Two seeds can show nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore:2 paired seeds cannot:UserWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two cameras on two seeds, trained for an epoch; what they share may not be written to."""
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=90, image_size=16, balance=0),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(), codec=joint.NoneConfig(), classifier=_small()
        ),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, augmentation="none", monitor="loss"),
    )
    study = joint.study.Study(
        base=base,
        axes={"light": Axis(path="system.sensor.photons", values=(5000, 60))},
        plan=Plan(
            comparisons=({"first": {"light": 60}, "second": {"light": 5000}},), resamples=100
        ),
        seeds=(0, 1),
    )
    folder = tmp_path_factory.mktemp("study")
    ledger = create_study(study, folder)
    assert work(folder) == (4, 0, False)
    return refreshed(ledger)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Two qualities of JPEG on two seeds, with a plan and an objective that are not the default."""
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16, balance=0),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(), codec=joint.JPEGConfig(quality=50), classifier=_small()
        ),
        objective=joint.Objective(task=2.0, distortion=0.5),
        training=joint.Training(epochs=1, augmentation="none", monitor="loss"),
    )
    comparison = {"first": {"quality": 20}, "second": {"quality": 90}}
    study = joint.study.Study(
        base=base,
        axes={"quality": Axis(path="system.codec.quality", values=(20, 90))},
        plan=Plan(comparisons=(comparison,), metric="bpp_bytes", alpha=0.2, resamples=100),
        seeds=(0, 1),
    )
    folder = tmp_path_factory.mktemp("coded")
    ledger = create_study(study, folder)
    assert work(folder) == (4, 0, False)
    return refreshed(ledger)


def _small():
    return joint.ClassifierConfig(name="resnet_s")


def test_at_its_own_point_a_design_is_what_the_report_says(trained):
    found = elsewhere(trained, POINTS)
    own = outcomes(trained, found.metric)
    assert set(found.designs) == set(own) == {0, 1}
    for number, runs in own.items():
        again = found.places[0].outcomes[number]
        assert [run.seed for run in again] == [run.seed for run in runs]
        for one, other in zip(again, runs, strict=True):
            assert one.value == pytest.approx(other.value, abs=1e-12)
            np.testing.assert_allclose(
                one.predictions.logits, other.predictions.logits, rtol=1e-4, atol=1e-5
            )
            assert one.predictions.groups == other.predictions.groups
    # And the camera of 60 photons is at its own point in the second place too.
    for place in found.places:
        assert place.estimates[1].mean == pytest.approx(found.places[0].estimates[1].mean)


def test_runs_are_judged_where_it_was_asked(trained):
    found = elsewhere(trained, POINTS)
    run = next(run for run in trained.runs if run.design == 0)
    config, system, parts = joint.load_run(trained.path(run))
    for place in found.places:
        direct = joint.evaluate(
            system, parts.test, objective=config.objective, photons=place.point.photons
        )
        (again,) = (one for one in place.outcomes[0] if one.seed == run.seed)
        assert again.value == direct.report.balanced_accuracy
        np.testing.assert_array_equal(again.predictions.logits, direct.logits)
    assert not np.allclose(*(p.outcomes[0][0].predictions.logits for p in found.places))


def test_the_comparisons_of_the_plan_are_made_at_each_point_as_exploration(trained):
    found = elsewhere(trained, POINTS, metric="loss", resamples=50)
    for place in found.places:
        (contrast,) = place.contrasts
        own = compare(
            place.outcomes[1], place.outcomes[0], metric="loss", resamples=50, name=contrast.name
        )
        assert contrast == own
        assert not contrast.planned
    assert found.places[0].contrasts[0].difference != found.places[1].contrasts[0].difference
    text = str(found)
    assert text.startswith("exploration: loss of the trained designs, means with 95 % intervals\n")
    assert re.fullmatch(r" *design +as built +60 photons/pixel *", text.splitlines()[1])
    assert "\nas built\n  " in text
    contrast = indent(str(found.places[1].contrasts[0]), "  ")
    assert f"\nat 60 photons/pixel\n{contrast}" in text
    assert f"{found.places[1].estimates[0].mean:.4f}" in text
    told = json.loads(found.to_json())
    assert [place["point"] for place in told["places"]] == [{}, {"photons": 60}]
    assert told["places"][1]["designs"][0]["mean"] == found.places[1].estimates[0].mean


def test_a_failed_run_is_an_outcome_and_one_to_come_is_none(small_study, small_base, tmp_path):
    axes = {"binning": Axis(path="system.sensor.binning", values=(3, 1))}  # 3 does not divide 16
    study = small_study(base=small_base(), axes=axes, plan=Plan(resamples=100), seeds=(0, 1))
    ledger = create_study(study, tmp_path)
    with pytest.raises(StudyError, match=r"no run of .* is done yet"):
        elsewhere(ledger, POINTS)
    ended = 0
    work(tmp_path, stop=lambda: ledger.tally().finished > 1)
    found = elsewhere(ledger, POINTS[1:])
    states = ledger.states()
    assert {"done", "failed"} <= set(states)
    for number, runs in found.places[0].outcomes.items():
        ended += len(runs)
        assert all((run.value is None) == (number == 0) for run in runs)
    assert ended == sum(state in ("done", "failed") for state in states)


def test_what_cannot_be_judged_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="give at least one point"):
        elsewhere(trained, [])
    with pytest.raises(ValueError, match="quality=1 needs a"):
        elsewhere(trained, [joint.OperatingPoint(quality=1)])
    message = r"design 0 \(.*\): without a codec there is no bpp; no other design can either"
    with pytest.raises(ValueError, match=message):
        elsewhere(trained, POINTS, metric="bpp")


@pytest.fixture(scope="module")
def with_and_without(small_study, small_base, tmp_path_factory):
    """Designs with a sensor and without one, on one seed."""
    kinds = [{"system.sensor": {"kind": kind}} for kind in ("sensor", "none")]
    axes = {"sensor": Axis(values=kinds, labels=("sensor", "none"))}
    comparison = {"first": {"sensor": "sensor"}, "second": {"sensor": "none"}}
    plan = Plan(comparisons=(comparison,), resamples=100)
    study = small_study(base=small_base(), axes=axes, plan=plan, seeds=(0,))
    with pytest.warns(UserWarning, match="1 paired seed cannot"):
        ledger = create_study(study, tmp_path_factory.mktemp("sensors"))
    assert work(ledger.folder) == (2, 0, False)
    return refreshed(ledger)


def test_points_are_checked_before_the_first_pass(with_and_without, monkeypatch):
    monkeypatch.setattr(importlib.import_module("joint.study.elsewhere"), "evaluate", None)
    lacking = r"design 0 \(sensor=sensor\): quality=1 needs a codec.*; no other design can either"
    with pytest.raises(ValueError, match=lacking):
        elsewhere(with_and_without, [POINTS[1], joint.OperatingPoint(quality=1)])


def test_a_design_without_a_point_is_left_out_there_and_that_is_said(with_and_without):
    found = elsewhere(with_and_without, POINTS)
    assert [set(place.outcomes) for place in found.places] == [{0, 1}, {0}]
    assert [set(place.estimates) for place in found.places] == [{0, 1}, {0}]
    # What is compared with it is compared where it is.
    assert [len(place.contrasts) for place in found.places] == [1, 0]
    why = "(sensor=none) at 60 photons/pixel: photons=60 needs a sensor, but the system has none"
    assert found.left_out == {1: why}
    lines = str(found).splitlines()
    assert f"  left out: design 1 {why}" in lines
    at_none = found.places[0].estimates[1].mean
    assert lines[3].split() == ["1", "sensor=none", f"{at_none:.4f}"]
    assert json.loads(found.to_json())["left_out"] == [{"number": 1, "why": why}]
    # At none of the points, its row is empty.
    alone = elsewhere(with_and_without, POINTS[1:])
    assert str(alone).splitlines()[3].split() == ["1", "sensor=none"]
    assert alone.left_out == {1: why.replace(" at 60 photons/pixel", "")}


def test_a_design_without_the_metric_is_left_out(small_study, small_base, tmp_path):
    kinds = [{"system.codec": {"kind": kind}} for kind in ("jpeg", "none")]
    axes = {"codec": Axis(values=kinds, labels=("jpeg", "none"))}
    study = small_study(base=small_base(), axes=axes, plan=Plan(resamples=100), seeds=(0,))
    ledger = create_study(study, tmp_path / "s")
    assert work(ledger.folder) == (2, 0, False)
    found = elsewhere(refreshed(ledger), POINTS, metric="psnr")
    assert [set(place.estimates) for place in found.places] == [{0}, {0}]
    assert found.left_out == {1: "(codec=none): without a codec there is no psnr"}


def test_a_point_that_is_there_twice_is_judged_once(with_and_without):
    found = elsewhere(with_and_without, [*POINTS, POINTS[1]])
    assert [place.point for place in found.places] == POINTS


def test_what_all_runs_warn_of_is_said_once(with_and_without, monkeypatch):
    def warned(*args, **options):
        warnings.warn("it is dark", UserWarning, stacklevel=1)
        return joint.evaluate(*args, **options)

    monkeypatch.setattr(importlib.import_module("joint.study.elsewhere"), "evaluate", warned)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        elsewhere(with_and_without, POINTS)
    (one,) = told
    assert str(one.message) == "it is dark (3 warnings of this kind)"
    assert one.filename == __file__


def test_comparisons_are_adjusted_for_their_number(trained):
    plan = trained.study.plan
    (comparison,) = plan.comparisons
    two = plan.model_copy(update={"comparisons": (comparison, comparison)})
    study = trained.study.model_copy(update={"plan": two})
    found = elsewhere(replace(trained, study=study), POINTS[1:], metric="loss")
    (place,) = found.places
    alone = compare(
        place.outcomes[1],
        place.outcomes[0],
        metric="loss",
        resamples=100,
        name=place.contrasts[0].name,
    )
    assert place.contrasts == adjusted([alone, alone])
    assert place.contrasts[0].needed > alone.needed


def test_the_scenes_may_lie_elsewhere_now(tmp_path, capsys):
    noise, was = np.random.default_rng(0), tmp_path / "was"
    for name, root in itertools.product(("mel", "nv"), (was, tmp_path / "other")):
        (root / name).mkdir(parents=True)
        for number in range(10):
            codes = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(codes).save(root / name / f"{name}{number}.png")
    base = joint.RunConfig(
        data=joint.ClassFolders(root=was, image_size=16),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(), codec=joint.NoneConfig(), classifier=_small()
        ),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, augmentation="none", monitor="loss"),
    )
    axes = {"light": Axis(path="system.sensor.photons", values=(60,))}
    study = joint.study.Study(base=base, axes=axes, plan=Plan(resamples=100), seeds=(0,))
    ledger = create_study(study, tmp_path / "study")
    assert work(ledger.folder) == (1, 0, False)
    there = elsewhere(ledger, POINTS).to_json()
    now = was.rename(tmp_path / "now")
    with pytest.raises(FileNotFoundError, match="was does not exist"):
        elsewhere(ledger, POINTS)
    assert elsewhere(ledger, POINTS, data={"root": now}).to_json() == there
    asked = ["judge", str(ledger.folder), "--photons", "60", "--json", "--data"]
    assert main([*asked, str(now)]) == 0
    told = json.loads(capsys.readouterr().out)["places"][0]["designs"]
    assert told == json.loads(there)["places"][1]["designs"]
    with pytest.raises(CheckpointError, match="no longer those"):
        main([*asked, str(tmp_path / "other")])


def test_the_command_prints_a_table_or_json(trained, capsys):
    folder = str(trained.folder)
    assert main(["judge", folder, "--photons", "60", "5000"]) == 0
    printed = capsys.readouterr().out
    assert "60 photons/pixel" in printed
    assert "5000 photons/pixel" in printed
    assert main(["judge", folder, "--photons", "60", "--metric", "loss", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "loss"
    with pytest.raises(OptionError, match="give at least one point, such as --photons 30 300"):
        main(["judge", folder])


@pytest.mark.parametrize(
    ("asked", "metric"), [(None, "bpp_bytes"), ("loss", "loss"), ("accuracy", "accuracy")]
)
def test_a_point_is_judged_by_the_plan_and_the_objective_of_each_run(coded, asked, metric):
    points = [joint.OperatingPoint(quality=quality) for quality in (5, 95)]
    found = elsewhere(coded, points, metric=asked, resamples=60)
    assert (found.metric, found.level) == (metric, pytest.approx(0.8))
    for place in found.places:
        assert set(place.outcomes) == {0, 1}
        bits = {0: [], 1: []}
        for run in coded.runs:
            config, system, parts = joint.load_run(coded.path(run))
            direct = joint.evaluate(
                system,
                parts.test,
                objective=config.objective,
                count_bytes=True,
                quality=place.point.quality,
            )
            (again,) = (one for one in place.outcomes[run.design] if one.seed == run.seed)
            assert again.value == pytest.approx(direct.scalars()[metric], rel=1e-6)
            assert again.predictions.identifiers == parts.test.identifiers
            bits[run.design].append(direct.bpp)
        for number, own in place.outcomes.items():
            assert place.bpp[number] == pytest.approx(np.mean(bits[number]), rel=1e-6)
            expected = estimate(own, metric=metric, level=found.level, resamples=60)
            assert place.estimates[number] == expected
        (contrast,) = place.contrasts
        assert contrast == compare(
            place.outcomes[0],
            place.outcomes[1],
            metric=metric,
            name=coded.pairs()[0].name,
            alpha=0.2,
            resamples=60,
        )
        assert "quality=20" in contrast.name
    with pytest.raises(ValueError, match="metric 'beauty' is unknown"):
        elsewhere(coded, points, metric="beauty")


def test_a_design_without_an_ended_run_is_left_out(small_study, small_base, tmp_path):
    with pytest.warns(UserWarning, match="1 paired seed cannot give a p below 1"):
        ledger = create_study(small_study(base=small_base(), seeds=(0,)), tmp_path)
    work(tmp_path, stop=lambda: ledger.tally().finished > 2)
    ended = {run.design for run, s in zip(ledger.runs, ledger.states(), strict=True) if s == "done"}
    assert len(ended) == 3
    found = elsewhere(ledger, [joint.OperatingPoint(photons=60)])
    assert set(found.designs) == set(found.places[0].estimates) == ended
    (name,) = (pair.name for pair in ledger.pairs() if {pair.first, pair.second} <= ended)
    (contrast,) = found.places[0].contrasts
    assert contrast.name == name


def test_a_codec_is_shown_with_its_bits(coded, tmp_path, capsys):
    points = [joint.OperatingPoint(quality=quality) for quality in (5, 95)]
    found = elsewhere(coded, points, metric="accuracy")
    text, told = str(found), json.loads(found.to_json())
    for place, kept in zip(found.places, told["places"], strict=True):
        for number, own in place.estimates.items():
            low, high = own.interval
            cell = f"{own.mean:.4f} [{low:.4f}, {high:.4f}], {place.bpp[number]:.4g} bpp"
            assert cell in text
            assert kept["designs"][number]["bpp"] == place.bpp[number]
    assert found.places[0].bpp[0] < found.places[1].bpp[0]
    file = tmp_path / "judged.csv"
    command = ["judge", str(coded.folder), "--quality", "5", "95", "--metric", "accuracy"]
    assert main([*command, "--csv", str(file)]) == 0
    assert capsys.readouterr().out == f"{text}\n"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["design"], row["quality"]) for row in rows] == [
        (number, quality) for quality in ("5.0", "95.0") for number in ("0", "1")
    ]
    assert list(rows[0]) == [
        "design", "axis.quality", "quality", "accuracy", "low", "high", "runs", "failed", "bpp"
    ]  # fmt: skip
    for row in rows:
        place = found.places[row["quality"] == "95.0"]
        own = place.estimates[int(row["design"])]
        assert float(row["bpp"]) == place.bpp[int(row["design"])]
        assert (float(row["accuracy"]), float(row["low"])) == (own.mean, own.interval.low)
    # Where the bits are the metric, they are not there twice.
    assert " bpp\n" not in str(elsewhere(coded, points))
    assert elsewhere(coded, points, metric="bpp").to_csv().splitlines()[0].count("bpp") == 1
    with pytest.raises(OptionError, match="is a folder, name a file in it"):
        main([*command, "--csv", str(tmp_path)])


def test_what_is_asked_reaches_each_evaluation(coded, monkeypatch):
    module, asked = importlib.import_module("joint.study.elsewhere"), []

    def spied(*args, **options):
        asked.append(options)
        return replace(joint.evaluate(*args, **options), losses={"total": float("nan")})

    monkeypatch.setattr(module, "evaluate", spied)
    points = [joint.OperatingPoint(quality=5)]
    elsewhere(coded, points, batch_size=7)
    assert [options["batch_size"] for options in asked] == [7] * 4
    with pytest.raises(
        StudyError, match=r"run \w+ has no loss at quality 5: choose another metric"
    ):
        elsewhere(coded, points, metric="loss")
    monkeypatch.setattr(module, "load_run", None)
    with pytest.raises(ValueError, match="device 'bicycle' is unknown"):
        elsewhere(coded, points, device="bicycle")


def test_a_table_has_cells_without_an_interval_and_empty_ones(small_study, small_base, tmp_path):
    axes = {"binning": Axis(path="system.sensor.binning", values=(3, 1))}  # 3 does not divide 16
    study = small_study(
        base=small_base(), axes=axes, plan=Plan(metric="loss", resamples=100), seeds=(0,)
    )
    ledger = create_study(study, tmp_path)
    work(tmp_path)
    found = elsewhere(ledger, [joint.OperatingPoint(photons=60)])
    rows = str(found).splitlines()
    (mean,) = (e.mean for e in found.places[0].estimates.values() if e.mean is not None)
    assert [row.split() for row in rows[2:]] == [
        ["0", "binning=3"],
        ["1", "binning=1", f"{mean:.4f}"],
    ]


def test_far_away_is_written_as_json(trained):
    """What others read, as a browser: an infinity is refused there."""
    found = replace(
        elsewhere(trained, POINTS[:1], resamples=50),
        places=(Place(joint.OperatingPoint(distance=math.inf), {}, (), {}),),
    )

    def refuse(constant):
        raise AssertionError(constant)

    (place,) = json.loads(found.to_json(), parse_constant=refuse)["places"]
    assert place == {"point": {"distance": "inf"}, "designs": [], "comparisons": []}


def test_equal_photons_of_designs_that_derive_theirs_are_another_lamp(tmp_path):
    """f/4 and f/16 in one light differ 16 times; at equal photons, the lamp does."""
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16, balance=0),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(), codec=joint.NoneConfig(), classifier=_small()
        ),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, augmentation="none", monitor="loss"),
    )
    study = joint.study.Study(
        base=base,
        axes={"stop": Axis(values=(4, 16))},
        derived={"system.sensor.photons": "300 * (8 / stop)**2"},
        plan=Plan(resamples=100),
        seeds=(0, 1),
    )
    ledger = create_study(study, tmp_path)
    assert work(tmp_path) == (4, 0, False)
    told = (
        "  photons: the same in all designs here, which were trained with 75 (design 1) to 1200 "
        "(design 0) per pixel: for as many photons, design 1 needs a lamp 16 times as bright"
    )
    found = elsewhere(ledger, POINTS, resamples=20)
    assert told in str(found).splitlines()
    assert found.own_photons == {0: 1200, 1: 75}
    assert json.loads(found.to_json())["own_photons"][1] == {"number": 1, "photons": 75}
    # Nothing of the light was asked for.
    found = elsewhere(ledger, [joint.OperatingPoint()], resamples=20)
    assert "photons: the same in all designs" not in str(found)


def test_where_the_light_is_an_axis_its_rows_say_so(trained):
    found = elsewhere(trained, [joint.OperatingPoint(photons=100)], resamples=20)
    assert found.own_photons == {}
    assert "photons: the same in all designs" not in str(found)
