"""A module tells how it was built: a run is resumed, and weights are loaded, by what it tells.

``repr`` or ``state_dict`` differs for every other argument of a constructor, unless it is among the
``SILENT``, with the reason. A public module that is in no case fails, and so does an argument that
is forgotten.
"""

import inspect

import pytest
import torch
from torch import nn

import classify
import compress
import optics
from classify.registry import BACKBONES
from joint.saved.checkpoint import digest

_SPACING = 60e-6
_PLATE = {"size": 16, "spacing": _SPACING, "diameter": 14 * _SPACING}


def _ramp(*shape, last=1.0):
    count = torch.Size(shape).numel()
    return (torch.arange(1, count + 1) * (last / count)).reshape(shape)


def _mask(**options):
    return optics.PhaseMask(_ramp(16, 16), spacing=_SPACING, **options)


def _pupil(**options):
    given = {
        "elements": [_mask()], "wavelengths": (450e-9, 550e-9, 650e-9), "focal_length": 10e-3,
        "pixel_pitch": 2e-6, "psf_size": 7,
    }  # fmt: skip
    return optics.Pupil(**given | options)


def _aberration(*shape):
    return optics.Aberration(**_PLATE, coefficients=_ramp(*shape, last=9e-8))


def _projection(**options):
    return optics.Projection(**{"radial": [0.1], "half_field": 0.3} | options)


def _colour(patterns=1, channels=3):
    return optics.ColourChannels(
        3,
        lamps=optics.Illumination(3, patterns=patterns),
        filters=optics.ColourFilters(_ramp(channels, 3, last=0.9)),
    )


# Of each class: what it is built with, and another value of each of its arguments.
def _singlet(bend=800.0):
    return [
        optics.Surface(0.0, 0.1e-3, semi_diameter=0.15e-3, stop=True),
        optics.Surface(bend, 0.3e-3, "n_bk7"),
        optics.Surface(-1100.0, 0.9e-3),
    ]


CASES = [
    (optics.Aberration, _PLATE | {"coefficients": _ramp(3, last=9e-8)}, {
        "size": 18, "spacing": 50e-6, "diameter": 12 * _SPACING,
        "coefficients": _ramp(3, last=8e-8), "indices": (4, 7, 11),
    }),
    (optics.AmplitudeMask, {"transmittance": _ramp(8, 8, last=0.9), "spacing": _SPACING}, {
        "transmittance": _ramp(8, 8, last=0.8), "spacing": 50e-6,
    }),
    (optics.Bounded, {"low": 0.0, "high": 1.0}, {"low": 0.1, "high": 2.0}),
    (optics.CodedExposure, {"code": "random"}, {
        "code": "open", "motion": 5.0, "slots": 12, "channels": 1, "boundary": "zero",
        "lens": optics.LearnedKernel("gaussian", signed=False),
    }),
    (optics.CoherentImaging, {"pupil": _pupil()}, {
        "pupil": _pupil(focal_length=9e-3), "boundary": "zero", "phase_depth": 1.0,
    }),
    (optics.ColourChannels, {"bands": 3}, {
        "bands": 4, "lamps": optics.Illumination(3),
        "filters": optics.ColourFilters(_ramp(2, 3, last=0.9)),
    }),
    (optics.ColourFilterArray, {"pattern": "rggb"}, {
        "pattern": "bggr", "channels": "bgr", "method": "malvar",
    }),
    (optics.ColourFilters, {"transmittance": _ramp(2, 3, last=0.9)}, {
        "transmittance": _ramp(2, 3, last=0.8), "share": 0.5,
    }),
    (optics.CompoundLens, {"surfaces": _singlet()}, {
        "surfaces": _singlet(900.0), "trained": {"thickness": [2]}, "wavelength": 550e-9,
        "object_distance": 0.1, "centre": 2e-3, "edge": 2e-3, "air": 2e-4,
    }),
    (optics.CompoundPupil, {
        "lens": optics.CompoundLens(_singlet()), "samples": 16,
        "wavelengths": (450e-9, 550e-9), "places": 2, "picture": (9, 10), "pixel_pitch": 5e-6,
    }, {
        "lens": optics.CompoundLens(_singlet(900.0)), "samples": 18,
        "wavelengths": (450e-9, 560e-9), "places": 3, "picture": (9, 12),
        "pixel_pitch": 4e-6, "heights": 5,
    }),
    (optics.CubicMask, _PLATE | {"alpha": 5.0, "design_wavelength": 550e-9}, {
        "size": 18, "spacing": 50e-6, "diameter": 12 * _SPACING, "alpha": 6.0,
        "design_wavelength": 500e-9,
    }),
    (optics.FourierFilter, {"size": 16, "start": "dark_field", "margin": 4}, {
        "size": 18, "start": "high_pass", "channels": 1, "illumination": "incoherent",
        "oversample": 2, "margin": 0, "stop_radius": 0.1, "phase_depth": 1.0,
    }),
    (optics.FourierFilter, {"size": 16, "illumination": "partial"}, {
        "source_radius": 0.2, "source_inner_radius": 0.05, "tilts": _ramp(3, 2, last=0.2),
    }),
    (optics.FourierFilter, {
        "size": 16, "illumination": "partial", "tilts": _ramp(3, 2, last=0.2),
    }, {"source": _ramp(3)}),
    (optics.HeightMap, {
        "height": _ramp(8, 8, last=1e-6), "spacing": _SPACING, "material": "pmma",
        "design_wavelength": 550e-9,
    }, {
        "height": _ramp(8, 8, last=9e-7), "spacing": 50e-6, "material": "fused_silica",
        "design_wavelength": 500e-9, "max_height": 2e-6, "levels": 4,
        "minimum_feature": 2 * _SPACING,
    }),
    (optics.Illumination, {"count": 3, "patterns": 2}, {
        "count": 4, "patterns": 1, "budget": 2.0, "start": _ramp(2, 3),
    }),
    (optics.IncoherentImaging, {"psf": _pupil()}, {
        "psf": _pupil(focal_length=9e-3), "spectral_response": _ramp(3, 3, last=0.3),
        "working_distances": (0.4, 0.5), "projection": _projection(),
        "restoration": optics.Wiener(), "colour": _colour(), "boundary": "zero",
    }),
    (optics.IncoherentImaging, {"psf": _pupil(), "colour": _colour()}, {
        "colour": _colour(patterns=2),
    }),
    (optics.IncoherentImaging, {"psf": _ramp(5, 5, last=0.05), "channels": 3}, {
        "psf": _ramp(5, 5, last=0.04), "channels": 1,
    }),
    (optics.IncoherentImaging, {"psf": _pupil(), "distances": torch.tensor([0.4, 0.5])}, {
        "distances": torch.tensor([0.4, 0.6]),
    }),
    (optics.LearnedKernel, {"start": "gaussian", "signed": False}, {
        "start": "random", "kernel_size": 5, "channels": 1, "signed": True, "mix_channels": True,
        "boundary": "zero",
    }),
    (optics.Lens, {"size": 16, "spacing": _SPACING, "focal_length": 0.5}, {
        "size": 18, "spacing": 50e-6, "focal_length": 0.4,
    }),
    (optics.PhaseMask, {"phase": _ramp(8, 8), "spacing": _SPACING}, {
        "phase": _ramp(8, 8, last=2.0), "spacing": 50e-6, "design_wavelength": 550e-9,
    }),
    (optics.Projection, {"radial": [0.1], "half_field": 0.3}, {
        "radial": [0.2], "magnification": [0.99, 1.0, 1.01], "half_field": 0.4,
        "flat_field": _ramp(4, 4), "boundary": "zero",
    }),
    (_pupil, {}, {
        "elements": [_mask(), _mask()], "wavelengths": (450e-9, 550e-9, 600e-9),
        "focal_length": 9e-3, "pixel_pitch": 1.9e-6, "psf_size": 5,
        "aperture": _ramp(16, 16), "focus": 0.5, "oversample": 3,
    }),
    (_pupil, {"elements": [], "size": 16, "spacing": _SPACING}, {"size": 18, "spacing": 50e-6}),
    (optics.Relief, {"height": _ramp(8, 8, last=1e-6), "spacing": _SPACING, "material": "pmma"}, {
        "height": _ramp(8, 8, last=9e-7), "spacing": 50e-6, "material": 1.5,
    }),
    (optics.RestorationUNet, {"width": 2}, {
        "channels": 4, "out_channels": 2, "width": 3, "scales": 2, "blocks": 2, "upscaling": 2,
    }),
    (optics.Sensor, {}, {
        "photons": 500.0, "photon_range": (1e3, 3e4), "automatic_gain": False,
        "quantum_efficiency": 0.5, "read_noise": 3.0, "dark_current": 1.0, "exposure_time": 0.02,
        "full_well": 9000.0, "bit_depth": 8, "gain": 9.0, "black_level": 10.0, "binning": 2,
        "cfa": "rggb", "colour_matrix": torch.eye(3), "trainable_gain": True,
        "shot_noise": "poisson",
        "converter": "dithered",
    }),
    (optics.Sensor, {"prnu": 0.01, "dsnu": 1.0, "resolution": 8, "generator": 0}, {
        "prnu": 0.02, "dsnu": 2.0, "resolution": 6, "generator": 1,
    }),
    (optics.Sensor, {"quantum_efficiency": (0.4, 0.5, 0.3)}, {"white_balance": True}),
    (optics.Sensor, {"cfa": "rggb"}, {"cfa_channels": "bgr", "demosaicing": "malvar"}),
    (optics.Symmetric, {"symmetry": "mirror_x"}, {"symmetry": "point"}),
    (optics.VaryingImaging, {"psfs": _ramp(2, 2, 3, 5, 5, last=0.01), "rank": 2}, {
        "psfs": _ramp(2, 2, 3, 5, 5, last=0.02), "rank": 1,
        "spectral_response": _ramp(3, 3, last=0.3), "projection": _projection(),
        "colour": _colour(), "boundary": "zero",
    }),
    (optics.VaryingImaging, {"psfs": _ramp(2, 2, 5, 5, last=0.01), "rank": 2}, {"channels": 1}),
    (optics.VaryingImaging, {"psfs": _pupil(elements=[_aberration(2, 2, 1, 3)]), "rank": 2}, {
        "psfs": _pupil(elements=[_aberration(2, 2, 1, 3)], focus=0.5),
        "working_distances": (0.4, 0.5),
    }),
    (optics.Vignetting, _PLATE | {"shift": 3 * _SPACING, "places": 3, "picture": (9, 10)}, {
        "size": 18, "spacing": 50e-6, "diameter": 12 * _SPACING, "shift": 2 * _SPACING,
        "places": 2, "picture": (12, 10),
    }),
    (optics.Wiener, {}, {"noise_to_signal": 0.02, "exponent": 1.0}),
    (compress.AVIF, {}, {"quality": 50, "speed": 7, "subsampling": "4:4:4"}),
    (compress.Autoencoder, {"latent_bits": 6}, {
        "width_ratio": 3, "channels": 1, "latent_bits": 4, "exact": False,
    }),
    (compress.DifferentiableJPEG, {}, {
        "quality": 50, "subsampling": "4:4:4", "rounding": "noise", "trainable": True,
    }),
    (compress.FactorizedCodec, {"levels": 2}, {
        "size": "large", "channels": 1, "levels": 3, "level_ratio": 2.0, "proxy": "noise",
        "exact": False,
    }),
    (compress.FactorizedPrior, {"channels": 4}, {
        "channels": 3, "filters": (3, 3, 3), "init_scale": 5.0,
    }),
    (compress.HyperpriorCodec, {"levels": 2}, {
        "size": "large", "channels": 1, "levels": 3, "level_ratio": 2.0, "proxy": "noise",
        "exact": False,
    }),
    (compress.JPEG, {}, {"quality": 50, "subsampling": "4:4:4", "block_bits": True}),
    (compress.JPEG2000, {"rate": 1.0}, {"rate": 2.0, "irreversible": False}),
    (compress.JPEG2000, {}, {"psnr": 40.0}),
    (compress.KMeansCodec, {}, {
        "colors": 8, "channels": 1, "coding": "fixed", "temperature": 0.1, "restarts": 2,
        "iterations": 20, "tolerance": 0.1, "seed": 1,
    }),
    (compress.PNG, {}, {"optimize": False}),
    (compress.WebP, {}, {"quality": 50, "lossless": True, "method": 2, "channels": 1}),
    (classify.Classifier, {
        "net": classify.ResNetS, "record": "resnet_s", "in_channels": 3, "classes": 3, "side": 32,
        "dropout": 0.1, "head": "linear",
    }, {
        "in_channels": 1, "classes": 4, "dropout": 0.2, "head": "cosine", "frozen": "stages.0",
    }),
    (classify.CosineHead, {"in_features": 4, "classes": 3}, {
        "in_features": 5, "classes": 2, "scale": 20.0,
    }),
]  # fmt: skip

# What tells nothing, and why it need not.
SILENT = {
    (optics.AmplitudeMask, "trainable"): "how it learns",
    (optics.CodedExposure, "trainable"): "how it learns",
    (optics.ColourFilters, "trainable"): "how it learns",
    (optics.Illumination, "trainable"): "how it learns",
    (optics.CodedExposure, "generator"): "source of a start, which is in the weights",
    (optics.FourierFilter, "generator"): "source of a start, which is in the weights",
    (optics.LearnedKernel, "generator"): "source of a start, which is in the weights",
    (classify.Classifier, "net"): "prints its layers",
    (classify.Classifier, "record"): "what is known of the net",
    (classify.Classifier, "side"): "of transformers alone, whose places are in the weights",
    (classify.Vote, "members"): "print themselves",
}


def _of(build):
    return optics.Pupil if build is _pupil else build


def _built(build, given):
    given = dict(given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if "generator" in given:
            given["generator"] = torch.Generator().manual_seed(given["generator"])
        if build is classify.Classifier:
            given |= {"net": given["net"](), "record": BACKBONES[given["record"]]}
        return build(**given)


def _told(module):
    return repr(module), digest(module)


@pytest.mark.parametrize(
    ("build", "given", "other"), CASES, ids=[_of(build).__name__ for build, *_ in CASES]
)
def test_a_module_that_is_built_otherwise_tells_it(build, given, other):
    told = _told(_built(build, given))
    assert told == _told(_built(build, given))
    assert not [name for name in other if _told(_built(build, given | {name: other[name]})) == told]


def test_every_argument_of_every_public_module_is_changed():
    changed = {(_of(build), name) for build, _, other in CASES for name in other}
    public = {
        value
        for room in (optics, compress, classify)
        for value in vars(room).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and not inspect.isabstract(value)
    }
    arguments = {
        (kind, name)
        for kind in public
        if kind.__init__ is not nn.Module.__init__
        for name in list(inspect.signature(kind.__init__).parameters)[1:]
    }
    assert not arguments - changed - SILENT.keys()
    assert not SILENT.keys() - arguments
    assert not SILENT.keys() & changed
