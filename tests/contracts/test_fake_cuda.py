"""The GPU path without a GPU: passes over tensors that say they lie on one and hold no numbers.

torch follows them through each operation and refuses two devices in one, and what depends on a
number that a GPU would have to be asked for. ``_Waits`` refuses what a fake tensor allows: copies
and indices from the CPU, for which each pass would wait, and transforms in half precision. Backward
passes, optimisers, generators and the numbers need a GPU: ``test_cuda.py``. So does what waits in
torch itself, such as a decomposition.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import joint
import optics
from joint.config.front_ends import BASELINES

sys.path.append(str(Path(__file__).parents[1] / "optics"))
import test_laws as laws

_CODECS = {
    "none": joint.NoneConfig(),
    "factorized": joint.FactorizedConfig(levels=3),
    "factorized-noise": joint.FactorizedConfig(proxy="noise"),
    "hyperprior": joint.HyperpriorConfig(),
    "autoencoder": joint.AutoencoderConfig(latent_bits=6),
}
_FRONT_ENDS = {
    **BASELINES,
    "distorted": joint.LensConfig(distortion=-0.1, lateral_colour=0.01, half_field=0.3),
    "distances": joint.LensConfig(working_distances=(0.4, 0.5), focus=0.45, restoration=0.01),
    "corners at distances": joint.LensConfig(
        element="cubic",
        strength=1.0,
        off_axis={"coma": 0.02, "places": (2, 2), "rank": 3},
        working_distances=(0.4, 0.5),
        focus=0.45,
    ),
    "partial": joint.FourierConfig(start="low_pass", illumination="partial"),
    "shutter": joint.ShutterConfig(start="random"),
}
_SENSORS = {
    "poisson": {"shot_noise": "poisson", "dark_current": 1.0, "prnu": 0.01, "dsnu": 1.0},
    "range": {"photon_range": (50, 500)},
    "channels": {"quantum_efficiency": (0.5, 0.6, 0.4), "white_balance": True},
    "white": {
        "quantum_efficiency": (0.5, 0.6, 0.4), "white_balance": True, "full_well": 100,
        "gain": 0.2, "trainable_gain": True, "converter": "dithered",
    },
    "colours": {
        "colour_matrix": (1.5, -0.4, -0.1, -0.3, 1.5, -0.2, 0.1, -0.6, 1.5),
        "trainable_colour_matrix": True,
    },
    "gain": {"trainable_gain": True, "converter": "dithered", "full_well": 1e4},
    **{f"mosaic-{d}": {"cfa": "rggb", "demosaicing": d} for d in ("malvar", "packed", "none")},
}  # fmt: skip
_OBJECTIVES = {
    "rate": {"rate": 0.1, "distortion": 1.0},
    "ms_ssim": {"restoration": 1.0, "distortion_kind": "ms_ssim"},
    "rare": {"effective_number": 0.99, "logit_adjustment": 1.0, "margin": 15.0},
    "focal": {"class_weight_power": 0.5, "focal_gamma": 1.0},
}


class _Waits(TorchDispatchMode):
    """Refuses what a GPU would wait for, or does not know, and a fake one allows."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if t.is_cuda]
        out = func(*args, **kwargs)
        free = kwargs.get("non_blocking") or (name == "copy_" and True in args[2:])
        if name in ("_to_copy", "copy_") and not free and out.device != tensors[-1].device:
            raise RuntimeError(f"{name} waits for a copy between CPU and GPU")
        if there and "index" in name and any(t.ndim and not t.is_cuda for t in tensors):
            raise RuntimeError(f"{name} waits for an index on the CPU")
        if "fft" in name and there[:1] and there[0].dtype in (torch.half, torch.bfloat16):
            raise RuntimeError(f"{name} in half precision")
        return out


@pytest.fixture(name="gpu")
def _gpu(monkeypatch):
    """A function that runs a module twice on a fake GPU; in the second pass nothing may wait."""
    # Constants are kept under this mode as they are without one, but not beyond the test.
    monkeypatch.setattr(optics.fourier, "_len_torch_dispatch_stack", lambda: 0)
    monkeypatch.setattr(optics.fourier, "_matrices", {})
    # Autocast is off where torch sees no GPU.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def run(module, use, *arguments):
        user = _Use(module, use)
        with mode:
            given = tuple(_there(mode, argument) for argument in arguments)
            state = {name: _there(mode, buffer) for name, buffer in user.named_buffers()}
            for name, parameter in user.named_parameters():
                state[name] = torch.nn.Parameter(_there(mode, parameter))
            torch.func.functional_call(user, state, given)  # what is made once may wait
            with _Waits():
                return torch.func.functional_call(user, state, given)

    return run


def _there(mode, tensor):
    return mode.from_tensor(tensor.detach()).to("cuda")


class _Source(torch.Generator):
    """Says that it draws there; a real one needs a driver, and a fake tensor asks for none."""

    device = torch.device("cuda", 0)


class _Use(torch.nn.Module):
    def __init__(self, module, use):
        super().__init__()
        self.module, self.use = module, use

    def forward(self, *arguments):
        return self.use(self.module, *arguments)


@pytest.mark.parametrize("name", list(laws.MODULES))
def test_optics(gpu, name):
    image = gpu(laws._made(name), laws._run, laws._scene())
    assert image.is_cuda
    assert image.dtype == torch.float32


def _system(front_end="ideal_lens", codec="none", classifier=None, size=32, **sensor):
    config = joint.SystemConfig(
        front_end=_FRONT_ENDS[front_end],
        sensor=joint.SensorConfig(**{"photons": 200, **sensor}),
        codec=_CODECS[codec],
        classifier=joint.ClassifierConfig(name=classifier or "resnet_s"),
    )
    system = joint.build_system(config, image_size=(size, size), channels=3, classes=7)
    return system if classifier else system.replace(classifier=None)


def _step(gpu, system, size=32, precision=torch.bfloat16, **objective):
    """The loss of a training step of three pictures, each with a source of noise of its own."""
    counts = torch.arange(1, 8)
    own = joint.Objective(task=float(system.classifier is not None), **objective)

    def use(system, scenes, labels):
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            output = system(scenes, generator=[_Source() for _ in range(3)])
            if own == joint.Objective(task=0):
                return output.handed.mean()
            return own(output, labels, counts=counts, epoch=0).total

    loss = gpu(system, use, torch.zeros(3, 3, size, size), torch.tensor([0, 1, 2]))
    assert loss.is_cuda
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("front_end", list(_FRONT_ENDS))
def test_front_ends(gpu, front_end):
    _step(gpu, _system(front_end))


@pytest.mark.parametrize("sensor", list(_SENSORS))
def test_sensors(gpu, sensor):
    _step(gpu, _system(**_SENSORS[sensor]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("codec", [name for name in _CODECS if name != "none"])
def test_codecs(gpu, codec, training):
    rate = 0.0 if codec == "autoencoder" else 0.1
    _step(gpu, _system(codec=codec).train(training), rate=rate, distortion=1.0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["resnet_s", "inception_s", "vit_tiny_8"])
def test_classifiers(gpu, name, precision):
    size = 64 if name.startswith("vit") else 32
    _step(gpu, _system("no_optics", classifier=name, size=size), size, precision)


@pytest.mark.parametrize("objective", list(_OBJECTIVES))
def test_objectives(gpu, objective, monkeypatch):
    # What is made of the counts is looked at on the CPU; under the mode it holds no numbers.
    for name in ("class_weights", "effective_number_weights", "log_prior", "ldam_margins"):
        monkeypatch.setattr(joint.objective, name, lambda counts, **_: counts / counts.sum())
    system = _system("no_optics", classifier="resnet_s", codec="factorized")
    _step(gpu, system, **_OBJECTIVES[objective])


class _Faulty(torch.nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, scene):
        return self.fault(scene)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda scene: scene + torch.ones(3, 1, 1), "on the same device"),
        (lambda scene: scene if bool(scene.any()) else -scene, "_local_scalar_dense"),
        (lambda scene: scene[scene > 0], "nonzero"),
        (lambda scene: scene * scene.new_tensor([1.0, 2.0]), "_to_copy waits for a copy"),
        (lambda scene: scene[torch.tensor([1, 0])], "index waits for an index on the CPU"),
        (lambda scene: torch.fft.rfft2(scene.bfloat16()).real, "fft_r2c in half precision"),
    ],
)
def test_a_fault_is_seen(gpu, fault, message):
    with pytest.raises(RuntimeError, match=message):
        gpu(_Faulty(fault), lambda module, scene: module(scene), torch.rand(2, 3, 8, 2))
