"""What a file, a folder or a page from somebody else may not do: run code, call home, escape."""

import ast
import html.parser
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import classify
import joint
from joint import study
from joint.cli import main
from joint.picture.file import read_picture
from joint.report import page

ROOT = Path(__file__).parents[2]
LIBRARY = [
    p for name in ("optics", "compress", "classify", "joint") for p in (ROOT / name).rglob("*.py")
]
SHOWN = [*LIBRARY, *(ROOT / "examples").rglob("*.py")]

#: Modules that execute what they read, or reach the network.
BANNED = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml",
    "urllib", "http", "requests", "socket", "ftplib", "smtplib", "xmlrpc", "httpx", "aiohttp",
}  # fmt: skip
#: Calls that do so unless they are told not to: what has to be said.
MUST_SAY = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load",
    "torch.hub.load_state_dict_from_url", "np.fromregex", "torch.serialization.load",
}  # fmt: skip


def _name(node):
    if isinstance(node, ast.Attribute):
        inner = _name(node.value)
        return f"{inner or '?'}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(text):
    """Lines of a module that could run or fetch what a stranger wrote."""
    for node in ast.walk(ast.parse(text)):
        imported = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported = [node.module]
        for module in imported:
            if module.split(".")[0] in BANNED:
                yield node.lineno, f"imports {module}"
        if not isinstance(node, ast.Call):
            continue
        called = _name(node.func)
        if called in FORBIDDEN:
            yield node.lineno, f"calls {called}"
        for keyword in node.keywords:
            loud = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg in ("shell", "allow_pickle") and loud:
                yield node.lineno, f"{called}({keyword.arg}=True)"
        if called in MUST_SAY:
            wanted, value = MUST_SAY[called]
            said = {k.arg: k.value for k in node.keywords}.get(wanted)
            if not (isinstance(said, ast.Constant) and said.value is value):
                yield node.lineno, f"{called} without {wanted}={value}"


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_or_fetches_what_a_stranger_wrote(path):
    assert not list(faults(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "exec(text)",
        "subprocess.run(line, shell=True)",
        "torch.hub.load('x', 'y')",
    ],
)
def test_the_look_through_the_modules_finds_what_it_looks_for(line):
    assert list(faults(line))


#: Who looks at the date of a file or the time of day, and why another machine's clock does no harm.
CLOCKS = {
    "classify/data/archive.py": "a date is compared with itself, for equality",
    "classify/data/arrays.py": "a date is compared with itself, for equality",
    "classify/data/cache.py": "a draft is held as well; where none can be, it has a day",
    "joint/saved/lock.py": "written for people, read by nobody",
    "joint/study/live.py": "two dates that one process wrote, shown to people",
    "joint/study/attempt.py": "a date is compared with itself, for equality",
    "joint/study/race_decision.py": "a date is compared with itself, for equality",
}


_OF_DAY = {"time", "time_ns", "now", "utcnow", "today", "gmtime", "localtime", "ctime"}
_OF_FILE = re.compile(r"st_[amc]time(_ns)?|get[amc]time|st_birthtime(_ns)?")
_OF_EITHER = re.compile(rf"\b({'|'.join(_OF_DAY)}|{_OF_FILE.pattern})\b")


def looks_at_a_clock(text):
    """Whether a module reads the time of day, or that of a file."""
    if not _OF_EITHER.search(text):
        return False  # most: to walk through them takes long
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and _OF_FILE.fullmatch(node.attr):
            return True
        if isinstance(node, ast.Attribute) and node.attr in _OF_DAY:
            inner = _name(node.value).split(".")[-1]
            if inner in ("time", "datetime", "date"):
                return True
        imported = node.names if isinstance(node, ast.ImportFrom) and node.module == "time" else []
        if any(alias.name in _OF_DAY for alias in imported):
            return True
    return False


def test_no_clock_is_trusted_but_where_it_is_said_why():
    found = {p.relative_to(ROOT).as_posix() for p in LIBRARY if looks_at_a_clock(p.read_text())}
    assert found == set(CLOCKS)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("time.time() - path.stat().st_mtime", True),
        ("datetime.datetime.now()", True),
        ("datetime.now(UTC)", True),
        ("from time import time", True),
        ("os.path.getmtime(path)", True),
        ("path.stat().st_ctime_ns", True),
        ("time.monotonic() + time.perf_counter() + time.process_time()", False),
        ("from datetime import timedelta", False),
        ("path.stat().st_size", False),
    ],
)
def test_the_look_for_clocks_finds_them(line, seen):
    assert looks_at_a_clock(line) is seen


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w.bin", "w"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_runs_nothing_wherever_it_is_handed_in(tmp_path, name, writer):
    target, path = tmp_path / "ran", tmp_path / name
    if writer == "torch":
        torch.save({"net": _Bomb(target)}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb(target)))
    readers = (
        lambda: classify.backbone(classes=3, weights=path),
        lambda: joint.load_checkpoint(path),
        lambda: joint.load_predictions(path),
        lambda: classify.MedMNIST(path),
        lambda: classify.HAM10000(path),
        lambda: read_picture(path),
        lambda: joint.load_config(path),
        lambda: study.load_study(path),
    )
    for read in readers:
        with pytest.raises((ValueError, joint.CheckpointError)):
            read()
        assert not target.exists()


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    import numpy as np

    target, path = tmp_path / "ran", tmp_path / "m.npz"
    arrays = {
        f"{part}_{what}": np.zeros((1, 9, 9), np.uint8)
        for part in ("train", "val", "test")
        for what in ("images", "labels")
    }
    arrays["train_images"] = np.array([_Bomb(target)], dtype=object)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a MedMNIST .npz")):
        classify.MedMNIST(path)
    assert not target.exists()


def test_postscript_is_not_handed_to_another_program(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", _refuse)
    path = tmp_path / "lesion.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="that can be read: it is none of BMP, GIF, JPEG"):
        read_picture(path)
    folder = tmp_path / "classes" / "a"
    folder.mkdir(parents=True)
    path.rename(folder / "lesion.png")
    with pytest.raises(ValueError, match=r"a/lesion.png \(no picture in JPEG"):
        classify.ImageFolder(folder.parent, cache=False, progress=False)


def _refuse(*arguments, **options):
    raise AssertionError(f"tried to reach {arguments[:1]}")


# ----------------------------------------------------------------------------- pages, no network

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b\u202e<!--")


class _Page(html.parser.HTMLParser):
    """Tags, attributes and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.events, self.addresses = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.events += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [
            value for name, value in attrs if name in ("src", "href", "action", "data")
        ]


def check_page(text):
    """No markup of a stranger, no script, and nothing to fetch."""
    page = _Page(text)
    assert not page.tags & {"script", "iframe", "object", "embed", "base", "form", "link"}
    assert not page.events
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "<img src=x" not in text


@pytest.fixture
def offline(monkeypatch):
    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)
    monkeypatch.setattr(socket, "create_connection", _refuse)


def _folders(root, names):
    """A picture folder for each class, with names that nobody should choose."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(names):
        folder = root / name.replace("/", "\N{FRACTION SLASH}")
        folder.mkdir(parents=True)
        for k in range(12):
            pixels = torch.randint(0, 256, (20, 20, 3), dtype=torch.uint8, generator=generator)
            pixels[..., number % 3] //= 4
            Image.fromarray(pixels.numpy()).save(folder / f"{name[:9].replace('/', '')}{k}.png")


def test_a_class_that_is_a_script_stays_a_name_and_nobody_calls_home(tmp_path, offline):
    """From pictures to a page of the run, on a machine without a network."""
    _folders(tmp_path / "pictures", EVIL)
    run = tmp_path / "run <b>"
    options = [
        "train", "--data", str(tmp_path / "pictures"), "--output", str(run), "--quiet",
        "--data.image-size", "16", "--front-end", "none", "--codec", "none",
        "--training.epochs", "1", "--training.batch-size", "8", "--split.by", "image",
    ]  # fmt: skip
    assert main(options) == 0
    failure = {"error": EVIL[1], "message": EVIL[0], "traceback": EVIL[1]}
    (run / "failure.json").write_text(json.dumps(failure))
    assert main(["evaluate", str(run), "--json"]) == 0
    assert main(["runs", str(tmp_path)]) == 0
    environments = json.loads((run / "environment.json").read_text())
    environments[0] = {EVIL[1]: EVIL[0], **dict.fromkeys(environments[0], EVIL[1])}
    (run / "environment.json").write_text(json.dumps(environments))
    target = tmp_path / "page.html"
    assert main(["report", str(run), "--output", str(target)]) == 0
    text = target.read_text()
    check_page(text)
    assert "&lt;script&gt;alert(1)" in text
    assert "&quot;&gt;&lt;img src=x" in text


@pytest.mark.parametrize("text", EVIL)
def test_a_page_of_text_alone_is_text(text):
    made = page.page(
        text,
        page.section(text, page.paragraph(text), page.note(text), anchor=text),
        page.contents([(text, text)]),
        page.details(text, text),
        page.table([text], [[text]], caption=text),
    )
    check_page(made)


# ------------------------------------------------------------------------- nothing leaves its place


def _below(root):
    return {str(p.relative_to(root)): p.lstat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["../up.jpg", "/abs.jpg", "a/../../up.jpg", "C:/up.jpg", "..\\up.jpg"]
)
def test_a_zip_with_names_that_lead_outside_writes_nothing(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(inside / "ham.zip", "w") as packed:
        packed.writestr("HAM10000_metadata.csv", "lesion_id,image_id,dx\n")
        packed.writestr(name, b"x")
    before = _below(tmp_path)
    with pytest.raises(ValueError, match="names that lead outside of it"):
        classify.HAM10000(inside / "ham.zip", progress=False)
    assert _below(tmp_path) == before


def test_a_configuration_cannot_write_beside_its_folder(tmp_path):
    config = joint.RunConfig(data=joint.PhantomConfig(count=40, image_size=16))
    for folder in ("a", "a/../b", "a/./c"):
        joint.save_config(config, tmp_path / folder)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.slow
def test_importing_opens_no_socket_at_all():
    """In a process of its own, where even the import could."""
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import optics, compress, classify, joint\n"
        "classify.backbone('resnet18', 3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
