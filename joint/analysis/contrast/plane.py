"""Contrast at every plane that the light and the bits pass.

::

    scene ──► irradiance ──► measurement ──► handed
      └───────────┴──────┬───────┴─────────────┘
    masks ───────────────┴─► contrast ─► Contrast
"""

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from classify import LesionDataset
from joint.analysis.passes import passes
from joint.analysis.region import check_masks
from joint.kinds import check_dataset, check_system
from joint.stages import Encoding
from joint.system import ImagingSystem, SystemOutput, evaluating
from optics import pack_mosaic
from optics.quantity import image_size

from .measures import Contrast, contrast

__all__ = ["PLANES", "Plane", "contrast_at", "measure_contrast"]

Plane = Literal["scene", "irradiance", "measurement", "handed"]

#: Planes of the system at which there is a picture, in the order of the light.
PLANES: tuple[Plane, ...] = get_args(Plane)


def contrast_at(
    output: SystemOutput,
    masks: Tensor,
    *,
    plane: Plane = "scene",
    inner: float = 2.0,
    outer: float = 10.0,
    encoding: Encoding | None = None,
    bins: int = 64,
    mosaic: tuple[int, int] | None = None,
) -> Contrast:
    """Measure contrast at a plane of a system's output.

    Parameters
    ----------
    output : SystemOutput
        Output of one pass.
    masks : Tensor, bool ``[B, H, W]``
        Masks in the pixels of the scene. For a plane of another size, the masks are resized by
        area and the ring's distances by the same factor; a lesion that covers no pixel there by
        at least half is not measured, and :attr:`Contrast.undefined` says so.
    plane : {"scene", "irradiance", "measurement", "handed"}
        The irradiance is linear light, the sum of all exposures if there are several. A scene that
        is a field has no contrast; its image by a front end has.
    inner, outer : float, pixels of the scene
        The ring's distances from the lesion.
    encoding : {"srgb", "linear"}, optional
        Encoding of the encoded planes; by default that of the output.
    bins : int
        Number of bins of the histograms of gCNR.
    mosaic : (int, int), optional, pixels
        Period of the colour filters, ``sensor.cfa.period``, if measurement and handed picture are
        mosaics (``demosaicing="none"``). The pattern of the filters is not variation of lesion or
        skin, so each phase becomes a channel, as with ``demosaicing="packed"``. Incomplete periods
        at the right and at the bottom are left out.

    Raises
    ------
    TypeError
        When ``output`` is not a SystemOutput, or the masks are not a Tensor.
    ValueError
        When the system has no such plane, masks and scene do not fit, or the plane is a mosaic and
        its period is not given.
    """
    if not isinstance(output, SystemOutput):
        remedy = "; contrast(images, masks) measures pictures"
        if isinstance(output, nn.Module):
            remedy = ", as system(scenes) gives; measure_contrast takes a data set and a system"
        raise TypeError(
            f"output must be a joint.SystemOutput, of one pass, not {type(output).__name__}{remedy}"
        )
    if plane not in PLANES:
        raise ValueError(f"plane must be one of {', '.join(PLANES)}, not {plane!r}")
    picture: Tensor | None = getattr(output, plane)
    if picture is None:
        raise ValueError(
            "the system has no irradiance, as it has neither front end nor sensor: "
            "measure at the scene"
        )
    if not isinstance(masks, Tensor):
        raise TypeError(
            f"contrast_at needs the masks of the lesions, a bool Tensor [B, H, W], not "
            f"{type(masks).__name__}: a data set without masks has no contrast"
        )
    scene = output.scene
    check_masks(masks, scene.real if scene.is_complex() else scene)
    if plane == "irradiance" and output.exposures > 1:
        # Each is scaled by its share of the time: together they are the light that one has alone.
        picture = picture.unflatten(1, (output.exposures, -1)).sum(1)
    given = masks
    if plane in ("measurement", "handed"):
        if mosaic is None and _is_mosaic(output):
            raise ValueError(
                f"the {plane} is a mosaic of colours, whose pattern is not contrast: give "
                "mosaic=sensor.cfa.period"
            )
        if mosaic is not None:
            picture, masks = _packed(picture, masks, image_size(mosaic, "mosaic"))
    if picture.shape[-2:] != masks.shape[-2:]:
        factor = picture.shape[-1] / masks.shape[-1]
        inner, outer = inner * factor, outer * factor
        height, width = picture.shape[-2:]
        area = adaptive_avg_pool2d(masks.float(), (height, width))
        masks = area >= 0.5
    found = contrast(
        picture,
        masks,
        inner=inner,
        outer=outer,
        encoding="linear" if plane == "irradiance" else encoding or output.encoding,
        bins=bins,
    )
    lost = found.causes.no_lesion & given.flatten(1).any(1)
    empty = found.causes.no_lesion & ~lost
    return replace(found, causes=found.causes._replace(no_lesion=empty, too_small=lost))


def _is_mosaic(output: SystemOutput) -> bool:
    """Whether what the sensor read in fewer channels than there is light stayed as it was read."""
    light, raw = output.irradiance, output.raw
    if light is None or raw is None or output.developed is not None:
        return False
    return raw.shape[1] < light.shape[1] and output.measurement.shape == raw.shape


def _packed(picture: Tensor, masks: Tensor, period: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A channel of each phase of the mosaic, and the part of the masks that it shows."""
    whole = picture.shape[-2:]
    height, width = (n // each * each for n, each in zip(whole, period, strict=True))
    # Of a picture of fewer pixels than the scene, as of light that was binned, the same part.
    rows, columns = height * masks.shape[-2] // whole[0], width * masks.shape[-1] // whole[1]
    masks = masks[..., :rows, :columns]
    return pack_mosaic(picture[..., :height, :width], period), masks


def measure_contrast(
    dataset: LesionDataset,
    *,
    system: ImagingSystem | None = None,
    plane: Plane = "scene",
    inner: float = 2.0,
    outer: float = 10.0,
    bins: int = 64,
    batch_size: int = 64,
    seed: int = 0,
) -> Contrast:
    """Contrast of every picture of a data set, at a plane of a system; without gradients.

    Parameters
    ----------
    dataset : LesionDataset
        All pictures with masks: see :attr:`LesionDataset.has_mask`.
    system : ImagingSystem, optional
        Run in evaluation mode; its modes are restored. Without a system the scenes are measured,
        as sRGB unless the data set says that they are linear.
    plane, inner, outer, bins
        As in :func:`contrast_at`.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise: the same as in :func:`joint.evaluate`.

    Raises
    ------
    TypeError
        When ``dataset`` is not a data set, or ``system`` not a system.
    ValueError
        For pictures without masks, a batch size below 1, or scenes whose encoding or classes are
        not those of the system.
    """
    check_dataset(dataset)
    system = ImagingSystem(encoding=dataset.encoding or "srgb") if system is None else system
    check_system(system)
    shown = passes(dataset, system, batch_size=batch_size, seed=seed)
    filters = None if system.sensor is None else system.sensor.cfa
    untouched = filters is not None and filters.method == "none" and system.restoration is None
    parts = []
    with evaluating(system), torch.no_grad():
        for part in shown:
            output = system(part.scenes, generator=part.noise)
            found = contrast_at(
                output,
                dataset.gather_masks(part.rows).to(part.scenes.device),
                plane=plane,
                inner=inner,
                outer=outer,
                bins=bins,
                mosaic=filters.period if filters is not None and untouched else None,
            )
            parts.append(found)
    return Contrast.concatenate(parts)
