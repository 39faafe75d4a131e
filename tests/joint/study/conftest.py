import functools

import pytest

# The small studies, for all tests of studies.
from studies import (  # noqa: F401 - fixtures
    cheap,
    draws_of,
    finished,
    forked,
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

import joint


@functools.cache
def _drawn(config):
    return joint.build_data(joint.PhantomConfig.model_validate_json(config))


@pytest.fixture(autouse=True)
def _phantoms_are_drawn_once(monkeypatch):
    """Drawing the scenes takes as long as a run on them; no test changes them."""

    def build_data(config):
        if isinstance(config, joint.PhantomConfig):
            return _drawn(config.model_dump_json())
        return joint.build_data(config)

    monkeypatch.setattr("joint.study.scenes.build_data", build_data)
