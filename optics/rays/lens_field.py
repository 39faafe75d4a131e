"""What a lens does over its field: wavefronts, spots, heights in the image, and light.

::

    rays that fill the stop ──path to the reference sphere──► W ──► Zernike terms [F, L, J]
      places ──► spots        chief ray ──► distortion        solid angle ──► illumination

Fields and pupil are those of ``ray_aiming``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optics.quantity import whole_number
from optics.wave.zernike import chosen_indices, noll_to_nm, zernike_at

from .paraxial import image_scale, system_matrix
from .ray_aiming import AimedRays, GivenLens, aimed, given_lens, pupil_points, solid_angle
from .ray_trace import Rays
from .surface import Surface, stop_of

__all__ = [
    "LensImage",
    "LensSpots",
    "LensWavefronts",
    "fitted",
    "lens_image",
    "lens_spots",
    "lens_wavefronts",
    "paths",
]

# Of Noll's, to the end of the eighth order.
_TERMS = 45


class LensWavefronts(NamedTuple):
    """Wavefronts of a lens at F fields and L wavelengths."""

    coefficients: Tensor
    """Path by which light lags, ``[F, L, J]``, metres RMS, float64: as :func:`field_coefficients`
    and :class:`Aberration` take it; over the wavelength, waves. NaN where no ray passes."""
    residual: Tensor
    """RMS of what the polynomials leave, ``[F, L]``, metres; NaN where no ray passes."""
    indices: tuple[int, ...]
    """Noll's, J of them."""
    lit: Tensor
    """Share of the stop that light passes, ``[F, L]``: the rest is cut off by rims."""


class LensSpots(NamedTuple):
    """Where rays fall that fill the stop evenly, at F fields and L wavelengths."""

    points: Tensor
    """x and y in the plane of the image, ``[F, L, N, 2]``, metres; also of what a rim cuts off."""
    lit: Tensor
    """Whether each ray arrives, and no rim cuts it off, bool ``[F, L, N]``."""
    weights: Tensor
    """Share of the stop that each ray stands for, ``[N]``, sum 1."""
    radius: Tensor
    """RMS distance from the mean place, ``[F, L]``, metres; NaN where no ray arrives."""


class LensImage(NamedTuple):
    """Where a lens puts the points of its field, and how bright."""

    heights: Tensor
    """y of the chief rays in the image, ``[F, L]``, metres; what differs between wavelengths is
    lateral colour. NaN where there is no chief ray."""
    ideal: Tensor
    """Without distortion, at the middle wavelength, ``[F]``, metres: of paraxial chief rays, where
    the image lies. In the paraxial focus it is ``f / n' tan(angle)``, with the index n' in front of
    the image, or the magnification times the height; beside it the image has another size, which is
    no distortion."""
    distortion: Tensor
    """``heights / ideal - 1`` at the middle wavelength, ``[F]``; 0 on the axis."""
    illumination: Tensor
    """Irradiance of an even scene over that on the axis, ``[F, L]``; rims count. NaN where the axis
    has no light."""
    lit: Tensor
    """Share of the stop that light passes, ``[F, L]``."""
    magnification: Tensor
    """Size of each wavelength's image over that of the middle one, ``[L]``, by least squares of the
    heights: lateral colour for :class:`Projection`. NaN without a field beside the axis."""


def lens_wavefronts(
    surfaces: Sequence[Surface],
    *,
    fields: Sequence[float] | Tensor,
    wavelengths: Sequence[float] | Tensor,
    indices: Sequence[int] | None = None,
    reference: int | None = None,
    object_distance: float = math.inf,
    rings: int = 8,
) -> LensWavefronts:
    """Zernike terms of the wavefronts of a lens over its field.

    The wavefront is the optical path to a sphere about the image point of the chief ray, through
    the middle of the exit pupil, over that of the chief ray (Welford, Aberrations of Optical
    Systems, 1986, sec. 7.2), at the places of the stop that the rays pass. Of surfaces with a
    decentre or a tilt the exit pupil is where it would be without: the picture's shift is no
    aberration, coma on the axis is. It is fitted by least
    squares over the rays that are not cut off, which stand at the points of a Gaussian quadrature
    of the disk (G. W. Forbes, J. Opt. Soc. Am. A 5:1943, 1988).

    Parameters
    ----------
    surfaces : sequence of Surface
        One of them the stop, whose rim its rays fill.
    fields : sequence or Tensor ``[F]``, or Tensor ``[F, 2]``
        Angles, radians, along y; or heights of the object, metres. A positive angle has its image
        at +y; a positive height, of a lens without an intermediate image, at -y. ``[F, 2]`` are
        along x and y: of angles, slopes of the light are their tangents.
    wavelengths : sequence or Tensor ``[L]``, metres
    indices : sequence of int, optional
        Noll's; by default 1 to 45.
    reference : int, optional
        Number of the wavelength, from 0, whose chief ray's image is the middle of all spheres, so
        that lateral colour is a tilt. By default each wavelength has its own.
    object_distance : float, metres
        In front of the first vertex.
    rings : int
        Of rays, each of ``2 rings + 2``: at least as many as the highest order of the polynomials.

    Returns
    -------
    LensWavefronts
        With gradients to the numbers of the surfaces. What a rim cuts off changes in steps, which
        have none. A field that no ray passes has NaN for its numbers.

    Raises
    ------
    TypeError, ValueError
        For what are no surfaces, or have no stop; fields that are not finite ``[F]`` or ``[F, 2]``,
        or angles of 90 degrees or more; wavelengths not within 1e-9 to 1e-2 metres; an index that
        is none of Noll's, or another reference; fewer rings than the order of a polynomial.
    """
    lens = given_lens(surfaces, fields, wavelengths, object_distance)
    chosen = chosen_indices(indices, _TERMS)
    number = None if reference is None else whole_number("reference", reference, least=0)
    if number is not None and number >= len(lens.light):
        raise ValueError(
            f"reference must be a number of the {len(lens.light)} wavelengths, from 0, not {number}"
        )
    points, weights = pupil_points(rings, device=lens.light.device)
    order = max((noll_to_nm(index)[0] for index in chosen), default=0)
    if rings < order:
        raise ValueError(
            f"rings must be {order} or more for polynomials of that order, not {rings}: fewer rays "
            "do not tell them apart"
        )
    basis = zernike_at(chosen, points[:, 1], points[:, 0], rim=1 + 1e-9)
    found = aimed(lens, points)
    path = paths(lens, found, reference=number)
    return fitted(path, found.lit, weights, basis, chosen)


def lens_spots(
    surfaces: Sequence[Surface],
    *,
    fields: Sequence[float] | Tensor,
    wavelengths: Sequence[float] | Tensor,
    object_distance: float = math.inf,
    rings: int = 8,
) -> LensSpots:
    """Spot diagrams of a lens: where the rays of each field fall.

    Parameters
    ----------
    surfaces, fields, wavelengths, object_distance, rings
        As of :func:`lens_wavefronts`: ``fields`` in radians or metres, ``[F]`` or ``[F, 2]``;
        ``wavelengths`` in metres, ``[L]``.

    Returns
    -------
    LensSpots
        With gradients to the numbers of the surfaces.

    Raises
    ------
    TypeError, ValueError
        As :func:`lens_wavefronts`.
    """
    lens = given_lens(surfaces, fields, wavelengths, object_distance)
    points, weights = pupil_points(rings, device=lens.light.device)
    found = aimed(lens, points)
    places = found.rays.position[..., :2]
    share = found.lit * weights
    light = share.sum(-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
    share = share / light
    middle = (share[..., None] * places).sum(-2, keepdim=True)
    square = (share * (places - middle).square().sum(-1)).sum(-1)
    there = square > 0  # a point's root has no slope
    radius = torch.where(there, torch.where(there, square, 1.0).sqrt(), 0.0)
    radius = torch.where(found.lit.any(-1), radius, math.nan)
    return LensSpots(places, found.lit, weights, radius)


def lens_image(
    surfaces: Sequence[Surface],
    *,
    fields: Sequence[float] | Tensor,
    wavelengths: Sequence[float] | Tensor,
    object_distance: float = math.inf,
    rings: int = 8,
) -> LensImage:
    """Distortion, lateral colour, relative illumination and vignetting of a lens over its field.

    An even scene makes an irradiance of its radiance times the projected solid angle of the light
    that a point of the image sees, the area of its direction cosines (M. P. Rimmer, Proc. SPIE
    655:99, 1986): it has the fourth power of the cosine, the pupil's aberrations and the rims in
    it. The area is found of the rays of a field, which fall beside each other: 0.2 % of it where
    they are far from sharp.

    Parameters
    ----------
    surfaces, fields, wavelengths, object_distance, rings
        As of :func:`lens_wavefronts`: ``fields`` in radians or metres, ``[F]``; ``wavelengths`` in
        metres, ``[L]``.

    Returns
    -------
    LensImage
        For :class:`Projection`, its ``radial`` by :func:`distortion_fit`.

    Raises
    ------
    TypeError, ValueError
        As :func:`lens_wavefronts`; also for fields ``[F, 2]``, and surfaces with a decentre or a
        tilt, whose distortion is none of heights alone: :func:`lens_spots` has their places.
    """
    lens = given_lens(surfaces, fields, wavelengths, object_distance)
    askew = [number for number, s in enumerate(lens.surfaces) if not s.is_aligned]
    if askew or lens.fields.ndim > 1:
        given = f"surface {askew[0]} has a decentre or a tilt" if askew else "fields are [F, 2]"
        raise ValueError(
            f"lens_image takes a lens about one axis, at fields [F] along y, but {given}: "
            "lens_spots has the places of its light"
        )
    points, weights = pupil_points(rings, device=lens.light.device)
    # The axis comes first: what illumination is measured by.
    widened = lens._replace(fields=torch.cat((torch.zeros_like(lens.fields[:1]), lens.fields)))
    found = aimed(widened, points)
    angles = solid_angle(widened, points) * (found.lit * weights)
    light = angles.sum(-1)
    middle = int(lens.light.argsort()[len(lens.light) // 2])
    scale = image_scale(*lens[:2], object_distance)[middle]
    ideal = scale * (lens.fields.tan() if math.isinf(object_distance) else lens.fields)
    there, heights = found.chief.valid[1:, :, 0], found.chief.position[1:, :, 0, 1]
    known = torch.where(there.all(1, keepdim=True), heights, 0.0)
    axis = ideal == 0
    distortion = heights[:, middle] / torch.where(axis, 1.0, ideal) - 1
    distortion = torch.where(axis, 0.0, distortion)
    return LensImage(
        torch.where(there, heights, math.nan),
        ideal,
        torch.where(there[:, middle], distortion, math.nan),
        light[1:] / torch.where(light[:1] > 0, light[:1], math.nan),
        (found.lit * weights).sum(-1)[1:],
        (known * known[:, middle, None]).sum(0) / known[:, middle].square().sum(),
    )


def paths(
    lens: GivenLens, found: AimedRays, *, reference: int | None, plane: bool = False
) -> Tensor:
    """Path ``[F, L, N]`` by which rays lag behind the chief ray on the reference sphere.

    With ``plane`` the sphere is infinite: then the path's slopes over the rays' direction cosines
    are their distances in the image, exactly.
    """
    surfaces, indices, rays, chief = lens.surfaces, lens.indices, found.rays, found.chief
    stop, middle = stop_of(surfaces), len(indices[0]) // 2 if reference is None else reference
    one = [index[middle] for index in indices]
    _, b, _, d = system_matrix(surfaces[stop:], one[stop:])
    # 1 over the distance from the exit pupil to the image: 0 where that is telecentric.
    on_axis = d / (surfaces[-1].thickness * d + one[-1] * b)
    centre = chief.position if reference is None else chief.position[:, reference, None]
    bend = on_axis / (1 + (on_axis[..., None] * centre[..., :2]).square().sum(-1)).sqrt()
    if plane:
        bend = torch.zeros_like(bend)
    behind = indices[-1][:, None]

    def to_sphere(rays: Rays) -> Tensor:
        off = rays.position - centre
        along = (off * rays.direction).sum(-1)
        across = off.square().sum(-1) - along.square()
        # What the way back to the sphere differs by from its radius, which may be infinite.
        root = (1 - across * bend.square()).clamp_min(0.0).sqrt()
        return rays.path - behind * (along - across * bend / (1 + root))

    return to_sphere(rays) - to_sphere(chief)


def fitted(
    path: Tensor, valid: Tensor, weights: Tensor, basis: Tensor, indices: tuple[int, ...]
) -> LensWavefronts:
    """Polynomials ``[..., J, N]`` fitted to paths ``[F, L, N]``, weighted least squares."""
    share = valid * weights
    weighted = basis * share[..., None, :]
    normal = weighted @ basis.mT
    # A little of the identity, for a field without light, or fewer rays than polynomials.
    ridge = 1e-12 * torch.eye(basis.shape[-2], dtype=basis.dtype, device=basis.device)
    wanted = (weighted * path[..., None, :]).sum(-1, keepdim=True)
    found = torch.linalg.solve_ex(normal + ridge, wanted)[0][..., 0]
    left = path - (found[..., None, :] @ basis)[..., 0, :]
    light = share.sum(-1)
    square = (share * left.square()).sum(-1) / light.clamp_min(1e-9)
    residual = square.clamp_min(1e-40).sqrt()
    dark = light == 0
    found = torch.where(dark[..., None], math.nan, found)
    return LensWavefronts(found, torch.where(dark, math.nan, residual), indices, light)
