"""Every gradient that a docstring promises is confirmed by a finite difference, here or elsewhere.

``CASES`` are checked here, in float64: along a random direction the gradient is finite, not zero,
and the central difference. ``ELSEWHERE`` names the tests that do it where the thing lives, for
straight-through gradients against the function that they are the slope of. A docstring that
promises a gradient and is in neither fails.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest
import surface
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint.analysis import contrast, generalised_cnr, scale_contrast

ROOT = Path(__file__).parents[2]
_WHOLE_GRAPH = (
    "tests/joint/test_system.py::"
    "test_the_task_loss_reaches_every_trainable_number_of_all_four_stages"
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=_generator(seed))


def _scene(*shape):
    return 0.2 + 0.6 * _rand(*shape, seed=1)


def _module(build):
    """A module with the same numbers each time, in float64 and evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


def _by_parameters(module, inputs, outcome, *, names=None):
    """``inputs`` and the parameters of a module as arguments of ``outcome(output)``."""
    names = names or [name for name, value in module.named_parameters() if value.requires_grad]
    given = dict(module.named_parameters())

    def value(picture, *parameters):
        state = dict(zip(names, parameters, strict=True))
        return outcome(torch.func.functional_call(module, state, (picture,)))

    return value, {"input": inputs, **{name: given[name].detach() for name in names}}


def _weighted(*shape):
    """A fixed, uneven weighting, so that no symmetry makes a gradient vanish."""
    weights = _rand(*shape, seed=9) - 0.3
    return lambda output: (output * weights).sum()


def _dispersion():
    wavelength = torch.tensor([450e-9, 600e-9], dtype=torch.float64)
    return (lambda w: optics.refractive_index("n_bk7", w).sum()), {"wavelength": wavelength}


def _likelihood():
    counts = torch.tensor([[3.0, 0.0, 12.0]], dtype=torch.float64)
    means = torch.tensor([[2.5, 0.4, 15.0]], dtype=torch.float64)
    return (lambda x: optics.poisson_log_likelihood(counts, x).sum()), {"electrons": means}


def _eigen_psfs():
    psfs = _rand(2, 3, 4, 5) / 20

    def value(given):
        found = optics.low_rank_psf(given, 2)
        picture = torch.einsum("rpq,rhw->pqhw", found.weights, found.basis)
        return _weighted(2, 3, 4, 5)(picture)

    return value, {"psfs": psfs}


def _sampling():
    def value(phase):
        mask = optics.PhaseMask(phase, spacing=60e-6)
        pupil = optics.Pupil(
            [mask], wavelengths=(550e-9,), focal_length=10e-3, pixel_pitch=2e-6, psf_size=7
        )
        found = optics.audit_sampling(pupil)
        return found.phase_step.sum() + 10 * found.wrap_energy.sum() + found.window_loss.sum()

    return value, {"phase": torch.nn.Parameter(3 * _rand(16, 16)).detach()}


def _fidelity(metric):
    a, b = _scene(2, 3, 24, 24), _rand(2, 3, 24, 24, seed=5)
    return (lambda x, y: metric(x, y).sum()), {"a": a, "b": b}


def _autoencoder(latent_bits):
    codec = _module(lambda: compress.Autoencoder(6, latent_bits=latent_bits, exact=False))
    image = _scene(1, 3, 32, 32)
    outcome = _weighted(1, 3, 32, 32)
    return _by_parameters(codec, image, lambda coded: outcome(coded.reconstruction))


def _backbone(name):
    net = _module(lambda: classify.backbone(name, classes=4))
    every = [name for name, _ in net.named_parameters()]
    # Of the first, of some in between, of the head.
    names = [*every[:2], *every[2:-2:9], *every[-2:]]
    return _by_parameters(net, _scene(1, 3, 32, 32), _weighted(1, 4), names=names)


def _mixed(kind):
    targets = torch.eye(4, dtype=torch.float64)

    def value(images):
        mixed, _ = classify.mix(images, targets, kind=kind, alpha=1.0, generator=_generator(3))
        return (mixed.square() * _rand(4, 3, 8, 8, seed=9)).sum()

    return value, {"images": _scene(4, 3, 8, 8)}


def _adjusted():
    prior = classify.log_prior(torch.tensor([90.0, 9.0, 1.0])).double()
    outcome = _weighted(2, 3)

    def value(logits):
        return outcome(classify.adjust_logits(logits, prior, tau=1.2).softmax(1))

    return value, {"logits": _rand(2, 3)}


def _objective(kind):
    """The whole objective, with the remedies of the training and a quality for each picture."""
    objective = joint.Objective(
        task=1.0,
        rate=0.3,
        distortion=2.0,
        distortion_kind=kind,
        label_smoothing=0.1,
        class_weight_power=0.5,
        logit_adjustment=0.7,
        focal_gamma=1.5,
        margin=0.5,
    )
    original, labels = _scene(2, 3, 24, 24), torch.tensor([0, 2])
    noise = 0.2 * (_rand(2, 3, 24, 24, seed=5) - 0.5)

    def value(reconstruction, bits_map, side_bits, logits, measurement):
        coded = compress.Coded(
            reconstruction=reconstruction,
            latent=None,
            bits_map=bits_map,
            side_bits=side_bits,
            rate="noisy",
            distortion_weight=torch.tensor([0.5, 2.0], dtype=torch.float64),
        )
        output = joint.SystemOutput(
            scene=original,
            irradiance=None,
            raw=None,
            measurement=measurement,
            coded=coded,
            handed=reconstruction,
            logits=logits,
        )
        return objective(output, labels, counts=torch.tensor([80.0, 15.0, 5.0])).total

    return value, {
        "reconstruction": original + noise,
        "bits_map": 3 * _rand(2, 1, 24, 24),
        "side_bits": 50 * _rand(2),
        "logits": _rand(2, 3, seed=6),
        "measurement": original,
    }


def _small_system():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("log", 3),
            sensor=optics.Sensor(2000, bit_depth=None),
            classifier=classify.backbone("resnet_s", classes=3),
        ).double()


class _Averaged(torch.nn.Module):
    def __init__(self, system):
        super().__init__()
        self.system = system

    def forward(self, scenes):
        return joint.average_views(self.system, scenes, views="mirror").logits


def _views():
    averaged = _Averaged(_small_system())
    names = ("system.front_end.raw", "system.classifier.head.weight")
    return _by_parameters(averaged, _scene(1, 3, 32, 32), _weighted(1, 3), names=names)


def _lesions(size=24):
    yy, xx = torch.meshgrid(*(torch.arange(size) - size // 2,) * 2, indexing="ij")
    masks = (yy**2 + xx**2 <= 25).expand(2, -1, -1)
    return _scene(2, 3, size, size) - 0.15 * masks[:, None].double(), masks


def _contrast_behind_a_front_end(measure):
    """A contrast measure as a loss: its gradient to the taps of the camera's kernel."""
    scenes, masks = _lesions()
    front_end = _module(lambda: optics.LearnedKernel("gaussian", 3, signed=False))

    def outcome(picture):
        found = contrast(picture, masks, inner=1, outer=4, bins=8)
        return getattr(found, measure).sum()

    return _by_parameters(front_end, scenes, outcome)


def _soft_gcnr():
    _, masks = _lesions()
    values = _rand(2, 24, 24)
    return (
        lambda x: generalised_cnr(x, masks, ~masks, bins=8, soft=True).sum(),
        {"values": values},
    )


def _scaled():
    scenes, masks = _lesions()
    outcome = _weighted(2, 3, 24, 24)
    return (lambda x: outcome(scale_contrast(x, masks, 0.8))), {"scenes": scenes}


CASES = {
    "optics.refractive_index": _dispersion,
    "optics.poisson_log_likelihood": _likelihood,
    "optics.low_rank_psf": _eigen_psfs,
    "optics.audit_sampling": _sampling,
    "compress.psnr": lambda: _fidelity(compress.psnr),
    "compress.Autoencoder": lambda: _autoencoder(None),
    "classify.Classifier": lambda: _backbone("resnet_s"),
    "classify.InceptionS": lambda: _backbone("inception_s"),
    "classify.mix mixup": lambda: _mixed("mixup"),
    "classify.mix cutmix": lambda: _mixed("cutmix"),
    "classify.adjust_logits": _adjusted,
    "joint.Objective mae": lambda: _objective("mae"),
    "joint.Objective mse": lambda: _objective("mse"),
    "joint.Objective ms_ssim": lambda: _objective("ms_ssim"),
    "joint.average_views": _views,
    **{
        f"joint.analysis.contrast {measure}": lambda m=measure: _contrast_behind_a_front_end(m)
        for measure in ("weber", "michelson", "rms", "cnr", "soft_gcnr", "delta_e")
    },
    "joint.analysis.generalised_cnr": _soft_gcnr,
    "joint.analysis.scale_contrast": _scaled,
}

ELSEWHERE = {
    "classify.backbone": "tests/classify/test_backbone.py::"
    "test_frozen_layers_keep_weights_and_statistics",
    "optics.Sensor.expose": "tests/optics/sensor/test_noise.py::"
    "test_the_score_surrogate_differentiates_a_decision",
    "optics.Pupil.mtf": "tests/optics/pupil/test_modulation.py::"
    "test_the_gradient_of_a_contrast_is_its_finite_difference",
    "optics.Pupil.vergence": "tests/optics/rays/test_compound_imaging.py::"
    "test_a_defocus_and_a_scale_follow_a_lens_in_training",
    "optics.misalign": "tests/optics/rays/test_misalignment.py::"
    "test_gradients_to_decentre_and_tilt_are_finite_differences",
    "optics.FrontEnd.penalty": "tests/optics/rays/test_compound_lens.py::"
    "test_the_penalty_of_a_lens_has_the_gradient_of_a_finite_difference",
    "optics.angular_spectrum": "tests/optics/wave/test_propagation.py::"
    "test_p15_gradient_is_the_finite_difference",
    "optics.circular_aperture": "tests/optics/wave/test_aperture.py::test_gradcheck",
    "optics.spider": "tests/optics/wave/test_aperture.py::test_gradcheck",
    "optics.clip": "tests/optics/test_constraint.py::test_clip_has_a_gradient_on_its_bounds",
    "optics.convolve": "tests/optics/test_fourier.py::test_gradients_of_picture_and_kernel",
    **dict.fromkeys(
        [
            "optics.dark_field",
            "optics.gaussian_pass",
            "optics.knife_edge",
            "optics.phase_contrast",
        ],
        "tests/optics/imaging/test_plate.py::test_plates_have_the_gradients_of_their_dimensions",
    ),
    "optics.trace": "tests/optics/rays/test_ray_trace.py::"
    "test_gradients_of_a_trace_are_finite_differences",
    "optics.first_order": "tests/optics/rays/test_paraxial.py::"
    "test_gradients_of_paraxial_numbers_are_finite_differences",
    **dict.fromkeys(
        ["optics.lens_wavefronts", "optics.lens_spots"],
        "tests/optics/rays/test_lens_field.py::"
        "test_gradients_of_wavefronts_and_spots_are_finite_differences",
    ),
    "optics.CompoundLens.surfaces": "tests/optics/rays/test_compound_lens.py::"
    "test_gradients_of_the_surfaces_are_finite_differences",
    "optics.digitise": "tests/optics/sensor/test_converter.py::"
    "test_the_dithered_gradient_is_the_finite_difference_of_the_mean_code",
    "optics.measured_psf": "tests/optics/lens_data/test_measured.py::"
    "test_the_gradient_is_the_finite_difference_for_a_given_background_and_noise",
    "optics.partially_coherent_image": "tests/optics/imaging/test_fourier_filter.py::"
    "test_partial_coherence_is_linear_in_the_source_and_differentiable",
    "optics.quantize_height": "tests/optics/pupil/test_height_map.py::"
    "test_the_surrogate_of_the_levels_is_the_slope_of_the_soft_staircase_and_never_zero",
    "optics.field_coefficients": (
        "tests/optics/wave/test_off_axis.py::test_a_table_of_wavelengths_keeps_them_and_is_linear"
    ),
    "optics.seidel_coefficients": (
        "tests/optics/wave/test_off_axis.py::"
        "test_every_seidel_term_has_the_gradient_of_a_finite_difference"
    ),
    "optics.score_surrogate": "tests/optics/sensor/test_noise.py::"
    "test_the_score_surrogate_differentiates_a_decision",
    "optics.shot_noise": "tests/optics/sensor/test_noise.py::"
    "test_the_gaussian_gradient_is_that_of_the_draw",
    "optics.unit_disk": "tests/optics/test_constraint.py::test_an_opaque_cell_keeps_its_gradient",
    "optics.zernike": "tests/optics/wave/test_zernike.py::test_gradcheck",
    **dict.fromkeys(
        ["compress.AVIF", "compress.JPEG", "compress.JPEG2000", "compress.PNG", "compress.WebP"],
        "tests/compress/test_files.py::"
        "test_gradient_is_the_identity_to_the_picture_and_the_bits_have_none",
    ),
    "compress.DifferentiableJPEG": "tests/compress/test_jpeg.py::"
    "test_the_gradient_to_a_table_is_the_error_of_its_coefficients",
    "compress.DifferentiableJPEG.tables": "tests/compress/test_jpeg.py::"
    "test_the_gradient_foretells_what_coarser_tables_save",
    **dict.fromkeys(
        ["compress.KMeansCodec", "compress.KMeansCodec.forward"],
        "tests/compress/test_palette.py::test_soft_gradients_are_those_of_finite_differences",
    ),
    "compress.LearnedCodec.encode": "tests/compress/test_learned.py::"
    "test_the_halves_are_what_evaluation_shows",
    "compress.LearnedCodec": "tests/compress/test_learned.py::"
    "test_finite_differences_confirm_the_gradient_of_training",
    **dict.fromkeys(
        ["compress.FactorizedPrior", "compress.FactorizedPrior.bits"],
        "tests/compress/test_prior.py::test_bits_pass_gradcheck",
    ),
    "compress.add_uniform_noise": "tests/compress/test_quantize.py::"
    "test_noise_is_uniform_within_half_a_step_and_passes_the_gradient",
    "compress.round_straight_through": "tests/compress/test_quantize.py::"
    "test_straight_through_is_rounding_to_the_bit_with_the_identity_as_gradient",
    "compress.bits_by_region": "tests/compress/test_region.py::test_gradients",
    "compress.ms_ssim": "tests/compress/test_metrics.py::"
    "test_ms_ssim_has_a_gradient_and_full_precision_under_autocast",
    "classify.skin_reflectance": "tests/classify/data/test_skin.py::test_gradients_are_right",
    "optics.colour_correction": "tests/optics/light/test_colour_correction.py::"
    "test_gradients_are_finite_differences",
    "joint.analysis.ColourAccuracy": "tests/joint/analysis/test_colour_accuracy.py::"
    "test_gradients_reach_the_measured_colours",
    "joint.analysis.patch_colours": "tests/joint/analysis/test_colour_accuracy.py::"
    "test_patches_of_a_picture_are_those_that_the_camera_measured",
    "joint.analysis.ciede2000": "tests/joint/analysis/test_colour.py::"
    "test_gradient_of_ciede2000_by_finite_differences",
    "joint.ImagingSystem": _WHOLE_GRAPH,
}

# The docstring speaks of gradients, and promises none to an argument.
NO_PROMISE = {
    "optics.GradientAudit",
    "optics.GradientEntry",
    "optics.GradientFault",
    "optics.audit_gradients",
    "optics.lens_performance",
    "optics.through_focus",
    "joint.audit_stage",
    "compress.Codec",  # that of its kinds
    "compress.quality_for",
    "joint.DifferentiableJPEGConfig",
    "joint.KMeansConfig",
    "joint.Training",
    "joint.integrated_gradients",
    "joint.analysis.measure_contrast",
    "joint.analysis.optimal_image",
    "joint.analysis.segment",
}


def _promises():
    docs = {public.label: public.doc for public in surface.callables()}
    for room in surface.ROOMS:
        for name, value in surface.names(room).items():
            # Every module of optics is registered in tests/optics/test_laws.py.
            lawful = room == "optics" and inspect.isclass(value) and issubclass(value, nn.Module)
            if inspect.isclass(value) and surface.ours(value) and not lawful:
                docs[f"{room}.{name}"] = value.__doc__ or ""
    return {
        label
        for label, doc in docs.items()
        if re.search(r"\bgradients?\b|[Dd]ifferentiable|parameter is trained", doc)
    }


def test_every_promise_of_a_gradient_is_kept_somewhere():
    kept = {label.split(" ")[0] for label in CASES} | ELSEWHERE.keys() | NO_PROMISE
    assert _promises() - kept == set(), "add a case, or name the test that checks it"


def test_the_tests_named_elsewhere_exist():
    for label, place in ELSEWHERE.items():
        path, name = place.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in tests, f"{label}: {place}"


def _confirm(value, arguments):
    given = {name: tensor.clone().requires_grad_() for name, tensor in arguments.items()}
    gradients = torch.autograd.grad(value(*given.values()), list(given.values()))
    for number, (name, gradient) in enumerate(zip(given, gradients, strict=True)):
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name
        at = arguments[name]
        noise = torch.randn(at.shape, dtype=torch.float64, generator=_generator(number))
        # Half of it uphill, so that the slope stands out; half of it anywhere, so that a missing
        # part of the gradient shows.
        direction = gradient * noise.abs() / (gradient * noise).norm() + noise / noise.norm()
        slope = float((gradient * direction).sum())
        step = 1e-7 * (float(at.abs().max()) or 1.0)
        moved = [{**arguments, name: at + sign * step * direction} for sign in (1, -1)]
        with torch.no_grad():
            above, below = (float(value(*each.values())) for each in moved)
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4), name


@pytest.mark.parametrize("label", CASES)
def test_the_gradient_is_finite_not_zero_and_a_central_difference(label):
    _confirm(*CASES[label]())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: (x * x.detach()).sum(),  # half of it
        lambda x: x[:1].square().sum() + x[1:].detach().square().sum(),  # a part of it
        lambda x: (x.round() - x.detach() + x).sum(),  # not that of the value
        lambda x: (0 * x).sqrt().sum(),  # not finite
    ],
)
def test_a_wrong_gradient_is_seen(wrong):
    with pytest.raises(AssertionError):
        _confirm(wrong, {"x": 1.3 + _rand(4)})
