import json
import shutil

import pytest
from commands import run

import compress
from joint.picture.file import read_picture


@pytest.mark.parametrize("target", ["new/", "in/more/"])
def test_a_target_that_ends_as_a_folder_does_is_no_file(
    pictures, coder, tmp_path, capsys, monkeypatch, target
):
    monkeypatch.chdir(tmp_path)
    for command, source in (("compress", "in/a.png"), ("decompress", "in/a.l2l")):
        status, said, err = run(capsys, command, source, target, "--codec", coder)
        assert (status, said) == (1, "")
        assert err == f"lens2label: {target} is a folder: name a file in it\n"
    assert not (tmp_path / "new").exists()
    assert run(capsys, "compress", "in/", target, "--codec", coder)[0] == 0


def test_a_command_that_was_stopped_goes_on(coder, pictures, tmp_path, capsys):
    coded, out = tmp_path / "coded", tmp_path / "out"
    for command, source, target in (("compress", pictures, coded), ("decompress", coded, out)):
        given = (command, source, target, "--codec", coder, "--skip-existing")
        assert run(capsys, *given)[0] == 0
        first = sorted(path for path in target.rglob("*") if path.is_file())[0]
        whole = first.read_bytes()
        first.unlink()
        status, said, err = run(capsys, *given)
        assert (status, err) == (0, "")
        assert said.startswith(f"{target}: 1 picture")
        assert "\n2 files there already\n" in said
        assert first.read_bytes() == whole
        assert json.loads(run(capsys, *given, "--json")[1])["there"] == 3
        status, _, err = run(capsys, *given, "--overwrite")
        assert (status, "or --skip-existing, to leave them, not both" in err) == (2, True)


def test_a_target_may_be_called_as_its_codec(pictures, tmp_path, capsys, monkeypatch, coder):
    monkeypatch.chdir(tmp_path)
    codec = ("--codec", "jpeg")
    for target in ("jpeg", "webp"):
        assert run(capsys, "compress", pictures, target, *codec, "--skip-existing")[0] == 0
    (tmp_path / "jpeg" / "a.l2l").unlink()
    status, said, err = run(capsys, "compress", pictures, "jpeg", *codec, "--skip-existing")
    assert (status, err) == (0, "")
    assert "\n2 files there already\n" in said
    assert run(capsys, "decompress", "jpeg", "out", *codec)[0] == 0
    shutil.rmtree("jpeg")
    shutil.copytree(coder, "jpeg")  # a run is one, whatever it is called
    status, _, err = run(capsys, "decompress", "webp", "other", *codec)
    assert (status, "3 files could not be used" in err) == (1, True)


def test_of_one_file_what_is_there_is_left_if_asked(coder, pictures, tmp_path, capsys):
    coded, decoded = tmp_path / "a.l2l", tmp_path / "a.png"
    for given in (("compress", pictures / "a.png", coded), ("decompress", coded, decoded)):
        arguments = (*given, "--codec", coder, "--skip-existing")
        status, said, _ = run(capsys, *arguments)
        assert (status, "already" in said) == (0, False)
        before = given[2].stat()
        assert run(capsys, *arguments)[:2] == (0, f"{given[2]}: there already\n")
        told = json.loads(run(capsys, *arguments, "--json")[1])
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
    status, _, err = run(capsys, "compress", pictures, "coded", "--codec", name)
    assert (status, err) == (0, "")
    files = codec.compress(read_picture(pictures / "a.png"))
    assert (tmp_path / "coded" / "a.l2l").read_bytes() == files[0]
    assert run(capsys, "decompress", "coded/a.l2l", "a.png", "--codec", name)[0] == 0
    expected = codec.decompress(files)
    assert ((read_picture(tmp_path / "a.png") - expected).abs() < 0.51 / 255).all()
