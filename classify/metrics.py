"""What a claim about accuracy may say: one report, with intervals that resample lesions.

::

    scores [N, K] ─┐                          ┌─ ones ──────────► the numbers of the report
    labels [N]    ─┴─► Judged ──.measure(weights [r, N])
                       ordered once           └─ lesions drawn ─► their intervals

Every number is a function of how often each picture counts, so that the report and a thousand
resamples of it are the same few lines.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, logsumexp, softmax

from .intervals import (
    Interval,
    bootstrap,
    check_resampling,
    membership,
    percentile_interval,
    resampled,
    source,
    unit_of,
)

__all__ = ["METRICS", "Interval", "Reliability", "Report", "bootstrap", "report"]

Array = npt.NDArray[Any]
Kind = Literal["logits", "probabilities"]
Metric = str | Callable[[Array, Array], float]
"""A name from :data:`METRICS`, or a function of logits ``[N, K]`` and labels ``[N]``."""

_COUNTED = (
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "macro_specificity",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
)
_RANKED = ("auc", "average_precision", "sensitivity")
_CLASS_COUNTED = ("precision", "recall", "f1", "specificity")
_CLASS_RANKED = ("class_auc", "class_average_precision", "class_sensitivity")
LOWER_IS_BETTER = ("nll", "brier", "ece")
METRICS = (*_COUNTED, *_RANKED, *LOWER_IS_BETTER)
"""Names of the single numbers of a report."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the classifier is right when it is this sure; the curve behind the ECE.

    A bin holds the confidences in (lower edge, upper edge]; the lowest one its lower edge too.
    """

    edges: Array
    """``[bins + 1]``, of equal width, or of about equally many pictures."""
    count: Array
    """Pictures in each bin ``[bins]``."""
    confidence: Array
    """Mean probability of the predicted class ``[bins]``; nan in an empty bin."""
    accuracy: Array
    """Share of right predictions ``[bins]``; nan in an empty bin."""


@dataclass(frozen=True, eq=False)
class Report:
    """Numbers of a classification; rates are fractions.

    Means of precision, recall and F1 are over the classes that occur in the labels or the
    predictions, as in scikit-learn; all other means over the classes for which the number exists:
    balanced accuracy, average precision and sensitivity need pictures of the class, AUC and
    sensitivity pictures of others too. :attr:`absent` names the classes without pictures.
    """

    classes: tuple[str, ...]
    absent: tuple[str, ...]
    """Classes without a picture: their recall is 0, their AUC, ... nan, and in no such mean."""
    accuracy: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    macro_specificity: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    auc: float
    """One against the rest, mean over the classes that have one; nan without any."""
    average_precision: float
    """One against the rest, mean over the classes with pictures."""
    sensitivity: float
    """Mean of :attr:`class_sensitivity` over the classes that have one."""
    at_specificity: float
    """Where the sensitivities were read off."""
    nll: float
    """Mean negative log-likelihood, nats; infinite if a true class was called impossible."""
    brier: float
    """Mean squared distance of probabilities and one-hot labels, 0..2 (Brier, 1950)."""
    ece: float
    """Expected calibration error: mean gap of confidence and accuracy in :attr:`reliability`."""
    precision: Array
    """``[K]``, 0 where nothing was predicted."""
    recall: Array
    """``[K]``, 0 where there is nothing to find."""
    f1: Array
    """``[K]``."""
    specificity: Array
    """``[K]``, of the predictions; nan where all pictures are of the class."""
    support: Array
    """Pictures of each class ``[K]``."""
    class_auc: Array
    """``[K]``, nan where a class has no picture, or all of them."""
    class_average_precision: Array
    """``[K]``, nan where a class has no picture."""
    class_sensitivity: Array
    """Highest sensitivity at a specificity of at least :attr:`at_specificity` ``[K]``.

    Read off the ROC curve of these very pictures: it describes the ranking. A threshold for use
    is chosen on other pictures, where it will not meet this specificity exactly.
    """
    confusion: Array
    """Counts ``[K, K]``: true class in rows, predicted in columns."""
    reliability: Reliability
    level: float
    """Confidence level of the intervals."""
    unit: str
    """What the intervals resample: ``lesions`` where groups were given, else ``pictures``."""
    intervals: Mapping[str, Interval]
    """Of each single number but the ECE, where asked for.

    The ECE has none: resampling adds noise to every bin, and its absolute value is never less, so
    that the draws lie above the number itself.
    """
    class_intervals: Mapping[str, Array]
    """``[K, 2]`` of each number of each class, over the draws that have one; where asked for.

    A draw without a picture of a class tells nothing of its recall and F1, one without a
    prediction of it nothing of its precision; nan where that holds for every draw.
    """

    def __str__(self) -> str:
        width = max(12, *(len(name) for name in self.classes))
        return "\n".join([*self._predicted(width), "", *self._ranked(width), "", *self._single()])

    def _predicted(self, width: int) -> list[str]:
        """The table of scikit-learn's classification_report."""
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
        return lines

    def _ranked(self, width: int) -> list[str]:
        at = f"sens@{self.at_specificity:.2f}"
        lines = [f"{'':<{width}} {'spec':>9} {'AUC':>9} {'AP':>9} {at:>9}"]
        macro = (self.macro_specificity, self.auc, self.average_precision, self.sensitivity)
        columns = (
            self.specificity,
            self.class_auc,
            self.class_average_precision,
            self.class_sensitivity,
        )
        rows = [*zip(self.classes, *columns, strict=True), ("macro avg", *macro)]
        lines += [
            f"{name:<{width}} " + " ".join(f"{cell:>9.2f}" for cell in cells)
            for name, *cells in rows
        ]
        return lines

    def _single(self) -> list[str]:
        lines = []
        for name in (
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "auc",
            "average_precision",
            *LOWER_IS_BETTER,
        ):
            line = f"{name.replace('_', ' '):<18} {getattr(self, name):.3f}"
            if name in self.intervals:
                low, high = self.intervals[name]
                line += f" [{low:.3f}, {high:.3f}]"
            lines.append(line)
        if self.intervals:
            lines.append(f"[low, high]: {100 * self.level:g} % intervals, resampling {self.unit}")
        if self.absent:
            lines.append(
                f"no pictures of {', '.join(self.absent)}: left out of balanced accuracy, AUC, AP "
                "and sensitivity"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a number that does not exist is None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def report(
    logits: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    kind: Kind = "logits",
    groups: Sequence[str] | None = None,
    at_specificity: float = 0.9,
    bins: int = 15,
    equal_mass: bool = False,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Report:
    """Judge class scores against labels.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores, as ``kind`` says.
    labels : array of int ``[N]``
        True classes, indices into ``classes``.
    classes : sequence of str
        Names of the K classes.
    kind : {"logits", "probabilities"}
        Scores before the softmax (the logarithms of probabilities do as well), or probabilities,
        each row of which sums to one.
    groups : sequence of str, length N, optional
        Lesion of each picture: intervals then resample lesions.
    at_specificity : float
        In [0, 1]: where sensitivities are read off.
    bins : int
        Bins of confidence for the calibration error (Guo et al., ICML 2017).
    equal_mass : bool
        Bins hold about equally many pictures instead of being equally wide in 0..1. Equal
        confidences stay in one bin. Resamples keep the bins.
    resamples : int
        Bootstrap resamples for intervals; none by default. The intervals of a single lesion, which
        tell nothing, are nan.
    level : float
        Confidence level of the intervals, in (0, 1).
    seed : int
        Source of the resampling where no ``generator`` is given.
    generator : torch.Generator, optional
        Source of the resampling.

    Raises
    ------
    ValueError
        When shapes, labels or groups do not fit, a score is not a number, or probabilities do not
        sum to one.
    """
    logits, labels = as_logits(logits, kind), np.asarray(labels)
    judged = Judged(
        logits,
        labels,
        classes=len(classes),
        at_specificity=at_specificity,
        bins=bins,
        equal_mass=equal_mass,
    )
    member = membership(groups, len(labels))
    once = np.ones((1, len(labels)))
    confusion = judged.confusion(once)[0].astype(np.int64)
    support = confusion.sum(1)
    values = {name: value[0] for name, value in judged.measure(once).items()}
    intervals: dict[str, Interval] = {}
    class_intervals: dict[str, Array] = {}
    if resamples:
        check_resampling(resamples, level)
        chunks = resampled(member, resamples, source(generator, seed))
        parts = [judged.measure(weights, drawn=True) for weights in chunks]
        alone = member.max() == 0  # every draw is the same, which is no certainty
        for name, value in values.items():
            draws = np.concatenate([part[name] for part in parts])
            draws = np.full_like(draws, np.nan) if alone else draws
            if value.ndim:
                class_intervals[name] = np.array([percentile_interval(d, level) for d in draws.T])
            elif name != "ece":
                intervals[name] = percentile_interval(draws, level)
    return Report(
        classes=tuple(classes),
        absent=tuple(name for name, n in zip(classes, support, strict=True) if n == 0),
        at_specificity=at_specificity,
        support=support,
        confusion=confusion,
        reliability=judged.reliability(),
        level=level,
        unit=unit_of(groups),
        intervals=intervals,
        class_intervals=class_intervals,
        **_numbers(values),
    )


def check_metric(metric: Metric) -> None:
    """Refuse a name that is no single number of a report."""
    if not isinstance(metric, str) or metric in METRICS:
        return
    if metric in (*_CLASS_COUNTED, *_CLASS_RANKED):
        mean = metric.removeprefix("class_") if metric in _CLASS_RANKED else f"macro_{metric}"
        raise ValueError(f"metric {metric!r} is a number of each class; use {mean!r}, their mean")
    raise ValueError(f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}")


def as_logits(scores: Array, kind: Kind) -> Array:
    """Scores of either kind as logits, float64."""
    scores = np.asarray(scores, dtype=float)
    if kind == "logits":
        return scores
    if kind != "probabilities":
        raise ValueError(f"kind must be 'logits' or 'probabilities', not {kind!r}")
    advice = "pass kind='logits' for scores before the softmax"
    if ((scores < 0) | (scores > 1 + 1e-3)).any():
        raise ValueError(f"probabilities must lie in 0..1; {advice}")
    # Wide enough for half precision. What is left of the sum, the softmax divides out.
    wrong = np.flatnonzero(np.abs(scores.sum(-1) - 1) > 1e-3)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"{len(wrong)} rows of probabilities do not sum to one (row {row} sums to "
            f"{scores[row].sum():.4g}); {advice}, or divide each row by its sum"
        )
    with np.errstate(divide="ignore"):
        return np.log(scores)


class Judged:
    """Scores and labels, put in order once, so that any weighting of the rows is quick.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores.
    labels : array of int ``[N]``
        True classes.
    classes : int
        K.
    at_specificity, bins, equal_mass
        As in :func:`report`.
    """

    def __init__(
        self,
        logits: Array,
        labels: Array,
        *,
        classes: int,
        at_specificity: float = 0.9,
        bins: int = 15,
        equal_mass: bool = False,
    ) -> None:
        _check(logits, labels, classes)
        if not 0 <= at_specificity <= 1:
            raise ValueError(f"at_specificity must lie in [0, 1], not {at_specificity}")
        if bins < 1:
            raise ValueError(f"bins must be at least 1, not {bins}")
        self.logits, self.labels = logits, labels.astype(np.int64)
        self._classes, self._at = classes, at_specificity
        rows = np.arange(len(labels))
        guesses = logits.argmax(1)
        self._guesses = guesses
        self._true, self._predicted = np.eye(classes)[self.labels], np.eye(classes)[guesses]
        probabilities = softmax(logits, axis=1)
        self._nll = -log_softmax(logits, axis=1)[rows, self.labels]
        self._brier = ((probabilities - self._true) ** 2).sum(1)
        self._confidence = probabilities.max(1)
        self._right = (guesses == self.labels).astype(float)
        steps = np.linspace(0, 1, bins + 1)
        self._edges = np.quantile(self._confidence, steps) if equal_mass else steps
        bin_ = np.searchsorted(self._edges, self._confidence, side="left") - 1
        self._bins = np.eye(bins)[bin_.clip(0, bins - 1)]
        self._odds = [_odds(logits, positive) for positive in range(classes)]

    def measure(
        self, weights: Array, names: Iterable[str] | None = None, *, drawn: bool = False
    ) -> dict[str, Array]:
        """Numbers by name ``[r]``, or ``[r, K]`` for those of each class.

        Parameters
        ----------
        weights : array ``[r, N]``
            How often each row counts, whole numbers.
        names : iterable of str, optional
            What is wanted; all by default.
        drawn : bool
            The weights are draws from these rows: 0 / 0 in the precision, recall or F1 of a class
            is then nan, where by default it is 0. Means are over the classes of all the rows.
        """
        every = (*METRICS, *_CLASS_COUNTED, *_CLASS_RANKED)
        wanted = every if names is None else tuple(names)
        unknown = [name for name in wanted if name not in every]
        if unknown:
            raise ValueError(f"metric {unknown[0]!r} is unknown; use one of {', '.join(METRICS)}")
        found: dict[str, Array] = {}
        if not {*_COUNTED, *_CLASS_COUNTED}.isdisjoint(wanted):
            tally = self._tally(weights)
            whole = self._tally(np.ones((1, len(self.labels)))) if drawn else None
            found |= _rates(tally, whole)
        if not {*_RANKED, *_CLASS_RANKED}.isdisjoint(wanted):
            found |= self._ranking(weights)
        total = weights.sum(1)
        if "nll" in wanted:
            found["nll"] = _weighted_sum(weights, self._nll) / total
        if "brier" in wanted:
            found["brier"] = weights @ self._brier / total
        if "ece" in wanted:
            gaps = weights @ (self._bins * (self._confidence - self._right)[:, None])
            found["ece"] = np.abs(gaps).sum(1) / total
        return {name: found[name] for name in wanted}

    def confusion(self, weights: Array) -> Array:
        """Counts ``[r, K, K]``: true class in rows, predicted in columns."""
        cells, size = self.labels * self._classes + self._guesses, self._classes**2
        counts = np.stack([np.bincount(cells, row, minlength=size) for row in weights])
        return counts.reshape(-1, self._classes, self._classes)

    def _tally(self, weights: Array) -> tuple[Array, Array, Array]:
        """Right predictions, predictions and pictures of each class ``[r, K]``."""
        hits = weights @ (self._true * self._right[:, None])
        return hits, weights @ self._predicted, weights @ self._true

    def reliability(self) -> Reliability:
        """The curve behind the calibration error."""
        count = self._bins.sum(0)
        return Reliability(
            edges=self._edges,
            count=count.astype(np.int64),
            confidence=_share(self._confidence @ self._bins, count),
            accuracy=_share(self._right @ self._bins, count),
        )

    def _ranking(self, weights: Array) -> dict[str, Array]:
        areas = [self._roc(weights, positive) for positive in range(self._classes)]
        auc, precision, sensitivity = (np.stack(column, 1) for column in zip(*areas, strict=True))
        return {
            "auc": _mean(auc),
            "average_precision": _mean(precision),
            "sensitivity": _mean(sensitivity),
            "class_auc": auc,
            "class_average_precision": precision,
            "class_sensitivity": sensitivity,
        }

    def _roc(self, weights: Array, positive: int) -> tuple[Array, Array, Array]:
        """AUC, average precision and sensitivity at a specificity ``[r]`` of one class.

        From the counts at each threshold, from the highest score down. Tied scores pass it
        together, which gives the half credit of the rank statistic.
        """
        order = np.argsort(-self._odds[positive], kind="stable")
        odds = self._odds[positive][order]
        last = np.append(odds[1:] != odds[:-1], True)
        ordered = weights[:, order]
        every = ordered.cumsum(1)[:, last]
        hits = (ordered * (self.labels[order] == positive)).cumsum(1)[:, last]
        false = every - hits
        positives, negatives = hits[:, -1], false[:, -1]
        steps = np.diff(hits, axis=1, prepend=0)
        area = (np.diff(false, axis=1, prepend=0) * (hits - steps / 2)).sum(1)
        precision = hits / np.maximum(every, 1)
        allowed = false <= ((1 - self._at) * negatives * (1 + 1e-9))[:, None]
        caught = np.where(allowed, hits, 0).max(1)
        return (
            _share(area, positives * negatives),
            _share((steps * precision).sum(1), positives),
            _share(np.where(negatives > 0, caught, np.nan), positives),
        )


def _numbers(values: Mapping[str, Array]) -> dict[str, Any]:
    return {name: value if value.ndim else float(value) for name, value in values.items()}


def _check(logits: Array, labels: Array, classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != classes or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{classes} classes need scores [N, {classes}] and labels [N], not "
            f"{logits.shape} and {labels.shape}"
        )
    if len(labels) == 0:
        raise ValueError("there is nothing to report: no labels")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("labels must be integers of 0 or more")
    if labels.max() >= classes:
        raise ValueError(f"label {labels.max()} is beyond the {classes} classes")
    # A class may be impossible (-inf), but no score can be endless, and not all of them nothing.
    bad = np.isnan(logits).any(1) | (logits.max(1) == np.inf) | (logits.max(1) == -np.inf)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} rows of scores are not numbers, the first is row {bad.argmax()}; "
            "look for a training that diverged"
        )


def _odds(logits: Array, positive: int) -> Array:
    """Log-odds of one class against the rest ``[N]``: what ranks the pictures."""
    if logits.shape[1] == 1:
        return np.zeros(len(logits))
    # Not the probabilities: those next to 1 are all the same number. What differs by rounding
    # alone is a tie.
    rest = logsumexp(np.delete(logits, positive, 1), axis=1)
    return (logits[:, positive] - rest).round(9)


def _rates(
    tally: tuple[Array, Array, Array], whole: tuple[Array, Array, Array] | None
) -> dict[str, Array]:
    """What counts of right, predicted and true ``[r, K]`` tell, as :meth:`Judged.measure` says.

    ``whole`` are those of all rows ``[1, K]``, where the counts are of draws from them.
    """
    hits, predicted, true = tally
    total = true.sum(1)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(predicted + true, 1)
    others = total[:, None] - true
    specificity = _share(others - predicted + hits, others)
    values = {"precision": precision, "recall": recall, "f1": f1}
    weighted = {f"weighted_{k}": (v * true).sum(1) / total for k, v in values.items()}
    _, all_predicted, all_true = tally if whole is None else whole
    averaged = values
    if whole is not None:
        # A draw without the class tells nothing of it. What is 0 / 0 in all the rows too stays 0
        # in the means, as it is in the mean that the interval is of.
        of = {"precision": predicted, "recall": true, "f1": true}
        of_all = {"precision": all_predicted, "recall": all_true, "f1": all_true}
        values = {k: np.where(of[k] > 0, v, np.nan) for k, v in values.items()}
        averaged = {k: np.where(of_all[k] > 0, v, 0) for k, v in values.items()}
    occurs = all_predicted + all_true > 0
    return {
        "accuracy": hits.sum(1) / total,
        "balanced_accuracy": _mean(np.where(true > 0, recall, np.nan)),
        **{f"macro_{k}": _mean(np.where(occurs, v, np.nan)) for k, v in averaged.items()},
        "macro_specificity": _mean(specificity),
        **weighted,
        **values,
        "specificity": specificity,
    }


def _share(part: Array, whole: Array) -> Array:
    """``part / whole``, nan where the whole is nothing."""
    return np.where(whole > 0, part, np.nan) / np.maximum(whole, 1)


def _mean(values: Array) -> Array:
    """Mean over the classes ``[r, K]`` that have a number; nan without any."""
    there = ~np.isnan(values)
    return _share(np.where(there, values, 0).sum(1), there.sum(1))


def _weighted_sum(weights: Array, values: Array) -> Array:
    """``weights @ values`` where an infinite value of weight 0 counts nothing."""
    endless = np.isinf(values)
    total = weights @ np.where(endless, 0, values)
    return np.where(weights[:, endless].sum(1) > 0, np.inf, total)


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
