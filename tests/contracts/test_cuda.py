"""What holds on the CPU holds on a GPU: numbers, gradients, files, and no waiting in a step.

Runs where torch sees a GPU. The second answer is the CPU's, in float64, in which neither the order
of a sum nor a fast convolution can be seen.
"""

import copy

import pytest
import torch

import classify
import joint
import optics
from joint.config.front_ends import BASELINES
from joint.feed import Feed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CODECS = {
    "none": joint.NoneConfig(),
    "factorized": joint.FactorizedConfig(levels=2),
    "hyperprior": joint.HyperpriorConfig(),
    "autoencoder": joint.AutoencoderConfig(latent_bits=6),
    "kmeans": joint.KMeansConfig(colors=5),
    "jpeg": joint.JPEGConfig(),
    "differentiable_jpeg": joint.DifferentiableJPEGConfig(),
    "webp": joint.WebPConfig(),
    "png": joint.PNGConfig(),
}
# In float64 a sum of some thousand products differs by 1e-13 between two orders.
CLOSE = {"rtol": 1e-7, "atol": 1e-9}


def _system(front_end="no_optics", codec="none", classifier="resnet_s", sensor=None, size=32):
    config = joint.SystemConfig(
        front_end=BASELINES[front_end],
        sensor=sensor or joint.SensorConfig(shot_noise="none", read_noise=0, bit_depth=None),
        codec=CODECS[codec],
        classifier=joint.ClassifierConfig(name=classifier),
    )
    return joint.build_system(config, image_size=(size, size), channels=3, classes=7)


def _scenes(count=3, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scenes = classify.LesionPhantom(count, size, seed=seed).gather(torch.arange(count)).images
    noise = 0.01 * torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64)
    return 0.05 + 0.85 * scenes.double() / 255 + noise


def _agrees(system, scenes):
    """Every intermediate, and the gradient of a weighted sum of the last, on both devices."""
    outputs, gradients = [], []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(system).double().to(device).eval()
        output = own(scenes.to(device))
        weights = torch.linspace(-1, 1, output.logits.numel(), dtype=torch.float64)
        (output.logits * weights.view_as(output.logits).to(device)).sum().backward()
        outputs.append(output)
        gradients.append({n: p.grad for n, p in own.named_parameters() if p.grad is not None})
    ours, theirs = outputs
    for name in ("irradiance", "raw", "measurement", "handed", "logits"):
        one, other = getattr(ours, name), getattr(theirs, name)
        torch.testing.assert_close(other.cpu(), one, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        scale = float(gradient.norm()) + 1e-12
        gap = float((gradients[1][name].cpu() - gradient).norm())
        assert gap <= 1e-6 * scale, f"{name}: {gap} of {scale}"


@pytest.mark.parametrize("front_end", list(BASELINES))
def test_an_element_is_the_same_on_both_devices(front_end):
    _agrees(_system(front_end), _scenes())


@pytest.mark.parametrize("codec", list(CODECS))
def test_a_codec_is_the_same_on_both_devices(codec):
    _agrees(_system(codec=codec), _scenes())


@pytest.mark.parametrize("classifier", list(classify.BACKBONES))
def test_a_classifier_is_the_same_on_both_devices(classifier):
    size = 64 if classifier == "vit_tiny_16" else 224 if classifier == "vit_b_16" else 32
    _agrees(_system(classifier=classifier, size=size), _scenes(2, size))


@pytest.mark.parametrize("cfa", [None, "rggb"])
def test_noise_of_a_picture_does_not_depend_on_its_batch(cfa):
    sensor = joint.SensorConfig(photons=200, shot_noise="poisson", cfa=cfa)
    system = _system(sensor=sensor)
    system = system.cuda().eval()
    scenes = _scenes(4).float().cuda()

    def drawn(rows):
        made = [torch.Generator("cuda").manual_seed(10 + row) for row in rows]
        return system.measure(scenes[rows], generator=made).raw

    whole, single = drawn([0, 1, 2, 3]), torch.cat([drawn([row]) for row in range(4)])
    torch.testing.assert_close(whole, single, rtol=0, atol=0)
    assert not torch.equal(whole[0], whole[1])


def test_poisson_counts_have_mean_and_variance():
    mean = torch.tensor([0.3, 4.0, 90.0, 3e4], device="cuda").expand(100_000, 4).contiguous()
    counts = optics.shot_noise(
        mean, kind="poisson", generator=torch.Generator("cuda").manual_seed(0)
    ).double()
    error = (mean[0] / len(mean)).sqrt()
    assert ((counts.mean(0) - mean[0]).abs() < 4.5 * error).all()
    assert ((counts.var(0) / mean[0] - 1).abs() < 0.03).all()


@pytest.mark.parametrize("name", ["factorized", "hyperprior", "autoencoder", "kmeans", "jpeg"])
def test_a_file_that_one_device_wrote_is_read_by_the_other(name):
    codec = _system(codec=name).codec.eval()
    scenes = _scenes().float()
    there = copy.deepcopy(codec).cuda()
    for writer, pictures in ((codec, scenes), (there, scenes.cuda())):
        files = writer.compress(pictures)
        ours, theirs = codec.decompress(files), there.decompress(files).cpu()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
        assert ours.shape == scenes.shape


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("codec", ["factorized", "hyperprior"])
@pytest.mark.parametrize("front_end", ["no_optics", *list(BASELINES)[-2:]])
def test_no_pass_waits_for_the_gpu(front_end, codec):
    sensor = joint.SensorConfig(photons=200)
    system = _system(front_end, codec, sensor=sensor).cuda()
    scenes, labels = _scenes().float().cuda(), torch.tensor([0, 1, 2], device="cuda")
    objective = joint.Objective(rate=0.1, distortion=1.0)
    noise = [torch.Generator("cuda").manual_seed(n) for n in range(3)]
    counts = torch.ones(7, dtype=torch.int64)

    def step():
        output = system(scenes, generator=noise)
        objective(output, labels, counts=counts).total.backward()

    step()  # what is made once may wait
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _parts(count=160, size=32):
    return classify.split(classify.LesionPhantom(count, size, seed=3))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16", "channels_last": True},
        {"augmentation": "full", "averaging": 0.9, "micro_batches": 2},
        {"mixing": "mixup"},
    ],
)
def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path, changes):
    parts = _parts()
    config = joint.Training(epochs=3, batch_size=32, restore_best=False, **changes)

    def run(directory, stop=None, *, resume=False):
        system = _system(codec="factorized", sensor=joint.SensorConfig(photons=200))
        history = joint.fit(
            system, parts.train, parts.validation,
            objective=joint.Objective(rate=0.1, distortion=1.0),
            config=config, directory=directory, resume=resume, device="cuda", stop=stop,
            progress=False,
        )  # fmt: skip
        return system, history

    whole, history = run(tmp_path / "whole")
    again, _ = run(tmp_path / "again")
    asked = iter([False] * 4 + [True])
    stopped, cut = run(tmp_path / "cut", lambda: next(asked))
    assert cut.interrupted
    saved, _ = joint.load_checkpoint(tmp_path / "cut" / "checkpoint.safetensors")
    if "averaging" not in changes:  # with it, the average is what is left
        for name, weight in stopped.state_dict().items():
            assert torch.equal(saved[f"system.{name}"], weight.cpu()), name
    resumed, after = run(tmp_path / "cut", resume=True)
    assert len(after.epochs) == len(history.epochs) == 3
    # Sums on a GPU have no order, and Adam makes a step of a gradient that is almost zero: two runs
    # that nobody stopped differ too, and a resumed one may not differ by more.
    assert _gap(whole, resumed) < 2 * _gap(whole, again) + 1e-3
    assert history.epochs[-1].peak_memory > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stack_is_trained_as_its_members_are(precision):
    parts = _parts()
    settings = [
        joint.Training(epochs=1, batch_size=32, learning_rate=1e-5, seed=seed, precision=precision)
        for seed in range(3)
    ]
    objective = joint.Objective(distortion=1.0)

    def built():
        torch.manual_seed(0)
        return [
            _system("sobel", "autoencoder", sensor=joint.SensorConfig(photons=200))
            for _ in settings
        ]

    together, alone = built(), built()
    given = {"objective": objective, "device": "cuda", "progress": False}
    histories = joint.fit_ensemble(
        together, parts.train, parts.validation, config=settings, **given
    )
    for system, config, history in zip(alone, settings, histories, strict=True):
        expected = joint.fit(system, parts.train, parts.validation, config=config, **given)
        ours, theirs = history.epochs[0], expected.epochs[0]
        # Steps are small, so that what differs is the rounding of a pass.
        near = 1e-3 if precision == "float32" else 2e-2
        assert ours.train["total"] == pytest.approx(theirs.train["total"], rel=near)
        for stage, norm in theirs.gradient_norms.items():
            assert ours.gradient_norms[stage] == pytest.approx(norm, rel=30 * near), stage


def _gap(one, other):
    """Relative distance of two systems' weights."""
    pairs = [(w, other.state_dict()[n]) for n, w in one.state_dict().items() if w.ndim > 1]
    squares = [[float((a - b).square().sum()), float(a.square().sum())] for a, b in pairs]
    return (sum(s for s, _ in squares) / sum(s for _, s in squares)) ** 0.5


def test_evaluation_is_that_of_the_cpu(tmp_path):
    parts = _parts()
    system = _system(codec="factorized")
    here = joint.evaluate(system, parts.test, count_bytes=True)
    there = joint.evaluate(system.cuda(), parts.test, count_bytes=True)
    for name in ("bpp", "bpp_bytes", "psnr", "ssim", "loss"):
        assert there.scalars()[name] == pytest.approx(here.scalars()[name], rel=1e-2), name
    assert abs(there.logits - here.logits).max() < 0.05


@pytest.mark.parametrize("resident", [True, False])
def test_codes_of_16_bits_are_the_same_light_there(resident):
    deep = classify.LesionPhantom(24, 32, bit_depth=16)
    rows = torch.randperm(24).split(7)
    here = Feed(deep, torch.device("cpu")).batches(rows)
    there = Feed(deep, torch.device("cuda"), resident=resident).batches(rows)
    for (scenes, labels), (others, own) in zip(here, there, strict=True):
        torch.testing.assert_close(others.cpu(), scenes, rtol=2e-7, atol=0)
        assert torch.equal(own.cpu(), labels)


def test_a_data_set_that_is_not_resident_gives_the_same_batches():
    parts = _parts()
    rows = torch.arange(50).split(16)
    device = torch.device("cuda")
    held = Feed(parts.train, device)
    streamed = Feed(parts.train, device, resident=False)
    assert held.resident
    assert not streamed.resident
    for (one, a), (other, b) in zip(held.batches(rows), streamed.batches(rows), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(a, b)


def test_lesions_are_drawn_there_as_here():
    rows = torch.arange(8)
    here = classify.LesionPhantom(8, 48, seed=5).gather(rows).images.int()
    there = classify.LesionPhantom(8, 48, seed=5, device="cuda").gather(rows).images.int().cpu()
    assert (here - there).abs().max() <= 1
    assert (here != there).float().mean() < 0.01
