"""A small data set in the official layout, drawn here; nothing of the real one."""

import csv
import io
import os
import struct
import sys
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))  # textures.py

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
COUNTS = {"akiec": 3, "bcc": 3, "bkl": 4, "df": 3, "mel": 4, "nv": 10, "vasc": 3}
FRAME = (40, 30)  # width, height


def encoded(pixels, kind, **options):
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def drawn(number):
    """A smooth frame with a dark ellipse, and the ellipse."""
    width, height = FRAME
    y, x = np.mgrid[:height, :width]
    inside = ((x - 18 - number % 5) / 9) ** 2 + ((y - 14) / 7) ** 2 < 1
    skin = np.stack([180 + x, 120 + 2 * y, 100 + 3 * (number % 20) + 0 * x], axis=-1)
    return np.where(inside[..., None], skin // 3, skin).astype(np.uint8), inside


@cache
def _official():
    """The Kaggle layout: path to content."""
    rows, files, number = [], {}, 0
    for dx, count in COUNTS.items():
        for i in range(count):
            name = f"ISIC_{24306 + (number * 7) % 30:07d}"
            lesion = f"HAM_{dx}_{i // 2 if dx == 'nv' else i}"
            age = "" if number == 4 else f"{20 + number}.0"
            rows.append([lesion, name, dx, "histo", age, "male", "back"])
            picture, inside = drawn(number)
            part = 1 + number % 2
            files[f"HAM10000_images_part_{part}/{name}.jpg"] = encoded(picture, "JPEG", quality=95)
            files[f"HAM10000_segmentations_lesion_tschandl/{name}_segmentation.png"] = encoded(
                inside, "PNG"
            )
            number += 1
    header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    files["HAM10000_metadata.csv"] = table([header, *rows])
    return files


def table(rows, delimiter=","):
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue().encode()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return stream.getvalue()


@pytest.fixture(name="encoded", scope="session")
def _encoded():
    """Pixels or a picture, kind and Pillow's options -> content of a picture file."""
    return encoded


def deep_png(codes):
    """A PNG of 16 bits, which Pillow writes of grey alone; each kind of filter in its rows."""
    height, width, channels = codes.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    step = 2 * channels
    rows = codes.astype(">u2").view(np.uint8).reshape(height, width * step).astype(int)
    content, above = b"", np.zeros(width * step, int)
    for number, row in enumerate(rows):
        left, corner = (np.concatenate([np.zeros(step, int), x[:-step]]) for x in (row, above))
        guess = left + above - corner
        off = np.abs(np.stack([guess - left, guess - above, guess - corner]))
        paeth = np.choose(off.argmin(0), [left, above, corner])
        kind = number % 5
        taken = (0 * row, left, above, (left + above) // 2, paeth)[kind]
        content += bytes([kind]) + ((row - taken) % 256).astype(np.uint8).tobytes()
        above = row
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    stream = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(content)), (b"IEND", b"")):
        checksum = zlib.crc32(name + body)
        stream += struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
    return stream


@pytest.fixture(name="deep_png", scope="session")
def _deep_png():
    """Codes uint16 ``[H, W, C]`` -> content of a PNG of 16 bits."""
    return deep_png


@pytest.fixture(name="table", scope="session")
def _table():
    """Rows of cells and a delimiter -> content of a text file."""
    return table


@pytest.fixture(name="zipped", scope="session")
def _zipped():
    """Files and a method -> content of a zip."""
    return zipped


@pytest.fixture
def files():
    """The small data set, path to content, free to change."""
    return dict(_official())


@pytest.fixture
def rows(files):
    """Its metadata as lists of cells, header first."""
    return list(csv.reader(files["HAM10000_metadata.csv"].decode().splitlines()))


@pytest.fixture
def write(tmp_path):
    """Write files below ``tmp_path``: into a zip if the name ends so, else into a folder."""

    def write(files, name="ham"):
        root = tmp_path / name
        if name.endswith(".zip"):
            root.write_bytes(zipped(files))
        else:
            for path, content in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(content)
        return root

    return write


@pytest.fixture(autouse=True)
def _own_cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """All of HAM10000 at 32 pixels, duplicates merged; decoded once for all test processes."""
    if not os.environ.get("HAM10000_ROOT"):
        pytest.skip("HAM10000_ROOT is not set to the folder or zip of HAM10000")
    from classify.data import HAM10000

    root = Path(os.environ["HAM10000_ROOT"])
    pairs = root.parent / "cross_lesion_duplicates.csv"
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    return HAM10000(
        root,
        image_size=32,
        duplicates=pairs if pairs.exists() else None,
        cache=shared / "ham10000",
        progress=False,
    )
