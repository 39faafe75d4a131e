import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import tyro
from seed_study.protocol import CLAIMS, plan
from seed_study.published import ROWS

from joint import RunLocked, is_done, load_predictions

EXAMPLE = Path(__file__).parents[3] / "examples" / "ham10000" / "reproduce.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("reproduce", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(few_real):
    """Some of the real pictures where they are, and phantoms elsewhere."""
    return few_real or "phantom"


def test_every_row_runs(example, data, tmp_path, capsys, monkeypatch):
    # Curves and confusions, whose layout takes longest, are made, and drawn by test_figures.py.
    save, undrawn = example.figures.save_figure, []

    def save_some(figure, path):
        if path.stem.endswith(("curves", "confusion")):
            undrawn.append(path.name)
        else:
            save(figure, path)

    monkeypatch.setattr(example.figures, "save_figure", save_some)
    options = example.Options(fast=True, pixels=16, output=tmp_path, data=data)
    found = example.main(options)
    printed = capsys.readouterr().out
    for number in (1, 2, *range(4, 16)):
        assert f"Table {number}: " in printed
    assert found["missing"] == []
    for protocol, parts in found["protocols"].items():
        assert {row.stage for row in ROWS} <= parts["rows"].keys()
        # Of a few real pictures, no two may be of one lesion.
        assert (parts["data"]["leaked"] > 0) == (protocol == "seed" and data == "phantom")
        assert parts["analyses"]["contrast"]["measure"] == "gcnr"
        optimal = parts["analyses"]["optimal"]["joint_3x"]["nv"]
        assert optimal["reached"] >= optimal["start"]
    honest = found["protocols"]["honest"]
    assert honest["analyses"].keys() >= {"rate_map", "rated", "filters"}
    assert len(found["claims"]) == len(CLAIMS)
    assert len(found["goals"]) == 15
    assert json.loads((tmp_path / "results.json").read_text()) == found
    assert (tmp_path / "tables.txt").read_text() in printed
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "filters.png", "rate_map.png", "rates.png",
    }  # fmt: skip
    assert {*undrawn} == {
        f"{p}_{k}.png" for p in ("seed", "honest") for k in ("curves", "confusion")
    }
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert pictures == {f"{p}-{k}.png" for p in ("seed", "honest") for k in ("handed", "optimal")}

    # Its numbers are those of the run folders.
    rows = plan(("seed", "honest"), example.scale(options)).rows
    folder = rows["honest"]["optics_learned"].folder(tmp_path / "runs")
    parts = load_predictions(folder)
    accuracy = (parts.logits.argmax(1) == parts.labels).mean()
    assert honest["rows"]["optics_learned"]["test"]["accuracy"] == pytest.approx(accuracy)

    # What is done is not done again; what is missing is said, and then done. test_figures.py draws
    # the figures of runs that are not done, or bare.
    drawn = []
    monkeypatch.setattr(example.figures, "draw", lambda document, folder: drawn.append(document))
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/result.json")}
    lost = rows["honest"]["frozen_6x"].folder(tmp_path / "runs")
    (lost / "result.json").unlink()
    told = example.main(dataclasses.replace(options, report=True))
    assert told["missing"] == ["honest, frozen_6x, seed 0"]
    assert "frozen_6x" not in told["protocols"]["honest"]["rows"]
    assert not is_done(lost)
    assert "not done yet: honest, frozen_6x, seed 0" in capsys.readouterr().out
    again = example.main(options)
    assert again["missing"] == []
    seconds = "seconds"
    one, other = (
        {k: v for k, v in d["protocols"]["honest"]["rows"]["frozen_6x"].items() if k != seconds}
        for d in (found, again)
    )
    assert one == other
    assert {p: t for p, t in kept.items() if p.parent != lost and p.stat().st_mtime_ns != t} == {}

    # Folders may be copied without weights and scores: what was made of them is kept.
    for name in ("best", "checkpoint", "predictions"):
        for path in tmp_path.glob(f"runs/*/{name}.safetensors"):
            path.unlink()
    bare = example.main(dataclasses.replace(options, report=True))
    assert bare["protocols"] == again["protocols"]
    assert [goal["value"] for goal in bare["goals"]] == pytest.approx(
        [goal["value"] for goal in again["goals"]]
    )
    assert {goal["interval"] is None for goal in bare["goals"] if "less" in goal["what"]} == {True}
    shutil.rmtree(tmp_path / "analyses")
    bare = example.main(dataclasses.replace(options, report=True))
    assert all(found["analyses"] == {} for found in bare["protocols"].values())
    assert len(drawn) == 4
    assert (drawn[0], drawn[-1]) == (told, bare)


def test_a_further_process_runs_stages_and_tells_nothing(example, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(example, "run", lambda study, scenes, options: given.append(study))
    options = example.Options(fast=True, output=tmp_path, stages_only=True)
    assert example.main(options) is None
    assert len(given) == 1
    assert list(tmp_path.iterdir()) == []
    for other in ({"report": True}, {"publish": "gpu"}):
        with pytest.raises(ValueError, match="--stages-only tells nothing"):
            example.main(dataclasses.replace(options, **other))


def test_a_run_that_is_stopped_says_how_to_go_on(example, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(example, "run_stage", lambda *_, stop, **__: stop.request("a test"))
    assert example.main(example.Options(fast=True, output=tmp_path)) is None
    assert "stopped by a test and saved; the same command goes on" in capsys.readouterr().out


def test_several_processes_share_the_stages(example, tmp_path, monkeypatch):
    # Another process is at the first classifier, and done with it when all else was looked at.
    options = example.Options(fast=True, output=tmp_path)
    study = plan(("seed",), example.scale(options))
    order = []

    def run_stage(stage, scenes, root, **_):
        if stage.name == "classifier" and not order.count("classifier"):
            order.append("classifier")
            raise RunLocked("somebody else holds it")
        assert all(is_done(parent.folder(root)) for parent in stage.parents.values())
        order.append(stage.name)
        folder = stage.folder(root)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        return True

    monkeypatch.setattr(example, "run_stage", run_stage)
    assert example.run(study, lambda stage: None, options) is None
    free = [stage.name for stage in study.stages if not stage.parents and "class" not in stage.name]
    assert order[: len(free) + 2] == ["classifier", *free, "classifier"]
    assert sorted({*order}) == sorted(stage.name for stage in study.stages)
    assert len(order) == len(study.stages) + 1


def test_a_stage_that_fails_stops_only_what_needs_it(example, tmp_path, monkeypatch, capsys):
    options = example.Options(fast=True, output=tmp_path)
    study = plan(("seed",), example.scale(options))
    ran = []

    def run_stage(stage, scenes, root, **_):
        if stage.name == "autoencoder_3x":
            raise ValueError("no light")
        ran.append(stage.name)
        folder = stage.folder(root)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        return True

    monkeypatch.setattr(example, "run_stage", run_stage)
    with pytest.raises(ExceptionGroup, match="1 stages failed") as caught:
        example.run(study, lambda stage: None, options)
    (error,) = caught.value.exceptions
    assert "seed, autoencoder_3x, seed 0" in error.__notes__[0]
    needing = [s.name for s in study.stages if "autoencoder_3x" in {a.name for a in s.ancestors()}]
    assert "frozen_3x" in needing
    assert sorted(ran) == sorted(s.name for s in study.stages if s.name not in needing)
    assert "== failed: no light" in capsys.readouterr().out


def test_sizes_are_presets_that_can_be_changed(example):
    small = example.scale(example.Options(cpu=True))
    assert (small.pixels, small.backbone, small.precision) == (64, "resnet_s", "float32")
    full = example.scale(example.Options(device="cuda", limit=500))
    assert (full.pixels, full.backbone, full.epochs_scale) == (128, None, 1)
    assert full.precision == "bfloat16"
    asked = example.Options(device="cuda", precision="float32")
    assert example.scale(asked).precision == "float32"
    assert full.limit == 500
    with pytest.raises(ValueError, match="two sizes: choose one"):
        example.main(example.Options(fast=True, cpu=True))


def test_facts_of_the_data_are_those_of_all_of_it(example, tmp_path):
    (tmp_path / "ham10000.zip").touch()
    options = example.Options(data=str(tmp_path / "ham10000.zip"), cpu=True, limit=4000)
    stage = plan(("honest",), example.scale(options)).rows["honest"]["classifier"]
    assert stage.config.data.limit == 4000
    whole = example._unlimited(stage, options)
    assert whole.config.data == stage.config.data.model_copy(update={"limit": None})
    fast = dataclasses.replace(options, fast=True, cpu=False)
    assert example._unlimited(stage, fast) is stage


def test_a_label_says_what_the_numbers_are_good_for(example):
    def label(**changes):
        options = example.Options(**changes)
        return example.label(options, example.scale(options))

    assert label(cpu=True) == "CPU-scale run, one seed, 64 px, epochs x 0.3: no claims"
    assert label(seeds=6).endswith(": no claims")
    assert label(seeds=8) == "Run, 8 seeds, 128 px, epochs x 1"
    assert label(fast=True).startswith("Smoke test")


def test_the_command_is_one_that_can_be_given(example):
    options = example.Options(data="/some/where/ham.zip", cpu=True, epochs_scale=0.2, seeds=3)
    said = example.command(options)
    assert said == (
        "python examples/ham10000/reproduce.py --data ham.zip --cpu --seeds 3 --epochs-scale 0.2"
    )
    again = tyro.cli(example.Options, args=said.split()[2:])
    assert again == dataclasses.replace(options, data="ham.zip")
    assert tyro.cli(example.Options, args=["--report", "--publish", "gpu"]).publish == "gpu"
