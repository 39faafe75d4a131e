import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from textures import SIDE, crop, jpeg, pil, tensor, textures

from classify.data import LesionDataset, LesionPhantom, audit_against, split
from classify.data.against import Same


def make(images, name, labels=None, groups=None, names=None, **options):
    count = len(images)
    return LesionDataset(
        images=images,
        labels=[row % 7 for row in range(count)] if labels is None else labels,
        groups=[f"{name}-lesion-{row}" for row in range(count)] if groups is None else groups,
        identifiers=[f"{name}-{row}" for row in range(count)] if names is None else names,
        **options,
    )


def resized(image):
    return tensor(pil(image).resize((40, 40), Image.Resampling.BOX).resize((SIDE, SIDE)))


CHANGES = {
    "JPEG 60": jpeg,
    "resized": resized,
    "brighter": lambda image: (0.8 * image.float() + 40).to(torch.uint8),
    "flip": lambda image: image.flip(-1),
    "rotation": lambda image: image.rot90(3, (-2, -1)),
    "crop 95 %": crop,
    "crop, flip and JPEG": lambda image: jpeg(crop(image).flip(-2)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_near_duplicates_are_found_and_nothing_else(change):
    train, test = textures(80), textures(60, seed=1)
    for row in range(20):
        test[3 * row] = change(train[row])
    found = audit_against(make(test, "test"), make(train, "train"))
    planted = {(f"test-{3 * row}", f"train-{row}") for row in range(20)}
    pairs = {(pair.first, pair.second) for pair in found.near}
    assert pairs == planted
    assert found.exact == found.groups == ()
    assert {*found.touched} == {first for first, _ in planted}
    assert {*found.reference_touched} == {second for _, second in planted}
    assert (found.touched_share, found.reference_touched_share) == (1 / 3, 1 / 4)
    assert found.complete


def test_duplicates_within_one_set_are_no_finding():
    train, test = textures(10), textures(10, seed=1)
    for images in (train, test):
        images[4] = images[2]
        images[7] = images[3].flip(-1)
    found = audit_against(make(test, "test"), make(train, "train"))
    assert found.exact == found.near == found.touched == found.reference_touched == ()
    assert str(found).count(": none") == 7


def test_distinct_phantoms_share_nothing():
    first, second = (LesionPhantom(150, 48, seed=seed) for seed in (0, 1))
    found = audit_against(first, second)
    assert found.exact == found.near == found.groups == found.touched == ()
    assert found.complete


def test_a_set_against_itself_is_all_in_it():
    images = textures(12)
    images[5] = images[2]
    images[7] = images[3].flip(-1)
    own = make(images, "own")
    found = audit_against(own, own)
    assert found.touched == found.reference_touched == own.identifiers
    assert found.groups == own.groups
    assert len(found.exact) == 11
    # Rows 2 and 5 are of other classes.
    assert found.exact[2] == Same(("own-2", "own-5"), ("own-2", "own-5"), False)
    pairs = {(pair.first, pair.second) for pair in found.near}
    assert pairs == {("own-3", "own-7"), ("own-7", "own-3")}
    assert found.uncounted == ()
    assert (found.names, found.names_alike) == (12, 12)


def test_exact_duplicates_and_groups_are_told_with_their_labels():
    train, test = textures(6), textures(5, seed=1)
    test[1] = test[3] = train[4]
    test[2] = train[0].flip(-1)
    theirs = ["a", "b", "c", "d", "e", "f"]
    found = audit_against(
        make(test, "test", [0, 4, 2, 4, 6], ["v", "w", "x", "y", "b"]),
        make(train, "train", [1, 1, 2, 3, 4, 5], theirs),
    )
    assert found.exact == (Same(("test-1", "test-3"), ("train-4",), True),)
    (pair,) = found.near
    assert (pair.first, pair.second, pair.same_label) == ("test-2", "train-0", False)
    assert not pair.same_group
    assert found.groups == ("b",)
    assert found.touched == ("test-1", "test-2", "test-3", "test-4")
    assert found.reference_touched == ("train-0", "train-1", "train-4")
    text = str(found)
    assert text.startswith("audit of 5 pictures against 6 others\n")
    assert "(equal pixels): 1 sets: test-1, test-3 = train-4\n" in text
    assert "duplicates under different labels: 1 cases: test-2 ~ train-0 (1.000)\n" in text
    assert "groups named in both: 1 groups: b\n" in text
    assert "pictures to leave out: 4 of 5 (80.0%): test-1, test-2, test-3, test-4\n" in text
    assert "  because of these others: 3 of 6 (50.0%): train-0, train-1, train-4" in text


def test_classes_are_compared_by_name():
    images = textures(4)
    kinds = "ham", "spam"
    found = audit_against(
        make(images, "a", [0, 0, 1, 1], classes=kinds),
        make(images, "b", [1, 0, 0, 0], classes=kinds[::-1]),
    )
    assert [same.same_label for same in found.exact] == [True, False, True, True]


def test_numbers_that_count_other_things_are_no_finding():
    """Class folders in which the files are numbered from 0, whose groups are their names."""
    names = [f"nv/{row}.png" for row in range(10)]
    train, test = textures(10), textures(10, seed=1)
    for groups in (names, [str(row // 2) for row in range(10)]):
        trained = make(train, "", groups=groups, names=names)
        found = audit_against(make(test, "", groups=groups, names=names), trained)
        shared = tuple(dict.fromkeys(groups))
        assert found.groups == found.uncounted == shared
        assert found.touched == found.reference_touched == ()
        count = len(shared)
        said = f": {count} groups, of which {count} may be numbers of each set and do not count: "
        assert said in str(found)
        assert "names in both: 10, 0 alike\n" in str(found)
    test[3] = train[3]
    test[4] = train[8].flip(-1)
    found = audit_against(
        make(test, "", groups=names, names=names), make(train, "", groups=names, names=names)
    )
    assert found.touched == (names[3], names[4])  # duplicates count all the same
    assert (found.names, found.names_alike) == (10, 1)


@pytest.mark.parametrize("names", [[f"{row}.png" for row in range(6)], ["cover", *"abcde"]])
def test_patients_count_whatever_their_pictures_are_called(names):
    """Later visits in files that are counted from 0: other pictures of the same names."""
    patients = [f"patient-{row // 2}" for row in range(6)]
    theirs = ["cover", *"vwxyz"] if names[0] == "cover" else names
    train = make(textures(6), "", groups=patients, names=theirs)
    test = make(textures(6, seed=1), "", groups=patients, names=names)
    found = audit_against(test, train)
    assert found.groups == ("patient-0", "patient-1", "patient-2")
    assert found.uncounted == ()
    assert found.touched == test.identifiers
    # After a picture of one set alone, a group has a name of its own.
    test = make(textures(6, seed=1), "", groups=[*"aabbcc"], names=[*"axbycz"])
    train = make(textures(6), "", groups=[*"abcdef"], names=[*"abcdef"])
    found = audit_against(test, train)
    assert (found.groups, found.uncounted) == (("a", "b", "c"), ())
    assert found.touched == test.identifiers


def test_the_other_pictures_of_a_lesion_are_left_out_too():
    train, test = textures(5), textures(5, seed=1)
    test[0] = train[1]
    test[4] = train[3].flip(-1)
    found = audit_against(
        make(test, "test", groups=["1", "1", "2", "3", "4"]),
        make(train, "train", groups=["v", "w", "w", "x", "y"]),
    )
    assert found.touched == ("test-0", "test-1", "test-4")
    assert found.reference_touched == ("train-1", "train-2", "train-3")


def test_sizes_depths_encodings_and_grey():
    phantom = {"count": 20, "seed": 3}
    light = LesionPhantom(image_size=64, bit_depth=16, encoding="linear", **phantom)
    codes = LesionPhantom(image_size=48, **phantom)
    found = audit_against(light.subset(range(8)), codes)
    assert {p.first for p in found.near if p.first == p.second} == {*light.identifiers[:8]}
    images = codes.gather(range(20)).images
    grey = np.stack([np.array(pil(image).convert("L")) for image in images])
    grey = torch.from_numpy(grey)[:, None]
    for each in (grey, grey.expand(-1, 3, -1, -1).contiguous()):
        found = audit_against(make(each, "grey"), make(images, "colour"))
        pairs = {(pair.first, pair.second) for pair in found.near}
        assert pairs >= {(f"grey-{row}", f"colour-{row}") for row in range(20)}


def test_parts_of_one_set():
    dataset = LesionPhantom(60, 32)
    whole = split(dataset, (0.8, 0.2), by="image")
    found = audit_against(whole.test, whole.train)
    known = {*whole.train.groups}
    shared = [group in known for group in whole.test.groups]
    assert len(found.groups) > 0
    assert found.near == found.exact == ()
    assert found.touched == tuple(
        name for name, is_known in zip(whole.test.identifiers, shared, strict=True) if is_known
    )


def test_blank_pictures_are_the_same_of_equal_pixels_and_names():
    train, test = textures(4), textures(4, seed=1)
    train[1] = train[2] = test[2] = test[0] = 90
    test[3] = 91
    names = ["a", "b", "c", "d"]
    found = audit_against(make(test, "test", names=names), make(train, "train", names=names))
    assert [(same.images, same.reference_images) for same in found.exact] == [(("c",), ("c",))]
    assert found.near == ()
    assert (found.touched, found.names_alike) == (("c",), 1)
    assert (found.blank, found.complete, found.stopped) == (5, False, False)
    assert re.search(r"near duplicates.*: none, with 5 blank pictures skipped\n", str(found))


def test_pairs_that_are_not_listed_count(monkeypatch):
    monkeypatch.setattr("classify.data.near._MOST", 3)
    images = textures(1).repeat(4, 1, 1, 1)
    images[:, 0, 0, 0] = torch.arange(4)
    found = audit_against(make(images, "a"), make(255 - images, "b"))
    assert found.near == ()  # a negative is another picture
    changed = images.clone()
    changed[:, 0, 0, 1] = 9
    found = audit_against(make(images, "a"), make(changed, "b"))
    assert found.stopped
    assert not found.complete
    assert "3 pairs, and more that are not listed: a-" in str(found)
    assert found.touched == ("a-0", "a-1", "a-2", "a-3")
    assert found.reference_touched == ("b-0", "b-1", "b-2", "b-3")


def test_json():
    images = textures(3)
    images[2] = images[1].flip(-1)
    found = audit_against(make(images[:2], "a"), make(images[[0, 2]], "b"))
    content = json.loads(json.dumps(found.to_dict()))
    assert content["exact"] == [
        {"images": ["a-0"], "reference_images": ["b-0"], "same_label": True}
    ]
    assert content["near"] == [
        {"first": "a-1", "second": "b-1", "similarity": 1.0, "same_group": False,
         "same_label": True}
    ]  # fmt: skip
    assert (content["touched"], content["touched_share"]) == (["a-0", "a-1"], 1.0)
    assert content["reference_touched_share"] == 1.0


def test_what_cannot_be_compared_is_refused():
    own = make(textures(3), "own")
    with pytest.raises(ValueError, match="threshold must be a correlation between 0 and 1, got 1"):
        audit_against(own, own, threshold=1)
    for wrong in ((own, [0]), ([0], own)):
        with pytest.raises(TypeError, match=r"must be a classify\.LesionDataset, not list"):
            audit_against(*wrong)
    bands = make(torch.zeros(2, 4, SIDE, SIDE, dtype=torch.uint8) + 200, "bands")
    with pytest.raises(ValueError, match="3 and 4 channels cannot be compared"):
        audit_against(own, bands)
