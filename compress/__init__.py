"""Bits: a picture in, a picture and its price out.

==============  =====================================================================
file            what is in it
==============  =====================================================================
``codec``       the interface :class:`Codec` and its result :class:`Coded`
``learned``     :class:`Autoencoder` and :class:`FactorizedCodec`
``transform``   their nets: analysis, synthesis, divisive normalisation
``quantize``    rounding with a gradient
``prior``       the entropy model :class:`FactorizedPrior`
``bitstream``   symbols to bytes: integer tables, entropy coder, container
``classical``   :class:`JPEG`
``metrics``     PSNR, SSIM, bits per pixel
==============  =====================================================================

Three rates are told apart everywhere: ``noisy`` (training), ``rounded`` (the ideal length of
the symbols that would be coded) and ``bytes`` (a file). Bits per pixel always count the
pixels of the unpadded picture.
"""

from .bitstream import CorruptStream
from .classical import JPEG
from .codec import Codec, Coded
from .learned import Autoencoder, FactorizedCodec
from .metrics import bpp, psnr, ssim
from .prior import FactorizedPrior
from .quantize import add_uniform_noise, quantize, round_straight_through

__all__ = [
    "JPEG",
    "Autoencoder",
    "Codec",
    "Coded",
    "CorruptStream",
    "FactorizedCodec",
    "FactorizedPrior",
    "add_uniform_noise",
    "bpp",
    "psnr",
    "quantize",
    "round_straight_through",
    "ssim",
]
