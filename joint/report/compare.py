"""Several runs side by side: their numbers, and which differences the pictures bear out."""

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
from .saved import SavedRun

__all__ = ["Common", "Compared", "common_pictures", "compare_runs", "comparison", "verdict"]

# Settings of scenes that say which pictures there are and what is known of them, and not how they
# look.
_WHICH = {"count", "limit", "classes", "label", "group", "mask"}

#: What is compared in pairs.
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
_UNITS = {"nll": "negative log-likelihood, nats", "brier": "Brier score, 0 to 2"}
_UNITS |= {"auc": "AUC", "macro_f1": "macro F1", "ece": "calibration error"}


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

    Names do not tell whether the pictures look alike: phantoms of another skin have the same ones.

    Raises
    ------
    ValueError
        When the runs know other classes, share no picture, or disagree on the label or the lesion
        of one: equal names are then not equal pictures.
    """
    if first.classes != second.classes:
        raise ValueError(
            f"they tell other classes apart: {', '.join(first.classes)} and "
            f"{', '.join(second.classes)}"
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
                "pictures are not the same"
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
    """Which run is better; only where the interval excludes 0.

    And, of a difference among others, where ``adjusted_p`` is as small as that asks (:func:`holm`).
    """
    low, high = difference.interval
    if not (low > 0 or high < 0):  # neither where it does not exist
        return "not shown to differ"
    if adjusted_p is not None and adjusted_p > _alpha(difference):
        return "not shown to differ among so many"
    ahead = (low > 0) != (difference.metric in LOWER_IS_BETTER)
    return f"{first if ahead else second} is better"


def comparison(
    runs: Sequence[SavedRun], *, pixels: Mapping[str, int], resamples: int = 1000
) -> Iterator[Html]:
    """The numbers of all runs, then each of them against the first.

    ``pixels`` are those of a picture as the codec of a run is given it, by the name of the run,
    where they are known: bits/pixel are of these, and pictures of fewer pixels have fewer bits.
    """
    rows = [(_name(name), *(_judged(run, name) for run in runs)) for name in _JUDGED]
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
            "Bits/pixel are not to be compared: they are of the pixels that the codec is given, "
            f"and a picture has {sizes}. Bits and bytes of a whole picture are."
        )
    for run in others:
        pair = f"{run.name} and {reference.name}"
        if (sensors := _sensors(run, reference)) is not None:
            notes.append(f"{pair} are judged each by its own sensor: {sensors}.")
        if (scenes := _scenes(run, reference)) is not None:
            notes.append(
                f"{pair} are judged each on scenes of its own: {scenes}. Their data sets are not "
                "the same, so pictures of one name may differ, and a difference may be of the "
                "scenes as well."
            )
        if run.predictions is None or reference.predictions is None:
            notes.append(f"{pair}: one of them has no classifier, so that no score can be paired.")
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
                notes.append(f"{pair}, {_name(metric)}: {reason}.")
                continue
            found_all.append((run.name, count, found))
    if found_all:
        yield from _differences(found_all, reference.name)
    for line in notes:
        yield note(line)
    yield from _ranked(runs)


def _ranked(runs: Sequence[SavedRun]) -> Iterator[Html]:
    """Each class against the rest, of the runs that have a classifier; one has no comparison."""
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
            caption="Each class against the rest, each run on its own test part; dashed is chance. "
            "At most seven runs and twelve classes are drawn.",
        )


def _class_auc(report: Report, of: str) -> str:
    if of not in report.classes:
        return MISSING
    return with_interval(report.number(f"auc.{of}"), report.interval(f"auc.{of}"))


def _measured(run: SavedRun, pixels: int | None) -> dict[str, Any]:
    """Numbers on the test part, and what a whole picture of so many pixels takes."""
    found = dict(run.test)
    for name, rate, unit in (("bits", "bpp", 1), ("bytes", "bpp_bytes", 8)):
        if pixels is not None and found.get(rate) is not None:
            found[name] = found[rate] * pixels / unit
    return found


def _sensors(run: SavedRun, reference: SavedRun) -> str | None:
    """What two sensors differ by; None where they do not."""
    own, other = (each.config.system.sensor for each in (run, reference))
    return "; ".join(_differing(own, other)) or None


def _scenes(run: SavedRun, reference: SavedRun) -> str | None:
    """What the scenes of two runs differ by, for their looks; None where they do not.

    Where the digests that runs keep of their test parts are equal, all pictures are. Where they
    differ, the pictures need not: one is of the whole data set, also of its labels, and of which of
    its pictures are in the part. Then the settings say how these are made, and so they do of older
    runs, which kept no digest; of equal settings and parts, it is the files that differ.
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
    return "what their files hold" if alike else None


def _test_digest(run: SavedRun) -> object:
    """Of the test part; None where nothing tells."""
    found = run.result.get("scenes")
    return found.get("test") if isinstance(found, dict) else None


def _differing(own: Settings, other: Settings, *, without: Collection[str] = ()) -> Iterator[str]:
    """Settings that differ, with both values; not paths, which say where something lies."""
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
    """Differences of runs to the reference, of so many common pictures, judged together."""
    adjusted = holm([found.p for _, _, found in rows])
    yield table(
        ("runs", "metric", "common pictures", "difference [interval]", "p", "Holm", "shown"),
        [
            (
                f"{name} − {reference}",
                _name(found.metric),
                f"{count}",
                with_interval(found.difference, found.interval, "+.3f"),
                f"{found.p:.3g}",
                f"{p:.3g}",
                verdict(found, name, reference, adjusted_p=p),
            )
            for (name, count, found), p in zip(rows, adjusted, strict=True)
        ],
        caption="Paired differences on the test pictures that both runs have: 95 % intervals from "
        "halves of the lesions, the same for both, which exclude 0 where p is at most 0.05",
    )
    if len(rows) > 1:
        yield note(
            f"{len(rows)} differences are looked at, and about one in twenty of equal runs has a p "
            "of at most 0.05 by chance alone. A run is called better where p adjusted for their "
            "number (Holm, 1979) is; the intervals are of each difference alone. Neither says "
            "anything of other seeds of the same design."
        )
    found = rows[0][2]
    least = 2 / (1 + found.resamples)
    if len(rows) * least > _alpha(found):
        yield note(
            f"With {found.resamples} resamples no p is below {least:.3g}, too large for any claim "
            f"among {len(rows)} differences: give --resamples {40 * len(rows)} or more."
        )


def _alpha(found: Difference) -> float:
    """Up to which a p is called small, but for rounding."""
    return 1 - found.level + 1e-12


def _name(metric: str) -> str:
    return _UNITS.get(metric, metric.replace("_", " "))


def _judged(run: SavedRun, name: str) -> str:
    if run.report is None:
        return MISSING
    return with_interval(getattr(run.report, name), run.report.intervals.get(name))
