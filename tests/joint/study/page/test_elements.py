import numpy as np
import pytest

from joint.study.findings.element import Element
from joint.study.findings.stability import Learned, stability
from joint.study.page.elements import atlas_figure, contact_figures


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
    assert [tick.get_text() for tick in similar.get_xticklabels()] == ["0", "1"]


@pytest.mark.parametrize(
    ("places", "shown"), [((2, 3), (2, 3)), ((5, 4), (3, 3)), ((3, 1), (3, 1))]
)
def test_psfs_that_change_lie_as_their_places_do(places, shown):
    count = places[0] * places[1]
    parts = np.zeros((*places, 3, 7, 7))
    for row, column in np.ndindex(places):
        parts[row, column, :, 3, 3] = 0.4
        parts[row, column, 1, row, column] = 0.6  # green shows the place
    parts = parts.reshape(1, -1, 1, 7, 7)
    element = Element("psf", parts, ("",) * 3 * count, places)
    ((figure, _),) = contact_figures([Learned(0, 0, element, element)], {0: {}})
    picture, transfer = (np.asarray(figure.axes[n].images[0].get_array()) for n in (1, 3))
    assert picture.shape == (8 * shown[0], 8 * shown[1], 3)
    assert transfer.shape == (34 * shown[0], 34 * shown[1])
    rows, columns = (np.linspace(0, n - 1, k).round() for n, k in zip(places, shown, strict=True))
    wanted = {
        (8 * i + int(row), 8 * j + int(column))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    }
    brightest = np.argwhere(picture[..., 1] == picture[..., 1].max())
    assert {tuple(map(int, at)) for at in brightest} == wanted
    assert transfer[16::34, 16::34] == pytest.approx(transfer.max())  # all light, at frequency 0
    assert transfer.max() == pytest.approx((0.4 + 0.4 + 1.0) / 3)
