import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from classify.data.draws import Draws, keys_of
from classify.data.scene import Look, _blend, _blurred, _turned, draw_scene, photograph
from classify.data.skin import WAVELENGTHS, reflectance, srgb_codes


def _look(size=32, *, device="cpu", blur=0.0, wavelengths=None, difficulty=0.5):
    return Look(
        size=size, seed=0, difficulty=difficulty, contrast=1.0, skin=(0.013, 0.063), blur=blur,
        wavelengths=wavelengths, device=torch.device(device),
    )  # fmt: skip


def _pictures(look, count=14):
    labels = torch.arange(count, device="cpu") % 7
    of_lesion = Draws(keys_of(3, 1, torch.arange(count), labels).to(look.device))
    draws = Draws(keys_of(3, 2, torch.arange(count), labels).to(look.device))
    scene = draw_scene(labels.to(look.device), of_lesion, draws, look, trace=True)
    return scene, photograph(scene, draws, look)


def test_the_8_poses_are_the_8_symmetries_of_the_square():
    picture = torch.arange(9.0).reshape(1, 3, 3).expand(8, 3, 3)
    turns = torch.tensor([[bool(k & 1), bool(k & 2), bool(k & 4)] for k in range(8)])
    poses = {tuple(pose.flatten().tolist()) for pose in _turned(picture, turns)}
    corner = picture[0].numpy()
    quarter = [np.rot90(side, k) for k in range(4) for side in (corner, corner[:, ::-1])]
    assert poses == {tuple(pose.ravel().tolist()) for pose in quarter}
    channels = picture[:, None].expand(8, 2, 3, 3)
    assert torch.equal(_turned(channels, turns)[:, 1], _turned(picture, turns))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.2])
def test_blur_is_that_of_scipy(sigma):
    light = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)).double()
    reach = int(np.ceil(3 * sigma))
    expected = gaussian_filter(light.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=reach)
    np.testing.assert_allclose(_blurred(light, sigma), expected, atol=1e-12)


def test_colours_are_blended_along_the_spectrum():
    colours = torch.tensor([[3.0, 2.0, 1.0]])  # red, green, blue
    assert torch.equal(_blend(colours, WAVELENGTHS), colours)
    beyond = _blend(colours, (400e-9, 504e-9, 578.5e-9, 900e-9))
    np.testing.assert_allclose(beyond, [[1.0, 1.5, 2.5, 3.0]], rtol=1e-6)


def test_a_photograph_is_the_reflectance_under_some_light():
    look = _look(64, wavelengths=(500e-9, 800e-9), difficulty=0.0)
    scene, light = _pictures(look, 60)
    skin = reflectance(
        scene.melanin, scene.dermal, scene.blood, scene.keratin,
        wavelengths=look.wavelengths, saturation=1.0,
    ).transpose(0, 1)  # fmt: skip
    middle = (light / skin)[:, :, 24:40, 24:40].flatten(2)
    # No hair there: the same factor, but for the slope of the light, at all pixels.
    even = middle.amax(2) / middle.amin(2) < 1.06
    assert even.float().mean() > 0.7
    factors = middle.mean(2)[even.all(1)]
    assert float(factors.log().std()) < 0.12
    assert float(factors.log().mean().abs()) < 0.05


def test_hair_is_dark_and_comes_with_difficulty():
    (easy, easy_light), (hard, hard_light) = (
        _pictures(_look(64, difficulty=d), 200) for d in (0.0, 1.0)
    )
    for scene, light, share in ((easy, easy_light, 0.15), (hard, hard_light, 0.5)):
        skin = reflectance(
            scene.melanin, scene.dermal, scene.blood, scene.keratin,
            wavelengths=WAVELENGTHS, saturation=1.0,
        ).transpose(0, 1)  # fmt: skip
        ratio = (light / skin)[:, 0, 10:54, 10:54].flatten(1)
        hairy = ratio.amin(1) / ratio.median(1).values < 0.8
        assert float(hairy.float().mean()) == pytest.approx(share, abs=0.12)


class _Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_no_loop_runs_over_pixels_or_pictures():
    calls = []
    for size, count in ((16, 400), (32, 400), (16, 900)):
        with _Count() as counted:
            _pictures(_look(size), count)
        calls.append(counted.calls)
    assert calls[0] == calls[1] == calls[2]


def test_everything_is_drawn_on_the_device(monkeypatch):
    # No GPU is needed: fake tensors compute shapes and devices, and refuse to mix devices. Which
    # pictures show a structure is a matter of numbers; here, the first two show them all.
    monkeypatch.setattr(
        torch, "nonzero", lambda x: torch.arange(min(2, len(x)), device=x.device)[:, None]
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        scene, light = _pictures(_look(device="cuda", blur=1e-4, wavelengths=(5e-7, 8e-7)))
        codes = srgb_codes(light)
    assert codes.shape == (14, 2, 32, 32)
    parts = (scene.melanin, scene.mask, scene.shown, scene.people, scene.radius, scene.where)
    assert {part.device.type for part in (codes, *parts)} == {"cuda"}
