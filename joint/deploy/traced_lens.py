"""A lens of several surfaces in numbers, by its rays: distortion, light and spots over its field.

::

    optics.CompoundPupil ── surfaces, fields ─► first_order, lens_image, lens_spots ─► TracedLens
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

import optics
from optics.performance.examined import told_length, told_table
from optics.rays.compound_imaging import compound_pupil_in
from optics.rays.compound_lens import fixed_surface

__all__ = ["TracedLens", "traced_lens"]


class TracedLens(NamedTuple):
    """A lens at R heights from the axis to the picture's corner; tensors are float64 on the CPU."""

    surfaces: tuple[optics.Surface, ...]
    """As they are now, their numbers floats."""
    focal_length: float
    """Metres."""
    f_number: float
    """Of its light on the axis, from the scenes' distance."""
    length: float
    """From the first surface to the image, metres."""
    object_distance: float
    """From the scenes to the first surface, metres."""
    wavelengths: tuple[float, ...]
    """Metres, L of them."""
    fields: Tensor
    """Angles from the axis, radians, or heights of the object, metres, ``[R]``."""
    heights: Tensor
    """In the image, metres, ``[R]``, at the middle wavelength."""
    distortion: Tensor
    """Height in the image over that without distortion, less 1, ``[R]``."""
    illumination: Tensor
    """Light over that on the axis, ``[R]``, at the middle wavelength."""
    lit: Tensor
    """Share of the stop that light passes, ``[R]``: the rest is cut off by rims."""
    lateral_colour: Tensor
    """Distance of the most distant images of two wavelengths, metres, ``[R]``."""
    spots: Tensor
    """RMS radii of the rays about their mean place, metres, ``[R, L]``."""

    def __str__(self) -> str:
        scenes = "" if math.isinf(self.object_distance) else f", {self._scenes()}"
        head = (
            f"traced {len(self.surfaces)} surfaces, {told_length(self.length)} to the image: "
            f"{told_length(self.focal_length)}, f/{self.f_number:.3g}{scenes}"
        )
        return "\n".join([head, *told_table(list(self._rows()))])

    def _scenes(self) -> str:
        return f"scenes {told_length(self.object_distance)} in front of it"

    def _rows(self) -> Iterator[list[str]]:
        """Rows of the table: a title, and one for each height."""
        spots = (f"spot at {1e9 * each:.4g} nm" for each in self.wavelengths)
        yield ["height", "field", "distortion", "light", "stop lit", "lateral colour", *spots]
        for row, field in enumerate(self.fields.tolist()):
            far = math.isinf(self.object_distance)
            yield [
                told_length(float(self.heights[row])),
                f"{math.degrees(field):.2f} deg" if far else told_length(field),
                f"{100 * float(self.distortion[row]):+.2f} %",
                f"{float(self.illumination[row]):.3f}",
                f"{float(self.lit[row]):.3f}",
                told_length(float(self.lateral_colour[row])),
                *map(told_length, self.spots[row].tolist()),
            ]


def traced_lens(front_end: nn.Module) -> TracedLens | None:
    """Trace the one lens of several surfaces in a camera; None where there is none, or several."""
    pupils = [each for each in front_end.modules() if isinstance(each, optics.Pupil)]
    element = compound_pupil_in(pupils[0]) if len(pupils) == 1 else None
    if element is None:
        return None
    with torch.no_grad():
        now = element.lens.surfaces
        surfaces = tuple(fixed_surface(number, each) for number, each in enumerate(now))
    distance, light = element.lens.object_distance, pupils[0].wavelengths
    fields = element.fields.detach().cpu().double().abs()
    middle = element.middle
    first = optics.first_order(surfaces, wavelength=light[middle], object_distance=distance)
    given = {"fields": fields, "wavelengths": light, "object_distance": distance}
    image = optics.lens_image(surfaces, **given)
    return TracedLens(
        surfaces=surfaces,
        focal_length=float(first.focal_length),
        f_number=float(first.f_number),
        length=sum(float(surface.thickness) for surface in surfaces),
        object_distance=distance,
        wavelengths=tuple(light),
        fields=fields,
        heights=image.heights[:, middle].abs(),
        distortion=image.distortion,
        illumination=image.illumination[:, middle],
        lit=image.lit[:, middle],
        lateral_colour=image.heights.amax(1) - image.heights.amin(1),
        spots=optics.lens_spots(surfaces, **given).radius,
    )
