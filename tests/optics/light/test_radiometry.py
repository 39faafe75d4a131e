import math

import numpy as np
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


def _middles(first, last, step=1.0):
    """Middles of bands that fill a range given in nm, metres."""
    nm = torch.arange(first + step / 2, last, step, dtype=torch.float64)
    return 1e-9 * nm


def _photons_of_a_lux(spectrum, wavelength):
    """On a square micrometre in a second."""
    light = optics.band_irradiance(1.0, spectrum, wavelength=wavelength)
    photons = optics.exposure_photons(
        light, wavelength=wavelength, pixel_pitch=1e-6, exposure_time=1.0
    )
    return float(photons.sum())


def test_the_efficiency_of_the_eye_is_that_of_the_cie():
    # The table of every nm, between the rows of the one of every 5 nm, and its sum.
    for nm, seen in ((498, 0.29505), (533, 0.895494), (555, 1.0), (589, 0.769155), (650, 0.107)):
        assert float(optics.luminous_efficiency(nm * 1e-9)) == pytest.approx(seen, abs=2.3e-3)
    every = 1e-9 * torch.arange(360, 831, dtype=torch.float64)
    found = optics.luminous_efficiency(every)
    assert float(found.sum()) == pytest.approx(106.857, abs=1e-3)
    assert float(found.max()) == pytest.approx(1) == float(found[555 - 360])
    dark = optics.luminous_efficiency(torch.tensor([300e-9, 374e-9, 786e-9, 1e-5]))
    assert dark.tolist() == [0, 0, 0, 0]


def test_a_black_body_is_that_of_stefan_and_of_wien():
    light = torch.logspace(-7, -2, 20001, dtype=torch.float64)
    for kelvin in (300.0, 2856.0, 5500.0):
        found = optics.blackbody(light, temperature=kelvin)
        power = math.pi * float(torch.trapezoid(found, light))
        assert power == pytest.approx(constants.Stefan_Boltzmann * kelvin**4, rel=1e-4)
        assert float(light[found.argmax()]) == pytest.approx(constants.Wien / kelvin, rel=1e-3)
    # The CIE's illuminant A, relative to 560 nm (CIE 15:2004, table T.1).
    parts = optics.blackbody(torch.tensor([400e-9, 560e-9, 700e-9]), temperature=2856.0)
    np.testing.assert_allclose(parts / parts[1], [0.14708, 1, 1.98261], rtol=1e-3)
    # X-rays of a room: none, and no inf / inf.
    cold = torch.tensor([1e-9], requires_grad=True)
    (slope,) = torch.autograd.grad(optics.blackbody(cold, temperature=300.0).sum(), cold)
    assert slope == 0


def test_a_lux_of_white_light_is_more_photons_than_of_green():
    green = torch.tensor([555e-9], dtype=torch.float64)
    assert _photons_of_a_lux(torch.ones(1), green) == pytest.approx(4090, rel=1e-3)
    for step in (1.0, 10.0):
        light = _middles(400, 700, step)
        for kelvin, known in ((5500.0, 10_900), (2856.0, 12_000)):
            lamp = optics.blackbody(light, temperature=kelvin)
            assert _photons_of_a_lux(lamp, light) == pytest.approx(known, rel=3e-3)
    # Its scale does not matter, and the lux are what they were.
    watts = optics.band_irradiance(1000.0, 7 * lamp, wavelength=light)
    torch.testing.assert_close(watts, 1000 * optics.band_irradiance(1.0, lamp, wavelength=light))
    lux = 683 * (watts * optics.luminous_efficiency(light)).sum()
    assert float(lux) == pytest.approx(1000)


def test_a_table_is_read_between_its_rows_and_not_beyond_them():
    known = 1e-9 * torch.tensor([400.0, 500, 520, 700], dtype=torch.float64)
    table = torch.tensor([[0.0, 0.5, 0.6, 0.2], [1.0, 1, 1, 0]], dtype=torch.float64)
    at = torch.tensor([400e-9, 450e-9, 515e-9, 520e-9, 610e-9, 700e-9])  # in single precision
    found = optics.interpolate_spectrum(table, known, at=at)
    expected = [np.interp(at, known, row) for row in table]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    one = optics.interpolate_spectrum(table[0], known, at=450e-9)
    assert one.shape == ()
    assert float(one) == pytest.approx(0.25)
    for beyond in (399e-9, 701e-9):
        with pytest.raises(ValueError, match="but the table only from 400 to 700 nm: give fewer"):
            optics.interpolate_spectrum(table, known, at=beyond)


def test_photons_and_a_curve_of_efficiencies_are_the_electrons_of_each_channel():
    light = _middles(400, 700, 10)
    known = 1e-9 * torch.tensor([400.0, 550, 700], dtype=torch.float64)
    curve = torch.tensor([[0.1, 0.2, 0.6], [0.2, 0.7, 0.1], [0.5, 0.1, 0.05]], dtype=torch.float64)
    lamp = optics.blackbody(light, temperature=5500.0)
    watts = optics.band_irradiance(2.0, lamp, wavelength=light)
    photons = optics.exposure_photons(watts, wavelength=light, pixel_pitch=3e-6, exposure_time=5e-3)
    efficiency = optics.interpolate_spectrum(curve, known, at=light)
    mean = (efficiency * photons).sum(-1) / photons.sum()
    sensor = optics.Sensor(float(photons.sum()), quantum_efficiency=mean)
    electrons = sensor.electrons(torch.ones(1, 3, 1, 1)).flatten()
    for channel in range(3):
        by_hand = sum(
            p * np.interp(float(w), known, curve[channel])
            for p, w in zip(photons.tolist(), light, strict=True)
        )
        assert float(electrons[channel]) == pytest.approx(by_hand, rel=1e-5)


def test_lamp_and_table_can_be_trained():
    def seen(nm, temperature, illuminance, values):
        light = 1e-9 * nm
        lamp = optics.blackbody(light, temperature=1e3 * temperature)
        known = 1e-9 * torch.tensor([400.0, 555, 700], dtype=torch.float64)
        passed = optics.interpolate_spectrum(values, known, at=light)
        return 100 * passed * optics.band_irradiance(illuminance, lamp, wavelength=light)

    numbers = [430.0, 470, 510, 551, 590, 630, 670], 3.0, [1.0, 20.0], [0.2, 0.9, 0.4]
    given = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in numbers]
    assert seen(*given).shape == (2, 7)
    # Between the rows of the eye's table, at which the slope steps.
    given[0] = (given[0].detach() + 2).requires_grad_()
    assert torch.autograd.gradcheck(seen, given)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_spectra_are_computed_in_single(kind):
    light = torch.tensor([450e-9, 550e-9, 650e-9])
    spectrum = torch.tensor([300.0, 1, 2], dtype=kind)
    found = optics.band_irradiance(1.0, spectrum, wavelength=light)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, optics.band_irradiance(1.0, spectrum.float(), wavelength=light)
    )
    assert optics.interpolate_spectrum(spectrum, light, at=500e-9).dtype == torch.float32


_LIGHT = torch.tensor([450e-9, 550e-9])


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("luminous_efficiency", {"wavelength": 555}, "1e-9 to 1e-2, not 555: 550 nm are 550e-9"),
        ("blackbody", {"wavelength": 555e-9, "temperature": 0.0}, "temperature must be positive"),
        ("blackbody", {"wavelength": 555.0, "temperature": 5e3}, "wavelength must be in metres"),
        ("band_irradiance", {"illuminance": -1.0}, "illuminance must be 0 or more, in lux"),
        ("band_irradiance", {"spectrum": -_LIGHT}, "spectrum must be 0 or more"),
        (
            "band_irradiance",
            {"spectrum": torch.ones(3)},
            r"must be \[..., L\] and wavelength \[L\]",
        ),
        ("band_irradiance", {"spectrum": torch.zeros(2)}, "no visible light"),
        ("band_irradiance", {"wavelength": 1e9 * _LIGHT}, "wavelength must be in metres"),
        (
            "band_irradiance",
            {"wavelength": _LIGHT + 400e-9},
            "so that lux do not determine its power: give",
        ),
        ("interpolate_spectrum", {"values": torch.ones(3)}, r"must be \[..., N\] and wavelength"),
        ("interpolate_spectrum", {"values": torch.tensor([1, math.nan])}, "values must be finite"),
        ("interpolate_spectrum", {"wavelength": _LIGHT.flip(0)}, "must increase from row to row"),
        ("interpolate_spectrum", {"at": 500.0}, "at must be in metres"),
        (
            "interpolate_spectrum",
            {"values": torch.ones(1), "wavelength": _LIGHT[:1]},
            "of two rows or more",
        ),
    ],
)
def test_impossible_light_is_refused(function, options, message):
    known = {
        "band_irradiance": {"illuminance": 1.0, "spectrum": torch.ones(2), "wavelength": _LIGHT},
        "interpolate_spectrum": {"values": torch.ones(2), "wavelength": _LIGHT, "at": 500e-9},
    }
    with pytest.raises(ValueError, match=message):
        getattr(optics, function)(**known.get(function, {}) | options)


def test_what_is_no_tensor_is_told():
    with pytest.raises(TypeError, match="spectrum must be a Tensor, not list"):
        optics.band_irradiance(1.0, [1.0, 2.0], wavelength=_LIGHT)
    with pytest.raises(TypeError, match="values must be a Tensor, not ndarray"):
        optics.interpolate_spectrum(np.ones(2), _LIGHT, at=500e-9)


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
