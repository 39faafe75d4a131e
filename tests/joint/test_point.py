import math

import pytest
import torch

import classify
import compress
import joint
import optics
from joint.point import AS_BUILT, OperatingPoint, operating


def _system():
    lens = joint.build_front_end(joint.LensConfig(working_distances=(0.4, 0.8)), (24, 24), 3)
    codec = compress.FactorizedCodec(levels=3)
    return joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(1000), codec=codec)


def test_a_point_says_what_was_asked_for():
    assert AS_BUILT.asked() == {}
    point = OperatingPoint(photons=50, distance=0.25)
    assert point.asked() == {"photons": 50, "distance": 0.25}
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
        (OperatingPoint(motion=1.0), "motion=1 needs .*CodedExposure, and the system has Learned"),
        (OperatingPoint(photons=5.0), "photons=5 needs a sensor, and the system has none"),
        (OperatingPoint(quality=1.0), "PNG has no qualities to choose: leave quality out"),
    ],
)
def test_what_a_system_does_not_have_is_refused(point, message):
    system = joint.ImagingSystem(front_end=optics.LearnedKernel(), codec=compress.PNG())
    with pytest.raises(ValueError, match=message), operating(system, point):
        pass
    with (
        pytest.raises(ValueError, match="quality=1 needs a codec, and the system has none"),
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
    lens = joint.LensConfig(focus=0.4, working_distances=(0.4, 0.8))
    config = joint.ShutterConfig(motion=2.0, lens=lens)
    front = joint.build_front_end(config, (24, 24), 3)
    system = joint.ImagingSystem(front_end=front, sensor=optics.Sensor(1000))
    scenes = classify.LesionPhantom(8, image_size=24)

    def psnr(**point):
        return joint.evaluate(system, scenes, **point).psnr_scene

    assert psnr(motion=2.0, distance=0.4) == psnr(distance=0.4) > psnr(motion=6.0, distance=0.4)
    assert psnr(motion=0.0, distance=0.4) > psnr(distance=0.4) > psnr(distance=0.05)
    assert front.motion == 2.0
    bare = joint.ImagingSystem(front_end=optics.CodedExposure())
    with pytest.raises(ValueError, match=r"needs a lens, .* the system has CodedExposure"):
        joint.evaluate(bare, scenes, objective=joint.Objective(task=0), distance=1.0)


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
    found = joint.evaluate(system, scenes, distance=0.1)
    with system.front_end.at(0.1):
        assert found.throughput == float(system.front_end.throughput())
    assert found.throughput < joint.evaluate(system, scenes).throughput
    # Where all lie at the only working distance nothing else changes either.
    lens = joint.build_front_end(joint.LensConfig(working_distances=(0.4,)), (24, 24), 3)
    one = joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(100))
    there, as_built = (joint.evaluate(one, scenes, distance=d) for d in (0.4, None))
    assert there.psnr_scene == as_built.psnr_scene
