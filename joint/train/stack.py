"""The nets of several runs as one, whose weights are stacked.

::

    run 0   batch ─► camera ─┐                              ┌─► objective ─► gradients ─► step
    run 1   batch ─► camera ─┼─► codecs ─► classifiers ─────┼─► objective ─► gradients ─► step
    run 2   batch ─► camera ─┘   weights stacked [K, ...]   └─► objective ─► gradients ─► step

A small net at few pixels keeps a processor busy with starting operations rather than with
computing; K of them, stacked by ``torch.func``, start as many as one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from compress import Coded
from joint.system import ImagingSystem, Measured, SystemOutput, as_weights, evaluating

from .run import TrainingRun
from .step import Batch, Passed, seed_default, weighed

__all__ = ["Stack", "obstacles"]

Named: TypeAlias = dict[str, Tensor]

# A camera draws the noise of each picture from its own generator, which is done one by one. Its
# restoration computes at every pixel, where a stack gains nothing: on one thread of a CPU it was
# 0.9 to 1.0 times as fast as its members at 16 x 16 pixels, 1.4 times at 8 x 8.
_STACKED = ("codec", "classifier")
_TENSORS = tuple(field.name for field in fields(Coded) if field.name != "rate")


class Stack:
    """Systems and objectives of several runs: the forward pass of a step of all of them."""

    def __init__(self, runs: Sequence[TrainingRun], look: Tensor) -> None:
        self.systems = [run.system for run in runs]
        self.objectives = [run.objective for run in runs]
        self.low_precision = runs[0].config.precision == "bfloat16"
        self.look = look
        self.nets: dict[str, _Net] = {}

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Stack what can be, in the modes that the systems are in, until the block ends."""
        found = obstacles(self.systems, self.look)
        try:
            for name in (n for n, obstacle in found.items() if obstacle is None):
                self.nets[name] = _Net([getattr(system, name) for system in self.systems])
            yield self
        finally:
            for net in self.nets.values():
                net.unstack()
            self.nets.clear()

    def __call__(self, batches: Sequence[Batch], counts: Tensor, epoch: int) -> list[Passed]:
        """Pass the batch of each run."""
        with torch.autocast(
            self.look.device.type, dtype=torch.bfloat16, enabled=self.low_precision
        ):
            draws = [_Draws(batch.key, batch.scenes.device) for batch in batches]
            measured: list[Measured] = []
            for system, batch, drawing in zip(self.systems, batches, draws, strict=True):
                with drawing:  # dropout in a restoration
                    measured.append(system.measure(batch.scenes, generator=batch.noise))
            handed = [each.measurement for each in measured]
            coded = self._through("codec", handed, batches, draws)
            handed = [
                h if c is None else c.reconstruction for h, c in zip(handed, coded, strict=True)
            ]
            taken = _as_classifiers_take(self.systems, handed)
            logits = self._through("classifier", taken, batches, draws)
            outputs = [
                SystemOutput(
                    scene=batch.scenes,
                    **measured[k]._asdict(),
                    coded=coded[k],
                    handed=handed[k],
                    logits=logits[k],
                    encoding=system.encoding,
                    exposures=system.exposures,
                    penalty=system.penalty(),
                )
                for k, (system, batch) in enumerate(zip(self.systems, batches, strict=True))
            ]
            return [
                weighed(objective, output, batch, counts, epoch)
                for objective, output, batch in zip(self.objectives, outputs, batches, strict=True)
            ]

    def _through(
        self,
        name: str,
        pictures: list[Tensor],
        batches: Sequence[Batch],
        draws: Sequence["_Draws"],
    ) -> list[Any]:
        """Output of a stage of each run for its pictures; None without the stage."""
        if name in self.nets:
            return self.nets[name](pictures)
        found: list[Any] = []
        for system, picture, batch, drawing in zip(
            self.systems, pictures, batches, draws, strict=True
        ):
            # As alone: a codec draws from the generators, dropout from torch's own.
            given = {"generator": batch.noise} if name == "codec" else {}
            stage = getattr(system, name)
            with drawing:
                found.append(None if stage is None else stage(picture, **given))
        return found


class _Draws:
    """Torch's own generators as a stage of one run left them: the next one goes on from there."""

    def __init__(self, key: int, device: torch.device) -> None:
        self.sources = [torch.default_generator]
        if device.type == "cuda":
            self.sources.append(torch.cuda.default_generators[device.index])
        seed_default(key, device)
        self.left = [source.get_state() for source in self.sources]

    def __enter__(self) -> None:
        for source, state in zip(self.sources, self.left, strict=True):
            source.set_state(state)

    def __exit__(self, *_: object) -> None:
        self.left = [source.get_state() for source in self.sources]


class _Net:
    """One stage of all members, with stacked weights.

    The members' own weights are views of them while this lasts, so that their optimisers, averages
    and checkpoints need to know nothing of it.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self.members = members
        parameters = [dict(member.named_parameters()) for member in members]
        self.weights = _joined(parameters)
        self.buffers = _joined([dict(member.named_buffers()) for member in members])
        for name, whole in self.weights.items():
            own = [named[name] for named in parameters]
            if any(parameter.requires_grad for parameter in own):
                whole.requires_grad_()
                whole.register_post_accumulate_grad_hook(partial(_hand_out, own))

    def __call__(self, pictures: Sequence[Tensor]) -> list[Any]:
        """Output of each member for its pictures ``[B, C, H, W]``."""
        coded: list[Coded] = []

        def passing(weights: Named, buffers: Named, picture: Tensor) -> Tensor | Named:
            output = functional_call(self.members[0], (weights, buffers), (picture,))
            if not isinstance(output, Coded):
                return output
            coded.append(output)
            given = {name: getattr(output, name) for name in _TENSORS}
            return {name: tensor for name, tensor in given.items() if tensor is not None}

        found = torch.vmap(passing)(self.weights, self.buffers, torch.stack(list(pictures)))
        if isinstance(found, Tensor):
            return list(found.unbind())
        # Fields that are no tensors are the same in all of them.
        return [
            replace(coded[0], **{name: tensor[k] for name, tensor in found.items()})
            for k in range(len(pictures))
        ]

    def unstack(self) -> None:
        """Give each member memory of its own again."""
        for member in self.members:
            for tensor in (*member.parameters(), *member.buffers()):
                tensor.data = tensor.data.clone()


def _joined(members: Sequence[Mapping[str, Tensor]]) -> Named:
    """Stack the tensors of each name ``[K, ...]``, and make the members' own views of them."""
    joined = {}
    for name in members[0]:
        own = [named[name] for named in members]
        if len({tensor.dtype for tensor in own}) > 1:  # a stack would change that of some
            raise TypeError(f"{name} is of different types")
        joined[name] = torch.stack([tensor.detach() for tensor in own])
        for tensor, view in zip(own, joined[name], strict=True):
            tensor.data = view
    return joined


def _hand_out(members: Sequence[Tensor], whole: Tensor) -> None:
    """Add the gradient of stacked weights to those of the members."""
    assert whole.grad is not None
    for own, gradient in zip(members, whole.grad, strict=True):
        if own.requires_grad:  # another member may learn what this one does not
            own.grad = gradient if own.grad is None else own.grad + gradient
    whole.grad = None


def _as_classifiers_take(systems: Sequence[ImagingSystem], pictures: list[Tensor]) -> list[Tensor]:
    """Pictures in the type of each classifier's weights, as in a single system."""
    return [
        picture if system.classifier is None else as_weights(system.classifier, picture)
        for system, picture in zip(systems, pictures, strict=True)
    ]


def obstacles(systems: Sequence[ImagingSystem], scenes: Tensor) -> dict[str, str | None]:
    """Why each network cannot be stacked, None if it can; tested with a few pictures."""
    found: dict[str, str | None] = {}
    with torch.no_grad(), torch.random.fork_rng([scenes.device] if scenes.is_cuda else []):
        pictures = []
        for system in systems:
            with evaluating(system):  # a look leaves no trace in the statistics of a batch norm
                pictures.append(system.measure(scenes).measurement)
        for name in _STACKED:
            members = [getattr(system, name) for system in systems]
            present = [member for member in members if member is not None]
            if len(present) == len(members):
                if name == "classifier":
                    pictures = _as_classifiers_take(systems, pictures)
                found[name] = _obstacle(members, pictures)
            elif present:
                found[name] = "only some of the systems have one"
    return found


def _obstacle(members: Sequence[nn.Module], pictures: Sequence[Tensor]) -> str | None:
    """Why these nets cannot be one, None if they can: by what they are, and then by a pass."""
    return _unlike(members) or _passed_otherwise(members, pictures)


def _unlike(members: Sequence[nn.Module]) -> str | None:
    """What makes one of the nets another kind than the rest, or one that has no stack at all."""
    if len({tuple(map(type, member.modules())) for member in members}) > 1:
        return "they are of different architectures"
    if len({tuple(part.training for part in member.modules()) for member in members}) > 1:
        # One pass has one mode: that of what is frozen in one of them is another.
        return "some of them, or of their layers, are frozen, and in evaluation mode"
    for member in members:
        if (name := _twice(member)) is not None:
            return f"{name} is a layer that is there under another name, too"
    return None


def _passed_otherwise(members: Sequence[nn.Module], pictures: Sequence[Tensor]) -> str | None:
    """What a stack does otherwise than its members; their buffers are left as they were."""
    kept = [
        (part, name, buffer, buffer.clone())
        for member in members
        for part in member.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]

    def restored() -> list[Tensor]:
        """By how much the buffers have changed; they are again what they were."""
        # Batch normalisation in training looks and remembers.
        changes = [_change(buffer, value) for _, _, buffer, value in kept]
        for part, name, buffer, value in kept:
            setattr(part, name, buffer)
            buffer.data = value.clone()
        return changes

    alone = [member(picture) for member, picture in zip(members, pictures, strict=True)]
    assigned = [name for part, name, buffer, _ in kept if getattr(part, name) is not buffer]
    changes = restored()
    if assigned:
        # What a pass in common assigns is of all of them, and is lost with it.
        return f"{assigned[0]} is a buffer that a pass assigns, and does not change in place"
    net = None
    try:
        net = _Net(members)
        together = net(pictures)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        return str(error).splitlines()[0]
    finally:
        if net is not None:
            net.unstack()
        changes_together = restored()
    pairs = zip(alone, together, strict=True)
    if not all(_alike(_results(one), _results(other)) for one, other in pairs):
        return "stacked, they give something else than one by one"
    if not _alike(changes, changes_together):
        return "stacked, they remember something else than one by one"
    return None


def _twice(module: nn.Module) -> str | None:
    """Name of a layer with weights that is there under two, which ``functional_call`` confuses."""
    known = set()
    for name, part in module.named_modules(remove_duplicate=False):
        if part in known and next(part.parameters(recurse=False), None) is not None:
            return name
        known.add(part)
    return None


def _change(buffer: Tensor, before: Tensor) -> Tensor:
    """By how much a buffer differs; 0 where it is equal, as infinities of a mask are."""
    if buffer.shape != before.shape:
        return buffer
    number = torch.int64 if buffer.dtype == torch.bool else buffer.dtype
    return (buffer.to(number) - before.to(number)).masked_fill(buffer == before, 0)


def _alike(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors are equal up to rounding."""
    # Rounding makes 1e-5; another function, or somebody else's weights, far more than this. Asked
    # this way round, a stack that gives no numbers is not taken either.
    return all(
        torch.equal(a, b)
        or (a.shape == b.shape and bool((a - b).abs().amax() <= 1e-2 * a.abs().amax()))
        for a, b in zip(ours, theirs, strict=True)
    )


def _results(output: Tensor | Coded) -> list[Tensor]:
    if isinstance(output, Coded):
        return [output.reconstruction, output.bits]
    return [output]
