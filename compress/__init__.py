"""Compression: codecs that return a picture and the bits that it costs.

==============  =====================================================================
file            content
==============  =====================================================================
``codec``       the interface :class:`Codec` and its result :class:`Coded`
``given``       arguments that are numbers
``learned``     :class:`LearnedCodec`, the base of codecs with a trained rate
``factorized``  :class:`FactorizedCodec`
``hyperprior``  :class:`HyperpriorCodec`
``autoencoder`` :class:`Autoencoder`, a bottleneck and its true bits
``transform``   nets of learned codecs: analysis, synthesis, side information
``exact``       arithmetic that gives the same bits in any batch, thread or process
``quantize``    rounding with a gradient
``prior``       entropy models: learned densities, and a Gaussian per element
``coding``      between nets and file: symbols, and the fingerprint of the model
``container``   the file header: codec, size and checksum
``bitstream``   symbols to bytes: integer tables, entropy coder
``kmeans``      batched k-means clustering
``palette``     :class:`KMeansCodec`, a palette for each picture
``indexed``     palette pictures as bytes
``files``       `FileCodec`, the base of codecs with standard files
``classical``   WebP, JPEG 2000, AVIF, PNG
``jpeg_file``   :class:`JPEG`
``jpeg_scan``   bits of each block of a JPEG file
``jpeg``        :class:`DifferentiableJPEG`, with gradients and trainable tables
``jpeg_rate``   its rate: the Huffman code of T.81, and a smooth count of its bits
``metrics``     PSNR, SSIM, MS-SSIM, bits per pixel
``curve``       rate-quality curves and Bjontegaard deltas
``measure``     the curve of a codec on pictures, and the quality for a rate
``region``      bits by lesion, boundary and background
==============  =====================================================================

There are three kinds of rates: ``noisy`` (estimate in training), ``rounded`` (the ideal length of
the symbols that would be coded) and ``bytes`` (of a file). Bits per pixel always refer to the
pixels of the unpadded picture.
"""

from .autoencoder import Autoencoder
from .classical import AVIF, JPEG2000, PNG, WebP
from .codec import Codec, Coded
from .container import CorruptStream
from .curve import RateCurve, bd_quality, bd_rate
from .factorized import FactorizedCodec
from .hyperprior import HyperpriorCodec
from .jpeg import DifferentiableJPEG
from .jpeg_file import JPEG
from .jpeg_scan import jpeg_block_bits
from .learned import LearnedCodec, Proxy, Size
from .measure import quality_for, rate_curve
from .metrics import bpp, ms_ssim, ms_ssim_scales, psnr, ssim
from .palette import KMeansCodec
from .prior import FactorizedPrior
from .quantize import add_uniform_noise, quantize, round_straight_through
from .region import Region, RegionBits, bits_by_region

__all__ = [
    "AVIF",
    "JPEG",
    "JPEG2000",
    "PNG",
    "Autoencoder",
    "Codec",
    "Coded",
    "CorruptStream",
    "DifferentiableJPEG",
    "FactorizedCodec",
    "FactorizedPrior",
    "HyperpriorCodec",
    "KMeansCodec",
    "LearnedCodec",
    "Proxy",
    "RateCurve",
    "Region",
    "RegionBits",
    "Size",
    "WebP",
    "add_uniform_noise",
    "bd_quality",
    "bd_rate",
    "bits_by_region",
    "bpp",
    "jpeg_block_bits",
    "ms_ssim",
    "ms_ssim_scales",
    "psnr",
    "quality_for",
    "quantize",
    "rate_curve",
    "round_straight_through",
    "ssim",
]
