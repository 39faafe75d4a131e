"""Surfaces and elements beside the axis of a lens: decentred and tilted.

::

    surfaces ──misalign──► surfaces with a decentre and a tilt ──trace──► rays

A surface is decentred, and turned about its vertex there: about x, then about the y that has
turned with it, right-handed with x to the right, y down the picture and z along the light. A
surface of revolution is the same when it is turned about its own axis, so that two angles are all.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from optics.quantity import index_of

from .ray_trace import from_frame
from .surface import Surface, as_surfaces, checked_pair

__all__ = ["misalign", "rolled"]

Number: TypeAlias = float | Tensor
Pair: TypeAlias = Sequence[Number] | Tensor | np.ndarray


def misalign(
    surfaces: Sequence[Surface],
    numbers: int | Sequence[int],
    *,
    decentre: Pair = (0.0, 0.0),
    tilt: Pair = (0.0, 0.0),
) -> tuple[Surface, ...]:
    """Decentre and tilt a surface of a lens, or several that are held together.

    They are turned about the vertex of the first one, where it is now, and then moved. All others,
    and the image, stay. Vertices behind the first one also move along the axis: thicknesses follow.

    Parameters
    ----------
    surfaces : sequence of Surface
    numbers : int or (int, int)
        Of the surface, from 0; or of the first and the last one that move together.
    decentre : (float or Tensor, float or Tensor), metres
        Along x and y: two numbers in a sequence, a Tensor or an array, as of the tilt.
    tilt : (float or Tensor, float or Tensor), radians
        About x, then about the y that has turned with it. A positive tilt about x moves what lies
        behind the vertex towards -y, one about y towards +x.

    Returns
    -------
    tuple of Surface
        With gradients to the decentre, the tilt and the surfaces.

    Raises
    ------
    TypeError, ValueError
        For what are no surfaces, or no numbers of them; a decentre or tilt that is not two finite
        numbers, or a tilt of 90 degrees or more, also of a surface as it was and this one together.

    Notes
    -----
    Glass that would touch is not noticed: only vertices have an order along the axis.
    """
    found = as_surfaces(surfaces)
    first, last = _range_of(numbers, len(found))
    decentre = checked_pair("decentre", decentre)
    tilt = checked_pair("tilt", tilt)
    held = found[first : last + 1]
    given = [v for s in held for v in (s.thickness, *s.decentre, *s.tilt)] + [*decentre, *tilt]
    tensors = [value for value in given if isinstance(value, Tensor)]
    device = tensors[0].device if tensors else None

    def vector(*numbers: Number) -> Tensor:
        return torch.stack(
            [torch.as_tensor(v, dtype=torch.float64, device=device) for v in numbers]
        )

    along = vector(0.0, *(surface.thickness for surface in held)).cumsum(0)
    pivot, moved = vector(*held[0].decentre, 0.0), vector(*decentre, 0.0)
    axis = vector(0.0, 0.0, 1.0)
    vertices, normals = [], []
    for surface, place in zip(held, along[:-1], strict=True):
        vertex = vector(*surface.decentre, 0.0) + place * axis
        vertices.append(pivot + moved + from_frame(vertex - pivot, tilt))
        normals.append(from_frame(from_frame(axis, surface.tilt), tilt))
    places = [*(vertex[2] for vertex in vertices), along[-1]]
    made = [
        surface._replace(
            thickness=behind - place,
            decentre=(vertex[0], vertex[1]),
            tilt=checked_pair("tilt", _tilt_of(normal), f" of surface {number}"),
        )
        for number, surface, vertex, normal, place, behind in zip(
            range(first, last + 1), held, vertices, normals, places[:-1], places[1:], strict=True
        )
    ]
    if not tensors:
        made = [
            surface._replace(
                thickness=float(surface.thickness),
                decentre=tuple(map(float, surface.decentre)),
                tilt=tuple(map(float, surface.tilt)),
            )
            for surface in made
        ]
    return (*found[:first], *made, *found[last + 1 :])


def rolled(surfaces: Sequence[Surface], angle: Tensor) -> tuple[Surface, ...]:
    """A lens that is turned about its axis from +x to +y, by angles that broadcast with rays."""
    cos, sin = angle.cos(), angle.sin()
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=angle.dtype, device=angle.device)

    def turned(surface: Surface) -> Surface:
        x, y = surface.decentre
        across, up, forward = from_frame(axis, surface.tilt).unbind(-1)
        normal = torch.stack(
            torch.broadcast_tensors(cos * across - sin * up, sin * across + cos * up, forward), -1
        )
        decentre = (cos * x - sin * y, sin * x + cos * y)
        return surface._replace(decentre=decentre, tilt=_tilt_of(normal))

    return tuple(surface if surface.is_aligned else turned(surface) for surface in surfaces)


def _tilt_of(normal: Tensor) -> tuple[Tensor, Tensor]:
    """Tilt about x, then y, that turns +z to unit vectors ``[..., 3]``."""
    x, y, z = normal.unbind(-1)
    return torch.atan2(-y, z), x.asin()


def _range_of(numbers: int | Sequence[int], count: int) -> tuple[int, int]:
    """First and last number of surfaces that are there."""
    pair = numbers if isinstance(numbers, Sequence) else (numbers, numbers)
    ends = [end for end in map(index_of, pair) if end is not None]
    if len(ends) == len(pair) == 2 and 0 <= ends[0] <= ends[1] < count:
        return ends[0], ends[1]
    raise ValueError(
        f"numbers must be that of a surface, from 0 to {count - 1}, or the first and the last of "
        f"several, not {numbers!r}"
    )
