import json
import shutil

import numpy as np
import pytest
from PIL import Image

import compress
import joint
from joint.cli import main
from joint.picture.file import read_picture


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "run"
    arguments = [
        "train", "--output", folder, "--quiet", "--codec", "factorized", "--classifier", "none",
        "--front-end", "none", "--sensor", "none", "--system.codec.levels", "3",
        "--data.count", "60", "--data.image-size", "32", "--training.epochs", "1",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.bmp", "more/c.png"):
        noise = rng.integers(0, 60, (33, 20, 3))
        Image.fromarray((np.indices(noise.shape).sum(0) + noise).astype(np.uint8)).save(
            folder / name
        )
    (folder / "labels.csv").write_text("")
    return folder


def _run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_folder_there_and_back(run, pictures, tmp_path, capsys):
    coded, out = tmp_path / "coded", tmp_path / "out"
    status, said, err = _run(capsys, "compress", pictures, coded, "--codec", run)
    assert (status, err) == (0, "")
    codec = joint.load_codec(run)
    files = [
        codec.compress(read_picture(pictures / n))[0] for n in ("a.png", "b.bmp", "more/c.png")
    ]
    assert [(coded / f"{n}.l2l").read_bytes() for n in ("a", "b", "more/c")] == files
    size = sum(map(len, files))
    assert said.startswith(
        f"{coded}: 3 pictures, {size} bytes, {8 * size / (3 * 33 * 20):.4f} bits/pixel, PSNR "
    )
    assert said.endswith("dB on average\n1 file skipped\n")
    status, said, err = _run(capsys, "decompress", coded, out, "--codec", run)
    assert (status, said, err) == (0, f"{out}: 3 pictures\n", "")
    expected = codec.decompress([files[2]])
    assert ((read_picture(out / "more" / "c.png") - expected).abs() < 0.51 / 255).all()
    status, _, err = _run(capsys, "decompress", coded, out, "--codec", run)
    assert status == 1
    assert err.startswith("lens2label: 3 files would be replaced")
    assert _run(capsys, "decompress", coded, out, "--codec", run, "--overwrite")[0] == 0


def test_what_failed_is_named_at_the_end_and_in_the_status(run, pictures, tmp_path, capsys):
    (pictures / "0.png").write_text("words")
    given = ("compress", pictures / "0.png", pictures / "a.png", tmp_path / "coded")
    status, said, err = _run(capsys, *given, "--codec", run)
    assert status == 1
    assert said.startswith(f"{tmp_path / 'coded'}: 1 picture, ")
    assert err.startswith(
        "lens2label: 1 of 2 files could not be used:\n"
        f"  {pictures / '0.png'} is not a picture that can be read"
    )
    status, said, err = _run(capsys, *given, "--codec", run, "--overwrite", "--json")
    assert status == 1
    told = json.loads(said)
    assert [file["path"] for file in told["failed"]] == [str(pictures / "0.png")]
    assert told["pictures"][0]["path"] == str(tmp_path / "coded" / "a.l2l")
    (tmp_path / "coded" / "a.l2l").write_bytes(b"")
    status, said, err = _run(
        capsys, "decompress", tmp_path / "coded", tmp_path / "out", "--codec", run, "--json"
    )
    assert status == 1
    assert json.loads(said)["pictures"] == []
    assert f"\n  {tmp_path / 'coded' / 'a.l2l'}: " in err


def test_the_best_quality_within_a_rate(run, pictures, tmp_path, capsys):
    codec = joint.load_codec(run)
    picture, file = pictures / "a.png", tmp_path / "a.l2l"
    image = read_picture(picture)
    sizes = []
    for codec.quality in (1, 2):
        sizes += [len(file) for file in codec.compress(image)]
    allowed = 8 * sum(sizes) / 2 / (33 * 20)
    best = compress.quality_for(codec, image, allowed)
    assert 1 < best < 2
    given = ("compress", picture, file, "--codec", run)
    status, said, err = _run(capsys, *given, "--bpp", allowed, "--json")
    assert status == 0, err
    told = json.loads(said)
    assert told.pop("quality") == best
    assert told["bpp"] <= allowed
    codec.quality = best
    assert file.read_bytes() == codec.compress(image)[0]
    assert json.loads(_run(capsys, *given, "--quality", best, "--json")[1]) == told
    said = _run(capsys, *given, "--bpp", allowed)[1].splitlines()
    assert said[0].startswith(f"{file}: {told['size']} bytes")
    assert said[1] == f"quality {best:.12g}, the best within {allowed:g} bits/pixel"

    status, said, err = _run(
        capsys, "compress", pictures, tmp_path / "coded", "--codec", run, "--bpp", allowed,
        "--bpp-pictures", "2", "--json",
    )  # fmt: skip
    assert status == 0, err
    told = json.loads(said)
    assert (told["found"]["pictures"], told["found"]["of"]) == (2, 3)
    assert told["found"]["quality"] == told["quality"]
    status, _, err = _run(capsys, *given, "--bpp", allowed, "--quality", "1")
    assert (status, err) == (
        2,
        "lens2label: give --quality, or --bpp to have it found, not both\n",
    )


def test_options_may_stand_anywhere(run, pictures, tmp_path, capsys):
    one, other, file = pictures / "a.png", pictures / "b.bmp", tmp_path / "a.l2l"
    assert _run(capsys, "compress", one, "--codec", run, file)[0] == 0
    assert _run(capsys, "compress", "--codec", run, one, file)[0] == 0
    assert file.is_file()
    assert _run(capsys, "compress", one, other, tmp_path / "x", "--codec", run)[0] == 0
    assert _run(capsys, "compress", "--codec", run, one, other, tmp_path / "y")[0] == 0
    for name in ("x", "y"):
        assert {path.name for path in (tmp_path / name).iterdir()} == {"a.l2l", "b.l2l"}


def test_a_target_that_cannot_be_is_refused_before_the_codec_is_loaded(
    pictures, run, capsys, monkeypatch
):
    monkeypatch.setattr("joint.picture.command.load_codec", None)
    picture = pictures / "a.png"
    status, _, err = _run(capsys, "compress", picture, picture, "--codec", run, "--bpp", "1")
    assert status == 1
    assert "a.png is the file that is read: choose another target" in err
    # Two pictures and no target, as of a pattern: the second is nobody's target.
    other = pictures / "b.bmp"
    before = other.read_bytes()
    status, _, err = _run(capsys, "compress", picture, other, "--codec", run)
    assert status == 1
    assert "b.bmp is a picture that is there: name the file to write, as one.l2l" in err
    status, said, again = _run(
        capsys, "compress", picture, other, "--codec", run, "--skip-existing"
    )
    assert (status, said, again) == (1, "", err)
    assert other.read_bytes() == before


@pytest.mark.parametrize("target", ["new/", "in/more/"])
def test_a_target_that_ends_as_a_folder_does_is_no_file(
    pictures, run, tmp_path, capsys, monkeypatch, target
):
    monkeypatch.chdir(tmp_path)
    for command, source in (("compress", "in/a.png"), ("decompress", "in/a.l2l")):
        status, said, err = _run(capsys, command, source, target, "--codec", run)
        assert (status, said) == (1, "")
        assert err == f"lens2label: {target} is a folder: name a file in it\n"
    assert not (tmp_path / "new").exists()
    assert _run(capsys, "compress", "in/", target, "--codec", run)[0] == 0


def test_a_command_that_was_stopped_goes_on(run, pictures, tmp_path, capsys):
    coded, out = tmp_path / "coded", tmp_path / "out"
    for command, source, target in (("compress", pictures, coded), ("decompress", coded, out)):
        given = (command, source, target, "--codec", run, "--skip-existing")
        assert _run(capsys, *given)[0] == 0
        first = sorted(path for path in target.rglob("*") if path.is_file())[0]
        whole = first.read_bytes()
        first.unlink()
        status, said, err = _run(capsys, *given)
        assert (status, err) == (0, "")
        assert said.startswith(f"{target}: 1 picture")
        assert "\n2 files there already\n" in said
        assert first.read_bytes() == whole
        assert json.loads(_run(capsys, *given, "--json")[1])["there"] == 3
        status, _, err = _run(capsys, *given, "--overwrite")
        assert (status, "or --skip-existing, to leave them, not both" in err) == (2, True)


def test_a_target_may_be_called_as_its_codec(pictures, tmp_path, capsys, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    codec = ("--codec", "jpeg")
    for target in ("jpeg", "webp"):
        assert _run(capsys, "compress", pictures, target, *codec, "--skip-existing")[0] == 0
    (tmp_path / "jpeg" / "a.l2l").unlink()
    status, said, err = _run(capsys, "compress", pictures, "jpeg", *codec, "--skip-existing")
    assert (status, err) == (0, "")
    assert "\n2 files there already\n" in said
    assert _run(capsys, "decompress", "jpeg", "out", *codec)[0] == 0
    shutil.rmtree("jpeg")
    shutil.copytree(run, "jpeg")  # a run is one, whatever it is called
    status, _, err = _run(capsys, "decompress", "webp", "other", *codec)
    assert (status, "3 files could not be used" in err) == (1, True)


def test_of_one_file_what_is_there_is_left_if_asked(run, pictures, tmp_path, capsys):
    coded, decoded = tmp_path / "a.l2l", tmp_path / "a.png"
    for given in (("compress", pictures / "a.png", coded), ("decompress", coded, decoded)):
        arguments = (*given, "--codec", run, "--skip-existing")
        status, said, _ = _run(capsys, *arguments)
        assert (status, "already" in said) == (0, False)
        before = given[2].stat()
        assert _run(capsys, *arguments)[:2] == (0, f"{given[2]}: there already\n")
        told = json.loads(_run(capsys, *arguments, "--json")[1])
        assert told == {"path": str(given[2]), "there": 1}
        assert given[2].stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("jpeg", compress.JPEG()),
        ("webp", compress.WebP()),
        ("avif", compress.AVIF()),
        ("png", compress.PNG()),
        ("jpeg2000", compress.JPEG2000()),
        ("kmeans", compress.KMeansCodec()),
    ],
)
def test_a_standard_codec_needs_no_run(name, codec, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = _run(capsys, "compress", pictures, "coded", "--codec", name)
    assert (status, err) == (0, "")
    files = codec.compress(read_picture(pictures / "a.png"))
    assert (tmp_path / "coded" / "a.l2l").read_bytes() == files[0]
    assert _run(capsys, "decompress", "coded/a.l2l", "a.png", "--codec", name)[0] == 0
    expected = codec.decompress(files)
    assert ((read_picture(tmp_path / "a.png") - expected).abs() < 0.51 / 255).all()


def test_a_standard_codec_has_its_qualities(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = read_picture(pictures / "a.png")
    given = ("compress", pictures / "a.png", "a.l2l", "--codec", "jpeg")
    assert _run(capsys, *given, "--quality", "50")[0] == 0
    assert (tmp_path / "a.l2l").read_bytes() == compress.JPEG(50).compress(picture)[0]
    told = json.loads(_run(capsys, *given, "--bpp", "9", "--json")[1])
    assert told["quality"] == compress.quality_for(compress.JPEG(), picture, 9)
    assert "has no qualities" in _run(capsys, *given[:-1], "png", "--bpp", "9")[2]
    # What is neither a standard codec nor a folder is no codec.
    said = _run(capsys, *given[:-1], "jpg")[2]
    assert "cannot read jpg: it is no run folder" in said
    assert "nor is it a standard codec, which are jpeg, webp, " in said
