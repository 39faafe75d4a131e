"""Information about the class that a linear probe can use, in bits (V-information)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from classify import Interval
from classify.intervals import check_resampling, percentile_interval, resampled, source, unit_of
from joint.record import Record

from .cross_fit import deal, standard

__all__ = ["UsableInformation", "usable_information"]

Array = npt.NDArray[Any]

# Strengths of the probe's ridge among which each training part chooses, from the strongest.
_RIDGES = (100.0, 10.0, 1.0, 1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class UsableInformation(Record):
    """Information about the class that a linear probe can use."""

    bits: float
    """``H_V(Y) - H_V(Y | X)``, bits/picture; below 0 where the probe has learned nothing true."""
    interval: Interval
    """With the probes as they are."""
    label_bits: float
    """``H_V(Y)``: entropy of the classes if only their shares are known, bits/picture."""
    left_out: tuple[str, ...]
    """Classes of fewer than two lesions."""
    pictures: int
    level: float
    resamples: int
    unit: str
    """What the interval resamples: ``lesions`` where groups were given, else ``pictures``."""

    def __str__(self) -> str:
        return (
            f"usable information {self.bits:.3f} {self.interval:.3f} of {self.label_bits:.3f} "
            f"bits/picture ({self.pictures} pictures, {100 * self.level:g} % over "
            f"{self.unit})"
        )


def usable_information(
    features: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    folds: int = 5,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> UsableInformation:
    """Bits of the class that a linear probe can use (Xu et al., ICLR 2020: V-information).

    It is the mean over pictures of ``log2 p(y | x) - log2 p(y)``. p(y | x) is a multinomial
    logistic regression, and p(y) the shares of the classes, both fitted to other lesions. The ridge
    of the regression is chosen by cross-validation among these lesions. On average the result is at
    most the mutual information; unlike it, it can be increased by computation.

    Parameters
    ----------
    features, labels, classes, groups, folds, resamples, level, generator
        As in :func:`hotelling_observer`.

    Returns
    -------
    UsableInformation

    Raises
    ------
    ValueError
        As :func:`hotelling_observer`, and for fewer than three folds.
    """
    check_resampling(resamples, level)
    drawing = source(generator)
    data = deal(features, labels, classes=classes, groups=groups, folds=folds, generator=drawing)
    if len(data.parts()) < 3:
        raise ValueError(
            "a probe needs 3 parts of the lesions, to judge it, to choose its ridge and to fit it, "
            f"not {len(data.parts())}: give more folds, or more lesions"
        )
    number = np.searchsorted(data.present, data.labels)
    kinds = len(data.present)
    known, guessed = np.empty(len(number)), np.empty(len(number))
    for train, test in data.parts():
        mean, spread = standard(data.features[train])
        x = (data.features - mean) / spread
        probe = _chosen_probe(x[train], number[train], data.fold[train], kinds)
        known[test] = _surprise(probe, x[test], number[test])
        shares = np.bincount(number[train], minlength=kinds) / len(train)
        guessed[test] = -np.log2(shares[number[test]])
    gained = guessed - known
    draws = [w @ gained / w.sum(1) for w in resampled(data.member, resamples, drawing)]
    return UsableInformation(
        bits=float(gained.mean()),
        interval=percentile_interval(np.concatenate(draws), level),
        label_bits=float(guessed.mean()),
        left_out=data.left_out(classes),
        pictures=len(number),
        level=level,
        resamples=resamples,
        unit=unit_of(groups),
    )


def _chosen_probe(x: Array, labels: Array, fold: Array, kinds: int) -> Array:
    """A probe of the ridge that suits all parts of the lesions, each when fitted to the others.

    One part alone may be an unlucky one.
    """
    fits = [fold != k for k in np.unique(fold)]
    best: Sequence[Array | None] = [None] * len(fits)
    least, ridge = math.inf, _RIDGES[0]
    for weaker in _RIDGES:
        probes = [
            _probe(x[fit], labels[fit], kinds, weaker, start=start)
            for fit, start in zip(fits, best, strict=True)
        ]
        surprise = sum(
            float(_surprise(probe, x[~fit], labels[~fit]).sum())
            for probe, fit in zip(probes, fits, strict=True)
        )
        if surprise > least:
            break  # weaker ones fit noise
        best, least, ridge = probes, surprise, weaker
    return _probe(x, labels, kinds, ridge, start=best[0])


def _probe(
    x: Array, labels: Array, kinds: int, ridge: float, *, start: Array | None = None
) -> Array:
    """Weights ``[D + 1, K]`` of a logistic regression: mean surprise + ridge / 2 sum of squares."""
    ones = np.concatenate((x, np.ones((len(x), 1))), 1)
    onehot = np.eye(kinds)[labels]
    penalty = np.full((ones.shape[1], 1), ridge)
    penalty[-1] = 1e-6  # a class may be absent here: its intercept must stay finite

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(-1, kinds)
        logs = _log_softmax(ones @ weights)
        slope = ones.T @ (np.exp(logs) - onehot) / len(x) + penalty * weights
        value = -(logs * onehot).sum() / len(x) + 0.5 * (penalty * weights**2).sum()
        return float(value), slope.ravel()

    first = np.zeros(ones.shape[1] * kinds) if start is None else start.ravel()
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x.reshape(-1, kinds)


def _log_softmax(scores: Array) -> Array:
    """Logarithms of the softmax of each row; scipy's takes longer than the rest of the loss."""
    apart = scores - scores.max(1, keepdims=True)
    return apart - np.log(np.exp(apart).sum(1, keepdims=True))


def _surprise(weights: Array, x: Array, labels: Array) -> Array:
    """``-log2 p(y | x)`` of each row, bits."""
    logs = _log_softmax(x @ weights[:-1] + weights[-1])
    return -logs[np.arange(len(labels)), labels] / math.log(2)
