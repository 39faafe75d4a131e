import json

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from toys import unchanged

import classify
import compress
import joint
import optics
from joint.analysis.system_costs import system_costs


class _Small(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear(4 * size * size, 3)

    def forward(self, image):
        return self.head(self.conv(image).flatten(1))


def _camera():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("gaussian", 3, signed=False),
            sensor=optics.Sensor(30, read_noise=6.0, bit_depth=3),
            codec=compress.JPEG(20),
            classifier=_Small(3, 16),
        )


def test_costs_are_arithmetic():
    white = classify.LesionDataset(
        images=torch.full((6, 3, 24, 24), 255, dtype=torch.uint8),
        labels=[0, 1, 2] * 2,
        groups=[f"l{i}" for i in range(6)],
        identifiers=[f"p{i}" for i in range(6)],
        classes=("a", "b", "c"),
    )
    kernel = optics.LearnedKernel("laplacian", 3)
    codec = compress.FactorizedCodec()
    system = joint.ImagingSystem(
        front_end=kernel,
        sensor=optics.Sensor(100, bit_depth=6, binning=2),
        codec=codec,
        classifier=_Small(3, 12),
    )
    costs = system_costs(system, white, resamples=10)
    # Full scale on each pixel, times what either exposure lets pass of its half of the time.
    light = 100 * 24 * 24 * 3 * float(kernel.kernels.detach().sum() / (2 * 3))
    assert costs.photons == pytest.approx(light, rel=1e-5)
    assert costs.throughput == pytest.approx(float(kernel.throughput().detach()))
    assert costs.light_share == pytest.approx(costs.throughput, rel=1e-5)  # of even scenes
    assert f"{'light share':26} {costs.light_share:>16,.6g} fraction of the scenes' light" in str(
        costs
    )
    assert costs.exposures == 2
    assert costs.pixels_read == 2 * 3 * 12 * 12
    assert costs.converted_bits == 6 * costs.pixels_read
    result = joint.evaluate(system, white, count_bytes=True)
    assert costs.coded_bits == pytest.approx(144 * result.bpp)
    assert costs.coded_bytes == pytest.approx(144 * result.bpp_bytes / 8)
    assert costs.rate == "rounded"
    assert costs.scores.accuracy.value == result.report.accuracy
    front, _, coder, judge = costs.stages
    assert front == ("front_end", kernel.raw.numel(), None)
    assert judge.parameters == 3 * 4 * 9 + 4 + 4 * 144 * 3 + 3
    assert judge.macs == 144 * 4 * 3 * 9 + 4 * 144 * 3
    assert coder.parameters == sum(p.numel() for p in codec.parameters())
    assert coder.macs > 0
    assert costs.macs == coder.macs + judge.macs
    assert costs.parameters == sum(p.numel() for p in system.parameters())


def test_a_mosaic_counts_a_third_and_of_nothing_nothing(lesions):
    white = lesions.subset(range(6))
    shown = white.gather(torch.arange(6)).images / 255.0
    mosaic = optics.Sensor(100, bit_depth=None, cfa="rggb")
    system = joint.ImagingSystem(sensor=mosaic, classifier=_Small(3, 16), encoding="linear")
    costs = system_costs(system, white, resamples=5, count_bytes=False)
    assert costs.pixels_read == 256
    assert costs.converted_bits is costs.coded_bits is costs.coded_bytes is costs.throughput is None
    red, green, blue = shown.unbind(1)
    seen = red[:, ::2, ::2] + green[:, ::2, 1::2] + green[:, 1::2, ::2] + blue[:, 1::2, 1::2]
    assert costs.photons == pytest.approx(100 * float(seen.sum()) / 6, rel=1e-5)
    assert costs.exposures == 1
    for name, channels, side in (("packed", 4, 8), ("none", 1, 16)):
        handed = optics.Sensor(100, bit_depth=8, cfa="rggb", demosaicing=name)
        judge = _Small(channels, side)
        system = joint.ImagingSystem(sensor=handed, classifier=judge, encoding="linear")
        costs = system_costs(system, white, resamples=5, count_bytes=False)
        assert costs.pixels_read == 256
        assert costs.converted_bits == 8 * 256
        assert costs.photons == pytest.approx(100 * float(seen.sum()) / 6, rel=1e-5)
    ranging = joint.ImagingSystem(
        sensor=optics.Sensor(100, photon_range=(10, 1000)), classifier=_Small(3, 16)
    )
    light = float(optics.srgb_to_linear(shown).sum()) / 6
    mean = stats.loguniform(10, 1000).mean()
    costs = system_costs(ranging, white.taken_as("srgb"), resamples=5)
    assert costs.photons == pytest.approx(mean * light, rel=1e-5)
    none = system_costs(joint.ImagingSystem(), white)
    assert none.photons is none.scores is none.pixels_read is None
    assert none.macs == none.parameters == 0
    np.testing.assert_equal(json.loads(json.dumps(none.to_dict()))["stages"], [])


def test_one_lesion_has_its_costs_and_no_interval(lesions):
    costs = system_costs(_camera(), lesions.subset([0]), resamples=5)
    assert costs.pictures == 1
    assert costs.photons > 0
    assert costs.scores.accuracy.value in (0, 1)
    assert np.isnan(costs.scores.accuracy.interval).all()
    assert costs.to_dict()["scores"]["accuracy"]["interval"] == [None, None]


def test_nothing_of_the_system_changes(lesions):
    system = _camera()
    with unchanged(system, evaluated=system.codec):
        system_costs(system, lesions, resamples=10)


def test_the_table_is_printed_and_json(lesions):
    costs = system_costs(_camera(), lesions, resamples=20)
    summary = json.loads(json.dumps(costs.to_dict(), allow_nan=False))
    assert summary["pixels_read"] == 768
    assert summary["stages"][0]["stage"] == "front_end"
    assert summary["scores"]["accuracy"]["value"] == costs.scores.accuracy.value
    assert "photons/picture" in str(costs)
    assert "pixels read                             768 values/picture" in str(costs)
    assert "95 % over lesions" in str(costs)


def test_the_network_that_restores_is_counted(lesions):
    net = optics.RestorationUNet(4, out_channels=3, upscaling=2, width=2, scales=1)
    system = joint.ImagingSystem(
        sensor=optics.Sensor(100, cfa="rggb", demosaicing="packed"),
        restoration=net,
        classifier=_Small(3, 16),
    )
    costs = system_costs(system, lesions.subset(range(6)), resamples=5, count_bytes=False)
    _, restoring, judge = costs.stages
    assert restoring.stage == "restoration"
    assert restoring.parameters == sum(p.numel() for p in net.parameters())
    # Of 8 x 8 pixels: 4 to 2, two of 2 to 2, 2 to 4 x 3, and 4 to 3 at once.
    assert restoring.macs == 64 * (9 * (4 * 2 + 2 * 2 * 2 + 2 * 12) + 4 * 3)
    assert judge.macs == 256 * 4 * 3 * 9 + 4 * 256 * 3
    assert costs.pixels_read == 16 * 16
