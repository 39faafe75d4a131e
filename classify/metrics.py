"""The report: all metrics of a classification, with intervals from a bootstrap over lesions.

The metrics are computed by :mod:`classify.judged`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from .data.archive import listed
from .intervals import (
    Interval,
    bootstrap,
    check_resampling,
    equal_units,
    mean_interval,
    membership,
    percentile_interval,
    resampled,
    source,
    unit_of,
    widest,
    wilson_intervals,
    with_width,
)
from .judged import Judged, Reliability
from .metric_names import LOWER_IS_BETTER, METRICS, check_metric, class_column
from .scores import Array, Kind, as_array, as_logits, class_names, plain

__all__ = ["Interval", "Reliability", "Report", "bootstrap", "report"]

# Numbers of lesions of a class below which its intervals, and those of its ranking, undercover.
_FEW, _FEW_RANKED = 10, 20
# Shares, of which Wilson's interval can be had; those of each class with what they are a share of.
_SHARES = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1")
# Accuracy beyond chance, over the largest possible one.
_BEYOND_CHANCE = ("mcc", "cohen_kappa")
_CLASS_RANKS = ("class_auc", "class_average_precision")
_CLASS_SHARES = {
    **dict.fromkeys(("recall", "f1"), "true"),
    "precision": "predicted",
    "specificity": "others",
    **dict.fromkeys(("class_auc", "class_average_precision", "class_sensitivity"), "pairs"),
}
# Means over classes, whose intervals are combined from those of the classes.
_MEANS = {
    "balanced_accuracy": "recall",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_f1": "f1",
    "macro_specificity": "specificity",
    "auc": "class_auc",
    "average_precision": "class_average_precision",
    "sensitivity": "class_sensitivity",
}


@dataclass(frozen=True, eq=False)
class Report:
    """Metrics of a classification; rates are fractions.

    Means of precision, recall and F1 are over the classes that occur in the labels or the
    predictions, as in scikit-learn. All other means are over the classes for which the metric is
    defined: balanced accuracy, average precision and sensitivity need pictures of the class, AUC
    and sensitivity also pictures of other classes. :attr:`absent` names the classes without
    pictures.
    """

    classes: tuple[str, ...]
    absent: tuple[str, ...]
    """Classes without a picture. Their AUC and other undefined metrics are nan and not in the
    means; their precision, recall and F1 are 0, and in the macro means if the class is
    predicted."""
    accuracy: float
    """Share of the pictures that are classified correctly."""
    balanced_accuracy: float
    """Mean recall over the classes with pictures."""
    macro_precision: float
    """Unweighted mean precision over the classes that occur."""
    macro_recall: float
    """Unweighted mean recall over the classes that occur."""
    macro_f1: float
    """Unweighted mean F1 over the classes that occur."""
    macro_specificity: float
    """Unweighted mean specificity over the classes for which it is defined."""
    weighted_precision: float
    """Mean precision, each class weighted by its pictures."""
    weighted_recall: float
    """Mean recall, each class weighted by its pictures: the accuracy."""
    weighted_f1: float
    """Mean F1, each class weighted by its pictures."""
    mcc: float
    """Matthews correlation of labels and predictions, -1..1, for K classes by Gorodkin (2004). 0 is
    chance, and is also returned if all labels or all predictions are one class."""
    cohen_kappa: float
    """Cohen's kappa (1960), the agreement beyond chance, -1..1; nan if all labels and all
    predictions are one class."""
    auc: float
    """AUC of one class against the rest, mean over the classes for which it is defined; nan if
    there is none."""
    average_precision: float
    """Average precision of one class against the rest, mean over the classes with pictures."""
    sensitivity: float
    """Mean of :attr:`class_sensitivity` over the classes for which it is defined."""
    at_specificity: float
    """Specificity at which the sensitivities are given."""
    nll: float
    """Mean negative log-likelihood, nats; infinite if a true class has probability 0."""
    brier: float
    """Mean squared distance between probabilities and one-hot labels, 0..2 (Brier, 1950)."""
    ece: float
    """Expected calibration error: mean gap between confidence and accuracy in
    :attr:`reliability`."""
    precision: Array
    """Precision of each class ``[K]``, 0 where the class is not predicted."""
    recall: Array
    """Recall of each class ``[K]``, 0 where the class has no picture."""
    f1: Array
    """``[K]``."""
    specificity: Array
    """Specificity of the predictions for each class ``[K]``; nan where all pictures are of the
    class."""
    support: Array
    """Pictures of each class ``[K]``."""
    units: Array
    """Lesions, or pictures (see :attr:`unit`), of each class ``[K]``: the sample size behind its
    intervals."""
    others: Array
    """Lesions, or pictures, of other classes ``[K]``, against which a class is ranked."""
    class_auc: Array
    """AUC of each class ``[K]``, nan where a class has no picture, or all of them."""
    class_average_precision: Array
    """Average precision of each class ``[K]``, nan where a class has no picture."""
    class_sensitivity: Array
    """Highest sensitivity at a specificity of at least :attr:`at_specificity` ``[K]``.

    It is read from the ROC curve of these pictures, and describes the ranking. A threshold for use
    must be chosen on other pictures, and will not reach exactly this specificity.
    """
    confusion: Array
    """Confusion matrix, counts ``[K, K]``: true class in rows, predicted class in columns."""
    reliability: Reliability
    """Reliability curve: accuracy against confidence."""
    level: float
    """Confidence level of the intervals."""
    unit: str
    """What the intervals resample: ``lesions`` if groups were given, else ``pictures``."""
    intervals: Mapping[str, Interval]
    """Interval of each single metric except the ECE; empty if no resamples were requested.

    If all draws agree, as without any mistake, the draws say nothing about the uncertainty; the
    accuracy and the weighted means then have Wilson's interval over the number of lesions. The
    lower end of MCC and kappa is never above Wilson's lower end without a mistake, for the lesions
    that are not only of the most frequent class, and the upper end never below its negative. If all
    predictions are one class, MCC and kappa are 0 in every draw and have no interval (nan). For
    means over classes of shares, the intervals of the classes are combined, see
    :func:`classify.intervals.mean_interval`. A class that counts as 0 in such a mean because its
    denominator is 0, such as a precision without a prediction, may have any share.
    The ECE has no interval: resampling adds noise to every bin, which increases the absolute
    differences, so that the draws lie above the value itself.
    """
    class_intervals: Mapping[str, Array]
    """Intervals ``[K, 2]`` of each metric of each class; empty if no resamples were requested.

    They use the draws in which the metric is defined: recall and F1 need a picture of the class,
    precision a prediction of it. They are nan if no draw has a value. If all draws agree, as for
    three lesions out of three, a share has Wilson's interval over the lesions in its denominator,
    and F1 over those of the class. AUC, average precision and sensitivity have it over as many
    pairs as the rarer side has lesions; the interval of the sensitivity is always at least as wide.
    Lesions of unequal sizes count as the equivalent number of equal size (Kish, 1965).
    """

    def __str__(self) -> str:
        width = max(12, *(len(name) for name in self.classes))
        return "\n".join([*self._predicted(width), "", *self._ranked(width), "", *self._single()])

    def _predicted(self, width: int) -> list[str]:
        """The table of scikit-learn's ``classification_report``."""
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
            "mcc",
            "cohen_kappa",
            "auc",
            "average_precision",
            *LOWER_IS_BETTER,
        ):
            line = f"{name.replace('_', ' '):<18} {getattr(self, name):.3f}"
            if name in self.intervals:
                line += f" {self.intervals[name]:.3f}"
            lines.append(line)
        if self.intervals:
            lines.append(f"[low, high]: {100 * self.level:g} % intervals, resampling {self.unit}")
        return [*lines, *self.cautions()]

    def cautions(self) -> list[str]:
        """Return notes on classes that have few lesions for their intervals, or no pictures.

        Returns
        -------
        list of str
            Phrases that begin in lower case, without a full stop.
        """
        found = []
        own, beside = (
            list(zip(self.classes, counts, strict=True)) for counts in (self.units, self.others)
        )
        bounds = (
            ("of", own, 0, _FEW, "intervals of these classes, and of means over classes,"),
            (
                "of",
                own,
                _FEW - 1,
                _FEW_RANKED,
                "intervals of their AUC and AP, and of the means of these,",
            ),
            (
                "of classes other than",
                beside,
                0,
                _FEW_RANKED,
                "intervals of their specificity, AUC, AP and sensitivity",
            ),
        )
        for where, counts, more_than, less_than, which in bounds:
            few = [f"{name} ({n})" for name, n in counts if more_than < n < less_than]
            if self.intervals and few:
                found.append(
                    f"fewer than {less_than} {self.unit} {where} {listed(few, 7)}: {which} may be "
                    "too narrow"
                )
        said = np.flatnonzero(self.confusion.sum(0))
        if self.intervals and len(said) == 1:
            found.append(
                f"all predictions are {self.classes[said[0]]}: MCC and kappa have no interval"
            )
        if self.absent:
            text = (
                f"no pictures of {', '.join(self.absent)}: left out of balanced accuracy, AUC, AP "
                "and sensitivity"
            )
            guessed = [self.classes[k] for k in said if self.classes[k] in self.absent]
            if guessed:
                text += (
                    f"; the macro averages of precision, recall and F1 count {', '.join(guessed)} "
                    f"as 0, because the classifier predicts {'it' if len(guessed) == 1 else 'them'}"
                )
            found.append(text)
        return found

    def number(self, metric: str) -> float:
        """Return one of the metrics by its name.

        Parameters
        ----------
        metric : str
            One of :data:`classify.metric_names.METRICS`, or a metric of one class, such as
            ``recall.mel``. The recall and F1 of a class without pictures are nan here.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For an unknown name or class.
        """
        check_metric(metric, self.classes)
        if metric in METRICS:
            return float(getattr(self, metric))
        column, place = self._of_class(metric)
        if self.support[place] == 0 and column in ("recall", "f1"):
            return math.nan
        return float(getattr(self, column)[place])

    def interval(self, metric: str) -> Interval | None:
        """Return the interval of a metric.

        Parameters
        ----------
        metric : str
            As in :meth:`number`.

        Returns
        -------
        Interval or None
            None if no resamples were requested, and for the ECE.

        Raises
        ------
        ValueError
            As in :meth:`number`.
        """
        check_metric(metric, self.classes)
        if metric in METRICS:
            return self.intervals.get(metric)
        column, place = self._of_class(metric)
        if column not in self.class_intervals:
            return None
        return Interval(*self.class_intervals[column][place].tolist())

    def _of_class(self, metric: str) -> tuple[str, int]:
        """Field of a metric of one class, and the index of that class in it."""
        name, _, of = metric.partition(".")
        return class_column(name), self.classes.index(of)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; an undefined number becomes None."""
        return plain(asdict(self))


def report(
    logits: Array,
    labels: Array,
    *,
    classes: Sequence[str] | None = None,
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
    """Evaluate class scores against labels: metrics, confusion matrix, calibration and intervals.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of the given ``kind``.
    labels : array of int ``[N]``
        True classes, indices into ``classes``.
    classes : sequence of str, optional
        Names of the K classes, in the order of the columns of ``logits``; by default their numbers.
    kind : {"logits", "probabilities"}
        Scores before the softmax (logarithms of probabilities are also allowed), or probabilities,
        each row of which sums to one.
    groups : sequence of str, length N, optional
        Lesion of each picture; intervals then resample lesions.
    at_specificity : float
        Specificity, in [0, 1], at which sensitivities are given.
    bins : int
        Bins of confidence for the calibration error (Guo et al., ICML 2017).
    equal_mass : bool
        If True, bins contain about equally many pictures instead of being equally wide in 0..1.
        Equal confidences stay in one bin. Resamples keep the bins.
    resamples : int
        Number of bootstrap resamples for intervals; none by default. With a single lesion the
        intervals are nan. The printed report names the classes with fewer than 10 lesions; for AUC
        and average precision, those with fewer than 20; and those with fewer than 20 lesions of
        other classes.
    level : float
        Confidence level of the intervals, in (0, 1).
    seed : int
        Seed of the resampling if no ``generator`` is given.
    generator : torch.Generator, optional
        Random numbers of the resampling.

    Raises
    ------
    ValueError
        When shapes, labels or groups do not fit, scores and labels are swapped, a score is not a
        number, probabilities do not sum to one, or ``level`` is not in (0, 1).

    Warns
    -----
    UserWarning
        When each row of the logits sums to 1, as probabilities do.
    """
    logits, labels = as_array(logits), as_array(labels)
    if logits.ndim == 1 and labels.ndim == 2:
        raise ValueError(
            f"scores [N, K] come first and labels [N] second, not {logits.shape} and "
            f"{labels.shape}: swap them"
        )
    logits = as_logits(logits, kind)
    classes = class_names(logits.shape[1] if classes is None else classes)
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
    units, equal = _units(member, judged)
    values = {name: value[0] for name, value in judged.measure(once).items()}
    check_resampling(resamples or 1, level)
    intervals, class_intervals = {}, {}
    if resamples:
        chunks = resampled(member, resamples, source(generator, seed))
        parts = [judged.measure(weights, drawn=True) for weights in chunks]
        draws = {name: np.concatenate([part[name] for part in parts]) for name in values}
        intervals, class_intervals = _intervals(draws, values, equal, level)
    return Report(
        classes=classes,
        absent=tuple(name for name, n in zip(classes, support, strict=True) if n == 0),
        at_specificity=at_specificity,
        support=support,
        units=units.true.astype(np.int64),
        others=units.others.astype(np.int64),
        confusion=confusion,
        reliability=judged.reliability(),
        level=level,
        unit=unit_of(groups),
        intervals=intervals,
        class_intervals=class_intervals,
        **_numbers(values),
    )


class _Units(NamedTuple):
    """Numbers of lesions, or of pictures without groups, behind the metrics of each class.

    Actual numbers, or equivalent numbers of equal size, see :func:`_units`.
    """

    count: Any
    """All of them."""
    true: Array
    """Those with pictures of the class ``[K]``."""
    predicted: Array
    """Those with predictions of it ``[K]``."""
    others: Array
    """Those with pictures of other classes ``[K]``."""

    @property
    def pairs(self) -> Array:
        """Disjoint pairs of one lesion of the class and one of the others ``[K]``.

        The AUC is the probability that such a pair is in order, and disjoint pairs are independent.
        """
        return np.minimum(self.true, self.others)


def _units(member: Array, judged: Judged) -> tuple[_Units, _Units]:
    """Numbers of lesions, and the equivalent numbers of equal size.

    In a share of pictures, a lesion with many pictures outweighs the rest: :func:`equal_units`.
    """
    classes = judged.logits.shape[1]

    def cells(of: Array) -> tuple[Array, Array, Array]:
        """Unit, class and number of pictures of each (unit, class) that occurs."""
        pairs, size = np.unique(member * classes + of, return_counts=True)
        return *np.divmod(pairs, classes), size

    def told(of: Array, size: Array) -> tuple[Array, Array]:
        """Number of units of each class ``[K]``, and equivalent number of equal size."""
        there, total, square = (np.bincount(of, size**k, minlength=classes) for k in range(3))
        return there, equal_units(total, square)

    unit, own, size = cells(judged.labels)
    whole = np.bincount(unit, size)
    rest = whole[unit] - size  # patients may have several classes; lesions have one
    only = np.bincount(own, rest == 0, minlength=classes)
    outside = len(member) - np.bincount(own, size, minlength=classes)
    square = (whole**2).sum() + np.bincount(own, rest**2 - whole[unit] ** 2, minlength=classes)
    each = (
        (len(whole), equal_units(whole.sum(), (whole**2).sum())),
        told(own, size),
        told(*cells(judged.guesses)[1:]),
        (len(whole) - only, equal_units(outside, square)),
    )
    counts, equal = (_Units(*column) for column in zip(*each, strict=True))
    return counts, equal


def _intervals(
    draws: Mapping[str, Array],
    values: Mapping[str, Array],
    units: _Units,
    level: float,
) -> tuple[dict[str, Interval], dict[str, Array]]:
    """Intervals of the single metrics, and ``[K, 2]`` of those of each class."""
    single: dict[str, Interval] = {}
    of_class: dict[str, Array] = {}
    for name, value in values.items():
        drawn = draws[name].T
        if units.count == 1:  # every draw is the same, which is not certainty
            drawn = np.full_like(drawn, np.nan)
        if value.ndim:
            ends = np.array([percentile_interval(d, level) for d in drawn])
            if name in _CLASS_SHARES:
                counts = getattr(units, _CLASS_SHARES[name])
                if name == "class_sensitivity":
                    # With few others the threshold is uncertain, however many pass it.
                    ends = widest(ends, wilson_intervals(value, counts, level=level))
                else:
                    ranked = name in _CLASS_RANKS
                    ends = with_width(ends, value, counts, level=level, ranked=ranked)
            of_class[name] = ends
        elif name != "ece":
            ends = np.array(percentile_interval(drawn, level))
            if name in _SHARES:
                ends = with_width(ends, value, np.array(units.count), level=level)
            elif name in _BEYOND_CHANCE and (units.predicted > 0).sum() == 1:
                ends = np.full(2, np.nan)  # 0 in every draw, which says nothing about others
            elif name in _BEYOND_CHANCE:
                # Not closer to 1 than without any mistake, or to -1 than with only mistakes: the
                # part beyond chance depends on the lesions that are not only of the most frequent
                # class.
                right = wilson_intervals(np.array(1.0), units.others.min(), level=level)[0]
                ends = widest(ends, np.array([right, -right]))
            single[name] = Interval(*ends.tolist())
    for name, each in _MEANS.items():
        of = _averaged(name, values[each], units)
        ends = of_class[each][of]
        if units.count > 1:  # a share of nothing, which is counted as 0
            ends = np.where(np.isnan(ends), [0.0, 1.0], ends)
        single[name] = mean_interval(values[each][of], ends, draws[each][:, of])
    return single, of_class


def _averaged(mean: str, values: Array, units: _Units) -> Array:
    """Which classes a mean is over ``[K]``."""
    if mean == "balanced_accuracy":
        return units.true > 0
    if mean in ("macro_precision", "macro_recall", "macro_f1"):
        return units.true + units.predicted > 0
    if mean == "auc" and len(values) == 2:
        # Both are the share of the same pairs that are in order, so they count once.
        return ~np.isnan(values) & [True, False]
    return ~np.isnan(values)


def _numbers(values: Mapping[str, Array]) -> dict[str, Any]:
    return {name: value if value.ndim else float(value) for name, value in values.items()}
