"""What may lie in the repository: nothing large, nothing of this machine, nothing of HAM10000."""

import base64
import io
import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
_RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".avif")

# Written so that this file does not match itself.
MACHINE = re.compile(
    r"(?<![\w.])/(?:work|home|root|Users|mnt|opt)/[\w-]|[A-Za-z]:\\\\?Users"
    r"|(?:extra-|-)index-" + r"url|--find-" + r"links|file" + r":///"
    r"|pypi\.org/simp" + r"le|files\.python" + r"hosted|download\.py" + r"torch\.org"
)


@pytest.fixture(scope="module")
def files():
    """What is tracked, and what would be with the next ``git add``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in sorted(set(filter(None, listed.stdout.split("\0")))))
    return [path for path in paths if path.is_file()]


def test_no_file_is_large_or_holds_weights(files):
    for path in files:
        name = path.relative_to(ROOT)
        assert path.stat().st_size <= 2**20, f"{name} is over 1 MB"
        assert path.suffix not in (".safetensors", ".pt", ".pth", ".ckpt", ".pkl", ".onnx"), name


def test_no_file_has_the_name_of_a_picture_of_the_data_set(files):
    for path in files:
        assert "ISIC_" not in path.name, path.relative_to(ROOT)


def test_no_file_knows_this_machine_or_a_registry(files):
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "see /ho" + "me/ann/data",
        "cp /wo" + "rk/main/x",
        "pip install --index-" + "url https://x",
        "https://files.python" + "hosted.org/x",
        "C:" + "\\Users\\ann",
    ],
)
def test_the_pattern_knows_what_must_not_be_there(line):
    assert MACHINE.search(line)
    assert not MACHINE.search(
        "classify.HAM10000('ham10000.zip'), https://example.org/home/x, ~/data"
    )


# ----------------------------------------------------------------------- Pictures of the data set


def _pictures(path):
    """Pictures in a file: itself, or those embedded in a page, a notebook or an archive."""
    if path.suffix.lower() in _RASTER:
        yield Image.open(path)
    elif path.suffix.lower() in (".html", ".svg", ".ipynb", ".md", ".rst", ".json"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=\s\\n]+)", text)
        found += re.findall(r'"image/(?:png|jpeg)": *"([A-Za-z0-9+/=\\n]+)"', text)
        for coded in found:
            yield Image.open(io.BytesIO(base64.b64decode(re.sub(r"\\n|\s", "", coded))))
    elif path.suffix.lower() in (".npz", ".npy"):
        held = np.load(path, allow_pickle=False)
        for array in held.values() if hasattr(held, "values") else [held]:
            yield from _planes(array)


def _planes(array):
    if array.ndim == 4:
        for each in array:
            yield from _planes(each)
    elif array.ndim == 3 and 3 in (array.shape[0], array.shape[-1]) and min(array.shape) >= 3:
        picture = array if array.shape[-1] == 3 else np.moveaxis(array, 0, -1)
        scale = 1 if array.dtype == np.uint8 else 255
        yield Image.fromarray(np.clip(picture * scale, 0, 255).astype(np.uint8))


def _spans(busy, least):
    edges = np.flatnonzero(np.diff(np.concatenate(([False], busy, [False])).astype(int)))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]


def _panels(picture, least=24):
    """The parts of a figure that even margins separate, down to the single pictures."""
    margin = picture[0, 0]
    busy = (np.abs(picture.astype(np.int16) - margin) > 8).any(-1)
    rows, columns = _spans(busy.any(1), least), _spans(busy.any(0), least)
    whole = [(0, picture.shape[0])], [(0, picture.shape[1])]
    if (rows, columns) == whole or not rows or not columns:
        yield picture
        return
    for top, bottom in rows:
        for left, right in columns:
            part = picture[top:bottom, left:right]
            if part.size and (part != part[0, 0]).any():
                yield from _panels(part, least)


def _thumbnail(picture, box=None):
    return np.asarray(picture.resize((12, 9), Image.Resampling.BOX, box=box))


def _signatures(thumbnails):
    """Colours of thumbnails without mean and contrast: equal where pictures are alike."""
    flat = np.reshape(thumbnails, (len(thumbnails), -1)).astype(float)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _middle(picture):
    """The largest square in the middle, which data sets are loaded as: left, top, right, bottom."""
    side, (width, height) = min(picture.size), picture.size
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _likeness(pictures, known):
    """Largest correlation of any panel of some pictures with the known ones."""
    thumbnails = [
        _thumbnail(Image.fromarray(panel))
        for picture in pictures
        for panel in _panels(np.asarray(picture.convert("RGB")))
    ]
    return float((known @ _signatures(thumbnails).T).max()) if thumbnails else 0.0


@pytest.fixture(scope="module")
def known():
    """Signatures of all pictures of the real set, read at an eighth of their size.

    Of each as it is, and of its square in the middle.
    """
    root = Path(os.environ.get("HAM10000_ROOT", ""))
    if not os.environ.get("HAM10000_ROOT"):
        pytest.skip("HAM10000_ROOT is not set")
    found = []

    def read(file):
        picture = Image.open(file)
        picture.draft("RGB", (picture.width // 8, picture.height // 8))
        found.extend(_thumbnail(picture, box) for box in (None, _middle(picture)))

    if root.is_dir():
        for path in root.rglob("ISIC_*.jpg"):
            read(path)
    else:
        with zipfile.ZipFile(root) as archive:
            for name in archive.namelist():
                if "ISIC_" in name and name.endswith(".jpg"):
                    read(io.BytesIO(archive.read(name)))
    assert len(found) > 1000
    return _signatures(found)


_ALIKE = 0.99


@pytest.mark.ham10000
def test_no_picture_of_ham10000_is_in_the_repository(files, known):
    for path in files:
        likeness = _likeness(_pictures(path), known)
        assert likeness < _ALIKE, (
            f"{path.relative_to(ROOT)} shows a picture of HAM10000 (correlation {likeness:.4f}): "
            "it is licensed CC BY-NC 4.0 and must not be committed"
        )


@pytest.mark.ham10000
def test_a_picture_of_ham10000_would_be_found_in_a_figure_and_in_a_page(known, tmp_path):
    root = Path(os.environ["HAM10000_ROOT"])
    if root.is_dir():
        lesion = Image.open(next(iter(root.rglob("ISIC_*.jpg"))))
    else:
        with zipfile.ZipFile(root) as archive:
            name = next(n for n in archive.namelist() if "ISIC_" in n and n.endswith(".jpg"))
            lesion = Image.open(io.BytesIO(archive.read(name)))
    lesion.load()
    figure = Image.new("RGB", (500, 300), "white")
    square = lesion.crop(_middle(lesion)).resize((128, 128))
    figure.paste(Image.new("RGB", (90, 90), "navy"), (10, 20))
    figure.paste(square, (200, 60))
    figure.save(tmp_path / "figure.png")
    coded = base64.b64encode((tmp_path / "figure.png").read_bytes()).decode()
    (tmp_path / "page.html").write_text(f'<img src="data:image/png;base64,{coded}">')
    np.savez(tmp_path / "some.npz", images=np.asarray(square)[None])
    for name in ("figure.png", "page.html", "some.npz"):
        assert _likeness(_pictures(tmp_path / name), known) > _ALIKE, name


def test_panels_are_told_apart():
    figure = np.full((120, 200, 3), 255, np.uint8)
    noise = np.random.default_rng(0).integers(0, 200, (2, 40, 50, 3), dtype=np.uint8)
    figure[10:50, 20:70], figure[60:100, 100:150] = noise
    panels = list(_panels(figure))
    assert [panel.shape for panel in panels] == [(40, 50, 3)] * 2
    assert np.array_equal(panels[0], noise[0])
