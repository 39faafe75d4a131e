import io
import json
import os
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import compress
import joint
import joint.picture.file
from joint.picture.file import read_picture
from joint.picture.folder import compress_files, decompress_files


def _write(path, seed, size=(24, 31)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    smooth = np.indices((*size, 3)).sum(0) * 3
    Image.fromarray((smooth + rng.integers(0, 30, smooth.shape)).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Pictures of two sizes and formats, in folders, among other files."""
    root = tmp_path / "in"
    for seed, name in enumerate(("b.png", "a.bmp", "deep/er/c.v2.png", "deep/D.TIF")):
        _write(root / name, seed, (24, 31) if seed < 3 else (17, 40))
    (root / "labels.csv").write_text("picture,label\n")
    (root / "._a.bmp").write_bytes(b"of another system")
    _write(root / ".thumbnails" / "a.png", 9)
    return root


NAMES = ("a", "b", "deep/D", "deep/er/c.v2")


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return compress.FactorizedCodec(levels=3).eval()


def _contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_folder_goes_there_and_back_as_its_pictures_do_one_by_one(folder, codec, tmp_path):
    done = compress_files([folder], tmp_path / "coded", codec)
    assert (done.failed, done.skipped) == ((), 3)
    assert set(_contents(tmp_path / "coded")) == {f"{name}.l2l" for name in NAMES}
    for source, file in zip(done.sources, done.written, strict=True):
        alone = joint.compress_file(source, tmp_path / "alone", codec)
        assert (tmp_path / "alone").read_bytes() == (tmp_path / file.path).read_bytes()
        assert (alone.size, alone.psnr, alone.width) == (file.size, file.psnr, file.width)
    sizes = [len(data) for data in _contents(tmp_path / "coded").values()]
    assert done.size == sum(sizes)
    assert done.bpp == 8 * sum(sizes) / (3 * 24 * 31 + 17 * 40)

    (tmp_path / "coded" / "README").write_text("not coded")
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", codec)
    assert (back.failed, back.skipped, back.size, back.bpp) == ((), 1, None, None)
    assert set(_contents(tmp_path / "out")) == {f"{name}.png" for name in NAMES}
    for source, file in zip(back.sources, back.written, strict=True):
        joint.decompress_file(source, tmp_path / "alone.png", codec)
        expected = read_picture(tmp_path / "alone.png")
        assert torch.equal(read_picture(file.path), expected)
        assert expected.shape[-2:] == (file.height, file.width)


def test_links_are_followed_but_not_in_circles(folder, codec, tmp_path):
    _write(tmp_path / "elsewhere" / "e.png", 5)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / ".hidden").symlink_to(tmp_path / "elsewhere")
    done = compress_files([folder], tmp_path / "coded", codec)
    assert (done.failed, done.skipped) == ((), 3)
    assert set(_contents(tmp_path / "coded")) == {f"{n}.l2l" for n in (*NAMES, "linked/e")}
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", codec)
    assert len(back.written) == len(NAMES) + 1


def test_the_files_are_those_that_others_write(folder, tmp_path):
    compress_files([folder], tmp_path / "coded", compress.JPEG(), quality=40)
    for name, source in zip(
        NAMES, ("a.bmp", "b.png", "deep/D.TIF", "deep/er/c.v2.png"), strict=True
    ):
        theirs = io.BytesIO()
        with Image.open(folder / source) as picture:
            picture.save(theirs, "JPEG", quality=40)
        with (
            Image.open(tmp_path / "coded" / f"{name}.l2l") as ours,
            Image.open(theirs) as expected,
        ):
            assert np.array_equal(np.asarray(ours), np.asarray(expected))


def test_pictures_and_folders_are_named_together(folder, codec, tmp_path):
    given = [folder / "a.bmp", folder / "deep"]
    done = compress_files(given, tmp_path / "coded", codec)
    assert set(_contents(tmp_path / "coded")) == {"a.l2l", "D.l2l", "er/c.v2.l2l"}
    assert done.sources[0] == str(folder / "a.bmp")
    # What is named is taken by its word, whatever its suffix.
    (folder / "a.bmp").rename(folder / "a")
    compress_files([folder / "a", folder / "b.png"], tmp_path / "both", codec)
    assert set(_contents(tmp_path / "both")) == {"a.l2l", "b.l2l"}


def test_one_bad_picture_does_not_stop_the_others(folder, codec, tmp_path):
    cut = folder / "deep" / "cut.png"
    cut.write_bytes((folder / "b.png").read_bytes()[:200])
    (folder / "0.png").write_text("words")
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(folder / "clear.png")
    done = compress_files([folder], tmp_path / "coded", codec)
    assert [f.path for f in done.failed] == [
        str(folder / name) for name in ("0.png", "clear.png", "deep/cut.png")
    ]
    assert "clear.png has transparent parts" in done.failed[1].error
    assert all(str(file).count(file.path) == 1 for file in done.failed)
    assert set(_contents(tmp_path / "coded")) == {f"{name}.l2l" for name in NAMES}

    damaged = tmp_path / "coded" / "b.l2l"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", codec)
    assert [file.path for file in back.failed] == [str(damaged)]
    assert str(back.failed[0]).startswith(f"{damaged}: ")
    assert set(_contents(tmp_path / "out")) == {f"{name}.png" for name in NAMES if name != "b"}


def test_whatever_a_codec_raises_does_not_stop_the_others(folder, tmp_path):
    class Deflated(compress.PNG):
        """As one's own codec may be, which expects nothing but its own files."""

        def compress(self, image):
            if image.shape[-1] > 35:
                raise RuntimeError("sizes must match")
            return [zlib.compress(data) for data in super().compress(image)]

        def decompress(self, payloads):
            return super().decompress([zlib.decompress(data) for data in payloads])

    done = compress_files([folder], tmp_path / "coded", Deflated())
    wide = folder / "deep" / "D.TIF"
    assert [str(file) for file in done.failed] == [
        f"{wide}: Deflated raised RuntimeError: sizes must match"
    ]
    damaged = tmp_path / "coded" / "b.l2l"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", Deflated())
    (failed,) = back.failed
    assert str(failed).startswith(f"{damaged}: Deflated raised error: Error -5")
    assert set(_contents(tmp_path / "out")) == {"a.png", "deep/er/c.v2.png"}
    with pytest.raises(compress.CorruptStream, match="Deflated raised error: Error -5"):
        joint.decompress_file(damaged, tmp_path / "alone.png", Deflated())


def test_a_picture_that_the_codec_refuses_is_named(folder, tmp_path):
    class Wide(compress.PNG):
        def compress(self, image):
            if image.shape[-1] > 35:
                raise ValueError("too wide for this codec")
            return super().compress(image)

    done = compress_files([folder], tmp_path / "coded", Wide())
    assert [str(file) for file in done.failed] == [
        f"{folder / 'deep' / 'D.TIF'}: too wide for this codec"
    ]
    assert "3 pictures" in str(done)
    assert "3 lossless" in str(done)


def test_nothing_is_replaced_unasked(folder, codec, tmp_path):
    out = tmp_path / "coded"
    compress_files([folder], out, codec, quality=0)
    (out / "a.l2l").unlink()
    before = _contents(out)
    with pytest.raises(ValueError, match=r"3 files would be replaced, the first .*b\.l2l: choose"):
        compress_files([folder], out, codec, quality=2)
    assert _contents(out) == before
    compress_files([folder], out, codec, quality=2, overwrite=True)
    assert all(_contents(out)[name] != data for name, data in before.items())
    decompress_files([out], out, codec)
    with pytest.raises(ValueError, match="4 files would be replaced"):
        decompress_files([out], out, codec)
    decompress_files([out], out, codec, overwrite=True)


def test_a_call_that_would_end_in_a_muddle_is_refused_before_anything_is_written(
    folder, codec, tmp_path
):
    out = tmp_path / "coded"

    def refused(sources, said, **options):
        with pytest.raises((ValueError, OSError), match=said):
            compress_files(sources, out, codec, **options)
        assert not out.exists()

    refused([folder, tmp_path / "gone"], r"there is no .*gone")
    refused([tmp_path / "gone.png"], r"there is no .*gone\.png")
    refused([folder], "quality must be 0 to 2", quality=3)
    refused([folder], "give a quality or bpp, the rate to find it for, not both", quality=1, bpp=1)
    refused([folder], r"bpp must be a positive number", bpp=-1)
    refused([folder], r"the lowest quality takes .* more than 0\.001", bpp=0.001)
    refused([folder / "a.bmp", folder], r"a\.bmp and .*a\.bmp would both become .*a\.l2l: rename")
    _write(folder / "b.webp", 5)
    refused([folder], r"b\.png and .*b\.webp would both become .*coded.b\.l2l: rename one of them")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    refused(
        [tmp_path / "empty"], r"nothing to do in .*empty: no file ends in .*\.png.* \(1 others\)"
    )
    with pytest.raises(ValueError, match=r"labels\.csv is a file: give a folder for several files"):
        compress_files([folder / "deep"], folder / "labels.csv", codec)
    _write(tmp_path / "c.png", 1)
    (tmp_path / "c.png").rename(tmp_path / "c.l2l")
    with pytest.raises(ValueError, match=r"c\.l2l is the source file itself: choose another"):
        compress_files([tmp_path / "c.l2l", folder], tmp_path, codec, overwrite=True)
    with pytest.raises(ValueError, match=r"no file ends in one of \.l2l \(8 others\)"):
        decompress_files([folder], out, codec)
    assert not out.exists()


def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(folder, codec, tmp_path, monkeypatch):
    look = os.scandir

    def shut(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", shut)
    with pytest.raises(PermissionError, match="deep"):
        compress_files([folder], tmp_path / "coded", codec)


def test_a_full_disk_ends_it(folder, codec, tmp_path, monkeypatch):
    def full(path, content):
        raise joint.CheckpointError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(joint.picture.file, "write_atomically", full)
    with pytest.raises(joint.CheckpointError, match="No space left"):
        compress_files([folder], tmp_path / "coded", codec)


def test_a_long_name_is_no_full_disk(folder, codec, tmp_path):
    fits, beyond = folder / ("a" * 251 + ".png"), tmp_path / ("b" * 255)
    for path in (fits, beyond):  # the second would become one of 259 bytes
        path.write_bytes((folder / "b.png").read_bytes())
    done = compress_files([beyond, folder], tmp_path / "coded", codec)
    assert [file.path for file in done.failed] == [str(beyond)]
    assert "File name too long" in done.failed[0].error
    names = (*NAMES, "a" * 251)
    assert set(_contents(tmp_path / "coded")) == {f"{name}.l2l" for name in names}
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", codec)
    assert (len(back.written), back.failed) == (5, ())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_skipped_and_a_link_to_nothing_is_told(folder, codec, tmp_path):
    os.mkfifo(folder / "0.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    done = compress_files([folder], tmp_path / "coded", codec)
    assert (len(done.written), done.skipped) == (4, 4)
    assert [file.path for file in done.failed] == [str(folder / "gone.png")]


def test_what_is_there_is_left_and_the_rest_is_made(folder, codec, tmp_path):
    out, whole = tmp_path / "coded", tmp_path / "whole"
    compress_files([folder], whole, codec, bpp=9)
    expected = _contents(whole)
    compress_files([folder], out, codec, bpp=9)
    for name in ("b.l2l", "deep/D.l2l"):
        (out / name).unlink()
    (out / "a.l2l").write_bytes(b"of another")
    done = compress_files([folder], out, codec, bpp=9, bpp_pictures=4, skip_existing=True)
    assert done.sources == (str(folder / "b.png"), str(folder / "deep" / "D.TIF"))
    assert (done.there, done.to_dict()["there"], done.found.of) == (2, 2, 4)
    assert "2 pictures, " in str(done)
    assert "2 files already exist" in str(done)
    assert _contents(out) == expected | {"a.l2l": b"of another"}
    done = compress_files([folder], out, codec, bpp=9, skip_existing=True)
    assert (done.written, done.there, done.found) == ((), 4, None)
    assert str(done).splitlines()[:2] == [f"{out}: 0 pictures", "4 files already exist"]

    decompress_files([whole / "a.l2l", whole / "b.l2l"], tmp_path / "out", codec)
    back = decompress_files([whole], tmp_path / "out", codec, skip_existing=True)
    assert (len(back.written), back.there) == (2, 2)
    for several in (compress_files, decompress_files):
        with pytest.raises(ValueError, match="overwrite and skip_existing exclude each other"):
            several([whole], out, codec, overwrite=True, skip_existing=True)


def test_one_quality_is_found_for_all(folder, codec, tmp_path):
    before = codec.quality
    coarse, fine = (compress_files([folder], tmp_path / f"{q}", codec, quality=q) for q in (0, 2))
    allowed = (coarse.bpp + fine.bpp) / 2
    done = compress_files([folder], tmp_path / "coded", codec, bpp=allowed)
    assert done.found.quality == done.quality
    assert (done.found.pictures, done.found.of) == (4, 4)
    expected = [read_picture(source) for source in done.sources]
    assert done.quality == compress.quality_for(codec, expected, allowed)
    assert codec.quality == before
    again = compress_files([folder], tmp_path / "again", codec, quality=done.quality)
    assert _contents(tmp_path / "again") == _contents(tmp_path / "coded")
    assert again.found is None
    told = str(done).splitlines()[1]
    assert told == (
        f"quality {done.quality:.12g}, the best within {allowed:g} bits/pixel for 4 of 4 pictures"
    )
    assert float(told.split()[1].rstrip(",")) == done.quality


def test_it_is_said_when_all_take_more_than_those_that_were_looked_at(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    _write(folder / "b.png", 0, (64, 64))
    done = compress_files([folder], tmp_path / "one", compress.JPEG(), bpp=1.5, bpp_pictures=1)
    assert done.found.quality == 100
    assert done.bpp > 1.5
    assert "the files written now take more than 1.5 bits/pixel" in str(done)
    assert str(done).splitlines()[-1].endswith("look at more (--bpp-pictures), or ask for less")
    done = compress_files([folder], tmp_path / "two", compress.JPEG(), bpp=1.5)
    assert done.bpp <= 1.5
    assert "take more" not in str(done)


def test_everything_is_in_the_json(folder, codec, tmp_path):
    (folder / "0.png").write_text("words")
    done = compress_files([folder], tmp_path / "coded", codec, bpp=100)
    told = json.loads(json.dumps(done.to_dict()))
    assert told["quality"] == told["found"]["quality"] == 2
    assert (told["size"], told["bpp"], told["skipped"]) == (done.size, done.bpp, 3)
    assert told["failed"] == [{"path": done.failed[0].path, "error": done.failed[0].error}]
    assert [entry["source"] for entry in told["pictures"]] == list(done.sources)
    assert told["pictures"][0]["psnr"] == done.written[0].psnr
    back = decompress_files([tmp_path / "coded"], tmp_path / "out", codec).to_dict()
    assert set(back) == {"folder", "skipped", "there", "failed", "pictures"}
    assert set(back["pictures"][0]) == {"source", "path", "height", "width"}


def test_a_terminal_sees_how_far_it_is(folder, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, progress, shown in (
        (Terminal(), True, True),
        (Terminal(), False, False),
        (io.StringIO(), True, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        compress_files(
            [folder], tmp_path / "coded", compress.PNG(), overwrite=True, progress=progress
        )
        assert ("4/4" in stream.getvalue()) == shown
