"""Random systems, as nobody would build them: whatever is accepted works, and leaves no trace.

Any front end before any sensor, codec and classifier, at odd sizes and batches, in float32,
float64 and under bfloat16 autocast, with pictures that lie in memory in any way.
"""

import copy
import io
import random
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import classify
import compress
import joint
import optics

# Some converters are coarser than their noise, and their slope is looked at all the same.
pytestmark = pytest.mark.filterwarnings("ignore:the read noise is")


def _pupil(channels):
    return optics.Pupil(
        [optics.PhaseMask(nn.Parameter(torch.rand(16, 16)), spacing=2.5e-3 / 15)],
        wavelengths=(630e-9, 532e-9, 465e-9)[:channels],
        focal_length=20e-3,
        pixel_pitch=3.5e-6,
        psf_size=9,
        size=16,
        spacing=2.5e-3 / 15,
    )


def _varying(size, channels):
    psfs = nn.Parameter(torch.rand(2, 3, 5, 5) / 25)
    return optics.VaryingImaging(psfs, rank=2, channels=channels)


#: (H, W) and channels -> front end.
FRONT_ENDS = {
    "none": lambda size, channels: None,
    "identity": lambda size, channels: optics.LearnedKernel("identity", 3, channels=channels),
    "signed": lambda size, channels: optics.LearnedKernel(
        "random", 5, channels=channels, signed=True
    ),
    "mixed": lambda size, channels: optics.LearnedKernel(
        "random", 3, channels=channels, mix_channels=True, boundary="zero"
    ),
    "sobel": lambda size, channels: optics.LearnedKernel("sobel", 3, channels=channels),
    "spiral": lambda size, channels: optics.FourierFilter(
        size, "spiral", channels=channels, margin=3
    ),
    "periodic": lambda size, channels: optics.FourierFilter(
        size, "random", channels=channels, margin=0, illumination="incoherent"
    ),
    "partial": lambda size, channels: optics.FourierFilter(
        size, "knife_edge", channels=channels, margin=2, illumination="partial"
    ),
    "lens": lambda size, channels: optics.IncoherentImaging(_pupil(channels)),
    "laser": lambda size, channels: optics.CoherentImaging(_pupil(channels)),
    "varying": _varying,
}
#: Options of a sensor; None for a system without.
SENSORS = {
    "none": None,
    "plain": {},
    "dithered": {"converter": "dithered", "photons": 300, "black_level": 8},
    "counted": {"shot_noise": "poisson", "full_well": 3000, "photons": 50},
    "ideal": {"shot_noise": "none", "read_noise": 0, "bit_depth": None},
    "patterned": {"prnu": 0.02, "dsnu": 3.0, "dark_current": 500.0, "bit_depth": 16},
    "one_bit": {"bit_depth": 1, "photons": 20, "trainable_gain": True},
}
#: Channels -> codec.
CODECS = {
    "none": lambda channels: None,
    "factorized": lambda channels: compress.FactorizedCodec(channels=channels, levels=2),
    "hyperprior": lambda channels: compress.HyperpriorCodec(channels=channels),
    "autoencoder": lambda channels: compress.Autoencoder(6, channels=channels, latent_bits=6),
    "kmeans": lambda channels: compress.KMeansCodec(5, channels=channels, restarts=1),
    "jpeg": lambda channels: compress.JPEG(60, block_bits=True),
    "soft_jpeg": lambda channels: compress.DifferentiableJPEG(60),
    "webp": lambda channels: compress.WebP(50, channels=channels),
    "png": lambda channels: compress.PNG(),
}
#: Those that take any number of channels; files take one or three.
ANY_CHANNELS = ("none", "factorized", "hyperprior", "autoencoder", "kmeans")


class _Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.in_channels = channels
        self.net = nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.SiLU(), nn.Conv2d(4, 3, 3))

    def forward(self, image):
        return self.net(image).mean((-2, -1))


CLASSIFIERS = {
    "none": lambda channels: None,
    "smooth": _Head,
    "resnet_s": lambda channels: classify.backbone("resnet_s", 3, in_channels=channels),
}


@st.composite
def cases(draw, largest=48):
    """A system by name, and pictures for it."""
    length = st.integers(17, 32) if draw(st.integers(0, 3)) else st.integers(17, largest)
    front_end, sensor = (
        draw(st.sampled_from(list(FRONT_ENDS))),
        draw(st.sampled_from(list(SENSORS))),
    )
    channels = draw(st.sampled_from((1, 3)))
    out = channels * (2 if front_end == "sobel" else 1)
    allowed = list(CODECS) if out in (1, 3) else list(ANY_CHANNELS)
    return {
        "front_end": front_end,
        "sensor": sensor,
        "codec": draw(st.sampled_from(allowed)),
        "classifier": draw(st.sampled_from(list(CLASSIFIERS))),
        "channels": channels,
        "size": (draw(length), draw(length)),
        "batch": draw(st.integers(0, 4)),
        "dtype": draw(st.sampled_from(("float32", "float64", "bfloat16"))),
        "layout": draw(st.sampled_from(("plain", "channels_last", "sliced", "flipped", "shared"))),
        "encoding": draw(st.sampled_from(("srgb", "linear"))),
        "extremes": draw(st.booleans()),
        "training": draw(st.booleans()),
        "seed": draw(st.integers(0, 999)),
    }


def build(case, seed=None):
    """The system of a case."""
    with torch.random.fork_rng():
        torch.manual_seed(case["seed"] if seed is None else seed)
        front_end = FRONT_ENDS[case["front_end"]](case["size"], case["channels"])
        options = SENSORS[case["sensor"]]
        out = case["channels"] if front_end is None else front_end.out_channels
        system = joint.ImagingSystem(
            front_end=front_end,
            sensor=None if options is None else optics.Sensor(resolution=case["size"], **options),
            codec=CODECS[case["codec"]](out),
            classifier=CLASSIFIERS[case["classifier"]](out),
            encoding=case["encoding"],
        )
    if case["dtype"] == "float64":
        system = system.double()
    return system.train(case["training"])


def pictures(case, batch=None):
    """Scenes in 0..1, with black, white and a border between them where asked for."""
    batch = case["batch"] if batch is None else batch
    generator = torch.Generator().manual_seed(case["seed"])
    shape = (batch, case["channels"], *case["size"])
    scene = torch.rand(shape, generator=generator, dtype=torch.float64)
    if case["extremes"]:
        scene[..., :6, :] = 0
        scene[..., -6:, :] = 1
    scene = scene.to(torch.float64 if case["dtype"] == "float64" else torch.float32)
    match case["layout"]:
        case "channels_last":
            return scene.contiguous(memory_format=torch.channels_last)
        case "sliced":
            return torch.cat((scene, scene), -1)[..., : scene.shape[-1]]
        case "flipped":
            return scene.mT.contiguous().mT
        case "shared" if batch:
            return scene[:1].expand(shape)
    return scene


def sources(case, count):
    """A generator for each picture."""
    return [torch.Generator().manual_seed(1000 * case["seed"] + n) for n in range(count)]


def precision(case):
    """The autocast of a case."""
    if case["dtype"] == "bfloat16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def tensors(output):
    """Every tensor of a pass, by name."""
    names = ("irradiance", "raw", "measurement", "handed", "logits")
    found = {name: getattr(output, name) for name in names}
    if output.coded is not None:
        found |= {"bits": output.coded.bits, "latent": output.coded.latent}
    return {name: value for name, value in found.items() if value is not None}


def traces():
    """What code may have changed behind everybody's back."""
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "random": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "printing": copy.copy(torch._tensor_str.PRINT_OPTS),  # it is changed in place
        "filters": list(warnings.filters),
    }


def check_pass(case):
    """Forward and backward: finite, of the promised shapes, repeatable, without a trace."""
    system, scene = build(case), pictures(case)
    before, kept = traces(), scene.clone()
    scene = scene.requires_grad_()
    with precision(case):
        output = system(scene, generator=sources(case, len(scene)))
        again = system(scene, generator=sources(case, len(scene)))
    found = tensors(output)
    for name, value in found.items():
        assert value.shape[0] == len(scene), name
        assert value.isfinite().all(), name
        assert torch.equal(value, tensors(again)[name]), f"{name} is not a function of its seeds"
    assert output.measurement.shape[-2:] == scene.shape[-2:]
    assert output.handed.shape == output.measurement.shape
    wanted = torch.float64 if case["dtype"] == "float64" else torch.float32
    for name in ("irradiance", "raw", "measurement"):
        if name in found:
            assert found[name].dtype == wanted, name
    for name in ("measurement", "irradiance"):
        if name in found:
            assert (found[name] >= -1e-5).all(), name
    if system.sensor is not None or system.encoding == "srgb":  # light alone has no white
        assert (output.measurement <= 1).all()
    if output.coded is not None:
        assert output.coded.bits_map.shape == (len(scene), 1, *scene.shape[-2:])
        assert output.coded.side_bits.shape == (len(scene),)
        assert (output.coded.bits >= 0).all()
    if len(scene):
        # By itself: the irradiance has a gradient, whatever comes after it.
        weights = torch.rand(output.handed.shape, generator=torch.Generator().manual_seed(0))
        last = (output.handed * weights).sum()
        (slope,) = torch.autograd.grad(last, scene, retain_graph=True)
        assert slope.isfinite().all()
        assert slope.abs().max() > 0
    total = sum(value.double().sum() for value in found.values())
    if total.requires_grad:
        total.backward()
        for name, parameter in system.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert scene.grad is not None
        assert scene.grad.isfinite().all()
        assert case["batch"] == 0 or scene.grad.abs().max() > 0
    assert torch.equal(scene.detach(), kept), "the scene was written to"
    after = traces()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"touched: {changed}"


def check_copies(case):
    """A saved state and a deep copy are the system, and the copy is one of its own."""
    system, scene = build(case), pictures(case)
    system.eval()
    other = build(case, seed=case["seed"] + 1).eval()
    state = safetensors.torch.load(safetensors.torch.save(dict(system.state_dict())))
    other.load_state_dict(state)
    twin = copy.deepcopy(system)
    with torch.no_grad(), precision(case):
        expected = tensors(system(scene, generator=sources(case, len(scene))))
        for name, same in (("loaded", other), ("copied", twin)):
            got = tensors(same(scene, generator=sources(case, len(scene))))
            for part, value in expected.items():
                assert torch.equal(value, got[part]), f"{name}: {part}"
        for parameter in twin.parameters():
            parameter.add_(1)
        kept = tensors(system(scene, generator=sources(case, len(scene))))
    for part, value in expected.items():
        assert torch.equal(value, kept[part]), f"a copy shares memory: {part}"
    stream = io.BytesIO()
    torch.save(system.state_dict(), stream)


def check_alone(case):
    """In evaluation, a picture is what it is without the others, and in any layout."""
    if case["sensor"] == "counted":
        return  # light that is rounded otherwise may draw another count
    system, scene = build(case).double().eval(), pictures(case).double()
    with torch.no_grad():
        together = tensors(system(scene, generator=sources(case, len(scene))))
        plain = tensors(system(scene.contiguous(), generator=sources(case, len(scene))))
        for number in range(len(scene)):
            alone = tensors(
                system(
                    scene[number : number + 1],
                    generator=sources(case, len(scene))[number : number + 1],
                )
            )
            for name, value in alone.items():
                for whole in (together, plain):
                    _assert_near(whole[name][number], value[0], name)


def check_files(case):
    """What a codec writes is what it showed, to the bit, whatever the measurement."""
    system = build(case).eval()
    if system.codec is None:
        return
    scene = pictures(case).float()
    with torch.no_grad():
        measured = system.float().measure(scene, generator=sources(case, len(scene))).measurement
        shown = system.codec(measured).reconstruction
        files = system.codec.compress(measured)
        decoded = system.codec.decompress(files)
    assert torch.equal(decoded, shown)


def _assert_near(one, other, name):
    difference = (one - other).abs()
    assert difference.max() <= 1e-6 * (1 + other.abs().max()), f"{name}: {difference.max()}"


def _refused(check, case):
    """Run a check; an empty batch may be refused, in words."""
    if case["batch"] > 0:
        check(case)
        return
    try:
        check(case)
    except ValueError as error:
        if "[B, " not in str(error):
            raise


CHECKS = {"pass": check_pass, "copies": check_copies, "alone": check_alone, "files": check_files}


@pytest.mark.parametrize("check", list(CHECKS))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_a_random_system(check, case):
    _refused(CHECKS[check], case)


def _every_sensor(front_end):
    """A case for each sensor behind a front end; all else takes turns."""
    for number, sensor in enumerate(
        SENSORS, start=len(SENSORS) * list(FRONT_ENDS).index(front_end)
    ):
        channels = (3, 1)[number % 2]
        out = channels * (2 if front_end == "sobel" else 1)
        codecs = list(CODECS) if out in (1, 3) else ANY_CHANNELS
        yield {
            "front_end": front_end,
            "sensor": sensor,
            "codec": codecs[number % len(codecs)],
            "classifier": list(CLASSIFIERS)[number // 2 % 3],
            "channels": channels,
            "size": (17 + number % 8, 24 - number % 7),
            "batch": 1 + number // 3 % 3,
            "dtype": ("float32", "float64", "bfloat16")[number % 3],
            "layout": ("plain", "channels_last", "sliced", "flipped", "shared")[number % 5],
            "encoding": ("srgb", "linear")[number // 3 % 2],
            "extremes": True,
            "training": number // 2 % 2 == 0,
            "seed": number,
        }


@pytest.mark.parametrize("check", list(CHECKS))
@pytest.mark.parametrize("front_end", list(FRONT_ENDS))
def test_every_kind_in_turn(front_end, check):
    """What chance leaves out of a few systems: each front end before each sensor, each codec."""
    for case in _every_sensor(front_end):
        CHECKS[check](case)


@pytest.mark.slow
@pytest.mark.parametrize("check", list(CHECKS))
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(largest=160))
def test_thousands_of_random_systems(check, case):
    _refused(CHECKS[check], case)


_PLAIN = {
    "classifier": "smooth",
    "channels": 3,
    "size": (21, 18),
    "batch": 2,
    "dtype": "float32",
    "layout": "plain",
    "encoding": "srgb",
    "extremes": False,
    "training": False,
    "seed": 0,
}


@pytest.mark.parametrize("front_end", [name for name in FRONT_ENDS if name != "none"])
def test_front_ends_are_mapped_over_stacks_of_scenes(front_end):
    case = {**_PLAIN, "front_end": front_end, "sensor": "none", "codec": "none"}
    system = build(case)
    stack = torch.stack([pictures({**case, "seed": seed}) for seed in range(3)]).double()
    element = system.front_end.double()
    mapped = torch.vmap(element)(stack)
    for scenes, irradiance in zip(stack, mapped, strict=True):
        torch.testing.assert_close(irradiance, element(scenes), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize(
    "codec", ["none", "factorized", "hyperprior", "autoencoder", "jpeg", "webp"]
)
@pytest.mark.parametrize("front_end", list(FRONT_ENDS))
def test_a_compiled_system_is_the_system(front_end, codec):
    if front_end == "sobel" and codec not in ANY_CHANNELS:
        pytest.skip("six channels are no file")
    case = {**_PLAIN, "front_end": front_end, "sensor": "plain", "codec": codec, "dtype": "float64"}
    system, scene = build(case).train(), pictures(case)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(system), backend="aot_eager")
    expected = system(scene, generator=torch.Generator().manual_seed(1))
    got = compiled(scene, generator=torch.Generator().manual_seed(1))
    for name, value in tensors(expected).items():
        _assert_near(tensors(got)[name], value, name)
    for output in (expected, got):
        sum(value.sum() for value in tensors(output).values()).backward()
    twins = dict(compiled._orig_mod.named_parameters())
    for name, parameter in system.named_parameters():
        assert (parameter.grad is None) == (twins[name].grad is None), name
        if parameter.grad is not None:
            _assert_near(twins[name].grad, parameter.grad, name)
