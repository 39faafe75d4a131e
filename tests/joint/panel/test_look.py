import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from skimage.color import deltaE_ciede2000, rgb2lab

from joint.panel.look import (
    ABREAST,
    COLOURS,
    RIGHT,
    WRONG,
    blank_figure,
    draw_intervals,
    label_points,
    looks,
    panel_grid,
    plain_log_axis,
)

# Linear light as it is seen without one kind of cone: Machado, Oliveira and Fernandes, IEEE Trans.
# Vis. Comput. Graph. 15:1291 (2009), severity 1.
_SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def _seen(colours, sight):
    """CIELAB of colours as such an eye sees them."""
    codes = np.array([to_rgb(colour) for colour in colours])
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.array(_SIGHT[sight]).T, 0, 1)
    codes = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return rgb2lab(codes[None])[0]


@pytest.mark.parametrize("sight", _SIGHT)
def test_the_colours_are_told_apart_by_every_eye(sight):
    lab = _seen([*COLOURS, "black", "white"], sight)
    # The first colours of matplotlib come down to 1.3.
    assert min(float(deltaE_ciede2000(*pair)) for pair in itertools.combinations(lab, 2)) > 10
    assert float(deltaE_ciede2000(*_seen([RIGHT, WRONG], sight))) > 20


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 12, 100])
def test_no_two_series_share_a_colour_and_neighbours_no_marker(count):
    found = looks(count)
    assert len(found) == count
    assert len({look.colour for look in found}) == count
    assert all(one.marker != next_.marker for one, next_ in itertools.pairwise(found))
    if count > 7:
        lightness = _seen([look.colour for look in found], "all cones")[:, 0]
        assert (np.diff(lightness) > 0).mean() > 0.95
        assert lightness.max() < 85


def test_more_series_than_shades_are_refused():
    with pytest.raises(ValueError, match="101 series cannot be told apart: draw at most 100"):
        looks(101)


@pytest.mark.parametrize("seed", range(5))
def test_labels_lie_beside_their_points_and_over_nothing(seed):
    random = np.random.default_rng(seed)
    points = random.random((24, 2)) * (1, 0.3)
    points[:6, 1] = 0  # many at the edge, on one line
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot(*points.T, "o", ms=4)
    limits = axis.get_xlim(), axis.get_ylim()
    names = [f"class-{n}" for n in range(len(points))]
    label_points(axis, points.tolist(), names, colours=["black"] * len(names))
    assert (axis.get_xlim(), axis.get_ylim()) == limits
    figure.dpi = 110  # of a file, not of the one that it was laid out by
    figure.canvas.draw()
    assert [text.get_text() for text in axis.texts] == names
    # Of the letters alone, without the line to a point that is far.
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    edge = axis.get_window_extent()
    spots = axis.transData.transform(points)
    for number, box in enumerate(boxes):
        assert edge.x0 <= box.x0 < box.x1 <= edge.x1
        assert edge.y0 <= box.y0 < box.y1 <= edge.y1
        assert not any(box.contains(*spot) for spot in spots)
        nearest = np.clip(spots, box.min, box.max) - spots
        away = np.hypot(*nearest.T)
        # Nearer to another point than to its own, it has a line to its own.
        assert away[number] < away.min() + 2 or axis.texts[number].arrow_patch is not None


def test_a_blank_figure_draws_itself_and_has_a_title_where_one_is_given():
    figure = blank_figure(3, 2, title="a run")
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    assert figure.get_layout_engine() is not None
    assert figure.get_suptitle() == "a run"
    assert blank_figure(3, 2).get_suptitle() == ""


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_a_grid_has_the_panels_that_were_asked_for(count, rows):
    figure, axes = panel_grid(count, 3, 2, beside=1, sharey=True, title="a run")
    assert figure.axes == axes
    assert len(axes) == count
    columns = min(count, ABREAST)
    assert tuple(figure.get_size_inches()) == (3 * columns + 1, 2 * rows)
    places = [axis.get_subplotspec() for axis in axes]
    assert [place.colspan.start for place in places[::ABREAST]] == [0] * rows
    assert [place.rowspan.start for place in places[::ABREAST]] == [*range(rows)]
    assert figure.get_suptitle() == "a run"


@pytest.mark.parametrize("which", ["x", "y"])
def test_numbers_of_a_logarithmic_axis_are_no_formulas(which):
    axis = blank_figure(3, 2).subplots()
    axis.plot([0.1, 1000], [0.1, 1000])
    plain_log_axis(axis, which)
    axis.figure.canvas.draw()
    assert (axis.get_xscale(), axis.get_yscale()) == (("log", "linear"), ("linear", "log"))[
        which == "y"
    ]
    scale = axis.xaxis if which == "x" else axis.yaxis
    told = [text.get_text() for text in scale.get_ticklabels()]
    assert {"0.1", "1", "1000"} <= {*told}
    assert not any(text.get_text() for text in scale.get_minorticklabels())


def test_intervals_need_not_hold_their_points_nor_exist():
    axis = blank_figure(3, 2).subplots()
    (look,) = looks(1)
    nan = float("nan")
    draw_intervals(axis, [1, 2], [0.5, 0.6], [(0.1, 0.3), (nan, nan)], look, joined=True)
    first, *_ = axis.collections[0].get_segments()
    assert first.tolist() == [[1, 0.1], [1, 0.3]]
    assert len(axis.collections[0].get_paths()[1].vertices) == 2
    assert np.isnan(axis.collections[0].get_paths()[1].vertices[:, 1]).all()
    (line,) = axis.lines
    assert line.get_xydata().tolist() == [[1, 0.5], [2, 0.6]]
    assert (line.get_linestyle(), line.get_marker()) == ("-", look.marker)
