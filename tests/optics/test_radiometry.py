import math

import pytest
import torch
from scipy import constants
from scipy.integrate import quad

import optics


@pytest.mark.parametrize("pitch", [3.45, 0.7, torch.tensor([1e-6, 3.45])])
def test_a_pitch_in_micrometres_is_refused(pitch):
    with pytest.raises(ValueError, match=r"pixel_pitch must be between 0 and 0\.01, in metres"):
        optics.exposure_photons(1.0, wavelength=550e-9, pixel_pitch=pitch, exposure_time=1e-3)


def test_photons_are_those_of_emva_1288():
    # Release 4.0, eq. 3: 50.34 A[um^2] t[ms] lambda[um] E[uW/cm^2].
    photons = optics.exposure_photons(
        3.0e-2, wavelength=0.55e-6, pixel_pitch=3.45e-6, exposure_time=7e-3
    )
    assert float(photons) == pytest.approx(50.34 * 3.45**2 * 7 * 0.55 * 3.0, rel=1e-4)


def test_a_lux_of_green_light_is_four_thousand_million_million_photons():
    # 1/683 W at 555 nm; 4.09e15 photons/(s m^2), as in data sheets.
    photons = optics.exposure_photons(
        1 / 683, wavelength=555e-9, pixel_pitch=1e-2, exposure_time=1.0
    )
    joules = constants.h * constants.c / 555e-9
    assert float(photons) == pytest.approx(1e-4 / 683 / joules, rel=1e-9)
    assert float(photons) == pytest.approx(1e-4 * 4.09e15, rel=1e-3)


def test_the_exposure_is_that_of_iso_12232():
    # q = pi/4 T v cos^4(10 degrees) = 0.65 with T = 0.9 and 2 % of vignetting; H = q L t / N^2.
    lux = optics.image_irradiance(
        100.0, f_number=4.0, transmittance=0.9 * 0.98, field_angle=math.radians(10)
    )
    assert float(lux) == pytest.approx(0.65 * 100 / 16, rel=5e-3)


def test_the_axis_is_lit_by_the_cone_of_the_pupil():
    # Integral of L cos over the cone whose sine is 1 / 2N (the sine condition): pi L sin^2.
    for f_number in (0.7, 1.4, 8.0):
        rim = math.asin(1 / (2 * f_number))
        cone, _ = quad(lambda a: 2 * math.pi * math.cos(a) * math.sin(a), 0, rim)
        assert float(optics.image_irradiance(1.0, f_number=f_number)) == pytest.approx(cone)


def test_the_edge_of_the_field_falls_off_by_the_fourth_power():
    x = optics.coordinates(41, spacing=0.5e-3)
    angle = torch.atan(torch.hypot(x[:, None], x) / 8e-3)
    light = optics.image_irradiance(2.0, f_number=2.8, field_angle=angle)
    expected = light[20, 20] * (8e-3 / torch.hypot(torch.hypot(x[:, None], x), x.new_tensor(8e-3)))
    torch.testing.assert_close(light / light[20, 20], (expected / light[20, 20]) ** 4)


@pytest.mark.parametrize("focus", [math.inf, 40e-3])
def test_the_f_number_of_a_pupil_is_that_of_its_area_and_image(focus):
    size, diameter, focal_length = 256, 4e-3, 20e-3
    spacing = diameter / (size - 1)

    def pupil(aperture=None):
        return optics.Pupil(
            [], size=size, spacing=spacing, wavelengths=(550e-9,), focal_length=focal_length,
            pixel_pitch=1e-6, psf_size=9, focus=focus, aperture=aperture,
        )  # fmt: skip

    # 1:1 at twice the focal length: N (1 + m) = 2 N.
    working = 5.0 if math.isinf(focus) else 10.0
    assert float(pupil().working_f_number) == pytest.approx(working, rel=5e-3)
    ring = optics.annular_aperture(
        size, outer_diameter=diameter, inner_diameter=diameter / 2, spacing=spacing
    )
    with_stop = pupil(ring).working_f_number
    assert float(with_stop) == pytest.approx(working / math.sqrt(0.75), rel=5e-3)
    assert float(
        optics.image_irradiance(1.0, f_number=5.0, magnification=working / 5 - 1)
    ) == pytest.approx(math.pi / 4 / working**2)


def test_two_stops_are_a_quarter_of_the_electrons():
    def electrons(f_number):
        light = optics.image_irradiance(0.1, f_number=f_number)
        photons = optics.exposure_photons(
            light, wavelength=550e-9, pixel_pitch=3e-6, exposure_time=10e-3
        )
        sensor = optics.Sensor(float(photons), quantum_efficiency=0.5)
        return float(sensor.electrons(torch.ones(1)))

    assert electrons(2.0) == pytest.approx(4 * electrons(4.0))


def test_bands_broadcast_and_every_quantity_can_be_trained():
    bands = torch.tensor([450e-9, 550e-9, 650e-9], dtype=torch.float64)

    def photons(radiance, f_number, transmittance, angle, pitch, time):
        light = optics.image_irradiance(
            radiance, f_number=f_number, transmittance=transmittance, magnification=0.1,
            field_angle=angle,
        )  # fmt: skip
        # Of the order of one, as finite differences need.
        return 1e-3 * optics.exposure_photons(
            light, wavelength=bands, pixel_pitch=1e-6 * pitch, exposure_time=time
        )

    given = [torch.tensor([0.1, 0.2, 0.3]), *map(torch.tensor, (2.8, 0.9, 0.2, 3.0, 0.01))]
    given = [each.double().requires_grad_() for each in given]
    assert photons(*given).shape == (3,)
    assert torch.autograd.gradcheck(photons, given)


def test_single_precision_reaches_the_smallest_pixels():
    light = torch.tensor([1e-6])
    photons = optics.exposure_photons(
        light, wavelength=400e-9, pixel_pitch=0.5e-6, exposure_time=1e-6
    )
    exact = optics.exposure_photons(1e-6, wavelength=400e-9, pixel_pitch=0.5e-6, exposure_time=1e-6)
    assert photons.dtype == torch.float32
    assert float(photons) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(kind):
    light = torch.tensor([0.125, 0.5], dtype=kind)
    exposure = {"wavelength": 550e-9, "pixel_pitch": 2e-6, "exposure_time": 10e-3}
    photons = optics.exposure_photons(light, **exposure)
    assert photons.dtype == torch.float32
    torch.testing.assert_close(photons, optics.exposure_photons(light.float(), **exposure))
    dim = optics.image_irradiance(light, f_number=300.0)  # 1e-6, below what half precision holds
    assert dim.dtype == torch.float32
    torch.testing.assert_close(dim, optics.image_irradiance(light.float(), f_number=300.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radiance": -1.0}, r"radiance must be 0 or more, in W/\(m\^2 sr\); it reaches -1"),
        ({"f_number": 0.0}, "f_number must be positive and finite, in focal length / diameter"),
        ({"transmittance": 92.0}, "transmittance must be between 0 and 1, in fractions"),
        ({"magnification": -0.5}, "magnification must be 0 or more, in image size / object size"),
        ({"field_angle": 20.0}, r"field_angle must be between 0 and 1.5708, in radians"),
    ],
)
def test_impossible_cameras_are_refused(options, message):
    camera = {"radiance": 1.0, "f_number": 4.0} | options
    with pytest.raises(ValueError, match=message):
        optics.image_irradiance(camera.pop("radiance"), **camera)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"irradiance": float("nan")}, r"irradiance must be finite, in W/m\^2"),
        ({"wavelength": torch.tensor([550])}, "wavelength must be real floating point in metres"),
        (
            {"wavelength": 550},
            "wavelength must be in metres, 1e-9 to 1e-2, not 550: 550 nm are 550e",
        ),
        ({"wavelength": 0.55}, "wavelength must be in metres, 1e-9 to 1e-2, not 0.55"),
        ({"wavelength": torch.tensor([5e-7, 5e-10])}, "wavelength must be in metres, 1e-9 to 1e-2"),
        ({"wavelength": 0.0}, "wavelength must be positive and finite, in metres, not 0"),
        ({"pixel_pitch": 0.0}, "pixel_pitch must be positive and finite, in metres"),
        ({"exposure_time": 0.0}, "exposure_time must be positive and finite, in s, not 0"),
    ],
)
def test_impossible_exposures_are_refused(options, message):
    exposure = {
        "irradiance": 1.0, "wavelength": 550e-9, "pixel_pitch": 3e-6, "exposure_time": 1e-3
    } | options  # fmt: skip
    with pytest.raises(ValueError, match=message):
        optics.exposure_photons(exposure.pop("irradiance"), **exposure)
