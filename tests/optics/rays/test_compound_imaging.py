"""The camera of a lens whose surfaces are trained."""

import math
import warnings

import lenses
import pytest
import torch

import optics
from optics.rays.compound_imaging import _fields_of

_LIGHT = (480e-9, 550e-9, 650e-9)


def _pupil(lens=None, **options):
    """Of pixels of 0.9 mm, which put the corner of the picture at 20 degrees."""
    lens = optics.CompoundLens(lenses.mounted(), wavelength=550e-9) if lens is None else lens
    given = {
        "size": 32, "spacing": 10e-3 / 31, "diameter": 10e-3, "wavelengths": _LIGHT, "places": 3,
        "picture": (24, 32), "pixel_pitch": 0.9e-3,
    }  # fmt: skip
    return optics.CompoundPupil(**{"lens": lens} | given | options)


def test_its_wavefronts_are_those_of_the_lens_turned_to_the_places():
    element = _pupil()
    light = torch.tensor(_LIGHT, dtype=torch.float64)
    found = element.coefficients(light)
    assert found.shape == (3, 3, 3, 28)
    assert element.heights[-1] == pytest.approx(0.9e-3 * 20)
    table = optics.lens_wavefronts(
        lenses.mounted(),
        fields=element.fields,
        wavelengths=_LIGHT,
        indices=range(1, 29),
        reference=1,
    )
    wanted = optics.field_coefficients(
        table.coefficients, element.heights, places=3, size=(24, 32), indices=table.indices
    )
    # Another number of rings sees the edges of the rims at another place.
    torch.testing.assert_close(found.detach()[1, 1], wanted[1, 1], rtol=0, atol=1e-3 * 550e-9)
    inner = _pupil(optics.CompoundLens(lenses.cooke(), wavelength=550e-9))
    table = optics.lens_wavefronts(
        lenses.cooke(), fields=inner.fields, wavelengths=_LIGHT, indices=range(1, 29), reference=1
    )
    wanted = optics.field_coefficients(
        table.coefficients, inner.heights, places=3, size=(24, 32), indices=table.indices
    )
    torch.testing.assert_close(
        inner.coefficients(light).detach(), wanted, rtol=0, atol=1e-3 * 550e-9
    )


def test_its_fields_are_those_whose_image_is_at_the_heights():
    element = _pupil()
    found = optics.lens_image(lenses.mounted(), fields=element.fields, wavelengths=[550e-9])
    torch.testing.assert_close(found.heights[:, 0], element.heights, rtol=1e-9, atol=1e-15)
    near = optics.CompoundLens(lenses.mounted(), wavelength=550e-9, object_distance=0.3)
    element = _pupil(near, pixel_pitch=0.5e-3)
    found = optics.lens_image(
        near(), fields=element.fields, wavelengths=[550e-9], object_distance=0.3
    )
    torch.testing.assert_close(found.heights[:, 0].detach(), element.heights, rtol=1e-9, atol=1e-15)


def test_rims_darken_a_place_as_the_rays_say():
    element = _pupil()
    image = optics.lens_image(
        lenses.mounted(), fields=element.fields, wavelengths=[550e-9], rings=30
    )
    circle = optics.circular_aperture(32, diameter=10e-3, spacing=10e-3 / 31)
    opening = (element.open * circle).square().mean((-3, -2, -1))
    share = opening / opening.max()
    assert float(image.lit[-1, 0]) < 0.6
    assert float(share[0, 0]) == pytest.approx(float(image.lit[-1, 0]), abs=0.02)
    # As of a picture that is turned by half a turn.
    torch.testing.assert_close(share, share.flip(0, 1), rtol=0, atol=0.01)


def test_a_camera_of_it_has_the_distortion_and_the_light_of_the_lens():
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    lens = optics.CompoundLens(phone, trained=("aspheric",), wavelength=587.6e-9)
    camera = optics.compound_imaging(
        lens, picture=(48, 64), pixel_pitch=45e-6, wavelengths=(550e-9, 587.6e-9, 630e-9),
        psf_size=3, rank=9, places=3, pupil_size=64, oversample=25,
    )  # fmt: skip
    element = camera.pupil.elements[0]
    found = optics.lens_image(phone, fields=element.fields, wavelengths=[587.6e-9])
    radius = element.heights / element.heights[-1]
    terms = camera.projection.radial.double()
    powers = torch.stack([radius ** (2 * n + 3) for n in range(len(terms))])
    made = (radius + terms @ powers) * element.heights[-1]
    torch.testing.assert_close(made, found.ideal.detach(), rtol=0, atol=2e-6)
    # An even scene, with no loss in the windows: the light of each place is the lens's.
    picture = camera(torch.ones(1, 3, 48, 64)).detach()[0, 1]
    for row, column in ((0, 0), (6, 6), (14, 10)):
        height = math.hypot(23.5 - row, 31.5 - column) * 45e-6
        wanted = _light_at(lens, height, 587.6e-9)
        assert float(picture[row, column] / picture[24, 32]) == pytest.approx(wanted, abs=0.03)
    assert "CompoundPupil" in repr(camera)


def _light_at(lens, height, wavelength):
    """Illumination of a height in the image, over that of the axis."""
    heights = torch.tensor([0.0, height], dtype=torch.float64)
    with torch.no_grad():
        fields = _fields_of(lens, heights, torch.tensor(wavelength, dtype=torch.float64))
        found = optics.lens_image(lens(), fields=fields, wavelengths=[wavelength], rings=20)
    return float(found.illumination[1, 0])


def test_a_camera_of_narrow_rims_has_the_light_that_they_leave():
    rows = [
        optics.Surface(1 / 3.4e-3, 1e-3, (1.62, 36.0), 1.15e-3),
        optics.Surface(1 / 12e-3, 1.5e-3, None, 1.1e-3),
        optics.Surface(0.0, 5e-3, semi_diameter=0.6e-3, stop=True),
    ]
    image = float(optics.first_order(rows, wavelength=550e-9).image_distance)
    rows[-1] = rows[-1]._replace(thickness=image)
    lens = optics.CompoundLens(rows, wavelength=550e-9)
    camera = optics.compound_imaging(
        lens, picture=80, pixel_pitch=40e-6, wavelengths=(550e-9,), psf_size=5, rank=6, places=3,
        pupil_size=96, oversample=19,
    )  # fmt: skip
    picture = camera(torch.ones(1, 1, 80, 80)).detach()[0, 0]
    wanted = _light_at(lens, math.hypot(39.5, 39.5) * 40e-6, 550e-9)
    assert wanted < 0.5  # the rims leave 0.6 of the stop
    assert float(picture[0, 0] / picture[40, 40]) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"lens": 1}, TypeError, "lens must be an optics.CompoundLens, not int"),
        ({"diameter": 0.0}, ValueError, "diameter must be positive"),
        ({"pixel_pitch": -1.0}, ValueError, "pixel_pitch must be positive"),
        ({"pixel_pitch": 3e-3}, ValueError, "the lens has no image 0.06 m beside the axis"),
        ({"heights": 1}, ValueError, "heights must be a whole number of at least 2"),
        ({"places": 1}, ValueError, "two or more along each side"),
        ({"wavelengths": (550.0,)}, ValueError, "550 nm are 550e-9"),
    ],
)
def test_a_pupil_that_is_none_is_refused(options, error, told):
    lens = options.pop("lens", None) or optics.CompoundLens(lenses.cooke(), wavelength=550e-9)
    with pytest.raises(error) as found:
        _pupil(lens, **options)
    assert told in str(found.value)


def test_a_corner_without_light_is_refused():
    surfaces = lenses.mounted()
    surfaces[0] = surfaces[0]._replace(semi_diameter=1e-3)
    with pytest.raises(ValueError, match=r"no ray comes 0\.0\d+ m beside the axis"):
        _pupil(optics.CompoundLens(surfaces, wavelength=550e-9))


def test_numbers_of_a_lens_know_the_picture_that_it_is_for():
    phone = optics.set_stop(lenses.phone(), wavelength=587.6e-9, f_number=4.0)
    camera = optics.compound_imaging(
        optics.CompoundLens(phone, wavelength=587.6e-9), picture=(48, 64), pixel_pitch=30e-6,
        wavelengths=(550e-9, 587.6e-9, 630e-9), psf_size=3, rank=4, places=3, pupil_size=64,
        oversample=17,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a picture whose shape is not known
        optics.through_focus(camera.pupil)


def test_a_camera_of_no_lens_is_refused():
    with pytest.raises(TypeError, match=r"must be an optics\.CompoundLens"):
        optics.compound_imaging(
            None, picture=8, pixel_pitch=1e-5, wavelengths=(5e-7,), psf_size=3, rank=1
        )


def test_a_distance_defocuses_a_lens_of_close_objects_as_its_rays_are():
    surfaces = [
        optics.Surface(0.0, 1e-3, None, 1e-3, stop=True),
        optics.Surface(1 / 10.3e-3, 1e-3, 1.5, 3e-3),
        optics.Surface(-1 / 10.3e-3, 19.6e-3, None, 3e-3),
    ]
    lens = optics.CompoundLens(surfaces, trained=(), wavelength=550e-9, object_distance=20e-3)
    camera = optics.compound_imaging(
        lens, picture=(33, 33), pixel_pitch=5e-6, wavelengths=(550e-9,), psf_size=33, rank=4,
        places=2, pupil_size=64, oversample=5,
    )  # fmt: skip
    pupil = camera.pupil
    assert pupil.focus == pytest.approx(20e-3)
    assert float(pupil.working_f_number) == pytest.approx(lens.f_number, rel=0.01)

    def defocus(distance):
        given = {"fields": [0.0], "wavelengths": (550e-9,), "object_distance": distance}
        return float(optics.lens_wavefronts(lens.surfaces, **given).coefficients[0, 0, 3])

    for distance in (20.2e-3, 19.5e-3):
        radius = pupil.diameter / 2
        path = optics.defocus_path((1, 3), spacing=radius, distance=distance, focus=pupil.focus)
        rim = float(path[0, -1]) / (2 * math.sqrt(3))
        assert defocus(distance) - defocus(20e-3) == pytest.approx(rim, rel=0.03)


@pytest.mark.parametrize("gap", [10.1306e-3, 12e-3])
def test_a_lens_that_is_telecentric_towards_the_object_or_beyond_is_imaged(gap):
    glass = [
        optics.Surface(1 / 10.3e-3, 1e-3, 1.5, 5e-3),
        optics.Surface(-1 / 10.3e-3, gap, None, 5e-3),
    ]
    given = {"wavelength": 550e-9, "object_distance": 30e-3}
    front = [optics.Surface(0.0, 0.0, None, 1e-3, stop=True), *glass]
    image = float(optics.first_order(front, **given).image_distance)
    stop = optics.Surface(0.0, image - gap, None, 0.2e-3, stop=True)
    lens = optics.CompoundLens([*glass, stop], trained=(), **given)
    assert float(optics.first_order(lens.surfaces, **given).entrance_pupil) < -30e-3
    camera = optics.compound_imaging(
        lens, picture=(33, 33), pixel_pitch=5e-6, wavelengths=(550e-9,), psf_size=15, rank=4,
        places=2, pupil_size=64, oversample=5,
    )  # fmt: skip
    assert float(camera.pupil.working_f_number) == pytest.approx(lens.f_number, rel=0.01)
    assert 0.9 < float(camera.psf().sum()) / 4 <= 1
