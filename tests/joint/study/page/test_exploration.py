import pytest

import joint
from joint.study import (
    Axis,
    Plan,
    create_study,
    fronts,
    outcomes,
    report,
    resample,
    rows,
    study_html,
)
from joint.study.findings.effects import effects
from joint.study.page.charts import front_figure
from joint.study.page.exploration import choices, costs, designs, notes, rates

# They are read, not looked at.
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def done(small_study, pretend, tmp_path_factory):
    """More light is better, and more depth costs bits; the report of it, and draws."""
    ledger = create_study(small_study(), tmp_path_factory.mktemp("study"))
    for run in ledger.runs:
        light = ledger.designs[run.design]["light"]
        pretend(ledger, run, 0.9 if light == 5000 else 0.6, bits=100.0 * (1 + run.design % 2))
    judged = report(ledger)
    draws = resample(outcomes(ledger, judged.metric), metric=judged.metric, resamples=100)
    return ledger, judged, draws


def test_the_luck_of_the_best_and_the_costs_are_told(done):
    _, judged, _ = done
    text = "".join(designs(judged))
    assert "the best of 4 equal designs would be 0.0" in text
    assert "confirm a choice on fresh seeds" in text
    assert "5,000" in text
    assert f"{judged.designs[0].estimate.mean:.4f}" in text


def test_the_best_is_one_of_the_designs_that_have_a_number(small_study, pretend, tmp_path):
    ledger = create_study(small_study(), tmp_path)
    for run in ledger.runs:
        if run.design < 2:
            pretend(ledger, run, 0.7 + 0.02 * (run.design * run.seed % 3))
    assert "the best of 2 equal designs would be 0.0" in "".join(designs(report(ledger)))


def test_what_each_axis_does_is_told(done):
    ledger, _, draws = done
    assert "light and depth" in "".join(choices(ledger.designs, draws))
    nothing = resample({}, metric="accuracy", resamples=100)
    assert "finish more runs" in "".join(choices(ledger.designs, nothing))


def test_fronts_are_against_each_cost_and_all(done):
    ledger, _, draws = done
    text = "".join(costs(rows(ledger), draws))
    for against in ("photons", "bits", "photons, bits"):
        assert f"<td>{against}</td>" in text
    assert text.count("<td>photons, bits</td>") == 3  # two designs on the front, and its volume
    assert "alone adds" in text
    assert "of the box" in text
    told = fronts(rows(ledger), draws)
    assert f"{told[0].hypervolume.value:.6g} [" in text
    assert f"{max(p.share for p in told[2].points):.1%}" in text
    assert "balanced_accuracy 0." in text
    assert "No cost differs" in "".join(costs((), resample({}, metric="loss", resamples=100)))


def test_costs_that_a_study_makes_are_drawn_and_told(small_study, pretend, tmp_path):
    study = small_study(costs={"lamp": "light", "seconds": "bits / 2e6"})
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        pretend(ledger, run, 0.9, bits=100.0 * (1 + run.design % 2))
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=100)
    text = "".join(costs(rows(ledger), draws))
    for against in ("lamp", "seconds", "lamp, seconds"):
        assert f"<td>{against}</td>" in text
    front = fronts(rows(ledger), draws)[0]
    assert front_figure(front).axes[0].get_xlabel() == "lamp"


def test_rates_need_several_points_and_a_metric_that_grows(done):
    ledger, _, _ = done
    assert list(rates(ledger, "balanced_accuracy")) == []
    assert list(rates(ledger, "nll")) == []


def test_notes_are_sentences_that_stand_once():
    assert [str(line) for line in notes(["one", None, "one", "two"])] == [
        str(line) for line in notes(["one", "two"])
    ]
    assert "One." in next(iter(notes(["one"])))


def test_the_level_of_the_plan_is_that_of_every_interval(small_study, pretend, tmp_path):
    ledger = create_study(small_study(plan=Plan(alpha=0.01, resamples=100)), tmp_path)
    for run in ledger.runs:
        light = ledger.designs[run.design]["light"]
        pretend(ledger, run, 0.9 if light == 5000 else 0.6, bits=100.0 * (1 + run.design % 2))
    page = study_html(ledger, elements=False)
    assert "(99 %)" in page
    assert "95 %" not in page
    judged = report(ledger)
    draws = resample(outcomes(ledger, judged.metric), metric=judged.metric, resamples=100)
    for level in (0.5, 0.99):
        text = "".join(costs(rows(ledger), draws, level=level))
        assert f"({100 * level:g} %)" in text
        point = fronts(rows(ledger), draws, level=level)[0].points[0]
        assert "{:.4f} [{:.4f}, {:.4f}]".format(point.value, *point.interval) in text
        text = "".join(choices(ledger.designs, draws, level=level))
        assert f"({100 * level:g} %)" in text
        share = effects(dict(enumerate(ledger.designs)), draws, level=level).axes[1].share
        assert "{:.2f} [{:.2f}, {:.2f}]".format(share.value, *share.interval) in text


def test_curves_that_are_not_drawn_are_counted(small_study, small_base, pretend, tmp_path):
    base = small_base()
    system = base.system.model_copy(update={"codec": joint.JPEGConfig()})
    axes = {
        "light": Axis(path="system.sensor.photons", values=tuple(range(100, 142))),
        "quality": Axis(path="system.codec.quality", values=(20, 80)),
    }
    base = base.model_copy(update={"system": system})
    study = small_study(base=base, axes=axes, plan=Plan(resamples=100), seeds=(0,))
    ledger = create_study(study, tmp_path)
    for run in ledger.runs:
        levels = ledger.designs[run.design]
        bits = 10.0 * levels["quality"] + levels["light"] / 100
        pretend(ledger, run, 0.4 + levels["quality"] / 200, bits=bits)
    text = "".join(rates(ledger, "balanced_accuracy"))
    assert "40 curves are drawn and 2 left out: more could not be told apart." in text
