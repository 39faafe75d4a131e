"""How well the best linear template separates classes, from pictures or random features.

::

    picture [C, H, W] ─► random_features [D] ─► template of each pair of classes ─► AUC
                                                fitted to the other lesions
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn import functional

from classify import Interval
from classify.intervals import (
    check_resampling,
    mean_interval,
    percentile_interval,
    resampled,
    source,
    unit_of,
    widest,
    with_width,
)
from joint.analysis.by_lesion import lesions_in
from joint.record import Record
from optics.quantity import whole_number

from .cross_fit import Dealt, deal, standard

__all__ = ["Observer", "PairAUC", "hotelling_observer", "ledoit_wolf", "random_features"]

Array = npt.NDArray[Any]


class PairAUC(NamedTuple):
    """Two classes, and how well the observer separates them."""

    first: str
    second: str
    auc: float
    """Area under the ROC curve; NaN if no part has lesions of both."""


@dataclass(frozen=True)
class Observer(Record):
    """Result of :func:`hotelling_observer`: how well it separates the classes."""

    auc: float
    """Mean over the pairs of classes (Hand and Till, Machine Learning 45:171, 2001) that have one.
    """
    interval: Interval
    """Interval of the AUC with fixed templates, without their variation over other lesions. It is
    at least as wide as the combined intervals of the pairs, each as for an AUC in
    :func:`classify.report`: Wilson's if all draws agree, and at least that below five lesions. It
    is too narrow, most of all for classes that are alike, whose templates are random: there it
    excludes 0.5 in up to one case of six at a level of 95 %. Use :attr:`p_value` to decide whether
    the AUC is above chance."""
    pairs: tuple[PairAUC, ...]
    """Each pair of classes."""
    left_out: tuple[str, ...]
    """Classes of fewer than two lesions."""
    features: int
    """Number of features."""
    pictures: int
    level: float
    resamples: int
    unit: str
    """What the interval resamples: ``lesions`` where groups were given, else ``pictures``."""
    permutations: int = 0
    """Number of permutations for the p-value."""
    p_value: float = math.nan
    """Probability of at least this AUC without any effect of class; NaN without permutations."""

    @property
    def detectability(self) -> float:
        """SNR of two Gaussians of equal covariance with this AUC, ``sqrt(2) Phi^-1(AUC)``."""
        return math.sqrt(2) * float(ndtri(self.auc))

    def __str__(self) -> str:
        rows = [
            f"Hotelling observer, {self.features} features, {self.pictures} pictures: AUC "
            f"{self.auc:.3f} {self.interval:.3f} ({100 * self.level:g} % over "
            f"{self.unit}, templates held)"
            + (
                f", p {self.p_value:.3g} of chance ({self.permutations} permutations)"
                if self.permutations
                else ""
            )
        ]
        rows += [f"{f'{p.first}-{p.second}':14} {p.auc:.3f}" for p in self.pairs]
        return "\n".join(rows)


def random_features(
    pictures: Tensor,
    *,
    count: int = 32,
    scales: Sequence[int] = (1, 2, 4),
    taps: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Moments of the responses of random filters at several scales, over the whole picture.

    ::

        picture ─mean over blocks of each scale─► random filters ─► mean, 2nd and 4th moment

    The moments are roots of means of powers over the positions: colour is in the first, texture
    and edges in the second, and how rare and strong they are in the fourth.

    Parameters
    ----------
    pictures : Tensor ``[B, C, H, W]``
    count : int
        Filters at each scale, of Gaussian taps and unit norm.
    scales : sequence of int, pixels
        Sides of the blocks; a filter must fit into the reduced picture.
    taps : int, pixels
        Sides of the filters.
    generator : torch.Generator, optional
        Source of the filters; by default a new one of seed 0. Pictures of as many channels see
        the same ones.

    Returns
    -------
    Tensor, float64 ``[B, 3 * len(scales) * count]``

    Raises
    ------
    TypeError
        When the pictures are not a Tensor.
    ValueError
        When the filters do not fit, or for a number of them or a side that is no whole number of
        at least 1.
    """
    if not isinstance(pictures, Tensor):
        raise TypeError(
            f"pictures must be a Tensor, floats [B, C, H, W], not {type(pictures).__name__}"
        )
    if pictures.ndim != 4 or not pictures.is_floating_point():
        raise ValueError(
            f"pictures must be floats [B, C, H, W], not {pictures.dtype} {list(pictures.shape)}"
        )
    if not scales:
        raise ValueError("scales must name at least one")
    count, taps = whole_number("count", count), whole_number("taps", taps)
    scales = [whole_number("a scale", scale) for scale in scales]
    fitting = tuple(scale for scale in scales if min(pictures.shape[-2:]) // scale >= taps)
    if len(fitting) < len(scales):
        fewer = f"smaller scales, such as scales={fitting}" if fitting else "larger pictures"
        raise ValueError(
            f"filters of {taps} pixels do not fit pictures of {list(pictures.shape[-2:])} reduced "
            f"by {max(scales)}: choose {fewer}"
        )
    drawing = torch.Generator().manual_seed(0) if generator is None else generator
    channels = pictures.shape[1]
    found = []
    for scale in scales:
        filters = torch.randn((count, channels, taps, taps), generator=drawing, dtype=torch.float64)
        filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
        reduced = functional.avg_pool2d(pictures, scale) if scale > 1 else pictures
        response = functional.conv2d(reduced, filters.to(reduced)).double().flatten(2)
        square = response.square()
        found += [response.mean(-1), square.mean(-1).sqrt(), square.square().mean(-1).pow(0.25)]
    return torch.cat(found, 1)


def hotelling_observer(
    features: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    folds: int = 5,
    resamples: int = 1000,
    level: float = 0.95,
    permutations: int = 0,
    generator: torch.Generator | None = None,
) -> Observer:
    """Separate classes by the linear template with the best SNR (Barrett and Myers, 2004, ch. 13).

    The template of two classes is ``S^-1 (m1 - m2)``, with the covariance S within all classes,
    shrunk (:func:`ledoit_wolf`) after each feature was divided by its deviation. Of two Gaussians
    of that covariance it is the best of all observers: its AUC is ``Phi(SNR / sqrt(2))``, with
    ``SNR^2 = (m1 - m2)' S^-1 (m1 - m2)``.

    Scores are compared only within a part, where they have the same templates. A class with lower
    values in the training lesions has higher ones in the test lesions: for equal classes, all
    scores pooled would give an AUC below chance (Parker et al., BMC Bioinformatics 8:326, 2007).

    Parameters
    ----------
    features : array ``[N, D]``
    labels : array of int ``[N]``
        Classes.
    classes : sequence of str
        Their names. Those of fewer than two lesions are left out.
    groups : sequence of str, length N, optional
        Lesion of each picture. A lesion is tested with templates fitted to other lesions.
    folds : int
        Number of parts into which the lesions are divided, class by class.
    resamples, level
        Number of resamples and confidence level of the interval.
    permutations : int
        Number of permutations of the classes for the p-value, by default none; 999 are usual. In
        each, the lesions of a part exchange their classes and all templates are fitted again, which
        takes as long as the observer itself. If ``b`` of ``m`` permutations reach the AUC, p is
        ``(1 + b) / (1 + m)``: without any effect of class it is at most x in a share x of all cases
        (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9:39, 2010).
    generator : torch.Generator, optional
        Source of the parts and of the draws; by default a new one of seed 0.

    Returns
    -------
    Observer

    Raises
    ------
    ValueError
        When shapes, labels or groups do not fit, a feature is not finite, fewer than two classes
        are left, or no part holds lesions of two of them; for permutations of lesions that are of
        several classes.
    """
    check_resampling(resamples, level)
    permutations = whole_number("permutations", permutations, least=0)
    drawing = source(generator)
    data = deal(features, labels, classes=classes, groups=groups, folds=folds, generator=drawing)
    pairs = list(combinations(data.present, 2))

    def fitted(labels: Array) -> Array:
        """Scores of each picture ``[N, K]`` by templates of the other parts."""
        scores = np.empty((len(labels), len(classes)))
        for train, test in data.parts():
            scores[test] = _discriminants(
                data.features[train], labels[train], data.features[test], len(classes)
            )
        return scores

    def auc(scores: Array, labels: Array, weights: Array) -> Array:
        found = [_pair_auc(scores, labels, data.fold, pair, weights) for pair in pairs]
        return np.stack(found, 1)

    scores = fitted(data.labels)
    ones = np.ones((1, len(data.labels)))
    once = auc(scores, data.labels, ones)
    each = once[0]
    if np.isnan(each).all():
        raise ValueError(
            f"none of {len(data.parts())} parts has lesions of two classes to separate: give "
            "fewer folds, or more lesions"
        )
    draws = [auc(scores, data.labels, w) for w in resampled(data.member, resamples, drawing)]
    mean = float(_mean_there(once)[0])
    lesions = lesions_in(data.member, np.eye(len(classes))[data.labels])
    scarcer = np.array([min(lesions[i], lesions[j]) for i, j in pairs])
    by_chance = [
        float(_mean_there(auc(fitted(labels), labels, ones))[0])
        for labels in _permuted(data, permutations, drawing)
    ]
    reached = sum(value >= mean - 1e-9 for value in by_chance)
    return Observer(
        auc=mean,
        interval=_interval(each, np.concatenate(draws), scarcer, level),
        pairs=tuple(
            PairAUC(str(classes[i]), str(classes[j]), float(value))
            for (i, j), value in zip(pairs, each, strict=True)
        ),
        left_out=data.left_out(classes),
        features=data.features.shape[1],
        pictures=len(data.labels),
        level=level,
        resamples=resamples,
        unit=unit_of(groups),
        permutations=permutations,
        p_value=(1 + reached) / (1 + permutations) if permutations else math.nan,
    )


def _interval(each: Array, draws: Array, lesions: Array, level: float) -> Interval:
    """Interval of the mean AUC over the pairs ``[P]`` that have one, by draws ``[r, P]``.

    That of the draws of the mean, and at least as wide as those of the pairs give: each has that of
    an AUC in a report, by the ``lesions`` of its scarcer class.
    """
    of_mean = np.array(percentile_interval(_mean_there(draws), level))
    there = ~np.isnan(each)
    each, draws, lesions = each[there], draws[:, there], lesions[there]
    ends = np.array([percentile_interval(column, level) for column in draws.T])
    ends = with_width(ends, each, lesions, level=level, ranked=True)
    return Interval(*widest(of_mean, np.array(mean_interval(each, ends, draws))).tolist())


def _permuted(data: Dealt, permutations: int, generator: torch.Generator) -> Iterator[Array]:
    """Yield labels ``[N]`` whose classes were exchanged by the lesions of each part.

    As many lesions of each class stay in each part, so that all draws are dealt as the data were.
    """
    if permutations == 0:
        return
    _, rows = np.unique(data.member, return_index=True)
    owned, fold = data.labels[rows], data.fold[rows]
    if (owned[data.member] != data.labels).any():
        raise ValueError(
            "permutations exchange the classes of lesions, but some have several classes: give "
            "a separate group for each class, or permutations=0"
        )
    by_part = np.argsort(fold, kind="stable")
    for _ in range(permutations):
        order = torch.rand(len(rows), generator=generator, device=generator.device).cpu().numpy()
        changed = np.empty_like(owned)
        changed[np.lexsort((order, fold))] = owned[by_part]
        yield changed[data.member]


def ledoit_wolf(residuals: Array) -> tuple[Array, float]:
    """Covariance of centred rows ``[N, D]``, shrunk towards a multiple of the identity.

    By the share of least expected square error (Ledoit and Wolf, J. Multivar. Anal. 88:365,
    2004).

    Returns
    -------
    covariance : array ``[D, D]``
    shrinkage : float
        The share of the identity, in 0..1.
    """
    count, size = residuals.shape
    raw = residuals.T @ residuals / count
    scale = np.trace(raw) / size
    apart = (raw**2).sum() - size * scale**2  # squared distance to the identity's multiple
    fourth = (residuals**2).sum(1) ** 2
    error = (fourth.mean() - (raw**2).sum()) / count
    share = 0.0 if apart <= 0 else float(np.clip(error / apart, 0, 1))
    return (1 - share) * raw + share * scale * np.eye(size), share


def _discriminants(train: Array, labels: Array, test: Array, classes: int) -> Array:
    """Gaussian log-likelihoods ``[M, K]`` but for what all classes share; nan of absent ones."""
    mean, spread = standard(train)
    varied = np.isfinite(spread)
    if varied.any():  # constant features would still count in the target of the shrinkage
        train, test, mean, spread = (part[..., varied] for part in (train, test, mean, spread))
    x, judged = (train - mean) / spread, (test - mean) / spread
    onehot = np.eye(classes)[labels]
    counts = onehot.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = onehot.T @ x / counts[:, None]
    covariance, _ = ledoit_wolf(x - means[labels])
    solid = covariance + 1e-12 * np.eye(len(covariance))
    templates = np.linalg.solve(solid, np.nan_to_num(means).T)
    offsets = 0.5 * np.einsum("kd,dk->k", np.nan_to_num(means), templates)
    return np.where(counts > 0, judged @ templates - offsets, np.nan)


def _pair_auc(
    scores: Array, labels: Array, fold: Array, pair: tuple[int, int], weights: Array
) -> Array:
    """Weighted chance that a picture of the first class scores higher than one of the second.

    Of pictures of one part, which the same templates judge; nan where no part holds both.
    """
    both = np.isin(labels, pair)
    places = [np.flatnonzero(both & (fold == k)) for k in np.unique(fold[both])]
    counted = [_ordered(scores[r], labels[r], pair, weights[:, r]) for r in places]
    area, total = np.sum(counted, 0)
    return np.divide(area, total, out=np.full(len(area), np.nan), where=total > 0)


def _ordered(
    scores: Array, labels: Array, pair: tuple[int, int], weights: Array
) -> tuple[Array, Array]:
    """How many couples of the two classes are in order, and how many there are, each ``[r]``."""
    ratio = (scores[:, pair[0]] - scores[:, pair[1]]).round(9)
    order = np.argsort(ratio, kind="stable")
    own, ordered = labels[order], ratio[order]
    weights = weights[:, order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    second = (weights * (own == pair[1])).cumsum(1)[:, last]
    first = np.diff((weights * (own == pair[0])).cumsum(1)[:, last], axis=1, prepend=0)
    below = second - np.diff(second, axis=1, prepend=0) / 2  # a tie counts half
    return (first * below).sum(1), first.sum(1) * second[:, -1]


def _mean_there(values: Array) -> Array:
    """Mean over the pairs ``[r, P]`` that have both classes in a draw; nan without any."""
    there = ~np.isnan(values)
    count = there.sum(1)
    total = np.where(there, values, 0).sum(1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
