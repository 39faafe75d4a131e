import math

import kornia
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from joint.train import view


def _pictures(*shape, seed=0):
    shape = shape or (4, 3, 20, 26)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def _smooth(*shape):
    """Without detail of a pixel, which tells samplings at slightly other places apart."""
    return torch.from_numpy(scipy.ndimage.gaussian_filter(_pictures(*shape).numpy(), (0, 0, 2, 2)))


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-180, 180), st.floats(0.5, 2), st.floats(-40, 40), st.floats(-5, 5), st.floats(-5, 5)
)
def test_warps_are_those_of_scikit_image(turn, scale, shear, right, down):
    images = _smooth(1, 2, 20, 26)
    matrix = view.affine(
        _tensor(math.radians(turn)), scale=_tensor(scale), shear=_tensor(math.radians(shear))
    )
    ours = view.warp(images, matrix, _tensor(right, down)[None])[0].numpy()
    transform = skimage.transform.AffineTransform
    # The parts one after the other, as their descriptions say, about the middle of the picture.
    lean = np.array([[1.0, math.tan(math.radians(shear)), 0], [0, 1, 0], [0, 0, 1]])
    whole = (
        transform(translation=(-12.5, -9.5))
        + transform(scale=scale)
        + transform(matrix=lean)
        + transform(rotation=math.radians(turn))
        + transform(translation=(12.5 + right, 9.5 + down))
    )
    for channel, expected in zip(ours, images[0].numpy(), strict=True):
        theirs = skimage.transform.warp(expected, whole.inverse, order=1, mode="edge")
        np.testing.assert_allclose(channel, theirs, atol=1e-9)


def test_warps_are_those_of_kornia():
    images = _smooth(4, 3, 20, 20)
    turn, scale = _tensor(0.1, -2.0, 3.0, 0.0), _tensor(1.0, 0.8, 1.3, 1.0)
    shift = _tensor([0.0, 0.0], [3.0, -1.5], [0.25, 4.0], [-2.0, 0.0])
    matrix = kornia.geometry.transform.get_affine_matrix2d(
        shift,
        _tensor([9.5, 9.5]).expand(4, 2),
        scale[:, None].expand(4, 2),
        torch.rad2deg(turn),
    )
    theirs = kornia.geometry.transform.warp_affine(
        images, matrix[:, :2], (20, 20), padding_mode="border", align_corners=True
    )
    ours = view.warp(images, view.affine(turn, scale=scale, shear=torch.zeros(4)), shift)
    # At a fraction of a pixel beyond the border, kornia's grid is rounded to 1e-7 of it.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (7, 7)])
def test_poses_are_exact_and_their_matrices_agree(size):
    images = _pictures(8, 3, *size)
    choice = torch.tensor([[bool(i & 4), bool(i & 2), bool(i & 1)] for i in range(8)])
    posed = view.pose(images, choice)
    seen = {
        tuple(p.flatten().tolist()) for p in view.pose(images[:1].expand(8, -1, -1, -1), choice)
    }
    assert len(seen) == 8
    for picture, result, (flip_x, flip_y, swap) in zip(images, posed, choice, strict=True):
        expected = picture.numpy()
        expected = np.flip(expected, 2) if flip_x else expected
        expected = np.flip(expected, 1) if flip_y else expected
        expected = expected.transpose(0, 2, 1) if swap else expected
        np.testing.assert_array_equal(result.numpy(), expected)
    warped = view.warp(images, view.pose_matrix(choice, torch.float64), torch.zeros(8, 2))
    torch.testing.assert_close(warped, posed)


# The matrices of the W3C's Filter Effects Module, with its coefficients of luminance rounded.
def _w3c_saturate(s):
    return np.array(
        [
            [0.213 + 0.787 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s],
            [0.213 - 0.213 * s, 0.715 + 0.285 * s, 0.072 - 0.072 * s],
            [0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 + 0.928 * s],
        ]
    )


def _through(matrix, images):
    return np.einsum("ij,bjhw->bihw", matrix, images.numpy())


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.6])
def test_saturation_is_that_of_the_web(factor):
    images = _pictures()
    ours = view.recolour(images, torch.ones(4, 3).double(), saturation=_tensor(*[factor] * 4))
    np.testing.assert_allclose(ours, _through(_w3c_saturate(factor), images), atol=2e-3)
    grey = skimage.color.rgb2gray(images.movedim(1, -1).numpy())
    if factor == 0:
        np.testing.assert_allclose(ours, np.stack([grey] * 3, 1), atol=5e-4)


@settings(deadline=None, max_examples=25)
@given(st.floats(-math.pi, math.pi))
def test_hue_keeps_luminance_and_grey_and_turns_about_it(angle):
    images = _pictures()
    ones = torch.ones(4, 3).double()
    luminance = torch.tensor(view.LUMINANCE, dtype=torch.float64)

    def turned(images, by):
        return view.recolour(images, ones, hue=_tensor(*[by] * 4))

    ours = turned(images, angle)
    torch.testing.assert_close(
        torch.einsum("c,bchw->bhw", luminance, ours),
        torch.einsum("c,bchw->bhw", luminance, images),
    )
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(turned(grey, angle), grey)
    torch.testing.assert_close(turned(ours, -angle), images)
    # Across the grey axis, which the shear does not move, it is a rotation by this angle.
    across = torch.linalg.qr(torch.ones(3, 1).double(), mode="complete").Q[:, 1:]
    colours = torch.einsum("cd,bchw->bhwd", across, images)
    after = torch.einsum("cd,bchw->bhwd", across, ours)
    torch.testing.assert_close(after.norm(dim=-1), colours.norm(dim=-1))
    cosine = (after * colours).sum(-1) / colours.square().sum(-1)
    torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(angle)))


def test_a_third_of_a_turn_passes_red_to_green():
    """Up to the luminance that is given back in equal parts."""
    red = _tensor(1.0, 0.0, 0.0)[None, :, None, None]
    turned = view.recolour(red, torch.ones(1, 3).double(), hue=_tensor(2 * math.pi / 3))[0, :, 0, 0]
    torch.testing.assert_close(turned - turned.min(), _tensor(0.0, 1.0, 0.0))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_contrast_moves_away_from_the_mean_luminance(channels):
    images, gain = _pictures(4, channels, 9, 9), _pictures(4, channels, seed=1)
    lit = images * gain[:, :, None, None]
    shares = view.LUMINANCE if channels == 3 else [1 / channels] * channels
    mean = torch.einsum("c,bchw->b", _tensor(*shares), lit)[:, None, None, None] / 81
    factor = _tensor(0.0, 0.5, 1.0, 1.4)
    ours = view.recolour(images, gain, contrast=factor)
    torch.testing.assert_close(ours, mean + factor[:, None, None, None] * (lit - mean))
    torch.testing.assert_close(view.recolour(images, gain), lit)


def test_contrast_saturation_and_hue_can_be_done_in_any_order():
    images, gain = _pictures(), _pictures(4, 3, seed=2)
    ones = torch.ones(4, 3).double()
    changes = {
        "contrast": _tensor(0.5, 1.5, 1.2, 0.9),
        "saturation": _tensor(1.5, 0.2, 1.0, 0.7),
        "hue": _tensor(0.3, -1.0, 2.0, 0.0),
    }
    at_once = view.recolour(images, gain, **changes)
    for order in (("contrast", "saturation", "hue"), ("hue", "contrast", "saturation")):
        one_by_one = view.recolour(images, gain)
        for name in order:
            one_by_one = view.recolour(one_by_one, ones, **{name: changes[name]})
        torch.testing.assert_close(at_once, one_by_one)


def test_blur_is_that_of_scipy():
    images, sigma = _pictures(3, 2, 21, 17), _tensor(0.0, 0.7, 1.5)
    ours = view.blur(images, sigma, largest=1.5)
    assert torch.equal(ours[0], images[0])
    for picture, result, width in zip(images[1:], ours[1:], sigma[1:], strict=True):
        expected = scipy.ndimage.gaussian_filter(
            picture.numpy(), (0, float(width), float(width)), mode="nearest", radius=(0, 5, 5)
        )
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


def test_a_box_takes_the_mean_colour():
    images = _pictures(3, 2, 8, 12)
    ours = view.cut_out(
        images, _tensor([0.5, 0.5], [0.0, 1.0], [0.5, 0.5]), side=_tensor(0.5, 0.5, 0.0)
    )
    covered = (ours != images).all(1)
    assert covered.sum((1, 2)).tolist() == [4 * 6, 2 * 3, 0]
    assert covered[0, 2:6, 3:9].all()
    assert covered[1, :2, 9:].all()
    torch.testing.assert_close(ours[0, :, 3, 4], images[0].mean((-2, -1)))


def test_gradients_reach_the_picture():
    images = _pictures(2, 3, 5, 5).requires_grad_()
    angle, ones = _tensor(0.2, -0.4), _tensor(1.0, 0.9)

    def views(images):
        moved = view.warp(
            images, view.affine(angle, scale=ones, shear=angle), _tensor([0.3, 0.1], [0.0, -0.4])
        )
        soft = view.blur(moved, ones, largest=1.0)
        shown = view.recolour(
            soft, _tensor([1.0, 0.9, 1.1]).expand(2, 3), contrast=ones, saturation=ones, hue=angle
        )
        return view.cut_out(shown, _tensor([0.5, 0.5], [0.2, 0.8]), side=_tensor(0.4, 0.4))

    assert torch.autograd.gradcheck(views, (images,))
