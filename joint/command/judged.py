"""What evaluate says of a run at one point, or at several: as text, as JSON, as rows of a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from classify import TauChoice
from classify.judged import METRICS, is_metric
from joint.cells import aligned
from joint.evaluation import Evaluation
from joint.metric import TERM
from joint.objective import TERMS
from joint.referral import Referred

__all__ = ["Judged", "at_a_glance", "summary"]

# What a report prints itself.
_IN_REPORT = ("accuracy", "balanced_accuracy", "macro_f1", "auc")

# What a table of several points has a column for, where the system has it.
_AT_A_GLANCE = (
    *_IN_REPORT, "tau", "adjusted_accuracy", "adjusted_balanced_accuracy",
    "cutoff", "referral_sensitivity", "referral_specificity",
    "bpp", "bpp_bytes", "psnr", "psnr_scene",
)  # fmt: skip

_WITH_INTERVAL = ("balanced_accuracy", "sensitivity", "specificity")


class Judged(NamedTuple):
    """A run at one point."""

    result: Evaluation
    choice: TauChoice | None
    """The adjustment of the scores, where one was asked for."""
    adjusted: Evaluation | None
    """The same pass with the adjusted scores."""
    referred: Referred | None = None
    """The same pass as a referral, where classes to refer were named."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able summary."""
        found = self.result.to_dict()
        if self.choice is not None and self.adjusted is not None:
            adjusted = self.adjusted.to_dict()["report"]
            found |= {"choice": self.choice.to_dict(), "adjusted": adjusted}
        return found if self.referred is None else found | {"referral": self.referred.to_dict()}

    def cells(self) -> dict[str, float]:
        """One row of a table: the point, each number that there is, and the ends of intervals.

        Numbers of adjusted scores are called ``adjusted_accuracy`` and so on.
        """
        found = dict(self.result.point.asked())
        for name, value in self.result.scalars().items():
            if value is not None:
                found[name] = value
            found |= _ends(self.result, name)
        found |= _reported(self.result, METRICS)
        if self.choice is not None and self.adjusted is not None:
            found["tau"] = self.choice.tau
            asked = (*METRICS, self.choice.metric, *self.choice.kept)
            own = _reported(self.adjusted, tuple(dict.fromkeys(asked)))
            found |= {f"adjusted_{key}": value for key, value in own.items()}
        return found if self.referred is None else found | self.referred.cells()

    def __str__(self) -> str:
        """Where it was judged, the reports, and the single numbers."""
        result, lines = self.result, []
        if result.point.asked():
            lines.append(f"at {result.point}:")
        if result.report is not None:
            lines.append(str(result.report))
        if self.choice is not None and self.adjusted is not None:
            chosen = f"\nadjusted, as chosen on the validation part: {self.choice}"
            lines += [chosen, str(self.adjusted.report)]
        if self.referred is not None:
            lines.append(f"\nreferred, as chosen on the validation part: {self.referred}\n")
        told = () if result.report is None else _IN_REPORT
        rest = {name: value for name, value in result.scalars().items() if name not in told}
        return "\n".join([*lines, summary(rest)])


def _ends(result: Evaluation, name: str) -> dict[str, float]:
    """The ends of the interval of a number, where it has one."""
    interval = None
    if result.report is not None and is_metric(name):
        interval = result.report.interval(name)
    return {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _reported(result: Evaluation, names: Sequence[str]) -> dict[str, float]:
    """Numbers of the report that exist, and the ends of their intervals."""
    if result.report is None:
        return {}
    found: dict[str, float] = {}
    for name in names:
        value = result.report.number(name)
        if math.isfinite(value):
            found |= {name: value, **_ends(result, name)}
    return found


def at_a_glance(judged: Sequence[Judged]) -> str:
    """The points of one run under each other, with the intervals of what is decided by."""
    rows = [each.cells() for each in judged]
    points = judged[0].result.point.asked()
    own = [f"{TERM}{name}" for name in judged[0].result.losses if name not in TERMS]
    names = [name for name in (*_AT_A_GLANCE, *own) if any(name in row for row in rows)]
    table = [[*points, *(name.replace("_", " ") for name in names)]]
    for row in rows:
        line = [f"{row[name]:.12g}" for name in points]
        for name in names:
            told = f"{row[name]:.4g}" if name in row else ""
            if name.endswith(_WITH_INTERVAL) and f"{name}_low" in row:
                told += f" [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
            line.append(told)
        table.append(line)
    return "\n".join(aligned(table))


def summary(scalars: Mapping[str, float | None]) -> str:
    """The single numbers that there are, a line each."""
    lines = [f"{name:<18} {value:.4f}" for name, value in scalars.items() if value is not None]
    return "\n".join(lines)
