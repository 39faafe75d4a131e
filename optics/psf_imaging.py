"""What front ends that blur by point-spread functions have in common: all but the blur."""

from abc import abstractmethod
from typing import get_args

import torch
from torch import Tensor

from .colour import ColourChannels
from .fourier import Boundary, squared_modulus
from .front_end import FrontEnd, check_part
from .modulation import modulus
from .projection import Projection
from .pupil import Pupil
from .quantity import (
    as_real,
    check_finite,
    check_tensor,
    full_precision,
    hold,
    whole_number,
)

__all__ = ["PSFImaging"]


class PSFImaging(FrontEnd):
    """Incoherent imaging by PSFs, which a class that extends it says how to blur by.

    ::

        scene [B, C, H, W] ──placed──► points where they fall ──blur──► image ──lit──► irradiance
                            projection                               falloff, colours

    Attributes
    ----------
    pupil : Pupil, optional
        Where the PSFs come from; None where they are fixed, or a parameter.
    spectral_response : Tensor ``[C, L]``, optional
        Share of the PSF of each of L wavelengths in each channel's light.
    projection : Projection, optional
        Distortion and lateral colour before the blur, falloff behind it.
    colour : ColourChannels, optional
        Lamps and filters that make channels of the bands of the scene.
    """

    spectral_response: Tensor | None

    def __init__(
        self,
        pupil: Pupil | None,
        *,
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
            raise ValueError(f"colour is for {colour.bands} bands, and there are PSFs of {wanted}")
        if colour is not None and response is not None:
            raise ValueError(
                "colour makes channels of several bands, each with a PSF of its own, and a "
                "spectral_response takes one for each channel: give one of the two"
            )
        self.in_channels = wanted
        self.out_channels = wanted if colour is None else colour.channels
        self.exposures = 1 if colour is None else colour.exposures

    @abstractmethod
    def psf(self) -> Tensor:
        """Point-spread functions of each channel of the scene, ``[..., C, h, w]``."""

    def _distinct(self, psf: Tensor) -> Tensor:
        """PSFs ``[..., C or 1, h, w]`` of channels, one for all where they have the same.

        Of those of wavelengths ``[..., L, h, w]``, as the channels respond to them.
        """
        return _seen(psf, self.spectral_response)

    def _of_each(self, psf: Tensor) -> Tensor:
        """:meth:`_distinct` with all channels, ``[..., C, h, w]``."""
        psf = self._distinct(psf)
        return psf.expand(*psf.shape[:-3], self.in_channels, *psf.shape[-2:])

    def _mtf(
        self,
        frequency: Tensor,
        *,
        angle: float | Tensor,
        distance: Tensor | float | None = None,
        pixel: bool,
    ) -> Tensor:
        """MTFs ``[..., C, F]`` of the channels, of all wavelengths that each sees together."""
        if self.pupil is None:
            raise ValueError(
                "a fixed PSF has no transfer function beyond its pixels: see optics.mtf"
            )
        response = self.spectral_response if self.colour is None else self.colour.matrix
        found = self.pupil.otf(frequency, angle=angle, distance=distance, pixel=pixel)
        light = squared_modulus(self.pupil.field()).sum((-2, -1))
        both = torch.cat((found, torch.ones_like(found[..., :1])), -1) * light[..., None]
        seen = _seen(both[..., None], response)[..., 0]
        whole = seen[..., -1:].real
        return modulus(seen[..., :-1] / torch.where(whole > 0, whole, 1))

    def placed(self, scene: Tensor) -> Tensor:
        """Move the points of a scene to where they fall, by the projection; nothing is blurred.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``

        Returns
        -------
        Tensor ``[B, C, H, W]``
        """
        return scene if self.projection is None else self.projection(scene)

    def lit(self, image: Tensor) -> Tensor:
        """Give a blurred image the falloff of the projection, and the colours of the camera.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]``

        Returns
        -------
        Tensor ``[B, exposures * out_channels, H, W]``
        """
        if self.projection is not None:
            falloff = self.projection.illumination((image.shape[-2], image.shape[-1]))
            image = image * falloff.to(image)
        return image if self.colour is None else self.colour(image)

    def _check_scene(self, scene: Tensor) -> None:
        check_tensor("scene", scene)
        if scene.ndim != 4 or scene.shape[1] != self.in_channels:
            raise ValueError(
                f"the front end takes scenes [B, {self.in_channels}, H, W], not "
                f"{tuple(scene.shape)}"
            )


def _seen(of_bands: Tensor, response: Tensor | None) -> Tensor:
    """What ``[..., C, h, w]`` channels see that respond ``[C, L]`` to L wavelengths."""
    if response is None:
        return of_bands
    # Light spans more than half precision holds.
    with full_precision(of_bands):
        return torch.einsum("cl,...lyx->...cyx", response.to(of_bands.dtype), of_bands)


def _check_response(response: Tensor, bands: int) -> None:
    """Raise a ValueError for a response that is not passive, or not one to so many PSFs."""
    check_tensor("spectral_response", response)
    response = response.detach()
    check_finite("spectral_response", response)
    fits = response.ndim == 2 and response.shape[1] == bands and not response.is_complex()
    if not fits or (response < 0).any() or float(response.sum(1).max()) > 1 + 1e-5:
        raise ValueError(
            f"spectral_response must be [C, {bands}], not negative, with rows that sum to at most "
            f"1; it is {tuple(response.shape)}"
        )
