import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from classify import Interval
from joint.study import outcomes, report, rows
from joint.study.findings.draws import resample
from joint.study.findings.effects import effects
from joint.study.findings.front import fronts
from joint.study.findings.rate_accuracy import RateAccuracy, RateFamily, RatePoint
from joint.study.page.charts import (
    designs_figure,
    effects_figure,
    front_figure,
    pairs_figure,
    parallel_figure,
    rate_accuracy_figure,
    rate_families,
)


@pytest.fixture
def judged(finished):
    """A study and its draws."""
    metric = "balanced_accuracy"
    return finished, resample(outcomes(finished, metric), metric=metric, resamples=100)


def _labels(axis):
    return [tick.get_text() for tick in axis.get_xticklabels()]


def test_designs_are_drawn_with_the_best_on_top(finished):
    found = report(finished)
    figure = designs_figure(found.designs, metric=found.metric)
    (axis,) = figure.axes
    assert axis.yaxis_inverted()
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert set(told) == {"on the front of all costs", "not on the front"}
    assert len(told) == 2
    assert axis.get_xlabel() == "balanced accuracy; bars: intervals over seeds and lesions"
    names = [tick.get_text() for tick in axis.get_yticklabels()]
    assert names[0].startswith(f"{found.designs[0].number}: light=5000")
    drawn = [float(line.get_xdata()[0]) for line in axis.lines]
    assert drawn == [design.estimate.mean for design in found.designs]
    bars = [collection.get_segments()[0][:, 0] for collection in axis.collections]
    assert bars[0] == pytest.approx(found.designs[0].estimate.interval)
    nothing = [replace(d, estimate=replace(d.estimate, mean=None)) for d in found.designs]
    assert designs_figure(nothing, metric=found.metric).axes[0].lines[:] == []


def test_effects_are_drawn_at_their_means(judged):
    ledger, draws = judged
    found = effects(dict(enumerate(ledger.designs)), draws)
    light, depth = effects_figure(found).axes
    assert _labels(light) == ["50", "5000"]
    assert light.lines[0].get_ydata() == pytest.approx([p.mean for p in found.axes[0].levels])
    assert light.get_title().startswith("light: ")
    low, high = found.axes[0].levels[0].effect_interval
    centre = found.axes[0].levels[0].mean - found.axes[0].levels[0].effect
    bar = light.collections[0].get_segments()[0][:, 1]
    assert bar == pytest.approx([centre + low, centre + high])
    assert depth.get_ylabel() == ""
    heat = pairs_figure(found).axes[0]
    shares = np.asarray(heat.images[0].get_array())
    assert shares[0, 0] == pytest.approx(found.axes[0].share.value)
    assert shares[1, 0] == pytest.approx(found.pairs[0].share.value)
    assert np.ma.is_masked(heat.images[0].get_array()[0, 1]) or math.isnan(shares[0, 1])


def test_a_front_is_drawn_and_points_of_one_cost_stand_side_by_side(judged):
    ledger, draws = judged
    front = fronts(rows(ledger), draws)[0]
    (axis,) = front_figure(front).axes
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "photons/pixel at full scale"
    points = [tuple(c.get_offsets()[0]) for c in axis.collections if len(c.get_offsets()) == 1]
    points = [point for point in points if point != (0.0, 0.0)]
    assert [y for _, y in points] == pytest.approx([p.value for p in front.points])
    places = [x for x, _ in points]
    assert len(set(places)) == 4
    assert places == pytest.approx([p.costs["photons"] for p in front.points], rel=0.06)
    assert sorted(text.get_text() for text in axis.texts) == ["0", "1", "2", "3"]
    axis.figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def _numbers(axis):
    """Numbers along the costs that lie on the axis."""
    axis.figure.canvas.draw()
    low, high = axis.get_xlim()
    ticks = [*axis.xaxis.get_major_ticks(), *axis.xaxis.get_minor_ticks()]
    labels = {tick.get_loc(): tick.label1.get_text() for tick in ticks}
    return [labels[at] for at in sorted(labels) if low <= at <= high and labels[at]]


@pytest.mark.parametrize(
    ("costs", "numbers"),
    [
        ((300, 1600), ["300", "500", "700", "1000"]),
        ((150, 6000), ["200", "500", "1000", "2000", "5000"]),
        ((50, 5000), ["100", "1000"]),
        ((100, 400), None),  # no logarithms
    ],
)
def test_a_logarithmic_axis_has_numbers_enough_to_read(judged, costs, numbers):
    ledger, draws = judged
    front = fronts(rows(ledger), draws)[0]
    points = tuple(
        replace(point, costs={"photons": cost})
        for point, cost in zip(front.points, costs, strict=False)
    )
    (axis,) = front_figure(replace(front, points=points)).axes
    if numbers is None:
        assert axis.get_xscale() == "linear"
    else:
        assert _numbers(axis) == numbers
        boxes = [
            label.get_window_extent()
            for label in axis.get_xticklabels(which="both")
            if label.get_text()
        ]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_front_says_that_points_stand_beside_their_cost(judged):
    ledger, draws = judged
    front = fronts(rows(ledger), draws)[0]
    (axis,) = front_figure(front).axes
    assert axis.get_title(loc="right") == "points of equal cost are drawn side by side"
    apart = tuple(
        replace(p, costs={"photons": 100.0 * n}) for n, p in enumerate(front.points, start=1)
    )
    (axis,) = front_figure(replace(front, points=apart)).axes
    assert axis.get_title(loc="right") == ""


def test_curves_are_drawn_by_rate():
    points = tuple(
        RatePoint(n, 100.0 * 2**n, None, 0.5 + 0.1 * n, Interval(0.4, 0.9)) for n in range(4)
    )
    families = tuple(RateFamily(name, {}, name, points, ()) for name in ("jpeg", "webp"))
    found = RateAccuracy("balanced_accuracy", "seeds", families, "jpeg", ())
    (axis,) = rate_accuracy_figure(found).axes
    assert axis.lines[0].get_xdata() == pytest.approx([100, 200, 400, 800])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["jpeg", "webp"]
    many = tuple(RateFamily(f"f{n}", {}, f"f{n}", points, ()) for n in range(9))
    (axis,) = rate_accuracy_figure(replace(found, families=many)).axes
    assert len({line.get_color() for line in axis.lines}) == 9


def test_parallel_lines_meet_every_choice(finished):
    found = report(finished)
    figure = parallel_figure(found.designs, metric=found.metric)
    (axis,) = figure.axes
    # Light is an axis, so that the cost of the same numbers is not drawn again.
    assert _labels(axis) == ["light", "depth", "bits/\npicture", "balanced accuracy"]
    lines = [line for line in axis.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 4
    for line, design in zip(reversed(lines), found.designs, strict=True):
        light, depth, _, mean = line.get_ydata()
        assert light == (design.levels["light"] == 5000)
        assert depth == (design.levels["depth"] == 8)
        assert 0 <= mean <= 1
    assert lines[-1].get_ydata()[-1] == 1  # the best, drawn last


def test_of_too_many_curves_some_are_drawn():
    points = tuple(RatePoint(n, 100.0 * 2**n, None, 0.5, None) for n in range(2))
    families = tuple(RateFamily(f"f{n}", {}, f"f{n}", points[: 1 + n % 2], ()) for n in range(60))
    found = RateAccuracy("accuracy", "seeds", families, None, ())
    drawn = [family.name for family in rate_families(found)]
    # Lines before points.
    assert drawn == [*(f"f{n}" for n in range(1, 60, 2)), *(f"f{n}" for n in range(0, 20, 2))]
    (axis,) = rate_accuracy_figure(found).axes
    assert len(axis.lines) == 40
    axis.figure.canvas.draw()
    low, high = axis.get_legend().get_window_extent().get_points()[:, 1]
    assert 0 <= low < high <= axis.figure.bbox.height
    assert rate_families(replace(found, families=families[:40])) == families[:40]


def test_no_depth_is_a_level_and_no_axis_that_is_absent(finished):
    """``None`` among the numbers of an axis says without rounding; a cost of None is unknown."""
    designs = tuple(
        replace(
            design,
            levels={"depth": depth, **({} if depth is None else {"quality": 10 * depth})},
            costs={"bits": None if depth is None else 100.0 * depth},
        )
        for design, depth in zip(report(finished).designs, (8, None, 4, 6), strict=True)
    )
    (axis,) = parallel_figure(designs, metric="accuracy").axes
    assert _labels(axis) == ["depth", "quality", "bits/\npicture", "accuracy"]
    lines = [line.get_ydata() for line in axis.lines if len(line.get_xdata()) == 4][::-1]
    assert [line[0] for line in lines] == pytest.approx([2 / 3, 1, 0, 1 / 3])
    assert [math.isnan(value) for value in lines[1]] == [False, True, True, False]
    told = [text.get_text() for text in axis.texts]
    assert told[:4] == ["4", "6", "8", "None"]


def test_the_ends_of_a_parallel_axis_are_told_apart(finished):
    costs = (2382.421, 2382.424, 2382.422, 2382.423)
    designs = [
        replace(each, costs={"bits": bits}, estimate=replace(each.estimate, mean=mean))
        for each, bits, mean in zip(
            report(finished).designs, costs, (0.51234, 0.51231, 0.51233, 0.51232), strict=True
        )
    ]
    (axis,) = parallel_figure(designs, metric="accuracy").axes
    labels = {}
    for text in axis.texts:
        labels.setdefault(text.xy[0], []).append(text.get_text())
    for column in labels.values():
        assert len(set(column)) == len(column)
    assert sorted(labels[2]) == ["2382.421", "2382.422", "2382.423", "2382.424"]
    assert sorted(labels[3]) == ["0.51231", "0.51234"]
    # No more digits than it takes.
    wide = [replace(each, costs={"bits": n + 1 / 3}) for n, each in enumerate(designs)]
    (axis,) = parallel_figure(wide, metric="accuracy").axes
    assert "0.3333" in [text.get_text() for text in axis.texts]
