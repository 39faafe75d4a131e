"""Pictures of a run. The only module-level home of matplotlib."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, SymLogNorm
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from classify import LesionDataset, Reliability, Report
from optics import FourierFilter, FrontEnd, IncoherentImaging, LearnedKernel, linear_to_srgb

from .checkpoint import write_atomically
from .evaluate import Evaluation, device_of
from .feed import as_scenes, derive_seed
from .system import ImagingSystem, SystemOutput, evaluating

__all__ = [
    "draw_confusion",
    "draw_filter",
    "draw_light",
    "draw_reliability",
    "report_figure",
    "save_figure",
    "system_figure",
]

_BLUE = (0.13, 0.44, 0.71)


def system_figure(
    system: ImagingSystem,
    dataset: LesionDataset,
    evaluation: Evaluation,
    *,
    title: str = "",
    rows: int = 4,
    seed: int = 0,
) -> Figure:
    """Draw what light goes through, the learned element, and what comes out.

    Left, for one picture of each of ``rows`` classes: the scene, the light on the sensor, the
    measurement, and what the classifier is handed. Right: the learned filter and the confusion
    matrix of ``evaluation``.
    """
    index = _one_of_each_class(dataset, rows)
    device = device_of(system)
    scenes, labels = as_scenes(dataset.gather(index), device)
    with evaluating(system), torch.no_grad():
        noise = torch.Generator(device).manual_seed(derive_seed(seed, "figure"))
        output = system(scenes, generator=noise)

    figure = Figure(figsize=(13.5, 1.75 * len(index) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = _halves(figure, "beside", (1.35, 1.0))
    names = [dataset.classes[int(label)] for label in labels]
    draw_light(left, output, names, dataset.classes)
    upper, lower = _halves(right, "below", (0.8, 1.2))
    if system.front_end is not None:
        draw_filter(upper, system.front_end)
    if evaluation.report is not None:
        draw_confusion(lower.subplots(), evaluation.report.confusion, dataset.classes)
    return figure


def report_figure(report: Report, *, title: str = "") -> Figure:
    """Draw a report: what was taken for what, and how far its confidence can be trusted."""
    side = 2.2 + 0.45 * len(report.classes)
    figure = Figure(figsize=(side + 4.6, max(side, 4.4)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=(side, 4.6))
    draw_confusion(left, report.confusion, report.classes)
    left.set_title(
        f"accuracy {report.accuracy:.3f}, balanced {report.balanced_accuracy:.3f}", fontsize=9
    )
    draw_reliability(right, report.reliability)
    right.set_title(f"calibration error {report.ece:.3f}", fontsize=9)
    return figure


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(Path(path), content.getvalue())


def draw_filter(figure: SubFigure | Figure, front_end: FrontEnd) -> None:
    """Draw a learned kernel (signed response of each channel), Fourier transmission, or PSF."""
    if isinstance(front_end, LearnedKernel):
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
        bar = figure.colorbar(drawn, ax=list(axes), shrink=0.6, label="fraction of the light")
        bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
        figure.suptitle(
            f"learned kernel, {front_end.exposures} exposure"
            f"{'s' if front_end.exposures > 1 else ''}, "
            f"throughput {float(front_end.throughput().detach()):.2f}"
        )
    elif isinstance(front_end, FourierFilter):
        transmission = front_end.transmission.detach().cpu().numpy()
        modulus, phase = figure.subplots(1, 2)
        extent = (-0.5, 0.5, 0.5, -0.5)
        drawn = modulus.imshow(np.abs(transmission), cmap="gray", vmin=0, vmax=1, extent=extent)
        figure.colorbar(drawn, ax=modulus, shrink=0.7, label="|t|")
        drawn = phase.imshow(
            np.angle(transmission), cmap="twilight", vmin=-np.pi, vmax=np.pi, extent=extent
        )
        figure.colorbar(drawn, ax=phase, shrink=0.7, label="phase, rad")
        for axis in (modulus, phase):
            axis.set_xlabel("fx, cycles/pixel")
        figure.suptitle(
            f"Fourier filter, {front_end.illumination}, "
            f"throughput {float(front_end.throughput().detach()):.2f}"
        )
    elif isinstance(front_end, IncoherentImaging):
        spots = front_end.psf().detach().cpu()[:6].numpy()
        axes = np.atleast_1d(figure.subplots(1, len(spots)))
        scale = LogNorm(float(spots.max()) / 1e4, float(spots.max()), clip=True)
        for number, (axis, spot) in enumerate(zip(axes, spots, strict=True)):
            drawn = axis.imshow(spot, cmap="inferno", norm=scale)
            axis.set_title(("red", "green", "blue")[number] if len(spots) == 3 else f"{number}")
            _bare(axis)
        figure.colorbar(drawn, ax=list(axes), shrink=0.6, label="fraction of the light")
        figure.suptitle(
            f"point-spread functions, throughput {float(front_end.throughput().detach()):.2f}"
        )


def draw_confusion(axis: Axes, confusion: np.ndarray, classes: Sequence[str]) -> None:
    """Draw a confusion matrix: shade by share of the true class, number by count."""
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
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
    axis.set_xticks(range(len(classes)), labels=list(classes), rotation=45)
    axis.set_yticks(range(len(classes)), labels=list(classes))
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")


def draw_reliability(axis: Axes, reliability: Reliability) -> None:
    """Draw how often predictions are right, by confidence; a shade tells the share of pictures.

    Bars below the diagonal are too sure, bars above it not sure enough.
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
    axis.plot(
        reliability.confidence[filled], reliability.accuracy[filled], "o", color="black", ms=3
    )
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel("confidence")
    axis.set_ylabel("share of right predictions")


def _halves(
    figure: Figure | SubFigure, where: Literal["beside", "below"], ratios: tuple[float, float]
) -> tuple[SubFigure, SubFigure]:
    grid = (
        figure.subfigures(1, 2, width_ratios=ratios)
        if where == "beside"
        else figure.subfigures(2, 1, height_ratios=ratios)
    )
    assert isinstance(grid, np.ndarray)
    return grid[0], grid[1]


def draw_light(
    figure: SubFigure, output: SystemOutput, names: list[str], classes: Sequence[str]
) -> None:
    """Draw every plane of one pass, a row for each picture."""
    columns: list[tuple[str, Tensor]] = [("scene", output.scene)]
    if output.irradiance is not None:
        exposures = output.irradiance.unflatten(1, (-1, output.scene.shape[1]))
        count = exposures.shape[1]
        # Two exposures of one filter lie side by side, each as bright as it would be alone.
        beside = torch.cat(list((exposures[:, :2] * count).unbind(1)), -1)
        title = "after the optics" + (
            f" ({min(count, 2)} of {count} exposures)" if count > 1 else ""
        )
        columns.append((title, linear_to_srgb(beside)))
    columns.append(("after the sensor", output.measurement))
    columns.append(("classifier sees", output.handed))
    widths = [picture.shape[-1] / picture.shape[-2] for _, picture in columns]
    axes = figure.subplots(len(names), len(columns), width_ratios=widths, squeeze=False)
    guesses = None if output.logits is None else output.logits.argmax(1).tolist()
    for row, line in enumerate(axes):
        for axis, (title, picture) in zip(line, columns, strict=True):
            _show(axis, picture[row])
            if row == 0:
                axis.set_title(title, fontsize=9)
        line[0].set_ylabel(names[row])
        if guesses is not None:
            guess = classes[guesses[row]]
            line[-1].set_xlabel(
                f"says {guess}", color="green" if guess == names[row] else "firebrick", fontsize=8
            )


def _show(axis: Axes, picture: Tensor) -> None:
    """Three channels as colours; otherwise the first one in grey."""
    array = picture.detach().float().clamp(0, 1).cpu().numpy()
    if len(array) >= 3:
        axis.imshow(array[:3].transpose(1, 2, 0), interpolation="nearest")
    else:
        axis.imshow(array[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _one_of_each_class(dataset: LesionDataset, rows: int) -> Tensor:
    """First picture of each class that is there, those that are hard to tell apart first."""
    targets = dataset.targets
    present = sorted(
        set(targets.tolist()),
        key=lambda c: (dataset.classes[c] not in ("mel", "bcc", "nv", "bkl"), c),
    )
    return torch.stack([(targets == c).nonzero()[0, 0] for c in present[:rows]])
