import itertools
import json
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from joint.saved.predictions import Predictions
from joint.study import outcomes
from joint.study.findings.draws import resample
from joint.study.findings.effects import effects
from joint.study.findings.inference import Outcome

AXES = {"light": (50, 300, 2000), "camera": ("lens", "kernel"), "depth": (4, 6, 8, 10)}
FULL = [dict(zip(AXES, levels, strict=True)) for levels in itertools.product(*AXES.values())]


def _by_means(designs, values):
    """Shares of a full factorial by subtracting means, straight from the definition."""
    names = list(designs[0])
    grand = values.mean()

    def mean_given(chosen):
        keys = [tuple(design[name] for name in chosen) for design in designs]
        return np.array(
            [np.mean([v for k, v in zip(keys, values, strict=True) if k == key]) for key in keys]
        )

    total = np.mean((values - grand) ** 2)
    first = {n: np.mean((mean_given([n]) - grand) ** 2) / total for n in names}
    rest = {
        n: 1 - np.mean((mean_given([m for m in names if m != n]) - grand) ** 2) / total
        for n in names
    }
    pairs = {
        (a, b): np.mean((mean_given([a, b]) - mean_given([a]) - mean_given([b]) + grand) ** 2)
        / total
        for a, b in combinations(names, 2)
    }
    return first, rest, pairs


def _explained(designs, values, names):
    """Sum of squares that some axes explain, by least squares on indicator columns."""
    columns = [np.ones(len(values))]
    for name in names:
        levels = list(dict.fromkeys(design[name] for design in designs))
        columns += [np.array([float(d[name] == level) for d in designs]) for level in levels]
    matrix = np.stack(columns, 1)
    fitted = matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0]
    return float(np.sum((fitted - values.mean()) ** 2))


def test_shares_of_a_full_factorial_are_those_of_its_definition(draws_of):
    values = np.random.default_rng(0).normal(size=len(FULL))
    found = effects(dict(enumerate(FULL)), draws_of(values))
    first, rest, pairs = _by_means(FULL, values)
    assert found.factorial
    assert found.variance == pytest.approx(values.var())
    for axis in found.axes:
        assert axis.share.value == pytest.approx(first[axis.axis])
        assert axis.total.value == pytest.approx(rest[axis.axis])
    for pair in found.pairs:
        assert pair.share.value == pytest.approx(pairs[pair.axes])
    # What three axes do together is the rest.
    told = sum(a.share.value for a in found.axes) + sum(p.share.value for p in found.pairs)
    assert 0 < told < 1


def test_a_function_whose_shares_are_known(draws_of):
    # y = a + b + 2 a b of two signs: variances 1, 1 and 4.
    designs = [{"a": a, "b": b} for a in (-1, 1) for b in (-1, 1)]
    values = np.array([d["a"] + d["b"] + 2 * d["a"] * d["b"] for d in designs], dtype=float)
    found = effects(dict(enumerate(designs)), draws_of(values))
    assert [axis.share.value for axis in found.axes] == pytest.approx([1 / 6, 1 / 6])
    assert [axis.total.value for axis in found.axes] == pytest.approx([5 / 6, 5 / 6])
    assert found.pairs[0].share.value == pytest.approx(4 / 6)
    low, high = found.axes[0].levels
    assert (low.level, low.mean, low.effect) == (-1, pytest.approx(-1), pytest.approx(-1))
    assert (high.designs, high.mean, high.effect) == (2, pytest.approx(1), pytest.approx(1))


def test_shares_of_other_designs_are_those_of_least_squares(draws_of):
    generator = np.random.default_rng(1)
    designs = [FULL[k] for k in generator.choice(len(FULL), 17, replace=False)]
    values = generator.normal(size=17)
    found = effects(dict(enumerate(designs)), draws_of(values))
    assert not found.factorial
    assert "what it explains beyond all others" in found.notes[0]
    total = float(np.sum((values - values.mean()) ** 2))
    for axis in found.axes:
        others = [name for name in AXES if name != axis.axis]
        beyond = _explained(designs, values, AXES) - _explained(designs, values, others)
        assert axis.share.value == pytest.approx(beyond / total)
        assert axis.total is None


def test_means_of_levels_do_not_take_over_what_other_axes_do(draws_of):
    # The kernel is only ever used with little light, which is worse by 1.
    designs = [
        {"camera": "lens", "light": 50},
        {"camera": "lens", "light": 2000},
        {"camera": "kernel", "light": 50},
    ]
    found = effects(dict(enumerate(designs)), draws_of([0.0, 1.0, 0.2]))
    camera, light = found.axes
    assert [p.effect for p in camera.levels] == pytest.approx([-0.1, 0.1])
    assert [p.effect for p in light.levels] == pytest.approx([-0.5, 0.5])
    assert found.pairs[0].share is None
    assert "as many levels as designs" in " ".join(found.notes)


def test_levels_that_only_come_together_have_no_mean(draws_of):
    designs = [{"a": n, "b": -n, "c": m} for n in (1, 2) for m in (1, 2)]
    found = effects(dict(enumerate(designs)), draws_of([0.0, 1.0, 2.0, 4.0]))
    assert all(math.isnan(p.mean) for p in found.axes[0].levels)
    assert [p.effect for p in found.axes[2].levels] == pytest.approx([-0.75, 0.75])
    assert "the levels of a cannot be separated" in " ".join(found.notes)


def test_noise_is_not_taken_for_an_effect(draws_of):
    generator = np.random.default_rng(2)
    truth = np.array([0.02 * (design["camera"] == "lens") for design in FULL])
    noise, variances, shares, only_noise = 0.01, [], [], []
    for _ in range(60):
        values = truth + generator.normal(0, noise, len(FULL))
        drawn = values + generator.normal(0, noise, (100, len(FULL)))
        found = effects(dict(enumerate(FULL)), draws_of(values, drawn))
        variances.append(found.variance)
        shares.append(found.axes[1].share.value)
        flat = effects(dict(enumerate(FULL)), draws_of(values - truth, drawn - truth))
        only_noise.append(flat.variance)
    # Without a correction these are 2e-4, 52 % and 1 in the mean.
    assert np.mean(variances) == pytest.approx(truth.var(), rel=0.25)
    assert np.nanmedian(shares) > 0.8
    assert np.mean(only_noise) < 0.25 * noise**2


def test_noise_of_seeds_on_lesions_is_taken_off_once():
    """Draws of both have it three times: of a true variance of 0.0008 nothing was left."""
    generator, lesions, found = np.random.default_rng(0), 60, []
    labels, names = np.arange(lesions) % 2, tuple(map(str, range(lesions)))
    designs = {n: {"a": n // 2, "b": n % 2} for n in range(4)}
    better = [0.35 * each["a"] for each in designs.values()]
    for _ in range(30):
        hard, ended = generator.normal(size=lesions), {}
        for n, more in enumerate(better):
            ended[n] = []
            for seed in range(4):
                right = hard + 1.5 * generator.normal(size=lesions) + more > -1.2
                logits = np.eye(2)[np.where(right, labels, 1 - labels)]
                part = Predictions(("a", "b"), names, names, labels, logits)
                ended[n].append(Outcome(seed, float(right.mean()), part))
        draws = resample(ended, metric="accuracy", resamples=50)
        found.append(effects(designs, draws).variance)
    truth = np.var(stats.norm.cdf((1.2 + np.array(better)) / np.hypot(1, 1.5)))
    assert np.mean(found) == pytest.approx(truth, rel=0.3)
    assert np.mean(np.array(found) == 0) < 0.35


def test_intervals_hold_the_truth(draws_of):
    generator = np.random.default_rng(5)
    truth = np.array([0.03 * AXES["depth"].index(design["depth"]) for design in FULL])
    held = {"effect": 0, "share": 0}
    for _ in range(50):
        values = truth + generator.normal(0, 0.02, len(FULL))
        drawn = values + generator.normal(0, 0.02, (200, len(FULL)))
        axis = effects(dict(enumerate(FULL)), draws_of(values, drawn)).axes[2]
        low, high = axis.levels[0].effect_interval
        held["effect"] += low <= -0.045 <= high
        low, high = axis.share.interval
        held["share"] += low <= 1 <= high
    assert held["effect"] >= 44
    assert held["share"] >= 44


@pytest.mark.parametrize("seeds", [2, 4])
def test_intervals_of_shares_hold_the_truth_with_few_seeds(seeds):
    generator = np.random.default_rng(7)
    designs = {n: {"a": n // 3, "b": n % 3} for n in range(9)}
    truth = np.array([each["a"] + 0.5 * each["b"] for each in designs.values()])
    held = 0
    for k in range(60):
        values = truth[:, None] + generator.normal(0, 0.3, (9, seeds))
        ended = {n: [Outcome(s, float(v)) for s, v in enumerate(values[n])] for n in designs}
        source = torch.Generator().manual_seed(k)
        draws = resample(ended, metric="psnr", resamples=100, generator=source)
        low, high = effects(designs, draws).axes[0].share.interval
        held += low <= 0.8 <= high
    assert held >= 54  # percentiles: 38 with two seeds, 48 with four


def test_a_share_of_what_may_be_nothing_is_anything(draws_of):
    generator = np.random.default_rng(8)
    values = generator.normal(0, 0.01, len(FULL))
    drawn = values + generator.normal(0, 0.0099, (200, len(FULL)))
    found = effects(dict(enumerate(FULL)), draws_of(values, drawn))
    assert found.variance > 0
    assert {axis.share.interval for axis in found.axes} == {(0, 1)}


def test_ranges_are_grouped(draws_of):
    generator = np.random.default_rng(3)
    designs = [
        {"light": float(f"{x:.4g}"), "camera": c}
        for x, c in zip(generator.uniform(1, 100, 20), itertools.cycle(("a", "b")), strict=False)
    ]
    values = np.array([design["light"] for design in designs])
    found = effects(dict(enumerate(designs)), draws_of(values))
    light, camera = found.axes
    assert light.grouped
    assert not camera.grouped
    assert [p.designs for p in light.levels] == [5, 5, 5, 5]
    # From the lowest up, in whatever order the designs are.
    lowest = [float(each.level.split(" to ")[0]) for each in light.levels]
    assert lowest == sorted(lowest)
    assert light.levels[0].level.startswith(f"{values.min():g} to ")
    assert light.share.value > 0.8
    assert "grouped with their neighbours" in " ".join(found.notes)


def test_a_grid_that_lacks_a_corner_keeps_its_levels(draws_of):
    designs = [{"light": light, "stop": stop} for light in (20, 200) for stop in (8, 16)]
    designs.append({"light": 20000, "stop": 8})
    found = effects(dict(enumerate(designs)), draws_of([0.2, 0.1, 0.5, 0.4, 0.8]))
    assert [[level.level for level in axis.levels] for axis in found.axes] == [
        [20, 200, 20000], [8, 16],
    ]  # fmt: skip
    assert not any(axis.grouped for axis in found.axes)
    assert "groups" not in " ".join(found.notes)
    # Additive by construction: least squares find the step of each level.
    assert [level.effect for level in found.axes[1].levels] == pytest.approx([0.05, -0.05])


def test_two_levels_are_never_put_into_groups(draws_of):
    designs = [{"light": 20, "stop": 8}, {"light": 20, "stop": 16}, {"light": 200, "stop": 8}]
    found = effects(dict(enumerate(designs)), draws_of([0.2, 0.1, 0.5]))
    assert [axis.grouped for axis in found.axes] == [False, False]


def test_effects_of_a_study(finished):
    draws = resample(
        outcomes(finished, "balanced_accuracy"), metric="balanced_accuracy", resamples=300
    )
    found = effects(dict(enumerate(finished.designs)), draws)
    light, depth = found.axes
    assert light.share.value > 0.9
    assert light.levels[0].level == 50
    low, high = light.levels[1].effect_interval
    assert low > 0
    assert high - low < light.levels[1].interval.high - light.levels[1].interval.low
    assert depth.share.value < 0.1
    text = str(found)
    assert "over 4 designs, every combination; exploration" in text
    assert "light and depth together" in text
    assert json.loads(json.dumps(found.to_dict()))["axes"][0]["axis"] == "light"


def test_designs_that_are_equal_have_no_shares(draws_of):
    generator = np.random.default_rng(4)
    values = generator.normal(0, 0.01, len(FULL))
    drawn = values + generator.normal(0, 0.03, (100, len(FULL)))
    found = effects(dict(enumerate(FULL)), draws_of(values, drawn))
    assert found.variance == 0
    assert all(math.isnan(axis.share.value) for axis in found.axes)
    assert "do not differ by more than that" in str(found)
    assert found.to_dict()["axes"][0]["share"]["value"] is None


def test_too_few_designs_are_refused(draws_of):
    with pytest.raises(ValueError, match="at least two designs with a result that differ"):
        effects({0: {"a": 1}}, draws_of([1.0]))
    with pytest.raises(ValueError, match="at least two designs"):
        effects({0: {"a": 1}, 1: {"a": 1}}, draws_of([1.0, 2.0]))


def test_the_mean_of_a_level_stays_within_what_can_be(draws_of):
    generator = np.random.default_rng(0)
    means = np.full(len(FULL), 0.04)
    drawn = means + generator.normal(0, 0.1, (500, 1))  # luck that all designs share
    designs = dict(enumerate(FULL))
    found = effects(designs, draws_of(means, drawn, metric="accuracy"))
    lows = [level.interval.low for axis in found.axes for level in axis.levels]
    assert lows == [0] * 9
    losses = effects(designs, draws_of(means, drawn, metric="loss"))
    assert all(level.interval.low < 0 for axis in losses.axes for level in axis.levels)


# quality is there where the codec is jpeg or webp
NESTED = [
    {"codec": codec, "light": light, **({} if quality is None else {"quality": quality})}
    for light in (50, 500)
    for codec, quality in (
        ("none", None),
        *itertools.product(("jpeg", "webp"), (20, 40, 60)),
    )
]


def test_an_axis_that_some_designs_have_is_compared_among_them(draws_of):
    of_codec = {"none": 0.0, "jpeg": 1.0, "webp": 3.0}
    of_quality = {None: 0.0, 20: -0.5, 40: 0.0, 60: 0.5}
    values = np.array(
        [of_codec[d["codec"]] + of_quality[d.get("quality")] + d["light"] / 500 for d in NESTED]
    )
    found = effects(dict(enumerate(NESTED)), draws_of(values))
    codec, light, quality = found.axes
    assert not found.factorial
    # Additive by construction. Absent is no level, and no 0.
    assert [p.level for p in quality.levels] == [20, 40, 60]
    assert [p.designs for p in quality.levels] == [4, 4, 4]
    assert [p.effect for p in quality.levels] == pytest.approx([-0.5, 0, 0.5])
    # Means over jpeg and webp alone, and over both lights (0.1 and 1, 0.55 on average).
    assert [p.mean for p in quality.levels] == pytest.approx([2.05, 2.55, 3.05])
    assert [p.mean for p in codec.levels] == pytest.approx([0.55, 1.55, 3.55])
    assert [p.effect for p in light.levels] == pytest.approx([-0.45, 0.45])
    assert "12 of 14 designs have the axis quality" in " ".join(found.notes)
    pairs = {pair.axes: pair.share for pair in found.pairs}
    assert pairs["codec", "light"].value == pytest.approx(0, abs=1e-9)


def test_the_share_of_a_nested_axis_is_that_of_least_squares(draws_of):
    values = np.random.default_rng(6).normal(size=len(NESTED))
    found = effects(dict(enumerate(NESTED)), draws_of(values))
    total = float(np.sum((values - values.mean()) ** 2))
    # Indicators, one of them for "absent": the columns span the same space.
    filled = [{"quality": "absent", **d} for d in NESTED]
    for axis in found.axes:
        others = [name for name in ("codec", "light", "quality") if name != axis.axis]
        beyond = _explained(filled, values, [*others, axis.axis]) - _explained(
            filled, values, others
        )
        if axis.axis == "codec":  # "absent" tells the codec none too; the nested columns do not
            assert axis.share.value > beyond / total
        else:
            assert axis.share.value == pytest.approx(beyond / total)


def test_a_range_that_some_designs_have_is_grouped(draws_of):
    designs = [
        {"codec": "jpeg", "quality": float(q)} if q % 3 else {"codec": "none"} for q in range(30)
    ]
    values = [d.get("quality", 15.0) for d in designs]
    codec, quality = effects(dict(enumerate(designs)), draws_of(values)).axes
    assert quality.grouped
    assert [p.designs for p in quality.levels] == [5, 5, 5, 5]
    assert [p.level for p in codec.levels] == ["none", "jpeg"]


def test_groups_whose_numbers_are_nearly_alike_stay_apart(draws_of):
    """Six digits print 1000000 and 1000003 alike, and groups are told by their names."""
    designs = [{"light": 1_000_000 + n, "camera": "ab"[n % 2]} for n in range(8)]
    near = effects(dict(enumerate(designs)), draws_of(np.linspace(0.2, 0.9, 8))).axes[0]
    assert [(p.level, p.designs) for p in near.levels] == [
        ("1000000 to 1000001", 2),
        ("1000002 to 1000003", 2),
        ("1000004 to 1000005", 2),
        ("1000006 to 1000007", 2),
    ]
    designs = [{**design, "light": design["light"] - 999_999} for design in designs]
    far = effects(dict(enumerate(designs)), draws_of(np.linspace(0.2, 0.9, 8))).axes[0]
    assert [p.level for p in far.levels] == ["1 to 2", "3 to 4", "5 to 6", "7 to 8"]
    assert near.share.value == pytest.approx(far.share.value)
