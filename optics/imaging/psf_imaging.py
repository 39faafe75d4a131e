"""The common base of front ends that blur by point-spread functions: everything but the blur."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor

from optics.fourier import Boundary, kept_copy, squared_modulus
from optics.front_end import FrontEnd, check_part, check_scene
from optics.light.colour import ColourChannels
from optics.pupil.modulation import modulus
from optics.pupil.pupil import Pupil
from optics.quantity import (
    as_real,
    check_finite,
    check_number,
    check_tensor,
    differentiated,
    full_precision,
    hold,
    looked_at,
    whole_number,
)
from optics.sensor.noise import Generators, one_of

from .projection import Projection

__all__ = ["PSFImaging"]


class PSFImaging(FrontEnd):
    """Base class of incoherent imaging by PSFs; a subclass defines the blur.

    ::

        scene [B, C, H, W] ──placed──► points where they fall ──blur──► image ──lit──► irradiance
                            projection                               falloff, colours

    With working distances, each picture is blurred for one of them, drawn from the picture's own
    generator.

    Attributes
    ----------
    pupil : Pupil, optional
        Source of the PSFs; None where they are fixed, or a parameter.
    spectral_response : Tensor ``[C, L]``, optional
        Weight of the PSF of each of L wavelengths in the light of each channel.
    projection : Projection, optional
        Distortion and lateral colour before the blur, falloff after it.
    colour : ColourChannels, optional
        Lamps and filters that form the channels from the bands of the scene.
    """

    spectral_response: Tensor | None

    def __init__(
        self,
        pupil: Pupil | None,
        *,
        working_distances: Sequence[float] | Tensor | None = None,
        projection: Projection | None,
        colour: ColourChannels | None,
        boundary: Boundary,
    ) -> None:
        super().__init__()
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {get_args(Boundary)}, not {boundary!r}")
        check_part("projection", projection, Projection)
        check_part("colour", colour, ColourChannels)
        self.pupil = pupil
        self.projection = projection
        self.colour = colour
        self.boundary: Boundary = boundary
        if working_distances is not None:
            self._check_pupil()
            working_distances = _check_working(working_distances)
        self._working: tuple[float, ...] | None = working_distances
        self._all_at: float | None = None

    def _see(self, bands: int | None, *, response: Tensor | None, channels: int | None) -> None:
        """Set the channels: ``bands`` are those of the PSFs, None where all have the same one."""
        if response is not None:
            _check_response(response, 1 if bands is None else bands)
            response = as_real("spectral_response", response)
        hold(self, "spectral_response", response)
        own = bands if response is None else len(response)
        wanted = whole_number("channels", channels if channels is not None else own or 3)
        if own not in (None, wanted):
            raise ValueError(f"channels={channels}, but the PSFs and their response make {own}")
        colour = self.colour
        if colour is not None and colour.bands != wanted:
            raise ValueError(f"colour has {colour.bands} bands, but the PSFs have {wanted}")
        if colour is not None and response is not None:
            raise ValueError(
                "colour forms each channel from several bands with a PSF each, and a "
                "spectral_response assumes one PSF for each channel: give one of the two"
            )
        self.in_channels = wanted
        self.out_channels = wanted if colour is None else colour.channels
        self.exposures = 1 if colour is None else colour.exposures

    @abstractmethod
    def psf(self, *, distance: Tensor | float | None = None) -> Tensor:
        """Point-spread functions of each channel of the scene, ``[..., C, h, w]``."""

    def _distinct(self, psf: Tensor) -> Tensor:
        """PSFs ``[..., C or 1, h, w]`` of the channels; a single one where all have the same.

        They are weighted sums, by the spectral response, of the PSFs of the wavelengths
        ``[..., L, h, w]``.
        """
        return _seen(psf, self.spectral_response)

    def _of_each(self, psf: Tensor) -> Tensor:
        """:meth:`_distinct`, expanded to all channels, ``[..., C, h, w]``."""
        psf = self._distinct(psf)
        return psf.expand(*psf.shape[:-3], self.in_channels, *psf.shape[-2:])

    def mtf(
        self,
        frequency: Tensor,
        *,
        angle: float | Tensor = 0.0,
        distance: Tensor | float | None = None,
        pixel: bool = True,
    ) -> Tensor:
        """Polychromatic modulation transfer function (MTF) of each channel.

        The optical transfer functions of the wavelengths are added, with the weight of each in the
        channel (``spectral_response`` or ``colour``) and the light that the pupil passes at it. A
        phase difference between them thus lowers the contrast. See :meth:`Pupil.mtf`. A restoration
        and the error of a low rank are not included.

        Parameters
        ----------
        frequency : Tensor, real ``[F]``, cycles/m
        angle : float or scalar Tensor, radians
        distance : float or Tensor ``[D]``, metres, optional
        pixel : bool
            All as for :meth:`Pupil.otf`.

        Returns
        -------
        Tensor ``[C, F]``, or ``[D, C, F]`` for several distances; with places ``[(D,) P, Q, C, F]``
            In 0..1, normalised to 1 at zero frequency; 0 for a channel without light.

        Raises
        ------
        TypeError
            As :meth:`Pupil.otf`.
        ValueError
            Without a pupil: use :func:`optics.mtf` for a fixed PSF. As :meth:`Pupil.otf`.

        Warns
        -----
        UserWarning
            As :meth:`Pupil.otf`.
        """
        if self.pupil is None:
            raise ValueError(
                "mtf needs a Pupil: for a fixed PSF, sampled by its pixels, use optics.mtf"
            )
        response = self.spectral_response if self.colour is None else self.colour.matrix
        found = self.pupil.otf(frequency, angle=angle, distance=distance, pixel=pixel)
        light = squared_modulus(self.pupil.field()).sum((-2, -1))
        both = torch.cat((found, torch.ones_like(found[..., :1])), -1) * light[..., None]
        seen = _seen(both[..., None], response)[..., 0]
        whole = seen[..., -1:].real
        return modulus(seen[..., :-1] / torch.where(whole > 0, whole, 1))

    @property
    def draws(self) -> bool:
        """Whether a working distance is drawn for each scene."""
        return self._working is not None

    @property
    def working_distances(self) -> Tensor | None:
        """Distances of scenes, metres ``[D]``, float64 whatever the module's dtype; or None."""
        if self._working is None:
            return None
        assert self.pupil is not None
        device = self.pupil.aperture.device
        return kept_copy(
            ("working distances", self._working, device),
            lambda: torch.tensor(self._working, dtype=torch.float64, device=device),
        )

    @property
    def scene_distance(self) -> Tensor | float | None:
        """Distance of the scenes, metres: that of :meth:`at`, or the working distances ``[D]``.

        None if all scenes are in focus.
        """
        return self.working_distances if self._all_at is None else self._all_at

    @contextmanager
    def at(self, distance: float) -> Iterator[None]:
        """Put all scenes at one distance within a ``with`` block; a restoration stays unchanged.

        Working distances are still drawn, though not used, so that the generator gives the sensor
        the same noise as before.

        Parameters
        ----------
        distance : float, metres
            From the pupil; ``inf`` is allowed.

        Yields
        ------
        None
            The working distances are restored at the end of the block.

        Raises
        ------
        TypeError, ValueError
            When the distance is not one positive number, or there is no pupil.
        """
        self._check_pupil()
        check_number("distance", distance, "metres")
        if (isinstance(distance, Tensor) and distance.ndim) or not float(distance) > 0:
            raise ValueError(f"distance must be one positive number, in metres, not {distance!r}")
        before, self._all_at = self._all_at, float(distance)
        try:
            yield
        finally:
            self._all_at = before

    def _depths(
        self, scene: Tensor, distance: Tensor | float | None, generator: Generators | None
    ) -> tuple[Tensor | float | None, Tensor | None]:
        """Distances at which PSFs are needed, and the index ``[B]`` of the PSF of each picture.

        The index is None where all pictures have the same PSF, or each its own in their order. A
        distance that is drawn under :meth:`at` is not used.
        """
        check_scene(scene, self.in_channels)
        count = scene.shape[0]
        if distance is not None:
            self._check_pupil()
        if isinstance(distance, Tensor) and distance.shape not in ((), (count,)):
            raise ValueError(
                f"distance must be one number, or one for each of the {count} pictures, not "
                f"{tuple(distance.shape)}; for several depths in one scene give distances to "
                "optics.IncoherentImaging at construction, and use its image_layers"
            )
        drawn = None
        if distance is None and self._working is not None:
            drawn = one_of(len(self._working), scene, generator)
        if not count:  # an empty batch needs no PSF
            return None, None
        if distance is None and self._all_at is None:
            return self.working_distances, drawn
        if isinstance(distance, Tensor) and distance.ndim and _known(distance):
            return distance.unique(return_inverse=True)  # equal distances share one PSF
        return self._all_at if distance is None else distance, None

    def penalty(self) -> Tensor | None:
        """That of the pupil, see :meth:`Pupil.penalty`; None without a pupil."""
        return None if self.pupil is None else self.pupil.penalty()

    def placed(self, scene: Tensor) -> Tensor:
        """Distort a scene by the projection, without blur; unchanged if there is none.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``

        Returns
        -------
        Tensor ``[B, C, H, W]``
        """
        return scene if self.projection is None else self.projection(scene)

    def lit(self, image: Tensor) -> Tensor:
        """Apply the falloff of the projection and the colours of the camera to a blurred image.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``

        Returns
        -------
        Tensor ``[B, out_channels, H, W]``
        """
        if self.projection is not None:
            falloff = self.projection.illumination((image.shape[-2], image.shape[-1]))
            image = image * falloff.to(image)
        return image if self.colour is None else self.colour(image)

    def _throughput(self, passed: Tensor) -> Tensor:
        """Mean of the channels' throughputs ``[..., C]``; with colours, that of white light."""
        passed = passed.reshape(-1, self.in_channels).mean(0)
        return passed.mean() if self.colour is None else self.colour.throughput(passed)

    def _told_distances(self) -> str:
        if self._working is None:
            return ""
        return f", working_distances=({', '.join(f'{d:g}' for d in self._working)}) m"

    def _check_pupil(self) -> None:
        if self.pupil is None:
            raise ValueError("distances need a Pupil: a fixed PSF has one depth")


def _known(distance: Tensor) -> bool:
    """Whether the values may be compared here, and no gradient to them is recorded."""
    return looked_at(distance) and not differentiated(distance)


def _seen(of_bands: Tensor, response: Tensor | None) -> Tensor:
    """Sum over L wavelengths, weighted by the response ``[C, L]``: ``[..., C, h, w]``."""
    if response is None:
        return of_bands
    # The range of PSF values exceeds that of half precision.
    with full_precision(of_bands):
        return torch.einsum("cl,...lyx->...cyx", response.to(of_bands.dtype), of_bands)


def _check_working(distances: Sequence[float] | Tensor) -> tuple[float, ...]:
    try:
        given = distances.tolist() if isinstance(distances, Tensor) else distances
        numbers = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):  # text, None, 1j, and rows of unequal length
        numbers = torch.empty(0)
    if numbers.ndim != 1 or not numbers.numel() or not bool((numbers > 0).all()):
        raise ValueError(
            "working_distances must be [D], positive metres, not "
            f"{distances.tolist() if isinstance(distances, Tensor) else distances}; inf is allowed"
        )
    return tuple(numbers.tolist())


def _check_response(response: Tensor, bands: int) -> None:
    """Raise a ValueError for a response that makes light, or does not fit the number of PSFs."""
    check_tensor("spectral_response", response)
    response = response.detach()
    check_finite("spectral_response", response)
    fits = response.ndim == 2 and response.shape[1] == bands and not response.is_complex()
    if not fits or (response < 0).any() or float(response.sum(1).max()) > 1 + 1e-5:
        raise ValueError(
            f"spectral_response must be [C, {bands}], not negative, with rows that sum to at most "
            f"1; it is {tuple(response.shape)}"
        )
