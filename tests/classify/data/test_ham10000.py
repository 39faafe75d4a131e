import io
import os
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from classify.data import HAM10000, LESION_CLASSES


def load(root, **options):
    return HAM10000(root, **{"image_size": 16, "cache": False, "progress": False} | options)


def relaid(files, rename):
    """The same files under other paths."""
    return {rename(PurePosixPath(path)): content for path, content in files.items()}


def dataverse(files, zipped, table, rows, suffix):
    """Zips of pictures beside the metadata, and the test set that has no rows."""
    inner = {}
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        inner.setdefault(folder, {})[name] = content
    del inner[""]
    packed = {f"{folder}.zip": zipped(content) for folder, content in inner.items()}
    metadata = table(rows, "\t" if suffix == ".tab" else ",")
    picture = next(content for path, content in files.items() if path.endswith(".jpg"))
    return packed | {
        f"HAM10000_metadata{suffix}": metadata,
        "ISIC2018_Task3_Test_Images.zip": zipped({"ISIC_0034524.jpg": picture}),
        "ISIC2018_Task3_Test_GroundTruth.tab": b"image_id\tdx\nISIC_0034524\tnv\n",
    }


LAYOUTS = [
    "Kaggle folder",
    "Kaggle zip",
    "lower case",
    "both cases",
    "no folders",
    "Dataverse folder",
    "Dataverse zip",
    "Dataverse zip, no suffix",
    "with junk",
]


@pytest.fixture(params=LAYOUTS)
def anyhow(request, files, rows, write, zipped, table):
    """The small data set in each layout that people have it in."""
    layout = request.param
    if layout == "lower case":
        return write(
            relaid(files, lambda path: f"skin/ham10000/{str(path.parent).lower()}/{path.name}")
        )
    if layout == "both cases":
        return write(files | relaid(files, lambda path: f"{str(path.parent).lower()}/{path.name}"))
    if layout == "no folders":
        return write(relaid(files, lambda path: path.name), "flat.zip")
    if layout == "with junk":
        junk = {"__MACOSX/HAM10000_images_part_1/._ISIC_0024306.jpg": b"", ".DS_Store": b""}
        more = {
            "hmnist_28_28_RGB.csv": b"pixel0000,label\n",
            "HAM10000_images_part_1/extra.jpg": b"",
        }
        return write(files | junk | more, "junk.zip")
    if layout.startswith("Dataverse"):
        suffix = "" if "no suffix" in layout else ".tab"
        packed = dataverse(files, zipped, table, rows, suffix)
        return write(packed, "dataverse_files.zip" if "zip" in layout else "dataverse")
    return write(files, "ham.zip" if "zip" in layout else "ham")


def test_every_layout_is_the_same_data_set(anyhow, files, rows, write):
    dataset = load(anyhow)
    expected = sorted(rows[1:], key=lambda row: row[1])
    assert dataset.identifiers == tuple(row[1] for row in expected)
    assert dataset.groups == tuple(row[0] for row in expected)
    assert [dataset.classes[label] for label in dataset.labels] == [row[2] for row in expected]
    assert dataset.has_mask.all()
    assert dataset.fingerprint == load(write(files, "reference")).fingerprint


def test_pictures_and_masks_are_the_files(files, write):
    dataset = load(write(files, "ham.zip"))
    by_name = {PurePosixPath(path).name: content for path, content in files.items()}
    for item in dataset:
        picture = Image.open(io.BytesIO(by_name[f"{item.identifier}.jpg"]))
        expected = np.asarray(ImageOps.fit(picture, (16, 16), Image.Resampling.LANCZOS))
        assert np.array_equal(item.image.permute(1, 2, 0), expected)
        mask = Image.open(io.BytesIO(by_name[f"{item.identifier}_segmentation.png"])).convert("L")
        expected = np.asarray(ImageOps.fit(mask, (16, 16), Image.Resampling.BOX)) >= 128
        assert item.mask is not None
        assert np.array_equal(item.mask, expected)
        assert 0.05 < expected.mean() < 0.5


def test_squeeze_shows_the_whole_frame(files, write):
    root = write(files)
    squeezed, cropped = load(root, geometry="squeeze"), load(root)
    assert not torch.equal(squeezed[0].image, cropped[0].image)
    name = squeezed.identifiers[0]
    content = next(content for path, content in files.items() if path.endswith(f"{name}.jpg"))
    expected = Image.open(io.BytesIO(content)).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(squeezed[0].image.permute(1, 2, 0), np.asarray(expected))


def test_metadata_is_joined(files, rows, write, table):
    rows = [[*row, extra] for row, extra in zip(rows, ["dataset", *["vienna"] * 30], strict=True)]
    rows = rows[:1] + rows[:0:-1]  # the order of the rows is of no account
    dataset = load(write(files | {"HAM10000_metadata.csv": b"\xef\xbb\xbf" + table(rows)}))
    by_id = {row[1]: row for row in rows}
    assert set(dataset.metadata) == {
        "lesion_id", "dx_type", "age", "sex", "localization", "dataset",
    }  # fmt: skip
    ages = dataset.metadata["age"]
    assert ages.dtype == np.float64
    assert np.isnan(ages).sum() == 1
    for age, name in zip(ages, dataset.identifiers, strict=True):
        assert by_id[name][4] == ("" if np.isnan(age) else f"{age:.1f}")
    assert set(dataset.metadata["dataset"]) == {"vienna"}
    assert dataset.metadata["lesion_id"].tolist() == list(dataset.groups)


def test_masks_may_be_missing(files, write):
    some = {p: c for p, c in files.items() if "segmentation" not in p or "ISIC_0024306" in p}
    dataset = load(write(some, "some"))
    assert dataset.has_mask.tolist() == [True] + [False] * 29
    assert dataset[0].mask is not None
    assert dataset[1].mask is None
    none = load(write({p: c for p, c in files.items() if "segmentation" not in p}, "none"))
    assert not none.has_mask.any()


def test_duplicates_join_lesions(files, rows, write, tmp_path):
    first, second, third, other = (rows[k][1] for k in (1, 2, 3, 4))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"image_a,image_b\n{third},{second}\n{second},{first}\n")
    plain, joined = load(write(files)), load(write(files), duplicates=pairs)
    group = dict(zip(joined.identifiers, joined.groups, strict=True))
    assert group[first] == group[second] == group[third] == rows[1][0]  # the first name of three
    assert group[other] == rows[4][0]
    assert len(set(joined.groups)) == len(set(plain.groups)) - 2
    assert joined.metadata["lesion_id"].tolist() == list(plain.groups)
    assert joined.fingerprint != plain.fingerprint


def test_duplicates_that_name_unknown_images(files, write, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("image_a,image_b\nISIC_0024306,ISIC_9\nISIC_8,ISIC_0024307\n")
    with pytest.raises(ValueError, match="metadata does not have: ISIC_8, ISIC_9"):
        load(write(files), duplicates=pairs)
    pairs.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"pairs.csv lacks the columns image_a, image_b; it has a"):
        load(write(files), duplicates=pairs)
    with pytest.raises(FileNotFoundError, match=r"list of duplicates .*nothing does not exist"):
        load(write(files), duplicates=tmp_path / "nothing")


def test_limit_is_stratified_repeatable_and_chosen_before_decoding(files, rows, write, table):
    root = write(files)
    part = load(root, limit=14)
    assert part.counts.tolist() == [2] * 7
    assert part.identifiers == tuple(sorted(part.identifiers))
    assert load(root, limit=14).fingerprint == part.fingerprint
    assert set(load(root, limit=7).identifiers) < set(part.identifiers)
    assert len(load(root, limit=30)) == len(load(root, limit=10**9)) == 30
    # Another order of rows chooses the same; pictures that were not chosen are not even opened.
    shuffled = table(rows[:1] + rows[:0:-1])
    broken = {
        path: content if PurePosixPath(path).name[:12] in part.identifiers else b"broken"
        for path, content in files.items()
    }
    again = load(write(broken | {"HAM10000_metadata.csv": shuffled}, "broken"), limit=14)
    assert again.fingerprint == part.fingerprint


def test_limit_follows_the_classes(files, write):
    counts = load(write(files), limit=20).counts
    # Two of each class (20 // 7), then six shared out like the 16 others: 3/8 of [1 1 2 1 2 8 1],
    # that is three nv, and one each for the largest remainders.
    assert counts.tolist() == [3, 2, 3, 2, 3, 5, 2]


@pytest.mark.parametrize("limit", [6, 0, -1, 2.5, "all", True])
def test_limit_that_leaves_out_a_class(files, write, limit):
    with pytest.raises(ValueError, match="limit must be None or at least 7 images, one for each"):
        load(write(files), limit=limit)


def without(files, text):
    return {path: content for path, content in files.items() if text not in path}


def test_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ham.zip does not exist; give the folder or"):
        load(tmp_path / "ham.zip")


@pytest.mark.parametrize("name", ["ham", "ham.zip"])
def test_no_metadata(files, write, name):
    with pytest.raises(ValueError, match=r"has no metadata: expected HAM10000_metadata.csv, .tab"):
        load(write(without(files, "metadata"), name))


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"has no metadata: .* found no files"):
        load(tmp_path)


def test_different_metadata_files(files, rows, write, table):
    with pytest.raises(ValueError, match=r"different metadata files: .*csv, old/.*csv; keep one"):
        load(write(files | {"old/HAM10000_metadata.csv": table(rows[:-1])}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [row[:2] for row in rows],
            "lacks the columns dx; it has lesion_id, image_id",
        ),
        (lambda rows: [], "lacks the columns lesion_id, image_id, dx; it has none"),
        (lambda rows: rows[:1], "is empty: it has a header but no rows"),
        (lambda rows: [*rows, rows[1]], f"several rows for one image: ISIC_{24306:07d}"),
        (lambda rows: [*rows, rows[1][:3]], "rows of another length .*: line 32"),
        (lambda rows: [*rows, ["", "x", *rows[1][2:]]], "without lesion_id, .*: line 32"),
        (
            lambda rows: [*rows[:-2], *([*row[:2], "scc", *row[3:]] for row in rows[-2:])],
            r"unknown dx 'scc'; allowed are akiec, bcc, .* Rows: ISIC_\d+ \(scc\), ISIC_\d+ ",
        ),
        (
            lambda rows: [*rows[:-1], [*rows[-1][:4], "old", *rows[-1][5:]]],
            "age that is not a number: could not convert string to float: 'old'",
        ),
    ],
)
def test_bad_metadata(files, rows, write, table, change, message):
    with pytest.raises(ValueError, match=message):
        load(write(files | {"HAM10000_metadata.csv": table(change(rows))}))


def test_metadata_that_is_no_text(files, write):
    with pytest.raises(ValueError, match="is not a table in UTF-8"):
        load(write(files | {"HAM10000_metadata.csv": b"lesion_id,\xff\xfe"}))


def test_metadata_damaged_in_the_zip(files, write):
    root = write({"HAM10000_metadata.csv": files["HAM10000_metadata.csv"]}, "ham.zip")
    content = bytearray(root.read_bytes())
    content[80:90] = bytes(10)
    root.write_bytes(content)
    with pytest.raises(ValueError, match=r"ham.zip: HAM10000_metadata.csv cannot be read: "):
        load(root)


def test_rows_without_a_picture_are_all_named(files, write, monkeypatch):
    monkeypatch.setattr("classify.data.decode.Decoder.decode", None)  # found before any decoding
    files = without(without(files, "ISIC_0024308.jpg"), "ISIC_0024320.jpg")
    with pytest.raises(
        ValueError, match=r"2 of 30 rows .* no picture .*: ISIC_0024308, ISIC_0024320;"
    ):
        load(write(files))


def test_a_damaged_inner_zip_is_named(files, rows, write, zipped, table):
    packed = dataverse(files, zipped, table, rows, ".tab")
    packed["HAM10000_images_part_2.zip"] = packed["HAM10000_images_part_2.zip"][:-40]
    with pytest.raises(
        ValueError, match=r"Zips that cannot be read: HAM10000_images_part_2.zip \(F"
    ):
        load(write(packed))


def test_all_bad_pictures_are_named_and_nothing_is_kept(files, write, encoded, tmp_path):
    names = [path for path in files if path.endswith(".jpg")]
    masks = [path for path in files if path.endswith("_segmentation.png")]
    files[names[3]] = files[names[3]][:200]
    files[names[5]] = b""
    files[masks[7]] = encoded(np.ones((9, 9), bool), "PNG")
    with pytest.raises(ValueError, match="3 of 30 images cannot be used") as caught:
        load(write(files), cache=tmp_path / "kept")
    for name in (names[3], names[5], masks[7]):
        assert f"{name} (" in str(caught.value)
    assert "the mask is 9x9 but its image is 40x30" in str(caught.value)
    assert not (tmp_path / "kept").exists()


def test_two_different_pictures_of_one_name(files, write):
    first = next(path for path in files if path.endswith(".jpg"))
    with pytest.raises(ValueError, match="different files for one name: HAM"):
        load(write(files | {f"originals/{PurePosixPath(first).name}": b"other"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 2}, "image_size must be an integer from 8 to 1024"),
        ({"geometry": "fit"}, "geometry must be"),
        ({"workers": -1}, "workers must be"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "not even looked for", **options)


def test_nothing_is_extracted_and_nothing_stays_open(files, write, tmp_path):
    root = write(files, "ham.zip")
    load(root)
    assert list(tmp_path.iterdir()) == [root]
    root.unlink()


@pytest.mark.ham10000
def test_real_counts(real):
    assert real.counts.tolist() == [327, 514, 1099, 115, 1113, 6705, 142]
    assert real.classes == LESION_CLASSES
    assert len(real) == 10015
    assert len(set(real.metadata["lesion_id"])) == 7470
    images_per_lesion = Counter(Counter(real.metadata["lesion_id"].tolist()).values())
    assert images_per_lesion == {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}


@pytest.mark.ham10000
def test_real_duplicates_leave_7452_groups(real):
    if len(set(real.groups)) == 7470:
        pytest.skip("cross_lesion_duplicates.csv does not lie beside HAM10000_ROOT")
    assert len(set(real.groups)) == 7452
    group = dict(zip(real.identifiers, real.groups, strict=True))
    assert group["ISIC_0033481"] == group["ISIC_0033421"]


@pytest.mark.ham10000
def test_real_pictures_and_masks(real):
    assert real.has_mask.all()
    batch = real.gather(range(0, len(real), 5))
    colour = batch.images.float().mean(dim=(0, 2, 3)) / 255
    assert torch.allclose(colour, torch.tensor([0.765, 0.539, 0.562]), atol=0.01)
    # A lesion is darker than the skin around it.
    inside = real.gather_masks(range(0, len(real), 5))[:, None]
    grey = batch.images.float()
    darker = (grey * inside).sum() / inside.sum() / 3 < (grey * ~inside).sum() / (~inside).sum() / 3
    assert darker


@pytest.mark.ham10000
def test_real_crop_cuts_as_many_lesions_as_it_should(real):
    # 31.7 % of all masks touch the border of the crop, counted on its own 150 pixels.
    some = HAM10000(os.environ["HAM10000_ROOT"], image_size=150, limit=1000, cache=False)
    masks = some.gather_masks(range(len(some)))
    border = masks[:, [0, -1]].flatten(1).any(1) | masks[:, :, [0, -1]].flatten(1).any(1)
    assert border.float().mean() == pytest.approx(0.317, abs=0.04)  # 2.7 standard errors


@pytest.mark.ham10000
def test_real_metadata(real):
    assert np.isnan(real.metadata["age"]).sum() == 57
    assert (real.metadata["sex"] == "unknown").sum() == 57
    assert (real.metadata["localization"] == "unknown").sum() == 234


def test_the_codes_are_srgb(files, write):
    assert load(write(files)).encoding == "srgb"


def test_two_columns_of_one_name_are_refused(files, rows, write, table):
    twice = [[*row, "age" if number == 0 else "99"] for number, row in enumerate(rows)]
    with pytest.raises(ValueError, match=r"metadata.csv has several columns of the name age"):
        load(write(files | {"HAM10000_metadata.csv": table(twice)}))


def test_pictures_of_unknown_lesions_are_lesions_of_their_own(files, rows, write, table):
    unknown = {
        row[1]: word for row, word in zip(rows[1:5], ("NA", "nan", "unknown", "None"), strict=True)
    }
    given = [rows[0], *([unknown.get(row[1], row[0]), *row[1:]] for row in rows[1:])]
    given[1][4] = "None"
    dataset = load(write(files | {"HAM10000_metadata.csv": table(given)}))
    group = dict(zip(dataset.identifiers, dataset.groups, strict=True))
    assert [group[name] for name in unknown] == list(unknown)
    assert set(dataset.groups) - set(unknown) <= {row[0] for row in rows}
    assert np.isnan(dataset.metadata["age"][dataset.identifiers.index(rows[1][1])])
