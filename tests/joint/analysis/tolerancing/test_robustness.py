import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from toys import Bright, scenes_of, unchanged

import classify
import compress
import joint
import optics
from joint.analysis.scores import Score, Scores
from joint.analysis.tolerancing.perturbation import PERTURBATIONS, applicable
from joint.analysis.tolerancing.robustness import Curve, Point, robustness
from joint.analysis.tolerancing.wavefront import wavefront_error, zernike_error


class _Rough(nn.Module):
    """The class is that of the mean brightness, and rough pictures look brighter."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return self.judge(image)

    @staticmethod
    def judge(image):
        step = image.diff(dim=-1).abs().mean((-3, -2, -1))
        level = image.mean((-3, -2, -1)) + 150 * (step - 0.0068)
        return -100 * (level[:, None] - torch.tensor([0.3, 0.55, 0.8])).square()


def _scenes(count=24, size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    mean = torch.tensor([0.25, 0.5, 0.75])[labels] + 0.07 * torch.randn(count, generator=generator)
    pictures = mean.view(-1, 1, 1, 1) + 0.1 * torch.rand(
        (count, 3, size, size), generator=generator
    )
    return scenes_of(pictures, labels)


def _system(**stages):
    return joint.ImagingSystem(classifier=Bright(), encoding="linear", **stages)


def _camera():
    """Two exposures, whose difference is 0.41, 0.5 and 0.59 of the three brightnesses."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("unsharp", 7),
            sensor=optics.Sensor(200, read_noise=3.0, bit_depth=6),
            codec=compress.JPEG(40),
            classifier=Bright((0.43, 0.52, 0.6)),
            encoding="linear",
        )


def test_the_nominal_point_is_the_evaluation():
    system, scenes = _camera(), _scenes()
    found = robustness(
        system, scenes, {"photons": [200, 0.5], "read_noise": [3.0], "kernel_error": [0.0, 0.5]},
        devices=2, resamples=50,
    )  # fmt: skip
    report = joint.evaluate(system, scenes, resamples=50).report
    assert [curve.perturbation for curve in found.curves] == [
        "photons", "read_noise", "kernel_error",
    ]  # fmt: skip
    assert found.scores.accuracy.value == report.accuracy
    assert found.scores.balanced_accuracy.value == pytest.approx(report.balanced_accuracy)
    assert found.scores.accuracy.interval == pytest.approx(report.intervals["accuracy"])
    assert [curve.nominal for curve in found.curves] == [200, 3, 0]
    assert [curve.devices for curve in found.curves] == [1, 1, 2]
    for curve in found.curves:
        point = curve.points[0]
        assert point.level == curve.nominal
        assert point.scores == found.scores
        assert point.change.accuracy == (0, (0, 0))
        assert point.worst == found.scores.balanced_accuracy.value
    # The passes at a nominal level are not repeated.
    passes = 1 + 1 + 2
    assert len(system.classifier.seen) == passes + 1


def test_scores_and_paired_changes_are_those_of_two_evaluations():
    system, scenes = _camera(), _scenes()
    found = robustness(system, scenes, {"photons": [0.5]}, resamples=200)
    one, other = (joint.evaluate(system, scenes, photons=p) for p in (0.5, None))
    point = found.curves[0].points[0]
    assert other.report.accuracy > one.report.accuracy + 0.2
    assert point.scores.accuracy.value == one.report.accuracy
    for metric in ("accuracy", "balanced_accuracy"):
        paired = classify.bootstrap_difference(
            one.logits, other.logits, labels=one.labels, groups=one.groups, metric=metric,
            resamples=200,
        )  # fmt: skip
        assert getattr(point.change, metric).value == pytest.approx(paired.difference)
        assert getattr(point.change, metric).interval == pytest.approx(paired.interval)


def test_a_random_error_is_the_mean_of_its_devices():
    scenes = _scenes()
    kernel = optics.LearnedKernel("gaussian", 5, signed=False)
    system = joint.ImagingSystem(front_end=kernel, classifier=_Rough(), encoding="linear")
    sweep = {"kernel_error": [0.5, 0.9]}
    found = robustness(system, scenes, sweep, devices=4, resamples=20)
    nominal, *seen = system.classifier.seen
    rates = []
    for picture in seen[4:]:
        guess = _Rough.judge(picture).argmax(1)
        rates.append(float((guess == scenes.labels).float().mean()))
    point = found.curves[0].points[1]
    assert point.scores.accuracy.value == pytest.approx(np.mean(rates))
    as_it_is = float((_Rough.judge(nominal).argmax(1) == scenes.labels).float().mean())
    assert point.change.accuracy.value == pytest.approx(np.mean(rates) - as_it_is)
    assert abs(point.change.accuracy.value) > 0.01
    assert max(rates) > min(rates)
    assert point.worst == pytest.approx(min(rates))  # classes of equal size
    # A device has the same error at both levels, and another one a different one.
    changes = torch.stack([(picture - nominal).flatten() for picture in seen])
    alike = torch.corrcoef(changes)
    assert (alike[:4, 4:].diagonal() > 0.9).all()
    assert float(alike[0, 1:4].abs().max()) < 0.8
    assert robustness(system, scenes, sweep, devices=4, resamples=20) == found


def test_what_a_network_restores_it_restores_at_every_level():
    class Negative(nn.Module):
        def forward(self, image):
            return 1 - image

    # Classes by the negative: without it the first and the last are taken for each other.
    sensor = optics.Sensor(200, read_noise=0.0, shot_noise="none", bit_depth=None)
    system = joint.ImagingSystem(
        sensor=sensor, restoration=Negative(), classifier=Bright((0.75, 0.5, 0.25)),
        encoding="linear",
    )  # fmt: skip
    sweeps = {"shift": [1.0], "photons": [100.0], "colour_cast": [0.01]}
    found = robustness(system, _scenes(), sweeps, resamples=5)
    plain = _system(sensor=sensor)
    plain.classifier.levels = torch.tensor([0.25, 0.5, 0.75])
    expected = robustness(plain, _scenes(), sweeps, resamples=5)
    assert found.scores.accuracy.value > 0.8
    assert found.scores.accuracy == expected.scores.accuracy
    for ours, theirs in zip(found.curves, expected.curves, strict=True):
        assert ours.points == theirs.points


def test_accuracy_falls_where_the_noise_is_large():
    found = robustness(
        _system(sensor=optics.Sensor(100, read_noise=0.0, bit_depth=None)),
        _scenes(90), {"read_noise": [0, 100, 1000]}, resamples=100,
    )  # fmt: skip
    first, _, last = (p.scores.balanced_accuracy.value for p in found.curves[0].points)
    assert first > 0.9
    assert last < first - 0.2
    assert found.curves[0].points[2].change.balanced_accuracy.interval.high < 0


@pytest.mark.filterwarnings("ignore:at defocus")  # a random relief fills any window
def test_nothing_of_the_system_changes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        relief = optics.HeightMap(
            torch.rand(65, 65) * 1e-6, spacing=2.5e-3 / 64, material="fused_silica",
            design_wavelength=550e-9,
        )  # fmt: skip
    pupil = optics.Pupil(
        (relief,), wavelengths=(612e-9, 545e-9, 463e-9), focal_length=20e-3, pixel_pitch=2e-6,
        psf_size=15, size=65, spacing=2.5e-3 / 64,
    )  # fmt: skip
    lens = optics.IncoherentImaging(pupil)
    for system in (_camera(), _system(front_end=lens, sensor=optics.Sensor(200, bit_depth=6))):
        with unchanged(system, evaluated=system.classifier):
            robustness(system, _scenes(6), devices=1, resamples=5)
    assert relief.etch_error is None


def test_by_default_all_that_the_system_can_have_is_swept():
    system = _camera()
    possible = set(applicable(system))
    found = robustness(system, _scenes(6), devices=1, resamples=5)
    assert {row.perturbation for row in found.refused} == set(PERTURBATIONS) - possible
    assert {curve.perturbation for curve in found.curves} == possible
    for curve in found.curves:
        assert curve.nominal in [point.level for point in curve.points]


def test_zernike_terms_and_budgets_are_swept():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pupil = optics.Pupil(
            (), wavelengths=(612e-9, 545e-9, 463e-9), focal_length=20e-3, pixel_pitch=2e-6,
            psf_size=61, size=65, spacing=2.5e-3 / 64,
        )  # fmt: skip
    lens = _system(front_end=optics.IncoherentImaging(pupil))
    sweeps = {wavefront_error([5, 7]): [0.0, 0.2], "tilt_y": [0.0], zernike_error(4): [-0.1, 0.1]}
    found = robustness(lens, _scenes(6), sweeps, devices=2, resamples=5)
    assert [curve.perturbation for curve in found.curves] == ["tilt_y", "wavefront", "zernike_4"]
    assert [curve.devices for curve in found.curves] == [1, 2, 1]
    assert [curve.unit for curve in found.curves] == ["degrees", "waves RMS", "waves RMS"]
    # Nominal, two devices, two levels: what they saw are five pictures.
    seen = lens.classifier.seen
    assert len(seen) == 5
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(seen[:4], 2))
    # Of an aperture without anything in it, too near is as too far.
    assert torch.allclose(seen[3], seen[4], atol=1e-3)
    assert torch.allclose(seen[0], _seen_at_nominal(lens), atol=1e-6)


def _seen_at_nominal(system):
    joint.evaluate(system, _scenes(6))
    return system.classifier.seen[-1]


def test_what_is_not_possible_is_refused_by_name():
    system, scenes = _camera(), _scenes(6)
    with pytest.raises(
        ValueError, match=r"no defocus: it needs a front end with a pupil.*rotation"
    ):
        robustness(system, scenes, {"defocus": [1.0]})
    with pytest.raises(ValueError, match=r"no registration: .* two exposures or more; this system"):
        robustness(_system(), scenes, {"registration": [1.0]})
    with pytest.raises(ValueError, match=r"must be one of defocus, .*, not rain"):
        robustness(system, scenes, {"rain": [1.0]})
    with pytest.raises(
        ValueError, match=r"photons takes levels in photons/pixel, above 0, not \[0"
    ):
        robustness(system, scenes, {"photons": [0.0]})
    with pytest.raises(ValueError, match=r"read_noise takes levels in electrons RMS, 0 or more"):
        robustness(system, scenes, {"read_noise": [-1.0]})
    with pytest.raises(
        ValueError, match=r"shift takes levels in pixels, finite numbers, not \[inf"
    ):
        robustness(system, scenes, {"shift": [math.inf]})
    with pytest.raises(ValueError, match=r"shift takes levels in pixels, .* not \[\]"):
        robustness(system, scenes, {"shift": []})
    with pytest.raises(ValueError, match=r"shift takes a sequence of levels, not 1\.0"):
        robustness(system, scenes, {"shift": 1.0})
    with pytest.raises(ValueError, match="no classifier, and without one there is no accuracy"):
        robustness(joint.ImagingSystem(), scenes)
    for devices in (0, 1.5):
        with pytest.raises(ValueError, match=f"devices must be .* at least 1, not {devices}"):
            robustness(system, scenes, devices=devices)
    with pytest.raises(TypeError, match=r"must be a classify\.LesionDataset, not str"):
        robustness(system, "scenes")
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        robustness(system, scenes, resamples=0)
    assert not system.classifier.seen  # all of it before the first pass


def test_tables_are_printed_and_json():
    found = robustness(
        _camera(), _scenes(6), {"kernel_error": [0.3], "shift": [1.0]}, devices=2, resamples=10
    )
    text = str(found)
    assert "kernel_error, fraction RMS (nominal 0, 2 devices)" in text
    assert "shift, pixels (nominal 0)" in text
    point = found.curves[1].points[0]
    low, high = point.change.balanced_accuracy.interval
    assert "change (- is worse)" in text
    assert f"  {point.change.balanced_accuracy.value:+.3f} [{low:+.3f}, {high:+.3f}]  " in text
    assert f"{point.level:12.5g} {point.scores.accuracy}  " in text  # no difference, and no sign
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    point = summary["curves"][1]["points"][0]
    assert point["level"] == 0.3
    assert point["scores"]["accuracy"]["value"] == found.curves[1].points[0].scores.accuracy.value
    assert len(point["change"]["balanced_accuracy"]["interval"]) == 2
    assert summary["scores"]["accuracy"]["value"] == found.scores.accuracy.value


def _curve(levels, values, *, perturbation="defocus", nominal=0.0):
    """Of these balanced accuracies; the accuracies are half of them."""
    points = []
    for level, value in zip(levels, values, strict=True):
        whole, half = (Score(v, classify.Interval(v - 0.1, v + 0.1)) for v in (value, value / 2))
        points.append(Point(level, Scores(half, whole), Scores(half, whole), value))
    return Curve(perturbation, "waves", nominal, 1, tuple(points))


def test_the_level_at_which_a_score_falls_lies_between_those_measured():
    one = _curve((0, 1, 2, 4), (0.8, 0.8, 0.6, 0.2))
    assert one.level_at(0.9) == pytest.approx(1 + 0.08 / 0.2)
    assert one.level_at(0.5) == pytest.approx(2 + 2 * 0.2 / 0.4)
    assert one.level_at(0.5, metric="accuracy") == pytest.approx(3)
    assert one.level_at(0.2) is None
    assert one.level_at(0.25) is None  # it comes to 0.2, and not below
    # In any order; of two sides, the nearer: 0.72 is at 0.8 - 0.4 x, and at -2 of 0.8 + 0.04 x.
    both = _curve((1, -4, 0), (0.4, 0.64, 0.8))
    assert both.level_at(0.9) == pytest.approx(0.2)
    assert _curve((0.0, -4.0), (0.8, 0.64)).level_at(0.9) == pytest.approx(-2)
    # A hollow between two levels that are the best.
    assert _curve((0, 1, 2), (0.8, 0.4, 0.8)).level_at(0.75) == pytest.approx(0.5)


def test_the_nearer_level_is_nearest_to_the_nominal_one_on_a_plateau_and_else_to_a_best_one():
    # It falls below 0.72 at -0.2 and at 0.29, which is 0.04 from the next level that is the best.
    plateau = (-1, -0.5, 0, 0.25, 0.5), (0.2, 0.6, 0.8, 0.8, 0.3)
    assert _curve(*plateau).level_at(0.9) == pytest.approx(-0.2)
    assert _curve(*plateau, nominal=0.25).level_at(0.9) == pytest.approx(0.29)
    assert _curve(*plateau, nominal=0.1).level_at(0.9) == pytest.approx(0.29)  # not measured
    assert _curve(*plateau, nominal=0.04).level_at(0.9) == pytest.approx(-0.2)
    # 0.6 is at -5 and at 11, which are 5 and 1 from the next level that is the best.
    far = (-10, 0, 10, 12), (0.4, 0.8, 0.8, 0.4)
    assert _curve(*far, nominal=-8.0).level_at(0.75) == pytest.approx(11)
    assert _curve(*far, nominal=20.0).level_at(0.75) == pytest.approx(11)
    assert _curve((2, 10, 12), (0.4, 0.8, 0.4)).level_at(0.75) == pytest.approx(11)
    light = (10, 1000, 100_000, 200_000), (0.4, 0.8, 0.8, 0.4)
    for nominal, level in ((2000.0, 100.0), (0.0, 1e5 * 2**0.5)):
        curve = _curve(*light, perturbation="photons", nominal=nominal)
        assert curve.level_at(0.75) == pytest.approx(level)


def test_the_level_of_a_score_is_of_its_own_values():
    def point(level, accuracy, balanced):
        scores = Scores(*(Score(v, classify.Interval(v, v)) for v in (accuracy, balanced)))
        return Point(level, scores, scores, balanced)

    curve = Curve("defocus", "waves", 0.0, 1, (point(0, 0.9, 0.8), point(1, 0.9, 0.4)))
    assert curve.level_at(0.75) == pytest.approx(0.5)
    assert curve.level_at(0.75, metric="accuracy") is None


def test_photons_are_interpolated_over_their_logarithm():
    photons = _curve((10, 100, 1000), (0.3, 0.6, 0.8), perturbation="photons", nominal=1000.0)
    assert photons.level_at(0.9) == pytest.approx(10 ** (3 - 0.08 / 0.2))
    assert photons.level_at(0.5) == pytest.approx(10 ** (1 + 1 / 3))


def test_a_level_is_at_a_share_of_a_score():
    curve = _curve((0, 1), (0.8, 0.4))
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"share must be between 0 and 1.*not {share}"):
            curve.level_at(share)
    with pytest.raises(ValueError, match="metric must be one of accuracy, balanced_accuracy, not"):
        curve.level_at(0.9, metric="auc")


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (_curve((), ()), "the curve of defocus has no points"),
        (_curve((0, 1), (0.8, math.nan)), "the balanced_accuracy at defocus=1 is nan"),
        (_curve((0, 1), (math.nan, 0.8)), "the balanced_accuracy at defocus=0 is nan"),
        (_curve((100, 0), (0.8, 0.4), perturbation="photons"), "over their logarithm, and 0 has"),
    ],
)
def test_a_level_is_between_levels_and_scores_that_are_numbers(curve, message):
    with pytest.raises(ValueError, match=message):
        curve.level_at(0.9)
