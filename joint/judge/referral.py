"""Evaluation of a referral: its cutoff is chosen on one part and evaluated on another."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from classify import PredictiveValues, Referral, predictive_values
from joint.record import as_json

from .evaluation import Evaluation

__all__ = ["Referred"]

# Metrics of a referral, and their names in a report of its two classes.
_RATES = {
    "sensitivity": "recall.refer",
    "specificity": "recall.leave",
    "positive_predictive_value": "precision.refer",
    "negative_predictive_value": "precision.leave",
}


class Referred(NamedTuple):
    """Result of a referral cutoff."""

    referral: Referral
    """The cutoff, as chosen on the validation part."""
    result: Evaluation
    """The results as a referral, :meth:`joint.Evaluation.referred`."""
    shares: Mapping[str, float]
    """Share of each class that is referred."""
    prevalence: float | None
    """Another prevalence of pictures to refer, for the predictive values."""

    def to_dict(self) -> dict[str, Any]:
        """A summary for JSON; NaN becomes None."""
        found: dict[str, Any] = {"chosen": self.referral.to_dict()}
        rates = self._rates()
        found |= as_json(rates)
        found["intervals"] = {name: self._ends(name) for name in rates if self._ends(name)}
        found["referred"] = as_json(self.shares)
        if self.prevalence is not None:
            found["prevalence"] = self.prevalence
            found["at_prevalence"] = as_json(self._elsewhere())
        return found

    def cells(self) -> dict[str, float]:
        """Numbers of a table row, with the limits of their intervals."""
        found = {"cutoff": self.referral.cutoff}
        for name, rate in self._rates().items():
            if math.isfinite(rate):
                found[f"referral_{name}"] = rate
            if ends := self._ends(name):
                found |= {f"referral_{name}_low": ends[0], f"referral_{name}_high": ends[1]}
        return found

    def __str__(self) -> str:
        lines = [str(self.referral)]
        for name, rate in self._rates().items():
            line = f"{name.replace('_', ' '):<26} {rate:.3f}"
            if ends := self._ends(name):
                line += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
            lines.append(line)
        of = ", ".join(f"{name} {share:.2f}" for name, share in self.shares.items())
        lines.append(f"referred of each class: {of}")
        if self.prevalence is not None:
            there = self._elsewhere()
            lines.append(
                f"at a prevalence of {self.prevalence:g}: refers {there.referred:.3f} of all, "
                f"predictive values {there.positive:.3f} positive, {there.negative:.4f} negative"
            )
        assert self.result.report is not None
        return "\n".join([*lines, *self.result.report.cautions()])

    def _rates(self) -> dict[str, float]:
        """Rates by name; the predictive value of an empty group is NaN."""
        report = self.result.report
        assert report is not None
        said = report.confusion.sum(0)
        found = {name: report.number(number) for name, number in _RATES.items()}
        for name, count in zip(list(_RATES)[2:], said, strict=True):
            if count == 0:
                found[name] = math.nan
        return found

    def _ends(self, name: str) -> list[float] | None:
        assert self.result.report is not None
        interval = self.result.report.interval(_RATES[name])
        if interval is None or not all(map(math.isfinite, interval)):
            return None
        return [interval.low, interval.high]

    def _elsewhere(self) -> PredictiveValues:
        rates = self._rates()
        assert self.prevalence is not None
        sensitivity, specificity = rates["sensitivity"], rates["specificity"]
        if not (math.isfinite(sensitivity) and math.isfinite(specificity)):
            return PredictiveValues(math.nan, math.nan, math.nan)  # one of the two has no picture
        return predictive_values(sensitivity, specificity, self.prevalence)
