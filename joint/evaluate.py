"""Measure a system on labelled scenes: labels, bits and fidelity in one pass."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from classify import Batch, LesionDataset, Report, report
from compress import psnr, ssim

from .objective import Objective
from .system import ImagingSystem, SystemOutput, evaluating

__all__ = ["Evaluation", "as_scenes", "derive_seed", "device_of", "evaluate", "usable_device"]


@dataclass(frozen=True)
class Evaluation:
    """Results over one data set; None where the system has no such stage."""

    count: int
    """Pictures."""
    losses: dict[str, float]
    """Mean of each term of the objective, before its weight, and their weighted total."""
    report: Report | None
    """Classification: accuracy, balanced accuracy, F1, AUC, confusion, each class."""
    bpp: float | None
    """Mean estimated rate, bits/pixel; of what kind, :attr:`rate` says."""
    rate: str | None
    """``rounded`` (estimated from the symbols that would be coded) or ``bytes``."""
    bpp_bytes: float | None
    """Mean rate of the files that the codec writes, bits/pixel, where counted."""
    psnr: float | None
    """Mean PSNR of the reconstruction against the codec's input, dB."""
    ssim: float | None
    """Mean SSIM of the reconstruction against the codec's input."""
    throughput: float | None
    """Fraction of the scene's light that reaches the sensor."""
    logits: np.ndarray | None
    """Class scores ``[N, K]``, for paired tests."""
    labels: np.ndarray
    """True classes ``[N]``."""
    identifiers: tuple[str, ...]
    """Names of the pictures, in the order of ``logits`` and ``labels``."""
    groups: tuple[str, ...]
    """Their lesions, likewise: what :func:`classify.bootstrap_difference` resamples."""

    def scalars(self) -> dict[str, float | None]:
        """The single numbers by name: what a history, a table or a monitor reads."""
        labels = self.report
        return {
            **{f"loss_{name}": value for name, value in self.losses.items()},
            "loss": self.losses["total"],
            "accuracy": None if labels is None else labels.accuracy,
            "balanced_accuracy": None if labels is None else labels.balanced_accuracy,
            "macro_f1": None if labels is None else labels.macro_f1,
            "auc": None if labels is None else labels.auc,
            "bpp": self.bpp,
            "bpp_bytes": self.bpp_bytes,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "throughput": self.throughput,
        }

    def to_dict(self) -> dict[str, object]:
        """A JSON-able summary, without the scores of each picture."""
        return {
            "count": self.count,
            "rate": self.rate,
            **{name: _finite(value) for name, value in self.scalars().items()},
            "report": None if self.report is None else self.report.to_dict(),
        }


def derive_seed(*parts: object) -> int:
    """A seed that is a pure function of ``parts``, 63 bits."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def device_of(module: nn.Module) -> torch.device:
    """Where the tensors of a module live; the CPU if it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def usable_device(device: torch.device | str) -> torch.device:
    """Refuse a device that is not there, in words.

    Raises
    ------
    ValueError
        For a name that torch does not know, or a GPU that it does not see.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {str(device)!r} is unknown; use 'cpu', 'cuda', ...") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch sees {torch.cuda.device_count()} "
            "GPUs; use 'cpu', or a number below that"
        )
    return found


def as_scenes(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """8-bit pictures and labels of a batch as float scenes in 0..1 and labels on a device."""
    images = batch.images.to(device, non_blocking=True).float().div_(255)
    return images, batch.labels.to(device, non_blocking=True)


def evaluate(
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    objective: Objective | None = None,
    batch_size: int = 64,
    seed: int = 0,
    count_bytes: bool = False,
    resamples: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Pass a data set through a system in evaluation mode.

    Parameters
    ----------
    system : ImagingSystem
        Its modes are restored afterwards.
    dataset : LesionDataset
        Pictures in the size and channels that the system takes.
    objective : Objective, optional
        What ``losses`` are the terms of; by default the cross-entropy where there is a
        classifier. The task term is the plain cross-entropy, whatever the smoothing of training.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise: the same seed and batch size expose the same noise.
    count_bytes : bool
        Also write every picture with the codec and count the bytes.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals of the report; none by default.
    progress : bool
        Show a bar, on a terminal.

    Raises
    ------
    ValueError
        For a batch size below 1, or pictures that do not fit the system.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if objective is None:
        objective = Objective(task=float(system.classifier is not None))
    device = device_of(system)
    sums = _Sums()
    logits: list[Tensor] = []
    rate: str | None = None
    bar = tqdm(total=len(dataset), unit="image", disable=None if progress else True)
    with evaluating(system), torch.no_grad(), bar:
        for number, index in enumerate(torch.arange(len(dataset)).split(batch_size)):
            scenes, labels = as_scenes(dataset.gather(index), device)
            noise = torch.Generator(device).manual_seed(derive_seed(seed, "evaluate", number))
            output = system(scenes, generator=noise)
            losses = objective(output, labels)
            sums.add(len(index), {f"loss_{k}": v for k, v in losses.named().items()})
            sums.add(len(index), dict(_fidelity(system, output, count_bytes)))
            if output.coded is not None:
                rate = output.coded.rate
            if output.logits is not None:
                logits.append(output.logits.float().cpu())
            bar.update(len(index))
    scores = torch.cat(logits).numpy() if logits else None
    labels = dataset.targets.numpy()
    judged = None
    if scores is not None:
        judged = report(
            scores, labels, classes=dataset.classes, groups=dataset.groups, resamples=resamples
        )
    return _summarise(system, dataset, sums.means(), scores, judged, rate)


class _Sums:
    """Weighted sums on the device: nothing waits for them until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count: dict[str, int] = {}

    def add(self, count: int, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            weighted = value.double() * count
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._count[name] = self._count.get(name, 0) + count

    def means(self) -> dict[str, float]:
        return {name: float(value) / self._count[name] for name, value in self._sums.items()}


def _fidelity(
    system: ImagingSystem, output: SystemOutput, count_bytes: bool
) -> Iterator[tuple[str, Tensor]]:
    if output.coded is None or system.codec is None:
        return
    original, decoded = output.measurement.float(), output.coded.reconstruction.float()
    yield "bpp", output.coded.bpp.mean()
    yield "psnr", psnr(decoded.clamp(0, 1), original).mean()
    yield "ssim", ssim(decoded.clamp(0, 1), original).mean()
    if count_bytes:
        pixels = original.shape[-1] * original.shape[-2]
        sizes = [8 * len(payload) / pixels for payload in system.codec.compress(original)]
        yield "bpp_bytes", torch.tensor(sizes).mean()


def _summarise(
    system: ImagingSystem,
    dataset: LesionDataset,
    means: dict[str, float],
    scores: np.ndarray | None,
    judged: Report | None,
    rate: str | None,
) -> Evaluation:
    with torch.no_grad():
        light = None if system.front_end is None else float(system.front_end.throughput())
    return Evaluation(
        count=len(dataset),
        losses={k.removeprefix("loss_"): v for k, v in means.items() if k.startswith("loss_")},
        report=judged,
        bpp=means.get("bpp"),
        rate=rate,
        bpp_bytes=means.get("bpp_bytes"),
        psnr=means.get("psnr"),
        ssim=means.get("ssim"),
        throughput=light,
        logits=scores,
        labels=dataset.targets.numpy(),
        identifiers=tuple(dataset.identifiers),
        groups=dataset.groups,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
