"""Listeners that follow a training, epoch by epoch, and one that writes for TensorBoard.

::

    epoch ends ─► checkpoint, history.jsonl ─► listener(EpochRecord) ─► ... ─► next epoch
    resumed    ─► the epochs of the checkpoint ─► listener, one after the other ─► goes on

The run folder is the reference. When a run is continued, a listener receives all epochs from the
beginning, so that its output may be lost, or older or newer than the checkpoint, without harm.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import HISTORY_FILE, read_history

from .history import EpochRecord

__all__ = ["EpochListener", "listeners", "retell", "tell", "tensorboard_writer"]

#: Called with the record of an epoch that has ended; its return value is ignored.
EpochListener: TypeAlias = Callable[[EpochRecord], object]

_FOLDER = "tensorboard"  # in the run folder
_OURS = ".lens2label"  # ends the names of our event files


def listeners(
    on_epoch: EpochListener | Sequence[EpochListener] | None,
) -> tuple[EpochListener, ...]:
    """``on_epoch``, which is None, one or several listeners, as a tuple.

    Raises
    ------
    ValueError
        When one of them cannot be called.
    """
    if on_epoch is None:
        return ()
    several = tuple(on_epoch) if isinstance(on_epoch, Sequence) else (on_epoch,)
    for listener in several:
        if not callable(listener):
            raise ValueError(
                f"on_epoch={listener!r} cannot be called: give a function of an EpochRecord, or "
                "several in a list"
            )
    return several


def tell(told: Sequence[EpochListener], record: EpochRecord) -> None:
    """Call each listener of ``told`` with an epoch; what one of them raises is not caught."""
    for listener in told:
        listener(record)


def retell(folder: Path, told: Sequence[EpochListener]) -> None:
    """Call each listener of ``told`` with every line of ``history.jsonl`` in ``folder``.

    Raises
    ------
    CheckpointError
        When it is damaged.
    """
    lines = read_history(folder) if told else []
    try:
        records = TypeAdapter(list[EpochRecord]).validate_python(lines)
    except ValidationError as error:
        place, *_ = error.errors()
        raise CheckpointError(
            f"line {int(place['loc'][0]) + 1} of {folder / HISTORY_FILE} is no record of an epoch: "
            f"{'.'.join(map(str, place['loc'][1:]))}: {place['msg']}"
        ) from error
    for record in records:
        tell(told, record)


@contextmanager
def tensorboard_writer(directory: Path | str) -> Iterator[EpochListener]:
    """A listener that writes the numbers of each epoch for TensorBoard.

    ::

        with tensorboard_writer("runs/edge") as log:
            joint.fit(..., directory="runs/edge", resume=True, on_epoch=log)

    The tags are ``train/``, ``validation/`` and ``gradient_norm/`` with the names of the record,
    and ``rate_factor``, ``images_per_second`` and ``peak_memory`` (bytes) below ``run/``; the step
    is the epoch, counted from 0. What is None or no finite number is left out, and values are
    rounded to float32.

    At the first epoch of a run that is continued, a new file is started and the earlier one is
    emptied, so that a run that was killed and resumed has every epoch once. The times in it are
    those of writing, also for epochs that are repeated: a run folder holds no times.

    Parameters
    ----------
    directory : path
        The run folder; the files are written to ``tensorboard`` in it. Other files there are kept.

    Yields
    ------
    EpochListener
        When a call returns, its epoch is written and flushed.

    Raises
    ------
    ImportError
        When TensorBoard is not installed; before anything is written.
    OSError
        In the listener, when it cannot write.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "a log for TensorBoard needs TensorBoard, which is not installed: "
            'pip install "lens2label[tensorboard]"'
        ) from error
    folder = Path(directory) / _FOLDER
    writer: SummaryWriter | None = None
    last = -1

    def log(record: EpochRecord) -> None:
        nonlocal writer, last
        # Not before: of several processes only the first is called, and only it may write.
        if writer is None or record.epoch <= last:
            close()
            _empty(folder)
            # purge_step: a TensorBoard that has read the old files forgets what they said.
            writer = SummaryWriter(str(folder), purge_step=0, filename_suffix=_OURS)
        last = record.epoch
        for tag, value in _scalars(record).items():
            writer.add_scalar(tag, value, last)
        writer.flush()

    def close() -> None:
        nonlocal writer
        if writer is not None:
            writer.close()
            writer = None

    try:
        yield log
    finally:
        close()


def _empty(folder: Path) -> None:
    """Take from ``folder`` what was written there before."""
    for path in folder.glob(f"*{_OURS}"):
        if path.stat().st_size:
            # A TensorBoard that is reading a file never goes on to the next when it disappears.
            path.write_bytes(b"")
        else:
            path.unlink()


def _scalars(record: EpochRecord) -> dict[str, float]:
    """The finite numbers of an epoch by their tags."""
    named: dict[str, float | None] = {
        **{f"train/{name}": value for name, value in record.train.items()},
        **{f"validation/{name}": value for name, value in record.validation.items()},
        **{f"gradient_norm/{name}": value for name, value in record.gradient_norms.items()},
        "run/rate_factor": record.rate_factor,
        "run/images_per_second": record.images_per_second,
        "run/peak_memory": record.peak_memory,
    }
    return {
        tag: value for tag, value in named.items() if value is not None and math.isfinite(value)
    }
