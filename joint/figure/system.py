"""A system applied to scenes: its planes, the classifier's input, optimal images."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from classify import LesionDataset
from joint.analysis import OptimalImage
from joint.analysis.passes import one_pass
from joint.judge.evaluation import Evaluation
from joint.kinds import check_suited
from joint.panel.element import draw_filter
from joint.panel.look import blank_figure, no_formulas
from joint.panel.planes import draw_light, draw_picture, first_of_each_class, label_guess
from joint.panel.score import SHADE, draw_confusion
from joint.panel.screen import PlaneColours, as_codes, in_colours, plane_colours
from joint.stages import Encoding
from joint.system import ImagingSystem

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
    """Draw the light at each plane, the learned element, and the classification.

    On the left, for one picture of each of ``rows`` classes: the scene, the light on the sensor,
    the measurement, and the classifier's input. On the right: the learned filter, see
    :func:`draw_filter`, and the confusion matrix of ``evaluation``.

    Parameters
    ----------
    system : ImagingSystem
    dataset : LesionDataset
        Source of the pictures. The figure shows them, so the terms of the data set apply to it.
    evaluation : Evaluation
        Evaluation of the system, see :func:`joint.evaluate`.
    title : str
        Title of the figure.
    rows : int
        Largest number of classes shown.
    seed : int
        Source of the sensor's noise. With the seed of ``evaluation``, each picture gets the same
        label as there.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.
    """
    index = _one_of_each_class(dataset, rows)
    shown, output = one_pass(system, dataset, index, seed=seed)
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

    Pictures of light are encoded as sRGB for display, their differences are not. Next to each
    picture is its difference from the scene, all multiplied by one factor; grey is no difference.
    A smaller picture is compared with the scene reduced to its size.

    Parameters
    ----------
    systems : mapping of name to ImagingSystem
        For example a codec before and after joint training. Those with a classifier also show
        the predicted class of each picture.
    dataset : LesionDataset
        Source of the pictures. The figure shows them, so the terms of the data set apply to it.
    most : int
        Largest number of rows; of more classes, the first ones are drawn.
    seed : int
        Source of the sensor's noise, as in :func:`joint.evaluate`.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    ValueError
        Without a system, or for scenes whose encoding or classes are not those of a system.
    """
    if not systems:
        raise ValueError("there is no system whose pictures could be drawn")
    index = first_of_each_class(dataset, most)
    handed, guesses, colours = [], [], []
    for system in systems.values():
        check_suited(system, dataset)
        shown, output = one_pass(system, dataset, index, seed=seed)
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
    """Draw the best optimal image of each class, and what the classifier receives of it.

    Parameters
    ----------
    found : mapping of class name to OptimalImage
        Of several starts, the best one is shown.
    classes : sequence of str
        Names of all classes.
    title : str
        Title of the figure.
    system : ImagingSystem, optional
        System for which they were found; it determines which channels are red, green and blue.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.
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


def _as_many(scenes: Tensor, channels: int) -> Tensor:
    """Scenes in grey if they are compared with a picture of one channel."""
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
    """First picture of each class in the data, starting with classes that are easily confused."""
    targets = dataset.targets
    present = sorted(
        set(targets.tolist()),
        key=lambda c: (dataset.classes[c] not in ("mel", "bcc", "nv", "bkl"), c),
    )
    return torch.stack([(targets == c).nonzero()[0, 0] for c in present[:rows]])
