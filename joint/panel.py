"""One panel of a figure: a matrix, a diagram, an element, the planes of one pass.

Each draws into axes, or a part of a figure, that it is given; the figures of :mod:`joint.figure`
and of reports are made of them. Nothing here needs matplotlib before something is drawn.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from classify import Reliability
from classify.intervals import wilson_intervals
from optics import (
    CodedExposure,
    CoherentImaging,
    ColourFilterArray,
    FourierFilter,
    FrontEnd,
    IncoherentImaging,
    LearnedKernel,
    VaryingImaging,
    linear_to_srgb,
)
from optics.shutter import behind_shutter

from .look import RIGHT, WRONG
from .stages import Encoding
from .system import ImagingSystem, SystemOutput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = [
    "SHADE",
    "Colours",
    "PlaceSheet",
    "PlaneColours",
    "as_codes",
    "draw_confusion",
    "draw_filter",
    "draw_light",
    "draw_picture",
    "draw_reliability",
    "in_colours",
    "label_guess",
    "label_recalls",
    "no_formulas",
    "plane_colours",
    "sheet_of_places",
    "shown_channels",
]

_BLUE = (0.13, 0.44, 0.71)
_MOST_CHANNELS = 6  # whose PSFs are drawn
_MOST_PLACES = 3  # of the picture along a side, whose PSFs are drawn

#: What the shades of a confusion matrix are, for its colour bar.
SHADE = "share of the true class"


@contextmanager
def no_formulas() -> Iterator[None]:
    """Text is text: the name of a class is no formula, whatever signs are in it."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def draw_confusion(axis: "Axes", confusion: np.ndarray, classes: Sequence[str]) -> "AxesImage":
    """Draw a confusion matrix: shade by share of the true class, number by count.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Where it is drawn.
    confusion : array ``[K, K]``
        Counts, a row for each true class.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    matplotlib.image.AxesImage
        For a colour bar.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(counts)):
        for column in range(len(counts)):
            colour = "white" if share[row, column] > 0.55 else "black"
            axis.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                color=colour,
                fontsize=8,
            )
    # Text of ticks is read as the axes were made to, whatever holds here.
    names = {"labels": list(classes), "parse_math": False}
    axis.set_xticks(range(len(classes)), rotation=45, ha="right", rotation_mode="anchor", **names)
    axis.set_yticks(range(len(classes)), **names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    return drawn


def label_recalls(
    axis: "Axes", recall: np.ndarray, intervals: np.ndarray, *, heading: str = "recall"
) -> None:
    """Write the recall of each class, and its interval, to the right of a confusion matrix.

    Parameters
    ----------
    axis : Axes
        Of :func:`draw_confusion`.
    recall : array ``[K]``
        Of each class.
    intervals : array ``[K, 2]``
        nan where there is none.
    heading : str
        Stands below the column.
    """
    beside = axis.get_yaxis_transform()  # across in widths of the axes, down in rows
    for row, (value, (low, high)) in enumerate(zip(recall, intervals, strict=True)):
        text = "no interval" if np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        axis.text(1.03, row, text, transform=beside, va="center", fontsize=8)
    axis.text(1.03, -0.02, heading, transform=axis.transAxes, va="top", fontsize=8)


def draw_reliability(axis: "Axes", reliability: Reliability, *, level: float = 0.95) -> None:
    """Draw how often predictions are right, by confidence; a shade tells the share of pictures.

    Bars below the diagonal are too sure, bars above it not sure enough; lines are Wilson's
    intervals of ``level``, for which each picture is evidence of its own.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Where it is drawn.
    reliability : classify.Reliability
    level : float
        Of the intervals, such as 0.95.
    """
    edges, count = reliability.edges, reliability.count
    share = count / count.sum()
    filled = count > 0
    axis.bar(
        edges[:-1][filled],
        reliability.accuracy[filled],
        np.diff(edges)[filled],
        align="edge",
        color=[(*_BLUE, 0.25 + 0.75 * part / share.max()) for part in share[filled]],
        edgecolor="white",
    )
    at = reliability.confidence[filled]
    low, high = wilson_intervals(reliability.accuracy[filled], count[filled], level=level).T
    axis.vlines(at, low, high, color="black", linewidth=1)
    axis.plot(at, reliability.accuracy[filled], "o", color="black", ms=3)
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel(
        f"confidence; darker bars hold more pictures\nlines: {100 * level:g} % Wilson intervals"
    )
    axis.set_ylabel("share of right predictions")


def draw_filter(figure: "SubFigure | Figure", front_end: FrontEnd) -> None:
    """Draw a learned kernel (signed response of each channel), Fourier transmission, or PSFs.

    Where PSFs change across the picture, those of a grid of places lie side by side. Of coherent
    imaging the pupil is drawn. A front end of one's own is asked for its ``psf()``, ``[h, w]`` or
    ``[C, h, w]``; without one, words say that it has no drawing.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        That it fills.
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
        _draw_spots(figure, psf[[*shown]].numpy(), [*shown.values()])
        sharp = " in focus" if front_end.draws else ""
        light = psf.sum((-2, -1)).mean() if front_end.draws else front_end.throughput().detach()
        figure.suptitle(f"point-spread functions{sharp}, throughput {float(light):.2f}")
    elif isinstance(front_end, CoherentImaging):
        _draw_pupil(figure, front_end)
    elif isinstance(front_end, VaryingImaging):
        sheet, shown = sheet_of_places(front_end), shown_channels(front_end)
        _draw_spots(figure, sheet.spots[[*shown]], [*shown.values()])
        light = float(front_end.throughput().detach())
        figure.suptitle(f"point-spread functions at {sheet.places}, throughput {light:.2f}")
    elif (psf := _own_psf(front_end)) is not None:
        shown = _some(["red", "green", "blue"] if len(psf) == 3 else _numbers(len(psf)))
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
    """PSFs ``[C, h, w]`` that a front end of another's library says it has, or None."""
    psf = getattr(front_end, "psf", None)
    if not callable(psf):
        return None
    try:
        inspect.signature(psf).bind()
    except (TypeError, ValueError):  # it must be told more, or nobody knows what
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
    """Up to six channels of the scene, from the first to the last, and their names.

    A channel is a colour, or a band by its wavelength; one alone has no name.
    """
    pupil, count = front_end.pupil, front_end.in_channels
    bands = () if pupil is None else pupil.wavelengths
    mixed = getattr(front_end, "colour", None) is not None
    if count == 3 and not mixed:
        names = ["red", "green", "blue"]
    elif len(bands) == count > 1:
        names = [f"{1e9 * float(wavelength):.0f} nm" for wavelength in bands]
    else:
        names = _numbers(count)
    return _some(names)


def _numbers(count: int) -> list[str]:
    return [""] if count == 1 else [str(number) for number in range(count)]


def _some(names: Sequence[str]) -> dict[int, str]:
    """Up to six of the channels with these names, by their number."""
    count = len(names)
    chosen = torch.linspace(0, count - 1, min(count, _MOST_CHANNELS)).round().long()
    return {number: names[number] for number in map(int, chosen)}


class PlaceSheet(NamedTuple):
    """PSFs of several places of the picture, side by side as the places lie."""

    spots: np.ndarray
    """``[C, H, W]``, a sheet for each channel; nan between two places."""
    places: str
    """Which places these are, in words."""


def sheet_of_places(front_end: VaryingImaging) -> PlaceSheet:
    """Lay out the PSFs of up to 3 x 3 places, from border to border of the picture."""
    psfs = front_end.psf().detach().cpu()
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


def _draw_kernels(figure: "SubFigure | Figure", front_end: LearnedKernel) -> None:
    from matplotlib.colors import SymLogNorm

    response = front_end.response.detach().cpu()  # [F, C, C or 1, k, k]
    kernels = response.flatten(0, 2)[:6].numpy()
    axes = np.atleast_1d(figure.subplots(1, len(kernels)))
    limit = float(np.abs(kernels).max())
    # A surround of a hundredth of the centre, spread over fifty taps, is half of the filter.
    scale = SymLogNorm(limit / 100, vmin=-limit, vmax=limit)
    shared = response.shape[2] == 1 and response.shape[1] == 3
    for number, (axis, kernel) in enumerate(zip(axes, kernels, strict=True)):
        drawn = axis.imshow(kernel, cmap="RdBu_r", norm=scale)
        axis.set_title(("red", "green", "blue")[number % 3] if shared else f"{number}")
        _bare(axis)
    ticks = [limit * part for part in (-1, -0.1, 0, 0.1, 1)]
    bar = figure.colorbar(
        drawn,
        ax=list(axes),
        shrink=0.8,
        label=f"fraction of the light,\nlinear within ±{limit / 100:.2g}",
    )
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    figure.suptitle(
        f"learned kernel, {front_end.exposures} exposure"
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
    # Of one wavelength side by side, of several a column for each.
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


def _draw_modulus_and_phase(
    figure: "SubFigure | Figure",
    axes: np.ndarray,
    values: np.ndarray,
    extent: tuple[float, float, float, float],
) -> None:
    """Complex ``[C, h, w]`` into axes ``[2, C]``; nothing has no phase."""
    for (modulus, phase), value in zip(axes.T, values, strict=True):
        one = modulus.imshow(np.abs(value), cmap="gray", vmin=0, vmax=1, extent=extent)
        angle = np.where(value == 0, np.nan, np.angle(value))
        other = phase.imshow(angle, cmap="twilight", vmin=-np.pi, vmax=np.pi, extent=extent)
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
    """Draw PSFs ``[C, h, w]``, a panel each, in one logarithmic scale."""
    from matplotlib.colors import LogNorm

    axes = np.atleast_1d(figure.subplots(1, len(spots)))
    brightest = float(np.nanmax(spots))
    scale = LogNorm(brightest / 1e4, brightest, clip=True)
    for axis, spot, name in zip(axes, spots, names, strict=True):
        drawn = axis.imshow(spot, cmap="inferno", norm=scale)
        axis.set_title(name)
        _bare(axis)
    figure.colorbar(drawn, ax=list(axes), shrink=0.8, label="fraction of the light")


@no_formulas()
def draw_light(
    figure: "SubFigure",
    output: SystemOutput,
    names: list[str],
    classes: Sequence[str],
    *,
    encoding: Encoding = "srgb",
    exposures: int = 1,
    colours: "PlaneColours | None" = None,
) -> None:
    """Draw every plane of one pass, a row for each picture.

    Parameters
    ----------
    figure : matplotlib.figure.SubFigure
        That it fills.
    output : joint.SystemOutput
        The pass.
    names : list of str
        What stands before each picture, such as its true class.
    classes : sequence of str
        Names of the classes, one of which the classifier says.
    encoding : {"srgb", "linear"}
        That of the system.
    exposures : int
        That of the system.
    colours : PlaneColours, optional
        Those of the system, see :func:`plane_colours`; by default those of three channels.
    """
    shown = PlaneColours() if colours is None else colours
    scene = in_colours(as_codes(output.scene, encoding), shown.scene)
    columns: list[tuple[str, Tensor]] = [("scene", scene)]
    if output.irradiance is not None:
        captures = output.irradiance.unflatten(1, (exposures, -1))
        # Two exposures of one filter lie side by side, each as bright as it would be alone.
        beside = torch.cat(list((captures[:, :2] * exposures).unbind(1)), -1)
        title = "after the optics" + (
            f" ({min(exposures, 2)} of {exposures} exposures)" if exposures > 1 else ""
        )
        columns.append((title, in_colours(as_codes(beside, "linear"), shown.light)))
    pictures = [("after the sensor", output.measurement), ("classifier sees", output.handed)]
    if output.developed is not None:
        pictures[:1] = [("after the sensor", output.developed), ("restored", output.measurement)]
    for title, picture in pictures:
        own = shown.developed if picture is output.developed else shown.picture
        columns.append((title, in_colours(as_codes(picture, encoding), own)))
    widths = [picture.shape[-1] / picture.shape[-2] for _, picture in columns]
    axes = figure.subplots(len(names), len(columns), width_ratios=widths, squeeze=False)
    guesses = None if output.logits is None else output.logits.argmax(1).tolist()
    for row, line in enumerate(axes):
        for axis, (title, picture) in zip(line, columns, strict=True):
            draw_picture(axis, picture[row])
            if row == 0:
                axis.set_title(title, fontsize=9)
        line[0].set_ylabel(names[row], fontsize=9)
        if guesses is not None:
            label_guess(line[-1], classes[int(guesses[row])], names[row])


def label_guess(axis: "Axes", said: str, truth: str, *, right: bool | None = None) -> None:
    """Write what a classifier says under its picture, blue where it is right."""
    right = said == truth if right is None else right
    axis.set_xlabel(f"says {said}", color=RIGHT if right else WRONG, fontsize=8)


def as_codes(pictures: Tensor, encoding: Encoding) -> Tensor:
    """Pictures as a screen takes them: light, also that of a field, is encoded as sRGB."""
    if pictures.is_complex():
        pictures = pictures.abs().square()
    return linear_to_srgb(pictures) if encoding == "linear" else pictures


Colours = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Channels that stand for red, for green and for blue on a screen."""


class PlaneColours(NamedTuple):
    """What stands for red, green and blue at the planes of a system; None as :func:`in_colours`."""

    scene: Colours | None = None
    light: Colours | None = None
    """Of one exposure."""
    picture: Colours | None = None
    """Of the measurement, and of what is made of it."""
    developed: Colours | None = None
    """Of what a restoration is given."""


def in_colours(pictures: Tensor, colours: Colours | None = None) -> Tensor:
    """Three channels that a screen can show, or one; a mean where several stand for a colour.

    Parameters
    ----------
    pictures : Tensor ``[..., C, H, W]``
        Codes.
    colours : Colours, optional
        By default three channels are red, green and blue, of one or two the first is shown in
        grey, and more are taken for bands from short to long waves: the first third of them is
        shown as blue, the last as red.

    Returns
    -------
    Tensor ``[..., 3 or 1, H, W]``
    """
    channels = pictures.shape[-3]
    if colours is None and channels < 3:
        return pictures[..., :1, :, :]
    if colours is None:
        colours = ((0,), (1,), (2,)) if channels == 3 else _from_blue_to_red(range(channels))
    return torch.stack([pictures[..., [*each], :, :].mean(-3) for each in colours], -3)


def _from_blue_to_red(order: Sequence[int]) -> Colours:
    """Divide channels, from short to long waves, into three parts as equal as can be."""
    blue, green, red = (part.tolist() for part in np.array_split(np.array(order), 3))
    return red, green, blue


def plane_colours(system: ImagingSystem) -> PlaneColours:
    """Say which channels of a system are shown as red, green and blue.

    Bands of a lens lie in the order of their wavelengths, and channels of its filters in that of
    the mean wavelength that they pass. Of several filters of a kernel the first is shown, of
    several exposures too. A phase of a packed mosaic has the colour of its pixels.
    """
    front, mosaic = behind_shutter(system.front_end), getattr(system.sensor, "cfa", None)
    pupil, mixed = getattr(front, "pupil", None), getattr(front, "colour", None)
    bands = None if pupil is None else torch.tensor([float(w) for w in pupil.wavelengths])
    scene = light = None if bands is None else _in_order(bands)
    if mixed is not None and bands is not None:
        passed = mixed.matrix.detach().cpu()[: mixed.channels // mixed.exposures]
        light = _in_order((passed @ bands.to(passed)) / passed.sum(1).clamp_min(1e-12))
    picture = light
    if isinstance(front, LearnedKernel) and front.out_channels > front.in_channels:
        count = front.in_channels
        rgb: Colours = ((0,), (1,), (2,))
        grey: Colours = ((0,), (0,), (0,))
        picture = rgb if count == 3 else _from_blue_to_red(range(count)) if count > 3 else grey
    if mosaic is not None and not mosaic.interpolates:
        picture = _of_phases(mosaic, light)
    if system.restoration is None:
        return PlaneColours(scene, light, picture)
    # It makes the channels of the scene, or some that have no names.
    made = getattr(system.restoration, "out_channels", None)
    is_scene = scene is not None and made == getattr(front, "in_channels", None)
    return PlaneColours(scene, light, scene if is_scene else None, developed=picture)


def _in_order(wavelengths: Tensor) -> Colours | None:
    """By wavelength, where there are enough channels for colours."""
    order = wavelengths.argsort(stable=True).tolist()
    return _from_blue_to_red(order) if len(order) >= 3 else None


def _of_phases(mosaic: ColourFilterArray, light: Colours | None) -> Colours:
    """The phases of each colour; of a mosaic that is not packed there is one, in grey."""
    if mosaic.picture_channels == 1:
        return ((0,), (0,), (0,))
    if light is None and len(mosaic.channels) == 3:
        light = ((0,), (1,), (2,))
    elif light is None:
        every = range(len(mosaic.channels))
        light = _from_blue_to_red(every) if len(every) > 3 else (every, every, every)
    own = mosaic.indices.flatten().tolist()
    red, green, blue = ([p for p, c in enumerate(own) if c in each] for each in light)
    return red, green, blue


def draw_picture(axis: "Axes", picture: Tensor) -> None:
    """Channels as :func:`in_colours` shows them: as colours, or one in grey."""
    array = in_colours(picture.detach().float().clamp(0, 1).cpu()).numpy()
    if len(array) == 3:
        axis.imshow(array.transpose(1, 2, 0), interpolation="nearest")
    else:
        axis.imshow(array[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axis)


def _bare(axis: "Axes") -> None:
    axis.set_xticks([])
    axis.set_yticks([])
