import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import classify
import joint
from joint.config.faults import models_in
from joint.config.scenes import DataConfig, read_like


@pytest.fixture
def pictures(tmp_path):
    """Six pictures of 40 pixels in a folder, and beside it the table of their labels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["image_name,patient_id,target"]
    for number in range(6):
        codes = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(codes).save(folder / f"p{number}.png")
        rows.append(f"p{number},IP_{number // 2},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return folder


def test_a_table_of_labels_is_recognised(pictures, tmp_path):
    table = tmp_path / "labels.csv"
    found = joint.data_config(table, image_size=32)
    assert found == joint.ImageTableConfig(table=table, image_size=32)
    with pytest.raises(joint.ConfigError, match=r"nothing at .*none\.csv; give .* 'phantom'$"):
        joint.data_config(tmp_path / "none.csv")
    with pytest.raises(joint.ConfigError, match=r"none.csv; .* a table inside a zip, .*--config\)"):
        joint.data_config("none.csv")
    # A folder of pictures alone says what is missing; with their table in it, it is whole.
    with pytest.raises(
        joint.ConfigError, match=r"no table of .*--data labels.csv --data.root .*pic"
    ):
        joint.data_config(pictures)
    inside = pictures / "labels.tsv"
    inside.write_text(table.read_text().replace(",", "\t"))
    whole = joint.data_config(pictures, image_size=16)
    assert whole == joint.ImageTableConfig(table=inside, root=pictures, image_size=16)
    # Pictures in a folder of their own, the table above it.
    assert joint.data_config(tmp_path) == joint.ImageTableConfig(table=table, root=tmp_path)
    (pictures / "more.csv").touch()
    with pytest.raises(joint.ConfigError, match="has pictures and several tables: give the table"):
        joint.data_config(pictures)
    (pictures / "HAM10000_metadata.csv").touch()
    assert joint.data_config(pictures).kind == "ham10000"


def test_ham10000_under_another_name_is_a_table(pictures):
    rows = ["lesion_id,image_id,dx", *(f"L{n // 2},p{n},{('mel', 'nv')[n % 2]}" for n in range(6))]
    (pictures / "metadata.csv").write_text("\n".join(rows))
    config = joint.data_config(pictures, image_size=16)
    assert config.kind == "table"
    scenes = joint.build_data(config.model_copy(update={"label": "dx"}))
    assert scenes.groups == ("L0", "L0", "L1", "L1", "L2", "L2")
    assert [scenes.classes[label] for label in scenes.labels] == ["mel", "nv"] * 3
    with pytest.raises(ValueError, match="has no metadata: expected HAM10000_metadata"):
        classify.HAM10000(pictures, image_size=16, cache=False)


def test_a_folder_without_pictures_is_of_no_table(tmp_path):
    (tmp_path / "unpacked" / "part_1").mkdir(parents=True)
    duplicates = tmp_path / "unpacked" / "cross_lesion_duplicates.csv"
    duplicates.touch()
    assert joint.data_config(tmp_path / "unpacked").duplicates == duplicates
    (tmp_path / "dataverse_files.zip").touch()
    (tmp_path / "cross_lesion_duplicates.csv").touch()
    assert joint.data_config(tmp_path).kind == "ham10000"
    (tmp_path / "other.csv").touch()
    assert joint.data_config(tmp_path).kind == "ham10000"


def _written(folder, paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
        if path.endswith("png"):
            Image.new("L", (9, 9)).save(folder / path)
    return folder


@pytest.mark.parametrize("beside", ["README.md", "notes.txt", "dataset.json", "Thumbs.db", "a.PDF"])
def test_a_file_beside_class_folders_is_left_alone(tmp_path, beside):
    root = _written(tmp_path / "pets", ["cat/a.png", "dog/b.png", beside])
    assert joint.data_config(root, image_size=16) == joint.ClassFolders(root=root, image_size=16)
    # A zip of what is in the folder, and one of the folder.
    for name, top, inside in (("flat", root, "."), ("wrapped", tmp_path, "pets")):
        packed = Path(shutil.make_archive(str(tmp_path / name), "zip", top, inside))
        config = joint.data_config(packed, image_size=16)
        assert config == joint.ClassFolders(root=packed, image_size=16)
        assert joint.build_data(config.model_copy(update={"channels": 1})).classes == ("cat", "dog")


def test_ham10000_in_a_folder_beside_a_file_is_no_class(tmp_path):
    root = _written(tmp_path / "set", ["data/HAM10000_metadata.csv", "data/a.png", "README.md"])
    assert joint.data_config(root).kind == "ham10000"
    root = _written(tmp_path / "other", ["nv/ham10000_1.png", "mel/ham10000_2.png", "README.md"])
    assert joint.data_config(root).kind == "folders"


@pytest.mark.parametrize(
    "other",
    ["labels.csv", "part.zip", "more/labels.tsv", "HAM10000_metadata", "HAM10000_images_1/c.png"],
)
def test_what_else_is_in_a_zip_makes_it_no_class_folders(tmp_path, other):
    root = _written(tmp_path / "pets", ["cat/a.png", "dog/b.png", other])
    packed = shutil.make_archive(str(tmp_path / "some"), "zip", root)
    assert joint.data_config(packed).kind == "ham10000"


def test_what_is_not_ham10000_says_what_else_it_may_be(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match=r"found x.txt\. Other data sets .*ImageFolder"):
        joint.build_data(joint.data_config(tmp_path))


def test_every_option_of_a_table_reaches_its_loader(monkeypatch, tmp_path):
    given = {
        "table": tmp_path / "t.csv",
        "root": tmp_path / "r",
        "image": "i",
        "label": "l",
        "group": "g",
        "mask": "m",
        "classes": ("b", "a"),
        "image_size": 16,
        "geometry": "squeeze",
        "bit_depth": 16,
        "white_level": 4095,
        "channels": 1,
        "encoding": "linear",
        "limit": 9,
    }
    config = joint.ImageTableConfig(**given)
    assert set(given) | {"kind"} == set(joint.ImageTableConfig.model_fields)
    seen = {}

    def loaded(table, root, **options):
        seen.update(options, table=table, root=root)

    monkeypatch.setattr(classify, "ImageTable", loaded)
    joint.build_data(config)
    assert seen == given | {"progress": False}


def test_a_saved_configuration_loads_the_same_scenes(pictures, tmp_path):
    data = joint.ImageTableConfig(
        table=tmp_path / "labels.csv", root=pictures, label="target", classes=("1", "0")
    ).model_copy(update={"image_size": 16})
    joint.save_config(joint.RunConfig(data=data), tmp_path)
    again = joint.load_config(tmp_path).data
    assert again == data
    scenes = joint.build_data(again)
    assert scenes.groups == ("IP_0", "IP_0", "IP_1", "IP_1", "IP_2", "IP_2")
    assert scenes.classes == ("1", "0")
    assert scenes.labels.tolist() == [1, 0] * 3
    direct = classify.ImageTable(
        tmp_path / "labels.csv", pictures, label="target", classes="10", image_size=16
    )
    assert scenes.fingerprint == direct.fingerprint


def test_every_kind_of_scenes_has_a_size(tmp_path):
    kinds = [model for part in DataConfig.__args__ for model in models_in(part)]
    assert {kind.model_fields["kind"].default for kind in kinds} == {
        "phantom",
        "ham10000",
        "isic",
        "folders",
        "table",
        "medmnist",
        "file",
    }
    assert all(hasattr(kind, "image_size") or "image_size" in kind.model_fields for kind in kinds)


def test_scenes_are_read_as_others_where_both_kinds_say_how():
    run = joint.ImageTableConfig(
        table="a.csv", image_size=32, geometry="squeeze", bit_depth=16, white_level=4095,
        channels=1, encoding="linear", limit=7,
    )  # fmt: skip
    folders = joint.ClassFolders(root="a", image_size=64)
    assert read_like(folders, run) == joint.ClassFolders(
        root="a", image_size=64, geometry="squeeze", bit_depth=16, white_level=4095,
        channels=1, encoding="linear",
    )  # fmt: skip
    ham10000 = joint.HAM10000Config(root="a")
    assert read_like(ham10000, run) == joint.HAM10000Config(root="a", geometry="squeeze")
    grey = joint.MedMNISTConfig(path="a.npz", encoding="linear")
    assert read_like(folders, grey).encoding == "linear"
    assert read_like(joint.MedMNISTConfig(path="b.npz"), grey).encoding == "linear"
    drawn = joint.PhantomConfig(bit_depth=16, encoding="linear", count=7)
    assert read_like(joint.PhantomConfig(), drawn).bit_depth == 16
    # What is drawn says nothing of files, nor files of an array that has its own codes.
    assert read_like(folders, drawn) == folders
    assert read_like(joint.MedMNISTConfig(path="a.npz"), run).encoding is None


def test_a_suffix_in_capital_letters_is_one(tmp_path):
    for suffix in ("npz", "NPZ"):
        path = tmp_path / f"scenes.{suffix}"
        with path.open("wb") as file:
            np.savez(file, images=np.zeros((2, 3, 8, 8), np.uint8))
        assert joint.data_config(path) == joint.SceneFileConfig(path=path)
