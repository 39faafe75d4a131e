"""Scores and labels in order: every number of a report as a function of how often each row counts.

::

    scores [N, K] ─┐                          ┌─ ones ──────────► the numbers of the report
    labels [N]    ─┴─► Judged ──.measure(weights [r, N])
                       ordered once           └─ lesions drawn ─► their intervals

So the report and a thousand resamples of it are the same few lines.
"""

import difflib
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.sparse import hstack as sparse_hstack
from scipy.special import logsumexp

from .data.arrays import as_integer

__all__ = [
    "CLASS_METRICS",
    "LOWER_IS_BETTER",
    "METRICS",
    "Array",
    "InvalidScores",
    "Judged",
    "Metric",
    "Reliability",
    "as_array",
    "check_labels",
    "check_metric",
    "check_scores",
    "class_column",
    "class_names",
    "is_metric",
    "judged_by",
    "of_class",
    "range_of",
    "warn_of_probabilities",
]

Array = npt.NDArray[Any]
Metric = str | Callable[[Array, Array], float]
"""A name from :data:`METRICS`, that of a class such as ``recall.mel``, or a function of logits
``[N, K]`` and labels ``[N]``."""

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
    "mcc",
    "cohen_kappa",
)
_RANKED = ("auc", "average_precision", "sensitivity")
_CLASS_COUNTED = ("precision", "recall", "f1", "specificity")
_CLASS_RANKED = ("class_auc", "class_average_precision", "class_sensitivity")
LOWER_IS_BETTER = ("nll", "brier", "ece")
METRICS = (*_COUNTED, *_RANKED, *LOWER_IS_BETTER)
"""Names of the single numbers of a report."""
CLASS_METRICS = (*_CLASS_COUNTED, *_RANKED)
"""What there is of each class too: ``recall.mel`` is the recall of the class ``mel``."""
_RANGES = {
    "nll": (0.0, math.inf),
    "brier": (0.0, 2.0),
    "mcc": (-1.0, 1.0),  # 0 is chance, and less is worse
    "cohen_kappa": (-1.0, 1.0),
}

_FEW = 16  # classes up to which a product with a full matrix is the quickest way to count
_CELLS = 2**18  # scores whose powers are in memory at a time


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


class InvalidScores(ValueError):
    """Scores of some pictures rank no class: one is nan or endless, or all are minus infinity.

    As a training leaves them that diverged.
    """


def as_array(values: npt.ArrayLike | torch.Tensor) -> Array:
    """NumPy's array of anything like one: of tensors with a gradient, on a GPU, or bfloat16 too."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def warn_of_probabilities(scores: Array, advice: str, *, stacklevel: int = 3) -> None:
    """Warn where all scores that are taken for logits are shares of one, and not votes for one."""
    if scores.ndim != 2 or not ((scores > 0) & (scores < 1)).any():
        return
    if (scores >= 0).all() and (np.abs(scores.sum(1) - 1) <= 1e-4).all():
        warnings.warn(
            f"these scores are probabilities, and are taken for logits: {advice}",
            stacklevel=stacklevel,
        )


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Names of so many ``classes``, which are their numbers, or of those named, which differ."""
    count = as_integer(classes)
    names = tuple(map(str, range(count) if count is not None else classes))  # pyright: ignore[reportArgumentType]
    if len(set(names)) < len(names):
        raise ValueError(f"classes must be different names, not {', '.join(names)}")
    return names


def class_column(name: str) -> str:
    """What the numbers of all classes are called, of one of :data:`CLASS_METRICS`."""
    return f"class_{name}" if name in _RANKED else name


def of_class(metric: str) -> tuple[str, str] | None:
    """Number and class of a metric such as ``recall.mel``; None of one over all classes."""
    name, _, of = metric.partition(".")
    return (name, of) if name in CLASS_METRICS and of else None


def is_metric(metric: str) -> bool:
    """Whether this names a single number of a report, or one of :data:`CLASS_METRICS` of a class.

    Whether there is such a class, only those who know them can tell: :func:`check_metric`.
    """
    return metric in METRICS or of_class(metric) is not None


def check_metric(metric: Metric, classes: Sequence[str] | None = None) -> None:
    """Refuse a name that is no single number of a report, or is of none of ``classes``."""
    if not isinstance(metric, str) and not callable(metric):
        raise ValueError(f"metric must be a name or a function, not {metric!r}")
    if not isinstance(metric, str) or metric in METRICS:
        return
    if metric in (*_CLASS_COUNTED, *_CLASS_RANKED):
        mean = metric.removeprefix("class_") if metric in _CLASS_RANKED else f"macro_{metric}"
        name = metric.removeprefix("class_")
        raise ValueError(
            f"metric {metric!r} is a number of each class; use {mean!r}, their mean, or that of "
            f"one, such as {f'{name}.{classes[0]}' if classes else f'{name}.NAME'!r}"
        )
    of = of_class(metric)
    if of is None:
        raise ValueError(
            f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}, or that of a class, "
            f"NUMBER.CLASS, of {', '.join(CLASS_METRICS)}"
        )
    if classes is not None and of[1] not in classes:
        unnamed = list(classes) == [str(number) for number in range(len(classes))]
        raise ValueError(
            f"metric {metric!r} is of a class that there is not among {len(classes)}; there is "
            f"{' or '.join(repr(f'{of[0]}.{name}') for name in _near(of[1], classes))}"
            + (" (they are numbers: give classes, their names)" if unnamed else "")
        )


def _near(name: str, classes: Sequence[str]) -> Sequence[str]:
    """Which classes may be meant: those that begin, or are written, alike; or else the first."""
    said = name.casefold()
    own = {each: each.casefold() for each in classes if each}
    begin = [each for each, low in own.items() if low.startswith(said) or said.startswith(low)]
    alike = difflib.get_close_matches(said, own.values(), n=1)
    return begin or [each for each, low in own.items() if low in alike] or classes[:10]


class Judged:
    """Scores and labels, put in order once, so that any weighting of the rows is quick.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores.
    labels : array of int ``[N]``
        True classes.
    classes : int or sequence of str
        K, or the names of the K classes: those in metrics such as ``recall.mel``. Without names
        they are the numbers, as in ``recall.0``.
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
        if not 0 <= at_specificity <= 1:
            raise ValueError(f"at_specificity must lie in [0, 1], not {at_specificity}")
        number = as_integer(bins)
        if number is None or number < 1:
            raise ValueError(f"bins must be at least 1, not {bins}, and whole")
        bins = number
        self.logits, self.labels = logits, labels.astype(np.int64)
        self._classes, self._at = classes, at_specificity
        self._powers = powers = _powers(logits, self.labels)
        self.guesses, self._brier = powers.guess, powers.brier
        true = logits[np.arange(len(labels)), self.labels]
        self._nll = np.log(powers.total) - (true - powers.top)
        self._confidence = 1 / powers.total
        self._right = (self.guesses == self.labels).astype(float)
        ones = np.ones(len(labels))
        columns = ((self.labels, self._right), (self.guesses, ones), (self.labels, ones))
        indicators = [_indicator(of, classes, worth) for of, worth in columns]
        # Side by side: one product takes half of the time of three.
        self._counted = np.hstack(indicators) if classes <= _FEW else sparse_hstack(indicators)
        steps = np.linspace(0, 1, bins + 1)
        self._edges = np.quantile(self._confidence, steps) if equal_mass else steps
        # A confidence that lies above an edge by its rounding alone, as 0.8 may, lies on it.
        bin_ = np.searchsorted(self._edges, self._confidence - 1e-12, side="left") - 1
        self._bins = np.eye(bins)[bin_.clip(0, bins - 1)]

    def measure(
        self, weights: Array, names: Iterable[str] | None = None, *, drawn: bool = False
    ) -> dict[str, Array]:
        """Numbers by name ``[r]``, or ``[r, K]`` for those of each class.

        Parameters
        ----------
        weights : array ``[r, N]``
            How often each row counts, whole numbers.
        names : iterable of str, optional
            What is wanted; all but those of one class by default. The recall and F1 of one class
            are nan where no row of it counts.
        drawn : bool
            The weights are draws from these rows: 0 / 0 in the precision, recall or F1 of a class
            is then nan, where by default it is 0, and so are MCC and kappa of a draw of one class
            alone. Means are over the classes of all the rows.
        """
        every = (*METRICS, *_CLASS_COUNTED, *_CLASS_RANKED)
        asked = every if names is None else tuple(names)
        one = {name: of for name in asked if (of := of_class(name)) is not None}
        for name in asked:
            if name not in every:
                check_metric(name, self.classes)
        wanted = [name for name in asked if name not in one] + [
            class_column(number) for number, _ in one.values()
        ]
        found: dict[str, Array] = {}
        if not {*_COUNTED, *_CLASS_COUNTED}.isdisjoint(wanted):
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

    def _of_class(self, number: str, place: int, weights: Array, found: dict[str, Array]) -> Array:
        """A number of one class ``[r]``: nan where nothing of it can be told."""
        values = found[class_column(number)][:, place]
        if number in ("recall", "f1"):
            return np.where(weights @ (self.labels == place) > 0, values, np.nan)
        if number == "precision" and place not in self.guesses:
            return np.zeros(len(weights))  # and not nan in all draws from rows that have 0
        return values

    def evidence(self, metric: Metric) -> Array:
        """Which rows a metric depends on ``[N]``: of a recall, those of its class alone."""
        number, name = (isinstance(metric, str) and of_class(metric)) or ("", "")
        if number not in ("recall", "specificity") or name not in self.classes:
            return np.ones(len(self.labels), dtype=bool)
        return (self.labels == self.classes.index(name)) == (number == "recall")

    def parts(self, metric: str) -> tuple[Array, Array] | None:
        """Share and value of each row ``[N]``, whose products add up to a metric.

        None for metrics that are no sum over rows, such as F1 and AUC.
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
        """Counts ``[r, K, K]``: true class in rows, predicted in columns."""
        cells, size = self.labels * self._classes + self.guesses, self._classes**2
        counts = np.stack([np.bincount(cells, row, minlength=size) for row in weights])
        return counts.reshape(-1, self._classes, self._classes)

    def _tally(self, weights: Array) -> tuple[Array, Array, Array]:
        """Right predictions, predictions and pictures of each class ``[r, K]``."""
        right, predicted, true = np.split(weights @ self._counted, 3, axis=1)
        return right, predicted, true

    def log_odds(self) -> Array:
        """Of the predicted class against all others ``[N]``, rounded, so that equal ones stay so.

        They rank the pictures as the confidences do, of which those next to 1 are one number.
        """
        return (self._powers.top - self._powers.rest).round(9)

    def reliability(self) -> Reliability:
        """The curve behind the calibration error."""
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
        """Numbers of ranks: those ``asked`` for, and in ``[r, K]`` nan of classes not needed.

        ``one`` are those asked for of one class: they need its ranks alone.
        """
        places: dict[str, Collection[int]] = {}
        for mean, column in zip(_RANKED, _CLASS_RANKED, strict=True):
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
        means = zip(_RANKED, _CLASS_RANKED, strict=True)
        return found | {mean: _mean(found[column]) for mean, column in means if mean in asked}

    def _odds(self, positive: int) -> Array:
        """Log-odds of one class against the rest ``[N]``: what ranks the pictures."""
        if self._classes == 1:
            return np.zeros(len(self.labels))
        scores, powers = self.logits[:, positive], self._powers
        # Not the probabilities: those next to 1 are all the same number. Where the class is not the
        # guess, the guess is among the rest, so that the difference keeps its digits.
        guessed = powers.guess == positive
        others = np.where(guessed, 1, powers.total - np.exp(scores - powers.top))
        rest = np.where(guessed, powers.rest, powers.top + np.log(others))
        return scores - rest

    def _rounding(self, odds: Array) -> Array:
        """By how much the odds of each row may differ from others and still be tied with them.

        By the row's own scores: the huge negative one that stands for "impossible" in one row
        or column must not tie the rest.
        """
        size = np.maximum(np.abs(self._powers.top), np.where(np.isfinite(odds), np.abs(odds), 0))
        return 64 * np.finfo(float).eps * np.maximum(1, size)

    def _roc(self, weights: Array, positive: int, columns: Collection[str]) -> dict[str, Array]:
        """Of AUC, average precision and sensitivity of one class ``[r]`` those in ``columns``.

        From the counts at each threshold, from the highest score down. Tied scores pass it
        together, which gives the half credit of the rank statistic.
        """
        odds = self._odds(positive)
        order = np.argsort(-odds)  # of ties, any
        odds, slack = odds[order], self._rounding(odds)[order]
        with np.errstate(invalid="ignore"):  # of two impossible classes
            gaps = odds[:-1] - odds[1:]
        last = np.append(gaps > np.maximum(slack[:-1], slack[1:]), True)
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
    """AUC ``[r]``: the share of pairs in order, with half of those that are tied.

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
    """Scores whose number of columns is that of the classes, which have names or not."""
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
        raise ValueError("there is nothing to report: no labels")
    check_labels(labels, classes)
    check_scores(logits)


def check_labels(labels: Array, classes: int) -> None:
    """Refuse labels that are no numbers of so many classes."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.dtype}: give the number of each "
            "picture's class, as labels.astype(int)"
        )
    if len(labels) == 0:
        return
    if labels.min() < 0:
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.min()} as in row "
            f"{labels.argmin()}: leave out pictures of no known class"
        )
    if labels.max() >= classes:
        raise ValueError(f"label {labels.max()} is beyond the {classes} classes")


def check_scores(logits: Array) -> None:
    """Refuse scores ``[N, K]`` a row of which ranks no class.

    A class may be impossible (-inf), but no score can be endless, and not all of them nothing.
    """
    bad = np.isnan(logits).any(1) | (logits.max(1) == np.inf) | (logits.max(1) == -np.inf)
    if bad.any():
        raise InvalidScores(
            f"{int(bad.sum())} rows of scores are not numbers, the first is row {bad.argmax()}; "
            "look for a training that diverged"
        )


def range_of(metric: str) -> tuple[float, float]:
    """Least and largest value that one of :data:`METRICS`, or that of a class, can have."""
    return _RANGES.get(metric, (0.0, 1.0))


class _Powers(NamedTuple):
    """What the softmax of each row ``[N]`` comes to."""

    guess: Array
    """The class of the highest score."""
    top: Array
    """That score."""
    total: Array
    """Sum of ``exp(score - top)``, from 1 on."""
    rest: Array
    """Logarithm of the summed powers of all classes but the guess."""
    brier: Array
    """Squared distance of the probabilities and the one-hot label."""


def _powers(logits: Array, labels: Array) -> _Powers:
    """Powers of scores ``[N, K]``, some rows at a time: none of the matrices on the way stays."""
    step = max(1, _CELLS // logits.shape[1])
    starts = range(0, len(labels), step)
    parts = [_powers_of(logits[at : at + step], labels[at : at + step]) for at in starts]
    return _Powers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _powers_of(logits: Array, labels: Array) -> _Powers:
    rows, guess = np.arange(len(labels)), logits.argmax(1)
    top = logits[rows, guess]
    probabilities = np.exp(logits - top[:, None])
    total = probabilities.sum(1)
    probabilities /= total[:, None]
    probabilities[rows, labels] -= 1
    others = logits.copy()
    others[rows, guess] = -np.inf
    return _Powers(guess, top, total, logsumexp(others, axis=1), (probabilities**2).sum(1))


def _indicator(of: Array, classes: int, worth: Array) -> Any:  # noqa: ANN401 - full or sparse
    """Matrix ``[N, K]`` with the worth of each row at its class."""
    if classes <= _FEW:
        return np.eye(classes)[of] * worth[:, None]
    return csr_array((worth, (np.arange(len(of)), of)), (len(of), classes))


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
        **_agreement(tally, drawn=whole is not None),
        **values,
        "specificity": specificity,
    }


def _agreement(tally: tuple[Array, Array, Array], *, drawn: bool) -> dict[str, Array]:
    """How far predictions and labels agree beyond chance, of counts ``[r, K]``: MCC and kappa.

    Matthews (Biochim. Biophys. Acta 405:442, 1975) for K classes as Gorodkin (Comput. Biol. Chem.
    28:367, 2004), and Cohen (Educ. Psychol. Meas. 20:37, 1960): the covariance of predictions
    and labels, over the geometric mean of their variances, or over its largest value.
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
