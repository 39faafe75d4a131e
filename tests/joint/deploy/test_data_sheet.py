import json
import math
from dataclasses import replace

import pytest
import torch

import classify
import compress
import joint
import optics
from joint.deploy.data_sheet import data_sheet


def _lens(**options):
    pupil = optics.Pupil(
        [],
        size=64,
        spacing=1e-4,
        wavelengths=(620e-9, 550e-9, 460e-9),
        focal_length=0.05,
        pixel_pitch=5e-6,
        psf_size=15,
        oversample=3,
        focus=0.5,
    )
    return optics.IncoherentImaging(pupil, **options)


def _system(**stages):
    given = {
        "front_end": _lens(),
        "sensor": optics.Sensor(2000, bit_depth=10, black_level=20),
        "codec": compress.JPEG(50),
        "classifier": classify.backbone("resnet_s", 7, image_size=32),
    }
    return joint.ImagingSystem(**(given | stages))


def test_the_parts_are_those_of_lens_and_sensor():
    system = _system()
    sheet = data_sheet(system, image_size=(24, 32))
    assert sheet.scene == (3, 24, 32)
    assert sheet.shapes == dict.fromkeys(("irradiance", "raw", "picture"), (3, 24, 32))
    assert (sheet.values, sheet.bits) == (3 * 24 * 32, 10 * 3 * 24 * 32)
    assert system.front_end is not None
    assert system.sensor is not None
    assert sheet.lens is not None
    expected = optics.lens_performance(system.front_end, picture=(24, 32))
    assert sheet.throughput == pytest.approx(float(system.front_end.throughput()))
    assert sheet.lens.to_dict() == expected.to_dict()
    assert str(sheet.sensor) == str(optics.photon_transfer(system.sensor))
    # Half a metre away through 50 mm: nine times as large as the picture on the sensor.
    assert sheet.field_of_view == pytest.approx((24 * 45e-6, 32 * 45e-6))
    assert "field       1.08 x 1.44 mm, in focus" in str(sheet)
    assert str(system) in str(sheet)


def test_signal_to_noise_is_that_of_what_is_read():
    sensor = optics.Sensor(2000, bit_depth=10, black_level=20, read_noise=6.0)
    (light,) = data_sheet(_system(sensor=sensor), image_size=32).light
    generator = torch.Generator().manual_seed(0)
    for level, (found,) in ((0.5, light.half), (0.18, light.grey)):
        read = sensor(torch.full((1, 1, 400, 400), level), generator=generator).double()
        assert found == pytest.approx(20 * math.log10(read.mean() / read.std()), abs=0.1)


def test_of_a_range_the_ends_are_told_with_the_gain_that_follows():
    sensor = optics.Sensor(1000, photon_range=(100, 10_000), read_noise=0.0, bit_depth=None)
    sheet = data_sheet(_system(sensor=sensor), image_size=32)
    assert [light.photons for light in sheet.light] == [100, 1000, 10_000]
    # Shot noise alone: sqrt of the electrons at half the light.
    for light in sheet.light:
        expected = 10 * math.log10(0.5 * 0.6 * light.photons)
        assert light.half[0] == pytest.approx(expected, abs=0.3)
    assert "in 100         photons/pixel: SNR" in str(sheet)


def test_a_mosaic_reads_one_value_a_pixel_and_each_colour_has_a_noise():
    sensor = optics.Sensor(2000, cfa="rggb", quantum_efficiency=(0.4, 0.6, 0.3))
    sheet = data_sheet(_system(sensor=sensor), image_size=32)
    assert sheet.values == 32 * 32
    red, green, blue = sheet.light[0].grey
    assert blue < red < green


@pytest.mark.parametrize("demosaicing", ["malvar", "packed"])
def test_the_mosaic_of_a_sensor_is_named(demosaicing):
    bare = {"front_end": None, "codec": None, "classifier": None}
    sensor = optics.Sensor(2000, cfa="grbg", demosaicing=demosaicing)
    sheet = data_sheet(_system(sensor=sensor, **bare), image_size=32)
    assert f"  mosaic       gr/bg, channels='rgb', method='{demosaicing}'" in str(sheet)
    assert "mosaic" not in str(data_sheet(_system(sensor=optics.Sensor(), **bare), image_size=32))


def test_the_noise_of_a_colour_matrix_is_named_beside_the_ratios_that_are_without_it():
    bare = {"front_end": None, "codec": None, "classifier": None}
    matrix = torch.tensor([[2.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -0.6, 1.6]])
    plain, corrected = (
        data_sheet(_system(sensor=optics.Sensor(2000, colour_matrix=each), **bare), image_size=32)
        for each in (None, matrix)
    )
    assert "  matrix       noise times 2.24, 1, 1.71, which the SNR below is" in str(corrected)
    assert "noise times" not in str(plain)
    assert corrected.light == plain.light


def test_a_saturated_pixel_has_no_ratio():
    sensor = optics.Sensor(4000, gain=1.0)  # 1200 electrons at half, and 1023 codes
    sheet = data_sheet(_system(sensor=sensor), image_size=32)
    assert "photons/pixel: SNR none (saturated) at half of it, 26.3 dB at 0.18" in str(sheet)
    assert sheet.to_dict()["light"][0]["half"] == [None]
    several = optics.Sensor(4000, gain=1.0, quantum_efficiency=(0.6, 0.3, 0.2))
    told = str(data_sheet(_system(sensor=several), image_size=32))
    assert "SNR none, 27.8, 26.0 dB at half of it" in told
    # Of a well that is full there, no more than the largest of the same sheet.
    with pytest.warns(UserWarning, match="full_well=3000: pixels saturate at irradiance 0.5"):
        well = optics.Sensor(10_000, full_well=3000)
    full = data_sheet(_system(sensor=well), image_size=32)
    assert "largest SNR    34.8 dB" in str(full)
    assert "SNR 34.8 dB at half of it" in str(full)


def test_where_the_simulation_is_not_to_be_trusted():
    sheet = data_sheet(_system(), image_size=32)
    assert sheet.problems == tuple(optics.audit_sampling(_lens()).problems())
    assert sheet.problems  # Q is below 2
    assert f"caution: {sheet.problems[0]}" in str(sheet)


def test_a_system_without_a_camera_and_one_whose_element_has_no_pupil():
    bare = data_sheet(_system(front_end=None, sensor=None), image_size=32)
    assert (bare.lens, bare.sensor, bare.throughput, bare.values, bare.light) == (None,) * 4 + ((),)
    assert bare.shapes == {"picture": (3, 32, 32)}
    kernel = data_sheet(_system(front_end=optics.LearnedKernel("laplacian", 5)), image_size=32)
    assert kernel.lens is None
    assert kernel.shapes["raw"] == (6, 32, 32)  # two exposures
    assert kernel.shapes["picture"] == (3, 32, 32)
    infinite = optics.IncoherentImaging(torch.full((3, 1, 1), 1.0))
    assert data_sheet(_system(front_end=infinite), image_size=32).field_of_view is None


def test_the_contrast_of_a_fixed_psf_is_that_of_its_transform():
    source = torch.Generator().manual_seed(0)
    psf = torch.rand(2, 16, 24, generator=source, dtype=torch.float64)
    psf *= 0.7 / psf.sum((-2, -1), keepdim=True)
    given = optics.IncoherentImaging(psf)
    sheet = data_sheet(joint.ImagingSystem(front_end=given), image_size=32, channels=2)
    assert sheet.lens is None
    assert sheet.psf_mtf is not None
    mtf = optics.mtf(psf)  # its samples have 1/8, 1/4 and, as -1/2, 1/2
    torch.testing.assert_close(sheet.psf_mtf[..., 0], mtf[:, [10, 12, 0], 12])
    torch.testing.assert_close(sheet.psf_mtf[..., 1], mtf[:, 8, [15, 18, 0]])
    last = str(sheet).splitlines()[-1]
    assert last.startswith(f"1        {mtf[1, 10, 12]:.3f} y {mtf[1, 8, 15]:.3f} x  ")
    told = json.loads(json.dumps(sheet.to_dict(), allow_nan=False))
    assert told["psf_mtf"] == sheet.psf_mtf.tolist()
    # One for all channels has one row; a lens, and a kernel, which is trained, have none.
    one = data_sheet(_system(front_end=optics.IncoherentImaging(psf[0])), image_size=32)
    assert sum(line.startswith("all ") for line in str(one).splitlines()) == 1
    for other in (_lens(), optics.LearnedKernel("identity", 5), None):
        assert data_sheet(_system(front_end=other), image_size=32).psf_mtf is None


def test_the_contrast_of_the_psfs_of_places_is_that_of_each():
    psfs = torch.rand(1, 3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    psfs /= psfs.sum((-2, -1), keepdim=True)
    psfs[0, 2, 1] = 0
    camera = optics.VaryingImaging(psfs, rank=3)
    sheet = data_sheet(joint.ImagingSystem(front_end=camera), image_size=32)
    corner = optics.IncoherentImaging(psfs[0, 1])
    alone = data_sheet(joint.ImagingSystem(front_end=corner), image_size=32)
    assert sheet.psf_mtf is not None
    assert sheet.psf_mtf.shape == (1, 3, 3, 3, 2)
    torch.testing.assert_close(sheet.psf_mtf[0, 1], alone.psf_mtf)
    rows = str(sheet).splitlines()[-6:]
    assert [row[:4] for row in rows] == ["0, 1"] * 3 + ["0, 2"] * 3
    assert rows[4].split()[3:] == ["none"] * 3  # a dark channel
    assert sheet.to_dict()["psf_mtf"][0][2][1] == [[None, None]] * 3


def test_the_angle_of_the_corner_says_what_is_seen():
    wide = _lens(projection=optics.Projection(half_field=0.5))
    sheet = data_sheet(_system(front_end=wide), image_size=(24, 32))
    corner = 0.5 * math.tan(0.5)  # metres, half a metre away
    assert sheet.field_of_view == pytest.approx((corner * 2 * 0.6, corner * 2 * 0.8))
    # The angle is that at the entrance pupil.
    behind = replace(sheet, lens=replace(sheet.lens, entrance_pupil=0.1))
    assert behind.field_of_view == pytest.approx((corner * 2 * 0.72, corner * 2 * 0.96))
    (told,) = (problem for problem in sheet.problems if "half_field" in problem)
    assert "30.4 mm from the axis, and by 24 x 32 pixels of 5 um 0.1 mm" in told
    assert sheet.lens is not None
    angle = math.atan(5e-6 * math.hypot(24, 32) / 2 / sheet.lens.image_distance)
    same = _lens(projection=optics.Projection(half_field=angle))
    agreed = data_sheet(_system(front_end=same), image_size=(24, 32))
    assert agreed.field_of_view == pytest.approx((24 * 45e-6, 32 * 45e-6))
    assert not any("half_field" in problem for problem in agreed.problems)


def test_a_sensor_without_noise_has_no_ratio():
    sensor = optics.Sensor(2000, shot_noise="none", read_noise=0.0, bit_depth=None)
    told = data_sheet(_system(sensor=sensor), image_size=32).to_dict()
    assert told["sensor"]["dynamic_range"] == [None]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("without", ["sensor", "front_end", None])
def test_it_is_json(without):
    stages = {} if without is None else {without: None}
    sheet = data_sheet(_system(**stages), image_size=32)
    told = json.loads(json.dumps(sheet.to_dict(), allow_nan=False))
    assert told["scene"] == [3, 32, 32]
    assert (told["lens"] is None) == (without == "front_end")
    assert (told["sensor"] is None) == (without == "sensor")


def test_the_system_is_left_as_it_is():
    system = _system().train()
    state = {name: value.clone() for name, value in system.state_dict().items()}
    data_sheet(system, image_size=32)
    assert system.training
    for name, value in system.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(TypeError, match=r"must be a joint\.ImagingSystem"):
        data_sheet(torch.nn.Linear(2, 2), image_size=32)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="image_size"):
        data_sheet(_system(), image_size=0)
    with pytest.raises(ValueError, match=r"takes scenes \[B, 3, H, W\]"):
        data_sheet(_system(), image_size=32, channels=5)


def test_the_best_focus_is_that_through_focus():
    front = _lens()
    sheet = data_sheet(_system(front_end=front), image_size=(24, 32))
    assert sheet.through_focus is not None
    expected = optics.through_focus(front, picture=(24, 32))
    assert str(expected) in str(sheet)
    told = sheet.to_dict()["through_focus"]
    assert told == {
        name: expected.to_dict()[name]
        for name in ("frequency", "best_focus", "polychromatic_focus")
    }
    kernel = data_sheet(_system(front_end=optics.LearnedKernel("laplacian", 5)), image_size=32)
    assert kernel.through_focus is None
    assert kernel.to_dict()["through_focus"] is None
