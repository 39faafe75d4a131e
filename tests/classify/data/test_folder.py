import numpy as np
import pytest
import torch

from classify.data import ImageFolder


def load(root, **options):
    return ImageFolder(root, **{"image_size": 8, "cache": False, "progress": False} | options)


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


def test_white_levels_have_entries_of_their_own_in_a_cache(encoded, write):
    root = write({"cat/a.png": encoded(np.full((9, 9), 2000, np.uint16), "PNG")})
    for level, expected in ((4000, 128), (2000, 255), (4000, 128)):
        images = load(root, white_level=level, cache=None).gather([0]).images
        assert images.unique().tolist() == [expected]


def test_one_class_can_be_loaded(pictures, write):
    cats = {path: content for path, content in pictures.items() if path.startswith("cat/")}
    assert load(write(cats)).counts.tolist() == [2]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat"], "classes must name each class folder .* once: it has cat, dog, got cat"),
        (["cat", "dog", "cow"], "it has cat, dog, got cat, dog, cow"),
        (["cat", "cat"], "got cat, cat"),
    ],
)
def test_classes_that_are_not_the_folders(pictures, write, classes, message):
    with pytest.raises(ValueError, match=message):
        load(write(pictures), classes=classes)


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
    with pytest.raises(ValueError, match=r"2 of 5 images .*: cat/a.png \(.*dog/a.bmp \("):
        load(write(broken))


def test_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        load(tmp_path / "nothing")
