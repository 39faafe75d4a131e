"""Parts of the page on where accuracy is lost, what a picture costs, and robustness."""

from collections.abc import Iterator

from joint.analysis import (
    Perturbation,
    Scores,
    accuracy_losses,
    applicable,
    robustness,
    system_costs,
)
from joint.analysis.tolerancing.perturbation import KINDS
from joint.panel.dodged import Spread, dodged_figure
from joint.system import ImagingSystem

from .page import MISSING, Html, note, number, picture, table, with_interval
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged, measured, needed

__all__ = ["accuracy_lost", "costs", "imperfections", "small_sweeps"]


def accuracy_lost(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Accuracy from the ideal camera to the real one, stage by stage."""
    judged(run)
    system, _, shown = needed(scenes)
    with measured():
        found = accuracy_losses(system, shown, batch_size=how.batch_size, resamples=how.resamples)
    if not found.alone:
        raise NotHere("No stage before the classifier could lose accuracy.")
    where = f"{found.pictures} test pictures, {100 * found.level:g} % intervals over lesions"
    first, *steps = found.ladder
    missing = (MISSING, MISSING)
    yield table(
        ("becomes real", "accuracy", "balanced accuracy", "lost", "balanced lost"),
        [
            ("(all ideal)", *_scored(first.scores), *missing),
            *((_word(s.stage), *_scored(s.scores), *_scored(s.lost, "+.3f")) for s in steps),
            ("in all", *missing, *_scored(found.lost, "+.3f")),
        ],
        caption=f"From an ideal to the real camera, one stage after the other, fractions; {where}",
    )
    rungs = [step.scores for step in found.ladder]
    scores = {name: [getattr(rung, name) for rung in rungs] for name in Scores._fields}
    yield picture(
        dodged_figure(
            ["all ideal", *(f"+ {_word(step.stage)}" for step in steps)],
            {
                _word(name): Spread([s.value for s in each], [s.interval for s in each])
                for name, each in scores.items()
            },
            quantity="fraction",
            joined=True,
        ),
        shows="Accuracy while one stage after the other becomes real",
        caption="The classifier was trained behind the real stages. Pictures of an ideal stage may "
        "be unlike any it has seen, so the loss of a stage may be negative.",
    )
    yield table(
        ("ideal alone", "gained", "balanced gained"),
        [(_word(mended.stage), *_scored(mended.gained, "+.3f")) for mended in found.alone],
        caption=f"The real system with one stage ideal, fractions; {where}",
    )
    for stage, reason in found.omitted:
        yield note(f"{_word(stage)} is not replaced by an ideal one: {reason}")


def _word(name: str | None) -> str:
    return "" if name is None else name.replace("_", " ")


def costs(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Cost of one picture from light to label."""
    system, _, shown = needed(scenes)
    with measured():
        found = system_costs(
            system,
            shown,
            count_bytes=not how.quick,
            batch_size=how.batch_size,
            resamples=how.resamples,
        )
    yield table(
        ("one picture", "value", "unit"),
        [
            (
                name.replace("_", " "),
                number(value, ",.0f" if value == int(value) or value >= 1e4 else ",.4g"),
                unit,
            )
            for name, value, unit in found.rows()
            if value is not None
        ],
        caption=f"From light to label, mean of {found.pictures} test pictures",
    )


_LEVELS: dict[Perturbation, tuple[float, ...]] = {
    "defocus": (-0.5, 0.0, 0.5),
    "registration": (0.0, 0.5, 1.0),
    "colour_cast": (-0.5, 0.0, 0.5),
    "phase_error": (0.0, 0.3, 1.0),
    "kernel_error": (0.0, 0.1, 0.3),
}


def small_sweeps(system: ImagingSystem, channels: int) -> dict[Perturbation, tuple[float, ...]]:
    """A few levels of the main imperfections, of those that this camera can have.

    Photons are not raised above those of the camera.
    """
    possible = applicable(system, channels=channels)
    sweeps: dict[Perturbation, tuple[float, ...]] = {
        name: levels for name, levels in _LEVELS.items() if name in possible
    }
    if "photons" in possible:
        sweeps["photons"] = KINDS["photons"].levels(system)[:3]  # the fourth is above its own
    return sweeps


def imperfections(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Balanced accuracy against a few imperfections."""
    from joint.figure import robustness_figure  # noqa: PLC0415 - matplotlib

    judged(run)
    system, _, shown = needed(scenes)
    sweeps = small_sweeps(system, shown.channels)
    if not sweeps:
        raise NotHere("This system has no stage with an imperfection to vary.")
    with measured():
        found = robustness(
            system,
            shown,
            sweeps,
            devices=1,
            batch_size=how.batch_size,
            resamples=how.resamples,
        )
    yield picture(
        robustness_figure({run.name: found}),
        shows="Balanced accuracy against each imperfection",
        caption="One imperfection at a time; dotted: level of the system as it is. Random errors "
        "are those of one manufactured device.",
    )
    yield table(
        ("imperfection", "level", "unit", "balanced accuracy", "change"),
        [
            (
                curve.perturbation.replace("_", " "),
                f"{point.level:g}",
                curve.unit,
                with_interval(*point.scores.balanced_accuracy),
                with_interval(*point.change.balanced_accuracy, "+.3f"),
            )
            for curve in found.curves
            for point in curve.points
        ],
        caption=f"{found.pictures} test pictures, {100 * found.level:g} % intervals over lesions; "
        "changes are paired differences",
    )


def _scored(scores: Scores, form: str = ".3f") -> tuple[str, str]:
    one, other = (with_interval(score.value, score.interval, form) for score in scores)
    return one, other
