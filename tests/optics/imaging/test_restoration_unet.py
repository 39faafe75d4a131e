"""The network that a camera computes after its sensor."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_tv_chambolle
from torch.nn import functional

import optics

_SIDES = st.integers(1, 21)


def _pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _trained(**options):
    """A network that adds something, as one that was trained does."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = optics.RestorationUNet(**{"width": 4, **options})
        torch.nn.init.normal_(net.tail.weight, std=0.1)
    return net.double()


@given(height=_SIDES, width=_SIDES, scales=st.integers(1, 4), channels=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_it_begins_as_the_identity_at_any_size(height, width, scales, channels):
    pictures = _pictures(2, channels, height, width)
    net = optics.RestorationUNet(channels, width=2, scales=scales)
    assert torch.equal(net(pictures), pictures)


def test_with_upscaling_it_begins_as_bilinear_interpolation():
    pictures = _pictures(2, 3, 5, 7)
    restored = optics.RestorationUNet(upscaling=3, width=2)(pictures)
    wanted = functional.interpolate(pictures, (15, 21), mode="bilinear", align_corners=False)
    torch.testing.assert_close(restored, wanted)


def test_with_other_channels_it_begins_as_their_mean():
    pictures = _pictures(2, 4, 6, 6)
    restored = optics.RestorationUNet(4, out_channels=3, width=2)(pictures)
    torch.testing.assert_close(restored, pictures.mean(1, keepdim=True).expand(-1, 3, -1, -1))


@given(height=_SIDES, width=_SIDES, factor=st.floats(0, 50))
@settings(max_examples=25, deadline=None)
def test_it_is_homogeneous(height, width, factor):
    # Theorem of Mohan et al. (2020): without biases, ReLU networks are of degree one.
    net, pictures = _trained(), _pictures(1, 3, height, width).double()
    torch.testing.assert_close(net(factor * pictures), factor * net(pictures), rtol=1e-9, atol=1e-9)


@given(height=_SIDES, width=_SIDES, scales=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_even_ground_stays_even_up_to_the_border(height, width, scales):
    net = _trained(scales=scales)
    level = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).reshape(1, 3, 1, 1)
    restored = net(level.expand(-1, -1, height, width))
    torch.testing.assert_close(restored, restored[..., :1, :1].expand_as(restored))
    assert not torch.allclose(restored[..., :1, :1], level), "the network does nothing"


def test_a_shifted_picture_is_restored_alike():
    net = _trained(scales=2)
    pictures = _pictures(1, 3, 64, 64).double()
    moved = torch.roll(pictures, (2, -4), (-2, -1))
    inside = (..., slice(20, -20), slice(20, -20))
    wanted = torch.roll(net(pictures), (2, -4), (-2, -1))
    torch.testing.assert_close(net(moved)[inside], wanted[inside])


def test_it_sees_as_far_as_its_scales():
    for scales, reach in ((1, 4), (2, 10), (3, 22)):
        net = _trained(scales=scales)
        pictures = _pictures(1, 3, 96, 96).double().requires_grad_()
        (gradient,) = torch.autograd.grad(net(pictures)[0, 0, 48, 48], pictures)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        assert reach / 2 <= 48 - int(rows.min()) <= 2 * reach, scales


def test_pictures_do_not_depend_on_their_batch_in_training():
    net, pictures = _trained().train(), _pictures(3, 3, 9, 10).double()
    torch.testing.assert_close(net(pictures)[1:2], net(pictures[1:2]))


def test_it_learns_what_its_pictures_are_of():
    # Gratings of one period in any direction: total variation, at its best weight, knows none.
    generator = torch.Generator().manual_seed(0)

    def clean(count):
        turn, phase = torch.rand(2, count, 1, 1, 1, generator=generator) * 2 * torch.pi
        y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
        along = x * turn.cos() + y * turn.sin()
        return 0.5 + 0.4 * torch.sin(2 * torch.pi * along / 6 + phase)

    def noisy(pictures):
        return pictures + 0.3 * torch.randn(pictures.shape, generator=generator)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = optics.RestorationUNet(1, width=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for _ in range(100):
        truth = clean(16)
        optimizer.zero_grad()
        functional.mse_loss(net(noisy(truth)), truth).backward()
        optimizer.step()
    truth = clean(40)
    seen = noisy(truth)
    with torch.no_grad():
        restored = net(seen)[:, 0].double().numpy()
    exact, given = (pictures[:, 0].double().numpy() for pictures in (truth, seen))
    by_variation = max(
        peak_signal_noise_ratio(
            exact, np.stack([denoise_tv_chambolle(p, weight=weight) for p in given]), data_range=1
        )
        for weight in (0.1, 0.2, 0.3, 0.5)
    )
    ours = peak_signal_noise_ratio(exact, restored, data_range=1)
    assert ours > by_variation + 3


@pytest.mark.parametrize("name", ["channels", "out_channels", "width", "scales", "blocks"])
@pytest.mark.parametrize("value", [0, 1.5])
def test_options_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1"):
        optics.RestorationUNet(**{name: value})


@pytest.mark.parametrize("pictures", [torch.rand(1, 4, 8, 8), torch.rand(3, 8, 8)])
def test_other_pictures_are_refused(pictures):
    with pytest.raises(ValueError, match=r"takes pictures \[B, 3, H, W\], not"):
        optics.RestorationUNet()(pictures)


def test_whole_numbers_are_no_pictures():
    with pytest.raises(ValueError, match="picture must be real floating point"):
        optics.RestorationUNet()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_it_says_what_it_is():
    shown = repr(optics.RestorationUNet(4, out_channels=3, upscaling=2))
    assert "channels=4, out_channels=3, upscaling=2" in shown
    assert "upscaling=1" not in repr(optics.RestorationUNet())
