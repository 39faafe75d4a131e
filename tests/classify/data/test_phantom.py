import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

import classify
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
    assert 0.70 < (times == 1).mean() < 0.78
    assert times.max() == 3


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
    assert dark.metadata["skin"].min() >= 0.2
    means = [d.gather(torch.arange(20)).images.float().mean() for d in (dark, light)]
    assert means[0] < 0.75 * means[1]


@settings(deadline=None, max_examples=100)
@given(*[st.floats(0, 0.6)] * 2, st.floats(0, 0.5), st.floats(0, 1), st.floats(1e-3, 0.2))
def test_reflectance_is_physical(melanin, dermal, blood, keratin, more):
    def light(m, d, b, k):
        return classify.skin_reflectance(*(np.array([v]) for v in (m, d, b, k)))[:, 0]

    base = light(melanin, dermal, blood, keratin)
    assert (base >= 0).all()
    assert (base <= 1).all()
    assert (light(melanin + more, dermal, blood, keratin) <= base + 1e-12).all()
    assert light(melanin, dermal, blood + more, keratin)[1] <= base[1] + 1e-12


def test_melanin_deep_in_the_skin_is_bluer():
    flat = np.zeros(1)
    shallow = classify.skin_reflectance(flat + 0.12, flat, flat + 0.01, flat)[:, 0]
    deep = classify.skin_reflectance(flat + 0.02, flat + 0.05, flat + 0.01, flat)[:, 0]
    assert deep[2] / deep[0] > 2 * shallow[2] / shallow[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count=0 is out of range; give at least 1"),
        ({"image_size": 8}, "image_size=8 is out of range; give 16 to 512"),
        ({"difficulty": 1.5}, "difficulty=1.5 is out of range"),
        ({"contrast": -1}, "contrast=-1 is out of range"),
        ({"balance": 2}, "balance=2 is out of range"),
        ({"skin": (0.3, 0.1)}, "a range within 0 to 0.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classify.LesionPhantom(**{"count": 3, **options})
