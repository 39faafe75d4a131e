"""Parts of the page that are read from the run folder alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from classify import Report

from .draw import history_figure
from .page import MISSING, Html, details, note, picture, table, with_interval
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged
from .words import configuration_words

__all__ = ["by_chance", "classification", "metric_words", "training", "what_it_is"]


def what_it_is(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Configuration in words, and where the run was computed."""
    rows = [*configuration_words(run.config)]
    best = run.result.get("best_epoch")
    if isinstance(best, int):
        early = ", stopped early" if run.result.get("stopped_early") else ""
        rows.append(
            ("trained for", f"{run.result.get('epochs')} epochs, the best is {best + 1}{early}")
        )
    rows.append(("test part", f"{run.test.get('count')} pictures"))
    yield table(("part", "what it is"), rows, words=True)
    if run.environments:
        names = list(dict.fromkeys(name for each in run.environments for name in each))
        where = ["value"]
        if len(run.environments) > 1:
            where = ["started", *(f"continued ({n})" for n in range(1, len(run.environments)))]
        yield table(
            ("environment", *where),
            [
                (name.replace("_", " "), *(_said(each.get(name)) for each in run.environments))
                for name in names
            ],
            words=True,
        )
    else:
        yield note("It is not known where the run was computed: environment.json is missing.")
    asked = json.dumps(_without_folders(run.config.model_dump()), indent=2)
    yield details(f"Configuration, digest {run.config.digest()}", asked)


def _without_folders(value: object) -> object:
    """Settings for JSON; a path is shortened to its name, as folders may name persons."""
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
        "weights change; validation numbers are measured after the epoch. Gradient norms are means "
        "over the steps, before clipping.",
    )


# Unit of each number of the whole test part, in the order of the table.
_UNITS = {
    "accuracy": "fraction",
    "balanced_accuracy": "fraction",
    "macro_f1": "fraction",
    "mcc": "-1 to 1",
    "cohen_kappa": "-1 to 1",
    "auc": "fraction",
    "average_precision": "fraction",
    "sensitivity": "fraction",
    "nll": "nats",
    "brier": "0 to 2",
    "ece": "fraction",
}
_WORDS = {
    "auc": "AUC",
    "class_auc": "AUC",
    "f1": "F1",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation (MCC)",
    "cohen_kappa": "Cohen's kappa",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "calibration error",
}


def metric_words(metric: str, *, unit: bool = False) -> str:
    """Name of a metric in words; ``unit`` adds its unit, except for fractions."""
    words, units = _WORDS.get(metric, metric.replace("_", " ")), _UNITS.get(metric, "fraction")
    return f"{words}, {units}" if unit and units != "fraction" else words


def classification(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Numbers of the predictions: overall, each class, confusion matrix and reliability."""
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
            for name, unit in _UNITS.items()
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
    words = "No intervals were computed."
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
        caption="Left: true against predicted class; shade: share of the true class, number: "
        "count. Right: accuracy of predictions against their confidence; bars below the diagonal "
        "are overconfident. Lines are Wilson intervals, which count each picture as independent.",
    )


def by_chance(classes: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    """A sentence with the scores of guessing without a picture; nothing for a single class.

    ``counts`` is the number of pictures of each class in the test part.
    """
    there, most = sum(count > 0 for count in counts), max(counts)
    if there > 1:
        yield (
            f"By chance: always predicting {classes[counts.index(most)]}, the most frequent class "
            f"of the test part, has an accuracy of {most / sum(counts):.3f}, a balanced accuracy "
            f"of 1/{there} = {1 / there:.3f}, and an MCC and a kappa of 0; random guessing has an "
            "AUC of 0.5."
        )


def _label(name: str, report: Report) -> str:
    if name.endswith("sensitivity"):
        return f"sensitivity at specificity {report.at_specificity:g}"
    return metric_words(name)


def _number(report: Report, name: str, k: int) -> float:
    """Number of a class; a class without pictures has no recall and no F1."""
    return report.number(f"{name.removeprefix('class_')}.{report.classes[k]}")


def _of_class(report: Report, name: str, k: int) -> tuple[float, float] | None:
    found = report.class_intervals.get(name)
    return None if found is None else (float(found[k][0]), float(found[k][1]))
