"""The state of a training run.

::

    Training, system, optimiser ──► TrainingRun: count, end_step, end_epoch ──► History
                                        │ ▲
                                   save ▼ │ restore
                                  RunFolder: checkpoint, best weights, history.jsonl
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from classify.scores import InvalidScores
from joint.caution import caution
from joint.objective import Objective
from joint.parallel import gathered, rank
from joint.record import as_json
from joint.saved.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, RunFolder
from joint.system import ImagingSystem

from .average import agree, follow
from .history import EpochRecord, History
from .optimizer import optimised, restore_state, state_by_name
from .outcome import grown, missed, ran_out, score, sizes
from .rate_weight import RateWeight
from .training import Training
from .training_file import Progress, SavedTraining, TrainingHead, read_training, write_training

__all__ = ["CLIPPED", "NORM", "TrainingDiverged", "TrainingRun"]

#: Marks the norm of a stage's gradient among the terms of the objective.
NORM = "gradient norm of "
#: Whether it was clipped.
CLIPPED = "gradient clipped of "


class TrainingDiverged(RuntimeError):
    """The loss or a weight is no longer finite; the newest checkpoint is from before."""


@dataclass
class TrainingRun(Progress):
    """Everything that changes while a system trains, and what a checkpoint holds."""

    system: ImagingSystem
    objective: Objective
    optimizer: torch.optim.Optimizer
    config: Training
    identity: dict[str, Any]
    """What a checkpoint must agree in: objective, configuration, data."""
    folder: RunFolder | None
    teacher: ImagingSystem | None = None
    """A frozen system that teaches this one; in no file; the identity says what it is."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Terms of the objective, summed over the pictures seen in this epoch."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """Kept in memory where there is no folder."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """Moving average of the weights, where one is kept."""
    rate_weight: RateWeight | None = None
    """Weight of the rate, where it moves."""
    interrupted: bool = False

    def __post_init__(self) -> None:
        if self.objective.rate_target is not None:
            self.rate_weight = RateWeight(self.objective, self.device)
        self.began = sizes(self.learning)

    @property
    def device(self) -> torch.device:
        """Where the run takes place."""
        return self.optimizer.param_groups[0]["params"][0].device

    @property
    def learning(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by their names, as the optimiser counts them."""
        return optimised(self.optimizer, self.system)

    @property
    def over(self) -> bool:
        """Whether the last epoch has ended, or patience has run out."""
        no_patience = ran_out(self.config.patience, self.epoch, self.best_epoch)
        return self.epoch >= self.config.epochs or no_patience

    def count(self, terms: Mapping[str, Tensor], pictures: float) -> None:
        """Add the means over some pictures to the sums of the epoch, without waiting for a GPU."""
        weighted = {name: value.double() * pictures for name, value in terms.items()}
        sums = {
            name: self.sums[name] + w if name in self.sums else w for name, w in weighted.items()
        }
        # In the order of the terms, which a checkpoint has not kept.
        self.sums = sums | {name: old for name, old in self.sums.items() if name not in sums}

    def end_step(self, pictures: int) -> None:
        """Go on to the next step, and let the average of the weights follow."""
        self.seen += pictures
        self.step += 1
        self.steps += 1
        averaging = self.config.averaging
        if averaging is not None:
            follow(self.average, self.system, averaging=averaging, steps=self.steps)

    def end_epoch(self, validation: Mapping[str, float | None]) -> EpochRecord:
        """Record the epoch, keep its weights if they are the best, and go on to the next."""
        means = as_json({name: float(s) / self.seen for name, s in self.together().items()})
        of_stages = {
            mark: {n.removeprefix(mark): means.pop(n) for n in list(means) if n.startswith(mark)}
            for mark in (NORM, CLIPPED)
        }
        # Of the last step; not those of the optimiser, which a resumed one was not told yet.
        factor = self.config.rate_factor(self.epoch + (self.step - 1) / self.step)
        peaks = self.config.learning_rates
        pictures, seconds = self.timed
        record = EpochRecord(
            epoch=self.epoch,
            train=means,
            validation=as_json(validation),
            rate_factor=self.config.rate_factor(self.epoch + 1),
            images_per_second=pictures / max(seconds, 1e-9),
            gradient_norms=of_stages[NORM],
            clipped=of_stages[CLIPPED],
            learning_rates={
                name: factor * peaks.get(name, self.config.learning_rate)
                for name, _ in self.system.stages()
                if name in of_stages[NORM]
            },
            peak_memory=_peak_memory(self.device),
        )
        self.records.append(record)
        if self.rate_weight is not None:
            self.rate_weight.compare(record.validation["bpp"])
        best = None if self.best_epoch is None else self.records[self.best_epoch]
        if best is None or self._score(record) > self._score(best):
            self.best_epoch = self.epoch
            self._keep_best()
        self.epoch, self.step, self.sums, self.seen = self.epoch + 1, 0, {}, 0
        self.timed = (0, 0.0)
        self.save()
        if self.folder is not None and rank() == 0:
            self.folder.append_history(asdict(record))
        return record

    def together(self) -> dict[str, Tensor]:
        """The sums of all processes."""
        parts = gathered({name: value.cpu() for name, value in self.sums.items()})
        return {name: torch.stack([part[name] for part in parts]).sum(0) for name in self.sums}

    def history(self) -> History:
        """The run as its caller sees it."""
        return History(
            monitor=self.config.monitor,
            epochs=tuple(self.records),
            best_epoch=self.best_epoch,
            stopped_early=len(self.records) < self.config.epochs,
            interrupted=self.interrupted,
        )

    def check_learning(self) -> None:
        """Refuse what the optimiser does not know of, such as what a listener has unfrozen.

        Raises
        ------
        ValueError
            Naming the parameter.
        """
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        learning = self.config.learning(self.epoch)
        for name, stage in self.system.stages():
            for own, parameter in stage.named_parameters() if name in learning else ():
                if parameter.requires_grad and id(parameter) not in known:
                    raise ValueError(
                        f"{name}.{own} was frozen, or not there, at the first step, when what "
                        f"learns was chosen, and is to learn in epoch {self.epoch + 1}: leave it "
                        "as it was (requires_grad); to train it, begin another run with the "
                        "weights of this one (joint.load_fitted)"
                    )

    def check_weights(self) -> None:
        """Refuse weights that are not finite, before they are saved or evaluated.

        Raises
        ------
        TrainingDiverged
            Naming the first of them.
        """
        lost = [n for n, p in self.system.named_parameters() if not torch.isfinite(p).all()]
        if lost:
            raise TrainingDiverged(
                f"{len(lost)} weights are no longer finite in epoch {self.epoch + 1}, step "
                f"{self.step}: {', '.join(lost[:3])}. Lower the learning rate of that stage; "
                f"{self.kept()}"
            )

    @contextmanager
    def in_range(self) -> Iterator[None]:
        """Take what a finite weight is too large for, as a gain for its exponential, as diverged.

        Raises
        ------
        TrainingDiverged
            In place of an OverflowError, and of the refusal to judge scores that are no numbers.
        """
        try:
            yield
        except (OverflowError, InvalidScores) as error:
            raise TrainingDiverged(
                f"a weight became too large to compute with ({error}) in epoch {self.epoch + 1}, "
                f"step {self.step}: lower the learning rate of its stage; {self.kept()}"
            ) from error

    def kept(self) -> str:
        """What is left when the run cannot go on, for a message."""
        if self.folder is None:
            return "nothing is kept, for the run has no directory"
        return f"the last good checkpoint is {self.folder.path / CHECKPOINT_FILE}"

    def restore_best(self) -> None:
        """Give the system the weights of the best epoch."""
        weights = self.best_weights
        if self.folder is not None:
            path = self.folder.path / BEST_FILE
            if not path.is_file():
                raise CheckpointError(
                    f"{path} is missing, the weights of epoch {self.best_epoch}, counted from 0, "
                    "which was the best: put it back from a copy, or train again in another "
                    f"directory. {CHECKPOINT_FILE} beside it has the weights after epoch "
                    f"{self.epoch - 1} (joint.load_checkpoint: system.*, and their average.*)"
                )
            weights, head = load_checkpoint(path)
            if head.get("epoch") != self.best_epoch:
                caution(
                    f"{path} holds epoch {head.get('epoch')}, counted from 0, and the best of the "
                    f"checkpoint is {self.best_epoch}: the run was killed between the two, and "
                    "repeats that epoch when it is resumed",
                )
        load_weights(self.system, weights, source="the best epoch")

    def save(self) -> None:
        """Write the checkpoint; it is whole or absent, and the one before it is kept."""
        if self.folder is None:
            return
        self.check_weights()
        agree(self.system, self.average)
        sums = self.together()
        if rank() > 0:
            return
        names = [*self.learning]
        head = TrainingHead(identity=self.identity, optimised=names)
        head.go_to(self)
        saved = SavedTraining(
            head,
            system=self.system.state_dict(),
            optimizer=state_by_name(self.optimizer, names),
            sums=sums,
            average=self.average,
            rate_weight={} if self.rate_weight is None else {"state": self.rate_weight.state},
        )
        write_training(self.folder, saved)

    def restore(self) -> None:
        """Continue where the checkpoint in the folder was written, if it is of this run.

        Raises
        ------
        CheckpointError
            See :func:`joint.train.training_file.read_training`.
        """
        if self.folder is None:
            return
        names = [*self.learning]
        saved = read_training(self.folder, self.identity, optimised=names)
        load_weights(self.system, saved.system, source=str(self.folder.path / CHECKPOINT_FILE))
        restore_state(self.optimizer, names, saved.optimizer)
        self.sums = {name: tensor.to(self.device) for name, tensor in saved.sums.items()}
        if rank() > 0:  # the sums of the file are those of all processes
            self.sums = {name: torch.zeros_like(tensor) for name, tensor in self.sums.items()}
        own = self.system.state_dict()
        self.average = {name: tensor.to(own[name]) for name, tensor in saved.average.items()}
        if self.rate_weight is not None:
            self.rate_weight.restore(saved.rate_weight["state"])
        self.go_to(saved.head)
        if rank() == 0:
            self.folder.rewrite_history(asdict(record) for record in self.records)

    def warnings(self) -> list[str]:
        """What is to be said of how the training ended, with the weights that the system has."""
        kept = self.best_epoch if self.config.restore_best else None
        target = self.objective.rate_target
        told = [grown(self.began, sizes(self.learning))]
        if self.over and self.records:
            told.insert(0, missed(self.records, kept=kept, target=target))
        return [text for text in told if text is not None]

    def _score(self, record: EpochRecord) -> tuple[float, float]:
        target = self.objective.rate_target
        return score(record, monitor=self.config.monitor, target=target)

    def _keep_best(self) -> None:
        weights = self.average or self.system.state_dict()
        if self.folder is None:
            self.best_weights = {name: w.detach().clone() for name, w in weights.items()}
        elif rank() == 0:
            head = {
                "identity": self.identity,
                "epoch": self.epoch,
                "validation": self.records[-1].validation,
            }
            save_checkpoint(self.folder.path / BEST_FILE, weights, head)


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
