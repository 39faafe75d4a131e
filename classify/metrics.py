"""What a claim about accuracy may say: one report, with intervals that resample lesions.

The numbers are those of :mod:`classify.judged`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

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
from .scores import Array, Kind, as_array, as_logits, class_names

__all__ = ["Interval", "Reliability", "Report", "bootstrap", "report"]

# Lesions of a class, under which its intervals cover less than they say; and those of its ranking.
_FEW, _FEW_RANKED = 10, 20
# Shares, of which Wilson's interval can be had; those of each class with what they are a share of.
_SHARES = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1")
# What is left of the accuracy beyond that of chance, over the most that can be left.
_BEYOND_CHANCE = ("mcc", "cohen_kappa")
_CLASS_RANKS = ("class_auc", "class_average_precision")
_CLASS_SHARES = {
    **dict.fromkeys(("recall", "f1"), "true"),
    "precision": "predicted",
    "specificity": "others",
    **dict.fromkeys(("class_auc", "class_average_precision", "class_sensitivity"), "pairs"),
}
# Means over classes, whose intervals are put together from those of the classes.
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
    """Share of the pictures that are classified rightly."""
    balanced_accuracy: float
    """Mean recall of the classes with pictures."""
    macro_precision: float
    """Mean precision of the classes that occur, each alike."""
    macro_recall: float
    """Mean recall of the classes that occur, each alike."""
    macro_f1: float
    """Mean F1 of the classes that occur, each alike."""
    macro_specificity: float
    """Mean of the specificities that exist, each class alike."""
    weighted_precision: float
    """Mean of the precisions, each class by its pictures."""
    weighted_recall: float
    """Mean of the recalls, each class by its pictures: the accuracy."""
    weighted_f1: float
    """Mean of the F1, each class by its pictures."""
    mcc: float
    """Matthews correlation of labels and predictions, -1..1, of K classes as Gorodkin (2004) has
    it: 0 is chance, and is said too where all labels or all predictions are one class."""
    cohen_kappa: float
    """Agreement beyond chance, -1..1 (Cohen, 1960); nan where all labels and all predictions are
    one class."""
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
    units: Array
    """Lesions of each class ``[K]``, or pictures, as :attr:`unit` says: its evidence."""
    others: Array
    """Those with pictures of other classes ``[K]``: what a ranking compares a class with."""
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
    """Confidence against accuracy."""
    level: float
    """Confidence level of the intervals."""
    unit: str
    """What the intervals resample: ``lesions`` where groups were given, else ``pictures``."""
    intervals: Mapping[str, Interval]
    """Of each single number but the ECE, where asked for.

    Where all draws agree, as on a part without a mistake, the accuracy and the weighted means have
    Wilson's interval over as many lesions: that the draws agree tells nothing of how far it is
    known. The lower end of MCC and kappa is never above Wilson's, without a mistake, for the
    lesions that are not of the commonest class alone, and the upper end never below the same with
    the other sign. Where all predictions are one class, MCC and
    kappa are 0 in every draw, whatever they are elsewhere: they have none (nan). Those of means
    over classes that are shares are put together from the classes' own, see
    :func:`classify.intervals.mean_interval`; a class that counts as 0 in such a mean as there is
    nothing to divide by, as its precision without a prediction, may have any share.
    The ECE has none: resampling adds noise to every bin, and its absolute value is never less, so
    that the draws lie above the number itself.
    """
    class_intervals: Mapping[str, Array]
    """``[K, 2]`` of each number of each class, over the draws that have one; where asked for.

    A draw without a picture of a class tells nothing of its recall and F1, one without a
    prediction of it nothing of its precision; nan where that holds for every draw. Where all
    draws agree, as for three lesions out of three, a share has Wilson's interval over the lesions
    that it is a share of, and F1 over those of the class; AUC, average precision and sensitivity
    over as many pairs as the rarer side has lesions, where the sensitivity always reaches as far.
    Of unequal sizes, as many lesions count as of one size would tell as much (Kish, 1965).
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
        """Which classes have too little evidence for their intervals, or none, in words.

        Returns
        -------
        list of str
            None of them a sentence: they begin in lower case, without a point.
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
                more = f" and {len(few) - 7} more" if len(few) > 7 else ""
                found.append(
                    f"fewer than {less_than} {self.unit} {where} {', '.join(few[:7])}{more}: "
                    f"{which} may be too narrow"
                )
        said = np.flatnonzero(self.confusion.sum(0))
        if self.intervals and len(said) == 1:
            found.append(
                f"all predictions are {self.classes[said[0]]}: MCC and kappa have no interval"
            )
        if self.absent:
            found.append(
                f"no pictures of {', '.join(self.absent)}: left out of balanced accuracy, AUC, AP "
                "and sensitivity"
            )
        return found

    def number(self, metric: str) -> float:
        """One of the numbers by its name.

        Parameters
        ----------
        metric : str
            One of :data:`classify.metric_names.METRICS`, or that of a class, such as
            ``recall.mel``. The recall and F1 of a class without pictures are nan here.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For another name, or a class that there is not.
        """
        check_metric(metric, self.classes)
        if metric in METRICS:
            return float(getattr(self, metric))
        column, place = self._of_class(metric)
        if self.support[place] == 0 and column in ("recall", "f1"):
            return math.nan
        return float(getattr(self, column)[place])

    def interval(self, metric: str) -> Interval | None:
        """The interval of such a number.

        Parameters
        ----------
        metric : str
            As of :meth:`number`.

        Returns
        -------
        Interval or None
            None where none was asked for, and of the ECE.

        Raises
        ------
        ValueError
            As :meth:`number`.
        """
        check_metric(metric, self.classes)
        if metric in METRICS:
            return self.intervals.get(metric)
        column, place = self._of_class(metric)
        if column not in self.class_intervals:
            return None
        return Interval(*self.class_intervals[column][place].tolist())

    def _of_class(self, metric: str) -> tuple[str, int]:
        """The field of a number of one class, and the place of that class in it."""
        name, _, of = metric.partition(".")
        return class_column(name), self.classes.index(of)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a number that does not exist is None."""
        return {name: plain(value) for name, value in asdict(self).items()}


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
    """Judge class scores against labels.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores, as ``kind`` says.
    labels : array of int ``[N]``
        True classes, indices into ``classes``.
    classes : sequence of str, optional
        Names of the K classes, in the order of the columns of ``logits``; by default their numbers.
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
        tell nothing, are nan. Printed, the report names the classes of fewer than 10 lesions; for
        AUC and average precision, of fewer than 20; and those beside which there are fewer than 20.
    level : float
        Confidence level of the intervals, in (0, 1).
    seed : int
        Source of the resampling where no ``generator`` is given.
    generator : torch.Generator, optional
        Source of the resampling.

    Raises
    ------
    ValueError
        When shapes, labels or groups do not fit, scores and labels are swapped, a score is not a
        number, probabilities do not sum to one, or ``level`` is not in (0, 1).

    Warns
    -----
    UserWarning
        For logits each row of which sums to 1, as probabilities do.
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
    """Lesions, or pictures where no groups are given, that numbers of each class rest on.

    How many they are, or how many of one size tell as much, see :func:`_units`.
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
        """Pairs of one lesion of the class and one of the others, none of them in two ``[K]``.

        The AUC is how likely such a pair is in order: each is evidence of its own.
        """
        return np.minimum(self.true, self.others)


def _units(member: Array, judged: Judged) -> tuple[_Units, _Units]:
    """How many lesions there are, and how many of one size tell as much.

    In a share of pictures a lesion of many outweighs the rest: :func:`equal_units`.
    """
    classes = judged.logits.shape[1]

    def cells(of: Array) -> tuple[Array, Array, Array]:
        """Unit, class and pictures of each pair of them that occurs."""
        pairs, size = np.unique(member * classes + of, return_counts=True)
        return *np.divmod(pairs, classes), size

    def told(of: Array, size: Array) -> tuple[Array, Array]:
        """The number of units of each class ``[K]``, and of equal ones."""
        there, total, square = (np.bincount(of, size**k, minlength=classes) for k in range(3))
        return there, equal_units(total, square)

    unit, own, size = cells(judged.labels)
    whole = np.bincount(unit, size)
    rest = whole[unit] - size  # patients may have several classes, lesions have one
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
    """Intervals of the single numbers, and ``[K, 2]`` of those of each class."""
    single: dict[str, Interval] = {}
    of_class: dict[str, Array] = {}
    for name, value in values.items():
        drawn = draws[name].T
        if units.count == 1:  # every draw is the same, which is no certainty
            drawn = np.full_like(drawn, np.nan)
        if value.ndim:
            ends = np.array([percentile_interval(d, level) for d in drawn])
            if name in _CLASS_SHARES:
                counts = getattr(units, _CLASS_SHARES[name])
                if name == "class_sensitivity":
                    # Few others do not tell where the threshold lies, however many pass it.
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
                ends = np.full(2, np.nan)  # 0 in every draw, whatever it is elsewhere
            elif name in _BEYOND_CHANCE:
                # No nearer to 1 than without a mistake, or to -1 than with mistakes alone: what is
                # beyond chance rests on the lesions that are not of the commonest class alone.
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
        # Both are the share of the same pairs that are in order, and count once.
        return ~np.isnan(values) & [True, False]
    return ~np.isnan(values)


def _numbers(values: Mapping[str, Array]) -> dict[str, Any]:
    return {name: value if value.ndim else float(value) for name, value in values.items()}


def plain(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """What JSON can hold of arrays, mappings and numbers; a number that is none is None."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
