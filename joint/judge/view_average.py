"""Class probabilities averaged over several views of a scene: test-time augmentation.

::

    scene ─┬─ as it is ──────┐
           ├─ flipped ───────┼─► system ─► probabilities ─► mean ─► ViewAverage
           └─ turned, ... ───┘

The views are made from the scene, in front of the camera. Each pass has the same noise, that of the
generator's state, which does not change.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from joint.kinds import check_pictures
from joint.planes import Noise
from joint.system import ImagingSystem, evaluating
from optics import Generators
from optics.quantity import single

__all__ = ["ViewAverage", "Views", "average_views"]

Views = Literal["identity", "mirror", "flips", "dihedral"]

_COUNT: dict[Views, int] = {"identity": 1, "mirror": 2, "flips": 4, "dihedral": 8}


@dataclass(frozen=True)
class ViewAverage:
    """Class probabilities of a system, averaged over several views of a scene."""

    probabilities: Tensor
    """Mean of the views' class probabilities ``[B, K]``, float32 or float64."""
    logits: Tensor
    """Logarithms of ``probabilities`` ``[B, K]``: scores whose softmax they are."""

    def __str__(self) -> str:
        count, classes = self.probabilities.shape
        sure, said = self.probabilities.detach().max(-1)
        lines = [f"probabilities of {classes} classes, averaged over views, of {count} scenes"]
        lines += [
            f"picture {row}: class {int(said[row])} with {float(sure[row]):.3f}"
            for row in range(count)
        ]
        return "\n".join(lines)


def average_views(
    system: ImagingSystem,
    scenes: Tensor,
    *,
    views: Views = "dihedral",
    generator: Generators | None = None,
) -> ViewAverage:
    """Average the class probabilities of a system over flips and turns of the scene.

    Probabilities are averaged and not logits, so that one confident view cannot outvote the others.
    All views of a scene have the same average, to the bit if the passes are reproducible: the noise
    belongs to the sensor's pixels and does not turn with the scene. The cost is one forward pass
    for each view. The gradient reaches scenes and parameters.

    Parameters
    ----------
    system : ImagingSystem
        A system with a classifier; in evaluation mode during the passes.
    scenes : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    views : {"identity", "mirror", "flips", "dihedral"}
        identity: one view, the unchanged picture; mirror: two, with its mirror image; flips: four,
        the flips of both axes; dihedral: eight, these and their quarter turns. With dihedral,
        pictures that are not square are also passed as ``W x H``: use flips if the system takes
        only one size.
    generator : torch.Generator, or one for each picture, optional
        State of the noise of each view; by default that of seed 0.

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem, or ``scenes`` no Tensor.
    ValueError
        For unknown views, or scenes that do not fit.
    """
    check_pictures(system, scenes)
    if views not in get_args(Views):
        raise ValueError(f"views must be one of {', '.join(get_args(Views))}, not {views!r}")
    noise = Noise(generator, scenes.device)
    said = []
    with evaluating(system):
        for number in range(_COUNT[views]):
            logits = system(_view(scenes, number), generator=noise.fresh()).logits
            assert logits is not None
            # Half precision would give equal values for different pictures.
            said.append(functional.log_softmax(single(logits), -1))
    # Sorted, because a sum depends on its order and the views of a turned scene come in another.
    ordered = torch.stack(said).sort(0).values
    mean = ordered.logsumexp(0) - math.log(len(said))
    return ViewAverage(probabilities=mean.exp(), logits=mean)


def _view(scenes: Tensor, number: int) -> Tensor:
    """One of the eight views: bit 0 mirrors columns, bit 1 rows, bit 2 exchanges the two."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if number & bit]
    view = scenes.flip(axes) if axes else scenes
    # Another memory layout would use other kernels, and round differently.
    return (view.transpose(-1, -2) if number & 4 else view).contiguous()
