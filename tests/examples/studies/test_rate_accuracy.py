import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from joint.saved.checkpoint import load_checkpoint
from joint.saved.folder import BEST_FILE
from joint.study import work

# The small sizes have two seeds, which can show nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore:2 paired seeds cannot:UserWarning")


@pytest.fixture
def example(load, monkeypatch):
    module = load("rate_accuracy")
    monkeypatch.setattr(module.runner, "run_study", lambda folder, *, device, **_: work(folder))
    monkeypatch.setattr(module.runner, "write_study_html", lambda *_, **__: None)  # test_runner.py
    return module


def test_it_runs_small_and_prices_what_learns_nothing(example, tmp_path, capsys):
    found = example.main(example.Options(small=True, output=tmp_path))
    printed = capsys.readouterr().out
    assert "before the frozen classifier, nothing learns" in printed
    folder = tmp_path / "rate_accuracy_small" / "found"
    assert json.loads((folder / "fixed.json").read_text()) == found["fixed"]
    assert (folder / "rates.txt").read_text() in printed
    with Image.open(folder / "rates.png") as figure:
        assert figure.size[0] > 500

    bits = {row["codec"]: row["bpp_bytes"] for row in found["fixed"]}
    assert list(bits) == ["jpeg 50", "jpeg 90", "kmeans 8"]
    assert bits["jpeg 50"] < bits["jpeg 90"]
    assert {family.codec for family in found["rates"].families} == {"autoencoder", "jpeg", "kmeans"}

    # The frozen classifier is the one that was trained on whole pictures; the joint one has moved.
    study = example.runner.sized("rate_accuracy", "small")
    ledger = example.runner.create_study(study, tmp_path / "rate_accuracy_small")
    whole = load_file(study.base.system.classifier.weights)
    for run in ledger.runs:
        weights, _ = load_checkpoint(ledger.path(run) / BEST_FILE)
        kept = all(torch.equal(weights[f"classifier.{n}"], w) for n, w in whole.items())
        assert kept == (ledger.designs[run.design]["training"] == "frozen")


def test_the_classifier_is_trained_once(example, monkeypatch, tmp_path):
    study = example.runner.sized("rate_accuracy", "small")
    example.whole_pictures(study)
    monkeypatch.setattr(example, "fit", None)
    example.whole_pictures(study)
    assert study.base.system.classifier.weights.exists()


def test_every_codec_has_points_enough_for_a_rate(example):
    """A Bjontegaard difference needs four."""
    study = example.runner.sized("rate_accuracy", "middle")
    codecs = [level.split()[0] for level in study.axes["codec"].levels()]
    assert {name: codecs.count(name) for name in codecs} == dict.fromkeys(codecs, 4)
