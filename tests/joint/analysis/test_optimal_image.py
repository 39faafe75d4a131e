import pytest
import torch
from torch import nn

import compress
import joint
import optics
from joint.analysis.optimal_image import optimal_image, total_variation


class _Stripes(nn.Module):
    """Class 1 is fine stripes, class 0 a bright middle, both as a smooth score."""

    def forward(self, image):
        grey = image.mean(1)
        sign = torch.tensor([1.0, -1.0]).repeat(grey.shape[-1] // 2).to(grey)
        stripes = (grey * sign).mean((-2, -1))
        middle = grey[:, 6:10, 6:10].mean((-2, -1)) - grey.mean((-2, -1))
        return 20 * torch.stack((middle, stripes), 1)


def _grey(count=2, seed=0):
    noise = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.05 * noise).clamp(0, 1)


def test_the_best_so_far_never_falls_and_the_scene_stays_in_range():
    system = joint.ImagingSystem(classifier=_Stripes())
    found = optimal_image(system, _grey(), 1, steps=60, learning_rate=0.2)
    assert found.best.shape == (61, 2)
    assert (found.best.diff(dim=0) >= 0).all()
    assert (found.best[-1] > found.best[0] + 5).all()
    assert found.scenes.min() >= 0
    assert found.scenes.max() <= 1
    # What is returned is what reached the best value; its logit is that of a pass of its own.
    torch.testing.assert_close(found.logits, system(found.scenes).logits)
    torch.testing.assert_close(found.logits[:, 1], found.best[-1])
    # The score is linear in the pixels: its maximum is bright and dark stripes.
    grey = found.scenes.mean(1)
    assert (grey[..., ::2] > 0.8).all()
    assert (grey[..., 1::2] < 0.2).all()


def test_roughness_has_a_price():
    system = joint.ImagingSystem(classifier=_Stripes())
    rough, smooth = (
        optimal_image(system, _grey(), 1, steps=60, learning_rate=0.2, roughness=price)
        for price in (0.0, 30.0)
    )
    assert (total_variation(smooth.scenes) < 0.5 * total_variation(rough.scenes)).all()
    assert (smooth.logits[:, 1] < rough.logits[:, 1]).all()
    ramp = torch.arange(4.0).expand(1, 3, 5, 4)
    assert float(total_variation(ramp)) == 1.0  # 1 along rows, 0 along columns


def test_pictures_of_one_row_have_a_roughness_and_can_move():
    row = torch.rand(2, 3, 1, 8, generator=torch.Generator().manual_seed(0))
    across = row.diff(dim=-1).abs().mean((1, 2, 3))
    torch.testing.assert_close(total_variation(row), across)
    torch.testing.assert_close(total_variation(row.mT), across)
    assert total_variation(row[..., :1]).tolist() == [0, 0]
    system = joint.ImagingSystem(classifier=nn.Sequential(nn.Flatten(), nn.Linear(24, 2)))
    found = optimal_image(system, row, target=1, steps=2)
    assert (found.best[-1] > found.best[0]).all()


def test_black_and_white_pixels_of_the_start_can_still_move():
    system = joint.ImagingSystem(classifier=_Stripes())
    start = torch.zeros(1, 3, 16, 16)
    start[..., 1::2] = 1  # the stripes are where they should not be
    found = optimal_image(system, start, 1, steps=60, learning_rate=0.5)
    assert found.best.isfinite().all()
    assert found.best[-1] > found.best[0] + 5
    grey = found.scenes.mean(1)
    assert (grey[..., ::2] > grey[..., 1::2]).all()


def test_the_climb_goes_through_the_optics():
    """Behind a lens that loses stripes, no scene has them for the classifier."""
    plain = joint.ImagingSystem(classifier=_Stripes())
    blur = optics.LearnedKernel("gaussian", 7, signed=False)
    behind = joint.ImagingSystem(front_end=blur, classifier=_Stripes())
    one, other = (
        optimal_image(system, _grey(), 1, steps=60, learning_rate=0.2) for system in (plain, behind)
    )
    assert (other.best[-1] > other.best[0]).all()
    assert (other.best[-1] < 0.5 * one.best[-1]).all()
    assert other.handed.shape == other.scenes.shape
    assert not torch.equal(other.handed, other.scenes)


def test_a_budget_of_light_is_kept():
    system = joint.ImagingSystem(classifier=_Stripes(), sensor=optics.Sensor(5000))
    free = optimal_image(system, _grey(), 0, steps=30, learning_rate=0.2)
    tight = optimal_image(system, _grey(), 0, steps=30, learning_rate=0.2, light=0.02)
    assert (free.light > 0.05).all()
    assert (tight.light <= 0.02 * 1.001).all()
    radiance = optics.srgb_to_linear(tight.scenes).flatten(1).mean(1)
    torch.testing.assert_close(radiance, tight.light)
    assert (tight.best[-1] > tight.best[0]).all()


def test_bits_have_a_price():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = compress.FactorizedCodec()
    system = joint.ImagingSystem(codec=codec, classifier=_Stripes())
    free, dear = (
        optimal_image(system, _grey(), 1, steps=30, learning_rate=0.2, rate=price)
        for price in (0.0, 50.0)
    )
    assert (dear.bpp < free.bpp).all()
    state = {name: p.grad for name, p in system.named_parameters()}
    assert all(gradient is None for gradient in state.values())
    assert system.training


def test_equal_seeds_give_equal_pictures_and_rows_do_not_mix():
    system = joint.ImagingSystem(classifier=_Stripes(), sensor=optics.Sensor(200))
    both = optimal_image(system, _grey(), 1, steps=10, seed=3)
    again = optimal_image(system, _grey(), 1, steps=10, seed=3)
    assert torch.equal(both.scenes, again.scenes)
    alone = optimal_image(system, _grey()[:1], 1, steps=10, seed=3)
    torch.testing.assert_close(alone.scenes[0], both.scenes[0])
    assert not torch.equal(optimal_image(system, _grey(), 1, steps=10, seed=4).scenes, both.scenes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 2}, r"target must be a class 0\.\.1, not 2"),
        ({"start": torch.full((1, 3, 16, 16), 1.5)}, r"start must lie in 0\.\.1"),
        ({"start": torch.full((3, 16, 16), 0.5)}, r"float scenes \[B, C, H, W\]"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, not 2.5"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, not 0"),
        ({"roughness": -1.0}, "roughness and rate must be 0 or more"),
        ({"rate": 1.0}, "but the system has none"),
        ({"light": 0.0}, r"light must lie in \(0, 1\]"),
        ({"system": joint.ImagingSystem(codec=compress.JPEG(50))}, "needs a classifier"),
        (
            {
                "system": joint.ImagingSystem(codec=compress.JPEG(50), classifier=_Stripes()),
                "rate": 1.0,
            },
            "the bits of JPEG have no gradient",
        ),
    ],
)
def test_what_cannot_be_climbed_is_refused(change, message):
    options = {
        "system": joint.ImagingSystem(classifier=_Stripes()),
        "start": _grey(),
        "target": 1,
        "steps": 2,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        optimal_image(options.pop("system"), options.pop("start"), options.pop("target"), **options)


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_it_says_what_its_scenes_are(encoding):
    system = joint.ImagingSystem(classifier=_Stripes(), encoding=encoding)
    found = optimal_image(system, _grey(), 1, steps=2, light=0.3)
    assert found.encoding == encoding
    light = optics.srgb_to_linear(found.scenes) if encoding == "srgb" else found.scenes
    torch.testing.assert_close(found.light, light.flatten(1).mean(1))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_climbs_in_any_mode(mode):
    system = joint.ImagingSystem(classifier=_Stripes())
    expected = optimal_image(system, _grey(), 1, steps=3)
    with mode():
        found = optimal_image(system, _grey(), 1, steps=3)
    assert torch.equal(found.scenes, expected.scenes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_it_climbs_in_the_precision_of_the_system(dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten())
    system = joint.ImagingSystem(classifier=net.to(dtype))
    start = _grey().to(dtype)
    found = optimal_image(system, start, 1, steps=3, light=0.2, roughness=0.5)
    assert found.best.isfinite().all()
    assert (found.best[-1] > found.best[0]).all()
    assert found.scenes.dtype == found.handed.dtype == dtype
    assert (found.light <= 0.201).all()
    torch.testing.assert_close(found.logits, system(found.scenes).logits)


def test_a_start_of_another_precision_than_the_system_is_taken():
    system = joint.ImagingSystem(classifier=nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten()))
    found = optimal_image(system, _grey().double(), 1, steps=1)
    assert found.scenes.dtype == torch.float32


def test_light_of_scenes_that_are_none_is_not_bounded():
    system = joint.ImagingSystem(
        front_end=optics.FourierFilter(8, phase_depth=1.0),
        classifier=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)),
        encoding="linear",
    )
    start = torch.full((1, 3, 8, 8), 0.5)
    with pytest.raises(ValueError, match="transparent objects, not light"):
        optimal_image(system, start, 0, steps=1, light=0.1)
    assert optimal_image(system, start, 0, steps=1).best.isfinite().all()
