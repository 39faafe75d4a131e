"""Names of the metrics of a classification, over all classes or of one, and their ranges."""

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
    "metric_name",
    "of_class",
    "range_of",
]

Metric = str | Callable[[Array, Array], float]
"""A name from :data:`METRICS`, a metric of one class such as ``recall.mel``, or a function of
logits ``[N, K]`` and labels ``[N]``."""

# From counts of correct, predicted and true rows, or from ranks; over all classes, and per class.
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
"""Names of the single metrics of a report."""
CLASS_METRICS = (*CLASS_COUNTED, *RANKED)
"""Metrics that also exist for one class: ``recall.mel`` is the recall of the class ``mel``."""
_RANGES = {
    "nll": (0.0, math.inf),
    "brier": (0.0, 2.0),
    "mcc": (-1.0, 1.0),  # 0 is chance; negative is worse
    "cohen_kappa": (-1.0, 1.0),
}


def class_column(name: str) -> str:
    """Name of the field with one of :data:`CLASS_METRICS` for all classes."""
    return f"class_{name}" if name in RANKED else name


def of_class(metric: str) -> tuple[str, str] | None:
    """Metric and class of a name such as ``recall.mel``; None for a metric over all classes."""
    name, _, of = metric.partition(".")
    return (name, of) if name in CLASS_METRICS and of else None


def is_metric(metric: str) -> bool:
    """Whether this names a single metric of a report, or one of :data:`CLASS_METRICS` of a class.

    Whether the class exists is checked by :func:`check_metric`.
    """
    return metric in METRICS or of_class(metric) is not None


def metric_name(metric: Metric) -> str:
    """Name of a metric in text and tables; for a function, its name."""
    return metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")


def check_metric(metric: Metric, classes: Sequence[str] | None = None) -> None:
    """Raise an error unless the name is a metric of a report, or of one of ``classes``."""
    if not isinstance(metric, str) and not callable(metric):
        raise ValueError(f"metric must be a name or a function, not {metric!r}")
    if not isinstance(metric, str) or metric in METRICS:
        return
    if metric in (*CLASS_COUNTED, *CLASS_RANKED):
        mean = metric.removeprefix("class_") if metric in CLASS_RANKED else f"macro_{metric}"
        name = metric.removeprefix("class_")
        raise ValueError(
            f"metric {metric!r} has one value per class; use {mean!r}, their mean, or the value of "
            f"one class, such as {f'{name}.{classes[0]}' if classes else f'{name}.NAME'!r}"
        )
    of = of_class(metric)
    if of is None:
        raise ValueError(
            f"metric {metric!r} is unknown; use one of {', '.join(METRICS)}, or METRIC.CLASS for "
            f"one class, with METRIC one of {', '.join(CLASS_METRICS)}"
        )
    if classes is not None and of[1] not in classes:
        unnamed = list(classes) == [str(number) for number in range(len(classes))]
        raise ValueError(
            f"metric {metric!r} names none of the {len(classes)} classes; use "
            f"{' or '.join(repr(f'{of[0]}.{name}') for name in _near(of[1], classes))}"
            + (" (classes are numbered: give their names with classes=)" if unnamed else "")
        )


def _near(name: str, classes: Sequence[str]) -> Sequence[str]:
    """Classes that may be meant: those with a similar beginning or spelling, else the first."""
    said = name.casefold()
    own = {each: each.casefold() for each in classes if each}
    begin = [each for each, low in own.items() if low.startswith(said) or said.startswith(low)]
    alike = difflib.get_close_matches(said, own.values(), n=1)
    return begin or [each for each, low in own.items() if low in alike] or classes[:10]


def range_of(metric: str) -> tuple[float, float]:
    """Smallest and largest possible value of a metric of :data:`METRICS` or of one class."""
    return _RANGES.get(metric, (0.0, 1.0))
