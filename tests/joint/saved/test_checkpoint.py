import copy
import errno
import os
import pickle
import re
import shutil
import zlib
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import joint
import joint.saved.checkpoint
from joint.saved.checkpoint import (
    CheckpointDamaged,
    check_writable,
    digest,
    latest_head,
    load_head,
    load_latest,
    remove_leftovers,
    write_atomically,
)


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


@pytest.mark.parametrize("name", ["state.pt", "state.BIN"])
def test_a_name_that_would_not_be_read_again_is_not_written(tmp_path, name):
    with pytest.raises(joint.CheckpointError, match=rf"{name} has the name .*: name it state\."):
        joint.save_checkpoint(tmp_path / name, _tensors(), {})
    assert not os.listdir(tmp_path)


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
    # Only what keeps the one before it is the state of something that can be resumed.
    with pytest.raises(joint.CheckpointError, match=r"No space left.*is intact.*another folder$"):
        joint.save_checkpoint(path, _tensors(), {"epoch": 2})
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(joint.CheckpointError, match=r"No space left.*is intact.*, then resume$"):
        joint.save_checkpoint(path, _tensors(), {"epoch": 2}, previous=tmp_path / "before")
    monkeypatch.undo()
    assert load_latest(path, tmp_path / "before")[1]["epoch"] == 1


def test_a_place_where_no_file_can_be_is_known_before_there_is_one(tmp_path):
    check_writable(tmp_path / "new" / "deeper" / "a.html")
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").touch()
    for inside in (tmp_path / "file" / "a.html", tmp_path / "file" / "new" / "a.html"):
        with pytest.raises(joint.CheckpointError, match=r"cannot write .*a\.html: Not a directory"):
            check_writable(inside)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


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


def test_a_killed_writer_leaves_the_old_file_whole(fresh_joint, tmp_path):
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
    with fresh_joint.start(code, path) as process:
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
    assert "Both must be built alike" in str(caught.value)
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_fits_a_checkpoint_is_named(tmp_path):
    file = tmp_path / "best.safetensors"
    joint.save_checkpoint(file, {"weight": torch.ones(2)}, {})
    tensors, _ = joint.load_checkpoint(file)
    message = r"There is no config\.json beside it .*as for joint\.fit, then joint\.load_fitted\(sy"
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_weights(nn.Linear(2, 3), tensors, source=str(file))
    (tmp_path / "config.json").touch()
    message = rf"joint\.load_run\({re.escape(repr(str(tmp_path)))}\) builds the one that it is of"
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_weights(nn.Linear(2, 3), tensors, source=str(file))


def _evil(marker):
    class Evil:
        def __reduce__(self):
            return (shutil.os.mkdir, (str(marker),))

    return {"x": Evil()}


@pytest.mark.parametrize("name", ["evil.safetensors", "evil.pt", "evil.pkl", "evil.CKPT"])
@pytest.mark.parametrize("writer", ["torch", "torch before 1.6", "pickle"])
def test_a_pickle_is_never_executed(tmp_path, name, writer):
    content, path = _evil(tmp_path / "marker"), tmp_path / name
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(joint.CheckpointError, match=r"is a pickle.* and was not read.*Only safet"):
        joint.load_checkpoint(path)
    assert not (tmp_path / "marker").exists()


def test_a_length_that_looks_like_a_pickle_is_none(tmp_path):
    """The first two bytes of a safetensors file are the length of its head: here 0x..280."""
    path = tmp_path / "state.safetensors"
    joint.save_checkpoint(path, {}, {"padding": ""})
    padding = 0x280 - int.from_bytes(path.read_bytes()[:8], "little")
    joint.save_checkpoint(path, {}, {"padding": "x" * padding})
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert joint.load_checkpoint(path)[1]["padding"] == "x" * padding


def test_a_later_format_is_refused_whole_as_it_is(tmp_path, monkeypatch):
    path, previous = tmp_path / "state.safetensors", tmp_path / "older.safetensors"
    joint.save_checkpoint(previous, _tensors(), {})
    monkeypatch.setattr(joint.saved.checkpoint, "_FORMAT", 2)
    joint.save_checkpoint(path, _tensors(), {})
    monkeypatch.undo()
    message = r"state\.safetensors is a checkpoint of format 2, and this .* reads format 1"
    for load in (joint.load_checkpoint, lambda p: load_latest(p, previous)):
        with pytest.raises(joint.CheckpointError, match=message) as caught:
            load(path)
        assert not isinstance(caught.value, CheckpointDamaged)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "state.safetensors"
    tensors = _tensors() | {
        "half": torch.arange(3.0).to(torch.bfloat16),
        "none": torch.zeros(0, 3),
        "flag": torch.tensor([True, False]),
    }
    joint.save_checkpoint(path, tensors, {"epoch": 3, "name": "é"})
    return path, tensors


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_goes_unnoticed(written, data):
    path, tensors = written
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    try:
        loaded, head = joint.load_checkpoint(damaged)
    except joint.CheckpointError:
        return
    # What is left is white space in the head, or the way in which it writes a name.
    assert head == {"format": 1, "epoch": 3, "name": "é"}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert all(loaded[name].dtype == tensors[name].dtype for name in tensors)


def test_a_flipped_bit_in_a_weight_is_found(written, tmp_path):
    content = bytearray(written[0].read_bytes())
    content[-1] ^= 1
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointDamaged, match="does not have the checksum that it was written"):
        joint.load_checkpoint(path)
    assert load_head(path) == load_head(written[0]) == {"format": 1, "epoch": 3, "name": "é"}


def test_a_head_is_read_without_a_tensor(written, tmp_path, monkeypatch):
    expected = joint.load_checkpoint(written[0])[1]
    monkeypatch.setattr(zlib, "crc32", None)
    assert load_head(str(written[0])) == expected
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(written[0].read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged, match=r"cut\.safetensors is damaged or not a safet"):
        load_head(cut)
    with pytest.raises(joint.CheckpointError, match="there is no checkpoint at"):
        load_head(tmp_path / "nothing")


def _three(tmp_path):
    path, previous = tmp_path / "a.safetensors", tmp_path / "a.previous.safetensors"
    for number in range(3):
        joint.save_checkpoint(path, _tensors(), {"number": number}, previous=previous)
    return path, previous


def test_the_one_before_is_kept(tmp_path):
    path, previous = _three(tmp_path)
    assert load_latest(path, previous)[1]["number"] == 2
    assert joint.load_checkpoint(previous)[1]["number"] == 1
    assert sorted(os.listdir(tmp_path)) == [previous.name, path.name]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing"])
def test_a_damaged_one_is_set_aside_for_the_one_before(tmp_path, damage):
    path, previous = _three(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= damage == "flipped"
    path.write_bytes({"truncated": content[:-9], "empty": b""}.get(damage, content))
    message = r"a\.safetensors is damaged and now called a\.damaged\.safetensors; the check"
    if damage == "missing":
        path.unlink()
        message = r"a\.safetensors is missing; the checkpoint before it, a\.previous\.saf.* is used"
    there = sorted(os.listdir(tmp_path))
    assert latest_head(path, previous)["number"] == (2 if damage == "flipped" else 1)
    assert sorted(os.listdir(tmp_path)) == there  # whoever looks moves nothing
    with pytest.warns(UserWarning, match=message):
        assert load_latest(path, previous)[1]["number"] == 1
    # The damaged one must not become the one before of the next.
    joint.save_checkpoint(path, _tensors(), {"number": 3}, previous=previous)
    assert load_latest(path, previous)[1]["number"] == 3
    assert joint.load_checkpoint(previous)[1]["number"] == 1


def test_two_damaged_ones_are_both_named(tmp_path):
    path, previous = _three(tmp_path)
    for damaged in (path, previous):
        damaged.write_bytes(b"nothing")
    with pytest.raises(CheckpointDamaged) as caught:
        load_latest(path, previous)
    assert f"{path} is damaged" in str(caught.value)
    assert f"{previous} is damaged" in str(caught.value)
    assert path.exists()
    previous.unlink()
    with pytest.raises(CheckpointDamaged, match=r"is damaged.*Nor is there an older one: there is"):
        load_latest(path, previous)
    path.unlink()
    with pytest.raises(joint.CheckpointError, match="there is no checkpoint at"):
        load_latest(path, previous)


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_between_the_renames_leaves_the_old_file(tmp_path, monkeypatch, links):
    path, previous = _three(tmp_path)
    original = os.replace

    def refused(*_):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)

    def dying(source, target):
        if target == path:
            raise KeyboardInterrupt
        original(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        joint.save_checkpoint(path, _tensors(), {"number": 3}, previous=previous)
    monkeypatch.undo()
    missing = nullcontext() if links else pytest.warns(UserWarning, match="is missing")
    with missing:
        assert load_latest(path, previous)[1]["number"] == 2
    assert joint.load_checkpoint(previous)[1]["number"] == 2
    if links:  # both names are of one file now, which is where the next writer begins
        joint.save_checkpoint(path, _tensors(), {"number": 4}, previous=previous)
        assert joint.load_checkpoint(path)[1]["number"] == 4
        assert joint.load_checkpoint(previous)[1]["number"] == 2
        assert sorted(os.listdir(tmp_path)) == [previous.name, path.name]


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path):
    kept = ["a.safetensors", ".hidden", ".a.b.c", ".a.12-0123456", "notes.7-01234567"]
    for name in [*kept, ".a.safetensors.12-0123abcd"]:
        (tmp_path / name).touch()
    (tmp_path / ".folder.1-01234567").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, ".folder.1-01234567"])
    remove_leftovers(tmp_path / "nowhere")


def test_the_longest_name_that_a_file_may_have_is_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".l2l")
    path.touch()
    write_atomically(path, b"1")
    write_atomically(path, b"2", previous=tmp_path / "old")
    assert path.read_bytes() == b"2"
    assert sorted(os.listdir(tmp_path)) == [path.name, "old"]
    with pytest.raises(
        joint.CheckpointError, match=r"File name too long; .*\. Choose a shorter name"
    ):
        write_atomically(tmp_path / ("a" * 252 + ".l2l"), b"3")
    assert len(os.listdir(tmp_path)) == 2


def test_a_temporary_file_is_known_as_what_a_killed_writer_left(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(os, "unlink", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"1")
    monkeypatch.undo()
    assert len(os.listdir(tmp_path)) == 1
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


def test_tensors_that_share_their_memory_are_stored_each(tmp_path):
    path, shared = tmp_path / "state.safetensors", torch.arange(6.0)
    tensors = {"whole": shared, "again": shared, "part": shared[2:4], "rows": shared.view(2, 3)}
    tensors["trained"] = nn.Parameter(shared)
    joint.save_checkpoint(path, tensors, {})
    loaded, _ = joint.load_checkpoint(path)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(("missing", "end"), [(5, "from it. Both"), (6, "from it; and 1 more. B")])
def test_five_differences_are_named_and_the_rest_counted(missing, end):
    module = nn.ParameterDict({f"w{i}": torch.zeros(1) for i in range(9)})
    held = dict(list(module.state_dict().items())[missing:])
    with pytest.raises(joint.CheckpointError) as caught:
        joint.load_weights(module, held, source="best")
    assert f"w4 (1,) is missing {end}" in str(caught.value)
    assert "w5" not in str(caught.value)


def test_the_digest_of_weights_is_that_of_their_values():
    module = nn.Linear(2, 2)
    changed = copy.deepcopy(module)
    with torch.no_grad():
        changed.bias[1] += 1e-6
    assert digest(module) == digest(copy.deepcopy(module)) != digest(changed)
