import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from safetensors.torch import save_file

import classify
import joint

EXAMPLE = Path(__file__).parents[3] / "examples" / "ham10000" / "classifier.py"

# What is trained for one epoch on a hundred pictures may know no more than chance, and not all
# classes are among those that validate it.
pytestmark = pytest.mark.filterwarnings("ignore:no temperature is best", "ignore:none of these")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("ham10000_classifier", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _options(example, out, **changes):
    tiny = {"limit": 150, "image_size": 32, "epochs": 1, "resamples": 100, "out": out}
    return example.Options(**{**tiny, **changes})


def _check(options, run, printed):
    """What was written is what the library says of the scores that were written too."""
    result = json.loads((options.out / f"{run.name}.json").read_text())
    scores = np.load(options.out / f"{run.name}.npz")
    for part in ("plain", "adjusted"):
        again = classify.report(
            scores[part],
            scores["labels"],
            classes=result["test"][part]["classes"],
            groups=scores["groups"],
            resamples=options.resamples,
        )
        written = result["test"][part]
        assert written["accuracy"] == again.accuracy
        assert written["balanced_accuracy"] == again.balanced_accuracy
        assert written["intervals"]["accuracy"] == list(again.intervals["accuracy"])
        assert written["unit"] == "lesions"
    choice = result["choice"]
    assert choice["metric"] == "balanced_accuracy"
    assert choice["tau"] in choice["taus"]
    assert (choice["tau"] == 0) == np.array_equal(scores["plain"], scores["adjusted"])
    assert f"at tau = {choice['tau']:g}, the best" in printed
    assert "Test part" in printed
    with Image.open(options.out / f"{run.name}.png") as figure:
        assert figure.size[0] > 600


def test_one_run_splits_by_lesion_and_reports_both_taus(example, tmp_path, capsys):
    options = _options(example, tmp_path / "out")
    (run,) = example.main(options)
    printed = capsys.readouterr().out
    assert run.name == "resnet_s-none-0"
    assert "0.0% of the test pictures share their lesion with training" in printed
    _check(options, run, printed)
    assert not (tmp_path / "out" / "table.md").exists()


def test_a_table_is_resumed_where_it_was_left_and_refuses_other_settings(example, tmp_path, capsys):
    methods = ("none", "ldam_drw", "cutmix")
    options = _options(
        example, tmp_path, method=methods, seed=(0, 1), limit=80, image_size=16, views="flips",
        resamples=20,
    )  # fmt: skip
    runs = example.main(options)
    capsys.readouterr()
    assert [run.method for run in runs] == [m for m in methods for _ in range(2)]
    text = (tmp_path / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| resnet_s")]
    assert [row.split("|")[2].strip() for row in rows] == list(methods)
    # Means over the seeds, of what the runs wrote.
    results = [
        json.loads((tmp_path / f"resnet_s-cutmix-{seed}.json").read_text()) for seed in (0, 1)
    ]
    accuracy = np.mean([result["test"]["plain"]["accuracy"] for result in results])
    assert rows[2].split("|")[3].strip().startswith(f"{accuracy:.3f} ± ")
    assert rows[0].split("|")[-2].strip() == "-"
    assert rows[1].split("|")[-2].strip()[0] in "+-"

    # Only what is missing is done again, and comes out the same.
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    lost = tmp_path / "resnet_s-ldam_drw-1.json"
    before = lost.read_text()
    lost.unlink()
    example.main(options)
    printed = capsys.readouterr().out
    assert "== resnet_s-ldam_drw-1 (1 of 1)" in printed
    assert lost.read_text() == before
    assert {p: t for p, t in kept.items() if p != lost} == {
        path: path.stat().st_mtime_ns for path in kept if path != lost
    }
    assert (tmp_path / "table.md").read_text() == text
    with pytest.raises(
        ValueError, match=r"settings \(epochs=1 there, 2 asked for\); choose another"
    ):
        example.main(dataclasses.replace(options, epochs=2))


def test_every_method_changes_one_thing(example):
    plain = joint.Training(epochs=10)
    made = {m: example.recipe(m, plain) for m in get_args(example.Method)}
    assert len(made) == 12
    assert made["none"] == (joint.Objective(), plain)
    distinct = {(o.model_dump_json(), t.model_dump_json()) for o, t in made.values()}
    assert len(distinct) == 12
    for method, (objective, training) in made.items():
        assert method == "none" or (objective == joint.Objective()) == (training != plain)
        # model_copy does not check what it is given.
        assert joint.Training.model_validate(training.model_dump()) == training
    assert made["ldam_drw"][0].deferred_from == 8


def test_ldam_gets_a_head_that_compares_directions(example, tmp_path, monkeypatch):
    options = _options(example, tmp_path)
    seen = {}
    monkeypatch.setattr(example, "fit", lambda system, *_, **options: seen.update(options))
    parts = classify.split(classify.LesionPhantom(70, 32))
    for method, kind in (("ldam_drw", classify.CosineHead), ("none", object)):
        system = example.train(example.Run("resnet_s", method, 0), options, parts)
        assert isinstance(system.classifier.head, kind)
        assert isinstance(system.classifier.head, classify.CosineHead) == (method == "ldam_drw")
    assert seen["config"].restore_best is False


def test_a_training_begins_with_the_weights_that_it_is_given(example, tmp_path, monkeypatch):
    lent = classify.backbone("resnet_s", 7)
    path = tmp_path / "phantoms.safetensors"
    save_file(lent.state_dict(), path)
    options = _options(example, tmp_path, weights=path)
    monkeypatch.setattr(example, "fit", lambda *_, **__: None)
    parts = classify.split(classify.LesionPhantom(70, 32))
    system = example.train(example.Run("resnet_s", "none", 0), options, parts)
    for name, tensor in system.classifier.state_dict().items():
        assert torch.equal(tensor, lent.state_dict()[name]), name
    # A table of one start takes no run of another.
    (tmp_path / "resnet_s-none-0.json").write_text(
        json.dumps({"settings": example.settings(dataclasses.replace(options, weights=None))})
    )
    with pytest.raises(ValueError, match=r"settings \(weights=None there, .*phantoms.safetensors"):
        example.done(example.Run("resnet_s", "none", 0), options)


def test_the_command_line_takes_several(example):
    argv = ["--data", "x.zip", "--method", "focal", "mixup", "--seed", "3", "4", "--table"]
    options = tyro.cli(example.Options, args=argv)
    assert options.method == ("focal", "mixup")
    assert options.seed == (3, 4)
    assert options.table
    with pytest.raises(SystemExit):
        tyro.cli(example.Options, args=["--method", "smote"], console_outputs=False)


@pytest.mark.ham10000
def test_it_runs_on_the_real_images(example, few_real, tmp_path, monkeypatch, capsys):
    if few_real is None:
        pytest.skip("set HAM10000_ROOT to the folder or zip of HAM10000")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = _options(example, tmp_path / "out", data=few_real, views="mirror")
    (run,) = example.main(options)
    _check(options, run, capsys.readouterr().out)
