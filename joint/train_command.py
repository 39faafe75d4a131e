"""``lens2label train``: a run that is begun, gone on with, or shown.

::

    options ─┬─ a finished run, asked for again ──────────────────► its result
             └─ held folder ─► scenes, split ─► complete_run ─┬───► its result
                                                              └───► saved, and how to go on
"""

import json
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import fields
from pathlib import Path

import torch

from classify import Split
from optics.shutter import behind_shutter

from .arguments import read_train_options
from .build import as_begun, build_split
from .complete import built, complete_run, earlier, places, put, trained_stages
from .config.run import RunConfig, check_own, load_config
from .config.scenes import build_data
from .device import usable_device
from .folder import CONFIG_FILE, RunFolder, hold, is_done, read_result
from .judge import summary
from .light_cut import what_is_cut
from .options import RESAMPLES, TrainOptions
from .parallel import gathered, is_loss, launched, rank
from .settings import ConfigError
from .stop import graceful_stop
from .train.listen import EpochListener, retell, tensorboard_writer
from .train.preflight import check_run
from .trained import load_teacher

__all__ = ["train"]

_STOPPING = "lens2label: finishing the step and saving; Ctrl-C (again) leaves at once"


def train(arguments: Sequence[str]) -> int:
    """Begin a run, go on with it, or show it; returns the exit status."""
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
