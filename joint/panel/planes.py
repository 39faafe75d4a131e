"""Panel of one pass: each plane between the stages, from the scene to the label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from classify import LesionDataset
from joint.system import SystemOutput

from .look import RIGHT, WRONG, bare_axis, no_formulas
from .screen import PlaneColours, as_codes, in_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["draw_light", "draw_picture", "first_of_each_class", "label_guess"]


@no_formulas()
def draw_light(
    figure: "SubFigure",
    output: SystemOutput,
    names: list[str],
    classes: Sequence[str],
    *,
    colours: PlaneColours | None = None,
) -> None:
    """Draw each plane of one pass, one row per picture.

    Parameters
    ----------
    figure : matplotlib.figure.SubFigure
        Figure to fill.
    output : joint.SystemOutput
        The pass.
    names : list of str
        Label in front of each picture, such as its true class.
    classes : sequence of str
        Names of the classes, for the predicted one.
    colours : PlaneColours, optional
        Colours of the system, see :func:`plane_colours`; by default those of three channels.
    """
    shown = PlaneColours() if colours is None else colours
    encoding, exposures = output.encoding, output.exposures
    scene = in_colours(as_codes(output.scene, encoding), shown.scene)
    columns: list[tuple[str, Tensor]] = [("scene", scene)]
    if output.irradiance is not None:
        captures = output.irradiance.unflatten(1, (exposures, -1))
        # Two exposures of one filter are side by side, each as bright as it would be alone.
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
    """Write the predicted class under a picture, in blue if it is right."""
    right = said == truth if right is None else right
    axis.set_xlabel(f"says {said}", color=RIGHT if right else WRONG, fontsize=8)


def draw_picture(axis: "Axes", picture: Tensor) -> None:
    """Draw channels as :func:`in_colours` shows them: in colours, or one in grey."""
    array = in_colours(picture.detach().float().clamp(0, 1).cpu()).numpy()
    if len(array) == 3:
        axis.imshow(array.transpose(1, 2, 0), interpolation="nearest")
    else:
        axis.imshow(array[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare_axis(axis)


def first_of_each_class(dataset: LesionDataset, most: int) -> Tensor:
    """Rows of the first picture of each class in the data, for at most ``most`` classes."""
    targets = dataset.targets
    return torch.stack([(targets == k).nonzero()[0, 0] for k in targets.unique()[:most]])
