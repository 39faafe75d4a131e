"""A copy of HAM10000 as a careless or hostile hand would leave it, and what is said about it.

The pictures are procedural; the layout is the official one. What damage a file alone can have is
in tests/classify/data and tests/fuzz; here it meets the whole loader, its cache, and its folder.
"""

import csv
import io
import multiprocessing
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

import classify
from classify.data.archive import Archive

KINDS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def _png(width, height):
    """A PNG of so many pixels that holds none of them."""

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _turned():
    """A tag that says that the camera was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.fixture
def files():
    """14 phantoms: path to content."""
    drawn = classify.LesionPhantom(14, 24, progress=False)
    rows = [["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]]
    found = {}
    for number, lesion in enumerate(drawn):
        name = f"ISIC_{number:07d}"
        rows.append([f"HAM_{number}", name, KINDS[number % 7], "histo", "50.0", "male", "back"])
        picture = Image.fromarray(lesion.image.movedim(0, -1).numpy())
        found[f"HAM10000_images_part_{1 + number % 2}/{name}.jpg"] = _encoded(picture, "JPEG")
        mask = Image.fromarray(255 * lesion.mask.numpy().astype(np.uint8))
        found[f"masks/{name}_segmentation.png"] = _encoded(mask, "PNG")
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    found["HAM10000_metadata.csv"] = table.getvalue().encode()
    return found


def _written(root, files):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def _load(root, **options):
    return classify.HAM10000(root, **{"image_size": 16, "progress": False, **options})


def _everything(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def _picture(number):
    return f"HAM10000_images_part_{1 + number % 2}/ISIC_{number:07d}.jpg"


def test_every_bad_picture_is_named_at_once_and_the_rest_of_the_disk_is_as_it_was(files, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8))
    bad = {
        0: files[_picture(0)][:200],  # cut off
        1: b"",
        2: _encoded(noise, "GIF"),  # a format that is not read, under the suffix of one that is
        3: _png(60_000, 60_000),  # a decompression bomb
        4: b"<svg/>",
        5: _encoded(noise.convert("F"), "TIFF"),  # no white level
    }
    fine = {
        6: _encoded(noise, "PNG"),  # another format behind the suffix: it is what it is
        7: _encoded(noise.convert("CMYK"), "JPEG"),
        8: _encoded(Image.fromarray(np.full((24, 24), 40_000, np.uint16)), "PNG"),
        9: _encoded(noise, "JPEG", exif=_turned()),
    }  # fmt: skip
    for number, content in {**bad, **fine}.items():
        files[_picture(number)] = content
    files["masks/ISIC_0000010_segmentation.png"] = _encoded(Image.new("L", (10, 11)), "PNG")
    root = _written(tmp_path / "ham", files)
    before = _everything(tmp_path)
    with pytest.raises(ValueError, match="7 of 14 images cannot be used") as caught:
        _load(root)
    said = str(caught.value)
    for number in bad:
        assert f"ISIC_{number:07d}.jpg (" in said, number
    assert "ISIC_0000002.jpg (no picture in JPEG, PNG, BMP, TIFF, WEBP)" in said
    assert "ISIC_0000003.jpg (Image size (3600000000 pixels) exceeds limit" in said
    assert "ISIC_0000010_segmentation.png (the mask is 10x11 but its image is 24x24)" in said
    for number in fine:
        assert f"ISIC_{number:07d}" not in said
    assert _everything(tmp_path) == before


def test_a_bomb_is_refused_before_it_takes_its_memory(files, tmp_path):
    resource = pytest.importorskip("resource")
    files[_picture(3)] = _png(60_000, 60_000)  # 10.8 GB of pixels
    root = _written(tmp_path / "ham", files)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"ISIC_0000003.jpg \(Image size .* exceeds limit"):
        _load(root, cache=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize(
    "name", ["läsion-皮膚-🔬", "x" * 200, "a b;c'd", "-rf", "ISIC_1.0.jpg", "%s{0}", "nul"]
)
def test_strange_names_are_names(files, tmp_path, name):
    files["HAM10000_metadata.csv"] = files["HAM10000_metadata.csv"].replace(
        b"ISIC_0000000", f'"{name}"'.encode()
    )
    files[f"one/{name}.jpg"] = files.pop(_picture(0))
    del files["masks/ISIC_0000000_segmentation.png"]
    for root in (_written(tmp_path / "ham", files), _zipped(tmp_path / "ham.zip", files)):
        assert name in _load(root, cache=False).identifiers


def _zipped(path, files):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", "a/b"])
def test_a_row_that_names_a_path_finds_no_picture_there(files, tmp_path, name):
    files["HAM10000_metadata.csv"] = files["HAM10000_metadata.csv"].replace(
        b"ISIC_0000000", name.encode()
    )
    _written(tmp_path, {"x.jpg": files[_picture(1)]})
    root = _written(tmp_path / "deep" / "ham", files)
    before = _everything(tmp_path)
    with pytest.raises(ValueError, match=r"1 of 14 rows of the metadata have no picture"):
        _load(root)
    assert _everything(tmp_path) == before


def test_links_are_followed_and_broken_ones_are_refused(files, tmp_path):
    elsewhere = _written(tmp_path / "elsewhere", {"0.jpg": files.pop(_picture(0))})
    gone = _picture(1)
    files.pop(gone)
    root = _written(tmp_path / "ham", files)
    (root / "HAM10000_images_part_1" / "ISIC_0000000.jpg").symlink_to(elsewhere / "0.jpg")
    (root / gone).symlink_to(tmp_path / "nowhere.jpg")
    (root / "loop").symlink_to(root)
    with pytest.raises(ValueError, match=r"ISIC_0000001.jpg \(a link to .*nowhere.jpg: "):
        _load(root)
    (root / gone).unlink()
    (root / gone).symlink_to(elsewhere / "0.jpg")
    assert len(_load(root, cache=False)) == 14
    with Archive(root) as archive:
        assert not [member.path for member in archive.members if "loop" in member.path]


def test_a_cache_of_another_version_is_built_again_beside_it(files, tmp_path, monkeypatch):
    root = _written(tmp_path / "ham", files)
    first = _load(root)
    monkeypatch.setattr(classify.data.cache, "_VERSION", 999)
    second = _load(root)
    assert len(list((tmp_path / "ham.cache").iterdir())) == 2
    assert (first.gather(range(14)).images == second.gather(range(14)).images).all()


def _build(root, barrier, answers):
    barrier.wait()
    try:
        answers.put(_load(root).fingerprint)
    except BaseException as error:
        answers.put(repr(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_that_build_one_cache_at_once_agree(files, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path / "user")
    )  # where one would go for lack of it
    root = _written(tmp_path / "ham", files)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    started = [context.Process(target=_build, args=(root, barrier, answers)) for _ in range(4)]
    for process in started:
        process.start()
    found = {answers.get(timeout=600) for _ in started}
    for process in started:
        process.join()
    assert found == {_load(root).fingerprint}
    (entry,) = (tmp_path / "ham.cache").iterdir()
    assert not entry.name.startswith(".")
    assert not (tmp_path / "user").exists()
