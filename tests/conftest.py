import os
from pathlib import Path

import hypothesis
import pytest
import torch

# A machine that is busy may let any process wait for seconds; that says nothing about the code.
hypothesis.settings.register_profile(
    "patient",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[
        *hypothesis.settings().suppress_health_check, hypothesis.HealthCheck.too_slow,
    ],
)  # fmt: skip
hypothesis.settings.load_profile("patient")
# The suite runs in as many processes as there are cores; threads inside them only get in the way.
# Those of NumPy's and SciPy's own pools, and of processes that tests start, follow the environment,
# which each process of the suite has from the first one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
torch.set_num_threads(1)


def pytest_collectstart(collector):
    if isinstance(collector, pytest.Module):
        torch.default_generator.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """What a test draws, or a fixture for it, does not depend on the tests that ran before."""
    # Of the CPU alone: for other devices a stack trace is kept each time.
    torch.default_generator.manual_seed(0)


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="also run what takes minutes")
    parser.addoption("--skipped-to", metavar="FILE", help="write the names of the skipped tests")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --run-slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter, config):
    # A module that is skipped as a whole is named by its path.
    if path := config.getoption("--skipped-to"):
        names = {report.nodeid for report in terminalreporter.stats.get("skipped", ())}
        Path(path).write_text("".join(f"{name}\n" for name in sorted(names)))


@pytest.fixture(scope="session")
def fresh():
    """Starts programs in processes of their own, with torch loaded and nothing of ours."""
    from fresh import Fresh

    fresh = Fresh("numpy", "torch")
    yield fresh
    fresh.close()


@pytest.fixture(scope="session")
def fresh_joint():
    """Starts programs in processes of their own, with `joint` and its command line loaded."""
    from fresh import Fresh

    # The first optimizer of a process loads torch._dynamo.
    fresh = Fresh("torch.distributed", "torch._dynamo", "joint.cli", "joint.command.train")
    yield fresh
    fresh.close()
