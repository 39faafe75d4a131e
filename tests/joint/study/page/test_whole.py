import base64
import csv
import io
import json
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from joint.cli import main
from joint.saved.folder import RunFolder
from joint.saved.predictions import load_predictions
from joint.study import (
    TPE,
    Axis,
    Plan,
    Requirements,
    create_study,
    report,
    select_designs,
    study_html,
    write_study_html,
)
from joint.study.page import whole
from joint.study.page.charts import selection_figure

_VOID = {"meta", "img", "br"}
_PLANNED, _EXPLORED = "Planned before the first run", "Exploration"


class _Page(HTMLParser):
    """Headings with the text below them; refuses what is not well formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.sections, self.images = [], {"": ""}, []
        self.tags, self.anchors, self.links = set(), set(), []
        self._heading = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given)
        if tag == "img":
            self.images.append(given)
        if "id" in given:
            assert given["id"] not in self.anchors
            self.anchors.add(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "h2":
            self._heading = ""
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self._heading = data
            self.sections[data] = ""
        else:
            self.sections[self._heading] += f" {data}"


@pytest.fixture(scope="module")
def page(small_study, pretend, tmp_path_factory):
    """The page of a study that is done."""
    ledger = create_study(small_study(), tmp_path_factory.mktemp("study"))
    for run in ledger.runs:
        light = ledger.designs[run.design]["light"]
        pretend(ledger, run, 0.9 if light == 5000 else 0.6, bits=100.0 * (1 + run.design % 2))
    return study_html(ledger)


def test_the_page_is_whole_in_itself(page):
    parsed = _Page(page)
    assert not {"script", "link", "iframe", "object"} & parsed.tags
    assert "://" not in page
    assert "default-src 'none'" in page
    assert [link.removeprefix("#") for link in parsed.links] == [
        link.removeprefix("#") for link in parsed.links if link[1:] in parsed.anchors
    ]
    assert len(parsed.links) == len(parsed.sections) - 1
    assert "digest,state,design" in parsed.sections["All runs"]
    assert len(parsed.images) >= 6
    for image in parsed.images:
        content = base64.b64decode(image["src"].partition(",")[2], validate=True)
        assert Image.open(io.BytesIO(content)).size[0] > 100
        assert image["alt"]


def test_a_claim_stands_among_what_was_planned_alone(page):
    sections = _Page(page).sections
    assert "light=5000 against light=50 at depth=4" in sections[_PLANNED]
    assert sections[_PLANNED].count(" better ") == 2
    assert list(sections).index(_PLANNED) < min(
        number for number, title in enumerate(sections) if title.startswith(_EXPLORED)
    )
    for title, text in sections.items():
        if title.startswith(_EXPLORED):
            # Of a front, and of a shade; never of a design.
            assert " is better " not in text.replace("no design is better", "")
            assert "perhaps" not in text


def test_what_was_asked_is_all_there(small_study, tmp_path, undrawn):
    axes = {
        "stop": Axis(path="objective.task", values=(1, 2)),
        "light": Axis(values=(50, 300)),
    }
    derived = {"system.sensor.photons": "light / stop**2"}
    study = small_study(
        axes=axes,
        derived=derived,
        costs={"lamp": "3 * light"},
        constraints=("light <= 200 * stop",),
        plan=Plan(),
        seeds=(3, 5),
    )
    sections = _Page(study_html(create_study(study, tmp_path / "asked"), elements=False)).sections
    words = " ".join(sections["What was asked"].split())
    assert "3 designs on 2 seeds: 6 runs, of which 0 are done" in words
    assert "light system.sensor.photons 50, 300" in words  # what it changes, by the formula
    assert "stop objective.task, system.sensor.photons 1, 2" in words
    assert "derived system.sensor.photons = light / stop**2" in words
    assert "cost lamp = 3 * light" in words
    assert "constraint light <= 200 * stop" in words
    assert "of lesions and seeds" in words
    assert "digest,state,design" not in sections.get("All runs", "")


def test_how_the_designs_were_chosen_is_told(small_study, tmp_path, undrawn):
    search = TPE(count=4, startup=4, batch=2, objectives={"accuracy": "up", "photons": "down"})
    study = small_study(sampler=search, plan=Plan(resamples=100))
    told = " ".join(study_html(create_study(study, tmp_path)).split())
    assert "tpe; count 4; seed 0; objectives accuracy up, photons down; startup 4; batch 2" in told


def test_what_comes_from_a_study_is_text(small_study, pretend, tmp_path, undrawn):
    axes = {
        "camera": Axis(
            path="system.sensor.photons", values=(50, 90), labels=("<b>dim</b>", "a $x_1$ & b")
        )
    }
    study = small_study(axes=axes, plan=Plan(resamples=100), name="<i>odd</i>", question="1 < 2?")
    ledger = create_study(study, tmp_path / "odd")
    for run in ledger.runs:
        pretend(ledger, run, 0.7)
    text = study_html(ledger)
    assert "<b>dim" not in text
    assert "<i>odd" not in text
    parsed = _Page(text)
    assert "camera=<b>dim</b>" in parsed.sections["Exploration: designs"]
    assert "1 < 2?" in parsed.sections[""]
    assert "all that follows is exploration" in parsed.sections[_PLANNED]
    assert "Exploration: which choice matters" not in parsed.sections  # one axis: see the designs


def test_failures_are_outcomes_and_are_shown(ledger, pretend, undrawn):
    for run in ledger.runs:
        if run.design == 0 and run.seed < 2:
            ledger.path(run).mkdir(parents=True)
            RunFolder(ledger.path(run)).fail(RuntimeError("the <loss> is no number"))
        else:
            pretend(ledger, run, 0.9 if ledger.designs[run.design]["light"] == 5000 else 0.6)
    sections = _Page(study_html(ledger)).sections
    assert "30 are done, 2 failed" in sections["What was asked"]
    failed = sections["Runs that failed"]
    assert failed.count("RuntimeError: the <loss> is no number") == 2
    assert "0: light=50, depth=4, seed 1: RuntimeError" in failed


def test_a_study_that_has_not_begun_has_a_page(ledger, undrawn):
    sections = _Page(study_html(ledger)).sections
    assert "0 are done" in sections["What was asked"]
    assert "not shown" in sections[_PLANNED]
    assert "finish more runs" in sections["Exploration: which choice matters"]
    assert "Exploration: learned elements" not in sections


def test_what_chance_gives_is_said_where_all_runs_have_one_test_part(
    finished, small_study, pretend, tmp_path, undrawn
):
    saved = load_predictions(finished.path(finished.runs[0]))
    counts = np.bincount(saved.labels, minlength=len(saved.classes))
    commonest = saved.classes[int(counts.argmax())]
    words = " ".join(_Page(study_html(finished, elements=False)).sections["What was asked"].split())
    always = f"{counts.max() / counts.sum():.3f}, a balanced accuracy of 1/{(counts > 0).sum()} ="
    assert f"By chance: always predicting {commonest}, the" in words
    assert f"has an accuracy of {always}" in words
    axes = {"light": Axis(path="data.difficulty", values=(0.2, 0.4))}
    other = create_study(small_study(axes=axes, plan=Plan(resamples=100)), tmp_path / "other")
    for run in other.runs:
        pretend(other, run, 0.7)
    assert "By chance" not in study_html(other, elements=False)


def test_another_metric_was_not_planned(finished, undrawn):
    sections = _Page(study_html(finished, metric="accuracy")).sections
    assert "Nothing was planned for accuracy" in sections[_PLANNED]
    assert sections[_PLANNED].count(" better ") == sections[_PLANNED].count("perhaps better ") == 2


def test_commands_write_page_and_tables(finished, tmp_path, capsys, undrawn):
    html, table = tmp_path / "study.html", tmp_path / "designs.csv"
    command = ["study", "report", str(finished.folder), "--html", str(html), "--csv", str(table)]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "planned before the first run" in out
    assert out.endswith(f"\nwrote {html}\n")
    told = [line.partition(": ") for line in err.splitlines()]
    assert [number for number, _, _ in told] == [f"report {n}/10" for n in range(1, 11)]
    assert [what for _, _, what in told][:3] == [
        "the intervals of the designs", "What was asked", _PLANNED,
    ]  # fmt: skip
    page = html.read_text()
    assert page == study_html(finished)
    html.unlink()
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert html.read_text() == page
    plots = tmp_path / "plots"
    given = ["--figures", str(plots), "--figure-format", "png"]
    assert main(["study", "report", str(finished.folder), *given]) == 0
    assert capsys.readouterr().out.endswith(f"\nwrote {plots}\n")
    assert len([*plots.glob("*.png")]) == page.count("<img ")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "balanced_accuracy"
    assert html.read_text().startswith("<!doctype html>")
    read = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(read) == 4
    assert read[0]["axis.light"] == "5000"
    assert float(read[0]["low"]) < float(read[0]["balanced_accuracy"]) < float(read[0]["high"])
    assert main(["study", "atlas", str(finished.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["designs"] == []
    with pytest.raises(ValueError, match=r"is a folder: give the name of a file, such as .*html"):
        write_study_html(finished, tmp_path)


# ------------------------------------------------------------------- what the plan requires


@pytest.fixture
def required(small_study, pretend, tmp_path):
    """A study that requires something, done."""
    wanted = Requirements(at_least={"balanced_accuracy": 0.65}, at_most={"bits": 150}, within=0.3)
    ledger = create_study(small_study(plan=Plan(requirements=wanted)), tmp_path / "study")
    for run in ledger.runs:
        light = ledger.designs[run.design]["light"]
        pretend(ledger, run, 0.9 if light == 5000 else 0.6, bits=100.0 * (1 + run.design % 2))
    return ledger


def test_the_report_says_who_meets_what_the_plan_requires(required):
    found = report(required)
    assert found.selection == select_designs(required)
    (best,) = found.selection.meeting()
    assert best.levels == {"light": 5000, "depth": 4}
    text = str(found)
    planned, explored = text.index("planned before"), text.index("exploration:")
    told = text.index(
        "  designs by the requirements balanced_accuracy >= 0.65, bits <= 150, within"
    )
    assert planned < told < explored
    assert "  nothing\n" not in text
    content = json.loads(found.to_json())["selection"]
    assert content["planned"]
    assert content["cheapest"]["bits"] == [best.number]
    # By another number, nothing was planned.
    assert report(required, metric="accuracy").selection is None


def test_the_page_shows_them_among_what_was_planned(required, capsys, tmp_path, undrawn):
    page = unescape(study_html(required))
    planned = page[page.index(">Planned before the first run</h2>") :]
    planned = planned[: planned.index("Exploration: ")]
    assert "Requirements: balanced_accuracy >= 0.65, bits <= 150, within 0.3 of the best" in planned
    assert "Lowest bits of those that meet them: 100, design " in planned
    assert planned.count("<img") == 1
    assert main(["study", "report", str(required.folder), "--figures", str(tmp_path / "all")]) == 0
    assert "Requirements" not in capsys.readouterr().out


def test_what_is_required_is_drawn_beside_what_is_reached(required):
    found = select_designs(required)
    figure = selection_figure(found)
    assert [axis.get_xlabel() for axis in figure.axes] == [
        "balanced accuracy", "photons/pixel at full scale", "bits/picture",
    ]  # fmt: skip
    accuracy, light, bits = figure.axes
    for axis, values in (
        (accuracy, [d.means["balanced_accuracy"] for d in found.designs]),
        (light, [d.costs["photons"] for d in found.designs]),
        (bits, [d.costs["bits"] for d in found.designs]),
    ):
        points = [line for line in axis.lines if line.get_marker() == "o"]
        assert [float(line.get_xdata()[0]) for line in points] == values
    bars = [collection.get_segments()[0][:, 0] for collection in accuracy.collections]
    assert bars[0] == pytest.approx(found.designs[0].intervals["balanced_accuracy"])
    dashed = [
        [float(line.get_xdata()[0]) for line in axis.lines if line.get_linestyle() == "--"]
        for axis in figure.axes
    ]
    assert dashed == [[0.65], [], [150.0]]
    names = [tick.get_text() for tick in accuracy.get_yticklabels()]
    assert names[0].endswith(": light=5000, depth=4")


def test_a_study_that_has_not_begun_requires_it_too(small_study, tmp_path, undrawn):
    plan = Plan(requirements=Requirements(at_least={"accuracy": 0.5}))
    ledger = create_study(small_study(plan=plan), tmp_path / "study")
    assert len([*whole._selection(select_designs(ledger))]) > 2
    assert "no run is done" in str(report(ledger))


def test_a_plan_is_shown_with_what_it_requires(small_study, tmp_path, capsys):
    plan = Plan(requirements=Requirements(at_least={"accuracy": 0.5}, within=0.1))
    file = tmp_path / "study.json"
    file.write_text(small_study(plan=plan).model_dump_json())
    assert main(["study", "run", str(file), "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith(
        "the plan requires of a design that is good enough:\n"
        "  accuracy >= 0.5\n  within 0.1 of the best balanced_accuracy\n"
    )
