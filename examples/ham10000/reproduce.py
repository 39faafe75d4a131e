"""The study that this library grew from, reproduced, corrected, and taken further.

"Insights From HAM10000 Classification Using Learned Compression" (Yesh Doctor, Duke BME 548) trains
a classifier, compresses by k-means and by autoencoders of three widths, trains both jointly, and
leaves a trained physical edge filter, rare classes and other nets for the future. All of it, twice:
as published (split by image), and as it should be (split by lesion, rates in bits, intervals)::

    python examples/ham10000/reproduce.py --data HAM10000.zip --device cuda --seeds 8
    python examples/ham10000/reproduce.py --data HAM10000.zip --cpu     # one seed: no claims
    python examples/ham10000/reproduce.py --fast                        # every row, in a minute

Each stage is a run folder below ``OUTPUT/runs``; one that is done is not run again, one that was
interrupted goes on. The command may be started several times at once, best with
``--longest-first --stages-only``: each process takes the next stage that is free, and small nets
leave room on a GPU for others. One without tells all at the end.

Writes ``results.json``, ``results.csv``, ``tables.txt`` and figures; ``OUTPUT/pictures`` shows
lesions of the data set, and is not for sharing.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import tyro
from seed_study import analyses, figures, page, results, tables
from seed_study.protocol import CHOSEN, CLAIMS, Plan, ProtocolName, Scale, plan
from seed_study.published import faults
from seed_study.stages import Stage, run_stage

import classify
from joint import (
    RunLocked,
    StopRequest,
    build_data,
    build_split,
    environment,
    graceful_stop,
    is_done,
)
from joint.device import usable_device
from joint.record import as_json
from joint.saved.checkpoint import write_atomically
from joint.script import without_traceback
from joint.study import seeds_for_claim


@dataclass(frozen=True)
class Options:
    """Reproduce the study on HAM10000."""

    data: str = "phantom"
    """phantom, or the path of HAM10000 (folder or zip)."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    protocol: Literal["seed", "honest", "both"] = "both"
    """As published, as it should be, or both."""
    seeds: int = 1
    """Seeds of the comparisons that claims are made of; eight are the fewest that show one."""
    fast: bool = False
    """Every row on a few small pictures: does it run?"""
    cpu: bool = False
    """Smaller pictures, a small net, fewer epochs: what two cores can do in hours. No claims."""
    pixels: int | None = None
    """Along a side; 128 by default."""
    backbone: str | None = None
    """Classifier of all rows, one of classify.BACKBONES; by default inception_s as published, and
    resnet_s as it should be."""
    weights: Path | None = None
    """Public weights that it begins from."""
    phantoms: int | None = None
    """Procedural lesions that the classifier of the honest protocol is trained on first; 12 000 by
    default, none with --cpu."""
    epochs_scale: float | None = None
    """Factor on all numbers of epochs."""
    limit: int | None = None
    """Use only this many pictures."""
    batch_size: int | None = None
    """Pictures a step."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of codec and classifier; by default bfloat16 on a GPU, float32 elsewhere."""
    output: Path = Path("runs/seed_study")
    """Folder of everything."""
    longest_first: bool = False
    """Take the stages first that most epochs wait for: for several processes at once, which then
    end together. Otherwise those of seed 0 come first."""
    stages_only: bool = False
    """Run the stages and tell nothing: for the further ones of several processes."""
    report: bool = False
    """Run nothing: tell what is there."""
    publish: page.RunName | None = None
    """Also take numbers and figures into docs/results/seed, and renew the page docs/seed.md."""


_FAST = Scale(
    pixels=24,
    backbone="resnet_s",
    architectures=("resnet_s", "inception_s"),
    epochs_scale=0.01,
    limit=90,
    batch_size=32,
    resamples=50,
)
_CPU = Scale(
    pixels=64,
    backbone="resnet_s",
    phantoms=0,
    architectures=("resnet_s", "inception_s", "convnext_atto"),
    epochs_scale=0.3,
    batch_size=64,
)


def scale(options: Options) -> Scale:
    """The preset, and what was asked for otherwise."""
    preset = _FAST if options.fast else _CPU if options.cpu else Scale()
    names = (
        "pixels",
        "backbone",
        "weights",
        "phantoms",
        "epochs_scale",
        "limit",
        "batch_size",
        "precision",
    )
    asked = {name: getattr(options, name) for name in names}
    changes = {name: value for name, value in asked.items() if value is not None}
    usual = "bfloat16" if options.device.startswith("cuda") else "float32"
    return replace(preset, **{"data": options.data, "precision": usual, **changes})


def label(options: Options, made: Scale, *, unfinished: bool = False) -> str:
    """What the numbers are good for."""
    seeds = "one seed" if options.seeds == 1 else f"{options.seeds} seeds"
    scope = f"{seeds}, {made.pixels} px, epochs x {made.epochs_scale:g}"
    if made.limit is not None:
        scope += f", {made.limit} pictures"
    if options.fast:
        return f"Smoke test, {scope}: no claims"
    kind = "CPU-scale run" if options.cpu else "Unfinished run" if unfinished else "Run"
    enough = options.seeds >= seeds_for_claim(comparisons=len(CLAIMS)) and not unfinished
    return f"{kind}, {scope}" + ("" if enough and not options.cpu else ": no claims")


def run(
    study: Plan, scenes: Callable[[Stage], classify.LesionDataset], options: Options
) -> str | None:
    """Run what is missing and free, until nothing is missing; why it was stopped, if it was.

    What needs a stage that failed is left out, and everything else is run.

    Raises
    ------
    ExceptionGroup
        At the end, of the stages that failed here.
    """
    root, total = options.output / "runs", len(study.stages)
    left = [*enumerate(study.longest_first() if options.longest_first else study.stages, 1)]
    failed: dict[str, Exception] = {}
    with graceful_stop() as stop:
        while left:
            taken, others = False, []
            for number, stage in left:
                if stop():
                    return stop.reason
                if is_done(stage.folder(root)):
                    continue
                if any(each.digest in failed for each in stage.ancestors()):
                    continue
                ready = all(is_done(parent.folder(root)) for parent in stage.parents.values())
                if not ready:
                    others.append((number, stage))
                    continue
                title = f"{number}/{total} {stage.protocol}, {stage.name}, seed {stage.seed}"
                try:
                    took = _take(title, stage, scenes, options, stop)
                except Exception as error:
                    error.add_note(f"in {title}")
                    failed[stage.digest] = error
                    print(f"== failed: {error}", flush=True)
                    continue
                if took == "stopped":
                    return stop.reason
                if took is None:
                    others.append((number, stage))
                taken = taken or took == "done"
            left = others
            if left and not taken:
                time.sleep(1)  # somebody else is at what the others need
    if failed:
        raise ExceptionGroup(f"{len(failed)} stages failed", [*failed.values()])
    return None


def _take(
    title: str,
    stage: Stage,
    scenes: Callable[[Stage], classify.LesionDataset],
    options: Options,
    stop: StopRequest,
) -> Literal["done", "stopped"] | None:
    """Run a stage, unless another process is at it."""
    started = time.perf_counter()
    print(f"== {title}", flush=True)
    try:
        done = run_stage(
            stage,
            lambda: scenes(stage),
            options.output / "runs",
            device=options.device,
            stop=stop,
            progress=not options.fast,
        )
    except RunLocked as locked:
        print(f"== {locked}", flush=True)
        return None
    if not done:
        return "stopped"
    print(f"== took {time.perf_counter() - started:.1f} s", flush=True)
    return "done"


def gather(
    study: Plan, scenes: Callable[[Stage], classify.LesionDataset], options: Options
) -> dict[str, Any]:
    """Everything that came out so far, as one document."""
    made, root = scale(options), options.output / "runs"
    settings = asdict(made) | {"data": _named(options), "weights": made.weights is not None}
    missing = [
        f"{stage.protocol}, {stage.name}, seed {stage.seed}"
        for stage in study.stages
        if not is_done(stage.folder(root))
    ]
    document: dict[str, Any] = {
        "label": label(options, made, unfinished=bool(missing)),
        "command": command(options),
        "environment": _environment(study, options),
        "scale": settings,
        "chosen": list(CHOSEN),
        "faults": [fault._asdict() for fault in faults()],
        "stages": len(study.stages),
        "missing": missing,
        "protocols": {},
    }
    for protocol, rows in study.rows.items():
        pictures = scenes(rows["classifier"])
        whole = scenes(_unlimited(rows["classifier"], options))
        parts = build_split(rows["classifier"].config, whole)
        document["protocols"][protocol] = {
            "used": len(pictures),
            "data": results.data_facts(whole, parts),
            "rows": {
                name: results.row(stage, root)
                for name, stage in rows.items()
                if is_done(stage.folder(root))
            },
            "analyses": analyses.analyse(
                rows,
                pictures,
                options.output,
                device=options.device,
                steps=2 if options.fast else 200,
            ),
        }
    if "honest" in study.rows:
        document["claims"] = results.claims(study, root, draws=made.resamples)
        document["goals"] = results.goals(study, root, draws=made.resamples)
    return as_json(document)


def _environment(study: Plan, options: Options) -> dict[str, Any]:
    """Where most stages ran: not where it is told."""
    root = options.output / "runs"
    there = [results.machine(stage, root) for stage in study.stages if is_done(stage.folder(root))]
    known = [json.dumps(each) for each in there if each is not None]
    if not known:
        return asdict(environment(options.device))
    return json.loads(Counter(known).most_common(1)[0][0])


def _unlimited(stage: Stage, options: Options) -> Stage:
    """A stage on all pictures: a few of them say too little of the data and its leak."""
    if options.fast or getattr(stage.config.data, "limit", None) is None:
        return stage
    data = stage.config.data.model_copy(update={"limit": None})
    return replace(stage, config=stage.config.model_copy(update={"data": data}))


def loader() -> Callable[[Stage], classify.LesionDataset]:
    """Scenes of a stage; those of a configuration are built once."""
    kept: dict[str, classify.LesionDataset] = {}

    def scenes(stage: Stage) -> classify.LesionDataset:
        key = stage.config.data.model_dump_json()
        if key not in kept:
            kept[key] = build_data(stage.config.data, progress=True)
        return kept[key]

    return scenes


def command(options: Options) -> str:
    """What makes the same again, without the folders of one machine."""
    words = ["python examples/ham10000/reproduce.py"]
    if options.data != "phantom":
        words.append(f"--data {_named(options)}")
    for name in ("fast", "cpu"):
        if getattr(options, name):
            words.append(f"--{name}")
    defaults = Options()
    for name in ("device", "protocol", "seeds", "pixels", "backbone", "phantoms", "epochs_scale",
                 "limit", "batch_size", "precision"):  # fmt: skip
        value = getattr(options, name)
        if value != getattr(defaults, name):
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


def _named(options: Options) -> str:
    return options.data if options.data == "phantom" else Path(options.data).name


def main(options: Options) -> dict[str, Any] | None:
    """Run what is missing, and tell all; None when it was stopped, or is to tell nothing."""
    if options.fast and options.cpu:
        raise ValueError("--fast and --cpu are two sizes: choose one")
    if options.stages_only and (options.report or options.publish is not None):
        raise ValueError("--stages-only tells nothing: leave out --report and --publish")
    usable_device(options.device)
    names = get_args(ProtocolName) if options.protocol == "both" else (options.protocol,)
    study = plan(names, scale(options), seeds=options.seeds)
    scenes = loader()
    if not options.report and (reason := run(study, scenes, options)) is not None:
        print(f"stopped by {reason} and saved; the same command goes on")
        return None
    if options.stages_only:
        return None
    document = gather(study, scenes, options)
    text = tables.text(document)
    print(f"\n{text}")
    for name, content in (
        ("results.json", json.dumps(document, indent=1, allow_nan=False) + "\n"),
        ("results.csv", results.to_csv(document)),
        ("tables.txt", text),
    ):
        write_atomically(options.output / name, content.encode())
    figures.draw(document, options.output)
    if options.publish is not None:
        page.publish(options.output, Path(__file__).parents[2] / "docs", options.publish)
    return document


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
