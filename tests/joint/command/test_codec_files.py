import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import run

import compress
import joint
from joint.command.codec_files import _usual, codec_of, read_codec, sweep_of
from joint.picture.file import read_picture
from joint.settings import ConfigError, OptionError


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
        assert "\n2 files already exist\n" in said
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
    assert "\n2 files already exist\n" in said
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


def test_a_word_names_a_codec_and_its_settings(coder, monkeypatch, tmp_path):
    word = read_codec("jpeg:quality=10,30,subsampling=4:4:4")
    assert (word.codec, word.swept) == ("jpeg", "quality")
    assert word.settings == {"quality": (10, 30), "subsampling": ("4:4:4",)}
    assert str(word) == "jpeg:quality=10,30,subsampling=4:4:4"
    sweep = sweep_of(word)
    assert (sweep.name, sweep.setting) == ("jpeg:subsampling=4:4:4", "quality")
    assert [repr(point.codec) for point in sweep.points] == [
        repr(compress.JPEG(quality, subsampling="4:4:4").eval()) for quality in (10, 30)
    ]
    assert [point.value for point in sweep_of(read_codec("kmeans:colors=4,8")).points] == [4, 8]
    (once,) = sweep_of(read_codec("jpeg:quality=40")).points
    assert (once.value, once.codec.quality) == (40, 40)
    (lossless,) = sweep_of(read_codec("png")).points
    assert lossless.value is None
    assert [point.value for point in sweep_of(read_codec("jpeg2000:rate=null,9")).points] == [
        None, 9
    ]  # fmt: skip
    exact = sweep_of(read_codec("webp:lossless=true"))
    assert (exact.name, exact.setting, len(exact.points)) == ("webp:lossless=true", "", 1)
    assert len(sweep_of(read_codec("webp:lossless=true,quality=0,100")).points) == 2
    assert len(sweep_of(read_codec("webp:lossless=true,false")).points) == 2
    chosen = codec_of(read_codec("webp:lossless=true"))
    assert chosen.codec.lossless
    assert chosen[1:] == ("srgb", None)

    sweep = sweep_of(read_codec(str(coder)))
    assert (sweep.name, sweep.setting) == (str(coder), "quality")
    assert [point.quality for point in sweep.points] == [0, 0.5, 1, 1.5, 2]
    assert codec_of(read_codec(f"{coder}:quality=2")).quality == 2
    odd = tmp_path / "a:b"  # a colon in the name of a run is one
    shutil.copytree(coder, odd)
    assert sweep_of(read_codec(str(odd))).name == str(odd)
    assert len(sweep_of(read_codec(f"{coder}:quality=0,1")).points) == 2


def test_a_usual_curve_has_points_enough_for_a_difference_in_rate():
    for kind in ("jpeg", "webp", "jpeg2000", "avif", "kmeans"):
        assert len(sweep_of(read_codec(kind)).points) >= 4


@pytest.mark.parametrize(
    ("known", "usual"),
    [
        (range(1, 101), (5, 10, 20, 35, 50, 75, 90)),
        (range(9), (0, 2, 4, 6, 8)),  # of which 5 alone is a usual one
        ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)),
        (np.array([5, 10]), (5, 10)),
        ((3.0,), ()),
        ((), ()),
    ],
)
def test_a_codec_with_a_scale_of_its_own_has_a_usual_curve(known, usual):
    class Own(compress.PNG):
        def qualities(self):
            return known

    assert _usual(Own()) == usual


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("jpeg:quality", "after the colon stand settings and their values"),
        ("jpeg:", "after the colon stand settings and their values"),
        ("jpeg:quality=", "after the colon stand settings and their values"),
        ("jpeg:quality=1,quality=2", "each setting once"),
        ("kmeans:colors=2,4,temperature=1,2", "one setting alone may have several values"),
        ("jpeg:quality=0", "--codec jpeg:quality=0: quality: "),
        ("jpeg:quality=10,many", "--codec jpeg:quality=10,many: quality: "),
        ("jpeg:subsampling=4:1:1", "subsampling: "),
        ("jpeg:colors=2", "JPEGConfig has no colors"),
        ("png:quality=2", "PNGConfig has no quality"),
    ],
)
def test_settings_that_a_codec_does_not_have_are_refused(word, said):
    with pytest.raises(OptionError, match=said):
        read_codec(word)


def test_of_a_run_the_quality_alone_can_be_set(coder):
    for settings in ("levels=2", "quality=best", "quality=true"):
        with pytest.raises(OptionError, match="for a run only the quality can be set, to numbers"):
            read_codec(f"{coder}:{settings}")
    for read in (sweep_of, codec_of):
        with pytest.raises(ConfigError, match=r"--codec .*:quality=7: .*quality must be 0 to 2"):
            read(read_codec(f"{coder}:quality=7"))
    with pytest.raises(ConfigError, match="nor is it a standard codec, which are jpeg, webp"):
        read_codec("jpg:quality=3")
    with pytest.raises(OptionError, match="coded at one quality; lens2label rate compares several"):
        codec_of(read_codec("jpeg:quality=3,4"))


def test_files_are_coded_with_the_settings_of_a_word(coder, pictures, tmp_path, capsys):
    picture, file = pictures / "a.png", tmp_path / "a.l2l"
    word = "jpeg:quality=50,subsampling=4:4:4"
    assert run(capsys, "compress", picture, file, "--codec", word)[0] == 0
    (expected,) = compress.JPEG(50, subsampling="4:4:4").compress(read_picture(picture))
    assert file.read_bytes() == expected
    assert run(capsys, "decompress", file, tmp_path / "a.png", "--codec", word)[0] == 0
    assert run(capsys, "compress", picture, file, "--codec", f"{coder}:quality=2")[0] == 0
    codec = joint.load_codec(coder)
    codec.quality = 2
    assert file.read_bytes() == codec.compress(read_picture(picture))[0]
    for option in ("--quality", "--bpp"):
        given = ("compress", picture, file, "--codec", word, option, "1")
        status, _, err = run(capsys, *given)
        said = f"lens2label: --codec {word} sets the quality: leave {option} out\n"
        assert (status, err) == (2, said)


def test_a_zip_is_as_the_folder_in_it(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, coded, out in (("in", "coded", "out"), ("in.zip", "coded2", "out2")):
        if source == "in.zip":
            _pack("in", source)
        status, said, err = run(capsys, "compress", source, coded, "--codec", "jpeg", "--bpp", "6")
        assert (status, err) == (0, "")
        assert "1 file skipped" in said
        if source == "in.zip":
            _pack(coded, "coded.zip")
            coded = "coded.zip"
        assert run(capsys, "decompress", coded, out, "--codec", "jpeg")[0] == 0
    for one, other in (("coded", "coded2"), ("out", "out2")):
        files = [
            {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
            for root in (tmp_path / one, tmp_path / other)
        ]
        assert files[0] == files[1]
        assert len(files[0]) == 3
    status, _, err = run(capsys, "compress", "in.zip", "in/", "--codec", "jpeg", "--json")
    assert status == 0, err
    (tmp_path / "bad.zip").write_text("words")
    status, _, err = run(capsys, "compress", "bad.zip", "x", "--codec", "jpeg")
    assert (status, "bad.zip is not a folder or a usable zip" in err) == (1, True)


def _pack(folder, target):
    with zipfile.ZipFile(target, "w") as packed:
        for path in Path(folder).rglob("*"):
            packed.write(path, path.relative_to(folder))
