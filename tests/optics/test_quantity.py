import numpy as np
import pytest
import torch
from torch import nn

import optics
from optics import quantity

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), torch.tensor([1.0, -1.0])])
def test_a_quantity_that_is_not_positive_is_refused_with_its_unit(value):
    with pytest.raises(ValueError, match="wavelength must be positive and finite, in metres, not"):
        quantity.check_positive("wavelength", value, "metres")
    quantity.check_positive("wavelength", torch.rand(9) + 0.1, "metres")


def test_many_values_are_named_by_their_range():
    with pytest.raises(ValueError, match="not values from -2 to 3"):
        quantity.check_positive("spacing", torch.tensor([1.0, 3.0, -2.0, 1.0, 1.0]), "metres")
    with pytest.raises(ValueError, match=r"real floating point in metres, not torch\.int64"):
        quantity.check_positive("spacing", torch.tensor([1]), "metres")


def test_not_finite_is_refused_but_a_large_sum_is_not():
    large = torch.full((10,), 3e38)
    quantity.check_finite("field", large)
    large[3] = float("nan")
    with pytest.raises(ValueError, match="field must be finite; it has NaN or infinite elements"):
        quantity.check_finite("field", large)
    with pytest.raises(ValueError, match="distance must be finite, in metres; it has inf"):
        quantity.check_finite("distance", float("inf"), "metres")


_GRID = {"wavelength": 550e-9, "spacing": 5e-6}
_CAMERA = {
    "wavelength": 550e-9, "focal_length": 0.05, "pupil_spacing": 1e-4, "pixel_pitch": 4e-6,
    "size": 9,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:ComplexHalf support:UserWarning")  # torch's own
@pytest.mark.parametrize(
    "light",
    [
        lambda field: optics.angular_spectrum(field, distance=1e-3, **_GRID),
        lambda field: optics.fraunhofer(field, distance=1.0, **_GRID).field,
        lambda field: optics.coherent_image(field[None, None], field[None, None]),
        lambda field: optics.coherent_blur(field[None, None], field[None]),
        lambda field: optics.psf_from_pupil(field, **_CAMERA),
        lambda field: optics.otf_from_pupil(field, **_CAMERA),
    ],
)
def test_a_field_of_half_precision_is_computed_in_single(light):
    field = torch.randn(16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    half = field.to(torch.complex32)
    found, expected = light(half), light(half.to(torch.complex64))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert found.dtype == expected.dtype
    bad = field.clone()
    bad[3, 5] = complex(0, float("nan"))
    assert not quantity.is_finite(bad.to(torch.complex32))


@pytest.mark.parametrize(
    "several", [(1e-6, 2e-6), [1e-6], np.array([1e-6, 2e-6]), "1e-6"], ids=repr
)
def test_several_numbers_go_into_a_tensor(several):
    for check in (quantity.check_positive, quantity.check_finite):
        with pytest.raises(TypeError, match="spacing must be one number or a Tensor, in metres, "):
            check("spacing", several, "metres")
        check("spacing", np.float32(1e-6), "metres")
        check("spacing", np.array(1e-6), "metres")


def test_an_array_is_no_tensor():
    array = np.ones((2, 2))
    for check in (
        lambda: quantity.check_real("height", array, "[H, W]"),
        lambda: quantity.check_complex("height", array, "[H, W]"),
        lambda: quantity.map_size("height", array),
    ):
        with pytest.raises(TypeError, match=r"height must be a Tensor, not ndarray: .*as_tensor"):
            check()
    with pytest.raises(TypeError, match=r"distances must be one number or a Tensor, not \[1\.0"):
        quantity.as_real("distances", [1.0, 2.0])


def test_finite_is_told_without_an_error():
    assert quantity.is_finite(1.0)
    assert quantity.is_finite(torch.full((10,), 3e38))
    for value in (float("nan"), float("-inf"), torch.tensor([1.0, float("nan")])):
        assert not quantity.is_finite(value)
    assert quantity.is_finite(torch.empty(3, device="meta"))  # is not looked at


def test_a_map_is_real_and_finite_and_has_two_sides():
    assert quantity.map_size("height", torch.zeros(3, 4)) == (3, 4)
    for values in (torch.zeros(3), torch.zeros(2, 2, dtype=torch.long), torch.zeros(0, 3)):
        with pytest.raises(ValueError, match=r"height must be real floating point \[H, W\], not"):
            quantity.map_size("height", values)
    with pytest.raises(ValueError, match="height must be finite"):
        quantity.map_size("height", torch.full((2, 2), float("nan")))


def test_types_and_ranks_are_named():
    with pytest.raises(
        ValueError, match=r"psf must be real floating point \[H, W\], not torch.comp"
    ):
        quantity.check_real("psf", torch.ones(2, 2, dtype=torch.complex64), "[H, W]")
    with pytest.raises(
        ValueError, match=r"field must be complex or real .* not torch.int64 \(2, 2\)"
    ):
        quantity.check_complex("field", torch.ones(2, 2, dtype=torch.long), "[..., H, W]")
    with pytest.raises(ValueError, match=r"float32 \(2,\)"):
        quantity.check_complex("field", torch.ones(2), "[..., H, W]")


def test_sizes_are_height_and_width():
    assert quantity.image_size(4) == (4, 4)
    assert quantity.image_size((3, 5)) == (3, 5)
    for size in (np.int64(8), torch.tensor(8), (np.int64(8), 8), torch.Size([8, 8]), [8, 8]):
        found = quantity.image_size(size)
        assert found == (8, 8)
        assert {type(side) for side in found} == {int}
    for size in (0, (3, -1), 8.0, (8.5, 8.5), (8, 8, 8), "8", None, np.ones(2)):
        with pytest.raises(
            ValueError, match=r"psf_size must be \(H, W\), whole numbers of at least 1 sample, not "
        ):
            quantity.image_size(size, "psf_size")


def test_whole_numbers_are_told_from_others():
    for value in (3, np.uint8(3), torch.tensor(3)):
        number = quantity.whole_number("levels", value)
        assert (number, type(number)) == (3, int)
    for value in (3.0, np.float32(3), 2.5, "3", None, torch.tensor(3.0), 1):
        with pytest.raises(ValueError, match=r"levels must be a whole number of at least 2, not "):
            quantity.whole_number("levels", value, least=2)


def test_quantities_are_real_and_floating_point():
    parameter = nn.Parameter(torch.ones(2))
    assert quantity.as_real("alpha", parameter) is parameter
    for value in (1, 1.0, np.float64(1), torch.tensor(1)):
        given = quantity.as_real("alpha", value)
        assert torch.equal(given, torch.tensor(1.0))
        assert given.dtype == torch.get_default_dtype()
    with pytest.raises(ValueError, match=r"alpha must be real, not torch\.complex64"):
        quantity.as_real("alpha", torch.tensor(1j))


def test_a_parameter_keeps_its_identity():
    module, parameter = nn.Module(), nn.Parameter(torch.ones(2))
    quantity.hold(module, "phase", parameter)
    quantity.hold(module, "amplitude", torch.ones(3))
    quantity.hold(module, "mask", None)
    assert module.phase is parameter
    assert [name for name, _ in module.named_buffers()] == ["amplitude"]
    assert module.mask is None


def test_a_value_outside_of_its_range_is_refused():
    quantity.check_between("share", torch.tensor([0.0, 1.0]), 0, 1, "fractions")
    with pytest.raises(
        ValueError, match="share must be between 0 and 1, in fractions; it reaches 2"
    ):
        quantity.check_between("share", torch.tensor([0.5, 2.0]), 0, 1, "fractions")
    with pytest.raises(ValueError, match="stop must be 0 or more, in pixels; it reaches -1"):
        quantity.check_between("stop", -1.0, 0, float("inf"), "pixels")
    with pytest.raises(ValueError, match=r"stop must be real, in pixels, not torch\.complex64"):
        quantity.check_between("stop", torch.tensor(1j), 0, 1, "pixels")


@pytest.mark.parametrize("value", [None, "far", 1j, [1.0], np.ones(2)])
def test_what_is_no_number_is_called_by_its_name(value):
    for check in (quantity.check_positive, quantity.check_finite, quantity.check_number):
        with pytest.raises(
            TypeError, match=r"focus must be one number or a Tensor, in metres, not"
        ):
            check("focus", value, "metres")
    for number in (1, 2.0, np.float32(3), np.ones(()), torch.ones(2)):
        quantity.check_number("focus", number)


@pytest.mark.parametrize(
    "switch", [True, False, np.True_, np.array(True), torch.tensor(True), torch.tensor(False)]
)
def test_true_is_no_number(switch):
    assert not quantity.is_number(switch)
    assert quantity.index_of(switch) is None
    for check in (
        quantity.check_number,
        quantity.check_finite,
        quantity.check_scalar,
        quantity.one_number,
        quantity.as_real,
        quantity.as_numbers,
        lambda name, value: quantity.check_between(name, value, 0, 1),
    ):
        with pytest.raises(TypeError, match=r"focus must be (one number|numbers).*(True|False)"):
            check("focus", switch)
    with pytest.raises((TypeError, ValueError), match=r"focus must be .*(True|False|bool)"):
        quantity.check_positive("focus", switch)
    for check in (quantity.whole_number, lambda name, value: quantity.image_size(value, name)):
        with pytest.raises(ValueError, match=r"focus must be .*whole number.*(True|False)"):
            check("focus", switch)
    quantity.check_number("pattern", torch.tensor([True, False]))  # of open and closed cells


def test_one_number_is_real():
    for number in (1, np.float32(2), np.ones(()), torch.tensor(1.0), torch.ones(1)):
        assert quantity.is_number(number)
    for other in ("1", None, 1j, torch.tensor(1j), torch.ones(2), np.ones(2), [1.0]):
        assert not quantity.is_number(other)
    with pytest.raises(TypeError, match="focus must be one number, not 1j"):
        quantity.check_scalar("focus", 1j)
    with pytest.raises(ValueError, match=r"focus must be real, not torch\.complex64"):
        quantity.check_scalar("focus", torch.tensor(1j))


def test_what_has_no_unit_is_told_without_one():
    with pytest.raises(ValueError, match=r"ratio must be 0 or more; it reaches -1$"):
        quantity.check_between("ratio", -1.0, 0, float("inf"))
    with pytest.raises(ValueError, match=r"index must be positive and finite, not 0\.0$"):
        quantity.check_positive("index", 0.0)
    with pytest.raises(ValueError, match=r"index must be real floating point, not torch\.int64$"):
        quantity.check_positive("index", torch.ones(1, dtype=torch.int64))
    quantity.check_between("ratio", torch.ones(0), 0, 1)


def test_numbers_of_a_batch_within_a_gradient_are_not_looked_at():
    seen = []

    def loss(value):
        seen.append(quantity.looked_at(value))
        quantity.check_positive("value", value)
        return value.square()

    torch.func.grad(loss)(torch.tensor(2.0))
    torch.func.vmap(torch.func.grad(loss))(torch.ones(3))
    torch.func.vmap(loss)(torch.ones(3))
    torch.func.grad(lambda values: torch.func.vmap(loss)(values).sum())(torch.ones(3))
    assert seen == [True, False, False, False]


@_FORWARD
def test_who_asks_for_a_derivative_is_heard_in_both_modes():
    asked = []

    def loss(value):
        asked.append(quantity.differentiated(value))
        return value.square()

    loss(torch.ones(()))
    loss(torch.ones((), requires_grad=True))
    with torch.no_grad():
        loss(torch.ones((), requires_grad=True))
    torch.func.jvp(loss, (torch.ones(()),), (torch.ones(()),))
    assert asked == [False, True, False, True]


@pytest.mark.parametrize(
    "several", [(1.0, 2.0), [1.0], np.ones(2), torch.ones(2), torch.ones(0)], ids=repr
)
def test_one_number_is_no_pair(several):
    with pytest.raises(TypeError, match=r"pitch must be one number, in metres, not .*; as here$"):
        quantity.check_scalar("pitch", several, "metres", remedy="as here")
    with pytest.raises(TypeError, match=r"pitch must be one number, not .*[^e]$"):
        quantity.one_number("pitch", several)


@pytest.mark.parametrize("value", [None, "far", 1j])
def test_a_remedy_for_several_is_none_for_no_number(value):
    with pytest.raises(TypeError, match=r"pitch must be one number, not ['\w]+$"):
        quantity.one_number("pitch", value, remedy="as here")


def test_one_number_is_a_float_and_nothing_that_is_learned():
    for given in (2, np.float32(2), np.ones(()) * 2, torch.tensor(2), torch.tensor([2.0])):
        number = quantity.one_number("pitch", given)
        assert type(number) is float
        assert number == 2.0
    learned = nn.Parameter(torch.tensor(2e-6))
    with pytest.raises(
        TypeError, match=r"pitch is not learned here, .*: give a float, in metres, "
    ):
        quantity.one_number("pitch", learned, "metres")
    with pytest.raises(TypeError, match=r"such as 4e-06, or train a lens$"):
        quantity.one_number("pitch", 2 * learned, "metres", learned="train a lens")
    assert quantity.one_number("pitch", learned.requires_grad_(False)) == pytest.approx(2e-6)


def test_numbers_that_a_map_hides_are_known_not_to_be_there():
    seen = []

    def loss(value):
        seen.append((quantity.has_values(value), quantity.mapped(value)))
        return value.square()

    loss(torch.ones(()))
    loss(torch.ones((), device="meta"))
    torch.func.grad(loss)(torch.tensor(2.0))
    torch.func.vmap(loss)(torch.ones(3))
    torch.func.vmap(torch.func.grad(loss))(torch.ones(3))
    assert seen == [(True, False), (False, False), (True, False), (False, True), (False, True)]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("signal", lambda a: optics.digitise(a, 8)),
        ("electrons", optics.shot_noise),
        ("raw", lambda a: optics.demosaic(a, "rggb")),
        ("raw", optics.pack_mosaic),
        ("packed", optics.unpack_mosaic),
        ("raw", lambda a: optics.LearnedKernel("identity", 3).combine(a)),
        ("counts", lambda a: optics.poisson_log_likelihood(a, a)),
        ("image", lambda a: optics.mosaic(a, "rggb")),
        ("charge", lambda a: optics.bin_pixels(a, 2)),
        ("scene", lambda a: optics.FourierFilter((4, 4))(a)),
    ],
)
def test_what_to_do_with_an_array_is_told(name, call):
    with pytest.raises(TypeError, match=rf"{name} must be a Tensor, not ndarray: make one of"):
        call(np.ones((1, 1, 4, 4), np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: optics.bin_pixels(x.int(), 2), "charge must be real floating point"),
        (lambda x: optics.pack_mosaic(x, (2, 2, 2)), r"period must be \(H, W\)"),
        (lambda x: optics.Sensor(cfa=5), "pattern must be rows of letters"),
        (lambda x: optics.Sensor(cfa=[1.0, "b"]), "pattern must be rows of letters"),
        (lambda x: optics.Sensor()(x, generator=[1]), "each generator must be .* of a seed make"),
        (lambda x: optics.Sensor(generator=5), "generator must be a torch.Generator, .* of a seed"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_words(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(torch.ones(1, 1, 4, 4))
    assert optics.pack_mosaic(torch.ones(1, 1, 4, 4), 2).shape == (1, 4, 2, 2)


_U = torch.ones(4, 4)
_CURVE = torch.linspace(0, 0.5, 11)
_RELIEF = optics.Relief(torch.zeros(4, 4), spacing=1e-6, material=1.5)
_EDGE = optics.SlantedEdge(_CURVE.flip(0), _CURVE, *[torch.zeros(1)] * 3)
_PUPIL = {
    "size": 4,
    "spacing": 1e-4,
    "wavelengths": (5e-7,),
    "focal_length": 1e-2,
    "pixel_pitch": 2e-6,
    "psf_size": 9,
}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: optics.motion_psf("ab", size=5),
            "displacement must be numbers .* pixels, not 'ab'",
        ),
        (lambda: optics.motion_psf([1, None], size=5), r"displacement must be .* not \[1, None\]"),
        (
            lambda: optics.CodedExposure(channels=1)(
                torch.ones(1, 1, 8, 8), displacement=["a", "b"]
            ),
            "displacement must be numbers or a Tensor",
        ),
        (lambda: optics.shutter_code(share="a"), "share must be one number, not 'a'"),
        (lambda: optics.shutter_code(share=torch.ones(2)), "share must be one number, not"),
        (
            lambda: optics.FourierFilter(8, stop_radius="a"),
            "stop_radius must be one number, in cyc",
        ),
        (lambda: optics.phase_contrast(32, ring=("a", "b")), "each of ring must be one number, in"),
        (
            lambda: optics.quantize_height(_U, levels=4, period=1.0, sharpness="1"),
            "sharpness must be",
        ),
        (
            lambda: optics.quantize_height(None, levels=4, period=1.0),
            "height must be one number or",
        ),
        (
            lambda: optics.quantize_height(_U, levels=4, period=torch.ones(2)),
            "period must be one num",
        ),
        (
            lambda: optics.height_phase(_U, wavelength=5e-7, index="1.5"),
            "index must be one number or",
        ),
        (lambda: _RELIEF.draw_etch_error("a"), "sigma must be one number, in metres RMS, not 'a'"),
        (lambda: _RELIEF.draw_etch_error(1e-8, width="a"), "width must be one number, in metres"),
        (lambda: _RELIEF.refractive_index(5e-7), "wavelength must be a Tensor, not float"),
        (lambda: optics.relief_element(_U), "relief must be what optics.import_height_map returns"),
        (
            lambda: optics.zernike_basis(4.0, 8, diameter=7.0, spacing=1.0),
            r"indices must be a sequence of Noll's, such as \[4, 11\], not 4.0",
        ),
        (
            lambda: optics.zernike_filter(8, coefficients=torch.ones(1), cutoff=0.2, indices=4),
            "indices must be a sequence of Noll's",
        ),
        (
            lambda: optics.field_coefficients(
                _U[:3, :3], [0.0, 1.0, 2.0], places=2, size=8, indices=4
            ),
            "indices must be a sequence of Noll's",
        ),
        (
            lambda: optics.field_coefficients(_U[:1, :3], ["a"], places=2, size=8),
            "heights must be numbers or a Tensor",
        ),
        (
            lambda: optics.measured_psf(_U, size=1, throughput=torch.ones(2)),
            "throughput must be one number",
        ),
        (
            lambda: optics.measured_psf(_U, size=1, picture_pitch=torch.ones(2), pixel_pitch=1.0),
            "picture_pitch must be one number, in metres",
        ),
        (
            lambda: optics.psf_from_mtf(_CURVE, 1 - _CURVE, size=9, cutoff=torch.ones(2)),
            "cutoff must be one number, in the unit of frequency",
        ),
        (
            lambda: optics.shot_noise(_U, read_noise=torch.ones(2)),
            "read_noise must be one number, in",
        ),
        (
            lambda: optics.shot_noise(_U, read_noise="a"),
            "read_noise must be one number, in electrons",
        ),
        (lambda: optics.score_surrogate([1.0], _U[0]), "loss must be a Tensor, not list"),
        (
            lambda: optics.score_surrogate(_U[0], _U[0], baseline="a"),
            "baseline must be one number or",
        ),
        (
            lambda: optics.encircled_energy(_U, "a", pixel_pitch=1e-6),
            "radius must be numbers or a T",
        ),
        (lambda: _EDGE.frequency_at("a"), "contrast must be one number, not 'a'"),
        (lambda: optics.pixel_mtf(1e4, pitch=1e-6), "frequency must be a Tensor, not float"),
        (
            lambda: optics.lens_phase(8, spacing=_U[0], wavelength=5e-7, focal_length=1.0),
            "spacing mu",
        ),
        (
            lambda: optics.wiener(_U[None, None], _U, noise_to_signal=0.1, exponent=_U[0]),
            "exponent mu",
        ),
        (
            lambda: optics.dft_matrix(8, 8, step="a"),
            "step must be one number or a Tensor, in cycles",
        ),
        (lambda: optics.matrix_dft(_U, "a", _U), "rows must be a Tensor, not str"),
        (lambda: optics.clip([0.5]), "values must be a Tensor, not list"),
        (lambda: optics.clip(_U, low="a"), "low must be one number or a Tensor, not 'a'"),
        (lambda: optics.bounded([0.5], 0.0, 1.0), "raw must be a Tensor, not list"),
        (lambda: optics.Bounded("a", 1.0), "low must be one number, not 'a'"),
        (lambda: optics.bounded_inverse(0.5, 0.0, 1.0), "values must be a Tensor, not float"),
        (lambda: optics.unit_disk([1.0, 0.0]), "raw must be a Tensor, not list"),
        (lambda: optics.positive(0.5), "raw must be a Tensor, not float"),
        (lambda: optics.positive_inverse(0.5), "values must be a Tensor, not float"),
        (lambda: optics.symmetric([1.0], "point"), "raw must be a Tensor, not list"),
        (lambda: optics.energy_limited([1.0]), "raw must be a Tensor, not list"),
        (lambda: optics.unit_disk_inverse(0.5), "transmission must be a Tensor, not float"),
        (lambda: optics.light_budget([1.0]), "raw must be a Tensor, not list"),
        (lambda: optics.light_budget_inverse([1.0]), "weights must be a Tensor, not list"),
        (lambda: optics.Illumination(2)([1.0]), "pictures must be a Tensor, not list"),
        (lambda: optics.LearnedKernel()([1.0]), "scene must be a Tensor, not list"),
        (lambda: optics.signed_difference(_U, _U, [1.0]), "kernels must be a Tensor, not list"),
        (
            lambda: optics.mosaic(torch.ones(1, 3, 4, 4), None),
            "pattern must be rows of letters, or",
        ),
        (
            lambda: optics.Pupil([], **(_PUPIL | {"wavelengths": torch.tensor(5e-7)})),
            "wavelengths mu",
        ),
        (
            lambda: optics.audit_gradients(lambda x: x, _U),
            "module must be a torch.nn.Module, not func",
        ),
        (
            lambda: optics.audit_gradients(torch.nn.Linear(1, 1), 3.0),
            "inputs must be a Tensor or a tu",
        ),
        (
            lambda: optics.audit_gradients(torch.nn.Linear(1, 1), (3.0,)),
            r"inputs\[0\] must be a Tens",
        ),
        (
            lambda: optics.audit_gradients(torch.nn.Linear(1, 1), _U, call=3),
            "call must be a function",
        ),
        (
            lambda: optics.audit_gradients(torch.nn.Linear(1, 1), _U, step="a"),
            "step must be one numb",
        ),
        (
            lambda: optics.PhaseMask(_U, spacing=torch.ones(3, 3) + 1j),
            r"not complex numbers \(3, 3\)",
        ),
    ],
)
def test_what_is_of_another_type_is_refused_in_words(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optics.dft_matrix(8, 8, step=0.1, norm="a"), "norm must be one of .* not 'a'"),
        (
            lambda: optics.matrix_dft(_U, _U.int(), _U),
            "rows must be complex or real floating point",
        ),
        (lambda: optics.convolve(_U[None, None], _U, boundary=["zero"]), "boundary must be one of"),
        (lambda: optics.nm_to_noll(2, "a"), "must be whole numbers .* m = a"),
        (
            lambda: optics.zernike(4, torch.ones(2), torch.ones(3)),
            r"rho and theta must broadcast, not \(2,\) and \(3,\)",
        ),
        (lambda: optics.refractive_index(["n_bk7"], 5e-7), "material must be one of"),
        (
            lambda: optics.mosaic(torch.ones(1, 3, 4, 4), "rggb", channels=3),
            "channels must be diff",
        ),
        (lambda: optics.light_budget_inverse(torch.tensor(1.0)), r"weights must be \[..., S\]"),
        (lambda: optics.clip(_U + 1j), "values must be real, not torch.complex64"),
        (lambda: optics.positive_inverse(_U + 1j), "values must be real, not torch.complex64"),
        (lambda: optics.bounded_inverse(_U + 1j, 0.0, 1.0), "values must be real, not torch.compl"),
        (lambda: optics.signed_difference(_U, _U, _U), r"plus and minus must both be \[B, F, C, H"),
        (
            lambda: optics.psf_from_pupil(
                _U,
                wavelength=torch.ones(0),
                focal_length=1.0,
                pupil_spacing=1.0,
                pixel_pitch=0.1,
                size=1,
            ),
            "wavelength must hold at least one",
        ),
    ],
)
def test_what_is_of_another_form_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_come_as_a_tensor():
    for given in ([1.0, 2.0], (1, 2), torch.tensor([1.0, 2.0]), np.array([1.0, 2.0])):
        found = quantity.as_numbers("x", given, dtype=torch.float64)
        assert found.tolist() == [1, 2]
        assert found.dtype == torch.float64
    for given in (None, "ab", ["a"], [[1.0], [2.0, 3.0]]):
        with pytest.raises(TypeError, match="x must be numbers or a Tensor, in metres, not"):
            quantity.as_numbers("x", given, "metres")
