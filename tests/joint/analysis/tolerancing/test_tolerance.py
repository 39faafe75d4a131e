import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import classify
import compress
import joint
import optics
from joint.analysis import (
    Imperfection,
    Tolerance,
    alignment,
    tolerance,
    wavefront_error,
    zernike_error,
)
from joint.analysis.tolerancing.disturbed import Seat
from joint.analysis.tolerancing.tolerance import ranges


class _Bright(nn.Module):
    """The class is that of the mean brightness."""

    def forward(self, image):
        mean = image.mean((-3, -2, -1))
        return -100 * (mean[:, None] - torch.tensor([0.3, 0.5, 0.7])).square()


@pytest.fixture(scope="module")
def scenes():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    mean = torch.tensor([0.3, 0.5, 0.7])[labels] + 0.08 * torch.randn(24, generator=generator)
    pictures = (mean[:, None, None, None] * 255).clamp(0, 255).expand(-1, 3, 12, 12)
    names = [f"picture{i}" for i in range(24)]
    return classify.LesionDataset(
        images=pictures.round().to(torch.uint8).contiguous(),
        labels=labels,
        groups=names,
        identifiers=names,
        classes=("a", "b", "c"),
    )


@pytest.fixture
def system():
    return joint.ImagingSystem(
        sensor=optics.Sensor(200, read_noise=3.0), classifier=_Bright(), encoding="linear"
    )


def _lens_camera(*plates):
    flat = optics.PhaseMask(torch.zeros(64, 64), spacing=1e-4, design_wavelength=550e-9)
    pupil = optics.Pupil(
        plates or [flat],
        size=64, spacing=1e-4, wavelengths=(550e-9,), focal_length=0.1, pixel_pitch=2e-6,
        psf_size=41,
    )  # fmt: skip
    response = torch.ones(3, 1)
    return joint.ImagingSystem(
        front_end=optics.IncoherentImaging(pupil, spectral_response=response),
        classifier=_Bright(),
        encoding="linear",
    )


def read_noise(system):
    return system.sensor.read_noise


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("uniform", stats.uniform(1, 4)),
        ("normal", stats.truncnorm(-2, 2, loc=3, scale=1)),
    ],
)
def test_levels_are_distributed_within_their_limits(system, scenes, distribution, expected):
    found = tolerance(
        system, scenes, {"read_noise": 2.0}, measure=read_noise, devices=400,
        distribution=distribution,
    )  # fmt: skip
    assert found.values == found.levels["read_noise"]
    assert found.design == {"read_noise": 3}
    assert 1 <= min(found.values) < max(found.values) <= 5
    assert stats.kstest(found.values, expected.cdf).pvalue > 0.01
    assert (found.measure, found.nominal, found.more_is_better) == ("read_noise", 3.0, True)
    assert system.sensor.read_noise == 3


def test_the_yield_is_a_share_with_clopper_and_pearsons_interval(system, scenes):
    found = tolerance(
        system, scenes, {"read_noise": (2.0, 6.0)}, measure=read_noise, more_is_better=False,
        devices=40, level=0.9,
    )  # fmt: skip
    good = sum(value <= 4.5 for value in found.values)
    assert 0 < good < 40
    at = found.yield_at(4.5)
    assert at.value == good / 40
    low, high = stats.beta.ppf(0.05, good, 41 - good), stats.beta.ppf(0.95, good + 1, 40 - good)
    assert at.interval == pytest.approx((low, high))
    assert found.yield_at(0.0).value == 0
    assert found.yield_at(9.0).value == 1


def test_what_was_found_is_not_changed(system, scenes):
    found = tolerance(system, scenes, {"read_noise": 1.0}, devices=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.values = (1.0, 1.0)


@pytest.mark.parametrize("more_is_better", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_what_a_share_keeps_is_kept_by_at_least_that_share(system, scenes, more_is_better, share):
    found = tolerance(
        system, scenes, {"read_noise": 1.0}, measure=read_noise, more_is_better=more_is_better,
        devices=30,
    )  # fmt: skip
    limit = found.promised(share)
    assert limit in found.values
    assert share <= found.yield_at(limit).value <= share + 2 / 30


def _of(values, *, more_is_better=True):
    return Tolerance(
        "psnr", more_is_better, 1.0, tuple(values), {"shift": (0.0,) * len(values)}, {"shift": 0.0},
        0.95,
    )  # fmt: skip


@pytest.mark.parametrize("count", [10, 11, 21, 31, 41, 101])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.9, 0.95])
def test_what_a_share_keeps_is_the_best_that_it_keeps(count, share):
    values = range(1, count + 1)
    wanted = max(v for v in values if sum(w >= v for w in values) >= share * count - 1e-9)
    assert _of(values).promised(share) == wanted
    # And of as many that are better the less they are.
    assert _of([-v for v in values], more_is_better=False).promised(share) == -wanted


@pytest.mark.parametrize(
    ("share", "devices"), [(0.9, (29, 46, 61)), (0.95, (59, 93, 124)), (0.99, (299, 473))]
)
def test_a_promise_with_confidence_is_that_of_the_tables(share, devices):
    # Sample sizes for the worst, the second worst, ... at 0.95 as in the tables of Wilks' formula.
    for place, count in enumerate(devices):
        values = np.random.default_rng(place).permutation(count).astype(float)
        assert _of(values).promised(share, confidence=0.95) == place
        less = _of(values, more_is_better=False)
        assert less.promised(share, confidence=0.95) == count - 1 - place
        fewer = _of(values[values != 0])
        if place:
            assert fewer.promised(share, confidence=0.95) == place  # the one before: 1, 2, ...
        else:
            said = f"{count - 1} devices cannot show what .* of 0.95: that takes {count}"
            with pytest.raises(ValueError, match=said):
                fewer.promised(share, confidence=0.95)


def test_a_promise_with_confidence_holds_as_often():
    random = np.random.default_rng(5)
    limit = [_of(random.random(70)).promised(0.9, confidence=0.9) for _ in range(2000)]
    # Of values from 0 to 1 the share 1 - limit keeps it. The number of devices is whole, so that
    # it holds a little more often: of 70, the fourth worst does with 0.9288.
    exact = 1 - stats.binom.cdf(3, 70, 0.1)
    assert exact >= 0.9
    held = np.mean(1 - np.array(limit) >= 0.9)
    assert held == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)


def test_few_devices_tell_nothing_of_shares_beyond_them():
    assert "of 6 devices: 50 % keep 3, the worst has 0; design 1" in str(_of(range(6)))
    assert "50 % keep 25, 90 % keep 5, 98 % keep 1, the worst has 0;" in str(_of(range(50)))
    less = _of(range(10), more_is_better=False)
    assert "50 % keep 4, 90 % keep 8, the worst has 9;" in str(less)


def test_a_device_stays_the_same_among_others_and_with_other_errors(system, scenes):
    def read(made):
        return made.sensor.read_noise

    few = tolerance(system, scenes, {"read_noise": 1.0}, measure=read, devices=3)
    many = tolerance(system, scenes, {"shift": 2.0, "read_noise": 1.0}, measure=read, devices=5)
    assert many.values[:3] == few.values
    other = tolerance(system, scenes, {"read_noise": 1.0}, measure=read, devices=3, seed=1)
    assert other.values != few.values


def test_all_errors_are_there_at_once(scenes):
    system = _lens_camera()

    def on_axis(made):
        return float(made.front_end.pupil().detach()[0, 20, 20])

    found = tolerance(system, scenes, {"decentre": 0.2, "defocus": 0.5}, measure=on_axis, devices=4)
    # A flat element that sits elsewhere changes nothing, and the error of the wavefront does not
    # move with it: the intensity on the axis is that of a defocused circle, sinc^2 of the waves.
    aperture = system.front_end.pupil.aperture
    inside = aperture > 0
    y, x = (torch.arange(64) - 32.0)[:, None], torch.arange(64) - 32.0
    rim = float(aperture.sum()) / math.pi
    for value, waves in zip(found.values, found.levels["defocus"], strict=True):
        path = 2 * math.pi * waves * ((x.square() + y.square()) / rim)[inside]
        axis = torch.polar(aperture[inside].double(), path.double()).sum().abs().square()
        expected = found.nominal * float(axis) / float(aperture[inside].double().sum()) ** 2
        assert value == pytest.approx(expected, rel=2e-3)


def test_random_patterns_differ_from_device_to_device(scenes):
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5), classifier=_Bright(), encoding="linear"
    )
    kernels = []

    def taps(made):
        kernels.append(made.front_end.kernels.detach())
        return 0.0

    found = tolerance(system, scenes, {"kernel_error": 0.2}, measure=taps, devices=3)
    assert found.levels == {"kernel_error": (0.2, 0.2, 0.2)}
    nominal, *made = kernels
    for k, kernel in enumerate(made):
        assert float((kernel - nominal).norm() / nominal.norm()) == pytest.approx(0.2, rel=0.5)
        assert not any(torch.equal(kernel, other) for other in made[:k])
    assert found.sensitivities() == {}


def test_scalars_are_those_of_the_evaluation_in_the_light_of_the_device(system, scenes):
    found = tolerance(system, scenes, {"photons": (2.0, 50.0)}, devices=3)
    assert found.measure == "balanced_accuracy"
    for value, photons in zip(found.values, found.levels["photons"], strict=True):
        report = joint.evaluate(system, scenes, photons=photons).report
        assert value == report.balanced_accuracy
    assert found.nominal == joint.evaluate(system, scenes).report.balanced_accuracy


@pytest.mark.parametrize(("measure", "more"), [("loss", False), ("bpp", False), ("psnr", True)])
def test_which_way_is_better_is_known_of_the_evaluation_s_numbers(scenes, measure, more):
    blind = joint.ImagingSystem(
        sensor=optics.Sensor(200), codec=compress.JPEG(50), classifier=_Bright(), encoding="linear"
    )
    assert (
        tolerance(blind, scenes, {"shift": 1.0}, measure=measure, devices=2).more_is_better is more
    )


def test_without_a_classifier_the_fidelity_is_measured(scenes):
    blind = joint.ImagingSystem(
        sensor=optics.Sensor(200), codec=compress.JPEG(50), encoding="linear"
    )
    found = tolerance(blind, scenes, {"read_noise": (0.0, 9.0)}, devices=3)
    assert found.measure == "psnr"
    assert found.nominal == joint.evaluate(blind, scenes).psnr


def test_the_largest_influence_comes_first(system, scenes):
    def mostly_noise(made):
        shift = 0.0 if made.front_end is None else made.front_end.shifts[0]
        return -(made.sensor.read_noise**2) - 0.1 * abs(shift)

    limits = {"shift": 1.0, "read_noise": (3.0, 9.0)}
    found = tolerance(system, scenes, limits, measure=mostly_noise, devices=60)
    assert [*found.sensitivities()] == ["read_noise", "shift"]
    assert found.sensitivities()["read_noise"] < -0.99
    away = np.array(found.levels["read_noise"]) - 3
    assert found.sensitivities()["read_noise"] == pytest.approx(
        stats.spearmanr(away, found.values).statistic
    )
    text = str(found)
    assert "mostly_noise of 60 devices: 50 % keep" in text
    assert "-1.00      -1.00  electrons RMS" in text
    assert "rank correlation with mostly_noise: of the level (-: the more the worse), and" in text
    assert "(+: the further the worse)" in str(dataclasses.replace(found, more_is_better=False))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["correlations"]["read_noise"]["deviation"] < -0.99
    assert told["levels"]["shift"] == list(found.levels["shift"])


def test_an_influence_is_that_of_the_distance_from_the_design(system, scenes):
    # Best in the middle of both tolerances, and worse on either side of it.
    def mostly_shift(made):
        shift = 0.0 if made.front_end is None else made.front_end.shifts[0]
        return -(shift**2) - 0.01 * (made.sensor.read_noise - 3) ** 2

    limits = {"shift": 2.0, "read_noise": 2.0}
    found = tolerance(system, scenes, limits, measure=mostly_shift, devices=60)
    assert [*found.sensitivities()] == ["shift", "read_noise"]
    for name, design in (("shift", 0), ("read_noise", 3)):
        away = np.abs(np.array(found.levels[name]) - design)
        expected = stats.spearmanr(away, found.values).statistic
        assert found.sensitivities()[name] == pytest.approx(expected)
    assert found.sensitivities()["shift"] < -0.99

    same = tolerance(system, scenes, limits, measure=lambda made: 1.0, devices=3)
    assert same.sensitivities() == {} == same.correlations()
    assert str(same).endswith("electrons RMS")


@pytest.mark.parametrize("sign", [1, -1])
def test_what_grows_with_the_level_is_not_missed(scenes, sign):
    # Half of the devices have less of it than the design and are better: nothing tells that of
    # the distance.
    system = joint.ImagingSystem(
        sensor=optics.Sensor(2000, read_noise=4.0, black_level=40), encoding="linear"
    )
    limits = {"read_noise": 2.0, "shift": 0.5}
    found = tolerance(
        system, scenes, limits, measure=lambda made: sign * made.sensor.read_noise, devices=60
    )
    assert [*found.sensitivities()] == ["read_noise", "shift"]
    assert found.sensitivities()["read_noise"] == pytest.approx(sign)
    level, distance = found.correlations()["read_noise"]
    levels = np.array(found.levels["read_noise"])
    assert level == pytest.approx(stats.spearmanr(levels, found.values).statistic)
    assert distance == pytest.approx(stats.spearmanr(np.abs(levels - 4), found.values).statistic)
    assert abs(distance) < 0.3
    # Of two levels at one distance there is a correlation with the level alone.
    two = dataclasses.replace(found, values=(1.0, 2.0, 4.0), levels={"read_noise": (2.0, 2.0, 6.0)})
    expected = stats.spearmanr([2, 2, 6], [1, 2, 4]).statistic
    assert two.correlations()["read_noise"] == (pytest.approx(expected), 0)


def test_a_measure_may_be_a_number_of_the_report(system, scenes):
    limits = {"photons": (20.0, 50.0)}
    names = scenes.classes
    for measure in ("ece", "nll", "mcc", f"recall.{names[0]}"):
        found = tolerance(system, scenes, limits, measure=measure, devices=2)
        for value, photons in zip(found.values, found.levels["photons"], strict=True):
            report = joint.evaluate(system, scenes, photons=photons).report
            assert value == pytest.approx(report.number(measure), nan_ok=True)
        assert found.more_is_better == (measure not in ("ece", "nll"))
    with pytest.raises(ValueError, match=r"that of a class, such as recall\.NAME, not 'acuracy'"):
        tolerance(system, scenes, limits, measure="acuracy", devices=2)


def test_devices_are_warned_of_once(scenes):
    system = joint.ImagingSystem(
        sensor=optics.Sensor(1000, read_noise=2.0, black_level=20), encoding="linear"
    )
    limits = {"photons": (20.0, 60.0)}
    with pytest.warns(UserWarning, match=r"black_level.*\(\d+ warnings of this kind\)") as caught:
        tolerance(system, scenes, limits, measure="psnr_scene", devices=12)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_errors_come_in_the_order_of_the_light(scenes):
    # A relief is changed before it is moved, and its field before its sensor; told by name.
    limits = {"shift": 1.0, "tilt_x": 1.0, "decentre": 0.1, zernike_error(5): 0.1, "defocus": 0.1}
    found = tolerance(_lens_camera(), scenes, limits, measure=_on_axis, devices=2)
    assert [*found.levels] == ["defocus", "decentre", "tilt_x", "shift", "zernike_5"]
    acted = []

    def acting(name, where):
        return Imperfection(name, "", lambda *_: acted.append(name), where=where)

    places = ("around", "field", "element", "wavefront", "place")
    own = {acting(where, where): 1.0 for where in places}
    found = tolerance(_lens_camera(), scenes, own, measure=_on_axis, devices=2)
    assert tuple(found.levels) == places
    assert acted[-10:] == 2 * ["element", "place", "wavefront", "field", "around"]


def test_elements_are_off_independently_and_a_single_one_as_ever(scenes):
    plates = [
        optics.PhaseMask(torch.zeros(64, 64), spacing=1e-4, design_wavelength=550e-9)
        for _ in range(2)
    ]

    def sits(made):
        first, second = made.front_end.pupil.elements
        one, other = (getattr(each, "seat", Seat()).shift for each in (first, second))
        return one - other

    pair = _lens_camera(*plates)
    found = tolerance(pair, scenes, {"decentre": 0.05, "rotation": 3.0}, measure=sits, devices=100)
    names = ["decentre.0", "decentre.1", "rotation.0", "rotation.1"]
    assert [*found.levels] == names
    draws = np.array([found.levels[name] for name in names])
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.35  # 3.5 sigma of 100 draws
    assert np.abs(draws[:2]).max() <= 0.05
    across = float(pair.front_end.pupil.aperture.sum(0).max())
    expected = (draws[0] - draws[1]) * across
    np.testing.assert_allclose(found.values, expected, atol=0.02)
    # Together they are one imperfection.
    group = alignment("decentre", (0, 1), title="decentre.pair")
    both = tolerance(pair, scenes, {group: 0.05}, measure=sits, devices=3)
    assert [*both.levels] == ["decentre.pair"]
    assert both.values == (0, 0, 0)
    single = tolerance(_lens_camera(), scenes, {"decentre": 0.05}, measure=_on_axis, devices=3)
    assert [*single.levels] == ["decentre"]


def _on_axis(made):
    return float(made.front_end.pupil().detach()[0, 20, 20])


@pytest.mark.parametrize(
    ("distribution", "law"),
    [
        # The area is filled: the square of the radius is uniform.
        ("uniform", stats.powerlaw(2, scale=0.1)),
        ("normal", None),
    ],
)
def test_radial_decentres_fill_their_circle(scenes, distribution, law):
    places = []

    def place(made):
        (element,) = made.front_end.pupil.elements
        if not hasattr(element, "seat"):
            return 0.0
        places.append((element.seat.shift, element.seat.shift_y))
        return math.hypot(*places[-1])

    found = tolerance(
        _lens_camera(), scenes, {"decentre_radial": 0.1}, measure=place, devices=300,
        distribution=distribution,
    )  # fmt: skip
    radius = np.array(found.levels["decentre_radial"])
    assert 0 < radius.min() < radius.max() <= 0.1
    if law is None:
        # Two normal numbers of 0.05 each, cut at two of those.
        rayleigh = stats.rayleigh(scale=0.05)
        assert stats.kstest(radius, lambda r: rayleigh.cdf(r) / rayleigh.cdf(0.1)).pvalue > 0.01
    else:
        assert stats.kstest(radius, law.cdf).pvalue > 0.01
    x, y = (
        np.array(found.levels[f"decentre_radial.{name}"]) for name in ("decentre", "decentre_y")
    )
    assert np.allclose(np.hypot(x, y), radius)
    # 62.999 samples is the diameter of the circle.
    assert np.allclose(np.array(places), 62.9999 * np.stack((x, y), 1), rtol=1e-4)
    assert [found.units[name] for name in found.levels] == ["pupil diameters"] * 3
    # Only how far it is, not in which direction, is told of by what was measured.
    told = found.sensitivities()
    assert told["decentre_radial"] == pytest.approx(1)
    assert max(abs(told[f"decentre_radial.{n}"]) for n in ("decentre", "decentre_y")) < 0.9


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("radius", [0.0, 0.07])
def test_a_tolerance_of_one_level_is_that_level(scenes, distribution, radius):
    found = tolerance(
        _lens_camera(), scenes, {"decentre_radial": (radius, radius), "defocus": (0.1, 0.1)},
        measure=_on_axis, devices=3, distribution=distribution,
    )  # fmt: skip
    assert found.levels["decentre_radial"] == (radius,) * 3
    assert found.levels["defocus"] == (0.1,) * 3


def test_a_budget_is_told_term_by_term(scenes):
    system = _lens_camera()
    kind = wavefront_error([4, 6, 11])
    limits = {kind: 0.06, wavefront_error([4, 5], name="mount"): (0.0, 0.03)}
    found = tolerance(system, scenes, limits, measure=_on_axis, devices=30)
    assert [*found.levels] == [
        "wavefront", "wavefront.zernike_4", "wavefront.zernike_6", "wavefront.zernike_11",
        "mount", "mount.zernike_4", "mount.zernike_5",
    ]  # fmt: skip
    assert set(found.levels["wavefront"]) == {0.06}
    terms = [np.array(found.levels[f"wavefront.zernike_{j}"]) for j in (4, 6, 11)]
    assert np.allclose(np.sqrt(np.square(terms).sum(0)), 0.06)
    # Marechal and Mahajan: all terms together, those that two have added first.
    mount = [np.array(found.levels[f"mount.zernike_{j}"]) for j in (4, 5)]
    squares = (terms[0] + mount[0]) ** 2 + terms[1] ** 2 + terms[2] ** 2 + mount[1] ** 2
    expected = found.nominal * np.exp(-((2 * math.pi) ** 2) * squares)
    assert np.allclose(found.values, expected, rtol=0.02)
    assert found.design["wavefront.zernike_6"] == 0
    assert "wavefront" not in found.sensitivities()  # of all devices the same
    assert "wavefront.zernike_11" in found.sensitivities()
    text = str(found)
    assert "wavefront.zernike_11 " in text
    assert "waves RMS" in text


def test_devices_are_focused_anew(scenes):
    system = _lens_camera()
    limits = {"defocus": 0.4, zernike_error(6): (-0.04, 0.04)}
    fixed, moved = (
        tolerance(system, scenes, limits, measure=_on_axis, devices=6, refocus=r)
        for r in (0.0, 0.5)
    )
    assert fixed.levels == moved.levels
    assert fixed.refocus == ()
    assert np.allclose(moved.refocus, -np.array(moved.levels["defocus"]), atol=5e-3)
    term = np.array(moved.levels["zernike_6"])
    expected = fixed.nominal * np.exp(-((2 * math.pi * term) ** 2))
    assert np.allclose(moved.values, expected, rtol=0.01)
    assert min(moved.values) > min(fixed.values)
    assert "refocused by" in str(moved)
    assert "refocused by" not in str(fixed)
    assert json.loads(json.dumps(moved.to_dict()))["refocus"] == list(moved.refocus)


@pytest.mark.parametrize(
    ("limits", "more", "said"),
    [
        ({}, {}, "limits must name at least one of defocus"),
        ({"tilt": 1.0}, {}, "perturbation must be one of defocus.*Imperfection, not tilt"),
        ({"defocus": 1.0}, {}, "no defocus: it needs a front end with a pupil"),
        ({"read_noise": 4.0}, {}, "read_noise takes levels in electrons RMS, 0 or more"),
        ({"photons": (0.0, 9.0)}, {}, "photons takes levels in photons/pixel, above 0"),
        ({"shift": -1.0}, {}, "the lower limit first; -1.0 gives 1 to -1"),
        ({"shift": (2.0, 1.0)}, {}, "the lower limit first"),
        ({"shift": [2.0, 1.0]}, {}, "the lower limit first"),
        ({"shift": (0.0, 1.0, 2.0)}, {}, r"shift takes half the width of its tolerance in pixels"),
        ({"shift": math.nan}, {}, "finite numbers"),
        ({"decentre": 0.1}, {}, "no decentre: it needs a pupil with an element in it"),
        ({"tilt_y": 1.0}, {}, r"no tilt_y: it needs optics.IncoherentImaging\(Pupil"),
        ({zernike_error(5): 1.0}, {}, "no zernike_5: it needs a front end with a pupil"),
        ({Imperfection("shift", "pixels"): 1.0}, {}, "two imperfections are called shift"),
        (
            {Imperfection("a", "m"): 1.0, Imperfection("a", "m"): 1.0},
            {},
            "two imperfections are called a: give one another name",
        ),
        ({"shift": 1.0}, {"refocus": -1.0}, "refocus must be 0 or more"),
        ({"shift": 1.0}, {"refocus": 1.0}, "refocus needs a front end with a pupil"),
        ({"shift": 1.0}, {"devices": 1}, "devices must be .* at least 2, not 1"),
        (
            {"quantum_efficiency": 0.9},
            {},
            r"at most 0\.\d+ fraction of this system; 0.9 gives -0.9",
        ),
        ({"shift": 1.0}, {"devices": 2.5}, "devices must be .* at least 2, not 2.5"),
        ({"shift": 1.0}, {"level": 1.0}, "level must be above 0 and below 1"),
        ({"shift": 1.0}, {"distribution": "cauchy"}, "must be 'uniform' or 'normal'"),
        ({"shift": 1.0}, {"measure": "psnr"}, "a function or one of loss_total"),
        ({"shift": 1.0}, {"measure": lambda made: math.nan}, "is not a finite number"),
    ],
)
def test_what_cannot_be_built_is_refused(system, scenes, limits, more, said):
    with pytest.raises(ValueError, match=said):
        tolerance(system, scenes, limits, **{"devices": 2} | more)


@pytest.mark.parametrize(
    "limit", [None, "wide", "0.25", True, (True, 2.0), (0.0, "3"), [None, 1.0]]
)
def test_a_limit_that_is_no_number_is_refused(system, scenes, limit):
    told = re.escape(
        "shift takes half the width of its tolerance in pixels, or (lowest, highest), "
    )
    with pytest.raises(TypeError, match=told + re.escape(f"not {limit!r}")):
        tolerance(system, scenes, {"shift": limit}, devices=2)


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        (np.float32(0.5), (-0.5, 0.5)),
        (torch.tensor(0.5), (-0.5, 0.5)),
        ((np.int64(0), 1), (0.0, 1.0)),
    ],
)
def test_a_limit_is_any_number(system, limit, wanted):
    assert list(ranges(system, 3, {"shift": limit}).values()) == [wanted]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, math.nan])
def test_a_share_is_between_none_and_all(system, scenes, share):
    found = tolerance(system, scenes, {"read_noise": 1.0}, measure=read_noise, devices=2)
    with pytest.raises(ValueError, match="share must be above 0 and below 1"):
        found.promised(share)
    with pytest.raises(ValueError, match="confidence must be above 0 and below 1"):
        found.promised(0.5, confidence=share)
