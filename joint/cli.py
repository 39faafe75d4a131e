"""The command line: what each command does.

Its options are in :mod:`joint.options`; those about pictures in :mod:`joint.picture.command`.
"""

import difflib
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path

import torch
import tyro

from classify import Split, audit
from optics.shutter import behind_shutter

from .arguments import read_audit_options, read_evaluate_options, read_train_options
from .build import as_begun, build_split
from .cells import aligned, as_csv
from .checkpoint import CheckpointError, write_atomically
from .complete import built, complete_run, earlier, places, put, trained_stages
from .config.lens import what_is_cut
from .config.run import RunConfig, check_own, load_config
from .config.scenes import build_data
from .device import usable_device
from .export import check_target, export
from .feed import as_scenes
from .folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    RunFolder,
    RunSummary,
    hold,
    is_done,
    list_runs,
    read_result,
)
from .judge import Judged, at_a_glance, judge_run, summary
from .options import (
    RESAMPLES,
    EvaluateOptions,
    ExportOptions,
    PredictOptions,
    ReportOptions,
    RunsOptions,
    TrainOptions,
)
from .parallel import gathered, is_loss, launched, rank
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
from .stop import graceful_stop
from .train.listen import EpochListener, retell, tensorboard_writer
from .train.preflight import check_run
from .train.run import TrainingDiverged
from .trained import load_run, load_teacher

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
  train      train a system and write a run folder
  evaluate   evaluate a trained run
  predict    say what pictures show, by a trained run
  report     write a page of a run, or of several side by side
  runs       list run folders and how far they have come
  study      train and judge many designs; lens2label study --help lists its commands
  audit      look for duplicates and leaks in a data set and its split
  compress   code pictures with the codec of a run
  decompress decode such files
  export     write the trained graph as one file that runs without this library

examples:
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

_STOPPING = "lens2label: finishing the step and saving; Ctrl-C (again) leaves at once"


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"lens2label: warning: {message}", file=sys.stderr)


def _train(arguments: Sequence[str]) -> int:
    options = read_train_options(arguments)
    usable_device(options.device)  # before anything is loaded
    folder = options.folder()
    # With a start, the long way: only with the scenes can it be told whether it is that of the run.
    moved = _moved(arguments, options)
    if options.resume and options.start is None and is_done(folder):
        asked = None if moved else _asked_for(options)
        saved = earlier(RunFolder(folder), asked, resume=True, elsewhere=True)
        assert saved is not None  # of a run that is done
        # Whether what lies elsewhere is the same takes the long way, too.
        of_kind = options.choice.data is None or type(options.run.data) is type(saved.data)
        if (of_kind and put(saved, options.run) == saved) if moved else asked in (None, saved):
            if options.tensorboard:
                _log_again(options, folder)
            return _show_result(options, folder)
    there = folder.exists()
    with (
        _gone_if_empty(folder),
        _tensorboard(options, folder) as log,
        launched(options.device) as device,
        hold(folder) as run,
    ):
        stopped_by = _train_held(
            options, run, device, log, there=gathered(there)[0], moved=bool(moved)
        )
        if rank() > 0:
            return 0
    if is_done(folder):
        return _show_result(options, folder)
    if options.json:
        print(json.dumps({"state": "interrupted", "folder": str(folder)}, indent=2))
    elif not options.quiet:
        same = [] if options.start is None else ["--start", str(options.start)]
        same += (moved or []) if options.resume else []
        again = shlex.join(["lens2label", "train", "--output", str(folder), *same, "--resume"])
        print(f"stopped by {stopped_by} and saved; to go on: {again}")
    return 0


@contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """Take a folder that was made for a run away again, when the run was refused."""
    there = folder.exists()
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):  # there is something in it, or it was never made
                folder.rmdir()


def _tensorboard(
    options: TrainOptions, folder: Path
) -> AbstractContextManager[EpochListener | None]:
    """What writes the epochs for TensorBoard, if it was asked for."""
    return tensorboard_writer(folder) if options.tensorboard else nullcontext()


def _log_again(options: TrainOptions, folder: Path) -> None:
    """Write what a finished run has to say for TensorBoard."""
    with tensorboard_writer(folder) as log, launched(options.device), hold(folder):
        if rank() == 0:
            retell(folder, [log])


def _show_result(options: TrainOptions, folder: Path) -> int:
    result = read_result(folder)
    if options.json:
        print(json.dumps({"state": "done", "folder": str(folder), **result}, indent=2))
    elif not options.quiet:
        numbers = result["test"].items()
        print(summary({name: value for name, value in numbers if isinstance(value, float)}))
    return 0


def _asked_for(options: TrainOptions) -> RunConfig | None:
    """The configuration that the options give; None when they give none."""
    return options.run if options.configured else None


def _moved(arguments: Sequence[str], options: TrainOptions) -> list[str] | None:
    """The words that say where scenes and teacher lie; None with others of the configuration."""
    beside = {each.name for each in fields(TrainOptions)}
    where = {"data", "teacher", *(f"data.{name}" for name in places(options.run.data))}
    words: list[str] = []
    for number, word in enumerate(arguments):
        name, given, _ = word.partition("=")
        option = name.removeprefix("--").replace("-", "_")
        if option == name.replace("-", "_"):
            continue  # the value of an option
        if option in where:
            words += [word] if given else arguments[number : number + 2]
        elif option.removeprefix("no_") not in beside:
            return None
    return words


def _check_there(config: RunConfig, folder: Path) -> None:
    """Refuse to go on with a run whose scenes or teacher are no longer where it says."""
    there = {f"data.{name}": place for name, place in places(config.data).items()}
    if config.teacher is not None and config.objective.distillation:
        there["teacher"] = config.teacher
    # What --data takes itself; the pictures of a table have an option of their own.
    whole = "data.table" if "data.table" in there else "data.root"
    for setting, place in there.items():
        if not place.exists():
            option = "data" if setting in (whole, "data.path") else setting
            raise ConfigError(
                f"{place} is not there, which is {setting} of the run in {folder}, seen from "
                f"{Path.cwd()}: say with --resume where it is now (--{option} PATH)"
            )


def _train_held(
    options: TrainOptions,
    run: RunFolder,
    device: torch.device,
    log: EpochListener | None,
    *,
    there: bool,
    moved: bool,
) -> str | None:
    """Complete the run of a folder that is held, or leave it saved; returns what stopped it."""
    loud = not (options.quiet or options.json or rank())
    asked = _asked_for(options)
    # By options that say where its scenes and its teacher lie now, the rest is as it was.
    begun = earlier(run, None if moved else asked, resume=options.resume, elsewhere=True)
    meant = begun
    if begun is None and (asked is None or moved) and options.resume and there:
        # Killed before it was saved: the default run is not what was begun.
        if (run.path / CONFIG_FILE).is_file():
            meant = load_config(run.path)
        elif asked is None:
            raise ConfigError(
                f"{run.path} holds nothing of a run that could go on: give the options of the run "
                "again, or begin without --resume"
            )
    config = meant or options.run
    if meant is not None and asked is not None:
        config = put(meant, asked)
        if options.choice.data is not None and type(asked.data) is not type(meant.data):
            raise ConfigError(
                f"--data {options.choice.data} holds scenes of another kind than those of the run "
                f"in {run.path} ({meant.data.kind}): with --resume it says where the same are now"
            )
    if begun is None:
        check_own(config)  # before anything is loaded
    if meant is not None:
        _check_there(config, run.path)
    dataset = build_data(config.data, progress=loud)
    if begun is not None:
        dataset = as_begun(dataset, config, run.path)
    parts = build_split(config, dataset)
    if loud:
        print(parts)
    if begun is None:  # before there is anything of it in the folder
        _check_new(config, parts, device)
    start = start_run = None
    if options.start is not None:
        start = trained_stages(options.start, parts, options.start_stages or None)
        start_run = load_config(options.start).digest()
    try:
        # Not before: until there are steps, nothing asks, and a signal ends the process at once.
        with graceful_stop(notice=_STOPPING) as stop:
            complete_run(
                config,
                parts,
                run,
                start=start,
                start_run=start_run,
                resume=options.resume,
                device=device,
                resamples=RESAMPLES,
                stop=stop,
                on_epoch=log,
                progress=loud,
            )
        return stop.reason
    except Exception as error:
        # One process that was lost has said why, or cannot; a refusal of what is asked now says
        # nothing of the run that is there.
        if not is_loss(error) and not isinstance(error, ConfigError):
            run.fail(error)
        raise


def _check_new(config: RunConfig, parts: Split, device: torch.device) -> None:
    """Refuse what cannot be trained, see :func:`joint.train.preflight.check_run`.

    Warns of a lens whose simulation cuts off light: what is trained with it loses that light.
    """
    system = built(config, parts.train, device)
    cut = what_is_cut(behind_shutter(system.front_end))
    if cut is not None:
        warnings.warn(cut, stacklevel=2)
    teacher = load_teacher(config, parts)
    if teacher is not None:
        teacher.to(device)
    check_run(
        system,
        parts.train,
        parts.validation,
        config.objective,
        config.training,
        teacher=teacher,
    )


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
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "report": _report,
    "runs": _runs,
    "study": _study,
    "audit": _audit,
    "compress": _compress,
    "decompress": _decompress,
    "export": _export,
}


if __name__ == "__main__":
    sys.exit(main())
