import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import classify
import joint
import optics
from joint.report.draw import element_figures
from joint.report.scenes import Measuring, Scenes
from joint.report.shown import element
from joint.report.words import configuration_words
from joint.study.findings.element import spreads


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
    with pytest.raises(ValidationError, match="has 52 slots, not 8: leave out slots"):
        joint.ShutterConfig(start="fluttered", slots=8)
    for slots in (16, 52):  # as a saved one says
        assert _built(start="fluttered", slots=slots).raw.shape == (52,)
    lamps = joint.LensConfig(colour={"lamps": "fixed", "patterns": 2})
    with pytest.raises(ValidationError, match=r"have another motion: set lens\.colour\.patterns=1"):
        joint.ShutterConfig(lens=lamps)
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


def test_a_lens_behind_it_is_built_and_checked_as_in_front(tmp_path):
    lens = joint.LensConfig(defocus=1.0, restoration=0.01)
    shutter = joint.ShutterConfig(motion=2.0, lens=lens)
    built, alone = (
        joint.build_front_end(shutter, (16, 16), 3),
        joint.build_front_end(lens, (16, 16), 3),
    )
    torch.testing.assert_close(built.lens.psf(), alone.psf())
    with pytest.raises(ValidationError, match=r"front_end\.lens\.restoration undoes the blur"):
        joint.SystemConfig(front_end=shutter, sensor=joint.SensorConfig(binning=2))
    point = joint.ShutterConfig(lens=joint.PSFConfig())
    with pytest.raises(ValidationError, match=r"give front_end\.lens\.file, or"):
        joint.SystemConfig(front_end=point)
    filters = joint.ColourConfig(filters="fixed", channels=2)
    mixed = joint.ShutterConfig(lens=joint.LensConfig(colour=filters))
    with pytest.raises(ValidationError, match=r"set front_end\.lens\.colour\.share=1"):
        joint.SystemConfig(front_end=mixed, sensor=joint.SensorConfig(cfa="rggb"))
    bands = (460e-9, 500e-9, 560e-9, 620e-9)
    seen = joint.RunConfig(
        data=joint.PhantomConfig(wavelengths=bands),
        system=joint.SystemConfig(front_end=mixed),
    ).system.front_end
    assert seen.lens.wavelengths == bands
    assert joint.build_front_end(seen, (16, 16), 4).out_channels == 2
    np.save(tmp_path / "psf.npy", np.ones((3, 3)) / 9)
    camera = joint.PSFConfig(file=tmp_path / "psf.npy", psf_size=3)
    system = joint.SystemConfig(front_end=joint.ShutterConfig(lens=camera, motion=2.0))
    assert system.without_files().front_end.lens.file is None
    assert system.without_files().front_end.motion == 2.0
    psf = joint.build_front_end(system.front_end, (16, 16), 3).lens.psf()
    torch.testing.assert_close(psf, torch.full((3, 3, 3), 1 / 9))


def test_the_report_says_what_is_kept_where_scenes_move_more():
    config = joint.ShutterConfig(motion=3.0, lens=joint.LensConfig(working_distances=(0.5, 0.7)))
    system = joint.ImagingSystem(front_end=joint.build_front_end(config, (16, 16), 3)).eval()
    shown = classify.LesionPhantom(4, image_size=16)
    parts = [*element(None, Scenes(system, shown, shown), Measuring(resamples=0))]
    told = re.sub("<[^>]+>", " ", "".join(map(str, parts)))
    for point in ({"distance": 0.7}, {"motion": 0.0}, {"motion": 1.5}, {"motion": 6.0}):
        (value,) = point.values()
        psnr = joint.evaluate(system, shown, objective=joint.Objective(task=0), **point).psnr_scene
        assert re.search(rf"\s{value:g}\s+-\s+{psnr:.2f}\s", told), (point, told[-600:])
    quick = "".join(map(str, element(None, Scenes(system, shown, shown), Measuring(quick=True))))
    assert "less or more than 3 pixels RMS" in told
    assert "less or more" not in quick


def test_it_is_told_and_drawn():
    config = joint.RunConfig(
        system=joint.SystemConfig(front_end=joint.ShutterConfig(share=0.25, motion=3.0))
    )
    told = str(list(configuration_words(config)))
    assert "shutter of 16 slots, learned code, which began open for 0.25 of the exposure" in told
    assert "scenes move by 3 pixels RMS" in told
    coarse = joint.ShutterConfig(slots=4, share=0.1, trained=False)  # the two in the middle
    told = str(list(configuration_words(joint.RunConfig(system={"front_end": coarse}))))
    assert "shutter of 4 slots, open for 0.5 of the exposure" in told
    figures = list(element_figures(_built(start="fluttered")))
    assert len(figures) == 2
    assert all(caption for *_, caption in figures)
    behind = joint.ShutterConfig(lens=joint.LensConfig(working_distances=(0.4, 0.6)))
    figures = list(element_figures(joint.build_front_end(behind, (16, 16), 3)))
    assert len(figures) == 5  # the code and its transfer; pupil, depths, MTF
    lens = joint.LensConfig(element="phase", defocus=1.0)
    fixed = joint.ShutterConfig(trained=False, lens=lens)
    alone, seen = (joint.build_front_end(each, (16, 16), 3) for each in (lens, fixed))
    assert (spreads(seen).parts == spreads(alone).parts).all()
    with pytest.raises(ValueError, match="both a shutter and the lens behind it are trained"):
        spreads(joint.build_front_end(joint.ShutterConfig(lens=lens), (16, 16), 3))
    told = str(list(configuration_words(joint.RunConfig(system={"front_end": behind}))))
    assert "during the exposure; behind it: lens of " in told
    assert spreads(_built(motion=2.0, trained=False)).parts.sum() == pytest.approx(1)
