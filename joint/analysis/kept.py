"""Details of the scene that reach the classifier, by frequency and region, for several systems.

::

    scene ──────────────────────┐
      └─► system a ─► handed a ─┼─ radial spectra, differences by region ─► Kept
      └─► system b ─► handed b ─┘   the same resamples of lesions for all

There are two numbers for each annulus of spatial frequencies of the scene. *Power* is the power of
the classifier's input over that of the scenes: above 1 it is emphasised, below 1 suppressed.
*Coherence* is the share of the input's power that is the scene times a single gain for the annulus;
the rest was added, or depends on the picture.

An input of fewer pixels is of the same field, so its k-th wave is that of the scene. Beyond half a
cycle per pixel of its own it has nothing; what was there may be folded onto lower frequencies,
where it is power without coherence. The differences by region are of the scene averaged over the
pixels of the input.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from classify import Interval, LesionDataset
from classify.intervals import (
    check_resampling,
    membership,
    resampled,
    source,
)
from joint.analysis.by_lesion import lesions_in, widened_intervals
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem, evaluating
from optics.quantity import image_size, whole_number

from .passes import passes
from .rate_map import REGIONS
from .region import regions

__all__ = ["Annulus", "Kept", "KeptBy", "RegionDifference", "kept", "radial_power"]

Array = npt.NDArray[Any]


class Annulus(NamedTuple):
    """A ring of spatial frequencies."""

    low: float
    """Lower limit, cycles/pixel of the scene."""
    high: float
    """Upper limit, cycles/pixel of the scene."""
    power: float
    """Power of the classifier's input / power of the scene; 0 beyond the input's own limit."""
    power_interval: Interval
    """Interval of the power."""
    coherence: float
    """Coherence of input and scene, 0 to 1; NaN where the input has no power."""
    coherence_interval: Interval
    """Interval of the coherence."""
    change: float
    """Power / that of the first system; 1 for the first."""
    change_interval: Interval
    """Paired interval of the change: both systems have the same resampled lesions."""


class RegionDifference(NamedTuple):
    """Difference of the classifier's input from the scene in a region."""

    region: str
    """``picture``, or one of :data:`REGIONS`."""
    rms: float
    """Root mean square difference, in codes of 8 bits."""
    interval: Interval
    """Interval of the RMS."""
    change: float
    """RMS / that of the first system; 1 for the first."""
    change_interval: Interval
    """Paired interval of the change."""


class KeptBy(NamedTuple):
    """Results of one system."""

    name: str
    """Name of the system."""
    annuli: tuple[Annulus, ...]
    """Results by frequency, from low to high."""
    differences: tuple[RegionDifference, ...]
    """Differences of the whole picture, then of each region."""


@dataclass(frozen=True)
class Kept(Record):
    """Details of the same scenes that several systems keep."""

    systems: tuple[KeptBy, ...]
    """Results by system, in the order given."""
    pictures: int
    """Number of pictures, for the frequencies."""
    masked: int
    """Number of pictures with a mask, for the regions."""
    level: float
    """Confidence level of the intervals."""
    resamples: int
    """Number of resamples for the intervals."""

    def __str__(self) -> str:
        rows = [
            f"what is kept of {self.pictures} pictures; {100 * self.level:g} % intervals over "
            "lesions",
            f"{'system':20} {'cycles/pixel':>12} {'power':>7} {'':>16} {'coherence':>9} {'':>15}",
        ]
        for system in self.systems:
            rows += [
                f"{system.name:20} {a.low:5.2f}-{a.high:5.2f}  {a.power:7.3f} "
                f"{a.power_interval:.3f} {a.coherence:9.3f} {a.coherence_interval:.3f}"
                for a in system.annuli
            ]
        rows.append(f"{'system':20} {'region':>12} {'RMS, codes':>10}")
        for system in self.systems:
            rows += [
                f"{system.name:20} {d.region:>12} {d.rms:10.2f} {d.interval:.3f}"
                for d in system.differences
            ]
        return "\n".join(rows)


def kept(
    systems: Mapping[str, ImagingSystem],
    dataset: LesionDataset,
    *,
    annuli: int = 8,
    band: float = 3.0,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Kept:
    """Compare the classifiers' input pictures of several systems with the scenes.

    Parameters
    ----------
    systems : mapping of name to ImagingSystem
        At least one; run in evaluation mode (modes are restored). Each is compared with the first.
        The classifiers' inputs must have the channels of the scenes. If they have fewer pixels,
        frequencies remain those of the scenes, and for the differences by region the scenes are
        reduced to their size by area.
    dataset : LesionDataset
        Pictures; masks, if there are some, define the regions.
    annuli : int
        Number of rings of equal width from 0 to 0.5 cycles/pixel of the scene; the mean belongs to
        none.
    band : float, pixels of the handed picture
        Half width of the boundary, as in :func:`rate_map`.
    batch_size : int
        Pictures per pass.
    seed : int
        Random seed of the sensor's noise, as in :func:`joint.evaluate`.
    resamples : int
        Number of resamples of the lesions, the same for all systems.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    Kept
        NaN for a ring without power, for regions without masks, and for intervals of one lesion.
        For few lesions, intervals are widened by Student's t, as in :func:`rate_map`.

    Raises
    ------
    TypeError
        When ``systems`` is not a mapping of names to systems, or ``dataset`` not a LesionDataset.
    ValueError
        Without a system or a ring, when classifiers' inputs have other channels than the scenes, or
        when scenes and a system differ in their encoding.
    """
    if not isinstance(systems, Mapping):
        raise TypeError(
            f"systems must be systems by their names, {{'sharp': system, ...}}, not "
            f"{type(systems).__name__}"
        )
    for system in systems.values():
        check_kinds(system, dataset)
    check_resampling(resamples, level)
    if not systems:
        raise ValueError("there must be at least one system")
    annuli = whole_number("annuli", annuli)
    member = membership(dataset.groups, len(dataset))
    sums = {
        name: _summed(name, system, dataset, annuli, band, batch_size, seed)
        for name, system in systems.items()
    }
    chunks = list(resampled(member, resamples, source(generator)))
    once = np.ones((1, len(member)))
    everyone = np.full(annuli, member.max() + 1)
    first: tuple[Array, Array, Array, Array] | None = None
    rows = []
    for name, each in sums.items():
        power, coherence, rms = (part[0] for part in _ratios(once, *each))
        powers, coherences, differences = (
            np.concatenate(part) for part in zip(*(_ratios(w, *each) for w in chunks), strict=True)
        )
        if first is None:
            first = (power, powers, rms, differences)
        gain, gains = _divided(power, first[0]), _divided(powers, first[1])
        growth, growths = _divided(rms, first[2]), _divided(differences, first[3])
        # A region is averaged over the lesions that have pixels in it.
        shown = lesions_in(member, each[-1])
        of_power, of_coherence, of_gain, of_rms, of_growth = (
            widened_intervals(values, drawn, lesions, level, least=0.0)
            for values, drawn, lesions in (
                (power, powers, everyone),
                (coherence, coherences, everyone),
                (gain, gains, everyone),
                (rms, differences, shown),
                (growth, growths, shown),
            )
        )
        rows.append(
            KeptBy(
                name,
                tuple(
                    Annulus(
                        low=0.5 * k / annuli,
                        high=0.5 * (k + 1) / annuli,
                        power=float(power[k]),
                        power_interval=of_power[k],
                        coherence=float(coherence[k]),
                        coherence_interval=Interval(*np.minimum(of_coherence[k], 1.0).tolist()),
                        change=float(gain[k]),
                        change_interval=of_gain[k],
                    )
                    for k in range(annuli)
                ),
                tuple(
                    RegionDifference(
                        region=region,
                        rms=float(rms[k]),
                        interval=of_rms[k],
                        change=float(growth[k]),
                        change_interval=of_growth[k],
                    )
                    for k, region in enumerate(("picture", *REGIONS))
                ),
            )
        )
    return Kept(tuple(rows), len(dataset), int(dataset.has_mask.sum()), level, resamples)


def radial_power(
    first: Tensor, second: Tensor, *, annuli: int = 8, size: tuple[int, int] | None = None
) -> Tensor:
    """Sum the cross-spectrum of two stacks of pictures over rings of spatial frequencies.

    The mean of each channel is subtracted and a Hann window applied, so that the border is no edge.

    Parameters
    ----------
    first, second : Tensor ``[B, C, H, W]``
        Stacks of the same field, which may have other numbers of pixels; the same one twice gives
        its power spectrum.
    annuli : int
        Rings of equal width from 0 to 0.5 cycles/pixel; the corners beyond are left out, and so is
        the frequency 0.
    size : (int, int), optional, pixels
        Height and width of the grid of these cycles/pixel, by default that of ``first``. A picture
        has its power on this grid, and none beyond its own limit of half a cycle per pixel.

    Returns
    -------
    Tensor, float64 ``[B, annuli]``
        Summed over channels. The imaginary part, which is the cross-spectrum's odd one, cancels.

    Raises
    ------
    ValueError
        For stacks of other numbers of pictures or channels, or fewer than one ring.
    """
    if first.ndim != 4 or second.ndim != 4 or first.shape[:2] != second.shape[:2]:
        raise ValueError(
            "give pictures [B, C, H, W] of as many pictures and channels, not "
            f"{list(first.shape)} and {list(second.shape)}"
        )
    annuli = whole_number("annuli", annuli)
    height, width = image_size(size or (first.shape[-2], first.shape[-1]), "size")

    def transformed(pictures: Tensor) -> Tensor:
        return _spectrum(pictures.double(), (height, width))

    fy, fx = (
        torch.fft.fftfreq(count, dtype=torch.float64, device=first.device)
        for count in (height, width)
    )
    frequency = torch.hypot(fy[:, None], fx)
    # A frequency on an edge belongs to the ring above it: 7/35 is 0.19999999999999998.
    ring = (frequency * 2 * annuli + 1e-9).floor().long().clamp_max(annuli)
    ring[0, 0] = annuli  # with the corners, in none
    one = transformed(first)
    other = one if second is first else transformed(second)
    cross = (one.conj() * other).real.sum(1).flatten(1)
    total = cross.new_zeros(len(first), annuli + 1)
    return total.index_add(1, ring.flatten(), cross)[:, :annuli]


def _spectrum(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Waves of windowed pictures ``[..., h, w]``, on a grid ``size`` of the same field.

    The k-th wave has k periods in the field, whatever its pixels. Its phase is that at the field's
    corner, half a pixel before the first sample.
    """
    windows, waves, factors = [], [], []
    for samples, count in zip(pictures.shape[-2:], size, strict=True):
        # Of samples in the middles of their pixels, so that it is one window for all grids.
        window = torch.hann_window(2 * samples + 1, periodic=False, dtype=torch.float64)
        windows.append(window[1::2].to(pictures))
        # The wave at the limit of a grid is its own alias, and left out.
        reach = (min(samples, count) - 1) // 2
        wave = torch.arange(-reach, reach + 1, device=pictures.device)
        phase = -math.pi / samples * wave.to(pictures)
        waves.append(wave)
        factors.append(torch.polar(torch.full_like(phase, count / samples), phase))
    window, there = windows[0][:, None] * windows[1], (..., waves[0][:, None], waves[1])
    own = torch.fft.fft2(window * (pictures - pictures.mean((-2, -1), keepdim=True)))
    found = own.new_zeros(*pictures.shape[:-2], *size)
    found[there] = factors[0][:, None] * factors[1] * own[there]
    return found


def _summed(
    name: str,
    system: ImagingSystem,
    dataset: LesionDataset,
    annuli: int,
    band: float,
    batch_size: int,
    seed: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Of each picture: powers of scene and handed, their product ``[N, annuli]``; squared
    differences and pixels of the picture and its regions ``[N, 4]``.
    """  # noqa: D205
    found: list[list[Tensor]] = []
    without = system.replace(classifier=None)
    shown = passes(dataset, without, batch_size=batch_size, seed=seed)
    with evaluating(without), torch.no_grad():
        for part in shown:
            scenes = part.scenes
            handed = without(scenes, generator=part.noise).handed.double()
            if handed.shape[1] != scenes.shape[1]:
                raise ValueError(
                    f"the classifier's input of {name} has {handed.shape[1]} channels, but the "
                    f"scenes have {scenes.shape[1]}: they cannot be compared"
                )
            size = (handed.shape[-2], handed.shape[-1])
            scene = adaptive_avg_pool2d(scenes.double(), size)
            whole = (scenes.shape[-2], scenes.shape[-1])
            power = [
                radial_power(*pair, annuli=annuli, size=whole)
                for pair in ((scenes, scenes), (handed, handed), (scenes, handed))
            ]
            square = (255 * (handed - scene)).square().mean(1)
            where = _where(dataset, part.rows, size, band).to(scenes.device)
            differences = (where * square[:, None]).sum((-2, -1))
            pixels = where.double().sum((-2, -1))
            found.append([*power, differences, pixels])
    scene, handed, both, differences, pixels = (
        torch.cat(part).cpu().numpy() for part in zip(*found, strict=True)
    )
    return scene, handed, both, differences, pixels


def _where(dataset: LesionDataset, rows: Tensor, size: tuple[int, int], band: float) -> Tensor:
    """The whole picture and its regions, bool ``[B, 4, H, W]``; no region without a mask."""
    where = torch.zeros(len(rows), 1 + len(REGIONS), *size, dtype=torch.bool)
    where[:, 0] = True
    masked = dataset.has_mask[rows]
    if bool(masked.any()):
        area = adaptive_avg_pool2d(dataset.gather_masks(rows[masked]).float()[:, None], size)
        where[masked, 1:] = torch.stack(regions(area[:, 0] >= 0.5, band=band), 1)
    return where


def _ratios(
    weights: Array, scene: Array, handed: Array, both: Array, differences: Array, pixels: Array
) -> tuple[Array, Array, Array]:
    """Power and coherence ``[r, annuli]``, RMS difference ``[r, 4]``, under weights ``[r, N]``."""
    own, theirs, cross = (weights @ part for part in (scene, handed, both))
    power = _divided(theirs, own)
    coherence = _divided(cross**2, own * theirs)
    return power, coherence, np.sqrt(_divided(weights @ differences, weights @ pixels))


def _divided(part: Array, whole: Array) -> Array:
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
