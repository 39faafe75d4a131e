import pytest
import torch

import joint


def _views(kind, seed=0, shape=(64, 3, 8, 8)):
    pictures = torch.rand(shape, generator=torch.Generator().manual_seed(9))
    return pictures, joint.augment(
        pictures, kind=kind, generator=torch.Generator().manual_seed(seed)
    )


def _poses(picture):
    for turned in (picture, picture.transpose(-1, -2)):
        for flips in ([], [-1], [-2], [-1, -2]):
            yield turned.flip(flips) if flips else turned


def test_none_changes_nothing():
    pictures, views = _views("none")
    assert views is pictures


def test_dihedral_views_are_exact_and_all_eight_occur():
    pictures, views = _views("dihedral")
    seen = set()
    for picture, view in zip(pictures, views, strict=True):
        matches = [i for i, pose in enumerate(_poses(picture)) if torch.equal(pose, view)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(8))


def test_oblong_pictures_are_only_flipped():
    pictures, views = _views("dihedral", shape=(32, 3, 8, 6))
    for picture, view in zip(pictures, views, strict=True):
        poses = [picture.flip(f) if f else picture for f in ([], [-1], [-2], [-1, -2])]
        assert any(torch.equal(pose, view) for pose in poses)


@pytest.mark.parametrize("kind", ["dihedral", "full"])
def test_views_are_a_function_of_the_generator(kind):
    first, again, other = (_views(kind, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_full_views_stay_in_range_close_by_and_keep_a_constant():
    _, views = _views("full")
    assert views.min() >= 0
    assert views.max() <= 1
    constant = torch.full((16, 3, 12, 12), 0.5)
    seen = joint.augment(constant, kind="full", generator=torch.Generator().manual_seed(0))
    # Gains only: the border continues the picture.
    spread = seen.amax((-2, -1)) - seen.amin((-2, -1))
    assert spread.max() < 1e-5
    assert seen.min() >= 0.5 / 1.1 - 1e-4
    assert seen.max() <= 0.55 + 1e-4
    assert seen.std() > 0.01


def test_pictures_of_a_batch_get_views_of_their_own():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(
        8, -1, -1, -1
    )
    views = joint.augment(picture, kind="full", generator=torch.Generator().manual_seed(0))
    assert len({view.sum().item() for view in views}) == 8


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"'none', 'dihedral', 'full'.*not 'flips'"):
        _views("flips")
