"""Any backbone with any remedy for rare classes, judged as a claim about lesions should be.

Splits by lesion, trains, chooses the strength tau of the post-hoc adjustment on the validation
part, and reports the test part at tau = 0 and at that choice, with intervals that resample lesions.
Several backbones, methods or seeds make a table; what is there already is not trained again::

    python examples/ham10000/classifier.py --data HAM10000.zip --method ldam_drw
    python examples/ham10000/classifier.py --data HAM10000.zip --table --seed 0 1 2
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import tyro

import classify
from joint import (
    ImagingSystem,
    Objective,
    Training,
    build_data,
    data_config,
    evaluate,
    fit,
    preferred_precision,
)
from joint.figure import report_figure, save_figure
from joint.judge.view_average import Views
from joint.script import without_traceback

Method = Literal[
    "none",
    "weights",
    "sqrt_weights",
    "effective",
    "focal",
    "balanced_softmax",
    "logit_adjusted",
    "ldam_drw",
    "balanced_sampler",
    "sqrt_sampler",
    "mixup",
    "cutmix",
]
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Options:
    """Train classifiers on HAM10000, or on phantoms as unbalanced as it is."""

    data: str = "phantom"
    """phantom, or the path of HAM10000 (folder or zip) or of other scenes."""
    limit: int | None = None
    """Use only this many pictures; 1600 phantoms by default."""
    image_size: int = 128
    """Pixels along a side."""
    backbone: tuple[str, ...] = ("resnet_s",)
    """One or more of classify.BACKBONES."""
    method: tuple[Method, ...] = ("none",)
    """One or more remedies for rare classes."""
    seed: tuple[int, ...] = (0,)
    """Sources of all randomness, of the split too: one run for each."""
    table: bool = False
    """Take all methods, and write the table."""
    weights: Path | None = None
    """State dict that the backbone begins with, of public weights or of a training on phantoms."""
    epochs: int = 20
    """Passes over the training part."""
    batch_size: int = 32
    """Pictures a step."""
    learning_rate: float = 2e-3
    """Peak of it; transformers and large nets want less."""
    augmentation: Literal["none", "dihedral", "full"] = "full"
    """Views that training sees."""
    views: Views = "identity"
    """Views that are averaged in validation and test; dihedral are eight."""
    metric: str = "balanced_accuracy"
    """What tau is chosen for, on the validation part."""
    resamples: int = 1000
    """Of the lesions, for the intervals."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    out: Path = Path("runs/ham10000_classifier")
    """Folder of the results: one JSON, one figure, and the scores, of each run."""


def recipe(method: Method, plain: Training) -> tuple[Objective, Training]:
    """The usual settings of a method, from the paper that it comes from."""
    match method:
        case "none":
            return Objective(), plain
        case "weights":
            return Objective(class_weight_power=1), plain
        case "sqrt_weights":
            return Objective(class_weight_power=0.5), plain
        case "effective":
            return Objective(effective_number=0.999), plain
        case "focal":
            return Objective(focal_gamma=2), plain
        case "balanced_softmax":
            return Objective(logit_adjustment=1), plain
        case "logit_adjusted":  # half the way to the balanced softmax
            return Objective(logit_adjustment=0.5), plain
        case "ldam_drw":  # with a cosine head, see train
            last_fifth = min(round(0.8 * plain.epochs), plain.epochs - 1)
            weights = {"effective_number": 0.9999, "deferred_from": last_fifth}
            return Objective(margin=15, label_smoothing=0, **weights), plain
        case "balanced_sampler":
            return Objective(), plain.model_copy(update={"sampling_power": 1.0})
        case "sqrt_sampler":
            return Objective(), plain.model_copy(update={"sampling_power": 0.5})
        case "mixup":
            return Objective(), plain.model_copy(update={"mixing": "mixup", "mixing_alpha": 0.2})
        case "cutmix":
            return Objective(), plain.model_copy(update={"mixing": "cutmix", "mixing_alpha": 1.0})


@dataclass(frozen=True)
class Run:
    """One training: a point of the table."""

    backbone: str
    method: Method
    seed: int

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"{self.backbone}-{self.method}-{self.seed}"


def train(run: Run, options: Options, parts: classify.Split) -> ImagingSystem:
    """Train the classifier of a run, or continue where it was interrupted."""
    plain = Training(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        augmentation=options.augmentation,
        monitor="balanced_accuracy",
        restore_best=False,  # the validation part chooses tau and temperature, and nothing else
        seed=run.seed,
        precision=preferred_precision(options.device),
    )
    objective, config = recipe(run.method, plain)
    classes = len(parts.train.classes)
    torch.manual_seed(run.seed)  # of the initial weights; all else has seeds of its own
    classifier = classify.backbone(
        run.backbone,
        classes,
        image_size=parts.train.image_size,
        head="cosine" if run.method == "ldam_drw" else "linear",
        weights=options.weights,
    )
    system = ImagingSystem(classifier=classifier)
    assert parts.validation is not None
    fit(
        system,
        parts.train,
        parts.validation,
        objective=objective,
        config=config,
        directory=options.out / run.name,
        resume=True,
        device=options.device,
    )
    return system


def scores(system: ImagingSystem, data: classify.LesionDataset, options: Options) -> np.ndarray:
    """Class scores ``[N, K]``, of the average over the views."""
    system.to(options.device)
    found = evaluate(system, data, views=options.views, batch_size=options.batch_size)
    assert found.logits is not None
    return found.logits


def judge(run: Run, options: Options, parts: classify.Split, system: ImagingSystem) -> None:
    """Choose temperature and tau on the validation part, report the test part, write both."""
    validation, test = parts.validation, parts.test
    assert validation is not None
    prior = classify.log_prior(parts.train.counts)
    seen, truth = scores(system, validation, options), validation.targets.numpy()
    temperature = classify.fit_temperature(seen, truth)
    choice = classify.choose_tau(
        seen / temperature, truth,
        log_prior=prior, metric=options.metric, classes=validation.classes,
    )  # fmt: skip
    print(f"validation: temperature {temperature:.2f}; {choice}")
    found = scores(system, test, options) / temperature
    reports = {}
    for name, tau in (("plain", 0.0), ("adjusted", choice.tau)):
        reports[name] = classify.report(
            classify.adjust_logits(found, prior, tau=tau),
            test.targets.numpy(),
            classes=test.classes,
            groups=test.groups,
            resamples=options.resamples,
        )
        if name == "plain" or tau > 0:
            print(f"\nTest part, {len(test)} pictures, tau = {tau:g}\n{reports[name]}")
    title = f"{run.backbone}, {run.method}, seed {run.seed}, tau {choice.tau:g}"
    save_figure(report_figure(reports["adjusted"], title=title), options.out / f"{run.name}.png")
    np.savez(
        options.out / f"{run.name}.npz",
        plain=found,
        adjusted=classify.adjust_logits(found, prior, tau=choice.tau),
        labels=test.targets.numpy(),
        groups=np.array(test.groups),
    )
    result = {
        "run": dataclasses.asdict(run),
        "settings": settings(options),
        "temperature": temperature,
        "choice": choice.to_dict(),
        "test": {name: report.to_dict() for name, report in reports.items()},
    }
    # Last, and whole or not at all: its presence says that the run is done.
    draft = options.out / f"{run.name}.json.draft"
    draft.write_text(json.dumps(result, indent=1) + "\n")
    draft.replace(options.out / f"{run.name}.json")


def settings(options: Options) -> dict[str, str]:
    """What all runs of one table have in common."""
    own = ("backbone", "method", "seed", "table", "device", "out")
    given = {n: value for n, value in dataclasses.asdict(options).items() if n not in own}
    return {name: str(value) for name, value in given.items() if value is not None}


def done(run: Run, options: Options) -> bool:
    """Whether the result of a run is there; a folder of other settings is refused."""
    path = options.out / f"{run.name}.json"
    if not path.exists():
        return False
    there, asked = json.loads(path.read_text())["settings"], settings(options)
    changed = [
        f"{k}={there.get(k)} there, {asked.get(k)} asked for"
        for k in dict.fromkeys((*there, *asked))
        if there.get(k) not in (asked.get(k), str(asked.get(k)))
    ]
    if changed:
        raise ValueError(f"{path} has other settings ({', '.join(changed)}); choose another --out")
    return True


def table(runs: Sequence[Run], options: Options) -> str:
    """Markdown: means over the seeds, and the paired difference to no remedy at all."""
    measures = [f"{name.replace('_', ' ')}" for name in SHOWN]
    heads = ["backbone", "method", *measures, "AUC", "tau", *measures, "against none"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for backbone, method in dict.fromkeys((run.backbone, run.method) for run in runs):
        same = [run for run in runs if (run.backbone, run.method) == (backbone, method)]
        results = [json.loads((options.out / f"{run.name}.json").read_text()) for run in same]

        def mean(part: str, name: str, results: list[dict[str, Any]] = results) -> str:
            values = [result["test"][part][name] for result in results]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            return f"{np.mean(values):.3f}{spread}"

        taus = [result["choice"]["tau"] for result in results]
        cells = [*(mean("plain", name) for name in SHOWN), mean("plain", "auc")]
        cells += [f"{np.mean(taus):.2f}", *(mean("adjusted", name) for name in SHOWN)]
        lines.append(f"| {backbone} | {method} | {' | '.join([*cells, against(same, options)])} |")
    seeds = len({run.seed for run in runs})
    lines += [
        "",
        f"Test parts of {seeds} lesion-level splits, mean ± standard deviation: at tau = 0, then "
        f"at the tau chosen on validation for {options.metric}. Last: {options.metric} there less "
        "that of the same backbone with no remedy (its own tau), 95 % interval over lesions.",
    ]
    return "\n".join(lines)


def against(runs: Sequence[Run], options: Options) -> str:
    """Difference to the runs of the same seeds without a remedy, lesions of all seeds pooled."""
    plain = [dataclasses.replace(run, method="none") for run in runs]
    if runs[0].method == "none" or not all(done(run, options) for run in plain):
        return "-"
    one, other = (
        [np.load(options.out / f"{r.name}.npz", allow_pickle=False) for r in rs]
        for rs in (runs, plain)
    )
    difference = classify.bootstrap_difference(
        np.concatenate([scores["adjusted"] for scores in one]),
        np.concatenate([scores["adjusted"] for scores in other]),
        labels=np.concatenate([scores["labels"] for scores in one]),
        metric=options.metric,
        groups=np.concatenate([scores["groups"] for scores in one]).tolist(),
        resamples=max(options.resamples, 100),
    )
    low, high = difference.interval
    return f"{difference.difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def main(options: Options) -> list[Run]:
    """Train and judge what is not there yet; return all runs of the table."""
    methods = get_args(Method) if options.table else options.method
    runs = [Run(*each) for each in itertools.product(options.backbone, methods, options.seed)]
    missing = [run for run in runs if not done(run, options)]
    options.out.mkdir(parents=True, exist_ok=True)
    if missing:
        source = data_config(options.data, image_size=options.image_size)
        if source.kind == "phantom":
            count = options.limit or 1600
            source = source.model_copy(update={"count": count, "balance": 1.0})
        elif options.limit:
            source = source.model_copy(update={"limit": options.limit})
        scenes = build_data(source, progress=True)
        print(scenes)
    for number, run in enumerate(missing, 1):
        started = time.perf_counter()
        parts = classify.split(scenes, seed=run.seed)
        print(f"\n== {run.name} ({number} of {len(missing)})\n{parts}")
        judge(run, options, parts, train(run, options, parts))
        print(f"\n{run.name} took {time.perf_counter() - started:.0f} s; see {options.out}")
    if options.table or len(runs) > 1:
        text = table(runs, options)
        (options.out / "table.md").write_text(text + "\n")
        print(f"\n{text}")
    return runs


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
