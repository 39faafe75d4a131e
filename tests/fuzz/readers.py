"""Throw damaged files at every reader of a file that a person may hand over.

``python tests/fuzz/readers.py --files 100000 --seed 0`` damages good files (bytes, as the fuzzer of
decoders does; JSON, values and structure; tables, cells and lines; JSON heads of safetensors with
the checksum made right again) and hands them to whoever reads them. Each must be read, or refused
with the errors that its reader names, within ``--seconds`` and within ``--memory`` MB beyond
what the process had. Prints what happened, the slowest call and the peak memory; a file that
breaks the rule is written to ``--keep``, and ends the run with status 1.

``tests/fuzz/corpus_readers`` holds the files that once broke it; a test replays them.
"""

import argparse
import csv
import io
import json
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image

import classify
import joint
import optics
from classify.data.archive import Archive
from classify.data.cache import _opened
from joint import study
from joint.config.psf import read_psf
from joint.deploy.decision import load_rule, save_rule
from joint.picture.file import read_picture
from joint.saved.folder import RunFolder, read_history, read_result, summarise_run
from joint.saved.lock import holder_of
from joint.study.attempt import attempts
from joint.study.ledger import read_failure

CORPUS = Path(__file__).parent / "corpus_readers"
SECONDS, MEMORY = 10.0, 512

#: What a reader may raise: each says what is wrong with which file.
NAMED = (ValueError, joint.CheckpointError, FileNotFoundError)


class Target:
    """A reader, the file that is damaged, and the folder in which it stands."""

    def __init__(
        self, path: str, read: Callable[[Path], object], *, never: bool = False, named: bool = True
    ) -> None:
        self.path, self.read = path, read
        self.never = never
        """It copes with everything and never raises."""
        self.named = named
        """Its errors name the file."""


def _run(folder: Path) -> None:
    """What a run leaves, but small."""
    held = RunFolder(folder / "run")
    held.path.mkdir()
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=40, image_size=16),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(),
            sensor=joint.NoneConfig(),
            codec=joint.KMeansConfig(colors=2),
            classifier=joint.NoneConfig(),
        ),
        objective=joint.Objective(task=0, distortion=1),
        training=joint.Training(monitor="loss"),
    )
    joint.save_config(config, held.path)
    held.append_history({"epoch": 0, "train": {"total": 1.0}, "validation": {"loss": 0.5}})
    held.append_history({"epoch": 1, "train": {"total": 0.9}, "validation": {"loss": 0.4}})
    held.record_environment("cpu")
    held.fail(ValueError("a <reason>"))
    held.finish({"digest": "0", "epochs": 2, "test": {"count": 3, "accuracy": 0.5}})
    tensors = {"labels": torch.arange(3), "logits": torch.randn(3, 7)}
    head = {"classes": list("abcdefg"), "identifiers": ["1", "2", "3"], "groups": ["1", "1", "2"]}
    joint.save_checkpoint(held.path / "predictions.safetensors", tensors, head)
    parts = joint.build_split(config, joint.build_data(config.data))
    identity = {
        "train": parts.train.fingerprint,
        "validation": parts.validation.fingerprint,
        "system": {},
        "codec_channels": 3,
        "training": {"restore_best": True, "averaging": None},
        "scenes": {"image_size": [16, 16], "channels": 3, "classes": list("abcdefg")},
    }
    joint.save_checkpoint(held.path / "best.safetensors", {}, {"identity": identity})
    state = {"epoch": 1, "step": 0, "records": []}
    joint.save_checkpoint(held.path / "checkpoint.safetensors", tensors, state)
    (held.path / "lock.json").write_text('{"pid": 4, "host": "here", "since": "now"}')
    save_rule(held.path / "rule.json", _rule())
    (held.path / "attempts.jsonl").write_text('{"reached": 1, "pid": 3, "host": "here"}\n' * 2)


def _rule() -> classify.DecisionRule:
    labels = np.arange(30) % 3
    scores = np.random.default_rng(0).normal(np.eye(3)[labels])
    names = ("bcc", "mel", "nv")
    referral = classify.choose_cutoff(
        scores, labels, classes=names, positive="mel", sensitivity=0.8, assurance=0.5
    )
    fitted = {"run": "0", "part": "validation", "photons": 50.0}
    return classify.DecisionRule(names, 2.0, (0.1, 0.2, -0.3), referral, fitted)


def _ruled(path: Path) -> object:
    """A rule that is read decides, and can be printed and written."""
    rule = load_rule(path)
    scores = np.zeros((2, len(rule.classes)))
    assert np.isfinite(rule.probabilities(scores)).all()
    if rule.referral is not None:
        rule.refers(scores)
    return str(rule), json.dumps(rule.to_dict()), rule.fitted.get("run")


def _study(folder: Path) -> None:
    small = study.Study(
        axes={"light": study.Axis(path="system.sensor.photons", values=(50, 5000))},
        plan=study.Plan(
            comparisons=(study.Comparison(first={"light": 5000}, second={"light": 50}),)
        ),
        seeds=(0, 1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.create_study(small, folder / "study")
    (folder / "plan.toml").write_text(
        'name = "light"\nseeds = [0, 1]\n[base.data]\nkind = "phantom"\ncount = 40\n'
        '[axes.light]\npath = "system.sensor.photons"\nvalues = [50, 5000]\n'
        '[plan]\nmetric = "accuracy"\n[[plan.comparisons]]\nfirst = {light = 50}\n'
        "second = {light = 5000}\n"
    )


def _optics(folder: Path) -> None:
    height = 1e-6 * torch.rand(5, 4)
    optics.export_height_map(
        height,
        folder / "relief.tif",
        spacing=1e-6,
        material="fused_silica",
        design_wavelength=532e-9,
        levels=4,
    )
    spot = np.exp(-np.square(np.arange(11) - 5) / 4)
    spot = np.outer(spot, spot)
    np.save(folder / "psf.npy", np.stack([spot, spot, spot]) / spot.sum())
    for kind in ("tif", "png"):
        Image.fromarray(np.rint(250 * spot).astype(np.uint8)).save(folder / f"psf.{kind}")
    plate = torch.polar(torch.rand(5, 4, dtype=torch.float64), torch.rand(5, 4).double())
    optics.export_plate(plate, folder / "plate", spacing=1e-6, wavelength=532e-9)


def _pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]]
    for number, dx in enumerate(classify.LESION_CLASSES):
        rows.append([f"HAM_{number}", f"ISIC_{number}", dx, "histo", "40.0", "male", "back"])
        picture = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8))
        (folder / "ham" / "images").mkdir(parents=True, exist_ok=True)
        picture.save(folder / "ham" / "images" / f"ISIC_{number}.jpg")
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    (folder / "ham" / "HAM10000_metadata.csv").write_text(table.getvalue())
    (folder / "pairs.csv").write_text("image_a,image_b\nISIC_0,ISIC_1\nISIC_2,ISIC_3\n")
    (folder / "isic").mkdir()
    shutil.copytree(folder / "ham" / "images", folder / "isic" / "input")
    names = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    truth = ["image," + ",".join(names)]
    truth += [
        f"ISIC_{n}," + ",".join(f"{float(k == n)}" for k in range(len(names)))
        for n in range(len(names))
    ]
    (folder / "isic" / "ISIC2018_Task3_Training_GroundTruth.csv").write_text("\n".join(truth))
    for kind in ("png", "jpg", "tif", "bmp", "webp", "gif"):
        Image.fromarray(rng.integers(0, 255, (12, 9, 3), np.uint8)).save(folder / f"one.{kind}")
    with zipfile.ZipFile(folder / "ham.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((folder / "ham").rglob("*.*")):
            packed.write(path, path.relative_to(folder))
    parts = {}
    for part in ("train", "val", "test"):
        parts[f"{part}_images"] = rng.integers(0, 255, (7, 9, 9, 3), np.uint8)
        parts[f"{part}_labels"] = np.arange(7)[:, None]
    np.savez(folder / "mnist.npz", **parts)
    scenes = classify.LesionDataset(
        images=rng.integers(0, 2**16, (7, 2, 9, 12)).astype(np.uint16),
        labels=np.arange(7),
        groups=list("aabbccd"),
        identifiers=range(7),
        masks=rng.random((7, 9, 12)) > 0.5,
        has_mask=np.arange(7) < 5,
        metadata={"age": np.linspace(20, 80, 7)},
        encoding="linear",
    )
    classify.save_scenes(scenes, folder / "scenes.npz")
    classify.HAM10000(folder / "ham", image_size=8, cache=folder / "cache", progress=False)
    (entry,) = (folder / "cache").iterdir()
    entry.rename(folder / "entry")
    state = classify.backbone(classes=3).state_dict()
    safetensors.torch.save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pth")


def _labelled(path: Path) -> None:
    classify.ImageTable(
        path, image="image_id", label="dx", image_size=8, cache=False, progress=False
    )


def _ham(path: Path) -> object:
    return classify.HAM10000(path, image_size=8, cache=False, progress=False)


def _members(path: Path) -> object:
    """Everything in a zip, zips within it included."""
    with Archive(path) as archive:
        found = [member.path for member in archive.deep]
    _ham(path)
    return found


def _decoded(path: Path) -> object:
    folder = path.parent / f"{path.name}.classes" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / path.name)
    return classify.ImageFolder(folder.parent, image_size=8, cache=False, progress=False)


def _plate(path: Path) -> object:
    return optics.import_plate(path.with_name(f"plate{path.suffix}"))


def _psf(path: Path) -> object:
    """As shares of the light, whatever their sum, and as a picture of a point."""
    scale = {"throughput": 0.9, "psf_size": 5}
    taken = read_psf(joint.PSFConfig(file=path, **scale), 3)
    measured = read_psf(joint.PSFConfig(file=path, content="picture", **scale), 3)
    for psf in (taken, measured):
        assert psf.shape == (3, 5, 5)
        assert bool((psf >= 0).all())
        assert float(psf.sum((-2, -1)).max()) < 0.9 + 1e-6
    return psf


def _weights(path: Path) -> object:
    return classify.backbone(classes=3, weights=path)


def _folder(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: read(path.parent)


def _reported(path: Path) -> object:
    from joint.report.saved import read_runs  # matplotlib

    return read_runs([path.parent], resamples=0)


TARGETS: dict[str, Target] = {
    "config": Target("run/config.json", joint.load_config),
    "history": Target("run/history.jsonl", _folder(read_history)),
    "result": Target("run/result.json", _folder(read_result)),
    "summary_config": Target("run/config.json", _folder(summarise_run), never=True),
    "summary_history": Target("run/history.jsonl", _folder(summarise_run), never=True),
    "summary_failure": Target("run/failure.json", _folder(summarise_run), never=True),
    "environment": Target(
        "run/environment.json",
        lambda path: RunFolder(path.parent).record_environment("cpu"),
        never=True,
    ),
    "reported_result": Target("run/result.json", _reported),
    "reported_history": Target("run/history.jsonl", _reported),
    "reported_environment": Target("run/environment.json", _reported),
    "lock": Target("run/lock.json", _folder(holder_of), never=True),
    "failure": Target("run/failure.json", _folder(read_failure), never=True),
    "attempts": Target("run/attempts.jsonl", lambda path: list(attempts(path)), never=True),
    "predictions": Target("run/predictions.safetensors", joint.load_predictions),
    "rule": Target("run/rule.json", _ruled),
    "checkpoint": Target("run/checkpoint.safetensors", joint.load_checkpoint),
    "codec": Target("run/best.safetensors", _folder(joint.load_codec)),
    "run": Target("run/best.safetensors", _folder(joint.load_run)),
    "study": Target("study/study.json", _folder(study.open_study)),
    "toml": Target("plan.toml", study.load_study),
    "relief_tif": Target("relief.tif", optics.import_height_map),
    "relief_csv": Target("relief.csv", optics.import_height_map),
    **{
        f"plate_{quantity}_{kind}": Target(f"plate_{quantity}.{kind}", _plate)
        for quantity in ("transmittance", "phase")
        for kind in ("tif", "csv")
    },
    **{f"psf_{kind}": Target(f"psf.{kind}", _psf) for kind in ("npy", "tif", "png")},
    "medmnist": Target("mnist.npz", classify.MedMNIST),
    "scenes": Target("scenes.npz", classify.SceneFile),
    "metadata": Target("ham/HAM10000_metadata.csv", _folder(_ham)),
    "image_table": Target("ham/HAM10000_metadata.csv", _labelled),
    "pairs": Target(
        "pairs.csv",
        lambda path: classify.HAM10000(
            path.parent / "ham", image_size=8, cache=False, progress=False, duplicates=path
        ),
    ),
    "isic": Target(
        "isic/ISIC2018_Task3_Training_GroundTruth.csv",
        _folder(lambda path: classify.ISIC(path, image_size=8, cache=False, progress=False)),
        named=False,  # where it is no truth any more, the folder has none
    ),
    "zip": Target("ham.zip", _members),
    "entry_manifest": Target("entry/manifest.json", _folder(_opened), never=True),
    "entry_images": Target("entry/images.npy", _folder(_opened), never=True),
    "weights": Target("w.safetensors", _weights),
    "pickled_weights": Target("w.pth", _weights),
    **{f"picture_{kind}": Target(f"one.{kind}", read_picture) for kind in ("png", "tif", "gif")},
    **{
        f"decoded_{kind}": Target(f"one.{kind}", _decoded) for kind in ("png", "jpg", "webp", "bmp")
    },
}


class Fixture:
    """A folder with one good file for each reader; a reader works in a copy of its own."""

    def __init__(self, folder: Path) -> None:
        self.good = folder / "good"
        self.good.mkdir()
        for make in (_run, _study, _optics, _pictures):
            make(self.good)
        self.work = folder / "work"
        shutil.copytree(self.good, self.work)
        self.content = {
            name: (self.good / target.path).read_bytes() for name, target in TARGETS.items()
        }
        for name in TARGETS:
            assert self.judge(name, self.content[name]) == "read", name

    def judge(self, name: str, data: bytes) -> str:
        """Read; say what came of it, or raise whatever should not have."""
        target = TARGETS[name]
        path = self.work / target.path
        path.write_bytes(data)
        try:
            with warnings.catch_warnings(), _no_longer_than(SECONDS):
                warnings.simplefilter("ignore")
                target.read(path)
        except NAMED as error:
            if target.never:
                raise AssertionError(f"{name} may not raise, but: {error!r}") from error
            if target.named and not any(
                n in str(error) for n in (path.name, path.parent.name, ".jpg")
            ):
                raise AssertionError(f"{name} does not name the file: {error}") from error
            return "refused"
        finally:
            path.unlink(missing_ok=True)
            path.write_bytes(self.content[name])
        return "read"


@contextmanager
def _no_longer_than(seconds: float):
    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# ------------------------------------------------------------------------------------- damage

_ODD = (
    None, True, -1, 0, 2**63, -(2**70), 10**400, 1e308, -0.0, float("nan"), float("inf"), "",
    "<script>", "\ud800", "\x00", "../../etc", "nan", "9" * 5000, [], {}, [[]], [None], {"": None},
    {"kind": "none"}, "x" * 10_000,
)  # fmt: skip
_CELLS = ("", "nan", "-1", "1e999", "9" * 400, '"', "\x00", "ISIC_0", "../x", "é", "\ufeff", "=1+1")


def damage(data: bytes, path: str, others: list[bytes], rng: random.Random) -> bytes:
    """Damage a file by what it is, or by its bytes."""
    if rng.random() < 0.65:
        try:  # the shape that it was written in
            if path.endswith((".json", ".jsonl")):
                return _json_damage(data, rng)
            if path.endswith((".csv", ".toml")):
                return _text_damage(data, rng)
            if path.endswith(".safetensors"):
                return _head_damage(data, rng)
            if path.endswith((".zip", ".npz", ".pth")):
                return _zip_damage(data, others, rng)
            if path.endswith(".tif"):
                return _tiff_damage(data, rng)
            if path.endswith(".npy"):
                return _npy_damage(data, rng)
        except Exception:
            return _byte_damage(data, others, rng)  # damaged beyond this already
    return _byte_damage(data, others, rng)


def _byte_damage(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    damaged = bytearray(data)
    kind = rng.randrange(7)
    if kind == 0:
        del damaged[rng.randrange(len(damaged) + 1) :]
    elif kind == 1:
        damaged += rng.randbytes(rng.randint(1, 64))
    elif kind == 2:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 34, 44, 91, 127, 128, 255))
    elif kind == 4:
        other = rng.choice(others)
        damaged = damaged[: rng.randrange(len(damaged))] + other[rng.randrange(len(other)) :]
    elif kind == 5:
        damaged = bytearray(rng.choice((b"", b"\0" * 100, rng.randbytes(rng.randint(0, 300)))))
    else:
        place = rng.randrange(max(1, len(damaged) - 8))
        size = rng.choice(("<I", "<Q", ">I"))
        number = rng.choice((0, 1, 2**16, 2**31, 2**32 - 1))
        damaged[place : place + struct.calcsize(size)] = struct.pack(size, number)
    return bytes(damaged)


def _changed(value: object, rng: random.Random) -> object:
    """One value somewhere in a JSON document replaced, removed, doubled, wrapped or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            rest = {k: v for k, v in value.items() if k != key}
            return rest if rng.random() < 0.5 else {**rest, key + "x": value[key]}
        return {**value, key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return rng.choice(([*value, *value], value[:place], value[1:]))
        return [*value[:place], _changed(value[place], rng), *value[place + 1 :]]
    deep = "[" * 3000 + "]" * 3000
    return rng.choice((*_ODD, [value], {"x": value}, json.loads(deep[2900:3100])))


def _json_damage(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return rng.choice((b"[", b'{"a":')) * rng.choice((10, 5_000, 200_000))
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    place = rng.randrange(len(lines))
    document = json.loads(lines[place] or b"{}")
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = _changed(document, rng)
    lines[place] = json.dumps(document).encode()
    return b"\n".join(lines)


def _text_damage(data: bytes, rng: random.Random) -> bytes:
    lines = data.decode().split("\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif kind == 2:
        cells = lines[place].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(_CELLS)
        lines[place] = ",".join(cells)
    elif kind == 3:
        lines[place] = lines[place].replace(",", rng.choice((";", "\t", ",,", "")))
    elif kind == 4:
        lines[place] = rng.choice(_CELLS) + lines[place]
    else:
        key, _, _ = lines[place].partition(":" if ":" in lines[place] else "=")
        value = rng.choice(("1e400", "10" * 300, "[[" * 4000, "nan", '"', "{}", "[1,2]", "-1"))
        lines[place] = f"{key}{':' if ':' in lines[place] else ' ='} {value}"
    return "\n".join(lines).encode("utf-8", "replace")


def _head_damage(data: bytes, rng: random.Random) -> bytes:
    """Change the head of a checkpoint, and make its checksum right again."""
    tensors = safetensors.torch.load(data)
    length = struct.unpack("<Q", data[:8])[0]
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    if metadata is None:
        return _byte_damage(data, [data], rng)
    head = json.loads(metadata["lens2label"])
    if rng.random() < 0.7:
        head = _changed(head, rng)
    else:
        name = rng.choice(sorted(tensors)) if tensors else "x"
        tensors[name] = rng.choice(
            (
                torch.zeros(0),
                torch.zeros(3, 7, dtype=torch.bfloat16),
                torch.full((3, 7), float("nan")),
            )
        )
    text = json.dumps(head)
    from joint.saved.checkpoint import _checksum

    return safetensors.torch.save(tensors, {"lens2label": text, "crc32": _checksum(tensors, text)})


def _npy_damage(data: bytes, rng: random.Random) -> bytes:
    """Claim another shape or kind of numbers in the head of an array."""
    shape = rng.choice(("(99999999999, 9, 9, 3)", "()", "(7,)", "(-1, 9)", "(7, 0)", "(2**70,)"))
    kind = rng.choice(("|u1", "<i8", "<f8", "|O", "<U9", ">i2", "|b1", "<u8", "|V8", "bogus"))
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode() + b"\n" + data[128:]


def _zip_damage(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Change one member of a zip, or its name, and pack it again."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    name = rng.choice(sorted(members))
    content = members.pop(name)
    kind = rng.randrange(6)
    if kind == 0:
        name = rng.choice(("../up", "/top", "a" * 300, "", "x\\y", "é.jpg", name + ".zip", "con"))
    elif kind == 1:
        content = b""
    elif kind == 2 and name.endswith(".npy"):
        content = _npy_damage(content, rng)
    elif kind == 3:
        content = b"\0" * rng.choice((1, 10**6, 3 * 10**7))
    else:
        content = _byte_damage(content or b"x", others, rng)
    members[name] = content
    stream = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as packed:
        warnings.simplefilter("ignore")
        for member, inside in members.items():
            packed.writestr(member, inside)
    return stream.getvalue()


def _tiff_damage(data: bytes, rng: random.Random) -> bytes:
    """Change an entry of the directory of a TIFF: its tag, type, count or value."""
    place = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[place : place + 2])[0]
    entry = place + 2 + 12 * rng.randrange(count)
    part, kind, allowed = rng.choice(
        ((0, "<H", (256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 282, 339)),
         (2, "<H", (0, 1, 2, 3, 4, 5, 7, 12, 13, 99)),
         (4, "<I", (0, 1, 2, 2**16, 2**31, 2**32 - 1)),
         (8, "<I", (0, 1, 7, 40_000, 2**31, 2**32 - 1)))
    )  # fmt: skip
    damaged = bytearray(data)
    start = entry + part
    damaged[start : start + struct.calcsize(kind)] = struct.pack(kind, rng.choice(allowed))
    return bytes(damaged)


# ------------------------------------------------------------------------------------- running


def run(
    files: int, seed: int, names: list[str], keep: Path | None, *, until: float | None = None
) -> Counter[tuple[str, str]]:
    """Damage and judge; returns how often what happened. With ``keep``, faults do not end it."""
    rng = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest, most = (0.0, ""), (0, "")
    with tempfile.TemporaryDirectory() as place:
        fixture = Fixture(Path(place))
        everything = list(fixture.content.values())
        before = _peak()
        for number in range(files):
            if until is not None and time.monotonic() > until:
                break
            name = names[number % len(names)]
            data = fixture.content[name]
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                data = damage(data or b"x", TARGETS[name].path, everything, rng)
            begin = time.perf_counter()
            try:
                outcome = fixture.judge(name, data)
                if _peak() - before > MEMORY:
                    raise MemoryError(f"{_peak() - before} MB more than before")
            except BaseException as error:
                if keep is None or isinstance(error, KeyboardInterrupt):
                    raise
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{zlib.crc32(data):08x}").write_bytes(data)
                outcome = f"FAULT {type(error).__name__}"
                print(f"{name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                before = max(before, _peak() - MEMORY) if _peak() - before > MEMORY else before
            slowest = max(slowest, (time.perf_counter() - begin, name))
            most = max(most, (_peak() - before, name))
            outcomes[name, outcome] += 1
    print(f"slowest call {slowest[0]:.3f} s ({slowest[1]}), {most[0]} MB beyond the start")
    return outcomes


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--keep", type=Path, help="where to write files that break the rule")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    options = parser.parse_args()
    torch.set_num_threads(1)
    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    outcomes = run(options.files, options.seed, options.readers, options.keep, until=until)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:<22}{outcome:<24}{count:>8}")
    print(f"{sum(outcomes.values())} files, peak memory {_peak()} MB")
    sys.exit(any(outcome.startswith("FAULT") for _, outcome in outcomes))


if __name__ == "__main__":
    main()
