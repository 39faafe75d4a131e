"""Every stage that a configuration can name has a gradient, and it is that of what it computes.

Whatever is smooth is audited with finite differences in float64. Whatever rounds, counts or packs
has a gradient by declaration (straight through); there it must be there, finite and not zero, and
only what is listed here may differ from the slope. A new kind of stage is audited unasked, and
fails until it belongs to one of the two.
"""

import warnings
from itertools import product
from typing import get_args

import pytest
import torch

import joint
import optics
from joint.config.codecs import CODEC_KINDS, build_codec
from joint.config.faults import models_in
from joint.config.front_ends import FRONT_END_KINDS, FrontEndConfig, LensConfig, build_front_end

SIZE = (14, 13)


def _scene(seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    return 0.15 + 0.7 * torch.rand(1, 3, *size, generator=generator, dtype=torch.float64)


def _front_ends():
    """Every kind with every choice that changes what it computes."""
    for start, signed in product(get_args(optics.KernelStart), (True, False)):
        size = 5 if start in ("gabor", "odd_gabor") else 3
        options = {"kind": "kernel", "kernel_size": size, "start": start, "signed": signed}
        yield f"kernel-{start}-{signed}", options
    yield (
        "kernel-mixed",
        {"kind": "kernel", "kernel_size": 3, "start": "random", "mix_channels": True},
    )
    for start, light in product(get_args(optics.FilterStart), ("coherent", "incoherent")):
        yield f"fourier-{start}-{light}", {
            "kind": "fourier", "start": start, "illumination": light, "margin": 2
        }  # fmt: skip
    for element in get_args(LensConfig.model_fields["element"].annotation):
        strength = 0.0 if element == "none" else 0.5
        yield f"lens-{element}", {
            "kind": "lens", "element": element, "strength": strength, "pupil_size": 16,
            "psf_size": 7, "defocus": 0.3,
        }  # fmt: skip
    for trained in (True, False):
        yield f"psf-{trained}", {"kind": "psf", "psf_size": 5, "trained": trained}
    yield "compound", {
        "kind": "compound", "psf_size": 3, "places": (2, 2), "rank": 2, "pupil_size": 16,
        "trained": ("curvature", "thickness"), "surfaces": (
            {"thickness": 0.1e-3, "semi_diameter": 0.15e-3, "stop": True},
            {"radius": 1.25e-3, "thickness": 0.3e-3, "material": "n_bk7"},
            {"radius": -0.9e-3, "thickness": 0.9e-3},
        ),
    }  # fmt: skip
    for start in get_args(optics.ShutterStart):
        slots = {} if start == "fluttered" else {"slots": 5}
        yield f"shutter-{start}", {"kind": "shutter", "start": start, "motion": 2.0, **slots}
    yield "shutter-fixed", {"kind": "shutter", "trained": False, "motion": 2.0}
    yield "none", {"kind": "none"}


FRONT_ENDS = dict(_front_ends())


def _built(options):
    config = FRONT_END_KINDS[options["kind"]](**options)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # starts that cannot be kept exactly
        torch.manual_seed(0)
        try:
            return build_front_end(config, SIZE, 3)
        except ValueError:
            return None  # a start that this kind of kernel refuses


def test_every_front_end_is_in_the_list():
    named = {options["kind"] for options in FRONT_ENDS.values()}
    named.add("custom")  # a class of somebody else's
    assert named == set(FRONT_END_KINDS)
    assert named == {m.model_fields["kind"].default for m in models_in(FrontEndConfig)}


def _moved(name):
    """A front end away from where its start is a symmetric point.

    As a defocus or an opaque cell of exactly 0.
    """
    front_end = _built(FRONT_ENDS[name])
    if front_end is None:
        pytest.skip("not built: another choice of this start is")
    with torch.no_grad():
        for parameter in front_end.parameters():
            noise = torch.Generator().manual_seed(1)
            size = 0.02 * (float(parameter.abs().max()) or 1.0)
            parameter.add_(size * torch.randn(parameter.shape, generator=noise))
    return front_end


def _seen(module, scene):
    return module.combine(module(scene)), module.throughput()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [n for n in FRONT_ENDS if n != "compound"])
def test_front_ends_have_the_gradient_of_what_they_compute(name, training):
    front_end = _moved(name).train(training)
    audit = optics.audit_gradients(front_end, _scene(), call=_seen)
    assert len(audit.entries) == 1 + sum(p.requires_grad for p in front_end.parameters())


def test_a_traced_lens_has_the_gradient_of_what_it_computes_in_both_modes():
    """To trace it takes long: in evaluation the same values and gradients are enough."""
    lens = _moved("compound").train()
    audit = optics.audit_gradients(lens, _scene(), call=_seen)
    learned = list(lens.double().parameters())
    assert len(audit.entries) == 1 + len(learned)
    found = []
    for training in (True, False):
        scene = _scene().requires_grad_()
        values = _seen(lens.train(training), scene)
        weight = torch.randn(values[0].shape, generator=torch.Generator().manual_seed(2)).double()
        total = (weight * values[0]).sum() + values[1].sum()
        found.append([*values, *torch.autograd.grad(total, [scene, *learned])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


# ------------------------------------------------------------------------------------- sensors

SENSORS = {
    "plain": {},
    "poisson": {"shot_noise": "poisson"},
    "noiseless": {"shot_noise": "none", "read_noise": 0.0},
    "dithered": {"converter": "dithered"},
    "full": {"full_well": 6000.0, "black_level": 16},
    "learned": {"trainable_gain": True},
    "patterns": {"prnu": 0.02, "dsnu": 2.0, "dark_current": 300.0},
    "binned": {"binning": 2},
    "mosaic": {"cfa": "rggb", "demosaicing": "malvar"},
    "bilinear": {"cfa": "rggb"},
    "coarse": {"bit_depth": 3, "converter": "dithered", "read_noise": 300.0},
    "smooth": {"bit_depth": None},
}


def _sensor(options):
    return optics.Sensor(resolution=SIZE, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.filterwarnings("ignore:the read noise is")  # steps far larger than a code are judged
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [n for n in SENSORS if n not in ("binned",)])
def test_sensors_have_the_slope_of_their_mean(name, training):
    """Over steps that are large against a code and a photon the staircase has a slope.

    Equal noise on both sides: what is left of it is in the gradient too.
    """
    options = SENSORS[name]
    sensor = _sensor(options).double().train(training)
    scene = _scene(1)
    weight = torch.randn(scene.shape, generator=torch.Generator().manual_seed(2)).double()
    brightness = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def read(level, seed):
        seen = sensor(level * scene, generator=torch.Generator().manual_seed(seed))
        return (weight.abs() * seen).sum()

    seeds, width = range(16), 0.1
    slope = torch.autograd.grad(sum(read(brightness, seed) for seed in seeds), brightness)[0]
    ends = [sum(read(1 + s * width, seed) for seed in seeds).detach() for s in (1, -1)]
    assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / (2 * width), rel=0.02)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", list(SENSORS))
def test_sensors_without_a_staircase_are_audited(name, training):
    options = {**SENSORS[name], "bit_depth": None, "converter": "straight_through"}
    options["black_level"] = 0.0
    if options.get("shot_noise") == "poisson":
        options["shot_noise"] = "none"  # counts are whole: the surrogate is tested in tests/optics
    size = (12, 12) if name == "binned" else SIZE
    sensor = _sensor(options)
    audit = optics.audit_gradients(sensor.train(training), _scene(3, size))
    assert len(audit.entries) == 1 + len(list(sensor.parameters()))


# -------------------------------------------------------------------------------------- codecs

#: What may differ from the slope: rounding, palettes and files are straight through by design.
STRAIGHT_THROUGH = set(CODEC_KINDS) - {"none", "custom"}  # a class of somebody else's
#: Whose bits are those of a file, without a gradient by design.
FILES = {"jpeg", "webp", "jpeg2000", "avif", "png"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", sorted(STRAIGHT_THROUGH))
def test_codecs_kill_no_gradient(kind, training):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = build_codec(CODEC_KINDS[kind](), 3).train(training)
    scene = _scene(4, (16, 16)).float().requires_grad_()
    coded = codec(scene, generator=torch.Generator().manual_seed(0))
    outputs = {"reconstruction": coded.reconstruction, "bits": coded.bits}
    reached: dict[str, set[str]] = {}
    for what, output in outputs.items():
        if not output.requires_grad:
            assert what == "bits"
            assert kind in FILES or (kind == "autoencoder"), f"the {what} of {kind} are detached"
            continue
        quantities = {"scene": scene, **dict(codec.named_parameters())}
        weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
        found = torch.autograd.grad(
            (weight * output).sum(), list(quantities.values()), allow_unused=True, retain_graph=True
        )
        for name, gradient in zip(quantities, found, strict=True):
            if gradient is not None:
                assert gradient.isfinite().all(), f"{what} to {name}"
                if gradient.abs().max() > 0:
                    reached.setdefault(name, set()).add(what)
    assert "reconstruction" in reached["scene"]
    lost = [name for name, p in codec.named_parameters() if p.requires_grad and name not in reached]
    assert not lost, f"nothing reaches {lost}"


@pytest.mark.parametrize("kind", ["factorized", "hyperprior", "autoencoder"])
def test_codecs_with_a_smooth_stand_in_are_audited(kind):
    import compress

    builders = {
        "factorized": lambda: compress.FactorizedCodec(proxy="noise", exact=False),
        "hyperprior": lambda: compress.HyperpriorCodec(proxy="noise", exact=False),
        "autoencoder": lambda: compress.Autoencoder(6, exact=False),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = builders[kind]().train()
    for parameter in list(codec.parameters())[:-2]:
        parameter.requires_grad_(False)

    def call(module, scene, generator=None):
        coded = module(scene, generator=generator)
        return coded.reconstruction, coded.bits

    optics.audit_gradients(codec, _scene(6, (16, 16)), call=call, rtol=1e-3)


# ------------------------------------------------------------------------------------- systems


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("codec", sorted(STRAIGHT_THROUGH | {"none"}))
def test_the_label_reaches_the_optics_through_every_codec(codec, training):
    config = joint.SystemConfig(
        front_end=joint.KernelConfig(start="random", kernel_size=3, signed=False),
        codec=CODEC_KINDS[codec](),
    )
    system = joint.build_system(config, image_size=(16, 16), channels=3, classes=3).train(training)
    scene = _scene(7, (16, 16)).float().repeat(2, 1, 1, 1)
    output = system(scene, generator=torch.Generator().manual_seed(0))
    joint.Objective()(output, torch.tensor([0, 2])).total.backward()
    for name, parameter in system.front_end.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_stage_that_kills_the_gradient_would_be_found():
    class Killed(torch.nn.Module):
        def forward(self, scene):
            return scene.round()

    with pytest.raises(optics.GradientFault, match="zero"):
        optics.audit_gradients(Killed(), _scene())
