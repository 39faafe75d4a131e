"""Whether the run of a folder is begun, resumed, made longer, or kept: decided here alone.

::

    what is asked ──┬─ decide ─┬─► what to do, and by which configuration
    the run folder ─┘          └─► or an error that says why not

Nothing is written, and no scenes or weights are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final

from joint.config.run import RunConfig, load_config
from joint.config.scenes import DataConfig
from joint.parallel import gathered
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import CONFIG_FILE, RunFolder, is_done, why_not_begun
from joint.settings import ConfigError
from joint.train.identity import why_not_longer

__all__ = [
    "Asked",
    "Decision",
    "Given",
    "decide",
    "is_begun",
    "lengthened",
    "open_settings",
    "places",
]

Given: TypeAlias = Mapping[str, Sequence[str]]
"""Settings by name, each as it was typed: ``{"data": ["--data", "there/scenes.npz"]}``."""

_EPOCHS = "training.epochs"


@final
@dataclass(frozen=True)
class Asked:
    """What is asked of the run in a folder."""

    config: RunConfig
    """The run."""
    resume: bool
    """Whether a run that the folder holds may be resumed, or kept if it is done."""
    given: Given | None = None
    """The settings that were given, where all of them are of :func:`open_settings`: in the others
    the run is as the folder has it. None: ``config`` is meant as a whole."""

    def of(self, noted: RunConfig) -> RunConfig:
        """The run of a folder as it is asked for."""
        if self.given is None:
            return self.config
        moved = _put(noted, self.config)
        return lengthened(moved, self.config.training.epochs) if _EPOCHS in self.given else moved


@final
@dataclass(frozen=True)
class Decision:
    """What to do in a run folder."""

    action: Literal["begin", "resume", "extend", "keep"]
    """begin a run; resume one; extend one, which may be done, to more epochs; or keep one that is
    done."""
    config: RunConfig
    """The run, with the places and the epochs that were asked for."""
    noted: RunConfig | None
    """The same as the folder has it; None for a new run."""


def decide(folder: RunFolder, asked: Asked) -> Decision:
    """Decide what to do in a run folder.

    A run is resumed as it was begun: only its scenes and its teacher may be at other places,
    because they are recognised by their content, and it may have more epochs if its schedule is
    constant. Every process of a training calls this, and the first decides for all.

    Parameters
    ----------
    folder : RunFolder
    asked : Asked

    Returns
    -------
    Decision

    Raises
    ------
    CheckpointError
        When the folder holds a run, but ``asked.resume`` is false.
    ConfigError
        When its configuration cannot be read, or differs from what is asked; when the run cannot
        be continued for as many epochs; when the folder holds the remains of a run; when nothing is
        asked but to resume a run, and there is none.
    """
    # The first process decides: it may have written a file before the others look.
    begun, done = is_begun(folder), is_done(folder.path)
    left = None if begun else why_not_begun(folder.path)
    begun, done, left = gathered((begun, done, left))[0]
    if left is not None:
        raise ConfigError(f"{folder} {left}")
    if begun and not asked.resume:
        raise CheckpointError(
            f"{folder} already holds a run: resume it (--resume, resume=True) or choose another "
            "folder"
        )
    noted = _noted(folder, asked, begun=begun) if asked.resume else None
    if noted is None:
        return Decision("begin", asked.config, None)
    given = asked.given or {}
    if "data" in given and type(asked.config.data) is not type(noted.data):
        raise ConfigError(
            f"{' '.join(given['data'])} holds scenes of another kind than those of "
            f"the run in {folder} ({noted.data.kind}): with --resume it says where the same are now"
        )
    config = asked.of(noted)
    if not begun:
        return Decision("begin", config, noted)
    was, epochs = noted.training.epochs, config.training.epochs
    if config != lengthened(_put(noted, config), max(was, epochs)):
        raise ConfigError(
            f"{folder} holds a run of another configuration, and is resumed as it was started: "
            "leave the options out, or choose another folder; to start from its weights with other "
            f"options: --config {folder} --start {folder}, these options, and a new --output"
        )
    if epochs > was:
        if (reason := _why_not_longer(folder, noted, epochs)) is not None:
            raise ConfigError(f"{folder} {reason}")
        return Decision("extend", config, noted)
    return Decision("keep" if done else "resume", config, noted)


def is_begun(folder: RunFolder) -> bool:
    """Whether the folder holds a run that was saved, or is done."""
    return folder.has_checkpoint() or is_done(folder.path)


def open_settings(data: DataConfig) -> frozenset[str]:
    """Settings in which a run that is resumed may differ from the one that was begun."""
    return frozenset({"data", "teacher", _EPOCHS, *(f"data.{name}" for name in places(data))})


def places(data: DataConfig) -> dict[str, Path]:
    """Paths of scenes, by the names of their settings."""
    return {name: place for name, place in dict(data).items() if isinstance(place, Path)}


def lengthened(config: RunConfig, epochs: int) -> RunConfig:
    """The same run, of so many epochs."""
    training = config.training.model_copy(update={"epochs": epochs})
    return config.model_copy(update={"training": training})


def _put(config: RunConfig, where: RunConfig) -> RunConfig:
    """The same run, with the paths of scenes and teacher of another configuration."""
    moved: dict[str, object] = {} if where.teacher is None else {"teacher": where.teacher}
    if type(config.data) is type(where.data):
        moved["data"] = config.data.model_copy(update=places(where.data))
    return config.model_copy(update=moved)


def _noted(folder: RunFolder, asked: Asked, *, begun: bool) -> RunConfig | None:
    """The configuration in a folder by which a run is resumed; None where it begins as asked."""
    there = (folder.path / CONFIG_FILE).is_file()
    if begun and asked.given is None and not there:
        return asked.config  # begun by `fit`, which compares what it knows of
    # One that was killed before it was saved is begun as it was meant, unless all of it is given.
    if begun or (there and asked.given is not None):
        return load_config(folder.path)
    if asked.given == {}:  # killed even before, or named by mistake: not the default run
        raise ConfigError(
            f"{folder} holds no run that could be continued: give the options of the run "
            "again, or start without --resume"
        )
    return None


def _why_not_longer(folder: RunFolder, noted: RunConfig, epochs: int) -> str | None:
    """Why the run of a folder cannot continue for more epochs; None if it can."""
    if folder.path.resolve().name == noted.digest():
        return (
            "is named by the digest of its configuration, as in a study and with --root, "
            f"and {epochs} epochs would change the digest: copy the folder to another name, and "
            "continue there"
        )
    if not folder.has_checkpoint():
        return (
            "no longer has its checkpoint with the moments of the optimiser: restore it from "
            f"a copy, or start another run with its weights (--start {folder}, start=)"
        )
    return why_not_longer(folder.load_head(), epochs)
