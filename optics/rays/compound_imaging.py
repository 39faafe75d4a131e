"""The camera of a lens of several elements, trained through its point-spread functions.

::

    CompoundLens ──trace──► Zernike terms along a radius ──turned──► CompoundPupil [P, Q, L, H, W]
                                                       ──Pupil──► PSFs ──► VaryingImaging

The grid of the pupil is that of the rays' direction cosines in the image, from the chief ray's: the
PSF is the Fourier transform over these, and a narrower cone, off the axis, is a smaller opening.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from optics.fourier import Boundary, kept_copy, phasor
from optics.grid import coordinates
from optics.imaging.projection import Projection, distortion_fit
from optics.imaging.varying import VaryingImaging
from optics.light.colour import ColourChannels
from optics.pupil.element import Element, Entrance, WholeLens
from optics.pupil.pupil import Pupil, middle_wavelength
from optics.quantity import (
    check_positive,
    full_precision,
    image_size,
    looked_at,
    one_number,
    single,
    whole_number,
)
from optics.wave.aperture import circular_aperture
from optics.wave.off_axis import field_coefficients, place_heights
from optics.wave.zernike import zernike_at

from .compound_lens import CompoundLens, fixed_surface, is_another, kept_wide
from .lens_field import fitted, lens_image, paths
from .misalignment import rolled
from .paraxial import entrance_matrix, first_order_of, image_scale
from .ray_aiming import AimedRays, GivenLens, aimed, checked_light, pupil_points
from .surface import indices_of

__all__ = ["CompoundPupil", "compound_imaging", "compound_pupil_in"]

# Zernike polynomials of a place: those of the sixth order.
_INDICES = tuple(range(1, 29))
# Rings of rays, one more than the order.
_RINGS = 7
# Rays around the rim of the stop.
_AROUND = 64
# Widest cone off the axis, over that of the axis, that has room in the pupil.
_WIDEST = 2.0
# Distance of an entrance pupil, over the object's, that is as good as at infinity.
_FAR = 1e3
# Difference of two rays in the stop, over its radius; and brightest places of the pupil, where rays
# gather that come evenly from the object, over their mean.
_APART, _BRIGHTEST = 1e-4, 4.0
# Weight of rays that a rim cuts off.
_DARK = 1e-2
# Terms of the distortion, and steps to the field whose image is at a height.
_TERMS, _SEARCH = 3, 25


class CompoundPupil(Element):
    """The pupil of a :class:`CompoundLens` for each place of a picture: wavefronts and openings.

    A place x, y of the pupil, over its radius, is a ray whose direction cosines in the image are
    ``x / 2N`` and ``y / 2N`` less than the chief ray's, with the f-number N of the axis. The
    optical path over these, whose slopes are the distances of the rays in the image (Born and Wolf,
    Principles of Optics, sec. 4.1: the mixed characteristic), is traced at a few heights along a
    radius of the picture, and turned to its places by :func:`field_coefficients`; the picture's
    middle is on the axis. It is measured from the image of the middle wavelength of this pupil,
    whichever are asked for, so that lateral colour moves the PSFs. The stop has the shape that it
    has in these cosines: on the axis a disk, off it a narrower ellipse, up to what the lens's pupil
    aberrations make of it. Stop and rims are those with which this was built; the entrance pupil,
    from which a defocus is computed, is that of the lens as it is.

    Parameters
    ----------
    lens : CompoundLens
        Its parameters are trained.
    samples : int
        Across the pupil of the axis, 2 or more; the grid has more where a lens has wider cones off
        the axis.
    wavelengths : sequence of float, metres
        Those of the :class:`Pupil`, in its order; their median is the middle one.
    places : int or (int, int)
        Places (P, Q), from border to border of the picture, two or more along each side.
    picture : int or (int, int)
        Height and width of the picture, pixels.
    pixel_pitch : float, metres
    heights : int
        Points along the radius at which the lens is traced, 2 or more.

    Attributes
    ----------
    diameter : float, metres
        Of the entrance pupil with which this was built, and of its grid. A lens that is telecentric
        towards the object has a distant one instead, of the same cones.
    fields : Tensor ``[R]``
        Angles, radians, or heights of the object, metres, of these points.
    heights : Tensor ``[R]``, metres
        In the image, from 0 to half of the picture's diagonal.
    widest : float
        Distance of the farthest light from the middle of the pupil, over its radius.

    Raises
    ------
    TypeError
        When this is no CompoundLens, or the wavelengths are no numbers.
    ValueError
        For wavelengths that are not several in a row, a pixel pitch that is not positive, fewer
        than two samples, places or heights, a picture whose corner the lens does not reach, and
        rims that leave a height without light.

    Warns
    -----
    UserWarning
        When a cone off the axis is more than twice as wide as that of the axis: the rest is cut
        off, and its light is given to what is left. When rims cut off a part of the stop on the
        axis, or surfaces are too steep for its rays: the f-number is then not that of the stop.
    """

    spread: Tensor
    fields: Tensor
    heights: Tensor
    points: Tensor
    weights: Tensor
    basis: Tensor
    open: Tensor
    stop: Tensor
    bend: Tensor
    built: Tensor
    places: tuple[int, int]

    def __init__(
        self,
        lens: CompoundLens,
        samples: int,
        *,
        wavelengths: Sequence[float],
        places: int | tuple[int, int],
        picture: int | tuple[int, int],
        pixel_pitch: float,
        heights: int = 6,
    ) -> None:
        if not isinstance(lens, CompoundLens):
            raise TypeError(f"lens must be an optics.CompoundLens, not {type(lens).__name__}")
        samples = whole_number("samples", samples, least=2)
        with torch.no_grad():
            place, diameter = map(float, _entrance(lens, lens.f_number, None))
        self.diameter = diameter
        super().__init__(samples, self.diameter / (samples - 1))
        self.pixel_pitch = pitch = one_number("pixel_pitch", pixel_pitch, "metres")
        check_positive("pixel_pitch", pitch, "metres")
        self.lens = lens
        # Of the grid, as it is built.
        self.focal_length, self.f_number = lens.focal_length, lens.f_number
        self.places = image_size(places, "places")
        self.picture = image_size(picture, "picture")
        light = checked_light(wavelengths).detach().cpu()
        self.wavelengths = tuple(light.tolist())
        self.middle = self.wavelengths.index(middle_wavelength(self.wavelengths))
        corner = pitch * math.hypot(*self.picture) / 2
        count = whole_number("heights", heights, least=2)
        along = corner * torch.linspace(0, 1, count, dtype=torch.float64)
        with torch.no_grad():
            fields = _fields_of(lens, along, light[self.middle])
        self.register_buffer("heights", along)
        self.register_buffer("fields", fields)
        # What a state must have in common with this, metres or 1; the light in micrometres.
        sides = (pitch * n for n in self.picture)
        kept = [self.diameter, place, self.f_number, *sides, 1e6 * self.wavelengths[self.middle]]
        self.register_buffer("built", torch.tensor(kept, dtype=torch.float64))
        points, weights = pupil_points(_RINGS)
        terms = len(_INDICES)
        # What each coefficient at each height adds to each place: field_coefficients is linear.
        every = torch.eye(count * terms, dtype=torch.float64).reshape(-1, count, terms)
        spread = field_coefficients(
            every.transpose(0, 1), along, places=self.places, size=self.picture, indices=_INDICES
        )
        for name, value in (
            ("points", points),
            ("spread", spread.unflatten(2, (count, terms))),
        ):
            self.register_buffer(name, value, persistent=False)
        with torch.no_grad():
            given = self._traced(light[self.middle : self.middle + 1])
            found = aimed(given, points)
            dark = ~found.lit[:, 0].any(-1)
            if bool(dark.any()):
                raise ValueError(
                    f"no ray comes {float(along[dark][0]):g} m beside the axis, in the picture: "
                    "give fewer pixels, a smaller pixel_pitch, or wider rims"
                )
            _check_axis(found, weights, lens.f_number)
            around = aimed(given, _rim())
            cosines = self._cosines(around, _rim())[:, 0]
            lit = torch.cat((around.lit[:, 0], found.lit[:, 0]), 1)
            every = torch.cat((cosines, self._cosines(found, points)[:, 0]), 1)
            self.widest = float(every[lit].norm(dim=-1).max())
            self.size = image_size(samples + _more(self.widest, samples))
            basis = self._sampled().to(torch.get_default_dtype())
            self.register_buffer("basis", basis, persistent=False)
            even = self._at_every(self._amplitude(given, found, points), found, weights)
            self.register_buffer("stop", self._stop(cosines, even))
            self.register_buffer("bend", self._bend(around.chief.direction[:, 0, 0]))
            opening = self._opening(found, weights)
        self.register_buffer("open", opening)
        # Dark parts of the stop count little, so that polynomials stay within bounds there.
        self.register_buffer("weights", weights * torch.where(found.lit, 1.0, _DARK))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with kept_wide(self, ("built", "heights", "fields")):
            return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Load a state, unless it is that of another pupil: stop and openings are of its grid."""
        if is_another(state_dict.get(f"{prefix}built"), self.built):
            errors = rest[-1]
            errors.append(
                "it is the state of a pupil with another diameter, place, f-number or middle "
                "wavelength, or of a picture of another size in metres, which a CompoundPupil is "
                "built with"
            )
            # Nor is its lens, which is loaded next, that of this pupil: it stays as it is.
            own = self.lens.state_dict(prefix=f"{prefix}lens.")
            state_dict.update((name, own[name]) for name in own.keys() & state_dict.keys())
            return
        if is_another(state_dict.get(f"{prefix}lens.given"), self.lens.given):
            return  # the lens refuses it next, and the openings are those of its rims
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def coefficients(self, wavelength: Tensor) -> Tensor:
        """Zernike terms of Noll's 1 to 28, metres, by which light lags.

        They are those of the disk of the axis: RMS where the cone fills it, not off the axis.

        Parameters
        ----------
        wavelength : Tensor ``[L]``, metres

        Returns
        -------
        Tensor, float64 ``[P, Q, L, 28]``
        """
        light = wavelength.double()
        lens, count, reference = self._traced(light), light.shape[0], self._middle_of(light)
        if reference is None:
            middle = _line(self.wavelengths[self.middle], light.device)
            lens, reference = self._traced(torch.cat((light, middle))), count
        spread, weights = self.spread.double(), self.weights.double()
        with full_precision(lens.light):
            if all(surface.is_aligned for surface in lens.surfaces):
                table = self._table(lens, weights, reference)[:, :count]
                return torch.einsum("rlj,pqrjk->pqlk", table, spread)
            # Each place has a lens of its own, turned about the axis so that the place lies along
            # y, at the traced heights around it: only these count there.
            y, x = place_heights(self.places, self.picture)
            below, _ = self._between(torch.hypot(y, x))
            around = torch.stack((below, below + 1), -1).to(spread.device)
            turn = torch.atan2(y, x) - math.pi / 2  # as field_coefficients turns, also on the axis
            turn = turn[..., None].expand(around.shape).reshape(-1, 1, 1).to(spread)
            rows = around.flatten()
            own = lens._replace(surfaces=rolled(lens.surfaces, -turn), fields=lens.fields[rows])
            table = self._table(own, weights[rows], reference)[:, :count]
            p, q = (torch.arange(n, device=rows.device) for n in self.places)
            there = spread[p[:, None, None], q[:, None], around]
            return torch.einsum("pqrlj,pqrjk->pqlk", table.unflatten(0, around.shape), there)

    def _middle_of(self, light: Tensor) -> int | None:
        """Where the middle wavelength is among these; None where it is not, or cannot be seen."""
        if not looked_at(light):
            return None
        same = (light == self.wavelengths[self.middle]).nonzero()
        return int(same[0]) if len(same) else None

    def _table(self, lens: GivenLens, weights: Tensor, reference: int) -> Tensor:
        """Zernike terms at fields of a lens, ``[R, L, 28]``, from the chief ray of one light."""
        found = aimed(lens, self.points.double())
        path = paths(lens, found, reference=reference, plane=True)
        valid, basis = found.rays.valid, self._polynomials(found)
        return fitted(path, valid, weights, basis, _INDICES).coefficients

    def _traced(self, light: Tensor) -> GivenLens:
        surfaces = self.lens.surfaces
        indices = indices_of(surfaces, light)
        return GivenLens(surfaces, indices, self.fields.double(), light, self.lens.object_distance)

    def _grid(self) -> tuple[Tensor, Tensor]:
        """Places y ``[H, 1]`` and x ``[W]`` of the samples, over the radius of the pupil."""
        y, x = (coordinates(n, spacing=2 * self.spacing / self.diameter) for n in self.size)
        return y[:, None], x

    def _sampled(self) -> Tensor:
        """Polynomials of the pupil at its samples, float64 ``[J, H, W]``."""
        y, x = self._grid()
        return zernike_at(_INDICES, y, x, rim=math.inf).double()

    def _cosines(self, found: AimedRays, points: Tensor) -> Tensor:
        """Places of rays in the pupil, ``[R, L, N, 2]``; of those that are lost, in the stop."""
        less = found.chief.direction[..., :2] - found.rays.direction[..., :2]
        return torch.where(found.rays.valid[..., None], 2 * self.f_number * less, points)

    def _polynomials(self, found: AimedRays) -> Tensor:
        """Of rays through the points of the stop, ``[R, L, J, N]``."""
        x, y = self._cosines(found, self.points.double()).unbind(-1)
        return zernike_at(_INDICES, y, x, rim=math.inf).movedim(0, -2)

    def whole_lens(self) -> WholeLens:
        """Stop and focus, and how a defocus bends the wavefront, at each place."""
        return WholeLens(
            diameter=self.diameter,
            focus=self.lens.object_distance,
            focal_length=self.focal_length,
            image_distance=self.diameter * self.f_number,
            wavelengths=self.wavelengths,
            pixel_pitch=self.pixel_pitch,
            entrance=self._entrance,
            stop=self.stop,
            curve=self.bend.double() * (self.diameter**2 / 8),
        )

    def _entrance(self) -> Entrance:
        place, diameter = _entrance(self.lens, self.f_number, self.heights.device)
        return Entrance(place, diameter / self.diameter)

    def penalty(self) -> Tensor:
        """That of the lens, see :meth:`CompoundLens.penalty`."""
        return self.lens.penalty()

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Wavefront, and what rims leave of the stop, complex ``[P, Q, L, H, W]``."""
        radians = self.coefficients(wavelength) * (2 * math.pi / wavelength.double())[:, None]
        basis = single(self.basis)
        with full_precision(basis):
            phase = (radians.to(basis) @ basis.flatten(1)).unflatten(-1, basis.shape[1:])
        return phasor(phase) * single(self.open)

    def _amplitude(self, given: GivenLens, found: AimedRays, points: Tensor) -> Tensor:
        """Of light as it comes from the object, at rays in the pupil, ``[R, 1, N]``.

        A point far away fills the beam evenly, one nearby the direction cosines in front of the
        lens (Lambert's law). In those of the image the light is as even, on the axis, of a lens
        that keeps Abbe's sine condition, wherever its stop is.
        """

        def met(x: float, y: float) -> Tensor:
            moved = points + points.new_tensor([x, y])
            rays = aimed(given, moved)
            start = rays.start
            source = start.position if math.isinf(given.object_distance) else start.direction
            return torch.stack((self._cosines(rays, moved), source[..., :2]))

        across, up = (
            (met(x, y) - met(-x, -y)) / (2 * _APART) for x, y in ((_APART, 0.0), (0.0, _APART))
        )
        image, source = torch.linalg.det(torch.stack((across, up), -1)).abs()
        valid = found.rays.valid
        area = torch.where(valid, image / source, 0.0)  # that a part of the light is spread over
        mean = area.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)
        return 1 / area.clamp_min(mean / _BRIGHTEST).sqrt()

    def _at_every(self, values: Tensor, found: AimedRays, weights: Tensor) -> Tensor:
        """Values at rays ``[R, 1, N]``, in polynomials, at every place: ``[P, Q, H, W]``."""
        basis = self._polynomials(found)
        table = fitted(values, found.rays.valid, weights, basis, _INDICES).coefficients[:, 0]
        terms = torch.einsum("rj,pqrjk->pqk", table, self.spread)
        return torch.einsum("pqk,khw->pqhw", terms, self._sampled())

    def _stop(self, rim: Tensor, even: Tensor) -> Tensor:
        """Amplitude of the stop, ``[P, Q, 1, H, W]``, from places ``[R, K, 2]`` of its rim.

        ``even`` is that of light without a rim. Each place has the light of the aperture: falloff
        is no matter of the pupil.
        """
        height, across, down = self._at_places()
        below, share = self._between(height)
        rim = torch.lerp(rim[below], rim[below + 1], share[..., None, None])
        # From the radius along y, where it was traced, to that of the place.
        x, y = rim.unbind(-1)
        along, beside = (each[..., None] for each in (down, across))
        rim = torch.stack((x * along + y * beside, y * along - x * beside), -1)
        middle = rim.mean(-2, keepdim=True)
        y, x = self._grid()
        beyond = torch.empty(*self.places, *self.size, dtype=torch.float64)
        for p, q in np.ndindex(*self.places):
            left, up = (rim[p, q] - middle[p, q]).numpy().T
            off_y, off_x = (y - middle[p, q, 0, 1]).numpy(), (x - middle[p, q, 0, 0]).numpy()
            azimuth, radius = np.arctan2(up, left), np.hypot(up, left)
            reach = np.interp(np.arctan2(off_y, off_x), azimuth, radius, period=2 * math.pi)
            beyond[p, q] = torch.from_numpy(np.hypot(off_y, off_x) / reach - 1)
        amplitude = _soft(beyond) * even.clamp_min(0.0)
        circle = circular_aperture(
            self.size, diameter=self.diameter, spacing=self.spacing, dtype=rim.dtype
        )
        light = circle.square().sum() / amplitude.square().sum((-2, -1), keepdim=True)
        return (amplitude * light.sqrt())[:, :, None].to(torch.get_default_dtype())

    def _bend(self, chief: Tensor) -> Tensor:
        """Path of a defocus over that of the axis's rim, ``[P, Q, 1, H, W]``.

        The angle t of the chief rays ``[R, 3]`` makes it ``(r^2 + (r . tan t)^2) / cos t``: the
        cosine of a ray with the axis, but for what is linear in r, which moves no light from the
        chief ray.
        """
        height, across, down = self._at_places()
        below, share = self._between(height)
        slope = chief[:, 1] / chief[:, 2]
        slope = torch.lerp(slope[below], slope[below + 1], share)[..., None, None]
        y, x = self._grid()
        along = slope * (across[..., None, None] * x + down[..., None, None] * y)
        bend = (x.square() + y.square() + along.square()) * (1 + slope.square()).sqrt()
        return bend[:, :, None].to(torch.get_default_dtype())

    def _at_places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Heights ``[P, Q]`` of the places, in half diagonals, and their directions x, y."""
        y, x = place_heights(self.places, self.picture)
        height = torch.hypot(y, x)
        there = height > 0
        safe = torch.where(there, height, 1.0)
        return height, x / safe, torch.where(there, y / safe, 1.0)

    def _between(self, height: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the traced height below each of the heights, and its share of the way on."""
        place = height.clamp_max(1) * (len(self.heights) - 1)
        below = place.long().clamp_max(len(self.heights) - 2)
        return below, place - below

    def _opening(self, found: AimedRays, weights: Tensor) -> Tensor:
        """Amplitude that rims leave open, ``[P, Q, 1, H, W]``, with soft edges.

        How far rays are beyond a rim is smooth over the pupil, and so written in polynomials, which
        turn to the places as wavefronts do.
        """
        opening = torch.ones(*self.places, *self.size, dtype=torch.float64)
        for beyond in found.beyond:
            opening = opening * _soft(self._at_every(beyond, found, weights))
        return opening[:, :, None].to(torch.get_default_dtype())

    def extra_repr(self) -> str:
        """Name the grid and the picture."""
        return (
            f"{super().extra_repr()}, diameter={self.diameter:g} m, places={self.places}, "
            f"picture={self.picture} pixels"
        )


def compound_pupil_in(module: nn.Module) -> CompoundPupil | None:
    """The first traced lens in a module, of which a :class:`Pupil` has one at most, or None."""
    return next((part for part in module.modules() if isinstance(part, CompoundPupil)), None)


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
        Samples across the pupil of the axis; the grid has more where cones off it are wider.
    oversample : int, odd
        As of :class:`Pupil`.

    Returns
    -------
    VaryingImaging
        With a :class:`Projection` of the lens's distortion and falloff. Its flat field is at most
        1: with a pincushion distortion, which :func:`distort` darkens, it is below 1 on the axis,
        and the whole picture as much darker. What rims cut off is as smooth as the polynomials,
        within 3 % of the light of the axis. ``distance=`` is measured from the first vertex, as
        the lens's own.

    Raises
    ------
    TypeError, ValueError
        As :class:`CompoundPupil`, :class:`Pupil`, :class:`VaryingImaging` and :func:`distort`.

    Warns
    -----
    UserWarning
        As :class:`CompoundPupil`.
    """
    element = CompoundPupil(
        lens,
        whole_number("pupil_size", pupil_size, least=2),
        wavelengths=wavelengths,
        places=places,
        picture=picture,
        pixel_pitch=pixel_pitch,
    )
    pupil = Pupil(
        [element],
        wavelengths=wavelengths,
        focal_length=lens.focal_length,
        pixel_pitch=pixel_pitch,
        psf_size=psf_size,
        oversample=oversample,
    )
    return VaryingImaging(
        pupil,
        rank=rank,
        spectral_response=spectral_response,
        colour=colour,
        boundary=boundary,
        projection=_projection(lens, element, wavelengths),
    )


def _rim() -> Tensor:
    """Points around the stop, ``[K, 2]``."""
    angle = 2 * math.pi * torch.arange(_AROUND, dtype=torch.float64) / _AROUND
    return torch.stack((angle.cos(), angle.sin()), -1)


def _soft(beyond: Tensor) -> Tensor:
    """Amplitude ``[..., H, W]`` where a function is below 0, with edges of a sample."""
    slope = torch.stack(torch.gradient(beyond, dim=(-2, -1))).square().sum(0).sqrt()
    return (0.5 - beyond / slope.clamp_min(1e-9)).clamp(0, 1)


def _entrance(
    lens: CompoundLens, f_number: float, device: torch.device | None
) -> tuple[Tensor, Tensor]:
    """Place of the entrance pupil behind the first vertex, and its diameter, scalars, metres.

    The diameter is that of cones of the f-number in the image, by the lens's magnification or focal
    length. An object lies in front of the pupil or behind it. Where chief rays start in parallel, a
    pupil far behind the lens has the same cones on the axis.
    """
    surfaces, distance = lens.surfaces, lens.object_distance
    indices = indices_of(surfaces, _line(lens.wavelength, device))
    numbers = first_order_of(surfaces, indices, distance)
    a, b, _, _ = entrance_matrix(surfaces, indices)
    near = math.isfinite(distance)
    most = _FAR * distance
    far = ~(b.abs() < most * a.abs())
    place = torch.where(far, most if near else 0.0, b / torch.where(far, 1.0, a))
    size = (distance + place) * numbers.magnification if near else numbers.focal_length
    return place[0], size[0].abs() / f_number


def _line(wavelength: float, device: torch.device | None) -> Tensor:
    """A wavelength ``[1]``, metres, float64."""
    return kept_copy(
        ("wavelength of a lens", wavelength, device),
        lambda: torch.tensor([wavelength], dtype=torch.float64, device=device),
    )


def _check_axis(found: AimedRays, weights: Tensor, f_number: float) -> None:
    """Warn of a stop that the light of the axis does not fill, and of what keeps it from there."""
    valid, lit = found.rays.valid[0, 0], found.lit[0, 0]
    causes = (("rims cut off", valid & ~lit), ("no rays reach", ~valid))
    told = [f"{what} {float(weights[dark].sum()):.0%}" for what, dark in causes if bool(dark.any())]
    if told:
        warnings.warn(
            f"{' and '.join(told)} of the stop on the axis, so that the f-number is not that of "
            f"the stop, f/{f_number:.3g}: give the stop a smaller semi_diameter, as a larger "
            "f_number does, or rims that cut it off a larger one",
            UserWarning,
            stacklevel=3,
        )


def _more(widest: float, samples: int) -> int:
    """Samples by which a grid is larger for cones that are wider off the axis."""
    if widest > _WIDEST:
        warnings.warn(
            f"cones off the axis are up to {widest:.3g} times as wide as that of the axis, and cut "
            f"off at {_WIDEST:g}: give fewer pixels, a smaller pixel_pitch, or narrower rims",
            UserWarning,
            stacklevel=3,
        )
    beyond = max(min(widest, _WIDEST) - 1, 0.0)
    return 2 * math.ceil(beyond * (samples - 1) / 2)  # the axis stays where it is


def _fields_of(lens: CompoundLens, heights: Tensor, light: Tensor) -> Tensor:
    """Fields ``[R]`` whose chief rays meet the image at heights ``[R]``, metres."""
    surfaces = lens.surfaces
    light = light[None]
    indices = indices_of(surfaces, light)
    scale = image_scale(surfaces, indices, lens.object_distance)
    far = math.isinf(lens.object_distance)
    ideal = heights.clone()
    middle = torch.zeros(1, 2, dtype=torch.float64)
    for _ in range(_SEARCH):
        fields = (ideal / scale).atan() if far else ideal / scale
        given = GivenLens(surfaces, indices, fields, light, lens.object_distance)
        chief = aimed(given, middle).chief
        real, valid = chief.position[:, 0, 0, 1], chief.valid[:, 0, 0]
        if torch.allclose(real, heights, rtol=1e-12, atol=1e-15):
            break
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
