import gc
from contextlib import nullcontext

import numpy as np
import pytest
import scipy.integrate
import scipy.signal
import scipy.special
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import classify
import compress
import joint
import optics
from classify.backbone import TracedLogits
from joint import average_views
from joint.explain import grad_cam, integrated_gradients, occlusion
from joint.objective import Objective


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _scene(size=(24, 20), channels=3, count=2, seed=1, dtype=torch.float32):
    picture = torch.rand(count, channels, *size, generator=_generator(seed), dtype=dtype)
    return 0.1 + 0.8 * picture


class _Planted(nn.Module):
    """One convolution, ReLU, average, linear head: everything about it is known."""

    def __init__(self, channels=2, features=4, classes=3, symmetric=False, seed=0):
        super().__init__()
        self.conv = nn.Conv2d(channels, features, 3, bias=False)
        self.head = nn.Linear(features, classes)
        kernels = torch.randn(self.conv.weight.shape, generator=_generator(seed))
        if symmetric:
            kernels = sum(kernels.flip(axes) for axes in ((), (-1,), (-2,), (-1, -2)))
        self.conv.weight.data = kernels
        self.head.weight.data = torch.randn(self.head.weight.shape, generator=_generator(seed + 1))
        self.seen = 0

    def trace(self, image):
        self.seen += 1
        features = self.conv(image).relu().detach().requires_grad_()
        with torch.enable_grad():
            return TracedLogits(self.head(features.mean((-2, -1))), features)

    def forward(self, image):
        return self.head(self.conv(image).relu().mean((-2, -1)))


class _Linear(nn.Module):
    """Class scores that are sums of weighted pixels."""

    def __init__(self, shape, classes=3, dtype=torch.float64):
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(classes, *shape, generator=_generator(7), dtype=dtype)
        )
        self.offset = nn.Parameter(torch.arange(float(classes), dtype=dtype))

    def forward(self, image):
        return torch.einsum("bchw,kchw->bk", image, self.weight) + self.offset


class _Mean(nn.Module):
    """Average over the picture."""

    def forward(self, image):
        return image.mean((-2, -1))


class _Through(nn.Module):
    """A function of one weighted sum of the pixels for every class."""

    def __init__(self, linear, function):
        super().__init__()
        self.linear, self.function = linear, function

    def forward(self, image):
        return self.function(self.linear(image) - self.linear.offset)


def _whole(channels=3, codec=True, **sensor):
    """A system with all four stages, noise and two exposures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        front_end = optics.LearnedKernel("log", 3, channels=channels)
        system = joint.ImagingSystem(
            front_end=front_end,
            sensor=optics.Sensor(500, **sensor),
            codec=compress.FactorizedCodec(channels=channels) if codec else None,
            classifier=classify.backbone(classes=3, in_channels=channels),
        )
        # Features of a new net are all alike: a few steps make it say something.
        optimizer = torch.optim.Adam(system.parameters(), 1e-3)
        for step in range(3):
            scenes = _scene((16, 16), channels, 6, seed=step)
            output = system(scenes, generator=_generator(step))
            loss = Objective()(output, torch.arange(6) % 3).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        system.zero_grad()
    return system


@pytest.fixture(scope="module")
def whole():
    return _whole()


# ------------------------------------------------------------------------------------- Grad-CAM


def test_grad_cam_of_a_planted_head_is_the_analytic_map():
    classifier = _Planted()
    scenes = _scene((17, 12), 2)
    found = grad_cam(joint.ImagingSystem(classifier=classifier), scenes, target=1)
    kernels = classifier.conv.weight.detach().numpy()
    weights = classifier.head.weight.detach().numpy()[1]
    for number, scene in enumerate(scenes.numpy()):
        features = [
            np.maximum(
                sum(
                    scipy.signal.correlate2d(a, k, "valid")
                    for a, k in zip(scene, kernel, strict=True)
                ),
                0,
            )
            for kernel in kernels
        ]
        height, width = features[0].shape
        expected = np.maximum(np.tensordot(weights, features, 1), 0) / (height * width)
        assert expected.max() > 0
        assert (expected == 0).any()  # the limit at zero is in the picture
        np.testing.assert_allclose(found.coarse[number], expected, rtol=1e-4, atol=1e-6)
        # Half-pixel bilinear interpolation, the border continued.
        enlarged = skimage.transform.resize(
            expected, (17, 12), order=1, mode="edge", anti_aliasing=False
        )
        np.testing.assert_allclose(found.maps[number], enlarged, rtol=1e-4, atol=1e-6)
    assert found.target.tolist() == [1, 1]
    torch.testing.assert_close(found.logits, classifier(scenes).detach())


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    seed=st.integers(0, 99),
    axis=st.sampled_from([(-1,), (-2,), (-1, -2)]),
)
def test_grad_cam_turns_with_a_scene_for_a_net_without_handedness(size, seed, axis):
    system = joint.ImagingSystem(classifier=_Planted(1, symmetric=True, seed=seed))
    scenes = _scene(size, 1, 1, seed)
    upright = grad_cam(system, scenes, target=2)
    flipped = grad_cam(system, scenes.flip(axis), target=2)
    torch.testing.assert_close(flipped.maps, upright.maps.flip(axis), rtol=1e-4, atol=1e-5)


def test_grad_cam_picks_the_class_predicted_unless_it_is_told():
    system = joint.ImagingSystem(classifier=_Planted())
    scenes = _scene(channels=2, count=5)
    found = grad_cam(system, scenes)
    assert torch.equal(found.target, found.logits.argmax(1))
    told = grad_cam(system, scenes, target=torch.tensor([0, 1, 2, 0, 1]))
    for number, target in enumerate((0, 1, 2, 0, 1)):
        alone = grad_cam(system, scenes[number, None], target=target)
        torch.testing.assert_close(told.maps[number], alone.maps[0])
    assert len({tuple(m.flatten().tolist()) for m in told.maps}) == 5


@pytest.mark.parametrize(("channels", "count", "size"), [(1, 1, (40, 32)), (3, 2, (32, 33))])
@pytest.mark.parametrize("name", ["inception_s", "resnet_s", "vit_tiny_16", "mobilenet_v3_small"])
def test_grad_cam_of_every_kind_of_backbone(name, channels, count, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = classify.backbone(name, 4, in_channels=channels, image_size=size)
    system = joint.ImagingSystem(sensor=optics.Sensor(), classifier=classifier).train()
    scenes = _scene((48, 40), channels, count)
    maps = [grad_cam(system, scenes, target=k).maps for k in range(4)]
    assert all(m.shape == (count, 48, 40) and (m >= 0).all() for m in maps)
    assert sum(bool(m.any()) for m in maps) >= 2
    assert not maps[0].requires_grad


def test_grad_cam_costs_one_pass_and_the_slope_of_the_head():
    classifier = _Planted(3)
    passes = []
    classifier.conv.register_forward_hook(lambda *_: passes.append("forward"))
    classifier.conv.weight.register_hook(lambda _: passes.append("backward"))
    grad_cam(joint.ImagingSystem(classifier=classifier), _scene())
    assert passes == ["forward"]


def test_a_hundred_calls_leave_nothing_behind():
    system = joint.ImagingSystem(
        sensor=optics.Sensor(bit_depth=None), classifier=_Planted(1)
    ).train()
    scenes = _scene((6, 5), 1, 1)

    def alive():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    grad_cam(system, scenes)
    before = alive()
    for _ in range(100):
        grad_cam(system, scenes)
    assert alive() == before
    for module in system.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert not getattr(module, hooks)


EXPLANATIONS = {
    "grad_cam": grad_cam,
    "integrated_gradients": lambda *a, **k: integrated_gradients(*a, steps=2, **k),
    "occlusion": lambda *a, **k: occlusion(*a, patch=12, **k),
    "average_views": average_views,
}


@pytest.mark.parametrize("explain", list(EXPLANATIONS))
def test_systems_and_generators_stay_as_they_were(explain, whole):
    explain = EXPLANATIONS[explain]
    whole.train()
    whole.classifier.dropout.eval()
    modes = {name: module.training for name, module in whole.named_modules()}
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    noise = _generator(4)
    state = noise.get_state()
    first = explain(whole, _scene((24, 24)), generator=noise)
    assert {name: module.training for name, module in whole.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert all(parameter.grad is None for parameter in whole.parameters())
    assert torch.equal(noise.get_state(), state)
    again = explain(whole, _scene((24, 24)), generator=noise)
    other = explain(whole, _scene((24, 24)), generator=_generator(5))

    def content(result):
        return getattr(result, "maps", getattr(result, "logits", None))

    assert torch.equal(content(first), content(again))
    assert not torch.equal(content(first), content(other))
    default = explain(whole, _scene((24, 24)))
    assert torch.equal(content(default), content(explain(whole, _scene((24, 24)))))


@pytest.mark.parametrize("explain", list(EXPLANATIONS))
def test_with_noise_of_its_own_a_picture_is_explained_as_if_alone(explain, whole):
    explain = EXPLANATIONS[explain]
    scenes = _scene(count=3)

    def content(result):
        return getattr(result, "maps", getattr(result, "logits", None))

    together = content(explain(whole, scenes, generator=[_generator(n) for n in range(3)]))
    for number in range(3):
        alone = content(explain(whole, scenes[number, None], generator=[_generator(number)]))
        torch.testing.assert_close(together[number], alone[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("explain", list(EXPLANATIONS))
def test_what_cannot_be_explained_is_refused(explain):
    explain = EXPLANATIONS[explain]
    system = joint.ImagingSystem(classifier=_Planted(3))
    with pytest.raises(ValueError, match="has no classifier, so that there are no scores"):
        explain(joint.ImagingSystem(), _scene())
    for scenes in (_scene()[0], (255 * _scene()).byte()):
        with pytest.raises(ValueError, match=r"scenes must be pictures \[B, C, H, W\] in 0..1"):
            explain(system, scenes)
    with pytest.raises(ValueError, match=r"at least one picture, not \[0, 3, 24, 20\]"):
        explain(system, _scene(count=0))
    lesions = classify.LesionPhantom(4, 32)
    with pytest.raises(TypeError, match=r"not LesionDataset; a data set has them as dataset\.gat"):
        explain(system, lesions)
    with pytest.raises(TypeError, match=r"scenes must be a Tensor .* not ImagingSystem$"):
        explain(system, system)
    with pytest.raises(TypeError, match=r"must be a joint\.ImagingSystem, not _Planted; make one"):
        explain(system.classifier, _scene())


@pytest.mark.parametrize("explain", [name for name in EXPLANATIONS if name != "average_views"])
def test_classes_that_do_not_exist_are_refused(explain):
    explain = EXPLANATIONS[explain]
    system = joint.ImagingSystem(classifier=_Planted(3))
    for target in (3, -1, torch.tensor([0, 5])):
        with pytest.raises(ValueError, match=r"target must be in 0\.\.2, not"):
            explain(system, _scene(), target=target)
    for target in (1.0, True, torch.tensor([0, 1, 2]), torch.tensor([[0], [1]])):
        with pytest.raises(ValueError, match="a whole number for each of the 2 pictures"):
            explain(system, _scene(), target=target)


def test_grad_cam_needs_a_classifier_that_can_be_traced():
    system = joint.ImagingSystem(classifier=_Linear((3, 24, 20), dtype=torch.float32))
    with pytest.raises(ValueError, match=r"through classifier.trace\(image\).*_Linear does not h"):
        grad_cam(system, _scene())


# ------------------------------------------------------------------------- Integrated gradients


@pytest.mark.parametrize("plane", ["scene", "irradiance", "raw", "measurement", "handed"])
@pytest.mark.parametrize("baseline", [None, 0.3, "colour"])
def test_shares_of_a_linear_system_are_weights_times_values(plane, baseline):
    """The columns of its matrix are found one pixel at a time, without any gradient."""
    shape = (2, 5, 6)
    kernel = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.4, 0.1], [0.0, 0.05, 0.0]])
    front_end = optics.IncoherentImaging(kernel, channels=2).double()
    system = joint.ImagingSystem(
        front_end=front_end,
        sensor=optics.Sensor(read_noise=0.0, bit_depth=None, shot_noise="none"),
        classifier=_Linear(shape),
        encoding="linear",
    ).double()
    scenes = _scene(shape[1:], 2, dtype=torch.float64)
    if baseline == "colour":
        baseline = scenes.mean((-2, -1), keepdim=True)
    found = integrated_gradients(
        system, scenes, plane=plane, target=torch.tensor([2, 0]), baseline=baseline, steps=1
    )
    basis = torch.eye(scenes[0].numel(), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        imaged = basis if plane != "scene" else front_end(basis)
        columns = system.classifier(imaged) - system.classifier.offset
        value = scenes if plane == "scene" else front_end(scenes)
    weights = columns.T.view(3, *shape)[[2, 0]]
    expected = weights * (value - (0.0 if baseline is None else baseline))
    torch.testing.assert_close(found.values, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.maps, expected.sum(1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.residual, torch.zeros_like(found.residual), atol=1e-10, rtol=0)
    torch.testing.assert_close(
        found.score - found.baseline_score, expected.sum((1, 2, 3)), rtol=1e-10, atol=1e-10
    )
    assert found.plane == plane


@pytest.mark.parametrize("power", [2, 3, 6])
def test_shares_of_a_polynomial_are_exact_up_to_twice_the_steps(power):
    """Of ``(w x)^n`` along a ray: ``w_i x_i (w x)^(n - 1)``."""
    linear = _Linear((1, 3, 4))
    system = joint.ImagingSystem(classifier=_Through(linear, lambda s: (s / 3) ** power))
    scenes = _scene((3, 4), 1, dtype=torch.float64)
    exact, rough = (
        integrated_gradients(system, scenes, target=1, steps=n)
        for n in (-(-power // 2), max(1, -(-power // 2) - 1))
    )
    weighted = (linear.weight[1] * scenes).detach() / 3
    expected = weighted * weighted.sum((1, 2, 3), keepdim=True) ** (power - 1)
    torch.testing.assert_close(exact.values, expected, rtol=1e-10, atol=1e-12)
    assert exact.residual.abs().max() < 1e-12
    if power > 2:
        assert rough.residual.abs().min() > 1e-4
    torch.testing.assert_close(
        exact.residual + exact.score - exact.baseline_score, exact.values.sum((1, 2, 3))
    )


def test_shares_of_a_smooth_function_are_its_integral():
    """Against adaptive quadrature of the derivative along the path, which is 1 / cosh^2."""
    linear = _Linear((1, 3, 4))
    system = joint.ImagingSystem(classifier=_Through(linear, torch.tanh))
    scenes = _scene((3, 4), 1, 1, dtype=torch.float64)
    baseline = _scene((3, 4), 1, 1, seed=2, dtype=torch.float64)
    found = integrated_gradients(system, scenes, target=0, baseline=baseline)
    weight = linear.weight[0].detach().numpy()
    end, start = (float((weight * x.numpy()[0]).sum()) for x in (scenes, baseline))
    slope, _ = scipy.integrate.quad(lambda t: np.cosh(start + t * (end - start)) ** -2, 0, 1)
    expected = weight * (scenes - baseline).numpy()[0] * slope
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-9)


def test_a_converter_leaves_the_difference_of_staircase_and_ramp():
    """Its surrogate is the straight line: the shares are exact, and the gap is the rounding."""
    shape = (1, 5, 6)
    classifier = _Linear(shape)
    sensor = optics.Sensor(read_noise=0.0, shot_noise="none", bit_depth=3)
    system = joint.ImagingSystem(sensor=sensor, classifier=classifier, encoding="linear").double()
    scenes = _scene(shape[1:], 1, dtype=torch.float64)
    weight = classifier.weight[1].detach()
    rounded = (scenes * 7).round() / 7
    expected_gap = (weight * (scenes - rounded)).sum((1, 2, 3))
    for steps in (3, 40):
        # A gradient is asked for here: it is said once, for all passes of both.
        said = (
            pytest.warns(UserWarning, match="read noise is 0 DN") if steps == 3 else nullcontext()
        )
        with said:
            found = integrated_gradients(system, scenes, target=1, steps=steps)
        torch.testing.assert_close(found.values, weight * scenes, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.residual, expected_gap, rtol=1e-8, atol=1e-8)
    assert expected_gap.abs().min() > 1e-3
    assert (expected_gap.abs() <= weight.abs().sum() / 7).all()


@pytest.mark.parametrize("plane", ["scene", "irradiance", "raw", "measurement", "handed"])
def test_shares_of_a_smooth_system_are_complete_in_the_light_of_one_noise(plane):
    """Fresh noise at each step would leave a gap of the size of the noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = joint.ImagingSystem(
            # Light enough to stay clear of the knee of the sRGB curve.
            front_end=optics.IncoherentImaging(torch.full((3, 3), 1 / 9)),
            sensor=optics.Sensor(20_000, bit_depth=None),
            classifier=nn.Sequential(
                nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 3, 3), nn.Tanh(), _Mean()
            ),
        ).double()
    scenes = _scene((16, 20), count=3, dtype=torch.float64)
    found = integrated_gradients(system, scenes, plane=plane, target=1, baseline=0.2)
    assert (found.score - found.baseline_score).abs().min() > 1e-3
    assert found.residual.abs().max() < 1e-12
    whole = system.eval()(scenes, generator=_generator())
    assert found.values.shape == getattr(whole, plane).shape
    assert torch.equal(found.score, whole.logits[:, 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shares_of_half_scenes_have_the_digits_of_the_score(dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 3, 3), nn.Tanh(), _Mean())
    blur = optics.IncoherentImaging(torch.full((3, 3), 1 / 9))
    scenes = _scene((16, 20)).to(dtype)
    system = joint.ImagingSystem(front_end=blur, classifier=net, encoding="linear")
    found = integrated_gradients(system, scenes, target=1)
    expected = integrated_gradients(system, scenes.float(), target=1)
    assert (found.score - found.baseline_score).abs().min() > 1e-2
    assert found.residual.abs().max() < 1e-5
    assert torch.equal(found.values, expected.values)
    # A classifier alone takes its pictures as they are.
    alone = joint.ImagingSystem(classifier=net.to(dtype))
    assert integrated_gradients(alone, scenes, target=1).values.dtype == dtype


def test_the_gap_of_a_net_of_rectifiers_falls_with_the_steps(whole):
    """Its slope jumps along the path: the quadrature is off by some of the jumps over n."""
    scenes = _scene((16, 20), count=8)
    gaps = [
        integrated_gradients(whole, scenes, plane="handed", target=1, steps=n).residual.abs().mean()
        for n in (4, 32, 256)
    ]
    assert gaps[1] < gaps[0] / 4
    assert gaps[2] < gaps[1] / 4


def test_codecs_of_all_kinds_are_passed(whole):
    scenes = _scene((16, 20), count=1)
    for codec in (None, compress.JPEG(50)):
        system = whole if codec is None else whole.replace(codec=codec)
        found = integrated_gradients(system, scenes, plane="irradiance", steps=4)
        assert found.values.shape == (1, 6, 16, 20)
        assert found.values.abs().max() > 0


def test_shares_do_not_depend_on_what_the_caller_differentiates():
    system = joint.ImagingSystem(classifier=_Through(_Linear((1, 3, 4)), torch.tanh))
    scenes = _scene((3, 4), 1, dtype=torch.float64)
    plain = integrated_gradients(system, scenes)
    with torch.no_grad():
        without = integrated_gradients(system, scenes)
    watched = scenes.clone().requires_grad_()
    of_watched = integrated_gradients(system, watched, baseline=watched.mean())
    assert torch.equal(plain.values, without.values)
    assert not of_watched.values.requires_grad
    assert not of_watched.residual.requires_grad
    assert watched.grad is None


def test_what_cannot_be_integrated_is_refused():
    system = joint.ImagingSystem(classifier=_Planted(3))
    for steps in (0, -3, 2.5):
        with pytest.raises(ValueError, match="steps must be a whole number of at least 1, not"):
            integrated_gradients(system, _scene(), steps=steps)
    with pytest.raises(ValueError, match=r"baseline \[4\] does not broadcast to \[2, 3, 24, 20\]"):
        integrated_gradients(system, _scene(), baseline=torch.zeros(4))
    with pytest.raises(ValueError, match="no plane 'raw', which needs a sensor"):
        integrated_gradients(system, _scene(), plane="raw")
    deaf = joint.ImagingSystem(classifier=_Through(_Linear((3, 24, 20)), torch.Tensor.detach))
    with pytest.raises(ValueError, match="no gradient of the score reaches the plane 'scene'"):
        integrated_gradients(deaf.float(), _scene())
    linear = _Linear((3, 24, 20))  # the parameters have a gradient, the picture has none
    blind = joint.ImagingSystem(classifier=_Through(linear, lambda s: s.detach() + linear.offset))
    with pytest.raises(ValueError, match="a stage behind it has none"):
        integrated_gradients(blind.float(), _scene())


# ------------------------------------------------------------------------------------ Occlusion


@settings(max_examples=25, deadline=None)
@given(data=st.data(), size=st.tuples(st.integers(3, 9), st.integers(3, 9)))
def test_drops_of_a_linear_system_are_sums_over_squares(data, size):
    patch = data.draw(st.integers(1, min(size)))
    stride = data.draw(st.none() | st.integers(1, patch))
    fill = data.draw(st.sampled_from([None, 0.0, 0.25]))
    linear = _Linear((2, *size))
    scenes = _scene(size, 2, dtype=torch.float64)
    found = occlusion(
        joint.ImagingSystem(classifier=linear),
        scenes,
        target=1,
        patch=patch,
        stride=stride,
        fill=fill,
    )
    cover = scenes.mean((2, 3), keepdim=True) if fill is None else fill
    share = (linear.weight[1] * (scenes - cover)).sum(1).detach().numpy()
    # A sum over every square, by correlation; then those that were looked at.
    square = np.ones((patch, patch))
    step = max(1, patch // 2) if stride is None else stride
    rows, columns = (
        sorted({min(i, n - patch) for i in range(0, n - patch + step, step)}) for n in size
    )
    for number in range(2):
        sums = scipy.signal.correlate2d(share[number], square, "valid")
        drops = sums[np.ix_(rows, columns)]
        np.testing.assert_allclose(found.drops[number], drops, atol=1e-10)
        total, count = np.zeros(size), np.zeros(size)
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                total[top : top + patch, left : left + patch] += drops[i, j]
                count[top : top + patch, left : left + patch] += 1
        assert count.min() >= 1
        np.testing.assert_allclose(found.maps[number], total / count, atol=1e-10)
    torch.testing.assert_close(found.score, linear(scenes).detach()[:, 1])


def test_maps_of_half_precision_are_the_mean_of_their_drops():
    """A count in bfloat16 stops at 256."""
    linear = _Linear((1, 64, 64), dtype=torch.bfloat16)
    scenes = _scene((64, 64), 1, 1, dtype=torch.bfloat16)
    found = occlusion(joint.ImagingSystem(classifier=linear), scenes, patch=32, stride=1, target=1)
    total, count = torch.zeros(2, 64, 64, dtype=torch.float64)
    for (i, j), drop in np.ndenumerate(found.drops[0].double().numpy()):
        total[i : i + 32, j : j + 32] += drop
        count[i : i + 32, j : j + 32] += 1
    assert count.max() > 512
    size = (total / count).abs().max()
    torch.testing.assert_close(
        found.maps[0].double(), total / count, atol=1e-3 * float(size), rtol=1e-2
    )


def test_squares_that_do_not_fit_are_refused():
    system = joint.ImagingSystem(classifier=_Planted(3))
    with pytest.raises(ValueError, match=r"patch must be 1 to 2[04] pixels.*not 21"):
        occlusion(system, _scene(), patch=21)
    with pytest.raises(ValueError, match=r"stride must be 1 to 8 pixels.*no gap, not 9"):
        occlusion(system, _scene(), patch=8, stride=9)
    for wrong in (0, 2.5):
        with pytest.raises(ValueError, match=f"patch must be a whole number .* not {wrong}"):
            occlusion(system, _scene(), patch=wrong)
        with pytest.raises(ValueError, match=f"stride must be a whole number .* not {wrong}"):
            occlusion(system, _scene(), patch=8, stride=wrong)
    with pytest.raises(ValueError, match=r"fill \[2\] does not broadcast to"):
        occlusion(system, _scene(), patch=8, fill=torch.zeros(2))


def test_grad_cam_at_a_layer_of_the_planted_net_is_the_analytic_map():
    classifier = _Planted()
    scenes = _scene((17, 12), 2)
    found = grad_cam(
        joint.ImagingSystem(classifier=classifier), scenes, target=1, layer=classifier.conv
    )
    with torch.no_grad():
        maps = classifier.conv(scenes)  # before the ReLU, whose slope is 1 where they are positive
        share = (maps > 0).float().mean((-2, -1), keepdim=True) / maps[0, 0].numel()
        weight = share * classifier.head.weight[1][:, None, None]
        expected = (weight * maps).sum(1).relu()
    assert expected.max() > 0
    torch.testing.assert_close(found.coarse, expected)
    torch.testing.assert_close(found.logits, classifier(scenes).detach())
    assert classifier.seen == 0
    assert not classifier.conv._forward_hooks
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_grad_cam_at_the_last_layer_is_that_of_the_trace():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        classifier = classify.backbone("resnet18", 4, image_size=(64, 64))
    system = joint.ImagingSystem(classifier=classifier)
    scenes = _scene((64, 64))
    heights = []
    for target in range(4):
        traced = grad_cam(system, scenes, target=target)
        found = grad_cam(system, scenes, target=target, layer=classifier.net.layer4)
        for name in ("maps", "coarse", "target", "logits"):
            torch.testing.assert_close(getattr(found, name), getattr(traced, name))
        heights.append(float(traced.coarse.max()))
    assert max(heights) > 0


def test_grad_cam_takes_what_works_in_place_and_without_trace():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    system = joint.ImagingSystem(classifier=net)
    at = [grad_cam(system, _scene(channels=3), layer=net[k]).coarse for k in (0, 1)]
    assert [tuple(coarse.shape) for coarse in at] == [(2, 22, 18)] * 2


class _Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.aside, self.never = (nn.Conv2d(3, 4, 3) for _ in range(3))
        self.twice, self.pool = nn.Identity(), _Mean()

    def forward(self, image):
        self.aside(image)
        return self.pool(self.twice(self.twice(self.conv(image))))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("aside", "the logits do not depend on the output of the layer"),
        ("never", "must run once in a pass of the classifier, but this one ran 0 times"),
        ("twice", "but this one ran 2 times"),
        ("pool", r"must return a feature map \[B, F, h, w\], but _Mean returns \[2, 4\]"),
        (None, "layer must be a module of the system's classifier, but this ReLU is not"),
    ],
)
def test_grad_cam_refuses_a_layer_without_a_map(layer, message):
    classifier = _Branched()
    module = nn.ReLU() if layer is None else getattr(classifier, layer)
    with pytest.raises(ValueError, match=message):
        grad_cam(joint.ImagingSystem(classifier=classifier), _scene(channels=3), layer=module)
    assert not module._forward_hooks


# ------------------------------------------------------------------------------------------- words


def test_what_was_found_is_printed_in_few_words():
    system = _whole()
    scenes = _scene(channels=3)
    shares = integrated_gradients(system, scenes, steps=4)
    first = str(shares).splitlines()[1]
    summed, rise = (float(word) for word in first.split("sum to ")[1].split(" of "))
    assert summed == pytest.approx(float(shares.values[0].sum()), abs=6e-4)
    assert rise == pytest.approx(float(shares.score[0] - shares.baseline_score[0]), abs=6e-4)
    covered = occlusion(system, scenes, patch=8)
    largest, square = str(covered).splitlines()[1].split("falls by up to ")[1].split(", behind ")
    assert float(largest) == pytest.approx(float(covered.drops[0].max()), abs=6e-4)
    row, column = (int(word) for word in square.removeprefix("square ").split(", "))
    assert covered.drops[0, row, column] == covered.drops[0].max()
    for found in (shares, covered):
        assert len(str(found).splitlines()) == 1 + len(scenes)


def test_a_map_of_one_cell_says_that_it_is_blind():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        classifier = classify.backbone("resnet18", 4, image_size=(32, 32))
    system, scenes = joint.ImagingSystem(classifier=classifier), _scene((32, 32))
    assert "from a feature map of 1 x 1: one cell for the whole scene" in str(
        grad_cam(system, scenes)
    )
    earlier = str(grad_cam(system, scenes, layer=classifier.net.layer2))
    assert earlier.endswith("from a feature map of 4 x 4")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("explain", list(EXPLANATIONS))
def test_maps_do_not_depend_on_the_mode_that_they_are_asked_in(explain, mode):
    explain = EXPLANATIONS[explain]
    system = joint.ImagingSystem(classifier=_Planted(3))
    expected = explain(system, _scene())
    with mode():
        # These scenes are made in the mode, too.
        found = explain(system, _scene())
    for name, tensor in vars(expected).items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(getattr(found, name), tensor), name


@pytest.mark.parametrize("layer", [False, True])
def test_grad_cam_takes_light_in_double_precision(layer, whole):
    scenes = _scene((16, 16), 3, 2)
    at = {"layer": whole.classifier.net.stages} if layer else {}
    alone = joint.ImagingSystem(classifier=whole.classifier)
    expected, found = (grad_cam(alone, light, **at) for light in (scenes, scenes.double()))
    torch.testing.assert_close(found.maps, expected.maps)


def test_steps_are_any_whole_number():
    system = joint.ImagingSystem(classifier=_Linear((3, 8, 8), dtype=torch.float32))
    scenes = _scene((8, 8), 3)
    expected, found = (
        integrated_gradients(system, scenes, steps=steps) for steps in (4, np.int64(4))
    )
    assert torch.equal(found.values, expected.values)
