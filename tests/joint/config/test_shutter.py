import pytest
import torch
from pydantic import ValidationError

import joint
import optics
from joint.report.draw import element_figures
from joint.report.words import configuration_words
from joint.study.element import spreads


def _built(channels=3, **options):
    return joint.build_front_end(joint.ShutterConfig(**options), (16, 16), channels)


def test_a_shutter_is_built_as_configured():
    assert _built().raw.shape == (16,)
    fixed = _built(slots=8, share=0.25, motion=2.0, trained=False, boundary="zero", channels=5)
    assert torch.equal(fixed.code, optics.shutter_code("open", 8, share=0.25))
    assert (fixed.motion, fixed.in_channels, fixed.boundary) == (2.0, 5, "zero")
    fluttered = _built(start="fluttered", trained=False)
    assert torch.equal(fluttered.code, optics.shutter_code("fluttered"))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="open for half of the time: leave out share"):
        joint.ShutterConfig(start="fluttered", share=0.3)
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"motion": -1.0}, {"slots": 0}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            joint.ShutterConfig(**wrong)


def test_a_run_learns_its_code_and_comes_back(tmp_path):
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16),
        system=joint.SystemConfig(
            front_end=joint.ShutterConfig(start="random", slots=6, motion=3.0),
            codec=joint.NoneConfig(),
        ),
        objective=joint.Objective(),
        training=joint.Training(epochs=2, batch_size=16),
    )
    parts = joint.build_split(config, joint.build_data(config.data))
    system = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    before = system.front_end.code.detach().clone()
    joint.save_config(config, tmp_path)
    joint.fit(
        system, parts.train, parts.validation,
        objective=config.objective, config=config.training, directory=tmp_path, progress=False,
    )  # fmt: skip
    assert not torch.equal(system.front_end.code, before)
    _, again, _ = joint.load_run(tmp_path)
    assert torch.equal(again.front_end.code, system.front_end.code)
    result = joint.evaluate(again, parts.test)
    assert result.throughput == pytest.approx(float(again.front_end.code.detach().mean()))
    assert (joint.evaluate(again, parts.test).logits == result.logits).all()  # motion and all


def test_it_is_told_and_drawn():
    config = joint.RunConfig(
        system=joint.SystemConfig(front_end=joint.ShutterConfig(share=0.25, motion=3.0))
    )
    told = str(list(configuration_words(config)))
    assert "shutter of 16 slots, learned code, which began open for 0.25 of the exposure" in told
    assert "scenes move by 3 pixels RMS" in told
    figures = list(element_figures(_built(start="fluttered")))
    assert len(figures) == 2
    assert all(caption for _, caption in figures)
    assert spreads(_built(motion=2.0, trained=False)).parts.sum() == pytest.approx(1)
