import json

import numpy as np
import pytest

import joint
from joint.run.build import build_system
from joint.study import Axis, Plan, create_study
from joint.study.findings.atlas import atlas, learned_elements
from joint.study.findings.element import Element
from joint.study.findings.stability import Learned
from joint.train.augment import Augmentation


@pytest.fixture
def kernels(small_study, small_base, pretend, leave, tmp_path):
    """Two kernels that learn, one that does not, and none; on 4 seeds."""
    axes = {
        "camera": Axis(
            path="system.front_end",
            values=(
                {"kind": "kernel", "kernel_size": 5},
                {"kind": "kernel", "kernel_size": 5, "start": "laplacian"},
                {"kind": "none"},
                {"kind": "kernel", "kernel_size": 5, "start": "sobel"},
            ),
            labels=("identity", "laplacian", "none", "fixed"),
        )
    }
    base = small_base(restore_best=True)
    study = small_study(base=base, axes=axes, plan=Plan(resamples=100), seeds=(0, 1, 2, 3))
    ledger = create_study(study, tmp_path / "kernels")
    generator = np.random.default_rng(0)
    for run in ledger.runs:
        if run.design == 1 and run.seed == 3:
            continue  # not done yet
        pretend(ledger, run, 0.6 + 0.1 * run.design)
        config = ledger.config(run)
        system = build_system(config.system, image_size=(16, 16), channels=3, classes=3)
        state = system.state_dict()
        if run.design < 2:
            raw = state["front_end.raw"]
            raw += raw.new_tensor(generator.normal(0, 0.5, raw.shape))
        leave(ledger.path(run), state)
    return ledger


def test_an_atlas_of_a_study(kernels):
    found = atlas(kernels, surrogates=10)
    assert found.orientation == "kept"
    assert [(each.design, each.seeds) for each in found.designs] == [
        (0, (0, 1, 2, 3)), (1, (0, 1, 2)),
    ]  # fmt: skip
    assert all(0 < each.learned < 1 for each in found.designs)
    assert found.designs[0].typical in (0, 1, 2, 3)
    reasons = dict(found.left_out)
    assert reasons.keys() == {2, 3}
    assert "has no front end" in reasons[2]
    assert "is fixed, or has learned nothing" in reasons[3]
    content = json.loads(json.dumps(found.to_dict()))
    assert len(content["elements"]) == 7
    assert content["designs"][0]["verdict"]
    assert "camera=identity: similarity" in str(found)
    again = atlas(kernels, surrogates=10, elements=learned_elements(kernels))
    assert again.similarity == pytest.approx(found.similarity)
    assert [each.p for each in again.designs] == [each.p for each in found.designs]


def test_some_designs_may_be_chosen(kernels):
    found = atlas(kernels, designs=[1], orientation="turned", surrogates=10)
    assert [each.design for each in found.designs] == [1]
    assert found.left_out == ()
    with pytest.raises(ValueError, match="no design 9: they are counted from 0 to 3"):
        atlas(kernels, designs=[9])


def test_a_damaged_run_is_left_out_with_its_reason(kernels):
    for run in kernels.runs:
        if run.design == 0:
            (kernels.path(run) / "best.safetensors").unlink()
    elements, reasons = learned_elements(kernels)
    assert {each.design for each in elements} == {1, 3}
    assert "there is no checkpoint" in reasons[0]


def test_turned_views_make_turns_no_other_element(
    small_study, small_base, pretend, leave, tmp_path
):
    base = small_base(augmentation="dihedral", restore_best=True)
    base = base.model_copy(
        update={"system": base.system.model_copy(update={"front_end": joint.KernelConfig()})}
    )
    axes = {"light": Axis(path="system.sensor.photons", values=(50,))}
    study = small_study(base=base, axes=axes, plan=Plan(resamples=100), seeds=(0, 1))
    ledger = create_study(study, tmp_path / "turned")
    for run in ledger.runs:
        pretend(ledger, run, 0.6)
        system = build_system(ledger.config(run).system, image_size=(16, 16), channels=3, classes=3)
        state = system.state_dict()
        raw = state["front_end.raw"]
        raw += raw.new_tensor(np.random.default_rng(run.seed).normal(0, 0.5, raw.shape))
        leave(ledger.path(run), state)
    assert atlas(ledger, surrogates=10).orientation == "dihedral"


def test_a_seed_that_is_left_out_is_told(kernels, leave):
    """Of a design that is compared by its other seeds: a choice among seeds must be seen."""
    gone = [run for run in kernels.runs if run.design == 0 and run.seed in (1, 2)]
    for run in gone:
        (kernels.path(run) / "best.safetensors").unlink()
    still = next(run for run in kernels.runs if (run.design, run.seed) == (1, 2))
    system = build_system(kernels.config(still).system, image_size=(16, 16), channels=3, classes=3)
    leave(kernels.path(still), system.state_dict())
    found = atlas(kernels, designs=[0, 1], surrogates=10)
    assert [(each.design, each.seeds) for each in found.designs] == [(0, (0, 3)), (1, (0, 1))]
    reasons = dict(found.left_out)
    assert reasons[0].count("without seed 1: ") == reasons[0].count("; without seed 2: ") == 1
    assert reasons[1] == "without seed 2: the element is fixed, or has learned nothing"
    assert f"  1: {reasons[1]}" in str(found)


def test_turned_views_are_known_by_what_they_do(small_study, small_base, tmp_path):
    """An augmentation of one's own that turns is no other than ``dihedral``."""
    shape = (1, 1, 1, 5, 5)
    start = Element("psf", np.eye(5).reshape(shape), ("",))
    parts = np.random.default_rng(0).random((2, *shape))
    learned = [Learned(0, n, Element("psf", part, ("",)), start) for n, part in enumerate(parts)]

    def orientation(name, given):
        base = small_base(augmentation=given)
        study = small_study(base=base, plan=Plan(resamples=100), seeds=(0, 1))
        ledger = create_study(study, tmp_path / name)
        return atlas(ledger, elements=(learned, {}), surrogates=10).orientation

    assert orientation("own", Augmentation(dihedral=True)) == "dihedral"
    assert orientation("named", "dihedral") == "dihedral"
    assert orientation("shifts", Augmentation(shift=0.1)) == "kept"
