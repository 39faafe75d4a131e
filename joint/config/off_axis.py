"""A lens whose wavefront and aperture change towards the corners of the scene.

::

    OffAxisConfig, size of the scene ── off_axis_coefficients ──► Zernike terms [P, Q, 1, J]
                                   └─── vignetting ─────────────► optics.Vignetting [P, Q, 1, H, W]
    pupil of them, or PSFs ──────────── varying_imaging ────────► optics.VaryingImaging
"""

import math
import warnings
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

import optics
from joint.settings import Settings

__all__ = [
    "FieldTerms",
    "OffAxisConfig",
    "check_places",
    "check_rank",
    "off_axis_coefficients",
    "tell_rank",
    "varying_imaging",
    "vignetting",
]

# Share of a place's light that a low rank may misplace before a warning.
_TOLD = 0.1


class OffAxisConfig(Settings):
    """Off-axis errors of a rotationally symmetric lens, see optics.VaryingImaging.

    These are aberrations and vignetting; by default there are none, and the whole scene has one
    PSF. Otherwise the optical axis is at the middle of the scene, and the relative field height is
    1 at its corners. Seidel terms and table are added to each other and to the aberrations that the
    lens has everywhere.
    """

    coma: float = 0.0
    """Seidel coma W131 at a corner of the scene, in waves at the middle wavelength, at the rim of
    the pupil and not RMS; it is proportional to the field height. If positive, tails point away
    from the axis. 1 is 0.118 (1 / sqrt 72) waves RMS of Noll's index 8 or 7, and a tilt that keeps
    the centroid of the light in place (for a pupil without vignetting). Seidel coma alone would
    shift it; shifts are the lens's distortion."""
    astigmatism: float = 0.0
    """Seidel astigmatism W222 in waves, as for coma; it is proportional to the square of the field
    height. 1 is 0.204 (1 / sqrt 24) waves RMS of Noll's 6 or 5, and half a wave of defocus at the
    rim."""
    field_curvature: float = 0.0
    """Field curvature W220 of the sagittal lines in waves, as for coma; it is proportional to the
    square of the field height. A positive value focuses corners behind the sensor, opposite to the
    lens's defocus. 1 is 0.289 (1 / sqrt 12) waves RMS of Noll's 4."""
    heights: tuple[float, ...] = ()
    """Image heights of a table of aberrations along one radius, in any unit, from 0, the axis, to
    the corner of the scene."""
    indices: tuple[int, ...] = ()
    """Noll's indices of the table's columns."""
    table: tuple[float, ...] = ()
    """Aberrations in waves RMS at the middle wavelength, positive where light lags: one per index
    at the first height, then at the next. Reverse the sign of coefficients from OpticStudio."""
    along: Literal["x", "y"] = "y"
    """Direction of the table's points from the axis; most lens design programs put them along y."""
    vignetting: float = Field(default=0.0, ge=0, le=0.9)
    """Share of the pupil's full circle, whatever its obscuration, that a round rim in front of the
    stop cuts off for a corner of the scene, see optics.Vignetting. Corners become darker by it
    and, in focus, more blurred along the radius. The cos^4 falloff on a sensor is set by the lens's
    half_field."""
    places: tuple[int, int] = (7, 7)
    """Rows and columns of places, from border to border of the scene, whose PSFs are computed;
    between them, PSFs are interpolated."""
    rank: int = Field(default=16, ge=1)
    """Number of eigen-PSFs that represent the PSFs; each costs a convolution. As many as there are
    places represent them exactly; a higher rank has no further effect."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        check_places(self.places)
        self._check_table()
        return self

    def _check_table(self) -> None:
        columns = len(self.indices)
        if len(set(self.indices)) < columns or any(index < 1 for index in self.indices):
            raise ValueError(f"indices must be different Noll indices, from 1, not {self.indices}")
        if len(self.table) != len(self.heights) * columns or bool(self.heights) != bool(columns):
            raise ValueError(
                f"table has {len(self.table)} values, but {len(self.heights)} heights with "
                f"{columns} indices need {len(self.heights) * columns}: give heights, indices and "
                "table together, row by row"
            )
        rising = all(low < high for low, high in zip(self.heights, self.heights[1:], strict=False))
        if self.heights and not (len(self.heights) > 1 and self.heights[0] == 0 and rising):
            raise ValueError(
                f"heights must be two or more, increasing from 0, the axis, not {self.heights}"
            )

    @property
    def aberrates(self) -> bool:
        """Whether the wavefront at a corner differs from that in the middle."""
        seidel = (self.coma, self.astigmatism, self.field_curvature)
        return any(seidel) or any(self.table)

    @property
    def varies(self) -> bool:
        """Whether the PSF at a corner differs from that in the middle."""
        return self.aberrates or self.vignetting > 0


def check_places(places: tuple[int, int]) -> None:
    """Refuse places between which nothing can be interpolated."""
    if min(places) < 2:
        raise ValueError(f"places must be two or more rows and columns, not {places}")


def check_rank(rank: int, places: tuple[int, int]) -> None:
    """Refuse more eigen-PSFs than there are places."""
    count = math.prod(places)
    if rank > count:
        raise ValueError(
            f"rank={rank} is more than the number of PSFs, {places[0]} x {places[1]} places: give "
            f"at most {count}"
        )


class FieldTerms(NamedTuple):
    """Zernike terms of the wavefront at places of the scene."""

    coefficients: Tensor
    """``[P, Q, 1, J]``, metres RMS."""
    indices: tuple[int, ...]
    """Noll's indices of the J polynomials."""


def off_axis_coefficients(
    config: OffAxisConfig,
    image_size: tuple[int, int],
    *,
    wavelength: float,
    obscuration: float = 0.0,
) -> FieldTerms:
    """Zernike terms of a configuration at the places of a scene.

    Parameters
    ----------
    config : OffAxisConfig
    image_size : (int, int), pixels
        Height and width of the scene.
    wavelength : float, metres
        Length of a wave in the configuration.
    obscuration : float
        Diameter of the central obscuration over that of the pupil.

    Returns
    -------
    FieldTerms
        For :class:`optics.Aberration`.
    """
    seidel = optics.seidel_coefficients(
        config.places,
        size=image_size,
        coma=config.coma * wavelength,
        # The mean slope of r^2 (h . r) over the pupil is 2 h times that of r^2.
        tilt=-(1 + obscuration**2) * config.coma * wavelength,
        astigmatism=config.astigmatism * wavelength,
        field_curvature=config.field_curvature * wavelength,
    )
    indices = _with_partners(config.indices)
    every = tuple(sorted({*range(1, seidel.shape[-1] + 1), *indices}))
    terms = seidel.new_zeros(*seidel.shape[:-1], len(every))
    terms[..., [every.index(1 + j) for j in range(seidel.shape[-1])]] = seidel
    if config.table:
        table = torch.zeros(len(config.heights), len(indices), dtype=torch.float64)
        given = torch.tensor(config.table, dtype=torch.float64) * wavelength
        columns = [indices.index(index) for index in config.indices]
        table[:, columns] = given.reshape(len(config.heights), -1)
        along = optics.field_coefficients(
            table,
            config.heights,
            places=config.places,
            size=image_size,
            indices=indices,
            angle=0.0 if config.along == "x" else math.pi / 2,
        )
        terms[..., [every.index(index) for index in indices]] += along.to(terms)
    return FieldTerms(terms, every)


def vignetting(
    config: OffAxisConfig,
    image_size: tuple[int, int],
    *,
    pupil_size: int,
    spacing: float,
    diameter: float,
) -> optics.Vignetting:
    """Vignetting of a configuration for a pupil of this diameter and sample spacing, in metres.

    The rim is three samples wider than the pupil, so that the middle of the scene loses no light.
    """
    rim = diameter + 3 * spacing
    return optics.Vignetting(
        pupil_size,
        spacing=spacing,
        diameter=rim,
        shift=optics.vignetting_shift(config.vignetting, diameter=diameter, rim=rim),
        places=config.places,
        picture=image_size,
    )


def _with_partners(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Noll's indices, each with its partner, the same polynomial rotated about the axis."""
    found = set(indices)
    for index in indices:
        order, frequency = optics.noll_to_nm(index)
        found.add(optics.nm_to_noll(order, -frequency))
    return tuple(sorted(found))


def varying_imaging(
    psfs: optics.Pupil | Tensor,
    *,
    rank: int,
    spectral_response: Tensor | None = None,
    working_distances: tuple[float, ...] | None = None,
    projection: optics.Projection | None = None,
    colour: optics.ColourChannels | None = None,
    boundary: optics.Boundary,
) -> optics.VaryingImaging:
    """Camera with PSFs that change across the scene, see :class:`optics.VaryingImaging`.

    Warns
    -----
    UserWarning
        As :func:`tell_rank`.
    """
    camera = optics.VaryingImaging(
        psfs,
        rank=rank,
        spectral_response=spectral_response,
        working_distances=working_distances,
        projection=projection,
        colour=colour,
        boundary=boundary,
    )
    tell_rank(camera)
    return camera


def tell_rank(camera: optics.VaryingImaging) -> None:
    """Warn when the rank is so low that more than a tenth of a place's light is misplaced."""
    with torch.no_grad():
        wrong = float(camera.error_bound())
    if wrong > _TOLD:
        warnings.warn(
            f"rank={camera.rank} of the front end puts up to {wrong:.2g} of the light of a place "
            f"where it does not belong: give more, up to {math.prod(camera.places)}",
            UserWarning,
            stacklevel=1,  # once, wherever it is built
        )
