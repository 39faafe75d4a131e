import copy
import os
import pickle

import numpy as np
import pytest
import torch

from classify.data import LesionDataset
from classify.data.arrays import as_integer, as_levels, warn_of_classes


def make(**changes):
    given = {
        "images": torch.zeros(10, 3, 6, 5, dtype=torch.uint8),
        "labels": torch.arange(10) % 7,
        "groups": [f"lesion-{row // 2}" for row in range(10)],
        "identifiers": [f"image-{row}" for row in range(10)],
        "masks": torch.ones(10, 6, 5, dtype=torch.bool),
    }
    return LesionDataset(**(given | changes))


def test_numbers_are_names_too():
    dataset = make(groups=np.arange(10) // 5, identifiers=torch.arange(10))
    assert dataset.groups[9] == "1"
    assert dataset.identifiers[9] == "9"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": torch.zeros(10, 3, 6, 5)},
            r"uint8 or uint16 codes .* got torch.float32",
        ),
        ({"images": torch.zeros(10, 6, 5, dtype=torch.uint8)}, r"got torch.uint8 \[10, 6, 5\]"),
        ({"images": torch.zeros(0, 3, 6, 5, dtype=torch.uint8)}, "the data set is empty"),
        ({"images": None}, r"one array or Tensor of codes \[N, C, H, W\], .* got NoneType"),
        (
            {"images": [torch.zeros(3, 6, 5, dtype=torch.uint8)] * 10},
            "as torch.stack makes of Tensors of one size, got list",
        ),
        ({"labels": [None] * 10}, "10 integers, one for each image: the position of its class"),
        ({"labels": torch.arange(9)}, r"labels must be 10 integers, .* got torch.int64 \[9\]"),
        ({"labels": torch.zeros(10)}, "labels must be 10 integers, .* got torch.float32"),
        ({"labels": torch.full((10,), 7)}, r"lie in 0..6 .* but labels\[0\] is 7 \(10 such"),
        ({"labels": [0] * 9 + [-1]}, r"labels\[9\] is -1"),
        ({"labels": ["mel", "nv"] * 5}, r"10 integers, .* position of its class .*, not its name"),
        ({"groups": ["a"] * 9}, "groups needs 10 names, one for each image, got 9"),
        ({"groups": ["a"] * 9 + [float("nan")]}, r"groups\[9\] is nan"),
        ({"groups": [None] * 10}, r"groups\[0\] is None"),
        ({"groups": [""] * 10}, r"groups\[0\] is ''"),
        ({"groups": ["a"] * 9 + [" \t"]}, r"groups\[9\] is ' \\t'; a name is a non-empty str"),
        ({"identifiers": ["a"] * 10}, "must be unique, but 'a' occurs 10 times"),
        ({"identifiers": "abcdefghij"}, "identifiers needs 10 names, .* got 'abcdefghij'"),
        ({"classes": ("a", "a")}, "classes must be different names"),
        ({"classes": ()}, "classes must be different names, at least one"),
        ({"masks": torch.zeros(10, 6, 6, dtype=torch.bool)}, r"\[10, 6, 5\] to fit the images"),
        ({"masks": torch.zeros(10, 6, 5)}, "masks must be bool or uint8 .* got torch.float32"),
        ({"has_mask": torch.ones(10)}, r"has_mask must be bool \[10\], got torch.float32"),
        ({"masks": None, "has_mask": torch.ones(10, dtype=torch.bool)}, "give masks with it"),
        ({"metadata": {"age": [1, 2]}}, r"'age' has shape \(2,\); it needs 10 rows"),
    ],
)
def test_arrays_that_do_not_agree(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_levels_of_all_codes_are_those_of_numpy(dtype):
    most = torch.iinfo(dtype).max
    codes = torch.arange(most + 1).to(dtype)
    expected = codes.numpy().astype(np.float64) * 255 / most
    assert as_levels(codes).dtype == torch.float32
    np.testing.assert_allclose(as_levels(codes).numpy(), expected, rtol=1e-7)
    back = (as_levels(codes) / 255 * most).round().to(dtype)
    assert torch.equal(back, codes)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_may_run_backwards_or_be_big_endian(kind):
    codes = np.arange(0, 10 * 3 * 6 * 5 * 11, 11).reshape(10, 3, 6, 5).astype(kind)
    masks = codes[:, 0] % 2 == 0
    turned = make(images=codes[..., ::-1], masks=masks[..., ::-1])
    assert np.array_equal(turned[3].image.numpy(), codes[3, ..., ::-1])
    assert np.array_equal(turned.gather_masks([3])[0].numpy(), masks[3, :, ::-1])
    swapped = make(images=codes.astype(np.dtype(kind).newbyteorder(">")))
    assert np.array_equal(swapped[3].image.numpy(), codes[3])


@pytest.fixture
def mapped(tmp_path):
    """Codes of a file, and what touches it."""
    path = tmp_path / "codes.npy"
    np.save(path, np.arange(900, dtype=np.uint16).reshape(10, 3, 6, 5) * 70)
    os.utime(path, (1e9, 1e9))
    return np.load(path, mmap_mode="c"), lambda: os.utime(path, (2e9, 2e9))


@pytest.mark.parametrize("view", [lambda a: a, np.asarray, lambda a: np.asarray(a)[..., ::-1]])
def test_the_file_of_a_view_is_known(mapped, view):
    codes, touch = mapped
    dataset = make(images=view(codes))
    dataset.gather([0])
    touch()
    with pytest.raises(ValueError, match=r"codes.npy was modified, or touched, while a data set"):
        dataset.gather([0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_needs_the_file_no_more(mapped, copied):
    codes, touch = mapped
    dataset = make(images=codes)
    other = copied(dataset)
    touch()
    assert np.array_equal(other.gather(range(10)).images.numpy(), codes)
    with pytest.raises(ValueError, match="was modified"):
        copied(dataset)


def test_a_picture_in_0_to_1_has_no_levels():
    with pytest.raises(ValueError, match=r"of uint8 or uint16 codes, got torch.float32"):
        as_levels(torch.rand(3))


@pytest.mark.parametrize("given", [3, np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_an_integer_is_one_of_any_library(given):
    found = as_integer(given)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("given", [3.0, np.float64(3), True, np.True_, "3", None, torch.ones(1)])
def test_what_is_no_integer(given):
    assert as_integer(given) is None


def test_one_mask_has_one_identity_however_it_is_stored():
    mask = torch.arange(300).reshape(10, 6, 5) % 3 == 0
    real = torch.arange(10) != 4
    same = [mask, mask.to(torch.uint8), mask.to(torch.uint8) * 255]
    assert len({make(masks=masks).fingerprint for masks in same}) == 1
    other = mask.clone()
    other[4] = ~other[4]  # where there is none, it says nothing
    assert make(masks=mask, has_mask=real).fingerprint == (
        make(masks=other, has_mask=real).fingerprint
    )
    assert make(masks=mask).fingerprint != make(masks=other).fingerprint


def test_rows_are_numbers():
    with pytest.raises(ValueError, match=r"integers \[M\] or bool \[10\]"):
        make().subset(["image-3"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 4], "x has labels up to 4 and no picture of two, three, but a classifier"),
        (
            [1, 1],
            "x has pictures of one class only, one: a trained run can be tested on them, "
            "given the names of all its classes, but",
        ),
        (torch.tensor([4]), "x has pictures of one class only, four: "),
    ],
)
def test_classes_that_labels_alone_name_are_told_where_they_are_no_use(labels, words):
    names = ["zero", "one", "two", "three", "four"]
    with pytest.warns(UserWarning, match=words):
        warn_of_classes(labels, names[: max(labels) + 1], where="x")


def test_classes_that_all_have_pictures_are_not_spoken_of():
    warn_of_classes(np.array([2, 0, 1]), ["a", "b", "c"], where="x")
