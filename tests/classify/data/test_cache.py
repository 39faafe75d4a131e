import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import numpy as np
import pytest
import torch

from classify.data import HAM10000, ImageFolder, cache
from classify.data.decode import Decoder


def load(root, **options):
    return HAM10000(root, **{"image_size": 16, "progress": False} | options)


@pytest.fixture
def decodings(monkeypatch):
    """How often a data set was decoded."""
    count, decode = [], Decoder.decode

    def counted(self, pictures, title, warn):
        count.append(title)
        return decode(self, pictures, title, warn)

    monkeypatch.setattr(Decoder, "decode", counted)
    return count


@pytest.fixture(params=["ham", "ham.zip"])
def root(request, files, write):
    return write(files, request.param)


def entries(place):
    return [path for path in place.iterdir() if not path.name.startswith(".")]


def same(a, b):
    rows = range(len(a))
    return torch.equal(a.gather(rows).images, b.gather(rows).images) and torch.equal(
        a.gather_masks(rows), b.gather_masks(rows)
    )


def test_second_time_opens_what_the_first_one_wrote(root, decodings, tmp_path, monkeypatch):
    first = load(root)
    monkeypatch.setattr(os, "fsync", None)  # nothing is written
    second = load(root)
    assert decodings == [f"decoding {root.name}"]
    assert same(first, second)
    assert first.fingerprint == second.fingerprint == load(root, cache=False).fingerprint
    assert len(entries(tmp_path / "ham.cache")) == 1
    assert len(entries(entries(tmp_path / "ham.cache")[0])) == 4


def test_cache_false_writes_nothing(root, tmp_path, decodings):
    before = sorted(tmp_path.iterdir())
    load(root, cache=False)
    load(root, cache=False)
    assert len(decodings) == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_given_folder(root, tmp_path, decodings):
    first = load(root, cache=tmp_path / "a" / "b")
    assert same(first, load(root, cache=str(tmp_path / "a" / "b")))
    assert len(decodings) == 1
    assert not (tmp_path / "ham.cache").exists()


def test_options_have_entries_of_their_own(root, tmp_path, decodings, monkeypatch):
    load(root)
    load(root, image_size=8)
    load(root, geometry="squeeze")
    load(root, limit=7)
    monkeypatch.setattr(cache, "_VERSION", -1)
    load(root)
    assert len(decodings) == len(entries(tmp_path / "ham.cache")) == 5
    load(root, workers=1)
    assert len(decodings) == 5


@pytest.mark.parametrize("depths", [(None, 8), (8, None)])
def test_advice_is_for_those_who_did_not_ask_for_8_bits(tmp_path, encoded, depths):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    for name in ("a/1.png", "b/2.png"):
        path = tmp_path / "deep" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(ramp, "PNG"))
    for depth in 2 * depths:
        said = nullcontext() if depth else pytest.warns(UserWarning, match="is reduced to 8: give")
        with said:
            ImageFolder(
                tmp_path / "deep", image_size=16, channels=1, bit_depth=depth, progress=False
            )


def test_changed_picture_in_a_folder(files, write, decodings):
    root, name = write(files), next(path for path in files if path.endswith(".jpg"))
    first = load(root)
    (root / name).write_bytes(files[[path for path in files if path.endswith(".jpg")][8]])
    os.utime(root / name, (1, 1))  # clocks may be too coarse to see the change
    second = load(root)
    assert len(decodings) == 2
    assert first.fingerprint != second.fingerprint


def test_touched_files_mean_the_same_data_set(files, write, decodings):
    root = write(files)
    first = load(root)
    for path in root.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert load(root).fingerprint == first.fingerprint
    assert len(decodings) == 2


def test_changed_picture_in_a_zip(files, write, decodings):
    first = load(write(files, "ham.zip"))
    names = [path for path in files if path.endswith(".jpg")]
    load(write(files, "ham.zip"))
    assert len(decodings) == 1  # the same content under a new date
    files[names[0]], files[names[8]] = files[names[8]], files[names[0]]
    second = load(write(files, "ham.zip"))
    assert len(decodings) == 2
    assert first.fingerprint != second.fingerprint


def test_unrelated_files_change_nothing(files, write, decodings):
    load(write(files))
    load(write({"README.md": b"1", "runs/figure.png": b"2"}))
    assert len(decodings) == 1


def test_inner_zips_are_not_even_opened_the_second_time(files, write, zipped, monkeypatch):
    packed = {"HAM10000_metadata.csv": files.pop("HAM10000_metadata.csv"), "all.zip": zipped(files)}
    root = write(packed, "dataverse_files.zip")
    first = load(root)
    monkeypatch.setattr("classify.data.archive.Archive._inner_file", None)
    assert same(first, load(root))


def test_changed_inner_zip(files, write, zipped, decodings):
    metadata = files.pop("HAM10000_metadata.csv")
    names = [path for path in files if path.endswith(".jpg")]
    for count in (1, 2):
        packed = {"HAM10000_metadata.csv": metadata, "all.zip": zipped(files)}
        load(write(packed, "dataverse_files.zip"))
        assert len(decodings) == count
        files[names[0]], files[names[8]] = files[names[8]], files[names[0]]


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, flipped, emptied, removed])
@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "has_mask.npy", "manifest.json"])
def test_damaged_entries_are_built_again(files, write, tmp_path, decodings, name, damage):
    root = write(files, "ham.zip")
    expected = load(root, cache=False)
    load(root)
    (entry,) = entries(tmp_path / "ham.cache")
    damage(entry / name)
    assert same(expected, load(root))
    assert len(decodings) == 3
    assert same(expected, load(root))
    assert len(decodings) == 3
    assert list((tmp_path / "ham.cache").iterdir()) == [entry]


@pytest.mark.parametrize("content", ["[]", "{}", '{"entry": 1, "checksum": 2}', "\x00"])
def test_manifest_that_is_something_else(files, write, tmp_path, decodings, content):
    root = write(files)
    load(root)
    (entry,) = entries(tmp_path / "ham.cache")
    (entry / "manifest.json").write_text(content)
    load(root)
    assert len(decodings) == 2


def test_a_file_in_the_place_of_an_entry(files, write, tmp_path):
    root = write(files)
    load(root)
    (entry,) = entries(tmp_path / "ham.cache")
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    entry.write_text("in the way")
    load(root)
    assert (entry / "manifest.json").exists()
    assert list(entry.parent.iterdir()) == [entry]  # and no draft


def test_several_builds_at_once(files, write, tmp_path):
    root, barrier = write(files, "ham.zip"), Barrier(4)

    def one(_):
        barrier.wait()
        return load(root)

    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(one, range(4)))
    assert all(same(datasets[0], other) for other in datasets[1:])
    assert len(list((tmp_path / "ham.cache").iterdir())) == 1


def test_a_build_that_finishes_second_leaves_the_first_ones_entry(
    files, write, tmp_path, monkeypatch
):
    root, fsync = write(files), os.fsync

    def overtaken(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        load(root)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", overtaken)
    load(root)
    assert os.fsync is fsync
    assert len(list((tmp_path / "ham.cache").iterdir())) == 1


def test_half_an_entry_is_never_opened(files, write, tmp_path, monkeypatch):
    """Whatever a killed build leaves behind, it has no entry's name."""
    root, place = write(files), tmp_path / "ham.cache"

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        load(root)
    (draft,) = place.iterdir()
    assert draft.name.startswith(".")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    load(root)
    assert draft.exists()  # it may still be under way
    yesterday = time.time() - 25 * 3600
    os.utime(draft, (yesterday, yesterday))
    load(root, image_size=8)
    assert not draft.exists()


def test_falls_back_to_the_users_cache_and_then_to_memory(files, write, tmp_path, decodings):
    root = write(files)
    (tmp_path / "ham.cache").write_text("a file, so that no folder can be made here")
    load(root)
    load(root)
    assert len(decodings) == 1
    assert len(entries(tmp_path / "user-cache" / "lens2label")) == 1
    (tmp_path / "user-cache").rename(tmp_path / "gone")
    (tmp_path / "user-cache").write_text("neither here")
    load(root)
    load(root)
    assert len(decodings) == 3


def test_a_given_folder_that_cannot_be_used(files, write, tmp_path, decodings):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot keep decoded images in .*file.*; give another"):
        load(write(files), cache=tmp_path / "file" / "cache")
    assert not decodings


def test_disk_without_room(files, write, tmp_path, decodings, monkeypatch):
    from shutil import _ntuple_diskusage as usage

    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 10**6, 0))
    with pytest.raises(OSError, match=r"MB needed, 0 free; give another folder as cache, or"):
        load(write(files), cache=tmp_path / "full")
    assert not decodings
    assert len(load(write(files))) == 30  # by default it stays in memory


def test_disk_that_fills_up(files, write, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write the decoded .*full: No space left") as caught:
        load(write(files), cache=tmp_path / "full")
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "full").exists()


def test_the_checksum_of_a_large_file_reads_samples_up_to_both_ends(tmp_path, monkeypatch):
    path, content = tmp_path / "large", bytes(range(256)) * 256
    seen = []
    for sample in (1024, 16):  # 64 of them cover the file, or 1/64 of it
        monkeypatch.setattr(cache, "_SAMPLE", sample)
        path.write_bytes(content)
        whole = cache._checksum(path)
        for position in (0, 600, len(content) - 1):
            path.write_bytes(content[:position] + b"x" + content[position + 1 :])
            seen.append(cache._checksum(path) != whole)
        path.write_bytes(content + content[:1])
        assert cache._checksum(path) != whole
    assert seen == [True, True, True, True, False, True]


def test_opened_arrays_do_not_write_to_the_disk(files, write, tmp_path):
    root = write(files)
    dataset = load(root)
    (entry,) = entries(tmp_path / "ham.cache")
    before = (entry / "images.npy").read_bytes()
    dataset._arrays.images.zero_()
    assert not dataset[0].image.any()
    assert (entry / "images.npy").read_bytes() == before


@pytest.mark.ham10000
def test_the_real_set_opens_in_two_seconds(real, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    start = time.process_time()
    again = HAM10000(os.environ["HAM10000_ROOT"], image_size=32, cache=shared / "ham10000")
    assert time.process_time() - start < 2
    assert len(again) == len(real)


def test_a_clock_that_jumps_takes_no_build_from_under_its_process(files, write, tmp_path):
    root, place = write(files, "ham.zip"), tmp_path / "c"
    other = place / ".other.draft"
    other.mkdir(parents=True)
    for age in (-1e6, 1e6):
        os.utime(other, (time.time() - age,) * 2)
        with cache._held(other):
            load(root, image_size=8, cache=place)
            assert other.exists()
            shutil.rmtree(next(path for path in place.iterdir() if path != other))
    load(root, image_size=8, cache=place)
    assert not other.exists()  # its process is gone


@pytest.mark.parametrize("days", [-3, 3])
def test_a_machine_whose_clock_is_days_off_sweeps_nobodys_build(
    files, write, tmp_path, monkeypatch, days
):
    """Where folders cannot be locked, as on network file systems, the age of a draft is all."""
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + days * 24 * 3600)
    root, place = write(files, "ham.zip"), tmp_path / "c"
    draft = place / ".other.draft"
    draft.mkdir(parents=True)
    load(root, image_size=8, cache=place)
    assert draft.exists()
    assert len(list(place.iterdir())) == 2  # and no probe is left


def test_a_manifest_without_an_end_is_none(files, write, tmp_path, decodings):
    root, place = write(files, "ham.zip"), tmp_path / "c"
    load(root, image_size=8, cache=place)
    (entry,) = place.iterdir()
    (entry / "manifest.json").write_text("[" * 200_000)
    decodings.clear()
    load(root, image_size=8, cache=place)
    assert decodings


def _twins(write, encoded, levels, place="{}/pets"):
    """Folders of one tree whose files have equal names, sizes and times, each of its own level."""
    roots = []
    for level in levels:
        picture = encoded(np.full((8, 8), level, np.uint8), "BMP")
        root = write({"cat/1.bmp": picture, "dog/1.bmp": picture}, place.format(level))
        for path in root.rglob("*.bmp"):
            os.utime(path, (1, 1))
        roots.append(root)
    return roots


def _level(root, **options):
    given = {"image_size": 8, "progress": False, "channels": 1} | options
    return int(ImageFolder(root, **given).gather([0]).images.max())


def test_folders_that_share_a_cache_are_told_apart(write, encoded, tmp_path, decodings):
    """Uncompressed pictures of reproducible tars: of equal names, sizes and times."""
    twins = _twins(write, encoded, (10, 200))
    assert [_level(root, cache=tmp_path / "shared") for root in twins] == [10, 200]
    assert [_level(root, cache=tmp_path / "shared") for root in twins] == [10, 200]
    assert len(decodings) == 2
    # The user's cache folder is shared, too.
    for root in twins:
        (root.parent / "pets.cache").write_text("so that none can be made here")
    assert [_level(root) for root in twins] == [10, 200]
    assert len(entries(tmp_path / "user-cache" / "lens2label")) == 2


def test_a_cache_moves_with_its_folder(write, encoded, tmp_path, decodings):
    (root,) = _twins(write, encoded, [10])
    assert _level(root) == 10
    shutil.copytree(root.parent, tmp_path / "copied")
    root.parent.rename(tmp_path / "moved")
    assert _level(tmp_path / "copied" / "pets") == _level(tmp_path / "moved" / "pets") == 10
    assert len(decodings) == 1


def test_zips_of_one_content_share_their_entry(files, write, tmp_path, decodings):
    for name in ("one.zip", "other.zip"):
        load(write(files, name), cache=tmp_path / "shared")
    assert len(decodings) == 1


def test_what_is_said_of_pictures_is_said_again_of_decoded_ones(tmp_path, encoded):
    for name in ("a/1.png", "b/2.png"):
        path = tmp_path / "deep" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(np.arange(256, dtype=np.uint16).reshape(16, 16) * 16, "PNG"))
    said = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="of 16 bits") as caught:
            ImageFolder(tmp_path / "deep", image_size=16, channels=1, progress=False)
        said.append(sorted(str(warning.message)[:40] for warning in caught))
        assert all(warning.filename == __file__ for warning in caught if "16" in str(warning))
    black, reduced = said[0]
    assert black.startswith("a picture of 16 bits holds no code above")
    assert reduced.startswith("a picture of 16 bits is reduced to 8")
    assert said[1] == said[0]
