import json
import math

import numpy as np
import pytest

from joint.study import create_study, outcomes, report, rows
from joint.study.findings.draws import resample
from joint.study.findings.front import fronts
from joint.study.findings.inference import variance_of
from joint.study.findings.pareto import hypervolume, hypervolume_shares


def test_fronts_of_a_study(finished):
    draws = resample(
        outcomes(finished, "balanced_accuracy"), metric="balanced_accuracy", resamples=200
    )
    found = fronts(rows(finished), draws)
    assert [front.costs for front in found] == [("photons",), ("bits",), ("photons", "bits")]
    both = {point.design: point for point in found[2].points}
    # More bits for the same are of no use; the better one with more light is always ahead.
    ahead = {n for n, point in both.items() if point.on_front}
    assert {(both[n].levels["light"], both[n].levels["depth"]) for n in ahead} == {
        (50, 4), (5000, 4),
    }  # fmt: skip
    assert all(both[number].probability == 1 for number in ahead)
    by_bits = {point.design: point for point in found[1].points}
    best = max(by_bits.values(), key=lambda point: point.value)
    assert best.probability > 0.4
    assert best.interval.low < best.value < best.interval.high
    dim = [p for p in found[1].points if p.levels["light"] == 50]
    assert all(point.probability < 0.05 for point in dim)
    assert "100 bits" in str(found[1])
    assert found[0].to_dict()["points"][0]["costs"] == {"photons": 50.0}
    (one,) = fronts(rows(finished), draws, costs=["parameters"])
    assert one.costs == ("parameters",)
    with pytest.raises(ValueError, match="no cost 'weight'; choose from photons, bits"):
        fronts(rows(finished), draws, costs=["weight"])


def test_designs_without_a_cost_are_left_out(ledger, pretend):
    for run in ledger.runs:
        pretend(ledger, run, 0.8, bits=None if run.design == 1 else 50.0 + run.design)
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=50)
    (front,) = fronts(rows(ledger), draws, costs=["bits"])
    assert front.left_out == (1,)
    assert [point.design for point in front.points] == [0, 2, 3]


def test_the_hypervolume_of_a_study(finished):
    draws = resample(
        outcomes(finished, "balanced_accuracy"), metric="balanced_accuracy", resamples=300
    )
    found = fronts(rows(finished), draws)
    for front in found:
        whole = front.hypervolume
        names = ("balanced_accuracy", *front.costs)
        ends = [whole.reference[name] for name in names]
        ways = [False, *(True for _ in front.costs)]
        values = [[p.value, *p.costs.values()] for p in front.points]
        assert whole.value == pytest.approx(hypervolume(values, ends, minimise=ways))
        # Of each draw by itself; all designs were run on all seeds.
        costs = {p.design: [*p.costs.values()] for p in front.points}
        drawn = [
            [
                hypervolume(
                    [[v, *costs[d]] for v, d in zip(draw, draws.designs, strict=True)],
                    ends,
                    minimise=ways,
                )
                for draw in part
            ]
            for part in (draws.drawn, draws.of_seeds, draws.of_lesions)
        ]
        low, high = whole.interval
        both, of_seeds, of_lesions = drawn
        # The noise of seeds on lesions is in the first three times, in the others once each.
        bias = 2 * (np.mean(of_seeds) + np.mean(of_lesions) - 2 * whole.value)
        bias -= np.mean(both) - whole.value
        assert (low + high) / 2 == pytest.approx(whole.value - bias)
        error = math.sqrt(variance_of(*map(np.var, drawn), 8))
        assert 1.9 * error < (high - low) / 2 < 3.2 * error < 3.2 * np.std(both)
        shares = hypervolume_shares(values, ends, minimise=ways)
        assert [p.share for p in front.points] == pytest.approx(shares.tolist())
        assert 0 < whole.of_box <= 1
        assert f"hypervolume {whole.value:.6g} [" in str(front)
    assert found[0].to_dict()["hypervolume"]["reference"]["photons"] == pytest.approx(5495)
    same = {"photons": 10_000.0, "balanced_accuracy": 0.0}
    (one,) = fronts(rows(finished), draws, costs=["photons"], reference=same)
    assert one.hypervolume.reference == same
    best = max(one.points, key=lambda p: (p.value, -p.costs["photons"]))
    assert one.hypervolume.value >= best.value * (10_000 - best.costs["photons"])
    with pytest.raises(ValueError, match="names 'photon', not one of balanced_accuracy, ph"):
        fronts(rows(finished), draws, reference={"photon": 1.0})


def test_a_hypervolume_without_seeds_or_with_many_costs(small_study, pretend, tmp_path):
    costs = {"lamp": "photons", "sent": "bits", "kept": "2 * bits", "paid": "photons + bits"}
    ledger = create_study(small_study(costs=costs), tmp_path)
    for run in ledger.runs:
        if run.seed == ledger.study.seeds[0]:
            pretend(ledger, run, 0.5 + 0.1 * run.design, bits=50.0 * (1 + run.design))
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=50)
    (few,) = fronts(rows(ledger), draws, costs=["sent"])
    assert few.hypervolume.interval is None
    assert sum(p.share for p in few.points) > 0
    *_, every = fronts(rows(ledger), draws)
    assert len(every.costs) == 4
    assert every.hypervolume is None
    assert {p.share for p in every.points} == {None}
    assert "adds" not in str(every)
    assert {each.share for each in report(ledger).designs} == {None}


def test_the_report_tells_what_each_design_adds(finished):
    judged = report(finished)
    draws = resample(
        outcomes(finished, "balanced_accuracy"), metric="balanced_accuracy", resamples=50
    )
    *_, every = fronts(rows(finished), draws)
    shares = {point.design: point.share for point in every.points}
    assert {each.number: each.share for each in judged.designs} == pytest.approx(shares)
    assert [each.share > 0 for each in judged.designs] == [each.on_front for each in judged.designs]
    head, first, *_ = judged.to_csv().splitlines()
    assert head.endswith("on_front,hypervolume_share")
    assert float(first.split(",")[-1]) == judged.designs[0].share


def test_the_report_and_the_page_count_the_same_costs(ledger, pretend):
    """Three costs differ, and the parameters, which would be a fourth."""
    for run in ledger.runs:
        pretend(ledger, run, 0.5 + 0.1 * run.design, bits=50.0 * (1 + run.design))
        path = ledger.path(run) / "result.json"
        result = json.loads(path.read_text())
        # The best design has the fewest pixels and the most parameters.
        result["costs"] |= {"pixels": 9 - run.design, "parameters": 10 + run.design}
        path.write_text(json.dumps(result))
    draws = resample(outcomes(ledger, "accuracy"), metric="accuracy", resamples=50)
    *_, every = fronts(rows(ledger), draws)
    assert every.costs == ("photons", "bits", "pixels")
    judged = report(ledger, metric="accuracy")
    shares = {each.number: each.share for each in judged.designs}
    assert shares == pytest.approx({p.design: p.share for p in every.points})
    ahead = {each.number: each.on_front for each in judged.designs}
    assert ahead == {p.design: p.on_front for p in every.points}
    assert "at costs that are all as low (photons, bits, pixels)\n" in f"{judged}\n"


def test_parameters_alone_keep_no_design_on_the_front(ledger, pretend):
    """As on the page: of equal photons and bits, the better is ahead whatever its size."""
    for run in ledger.runs:
        dim = ledger.designs[run.design]["light"] == 50
        pretend(ledger, run, 0.5 + 0.1 * run.design, bits=100.0 if dim else 200.0)
        path = ledger.path(run) / "result.json"
        result = json.loads(path.read_text())
        result["costs"]["parameters"] = 10 + run.design
        path.write_text(json.dumps(result))
    judged = report(ledger, metric="accuracy")
    # Of each light the second design, whose skill is higher.
    ahead = {each.number for each in judged.designs if each.on_front}
    assert ahead == {1, 3}


def test_a_cost_that_is_named_twice_counts_once(finished, draws_of):
    draws = draws_of([0.4, 0.3, 0.2, 0.1])
    found = fronts(rows(finished), draws, costs=["photons", "bits", "photons"])
    assert [front.costs for front in found] == [("photons",), ("bits",), ("photons", "bits")]
    assert [front.costs for front in fronts(rows(finished), draws, costs=["bits", "bits"])] == [
        ("bits",)
    ]


def test_a_volume_that_ends_before_the_designs_is_no_share_of_a_box(finished, draws_of):
    draws = draws_of([0.4, 0.3, 0.2, 0.1])
    (front,) = fronts(rows(finished), draws, costs=["bits"], reference={"bits": 1.0})
    assert front.hypervolume.value == 0
    assert np.isnan(front.hypervolume.of_box)
    assert "hypervolume 0 [0, 0], up to loss" in str(front)
