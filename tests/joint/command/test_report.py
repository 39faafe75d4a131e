import json
import shutil

import pytest
from commands import MISTAKE, OPTION, run

import joint
from joint.command.report import _names_of
from joint.study import Axis, Comparison, Plan, Study, create_study


@pytest.mark.usefixtures("undrawn")
def test_report_calls_the_runs_of_a_study_by_their_designs(trained, tmp_path, capsys):
    light = Axis(path="system.sensor.photons", values=(50, 5000))
    plan = Plan(comparisons=(Comparison(first={"light": 5000}, second={"light": 50}),))
    base = joint.RunConfig(data=joint.PhantomConfig(count=60, image_size=32))
    asked = Study(base=base, axes={"light": light}, plan=plan, seeds=range(3, 9))
    ledger = create_study(asked, tmp_path / "study")
    folders = [ledger.path(each) for each in ledger.runs[:2]]
    for folder in folders:
        shutil.copytree(trained, folder)  # what a report says of a run is of its own folder
    designs = ["light=50, seed 3", "light=5000, seed 3"]
    assert _names_of([*folders, trained]) == [*designs, trained.name]
    page = tmp_path / "page.html"
    quick = ["--output", page, "--quick", "--resamples", "20", "--pictures", "4"]
    status, out, err = run(capsys, "report", folders[0], trained, *quick)
    assert (status, out) == (0, f"wrote {page}\n"), err
    for name in (designs[0], trained.name):
        assert f"{name}: the scenes" in err
        assert f">{name}</h2>" in page.read_text()
    (tmp_path / "study" / "study.json").write_text("{")  # the runs are whole
    assert _names_of(folders) == [folder.name for folder in folders]


@pytest.mark.usefixtures("undrawn")
def test_report_writes_a_page(trained, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    quick = ["--output", page, "--quick", "--resamples", "20", "--pictures", "4"]
    plots = tmp_path / "plots"
    options = ["--figures", plots, "--figure-format", "png"]
    status, out, err = run(capsys, "report", trained, *quick, *options)
    assert (status, out) == (0, f"wrote {page}, and its figures to {plots}\n"), err
    accuracy = json.loads((trained / "result.json").read_text())["test"]["accuracy"]
    assert f"{accuracy:.3f} [" in page.read_text()
    told = [line.partition(": ") for line in err.splitlines()]
    assert [number for number, _, _ in told] == [f"report {n}/15" for n in range(1, 16)]
    assert [what for _, _, what in told][:4] == [
        "the intervals of the classification", "the scenes", "What the run is", "Training",
    ]  # fmt: skip
    before = page.read_bytes()
    assert len([*plots.glob("*.png")]) == before.count(b"<img ")
    status, out, err = run(capsys, "report", trained, *quick, "--quiet")
    assert (status, out, err) == (0, "", "")
    assert page.read_bytes() == before
    status, _, err = run(capsys, "report", trained, tmp_path / "new", *quick)
    assert status == MISTAKE
    assert f"cannot read {tmp_path / 'new'}: it is no run folder" in err
    assert page.read_bytes() == before


def test_a_page_is_html(trained, tmp_path, capsys):
    for name in ("page.pdf", "page"):
        page = tmp_path / name
        status, out, err = run(capsys, "report", trained, "--output", page)
        assert (status, out) == (OPTION, "")
        assert f"--output writes an .html, not {page}; for a PDF print that page, or give" in err
        assert not page.exists()
    status, _, err = run(capsys, "report", trained, "--output", tmp_path)
    assert status == MISTAKE
    assert f"{tmp_path} is a folder: give the name of a file" in err
