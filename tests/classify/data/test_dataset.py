import copy
import hashlib
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from classify.data import LESION_CLASSES, Batch, Lesion, LesionDataset, check_classes


def arrays(count=10, size=(6, 5), **changes):
    rng = np.random.default_rng(3)
    masks = rng.random((count, *size)) > 0.5
    given = {
        "images": torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8)),
        "labels": torch.arange(count) % 7,
        "groups": [f"lesion-{row // 2}" for row in range(count)],
        "identifiers": [f"image-{row}" for row in range(count)],
        "masks": torch.from_numpy(masks),
        "metadata": {"age": np.arange(count) * 2.0},
    }
    return given | changes


def make(count=10, **changes):
    return LesionDataset(**arrays(count, **changes))


def test_items_are_what_was_given():
    given = arrays()
    dataset = make()
    assert len(dataset) == 10
    assert dataset.classes == LESION_CLASSES
    assert (dataset.image_size, dataset.channels) == ((6, 5), 3)
    for row, item in enumerate(dataset):
        assert isinstance(item, Lesion)
        assert torch.equal(item.image, given["images"][row])
        assert item.mask is not None
        assert torch.equal(item.mask, given["masks"][row])
        assert item.mask.dtype == torch.bool
        expected = (row % 7, f"lesion-{row // 2}", f"image-{row}")
        assert (item.label, item.group, item.identifier) == expected


def test_negative_indices_and_their_end():
    dataset = make()
    assert dataset[-1].identifier == "image-9"
    assert dataset[np.int64(2)].identifier == dataset[torch.tensor(2)].identifier == "image-2"
    for index in (10, -11):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 10 images"):
            dataset[index]
    with pytest.raises(TypeError, match=r"use subset\(...\)"):
        dataset[1:3]  # pyright: ignore


def test_an_item_does_not_write_into_the_data_set():
    dataset = make()
    before = dataset[0].image.clone()
    dataset[0].image.zero_()
    assert torch.equal(dataset[0].image, before)


def test_everything_is_seen_through_the_rows():
    rows = [7, 0, 3]
    part = make().subset(rows)
    assert part.labels.tolist() == part.targets.tolist() == [0, 0, 3]
    assert part.labels.dtype == torch.int64
    assert part.groups == ("lesion-3", "lesion-0", "lesion-1")
    assert part.identifiers == ("image-7", "image-0", "image-3")
    assert part.metadata["age"].tolist() == [14, 0, 6]
    assert part.counts.tolist() == [2, 0, 0, 1, 0, 0, 0]
    assert [item.identifier for item in part] == list(part.identifiers)


def test_a_subset_shares_the_arrays_and_composes():
    dataset = make()
    part = dataset.subset(torch.tensor([8, 6, 4, 2])).subset([3, 0])
    assert part.identifiers == ("image-2", "image-8")
    assert part._arrays is dataset._arrays
    mask = torch.arange(10) % 2 == 1
    assert dataset.subset(mask).identifiers == tuple(f"image-{row}" for row in range(1, 10, 2))


def test_gather_copies_rows_in_order_and_may_repeat_them():
    given, dataset = arrays(), make()
    batch = dataset.subset([9, 8, 7]).gather(torch.tensor([2, 0, 0, -1]))
    assert isinstance(batch, Batch)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    assert torch.equal(batch.images, given["images"][[7, 9, 9, 7]])
    assert batch.labels.tolist() == [0, 2, 2, 0]
    batch.images.zero_()
    assert torch.equal(dataset.gather([9]).images, given["images"][[9]])


@pytest.mark.parametrize("method", ["gather", "gather_masks"])
@pytest.mark.parametrize("index", [[0, 99], [-99]])
def test_a_row_beyond_the_last_is_named(method, index):
    with pytest.raises(IndexError, match=rf"index {index[-1]} is out of range for \d+ images"):
        getattr(make(), method)(index)


def test_gather_of_nothing_is_empty():
    batch = make().gather([])
    assert batch.images.shape == (0, 3, 6, 5)
    assert batch.labels.shape == (0,)


def test_gather_masks():
    given = arrays()
    masks = make().subset([5, 1]).gather_masks([1, 0])
    assert masks.dtype == torch.bool
    assert torch.equal(masks, given["masks"][[1, 5]])


def test_missing_masks_are_named():
    has_mask = torch.arange(10) != 4
    dataset = make(has_mask=has_mask, masks=arrays()["masks"].to(torch.uint8) * 255)
    assert dataset[4].mask is None
    assert dataset.has_mask.tolist() == has_mask.tolist()
    assert torch.equal(dataset.gather_masks([3]), arrays()["masks"][[3]])
    with pytest.raises(ValueError, match=r"1 of the 2 images have no lesion mask \(image-4\)"):
        dataset.gather_masks([3, 4])
    assert len(dataset.subset(dataset.has_mask)) == 9
    without = make(masks=None)
    assert without[0].mask is None
    with pytest.raises(ValueError, match="have no lesion mask"):
        without.gather_masks([0])


def test_columns_come_of_any_mapping():
    class Frame(dict):
        """Of a mapping, as pandas has it, whose truth is asked for in vain."""

        def __bool__(self):
            raise ValueError("The truth value of a DataFrame is ambiguous")

    assert make(metadata=Frame(age=[1] * 10)).metadata["age"].tolist() == [1] * 10


def test_pictures_are_shared_with_a_data_set():
    with pytest.raises(TypeError, match="LesionDataset, not list"):
        make().shared(["image-1"])


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([], ValueError, "at least one image"),
        ([1, 2, 1], ValueError, "contains each image once, but the index repeats some"),
        ([1, -9], ValueError, "contains each image once"),
        ([0.5], ValueError, r"an index must be integers \[M\] or bool \[10\], got torch.float32"),
        ([True, False], ValueError, r"bool \[10\], got torch.bool \[2\]"),
        ([[1], [2]], ValueError, r"got torch.int64 \[2, 1\]"),
        ([10], IndexError, "index 10 is out of range for 10 images"),
        (None, ValueError, r"an index must be integers \[M\] or bool \[10\]: Could not infer"),
    ],
)
def test_index_that_cannot_be_a_subset(index, error, message):
    with pytest.raises(error, match=message):
        make().subset(index)


def test_one_class_can_be_held_but_not_trained_on():
    dataset = make(labels=[5] * 10)
    with pytest.raises(ValueError, match=r"10 pictures has only .* other class$"):
        check_classes(dataset)
    with pytest.raises(ValueError, match=r"only one class \(akiec\)"):
        check_classes(make().subset([0, 7]))
    with pytest.raises(ValueError, match=r"cannot train a classifier, .* add pictures of at least"):
        check_classes(make().subset([0, 7]))
    check_classes(make().subset([0, 1]))


def test_fingerprint_changes_with_everything_that_it_covers():
    given = arrays()
    images, masks = given["images"].clone(), given["masks"].clone()
    images[9, 2, 5, 4] ^= 1
    masks[9, 5, 4] ^= True
    changed = [
        make(images=images),
        make(masks=masks),
        make(masks=None),
        make(has_mask=torch.arange(10) > 0),
        make(labels=torch.zeros(10, dtype=torch.int64)),
        make(groups=given["identifiers"]),
        make(identifiers=[name.upper() for name in given["identifiers"]]),
        make(classes=LESION_CLASSES[::-1]),
        make(images=given["images"].reshape(10, 3, 5, 6), masks=given["masks"].reshape(10, 5, 6)),
    ]
    prints = [dataset.fingerprint for dataset in (make(), *changed)]
    assert len(set(prints)) == len(prints)
    assert make().fingerprint == prints[0]
    assert make(metadata={}).fingerprint == prints[0]


def test_codes_of_16_bits_stay_what_they_are():
    codes = torch.from_numpy(np.arange(10 * 3 * 6 * 5).reshape(10, 3, 6, 5) * 72).to(torch.uint16)
    deep = make(images=codes, encoding="linear")
    assert (deep.bit_depth, deep.encoding) == (16, "linear")
    assert (make().bit_depth, make().encoding) == (8, None)
    assert "of 16 bits" in repr(deep)
    batch = deep.subset([9, 4, 0]).gather([1, 0, 1])
    assert batch.images.dtype == torch.uint16
    assert batch.images.is_contiguous()
    assert np.array_equal(batch.images.numpy(), codes.numpy()[[4, 9, 4]])
    assert np.array_equal(deep[3].image.numpy(), codes.numpy()[3])
    with pytest.raises(ValueError, match="encoding must be 'srgb', 'linear' or None, got 'raw'"):
        make(encoding="raw")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_copies_through_pickle_are_the_same(dtype):
    codes = torch.from_numpy(np.resize(np.arange(251) * 17, (10, 3, 6, 5))).to(dtype)
    dataset = make(images=codes, encoding="linear")
    for found in (pickle.loads(pickle.dumps(dataset.subset([3, 1]))), copy.deepcopy(dataset)):
        assert found.gather([0]).images.dtype == dtype
        assert found.encoding == "linear"
    again = pickle.loads(pickle.dumps(dataset))
    assert again.fingerprint == dataset.fingerprint
    assert torch.equal(again[3].image, dataset[3].image)


def test_fingerprint_tells_depths_and_encodings_apart():
    codes = arrays()["images"]
    deep = (codes.int() * 257).to(torch.uint16)
    prints = {
        make(images=images, encoding=encoding).fingerprint
        for images in (codes, deep)
        for encoding in (None, "srgb", "linear")
    }
    assert len(prints) == 6


def test_fingerprint_of_subsets():
    dataset = make()
    once = dataset.subset([4, 2])
    assert once.fingerprint == dataset.subset([9, 4, 2]).subset([1, 2]).fingerprint
    assert dataset.subset(range(10)).fingerprint == dataset.fingerprint
    others = [dataset, dataset.subset([2, 4]), dataset.subset([4]), make(groups=["g"] * 10)]
    assert once.fingerprint not in {other.fingerprint for other in others}
    assert make(fingerprint="abc").fingerprint == "abc"
    assert make(fingerprint="abc").subset([1]).fingerprint not in ("abc", once.fingerprint)


def test_fingerprint_covers_pictures_that_are_not_contiguous():
    images = torch.zeros(10, 5, 6, 3, dtype=torch.uint8).permute(0, 3, 2, 1)
    assert make(images=images).fingerprint == make(images=images.contiguous()).fingerprint


def test_a_memory_map_is_shown_without_a_copy(tmp_path):
    given = arrays()
    np.save(tmp_path / "images.npy", given["images"].numpy())
    before = hashlib.sha256((tmp_path / "images.npy").read_bytes()).digest()
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    dataset = make(images=mapped)
    assert dataset._arrays.images.data_ptr() == mapped.ctypes.data
    assert dataset.fingerprint == make().fingerprint
    dataset.gather([0]).images.zero_()
    assert hashlib.sha256((tmp_path / "images.npy").read_bytes()).digest() == before


def test_repr_says_what_is_there():
    text = repr(make())
    assert "10 images [3, 6, 5] of 5 lesions" in text
    assert "akiec 2, bcc 2, bkl 2, df 1" in text


def test_a_torch_loader_and_pickle_take_it():
    dataset = make()
    loader = DataLoader(dataset, batch_size=4, collate_fn=list)  # pyright: ignore
    assert [item.identifier for batch in loader for item in batch] == list(dataset.identifiers)
    again = pickle.loads(pickle.dumps(dataset.subset([3, 1])))
    assert again.fingerprint == dataset.subset([3, 1]).fingerprint
    assert torch.equal(again.gather([0]).images, dataset.gather([3]).images)


def test_ten_thousand_rows_are_checked_quickly():
    from time import process_time

    count = 10_000
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    names = [f"image-{row}" for row in range(count)]
    start = process_time()
    dataset = LesionDataset(
        images=images, labels=torch.zeros(count, dtype=torch.int64), groups=names, identifiers=names
    )
    assert len(dataset.subset(range(0, count, 2)).identifiers) == count // 2
    assert process_time() - start < 1


@pytest.mark.parametrize("declared", [None, "srgb", "linear"])
def test_what_codes_are_taken_as_is_no_part_of_their_identity(declared):
    dataset = make(encoding=declared)
    part = dataset.subset([4, 2])
    for encoding in ("linear", "srgb", None):
        taken = part.taken_as(encoding)
        assert taken.encoding == encoding
        assert part.encoding == declared
        assert taken.fingerprint == part.fingerprint
        assert torch.equal(taken[0].image, part[0].image)
        assert taken.identifiers == part.identifiers
        assert taken.shared(dataset) == part.shared(dataset) == part.identifiers
        assert dataset.taken_as(encoding).fingerprint == dataset.fingerprint
        assert pickle.loads(pickle.dumps(taken)).encoding == encoding
    # Before and after the identity is first asked for.
    assert make(encoding=declared).taken_as("linear").fingerprint == dataset.fingerprint
    assert make(fingerprint="abc").taken_as("srgb").fingerprint == "abc"
    with pytest.raises(ValueError, match="encoding must be 'srgb', 'linear' or None, got 'raw'"):
        dataset.taken_as("raw")


@pytest.mark.parametrize("declared", [None, "srgb", "linear"])
def test_redrawn_lesions_are_the_same_in_other_pictures(declared):
    dataset = make(encoding=declared).subset([7, 1, 3])
    images = torch.arange(3 * 4 * 4).reshape(3, 1, 4, 4).to(torch.uint8)
    masks = images[:, 0] > 20
    redrawn = dataset.taken_as("linear").redrawn(images, masks=masks)
    same = ("labels", "groups", "identifiers", "classes")
    expected = LesionDataset(
        images=images, masks=masks, encoding=declared, **{n: getattr(dataset, n) for n in same}
    )
    assert redrawn.encoding == "linear"
    assert redrawn.fingerprint == expected.fingerprint
    assert torch.equal(redrawn.gather_masks([0, 2]), masks[[0, 2]])
    assert redrawn.metadata.keys() == dataset.metadata.keys()
    assert not dataset.redrawn(images).has_mask.any()
    with pytest.raises(ValueError, match="3 rows need as many images, got 2"):
        dataset.redrawn(images[:2])


def test_pictures_that_are_said_to_belong_together_otherwise():
    source = make()
    part = source.subset([7, 0, 3])
    found = part.grouped(["P1", "P1", 2])
    assert found.groups == ("P1", "P1", "2")
    assert part.groups == ("lesion-3", "lesion-0", "lesion-1")
    assert found.identifiers == part.identifiers
    assert torch.equal(found.gather(range(3)).images, part.gather(range(3)).images)
    assert len(found.shared(source)) == 3  # they are the same pictures still
    assert found.fingerprint != part.fingerprint
    assert source.grouped(source.groups).fingerprint == source.fingerprint
    with pytest.raises(ValueError, match="groups"):
        part.grouped(["P1", "P2"])


def test_channels_that_seem_to_come_last_are_said():
    pictures = torch.zeros(10, 32, 16, 3, dtype=torch.uint8)
    with pytest.warns(UserWarning, match=r"32 channels of 16 x 3 pixels; .*\(images, -1, 1"):
        make(images=pictures, masks=None)


def test_a_torch_loader_takes_batches_of_it():
    """As docs/howto/data.md has it, for loops of one's own."""
    dataset = make().subset(range(9, -1, -1))
    loader = DataLoader(range(10), batch_size=4, collate_fn=dataset.gather)  # pyright: ignore
    batches = list(loader)
    assert [len(batch.labels) for batch in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), dataset.labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_ordinary_loader_gives_ordinary_batches(dtype, workers):
    """Also where some pictures have no mask, which torch could not stack."""
    codes = torch.arange(10 * 3 * 6 * 5).reshape(10, 3, 6, 5).remainder(251).mul(17).to(dtype)
    dataset = make(images=codes, has_mask=torch.arange(10) % 2 == 0)
    loader = DataLoader(dataset, batch_size=4, num_workers=workers)  # pyright: ignore
    for rows, (images, labels) in zip(torch.arange(10).split(4), loader, strict=True):
        expected = dataset.gather(rows)
        assert images.dtype == dtype
        assert images.numpy().tolist() == expected.images.numpy().tolist()
        assert torch.equal(labels, expected.labels)


@pytest.mark.parametrize("missing", ["", " ", "NA", "None", "unknown", float("nan")])
def test_what_is_not_known_is_no_group(missing):
    with pytest.raises(ValueError, match=r"groups\[1\] is"):
        make(2).grouped(["P1", missing])


def test_classes_are_strings():
    numbers = make(labels=torch.arange(10) % 2, classes=[0, 1])
    assert numbers.classes == make(classes=np.arange(7)).classes[:2] == ("0", "1")
    assert len(numbers.fingerprint) == 64
    assert "0 5, 1 5" in repr(numbers)
    for classes in (("a", 1.5), ("a", None), ("a", ("b", "c"))):
        with pytest.raises(ValueError, match=r"classes\[1\] is .*; a name is a non-empty str"):
            make(labels=torch.arange(10) % 2, classes=classes)


def test_pictures_of_two_data_sets_are_told_by_their_codes():
    one, again = make(600), make(600)
    assert one.shared(again) == one.identifiers
    assert one.subset([7, 3, 500]).shared(again.subset([500, 8, 7])) == ("image-7", "image-500")
    images = arrays(600)["images"].clone()
    images[[3, 500], 2, 5, 4] ^= 1
    changed = make(600, images=images)
    assert set(one.identifiers) - set(one.shared(changed)) == {"image-3", "image-500"}
    other = make(600, identifiers=[f"other-{row}" for row in range(600)])
    assert one.subset([7, 3]).shared(other) == ("image-7", "image-3")
    assert other.shared(changed) == tuple(n for n in other.identifiers if n[6:] not in ("3", "500"))
    # As codes of 16 bits, or of another size, they are others.
    deep = {"images": (arrays(10)["images"].int() * 257).to(torch.uint16), "masks": None}
    assert make().shared(make(**deep)) == ()
    assert make(**deep).shared(make(**deep)) == make().identifiers
    assert make().shared(make(size=(5, 6))) == ()


def test_parts_of_one_data_set_know_each_other():
    dataset = make()
    one, other = dataset.subset([7, 3, 5]), dataset.subset([5, 9, 3])
    assert one.same_set_as(other)
    assert one.shared(other) == ("image-3", "image-5")  # in the order of its own rows
    assert other.shared(one) == ("image-5", "image-3")
    # Said to be of another encoding, or to belong together otherwise, they are its pictures still.
    for changed in (other.taken_as("linear"), other.grouped(["a", "b", "c"])):
        assert one.same_set_as(changed)
        assert changed.same_set_as(one)
        assert one.shared(changed) == ("image-3", "image-5")
    redrawn = one.redrawn(1 + one.gather([0, 1, 2]).images)
    for foreign in (make(), pickle.loads(pickle.dumps(other)), redrawn):
        assert not one.same_set_as(foreign)
    assert one.shared(make()) == ("image-7", "image-3", "image-5")
    assert redrawn.shared(one) == ()


def test_pictures_of_one_colour_are_shared_under_one_name_alone():
    """Black frames of two cameras are equal by chance."""
    images = arrays(10)["images"].clone()
    images[[2, 4]] = torch.tensor([3, 0, 9], dtype=torch.uint8)[:, None, None]
    one = make(images=images)
    assert one.shared(make(images=images)) == one.identifiers
    other = make(images=images, identifiers=[f"other-{row}" for row in range(10)])
    assert set(one.identifiers) - set(one.shared(other)) == {"image-2", "image-4"}


def test_unknown_is_no_group():
    for name in ("NA", "nan", " Unknown ", "none", "NULL"):
        with pytest.raises(ValueError, match=r"groups\[3\] is '.*', which is not a group: give"):
            make(groups=["a", "b", "c", name, *"defghi"])
    names = [f"image-{row}" for row in range(9)] + ["none"]
    assert make(groups=names, identifiers=names).groups[-1] == "none"  # a picture's own name
