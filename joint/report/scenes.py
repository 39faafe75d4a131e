"""The system and pictures that measuring a run needs, and the settings of the measurement."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, final

from classify import LesionDataset, Report
from joint.analysis.passes import one_pass
from joint.device import usable_device
from joint.feed import some_of
from joint.run.trained import load_run
from joint.saved.checkpoint import CheckpointError
from joint.system import ImagingSystem

from .saved import SavedRun

__all__ = [
    "Measuring",
    "NotHere",
    "Scenes",
    "coded_pixels",
    "judged",
    "load_scenes",
    "measured",
    "needed",
]


@final
@dataclass(frozen=True)
class Measuring:
    """Settings of the parts that measure."""

    quick: bool = False
    """Leave out the parts that evaluate the system many times."""
    pictures: int = 500
    """Largest number of pictures of the test part, drawn at random."""
    resamples: int = 1000
    """Bootstrap resamples for the intervals."""
    batch_size: int = 64
    device: str = "cpu"


class Scenes(NamedTuple):
    """A run loaded for measuring: its system and pictures."""

    system: ImagingSystem
    test: LesionDataset
    """The test part."""
    shown: LesionDataset
    """The pictures of the test part that are measured."""


def load_scenes(run: SavedRun, how: Measuring) -> Scenes | str:
    """System and pictures of a run, or why they cannot be loaded.

    Without its scenes, a page can still be made from what the folder holds.
    """
    device = usable_device(how.device)
    try:
        _, system, parts = load_run(run.path)
    except (OSError, ValueError, CheckpointError) as error:
        return f"The scenes are not available: {error}"
    return Scenes(system.to(device).eval(), parts.test, some_of(parts.test, how.pictures))


def coded_pixels(scenes: Scenes) -> int:
    """Pixels of a picture at the codec, to which bits/pixel refer.

    They differ from those of the scene if a sensor bins or packs its mosaic, or if a restoration
    enlarges. One picture is passed through the system to find out.
    """
    _, output = one_pass(scenes.system.replace(classifier=None), scenes.test, [0])
    return output.measurement.shape[-2:].numel()


class NotHere(Exception):
    """A part that does not apply; the message says why in one line."""


@contextmanager
def measured() -> Iterator[None]:
    """Leave a part out, with the reason, if an analysis refuses the system or its pictures."""
    try:
        yield
    except ValueError as error:
        raise NotHere(f"It cannot be measured: {error}") from error


def needed(scenes: Scenes | str) -> Scenes:
    """The scenes, or NotHere with the reason why a part cannot be made without them."""
    if isinstance(scenes, str):
        raise NotHere(scenes)
    return scenes


def judged(run: SavedRun) -> Report:
    """The report on the predictions, or NotHere with the reason why there is none."""
    if run.report is None:
        raise NotHere("The system has no classifier.")
    return run.report
