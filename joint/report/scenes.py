"""What measuring a run takes: its system and pictures, and how they are measured."""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch

from classify import LesionDataset, Report
from joint.device import device_of, usable_device
from joint.feed import Feed, some_of
from joint.run.trained import load_run
from joint.saved.checkpoint import CheckpointError
from joint.system import ImagingSystem, evaluating

from .saved import SavedRun

__all__ = ["Measuring", "NotHere", "Scenes", "coded_pixels", "judged", "load_scenes", "needed"]


@final
@dataclass(frozen=True)
class Measuring:
    """How the parts that measure do so."""

    quick: bool = False
    """Without the parts that evaluate the system many times."""
    pictures: int = 500
    """At most so many pictures of the test part, drawn at random."""
    resamples: int = 1000
    """Of the intervals."""
    batch_size: int = 64
    device: str = "cpu"


class Scenes(NamedTuple):
    """A run brought back: what measuring it takes."""

    system: ImagingSystem
    test: LesionDataset
    """The test part."""
    shown: LesionDataset
    """Those of its pictures that are measured."""


def load_scenes(run: SavedRun, how: Measuring) -> Scenes | str:
    """System and pictures of a run; or why they cannot be had.

    The page can be made of what the folder holds, where its scenes are not at hand.
    """
    device = usable_device(how.device)
    try:
        _, system, parts = load_run(run.path)
    except (OSError, ValueError, CheckpointError) as error:
        return f"The scenes are not at hand: {error}"
    return Scenes(system.to(device).eval(), parts.test, some_of(parts.test, how.pictures))


def coded_pixels(scenes: Scenes) -> int:
    """Pixels of a picture as the codec is given it, which its bits/pixel are of.

    Others than those of the scene where a sensor bins or packs its mosaic, or a restoration
    enlarges: a picture is passed to see.
    """
    camera = scenes.system.replace(classifier=None)
    feed = Feed(scenes.test.subset([0]), device_of(camera), resident=False)
    with evaluating(camera), torch.no_grad():
        (shown,) = feed.shown([torch.tensor([0])], seed=0)
        return camera(shown.scenes, generator=shown.noise).measurement.shape[-2:].numel()


class NotHere(Exception):
    """A part that does not apply, in one line."""


def needed(scenes: Scenes | str) -> Scenes:
    """The scenes; or the reason why a part cannot be made without."""
    if isinstance(scenes, str):
        raise NotHere(scenes)
    return scenes


def judged(run: SavedRun) -> Report:
    """The report on the predictions; or the reason why there is none."""
    if run.report is None:
        raise NotHere("The system has no classifier.")
    return run.report
