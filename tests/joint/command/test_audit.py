import json
import shutil

import numpy as np
import pytest
from commands import MISTAKE, OPTION, run
from PIL import Image

import classify
import joint
from joint.command.audit import AuditOptions, read_audit_options


def test_an_audit_fails_where_something_leaks(tmp_path, capsys):
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            noise = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    command = ["audit", "--data", tmp_path, "--image-size", "16"]
    status, out, _ = run(capsys, *command)
    assert status == 0, out
    assert "audit of 20 pictures" in out
    for number in range(10):
        original = (tmp_path / "cat" / f"{number}.png").read_bytes()
        (tmp_path / "cat" / f"copy{number}.png").write_bytes(original)
    status, out, _ = run(capsys, *command)
    assert status == 1
    assert "exact duplicates (equal pixels): 10 sets" in out
    status, out, _ = run(capsys, *command, "--json", "--split.folds", "4")
    assert status == 1
    assert {leak["kind"] for leak in json.loads(out)["leaks"]} == {"exact"}
    assert run(capsys, "audit", "--data", tmp_path / "nothing")[0] == MISTAKE


def test_the_audit_divides_as_training_does():
    assert AuditOptions().split == joint.SplitConfig()


def _folders(root, seed, count=8, size=(20, 24)):
    """Class folders of smooth pictures that are no squares."""
    draw = np.random.default_rng(seed)
    for name in ("fine", "pit"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
            coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(
                root / name / f"{seed}-{number}.png"
            )
    return root


@pytest.fixture
def sets(tmp_path):
    """A set, and another that has two of its pictures: one copied, one turned as a JPEG."""
    own, other = _folders(tmp_path / "own", 0), _folders(tmp_path / "other", 1)
    shutil.copy(own / "fine" / "0-3.png", other / "fine" / "copy.png")
    turned = Image.open(own / "pit" / "0-5.png").transpose(Image.Transpose.ROTATE_90)
    turned.save(other / "pit" / "turned.jpg", quality=90)
    return own, other


COPIES = ["fine/copy.png", "pit/turned.jpg"]


def test_an_audit_against_other_scenes(tmp_path, sets, capsys):
    own, other = sets
    names = tmp_path / "new" / "names.txt"
    command = ["audit", "--data", other, "--image-size", 16, "--against"]
    status, out, err = run(capsys, *command, own, "--leave-out", names)
    assert (status, err) == (1, "")
    assert "audit of 18 pictures against 16 others\n" in out
    assert "pictures to leave out: 2 of 18 (11.1%): fine/copy.png, pit/turned.jpg\n" in out
    assert f"wrote {names}" in out
    assert names.read_text().splitlines() == COPIES
    status, out, _ = run(capsys, *command, own, "--json", "--leave-out", names)
    found = json.loads(out)
    assert status == 1
    assert found["touched"] == COPIES
    assert [same["reference_images"] for same in found["exact"]] == [["fine/0-3.png"]]
    assert [(pair["first"], pair["second"]) for pair in found["near"]] == [
        ("pit/turned.jpg", "pit/0-5.png")
    ]
    stranger = _folders(tmp_path / "stranger", 2)
    status, out, _ = run(capsys, *command, stranger, "--leave-out", names)
    assert status == 0
    assert "pictures to leave out: none\n" in out
    assert names.read_text() == ""


def test_the_other_scenes_have_options_and_are_read_like_the_first(sets):
    own, other = sets
    given = ["--data", str(other), "--data.geometry", "squeeze", "--data.image-size", "24"]
    both = [*given, "--against", str(own)]
    read = read_audit_options(both)
    assert read.others.against.root == own
    assert (read.others.against.geometry, read.others.against.image_size) == ("squeeze", 24)
    read = read_audit_options([*both, "--against.geometry", "crop", "--against.image-size=32"])
    assert (read.others.against.geometry, read.others.against.image_size) == ("crop", 32)
    assert read.scenes.data == read_audit_options(given).scenes.data
    assert read_audit_options(given).others is None


def test_an_audit_against_what_a_run_has_learned_from(tmp_path, sets, capsys):
    own, other = sets
    folder = tmp_path / "run"
    blind = ["--front-end", "none", "--sensor", "none", "--codec", "none", "--training.epochs", "1"]
    squeezed = ["--data.image-size", "16", "--data.geometry", "squeeze"]
    status, _, err = run(
        capsys, "train", "--output", folder, "--data", own, *squeezed, *blind, "--quiet"
    )
    assert status == 0, err
    _, _, parts = joint.load_run(folder)
    seen = [*parts.train.identifiers, *parts.validation.identifiers]
    known = [new for new, old in zip(COPIES, ("fine/0-3.png", "pit/0-5.png"), strict=True)
             if old in seen]  # fmt: skip
    for name in (parts.validation.identifiers[0], parts.test.identifiers[0]):
        shutil.copy(own / name, other / name)
    command = ["audit", "--data", other, "--against", folder]
    status, out, _ = run(capsys, *command, "--json")
    found = json.loads(out)
    assert status == 1
    assert found["reference_images"] == len(seen) < 16
    assert sorted(found["touched"]) == sorted([*known, parts.validation.identifiers[0]])
    options = read_audit_options([str(word) for word in command[1:]])
    assert options.others.against == joint.load_config(folder).data
    assert (options.scenes.data.geometry, options.scenes.data.image_size) == ("squeeze", 16)
    # Of another size, equal pictures are near ones.
    status, out, _ = run(capsys, *command, "--image-size", "20", "--json")
    assert sorted(json.loads(out)["touched"]) == sorted(found["touched"])
    moved = shutil.move(own, tmp_path / "moved")
    assert run(capsys, *command)[0] == MISTAKE
    status, out, _ = run(capsys, *command, "--json", "--against.root", moved)
    assert json.loads(out)["touched"] == found["touched"]
    # Of other scenes than it learned from, nothing can be said.
    stranger = _folders(tmp_path / "stranger", 2)
    status, _, err = run(capsys, *command, "--against.root", stranger)
    assert status == MISTAKE
    assert "no longer those that it was trained on" in err
    (folder / "config.json").unlink()
    status, _, err = run(capsys, *command)
    assert status == MISTAKE
    assert str(folder) in err


def test_scenes_are_of_the_size_that_a_run_was_trained_on(tmp_path, sets, capsys):
    """Files of arrays have one, and the configuration does not say it."""
    path, folder = tmp_path / "scenes.npz", tmp_path / "run"
    classify.save_scenes(classify.LesionPhantom(40, 24, progress=False), path)
    blind = ["--front-end", "none", "--sensor", "none", "--codec", "none", "--quiet"]
    once = ["--training.epochs", "1", "--training.monitor", "loss"]
    status, _, err = run(capsys, "train", "--output", folder, "--data", path, *blind, *once)
    assert status == 0, err
    options = read_audit_options(["--data", str(sets[1]), "--against", str(folder)])
    assert options.scenes.data.image_size == 24


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--leave-out", "names.txt"], "--leave-out needs --against, the scenes or the run"),
        (["--against", "phantom", "--split.by", "image"], "leave the --split options out"),
        (["--against", "phantom", "--leave-out", "."], "--leave-out: . is a folder, name a file"),
        (["--against", "phantom", "--against.count", "0"], "--against.count must be greater than"),
        (["--against", "nothing"], "there is nothing at nothing; give a folder, a zip, or 'phan"),
    ],
)
def test_what_no_audit_against_others_can_be_is_refused(given, told, capsys):
    status, _, err = run(capsys, "audit", *given)
    assert status == (MISTAKE if given[-1] == "nothing" else OPTION)
    assert told in err
