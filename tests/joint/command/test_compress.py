import json

from commands import run
from PIL import Image

import compress
import joint
from joint.picture.file import read_picture


def test_the_best_quality_within_a_rate(coder, pictures, tmp_path, capsys):
    codec = joint.load_codec(coder)
    picture, file = pictures / "a.png", tmp_path / "a.l2l"
    image = read_picture(picture)
    sizes = []
    for codec.quality in (1, 2):
        sizes += [len(file) for file in codec.compress(image)]
    allowed = 8 * sum(sizes) / 2 / (33 * 20)
    best = compress.quality_for(codec, image, allowed)
    assert 1 < best < 2
    given = ("compress", picture, file, "--codec", coder)
    status, said, err = run(capsys, *given, "--bpp", allowed, "--json")
    assert status == 0, err
    told = json.loads(said)
    assert told.pop("quality") == best
    assert told["bpp"] <= allowed
    codec.quality = best
    assert file.read_bytes() == codec.compress(image)[0]
    assert json.loads(run(capsys, *given, "--quality", best, "--json")[1]) == told
    said = run(capsys, *given, "--bpp", allowed)[1].splitlines()
    assert said[0].startswith(f"{file}: {told['size']} bytes")
    assert said[1] == f"quality {best:.12g}, the best within {allowed:g} bits/pixel"

    status, said, err = run(
        capsys, "compress", pictures, tmp_path / "coded", "--codec", coder, "--bpp", allowed,
        "--bpp-pictures", "2", "--json",
    )  # fmt: skip
    assert status == 0, err
    told = json.loads(said)
    assert (told["found"]["pictures"], told["found"]["of"]) == (2, 3)
    assert told["found"]["quality"] == told["quality"]
    status, _, err = run(capsys, *given, "--bpp", allowed, "--quality", "1")
    assert (status, err) == (
        2,
        "lens2label: give --quality, or --bpp to have it found, not both\n",
    )


def test_options_may_stand_anywhere(coder, pictures, tmp_path, capsys):
    one, other, file = pictures / "a.png", pictures / "b.bmp", tmp_path / "a.l2l"
    assert run(capsys, "compress", one, "--codec", coder, file)[0] == 0
    assert run(capsys, "compress", "--codec", coder, one, file)[0] == 0
    assert file.is_file()
    assert run(capsys, "compress", one, other, tmp_path / "x", "--codec", coder)[0] == 0
    assert run(capsys, "compress", "--codec", coder, one, other, tmp_path / "y")[0] == 0
    for name in ("x", "y"):
        assert {path.name for path in (tmp_path / name).iterdir()} == {"a.l2l", "b.l2l"}


def test_a_target_that_cannot_be_is_refused_before_the_codec_is_loaded(
    pictures, coder, capsys, monkeypatch
):
    monkeypatch.setattr("joint.command.codec_files.load_codec", None)
    picture = pictures / "a.png"
    status, _, err = run(capsys, "compress", picture, picture, "--codec", coder, "--bpp", "1")
    assert status == 1
    assert "a.png is the source file itself: choose another target" in err
    # Two pictures and no target, as of a pattern: the second is nobody's target.
    other = pictures / "b.bmp"
    before = other.read_bytes()
    status, _, err = run(capsys, "compress", picture, other, "--codec", coder)
    assert status == 1
    assert "b.bmp is an existing picture: name the file to write, such as one.l2l" in err
    status, said, again = run(
        capsys, "compress", picture, other, "--codec", coder, "--skip-existing"
    )
    assert (status, said, again) == (1, "", err)
    assert other.read_bytes() == before


def test_a_standard_codec_has_its_qualities(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = read_picture(pictures / "a.png")
    given = ("compress", pictures / "a.png", "a.l2l", "--codec", "jpeg")
    assert run(capsys, *given, "--quality", "50")[0] == 0
    assert (tmp_path / "a.l2l").read_bytes() == compress.JPEG(50).compress(picture)[0]
    told = json.loads(run(capsys, *given, "--bpp", "9", "--json")[1])
    assert told["quality"] == compress.quality_for(compress.JPEG(), picture, 9)
    assert "has no choice of qualities" in run(capsys, *given[:-1], "png", "--bpp", "9")[2]
    with Image.open(pictures / "a.png") as opened:
        opened.convert("L").save(pictures / "grey.png")
    given_grey = ("compress", pictures / "grey.png", *given[2:])
    grey = read_picture(pictures / "grey.png", channels=1)
    told = json.loads(run(capsys, *given_grey, "--bpp", "6", "--json")[1])
    assert told["quality"] == compress.quality_for(compress.JPEG(), grey, 6)
    expected = compress.JPEG(int(told["quality"])).compress(grey)[0]
    assert (tmp_path / "a.l2l").read_bytes() == expected
    # What is neither a standard codec nor a folder is no codec.
    said = run(capsys, *given[:-1], "jpg")[2]
    assert "cannot read jpg: it is no run folder" in said
    assert "nor is it a standard codec, which are jpeg, webp, " in said
