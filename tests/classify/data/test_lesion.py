import numpy as np
import pytest
import torch

from classify.data.canvas import Canvas
from classify.data.dataset import LESION_CLASSES
from classify.data.draws import Draws, keys_of
from classify.data.lesion import RECIPES, _pick, draw_lesion
from classify.data.structures import _RADIUS, STRUCTURES


def _canvas(count, size=48):
    return Canvas.seen(size, zoom=torch.ones(count, 1), shift=torch.zeros(count, 2))


def _draws(count, seed=0):
    return Draws(keys_of(seed, 1, torch.arange(count), torch.zeros(count)))


@pytest.mark.parametrize("name", LESION_CLASSES)
def test_maps_are_finite_and_vanish_far_outside(name):
    canvas, labels = _canvas(8), torch.full((8,), LESION_CLASSES.index(name))
    lesion, _, _ = draw_lesion(canvas, labels, _draws(8), difficulty=0.5)
    assert lesion.cover.min() >= 0
    assert lesion.cover.max() <= 1
    assert (lesion.depth > 0).flatten(1).any(1).all()
    far = torch.hypot(canvas.x, canvas.y) > 2.6 * lesion.radius
    for part in (lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin):
        assert part.dtype == torch.float32
        assert part.isfinite().all()
        assert part.min() >= 0
        assert (part * far).abs().max() < 0.02


def test_maps_of_structures_are_there_where_they_are_shown_and_only_there():
    labels = torch.arange(7).repeat(6)
    _, shown, where = draw_lesion(_canvas(42), labels, _draws(42), difficulty=0.5, trace=True)
    assert where.shape == (42, len(STRUCTURES), 48, 48)
    assert torch.equal(where.flatten(2).amax(2) > 0, shown)
    assert shown.any(0).all()


def test_structures_come_as_often_as_the_recipes_say():
    labels = torch.arange(7).repeat(400)
    _, shown, _ = draw_lesion(_canvas(2800, 4), labels, _draws(2800), difficulty=0.0)
    for label, name in enumerate(LESION_CLASSES):
        chances = [RECIPES[name].chances.get(structure, 0.0) for structure in STRUCTURES]
        seen = shown[labels == label].float().mean(0)
        np.testing.assert_allclose(seen, chances, atol=0.09)  # 3.6 standard deviations


def test_a_pick_has_the_weights_given():
    weights = torch.tensor([[0.0, 1.0, 0.0, 3.0]]).expand(1000, 4)
    picked = _pick(weights, torch.linspace(0, 1, 1001)[:-1, None])
    np.testing.assert_array_equal(torch.bincount(picked, minlength=4), [0, 250, 0, 750])


def test_recipes_name_structures_and_classes_that_exist():
    assert tuple(RECIPES) == LESION_CLASSES
    for recipe in RECIPES.values():
        assert set(recipe.chances) <= set(STRUCTURES)
        assert set(recipe.resembles) <= set(RECIPES)
        assert _RADIUS[0] <= recipe.radius[0] < recipe.radius[1] <= _RADIUS[1]
    assert set(STRUCTURES) == {name for recipe in RECIPES.values() for name in recipe.chances}
