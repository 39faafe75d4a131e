"""Contrast through focus, and the position of best focus: field curvature and axial colour.

::

    field in the pupil x curve (1 / z - 1 / s') ──autocorrelation──► contrast in the plane at z
                                                over z ──parabola──► best focus

Moving the sensor is equivalent to a scene at another distance: both are a defocus of the wavefront.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optics.grid import coordinates
from optics.pupil.defocus import warn_of_coarse
from optics.pupil.modulation import modulus
from optics.pupil.pupil import Pupil, middle_wavelength, pupil_of
from optics.quantity import as_numbers, check_finite

from .examined import Examined, examine, plain, shown_places, told_length, told_mix, told_table

__all__ = ["ThroughFocus", "contrast_in_planes", "quarter_cycle", "through_focus"]

# Default planes: their distance, and their range beyond the outermost ray focus, in quarter-wave
# depths of focus; and their largest number.
_STEP, _BEYOND, _MOST = 0.5, 4.0, 257
# A curve whose contrast varies by less has no best focus: rounding is up to 1e-6.
_SAME = 1e-5


@dataclass(frozen=True)
class ThroughFocus:
    """Contrast of a lens in planes around its image; tensors float64 on the CPU."""

    image_distance: float
    """Distance from the pupil to the plane of position 0, metres; of a :class:`CompoundPupil` that
    of its :attr:`Pupil.image_distance`, which stays as it was built while the lens is trained."""
    pixel_pitch: float
    """Pixel pitch, metres."""
    wavelength: Tensor
    """Wavelengths ``[L]``, metres."""
    weights: Tensor
    """Weight of each wavelength: its share in the detected light before the elements, ``[L]``."""
    frequency: Tensor
    """Frequencies ``[F]``, cycles/m in the plane."""
    position: Tensor
    """Positions of the planes, ``[Z]``, metres from the image of the focus: positive behind it."""
    contrast: Tensor
    """Modulation transfer function ``[(D,) (P, Q,) L, Z, F, 2]``: tangential and sagittal, as
    :attr:`LensPerformance.contrast`."""
    polychromatic: Tensor
    """Modulation transfer function of all wavelengths together, ``[(D,) (P, Q,) Z, F, 2]``."""
    distance: tuple[float, ...] | None = None
    """Distances of the scene, metres; None in focus."""
    places: Tensor | None = None
    """Positions of the P Q places, ``[P, Q, 2]``: y and x from the centre, in half diagonals; None
    for a lens that is the same over the field."""

    @property
    def best_focus(self) -> Tensor:
        """Position of the largest contrast ``[(D,) (P, Q,) L, F, 2]``, metres.

        It is interpolated between the planes by a parabola. NaN if the outermost plane has the
        largest contrast, as the maximum may lie beyond it; with fewer than three planes; and if the
        contrast is the same in all planes to 1e-5, as at frequency 0 and above the cut-off.
        """
        return _peak(self.position, self.contrast)

    @property
    def polychromatic_focus(self) -> Tensor:
        """Best focus of all wavelengths together, ``[(D,) (P, Q,) F, 2]``, metres."""
        return _peak(self.position, self.polychromatic)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the best focus as JSON types; None for values that are not finite.

        Returns
        -------
        dict of str to any
        """
        focus = {
            "best_focus": self.best_focus,
            "polychromatic_focus": self.polychromatic_focus,
        }
        return {name: plain(value) for name, value in {**vars(self), **focus}.items()}

    def __str__(self) -> str:
        return "\n".join(told_table(list(self._rows())))

    def _rows(self) -> Iterator[list[str]]:
        """Rows of the table: one for each frequency, distance and shown place."""
        single = len(self.wavelength) == 1
        bands = [f"{1e9 * each:.4g} nm" for each in self.wavelength.tolist()]
        yield [
            "best focus",
            *(["distance"] if self.distance else []),
            *(["height"] if self.places is not None else []),
            *(bands if single else [*bands, f"all, {told_mix(self.weights)}"]),
        ]
        alone, together = (  # infinite where there is none
            _peak(self.position, each).masked_fill(_flat(each), math.inf)
            for each in (self.contrast, self.polychromatic)
        )
        shown = [] if self.places is None else shown_places(self.places)
        for band, frequency in enumerate(self.frequency.tolist()):
            for where in np.ndindex(*together.shape[:-2]):
                head = [f"MTF at {frequency * self.pixel_pitch:.3g}"]
                if self.distance:
                    head.append(told_length(self.distance[where[0]]))
                if self.places is not None:
                    if where[-2:] not in shown:
                        continue
                    head.append(f"{float(self.places[where[-2:]].norm()):.2f}")
                cells = [*alone[where][:, band], *([] if single else [together[where][band]])]
                yield [*head, *(_told(*each.tolist()) for each in cells)]


@torch.no_grad()
def through_focus(
    lens: nn.Module,
    *,
    position: Sequence[float] | Tensor | None = None,
    frequency: Sequence[float] | Tensor | None = None,
    distance: float | Sequence[float] | Tensor | None = None,
    picture: int | tuple[int, int] | None = None,
    weights: Sequence[float] | Tensor | None = None,
    pixel: bool = True,
) -> ThroughFocus:
    """Through-focus contrast of a lens: MTF against the position of the sensor.

    The difference between tangential and sagittal best focus shows astigmatism, their change over
    the places field curvature, and their change with wavelength axial colour. For contrast against
    the distance of the scene, as for an extended depth of field, give many distances and
    ``position=[0.0]``.

    Parameters
    ----------
    lens : nn.Module
        A :class:`optics.Pupil`, or a module that contains exactly one, such as a front end.
    position : sequence or Tensor ``[Z]``, metres, optional
        Increasing positions of the planes, from the image of the focus: positive farther from the
        lens. By default the planes are half a quarter-wave depth of focus apart, ``lambda s'^2 /
        D^2`` with the middle wavelength. They extend eight planes beyond 0 and the mean foci of
        rays (by least squares; none nearer than s' / 2 or farther than 1.5 s' from the pupil). If
        that needs more than 257 planes, they are farther apart.
    frequency : sequence or Tensor ``[F]``, cycles/m, optional
        Frequencies of the contrast; by default a quarter of a cycle per pixel, or half of the
        lowest cut-off if that is less.
    distance : float, or sequence or Tensor ``[D]``, metres, optional
        Distance of the scene; by default the working distances of the front end if it has any,
        otherwise the focus.
    picture : int or (int, int), pixels, optional
        Height and width of the image, as for :func:`lens_performance`.
    weights : sequence or Tensor ``[L]``, optional
        Weight of each wavelength in the polychromatic contrast: the spectrum of the scene times the
        response of the sensor, in any unit. Equal by default.
    pixel : bool
        Include the MTF of the pixel area.

    Returns
    -------
    ThroughFocus
        Without gradients: train with :meth:`Pupil.mtf` at several distances.

    Raises
    ------
    TypeError
        When ``lens`` is not a module.
    ValueError
        For positions that are empty, not finite, not increasing, or at or in front of the pupil,
        and as :func:`lens_performance` for the rest.

    Warns
    -----
    UserWarning
        As :func:`lens_performance`; also for given planes, if the pupil is sampled finely enough
        for the defocus of the scene but not for that of the outermost planes.

    Notes
    -----
    In the plane at z, with the image distance s', the wavefront has the additional path ``r^2 / 2
    (1 / z - 1 / s')``, and a frequency f shears the pupil by ``lambda z f`` (Goodman, Fourier
    Optics, sec. 6.4 and 5.2): paraxial, scalar Fresnel diffraction. Of a :class:`CompoundPupil` the
    path is :attr:`Pupil.curve` instead of ``r^2 / 2``: longer where light slants. It is symmetric
    about the focus except for that scale, which moves the best focus of a perfect lens towards the
    pupil, by a negligible amount unless the depth of focus is a large part of s'. A small path W at
    the rim of a pupil of diameter D moves the focus by ``8 W s'^2 / D^2`` (Mahajan, Optical Imaging
    and Aberrations I, sec. 1.6). With Seidel terms ``W = W220 + W222`` moves the tangential focus
    and ``W = W220`` the sagittal one. The pupil is thin, with the same wavefront for all planes,
    and only a :class:`CompoundPupil` has the longer path of oblique rays. The largest contrast is
    that among the planes: if the best focus lies beyond them, a side maximum may be found instead.

    Examples
    --------
    >>> found = through_focus(pupil, frequency=[50e3], position=torch.linspace(-4e-5, 4e-5, 17))
    >>> found.best_focus[:, 0]  # by wavelength: tangential and sagittal
    """
    pupil = pupil_of(lens)[0]
    if position is not None:
        position = _check_position(position, pupil.image_distance)
    found = examine(
        lens,
        distance=distance,
        frequency=quarter_cycle(pupil) if frequency is None else frequency,
        picture=picture,
        weights=weights,
        stacklevel=3,
    )
    if position is not None:
        _check_ends(found, position, stacklevel=3)
    return contrast_in_planes(found, position, pixel=pixel)


def quarter_cycle(pupil: Pupil) -> float:
    """A quarter of a cycle per pixel, or half of the lowest cut-off where less, cycles/m."""
    cutoff = pupil.diameter / (max(pupil.wavelengths) * pupil.image_distance)
    return min(0.25 / pupil.pixel_pitch, cutoff / 2)


def contrast_in_planes(
    found: Examined, position: Tensor | None = None, *, pixel: bool = True
) -> ThroughFocus:
    """:func:`through_focus` of an examined lens, without the check of its sampling."""
    pupil = found.pupil
    if position is None:
        number = pupil.image_distance / pupil.diameter
        depth = 2 * middle_wavelength(pupil.wavelengths) * number**2
        position = _around(_foci(found), depth, pupil.image_distance)
    otf = found.otf(position, pixel=pixel)
    return ThroughFocus(
        image_distance=pupil.image_distance,
        pixel_pitch=pupil.pixel_pitch,
        wavelength=found.wavelength,
        weights=found.weights,
        frequency=found.frequency,
        position=position,
        contrast=modulus(otf),
        polychromatic=found.mixed(otf),
        distance=None if found.distance is None else tuple(found.distance.tolist()),
        places=found.places,
    )


def _check_position(position: Sequence[float] | Tensor, image_distance: float) -> Tensor:
    planes = as_numbers("position", position, "metres", dtype=torch.float64).reshape(-1)
    check_finite("position", planes, "metres")
    if not len(planes) or bool((planes.diff() <= 0).any()):
        raise ValueError(f"position must hold planes in growing order, not {planes.tolist()}")
    if float(planes[0]) <= -image_distance:
        raise ValueError(
            "position is metres from the image of the focus, and the pupil is at "
            f"{-image_distance:g}: planes must lie behind it, not at {float(planes[0]):g}"
        )
    return planes


def _check_ends(found: Examined, position: Tensor, *, stacklevel: int) -> None:
    """Warn if the pupil is too coarse for the defocus of the outermost planes, but not the scene's.

    It does not use up the pupil's own warning, which is given once.
    """
    pupil = found.pupil
    # The planes are converted to scene distances with the same defocus.
    vergence = 1 / (pupil.image_distance + position[[0, -1]]) - 1 / pupil.image_distance
    scene = pupil.focus if found.distance is None else found.distance[:, None]
    ends = pupil.defocused(scene, vergence).flatten()
    there = pupil._coarse(pupil._light(ends))
    if there is None or pupil._coarse(pupil._light(found.distance)):
        return
    low, high = (1e6 * position[[0, -1]]).tolist()
    what = f"planes from {low:+.4g} to {high:+.4g} um"
    warn_of_coarse(what, *there[1:], spacing=pupil.spacing, stacklevel=stacklevel + 1)


def _around(foci: Tensor, depth: float, image_distance: float) -> Tensor:
    """Planes around foci and the image of the focus, metres."""
    low = min(0.0, float(foci.min())) - _BEYOND * depth
    high = max(0.0, float(foci.max())) + _BEYOND * depth
    # Whole steps from 0, so that it is among them.
    step = max(_STEP * depth, (high - low) / (_MOST - 3))
    count = math.floor(low / step), math.ceil(high / step) + 1
    planes = step * torch.arange(*count, dtype=torch.float64)
    return planes[planes > -image_distance]


def _foci(found: Examined) -> Tensor:
    """Positions of the ray foci, the nearest and the farthest of all directions, metres."""
    pupil = found.pupil
    y, x = (coordinates(n, spacing=pupil.spacing)[:-1] for n in pupil.size)
    place = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
    # Phase steps from sample to sample are ray slopes, proportional to the position by a matrix. So
    # are those of a sensor that moves, which are the position itself but for slanting light: their
    # ratio has the axes of astigmatism as its eigenvectors.
    here = found.field[..., :-1, :-1].conj()
    steps = torch.stack(
        [here * there for there in (found.field[..., 1:, :-1], found.field[..., :-1, 1:])], -1
    ).flatten(-3, -2)
    slopes = steps.angle().double() * found.wavelength[:, None, None]
    slopes = slopes / (2 * math.pi * pupil.spacing)
    light = steps.abs().double().prod(-1, keepdim=True)  # none where a step leads into the dark
    light = light / light.sum(-2, keepdim=True).clamp_min(torch.finfo(light.dtype).tiny)
    place = place - (light * place).sum(-2, keepdim=True)
    spread = (light * place).mT @ place
    curve = pupil.curve.detach().to(place)
    moved = [curve[..., 1:, :-1], curve[..., :-1, 1:]]
    moved = [(there - curve[..., :-1, :-1]) / pupil.spacing for there in moved]
    bend, own = (
        (light * each).mT @ place @ torch.linalg.pinv(spread, hermitian=True)
        for each in (slopes, torch.stack(moved, -1).flatten(-3, -2))
    )
    own = torch.linalg.pinv((own + own.mT) / 2, hermitian=True)
    turns = torch.linalg.eigvals(own @ (bend + bend.mT) / 2).real * pupil.image_distance
    # 1 / z = 1 / s' - bend, as far as there is such a place near the image.
    turns = turns.clamp(-1.0, 1 / 3)
    return pupil.image_distance * turns / (1 - turns)


def _peak(position: Tensor, contrast: Tensor) -> Tensor:
    """Position of the largest contrast, ``[..., Z, F, 2]`` to ``[..., F, 2]``; NaN if none."""
    curves = contrast.movedim(-3, -1)
    if len(position) < 3:
        return torch.full_like(curves[..., 0], math.nan)
    top = curves.argmax(-1, keepdim=True)
    middle = top.clamp(1, len(position) - 2)
    (left, right), (low, high) = (
        [
            values.take_along_dim(middle + side, -1) - values.take_along_dim(middle, -1)
            for side in (-1, 1)
        ]
        for values in (position.expand_as(curves), curves)
    )
    # Vertex of the parabola through three points, relative to the middle one.
    slope = low * right.square() - high * left.square()
    bend = 2 * (low * right - high * left)
    found = position[middle] + torch.where(bend == 0, 0.0, slope / bend)
    return torch.where((top == middle)[..., 0] & ~_flat(contrast), found[..., 0], math.nan)


def _flat(contrast: Tensor) -> Tensor:
    """Whether contrast ``[..., Z, F, 2]`` is the same in all planes, ``[..., F, 2]``."""
    return (contrast.amax(-3) - contrast.amin(-3) < _SAME) | (contrast.shape[-3] < 3)


def _told(tangential: float, sagittal: float) -> str:
    """The best focus in two directions."""
    return f"{_told_focus(tangential)} T {_told_focus(sagittal)} S um"


def _told_focus(focus: float) -> str:
    if not math.isfinite(focus):
        return "beyond" if math.isnan(focus) else "none"
    return f"{round(1e6 * focus, 1) + 0.0:+.1f}"
