"""Several runs side by side: their numbers, and which differences are significant."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from classify import Difference, Report, bootstrap_difference
from classify.comparison import holm
from classify.metric_names import LOWER_IS_BETTER
from joint.panel.look import plain_text
from joint.saved.predictions import Predictions
from joint.settings import Settings

from .page import MISSING, Html, note, number, picture, table, with_interval
from .ranked import curves_of
from .recorded import metric_words
from .saved import SavedRun

__all__ = ["Common", "Compared", "common_pictures", "compare_runs", "comparison", "verdict"]

# Settings of scenes that select pictures or describe them, and do not change how they look.
_WHICH = {"count", "limit", "classes", "label", "group", "mask"}

#: Metrics that are compared in pairs.
PAIRED = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "nll")

_JUDGED = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "nll", "brier", "ece")
_MEASURED = (
    ("bpp", "rate, bits/pixel", ".3f"),
    ("bpp_bytes", "files, bits/pixel", ".3f"),
    ("bits", "rate, bits/picture", ",.0f"),
    ("bytes", "files, bytes/picture", ",.0f"),
    ("psnr", "PSNR against the codec's input, dB", ".2f"),
    ("ssim", "SSIM against the codec's input", ".3f"),
    ("psnr_scene", "PSNR against the scene, dB", ".2f"),
    ("throughput", "throughput, fraction of a point's light", ".3f"),
    ("light_share", "light on the sensor, fraction of the scenes'", ".3g"),
)


class Common(NamedTuple):
    """Rows of the pictures that two runs were both tested on, in one order."""

    first: list[int]
    second: list[int]


class Compared(NamedTuple):
    """One metric of two runs, the first minus the second; or why it cannot be compared."""

    metric: str
    found: Difference | None
    reason: str = ""


def common_pictures(first: Predictions, second: Predictions) -> Common:
    """Pair the test pictures of two runs by name.

    Equal names do not prove equal pictures: phantoms with another skin have the same names.

    Raises
    ------
    ValueError
        When the runs have different classes, share no picture, or disagree on the label or lesion
        of a picture, which shows that equal names are not equal pictures.
    """
    if first.classes != second.classes:
        raise ValueError(
            f"their classes differ: {', '.join(first.classes)} and {', '.join(second.classes)}"
        )
    places = {name: row for row, name in enumerate(second.identifiers)}
    rows = [row for row, name in enumerate(first.identifiers) if name in places]
    if not rows:
        raise ValueError("their test parts have no picture in common")
    other = [places[first.identifiers[row]] for row in rows]
    for one, two in zip(rows, other, strict=True):
        if first.labels[one] != second.labels[two] or first.groups[one] != second.groups[two]:
            raise ValueError(
                f"they disagree on the label or the lesion of {first.identifiers[one]}: their "
                "pictures are different"
            )
    return Common(rows, other)


def compare_runs(
    first: Predictions, second: Predictions, *, resamples: int = 1000
) -> tuple[int, list[Compared]]:
    """Number of common test pictures, and the paired difference of each of :data:`PAIRED`.

    Raises
    ------
    ValueError
        As :func:`common_pictures`.
    """
    rows, other = common_pictures(first, second)
    groups = [first.groups[row] for row in rows]
    compared = []
    for metric in PAIRED:
        try:
            found = bootstrap_difference(
                first.logits[rows],
                second.logits[other],
                labels=first.labels[rows],
                metric=metric,
                groups=groups,
                resamples=resamples,
            )
            compared.append(Compared(metric, found))
        except ValueError as error:
            compared.append(Compared(metric, None, str(error)))
    return len(rows), compared


def verdict(
    difference: Difference, first: str, second: str, *, adjusted_p: float | None = None
) -> str:
    """Which run is better, if the interval of the difference excludes 0.

    Among several differences, ``adjusted_p`` must be as small too (:func:`holm`).
    """
    low, high = difference.interval
    if not (low > 0 or high < 0):  # also where the interval does not exist
        return "not shown to differ"
    if adjusted_p is not None and adjusted_p > _alpha(difference):
        return "not shown to differ after adjustment"
    ahead = (low > 0) != (difference.metric in LOWER_IS_BETTER)
    return f"{first if ahead else second} is better"


def comparison(
    runs: Sequence[SavedRun], *, pixels: Mapping[str, int], resamples: int = 1000
) -> Iterator[Html]:
    """The numbers of all runs, then each run against the first.

    ``pixels`` is the number of pixels of a picture at the codec, by the name of the run, where it
    is known. Bits/pixel refer to these pixels: with fewer of them a picture has fewer bits.
    """
    rows = [
        (metric_words(name, unit=True), *(_judged(run, name) for run in runs)) for name in _JUDGED
    ]
    measured = [_measured(run, pixels.get(run.name)) for run in runs]
    rows += [
        (label, *(number(each.get(name), form) for each in measured))
        for name, label, form in _MEASURED
    ]
    shown = [row for row in rows if any(cell != MISSING for cell in row[1:])]
    pictures = ("test pictures", *(str(run.test.get("count", MISSING)) for run in runs))
    yield table(
        ("test part of each run", *(run.name for run in runs)),
        [pictures, *shown],
        caption="[low, high]: 95 % intervals over lesions; fractions where no unit is named",
    )
    coded = {
        run.name: pixels[run.name]
        for run, each in zip(runs, measured, strict=True)
        if "bits" in each
    }
    reference, *others = runs
    found_all, notes = [], []
    if len(set(coded.values())) > 1:
        sizes = ", ".join(f"{count:,} of {name}" for name, count in coded.items())
        notes.append(
            "Bits/pixel of these runs cannot be compared: they refer to the pixels at the codec, "
            f"and a picture has {sizes}. Compare bits and bytes per picture instead."
        )
    for run in others:
        pair = f"{run.name} and {reference.name}"
        if (sensors := _sensors(run, reference)) is not None:
            notes.append(f"{pair} are each evaluated with their own sensor: {sensors}.")
        if (scenes := _scenes(run, reference)) is not None:
            notes.append(
                f"{pair} are each evaluated on their own scenes: {scenes}. Their data sets differ, "
                "so pictures of the same name may differ, and a difference may be due to the "
                "scenes."
            )
        if run.predictions is None or reference.predictions is None:
            notes.append(f"{pair}: one of them has no classifier, so scores cannot be compared.")
            continue
        try:
            count, compared = compare_runs(
                run.predictions, reference.predictions, resamples=resamples
            )
        except ValueError as error:
            notes.append(f"{pair} cannot be compared in pairs: {error}.")
            continue
        for metric, found, reason in compared:
            if found is None:
                notes.append(f"{pair}, {metric_words(metric, unit=True)}: {reason}.")
                continue
            found_all.append((run.name, count, found))
    if found_all:
        yield from _differences(found_all, reference.name)
    for line in notes:
        yield note(line)
    yield from _ranked(runs)


def _ranked(runs: Sequence[SavedRun]) -> Iterator[Html]:
    """ROC of each class against the rest, for the runs that have a classifier."""
    from joint.figure import roc_figure  # noqa: PLC0415 - matplotlib

    told = [(run.name, run.report, curves_of(run)) for run in runs if run.report is not None]
    if len(told) < 2:
        return
    classes = dict.fromkeys(name for _, report, _ in told for name in report.classes)
    yield table(
        ("AUC of each class", *(name for name, *_ in told)),
        [(of, *(_class_auc(report, of) for _, report, _ in told)) for of in classes],
        caption="Each class against the rest, [low, high]: 95 % intervals over lesions",
    )
    if all(math.isnan(c.auc) for *_, curves in told for c in curves.values()):  # parts of one class
        return
    with plain_text():
        yield picture(
            roc_figure({name: curves for name, _, curves in told}),
            shows="ROC curves of the runs, class by class",
            caption="Each class against the rest, each run on its own test part; dashed: chance. "
            "At most seven runs and twelve classes are drawn.",
        )


def _class_auc(report: Report, of: str) -> str:
    if of not in report.classes:
        return MISSING
    return with_interval(report.number(f"auc.{of}"), report.interval(f"auc.{of}"))


def _measured(run: SavedRun, pixels: int | None) -> dict[str, Any]:
    """Numbers on the test part, and bits and bytes of a whole picture of so many pixels."""
    found = dict(run.test)
    for name, rate, unit in (("bits", "bpp", 1), ("bytes", "bpp_bytes", 8)):
        if pixels is not None and found.get(rate) is not None:
            found[name] = found[rate] * pixels / unit
    return found


def _sensors(run: SavedRun, reference: SavedRun) -> str | None:
    """Settings in which two sensors differ; None if they are the same."""
    own, other = (each.config.system.sensor for each in (run, reference))
    return "; ".join(_differing(own, other)) or None


def _scenes(run: SavedRun, reference: SavedRun) -> str | None:
    """Settings in which the scenes of two runs look different; None if they look the same.

    If the recorded digests of the test parts are equal, all pictures are equal. If they differ, the
    pictures may still be equal: a digest covers the whole data set, its labels, and which pictures
    are in the part. Then the settings are compared, as for older runs without a digest. If settings
    and parts are equal, the files themselves differ.
    """
    own, other = (_test_digest(each) for each in (run, reference))
    if own is not None and own == other:
        return None
    settings = run.config.data, reference.config.data
    told = "; ".join(_differing(*settings, without=_WHICH))
    if told or own is None or other is None or any(_differing(*settings)):
        return told or None
    first, second = run.predictions, reference.predictions
    alike = first is not None and second is not None and first.identifiers == second.identifiers
    return "their files have different contents" if alike else None


def _test_digest(run: SavedRun) -> object:
    """Digest of the test part; None if none was recorded."""
    found = run.result.get("scenes")
    return found.get("test") if isinstance(found, dict) else None


def _differing(own: Settings, other: Settings, *, without: Collection[str] = ()) -> Iterator[str]:
    """Settings that differ, with both values; without paths, which only say where files are."""
    first, second = dict(own), dict(other)
    for name in {**first, **second}:
        values = first.get(name), second.get(name)
        if name in without or values[0] == values[1]:
            continue
        if any(isinstance(value, Path) for value in values):
            continue
        one, two = (MISSING if value is None else value for value in values)
        yield f"{name.replace('_', ' ')} {one} and {two}"


def _differences(rows: Sequence[tuple[str, int, Difference]], reference: str) -> Iterator[Html]:
    """Table of the differences of runs from the reference, adjusted for their number."""
    adjusted = holm([found.p for _, _, found in rows])
    yield table(
        ("runs", "metric", "common pictures", "difference [interval]", "p", "Holm", "shown"),
        [
            (
                f"{name} − {reference}",
                metric_words(found.metric, unit=True),
                f"{count}",
                with_interval(found.difference, found.interval, "+.3f"),
                f"{found.p:.3g}",
                f"{p:.3g}",
                verdict(found, name, reference, adjusted_p=p),
            )
            for (name, count, found), p in zip(rows, adjusted, strict=True)
        ],
        caption="Paired differences on the test pictures that both runs have. 95 % intervals "
        "are from halves of the lesions, the same for both runs; they exclude 0 where p is at most "
        "0.05",
    )
    if len(rows) > 1:
        yield note(
            f"{len(rows)} differences are tested. Between equal runs, about one in twenty has a p "
            "of at most 0.05 by chance alone. A run is called better only if p adjusted for their "
            "number (Holm, 1979) is at most 0.05; the intervals are not adjusted. Neither says "
            "anything about other seeds of the same design."
        )
    found = rows[0][2]
    least = 2 / (1 + found.resamples)
    if len(rows) * least > _alpha(found):
        yield note(
            f"With {found.resamples} resamples no p is below {least:.3g}, too large to show any of "
            f"{len(rows)} differences: give --resamples {40 * len(rows)} or more."
        )


def _alpha(found: Difference) -> float:
    """Largest p that counts as small, with a margin for rounding."""
    return 1 - found.level + 1e-12


def _judged(run: SavedRun, name: str) -> str:
    if run.report is None:
        return MISSING
    return with_interval(getattr(run.report, name), run.report.intervals.get(name))
