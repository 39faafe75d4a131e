"""The learned codecs: an autoencoder without a rate, and one with a trained rate and real bytes."""

import zlib
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .bitstream import (
    CODER_BITS,
    HEADER_BYTES,
    MAX_SYMBOL,
    CorruptStream,
    Kind,
    SymbolTable,
    decode_symbols,
    encode_symbols,
    pack,
    unpack,
)
from .codec import Codec, Coded, check_finite, check_image, check_payloads, check_same_size
from .prior import FactorizedPrior
from .quantize import quantize, round_straight_through
from .transform import Analysis, Synthesis

__all__ = ["Autoencoder", "FactorizedCodec"]


class Autoencoder(Codec):
    """Convolutional autoencoder with a continuous latent and no rate term.

    ::

        image [B,C,H,W] ─Analysis─► latent [B,M,⌈H/4⌉,⌈W/4⌉] ─Synthesis─► reconstruction

    Its rate is what it is: 32 bits for every latent element, 16, 32 and 64 bits per pixel at width
    ratios 6, 3 and 1.5 for three channels. Two of the three expand a 24 bpp picture. The bits
    carry no gradient. Training and evaluation do the same.

    The latent of a file is float32, bit for bit; that of a float64 model is rounded to it.

    Parameters
    ----------
    width_ratio : {6, 3, 1.5}
        Input elements per latent element: a bottleneck width, not a compression. A 128×128×3
        picture has latents of 32×32×8, 32×32×16 or 32×32×32. With a number of channels that three
        does not divide, the latent has the nearest whole number of channels.
    channels : int
        Channels of the picture.
    width : int
        Channels inside the nets.

    Raises
    ------
    ValueError
        If the width ratio is another one, or a size is below 1.
    """

    # For pictures of three channels.
    _LATENT_CHANNELS: ClassVar = {6: 8, 3: 16, 1.5: 32}

    def __init__(self, width_ratio: float = 6, *, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        if width_ratio not in tuple(self._LATENT_CHANNELS):
            raise ValueError(f"width_ratio must be 6, 3 or 1.5, got {width_ratio!r}.")
        self.width_ratio = width_ratio
        self.channels = channels
        self.latent_channels = round(self._LATENT_CHANNELS[width_ratio] * channels / 3)
        self.analysis = Analysis(channels, self.latent_channels, width=width, stages=2)
        self.synthesis = Synthesis(channels, self.latent_channels, width=width, stages=2)

    def extra_repr(self) -> str:
        """Show the bottleneck."""
        return f"width_ratio={self.width_ratio}, latent_channels={self.latent_channels}"

    def forward(self, image: Tensor, *, generator: torch.Generator | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; any finite value is taken, not only 0..1.

        ``bits_map`` is the constant price of the latent, spread evenly; ``side_bits`` the
        container; the rate is ``bytes``, those that :meth:`compress` returns.
        """
        del generator  # nothing here is random
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        latent = _latent(self.analysis, image)
        price = 32 * latent[0].numel() / (size[0] * size[1])
        return Coded(
            reconstruction=self.synthesis(latent, size=size),
            latent=latent,
            bits_map=latent.new_full((len(image), 1, *size), price),
            side_bits=latent.new_full((len(image),), 8 * HEADER_BYTES),
            rate="bytes",
        )

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write the latents of each picture ``[B, C, H, W]`` as float32 in a container.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, or they or their latents are not finite.
        """
        check_image(image, self.channels)
        check_finite(image, "the values")
        latent = _latent(self.analysis, image).float()
        check_finite(latent, "the latents")
        size, model = (image.shape[-2], image.shape[-1]), fingerprint(self)
        return [
            pack(
                row.astype("<f4").tobytes(),
                kind=Kind.AUTOENCODER,
                size=size,
                channels=self.channels,
                model=model,
            )
            for row in latent.cpu().numpy()
        ]

    @torch.no_grad()
    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Read what :meth:`compress` wrote: pictures ``[B, C, H, W]``, all of one size.

        Raises
        ------
        CorruptStream
            If a payload is damaged, or another codec or other parameters wrote it.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """
        size, bodies = _unpack(payloads, Kind.AUTOENCODER, self.channels, fingerprint(self))
        stride = self.analysis.stride
        shape = (self.latent_channels, -(-size[0] // stride), -(-size[1] // stride))
        for i, body in enumerate(bodies):
            if len(body) != 4 * np.prod(shape):
                raise CorruptStream(f"payload {i}: {len(body)} bytes are not latents {shape}.")
        latent = np.stack([np.frombuffer(body, "<f4").reshape(shape) for body in bodies])
        like = next(self.parameters())
        return self.synthesis(torch.from_numpy(latent.astype(np.float32)).to(like), size=size)


class FactorizedCodec(Codec):
    """Learned transforms, a learned factorised prior, and real bytes.

    ::

        image ─Analysis─► y ─quantise─► latent ─Synthesis─► reconstruction
                                          └─prior─► bits of each latent cell ─► bits_map

    In training mode ``y`` is quantised by uniform noise and the rate is ``noisy``; in evaluation
    mode by rounding with a straight-through gradient and the rate is ``rounded``. Either way bits
    and reconstruction have a gradient to the picture and to every parameter. ``side_bits`` is
    the price of the container and of flushing the coder, so that ``bits`` estimates the file.

    A latent cell covers 8×8 pixels and its bits are spread evenly over those of them that lie in
    the picture. A cell is never wholly in the padding, so the map loses nothing.

    The coding tables are a function of the parameters, rebuilt whenever these have changed.

    Parameters
    ----------
    channels : int
        Channels of the picture.
    latent_channels : int
        Channels of the latent.
    width : int
        Channels inside the nets.

    Raises
    ------
    ValueError
        If a size is below 1.

    References
    ----------
    Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017; the prior is
    that of Ballé et al., ICLR 2018.
    """

    # Quantisation steps per unit of the analysis. Latents start at a standard deviation of about
    # one step: far less, and everything rounds to 0; far more, and the rate swamps the distortion.
    _STEPS = 4.0

    def __init__(self, *, channels: int = 3, latent_channels: int = 16, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.latent_channels = latent_channels
        self.analysis = Analysis(channels, latent_channels, width=width)
        self.synthesis = Synthesis(channels, latent_channels, width=width)
        self.prior = FactorizedPrior(latent_channels, init_scale=1.0)
        self._coding: tuple[int, int, list[SymbolTable]] | None = None

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"channels={self.channels}, latent_channels={self.latent_channels}"

    def forward(self, image: Tensor, *, generator: torch.Generator | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; any finite value is taken, not only 0..1.

        Parameters
        ----------
        image : Tensor
            Pictures, at least 16×16.
        generator : torch.Generator, optional
            Source of the quantisation noise of training mode, see
            :func:`compress.add_uniform_noise`.
        """
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        mode = "noise" if self.training else "straight_through"
        latent = quantize(self._steps(image), mode=mode, generator=generator)
        bits_map = _spread(self.prior.bits(latent).sum(1, keepdim=True), self.analysis.stride, size)
        return Coded(
            reconstruction=self._picture(latent, size),
            latent=latent,
            bits_map=bits_map,
            side_bits=bits_map.new_full((len(image),), 8 * HEADER_BYTES + CODER_BITS),
            rate="noisy" if self.training else "rounded",
        )

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Code each picture ``[B, C, H, W]`` into a file of its own, in either mode by rounding.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, or they or their latents are not finite.
        """
        check_image(image, self.channels)
        check_finite(image, "the values")
        latent = round_straight_through(self._steps(image))
        check_finite(latent, "the latents", limit=MAX_SYMBOL)
        size, (model, tables) = (image.shape[-2], image.shape[-1]), self._tables()
        return [
            pack(
                encode_symbols(symbols, tables),
                kind=Kind.FACTORIZED,
                size=size,
                channels=self.channels,
                model=model,
            )
            for symbols in latent.flatten(2).to("cpu", torch.int64).numpy()
        ]

    @torch.no_grad()
    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Read what :meth:`compress` wrote: pictures ``[B, C, H, W]``, all of one size.

        Raises
        ------
        CorruptStream
            If a payload is damaged, or another codec or other parameters wrote it.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """
        model, tables = self._tables()
        size, bodies = _unpack(payloads, Kind.FACTORIZED, self.channels, model)
        rows, columns = (-(-side // self.analysis.stride) for side in size)
        symbols = []
        for i, body in enumerate(bodies):
            try:
                symbols.append(decode_symbols(body, tables, rows * columns))
            except CorruptStream as error:
                raise CorruptStream(f"payload {i}: {error}") from error
        latent = torch.from_numpy(np.stack(symbols)).unflatten(-1, (rows, columns))
        return self._picture(latent.to(next(self.parameters())), size)

    def _steps(self, image: Tensor) -> Tensor:
        """Return the latent before quantisation, in quantisation steps."""
        return self._STEPS * _latent(self.analysis, image)

    def _picture(self, latent: Tensor, size: tuple[int, int]) -> Tensor:
        return self.synthesis(latent / self._STEPS, size=size)

    def _tables(self) -> tuple[int, list[SymbolTable]]:
        """Return the fingerprint of model and tables, and the tables of the current parameters."""
        parameters = fingerprint(self)
        if self._coding is None or self._coding[0] != parameters:
            tables = self.prior.tables()
            # The tables are counted in: a machine whose arithmetic makes others must not decode.
            model = parameters
            for table in tables:
                model = zlib.crc32(np.append(table.frequencies, table.first).tobytes(), model)
            self._coding = (parameters, model, tables)
        return self._coding[1:]


def fingerprint(module: nn.Module) -> int:
    """Return a 32-bit checksum of the values of all parameters and buffers.

    It depends on neither device, memory format, nor floating-point type, so long as the type
    holds the values.
    """
    checksum = 0
    for value in module.state_dict().values():
        checksum = zlib.crc32(value.detach().to("cpu", torch.float64).numpy().tobytes(), checksum)
    return checksum


def _latent(analysis: Analysis, image: Tensor) -> Tensor:
    """Analyse ``image`` in the type of the net, and leave autocast: bits need float32."""
    latent = analysis(image.to(next(analysis.parameters()).dtype))
    return latent.to(torch.promote_types(latent.dtype, torch.float32))


def _spread(cells: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Spread each cell ``[B, 1, h, w]`` evenly over its pixels within ``size``: ``[B, 1, H, W]``.

    The sum stays what it was, also where the cells reach beyond the picture.
    """
    for dim, length in zip((-2, -1), size, strict=True):
        place = torch.arange(length, device=cells.device)
        visible = (length - place // stride * stride).clamp_max(stride)  # pixels of the cell
        visible = visible.unsqueeze(-1) if dim == -2 else visible
        cells = cells.repeat_interleave(stride, dim).narrow(dim, 0, length) / visible
    return cells


def _unpack(
    payloads: list[bytes], kind: Kind, channels: int, model: int
) -> tuple[tuple[int, int], list[bytes]]:
    """Open all containers; return the common size of their pictures, and what they hold."""
    check_payloads(payloads)
    opened = []
    for i, data in enumerate(payloads):
        try:
            opened.append(unpack(data, kind=kind, channels=channels, model=model))
        except CorruptStream as error:
            raise CorruptStream(f"payload {i}: {error}") from error
    check_same_size([size for size, _ in opened])
    return opened[0][0], [body for _, body in opened]
