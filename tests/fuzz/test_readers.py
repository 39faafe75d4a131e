"""What damage to files has broken once stays mended: the corpus again, and fresh damage."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fuzzer():
    spec = importlib.util.spec_from_file_location("readers", HERE / "readers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fixture(fuzzer, tmp_path_factory):
    return fuzzer.Fixture(tmp_path_factory.mktemp("readers"))


def test_the_corpus_is_read_or_refused(fuzzer, fixture):
    """A file is named by its reader, so that what was found in one is shown to it again."""
    entries = sorted(fuzzer.CORPUS.iterdir())
    assert len(entries) > 30
    outcomes = {
        fixture.judge(entry.name.partition("-")[0], entry.read_bytes()) for entry in entries
    }
    assert outcomes == {"read", "refused"}


def test_fresh_damage(fuzzer):
    count = 6 * len(fuzzer.TARGETS)
    outcomes = fuzzer.run(count, 7, list(fuzzer.TARGETS), None)
    assert sum(outcomes.values()) == count
    assert {what for _, what in outcomes} == {"read", "refused"}


@pytest.mark.slow
def test_much_fresh_damage(fuzzer):
    outcomes = fuzzer.run(20_000, 8, list(fuzzer.TARGETS), None)
    assert {what for _, what in outcomes} == {"read", "refused"}


@pytest.mark.parametrize(
    ("name", "reader", "fault"),
    [
        ("result", lambda path: {}["a"], "KeyError"),
        ("lock", lambda path: int("x"), "may not raise"),
        ("config", lambda path: int("x"), "does not name the file"),
    ],
)
def test_a_reader_that_breaks_the_rule_would_be_noticed(
    fuzzer, fixture, monkeypatch, tmp_path, name, reader, fault
):
    monkeypatch.setattr(fuzzer.TARGETS[name], "read", reader)
    with pytest.raises((AssertionError, KeyError)) as caught:
        fixture.judge(name, b"x")
    assert fault in repr(caught.value)


def test_a_reader_that_hangs_would_be_noticed(fuzzer, fixture, monkeypatch):
    def hang(path):
        while True:
            pass

    monkeypatch.setattr(fuzzer, "SECONDS", 0.05)
    monkeypatch.setattr(fuzzer.TARGETS["config"], "read", hang)
    with pytest.raises(TimeoutError, match=r"longer than 0.05 s"):
        fixture.judge("config", b"x")
