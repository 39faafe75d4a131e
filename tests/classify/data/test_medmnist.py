import numpy as np
import pytest
import torch
from PIL import Image

from classify.data import LESION_CLASSES, LesionDataset, MedMNIST

RNG = np.random.default_rng(7)
SIZES = {"train": 12, "val": 5, "test": 7}


def arrays(classes=7, channels=(3,), **changes):
    made = {}
    for part, count in SIZES.items():
        made[f"{part}_images"] = RNG.integers(0, 256, (count, 28, 28, *channels), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    return {name: array for name, array in (made | changes).items() if array is not None}


@pytest.fixture
def save(tmp_path):
    def save(given):
        np.savez(tmp_path / "dermamnist.npz", **given)
        return tmp_path / "dermamnist.npz"

    return save


def test_all_parts_in_order(save):
    given = arrays()
    dataset = MedMNIST(save(given))
    assert dataset.classes == LESION_CLASSES
    assert (len(dataset), dataset.image_size, dataset.channels) == (24, (28, 28), 3)
    expected = np.concatenate([given[f"{part}_images"] for part in SIZES]).transpose(0, 3, 1, 2)
    assert np.array_equal(dataset.gather(range(24)).images, expected)
    labels = np.concatenate([given[f"{part}_labels"] for part in SIZES])[:, 0]
    assert dataset.labels.tolist() == labels.tolist()
    assert dataset.metadata["part"].tolist() == ["train"] * 12 + ["val"] * 5 + ["test"] * 7
    assert dataset.identifiers[12] == dataset.groups[12] == "val/0"


@pytest.mark.parametrize("part", SIZES)
def test_one_part_keeps_all_classes(save, part):
    given = arrays()
    dataset = MedMNIST(save(given), part=part)
    assert len(dataset) == SIZES[part]
    assert len(dataset.classes) == 7
    assert np.array_equal(dataset[-1].image.permute(1, 2, 0), given[f"{part}_images"][-1])
    assert set(dataset.metadata["part"]) == {part}


def test_grey_pictures_and_other_classes(save):
    given = arrays(classes=3, channels=())
    given["val_labels"] = given["val_labels"][:, 0]  # [N] is fine too
    dataset = MedMNIST(save(given))
    assert dataset.channels == 1
    assert np.array_equal(dataset[0].image[0], given["train_images"][0])
    assert dataset.classes == ("0", "1", "2")
    assert MedMNIST(save(given), classes=("a", "b", "c")).classes == ("a", "b", "c")


@pytest.mark.parametrize("channels", [(), (3,)])
def test_resizing_is_pillows(save, channels):
    given = arrays(channels=channels)
    dataset = MedMNIST(save(given), part="test", image_size=16)
    picture = Image.fromarray(given["test_images"][3]).resize((16, 16), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(picture).reshape(16, 16, -1)).permute(2, 0, 1)
    assert torch.equal(dataset[3].image, expected)
    assert dataset.gather([0, 1]).images.is_contiguous()
    same = MedMNIST(save(given), image_size=28)
    assert same.fingerprint == MedMNIST(save(given)).fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None, "test_labels": None}, "lacks the arrays val_images, test_labels"),
        (
            {"train_labels": np.zeros((12, 14), np.uint8)},
            r"multi-label \(train_labels has 14 columns\); only files with one label",
        ),
        (
            {"test_images": np.zeros((7, 28, 28, 28), np.uint8)},
            r"test_images must be uint8 .* got uint8 \[7, 28, 28, 28\]; volumes cannot be used",
        ),
        ({"val_images": np.zeros((5, 28, 28))}, "val_images must be uint8 .* got float64"),
        (
            {"val_labels": np.zeros((4, 1), int)},
            r"val_labels must be 5 integers, got int64 \[4, 1\]",
        ),
        ({"val_labels": np.zeros((5, 1))}, "val_labels must be 5 integers, got float64"),
        (
            {"train_images": np.array([None] * 12)},
            "not a MedMNIST .npz: Object arrays cannot be loaded",
        ),
        ({"val_labels": np.array([[-1]] * 5)}, r"labels must lie in 0..6 .* is -1"),
    ],
)
def test_files_that_cannot_be_used(save, changes, message):
    with pytest.raises(ValueError, match=message):
        MedMNIST(save(arrays(**changes)))


def test_no_npz_at_all(tmp_path):
    path = tmp_path / "dermamnist.npz"
    with pytest.raises(FileNotFoundError, match=r"dermamnist.npz does not exist or is not a file"):
        MedMNIST(path)
    for content in (b"", b"text", b"PK\x03\x04 half a zip"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"dermamnist.npz is not a MedMNIST .npz: "):
            MedMNIST(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"is not a MedMNIST .npz: "):
        MedMNIST(path)


def test_bad_options(save):
    path = save(arrays())
    with pytest.raises(ValueError, match="part must be one of train, val, test, all, got 'valid'"):
        MedMNIST(path, part="valid")  # pyright: ignore
    with pytest.raises(ValueError, match="image_size must be an integer from 8 to 1024"):
        MedMNIST(path, image_size=4)
    with pytest.raises(ValueError, match=r"labels must lie in 0..1"):
        MedMNIST(path, classes=("a", "b"))


def test_colours_are_srgb_and_of_grey_pictures_nobody_knows(save):
    for channels, known in (((3,), "srgb"), ((), None)):
        path = save(arrays(channels=channels))
        assert MedMNIST(path).encoding == known
        assert MedMNIST(path, encoding="linear").encoding == "linear"
        plain = MedMNIST(path)
        undeclared = LesionDataset(
            images=plain.gather(range(24)).images,
            labels=plain.labels,
            groups=plain.groups,
            identifiers=plain.identifiers,
        )
        assert MedMNIST(path, encoding="linear").fingerprint == undeclared.fingerprint
        assert plain.fingerprint == undeclared.fingerprint
    with pytest.raises(ValueError, match="encoding must be 'srgb', 'linear' or None, got 'raw'"):
        MedMNIST(path, encoding="raw")


def test_labels_with_gaps_are_told_at_the_door(save):
    given = arrays(classes=3)
    gaps = {name: 2 * array for name, array in given.items() if name.endswith("labels")}
    with pytest.warns(UserWarning, match=r"npz has labels up to 4 and no picture of 1, 3, "):
        MedMNIST(save(given | gaps))
    MedMNIST(save(given | gaps), classes=list("abcde"))


def test_a_part_without_pictures_is_told_by_its_name(save):
    given = arrays()
    path = save(given | {name: given[name][:0] for name in ("val_images", "val_labels")})
    with pytest.raises(ValueError, match=r"no picture is in val; its parts .* are train, test"):
        MedMNIST(path, part="val")
    assert set(MedMNIST(path).metadata["part"]) == {"train", "test"}
