"""Figures of a report, in addition to those of :mod:`joint.figure`."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

import optics
from classify import LesionDataset
from joint.analysis.passes import one_pass
from joint.panel.cross_section import draw_cross_section
from joint.panel.element import (
    draw_filter,
    draw_phase,
    sheet_of_places,
    shown_channels,
    shown_kernels,
)
from joint.panel.look import (
    COLOURS,
    Look,
    blank_figure,
    looks,
    open_axis,
    panel_grid,
    plain_log_axis,
)
from joint.panel.planes import draw_light, first_of_each_class
from joint.panel.screen import plane_colours, scene_colours
from joint.system import ImagingSystem
from optics.rays.compound_imaging import compound_pupil_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["element_figures", "history_figure", "light_figure"]

Array = npt.NDArray[Any]

_SQUARE_ROOT = "shades show the square root of the light"
_CHANNELS = (COLOURS[1], COLOURS[2], COLOURS[0])  # red, green, blue
_MOST_CLASSES, _MOST_DEPTHS = 12, 6


def history_figure(
    history: Sequence[Mapping[str, Any]], *, best: int | None, monitor: str
) -> "Figure":
    """Draw each training number against the epoch, with a line at the best epoch (from 0)."""
    from matplotlib.ticker import MaxNLocator

    panels = [panel for panel in _panels(history, monitor) if panel[1]]
    figure, axes = panel_grid(len(panels), 3.5, 2.7)
    epochs = [record["epoch"] + 1 for record in history]
    for axis, (name, lines) in zip(axes, panels, strict=True):
        for (label, values), look in zip(lines.items(), looks(len(lines)), strict=True):
            axis.plot(
                epochs, values, f"{look.marker}-", color=look.colour, label=label, markersize=3
            )
        if best is not None:
            axis.axvline(best + 1, color="grey", linestyle=":", label="best epoch")
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axis.ticklabel_format(axis="y", useOffset=False)
        # A stage without a gradient has norm 0; within one decade there may be no tick.
        norms = [v for values in lines.values() for v in values if v > 0]
        if name == _NORMS and norms and max(norms) > 10 * min(norms):
            plain_log_axis(axis, "y")
        # Above the axis the legend hides no line, however many there are.
        axis.legend(
            fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False,
            borderpad=0, columnspacing=1, handlelength=1.5,
        )  # fmt: skip
        open_axis(axis)
    return figure


_NORMS = "norm of the gradient"


def _panels(
    history: Sequence[Mapping[str, Any]], monitor: str
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Name of each axis, and those of its lines that have a value in some epoch."""

    def lines(*wanted: tuple[str, str, str]) -> dict[str, list[float]]:
        found = {}
        for label, part, name in wanted:
            values = [record.get(part, {}).get(name) for record in history]
            if any(value is not None for value in values):
                found[label] = [math.nan if value is None else value for value in values]
        return found

    yield (
        "loss (total)",
        lines(("training", "train", "total"), ("validation", "validation", "loss_total")),
    )
    rates = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    shown = dict.fromkeys(("accuracy", "balanced_accuracy", *(n for n in rates if n == monitor)))
    yield "on validation", lines(*((n.replace("_", " "), "validation", n) for n in shown))
    stages = list(dict.fromkeys(name for record in history for name in _norms(record)))
    yield _NORMS, lines(*((stage.replace("_", " "), "gradient_norms", stage) for stage in stages))
    yield "rate, bits/pixel", lines(("validation", "validation", "bpp"))
    yield "PSNR, dB", lines(("validation", "validation", "psnr"))


def _norms(record: Mapping[str, Any]) -> Mapping[str, float | None]:
    return record.get("gradient_norms", {})


def light_figure(system: ImagingSystem, dataset: LesionDataset) -> "Figure":
    """Draw the light at each plane, for the first picture of each class, of up to twelve."""
    index = first_of_each_class(dataset, _MOST_CLASSES)
    shown, output = one_pass(system, dataset, index)
    columns = 2 if output.irradiance is None else 3
    figure = blank_figure(2.4 * (columns + 1), 1.75 * len(index) + 0.3)
    names = [dataset.classes[k] for k in shown.labels.tolist()]
    whole = figure.subfigures(1, 1, squeeze=False)
    draw_light(whole[0, 0], output, names, dataset.classes, colours=plane_colours(system))
    return figure


# ---------------------------------------------------------------------------- the learned element


def element_figures(front_end: optics.FrontEnd) -> Iterator[tuple["Figure", str, str]]:
    """The element itself and its transfer function: figure, title and caption of each."""
    if isinstance(front_end, optics.LearnedKernel | optics.FourierFilter):
        kernels = isinstance(front_end, optics.LearnedKernel)
        rows = 2 if kernels and len(shown_kernels(front_end)[1]) > 6 else 1
        figure = blank_figure(9.5, 1.2 + 1.7 * rows)
        draw_filter(figure, front_end)
        yield figure, "The element", "The element as learned."
    elif isinstance(front_end, optics.CodedExposure):
        figure = blank_figure(9.5, 2.9)
        draw_filter(figure, front_end)
        yield (
            figure,
            "The shutter",
            "Transmission of the shutter over the exposure, and the image of a point that moves by "
            "the RMS motion.",
        )
    elif isinstance(front_end, optics.IncoherentImaging):
        caption = "Point-spread function of each channel"
        if front_end.pupil is not None:
            caption = (
                "Phase in the pupil at the middle wavelength, where light passes, and the "
                "point-spread function of each channel in focus"
            )
        yield _pupil_figure(front_end), "Point-spread functions", f"{caption}; {_SQUARE_ROOT}."
    elif isinstance(front_end, optics.VaryingImaging):
        traced = compound_pupil_in(front_end)
        if traced is not None:
            figure = blank_figure(9.5, 3.4)
            draw_cross_section(figure.subplots(), traced)
            yield (
                figure,
                "The lens",
                "Cross-section of the lens as it is, with light of the axis, of half the field and "
                "of the picture's corner.",
            )
        sheet = sheet_of_places(front_end)
        yield (
            _places_figure(front_end, sheet.spots),
            "Point-spread functions across the picture",
            f"Point-spread functions of each channel{' in focus' * front_end.draws} at "
            f"{sheet.places}, arranged as in the picture from border to border; {_SQUARE_ROOT}.",
        )
    else:
        return
    if isinstance(front_end, _Lens) and front_end.working_distances is not None:
        at = ""
        if isinstance(front_end, optics.VaryingImaging):
            at = f" at {sheet_of_places(front_end).places}"
        yield (
            _depths_figure(front_end, front_end.working_distances),
            "Point-spread functions at the working distances",
            f"Point-spread function of the middle channel{at} at the working distances"
            f"{', six of them' if len(front_end.working_distances) > _MOST_DEPTHS else ''}; "
            f"{_SQUARE_ROOT}.",
        )
    figure, why = _transfer_figure(front_end)
    part = "shutter" if isinstance(front_end, optics.CodedExposure) else "element"
    yield figure, f"What the {part} passes of each spatial frequency", why
    if isinstance(front_end, optics.CodedExposure) and front_end.lens is not None:
        yield from element_figures(front_end.lens)


def _transfer_figure(front_end: optics.FrontEnd) -> tuple["Figure", str]:
    """Transfer function of an element along both axes, and its caption."""
    name, lines, why = _transfer(front_end)
    figure = blank_figure(6.2, max(3.2, 0.5 + 0.34 * len(lines)))  # two lines of the legend each
    axis = figure.subplots()
    found = _looks(front_end, len(lines))
    for look, (label, (frequency, along_x, along_y)) in zip(found, lines.items(), strict=True):
        for values, places, line, where in (
            (along_x, frequency[0], "-", "x"),
            (along_y, frequency[1], "--", "y"),
        ):
            axis.plot(
                places, values, f"{look.marker}{line}", color=look.colour, ms=3,
                markevery=max(1, len(places) // 8), label=f"{label}along {where}",
            )  # fmt: skip
    axis.set(xlabel="frequency, cycles/pixel", ylabel=name, xlim=(0, 0.5))
    largest = max(float(part.max()) for _, *parts in lines.values() for part in parts)
    axis.set_ylim(0, 1.05 * largest)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    open_axis(axis)
    return figure, why


def _looks(front_end: optics.FrontEnd, lines: int) -> list[Look]:
    """Looks of the lines of the scene's channels; three have the colours shown in pictures.

    See :func:`joint.panel.screen.plane_colours`.
    """
    found = looks(lines)
    if getattr(front_end, "in_channels", None) == lines == 3:
        shown = scene_colours(front_end) or ((0,), (1,), (2,))
        for colour, (channel,) in zip(_CHANNELS, shown, strict=True):
            found[channel] = found[channel]._replace(colour=colour)
    return found


_Lines = dict[str, tuple[tuple[Array, Array], Array, Array]]
_Lens = optics.IncoherentImaging | optics.VaryingImaging


def _transfer(front_end: optics.FrontEnd) -> tuple[str, _Lines, str]:
    """Label of the axis, a line for each channel along both axes, and a caption."""
    of, names = "", [""]
    with torch.no_grad():
        if isinstance(front_end, optics.LearnedKernel):
            kernels, names = shown_kernels(front_end)
            return (
                "|transfer function|",
                _axes_of(_modulus(kernels), _before(names)),
                "Modulus of the Fourier transform of each kernel shown, with its exposures "
                "subtracted. At 1 a frequency passes with all of its light, at 0 it is removed.",
            )
        if isinstance(front_end, optics.CodedExposure):
            psf = front_end.psf(displacement=(front_end.motion, 0.0)).detach().cpu()
            return (
                "|transfer function|",
                _axes_of(_modulus(psf[None]), [""]),
                "Modulus of the Fourier transform of the image of that point: the RMS motion, "
                "along x. A frequency at 0 is lost.",
            )
        if isinstance(front_end, optics.FourierFilter):
            transmission = front_end.transmission.detach().cpu()
            if front_end.illumination != "incoherent":
                return (
                    "|t|, amplitude",
                    _axes_of(transmission.abs()[None], [""]),
                    "Modulus of the amplitude transmission, the transfer function of the field "
                    "in coherent light.",
                )
            spread = torch.fft.ifft2(torch.fft.ifftshift(transmission)).abs().square()
            psf = torch.fft.fftshift(spread)[None]
        else:
            assert isinstance(front_end, _Lens)
            if front_end.pupil is not None:
                return _transfer_of_pupil(front_end, front_end.pupil)
            psf, names, of = _chosen(front_end, front_end.psf().detach().cpu())
        return (
            "MTF",
            _axes_of(optics.mtf(_padded(psf)), names),
            f"Modulation transfer function of the PSF {of}as the pixels sample it, with aliasing: "
            "the remaining contrast of a sine, relative to a large area. What the lens passes "
            "beyond half a cycle per pixel is folded back and added.",
        )


def _transfer_of_pupil(front_end: _Lens, pupil: optics.Pupil) -> tuple[str, _Lines, str]:
    """MTF from the wavefront, without the window of the PSF and without aliasing."""
    places = torch.linspace(0, 0.5, 65, dtype=torch.float64)
    area = pupil.oversample > 1  # which is in the PSF then
    along = [
        front_end.mtf(places / pupil.pixel_pitch, angle=angle, pixel=area)
        for angle in (0.0, math.pi / 2)
    ]
    found, names, of = _chosen(front_end, torch.stack(along, -2).cpu())
    both = (places.numpy(), places.numpy())
    return (
        "MTF",
        {name: (both, *each.numpy()) for name, each in zip(names, found, strict=True)},
        f"Modulation transfer function of the lens {'in focus, ' * front_end.draws}{of}"
        f"{'with' if area else 'without'} the area of the pixels (oversample={pupil.oversample})"
        f"{'' if area else ', which the data sheet includes'}: the remaining contrast of a sine, "
        "relative to a large area. Neither aliasing nor the window of the PSF raises it.",
    )


def _chosen(front_end: _Lens, each: Tensor) -> tuple[Tensor, list[str], str]:
    """Which of ``[(P, Q,) C, h, w]`` are drawn, their names, and a phrase that says so."""
    if isinstance(front_end, optics.VaryingImaging):
        of = "of the middle channel, at the place nearest to the middle and in a corner, "
        return *_middle_and_corner(each), of
    shown = shown_channels(front_end)
    return each[[*shown]], _before(shown.values()), ""


def _before(names: Iterable[str]) -> list[str]:
    """Names, if there are any, with a comma, to go before the direction of a line."""
    return [f"{name}, " if name else "" for name in names]


def _middle_and_corner(psfs: Tensor) -> tuple[Tensor, list[str]]:
    """Two PSFs ``[2, h, w]`` of the middle channel, and their names; one if all places share it."""
    rows, columns = psfs.shape[:2]
    psfs = psfs[:, :, psfs.shape[2] // 2]
    if rows == columns == 1:
        return psfs[0], [""]
    return torch.stack([psfs[rows // 2, columns // 2], psfs[-1, -1]]), ["middle, ", "corner, "]


def _padded(kernels: Tensor, size: int = 129) -> Tensor:
    """Kernels in the middle of a larger window, so that their transform is drawn smoothly."""
    height, width = (max(0, (size - n) // 2) for n in kernels.shape[-2:])
    return functional.pad(kernels, (width, width, height, height))


def _modulus(kernels: Tensor) -> Tensor:
    """Modulus of the Fourier transforms of kernels, centred."""
    return torch.fft.fftshift(torch.fft.fft2(_padded(kernels.double())), (-2, -1)).abs()


def _axes_of(transfer: Tensor, names: Sequence[str]) -> _Lines:
    """Halves of a centred ``[C, h, w]`` along x and y."""
    height, width = transfer.shape[-2:]
    y, x = height // 2, width // 2
    frequency = tuple(optics.frequencies(n)[n // 2 :].numpy() for n in (width, height))
    return {
        name: ((frequency[0], frequency[1]), each[y, x:].numpy(), each[y:, x].numpy())
        for name, each in zip(names, transfer, strict=True)
    }


def _pupil_figure(front_end: optics.IncoherentImaging) -> "Figure":
    shown = shown_channels(front_end)
    with torch.no_grad():
        psf = front_end.psf().detach().cpu()[[*shown]].numpy()
        light = float(front_end.throughput())
    pupil = front_end.pupil
    figure, axes = _panels_of(len(psf) + (pupil is not None))
    mean = " over the working distances" * front_end.draws
    figure.suptitle(f"{'PSF' if pupil is None else 'lens'}, throughput {light:.2f}{mean}")
    if pupil is not None:
        draw_phase(figure, axes.pop(0), pupil)
    _draw_spots(figure, axes, psf, [*shown.values()])
    return figure


def _places_figure(front_end: optics.VaryingImaging, sheets: Array) -> "Figure":
    shown = shown_channels(front_end)
    figure, axes = _panels_of(len(shown))
    light, mean = front_end.throughput().detach(), " over the working distances" * front_end.draws
    figure.suptitle(f"lens, throughput {float(light):.2f}{mean}")
    _draw_spots(figure, axes, sheets[[*shown]], [*shown.values()])
    height, width = front_end.psf().shape[-2:]
    for axis in axes:  # pixels of the sheet are not pixels of the picture
        axis.set(xticks=[], yticks=[], xlabel=f"{height} × {width} pixels each", ylabel="")
    return figure


def _depths_figure(front_end: _Lens, distances: Tensor) -> "Figure":
    places = torch.linspace(0, len(distances) - 1, min(len(distances), _MOST_DEPTHS))
    shown = distances[places.round().long()].tolist()
    with torch.no_grad():
        each = [
            sheet_of_places(front_end, distance=distance).spots
            if isinstance(front_end, optics.VaryingImaging)
            else front_end.psf(distance=distance).cpu().numpy()
            for distance in shown
        ]
    figure, axes = _panels_of(len(shown))
    names = [f"{distance:.3g} m" for distance in shown]
    _draw_spots(figure, axes, np.stack(each)[:, front_end.in_channels // 2], names)
    return figure


def _panels_of(count: int) -> tuple["Figure", list["Axes"]]:
    """A row of square panels, no wider than a page, with room for a colour bar."""
    figure = blank_figure(min(2.4 * count + 1.2, 12.5), 2.8)
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def _draw_spots(
    figure: "Figure", axes: Sequence["Axes"], spots: Array, names: Sequence[str]
) -> None:
    """Draw PSFs, or sheets of them, ``[C, h, w]``, one panel each, on one scale."""
    from matplotlib.colors import PowerNorm

    scale = PowerNorm(0.5, vmin=0, vmax=float(np.nanmax(spots)))
    for axis, each, name in zip(axes, spots, names, strict=True):
        down, across = (n / 2 for n in each.shape)
        drawn = axis.imshow(
            each.clip(0), cmap="magma", norm=scale, extent=(-across, across, down, -down)
        )
        axis.set_title(f"PSF, {name}" if name else "PSF")
        axis.set_xlabel("x, pixels")
    axes[0].set_ylabel("y, pixels")
    figure.colorbar(drawn, ax=list(axes), shrink=0.8, label="fraction of the light")
