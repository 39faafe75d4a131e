"""Names of what a classification is judged by, of all classes or of one, and what they may be."""

import difflib
import math
from collections.abc import Callable, Sequence

from .scores import Array

__all__ = [
    "CLASS_COUNTED",
    "CLASS_METRICS",
    "CLASS_RANKED",
    "COUNTED",
    "LOWER_IS_BETTER",
    "METRICS",
    "RANKED",
    "Metric",
    "check_metric",
    "class_column",
    "is_metric",
    "of_class",
    "range_of",
]

Metric = str | Callable[[Array, Array], float]
"""A name from :data:`METRICS`, that of a class such as ``recall.mel``, or a function of logits
``[N, K]`` and labels ``[N]``."""

# Of counts of right, predicted and true rows, or of ranks; over all classes, and columns of each.
COUNTED = (
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
RANKED = ("auc", "average_precision", "sensitivity")
CLASS_COUNTED = ("precision", "recall", "f1", "specificity")
CLASS_RANKED = ("class_auc", "class_average_precision", "class_sensitivity")
LOWER_IS_BETTER = ("nll", "brier", "ece")
METRICS = (*COUNTED, *RANKED, *LOWER_IS_BETTER)
"""Names of the single numbers of a report."""
CLASS_METRICS = (*CLASS_COUNTED, *RANKED)
"""What there is of each class too: ``recall.mel`` is the recall of the class ``mel``."""
_RANGES = {
    "nll": (0.0, math.inf),
    "brier": (0.0, 2.0),
    "mcc": (-1.0, 1.0),  # 0 is chance, and less is worse
    "cohen_kappa": (-1.0, 1.0),
}


def class_column(name: str) -> str:
    """What the numbers of all classes are called, of one of :data:`CLASS_METRICS`."""
    return f"class_{name}" if name in RANKED else name


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
    if metric in (*CLASS_COUNTED, *CLASS_RANKED):
        mean = metric.removeprefix("class_") if metric in CLASS_RANKED else f"macro_{metric}"
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


def range_of(metric: str) -> tuple[float, float]:
    """Least and largest value that one of :data:`METRICS`, or that of a class, can have."""
    return _RANGES.get(metric, (0.0, 1.0))
