import dataclasses
import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from joint.saved.environment import _commit, environment, preferred_precision


def test_it_says_what_this_process_runs_on():
    here = environment()
    # A plain text: torch's own kind takes others for versions, and fails on what is none.
    assert type(here.pytorch) is str
    assert here.pytorch == str(torch.__version__)
    assert here.python == platform.python_version()
    assert here.threads == torch.get_num_threads()
    assert here.device.startswith("cpu, ")
    assert not here.deterministic
    assert here.matmul_precision == "highest"


def test_it_names_the_commit_of_its_checkout():
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("these tests are in no checkout")
    assert environment().commit == done.stdout.strip()


def test_it_names_nobody_and_no_folder():
    text = json.dumps(dataclasses.asdict(environment()))
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert platform.node() not in text
    if getpass.getuser() != "root":
        assert getpass.getuser() not in text


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux")
def test_half_precision_is_preferred_where_the_processor_has_instructions_for_it():
    found = Path("/proc/cpuinfo").read_text().split()
    own = "avx512_bf16" in found or "amx_bf16" in found
    tells = hasattr(torch.cpu, "get_capabilities")
    assert preferred_precision("cpu") == ("bfloat16" if own and tells else "float32")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64", "neon": True}, "float32"),
    ],
)
def test_a_processor_is_asked_for_its_instructions(monkeypatch, features, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert preferred_precision() == expected


def test_a_torch_that_does_not_know_the_processor_trains_in_single_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert preferred_precision() == "float32"


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((12, 0), "bfloat16")]
)
def test_a_gpu_is_asked_for_its_compute_capability(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert preferred_precision("cuda") == expected


def test_other_devices_train_in_single_precision():
    assert preferred_precision("meta") == "float32"


def _git(folder, *arguments):
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_the_one_that_git_names(tmp_path):
    assert _commit(tmp_path) is None
    try:
        _git(tmp_path, "init", "-q", "main")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    checkout = tmp_path / "main"
    assert _commit(checkout) is None  # nothing committed yet
    for number in range(2):
        _git(checkout, "commit", "-q", "--allow-empty", "-m", str(number))
    first = _git(checkout, "rev-parse", "HEAD")
    assert _commit(checkout) == first
    _git(checkout, "worktree", "add", "-q", "-b", "a/branch", "../tree", "HEAD~1")
    assert _commit(tmp_path / "tree") == _git(checkout, "rev-parse", "HEAD~1") != first
    _git(checkout, "pack-refs", "--all")
    assert _commit(checkout) == first
    assert _commit(tmp_path / "tree") == _git(tmp_path / "tree", "rev-parse", "HEAD")
    _git(checkout, "checkout", "-q", "--detach", "HEAD~1")
    assert _commit(checkout) == _git(checkout, "rev-parse", "HEAD")
