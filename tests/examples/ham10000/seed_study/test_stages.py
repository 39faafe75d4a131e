import dataclasses
import json

import numpy as np
import pytest
import torch
from seed_study.protocol import Scale, plan
from seed_study.stages import Point, _by_leak, at_seed, result, run_stage, start, trained

import classify
import compress
from joint import (
    Evaluation,
    RunLocked,
    build_data,
    is_done,
    load_checkpoint,
    load_predictions,
    lock_run,
)

SCALE = Scale(
    pixels=16,
    backbone="resnet_s",
    architectures=("resnet_s",),
    epochs_scale=0.06,
    limit=84,
    batch_size=32,
    resamples=20,
)


@pytest.fixture(scope="module")
def rows():
    return plan(("seed", "honest"), SCALE).rows


@pytest.fixture(scope="module")
def scenes(rows):
    return build_data(rows["seed"]["classifier"].config.data)


@pytest.fixture(scope="module")
def done(rows, scenes, tmp_path_factory):
    """Folder in which the frozen and the joint pair of 6X, and what they need, are done."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("frozen_6x", "joint_6x"):
        for stage in rows["honest"][name].ancestors():
            assert run_stage(stage, lambda: scenes, root, progress=False)
    return root


def test_a_stage_is_named_by_what_it_depends_on(rows):
    stage = rows["honest"]["joint_3x"]
    assert stage.digest == plan(("honest",), SCALE).rows["honest"]["joint_3x"].digest
    other = rows["honest"]["autoencoder_6x"]
    changed = [
        at_seed(stage, 1),
        dataclasses.replace(stage, parents={}),
        dataclasses.replace(stage, parents={**stage.parents, "codec": other}),
        dataclasses.replace(stage, trains=False),
        dataclasses.replace(stage, points=(Point("another", latent_bits=3),)),
        dataclasses.replace(stage, resamples=21),
        dataclasses.replace(stage, judges_training=False),
    ]
    assert len({each.digest for each in (stage, *changed)}) == 8
    assert [parent.name for parent in stage.ancestors()][-1] == "joint_3x"


def test_weights_come_from_the_stages_before(rows, scenes, done):
    own = rows["honest"]
    for name in ("frozen_6x", "joint_6x"):
        system = start(own[name], scenes, done)
        for part in ("codec", "classifier"):
            path = own[name].parents[part].folder(done) / "best.safetensors"
            weights = load_checkpoint(path)[0]
            for key, value in getattr(system, part).state_dict().items():
                assert torch.equal(value, weights[f"{part}.{key}"])
    moved = trained(own["joint_6x"], scenes, done).classifier.state_dict()
    before = start(own["joint_6x"], scenes, done).classifier.state_dict()
    assert any(not torch.equal(moved[key], before[key]) for key in moved)


def test_a_result_is_that_of_the_predictions_beside_it(rows, scenes, done):
    stage = rows["honest"]["frozen_6x"]
    said, parts = result(stage, done), load_predictions(stage.folder(done))
    again = classify.report(parts.logits, parts.labels, classes=parts.classes)
    assert said["test"]["accuracy"] == pytest.approx(again.accuracy)
    shifted = parts.logits + np.asarray(said["adjusted"]["offset"], dtype=np.float32)
    chosen = classify.report(shifted, parts.labels, classes=parts.classes)
    assert said["adjusted"]["report"]["recall"] == pytest.approx(chosen.recall.tolist())
    assert said["epochs"] == 0
    assert said["train"] is None
    assert said["leaked"] == 0
    assert "by_leak" not in said
    assert said["parents"] == {p: parent.digest for p, parent in stage.parents.items()}
    bits = [said["test"]["bpp_bytes"], *(point["bpp_bytes"] for point in said["points"])]
    assert bits[0] > 16 > bits[1] > bits[2]


def test_what_is_done_is_not_done_again(rows, scenes, done):
    stage = rows["honest"]["joint_6x"]
    before = {p.name: p.stat().st_mtime_ns for p in stage.folder(done).iterdir()}
    assert run_stage(stage, lambda: scenes, done)
    assert {p.name: p.stat().st_mtime_ns for p in stage.folder(done).iterdir()} == before


def test_a_stage_that_is_stopped_goes_on(rows, scenes, done, tmp_path):
    stage = rows["honest"]["autoencoder_6x"]
    assert stage.config.training.epochs == 3
    asked = iter([False, False, True])
    assert not run_stage(stage, lambda: scenes, tmp_path, stop=lambda: next(asked), progress=False)
    assert not is_done(stage.folder(tmp_path))
    assert run_stage(stage, lambda: scenes, tmp_path, progress=False)
    weights, whole = (
        load_checkpoint(stage.folder(root) / "best.safetensors")[0] for root in (tmp_path, done)
    )
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    assert result(stage, tmp_path)["test"] == result(stage, done)["test"]


def test_scenes_are_built_once_the_stage_is_held(rows, tmp_path):
    stage = rows["honest"]["autoencoder_6x"]
    with lock_run(stage.folder(tmp_path)), pytest.raises(RunLocked):
        run_stage(stage, lambda: pytest.fail("built"), tmp_path)


def test_a_stage_without_those_before_it_leaves_the_reason(rows, scenes, tmp_path):
    stage = rows["honest"]["frozen_3x"]
    with pytest.raises(Exception, match=r"best\.safetensors"):
        run_stage(stage, lambda: scenes, tmp_path, progress=False)
    said = json.loads((stage.folder(tmp_path) / "failure.json").read_text())
    assert "best.safetensors" in said["message"]


def test_points_leave_the_codec_as_it_was(rows, scenes, done):
    system = trained(rows["honest"]["frozen_6x"], scenes, done)
    assert isinstance(system.codec, compress.Autoencoder)
    assert system.codec.latent_bits is None


def test_leaks_are_compared_within_the_class():
    # Class 0: 2 of 2 right where leaked, 1 of 2 elsewhere. Class 1: leaked only, wrong.
    labels = np.array([0, 0, 0, 0, 1])
    right = np.array([True, True, True, False, False])
    logits = np.eye(2)[np.where(right, labels, 1 - labels)]
    groups = ("a", "a", "b", "c", "a")
    seen = Evaluation(
        count=5,
        losses={"total": 0.0},
        report=None,
        bpp=None,
        rate=None,
        bpp_bytes=None,
        psnr=None,
        ssim=None,
        throughput=None,
        logits=logits,
        labels=labels,
        identifiers=tuple("vwxyz"),
        groups=groups,
    )
    found = _by_leak(seen, {"a"})
    assert found["leaked"] == {"pictures": 3, "accuracy": pytest.approx(2 / 3)}
    assert found["clean"] == {"pictures": 2, "accuracy": 0.5}
    assert found["within_class"] == pytest.approx(0.5)
