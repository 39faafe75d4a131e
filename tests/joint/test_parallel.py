"""Several processes: torchrun, over gloo, on the CPU of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta

import process
import pytest
import torch
from torch import nn
from torch.distributed import (
    DistStoreError,  # pyright: ignore[reportPrivateImportUsage]
    HashStore,  # pyright: ignore[reportPrivateImportUsage]
)
from torch.distributed.constants import default_pg_timeout

import joint
from joint.parallel import _Together
from joint.saved.folder import read_history, read_result
from joint.saved.predictions import load_predictions


def _torchrun(processes, *program, more=()):
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
            "--master-addr", "127.0.0.1", "--master-port", "0", "--rdzv-backend", "c10d",
            "--rdzv-endpoint", "localhost:0", *more, *program,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


_RUNS = {
    # Not the best weights, which each process would read from the one file.
    "step": {"restore_best": False},
    "micro_batches": {"micro_batches": 2, "restore_best": False},
    "target": {"epochs": 2, "batch_size": 24, "micro_batches": 2, "target": 1.2},
    "files": {"epochs": 2, "batch_size": 16, "every": 2},
}


_PROCESS = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_COMMAND = "import sys; from joint.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def together(fresh_joint, tmp_path_factory):
    """Runs of two processes: to begin costs more than to train.

    They meet and part for each, so a process joins anew for every run.
    """
    folder = tmp_path_factory.mktemp("together")
    fresh_joint.together(_PROCESS, process.__file__, folder, json.dumps(_RUNS))
    return folder


def _told(folder, number):
    """Epochs that a process told its listener of."""
    return json.loads((folder / f"told{number}.json").read_text())


def _results(folder, number=0):
    gradients, _ = joint.load_checkpoint(folder / f"gradients{number}.safetensors")
    weights, _ = joint.load_checkpoint(folder / f"weights{number}.safetensors")
    return gradients, weights, json.loads((folder / f"summary{number}.json").read_text())


def _alone(folder, scenes, **options):
    """The same program in one process, which is this one."""
    process.train(folder, scenes, **options)
    return _results(folder)


def _equal_results(folder):
    """What both processes have at the end is the same; the first's."""
    _, one, first = _results(folder, 0)
    _, other, second = _results(folder, 1)
    assert first == second
    assert all(torch.equal(one[name], other[name]) for name in one)
    return first


def test_two_processes_take_the_step_of_one(together, tmp_path, odd):
    folder = together / "step"
    gradients, weights, summary = _alone(tmp_path, odd)
    for number in (0, 1):
        other_gradients, other_weights, other = _results(folder, number)
        for name, gradient in gradients.items():
            assert (other_gradients[name] - gradient).norm() < 1e-4 * gradient.norm(), name
        for name in ("classifier.net.1.running_mean", "classifier.net.1.running_var"):
            torch.testing.assert_close(other_weights[name], weights[name], rtol=1e-5, atol=0)
        # Statistics of single pictures: the mean of those of two parts.
        name = "classifier.net.4.0.running_mean"
        torch.testing.assert_close(other_weights[name], weights[name], rtol=0.02, atol=1e-3)
        assert other["train"] == pytest.approx(summary["train"], rel=1e-5)
        assert other["norms"] == pytest.approx(summary["norms"], rel=1e-4)
        for name in ("loss", "accuracy", "bpp", "psnr"):
            expected = pytest.approx(summary["validation"][name], rel=1e-2)
            assert other["validation"][name] == expected, name
    _equal_results(folder)


def test_two_processes_divide_a_step_of_several_parts(together):
    # The statistics of a part are not those of the whole: there is no one process to compare.
    _equal_results(together / "micro_batches")


@pytest.mark.filterwarnings("ignore:the rate was to end at")
def test_two_processes_move_the_weight_of_the_rate_as_one_does(together, tmp_path, odd):
    # The rate of the whole step: one that saw its own pictures would have another weight.
    found = _equal_results(together / "target")["train"]
    alone = _alone(tmp_path, odd, **_RUNS["target"])[2]["train"]
    for name in ("rate", "rate_weight"):  # the statistics of a part are not those of the whole
        assert found[name] == pytest.approx(alone[name], rel=1e-2)


def test_two_processes_write_the_files_of_one_run_which_one_process_reads(together, tmp_path, odd):
    folder = together / "files"
    files = sorted(path.name for path in (folder / "run").iterdir())
    assert {"best.safetensors", "checkpoint.safetensors", "history.jsonl"} <= {*files}
    assert not [name for name in files if name.startswith(".")]  # no writer's leftovers
    _, head = joint.load_checkpoint(folder / "run" / "checkpoint.safetensors")
    assert (head["epoch"], head["step"], head["steps"]) == (2, 0, 6)
    assert (_told(folder, 0), _told(folder, 1)) == ([0, 1], [])
    # The sums of an epoch are those of all processes.
    expected = _alone(tmp_path, odd, epochs=2, batch_size=16)[2]["train"]
    assert _results(folder)[2]["train"] == pytest.approx(expected, rel=0.05)


def test_the_command_line_is_one_run_of_which_the_first_process_speaks(fresh_joint, tmp_path):
    command = [
        "train", "--output", str(tmp_path / "run"), "--json", "--resume",
        "--data.count", "800", "--data.image-size", "16", "--training.epochs", "1",
        "--training.batch-size", "64", "--training.no-restore-best", "--front-end", "none",
        "--codec", "jpeg",
    ]  # fmt: skip
    output, nothing, errors = fresh_joint.together(_COMMAND, *command)
    assert json.loads(output)["state"] == "done"
    assert nothing == ""
    # A run that is done is shown by one, too.
    shown, nothing, _ = fresh_joint.together(_COMMAND, *command)
    assert json.loads(shown) == json.loads(output)
    assert nothing == ""
    # What its two processes have to say of torch's own future is nothing that a user can mend.
    assert "nn.functional.all_reduce is deprecated" not in errors
    assert "`broadcast_buffers` is deprecated" not in errors
    assert "Grad strides do not match" not in errors
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "environment.json", "predictions.safetensors"} <= names
    assert "failure.json" not in names
    # What was tested, by both, is what is loaded, by one process: with the noise of each picture.
    config, system, parts = joint.load_run(tmp_path / "run")
    assert len(parts.test) > 64  # more than a batch
    test = joint.evaluate(
        system, parts.test, objective=config.objective, count_bytes=True, resamples=1000
    )
    assert (load_predictions(tmp_path / "run").logits == test.logits).all()
    found, expected = _flat(read_result(tmp_path / "run")["test"]), _flat(test.to_dict())
    assert found.keys() == expected.keys()
    for name, value in expected.items():  # of sums in another order
        value = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert found[name] == value, name
    weights, head = joint.load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (head["epoch"], len(head["records"])) == (1, 1)
    for name, weight in system.state_dict().items():
        assert torch.equal(weights[f"system.{name}"], weight)


def _flat(content, name=""):
    """Numbers and words of nested JSON by their places."""
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {k: v for n, part in items for k, v in _flat(part, f"{name}.{n}").items()}
    return {name: content}


def test_a_run_restarts_where_it_was_and_any_of_its_processes_may_be_asked_to_stop(tmp_path):
    folder = tmp_path / "run"
    launcher = _torchrun(
        2, "-m", "joint.cli", "train", "--output", str(folder), "--resume", "--data.count", "60",
        "--data.image-size", "16", "--training.epochs", "500", "--training.batch-size", "16",
        "--front-end", "none", "--sensor", "none", "--codec", "none", more=("--max-restarts", "1"),
    )  # fmt: skip
    _wait_for(lambda: len(read_history(folder)) >= 1)
    killed = _children(launcher)
    os.kill(killed[-1], signal.SIGKILL)
    _wait_for(lambda: len({*_children(launcher)} - {*killed}) == 2)
    reached = len(read_history(folder))
    _wait_for(lambda: len(read_history(folder)) > reached + 1)
    os.kill(_children(launcher)[-1], signal.SIGTERM)  # one alone, and not the one that speaks
    output, _ = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, output
    assert "stopped by SIGTERM and saved" in output
    assert [record["epoch"] for record in read_history(folder)] == [
        *range(_newest(folder)[1]["epoch"])
    ]


def test_a_killed_process_ends_the_run_and_another_number_of_them_takes_it_up(
    fresh_joint, tmp_path, odd
):
    """One of two processes is killed between two epochs; one process resumes the run."""
    options = {"epochs": 6, "batch_size": 16, "every": 1}
    folder, runs = tmp_path / "killed", json.dumps({"killed": {"stay": 3, **options}})
    with fresh_joint.pair(_PROCESS, process.__file__, tmp_path, runs) as (first, second):
        _wait_for(lambda: _newest(folder / "run")[1].get("epoch", 0) == 4)
        second.kill()
        assert second.wait() == -signal.SIGKILL
        (folder / "go").touch()
        output, errors = first.communicate()
    assert first.returncode == 1, errors
    assert "finished" not in output
    assert "joint.parallel.ProcessLost: another process of this run was lost" in errors
    tensors, head = _newest(folder / "run")  # whole, and usable
    assert head["steps"] == 12
    assert tensors
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    resumed = _alone(folder, odd, resume=True, **options)
    whole = _alone(tmp_path / "whole", odd, **options)
    assert resumed[2]["train"] == pytest.approx(whole[2]["train"], rel=0.05)
    _, head = joint.load_checkpoint(folder / "run" / "checkpoint.safetensors")
    assert (head["epoch"], head["steps"]) == (6, 18)
    assert _told(folder, 0) == [*range(6)]  # the one process that went on, of all of them


def _newest(folder):
    """The checkpoint, or the one before it: between two renames there is only that."""
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        with suppress(joint.CheckpointError):
            return joint.load_checkpoint(folder / name)
    return {}, {}


def _children(launcher):
    found = subprocess.run(
        ["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def _wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)  # to ask costs a process


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (8, 4)])
def test_normalising_together_alone_is_batch_normalisation(monkeypatch, shape, momentum):
    monkeypatch.setattr(joint.parallel, "all_reduce", lambda x: x)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    ours, theirs = (kind(4, momentum=momentum).double() for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0]))
    for _ in range(3):
        x = 5 + torch.randn(*shape, generator=generator, dtype=torch.float64)
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        a, b = _Together(ours)(one), theirs(two)
        torch.testing.assert_close(a, b)
        weight = torch.randn(*shape, generator=generator, dtype=torch.float64)
        (a * weight).sum().backward()
        (b * weight).sum().backward()
        torch.testing.assert_close(one.grad, two.grad)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.fixture
def first_of_two(monkeypatch):
    """As which torchrun has started this process, though there is no other."""
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(joint.parallel, "_stores", [])


@pytest.fixture
def joined(first_of_two, monkeypatch):
    """Where it leaves word for the other, which it believes to have met."""
    store = HashStore()
    monkeypatch.setattr(joint.parallel, "_stores", [store])
    monkeypatch.setattr(joint.parallel.dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(joint.parallel.dist, "destroy_process_group", lambda: None)
    return store


@pytest.mark.usefixtures("first_of_two")
def test_a_process_that_meets_nobody_gives_up_in_time():
    with (
        pytest.raises(DistStoreError, match="1/2 clients joined"),
        joint.launched("cpu", timeout=timedelta(seconds=0.3)),
    ):
        pass


def test_each_time_it_waits_as_long_as_it_is_told(joined):
    for timeout in (timedelta(seconds=7), None, timedelta(seconds=8)):
        with joint.launched("cpu", timeout=timeout):
            assert joined.timeout == (timeout or default_pg_timeout)


@pytest.mark.usefixtures("joined")
def test_a_lost_process_is_said_in_words():
    with (
        pytest.raises(joint.ProcessLost, match=r"lost \(Connection closed by peer.*resume the run"),
        joint.launched("cpu"),
    ):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1\nmore")
    with pytest.raises(RuntimeError, match="something else"), joint.launched("cpu"):
        raise RuntimeError("something else")
