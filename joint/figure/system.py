"""A system at work on scenes: its planes, what it hands on, what its classifier likes best."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from classify import LesionDataset
from joint.analysis import OptimalImage
from joint.device import device_of
from joint.feed import Feed, Shown
from joint.judge.evaluation import Evaluation
from joint.kinds import check_suited
from joint.panel.element import draw_filter
from joint.panel.look import blank_figure, no_formulas
from joint.panel.planes import draw_light, draw_picture, label_guess
from joint.panel.score import SHADE, draw_confusion
from joint.panel.screen import PlaneColours, as_codes, in_colours, plane_colours
from joint.stages import Encoding
from joint.system import ImagingSystem, SystemOutput, evaluating

__all__ = ["handed_figure", "optimal_figure", "system_figure"]


@no_formulas()
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
    measurement, and what the classifier is handed. Right: the learned filter, see
    :func:`draw_filter`, and the confusion matrix of ``evaluation``.

    Parameters
    ----------
    system : ImagingSystem
    dataset : LesionDataset
        Where the pictures come from: with the data of others, the figure is theirs too.
    evaluation : Evaluation
        Of the system, see :func:`joint.evaluate`.
    title : str
        Of the figure.
    rows : int
        Classes that are shown, at most.
    seed : int
        Source of the sensor's noise: with the seed of ``evaluation`` a picture is taken for what it
        was taken for there.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`.
    """
    index = _one_of_each_class(dataset, rows)
    shown, output = _passed(system, dataset, index, seed)
    figure = blank_figure(13.5, 1.75 * len(index) + 0.8, title=title)
    left, right = _halves(figure, "beside", (1.35, 1.0))
    names = [dataset.classes[int(label)] for label in shown.labels]
    draw_light(left, output, names, dataset.classes, colours=plane_colours(system))
    upper, lower = _halves(right, "below", (0.8, 1.2))
    if system.front_end is not None:
        draw_filter(upper, system.front_end)
    if evaluation.report is not None:
        axis = lower.subplots()
        drawn = draw_confusion(axis, evaluation.report.confusion, dataset.classes)
        lower.colorbar(drawn, ax=axis, shrink=0.8, label=SHADE)
    return figure


@no_formulas()
def handed_figure(
    systems: Mapping[str, ImagingSystem],
    dataset: LesionDataset,
    *,
    most: int = 12,
    seed: int = 0,
    title: str = "",
) -> Figure:
    """Draw what each system hands to its classifier, a row for the first picture of each class.

    Light is encoded for the eye, not its differences. Beside the pictures stands what each of them
    differs by from the scene, all by one factor;
    where nothing differs it is grey. Smaller pictures are compared with the scene reduced to them.

    Parameters
    ----------
    systems : mapping of name to ImagingSystem
        Such as a codec before and after joint training. Those with a classifier say what they
        take each picture for.
    dataset : LesionDataset
        Where the pictures come from: with the data of others, the figure is theirs too.
    most : int
        Rows; of more classes, the first ones.
    seed : int
        Source of the sensor's noise, the one that :func:`joint.evaluate` makes of it.
    title : str
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`.

    Raises
    ------
    ValueError
        Without a system, or for scenes that one of them takes for what they are not.
    """
    if not systems:
        raise ValueError("there is no system whose pictures could be drawn")
    targets = dataset.targets
    index = torch.stack([(targets == k).nonzero()[0, 0] for k in targets.unique()[:most]])
    handed, guesses, colours = [], [], []
    for system in systems.values():
        check_suited(system, dataset)
        shown, output = _passed(system, dataset, index, seed)
        colours.append(plane_colours(system))
        handed.append(in_colours(output.handed.float().cpu(), colours[-1].picture))
        guesses.append(None if output.logits is None else output.logits.argmax(1).tolist())
    scenes = in_colours(shown.scenes.cpu(), colours[0].scene)
    names = [dataset.classes[int(label)] for label in shown.labels]
    differences = [
        picture - _as_many(adaptive_avg_pool2d(scenes, picture.shape[-2:]), picture.shape[1])
        for picture in handed
    ]
    largest = max(float(d.abs().flatten().quantile(0.99)) for d in differences)
    factor = 0.5 / max(largest, 1 / 255)
    encodings: list[Encoding] = [system.encoding for system in systems.values()]
    seen = map(as_codes, handed, encodings)
    columns = [("scene", as_codes(scenes, encodings[0])), *zip(systems, seen, strict=True)]
    columns += [
        (f"{name} - scene, {factor:.1f}x", 0.5 + factor * difference)
        for name, difference in zip(systems, differences, strict=True)
    ]
    figure = blank_figure(1.6 * len(columns), 1.75 * len(index) + 0.5, title=title)
    axes = figure.subplots(len(index), len(columns), squeeze=False)
    for row, line in enumerate(axes):
        for axis, (heading, pictures) in zip(line, columns, strict=True):
            draw_picture(axis, pictures[row])
            if row == 0:
                axis.set_title(heading, fontsize=9)
        line[0].set_ylabel(names[row], fontsize=9)
        for axis, said in zip(line[1:], guesses, strict=False):
            if said is not None:
                label_guess(axis, dataset.classes[said[row]], names[row])
    return figure


@no_formulas()
def optimal_figure(
    found: Mapping[str, OptimalImage],
    classes: Sequence[str],
    *,
    title: str = "",
    system: ImagingSystem | None = None,
) -> Figure:
    """Draw the best optimal image of each class, and what the classifier is handed of it.

    Parameters
    ----------
    found : mapping of class name to OptimalImage
        Of several starts, the one that came furthest is shown.
    classes : sequence of str
        Names of all classes.
    title : str
        Of the figure.
    system : ImagingSystem, optional
        That they were found for: it says which channels are red, green and blue.

    Returns
    -------
    matplotlib.figure.Figure
        For :func:`save_figure`.
    """
    colours = PlaneColours() if system is None else plane_colours(system)
    figure = blank_figure(1.6 * len(found) + 0.4, 4.1, title=title)
    axes = figure.subplots(2, len(found), squeeze=False)
    for (upper, lower), (name, each) in zip(axes.T, found.items(), strict=True):
        best = int(each.best[-1].argmax())
        scene, handed = (as_codes(p[best], each.encoding) for p in (each.scenes, each.handed))
        draw_picture(upper, in_colours(scene, colours.scene))
        draw_picture(lower, in_colours(handed, colours.picture))
        upper.set_title(name, fontsize=9)
        guess = int(each.logits[best].argmax())
        chance = float(each.logits[best].softmax(0)[each.target])
        label_guess(
            lower, f"{classes[guess]}\n{name} {chance:.2f}", name, right=guess == each.target
        )
        bits = "" if each.bpp is None else f"\n{float(each.bpp[best]):.2f} bit/px"
        upper.set_xlabel(f"light {float(each.light[best]):.2f}{bits}", fontsize=8)
    axes[0, 0].set_ylabel("scene")
    axes[1, 0].set_ylabel("handed")
    return figure


def _passed(
    system: ImagingSystem, dataset: LesionDataset, index: Tensor, seed: int
) -> tuple[Shown, SystemOutput]:
    """Pictures ``index`` of a data set as :func:`joint.evaluate` passes them, with their noise."""
    feed = Feed(dataset.subset(index), device_of(system), resident=False)
    with evaluating(system), torch.no_grad():
        (shown,) = feed.shown([torch.arange(len(index))], seed=seed)
        return shown, system(shown.scenes, generator=shown.noise)


def _as_many(scenes: Tensor, channels: int) -> Tensor:
    """Scenes in grey, where that is what a picture of one channel is compared with."""
    return scenes.mean(1, keepdim=True) if channels == 1 else scenes


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


def _one_of_each_class(dataset: LesionDataset, rows: int) -> Tensor:
    """First picture of each class that is there, those that are hard to tell apart first."""
    targets = dataset.targets
    present = sorted(
        set(targets.tolist()),
        key=lambda c: (dataset.classes[c] not in ("mel", "bcc", "nv", "bkl"), c),
    )
    return torch.stack([(targets == c).nonzero()[0, 0] for c in present[:rows]])
