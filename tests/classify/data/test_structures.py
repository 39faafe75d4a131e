import pytest
import torch

from classify.data.canvas import Canvas
from classify.data.dataset import LESION_CLASSES
from classify.data.draws import Draws, keys_of
from classify.data.lesion import RECIPES, _body, _looks
from classify.data.structures import PAINTERS, STRUCTURES


def _canvas(count, size=48):
    return Canvas.seen(size, zoom=torch.ones(count, 1), shift=torch.zeros(count, 2))


def _draws(count, seed=0):
    return Draws(keys_of(seed, 1, torch.arange(count), torch.zeros(count)))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_each_structure_changes_the_lesion_where_it_says(structure):
    kind = next(k for k, recipe in RECIPES.items() if structure in recipe.chances)
    labels = torch.full((6,), LESION_CLASSES.index(kind))
    draws = _draws(6, seed=7)
    lesion = _body(_canvas(6, 96), _looks(labels, draws.stream(1)), draws.stream(2))
    before = torch.stack((lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin))
    where = PAINTERS[structure](lesion, draws.stream(3))
    after = torch.stack((lesion.melanin, lesion.blood, lesion.dermal, lesion.keratin))
    changed = (after - before).abs().amax(0)
    assert where.min() >= 0
    assert where.max() <= 1 + 1e-6
    assert (changed > 1e-4).flatten(1).any(1).all()
    assert (changed[lesion.depth < -0.8 * lesion.radius] > 1e-4).float().mean() < 0.02
    if structure not in ("network", "rim_network", "ridges", "lacunae", "follicles"):
        # Those change what lies between them too; of the others no trace is left elsewhere.
        assert changed[where == 0].max() < 1e-6


def test_a_part_of_the_lesions_is_painted_by_itself():
    """Painting some rows of a batch is painting them alone."""
    labels = torch.full((6,), LESION_CLASSES.index("nv"))
    rows = torch.tensor([1, 4])
    whole = _body(_canvas(6), _looks(labels, _draws(6).stream(1)), _draws(6).stream(2))
    part = whole.of(rows)
    other = _draws(6).stream(3)
    PAINTERS["globules"](whole, other)
    painted = whole.of(rows)
    untouched = part.melanin.clone()
    assert not torch.equal(painted.melanin, untouched)
    whole.put(rows, part)
    assert torch.equal(whole.melanin[rows], untouched)
