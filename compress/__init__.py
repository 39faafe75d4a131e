"""Bits: a picture in, a picture and its price out.

==============  =====================================================================
file            what is in it
==============  =====================================================================
``codec``       the interface :class:`Codec` and its result :class:`Coded`
``learned``     :class:`LearnedCodec`, what codecs with a trained rate share
``factorized``  :class:`FactorizedCodec`
``hyperprior``  :class:`HyperpriorCodec`
``autoencoder`` :class:`Autoencoder`, a bottleneck with its honest price
``transform``   their nets: analysis, synthesis, side information
``exact``       arithmetic that gives the same bits in any batch, thread or process
``quantize``    rounding with a gradient
``prior``       the entropy models: learned densities, Gaussians told element by element
``coding``      between nets and file: symbols, and what ties a file to its model
``container``   the file: what wrote it, and that it is whole
``bitstream``   symbols to bytes: integer tables, entropy coder
``kmeans``      clustering, batched
``palette``     :class:`KMeansCodec`, a palette for each picture
``indexed``     palette pictures as bytes
``files``       `FileCodec`, what codecs share whose files any viewer opens
``classical``   WebP, JPEG 2000, AVIF, PNG
``jpeg_file``   :class:`JPEG`
``jpeg_scan``   what each block of a JPEG file costs
``jpeg``        :class:`DifferentiableJPEG`, JPEG with a gradient and tables that learn
``jpeg_rate``   its price: the Huffman code of T.81, and a smooth count of its bits
``metrics``     PSNR, SSIM, MS-SSIM, bits per pixel
``curve``       rate-quality curves and Bjontegaard deltas
``measure``     the curve of a codec on pictures, and the quality that meets a rate
``region``      bits by lesion, boundary and background
==============  =====================================================================

Three rates are told apart everywhere: ``noisy`` (training), ``rounded`` (the ideal length of
the symbols that would be coded) and ``bytes`` (a file). Bits per pixel always count the
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
