"""The runs of a study judged elsewhere than where they were trained: other light, rate, focus.

::

    done runs ──► system, test part ──point──► predictions ──► Outcome ─┐
                        ▲                                               ├─► estimate, compare
                        └── points: light, quality, distance, motion ───┘    at each point
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch

from classify.judged import METRICS
from joint.analysis.record import plain
from joint.cells import aligned
from joint.device import usable_device
from joint.evaluate import evaluate
from joint.evaluation import Evaluation
from joint.folder import Predictions
from joint.metric import check_study_metric
from joint.point import OperatingPoint, operating
from joint.trained import load_run

from .axis import Design
from .findings.inference import Outcome
from .findings.statistics import Contrast, Estimate, compare, estimate
from .findings.table import measured
from .kept_scenes import KeptScenes
from .space import Pair
from .store import Ledger, PlannedRun, StudyError

__all__ = ["Elsewhere", "Place", "elsewhere"]


@final
@dataclass(frozen=True)
class Place:
    """What the designs of a study come to at one point."""

    point: OperatingPoint
    """Light, quality, distance and motion; what is None there is the system's own."""
    estimates: dict[int, Estimate]
    """Of each design that has an ended run, by its number."""
    contrasts: tuple[Contrast, ...]
    """The comparisons of the plan, at this point: exploration, for the plan named no point."""
    outcomes: dict[int, list[Outcome]]
    """The runs of each design, for other comparisons; see :func:`joint.study.compare`."""


@final
@dataclass(frozen=True)
class Elsewhere:
    """Designs, as they were trained, judged at several points."""

    metric: str
    level: float
    """Of the intervals."""
    designs: dict[int, Design]
    """What each chooses on the axes, by its number."""
    places: tuple[Place, ...]
    """One for each point that was asked for, in their order."""

    def __str__(self) -> str:
        points = [str(place.point) for place in self.places]
        table = [("", "design", *points)]
        for number, design in self.designs.items():
            levels = ", ".join(f"{name}={level}" for name, level in design.items())
            cells = [_cell(place.estimates.get(number)) for place in self.places]
            table.append((str(number), levels, *cells))
        lines = [
            f"{self.metric} of the trained designs, means with {100 * self.level:g} % intervals",
            *aligned(table),
        ]
        for place in self.places if any(place.contrasts for place in self.places) else ():
            lines += ["", _at(place.point), *(f"  {contrast}" for contrast in place.contrasts)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: a list of places, each with its point, its means and its comparisons."""
        content = {
            "metric": self.metric,
            "level": self.level,
            "designs": [
                {"number": number, "levels": design} for number, design in self.designs.items()
            ],
            "places": [
                {
                    "point": place.point.to_dict(),
                    "designs": [
                        {"number": number, **asdict(found)}
                        for number, found in place.estimates.items()
                    ],
                    "comparisons": [contrast.to_dict() for contrast in place.contrasts],
                }
                for place in self.places
            ],
        }
        return plain(content)

    def to_json(self) -> str:
        """JSON of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"


def elsewhere(
    ledger: Ledger,
    points: Sequence[OperatingPoint],
    *,
    metric: str | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    resamples: int | None = None,
) -> Elsewhere:
    """Judge every run that is done at other points, without training, and compare the designs.

    A camera trained in one light and used in another, or a codec of several levels at each of
    them: rows of a table are what the designs were trained for, its columns where they are used.
    All runs are shown the test part of their own split, with the noise that a seed of
    :func:`joint.evaluate` gives each picture, so that runs of one seed are pairs.

    Parameters
    ----------
    ledger : Ledger
        Runs that are not done are left out; one that failed is an outcome, as in :func:`report`.
    points : sequence of joint.OperatingPoint
        Where they are judged.
    metric : str, optional
        One of :data:`STUDY_METRICS`; that of the plan by default.
    device : torch.device or str
        Where to compute.
    batch_size : int
        Pictures in one pass.
    resamples : int, optional
        Bootstrap resamples of the lesions; those of the plan by default.

    Returns
    -------
    Elsewhere

    Raises
    ------
    ValueError
        For an unknown metric, without a point, or for a system that has no such point.
    StudyError
        When no run is done, or one of them lacks the metric.
    ConfigError, CheckpointError
        When a run cannot be loaded.
    """
    metric = ledger.study.plan.metric if metric is None else metric
    check_study_metric(metric)
    if not points:
        raise ValueError("give at least one point, such as OperatingPoint(photons=30)")
    states = ledger.states()
    if "done" not in states:
        raise StudyError(f"no run of {ledger.folder} is done yet: there is nothing to judge")
    found: list[dict[int, list[Outcome]]] = [{} for _ in points]
    scenes, device = KeptScenes(), usable_device(device)  # before anything is loaded
    _check_points(ledger, states, points, scenes)
    for run, state in zip(ledger.runs, states, strict=True):
        if state not in ("done", "failed"):
            continue
        made: list[Outcome] = [Outcome(run.seed, None)] * len(points)
        if state == "done":
            config, system, parts = load_run(ledger.path(run), data=scenes(ledger.config(run).data))
            system.to(device)
            results = [
                evaluate(
                    system,
                    parts.test,
                    objective=config.objective,
                    batch_size=batch_size,
                    count_bytes=metric == "bpp_bytes",
                    **point._asdict(),
                )
                for point in points
            ]
            made = [_outcome(each, metric, run, parts.test.classes) for each in results]
        for own, outcome in zip(found, made, strict=True):
            own.setdefault(run.design, []).append(outcome)
    level, plan = 1 - ledger.study.plan.alpha, ledger.study.plan
    resamples = plan.resamples if resamples is None else resamples
    ended = sorted({number for own in found for number in own})

    def of_pair(pair: Pair, own: dict[int, list[Outcome]]) -> Contrast:
        return compare(
            own[pair.first],
            own[pair.second],
            metric=metric,
            name=pair.name,
            alpha=plan.alpha,
            resamples=resamples,
        )

    places = tuple(
        Place(
            point,
            {
                number: estimate(own[number], metric=metric, level=level, resamples=resamples)
                for number in ended
            },
            tuple(of_pair(p, own) for p in ledger.pairs() if p.first in own and p.second in own),
            own,
        )
        for point, own in zip(points, found, strict=True)
    )
    return Elsewhere(metric, level, {n: ledger.designs[n] for n in ended}, places)


def _check_points(
    ledger: Ledger,
    states: Sequence[str],
    points: Sequence[OperatingPoint],
    scenes: KeptScenes,
) -> None:
    """Refuse a point that a design does not have, before the first pass."""
    done = {r.design: r for r, s in zip(ledger.runs, states, strict=True) if s == "done"}
    for number, run in done.items():
        _, system, _ = load_run(ledger.path(run), data=scenes(ledger.config(run).data))
        for point in points:
            try:
                with operating(system, point):
                    pass
            except ValueError as error:
                levels = ", ".join(f"{k}={v}" for k, v in ledger.designs[number].items())
                raise ValueError(f"design {number} ({levels}): {error}") from error


def _outcome(result: Evaluation, metric: str, run: PlannedRun, classes: Sequence[str]) -> Outcome:
    """What a run came to at a point: as :func:`outcomes` reads it from its files."""
    predictions = None
    if result.logits is not None:
        predictions = Predictions(
            tuple(classes), result.identifiers, result.groups, result.labels, result.logits
        )
    if metric in METRICS:
        value = None if predictions is None else measured(predictions, metric)
    else:
        value = result.scalars().get(metric)
    if value is None or not math.isfinite(value):
        raise StudyError(
            f"run {run.digest} has no {metric} {_at(result.point)}: choose another metric"
        )
    return Outcome(run.seed, value, predictions)


def _at(point: OperatingPoint) -> str:
    return f"at {point}" if point.asked() else str(point)


def _cell(found: Estimate | None) -> str:
    if found is None or found.mean is None:
        return ""
    if found.interval is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} [{found.interval.low:.4f}, {found.interval.high:.4f}]"
