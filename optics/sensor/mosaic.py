"""Colour filter arrays: one colour for each pixel, and demosaicing.

A pattern tiles the sensor from its upper left corner. It is one of

- ``"rggb"``, ``"bggr"``, ``"grbg"``, ``"gbrg"``: two rows of two pixels, Bayer's (US patent
  3 971 065, 1976), or any other four letters;
- rows of letters, such as ``("rgb", "brg", "gbr")``, of either case;
- an integer tensor or array ``[h, w]`` of channel indices, such as rawpy's ``raw_pattern``.

The missing colours of a pixel are interpolated, or the mosaic is returned without interpolation.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from optics.quantity import check_tensor, full_precision, has_values, image_size, looked_at

__all__ = [
    "ColourFilterArray",
    "Demosaicing",
    "Interpolation",
    "Pattern",
    "cfa_indices",
    "demosaic",
    "mosaic",
    "pack_mosaic",
    "unpack_mosaic",
]

Pattern = str | Sequence[str] | Tensor
Interpolation = Literal["bilinear", "malvar"]
Demosaicing = Literal["bilinear", "malvar", "packed", "none"]


def cfa_indices(pattern: Pattern, *, channels: str = "rgb") -> Tensor:
    """Channel index of each pixel in one period of a pattern.

    Parameters
    ----------
    pattern : str, rows of letters, or Tensor ``[h, w]``
        See :mod:`optics.sensor.mosaic`.
    channels : str
        One letter for each channel of the picture, in order.

    Returns
    -------
    Tensor, int64 ``[h, w]``

    Raises
    ------
    TypeError
        For a pattern that is a number.
    ValueError
        For rows of unequal length, a letter or index that is not a channel, or a channel without a
        pixel, which could not be interpolated.
    """
    letters = isinstance(channels, Sequence) and all(isinstance(each, str) for each in channels)
    if not letters or not channels or len(set(channels)) != len(channels):
        raise ValueError(f"channels must be different letters, such as 'rgb', not {channels!r}")
    if isinstance(pattern, np.ndarray):  # of indices, or of letters
        given = np.asarray(pattern)
        pattern = torch.tensor(given.tolist()) if given.dtype.kind in "uif" else given.tolist()
    if not isinstance(pattern, Sequence | Tensor):
        raise TypeError(f"pattern must be rows of letters, or a Tensor, not {pattern!r}")
    if isinstance(pattern, Tensor):
        if pattern.ndim != 2 or pattern.numel() == 0 or pattern.is_floating_point():
            raise ValueError(
                "a pattern of indices must be an integer tensor [h, w], not "
                f"{pattern.dtype} {tuple(pattern.shape)}"
            )
        indices = pattern.long()
        if not looked_at(indices):  # reading them would make an accelerator wait
            return indices
        seen = set(indices.flatten().tolist())
    else:
        if isinstance(pattern, str) and len(pattern) != 4:
            raise ValueError(
                f"pattern must be four letters for 2 x 2 pixels, such as 'rggb', not {pattern!r}; "
                "give a larger one as rows, such as ('rgb', 'brg', 'gbr')"
            )
        rows = [pattern[:2], pattern[2:]] if isinstance(pattern, str) else [*pattern]
        if not all(isinstance(row, Sequence) for row in rows):
            raise TypeError(f"pattern must be rows of letters, or a Tensor, not {pattern!r}")
        if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
            raise ValueError(f"pattern must have rows of one length, not {rows}")
        # Data sheets write RGGB. If channels use both cases of a letter, case distinguishes them.
        places = {letter.swapcase(): place for place, letter in enumerate(channels)}
        places |= {letter: place for place, letter in enumerate(channels)}
        strangers = sorted({letter for row in rows for letter in row} - set(places))
        if strangers:
            raise ValueError(
                f"pattern {pattern!r} has {strangers}, which are not among channels={channels!r}"
            )
        layout = [[places[letter] for letter in row] for row in rows]
        seen = set(itertools.chain(*layout))
        indices = torch.tensor(layout)
    if seen != set(range(len(channels))):
        raise ValueError(
            f"the pattern must contain every channel of {channels!r}, 0 to {len(channels) - 1}, "
            f"and no other, but it has {sorted(seen)}"
        )
    return indices


def mosaic(image: Tensor, pattern: Pattern, *, channels: str = "rgb") -> Tensor:
    """Mosaic of a picture behind a colour filter array: each pixel keeps one channel.

    The light of the other channels is lost: two thirds of it with a Bayer array.

    Parameters
    ----------
    image : Tensor ``[B, C, H, W]``
        Irradiance of each channel at every pixel.
    pattern : str, rows of letters, or Tensor ``[h, w]``
        Channel of each pixel.
    channels : str
        One letter for each of the C channels.

    Returns
    -------
    Tensor ``[B, 1, H, W]``

    Raises
    ------
    TypeError
        When the picture is not a Tensor, or as :func:`cfa_indices`.
    ValueError
        For a picture without these channels, or as :func:`cfa_indices`.
    """
    indices = cfa_indices(pattern, channels=channels)
    check_tensor("image", image)
    if image.ndim != 4 or image.shape[1] != len(channels):
        raise ValueError(
            f"image must be [B, {len(channels)}, H, W] for channels={channels!r}, not "
            f"{tuple(image.shape)}"
        )
    return select(image, indices.to(image.device, non_blocking=True))


class ColourFilterArray(nn.Module):
    """A colour filter array in front of a sensor, with the demosaicing after it.

    Parameters
    ----------
    pattern, channels
        As in :func:`optics.demosaic`.
    method : {"bilinear", "malvar", "packed", "none"}
        ``bilinear`` and ``malvar`` interpolate as :func:`optics.demosaic`. ``packed`` rearranges
        the mosaic as :func:`optics.pack_mosaic`, one channel for each pixel of the pattern.
        ``none`` returns the mosaic unchanged.

    Raises
    ------
    ValueError
        As these functions do.
    """

    def __init__(
        self, pattern: Pattern, channels: str = "rgb", *, method: Demosaicing = "bilinear"
    ) -> None:
        super().__init__()
        if method not in get_args(Demosaicing):
            raise ValueError(f"method must be one of {get_args(Demosaicing)}, not {method!r}")
        indices = cfa_indices(pattern, channels=channels)
        self.channels = channels
        self.method: Demosaicing = method
        self.rows = "/".join("".join(channels[i] for i in row) for row in indices.tolist())
        self.indices: Tensor
        self.kernel: Tensor | None
        # The pattern is a property of the device, not a part of the state.
        self.register_buffer("indices", indices, persistent=False)
        kernel = malvar_kernel(indices) if method == "malvar" else None
        self.register_buffer("kernel", kernel, persistent=False)

    @property
    def period(self) -> tuple[int, int]:
        """Rows and columns of the pattern, pixels."""
        return self.indices.shape[0], self.indices.shape[1]

    @property
    def interpolates(self) -> bool:
        """Whether all colours of each pixel are interpolated; otherwise the mosaic is returned."""
        return self.method in get_args(Interpolation)

    @property
    def picture_channels(self) -> int:
        """Channels of one exposure after demosaicing: the colours, the pixels of a period, or 1."""
        if self.interpolates:
            return len(self.channels)
        return math.prod(self.period) if self.method == "packed" else 1

    def forward(self, image: Tensor, *, exposures: int = 1) -> Tensor:
        """Mosaic each exposure.

        Parameters
        ----------
        image : Tensor ``[B, exposures * C, H, W]``
        exposures : int
            Number of exposures, one after another in the channels.

        Returns
        -------
        Tensor ``[B, exposures, H, W]``

        Raises
        ------
        ValueError
            When the number of channels is not that of the exposures.
        """
        colours = len(self.channels)
        if image.ndim != 4 or image.shape[1] != exposures * colours:
            raise ValueError(
                f"a colour filter array takes [B, {exposures} exposures * {colours} channels "
                f"{self.channels!r}, H, W], not {tuple(image.shape)}"
            )
        single = image.unflatten(1, (exposures, colours)).flatten(0, 1)
        return select(single, self.indices).unflatten(0, (image.shape[0], exposures)).squeeze(2)

    def demosaic(self, raw: Tensor) -> Tensor:
        """Demosaic each exposure, or return its mosaic, as ``method`` says.

        Parameters
        ----------
        raw : Tensor ``[B, exposures, H, W]``

        Returns
        -------
        Tensor ``[B, exposures * C, H, W]``
            Packed ``[B, exposures * h * w, H / h, W / w]``; with ``none`` as given.

        Raises
        ------
        ValueError
            For a picture that is smaller than an interpolation needs, or not made of whole
            periods where it is packed.
        """
        if self.method == "none":
            return raw
        if self.method == "packed":
            return pack_mosaic(raw, self.period)
        single = raw.flatten(0, 1)[:, None]
        if self.kernel is not None:
            full = filter_mosaic(single, self.kernel)
        else:
            full = interpolate(single, self.indices, len(self.channels))
        return full.unflatten(0, raw.shape[:2]).flatten(1, 2)

    def in_colour(self, picture: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a step that needs pictures in all colours to the result of :meth:`demosaic`.

        A mosaic is expanded to all colours by repeating the value of each pixel; after the step,
        each pixel keeps its own colour. This is exact for a step that treats each pixel separately,
        such as the difference of two exposures. It is wrong for a step that uses neighbouring
        pixels, such as a convolution.

        Parameters
        ----------
        picture : Tensor
            Result of :meth:`demosaic`, in its shape.
        step : callable
            Function from ``[B, exposures * C, H, W]`` to ``[B, N * C, H, W]``.

        Returns
        -------
        Tensor
            N exposures, in the shape of :meth:`demosaic`.
        """
        if self.interpolates:
            return step(picture)
        packed = self.method == "packed"
        raw = unpack_mosaic(picture, self.period) if packed else picture
        colours = len(self.channels)
        spread = raw[:, :, None].expand(-1, -1, colours, -1, -1).flatten(1, 2)
        made = step(spread).unflatten(1, (-1, colours))
        kept = select(made.flatten(0, 1), self.indices).unflatten(0, made.shape[:2])
        return self.demosaic(kept.squeeze(2))

    def extra_repr(self) -> str:
        """Name the pattern, row by row."""
        return f"{self.rows}, channels={self.channels!r}, method={self.method!r}"


def select(image: Tensor, indices: Tensor) -> Tensor:
    """Mosaic of a picture by indices on the same device."""
    tiled = _tiled(indices, image.shape[-2], image.shape[-1])
    raw = image[:, :1]
    for channel in range(1, image.shape[1]):
        raw = torch.where(tiled == channel, image[:, channel : channel + 1], raw)
    return raw


def demosaic(
    raw: Tensor,
    pattern: Pattern,
    *,
    channels: str = "rgb",
    method: Interpolation = "bilinear",
) -> Tensor:
    """Demosaic raw data: interpolate the missing channels; measured values are not changed.

    Parameters
    ----------
    raw : Tensor ``[B, 1, H, W]``
        Mosaic, at least one period of the pattern in size.
    pattern : str, rows of letters, or Tensor ``[h, w]``
        Channel of each pixel.
    channels : str
        One letter for each channel.
    method : {"bilinear", "malvar"}
        ``bilinear``: normalised convolution (Knutsson and Westin, CVPR 1993, p. 515) with a tent
        that reaches to the next period. For Bayer arrays this is bilinear interpolation, for other
        arrays a weighted mean of the nearest samples of a colour. ``malvar``: the linear 5 x 5
        filters of Malvar, He and Cutler, ICASSP 2004, vol. 3, p. 485, fig. 2, for Bayer arrays;
        they are sharper, and may leave the range of the data at edges.

    Returns
    -------
    Tensor ``[B, C, H, W]``
        Linear in ``raw``. Half precision is computed, and returned, in float32. With ``bilinear`` a
        NaN or an infinity spreads only to interpolated values of its own channel, as far as the
        tent reaches; with ``malvar``, which uses all channels, to all channels of its neighbours.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor, or as :func:`cfa_indices`.
    ValueError
        For raw data of the wrong shape or smaller than the pattern, an unknown method, ``malvar``
        with an array that is not a Bayer array, or as :func:`cfa_indices`.
    """
    indices = cfa_indices(pattern, channels=channels)
    if method not in get_args(Interpolation):
        raise ValueError(
            f"method must be one of {get_args(Interpolation)}, not {method!r}; pack_mosaic "
            "rearranges a mosaic to channels"
        )
    check_tensor("raw", raw)
    if raw.ndim != 4 or raw.shape[1] != 1 or not raw.is_floating_point():
        raise ValueError(
            f"raw must be real floating point [B, 1, H, W], not {raw.dtype} {tuple(raw.shape)}"
        )
    if method == "malvar":
        return filter_mosaic(raw, malvar_kernel(indices).to(raw.device, non_blocking=True))
    return interpolate(raw, indices.to(raw.device, non_blocking=True), len(channels))


def pack_mosaic(raw: Tensor, period: tuple[int, int] = (2, 2)) -> Tensor:
    """Rearrange a mosaic to one channel for each pixel of the pattern, in raster order.

    Nothing is interpolated. It is the usual input of networks for raw data (Chen, Chen, Xu and
    Koltun, Learning to see in the dark, CVPR 2018, sec. 3.2). For ``"rggb"`` the channels are red,
    green beside red, green beside blue, and blue.

    Parameters
    ----------
    raw : Tensor ``[B, E, H, W]``
        Mosaics.
    period : (int, int), pixels
        Rows h and columns w of the pattern.

    Returns
    -------
    Tensor ``[B, E * h * w, H / h, W / w]``
        Mosaic by mosaic; channel ``w * i + j`` of each holds ``raw[..., i::h, j::w]``.

    Raises
    ------
    TypeError
        When ``raw`` is not a Tensor.
    ValueError
        For mosaics of the wrong shape, or not of whole periods, or a period below one pixel.
    """
    h, w = image_size(period, "period")
    check_tensor("raw", raw)
    if raw.ndim != 4 or raw.shape[-2] % h or raw.shape[-1] % w:
        raise ValueError(
            f"raw must be [B, E, H, W] of whole periods of {h} x {w} pixels to be packed, not "
            f"{tuple(raw.shape)}: crop it, or choose another size"
        )
    rows, columns = raw.shape[-2] // h, raw.shape[-1] // w
    phases = raw.unflatten(3, (columns, w)).unflatten(2, (rows, h))  # [B, E, H / h, h, W / w, w]
    return phases.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def unpack_mosaic(packed: Tensor, period: tuple[int, int] = (2, 2)) -> Tensor:
    """Rearrange channels to a mosaic: the inverse of :func:`optics.pack_mosaic`.

    Parameters
    ----------
    packed : Tensor ``[B, E * h * w, H / h, W / w]``
    period : (int, int), pixels
        Rows h and columns w of the pattern.

    Returns
    -------
    Tensor ``[B, E, H, W]``

    Raises
    ------
    TypeError
        When ``packed`` is not a Tensor.
    ValueError
        When the number of channels is not a multiple of h w, or for a period below one pixel.
    """
    h, w = image_size(period, "period")
    check_tensor("packed", packed)
    if packed.ndim != 4 or packed.shape[1] % (h * w):
        raise ValueError(
            f"packed must be [B, E * {h * w}, H, W], a channel for each of {h} x {w} phases, not "
            f"{tuple(packed.shape)}"
        )
    phases = packed.unflatten(1, (-1, h, w))  # [B, E, h, w, H / h, W / w]
    return phases.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


def _tiled(indices: Tensor, height: int, width: int) -> Tensor:
    h, w = indices.shape
    return indices.repeat(-(-height // h), -(-width // w))[:height, :width]


def interpolate(raw: Tensor, indices: Tensor, channels: int) -> Tensor:
    """Weighted mean of the samples of a channel under a tent, by normalised convolution."""
    h, w = indices.shape
    _check_size(raw, h, w)
    raw = _full_precision(raw)
    own = _tiled(indices, raw.shape[-2], raw.shape[-1]) == torch.arange(
        channels, device=raw.device
    ).view(-1, 1, 1)
    weights = own.to(raw.dtype)[None]
    # Any window of 2 h - 1 rows holds a sample of every channel, also where the edge cuts it.
    tent = _tent(h, raw)[:, None] * _tent(w, raw)
    kernel = tent.expand(channels, 1, -1, -1)
    border = (h - 1, w - 1)
    with full_precision(raw):
        total = functional.conv2d(weights, kernel, padding=border, groups=channels)
        # Selected, not multiplied: 0 times a NaN or an infinity of another colour is NaN.
        gathered = functional.conv2d(
            torch.where(own, raw, 0.0), kernel, padding=border, groups=channels
        )
    return torch.where(own, raw, gathered / total)


def filter_mosaic(raw: Tensor, kernel: Tensor) -> Tensor:
    """Interpolate three channels at each pixel of a 2 x 2 array by a single convolution."""
    _check_size(raw, 4, 4)
    raw = _full_precision(raw)
    height, width = raw.shape[-2:]
    # A mirror through the last row of pixels keeps the colours of the array in place.
    padded = functional.pad(raw, (2, 2 + width % 2, 2, 2 + height % 2), mode="reflect")
    with full_precision(raw):
        filtered = functional.conv2d(padded, kernel.to(raw.dtype), stride=2)
    return functional.pixel_shuffle(filtered, 2)[..., :height, :width]


def malvar_kernel(indices: Tensor) -> Tensor:
    """Filters ``[12, 1, 6, 6]`` for :func:`filter_mosaic`, channel by channel and pixel by pixel.

    Malvar, He and Cutler, fig. 2: green where red or blue was read; red (blue) where green was
    read between two reds (blues) of the same row, or of the same column; red (blue) where blue
    (red) was read.
    """
    bayer = indices.shape == (2, 2)
    if bayer and has_values(indices):
        (a, b), (c, d) = indices.tolist()
        colours = sorted((a, b, c, d)) in ([0, 1, 1, 2], [0, 0, 1, 2], [0, 1, 2, 2])
        bayer = colours and (a == d or b == c)
    if not bayer:
        layout = indices.tolist() if has_values(indices) else tuple(indices.shape)
        raise ValueError(
            "method='malvar' needs a Bayer array, 'rggb', 'bggr', 'grbg' or 'gbrg', not "
            f"indices {layout}; use method='bilinear'"
        )
    # By masks rather than cases, which no compiler could follow: [3, 2, 2, 1, 1] each.
    own = indices[..., None, None] == torch.arange(3, device=indices.device).view(3, 1, 1, 1, 1)
    beside, below = own.flip(2), own.flip(1)
    measured, green, along, across = _TAPS.to(indices.device) / 8
    taps = torch.where(beside, along, torch.where(below, along.mT, across))
    taps = torch.where(own, measured, torch.where(beside & below, green, taps))
    phases = [
        functional.pad(taps[:, row, column], (column, 1 - column, row, 1 - row))
        for row, column in itertools.product(range(2), range(2))
    ]
    return torch.stack(phases, 1).reshape(12, 1, 6, 6)


_MEASURED = torch.zeros(5, 5)
_MEASURED[2, 2] = 8
_GREEN = torch.tensor(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0.0]]
)
_ALONG = torch.tensor(
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
)
_ACROSS = torch.tensor(
    [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]
).div(2)
_TAPS = torch.stack([_MEASURED, _GREEN, _ALONG, _ACROSS])


def _check_size(raw: Tensor, height: int, width: int) -> None:
    if raw.shape[-2] < height or raw.shape[-1] < width:
        raise ValueError(
            f"raw must be at least {height} x {width} pixels for this pattern and method, not "
            f"{raw.shape[-2]} x {raw.shape[-1]}"
        )


def _full_precision(raw: Tensor) -> Tensor:
    return raw if raw.dtype in (torch.float32, torch.float64) else raw.float()


def _tent(period: int, like: Tensor) -> Tensor:
    steps = torch.arange(1 - period, period, device=like.device, dtype=like.dtype)
    return 1 - steps.abs() / period
