import errno
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

import joint
from joint.checkpoint import write_atomically


def _tensors():
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.rand(4, 4).t()}


def test_round_trip(tmp_path):
    path, tensors = tmp_path / "folder" / "state.safetensors", _tensors()
    joint.save_checkpoint(path, tensors, {"epoch": 3, "names": ["x"]})
    loaded, head = joint.load_checkpoint(path)
    assert head["epoch"] == 3
    assert head["names"] == ["x"]
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert os.listdir(path.parent) == [path.name]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # as readable as any other file


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "state.safetensors"
    joint.save_checkpoint(path, _tensors(), {"epoch": 1})
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_):
        raise full

    if failing == "write":
        original = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *a: _Refusing(original(*a), full))
    else:
        monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(joint.CheckpointError, match=r"No space left.*before it is intact.*resume"):
        joint.save_checkpoint(path, _tensors(), {"epoch": 2})
    monkeypatch.undo()
    assert joint.load_checkpoint(path)[1]["epoch"] == 1
    assert os.listdir(tmp_path) == [path.name]


class _Refusing:
    def __init__(self, file, error):
        self._file, self._error = file, error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, _):
        raise self._error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_nothing_is_kept_when_nothing_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "fsync", lambda handle: os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    )
    with pytest.raises(joint.CheckpointError, match=r"No space left.*nothing was kept"):
        write_atomically(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "state.safetensors"
    code = (
        "import sys, torch, joint, pathlib\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    joint.save_checkpoint(pathlib.Path(sys.argv[1]),"
        " {'x': torch.full((300_000,), float(number))}, {'number': number})\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        for _ in range(5):
            process.stdout.readline()
        process.kill()
    tensors, head = joint.load_checkpoint(path)
    assert head["number"] >= 5
    assert (tensors["x"] == head["number"]).all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    joint.save_checkpoint(path, _tensors(), {})
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-5]
    elif damage == "empty":
        content = content[:0]
    elif damage == "flipped":
        content[3] ^= 0xFF
    else:
        content = bytearray(b"not a checkpoint, only a text that is long enough")
    path.write_bytes(content)
    with pytest.raises(joint.CheckpointError, match=r"state\.safetensors is damaged or not"):
        joint.load_checkpoint(path)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(joint.CheckpointError, match="there is no checkpoint at"):
        joint.load_checkpoint(tmp_path / "nothing")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(joint.CheckpointError, match="not a checkpoint of this library"):
        joint.load_checkpoint(tmp_path / "foreign.safetensors")


def test_another_architecture_is_refused_and_nothing_is_copied():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    other = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2), nn.Linear(2, 2)).state_dict()
    del other["1.bias"]
    message = (
        r"best\.safetensors holds another architecture.*0\.weight is \(4, 2\) there and \(3, 2\)"
    )
    with pytest.raises(joint.CheckpointError, match=message) as caught:
        joint.load_weights(module, other, source="best.safetensors")
    assert "1.bias (2,) is missing from it" in str(caught.value)
    assert "Build the system from the configuration" in str(caught.value)
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_pickle_is_never_executed(tmp_path):
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return (shutil.os.mkdir, (str(marker),))

    torch.save({"x": Evil()}, tmp_path / "evil.safetensors")
    with pytest.raises(joint.CheckpointError, match="damaged or not"):
        joint.load_checkpoint(tmp_path / "evil.safetensors")
    assert not marker.exists()
