"""The autoencoder of the study that this library grew from, with its bits."""

import struct
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .bitstream import CODER_BITS, SymbolReader, encode_sections
from .codec import Codec, Coded, check_finite, check_image, check_latent, spread
from .coding import checksum, fingerprint, integers, result_type
from .container import HEADER_BYTES, CorruptStream, Kind, check_size, pack, unpack_all
from .given import is_number, whole_number
from .prior import SCALE_LEVELS, gaussian_bits, gaussian_level, gaussian_tables
from .quantize import Generators, round_straight_through
from .transform import Analysis, Synthesis

__all__ = ["Autoencoder"]

_BITS = struct.Struct("<B")
# Of each channel of a quantised latent: its smallest value and its step, and the mean and the
# level of width of its symbols.
_CHANNEL = np.dtype([("low", "<f4"), ("step", "<f4"), ("mean", "<u2"), ("level", "u1")])


class _Quantised(NamedTuple):
    """A latent ``[B, M, h, w]``, quantised on a separate grid for each picture and channel."""

    symbols: Tensor
    """Symbols, 0 to ``2**latent_bits - 1``, float64."""
    low: Tensor
    """``[B, M, 1, 1]``, numbers that float32 holds."""
    step: Tensor
    mean: Tensor
    """Mean of the symbols, rounded ``[B, M, 1, 1]``."""
    level: Tensor
    """Level of the spread of the symbols, see :func:`compress.prior.gaussian_bits`."""

    @property
    def latent(self) -> Tensor:
        return self.low + self.step * self.symbols


class Autoencoder(Codec):
    """Convolutional autoencoder without a rate term.

    ::

        image [B,C,H,W] ─Analysis─► latent [B,M,⌈H/4⌉,⌈W/4⌉] (─quantise─►) ─Synthesis─► picture

    With ``latent_bits=None`` the latent is continuous and costs 32 bits per element: 16, 32 and 64
    bits per pixel at width ratios 6, 3 and 1.5 for three channels. Two of the three expand a 24 bpp
    picture. The bits have no gradient.

    With a number of ``latent_bits``, every channel of a picture is divided into ``2**latent_bits``
    equal steps between its smallest and largest value. The steps are entropy-coded with a Gaussian
    model, whose mean and width for each channel are in the file. This needs no training, so it
    works with any trained autoencoder. The bits then have a gradient to the picture, and rounding
    is straight-through, in training and evaluation. ``latent_bits`` may be set at any time.

    In evaluation mode, and for files, the nets are evaluated exactly (:mod:`compress.exact`):
    ``decompress(compress(x))`` equals the reconstruction of ``forward(x)``, to the bit.

    Parameters
    ----------
    width_ratio : {6, 3, 1.5}
        Input elements per latent element: the width of the bottleneck, not a compression ratio. A
        128×128×3 picture has latents of 32×32×8, 32×32×16 or 32×32×32. If the number of channels is
        not a multiple of three, the number of latent channels is rounded.
    channels : int
        Channels of the picture.
    latent_bits : int, optional
        Resolution of the latent, 1 to 10 bits; float32 by default.
    exact : bool
        As in :class:`LearnedCodec`.

    Raises
    ------
    ValueError
        If the width ratio is not one of these, or a number is out of its range.
    """

    # For pictures of three channels.
    _LATENT_CHANNELS: ClassVar = {6: 8, 3: 16, 1.5: 32}

    def __init__(
        self,
        width_ratio: float = 6,
        *,
        channels: int = 3,
        latent_bits: int | None = None,
        exact: bool = True,
    ) -> None:
        super().__init__()
        if not is_number(width_ratio) or width_ratio not in tuple(self._LATENT_CHANNELS):
            raise ValueError(f"width_ratio must be 6, 3 or 1.5, got {width_ratio!r}.")
        self.width_ratio = width_ratio
        self.channels = whole_number("channels", channels, 1, 2**16 - 1)
        self.latent_channels = round(self._LATENT_CHANNELS[width_ratio] * self.channels / 3)
        self.latent_bits = latent_bits
        self.exact = exact
        self.analysis = Analysis(self.channels, self.latent_channels, strides=(4,))
        self.synthesis = Synthesis(self.channels, self.latent_channels, strides=(4,))

    @property
    def latent_bits(self) -> int | None:
        """Resolution of the latent, 1 to 10 bits; None keeps float32."""
        return self._latent_bits

    @latent_bits.setter
    def latent_bits(self, bits: int | None) -> None:
        if bits is not None:
            bits = whole_number("latent_bits", bits, 1, 10, otherwise=", or None")
        self._latent_bits = bits

    def extra_repr(self) -> str:
        """Show the bottleneck."""
        return (
            f"width_ratio={self.width_ratio}, latent_channels={self.latent_channels}, "
            f"latent_bits={self.latent_bits}, exact={self.exact}"
        )

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; any finite value is allowed, not only 0..1.

        For a continuous latent, ``bits_map`` is constant, and the rate is ``bytes``, those that
        :meth:`compress` returns. For a quantised latent, the map holds the bits of each element,
        and the rate is ``rounded``. Values that are not finite make the affected part of the
        reconstruction NaN, and also the bits of a quantised latent; :meth:`compress` refuses them.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec.
        """
        del generator  # nothing here is random
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        exact = self.exact and not self.training
        dtype = result_type(self)
        latent = self._latent(image, exact=exact)
        side = 8 * self.header_bytes(size)
        if self._latent_bits is None:
            price = 32 * latent.shape[1:].numel() / (size[0] * size[1])
            bits_map = latent.new_full((image.shape[0], 1, *size), price)
        else:
            quantised = _quantise(latent, self._latent_bits)
            latent = quantised.latent
            bits = gaussian_bits(quantised.symbols - quantised.mean, quantised.level)
            bits_map = spread(bits.sum(1, keepdim=True), self.analysis.stride, size)
        return Coded(
            reconstruction=self.synthesis(latent, size=size, exact=exact).to(dtype),
            latent=latent.to(dtype),
            bits_map=bits_map.to(dtype),
            side_bits=bits_map.new_full((image.shape[0],), side, dtype=dtype),
            rate="bytes" if self._latent_bits is None else "rounded",
        )

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent ``[B, M, h, w]`` of pictures, as in evaluation, in either mode.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Floating point, of any size.

        Returns
        -------
        Tensor ``[B, M, h, w]``
            ``forward(image).latent`` of evaluation mode, rounded to the grid of ``latent_bits``.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec.
        """
        check_image(image, self.channels)
        latent = self._latent(image, exact=self.exact)
        if self._latent_bits is not None:
            latent = _quantise(latent, self._latent_bits).latent
        return latent.to(result_type(self))

    def decode(self, latent: Tensor, *, size: tuple[int, int]) -> Tensor:
        """Return the pictures decoded from a latent, as in evaluation: :meth:`encode` reversed.

        Parameters
        ----------
        latent : Tensor ``[B, M, h, w]``
        size : (int, int), pixels
            Height and width of the pictures.

        Returns
        -------
        Tensor ``[B, C, H, W]`` in 0..1
            ``forward(image).reconstruction`` of evaluation mode, up to the rounding of the latent.

        Raises
        ------
        ValueError
            If the latent does not have the shape for pictures of this size.
        """
        check_latent(latent, self.latent_channels, self.analysis.stride, size)
        return self.synthesis(latent, size=size, exact=self.exact).to(result_type(self))

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write the latent of each picture ``[B, C, H, W]`` into a file.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, or they or their latents are not finite.
        """
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        check_size(size, self.channels)
        check_finite(image, "the values")
        latent = self._latent(image, exact=self.exact)
        check_finite(latent, "the latents")
        bits = self._latent_bits
        bodies = _as_floats(latent) if bits is None else _as_symbols(_quantise(latent, bits))
        model = fingerprint(self)
        return [
            pack(
                _BITS.pack(bits or 0) + body,
                kind=Kind.AUTOENCODER,
                size=size,
                channels=self.channels,
                model=model,
                tables=checksum(gaussian_tables()),
            )
            for body in bodies
        ]

    @torch.no_grad()
    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Return the pictures ``[B, C, H, W]`` from files of :meth:`compress`, of any resolution.

        Raises
        ------
        CorruptStream
            If a payload is damaged, or another codec or other parameters wrote it.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """
        size, bodies = unpack_all(
            payloads,
            kind=Kind.AUTOENCODER,
            channels=self.channels,
            model=fingerprint(self),
            tables=checksum(gaussian_tables()),
        )
        stride = self.analysis.stride
        shape = (self.latent_channels, -(-size[0] // stride), -(-size[1] // stride))
        latent = np.stack([_read(body, shape, f"payload {i}") for i, body in enumerate(bodies)])
        decoded = torch.from_numpy(latent).to(next(self.parameters()).device)
        return self.synthesis(decoded, size=size, exact=self.exact).to(result_type(self))

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the bytes of a file that are the same in number for any picture.

        These are the container and the resolution and, for a quantised latent, the range of each
        channel and the flush of the coder.
        """
        del size, channels
        if self._latent_bits is None:
            return HEADER_BYTES + _BITS.size
        ranges = _CHANNEL.itemsize * self.latent_channels
        return HEADER_BYTES + _BITS.size + ranges + CODER_BITS // 8

    def _latent(self, image: Tensor, *, exact: bool) -> Tensor:
        latent = self.analysis(image, exact=exact)
        # Files hold float32, and forward and decompress must use the same numbers.
        return latent.float().double() if exact else latent


def _quantise(latent: Tensor, bits: int) -> _Quantised:
    """Put each channel of each picture on a grid of ``2**bits`` steps between its extremes."""
    latent = latent.double()
    low = latent.amin((-2, -1), keepdim=True)
    # Rounded to float32, as in a file.
    step = (latent.amax((-2, -1), keepdim=True) - low) / (2**bits - 1)
    step = torch.where(step > 0, step, 1.0).float().double()
    symbols = round_straight_through((latent - low) / step)
    mean = round_straight_through(symbols.mean((-2, -1), keepdim=True))
    variance = (symbols - mean).square().mean((-2, -1), keepdim=True)
    return _Quantised(symbols, low, step, mean, gaussian_level(variance))


def _as_floats(latent: Tensor) -> list[bytes]:
    return [row.tobytes() for row in latent.cpu().numpy().astype("<f4")]


def _as_symbols(quantised: _Quantised) -> list[bytes]:
    count, channels = quantised.symbols.shape[:2]
    head = np.empty((count, channels), _CHANNEL)
    for name in _CHANNEL.names or ():
        head[name] = getattr(quantised, name).flatten(1).cpu().numpy()
    residual, level = integers(quantised.symbols - quantised.mean), integers(quantised.level)
    return [
        fields.tobytes()
        + encode_sections([(row, None, [gaussian_tables()[k] for k in levels.ravel()])])
        for fields, row, levels in zip(head, residual, level, strict=True)
    ]


def _read(body: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Read the latent ``[M, h, w]`` of one picture, float64."""
    bits = body[0] if body else 255
    body = body[_BITS.size :]
    if bits == 0:
        if len(body) != 4 * np.prod(shape):
            raise CorruptStream(f"{name}: {len(body)} bytes are not latents {list(shape)}.")
        latent = _widened(np.frombuffer(body, "<f4").reshape(shape))
    else:
        end = _CHANNEL.itemsize * shape[0]
        if bits > 10 or len(body) < end:
            raise CorruptStream(f"{name}: the latent's resolution or ranges are missing.")
        head = np.frombuffer(body[:end], _CHANNEL)
        if head["level"].max() >= SCALE_LEVELS:
            raise CorruptStream(f"{name}: a width level beyond the last of {SCALE_LEVELS}.")
        reader = SymbolReader(body[end:], name)
        tables = [gaussian_tables()[k] for k in head["level"]]
        symbols = reader.rows(tables, shape[1:]) + head["mean"].astype(np.int64)[:, None, None]
        reader.finish()
        low, step = (_widened(head[field])[:, None, None] for field in ("low", "step"))
        with np.errstate(all="ignore"):  # a forged range may overflow; the result is refused
            latent = low + step * symbols
    if not np.isfinite(latent).all():
        raise CorruptStream(f"{name}: a latent is not finite.")
    return latent


def _widened(values: np.ndarray) -> np.ndarray:
    """Float32 as float64; numpy warns of some kinds of NaN, which are refused later."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)
