"""What a claim about accuracy may say: one report, with intervals that resample lesions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import rankdata

__all__ = ["Interval", "Report", "bootstrap", "report"]

Array = npt.NDArray[Any]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Report:
    """Numbers of a classification; rates are fractions.

    Means over classes are over the classes that occur in the labels or the predictions, as in
    scikit-learn, but balanced accuracy and AUC, which need labels, over those that occur there.
    """

    classes: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    auc: float
    """One against the rest, mean over the classes that have one; nan without any."""
    nll: float
    """Mean negative log-likelihood, nats."""
    ece: float
    """Expected calibration error, 15 bins of equal width."""
    precision: Array
    """``[K]``, 0 where nothing was predicted."""
    recall: Array
    """``[K]``, 0 where there is nothing to find."""
    f1: Array
    """``[K]``."""
    support: Array
    """Pictures of each class ``[K]``."""
    class_auc: Array
    """``[K]``, nan where a class has no picture, or all of them."""
    confusion: Array
    """Counts ``[K, K]``: true class in rows, predicted in columns."""
    intervals: Mapping[str, Interval]
    """95 % intervals of accuracy, balanced_accuracy and macro_f1, where asked for."""

    def __str__(self) -> str:
        width = max(12, *(len(name) for name in self.classes))
        lines = [f"{'':<{width}} {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}"]
        columns = zip(self.classes, self.precision, self.recall, self.f1, self.support, strict=True)
        lines += [
            f"{name:<{width}} {p:>9.2f} {r:>9.2f} {f:>9.2f} {n:>9d}" for name, p, r, f, n in columns
        ]
        total = int(self.support.sum())
        macro = (self.macro_precision, self.macro_recall, self.macro_f1)
        weighted = (self.weighted_precision, self.weighted_recall, self.weighted_f1)
        lines.append(f"{'accuracy':<{width}} {'':>9} {'':>9} {self.accuracy:>9.2f} {total:>9d}")
        for name, means in (("macro avg", macro), ("weighted avg", weighted)):
            cells = " ".join(f"{mean:>9.2f}" for mean in means)
            lines.append(f"{name:<{width}} {cells} {total:>9d}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a number that does not exist is None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def report(
    logits: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Report:
    """Judge class scores against labels.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores before the softmax; the logarithms of probabilities do as well.
    labels : array of int ``[N]``
        True classes, indices into ``classes``.
    classes : sequence of str
        Names of the K classes.
    groups : sequence of str, length N, optional
        Lesion of each picture: intervals then resample lesions.
    resamples : int
        Bootstrap resamples for 95 % intervals; none by default.
    seed : int
        Source of the resampling.

    Raises
    ------
    ValueError
        When shapes or labels do not fit, or a score is not a number.
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    _check(logits, labels, classes)
    labels = labels.astype(np.int64)
    count = len(classes)
    guesses = logits.argmax(1)
    confusion = _confusion(labels, guesses, count)
    precision, recall, f1 = _rates(confusion)
    support = confusion.sum(1)
    occurs = (support + confusion.sum(0)) > 0
    class_auc = np.array([_auc(logits, labels, c) for c in range(count)])
    found = class_auc[~np.isnan(class_auc)]
    intervals: dict[str, Interval] = {}
    if resamples:
        for name, statistic in _STATISTICS.items():

            def judged(index: Array, statistic: Callable[[Array], float] = statistic) -> float:
                return statistic(_confusion(labels[index], guesses[index], count))

            intervals[name] = bootstrap(
                judged, len(labels), groups=groups, resamples=resamples, seed=seed
            )
    return Report(
        classes=tuple(classes),
        accuracy=_accuracy(confusion),
        balanced_accuracy=_balanced_accuracy(confusion),
        macro_precision=float(precision[occurs].mean()),
        macro_recall=float(recall[occurs].mean()),
        macro_f1=_macro_f1(confusion),
        weighted_precision=float(np.average(precision, weights=support)),
        weighted_recall=float(np.average(recall, weights=support)),
        weighted_f1=float(np.average(f1, weights=support)),
        auc=float(found.mean()) if len(found) else math.nan,
        nll=float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()),
        ece=_calibration_error(softmax(logits, axis=1), labels),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        class_auc=class_auc,
        confusion=confusion,
        intervals=intervals,
    )


def bootstrap(
    statistic: Callable[[Array], float],
    count: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of rows.

    Parameters
    ----------
    statistic : callable
        Takes row indices, an int array with repetitions, and returns a number.
    count : int
        Number of rows.
    groups : sequence of str, length ``count``, optional
        Whole groups are drawn: pictures of one lesion are not independent evidence.
    resamples : int
        Draws.
    level : float
        Confidence level in (0, 1).
    seed : int
        Source of the draws.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"resamples must be at least 1 and level in (0, 1), not {resamples} and {level}"
        )
    names = np.arange(count) if groups is None else np.asarray(groups)
    if len(names) != count:
        raise ValueError(f"{count} rows need as many groups, not {len(names)}")
    _, member = np.unique(names, return_inverse=True)
    order = np.argsort(member, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(member))[:-1])
    random = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([rows[g] for g in random.integers(len(rows), size=len(rows))]))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _check(logits: Array, labels: Array, classes: Sequence[str]) -> None:
    if logits.ndim != 2 or logits.shape[1] != len(classes) or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{len(classes)} classes need scores [N, {len(classes)}] and labels [N], not "
            f"{logits.shape} and {labels.shape}"
        )
    if len(labels) == 0:
        raise ValueError("there is nothing to report: no labels")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("labels must be integers of 0 or more")
    if labels.max() >= len(classes):
        raise ValueError(f"label {labels.max()} is beyond the {len(classes)} classes")
    # A class may be impossible (-inf), but no score can be endless, and not all of them nothing.
    bad = np.isnan(logits).any(1) | (logits.max(1) == np.inf) | (logits.max(1) == -np.inf)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} rows of scores are not numbers")


def _confusion(labels: Array, guesses: Array, count: int) -> Array:
    return np.bincount(labels * count + guesses, minlength=count * count).reshape(count, count)


def _rates(confusion: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of each class; 0 / 0 is 0."""
    hits = np.diag(confusion).astype(float)
    predicted, true = confusion.sum(0), confusion.sum(1)
    return (
        hits / np.maximum(predicted, 1),
        hits / np.maximum(true, 1),
        2 * hits / np.maximum(predicted + true, 1),
    )


def _accuracy(confusion: Array) -> float:
    return float(np.trace(confusion) / confusion.sum())


def _balanced_accuracy(confusion: Array) -> float:
    recall = _rates(confusion)[1]
    return float(recall[confusion.sum(1) > 0].mean())


def _macro_f1(confusion: Array) -> float:
    f1 = _rates(confusion)[2]
    return float(f1[(confusion.sum(0) + confusion.sum(1)) > 0].mean())


_STATISTICS: dict[str, Callable[[Array], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
}


def _auc(logits: Array, labels: Array, positive: int) -> float:
    """Area under the ROC curve of one class against the rest, by ranks; ties count half."""
    # The log-odds: probabilities next to 1 are all the same number. What differs by rounding
    # alone is a tie.
    odds = logits[:, positive] - logsumexp(np.delete(logits, positive, 1), axis=1)
    scores = odds.round(9)
    hits = labels == positive
    positives, negatives = hits.sum(), (~hits).sum()
    if positives == 0 or negatives == 0:
        return math.nan
    ranks = rankdata(scores)[hits].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017); confidence 1 is in the last bin."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bin_ = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
