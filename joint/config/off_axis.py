"""A lens whose wavefront and opening change towards the corners of the scene.

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
from joint.settings import Settings, added

__all__ = [
    "FieldTerms",
    "OffAxisConfig",
    "check_rank",
    "off_axis_coefficients",
    "varying_imaging",
    "vignetting",
]

# Part of a scene's light that may lie elsewhere before it is told.
_TOLD = 0.1


class OffAxisConfig(Settings):
    """What a lens of revolution does off its axis, see optics.VaryingImaging.

    As it is, nothing: one PSF for the whole scene. Otherwise the axis meets the middle of the
    scene, and heights are parts of the way to its corners. Seidel's terms and the table are added
    to each other and to what the lens has everywhere.
    """

    coma: float = 0.0
    """Waves at the middle wavelength, at the rim of the pupil and not RMS, for a corner of the
    scene: W131, which grows with the height. With a positive one, tails point away from the axis.
    1 is 0.118 (1 / sqrt 72) waves RMS of Noll's index 8 or 7, and a tilt that leaves the mean of
    the light in its place (of a pupil without vignetting), where Seidel's alone moves it: what
    moves is the lens's distortion."""
    astigmatism: float = 0.0
    """Waves as for coma: W222, which grows with the height's square. 1 is 0.204 (1 / sqrt 24) waves
    RMS of Noll's 6 or 5, and half a wave of defocus at the rim."""
    field_curvature: float = 0.0
    """Waves as for coma: W220, of the sagittal lines, which grows with the height's square. With a
    positive one, corners are focused behind the sensor: of a front end's defocus it is the
    opposite. 1 is 0.289 (1 / sqrt 12) waves RMS of Noll's 4."""
    heights: tuple[float, ...] = ()
    """Of a table of the lens along one radius: heights in the image in one unit, from 0, the axis,
    to the corner of the scene."""
    indices: tuple[int, ...] = ()
    """Noll's indices of the table's columns."""
    table: tuple[float, ...] = ()
    """Waves RMS at the middle wavelength, positive where light lags, so that those of OpticStudio
    change their sign: those of the indices at the first height, then at the next."""
    along: Literal["x", "y"] = "y"
    """In which direction the table's points lie; most programs of lens design put them along y."""
    vignetting: float = added(0.0, ge=0, le=0.9)
    """Share of the pupil, the full circle without its obscuration, that a round rim in front of the
    stop cuts off for a corner of the scene, see optics.Vignetting: corners become darker by it and,
    in focus, more blurred along the radius. The projection of light onto a sensor, cos^4, is the
    lens's half_field."""
    places: tuple[int, int] = (7, 7)
    """Rows and columns of places, from border to border of the scene, whose PSFs are computed;
    between them, PSFs are interpolated."""
    rank: int = Field(default=16, ge=1)
    """Eigen-PSFs of which they are made, each of which costs a convolution; as many as there are
    places make them exactly, and more are none."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if min(self.places) < 2:
            raise ValueError(f"places are rows and columns, two or more of each, not {self.places}")
        self._check_table()
        return self

    def _check_table(self) -> None:
        columns = len(self.indices)
        if len(set(self.indices)) < columns or any(index < 1 for index in self.indices):
            raise ValueError(f"indices are Noll's, from 1, each once, not {self.indices}")
        if len(self.table) != len(self.heights) * columns or bool(self.heights) != bool(columns):
            raise ValueError(
                f"table has {len(self.table)} values, and {len(self.heights)} heights of "
                f"{columns} indices take {len(self.heights) * columns}: give heights, indices and "
                "table together, row by row"
            )
        rising = all(low < high for low, high in zip(self.heights, self.heights[1:], strict=False))
        if self.heights and not (len(self.heights) > 1 and self.heights[0] == 0 and rising):
            raise ValueError(
                f"heights are two or more that grow from 0, the axis, not {self.heights}"
            )

    @property
    def aberrates(self) -> bool:
        """Whether a corner has another wavefront than the middle."""
        seidel = (self.coma, self.astigmatism, self.field_curvature)
        return any(seidel) or any(self.table)

    @property
    def varies(self) -> bool:
        """Whether a corner has another PSF than the middle."""
        return self.aberrates or self.vignetting > 0


def check_rank(rank: int, places: tuple[int, int]) -> None:
    """Refuse more eigen-PSFs than there are places."""
    count = math.prod(places)
    if rank > count:
        raise ValueError(
            f"rank={rank} is more than the {places[0]} x {places[1]} places have PSFs: give up to "
            f"{count}"
        )


class FieldTerms(NamedTuple):
    """A wavefront in places of the scene."""

    coefficients: Tensor
    """``[P, Q, 1, J]``, metres RMS."""
    indices: tuple[int, ...]
    """Noll's, of the J polynomials."""


def off_axis_coefficients(
    config: OffAxisConfig,
    image_size: tuple[int, int],
    *,
    wavelength: float,
    obscuration: float = 0.0,
) -> FieldTerms:
    """Zernike terms of a configuration in the places of a scene.

    Parameters
    ----------
    config : OffAxisConfig
    image_size : (int, int), pixels
        Height and width of the scene.
    wavelength : float, metres
        Of the waves of the configuration.
    obscuration : float
        Diameter of the stop in the middle of the pupil over that of the pupil.

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
    """The rim of a configuration, for a pupil of that diameter and spacing, in metres.

    It is three samples wider than the pupil, so that it leaves the middle of the scene all light.
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
    """Noll's indices, each with the other one of its pair: turned, it becomes that."""
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
    """The camera of PSFs that change across the scene, as :class:`optics.VaryingImaging` says.

    Warns
    -----
    UserWarning
        When its rank puts more than a tenth of a scene's light where it does not belong.
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
    with torch.no_grad():
        wrong = float(camera.error_bound())
    if wrong > _TOLD:
        warnings.warn(
            f"rank={rank} of the front end puts up to {wrong:.2g} of the light of a place where it "
            f"does not belong: give more, up to {math.prod(camera.places)}",
            UserWarning,
            stacklevel=1,  # once, wherever it is built
        )
    return camera
