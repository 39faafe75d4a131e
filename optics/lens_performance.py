"""What a lens does, in the numbers of its data sheet: from its pupil, without a window or a draw.

::

    Pupil ─┬─ lengths ──► f-number, scale, depth of field
           └─ field(distance) ─┬─ sums ─► throughput, Strehl ratio
                               ├─ |transform|^2 ─► radii that hold so much of the light
                               └─ autocorrelation ─► MTF, tangential and sagittal

:func:`optics.photon_transfer` says as much of a sensor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .examined import examine, plain, shown_places, told_length, told_mix, told_table
from .fourier import squared_modulus
from .grid import fast_size
from .modulation import modulus
from .pupil import middle_wavelength, pupil_of
from .quantity import as_numbers, check_between, check_positive

__all__ = ["DepthOfField", "LensPerformance", "Polychromatic", "lens_performance"]

# Radii at which the encircled energy is taken: the first, in units of lambda s' / D, where the
# light within still grows as the area, and their ratio. Between them it is linear.
_FIRST_RADIUS, _RATIO = 0.02, 1.03
# First zero of J1 over pi: of the dark ring, in units of lambda s' / D.
_AIRY = 1.2196698912665045
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


class Polychromatic(NamedTuple):
    """Of all wavelengths together, in one plane and about one axis; float64."""

    weights: Tensor
    """Share of each wavelength in the light that comes in and is seen, ``[L]``."""
    strehl: Tensor
    """As :attr:`LensPerformance.strehl`, ``[...]``."""
    radius: Tensor
    """As :attr:`LensPerformance.radius`, ``[..., S]``, metres."""
    contrast: Tensor
    """As :attr:`LensPerformance.contrast`, ``[..., F, 2]``."""


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
    polychromatic: Polychromatic
    """Strehl ratio, radii and contrast of all wavelengths together."""
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
            name: plain(value)
            for name, value in {
                **vars(self),
                "polychromatic": self.polychromatic._asdict(),
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
        pixel = told_length(self.pixel_pitch)
        scale = f"a pixel of {pixel} sees {1e3 * self.pixel_angle:.4g} mrad"
        if self.magnification:
            seen = told_length(self.object_pixel)
            scale = f"magnification {self.magnification:.4g}: a pixel of {pixel} sees {seen}"
        lines = [
            f"lens   {told_length(self.focal_length)}, f/{self.f_number:.3g}; focused at "
            f"{told_length(self.focus)}, where its light is that of f/{self.working_f_number:.3g}",
            f"scale  {scale}",
        ]
        for name, depth, rule in (
            ("sharp", self.depth_of_field(), "a quarter wave at the rim"),
            ("", self.depth_of_field(self.pixel_pitch), "a spot of one pixel"),
        ):
            near, far, image = map(told_length, depth)
            lines.append(f"{name:5}  {near} to {far}, the sensor within +-{image}: {rule}")
        lines.append("MTF    of lens and pixel, at cycles/pixel: tangential (T) and sagittal (S)")
        lines.extend(told_table(list(self._rows())))
        if len(self.wavelength) > 1:
            mix = told_mix(self.polychromatic.weights)
            lines.append(f"all: the wavelengths together, {mix}")
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
        shown = [] if self.places is None else shown_places(self.places)
        for where in np.ndindex(*self.strehl.shape[:-1]):
            head = [told_length(self.distance[where[0]])] if self.distance else []
            if self.places is not None:
                place = where[-2:]
                if place not in shown:
                    continue
                head.append(f"{float(self.places[place].norm()):.2f}")
            for band, wavelength in enumerate(self.wavelength.tolist()):
                at = (*where, band)
                yield [
                    f"{1e9 * wavelength:.4g}",
                    *head,
                    told_length(float(self.airy_radius[band])),
                    f"{float(self.cutoff[band]) * self.pixel_pitch:.3g} c/px",
                    f"{float(self.throughput[at]):.3f}",
                    *_told(self.strehl[at], self.radius[at], self.contrast[at]),
                ]
            if len(self.wavelength) > 1:
                mix = self.polychromatic
                passed = float(self.throughput[where] @ mix.weights)
                told = _told(mix.strehl[where], mix.radius[where], mix.contrast[where])
                yield ["all", *head, "", "", f"{passed:.3f}", *told]


def _told(strehl: Tensor, radius: Tensor, contrast: Tensor) -> Iterator[str]:
    """Cells of a row."""
    yield f"{float(strehl):.3f}"
    yield from map(told_length, radius.tolist())
    yield from (f"{t:.3f} T {s:.3f} S" for t, s in contrast.tolist())


@torch.no_grad()
def lens_performance(
    lens: nn.Module,
    *,
    distance: float | Sequence[float] | Tensor | None = None,
    shares: Sequence[float] = (0.5, 0.8),
    frequency: Sequence[float] | Tensor | None = None,
    picture: int | tuple[int, int] | None = None,
    weights: Sequence[float] | Tensor | None = None,
) -> LensPerformance:
    """The figures by which a lens is judged: scale, depth of field, Strehl ratio, spot, contrast.

    From the wavefront in its pupil, so that neither the window of the PSF nor the folding of
    frequencies at the pixels changes them; samples of the pupil that are too coarse for the
    wavefront do, and are warned of. What comes behind the lens is not in them: distortion, a
    restoration, the colours of a channel (:meth:`IncoherentImaging.mtf` has them).

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
    weights : sequence or Tensor ``[L]``, optional
        How much each wavelength counts in :attr:`LensPerformance.polychromatic`: the spectrum of
        the scene times the response of the sensor, in any unit. Equal by default. What the
        elements keep back of each is counted besides.

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
        between 0 and 1, frequencies that are not finite, a distance of 0, or weights that are
        negative, all 0, not finite or not one for each wavelength.

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

    Light of several wavelengths adds up as irradiance on the sensor, in the one plane where it
    stands and about one axis: complex transfer functions are summed, and irradiance on the axis and
    in circles, with the weights times the light that passes. So colours that lie beside each other
    cost contrast that none of them lacks. The irradiance on the axis of as much light goes as ``1 /
    lambda^2``, in the Strehl ratio's numerator as in its denominator (Mahajan, sec. 8.3).

    Examples
    --------
    >>> aperture = circular_aperture(128, diameter=3.5e-3, spacing=3e-5)
    >>> pupil = Pupil(
    ...     [], size=128, spacing=3e-5, aperture=aperture, wavelengths=(550e-9,),
    ...     focal_length=0.01, pixel_pitch=3e-6, psf_size=31, oversample=3, focus=0.4,
    ... )
    >>> print(lens_performance(pupil))
    """
    given = as_numbers("shares", shares, dtype=torch.float64).reshape(-1)
    check_between("shares", given, 0, 1)
    if not len(given) or bool(((given == 0) | (given == 1)).any()):
        raise ValueError(f"shares must be above 0 and below 1, at least one, not {given.tolist()}")
    if frequency is None:
        pitch = pupil_of(lens)[0].pixel_pitch
        frequency = torch.tensor([1 / 8, 1 / 4, 1 / 2], dtype=torch.float64) / pitch
    found = examine(
        lens,
        distance=distance,
        frequency=frequency,
        picture=picture,
        weights=weights,
        stacklevel=3,
    )
    pupil, wavelength = found.pupil, found.wavelength
    field = found.field.to(torch.complex128)
    peak = field.sum((-2, -1)).abs().square()
    flat = field.abs().sum((-2, -1)).square()
    samples = fast_size(2 * max(pupil.size))
    step = wavelength * pupil.image_distance / (samples * pupil.spacing)
    unit = samples * pupil.spacing / pupil.diameter
    radius, together = _radii(field, given.tolist(), samples, unit, step, found.light)
    otf = found.otf(wavelength.new_zeros(1))  # in the one plane of the sensor
    on_axis = found.weights / wavelength.square()
    return LensPerformance(
        focal_length=pupil.focal_length,
        diameter=pupil.diameter,
        focus=pupil.focus,
        image_distance=pupil.image_distance,
        pixel_pitch=pupil.pixel_pitch,
        working_f_number=float(pupil.working_f_number),
        wavelength=wavelength,
        throughput=found.power / float(pupil.incident_power),
        strehl=peak / flat,
        shares=tuple(given.tolist()),
        radius=radius,
        frequency=found.frequency,
        contrast=modulus(otf).squeeze(-3),
        polychromatic=Polychromatic(
            weights=found.weights,
            strehl=(peak @ on_axis) / (flat @ on_axis),
            radius=together,
            contrast=found.mixed(otf).squeeze(-3),
        ),
        distance=None if found.distance is None else tuple(found.distance.tolist()),
        places=found.places,
    )


def _radii(
    field: Tensor,
    shares: Sequence[float],
    samples: int,
    unit: float,
    step: Tensor,
    light: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of circles that hold shares of the light, metres: ``[..., L, S]``, and all ``[..., S]``.

    A sample of the padded transform is ``step`` wide, ``[L]``, and ``unit`` of them ``lambda s' /
    D``. As :func:`optics.encircled_energy`, the OTF is integrated with the circle's transform, ``R
    J1(2 pi R f) / f``, here over rings of equal f.
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
    # Of all together, a circle of the same metres is the fewest samples of the longest wave.
    narrow = float(step.min() / step.max())
    for some in radii.split(max(1, _TOGETHER // len(squares))):
        z = 2 * math.pi * some[:, None] * squares.sqrt() / samples
        circle = torch.where(z == 0, 0.5, torch.special.bessel_j1(z) / z)  # to the area of it
        held.append(rings @ (2 * math.pi * some[:, None] ** 2 * circle / samples**2).mT)
        curves = torch.cat(held, -1)
        inner = radii[: curves.shape[-1]] <= narrow * some[-1]
        if bool((curves[..., inner] >= max(shares)).any(-1).all()):
            break
    curves = torch.cat(held, -1).numpy()
    reach = radii[: curves.shape[-1]].numpy()
    widths = step.numpy()
    alone = np.empty((*curves.shape[:-1], len(shares)))
    for at in np.ndindex(*curves.shape[:-1]):
        alone[at] = [_radius(curves[at], reach * widths[at[-1]], share) for share in shares]
    # Each curve is linear between its own radii, and so their sum between those of all.
    common = np.unique(np.outer(widths, reach))
    common = common[(common >= reach[0] * widths.max()) & (common <= reach[-1] * widths.min())]
    together = np.empty((*curves.shape[:-2], len(shares)))
    for at in np.ndindex(*curves.shape[:-2]):
        parts = zip(light[at].tolist(), widths, curves[at], strict=True)
        mixed = sum(part * np.interp(common, width * reach, curve) for part, width, curve in parts)
        together[at] = [_radius(np.asarray(mixed), common, share) for share in shares]
    return torch.from_numpy(alone), torch.from_numpy(together)


def _radius(energy: np.ndarray, radii: np.ndarray, share: float) -> float:
    """Where a curve of encircled energy first reaches a share; infinite where it does not."""
    if not (energy >= share).any():
        return math.inf
    above = int((energy >= share).argmax())
    if above == 0:  # as the area of the circle
        return float(radii[0] * math.sqrt(share / energy[0]))
    ends = slice(above - 1, above + 1)
    return float(np.interp(share, energy[ends], radii[ends]))
