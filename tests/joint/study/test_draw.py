import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from classify import Interval
from joint.study import outcomes, report, rows
from joint.study.atlas import Learned, stability
from joint.study.draw import (
    atlas_figure,
    contact_figures,
    designs_figure,
    effects_figure,
    front_figure,
    pairs_figure,
    parallel_figure,
    rate_figure,
)
from joint.study.draws import resample
from joint.study.effects import effects
from joint.study.element import Element
from joint.study.pareto import fronts
from joint.study.rate_accuracy import RateAccuracy, RateFamily, RatePoint


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
    assert axis.get_xlabel() == "balanced accuracy; lines: intervals over seeds and lesions"
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


def test_curves_are_drawn_by_rate():
    points = tuple(
        RatePoint(n, 100.0 * 2**n, None, 0.5 + 0.1 * n, Interval(0.4, 0.9)) for n in range(4)
    )
    families = tuple(RateFamily(name, {}, name, points, ()) for name in ("jpeg", "webp"))
    found = RateAccuracy("balanced_accuracy", "seeds", families, "jpeg", ())
    (axis,) = rate_figure(found).axes
    assert axis.lines[0].get_xdata() == pytest.approx([100, 200, 400, 800])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["jpeg", "webp"]
    many = tuple(RateFamily(f"f{n}", {}, f"f{n}", points, ()) for n in range(9))
    (axis,) = rate_figure(replace(found, families=many)).axes
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


def _learned(design, seed, *, negative=False, shape=(1, 3, 1, 7, 7), kind="kernel"):
    generator = np.random.default_rng(100 * design + seed)
    parts = generator.random(shape) - 0.5 * negative
    start = np.zeros(shape)
    start[..., 3, 3] = 1
    return Learned(design, seed, Element(kind, parts, ("",) * 3), Element(kind, start, ("",) * 3))


def test_every_design_has_a_row_of_elements_and_one_of_transfers():
    elements = [
        *(_learned(0, seed, negative=True) for seed in range(3)),
        *(_learned(1, seed) for seed in range(2)),
        *(_learned(2, 0, shape=(5, 1, 1, 7, 7)) for _ in range(1)),
    ]
    levels = {n: {"camera": f"kind{n}"} for n in range(3)}
    ((figure, designs),) = contact_figures(elements, levels)
    assert designs == (0, 1, 2)
    assert len(figure.axes) == 6 * 4
    filled = [len(axis.images) for axis in figure.axes]
    assert filled == [1] * 8 + [1, 1, 1, 0] * 2 + [1, 1, 0, 0] * 2
    titles = [axis.get_title() for axis in figure.axes[:4]]
    assert titles == ["start", "seed 0", "seed 1", "seed 2"]
    signed = figure.axes[1].images[0]
    assert np.asarray(signed.get_array()) == pytest.approx(
        elements[0].element.parts.mean((0, 1, 2))
    )
    assert signed.get_clim()[0] == -signed.get_clim()[1]
    assert np.asarray(figure.axes[9].images[0].get_array()).shape == (7, 7, 3)
    # Of five filters four, in a square with a gap.
    assert np.asarray(figure.axes[17].images[0].get_array()).shape == (16, 16, 3)
    many = [_learned(design, 0) for design in range(8)]
    sheets = contact_figures(many, {n: {} for n in range(8)})
    assert [designs for _, designs in sheets] == [(0, 1, 2, 3, 4, 5), (6, 7)]


def test_a_transfer_function_is_that_of_the_element():
    seven = _learned(0, 0)
    ((figure, _),) = contact_figures([seven], {0: {}})
    start, learned = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[2:])
    assert start == pytest.approx(np.ones((33, 33)))  # a point passes all
    assert learned[16, 16] == pytest.approx(seven.element.parts.sum((-2, -1)).mean())


def test_an_atlas_is_drawn_as_two_matrices():
    elements = [_learned(d, s) for d in range(2) for s in range(3)]
    found = stability(elements, levels={0: {}, 1: {}}, surrogates=10)
    similar, agreement = [axis for axis in atlas_figure(found).axes if axis.get_title()]
    assert np.asarray(similar.images[0].get_array()) == pytest.approx(found.similarity)
    assert np.asarray(agreement.images[0].get_array()).min() >= 0
    assert _labels(similar) == ["0", "1"]
