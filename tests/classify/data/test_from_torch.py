import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageCms
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.transforms import v2

import classify
import joint

CODES = torch.randint(0, 256, (12, 3, 9, 7), generator=torch.Generator().manual_seed(0)).byte()
LABELS = torch.arange(12) % 3
_CLEAR = "2 of 2 images have transparent parts.* stored there: benign/a.png, malignant/a.png; if"


def _pairs(pictures, labels=LABELS):
    return list(zip(pictures, labels.tolist(), strict=True))


@pytest.mark.parametrize(
    "pictures",
    [
        list(CODES),
        [picture / 255 for picture in CODES],
        [picture.permute(1, 2, 0).numpy() for picture in CODES],
        [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in CODES],
    ],
    ids=["codes", "floats", "arrays", "PIL"],
)
def test_pictures_of_any_kind_are_the_codes_that_they_were(pictures):
    found = classify.from_torch(_pairs(pictures), progress=False)
    assert torch.equal(found.gather(range(12)).images, CODES)
    assert torch.equal(found.labels, LABELS)
    assert found.classes == ("0", "1", "2")
    assert found.groups == found.identifiers == tuple(map(str, range(12)))
    assert found.encoding == "srgb"


def test_grey_pictures_and_16_bits():
    grey = [Image.fromarray(picture[0].numpy()) for picture in CODES]
    found = classify.from_torch(_pairs(grey), encoding=None, progress=False)
    assert torch.equal(found.gather(range(12)).images, CODES[:, :1])
    light = torch.linspace(0, 1, 12 * 63).reshape(12, 9, 7)
    deep = classify.from_torch(_pairs(light), bit_depth=16, encoding="linear", progress=False)
    codes = deep.gather(range(12)).images.numpy()
    np.testing.assert_array_equal(codes[:, 0], np.rint(65535 * light.double().numpy()))
    assert (deep.bit_depth, deep.encoding) == (16, "linear")


def test_codes_of_16_bits_are_what_ImageFolder_says_of_them(tmp_path):
    ramp = np.linspace(0, 4095, 81).astype(np.uint16)
    codes = np.stack([np.roll(ramp, row) for row in range(12)]).reshape(12, 9, 9)
    for row, picture in enumerate(codes):
        path = tmp_path / ("benign", "malignant")[row % 2] / f"{row:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    options = {"image_size": 9, "bit_depth": 16, "channels": 1, "cache": False, "progress": False}
    said = "no code above 4095, and becomes nearly black: give "
    with pytest.warns(UserWarning, match=said):
        theirs = classify.ImageFolder(tmp_path, **options)
    with pytest.warns(UserWarning, match="no code above 4095, and becomes nearly black: scale "):
        found = classify.from_torch(_pairs(codes, LABELS % 2), progress=False)
    assert theirs.encoding is found.encoding is None
    # As it says: white is where ImageFolder has it with a white level.
    light = _pairs(torch.from_numpy(codes / 4095), LABELS % 2)
    found = classify.from_torch(light, bit_depth=16, progress=False)
    theirs = classify.ImageFolder(tmp_path, white_level=4095, **options)
    rows = [int(name[-6:-4]) for name in theirs.identifiers]
    assert torch.equal(found.gather(rows).images, theirs.gather(range(12)).images)


def test_a_folder_of_torchvision_is_one_line_away_from_a_split(tmp_path):
    for row, picture in enumerate(CODES):
        path = tmp_path / ("benign", "malignant")[row % 2] / f"{row:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    reading = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    theirs = torchvision.datasets.ImageFolder(str(tmp_path), transform=reading)
    ours = classify.from_torch(theirs, progress=False)
    assert ours.classes == ("benign", "malignant")
    assert ours.identifiers[:2] == ("benign/00.png", "benign/02.png")
    assert torch.equal(ours.gather(range(12)).images, torch.cat((CODES[::2], CODES[1::2])))
    part = classify.from_torch(Subset(theirs, [7, 1, 0]), progress=False)
    assert part.classes == ours.classes
    assert part.identifiers == ours.subset([7, 1, 0]).identifiers
    assert torch.equal(part.labels, ours.subset([7, 1, 0]).labels)
    parts = classify.split(ours, (0.5, 0.5))
    assert len(parts.train) + len(parts.test) == 12


def test_groups_and_names_are_those_that_are_given():
    theirs = TensorDataset(CODES / 255, LABELS, torch.zeros(12))  # what comes third is left alone
    found = classify.from_torch(
        theirs,
        ["a", "b", "c", "d"],
        groups=[row // 4 for row in range(12)],
        identifiers=[f"p{row}" for row in range(12)],
        progress=False,
    )
    assert found.groups == tuple("000011112222")
    assert found.identifiers[-1] == "p11"
    assert found.classes == ("a", "b", "c", "d")


class _Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(_pairs(CODES))


@pytest.mark.parametrize(
    ("dataset", "options", "error", "message"),
    [
        (_Stream(), {}, TypeError, "_Stream has none: make a list of its pairs"),
        ([], {}, ValueError, "the data set is empty: list has no items"),
        (list(CODES), {}, TypeError, "item 0 must begin with a picture and its label.* not Tensor"),
        ([(CODES[0],)], {}, TypeError, r"label, an integer, not tuple: wrap .* \(picture, label\)"),
        (
            [(CODES[0], 0.5)],
            {},
            TypeError,
            "label of item 0 must be an integer.* not float: convert",
        ),
        ([(CODES[0], True)], {}, TypeError, r"not bool: convert it .* such as int\(label\), if"),
        ([(CODES[0], np.float32(1))], {}, TypeError, r"not float32: .* int\(label\), if"),
        ([(CODES[0], torch.tensor(1.0))], {}, TypeError, r"not Tensor: .* int\(label\), if"),
        ([(CODES[0], "nv")], {}, TypeError, r"not str: .* classes\.index\(label\) of a name"),
        ([(CODES[0], torch.eye(2)[0])], {}, TypeError, r"not Tensor: .*label\.argmax\(\)"),
        (
            [(CODES[0], np.array([3]))],
            {},
            TypeError,
            r"not ndarray: .* int\(label\[0\]\) of one in",
        ),
        ([(CODES[0], -1)], {}, ValueError, "item 0 has the label -1, but .* from 0: leave out"),
        ([("a.png", 0)], {}, ValueError, "picture 0 must be a Tensor, an array .* not str"),
        (_pairs(CODES.long()), {}, ValueError, "floats in 0..1, or codes .* not torch.int64"),
        (_pairs(CODES / 127 - 1), {}, ValueError, "values from -1 to .*remove Normalize"),
        (_pairs(CODES / 255 * float("nan")), {}, ValueError, "from nan to nan.* check where they"),
        (_pairs(CODES.float()), {}, ValueError, "and light .*: divide codes of 8 bits by 255"),
        (_pairs(CODES.numpy()), {}, ValueError, r"not ndarray \[3, 9, 7\].* torch\.from_numpy"),
        (_pairs(CODES.permute(0, 2, 3, 1)), {}, ValueError, r"\[C, H, W\] as a Tensor.*9, 7, 3"),
        (_pairs(CODES[:, 0, 0]), {}, ValueError, r"not Tensor \[7\]"),
        (_pairs([*CODES[:11], CODES[0, :, 1:]]), {}, ValueError, r"picture 11 .*\[3, 8, 7\].*crop"),
        (_pairs([*CODES[:11], CODES[0, :1]]), {}, ValueError, r"11 .*\[1, 9, 7\].* to one mode"),
        (_pairs([*CODES[:11], CODES[0] / 255]), {"bit_depth": 16}, ValueError, "picture 11 is"),
        (_pairs(CODES), {"bit_depth": 12}, ValueError, "bit_depth must be 8 or 16, not 12"),
    ],
)
def test_what_cannot_be_read_is_refused(dataset, options, error, message):
    with pytest.raises(error, match=message):
        classify.from_torch(dataset, progress=False, **options)


@pytest.mark.parametrize(
    "use",
    [
        classify.split,
        classify.k_folds,
        classify.audit,
        lambda dataset: classify.save_scenes(dataset, "scenes.npz"),
        joint.kinds.check_dataset,
    ],
)
@pytest.mark.parametrize("wrap", [lambda data: data, DataLoader])
def test_what_needs_a_data_set_of_ours_says_how_to_make_one(use, wrap):
    given = wrap(TensorDataset(CODES / 255, LABELS))
    said = f"not {type(given).__name__}; convert .* classify.from_torch(dataset, groups=)"
    with pytest.raises(TypeError, match=re.escape(said).replace(r"\.\*", ".*")):
        use(given)


def test_labels_with_gaps_and_one_class_are_told_at_the_door():
    gaps = torch.tensor([0, 1, 4] * 4)
    with pytest.warns(UserWarning, match="the list has labels up to 4 and no picture of 2, 3, "):
        assert len(classify.from_torch(_pairs(CODES, gaps), progress=False).classes) == 5
    with pytest.warns(UserWarning, match="the list has pictures of one class only, 0"):
        classify.from_torch(_pairs(CODES, 0 * gaps), progress=False)
    # A test set may lack some of the classes that it is given.
    classify.from_torch(_pairs(CODES, gaps), classes=list("abcde"), progress=False)
    classify.from_torch(_pairs(CODES, 0 * gaps), classes=list("ab"), progress=False)


@pytest.mark.parametrize("mode", ["P", "PA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pictures_of_PIL_are_read_as_colours_in_any_mode(mode):
    colours = Image.new("RGB", (7, 9), (200, 100, 50))
    if mode == "LAB":  # which Pillow makes by way of profiles alone
        srgb, lab = map(ImageCms.createProfile, ("sRGB", "LAB"))
        picture = ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB")
    else:
        picture = (colours.quantize(2) if mode in ("P", "PA") else colours).convert(mode)
    found = classify.from_torch([(picture, 0), (picture, 1)], progress=False)
    codes = found.gather([0, 1]).images
    assert codes.shape == (2, 3, 9, 7)
    away = codes.int() - torch.tensor([200, 100, 50])[:, None, None]
    assert away.abs().max() <= 2  # of their own rounding


@pytest.mark.parametrize("alpha", [255, 254])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_channel_is_dropped_as_ImageFolder_does(mode, alpha, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    if mode == "P":
        picture = picture.quantize(4)
        picture.info["transparency"] = bytes([alpha])
    else:
        picture = picture.convert(mode)
        picture.putalpha(alpha)
    for name in ("benign", "malignant"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "a.png")
    folder = torchvision.datasets.ImageFolder(str(tmp_path), loader=Image.open)
    options = {"image_size": 8, "channels": 1 if mode == "LA" else 3, "cache": False}
    loaded = []
    for load in (
        lambda: classify.ImageFolder(tmp_path, progress=False, **options),
        lambda: classify.from_torch(folder, progress=False),
    ):
        with pytest.warns(UserWarning, match=_CLEAR) if alpha < 255 else nullcontext():
            loaded.append(load())
    theirs, found = loaded
    assert found.identifiers == theirs.identifiers
    assert torch.equal(found.gather([0, 1]).images, theirs.gather([0, 1]).images)


def test_classes_of_several_words_are_named_by_all():
    """As the ``ImageNet`` of torchvision has them."""

    class Words(list):
        classes = (("tench", "Tinca tinca"), ("goldfish",))

    found = classify.from_torch(Words(_pairs(CODES, LABELS % 2)), progress=False)
    assert found.classes == ("tench, Tinca tinca", "goldfish")
    assert len(found.fingerprint) == 64
