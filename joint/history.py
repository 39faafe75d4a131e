"""What is known of a training run when it has ended: a record of each epoch, and the best one."""

from dataclasses import dataclass, field

from .training import Monitor

__all__ = ["EpochRecord", "History"]


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training set."""

    epoch: int
    """Counted from 0."""
    train: dict[str, float | None]
    """Mean terms of the objective over the epoch."""
    validation: dict[str, float | None]
    """Numbers of :meth:`joint.Evaluation.scalars` after it."""
    rate_factor: float
    """Factor on the peak learning rates at its end."""
    images_per_second: float
    """Training speed, of all processes together."""
    gradient_norms: dict[str, float | None] = field(default_factory=dict)
    """Mean norm of the gradient of each stage that learned, before it was clipped."""
    peak_memory: int | None = None
    """Most memory that was in use so far, bytes: of the GPU, or of the process on the CPU."""


@dataclass(frozen=True)
class History:
    """What happened in a training run."""

    monitor: Monitor
    """Name of the number by which an epoch is judged."""
    epochs: tuple[EpochRecord, ...] = ()
    """A record of each, in order."""
    best_epoch: int | None = None
    """Counted from 0; None before the first has ended."""
    stopped_early: bool = False
    """Patience ran out, or the run was asked to stop."""
    interrupted: bool = False
    """The run was asked to stop, saved, and can be resumed."""

    @property
    def best(self) -> EpochRecord:
        """The record of the best epoch; a ValueError before the first has ended."""
        if self.best_epoch is None:
            raise ValueError("no epoch has ended yet")
        return self.epochs[self.best_epoch]
