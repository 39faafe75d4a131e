import json
from html import unescape

import pytest

from joint.cli import main
from joint.study import Plan, Requirements, create_study, report, select_designs, study_html
from joint.study.page.charts import selection_figure
from joint.study.page.selection import selection


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
    told = text.index("  designs of balanced_accuracy >= 0.65, bits <= 150, within 0.3 of the best")
    assert planned < told < explored
    assert "  nothing\n" not in text
    content = json.loads(found.to_json())["selection"]
    assert content["planned"]
    assert content["cheapest"]["bits"] == [best.number]
    # By another number, nothing was planned.
    assert report(required, metric="accuracy").selection is None


def test_the_page_shows_them_among_what_was_planned(required, capsys, tmp_path):
    page = unescape(study_html(required))
    planned = page[page.index(">Planned before the first run</h2>") :]
    planned = planned[: planned.index("Exploration: ")]
    assert "Required: balanced_accuracy >= 0.65, bits <= 150, within 0.3 of the best" in planned
    assert "The least bits of those that meet them: 100, design " in planned
    assert planned.count("<img") == 1
    assert main(["study", "report", str(required.folder), "--figures", str(tmp_path / "all")]) == 0
    assert "Required" not in capsys.readouterr().out


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


def test_a_study_that_has_not_begun_requires_it_too(small_study, tmp_path):
    plan = Plan(requirements=Requirements(at_least={"accuracy": 0.5}))
    ledger = create_study(small_study(plan=plan), tmp_path / "study")
    assert len([*selection(select_designs(ledger))]) > 2
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
