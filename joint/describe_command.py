"""``lens2label describe``: a camera in numbers, of a run folder or of what would be trained."""

import json
from collections.abc import Sequence
from pathlib import Path

import classify

from .arguments import read_describe_options
from .build import build_system
from .config.run import load_config
from .config.scenes import DataConfig, PhantomConfig, build_data
from .data_sheet import DataSheet, data_sheet
from .options import Described
from .trained import SceneKind, load_trained, rebuilt, scene_kind

__all__ = ["describe"]


def describe(arguments: Sequence[str]) -> int:
    """Print a camera's data sheet; returns the exit status."""
    options = read_describe_options(arguments)
    found = _of_options(options.described) if options.run is None else _of_run(options.run)
    print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if options.json else found)
    return 0


def _of_run(folder: Path) -> DataSheet:
    """As it was trained; neither its scenes nor what it began with have to be there."""
    config = load_config(folder)
    trained = load_trained(folder, config.training)
    scenes = scene_kind(trained)
    system = rebuilt(config, trained, scenes)
    return data_sheet(system, image_size=scenes.image_size, channels=scenes.channels)


def _of_options(described: Described) -> DataSheet:
    scenes = _scenes(described.data)
    system = build_system(
        described.system,
        image_size=scenes.image_size,
        channels=scenes.channels,
        classes=len(scenes.classes),
    )
    return data_sheet(system, image_size=scenes.image_size, channels=scenes.channels)


def _scenes(data: DataConfig) -> SceneKind:
    """What kind of scenes they are: of procedural ones a few are like all."""
    few = data.model_copy(update={"count": 50}) if isinstance(data, PhantomConfig) else data
    built: classify.LesionDataset = build_data(few)
    return SceneKind(built.image_size, built.channels, built.classes)
