"""One run of a study: train, measure on the test part, write the result."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch.utils.flop_counter import FlopCounterMode

from classify import LesionDataset
from joint.config.run import RunConfig
from joint.device import device_of
from joint.judge.evaluation import Evaluation
from joint.planes import values_read
from joint.run.build import build_split
from joint.run.complete import complete_run
from joint.saved.folder import RunFolder, is_done
from joint.system import ImagingSystem, SystemOutput, evaluating, seen_by

from .attempt import began_with

__all__ = ["Costs", "costs", "execute"]


@final
@dataclass(frozen=True)
class Costs:
    """Costs of a design: light, bits and computation."""

    photons: float | None
    """Mean photons per pixel at full scale over the whole exposure; None without a sensor."""
    bits: float | None
    """Mean bits per picture that reach the classifier's end: of the codec's files, or else as the
    codec estimates them; without a codec, of the sensor's codes in all exposures. None if nothing
    rounds."""
    pixels: int | None
    """Values that the sensor converts per picture, in all channels and exposures; None without a
    sensor."""
    macs: int
    """Multiply-accumulates of restoration, codec and classifier for one picture: convolutions and
    matrix products, as :class:`torch.utils.flop_counter.FlopCounterMode` counts them."""
    parameters: int
    """Number of parameters of the system, including those of the optics."""


def costs(system: ImagingSystem, scene: tuple[int, int, int], *, bpp: float | None) -> Costs:
    """Costs of a design.

    Parameters
    ----------
    system : ImagingSystem
    scene : (int, int, int)
        Channels, rows and columns of the scenes.
    bpp : float, optional
        Mean rate of the codec, bits/pixel of its input.
    """
    sensor = system.sensor
    seen, macs = _computed(system, scene)
    pixels = bits = None
    if sensor is not None and seen.raw is not None:
        pixels = values_read(sensor, seen.raw)
        bits = None if sensor.bit_depth is None else sensor.bit_depth * pixels
    return Costs(
        photons=None if sensor is None else sensor.mean_photons,
        bits=bits if bpp is None else bpp * seen.measurement[0, 0].numel(),
        pixels=pixels,
        macs=macs,
        parameters=sum(parameter.numel() for parameter in system.parameters()),
    )


def _computed(system: ImagingSystem, scene: tuple[int, int, int]) -> tuple[SystemOutput, int]:
    """One pass of a grey scene, and the multiply-accumulates after the sensor."""
    grey = torch.full((1, *scene), 0.5, device=device_of(system))
    with evaluating(system), torch.no_grad():
        seen = system(grey, generator=torch.Generator(grey.device).manual_seed(0))
        handed = seen.measurement
        with FlopCounterMode(display=False) as counter:
            if seen.developed is not None:
                system.restore(seen.developed)
            if system.codec is not None:
                handed = system.codec(handed).reconstruction
            if system.classifier is not None:
                seen_by(system.classifier, handed)
    return seen, counter.get_total_flops() // 2


def execute(
    config: RunConfig,
    folder: RunFolder,
    dataset: LesionDataset,
    *,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    progress: bool = False,
) -> bool:
    """Train a run, or continue it, and write its results on the test part.

    Parameters
    ----------
    config : RunConfig
        The run.
    folder : RunFolder
        Folder of its files; the caller holds it.
    dataset : LesionDataset
        Scenes of ``config.data``.
    device : torch.device or str
        Device to train on.
    stop : callable, optional
        Called after the steps; if it returns True, the run is saved and left.
    progress : bool
        Show progress bars and lines.

    Returns
    -------
    bool
        Whether the run is done; False if it was stopped and can continue later.

    Raises
    ------
    ConfigError, ValueError, CheckpointError, TrainingDiverged
        As :func:`joint.run.complete.complete_run`.
    """

    def what_it_costs(system: ImagingSystem, test: Evaluation) -> dict[str, Any]:
        rate = test.bpp if test.bpp_bytes is None else test.bpp_bytes
        spent = costs(system, (dataset.channels, *dataset.image_size), bpp=rate)
        files = began_with(folder.path)  # like scenes, they may be replaced between runs
        return {"costs": asdict(spent)} | ({"files": files} if files else {})

    complete_run(
        config,
        build_split(config, dataset),
        folder,
        device=device,
        resamples=0,  # the intervals of a study are over seeds and lesions together
        stop=stop,
        also=what_it_costs,
        progress=progress,
    )
    return is_done(folder.path)
