"""Performance of a lens in the numbers of a data sheet, computed from its pupil.

::

    Pupil ─┬─ lengths ──► f-number, scale, depth of field
           └─ field(distance) ─┬─ sums ─► throughput, Strehl ratio
                               ├─ |transform|^2 ─► radii that hold so much of the light
                               └─ autocorrelation ─► MTF, tangential and sagittal

:func:`optics.photon_transfer` does the same for a sensor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from optics.fourier import squared_modulus
from optics.grid import fast_size
from optics.pupil.modulation import modulus
from optics.pupil.pupil import middle_wavelength, pupil_of
from optics.quantity import as_numbers, check_between, check_positive

from .examined import examine, plain, shown_places, told_length, told_mix, told_table

__all__ = ["DepthOfField", "LensPerformance", "Polychromatic", "lens_performance"]

# Radii at which the encircled energy is computed: the first one, in units of lambda s' / D, where
# the light within still grows as the area, and their ratio. Between them it is interpolated.
_FIRST_RADIUS, _RATIO = 0.02, 1.03
# First zero of J1 over pi: radius of the first dark ring, in units of lambda s' / D.
_AIRY = 1.2196698912665045
# Numbers of the circles that are computed together, 32 MB.
_TOGETHER = 2**22


class DepthOfField(NamedTuple):
    """Depth of field of the scene, and depth of focus of the sensor."""

    near: float
    """Nearest sharp distance of the scene, metres, measured as :attr:`LensPerformance.focus`."""
    far: float
    """Farthest sharp distance, metres; infinite from the hyperfocal distance on."""
    image: float
    """Distance by which the sensor may lie in front of or behind the image plane, metres."""


class Polychromatic(NamedTuple):
    """Figures of all wavelengths together, in one plane and about one axis; float64."""

    weights: Tensor
    """Weight of each wavelength: its share in the detected light before the elements, ``[L]``."""
    strehl: Tensor
    """As :attr:`LensPerformance.strehl`, ``[...]``."""
    radius: Tensor
    """As :attr:`LensPerformance.radius`, ``[..., S]``, metres."""
    contrast: Tensor
    """As :attr:`LensPerformance.contrast`, ``[..., F, 2]``."""


@dataclass(frozen=True)
class LensPerformance:
    """Performance of a lens in numbers; tensors at L wavelengths, float64 on the CPU.

    The leading axes of figures that depend on the wavefront are ``[(D,) (P, Q,) L]``: D with
    several distances, P and Q with places at which the wavefront differs.
    """

    focal_length: float
    """Focal length, metres."""
    diameter: float
    """Widest extent of the open aperture along x or y, metres. Of a :class:`CompoundPupil` that of
    its lens as it is now; where that is telecentric towards its object, of a distant substitute."""
    focus: float
    """Distance of the scene that is in focus, metres in front of the pupil. Of a
    :class:`CompoundPupil` that of its scenes from its first vertex, for which it is traced: what
    its last thickness is beside their image is in its wavefronts."""
    entrance_pupil: float
    """Distance from where focus and distances are measured to the entrance pupil, metres; 0 for a
    thin lens."""
    image_distance: float
    """Distance from the pupil to the image of the focus, metres; of a :class:`CompoundPupil` its
    working f-number times the diameter."""
    pixel_pitch: float
    """Pixel pitch, metres."""
    working_f_number: float
    """Image distance over the diameter of a full circle of the same area; it gives the light."""
    wavelength: Tensor
    """Wavelengths ``[L]``, metres."""
    throughput: Tensor
    """Light behind the elements over that in the open aperture."""
    strehl: Tensor
    """Strehl ratio: irradiance on the axis over that of a flat wavefront of the same amplitude."""
    shares: tuple[float, ...]
    """Fractions of the transmitted light, S of them, for which :attr:`radius` is given."""
    radius: Tensor
    """Radius of the circle about the axis that holds a share, ``[..., L, S]``, metres in the image
    of the lens alone, without the area of the pixels; infinite where the grid of the pupil is too
    small for it."""
    frequency: Tensor
    """Frequencies of the contrast, ``[F]``, cycles/m in the image."""
    contrast: Tensor
    """Modulation transfer function of lens and pixel, ``[..., L, F, 2]``: tangential, for a sine
    that varies along the line from the centre of the image, and sagittal, across it. In the centre,
    and with one wavefront for all places, along y and along x."""
    polychromatic: Polychromatic
    """Strehl ratio, radii and contrast of all wavelengths together."""
    distance: tuple[float, ...] | None = None
    """Distances of the scene, metres; None in focus."""
    places: Tensor | None = None
    """Positions of the P Q places, ``[P, Q, 2]``: y and x from the centre, in half diagonals; None
    for a lens that is the same over the field."""

    @property
    def f_number(self) -> float:
        """Focal length over diameter, as engraved on a lens.

        It says little of a :class:`CompoundPupil` with a near object, whose :attr:`diameter` may be
        that of a distant substitute; :attr:`working_f_number` does.
        """
        return self.focal_length / self.diameter

    @property
    def magnification(self) -> float:
        """Size of the image over that of the scene in focus; 0 for a scene at infinity."""
        return abs(self.image_distance / (self.focus + self.entrance_pupil))

    @property
    def object_pixel(self) -> float:
        """Width of a pixel projected to the scene in focus, metres; infinite at infinity."""
        return math.inf if self.magnification == 0 else self.pixel_pitch / self.magnification

    @property
    def pixel_angle(self) -> float:
        """Field angle of a pixel on the axis, radians."""
        return self.pixel_pitch / self.image_distance

    @property
    def airy_radius(self) -> Tensor:
        """Radius of the first dark ring of an open circle, ``1.22 lambda s' / D``, ``[L]``, m."""
        return _AIRY / self.cutoff

    @property
    def cutoff(self) -> Tensor:
        """Cut-off frequency, above which contrast is 0, ``D / (lambda s')``, ``[L]``, cycles/m."""
        return self.diameter / (self.wavelength * self.image_distance)

    @property
    def q_sampling(self) -> Tensor:
        """``Q = lambda s' / (D p)``, ``[L]``; with Q >= 2 the pixels do not alias the image."""
        return 1 / (self.cutoff * self.pixel_pitch)

    def depth_of_field(self, blur: float | None = None) -> DepthOfField:
        """Range of distances of the scene, and of the sensor, within which the image is sharp.

        Parameters
        ----------
        blur : float, metres, optional
            Circle of confusion: diameter of the largest geometric spot in the image that counts as
            sharp, such as a pixel. By default the criterion is an optical path difference of a
            quarter of the middle wavelength at the rim (Rayleigh, 1879), with which an open circle
            has a Strehl ratio of 0.81.

        Returns
        -------
        DepthOfField
            Paraxial, for the open aperture: ``|1 / d - 1 / focus|``, both from the entrance pupil,
            is at most ``2 lambda / D^2``, or ``blur / (D s')``. The elements may extend it.

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
        away = self.entrance_pupil
        sharp = 1 / (self.focus + away)
        near, far = sharp + allowed, sharp - allowed
        return DepthOfField(
            # Negative where the entrance pupil lies in front of the scene.
            near=-math.inf if sharp < 0 <= near else 1 / near - away,
            far=math.inf if sharp >= 0 >= far else 1 / far - away,
            image=allowed * self.image_distance**2,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields and properties as JSON types; None for values that are not finite.

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
        # Of a whole lens that is focused near, the entrance pupil may be far away and huge.
        thin = self.entrance_pupil == 0 or math.isinf(self.focus)
        engraved = f", f/{self.f_number:.3g}" if thin else ""
        lines = [
            f"lens   {told_length(self.focal_length)}{engraved}; focused at "
            f"{told_length(self.focus)}, where its light is that of f/{self.working_f_number:.3g}",
            f"scale  {scale}",
        ]
        for name, depth, rule in (
            ("sharp", self.depth_of_field(), "a quarter wave at the rim"),
            ("", self.depth_of_field(self.pixel_pitch), "a spot of one pixel"),
        ):
            near, far, image = map(told_length, depth)
            lines.append(
                f"{name:5}  {near} to {far}, the sensor within +-{image}: {rule}, "
                "of the lens without its elements"
            )
        lines.append("MTF    of lens and pixel, at cycles/pixel: tangential (T) and sagittal (S)")
        lines.extend(told_table(list(self._rows())))
        if len(self.wavelength) > 1:
            mix = told_mix(self.polychromatic.weights)
            lines.append(f"all: the wavelengths together, {mix}")
        return "\n".join(lines)

    def _rows(self) -> Iterator[list[str]]:
        """Rows of the table: one for each distance, shown place, and wavelength."""
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
    """Figures of merit of a lens: scale, depth of field, Strehl ratio, spot size, contrast.

    They are computed from the wavefront in the pupil, so that neither the window of the PSF nor
    aliasing at the pixels affects them. Samples of the pupil that are too coarse for the wavefront
    do, with a warning. Steps after the lens are not included: distortion, a restoration, the
    colours of a channel (:meth:`IncoherentImaging.mtf` includes those).

    Parameters
    ----------
    lens : nn.Module
        A :class:`optics.Pupil`, or a module that contains exactly one, such as a front end.
    distance : float, or sequence or Tensor ``[D]``, metres, optional
        Distance of the scene; by default the working distances of the front end if it has any,
        otherwise the focus.
    shares : sequence of float
        Fractions of the transmitted light, above 0 and below 1, whose encircling radius is found.
    frequency : sequence or Tensor ``[F]``, cycles/m, optional
        Frequencies of the contrast; by default an eighth, a quarter and half a cycle per pixel.
    picture : int or (int, int), pixels, optional
        Height and width of the image. Their ratio gives the positions of the places, and thus the
        tangential direction. By default that of a :class:`Vignetting` or a
        :class:`CompoundPupil`; without one the image is taken as square.
    weights : sequence or Tensor ``[L]``, optional
        Weight of each wavelength in :attr:`LensPerformance.polychromatic`: the spectrum of the
        scene times the response of the sensor, in any unit. Equal by default. The transmission of
        the elements at each wavelength is included in addition.

    Returns
    -------
    LensPerformance
        Without gradients: train with :meth:`Pupil.mtf` and :func:`optics.encircled_energy`.

    Raises
    ------
    TypeError
        When ``lens`` is not a module.
    ValueError
        For a module with no pupil or several, a pupil that passes no light, shares that are not
        between 0 and 1, frequencies that are negative or not finite, a distance of 0, or weights
        that are negative, all 0, not finite or not one for each wavelength.

    Warns
    -----
    UserWarning
        Once, for a phase that changes by more than pi from sample to sample, as :class:`Pupil`
        does. With places, when the shape of the image is not known, or differs from that of a
        :class:`Vignetting` or :class:`CompoundPupil`.

    Notes
    -----
    The Strehl ratio is ``|sum U|^2 / (sum |U|)^2`` of the field U in the pupil, 1 for a flat
    wavefront (Mahajan, Optical Imaging and Aberrations II, sec. 8.3). A tilt lowers it, as it moves
    the image away from the axis. The encircled energy is computed as in
    :func:`optics.encircled_energy`, from the pupil's transform, padded to twice its size. For an
    open circle with a sharp edge the radii are right to a thousandth at 64 samples across. The soft
    edge of :func:`optics.circular_aperture` dims the rings: the radius of 50 % is then 0.8 % too
    small, that of 80 %, where the light grows slowly, 2.5 % (at 128 samples 0.4 and 1.3 %). The MTF
    is that of :meth:`Pupil.mtf`, of the lens and the area of the pixels.

    Light of several wavelengths adds as irradiance on the sensor, in one plane and about one axis:
    complex transfer functions, and irradiance on the axis and in circles, are summed with the
    weights times the transmitted light. Lateral colour thus lowers the polychromatic contrast below
    that of each wavelength. For equal light, the irradiance on the axis is proportional to ``1 /
    lambda^2``, in the numerator and the denominator of the Strehl ratio (Mahajan, sec. 8.3).

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
        diameter=pupil.diameter * pupil.widening,
        focus=pupil.focus,
        entrance_pupil=pupil.entrance_pupil,
        image_distance=pupil.image_distance * pupil.widening,
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
