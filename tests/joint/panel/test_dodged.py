import pytest

import classify
from joint.panel.dodged import Spread, dodged_figure


def test_points_carry_the_intervals_they_are_given():
    intervals = [classify.Interval(0.1, 0.3), classify.Interval(float("nan"), float("nan"))]
    # The first lies outside of its interval: it is drawn as it is.
    figure = dodged_figure(["a", "b"], {"s": Spread([0.5, 0.6], intervals)}, quantity="q", even=1.0)
    (axis,) = figure.axes
    bars = axis.collections[0].get_segments()
    assert [float(end) for end in bars[0][:, 1]] == [0.1, 0.3]
    assert axis.get_lines()[0].get_ydata().tolist() == [0.5, 0.6]


@pytest.mark.parametrize("count", [3, 7, 8, 14])
def test_no_colour_stands_for_two_series(count):
    values = Spread([0.5, 0.6], [classify.Interval(0.1, 0.3)] * 2)
    figure = dodged_figure(["a", "b"], {f"s{n}": values for n in range(count)}, quantity="q")
    figure.canvas.draw()
    (axis,) = figure.axes
    assert len({line.get_color() for line in axis.get_lines()}) == count
    legend = axis.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"s{n}" for n in range(count)]
    box = legend.get_window_extent()
    assert not box.overlaps(axis.get_window_extent())
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_long_names_are_slanted_and_a_title_is_one():
    values = Spread([0.5] * 4, [classify.Interval(0.1, 0.3)] * 4)
    short, long = (
        dodged_figure([name] * 4, {"s": values}, quantity="q", title="a run")
        for name in ("a", "a" * 20)
    )
    turned = [figure.axes[0].get_xticklabels()[0].get_rotation() for figure in (short, long)]
    assert turned == [0, 25]
    assert short.get_suptitle() == "a run"
