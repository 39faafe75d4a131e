"""The runs of a study judged elsewhere than where they were trained: other light, rate, focus.

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
from .race import race_told
from .space import Pair, levels_shown
from .store import Ledger, PlannedRun, StudyError
from .work import scenes_now

__all__ = ["Elsewhere", "Place", "elsewhere"]


@final
@dataclass(frozen=True)
class Place:
    """What the designs of a study come to at one point."""

    point: OperatingPoint
    """Light, quality, distance and motion; what is None there is the system's own."""
    estimates: dict[int, Estimate]
    """Of each design that has an ended run and such a point, by its number."""
    contrasts: tuple[PairedDifference, ...]
    """The comparisons of the plan, at this point: exploration, for the plan named no point. Their
    p and seeds are adjusted for how many they are."""
    outcomes: dict[int, list[Outcome]]
    """The runs of each design, for other comparisons; see :func:`joint.study.compare`."""
    bpp: dict[int, float] = field(default_factory=dict)
    """Bits per pixel of each design with a codec, a mean over seeds: as
    :attr:`joint.Evaluation.bpp`."""


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
    left_out: dict[int, str] = field(default_factory=dict)
    """Why a design is not judged at some of the points, by its number."""
    own_photons: dict[int, float] = field(default_factory=dict)
    """Photons/pixel with which each design was trained, by its number; empty where an axis chooses
    them, and every row says so."""
    race: str | None = None
    """How many seeds the designs of a race have, and what that makes of their means."""

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
            lines += ["", _at(place.point), *(f"  {contrast}" for contrast in place.contrasts)]
        return "\n".join(lines)

    def _other_lamps(self) -> list[str]:
        """That equal photons are not equal light, where the study says how the designs differ."""
        own = self.own_photons
        judged = any(place.point.photons is not None for place in self.places)
        if not judged or len(set(own.values())) < 2:
            return []
        least, most = min(own, key=lambda n: own[n]), max(own, key=lambda n: own[n])
        return [
            f"  photons: alike in all designs here, which were trained with {own[least]:.4g} "
            f"(design {least}) to {own[most]:.4g} (design {most}) of a pixel: to have as many, "
            f"design {least} takes a lamp {own[most] / own[least]:.3g} times as bright"
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
        """CSV with a row for each design at each point that it has; what is not there is empty."""
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
        Where they are judged; one that is there twice is judged once. A design that does not have
        some of them, as a distance without a lens, is left out there, which is said; and so is one
        without the stage that the metric is of.
    metric : str, optional
        One of :data:`STUDY_METRICS`; that of the plan by default.
    device : torch.device or str
        Where to compute.
    batch_size : int
        Pictures in one pass.
    resamples : int, optional
        Bootstrap resamples of the lesions; those of the plan by default.
    data : mapping, optional
        Where the files of the scenes lie now, by the names of the settings, as in :func:`work`.

    Returns
    -------
    Elsewhere

    Raises
    ------
    ValueError
        For an unknown metric, without a point, or for a point that no design has.
    StudyError
        When no run is done, or one of them lacks the metric; when the scenes have no such files,
        or designs have others.
    ConfigError, CheckpointError, OSError
        When a run or its scenes cannot be loaded, or they are others than those of the run.

    Warns
    -----
    UserWarning
        What a system says at a point, such as that its black level is too low for the noise there:
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
        warnings.simplefilter("ignore")  # each pass says it again
        lacking = _lacking(ledger, states, points, metric, scenes)
    with told_once(by_number=True):
        for run, state in zip(ledger.runs, states, strict=True):
            has = [n for n, point in enumerate(points) if point not in lacking.get(run.design, {})]
            if state == "failed" and not ledger.gave_up(run):
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
    level, plan = 1 - ledger.study.plan.alpha, ledger.study.plan
    resamples = plan.resamples if resamples is None else resamples
    ended = sorted({number for own in found for number in own} | lacking.keys())

    def of_pair(pair: Pair, own: dict[int, list[Outcome]]) -> PairedDifference:
        return compare(
            own[pair.first],
            own[pair.second],
            metric=metric,
            name=pair.name,
            seeds=ledger.study.seeds,
            alpha=plan.alpha,
            resamples=resamples,
        )

    places = tuple(
        Place(
            point,
            {
                number: estimate(own[number], metric=metric, level=level, resamples=resamples)
                for number in sorted(own)
            },
            adjusted(
                [of_pair(p, own) for p in ledger.pairs() if p.first in own and p.second in own]
            ),
            own,
            {number: sum(each) / len(each) for number, each in bpp.items()},
        )
        for point, own, bpp in zip(points, found, bits, strict=True)
    )
    return Elsewhere(
        metric,
        level,
        {number: ledger.designs[number] for number in ended},
        places,
        {n: _why(ledger.designs[n], there, points) for n, there in lacking.items()},
        own_photons,
        race_told(ledger),
    )


def _lacking(
    ledger: Ledger,
    states: Sequence[str],
    points: Sequence[OperatingPoint],
    metric: str,
    scenes: Callable[[DataConfig], LesionDataset],
) -> dict[int, dict[OperatingPoint, str]]:
    """Points at which a design has no such number, and why, before the first pass.

    Refuses one at which none has.
    """
    needed = stage_of(metric)
    done = {r.design: r for r, s in zip(ledger.runs, states, strict=True) if s == "done"}
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
    """What a design lacks, and where."""
    where = "" if len(there) == len(points) else " at " + " and ".join(map(str, there))
    reasons = list(there.values())
    return f"({levels_shown(design)}){where}: {reasons[0]}"


def _outcome(result: Evaluation, metric: str, run: PlannedRun, classes: Sequence[str]) -> Outcome:
    """What a run came to at a point: as :func:`outcomes` reads it from its files."""
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
