"""Settings are read from what a module prints of itself, layer by layer."""

import pytest
from torch import nn

import classify
import compress
import joint
from joint.printed import differing, printed_stage


def _system(codec):
    net = classify.backbone("resnet_s", 3, image_size=(16, 16))
    return joint.ImagingSystem(codec=codec, classifier=net)


@pytest.mark.parametrize("codec", [compress.FactorizedCodec(), compress.JPEG(50)])
def test_a_stage_is_found_in_its_system(codec):
    printed = printed_stage(repr(_system(codec)), "codec")
    assert repr(codec).startswith(printed)
    assert differing(printed, codec) is None
    assert printed_stage(repr(_system(None)), "codec") is None


def _at(quality):
    codec = compress.FactorizedCodec()
    codec.quality = quality
    return codec


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (compress.JPEG(50), compress.JPEG(90), "quality=50 there, quality=90 here"),
        (_at(0), _at(None), "quality=0 there, left open here"),
        (_at(None), _at(0), None),  # of several, any may be chosen
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU()), "0: kind=ReLU there, kind=GELU here"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 1))),
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=(1, 0))),
            "0: padding=(1, 1) there, padding=(1, 0) here",
        ),
        (nn.Dropout(0.5), nn.Dropout(0.1), None),  # how it learns
        (nn.Sequential(nn.Dropout(0.5)), nn.Sequential(nn.Identity()), None),
        (compress.DifferentiableJPEG(75), compress.DifferentiableJPEG(75, trainable=True), None),
        (nn.Sequential(nn.ReLU()), nn.ReLU(inplace=True), "kind=Sequential there, kind=ReLU here"),
    ],
)
def test_the_first_setting_that_differs_is_named(theirs, ours, told):
    assert differing(repr(theirs), ours) == told


def test_what_a_later_version_says_besides_is_no_difference():
    class Later(nn.Conv2d):
        def extra_repr(self):
            return f"{super().extra_repr()}, rounding='up'"

    Later.__name__ = "Conv2d"
    later = nn.Sequential(Later(3, 3, 3))
    assert differing(repr(nn.Sequential(nn.Conv2d(3, 3, 3))), later) is None
    assert differing(repr(later), nn.Sequential(nn.Conv2d(3, 3, 3))) is None
