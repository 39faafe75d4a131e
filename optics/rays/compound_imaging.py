"""The camera of a lens of several elements, trained through its point-spread functions.

::

    CompoundLens ──trace──► Zernike terms along a radius ──turned──► CompoundPupil [P, Q, L, H, W]
                                                       ──Pupil──► PSFs ──► VaryingImaging
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from optics.fourier import Boundary, phasor
from optics.grid import coordinates
from optics.imaging.projection import Projection, distortion_fit
from optics.imaging.varying import VaryingImaging
from optics.light.colour import ColourChannels
from optics.pupil.element import Element
from optics.pupil.pupil import Pupil, middle_wavelength
from optics.quantity import (
    check_positive,
    check_wavelength,
    full_precision,
    image_size,
    one_number,
    single,
    whole_number,
)
from optics.wave.aperture import circular_aperture
from optics.wave.off_axis import field_coefficients
from optics.wave.zernike import zernike_at, zernike_basis

from .compound_lens import CompoundLens, fixed_surface
from .lens_field import fitted, lens_image, paths
from .paraxial import first_order, first_order_of
from .ray_aiming import GivenLens, aimed, pupil_points
from .surface import indices_of

__all__ = ["CompoundPupil", "compound_imaging"]

# Zernike polynomials of a place: those of the sixth order.
_INDICES = tuple(range(1, 29))
# Rings of rays, one more than the order.
_RINGS = 7
# Weight of rays that a rim cuts off.
_DARK = 1e-2
# Terms of the distortion, and steps to the field whose image is at a height.
_TERMS, _SEARCH = 3, 25


class CompoundPupil(Element):
    """The pupil of a :class:`CompoundLens` for each place of a picture: wavefronts and openings.

    The wavefronts are those of :func:`lens_wavefronts` at a few heights along a radius of the
    picture, turned to its places by :func:`field_coefficients`; the picture's middle is on the
    axis. Their spheres lie about the image of the middle wavelength, so that lateral colour moves
    the PSFs. Rims cut off what they did when this was built.

    Parameters
    ----------
    lens : CompoundLens
        Its parameters are trained.
    size : int or (int, int)
        Samples (H, W) of the pupil.
    spacing, diameter : float, metres
        Distance of the samples; diameter of the pupil: any, as the image distance over it is the
        f-number.
    wavelengths : sequence of float, metres
        Those of the :class:`Pupil`, in its order.
    places : int or (int, int)
        Places (P, Q), from border to border of the picture, two or more along each side.
    picture : int or (int, int)
        Height and width of the picture, pixels.
    pixel_pitch : float, metres
    heights : int
        Points along the radius at which the lens is traced, 2 or more.

    Attributes
    ----------
    fields : Tensor ``[R]``
        Angles, radians, or heights of the object, metres, of these points.
    heights : Tensor ``[R]``, metres
        In the image, from 0 to half of the picture's diagonal.

    Raises
    ------
    TypeError
        When this is no CompoundLens.
    ValueError
        For lengths that are not positive, fewer than two places or heights, a picture whose corner
        the lens does not reach, and rims that leave a height without light.
    """

    spread: Tensor
    fields: Tensor
    heights: Tensor
    points: Tensor
    weights: Tensor
    at_points: Tensor
    basis: Tensor
    open: Tensor
    places: tuple[int, int]

    def __init__(
        self,
        lens: CompoundLens,
        size: int | tuple[int, int],
        *,
        spacing: float,
        diameter: float,
        wavelengths: Sequence[float],
        places: int | tuple[int, int],
        picture: int | tuple[int, int],
        pixel_pitch: float,
        heights: int = 6,
    ) -> None:
        super().__init__(size, spacing)
        if not isinstance(lens, CompoundLens):
            raise TypeError(f"lens must be an optics.CompoundLens, not {type(lens).__name__}")
        self.diameter = one_number("diameter", diameter, "metres")
        check_positive("diameter", self.diameter, "metres")
        pitch = one_number("pixel_pitch", pixel_pitch, "metres")
        check_positive("pixel_pitch", pitch, "metres")
        self.lens = lens
        self.places = image_size(places, "places")
        self.picture = image_size(picture, "picture")
        light = torch.tensor(list(wavelengths), dtype=torch.float64)
        check_wavelength("wavelengths", light)
        self.middle = [*wavelengths].index(middle_wavelength(wavelengths))
        corner = pitch * math.hypot(*self.picture) / 2
        count = whole_number("heights", heights, least=2)
        along = corner * torch.linspace(0, 1, count, dtype=torch.float64)
        with torch.no_grad():
            fields = _fields_of(lens, along, light[self.middle])
        self.register_buffer("heights", along)
        self.register_buffer("fields", fields)
        points, weights = pupil_points(_RINGS)
        terms = len(_INDICES)
        # What each coefficient at each height adds to each place: field_coefficients is linear.
        every = torch.eye(count * terms, dtype=torch.float64).reshape(-1, count, terms)
        spread = field_coefficients(
            every.transpose(0, 1), along, places=self.places, size=self.picture, indices=_INDICES
        )
        at_points = zernike_at(_INDICES, points[:, 1], points[:, 0], rim=1 + 1e-9)
        basis = zernike_basis(
            _INDICES, self.size, diameter=self.diameter, spacing=self.spacing, soft_edge=True
        )
        for name, value in (
            ("points", points),
            ("at_points", at_points),
            ("spread", spread.unflatten(2, (count, terms))),
            ("basis", basis),
        ):
            self.register_buffer(name, value, persistent=False)
        with torch.no_grad():
            found = aimed(self._given(light[self.middle : self.middle + 1]), points)
            dark = ~found.lit[:, 0].any(-1)
            if bool(dark.any()):
                raise ValueError(
                    f"no ray comes {float(along[dark][0]):g} m beside the axis, in the picture: "
                    "give fewer pixels, a smaller pixel_pitch, or wider rims"
                )
            opening = self._opening([beyond[:, 0] for beyond in found.beyond], weights)
        self.register_buffer("open", opening)
        # Dark parts of the stop count little, so that polynomials stay within bounds there.
        self.register_buffer("weights", weights * torch.where(found.lit, 1.0, _DARK))

    def coefficients(self, wavelength: Tensor) -> Tensor:
        """Zernike terms of Noll's 1 to 28, metres RMS, by which light lags.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor, float64 ``[P, Q, L, 28]``
        """
        lens = self._given(wavelength.double())
        middle = min(self.middle, len(wavelength) - 1)
        with full_precision(lens.light):
            found = aimed(lens, self.points.double())
            path = paths(lens, found, reference=middle)
            given = (self.weights.double(), self.at_points.double(), _INDICES)
            table = fitted(path, found.rays.valid, *given).coefficients
            return torch.einsum("rlj,pqrjk->pqlk", table, self.spread.double())

    def _given(self, light: Tensor) -> GivenLens:
        surfaces = self.lens.surfaces
        indices = indices_of(surfaces, light)
        return GivenLens(surfaces, indices, self.fields.double(), light, self.lens.object_distance)

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Opening and wavefront, complex ``[P, Q, L, H, W]``."""
        radians = self.coefficients(wavelength) * (2 * math.pi / wavelength.double())[:, None]
        basis = single(self.basis)
        with full_precision(basis):
            phase = (radians.to(basis) @ basis.flatten(1)).unflatten(-1, basis.shape[1:])
        return phasor(phase) * single(self.open)

    def _opening(self, rims: Sequence[Tensor], weights: Tensor) -> Tensor:
        """Amplitude that rims leave open, ``[P, Q, 1, H, W]``, with soft edges.

        How far rays ``[R, N]`` are beyond a rim is smooth over the pupil, and so written in
        polynomials, which turn to the places as wavefronts do.
        """
        opening = torch.ones(*self.places, 1, *self.size, dtype=torch.float64)
        y, x = (coordinates(n, spacing=2 * self.spacing / self.diameter) for n in self.size)
        basis = zernike_at(_INDICES, y[:, None], x, rim=math.inf).double()
        for beyond in rims:
            table = torch.einsum("n,jn,rn->rj", weights, self.at_points, beyond)
            terms = torch.einsum("rj,pqrjk->pqk", table, self.spread)
            over = torch.einsum("pqk,khw->pqhw", terms, basis)
            slope = torch.stack(torch.gradient(over, dim=(-2, -1))).square().sum(0).sqrt()
            opening = opening * (0.5 - over / slope.clamp_min(1e-9)).clamp(0, 1)[:, :, None]
        return opening.to(torch.get_default_dtype())

    def extra_repr(self) -> str:
        """Name the grid and the picture."""
        return (
            f"{super().extra_repr()}, diameter={self.diameter:g} m, places={self.places}, "
            f"picture={self.picture} pixels"
        )


def compound_imaging(
    lens: CompoundLens,
    *,
    picture: int | tuple[int, int],
    pixel_pitch: float,
    wavelengths: Sequence[float],
    psf_size: int | tuple[int, int],
    rank: int,
    places: int | tuple[int, int] = 5,
    pupil_size: int = 64,
    oversample: int = 3,
    spectral_response: Tensor | None = None,
    colour: ColourChannels | None = None,
    boundary: Boundary = "replicate",
) -> VaryingImaging:
    """The camera of a lens of several surfaces, whose numbers are trained through its PSFs.

    PSFs, lateral colour and defocus follow the lens as it is trained; distortion, falloff and what
    rims cut off are those with which it is built: build it again after a long training.

    Parameters
    ----------
    lens : CompoundLens
    picture : int or (int, int)
        Height and width of the picture, pixels, whose middle is on the axis.
    pixel_pitch : float, metres
    wavelengths : sequence of float, metres
    psf_size : int or (int, int), pixels
    rank, places, spectral_response, colour, boundary
        As of :class:`VaryingImaging`; ``spectral_response`` is ``[C, L]``.
    pupil_size : int
        Samples across the pupil.
    oversample : int, odd
        As of :class:`Pupil`.

    Returns
    -------
    VaryingImaging
        With a :class:`Projection` of the lens's distortion and falloff. Its flat field is at most
        1: with a pincushion distortion, which :func:`distort` darkens, it is below 1 on the axis,
        and the whole picture as much darker. PSFs have the f-number of the axis: off it, the
        light's cone is narrower, and diffraction a little more. What rims cut off is as smooth as
        the polynomials, within 3 % of the light of the axis. ``distance=`` does not hold for a
        lens that is telecentric towards the object, or beyond.

    Raises
    ------
    TypeError, ValueError
        As :class:`CompoundPupil`, :class:`Pupil`, :class:`VaryingImaging` and :func:`distort`.
    """
    if not isinstance(lens, CompoundLens):
        raise TypeError(f"lens must be an optics.CompoundLens, not {type(lens).__name__}")
    diameter, focus = _entrance(lens)
    pupil_size = whole_number("pupil_size", pupil_size, least=2)
    spacing = diameter / (pupil_size - 1)
    element = CompoundPupil(
        lens,
        pupil_size,
        spacing=spacing,
        diameter=diameter,
        wavelengths=wavelengths,
        places=places,
        picture=picture,
        pixel_pitch=pixel_pitch,
    )
    pupil = Pupil(
        [element],
        wavelengths=wavelengths,
        # A thin lens in the entrance pupil, of the same f-number: it has the same defocus.
        focal_length=1 / (1 / (diameter * lens.f_number) + 1 / focus),
        focus=focus,
        pixel_pitch=pixel_pitch,
        psf_size=psf_size,
        oversample=oversample,
        aperture=circular_aperture(pupil_size, diameter=diameter, spacing=spacing),
    )
    return VaryingImaging(
        pupil,
        rank=rank,
        spectral_response=spectral_response,
        colour=colour,
        boundary=boundary,
        projection=_projection(lens, element, wavelengths),
    )


def _entrance(lens: CompoundLens) -> tuple[float, float]:
    """Diameter of the entrance pupil, and its distance from the object, metres.

    An entrance pupil behind the object, or at infinity, has no thin lens in its place: then those
    for distant objects, whose f-number is the same.
    """
    if math.isfinite(lens.object_distance):
        with torch.no_grad():
            numbers = first_order(
                lens.surfaces, wavelength=lens.wavelength, object_distance=lens.object_distance
            )
        focus = lens.object_distance + float(numbers.entrance_pupil)
        if 0 < focus < math.inf:
            return float(numbers.entrance_diameter), focus
    return lens.focal_length / lens.f_number, math.inf


def _fields_of(lens: CompoundLens, heights: Tensor, light: Tensor) -> Tensor:
    """Fields ``[R]`` whose chief rays meet the image at heights ``[R]``, metres."""
    surfaces = lens.surfaces
    light = light[None]
    indices = indices_of(surfaces, light)
    first = first_order_of(surfaces, indices, lens.object_distance)
    far = math.isinf(lens.object_distance)
    scale = first.focal_length if far else first.magnification
    ideal = heights.clone()
    middle = torch.zeros(1, 2, dtype=torch.float64)
    for _ in range(_SEARCH):
        fields = (ideal / scale).atan() if far else ideal / scale
        given = GivenLens(surfaces, indices, fields, light, lens.object_distance)
        chief = aimed(given, middle).chief
        real, valid = chief.position[:, 0, 0, 1], chief.valid[:, 0, 0]
        # Distortion is smooth: the ratio of two heights hardly changes.
        grows = real.abs() > 0
        ideal = torch.where(grows, ideal * heights / torch.where(grows, real, 1.0), ideal)
    if not bool(valid.all()) or not torch.allclose(real, heights, rtol=1e-6, atol=1e-12):
        raise ValueError(
            f"the lens has no image {float(heights[-1]):g} m beside the axis, where the corner of "
            "the picture lies: give fewer pixels, a smaller pixel_pitch, or wider rims"
        )
    return fields


def _projection(
    lens: CompoundLens, element: CompoundPupil, wavelengths: Sequence[float]
) -> Projection:
    """Distortion and falloff of a lens; the share that rims cut off is in its pupil."""
    with torch.no_grad():
        surfaces = [fixed_surface(number, s) for number, s in enumerate(lens.surfaces)]
    found = lens_image(
        surfaces,
        fields=element.fields,
        wavelengths=[wavelengths[element.middle]],
        object_distance=lens.object_distance,
    )
    ideal, real = found.ideal, found.heights[:, 0]
    radial = distortion_fit(ideal, real, terms=min(_TERMS, len(ideal) - 1))
    # The sum over radii of what distort brightens a part of the scene by, as it makes it smaller.
    radius = real / real[-1]
    powers = torch.stack([radius ** (2 * n + 2) for n in range(len(radial))])
    odd = torch.arange(3, 2 * len(radial) + 2, 2, dtype=torch.float64)
    brighter = (1 + radial @ powers) * (1 + (radial * odd) @ powers)
    share = found.lit[:, 0] / found.lit[0, 0]
    falloff = found.illumination[:, 0] / share / brighter
    height, width = element.picture
    y, x = (
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * 2 / math.hypot(height, width)
        for n in (height, width)
    )
    away = (y[:, None] ** 2 + x**2).sqrt()
    field = torch.from_numpy(np.interp(away.numpy(), radius.numpy(), falloff.numpy()))
    own = torch.get_default_dtype()
    return Projection(radial=radial.to(own), flat_field=(field / field.max()).to(own))
