"""Refer pictures of some classes and leave the rest, with a cutoff chosen on validation pictures.

::

    validation logits [N, K], labels ──choose_cutoff──► Referral
    test logits, labels ──Referral.scores, .labels──► scores [N, 2] of refer and leave ──► report

In the report, the recall of ``refer`` is the sensitivity and its precision the positive predictive
value; those of ``leave`` are the specificity and the negative predictive value, with intervals.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import betaincinv, expit, logsumexp
from torch import Tensor

from .given import as_number, check_fields, check_names, check_number
from .intervals import equal_units, membership, unit_of
from .judged import judged_by
from .scores import Array, as_array, check_labels, check_scores, plain, warn_of_probabilities

__all__ = ["REFER_OR_LEAVE", "PredictiveValues", "Referral", "choose_cutoff", "predictive_values"]

REFER_OR_LEAVE = ("refer", "leave")
"""The two classes of a referral."""
# Log-odds that stand for infinite ones (impossible classes): beyond those of finite scores, but
# small enough for a double to represent small differences.
_CERTAIN = 1e9
# Fields of a referral that hold a number.
_NUMBERS = (
    "log_odds", "sensitivity", "specificity", "least", "assurance", "units", "equal_units"
)  # fmt: skip
_GOALS = ("sensitivity", "specificity")
_SHARES = (*_GOALS, "least", "assurance")


@dataclass(frozen=True)
class Referral:
    """A rule for which pictures to refer: those that the scores assign to some classes.

    Raises
    ------
    TypeError
        When a numeric field is not a number, or the classes are not names.
    ValueError
        When a class is unknown, all classes or none are to be referred, or a number is not finite.
    """

    positive: tuple[str, ...]
    """Classes to refer."""
    classes: tuple[str, ...]
    """All classes, in the order of the scores."""
    log_odds: float
    """Cutoff: a picture is referred if its log-odds of the classes to refer, against all others,
    are at least this."""
    sensitivity: float
    """Share of the pictures to refer that are referred, on the pictures it was chosen on."""
    specificity: float
    """Share of the other pictures that are left, on the same pictures."""
    goal: str
    """The required quantity: ``sensitivity`` or ``specificity``."""
    least: float
    """The required value of the goal."""
    assurance: float | None
    """Confidence that the goal is met on other pictures; None if it was required only on these."""
    units: int
    """Number of lesions, or pictures (see :attr:`unit`), that the goal was estimated from."""
    equal_units: float
    """Number of equal-sized units with the same information, which the assurance uses."""
    unit: str
    """``lesions`` where groups were given, else ``pictures``."""

    def __post_init__(self) -> None:
        for name in ("positive", "classes"):  # lists in JSON
            object.__setattr__(self, name, check_names(name, getattr(self, name)))
        _check_classes(self.classes, self.positive)
        for name in _NUMBERS:
            value = getattr(self, name)
            if name == "assurance" and value is None:
                continue
            number = as_number(name, value)
            if not math.isfinite(number):
                raise ValueError(f"{name} must be finite, not {value}")
            if name in _SHARES and not 0 <= number <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {value}")
            if name in ("units", "equal_units") and number < 0:
                raise ValueError(f"{name} must not be negative, not {value}")
        for name, known in (("goal", _GOALS), ("unit", ("lesions", "pictures"))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, not {value!r}")

    @property
    def cutoff(self) -> float:
        """Lowest summed probability of the classes to refer at which a picture is referred."""
        return float(expit(self.log_odds))

    def scores(self, logits: Array | Tensor) -> Array:
        """Return scores of ``refer`` and ``leave``; a picture is referred if the first is >= 0.

        Parameters
        ----------
        logits : array ``[N, K]``
            Class scores.

        Returns
        -------
        array ``[N, 2]``
            Log-odds relative to the cutoff, as logits; not probabilities.

        Raises
        ------
        ValueError
            When there are not K classes, or a row of scores is invalid
            (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        over = self._over(logits)
        return np.stack([over / 2, -over / 2], 1)

    def labels(self, labels: Array | Tensor) -> Array:
        """Return the labels of a referral: 0 for ``refer``, 1 for ``leave``.

        Parameters
        ----------
        labels : array of int ``[N]``
            True classes.

        Returns
        -------
        array of int ``[N]``
            0 for pictures to refer, 1 for the others.

        Raises
        ------
        ValueError
            When they are not indices ``[N]`` of these classes.
        """
        return np.where(self._positive()[self._known(labels)], 0, 1)

    def refers(self, logits: Array | Tensor) -> Array:
        """Return whether each picture is referred.

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
            When there are not K classes, or a row of scores is invalid
            (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        return self._over(logits) >= 0

    def shares(self, logits: Array | Tensor, labels: Array | Tensor) -> dict[str, float]:
        """Return the share of each class that is referred.

        Parameters
        ----------
        logits : array ``[N, K]``
            Class scores.
        labels : array of int ``[N]``
            True classes.

        Returns
        -------
        dict of str to float
            Nan for a class without pictures.

        Raises
        ------
        ValueError
            When there are not K classes, a row of scores is invalid
            (:class:`classify.scores.InvalidScores`), or there is not one label for each row.

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        refers, labels = self._over(logits) >= 0, self._known(labels)
        if len(refers) != len(labels):
            raise ValueError(f"{len(refers)} rows of scores need as many labels, not {len(labels)}")
        return {
            name: float(refers[labels == k].mean()) if (labels == k).any() else math.nan
            for k, name in enumerate(self.classes)
        }

    def _over(self, logits: Array | Tensor) -> Array:
        """Log-odds of each picture minus those of the cutoff ``[N]``."""
        over = over_cutoff(self, logits)
        warn_of_probabilities(as_array(logits), stacklevel=4)
        return over

    def _known(self, labels: Array | Tensor) -> Array:
        """Checked labels ``[N]``, indices of these classes."""
        labels = as_array(labels)
        if labels.ndim != 1:
            raise ValueError(f"labels must be [N], not {labels.shape}")
        check_labels(labels, len(self.classes))
        return labels

    def _positive(self) -> Array:
        return np.isin(self.classes, self.positive)

    def __str__(self) -> str:
        text = (
            f"refers pictures with a probability of {_or(self.positive)} of at least "
            f"{self.cutoff:.3g}: sensitivity {self.sensitivity:.3f}, specificity "
            f"{self.specificity:.3f} on the pictures it was chosen on"
        )
        if self.assurance is None:
            return text
        return (
            f"{text}; a {self.goal} of {self.least:g} holds on other pictures with a confidence of "
            f"{self.assurance:g} ({self.units} {self.unit}{_alike(self.units, self.equal_units)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return plain(asdict(self)) | {"cutoff": self.cutoff}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the referral that :meth:`to_dict` described.

        Parameters
        ----------
        values : mapping of str to object
            As read from JSON; the cutoff may be missing, since it follows from the log-odds. One
            that contradicts them is refused.

        Returns
        -------
        Referral

        Raises
        ------
        TypeError
            When ``values`` is not a mapping, a numeric field is not a number, or the classes
            are not names.
        ValueError
            When another field is missing, a field is unknown, the classes to refer are not some of
            the classes, a number is not finite or not a share, or the cutoff is not that of the
            log-odds.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"a referral must be a mapping, not {type(values).__name__}")
        names = [field.name for field in fields(cls)]
        check_fields("a referral", values, names, optional=("cutoff",))
        made = cls(**{name: values[name] for name in names})
        if "cutoff" in values:
            told = as_number("cutoff", values["cutoff"])
            if not math.isclose(told, made.cutoff, rel_tol=1e-6, abs_tol=1e-12):
                raise ValueError(
                    f"cutoff is {told:g}, but the log_odds of {made.log_odds:g} decide, whose "
                    f"cutoff is {made.cutoff:g}: change both, or leave the cutoff out"
                )
        return made


def over_cutoff(referral: Referral, logits: Array | Tensor) -> Array:
    """Log-odds of each picture minus those of the cutoff ``[N]``, without a warning."""
    scores = as_array(logits).astype(float)
    if scores.ndim != 2 or scores.shape[1] != len(referral.classes):
        raise ValueError(
            f"this referral takes scores [N, {len(referral.classes)}] of the classes "
            f"{', '.join(referral.classes)}, not {scores.shape}"
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
    """Choose the cutoff for referral on validation pictures.

    Of the cutoffs that reach the required sensitivity, this is the one with the highest
    specificity, or the other way round. It lies midway between two pictures, in log-odds.

    If the sensitivity is just reached on these pictures, about half of such cutoffs miss it on
    other pictures. With an ``assurance`` of 0.9, nine of ten reach it. The cutoff is then a
    tolerance limit (Wilks, Ann. Math. Stat. 12:91, 1941): the highest at which the lower end of the
    one-sided interval of Clopper and Pearson (Biometrika 26:404, 1934) reaches the goal. The
    interval counts lesions, not pictures; lesions of unequal sizes count as ``(sum n)^2 / sum n^2``
    of equal size (Kish, Survey Sampling, 1965).

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of validation pictures.
    labels : array of int ``[N]``
        Their true classes.
    classes : sequence of str
        Names of the K classes, in the order of the scores.
    positive : str or sequence of str
        Classes to refer.
    sensitivity, specificity : float
        Give one of them: the required value, above 0 and at most 1.
    assurance : float, optional
        Confidence that it is reached on other pictures of the same kind, between 0 and 1.
    groups : sequence, optional
        The lesion of each picture.

    Returns
    -------
    Referral

    Raises
    ------
    TypeError
        When ``assurance`` is not a number.
    ValueError
        When shapes, labels or scores do not fit, a class is unknown, all classes or none are to be
        referred, there are no pictures to refer or none to leave, not exactly one goal is given, or
        there are too few lesions for the assurance.

    Warns
    -----
    UserWarning
        When every picture is referred, or none. When each row of the scores sums to 1, as
        probabilities do.
    """
    classes, wanted = tuple(classes), (positive,) if isinstance(positive, str) else tuple(positive)
    _check_classes(classes, wanted)
    goal, least = _goal(sensitivity, specificity)
    assurance = None if assurance is None else as_number("assurance", assurance)
    if assurance is not None and not 0 < assurance < 1:
        raise ValueError(f"assurance must lie between 0 and 1, not {assurance}")
    scores = as_array(logits).astype(float)
    warn_of_probabilities(scores)
    labels = judged_by(scores, as_array(labels), classes).labels
    chosen = np.isin(classes, wanted)
    ill = chosen[labels]
    for there, which in ((ill, "to refer"), (~ill, "to leave")):
        if not there.any():
            raise ValueError(f"none of these {len(labels)} pictures is of a class {which}")
    odds = _log_odds(scores, chosen)
    # The lowest cutoff that keeps the specificity is the highest that keeps the sensitivity of the
    # opposite referral.
    sign, kept = (1, ill) if goal == "sensitivity" else (-1, ~ill)
    unit = unit_of(groups)
    sizes = np.unique(membership(groups, len(labels))[kept], return_counts=True)[1]
    equal = float(equal_units(sizes.sum(), (sizes**2).sum()))

    def sure(shares: Array) -> Array:
        return shares if assurance is None else _lower(shares, equal, assurance)

    cutoff = _highest(sign * odds, kept, least, sure)
    if cutoff is None:
        assert assurance is not None  # without one, some cutoff always reaches the goal
        alike, most = _alike(len(sizes), equal), sure(np.ones(1))[0]
        raise ValueError(
            f"{len(sizes)} {unit}{alike and f'{alike},'} cannot show a {goal} of {least:g} with "
            f"a confidence of {assurance:g}, but at most {most:.3f}, if all of them are correct: "
            f"{_needed(least, assurance)}"
        )
    cutoff *= sign
    refers = odds >= cutoff
    if refers.all() or not refers.any():
        warnings.warn(
            f"{'every' if refers.all() else 'no'} picture is referred: these scores do not "
            f"separate {_or(wanted)} from the rest at a {goal} of {least:g}",
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
    """Predictive values of a referral at one prevalence."""

    positive: float
    """Share of the referred pictures that are to be referred; nan if none is referred."""
    negative: float
    """Share of the pictures left that are to be left; nan if none is left."""
    referred: float
    """Share of all pictures that are referred."""


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> PredictiveValues:
    """Return the predictive values at another prevalence than the test pictures', by Bayes' rule.

    Parameters
    ----------
    sensitivity, specificity : float
        Sensitivity and specificity of the referral, 0..1.
    prevalence : float
        Share of the pictures that are to be referred, 0..1.

    Returns
    -------
    PredictiveValues

    Raises
    ------
    TypeError
        When one of them is not a number.
    ValueError
        When one of them does not lie in 0..1.
    """
    given = {"sensitivity": sensitivity, "specificity": specificity, "prevalence": prevalence}
    for name, value in given.items():
        check_number(name, value)
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
    """Log-odds of the positive classes against the others ``[N]``, rounded to keep ties."""
    own, other = (np.asarray(logsumexp(logits[:, k], axis=1)) for k in (positive, ~positive))
    return (own - other).clip(-_CERTAIN, _CERTAIN).round(9)


def _highest(
    odds: Array, kept: Array, least: float, sure: Callable[[Array], Array]
) -> float | None:
    """The highest cutoff at which the share of ``kept`` on or above it is ``sure`` enough."""
    own = np.sort(odds[kept])[::-1]
    candidates = np.unique(own)[::-1]
    shares = np.searchsorted(-own, -candidates, side="right") / len(own)
    enough = np.flatnonzero(sure(shares) >= least - 1e-12)  # tolerates rounding
    if len(enough) == 0:
        return None
    edge = candidates[enough[0]]
    below = odds[odds < edge]
    # Below all pictures, at half the odds of the last.
    return float(edge - math.log(2) if len(below) == 0 else (edge + below.max()) / 2)


def _lower(shares: Array, units: float, assurance: float) -> Array:
    """Lower end of the one-sided interval of Clopper and Pearson; none of these shares is 0."""
    right = shares * units
    return betaincinv(right, units - right + 1, 1 - assurance)


def _needed(least: float, assurance: float) -> str:
    if least >= 1:
        return "no number of them can; ask for less than 1"
    count = math.ceil(math.log(1 - assurance) / math.log(least))
    return f"ask for less, or use {count} of equal size"


def _goal(sensitivity: float | None, specificity: float | None) -> tuple[str, float]:
    goals = {"sensitivity": sensitivity, "specificity": specificity}
    asked = {name: value for name, value in goals.items() if value is not None}
    if len(asked) != 1:
        raise ValueError("give either a sensitivity or a specificity to reach")
    ((goal, least),) = asked.items()
    if not 0 < least <= 1:
        raise ValueError(f"{goal} must lie above 0 and be at most 1, not {least}")
    return goal, float(least)


def _check_classes(classes: tuple[str, ...], positive: tuple[str, ...]) -> None:
    for told, names in (("classes", classes), ("positive", positive)):
        if len(set(names)) < len(names):
            raise ValueError(f"{told} must be different names, not {', '.join(names)}")
    for name in positive:
        if name not in classes:
            raise ValueError(f"there is no class {name!r} among {', '.join(classes)}")
    if len(positive) not in range(1, len(classes)):
        raise ValueError(
            f"positive must name some of the classes {', '.join(classes)}, not "
            f"{'none' if not positive else 'all'} of them"
        )


def _alike(units: int, equal: float) -> str:
    return "" if equal == units else f", which count as {equal:.4g} of equal size"


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
