import math

import pytest
import torch

import optics


def test_several_distances_are_a_tensor():
    with pytest.raises(
        TypeError, match=r"distance must be one number or a Tensor, .* \[1\.0, 2\.0\]"
    ):
        optics.defocus_path(5, spacing=1e-3, distance=[1.0, 2.0], focus=1.0)
    with pytest.raises(TypeError, match="focus must be one number or a Tensor"):
        optics.defocus_path(5, spacing=1e-3, distance=1.0, focus=(1.0, 2.0))


def test_defocus_is_nothing_in_focus_and_follows_the_paraxial_formula():
    path = optics.defocus_path(
        5, spacing=1e-3, distance=torch.tensor([0.5, 1.0, math.inf]), focus=1.0
    )
    assert path.shape == (3, 5, 5)
    assert not path[1].any()
    torch.testing.assert_close(path[0, 0, 0], torch.tensor(4e-6, dtype=torch.float64))
    torch.testing.assert_close(path[2], -path[0])
    # A point nearer by dz is sharp where 1 / s' = 1 / f - 1 / s: the wavefront of a sphere.
    assert float(path[0, 2, 4]) == pytest.approx(4e-6 / 2 * (1 / 0.5 - 1), rel=1e-12)


@pytest.mark.parametrize("name", ["distance", "focus"])
@pytest.mark.parametrize("zero", [0, 0.0, torch.tensor(0.0), torch.tensor([1.0, 0.0])])
def test_nothing_lies_in_the_pupil(name, zero):
    given = {"distance": 1.0, "focus": 1.0, name: zero}
    with pytest.raises(
        ValueError, match=f"{name} must be metres other than 0, the place of the pupil"
    ):
        optics.defocus_path(5, spacing=1e-3, **given)


def test_light_that_converges_comes_from_a_negative_distance():
    path = optics.defocus_path(5, spacing=1e-3, distance=-2.0, focus=math.inf)
    torch.testing.assert_close(
        path, -optics.defocus_path(5, spacing=1e-3, distance=2.0, focus=math.inf)
    )
