import math

import pytest
import torch

import optics

_WAVE = 550e-9
_SEIDEL = {
    "spherical": 0.7,
    "coma": 1.1,
    "astigmatism": -0.4,
    "field_curvature": 0.9,
    "defocus": 0.3,
    "tilt": -0.6,
}


def _wavefront(coefficients, rho, theta):
    numbers = range(1, coefficients.shape[-1] + 1)
    planes = torch.stack([optics.zernike(j, rho, theta) for j in numbers])
    return torch.tensordot(coefficients, planes, 1)


def _polar(samples=9):
    rho = torch.linspace(0, 1, samples, dtype=torch.float64)[:, None]
    theta = torch.linspace(0, 2 * math.pi, 2 * samples, dtype=torch.float64)
    return torch.broadcast_tensors(rho, theta)


def _hopkins(h, rho, cosine, *, spherical, coma, astigmatism, field_curvature, defocus, tilt):
    return (
        spherical * rho**4
        + coma * h * rho**3 * cosine
        + astigmatism * h**2 * rho**2 * cosine**2
        + field_curvature * h**2 * rho**2
        + defocus * rho**2
        + tilt * h * rho * cosine
    )


def test_seidel_terms_are_those_of_hopkins_in_every_place():
    made = optics.seidel_coefficients(
        (3, 5), size=(90, 120), **{k: torch.tensor(v).double() for k, v in _SEIDEL.items()}
    )
    assert made.shape == (3, 5, 1, 11)
    rho, theta = _polar()
    for p, y in enumerate((-0.6, 0.0, 0.6)):
        for q, x in enumerate((-0.8, -0.4, 0.0, 0.4, 0.8)):
            h, azimuth = math.hypot(y, x), math.atan2(y, x)
            expected = _hopkins(h, rho, torch.cos(theta - azimuth), **_SEIDEL)
            found = _wavefront(made[p, q, 0].double(), rho, theta)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_coma_grows_with_the_height_astigmatism_and_curvature_with_its_square():
    def in_row(**terms):  # along +x through the middle, heights 0, 0.2, ... 0.8
        made = optics.seidel_coefficients((3, 9), size=(90, 120), **terms)[1, 4:, 0]
        return made.double()

    h = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    # Per unit of W131: Noll 8 is sqrt(8) (3 r^3 - 2 r) cos, of r^3 a part of 1 / (3 sqrt 8).
    torch.testing.assert_close(in_row(coma=1.0)[:, 7], h / (3 * 8**0.5), rtol=1e-6, atol=1e-7)
    oblique = in_row(astigmatism=1.0)
    torch.testing.assert_close(oblique[:, 5], h**2 / (2 * 6**0.5), rtol=1e-6, atol=1e-7)
    curved = in_row(field_curvature=1.0)
    torch.testing.assert_close(curved[:, 3], h**2 / (2 * 3**0.5), rtol=1e-6, atol=1e-7)


def test_a_table_along_a_radius_turns_with_the_place():
    heights = torch.linspace(0, 5e-3, 401, dtype=torch.float64)  # metres in the image
    rho, theta = _polar()
    options = {"places": (3, 4), "size": (90, 120)}
    terms = {name: torch.tensor(value).double() for name, value in _SEIDEL.items()}
    expected = optics.seidel_coefficients(**options, **terms)
    # Closed form of a point along +y, the table of most programs; and along +x.
    for angle in (math.pi / 2, 0.0):
        rows = []
        for h in (heights / 5e-3).tolist():
            y, x = h * math.sin(angle), h * math.cos(angle)
            wave = _hopkins(h, rho, torch.cos(theta - math.atan2(y, x)), **_SEIDEL)
            planes = torch.stack([optics.zernike(j, rho, theta) for j in range(1, 12)])
            fitted = torch.linalg.lstsq(planes.flatten(1).T, wave.flatten()[:, None])
            rows.append(fitted.solution[:, 0])
        made = optics.field_coefficients(torch.stack(rows), heights, angle=angle, **options)
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_a_turned_wavefront_is_the_wavefront_at_another_angle():
    numbers = range(1, 22)
    table = torch.rand(1, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = optics.field_coefficients(
        table.expand(2, -1), (0.0, 1.0), places=(2, 3), size=(60, 80), indices=numbers, angle=0.3
    )
    rho, theta = _polar()
    for place, (y, x) in (((0, 0), (-3, -4)), ((1, 2), (3, 4)), ((0, 1), (-3, 0))):
        turned = theta - (math.atan2(y, x) - 0.3)
        expected = _wavefront(table[0], rho, turned)
        torch.testing.assert_close(_wavefront(made[place][0], rho, theta), expected)


def test_a_table_of_wavelengths_keeps_them_and_is_linear():
    table = torch.rand(4, 3, 11, generator=torch.Generator().manual_seed(1))
    options = {"heights": [0, 1, 2, 3], "places": (3, 3), "size": 64}
    made = optics.field_coefficients(table, **options)
    assert made.shape == (3, 3, 3, 11)
    each = [optics.field_coefficients(table[:, band], **options) for band in range(3)]
    torch.testing.assert_close(made, torch.cat(each, 2))
    doubled = table.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: optics.field_coefficients(t, **options), (doubled,))


def test_each_wavelength_may_have_terms_of_its_own():
    axial = torch.tensor([0.2, 0.0, -0.3]).requires_grad_()
    made = optics.seidel_coefficients((2, 2), size=64, defocus=axial, coma=0.1)
    assert made.shape == (2, 2, 3, 11)
    expected = axial.detach() / 12**0.5
    torch.testing.assert_close(made[0, 1, :, 3].detach(), expected)
    made[..., 3].sum().backward()
    torch.testing.assert_close(axial.grad, torch.full((3,), 4 / 12**0.5))


def test_positive_coma_flares_away_from_the_axis():
    made = optics.seidel_coefficients((3, 3), size=64, coma=_WAVE)
    element = optics.Aberration(64, spacing=40e-6, diameter=63 * 40e-6, coefficients=made)
    pupil = optics.Pupil(
        [element], wavelengths=(_WAVE,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=31
    )
    psf = pupil()[:, :, 0].double()
    x = optics.coordinates(31)
    light = psf.sum((-2, -1))
    along_x, along_y = (psf.sum(d) @ x / light for d in (-2, -1))
    assert float(along_x[1, 2]) > 1
    assert float(along_x[1, 0]) < -1
    assert float(along_y[2, 1]) > 1
    assert abs(float(along_x[1, 1])) < 1e-3
    assert abs(float(along_y[1, 2])) < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: optics.seidel_coefficients((1, 3), size=64),
            r"places must be \(P, Q\), two or more along each side of the picture, not \(1, 3\)",
        ),
        (
            lambda: optics.seidel_coefficients(3, size=64, coma=torch.ones(2, 2)),
            r"coma must be one number or \[L\], one for each wavelength, in metres, not \(2, 2\)",
        ),
        (
            lambda: optics.seidel_coefficients(
                3, size=64, coma=torch.ones(2), defocus=torch.ones(3)
            ),
            "terms must be one number or one for each wavelength, not 1 of spherical, 2 of coma",
        ),
        (
            lambda: optics.seidel_coefficients(3, size=64, tilt=math.nan),
            "tilt must be finite, in metres",
        ),
        (
            lambda: optics.field_coefficients(torch.ones(3, 4), [0, 1], places=3, size=64),
            r"table must be \[R, J\] or \[R, L, J\], at R heights of 2 or more, not \(3, 4\) at "
            r"\(2,\)",
        ),
        (
            lambda: optics.field_coefficients(torch.ones(2, 4), [1, 2], places=3, size=64),
            r"heights must increase from 0, the axis, to the corner of .* not \[1.0, 2.0\]",
        ),
        (
            lambda: optics.field_coefficients(torch.ones(3, 4), [0, 2, 1], places=3, size=64),
            r"heights must increase from 0, the axis, to the corner .* not \[0\.0, 2\.0, 1\.0\]",
        ),
        (
            lambda: optics.field_coefficients(torch.ones(2, 7), [0, 1], places=3, size=64),
            "indices must hold both of a pair, but 8, the partner of 7, is missing",
        ),
        (
            lambda: optics.field_coefficients(
                torch.ones(2, 2), [0, 1], places=3, size=64, indices=[4, 4]
            ),
            r"indices must be 2 of Noll's, each once, not \[4, 4\]",
        ),
        (
            lambda: optics.field_coefficients(
                torch.ones(2, 2), [0, 1], places=3, size=64, indices=[1, 4, 11]
            ),
            r"indices must be 2 of Noll's, each once, not \[1, 4, 11\]",
        ),
    ],
)
def test_what_is_no_lens_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_table_is_a_tensor():
    with pytest.raises(TypeError, match="table must be a Tensor, not list"):
        optics.field_coefficients([[0.0]], [0], places=3, size=64)


@pytest.mark.parametrize("several", [[0.1, 0.2, 0.3], torch.tensor([0.1, 0.2, 0.3])])
def test_a_table_lies_at_one_angle(several):
    """Three angles would be taken for those of the three columns of places."""
    given = {"places": 3, "size": 64}
    with pytest.raises(TypeError, match=r"angle must be one number, in radians, not \[0.1"):
        optics.field_coefficients(torch.ones(2, 3), (0.0, 1.0), angle=several, **given)
    with pytest.raises(ValueError, match="angle must be finite, in radians; it has nan"):
        optics.field_coefficients(torch.ones(2, 3), (0.0, 1.0), angle=math.nan, **given)


def test_every_seidel_term_has_the_gradient_of_a_finite_difference():
    terms = tuple(torch.tensor(value).double().requires_grad_() for value in _SEIDEL.values())

    def made(*values):
        named = dict(zip(_SEIDEL, values, strict=True))
        return optics.seidel_coefficients((2, 3), size=(60, 80), **named)

    assert torch.autograd.gradcheck(made, terms)


def test_heights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="heights must be finite"):
        optics.field_coefficients(torch.ones(3, 1), [0.0, 1.0, math.inf], places=2, size=8)
