"""Refer some classes, leave the rest: a cutoff that is chosen on validation pictures.

::

    validation logits [N, K], labels ──choose_cutoff──► Referral
    test logits, labels ──Referral.scores, .labels──► scores [N, 2] of refer and leave ──► report

In the report, recall of ``refer`` is the sensitivity and its precision the positive predictive
value; those of ``leave`` are specificity and negative predictive value, with their intervals.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import betaincinv, expit, logsumexp
from torch import Tensor

from .calibration import as_number
from .intervals import equal_units, membership, unit_of
from .judged import judged_by
from .scores import Array, as_array, check_labels, check_scores, warn_of_probabilities

__all__ = ["REFER_OR_LEAVE", "PredictiveValues", "Referral", "choose_cutoff", "predictive_values"]

REFER_OR_LEAVE = ("refer", "leave")
"""The two classes of a referral."""
# Log-odds beyond which a double holds no probability.
_CERTAIN = 700.0
# Fields of a referral that hold one.
_NUMBERS = (
    "log_odds", "sensitivity", "specificity", "least", "assurance", "units", "equal_units"
)  # fmt: skip


@dataclass(frozen=True)
class Referral:
    """Which pictures to refer: those of some classes, as far as the scores tell.

    Raises
    ------
    TypeError
        When one of its numbers is none, or its classes are no names.
    ValueError
        When a class is unknown, all are to be referred, or none, or a number is not finite.
    """

    positive: tuple[str, ...]
    """Classes to refer."""
    classes: tuple[str, ...]
    """All classes, in the order of the scores."""
    log_odds: float
    """Of the classes to refer against all others, from which a picture is referred."""
    sensitivity: float
    """Share of the pictures to refer that are referred, of those it was chosen on."""
    specificity: float
    """Share of the others that are left, likewise."""
    goal: str
    """What was asked for: ``sensitivity`` or ``specificity``."""
    least: float
    """How much of it."""
    assurance: float | None
    """Confidence that it is kept elsewhere; None where it had to be kept on these pictures alone.
    """
    units: int
    """Lesions, or pictures as :attr:`unit` says, that the goal was judged by."""
    equal_units: float
    """As many of one size tell as much: what an assurance counts."""
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __post_init__(self) -> None:
        for name in ("positive", "classes"):  # lists in JSON
            object.__setattr__(self, name, as_names(name, getattr(self, name)))
        _check_classes(self.classes, self.positive)
        for name in _NUMBERS:
            value = getattr(self, name)
            if name == "assurance" and value is None:
                continue
            if not math.isfinite(as_number(name, value)):
                raise ValueError(f"{name} must be finite, not {value}")

    @property
    def cutoff(self) -> float:
        """The least probability of the classes to refer, all together, of a picture referred."""
        return float(expit(self.log_odds))

    def scores(self, logits: Array | Tensor) -> Array:
        """Scores of ``refer`` and ``leave``: a picture is referred where the first is not less.

        Parameters
        ----------
        logits : array ``[N, K]``
            Class scores.

        Returns
        -------
        array ``[N, 2]``
            Logarithms of the odds that the cutoff compares; no probabilities.

        Raises
        ------
        ValueError
            When there are not K classes, or a row of scores ranks none of them
            (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        over = self._over(logits)
        return np.stack([over / 2, -over / 2], 1)

    def labels(self, labels: Array | Tensor) -> Array:
        """Labels as a referral has them.

        Parameters
        ----------
        labels : array of int ``[N]``
            True classes.

        Returns
        -------
        array of int ``[N]``
            0 for pictures to refer, 1 for all others.

        Raises
        ------
        ValueError
            When they are not ``[N]`` numbers of these classes.
        """
        return np.where(self._positive()[self._known(labels)], 0, 1)

    def refers(self, logits: Array | Tensor) -> Array:
        """Whether each picture is referred.

        Parameters
        ----------
        logits : array ``[N, K]``
            Class scores.

        Returns
        -------
        array of bool ``[N]``

        Raises
        ------
        ValueError
            When there are not K classes, or a row of scores ranks none of them
            (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        return self._over(logits) >= 0

    def shares(self, logits: Array | Tensor, labels: Array | Tensor) -> dict[str, float]:
        """Share of each class that is referred.

        Parameters
        ----------
        logits : array ``[N, K]``
            Class scores.
        labels : array of int ``[N]``
            True classes.

        Returns
        -------
        dict of str to float
            nan of a class without pictures.

        Raises
        ------
        ValueError
            When there are not K classes, a row of scores ranks none of them
            (:class:`classify.scores.InvalidScores`), or the labels are not one of them for each.

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        refers, labels = self._over(logits) >= 0, self._known(labels)
        if len(refers) != len(labels):
            raise ValueError(f"{len(refers)} rows of scores need as many labels, not {len(labels)}")
        return {
            name: float(refers[labels == k].mean()) if (labels == k).any() else math.nan
            for k, name in enumerate(self.classes)
        }

    def _over(self, logits: Array | Tensor) -> Array:
        """By how much the log-odds of each picture exceed the cutoff ``[N]``."""
        over = over_cutoff(self, logits)
        warn_of_probabilities(as_array(logits), "give their logarithms", stacklevel=4)
        return over

    def _known(self, labels: Array | Tensor) -> Array:
        """Labels ``[N]`` that are numbers of these classes."""
        labels = as_array(labels)
        if labels.ndim != 1:
            raise ValueError(f"labels must be [N], not {labels.shape}")
        check_labels(labels, len(self.classes))
        return labels

    def _positive(self) -> Array:
        return np.isin(self.classes, self.positive)

    def __str__(self) -> str:
        text = (
            f"refers from a probability of {self.cutoff:.3g} of {_or(self.positive)}: sensitivity "
            f"{self.sensitivity:.3f}, specificity {self.specificity:.3f} on the pictures that it "
            "was chosen on"
        )
        if self.assurance is None:
            return text
        return (
            f"{text}; a {self.goal} of {self.least:g} is kept elsewhere with a confidence of "
            f"{self.assurance:g} ({self.units} {self.unit}{_alike(self.units, self.equal_units)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"cutoff": self.cutoff}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The referral that :meth:`to_dict` wrote down.

        Parameters
        ----------
        values : mapping of str to object
            As read from JSON; the cutoff, which follows from the log-odds, may be missing.

        Returns
        -------
        Referral

        Raises
        ------
        TypeError
            For no mapping, or when one of its numbers is none, or its classes are no names.
        ValueError
            When another of its fields is missing, there is a field that it does not have, the
            classes to refer are not some of them, or a number is not finite.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"a referral must be a mapping, not {type(values).__name__}")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in values]
        unknown = [name for name in values if name not in (*names, "cutoff")]
        if missing or unknown:
            raise ValueError(
                f"a referral has the fields {', '.join(names)}: missing are "
                f"{', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}"
            )
        return cls(**{name: values[name] for name in names})


def as_names(name: str, values: object) -> tuple[str, ...]:
    """Names of classes that are kept; neither their number nor one word, which has letters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be names, such as ('mel', 'nv'), not {values!r}")
    names = tuple(values)
    if not all(isinstance(each, str) for each in names):
        raise TypeError(f"{name} must be names, such as ('mel', 'nv'), not {names!r}")
    return names


def over_cutoff(referral: Referral, logits: Array | Tensor) -> Array:
    """By how much the log-odds of each picture exceed the cutoff ``[N]``, without a warning."""
    scores = as_array(logits).astype(float)
    if scores.ndim != 2 or scores.shape[1] != len(referral.classes):
        raise ValueError(
            f"this referral is of scores [N, {len(referral.classes)}] of the classes "
            f"{', '.join(referral.classes)}, not of {scores.shape}"
        )
    check_scores(scores)
    return _log_odds(scores, np.isin(referral.classes, referral.positive)) - referral.log_odds


def choose_cutoff(
    logits: Array | Tensor,
    labels: Array | Tensor,
    *,
    classes: Sequence[str],
    positive: str | Sequence[str],
    sensitivity: float | None = None,
    specificity: float | None = None,
    assurance: float | None = None,
    groups: Sequence[str] | None = None,
) -> Referral:
    """Choose the cutoff from which pictures are referred, on validation pictures.

    Of the cutoffs that keep the sensitivity, the one with the highest specificity, or the other way
    round. It lies in the middle between two pictures, in log-odds.

    A sensitivity that is just kept on these pictures is missed by half of all cutoffs that are
    chosen so. With an ``assurance`` of 0.9, nine of ten keep it: the cutoff is a tolerance limit
    (Wilks, Ann. Math. Stat. 12:91, 1941), the highest at which the lower end of the one-sided
    interval of Clopper and Pearson (Biometrika 26:404, 1934) is as high. Lesions count, not their
    pictures; of unequal sizes, as many of one size as would tell the same (Kish, Survey Sampling,
    1965): ``(sum n)^2 / sum n^2``.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
    labels : array of int ``[N]``
        Their true classes.
    classes : sequence of str
        Names of the K classes, in the order of the scores.
    positive : str or sequence of str
        Those to refer.
    sensitivity, specificity : float
        One of them: the least that is kept, above 0 and at most 1.
    assurance : float, optional
        Confidence that it is kept on other pictures of the same kind, between 0 and 1.
    groups : sequence, optional
        The lesion of each picture.

    Returns
    -------
    Referral

    Raises
    ------
    ValueError
        When shapes, labels or scores do not fit, a class is unknown, all are to be referred or
        none, there are no pictures of either kind, not one of the two goals was given, or these are
        too few lesions for it.

    Warns
    -----
    UserWarning
        When every picture is referred, or none. And for probabilities, each row of which sums to 1.
    """
    classes, wanted = tuple(classes), (positive,) if isinstance(positive, str) else tuple(positive)
    _check_classes(classes, wanted)
    goal, least = _goal(sensitivity, specificity)
    if assurance is not None and not 0 < assurance < 1:
        raise ValueError(f"assurance must lie between 0 and 1, not {assurance}")
    scores = as_array(logits).astype(float)
    warn_of_probabilities(scores, "give their logarithms")
    labels = judged_by(scores, as_array(labels), classes).labels
    chosen = np.isin(classes, wanted)
    ill = chosen[labels]
    for there, which in ((ill, "to refer"), (~ill, "to leave")):
        if not there.any():
            raise ValueError(f"none of these {len(labels)} pictures is of a class {which}")
    odds = _log_odds(scores, chosen)
    # The lowest cutoff that keeps the specificity is the highest that keeps the sensitivity, of
    # the opposite question.
    sign, kept = (1, ill) if goal == "sensitivity" else (-1, ~ill)
    unit = unit_of(groups)
    sizes = np.unique(membership(groups, len(labels))[kept], return_counts=True)[1]
    equal = float(equal_units(sizes.sum(), (sizes**2).sum()))

    def sure(shares: Array) -> Array:
        return shares if assurance is None else _lower(shares, equal, assurance)

    cutoff = _highest(sign * odds, kept, least, sure)
    if cutoff is None:
        assert assurance is not None  # without, some cutoff keeps anything
        alike, most = _alike(len(sizes), equal), sure(np.ones(1))[0]
        raise ValueError(
            f"{len(sizes)} {unit}{alike and f'{alike},'} cannot show a {goal} of {least:g} with "
            f"the confidence {assurance:g}, but {most:.3f} at most, as all of them are right: "
            f"{_needed(least, assurance)}"
        )
    cutoff *= sign
    refers = odds >= cutoff
    if refers.all() or not refers.any():
        warnings.warn(
            f"{'every' if refers.all() else 'no'} picture is referred: these scores do not tell "
            f"{_or(wanted)} from the rest at a {goal} of {least:g}",
            UserWarning,
            stacklevel=2,
        )
    return Referral(
        positive=wanted,
        classes=classes,
        log_odds=cutoff,
        sensitivity=float(refers[ill].mean()),
        specificity=float((~refers)[~ill].mean()),
        goal=goal,
        least=least,
        assurance=assurance,
        units=len(sizes),
        equal_units=equal,
        unit=unit,
    )


class PredictiveValues(NamedTuple):
    """What a referral says, where so many pictures are to be referred."""

    positive: float
    """Share of the referred that are to be referred; nan where none is referred."""
    negative: float
    """Share of those left that are to be left; nan where none is left."""
    referred: float
    """Share of all pictures that are referred."""


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> PredictiveValues:
    """Predictive values at another prevalence than that of the test pictures, by Bayes' rule.

    Parameters
    ----------
    sensitivity, specificity : float
        Of the referral, 0..1.
    prevalence : float
        Share of the pictures that are to be referred, 0..1.

    Returns
    -------
    PredictiveValues

    Raises
    ------
    ValueError
        When one of them does not lie in 0..1.
    """
    given = {"sensitivity": sensitivity, "specificity": specificity, "prevalence": prevalence}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in 0..1, not {value}")
    found, missed = prevalence * sensitivity, prevalence * (1 - sensitivity)
    spared, alarms = (1 - prevalence) * specificity, (1 - prevalence) * (1 - specificity)
    referred = found + alarms
    return PredictiveValues(
        found / referred if referred > 0 else math.nan,
        spared / (spared + missed) if spared + missed > 0 else math.nan,
        referred,
    )


def _log_odds(logits: Array, positive: Array) -> Array:
    """Of the positive classes against the others ``[N]``; rounded, so that equal ones stay so."""
    own, other = (np.asarray(logsumexp(logits[:, k], axis=1)) for k in (positive, ~positive))
    return (own - other).clip(-_CERTAIN, _CERTAIN).round(9)


def _highest(
    odds: Array, kept: Array, least: float, sure: Callable[[Array], Array]
) -> float | None:
    """The highest cutoff at which a share of the ``kept`` lies on or above it that is ``sure``."""
    own = np.sort(odds[kept])[::-1]
    candidates = np.unique(own)[::-1]
    shares = np.searchsorted(-own, -candidates, side="right") / len(own)
    enough = np.flatnonzero(sure(shares) >= least - 1e-12)  # by a rounding less is not less
    if len(enough) == 0:
        return None
    edge = candidates[enough[0]]
    below = odds[odds < edge]
    # Below all pictures, at half of the odds of the last.
    return float(edge - math.log(2) if len(below) == 0 else (edge + below.max()) / 2)


def _lower(shares: Array, units: float, assurance: float) -> Array:
    """Lower end of the one-sided interval of Clopper and Pearson; none of these shares is 0."""
    right = shares * units
    return betaincinv(right, units - right + 1, 1 - assurance)


def _needed(least: float, assurance: float) -> str:
    if least >= 1:
        return "no number of them can, ask for less than 1"
    count = math.ceil(math.log(1 - assurance) / math.log(least))
    return f"ask for less, or bring {count} of equal size"


def _goal(sensitivity: float | None, specificity: float | None) -> tuple[str, float]:
    goals = {"sensitivity": sensitivity, "specificity": specificity}
    asked = {name: value for name, value in goals.items() if value is not None}
    if len(asked) != 1:
        raise ValueError("give a sensitivity or a specificity to keep, one of them")
    ((goal, least),) = asked.items()
    if not 0 < least <= 1:
        raise ValueError(f"{goal} must lie above 0 and be at most 1, not {least}")
    return goal, float(least)


def _check_classes(classes: tuple[str, ...], positive: tuple[str, ...]) -> None:
    for name in positive:
        if name not in classes:
            raise ValueError(f"there is no class {name!r} among {', '.join(classes)}")
    if len(set(positive)) not in range(1, len(classes)):
        raise ValueError(
            f"positive must name some of the classes {', '.join(classes)}, not "
            f"{'none' if not positive else 'all'} of them"
        )


def _alike(units: int, equal: float) -> str:
    return "" if equal == units else f", which tell as much as {equal:.4g} of equal size"


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
