"""What fuzzing found stays found: the corpus again, and a short run of fresh damage."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fuzzer():
    spec = importlib.util.spec_from_file_location("decompress", HERE / "decompress.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_is_refused_or_decoded(fuzzer):
    targets = [fuzzer.Target(name) for name in fuzzer._BUILT]
    entries = sorted(fuzzer.CORPUS.iterdir())
    assert len(entries) > 50
    # What is neither refused nor a finite picture raises.
    outcomes = {fuzzer.replay(entry.read_bytes(), targets) for entry in entries}
    assert len(outcomes) > 1


def test_fresh_damage(fuzzer, tmp_path):
    outcomes = fuzzer.run(1100, 7, list(fuzzer._BUILT), tmp_path)
    assert sum(outcomes.values()) == 1100
    assert sum(n for (_, what), n in outcomes.items() if what == "refused") > 900


def test_a_wrong_picture_would_be_noticed(fuzzer, monkeypatch, tmp_path):
    # Without its checksum a container that was flipped decodes to something else.
    import compress.container

    monkeypatch.setattr(compress.container.zlib, "crc32", lambda *_: 0)
    with pytest.raises(AssertionError, match="a damaged file gave a wrong picture"):
        fuzzer.run(2000, 0, ["autoencoder"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
