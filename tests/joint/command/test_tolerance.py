import json

import pytest
from commands import MISTAKE, OPTION, TINY, run

from joint import load_run
from joint.analysis import sensitivity, tolerance, zernike_error
from joint.cli import main
from joint.command.tolerance import read_limits
from joint.settings import OptionError


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    """A run with a lens, which is barely trained."""
    folder = tmp_path_factory.mktemp("tolerance") / "lens"
    options = ["--front-end", "lens", "--system.front-end.element", "phase", "--quiet"]
    assert main(["train", "--output", str(folder), *options, *TINY]) == 0
    return folder


LIMITS = ("defocus=0.25", "read_noise=1:4", "zernike_5=0.05")


def _meant():
    return {"defocus": 0.25, "read_noise": (1.0, 4.0), zernike_error(5): 0.05}


def test_it_prints_what_the_analysis_finds(lens, capsys):
    asked = ("--measure", "psnr_scene", "--devices", 3, "--pictures", 4, "--seed", 5)
    status, out, _ = run(
        capsys, "tolerance", lens, "--limits", *LIMITS, *asked, "--good", 20, "--json"
    )
    assert status == 0
    told = json.loads(out)
    share = told.pop("yield")
    _, system, parts = load_run(lens)
    assert len(parts.test) > 4
    # Four of them, which are in no particular order.
    levels = told["levels"]
    found = tolerance(system, parts.test, _meant(), measure="psnr_scene", devices=3, seed=5)
    assert levels == {name: list(each) for name, each in found.levels.items()}
    assert len(told["values"]) == 3
    assert share["value"] == sum(value >= 20 for value in told["values"]) / 3


def test_all_of_a_small_part_are_used_and_the_promises_follow(lens, capsys):
    asked = ("--measure", "psnr_scene", "--devices", 3, "--good", 20)
    status, out, _ = run(capsys, "tolerance", lens, "--limits", *LIMITS, *asked)
    assert status == 0
    _, system, parts = load_run(lens)
    found = tolerance(system, parts.test, _meant(), measure="psnr_scene", devices=3)
    assert out.startswith(str(found))
    assert f"psnr_scene of 20 or more: a share of {found.yield_at(20)} of all that are built" in out
    assert "3 devices cannot show what 90 % keep with a confidence of 0.95: that takes 29" in out


def test_alone_is_the_sensitivity(lens, capsys):
    asked = ("--alone", "--measure", "psnr_scene", "--part", "validation")
    status, out, _ = run(capsys, "tolerance", lens, "--limits", *LIMITS, *asked)
    assert status == 0
    _, system, parts = load_run(lens)
    assert out == f"{sensitivity(system, parts.validation, _meant(), measure='psnr_scene')}\n"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--limits", "defocus"), OPTION, "takes NAME=WIDTH or NAME=LOWEST:HIGHEST"),
        (("--limits", "defocus=wide"), OPTION, "not 'defocus=wide'"),
        (("--limits", "defocus=1:"), OPTION, "not 'defocus=1:'"),
        (("--limits", "defocus=1", "defocus=2"), OPTION, "names defocus twice"),
        (("--limits", "zernike_0=0.1"), OPTION, "--limits zernike_0=0.1: index must be Noll's"),
        (("--limits", "wavefront_7_4=0.1"), OPTION, "indices must be Noll's"),
        (("--limits", "focus=0.1"), MISTAKE, "perturbation must be one of defocus"),
        (("--limits", "kernel_error=0.1"), MISTAKE, "no kernel_error: it needs"),
        (("--limits", "defocus=1", "--devices", "1"), OPTION, "--devices must be at least 2"),
        (("--limits", "defocus=1", "--good", "nan"), OPTION, "--good must be a finite number"),
        (("--limits", "defocus=1", "--alone", "--good", "1"), OPTION, "leave out --alone"),
        (
            ("--limits", "defocus=1", "--alone", "--distribution", "normal"),
            OPTION,
            "leave out --distribution",
        ),
        (("--limits", "defocus=1", "--measure", "psn"), MISTAKE, "measure must be a function or"),
    ],
)
def test_what_cannot_be_is_refused(lens, capsys, options, status, message):
    found, out, told = run(capsys, "tolerance", lens, *options)
    assert (found, out) == (status, "")
    assert message in told


def test_terms_and_groups_have_names():
    found = read_limits(["wavefront_4_11=0:0.05", "decentre.all=0.01", "rotation.0+2=1"])
    (wavefront, both), (moved, width), (turned, angle) = found.items()
    assert (wavefront.name, both) == ("wavefront_4_11", (0.0, 0.05))
    assert wavefront.drawn
    assert (moved.name, width) == ("decentre.all", 0.01)
    assert (turned.name, angle) == ("rotation.0+2", 1.0)
    with pytest.raises(OptionError, match=r"decentre\.1\+1"):
        read_limits(["decentre.1+1=0.1"])


def test_parts_of_a_traced_lens_have_names():
    found = read_limits(["element_tilt.0=3", "element_tilt.0-1=1:3", "surface_tilt.1-2=2"])
    assert [(kind.name, limit) for kind, limit in found.items()] == [
        ("element_tilt.0", 3.0),
        ("element_tilt.0-1", (1.0, 3.0)),
        ("surface_tilt.1-2", 2.0),
    ]
    with pytest.raises(OptionError, match=r"radius\.0-1=1: radius is one surface's own"):
        read_limits(["radius.0-1=1"])
    for row in ("element_tilt.0.x", "element_tilt.0-1.y"):
        with pytest.raises(OptionError, match=f"{row} is a row of results: .* {row[:-2]}$"):
            read_limits([f"{row}=3"])


def test_help_names_the_tolerances_of_a_traced_lens_with_their_units(capsys):
    with pytest.raises(SystemExit):
        main(["tolerance", "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "surface_decentre (micrometres) and surface_tilt (arc minutes)" in told
    assert "element_decentre and element_tilt (the same)" in told
