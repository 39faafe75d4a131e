"""Errors of the wavefront as Zernike terms: single ones, and an amount shared out over several."""

import math
from collections.abc import Iterable

import torch

from joint.system import ImagingSystem
from optics import Aberration, Element, PhaseMask, coordinates, noll_to_nm
from optics.pupil.pupil import Pupil, middle_wavelength
from optics.wave.zernike import zernike_at

from .imperfection import Imperfection, diameter_of, has_cones, pupil_of

__all__ = ["wavefront_error", "zernike_error"]

_NEEDS = "it needs a front end with a pupil, such as optics.IncoherentImaging(Pupil(...))"


def zernike_error(index: int) -> Imperfection:
    """One Zernike term of the wavefront, in waves RMS at the middle wavelength.

    The optical path is that at all wavelengths, so that the phase is less at longer ones; a
    positive level is a longer path where the polynomial is positive, as of
    :class:`optics.Aberration`. So ``zernike_error(4)`` at ``sigma`` is ``defocus`` at ``-2 sqrt(3)
    sigma`` waves at the rim: a positive ``defocus`` is a stronger lens.

    The disk is about the axis and holds the open aperture: of a square it is the circle through the
    corners. The level is the RMS over the whole disk, as a Zernike term's is; where the aperture is
    a full circle, a small one of ``sigma`` waves leaves a Strehl ratio of ``exp(-(2 pi sigma)^2)``
    (Mahajan, J. Opt. Soc. Am. 73:860, 1983), and over another aperture the RMS is another. Where a
    traced lens has wider cones off the axis, the polynomial goes on beyond the disk.

    Parameters
    ----------
    index : int
        Noll's, from 2: 2, 3 move the image, 4 is defocus, 5, 6 astigmatism, 7, 8 coma, 9, 10
        trefoil, 11 spherical.

    Returns
    -------
    Imperfection
        Its name is ``zernike_<index>``.

    Raises
    ------
    ValueError
        For an index below 2: a piston, 1, changes no image.
    """
    if index < 2:
        raise ValueError(
            f"index must be Noll's, from 2, not {index}"
            + (": a piston changes no image" if index == 1 else "")
        )
    noll_to_nm(index)  # a whole number

    def aberrate(camera: ImagingSystem, level: float, channels: int, _: torch.Generator) -> None:
        pupil = pupil_of(camera)
        assert pupil is not None
        term = _term(pupil, index, level)
        pupil.elements.append(term.to(pupil.aperture.device))

    return Imperfection(
        f"zernike_{index}",
        "waves RMS",
        aberrate,
        _NEEDS,
        lambda system, _: pupil_of(system) is not None,
        lambda _: (-0.1, -0.05, 0.0, 0.05, 0.1),
        where="wavefront",
    )


def _term(pupil: Pupil, index: int, waves: float) -> Element:
    """One polynomial in the disk of a pupil, waves RMS."""
    middle, diameter, dtype = (
        middle_wavelength(pupil.wavelengths), diameter_of(pupil), pupil.aperture.dtype,
    )  # fmt: skip
    if not has_cones(pupil):
        return Aberration(
            pupil.size,
            spacing=pupil.spacing,
            diameter=diameter,
            coefficients=torch.tensor([waves * middle], dtype=dtype),
            indices=[index],
        )
    y, x = (coordinates(n, spacing=2 * pupil.spacing / diameter) for n in pupil.size)
    (shape,) = zernike_at([index], y[:, None], x, rim=math.inf)
    phase = (2 * math.pi * waves * shape).to(dtype)
    return PhaseMask(phase, spacing=pupil.spacing, design_wavelength=middle)


def wavefront_error(indices: Iterable[int], *, name: str = "wavefront") -> Imperfection:
    """A wavefront error of a total RMS, divided at random among Zernike terms.

    In each device the coefficients are a random direction, uniform in as many dimensions as there
    are terms: the root of the sum of their squares is the level, and each term has the same mean
    square. If a tolerance is one number, all devices have it as their RMS; with a range,
    ``(0.0, 0.07)``, some are better.

    Parameters
    ----------
    indices : iterable of int
        Noll indices, from 2; ``range(4, 12)`` is defocus to spherical.
    name : str
        Name; a second budget in the same table of limits needs another one.

    Returns
    -------
    Imperfection
        Its levels are waves RMS at the middle wavelength. Results give the level of a term in a
        device as ``<name>.zernike_<index>``.

    Raises
    ------
    ValueError
        For no index, one below 2, or one twice.
    """
    numbers = list(indices)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"indices must be Noll's, each once and at least one, not {numbers}")
    terms = [zernike_error(number) for number in numbers]

    def shared(level: float, generator: torch.Generator) -> dict[Imperfection, float]:
        direction = torch.randn(len(terms), generator=generator, dtype=torch.float64)
        shares = level * direction / direction.norm()
        return dict(zip(terms, shares.tolist(), strict=True))

    return Imperfection(
        name,
        "waves RMS",
        needs=_NEEDS,
        fits=lambda system, _: pupil_of(system) is not None,
        levels=lambda _: (0.0, 0.05, 0.1),
        allowed=lambda level: level >= 0,
        rule="0 or more",
        drawn=True,
        shared=shared,
        where="wavefront",
    )
