import dataclasses
import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from joint.environment import _commit, environment


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


def test_it_names_nobody_and_no_folder():
    text = json.dumps(dataclasses.asdict(environment()))
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert platform.node() not in text
    if getpass.getuser() != "root":
        assert getpass.getuser() not in text


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
