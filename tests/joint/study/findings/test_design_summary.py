import numpy as np
import pytest
from scipy import stats

from joint.study import Axis, Outcome, Plan, create_study, expected_maximum, outcomes, report
from joint.study.findings.design_summary import luck_of_best


def test_designs_come_best_first_and_the_front_is_marked(finished):
    found = report(finished)
    means = [design.estimate.mean for design in found.designs]
    assert means == sorted(means, reverse=True)
    assert {design.levels["light"] for design in found.designs[:2]} == {5000}
    # More bits for equal scores are dominated.
    assert {(d.levels["light"], d.levels["depth"]) for d in found.designs if d.on_front} == {
        (50, 4), (5000, 4),
    }  # fmt: skip
    assert found.designs[0].costs["photons"] == 5000
    assert found.designs[0].costs["parameters"] == 10
    assert "*: no design is ahead at costs that are all as low" in str(found)
    assert "photons: per pixel at full scale" in str(found)


def test_runs_that_failed_are_bad_luck_where_they_score_nothing():
    seeds = [Outcome(0, 0.8), Outcome(1, None), Outcome(2, 0.8)]
    others = [Outcome(3 + run.seed, run.value) for run in seeds]
    luck = luck_of_best([seeds, others], "accuracy")
    assert luck == pytest.approx(expected_maximum(2) * stats.sem([0.8, 0, 0.8]))
    assert luck_of_best([seeds, others], "loss") == 0


def test_what_a_seed_does_to_all_designs_puts_none_ahead():
    """A spread of 0.04 that they share made it 0.028, where the lead was 0.0077."""
    generator = np.random.default_rng(0)
    values = 0.7 + 0.04 * generator.normal(size=30) + 0.01 * generator.normal(size=(12, 30))
    designs = [[Outcome(seed, value) for seed, value in enumerate(row)] for row in values]
    luck = expected_maximum(12) * 0.01
    assert luck_of_best(designs, "loss") == pytest.approx(luck / np.sqrt(30), rel=0.1)
    # By the seeds that all have, one of them fewer in a design.
    designs[3] = designs[3][1:]
    assert luck_of_best(designs, "loss") == pytest.approx(luck / np.sqrt(30), rel=0.1)


def test_the_best_is_one_of_the_designs_that_have_a_number(small_study, tmp_path, pretend):
    axes = {"light": Axis(path="system.sensor.photons", values=tuple(range(50, 62)))}
    ledger = create_study(small_study(axes=axes, plan=Plan()), tmp_path)
    for run in ledger.runs:
        if run.design < 2:
            pretend(ledger, run, 0.7 + 0.02 * (run.design * run.seed % 3))
    found = report(ledger)
    runs = [[run.value for run in outcomes(ledger, found.metric)[n]] for n in (0, 1)]
    spread = stats.sem(np.subtract(*runs)) / np.sqrt(2)
    assert found.luck == pytest.approx(expected_maximum(2) * spread)
    assert f"the best of 2 equal designs would be {found.luck:.4f} above" in str(found)
