import errno
import os
import platform
import shutil
import signal
import threading
import time

import pytest

import joint.saved.lock
from joint.saved.checkpoint import CheckpointError
from joint.saved.lock import LOCK_FILE, Holder, RunLocked, holder_of, locked

_HOLDING = """
import sys, pathlib
from joint.saved.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(fresh_joint, tmp_path):
    """Another process, which holds tmp_path."""
    with fresh_joint.start(_HOLDING, tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_is_first(tmp_path, other):
    message = (
        rf"is being written by process {other.pid} on {platform.node()} since 20\d\d-.*: wait for "
        "it, stop it, or choose another folder"
    )
    with pytest.raises(RunLocked, match=message), locked(tmp_path, patience=0):
        pass
    holder = holder_of(tmp_path)
    assert (holder.pid, holder.host) == (other.pid, platform.node())


def test_the_dead_hold_nothing(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (tmp_path / LOCK_FILE).exists()
    assert holder_of(tmp_path) is None
    with locked(tmp_path, patience=0):
        assert holder_of(tmp_path).pid == os.getpid()


def test_a_copy_is_free(tmp_path):
    with locked(tmp_path):
        shutil.copytree(tmp_path, tmp_path / "copy")
        assert (tmp_path / "copy" / LOCK_FILE).exists()
        assert holder_of(tmp_path / "copy") is None
        with locked(tmp_path / "copy", patience=0):
            pass


def test_it_is_for_threads_too_and_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder) as alone:
        assert alone
        with pytest.raises(RunLocked, match=f"process {os.getpid()}"), locked(folder, patience=0):
            pass
        assert holder_of(folder) is not None
    assert os.listdir(folder) == []
    assert holder_of(folder) is None
    with pytest.raises(KeyError), locked(folder):
        raise KeyError
    assert holder_of(folder) is None


def test_who_asks_does_not_keep_a_writer_away(tmp_path):
    stop = threading.Event()

    def asking():
        while not stop.is_set():
            holder_of(tmp_path)

    askers = [threading.Thread(target=asking) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(50):
            with locked(tmp_path):
                pass
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def test_only_one_is_ever_in(tmp_path):
    inside, most, entries = [], [], []

    def work():
        give_up = time.monotonic() + 300
        while len(entries) < 300 and time.monotonic() < give_up:
            try:
                with locked(tmp_path, patience=0):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()
                    entries.append(1)
            except RunLocked:
                pass

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(entries) >= 300
    assert max(most) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 3}', b'{"shoe": 3}', b"\xff"])
def test_a_lock_file_that_says_nothing_is_one_all_the_same(tmp_path, content):
    with locked(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(content)
        assert holder_of(tmp_path) is not None
        with pytest.raises(RunLocked, match="is being written by"), locked(tmp_path, patience=0):
            pass
    assert str(Holder()) == "another process"


@pytest.mark.parametrize("why", ["no flock", "not on this file system"])
def test_where_there_are_no_locks_it_says_so(tmp_path, monkeypatch, why):
    if why == "no flock":
        monkeypatch.setattr(joint.saved.lock, "fcntl", None)
        message = "cannot be locked .this platform has no flock.: nothing keeps a second"
    else:
        error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        def refuse(*_):
            raise error

        monkeypatch.setattr(joint.saved.lock.fcntl, "flock", refuse)
        message = r"cannot be locked \(No locks available\): nothing keeps a second"
    context = locked(tmp_path)
    with pytest.warns(UserWarning, match=message):
        alone = context.__enter__()
    assert not alone
    assert holder_of(tmp_path) is None
    context.__exit__(None, None, None)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match=r"cannot write .*file/run: Not a directory. Choose"),
        locked(tmp_path / "file" / "run"),
    ):
        pass
