"""Paraxial numbers of a lens and Seidel's sums."""

import math

import lenses
import pytest
import torch

import optics

_LIGHT = 550e-9


def test_the_lens_makers_formula():
    index, front, back, thick = 1.5, 60.0, -40.0, 4e-3
    surfaces = [
        optics.Surface(front, thick, index, 5e-3, stop=True),
        optics.Surface(back, 20e-3),
    ]
    found = optics.first_order(surfaces, wavelength=_LIGHT)
    power = (index - 1) * (front - back + (index - 1) * thick * front * back / index)
    assert float(found.focal_length) == pytest.approx(1 / power, rel=1e-14)
    back_focal = (1 - (index - 1) * thick * front / index) / power
    assert float(found.back_focal_distance) == pytest.approx(back_focal, rel=1e-14)
    assert float(found.f_number) == pytest.approx(1 / power / 10e-3, rel=1e-14)
    assert float(found.magnification) == 0
    assert (float(found.entrance_pupil), float(found.entrance_diameter)) == (0, 10e-3)


def test_the_equation_of_a_thin_lens_at_a_finite_distance():
    surfaces = [
        optics.Surface(0.0, 10e-3, semi_diameter=2e-3, stop=True),
        optics.Surface(40.0, 0.0, 1.5),
        optics.Surface(-40.0, 0.1),
    ]
    focal, distance = 1 / 40, 0.07
    found = optics.first_order(surfaces, wavelength=_LIGHT, object_distance=distance)
    image = 1 / (1 / focal - 1 / (distance + 10e-3))
    assert float(found.image_distance) == pytest.approx(image)
    assert float(found.magnification) == pytest.approx(-image / (distance + 10e-3))
    # The stop within the focal length: its image is virtual, and larger.
    pupil = 1 / (1 / focal - 1 / 10e-3)
    assert float(found.exit_pupil) == pytest.approx(pupil)
    assert float(found.exit_diameter) == pytest.approx(4e-3 * -pupil / 10e-3)
    slope = 2e-3 / distance * (distance + 10e-3) / image
    assert float(found.f_number) == pytest.approx(0.5 / slope)


def test_the_numbers_of_a_triplet_are_those_of_optiland():
    found = optics.first_order(lenses.cooke(), wavelength=_LIGHT)
    mm = 1e-3
    expected = {
        "focal_length": 49.999783071431914,
        "back_focal_distance": 42.20778 + 0.2070775589588157,
        "entrance_pupil": 11.512158673746795,
        "entrance_diameter": 10.0,
        "exit_pupil": 42.20778 - 50.961347703805274,
        "exit_diameter": 10.233729452318345,
    }
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(value * mm, rel=1e-12), name
    assert float(found.f_number) == pytest.approx(4.999978307143191, rel=1e-12)


def test_seidels_sums_of_a_triplet_are_those_of_optiland():
    found = optics.seidel_sums(lenses.cooke(), wavelength=_LIGHT, field=math.radians(20))
    # Its aberrations.seidels(), mm, with the sign changed.
    expected = (0.00696026, -0.00123489, -0.00890661, 0.02571584, -0.00185882)
    for part, value in zip(found, expected, strict=True):
        assert part.shape == (6,)
        assert float(part.sum()) * 1e3 == pytest.approx(value, abs=2e-8)


def test_the_spherical_aberration_of_a_thin_lens_is_its_formula():
    index, power, half = 1.6, 20.0, 3e-3
    for shape in (-1.0, 0.3, 2.0):
        difference = power / (index - 1)
        front, back = difference * (shape + 1) / 2, difference * (shape - 1) / 2
        surfaces = [
            optics.Surface(front, 0.0, index, half, stop=True),
            optics.Surface(back, 1 / power),
        ]
        found = optics.seidel_sums(surfaces, wavelength=_LIGHT, field=0.1)
        # Welford 1986, eq. 11.9, of an object at infinity: conjugate variable -1.
        bent = shape - 2 * (index**2 - 1) / (index + 2)
        expected = (half**4 * power**3 / 4) * (
            (index / (index - 1)) ** 2
            + (index + 2) / (index * (index - 1) ** 2) * bent**2
            - index / (index + 2)
        )
        assert float(found.spherical.sum()) == pytest.approx(expected, rel=1e-12)
        petzval = (half * math.tan(0.1)) ** 2 * power / index
        assert float(found.petzval.sum()) == pytest.approx(petzval, rel=1e-12)


def test_a_conic_and_its_fourth_order_take_spherical_aberration_away():
    index, bend = 1.5, -40.0
    for shape in ({"conic": -(index**2)}, {"aspheric": (-(index**2) * bend**3 / 8,)}):
        surfaces = [
            optics.Surface(0.0, 2e-3, index, 4e-3, stop=True),
            optics.Surface(bend, 0.05, **shape),
        ]
        found = optics.seidel_sums(surfaces, wavelength=_LIGHT, field=0.1)
        assert float(found.spherical.sum()) == pytest.approx(0, abs=1e-18)
        bare = [surfaces[0], optics.Surface(bend, 0.05)]
        sphere = optics.seidel_sums(bare, wavelength=_LIGHT, field=0.1)
        assert float(sphere.spherical.sum()) > 1e-6
        # Beside the stop an asphere changes coma, and what follows, by the height of the chief ray.
        y, chief = 4e-3, float(2e-3 * math.tan(0.1) / index)
        change = [float((a - b).sum()) for a, b in zip(found, sphere, strict=True)]
        ratio = chief / y
        assert change[1] == pytest.approx(change[0] * ratio, rel=1e-9)
        assert change[4] == pytest.approx(change[0] * ratio**3, rel=1e-9)


def test_a_stop_of_an_f_number_and_of_an_entrance_pupil():
    for given in ({"f_number": 8.0}, {"entrance_diameter": 50e-3 / 8}):
        lens = optics.set_stop(lenses.cooke(), wavelength=_LIGHT, **given)
        found = optics.first_order(lens, wavelength=_LIGHT)
        assert float(found.f_number) == pytest.approx(8.0, rel=1e-4)
    near = optics.set_stop(lenses.cooke(), wavelength=_LIGHT, f_number=8.0, object_distance=0.3)
    found = optics.first_order(near, wavelength=_LIGHT, object_distance=0.3)
    assert float(found.f_number) == pytest.approx(8.0, rel=1e-12)


def test_gradients_of_paraxial_numbers_are_finite_differences():
    surfaces = lenses.cooke()
    start = torch.tensor([(s.curvature / 50, s.thickness * 1e3) for s in surfaces]).double()

    def form(numbers):
        lens = [
            s._replace(curvature=n[0] * 50, thickness=n[1] * 1e-3)
            for s, n in zip(surfaces, numbers, strict=True)
        ]
        return tuple(optics.first_order(lens, wavelength=_LIGHT, object_distance=0.3))

    assert torch.autograd.gradcheck(form, start.requires_grad_(), atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: optics.first_order(s, wavelength=550.0), "550 nm are 550e-9"),
        (
            lambda s: optics.first_order(s, wavelength=_LIGHT, object_distance=-1.0),
            "object_distance must be a float above 0",
        ),
        (lambda s: optics.set_stop(s, wavelength=_LIGHT), "needs one of f_number"),
        (
            lambda s: optics.set_stop(s, wavelength=_LIGHT, f_number=0.0),
            "above 0 and finite, not 0.0 and None",
        ),
        (
            lambda s: optics.seidel_sums(s, wavelength=_LIGHT, field=0.1, object_distance=0.0),
            "object_distance must be a float above 0",
        ),
    ],
)
def test_bad_input_is_refused(call, told):
    with pytest.raises(ValueError) as found:  # noqa: PT011 - its words are looked at
        call(lenses.cooke())
    assert told in str(found.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"f_number": "5"}, "f_number must be one number, not '5'"),
        ({"f_number": True}, "f_number must be one number, not True"),
        ({"entrance_diameter": [1e-2]}, "entrance_diameter must be one number, not"),
    ],
)
def test_a_stop_of_what_is_no_number_is_refused(given, told):
    with pytest.raises(TypeError) as found:
        optics.set_stop(lenses.cooke(), wavelength=_LIGHT, **given)
    assert told in str(found.value)


def test_surfaces_without_power_have_no_f_number():
    flat = [optics.Surface(0.0, 1e-2, 1.5, stop=True), optics.Surface(0.0, 1e-2)]
    with pytest.raises(ValueError, match=r"no stop makes f/4 of .* give entrance_diameter"):
        optics.set_stop(flat, wavelength=_LIGHT, f_number=4.0)
    stop = optics.set_stop(flat, wavelength=_LIGHT, entrance_diameter=1e-2)[0]
    assert stop.semi_diameter == pytest.approx(5e-3)


@pytest.mark.parametrize(
    ("size", "distance", "told"),
    [
        ({"f_number": 4.0}, math.inf, r"f/4 of .* stop lies in the image of the object: give"),
        ({"entrance_diameter": 1e-3}, math.inf, r"an entrance pupil of 0\.001 m of .* at infinity"),
        ({"entrance_diameter": 1e-3}, 40e-3, r"an entrance pupil of .*: give f_number"),
    ],
)
def test_a_stop_in_the_rear_focus_has_no_size_that_is_asked_for(size, distance, told):
    # Its entrance pupil is at infinity; an object there would have its image in the stop.
    thin = [
        optics.Surface(1 / 20e-3, 0.0, 1.5),
        optics.Surface(-1 / 20e-3, 20e-3),
        optics.Surface(0.0, 20e-3, stop=True),
    ]
    with pytest.raises(ValueError, match=told):
        optics.set_stop(thin, wavelength=_LIGHT, object_distance=distance, **size)
    # Of an object nearby it has an f-number: cones go from the stop to an image 20 mm behind it.
    stop = optics.set_stop(thin, wavelength=_LIGHT, object_distance=40e-3, f_number=4.0)[-1]
    assert stop.semi_diameter == pytest.approx(20e-3 / 8)


@pytest.mark.parametrize(
    ("field", "distance", "told"),
    [
        (20.0, math.inf, r"up to 20: 20 degrees are math\.radians\(20\)"),
        (math.nan, math.inf, "field must be finite"),
        (math.inf, 0.3, "field must be finite"),
    ],
)
def test_seidel_sums_of_a_field_that_is_none_are_refused(field, distance, told):
    with pytest.raises(ValueError, match=told):
        optics.seidel_sums(lenses.cooke(), wavelength=_LIGHT, field=field, object_distance=distance)


def test_a_telescope_has_no_focus_and_a_telecentric_lens_no_exit_pupil():
    flat = [optics.Surface(0.0, 1e-2, 1.5, 1e-3, stop=True), optics.Surface(0.0, 1e-2)]
    assert float(optics.first_order(flat, wavelength=_LIGHT).focal_length) in (math.inf, -math.inf)
    focal = 0.05
    telecentric = [
        optics.Surface(0.0, focal, semi_diameter=5e-3, stop=True),
        optics.Surface(1 / focal, 0.0, 1.5),
        optics.Surface(-1 / focal, focal),
    ]
    assert math.isinf(float(optics.first_order(telecentric, wavelength=_LIGHT).exit_pupil))
    found = optics.lens_wavefronts(telecentric, fields=[0.0, 0.05], wavelengths=[_LIGHT])
    assert torch.isfinite(found.coefficients).all()
