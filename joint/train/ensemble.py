"""Several runs in one process, whose nets are passed in one call.

::

    run 0   batch ─► camera ─┐                              ┌─► objective ─► gradients ─► step
    run 1   batch ─► camera ─┼─► codecs ─► classifiers ─────┼─► objective ─► gradients ─► step
    run 2   batch ─► camera ─┘   weights stacked [K, ...]   └─► objective ─► gradients ─► step

A small net at few pixels keeps a processor busy with starting operations rather than with
computing; K of them, stacked by ``torch.func``, start as many as one. Order, views, noise,
optimiser, files and validation are each run's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from classify import LesionDataset
from compress import Coded
from joint.described import described
from joint.device import usable_device
from joint.feed import Feed, as_scenes
from joint.objective import Objective
from joint.parallel import world_size
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import RunFolder, as_path, hold
from joint.system import (
    ImagingSystem,
    Measured,
    SystemOutput,
    as_weights,
    evaluating,
    only_learning,
)

from .history import History
from .listen import EpochListener, listeners, tell
from .loop import begun, ended, epoch, goes_on, lay_out
from .preflight import check_given, check_run
from .run import TrainingRun
from .step import Batch, Passed, seed_default, weighed
from .training import Training

__all__ = ["fit_ensemble"]

_T = TypeVar("_T")
Named: TypeAlias = dict[str, Tensor]

# A camera draws the noise of each picture from its own generator, which is done one by one. Its
# restoration computes at every pixel, where a stack gains nothing: on one thread of a CPU it was
# 0.9 to 1.0 times as fast as its members at 16 x 16 pixels, 1.4 times at 8 x 8.
_STACKED = ("codec", "classifier")
# Up to so many pixels of a batch a stack was no slower than its members one by one on a CPU; above,
# convolutions with stacked weights cost more than is saved. See docs/benchmarks.md.
_MOST_PIXELS_ON_A_CPU = 4096
# Enough for batch normalisation to be well conditioned.
_LOOK_AT = 8
_TENSORS = tuple(field.name for field in fields(Coded) if field.name != "rate")


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def fit_ensemble(
    systems: Sequence[ImagingSystem],
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | Sequence[Objective] | None = None,
    config: Training | Sequence[Training] | None = None,
    teacher: ImagingSystem | Sequence[ImagingSystem | None] | None = None,
    directories: Sequence[Path | str | RunFolder] | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    on_epoch: Sequence[EpochListener | Sequence[EpochListener] | None] | None = None,
    progress: bool = True,
) -> tuple[History, ...]:
    """Train several systems at once, each as :func:`joint.fit` would train it, up to rounding.

    Codecs and classifiers of one architecture are stacked and evaluated in one call; those that
    cannot be stacked (a codec that draws noise in training, dropout, a codec of files, a layer
    under two names, a buffer that is assigned and not changed in place) are evaluated one by one.
    So are cameras, which may be of different kinds. The run folders are those of :func:`fit`: each
    function can continue a run of the other.

    It saves time if a step is short: measurements are in ``docs/benchmarks.md``.

    Dropout draws in the order of the memory, which is contiguous here, whatever ``channels_last``
    is: behind a convolution it drops other values than in a single training, unless
    ``channels_last`` is False.

    With ``precision="bfloat16"``, stages that are evaluated one by one compute in it. Autocast does
    not reach into the ``vmap`` of a stack (observed with torch 2.15 on a CPU), which computes in
    float32.

    Parameters
    ----------
    systems : sequence of ImagingSystem
        At least two. Trained in place, and left on ``device``.
    train, validation : LesionDataset
        Scenes of all systems.
    objective : Objective or a sequence of them, optional
        One for all, or one for each.
    config : Training or a sequence of them, optional
        One for all, or one for each; they differ in ``seed`` at most.
    teacher : ImagingSystem or a sequence of them, optional
        As in :func:`joint.fit`: one for all, or one for each.
    directories : sequence of path or RunFolder, optional
        A run folder for each.
    resume : bool
        Continue the runs in ``directories``; those that are behind the others first.
    device : torch.device or str
        Device of the training.
    stop : callable, optional
        As in :func:`joint.fit`; all of them are interrupted.
    on_epoch : sequence, optional
        Listeners of each run, as :func:`joint.fit` takes them.
    progress : bool
        Show bars and lines.

    Returns
    -------
    tuple of History
        In the order of ``systems``.

    Raises
    ------
    TypeError
        As :func:`joint.fit`.
    ValueError
        As :func:`joint.fit`; for fewer than two systems, two that share weights, or sequences of
        another length; for a teacher that shares weights with one of them; for configurations
        that differ in more than the seed, or with ``compile``; with several processes; when nothing
        can be stacked; and on a CPU for batches of more than 4096 pixels (16 pictures of 16 x 16),
        for which a stack is slower than its members.
    CheckpointError
        As :func:`joint.fit`; for one folder given twice.
    TrainingDiverged
        When the loss or a weight of one of them is no longer finite. All end with it, and can be
        resumed without it from their folders.
    """
    if not isinstance(systems, Sized):
        raise TypeError(
            "systems must be a sequence of two joint.ImagingSystem or more, not "
            f"{type(systems).__name__}; use fit for one"
        )
    count = len(systems)
    if count < 2:
        raise ValueError("an ensemble takes two systems or more; use fit for one")
    objectives = _each(Objective() if objective is None else objective, count, "objectives")
    configs = _each(Training() if config is None else config, count, "configurations")
    teachers = _each(teacher, count, "teachers")
    given = (systems, objectives, configs, teachers)
    for system, its_objective, its_config, its_teacher in zip(*given, strict=True):
        check_given(system, train, validation, its_objective, its_config, its_teacher, stop)
    weights = [id(parameter) for system in systems for parameter in system.parameters()]
    if len(set(weights)) < len(weights):
        raise ValueError("two of the systems share weights: give each a copy of its own")
    for its_teacher in teachers:
        if its_teacher is not None and {id(p) for p in its_teacher.parameters()} & {*weights}:
            raise ValueError(
                "a teacher shares weights with one of the systems, and would change with it: give "
                "a copy (copy.deepcopy)"
            )
    told = [listeners(some) for some in _each(on_epoch, count, "listeners")]
    if resume and directories is None:
        raise ValueError("resume=True needs the directories of the runs to resume")
    folders = _folders(directories, count)
    device = usable_device(device)
    _check_alike(configs)
    _check_pays(train, configs[0], device)
    made = [described(system) for system in systems]  # before anything passes through them
    for system, its_objective, its_config, its_teacher in zip(*given, strict=True):
        system.to(device)
        if its_teacher is not None:
            its_teacher.to(device)
        check_run(system, train, validation, its_objective, its_config, teacher=its_teacher)
    rows = torch.arange(min(_LOOK_AT, len(train)))
    look, _ = as_scenes(train.gather(rows), device)
    _check_stacks(systems, look, configs[0])

    with ExitStack() as held:
        for system in systems if configs[0].channels_last else ():
            held.callback(lay_out, system, torch.contiguous_format)  # as `fit` leaves it
        places = [None if each is None else held.enter_context(hold(each)) for each in folders]
        # Those that may be refused come first, before a folder of another one is begun.
        on = [goes_on(place, resume=resume) for place in places]
        order = sorted(range(count), key=lambda k: not on[k])
        found: dict[int, TrainingRun] = {}
        for k in order:
            begin = (systems[k], objectives[k], configs[k], train, validation, places[k])
            found[k] = begun(*begin, teacher=teachers[k], resume=resume, made=made[k])
        runs = [found[k] for k in range(count)]
        for run, listening in zip(runs, told, strict=True):
            for record in run.records:
                tell(listening, record)
        feed = Feed(train, device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while going := [k for k, run in enumerate(runs) if not run.over]:
                # Runs that were killed may be behind the others: they go first.
                place = min((runs[k].epoch, runs[k].step) for k in going)
                now = [k for k in going if (runs[k].epoch, runs[k].step) == place]
                epoch(
                    [runs[k] for k in now],
                    _Stack([runs[k] for k in now], look),
                    feed,
                    validation,
                    stop=stop,
                    told=[told[k] for k in now],
                    progress=progress,
                )
                if any(run.interrupted for run in runs):
                    for run in runs:  # those that were ahead, too
                        run.interrupted = not run.over
                    break
        return tuple(ended(run) for run in runs)


class _Stack:
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
        obstacles = _obstacles(self.systems, self.look)
        try:
            for name in (n for n, obstacle in obstacles.items() if obstacle is None):
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


def _obstacles(systems: Sequence[ImagingSystem], scenes: Tensor) -> dict[str, str | None]:
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
    if len({tuple(map(type, member.modules())) for member in members}) > 1:
        return "they are of different architectures"
    if len({tuple(part.training for part in member.modules()) for member in members}) > 1:
        # One pass has one mode: that of what is frozen in one of them is another.
        return "some of them, or of their layers, are frozen, and in evaluation mode"
    for member in members:
        if (name := _twice(member)) is not None:
            return f"{name} is a layer that is there under another name, too"
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
    for one, other in zip(alone, together, strict=True):
        if not _alike(_results(one), _results(other)):
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


def _each(given: Sequence[_T] | _T, count: int, what: str) -> list[_T]:
    """One for each member, of one for all or of as many."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    found: list[Any] = list(given) if several else [given] * count  # pyright: ignore[reportArgumentType]
    if len(found) != count:
        raise ValueError(f"{count} systems need {count} {what}, or one for all, not {len(found)}")
    return found


def _folders(
    directories: Sequence[Path | str | RunFolder] | None, count: int
) -> Sequence[Path | str | RunFolder | None]:
    """A run folder for each member, or none for any."""
    if directories is None:
        return [None] * count
    if isinstance(directories, str) or not isinstance(directories, Sequence):
        raise TypeError(
            f"directories must be a sequence of {count} run folders, one for each system, not "
            f"{directories!r}"
        )
    if len(directories) != count:
        raise ValueError(
            f"{count} systems need {count} directories, one for each, not {len(directories)}"
        )
    places = [as_path(each, "each of directories").resolve() for each in directories]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise CheckpointError(
                f"systems {places.index(place)} and {number}, counted from 0, share the folder "
                f"{place}: give each its own"
            )
    return directories


def _check_alike(configs: Sequence[Training]) -> None:
    first, *others = (config.model_dump(exclude={"seed"}) for config in configs)
    for other in others:
        differing = [name for name in first if other[name] != first[name]]
        if differing:
            raise ValueError(
                f"the runs of an ensemble differ in {', '.join(differing)}: their configurations "
                "may differ in the seed alone; train the others apart"
            )
    if configs[0].compile:
        raise ValueError("an ensemble is not compiled: set compile=False, or train one by one")
    if world_size() > 1:
        raise ValueError("an ensemble is trained by one process: launch one, or use fit")


def _check_pays(train: LesionDataset, config: Training, device: torch.device) -> None:
    height, width = train.image_size
    pixels = min(config.batch_size, len(train)) * height * width
    if device.type == "cpu" and pixels > _MOST_PIXELS_ON_A_CPU:
        raise ValueError(
            f"batches of {pixels} pixels are too large for an ensemble on a CPU, where it is no "
            f"faster than its members one by one from {_MOST_PIXELS_ON_A_CPU}: train them with "
            "fit, in several processes; a study has --workers for that"
        )


def _check_stacks(systems: Sequence[ImagingSystem], scenes: Tensor, config: Training) -> None:
    with ExitStack() as modes:
        for system in systems:
            modes.enter_context(only_learning(system, config.learning(0)))
        obstacles = _obstacles(systems, scenes)
    if not any(obstacle is None for obstacle in obstacles.values()):
        reasons = "; ".join(f"{name}: {obstacle}" for name, obstacle in obstacles.items())
        raise ValueError(
            f"nothing of these systems can be stacked ({reasons or 'no codec, no classifier'}): "
            "train them one by one with fit"
        )
