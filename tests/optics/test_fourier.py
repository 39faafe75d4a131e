import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from torch._subclasses import FakeTensorMode

import optics
from optics import fourier

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

_NUMPY_MODE = {"zero": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_BOUNDARIES = st.sampled_from(list(_NUMPY_MODE))


def _pictures(seed, shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _reference(image, psf, boundary):
    """Pad by numpy, convolve by scipy."""
    rows, columns = psf.shape
    border = ((rows - 1 - rows // 2, rows // 2), (columns - 1 - columns // 2, columns // 2))
    padded = np.pad(image.numpy(), border, mode=_NUMPY_MODE[boundary])
    return torch.from_numpy(convolve2d(padded, psf.numpy(), mode="valid"))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(12, 24), st.integers(12, 24)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    _BOUNDARIES,
)
def test_convolve_agrees_with_scipy(seed, size, kernel, boundary):
    image, psf = _pictures(seed, (2, 3, *size)), _pictures(seed + 1, (3, *kernel))
    result = optics.convolve(image, psf, boundary=boundary)
    for b in range(2):
        for c in range(3):
            expected = _reference(image[b, c], psf[c], boundary)
            torch.testing.assert_close(result[b, c], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("boundary", list(_NUMPY_MODE))
@pytest.mark.parametrize("path", [fourier._direct, fourier._transformed])
@pytest.mark.parametrize("shape", [(3, 1), (6, 1), (3, 3), (5, 3)])
def test_both_paths_follow_every_form_of_kernel(path, shape, boundary):
    image, psf = _pictures(0, (2, 3, 20, 17)), _pictures(1, (*shape, 5, 4))
    result = path(image, psf, boundary)
    for out in range(shape[0]):
        sources = range(3) if shape[1] == 3 else [out % 3]
        expected = sum(
            _reference(image[1, c], psf[out, i], boundary) for i, c in enumerate(sources)
        )
        torch.testing.assert_close(result[1, out], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", [(40, 41), (31, 9), (32, 3), (5, 64)])
def test_a_kernel_larger_than_the_picture_agrees_with_scipy(kernel):
    image, psf = _pictures(0, (1, 1, 16, 15)), _pictures(1, kernel)
    expected = _reference(image[0, 0], psf, "zero")
    torch.testing.assert_close(optics.convolve(image, psf)[0, 0], expected, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), _BOUNDARIES)
def test_an_impulse_comes_out_as_the_kernel_unflipped(kernel, boundary):
    image = torch.zeros(1, 1, 21, 20, dtype=torch.float64)
    image[0, 0, 10, 9] = 1.0
    psf = _pictures(3, kernel)
    result = optics.convolve(image, psf, boundary=boundary)[0, 0]
    top, left = 10 - kernel[0] // 2, 9 - kernel[1] // 2
    torch.testing.assert_close(result[top : top + kernel[0], left : left + kernel[1]], psf)
    torch.testing.assert_close(result.sum(), psf.sum())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(-3, 3), st.floats(-3, 3), _BOUNDARIES)
def test_convolve_is_linear(seed, a, b, boundary):
    x, y, psf = (_pictures(seed + i, s) for i, s in enumerate([(1, 2, 16, 14)] * 2 + [(2, 6, 7)]))
    together = optics.convolve(a * x + b * y, psf, boundary=boundary)
    apart = a * optics.convolve(x, psf, boundary=boundary) + b * optics.convolve(
        y, psf, boundary=boundary
    )
    torch.testing.assert_close(together, apart, rtol=1e-11, atol=1e-11)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(-8, 8), st.integers(-8, 8), st.integers(1, 11))
def test_a_periodic_picture_shifts_with_its_scene_and_keeps_its_light(seed, dy, dx, size):
    image, psf = _pictures(seed, (1, 2, 16, 12)), _pictures(seed + 1, (2, size, size))
    result = optics.convolve(image, psf, boundary="circular")
    shifted = optics.convolve(image.roll((dy, dx), (-2, -1)), psf, boundary="circular")
    torch.testing.assert_close(shifted, result.roll((dy, dx), (-2, -1)), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(result.sum((-2, -1))[0], image.sum((-2, -1))[0] * psf.sum((-2, -1)))


@pytest.mark.parametrize("boundary", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("size", [3, 9])
def test_a_constant_stays_constant(boundary, size):
    image = torch.full((1, 1, 16, 16), 0.7, dtype=torch.float64)
    psf = _pictures(0, (size, size))
    result = optics.convolve(image, psf / psf.sum(), boundary=boundary)
    torch.testing.assert_close(result, image, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [(3, 3), (6, 5)])
@pytest.mark.parametrize("boundary", list(_NUMPY_MODE))
def test_gradients_of_picture_and_kernel(kernel, boundary):
    image = _pictures(0, (2, 2, 8, 9)).requires_grad_()
    psf = _pictures(1, (4, 1, *kernel)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, p: optics.convolve(i, p, boundary=boundary), (image, psf)
    )


@pytest.mark.parametrize("shape", [(2, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("size", [(8, 9), (11, 14)])
@pytest.mark.parametrize("boundary", list(_NUMPY_MODE))
def test_second_gradients(shape, size, boundary):
    image = _pictures(0, (2, 2, *size)).requires_grad_()
    psf = _pictures(1, (*shape, 4, 3)).requires_grad_()
    for inputs in ((image, psf), (image.detach(), psf), (image, psf.detach())):
        assert torch.autograd.gradgradcheck(
            lambda i, p: optics.convolve(i, p, boundary=boundary).square(), inputs, fast_mode=True
        )


def test_function_transforms_see_through():
    image, psf = _pictures(0, (3, 2, 2, 8, 8)), _pictures(1, (2, 5, 5))

    def brightness(psf, image):
        return optics.convolve(image, psf).square().sum()

    each = torch.func.vmap(torch.func.grad(brightness), in_dims=(None, 0))(psf, image)
    for i in range(3):
        tap = psf.clone().requires_grad_()
        brightness(tap, image[i]).backward()
        torch.testing.assert_close(each[i], tap.grad)


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("boundary", list(_NUMPY_MODE))
def test_pictures_and_channels_do_not_see_each_other(boundary, kernel):
    # P40
    image, psf = _pictures(0, (4, 3, 16, 16)), _pictures(1, (3, kernel, kernel))
    together = optics.convolve(image, psf, boundary=boundary)
    near = {"rtol": 1e-12, "atol": 1e-12}
    alone = optics.convolve(image[2:3], psf, boundary=boundary)
    torch.testing.assert_close(together[2:3], alone, **near)
    channel = optics.convolve(image[:, 1:2], psf[1:2], boundary=boundary)
    torch.testing.assert_close(together[:, 1:2], channel, **near)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.tuples(st.integers(1, 12), st.integers(1, 12)), _BOUNDARIES)
def test_light_is_not_negative_and_grows_with_the_picture(seed, kernel, boundary):
    # P39
    image, more = _pictures(seed, (1, 1, 14, 13)), _pictures(seed + 1, (1, 1, 14, 13))
    psf = _pictures(seed + 2, kernel)
    image = image * (image > 0.5)  # with black parts
    result = optics.convolve(image, psf, boundary=boundary)
    assert result.min() >= -1e-6 * result.max()
    brighter = optics.convolve(image + more, psf, boundary=boundary)
    assert (brighter - result).min() >= -1e-6 * brighter.max()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 5))
def test_a_shifted_psf_shifts_the_picture(seed, dy, dx, taps):
    # P44
    image, small = _pictures(seed, (1, 2, 16, 18)), _pictures(seed + 1, (taps, taps))
    psf = torch.zeros(2, 15, 15, dtype=torch.float64)
    centre = 7 - taps // 2
    psf[:, centre : centre + taps, centre : centre + taps] = small
    result = optics.convolve(image, psf, boundary="circular")
    moved = optics.convolve(image, psf.roll((dy, dx), (-2, -1)), boundary="circular")
    torch.testing.assert_close(moved, result.roll((dy, dx), (-2, -1)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", [(3, 3), (15, 14)])
@pytest.mark.parametrize("boundary", list(_NUMPY_MODE))
def test_float32_is_close_to_float64(boundary, kernel):
    # P38
    image, psf = _pictures(0, (2, 3, 64, 64)), _pictures(1, (3, *kernel))
    psf = psf / psf.sum((-2, -1), keepdim=True)
    single = optics.convolve(image.float(), psf.float(), boundary=boundary)
    assert single.dtype == torch.float32
    double = optics.convolve(image, psf, boundary=boundary)
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [3, 9])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_compute_in_float32(dtype, kernel):
    image, psf = _pictures(0, (1, 3, 16, 16)).to(dtype), _pictures(1, (3, kernel, kernel)).float()
    expected = optics.convolve(image.float(), psf)
    assert torch.equal(optics.convolve(image, psf), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(optics.convolve(image, psf), expected)


def test_arrays_are_no_pictures():
    with pytest.raises(TypeError, match=r"image must be a Tensor, not ndarray: .*torch\.as_tensor"):
        optics.convolve(np.ones((1, 1, 8, 8)), torch.ones(3, 3))
    with pytest.raises(TypeError, match=r"psf must be a Tensor, not ndarray: .*torch\.as_tensor"):
        optics.convolve(torch.ones(1, 1, 8, 8), np.ones((3, 3)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.complex64])
def test_types_without_fractions_or_with_a_phase_are_refused(dtype):
    with pytest.raises(
        ValueError, match=r"image must be real floating point, not torch.*float\(\)"
    ):
        optics.convolve(torch.ones(1, 1, 8, 8, dtype=dtype), torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"psf must be real floating point, not torch"):
        optics.convolve(torch.ones(1, 1, 8, 8), torch.ones(3, 3, dtype=dtype))


@pytest.mark.parametrize(
    ("image", "psf", "boundary", "message"),
    [
        ((3, 8, 8), (3, 3), "zero", r"image must be \[B, C, H, W\]"),
        ((1, 3, 8, 8), (2, 3, 3), "zero", "with C = 3, not of shape"),
        ((1, 3, 8, 8), (6, 3, 3), "zero", "with C = 3, not of shape"),
        ((1, 0, 8, 8), (3, 3), "zero", "no channels"),
        ((1, 1, 0, 8), (5, 5), "zero", r"image has no pixels: it is \(1, 1, 0, 8\)"),
        ((1, 1, 8, 0), (3, 3), "circular", r"image has no pixels: it is \(1, 1, 8, 0\)"),
        ((1, 3, 8, 8), (4, 1, 3, 3), "zero", "with C = 3, not of shape"),
        (
            (1, 3, 8, 8),
            (3, 3),
            "mirror",
            r"boundary must be one of \['zero', 'reflect', .*'mirror'",
        ),
        ((1, 1, 8, 8), (17, 17), "reflect", "use boundary='replicate' or 'zero'"),
        ((1, 1, 8, 8), (9, 3), "circular", "PSF no larger than the picture"),
    ],
)
def test_what_does_not_fit_is_refused(image, psf, boundary, message):
    with pytest.raises(ValueError, match=message):
        optics.convolve(torch.rand(image), torch.rand(psf), boundary=boundary)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.01, 0.3), st.integers(0, 2**31))
def test_the_matrix_transform_is_its_defining_sum(samples, size, step, seed):
    field = torch.complex(_pictures(seed, (samples, 7)), _pictures(seed + 1, (samples, 7)))
    rows = fourier.dft_matrix(samples, size, step=step)
    columns = fourier.dft_matrix(7, 3, step=0.2)
    result = fourier.matrix_dft(field, rows, columns).numpy()
    for k in range(size):
        for m in range(3):
            turns = step * (k - size // 2) * (np.arange(samples) - samples // 2)[:, None] + 0.2 * (
                m - 1
            ) * (np.arange(7) - 3)
            expected = (field.numpy() * np.exp(-2j * np.pi * turns)).sum()
            np.testing.assert_allclose(result[k, m], expected, rtol=1e-12, atol=1e-12)


def test_numbers_of_numpy_are_steps():
    expected = fourier.dft_matrix(6, 4, step=[0.125, 0.25])
    for steps in (np.array([0.125, 0.25], np.float32), [np.float32(0.125), np.float64(0.25)]):
        assert torch.equal(fourier.dft_matrix(6, 4, step=steps), expected)
    for step in (np.float32(0.25), np.array(0.25)):
        assert torch.equal(fourier.dft_matrix(6, 4, step=step), expected[1])


def test_a_matrix_transform_compiles_to_one_graph():
    def transform(field):
        kernels = (fourier.dft_matrix(n, 3, step=0.1, dtype=field.dtype) for n in field.shape)
        return fourier.matrix_dft(field, *kernels)

    field = torch.complex(_pictures(0, (6, 5)), _pictures(1, (6, 5)))
    compiled = torch.compile(transform, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(field), transform(field))


@pytest.mark.parametrize("samples", [8, 9])
def test_the_matrix_transform_contains_the_fft(samples):
    field = torch.complex(_pictures(0, (samples, samples)), _pictures(1, (samples, samples)))
    kernel = fourier.dft_matrix(samples, samples, step=1 / samples)
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(field.numpy())))
    result = fourier.matrix_dft(field, kernel, kernel)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_kernels_for_numbers_are_kept_and_those_for_tensors_have_a_gradient():
    fourier._matrices.clear()
    with torch.inference_mode():
        first = fourier.dft_matrix(6, 4, step=[0.1, 0.2], dtype=torch.complex64)
    again = fourier.dft_matrix(6, 4, step=[0.1, 0.2], dtype=torch.complex64)
    assert len(fourier._matrices) == 1
    assert first.shape == (2, 4, 6)
    assert torch.equal(first, again)
    again.zero_()  # the caller's own, not the one that is kept
    assert first.abs().sum() > 0
    assert torch.equal(first, fourier.dft_matrix(6, 4, step=[0.1, 0.2], dtype=torch.complex64))
    field = torch.ones(6, 6, dtype=torch.complex64, requires_grad=True)
    fourier.matrix_dft(field, first, first).abs().sum().backward()  # not an inference tensor
    for i in range(100):
        fourier.dft_matrix(2, 2, step=i / 200)
    assert len(fourier._matrices) <= fourier._KEPT_MATRICES
    step = torch.tensor(0.13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: fourier.dft_matrix(5, 4, step=s), (step,))


def test_a_copy_of_what_is_kept_may_be_changed_and_trained_with():
    key, made = ("test", "copy"), []

    def make():
        made.append(torch.ones(2))
        return made[-1]

    try:
        with torch.inference_mode():
            copy = fourier.kept_copy(key, make)
        copy.mul_(torch.tensor(3.0, requires_grad=True)).sum().backward()
        assert fourier.kept_copy(key, make).tolist() == [1.0, 1.0]
        assert len(made) == 1
    finally:
        fourier._matrices.pop(key, None)


def test_what_is_kept_has_a_limit_of_memory(monkeypatch):
    fourier._matrices.clear()
    monkeypatch.setattr(fourier, "_KEPT_BYTES", 20_000)
    for size in range(10, 20):
        fourier.dft_matrix(size, size, step=1 / size)  # of 16 bytes a number
    assert [len(matrix) for matrix, _ in fourier._matrices.values()] == [16, 17, 18, 19]
    fourier.dft_matrix(100, 100, step=0.01)  # larger than all of it, and kept
    assert [len(matrix) for matrix, _ in fourier._matrices.values()] == [100]


def test_what_does_not_fit_a_matrix_transform_is_refused():
    kernel = fourier.dft_matrix(6, 4, step=0.1)
    with pytest.raises(ValueError, match=r"must fit the field \[\.\.\., H, W\]; they are"):
        fourier.matrix_dft(torch.ones(6, 5), kernel, kernel)
    with pytest.raises(ValueError, match="samples must be a whole number of at least 1, not 0"):
        fourier.dft_matrix(0, 4, step=0.1)
    with pytest.raises(ValueError, match=r"size must be a whole number of at least 1, not 4\.5"):
        fourier.dft_matrix(6, 4.5, step=0.1)


@_FORWARD
def test_what_is_kept_is_plain_whoever_asks_first():
    """A transform tracks the tensors that are made in it, and a mode may make some without data."""

    def light(value):
        kernel = fourier.kept(("test", "hessian"), lambda: torch.tensor([2.0]))
        return (value * kernel).square().sum()

    try:
        assert torch.func.hessian(light)(torch.ones(1)).item() == 8.0
        assert torch.func.hessian(light)(torch.ones(1)).item() == 8.0
        with FakeTensorMode():
            fourier.dft_matrix(3, 7, step=0.1)
        assert type(fourier.dft_matrix(3, 7, step=0.1)) is torch.Tensor
        with torch.device("meta"):
            assert fourier.dft_matrix(3, 8, step=0.1).is_meta
        assert not fourier.dft_matrix(3, 8, step=0.1).is_meta
    finally:
        fourier._matrices.clear()


@_FORWARD
@pytest.mark.parametrize("boundary", ["zero", "circular", "replicate"])
def test_a_convolution_has_a_derivative_in_forward_mode_and_a_hessian(boundary):
    image, psf = _pictures(1, (2, 2, 7, 6)), _pictures(2, (2, 5, 4))

    def both(image, psf):
        return optics.convolve(image, psf, boundary=boundary)

    for argument in (0, 1):
        forward = torch.func.jacfwd(both, argnums=argument)(image, psf)
        backward = torch.func.jacrev(both, argnums=argument)(image, psf)
        torch.testing.assert_close(forward, backward)
    loss = torch.func.hessian(lambda psf: both(image, psf).square().sum())(psf)
    jacobian = torch.func.jacrev(both, argnums=1)(image, psf).flatten(4).flatten(0, 3)
    torch.testing.assert_close(loss.reshape(40, 40), 2 * jacobian.T @ jacobian)


def test_a_phasor_has_its_slope_forwards_backwards_and_twice():
    phase = torch.linspace(-4, 5, 7, dtype=torch.float64, requires_grad=True)
    np.testing.assert_allclose(
        fourier.phasor(phase).detach(), np.exp(1j * phase.detach().numpy()), atol=1e-15
    )
    assert torch.autograd.gradcheck(
        fourier.phasor, (phase,), check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(fourier.phasor, (phase,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_phasor_of_half_precision_is_formed_in_single(dtype):
    phase = torch.linspace(-4, 5, 7).to(dtype)
    assert torch.equal(fourier.phasor(phase), fourier.phasor(phase.float()))
