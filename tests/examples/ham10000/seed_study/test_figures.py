import numpy as np
import pytest
from PIL import Image
from seed_study import figures


def test_all_figures_are_drawn(document, tmp_path):
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
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert len(titles) == 7
    assert titles[0].endswith("published 0.82")
    assert titles[1].startswith("figure 7: 6X autoencoder")
    assert titles[1].endswith("published 0.7538")


def test_rows_that_are_not_done_are_left_out(document, tmp_path):
    rows = document["protocols"]["honest"]["rows"]
    kept = {name: rows[name] for name in ("classifier", "joint_3x", "rated")}
    document["protocols"]["honest"]["rows"] = kept
    figure = figures.confusions(kept, "t")
    assert len([axis for axis in figure.axes if axis.get_visible()]) == 2
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
