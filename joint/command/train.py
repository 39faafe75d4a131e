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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from classify import Split
from joint.config.run import RunConfig, check_own, load_config, run_directory
from joint.config.scenes import build_data
from joint.device import usable_device
from joint.judge.light_cut import what_is_cut
from joint.parallel import gathered, is_loss, launched, rank
from joint.run.build import build_split
from joint.run.complete import built, complete_run
from joint.run.resume import Asked, Given, decide, open_settings, places
from joint.run.start import trained_stages
from joint.run.stop import graceful_stop
from joint.run.trained import load_teacher
from joint.saved.folder import RunFolder, is_done, lock_run, read_result
from joint.settings import ConfigError, OptionError
from joint.stages import Stage
from joint.train.listen import EpochListener, retell, tensorboard_writer
from joint.train.preflight import check_run
from optics.imaging.shutter import behind_shutter

from .judged import summary
from .options import RESAMPLES, Choice, check_trained
from .reading import check_settings, check_split, read_choice, read_given

__all__ = ["TrainOptions", "main", "read_train_options"]

_STOPPING = "lens2label: finishing the step and saving; Ctrl-C (again) exits at once"


@dataclass(frozen=True)
class TrainOptions:
    """Train a system and write a run folder.

    The folder receives config.json, environment.json, history.jsonl (a line an epoch), the newest
    two checkpoints, best.safetensors, and at the end predictions.safetensors and result.json (the
    test part, by the weights of the best epoch or, with --training.no-restore-best, of the last).
    SIGTERM or Ctrl-C finish the step, save and exit with status 0; a second Ctrl-C exits at once;
    --resume continues the run, even after a kill. A * marks the line of an epoch that is the best
    so far.

    A kind has its own options: --help after --codec jpeg, or after --data and a path, shows them.
    Among the kinds, none leaves the stage out, and None keeps that of --config, or the default. For
    example:

        lens2label train --output runs/edge --front-end fourier --system.front-end.start spiral
        lens2label train --output runs/tuned --config runs/edge --start runs/edge --data clinic
    """

    choice: Annotated[Choice, tyro.conf.arg(name="")]
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    output: Path | None = None
    """Run folder."""
    root: Path | None = None
    """Instead of --output: parent folder; the digest of the configuration names the run folder."""
    start: Path | None = None
    """Run folder whose trained weights are the initial weights, instead of random ones; --config
    takes its configuration, and no weights. Not with --root, whose folder names ignore it."""
    start_stages: tuple[Stage, ...] = ()
    """Take the weights of these stages only; by default those of all stages of that run."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    resume: bool = False
    """Continue the run in the folder; start it by the other options if there is none; show its
    result if it is done. If the files of its scenes or its teacher were moved, give --output, and
    their new places by --data and --teacher: they are recognised by their content. With --output,
    a larger --training.epochs and nothing else, a run with the schedule constant continues for
    more epochs, also when it is done."""
    tensorboard: bool = False
    """Also write the numbers of each epoch for TensorBoard, to tensorboard/ in the run folder; may
    be given or left out each time the run is continued. Needs
    pip install "lens2label[tensorboard]"."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print nothing but the result, as JSON."""
    given: Annotated[Given | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    """What was given of the configuration, as in :class:`joint.run.resume.Asked`."""

    def asked(self) -> Asked:
        """What is asked of the run in the folder."""
        return Asked(self.run, resume=self.resume, given=self.given)

    def folder(self) -> Path:
        """Where the run goes."""
        if (self.output is None) == (self.root is None):
            raise OptionError(
                "give either --output, the run folder, or --root, the folder of run folders"
            )
        if self.start_stages and self.start is None:
            raise OptionError("--start-stages needs --start, the run that has their weights")
        if self.root is not None:
            if self.start is not None:
                raise OptionError(
                    "--start needs --output: the name of a --root folder depends only on the "
                    "configuration, and would be that of the run without --start"
                )
            return run_directory(self.root, self.run)
        return self.output or Path()


def read_train_options(arguments: Sequence[str]) -> TrainOptions:
    """Read the kinds first, then everything with the options that these kinds have.

    Raises
    ------
    OptionError
        When options have values that cannot be, alone or together: each as it is typed.
    SystemExit
        Of status 2, after a word on the screen, for options that are not known or not read, and of
        status 0 after ``--help``.
    """
    choice, start = read_choice(arguments)
    prog = "lens2label train"
    options = read_given(
        TrainOptions, arguments, prog, default=TrainOptions(choice=choice, run=start)
    )
    run = check_settings(RunConfig, options.run, arguments, prog)
    check_split(run.split, arguments)
    return replace(options, run=run, given=_given(arguments, choice, run))


def main(arguments: Sequence[str]) -> int:
    """Start a run, continue it, or show its result; returns the exit status."""
    options = read_train_options(arguments)
    usable_device(options.device)  # before anything is loaded
    folder = options.folder()
    with launched(options.device) as device:
        if _is_shown(options, folder):
            stopped_by = None
            if options.tensorboard:
                _log_again(folder)
        else:
            with (
                _gone_if_empty(folder),
                tensorboard_writer(folder) if options.tensorboard else nullcontext() as log,
                lock_run(folder) as run,
            ):
                stopped_by = _train_held(options, run, device, log)
        if rank() > 0:
            return 0
    if is_done(folder):
        return _show_result(options, folder)
    if options.json:
        print(json.dumps({"state": "interrupted", "folder": str(folder)}, indent=2))
    elif not options.quiet:
        same = [] if options.start is None else ["--start", str(options.start)]
        if options.resume:
            same += [word for words in (options.given or {}).values() for word in words]
        again = shlex.join(["lens2label", "train", "--output", str(folder), *same, "--resume"])
        print(f"stopped by {stopped_by} and saved; to continue: {again}")
    return 0


def _is_shown(options: TrainOptions, folder: Path) -> bool:
    """Whether the run of a folder is done, and is what was asked for."""
    # With a start, the long way: only with the scenes can it be told whether it is that of the run.
    if not options.resume or options.start is not None or not is_done(folder):
        return False
    found = decide(RunFolder(folder), options.asked())
    # Of what lies elsewhere, too, only the scenes tell whether it is the same.
    return found.action == "keep" and found.config == found.noted


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


def _log_again(folder: Path) -> None:
    """Write what a finished run has to say for TensorBoard."""
    with tensorboard_writer(folder) as log, lock_run(folder):
        if rank() == 0:
            retell(folder, [log])


def _show_result(options: TrainOptions, folder: Path) -> int:
    result = read_result(folder)
    if options.json:
        print(json.dumps({"state": "done", "folder": str(folder), **result}, indent=2))
    elif not options.quiet:
        epoch = "best" if load_config(folder).training.restore_best else "last"
        print(f"test part, by the weights of the {epoch} epoch:")
        numbers = result["test"].items()
        print(summary({name: value for name, value in numbers if isinstance(value, float)}))
        page = shlex.join(["lens2label", "report", str(folder), "--output", "report.html"])
        print(f"the run is in {folder}; for a page on it: {page}")
    return 0


def _given(arguments: Sequence[str], choice: Choice, run: RunConfig) -> Given | None:
    """The settings that were given, also those given at their defaults.

    None where one of them is not open for a run that is resumed: what no option says is then as it
    is by default, and not as it was.
    """
    beside, known = {each.name for each in fields(TrainOptions)}, open_settings(run.data)
    words: dict[str, list[str]] = {}
    for number, word in enumerate(arguments):
        name, given, _ = word.partition("=")
        option = name.removeprefix("--").replace("-", "_")
        if option == name.replace("-", "_"):
            continue  # the value of an option
        if option in known:
            words[option] = [word] if given else [*arguments[number : number + 2]]
        elif option.removeprefix("no_") not in beside:
            return None
    if choice.data is None:
        words.pop("data", None)  # of --data None, which chooses nothing
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
) -> str | None:
    """Complete the run of a folder that is held, or leave it saved; returns what stopped it."""
    loud = not (options.quiet or options.json or rank())
    found = decide(run, options.asked())
    config, new = found.config, found.action == "begin"
    if new:  # before anything is loaded
        check_own(config)
    if found.noted is not None:
        _check_there(config, run.path)
    dataset = build_data(config.data, progress=loud)
    parts = build_split(config, dataset)
    if loud:
        print(parts)
    if new:  # before there is anything of it in the folder
        _check_new(config, parts, device)
    start = start_run = None
    if options.start is not None:
        start = trained_stages(options.start, parts, options.start_stages or None)
        start_run = load_config(options.start).digest()
    if new and rank() == 0:
        taught = config.teacher if config.objective.distillation else None
        for other in filter(None, (options.start, taught)):
            check_trained(other)
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
        return next(filter(None, gathered(stop.reason)), None)  # of whichever process was asked
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
    system = built(config.system, parts.train, device)
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
