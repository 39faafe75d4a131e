"""Base class of the learned codecs: nets, qualities, modes, files."""

import math
import struct
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from .bitstream import CODER_BITS, MAX_SYMBOL, SymbolReader, SymbolTable
from .codec import Codec, Coded, check_finite, check_image, check_latent, spread
from .coding import checksum, fingerprint, result_type
from .container import HEADER_BYTES, CorruptStream, Kind, check_size, pack, unpack_all
from .exact import snap
from .given import is_number, whole_number
from .quantize import Generators, QuantizeMode, quantize, round_straight_through, uniform
from .transform import Analysis, Synthesis

__all__ = ["LearnedCodec", "Proxy", "Size"]

Size = Literal["small", "large"]
Proxy = Literal["mixed", "noise", "straight_through", "soft", "dither"]

QUALITY_STEPS = 256
"""Steps of the quality per level; files store the quality in these steps, in 16 bits."""

_MOST_LEVELS = 256
_QUALITY = struct.Struct("<H")


@dataclass(frozen=True)
class Shape:
    """Sizes of the nets of a named codec size."""

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
    """A quantised latent and the bits of its elements."""

    latent: Tensor
    """Latent for the decoder ``[B, M, h, w]``, in quantisation steps."""
    bits: tuple[tuple[Tensor, int], ...]
    """Bits of elements ``[B, M', h', w']``, and the side in pixels of the cell of each element."""


class _Coding(NamedTuple):
    model: int
    """Fingerprint of the parameters."""
    tables: list[SymbolTable]
    checksum: int


class Gain(nn.Module):
    """Trainable gains of each latent channel for rounding, interpolated between quality levels.

    A latent is multiplied by the gain before rounding and by a separately trained restoring factor
    afterwards. Between two levels both change geometrically, so that the quality is continuous.

    Parameters
    ----------
    channels : int
        Channels of the latent.
    levels : int
        Number of qualities with separate gains.
    steps : float
        Initial quantisation steps per unit of the latent, in the middle of the levels.
    level_ratio : float
        Weight of the distortion at a level relative to the level below. The initial gains differ by
        its square root, because the error of a fine quantiser is proportional to its step squared.

    Notes
    -----
    The parameters are logarithms, whose steps are relative changes: ``joint.fit`` trains them at
    ten times the learning rate of their codec (``learning_rate_factor``).

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
        # A finer grid than for other numbers, because a restoring factor is small.
        return snap(factor, bits=24) if exact else factor


class LearnedCodec(Codec):
    """Base class of codecs with learned transforms and a learned rate, and with real files.

    ::

        image ─Analysis─► y ─gain─► quantise ─► latent ─1/gain─► Synthesis ─► reconstruction
                                       └─ bits of each element ─► bits_map

    **Modes.** In training mode the quantiser is the ``proxy`` and the rate is ``noisy``; in
    evaluation mode it rounds, with a straight-through gradient, and the rate is ``rounded``.
    In both modes bits and reconstruction have a gradient to the picture and to every trainable
    parameter. ``side_bits`` are the bits of the container and of flushing the coder, so that
    ``bits`` estimates the file.

    **Exactness.** In evaluation mode, and for files, the nets are evaluated exactly
    (:mod:`compress.exact`): codes, bytes and pictures are the same to the bit in any batch, with
    any number of threads and in any process, and ``decompress(compress(x))`` equals the
    reconstruction of ``forward(x)``. Threads may share a codec, at one quality. The coding tables
    are a function of the parameters, and are recomputed whenever these have changed.

    **Out of distribution**, for instance with values of 1e4, symbols beyond a table are written
    directly, and a file can be up to 10 % longer than ``bits``.

    **Qualities.** One model may have several operating points (:class:`Gain`). ``quality`` is a
    number from 0 to ``levels - 1``, or None. With None, training draws a quality for each picture
    and gives the loss its weight of the distortion, ``Coded.distortion_weight``; evaluation uses
    the middle quality. Only this weight distinguishes the qualities: if a codec is trained for a
    task without a distortion, all qualities are trained for the same goal, and a higher one need
    not be better or cost more bits.

    **The map.** The bits of a latent element are spread evenly over the pixels of its cell that are
    in the picture. A cell is never completely in the padding, so the map contains all bits.

    Parameters
    ----------
    size : {"small", "large"}
        Small nets have at most 100 000 parameters and train on a CPU; large ones have millions.
    channels : int
        Channels of the picture.
    levels : int
        Number of operating points.
    level_ratio : float
        Weight of the distortion at a level relative to the level below.
    proxy : {"mixed", "noise", "straight_through", "soft", "dither"}
        Quantiser in training, see :mod:`compress.quantize`. ``mixed`` decodes rounded numbers and
        computes the bits of noisy ones (Minnen, Singh 2020). For ``soft``, a schedule may raise the
        attribute ``sharpness``.
    exact : bool
        False evaluates the transforms in the type of the parameters. This is 1.5 to 5 times as fast
        on a CPU (small nets, 128×128, one thread; forward 2 to 3 times), and more where float64 is
        slow. The last bits of pictures, and rarely a symbol, then depend on batch and machine.
        Files stay readable. The choice of tables still needs float64, which some devices (MPS) do
        not have.

    Raises
    ------
    ValueError
        For an unknown ``size`` or ``proxy``, or a number out of its range.
    """

    _KIND: ClassVar[Kind]
    # Latents start at a standard deviation of about one step: with far less, everything rounds to
    # 0; with far more, the rate dominates the distortion.
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
        """Operating point, 0 to ``levels - 1`` in steps of 1/256, or None (see the class)."""
        return self._quality

    @quality.setter
    def quality(self, value: float | None) -> None:
        if value is not None:
            if not is_number(value) or not 0 <= value <= self.levels - 1:
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

    def qualities(self) -> tuple[float, ...]:
        """Return 0 to ``levels - 1`` in steps of 1/256."""
        return tuple(step / QUALITY_STEPS for step in range(QUALITY_STEPS * (self.levels - 1) + 1))

    def extra_repr(self) -> str:
        """Show the settings."""
        shown = (
            f"size={self.size!r}, channels={self.channels}, levels={self.levels}, "
            f"level_ratio={self.level_ratio:g}, proxy={self.proxy!r}, exact={self.exact}"
        )
        return shown if self._quality is None else f"{shown}, quality={self._quality:.12g}"

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``; any finite value is allowed, not only 0..1.

        Values that are not finite make the affected part of their picture, and its bits, NaN; other
        pictures of the batch are not affected. :meth:`compress` refuses such pictures.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Pictures of any size.
        generator : torch.Generator or a sequence of them, optional
            Random numbers of the quantisation noise in training mode, see :mod:`compress.quantize`,
            and of drawn qualities.

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
        # In training, the gain need not be exact.
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
        """Return the latent that evaluation codes, in either mode, without its bits or decoding.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Floating point, of any size.

        Returns
        -------
        Tensor ``[B, M, h, w]``, in quantisation steps
            ``forward(image).latent`` of evaluation mode; whole numbers for a factorized codec. Its
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
        """Return the pictures decoded from a latent, as in evaluation: :meth:`encode` reversed.

        Parameters
        ----------
        latent : Tensor ``[B, M, h, w]``, in quantisation steps
            Latent at the codec's current ``quality``.
        size : (int, int), pixels
            Height and width of the pictures.

        Returns
        -------
        Tensor ``[B, C, H, W]`` in 0..1
            ``forward(image).reconstruction`` of evaluation mode, up to the rounding of a latent
            that is not a whole number.

        Raises
        ------
        ValueError
            If the latent does not have the shape for pictures of this size.
        """
        check_latent(latent, self.latent_channels, self.analysis.stride, size)
        _, restore = self.gain(self._evaluated_qualities(latent), exact=True)
        return self._picture(latent, restore, size, exact=self.exact)

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Code each picture ``[B, C, H, W]`` into a file, with rounding in either mode.

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
        """Return the pictures ``[B, C, H, W]`` from files of :meth:`compress`, all of one size.

        They may differ in quality, which each file states.

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
                raise CorruptStream(f"payload {i}: it has a quality that this codec does not have.")
            qualities.append(quality)
            readers.append(SymbolReader(body[_QUALITY.size :], f"payload {i}"))
        grid = tuple(-(-side // self.analysis.stride) for side in size)
        latent = self._read(readers, coding.tables, (grid[0], grid[1]))
        for reader in readers:
            reader.finish()
        _, restore = self.gain(_as_float32(qualities, latent), exact=True)
        return self._picture(latent, restore, size, exact=self.exact)

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the bytes of container, quality and flush of the coder, equal for all pictures."""
        del size, channels
        return HEADER_BYTES + _QUALITY.size + CODER_BITS // 8

    @abstractmethod
    def _build_price(self, shape: Shape) -> None:
        """Add the modules that compute the bits of a latent."""

    @abstractmethod
    def _price(self, y: Tensor, generator: Generators | None) -> Priced:
        """Quantise a latent ``[B, M, h, w]`` in steps, and compute its bits."""

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
        """Compute the coding tables from the current parameters."""

    def _latent(self, image: Tensor, gain: Tensor, *, exact: bool) -> Tensor:
        latent = self.analysis(image, exact=exact) * gain
        return snap(latent) if exact else latent

    def _picture(
        self, latent: Tensor, restore: Tensor, size: tuple[int, int], *, exact: bool
    ) -> Tensor:
        return self.synthesis(latent * restore, size=size, exact=exact).to(result_type(self))

    def _quantize(self, x: Tensor, generator: Generators | None) -> tuple[Tensor, Tensor]:
        """Quantise ``x`` in steps; return the numbers to decode, and those to compute bits of."""
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
        """Return the tables of the current parameters, recomputed if these have changed."""
        model = fingerprint(self)
        if self._coding is None or self._coding.model != model:
            tables = self._make_tables()
            self._coding = _Coding(model, tables, checksum(tables))
        return self._coding


def _as_float32(qualities: list[float], like: Tensor) -> Tensor:
    """Return qualities on the device of a tensor; a shorter type cannot hold all their steps."""
    # A non-blocking copy, since every pass makes one.
    return torch.tensor(qualities, dtype=torch.float32).to(like.device, non_blocking=True)
