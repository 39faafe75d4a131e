import numpy as np
import pytest
from PIL import Image
from seed_study import figures


def test_all_figures_are_drawn(document, tmp_path):
    # Enough for each of them; what is below looks at whole ones.
    few = ("classifier", "joint_3x", "rated", "jpeg_frozen", "jpeg_joint")
    for found in document["protocols"].values():
        found["rows"] = {name: found["rows"][name] for name in few if name in found["rows"]}
    paths = figures.draw(document, tmp_path / "out", prefix="x_")
    assert sorted(path.name for path in paths) == [
        "x_filters.png",
        "x_honest_confusion.png",
        "x_honest_curves.png",
        "x_rate_map.png",
        "x_rates.png",
        "x_seed_confusion.png",
        "x_seed_curves.png",
    ]
    for path in paths:
        with Image.open(path) as figure:
            assert figure.size[0] > 500
            assert np.asarray(figure.convert("L")).std() > 5


def test_confusions_stand_beside_the_published_accuracy(document):
    figure = figures.confusions(document["protocols"]["honest"]["rows"], "t")
    *shown, bar = [axis for axis in figure.axes if axis.get_visible()]
    titles = [axis.get_title() for axis in shown]
    assert bar.get_ylabel() == "share of the true class"
    assert len(titles) == 7
    assert titles[0].endswith("published 0.82")
    assert titles[1].startswith("figure 7: 6X autoencoder")
    assert titles[1].endswith("published 0.7538")


def test_rows_that_are_not_done_are_left_out(document, tmp_path):
    rows = document["protocols"]["honest"]["rows"]
    kept = {name: rows[name] for name in ("classifier", "joint_3x", "rated")}
    document["protocols"]["honest"]["rows"] = kept
    figure = figures.confusions(kept, "t")
    assert len([axis for axis in figure.axes if axis.get_visible()]) == 2 + 1  # with the bar
    document["protocols"]["seed"]["rows"] = {}
    document["protocols"]["honest"]["analyses"] = {}
    names = {path.name for path in figures.draw(document, tmp_path)}
    assert names == {"honest_confusion.png", "honest_curves.png"}


def test_curves_are_those_of_the_history(document):
    rows = {"joint_3x": document["protocols"]["honest"]["rows"]["joint_3x"]}
    rows["joint_3x"]["history"] = [
        {"train": 2.0, "loss": 1.5, "accuracy": 0.25},
        {"train": 1.0, "loss": 1.25, "accuracy": 0.75},
    ]
    figure = figures.curves(rows, "t")
    lines = [line for axis in figure.axes for line in axis.get_lines()]
    assert [list(line.get_ydata()) for line in lines] == [[2.0, 1.0], [1.5, 1.25], [0.25, 0.75]]


def test_rates_are_the_points(document):
    rows = document["protocols"]["honest"]["rows"]
    (axis,) = figures.rates(rows, "t").axes
    learned = axis.get_lines()[0]
    assert learned.get_xdata() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert axis.get_xscale() == "log"


def _check_that_all_is_on_the_page(figure):
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert page.x0 <= drawn.x0 < drawn.x1 <= page.x1
    assert page.y0 <= drawn.y0 < drawn.y1 <= page.y1


def test_nothing_of_the_confusions_is_cut_off(document):
    figure = figures.confusions(document["protocols"]["honest"]["rows"], "t")
    figure.canvas.draw()
    _check_that_all_is_on_the_page(figure)


@pytest.mark.parametrize("count", [2, 18])
def test_nothing_is_cut_off_and_the_legend_hides_no_curve(document, count):
    rows = document["protocols"]["honest"]["rows"]
    line = rows["joint_3x"]
    shown = dict.fromkeys([*rows][:count], line)
    assert len(shown) == count
    line["history"] = [{"train": 2.0, "loss": 1.5, "accuracy": 0.25}] * 2
    figure = figures.curves(shown, "t")
    figure.canvas.draw()
    _check_that_all_is_on_the_page(figure)
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["training loss", "validation loss", "validation accuracy, on the right"]
    box = legend.get_window_extent()
    assert not any(box.overlaps(axis.get_window_extent()) for axis in figure.axes)
    titles = [axis.get_title() for axis in figure.axes]
    assert not any("_" in title for title in titles)
    shown_axes = [axis for axis in figure.axes if axis.get_visible()]
    epochs = [tick for axis in shown_axes for tick in axis.get_xticks()]
    assert all(float(tick).is_integer() for tick in epochs)


def test_the_bits_of_a_region_have_their_interval():
    regions = [
        {"region": "lesion", "density": 1.1, "interval": [1.0, 1.3]},
        {"region": "boundary", "density": 1.2, "interval": None},
        {"region": "background", "density": None, "interval": [None, None]},
    ]
    found = {"level": 0.9, "rows": [{"name": "all", "pictures": 4, "regions": regions}]}
    (axis,) = figures.rate_map(found, "t").axes
    (bar,) = axis.collections
    assert bar.get_segments()[0][:, 1].tolist() == [1.0, 1.3]
    assert axis.get_xlabel().startswith("lines: 90 % intervals over lesions")
    lesion, boundary, background = [line.get_ydata()[0] for line in axis.get_lines()[:3]]
    assert (lesion, boundary) == (1.1, 1.2)
    assert np.isnan(background)
    assert len({line.get_marker() for line in axis.get_lines()[:3]}) == 3
