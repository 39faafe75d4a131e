"""The five claims of the study, each judged by numbers with intervals, and the figures."""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from contrast_study.runs import VIEWS, Arm, Options, Study
from matplotlib.figure import Figure

import classify
import compress
from joint import Evaluation, ImagingSystem, evaluate
from joint.analysis import (
    REGIONS,
    Contrast,
    Measure,
    RateMap,
    altered,
    confusion_against_contrast,
    contrast_by_class,
    contrast_change,
    correctness_against_contrast,
    kept,
    matched_strata,
    measure_contrast,
    optimal_image,
    rate_change,
    rate_map,
    recall_against_contrast,
    scalable,
)
from joint.analysis.by_lesion import rank_correlation
from joint.analysis.scores import DrawnScores
from joint.figure import (
    confused_pairs_figure,
    handed_figure,
    kept_figure,
    optimal_figure,
    save_figure,
    sweep_figure,
)
from joint.panel.dodged import Spread, dodged_figure
from joint.record import as_json

Numbers = dict[str, Any]

#: Contrasts at which the same lesions are shown, 1 being their own.
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
#: Measures that the claims are about.
KINDS: tuple[Measure, ...] = ("gcnr", "delta_e")


def _tell(*found: object) -> None:
    """Print what was found, a line each, and a dash where pictures are too few for a number."""
    text = "\n".join(map(str, found))
    print(re.sub(r"\+?\bnan\b", lambda gap: f"{'-':>{len(gap[0])}}", text))


class Measured(NamedTuple):
    """What every claim is judged by: the test part, its contrast, and what systems say of it."""

    study: Study
    options: Options
    test: classify.LesionDataset
    """Pictures with masks."""
    contrast: Contrast
    plain: Evaluation
    """Of the classifier."""
    frozen: dict[str, Evaluation]
    """Of each arm, by its name and seed."""
    joint: dict[str, Evaluation]

    def of(self, measure: Measure) -> Numbers:
        """A measure of all pictures, as the analyses take it."""
        return {
            "values": getattr(self.contrast, measure).cpu().numpy(),
            "labels": self.test.labels.numpy(),
            "classes": self.test.classes,
            "measure": measure,
            "groups": self.test.groups,
            "resamples": self.options.resamples,
        }

    @property
    def arms(self) -> dict[str, Arm]:
        """Those of one seed, of which pictures are drawn."""
        first: dict[str, Arm] = {}
        for arm in self.study.arms:
            first.setdefault(arm.name, arm)
        return first


def measure(study: Study, options: Options) -> Measured:
    """Evaluate all systems on the test part, once."""
    test = study.parts.test.subset(study.parts.test.has_mask)
    frozen, joint = (
        {
            f"{arm.name}-{arm.seed}": evaluate(
                getattr(arm, kind), test, resamples=options.resamples, count_bytes=True
            )
            for arm in study.arms
        }
        for kind in ("frozen", "joint")
    )
    plain = evaluate(study.classifier, test, resamples=options.resamples)
    return Measured(study, options, test, measure_contrast(test), plain, frozen, joint)


def critical(m: Measured) -> Numbers:
    """1: the contrast of lesion and background is critical for classification."""
    found: Numbers = {"effects": {}, "strata": {}, "sweeps": {}, "handed": {}}
    guessing = {"classifier": m.plain, **{f"joint {name}": e for name, e in m.joint.items()}}
    for name, evaluation in guessing.items():
        right = _guessed(evaluation) == m.test.labels.numpy()
        effects = [correctness_against_contrast(**m.of(kind), right=right) for kind in KINDS]
        strata = matched_strata(**m.of("gcnr"), right=right)
        found["effects"][name] = {e.measure: e.to_dict() for e in effects}
        found["strata"][name] = strata.to_dict()
        if name == "classifier":
            _tell(*effects, strata)
    systems = {"classifier": m.study.classifier}
    systems |= {f"joint {name}": arm.joint for name, arm in itertools.islice(m.arms.items(), 1)}
    sweeps = {
        name: recall_against_contrast(system, m.test, FACTORS, resamples=m.options.resamples)
        for name, system in systems.items()
    }
    for name, sweep in sweeps.items():
        _tell(f"{name}: {sweep}")
        found["sweeps"][name] = sweep.to_dict()
    save_figure(sweep_figure(sweeps), m.options.output / "recall.png")
    for arm in m.study.arms:
        before, after = (
            measure_contrast(m.test, system=system, plane="handed")
            for system in (arm.frozen, arm.joint)
        )
        for kind in (*KINDS, "edge"):
            change = contrast_change(
                getattr(before, kind).cpu().numpy(),
                getattr(after, kind).cpu().numpy(),
                measure=kind,
                groups=m.test.groups,
                resamples=m.options.resamples,
            )
            _tell(f"what {arm.name}-{arm.seed} hands on, by joint training: {change}")
            found["handed"][f"{arm.name}-{arm.seed}, {kind}"] = change.to_dict()
    return found | {"equal contrast": _altered(m, "equal contrast")}


def faint(m: Measured) -> Numbers:
    """2: DF, BCC and AK have poor contrast, and are confused for it."""
    report = m.plain.report
    assert report is not None
    there = report.support > 0
    counts = m.study.parts.train.counts.numpy()
    intervals = report.class_intervals["recall"]
    found: Numbers = {"by class": {}, "spearman of recall": {}}
    for kind in KINDS:
        table = contrast_by_class(**m.of(kind))
        _tell(table)
        found["by class"][kind] = table.to_dict()
        medians = np.array([row.median for row in table.classes])
        found["spearman of recall"][kind] = _ranked(medians[there], report.recall[there])
    found["spearman of recall"]["training pictures"] = _ranked(counts[there], report.recall[there])
    found["recall"] = {
        name: {"value": float(report.recall[k]), "interval": list(intervals[k])}
        for k, name in enumerate(report.classes)
    }
    _tell(report)
    _tell(f"rank correlations of recall over the classes: {found['spearman of recall']}")
    return found


def alike(m: Measured) -> Numbers:
    """3: BKL and MEL have similar contrast, and are confused for it."""
    found: Numbers = {}
    for name, evaluation in {"classifier": m.plain, **m.joint}.items():
        found[name] = {}
        for kind in KINDS:
            pairs = confusion_against_contrast(**m.of(kind), guesses=_guessed(evaluation))
            found[name][kind] = pairs.to_dict()
            if name == "classifier":
                _tell(pairs)
                figure = confused_pairs_figure(pairs, marked=("bkl", "mel"))
                save_figure(figure, m.options.output / f"pairs_{kind}.png")
    return found


def boundaries(m: Measured) -> Numbers:
    """4: a codec need only encode the boundaries."""
    found: Numbers = {"changes": {}}
    maps = {"JPEG 50": rate_map(ImagingSystem(codec=compress.JPEG(50)), m.test)}
    for name, arm in m.arms.items():
        pair = [rate_map(system, m.test) for system in (arm.frozen, arm.joint)]
        change = rate_change(*pair, resamples=m.options.resamples)
        _tell(f"{name}, by joint training: {change}")
        found["changes"][name] = change.to_dict()
        maps |= {f"{name}, alone": pair[0], f"{name}, joint": pair[1]}
    _tell(maps["JPEG 50"])
    save_figure(rate_figure(maps), m.options.output / "rate.png")
    found["maps"] = {name: each.to_dict() for name, each in maps.items()}
    return found | {name: _altered(m, name) for name in ("boundary only", "lesion only")}


def rate_figure(maps: Mapping[str, RateMap]) -> Figure:
    """Draw the density of bits of every codec, the regions beside one another."""
    regions = [each.rows[0].regions for each in maps.values()]
    series = {
        name: Spread([own[k].density for own in regions], [own[k].interval for own in regions])
        for k, name in enumerate(REGIONS)
    }
    level = next(iter(maps.values())).level
    quantity = f"share of bits / share of pixels\n(lines: {100 * level:g} % intervals)"
    return dodged_figure([*maps], series, quantity=quantity, even=1.0)


def _altered(m: Measured, name: str) -> Numbers:
    """The classifier on altered pictures, and trained further with such, against whole ones."""
    whole = m.test.subset(scalable(m.test))
    left = altered(whole, VIEWS[name])
    judged = {
        "whole": evaluate(m.study.classifier, whole),
        "altered": evaluate(m.study.classifier, left),
    }
    if {"whole", name} <= m.study.views.keys():
        judged["whole, trained further"] = evaluate(m.study.views["whole"], whole)
        judged["altered, trained with"] = evaluate(m.study.views[name], left)
    drawn = DrawnScores(
        [*judged.values()], resamples=m.options.resamples, level=0.95, generator=None
    )
    found: Numbers = {"pictures": len(whole)}
    for k, label in enumerate(judged):
        scores = drawn.combined([k])
        found[label] = {"scores": as_json(scores)}
        _tell(f"{name}: {label}: balanced accuracy {scores[1]}")
        if k % 2:  # against whole pictures, after as much training
            lost = drawn.combined([k], [k - 1])
            found[label]["difference"] = as_json(lost)
            _tell(f"    against {[*judged][k - 1]}: {lost[1]}")
    return found


def width(m: Measured) -> Numbers:
    """5: the size of the latent does not decide how well it serves."""
    found: Numbers = {"rows": {}, "differences": {}}
    _tell(f"{'':22}{'bit/px':>8}{'PSNR':>7}{'accuracy':>10}{'balanced':>10}")
    for kind, evaluations in (("frozen", m.frozen), ("joint", m.joint)):
        for name, each in evaluations.items():
            row = each.to_dict()
            found["rows"][f"{name}, {kind}"] = {
                key: row[key] for key in ("bpp", "bpp_bytes", "psnr", "report")
            }
            scores = "".join(f"{row[key]:10.3f}" for key in ("accuracy", "balanced_accuracy"))
            _tell(f"{name + ', ' + kind:22}{each.bpp:8.3f}{each.psnr:7.2f}{scores}")
        if not evaluations:
            continue
        drawn = DrawnScores(
            [*evaluations.values()], resamples=m.options.resamples, level=0.95, generator=None
        )
        for one, other in itertools.combinations(m.arms, 2):
            places = [
                [k for k, name in enumerate(evaluations) if name.rpartition("-")[0] == arm]
                for arm in (one, other)
            ]
            if len(places[0]) == len(places[1]):
                scores = drawn.combined(*places, parts=len(places[0]))
                found["differences"][f"{one} - {other}, {kind}"] = as_json(scores)
                _tell(f"{one} - {other}, {kind}: balanced accuracy {scores[1]}")
    rows = found["rows"].values()
    found["spearman of PSNR and balanced accuracy"] = _ranked(
        [row["psnr"] for row in rows], [row["report"]["balanced_accuracy"] for row in rows]
    )
    return found


def _ranked(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Spearman's; NaN of fewer than three."""
    if len(one) < 3:
        return math.nan
    return float(rank_correlation(np.asarray(one, float), np.asarray(other, float)))


def _guessed(evaluation: Evaluation) -> np.ndarray:
    assert evaluation.logits is not None
    return evaluation.logits.argmax(1)


def pictures(m: Measured) -> Numbers:
    """Draw what classifiers are handed, what is kept of it, and the optimal images."""
    found, folder = {}, m.options.output
    noise = torch.rand(
        (2, m.test.channels, *m.test.image_size), generator=torch.Generator().manual_seed(0)
    )
    start = (0.45 + 0.1 * noise).to(m.options.device)
    for name, arm in m.arms.items():
        systems = {"alone": arm.frozen, "joint": arm.joint}
        each = kept(systems, m.test, resamples=m.options.resamples)
        _tell(f"{name}: {each}")
        found[name] = each.to_dict()
        save_figure(kept_figure(each, title=name), folder / f"kept_{name}.png")
        figure = handed_figure(systems, m.test, title=name)
        save_figure(figure, folder / f"handed_{name}.png", colours=256)
        best = {
            label: optimal_image(
                arm.joint, start, k, steps=m.options.steps, roughness=20.0, rate=1.0, light=0.4
            )
            for k, label in enumerate(m.test.classes)
        }
        figure = optimal_figure(best, m.test.classes, title=name)
        save_figure(figure, folder / f"optimal_{name}.png")
    return found


CLAIMS: dict[str, Callable[[Measured], Numbers]] = {
    "contrast is critical": critical,
    "DF, BCC and AK are faint, and confused for it": faint,
    "BKL and MEL are alike in contrast, and confused for it": alike,
    "boundaries are enough": boundaries,
    "the size of the latent does not decide": width,
}
