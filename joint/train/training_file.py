"""The checkpoint of a training: what it says and holds, and how it is written and read.

::

    TrainingRun ─► SavedTraining ─► write_training ─► checkpoint.safetensors
                        ▲                                      │
                        └── read_training ◄────────────────────┘
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from torch import Tensor

from joint.parallel import gathered
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import CHECKPOINT_FILE, RunFolder, is_done

from .history import EpochRecord
from .identity import why_other

__all__ = [
    "Progress",
    "SavedTraining",
    "TrainingHead",
    "read_training",
    "write_training",
]


@dataclass(kw_only=True)
class Progress:
    """How far a training has come, beside what its tensors say."""

    epoch: int = 0
    """Epochs that have ended."""
    step: int = 0
    """Steps of the next one that were taken."""
    steps: int = 0
    """Steps since the start."""
    seen: int = 0
    """Pictures of the epoch that were seen."""
    timed: tuple[int, float] = (0, 0.0)
    """Pictures of the epoch whose steps were timed, and the seconds that they took."""
    records: list[EpochRecord] = field(default_factory=list)
    """Of the epochs that have ended."""
    best_epoch: int | None = None
    """Index of the best of them."""
    began: dict[str, float] = field(default_factory=dict)
    """Root mean square of each parameter that learns, before the first step."""

    def go_to(self, other: "Progress") -> None:
        """Come as far as another one."""
        for own in fields(Progress):
            setattr(self, own.name, getattr(other, own.name))


@dataclass(kw_only=True)
class TrainingHead(Progress):
    """What a checkpoint of a training says beside its tensors, as JSON."""

    identity: Mapping[str, Any]
    """What a run must agree in to go on from it, see :func:`joint.train.identity.identity_of`."""
    optimised: list[str]
    """Names of the parameters that learn, as the optimiser counts them."""


class SavedTraining(NamedTuple):
    """What a checkpoint of a training holds; all tensors are of any shapes."""

    head: TrainingHead
    system: Mapping[str, Tensor]
    """State of the system."""
    optimizer: Mapping[str, Tensor]
    """Moments, see :func:`joint.train.optimizer.state_by_name`."""
    sums: Mapping[str, Tensor]
    """Terms of the objective, summed over the pictures seen in this epoch by all processes."""
    average: Mapping[str, Tensor]
    """Moving average of the weights; empty where none is kept."""
    rate_weight: Mapping[str, Tensor]
    """``state`` of the weight of the rate; empty where it does not move."""


_SAID = {each.name for each in fields(TrainingHead)}
_PARTS = SavedTraining._fields[1:]


def write_training(folder: RunFolder, saved: SavedTraining) -> None:
    """Write the checkpoint; it is whole or absent, and the one before it is kept.

    Raises
    ------
    CheckpointError
        When it cannot be written.
    """
    tensors = {
        f"{part}.{name}": tensor for part in _PARTS for name, tensor in getattr(saved, part).items()
    }
    # `asdict` would copy every number of every record, at each checkpoint.
    records = [vars(record) for record in saved.head.records]
    folder.save_checkpoint(tensors, vars(saved.head) | {"records": records})


def read_training(
    folder: RunFolder, identity: Mapping[str, Any], *, optimised: Collection[str]
) -> SavedTraining:
    """Read the newest checkpoint of a folder, if it is of this run.

    One of fewer epochs is of this run where :func:`joint.train.identity.why_not_longer` says
    nothing against it, and the folder has no result of it.

    Parameters
    ----------
    folder : RunFolder
        With a checkpoint.
    identity : mapping
        Of this run.
    optimised : collection of str
        Names of the parameters that learn in it.

    Returns
    -------
    SavedTraining
        Its tensors are on the CPU.

    Raises
    ------
    CheckpointError
        When it was written by another configuration, on other data, or is damaged; or the run
        was tested, and is to have more epochs.
    """
    path, epochs = folder.path / CHECKPOINT_FILE, identity["training"]["epochs"]
    tensors, said = folder.load_checkpoint()
    if not {*said} >= _SAID:
        raise CheckpointError(f"{path} is not the checkpoint of a training run")
    if (reason := why_other(said, identity)) is not None:
        raise CheckpointError(f"{folder} {reason}")
    # Asked of the first process alone, as everything that somebody may have changed.
    done = gathered(is_done(folder.path))[0]
    if done and epochs > said["identity"]["training"]["epochs"]:
        raise CheckpointError(
            f"{folder} holds a run that was tested, whose result would be of another one after "
            f"{epochs} epochs: go on with joint.run.complete.complete_run, or lens2label train "
            f"--output {folder} --resume --training.epochs {epochs}, which test it again"
        )
    was = said["optimised"]
    if frozen := [name for name in was if name not in optimised]:
        raise CheckpointError(f"{path} was training {frozen[0]}, which is frozen here")
    if more := [name for name in optimised if name not in was]:
        raise CheckpointError(f"{path} was not training {more[0]}, which learns here")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    records = [EpochRecord(**record) for record in said["records"]]
    pictures, seconds = said["timed"]
    own = {name: said[name] for name in _SAID}
    head = TrainingHead(**own | {"records": records, "timed": (pictures, seconds)})
    return SavedTraining(head, **parts)
