"""Reliance of a system on spatial frequencies of the scene: its loss when they are removed.

::

    scene ─► linear light ─► DCT ─► a ring taken out, or kept alone ─► clip ─► system ─► logits
                                    the mean stays                                         │
    scene ──────────────────────────────────────────────────────────────► system ─► logits ┤
                                                                                           ▼
                                          scores, and their change over the same lesions, by ring

Rings are taken away as by Abello et al. (Dissecting the high-frequency bias in convolutional neural
networks, CVPR Workshops 2021). Noise in a ring (Yin et al., A Fourier perspective on model
robustness, NeurIPS 2019; critical-band masking of Subramanian et al., Spatial-frequency channels,
shape bias, and adversarial robustness, NeurIPS 2023) asks what disturbs, which is something else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from classify import Interval, LesionDataset, bootstrap_difference, report
from classify.intervals import check_resampling, check_units, membership, source
from joint.device import device_of
from joint.judge.evaluate import evaluate
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem, evaluating
from optics import clip, linear_to_srgb, srgb_to_linear

from .passes import passes
from .ring import Cosines, RingFilter, checked_rings, octave_rings, ring_share, taken_out
from .scores import Score

__all__ = ["Reliance", "RingReliance", "RingScores", "reliance"]

Array = npt.NDArray[Any]

# Beyond 0..1 by the rounding of the transform, a black or white pixel is not clipped.
_ROUNDING = 1e-5
# Share of the mean's power that rounding leaves in any other frequency: (8 eps of float32)^2, as
# the transform of a constant picture has amplitudes of up to 3 eps of its mean.
_NO_POWER = (8 * torch.finfo(torch.float32).eps) ** 2


class RingScores(NamedTuple):
    """Scores of the original pictures, of filtered ones, or the difference of the two."""

    accuracy: Score
    """Share of the pictures that are right."""
    balanced_accuracy: Score
    """Mean recall of the classes."""
    auc: Score
    """Mean area under the ROC curve, each class against the rest; NaN for a single class."""


class RingReliance(NamedTuple):
    """Results for one ring of spatial frequencies."""

    low: float
    """Lower limit (included), cycles/pixel of the scene."""
    high: float
    """Upper limit (excluded), likewise; at most the highest frequency, sqrt(1/2)."""
    power: float
    """Share of the scenes' variance in the ring, linear light; the sum over all is 1. NaN of
    constant scenes, which have none beyond rounding."""
    scores: RingScores
    """Scores of the filtered pictures."""
    change: RingScores
    """These scores minus those of the original pictures, paired over lesions; negative is worse."""
    flipped: float
    """Share of the pictures whose predicted class changes."""
    clipped: float
    """Share of the filtered values that were clipped to 0..1."""
    left: float
    """Power of the removed frequencies after clipping / before; a smooth edge also leaves some. NaN
    if there was none before."""
    left_in_codes: float
    """The same ratio in the codes that the system gets. The sRGB curve generates sums and
    differences of the remaining frequencies; some of them lie in the ring."""


@dataclass(frozen=True)
class Reliance(Record):
    """Scores of a system on scenes without, or with only, a ring of frequencies."""

    kind: RingFilter
    """``stop``: scenes without the ring. ``pass``: only the ring and the mean."""
    edge: float
    """Width of the rings' edges, octaves; 0 is hard."""
    scores: RingScores
    """Scores of the original pictures: the numbers of :func:`joint.evaluate`."""
    rings: tuple[RingReliance, ...]
    """Results by ring, in the order given."""
    pictures: int
    level: float
    resamples: int

    def __str__(self) -> str:
        done = {"stop": "without the ring", "pass": "of the ring and the mean alone"}[self.kind]
        soft = f", edges of {self.edge:g} octaves" if self.edge else ""
        accuracy, balanced, auc = self.scores
        rows = [
            f"{self.pictures} pictures as they are: accuracy {accuracy}, balanced {balanced}, AUC "
            f"{auc}; {100 * self.level:g} % intervals over lesions",
            f"change: {done}{soft}, less as they are; - is worse",
            f"{'cycles/pixel':>15} {'power':>6} {'accuracy':23} {'balanced accuracy':23} "
            f"{'AUC':23} {'flipped':>7} {'clipped':>7} {'left':>6} {'in codes':>8}",
        ]
        for ring in self.rings:
            changes = " ".join(f"{_signed(score):23}" for score in ring.change)
            rows.append(
                f"{ring.low:7.4f}-{ring.high:7.4f} {ring.power:6.1%} {changes} "
                f"{ring.flipped:7.1%} {ring.clipped:7.2%} {ring.left:6.1%} "
                f"{ring.left_in_codes:8.1%}"
            )
        return "\n".join(rows)


def reliance(
    system: ImagingSystem,
    dataset: LesionDataset,
    rings: Sequence[tuple[float, float]] | None = None,
    *,
    kind: RingFilter = "stop",
    edge: float = 0.0,
    batch_size: int = 64,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Reliance:
    """Measure the loss of a system when rings of spatial frequencies are removed from the scenes.

    :func:`filter_ring` removes the ring from the scenes, before optics and sensor, without rounding
    afterwards. The loss includes what the system used *and* the disturbance by pictures that it has
    never seen: train it again on them to learn whether a ring is needed. If two rings have the same
    information, removing one has little effect: ``kind="pass"`` shows the result with one alone,
    and rings ``(0, f)`` and ``(f, math.inf)`` are then low-pass and high-pass filters.

    sRGB codes are a non-linear function of the light: in the codes the ring is not empty, which can
    cause much of the change (:attr:`RingReliance.left_in_codes`). For a system without a camera
    that treats its codes as linear light, the frequencies are those of the codes.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier; in evaluation mode, and its modes are restored.
    dataset : LesionDataset
        Pictures that it was not trained on.
    rings : sequence of (float, float), cycles/pixel of the scene, optional
        They may overlap. By default those of :func:`octave_rings`.
    kind, edge
        As in :func:`filter_ring`.
    batch_size : int
        Pictures in one pass; there is a pass for each ring and one more.
    seed : int
        Source of the sensor's noise, as in :func:`joint.evaluate`; a picture has the same with
        each ring.
    resamples, level, generator
        Settings of the bootstrap; each resample has the same lesions for all rings. The intervals
        are not adjusted for the number of rings.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    Reliance
        Scores have the intervals of :func:`classify.report`, changes those of
        :func:`classify.bootstrap_difference`.

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without a classifier, no rings, an invalid ring or one without frequencies of
        the scenes, an unknown kind or edge, fewer than two lesions, or scenes whose encoding or
        classes are not those of the system.
    """
    check_kinds(system, dataset, wanted="accuracy")
    check_resampling(resamples, level)
    size = dataset.image_size
    chosen = checked_rings(octave_rings(size) if rings is None else rings, size, kind, edge)
    check_units(membership(dataset.groups, len(dataset)), dataset.groups)
    whole = evaluate(system, dataset, batch_size=batch_size, seed=seed).logits
    assert whole is not None  # of a classifier
    judge = _Judge(dataset, whole, resamples, level, _drawn(generator))
    logits, light = _without(
        system, dataset, chosen, kind, edge, batch_size=batch_size, seed=seed, progress=progress
    )
    rows = tuple(
        RingReliance(
            low=low,
            high=high,
            scores=judge.scores(own),
            change=judge.change(own),
            flipped=float((own.argmax(1) != whole.argmax(1)).mean()),
            **seen._asdict(),
        )
        for (low, high), own, seen in zip(chosen, logits, light, strict=True)
    )
    return Reliance(kind, edge, judge.scores(whole), rows, len(dataset), level, resamples)


class _Light(NamedTuple):
    """Effect of the filter on the light, as in :class:`RingReliance`."""

    power: float
    clipped: float
    left: float
    left_in_codes: float


def _without(
    system: ImagingSystem,
    dataset: LesionDataset,
    rings: Sequence[tuple[float, float]],
    kind: RingFilter,
    edge: float,
    *,
    batch_size: int,
    seed: int,
    progress: bool,
) -> tuple[Array, list[_Light]]:
    """Logits of the filtered scenes ``[R, N, K]``, and what was done to their light."""
    device = device_of(system)
    cosines = Cosines.of(dataset.image_size, torch.empty(0, device=device))
    shares = [ring_share(cosines.frequency, ring, edge) for ring in rings]
    gone = [taken_out(share, kind) for share in shares]
    logits: list[list[Tensor]] = [[] for _ in rings]
    sums = torch.zeros(len(rings), 7, dtype=torch.float64, device=device)
    coded = system.encoding == "srgb"
    shown = passes(dataset, system, batch_size=batch_size, seed=seed)
    bar = tqdm(total=len(rings) * len(dataset), unit="image", disable=None if progress else True)
    with evaluating(system), torch.no_grad(), bar:
        for part in shown:
            scenes = part.scenes
            spectrum = cosines.forward(srgb_to_linear(scenes) if coded else scenes)
            before, codes = _power(spectrum), _power(cosines.forward(scenes))
            for k, (share, less) in enumerate(zip(shares, gone, strict=True)):
                filtered = cosines.inverse((1 - less).to(spectrum) * spectrum)
                light = clip(filtered)
                picture = linear_to_srgb(light) if coded else light
                output = system(picture, generator=part.noise)
                logits[k].append(output.logits.float().cpu())
                beyond = ((filtered - light).abs() > _ROUNDING).double().mean()
                after, codes_after = (_power(cosines.forward(each)) for each in (light, picture))
                went = [less.square() * each for each in (after, before, codes_after, codes)]
                parts = [each.sum() for each in (share * before, before, *went)]
                sums[k] += torch.stack([beyond * len(scenes), *parts])
                bar.update(len(scenes))
    beyond, of_ring, of_all, *went = sums.cpu().numpy().T
    shares = _share(of_ring, of_all), beyond / len(dataset), _share(*went[:2]), _share(*went[2:])
    light = [_Light(*map(float, row)) for row in zip(*shares, strict=True)]
    return np.stack([torch.cat(part).numpy() for part in logits]), light


def _power(spectrum: Tensor) -> Tensor:
    """Summed over pictures and channels ``[H, W]``, without that of the mean, or of rounding."""
    power = spectrum.double().square().sum((0, 1))
    least = _NO_POWER * power[0, 0]
    power[0, 0] = 0
    return torch.where(power > least, power, 0)


def _share(part: Array, whole: Array) -> Array:
    """Quotient, NaN where there is no whole."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


@dataclass(frozen=True)
class _Judge:
    """Scores of logits, by the same draws of lesions for all of them."""

    dataset: LesionDataset
    whole: Array
    resamples: int
    level: float
    seed: int

    def scores(self, logits: Array) -> RingScores:
        judged = report(
            logits,
            self.dataset.targets.numpy(),
            classes=self.dataset.classes,
            groups=self.dataset.groups,
            resamples=self.resamples,
            level=self.level,
            seed=self.seed,
        )
        return RingScores(
            *(Score(getattr(judged, m), judged.intervals[m]) for m in RingScores._fields)
        )

    def change(self, logits: Array) -> RingScores:
        return RingScores(*(self._difference(logits, m) for m in RingScores._fields))

    def _difference(self, logits: Array, metric: str) -> Score:
        if metric == "auc" and len(self.dataset.targets.unique()) < 2:
            return Score(math.nan, Interval(math.nan, math.nan))
        found = bootstrap_difference(
            logits,
            self.whole,
            labels=self.dataset.targets.numpy(),
            groups=self.dataset.groups,
            metric=metric,
            resamples=self.resamples,
            level=self.level,
            generator=source(None, self.seed),
        )
        return Score(found.difference, found.interval)


def _drawn(generator: torch.Generator | None) -> int:
    """A seed of all draws, so that they are the same for each ring."""
    if generator is None:
        return 0
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def _signed(score: Score) -> str:
    return f"{score.value:+.3f} {score.interval:+.3f}"
