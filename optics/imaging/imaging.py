"""Imaging of self-luminous or diffusely lit scenes: the irradiance of each point is blurred."""

from collections.abc import Sequence

import torch
from torch import Tensor

from optics.fourier import Boundary, convolve
from optics.front_end import check_part, check_raw, check_scene
from optics.light.colour import ColourChannels
from optics.pupil.height_map import EtchedRelief
from optics.pupil.pupil import Pupil, check_same_everywhere
from optics.quantity import (
    as_real,
    check_finite,
    check_real,
    hold,
    looked_at,
    single,
)
from optics.sensor.noise import Generators

from .projection import Projection
from .psf_imaging import PSFImaging
from .restoration import Wiener

__all__ = ["IncoherentImaging", "layered_blur"]


def layered_blur(
    scene: Tensor, layers: Tensor, psf: Tensor, *, boundary: Boundary = "replicate"
) -> Tensor:
    """Image of a scene whose points lie at different depths, without occlusion.

    ``sum_d (layers_d scene) * psf_d``: the share of each depth in a point is blurred by the PSF of
    that depth.

    Parameters
    ----------
    scene : Tensor ``[B, C, H, W]``
        Half precision is computed, and returned, in float32.
    layers : Tensor ``[B, D, H, W]``
        Share of each depth in each point, non-negative; the shares of a point sum to 1.
    psf : Tensor ``[D, C, h, w]``
        PSF of each depth and channel.
    boundary : str
        As in :func:`optics.convolve`.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError
        When an argument is not a Tensor.
    ValueError
        For shapes that do not fit, a Tensor that is not real floating point, or shares whose sum
        in a point differs from 1 by more than 0.01.
    """
    parts = _parts(scene, layers, psf).flatten(1, 2)
    blurred = convolve(parts, psf.flatten(0, 1), boundary=boundary)
    return blurred.unflatten(1, psf.shape[:2]).sum(1)


def _parts(scene: Tensor, layers: Tensor, psf: Tensor) -> Tensor:
    """Light of each depth, ``[B, D, C, H, W]``."""
    check_real("scene", scene, "[B, C, H, W]")
    check_real("layers", layers, "[B, D, H, W]")
    check_real("psf", psf, "[D, C, h, w]")
    depths, channels = psf.shape[:2] if psf.ndim == 4 else (0, 0)
    wanted = (scene.shape[0], depths, *scene.shape[-2:])
    if scene.ndim != 4 or channels != scene.shape[1] or layers.shape != wanted:
        raise ValueError(
            f"scene [B, C, H, W], layers [B, D, H, W] and psf [D, C, h, w] do not fit: "
            f"{tuple(scene.shape)}, {tuple(layers.shape)}, {tuple(psf.shape)}"
        )
    _check_shares(layers.detach())
    return single(layers)[:, :, None] * single(scene)[:, None]


class IncoherentImaging(PSFImaging):
    """Image a self-luminous or diffusely lit scene: its radiance is convolved with a PSF.

    Parameters
    ----------
    psf : Pupil or Tensor ``[C, h, w]`` or ``[h, w]``
        Source of the PSFs: a pupil, whose elements are trained, or fixed PSFs, as from
        :func:`optics.measured_psf`; a parameter is trained directly. The sum of a PSF is its
        throughput.
    spectral_response : Tensor ``[C, L]``, optional
        Weight of each of the L PSFs in the light of each channel. A pupil has one PSF per
        wavelength; ``[h, w]`` is a single PSF. Rows sum to at most 1; a parameter is trained
        directly. By default channel c has PSF c.
    channels : int, optional
        Channels of the scene for a PSF ``[h, w]``; by default those of the response, or 3.
    distances : Tensor ``[D]``, metres, optional
        Depths for :meth:`image_layers`. A parameter is trained in metres; :class:`Lens` shows how
        to train a length by relative steps instead.
    working_distances : sequence of float, array or Tensor ``[D]``, metres, optional
        Distances of flat scenes: each picture lies at one of them, drawn with equal probability,
        so that training covers all of them. By default all scenes are in focus. The distances are
        settings: they are not trained and not saved in a checkpoint.
    projection : Projection, optional
        Distortion and lateral colour before the blur, falloff after it.
    restoration : Wiener, optional
        Deblurs after the sensor, for the PSF in focus, or with the least mean error over all
        working distances. Its noise-to-signal ratio is trained with the element, which then has
        gradients through its image and through the inverse of its PSF.
    colour : ColourChannels, optional
        Lamps and filters that form the channels from the bands of the scene. Each band has a
        wavelength, and is blurred by its own PSF. Each pattern of the lamps is an exposure. By
        default each band is a channel.
    boundary : str
        As in :func:`optics.convolve`.

    Raises
    ------
    TypeError
        For a projection, a restoration or colours of another type, or a PSF or a response that is
        not a Tensor.
    ValueError
        For an unknown boundary; a pupil that varies over the field; PSFs that are negative, not
        finite, or sum to more than 1; a response of the wrong shape or with rows that sum to more
        than 1; channels that are not those of the PSFs; distances without a pupil; working
        distances that are not positive ``[D]``; colours with another number of bands, or together
        with a response or a restoration, which assume one PSF per channel.
    """

    fixed_psf: Tensor
    distances: Tensor | None

    def __init__(
        self,
        psf: Pupil | Tensor,
        *,
        spectral_response: Tensor | None = None,
        channels: int | None = None,
        distances: Tensor | None = None,
        working_distances: Sequence[float] | Tensor | None = None,
        projection: Projection | None = None,
        restoration: Wiener | None = None,
        colour: ColourChannels | None = None,
        boundary: Boundary = "replicate",
    ) -> None:
        pupil = psf if isinstance(psf, Pupil) else None
        if pupil is not None:
            check_same_everywhere(pupil)
        super().__init__(
            pupil,
            working_distances=working_distances,
            projection=projection,
            colour=colour,
            boundary=boundary,
        )
        check_part("restoration", restoration, Wiener)
        self.restoration = restoration
        if isinstance(psf, Pupil):
            bands: int | None = len(psf.wavelengths)
        else:
            _check_psf(psf)
            hold(self, "fixed_psf", psf)
            bands = len(psf) if psf.ndim == 3 else None
        self._see(bands, response=spectral_response, channels=channels)
        if colour is not None and restoration is not None:
            raise ValueError(
                "colour makes channels of several bands, each with a PSF of its own, and a "
                "restoration takes one for each channel: give one of the two"
            )
        if distances is not None:
            self._check_pupil()
            distances = as_real("distances", distances)
        hold(self, "distances", distances)

    def psf(self, *, distance: Tensor | float | None = None) -> Tensor:
        """Point-spread functions of each channel of the scene.

        Parameters
        ----------
        distance : float or Tensor ``[D]``, metres, optional
            Distance of the scene, as of :meth:`Pupil.forward`; in focus by default. See
            :func:`optics.defocus_path`.

        Returns
        -------
        Tensor ``[C, h, w]``, or ``[D, C, h, w]`` for several distances

        Raises
        ------
        ValueError
            When a distance is given and the PSF is fixed.
        """
        if distance is not None:
            self._check_pupil()
        if self.pupil is not None:
            psf = self.pupil(distance=distance)
        else:
            psf = self.fixed_psf if self.fixed_psf.ndim == 3 else self.fixed_psf[None]
        return self._of_each(psf)

    def design_psf(self) -> Tensor:
        """PSFs of the design, by which the camera restores: without drawn etch errors.

        The errors are removed from the reliefs during the computation, so this is not thread-safe.

        Returns
        -------
        Tensor ``[C, h, w]``, or ``[D, C, h, w]`` for several working distances
        """
        etched = [
            (part, part.etch_error)
            for part in self.modules()
            if isinstance(part, EtchedRelief) and part.etch_error is not None
        ]
        for part, _ in etched:
            part.etch_error = None
        try:
            return self.psf(distance=self.working_distances)
        finally:
            for part, error in etched:
                part.etch_error = error

    def throughput(self) -> Tensor:
        """Sum of the PSF, mean over the channels: the fraction of a point's light that arrives.

        It holds on the axis: the falloff of a projection is not included. It is also the mean over
        the working distances, or the value at the distance of :meth:`at`. With colours it is that
        of white light through the filters.
        """
        return self._throughput(self.psf(distance=self.scene_distance).sum((-2, -1)))

    def forward(
        self,
        scene: Tensor,
        *,
        distance: Tensor | float | None = None,
        generator: Generators | None = None,
    ) -> Tensor:
        """Form the irradiance of flat scenes.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``
        distance : float or Tensor, scalar or ``[B]``, metres, optional
            Distance of all scenes, or of each, as :meth:`psf` has it; by default one of the working
            distances, or in focus. For several depths in one scene see :meth:`image_layers`.
        generator : torch.Generator or a sequence of them, optional
            Source of the drawn working distances, or one for each picture; by default torch's
            global generator.

        Returns
        -------
        Tensor ``[B, C, H, W]``
            With colours ``[B, out_channels, H, W]``.

        Raises
        ------
        ValueError
            When the scene has the wrong channels, or for distances that are not one per picture,
            or that are given without a pupil.
        """
        where, which = self._depths(scene, distance, generator)
        psf = self.psf(distance=where)
        if which is not None:
            psf = psf.index_select(0, which)
        light = self.placed(scene)
        if psf.ndim == 4:  # a PSF for each picture: pictures as channels of one
            light, psf = light.flatten(0, 1)[None], psf.flatten(0, 1)
        blurred = convolve(light, psf, boundary=self.boundary)
        return self.lit(blurred.reshape(scene.shape))

    def image_layers(self, scene: Tensor, layers: Tensor) -> Tensor:
        """Form the irradiance of a scene with depth, see :func:`layered_blur`.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``
        layers : Tensor ``[B, D, H, W]``
            Share of each of the D ``distances`` in each pixel, non-negative, with a sum of 1.

        Returns
        -------
        Tensor ``[B, C, H, W]``
            With colours ``[B, out_channels, H, W]``.

        Raises
        ------
        ValueError
            When no ``distances`` were given at construction, or the scene has the wrong channels.
        """
        check_scene(scene, self.in_channels)
        if self.distances is None:
            raise ValueError("image_layers needs distances, metres: give them at construction")
        psf = self.psf(distance=self.distances)
        # Light is moved, not its shares: each channel may be distorted differently.
        moved = [self.placed(part) for part in _parts(scene, layers, psf).unbind(1)]
        blurred = convolve(torch.cat(moved, 1), psf.flatten(0, 1), boundary=self.boundary)
        return self.lit(blurred.unflatten(1, psf.shape[:2]).sum(1))

    def combine(self, raw: Tensor) -> Tensor:
        """Return the exposures ``raw``; with a restoration, deblurred by :meth:`design_psf`."""
        check_raw(raw, self.out_channels)
        if self.restoration is None:
            return raw
        return self.restoration(raw, self.design_psf(), boundary=self.boundary)

    def extra_repr(self) -> str:
        """Name the channels and the boundary."""
        return f"channels={self.in_channels}, boundary={self.boundary!r}{self._told_distances()}"


def _check_shares(layers: Tensor) -> None:
    if not looked_at(layers):
        return
    total = layers.sum(1)
    # A hundredth: shares in half precision do not sum to 1 any better.
    if not bool((layers >= 0).all() & ((total - 1).abs() <= 1e-2).all()):
        raise ValueError(
            f"layers must be shares of the depths, not negative, that sum to 1 in each point; they "
            f"start from {float(layers.min()):.4g} and sum to {float(total.min()):.4g} to "
            f"{float(total.max()):.4g}: use softmax over the depths"
        )


def _check_psf(psf: Tensor) -> None:
    if not isinstance(psf, Tensor):
        raise TypeError(
            f"psf must be a Pupil, or a Tensor [h, w] or [C, h, w], not {type(psf).__name__}"
        )
    if psf.ndim not in (2, 3) or not psf.is_floating_point() or psf.numel() == 0:
        raise ValueError(
            f"psf must be a Pupil, or real [h, w] or [C, h, w], not {psf.dtype} {tuple(psf.shape)}"
        )
    check_finite("psf", psf.detach())
    check_light(psf)


def check_light(psf: Tensor) -> None:
    """Raise a ValueError for a PSF that is negative, or sums to more light than arrives."""
    psf = psf.detach()
    brightest, least = float(psf.sum((-2, -1)).max()), float(psf.min())
    if least < 0 or brightest > 1 + 1e-5:
        raise ValueError(
            f"a PSF is not negative and sums to its throughput, at most 1; here the sum reaches "
            f"{brightest:.9g} and the least value is {least:.4g}: make one of a picture of a point "
            "source with optics.measured_psf; of another, set what is negative to 0, divide by the "
            "sum, and multiply by the throughput"
        )
