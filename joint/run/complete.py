"""A run from its configuration to its result, also from trained weights of other runs.

::

    classifier alone ─┐ start
    codec alone ──────┴──► complete_run(joint) ──► run folder that is done ──► lens2label report
    a better camera ──────────┘ config.teacher

``lens2label train`` and the workers of a study complete their runs with it, too.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classify import LesionDataset, Split
from joint.config.run import RunConfig, SystemConfig, check_comes_back, save_config
from joint.device import usable_device
from joint.judge.evaluate import evaluate
from joint.judge.evaluation import Evaluation
from joint.parallel import gathered, rank, world_size
from joint.saved.checkpoint import digest, load_weights
from joint.saved.folder import RunFolder, as_path, lock_run
from joint.settings import ConfigError
from joint.stages import Stage
from joint.system import ImagingSystem
from joint.train.identity import identity_of, why_other
from joint.train.listen import EpochListener, listeners, retell
from joint.train.loop import fit
from joint.train.teacher import identify, why_another

from .build import build_split, build_system
from .resume import Asked, decide, is_begun, lengthened
from .start import copy_into, speak_of_classifier, speak_of_settings
from .trained import Trained, load_teacher, load_trained

__all__ = ["built", "complete_run", "noted"]

# Beside the stages in what a folder keeps of a start: the run that they are of.
_START_RUN = "run"


def complete_run(
    config: RunConfig,
    parts: Split,
    directory: Path | str | RunFolder,
    *,
    start: Mapping[Stage, nn.Module] | None = None,
    start_run: str | None = None,
    resume: bool = True,
    device: torch.device | str = "cpu",
    resamples: int = 1000,
    stop: Callable[[], bool] | None = None,
    on_epoch: EpochListener | Sequence[EpochListener] | None = None,
    also: Callable[[ImagingSystem, Evaluation], Mapping[str, Any]] | None = None,
    progress: bool = True,
) -> ImagingSystem:
    """Train and test the run of a configuration; its folder then holds the result.

    The folder is one of ``lens2label train``: :func:`joint.load_run`, ``lens2label evaluate`` and
    ``lens2label report`` read it. The final weights of the training are tested: those of the best
    epoch, or with ``restore_best=False`` the last ones (or their average, with ``averaging``).

    If ``torch.distributed`` is initialised (:func:`joint.launched`), every process calls this
    with the same arguments and takes its share of training and test; only process 0 writes.

    Parameters
    ----------
    config : RunConfig
        The run. When a run is continued, it must be that of the folder; only its teacher and the
        files of its scenes may be at other places, because they are recognised by their content.
        And with the schedule ``constant`` it may have more epochs than before, see
        :func:`joint.fit`: a run that was done is then not done until the longer one is tested. This
        is refused for a folder that is named by the digest of its configuration, as in a study.
    parts : Split
        Its scenes, ``build_split(config, build_data(config.data))``, which many runs may share.
    directory : path or RunFolder
        The run folder.
    start : mapping of stage to module, optional
        Trained stages whose weights are copied before training, as returned by
        :func:`joint.run.start.trained_stages`; the other stages start with random weights of
        ``config.system.seed``. The folder keeps the digest of the stages, and a saved run may be
        continued without them.
    start_run : str, optional
        Digest of the run that these stages are from, for ``result.json``; the folder keeps it, too.
    resume : bool
        Continue an interrupted run, and return a finished one unchanged.
    device : torch.device or str
        Device of the training.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals in ``result.json``; 0 for none.
    stop : callable, optional
        Called after the steps; when it returns True, the run is saved and ends, and
        :func:`joint.is_done` is False for its folder.
    on_epoch : callable or sequence of them, optional
        Called with each epoch as in :func:`joint.fit`; for a finished run with all of its epochs.
    also : callable, optional
        Returns further entries of ``result.json``, from the trained system and its test.
    progress : bool
        Show bars and lines.

    Returns
    -------
    ImagingSystem
        With the weights that were tested, in evaluation mode, on ``device``.

    Raises
    ------
    ConfigError
        When the folder holds a run of another configuration or another start, finished or not; one
        with other pictures, if it is finished or continued for more epochs; one that cannot be
        continued for as many epochs; one that ended before it was saved, if its start is not given
        again; or the remains of a run without its checkpoint. For a teacher that does not exist or
        is for other scenes, see :func:`joint.run.trained.load_teacher`; for a new run with other
        parts than those of ``config.split``; and for an objective or another section of a custom
        class, which cannot be loaded from a folder.
    ValueError, CheckpointError, TrainingDiverged
        As :func:`joint.fit`; for a start that does not fit the system.

    Warns
    -----
    UserWarning
        When a classifier with random weights, or a random last layer, is trained in no epoch; when
        the last layer in the file of its initial weights is not loaded; when that file is from a
        run folder, and that run was trained on pictures of ``parts.test``, or of their lesions, or
        for classes of other names or in another order; when a stage other than a sensor has other
        settings than the one whose weights it starts with.
    """
    check_comes_back(config)
    train, validation, test = parts.train, parts.validation, parts.test
    if validation is None:
        raise ValueError(
            "a run needs a validation part: split into three, or name one in the column of the "
            "parts (split.column)"
        )
    device, told, start = usable_device(device), listeners(on_epoch), start or {}
    # Of a run that has begun everything is in its checkpoint, and the file of weights that its
    # classifier began with may be gone, or in another place.
    folder = directory if isinstance(directory, RunFolder) else RunFolder(as_path(directory))
    own = config.system.without_files() if is_begun(folder) else config.system
    system = built(own, train, device)
    with lock_run(directory) as folder:
        found = decide(folder, Asked(config, resume=resume))
        saved, new = found.noted or config, found.action == "begin"
        digests, start_run = _checked_start(folder, start, start_run, new=new, resume=resume)
        if found.action == "keep":
            _load_finished(system, folder, config, saved, parts)
            if rank() == 0:
                retell(folder.path, told)
            return system.eval()
        teacher = load_teacher(config, parts)
        if new:
            _check_split(config, parts)
            speak_of_classifier(config, system, parts, start)
        for stage, module in start.items():
            copy_into(system, stage, module)
            if new:
                speak_of_settings(system, stage, module)
        if teacher is not None:
            teacher.to(device)
        if found.action == "extend":
            _check_same(folder, system, config, train, validation, teacher)
        if rank() == 0:
            named = {} if start_run is None else {_START_RUN: start_run}
            folder.record_start(digests | named)  # before the configuration, which could go on
            saved = lengthened(saved, config.training.epochs)
            noted(saved, folder, device)
        history = fit(
            system,
            train,
            validation,
            objective=config.objective,
            config=config.training,
            teacher=teacher,
            directory=folder,
            resume=resume,
            device=device,
            stop=stop,
            on_epoch=told,
            progress=progress,
        )
        if history.interrupted:
            return system.eval()
        result = _tested(system, config, test, resamples)
        if rank() == 0:
            folder.save_predictions(result, test.classes)
            folder.finish(
                {
                    "digest": saved.digest(),
                    "scenes": {name: part.fingerprint for name, part in parts.parts.items()},
                    "start": sorted(digests),
                    **({} if start_run is None else {"start_run": start_run}),
                    **({} if teacher is None else {"teacher": digest(teacher)}),
                    "epochs": len(history.epochs),
                    "best_epoch": history.best_epoch,
                    "stopped_early": history.stopped_early,
                    **({} if also is None else also(system, result)),
                    "test": result.to_dict(),
                }
            )
    return system.eval()


def built(config: SystemConfig, train: LesionDataset, device: torch.device) -> ImagingSystem:
    """The system of a run for its scenes, with the weights of its seed."""
    return build_system(
        config,
        image_size=train.image_size,
        channels=train.channels,
        classes=len(train.classes),
    ).to(device)


def _load_finished(
    system: ImagingSystem, folder: RunFolder, config: RunConfig, saved: RunConfig, parts: Split
) -> None:
    """Load the weights of a finished run, if it is the one that is asked for."""
    trained = load_trained(folder.path, config.training)
    _check_scenes(folder, trained, parts)
    if config.teacher != saved.teacher:
        _check_teacher(folder, trained, load_teacher(config, parts))
    load_weights(system, trained.weights, source=str(trained.path))


def _tested(
    system: ImagingSystem, config: RunConfig, test: LesionDataset, resamples: int
) -> Evaluation:
    """The test of a run, by all processes together."""
    with warnings.catch_warnings():
        if rank() > 0:
            warnings.simplefilter("ignore")  # the first process says it
        return evaluate(
            system,
            test,
            objective=config.objective,
            count_bytes=True,
            resamples=resamples,
            shared=world_size() > 1,
        )


def _check_scenes(folder: RunFolder, trained: Trained, parts: Split) -> None:
    """Refuse a finished run of other pictures, as `fit` refuses one that was interrupted."""
    for name in ("train", "validation"):
        if trained.identity[name] != parts.parts[name].fingerprint:
            raise ConfigError(
                f"{folder} holds a finished run on other pictures: the {name} set is another one. "
                "Restore its pictures, or choose another folder"
            )


def _check_same(
    folder: RunFolder,
    system: ImagingSystem,
    config: RunConfig,
    train: LesionDataset,
    validation: LesionDataset,
    teacher: ImagingSystem | None,
) -> None:
    """Refuse what `fit` would, before the folder says that the run has more epochs."""
    asked = identity_of(system, config.objective, config.training, train, validation, teacher)
    # For all processes alike: the first must not begin where another one does not.
    reasons = gathered(why_other(folder.load_head(), asked))
    if (reason := next(filter(None, reasons), None)) is not None:
        raise ConfigError(f"{folder} {reason}")


def _check_teacher(folder: RunFolder, trained: Trained, teacher: ImagingSystem | None) -> None:
    """Refuse a finished run of another teacher."""
    now = None if teacher is None else identify(teacher)
    if other := why_another(trained.identity.get("teacher"), now):
        raise ConfigError(
            f"{folder} holds a run of another configuration: its teacher is another one: {other}. "
            "Give the same, or choose another folder"
        )


def _check_split(config: RunConfig, parts: Split) -> None:
    """Refuse parts that the configuration of the folder would not reproduce."""
    whole = parts.whole
    same = None if whole is None else build_split(config, whole).parts
    if same is None or [(name, part.identifiers) for name, part in same.items()] != [
        (name, part.identifiers) for name, part in parts.parts.items()
    ]:
        raise ConfigError(
            "the parts are not those of the configuration, so that nothing could open the run "
            "folder again: give build_split(config, dataset), with "
            "split=joint.SplitConfig(column=...) for a split of your own that a column of the data "
            "set says, or train with joint.fit"
        )


def noted(config: RunConfig, folder: RunFolder, device: torch.device) -> None:
    """Write the configuration and the environment into a folder."""
    folder.begin()
    save_config(config, folder.path)
    folder.record_environment(device)


def _checked_start(
    folder: RunFolder,
    start: Mapping[Stage, nn.Module],
    start_run: str | None,
    *,
    new: bool,
    resume: bool,
) -> tuple[dict[str, str], str | None]:
    """The start of the run in a folder: digests of its trained stages, and of their run."""
    recorded = gathered(folder.recorded_start())[0]  # the first process decides, as of the run
    given = {stage: digest(start[stage]) for stage in sorted(start)}
    given_run = start_run if given else None
    recorded_run = recorded.pop(_START_RUN, None)
    if new and resume and recorded and not given:
        raise ConfigError(
            f"the run in {folder} was begun with a trained {', '.join(recorded)}, and was ended "
            "before it was saved: give that start again (--start, start=), or begin without one "
            "and without --resume (resume=False)"
        )
    if not new and given and given != recorded:
        known = "no start that was noted"
        if recorded:
            known = f"another start, of {', '.join(recorded)}"
        raise ConfigError(
            f"the run in {folder} was begun with {known}: it goes on as it began without --start "
            "(start=None); or choose another folder"
        )
    return (given, given_run) if new else (recorded, recorded_run)
