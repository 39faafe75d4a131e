import copy
import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics


class _Head(nn.Module):
    """A smooth classifier, so that a finite difference can be trusted."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.in_channels = channels
        self.net = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2), nn.Tanh(), nn.Conv2d(6, classes, 3), nn.Tanh()
        )

    def forward(self, image):
        # Steep, so that the small slopes of far-off weights stand out of the rounding.
        return 30 * self.net(image).mean((-2, -1))


def _scene(dtype=torch.float32, shape=(2, 3, 20, 20)):
    generator = torch.Generator().manual_seed(1)
    return (0.1 + 0.8 * torch.rand(shape, generator=generator)).to(dtype)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


FRONT_ENDS = {
    "kernel": lambda: optics.LearnedKernel("log", 5),
    "mixed": lambda: optics.LearnedKernel("random", 3, mix_channels=True, generator=_generator()),
    "coherent": lambda: optics.FourierFilter(20, "spiral", margin=4),
    "incoherent": lambda: optics.FourierFilter(20, "random", illumination="incoherent", margin=4),
}
CODECS = {
    "factorized": lambda: compress.FactorizedCodec(proxy="noise", exact=False),
    "hyperprior": lambda: compress.HyperpriorCodec(proxy="noise", exact=False),
    "autoencoder": lambda: compress.Autoencoder(3, exact=False),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("codec", list(CODECS))
@pytest.mark.parametrize("front_end", list(FRONT_ENDS))
def test_the_task_loss_reaches_every_trainable_number_of_all_four_stages(
    front_end, codec, training
):
    """Finite, non-zero, and confirmed by a finite difference.

    The converter, the codec's rounding and its exact arithmetic are off: a staircase has no finite
    difference. Their straight-through gradients are tested where they live.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = joint.ImagingSystem(
            front_end=FRONT_ENDS[front_end](),
            sensor=optics.Sensor(2000, bit_depth=None, trainable_gain=True, gain=1200 / 0.9),
            codec=CODECS[codec](),
            classifier=_Head(),
        ).double()
    system.train(training)
    if codec != "autoencoder" and not training:
        pytest.skip("rounds its latent in evaluation: see tests/compress")
    labels = torch.tensor([1, 3])
    task = joint.Objective(task=1.0, label_smoothing=0.0)

    def loss():
        return task(system(_scene(torch.float64), generator=_generator()), labels).total

    loss().backward()
    reached = {
        name: parameter
        for name, parameter in system.named_parameters()
        # What only prices the latent and does not change it learns from the rate.
        if not name.startswith(("codec.prior", "codec.side"))
    }
    assert {name.split(".")[0] for name in reached} == {*joint.STAGES} - {"restoration"}
    for number, (name, parameter) in enumerate(reached.items()):
        gradient = parameter.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
        direction = torch.randn(parameter.shape, generator=_generator(number), dtype=torch.float64)
        direction *= gradient.abs()  # look where it matters
        direction /= direction.norm()
        slope = float((gradient * direction).sum())
        assert slope != 0
        for step in (1e-5, 1e-4, 1e-3, 1e-6):  # against curvature, against rounding
            with torch.no_grad():
                parameter.add_(step * direction)
                up = loss()
                parameter.sub_(2 * step * direction)
                down = loss()
                parameter.add_(step * direction)
            apart = abs(float(up - down) / (2 * step) / slope - 1)
            if apart < 1e-4:
                break
        assert apart < 1e-4, name


def test_the_whole_objective_reaches_the_entropy_model_too():
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel(),
        sensor=optics.Sensor(trainable_gain=True),
        codec=compress.FactorizedCodec(),
        classifier=_Head(),
    )
    objective = joint.Objective(rate=1.0, distortion=1.0)
    objective(system(_scene(), generator=_generator()), torch.tensor([0, 1])).total.backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("start", ["identity", "log"])
def test_the_gradient_passes_quantisers_and_noise_in_evaluation_mode(start):
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel(start),
        sensor=optics.Sensor(500, bit_depth=4, converter="dithered"),
        codec=compress.FactorizedCodec(),
        classifier=_Head(),
    ).eval()
    scene = _scene().requires_grad_()
    system(scene, generator=_generator()).logits.square().sum().backward()
    for tensor in (scene, *system.front_end.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_every_intermediate_is_there():
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("sobel", 5),
        sensor=optics.Sensor(2000, bit_depth=8),
        codec=compress.FactorizedCodec(channels=6),
        classifier=_Head(6),
    ).eval()
    output = system(_scene(), generator=_generator())
    assert output.scene.shape == (2, 3, 20, 20)
    assert output.irradiance.shape == (2, 12, 20, 20)
    assert output.raw.shape == (2, 12, 20, 20)
    codes = output.raw * 255
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-4)
    assert output.measurement.shape == output.handed.shape == (2, 6, 20, 20)
    assert output.measurement.min() >= 0
    assert output.measurement.max() <= 1
    assert output.handed is output.coded.reconstruction
    assert output.logits.shape == (2, 4)
    there = [name for name, _ in system.stages()]
    assert there == [name for name in joint.STAGES if name != "restoration"]


def test_any_stage_may_be_left_out():
    scene = _scene()
    empty = joint.ImagingSystem()(scene)
    assert empty.measurement is scene
    assert empty.handed is scene
    assert empty.logits is None
    assert empty.coded is None
    alone = joint.ImagingSystem(classifier=_Head())(scene)
    assert alone.irradiance is None
    assert alone.logits is not None
    camera = joint.ImagingSystem(sensor=optics.Sensor(2000, bit_depth=8))(
        scene, generator=_generator()
    )
    assert camera.raw is not None
    assert camera.coded is None


def test_a_noiseless_camera_without_optics_returns_the_scene():
    sensor = optics.Sensor(read_noise=0, shot_noise="none", bit_depth=None)
    output = joint.ImagingSystem(sensor=sensor)(_scene())
    torch.testing.assert_close(output.measurement, _scene(), rtol=1e-5, atol=1e-5)


def test_light_is_linear_only_between_the_two_conversions():
    blur = optics.LearnedKernel("gaussian", 5, signed=False)
    scene = _scene(torch.float64)
    output = joint.ImagingSystem(front_end=blur.double())(scene)
    expected = blur.combine(blur(optics.srgb_to_linear(scene)))
    torch.testing.assert_close(output.measurement, optics.linear_to_srgb(expected))
    linear = joint.ImagingSystem(front_end=blur, encoding="linear")(scene)
    torch.testing.assert_close(linear.measurement, blur.combine(blur(scene)))


@pytest.mark.parametrize("restores", [False, True])
def test_light_is_in_float64_up_to_weights_that_are_not(restores):
    net = optics.RestorationUNet(3, width=4, scales=1) if restores else None
    head = classify.backbone(classes=2, in_channels=3, image_size=20)
    system = joint.ImagingSystem(sensor=optics.Sensor(), restoration=net, classifier=head).eval()
    scene = _scene(torch.float64).requires_grad_()
    output = system(scene, generator=_generator())
    assert output.raw.dtype == torch.float64
    assert output.measurement.dtype == (torch.float32 if restores else torch.float64)
    if restores:
        made = net(output.developed.float()).clamp(0, 1)
        torch.testing.assert_close(output.measurement, made, rtol=0, atol=0)
    assert torch.equal(output.logits, head(output.handed.float()))
    (slope,) = torch.autograd.grad(output.logits.sum(), scene)
    assert slope.dtype == torch.float64
    assert slope.abs().sum() > 0
    assert system.double()(scene).logits.dtype == torch.float64  # as its weights are now


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_are_handed_pictures_in_the_type_of_their_weights(kind):
    net = optics.RestorationUNet(3, width=4, scales=1)
    head = classify.backbone(classes=2, in_channels=3, image_size=20)
    system = joint.ImagingSystem(sensor=optics.Sensor(), restoration=net, classifier=head).eval()
    expected = system(_scene(), generator=_generator())
    head.to(kind)
    net.to(kind)
    output = system(_scene(), generator=_generator())
    assert output.logits.dtype == kind
    assert torch.equal(output.logits, head(output.handed.to(kind)))
    torch.testing.assert_close(output.handed.float(), expected.handed, rtol=0, atol=0.02)
    torch.testing.assert_close(output.logits.float(), expected.logits, rtol=0, atol=0.02)


def test_exposures_share_the_dark_current_of_one_exposure_time():
    sensor = optics.Sensor(1000, dark_current=6000, read_noise=0, shot_noise="none", bit_depth=None)
    black = torch.zeros(1, 3, 8, 8)
    for front_end in (None, optics.LearnedKernel(), optics.LearnedKernel("gabor")):
        system = joint.ImagingSystem(front_end=front_end, sensor=sensor)
        assert system(black).raw.detach().sum().item() / 192 == pytest.approx(60 / 600, rel=1e-4)


def test_the_same_generator_gives_the_same_picture():
    system = joint.ImagingSystem(sensor=optics.Sensor(50), codec=compress.FactorizedCodec())
    first, again, other = (
        system(_scene(), generator=_generator(seed)).handed for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_optics_stay_in_single_precision_under_autocast():
    system = joint.ImagingSystem(
        front_end=optics.FourierFilter(20),
        sensor=optics.Sensor(),
        codec=compress.FactorizedCodec(),
        classifier=classify.backbone(classes=4),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = system(_scene(), generator=_generator())
        losses = joint.Objective(rate=1.0)(output, torch.tensor([0, 1]))
    assert output.irradiance.dtype == output.measurement.dtype == torch.float32
    assert losses.total.dtype == losses.rate.dtype == torch.float32
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in system.front_end.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scene: (255 * scene).byte(), r"not torch.uint8 \[2, 3, 20, 20\]: .*by 255"),
        (lambda scene: scene[0], r"not torch.float32 \[3, 20, 20\]: add a batch axis"),
        (lambda scene: 255 * scene, r"reach from 2.* to 2.*: divide 8-bit codes by 255"),
        (lambda scene: scene - 3, "reach from -2"),
        (lambda scene: 2 * scene - 1, r"reach from -0.* in -1\.\.1 give \(x \+ 1\) / 2"),
        (lambda scene: scene.log() / 0, "reach from -inf"),
        (lambda scene: scene * float("nan"), "some values of these are NaN"),
    ],
)
def test_what_is_no_picture_is_refused_by_whatever_system(change, message):
    systems = (
        joint.ImagingSystem(sensor=optics.Sensor()),
        joint.ImagingSystem(codec=compress.FactorizedCodec()),
        joint.ImagingSystem(classifier=_Head()),
    )
    for system in systems:
        with pytest.raises(ValueError, match=message):
            system(change(_scene()))


def test_linear_light_that_no_sensor_reads_is_not_clipped():
    scene = torch.linspace(0, 5, 48).view(1, 3, 4, 4).requires_grad_()
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[..., 1, 1] = 1
    lens = optics.IncoherentImaging(kernel[0].expand(3, 3, 3))
    bright = joint.ImagingSystem(front_end=lens, encoding="linear")(scene)
    torch.testing.assert_close(bright.measurement, scene)
    bright.measurement.sum().backward()
    assert (scene.grad == 1).all()
    read = joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(1000), encoding="linear")
    assert read(scene, generator=_generator()).measurement.max() == 1


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_field_passes_a_coherent_front_end(dtype):
    phase = torch.rand(2, 1, 16, 16, generator=_generator(), dtype=torch.float64)
    field = torch.polar(torch.full_like(phase, 0.9), phase).to(dtype).requires_grad_()
    front_end = optics.FourierFilter(16, "phase_contrast", channels=1)
    sensor = optics.Sensor(5000)
    system = joint.ImagingSystem(front_end=front_end, sensor=sensor, encoding="linear")
    output = system(field, generator=_generator())
    assert torch.equal(output.irradiance, front_end(field))
    assert output.measurement.std() > 0.01  # a phase is seen
    output.measurement.square().sum().backward()
    assert field.grad.abs().max() > 0
    bad = field.detach().clone()
    bad[0, 0, 3, 3] = complex(0, float("nan"))
    with pytest.raises(ValueError, match="some values of these are NaN"):
        system(bad)
    lacking = (
        joint.ImagingSystem(front_end=front_end, sensor=sensor),
        joint.ImagingSystem(sensor=sensor, encoding="linear"),
    )
    for other in lacking:
        with pytest.raises(ValueError, match=r"it needs encoding='linear' and a front end"):
            other(field)


def test_a_codec_that_returns_another_size_is_named():
    class Blocks(compress.PNG):
        def forward(self, image, *, generator=None):
            coded = super().forward(image, generator=generator)
            return dataclasses.replace(coded, **{self.field: coded_to(getattr(coded, self.field))})

    def coded_to(picture):
        return picture[..., : picture.shape[-2] // 8 * 8, : picture.shape[-1] // 8 * 8]

    system = joint.ImagingSystem(codec=Blocks())
    scene = torch.rand(2, 3, 16, 20)
    system.codec.field = "reconstruction"
    message = r"Blocks returned pictures \[2, 3, 16, 16\] for \[2, 3, 16, 20\]: .* pad the picture"
    with pytest.raises(ValueError, match=message):
        system(scene)
    system.codec.field = "bits_map"
    message = r"Blocks returned a bits_map \[2, 1, 16, 16\] .* it must be \[2, 1, 16, 20\]"
    with pytest.raises(ValueError, match=message):
        system(scene)
    assert system(scene[..., :16]).coded is not None


class _Element(optics.FrontEnd):
    """What it makes, and combines, is whatever it was told."""

    in_channels, out_channels, exposures = 3, 3, 2

    def __init__(self, made=lambda x: torch.cat([x, x], 1) / 2, combined=lambda raw: raw[:, :3]):
        super().__init__()
        self.made, self.combined = made, combined

    def forward(self, scene):
        return self.made(scene)

    def throughput(self):
        return torch.tensor(1.0)

    def combine(self, raw):
        return self.combined(raw)


class _Penalised(_Element):
    """A front end whose distance from one that can be made is what it was told."""

    def __init__(self, penalty):
        super().__init__()
        self.told = penalty

    def penalty(self):
        return self.told


def test_a_pass_tells_the_penalty_of_its_front_end():
    scene, penalty = torch.rand(2, 3, 8, 8), torch.tensor(0.25)
    for front_end in (_Penalised(penalty), torch.compile(_Penalised(penalty), backend="eager")):
        assert joint.ImagingSystem(front_end=front_end)(scene).penalty is penalty
    for other in (_Penalised(None), _Element(), None):
        system = joint.ImagingSystem(front_end=other, sensor=optics.Sensor(100))
        assert system(scene, generator=_generator()).penalty is None


@pytest.mark.parametrize(
    ("penalty", "error", "message"),
    [
        (0.25, TypeError, "_Penalised.penalty must return a Tensor, or None, not float"),
        (torch.ones(2), ValueError, r"must return a real scalar, not torch.float32 \[2\]"),
        (torch.tensor(1), ValueError, r"must return a real scalar, not torch.int64 \[\]"),
        (torch.tensor(-0.5), ValueError, "must be 0 or more, not -0.5: what can be made has 0"),
    ],
)
def test_a_penalty_that_no_loss_can_add_is_refused(penalty, error, message):
    system = joint.ImagingSystem(front_end=_Penalised(penalty))
    with pytest.raises(error, match=message):
        system(torch.rand(2, 3, 8, 8))


class _Returns(torch.nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, picture, *, generator=None):
        return self.made(picture)

    def compress(self, image):
        return [b""] * len(image)

    decompress = compress


@pytest.mark.parametrize(
    ("stages", "error", "message"),
    [
        ({"front_end": _Element()}, None, ""),
        ({"front_end": _Element(lambda x: None)}, TypeError, "_Element must return a Tensor, not"),
        (
            {"front_end": _Element(lambda x: x)},
            ValueError,
            r"an irradiance \[2, 3, 20, 20\] for scenes \[2, 3, 20, 20\]: .* \[2, 2 \* C, H, W\]",
        ),
        ({"front_end": _Element(lambda x: torch.cat([x, x], 1)[0])}, ValueError, "an irradiance"),
        (
            {"front_end": _Element(combined=lambda raw: raw[:, :1])},
            ValueError,
            r"combine returned \[2, 1, 20, 20\], but its out_channels requires \[B, 3, H, W\]",
        ),
        ({"codec": _Returns(lambda x: x)}, TypeError, "must return a compress.Coded, not Tensor"),
        ({"classifier": _Returns(lambda x: x.mean((2, 3)))}, None, ""),
        (
            {"classifier": _Returns(lambda x: {"logits": x.mean((2, 3))})},
            TypeError,
            r"classifier _Returns must return scores \[B, K\], not dict: wrap it",
        ),
        (
            {"classifier": _Returns(lambda x: x.mean((2, 3)).argmax(1))},
            ValueError,
            r"scores \[2, K\], one for each class, but returned torch.int64 \[2\]",
        ),
        ({"classifier": _Returns(lambda x: x)}, ValueError, r"float32 \[2, 3, 20, 20\]"),
    ],
)
def test_what_a_stage_of_ones_own_returns_is_looked_at(stages, error, message):
    system = joint.ImagingSystem(**stages)
    if error is None:
        system(_scene())
        return
    with pytest.raises(error, match=message):
        system(_scene())


def test_a_whole_system_is_exported_for_any_number_of_pictures():
    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.system = joint.ImagingSystem(
                front_end=optics.LearnedKernel("identity", 3),
                classifier=_Returns(lambda picture: picture.mean((2, 3))),
            )

        def forward(self, scene):
            return self.system(scene).logits

    scores, many = Scores().eval(), {"scene": {0: torch.export.Dim("b", min=2, max=64)}}
    made = torch.export.export(scores, (_scene(),), dynamic_shapes=many, strict=False)
    scene = torch.rand(5, *_scene().shape[1:])
    assert torch.allclose(made.module()(scene), scores(scene), atol=1e-6)


def test_light_above_full_scale_is_light():
    system = joint.ImagingSystem(sensor=optics.Sensor(), encoding="linear")
    assert system(1000 * _scene(), generator=_generator()).measurement.max() == pytest.approx(1)
    assert system(_scene()[:0]).measurement.shape == (0, 3, 20, 20)


@pytest.mark.parametrize(
    "stages",
    [
        {"front_end": lambda: optics.LearnedKernel("identity", 5, mix_channels=True)},
        {"front_end": lambda: optics.FourierFilter((32, 32), "spiral")},
        {"front_end": lambda: optics.FourierFilter((32, 32), illumination="incoherent")},
        {"sensor": lambda: optics.Sensor(1000)},
        {"sensor": lambda: optics.Sensor(1000, cfa="rggb", shot_noise="poisson", full_well=600)},
        {
            "sensor": lambda: optics.Sensor(
                1000, converter="dithered", trainable_gain=True, binning=2
            )
        },
        {"codec": lambda: compress.FactorizedCodec(levels=3)},
        {"codec": compress.HyperpriorCodec},
        {"codec": lambda: compress.Autoencoder(width_ratio=6)},
        {"classifier": lambda: classify.backbone("resnet_s", 3, image_size=(32, 32))},
    ],
)
def test_neither_pass_reads_a_number_from_the_device(stages, monkeypatch):
    """A tensor without values cannot be read: whoever would wait for a GPU raises here.

    KMeansCodec, and DifferentiableJPEG with its count of bits, do wait.
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not on "meta"
    system = joint.ImagingSystem(**{name: make() for name, make in stages.items()}).to("meta")
    output = system(torch.rand(2, 3, 32, 32, device="meta", requires_grad=True))
    total = output.handed.sum()
    if output.coded is not None:
        total = total + output.coded.bits.sum()
    if output.logits is not None:
        labels = torch.zeros(2, dtype=torch.int64, device="meta")
        total = total + joint.Objective()(output, labels, counts=torch.tensor([3, 2, 1])).total
    total.backward()
    assert output.scene.grad is not None
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name


def test_arrays_and_nan_are_named_for_what_they_are():
    system = joint.ImagingSystem(classifier=_Head())
    with pytest.raises(TypeError, match=r"takes a Tensor .*, not ndarray: .*torch\.as_tensor"):
        system(_scene().numpy())
    scene = _scene()
    scene[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="some values of these are NaN"):
        system(scene)


@pytest.mark.parametrize("demosaicing", ["packed", "none"])
def test_exposures_of_a_mosaic_are_combined_pixel_by_pixel(demosaicing):
    # What each pixel of the mosaic shows is what the picture in all colours shows there.
    scene = torch.rand(2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    kernel = optics.LearnedKernel("sobel", 3)
    quiet = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    with torch.no_grad():
        sensor = optics.Sensor(cfa="grbg", demosaicing=demosaicing, **quiet)
        system = joint.ImagingSystem(front_end=kernel, sensor=sensor)
        seen = system(scene).measurement
        whole = joint.ImagingSystem(front_end=kernel, sensor=optics.Sensor(**quiet))
        full = whole(scene).measurement.unflatten(1, (2, 3))
    expected = torch.cat([optics.mosaic(each, "grbg") for each in full.unbind(1)], 1)
    if demosaicing == "packed":
        expected = torch.nn.functional.pixel_unshuffle(expected, 2)
    torch.testing.assert_close(seen, expected)


def test_a_front_end_may_draw_and_the_system_says_so():
    distances = torch.tensor([0.3, 0.6, float("inf")])
    lens = joint.build_front_end(joint.LensConfig(), (24, 24), 3)
    drawing = optics.IncoherentImaging(lens.pupil, working_distances=distances)
    assert not joint.ImagingSystem(front_end=lens).draws
    system = joint.ImagingSystem(front_end=drawing)
    assert system.draws
    scene = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)).expand(
        8, 3, 24, 24
    )
    seeds = [torch.Generator().manual_seed(n) for n in range(8)]
    with torch.no_grad():
        output = system(scene, generator=seeds)
        spread = (output.measurement - output.measurement[:1]).abs().amax((-3, -2, -1))
        assert (spread > 1e-3).any()
        with drawing.at(0.3):
            near = joint.ImagingSystem(front_end=drawing)(scene).measurement
    torch.testing.assert_close(near, near[:1].expand_as(near), rtol=1e-4, atol=1e-5)


def test_the_steps_of_a_measurement_are_those_of_the_camera():
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("log", 3), sensor=optics.Sensor(500)
    )
    scene = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = system.measure(scene, generator=torch.Generator().manual_seed(1))
    assert torch.equal(system.image(scene), seen.irradiance)
    read = system.read(seen.irradiance, generator=torch.Generator().manual_seed(1))
    assert torch.equal(read, seen.raw)
    assert torch.equal(system.develop(read), seen.measurement)
    assert seen.developed is None  # nothing restores
    with pytest.raises(ValueError, match="the system has no sensor"):
        joint.ImagingSystem().read(seen.irradiance)


def test_what_a_pass_gives_is_printed_in_a_few_lines():
    system = joint.ImagingSystem(
        sensor=optics.Sensor(500), codec=compress.JPEG(50), classifier=classify.backbone(classes=3)
    )
    with torch.no_grad():
        shown = repr(system.eval()(torch.full((2, 3, 24, 24), 0.25)))
    lines = shown.splitlines()
    assert lines[:3] == [
        "SystemOutput", "  scene: [2, 3, 24, 24] from 0.25 to 0.25",
        "  irradiance: [2, 3, 24, 24] from 0.05088 to 0.05088",
    ]  # fmt: skip
    assert "  coded: Coded(reconstruction=[2, 3, 24, 24], latent=None, bits_map=" in shown
    assert "rate=bytes" in shown
    assert lines[-2:] == ["  exposures: 1", "  penalty: None"]
    assert len(lines) == 12
    field = joint.ImagingSystem()(torch.zeros(1, 3, 8, 8)).__class__
    assert "complex64 [1, 2]" in repr(
        field(torch.zeros(1, 2, dtype=torch.complex64), None, None, torch.ones(1), None,
              torch.ones(1), None)
    )  # fmt: skip


def test_printed_it_has_a_line_for_each_stage_and_represented_all_layers():
    kernel, codec = optics.LearnedKernel("identity", 3), compress.FactorizedCodec()
    head = classify.backbone("resnet_s", classes=7)
    system = joint.ImagingSystem(
        front_end=kernel, sensor=optics.Sensor(2000), codec=codec, classifier=head
    )
    codec.requires_grad_(False)
    next(iter(head.parameters())).requires_grad_(False)
    first, *lines = str(system).splitlines()
    assert first == "ImagingSystem(encoding='srgb')"
    assert [line.split()[0] for line in lines] == [name for name, _ in system.stages()]
    whole = {n: sum(p.numel() for p in m.parameters()) for n, m in system.stages()}
    told = {line.split()[0]: line.rsplit("): ", 1)[1].replace(" ", "") for line in lines}
    assert "ResNetS" in lines[3]
    learning = sum(p.numel() for p in head.parameters() if p.requires_grad)
    assert told == {
        "front_end": f"{whole['front_end']}parameters",
        "sensor": "noparameters",
        "codec": f"{whole['codec']}parameters,frozen",
        "classifier": f"{whole['classifier']}parameters,{learning}learn",
    }
    assert "photons=2000/pixel" in lines[1]
    assert "Conv2d" in repr(system)


def test_a_system_without_data_tells_its_shapes():
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("log", 3), sensor=optics.Sensor(500), classifier=_Head()
    ).to("meta")
    output = system(torch.empty(2, 3, 16, 16, device="meta"))
    assert output.measurement.shape == (2, 3, 16, 16)
    assert output.logits.shape == (2, 4)


def _restoring(**options):
    """A network that adds something, as one that was trained does."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = optics.RestorationUNet(**{"width": 3, "scales": 2, **options})
        nn.init.normal_(net.tail.weight, std=0.1)
    return net


def test_a_restoration_stands_between_the_camera_and_what_follows():
    net = _restoring(upscaling=2)
    system = joint.ImagingSystem(
        sensor=optics.Sensor(500, binning=2),
        restoration=net,
        codec=compress.Autoencoder(3),
        classifier=_Head(),
    ).eval()
    output = system(_scene(), generator=_generator())
    assert output.developed.shape == (2, 3, 10, 10)
    assert torch.equal(output.measurement, net(output.developed).clamp(0, 1))
    assert torch.equal(output.handed, system.codec(output.measurement).reconstruction)
    seen = system.measure(_scene(), generator=_generator())
    for plane in ("irradiance", "raw", "developed", "measurement"):
        assert torch.equal(getattr(seen, plane), getattr(output, plane))
    assert torch.equal(output.measurement, system.restore(system.develop(output.raw)))
    without = joint.ImagingSystem(sensor=system.sensor).eval()
    assert torch.equal(without(_scene(), generator=_generator()).measurement, output.developed)
    assert without(_scene(), generator=_generator()).developed is None
    assert list(dict(system.stages())) == ["sensor", "restoration", "codec", "classifier"]


def test_the_gradient_passes_the_restoration_to_the_optics():
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5, signed=False),
        restoration=_restoring(),
        classifier=_Head(),
    ).double()

    def loss():
        logits = system(_scene(torch.float64)).logits
        return nn.functional.cross_entropy(logits, torch.tensor([0, 1]))

    loss().backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=_generator(3))
        slope = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter.add_(1e-6 * direction)
            up = float(loss())
            parameter.sub_(2e-6 * direction)
            down = float(loss())
            parameter.add_(1e-6 * direction)
        assert slope == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-7), name


class _Beyond(nn.Module):
    """Makes values that no picture has."""

    def forward(self, pictures):
        return 4 * pictures - 1


@pytest.mark.parametrize("camera", [True, False])
@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_any_module_restores_and_what_it_makes_is_a_picture(camera, encoding):
    sensor = optics.Sensor(500) if camera else None
    system = joint.ImagingSystem(sensor=sensor, restoration=_Beyond(), encoding=encoding).eval()
    output = system(_scene(), generator=_generator())
    has_white = camera or encoding == "srgb"
    wanted = _Beyond()(output.developed).clamp(0, 1 if has_white else None)
    assert torch.equal(output.measurement, wanted)
    assert output.measurement.max() == 1 if has_white else output.measurement.max() > 1


def test_a_network_restores_in_half_precision_and_hands_on_single():
    seen = []

    class Net(nn.Conv2d):
        def forward(self, pictures):
            made = super().forward(pictures)
            seen.append(made.dtype)
            return made

    system = joint.ImagingSystem(sensor=optics.Sensor(), restoration=Net(3, 3, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = system(_scene(), generator=_generator())
    assert seen == [torch.bfloat16]
    assert output.developed.dtype == output.measurement.dtype == torch.float32


@pytest.mark.parametrize(
    ("restored", "made"),
    [
        (lambda pictures: pictures[0], r"returned \[3, 20, 20\]"),
        (lambda pictures: pictures[:1], r"returned \[1, 3, 20, 20\]"),
        (lambda pictures: (pictures, 1), "returned tuple"),
    ],
)
def test_what_a_restoration_makes_must_be_pictures(restored, made):
    class Net(nn.Module):
        def forward(self, pictures):
            return restored(pictures)

    system = joint.ImagingSystem(restoration=Net())
    with pytest.raises(ValueError, match="restoration Net must return pictures.*" + made):
        system(_scene())


@pytest.mark.parametrize("name", joint.STAGES)
def test_other_stages_of_a_system_stay_as_they_are(name):
    stages = {
        "front_end": optics.LearnedKernel("identity", 3),
        "sensor": optics.Sensor(100, binning=2),
        "restoration": torch.nn.Upsample(scale_factor=2),
        "codec": compress.JPEG(50),
        "classifier": classify.backbone("resnet_s", 3, image_size=(16, 16)),
    }
    system = joint.ImagingSystem(**stages, encoding="linear").eval()
    without = system.replace(**{name: None})
    assert dict(without.stages()) == {k: v for k, v in stages.items() if k != name}
    assert (without.encoding, without.training) == ("linear", False)
    other = torch.nn.Identity() if name in ("restoration", "classifier") else stages[name]
    assert dict(without.train().replace(**{name: other}).stages()) == stages | {name: other}
    assert getattr(system, name) is stages[name]


def test_names_of_classes_stay_with_their_classifier():
    net, other = torch.nn.Identity(), torch.nn.Flatten()
    system = joint.ImagingSystem(classifier=net, classes=["b", "a"])
    assert system.classes == system.replace(sensor=optics.Sensor(100)).classes == ("b", "a")
    assert system.replace(classifier=other).classes is None
    assert system.replace(classifier=None).classes is None
    assert "'b'" not in repr(system)  # by which a run is known, and no network is another by it
    for wrong, error, message in (
        ({"classes": "ab"}, TypeError, "a sequence of names, not 'ab'"),
        ({"classes": 2}, TypeError, "a sequence of names, not 2"),
        ({"classes": (1, 2)}, TypeError, r"a sequence of names, not \(1, 2\)"),
        ({"classes": ("a", "a")}, ValueError, r"different names, .* not \('a', 'a'\)"),
        ({"classes": ()}, ValueError, r"at least one, not \(\)"),
        ({"classes": ("a",), "classifier": None}, ValueError, "the system has none"),
    ):
        with pytest.raises(error, match=message):
            joint.ImagingSystem(**{"classifier": net, **wrong})
        if "classifier" not in wrong:
            with pytest.raises(error, match=message):
                system.classes = wrong["classes"]
    assert system.classes == ("b", "a")
    system.classes = ["c", "d"]
    assert copy.deepcopy(system).classes == ("c", "d")


def test_what_is_no_stage_replaces_none():
    system = joint.ImagingSystem(sensor=optics.Sensor(100), codec=compress.JPEG(50))
    with pytest.raises(TypeError, match="decoder"):
        system.replace(decoder=None)
    with pytest.raises(TypeError, match=r"codec must be a compress\.Codec"):
        system.replace(codec=torch.nn.Identity())
