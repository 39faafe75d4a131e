import json

import pytest

from joint.cli import main

_TINY = ["--data.count", "60", "--data.image-size", "32", "--training.epochs", "1"]


def _run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "--output", str(folder), "--quiet", "--codec", "jpeg", *_TINY]) == 0
    return folder


def test_train_writes_a_run_folder(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.json",
        "history.jsonl",
        "checkpoint.safetensors",
        "best.safetensors",
        "metrics.json",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["system"]["codec"] == {
        "kind": "jpeg",
        "quality": 75,
        "subsampling": "4:2:0",
    }
    assert config["training"]["epochs"] == 1
    metrics = json.loads((trained / "metrics.json").read_text())
    assert 0 <= metrics["test"]["accuracy"] <= 1
    assert metrics["test"]["bpp_bytes"] > 0


def test_evaluate_prints_what_train_measured(trained, capsys):
    status, out, _ = _run(capsys, "evaluate", trained, "--json")
    assert status == 0
    printed = json.loads(out)
    recorded = json.loads((trained / "metrics.json").read_text())["test"]
    assert printed == recorded
    status, out, _ = _run(capsys, "evaluate", trained, "--part", "validation")
    assert status == 0
    assert "precision" in out
    assert "balanced_accuracy" in out


def test_a_saved_configuration_starts_another_run(trained, tmp_path, capsys):
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", tmp_path / "a", "--config", trained,
        "--system.codec.quality", "30", "--front-end", "fourier",
        "--system.front-end.start", "spiral",
    )  # fmt: skip
    assert status == 0, err
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["system"]["codec"]["quality"] == 30
    assert config["system"]["front_end"]["start"] == "spiral"
    assert config["data"]["count"] == 60


def test_resume_continues_and_a_second_start_is_refused(trained, capsys):
    status, _, err = _run(capsys, "train", "--quiet", "--output", trained, *_TINY)
    assert status == 2
    assert "already holds a run; pass --resume or choose another folder" in err
    before = (trained / "best.safetensors").read_bytes()
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", trained, "--resume", "--training.epochs", "9"
    )
    assert status == 2
    assert "resumed as it was started" in err
    status, _, err = _run(capsys, "train", "--quiet", "--output", trained, "--resume")
    assert status == 0, err
    assert (trained / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--output", "x", "--data", "missing.zip"], "there is nothing at missing.zip"),
        (["train", "--output", "x", "--config", "missing.json"], "cannot read missing.json"),
        (["evaluate", "missing"], "cannot read missing"),
        (["train", "--output", "x", "--device", "cuda:99", *_TINY], "device 'cuda:99' was asked"),
        (["train", "--output", "x", "--device", "gpu", *_TINY], "device 'gpu' is unknown"),
    ],
)
def test_a_mistake_of_the_user_is_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = _run(capsys, *arguments, *([] if "evaluate" in arguments else ["--quiet"]))
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert err.startswith("lens2label: ")


def test_unknown_options_are_refused_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--output", "x", "--training.epoch", "3"])
    assert caught.value.code == 2
    assert "--training.epochs" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["codec", "classifier", "front-end", "sensor"])
def test_any_stage_may_be_left_out(stage, tmp_path, capsys):
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", tmp_path / "run", f"--{stage}", "none", *_TINY
    )
    assert status == 0, err


def test_other_classes_are_not_scored(trained, tmp_path, capsys):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "pets" / name / "a.png")
    status, _, err = _run(capsys, "evaluate", trained, "--data", tmp_path / "pets")
    assert status == 2
    assert "has the classes cat, dog, but the run was trained on akiec" in err


def test_values_out_of_range_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--output", "x", "--training.epochs", "0"])
    assert caught.value.code == 2
    assert "greater than or equal to 1" in capsys.readouterr().err


def test_help_explains_itself(capsys):
    assert _run(capsys, "--help")[0] == 0
    status, _, err = _run(capsys, "trian")
    assert status == 2
    assert "evaluate" in err
    for arguments, words in (
        (["train", "--help"], ["--system.sensor.photons", "--training.epochs", "--resume"]),
        (["train", "--codec", "autoencoder", "--help"], ["width-ratio"]),
        (["evaluate", "--help"], ["--part", "--count-bytes"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
