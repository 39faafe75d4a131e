"""Metrics of a run: numbers of its classification report, rate, fidelity and light."""

import math
from typing import Literal

from classify import metric_names
from classify.metric_names import CLASS_METRICS, LOWER_IS_BETTER, METRICS, is_metric

__all__ = [
    "STUDY_METRICS",
    "TERM",
    "check_study_metric",
    "check_value",
    "is_study_metric",
    "is_term",
    "lower_is_better",
    "range_of",
    "scores_nothing",
    "stage_of",
]

_OF_LIGHT = ("throughput", "light_share")
_OF_A_RUN = ("loss", "bpp", "bpp_bytes", "psnr", "ssim", "psnr_scene", *_OF_LIGHT)
STUDY_METRICS = (*METRICS, *_OF_A_RUN)
"""Metrics of a study: those of a classification report, and of a run. Metrics of one class, such as
``recall.mel`` (:data:`classify.metric_names.CLASS_METRICS`), and terms of the objective, ``loss_``
and their name, can be used too."""
TERM = "loss_"
"""Prefix of the name of an objective's term as a metric; its value is unweighted."""


def is_study_metric(metric: str) -> bool:
    """Whether a study can use this metric."""
    return metric in _OF_A_RUN or is_metric(metric) or is_term(metric)


def is_term(metric: str) -> bool:
    """Whether a metric is a term of an objective, built-in or user-defined."""
    return metric.startswith(TERM) and metric.removeprefix(TERM).isidentifier()


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is better."""
    return metric in (*LOWER_IS_BETTER, "loss", "bpp", "bpp_bytes") or is_term(metric)


def stage_of(metric: str) -> Literal["front_end", "codec", "classifier"] | None:
    """The stage that a system needs for this metric; None if no stage is needed in general."""
    if is_metric(metric) or metric == "loss_task":
        return "classifier"
    if metric in ("bpp", "bpp_bytes", "psnr", "ssim", "loss_rate", "loss_distortion"):
        return "codec"
    return "front_end" if metric in (*_OF_LIGHT, "loss_penalty") else None


def scores_nothing(metric: str) -> bool:
    """Whether a failed run has the value 0, as for a share of correct results.

    False for MCC and kappa, whose 0 is chance: a working run may have less.
    """
    return is_metric(metric) and not lower_is_better(metric) and range_of(metric)[0] >= 0


def range_of(metric: str) -> tuple[float, float]:
    """Smallest and largest possible value of one of :data:`STUDY_METRICS`."""
    if is_metric(metric):
        return metric_names.range_of(metric)
    if metric in ("bpp", "bpp_bytes", *_OF_LIGHT):
        return 0.0, math.inf
    return (-1.0, 1.0) if metric == "ssim" else (-math.inf, math.inf)


def check_value(metric: str, value: float) -> None:
    """Refuse a bound outside the range of a metric, such as 30 for a share of 0.3.

    Parameters
    ----------
    metric : str
        One of :data:`STUDY_METRICS`, or a metric of a class.
    value : float
        Lower or upper bound.

    Raises
    ------
    ValueError
        With the range of the metric.
    """
    least, largest = range_of(metric)
    if least <= value <= largest:
        return
    can_be = f"from {least:g} to {largest:g}" if math.isfinite(largest) else f"{least:g} or more"
    percent = largest == 1 and 1 < abs(value) <= 100 and value / 100 >= least
    advice = f": for {value:g} % write {value / 100:g}" if percent else ""
    raise ValueError(f"{metric} is {can_be}, not {value:g}{advice}")


def check_study_metric(metric: str) -> None:
    """Refuse an unknown metric of a study."""
    if not is_study_metric(metric):
        raise ValueError(
            f"metric {metric!r} is unknown; use one of {', '.join(STUDY_METRICS)}, or METRIC.CLASS "
            f"with one of {', '.join(CLASS_METRICS)}"
        )
