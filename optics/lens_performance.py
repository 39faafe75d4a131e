"""What a lens does, in the numbers of its data sheet: from its pupil, without a window or a draw.

::

    Pupil ─┬─ lengths ──► f-number, scale, depth of field
           └─ field(distance) ─┬─ sums ─► throughput, Strehl ratio
                               ├─ |transform|^2 ─► radii that hold so much of the light
                               └─ autocorrelation ─► MTF, tangential and sagittal

:func:`optics.photon_transfer` says as much of a sensor.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .fourier import squared_modulus
from .grid import fast_size
from .modulation import modulus, otf_along
from .off_axis import place_heights
from .pixel import pixel_mtf
from .planes import as_field
from .pupil import Pupil, middle_wavelength, pupil_of
from .quantity import as_numbers, check_between, check_positive, image_size
from .vignetting import Vignetting

__all__ = ["DepthOfField", "LensPerformance", "lens_performance"]

# Radii at which the encircled energy is taken: the first, in units of lambda s' / D, where the
# light within still grows as the area, and their ratio. Between them it is linear.
_FIRST_RADIUS, _RATIO = 0.02, 1.03
# First zero of J1 over pi: of the dark ring, in units of lambda s' / D.
_AIRY = 1.2196698912665045
# How far the shapes of two pictures may be apart, as of one that was cropped: 1.5 degrees.
_SAME_SHAPE = 0.05
# Numbers in the circles that are looked at together, 32 MB.
_TOGETHER = 2**22


class DepthOfField(NamedTuple):
    """Between which distances, and how far around its plane, the image stays sharp."""

    near: float
    """Nearest sharp distance of the scene, metres from the pupil."""
    far: float
    """Farthest one, metres; infinite from the hyperfocal distance on."""
    image: float
    """How far the sensor may lie before or behind its plane, metres."""


@dataclass(frozen=True)
class LensPerformance:
    """A lens in numbers; tensors at L wavelengths, float64 on the CPU.

    The leading axes of what the wavefront decides are ``[(D,) (P, Q,) L]``: of several distances,
    and of places where it changes across the picture.
    """

    focal_length: float
    """Metres."""
    diameter: float
    """Of the open aperture, its widest extent along x or y, metres."""
    focus: float
    """Distance of the scene that is sharp, metres."""
    image_distance: float
    """From the pupil to the image of that distance, metres."""
    pixel_pitch: float
    """Metres."""
    working_f_number: float
    """Image distance over the diameter of a full circle of the same area, which says the light."""
    wavelength: Tensor
    """``[L]``, metres."""
    throughput: Tensor
    """Light behind the elements over that in the open aperture."""
    strehl: Tensor
    """Irradiance on the axis over that of a flat wavefront of the same amplitude."""
    shares: tuple[float, ...]
    """Parts of the light that passes, S of them, whose circles are told."""
    radius: Tensor
    """Of the circle about the axis that holds a share, ``[..., L, S]``, metres in the image of the
    lens alone, without the area of the pixels; infinite where the grid of the pupil holds none."""
    frequency: Tensor
    """Of the contrast, ``[F]``, cycles/m in the image."""
    contrast: Tensor
    """Modulation transfer function of lens and pixel, ``[..., L, F, 2]``: tangential, of a sine
    that varies along the line from the middle of the picture, and sagittal, across it. In the
    middle, and with one wavefront for all places, along y and along x."""
    distance: tuple[float, ...] | None = None
    """Of the scene, metres; None in focus."""
    places: Tensor | None = None
    """Where the P Q places lie, ``[P, Q, 2]``: y and x from the middle, in half diagonals; None of
    a lens that is the same everywhere."""

    @property
    def f_number(self) -> float:
        """Focal length over diameter, as is engraved on a lens."""
        return self.focal_length / self.diameter

    @property
    def magnification(self) -> float:
        """Size of the image over that of the scene in focus; 0 of a scene at infinity."""
        return self.image_distance / self.focus

    @property
    def object_pixel(self) -> float:
        """Width that a pixel sees of the scene in focus, metres; infinite at infinity."""
        return math.inf if self.magnification == 0 else self.pixel_pitch / self.magnification

    @property
    def pixel_angle(self) -> float:
        """Angle that a pixel in the middle sees, radians."""
        return self.pixel_pitch / self.image_distance

    @property
    def airy_radius(self) -> Tensor:
        """First dark ring of an open circle as wide, ``1.22 lambda s' / D``, ``[L]``, metres."""
        return _AIRY / self.cutoff

    @property
    def cutoff(self) -> Tensor:
        """Frequency from which on there is no contrast, ``D / (lambda s')``, ``[L]``, cycles/m."""
        return self.diameter / (self.wavelength * self.image_distance)

    @property
    def q_sampling(self) -> Tensor:
        """``lambda s' / (D p)``, ``[L]``: from 2 on the pixels resolve all that the lens does."""
        return 1 / (self.cutoff * self.pixel_pitch)

    def depth_of_field(self, blur: float | None = None) -> DepthOfField:
        """Where the scene, and the sensor, may lie.

        Parameters
        ----------
        blur : float, metres, optional
            Diameter of the largest geometric spot in the image that is called sharp, such as a
            pixel. By default the path at the rim may be off by a quarter of the middle wavelength
            (Rayleigh, 1879), which leaves an open circle a Strehl ratio of 0.81.

        Returns
        -------
        DepthOfField
            Of the open aperture, paraxially: ``|1 / d - 1 / focus|`` of at most ``2 lambda / D^2``,
            or ``blur / (D s')``; the elements may extend it.

        Raises
        ------
        ValueError
            For a blur that is not positive.
        """
        if blur is None:
            allowed = 2 * middle_wavelength(self.wavelength.tolist()) / self.diameter**2
        else:
            check_positive("blur", blur, "metres")
            allowed = blur / (self.diameter * self.image_distance)
        far = 1 / self.focus - allowed
        return DepthOfField(
            near=1 / (1 / self.focus + allowed),
            far=math.inf if far <= 0 else 1 / far,
            image=allowed * self.image_distance**2,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the fields and what follows from them; None for what is not finite.

        Returns
        -------
        dict of str to any
        """
        return {
            name: _plain(value)
            for name, value in {
                **vars(self),
                "f_number": self.f_number,
                "magnification": self.magnification,
                "object_pixel": self.object_pixel,
                "pixel_angle": self.pixel_angle,
                "airy_radius": self.airy_radius,
                "cutoff": self.cutoff,
                "q_sampling": self.q_sampling,
                "depth_of_field": self.depth_of_field()._asdict(),
                "depth_of_field_of_a_pixel": self.depth_of_field(self.pixel_pitch)._asdict(),
            }.items()
        }

    def __str__(self) -> str:
        pixel = _length(self.pixel_pitch)
        scale = f"a pixel of {pixel} sees {1e3 * self.pixel_angle:.4g} mrad"
        if self.magnification:
            seen = _length(self.object_pixel)
            scale = f"magnification {self.magnification:.4g}: a pixel of {pixel} sees {seen}"
        lines = [
            f"lens   {_length(self.focal_length)}, f/{self.f_number:.3g}; focused at "
            f"{_length(self.focus)}, where its light is that of f/{self.working_f_number:.3g}",
            f"scale  {scale}",
        ]
        for name, depth, rule in (
            ("sharp", self.depth_of_field(), "a quarter wave at the rim"),
            ("", self.depth_of_field(self.pixel_pitch), "a spot of one pixel"),
        ):
            lines.append(
                f"{name:5}  {_length(depth.near)} to {_length(depth.far)}, the sensor within "
                f"+-{_length(depth.image)}: {rule}"
            )
        table = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def _rows(self) -> Iterator[list[str]]:
        """The table: a row for each distance, place that is shown, and wavelength."""
        pixels = (f"{each * self.pixel_pitch:.3g}" for each in self.frequency.tolist())
        yield [
            "nm",
            *(["distance"] if self.distance else []),
            *(["height"] if self.places is not None else []),
            "Airy radius",
            "cut-off",
            "passed",
            "Strehl",
            *(f"{100 * share:g} % in" for share in self.shares),
            *(f"MTF at {each}" for each in pixels),
        ]
        for where in np.ndindex(*self.strehl.shape[:-1]):
            head = [_length(self.distance[where[0]])] if self.distance else []
            if self.places is not None:
                place = where[-2:]
                if place not in self._shown():
                    continue
                head.append(f"{float(self.places[place].norm()):.2f}")
            for band, wavelength in enumerate(self.wavelength.tolist()):
                at = (*where, band)
                yield [
                    f"{1e9 * wavelength:.4g}",
                    *head,
                    _length(float(self.airy_radius[band])),
                    f"{float(self.cutoff[band]) * self.pixel_pitch:.3g} c/px",
                    f"{float(self.throughput[at]):.3f}",
                    f"{float(self.strehl[at]):.3f}",
                    *(_length(each) for each in self.radius[at].tolist()),
                    *(f"{t:.3f} T {s:.3f} S" for t, s in self.contrast[at].tolist()),
                ]

    def _shown(self) -> set[tuple[int, ...]]:
        """Of the places the one nearest to the middle, one on the border beside it, a corner."""
        assert self.places is not None
        rows, columns = self.places.shape[:2]
        return {(rows // 2, columns // 2), (rows // 2, columns - 1), (rows - 1, columns - 1)}


@torch.no_grad()
def lens_performance(
    lens: nn.Module,
    *,
    distance: float | Sequence[float] | Tensor | None = None,
    shares: Sequence[float] = (0.5, 0.8),
    frequency: Sequence[float] | Tensor | None = None,
    picture: int | tuple[int, int] | None = None,
) -> LensPerformance:
    """The figures by which a lens is judged: scale, depth of field, Strehl ratio, spot, contrast.

    From the wavefront in its pupil, so that neither the window of the PSF nor the folding of
    frequencies at the pixels changes them; samples of the pupil that are too coarse for the
    wavefront do, and are warned of. What comes behind the lens is not in them: distortion, a
    restoration, the mix of wavelengths in a channel (:meth:`IncoherentImaging.mtf` has that).

    Parameters
    ----------
    lens : nn.Module
        A :class:`optics.Pupil`, or a module that contains exactly one, such as a front end.
    distance : float, or sequence or Tensor ``[D]``, metres, optional
        Of the scene; by default the working distances of a front end that has some, otherwise the
        focus.
    shares : sequence of float
        Parts of the light that passes, above 0 and below 1, whose circles are looked for.
    frequency : sequence or Tensor ``[F]``, cycles/m, optional
        At which contrast is told; by default at an eighth, a quarter and half a cycle per pixel.
    picture : int or (int, int), pixels, optional
        Height and width of the picture: their ratio says where the places lie, and so which
        direction is tangential. By default that of a :class:`Vignetting` in the pupil; of
        coefficients in places the picture is not known, and taken as square.

    Returns
    -------
    LensPerformance
        Without gradients: train with :meth:`Pupil.mtf` and :func:`optics.encircled_energy`.

    Raises
    ------
    TypeError
        For what is no module.
    ValueError
        For a module with no pupil or several, a pupil that passes no light, shares that are not
        between 0 and 1, frequencies that are not finite, or a distance of 0.

    Warns
    -----
    UserWarning
        Once, for a phase that changes by more than pi from sample to sample, as :class:`Pupil`
        does. With places, when nothing tells the shape of the picture, and when it is another than
        that of a :class:`Vignetting`.

    Notes
    -----
    The Strehl ratio is ``|sum U|^2 / (sum |U|)^2`` of the field U in the pupil, 1 for a flat
    wavefront (Mahajan, Optical Imaging and Aberrations II, sec. 8.3); a tilt lowers it, which moves
    the image away from the axis. Encircled energy is that of the pupil's transform, padded to twice
    its size, as :func:`optics.encircled_energy` has it: of an open circle with a sharp edge radii
    are right to a thousandth at 64 samples across. The soft edge of
    :func:`optics.circular_aperture` dims the rings: the radius of 50 % is then 0.8 % too small,
    that of 80 %, where the light grows slowly, 2.5 % (at 128 samples 0.4 and 1.3 %). MTF is that of
    :meth:`Pupil.mtf`, of the lens and the area of the pixels.

    Examples
    --------
    >>> aperture = circular_aperture(128, diameter=3.5e-3, spacing=3e-5)
    >>> pupil = Pupil(
    ...     [], size=128, spacing=3e-5, aperture=aperture, wavelengths=(550e-9,),
    ...     focal_length=0.01, pixel_pitch=3e-6, psf_size=31, oversample=3, focus=0.4,
    ... )
    >>> print(lens_performance(pupil))
    """
    pupil, owner = pupil_of(lens)
    if distance is None:
        distance = getattr(owner, "working_distances", None)
    if distance is not None:
        distance = as_numbers("distance", distance, "metres", dtype=torch.float64).reshape(-1)
    given = as_numbers("shares", shares, dtype=torch.float64).reshape(-1)
    check_between("shares", given, 0, 1)
    if not len(given) or bool(((given == 0) | (given == 1)).any()):
        raise ValueError(f"shares must be above 0 and below 1, at least one, not {given.tolist()}")
    if frequency is None:
        frequency = torch.tensor([1 / 8, 1 / 4, 1 / 2], dtype=torch.float64) / pupil.pixel_pitch
    frequency = as_numbers("frequency", frequency, "cycles/m", dtype=torch.float64).reshape(-1)
    planes, phase = pupil._planes(distance)
    pupil._check_phase(distance, planes, phase, stacklevel=3)
    field = as_field(planes).cpu().to(torch.complex128)
    power = squared_modulus(field).sum((-2, -1))
    if not bool((power > 0).all()):
        raise ValueError("the pupil passes no light at one of its wavelengths or places")
    even = field.abs().sum((-2, -1)).square()
    places = None
    if pupil.places is not None:
        shape = _shape(pupil, picture, stacklevel=3)
        places = torch.stack(place_heights(pupil.places, shape), -1)
    wavelength = torch.tensor(pupil.wavelengths, dtype=torch.float64)
    samples = fast_size(2 * max(pupil.size))
    step = wavelength * pupil.image_distance / (samples * pupil.spacing)
    unit = samples * pupil.spacing / pupil.diameter
    return LensPerformance(
        focal_length=pupil.focal_length,
        diameter=pupil.diameter,
        focus=pupil.focus,
        image_distance=pupil.image_distance,
        pixel_pitch=pupil.pixel_pitch,
        working_f_number=float(pupil.working_f_number),
        wavelength=wavelength,
        throughput=power / float(pupil.incident_power),
        strehl=field.sum((-2, -1)).abs().square() / even,
        shares=tuple(given.tolist()),
        radius=_radii(field, given.tolist(), samples, unit) * step[:, None],
        frequency=frequency,
        contrast=_contrast(pupil, field, frequency, places),
        distance=None if distance is None else tuple(distance.tolist()),
        places=places,
    )


def _shape(
    pupil: Pupil, picture: int | tuple[int, int] | None, *, stacklevel: int
) -> tuple[int, int]:
    """Height and width of the picture, as given or as an element of the pupil knows it."""
    known = [part.picture for part in pupil.modules() if isinstance(part, Vignetting)]
    if picture is not None:
        known.insert(0, image_size(picture, "picture"))
    if not known:
        warnings.warn(
            "where the places lie, and so which direction is tangential, depends on the shape of "
            "the picture, which is taken as square: give picture=(height, width)",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
        return 1, 1
    first, *others = known
    for other in others:
        if abs(math.log(first[0] * other[1] / (first[1] * other[0]))) > _SAME_SHAPE:
            warnings.warn(
                f"the picture is {first[0]} x {first[1]} pixels, and a Vignetting of the pupil is "
                f"that of {other[0]} x {other[1]}: its light is cut off in other directions than "
                "those of the places; make it for this picture",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
    return first


def _radii(field: Tensor, shares: Sequence[float], samples: int, unit: float) -> Tensor:
    """Of circles that hold shares of the light ``[..., L, S]``, in samples of a padded transform.

    ``unit`` is ``lambda s' / D`` in the same. As :func:`optics.encircled_energy`, the OTF is
    integrated with the circle's transform, ``R J1(2 pi R f) / f``, here over rings of equal f.
    """
    steps = torch.fft.fftfreq(samples, 1 / samples, dtype=torch.float64)
    squares, ring = (steps[:, None] ** 2 + steps**2).flatten().unique(return_inverse=True)
    rings = torch.zeros(*field.shape[:-2], len(squares), dtype=torch.float64)
    for place in np.ndindex(*field.shape[:-2]):  # one after the other: of many, memory is small
        psf = squared_modulus(torch.fft.fft2(field[place], (samples, samples)))
        transfer = torch.fft.fft2(psf / psf.sum()).real
        rings[place].index_add_(0, ring, transfer.flatten())
    first, last = _FIRST_RADIUS * unit, samples / 2
    radii = torch.from_numpy(np.geomspace(first, last, math.ceil(math.log(last / first, _RATIO))))
    held: list[Tensor] = []
    for some in radii.split(max(1, _TOGETHER // len(squares))):
        z = 2 * math.pi * some[:, None] * squares.sqrt() / samples
        circle = torch.where(z == 0, 0.5, torch.special.bessel_j1(z) / z)  # to the area of it
        held.append(rings @ (2 * math.pi * some[:, None] ** 2 * circle / samples**2).mT)
        if bool((held[-1].amax(-1) >= max(shares)).all()):
            break
    curves = torch.cat(held, -1).flatten(0, -2).numpy()
    reach = radii[: curves.shape[-1]].numpy()
    found = [[_radius(curve, reach, share) for share in shares] for curve in curves]
    return torch.tensor(found, dtype=torch.float64).reshape(*field.shape[:-2], len(shares))


def _radius(energy: np.ndarray, radii: np.ndarray, share: float) -> float:
    """Where a curve of encircled energy first reaches a share; infinite where it does not."""
    if not (energy >= share).any():
        return math.inf
    above = int((energy >= share).argmax())
    if above == 0:  # as the area of the circle
        return float(radii[0] * math.sqrt(share / energy[0]))
    ends = slice(above - 1, above + 1)
    return float(np.interp(share, energy[ends], radii[ends]))


def _contrast(pupil: Pupil, field: Tensor, frequency: Tensor, places: Tensor | None) -> Tensor:
    """MTF of lens and pixel ``[..., L, F, 2]``, tangential and sagittal."""

    def along(field: Tensor, angle: float) -> Tensor:
        found = otf_along(
            field,
            frequency,
            angle=angle,
            wavelength=pupil.wavelengths,
            focal_length=pupil.image_distance,
            pupil_spacing=pupil.spacing,
        )
        parts = (frequency * math.cos(angle), frequency * math.sin(angle))
        across, down = (pixel_mtf(part, pitch=pupil.pixel_pitch) for part in parts)
        return modulus(found).double() * across * down

    def both(field: Tensor, angle: float) -> Tensor:
        return torch.stack([along(field, angle), along(field, angle + math.pi / 2)], -1)

    if places is None:
        return both(field, math.pi / 2)
    # Of each place in its own directions; in the middle, which has none, along y and x.
    rows = []
    for p, row in enumerate(places):
        angles = [math.atan2(y, x) if y or x else math.pi / 2 for y, x in row.tolist()]
        rows.append(
            torch.stack([both(field[..., p, q, :, :, :], a) for q, a in enumerate(angles)], -4)
        )
    return torch.stack(rows, -5)


def _length(metres: float) -> str:
    """A length in the unit of its size."""
    if math.isinf(metres):
        return "infinity"
    for unit, size in (("m", 1.0), ("mm", 1e-3), ("um", 1e-6)):
        if abs(metres) >= size:
            return f"{metres / size:.4g} {unit}"
    return f"{metres / 1e-9:.4g} nm"


def _plain(value: object) -> object:
    """What JSON holds: no tensor, and None for what is not finite."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
