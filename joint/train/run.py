"""The state of a training run, and the files that hold it.

::

    Training, system, optimiser ──► TrainingRun: count, end_step, end_epoch ──► History
                                        │ ▲
                                   save ▼ │ restore
                                  RunFolder: checkpoint, best weights, history.jsonl
"""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from classify.scores import InvalidScores
from joint.caution import caution
from joint.described import differing
from joint.judge.metric import lower_is_better
from joint.objective import Objective
from joint.parallel import all_reduce, gathered, rank, world_size
from joint.record import as_json
from joint.saved.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, RunFolder, is_done
from joint.system import ImagingSystem

from .history import EpochRecord, History
from .rate_weight import ON_TARGET, RateWeight
from .teacher import why_another
from .training import Training

__all__ = [
    "CLIPPED",
    "EARLIER",
    "NORM",
    "TrainingDiverged",
    "TrainingRun",
    "why_not_longer",
    "why_other",
]

#: Marks the norm of a stage's gradient among the terms of the objective.
NORM = "gradient norm of "
#: Whether it was clipped.
CLIPPED = "gradient clipped of "
#: Of a run whose system is told by its printed form, to follow the name of its file or folder.
EARLIER = "was written by an earlier version of lens2label, and cannot be loaded or resumed"

# Parameters are of the order of 1, or of their initial values: a hundred times that is only reached
# by steps that are too long, whatever is trained.
_GROWN = 100.0
# What a checkpoint says beside its tensors.
_HEAD = {
    "began", "best_epoch", "epoch", "identity", "optimised", "records", "seen", "step", "steps",
    "timed",
}  # fmt: skip


class TrainingDiverged(RuntimeError):
    """The loss or a weight is no longer finite; the newest checkpoint is from before."""


@dataclass
class TrainingRun:
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
    epoch: int = 0
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Terms of the objective, summed over the pictures seen in this epoch."""
    seen: int = 0
    timed: tuple[int, float] = (0, 0.0)
    """Pictures of this epoch whose steps were timed, and the seconds that they took."""
    records: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """Kept in memory where there is no folder."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """Moving average of the weights, where one is kept."""
    steps: int = 0
    """Steps taken since the start."""
    rate_weight: RateWeight | None = None
    """Weight of the rate, where it moves."""
    interrupted: bool = False
    began: dict[str, float] = field(default_factory=dict)
    """Root mean square of each parameter that learns, before the first step."""

    def __post_init__(self) -> None:
        if self.objective.rate_target is not None:
            self.rate_weight = RateWeight(self.objective, self.device)
        self.began = self._sizes()

    @property
    def device(self) -> torch.device:
        """Where the run takes place."""
        return self.optimizer.param_groups[0]["params"][0].device

    @property
    def over(self) -> bool:
        """Whether the last epoch has ended, or patience has run out."""
        ran_out = _ran_out(self.config.patience, self.epoch, self.best_epoch)
        return self.epoch >= self.config.epochs or ran_out

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
        if self.config.averaging is None:
            return
        weights = self.system.state_dict(keep_vars=True)
        if not self.average:
            self.average = {name: w.detach().clone() for name, w in weights.items()}
            return
        # Faster at first, so that the initial weights are soon forgotten.
        decay = min(self.config.averaging, (1 + self.steps) / (10 + self.steps))
        moving = [n for n, w in weights.items() if w.is_floating_point() or w.is_complex()]
        with torch.no_grad():
            for name in weights.keys() - set(moving):
                self.average[name].copy_(weights[name])
            # All in one call, which a GPU takes in a few launches; the average of what rests is
            # what rests, to the bit.
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                [self.average[name] for name in moving],
                [weights[name] for name in moving],
                1 - decay,
            )
            # The distance of a mask's -inf to itself is no number. Weights are finite.
            for name in moving:
                own, buffer = self.average[name], weights[name]
                if not isinstance(buffer, nn.Parameter):
                    own.copy_(torch.where(torch.isfinite(own), own, buffer))

    def agree(self) -> None:
        """Give buffers that the processes have changed, each by its own pictures, to all of them.

        That is the mean of their numbers, which a moving average over the pictures of all would
        have come to where their shares are equal, and of whole numbers those of process 0. What is
        equal keeps its bits.
        """
        if world_size() == 1:
            return
        named = dict(self.system.named_buffers(remove_duplicate=False))
        averages = [self.average[name] for name in named if name in self.average]
        for own in (*named.values(), *averages):
            common = own.detach().clone(memory_format=torch.contiguous_format)
            dist.broadcast(common, 0)
            if own.is_floating_point() or own.is_complex():
                # An infinity, as of a mask, has no distance to itself.
                off = torch.where(own == common, torch.zeros_like(own), own - common)
                common += all_reduce(off) / world_size()
            if not torch.equal(own, common):
                own.copy_(common)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the system the average of its weights for a while, where one is kept."""
        if not self.average:
            yield
            return
        own = {name: w.detach().clone() for name, w in self.system.state_dict().items()}
        self.system.load_state_dict(self.average)
        try:
            yield
        finally:
            self.system.load_state_dict(own)

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
        self.agree()
        sums = self.together()
        if rank() > 0:
            return
        tensors = {f"system.{name}": tensor for name, tensor in self.system.state_dict().items()}
        names = self._optimised()
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{names[number]}.{slot}": t for slot, t in state.items()}
        tensors |= {f"sums.{name}": tensor for name, tensor in sums.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        if self.rate_weight is not None:
            tensors["rate_weight.state"] = self.rate_weight.state
        head = {
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
            "seen": self.seen,
            "timed": self.timed,
            "records": [asdict(record) for record in self.records],
            "best_epoch": self.best_epoch,
            "optimised": names,
            "began": self.began,
        }
        self.folder.save_checkpoint(tensors, head)

    def restore(self) -> None:
        """Continue where the checkpoint in the folder was written, if it is of this run.

        One of fewer epochs is of this run where :func:`why_not_longer` says nothing against it, and
        the folder has no result of it.

        Raises
        ------
        CheckpointError
            When it was written by another configuration, on other data, or is damaged; or the run
            was tested, and is to have more epochs.
        """
        if self.folder is None:
            return
        path = self.folder.path / CHECKPOINT_FILE
        tensors, head = self.folder.load_checkpoint()
        if not {*head} >= _HEAD:
            raise CheckpointError(f"{path} is not the checkpoint of a training run")
        if (reason := why_other(head, self.identity)) is not None:
            raise CheckpointError(f"{self.folder} {reason}")
        # Asked of the first process alone, as everything that somebody may have changed.
        done = gathered(is_done(self.folder.path))[0]
        if done and self.config.epochs > head["identity"]["training"]["epochs"]:
            raise CheckpointError(
                f"{self.folder} holds a run that was tested, whose result would be of another one "
                f"after {self.config.epochs} epochs: go on with joint.run.complete.complete_run, "
                f"or lens2label train --output {self.folder} --resume --training.epochs "
                f"{self.config.epochs}, which test it again"
            )
        parts: dict[str, dict[str, Tensor]] = {
            "system": {}, "optimizer": {}, "sums": {}, "average": {}, "rate_weight": {}
        }  # fmt: skip
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        names = self._optimised()
        was = head["optimised"]
        if frozen := [name for name in was if name not in names]:
            raise CheckpointError(f"{path} was training {frozen[0]}, which is frozen here")
        if more := [name for name in names if name not in was]:
            raise CheckpointError(f"{path} was not training {more[0]}, which learns here")
        load_weights(self.system, parts["system"], source=str(path))
        numbers = {name: number for number, name in enumerate(names)}
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["optimizer"].items():
            name, _, slot = key.rpartition(".")
            state.setdefault(numbers[name], {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, slots in self.optimizer.state.items():
            for slot, value in slots.items():
                # Not the count of steps, which has the shape of a scalar and not its type.
                if slot != "step" and value.shape == parameter.shape:
                    # A fused optimiser walks the memory: moments must lie as the weights do.
                    slots[slot] = torch.empty_like(parameter).copy_(value)
        self.sums = {name: tensor.to(self.device) for name, tensor in parts["sums"].items()}
        if rank() > 0:  # the sums of the file are those of all processes
            self.sums = {name: torch.zeros_like(tensor) for name, tensor in self.sums.items()}
        own = self.system.state_dict()
        self.average = {name: tensor.to(own[name]) for name, tensor in parts["average"].items()}
        if self.rate_weight is not None:
            self.rate_weight.restore(parts["rate_weight"]["state"])
        self.epoch, self.step, self.seen = head["epoch"], head["step"], head["seen"]
        self.steps = head["steps"]
        pictures, seconds = head["timed"]
        self.timed = (pictures, seconds)
        self.records = [EpochRecord(**record) for record in head["records"]]
        if rank() == 0:
            self.folder.rewrite_history(head["records"])
        self.best_epoch = head["best_epoch"]
        self.began = head["began"]

    def _sizes(self) -> dict[str, float]:
        """Root mean square of each parameter that learns."""
        own = [p.detach() for group in self.optimizer.param_groups for p in group["params"]]
        sizes = torch.stack([p.abs().float().square().mean().sqrt() for p in own]).tolist()
        named = zip(self._optimised(), sizes, strict=True)
        return {name: size for name, size in named if math.isfinite(size)}  # not of none

    def grown(self) -> str | None:
        """Warning about parameters that have grown far beyond useful values, or None."""
        now = self._sizes()
        grown = {n: now[n] / max(1.0, was) for n, was in self.began.items() if n in now}
        far = [name for name, ratio in grown.items() if ratio > _GROWN]
        if not far:
            return None
        most = max(far, key=lambda name: grown[name])
        others = f", and {len(far) - 1} others as much" if len(far) > 1 else ""
        return (
            f"{most} went from {self.began[most]:.3g} to {now[most]:.3g} (root mean square) in "
            f"training{others}: steps this long destroy the initial state of a stage, and the "
            "results are those of such a stage. Lower the learning rate of "
            f"{most.partition('.')[0]} (learning_rates)"
        )

    def _optimised(self) -> list[str]:
        """Names of the parameters in the order in which the optimiser counts them."""
        names = {id(parameter): name for name, parameter in self.system.named_parameters()}
        return [names[id(p)] for group in self.optimizer.param_groups for p in group["params"]]

    def _off(self, record: EpochRecord) -> float:
        """By which part of it the validation rate is off its target; 0 without one."""
        target, rate = self.objective.rate_target, record.validation.get("bpp")
        if target is None:
            return 0.0
        return math.inf if rate is None else abs(rate / target - 1)

    def missed(self) -> str | None:
        """Warning about a training whose rate ended too far from its target, or None."""
        if not self.over or not self.records:
            return None
        place = self.best_epoch if self.config.restore_best else None
        kept = self.records[-1 if place is None else place]
        if self._off(kept) <= ON_TARGET and self._off(self.records[-1]) <= ON_TARGET:
            return None
        rates = {e.epoch: e.validation.get("bpp") for e in (kept, self.records[-1])}
        told = ", ".join(
            f"{'none' if rate is None else format(rate, '.4g')} after epoch {number}"
            for number, rate in rates.items()
        )
        return (
            f"the rate was to end at {self.objective.rate_target:g} bits/pixel, and is {told} "
            f"(the weights kept are of epoch {kept.epoch}): train for more epochs, as its weight "
            "needs time while the learning rate is high; or without a target, at a fixed weight "
            "near those of the history (rate_weight)"
        )

    def _score(self, record: EpochRecord) -> tuple[float, float]:
        """How near the rate is to its target, where it has one, then the monitor; larger is better.

        A number that does not exist is worst.
        """
        near = -max(self._off(record), ON_TARGET)  # within it, the monitor decides
        value = record.validation.get(self.config.monitor)
        if value is None:
            return near, -math.inf
        return near, -value if lower_is_better(self.config.monitor) else value

    def _keep_best(self) -> None:
        weights = self.average or self.system.state_dict()
        if rank() > 0 and self.folder is not None:
            return
        if self.folder is None:
            self.best_weights = {name: w.detach().clone() for name, w in weights.items()}
            return
        head = {
            "identity": self.identity,
            "epoch": self.epoch,
            "validation": self.records[-1].validation,
        }
        save_checkpoint(self.folder.path / BEST_FILE, weights, head)


def why_other(head: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    """Why the run of a checkpoint differs from that of an identity, and cannot continue as it.

    Parameters
    ----------
    head : mapping
        Of the checkpoint, as :meth:`TrainingRun.save` writes it.
    identity : mapping
        Of the run that is asked for, which may have more epochs than the checkpoint says, where
        :func:`why_not_longer` says nothing against it.

    Returns
    -------
    str or None
        The reason, to follow the name of the folder; None where it is the same.
    """
    was, epochs = head["identity"], identity["training"]["epochs"]
    if isinstance(was["system"], str):
        return EARLIER
    longer = epochs > was["training"]["epochs"]
    if longer:
        was = was | {"training": was["training"] | {"epochs": epochs}}
    if changed := _changes(was, identity):
        return (
            f"holds a run with another configuration: {'; '.join(changed[:5])}. Resume it as it "
            "was, or train in another directory"
        )
    return why_not_longer(head, epochs) if longer else None


def why_not_longer(head: Mapping[str, Any], epochs: int) -> str | None:
    """Why the run of a checkpoint cannot continue for more epochs than it had.

    It can if a run that was started with this number would have had the same checkpoint.

    Parameters
    ----------
    head : mapping
        Of the checkpoint, as :meth:`TrainingRun.save` writes it.
    epochs : int
        How many it is to have in all.

    Returns
    -------
    str or None
        The reason, to follow the name of the folder; None if it can.
    """
    if not {*head} >= _HEAD:
        return f"has a {CHECKPOINT_FILE} that is not one of a training run"
    was, best = head["identity"]["training"], head["best_epoch"]
    remedy = "begin another run with its weights (--start; in Python joint.load_fitted)"
    if was["schedule"] != "constant":
        return (
            f"holds a run with training.schedule {was['schedule']} over training.epochs "
            f"{was['epochs']}, and with {epochs} every step would have had another learning rate: "
            "only a run with the schedule constant goes on for more epochs. To train on, "
            f"{remedy}; or train {epochs} epochs from the beginning"
        )
    patience, over = was["patience"], head["epoch"]
    if _ran_out(patience, over, best):
        return (
            f"holds a run whose training.patience of {patience} ran out in epoch {over}: with "
            f"training.epochs {epochs} it would have ended there, too. To train on, {remedy} and "
            "more patience"
        )
    return None


def _ran_out(patience: int | None, epochs: int, best: int | None) -> bool:
    """Whether ``patience`` has run out after so many epochs, of which one is the ``best``."""
    return patience is not None and best is not None and epochs - 1 - best >= patience


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Text about the differences between the identities of two runs."""
    settings = [
        f"{part}.{key} was {old[part].get(key)!r} and is {new[part].get(key)!r}"
        for part in ("objective", "training")
        for key in sorted({*old[part], *new[part]})
        if old[part].get(key) != new[part].get(key)
    ]
    if other := differing(old["system"], new["system"], learning=True):
        settings.append(f"the system is another one: {other}")
    if other := why_another(old.get("teacher"), new.get("teacher")):
        settings.append(f"the teacher is another one: {other}")
    if old.get("learning_rate_factors") != new.get("learning_rate_factors"):
        settings.append(
            f"the factors of learning rates were {old.get('learning_rate_factors')} and are "
            f"{new.get('learning_rate_factors')} (learning_rate_factor of modules)"
        )
    return settings + [
        f"the {part} set is another one"
        for part in ("train", "validation")
        if old[part] != new[part]
    ]


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
