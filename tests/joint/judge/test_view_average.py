import numpy as np
import pytest
import scipy.special
import torch
from torch import nn

import joint
import optics
from joint import average_views


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _scene(size=(24, 20), count=2, seed=1):
    return 0.1 + 0.8 * torch.rand(count, 3, *size, generator=_generator(seed))


@pytest.fixture(scope="module")
def whole():
    """A system with noise and two exposures, and a classifier to which no view is like another."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = nn.Conv2d(3, 16, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("log", 3),
            sensor=optics.Sensor(500),
            classifier=nn.Sequential(*layers, nn.Linear(64, 3)),
        )


def _eight(scene):
    """The views of ``[B, C, H, W]`` by numpy."""
    turned = [np.rot90(scene, k, (-2, -1)) for k in range(4)]
    return [np.ascontiguousarray(v) for t in turned for v in (t, t[..., ::-1])]


@pytest.mark.parametrize("size", [(24, 24), (24, 17)])
def test_all_eight_views_of_a_scene_give_the_same_answer_to_the_bit(size, whole):
    scene = _scene(size)
    answers = [average_views(whole, torch.from_numpy(v)) for v in _eight(scene.numpy())]
    assert all(torch.equal(answers[0].logits, a.logits) for a in answers)
    assert all(torch.equal(answers[0].probabilities, a.probabilities) for a in answers)
    torch.testing.assert_close(answers[0].probabilities.sum(1), torch.ones(2))
    torch.testing.assert_close(answers[0].logits.softmax(1), answers[0].probabilities)
    flips = [average_views(whole, scene.flip(a), views="flips").logits for a in ((), -1, (-2, -1))]
    assert all(torch.equal(flips[0], flip) for flip in flips)
    mirror = [average_views(whole, scene.flip(a), views="mirror").logits for a in ((), -1)]
    assert torch.equal(*mirror)
    assert not torch.equal(flips[0], mirror[0])
    assert not torch.equal(flips[0], answers[0].logits)


def test_the_answer_is_the_mean_of_the_views_probabilities(whole):
    whole.eval()
    scene = _scene((24, 17), count=1)
    with torch.no_grad():
        logits = [
            whole(torch.from_numpy(v), generator=_generator(3)).logits.numpy()
            for v in _eight(scene.numpy())
        ]
    expected = scipy.special.softmax(np.stack(logits).astype(float), -1).mean(0)
    found = average_views(whole, scene, generator=_generator(3))
    np.testing.assert_allclose(found.probabilities.detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.logits.detach(), np.log(expected), rtol=1e-4, atol=1e-5)


def test_one_view_is_the_plain_pass(whole):
    whole.eval()
    with torch.no_grad():
        plain = whole(_scene(), generator=_generator(3)).logits
        found = average_views(whole, _scene(), views="identity", generator=_generator(3))
    assert torch.equal(found.logits, plain.log_softmax(-1))
    torch.testing.assert_close(found.probabilities, plain.softmax(-1))


def test_an_average_can_be_differentiated(whole):
    scenes = _scene(count=1).requires_grad_()
    average_views(whole, scenes).probabilities[:, 0].sum().backward()
    assert scenes.grad.abs().max() > 0
    whole.zero_grad()


def test_unknown_views_are_refused(whole):
    with pytest.raises(ValueError, match=r"views must be one of identity, .*not 'cubic'"):
        average_views(whole, _scene(), views="cubic")


def test_an_average_prints_what_it_says_of_each_scene(whole):
    found = average_views(whole, _scene())
    lines = str(found).splitlines()
    assert lines[0] == "probabilities of 3 classes, averaged over views, of 2 scenes"
    for line, shares in zip(lines[1:], found.probabilities.detach(), strict=True):
        assert line.endswith(f"class {int(shares.argmax())} with {float(shares.max()):.3f}")


def test_views_are_averaged_in_single_precision():
    """Of half precision, the classes of a scene would be tied."""

    class Half(nn.Module):
        def forward(self, pictures):
            return pictures.mean((2, 3)).bfloat16()

    system = joint.ImagingSystem(classifier=Half())
    found = average_views(system, _scene())
    assert found.probabilities.dtype == found.logits.dtype == torch.float32
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(2), rtol=0, atol=1e-6)
