"""Differentiable JPEG: picture, bits and trainable quantisation tables.

The arithmetic is that of libjpeg, in integers throughout: colours in 16-bit fixed point,
chrominance halved with alternating rounding, both passes of the cosine transform rounded as in the
accurate integer method, half steps rounded away from zero, and the triangle filter for upsampling.
All of it fits the 24 bits of float32, so that every pixel equals libjpeg's.

The bits are counted as for a baseline encoder with optimised Huffman tables
(:mod:`compress.jpeg_rate`), without writing a file.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn

from .codec import Coded, check_finite, check_image
from .files import check_subsampling
from .jpeg_file import JPEGFiles, standard_tables
from .jpeg_rate import Layout, count_bits
from .quantize import Generators, QuantizeMode, quantize, round_straight_through

__all__ = ["DifferentiableJPEG"]

_SUBSAMPLINGS = ("4:2:0", "4:4:4")

# RGB to YCbCr, and the chrominance back to RGB, in units of 2**-16 (jccolor.c, jdcolor.c).
_TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
_TO_RGB = ((0, 91881), (-22554, -46802), (116130, 0))
_UNIT = 2**16

# The cosine transform times sqrt(8) in units of 2**-13, frequency by position: the left half, for
# the even and the odd frequencies. They are the sums of rounded constants of the accurate integer
# method (jfdctint.c, jidctint.c), which is why some differ in the last digit.
_EVEN = (
    (8192, 8192, 8192, 8192),
    (10703, 4433, -4433, -10703),
    (8192, -8192, -8192, 8192),
    (4433, -10704, 10704, -4433),
)
_ODD = (
    (11363, 9633, 6437, 2260),
    (9633, -2259, -11362, -6436),
    (6437, -11362, 2261, 9633),
    (2260, -6436, 9633, -11363),
)
_COSINES = tuple(
    (*left, *(sign * value for value in left[::-1]))
    for pair in zip(_EVEN, _ODD, strict=True)
    for left, sign in zip(pair, (1, -1), strict=True)
)

# A coefficient of at least this many steps is close to the limit, 1/2, below which it becomes 0.
# The squares of those above stand for all of them; they are 27 % of the total if all sizes are
# equally likely.
_BORDER = 0.45
_SHARE = 1 / (1 - (2 * _BORDER) ** 3)

# Positions of the coefficients of a block [u, v] (u horizontal) in file order: along diagonals,
# every other one downwards.
_ZIGZAG = tuple(
    8 * u + v
    for u, v in sorted(
        ((u, v) for u in range(8) for v in range(8)),
        key=lambda place: (sum(place), place[1] if sum(place) % 2 else place[0]),
    )
)


class DifferentiableJPEG(JPEGFiles):
    r"""JPEG with gradients to the picture and to trainable quantisation tables, and a rate.

    ::

        image ─8 bit─► YCbCr ─► halved ─► DCT ─► / table ─► round ─► × table ─► inverse ─► RGB
                                                    │          └─► run lengths ─► Huffman ─┐
                                                    └─► the same, smoothed ─► gradient ─► bits

    **Picture.** The reconstruction equals Pillow's decode of the file, pixel for pixel (libjpeg
    or libjpeg-turbo with their defaults; on a GPU without TF32). All rounding and clipping passes
    the gradient straight through: at 4:4:4 the gradient to the picture is the identity, at 4:2:0
    that of halving and interpolating the chrominance. A step ``q`` of the table receives, from a
    coefficient ``F``, ``round(F / q) - F / q`` times the gradient of the decoded coefficient; where
    ``F`` becomes 0, 3.7 times that if ``|F / q|`` is at least 0.45, otherwise 0. This gradient was
    compared with the actual change when whole tables change by 10 % both ways. For the mean squared
    error it was 0.7 to 1.25 of the change at qualities 10 to 95 (phantoms, a photograph, HAM10000
    at 128×128), and for the luminance of noise alone up to 2.7 times it. If the errors of all
    coefficients that become 0 were included, which cannot decrease, it was 1.4 to 2.7.

    **Bits.** In both modes the value is the exact length of the Huffman-coded blocks of the file
    that :meth:`compress` writes, block by block (as in :func:`compress.jpeg_block_bits`), spread
    evenly over each block's pixels. ``side_bits`` adds markers, tables, padding, and 0.3 % for
    stuffed bytes, whose number is estimated: the sum was within 0.4 % of files above 4 kB, and from
    0.9 % below to 0.3 % above smaller files, where a few such bytes matter more.

    The count has no gradient. The gradient of the bits is the derivative of a smooth function: with
    fixed code words, and all other coefficients rounded, the bits as a function of one coefficient,
    with each jump between size categories replaced by a smooth step: between 1/4 and 3/4 from 0 to
    a size of 1, and between the centres of the categories above. It is 0 for coefficients far from
    the next category. For a change of whole tables by 10 % both ways it was 0.92 to 1.04 of the
    change of the count at qualities 5 to 50, 0.8 to 0.9 at 75 and 1.5 to 2.5 at 90 and 95
    (phantoms, a photograph, and HAM10000 reduced to 128×128). For pictures that were JPEG files at
    that size it is not valid for tables finer than about those of the file, because their
    coefficients lie on its steps: on HAM10000 as stored at 200×150 it was 3 times the change at
    qualities 20 and 30, a third at 50, 7 times at 90, and had the other sign at 95.

    In training, another ``rounding`` is applied to the coefficients of the picture, as in
    :func:`quantize`. The bits stay those of the file: counted after the noise, they were a third to
    two thirds higher, and their gradient was 0.15 to 0.6 of the change of that count.

    Parameters
    ----------
    quality : int
        1 to 100: the initial tables, see :func:`standard_tables`; may be set at any time.
    subsampling : {"4:2:0", "4:4:4"}
        Resolution of the chrominance; no effect on grey pictures, which have one table.
    rounding : {"straight_through", "noise", "soft", "dither"}
        How coefficients are quantised in training; in evaluation they are always rounded.
    trainable : bool
        Whether the tables are trained. ``log_tables`` ``[2, 8, 8]`` holds their logarithms. The
        tables in use are ``exp(log_tables)`` clipped to 1..255 and rounded to whole numbers, with a
        straight-through gradient, except for steps that lead further out of 1..255. Half precision
        cannot represent all tables; ``torch.autocast`` does not change them. ``joint.fit`` trains
        them at ten times the learning rate of the stage (``learning_rate_factor``), because a step
        of a logarithm changes the table by a relative amount.

    Raises
    ------
    ValueError
        If a setting is not one of these.

    References
    ----------
    ITU-T T.81 (1992). Shin, Song, "JPEG-resistant adversarial images", NIPS 2017 workshop
    (rounding with a gradient). Reich, Debnath, Patel, Chakradhar, "Differentiable JPEG: the devil
    is in the details", WACV 2024, arXiv 2309.06978 (straight-through forward, gradients to the
    tables). Tables trained for a rate and a task: cf. arXiv 2308.05840.
    """

    learning_rate_factor = 10.0

    def __init__(
        self,
        quality: int = 75,
        *,
        subsampling: str = "4:2:0",
        rounding: QuantizeMode = "straight_through",
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if rounding not in get_args(QuantizeMode):
            raise ValueError(f"rounding must be one of {get_args(QuantizeMode)}, got {rounding!r}.")
        self.subsampling = check_subsampling(subsampling, _SUBSAMPLINGS)
        self.rounding: QuantizeMode = rounding
        logarithms = standard_tables(quality).to(torch.float32).log()
        self.log_tables = nn.Parameter(logarithms, requires_grad=trainable)

    @property
    def quality(self) -> int | None:
        """Quality, 1 to 100, of the standard tables, else None; setting it replaces the tables."""
        tables = torch.stack(self.export_tables())
        same = (_tables_of_all(self.qualities()) == tables).flatten(1).all(1)
        return self.qualities()[int(same.int().argmax())] if same.any() else None

    @quality.setter
    def quality(self, value: int) -> None:
        with torch.no_grad():
            self.log_tables.copy_(standard_tables(value).to(torch.float32).log())

    def qualities(self) -> range:
        """Return 1 to 100."""
        return range(1, 101)

    @contextmanager
    def at(self, quality: float) -> Iterator[None]:
        """Set another quality within a ``with`` block; the tables are restored at its end.

        Raises
        ------
        TypeError, ValueError
            If it is not one number, or not a quality; or if the codec has its own tables.
        """
        if self.quality is None:
            raise ValueError(
                "this DifferentiableJPEG has its own tables, trained or set, which belong to no "
                "quality, and another quality would replace them: leave quality out, or set "
                "codec.quality to discard them"
            )
        own = self.log_tables.detach().clone()  # may differ slightly from those of the quality
        try:
            with super().at(quality):
                yield
        finally:
            with torch.no_grad():
                self.log_tables.copy_(own)

    def extra_repr(self) -> str:
        """Show the settings."""
        shown = f"subsampling={self.subsampling!r}, rounding={self.rounding!r}"
        if self.log_tables.requires_grad:
            return f"{shown}, trainable=True"
        # Only for fixed tables: a run is identified by this text, and trained tables vary.
        there = not self.log_tables.is_meta and bool(self.log_tables.isfinite().all())
        known = there and self.quality is not None
        return f"{f'quality={self.quality}' if known else 'tables of its own'}, {shown}"

    @property
    def tables(self) -> Tensor:
        """Return the tables in use ``[2, 8, 8]``: whole numbers of 1 to 255, with a gradient.

        Raises
        ------
        ValueError
            If one is NaN or infinite.
        """
        if not self.log_tables.isfinite().all():
            raise ValueError("the tables hold NaN or infinite numbers: their training diverged.")
        dtype = torch.promote_types(self.log_tables.dtype, torch.float32)
        return round_straight_through(_WithinBytes.apply(self.log_tables.to(dtype).exp()))

    @torch.no_grad()
    def export_tables(self) -> tuple[Tensor, Tensor]:
        """Return the tables of luminance and chrominance ``[8, 8]``, integers on the CPU.

        Rows are vertical frequencies, as in T.81. Flattened, they are Pillow's ``qtables``.
        """
        luminance, chrominance = self.tables.to("cpu", torch.int64)
        return luminance, chrominance

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``, C = 1 or 3; values are clipped to 0..1.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``
            Pictures of any size.
        generator : torch.Generator or a sequence of them, optional
            Random numbers of the noise in training, if ``rounding`` uses noise.

        Returns
        -------
        Coded

        Raises
        ------
        ValueError
            If the pictures are not grey or RGB, not finite, or too large for JPEG, or the tables
            are not finite.
        """
        check_image(image, self._channels)
        check_finite(image, "the values")
        size, channels = (image.shape[-2], image.shape[-1]), image.shape[1]
        self._check_size(size, channels)
        halved = check_subsampling(self.subsampling, _SUBSAMPLINGS) == "4:2:0"
        layout = Layout(size, 2 if halved and channels == 3 else 1)
        mode: QuantizeMode = self.rounding if self.training else "straight_through"
        with torch.autocast(image.device.type, enabled=False):
            x = image.to(torch.promote_types(image.dtype, torch.float32))
            pixels = 255 * x
            pixels = _through(pixels.detach().clamp(0, 255).round(), pixels)
            tables = self.tables.to(x)
            shown, steps, levels = [], [], []
            for i, plane in enumerate(_to_planes(pixels, layout)):
                table = tables[min(i, 1)].mT  # blocks have the horizontal frequency first
                coefficients = _transform(_to_blocks(plane)) / 8
                step = coefficients / table
                level = _round(step)
                if mode == "straight_through":
                    decoded = _through(
                        level * table.detach(),
                        coefficients + _slope(step, level).detach() * table,
                    )
                else:
                    decoded = quantize(step, mode=mode, generator=generator) * table
                shown.append(_from_blocks(_inverse(decoded), plane.shape[-2] // 8))
                steps.append(_in_order(step))
                levels.append(_in_order(level))
            bits_map, side_bits = count_bits(steps, levels, layout)
            decoded = _from_planes(shown, layout) / 255
            # Also in float64, these are the float32 numbers that a file decodes to.
            reconstruction = _through(decoded.detach().float().to(decoded), decoded)
        return Coded(
            reconstruction=reconstruction.to(image.dtype),
            latent=None,
            bits_map=bits_map,
            side_bits=side_bits,
            rate="rounded",
        )

    def _options(self, channels: int) -> dict[str, Any]:
        tables = [table.flatten().tolist() for table in self.export_tables()]
        subsampling = check_subsampling(self.subsampling, _SUBSAMPLINGS)
        return {"qtables": tables[: min(channels, 2)], "subsampling": subsampling}


# --- rounding with a gradient ----------------------------------------------------------------


class _Through(torch.autograd.Function):
    """The values of one tensor with the gradient of another, without an extra addition."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, x: Tensor) -> Tensor:
        return value.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN401
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # noqa: ANN401
        return None, gradient

    @staticmethod
    def jvp(ctx: Any, _: Tensor | None, tangent: Tensor) -> Tensor:  # noqa: ANN401
        return tangent.view_as(tangent)


class _WithinBytes(torch.autograd.Function):
    """Clip to 1..255, keeping the gradient except where following it leads further out."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(1, 255)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        outwards = ((x < 1) & (gradient > 0)) | ((x > 255) & (gradient < 0))
        return gradient.masked_fill(outwards, 0)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # noqa: ANN401
        return tangent.view_as(tangent)  # forward mode is not used for steps


def _through(value: Tensor, x: Tensor) -> Tensor:
    """Return ``value``, computed from ``x.detach()``, with the identity as gradient to ``x``."""
    return _Through.apply(value, x)


def _floor(x: Tensor) -> Tensor:
    return _through(x.detach().floor(), x)


def _clip(x: Tensor) -> Tensor:
    return _through(x.detach().clamp(0, 255), x)


def _round(x: Tensor) -> Tensor:
    """Round to whole numbers, without a gradient.

    Halves are rounded away from zero, as in libjpeg, not to even; they are frequent, because DC is
    a whole number.
    """
    value = x.detach()
    return value.sign() * (value.abs() + 0.5).floor()


def _slope(step: Tensor, level: Tensor) -> Tensor:
    """Derivative of decoded coefficients, in steps, by the size of a step.

    It is the error, ``level - step``, if all sizes of a coefficient are equally likely: the mean
    square error, ``q^2 / 12``, then grows by ``q / 6``. Coefficients that become 0, however, keep
    their error with a larger step, and a larger step only makes more of them 0. How many is
    estimated from those close to the limit. Most coefficients of pictures are not close to it.
    """
    error = level - step
    next_to_it = (step.abs() >= _BORDER) * _SHARE
    return torch.where(level == 0, error * next_to_it, error)


# --- the picture -----------------------------------------------------------------------------


def _to_planes(levels: Tensor, layout: Layout) -> list[Tensor]:
    """Return the planes ``[B, H, W]`` of 8-bit pictures ``[B, C, H, W]``, padded to blocks."""
    if levels.shape[1] == 1:
        return [_fill(levels[:, 0], 8, 8)]
    ycc = (levels.new_tensor(_TO_YCC) @ levels.flatten(2)).unflatten(-1, layout.size)
    half = levels.new_tensor((_UNIT // 2, _UNIT // 2 - 1, _UNIT // 2 - 1)).view(-1, 1, 1)
    centre = levels.new_tensor((0, 128, 128)).view(-1, 1, 1)
    luma, *chroma = (_floor((ycc + half) / _UNIT) + centre).unbind(1)
    if layout.side == 2:
        chroma = map(_halve, chroma)
    return [_fill(plane, 8, 8) for plane in (luma, *chroma)]


def _from_planes(planes: list[Tensor], layout: Layout) -> Tensor:
    """Undo :func:`_to_planes`."""
    height, width = layout.size
    luma = planes[0][:, None, :height, :width]
    if len(planes) == 1:
        return luma
    chroma = planes[1:]
    if layout.side == 2:
        rows, columns = (height + 1) // 2, (width + 1) // 2
        chroma = [_double(plane[:, :rows, :columns]) for plane in chroma]
    both = torch.stack([plane[:, :height, :width] for plane in chroma], 1) - 128
    added = luma.new_tensor(_TO_RGB) @ both.flatten(2)
    return _clip(luma + _floor((added + _UNIT // 2) / _UNIT).unflatten(-1, layout.size))


def _fill(plane: Tensor, down: int, across: int) -> Tensor:
    """Repeat the last row and column until the sizes are multiples of ``down`` and ``across``."""
    for dim, step in ((-2, down), (-1, across)):
        missing = -plane.shape[dim] % step
        if missing:
            last = plane.narrow(dim, plane.shape[dim] - 1, 1)
            plane = torch.cat([plane, last.repeat_interleave(missing, dim)], dim)
    return plane


def _halve(plane: Tensor) -> Tensor:
    """Average squares of 2×2; halves are rounded down and up in turn."""
    # libjpeg continues rows to whole blocks before it averages, but columns after it.
    plane = _fill(plane, 2, 16)
    total = plane.unflatten(-2, (-1, 2)).sum(-2).unflatten(-1, (-1, 2)).sum(-1)
    bias = 1 + torch.arange(total.shape[-1], device=plane.device) % 2
    return _floor((total + bias) / 4)


def _double(plane: Tensor) -> Tensor:
    """Interpolate with weights 3/4 and 1/4, or repeat where libjpeg repeats."""
    if plane.shape[-1] <= 2:
        return plane.repeat_interleave(2, -2).repeat_interleave(2, -1)
    before, after = _neighbours(plane, -2)
    rows = torch.stack([3 * plane + before, 3 * plane + after], -2).flatten(-3, -2)
    before, after = _neighbours(rows, -1)
    return _floor(torch.stack([3 * rows + before + 8, 3 * rows + after + 7], -1).flatten(-2) / 16)


def _neighbours(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the values before and after each position; the ends are repeated."""
    last = x.shape[dim] - 1
    before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, last)], dim)
    return before, torch.cat([x.narrow(dim, 1, last), x.narrow(dim, last, 1)], dim)


def _to_blocks(plane: Tensor) -> Tensor:
    """``[B, H, W]`` to ``[B, n, 8, 8]``, blocks in raster order."""
    blocks = plane.unflatten(-1, (-1, 8)).unflatten(1, (-1, 8))
    return blocks.transpose(2, 3).flatten(1, 2)


def _from_blocks(blocks: Tensor, rows: int) -> Tensor:
    """Undo :func:`_to_blocks` for this number of rows of blocks."""
    return blocks.unflatten(1, (rows, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _transform(blocks: Tensor) -> Tensor:
    """Return 8 times the orthonormal cosine transform ``[..., u, v]`` of blocks ``[..., y, x]``.

    Rounded to quarters after the rows, and to whole numbers after the columns.
    """
    cosines = blocks.new_tensor(_COSINES).mT
    rows = _rounded_product(blocks - 128, cosines, 11)
    return _rounded_product(rows.mT, cosines, 15)


def _inverse(coefficients: Tensor) -> Tensor:
    """Return the blocks ``[..., y, x]`` of coefficients ``[..., u, v]``, rounded as in libjpeg."""
    cosines = coefficients.new_tensor(_COSINES)
    columns = _rounded_product(coefficients, cosines, 11)
    return _clip(_rounded_product(columns.mT, cosines, 18) + 128)


def _rounded_product(x: Tensor, matrix: Tensor, bits: int) -> Tensor:
    """Return ``x @ matrix / 2**bits`` of whole numbers, rounded, halves up.

    The sums take up to 31 bits. The lowest 7 bits of the matrix are multiplied separately, and
    their carry is added: each sum then fits the 24 bits of float32, and only the result is rounded.
    """
    high = (matrix / 2**7).floor()
    carry = _floor((x @ (matrix - 2**7 * high) + 2 ** (bits - 1)) / 2**7)
    return _floor((x @ high + carry) / 2 ** (bits - 7))


def _in_order(blocks: Tensor) -> Tensor:
    """Return blocks ``[B, n, 8, 8]`` in file order, ``[B, n, 64]``."""
    order = torch.tensor(_ZIGZAG, device=blocks.device)
    return blocks.flatten(2).index_select(2, order)


@functools.cache
def _tables_of_all(qualities: range) -> Tensor:
    """Return the standard tables of several qualities ``[Q, 2, 8, 8]``; every file may ask."""
    return torch.stack([standard_tables(quality) for quality in qualities])
