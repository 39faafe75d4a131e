import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile  # of scikit-image
import torch
import torchvision

from classify import given_split
from classify.data import ImageFolder


def load(root, **options):
    given = {"image_size": 8, "cache": False, "progress": False, "channels": 3} | options
    return ImageFolder(root, **given)


@pytest.fixture
def pictures(encoded):
    """Five pictures of two classes, each of one grey level."""
    grey = {
        "cat/a.png": 10,
        "cat/deep/b.jpg": 20,
        "dog/a.bmp": 30,
        "dog/c.webp": 40,
        "dog/d.tiff": 50,
    }
    kinds = {"jpg": "JPEG", "tiff": "TIFF", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}
    return {
        path: encoded(np.full((9, 12), level, np.uint8), kinds[path.rpartition(".")[2]])
        for path, level in grey.items()
    }


@pytest.mark.parametrize("layout", ["folder", "some.zip", "wrapped.zip"])
def test_folders_are_classes(pictures, write, layout):
    paths = {f"pets/{p}" if layout == "wrapped.zip" else p: c for p, c in pictures.items()}
    dataset = load(write(paths, layout))
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.identifiers == dataset.groups == tuple(paths)
    levels = dataset.gather(range(5)).images.float().mean(dim=(1, 2, 3))
    assert torch.allclose(levels, torch.tensor([10.0, 20, 30, 40, 50]), atol=2)
    assert not dataset.has_mask.any()


@pytest.mark.parametrize("layout", ["folder", "some.zip", "wrapped.zip"])
def test_folders_of_parts_hold_class_folders(pictures, write, layout):
    """Against torchvision's, which reads each part by itself."""
    tree = {
        f"{part}/{path}": c for part in ("Train", "val", "TEST") for path, c in pictures.items()
    }
    del tree["val/cat/a.png"], tree["val/cat/deep/b.jpg"]  # no class is in every part
    tree = {f"pets/{p}": c for p, c in tree.items()} if layout == "wrapped.zip" else tree
    root = write(tree, layout)
    dataset = load(root)
    assert dataset.classes == ("cat", "dog")
    assert sorted(dataset.identifiers) == sorted(tree)
    parts = given_split(dataset, dataset.metadata["part"])
    assert [len(part) for part in parts] == [5, 3, 5]
    if layout == "folder":
        for name, part in zip(("Train", "val", "TEST"), parts, strict=True):
            theirs = torchvision.datasets.ImageFolder(root / name)
            wanted = {
                Path(path).relative_to(root).as_posix(): theirs.classes[label]
                for path, label in theirs.samples
            }
            labels = [dataset.classes[label] for label in part.labels.tolist()]
            assert dict(zip(part.identifiers, labels, strict=True)) == wanted
    turned = load(root, classes=("dog", "cat"))
    assert turned.labels.tolist().count(0) == 9
    with pytest.raises(ValueError, match="classes must name each class folder"):
        load(root, classes=("dog",))


def test_classes_that_are_called_like_parts_are_told(pictures, write):
    images = {f"{path.split('/')[0]}.png": content for path, content in pictures.items()}
    tree = {f"{part}/{name}": c for part in ("train", "test") for name, c in images.items()}
    root = write(tree)
    with pytest.warns(UserWarning, match=r"parts of a split: test, train\. .*remove .*cat\.png"):
        dataset = load(root)
    assert dataset.classes == ("test", "train")
    assert "part" not in dataset.metadata
    for more in ("docs/a.png", "train/overview.png"):
        tree = {f"{part}/{p}": c for part in ("train", "test") for p, c in pictures.items()}
        beside = write({**tree, more: images["cat.png"]}, more.replace("/", "-"))
        with pytest.warns(UserWarning, match=f"remove {'docs/' if 'docs' in more else more}"):
            load(beside)
    # One of them alone is a class like any other.
    lone = write({"test/a.png": images["cat.png"], "dog/a.png": images["dog.png"]}, "lone")
    assert load(lone).classes == ("dog", "test")


@pytest.mark.parametrize("cache", [None, False])
def test_one_channel_and_three_have_entries_of_their_own(pictures, write, tmp_path, cache):
    root, prints = write(pictures), []
    for channels in (3, 1, 1, 3):  # each the second time from the cache, where there is one
        found = load(root, channels=channels, cache=cache)
        images = found.gather(range(5)).images
        assert images.shape == (5, channels, 8, 8)
        assert images.unique().tolist() == [10, 20, 30, 40, 50]
        prints.append(found.fingerprint)
    assert prints[0] == prints[3] != prints[1] == prints[2]
    assert len(list((tmp_path / "ham.cache").glob("*"))) == (0 if cache is False else 2)


def test_grey_in_three_channels_is_told_once(pictures, write, encoded):
    root = write(pictures)
    with pytest.warns(UserWarning, match="ham has only grey pictures.*channels=1") as told:
        assert load(root, channels=None).channels == 3
    assert len(told) == 1
    coloured = pictures | {"dog/e.png": encoded(np.full((9, 9, 3), (1, 2, 3), np.uint8), "PNG")}
    load(write(coloured, "some.zip"), channels=None)


def test_classes_in_a_given_order(pictures, write):
    dataset = load(write(pictures), classes=["dog", "cat"])
    assert dataset.classes == ("dog", "cat")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.identifiers[0] == "dog/a.bmp"
    assert dataset.fingerprint != load(write(pictures)).fingerprint


def test_other_files_are_left_alone(pictures, write):
    more = {
        "cat/notes.txt": b"",
        "top.png": b"no picture",
        ".thumbs/x.png": b"",
        "cat/._a.png": b"",
    }
    root = write(pictures | more)
    assert load(root).identifiers == tuple(pictures)
    assert load(write(pictures | more, "some.zip")).identifiers == tuple(pictures)


def test_is_kept_in_a_cache(pictures, write, tmp_path, monkeypatch):
    root = write(pictures)
    first = load(root, cache=None)
    assert (tmp_path / "ham.cache").is_dir()
    monkeypatch.setattr("classify.data.decode.Decoder.decode", None)
    second = load(root, cache=None)
    assert torch.equal(first.gather(range(5)).images, second.gather(range(5)).images)
    assert first.fingerprint == second.fingerprint


@pytest.mark.filterwarnings("ignore:.*one class only")
def test_white_levels_have_entries_of_their_own_in_a_cache(encoded, write):
    root = write({"cat/a.png": encoded(np.full((9, 9), 2000, np.uint16), "PNG")})
    for level, expected in ((4000, 128), (2000, 255), (4000, 128)):
        images = load(root, white_level=level, bit_depth=8, cache=None).gather([0]).images
        assert images.unique().tolist() == [expected]


@pytest.fixture
def deep(encoded, deep_png):
    """Three pictures of 16 bits, two of them in colour, and their codes as red, green and blue."""
    rng = np.random.default_rng(8)
    codes = rng.integers(0, 2**16, (3, 8, 8, 3)).astype(np.uint16)
    codes[1] = codes[1, ..., :1]
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, codes[2], photometric="rgb")
    files = {
        "cat/a.png": deep_png(codes[0]),
        "dog/b.tif": encoded(codes[1, ..., 0], "TIFF"),
        "dog/c.tif": tiff.getvalue(),
    }
    return files, codes.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("layout", ["folder", "some.zip"])
@pytest.mark.parametrize("cache", [None, False])
def test_sixteen_bits_are_kept_and_gathered(deep, write, layout, cache):
    files, codes = deep
    root = write(files, layout)
    for _ in range(2):  # the second time from the cache, where there is one
        scenes = load(root, bit_depth=16, cache=cache)
        assert (scenes.bit_depth, scenes.channels, scenes.encoding) == (16, 3, None)
        batch = scenes.subset([2, 1]).gather([1, 0, 1])
        assert np.array_equal(batch.images.numpy(), codes[[1, 2, 1]])
        assert np.array_equal(scenes[0].image.numpy(), codes[0])
    said = load(root, bit_depth=16, encoding="linear", cache=cache)
    assert said.encoding == "linear"
    assert said.fingerprint == scenes.fingerprint  # the codes are the same
    small = load(root, bit_depth=8, cache=cache)  # beside it in the cache
    assert small.fingerprint != scenes.fingerprint
    assert (small.bit_depth, small.encoding) == (8, "srgb")
    away = small.gather(range(3)).images.numpy() - codes / 257
    assert np.abs(away).max() < 0.501  # rounded, in colours and in grey


def test_a_reduction_that_nobody_asked_for_warns(deep, write):
    root = write(deep[0])
    with pytest.warns(
        UserWarning, match=r"to 8: give bit_depth=16 \(--data\.bit-depth 16\) to keep them all"
    ):
        found = load(root)
    assert found.fingerprint == load(root, bit_depth=8).fingerprint


def test_depths_are_not_mixed(deep, pictures, write):
    root = write(deep[0] | pictures | {"cat/a.png": deep[0]["cat/a.png"]})
    with pytest.raises(
        ValueError, match=r"4 of 7 .*cat/deep/b\.jpg \(it does not have the 16 bits.*dog/a"
    ):
        load(root, bit_depth=16)
    assert load(root, bit_depth=8).bit_depth == 8


def test_what_codes_are_can_be_said(pictures, write, encoded):
    root = write(pictures)
    assert load(root).encoding == "srgb"
    assert load(root, encoding="linear").encoding == "linear"
    assert load(root, encoding="linear").fingerprint == load(root).fingerprint
    deep = {f"{name}/a.png": encoded(np.full((9, 9), 2000, np.uint16), "PNG") for name in "ab"}
    raw, options = write(deep, "raw"), {"bit_depth": 8, "white_level": 4095}
    assert load(raw, **options).encoding is None  # of a camera
    assert load(raw, **options, encoding="srgb").encoding == "srgb"
    with pytest.raises(ValueError, match="encoding must be 'srgb', 'linear' or None, got 'raw'"):
        load(root / "nowhere", encoding="raw")  # before anything is looked for


def test_one_class_can_be_loaded(pictures, write):
    cats = {path: content for path, content in pictures.items() if path.startswith("cat/")}
    with pytest.warns(UserWarning, match=r"has pictures of one class only, cat: .*add pictures"):
        assert load(write(cats)).counts.tolist() == [2]
    # Who names it means it: pictures to test on.
    assert load(write(cats), classes=["cat"]).counts.tolist() == [2]


def test_class_folders_that_lie_too_deep_are_told(pictures, write, tmp_path):
    deep = {f"data/images/{path}": content for path, content in pictures.items()}
    said = r"one class only, data: .*below it, cat, dog, give "
    with pytest.warns(UserWarning, match=f"{said}.*deep/data/images$"):
        load(write(deep, "deep"))
    assert load(tmp_path / "deep" / "data" / "images").classes == ("cat", "dog")
    with pytest.warns(UserWarning, match=f"{said}a zip of pets/data/images$"):
        load(write({f"pets/{path}": c for path, c in deep.items()}, "deep.zip"))
    with pytest.warns(UserWarning, match="one class only, cat: .* one other class$"):
        load(write({path: c for path, c in pictures.items() if path.startswith("cat/")}, "cats"))
    parts = {f"{part}/cat/a.png": pictures["cat/a.png"] for part in ("train", "test")}
    with pytest.warns(UserWarning, match="one class only, cat: .* one other class$"):
        load(write(parts, "parts"))


@pytest.mark.parametrize("layout", ["folder", "some.zip", "wrapped.zip"])
def test_pictures_that_are_not_read_are_counted(pictures, write, layout):
    more = {"cat/x.HEIC": b"", "dog/y.gif": b"", "dog/deep/z.dcm": b"", "beside.gif": b""}
    top = "pets/" * (layout == "wrapped.zip")
    root = write({f"{top}{path}": content for path, content in (pictures | more).items()}, layout)
    said = r"3 files of .* not read, and are ignored: .*cat/x.HEIC, .*dog/deep/z.dcm, .*y.gif; save"
    with pytest.warns(UserWarning, match=said) as told:
        found = load(root)
    assert len(told) == 1
    assert len(found) == 5


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF"])
def test_a_jpeg_of_another_suffix_is_one(pictures, write, suffix):
    plain = load(write(pictures, "plain"))
    pictures[f"cat/deep/b.{suffix}"] = pictures.pop("cat/deep/b.jpg")
    found = load(write(pictures, "other"))
    assert torch.equal(found.gather(range(5)).images, plain.gather(range(5)).images)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat"], "classes must name each class folder .* once: it has cat, dog, got cat"),
        (["cat", "cow"], "it has cat, dog, got cat, cow"),
        (["cat", "cat"], "got cat, cat"),
    ],
)
def test_classes_that_are_not_the_folders(pictures, write, classes, message):
    with pytest.raises(ValueError, match=message):
        load(write(pictures), classes=classes)


def test_a_class_without_a_folder_can_be_named(pictures, write):
    with pytest.warns(UserWarning, match="has no picture of cow, which classes= lists"):
        dataset = load(write(pictures), classes=["dog", "cow", "cat"])
    assert dataset.classes == ("dog", "cow", "cat")
    plain = load(write(pictures))
    assert dataset.counts.tolist() == [plain.counts[1], 0, plain.counts[0]]


def test_empty_class_folder(pictures, write):
    root = write(pictures)
    (root / "cow").mkdir()
    with pytest.raises(ValueError, match=r"class folders without a picture \(.bmp .*\): cow; fill"):
        load(root)
    with pytest.raises(ValueError, match=r"without a picture .*: cow;"):
        load(write(pictures | {"cow/readme.txt": b""}, "some.zip"))


@pytest.mark.parametrize("name", ["folder", "some.zip"])
def test_no_class_folders(pictures, write, name):
    with pytest.raises(ValueError, match="has no class folders; expected one folder of pictures"):
        load(write({"a.png": pictures["cat/a.png"], "b.png": pictures["cat/a.png"]}, name))


def test_bad_pictures_are_all_named(pictures, write):
    broken = pictures | {"dog/a.bmp": b"", "cat/a.png": pictures["cat/a.png"][:40]}
    said = r"2 of 5 images .*: cat/a.png \(.*dog/a.bmp \(.*them, and their rows where a table has"
    with pytest.raises(ValueError, match=said):
        load(write(broken))


def test_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        load(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------ groups


def _table(tmp_path, *rows):
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(rows))
    return path


def test_a_table_says_which_pictures_belong_together(pictures, write, tmp_path):
    root = write(pictures)
    # By path, by file name, by stem; in any order, among rows of other pictures.
    rows = ("image,site,patient_id", "d,arm,P2", "a.bmp,arm,P1", "cat/a.png,leg,P1", "b,leg,P3")
    table = _table(tmp_path, *rows, "c.webp,arm,P2", "elsewhere,arm,P9")
    found, alone = load(root, groups=table), load(root)
    assert found.groups == ("P1", "P3", "P1", "P2", "P2")
    assert found.identifiers == alone.identifiers == alone.groups
    assert torch.equal(found.labels, alone.labels)
    assert found.encoding == "srgb"
    assert found.fingerprint not in (alone.fingerprint, found.grouped([1, 2, 3, 4, 5]).fingerprint)
    assert found.fingerprint == load(root, groups=str(table)).fingerprint


@pytest.mark.parametrize(
    "header", ["file,label,scene", "Filename,site,Group", "image,age,Subject ID"]
)
def test_a_table_of_groups_has_the_names_that_a_table_of_labels_may_have(
    pictures, write, tmp_path, header
):
    rows = (f"{path},x,{path[:3]}" for path in pictures)
    found = load(write(pictures), groups=_table(tmp_path, header, *rows))
    assert found.groups == tuple(name[:3] for name in found.identifiers)


def test_of_several_columns_the_coarsest_is_meant(pictures, write, tmp_path):
    rows = (f"{path},lesion {number},same" for number, path in enumerate(pictures))
    table = _table(tmp_path, "image,lesion_id,patient_id", *rows)
    assert set(load(write(pictures), groups=table).groups) == {"same"}


def test_a_column_of_a_table_that_joins_whole_groups_is_spoken_of(pictures, write, tmp_path):
    root, cells = write(pictures), list(zip(pictures, "11234", "uuuvv", strict=True))
    rows = [f"{path},L{lesion},{patient}" for path, lesion, patient in cells]
    table = _table(tmp_path, "image,lesion_id,patient", *rows)
    said = "the groups of .*patients.csv are the 4 of 'lesion_id', .* 'patient' of 2 values joins"
    with pytest.warns(UserWarning, match=f"{said} them: .*'group'$") as told:
        assert len(set(load(root, groups=table).groups)) == 4
    assert len(told) == 1
    assert len(set(load(root, groups=_table(tmp_path, "image,group,patient", *rows)).groups)) == 4
    assert len(set(load(root, groups=_table(tmp_path, "image,visit,group", *rows)).groups)) == 2


def test_groups_of_a_table_that_are_written_in_several_ways_are_told(pictures, write, tmp_path):
    rows = (
        f"{path},{name}" for path, name in zip(pictures, ["P3", "p3", "1", "01", "2"], strict=True)
    )
    said = r"patients.csv has a group for each of 01, 1, P3, p3, which .* same way in Subject ID if"
    with pytest.warns(UserWarning, match=said):
        load(write(pictures), groups=_table(tmp_path, "image,Subject ID", *rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("name,group", "a,1"), "lacks the columns image; it has name, group"),
        (
            ("image,side", "a,left"),
            "one of the columns group, patient_id, lesion_id, and has image,",
        ),
        (("image,scene,video", "a,1,2"), "one of the columns group, .* has image, scene, video"),
        (("image,group", "b,1", "b,2"), "several rows for one image: b"),
        (("image,group", "a,1", "b,"), r"no group for 3 of 5 pictures: cat/deep/b.jpg, dog/c.webp"),
        (
            ("image,group", "a,1", "b,NA", "c,unknown", "d,2"),
            "no group for 2 of 5 .*b.jpg, dog/c.w",
        ),
        (("image,group", "a,1", "b,1", "c,2", "d,2"), "whose names fit several pictures: a; give"),
    ],
)
def test_a_table_that_leaves_open_what_belongs_together(pictures, write, tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        load(write(pictures), groups=_table(tmp_path, *rows))


def test_a_table_of_groups_that_is_not_there(pictures, write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table of groups at .*none.csv"):
        load(write(pictures), groups=tmp_path / "none.csv")
    with pytest.raises(TypeError, match=r"path of a table, not list: .* to \.grouped\(groups\)"):
        load(write(pictures), groups=["Rex"] * 5)


def test_a_table_names_pictures_by_any_end_of_their_path(pictures, write, tmp_path):
    root = write(pictures)
    rows = ("image,group", "deep/b,1", "./dog/a,2", "dog\\c.webp,3", f"{root.name}/dog/d,4")
    assert load(root, groups=_table(tmp_path, *rows, "cat/a,5")).groups == ("5", "1", "2", "3", "4")
    with pytest.raises(ValueError, match=r"several groups for one picture: dog/a.bmp, dog/a$"):
        load(root, groups=_table(tmp_path, *rows, "cat/a,5", "dog/a.bmp,6"))


def test_integers_of_numpy_are_integers(pictures, write):
    made = load(write(pictures), image_size=np.uint8(16), workers=np.int8(1))
    assert made.fingerprint == load(write(pictures), image_size=16).fingerprint


def test_a_file_beside_the_folder_of_a_zip_changes_nothing(pictures, write):
    wrapped = {f"pets/{path}": content for path, content in pictures.items()}
    plain = load(write(wrapped, "plain.zip"))
    assert plain.classes == ("cat", "dog")
    more = load(write(wrapped | {"README.txt": b"", "cover.png": b""}, "more.zip"))
    assert more.classes == plain.classes
    assert more.fingerprint == plain.fingerprint


@pytest.mark.parametrize("layout", ["folder", "some.zip"])
def test_a_class_is_the_same_in_either_form_of_unicode(encoded, write, tmp_path, layout):
    one, other = (unicodedata.normalize(form, "Nävus") for form in ("NFC", "NFD"))
    grey = encoded(np.full((9, 9), 9, np.uint8), "PNG")
    files = {f"{one}/a.png": grey, f"{other}/b.png": grey, "x/c.png": grey}
    root = write(files, layout)
    table = _table(tmp_path, "image,group", f"a,{one}", f"b,{other}", "c,x")
    for classes in (None, [other, "x"], [one, "x"]):
        found = load(root, classes=classes, groups=table)
        assert sorted(found.classes) == [one, "x"]
        assert found.counts.tolist() == [2, 1]
        assert set(found.groups) == {one, "x"}
    assert set(found.identifiers) == set(files)  # which are paths


def test_class_folders_that_differ_in_capital_letters_are_told(pictures, write):
    root = write(pictures | {"Cat/a.png": pictures["cat/a.png"]})
    with pytest.warns(UserWarning, match="a class for each of Cat, cat, which differ only in "):
        assert load(root).classes == ("Cat", "cat", "dog")


def test_groups_of_the_folder_where_one_is(pictures, write, tmp_path, monkeypatch):
    root = write(pictures, "pets")
    names = [path.removeprefix("dog/") for path in pictures]
    given = ["pets/" + path for path in pictures]
    far = [f"../pets/{path}" for path in pictures]
    absolute = [str(root / path) for path in pictures]
    (tmp_path / "tables").mkdir()
    for place, cells in (("t.csv", given), ("tables/t.csv", far), ("t.csv", absolute)):
        rows = [f"{name},{number // 2}" for number, name in enumerate(cells)]
        table = tmp_path / place
        table.write_text("\n".join(["image,group", *rows]))
        monkeypatch.chdir(root)
        assert load(".", groups=table).groups == ("0", "0", "1", "1", "2")
        monkeypatch.chdir(tmp_path)
        assert load("pets", groups=table).groups == ("0", "0", "1", "1", "2")
    table.write_text("\n".join(["image,group", *(f"{name.upper()},1" for name in names)]))
    with pytest.raises(ValueError, match=r"names are case-sensitive: CAT/A.PNG \(cat/a.png\), "):
        load(root, groups=table)
