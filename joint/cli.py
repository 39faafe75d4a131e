"""The command line: what each command does.

Its options are in :mod:`joint.options`; what is more than a few lines has a file of its own, as
:mod:`joint.train_command`, :mod:`joint.picture.command` and :mod:`joint.study.command`.
"""

import difflib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import torch
import tyro

from classify import audit

from .arguments import read_audit_options, read_evaluate_options
from .build import build_split
from .cells import aligned, as_csv
from .checkpoint import CheckpointError, write_atomically
from .config.run import RunConfig, load_config
from .config.scenes import build_data
from .describe_command import describe
from .export import check_target, export
from .feed import as_scenes
from .folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    RunSummary,
    list_runs,
)
from .judge import Judged, at_a_glance, judge_run
from .options import (
    EvaluateOptions,
    ExportOptions,
    PredictOptions,
    ReportOptions,
    RunsOptions,
)
from .picture.command import (
    STANDARD_CODECS,
    CompressOptions,
    DecompressOptions,
    compress,
    decompress,
    is_standard,
    tell_failed,
)
from .point import OperatingPoint, operating
from .predict import Prediction, predict
from .settings import ConfigError, OptionError
from .train.listen import retell, tensorboard_writer
from .train.run import TrainingDiverged
from .train_command import train
from .trained import load_run

__all__ = ["main"]

# Exit status; that of an unknown command or option is 2, as everywhere.
_MISTAKE, _UNKNOWN, _DIVERGED, _INTERRUPTED = 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``lens2label``; returns the exit status, see ``lens2label --help``."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command == "--version":
        print(f"lens2label {metadata.version('lens2label')}")
        return 0
    if command in ("-h", "--help"):
        print(_USAGE)
        return 0
    if command not in _COMMANDS:
        near = difflib.get_close_matches(command, _COMMANDS, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        print(f"lens2label: there is no command {command!r}{hint}\n\n{_USAGE}", file=sys.stderr)
        return _UNKNOWN
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = _COMMANDS[command](rest)
            sys.stdout.flush()
        except BrokenPipeError:  # `lens2label runs runs | head`: whoever read has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = _MISTAKE
        except TrainingDiverged as error:
            status = _DIVERGED
            print(f"lens2label: {error}", file=sys.stderr)
        except OptionError as error:
            status = _UNKNOWN
            print(f"lens2label: {error}", file=sys.stderr)
        except (ConfigError, CheckpointError, ValueError, OSError, ImportError) as error:
            status = _MISTAKE
            print(f"lens2label: {error}", file=sys.stderr)
        except torch.OutOfMemoryError as error:
            status = _MISTAKE
            print(
                "lens2label: the GPU is out of memory: choose a smaller batch size, or (to train) "
                f"more --training.micro-batches\n{str(error).splitlines()[0]}",
                file=sys.stderr,
            )
        except KeyboardInterrupt:
            status = _INTERRUPTED
            print("lens2label: interrupted", file=sys.stderr)
    return status


_USAGE = f"""usage: lens2label COMMAND [OPTIONS]

From light to label: train a camera element, a codec and a classifier in one graph.

commands:
  describe   say what a camera is in numbers, before it is trained or after
  train      train a system and write a run folder
  evaluate   evaluate a trained run
  predict    say what pictures show, by a trained run
  report     write a page of a run, or of several side by side
  contrast   say whether a run decides by how far lesions stand out
  tolerance  say how many cameras with errors keep what a run promises
  runs       list run folders and how far they have come
  study      train and judge many designs; lens2label study --help lists its commands
  audit      look for duplicates and leaks in a data set and its split
  compress   code pictures with the codec of a run
  decompress decode such files
  export     write the trained graph as one file that runs without this library

examples:
  lens2label describe --front-end lens
  lens2label train --output runs/edge --front-end fourier --data ham10000.zip
  lens2label train --output runs/edge --resume
  lens2label evaluate runs/edge --json
  lens2label report runs/plain runs/edge --output report.html

exit status:
  0    done; or stopped by SIGTERM or Ctrl-C after saving, with a word on how to go on
  {_MISTAKE}    a mistake: a missing file, a folder in use, a full disk, a study that cannot be
       read, what a run or this machine does not have
  1    of audit: something is in more than one part; of compress: a file could not be used;
       of study run: every run failed
  {_UNKNOWN}    an unknown command or option, a value out of range, options that contradict
  {_DIVERGED}    training diverged
  {_INTERRUPTED}  interrupted at once by a second Ctrl-C, or by one before the training

lens2label COMMAND --help explains the options, lens2label --version names the version."""


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"lens2label: warning: {message}", file=sys.stderr)


def _check_run_folder(folder: Path) -> None:
    """Refuse what is no run folder, before anything is loaded."""
    if not (folder / CONFIG_FILE).is_file():
        if any((folder / name).is_file() for name in (BEST_FILE, CHECKPOINT_FILE)):
            load_config(folder)  # says what to do with a folder that joint.fit wrote
        raise ConfigError(
            f"cannot read {folder}: it is no run folder, which has a {CONFIG_FILE}; lens2label "
            "train --output makes one, and lens2label runs lists those in a folder"
        )


def _evaluate(arguments: Sequence[str]) -> int:
    options = read_evaluate_options(arguments)
    options.check()
    _check_run_folder(options.run)
    found = []
    for judged in judge_run(
        options,
        lambda size, like: read_evaluate_options(arguments, image_size=size, like=like),
    ):
        found.append(judged)
        if not options.json:
            print(judged)
    if options.json:
        told = [judged.to_dict() for judged in found]
        print(json.dumps(told if len(told) > 1 else told[0], indent=2))
    elif len(found) > 1:
        print(f"\n{at_a_glance(found)}")
    if options.csv is not None:
        write_atomically(options.csv, as_csv([judged.cells() for judged in found]).encode())
        if not options.json:
            print(f"wrote {options.csv}")
    if options.figure is not None:
        _draw_points(found, options)
    return 0


def _draw_points(found: Sequence[Judged], options: EvaluateOptions) -> None:
    """The figure of a run at several points."""
    from .figure import points_figure, save_figure  # noqa: PLC0415 - others start faster

    assert options.figure is not None
    name = options.run.resolve().name
    lines = {name: [judged.result for judged in found]}
    adjusted = [judged.adjusted for judged in found if judged.adjusted is not None]
    if adjusted:
        lines[f"{name}, adjusted"] = adjusted
    judges = any(judged.result.report is not None for judged in found)
    metric = options.figure_metric or ("balanced_accuracy" if judges else "psnr_scene")
    try:
        figure = points_figure(lines, metric=metric)
    except ValueError as error:
        raise ConfigError(f"--figure: {error}") from error
    save_figure(figure, options.figure, dpi=150)
    if not options.json:
        print(f"wrote {options.figure}")


def _predict(arguments: Sequence[str]) -> int:
    options = tyro.cli(PredictOptions, args=arguments, prog="lens2label predict")
    options.check()
    _check_run_folder(options.run)
    failed: list[str] = []
    said = predict(
        options.run,
        options.pictures,
        views=options.views,
        photons=options.photons,
        quality=options.quality,
        distance=options.distance,
        motion=options.motion,
        white_level=options.white_level,
        bit_depth=options.bit_depth,
        temperature=options.temperature,
        seed=options.seed,
        batch_size=options.batch_size,
        device=options.device,
        progress=not options.quiet,
        failed=lambda *file: failed.append("{}: {}".format(*file)),
    )
    if options.json:
        print(json.dumps([each.to_dict() for each in said], indent=2))
    elif said:
        print("\n".join(aligned([[each.name, *_likeliest(each)] for each in said])))
    if options.csv is not None and said:
        write_atomically(options.csv, as_csv([each.cells() for each in said]).encode())
    return tell_failed(failed, len(said))


def _likeliest(said: Prediction, count: int = 3) -> Iterator[str]:
    """The most probable classes, with their probabilities."""
    ranked = said.ranked()[:count]
    yield from (f"{name} {probability:.3f}" for name, probability in ranked)


def _report(arguments: Sequence[str]) -> int:
    # The other commands start faster without it.
    from .report import figures_in, write_report  # noqa: PLC0415

    options = tyro.cli(ReportOptions, args=arguments, prog="lens2label report")
    options.check()
    for run in options.runs:
        _check_run_folder(run)
    folder = options.figures
    also = figures_in(folder, ending=options.figure_format) if folder else nullcontext()
    with also:
        write_report(
            options.runs,
            options.output,
            names=_names_of(options.runs),
            quick=options.quick,
            pictures=options.pictures,
            resamples=options.resamples,
            batch_size=options.batch_size,
            device=options.device,
            progress=not options.quiet,
        )
    if not options.quiet:
        print(f"wrote {options.output}" + (f", and its figures to {folder}" if folder else ""))
    return 0


def _names_of(runs: Sequence[Path]) -> list[str]:
    """What run folders are called: those of a study, named by digests, by their designs."""
    # The other commands start faster without it.
    from .study import StudyError, open_study  # noqa: PLC0415
    from .study.space import levels_shown  # noqa: PLC0415

    places = [run.resolve() for run in runs]
    told: dict[Path, str] = {}
    for folder in {place.parent.parent for place in places}:
        with suppress(StudyError):  # there is none, or it is damaged: the runs are whole
            study = open_study(folder)
            for run in study.runs:
                design = levels_shown(study.designs[run.design]) or f"design {run.design}"
                told[study.path(run)] = f"{design}, seed {run.seed}"
    return [told.get(place, place.name) for place in places]


def _contrast(arguments: Sequence[str]) -> int:
    # The other commands start faster without it.
    from .analysis.contrast.command import judge_contrast  # noqa: PLC0415

    return judge_contrast(arguments)


def _tolerance(arguments: Sequence[str]) -> int:
    # The other commands start faster without it.
    from .analysis.tolerancing.command import judge_tolerances  # noqa: PLC0415

    return judge_tolerances(arguments)


def _study(arguments: Sequence[str]) -> int:
    from .study import WorkerLost, command  # noqa: PLC0415 - the other commands start faster

    try:
        return command.main(arguments)
    except WorkerLost as error:
        print(f"lens2label: {error}", file=sys.stderr)
        return _MISTAKE


def _compress(arguments: Sequence[str]) -> int:
    options = tyro.cli(CompressOptions, args=arguments, prog="lens2label compress")
    _check_codec(options.codec)
    return compress(options)


def _check_codec(named: Path) -> None:
    """Refuse what is neither a standard codec nor a run folder, before anything is loaded."""
    if is_standard(named):
        return
    try:
        _check_run_folder(named)
    except ConfigError as error:
        if named.exists():
            raise
        names = ", ".join(STANDARD_CODECS)
        raise ConfigError(f"{error}; nor is it a standard codec, which are {names}") from error


def _decompress(arguments: Sequence[str]) -> int:
    options = tyro.cli(DecompressOptions, args=arguments, prog="lens2label decompress")
    _check_codec(options.codec)
    return decompress(options)


def _export(arguments: Sequence[str]) -> int:
    options = tyro.cli(ExportOptions, args=arguments, prog="lens2label export")
    options.check()
    _check_run_folder(options.run)
    check_target(options.file)  # before what takes time
    _, system, parts = load_run(options.run)
    test = parts.test
    rows = torch.arange(min(options.pictures, len(test)))
    scenes, _ = as_scenes(test.gather(rows), torch.device("cpu"))
    with operating(system, OperatingPoint(quality=options.quality)):
        done = export(
            system,
            scenes,
            options.file,
            plane=options.plane,
            until=options.until,
            classes=test.classes if options.until == "scores" else None,
        )
    told = json.dumps(asdict(done) | {"path": str(done.path)}, indent=2)
    print(told if options.json else done)
    return 0


def _runs(arguments: Sequence[str]) -> int:
    options = tyro.cli(RunsOptions, args=arguments, prog="lens2label runs")
    runs = list_runs(options.root)
    if options.tensorboard is not None:
        for run in runs:
            _log_elsewhere(run.path, options.tensorboard / run.path.absolute().name)
    if options.json:
        print(json.dumps([asdict(run) | {"path": str(run.path)} for run in runs], indent=2))
    elif runs:
        width = max(len(run.path.name) for run in runs)
        print("\n".join(_line(run, width) for run in runs))
    else:
        print(f"no run folder in {options.root}")
    return 0


def _log_elsewhere(run: Path, folder: Path) -> None:
    """Write what a run has told so far for TensorBoard, leaving the run folder alone."""
    with tensorboard_writer(folder) as log:
        try:
            retell(run, [log])
        except CheckpointError as error:  # the others can be read
            print(f"lens2label: {error}", file=sys.stderr)


def _line(run: RunSummary, width: int) -> str:
    epochs = f"{run.epochs}/{'?' if run.of is None else run.of}"
    value = "" if run.latest is None else f"{run.monitor} {run.latest:.4f}"
    note = f"  ({run.note})" if run.note else ""
    return f"{run.path.name:<{width}}  {run.state:<11}  {epochs:>9} epochs  {value}{note}".rstrip()


def _audit(arguments: Sequence[str]) -> int:
    options = read_audit_options(arguments)
    options.check()
    config = RunConfig(data=options.scenes.data, split=options.split)
    dataset = build_data(config.data, progress=not options.json)
    found = audit(
        dataset,
        build_split(config, dataset),
        threshold=options.threshold,
        align=options.align,
    )
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 1 if found.leaks else 0


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "describe": describe,
    "train": train,
    "evaluate": _evaluate,
    "predict": _predict,
    "report": _report,
    "contrast": _contrast,
    "tolerance": _tolerance,
    "runs": _runs,
    "study": _study,
    "audit": _audit,
    "compress": _compress,
    "decompress": _decompress,
    "export": _export,
}


if __name__ == "__main__":
    sys.exit(main())
