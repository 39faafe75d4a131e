"""Panel of a front end: its kernels, transmission, pupil, shutter or PSFs."""

import inspect
from collections.abc import Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from optics import (
    CodedExposure,
    CoherentImaging,
    FourierFilter,
    FrontEnd,
    IncoherentImaging,
    LearnedKernel,
    Pupil,
    VaryingImaging,
)
from optics.pupil.pupil import middle_wavelength
from optics.rays.compound_imaging import compound_pupil_in

from .cross_section import draw_cross_section
from .look import bare_axis
from .screen import seen_wavelengths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "PlaceSheet",
    "draw_filter",
    "draw_phase",
    "sheet_of_places",
    "shown_channels",
    "shown_kernels",
]

# Names of the channels of a colour camera.
_RED_GREEN_BLUE = ("red", "green", "blue")

_VISIBLE = (380e-9, 750e-9)  # metres
_MOST_CHANNELS = 6  # whose PSFs are drawn
_MOST_KERNELS, _ABREAST = 12, 6  # kernels drawn, in total and in a row
_MOST_PLACES = 3  # along a side of the picture, of the PSFs drawn


def draw_filter(figure: "SubFigure | Figure", front_end: FrontEnd) -> None:
    """Draw a learned kernel (signed response of each channel), Fourier transmission, or PSFs.

    A pupil with elements is drawn as its PSFs and its phase. PSFs that vary across the picture are
    drawn for a grid of places, side by side, and beside them the cross-section of a lens of several
    surfaces. For coherent imaging the pupil is drawn. A front end
    of your own is drawn by its ``psf()``, ``[h, w]`` or ``[C, h, w]``; without one, a text says
    that it has no drawing.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        Figure to fill.
    front_end : optics.FrontEnd
    """
    if isinstance(front_end, LearnedKernel):
        _draw_kernels(figure, front_end)
    elif isinstance(front_end, FourierFilter):
        _draw_transmission(figure, front_end)
    elif isinstance(front_end, CodedExposure):
        _draw_shutter(figure, front_end)
    elif isinstance(front_end, IncoherentImaging):
        psf, shown = front_end.psf().detach().cpu(), shown_channels(front_end)
        pupil, rest = front_end.pupil, figure
        if pupil is not None and len(pupil.elements):
            ratios = (1.6, len(shown) + 0.4)
            one, rest = figure.subfigures(1, 2, width_ratios=ratios, squeeze=False)[0]
            draw_phase(one, one.subplots(), pupil)
        _draw_spots(rest, psf[[*shown]].numpy(), [*shown.values()])
        sharp = " in focus" if front_end.draws else ""
        light = psf.sum((-2, -1)).mean() if front_end.draws else front_end.throughput().detach()
        figure.suptitle(f"point-spread functions{sharp}, throughput {float(light):.2f}")
    elif isinstance(front_end, CoherentImaging):
        _draw_pupil(figure, front_end)
    elif isinstance(front_end, VaryingImaging):
        sheet, shown, rest = sheet_of_places(front_end), shown_channels(front_end), figure
        traced = compound_pupil_in(front_end)
        if traced is not None:
            ratios = (1.6, len(shown) + 0.4)
            one, rest = figure.subfigures(1, 2, width_ratios=ratios, squeeze=False)[0]
            draw_cross_section(one.subplots(), traced)
        _draw_spots(rest, sheet.spots[[*shown]], [*shown.values()])
        light, sharp = float(front_end.throughput().detach()), " in focus" * front_end.draws
        mean = " over the working distances" * front_end.draws
        figure.suptitle(
            f"point-spread functions{sharp} at {sheet.places}, throughput {light:.2f}{mean}"
        )
    elif (psf := _own_psf(front_end)) is not None:
        shown = _some(_channel_names(len(psf)))
        _draw_spots(figure, psf[[*shown]].numpy(), [*shown.values()])
        light = float(front_end.throughput().detach())
        figure.suptitle(f"point-spread functions, throughput {light:.2f}")
    else:
        figure.text(
            0.5,
            0.5,
            f"{type(front_end).__name__} has no drawing:\nit has no psf() of [h, w] or [C, h, w]",
            ha="center",
            va="center",
            fontsize=9,
        )


def _own_psf(front_end: FrontEnd) -> Tensor | None:
    """PSFs ``[C, h, w]`` from the ``psf()`` of a front end of another library, or None."""
    psf = getattr(front_end, "psf", None)
    if not callable(psf):
        return None
    try:
        inspect.signature(psf).bind()
    except (TypeError, ValueError):  # psf() needs arguments, or its signature is unknown
        return None
    spots = psf()
    if not isinstance(spots, Tensor) or spots.ndim not in (2, 3) or not spots.is_floating_point():
        return None
    spots = spots.detach().cpu().float()
    if not bool(spots.isfinite().all() and (spots > 0).any()):
        return None
    return spots.reshape(-1, *spots.shape[-2:])


def shown_channels(
    front_end: IncoherentImaging | VaryingImaging | CoherentImaging,
) -> dict[int, str]:
    """Up to six channels of the scene, evenly from the first to the last, and their names.

    A channel is named after its wavelength; three channels of descending visible wavelengths are
    named red, green and blue; a single channel has no name.
    """
    pupil, count = front_end.pupil, front_end.in_channels
    bands = [] if pupil is None else seen_wavelengths(front_end, pupil).tolist()
    mixed = getattr(front_end, "colour", None) is not None
    descend = all(long > short for long, short in pairwise(bands))
    colours = descend and all(_VISIBLE[0] <= band <= _VISIBLE[1] for band in bands)
    if len(bands) == count > 1 and (mixed or count != 3 or not colours):
        names = [f"{1e9 * wavelength:.0f} nm" for wavelength in bands]
    else:
        names = _channel_names(count)
    return _some(names)


def _channel_names(count: int) -> Sequence[str]:
    """Names of channels of unknown wavelength; three are those of a colour camera."""
    if count == 3:
        return _RED_GREEN_BLUE
    return [""] if count == 1 else [str(number) for number in range(count)]


def _some(names: Sequence[str]) -> dict[int, str]:
    """Up to six of the channels with these names, by their number."""
    count = len(names)
    chosen = torch.linspace(0, count - 1, min(count, _MOST_CHANNELS)).round().long()
    return {number: names[number] for number in map(int, chosen)}


class PlaceSheet(NamedTuple):
    """PSFs of several places in the picture, arranged side by side like the places."""

    spots: np.ndarray
    """``[C, H, W]``, a sheet for each channel; NaN between two places."""
    places: str
    """Which places these are, in words."""


def sheet_of_places(front_end: VaryingImaging, *, distance: float | None = None) -> PlaceSheet:
    """Arrange the PSFs of up to 3 x 3 places, from border to border of the picture.

    They are in focus, or those of a scene at ``distance``, in metres.
    """
    psfs = front_end.psf(distance=distance).detach().cpu()
    count = psfs.shape[:2]
    chosen = [torch.linspace(0, n - 1, min(n, _MOST_PLACES)).round().long() for n in count]
    shown = psfs[chosen[0]][:, chosen[1]]
    gap = max(1, psfs.shape[-1] // 15)
    framed = functional.pad(shown, (0, gap, 0, gap), value=torch.nan)
    rows, columns, channels, height, width = framed.shape
    spots = framed.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    words = f"{count[0]} × {count[1]} places" if max(count) > 1 else "one place"
    if (rows, columns) != tuple(count):
        words = f"{rows} × {columns} of {words}"
    return PlaceSheet(spots[:, :-gap, :-gap].numpy(), words)


def shown_kernels(front_end: LearnedKernel) -> tuple[Tensor, list[str]]:
    """Up to twelve signed kernels ``[N, k, k]``, the first ones, and a name for each.

    The name gives the filter, counted from 0, if there are several, and the source and target
    channel if channels are mixed.
    """
    response = front_end.response.detach().cpu()  # [F, C, C or 1, k, k]
    filters, made, seen = response.shape[:3]
    channels = _channel_names(made)
    names = []
    for number, into, source in product(range(filters), channels, channels[:seen]):
        parts = [f"filter {number}"] * (filters > 1) + [f"{source} to {into}" if seen > 1 else into]
        names.append(", ".join(filter(None, parts)))
    return response.flatten(0, 2)[:_MOST_KERNELS], names[:_MOST_KERNELS]


def _draw_kernels(figure: "SubFigure | Figure", front_end: LearnedKernel) -> None:
    from matplotlib.colors import SymLogNorm

    kernels, names = shown_kernels(front_end)
    rows = -(-len(kernels) // _ABREAST)
    axes = figure.subplots(rows, -(-len(kernels) // rows), squeeze=False).ravel()
    limit = float(kernels.abs().max())
    # Linear up to a small limit: a surround of 1/100 of the centre over 50 taps is half the filter.
    scale = SymLogNorm(limit / 100, vmin=-limit, vmax=limit)
    for axis, kernel, name in zip(axes, kernels.numpy(), names, strict=False):
        drawn = axis.imshow(kernel, cmap="RdBu_r", norm=scale)
        axis.set_title(name.replace(", ", "\n"), fontsize=8)
        bare_axis(axis)
    for axis in axes[len(kernels) :]:
        axis.set_axis_off()
    ticks = [limit * part for part in (-1, -0.1, 0, 0.1, 1)]
    bar = figure.colorbar(
        drawn,
        ax=list(axes),
        shrink=0.8,
        label=f"fraction of the light,\nlinear within ±{limit / 100:.2g}",
    )
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    every = front_end.response.shape[:3].numel()
    part = f" ({len(kernels)} of {every} shown)" if len(kernels) < every else ""
    figure.suptitle(
        f"learned kernel{part}, {front_end.exposures} exposure"
        f"{'s' if front_end.exposures > 1 else ''}, "
        f"throughput {float(front_end.throughput().detach()):.2f}"
    )


def _draw_transmission(figure: "SubFigure | Figure", front_end: FourierFilter) -> None:
    transmission = front_end.transmission.detach().cpu().numpy()
    axes = figure.subplots(1, 2)
    _draw_modulus_and_phase(figure, axes[:, None], transmission[None], (-0.5, 0.5, 0.5, -0.5))
    for axis in axes:
        axis.set(xlabel="fx, cycles/pixel", ylabel="fy, cycles/pixel")
    figure.suptitle(
        f"Fourier filter, {front_end.illumination}, "
        f"throughput {float(front_end.throughput().detach()):.2f}"
    )


def _draw_pupil(figure: "SubFigure | Figure", front_end: CoherentImaging) -> None:
    pupil, shown = front_end.pupil, shown_channels(front_end)
    field = pupil.field().detach().cpu()[[*shown]].numpy()
    height, width = (500 * samples * pupil.spacing for samples in pupil.size)  # half, millimetres
    # With one wavelength, side by side; with several, a column for each.
    shape = (1, 2) if len(shown) == 1 else (2, len(shown))
    axes = figure.subplots(*shape, squeeze=False)
    pairs = axes.reshape(2, -1)
    _draw_modulus_and_phase(figure, pairs, field, (-width, width, height, -height))
    for axis, name in zip(pairs[0], shown.values(), strict=True):
        axis.set_title(name)
    for axis in axes[-1]:
        axis.set_xlabel("x, mm")
    for axis in axes[:, 0]:
        axis.set_ylabel("y, mm")
    light = float(front_end.throughput().detach())
    figure.suptitle(f"pupil in coherent light, throughput {light:.2f}")


def draw_phase(figure: "SubFigure | Figure", axis: "Axes", pupil: Pupil) -> None:
    """Draw the phase in a pupil at its middle wavelength, where light passes."""
    with torch.no_grad():
        field = pupil.field().detach().cpu().numpy()
    middle = pupil.wavelengths.index(middle_wavelength(pupil.wavelengths))
    height, width = (500 * samples * pupil.spacing for samples in pupil.size)  # half, millimetres
    drawn = axis.imshow(
        _angle(field[middle]), cmap="twilight", vmin=-np.pi, vmax=np.pi,
        extent=(-width, width, height, -height),
    )  # fmt: skip
    bar = figure.colorbar(drawn, ax=axis, shrink=0.7, label="radians")
    bar.set_ticks([-np.pi, 0, np.pi], labels=["-π", "0", "π"])
    axis.set_title(f"phase, {1e9 * pupil.wavelengths[middle]:.0f} nm")
    axis.set(xlabel="x, mm", ylabel="y, mm")


def _angle(value: np.ndarray) -> np.ndarray:
    """Phase of a field, radians; NaN where the field is 0."""
    return np.where(value == 0, np.nan, np.angle(value))


def _draw_modulus_and_phase(
    figure: "SubFigure | Figure",
    axes: np.ndarray,
    values: np.ndarray,
    extent: tuple[float, float, float, float],
) -> None:
    """Complex ``[C, h, w]`` into axes ``[2, C]``."""
    for (modulus, phase), value in zip(axes.T, values, strict=True):
        one = modulus.imshow(np.abs(value), cmap="gray", vmin=0, vmax=1, extent=extent)
        other = phase.imshow(_angle(value), cmap="twilight", vmin=-np.pi, vmax=np.pi, extent=extent)
    for row, drawn, label in zip(axes, (one, other), ("|t|", "phase, rad"), strict=True):
        figure.colorbar(drawn, ax=list(row), shrink=0.7, label=label)


def _draw_shutter(figure: "SubFigure | Figure", front_end: CodedExposure) -> None:
    code = front_end.code.detach().cpu().numpy()
    psf = front_end.psf(displacement=(front_end.motion, 0.0)).detach().cpu()
    time, path = figure.subplots(1, 2)
    time.stairs(code, np.linspace(0, 1, len(code) + 1), fill=True, color="0.3")
    time.set(xlabel="part of the exposure", ylabel="transmission", xlim=(0, 1), ylim=(0, 1.05))
    path.stairs(psf[psf.shape[0] // 2].numpy(), np.arange(len(psf) + 1) - len(psf) / 2)
    path.set(xlabel="x, pixels", ylabel="PSF of the RMS motion along x", ylim=(0, None))
    figure.suptitle(
        f"shutter, scenes move by {front_end.motion:g} pixels RMS, "
        f"throughput {float(front_end.throughput().detach()):.2f}"
    )


def _draw_spots(figure: "SubFigure | Figure", spots: np.ndarray, names: Sequence[str]) -> None:
    """Draw PSFs ``[C, h, w]``, one panel each, on one logarithmic scale."""
    from matplotlib.colors import LogNorm

    axes = np.atleast_1d(figure.subplots(1, len(spots)))
    brightest = float(np.nanmax(spots))
    scale = LogNorm(brightest / 1e4, brightest, clip=True)
    for axis, spot, name in zip(axes, spots, names, strict=True):
        drawn = axis.imshow(spot, cmap="inferno", norm=scale)
        axis.set_title(name)
        bare_axis(axis)
    figure.colorbar(drawn, ax=list(axes), shrink=0.8, label="fraction of the light")
