"""``lens2label describe``: a camera in numbers, of a run folder or of what would be trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

import classify
from joint.config.run import SystemConfig, load_config
from joint.config.scenes import DataConfig, PhantomConfig, build_data
from joint.deploy.data_sheet import DataSheet, data_sheet
from joint.record import print_json
from joint.run.build import build_system
from joint.run.trained import SceneKind, load_trained, rebuilt
from joint.settings import ConfigError, OptionError, Settings
from joint.system import ImagingSystem
from optics.imaging.shutter import behind_shutter

from .options import Choice, check_figure, check_trained
from .reading import check_settings, read_choice, read_given

__all__ = ["DescribeOptions", "Described", "main", "read_describe_options"]


class Described(Settings):
    """The part of a configuration that describes a camera and its scenes."""

    system: SystemConfig = SystemConfig()
    data: DataConfig = PhantomConfig()


@dataclass(frozen=True)
class DescribeOptions:
    """Print the numbers of a camera, before or after training.

    Scale, depth of field, Strehl ratio, spot, contrast and best focus of its lens; threshold,
    saturation and dynamic range of its sensor; the values that are read out; and where the
    simulation cannot be trusted.
    A run folder is described as it was trained; without one, the options are those of train. For
    example:

        lens2label describe runs/edge
        lens2label describe --front-end lens --system.front-end.focus 0.3
        lens2label describe runs/edge --figure lens.pdf
    """

    choice: Annotated[Choice, tyro.conf.arg(name="")]
    described: Annotated[Described, tyro.conf.arg(name="")]
    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder of lens2label train; its scenes are not needed."""
    figure: Path | None = None
    """Also draw the contrast of its lens, also through focus, to this .png, .pdf or .svg."""
    json: bool = False
    """Print everything as JSON, including all places of the picture."""

    def check(self) -> None:
        """Refuse a run folder with settings of another camera, and a file that is no figure."""
        check_figure("--figure", self.figure)
        if self.run is not None and (self.choice, self.described) != (Choice(), Described()):
            raise OptionError(
                f"{self.run} is a run with its own settings; to change some of them, give "
                f"--config {self.run} instead, and the changed ones"
            )


def read_describe_options(arguments: Sequence[str]) -> DescribeOptions:
    """Read the kinds first, then what a camera is with the options that these kinds have.

    Raises what :func:`joint.command.train.read_train_options` does.
    """
    choice, start = read_choice(arguments)
    prog = "lens2label describe"
    # Unchecked as yet: a kind alone need not be valid before its own options are read.
    described = Described.model_construct(system=start.system, data=start.data)
    options = read_given(
        DescribeOptions,
        arguments,
        prog,
        default=DescribeOptions(choice=choice, described=described),
    )
    options = replace(
        options, described=check_settings(Described, options.described, arguments, prog)
    )
    options.check()
    return options


def main(arguments: Sequence[str]) -> int:
    """Print a camera's data sheet; returns the exit status."""
    options = read_describe_options(arguments)
    system, scenes = _of_options(options.described) if options.run is None else _of_run(options.run)
    found = data_sheet(system, image_size=scenes.image_size, channels=scenes.channels)
    if options.figure is not None and found.lens is None:
        raise ConfigError("--figure draws a front end with one pupil, and this has none or several")
    (print_json if options.json else print)(found)
    if options.figure is not None:
        _draw(system, found, options.figure)
        if not options.json:
            print(f"wrote {options.figure}")
    return 0


def _draw(system: ImagingSystem, sheet: DataSheet, file: Path) -> None:
    from joint.figure import lens_figure, save_figure  # noqa: PLC0415 - matplotlib

    front = behind_shutter(system.front_end)
    assert front is not None
    figure = lens_figure(front, focus=sheet.through_focus, picture=sheet.scene[1:])
    save_figure(figure, file, dpi=150)


def _of_run(folder: Path) -> tuple[ImagingSystem, SceneKind]:
    """The trained system of a run; its scenes and its files of initial weights are not needed."""
    check_trained(folder)
    config = load_config(folder)
    trained = load_trained(folder, config.training)
    scenes = trained.scenes
    return rebuilt(config, trained, scenes), scenes


def _of_options(described: Described) -> tuple[ImagingSystem, SceneKind]:
    scenes = _scenes(described.data)
    system = build_system(
        described.system,
        image_size=scenes.image_size,
        channels=scenes.channels,
        classes=len(scenes.classes),
    )
    return system, scenes


def _scenes(data: DataConfig) -> SceneKind:
    """What kind of scenes they are: of procedural ones a few are like all."""
    few = data.model_copy(update={"count": 50}) if isinstance(data, PhantomConfig) else data
    built: classify.LesionDataset = build_data(few)
    return SceneKind(built.image_size, built.channels, built.classes)
