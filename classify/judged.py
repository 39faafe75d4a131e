"""Sorted scores and labels: each number of a report as a function of how often each row counts.

::

    scores [N, K] ─┐                          ┌─ ones ──────────► the numbers of the report
    labels [N]    ─┴─► Judged ──.measure(weights [r, N])
                       ordered once           └─ lesions drawn ─► their intervals

The report and its thousand resamples are computed by the same few lines.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse import hstack as sparse_hstack
from scipy.special import logsumexp

from .data.arrays import as_integer
from .given import as_number
from .metric_names import (
    CLASS_COUNTED,
    CLASS_RANKED,
    COUNTED,
    METRICS,
    RANKED,
    Metric,
    check_metric,
    class_column,
    of_class,
)
from .scores import Array, check_labels, check_scores, class_names

__all__ = ["Judged", "Reliability", "judged_by"]

_FEW = 16  # classes up to which a product with a full matrix is the quickest way to count
_CELLS = 2**18  # scores whose powers are in memory at a time


@dataclass(frozen=True, eq=False)
class Reliability:
    """Accuracy against confidence: the reliability diagram behind the ECE.

    A bin holds the confidences in (lower edge, upper edge]; the lowest bin includes its lower edge.
    """

    edges: Array
    """Bin edges ``[bins + 1]``, of equal width, or with about equally many pictures per bin."""
    count: Array
    """Pictures in each bin ``[bins]``."""
    confidence: Array
    """Mean probability of the predicted class ``[bins]``; nan in an empty bin."""
    accuracy: Array
    """Share of correct predictions ``[bins]``; nan in an empty bin."""


class Judged:
    """Scores and labels, sorted once, so that the metrics of any weighting of the rows are fast.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores.
    labels : array of int ``[N]``
        True classes.
    classes : int or sequence of str
        K, or the names of the K classes, as used in metrics such as ``recall.mel``. Without names,
        classes are numbered, as in ``recall.0``.
    at_specificity, bins, equal_mass
        As in :func:`report`.
    """

    def __init__(
        self,
        logits: Array,
        labels: Array,
        *,
        classes: int | Sequence[str],
        at_specificity: float = 0.9,
        bins: int = 15,
        equal_mass: bool = False,
    ) -> None:
        self.classes = class_names(classes)
        classes = len(self.classes)
        _check(logits, labels, classes)
        at_specificity = as_number("at_specificity", at_specificity)
        if not 0 <= at_specificity <= 1:
            raise ValueError(f"at_specificity must lie in [0, 1], not {at_specificity}")
        number = as_integer(bins)
        if number is None or number < 1:
            raise ValueError(f"bins must be a whole number of at least 1, not {bins}")
        bins = number
        self.logits, self.labels = logits, labels.astype(np.int64)
        self._classes, self._at = classes, at_specificity
        self._powers = powers = _powers(logits, self.labels)
        self.guesses, self._brier = powers.guess, powers.brier
        true = logits[np.arange(len(labels)), self.labels]
        self._nll = np.log(powers.total) - (true - powers.top)
        self._confidence = 1 / powers.total
        self._right = (self.guesses == self.labels).astype(float)
        steps = np.linspace(0, 1, bins + 1)
        self._edges = np.quantile(self._confidence, steps) if equal_mass else steps

    def measure(
        self, weights: Array, names: Iterable[str] | None = None, *, drawn: bool = False
    ) -> dict[str, Array]:
        """Return metrics by name ``[r]``, or ``[r, K]`` for those of each class.

        Parameters
        ----------
        weights : array ``[r, N]``
            How often each row counts, whole numbers.
        names : iterable of str, optional
            Metrics to compute; by default all except those of a single class. The recall and F1 of
            a single class are nan where none of its rows counts.
        drawn : bool
            Whether the weights are bootstrap draws from these rows. Then 0 / 0 in the precision,
            recall or F1 of a class is nan, where by default it is 0, and so are MCC and kappa of a
            draw with a single class. Means are over the classes of all the rows.
        """
        every = (*METRICS, *CLASS_COUNTED, *CLASS_RANKED)
        asked = every if names is None else tuple(names)
        one = {name: of for name in asked if (of := of_class(name)) is not None}
        for name in asked:
            if name not in every:
                check_metric(name, self.classes)
        wanted = [name for name in asked if name not in one] + [
            class_column(number) for number, _ in one.values()
        ]
        found: dict[str, Array] = {}
        if not {*COUNTED, *CLASS_COUNTED}.isdisjoint(wanted):
            tally = self._tally(weights)
            whole = self._tally(np.ones((1, len(self.labels)))) if drawn else None
            found |= _rates(tally, whole)
        found |= self._ranking(weights, asked, one.values())
        total = weights.sum(1)
        if "nll" in wanted:
            found["nll"] = _weighted_sum(weights, self._nll) / total
        if "brier" in wanted:
            found["brier"] = weights @ self._brier / total
        if "ece" in wanted:
            gaps = weights @ (self._bins * (self._confidence - self._right)[:, None])
            found["ece"] = np.abs(gaps).sum(1) / total
        for name, (number, of) in one.items():
            found[name] = self._of_class(number, self.classes.index(of), weights, found)
        return {name: found[name] for name in asked}

    def value(self, metric: Metric, weights: Array | None = None, *, drawn: bool = False) -> Array:
        """Return one metric ``[r]``, given by its name or as a function of logits and labels.

        Parameters
        ----------
        metric : str or callable
            A function is called with the rows, each repeated as often as it counts.
        weights : array ``[r, N]``, optional
            How often each row counts; once by default.
        drawn : bool
            As in :meth:`measure`.
        """
        weights = np.ones((1, len(self.labels))) if weights is None else weights
        if isinstance(metric, str):
            return self.measure(weights, [metric], drawn=drawn)[metric]
        rows = np.arange(len(self.labels))
        picks = [np.repeat(rows, times) for times in weights.astype(np.int64)]
        return np.array([metric(self.logits[i], self.labels[i]) for i in picks], dtype=float)

    def _of_class(self, number: str, place: int, weights: Array, found: dict[str, Array]) -> Array:
        """A metric of one class ``[r]``: nan where it is not defined."""
        values = found[class_column(number)][:, place]
        if number in ("recall", "f1"):
            return np.where(weights @ (self.labels == place) > 0, values, np.nan)
        if number == "precision" and place not in self.guesses:
            return np.zeros(len(weights))  # and not nan in all draws from rows that have 0
        return values

    def evidence(self, metric: Metric) -> Array:
        """Which rows a metric depends on ``[N]``: for a recall, only those of its class."""
        number, name = (isinstance(metric, str) and of_class(metric)) or ("", "")
        if number not in ("recall", "specificity") or name not in self.classes:
            return np.ones(len(self.labels), dtype=bool)
        return (self.labels == self.classes.index(name)) == (number == "recall")

    def parts(self, metric: str) -> tuple[Array, Array] | None:
        """Share and value of each row ``[N]``, whose products sum to a metric.

        None for metrics that are not a sum over rows, such as F1 and AUC.
        """
        rows = np.full(len(self.labels), 1 / len(self.labels))
        if metric in ("accuracy", "weighted_recall"):
            return rows, self._right
        if metric in ("nll", "brier"):
            return rows, self._nll if metric == "nll" else self._brier
        number, name = of_class(metric) or ("", "")
        if number in ("recall", "specificity"):
            own, place = self.evidence(metric), self.classes.index(name)
            value = self._right if number == "recall" else (self.guesses != place).astype(float)
            return own / max(1, own.sum()), value
        if metric not in ("balanced_accuracy", "macro_recall"):
            return None
        _, predicted, true = self._tally(np.ones((1, len(self.labels))))
        occurs = true if metric == "balanced_accuracy" else true + predicted
        return 1 / true[0, self.labels] / (occurs > 0).sum(), self._right

    def confusion(self, weights: Array) -> Array:
        """Confusion matrices ``[r, K, K]``: true class in rows, predicted class in columns."""
        cells, size = self.labels * self._classes + self.guesses, self._classes**2
        counts = np.stack([np.bincount(cells, row, minlength=size) for row in weights])
        return counts.reshape(-1, self._classes, self._classes)

    def _tally(self, weights: Array) -> tuple[Array, Array, Array]:
        """Correct predictions, all predictions and pictures of each class ``[r, K]``."""
        right, predicted, true = np.split(weights @ self._counted, 3, axis=1)
        return right, predicted, true

    @cached_property
    def _counted(self) -> Any:  # noqa: ANN401 - full or sparse
        """Matrix ``[N, 3K]`` of what :meth:`_tally` counts."""
        ones = np.ones(len(self.labels))
        columns = ((self.labels, self._right), (self.guesses, ones), (self.labels, ones))
        indicators = [_indicator(of, self._classes, worth) for of, worth in columns]
        # Side by side: one product takes half of the time of three.
        return np.hstack(indicators) if self._classes <= _FEW else sparse_hstack(indicators)

    @cached_property
    def _bins(self) -> Array:
        """Which bin of the confidences each row lies in ``[N, bins]``."""
        # A confidence that lies above an edge by its rounding alone, as 0.8 may, lies on it.
        bin_ = np.searchsorted(self._edges, self._confidence - 1e-12, side="left") - 1
        bins = len(self._edges) - 1
        return np.eye(bins)[bin_.clip(0, bins - 1)]

    def log_odds(self) -> Array:
        """Log-odds of the predicted class against all others ``[N]``, rounded to keep ties.

        They rank the pictures as the confidences do, and also where these round to 1.
        """
        return (self._powers.top - self._rest).round(9)

    @cached_property
    def _rest(self) -> Array:
        """Logarithm of the summed exponentials of all classes but the predicted one ``[N]``.

        Only ranks need it, and it takes as long as all that counts need.
        """
        found = []
        for rows in _some_rows(self.logits):
            others = self.logits[rows].copy()
            others[np.arange(len(others)), self.guesses[rows]] = -np.inf
            found.append(logsumexp(others, axis=1))
        return np.concatenate(found)

    def reliability(self) -> Reliability:
        """Return the reliability curve behind the calibration error."""
        count = self._bins.sum(0)
        return Reliability(
            edges=self._edges,
            count=count.astype(np.int64),
            confidence=_share(self._confidence @ self._bins, count),
            accuracy=_share(self._right @ self._bins, count),
        )

    def _ranking(
        self, weights: Array, asked: Collection[str], one: Collection[tuple[str, str]]
    ) -> dict[str, Array]:
        """The rank metrics ``asked`` for; ``[r, K]`` holds nan for classes that are not needed.

        ``one`` are those asked for of a single class: they need only its ranks.
        """
        places: dict[str, Collection[int]] = {}
        for mean, column in zip(RANKED, CLASS_RANKED, strict=True):
            whole = mean in asked or column in asked
            own = [self.classes.index(of) for number, of in one if number == mean]
            places[column] = range(self._classes) if whole else own
        found = {
            column: np.full((len(weights), self._classes), np.nan)
            for column, of in places.items()
            if of
        }
        for positive in sorted(set().union(*places.values())):
            columns = [column for column in found if positive in places[column]]
            for column, values in self._roc(weights, positive, columns).items():
                found[column][:, positive] = values
        means = zip(RANKED, CLASS_RANKED, strict=True)
        return found | {mean: _mean(found[column]) for mean, column in means if mean in asked}

    def _odds(self, positive: int) -> Array:
        """Log-odds of one class against the rest ``[N]``, by which the pictures are ranked."""
        if self._classes == 1:
            return np.zeros(len(self.labels))
        scores, powers = self.logits[:, positive], self._powers
        # Not the probabilities: those next to 1 are all the same number. Where the class is not the
        # guess, the guess is among the rest, so that the difference keeps its digits.
        guessed = powers.guess == positive
        others = np.where(guessed, 1, powers.total - np.exp(scores - powers.top))
        rest = np.where(guessed, self._rest, powers.top + np.log(others))
        return scores - rest

    def _rounding(self, odds: Array) -> Array:
        """Largest difference of log-odds at which each row is still tied with others.

        It follows from the row's own scores: a huge negative score that stands for "impossible" in
        one row or column must not tie the rest.
        """
        size = np.maximum(np.abs(self._powers.top), np.where(np.isfinite(odds), np.abs(odds), 0))
        return 64 * np.finfo(float).eps * np.maximum(1, size)

    def ranking(self, positive: int) -> tuple[Array, Array]:
        """Rows ``[N]``, the likeliest of one class first, and whether each is the last of its tie.

        Ties are in any order: a threshold passes all of them together.
        """
        odds = self._odds(positive)
        order = np.argsort(-odds)
        odds, slack = odds[order], self._rounding(odds)[order]
        with np.errstate(invalid="ignore"):  # of two impossible classes
            gaps = odds[:-1] - odds[1:]
        return order, np.append(gaps > np.maximum(slack[:-1], slack[1:]), True)

    def _roc(self, weights: Array, positive: int, columns: Collection[str]) -> dict[str, Array]:
        """AUC, average precision and sensitivity of one class ``[r]``, as far as in ``columns``.

        They follow from the counts at each threshold, from the highest score down. Tied scores pass
        it together, which gives the half credit of the rank statistic.
        """
        order, last = self.ranking(positive)
        own = self.labels[order] == positive
        found: dict[str, Array] = {}
        if "class_auc" in columns:
            found["class_auc"] = _area(weights[:, order[own]], weights[:, order[~own]], own, last)
        if {"class_average_precision", "class_sensitivity"}.isdisjoint(columns):
            return found
        ordered = weights[:, order]
        every = ordered.cumsum(1)[:, last]
        hits = (ordered * own).cumsum(1)[:, last]
        positives = hits[:, -1]
        if "class_average_precision" in columns:
            precision = hits / np.maximum(every, 1)
            passed = (np.diff(hits, axis=1, prepend=0) * precision).sum(1)
            found["class_average_precision"] = _share(passed, positives)
        if "class_sensitivity" in columns:
            false = every - hits
            negatives = false[:, -1]
            allowed = false <= ((1 - self._at) * negatives * (1 + 1e-9))[:, None]
            caught = np.where(allowed, hits, 0).max(1)
            found["class_sensitivity"] = _share(np.where(negatives > 0, caught, np.nan), positives)
        return found


def _area(positives: Array, negatives: Array, own: Array, last: Array) -> Array:
    """AUC ``[r]``: the share of pairs that are in order, where tied pairs count half.

    Parameters
    ----------
    positives, negatives : array ``[r, P]``, ``[r, M]``
        How often the rows of the class and those of others count, the highest score first.
    own, last : array of bool ``[P + M]``
        Which of all rows in that order are of the class, and which are the last of their tie.
    """
    # Negatives counted down to each; whole numbers, whose sums are exact in any order.
    false = np.zeros((len(negatives), negatives.shape[1] + 1))
    negatives.cumsum(1, out=false[:, 1:])
    ends = np.append(0, np.cumsum(~own)[last])  # above each tie, and at the end of the last
    tie = (np.cumsum(last) - last)[own]
    below = false[:, -1:] - (false[:, ends[tie]] + false[:, ends[tie + 1]]) / 2
    area = np.einsum("rp,rp->r", positives, below)
    return _share(area, positives.sum(1) * false[:, -1])


def judged_by(logits: Array, labels: Array, classes: Sequence[str] | None = None) -> Judged:
    """Checked scores and labels; the classes may have names."""
    if logits.ndim != 2:
        raise ValueError(f"scores must be [N, K], not {logits.shape}")
    return Judged(logits, labels, classes=logits.shape[1] if classes is None else classes)


def _check(logits: Array, labels: Array, classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != classes or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{classes} classes need scores [N, {classes}] and labels [N], not "
            f"{logits.shape} and {labels.shape}"
        )
    if len(labels) == 0:
        raise ValueError("there is nothing to report: there are no labels")
    check_labels(labels, classes)
    check_scores(logits)


class _Powers(NamedTuple):
    """Softmax of each row ``[N]``, summarised."""

    guess: Array
    """The class of the highest score."""
    top: Array
    """That score."""
    total: Array
    """Sum of ``exp(score - top)``, from 1 on."""
    brier: Array
    """Squared distance between the probabilities and the one-hot label."""


def _powers(logits: Array, labels: Array) -> _Powers:
    """Exponentials of scores ``[N, K]``, some rows at a time, to save memory."""
    parts = [_powers_of(logits[rows], labels[rows]) for rows in _some_rows(logits)]
    return _Powers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _some_rows(logits: Array) -> Iterator[slice]:
    step = max(1, _CELLS // logits.shape[1])
    return (slice(at, at + step) for at in range(0, len(logits), step))


def _powers_of(logits: Array, labels: Array) -> _Powers:
    rows, guess = np.arange(len(labels)), logits.argmax(1)
    top = logits[rows, guess]
    probabilities = np.exp(logits - top[:, None])
    total = probabilities.sum(1)
    probabilities /= total[:, None]
    probabilities[rows, labels] -= 1
    return _Powers(guess, top, total, (probabilities**2).sum(1))


def _indicator(of: Array, classes: int, worth: Array) -> Any:  # noqa: ANN401 - full or sparse
    """Matrix ``[N, K]`` with the worth of each row at its class."""
    if classes <= _FEW:
        return np.eye(classes)[of] * worth[:, None]
    return csr_array((worth, (np.arange(len(of)), of)), (len(of), classes))


def _rates(
    tally: tuple[Array, Array, Array], whole: tuple[Array, Array, Array] | None
) -> dict[str, Array]:
    """Metrics from counts of correct, predicted and true ``[r, K]``; see :meth:`Judged.measure`.

    ``whole`` are the counts of all rows ``[1, K]``, if the others are of draws from them.
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
        # A draw without the class says nothing about it. What is 0 / 0 in all the rows too stays 0
        # in the means, as in the mean that the interval belongs to.
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
        **_agreement(tally, drawn=whole is not None),
        **values,
        "specificity": specificity,
    }


def _agreement(tally: tuple[Array, Array, Array], *, drawn: bool) -> dict[str, Array]:
    """MCC and kappa from counts ``[r, K]``: agreement of predictions and labels beyond chance.

    Matthews (Biochim. Biophys. Acta 405:442, 1975), extended to K classes by Gorodkin (Comput.
    Biol. Chem. 28:367, 2004), and Cohen (Educ. Psychol. Meas. 20:37, 1960): the covariance of
    predictions and labels, over the geometric mean of their variances, or over its largest value.
    """
    hits, predicted, true = tally
    square = true.sum(1) ** 2
    by_chance = (predicted * true).sum(1)
    covariance = np.sqrt(square) * hits.sum(1) - by_chance
    spread = (square - (predicted**2).sum(1)) * (square - (true**2).sum(1))
    mcc = np.where(spread > 0, covariance, 0) / np.sqrt(np.maximum(spread, 1))
    values = {"mcc": mcc, "cohen_kappa": _share(covariance, square - by_chance)}
    if drawn:
        several = (true > 0).sum(1) > 1
        values = {name: np.where(several, value, np.nan) for name, value in values.items()}
    return values


def _share(part: Array, whole: Array) -> Array:
    """``part / whole``, nan where the whole is 0."""
    return np.where(whole > 0, part, np.nan) / np.maximum(whole, 1)


def _mean(values: Array) -> Array:
    """Mean over the classes ``[r, K]`` with a value; nan if none has one."""
    there = ~np.isnan(values)
    return _share(np.where(there, values, 0).sum(1), there.sum(1))


def _weighted_sum(weights: Array, values: Array) -> Array:
    """``weights @ values``, where an infinite value of weight 0 adds 0."""
    endless = np.isinf(values)
    total = weights @ np.where(endless, 0, values)
    return np.where(weights[:, endless].sum(1) > 0, np.inf, total)
