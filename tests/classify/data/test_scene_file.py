import io
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classify.data import LesionDataset, LesionPhantom, SceneFile, save_scenes

COUNT, SIZE = 6, (9, 14)
RNG = np.random.default_rng(5)


def arrays(dtype=np.uint16, bands=5, **changes):
    rng = np.random.default_rng(3)
    most = np.iinfo(dtype).max
    made = {
        "images": rng.integers(0, most, (COUNT, bands, *SIZE), dtype, endpoint=True),
        "labels": np.array([0, 1, 2, 0, 1, 2]),
    }
    return {name: array for name, array in (made | changes).items() if array is not None}


@pytest.fixture
def save(tmp_path):
    def save(given):
        np.savez(tmp_path / "scenes.npz", **given)
        return tmp_path / "scenes.npz"

    return save


@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, 8), (np.uint16, 16)])
@pytest.mark.parametrize("channels", [1, 3, 31])
def test_two_arrays_are_enough(save, dtype, depth, channels):
    given = arrays(dtype, channels)
    scenes = SceneFile(save(given))
    assert (scenes.image_size, scenes.channels, scenes.bit_depth) == (SIZE, channels, depth)
    assert np.array_equal(scenes.gather(range(COUNT)).images.numpy(), given["images"])
    assert scenes.labels.tolist() == given["labels"].tolist()
    assert scenes.classes == ("0", "1", "2")
    assert scenes.groups == scenes.identifiers == tuple("012345")
    assert scenes.encoding is None
    assert not scenes.has_mask.any()


def test_all_arrays_arrive(save):
    masks = np.random.default_rng(0).random((COUNT, *SIZE)) > 0.5
    further = {
        "classes": np.array(["a", "b", "c"]),
        "groups": np.array(["p", "p", "q", "q", "r", "r"]),
        "identifiers": np.arange(10, 16),
        "encoding": np.array("linear"),
        "masks": masks,
        "has_mask": np.array([True] * 5 + [False]),
        "metadata.age": np.linspace(20.0, 70, COUNT),
        "metadata.site": np.array(["arm", "leg"] * 3),
    }
    scenes = SceneFile(save(arrays(**further)))
    assert scenes.classes == ("a", "b", "c")
    assert scenes.groups == tuple("ppqqrr")
    assert scenes.identifiers == tuple(map(str, range(10, 16)))
    assert scenes.encoding == "linear"
    assert scenes.has_mask.tolist() == [True] * 5 + [False]
    assert np.array_equal(scenes.gather_masks(range(5)).numpy(), masks[:5])
    assert scenes.metadata["age"].tolist() == further["metadata.age"].tolist()
    assert scenes.metadata["site"].tolist() == ["arm", "leg"] * 3


@given(
    rows=st.permutations(range(COUNT)).flatmap(
        lambda p: st.integers(1, COUNT).map(lambda n: p[:n])
    ),
    deep=st.booleans(),
    encoding=st.sampled_from([None, "srgb", "linear"]),
    masked=st.sets(st.integers(0, COUNT - 1)),
)
def test_what_is_saved_comes_back(tmp_path_factory, rows, deep, encoding, masked):
    given = arrays(np.uint16 if deep else np.uint8)
    has_mask = np.isin(np.arange(COUNT), list(masked))
    whole = LesionDataset(
        **given,
        groups=["p", "p", "q", "q", "r", "r"],
        identifiers=[f"é{n}" for n in range(COUNT)],
        classes=("a", "b", "c", "none of these"),
        masks=given["images"][:, 0] % 2 == 0,
        has_mask=has_mask,
        metadata={"age": np.arange(COUNT) / 3, "site": np.array(list("stuvwx"))},
        encoding=encoding,
    )
    scenes = whole.subset(rows)
    path = tmp_path_factory.mktemp("saved") / "scenes.npz"
    save_scenes(scenes, path)
    found = SceneFile(path)
    assert [p.name for p in path.parent.iterdir()] == ["scenes.npz"]
    for name in ("classes", "groups", "identifiers", "encoding", "bit_depth", "image_size"):
        assert getattr(found, name) == getattr(scenes, name)
    for ours, theirs in zip(scenes, found, strict=True):
        assert torch.equal(ours.image, theirs.image)
        assert ours.label == theirs.label
        assert (ours.mask is None) == (theirs.mask is None)
        assert ours.mask is None or torch.equal(ours.mask, theirs.mask)
    for name, column in scenes.metadata.items():
        assert np.array_equal(found.metadata[name], column)


def test_a_file_that_is_there_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "scenes.npz"
    save_scenes(
        LesionDataset(**arrays(), groups=range(6), identifiers=range(6), classes="abc"), path
    )
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save_scenes(SceneFile(path), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_touches_no_other_file(tmp_path):
    scenes = LesionDataset(**arrays(), groups=range(6), identifiers=range(6), classes="abc")
    other = tmp_path / "scenes.draft.npz"
    other.write_text("somebody else's")
    save_scenes(scenes, tmp_path / "scenes.npz")
    assert other.read_text() == "somebody else's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scenes.draft.npz", "scenes.npz"]


def test_many_bands_of_narrow_pictures(save, tmp_path):
    images = RNG.integers(0, 256, (COUNT, 5, 9, 3), np.uint8)
    scenes = SceneFile(save(arrays(images=images, channels=np.array(5))))
    assert (scenes.channels, scenes.image_size) == (5, (9, 3))
    assert np.array_equal(scenes.gather(range(COUNT)).images.numpy(), images)
    save_scenes(scenes, tmp_path / "again.npz")
    assert torch.equal(SceneFile(tmp_path / "again.npz")[4].image, scenes[4].image)


def _is_mapped(tensor):
    """Whether its memory is a file's (Linux says so of each range of addresses)."""
    at = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= at < high:
            return "scenes.npz" in line
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_large_arrays_that_are_not_compressed_stay_in_the_file(tmp_path):
    images = RNG.integers(0, 2**16, (40, 3, 32, 32)).astype(np.uint16)
    masks = RNG.random((40, 32, 32)) > 0.5
    given = {"images": images, "labels": np.arange(40) % 3, "masks": masks}
    path = tmp_path / "scenes.npz"
    for write, mapped in ((np.savez, True), (np.savez_compressed, False)):
        write(path, **given)
        scenes = SceneFile(path)
        assert _is_mapped(scenes._arrays.images) == mapped
        assert _is_mapped(scenes._arrays.masks) == mapped
        assert np.array_equal(scenes.gather([39, 0]).images.numpy(), images[[39, 0]])
        assert np.array_equal(scenes.gather_masks([7]).numpy(), masks[[7]])
    np.savez(path, **given)
    before = path.read_bytes()
    SceneFile(path)._arrays.images.view(torch.int16)[:] = 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["images", "masks"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("note", [b"", b"x", b"xyz"])
def test_arrays_are_found_wherever_they_lie_in_the_file(tmp_path, name, turned, note):
    given = arrays(masks=RNG.random((COUNT, *SIZE)) > 0.5)
    with zipfile.ZipFile(tmp_path / "scenes.npz", "w") as archive:
        archive.comment = note
        archive.writestr("metadata.note.npy", _npy(np.full(COUNT, note or b"-")))
        for other in sorted(given, key=lambda each: each == name):
            content = np.asfortranarray(given[other]) if turned else given[other]
            archive.writestr(f"{other}.npy", _npy(content))
    scenes = SceneFile(tmp_path / "scenes.npz")
    assert np.array_equal(scenes.gather(range(COUNT)).images.numpy(), given["images"])
    assert np.array_equal(scenes.gather_masks(range(COUNT)).numpy(), given["masks"])


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_a_damaged_picture_is_found_before_it_is_asked_for(tmp_path):
    path = tmp_path / "scenes.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    place = content.index(arrays()["images"].tobytes()[-64:])
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC-32 for file"):
        SceneFile(path)


def test_names_in_bytes_are_words(save):
    names = {
        "classes": np.array(["a", "b", "é"]),
        "groups": np.array(list("ppqqrr")),
        "identifiers": np.array(list("uvwxyz")),
        "encoding": np.array("linear"),
    }
    bytes_ = {name: np.char.encode(words, "utf-8") for name, words in names.items()}
    scenes = SceneFile(save(arrays(**bytes_)))
    assert scenes.classes == ("a", "b", "é")
    assert scenes.groups == tuple("ppqqrr")
    assert scenes.identifiers == tuple("uvwxyz")
    assert scenes.encoding == "linear"


@pytest.mark.parametrize("name", ["images", "labels"])
def test_the_order_of_bytes_does_not_matter(save, name):
    given = arrays()
    swapped = given | {name: given[name].astype(given[name].dtype.newbyteorder(">"))}
    scenes = SceneFile(save(swapped))
    assert np.array_equal(scenes.gather(range(COUNT)).images.numpy(), given["images"])
    assert scenes.labels.tolist() == given["labels"].tolist()


def test_what_cannot_be_saved(tmp_path):
    scenes = LesionDataset(
        **arrays(),
        groups=range(6),
        identifiers=range(6),
        classes="abc",
        metadata={"note": np.array([None, 1, "x", 2.0, (), []], dtype=object)},
    )
    with pytest.raises(ValueError, match=r"columns note hold Python objects"):
        save_scenes(scenes, tmp_path / "scenes.npz")
    with pytest.raises(ValueError, match=r"saved as \.npz, not 'scenes\.npy'"):
        save_scenes(scenes, tmp_path / "scenes.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "it lacks the arrays labels"),
        ({"lables": np.zeros(COUNT, int)}, r"it holds lables, .* the arrays are images, labels"),
        (
            {"images": np.zeros((COUNT, 9, 14, 3), np.uint8)},
            r"\[6, 9, 14, 3\] seem to have their channels last; save np\.moveaxis\(images, -1, 1\)"
            ", or, if they do not, also save channels=9",
        ),
        (
            {"images": np.zeros((COUNT, 9, 14, 3), np.uint8), "channels": np.array(3)},
            r"\[6, 9, 14, 3\] have 9 channels, but the file says 3; images must be \[N, C, H, W\]",
        ),
        ({"channels": np.array([3])}, "channels must be one integer"),
        ({"channels": np.array("3")}, "channels must be one integer"),
        ({"images": np.zeros((COUNT, 3, *SIZE))}, "images must be uint8 or uint16 codes"),
        ({"images": np.zeros((COUNT, *SIZE), np.uint8)}, "images must be uint8 or uint16 codes"),
        ({"images": np.zeros((0, 3, *SIZE), np.uint8), "labels": np.zeros(0, int)}, "is empty"),
        ({"images": np.array(7, np.uint8)}, "images must be uint8 or uint16 codes"),
        ({"labels": np.arange(5)}, "labels must be 6 integers"),
        (
            {"labels": np.zeros((COUNT, 1), int)},
            r"must be integers \[N\], got int64 \[6, 1\]",
        ),
        ({"labels": np.linspace(0, 1, COUNT)}, r"labels must be integers \[N\], got float64"),
        ({"labels": np.array([0, 1, 2, 0, 1, -1])}, r"labels\[5\] is -1"),
        ({"labels": np.array([0, 1, 2, 0, 1, 2**62])}, "there are no classes: give their names"),
        ({"labels": np.full(COUNT, 2**64 - 1, np.uint64)}, "there are no classes"),
        ({"classes": np.array(["a", "b"])}, "labels must lie in 0..1"),
        ({"classes": np.array(["a", "a", "b"])}, "classes must be different names"),
        ({"identifiers": np.array([1, 2, 3, 4, 5, 5])}, "'5' occurs 2 times"),
        ({"groups": np.array(["a"])}, "groups needs 6 names, one for each image, got 1"),
        ({"groups": np.array(7)}, "groups needs 6 names, one for each image, got 7"),
        ({"images": np.array(["a"] * COUNT)}, r"can't convert np\.ndarray of type numpy\.str_"),
        ({"masks": np.array(["a"] * COUNT)}, r"can't convert np\.ndarray of type numpy\.str_"),
        ({"groups": np.array(["a", "b", "", "c", "d", "e"])}, r"groups\[2\] is ''"),
        ({"classes": np.array([b"a", b"b", b"\xff"])}, "can't decode byte 0xff"),
        ({"groups": np.linspace(0, 1, COUNT)}, r"groups\[0\] is 0.0"),
        ({"encoding": np.array("gamma")}, "encoding must be 'srgb', 'linear' or None, got 'gamma'"),
        ({"encoding": np.array(["srgb", "linear"])}, "encoding must be one word"),
        ({"masks": np.zeros((COUNT, 3, 3), bool)}, r"masks must be bool or uint8 \[6, 9, 14\]"),
        ({"has_mask": np.ones(COUNT, bool)}, "give masks with it"),
        ({"metadata.age": np.arange(3)}, r"metadata column 'age' has shape \(3,\)"),
        ({"groups": np.full(COUNT, 2**31, np.uint32).view("<U1")}, "invalid maximum character"),
        ({"identifiers": np.full(COUNT, 0xD800, np.uint32).view("<U1")}, "surrogates not allowed"),
        ({"metadata.note": np.array([None] * COUNT, dtype=object)}, "allow_pickle"),
    ],
)
def test_bad_arrays_are_named_with_their_file(save, changes, message):
    path = save(arrays(**changes))
    with pytest.raises(ValueError, match=message) as caught:
        SceneFile(path)
    assert str(path) in str(caught.value)


def test_no_file_and_no_arrays(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"give an \.npz of scenes"):
        SceneFile(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("images")
    with pytest.raises(ValueError, match=r"text\.npz is not an \.npz of scenes"):
        SceneFile(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one\.npy is not an \.npz of scenes"):
        SceneFile(tmp_path / "one.npy")


def test_saved_masks_are_the_same_data_set(tmp_path):
    """Grey masks as files hold them, and rubbish where a picture has none."""
    masks = np.random.default_rng(0).integers(0, 256, (COUNT, *SIZE), np.uint8)
    marked = np.arange(COUNT) % 2 == 0
    names = {"groups": range(COUNT), "identifiers": range(COUNT), "classes": "abc"}
    scenes = LesionDataset(**arrays(), **names, masks=masks, has_mask=marked)
    save_scenes(scenes, tmp_path / "scenes.npz")
    assert SceneFile(tmp_path / "scenes.npz").fingerprint == scenes.fingerprint


def test_a_file_is_known_by_its_content_and_a_phantom_by_its_recipe(tmp_path):
    phantom = LesionPhantom(4, 16, encoding="linear", bit_depth=16)
    save_scenes(phantom, tmp_path / "scenes.npz")
    read = SceneFile(tmp_path / "scenes.npz")
    assert torch.equal(read.gather(range(4)).images, phantom.gather(range(4)).images)
    same = LesionDataset(
        images=phantom.gather(range(4)).images, labels=phantom.labels, groups=phantom.groups,
        identifiers=phantom.identifiers, classes=phantom.classes, encoding="linear",
        masks=phantom.gather_masks(range(4)),
    )  # fmt: skip
    assert read.fingerprint == same.fingerprint != phantom.fingerprint


def test_who_says_how_many_channels_there_are_is_not_warned(save):
    given = {"images": np.zeros((3, 8, 8, 3), np.uint8), "labels": [0, 1, 2], "channels": 8}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SceneFile(save(given)).channels == 8


def test_labels_with_gaps_and_one_class_are_told_at_the_door(save):
    images = np.zeros((6, 1, 8, 8), np.uint8)
    gaps = np.array([0, 1, 4] * 2)
    with pytest.warns(UserWarning, match=r"npz has labels up to 4 and no picture of 2, 3, "):
        assert len(SceneFile(save({"images": images, "labels": gaps})).classes) == 5
    with pytest.warns(UserWarning, match=r"npz has pictures of one class only, 0: "):
        SceneFile(save({"images": images, "labels": 0 * gaps}))
    named = {"images": images, "classes": np.array(list("abcde"))}
    SceneFile(save(named | {"labels": gaps}))  # a test set may lack some
    SceneFile(save(named | {"labels": 0 * gaps}))


def _dated(path, time):
    """A file whose time tells it from one that is written later, whatever the clock's steps."""
    os.utime(path, (time, time))
    return path


@pytest.mark.parametrize("read", [lambda s: s.gather([0]), lambda s: s[0], lambda s: s.fingerprint])
def test_a_file_that_is_written_to_while_it_is_used_is_refused(save, read):
    scenes = SceneFile(_dated(save(arrays()), 1e9))
    save(arrays(images=arrays()["images"][:, ::-1]))  # in its place, as numpy.savez does
    with pytest.raises(ValueError, match=r"scenes.npz was modified, or touched, while a"):
        read(scenes)


def test_a_file_that_is_replaced_or_removed_stays_what_it_was(save):
    path = _dated(save(arrays()), 1e9)
    scenes = SceneFile(path)
    known = scenes.gather(range(COUNT)).images
    save_scenes(scenes.subset([1, 0]), path)
    assert torch.equal(scenes.gather(range(COUNT)).images, known)
    path.unlink()
    assert torch.equal(scenes.gather(range(COUNT)).images, known)


def test_codes_of_12_bits_in_16_are_told(save):
    dim = arrays(images=arrays()["images"] // 16)
    with pytest.warns(UserWarning, match="no code above 4095, and becomes nearly black: scale the"):
        SceneFile(save(dim))
    with pytest.warns(UserWarning, match="no code above 1, and .*: scale .* so that 255 is white$"):
        SceneFile(save(arrays(np.uint8, images=(dim["images"] > 99).astype(np.uint8))))
