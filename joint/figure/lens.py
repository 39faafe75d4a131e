"""Figure of a lens: contrast at the sensor and through focus, field curvature, axial colour."""

from collections.abc import Iterator, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import optics
from joint.panel.look import blank_figure, looks, no_formulas, open_axis
from optics.performance.examined import examine, shown_places, told_length
from optics.performance.through_focus import contrast_in_planes, quarter_cycle
from optics.pupil.pupil import pupil_of

__all__ = ["lens_figure"]

# Number of frequencies of a curve, up to half a cycle per pixel.
_FREQUENCIES = 33


def lens_figure(
    lens: nn.Module,
    *,
    focus: optics.ThroughFocus | None = None,
    distance: Sequence[float] | Tensor | None = None,
    picture: int | tuple[int, int] | None = None,
    weights: Sequence[float] | Tensor | None = None,
    title: str = "",
) -> Figure:
    """Draw the remaining contrast of a lens at the sensor and through focus.

    The left panel shows contrast against frequency at the sensor; the next one shows contrast at
    one frequency against the position of the sensor. There is a curve for each of three places in
    the picture, or for each distance of the scene, over all wavelengths together; with one place
    and one distance, a curve for each wavelength. Solid lines are tangential, broken ones sagittal.
    Further panels show the best focus over the field, if it varies, and over several wavelengths:
    tangential filled, sagittal hollow. With places and distances, the middle distance is drawn.

    Parameters
    ----------
    lens : nn.Module
        As for :func:`optics.through_focus`.
    focus : optics.ThroughFocus, optional
        Result for this lens, if it is known, for example from a :class:`DataSheet`; computing it
        takes most of the time. It has its own distances and weights; of several frequencies the
        first is drawn.
    distance : sequence or Tensor ``[D]``, metres, optional
    picture : int or (int, int), pixels, optional
    weights : sequence or Tensor ``[L]``, optional
        As for :func:`optics.through_focus`.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by :func:`save_figure`.

    Raises
    ------
    TypeError, ValueError
        As :func:`optics.through_focus`, and for distances or weights together with a ``focus``.

    Warns
    -----
    UserWarning
        As :func:`optics.through_focus`.
    """
    if focus is not None:
        if distance is not None or weights is not None:
            raise ValueError(
                "a focus has its own distances and weights: give them to optics.through_focus"
            )
        distance, weights = focus.distance, focus.weights
    pupil = pupil_of(lens)[0]
    with torch.no_grad():
        found = examine(
            lens,
            distance=distance,
            frequency=quarter_cycle(pupil),
            picture=picture,
            weights=weights,
            stacklevel=2,
        )
        if focus is None:
            focus = contrast_in_planes(found)
        cycles = torch.linspace(0, 0.5, _FREQUENCIES, dtype=torch.float64)
        lines = found._replace(frequency=cycles / pupil.pixel_pitch)
        sensor = contrast_in_planes(lines, torch.zeros(1, dtype=torch.float64))
    return _drawn(sensor, focus, title)


@no_formulas()
def _drawn(sensor: optics.ThroughFocus, focus: optics.ThroughFocus, title: str) -> Figure:
    field, colour = focus.places is not None, len(focus.wavelength) > 1
    count = 2 + field + colour
    figure = blank_figure(3.5 * count + 1.5, 3.3, title=title)
    left, right, *others = figure.subplots(1, count, squeeze=False)[0]
    cycles, planes = sensor.frequency * sensor.pixel_pitch, 1e6 * focus.position
    for name, colour_of, curve in _curves(sensor):
        _draw_curve(left, cycles, curve[0], name, colour_of)
    for name, colour_of, curve in _curves(focus):
        _draw_curve(right, planes, curve[:, 0], name, colour_of)
    mixed, scene = "all wavelengths" if colour else "", _told_scene(focus)
    several = not field and len(focus.distance or ()) > 1
    shown = (mixed if field or several else "", "" if several else scene)
    left.set(xlabel="cycles/pixel", ylabel="contrast of lens and pixel")
    _entitle(left, "at the sensor", *shown)
    for style, name in (("-", "tangential"), ("--", "sagittal")):
        left.plot([], [], style, color="grey", linewidth=1.3, label=name)
    left.legend(handles=left.lines[-2:], fontsize=8)
    right.axvline(0, color="grey", linestyle=":", linewidth=1)
    right.set_xlabel("position of the sensor, um")
    cycle = float(focus.frequency[0]) * focus.pixel_pitch
    _entitle(right, f"at {cycle:.3g} cycles/pixel", *shown)
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))  # many distances are long
    if field:
        assert focus.places is not None
        heights = focus.places.norm(dim=-1).flatten()
        _draw_focus(others[0], _of_scene(focus, focus.polychromatic_focus).flatten(0, 1), heights)
        others[0].set(ylabel="height in the picture", ylim=(-0.03, 1.03))
        _entitle(others[0], "field curvature", mixed, scene)
    if colour:
        found, place = _of_scene(focus, focus.best_focus), ""
        if focus.places is not None:
            middle = shown_places(focus.places)[0]
            found, place = found[middle], _told_height(focus.places[middle])
        _draw_focus(others[-1], found, 1e9 * focus.wavelength)
        others[-1].set(ylabel="wavelength, nm")
        _entitle(others[-1], "axial colour", place, scene)
    for axis in others:
        axis.set_xlim(right.get_xlim())
    for axis in (left, right):
        axis.set_ylim(0, 1.02)
    for axis in (left, right, *others):
        open_axis(axis)
    return figure


def _entitle(axis: Axes, name: str, *of: str) -> None:
    """Title of a panel: its name, and below it light and scene."""
    axis.set_title("\n".join(filter(None, (name, ", ".join(filter(None, of))))), fontsize=9)


def _told_scene(found: optics.ThroughFocus) -> str:
    """Distance of the scene, the middle one of several; empty in focus."""
    if found.distance is None:
        return ""
    return f"scene at {told_length(found.distance[len(found.distance) // 2])}"


def _told_height(place: Tensor) -> str:
    return f"height {float(place.norm()):.2f}"


def _of_scene(found: optics.ThroughFocus, values: Tensor) -> Tensor:
    """Values at the middle one of several distances."""
    return values if found.distance is None else values[len(found.distance) // 2]


def _curves(found: optics.ThroughFocus) -> Iterator[tuple[str, str, Tensor]]:
    """Name, colour and contrast ``[Z, F, 2]`` of each curve."""
    together = found.polychromatic
    if found.places is not None:
        shown = shown_places(found.places)
        names = [_told_height(found.places[place]) for place in shown]
        curves = [_of_scene(found, together)[place] for place in shown]
    elif found.distance is not None and len(found.distance) > 1:
        names, curves = [*map(told_length, found.distance)], [*together]
    else:
        names = [f"{1e9 * each:.4g} nm" for each in found.wavelength.tolist()]
        curves = [*_of_scene(found, found.contrast)]
        if len(names) > 1:
            yield "all", "black", _of_scene(found, together)
    for name, look, curve in zip(names, looks(len(names)), curves, strict=True):
        yield name, look.colour, curve


def _draw_curve(axis: Axes, across: Tensor, curve: Tensor, name: str, colour: str) -> None:
    """Draw tangential and sagittal contrast ``[N, 2]``."""
    for values, style in zip(curve.T, ("-", "--"), strict=True):
        label = name if style == "-" else None
        axis.plot(across, values, style, color=colour, linewidth=1.3, label=label)


def _draw_focus(axis: Axes, focus: Tensor, against: Tensor) -> None:
    """Draw tangential and sagittal best focus ``[N, F, 2]`` at the first frequency."""
    (look,) = looks(1)
    for values, name, face, size in zip(
        focus[:, 0].T, ("tangential", "sagittal"), (look.colour, "none"), (4, 8), strict=True
    ):
        axis.plot(1e6 * values, against, "o", ms=size, color=look.colour, mfc=face, label=name)
    axis.axvline(0, color="grey", linestyle=":", linewidth=1)
    axis.set_xlabel("best focus, um")
    axis.legend(fontsize=8)
