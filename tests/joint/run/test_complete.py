import dataclasses
import json
import shutil
import warnings

import pytest
import torch
from phantom_runs import CLASSIFIER, CODEC, QUICK, config_of, renamed

import classify
import joint
import joint.run.complete
from classify import LesionDataset
from joint.report.saved import read_runs
from joint.run.complete import complete_run
from joint.saved.checkpoint import digest
from joint.saved.folder import read_history, read_result
from joint.saved.predictions import load_predictions


def test_the_folder_is_one_of_the_command_line(codec, parts):
    system, folder = codec
    assert joint.is_done(folder)
    (saved,) = read_runs([folder])
    assert saved.test["count"] == len(parts.test)
    assert saved.test["bpp_bytes"] > 0
    assert saved.result["start"] == []
    config, loaded, again = joint.load_run(folder)
    assert config == config_of(**CODEC)
    assert again.test.fingerprint == parts.test.fingerprint
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, system.state_dict()[name])
    assert not system.training


def test_stages_begin_where_other_runs_ended(codec, parts, tmp_path):
    system, _ = codec
    config = config_of(**CODEC, **CLASSIFIER)
    # Nothing learns, so what comes out is what went in.
    frozen = config.model_copy(
        update={"training": joint.Training(epochs=1, stages=("classifier",))}
    )
    both = complete_run(
        frozen, parts, tmp_path / "both", start={"codec": system.codec}, resamples=10,
        progress=False,
    )  # fmt: skip
    for name, weight in both.codec.state_dict().items():
        assert torch.equal(weight, system.codec.state_dict()[name])
    (saved,) = read_runs([tmp_path / "both"])
    assert saved.result["start"] == ["codec"]
    assert set(saved.report.intervals) >= {"accuracy", "balanced_accuracy"}


def test_a_run_that_was_ended_before_it_was_saved_does_not_forget_its_start(
    codec, parts, tmp_path, monkeypatch
):
    config = config_of(**CODEC, **CLASSIFIER)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("joint.run.complete.fit", killed)
        with pytest.raises(KeyboardInterrupt):
            complete_run(config, parts, tmp_path, start={"codec": codec[0].codec}, **QUICK)
    assert (tmp_path / "config.json").exists()
    with pytest.raises(joint.ConfigError, match="was begun with a trained codec, and was ended"):
        complete_run(config, parts, tmp_path, **QUICK)
    complete_run(config, parts, tmp_path, resume=False, **QUICK)
    assert read_result(tmp_path)["start"] == []
    assert not (tmp_path / "start.json").exists()


def test_a_run_that_was_saved_goes_on_without_its_start_and_with_no_other(codec, parts, tmp_path):
    config = config_of(2, **CODEC, **CLASSIFIER)
    start = {"codec": codec[0].codec}
    whole = complete_run(config, parts, tmp_path / "whole", start=start, **QUICK)
    steps = iter(range(100))
    part = tmp_path / "part"
    complete_run(config, parts, part, start=start, stop=lambda: next(steps) == 1, **QUICK)
    other = {"codec": joint.build_system(config.system, image_size=16, channels=3, classes=7).codec}
    with pytest.raises(joint.ConfigError, match="was begun with another start, of codec: it goes"):
        complete_run(config, parts, part, start=other, **QUICK)
    noted = (part / "start.json").read_text()
    (part / "start.json").unlink()  # begun without
    with pytest.raises(joint.ConfigError, match="was begun with no start that was noted"):
        complete_run(config, parts, part, start=start, **QUICK)
    (part / "start.json").write_text(noted)
    resumed = complete_run(config, parts, part, **QUICK)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])
    assert read_result(part) == read_result(tmp_path / "whole")
    assert read_result(part)["start"] == ["codec"]
    complete_run(config, parts, part, start=start, **QUICK)  # the same again
    with pytest.raises(joint.ConfigError, match="was begun with another start, of codec"):
        complete_run(config, parts, part, start=other, **QUICK)  # of a finished run neither


@pytest.mark.parametrize("again", [False, True], ids=["resumed without", "resumed with it"])
def test_the_run_that_a_start_is_of_is_kept(codec, parts, tmp_path, again):
    config = config_of(2, **CODEC, **CLASSIFIER)
    started = {"start": {"codec": codec[0].codec}, "start_run": "0123456789ab"}
    complete_run(config, parts, tmp_path, stop=lambda: True, **started, **QUICK)
    complete_run(config, parts, tmp_path, **(started if again else {}), **QUICK)
    result = read_result(tmp_path)
    assert (result["start"], result["start_run"]) == (["codec"], "0123456789ab")


# ---------------------------------------------------------------------------------- with a teacher


def _taught(teacher, epochs=1, data=None, **stages):
    config = config_of(epochs, sensor=joint.SensorConfig(photons=100), **CLASSIFIER, **stages)
    updates = {"objective": joint.Objective(distillation=1.0), "teacher": teacher}
    return config.model_copy(update=updates | ({} if data is None else {"data": data}))


def _copied(folder, to):
    shutil.copytree(folder, to)
    return to


def test_a_run_is_taught_by_another_and_needs_it_no_more_once_it_is_done(teacher, parts, tmp_path):
    system, folder = teacher
    place = _copied(folder, tmp_path / "teacher")
    config = _taught(place, epochs=2)
    whole = complete_run(config, parts, tmp_path / "whole", **QUICK)
    steps = iter(range(100))
    part = tmp_path / "part"
    complete_run(config, parts, part, stop=lambda: next(steps) == 1, **QUICK)
    resumed = complete_run(config, parts, part, **QUICK)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])
    assert read_result(part) == read_result(tmp_path / "whole")
    assert read_result(part)["teacher"] == digest(system)
    assert "distillation" in read_history(part)[0]["train"]
    shutil.rmtree(place)
    saved, loaded, _ = joint.load_run(part)
    assert saved == config
    assert [name for name, _ in loaded.stages()] == ["sensor", "classifier"]
    scene = torch.rand(1, 3, 16, 16)
    exported = joint.export(loaded, scene, tmp_path / "file.pt2", plane="measurement")
    assert exported.path.exists()
    complete_run(config, parts, part, **QUICK)  # as it is
    # What is tested is not only the loss of the labels: it is that loss alone.
    assert read_result(part)["test"]["loss"] == read_result(part)["test"]["loss_task"]


def test_a_teacher_that_became_another_one_is_told(teacher, parts, tmp_path):
    place = _copied(teacher[1], tmp_path / "teacher")
    config, part = _taught(place, epochs=2), tmp_path / "part"
    complete_run(config, parts, part, stop=lambda: True, **QUICK)
    shutil.rmtree(place)
    with pytest.raises(joint.ConfigError, match=r"cannot read .*teacher"):
        complete_run(config, parts, part, **QUICK)
    shorter = config_of(2, **CLASSIFIER)
    complete_run(shorter, parts, place, **QUICK)
    with pytest.raises(joint.CheckpointError, match="the teacher is another one"):
        complete_run(config, parts, part, **QUICK)


def test_what_a_run_folder_cannot_teach_is_refused_before_anything(teacher, codec, parts, tmp_path):
    place, run = _copied(teacher[1], tmp_path / "teacher"), tmp_path / "run"

    def refused(message, config, parts=parts):
        with pytest.raises(joint.ConfigError, match=message):
            complete_run(config, parts, run, **QUICK)
        assert not (run / "config.json").exists()

    refused(r"cannot read .*nowhere", _taught(tmp_path / "nowhere"))
    refused("cannot teach: its run has no classifier", _taught(codec[1]))
    larger = _taught(place, data=joint.PhantomConfig(count=70, image_size=24))
    scenes = joint.build_split(larger, joint.build_data(larger.data))
    refused("scenes of 16 x 16 pixels, and is to teach on 24 x 24: .*one size", larger, scenes)
    # Of other classes: by their number, and by their names in the order of the scores.
    fewer = dataclasses.replace(parts, train=renamed(parts.train, parts.train.classes[:-1]))
    refused("tells other classes apart .* than it is to teach", _taught(place), fewer)
    turned = dataclasses.replace(parts, train=renamed(parts.train, parts.train.classes[::-1]))
    refused("tells other classes apart .*in their order", _taught(place), turned)
    (place / "best.safetensors").unlink()
    with pytest.raises(joint.CheckpointError, match="holds no trained weights"):
        complete_run(_taught(place), parts, run, **QUICK)


def test_a_teacher_of_other_pictures_is_warned_of(teacher, parts, tmp_path):
    """It may know what is tested here."""
    config = _taught(teacher[1])
    other = config.model_copy(update={"split": joint.SplitConfig(seed=3)})
    scenes = joint.build_split(other, joint.build_data(other.data))
    with pytest.warns(UserWarning, match="was trained on other pictures than those that it teach"):
        complete_run(other, scenes, tmp_path / "other", resamples=0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complete_run(config, parts, tmp_path / "same", resamples=0, progress=False)


def test_a_teacher_that_rests_is_not_looked_for(parts, tmp_path):
    resting = _taught(tmp_path / "nowhere").model_copy(update={"objective": joint.Objective()})
    with pytest.warns(
        UserWarning, match="nowhere has no effect, because the objective has distillation=0"
    ):
        taught = complete_run(resting, parts, tmp_path / "rests", **QUICK)
    alone = resting.model_copy(update={"teacher": None})
    plain = complete_run(alone, parts, tmp_path / "alone", **QUICK)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, taught.state_dict()[name])
    assert "teacher" not in read_result(tmp_path / "rests")


def test_a_finished_run_is_taken_as_it_is(codec, parts):
    system, folder = codec
    written = (folder / "result.json").stat().st_mtime_ns
    again = complete_run(config_of(**CODEC), parts, folder, progress=False)
    assert (folder / "result.json").stat().st_mtime_ns == written
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, system.state_dict()[name])
    other = config_of(**CODEC).model_copy(update={"objective": joint.Objective(distortion=2)})
    with pytest.raises(joint.ConfigError, match="a run of another configuration, and is resumed"):
        complete_run(other, parts, folder, progress=False)
    with pytest.raises(joint.CheckpointError, match="already holds a run: resume it "):
        complete_run(config_of(**CODEC), parts, folder, resume=False, progress=False)


def test_an_interrupted_run_ends_as_if_it_had_not_been(parts, tmp_path):
    config = config_of(2, **CODEC)
    whole = complete_run(config, parts, tmp_path / "whole", resamples=10, progress=False)
    part = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    steps = iter(range(100))
    joint.fit(
        part, parts.train, parts.validation, objective=config.objective, config=config.training,
        directory=tmp_path / "part", stop=lambda: next(steps) == 1, progress=False,
    )  # fmt: skip
    assert not joint.is_done(tmp_path / "part")
    resumed = complete_run(config, parts, tmp_path / "part", resamples=10, progress=False)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])


def test_a_run_that_is_stopped_is_left_and_goes_on(parts, tmp_path):
    config = config_of(2, **CODEC)
    quick = {"resamples": 10, "progress": False}
    whole = complete_run(config, parts, tmp_path / "whole", **quick)
    steps = iter(range(100))
    asked = {"stop": lambda: next(steps) == 1}
    stopped = complete_run(config, parts, tmp_path / "part", **asked, **quick)
    assert not stopped.training
    assert not joint.is_done(tmp_path / "part")
    assert not (tmp_path / "part" / "predictions.safetensors").exists()
    with pytest.raises(joint.ConfigError, match="a run of another configuration, and is resumed"):
        complete_run(config_of(1, **CODEC), parts, tmp_path / "part", **quick)
    with pytest.raises(joint.CheckpointError, match="already holds a run: resume it "):
        complete_run(config, parts, tmp_path / "part", resume=False, **quick)
    assert joint.load_config(tmp_path / "part") == config
    resumed = complete_run(config, parts, tmp_path / "part", **quick)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])
    results = [read_result(tmp_path / name) for name in ("part", "whole")]
    assert results[0] == results[1]


def test_a_run_goes_on_without_the_file_that_its_classifier_began_with(parts, tmp_path):
    path = tmp_path / "public.pth"
    torch.save(classify.backbone(image_size=16).state_dict(), path)
    config = config_of(2, classifier=joint.ClassifierConfig(weights=path))
    whole = complete_run(config, parts, tmp_path / "whole", **QUICK)
    steps = iter(range(100))
    complete_run(config, parts, tmp_path / "part", stop=lambda: next(steps) == 1, **QUICK)
    path.rename(tmp_path / "elsewhere.pth")
    with pytest.raises(ValueError, match="there are no weights at"):
        complete_run(config, parts, tmp_path / "new", **QUICK)
    for name in ("part", "whole"):  # one to go on with, one that is done
        resumed = complete_run(config, parts, tmp_path / name, **QUICK)
        for key, weight in resumed.state_dict().items():
            assert torch.equal(weight, whole.state_dict()[key])


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_what_training_leaves_is_tested_and_loaded(parts, tmp_path, averaging):
    config = config_of(**CLASSIFIER, codec=joint.JPEGConfig())
    # What JPEG keeps does not change, so that the first epoch stays the best.
    training = joint.Training(
        epochs=3, batch_size=8, monitor="psnr", restore_best=False, averaging=averaging
    )
    config = config.model_copy(update={"objective": joint.Objective(), "training": training})
    expected = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    history = joint.fit(
        expected, parts.train, parts.validation,
        objective=config.objective, config=training, progress=False,
    )  # fmt: skip
    assert history.best_epoch == 0
    done = complete_run(config, parts, tmp_path, resamples=0, progress=False)
    again = complete_run(config, parts, tmp_path, progress=False)
    _, loaded, _ = joint.load_run(tmp_path)
    for system in (done, again, loaded):
        for name, weight in expected.state_dict().items():
            assert torch.equal(system.state_dict()[name], weight), name
    best, _ = joint.load_checkpoint(tmp_path / "best.safetensors")
    assert any(not torch.equal(best[name], w) for name, w in expected.state_dict().items())
    test = joint.evaluate(expected, parts.test, objective=config.objective, count_bytes=True)
    assert read_result(tmp_path)["test"] == test.to_dict()
    assert (load_predictions(tmp_path).logits == test.logits).all()


def test_listeners_hear_of_every_epoch_of_a_run_that_is_stopped_goes_on_and_is_done(
    parts, tmp_path
):
    config = config_of(3, **CODEC)
    told = {"stopped": [], "resumed": [], "done": []}
    polls = iter([False] * 3 + [True] * 100)
    options = {"resamples": 0, "progress": False}
    complete_run(
        config, parts, tmp_path, stop=lambda: next(polls), on_epoch=told["stopped"].append,
        **options,
    )  # fmt: skip
    complete_run(config, parts, tmp_path, on_epoch=[told["resumed"].append], **options)
    complete_run(config, parts, tmp_path, on_epoch=told["done"].append, **options)
    records = [joint.EpochRecord(**line) for line in joint.read_history(tmp_path)]
    assert len(records) == 3
    assert told["resumed"] == told["done"] == records
    assert told["stopped"] == records[: len(told["stopped"])]
    assert len(told["stopped"]) < 3


def test_a_result_says_what_else_is_asked_of_it(parts, tmp_path):
    def also(system, test):
        return {"parameters": sum(p.numel() for p in system.parameters()), "tested": test.count}

    config = config_of(**CODEC)
    system = complete_run(config, parts, tmp_path, also=also, resamples=0, progress=False)
    result = read_result(tmp_path)
    assert result["parameters"] == sum(p.numel() for p in system.parameters())
    assert result["tested"] == len(parts.test)


def test_only_the_first_process_writes(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(joint.run.complete, "rank", lambda: 1)
    system = complete_run(config_of(**CODEC), parts, tmp_path, progress=False)
    assert not system.training
    written = {path.name for path in tmp_path.iterdir()}
    assert not written & {"config.json", "environment.json", "predictions.safetensors"}
    assert not joint.is_done(tmp_path)


def _steady(epochs, **training):
    """A run that may go on for more epochs."""
    config = config_of(epochs, **CODEC)
    steady = joint.Training(epochs=epochs, batch_size=16, schedule="constant", **training)
    return config.model_copy(update={"training": steady})


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_a_finished_run_goes_on_for_more_epochs(parts, tmp_path, averaging):
    """To what it would have come to with as many, also where it is killed on the way."""
    options = {"averaging": averaging, "restore_best": averaging is None}
    short, long = (_steady(epochs, **options) for epochs in (2, 4))
    whole = complete_run(long, parts, tmp_path / "whole", **QUICK)
    folder = tmp_path / "run"
    complete_run(short, parts, folder, **QUICK)
    first = read_result(folder)
    steps = iter(range(100))
    complete_run(long, parts, folder, stop=lambda: next(steps) == 4, **QUICK)
    assert not joint.is_done(folder)  # neither the one run nor the other
    assert joint.load_config(folder) == long
    assert joint.list_runs(folder)[0].state == "interrupted"
    assert json.loads((folder / "result.previous.json").read_text()) == first
    told = []
    resumed = complete_run(long, parts, folder, on_epoch=told.append, **QUICK)
    assert [record.epoch for record in told] == [0, 1, 2, 3]
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])
    results = [read_result(place) for place in (folder, tmp_path / "whole")]
    assert results[0] == results[1]
    assert (results[0]["digest"], results[0]["epochs"]) == (long.digest(), 4)
    assert first["digest"] == short.digest()
    loaded = joint.load_run(folder)[1]
    assert all(torch.equal(w, whole.state_dict()[n]) for n, w in loaded.state_dict().items())


def test_a_run_that_is_killed_as_it_goes_on_for_more_epochs_goes_on(parts, tmp_path, monkeypatch):
    short, long = _steady(1), _steady(2)
    complete_run(short, parts, tmp_path, **QUICK)

    def killed(*_, **__):
        raise KeyboardInterrupt

    first = read_result(tmp_path)
    for place, is_now in (("save_config", short), ("fit", long)):
        with monkeypatch.context() as patched:
            patched.setattr(f"joint.run.complete.{place}", killed)
            with pytest.raises(KeyboardInterrupt):
                complete_run(long, parts, tmp_path, **QUICK)
        assert joint.load_config(tmp_path) == is_now
        assert not joint.is_done(tmp_path)
        if is_now == short:  # which is tested again
            complete_run(short, parts, tmp_path, **QUICK)
            assert read_result(tmp_path) == first
    complete_run(long, parts, tmp_path, **QUICK)
    assert read_result(tmp_path)["epochs"] == 2


def test_a_run_that_does_not_go_on_for_more_epochs_is_left_as_it_is(
    codec, teacher, parts, tmp_path, monkeypatch
):

    def refused(config, folder, match, scenes=parts):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(joint.ConfigError, match=match):
            complete_run(config, scenes, folder, **QUICK)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    refused(config_of(2, **CODEC), codec[1], "schedule one_cycle over training.epochs 1, and with")
    # Its name would no longer be its digest, as a study looks for it.
    named = tmp_path / _steady(2).digest()
    complete_run(_steady(2), parts, named, **QUICK)
    refused(_steady(3), named, "is named by the digest .* copy the folder to another name")
    refused(_steady(1), named, "a run of another configuration")
    copied = shutil.copytree(named, tmp_path / "copy")
    other = _steady(3).model_copy(update={"objective": joint.Objective(distortion=2)})
    refused(other, copied, "a run of another configuration")
    # What the configuration does not tell.
    half = shutil.copytree(named, tmp_path / "half")
    (half / "result.json").unlink()
    for name in ("train", "validation"):
        part = getattr(parts, name)
        others = dataclasses.replace(parts, **{name: part.subset(range(len(part) - 1))})
        for folder in (copied, half):
            refused(_steady(3), folder, f"the {name} set is another one", others)
    built = joint.run.complete.built

    def rebuilt(*given):
        system = built(*given)
        system.encoding = "linear"
        return system

    with monkeypatch.context() as patched:
        patched.setattr("joint.run.complete.built", rebuilt)
        refused(_steady(3), copied, "encoding='srgb' there, encoding='linear' here")
    places = [_copied(teacher[1], tmp_path / name) for name in ("one", "other")]
    weights, head = joint.load_checkpoint(places[1] / "best.safetensors")
    weights["classifier.head.bias"] += 1
    joint.save_checkpoint(places[1] / "best.safetensors", weights, head)
    short, long = (
        _taught(place).model_copy(update={"training": _steady(epochs).training})
        for epochs, place in zip((1, 2), places, strict=True)
    )
    taught = tmp_path / "taught"
    complete_run(short, parts, taught, **QUICK)
    refused(long, taught, "the teacher is another one")
    for path in copied.glob("checkpoint*"):
        path.unlink()
    refused(_steady(3), copied, "no longer has its checkpoint with the moments")
    (copied / "result.json").unlink()
    refused(_steady(2), copied, "has best.safetensors of a run, but no checkpoint.safetensors to")
    shutil.copy(copied / "best.safetensors", copied / "checkpoint.safetensors")
    refused(_steady(3), copied, "has a checkpoint.safetensors that is not one of a training run")
    again = shutil.copytree(named, tmp_path / "again")
    complete_run(_steady(3), parts, again, **QUICK)
    assert read_result(again)["epochs"] == 3


def test_what_does_not_fit_is_refused(codec, parts, tmp_path):
    system, _ = codec
    with pytest.raises(ValueError, match="the start gives a codec, and the system of the run has"):
        complete_run(config_of(**CLASSIFIER), parts, tmp_path / "a", start={"codec": system.codec})
    other = {"codec": joint.AutoencoderConfig(width_ratio=6)}
    with pytest.raises(joint.CheckpointError, match="the start of the codec holds another"):
        complete_run(config_of(**other), parts, tmp_path / "b", start={"codec": system.codec})
    with pytest.raises(ValueError, match="device 'gpu' is unknown; use 'cpu'"):
        complete_run(config_of(**CODEC), parts, tmp_path / "d", device="gpu")
    halves = dataclasses.replace(parts, validation=None)
    with pytest.raises(ValueError, match="needs a validation part: split into three"):
        complete_run(
            config_of(**CODEC), dataclasses.replace(halves, validation=None), tmp_path / "c"
        )


def test_parts_that_no_folder_would_find_again_are_refused(parts, tmp_path):
    whole = parts.whole
    assert whole is not None
    assert whole.fingerprint == joint.build_data(config_of().data).fingerprint

    def saying(words):
        return LesionDataset(
            images=whole.gather(range(70)).images,
            labels=whole.labels,
            groups=whole.identifiers,
            identifiers=whole.identifiers,
            metadata={"part": words},
        )

    own = classify.given_split(
        whole.grouped(whole.identifiers), ["train"] * 40 + ["val"] * 15 + ["test"] * 15
    )
    sources = dataclasses.replace(parts, test=renamed(parts.test, parts.test.classes))
    swapped = dataclasses.replace(
        parts, validation=parts.test, test=parts.validation, indices=[*parts.indices[:1],
        *parts.indices[:0:-1]],
    )  # fmt: skip
    for other in (own, sources, swapped):
        with pytest.raises(joint.ConfigError, match="parts are not those of the configuration"):
            complete_run(config_of(**CODEC), other, tmp_path / "own", **QUICK)
        assert not (tmp_path / "own" / "config.json").exists()
    # What a column says can be found again.
    said = saying(["train", "val", "test", "train", "train"] * 14)
    classify.save_scenes(said, tmp_path / "scenes.npz")
    config = config_of(**CODEC).model_copy(
        update={
            "data": joint.data_config(tmp_path / "scenes.npz"),
            "split": joint.SplitConfig(column="part"),
        }
    )
    given = joint.build_split(config, said)
    complete_run(config, given, tmp_path / "given", **QUICK)
    _, _, again = joint.load_run(tmp_path / "given")
    assert [part.identifiers for part in again] == [part.identifiers for part in given]
    # Where validation and test have changed places, it is another run.
    turned = saying(["train", "test", "val", "train", "train"] * 14)
    with pytest.raises(joint.CheckpointError, match="no longer those that it was validated by"):
        joint.load_run(tmp_path / "given", data=turned)


def test_a_finished_run_is_of_its_pictures(codec, parts, tmp_path):
    config = config_of(**CODEC)
    complete_run(config, parts, tmp_path, **QUICK)
    files = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock.json"}
    for name in ("train", "validation"):
        part = getattr(parts, name)
        others = dataclasses.replace(parts, **{name: part.subset(range(len(part) - 1))})
        with pytest.raises(joint.ConfigError, match=f"finished run on other .* the {name} set is"):
            complete_run(config, others, tmp_path, **QUICK)
    complete_run(config, parts, tmp_path, **QUICK)
    assert {path: path.read_bytes() for path in files} == files


def test_a_class_of_ones_own_leaves_no_folder(parts, tmp_path):
    class Smooth(joint.Objective):
        smooth: float = 5.0

    config = config_of(**CODEC).model_copy(update={"objective": Smooth(task=0, distortion=1)})
    with pytest.raises(joint.ConfigError, match=r"objective is of the class .*joint\.fit\(\)"):
        complete_run(config, parts, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
