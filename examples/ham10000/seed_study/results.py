"""Everything that a study came to, as one JSON document: what tables, figures and page read.

::

    run folders ─► rows ┐
                claims ─┼─► results.json ─► tables, figures, docs
                 goals ─┘
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import classify
from joint import is_done, load_predictions, read_history
from joint.saved.folder import ENVIRONMENT_FILE, PREDICTIONS_FILE
from joint.study import Outcome, PairedDifference, adjusted, compare, infer

from .protocol import CLAIMS, WIDTHS, Claim, Plan
from .stages import Stage, at_seed, result

SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
_CLASS = ("precision", "recall", "f1", "support")
_MEANS = ("precision", "recall", "f1")


def data_facts(scenes: classify.LesionDataset, parts: classify.Split) -> dict[str, Any]:
    """Counts of the classes, and how many test pictures share their lesion with training."""
    known, test = set(parts.train.groups), parts.test
    leaked = np.array([group in known for group in test.groups])
    labels = test.labels.numpy()
    return {
        "pictures": len(scenes),
        "lesions": len(set(scenes.groups)),
        "counts": dict(zip(scenes.classes, scenes.counts.tolist(), strict=True)),
        "parts": {name: len(part) for name, part in parts.parts.items()},
        "by": parts.by,
        "leaked": parts.shared_lesions,
        "leaked_by_class": {
            name: float(leaked[labels == k].mean()) if (labels == k).any() else None
            for k, name in enumerate(test.classes)
        },
    }


def row(stage: Stage, root: Path) -> dict[str, Any]:
    """What is kept of a stage that is done."""
    found = result(stage, root)
    kept = {
        name: found[name]
        for name in ("stage", "seed", "digest", "epochs", "best_epoch", "pictures", "seconds")
    }
    kept["machine"] = (machine(stage, root) or {}).get("device")
    for part in ("train", "validation", "test"):
        kept[part] = None if found[part] is None else _numbers(found[part])
    if found["test"].get("bpp_bytes") is not None:
        side = stage.config.data.image_size
        assert isinstance(side, int)
        kept["test"]["bytes"] = found["test"]["bpp_bytes"] * side**2 / 8
    report = found["test"]["report"]
    if report is not None:
        kept["classes"] = report["classes"]
        kept["report"] = _report(report)
        kept["confusion"] = report["confusion"]
        chosen = found["adjusted"]
        kept["adjusted"] = {"tau": chosen["tau"], **_report(chosen["report"])}
        kept["adjusted"] |= {name: chosen["report"][name] for name in SHOWN}
    kept["by_leak"] = found.get("by_leak")
    kept["points"] = found["points"]
    kept["history"] = [
        {"train": line["train"].get("total"), **_curve(line["validation"])}
        for line in read_history(stage.folder(root))
    ]
    return kept


def machine(stage: Stage, root: Path) -> dict[str, Any] | None:
    """Where a stage ended, as its folder says."""
    path = stage.folder(root) / ENVIRONMENT_FILE
    return json.loads(path.read_text())[-1] if path.exists() else None


def _numbers(scalars: Mapping[str, Any]) -> dict[str, Any]:
    names = ("loss", *SHOWN, "bpp", "bpp_bytes", "psnr", "throughput")
    return {name: scalars[name] for name in names if scalars.get(name) is not None}


def _curve(validation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: validation.get(name) for name in ("loss", "accuracy", "balanced_accuracy")}


def _report(report: Mapping[str, Any]) -> dict[str, Any]:
    """The table of classes, and the intervals of what claims are made of."""
    classes = {
        name: {column: report[column][k] for column in _CLASS}
        for k, name in enumerate(report["classes"])
    }
    recalls = report["class_intervals"].get("recall")
    return {
        "by_class": classes,
        "macro": {name: report[f"macro_{name}"] for name in _MEANS},
        "weighted": {name: report[f"weighted_{name}"] for name in _MEANS},
        "intervals": {n: report["intervals"].get(n) for n in ("accuracy", *SHOWN[1:])},
        "recall_intervals": None
        if recalls is None
        else dict(zip(report["classes"], recalls, strict=True)),
    }


# ------------------------------------------------------------------------------------ comparisons


def outcomes(
    stage: Stage, seeds: Sequence[int], root: Path, *, metric: str, shifted: bool
) -> list[Outcome]:
    """What a stage came to on each seed that is done.

    ``shifted`` adds the offset that each run chose on its validation part to its scores. Folders
    that were copied without the scores have their number alone.
    """
    found = []
    for seed in seeds:
        run = at_seed(stage, seed)
        if not is_done(run.folder(root)):
            continue
        said = result(run, root)
        value = said["adjusted"]["report"][metric] if shifted else said["test"][metric]
        parts = None
        if (run.folder(root) / PREDICTIONS_FILE).exists():
            parts = load_predictions(run.folder(root))
            if shifted:
                offset = np.asarray(said["adjusted"]["offset"], dtype=np.float32)
                parts = replace(parts, logits=parts.logits + offset)
        found.append(Outcome(seed, value, parts))
    return found


class Measured(NamedTuple):
    """A number, or a difference of two, with its interval."""

    value: float
    interval: classify.Interval | None
    seeds: int
    unit: str


def paired(
    first: Sequence[Outcome], second: Sequence[Outcome]
) -> tuple[list[Outcome], list[Outcome]]:
    """The runs of two stages on the seeds that both have."""
    both = {run.seed for run in first} & {run.seed for run in second}
    one, other = ([run for run in runs if run.seed in both] for runs in (first, second))
    return one, other


def measured(
    first: Sequence[Outcome], second: Sequence[Outcome] | None = None, *, metric: str, draws: int
) -> Measured:
    """Mean over seeds, with an interval over seeds and lesions; over lesions with one seed."""
    if len(first) > 1:
        found = infer(first, second, metric=metric, resamples=draws)
        assert found.mean is not None
        return Measured(found.mean, found.interval, len(first), found.unit)
    one, other = first[0].predictions, None if second is None else second[0].predictions
    assert first[0].value is not None
    if second is None and one is not None:
        judged = classify.report(
            one.logits, one.labels, classes=one.classes, groups=one.groups, resamples=draws
        )
        return Measured(first[0].value, judged.intervals[metric], 1, "lesions")
    if one is None or other is None:
        less = 0.0 if second is None else second[0].value
        assert less is not None
        return Measured(first[0].value - less, None, 1, "lesions")
    gap = classify.bootstrap_difference(
        one.logits,
        other.logits,
        labels=one.labels,
        metric=metric,
        groups=one.groups,
        resamples=draws,
    )
    return Measured(gap.difference, gap.interval, 1, "lesions")


def claims(study: Plan, root: Path, *, draws: int) -> list[dict[str, Any]]:
    """The planned comparisons whose runs there are, Holm over all of them.

    Each has an answer, or says why there is none.
    """
    rows = study.rows["honest"]
    contrasts: list[PairedDifference] = []
    gaps: list[Measured] = []
    asked: list[Claim] = []
    for claim in CLAIMS:
        first, second = (
            outcomes(
                rows[name],
                study.seeds,
                root,
                metric=claim.metric,
                shifted=claim.metric == "balanced_accuracy",
            )
            for name in (claim.first, claim.second)
        )
        one, other = paired(first, second)
        if not one:
            continue
        asked.append(claim)
        contrasts.append(
            compare(
                first,
                second,
                metric=claim.metric,
                name=claim.name,
                seeds=study.seeds,
                planned=True,
                resamples=draws,
            )
        )
        gaps.append(measured(one, other, metric=claim.metric, draws=draws))
    return [
        {
            **contrast.to_dict(),
            "first_stage": claim.first,
            "second_stage": claim.second,
            "gap": gap._asdict(),
        }
        for claim, contrast, gap in zip(asked, adjusted(contrasts), gaps, strict=True)
    ]


# ------------------------------------------------------------------------------------------ goals


def goals(study: Plan, root: Path, *, draws: int) -> list[dict[str, Any]]:
    """The table of what the study should reach, each line whose runs there are."""
    rows = study.rows["honest"]
    found: list[dict[str, Any]] = []

    def of(name: str, metric: str) -> list[Outcome]:
        shifted = metric == "balanced_accuracy"
        return outcomes(rows[name], study.seeds, root, metric=metric, shifted=shifted)

    def add(what: str, seed: str, least: float, got: Measured) -> None:
        line = {"what": what, "seed": seed, "goal": f">= {least:g}", "met": got.value >= least}
        found.append({**line, **got._asdict()})

    def gap(first: str, second: str, metric: str) -> Measured | None:
        """On the seeds that both have."""
        one, other = paired(of(first, metric), of(second, metric))
        return measured(one, other, metric=metric, draws=draws) if one else None

    for metric, seed, least in (
        ("accuracy", "0.82", 0.83),
        ("macro_f1", "0.69", 0.66),
        ("balanced_accuracy", "0.66", 0.70),
    ):
        if own := of("classifier", metric):
            got = measured(own, metric=metric, draws=draws)
            add(f"classifier alone, {metric.replace('_', ' ')}", seed, least, got)
    for kind, least, seeds in (
        ("frozen", -0.02, ("0.75", "0.73", "0.72")),
        ("joint", -0.01, ("0.76", "0.82", "0.78")),
    ):
        for width, seed in zip(WIDTHS, seeds, strict=True):
            if (got := gap(f"{kind}_{width}", "classifier", "accuracy")) is not None:
                what = f"{kind} {width.upper()}, accuracy less that of the classifier alone"
                add(what, seed, least, got)
    if all(of(name, "accuracy") for name in ("classifier", "rated", "jpeg_frozen", "jpeg_joint")):
        found += _rate_goals(study, root)
    remedied = [at_seed(rows["balanced_3x"], seed) for seed in study.seeds]
    reports = [row(run, root)["report"] for run in remedied if is_done(run.folder(root))]
    if reports:
        own = (reports[0]["recall_intervals"] or {}).get("df")
        spread = classify.Interval(*own) if own is not None and len(reports) == 1 else None
        recalls = [report["by_class"]["df"]["recall"] for report in reports]
        got = Measured(float(np.mean(recalls)), spread, len(reports), "lesions")
        add("joint 3X with the remedy, recall of DF", "0.00", 0.45, got)
    for other in ("none", "unsharp", "laplacian"):
        if (got := gap("optics_learned", f"optics_{other}", "balanced_accuracy")) is not None:
            against = "no filter" if other == "none" else f"a fixed {other} filter"
            what = f"300 photons: learned filter less {against}, balanced accuracy"
            line = {"what": what, "seed": "not tried", "goal": "the measured answer", "met": None}
            found.append({**line, **got._asdict()})
    return found


class RatedPoint(NamedTuple):
    """A codec with a classifier behind it, at one rate; means over seeds."""

    label: str
    bpp: float
    """Of the files, headers included."""
    balanced: float
    """Balanced accuracy with the offset chosen on the validation part."""


def rated_points(stage: Stage, seeds: Sequence[int], root: Path, *, name: str) -> list[RatedPoint]:
    """Points of a stage, cheapest first; of the seeds that are done."""
    runs = [at_seed(stage, seed) for seed in seeds]
    tables = [result(run, root)["points"] for run in runs if is_done(run.folder(root))]
    points = [
        RatedPoint(
            f"{name}, {each[0]['label']}",
            float(np.mean([point["bpp_bytes"] for point in each])),
            float(np.mean([point["adjusted_balanced_accuracy"] for point in each])),
        )
        for each in zip(*tables, strict=True)
    ]
    return sorted(points, key=lambda point: point.bpp)


def _rate_goals(study: Plan, root: Path) -> list[dict[str, Any]]:
    rows = study.rows["honest"]
    # The same seeds on both sides.
    seeds = [seed for seed in study.seeds if is_done(at_seed(rows["rated"], seed).folder(root))]
    raw = np.mean(
        [
            run.value
            for run in outcomes(
                rows["classifier"], seeds, root, metric="balanced_accuracy", shifted=True
            )
            if run.value is not None
        ]
    )
    learned = rated_points(rows["rated"], seeds, root, name="learned")
    jpeg = [
        point
        for name in ("jpeg_frozen", "jpeg_joint")
        for point in rated_points(rows[name], seeds[:1], root, name=name.replace("_", " "))
    ]
    # The dearest point that is cheap enough: chosen by its rate, not by its accuracy.
    cheap = [point for point in learned if point.bpp <= 0.25]
    point = cheap[-1] if cheap else learned[0]
    gap = point.balanced - float(raw)
    equal = [other for other in jpeg if other.balanced >= point.balanced]
    # Where no JPEG is as good, the best of them costs at least what the dearest one does.
    bound = min(equal, key=_cost) if equal else max(jpeg, key=_cost)
    factor = bound.bpp / point.bpp
    return [
        {
            "what": f"measured rate ({point.label}, {point.bpp:.3f} bpp in files), balanced "
            "accuracy less that of raw pictures",
            "seed": "none",
            "goal": ">= -0.01 at <= 0.25 bpp",
            "met": bool(gap >= -0.01 and point.bpp <= 0.25),
            **Measured(gap, None, len(seeds), "lesions")._asdict(),
        },
        {
            "what": "bytes of JPEG at equal balanced accuracy over those of the learned codec ("
            + (bound.label if equal else f"none reaches it, up to {bound.label}")
            + ")",
            "seed": "none",
            "goal": ">= 3",
            "met": bool(factor >= 3),
            **Measured(factor, None, len(seeds), "lesions")._asdict(),
        },
    ]


def _cost(point: RatedPoint) -> float:
    return point.bpp


# ------------------------------------------------------------------------------------------ files


def to_csv(document: Mapping[str, Any]) -> str:
    """One line for each row and part: what a spreadsheet wants."""
    text = io.StringIO(newline="")
    names = ("loss", *SHOWN, "bpp_bytes", "psnr")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "stage", "part", *names, "tau", "adjusted_balanced_accuracy"])
    for protocol, found in document["protocols"].items():
        for name, kept in found["rows"].items():
            for part in ("train", "validation", "test"):
                if kept[part] is None:
                    continue
                chosen = kept.get("adjusted") if part == "test" else None
                more = ["", ""] if chosen is None else [chosen["tau"], chosen["balanced_accuracy"]]
                cells = [kept[part].get(column, "") for column in names]
                writer.writerow([protocol, name, part, *cells, *more])
    return text.getvalue()
