"""Costs of a picture from light to label, with the accuracy of the system."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from classify import LesionDataset
from classify.intervals import check_resampling
from joint.device import device_of
from joint.feed import Feed
from joint.judge.evaluate import evaluate
from joint.planes import values_read
from joint.record import as_json
from joint.stages import NETWORKS, STAGES, Stage
from joint.system import ImagingSystem, evaluating

from .passes import passes
from .scores import DrawnScores, Scores

__all__ = ["StageCost", "SystemCosts", "system_costs"]


class StageCost(NamedTuple):
    """Number of parameters and operations of a stage."""

    stage: Stage
    parameters: int
    """Number of learned parameters."""
    macs: int | None
    """Multiply-accumulates of convolutions and matrix products for one picture; None for optics
    and sensor, which do not compute."""


@dataclass(frozen=True)
class SystemCosts:
    """Costs of one picture from light to label; None if a system has no such stage."""

    pictures: int
    """Number of pictures over which means are taken."""
    photons: float | None
    """Photons on the sensor, over all of its pixels, channels and exposures, photons/picture."""
    throughput: float | None
    """Share of a point's light that the front end transmits."""
    exposures: int
    """Number of exposures that share the exposure time."""
    pixels_read: int | None
    """Values that are read and converted, values/picture."""
    converted_bits: int | None
    """Output of the converter, bits/picture."""
    coded_bits: float | None
    """Output of the codec, bits/picture; :attr:`rate` is its kind."""
    rate: str | None
    """Kind of the rate, ``rounded`` or ``bytes``, as in :class:`compress.Coded`."""
    coded_bytes: float | None
    """Size of the files that the codec writes, bytes/picture; None if not counted."""
    stages: tuple[StageCost, ...]
    """Parameters and operations of each stage."""
    scores: Scores | None
    level: float
    light_share: float | None = None
    """Share of these scenes' light that arrives, as in :class:`joint.Evaluation`."""

    @property
    def parameters(self) -> int:
        """Number of learned parameters of all stages."""
        return sum(cost.parameters for cost in self.stages)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture, of the stages that compute."""
        return sum(cost.macs or 0 for cost in self.stages)

    def rows(self) -> Iterator[tuple[str, float | None, str]]:
        """Name, number and unit of each line of the table."""
        yield "light on the sensor", self.photons, "photons/picture"
        yield "throughput", self.throughput, "fraction of a point's light"
        yield "light share", self.light_share, "fraction of the scenes' light"
        yield "exposures", self.exposures, "1/picture"
        yield "pixels read", self.pixels_read, "values/picture"
        yield "from the converter", self.converted_bits, "bits/picture"
        yield "from the codec", self.coded_bits, f"bits/picture ({self.rate})"
        yield "files of the codec", self.coded_bytes, "bytes/picture"
        for stage, parameters, macs in self.stages:
            yield f"{stage}: parameters", parameters, "numbers"
            if macs is not None:
                yield f"{stage}: computation", macs, "MAC/picture"
        yield "all: parameters", self.parameters, "numbers"
        yield "all: computation", self.macs, "MAC/picture"

    def __str__(self) -> str:
        lines = [f"one picture (mean of {self.pictures})"]
        for name, value, unit in self.rows():
            if value is not None:
                lines.append(f"{name:26} {value:>16,.6g} {unit}")
        for name, score in () if self.scores is None else self.scores._asdict().items():
            lines.append(
                f"{name.replace('_', ' '):26} {score.value:>16.4f} fraction "
                f"{score.interval:.4f}, {100 * self.level:g} % over lesions"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return as_json({**vars(self), "parameters": self.parameters, "macs": self.macs})


def system_costs(
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    count_bytes: bool = True,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> SystemCosts:
    """Sum up light, bits, parameters and computation of a system, and measure its accuracy.

    Parameters
    ----------
    system : ImagingSystem
        A system with any stages; it is not changed.
    dataset : LesionDataset
        Data set for light, bits and accuracy.
    count_bytes : bool
        Write every picture with the codec and count the bytes.
    batch_size, seed
        As in :func:`joint.evaluate`.
    resamples, level, generator
        Settings of the intervals of the accuracies; nan for a single lesion.

    Returns
    -------
    SystemCosts
        Computation is counted by :class:`torch.utils.flop_counter.FlopCounterMode`, two operations
        to a multiply-accumulate. Fourier transforms, elementwise steps and the entropy coder are
        not counted.

    Raises
    ------
    ValueError
        As :func:`joint.evaluate`.
    """
    check_resampling(resamples, level)
    result = evaluate(system, dataset, batch_size=batch_size, seed=seed, count_bytes=count_bytes)
    scores = None
    if result.logits is not None:
        drawn = DrawnScores([result], resamples=resamples, level=level, generator=generator)
        scores = drawn.combined([0])
    device = device_of(system)
    feed = Feed(dataset, device, resident=False)
    with evaluating(system), torch.no_grad():
        scene, _ = next(feed.batches([torch.zeros(1, dtype=torch.int64)]))
        drawing = torch.Generator(device).manual_seed(seed)
        output = system(scene, generator=drawing)
        raw, measurement = output.raw, output.measurement
        costs = tuple(_costs(system, measurement if output.developed is None else output.developed))
        photons = _photons(system, dataset, batch_size=batch_size, seed=seed)
    pixels = measurement.shape[-2] * measurement.shape[-1]
    sensor = system.sensor
    read = None if sensor is None or raw is None else values_read(sensor, raw)
    depth = None if sensor is None else sensor.bit_depth
    return SystemCosts(
        pictures=len(dataset),
        photons=photons,
        throughput=result.throughput,
        exposures=system.exposures,
        pixels_read=read,
        converted_bits=None if read is None or depth is None else read * depth,
        coded_bits=None if result.bpp is None else result.bpp * pixels,
        rate=result.rate,
        coded_bytes=None if result.bpp_bytes is None else result.bpp_bytes * pixels / 8,
        stages=costs,
        scores=scores,
        level=level,
        light_share=result.light_share,
    )


def _photons(
    system: ImagingSystem, dataset: LesionDataset, *, batch_size: int, seed: int
) -> float | None:
    """Mean photons on the sensor for a picture."""
    sensor = system.sensor
    if sensor is None:
        return None
    total, filters = 0.0, sensor.cfa
    exposures = system.exposures
    for part in passes(dataset, system, batch_size=batch_size, seed=seed):
        seen = system.image(part.scenes, generator=part.noise)
        if filters is not None:
            seen = filters(seen, exposures=exposures)
        total += float(seen.double().sum())
    return sensor.mean_photons * total / len(dataset)


def _costs(system: ImagingSystem, developed: Tensor) -> Iterator[StageCost]:
    handed = developed
    for stage in STAGES:
        module = getattr(system, stage)
        if module is None:
            continue
        macs = None
        if stage in NETWORKS:
            with FlopCounterMode(display=False) as counter:
                result = module(handed)
            macs = counter.get_total_flops() // 2
            handed = result.reconstruction if stage == "codec" else result
        yield StageCost(stage, sum(p.numel() for p in module.parameters()), macs)
