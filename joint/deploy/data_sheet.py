"""Data sheet of a camera: its numbers, as in the data sheets of its parts; needs no training.

::

    system ─┬─ uniform grey scene ─► shapes of the intermediate results, throughput
            ├─ front end ─► optics.lens_performance, optics.through_focus, optics.audit_sampling;
            │               without a pupil, MTF of its PSF
            └─ sensor ─► optics.photon_transfer, in each light
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

import optics
from joint.device import device_of
from joint.kinds import check_system
from joint.planes import values_read
from joint.system import ImagingSystem, evaluating
from optics.imaging.psf_imaging import PSFImaging
from optics.imaging.shutter import behind_shutter
from optics.performance.examined import plain, shown_places, told_table
from optics.quantity import image_size as as_size
from optics.quantity import whole_number

from .traced_lens import TracedLens, traced_lens

__all__ = ["DataSheet", "InLight", "data_sheet"]

# Irradiances: not 1, which the default gain puts at the top code, where noise is cut off; and the
# grey of a photographer's card, by which an exposure is set.
_HALF, _GREY = 0.5, 0.18
# Tolerated difference of the two image sizes: that between corners and centres of pixels.
_SAME_SIZE = 0.05
# Frequencies of the contrast of a fixed PSF, cycles/pixel, as those of optics.lens_performance.
_FREQUENCY = (0.125, 0.25, 0.5)


class InLight(NamedTuple):
    """Signal-to-noise ratio at one light level, dB for each channel, of temporal and spatial noise.

    NaN for a saturated channel.
    """

    photons: float
    """Light level: photons on a pixel at irradiance 1, photons/pixel."""
    half: tuple[float, ...]
    """Signal-to-noise ratio at irradiance 0.5."""
    grey: tuple[float, ...]
    """Signal-to-noise ratio at irradiance 0.18."""


@dataclass(frozen=True)
class DataSheet:
    """Numbers of a camera; None if the system has no such stage."""

    scene: tuple[int, int, int]
    """Channels, height and width of a scene."""
    shapes: dict[str, tuple[int, ...]]
    """Channels, height and width of the picture at each plane behind the scene."""
    stages: str
    """One line for each stage, with its number of parameters, and one for the mosaic and for the
    colour matrix of the sensor."""
    throughput: float | None
    """Share of a point's light that the front end transmits."""
    lens: optics.LensPerformance | None
    """Performance of the pupil in the front end, if there is exactly one."""
    through_focus: optics.ThroughFocus | None
    """Best tangential and sagittal focus of that pupil over the field and the wavelengths."""
    problems: tuple[str, ...]
    """Problems of the simulation by :func:`optics.audit_sampling`, and settings that contradict
    each other about the size of the picture."""
    sensor: optics.PhotonTransfer | None
    """Characteristics of the sensor by EMVA 1288, in front of its colour matrix."""
    light: tuple[InLight, ...]
    """Signal-to-noise ratio of the sensor at its own light level, and at the ends of its range, in
    one exposure of the whole time, in front of its colour matrix."""
    values: int | None
    """Number of values that are read out for a picture."""
    bits: int | None
    """Number of bits that the converter gives for a picture."""
    half_field: float = 0.0
    """Angle of the scene's corner, radians; 0 if the front end does not have it."""
    traced: TracedLens | None = None
    """Ray-traced data of the lens of several surfaces in the front end, if there is exactly one."""
    psf_mtf: Tensor | None = None
    """Modulation transfer function of a fixed PSF, such as a measured one, at 0.125, 0.25 and 0.5
    cycles/pixel, float64 ``[(P, Q,) C, 3, 2]``: along y and along x, of each channel of the scene;
    NaN for a channel without light."""

    @property
    def field_of_view(self) -> tuple[float, float] | None:
        """Height and width of the field in the plane of focus, metres.

        From the angle of the corner if that is known, otherwise from the pixel pitch. None without
        a lens or for focus at infinity.
        """
        if self.lens is None or self.lens.magnification == 0:
            return None
        _, height, width = self.scene
        pixel = self.lens.object_pixel
        if self.half_field:
            away = abs(self.lens.focus + self.lens.entrance_pupil)
            pixel = 2 * away * math.tan(self.half_field) / math.hypot(height, width)
        return height * pixel, width * pixel

    def to_dict(self) -> dict[str, Any]:
        """Everything for JSON: the fields, :attr:`field_of_view`, and the numbers of the sensor.

        Returns
        -------
        dict of str to any
        """
        sensor, through = self.sensor, self.through_focus
        told = {
            **vars(self),
            "lens": None if self.lens is None else self.lens.to_dict(),
            "through_focus": None if through is None else _sharpest(through),
            "traced": None if self.traced is None else _traced(self.traced),
            "field_of_view": self.field_of_view,
            "sensor": None if sensor is None else _figures(sensor),
            "light": [each._asdict() for each in self.light],
        }
        return {name: plain(value) for name, value in told.items()}

    def __str__(self) -> str:
        parts = [
            "\n".join(("{} x {} x {} scenes".format(*self.scene), *self._planes())),
            self.stages,
            *([] if self.traced is None else [str(self.traced)]),
            *([] if self.lens is None else [str(self.lens)]),
            *([] if self.through_focus is None else [str(self.through_focus)]),
            *([] if self.psf_mtf is None else ["\n".join(_told_mtf(self.psf_mtf))]),
            *(["\n".join(f"caution: {each}" for each in self.problems)] if self.problems else []),
            *([] if self.sensor is None else ["\n".join((str(self.sensor), *self._light()))]),
        ]
        return "\n\n".join(parts)

    def _planes(self) -> Iterator[str]:
        if self.field_of_view is not None:
            height, width = (1e3 * length for length in self.field_of_view)
            yield f"  field       {height:.4g} x {width:.4g} mm, in focus"
        for name, shape in self.shapes.items():
            yield f"  {name:<11} {' x '.join(map(str, shape))}"
        if self.values is not None:
            bits = "" if self.bits is None else f", {self.bits} bits"
            yield f"  read out    {self.values} values{bits} a picture"
        if self.throughput is not None:
            yield f"  throughput  {self.throughput:.3f} of a point's light"

    def _light(self) -> Iterator[str]:
        for photons, half, grey in self.light:
            name, told = f"in {photons:.4g}", map(_told, (half, grey))
            yield "{:<14} photons/pixel: SNR {} at half of it, {} at 0.18".format(name, *told)


def data_sheet(
    system: ImagingSystem, *, image_size: int | tuple[int, int], channels: int = 3
) -> DataSheet:
    """Data sheet of a camera, in the usual numbers of lenses and sensors; needs no training.

    Parameters
    ----------
    system : ImagingSystem
        It is not changed.
    image_size : int or (int, int), pixels
        Height and width of the scenes.
    channels : int
        Channels of the scenes.

    Returns
    -------
    DataSheet
        On the CPU. Print it, or see its ``lens`` (:func:`optics.lens_performance`),
        ``through_focus`` (:func:`optics.through_focus`) and ``sensor``
        (:func:`optics.photon_transfer`). The first two are None for a front end with no pupil or
        several; ``psf_mtf`` has the contrast of a fixed PSF.

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem.
    ValueError
        When the scenes do not fit the system.
    """
    check_system(system)
    size, channels = as_size(image_size, "image_size"), whole_number("channels", channels)
    scene = torch.full((1, channels, *size), 0.5, device=device_of(system))
    front = behind_shutter(system.front_end)
    with evaluating(system), torch.no_grad():
        drawing = torch.Generator(scene.device).manual_seed(0)
        seen = system.measure(scene, generator=drawing)
        throughput = None if system.front_end is None else float(system.front_end.throughput())
    planes = {"irradiance": seen.irradiance, "raw": seen.raw, "picture": seen.measurement}
    sensor = system.sensor
    values = None if sensor is None or seen.raw is None else values_read(sensor, seen.raw)
    depth = None if sensor is None else sensor.bit_depth
    pupils = [] if front is None else [p for p in front.modules() if isinstance(p, optics.Pupil)]
    lens, through, problems = None, None, []
    if front is not None and len(pupils) == 1:
        lens = optics.lens_performance(front, picture=size)
        through = optics.through_focus(front, picture=size)
        problems = optics.audit_sampling(front).problems()
    half_field = abs(float(getattr(getattr(front, "projection", None), "half_field", 0.0)))
    if lens is not None and half_field:
        problems += _other_size(lens, half_field, size)
    return DataSheet(
        scene=(channels, *size),
        shapes={name: tuple(each.shape[1:]) for name, each in planes.items() if each is not None},
        stages=_stages(system),
        throughput=throughput,
        lens=lens,
        through_focus=through,
        problems=tuple(problems),
        sensor=None if sensor is None else optics.photon_transfer(sensor),
        light=() if sensor is None else tuple(_in_light(sensor)),
        values=values,
        bits=None if values is None or depth is None else values * depth,
        half_field=half_field,
        traced=None if front is None else traced_lens(front),
        psf_mtf=_psf_mtf(front),
    )


@torch.no_grad()
def _psf_mtf(front: optics.FrontEnd | None) -> Tensor | None:
    """MTF ``[(P, Q,) C, F, 2]`` of a fixed PSF along y and x; None for any other front end."""
    if not isinstance(front, PSFImaging) or front.pupil is not None:
        return None
    psf = front.psf().double().cpu()
    # Of its line spread functions, as optics.mtf, but at frequencies that its samples do not have.
    return torch.stack([_line_mtf(psf.sum(across)) for across in (-1, -2)], -1)


def _line_mtf(line: Tensor) -> Tensor:
    """MTF ``[..., F]`` of line spread functions ``[..., n]``."""
    turns = torch.outer(torch.arange(line.shape[-1]).double(), torch.tensor(_FREQUENCY).double())
    waves = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    return (line.to(waves.dtype) @ waves).abs() / line.sum(-1, keepdim=True)


def _told_mtf(mtf: Tensor) -> Iterator[str]:
    """Lines of the MTF ``[(P, Q,) C, F, 2]``: channels that all have the same share a row."""
    yield "MTF    of the fixed PSF, at cycles/pixel: along y and along x"
    of_places = mtf.ndim == 5
    rows = [[*(["place"] if of_places else []), "channel", *(f"MTF at {f:g}" for f in _FREQUENCY)]]
    for place in shown_places(mtf) if of_places else [()]:
        head = [", ".join(map(str, place))] if of_places else []
        channels = mtf[place]
        same = bool((channels == channels[:1]).all())
        for channel, row in enumerate(channels[:1] if same else channels):
            told = ("none" if math.isnan(y) else f"{y:.3f} y {x:.3f} x" for y, x in row.tolist())
            rows.append([*head, "all" if same else str(channel), *told])
    yield from told_table(rows)


def _other_size(
    lens: optics.LensPerformance, half_field: float, size: tuple[int, int]
) -> Iterator[str]:
    """Problem text if the angle of the corner and the pixels give different image sizes."""
    corner = lens.image_distance * math.tan(half_field)
    pixels = lens.pixel_pitch * math.hypot(*size) / 2
    if abs(corner - pixels) > _SAME_SIZE * pixels:
        yield (
            f"by half_field the corner lies {1e3 * corner:.3g} mm from the axis, and by "
            f"{size[0]} x {size[1]} pixels of {1e6 * lens.pixel_pitch:.3g} um {1e3 * pixels:.3g} "
            "mm: the picture represents a sensor with another number of pixels, but its blur is "
            "that of these pixels"
        )


def _in_light(sensor: optics.Sensor) -> Iterator[InLight]:
    """Signal-to-noise ratio at the own light level, and at the lowest and highest of a range."""
    for photons in sorted({sensor.photons, *(sensor.photon_range or ())}):
        with sensor.under(photons):
            light = torch.tensor([_HALF, _GREY], dtype=torch.float64) * photons
            found = optics.photon_transfer(sensor, light).total_snr
        half, grey = (tuple(_decibels(each) for each in part) for part in found.mT.tolist())
        yield InLight(photons, half, grey)


def _decibels(ratio: float) -> float:
    return -math.inf if ratio <= 0 else 20 * math.log10(ratio)


def _told(ratios: tuple[float, ...]) -> str:
    if all(map(math.isnan, ratios)):
        return "none (saturated)"
    return ", ".join("none" if math.isnan(each) else f"{each:.1f}" for each in ratios) + " dB"


def _stages(system: ImagingSystem) -> str:
    """Text of the system, and a line for the mosaic and for the colour matrix of its sensor."""
    lines, sensor = [str(system)], system.sensor
    if sensor is not None and sensor.cfa is not None:
        lines.append(f"  {'mosaic':<11}  {sensor.cfa.extra_repr()}")
    if sensor is not None and sensor.colour_matrix is not None:
        noise = optics.noise_amplification(sensor.colour_matrix.detach()).tolist()
        told = ", ".join(f"{each:.3g}" for each in noise)
        lines.append(f"  {'matrix':<11}  noise times {told}, which the SNR below is without")
    return "\n".join(lines)


def _sharpest(focus: optics.ThroughFocus) -> dict[str, Any]:
    """Through-focus results for JSON, without the curves, which belong in a figure."""
    return {
        "frequency": focus.frequency,
        "best_focus": focus.best_focus,
        "polychromatic_focus": focus.polychromatic_focus,
    }


def _traced(lens: TracedLens) -> dict[str, Any]:
    """Ray-traced data for JSON, with each surface as a dictionary."""
    return lens._asdict() | {"surfaces": [each._asdict() for each in lens.surfaces]}


def _figures(sensor: optics.PhotonTransfer) -> dict[str, Any]:
    return {
        "system_gain": sensor.system_gain,
        "dark_noise": sensor.dark_noise,
        "threshold": sensor.threshold.tolist(),
        "saturation": sensor.saturation.tolist(),
        "saturated_electrons": sensor.saturated_electrons,
        "dynamic_range": sensor.dynamic_range.tolist(),
        "largest_snr": sensor.largest_snr,
        "limit": sensor.limit,
    }
