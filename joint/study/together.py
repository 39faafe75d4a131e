"""Several runs of a study at once on one device, as an ensemble.

::

    pending run ──► alike ──► K runs ──► fit_ensemble ──► K trained folders ──► each tested alone

The folders are the same as for runs trained alone, so any worker, here or elsewhere, can complete
or continue them one by one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from classify import LesionDataset
from joint.config.run import RunConfig
from joint.config.scenes import DataConfig
from joint.run.build import build_split
from joint.run.complete import built, noted
from joint.run.trained import load_teacher
from joint.saved.folder import FAILURE_FILE, RunFolder, is_done, lock_run
from joint.saved.lock import RunLocked
from joint.train.ensemble import fit_ensemble

from .attempt import begin, ended_epochs, lost_together, take_back, why_abandoned
from .ledger import Ledger, PlannedRun
from .machine import of_the_machine

__all__ = ["companions", "train_together"]


def companions(
    ledger: Ledger, first: PlannedRun, most: int, *, without: Collection[PlannedRun]
) -> list[PlannedRun]:
    """At most ``most`` pending runs to train together: the first and others like it.

    They have its scenes, networks and training, up to the seed; cameras, objectives and seeds may
    differ. Runs for which :func:`lost_together` is true, also the first, and runs that wait only
    for their test are left out.
    """
    kind = _kind(ledger.config(first))
    found: list[PlannedRun] = []
    for run in (first, *(run for run in ledger.runs if run != first)):
        if len(found) == most:
            break
        if run in without or ledger.state(run) != "pending":
            continue
        config, path = ledger.config(run), ledger.path(run)
        to_train = ended_epochs(path) < config.training.epochs
        # A run that ended its worker must not end the work of others as well.
        if to_train and _kind(config) == kind and not lost_together(path):
            found.append(run)
    return found


def train_together(
    ledger: Ledger,
    runs: Sequence[PlannedRun],
    load: Callable[[DataConfig], LesionDataset],
    *,
    device: torch.device,
    stop: Callable[[], bool],
) -> None:
    """Train runs together, or continue them, up to their tests.

    Runs that a worker holds, that have ended or are given up are left out; if fewer than two are
    left, nothing is trained.

    Raises
    ------
    ValueError, CheckpointError, TrainingDiverged
        As :func:`joint.fit_ensemble`; what was saved of each run is kept.
    """
    with ExitStack() as held:
        taken: dict[PlannedRun, RunFolder] = {}
        for run in runs:
            try:
                folder = held.enter_context(lock_run(ledger.path(run)))
            except RunLocked:
                continue
            ended = is_done(folder.path) or (folder.path / FAILURE_FILE).exists()
            # A run that is given up would only end the start of all of them.
            if not ended and why_abandoned(folder.path) is None:
                taken[run] = folder
        if len(taken) < 2:
            return
        configs, folders = [ledger.config(run) for run in taken], list(taken.values())
        for config, folder in zip(configs, folders, strict=True):
            begin(folder, config.system.files(), together=len(folders))
            held.enter_context(_taken_back_of_a_machine(folder))
        parts = build_split(configs[0], load(configs[0].data))
        if parts.validation is None:
            raise ValueError("a run needs a validation part: split into three")
        systems = [built(config.system, parts.train, device) for config in configs]
        for config, folder in zip(configs, folders, strict=True):
            noted(config, folder, device)
        fit_ensemble(
            systems,
            parts.train,
            parts.validation,
            objective=[config.objective for config in configs],
            config=[config.training for config in configs],
            directories=folders,
            teacher=[load_teacher(config, parts) for config in configs],
            resume=True,
            device=device,
            stop=stop,
            progress=False,
        )


@contextmanager
def _taken_back_of_a_machine(folder: RunFolder) -> Iterator[None]:
    """Remove the start of a run if the machine ends it with an error: the run is not at fault."""
    try:
        yield
    except Exception as error:
        if of_the_machine(error):
            take_back(folder)
        raise


def _kind(config: RunConfig) -> dict[str, Any]:
    """Settings that runs of one ensemble have in common."""
    return {
        "data": config.data,
        "split": config.split,
        "codec": config.system.codec,
        "classifier": config.system.classifier,
        "training": config.training.model_copy(update={"seed": 0}),
    }
