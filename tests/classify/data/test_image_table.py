import csv
import re
import unicodedata
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from classify.data import ISIC, ImageFolder, ImageTable

# Of tests that are about something else.
_OF_ONE_CLASS = pytest.mark.filterwarnings("ignore:.*pictures of one class only")
LEVELS = {"a": 10, "b": 20, "more/c": 30, "more/d": 40, "e": 50}
ROWS = (
    ("image", "label", "patient_id", "age", "site", "visit"),
    ("e.png", "nv", "P3", "61", "arm", "1"),
    ("a", "mel", "P1", "", "", "2"),
    ("b.png", "nv", "P2", "33.5", "leg", "1"),
    ("more/c", "mel", "P2", "NA", "arm", "7"),
    ("d.png", "nv", "P1", "20", "back", "3"),
)
ORDER = ("a", "b.png", "d.png", "e.png", "more/c")


def load(table, root=None, **options):
    given = {"image_size": 8, "cache": False, "progress": False, "channels": 3} | options
    return ImageTable(table, root, **given)


@pytest.fixture
def pictures(encoded):
    """Five pictures, each of one grey level."""
    return {
        f"{name}.png": encoded(np.full((9, 12), level, np.uint8), "PNG")
        for name, level in LEVELS.items()
    }


@pytest.fixture
def root(pictures, write):
    return write(pictures, "pictures")


@pytest.fixture
def written(tmp_path, table):
    """Rows of cells -> path of a table."""

    def written(rows, name="labels.csv", delimiter=",", before=b""):
        path = tmp_path / name
        path.write_bytes(before + table(rows, delimiter))
        return path

    return written


@pytest.fixture
def labels(written):
    return written(ROWS)


# ------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("layout", ["pictures", "some.zip", "wrapped.zip", "inner zip"])
def test_a_table_labels_pictures(pictures, write, zipped, labels, layout):
    if layout == "wrapped.zip":
        pictures = {f"set/{path}": content for path, content in pictures.items()}
    if layout == "inner zip":
        pictures = {"a.png": pictures.pop("a.png"), "rest.zip": zipped(pictures)}
    found = load(labels, write(pictures, layout))
    rows = {row["image"]: row for row in csv.DictReader(labels.read_text().splitlines())}
    assert found.identifiers == ORDER
    assert found.classes == ("mel", "nv")
    assert [found.classes[label] for label in found.labels] == [rows[n]["label"] for n in ORDER]
    assert found.groups == tuple(rows[name]["patient_id"] for name in ORDER)
    levels = found.gather(range(5)).images[:, 0, 0, 0].tolist()
    assert levels == [10, 20, 40, 50, 30]
    assert not found.has_mask.any()
    assert (found.encoding, found.bit_depth) == ("srgb", 8)


@_OF_ONE_CLASS
def test_pixels_are_those_of_pillow(write, written, encoded):
    codes = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    root = write({"x.png": encoded(codes, "PNG")}, "pictures")
    table = written([("image", "label"), ("x", "nv")])
    picture, lanczos = Image.fromarray(codes), Image.Resampling.LANCZOS
    square = picture.resize((16, 16), lanczos, box=(5, 0, 35, 30))
    image = load(table, root, image_size=16)[0].image
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(square))
    whole = picture.resize((16, 16), lanczos)
    squeezed = load(table, root, image_size=16, geometry="squeeze")[0].image
    assert np.array_equal(squeezed.permute(1, 2, 0).numpy(), np.asarray(whole))


def test_other_columns_are_typed_metadata(labels, root):
    found = load(labels, root).metadata
    assert set(found) == {"patient_id", "age", "site", "visit"}
    np.testing.assert_array_equal(found["age"], [np.nan, 33.5, 20, 61, np.nan])
    assert found["visit"].dtype == np.int64
    assert found["visit"].tolist() == [2, 1, 3, 1, 7]
    assert found["site"].tolist() == ["", "leg", "back", "arm", "arm"]
    assert found["patient_id"].tolist() == ["P1", "P2", "P1", "P3", "P2"]


def test_decimal_commas_are_told_of_where_they_make_text(written, root):
    rows = [("image", "label", "patient_id", "mm", "size", "place", "both", "age")]
    rows += [(name, "nv", name, "1,5", "1,5", "1,5", "1,2,3", "1.5") for name in "abc"]
    rows += [("d", "mel", "1,5", "-2,25", "NA", "arm", "1,5", "2"), ("e", "mel", "2", *"34567")]
    table = written(rows, delimiter=";")
    with pytest.warns(UserWarning, match="numbers with a comma in") as told:
        found = load(table, root).metadata
    assert [str(each.message).split("numbers with a comma in ")[1] for each in told] == [
        f"{name}, such as 1,5, which are read as text: write a decimal comma as a point, and no "
        "separators of thousands"
        for name in ("mm", "size")
    ]
    assert found["mm"].tolist() == ["1,5", "1,5", "1,5", "-2,25", "3"]
    assert found["age"].dtype == np.float64


@pytest.mark.parametrize(
    ("delimiter", "before"), [(",", b"\xef\xbb\xbf"), (";", b"\xef\xbb\xbf"), ("\t", b"")]
)
def test_tables_in_any_dress_are_one(labels, root, written, delimiter, before):
    other = written(ROWS, "other.csv", delimiter, before)
    assert load(other, root).fingerprint == load(labels, root).fingerprint


def test_numbers_are_sorted_as_numbers(written, root):
    rows = [("image", "label"), ("a", "10"), ("b", "9"), ("c", "-1"), ("d", "100"), ("e", "9")]
    found = load(written(rows), root)
    assert found.classes == ("-1", "9", "10", "100")
    assert found.labels.tolist() == [2, 1, 0, 3, 1]
    turned = load(written(rows), root, classes=("100", "10", "9", "-1"))
    assert turned.classes == ("100", "10", "9", "-1")
    assert turned.labels.tolist() == [1, 2, 3, 0, 2]
    assert turned.fingerprint != found.fingerprint
    words = [(name, label.replace("-1", "unknown")) for name, label in rows]
    assert load(written(words), root).classes == ("10", "100", "9", "unknown")


def test_the_table_of_isic_2020_needs_its_label_only(pictures, write, table):
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
    header += "benign_malignant,target"
    rows = [
        [name.split("/")[-1], f"IP_{number // 2}", "male", "45.0", "torso", "unknown", "benign", 0]
        for number, name in enumerate(LEVELS)
    ]
    rows[1][-1], rows[1][-2] = 1, "malignant"
    files = {f"train/{path}": content for path, content in pictures.items()}
    files["train.csv"] = table([header.split(","), *rows])
    root = write(files, "isic2020")
    found = load(root / "train.csv", label="target")
    assert found.classes == ("0", "1")
    assert found.counts.tolist() == [4, 1]
    assert found.identifiers == ("a", "b", "c", "d", "e")
    assert found.groups == ("IP_0", "IP_0", "IP_1", "IP_1", "IP_2")
    assert found.metadata["age_approx"].tolist() == [45.0] * 5
    # The same from the zip as it is downloaded, the table in it.
    packed = load("train.csv", write(files, "isic2020.zip"), label="target")
    assert packed.fingerprint == found.fingerprint


@_OF_ONE_CLASS
def test_a_group_is_a_column_or_the_picture(written, root):
    rows = [("image", "label", "lesion_id", "patient_id"), *((n, "x", n, "P") for n in "abcde")]
    table = written(rows)
    patients = load(table, root)
    assert set(patients.groups) == {"P"}  # of several, the coarsest
    assert load(table, root, group="lesion_id").groups == tuple("abcde")
    alone = load(table, root, group="image")
    assert alone.groups == alone.identifiers
    without = load(written([row[:2] for row in rows]), root)
    assert without.groups == without.identifiers
    # A diagnosis that is called so is none.
    diagnoses = [("image", "group"), *((n, "x") for n in "abcde")]
    assert load(written(diagnoses), root, label="group").groups == without.identifiers
    assert without.fingerprint == alone.fingerprint != patients.fingerprint


def test_a_limit_keeps_every_class_and_asks_for_no_other_picture(labels, root):
    (root / "more" / "d.png").unlink()
    found = load(labels, root, limit=2)
    assert sorted(found.counts.tolist()) == [1, 1]
    assert set(found.identifiers) < set(ORDER)
    with pytest.raises(ValueError, match="limit must be None or at least 2 images"):
        load(labels, root, limit=1)


@_OF_ONE_CLASS
def test_sixteen_bits_and_what_codes_are(write, written, deep_png):
    codes = np.random.default_rng(1).integers(0, 2**16, (8, 8, 3)).astype(np.uint16)
    root = write({"a.png": deep_png(codes)}, "deep")
    table = written([("image", "label"), ("a", "x")])
    found = load(table, root, bit_depth=16)
    assert np.array_equal(found[0].image.numpy(), codes.transpose(2, 0, 1))
    assert (found.bit_depth, found.encoding) == (16, None)
    assert load(table, root, bit_depth=16, encoding="linear").encoding == "linear"
    with pytest.warns(UserWarning, match="codes above white_level=4095, up to 65535"):
        assert load(table, root, bit_depth=8, white_level=4095).encoding is None
    with pytest.raises(ValueError, match="encoding must be 'srgb', 'linear' or None, got 'raw'"):
        load("nowhere.csv", encoding="raw")  # before anything is looked for


def test_one_channel_with_masks_and_a_cache(labels, pictures, write, halves):
    root = write(pictures | {"a_segmentation.png": halves[0]})
    with pytest.warns(UserWarning, match=r"labels.csv has only grey pictures"):
        three = load(labels, root, channels=None, cache=None)
    for _ in range(2):
        one = load(labels, root, channels=1, cache=None)
        rows = range(len(one))
        assert torch.equal(one.gather(rows).images, three.gather(rows).images[:, :1])
        assert one.has_mask.tolist() == [True, False, False, False, False]
        assert torch.equal(one.gather_masks([0]), three.gather_masks([0]))
        assert one.fingerprint != three.fingerprint


def test_it_is_the_set_of_the_neighbours(files, rows, write, written, tmp_path):
    """What ISIC and class folders make of the same pictures, masks and lesions."""
    table = written(rows)
    found = load(table, write(files, "ham"), label="dx", image_size=16)
    truth = [["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]]
    truth += [[row[1], *(int(row[2] == name.lower()) for name in truth[0][1:])] for row in rows[1:]]
    groupings = [["image", "lesion_id"], *([row[1], row[0]] for row in rows[1:])]
    tables = (written(truth, "truth.csv"), written(groupings, "groupings.csv"))
    more = {"image_size": 16, "cache": False, "progress": False}
    isic = ISIC(tmp_path / "ham", truth=tables[0], metadata=tables[1], **more)
    assert found.identifiers == isic.identifiers
    assert found.classes == isic.classes
    assert torch.equal(found.labels, isic.labels)
    assert found.groups == isic.groups
    every = range(len(isic))
    assert torch.equal(found.gather(every).images, isic.gather(every).images)
    assert torch.equal(found.gather_masks(every), isic.gather_masks(every))
    sorted_by_class = {
        f"{row[2]}/{row[1]}.jpg": content
        for row in rows[1:]
        for path, content in files.items()
        if path.endswith(f"/{row[1]}.jpg")
    }
    folder = ImageFolder(write(sorted_by_class, "classes"), **more)
    place = {name.split("/")[1][:-4]: row for row, name in enumerate(folder.identifiers)}
    same = folder.gather([place[name] for name in found.identifiers])
    assert torch.equal(same.images, found.gather(every).images)
    assert torch.equal(same.labels, found.labels)


# -------------------------------------------------------------------------------------- masks


@pytest.fixture
def halves(encoded):
    """Left and right half as masks of the frame of the pictures."""
    left = np.zeros((9, 12), np.uint8)
    left[:, :6] = 255
    return encoded(left, "PNG"), encoded(255 - left, "PNG")


def test_masks_are_found_beside_the_picture_or_by_name(labels, pictures, write, halves):
    left, right = halves
    masks = {"a_segmentation.png": left, "masks/b_segmentation.png": right}
    masks["masks/nobodys_segmentation.png"] = left
    root = write(pictures | masks | {"more/d_segmentation.png": right}, "pictures")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # masks are no pictures without a row
        found = load(labels, root, geometry="squeeze")
    assert found.has_mask.tolist() == [True, True, True, False, False]
    sides = found.gather_masks([0, 1, 2]).float().mean(1)
    assert sides[:, :4].mean(1).tolist() == [1, 0, 0]
    assert sides[:, 4:].mean(1).tolist() == [0, 1, 1]


def test_a_column_of_masks(written, pictures, write, halves):
    left, right = halves
    del pictures["e.png"], pictures["more/d.png"]
    root = write(pictures | {"m/1.png": left, "m/2.png": right}, "pictures")
    rows = [("image", "label", "outline"), ("a", "x", "m/1.png"), ("b", "x", "2"), ("c", "y", "")]
    found = load(written(rows), root, mask="outline", cache=None)
    assert found.has_mask.tolist() == [True, True, False]
    first = found.gather_masks([0, 1])
    assert "outline" not in found.metadata
    # The same files, the masks exchanged: nothing of the old entry of the cache is taken.
    rows[1], rows[2] = ("a", "x", "2.png"), ("b", "x", "1.png")
    other = load(written(rows), root, mask="outline", cache=None)
    assert torch.equal(other.gather_masks([1, 0]), first)
    assert other.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("m/1.png", "none", "m/9"), r"2 of 3 rows of .*labels.csv have no mask in .*: none, m/9;"),
        (("m/1", "b.png", ""), "names pictures as their own masks: b.png"),
        (("m/1", "1.png", ""), r"several files of .*: 1.png \(k/1.png, m/1.png\); give more"),
    ],
)
def test_masks_that_a_column_cannot_mean(written, pictures, write, halves, cells, message):
    root = write(pictures | {"m/1.png": halves[0], "k/1.png": halves[0]}, "pictures")
    rows = [("image", "label", "mask"), *((n, "x", c) for n, c in zip("abc", cells, strict=True))]
    with pytest.raises(ValueError, match=message):
        load(written(rows), root, mask="mask")


def test_one_mask_of_two_pictures_is_nobodys(written, write, encoded, halves):
    grey = encoded(np.full((9, 12), 9, np.uint8), "PNG")
    root = write({"k/1.png": grey, "l/1.png": grey, "m/1_segmentation.png": halves[0]}, "pictures")
    table = written([("image", "label"), ("k/1", "x"), ("l/1", "y")])
    with pytest.raises(ValueError, match=r"fit the same picture: m/1_segmentation.png; name"):
        load(table, root)


@_OF_ONE_CLASS
def test_a_mask_beside_its_own_picture_is_no_others(written, write, encoded, halves):
    grey = encoded(np.full((9, 12), 9, np.uint8), "PNG")
    files = {"train/1.png": grey, "train/1_segmentation.png": halves[0]}
    for number, path in enumerate(("test/1.png", "1.png")):
        root = write(files | {path: grey}, f"pictures{number}")
        table = written([("image", "label"), (path, "x")])
        with pytest.warns(UserWarning, match="no row for 1 pictures"):
            assert not load(table, root).has_mask.any()
        table = written([("image", "label"), (path, "x"), ("train/1.png", "x")])
        assert load(table, root).has_mask.tolist() == [False, True]
    # A name that is found at the end of another path is not beside it.
    files |= {"test/1.png": grey, "train/deep/train/1.png": files.pop("train/1.png")}
    table = written([("image", "label"), ("test/1.png", "x")])
    with pytest.warns(UserWarning, match="no row for 1 pictures"):
        assert load(table, write(files, "other")).has_mask.all()


# ------------------------------------------------------------------------------------- naming


@_OF_ONE_CLASS
def test_a_name_is_as_much_of_the_path_as_it_takes(written, write, encoded):
    paths = ("x.png", "k/x.png", "k/deep/x.png", "l/x.jpg", "y.b.png", "y.png")
    files = {
        path: encoded(np.full((9, 9), 20 * number, np.uint8), "PNG")
        for number, path in enumerate(paths)
    }
    root = write(files, "pictures")
    cells = ("x.png", "k/x", r".\k\deep\x.png", "x.jpg", "pictures/y.b", "y")
    found = load(written([("image", "label"), *((cell, "a") for cell in cells)]), root)
    levels = {i.identifier: int(i.image[0, 0, 0]) for i in found}
    assert [levels[cell] for cell in cells] == [0, 20, 40, 60, 80, 100]
    for unclear, both in (("l/../x", "have no picture"), ("elsewhere/x.png", "have no picture")):
        with pytest.raises(ValueError, match=both):
            load(written([("image", "label"), (unclear, "a")]), root)
    (root / "x.png").unlink()
    with pytest.raises(
        ValueError, match=r"pictures: x.png \(k/deep/x.png, k/x.png\); give more of"
    ):
        load(written([("image", "label"), ("x.png", "a")]), root)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_the_same_in_either_form_of_unicode(written, write, halves, on_disk, in_table):
    names = ("Käse/Muñoz.png", "Käse/Muñoz_segmentation.png", "Käse/é.png")
    disk = {unicodedata.normalize(on_disk, name): halves[0] for name in names}
    root = write(disk, unicodedata.normalize(on_disk, "Größe é"))
    cells = [unicodedata.normalize(in_table, cell) for cell in ("Muñoz", "Größe é/Käse/é.png")]
    assert not set(cells) & {path.rpartition("/")[2].removesuffix(".png") for path in disk}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left over
        found = load(written([("image", "label"), *zip(cells, "xy", strict=True)]), root)
    assert set(found.identifiers) == set(cells)  # as the table has them
    assert found.has_mask.tolist() == [name == cells[0] for name in found.identifiers]
    absent = unicodedata.normalize(in_table, "Zoë")
    with pytest.raises(ValueError, match=f"have no picture in .*: {absent}; expected"):
        load(written([("image", "label"), (absent, "x")]), root)


@_OF_ONE_CLASS
def test_the_column_of_pictures_has_a_known_name_or_is_given(written, root):
    rows = [("label", "file_name"), *(("x", name) for name in "abcde")]
    assert load(written(rows), root).identifiers == tuple("abcde")
    rows[0] = ("label", "photo")
    assert load(written(rows), root, image="photo").identifiers == tuple("abcde")
    with pytest.raises(ValueError, match="lacks the columns image; it has label, photo"):
        load(written(rows), root)


# --------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "Lable"}, "lacks the columns Lable; it has .*visit: did you mean label?"),
        (
            {"label": "diagnosis", "group": "patientid", "mask": "masks"},
            "lacks the columns diagnosis, patientid, masks; .*: did you mean patient_id?",
        ),
        ({"image": "images"}, "lacks the columns images; .* did you mean image?"),
        (
            {"label": None},
            "label must name a column, not None.*; for pictures without labels use joint.pred",
        ),
        ({"classes": ("mel", "df", "bcc")}, "it has mel, nv, got mel, df, bcc$"),
        (
            {"classes": ("mel",)},
            "classes must name each label of .* once: it has mel, nv, got mel$",
        ),
        ({"classes": ("mel", "nv", "nv")}, "once: it has mel, nv, got mel, nv, nv$"),
        ({"image_size": 4}, "image_size must be an integer from 8 to 1024"),
    ],
)
def test_what_is_not_in_the_table_is_named(labels, root, options, message):
    with pytest.raises(ValueError, match=message):
        load(labels, root, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": ("z1.png", "mel", "P1"), "b": ("z2", "nv", "P2")}, "2 of 5 rows .*: z1.png, z2; ex"),
        (
            {"a": ("a", "", "P1"), "b": ("b", "NaN", "P2")},
            "has no label for 2 of 5 pictures: a, b;",
        ),
        (
            {"a": ("a", "x", ""), "b": ("b", "x", "NA")},
            "has no patient_id for 2 of 5 .*: a, b; add",
        ),
        ({"a": ("b", "x", "P1"), "c": ("d", "x", "P1")}, "several rows for one image: b, d"),
        (
            {"a": ("b.png", "x", "P1")},
            r"several rows for one picture: b \(b.png\), b.png \(b.png\)",
        ),
        ({"a": ("a", "01", "P1"), "b": ("b", "1", "P")}, None),
        ({"a": ("", "x", "P1"), "c": (" ", "x", "P")}, "without image: line 2, line 4"),
        ({"a": ("a", "x"), "c": ("c", "x", "P", "")}, "another length .*: line 2, line 4"),
    ],
)
def test_every_row_that_says_too_little_is_named(written, root, change, message):
    rows = [("image", "label", "patient_id")]
    rows += [change.get(name, (name, "nv", f"P{name}")) for name in "abcde"]
    if message is None:
        assert load(written(rows), root).classes == ("01", "1", "nv")
        return
    with pytest.raises(ValueError, match=message):
        load(written(rows), root)


@_OF_ONE_CLASS
def test_columns_of_one_name_are_refused(written, root):
    rows = [
        ("image", "label", "age", "age", "", ""),
        *((n, "x", "1", "2", "", "") for n in "abcde"),
    ]
    with pytest.raises(ValueError, match=r"labels.csv has several columns of the name age$"):
        load(written(rows), root)
    rows[0] = ("image", "label", "age", "visit", "", "")  # empty columns, as Excel leaves them
    assert set(load(written(rows), root).metadata) == {"age", "visit"}


def test_one_number_is_one_class(written, root):
    table = written([("image", "label"), ("a", "1"), ("b", "1.0"), ("c", "2")])
    with pytest.raises(ValueError, match=r"same number in several ways in label: 1, 1\.0; use"):
        load(table, root)
    named = written([("image", "label"), ("a", "1"), ("b", "NA"), *((n, "2") for n in "cde")])
    assert load(named, root, classes=("2", "NA", "1")).labels.tolist() == [2, 1, 0, 0, 0]


def test_pictures_without_a_row_are_left_alone_aloud(labels, pictures, write):
    more = {"f.png": b"no picture", "more/g.png": b"", "notes.txt": b""}
    root = write(pictures | more, "pictures")
    with pytest.warns(
        UserWarning, match=r"no row for 2 pictures of .*: f.png, more/g.png$"
    ) as said:
        found = load(labels, root, limit=4)
    assert said[0].filename == __file__
    assert len(found) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody said that all of this folder is in the table
        load(labels)


def test_unusable_pictures_are_all_named(labels, pictures, write):
    broken = pictures | {"a.png": b"", "more/c.png": pictures["more/c.png"][:40]}
    with pytest.raises(ValueError, match=r"2 of 5 images .*: a.png \(.*more/c.png \("):
        load(labels, write(broken, "pictures"))


def test_a_damaged_zip_is_named_where_pictures_are_missing(labels, pictures, write):
    del pictures["a.png"]
    root = write(pictures | {"rest.zip": b"PK"}, "pictures")
    with pytest.raises(ValueError, match=r"have no picture .*: a; .*cannot be read: rest.zip \("):
        load(labels, root)


def test_what_does_not_exist(labels, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no table at .*none\.csv; give the path of its file, or"
    ):
        load(tmp_path / "none.csv")
    with pytest.raises(
        FileNotFoundError, match=r"the table none\.csv is neither a file below .* nor"
    ):
        load("none.csv", tmp_path)
    with pytest.raises(
        FileNotFoundError, match="nothing does not exist; give the folder or the zip"
    ):
        load(labels, tmp_path / "nothing")


@_OF_ONE_CLASS
def test_a_table_that_is_there_comes_before_one_among_the_pictures(labels, pictures, write):
    root = write(pictures | {"labels.csv": b"image,label\na,x\n"}, "pictures")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root.parent)
        assert load("labels.csv", root).identifiers == ORDER
        labels.unlink()
        with pytest.warns(UserWarning, match="no row for 4 pictures"):
            assert load("labels.csv", root).identifiers == ("a",)


@_OF_ONE_CLASS
def test_several_tables_of_one_name(pictures, write, labels):
    tables = {"one/t.csv": b"image,label\na,x\n", "two/t.csv": b"image,label\nb,x\n"}
    root = write(pictures | tables, "pictures")
    with pytest.raises(ValueError, match=r"different files of the name t.csv: .*with table="):
        load("t.csv", root)
    with pytest.warns(UserWarning, match="no row for 4 pictures"):
        assert load("one/t.csv", root).identifiers == ("a",)


# -------------------------------------------------------------------------------------- cache


def test_is_kept_in_a_cache_that_knows_what_changed(labels, root, tmp_path, monkeypatch, encoded):
    first = load(labels, root, cache=None)
    assert (tmp_path / "pictures.cache").is_dir()
    with monkeypatch.context() as patched:
        patched.setattr("classify.data.decode.Decoder.decode", None)
        second = load(labels, root, cache=None)
    assert torch.equal(first.gather(range(5)).images, second.gather(range(5)).images)
    assert first.fingerprint == second.fingerprint
    (root / "a.png").write_bytes(encoded(np.full((12, 9), 77, np.uint8), "PNG"))
    third = load(labels, root, cache=None)
    assert int(third[0].image[0, 0, 0]) == 77
    assert third.fingerprint != first.fingerprint


def test_another_alphabet_is_named_before_a_column_is_missed(tmp_path):
    (tmp_path / "t.csv").write_bytes("image,label\na,b\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"t.csv is not a table in UTF-8: .*UTF-16"):
        ImageTable(tmp_path / "t.csv", progress=False, cache=False)


def test_a_column_of_another_name_is_asked_for(written, root):
    table = written([("foto", "dx"), ("a", "nv"), ("b.png", "mel")])
    said = r"lacks the columns image, label; it has foto, dx.* with image= and .* --data\.label"
    with pytest.raises(ValueError, match=said):
        load(table, root)


def test_what_else_may_divide_cells_is_told(written, root):
    table = written([("image", "label"), ("a", "nv"), ("b.png", "mel")], delimiter="|")
    with pytest.raises(ValueError, match=r"it has image\|label.*; .* commas, semicolons or tabs"):
        load(table, root)


def test_labels_that_differ_in_capitals_alone_are_told(written, root):
    rows = [("image", "label"), ("a", "NV"), ("b", "nv"), ("c", "mel"), ("d", "nv"), ("e", "nv")]
    with pytest.warns(UserWarning, match=r"a class for each of NV, nv, .* write them the same "):
        assert load(written(rows), root).classes == ("NV", "mel", "nv")
    spaced = ("x  y", "x y", "x\u00a0y", "1 1", "11")
    rows = [("image", "label"), *zip("abcde", spaced, strict=True)]
    said = re.escape(
        r"a class for each of x  y, x y, 'x\xa0y', which differ only in capital letters or "
    )
    with pytest.warns(UserWarning, match=said):
        assert len(load(written(rows), root).classes) == 5


def test_a_table_of_one_class_is_told(tmp_path, encoded):
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((9, 9, 3), np.uint8), "PNG"))
    (tmp_path / "t.csv").write_text("image,label\na,nv\n")
    with pytest.warns(UserWarning, match="pictures of one class only, nv: a trained run can be"):
        load(tmp_path / "t.csv")
    load(tmp_path / "t.csv", classes=["nv"])


def test_a_class_without_a_row_can_be_named(labels, root):
    with pytest.warns(UserWarning, match="has no picture of bcc, df, which classes= lists"):
        found = load(labels, root, classes=("bcc", "nv", "df", "mel"))
    assert found.classes == ("bcc", "nv", "df", "mel")
    assert found.counts.tolist() == [0, 3, 0, 2]


@pytest.mark.parametrize(
    "name",
    [
        "patient", "Patient ID", "Lesion ID", "subjects", "SubjectNr.", "scene", "scene_id",
        "session", "Sequence", "clip", "video", "group_id",
    ],
)  # fmt: skip
def test_a_column_that_may_be_the_group_is_spoken_of(written, root, name):
    rows = [
        ("image", "label", name, "lesion_type", "patient_age"),
        *(
            (image, label, who, "flat", "40")
            for image, label, who in zip(LEVELS, ["nv", "mel"] * 2 + ["nv"], "uvwwu", strict=True)
        ),
    ]
    words = re.escape(f"has a column {name!r} with 3 values for 5 pictures")
    with pytest.warns(UserWarning, match=words) as told:
        plain = load(written(rows), root)
    assert len(told) == 1
    assert len(set(plain.groups)) == 5
    # Once it is said, nothing has to be: neither way, nor where each has its own, or none is known.
    assert len(set(load(written(rows), root, group=name).groups)) == 3
    assert load(written(rows), root, group="image").groups == plain.groups
    apart = [
        rows[0],
        *((*row[:2], who, *row[3:]) for row, who in zip(rows[1:], "vw", strict=False)),
    ]
    apart += [(*row[:2], "NA", *row[3:]) for row in rows[3:]]
    load(written(apart), root)


@pytest.mark.parametrize("name", ["Group", "PATIENT_ID", "Lesion_Id"])
def test_a_column_is_known_in_any_capital_letters(written, root, name):
    cells = zip(LEVELS, ["nv", "mel"] * 2 + ["nv"], "uvwwu", strict=True)
    found = load(written([("File", "label", name), *cells]), root)
    assert found.identifiers == tuple(sorted(LEVELS))
    assert found.groups == tuple(dict(zip(LEVELS, "uvwwu", strict=True))[n] for n in sorted(LEVELS))
    # One that is written as it is known comes first.
    rows = [("image", "label", "Group", "lesion_id"), *((n, "x", "all", n) for n in LEVELS)]
    assert load(written(rows), root, classes=["x"]).groups == found.identifiers


def test_labels_and_groups_are_the_same_in_either_form_of_unicode(written, root):
    one, other = (unicodedata.normalize(form, "Nävus") for form in ("NFC", "NFD"))
    rows = [("image", "label", "group"), ("a", one, other), ("b", other, one), ("c", "x", "x")]
    table = written(rows)
    for classes in (None, [one, "x"], [other, "x"]):
        with pytest.warns(UserWarning, match="no row for 2 pictures"):
            found = load(table, root, classes=classes)
        assert sorted(found.classes) == [one, "x"]
        assert found.counts.tolist() == [2, 1]
        assert found.groups == (one, one, "x")


@pytest.mark.parametrize(
    ("found", "coarser"),
    [("lesion_id", "Patient ID"), ("Lesion_ID", "subject"), ("patient_id", "clip")],
)
def test_a_column_that_joins_whole_groups_is_spoken_of(written, root, found, coarser):
    rows = [
        ("image", "label", found, coarser, "session"),
        *zip("abcde", ["x", "y", "x", "y", "x"], "11234", "uuuvv", "12121", strict=True),
    ]
    words = re.escape(
        f"are the 4 values of {found!r}, but its column {coarser!r} with 2 values joins"
    )
    with pytest.warns(UserWarning, match=words) as told:
        plain = load(written(rows), root)
    assert len(told) == 1  # not of the sessions, which divide a group
    assert plain.groups == tuple("11234")
    # Nothing where it is said, where the column is called group, and of a finer column.
    assert load(written(rows), root, group=found).groups == plain.groups
    assert load(written(rows), root, group=coarser).groups == tuple("uuuvv")
    meant = [("image", "label", "group", coarser, "session"), *rows[1:]]
    assert load(written(meant), root).groups == plain.groups
    finer = [
        ("image", "label", "patient_id", "lesion_id"),
        *((*r[:2], r[3], r[2]) for r in rows[1:]),
    ]
    assert load(written(finer), root).groups == tuple("uuuvv")


def test_groups_that_are_written_in_several_ways_are_told(written, root):
    names = ("P3", "p 3", "1", "01", "1.0")
    rows = [("image", "label", "patient_id"), *zip("abcde", "xyxyx", names, strict=True)]
    said = re.escape("has a group for each of 01, 1, 1.0, P3, p 3, which differ only in capital ")
    with pytest.warns(UserWarning, match=f"{said}.*number is written: .* in patient_id"):
        assert load(written(rows), root).groups == names
    apart = ("1 1", "11", "1.5", "15", "P1")
    load(written([rows[0], *zip("abcde", "xyxyx", apart, strict=True)]), root)


@pytest.mark.parametrize("word", ["None", "NULL", "null", "N/A", "<NA>", "#N/A", "NaN", "NA"])
def test_what_tools_write_for_no_label_is_none(written, root, word):
    table = written([("image", "label"), *zip("abcde", ["x", "y", word, "x", "y"], strict=True)])
    with pytest.raises(ValueError, match=r"no label for 1 of 5 pictures: c; .* a class, name it"):
        load(table, root)
    assert load(table, root, classes=("x", "y", word)).counts.tolist() == [2, 2, 1]
    for kept in ("unknown", "?", "-"):
        rows = [("image", "label"), *zip("abcde", ["x", "y", kept, "x", "y"], strict=True)]
        assert kept in load(written(rows), root).classes


def test_a_name_in_other_capital_letters_is_told(written, root):
    rows = [("image", "label"), ("A.PNG", "x"), ("More/C", "y"), ("z", "x"), ("d", "y")]
    said = r"3 of 4 .* have no picture .*case-sensitive: A.PNG \(a.png\), More/C \(more/c.png\)$"
    with pytest.raises(ValueError, match=said):
        load(written(rows), root)


@pytest.mark.parametrize("place", ["absolute", "up", "up again"])
def test_paths_to_the_folder_from_elsewhere(root, written, tmp_path, monkeypatch, place):
    def named(name):
        return {
            "absolute": str(root / name),
            "up": f"tables/../{root.name}/{name}",
            "up again": f"../{tmp_path.name}/{root.name}/{name}",
        }[place]

    monkeypatch.chdir(tmp_path)
    rows = [("image", "label"), (named("a.png"), "x"), (named("more/c"), "y")]
    for given in (root, root.name):
        with pytest.warns(UserWarning, match="has no row for 3 pictures"):
            dataset = load(written(rows), given)
        assert [int(item.image.max()) for item in dataset] == [10, 30]
    rows = [*rows[:2], ("/elsewhere/more/c", "y")]
    with pytest.raises(ValueError, match=r"no picture in .*: /elsewhere/more/c; expected a path"):
        load(written(rows), root)
