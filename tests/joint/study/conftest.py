import multiprocessing

import pytest

# The small studies, for all tests of studies.
from studies import (  # noqa: F401 - fixtures
    cheap,
    draws_of,
    finished,
    leave,
    ledger,
    outcome,
    pretend,
    raced,
    small_base,
    small_study,
    worked_on,
    world,
)


@pytest.fixture
def forked(monkeypatch):
    """Processes are forked from one that has loaded the library; those of a study are spawned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["joint.study", "joint.study.work"])
    monkeypatch.setattr("multiprocessing.get_context", lambda kind=None: context)
    return context
