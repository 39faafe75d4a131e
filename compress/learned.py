"""What the learned codecs share: nets, qualities, modes, bytes."""

import math
import struct
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from .bitstream import CODER_BITS, MAX_SYMBOL, SymbolReader, SymbolTable
from .codec import (
    Codec,
    Coded,
    check_finite,
    check_image,
    check_latent,
    is_number,
    spread,
    whole_number,
)
from .coding import checksum, fingerprint, result_type
from .container import HEADER_BYTES, CorruptStream, Kind, check_size, pack, unpack_all
from .exact import snap
from .quantize import Generators, QuantizeMode, quantize, round_straight_through, uniform
from .transform import Analysis, Synthesis

__all__ = ["LearnedCodec", "Proxy", "Size"]

Size = Literal["small", "large"]
Proxy = Literal["mixed", "noise", "straight_through", "soft", "dither"]

QUALITY_STEPS = 256
"""A quality is a whole number of these parts of a level; files have it in 16 bits."""

_MOST_LEVELS = 256
_QUALITY = struct.Struct("<H")


@dataclass(frozen=True)
class Shape:
    """Sizes of the nets behind a name."""

    width: int
    latent_channels: int
    side_width: int
    side_channels: int
    strides: tuple[int, ...]
    blocks: int


SHAPES: dict[Size, Shape] = {
    "small": Shape(
        width=48, latent_channels=32, side_width=24, side_channels=8, strides=(4, 2), blocks=1
    ),
    "large": Shape(
        width=192, latent_channels=192, side_width=96, side_channels=64, strides=(4, 2, 2), blocks=3
    ),
}


@dataclass(frozen=True, eq=False)  # == of tensors is a tensor
class Priced:
    """A quantised latent and what its elements cost."""

    latent: Tensor
    """What the decoder is given ``[B, M, h, w]``, in quantisation steps."""
    bits: tuple[tuple[Tensor, int], ...]
    """Bits of elements ``[B, M', h', w']``, and the side of the cell that each covers, pixels."""


class _Coding(NamedTuple):
    model: int
    """Fingerprint of the parameters."""
    tables: list[SymbolTable]
    checksum: int


class Gain(nn.Module):
    """Quantisation steps of each latent channel, at every quality between some levels.

    A latent is multiplied by the gain before it is rounded and by its counterpart, learned apart,
    after. Between two levels both change geometrically, so that the quality is continuous.

    Parameters
    ----------
    channels : int
        Channels of the latent.
    levels : int
        Qualities with a gain of their own.
    steps : float
        Quantisation steps for a unit of the latent, at the start, in the middle of the levels.
    level_ratio : float
        Price of distortion of a level in units of that of the level below. The steps begin with
        its root: the error of a fine quantiser is proportional to its square.

    Notes
    -----
    Logarithms, of which a step changes the share and not the size: ``joint.fit`` trains them at ten
    times the learning rate of their codec (``learning_rate_factor``).

    References
    ----------
    Cui et al., "Asymmetric gained deep image compression with continuous rate adaptation", CVPR
    2021.
    """

    learning_rate_factor = 10.0

    def __init__(self, channels: int, *, levels: int, steps: float, level_ratio: float) -> None:
        super().__init__()
        middle = torch.arange(levels) - (levels - 1) / 2
        start = math.log2(steps) + middle * math.log2(level_ratio) / 2
        self.log_gain = nn.Parameter(start[:, None].repeat(1, channels))
        self.log_restore = nn.Parameter(-start[:, None].repeat(1, channels))

    def forward(self, quality: Tensor, *, exact: bool) -> tuple[Tensor, Tensor]:
        """Return gain and restoring factor ``[B, M, 1, 1]`` at ``quality`` ``[B]``."""
        gain = self._at(self.log_gain, quality, exact)
        return gain, self._at(self.log_restore, quality, exact)

    def _at(self, logs: Tensor, quality: Tensor, exact: bool) -> Tensor:
        if exact:
            logs, quality = snap(logs), quality.double()
        below = quality.floor().clamp(0, max(len(logs) - 2, 0)).long()
        above = (below + 1).clamp_max(len(logs) - 1)
        share = (quality - below).to(logs.dtype)[:, None]
        factor = torch.exp2((1 - share) * logs[below] + share * logs[above])[..., None, None]
        # Finer than other numbers: a restoring factor is small.
        return snap(factor, bits=24) if exact else factor


class LearnedCodec(Codec):
    """Learned transforms around a quantiser and a learned price, with real bytes.

    ::

        image ─Analysis─► y ─gain─► quantise ─► latent ─1/gain─► Synthesis ─► reconstruction
                                       └─ price of each element ─► bits_map

    **Modes.** In training mode the quantiser is the ``proxy`` and the rate is ``noisy``; in
    evaluation mode it rounds, with a straight-through gradient, and the rate is ``rounded``.
    Either way bits and reconstruction have a gradient to the picture and to every parameter that
    is meant to have one. ``side_bits`` is the price of the container and of flushing the coder,
    so that ``bits`` estimates the file.

    **Exactness.** In evaluation mode, and for files, the nets are evaluated exactly
    (:mod:`compress.exact`): codes, bytes and pictures are the same to the bit in any batch, with
    any number of threads, in any process, and ``decompress(compress(x))`` is what ``forward(x)``
    shows. Threads may share a codec, at one quality. The coding tables are a function of the
    parameters, made anew whenever these have changed; they cannot be stale.

    **Far from what it learned**, as with values of 1e4, symbols beyond a table are written as such,
    and a file is up to a tenth longer than ``bits``.

    **Qualities.** One model may hold several operating points (:class:`Gain`). ``quality`` is a
    number from 0 to ``levels - 1``, or None: training then draws one for each picture, and tells
    the loss by ``Coded.distortion_weight`` how dear distortion is there; evaluation takes the
    middle. That alone tells the qualities apart: trained for a task without a distortion, all are
    trained for the same, and a higher one need be neither better nor dearer.

    **The map.** The bits of a latent element are spread evenly over those pixels of its cell that
    lie in the picture. A cell is never wholly in the padding, so the map loses nothing.

    Parameters
    ----------
    size : {"small", "large"}
        Small nets have at most 100 000 parameters and train on a CPU; large ones have millions.
    channels : int
        Channels of the picture.
    levels : int
        Operating points.
    level_ratio : float
        Price of distortion of a level in units of that of the level below.
    proxy : {"mixed", "noise", "straight_through", "soft", "dither"}
        Quantiser of training, see :mod:`compress.quantize`; ``mixed`` decodes rounded numbers and
        prices noisy ones (Minnen, Singh 2020). ``sharpness`` is an attribute that a schedule may
        raise, for ``soft``.
    exact : bool
        False evaluates the transforms in the type of the parameters: one and a half to five times
        as fast on a CPU (small nets, 128×128, one thread; forward two to three times), more where
        float64 is slow, and the last bits of pictures, rarely a symbol, then depend on batch and
        machine. Files stay readable. What picks tables needs float64 all the same, which some
        devices (MPS) do not have.

    Raises
    ------
    ValueError
        For an unknown size or proxy, or a number out of its range.
    """

    _KIND: ClassVar[Kind]
    # Latents start at a standard deviation of about one step: far less, and everything rounds to
    # 0; far more, and the rate swamps the distortion.
    _STEPS = 4.0

    def __init__(
        self,
        size: Size = "small",
        *,
        channels: int = 3,
        levels: int = 1,
        level_ratio: float = 4.0,
        proxy: Proxy = "mixed",
        exact: bool = True,
    ) -> None:
        super().__init__()
        if size not in tuple(SHAPES):
            raise ValueError(f"size must be one of {', '.join(map(repr, SHAPES))}, got {size!r}.")
        if proxy not in get_args(Proxy):
            allowed = ", ".join(map(repr, get_args(Proxy)))
            raise ValueError(f"proxy must be one of {allowed}, got {proxy!r}.")
        levels = whole_number("levels", levels, 1, _MOST_LEVELS)
        if not is_number(level_ratio) or not 1 <= level_ratio < math.inf:
            raise ValueError(f"level_ratio must be at least 1 and finite, got {level_ratio!r}.")
        shape = SHAPES[size]
        self.size: Size = size
        self.channels = whole_number("channels", channels, 1, 2**16 - 1)
        self.latent_channels = shape.latent_channels
        self.levels = levels
        self.level_ratio = float(level_ratio)
        self.proxy: Proxy = proxy
        self.sharpness = 4.0
        self.exact = exact
        nets = {"width": shape.width, "strides": shape.strides, "blocks": shape.blocks}
        self.analysis = Analysis(self.channels, shape.latent_channels, **nets)
        self.synthesis = Synthesis(self.channels, shape.latent_channels, **nets)
        self.gain = Gain(
            shape.latent_channels, levels=levels, steps=self._STEPS, level_ratio=level_ratio
        )
        self._build_price(shape)
        self._quality: float | None = None
        self._coding: _Coding | None = None

    @property
    def quality(self) -> float | None:
        """Operating point, 0 to ``levels - 1`` in steps of 1/256; None as the class says."""
        return self._quality

    @quality.setter
    def quality(self, value: float | None) -> None:
        if value is not None:
            # A bool passes for 0 and 1.
            known = is_number(value) and not isinstance(value, bool)
            if not known or not 0 <= value <= self.levels - 1:
                if self.levels == 1:
                    raise ValueError(
                        "this codec was built with one rate, quality 0: leave quality out, or "
                        f"train one with several levels; got {value!r}."
                    )
                raise ValueError(
                    f"quality must be 0 to {self.levels - 1} (levels - 1) or None, got {value!r}."
                )
            value = round(float(value) * QUALITY_STEPS) / QUALITY_STEPS
        self._quality = value

    def extra_repr(self) -> str:
        """Show what the codec is built with."""
        shown = (
            f"size={self.size!r}, channels={self.channels}, levels={self.levels}, "
            f"level_ratio={self.level_ratio:g}, proxy={self.proxy!r}, exact={self.exact}"
        )
        return shown if self._quality is None else f"{shown}, quality={self._quality:.12g}"

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; any finite value is taken, not only 0..1.

        A picture that is not finite comes out as NaN, where that reaches, and so do its bits; no
        file is made of it, and the others of its batch do not see it.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Pictures of any size.
        generator : torch.Generator or a sequence of them, optional
            Source of the quantisation noise of training mode, see :mod:`compress.quantize`, and of
            qualities drawn.

        Returns
        -------
        Coded

        Raises
        ------
        ValueError
            If the pictures do not fit this codec.
        """
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        exact = self.exact and not self.training
        quality = self._qualities(image, generator)
        # In training, the gain need not be exact either.
        gain, restore = self.gain(quality, exact=not self.training)
        y = self._latent(image, gain, exact=exact)
        priced = self._price(y, generator)
        dtype = result_type(self)
        bits_map = sum(
            spread(bits.sum(1, keepdim=True), stride, size) for bits, stride in priced.bits
        )
        assert isinstance(bits_map, Tensor)
        level = quality - (self.levels - 1) / 2
        return Coded(
            reconstruction=self._picture(priced.latent, restore, size, exact=exact),
            latent=priced.latent.to(dtype),
            bits_map=bits_map.to(dtype),
            side_bits=bits_map.new_full(
                (image.shape[0],), 8 * self.header_bytes(size), dtype=dtype
            ),
            rate="noisy" if self.training else "rounded",
            distortion_weight=(self.level_ratio**level).to(dtype) if self.levels > 1 else None,
        )

    def encode(self, image: Tensor) -> Tensor:
        """What evaluation would code of pictures, in either mode, without pricing or decoding it.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Floating point, of any size.

        Returns
        -------
        Tensor ``[B, M, h, w]``, in quantisation steps
            ``forward(image).latent`` of evaluation mode; of a factorized codec whole numbers. Its
            gradient is straight through the rounding.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec.
        """
        check_image(image, self.channels)
        gain, _ = self.gain(self._evaluated_qualities(image), exact=True)
        y = self._latent(image, gain, exact=self.exact)
        return self._rounded(y).to(result_type(self))

    def decode(self, latent: Tensor, *, size: tuple[int, int]) -> Tensor:
        """Pictures of a latent, as evaluation decodes them: the half behind :meth:`encode`.

        Parameters
        ----------
        latent : Tensor ``[B, M, h, w]``, in quantisation steps
            Of the ``quality`` that the codec has.
        size : (int, int), pixels
            Height and width of the pictures.

        Returns
        -------
        Tensor ``[B, C, H, W]`` in 0..1
            ``forward(image).reconstruction`` of evaluation mode, up to the rounding of a latent
            that is no whole number.

        Raises
        ------
        ValueError
            If the latent is none of pictures of this size.
        """
        check_latent(latent, self.latent_channels, self.analysis.stride, size)
        _, restore = self.gain(self._evaluated_qualities(latent), exact=True)
        return self._picture(latent, restore, size, exact=self.exact)

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Code each picture ``[B, C, H, W]`` into a file of its own, in either mode by rounding.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, or they or their latents are not finite.
        """
        check_image(image, self.channels)
        size = (image.shape[-2], image.shape[-1])
        check_size(size, self.channels)
        check_finite(image, "the values")
        quality = self._evaluated_quality()
        gain, _ = self.gain(_as_float32([quality], image), exact=True)
        y = self._latent(image, gain, exact=self.exact)
        check_finite(y, "the latents", limit=MAX_SYMBOL)
        coding = self._current_coding()
        head = _QUALITY.pack(round(quality * QUALITY_STEPS))
        return [
            pack(
                head + body,
                kind=self._KIND,
                size=size,
                channels=self.channels,
                model=coding.model,
                tables=coding.checksum,
            )
            for body in self._write(y, coding.tables)
        ]

    @torch.no_grad()
    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Read what :meth:`compress` wrote: pictures ``[B, C, H, W]``, all of one size.

        They may differ in quality; each says its own.

        Raises
        ------
        CorruptStream
            If a payload is damaged, or another codec or other parameters wrote it.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """
        coding = self._current_coding()
        size, bodies = unpack_all(
            payloads,
            kind=self._KIND,
            channels=self.channels,
            model=coding.model,
            tables=coding.checksum,
        )
        qualities, readers = [], []
        for i, body in enumerate(bodies):
            quality = _QUALITY.unpack_from(body)[0] / QUALITY_STEPS if len(body) > 1 else math.inf
            if quality > self.levels - 1:
                raise CorruptStream(f"payload {i}: it names a quality that this codec lacks.")
            qualities.append(quality)
            readers.append(SymbolReader(body[_QUALITY.size :], f"payload {i}"))
        grid = tuple(-(-side // self.analysis.stride) for side in size)
        latent = self._read(readers, coding.tables, (grid[0], grid[1]))
        for reader in readers:
            reader.finish()
        _, restore = self.gain(_as_float32(qualities, latent), exact=True)
        return self._picture(latent, restore, size, exact=self.exact)

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the bytes of container, quality and the coder's flush, the same of any picture."""
        del size, channels
        return HEADER_BYTES + _QUALITY.size + CODER_BITS // 8

    @abstractmethod
    def _build_price(self, shape: Shape) -> None:
        """Add the modules that price a latent."""

    @abstractmethod
    def _price(self, y: Tensor, generator: Generators | None) -> Priced:
        """Quantise a latent ``[B, M, h, w]`` in steps, and price it."""

    @abstractmethod
    def _rounded(self, y: Tensor) -> Tensor:
        """Round a latent ``[B, M, h, w]`` in steps as evaluation does."""

    @abstractmethod
    def _write(self, y: Tensor, tables: list[SymbolTable]) -> list[bytes]:
        """Round latents ``[B, M, h, w]`` in steps, and write each picture's symbols."""

    @abstractmethod
    def _read(
        self, readers: list[SymbolReader], tables: list[SymbolTable], grid: tuple[int, int]
    ) -> Tensor:
        """Read latents ``[B, M, h, w]`` in steps, float64 on the device of the parameters."""

    @abstractmethod
    def _make_tables(self) -> list[SymbolTable]:
        """Make the coding tables from the parameters as they are now."""

    def _latent(self, image: Tensor, gain: Tensor, *, exact: bool) -> Tensor:
        latent = self.analysis(image, exact=exact) * gain
        return snap(latent) if exact else latent

    def _picture(
        self, latent: Tensor, restore: Tensor, size: tuple[int, int], *, exact: bool
    ) -> Tensor:
        return self.synthesis(latent * restore, size=size, exact=exact).to(result_type(self))

    def _quantize(self, x: Tensor, generator: Generators | None) -> tuple[Tensor, Tensor]:
        """Return what is decoded for ``x`` in steps, and what is priced."""
        if not self.training:
            rounded = round_straight_through(x)
            return rounded, rounded
        mixed = self.proxy == "mixed"
        mode: QuantizeMode = "noise" if self.proxy == "mixed" else self.proxy
        priced = quantize(x, mode=mode, generator=generator, sharpness=self.sharpness)
        return (round_straight_through(x) if mixed else priced), priced

    def _evaluated_quality(self) -> float:
        return (self.levels - 1) / 2 if self._quality is None else self._quality

    def _qualities(self, image: Tensor, generator: Generators | None) -> Tensor:
        """Quality of each picture ``[B]``."""
        if self.training and self._quality is None and self.levels > 1:
            return (self.levels - 1) * uniform((image.shape[0],), generator, device=image.device)
        return self._evaluated_qualities(image)

    def _evaluated_qualities(self, like: Tensor) -> Tensor:
        return _as_float32([self._evaluated_quality()], like).expand(like.shape[0])

    def _current_coding(self) -> _Coding:
        """Return the tables of the parameters as they are now, made anew if these have changed."""
        model = fingerprint(self)
        if self._coding is None or self._coding.model != model:
            tables = self._make_tables()
            self._coding = _Coding(model, tables, checksum(tables))
        return self._coding


def _as_float32(qualities: list[float], like: Tensor) -> Tensor:
    """Return qualities beside a tensor; a shorter type does not hold all their steps."""
    # A copy that nothing waits for: every pass makes one.
    return torch.tensor(qualities, dtype=torch.float32).to(like.device, non_blocking=True)
