"""Losses of accuracy by stage, from light to label.

::

    real:   scene ─ optics ─ mosaic ─ shot noise ─ electronics ─ converter ─ codec ─ classifier
    ladder: all ideal ─► optics real ─► ... ─► codec real        (a step is the loss of the stage)
    alone:  all real, one of them ideal                          (the gain by an ideal stage)

The classifier is the same in every row, and so is the seed of a picture's noise. The noise itself
is the same only while all stages draw the same number of values: with ``shot_noise="poisson"`` that
depends on the light, and later stages get other noise. The classifier was trained behind the real
stages: an ideal stage may give pictures that it has never seen, and the loss may be negative.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch

from classify import LesionDataset
from classify.intervals import check_resampling
from joint.judge.evaluate import evaluate
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem
from optics import Sensor

from .scores import DrawnScores, Scores, signed

__all__ = ["LOSSES", "AccuracyLosses", "Loss", "Mended", "Omitted", "Step", "accuracy_losses"]

Loss = Literal["optics", "mosaic", "shot_noise", "electronics", "binning", "converter", "codec"]

#: Stages and effects that can be made ideal, in the order of the light.
LOSSES: tuple[Loss, ...] = get_args(Loss)


class Step(NamedTuple):
    """A step of the ladder: one more stage is real."""

    stage: Loss | None
    """The stage that becomes real; None if all are ideal."""
    scores: Scores
    lost: Scores
    """Loss of the step: the scores before it minus those after it."""


class Mended(NamedTuple):
    """The system with one ideal stage; all others are real."""

    stage: Loss
    scores: Scores
    gained: Scores
    """Its scores minus those of the real system."""
    interaction: Scores
    """Loss of the stage in the ladder minus the gain by making it ideal alone. Positive: other
    stages hide the gain, because they lose the same detail. Negative: the loss occurs only together
    with the others. 0 for all stages means that losses are additive."""


class Omitted(NamedTuple):
    """A stage that is real in every row, and the reason."""

    stage: Loss
    reason: str


@dataclass(frozen=True)
class AccuracyLosses(Record):
    """Accuracy between the ideal and the real camera, stage by stage."""

    ladder: tuple[Step, ...]
    """Steps from all ideal to all real: their losses add up to :attr:`lost`, exactly."""
    alone: tuple[Mended, ...]
    """The real system with one ideal stage, in the order of the light."""
    lost: Scores
    """Scores with all stages ideal minus those of the real system."""
    interaction: Scores
    """Total interaction: :attr:`lost` minus the sum of the gains by one ideal stage."""
    omitted: tuple[Omitted, ...]
    """Stages that stay real, with the reasons."""
    pictures: int
    level: float
    resamples: int

    def __str__(self) -> str:
        ladder = ("becomes real", "accuracy", "balanced", "lost (+ is worse)", "balanced lost")
        alone = (
            "ideal alone",
            "gained (+ is better)",
            "balanced gained",
            "interaction",
            "balanced",
        )
        rows = [
            f"{self.pictures} pictures; {100 * self.level:g} % intervals over lesions",
            "lost: scores before the stage is real minus after; gained: stage ideal minus all real",
            _row(*ladder),
        ]
        for stage, scores, lost in self.ladder:
            steps = ("", "") if stage is None else signed(lost)
            rows.append(_row(stage or "(all ideal)", *map(str, scores), *steps))
        rows += [_row("", "", "in all", *signed(self.lost)), _row(*alone)]
        for stage, _, gained, interaction in self.alone:
            rows.append(_row(stage, *signed(gained), *signed(interaction)))
        rows.append(_row("", "", "in all", *signed(self.interaction)))
        rows += [f"{stage} stays real: {reason}" for stage, reason in self.omitted]
        return "\n".join(rows)


def _row(name: str, *cells: str) -> str:
    return " ".join((f"{name:14}", *(f"{cell:23}" for cell in cells))).rstrip()


def accuracy_losses(
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    stages: Sequence[Loss] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> AccuracyLosses:
    """Replace the stages of a system by ideal ones, and measure the change of accuracy.

    The stages, and what an ideal one means:

    ========== ==================================================================================
    optics     the sensor measures the scene: no blur, all its light, one exposure
    mosaic     every pixel measures all colours (and so all of the light)
    shot_noise photons have no noise, as for infinite light
    electronics no read noise, dark current, fixed patterns or full well
    binning    every pixel is read by itself: the picture is larger
    converter  codes are not rounded; the range is the same
    codec      the classifier gets the measurement
    ========== ==================================================================================

    Parameters
    ----------
    system : ImagingSystem
        With a classifier. Neither it nor any of its stages is changed.
    dataset : LesionDataset
        Pictures that it was not trained on.
    stages : sequence of str, optional
        Stages to replace; by default all that the system has and that can be replaced, except
        binning, without which lesions would be larger than in training.
    batch_size : int
        Pictures per pass; there are two passes per stage and one more.
    seed : int
        Source of the noise, as in :func:`joint.evaluate`, and the same in all rows.
    resamples, level, generator
        Settings of the bootstrap; each resample has the same lesions in all rows.

    Returns
    -------
    AccuracyLosses
        The last row of the ladder is the real system, with the numbers of :func:`joint.evaluate`.

    Raises
    ------
    TypeError
        When ``system`` is not an ImagingSystem, or ``dataset`` not a LesionDataset.
    ValueError
        For a system without a classifier, or for a stage that it does not have, that cannot be
        replaced or is named twice.
    """
    check_kinds(system, dataset, wanted="accuracy")
    check_resampling(resamples, level)
    chosen, omitted = _chosen(system, stages)
    designs = [frozenset(chosen[k:]) for k in range(len(chosen) + 1)]
    designs += [frozenset((stage,)) for stage in chosen]
    # One stage: its ladder and its mending are the same system.
    found: dict[frozenset[Loss], int] = {}
    evaluations = []
    for ideal in designs:
        if ideal not in found:
            found[ideal] = len(evaluations)
            swapped = _idealised(system, ideal)
            evaluations.append(evaluate(swapped, dataset, batch_size=batch_size, seed=seed))
    drawn = DrawnScores(evaluations, resamples=resamples, level=level, generator=generator)
    rungs = [found[design] for design in designs[: len(chosen) + 1]]
    mended = [found[frozenset((stage,))] for stage in chosen]
    best, real = rungs[0], rungs[-1]
    ladder = [Step(None, drawn.combined([best]), drawn.combined([]))]
    alone = []
    for stage, before, after, ideal in zip(chosen, rungs, rungs[1:], mended, strict=False):
        ladder.append(Step(stage, drawn.combined([after]), drawn.combined([before], [after])))
        gained = drawn.combined([ideal], [real])
        interaction = drawn.combined([before, real], [after, ideal])
        alone.append(Mended(stage, drawn.combined([ideal]), gained, interaction))
    return AccuracyLosses(
        ladder=tuple(ladder),
        alone=tuple(alone),
        lost=drawn.combined([best], [real]),
        interaction=drawn.combined([best] + [real] * len(chosen), [real, *mended]),
        omitted=omitted,
        pictures=len(dataset),
        level=level,
        resamples=resamples,
    )


def _chosen(
    system: ImagingSystem, stages: Sequence[Loss] | None
) -> tuple[tuple[Loss, ...], tuple[Omitted, ...]]:
    there: list[Loss] = [stage for stage in LOSSES if _is_there(system, stage)]
    if stages is None:
        omitted = [Omitted("optics", why)] if (why := _obstacle(system)) else []
        if "mosaic" in there and (why := _mosaic_obstacle(system)):
            omitted.append(Omitted("mosaic", why))
        if "binning" in there:
            unlike = "without it lesions are larger than in training; name it to include it"
            omitted.append(Omitted("binning", _binning_obstacle(system) or unlike))
        kept = {row.stage for row in omitted}
        return tuple(s for s in there if s not in kept), tuple(omitted)
    named_once = set(stages) <= set(LOSSES) and len(set(stages)) == len(stages)
    if isinstance(stages, str) or not named_once:
        given = stages if isinstance(stages, str) else [*stages]
        raise ValueError(
            f"stages must be some of {', '.join(LOSSES)}, once each, such as ['codec'], not "
            f"{given!r}"
        )
    for stage in stages:
        why = _OBSTACLES[stage](system) if stage in _OBSTACLES else None
        if stage not in there or why:
            raise ValueError(f"{stage} cannot be made ideal: {why or 'the system has none'}")
    return tuple(stage for stage in there if stage in stages), ()


def _is_there(system: ImagingSystem, stage: Loss) -> bool:
    sensor = system.sensor
    match stage:
        case "optics":
            return system.front_end is not None
        case "codec":
            return system.codec is not None
        case "mosaic":
            return sensor is not None and sensor.cfa is not None
        case "shot_noise":
            return sensor is not None and sensor.shot_noise != "none"
        case "electronics":
            return sensor is not None and _has_electronics(sensor)
        case "binning":
            return sensor is not None and sensor.binning > 1
        case "converter":
            return sensor is not None and sensor.bit_depth is not None


def _obstacle(system: ImagingSystem) -> str | None:
    """Reason why the scene cannot replace the image of the front end, or None."""
    front = system.front_end
    if front is None or front.in_channels == front.out_channels:
        return None
    return (
        f"it makes {front.out_channels} channels from {front.in_channels}, and the next stages "
        "take no others"
    )


def _mosaic_obstacle(system: ImagingSystem) -> str | None:
    """Reason why a picture in full colour cannot replace the mosaic, or None."""
    mosaic = None if system.sensor is None else system.sensor.cfa
    if mosaic is None or mosaic.interpolates:
        return None
    return f"the next stages take the mosaic itself (demosaicing={mosaic.method!r})"


def _binning_obstacle(system: ImagingSystem) -> str | None:
    """Reason why single pixels cannot replace binned ones, or None."""
    if system.restoration is None:
        return None
    return "the restoration was trained on binned pixels, which it enlarges to those of the scene"


_OBSTACLES: dict[Loss, Callable[[ImagingSystem], str | None]] = {
    "optics": _obstacle,
    "mosaic": _mosaic_obstacle,
    "binning": _binning_obstacle,
}


def _has_electronics(sensor: Sensor) -> bool:
    maps = sensor.prnu_map is not None or sensor.dsnu_map is not None
    return sensor.read_noise > 0 or sensor.dark_current > 0 or maps or sensor.full_well is not None


def _idealised(system: ImagingSystem, ideal: frozenset[Loss]) -> ImagingSystem:
    """The system with ideal stages; it shares the others, and the sensor is a copy."""
    sensor = copy.deepcopy(system.sensor)
    if sensor is not None:
        for stage, change in _CHANGES.items():
            if stage in ideal:
                change(sensor)
        if sensor.read_noise == 0 or sensor.bit_depth is None:
            # The codes are the same; the dithered gradient needs read noise and rounding.
            sensor.converter = "straight_through"
    return system.replace(
        front_end=None if "optics" in ideal else system.front_end,
        sensor=sensor,
        codec=None if "codec" in ideal else system.codec,
    )


def _no_mosaic(sensor: Sensor) -> None:
    sensor.cfa = None


def _no_shot_noise(sensor: Sensor) -> None:
    sensor.shot_noise = "none"


def _no_electronics(sensor: Sensor) -> None:
    sensor.read_noise = sensor.dark_current = 0.0
    sensor.prnu_map = sensor.dsnu_map = sensor.full_well = None


def _no_binning(sensor: Sensor) -> None:
    sensor.rescale_gain(1 / sensor.binning**2)
    sensor.binning = 1


def _no_rounding(sensor: Sensor) -> None:
    # Without rounding one DN is the whole range.
    sensor.rescale_gain(sensor.top)
    sensor.black_level /= sensor.top
    sensor.top, sensor.bit_depth = 1, None


_CHANGES: dict[Loss, Callable[[Sensor], None]] = {
    "mosaic": _no_mosaic,
    "shot_noise": _no_shot_noise,
    "electronics": _no_electronics,
    "binning": _no_binning,
    "converter": _no_rounding,
}
