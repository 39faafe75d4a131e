import json

import pytest
from commands import MISTAKE, OPTION, run

from joint import load_run
from joint.analysis import contrast_dependence


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that are barely trained, the second behind a camera."""
    from joint.cli import main

    root = tmp_path_factory.mktemp("contrast")
    small = ("--data.count", "120", "--data.image-size", "32", "--training.epochs", "1", "--quiet")
    for name, front_end in (("plain", "none"), ("edge", "kernel")):
        stages = ("--front-end", front_end, "--codec", "none")
        split = ("--split.fractions", "0.4", "0.1", "0.5")
        assert main(["train", "--output", str(root / name), *stages, *split, *small]) == 0
    return root / "plain", root / "edge"


def test_it_prints_what_the_analysis_finds(runs, capsys):
    asked = ("--factors", 0.5, 1, "--resamples", 30, "--seed", 3, "--measures", "cnr")
    status, out, _ = run(capsys, "contrast", runs[1], *asked)
    assert status == 0
    _, system, parts = load_run(runs[1])
    found = contrast_dependence(
        system, parts.test, factors=(0.5, 1), resamples=30, seed=3, measures=("cnr",)
    )
    assert out == f"{found}\n"
    status, out, _ = run(capsys, "contrast", runs[1], *asked, "--json")
    assert json.loads(out) == {"run": str(runs[1])} | json.loads(json.dumps(found.to_dict()))


def test_ring_and_bins_are_taken(runs, capsys):
    asked = ("--factors", 0.5, 1, "--resamples", 20, "--json")
    status, out, _ = run(
        capsys, "contrast", runs[0], *asked, "--inner", 1, "--outer", 4, "--bins", 8
    )
    assert status == 0
    _, system, parts = load_run(runs[0])
    found = contrast_dependence(
        system, parts.test, factors=(0.5, 1), resamples=20, inner=1, outer=4, bins=8
    )
    assert json.loads(out) == {"run": str(runs[0])} | json.loads(json.dumps(found.to_dict()))


def test_part_plane_and_number_of_pictures_are_taken(runs, capsys):
    asked = ("--factors", "--resamples", 20, "--json")
    _, whole, _ = run(capsys, "contrast", runs[1], *asked)
    _, some, _ = run(capsys, "contrast", runs[1], *asked, "--pictures", 7)
    _, other, _ = run(capsys, "contrast", runs[1], *asked, "--part", "validation")
    _, light, _ = run(capsys, "contrast", runs[1], *asked, "--plane", "measurement")
    whole, some, other, light = map(json.loads, (whole, some, other, light))
    _, _, parts = load_run(runs[1])
    assert (whole["pictures"], other["pictures"]) == (len(parts.test), len(parts.validation))
    assert some["pictures"] == 7
    assert (whole["plane"], light["plane"]) == ("scene", "measurement")
    assert light["measures"] != whole["measures"]
    assert whole["sweep"] is None


def test_several_runs_stand_in_a_table_and_a_figure(runs, capsys, tmp_path):
    figure = tmp_path / "recall.png"
    asked = ("--factors", 0.5, 1, "--resamples", 20, "--figure", figure)
    status, out, _ = run(capsys, "contrast", *runs, *asked)
    assert status == 0
    head, *rows, wrote = out.splitlines()[-4:]
    assert head.split("  ")[1:2] == ["run"]
    assert head.split()[-4:] == ["at", "0.5", "at", "1"]
    for name, row in zip(runs, rows, strict=True):
        _, system, parts = load_run(name)
        found = contrast_dependence(system, parts.test, factors=(0.5, 1), resamples=20)
        assert row.split()[0] == str(name)
        assert [float(each) for each in row.split()[-2:]] == pytest.approx(
            found.sweep.balanced_accuracy, abs=5e-4
        )
        slope = found.measures["delta_e"].effect.within_class.slope
        assert f"{slope:+.3f}" in row
    assert wrote == f"wrote {figure}"
    assert figure.stat().st_size > 10_000
    status, out, _ = run(capsys, "contrast", *runs, "--factors", "--resamples", 20, "--json")
    assert [each["run"] for each in json.loads(out)] == [str(name) for name in runs]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--factors", "1"), OPTION, "at least two contrasts of 0 or more, rising"),
        (("--factors", "1", "0.5"), OPTION, "not 1 0.5"),
        (("--factors", "-1", "0.5"), OPTION, "not -1 0.5"),
        (("--factors", "0.5", "nan"), OPTION, "not 0.5 nan"),
        (("--factors", "--figure", "x.png"), OPTION, "there are none"),
        (("--figure", "x.html"), OPTION, "writes a .png, .pdf or .svg"),
        (("--measures", "gcnr", "gcnr"), OPTION, "names one twice"),
        (("--inner", "10"), OPTION, "0 <= inner < outer pixels, not 10 and 10"),
        (("--inner", "-1"), OPTION, "not -1 and 10"),
        (("--outer", "inf"), OPTION, "not 2 and inf"),
        (("--bins", "1"), OPTION, "--bins must be at least 2, not 1"),
        (("--pictures", "0"), OPTION, "--pictures must be at least 1"),
        (("--device", "nowhere"), MISTAKE, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(runs, capsys, options, status, message):
    found, out, told = run(capsys, "contrast", runs[0], *options)
    assert (found, out) == (status, "")
    assert message in told


def test_a_run_is_named_once_and_at_least_one_is(runs, capsys):
    assert run(capsys, "contrast")[0] == OPTION
    status, out, told = run(capsys, "contrast", runs[0], runs[0], "--factors", "--resamples", 5)
    assert (status, out) == (OPTION, "")
    assert f"{runs[0]} is named twice" in told
    status, out, told = run(capsys, "contrast", runs[0], runs[0] / "not", "--factors")
    assert (status, out) == (MISTAKE, "")
    assert "it is no run folder" in told
