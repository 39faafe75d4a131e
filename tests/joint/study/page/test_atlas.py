import numpy as np

from joint.run.build import build_system
from joint.study import Axis, Plan, create_study
from joint.study.findings.element import Element
from joint.study.findings.stability import Learned
from joint.study.page.atlas import elements
from joint.study.page.whole import study_html


def test_learned_elements_are_shown_and_compared(
    small_study, small_base, pretend, leave, tmp_path, undrawn
):
    values = ({"kind": "kernel", "kernel_size": 5}, {"kind": "none"})
    axes = {"camera": Axis(path="system.front_end", values=values, labels=("kernel", "none"))}
    base = small_base(restore_best=True)
    study = small_study(base=base, axes=axes, plan=Plan(resamples=100), seeds=(0, 1, 2))
    ledger = create_study(study, tmp_path / "kernels")
    for run in ledger.runs:
        pretend(ledger, run, 0.7)
        system = build_system(ledger.config(run).system, image_size=(16, 16), channels=3, classes=3)
        state = system.state_dict()
        if run.design == 0:
            raw = state["front_end.raw"]
            raw += raw.new_tensor(np.random.default_rng(run.seed).normal(0, 0.3, raw.shape))
        leave(ledger.path(run), state)
    text = "".join(elements(ledger))
    assert "0: camera=kernel" in text
    assert "up to shift, sign and order" in text
    assert "Design 1 is not compared: the run has no front end" in text
    assert "transfer functions of the designs 0" in text
    (ledger.path(ledger.runs[2]) / "best.safetensors").write_bytes(b"")
    assert f"Design 0, without seed {ledger.runs[2].seed}: " in "".join(elements(ledger))
    assert "Exploration: learned elements" in study_html(ledger)
    assert "Exploration: learned elements" not in study_html(ledger, elements=False)
    many = "".join(elements(create_study(study, tmp_path / "none")))
    assert many == ""


def test_a_verdict_is_by_the_level_of_the_plan(small_study, tmp_path, monkeypatch):
    """Of two plans, the stricter one calls the same element nothing more than chance."""
    shared, *own = np.random.default_rng(0).random((5, 1, 1, 1, 9, 9))
    start = np.zeros_like(shared)
    start[..., 4, 4] = 1
    there = [
        Learned(0, n, Element("psf", shared + part, ("",)), Element("psf", start, ("",)))
        for n, part in enumerate(own)
    ]
    monkeypatch.setattr("joint.study.page.atlas.learned_elements", lambda ledger: (there, {}))
    told = []
    for alpha in (0.2, 1e-15):
        study = small_study(plan=Plan(alpha=alpha, resamples=100), seeds=(0, 1, 2, 3))
        told.append("".join(elements(create_study(study, tmp_path / str(alpha)))))
    assert "alike" in told[0]
    assert "at most 0.2." in told[0]
    assert "no more than start and chance" in told[1]
