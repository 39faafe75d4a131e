import dataclasses

import pytest
import torch

import joint
from joint.saved.folder import RunFolder
from joint.train.history import EpochRecord
from joint.train.training_file import (
    SavedTraining,
    TrainingHead,
    read_training,
    write_training,
)


def _saved(identity, **changes):
    record = EpochRecord(0, {"total": 1.5}, {"loss": 2.0}, 1.0, 9.0, {"codec": 0.1}, 1024)
    head = TrainingHead(
        identity=identity,
        epoch=1,
        step=2,
        steps=7,
        seen=20,
        timed=(20, 0.5),
        records=[record],
        best_epoch=0,
        optimised=["codec.gain", "codec.bias"],
        began={"codec.gain": 1.0},
    )
    return SavedTraining(
        dataclasses.replace(head, **changes),
        system={"codec.gain": torch.arange(3.0), "codec.count": torch.tensor(4)},
        optimizer={"codec.gain.step": torch.tensor(7.0)},
        sums={"gradient norm of codec": torch.tensor(3.0, dtype=torch.float64)},
        average={"codec.gain": torch.ones(3)},
        rate_weight={"state": torch.zeros(4)},
    )


def test_a_training_comes_back_as_it_was_written(identity, tmp_path):
    folder, saved = RunFolder(tmp_path), _saved(identity())
    write_training(folder, saved)
    found = read_training(folder, identity(), optimised=["codec.bias", "codec.gain"])
    assert found.head == saved.head
    for ours, theirs in zip(found[1:], saved[1:], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        assert all(tensor.dtype == theirs[name].dtype for name, tensor in ours.items())


def test_a_checkpoint_has_the_names_that_are_documented(identity, tmp_path):
    write_training(RunFolder(tmp_path), _saved(identity()))
    tensors, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert {*tensors} == {
        "system.codec.gain", "system.codec.count", "optimizer.codec.gain.step",
        "sums.gradient norm of codec", "average.codec.gain", "rate_weight.state",
    }  # fmt: skip
    assert {*head} - {"format"} == {
        "identity", "epoch", "step", "steps", "seen", "timed", "records", "best_epoch",
        "optimised", "began",
    }  # fmt: skip
    assert head["records"][0]["gradient_norms"] == {"codec": 0.1}


def test_a_training_of_something_else_is_refused(identity, tmp_path):
    folder, names = RunFolder(tmp_path), ["codec.gain", "codec.bias"]
    write_training(folder, _saved(identity()))
    for optimised, said in (
        (names[:1], "was training codec.bias, which is frozen here"),
        ([*names, "sensor.gain"], "was not training sensor.gain, which learns here"),
    ):
        with pytest.raises(joint.CheckpointError, match=said):
            read_training(folder, identity(), optimised=optimised)
    with pytest.raises(joint.CheckpointError, match=r"training\.seed was 0 and is 4\. Resume it"):
        read_training(folder, identity(seed=4), optimised=names)
    read_training(folder, identity(epochs=5), optimised=names)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(joint.CheckpointError, match="was tested, whose result would be of another"):
        read_training(folder, identity(epochs=5), optimised=names)
    read_training(folder, identity(), optimised=names)
    joint.save_checkpoint(tmp_path / "checkpoint.safetensors", {}, {"epoch": 1})
    with pytest.raises(joint.CheckpointError, match="is not the checkpoint of a training run"):
        read_training(folder, identity(), optimised=names)
