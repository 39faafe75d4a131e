import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional

import classify
from classify.data.lesion import RECIPES
from classify.data.phantom import _lesions

# Median Weber contrast of the classes of HAM10000, true masks, 1506 images.
WEBER = {
    "akiec": -0.225, "bcc": -0.232, "bkl": -0.314, "df": -0.293, "mel": -0.537, "nv": -0.505,
    "vasc": -0.516,
}  # fmt: skip
AREA = {
    "akiec": 0.41, "bcc": 0.23, "bkl": 0.28, "df": 0.28, "mel": 0.31, "nv": 0.23, "vasc": 0.10,
}  # fmt: skip


@pytest.fixture(scope="module")
def phantoms():
    return classify.LesionPhantom(420, 64, balance=0.0)


def _contrasts(dataset):
    """Weber contrast of the luminance of each lesion against a ring of skin."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    found = []
    for lesion in dataset:
        light = (lesion.image.permute(1, 2, 0).numpy() / 255.0) ** 2.2 @ weights
        mask = lesion.mask.numpy()
        ring = binary_dilation(mask, iterations=4) & ~binary_dilation(mask)
        found.append(light[mask].mean() / light[ring].mean() - 1)
    return np.array(found)


def test_the_same_seed_gives_the_same_bits_and_more_pictures_change_none():
    first = classify.LesionPhantom(20, 32, seed=3)
    longer = classify.LesionPhantom(31, 32, seed=3)
    other = classify.LesionPhantom(20, 32, seed=4)
    index = torch.arange(20)
    assert torch.equal(first.gather(index).images, longer.gather(index).images)
    assert torch.equal(first.gather_masks(index), longer.gather_masks(index))
    assert first.identifiers == longer.identifiers[:20]
    assert first.groups == longer.groups[:20]
    assert not torch.equal(first.gather(index).images, other.gather(index).images)
    assert len({d.fingerprint for d in (first, longer, other)}) == 3


def test_all_classes_are_there_even_in_a_small_set():
    assert (classify.LesionPhantom(60, 16).counts > 0).all()


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_classes_keep_their_shares(balance):
    labels = np.array([label for _, label in _lesions(5000, 0, balance)])
    shares = np.array([327, 514, 1099, 115, 1113, 6705, 142]) ** balance
    np.testing.assert_allclose(
        np.bincount(labels) / 5000, shares / shares.sum(), atol=0.002, rtol=0
    )


def test_some_lesions_have_several_pictures_of_one_class():
    lesions = _lesions(5000, 0, 0.5)
    label_of = {}
    for lesion, label in lesions:
        assert label_of.setdefault(lesion, label) == label
    times = np.bincount([lesion for lesion, _ in lesions])
    labels = np.array([label_of[lesion] for lesion in range(len(times))])
    single = {"akiec": 0.66, "bkl": 0.61, "mel": 0.37, "nv": 0.82}  # shares in HAM10000
    for name, share in single.items():
        of_class = times[labels == classify.LESION_CLASSES.index(name)]
        assert (of_class == 1).mean() == pytest.approx(share, abs=0.07)
    assert 3 <= times.max() <= 6


def test_pictures_of_a_lesion_differ_but_little(phantoms):
    names = np.array(phantoms.groups)
    pair = next(np.flatnonzero(names == n) for n in names if (names == n).sum() > 1)
    a, b = phantoms[int(pair[0])], phantoms[int(pair[1])]
    assert a.label == b.label
    assert not torch.equal(a.image, b.image)
    assert 0.5 < a.mask.float().mean() / b.mask.float().mean() < 2


@pytest.mark.parametrize("name", list(WEBER))
def test_contrast_and_size_are_near_those_of_the_real_classes(phantoms, name):
    of_class = phantoms.subset(phantoms.labels == phantoms.classes.index(name))
    assert np.median(_contrasts(of_class)) == pytest.approx(WEBER[name], abs=0.13)
    areas = [lesion.mask.float().mean() for lesion in of_class]
    assert np.median(areas) == pytest.approx(AREA[name], abs=0.07)
    assert min(areas) > 0.003


def test_weak_and_strong_classes_are_ordered_as_in_life(phantoms):
    median = {
        name: np.median(_contrasts(phantoms.subset(phantoms.labels == label)))
        for label, name in enumerate(phantoms.classes)
    }
    weak = [median[name] for name in ("akiec", "bcc", "bkl", "df")]
    strong = [median[name] for name in ("mel", "nv", "vasc")]
    assert max(strong) < min(weak)


def test_the_contrast_knob_is_monotone_and_leaves_the_lesion_in_place():
    sets = [classify.LesionPhantom(40, 32, contrast=c, seed=1) for c in (0.0, 0.25, 0.5, 1.0, 1.5)]
    medians = [np.median(-_contrasts(dataset)) for dataset in sets]
    assert medians == sorted(medians)
    assert abs(medians[0]) < 0.05
    index = torch.arange(40)
    assert all(torch.equal(sets[0].gather_masks(index), d.gather_masks(index)) for d in sets)


def test_skin_is_as_dark_as_asked_for():
    dark = classify.LesionPhantom(20, 32, skin=(0.2, 0.3))
    light = classify.LesionPhantom(20, 32, skin=(0.015, 0.03))
    assert dark.metadata["melanosome_fraction"].min() >= 0.2
    means = [d.gather(torch.arange(20)).images.float().mean() for d in (dark, light)]
    assert means[0] < 0.75 * means[1]


def test_it_is_the_same_lesion_at_every_size():
    fine, coarse = (classify.LesionPhantom(30, size, seed=2) for size in (128, 32))
    assert fine.groups == coarse.groups
    assert list(fine.metadata["structures"]) == list(coarse.metadata["structures"])
    index = torch.arange(30)
    averaged = functional.avg_pool2d(fine.gather(index).images.float(), 4)
    assert (averaged - coarse.gather(index).images).abs().mean() < 6
    masks = functional.avg_pool2d(fine.gather_masks(index)[:, None].float(), 4)[:, 0] > 0.5
    assert (masks == coarse.gather_masks(index)).float().mean() > 0.99


def test_easy_lesions_show_structures_of_their_own_class_only():
    dataset = classify.LesionPhantom(200, 16, difficulty=0.0, balance=0.0)
    seen = {name: set() for name in dataset.classes}
    for label, shown in zip(dataset.labels, dataset.metadata["structures"], strict=True):
        seen[dataset.classes[label]] |= set(shown.split("+")) - {""}
    assert all(seen[name] <= set(RECIPES[name].chances) for name in seen)
    assert all(seen.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count=0 is out of range; give at least 1"),
        ({"image_size": 8}, "image_size=8 is out of range; give 16 to 512"),
        ({"difficulty": 1.5}, "difficulty=1.5 is out of range"),
        ({"contrast": -1}, "contrast=-1 is out of range"),
        ({"balance": 2}, "balance=2 is out of range"),
        ({"seed": -1}, "seed=-1 is out of range; give 0 or more"),
        ({"skin": (0.3, 0.1)}, "a rising range within 0 to 0.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classify.LesionPhantom(**{"count": 3, **options})
