"""Blur that varies over the field, as a short sum of convolutions.

::

    pupil, or PSFs [P, Q, (C,) h, w] ──low_rank_psf──► eigen-PSFs [R, (C,) h, w], weights [R, P, Q]
    scene [B, C, H, W] ──projection──► x each weight ──convolve──► sum over R ──► irradiance

The PSF of a lens varies over its field. It is known at a grid of places and interpolated between
them; the set is then written as a sum of few eigen-PSFs,

``psf(x) = sum_r a_r(x) e_r``, so that ``image = sum_r (a_r scene) * e_r``

(Flicker and Rigaut, J. Opt. Soc. Am. A 22:504, 2005). The weights multiply the scene before the
convolution, as each point spreads its own light. The sums of the PSFs, their light, are exact at
every rank; the remaining error has a computed bound. Scenes at several distances have a set of PSFs
for each distance, and each picture uses the eigen-PSFs of its own distance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optics.fourier import Boundary, convolve
from optics.front_end import check_raw
from optics.light.colour import ColourChannels
from optics.pupil.pupil import Pupil
from optics.quantity import (
    check_finite,
    check_real,
    check_tensor,
    differentiated,
    full_precision,
    has_values,
    hold,
    looked_at,
    single,
    whole_number,
)
from optics.sensor.noise import Generators

from .imaging import check_light
from .projection import Projection
from .psf_imaging import PSFImaging

__all__ = ["LowRankPSF", "VaryingImaging", "low_rank_psf", "varying_blur"]

# Two singular values count as different if they differ by this many rounding errors of the PSFs.
# Rounding then turns their singular vectors by about a hundredth at most.
_TOLD_APART = 100


class LowRankPSF(NamedTuple):
    """PSFs on a grid of places as a sum of few eigen-PSFs."""

    basis: Tensor
    """Eigen-PSFs ``[R, (C,) h, w]``. The first is the mean of the PSFs, weighted by their light,
    with unit sum. The others are differences from it: they sum to 0 and carry the size of the
    differences. Below full rank they are sorted, the largest first, and the approximated PSFs may
    be negative. At full rank they are not principal components and not sorted: choose a smaller
    rank instead of taking the first few."""
    weights: Tensor
    """Coefficients ``[R, P, Q]`` at the places. The first are the sums of the PSFs. The others are
    orthonormal, except at full rank when the PSFs have fewer pixels than there are places."""
    error_bound: Tensor
    """Largest sum of ``|psf - approximation|`` over the places and channels, scalar: at most this
    fraction of a scene's light falls on wrong pixels."""


def low_rank_psf(psfs: Tensor, rank: int) -> LowRankPSF:
    """Best approximation of PSFs on a grid of places by ``rank`` eigen-PSFs that keeps their light.

    Parameters
    ----------
    psfs : Tensor, real ``[P, Q, (C,) h, w]``
        PSFs at P x Q places, which span the image from border to border. The C channels of a lens
        share the weights.
    rank : int
        Number of eigen-PSFs, 1 to P Q. The approximation keeps the sum of each PSF, so that it
        makes no light, and is the best such one in the mean square: the sums times a mean PSF, plus
        the truncated singular value decomposition of the rest (Eckart and Young, Psychometrika
        1:211, 1936). With several channels, the sums over the channels are kept.

    Returns
    -------
    LowRankPSF
        At full rank (as many eigen-PSFs as places or pixels) the product of basis and weights, and
        any image made of it, has its gradient as long as any place has light. Below full rank,
        basis and weights each have a gradient as long as the kept singular values differ from each
        other and from those left out. If two kept values coincide, the product still has its
        gradient. If a kept value coincides with one left out, the best approximation is not unique:
        the gradient holds the weights of both constant, and the eigen-PSFs follow the PSFs. The
        same holds for singular values of 0, if fewer PSFs differ than there are eigen-PSFs, as when
        a lens is trained from one wavefront for all places: the change is followed with the
        weights that are held, which are arbitrary but orthogonal to the others.

    Raises
    ------
    ValueError
        When the PSFs are not real and finite ``[P, Q, (C,) h, w]``, or sum to 0 at all places, or
        the rank is not 1 to P Q.
    """
    check_real("psfs", psfs, "[P, Q, (C,) h, w]")
    check_finite("psfs", psfs.detach())
    psfs = single(psfs)
    if psfs.ndim not in (4, 5):
        raise ValueError(f"psfs must be [P, Q, (C,) h, w], not {tuple(psfs.shape)}")
    rows, columns, *shape = psfs.shape
    rank = _rank_of(rank, rows * columns)
    table = psfs.reshape(rows * columns, -1)
    # With fewer pixels than places, full rank is the number of pixels.
    rank = min(rank, table.shape[1])
    light = psfs.sum((-2, -1)).reshape(len(table), -1).mean(1, keepdim=True)
    if looked_at(light) and bool(table.any()) and not bool(light.any()):
        raise ValueError(
            "psfs sum to 0 at all places, but their sums are kept: use torch.linalg.svd instead"
        )
    with full_precision(table):  # lower precision would round more than a low rank leaves out
        # The condition M 1 = s puts s into the column space of M. The best such M of rank R is the
        # table's part along s, plus the best approximation of rank R - 1 of the rest, whose rows
        # sum to 0.
        mean = light.mT @ table / light.square().sum().clamp_min(torch.finfo(table.dtype).tiny)
        weights, basis = _best_rest(table, light, mean, rank - 1)
    weights, basis = torch.cat((light, weights), 1), torch.cat((mean, basis))
    basis, weights = basis.reshape(-1, *shape), weights.T.reshape(-1, rows, columns)
    with full_precision(table):
        made = torch.einsum("rpq,r...->pq...", weights, basis)
        left_out = (psfs - made).abs().sum((-2, -1)).max()
    return LowRankPSF(basis, weights, left_out)


def _best_rest(table: Tensor, light: Tensor, mean: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors ``[PQ, R]`` and ``[R, pixels]`` of the best approximation of ``table - light mean``.

    An exact one is made without a decomposition, which has no derivative where values are 0.
    """
    places, pixels = table.shape
    across = _complement(light)
    if rank == places - 1:
        return across, across.mT @ table
    if rank == pixels - 1:
        sums_to_0 = _complement(torch.ones_like(table[:1].mT))
        return (table - light @ mean) @ sums_to_0, sums_to_0.mT
    # The weights are the orthonormal factor, and the eigen-PSFs are linear in the PSFs, so that
    # those of singular value 0 have a gradient too.
    scale = torch.linalg.vector_norm(table.detach())
    decomposed = _LowRank if torch.compiler.is_compiling() else _ForwardLowRank
    basis, weights = decomposed.apply(table.mT @ across, scale, rank)[:2]
    return across @ weights.mT, basis.mT


def _complement(line: Tensor) -> Tensor:
    """Orthonormal columns ``[N, N - 1]``, orthogonal to a line ``[N, 1]``: Householder reflection.

    They change smoothly with the line, except where its first number changes sign.
    """
    tiny = torch.finfo(line.dtype).tiny
    unit = line / line.square().sum().clamp_min(tiny).sqrt()
    unit = torch.where(unit[:1] < 0, -unit, unit)
    first, others = unit[:1], unit[1:]
    same = torch.eye(len(others), dtype=line.dtype, device=line.device)
    return torch.cat((-others.mT, same - others @ others.mT / (1 + first)))


def _rank_of(rank: int, places: int) -> int:
    rank = whole_number("rank", rank, least=0)
    if not 1 <= rank <= places:
        raise ValueError(f"rank must be from 1 to the {places} places, not {rank}")
    return rank


class _LowRank(torch.autograd.Function):
    """Factors ``A = W B`` of the best approximation of a matrix, ``B`` with orthonormal rows.

    ``W = A B^T``, and row i of B turns towards each other singular vector v_j as an eigenvector of
    ``A^T A`` does, ``dB_i = sum_j v_j (v_j . d(A^T A) B_i) / (s_i^2 - s_j^2)`` (Magnus, Econometric
    Theory 1:179, 1985). Autograd's gradient of the whole decomposition divides by the differences
    of all values, those left out and equal ones as well. Values that cannot be told apart, of what
    is known to the rounding of ``scale``, do not turn towards each other.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        table: Tensor, scale: Tensor, rank: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        u, s, v = torch.linalg.svd(table, full_matrices=False)
        return u[:, :rank] * s[:rank], v[:rank].clone(), u, s, v

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Tensor, int],
        output: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        u, s, v = output[2:]
        ctx.mark_non_differentiable(u, s, v)
        ctx.rank = len(output[1])  # pyright: ignore[reportAttributeAccessIssue]
        ctx.save_for_backward(*inputs[:2], u, s, v)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        to_weights, to_basis = gradients[:2]
        table, scale, u, s, v = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        if torch.is_grad_enabled():
            # Somebody differentiates the gradient: what was kept is constant to autograd.
            u, s, v = torch.linalg.svd(table, full_matrices=False)
        rank: int = ctx.rank  # pyright: ignore[reportAttributeAccessIssue]
        with full_precision(table):
            scaled = u * s
            weights, basis, kept = scaled[:, :rank], v[:rank], s[:rank]
            to_basis = to_basis + to_weights.mT @ table
            # Of row i towards v_j [i, j], and towards what lies outside of all of them.
            turns = to_basis @ v.mT
            alone = _inverse(kept, torch.zeros_like(kept), scale)
            outside = (to_basis - turns @ v) * alone[:, None]
            turns = turns * _inverse(kept[:, None], s, scale)
            to_weights = to_weights + scaled @ turns.mT
            return to_weights @ basis + weights @ (turns @ v + outside), None, None


class _ForwardLowRank(_LowRank):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Tensor, int],
        output: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    ) -> None:
        _LowRank.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:2], *output[2:])

    @staticmethod
    def jvp(
        ctx: torch.autograd.function.FunctionCtx, change: Tensor, of_scale: None, of_rank: None
    ) -> tuple[Tensor, Tensor, None, None, None]:
        table, scale, u, s, v = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        first: int = ctx.rank  # pyright: ignore[reportAttributeAccessIssue]
        with full_precision(table):
            scaled, moved = u * s, change @ v.mT
            weights, kept = scaled[:, :first], s[:first]
            # v_j . d(A^T A) B_i [i, j], and what of d(A^T A) B_i lies outside of all of them.
            turns = weights.mT @ moved + moved[:, :first].mT @ scaled
            turns = turns * _inverse(kept[:, None], s, scale)
            outside = weights.mT @ (change - moved @ v)
            outside = outside * _inverse(kept, torch.zeros_like(kept), scale)[:, None]
            to_basis = turns @ v + outside
            to_weights = moved[:, :first] + table @ to_basis.mT
        return to_weights, to_basis, None, None, None


def _inverse(kept: Tensor, other: Tensor, scale: Tensor) -> Tensor:
    """``1 / (kept^2 - other^2)``, or 0 where they cannot be told apart."""
    gap = kept - other
    apart = gap.abs() > _TOLD_APART * torch.finfo(gap.dtype).eps * scale
    return torch.where(apart, 1 / torch.where(apart, gap * (kept + other), 1.0), 0.0)


def varying_blur(
    scene: Tensor, basis: Tensor, weights: Tensor, *, boundary: Boundary = "replicate"
) -> Tensor:
    """Blur a scene with PSFs that are interpolated between places.

    Parameters
    ----------
    scene : Tensor ``[B, C, H, W]``
        Half precision is computed, and returned, in float32.
    basis : Tensor ``[R, h, w]``, or ``[R, C, h, w]`` for one in each channel
        Eigen-PSFs; ``[B, R, (C,) h, w]`` if each picture has its own.
    weights : Tensor ``[R, P, Q]``, or ``[B, R, P, Q]``
        Weights at places that span the picture from border to border, half a pixel beyond the
        centres of the outermost pixels. They are interpolated bilinearly, so that the PSF of a
        point is a weighted mean of those of the neighbouring places, and an error bound holds there
        too.
    boundary : str
        As in :func:`optics.convolve`.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError
        When one of them is not a Tensor.
    ValueError
        When the shapes are not these, or the scene is not real floating point.
    """
    check_real("scene", scene, "[B, C, H, W]")
    check_tensor("basis", basis)
    check_tensor("weights", weights)
    scene = single(scene)
    own = weights.ndim - 3  # whether each picture has its own
    fits = own in (0, 1) and basis.ndim - own in (3, 4) and scene.ndim == 4
    fits = fits and basis.shape[: own + 1] == weights.shape[: own + 1]
    fits = fits and (basis.ndim - own == 3 or basis.shape[-3] == scene.shape[1])
    if not fits or (own and weights.shape[0] != scene.shape[0]):
        raise ValueError(
            f"scene must be [B, C, H, W], basis [R, (C,) h, w] and weights [R, P, Q], or both with "
            f"[B] in front, not {tuple(scene.shape)}, {tuple(basis.shape)} and "
            f"{tuple(weights.shape)}"
        )
    if own and not scene.shape[0]:  # nothing to blur
        return scene
    maps = weights.to(scene.dtype)
    down, across = (
        _shares(side, count, maps)
        for side, count in zip(scene.shape[-2:], weights.shape[-2:], strict=True)
    )
    with full_precision(maps):
        maps = down @ maps @ across.mT
    parts = scene[:, None] * maps[..., None, :, :]
    kernels = basis if basis.ndim - own == 4 else basis.unsqueeze(-3)
    kernels = kernels.expand(*weights.shape[:-2], *parts.shape[2:3], *basis.shape[-2:])
    # Parts, and pictures with kernels of their own, as channels of one.
    flat = parts.flatten(1, 2).flatten(0, own)[None] if own else parts.flatten(1, 2)
    blurred = convolve(flat, kernels.flatten(0, own + 1), boundary=boundary)
    return blurred.reshape(parts.shape).sum(1)


def _shares(side: int, places: int, like: Tensor) -> Tensor:
    """Share of each place in the PSF of each pixel along a side, ``[side, places]``.

    The first and the last place are on the borders of the picture, where the image height is that
    of :func:`optics.wave.off_axis.place_heights`.
    """
    pixels = torch.arange(side, dtype=like.dtype, device=like.device) + 0.5
    apart = pixels[:, None] * ((places - 1) / side) - torch.arange(places, device=like.device)
    return (1 - apart.abs()).clamp_min(0)


class VaryingImaging(PSFImaging):
    """Incoherent imaging with PSFs that vary over the field.

    Parameters
    ----------
    psfs : Pupil, or Tensor, real ``[P, Q, h, w]`` or ``[P, Q, L, h, w]``
        PSFs at places that span the image from border to border. A pupil gives those at its
        :attr:`~Pupil.places`, as with an :class:`Aberration` with coefficients
        ``[P, Q, L or 1, J]``, which is trained. PSFs that are a parameter, in fractions of the
        light, are trained directly.
    rank : int
        Number of eigen-PSFs, see :func:`low_rank_psf`; each costs one convolution.
    spectral_response : Tensor ``[C, L]``, optional
        Weight of each of the L PSFs of a place in the light of each channel. Rows sum to at most 1;
        a parameter is trained directly. By default channel c has PSF c.
    channels : int, optional
        Channels of the scene: those of the PSFs, or 3, all with the same PSFs.
    working_distances : sequence of float, array or Tensor ``[D]``, metres, optional
        Distances of flat scenes, as in :class:`IncoherentImaging`: each picture lies at one of
        them, drawn with equal probability, and is blurred with the eigen-PSFs of that distance.
        This needs a pupil.
    projection : Projection, optional
        Distortion and lateral colour before the blur, falloff after it.
    colour : ColourChannels, optional
        Lamps and filters that form the channels from the bands of the scene. Each band is blurred
        by its own PSFs, see :class:`IncoherentImaging`. By default each band is a channel.
    boundary : str
        As in :func:`optics.convolve`.

    Raises
    ------
    TypeError
        When the PSFs are neither a Pupil nor a Tensor, or the projection or the colours are of
        another type.
    ValueError
        For an unknown boundary; PSFs that are not real of these shapes, negative, or sum to more
        than 1; a pupil with the same wavefront for all places; a rank that is not 1 to P Q; a
        response that does not fit the PSFs or has rows that sum to more than 1; channels that are
        not those of the PSFs; working distances that are not positive ``[D]``, or without a pupil;
        or colours with another number of bands, or together with a response.

    Notes
    -----
    At every rank the image of a point has the light of its PSF (with several channels, the sum over
    them). Below full rank some of it, up to half of :meth:`error_bound`, is on wrong pixels, and
    the same amount is missing on others, where irradiance can become negative. It is not clipped:
    clipping would add light, break linearity, and remove the gradient where the error is. Use a
    larger rank instead.

    Between places the PSFs are interpolated, not the wavefronts: give enough places that
    neighbouring PSFs differ little. With one wave of coma in the corner and half a wave each of
    astigmatism and field curvature, the error half way between places, summed over the pixels, is
    up to 0.31 of the light with 5 x 5 places, 0.16 with 7 x 7 and 0.10 with 9 x 9. A PSF that
    shifts from place to place becomes, half way, two PSFs of half the light: a shift of a pixel
    between places, as from lateral colour, belongs in the projection.
    """

    psfs: Tensor
    # The last PSFs that were decomposed, and the result. Not a part of the state.
    _kept: tuple[tuple[int, torch.dtype, torch.device], Tensor, LowRankPSF] | None = None

    def __init__(
        self,
        psfs: Pupil | Tensor,
        *,
        rank: int,
        spectral_response: Tensor | None = None,
        channels: int | None = None,
        working_distances: Sequence[float] | Tensor | None = None,
        projection: Projection | None = None,
        colour: ColourChannels | None = None,
        boundary: Boundary = "replicate",
    ) -> None:
        super().__init__(
            psfs if isinstance(psfs, Pupil) else None,
            working_distances=working_distances,
            projection=projection,
            colour=colour,
            boundary=boundary,
        )
        if isinstance(psfs, Pupil):
            bands: int | None = len(psfs.wavelengths)
            _rank_of(rank, math.prod(_places(psfs)))
        else:
            _check_psfs(psfs, rank)
            hold(self, "psfs", psfs)
            bands = psfs.shape[2] if psfs.ndim == 5 else None
        self._see(bands, response=spectral_response, channels=channels)
        self.rank = rank

    @property
    def places(self) -> tuple[int, int]:
        """Number of places (P, Q) at which PSFs are known; they span the image to its borders."""
        if self.pupil is None:
            return self.psfs.shape[0], self.psfs.shape[1]
        assert self.pupil.places is not None  # it has them, or was refused
        return self.pupil.places

    def psf(self, *, distance: Tensor | float | None = None) -> Tensor:
        """Point-spread functions at the places, of each channel of the scene.

        Parameters
        ----------
        distance : float or Tensor ``[D]``, metres, optional
            From the pupil to the scene, or from the first vertex of a :class:`CompoundPupil`; in
            focus by default. See :func:`optics.defocus_path`.

        Returns
        -------
        Tensor ``[P, Q, C, h, w]``, or ``[D, P, Q, C, h, w]`` for several distances
            Fractions of the light; repeated for each channel where all have the same PSFs.

        Raises
        ------
        ValueError
            When a distance is given and the PSFs are fixed.
        """
        return self._of_each(self._of_wavelengths(distance))

    def _of_wavelengths(self, distance: Tensor | float | None) -> Tensor:
        """PSFs at the places ``[(D,) P, Q, L or 1, h, w]``."""
        if distance is not None:
            self._check_pupil()
        if self.pupil is not None:
            return self.pupil(distance=distance)
        return self.psfs[:, :, None] if self.psfs.ndim == 4 else self.psfs

    def throughput(self) -> Tensor:
        """Fraction of the light of a uniform scene that reaches the image, mean over the channels.

        PSFs are interpolated between places, so that a place on the border has half the weight of
        one within, and a corner a quarter. The falloff of a projection is not included. With
        colours it is that of white light through the filters. It is also the mean over the working
        distances, or the value at the distance of :meth:`at`. PSFs that shift from place to place,
        as with Seidel coma or a tilt, magnify the image: the irradiance of a uniform scene then
        differs from this value by the ratio of the illuminated areas.
        """
        rows, columns = (_trapezium(n) for n in self.places)
        light = self.psf(distance=self.scene_distance).sum((-2, -1))
        parts = (rows[:, None] * columns)[..., None].to(light)
        return self._throughput((light * parts).sum((-3, -2)))

    def error_bound(self) -> Tensor:
        """Largest fraction of the light that the low rank puts on wrong pixels, scalar.

        It is the largest over all working distances, or the value at the distance of :meth:`at`.
        """
        # A copy of the kept number, which the caller may change in place.
        return self._taken_apart(self.scene_distance).error_bound.max().clone()

    def _taken_apart(self, distance: Tensor | float | None) -> LowRankPSF:
        """:func:`low_rank_psf` of the PSFs, kept for as long as the PSFs stay the same.

        Several distances ``[D]`` are the first dimension of each factor, and of the bound. The PSFs
        are compared by value, in a hundredth of the decomposition's time, so that any change of
        them is noticed.
        """
        psfs = self._distinct(self._of_wavelengths(distance))  # no larger than it must be
        if not has_values(psfs) or differentiated(psfs):
            return _apart(psfs, self.rank)
        of = self.rank, psfs.dtype, psfs.device
        kept = self._kept
        if kept is None or kept[0] != of or not torch.equal(kept[1], psfs):
            # A tensor made in inference mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                psfs = psfs.clone()
                kept = self._kept = of, psfs, _apart(psfs, self.rank)
        return kept[2]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

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
            distances, or in focus.
        generator : torch.Generator or a sequence of them, optional
            Source of the drawn working distances, or one for each picture; by default torch's
            global generator.

        Returns
        -------
        Tensor ``[B, C, H, W]``
            With colours ``[B, out_channels, H, W]``.

        Raises
        ------
        TypeError
            When the scene is not a Tensor.
        ValueError
            When it is not of this shape, or not real floating point, or for distances that are not
            one per picture, or that are given without a pupil.
        """
        where, which = self._depths(scene, distance, generator)
        if not scene.shape[0]:  # an empty batch needs no decomposition
            return self.lit(single(self.placed(scene)))
        basis, weights, _ = self._taken_apart(where)
        if which is not None:
            basis, weights = basis.index_select(0, which), weights.index_select(0, which)
        if basis.shape[-3] == 1:
            basis = basis.squeeze(-3)
        return self.lit(varying_blur(self.placed(scene), basis, weights, boundary=self.boundary))

    def combine(self, raw: Tensor) -> Tensor:
        """Return ``raw`` unchanged; several exposures stay one after another in the channels."""
        check_raw(raw, self.out_channels)
        return raw

    def extra_repr(self) -> str:
        """Name the geometry."""
        size = tuple(self.psfs.shape[-2:]) if self.pupil is None else self.pupil.psf_size
        return (
            f"places={self.places}, psf_size={size} pixels, rank={self.rank}, "
            f"channels={self.in_channels}, boundary={self.boundary!r}{self._told_distances()}"
        )


def _apart(psfs: Tensor, rank: int) -> LowRankPSF:
    """:func:`low_rank_psf` of ``[P, Q, C, h, w]``, or of each of ``[D, P, Q, C, h, w]``."""
    if psfs.ndim == 5:
        return low_rank_psf(psfs, rank)
    each = [low_rank_psf(at_one, rank) for at_one in psfs]
    return LowRankPSF(*(torch.stack(part) for part in zip(*each, strict=True)))


def _trapezium(places: int) -> Tensor:
    """Weights ``[places]`` of the trapezium rule for places from end to end of a line."""
    parts = torch.ones(places, dtype=torch.float64)
    if places > 1:
        parts[[0, -1]] = 0.5
    return parts / parts.sum()


def _places(pupil: Pupil) -> tuple[int, int]:
    if pupil.places is None:
        raise ValueError(
            "the pupil has one PSF for all places: use optics.IncoherentImaging, or add an "
            "Aberration with coefficients [P, Q, L or 1, J], or a Vignetting, to the pupil"
        )
    return pupil.places


def _check_psfs(psfs: Tensor, rank: int) -> None:
    if not isinstance(psfs, Tensor):
        raise TypeError(
            f"psfs must be a Pupil, or a Tensor [P, Q, (L,) h, w], not {type(psfs).__name__}"
        )
    low_rank_psf(psfs.detach(), rank)
    check_light(psfs)
