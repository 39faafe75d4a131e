"""What every front end promises, whatever it is."""

import pytest
import torch

import optics


def _pupil(*elements):
    return optics.Pupil(
        elements, wavelengths=(620e-9, 540e-9, 460e-9), focal_length=20e-3, pixel_pitch=3e-6,
        psf_size=15, size=64, spacing=40e-6,
    )  # fmt: skip


def _mask():
    phase = 0.5 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    return optics.PhaseMask(torch.nn.Parameter(phase), spacing=40e-6)


def _varying():
    size = torch.linspace(0.6, 2.0, 6)[:, None, None]
    x = torch.arange(9) - 4.0
    psfs = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * size**2))
    psfs = 0.8 * psfs / psfs.sum((-2, -1), keepdim=True)
    return optics.VaryingImaging(torch.nn.Parameter(psfs.reshape(2, 3, 9, 9)), rank=2)


KINDS = {
    "kernel, one exposure": lambda: optics.LearnedKernel("gaussian", 7, signed=False),
    "kernel, two exposures": lambda: optics.LearnedKernel("sobel", 5),
    "incoherent": lambda: optics.IncoherentImaging(_pupil(_mask())),
    "restored": lambda: optics.IncoherentImaging(_pupil(_mask()), restoration=optics.Wiener()),
    "distorting": lambda: optics.IncoherentImaging(
        _pupil(_mask()),
        projection=optics.Projection(
            radial=torch.nn.Parameter(torch.tensor([0.2, -0.05])),
            magnification=torch.nn.Parameter(torch.tensor([0.99, 1.0, 1.01])),
            half_field=torch.nn.Parameter(torch.tensor(0.5)),
        ),
    ),
    "coherent": lambda: optics.CoherentImaging(_pupil(_mask())),
    "varying": _varying,
    "4f, coherent": lambda: optics.FourierFilter(32, "spiral"),
    "4f, incoherent": lambda: optics.FourierFilter(32, "phase_contrast", illumination="incoherent"),
}


@pytest.fixture(params=KINDS)
def front_end(request):
    """One of each kind."""
    return KINDS[request.param]()


def _scenes(size=32):
    """Light in the middle, so that none of it leaves over the border."""
    scenes = torch.zeros(2, 3, size, size)
    middle = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    scenes[..., 12:20, 12:20] = middle
    return scenes


def test_shapes_are_those_it_names(front_end):
    irradiance = front_end(_scenes())
    assert front_end.in_channels == 3
    assert irradiance.shape == (2, front_end.exposures * 3, 32, 32)
    assert front_end.combine(irradiance).shape == (2, front_end.out_channels, 32, 32)


def test_light_is_never_made(front_end):
    scenes = _scenes()
    with torch.no_grad():
        irradiance = front_end(scenes)
        assert 0 <= float(front_end.throughput()) <= 1 + 1e-6
    assert float(irradiance.min()) >= -1e-7
    assert float(irradiance.sum()) <= float(scenes.sum()) * (1 + 1e-5)


def test_a_scene_of_other_channels_is_refused(front_end):
    with pytest.raises(ValueError, match=r"\[B, 3, "):
        front_end(torch.rand(2, 4, 32, 32))


def test_what_learns_has_a_gradient(front_end):
    irradiance = front_end(_scenes())
    front_end.combine(irradiance).square().sum().backward()
    for name, parameter in front_end.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_it_is_an_interface():
    with pytest.raises(TypeError, match="abstract"):
        optics.FrontEnd()


def test_exposures_of_other_channels_are_not_combined(front_end):
    channels = 3 * front_end.exposures
    for shape in ((1, channels + 4, 32, 32), (channels, 32, 32)):
        with pytest.raises(ValueError, match=rf"combine takes \[B, {channels}, H, W\], not \("):
            front_end.combine(torch.ones(shape))


def test_scenes_of_other_channels_or_none_are_refused(front_end):
    channels = front_end.in_channels
    for given in (torch.rand(2, channels + 1, 32, 32), torch.rand(channels, 32, 32)):
        with pytest.raises(ValueError, match=rf"scenes \[B, {channels}, .*, not \("):
            front_end(given)
    with pytest.raises(TypeError, match="scene must be a Tensor, not list"):
        front_end([[0.0]])
