import json

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torch import nn

import compress
import joint
import optics
from joint.evaluate import derive_seed


class _Noisy(nn.Module):
    def forward(self, image):
        return image.mean((-2, -1)) * 50


@pytest.fixture
def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("gaussian", 3, signed=False),
            sensor=optics.Sensor(500),
            codec=compress.FactorizedCodec(),
            classifier=_Noisy(),
        )


def test_numbers_agree_with_scikit_learn(system, lesions):
    result = joint.evaluate(system, lesions, batch_size=7)
    guesses = result.logits.argmax(1)
    assert result.count == len(result.labels) == len(lesions) == 48
    assert result.report.accuracy == accuracy_score(result.labels, guesses)
    assert result.report.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(result.labels, guesses)
    )
    assert result.report.macro_f1 == pytest.approx(
        f1_score(result.labels, guesses, average="macro")
    )
    assert result.identifiers == tuple(f"picture{i}" for i in range(48))
    assert list(result.labels) == lesions.targets.tolist()
    assert result.groups == lesions.groups


def test_intervals_resample_lesions(system, lesions):
    result = joint.evaluate(system, lesions, resamples=200)
    assert result.report.unit == "lesions"
    low, high = result.report.intervals["accuracy"]
    assert low <= result.report.accuracy <= high
    assert not joint.evaluate(system, lesions).report.intervals


def test_rate_and_fidelity_are_means_over_pictures(system, lesions):
    result = joint.evaluate(system, lesions, batch_size=48, count_bytes=True)
    system.eval()
    scenes = lesions.gather(torch.arange(48)).images / 255.0
    noise = torch.Generator().manual_seed(derive_seed(0, "evaluate", 0))
    with torch.no_grad():
        output = system(scenes, generator=noise)
    sizes = [len(payload) for payload in system.codec.compress(output.measurement)]
    assert result.rate == "rounded"
    assert result.bpp == pytest.approx(float(output.coded.bpp.mean()), rel=1e-5)
    assert result.bpp_bytes == pytest.approx(8 * sum(sizes) / 48 / 256, rel=1e-5)
    assert result.bpp == pytest.approx(result.bpp_bytes, rel=0.01, abs=16 * 8 / 256)
    error = (output.handed.clamp(0, 1) - output.measurement).double().square().mean((-3, -2, -1))
    assert result.psnr == pytest.approx(float((-10 * error.log10()).mean()), rel=1e-4)
    assert result.throughput == pytest.approx(float(system.front_end.throughput().detach()))
    assert result.losses["rate"] == pytest.approx(result.bpp)


def test_evaluation_is_repeatable_and_restores_the_modes(system, lesions):
    system.train()
    system.codec.eval()
    first, again, other = (joint.evaluate(system, lesions, seed=seed) for seed in (1, 1, 2))
    assert (first.logits == again.logits).all()
    assert not (first.logits == other.logits).all()
    assert system.training
    assert not system.codec.training


def test_parts_that_are_missing_are_none(lesions):
    result = joint.evaluate(joint.ImagingSystem(classifier=_Noisy()), lesions)
    assert result.bpp is result.psnr is result.throughput is result.rate is None
    assert set(result.losses) == {"total", "task"}
    coded = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    assert coded.report is None
    assert coded.logits is None
    assert coded.bpp > 0
    assert coded.rate == "bytes"


def test_summary_is_json(system, lesions):
    summary = joint.evaluate(system, lesions).to_dict()
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again["count"] == 48
    assert again["balanced_accuracy"] == summary["balanced_accuracy"]
    assert len(again["report"]["confusion"]) == 3
