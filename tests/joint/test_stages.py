"""What is a stage, and what fits beside what."""

import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint.stages import check_channels


class _Head(nn.Module):
    """A classifier that says how many channels it takes."""

    def __init__(self, channels):
        super().__init__()
        self.in_channels = channels

    def forward(self, image):
        return image.mean((-2, -1))


def test_neighbours_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="front end gives 6 channels but the classifier takes 3"):
        joint.ImagingSystem(front_end=optics.LearnedKernel("sobel"), classifier=_Head(3))
    with pytest.raises(ValueError, match="build the codec with 6"):
        joint.ImagingSystem(
            front_end=optics.LearnedKernel("sobel"), codec=compress.FactorizedCodec(channels=3)
        )
    with pytest.raises(ValueError, match="'srgb' or 'linear', not 'rgb'"):
        joint.ImagingSystem(encoding="rgb")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            {"front_end": nn.Conv2d(3, 3, 1)},
            "front_end must be an optics.FrontEnd, and Conv2d has no exposures.*derive it from opt",
        ),
        ({"sensor": nn.Identity()}, "sensor must be an optics.Sensor, and Identity has no photons"),
        (
            {"codec": nn.Identity()},
            "codec must be a compress.Codec, and Identity has no compress, no decompress: derive",
        ),
        ({"codec": compress.FactorizedCodec}, "codec is the class FactorizedCodec: give a module"),
        ({"classifier": lambda image: image}, "classifier must be a module, from pictures to log"),
    ],
)
def test_a_stage_of_another_kind_is_refused_when_the_system_is_built(stage, message):
    with pytest.raises(TypeError, match=message):
        joint.ImagingSystem(**stage)


def test_a_wrapped_stage_is_one_of_its_kind():
    front_end = torch.compile(optics.LearnedKernel(), backend="eager")
    assert joint.ImagingSystem(front_end=front_end).front_end is front_end


def test_a_mosaic_is_neither_restored_nor_given_to_a_classifier_of_colours():
    for name, channels in (("packed", 4), ("none", 1)):
        sensor = optics.Sensor(cfa="rggb", demosaicing=name)
        point = torch.zeros(3, 3, 3)
        point[:, 1, 1] = 1
        camera = optics.IncoherentImaging(point, restoration=optics.Wiener())
        with pytest.raises(ValueError, match=rf"gives its mosaic \(demosaicing='{name}'\)"):
            joint.ImagingSystem(front_end=camera, sensor=sensor)
        with pytest.raises(
            ValueError, match=rf"sensor gives {channels} channels but the classifier takes 3"
        ):
            joint.ImagingSystem(
                sensor=sensor, classifier=classify.backbone("resnet_s", 2, image_size=32)
            )


def test_what_is_binned_is_not_restored():
    point = torch.zeros(3, 3)
    point[1, 1] = 1.0
    camera = optics.IncoherentImaging(point, restoration=optics.Wiener())
    with pytest.raises(
        ValueError, match="sensor bins 2 x 2 of them: leave out the restoration or the binning"
    ):
        joint.ImagingSystem(front_end=camera, sensor=optics.Sensor(100, binning=2))
    joint.ImagingSystem(front_end=camera, sensor=optics.Sensor(100))


def test_a_restoration_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the front end gives 3 channels but the restoration"):
        joint.ImagingSystem(
            front_end=optics.LearnedKernel("log", 3), restoration=optics.RestorationUNet(1)
        )
    with pytest.raises(ValueError, match="the restoration gives 3 channels but the classifier"):
        joint.ImagingSystem(
            restoration=optics.RestorationUNet(4, out_channels=3), classifier=_Head(4)
        )
    with pytest.raises(ValueError, match="the sensor gives 4 channels but the restoration takes 3"):
        joint.ImagingSystem(
            sensor=optics.Sensor(cfa="rggb", demosaicing="packed"),
            restoration=optics.RestorationUNet(3),
        )
    with pytest.raises(TypeError, match="restoration must be a module, from pictures to pictures"):
        joint.ImagingSystem(restoration=lambda pictures: pictures)
    # Of one that does not say what it makes, nobody can know, whatever it says that it takes.
    silent, half = nn.Identity(), nn.Identity()
    half.in_channels = 3
    for restoration in (silent, half):
        joint.ImagingSystem(
            front_end=optics.LearnedKernel("log", 3), restoration=restoration, classifier=_Head(4)
        )
    # A codec gives back as many channels as it is given.
    with pytest.raises(ValueError, match="the front end gives 3 channels but the classifier"):
        joint.ImagingSystem(
            front_end=optics.LearnedKernel("log", 3), codec=compress.JPEG(), classifier=_Head(4)
        )


def test_a_network_of_other_channels_than_the_scene_is_refused(lesions, others):
    def check(scene, **stages):
        check_channels(stages, scene)

    with pytest.raises(ValueError, match="scene gives 1 channels but the classifier takes 3: buil"):
        check(1, classifier=_Head(3))
    with pytest.raises(ValueError, match="the scene gives 3 channels but the codec takes 1"):
        check(3, sensor=optics.Sensor(), codec=compress.FactorizedCodec(channels=1))
    # What lies before makes others of them, or nobody knows.
    check(3, front_end=optics.LearnedKernel("sobel"), classifier=_Head(6))
    packed = optics.Sensor(cfa="rggb", demosaicing="packed")
    check(3, sensor=packed, classifier=_Head(4))
    check(3, restoration=optics.RestorationUNet(3, out_channels=1), classifier=_Head(1))
    check(3, front_end=nn.Identity(), classifier=_Head(4))  # it does not say
    check(None, classifier=_Head(4))
    # Of a system it is seen before the first pass.
    with pytest.raises(ValueError, match="the scene gives 3 channels but the classifier takes 4"):
        joint.fit(joint.ImagingSystem(classifier=_Head(4)), lesions, others)
