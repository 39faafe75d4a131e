"""What a run can be judged by: a number of its report, or of its rate, fidelity and light."""

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
"""Numbers that a study can be judged by: those of a classification report, and of a run. So can
those of one class, such as ``recall.mel`` (:data:`classify.metric_names.CLASS_METRICS`), and the
terms of its objective, ``loss_`` and their names."""
TERM = "loss_"
"""What stands before the name of a term of an objective; its number is that before the weight."""


def is_study_metric(metric: str) -> bool:
    """Whether a study can be judged by this number."""
    return metric in _OF_A_RUN or is_metric(metric) or is_term(metric)


def is_term(metric: str) -> bool:
    """Whether a number is of a term of an objective, of the library's or of one's own."""
    return metric.startswith(TERM) and metric.removeprefix(TERM).isidentifier()


def lower_is_better(metric: str) -> bool:
    """Whether a smaller number is the better one."""
    return metric in (*LOWER_IS_BETTER, "loss", "bpp", "bpp_bytes") or is_term(metric)


def stage_of(metric: str) -> Literal["front_end", "codec", "classifier"] | None:
    """The stage without which no system has this number; None where each has it, or may."""
    if is_metric(metric) or metric == "loss_task":
        return "classifier"
    if metric in ("bpp", "bpp_bytes", "psnr", "ssim", "loss_rate", "loss_distortion"):
        return "codec"
    return "front_end" if metric in _OF_LIGHT else None


def scores_nothing(metric: str) -> bool:
    """Whether a run that failed has the score 0: a share of what it should have got right.

    Not of MCC and kappa, whose 0 is chance: a run that works may have less.
    """
    return is_metric(metric) and not lower_is_better(metric) and range_of(metric)[0] >= 0


def range_of(metric: str) -> tuple[float, float]:
    """Least and largest value that one of :data:`STUDY_METRICS` can have."""
    if is_metric(metric):
        return metric_names.range_of(metric)
    if metric in ("bpp", "bpp_bytes", *_OF_LIGHT):
        return 0.0, math.inf
    return (-1.0, 1.0) if metric == "ssim" else (-math.inf, math.inf)


def check_value(metric: str, value: float) -> None:
    """Refuse a bound of a number that never has it, such as 30 for a share of 0.3.

    Parameters
    ----------
    metric : str
        One of :data:`STUDY_METRICS`, or a number of a class.
    value : float
        What it shall be at least, or at most.

    Raises
    ------
    ValueError
        With what the number can be.
    """
    least, largest = range_of(metric)
    if least <= value <= largest:
        return
    can_be = f"from {least:g} to {largest:g}" if math.isfinite(largest) else f"{least:g} or more"
    percent = largest == 1 and 1 < abs(value) <= 100 and value / 100 >= least
    advice = f": for {value:g} % write {value / 100:g}" if percent else ""
    raise ValueError(f"{metric} is {can_be}, and never {value:g}{advice}")


def check_study_metric(metric: str) -> None:
    """Refuse a number that no study can be judged by."""
    if not is_study_metric(metric):
        raise ValueError(
            f"metric {metric!r} is unknown; use one of {', '.join(STUDY_METRICS)}, or that of a "
            f"class, NUMBER.CLASS, of {', '.join(CLASS_METRICS)}"
        )
