"""What evaluate says of a run at one point, or at several: as text, as JSON, as rows of a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from classify import DecisionRule, TauChoice
from classify.metric_names import LOWER_IS_BETTER, METRICS, is_metric
from joint.cells import aligned
from joint.judge.evaluation import Evaluation
from joint.judge.metric import TERM
from joint.judge.referral import Referred
from joint.objective import TERMS

__all__ = ["Judged", "at_a_glance", "summary"]

# What a report prints itself.
_IN_REPORT = ("accuracy", "balanced_accuracy", "macro_f1", "auc")

# What calibration is for, and what a bias or an adjustment changes too.
_CALIBRATION = (*LOWER_IS_BETTER, "accuracy", "balanced_accuracy")

# What a table of several points has a column for, where the system has it.
_AT_A_GLANCE = (
    *_IN_REPORT, "temperature", "calibrated_nll", "calibrated_ece",
    "tau", "adjusted_accuracy", "adjusted_balanced_accuracy",
    "by_rule_accuracy", "by_rule_balanced_accuracy", "by_rule_nll", "by_rule_ece",
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
    """The same pass with the adjusted scores, calibrated before where that was asked for."""
    referred: Referred | None = None
    """The same pass as a referral, where classes to refer were named."""
    calibrated: Evaluation | None = None
    """The same pass with calibrated scores, where that was asked for."""
    by_rule: Evaluation | None = None
    """The same pass with the scores of a rule that was saved earlier, where one was given."""
    rule: DecisionRule | None = None
    """All that was chosen, or given, together."""
    calibration: DecisionRule | None = None
    """Of that, what made the calibrated scores."""

    def variants(self) -> dict[str, Evaluation]:
        """The same pass with other scores, of those that were asked for."""
        names = ("calibrated", "adjusted", "by_rule")
        return {name: found for name in names if (found := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able summary."""
        found = self.result.to_dict()
        found |= {name: other.to_dict()["report"] for name, other in self.variants().items()}
        for name, part in (
            ("choice", self.choice),
            ("referral", self.referred),
            ("rule", self.rule),
        ):
            if part is not None:
                found[name] = part.to_dict()
        return found

    def cells(self) -> dict[str, float]:
        """One row of a table: the point, each number that there is, and the ends of intervals.

        Numbers of other scores are called ``adjusted_accuracy``, ``calibrated_ece`` and so on.
        """
        found = dict(self.result.point.asked())
        for name, value in self.result.scalars().items():
            if value is not None:
                found[name] = value
            found |= _ends(self.result, name)
        found |= _reported(self.result, METRICS)
        if self.rule is not None and {"calibrated", "by_rule"} & self.variants().keys():
            found["temperature"] = self.rule.temperature
        asked = METRICS
        if self.choice is not None:
            found["tau"] = self.choice.tau
            asked = tuple(dict.fromkeys((*asked, self.choice.metric, *self.choice.kept)))
        for name, other in self.variants().items():
            found |= {f"{name}_{key}": value for key, value in _reported(other, asked).items()}
        return found if self.referred is None else found | self.referred.cells()

    def __str__(self) -> str:
        """Where it was judged, the reports, and the single numbers."""
        result, lines = self.result, []
        if result.point.asked():
            lines.append(f"at {result.point}:")
        if result.report is not None:
            lines.append(str(result.report))
        if self.calibrated is not None:
            fitted = f"calibrated, as fitted on the validation part: {self.calibration}"
            lines += [f"\n{fitted}", "before -> after:"]
            lines += _before_and_after(result, self.calibrated)
        if self.by_rule is not None and self.rule is not None:
            scores = replace(self.rule, referral=None)  # whose cutoff stands below, by itself
            lines += [f"\nby the rule {scores}", str(self.by_rule.report)]
            lines += ["without -> with the rule:", *_before_and_after(result, self.by_rule)]
        if self.choice is not None and self.adjusted is not None:
            chosen = f"\nadjusted, as chosen on the validation part: {self.choice}"
            lines += [chosen, str(self.adjusted.report)]
        if self.referred is not None:
            how = "as chosen on the validation part" if self.by_rule is None else "by the rule"
            lines.append(f"\nreferred, {how}: {self.referred}")
        told = () if result.report is None else _IN_REPORT
        rest = {name: value for name, value in result.scalars().items() if name not in told}
        above = [*lines, ""] if lines else []  # apart from what is told of the scores
        return "\n".join([*above, summary(rest)])


def _before_and_after(before: Evaluation, after: Evaluation) -> list[str]:
    """Lines of how honest the probabilities of a pass are, and those of other scores."""
    assert before.report is not None
    assert after.report is not None
    return [
        f"{name.replace('_', ' '):<18} {before.report.number(name):.4f} -> "
        f"{after.report.number(name):.4f}"
        for name in _CALIBRATION
    ]


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
    """The single numbers that there are, a line each; the total of the losses once, as loss."""
    return "\n".join(
        f"{name:<18} {value:.4f}"
        for name, value in scalars.items()
        if value is not None and name != "loss_total"
    )
