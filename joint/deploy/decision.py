"""Decision rule of a run as a file, with the conditions for which it was chosen.

::

    evaluate RUN --save-rule FILE ──► DecisionRule, fitted at {run, views, photons, quality, ...}
    FILE, RUN ──► evaluate, predict, export: refuse other classes, warn of other conditions
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from classify import DecisionRule
from joint.caution import caution
from joint.config.front_ends import LensConfig, ShutterConfig, lens_of
from joint.config.run import RunConfig, SystemConfig
from joint.config.sensor import SensorConfig
from joint.judge.evaluation import Evaluation
from joint.judge.point import OperatingPoint
from joint.judge.view_average import Views
from joint.parse import parse_json
from joint.saved.checkpoint import write_atomically
from joint.settings import ConfigError

__all__ = ["load_rule", "place", "ruled", "save_rule", "tell_elsewhere"]


def place(config: RunConfig, point: OperatingPoint, views: Views) -> dict[str, Any]:
    """Conditions for which a rule is chosen or used, as plain data: run, views, operating point.

    Numbers that the point does not request are the system's own. None means that the system has no
    such number, or draws it for each picture.
    """
    here = OperatingPoint(**(_as_built(config.system).asked() | point.asked()))
    unknown = dict.fromkeys(OperatingPoint._fields)
    return {"run": config.digest(), "views": views, **unknown, **here.to_dict()}


def _as_built(system: SystemConfig) -> OperatingPoint:
    """The system's own operating point, as far as it is a single number."""
    front, sensor, codec = system.front_end, system.sensor, system.codec
    found: dict[str, float | None] = {}
    if isinstance(sensor, SensorConfig) and sensor.photon_range is None:
        found["photons"] = sensor.photons
    levels = getattr(codec, "levels", None)  # of a learned codec, which takes the middle one
    found["quality"] = getattr(codec, "quality", None) if levels is None else (levels - 1) / 2
    _, lens = lens_of(front)
    if isinstance(lens, LensConfig) and not lens.working_distances:
        found["distance"] = math.inf if lens.focus is None else lens.focus
    if isinstance(front, ShutterConfig):
        found["motion"] = front.motion
    return OperatingPoint(**found)


def tell_elsewhere(rule: DecisionRule, here: dict[str, Any]) -> None:
    """Warn if a rule is used under other conditions than it was chosen for.

    Parameters
    ----------
    rule : classify.DecisionRule
    here : dict
        Present conditions, of :func:`place`; missing ones are not compared.
    """
    others = [
        f"{name} {_words(rule.fitted[name])}, not {_words(now)}"
        for name, now in here.items()
        if name in rule.fitted and rule.fitted[name] != now
    ]
    if others:
        caution(
            f"the rule was chosen under other conditions ({'; '.join(others)}): its "
            "probabilities and its cutoff may be wrong here. Choose a rule for these conditions, "
            "or evaluate it under them, with lens2label evaluate"
        )


def _words(value: object) -> object:
    return "as built" if value is None else value


def ruled(result: Evaluation, rule: DecisionRule, *, resamples: int = 0) -> Evaluation:
    """The same results with the scores of a rule; the losses stay those of the original scores.

    Parameters
    ----------
    result : Evaluation
        Results with class scores.
    rule : classify.DecisionRule
        Rule for the same classes.
    resamples : int
        Bootstrap resamples behind the intervals of the new report; 0 for none.
    """
    assert result.logits is not None
    scores = rule.scores(result.logits)
    # The report is wanted for these scores, without a further decision.
    nothing = np.zeros(len(rule.classes))
    return replace(result, logits=scores).adjusted(nothing, resamples=resamples)


def save_rule(path: Path, rule: DecisionRule) -> None:
    """Write a rule as JSON; an existing file is replaced."""
    write_atomically(path, f"{json.dumps(rule.to_dict(), indent=2)}\n".encode())


def load_rule(path: Path) -> DecisionRule:
    """Read the rule that :func:`save_rule` wrote.

    Raises
    ------
    ConfigError
        When the file cannot be read, or holds something else.
    """
    try:
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError(f"it must be an object, not {type(values).__name__}")
        return DecisionRule.from_dict(values)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot read a decision rule from {path}: {error}; lens2label evaluate --save-rule "
            "writes one"
        ) from error
