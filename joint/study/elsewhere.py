"""Trained runs of a study evaluated at other operating points: other light, rate or focus.

::

    done runs ──► system, test part ──point──► predictions ──► Outcome ─┐
                        ▲                                               ├─► estimate, compare
                        └── points: light, quality, distance, motion ───┘    at each point
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any, final

import torch

from classify import LesionDataset
from classify.metric_names import is_metric
from joint.caution import told_once
from joint.cells import aligned, as_csv
from joint.config.scenes import DataConfig
from joint.device import usable_device
from joint.judge.evaluate import evaluate
from joint.judge.evaluation import Evaluation
from joint.judge.metric import check_study_metric, stage_of
from joint.judge.point import OperatingPoint, operating
from joint.record import as_json
from joint.run.trained import load_run
from joint.saved.predictions import Predictions

from .axis import Design
from .findings.inference import Outcome
from .findings.statistics import Estimate, PairedDifference, adjusted, compare, estimate
from .findings.table import axis_cells, measured
from .ledger import Ledger, PlannedRun, StudyError
from .race_decision import race_note
from .scenes import scenes_now
from .space import levels_shown

__all__ = ["Elsewhere", "Place", "elsewhere"]


@final
@dataclass(frozen=True)
class Place:
    """Results of the designs of a study at one point."""

    point: OperatingPoint
    """Light, quality, distance and motion; None is the system's own value."""
    estimates: dict[int, Estimate]
    """Mean with interval for each design with an ended run and such a point, by its number."""
    contrasts: tuple[PairedDifference, ...]
    """The comparisons of the plan at this point. They are exploration, as the plan names no point.
    Their p and needed seeds are adjusted for their number."""
    outcomes: dict[int, list[Outcome]]
    """The runs of each design, for other comparisons; see :func:`joint.study.compare`."""
    bpp: dict[int, float] = field(default_factory=dict)
    """Bits per pixel of each design with a codec, mean over seeds, as
    :attr:`joint.Evaluation.bpp`."""


@final
@dataclass(frozen=True)
class Elsewhere:
    """Trained designs evaluated at several points."""

    metric: str
    level: float
    """Level of the intervals."""
    designs: dict[int, Design]
    """Levels of each design on the axes, by its number."""
    places: tuple[Place, ...]
    """Results for each requested point, in order."""
    left_out: dict[int, str] = field(default_factory=dict)
    """Why a design is left out at some of the points, by its number."""
    own_photons: dict[int, float] = field(default_factory=dict)
    """Photons/pixel with which each design was trained, by its number; empty if an axis sets them,
    as every row then shows them."""
    race: str | None = None
    """How many seeds the designs of a race have, and what that means for their means."""

    def __str__(self) -> str:
        points = [str(place.point) for place in self.places]
        table = [("", "design", *points)]
        for number, design in self.designs.items():
            cells = [self._cell(place, number) for place in self.places]
            table.append((str(number), levels_shown(design), *cells))
        lines = [
            f"exploration: {self.metric} of the trained designs, means with "
            f"{100 * self.level:g} % intervals",
            *aligned(table),
        ]
        lines += [f"  left out: design {n} {why}" for n, why in self.left_out.items()]
        lines += self._other_lamps()
        lines += [] if self.race is None else [f"  {self.race}"]
        for place in self.places if any(place.contrasts for place in self.places) else ():
            lines += ["", _at(place.point), *(indent(str(each), "  ") for each in place.contrasts)]
        return "\n".join(lines)

    def _other_lamps(self) -> list[str]:
        """Note that equal photons are not equal light, if designs were trained with different."""
        own = self.own_photons
        judged = any(place.point.photons is not None for place in self.places)
        if not judged or len(set(own.values())) < 2:
            return []
        least, most = min(own, key=lambda n: own[n]), max(own, key=lambda n: own[n])
        return [
            f"  photons: the same in all designs here, which were trained with {own[least]:.4g} "
            f"(design {least}) to {own[most]:.4g} (design {most}) per pixel: for as many photons, "
            f"design {least} needs a lamp {own[most] / own[least]:.3g} times as bright"
        ]

    def _cell(self, place: Place, number: int) -> str:
        found, bpp = place.estimates.get(number), place.bpp.get(number)
        if found is None or found.mean is None:
            return ""
        told = f"{found.mean:.4f}"
        if found.interval is not None:
            told += f" {found.interval:.4f}"
        rate = bpp is None or self.metric in ("bpp", "bpp_bytes")
        return told if rate else f"{told}, {bpp:.4g} bpp"

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
                    "point": place.point,
                    "designs": [
                        {"number": number, **vars(found), "bpp": place.bpp.get(number)}
                        for number, found in place.estimates.items()
                    ],
                    "comparisons": place.contrasts,
                }
                for place in self.places
            ],
            "left_out": [{"number": number, "why": why} for number, why in self.left_out.items()],
            "own_photons": [{"number": n, "photons": v} for n, v in self.own_photons.items()],
            "race": self.race,
        }
        return as_json(content)

    def to_json(self) -> str:
        """JSON of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """CSV with a row per design and point that it has; missing values are empty."""
        asked = {name: None for place in self.places for name in place.point.asked()}
        cells = [
            {
                "design": number,
                **axis_cells(self.designs[number]),
                **{name: getattr(place.point, name) for name in asked},
                self.metric: found.mean,
                "low": None if found.interval is None else found.interval.low,
                "high": None if found.interval is None else found.interval.high,
                "runs": found.count,
                "failed": found.failed,
                **({} if self.metric == "bpp" else {"bpp": place.bpp.get(number)}),
            }
            for place in self.places
            for number, found in place.estimates.items()
        ]
        return as_csv(cells)


def elsewhere(
    ledger: Ledger,
    points: Sequence[OperatingPoint],
    *,
    metric: str | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    resamples: int | None = None,
    data: Mapping[str, Path | str] | None = None,
) -> Elsewhere:
    """Evaluate all finished runs at other points, without training, and compare the designs.

    Use it for a camera trained in one light and used in another, or for a codec with several
    levels. Rows of the table are the conditions of training, columns those of use. All runs are
    tested on the test part of their own split, with the noise that a seed of
    :func:`joint.evaluate` gives each picture, so that runs with the same seed are pairs.

    Parameters
    ----------
    ledger : Ledger
        The study. Unfinished runs are left out; a failed run is an outcome, as in :func:`report`.
    points : sequence of joint.OperatingPoint
        Operating points; equal points are evaluated once. A design is left out, with a note, at
        points that it does not have, such as a distance without a lens, and if it has no stage for
        the metric.
    metric : str, optional
        One of :data:`STUDY_METRICS`; by default that of the plan.
    device : torch.device or str
        Device to compute on.
    batch_size : int
        Pictures per forward pass.
    resamples : int, optional
        Bootstrap resamples of the lesions; by default those of the plan.
    data : mapping, optional
        Where the files of the scenes are now, by the names of the settings, as in :func:`work`.

    Returns
    -------
    Elsewhere

    Raises
    ------
    ValueError
        For an unknown metric, without a point, or for a point that no design has.
    StudyError
        When no run is done, or one of them lacks the metric; when ``data`` names files that the
        scenes do not have, or that differ between designs.
    ConfigError, CheckpointError, OSError
        When a run or its scenes cannot be loaded, or the scenes are not those of the run.

    Warns
    -----
    UserWarning
        For a warning of a system at a point, such as a black level too low for the noise there:
        once for all runs.
    """
    metric = ledger.study.plan.metric if metric is None else metric
    check_study_metric(metric)
    if not points:
        raise ValueError("give at least one point, such as OperatingPoint(photons=30)")
    points = list(dict.fromkeys(points))
    states = ledger.states()
    if "done" not in states:
        raise StudyError(f"no run of {ledger.folder} is done yet: there is nothing to judge")
    found: list[dict[int, list[Outcome]]] = [{} for _ in points]
    bits: list[dict[int, list[float]]] = [{} for _ in points]
    scenes = scenes_now(ledger, data or {})
    device = usable_device(device)  # before anything is loaded
    axes = ledger.study.axes.values()
    light_is_chosen = any(axis.path == "system.sensor.photons" for axis in axes)
    own_photons: dict[int, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each pass warns again
        lacking = _lacking(ledger, points, metric, scenes)
    with told_once(by_number=True):
        for run, state in zip(ledger.runs, states, strict=True):
            has = [n for n, point in enumerate(points) if point not in lacking.get(run.design, {})]
            if state == "failed" and not ledger.is_machine_fault(run):
                for n in has:
                    found[n].setdefault(run.design, []).append(Outcome(run.seed, None))
            if state != "done" or not has:
                continue
            config, system, parts = load_run(ledger.path(run), data=scenes(ledger.config(run).data))
            system.to(device)
            if system.sensor is not None and not light_is_chosen:
                own_photons[run.design] = system.sensor.mean_photons
            results = [
                evaluate(
                    system,
                    parts.test,
                    objective=config.objective,
                    batch_size=batch_size,
                    count_bytes=metric == "bpp_bytes",
                    **points[n]._asdict(),
                )
                for n in has
            ]
            for n, result in zip(has, results, strict=True):
                outcome = _outcome(result, metric, run, parts.test.classes)
                found[n].setdefault(run.design, []).append(outcome)
                if result.bpp is not None:
                    bits[n].setdefault(run.design, []).append(result.bpp)
    plan = ledger.study.plan
    resamples = plan.resamples if resamples is None else resamples
    ended = sorted({number for own in found for number in own} | lacking.keys())
    return Elsewhere(
        metric,
        1 - plan.alpha,
        {number: ledger.designs[number] for number in ended},
        tuple(
            _place(ledger, point, own, bpp, metric, resamples)
            for point, own, bpp in zip(points, found, bits, strict=True)
        ),
        {n: _why(ledger.designs[n], there, points) for n, there in lacking.items()},
        own_photons,
        race_note(ledger),
    )


def _place(
    ledger: Ledger,
    point: OperatingPoint,
    own: dict[int, list[Outcome]],
    bpp: Mapping[int, Sequence[float]],
    metric: str,
    resamples: int,
) -> Place:
    """Estimates of the designs, and the comparisons of the plan, at one point."""
    plan = ledger.study.plan
    return Place(
        point,
        {
            number: estimate(own[number], metric=metric, level=1 - plan.alpha, resamples=resamples)
            for number in sorted(own)
        },
        adjusted(
            [
                compare(
                    own[pair.first],
                    own[pair.second],
                    metric=metric,
                    name=pair.name,
                    seeds=ledger.study.seeds,
                    alpha=plan.alpha,
                    resamples=resamples,
                )
                for pair in ledger.pairs()
                if pair.first in own and pair.second in own
            ]
        ),
        own,
        {number: sum(each) / len(each) for number, each in bpp.items()},
    )


def _lacking(
    ledger: Ledger,
    points: Sequence[OperatingPoint],
    metric: str,
    scenes: Callable[[DataConfig], LesionDataset],
) -> dict[int, dict[OperatingPoint, str]]:
    """Points at which a design has no metric, and why, before the first pass.

    Refuses a point at which no design has it.
    """
    needed = stage_of(metric)
    done = {run.design: run for run in ledger.done()}
    found: dict[int, dict[OperatingPoint, str]] = {}
    for number, run in done.items():
        _, system, _ = load_run(ledger.path(run), data=scenes(ledger.config(run).data))
        if needed is not None and getattr(system, needed) is None:
            found[number] = dict.fromkeys(points, f"without a {needed} there is no {metric}")
            continue
        for point in points:
            try:
                with operating(system, point):
                    pass
            except ValueError as error:
                found.setdefault(number, {})[point] = str(error)
    for point in points:
        if all(point in found.get(number, {}) for number in done):
            number = min(done)
            raise ValueError(
                f"design {number} ({levels_shown(ledger.designs[number])}): {found[number][point]}"
                + ("; no other design can either" if len(done) > 1 else "")
            )
    return found


def _why(design: Design, there: dict[OperatingPoint, str], points: Sequence[OperatingPoint]) -> str:
    """What a design lacks, and at which points."""
    where = "" if len(there) == len(points) else " at " + " and ".join(map(str, there))
    reasons = list(there.values())
    return f"({levels_shown(design)}){where}: {reasons[0]}"


def _outcome(result: Evaluation, metric: str, run: PlannedRun, classes: Sequence[str]) -> Outcome:
    """Outcome of a run at a point, as :func:`outcomes` reads it from files."""
    predictions = None
    if result.logits is not None:
        predictions = Predictions(
            tuple(classes), result.identifiers, result.groups, result.labels, result.logits
        )
    if is_metric(metric):
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
