"""Bits of a codec by class and region: in the lesion, along its border, and around it.

::

    scene ─► system ─► bits_map ─┐
                                 ├─ bits_by_region ─► shares [N, 3] ─► density, its interval
    mask ───► measurement's size ┘

The claim that a codec encodes only boundaries can thus be tested: the share of bits at the boundary
would be 1, and the density there far above its null value, which is 1.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from classify import Interval, LesionDataset
from classify.intervals import (
    check_resampling,
    check_units,
    membership,
    resampled,
    source,
)
from compress import JPEG, Codec, bits_by_region
from compress.files import FileCodec
from compress.jpeg_file import JPEGFiles
from joint.analysis.by_lesion import lesions_in, widened_intervals
from joint.kinds import check_kinds
from joint.record import as_json
from joint.system import ImagingSystem, evaluating

from .passes import passes

__all__ = ["ALL", "REGIONS", "ClassRate", "RateMap", "RegionRate", "rate_map"]

Array = npt.NDArray[Any]

#: The regions, which together are the picture.
REGIONS = ("lesion", "boundary", "background")

#: Name of the row of all classes together.
ALL = "all"


class RegionRate(NamedTuple):
    """Bits of a region in the pictures of a class."""

    region: str
    bits: float
    """Mean, bits/picture."""
    bpp: float
    """Bits of the region over its pixels, in all pictures, bits/pixel."""
    bits_share: float
    """Mean share of a picture's bits."""
    area_share: float
    """Mean share of a picture's pixels."""
    density: float
    """Mean bits share / mean area share; 1 if bits are spread evenly within each picture."""
    interval: Interval
    """Interval of the density; for few lesions widened by Student's t."""


class ClassRate(NamedTuple):
    """The regions of the pictures of a class."""

    name: str
    pictures: int
    regions: tuple[RegionRate, ...]


@dataclass(frozen=True, eq=False)
class RateMap:
    """Bits of a codec by class and region."""

    codec: str
    """Its class."""
    rate: str
    """``rounded`` or ``bytes``, as in :class:`compress.Coded`."""
    band: float
    """Reach of the boundary to either side, pixels of the measurement."""
    rows: tuple[ClassRate, ...]
    """All pictures, then each class."""
    side_bits: float
    """Mean side information, which belongs to no pixel and no region, bits/picture."""
    no_mask: int
    """Number of pictures left out, without a boundary: no mask, or an empty or full one."""
    no_bits: int
    """Number of pictures left out because all their bits are side information."""
    level: float
    resamples: int
    classes: tuple[str, ...]
    identifiers: tuple[str, ...]
    """Names of the pictures that were counted."""
    groups: tuple[str, ...]
    """Lesions of these pictures."""
    labels: Array
    """Classes of these pictures ``[N]``."""
    bits: Array
    """Bits of each region of each picture ``[N, 3]``."""
    areas: Array
    """Pixels likewise ``[N, 3]``."""

    def __str__(self) -> str:
        lines = [
            f"{self.codec}, {self.rate} bits of {len(self.labels)} pictures "
            f"({self.no_mask} without a boundary, {self.no_bits} without bits left out), "
            f"boundary +- {self.band:g} pixels; {self.side_bits:.0f} bits/picture belong to no "
            f"pixel; density 1 is even; {100 * self.level:g} % intervals over lesions",
            f"{'class':8} {'n':>6} {'region':10} {'bits':>9} {'bits/px':>8} {'bits share':>10} "
            f"{'area share':>10} {'density':>8}",
        ]
        for name, pictures, regions in self.rows:
            for region, bits, bpp, bits_share, area_share, density, interval in regions:
                lines.append(
                    f"{name:8} {pictures:6} {region:10} {bits:9.0f} {bpp:8.3f} {bits_share:10.3f} "
                    f"{area_share:10.3f} {density:8.3f} {interval:.3f}"
                )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the numbers of each picture; None where a class has no pictures."""
        names = ("codec", "rate", "band", "side_bits", "no_mask", "no_bits", "level", "resamples")
        return {name: as_json(getattr(self, name)) for name in (*names, "rows")}


def rate_map(
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    band: float = 3.0,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> RateMap:
    """Sum a codec's bits over lesion, boundary and background of each picture.

    The density is a ratio of mean shares. It is therefore 1 for evenly spread bits, whatever the
    sizes of the lesions and the rates of the pictures, and tiny regions have little weight.

    Parameters
    ----------
    system : ImagingSystem
        A system with a codec whose bits can be located: a learned one, a palette, or JPEG (whose
        blocks are counted in the file). Neither is changed.
    dataset : LesionDataset
        Pictures with masks, at least some of them.
    band : float, pixels of the measurement
        Half width of the boundary, as in :func:`compress.bits_by_region`. Bits are known per cell
        of the codec (a block, or the pixels of a latent): a narrower band shares its cells with its
        neighbours, and its density approaches theirs.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise, as in :func:`joint.evaluate`.
    resamples : int
        Draws of the lesions.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the draws; by default a new one of seed 0.

    Returns
    -------
    RateMap
        NaN for a class without pictures. A region has no interval if a single lesion of the class
        has pixels in it, and only those that have some count for Student's t.

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without a codec, or with one that spreads the bits of its file evenly; a
        batch size below 1; fewer than two lesions with a boundary and bits; or scenes whose
        encoding or classes are not those of the system.
    """
    check_kinds(system, dataset)
    check_resampling(resamples, level)
    mapped = system.replace(codec=_counting(system.codec), classifier=None)
    rows = dataset.has_mask.nonzero().flatten()
    if len(rows) == 0:
        raise ValueError(f"none of the {len(dataset)} pictures has a mask")
    shown = dataset.subset(rows)
    rate, bits, areas, side = _counted(mapped, shown, band, batch_size, seed)
    edged = areas[:, 1] > 0
    spent = bits.sum(1) > 0
    kept = np.flatnonzero(edged & spent)
    if len(kept) == 0:
        raise ValueError(
            f"none of the {len(shown)} masks has a boundary, with band={band:g} pixels, in a "
            "picture with bits"
        )
    shown = shown.subset(torch.from_numpy(kept))
    member = membership(shown.groups, len(shown))
    check_units(member, shown.groups)
    bits, areas, labels = bits[kept], areas[kept], shown.targets.numpy()
    draws = drawn_densities(bits, areas, labels, member, len(shown.classes), resamples, generator)
    observed = densities(np.ones((1, len(labels))), bits, areas, labels, len(shown.classes))[0]
    table = []
    for k, name in enumerate((ALL, *shown.classes)):
        own = np.ones(len(labels), bool) if k == 0 else labels == k - 1
        lesions = lesions_in(member[own], areas[own])
        intervals = widened_intervals(observed[k], draws[:, k], lesions, level, least=0.0)
        table.append(ClassRate(name, int(own.sum()), _regions(bits[own], areas[own], intervals)))
    return RateMap(
        codec=type(system.codec).__name__,
        rate=rate,
        band=band,
        rows=tuple(table),
        side_bits=float(side[kept].mean()),
        no_mask=len(dataset) - int(edged.sum()),
        no_bits=int((edged & ~spent).sum()),
        level=level,
        resamples=resamples,
        classes=shown.classes,
        identifiers=tuple(shown.identifiers),
        groups=shown.groups,
        labels=labels,
        bits=bits,
        areas=areas,
    )


def _counting(codec: Codec | None) -> Codec:
    """A codec that says where its bits go."""
    if codec is None:
        raise ValueError("the system has no codec, and therefore no bits")
    if isinstance(codec, JPEG):
        codec = copy.deepcopy(codec)
        codec.block_bits = True
        return codec
    if isinstance(codec, FileCodec) and not isinstance(codec, JPEGFiles):
        raise ValueError(
            f"the bits of {type(codec).__name__} are only known for whole files, not by place; use "
            "JPEG, KMeansCodec or a learned codec"
        )
    return codec


def _counted(
    system: ImagingSystem, dataset: LesionDataset, band: float, batch_size: int, seed: int
) -> tuple[str, Array, Array, Array]:
    """Kind of the rate; bits and pixels of each region ``[N, 3]``; side information ``[N]``."""
    shown = passes(dataset, system, batch_size=batch_size, seed=seed)
    rate, bits, areas, side = "", [], [], []
    with evaluating(system), torch.no_grad():
        for part in shown:
            coded = system(part.scenes, generator=part.noise).coded
            assert coded is not None
            size = (coded.bits_map.shape[-2], coded.bits_map.shape[-1])
            masks = _resized(dataset.gather_masks(part.rows).to(part.scenes.device), size)
            found = bits_by_region(coded.bits_map.double(), masks, band=band)
            each = [getattr(found, name) for name in REGIONS]
            bits.append(torch.stack([region.bits for region in each], 1))
            shares = torch.stack([region.area_share for region in each], 1)
            areas.append(size[0] * size[1] * shares)
            side.append(coded.side_bits.double())
            rate = coded.rate
    spent, size, extra = (torch.cat(part).cpu().numpy() for part in (bits, areas, side))
    return rate, spent, size, extra


def _resized(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``[B, H, W]`` in the pixels of the measurement, by area, ``[B, 1, h, w]``."""
    if masks.shape[-2:] == size:
        return masks[:, None]
    return functional.adaptive_avg_pool2d(masks[:, None].float(), size) >= 0.5


def densities(weights: Array, bits: Array, areas: Array, labels: Array, classes: int) -> Array:
    """Density of each region ``[r, 1 + K, 3]``, of all pictures and of each class."""
    own = np.concatenate((np.ones((len(labels), 1)), np.eye(classes)[labels]), 1)
    shares, extents = (part / part.sum(1, keepdims=True) for part in (bits, areas))
    spent, size = (
        (weights @ (own[:, :, None] * part[:, None]).reshape(len(part), -1)).reshape(
            len(weights), 1 + classes, len(REGIONS)
        )
        for part in (shares, extents)
    )
    return np.divide(spent, size, out=np.full_like(spent, np.nan), where=size > 0)


def drawn_densities(
    bits: Array,
    areas: Array,
    labels: Array,
    member: Array,
    classes: int,
    resamples: int,
    generator: torch.Generator | None,
) -> Array:
    """The same under draws of the lesions ``[resamples, 1 + K, 3]``."""
    chunks = resampled(member, resamples, source(generator))
    return np.concatenate([densities(w, bits, areas, labels, classes) for w in chunks])


def _regions(bits: Array, areas: Array, intervals: Sequence[Interval]) -> tuple[RegionRate, ...]:
    if len(bits) == 0:
        nan = np.nan
        return tuple(
            RegionRate(name, nan, nan, nan, nan, nan, interval)
            for name, interval in zip(REGIONS, intervals, strict=True)
        )
    bits_share, area_share = ((part / part.sum(1, keepdims=True)).mean(0) for part in (bits, areas))
    return tuple(
        RegionRate(
            region=name,
            bits=float(bits[:, k].mean()),
            bpp=float(bits[:, k].sum() / areas[:, k].sum()) if area_share[k] > 0 else np.nan,
            bits_share=float(bits_share[k]),
            area_share=float(area_share[k]),
            density=float(bits_share[k] / area_share[k]) if area_share[k] > 0 else np.nan,
            interval=interval,
        )
        for k, (name, interval) in enumerate(zip(REGIONS, intervals, strict=True))
    )
