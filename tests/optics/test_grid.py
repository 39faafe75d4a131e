import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import next_fast_len
from torch._dynamo.testing import CompileCounter

import optics


@given(st.integers(1, 5000))
def test_fast_size_is_the_smallest_even_smooth_number(minimum):
    size = optics.fast_size(minimum)
    candidates = range(minimum, size + 1)
    # scipy's real transform lengths are the 5-smooth numbers.
    smooth = [n for n in candidates if n % 2 == 0 and next_fast_len(n, real=True) == n]
    assert smooth == [size]


@given(st.integers(1, 50), st.floats(1e-7, 10))
def test_grids_put_the_origin_on_a_sample(size, spacing):
    positions = optics.coordinates(size, spacing=spacing)
    assert positions[size // 2] == 0
    assert positions.dtype == torch.float64
    expected = torch.fft.fftshift(torch.fft.fftfreq(size, d=spacing, dtype=torch.float64))
    torch.testing.assert_close(
        optics.frequencies(size, spacing=spacing), expected, rtol=1e-12, atol=0
    )


def test_a_transform_needs_a_sample():
    for none in (0, 2.5, float("nan"), float("inf"), "7", None):
        with pytest.raises(ValueError, match=f"at least one sample, not {none}"):
            optics.fast_size(none)
        for grid in (optics.coordinates, optics.frequencies):
            with pytest.raises(
                ValueError, match=f"size must be .* at least one sample, not {none}"
            ):
                grid(none)


def test_a_spacing_is_one_number():
    for grid in (optics.coordinates, optics.frequencies):
        for wrong in ("1", None, [1.0, 2.0], torch.ones(2)):
            with pytest.raises(TypeError, match="spacing must be one number, in metres or pixels"):
                grid(5, spacing=wrong)
    for wrong in (0, 0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="spacing must be positive"):
            optics.frequencies(5, spacing=wrong)


def test_sizes_are_compiled_for_once():
    counter = CompileCounter()

    def places(picture):
        return optics.coordinates(picture.shape[-1], spacing=2.0) + picture

    compiled = torch.compile(places, backend=counter, dynamic=True)
    for size in (5, 6, 7, 9):
        picture = torch.zeros(size)
        torch.testing.assert_close(compiled(picture), places(picture))
    assert counter.frame_count == 1
