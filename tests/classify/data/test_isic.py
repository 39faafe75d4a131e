from pathlib import PurePosixPath

import numpy as np
import pytest

from classify.data import HAM10000, ISIC, LESION_CLASSES

OF_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
OF_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
TRUTH = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"


def load(root, **options):
    return ISIC(root, **{"image_size": 16, "cache": False, "progress": False} | options)


def one_hot(names, diagnoses, columns=OF_2018):
    rows = [["image", *columns]]
    for name, diagnosis in zip(names, diagnoses, strict=True):
        rows.append([name, *("1.0" if column == diagnosis else "0.0" for column in columns)])
    return rows


@pytest.fixture
def truth(rows):
    """The ground truth of 2018 for the small data set, as rows of cells."""
    return one_hot([row[1] for row in rows[1:]], [row[2].upper() for row in rows[1:]])


@pytest.fixture
def groupings(rows):
    header = ["image", "lesion_id", "diagnosis_confirm_type"]
    # In another order than the ground truth.
    return [header, *([row[1], row[0], row[3]] for row in rows[:0:-1])]


@pytest.fixture
def pictures(files):
    """Pictures alone, by file name."""
    return {PurePosixPath(p).name: content for p, content in files.items() if p.endswith(".jpg")}


@pytest.fixture
def challenge(pictures, truth, groupings, table):
    """The layout of 2018, unpacked."""
    folder = {f"ISIC2018_Task3_Training_Input/{name}": data for name, data in pictures.items()}
    return folder | {
        TRUTH: table(truth),
        GROUPINGS: table(groupings),
        "ISIC2018_Task3_Training_Input/LICENSE.txt": b"CC BY-NC 4.0",
    }


LAYOUTS = [
    "folder",
    "zip",
    "inner zips",
    "zip of zips",
    "no folders",
    "all in one inner zip",
    "metadata in an inner zip",
    "quoted header",
]


@pytest.fixture(params=LAYOUTS)
def anyhow(request, challenge, zipped, write):
    if request.param in ("folder", "zip"):
        return write(challenge, "isic.zip" if request.param == "zip" else "isic")
    if request.param == "all in one inner zip":
        return write({"isic.zip": zipped(challenge)}, "isic")
    if request.param == "metadata in an inner zip":
        challenge["more.zip"] = zipped({GROUPINGS: challenge.pop(GROUPINGS)})
        return write(challenge, "isic")
    if request.param == "quoted header":
        header, _, lines = challenge[GROUPINGS].partition(b"\r\n")
        quoted = b",".join(b'"%s"' % name for name in header.split(b","))
        # With a byte order mark, as Excel writes it.
        return write(challenge | {GROUPINGS: b"\xef\xbb\xbf" + quoted + b"\r\n" + lines}, "isic")
    if request.param == "no folders":
        return write({PurePosixPath(path).name: data for path, data in challenge.items()}, "flat")
    inner = {}
    for path, content in challenge.items():
        folder, _, name = path.rpartition("/")
        inner.setdefault(folder, {})[f"{folder}/{name}"] = content
    outside = {GROUPINGS: challenge[GROUPINGS]}
    del inner[""]
    packed = {f"{folder}.zip": zipped(content) for folder, content in inner.items()} | outside
    return write(packed, "isic.zip" if request.param == "zip of zips" else "isic")


def test_every_layout_is_the_data_set_that_ham10000_loads(anyhow, files, write):
    ours = load(anyhow)
    without_masks = {path: data for path, data in files.items() if "segmentation" not in path}
    theirs = HAM10000(write(without_masks), image_size=16, cache=False, progress=False)
    assert ours.classes == theirs.classes == LESION_CLASSES
    assert ours.identifiers == theirs.identifiers
    assert ours.groups == theirs.groups
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert ours.fingerprint == theirs.fingerprint
    assert ours.encoding == "srgb"
    assert ours.metadata["diagnosis_confirm_type"].tolist() == ["histo"] * 30


def test_masks_are_found(files, challenge, write):
    masks = {path: data for path, data in files.items() if "segmentation" in path}
    dataset = load(write(challenge | masks))
    assert dataset.has_mask.all()
    assert 0.05 < dataset.gather_masks(range(30)).float().mean() < 0.5


def of_2019(pictures, table, diagnoses, columns=OF_2019):
    names = sorted(PurePosixPath(name).stem for name in pictures)
    header = ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    metadata = [header]
    for row, name in enumerate(names):
        age, lesion = ("", "") if row < 5 else (f"{row}.0", f"BCN_{row // 2}")
        metadata.append([name, age, "anterior torso", lesion, "female"])
    return pictures | {
        "ISIC_2019_Training_GroundTruth.csv": table(one_hot(names, diagnoses, columns)),
        "ISIC_2019_Training_Metadata.csv": table(metadata),
    }


def test_2019_has_more_classes_and_gaps(pictures, table, write):
    diagnoses = [OF_2019[row % 8] for row in range(30)]
    dataset = load(write(of_2019(pictures, table, diagnoses)))
    assert dataset.classes == (*LESION_CLASSES, "scc")
    names = {"AK": "akiec"} | {column: column.lower() for column in OF_2019 if column != "AK"}
    assert [dataset.classes[label] for label in dataset.labels] == [names[d] for d in diagnoses]
    assert dataset.groups[:7] == (*dataset.identifiers[:5], "BCN_2", "BCN_3")
    assert dataset.groups[6] == dataset.groups[7]
    assert np.isnan(dataset.metadata["age_approx"][:5]).all()
    assert dataset.metadata["age_approx"][5:].tolist() == list(range(5, 30))
    assert set(dataset.metadata) == {"age_approx", "anatom_site_general", "lesion_id", "sex"}


def test_unknown_is_a_class_where_an_image_has_it(pictures, table, write):
    diagnoses = ["UNK", *(OF_2019[row % 8] for row in range(29))]
    dataset = load(write(of_2019(pictures, table, diagnoses)))
    assert dataset.classes == (*LESION_CLASSES, "scc", "unk")
    assert dataset[0].label == 8


NO_LESIONS = "has no lesion_id for any image: each image is a group of its own, and a split can put"


def test_without_metadata_each_image_is_a_group_and_a_warning_says_so(challenge, write):
    del challenge[GROUPINGS]
    with pytest.warns(UserWarning, match=NO_LESIONS) as caught:
        dataset = load(write(challenge))
    assert len(caught) == 1
    assert dataset.groups == dataset.identifiers
    assert dataset.metadata == {}


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NaN", "unknown"])
def test_a_missing_lesion_id_is_no_lesion(challenge, groupings, table, write, missing):
    some = [groupings[0], *([row[0], missing, row[2]] for row in groupings[1:5]), *groupings[5:]]
    names = {row[0] for row in some[1:5]}
    dataset = load(write(challenge | {GROUPINGS: table(some)}))
    pairs = list(zip(dataset.identifiers, dataset.groups, strict=True))
    assert {name for name, group in pairs if name == group} == names
    none = [groupings[0], *([row[0], missing, row[2]] for row in groupings[1:])]
    with pytest.warns(UserWarning, match=NO_LESIONS):
        dataset = load(write(challenge | {GROUPINGS: table(none)}, "none"))
    assert dataset.groups == dataset.identifiers


def test_metadata_in_two_places(challenge, groupings, rows, table, write):
    plain = load(write(challenge)).groups
    twice = challenge | {f"copy/{GROUPINGS}": challenge[GROUPINGS]}
    assert load(write(twice, "twice")).groups == plain
    # A table without lesions gives way, though it is the first by name.
    ages = {"Ages.csv": table([["image", "age_approx"], *([row[1], "50"] for row in rows[1:])])}
    assert load(write(challenge | ages, "ages")).groups == plain


def test_metadata_without_lesions_give_way_to_a_zip(challenge, rows, table, zipped, write):
    plain = load(write(challenge)).groups
    challenge["more.zip"] = zipped({GROUPINGS: challenge.pop(GROUPINGS)})
    ages = {"Ages.csv": table([["image", "age_approx"], *([row[1], "50"] for row in rows[1:])])}
    assert load(write(challenge | ages, "ages")).groups == plain


def test_a_name_that_several_files_have(challenge, truth, table, write):
    name = PurePosixPath(TRUTH).name
    parts = challenge | {f"test/{name}": table(truth[:1] + truth[-8:])}
    message = rf"different files of the name {name}: .*/{name}, test/{name}; give the path of .*th="
    with pytest.raises(ValueError, match=message):
        load(write(parts), truth=name)
    assert len(load(write(parts), truth=f"test/{name}")) == 8
    same = challenge | {f"test/{name}": challenge[TRUTH]}
    assert len(load(write(same, "same"), truth=name)) == 30
    # A path is meant before a name: here the file at the top, last in order.
    top = parts | {name: table(truth[:1] + truth[-3:])}
    assert len(load(write(top, "top"), truth=name)) == 3


def test_further_columns_of_the_truth_are_kept(challenge, truth, table, write):
    weighted = [[*row, cell] for row, cell in zip(truth, ["score_weight", *"1" * 30], strict=True)]
    dataset = load(write(challenge | {TRUTH: table(weighted)}))
    assert dataset.metadata["score_weight"].tolist() == ["1"] * 30


def test_several_parts_are_told_apart_by_name(challenge, truth, groupings, table, write, tmp_path):
    test = "ISIC2018_Task3_Test_GroundTruth.csv"
    both = challenge | {test: table(truth[:1] + truth[-8:])}
    root = write(both)
    message = r"several tables of ground truth: .*Test_.*, .*; name the one to use with truth="
    with pytest.raises(ValueError, match=message):
        load(root)
    assert len(load(root, truth=test)) == 8
    assert len(load(root, truth=TRUTH)) == len(load(root, truth=PurePosixPath(TRUTH).name)) == 30
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes(table(truth[:1] + truth[-3:]))
    assert len(load(root, truth=elsewhere)) == 3
    other = write(both | {"more.csv": table(groupings[:1] + groupings[:0:-1])}, "more")
    with pytest.raises(ValueError, match=r"several tables of metadata have these images: .*more.c"):
        load(other, truth=test)
    assert load(other, truth=test, metadata=GROUPINGS).groups == load(root, truth=test).groups


def test_metadata_of_other_images_are_left_alone(challenge, table, write):
    more = {"Test_Metadata.csv": table([["image", "lesion_id"], ["ISIC_1", "a"]])}
    assert load(write(challenge | more)).groups == load(write(challenge, "plain")).groups


def test_limit(challenge, write):
    root = write(challenge)
    some = load(root, limit=14)
    assert some.counts.tolist() == [2] * 7
    whole = load(root)
    group = dict(zip(whole.identifiers, whole.groups, strict=True))
    assert [group[name] for name in some.identifiers] == list(some.groups)


def test_cache(challenge, write, tmp_path, monkeypatch):
    root = write(challenge)
    first = load(root, cache=tmp_path / "kept")
    monkeypatch.setattr("classify.data.decode.Decoder.decode", None)
    assert load(root, cache=tmp_path / "kept").fingerprint == first.fingerprint


def changed(truth, row, cells):
    rows = [list(line) for line in truth]
    rows[row][1:] = cells
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: changed(changed(t, 2, "1100000"), 5, "0000000"),
            r"2 rows that are not one-hot: ISIC_\d+ \([01 ]+\), ISIC_\d+ \(0 0 0 0 0 0 0\); a row",
        ),
        (lambda t: changed(t, 3, ["0.5", "0.5", *"00000"]), r"not one-hot: ISIC_\d+ \(.*0.5"),
        (lambda t: changed(t, 3, ["nan", "1", *"00000"]), "1 rows that are not one-hot"),
        (lambda t: changed(t, 3, ["2", "-1", *"00000"]), "1 rows that are not one-hot"),
        (lambda t: changed(t, 3, ["yes", *"000000"]), "label that is not a number: .*'yes'"),
        (lambda t: [*t, t[4]], r"several rows for one image: ISIC_\d+$"),
        (
            lambda t: [row[:-1] for row in t],
            r"class columns AKIEC, BCC, BKL, DF, MEL, NV; expected",
        ),
        (
            lambda t: [["image", *OF_2018[:-1], "UNK"], *t[1:]],
            "class columns .*, UNK; expected MEL",
        ),
        (lambda t: t[:1], "is empty: it has a header but no rows"),
        (lambda t: [*t, ["ISIC_1", "1"]], "rows of another length than its header.*: line 32"),
        (lambda t: [*t, ["", *"1000000"]], "without image: line 32"),
    ],
)
def test_bad_truth(challenge, truth, table, write, change, message):
    with pytest.raises(ValueError, match=message):
        load(write(challenge | {TRUTH: table(change(truth))}))


def test_no_truth(challenge, write):
    del challenge[TRUTH]
    with pytest.raises(
        ValueError, match=r"has no ground truth: expected a .csv with the columns i"
    ):
        load(write(challenge))
    with pytest.raises(FileNotFoundError, match=r"ground truth no.csv is neither a file below"):
        load(write(challenge), truth="no.csv")
    with pytest.raises(ValueError, match="lacks the columns image; it has a, b"):
        load(write(challenge | {"other.csv": b"a,b\n1,2\n"}), truth="other.csv")


def test_metadata_with_gaps(challenge, groupings, table, write):
    with pytest.raises(
        ValueError,
        match=r"Groupings.csv has no row for 2 of 30 images: .*; give a table .*metadata=",
    ):
        load(write(challenge | {GROUPINGS: table(groupings[:-2])}))
    with pytest.raises(
        ValueError, match=r"Groupings.csv has several rows for one image: ISIC_\d+$"
    ):
        load(write(challenge | {GROUPINGS: table([*groupings, groupings[3]])}))


def test_rows_without_a_picture_are_all_named(challenge, write, monkeypatch):
    monkeypatch.setattr("classify.data.decode.Decoder.decode", None)
    gone = [path for path in challenge if path.endswith(".jpg")][:2]
    for path in gone:
        del challenge[path]
    with pytest.raises(ValueError, match="2 of 30 rows of the ground truth have no picture") as e:
        load(write(challenge))
    assert all(PurePosixPath(path).stem in str(e.value) for path in gone)


def test_unreadable_pictures_are_all_named(challenge, write):
    bad = [path for path in challenge if path.endswith(".jpg")][3:12]
    for path in bad:
        challenge[path] = challenge[path][:100]
    with pytest.raises(ValueError, match="9 of 30 images cannot be used") as caught:
        load(write(challenge))
    assert all(f"{path} (" in str(caught.value) for path in bad)


def test_two_columns_of_one_name_are_refused(challenge, truth, groupings, table, write):
    twice = [[*row, row[1]] for row in groupings]
    with pytest.raises(ValueError, match=r"Groupings.csv has several columns .* name lesion_id"):
        load(write(challenge | {GROUPINGS: table(twice)}, "metadata"))
    twice = [[*row, row[2]] for row in truth]
    with pytest.raises(ValueError, match=r"GroundTruth.csv has several columns of the name NV"):
        load(write(challenge | {TRUTH: table(twice)}, "truth"))
