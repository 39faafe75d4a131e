"""Pictures with some information removed, to see whether the rest suffices for the class.

::

    picture, mask ─┬─ keep_region ────► one region unchanged, the others one colour each
                   └─ equal_contrast ─► every lesion with the same colour distance to its skin
    data set ──altered──► data set of such pictures, to test or to train on

A classifier may fail on altered pictures only because it has not seen such pictures. One that was
also trained on them shows whether the remaining information suffices.
"""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from classify import LesionDataset
from joint.feed import as_scenes
from joint.kinds import check_batch_size, check_dataset
from joint.stages import Encoding, check_codes
from optics import clip, linear_to_srgb, srgb_to_linear

from .colour import exact
from .contrast.causal import mean_colours, scale_contrast
from .rate_map import REGIONS
from .region import check_masks, regions

__all__ = ["Alteration", "altered", "equal_contrast", "keep_region"]

#: Function from pictures ``[B, C, H, W]`` in 0..1 and masks ``[B, H, W]`` to pictures. If it has a
#: parameter ``encoding`` that is not set, it gets the encoding of the pictures.
Alteration = Callable[..., Tensor]


def keep_region(
    images: Tensor,
    masks: Tensor,
    region: str,
    *,
    band: float = 3.0,
    encoding: Encoding = "srgb",
) -> Tensor:
    """Keep one region of each picture; the rest of the lesion and of the skin become uniform.

    Each side of the border is filled with the mean light of its replaced pixels, so that place,
    outline and colour of the lesion remain, which a codec could send in addition for a few bytes.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]`` in 0..1
    masks : Tensor, bool ``[B, H, W]``
        True on the lesion.
    region : {"lesion", "boundary", "background", "none"}
        As in :func:`rate_map`; with ``none``, a uniform lesion on uniform skin remains.
    band : float, pixels
        Half width of the boundary.
    encoding : {"srgb", "linear"}
        Encoding of the pictures.

    Returns
    -------
    Tensor ``[B, C, H, W]``
        An empty or full mask has no boundary to keep.

    Raises
    ------
    TypeError
        When pictures or masks are not Tensors.
    ValueError
        When pictures and masks do not fit, the region or the encoding is unknown, or the band is
        negative.
    """
    check_masks(masks, images)
    if region not in (*REGIONS, "none"):
        raise ValueError(f"region must be one of {', '.join(REGIONS)} or none, not {region!r}")
    check_codes(images, encoding)
    kept = torch.zeros_like(masks)
    if region != "none":
        kept = regions(masks, band=band)[REGIONS.index(region)]
    precise = exact(images)
    light = srgb_to_linear(precise) if encoding == "srgb" else precise
    result = images
    for side in (masks, ~masks):
        replaced = (side & ~kept)[:, None]
        count = replaced.sum((-2, -1), keepdim=True).clamp_min(1)
        mean = (light * replaced).sum((-2, -1), keepdim=True) / count
        flat = linear_to_srgb(mean) if encoding == "srgb" else mean
        result = torch.where(replaced, flat.to(images.dtype), result)
    return result


def equal_contrast(
    images: Tensor,
    masks: Tensor,
    distance: float,
    *,
    strongest: float = 4.0,
    inner: float = 2.0,
    outer: float = 10.0,
    encoding: Encoding = "srgb",
) -> Tensor:
    """Scale the contrast of each lesion, so that all have the same colour distance to their ring.

    The amount of contrast is then no longer informative about the class; its direction in colour
    space, and the structure of the lesion, still are.

    Parameters
    ----------
    images : Tensor ``[B, C, H, W]`` in 0..1
    masks : Tensor, bool ``[B, H, W]``
    distance : float, ΔE*ab
        Distance of the mean colours in L*a*b*; for grey pictures in L*.
    strongest : float
        Largest factor on the contrast: for a lesion that hardly differs from its skin, a larger one
        would only amplify noise.
    inner, outer, encoding
        As in :func:`scale_contrast`, which refuses the same pictures. The change fades out within 2
        pixels of the lesion, or within ``inner`` if that is less.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError
        When pictures or masks are not Tensors.
    ValueError
        As :func:`scale_contrast`; for a distance or a factor that is not positive.
    """
    if not (distance > 0 and strongest > 0):
        raise ValueError(f"distance and strongest must be positive, not {distance} and {strongest}")
    lesion, skin = mean_colours(images, masks, inner=inner, outer=outer, encoding=encoding)
    apart = (lesion - skin).norm(dim=-1)
    factor = (distance / apart.clamp_min(1e-6)).clamp_max(strongest)
    factor = factor.nan_to_num(1.0)  # no lesion or no skin: refused below, in words
    return scale_contrast(
        images, masks, factor,
        inner=inner, outer=outer, feather=min(2.0, inner), encoding=encoding,
    )  # fmt: skip


def altered(
    dataset: LesionDataset, alteration: Alteration, *, batch_size: int = 256
) -> LesionDataset:
    """Make a data set of altered pictures, rounded to codes; names, lesions and masks are kept.

    Parameters
    ----------
    dataset : LesionDataset
        All pictures need masks, see :attr:`LesionDataset.has_mask`; to scale contrast, also skin
        around the lesion, see :func:`scalable`.
    alteration : callable
        From float pictures and masks to float pictures of the same shape. If it has a parameter
        ``encoding`` that is not set, such as :func:`keep_region` within ``functools.partial``, it
        gets the encoding of the data set, if that is known.
    batch_size : int
        Number of pictures that are altered together.

    Raises
    ------
    TypeError
        When ``dataset`` is not a LesionDataset.
    ValueError
        When a picture has no mask, or the alteration changes a shape, returns a value that is not
        finite or refuses a picture; for a batch size below 1.
    """
    check_dataset(dataset)
    check_batch_size(batch_size)
    alteration = _told(alteration, dataset)
    images, masks = [], []
    white = 2**dataset.bit_depth - 1
    for rows in torch.arange(len(dataset)).split(batch_size):
        batch = dataset.gather(rows)
        scenes, _ = as_scenes(batch, torch.device("cpu"))
        own = dataset.gather_masks(rows)
        changed = alteration(scenes, own)
        if changed.shape != scenes.shape:
            raise ValueError(
                "an alteration must keep the shape, but "
                f"{list(scenes.shape)} became {list(changed.shape)}"
            )
        bad = (~changed.isfinite()).flatten(1).any(1)
        if bool(bad.any()):
            first = dataset.identifiers[int(rows[bad.nonzero()[0]])]
            raise ValueError(
                f"an alteration must return finite numbers, but for {int(bad.sum())} of "
                f"{len(rows)} pictures it did not, the first is {first}: check for a division by 0"
            )
        images.append((white * clip(changed)).round().to(batch.images.dtype))
        masks.append(own)
    return dataset.redrawn(torch.cat(images), masks=torch.cat(masks))


def _told(alteration: Alteration, dataset: LesionDataset) -> Alteration:
    """The alteration, with the encoding of the data set if it asks for one."""
    if dataset.encoding is None:
        return alteration
    given = alteration.keywords if isinstance(alteration, partial) else {}
    try:
        asked = inspect.signature(alteration).parameters
    except (TypeError, ValueError):  # of a few functions that are not written in Python
        return alteration
    if "encoding" in given or "encoding" not in asked:
        return alteration
    return partial(alteration, encoding=dataset.encoding)
