"""How good the epochs of a training are, and what is to be said of how it ended."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from joint.judge.metric import lower_is_better

from .history import EpochRecord
from .rate_weight import ON_TARGET

__all__ = ["grown", "missed", "ran_out", "score", "sizes"]

# Parameters are of the order of 1, or of their initial values: a hundred times that is only reached
# by steps that are too long, whatever is trained.
_GROWN = 100.0


def score(record: EpochRecord, *, monitor: str, target: float | None) -> tuple[float, float]:
    """How good an epoch is, to compare it with others of its run; larger is better.

    Parameters
    ----------
    record : EpochRecord
    monitor : str
        Name of the validation number that decides.
    target : float, optional
        Rate that the codec is to come to, bits per pixel.

    Returns
    -------
    (float, float)
        How near the rate is to its target, the same for all within 5 % of it, and then the
        monitor. A number that does not exist is worst.
    """
    near = -max(_off(record, target), ON_TARGET)  # within it, the monitor decides
    value = record.validation.get(monitor)
    if value is None:
        return near, -math.inf
    return near, -value if lower_is_better(monitor) else value


def missed(records: Sequence[EpochRecord], *, kept: int | None, target: float | None) -> str | None:
    """Warning about a training whose rate ended too far from its target, or None.

    Parameters
    ----------
    records : sequence of EpochRecord
        At least one: all epochs of a run that is over.
    kept : int, optional
        Index of the epoch whose weights are kept; None for the last.
    target : float, optional
        Rate that the codec was to come to, bits per pixel.
    """
    last = records[-1]
    chosen = last if kept is None else records[kept]
    if target is None or max(_off(chosen, target), _off(last, target)) <= ON_TARGET:
        return None
    rates = {e.epoch: e.validation.get("bpp") for e in (chosen, last)}
    told = ", ".join(
        f"{'none' if rate is None else format(rate, '.4g')} after epoch {number}"
        for number, rate in rates.items()
    )
    return (
        f"the rate was to end at {target:g} bits/pixel, and is {told} "
        f"(the weights kept are of epoch {chosen.epoch}): train for more epochs, as its weight "
        "needs time while the learning rate is high; or without a target, at a fixed weight "
        "near those of the history (rate_weight)"
    )


def sizes(parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Root mean square of each of the named parameters, of any shapes; none of one without any."""
    own = [p.detach() for p in parameters.values()]
    found = torch.stack([p.abs().float().square().mean().sqrt() for p in own]).tolist()
    named = zip(parameters, found, strict=True)
    return {name: size for name, size in named if math.isfinite(size)}  # not of none


def grown(before: Mapping[str, float], now: Mapping[str, float]) -> str | None:
    """Warning about parameters that have grown far beyond useful values, or None.

    Parameters
    ----------
    before, now : mapping of str to float
        :func:`sizes` of what learned, before the first step and at the end.
    """
    ratios = {n: now[n] / max(1.0, was) for n, was in before.items() if n in now}
    far = [name for name, ratio in ratios.items() if ratio > _GROWN]
    if not far:
        return None
    most = max(far, key=lambda name: ratios[name])
    others = f", and {len(far) - 1} others as much" if len(far) > 1 else ""
    return (
        f"{most} went from {before[most]:.3g} to {now[most]:.3g} (root mean square) in "
        f"training{others}: steps this long destroy the initial state of a stage, and the "
        "results are those of such a stage. Lower the learning rate of "
        f"{most.partition('.')[0]} (learning_rates)"
    )


def ran_out(patience: int | None, epochs: int, best: int | None) -> bool:
    """Whether ``patience`` has run out after so many epochs, of which one is the ``best``."""
    return patience is not None and best is not None and epochs - 1 - best >= patience


def _off(record: EpochRecord, target: float | None) -> float:
    """By which part of it the validation rate is off its target; 0 without one."""
    rate = record.validation.get("bpp")
    if target is None:
        return 0.0
    return math.inf if rate is None else abs(rate / target - 1)
