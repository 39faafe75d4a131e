"""Parts of the page that the folder of a run tells by itself."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from classify import Report

from .draw import history_figure
from .page import MISSING, Html, details, note, picture, table, with_interval
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged
from .words import configuration_words

__all__ = ["by_chance", "classification", "training", "what_it_is"]


def what_it_is(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Configuration in words, and where it ran."""
    rows = [*configuration_words(run.config)]
    best = run.result.get("best_epoch")
    if isinstance(best, int):
        early = ", stopped before its end" if run.result.get("stopped_early") else ""
        rows.append(
            ("came to", f"{run.result.get('epochs')} epochs, the best is {best + 1}{early}")
        )
    rows.append(("test part", f"{run.test.get('count')} pictures"))
    yield table(("part", "what it is"), rows, words=True)
    if run.environments:
        names = list(dict.fromkeys(name for each in run.environments for name in each))
        where = ["value"]
        if len(run.environments) > 1:
            where = ["began", *(f"went on ({n})" for n in range(1, len(run.environments)))]
        yield table(
            ("environment", *where),
            [
                (name.replace("_", " "), *(_said(each.get(name)) for each in run.environments))
                for name in names
            ],
            words=True,
        )
    else:
        yield note("Nothing says where it ran: environment.json is missing.")
    asked = json.dumps(_without_folders(run.config.model_dump()), indent=2)
    yield details(f"Configuration, digest {run.config.digest()}", asked)


def _without_folders(value: object) -> object:
    """Settings for JSON; of a path its name alone, as folders may name persons."""
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    return value.name if isinstance(value, Path) else value


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else str(value)


def training(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Curves of the epochs."""
    if not run.history:
        raise NotHere("history.jsonl is missing or empty.")
    best, monitor = run.result.get("best_epoch"), run.config.training.monitor
    yield picture(
        history_figure(run.history, best=best, monitor=monitor),
        shows="Training curves: loss, validation, gradient norms, each against the epoch",
        caption="Training numbers are means over the epoch, on augmented views and while the "
        "weights change; validation numbers are those after it. Gradient norms are means over the "
        "steps, before clipping.",
    )


_SINGLE = (
    ("accuracy", "fraction"),
    ("balanced_accuracy", "fraction"),
    ("macro_f1", "fraction"),
    ("mcc", "-1 to 1"),
    ("cohen_kappa", "-1 to 1"),
    ("auc", "fraction"),
    ("average_precision", "fraction"),
    ("sensitivity", "fraction"),
    ("nll", "nats"),
    ("brier", "0 to 2"),
    ("ece", "fraction"),
)


def classification(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Numbers of the predictions, each class, confusion and reliability."""
    from joint.figure import report_figure  # noqa: PLC0415 - matplotlib

    report = judged(run)
    yield table(
        ("test part", "value [interval]", "unit"),
        [
            (
                _label(name, report),
                with_interval(getattr(report, name), report.intervals.get(name)),
                unit,
            )
            for name, unit in _SINGLE
        ],
    )
    yield from map(note, by_chance(report.classes, report.support.tolist()))
    columns = ("recall", "precision", "f1", "specificity", "class_auc", "class_sensitivity")
    evidence = {"pictures": report.support, report.unit: report.units}  # one column or two
    yield table(
        ("class", *evidence, *(_label(name, report) for name in columns)),
        [
            (
                name,
                *(f"{counts[k]}" for counts in evidence.values()),
                *(
                    with_interval(_number(report, c, k), _of_class(report, c, k), ".2f")
                    for c in columns
                ),
            )
            for k, name in enumerate(report.classes)
        ],
        caption="Each class, fractions",
    )
    words = "No intervals were asked for."
    if report.intervals:
        words = (
            f"[low, high]: {100 * report.level:g} % intervals, resampling {report.unit}. "
            "The calibration error has none: resampling adds noise to every bin."
        )
    yield note(words)
    yield from (note(f"{told[0].upper()}{told[1:]}.") for told in report.cautions())
    yield picture(
        report_figure(report),
        shows="Confusion matrix and reliability diagram",
        caption="Left: what was taken for what; shade by share of the true class, number by count. "
        "Right: how often predictions of a confidence are right; bars below the diagonal are too "
        "sure. Lines are Wilson intervals, for which each picture is evidence of its own.",
    )


def by_chance(classes: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    """What numbers come to where no picture is looked at, in a sentence; of one class nothing.

    ``counts`` are the pictures of each class in the test part.
    """
    there, most = sum(count > 0 for count in counts), max(counts)
    if there > 1:
        yield (
            f"By chance: who always says {classes[counts.index(most)]}, the commonest class of the "
            f"test part, has an accuracy of {most / sum(counts):.3f}, a balanced accuracy of "
            f"1/{there} = {1 / there:.3f}, and an MCC and a kappa of 0; who guesses has an AUC of "
            "0.5."
        )


def _label(name: str, report: Report) -> str:
    if name.endswith("sensitivity"):
        return f"sensitivity at specificity {report.at_specificity:g}"
    known = {"auc": "AUC", "class_auc": "AUC", "f1": "F1", "macro_f1": "macro F1"}
    known |= {"mcc": "Matthews correlation (MCC)", "cohen_kappa": "Cohen's kappa"}
    known |= {"nll": "negative log-likelihood", "brier": "Brier score", "ece": "calibration error"}
    return known.get(name, name.replace("_", " "))


def _number(report: Report, name: str, k: int) -> float:
    """That of a class; of one without pictures no recall and F1, as there is nothing to find."""
    return report.number(f"{name.removeprefix('class_')}.{report.classes[k]}")


def _of_class(report: Report, name: str, k: int) -> tuple[float, float] | None:
    found = report.class_intervals.get(name)
    return None if found is None else (float(found[k][0]), float(found[k][1]))
