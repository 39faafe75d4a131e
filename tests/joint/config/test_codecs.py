import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import compress
import joint
from compress.files import FileCodec
from joint.config.codecs import CODEC_KINDS, RATED_KINDS, CodecConfig
from joint.system import evaluating

BUILT = {
    "factorized": compress.FactorizedCodec,
    "hyperprior": compress.HyperpriorCodec,
    "autoencoder": compress.Autoencoder,
    "kmeans": compress.KMeansCodec,
    "jpeg": compress.JPEG,
    "differentiable_jpeg": compress.DifferentiableJPEG,
    "webp": compress.WebP,
    "jpeg2000": compress.JPEG2000,
    "avif": compress.AVIF,
    "png": compress.PNG,
    "none": type(None),
}


def _image(channels=3):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, channels, 6, 5, generator=generator)
    return torch.nn.functional.interpolate(coarse, (36, 40), mode="bilinear")


def test_every_kind_is_listed_once():
    assert CODEC_KINDS.keys() == BUILT.keys() | {"custom"}  # which is somebody else's
    assert set(BUILT) > RATED_KINDS
    for kind, config in CODEC_KINDS.items():
        assert config().kind == kind
        assert TypeAdapter(CodecConfig).validate_python({"kind": kind}) == config()


@pytest.mark.parametrize("kind", [kind for kind in BUILT if kind != "none"])
def test_every_kind_is_built_and_codes(kind):
    codec = joint.build_codec(CODEC_KINDS[kind](), 3)
    assert type(codec) is BUILT[kind]
    image = _image()
    with evaluating(codec), torch.no_grad():
        coded = codec(image)
        files = codec.compress(image)
    assert coded.reconstruction.shape == image.shape
    for bits, data in zip(coded.bits.tolist(), files, strict=True):
        assert bits == pytest.approx(8 * len(data), rel=0.04, abs=16 * 8)


@pytest.mark.parametrize("kind", [kind for kind in BUILT if kind not in ("none", "png")])
def test_bits_have_a_gradient_where_training_may_weigh_them(kind):
    codec = joint.build_codec(CODEC_KINDS[kind](), 3).train()
    image = _image().requires_grad_()
    coded = codec(image, generator=torch.Generator().manual_seed(0))
    assert coded.bits.requires_grad == (kind in RATED_KINDS)
    assert torch.autograd.grad(coded.reconstruction.sum(), image)[0].abs().sum() > 0


def test_options_reach_the_codec():
    built = joint.build_codec
    assert built(joint.HyperpriorConfig(levels=3, level_ratio=2, proxy="soft"), 1).levels == 3
    assert built(joint.AutoencoderConfig(width_ratio=6, latent_bits=8), 1).latent_bits == 8
    assert built(joint.KMeansConfig(colors=5), 3).colors == 5
    assert built(joint.KMeansConfig(), 3).temperature is None
    stored = joint.KMeansConfig.model_validate_json('{"kind": "kmeans", "temperature": 0.001}')
    assert built(stored, 3).temperature == 0.001
    assert '"temperature":0.001' in stored.model_dump_json()
    assert built(joint.JPEGConfig(quality=3, subsampling="4:4:4"), 3).subsampling == "4:4:4"
    assert built(joint.WebPConfig(lossless=True), 3).lossless
    assert built(joint.NoneConfig(), 3) is None


@pytest.mark.parametrize("kind", [kind for kind in BUILT if kind != "none"])
def test_a_codec_knows_the_channels_that_it_is_built_for(kind):
    config = CODEC_KINDS[kind]()
    assert joint.build_codec(config, 1).channels == 1
    free = joint.build_codec(config, None)
    takes_both = isinstance(free, FileCodec) and kind != "webp"
    assert getattr(free, "channels", None) == (None if takes_both else 3)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (joint.AutoencoderConfig, {"width_ratio": 2}),
        (joint.AutoencoderConfig, {"latent_bits": 17}),
        (joint.HyperpriorConfig, {"proxy": "hard"}),
        (joint.FactorizedConfig, {"levels": 0}),
        (joint.KMeansConfig, {"colors": 0}),
        (joint.KMeansConfig, {"temperature": 1e-12}),
        (joint.JPEGConfig, {"quality": 0}),
        (joint.JPEG2000Config, {"rate": 0.5}),
    ],
)
def test_what_cannot_be_built_is_refused_before(config, options):
    with pytest.raises(ValidationError):
        config(**options)
