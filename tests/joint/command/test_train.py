import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import MISTAKE as _MISTAKE
from commands import OPTION as _OPTION
from commands import TINY as _TINY
from commands import run as _run

import joint
import joint.command.train
import joint.run.complete
import optics
from joint.command.options import Choice
from joint.command.train import TrainOptions
from joint.saved.folder import PREVIOUS_FILE
from joint.saved.predictions import load_predictions


def test_train_writes_a_run_folder(trained):
    names = {path.name for path in trained.iterdir()} - {PREVIOUS_FILE}
    assert names == {
        "config.json",
        "environment.json",
        "history.jsonl",
        "checkpoint.safetensors",
        "best.safetensors",
        "predictions.safetensors",
        "result.json",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["system"]["codec"] == {
        "kind": "jpeg",
        "quality": 75,
        "subsampling": "4:2:0",
    }
    assert config["training"]["epochs"] == 1
    result = json.loads((trained / "result.json").read_text())
    assert result["digest"] == joint.load_config(trained).digest()
    assert (result["epochs"], result["best_epoch"], result["stopped_early"]) == (1, 0, False)
    assert 0 <= result["test"]["accuracy"] <= 1
    assert result["test"]["bpp_bytes"] > 0
    predictions = load_predictions(trained)
    right = predictions.logits.argmax(1) == predictions.labels
    assert right.mean() == pytest.approx(result["test"]["accuracy"])


def test_spectral_scenes_of_16_bits_and_oblong_frames_are_trained_on(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    light = rng.uniform(0.2, 0.4, (60, 5, 24, 40))
    light[np.arange(60), labels] += 0.5  # a class is a bright band
    np.savez(
        tmp_path / "scenes.npz",
        images=np.rint(65535 * light).astype(np.uint16),
        labels=labels,
        classes=["a", "b", "c"],
        encoding="linear",
    )
    run = tmp_path / "run"
    given = [
        "train",
        "--output",
        run,
        "--quiet",
        "--data",
        tmp_path / "scenes.npz",
        "--codec",
        "none",
    ]
    given += ["--training.epochs", "10", "--training.batch-size", "8"]
    status, _, err = _run(capsys, *given)
    assert status == _MISTAKE
    assert "--system.encoding linear" in err
    status, _, err = _run(capsys, *given, "--system.encoding", "linear")
    assert status == 0, err
    config, _, parts = joint.load_run(run)
    assert config.data.kind == "file"
    assert parts.test.image_size == (24, 40)
    assert (parts.test.channels, parts.test.bit_depth) == (5, 16)
    status, out, err = _run(capsys, "evaluate", run, "--json")
    assert status == 0, err
    assert json.loads(out)["accuracy"] > 0.8  # chance is a third


@pytest.mark.filterwarnings("ignore:nothing of the classifier learns")  # that is asked for here
def test_a_run_begins_with_the_weights_of_another(trained, tmp_path, capsys):
    # Nothing of the classifier learns, so what it is tested with is what it began with.
    still = ["--config", trained, "--training.stages", "front_end", "--quiet"]
    names = {name for name, _ in joint.load_run(trained)[1].classifier.named_parameters()}

    def classifier(folder, *more):
        status, _, err = _run(capsys, "train", "--output", folder, *still, *more)
        assert status == 0, err
        weights = dict(joint.load_run(folder)[1].classifier.named_parameters())
        assert weights.keys() == names
        return weights

    expected = dict(joint.load_run(trained)[1].classifier.named_parameters())
    begun = classifier(tmp_path / "all", "--start", trained)
    assert all(torch.equal(begun[name], expected[name]) for name in names)
    result = json.loads((tmp_path / "all" / "result.json").read_text())
    assert result["start"] == ["classifier", "codec", "front_end", "sensor"]
    assert result["start_run"] == joint.load_config(trained).digest()
    some = ["--start", trained, "--start-stages", "front_end"]
    for more in ([], some):
        fresh = classifier(tmp_path / f"fresh{len(more)}", *more)
        assert any(not torch.equal(fresh[name], expected[name]) for name in names)


def test_a_camera_by_its_psf_is_trained_on_and_needs_its_file_no_more(tmp_path, capsys):
    spot = np.outer([1, 2, 1], [1, 2, 1]) / 16
    np.save(tmp_path / "lens.npy", 0.8 * np.stack([spot, spot / 2, spot]))
    run = ["train", "--quiet", "--output", tmp_path / "run", "--codec", "none", *_TINY]
    given = ["--front-end", "psf", "--system.front-end.file", tmp_path / "lens.npy"]
    status, _, err = _run(capsys, *run, *given, "--system.front-end.psf-size", "5")
    assert status == 0, err
    (tmp_path / "lens.npy").unlink()
    status, out, err = _run(capsys, "evaluate", tmp_path / "run", "--json")
    assert status == 0, err
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert json.loads(out)["accuracy"] == recorded["accuracy"]
    _, system, _ = joint.load_run(tmp_path / "run")
    expected = np.zeros((3, 5, 5), np.float32)
    expected[:, 1:4, 1:4] = 0.8 * np.stack([spot, spot / 2, spot])
    np.testing.assert_allclose(system.front_end.psf(), expected, atol=1e-7)
    status, _, err = _run(capsys, *run[:3], tmp_path / "again", *run[4:], *given)
    assert status == _MISTAKE
    assert f"front_end.file {tmp_path / 'lens.npy'}: No such file or directory" in err


def test_a_lens_that_loses_light_beside_its_window_is_told_before_it_is_trained(tmp_path, capsys):
    camera = ["--front-end", "lens", "--system.front-end.element", "cubic", "--codec", "none"]
    camera += ["--system.front-end.strength", "1", "--system.front-end.pupil-size", "128"]

    def lost(size):
        asked = ["--quiet", *_TINY, *camera, "--system.front-end.psf-size", size]
        status, _, err = _run(capsys, "train", "--output", tmp_path / f"run{size}", *asked)
        assert status == 0, err
        _, system, _ = joint.load_run(tmp_path / f"run{size}")
        return optics.audit_sampling(system.front_end).window_loss.max().item(), err

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        share, told = lost(9)
    assert share > 0.05
    assert f"{100 * share:.0f} % of the light falls outside of the window of 9 x 9 pixels" in told
    assert lost(63) == (pytest.approx(0, abs=0.05), "")


def test_a_run_that_goes_on_names_no_start_that_it_did_not_have(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    status, _, err = _run(capsys, "train", "--quiet", "--output", folder, "--config", trained)
    assert status == 0, err
    (folder / "result.json").unlink()  # as if it had been stopped after its last step
    saved = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    again = ["train", "--quiet", "--output", folder, "--resume"]
    status, _, err = _run(capsys, *again, "--start", trained)
    assert status == _MISTAKE
    assert "was begun with no start that was noted: it goes on as it began without" in err
    assert not {"start.json", "result.json"} & {path.name for path in folder.iterdir()}
    assert saved == {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    status, _, err = _run(capsys, *again)
    assert status == 0, err
    result = json.loads((folder / "result.json").read_text())
    assert result["start"] == []
    assert "start_run" not in result


def test_a_run_that_goes_on_without_its_start_still_names_it(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    given = ["train", "--quiet", "--output", folder]
    status, _, err = _run(capsys, *given, "--config", trained, "--start", trained)
    assert status == 0, err
    before = (folder / "result.json").read_bytes()
    (folder / "result.json").unlink()  # as if it had been stopped after its last step
    status, _, err = _run(capsys, *given, "--resume")
    assert status == 0, err
    assert (folder / "result.json").read_bytes() == before
    assert json.loads(before)["start_run"] == joint.load_config(trained).digest()


@pytest.mark.filterwarnings("always:the run in .* is not done:UserWarning")
@pytest.mark.parametrize("role", [["--start"], ["--objective.distillation", "1", "--teacher"]])
def test_what_begins_with_a_run_that_is_not_done_says_so(role, trained, tmp_path, capsys):
    stopped, folder = tmp_path / "stopped", tmp_path / "run"
    shutil.copytree(trained, stopped)
    (stopped / "result.json").unlink()
    given = ["train", "--quiet", "--output", folder, "--config", trained, *role, stopped]
    said = f"the run in {stopped} is not done (interrupted, 1 of 1 epochs)"
    status, _, err = _run(capsys, *given)
    assert status == 0, err
    assert err.count(said) == 1, err
    (folder / "result.json").unlink()  # as if it had been stopped after its last step
    status, _, err = _run(capsys, *given, "--resume")
    assert status == 0, err
    assert said not in err


def test_a_finished_run_is_shown_for_its_own_start_alone(trained, tmp_path, capsys):
    folder, other = tmp_path / "run", tmp_path / "other"
    given = ["train", "--quiet", "--output", folder]
    status, _, err = _run(capsys, *given, "--config", trained, "--start", trained)
    assert status == 0, err
    seed = ["--training.seed", "7"]
    status, _, err = _run(capsys, "train", "--quiet", "--output", other, "--config", trained, *seed)
    assert status == 0, err
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, _, err = _run(capsys, *given, "--resume", "--start", other)
    assert status == _MISTAKE
    assert "was begun with another start" in err
    status, out, err = _run(capsys, "train", "--output", folder, "--resume", "--start", trained)
    assert status == 0, err
    assert "accuracy" in out
    # Neither the refusal nor the look changes anything: the run is done, and did not fail.
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_taught_by_another(trained, tmp_path, capsys):
    asked = ["--config", trained, "--quiet", "--system.sensor.photons", "50"]
    taught = [*asked, "--teacher", trained, "--objective.distillation", "0.5"]
    status, _, err = _run(capsys, "train", "--output", tmp_path / "run", *taught)
    assert status == 0, err
    record = json.loads((tmp_path / "run" / "history.jsonl").read_text())
    train, config = record["train"], joint.load_config(tmp_path / "run")
    terms = ("task", "distortion", "distillation")
    weighed = sum(getattr(config.objective, name) * train[name] for name in terms)
    assert train["total"] == pytest.approx(weighed, rel=1e-5)
    assert (config.teacher, config.objective.distillation) == (trained, 0.5)
    for more, said in (
        (["--objective.distillation", "1"], "needs a teacher: give"),
        ([*taught[3:], "--teacher", tmp_path / "nowhere"], "cannot read"),
        ([*taught[3:], "--data.image-size", "40"], "teach on 40 x 40"),
        ([*taught[3:], "--classifier", "none", "--objective.distortion", "1"], "no classifier"),
    ):
        status, _, err = _run(capsys, "train", "--output", tmp_path / "not", *asked, *more)
        assert status == (_OPTION if "needs a teacher" in said else _MISTAKE)
        assert said in err
        assert not (tmp_path / "not").exists()
    # A finished run of another teacher is another run.
    again = ["train", "--output", tmp_path / "run", "--resume", *asked]
    status, _, err = _run(capsys, *again, *taught[3:], "--teacher", tmp_path / "run")
    assert status == _MISTAKE
    assert "holds a run of another configuration" in err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--root", "runs", "--start", "run"], "--start needs --output: the name of a"),
        (["--output", "run", "--start-stages", "codec"], "--start-stages needs --start"),
        (["--output", "run", "--start", "nowhere"], "cannot read nowhere"),
    ],
)
def test_a_start_that_says_too_little_is_refused(tmp_path, monkeypatch, capsys, asked, said):
    monkeypatch.chdir(tmp_path)
    status, _, err = _run(capsys, "train", *asked, "--quiet", *_TINY)
    assert status == (_MISTAKE if "nowhere" in asked else _OPTION)
    assert said in err


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
    assert status == _MISTAKE
    assert "already holds a run: resume it (--resume, resume=True) or choose another folder" in err
    before = (trained / "best.safetensors").read_bytes()
    default = str(joint.RunConfig().training.batch_size)
    for size in ("9", default):  # an option at its default is asked for, too
        status, _, err = _run(
            capsys, "train", "--quiet", "--output", trained, "--resume", "--training.batch-size",
            size,
        )  # fmt: skip
        assert status == _MISTAKE
        assert "resumed as it was started" in err
    status, out, err = _run(capsys, "train", "--quiet", "--output", trained, "--resume")
    assert (status, out, err) == (0, "", "")
    assert (trained / "best.safetensors").read_bytes() == before


def test_a_run_goes_on_for_more_epochs(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    given = [*_TINY[:4], "--codec", "none", "--training.schedule", "constant"]
    command = ["train", "--quiet", "--output", folder]
    status, _, err = _run(capsys, *command, *given, "--training.epochs", "2")
    assert status == 0, err
    again = [*command, "--resume"]
    build_data = joint.command.train.build_data
    monkeypatch.setattr("joint.command.train.build_data", None)  # fewer are refused before that
    status, _, err = _run(capsys, *again, "--training.epochs", "1")
    assert status == _MISTAKE
    assert "holds a run of another configuration" in err
    monkeypatch.setattr("joint.command.train.build_data", build_data)
    # By the one option, all else is as it was; and by all of them.
    for options, epochs in (["--training.epochs", "3"], 3), ([*given, "--training.epochs=4"], 4):
        status, _, err = _run(capsys, *again, *options)
        assert status == 0, err
        assert json.loads((folder / "result.json").read_text())["epochs"] == epochs
        config = joint.load_config(folder)
        assert (config.training.epochs, config.system.codec) == (epochs, joint.NoneConfig())
    # As many as it has now is what is done.
    monkeypatch.setattr(joint.run.complete, "fit", None)
    status, out, _ = _run(capsys, *again[:1], *again[2:], "--json", "--training.epochs", "4")
    assert (status, json.loads(out)["state"]) == (0, "done")
    # Where the scenes lie, it says nothing of the epochs.
    status, out, _ = _run(capsys, *again[:1], *again[2:], "--json")
    assert (status, json.loads(out)["state"]) == (0, "done")


def test_a_run_that_was_killed_before_it_was_saved_is_not_taken_for_the_default(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock.json").write_text("{}")  # what SIGKILL leaves while pictures are decoded
    command = ["train", "--quiet", "--output", folder, "--resume"]
    status, _, err = _run(capsys, *command)
    assert status == _MISTAKE
    assert "holds no run that could be continued: give the options of the run again" in err
    assert not (folder / "config.json").exists()
    # Nor where there is no folder at all, as of a name that was mistyped.
    status, _, err = _run(capsys, "train", "--quiet", "--output", tmp_path / "rum", "--resume")
    assert status == _MISTAKE
    assert "rum holds no run that could be continued" in err
    assert not (tmp_path / "rum").exists()
    # A little later its configuration is there, and no checkpoint yet.
    blind = ["--codec", "none", "--sensor", "none", "--front-end", "none"]
    status, _, err = _run(capsys, *command[:-1], *blind, *_TINY)
    assert status == 0, err
    asked = (folder / "config.json").read_bytes()
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()
    status, _, err = _run(capsys, *command)
    assert status == 0, err
    assert (folder / "config.json").read_bytes() == asked


@pytest.mark.filterwarnings("always:the teacher .* was trained on other pictures")
def test_a_run_goes_on_where_its_scenes_and_its_teacher_are_now(tmp_path, capsys, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    for name, seed in (("scenes", 0), ("others", 1)):
        source = np.random.default_rng(seed)
        pictures = source.integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)
        np.savez(f"{name}.npz", images=pictures, labels=np.arange(40) % 2)
    nothing = ["--front-end", "none", "--sensor", "none", "--codec", "none", "--quiet"]
    short = ["--data", "scenes.npz", "--training.epochs", "1", "--training.batch-size", "32"]
    assert _run(capsys, "train", "--output", "teacher", *nothing, *short)[0] == 0
    given = [*nothing, *short, "--objective.distillation", "1", "--teacher", "teacher"]
    assert _run(capsys, "train", "--output", "run", *given)[0] == 0
    Path("run/result.json").unlink()  # as if it had been stopped after its last step
    begun = Path("run/config.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    again = ["train", "--quiet", "--resume", "--output", "there/run"]

    def refused(*options):
        status, _, err = _run(capsys, *again, *options)
        assert status == _MISTAKE
        return err

    data, teacher = ["--data", "there/scenes.npz"], ["--teacher", "there/teacher"]
    assert "scenes.npz is not there, which is data.path of the run in there/run" in refused()
    assert "say with --resume where it is now (--data PATH)" in refused(*teacher)
    assert "(--teacher PATH)" in refused(*data)
    assert "the train set is another one" in refused("--data", "there/others.npz", *teacher)
    assert "scenes of another kind than" in refused("--data", "phantom", *teacher)
    assert "a run of another configuration" in refused(*data, *teacher, "--training.seed", "2")
    assert "training.schedule one_cycle" in refused(*data, *teacher, "--training.epochs", "2")
    status, _, err = _run(capsys, *again, *data, *teacher)
    assert status == 0, err
    assert Path("there/run/config.json").read_bytes() == begun
    result = json.loads(Path("there/run/result.json").read_text())
    assert result["digest"] == joint.load_config("there/run").digest()
    # What is done is shown, also by the words that made it go on; other scenes are others.
    status, _, err = _run(capsys, *again, *data, *teacher)
    assert status == 0, err
    assert "other pictures: the train set" in refused("--data", "there/others.npz", *teacher)
    assert "its teacher is another one" in refused(*data, "--teacher", "there/run")
    # So it does with all of its options, as they were at first.
    Path("there/run/result.json").unlink()
    where = [*data, *teacher]
    status, _, err = _run(capsys, *again, *nothing, *given[len(nothing) :], *where)
    assert status == 0, err
    assert json.loads(Path("there/run/result.json").read_text())["digest"] == result["digest"]
    # One that was killed before it was saved is begun as it was meant.
    for path in Path("there/run").iterdir():
        if path.name != "config.json":
            path.unlink()
    status, _, err = _run(capsys, *again, *data, *teacher)
    assert status == 0, err
    assert joint.load_config("there/run").system.sensor == joint.NoneConfig()
    assert json.loads(Path("there/run/result.json").read_text())["epochs"] == 1


@pytest.mark.filterwarnings("always:the last layer of")
def test_a_run_goes_on_with_other_classes(trained, tmp_path, capsys):
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(12):
            pixels = generator.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{k}.png")
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", tmp_path / "run", "--config", trained,
        "--start", trained, "--data", tmp_path / "pets", "--data.image-size", "32",
    )  # fmt: skip
    assert status == 0, err
    assert "is for 7 classes, and begins anew for 2" in err
    assert joint.load_run(tmp_path / "run")[1].classifier.head.out_features == 2


def test_a_run_that_is_done_is_shown_and_not_repeated(trained, capsys, monkeypatch):
    monkeypatch.setattr(joint.run.complete, "fit", None)
    status, out, _ = _run(capsys, "train", "--output", trained, "--resume")
    assert status == 0
    assert "balanced_accuracy" in out
    first, *_, last = out.splitlines()
    assert first == "test part, by the weights of the best epoch:"
    page = f"lens2label report {trained} --output report.html"
    assert last == f"the run is in {trained}; for a page on it: {page}"
    status, out, _ = _run(capsys, "train", "--output", trained, "--resume", "--json")
    assert status == 0
    printed = json.loads(out)
    assert (printed.pop("state"), printed.pop("folder")) == ("done", str(trained))
    assert printed == json.loads((trained / "result.json").read_text())


@pytest.mark.parametrize("averaging", ["None", "0.9"])
def test_a_run_without_the_best_epoch_is_tested_as_training_left_it(tmp_path, capsys, averaging):
    folder = tmp_path / "run"
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", folder, *_TINY[:4], "--training.epochs", "3",
        "--front-end", "none", "--sensor", "none", "--codec", "jpeg",
        # What JPEG keeps does not change, so that the first epoch stays the best.
        "--training.monitor", "psnr", "--training.no-restore-best",
        "--training.averaging", averaging,
    )  # fmt: skip
    assert status == 0, err
    recorded = json.loads((folder / "result.json").read_text())
    assert recorded["best_epoch"] == 0
    _, out, _ = _run(capsys, "train", "--output", folder, "--resume")
    assert out.startswith("test part, by the weights of the last epoch:\n")
    config, loaded, parts = joint.load_run(folder)
    system = joint.build_system(config.system, image_size=(32, 32), channels=3, classes=7)
    joint.fit(
        system, parts.train, parts.validation,
        objective=config.objective, config=config.training, progress=False,
    )  # fmt: skip
    for name, weight in system.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    expected = joint.evaluate(system, parts.test, objective=config.objective)
    assert (load_predictions(folder).logits == expected.logits).all()
    best, _ = joint.load_checkpoint(folder / "best.safetensors")
    joint.load_weights(system, best, source="the best epoch")
    assert (joint.evaluate(system, parts.test).logits != expected.logits).any()
    status, out, err = _run(capsys, "evaluate", folder, "--json")
    assert status == 0, err
    assert json.loads(out) == recorded["test"]


def test_a_log_for_tensorboard_is_no_part_of_the_run(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def logged():
        accumulator = EventAccumulator(str(folder / "tensorboard")).Reload()
        return [(event.step, event.value) for event in accumulator.Scalars("validation/loss")]

    command = ["train", "--root", tmp_path, "--quiet"]
    blind = ["--codec", "none", "--sensor", "none", "--front-end", "none", *_TINY[:4]]
    command += [*blind, "--training.epochs", "2"]
    status, _, err = _run(capsys, *command)
    assert status == 0, err
    (folder,) = tmp_path.iterdir()
    assert not (folder / "tensorboard").exists()
    expected = [
        (line["epoch"], pytest.approx(line["validation"]["loss"], rel=1e-6))
        for line in joint.read_history(folder)
    ]
    assert len(expected) == 2
    before = (folder / "config.json").read_bytes(), (folder / "result.json").read_bytes()
    for _ in range(2):  # of a run that is done, and again
        status, _, err = _run(capsys, *command, "--resume", "--tensorboard")
        assert status == 0, err
        assert logged() == expected
    assert before == ((folder / "config.json").read_bytes(), (folder / "result.json").read_bytes())
    # Begun anew with it: the same folder, named by the same digest.
    shutil.rmtree(folder)
    status, _, err = _run(capsys, *command, "--tensorboard")
    assert status == 0, err
    assert logged() == expected
    assert [*tmp_path.iterdir()] == [folder]
    assert (folder / "config.json").read_bytes() == before[0]


@pytest.mark.filterwarnings("ignore:the training set has no picture of:UserWarning")
@pytest.mark.filterwarnings("ignore:the validation set has no picture of:UserWarning")
def test_a_root_holds_a_folder_for_each_configuration(tmp_path, capsys):
    blind = ["--codec", "none", "--sensor", "none", "--front-end", "none", *_TINY]
    for fold in range(2):
        folds = ["--split.folds", "3", "--split.fold", str(fold)]
        status, out, err = _run(capsys, "train", "--root", tmp_path, "--json", *blind, *folds)
        assert status == 0, err
        assert json.loads(out)["folder"] == str(tmp_path / json.loads(out)["digest"])
    status, _, err = _run(capsys, "train", "--root", tmp_path, *blind, *folds)
    assert status == _MISTAKE
    assert "already holds a run" in err
    assert _run(capsys, "train", "--root", tmp_path, "--quiet", "--resume", *blind, *folds)[0] == 0
    tested = [{*load_predictions(folder).identifiers} for folder in tmp_path.iterdir()]
    assert len(tested) == 2
    assert not tested[0] & tested[1]
    assert all(len(part) == 20 for part in tested)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"system": {"codec": {"kind": "custom", "class_path": "compress.JPGE"}}},
            "codec.class_path",
        ),
        ({"objective": {"terms": {"dull": {"function": "joint.dulness"}}}}, "dull"),
    ],
)
def test_what_is_not_of_the_library_is_looked_for_before_the_data(
    tmp_path, monkeypatch, capsys, given, message
):
    monkeypatch.setattr(
        "joint.command.train.build_data", lambda *_, **__: pytest.fail("data were loaded")
    )
    (tmp_path / "run.json").write_text(json.dumps(given))
    folder = ["--output", tmp_path / "run", "--config", tmp_path / "run.json"]
    status, _, err = _run(capsys, "train", "--quiet", *folder)
    assert status == 1
    assert message in err


def test_a_signal_ends_the_process_as_ever_until_there_are_steps(tmp_path, monkeypatch, capsys):
    signals = signal.SIGTERM, signal.SIGINT
    before, seen = [*map(signal.getsignal, signals)], []

    def stops(*_, **__):
        seen.append([*map(signal.getsignal, signals)])
        raise joint.ConfigError("enough")

    build_data = joint.command.train.build_data
    for name in ("build_data", "complete_run"):
        monkeypatch.setattr("joint.command.train.build_data", build_data)
        monkeypatch.setattr(f"joint.command.train.{name}", stops)
        assert _run(capsys, "train", "--output", tmp_path / "run", "--quiet", *_TINY)[0] == 1
    assert seen[0] == before
    assert all(now != then for now, then in zip(seen[1], before, strict=True))


def test_the_program_itself_stops_on_sigterm(tmp_path):
    folder = tmp_path / "my run"
    command = [sys.executable, "-m", "joint.cli", "train", "--output", str(folder)]
    process = subprocess.Popen(
        [*command, *_TINY[:4], "--training.epochs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        while not process.stdout.readline().startswith("epoch"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.endswith(f"to continue: lens2label train --output '{folder}' --resume\n")
    assert "finishing the step and saving" in err


@pytest.mark.parametrize("stage", ["codec", "classifier", "front-end", "sensor"])
def test_any_stage_may_be_left_out(stage, tmp_path, capsys):
    status, _, err = _run(
        capsys, "train", "--quiet", "--output", tmp_path / "run", f"--{stage}", "none", *_TINY
    )
    assert status == 0, err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["webp", "--front-end", "none", "--sensor", "none"], "nothing to train"),
        (["none", "--system.encoding", "linear"], "the scenes are sRGB codes"),
        (["none", "--training.monitor", "psnr"], "needs a codec"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(tmp_path, capsys, options, said):
    folder = tmp_path / "run"
    given = ["train", "--output", folder, "--quiet", *_TINY, "--codec", *options]
    if "webp" in options:
        given += ["--classifier", "none"]
    status, _, err = _run(capsys, *given)
    assert status == _MISTAKE
    assert said in err
    assert not folder.exists()
    folder.mkdir()  # one that was there is left, with nothing in it
    assert _run(capsys, *given)[0] == _MISTAKE
    assert not list(folder.iterdir())
    note = folder / "note.txt"
    note.write_text("mine")
    assert _run(capsys, *given)[0] == _MISTAKE
    assert list(folder.iterdir()) == [note]


def test_a_restoration_is_trained_saved_and_begun_with(tmp_path, capsys):
    run, again = tmp_path / "run", tmp_path / "again"
    camera = ["--front-end", "none", "--codec", "none", "--system.sensor.binning", "2"]
    camera += ["--system.sensor.photons", "1000", "--system.sensor.bit-depth", "12"]
    status, _, error = _run(
        capsys, "train", "--output", run, "--quiet", *camera, "--restoration", "unet",
        "--system.restoration.width", "2", "--objective.restoration", "1", *_TINY,
    )  # fmt: skip
    assert status == 0, error
    config, system, parts = joint.load_run(run)
    assert config.system.restoration == joint.UNetConfig(width=2)
    assert system.restoration.upscaling == 2
    assert system.restoration.tail.weight.abs().max() > 0, "it has not learned"
    told = json.loads((run / "result.json").read_text())["test"]
    assert told["psnr_scene"] == pytest.approx(joint.evaluate(system, parts.test).psnr_scene)
    status, _, error = _run(
        capsys, "train", "--config", run, "--start", run, "--start-stages", "restoration",
        "--output", again, "--quiet", "--training.stages", "classifier",
    )  # fmt: skip
    assert status == 0, error
    kept = joint.load_run(again)[1].restoration.state_dict()
    for name, weight in system.restoration.state_dict().items():
        assert torch.equal(kept[name], weight), name
    status, shown, _ = _run(capsys, "evaluate", again)
    assert status == 0
    assert "psnr_scene" in shown
    page = tmp_path / "page.html"
    few = ["--pictures", "6", "--resamples", "20", "--quick"]
    assert _run(capsys, "report", run, "--output", page, *few)[0] == 0
    assert "unet, width 2, scales 3, blocks 1" in page.read_text()


def _folder(**options):
    return TrainOptions(choice=Choice(), run=joint.RunConfig(), **options).folder()


def test_a_run_goes_to_one_place(tmp_path):
    assert _folder(output=tmp_path) == tmp_path
    assert _folder(root=tmp_path) == tmp_path / joint.RunConfig().digest()
    for both in ({}, {"output": tmp_path, "root": tmp_path}):
        with pytest.raises(joint.ConfigError, match=r"give either --output.*or --root"):
            _folder(**both)
