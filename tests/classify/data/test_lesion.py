import numpy as np
import pytest

from classify.data.canvas import Canvas
from classify.data.lesion import _STRUCTURES, RECIPES, _body, _looks, draw_lesion


def _canvas(seed=0, size=48):
    return Canvas(size, np.random.default_rng(seed))


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("seed", range(4))
def test_maps_are_finite_and_vanish_far_outside(name, seed):
    canvas = _canvas(seed)
    lesion, _ = draw_lesion(canvas, name, 0.5)
    assert lesion.cover.min() >= 0
    assert lesion.cover.max() <= 1
    assert (lesion.depth > 0).any()
    far = np.hypot(canvas.x, canvas.y) > 2.6 * lesion.radius
    for part in (lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin):
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
        assert part.min() >= 0
        assert np.abs(part[far]).max(initial=0) < 0.02


@pytest.mark.parametrize("structure", list(_STRUCTURES))
def test_each_structure_changes_what_the_lesion_adds(structure):
    kind = next(k for k, recipe in RECIPES.items() if structure in recipe.chances)
    canvas = _canvas(7, 96)
    lesion = _body(canvas, _looks(RECIPES[kind], canvas.random))
    before = np.stack((lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin))
    _STRUCTURES[structure](lesion)
    after = np.stack((lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin))
    changed = np.abs(after - before).max(0) > 1e-4
    assert changed.any()
    assert changed[lesion.depth < -0.8 * lesion.radius].mean() < 0.02


def test_recipes_name_structures_and_classes_that_exist():
    for recipe in RECIPES.values():
        assert set(recipe.chances) <= set(_STRUCTURES)
        assert set(recipe.resembles) <= set(RECIPES)
    assert set(_STRUCTURES) == {name for recipe in RECIPES.values() for name in recipe.chances}
