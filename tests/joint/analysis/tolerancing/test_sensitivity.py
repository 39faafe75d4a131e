import dataclasses
import json
import math

import numpy as np
import pytest
import torch

import classify
import compress
import joint
import optics
from joint.analysis import (
    alignment,
    sensitivity,
    tolerance,
    wavefront_error,
    zernike_error,
)


def _scenes():
    return classify.LesionPhantom(7, 16, progress=False)


def _lens(*elements):
    pupil = optics.Pupil(
        elements, wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=41,
        size=65, spacing=2.5e-3 / 64,
    )  # fmt: skip
    front = optics.IncoherentImaging(pupil.double(), spectral_response=torch.ones(3, 1).double())
    return joint.ImagingSystem(front_end=front, sensor=optics.Sensor(500), encoding="linear")


def peak(system):
    front = system.front_end
    return float(front.pupil()[0, 20, 20])


def test_each_term_by_itself_at_both_limits_the_worst_first():
    system = _lens()
    nominal = peak(system)
    limits = {"defocus": (-0.25, 0.5), zernike_error(5): 0.03, "tilt_x": 1.0}
    found = sensitivity(system, _scenes(), limits, measure=peak)
    assert (found.measure, found.more_is_better, found.nominal) == ("peak", True, nominal)
    assert [row.name for row in found.rows] == ["defocus", "zernike_5", "tilt_x"]
    defocus, term, tilt = found.rows
    assert (defocus.low, defocus.high, defocus.unit) == (-0.25, 0.5, "waves")
    assert defocus.change_low == pytest.approx(nominal * (np.sinc(0.25) ** 2 - 1), rel=0.02)
    assert defocus.change_high == pytest.approx(nominal * (np.sinc(0.5) ** 2 - 1), rel=0.02)
    assert (term.low, term.high) == (-0.03, 0.03)
    for change in (term.change_low, term.change_high):
        assert change == pytest.approx(nominal * np.expm1(-((2 * np.pi * 0.03) ** 2)), rel=0.03)
    assert (tilt.change_low, tilt.change_high) == (0, 0)  # on the axis


def test_the_order_is_by_what_is_lost():
    system = joint.ImagingSystem(sensor=optics.Sensor(500, read_noise=3.0))

    def both(made):
        shift = 0.0 if made.front_end is None else made.front_end.shifts[0]
        return made.sensor.read_noise - 2 * abs(shift)

    limits = {"read_noise": (2.0, 9.0), "shift": 1.0}
    found = sensitivity(system, _scenes(), limits, measure=both)
    assert [row.name for row in found.rows] == ["shift", "read_noise"]
    assert [row[-2:] for row in found.rows] == [(-2.0, -2.0), (-1.0, 6.0)]
    less = sensitivity(system, _scenes(), limits, measure=both, more_is_better=False)
    assert [row.name for row in less.rows] == ["read_noise", "shift"]


def test_random_directions_are_a_mean_over_devices():
    system = _lens()
    seen = []

    def note(made):
        seen.append(peak(made))
        return seen[-1]

    limits = {wavefront_error([4, 5, 11]): (0.0, 0.08)}
    found = sensitivity(system, _scenes(), limits, measure=note, devices=5)
    nominal, *devices = seen
    assert len(set(devices)) == len(devices) == 5
    row = found.rows[0]
    assert (row.change_low, row.change_high) == (0, pytest.approx(np.mean(devices) - nominal))
    fixed = sensitivity(
        system, _scenes(), {wavefront_error([4, 5, 11]): 0.08}, measure=peak, devices=5
    )
    assert fixed.rows[0].change_low == fixed.rows[0].change_high == pytest.approx(row.change_high)


def test_what_is_focused_anew_costs_nothing():
    system = _lens()
    limits = {"defocus": 0.3, zernike_error(6): 0.05}
    fixed, moved = (
        sensitivity(system, _scenes(), limits, measure=peak, refocus=r) for r in (0.0, 0.5)
    )
    assert [row.name for row in fixed.rows] == ["defocus", "zernike_6"]
    assert [row.name for row in moved.rows] == ["zernike_6", "defocus"]
    assert moved.rows[1].change_low == pytest.approx(0, abs=1e-5 * fixed.nominal)
    # Astigmatism has its best focus in the middle of its two lines.
    assert moved.rows[0].change_low == pytest.approx(fixed.rows[1].change_low, rel=1e-3)


def test_pictures_are_measured_in_the_light_of_the_level():
    system = joint.ImagingSystem(sensor=optics.Sensor(500), codec=compress.JPEG(90))
    found = sensitivity(system, _scenes(), {"photons": (50.0, 500.0)})
    assert found.measure == "psnr"
    dim, bright = (joint.evaluate(system, _scenes(), photons=p).psnr for p in (50.0, None))
    row = found.rows[0]
    assert (row.change_low, row.change_high) == (pytest.approx(dim - bright), 0)


def test_a_light_is_judged_against_the_same_light():
    # A sensor that draws the light of each picture has a mean one: at it nothing is changed.
    sensor = optics.Sensor(2000, photon_range=(200.0, 8000.0))
    system = joint.ImagingSystem(sensor=sensor)
    mean, scenes = sensor.mean_photons, _scenes()
    limits = {"photons": (0.9 * mean, mean), "read_noise": (50.0, 50.0)}
    found = sensitivity(system, scenes, limits, measure="psnr_scene")
    assert found.nominal == joint.evaluate(system, scenes, photons=mean).psnr_scene
    light, noise = (next(r for r in found.rows if r.name == name) for name in limits)
    assert light.change_low < 0
    assert light.change_high == 0
    off, other = (
        tolerance(system, scenes, {name: limits[name]}, measure="psnr_scene", devices=2)
        for name in limits
    )
    assert off.nominal == found.nominal
    built = tolerance(
        system, scenes, {"photons": (mean, mean), "read_noise": (50.0, 50.0)},
        measure="psnr_scene", devices=2,
    )  # fmt: skip
    assert built.values[0] == pytest.approx(found.nominal + noise.change_low)
    # Of other imperfections alone, the light is the sensor's own.
    assert other.nominal == joint.evaluate(system, scenes).psnr_scene


def test_each_element_has_a_row_and_a_group_one_of_its_own():
    # Of two opposite plates, moving both changes nothing, and moving one much.
    grid = {"spacing": 2.5e-3 / 64, "diameter": 2.5e-3, "design_wavelength": 550e-9}
    pair = [optics.CubicMask(65, alpha=alpha, **grid) for alpha in (0.7, -0.7)]
    system = _lens(*pair)
    limits = {"decentre": 0.02, alignment("decentre"): 0.02, alignment("rotation", (0, 1)): 20.0}
    found = sensitivity(system, _scenes(), limits, measure=peak)
    rows = {row.name: row for row in found.rows}
    assert {*rows} == {"decentre.0", "decentre.1", "decentre.all", "rotation.0+1"}
    for name in ("decentre.all", "rotation.0+1"):
        assert rows[name].change_high == pytest.approx(0, abs=1e-6 * found.nominal)
    for name in ("decentre.0", "decentre.1"):
        assert rows[name].change_high < -0.01 * found.nominal
    alone = sensitivity(_lens(pair[0]), _scenes(), {"decentre": 0.02}, measure=peak)
    assert [row.name for row in alone.rows] == ["decentre"]


def test_the_table_is_printed_and_json():
    system = _lens()
    found = sensitivity(system, _scenes(), {zernike_error(11): 0.05}, measure=peak)
    text = str(found)
    assert "peak of the design" in text
    assert text.splitlines()[0].endswith("change: at the limit less that of the design, - is worse")
    assert "design, + is worse" in str(dataclasses.replace(found, more_is_better=False))
    assert "zernike_11" in text
    assert "waves RMS" in text
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["rows"][0]["change_high"] == found.rows[0].change_high


def test_what_cannot_be_measured_is_refused():
    system = _lens()
    for devices in (0, 1.5):
        with pytest.raises(ValueError, match=f"devices must be .* at least 1, not {devices}"):
            sensitivity(system, _scenes(), {"defocus": 1.0}, devices=devices)
    with pytest.raises(ValueError, match="no decentre: it needs a pupil with an element"):
        sensitivity(system, _scenes(), {"decentre": 1.0})
    with pytest.raises(ValueError, match="is not a finite number at all limits"):
        sensitivity(system, _scenes(), {"defocus": 1.0}, measure=lambda made: float("nan"))

    def lost(made):  # the design alone is known
        return 1.0 if made is system else math.nan

    with pytest.raises(ValueError, match="is not a finite number at all limits"):
        sensitivity(system, _scenes(), {"defocus": 1.0}, measure=lost)
    with pytest.raises(ValueError, match="is not a finite number at all limits"):
        sensitivity(system, _scenes(), {"defocus": (0.0, 1.0)}, measure=lost)
