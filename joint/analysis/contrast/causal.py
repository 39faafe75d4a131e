"""Causal effect of contrast on a classifier: the same lesions with lower or higher contrast.

::

    picture, mask ─► L*a*b* ─► lesion moved along the line to its ring ─► sRGB ─► system ─► recall
                                            factor 0 ··· 1 ··· 2

For pictures without three channels, L* of each channel replaces L*a*b*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from classify import Interval, LesionDataset
from classify.intervals import (
    check_resampling,
    check_units,
    mean_interval,
    membership,
    percentile_interval,
    resampled,
    source,
    with_width,
)
from classify.judged import Judged
from joint.analysis.by_lesion import equal_lesions_in, known_interval, lesions_in, rank_correlation
from joint.analysis.colour import exact, light_of_perceptual, perceptual
from joint.analysis.passes import passes
from joint.analysis.region import check_masks, distance_outside, skin_ring
from joint.analysis.ring import check_range
from joint.feed import as_seed
from joint.kinds import (
    check_batch_size,
    check_dataset,
    check_kinds,
    check_scores,
    check_suited,
)
from joint.record import Record
from joint.stages import Encoding, check_codes
from joint.system import ImagingSystem, evaluating
from optics import clip, linear_to_srgb, srgb_to_linear
from optics.quantity import full_precision

from .measures import contrast

__all__ = ["ContrastSweep", "mean_colours", "recall_against_contrast", "scalable", "scale_contrast"]

Array = npt.NDArray[Any]

_HALF_A_CODE = 0.5 / 255
# Delta E*ab below which two colours are equal except for rounding.
_NO_CONTRAST = 1e-3


@dataclass(frozen=True)
class ContrastSweep(Record):
    """Recall of a system at several contrasts of the same lesions."""

    factors: tuple[float, ...]
    """Factors on the contrast of the scenes ``[F]``."""
    classes: tuple[str, ...]
    recall: Array
    """Recall of each class at each factor ``[F, K]``."""
    recall_intervals: tuple[tuple[Interval, ...], ...]
    """Likewise; NaN for a class of fewer than two lesions, whose resamples are all equal."""
    accuracy: Array
    """``[F]``."""
    accuracy_intervals: tuple[Interval, ...]
    """One for each factor."""
    balanced_accuracy: Array
    """Mean recall of the classes that have pictures ``[F]``."""
    balanced_intervals: tuple[Interval, ...]
    """One for each factor: that of a report, to which a class of a single lesion adds width."""
    gcnr: Array
    """Median over the scenes, as measured at each factor ``[F]``."""
    delta_e: Array
    """Likewise; NaN of scenes that have no three colours."""
    clipped: Array
    """Share of a lesion's pixels in which a channel is clipped by half an 8-bit code or more: mean
    over the pictures of each class ``[F, K]``."""
    achieved: Array
    """Achieved over requested contrast, as distances of the mean colours of lesion and ring: median
    of each class ``[F, K]`` over the lesions that have a contrast; NaN at factor 0. If it is below
    1, a step of the factor is a smaller step of the contrast, and differs between classes.
    """
    spearman: Array
    """Rank correlation of factor and recall, by class ``[K]``; NaN where recall is constant."""
    spearman_intervals: tuple[Interval, ...]
    """One for each class; NaN where recall is constant in more draws than an interval leaves out.
    """
    balanced_spearman: float
    """Rank correlation of factor and balanced accuracy."""
    balanced_spearman_interval: Interval
    """Interval of that correlation."""
    pictures: int
    left_out: int
    """Number of pictures without a mask, or without skin around the lesion, whose contrast cannot
    be scaled."""
    level: float
    resamples: int

    def __str__(self) -> str:
        names = " ".join(f"{name:>6}" for name in self.classes)
        coloured = not np.isnan(self.delta_e).all()
        rows = [
            f"recall of {self.pictures} pictures ({self.left_out} left out) at scaled contrast; "
            f"{100 * self.level:g} % intervals over lesions; clipped: share of the lesions' "
            "pixels, achieved: contrast over that asked for",
            f"{'factor':>6} {'gCNR':>6} {'dE ' if coloured else '':>7}{names} {'acc':>6} "
            f"{'balanced':>8}",
        ]
        for k, factor in enumerate(self.factors):
            shares = " ".join(f"{share:6.3f}" for share in self.recall[k])
            rows.append(
                f"{factor:6.2f} {self.gcnr[k]:6.3f} "
                f"{f'{self.delta_e[k]:6.2f} ' if coloured else '':7}{shares} "
                f"{self.accuracy[k]:6.3f} {self.balanced_accuracy[k]:8.3f} "
                f"{self.balanced_intervals[k]:.3f}"
            )
            if self.clipped[k].max(initial=0, where=~np.isnan(self.clipped[k])) >= 0.005:
                for what, values in (("clipped", self.clipped), ("achieved", self.achieved)):
                    shares = " ".join(f"{share:6.3f}" for share in values[k])
                    rows.append(f"{what:>20} {shares}")
        ranks = " ".join(f"{rank:+6.2f}" for rank in self.spearman)
        rows.append(
            f"{'Spearman':20} {ranks} {'':6} {self.balanced_spearman:+8.3f} "
            f"{self.balanced_spearman_interval:+.3f}"
        )
        return "\n".join(rows)


def scale_contrast(
    images: Tensor,
    masks: Tensor,
    factor: float | Tensor,
    *,
    inner: float = 2.0,
    outer: float = 10.0,
    feather: float = 2.0,
    encoding: Encoding = "srgb",
) -> Tensor:
    """Scale the contrast of lesions, with unchanged shape and place.

    In each channel of L*a*b* the lesion's mean moves to ``ring + factor * (lesion - ring)``. Below
    factor 1 the lesion's standard deviation approaches that of the ring in proportion, so that at 0
    it has mean and deviation of the skin around it: with its own structure it would remain visible,
    and without any it would be a uniform patch. Above 1 its structure is kept. Grey pictures, and
    those with many bands, are scaled in L* of each channel, so that grey gives the same result as
    three equal channels.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]`` in 0..1
        Three channels are red, green and blue.
    masks : Tensor, bool ``[B, H, W]``
        True on the lesion.
    factor : float or Tensor ``[B]``, finite, 0 or more
        1 returns the pictures as they are, bit by bit; 0 hides the lesion.
    inner, outer : float, pixels
        The ring's distances from the lesion.
    feather : float, pixels
        Width over which the change fades out outside the lesion, at most ``inner``: the ring is not
        changed. There a pixel moves along its own line to the ring's mean, so that below factor 1
        it stays between the two.
    encoding : {"srgb", "linear"}
        Encoding of the pictures.

    Returns
    -------
    Tensor ``[B, C, H, W]`` in 0..1, of the pictures' dtype
        Differentiable in pictures and factor. Colours outside sRGB are clipped, so that far above 1
        the contrast is less than the factor.

    Raises
    ------
    TypeError
        When pictures or masks are not Tensors.
    ValueError
        When pictures and masks do not fit, a picture has no lesion or no ring, or the factor, the
        feather or the encoding is not allowed; on a CPU also for what is not meant to lie in 0..1.
    """
    return clip(
        _scaled(images, masks, factor, inner=inner, outer=outer, feather=feather, encoding=encoding)
    ).to(images.dtype)


def _scaled(
    images: Tensor,
    masks: Tensor,
    factor: float | Tensor,
    *,
    inner: float,
    outer: float,
    feather: float,
    encoding: Encoding,
) -> Tensor:
    """Lesions at another contrast, before what sRGB does not have is clipped."""
    check_masks(masks, images)
    check_codes(images, encoding)
    check_range(images)
    if not 0 <= feather <= inner:
        raise ValueError(f"feather must be from 0 to inner = {inner} pixels, not {feather}")
    precise = exact(images)
    strength = torch.as_tensor(factor, dtype=precise.dtype, device=images.device)
    fits = strength.ndim == 0 or strength.shape in ((1,), masks.shape[:1])
    if not fits or not bool(((strength >= 0) & strength.isfinite()).all()):
        raise ValueError(f"factor must be one number of 0 or more, or one a picture, not {factor}")
    ring = skin_ring(masks, inner=inner, outer=outer)
    undefined = ~_scalable(masks, ring)
    if bool(undefined.any()):
        raise ValueError(
            f"{int(undefined.sum())} of {len(masks)} pictures have no lesion or no skin around "
            f"it, the first at {int(undefined.nonzero()[0])}: leave them out"
        )
    strength = strength.reshape(-1, 1, 1, 1)
    with full_precision(images):
        colours = perceptual(srgb_to_linear(precise) if encoding == "srgb" else precise)
        lesion, own_spread = _moments(colours, masks)
        skin, skin_spread = _moments(colours, ring)
        flat = own_spread == 0
        narrowed = torch.where(flat, 1, skin_spread / torch.where(flat, 1, own_spread))
        near = strength.clamp_max(1)
        structure = (1 - near) * (narrowed - 1) * (colours - lesion)
        moved = (strength - 1) * (lesion - skin) + structure
        # By the difference that a pixel of skin has of its own: by the lesion's it would pass the
        # skin, and a sharp border would be left with a bright outline.
        change = torch.where(masks[:, None], moved, (strength - 1) * (colours - skin))
        share = _feathered(masks, feather)[:, None].to(change.dtype)
        after, before = (
            light_of_perceptual(c) for c in (colours + share * change, colours)
        )  # the same rounding in both: no change is no change
        if encoding == "srgb":
            after, before = linear_to_srgb(after), linear_to_srgb(before)
        return precise + (after - before)


def mean_colours(
    images: Tensor,
    masks: Tensor,
    *,
    inner: float = 2.0,
    outer: float = 10.0,
    encoding: Encoding = "srgb",
) -> tuple[Tensor, Tensor]:
    """Mean L*a*b* of each lesion and of its ring ``[B, 3]``, between which contrast is scaled.

    For another number of channels, L* of each channel, ``[B, C]``.

    In single precision, or double if the pictures are.

    Parameters
    ----------
    images, masks, inner, outer, encoding
        As in :func:`scale_contrast`; NaN where a region is empty.

    Raises
    ------
    ValueError
        When pictures and masks do not fit, or the ring or the encoding is not allowed.
    """
    check_masks(masks, images)
    check_codes(images, encoding)
    ring = skin_ring(masks, inner=inner, outer=outer)
    with full_precision(images):
        images = exact(images)
        colours = perceptual(srgb_to_linear(images) if encoding == "srgb" else images)
        lesion, skin = (_moments(colours, region)[0].flatten(1) for region in (masks, ring))
    return lesion, skin


def scalable(
    dataset: LesionDataset, *, inner: float = 2.0, outer: float = 10.0, batch_size: int = 256
) -> Tensor:
    """Rows with a lesion and skin around it, whose contrast can be scaled.

    Parameters
    ----------
    dataset : LesionDataset
    inner, outer : float
        As in :func:`scale_contrast`.
    batch_size : int
        Number of masks that are processed together.

    Returns
    -------
    Tensor, int64 ``[M]``

    Raises
    ------
    TypeError
        When ``dataset`` is not a data set.
    ValueError
        For a batch size below 1.
    """
    check_dataset(dataset)
    check_batch_size(batch_size)
    found = dataset.has_mask.clone()
    for rows in dataset.has_mask.nonzero().flatten().split(batch_size):
        if len(rows) > 0:
            masks = dataset.gather_masks(rows)
            found[rows] = _scalable(masks, skin_ring(masks, inner=inner, outer=outer))
    return found.nonzero().flatten()


def check_factors(factors: Sequence[float]) -> tuple[float, ...]:
    """The contrasts of a sweep; a ValueError unless there are two that rise."""
    steps = tuple(float(factor) for factor in factors)
    if len(steps) < 2 or not all(0 <= a < b < math.inf for a, b in pairwise(steps)):
        raise ValueError(f"factors must be at least 2 of 0 or more and rise, not {steps}")
    return steps


def recall_against_contrast(  # noqa: PLR0913 - what is shown, how it is measured, the draws
    system: ImagingSystem,
    dataset: LesionDataset,
    factors: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25),
    *,
    inner: float = 2.0,
    outer: float = 10.0,
    feather: float = 2.0,
    bins: int = 64,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> ContrastSweep:
    """Pass the same lesions through a system at several contrasts.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier; in evaluation mode, and its modes are restored.
    dataset : LesionDataset
        Pictures with masks. They are not rounded to 8 bits after scaling.
    factors : sequence of float, at least 2, rising
        As in :func:`scale_contrast`.
    inner, outer, feather : float, pixels
        Likewise.
    bins : int
        Number of bins of the histograms of gCNR.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise; a picture has the same at all factors.
    resamples : int
        Draws of the lesions; each holds the same lesions at all factors.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    ContrastSweep

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without a classifier, with other classes than the data set or with scores that
        are not numbers, factors that do not rise, a batch size below 1, a seed that is not a whole
        number, fewer than two lesions whose contrast can be scaled, or scenes in another encoding
        than the system's.
    """
    steps = check_factors(factors)
    check_kinds(system, dataset, wanted="recall")
    check_batch_size(batch_size)
    seed = as_seed(seed)
    check_resampling(resamples, level)
    check_suited(system, dataset)
    kept = scalable(dataset, inner=inner, outer=outer, batch_size=batch_size)
    if len(kept) == 0:
        raise ValueError(f"none of the {len(dataset)} pictures has a lesion with skin around it")
    framed = dataset.subset(kept)
    member = membership(framed.groups, len(framed))
    check_units(member, framed.groups)
    logits: list[list[Tensor]] = [[] for _ in steps]
    measured = np.zeros((4, len(steps), len(framed)))
    bar = tqdm(total=len(framed), unit="image", disable=None if progress else True)
    with evaluating(system), torch.no_grad(), bar:
        for shown in passes(framed, system, batch_size=batch_size, seed=seed):
            masks = framed.gather_masks(shown.rows).to(shown.scenes.device)
            rows = shown.rows.numpy()  # a tensor of one row would be an index of its own
            ring: dict[str, Any] = {"inner": inner, "outer": outer, "encoding": system.encoding}
            own = _apart(shown.scenes, masks, **ring)
            for k, factor in enumerate(steps):
                asked = _scaled(shown.scenes, masks, factor, feather=feather, **ring)
                scaled = clip(asked).to(shown.scenes.dtype)
                output = system(scaled, generator=shown.noise)
                check_scores(output, framed)
                logits[k].append(output.logits.float().cpu())
                found = contrast(scaled, masks, bins=bins, **ring)
                beyond = ((clip(asked) - asked).abs() > _HALF_A_CODE).any(1) & masks
                clipped = beyond.flatten(1).sum(1) / masks.flatten(1).sum(1)
                achieved = _apart(scaled, masks, **ring) / (factor * own)
                told = (found.gcnr, found.delta_e, clipped, achieved)
                measured[:, k, rows] = torch.stack([each.double() for each in told]).cpu().numpy()
            bar.update(len(shown.rows))
    labels = framed.labels.numpy()
    hits = np.stack([_hits(torch.cat(part), labels) for part in logits])
    onehot = np.eye(len(framed.classes))[labels]
    observed = _rates(np.ones((1, len(framed))), hits, onehot)
    parts = [
        _rates(weights, hits, onehot) for weights in resampled(member, resamples, source(generator))
    ]
    drawn = [np.concatenate(part) for part in zip(*parts, strict=True)]
    lesions = lesions_in(member, onehot)
    units = equal_lesions_in(member, np.column_stack([onehot, np.ones(len(framed))]))
    return _swept(steps, framed, observed, drawn, lesions, units, measured, len(dataset), level)


def _swept(
    factors: tuple[float, ...],
    shown: LesionDataset,
    observed: tuple[Array, Array, Array],
    drawn: Sequence[Array],
    lesions: Array,
    units: Array,
    measured: Array,
    count: int,
    level: float,
) -> ContrastSweep:
    recall, accuracy, balanced = (values[0] for values in observed)
    steps = np.array(factors)
    there, alone = lesions > 0, lesions < 2
    ranks = rank_correlation(steps, recall.T)
    # Of constant recall there is none.
    drawn_ranks = rank_correlation(steps, drawn[0].transpose(0, 2, 1))
    drawn_ranks[:, alone] = np.nan
    drawn_balanced = rank_correlation(steps, drawn[2])

    def intervals(draws: Array) -> tuple[Interval, ...]:
        return tuple(percentile_interval(column, level) for column in draws.T)

    # As in a report: shares, and the mean over classes put together from theirs, to which also a
    # class of a single lesion adds width: its share is known to within Wilson's of one.
    steps_of = range(len(factors))
    ends = np.array([[*intervals(drawn[0][:, k]), intervals(drawn[1])[k]] for k in steps_of])
    ends = with_width(ends, np.column_stack([recall, accuracy]), units, level=level)
    shown_ends = np.where(alone[:, None], np.nan, ends[:, :-1])
    return ContrastSweep(
        factors=factors,
        classes=tuple(shown.classes),
        recall=recall,
        recall_intervals=tuple(tuple(Interval(*e) for e in row) for row in shown_ends.tolist()),
        accuracy=accuracy,
        accuracy_intervals=tuple(Interval(*row[-1].tolist()) for row in ends),
        balanced_accuracy=balanced,
        balanced_intervals=tuple(
            mean_interval(recall[k, there], ends[k, :-1][there], drawn[0][:, k, there])
            for k in steps_of
        ),
        gcnr=np.median(measured[0], -1),
        delta_e=np.median(measured[1], -1),
        clipped=_by_class(np.mean, measured[2], shown),
        achieved=_by_class(_median, measured[3], shown),
        spearman=ranks,
        spearman_intervals=tuple(known_interval(column, level) for column in drawn_ranks.T),
        balanced_spearman=float(rank_correlation(steps, balanced)),
        balanced_spearman_interval=known_interval(drawn_balanced, level),
        pictures=len(shown),
        left_out=count - len(shown),
        level=level,
        resamples=len(drawn[0]),
    )


def _by_class(middle: Callable[..., Array], values: Array, shown: LesionDataset) -> Array:
    """Of values ``[F, N]`` that of each class ``[F, K]``; NaN of a class without pictures."""
    labels = shown.labels.numpy()
    return np.stack(
        [
            middle(values[:, labels == k], axis=-1)
            if (labels == k).any()
            else np.full(len(values), np.nan)
            for k in range(len(shown.classes))
        ],
        -1,
    )


def _median(values: Array, axis: int) -> Array:
    """Of the finite ones; NaN where there is none, of which np.nanmedian would warn."""
    # At factor 0 a ratio is infinite where what was clipped leaves some contrast.
    return np.ma.median(np.ma.masked_invalid(values), axis=axis).filled(np.nan)


def _apart(images: Tensor, masks: Tensor, **ring: Any) -> Tensor:  # noqa: ANN401
    """Distance of the mean colours of lesion and ring ``[B]``; NaN where there is none."""
    lesion, skin = mean_colours(images, masks, **ring)
    apart = (lesion - skin).norm(dim=-1)
    return torch.where(apart > _NO_CONTRAST, apart, torch.nan)


def _hits(logits: Tensor, labels: Array) -> Array:
    """1 where the largest score is that of the label ``[N]``; what are no scores is refused."""
    judged = Judged(logits.numpy().astype(float), labels, classes=logits.shape[1])
    return (judged.guesses == labels).astype(float)


def _rates(weights: Array, hits: Array, onehot: Array) -> tuple[Array, Array, Array]:
    """Recall [r, F, K], accuracy [r, F] and balanced accuracy [r, F] under weights [r, N]."""
    total = weights @ onehot
    right = np.stack([(weights * row) @ onehot for row in hits], 1)
    share = np.divide(
        right, total[:, None], out=np.full_like(right, np.nan), where=total[:, None] > 0
    )
    seen = (total > 0).sum(1)[:, None]
    return share, right.sum(-1) / total.sum(1)[:, None], np.nansum(share, -1) / seen


def _scalable(masks: Tensor, ring: Tensor) -> Tensor:
    return masks.flatten(1).any(1) & ring.flatten(1).any(1)


def _moments(colours: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over a region in each channel, ``[B, C, 1, 1]``."""
    weight = region[:, None].to(colours.dtype)
    count = weight.sum((-2, -1), keepdim=True)
    mean = (weight * colours).sum((-2, -1), keepdim=True) / count
    square = (weight * (colours - mean).square()).sum((-2, -1), keepdim=True) / count
    tiny = square < 1e-12  # the rounding of a constant region
    return mean, torch.where(tiny, 0, torch.where(tiny, 1, square).sqrt())


def _feathered(masks: Tensor, feather: float) -> Tensor:
    """1 on the lesion, falling to 0 at ``feather`` pixels from it."""
    if feather == 0:
        return masks.float()
    return (1 - distance_outside(masks, feather) / feather).clamp_min(0)
