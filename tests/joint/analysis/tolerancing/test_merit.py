import math

import pytest
import torch

import classify
import compress
import joint
import optics
from joint.analysis.tolerancing.merit import merit_of
from joint.analysis.tolerancing.perturbation import perturbed
from joint.analysis.tolerancing.wavefront import zernike_error


def _scenes():
    return classify.LesionPhantom(7, 16, encoding="linear", progress=False)


def _lens():
    pupil = optics.Pupil(
        [], wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=15, size=65,
        spacing=2.5e-3 / 64,
    )  # fmt: skip
    front = optics.IncoherentImaging(pupil.double(), spectral_response=torch.ones(3, 1).double())
    return joint.ImagingSystem(front_end=front, encoding="linear")


def _camera():
    return joint.ImagingSystem(
        front_end=_lens().front_end, codec=compress.JPEG(95), encoding="linear"
    )


def _changed(system, *changes):
    for name, level in changes:
        system = perturbed(system, name, level, channels=3, generator=torch.Generator())
    return system


def peak(system):
    return float(system.front_end.pupil()[0, 7, 7])


def _merit(system, measure=peak, *, more_is_better=None, refocus=0.0):
    return merit_of(
        system, _scenes(), measure, more_is_better=more_is_better, refocus=refocus,
        batch_size=64, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("waves", [0.37, -0.9, 0.0, 1.4])
def test_a_device_out_of_focus_is_focused_again(waves):
    system = _lens()
    found = _merit(system, refocus=1.5).of(_changed(system, ("defocus", waves)))
    assert found.refocus == pytest.approx(-waves, abs=2e-3)
    assert found.value == pytest.approx(peak(system), rel=1e-5)


@pytest.mark.parametrize("waves", [1.9, -1.9])
def test_the_best_focus_is_found_beyond_others_that_are_less_good(waves):
    # The light on the axis, sinc^2 of the waves, rises again beyond every whole number of them.
    system = _lens()
    found = _merit(system, refocus=4.0).of(_changed(system, ("defocus", waves)))
    assert found.refocus == pytest.approx(-waves, abs=2e-3)
    assert found.value == pytest.approx(peak(system), rel=1e-5)


def test_no_further_than_it_can_be_moved_and_never_worse():
    system = _lens()
    device = _changed(system, ("defocus", 0.8))
    found = _merit(system, refocus=0.5).of(device)
    assert found.refocus == pytest.approx(-0.5, abs=2e-3)
    assert found.value == pytest.approx(peak(_changed(system, ("defocus", 0.3))), rel=1e-2)
    odd = _merit(system, lambda made: float(made is device), refocus=0.5).of(device)
    assert odd == (1.0, 0.0)


def test_spherical_aberration_is_best_where_it_has_the_least_variance():
    # Noll 11 has no defocus in it, seven rays' worth of r^4 alone: 6 sqrt(5) r^4 is best focused
    # with -6 sqrt(5) r^2 (Born and Wolf, sec. 9.2.2), which Noll's term holds already.
    system = _lens()
    level = 0.08
    noll = _changed(system, (zernike_error(11), level))
    alone = _changed(noll, ("defocus", -6 * math.sqrt(5) * level))
    found = _merit(system, refocus=2.0).of(alone)
    assert found.refocus == pytest.approx(6 * math.sqrt(5) * level, abs=0.03)
    assert found.value == pytest.approx(peak(noll), rel=2e-3)


def test_where_less_is_better_the_least_is_found():
    system = _lens()
    device = _changed(system, ("defocus", 0.4))
    blur = _merit(system, lambda made: -peak(made), more_is_better=False, refocus=0.5).of(device)
    assert blur.refocus == pytest.approx(-0.4, abs=2e-3)


def test_through_what_lies_around_the_front_end():
    system = _lens()
    device = _changed(system, ("defocus", 0.4), ("tilt_x", 1.0), ("shift", 1.0))
    found = _merit(system, refocus=0.5).of(device)
    assert found.refocus == pytest.approx(-0.4, abs=2e-3)


def test_without_a_range_it_is_measured_once():
    seen = []
    system = _lens()

    def note(made):
        seen.append(made)
        return 2.0

    merit = _merit(system, note)
    assert merit.of(system) == (2.0, 0.0)
    assert seen == [system]
    assert (merit.name, merit.more_is_better) == ("note", True)


def test_a_number_of_the_evaluation_is_best_where_it_is_best():
    # PSNR is that of the codec, for which a picture out of focus is the better one.
    system = _camera()
    merit = _merit(system, None, refocus=0.75)
    assert (merit.name, merit.more_is_better) == ("psnr", True)
    device = _changed(system, ("defocus", 0.4))
    found = merit.of(device)
    tried = {w: merit.measure(_changed(device, ("defocus", w)), None) for w in (-0.4, 0.2, 0.75)}
    assert found.value > merit.measure(device, None) + 0.1
    assert found.value >= max(tried.values())
    assert found.value == merit.measure(_changed(device, ("defocus", found.refocus)), None)


def test_a_function_sees_the_light_of_the_device():
    system = joint.ImagingSystem(sensor=optics.Sensor(500))
    merit = _merit(system, lambda made: made.sensor.photons)
    assert merit.of(system, photons=20.0).value == 20
    assert merit.of(system).value == system.sensor.photons == 500


@pytest.mark.parametrize("refocus", [-0.1, math.inf, math.nan])
def test_a_range_of_focus_is_a_number_of_a_pupil(refocus):
    with pytest.raises(ValueError, match="refocus must be 0 or more, in waves at the rim, not"):
        _merit(_lens(), refocus=refocus)
    with pytest.raises(ValueError, match="refocus needs a front end with a pupil"):
        _merit(joint.ImagingSystem(sensor=optics.Sensor(100)), refocus=0.5)


def test_a_measure_that_nobody_gave_is_not_held_against_one():
    front = optics.LearnedKernel(optics.kernel_start("gabor", 7))
    system = joint.ImagingSystem(front_end=front, sensor=optics.Sensor(100), encoding="linear")
    with pytest.raises(ValueError, match="give a measure: by default it is psnr_scene, which this"):
        _merit(system, None).of(system)


def test_a_bare_camera_is_judged_by_how_its_pictures_are_like_the_scene():
    system = _lens()
    merit = _merit(system, None, refocus=1.0)
    assert (merit.name, merit.more_is_better) == ("psnr_scene", True)
    assert merit.of(system).value >= joint.evaluate(system, _scenes()).psnr_scene
    found = merit.of(_changed(system, ("defocus", 0.6)))
    assert found.refocus == pytest.approx(-0.6, abs=0.05)
