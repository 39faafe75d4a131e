"""What may happen to a run: kills, signals, full and read-only disks, damage, copies, two writers.

The processes are real. They are forked from one that has imported everything, so that each costs
a fraction of a second; what they do is what ``lens2label`` does.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import joint
from joint.cli import main
from joint.saved.folder import PREVIOUS_FILE, read_history, summarise_run
from joint.saved.lock import LOCK_FILE
from joint.saved.predictions import load_predictions

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

_RUN = [
    "train", "--resume", "--quiet", "--data.count", "40", "--data.image-size", "16",
    "--front-end", "none", "--sensor", "none", "--codec", "none", "--training.epochs", "3",
    "--training.batch-size", "8", "--training.checkpoint-every", "1",
    "--training.monitor", "loss",  # its few pictures to validate are not of all classes
]  # fmt: skip

_NURSERY = """
import json, os, resource, signal, sys, threading, time
import torch
import tqdm
torch.set_num_threads(1)
# Its thread may hold a lock while this forks; nobody would open it in the child.
tqdm.tqdm.monitor_interval = 0
import joint.cli

def stand_still(path, stay):
    # Stops this process in the middle of the first step after a file is there.
    backward = torch.autograd.backward

    def stops(*inputs):
        if os.path.exists(path) and os.path.getsize(path):
            torch.autograd.backward = backward
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(600 if stay else 0)
        return backward(*inputs)

    torch.autograd.backward = stops

def run(arguments, log, largest, path, stay):
    if path is not None:
        stand_still(path, stay)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    status = 99
    try:
        status = joint.cli.main(arguments)
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)

def stopped(pid):
    return os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])

def wait(pid):
    give_up = time.monotonic() + 600
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)

joint.cli.main(json.loads(sys.argv[1]))  # whatever is imported late, too
assert threading.active_count() == 1, threading.enumerate()
print("ready", flush=True)
for line in sys.stdin:
    order, *rest = json.loads(line)
    if order == "start":
        pid = os.fork()
        if pid == 0:
            run(*rest)
        print(pid, flush=True)
    elif order == "stopped":
        print(int(stopped(*rest)), flush=True)
    else:
        print(wait(*rest), flush=True)
"""


class _Nursery:
    def __init__(self, folder, first):
        self._folder, self._logs = folder, {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY, json.dumps([*_RUN, "--output", str(first)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, folder, *arguments, largest=None):
        """Start training into a folder; returns the process id."""
        return self._started(folder, arguments, largest, None, False)

    def still(self, folder, *arguments, after=PREVIOUS_FILE, stay=False):
        """Start training; it stands still in the first step after that file is there.

        Whoever is sent a signal then gets it in this step when it goes on; with ``stay``, the step
        takes until the end.
        """
        pid = self._started(folder, arguments, None, str(folder / after), stay)
        assert self._ask("stopped", pid), self.said(pid)
        return pid

    def _started(self, folder, arguments, largest, path, stay):
        log = self._folder / f"log{len(self._logs)}"
        log.touch()  # it may be killed before it makes it
        command = [*(arguments or _RUN), "--output", str(folder)]
        pid = self._ask("start", command, str(log), largest, path, stay)
        self._logs[pid] = log
        return pid

    def said(self, pid):
        """What it has said so far."""
        return self._logs[pid].read_text()

    def wait(self, pid):
        """Exit status, or minus the signal that killed it; and what it said."""
        return self._ask("wait", pid), self.said(pid)

    def run(self, folder, *arguments, largest=None):
        return self.wait(self.start(folder, *arguments, largest=largest))

    def _ask(self, *order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self):
        with self._process:
            self._process.stdin.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory, whole):
    nursery = _Nursery(tmp_path_factory.mktemp("logs"), whole)
    yield nursery
    nursery.close()


def _until(condition):
    give_up = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.001)


def _signal(pid, number):
    """Send a signal to a process that stands still, and let it go on."""
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)


def _timeless(record):
    return {k: v for k, v in record.items() if k not in ("images_per_second", "peak_memory")}


def _assert_same(folder, whole):
    """Everything but times is that of the run that nothing happened to, to the bit."""
    for name in ("checkpoint.safetensors", "best.safetensors", "predictions.safetensors"):
        one, head = joint.load_checkpoint(folder / name)
        other, expected = joint.load_checkpoint(whole / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
        for some in (head, expected):
            some["records"] = [_timeless(record) for record in some.get("records", [])]
        assert head == expected
    lines = [[_timeless(r) for r in read_history(place)] for place in (folder, whole)]
    assert lines[0] == lines[1]
    assert [record["epoch"] for record in lines[0]] == [0, 1, 2]
    assert (folder / "result.json").read_text() == (whole / "result.json").read_text()


def test_kills_at_random_moments_change_no_bit(nursery, whole, tmp_path):
    draw = random.Random(time.time_ns())
    folder, delays, killed, longest = tmp_path / "run", [], 0, 0.8
    for _ in range(12):
        pid = nursery.start(folder)
        # The lock is gone again once the run is done.
        _until(lambda: any((folder / name).exists() for name in ("lock.json", "result.json")))
        delays.append(draw.uniform(0, longest))
        time.sleep(delays[-1])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status, said = nursery.wait(pid)
        assert status in (0, -signal.SIGKILL), (said, delays)
        if status:
            killed += 1
            assert summarise_run(folder).state in ("interrupted", "done"), delays
        elif killed:
            break
        else:  # it was done before the kill came: again, sooner
            shutil.rmtree(folder)
            longest /= 2
    assert killed, delays
    status, said = nursery.run(folder)
    assert (status, said) == (0, ""), delays
    _assert_same(folder, whole)
    # No half files; but who is killed after the last file and before the lock is taken away leaves
    # that behind, where it blocks nobody.
    assert {*os.listdir(folder)} - {LOCK_FILE} == {*os.listdir(whole)}, delays


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(nursery, whole, tmp_path, number):
    folder = tmp_path / "run"
    loud = [argument for argument in _RUN if argument != "--quiet"]
    pid = nursery.still(folder, *loud)
    _signal(pid, number)
    status, said = nursery.wait(pid)
    assert status == 0, said
    assert "finishing the step and saving" in said
    assert f"stopped by {number.name} and saved; to continue: lens2label train --output" in said
    assert f"{folder} --resume" in said
    assert "Traceback" not in said
    assert not (folder / "result.json").exists()
    assert summarise_run(folder).state == "interrupted"
    _, head = joint.load_checkpoint(folder / "checkpoint.safetensors")
    assert head["step"] > 0 or head["epoch"] > 0
    status, said = nursery.run(folder)
    assert (status, said) == (0, "")
    _assert_same(folder, whole)


def test_a_stopped_run_says_so_in_json(nursery, tmp_path):
    folder = tmp_path / "run"
    pid = nursery.still(folder, *_RUN, "--json")
    _signal(pid, signal.SIGTERM)
    status, said = nursery.wait(pid)
    assert status == 0
    notice, _, printed = said.partition("\n")
    assert notice.startswith("lens2label: finishing the step")
    assert json.loads(printed) == {"state": "interrupted", "folder": str(folder)}


def test_a_second_interrupt_leaves_at_once_and_loses_nothing_saved(nursery, whole, tmp_path):
    folder = tmp_path / "run"
    # A step so long that the second one comes within it.
    pid = nursery.still(folder, stay=True)
    _signal(pid, signal.SIGINT)
    _until(lambda: "finishing the step and saving" in nursery.said(pid))  # two at once are one
    os.kill(pid, signal.SIGINT)
    status, said = nursery.wait(pid)
    assert status == 130, said
    assert said.endswith("lens2label: interrupted\n")
    joint.load_checkpoint(folder / "checkpoint.safetensors")
    assert summarise_run(folder).state == "interrupted"


def test_two_writers_are_not(nursery, whole, tmp_path):
    folder = tmp_path / "run"
    pid = nursery.still(folder)
    try:
        status, said = nursery.run(folder)
        assert status == 1
        assert f"{folder} is being written by process {pid} on " in said
        assert "Traceback" not in said
        assert summarise_run(folder).state == "running"
        with pytest.raises(joint.CheckpointError, match=f"being written by process {pid}"):
            _fit_into(folder)
        # A copy of a folder in use is free, and goes on to the same end.
        shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
        assert nursery.run(tmp_path / "copy") == (0, "")
        _assert_same(tmp_path / "copy", whole)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert nursery.wait(pid) == (0, "")
    _assert_same(folder, whole)


def _fit_into(folder):
    system = joint.ImagingSystem(classifier=_Linear())
    configs = (joint.PhantomConfig(count=20, image_size=16, seed=seed) for seed in range(2))
    train, validation = map(joint.build_data, configs)
    joint.fit(system, train, validation, directory=folder, resume=True, progress=False)


class _Linear(torch.nn.Module):
    in_channels = 3

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3, 7)

    def forward(self, image):
        return self.last(image.mean((-2, -1)))


# ----------------------------------------------------------------------------------------- disks


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system; skips where that is not allowed."""
    folders = []

    def mount(options):
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount on this system")
        if done.returncode != 0:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in set(folders):
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_full_disk_keeps_what_it_has_and_says_what_to_do(nursery, whole, mounted):
    disk = mounted("size=20m")  # two checkpoints and a half
    folder = disk / "run"
    status, said = nursery.run(folder)
    assert status == 1
    assert "cannot write" in said
    assert "No space left on device; the file written before it is intact. Make room" in said
    assert "Traceback" not in said
    assert not any(name.startswith(".") for name in os.listdir(folder))
    _, head = joint.load_checkpoint(folder / "checkpoint.safetensors")
    assert head["step"] + head["epoch"] > 0
    assert summarise_run(folder).state in ("failed", "interrupted")  # if there was room to say why
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    status, said = nursery.run(folder)
    assert (status, said) == (0, "")
    _assert_same(folder, whole)


def test_a_file_that_may_not_grow_is_a_full_disk(nursery, whole, tmp_path):
    folder = tmp_path / "run"
    status, said = nursery.run(folder, largest=4_000_000)  # weights alone, without the optimiser
    assert status == 1
    assert "File too large; the file written before it is intact. Make room" in said
    _, head = joint.load_checkpoint(folder / "checkpoint.safetensors")
    assert (head["epoch"], head["step"]) == (0, 0)
    assert summarise_run(folder).state == "failed"
    assert "File too large" in summarise_run(folder).note
    assert nursery.run(folder) == (0, "")
    _assert_same(folder, whole)


def test_what_is_on_a_read_only_disk_can_be_used_and_nothing_else(
    nursery, whole, mounted, capsys, tmp_path
):
    disk = mounted("size=200m")
    shutil.copytree(whole, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert nursery.run(disk / "run") == (0, "")  # it is done
    assert main(["runs", str(disk)]) == 0
    assert "done" in capsys.readouterr().out
    assert main(["evaluate", str(disk / "run"), "--json"]) == 0
    expected = json.loads((whole / "result.json").read_text())["test"]
    assert json.loads(capsys.readouterr().out) == expected
    status, said = nursery.run(disk / "other")
    assert status == 1
    assert f"cannot write {disk / 'other'}: Read-only file system. Choose another" in said
    (tmp_path / "file").touch()
    status, said = nursery.run(tmp_path / "file" / "run")
    assert status == 1
    assert "Not a directory. Choose another folder" in said


# --------------------------------------------------------------------------- damage and copies


@pytest.fixture(scope="module")
def half(nursery, tmp_path_factory):
    """A run that was stopped on its way."""
    folder = tmp_path_factory.mktemp("half") / "run"
    pid = nursery.still(folder, after="history.jsonl")
    assert read_history(folder)
    _signal(pid, signal.SIGTERM)
    nursery.wait(pid)
    assert summarise_run(folder).state == "interrupted"
    return folder


@pytest.fixture
def stopped(half, tmp_path):
    """A copy of it."""
    return shutil.copytree(half, tmp_path / "stopped")


def test_a_copy_anywhere_goes_on(nursery, whole, stopped):
    assert nursery.run(stopped) == (0, "")
    _assert_same(stopped, whole)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_costs_a_step_and_is_said(nursery, whole, stopped, damage):
    path = stopped / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b""}.get(damage, content))
    status, said = nursery.run(stopped)
    assert status == 0, said
    assert said == (
        f"lens2label: warning: {path} is damaged and now called checkpoint.damaged.safetensors; "
        "the checkpoint before it, checkpoint.previous.safetensors, is used instead\n"
    )
    _assert_same(stopped, whole)


def test_two_damaged_checkpoints_are_named(nursery, stopped):
    paths = [stopped / "checkpoint.safetensors", stopped / PREVIOUS_FILE]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    status, said = nursery.run(stopped)
    assert status == 1
    assert all(f"{path} is damaged" in said for path in paths)
    assert "Traceback" not in said


def test_history_after_the_checkpoint_did_not_happen(nursery, whole, stopped):
    with (stopped / "history.jsonl").open("a") as file:
        file.write('{"epoch": 1, "validation": {"loss": 0}}\n{"epoch": 2, "val')
    assert nursery.run(stopped) == (0, "")
    _assert_same(stopped, whole)


def test_another_architecture_is_refused(nursery, stopped):
    config = json.loads((stopped / "config.json").read_text())
    config["system"]["classifier"]["name"] = "inception_s"
    (stopped / "config.json").write_text(json.dumps(config))
    before = (stopped / "checkpoint.safetensors").read_bytes()
    status, said = nursery.run(stopped, "train", "--resume", "--quiet")
    assert status == 1
    assert "holds a run with another configuration: the system is another one" in said
    assert (stopped / "checkpoint.safetensors").read_bytes() == before


def test_a_pickle_for_a_checkpoint_is_refused(nursery, stopped):
    for name in ("checkpoint.safetensors", PREVIOUS_FILE):
        torch.save({"epoch": 1}, stopped / name)
    status, said = nursery.run(stopped)
    assert status == 1
    assert "is a pickle" in said
    assert "Only safetensors files are read" in said


def test_clocks_that_jump_do_not_matter(nursery, whole, stopped):
    draw = random.Random(0)
    for path in stopped.iterdir():
        os.utime(path, (draw.uniform(0, 4e9), draw.uniform(0, 4e9)))
    (stopped / "lock.json").write_text('{"pid": 1, "host": "x", "since": "2999-01-01T00:00:00"}')
    assert nursery.run(stopped) == (0, "")
    _assert_same(stopped, whole)


def test_a_run_that_was_copied_evaluates_to_the_same(whole, nursery, tmp_path, capsys):
    copy = shutil.copytree(whole, tmp_path / "elsewhere" / "run")
    assert main(["evaluate", str(copy), "--json"]) == 0
    expected = json.loads((whole / "result.json").read_text())["test"]
    assert json.loads(capsys.readouterr().out) == expected
    logits = load_predictions(copy).logits
    assert (logits == load_predictions(whole).logits).all()
    assert len(logits) == expected["count"]


# ------------------------------------------------------------------------------------ divergence


def test_divergence_names_stage_step_and_the_last_good_checkpoint(nursery, tmp_path):
    folder = tmp_path / "run"
    rates = ["--training.learning-rate", "1e30", "--training.schedule", "constant"]
    status, said = nursery.run(folder, *_RUN, *rates)
    assert status == 3
    path = folder / "checkpoint.safetensors"
    assert "in epoch 1, step " in said
    assert "classifier" in said
    assert f"the last good checkpoint is {path}" in said
    assert "Traceback" not in said
    tensors, _ = joint.load_checkpoint(path)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    summary = summarise_run(folder)
    assert summary.state == "failed"
    assert str(path) in summary.note
    assert main(["runs", str(tmp_path)]) == 0
