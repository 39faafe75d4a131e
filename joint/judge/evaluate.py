"""Evaluate a system on labelled scenes: labels, bits and fidelity in one pass."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from classify import LesionDataset, Report, report
from compress import psnr, ssim
from compress.metrics import SSIM_WINDOW
from joint.caution import caution
from joint.device import device_of
from joint.feed import Feed, as_seed
from joint.kinds import check_batch_size, check_scores, check_suited
from joint.objective import Objective
from joint.parallel import gathered, rank, world_size
from joint.system import ImagingSystem, SystemOutput, evaluating
from optics import srgb_to_linear
from optics.imaging.psf_imaging import PSFImaging
from optics.imaging.shutter import behind_shutter

from .evaluation import Evaluation
from .point import OperatingPoint, operating, told_quality, warn_of_cut
from .view_average import Views, average_views

__all__ = ["evaluate", "try_points"]

# Number of pictures whose files are decoded to check a codec when bytes are counted.
_DECODED = 8

# Excess of a throughput over 1 that is more than rounding.
_ROUNDED = 1e-3


def evaluate(  # noqa: PLR0913 - one call judges at any point
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    objective: Objective | None = None,
    batch_size: int = 64,
    seed: int = 0,
    photons: float | None = None,
    quality: float | None = None,
    distance: float | None = None,
    motion: float | None = None,
    views: Views = "identity",
    count_bytes: bool = False,
    resamples: int = 0,
    shared: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a system on a data set, in evaluation mode.

    Parameters
    ----------
    system : ImagingSystem
        Its modes and operating point are changed during the call and restored afterwards: give each
        of several threads a ``copy.deepcopy``.
    dataset : LesionDataset
        Pictures with the size and channels that the system takes.
    objective : Objective, optional
        Objective whose terms are the ``losses``; by default the cross-entropy, if there is a
        classifier. The task term is the plain cross-entropy, whatever the smoothing of training.
    batch_size : int
        Pictures per pass. The noise of a picture depends only on its name and on ``seed``.
    seed : int
        Random seed of the sensor's noise.
    photons : float, optional
        Another light level, photons/pixel, with the sensor's gain in proportion
        (:meth:`optics.Sensor.under`).
    quality : float, optional
        Quality of a codec that has several: 0 to ``levels - 1`` for a learned codec, 1 to 100 for
        JPEG, 0 to 100 for lossy WebP and AVIF.
    distance : float, metres, optional
        Distance of all scenes from a lens, instead of its focus or working distances
        (:meth:`optics.IncoherentImaging.at`). By default each picture is at one of the working
        distances, drawn from its name and ``seed``. For few pictures these are not evenly spread:
        the mean over one evaluation at each distance avoids this.
    motion : float, pixels, optional
        Another RMS distance by which scenes move during the exposure
        (:meth:`optics.CodedExposure.moving`).
    views : {"identity", "mirror", "flips", "dihedral"}
        Views of each scene over which the classifier's probabilities are averaged (test-time
        augmentation, :func:`joint.average_views`). Scores, report and task loss are then those of
        the average; rate and fidelity those of the unchanged scene.
    count_bytes : bool
        Also write every picture with the codec and count the bytes.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals of the report; none by default.
    shared : bool
        Divide the pictures among the processes of ``torch.distributed``. All of them must call, and
        each returns the result of the whole data set.
    progress : bool
        Show a progress bar on a terminal.

    Raises
    ------
    TypeError
        For arguments of another type, or several numbers where one is needed.
    ValueError
        For a batch size below 1, a seed that is no whole number, pictures that do not fit the
        system, an operating point that it does not have, or views for a system without a
        classifier.

    Warns
    -----
    UserWarning
        When bytes are counted, and a rate of kind ``bytes`` differs from them, or the files of the
        first pictures do not decode to the codec's reconstruction; when the rate is negative or not
        finite; when more light leaves the front end than enters it, which no passive optics can do;
        and when much of the light at ``distance`` falls outside the window of the PSF, and is
        missing from all results.
    """
    check_batch_size(batch_size)
    seed = as_seed(seed)
    check_suited(system, dataset)
    point = OperatingPoint(photons, quality, distance, motion)
    point.check()
    if objective is None:
        objective = Objective(task=float(system.classifier is not None))
    elif not isinstance(objective, Objective):
        raise TypeError(
            f"objective must be a joint.Objective, not {type(objective).__name__}; make one with "
            "joint.Objective(...)"
        )
    feed = Feed(dataset, device_of(system), resident=False)
    batches = torch.arange(len(dataset)).split(batch_size)
    if shared:
        batches = batches[rank() :: world_size()]
    part = _Part(rows=torch.cat([*batches, torch.empty(0, dtype=torch.int64)]))
    bar = tqdm(total=len(part.rows), unit="image", disable=None if progress else True)
    with evaluating(system), torch.no_grad(), operating(system, point), bar:
        warn_of_cut(system, point)
        for shown in feed.shown(batches, seed=seed):
            output = system(shown.scenes, generator=shown.noise)
            if views != "identity":
                averaged = average_views(system, shown.scenes, views=views, generator=shown.noise)
                output = replace(output, logits=averaged.logits)
            check_scores(output, dataset)
            if count_bytes and not part.counts:
                _check_files(output, system)
            losses = objective(output, shown.labels)
            count = len(shown.rows)
            part.add(count, {f"loss_{k}": v for k, v in losses.named().items()})
            part.add(count, dict(_light(output, system)))
            part.add(count, dict(_fidelity(system, output, count_bytes)))
            if output.coded is not None:
                part.rate = output.coded.rate
            if output.logits is not None:
                part.logits.append(output.logits.float())
            bar.update(count)
        # Throughput and quality at this operating point.
        light = None if system.front_end is None else float(system.front_end.throughput())
        told = told_quality(system.codec)
    whole = _Part.whole(gathered(part.on_cpu()) if shared else [part.on_cpu()])
    scores = torch.cat(whole.logits)[whole.rows.argsort()].numpy() if whole.logits else None
    judged = None
    if scores is not None:
        judged = report(
            scores,
            dataset.targets.numpy(),
            classes=dataset.classes,
            groups=dataset.groups,
            resamples=resamples,
        )
    found = _summarise(dataset, whole.means(), scores, judged, whole.rate)
    share = _light_share(system, whole.means())
    found = replace(found, point=point, quality=told, throughput=light, light_share=share)
    _check_rate(found, system)
    _check_passive(found, system)
    return found


def try_points(
    system: ImagingSystem, dataset: LesionDataset, points: Sequence[OperatingPoint]
) -> None:
    """Refuse what a later point would, with one picture: a motion may be too far for its side."""
    check_suited(system, dataset)
    feed = Feed(dataset, device_of(system), resident=False)
    for point in points:
        with evaluating(system), torch.no_grad(), operating(system, point):
            for shown in feed.shown([torch.tensor([0])], seed=0):
                system(shown.scenes, generator=shown.noise)


@dataclass
class _Part:
    """Results of one process for its pictures; nothing waits for the device until the end."""

    rows: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    logits: list[Tensor] = field(default_factory=list)
    rate: str | None = None

    def add(self, count: int, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            weighted = value.double() * count
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
            self.counts[name] = self.counts.get(name, 0) + count

    def on_cpu(self) -> "_Part":
        sums = {name: value.cpu() for name, value in self.sums.items()}
        return replace(self, sums=sums, logits=[part.cpu() for part in self.logits])

    @classmethod
    def whole(cls, parts: Sequence["_Part"]) -> "_Part":
        total = cls(rows=torch.cat([part.rows for part in parts]))
        for part in parts:
            for name, value in part.sums.items():
                total.sums[name] = total.sums.get(name, torch.zeros_like(value)) + value
                total.counts[name] = total.counts.get(name, 0) + part.counts[name]
            total.logits += part.logits
            total.rate = part.rate or total.rate
        return total

    def means(self) -> dict[str, float]:
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}


def _light(output: SystemOutput, system: ImagingSystem) -> Iterator[tuple[str, Tensor]]:
    """Mean light of the scenes and of the sensor, linear."""
    if output.irradiance is None or system.front_end is None:
        return
    scene = output.scene
    if scene.is_complex():
        light = scene.abs().square()
    elif getattr(system.front_end, "phase_depth", None) is not None:
        light = torch.ones_like(scene)  # a phase object absorbs none
    else:
        light = srgb_to_linear(scene.float()) if output.encoding == "srgb" else scene
    yield "light_of_scene", light.double().mean()
    yield "light_on_sensor", output.irradiance.double().mean()


def _light_share(system: ImagingSystem, means: dict[str, float]) -> float | None:
    """Light share, summed as a throughput: over exposures, and over channels that divide light."""
    front = system.front_end
    if front is None or not means.get("light_of_scene", 0.0) > 0:
        return None
    lens = behind_shutter(front)
    colour = lens.colour if isinstance(lens, PSFImaging) else None
    divided = 1.0 if colour is None or colour.filters is None else float(colour.filters.share)
    return system.exposures * means["light_on_sensor"] / means["light_of_scene"] / divided


def _check_passive(found: Evaluation, system: ImagingSystem) -> None:
    """Warn of a front end that amplifies light: its results need light that does not exist.

    The light share is no criterion: a phase plate, a bright border or a lamp can bring more light
    into the frame than the scenes have in it.
    """
    if found.throughput is None or found.throughput <= 1 + _ROUNDED:
        return
    caution(
        f"{type(system.front_end).__name__} has a throughput of {found.throughput:.4g}, but "
        "passive optics have at most 1: the results are those of a scene that is brighter by this "
        "factor. Keep each |t| of a custom element, and the sum of its PSF, at 1 or below",
    )


def _check_rate(found: Evaluation, system: ImagingSystem) -> None:
    """Warn of a codec with an invalid rate, or with a rate of kind ``bytes`` that is not so."""
    if found.bpp is not None and not 0 <= found.bpp < math.inf:
        caution(
            f"the rate of {type(system.codec).__name__} is {found.bpp:.4g} bits/pixel: bits_map "
            "and side_bits of its Coded must be finite, and not negative",
        )
    if found.rate != "bytes" or found.bpp is None or found.bpp_bytes is None:
        return
    if abs(found.bpp - found.bpp_bytes) > 1e-3 * found.bpp_bytes:  # float32 sums over a map
        caution(
            f"{type(system.codec).__name__} declares its rate as that of the bytes, "
            f"{found.bpp:.4g} bits/pixel, but its files have {found.bpp_bytes:.4g}: trust "
            "bpp_bytes. bits_map and side_bits of its Coded must add up to 8 times the bytes, or "
            "its rate must be declared as 'rounded', an estimate",
        )


def _check_files(output: SystemOutput, system: ImagingSystem) -> None:
    """Warn of a codec whose first files do not decode to the pictures that are evaluated."""
    coded, codec, given = output.coded, system.codec, output.measurement
    # Not promised by networks that round in another order, nor for float64 pictures.
    inexact = not getattr(codec, "exact", True) or given.dtype == torch.float64
    if coded is None or codec is None or inexact:
        return
    judged = coded.reconstruction[:_DECODED].float()
    files = codec.compress(given[:_DECODED].float())
    try:
        decoded = codec.decompress(files).to(judged)
    except NotImplementedError:  # a codec without files
        return
    except (MemoryError, torch.OutOfMemoryError, ImportError):  # not the fault of a file
        raise
    except Exception as error:  # a custom codec may raise anything; all else is measured already
        fault = f"{type(error).__name__}: {error}"
    else:
        fault = f"they are of the shape {list(decoded.shape)}"
        if decoded.shape == judged.shape:
            gap = float((decoded - judged).abs().max())
            if gap <= 0.5 / 255:  # the same picture of 8 bits
                return
            fault = f"they are up to {gap:.3g} away"
    caution(
        f"the files of {type(codec).__name__} do not decode to its reconstruction ({fault}): "
        "labels and fidelity are those of the reconstruction, but the bytes are those of another "
        "picture. In evaluation mode, decompress(compress(x)) must equal forward(x).reconstruction",
    )


def _fidelity(
    system: ImagingSystem, output: SystemOutput, count_bytes: bool
) -> Iterator[tuple[str, Tensor]]:
    scene, made = output.scene, output.handed
    if made is not scene and made.shape == scene.shape and not scene.is_complex():
        yield "psnr_scene", _mean_psnr(made.float(), scene.float())
    if output.coded is None or system.codec is None:
        return
    original, decoded = output.measurement.float(), output.coded.reconstruction.float()
    yield "bpp", output.coded.bpp.mean()
    yield "psnr", _mean_psnr(decoded, original)
    if min(original.shape[-2:]) >= SSIM_WINDOW:
        yield "ssim", ssim(decoded.clamp(0, 1), original).mean()
    if count_bytes:
        pixels = original.shape[-1] * original.shape[-2]
        sizes = [8 * len(payload) / pixels for payload in system.codec.compress(original)]
        yield "bpp_bytes", torch.tensor(sizes).mean()


def _mean_psnr(made: Tensor, original: Tensor) -> Tensor:
    # Above 100 dB the PSNR is rounding error, up to infinity; x264's log ends at an MSE of 1e-10,
    # too.
    return psnr(made.clamp(0, 1), original).clamp_max(100).mean()


def _summarise(
    dataset: LesionDataset,
    means: dict[str, float],
    scores: np.ndarray | None,
    judged: Report | None,
    rate: str | None,
) -> Evaluation:
    return Evaluation(
        count=len(dataset),
        losses={k.removeprefix("loss_"): v for k, v in means.items() if k.startswith("loss_")},
        report=judged,
        bpp=means.get("bpp"),
        rate=rate,
        bpp_bytes=means.get("bpp_bytes"),
        psnr=means.get("psnr"),
        ssim=means.get("ssim"),
        psnr_scene=means.get("psnr_scene"),
        throughput=None,
        logits=scores,
        labels=dataset.targets.numpy(),
        identifiers=tuple(dataset.identifiers),
        groups=dataset.groups,
    )
