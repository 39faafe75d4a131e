"""Colour quantisation: a k-means palette for each picture, with real files and gradients.

::

    image [B,C,H,W] ─8 bit─► colours, counts ─kmeans─► palette, index map ─► file
        └──soft assignment around that palette──► gradient, and the training mode

:mod:`compress.kmeans` does the clustering; :mod:`compress.indexed` defines the file.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pad_sequence

from .codec import Codec, Coded, call_unseen, check_finite, check_image
from .container import HEADER_BYTES, CorruptStream, Kind, pack, unpack_all
from .given import is_number, whole_number
from .indexed import HEAD_BYTES, SCALES, IndexedPicture, by_brightness, neighbours
from .kmeans import budget, kmeans, lloyd
from .quantize import Generators

__all__ = ["KMeansCodec"]

Coding = Literal["entropy", "fixed"]

# The file describes itself: every codec of this kind reads it, so there is no model to compare.
_MODEL = 0

# Palette entries move on this grid, in 8-bit levels. Together with whole-number pixels it makes
# every sum of the clustering exact in float64, so that neither the batch, the device nor the
# number of threads can change a file.
_STEP = 1 / 16

# Of more distinct colours than this, a palette is searched for among fewer, see _fewer. No picture
# of up to 512x512 pixels has so many.
_MOST = 2**18

# And with about so many at most: k-means on them takes seconds.
_ENOUGH = 2**16

# Variance of a value that is rounded to 8 bits: no palette is known to be nearer than that.
_ROUNDING = 1 / (12 * 255**2)


class KMeansCodec(Codec):
    """A codec with a palette of at most ``colors`` for each picture, and an index for each pixel.

    Pictures are clipped to 0..1 and rounded to 8 bits, in their own colour space. The palette is
    the fixed point of k-means in 8-bit values: every pixel has the nearest entry, and every entry
    is the rounded mean of its pixels. Unused entries are not written, so a picture with fewer
    colours than ``colors`` is coded without loss, and coding a decoded picture again does not
    change it. A file depends only on the picture and the arguments below, not on the batch, the
    device or ``generator``. It is self-contained: any codec of this class with the same
    ``channels`` reads it. For a picture with more than 2^18 distinct colours, the palette is
    searched among the means of colours in cells of a few levels a side; the final fixed point is
    that of all colours.

    In training mode the reconstruction is soft. A pixel x has a share of each entry ::

        a = softmax(-|x - q|² / temperature)     c = sum(a x) / sum(a)     reconstruction = sum(a c)

    where q is the palette of the file, with the gradient of the means before rounding, and the sums
    of c are over pixels: both follow the picture. A change of brightness without clipping therefore
    changes no share, and no bits.

    The soft reconstruction is better than the file, because mixtures of entries have colours that
    no entry has. At the default temperature it is 0.1 to 0.7 dB better than the file with 2 to 8
    colours, 0.5 to 1.3 dB with 16 to 64 and 1.0 to 1.7 dB with 256, with -6 to 17 % more bits for
    up to 8 and -2 to 9 % from 16 on (pictures of phantoms and HAM10000); report quality in
    evaluation mode. (A fixed temperature suits only one number of colours: at 1e-3, 16 colours are
    1.3 dB below to 2.8 dB above their file, with 4 to 102 % more bits, and 256 are 2 to 9 dB below
    it, with 16 to 103 % more.) As the temperature goes to 0, the reconstruction approaches that of
    evaluation, up to the half level of the rounding of the palette (except for pixels equally near
    two entries, which stay between them). Its gradient approaches the mean over the pixels of an
    entry, which is the exact derivative of the unrounded palette picture almost everywhere: a
    colour moves with its pixels even where no pixel changes its entry. In evaluation mode the value
    is that of the decoded file and the gradient that of the soft reconstruction (straight through).
    Pixels clipped to 0..1 pass their gradient on.

    The bits of the ``entropy`` coding are analogous. In training they are ``noisy``: the expected
    bits of the soft assignment under the model of the file, with the soft palette. In evaluation
    they are ``rounded``: the bits of the indices, with the gradient of the former. As the
    temperature decreases, the gradients of the bits decrease to the effect of the palette's motion.
    The length of the ``fixed`` coding depends on the picture only by its number of colours: its
    rate is ``bytes`` in both modes, without a gradient. ``side_bits`` are the container, the
    palette and the flush of the coder.

    The soft picture and its gradient take about 35 bytes for each pixel and colour.

    Parameters
    ----------
    colors : int
        Maximum number of palette entries, 1 to 256.
    channels : int
        Channels of the picture.
    coding : {"entropy", "fixed"}
        Indices entropy-coded given their neighbours (:mod:`compress.indexed`), or in
        ``ceil(log2(colours))`` bits each.
    temperature : float, optional
        Softness of the assignment, a squared distance of colours in 0..1; may be set at any time.
        The shares are those of a mixture of Gaussians of standard deviation
        ``sqrt(temperature / 2)``; 1e-3 is 5.7 of 255 levels. For annealing, lower it a little after
        each step. By default it is computed for each picture: the mean squared error of q, over
        pixels and channels, and at least that of rounding to 8 bits. It follows the picture as q
        does, so that a change of contrast also changes no share.
    restarts, iterations, tolerance : int, int, float
        As in :func:`compress.kmeans.kmeans`. For training, 1 and 15 for the first two take half the
        time, with an error about 4 % larger (16 colours, phantoms of 128×128).
    seed : int
        Seed of the starts of k-means.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Agustsson et al., "Soft-to-hard vector quantization for end-to-end learning compressible
    representations", NeurIPS 2017, for the assignment, its annealing and its soft entropy.
    """

    def __init__(
        self,
        colors: int = 16,
        *,
        channels: int = 3,
        coding: Coding = "entropy",
        temperature: float | None = None,
        restarts: int = 4,
        iterations: int = 300,
        tolerance: float = 1e-2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.colors = colors
        self.channels = channels
        self.coding = coding
        self.temperature = temperature
        self.restarts = restarts
        self.iterations = iterations
        self.tolerance = tolerance
        self.seed = seed
        self._check_settings()

    def _check_settings(self) -> None:
        """Raise a ValueError if one is out of its range; they may have been set at any time."""
        self.colors = whole_number("colors", self.colors, 1, 256)
        self.channels = whole_number("channels", self.channels, 1, 2**16 - 1)
        if self.coding not in get_args(Coding):
            raise ValueError(f"coding must be one of {get_args(Coding)}, got {self.coding!r}.")
        self.restarts = whole_number("restarts", self.restarts, 1, 2**10)
        self.iterations = whole_number("iterations", self.iterations, 1, 2**20)
        if not is_number(self.tolerance) or not self.tolerance >= 0:
            raise ValueError(f"tolerance must be 0 or more, got {self.tolerance!r}.")
        self.seed = whole_number("seed", self.seed, 0, 2**63 - 1)

    @property
    def temperature(self) -> float | None:
        """Softness of the assignment, a squared distance of colours; None: computed per picture."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float | None) -> None:
        if value is not None:
            if not is_number(value) or not 1e-9 <= value < float("inf"):
                raise ValueError(
                    f"temperature must be a number of at least 1e-9, or None, got {value!r}: "
                    "colours differ by squared distances of 1e-5 and more."
                )
            value = float(value)
        self._temperature = value

    def extra_repr(self) -> str:
        """Show the settings."""
        given = "None" if self.temperature is None else f"{self.temperature:g}"
        return (
            f"colors={self.colors}, channels={self.channels}, coding={self.coding!r}, "
            f"temperature={given}, restarts={self.restarts}, iterations={self.iterations}, "
            f"tolerance={self.tolerance:g}, seed={self.seed}"
        )

    def forward(self, image: Tensor, *, generator: Generators | None = None) -> Coded:
        """Code and decode ``image`` ``[B, C, H, W]``, at least 1×1; values are clipped to 0..1.

        ``latent`` is the index map ``[B, 1, H, W]``, without a gradient.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, are not finite, or too large for a file.
        """
        del generator  # a file must not depend on it
        written: list[tuple[list[IndexedPicture], Coded]] = []
        check_image(image, self.channels)
        call_unseen(lambda values: written.append(self._written(values)), image)
        ((pictures, coded),) = written
        if not pictures:
            return replace(coded, reconstruction=image.clamp(0, 1))  # with the graph
        if not (self.training or _is_differentiated(image)):
            return coded
        priced = self.coding == "entropy"
        soft, bits_map = _soften(image, pictures, self.temperature, priced=priced)
        soft = soft.to(image.dtype)
        if not self.training:
            soft = _lend(coded.reconstruction, soft)
            bits_map = None if bits_map is None else _lend(coded.bits_map, bits_map)
        if bits_map is None:
            return replace(coded, reconstruction=soft)
        return replace(coded, reconstruction=soft, bits_map=bits_map)

    @torch.no_grad()
    def compress(self, image: Tensor) -> list[bytes]:
        """Write each picture ``[B, C, H, W]`` as a file, the same in both modes.

        With the ``entropy`` coding, a picture that is shorter in the ``fixed`` coding uses that.

        Raises
        ------
        ValueError
            If the pictures do not fit this codec, are not finite, or too large for a file.
        """
        return [
            pack(
                picture.write(fixed=self.coding == "fixed"),
                kind=Kind.KMEANS,
                size=(image.shape[-2], image.shape[-1]),
                channels=self.channels,
                model=_MODEL,
            )
            for picture in self._quantize(image)
        ]

    def decompress(self, payloads: list[bytes]) -> Tensor:
        """Return the pictures ``[B, C, H, W]`` from files of :meth:`compress`, float32 on the CPU.

        The files state their number of colours and their coding, which may be any.

        Raises
        ------
        CorruptStream
            If a payload is damaged, or was written by another codec or for other channels.
        ValueError
            If there are no payloads, or their pictures differ in size.
        """
        size, bodies = unpack_all(payloads, kind=Kind.KMEANS, channels=self.channels, model=_MODEL)
        pictures = []
        for i, body in enumerate(bodies):
            try:
                pictures.append(IndexedPicture.read(body, size, self.channels))
            except CorruptStream as error:
                raise CorruptStream(f"payload {i}: {error}") from error
        return _levels(pictures)

    def header_bytes(self, size: tuple[int, int], channels: int = 3) -> int:
        """Return the bytes of the container and of the header in front of the palette."""
        del size, channels
        return HEADER_BYTES + HEAD_BYTES

    def _written(self, image: Tensor) -> tuple[list[IndexedPicture], Coded]:
        """Return the pictures of the files, and what they are as tensors, without a gradient."""
        pictures = self._quantize(image)
        dtype = torch.promote_types(image.dtype, torch.float32)
        fixed = self.coding == "fixed"
        prices = [picture.price(fixed=fixed) for picture in pictures]
        maps = (len(pictures), 1, *image.shape[-2:])
        bits_map = torch.from_numpy(np.array([bits for bits, _ in prices])).view(maps)
        index = torch.from_numpy(np.array([picture.index for picture in pictures])).view(maps)
        return pictures, Coded(
            reconstruction=_levels(pictures).to(image) if pictures else image.clamp(0, 1),
            latent=index.to(image.device, dtype),
            bits_map=bits_map.to(image.device, dtype),
            side_bits=torch.tensor([side for _, side in prices], dtype=dtype, device=image.device),
            rate="bytes" if fixed else "noisy" if self.training else "rounded",
        )

    @torch.no_grad()
    def _quantize(self, image: Tensor) -> list[IndexedPicture]:
        """Find the palette and the index map of each picture."""
        self._check_settings()
        check_image(image, self.channels)
        check_finite(image, "the values")
        size = (image.shape[-2], image.shape[-1])
        # Raises now, not after the clustering, if no file could hold the picture.
        pack(b"", kind=Kind.KMEANS, size=size, channels=self.channels, model=_MODEL)
        wide = image.to(torch.promote_types(image.dtype, torch.float32))
        levels = (255 * wide.clamp(0, 1)).round().long().flatten(2).mT
        group = max(1, budget(image.device) // (self.restarts * self.colors * size[0] * size[1]))
        parts = levels.split(group) if len(levels) else ()
        return [picture for part in parts for picture in self._cluster(part, size)]

    def _cluster(self, levels: Tensor, size: tuple[int, int]) -> list[IndexedPicture]:
        """Cluster the colours ``[B, N, C]``, 0 to 255, of some pictures."""
        colours, counts, owners = zip(*(_distinct(picture) for picture in levels), strict=True)
        points, weights = _padded(colours), _padded(counts)
        fewer = [_fewer(*each) for each in zip(colours, counts, strict=True)]
        searched, shares = map(_padded, zip(*fewer, strict=True))
        found = kmeans(
            searched,
            self.colors,
            weights=shares,
            restarts=self.restarts,
            iterations=self.iterations,
            tolerance=self.tolerance,
            step=_STEP,
            generator=torch.Generator().manual_seed(self.seed),
        )
        # On to the fixed point of what the file can hold, among all colours.
        found = lloyd(points, weights, found.palette.round(), iterations=self.iterations, step=1.0)
        pictures = []
        for palette, labels, used, owner in zip(
            found.palette, found.labels, found.sizes > 0, owners, strict=True
        ):
            entries = palette[used].to("cpu", torch.uint8).numpy()
            order = by_brightness(entries)
            rank = np.empty(len(used), np.uint8)
            rank[used.cpu().numpy()] = np.argsort(order).astype(np.uint8)
            index = rank[labels[owner].cpu().numpy()].reshape(size)
            pictures.append(IndexedPicture(entries[order], index))
        return pictures


def _distinct(levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct rows of ``[N, C]``, 0 to 255, their counts, and which each row is."""
    owner = torch.zeros_like(levels[:, 0])
    for channel in levels.unbind(1):
        # A number for each combination of the channels so far; faster than `unique` of rows.
        owner = torch.unique(256 * owner + channel, return_inverse=True)[1]
    counts = owner.bincount()
    colours = levels.new_empty(len(counts), levels.shape[1])
    colours[owner] = levels
    return colours, counts, owner


def _fewer(colours: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return colours ``[N, C]`` and their counts; of very many, means of those in one cell.

    Cells are cubes of 2, 4, 8 or 16 levels a side, as small as leaves :data:`_ENOUGH` of them, and
    means are rounded to the grid of the palette. Of up to four channels there are never more cells
    of 16 levels; of more channels there may be, and then every n-th colour stands for all, in the
    order of their values.
    """
    if len(colours) <= _MOST:
        return colours, counts
    for side in (2, 4, 8, 16):
        cells, _, owner = _distinct(colours.div(side, rounding_mode="floor"))
        if len(cells) <= _ENOUGH:
            break
    else:
        every = math.ceil(len(colours) / _ENOUGH)
        return colours[::every], counts[::every]
    columns = torch.cat([colours * counts[:, None], counts[:, None]], 1)
    sums = columns.new_zeros(len(cells), columns.shape[1]).index_add_(0, owner, columns)
    means = sums[:, :-1].double() / sums[:, -1:]
    return (means / _STEP).round() * _STEP, sums[:, -1]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True).double()


def _levels(pictures: list[IndexedPicture]) -> Tensor:
    """Return the pictures ``[B, C, H, W]``, float32 in 0..1."""
    levels = np.stack([picture.palette[picture.index] for picture in pictures])
    return torch.from_numpy(levels).movedim(-1, 1).contiguous().float() / 255


# --- the soft picture --------------------------------------------------------------------------


def _is_differentiated(x: Tensor) -> bool:
    """Whether a gradient to ``x`` is asked for, backwards or forwards."""
    backwards = torch.is_grad_enabled() and x.requires_grad
    return backwards or forward_ad.unpack_dual(x).tangent is not None


def _lend(value: Tensor, soft: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``soft``: the bracket is exactly 0."""
    return value + (soft - soft.detach())


def _soften(
    image: Tensor, pictures: list[IndexedPicture], temperature: float | None, *, priced: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the soft reconstruction ``[B, C, H, W]`` and, if priced, its bits ``[B, 1, H, W]``.

    Formulas at :class:`KMeansCodec`; everything is differentiable in ``image``. Where all pixels
    have but the least share in an entry, its colour is held by a millionth of a pixel of the
    palette.
    """
    size = image.shape[-2:]
    dtype = torch.promote_types(image.dtype, torch.float32)
    counts = torch.tensor([len(p.palette) for p in pictures])
    absent = (torch.arange(int(counts.max())) >= counts[:, None]).to(image.device)
    index = torch.from_numpy(np.stack([p.index for p in pictures])).to(image.device)
    # Squared distances lose all meaning in 8 bits of mantissa.
    with torch.autocast(image.device.type, enabled=False):
        pixels = image.to(dtype).flatten(2).mT
        pixels = _lend(pixels.detach().clamp(0, 1), pixels)
        owner = index.flatten(1)[..., None].long().expand_as(pixels)
        entries = [torch.from_numpy(p.palette) for p in pictures]
        palette = pad_sequence(entries, batch_first=True).to(image.device, dtype) / 255
        palette = _lend(palette, _means(pixels, owner, palette.shape[1]))
        # -|x - q|², less -|x|², which the softmax does not see. Channel by channel, because a
        # matrix product may be done in TF32.
        near = -palette.square().sum(-1)[:, None]
        for x, q in zip(pixels.unbind(2), palette.unbind(2), strict=True):
            near = torch.addcmul(near, x[..., None], q[:, None], value=2)
        softness = temperature
        if softness is None:
            error = pixels - palette.gather(1, owner)
            softness = error.square().mean((1, 2), keepdim=True).clamp_min(_ROUNDING)
        # After the division, whose slope by the temperature would be that of infinity.
        near = (near / softness).masked_fill(absent[:, None], -torch.inf)
        share = near.softmax(-1)
        centres = (share.mT @ pixels + 1e-6 * palette) / (share.sum(1)[..., None] + 1e-6)
        reconstruction = (share @ centres).mT.unflatten(-1, size)
        bits = _soft_bits(share, 255 * centres, pictures, absent, size) if priced else None
    return reconstruction, bits


def _means(pixels: Tensor, owner: Tensor, count: int) -> Tensor:
    """Return the means ``[B, K, C]`` of the ``pixels`` ``[B, N, C]`` that each entry owns.

    ``owner`` is that of every value, of the same shape; an entry that has none is 0.
    """
    sums = pixels.new_zeros(len(pixels), count, pixels.shape[2])
    sizes = torch.zeros_like(sums).scatter_add(1, owner, torch.ones_like(pixels))
    return sums.scatter_add(1, owner, pixels) / sizes.clamp_min(1)


def _soft_bits(
    share: Tensor, colours: Tensor, pictures: list[IndexedPicture], absent: Tensor, size: torch.Size
) -> Tensor:
    """Return the bits ``[B, 1, H, W]`` of pixels that have entries in part ``[B, H*W, K]``.

    The cross-entropy of a pixel's shares under the model of the file, in which the logarithm of
    ``k`` is averaged over the shares of the neighbour.
    """
    scale = torch.tensor([SCALES[p.scale - 1] for p in pictures]).to(colours)
    distance = (colours[:, :, None] - colours[:, None]).square().sum(-1)
    price = torch.log1p(distance / scale[:, None, None])  # -log k
    given = (share @ price).unflatten(1, size)
    left, up = neighbours(given, price[:, 0])
    cost = left + up + 1e4 * absent[:, None, None]  # an absent entry has no chance
    nats = (share.unflatten(1, size) * cost).sum(-1) + (-cost).logsumexp(-1)
    return nats[:, None] / np.log(2)
