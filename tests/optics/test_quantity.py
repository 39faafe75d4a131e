import pytest
import torch
from torch import nn

from optics import quantity


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
    with pytest.raises(ValueError, match=r"psf_size must be \(H, W\) of at least 1 sample, not 0"):
        quantity.image_size(0, "psf_size")


def test_a_parameter_keeps_its_identity():
    module, parameter = nn.Module(), nn.Parameter(torch.ones(2))
    quantity.hold(module, "phase", parameter)
    quantity.hold(module, "amplitude", torch.ones(3))
    assert module.phase is parameter
    assert [name for name, _ in module.named_buffers()] == ["amplitude"]


def test_a_value_outside_of_its_range_is_refused():
    quantity.check_between("share", torch.tensor([0.0, 1.0]), 0, 1, "fractions")
    with pytest.raises(
        ValueError, match="share must be between 0 and 1, in fractions; it reaches 2"
    ):
        quantity.check_between("share", torch.tensor([0.5, 2.0]), 0, 1, "fractions")
    with pytest.raises(ValueError, match="stop must be 0 or more, in pixels; it reaches -1"):
        quantity.check_between("stop", -1.0, 0, float("inf"), "pixels")
