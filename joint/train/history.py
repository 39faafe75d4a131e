"""Result of a training run: a record of each epoch, and the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["EpochRecord", "History"]


@dataclass(frozen=True)
class EpochRecord:
    """Record of one epoch, a pass over the training set."""

    epoch: int
    """Counted from 0."""
    train: dict[str, float | None]
    """Mean terms of the objective over the epoch. With a rate target also ``rate_weight``, the
    weight of the rate; ``rate_weight.error``, by which part the rate exceeds its target; and
    ``rate_weight.correction``, the rate of the validation over that of the training."""
    validation: dict[str, float | None]
    """Numbers of :meth:`joint.Evaluation.scalars` after the epoch."""
    rate_factor: float
    """Factor on the peak learning rates at the end of the epoch."""
    images_per_second: float
    """Training speed over the steps of the epoch, of all processes together."""
    gradient_norms: dict[str, float | None] = field(default_factory=dict)
    """Mean norm of the gradient of each stage that learned, before clipping."""
    peak_memory: int | None = None
    """Peak memory so far, bytes: of the GPU, or of the process on the CPU."""
    clipped: dict[str, float | None] = field(default_factory=dict)
    """Share of the steps, 0..1, in which the gradient of a stage was clipped, weighted by the
    number of pictures."""
    learning_rates: dict[str, float] = field(default_factory=dict)
    """Learning rate of each stage that learned, at the last step; a ``learning_rate_factor`` of a
    module multiplies it."""

    def __str__(self) -> str:
        return _table([("", self)], ())


@dataclass(frozen=True)
class History:
    """Record of a training run: its epochs, the best one, and how it ended."""

    monitor: str
    """Name of the validation number that selects the best epoch."""
    epochs: tuple[EpochRecord, ...] = ()
    """Records of the epochs, in order."""
    best_epoch: int | None = None
    """Index of the best epoch, from 0; None before the first has ended."""
    stopped_early: bool = False
    """Whether patience ran out, or the run was stopped on request."""
    interrupted: bool = False
    """Whether the run was stopped on request; with a directory it is saved, to be resumed."""

    @property
    def best(self) -> EpochRecord:
        """Record of the best epoch; a ValueError before the first has ended."""
        if self.best_epoch is None:
            raise ValueError("no epoch has ended yet")
        return self.epochs[self.best_epoch]

    def __str__(self) -> str:
        if not self.epochs:
            return f"no epoch has ended yet; the best is chosen by validation {self.monitor}"
        count, best = len(self.epochs), self.best_epoch
        end = "interrupted, can be resumed" if self.interrupted else "stopped early"
        found = "none is best" if best is None else f"epoch {best + 1} is the best"
        head = (
            f"{count} epoch{'s' if count > 1 else ''}{f' ({end})' if self.stopped_early else ''}, "
            f"counted from 1: {found} by validation {self.monitor}"
        )
        places = {"first": 0, "best": best, "last": count - 1}
        rows: dict[int, str] = {}
        for name, place in places.items():
            if place is not None:
                rows[place] = f"{rows[place]}, {name}" if place in rows else name
        shown = [(name, self.epochs[place]) for place, name in rows.items()]
        return "\n".join([head, _table(shown, (self.monitor,))])


# What a table of epochs shows of the validation, where it was measured.
_SHOWN = ("loss", "accuracy", "balanced_accuracy", "auc", "bpp", "psnr")


def _table(rows: Sequence[tuple[str, EpochRecord]], judged: tuple[str, ...]) -> str:
    """A heading and a line for each epoch, named in front."""
    names = [
        name
        for name in dict.fromkeys((*judged, *_SHOWN))
        if any(record.validation.get(name) is not None for _, record in rows)
    ]
    head = ["", "epoch", "training loss", *(name.replace("_", " ") for name in names)]
    lines = [[*head, "rate factor", "images/s"]]
    for name, record in rows:
        numbers = [record.train.get("total"), *map(record.validation.get, names)]
        lines.append(
            [
                name,
                str(record.epoch + 1),
                *("-" if number is None else f"{number:.4g}" for number in numbers),
                f"{record.rate_factor:.3g}",
                f"{record.images_per_second:.0f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )
