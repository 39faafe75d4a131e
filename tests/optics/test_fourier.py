import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

import optics
from optics import fourier

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


@pytest.mark.parametrize("path", [fourier._direct, fourier._transformed])
@pytest.mark.parametrize("shape", [(3, 1), (6, 1), (3, 3), (5, 3)])
def test_both_paths_follow_every_form_of_kernel(path, shape):
    image, psf = _pictures(0, (2, 3, 20, 17)), _pictures(1, (*shape, 5, 4))
    result = path(image, psf)
    for out in range(shape[0]):
        sources = range(3) if shape[1] == 3 else [out % 3]
        expected = sum(
            convolve2d(image[0, c].numpy(), psf[out, i].numpy(), mode="valid")
            for i, c in enumerate(sources)
        )
        np.testing.assert_allclose(result[0, out].numpy(), expected, rtol=1e-10, atol=1e-10)


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


def test_pictures_of_a_batch_do_not_see_each_other():
    image, psf = _pictures(0, (4, 3, 16, 16)), _pictures(1, (3, 7, 7))
    together = optics.convolve(image, psf)
    torch.testing.assert_close(together[2:3], optics.convolve(image[2:3], psf))


def test_float32_is_close_to_float64():
    image, psf = _pictures(0, (2, 3, 64, 64)), _pictures(1, (3, 15, 15)) / 225
    single = optics.convolve(image.float(), psf.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), optics.convolve(image, psf), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float16])
def test_types_without_fractions_or_transforms_are_refused(dtype):
    with pytest.raises(ValueError, match=r"image must be float32 or float64.*image\.float\(\)"):
        optics.convolve(torch.ones(1, 1, 8, 8, dtype=dtype), torch.ones(3, 3))


@pytest.mark.parametrize(
    ("image", "psf", "boundary", "message"),
    [
        ((3, 8, 8), (3, 3), "zero", r"image must be \[B, C, H, W\]"),
        ((1, 3, 8, 8), (2, 3, 3), "zero", "with C = 3, not of shape"),
        ((1, 3, 8, 8), (6, 3, 3), "zero", "with C = 3, not of shape"),
        ((1, 0, 8, 8), (3, 3), "zero", "no channels"),
        ((1, 3, 8, 8), (4, 1, 3, 3), "zero", "with C = 3, not of shape"),
        ((1, 3, 8, 8), (3, 3), "mirror", "boundary must be 'zero', 'reflect'"),
        ((1, 1, 8, 8), (17, 17), "reflect", "use boundary='replicate' or 'zero'"),
        ((1, 1, 8, 8), (9, 3), "circular", "PSF no larger than the picture"),
    ],
)
def test_what_does_not_fit_is_refused(image, psf, boundary, message):
    with pytest.raises(ValueError, match=message):
        optics.convolve(torch.rand(image), torch.rand(psf), boundary=boundary)
