"""Codecs: their configurations by kind and their construction."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

import compress
from compress.files import FileCodec
from joint.settings import NoneConfig, Settings

from .custom import CustomConfig, build_custom

__all__ = [
    "CODEC_KINDS",
    "RATED_KINDS",
    "AVIFConfig",
    "AutoencoderConfig",
    "CodecConfig",
    "DifferentiableJPEGConfig",
    "FactorizedConfig",
    "HyperpriorConfig",
    "JPEG2000Config",
    "JPEGConfig",
    "KMeansConfig",
    "PNGConfig",
    "WebPConfig",
    "build_codec",
    "for_channels",
]


class AutoencoderConfig(Settings):
    """An autoencoder whose rate is not trained, see compress.Autoencoder."""

    kind: Literal["autoencoder"] = "autoencoder"
    width_ratio: float = 3
    """Elements of the picture / elements of the latent: 6, 3 or 1.5. Not a compression ratio."""
    latent_bits: int | None = Field(default=None, ge=1, le=10)
    """Bits per element of the quantised latent, which is then entropy-coded; float32 by default."""

    @field_validator("width_ratio")
    @classmethod
    def _known(cls, ratio: float) -> float:
        if ratio not in (6, 3, 1.5):
            raise ValueError(f"width_ratio must be 6, 3 or 1.5, not {ratio}")
        return ratio


class _LearnedConfig(Settings):
    size: compress.Size = "small"
    """small can be trained on a CPU, large needs a GPU."""
    levels: int = Field(default=1, ge=1, le=64)
    """Number of quality levels of one model; training draws one for each picture."""
    level_ratio: float = Field(default=4.0, ge=1)
    """Distortion weight of a quality level over that of the level below."""
    proxy: compress.Proxy = "mixed"
    """Substitute for rounding in training."""


class FactorizedConfig(_LearnedConfig):
    """A learned codec with a rate and real bytes, see compress.FactorizedCodec."""

    kind: Literal["factorized"] = "factorized"


class HyperpriorConfig(_LearnedConfig):
    """A learned codec with side information, see compress.HyperpriorCodec."""

    kind: Literal["hyperprior"] = "hyperprior"


class KMeansConfig(Settings):
    """A codec with a colour palette for each picture, see compress.KMeansCodec."""

    kind: Literal["kmeans"] = "kmeans"
    colors: int = Field(default=16, ge=1, le=256)
    """Number of colours of the palette."""
    temperature: float | None = Field(default=None, ge=1e-9)
    """Softness of the assignment in training and for gradients; by default chosen for each
    picture."""


class JPEGConfig(Settings):
    """Baseline JPEG, see compress.JPEG."""

    kind: Literal["jpeg"] = "jpeg"
    quality: int = Field(default=75, ge=1, le=100)
    """Quality of libjpeg."""
    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] = "4:2:0"
    """Resolution of the chrominance."""


class DifferentiableJPEGConfig(Settings):
    """JPEG with gradients and trainable quantisation tables, see compress.DifferentiableJPEG."""

    kind: Literal["differentiable_jpeg"] = "differentiable_jpeg"
    quality: int = Field(default=75, ge=1, le=100)
    """Quality of the initial quantisation tables."""
    subsampling: Literal["4:2:0", "4:4:4"] = "4:2:0"
    """Resolution of the chrominance."""
    trainable: bool = True
    """Learn the quantisation tables."""


class WebPConfig(Settings):
    """WebP, see compress.WebP."""

    kind: Literal["webp"] = "webp"
    quality: int = Field(default=75, ge=0, le=100)
    """Quality of libwebp; the effort if lossless."""
    lossless: bool = False
    """Code 8-bit values exactly."""


class JPEG2000Config(Settings):
    """JPEG 2000, see compress.JPEG2000."""

    kind: Literal["jpeg2000"] = "jpeg2000"
    rate: float | None = Field(default=None, ge=1)
    """Compression ratio; by default all bits of the irreversible wavelet, nearly lossless."""


class AVIFConfig(Settings):
    """AVIF, see compress.AVIF."""

    kind: Literal["avif"] = "avif"
    quality: int = Field(default=75, ge=0, le=100)
    """Quality of libavif."""


class PNGConfig(Settings):
    """PNG, see compress.PNG."""

    kind: Literal["png"] = "png"


CodecConfig = Annotated[
    AutoencoderConfig
    | FactorizedConfig
    | HyperpriorConfig
    | KMeansConfig
    | JPEGConfig
    | DifferentiableJPEGConfig
    | WebPConfig
    | JPEG2000Config
    | AVIFConfig
    | PNGConfig
    | CustomConfig
    | NoneConfig,
    Field(discriminator="kind"),
]

CODEC_KINDS: dict[str, type[Settings]] = {
    "factorized": FactorizedConfig,
    "hyperprior": HyperpriorConfig,
    "autoencoder": AutoencoderConfig,
    "kmeans": KMeansConfig,
    "jpeg": JPEGConfig,
    "differentiable_jpeg": DifferentiableJPEGConfig,
    "webp": WebPConfig,
    "jpeg2000": JPEG2000Config,
    "avif": AVIFConfig,
    "png": PNGConfig,
    "custom": CustomConfig,
    "none": NoneConfig,
}

#: Kinds whose rate is differentiable, so that training weighs it by default.
RATED_KINDS = frozenset({"factorized", "hyperprior", "kmeans", "differentiable_jpeg"})


def build_codec(
    config: CodecConfig, channels: int | None, *, image_size: tuple[int, int] | None = None
) -> compress.Codec | None:
    """Codec of a ``config`` for pictures with these ``channels``; None for :class:`NoneConfig`.

    If ``channels`` is None, a codec for both grey and colour files accepts either, and any other
    codec is built for 3 channels. A custom codec may also take ``image_size``, (H, W). Raises the
    errors of :func:`build_custom`.
    """
    codec = _built(config, 3 if channels is None else channels, image_size)
    return None if codec is None else for_channels(codec, channels)


def for_channels(codec: compress.Codec, channels: int | None) -> compress.Codec:
    """Set the number of channels of a codec whose files may be grey or colour."""
    if isinstance(codec, FileCodec) and codec.takes(1) and codec.takes(3):
        codec.channels = channels
    return codec


def _built(
    config: CodecConfig, channels: int, image_size: tuple[int, int] | None
) -> compress.Codec | None:
    if isinstance(config, CustomConfig):
        size = {} if image_size is None else {"image_size": image_size}
        return build_custom(
            config, compress.Codec, "codec", channels=channels, in_channels=channels, **size
        )
    options = config.model_dump(exclude={"kind"})
    match config:
        case AutoencoderConfig():
            return compress.Autoencoder(**options, channels=channels)
        case FactorizedConfig():
            return compress.FactorizedCodec(**options, channels=channels)
        case HyperpriorConfig():
            return compress.HyperpriorCodec(**options, channels=channels)
        case KMeansConfig():
            return compress.KMeansCodec(**options, channels=channels)
        case JPEGConfig():
            return compress.JPEG(**options)
        case DifferentiableJPEGConfig():
            return compress.DifferentiableJPEG(**options)
        case WebPConfig():
            return compress.WebP(**options, channels=channels)
        case JPEG2000Config():
            return compress.JPEG2000(**options)
        case AVIFConfig():
            return compress.AVIF(**options)
        case PNGConfig():
            return compress.PNG()
        case NoneConfig():
            return None
