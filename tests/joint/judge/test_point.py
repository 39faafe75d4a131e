import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint.analysis.tolerancing.perturbation import perturbed
from joint.judge.point import (
    AS_BUILT,
    OperatingPoint,
    at_quality,
    every_point,
    operating,
    told_quality,
)


def _system():
    lens = joint.build_front_end(joint.LensConfig(working_distances=(0.4, 0.8)), (24, 24), 3)
    codec = compress.FactorizedCodec(levels=3)
    return joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(1000), codec=codec)


def test_a_point_says_what_was_asked_for():
    assert AS_BUILT.asked() == AS_BUILT.to_dict() == {}
    assert str(AS_BUILT) == "as built"
    point = OperatingPoint(photons=50, distance=0.25)
    assert point.asked() == point.to_dict() == {"photons": 50, "distance": 0.25}
    assert str(point) == "50 photons/pixel, 0.25 m"
    assert str(OperatingPoint(quality=1.5, distance=math.inf)) == "quality 1.5, inf m"
    assert str(OperatingPoint(motion=2.5)) == "motion of 2.5 pixels RMS"


def test_a_system_is_there_for_a_while_and_then_as_it_was():
    system = _system()
    light = float(system.front_end.throughput().detach())
    state = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    with operating(system, OperatingPoint(100, 2, 0.5)):
        assert system.sensor.photons == 100
        assert system.codec.quality == 2
        assert float(system.front_end.throughput()) != light
        with (
            pytest.raises(RuntimeError, match="broken"),
            operating(system, OperatingPoint(5, 0, 1)),
        ):
            raise RuntimeError("broken")
        assert (system.sensor.photons, system.codec.quality) == (100, 2)
    assert system.sensor.photons == 1000
    assert system.codec.quality is None
    assert float(system.front_end.throughput()) == light
    assert all(torch.equal(state[name], tensor) for name, tensor in system.state_dict().items())


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (OperatingPoint(distance=1.0), "distance=1 needs a lens, .* the system has LearnedKernel"),
        (OperatingPoint(motion=1.0), "motion=1 needs .*CodedExposure, but the system has Learned"),
        (OperatingPoint(photons=5.0), "photons=5 needs a sensor, but the system has none"),
        (OperatingPoint(quality=1.0), "PNG has no choice of qualities: leave quality out"),
    ],
)
def test_what_a_system_does_not_have_is_refused(point, message):
    system = joint.ImagingSystem(front_end=optics.LearnedKernel(), codec=compress.PNG())
    with pytest.raises(ValueError, match=message), operating(system, point):
        pass
    with (
        pytest.raises(ValueError, match="quality=1 needs a codec, but the system has none"),
        operating(joint.ImagingSystem(), OperatingPoint(quality=1.0)),
    ):
        pass


def test_jpeg_is_judged_at_another_quality():
    scenes = classify.LesionPhantom(6, image_size=24)
    system, finer = (joint.ImagingSystem(codec=compress.JPEG(q)) for q in (50, 90))
    found = joint.evaluate(system, scenes, quality=90, count_bytes=True)
    expected = joint.evaluate(finer, scenes, count_bytes=True)
    assert (found.bpp_bytes, found.psnr) == (expected.bpp_bytes, expected.psnr)
    assert found.psnr > joint.evaluate(system, scenes).psnr
    assert system.codec.quality == 50
    with pytest.raises(ValueError, match="quality of JPEG must be a whole number, 1 to 100"):
        joint.evaluate(system, scenes, quality=0.5)


def test_a_lens_behind_a_shutter_is_refocused_and_scenes_move():
    lens = joint.LensConfig(focus=0.4, working_distances=(0.4, 0.8), psf_size=61, pupil_size=160)
    config = joint.ShutterConfig(motion=2.0, lens=lens)
    front = joint.build_front_end(config, (24, 24), 3)
    system = joint.ImagingSystem(front_end=front, sensor=optics.Sensor(1000))
    scenes = classify.LesionPhantom(8, image_size=24)

    def psnr(**point):
        return joint.evaluate(system, scenes, **point).psnr_scene

    assert psnr(motion=2.0, distance=0.4) == psnr(distance=0.4) > psnr(motion=6.0, distance=0.4)
    assert psnr(motion=0.0, distance=0.4) > psnr(distance=0.4) > psnr(distance=0.25)
    assert front.motion == 2.0
    # A tolerance stands around it.
    draw = torch.Generator().manual_seed(0)
    moved = perturbed(system, "shift", 1.0, channels=3, generator=draw)
    with operating(moved, OperatingPoint(motion=6.0, distance=0.12)):
        assert moved.front_end.inner.motion == 6.0
        assert moved.front_end.inner.lens.scene_distance == 0.12
    assert moved.front_end.inner.motion == 2.0
    bare = joint.ImagingSystem(front_end=optics.CodedExposure())
    with pytest.raises(ValueError, match=r"needs a lens, .* the system has CodedExposure"):
        joint.evaluate(bare, scenes, objective=joint.Objective(task=0), distance=1.0)


def test_a_lens_that_is_worse_in_the_corners_is_refocused():
    off_axis = {"coma": 0.2, "places": (2, 2), "rank": 4}
    config = joint.LensConfig(off_axis=off_axis, focus=0.4, working_distances=(0.4, 0.8))
    lens = joint.build_front_end(config, (24, 24), 3)
    scene = torch.rand(2, 3, 24, 24)
    with operating(joint.ImagingSystem(front_end=lens), OperatingPoint(distance=0.5)):
        assert lens.scene_distance == 0.5
        assert torch.equal(lens(scene), lens(scene, distance=0.5))
    assert lens.scene_distance.tolist() == [0.4, 0.8]
    fixed = optics.VaryingImaging(torch.full((2, 2, 3, 3), 0.1), rank=1)
    with (
        pytest.raises(ValueError, match=r"VaryingImaging with a pupil, but the system has Varying"),
        operating(joint.ImagingSystem(front_end=fixed), OperatingPoint(distance=0.5)),
    ):
        pass


def test_a_refused_quality_leaves_light_and_distance_as_they_were():
    system = _system()
    light = float(system.front_end.throughput())
    with (
        pytest.raises(ValueError, match="quality must be"),
        operating(system, OperatingPoint(100, 7, 0.5)),
    ):
        pass
    assert system.sensor.photons == 1000
    assert float(system.front_end.throughput()) == light
    scenes = classify.LesionPhantom(8, image_size=24)
    with pytest.raises(ValueError, match="distance must be one positive number"):
        joint.evaluate(system, scenes, objective=joint.Objective(task=0), distance=-1.0)


def test_an_evaluation_has_the_throughput_and_the_noise_of_its_point():
    system = _system()
    scenes = classify.LesionPhantom(8, image_size=24)
    with pytest.warns(UserWarning, match=r"At 0\.15 m this PSF .*, and is missing from"):
        found = joint.evaluate(system, scenes, distance=0.15)
    with system.front_end.at(0.15):
        assert found.throughput == float(system.front_end.throughput())
    assert found.throughput < joint.evaluate(system, scenes).throughput
    # Where all lie at the only working distance nothing else changes either.
    lens = joint.build_front_end(joint.LensConfig(working_distances=(0.4,)), (24, 24), 3)
    one = joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(100))
    as_built = joint.evaluate(one, scenes)
    with pytest.warns(UserWarning, match=r"At 0\.4 m this PSF"):
        there = joint.evaluate(one, scenes, distance=0.4)
    assert there.psnr_scene == as_built.psnr_scene


def test_light_lost_at_a_distance_is_told_once_a_call():
    """Training looks at the lens as it is built, and there this window is wide enough."""
    lens = joint.LensConfig(focus=0.3, working_distances=(0.3,))
    front = joint.build_front_end(joint.ShutterConfig(lens=lens), (24, 24), 3)
    system = joint.ImagingSystem(front_end=front)
    draw = torch.Generator().manual_seed(0)
    moved = perturbed(system, "shift", 1.0, channels=3, generator=draw)
    scenes = classify.LesionPhantom(8, image_size=24)
    for point in ({}, {"distance": 0.3}):
        joint.evaluate(system, scenes, batch_size=2, **point)
    for each in (system, moved):
        with pytest.warns(UserWarning, match=r"At 0\.12 m this PSF") as every:
            found = joint.evaluate(each, scenes, batch_size=2, distance=0.12)
        (told,) = every
        said = re.search(r"^At 0\.12 m .* (\d+) % of the light falls .* 31 x 31", str(told.message))
        # Of the channel that loses most, and throughput is of all.
        assert int(said[1]) >= 100 * (1 - found.throughput) > 5
        assert told.filename == __file__


def test_every_combination_of_what_was_asked_is_a_point():
    assert every_point() == every_point((), (), (), ()) == [AS_BUILT]
    assert every_point((30, 300), (), (0.5, 2)) == [
        OperatingPoint(photons=photons, distance=distance)
        for photons in (30, 300)
        for distance in (0.5, 2)
    ]
    assert every_point((), (), (), (1, 2)) == [OperatingPoint(motion=m) for m in (1, 2)]
    # What is asked for twice is one point.
    assert every_point((50, 50.0, 2000, 50)) == [OperatingPoint(p) for p in (50, 2000)]


@pytest.mark.parametrize(
    ("codec", "least"), [(compress.JPEG(50), 1), (compress.WebP(50), 0), (compress.AVIF(50), 0)]
)
def test_a_file_has_whole_qualities_up_to_100(codec, least):
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    own = codec.compress(picture)
    for quality in (least, float(least), 90.0, 100, 100.0):
        with at_quality(codec, quality):
            assert codec.quality == quality
            assert type(codec.quality) is int  # Pillow takes no other
            found = codec.compress(picture)
        assert found == type(codec)(int(quality)).compress(picture)
    for wrong in (least - 1, 101, 50.5, 0.5, float("nan"), float("inf")):
        with (
            pytest.raises(
                ValueError,
                match=f"the quality of {type(codec).__name__} must be a whole number, {least} to "
                "100, got ",
            ),
            at_quality(codec, wrong),
        ):
            pass
    assert codec.quality == 50
    assert codec.compress(picture) == own


@pytest.mark.parametrize(
    "codec", [compress.PNG(), compress.WebP(50, lossless=True), compress.JPEG2000(20)]
)
def test_no_quality_is_a_quality_of_every_codec(codec):
    with at_quality(codec, None):
        pass
    told = f"{type(codec).__name__} has no choice of qualities: leave quality out"
    with pytest.raises(ValueError, match=told), at_quality(codec, 60):
        pass


def test_jpeg_of_tables_has_the_qualities_of_jpeg_while_they_are_the_standard_ones():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    codec = compress.DifferentiableJPEG(50, trainable=True)
    with torch.no_grad():
        codec.log_tables += 1e-4  # no step of training is yet seen in whole numbers
    before = codec.log_tables.detach().clone()
    with at_quality(codec, 20.0):
        assert codec.quality == 20
        found = codec.compress(picture)
    assert found == compress.DifferentiableJPEG(20).compress(picture)
    assert torch.equal(codec.log_tables, before)
    assert codec.log_tables.requires_grad
    for wrong in (0, 101, 50.5):
        with (
            pytest.raises(ValueError, match="must be a whole number, 1 to 100"),
            at_quality(codec, wrong),
        ):
            pass
    with torch.no_grad():
        codec.log_tables += 1
    own = codec.log_tables.detach().clone()
    with (
        pytest.raises(ValueError, match=r"has its own tables, .*: leave quality out"),
        at_quality(codec, 20),
    ):
        pass
    assert torch.equal(codec.log_tables, own)


def test_a_learned_quality_is_told_where_there_are_several():
    codec = compress.FactorizedCodec(levels=4)
    assert told_quality(codec) == "1.5 of 0 to 3 (the middle)"
    for quality, words in ((0.5, "0.5 of 0 to 3"), (1.5, "1.5 of 0 to 3 (the middle)")):
        with at_quality(codec, quality):
            assert told_quality(codec) == words
    others = (None, nn.Identity(), compress.JPEG(50), compress.FactorizedCodec())
    assert [told_quality(other) for other in others] == [None] * 4


def test_a_lens_without_a_pupil_has_no_distance():
    spread = optics.IncoherentImaging(psf=torch.full((3, 3, 3), 1 / 9))
    system = joint.ImagingSystem(front_end=spread)
    with (
        pytest.raises(ValueError, match="with a pupil, but the system has IncoherentImaging"),
        operating(system, OperatingPoint(distance=1.0)),
    ):
        pass


@pytest.mark.parametrize("codec", [compress.JPEG(50), compress.FactorizedCodec(levels=3)])
def test_a_quality_is_one_number(codec):
    for number in (np.float64(1), np.int64(1), torch.tensor(1.0)):
        with at_quality(codec, number):
            assert codec.quality == 1
    for wrong in ("1", [1], torch.ones(2), 1j, True):
        with pytest.raises(TypeError, match="quality must be one number, not "):
            at_quality(codec, wrong).__enter__()


@pytest.mark.parametrize("number", [np.int64(100), np.float32(100), torch.tensor(100)])
def test_a_number_of_numpy_or_torch_is_written_as_a_number(number):
    written = json.dumps(OperatingPoint(photons=number).to_dict())
    assert json.loads(written) == {"photons": 100}
    assert OperatingPoint(distance=np.float32(math.inf)).to_dict() == {"distance": "inf"}


def test_far_away_is_written_as_in_a_configuration():
    """JSON has no infinity: what is written is what a lens reads again."""
    told = json.dumps(OperatingPoint(photons=30, distance=math.inf).to_dict(), allow_nan=False)
    far = json.loads(told)["distance"]
    lens = joint.LensConfig(working_distances=(far, 0.4))
    assert lens.working_distances == (math.inf, 0.4)
    assert lens.model_dump(mode="json")["working_distances"][0] == far
    system = joint.ImagingSystem(front_end=_system().front_end)
    found = joint.evaluate(system, classify.LesionPhantom(3, image_size=24), distance=math.inf)
    assert found.point.distance == math.inf
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["distance"] == "inf"
