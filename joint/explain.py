"""Explanations of a classification: maps on the scene, and on every plane behind it.

::

    scene ─► irradiance ─► raw ─► measurement ─► handed ─► feature map ─► logits
      │          │          │          │            │           └── grad_cam
      │          └──────────┴──────────┴────────────┴────────────── integrated_gradients
      └── occlusion

All of them explain the system in evaluation mode, restore the mode of every module, leave no hook
behind and change no parameter's gradient. If there is noise, one realisation of it is explained:
each pass of a call has the same noise, that of the generator's state, which does not change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from classify.backbone import TracedLogits
from optics import Generators
from optics.quantity import single, whole_number

from .kinds import check_pictures
from .planes import Noise, Plane, reach
from .system import ImagingSystem, as_weights, evaluating

__all__ = [
    "ActivationMap",
    "Attribution",
    "OcclusionMap",
    "grad_cam",
    "integrated_gradients",
    "occlusion",
]


@runtime_checkable
class _Traceable(Protocol):
    def trace(self, image: Tensor) -> TracedLogits: ...


@dataclass(frozen=True)
class ActivationMap:
    """Grad-CAM map: where the last feature map supports a class."""

    maps: Tensor
    """Map on the scene ``[B, H, W]``, non-negative, in units of the score for each cell of
    ``coarse``."""
    coarse: Tensor
    """Map on the grid of the feature map ``[B, h, w]``."""
    target: Tensor
    """Class that each map explains ``[B]``."""
    logits: Tensor
    """Class scores of the explained pass ``[B, K]``."""

    def __str__(self) -> str:
        rows, columns = self.coarse.shape[-2:]
        blind = ": one cell for the whole scene shows no place; use an earlier layer"
        return (
            f"support for a class in {len(self.maps)} scenes of {self.maps.shape[-2]} x "
            f"{self.maps.shape[-1]}, from a feature map of {rows} x {columns}"
            f"{blind if rows * columns == 1 else ''}"
        )


@dataclass(frozen=True)
class Attribution:
    """Contribution of each value of a plane to the score of a class, relative to a baseline."""

    plane: Plane
    """Plane of the values."""
    values: Tensor
    """Signed contributions to the score in the shape of the plane ``[B, C, H, W]``; the exposures
    of ``irradiance`` and ``raw`` are channels."""
    target: Tensor
    """Class whose score is explained ``[B]``."""
    score: Tensor
    """Logit of that class ``[B]``."""
    baseline_score: Tensor
    """Logit of that class at the baseline ``[B]``."""
    residual: Tensor
    """Sum of ``values`` less ``score - baseline_score`` ``[B]``; 0 if they are complete."""

    @property
    def maps(self) -> Tensor:
        """Contributions summed over the channels ``[B, H, W]``."""
        return self.values.sum(1)

    def __str__(self) -> str:
        lines = [f"shares of a score on the {self.plane}, {list(self.values.shape)}"]
        rises = (self.score - self.baseline_score).tolist()
        for number, rise in enumerate(rises):
            lines.append(
                f"picture {number}: class {int(self.target[number])}, score "
                f"{float(self.baseline_score[number]):.3f} at the baseline, "
                f"{float(self.score[number]):.3f} here; the shares sum to "
                f"{rise + float(self.residual[number]):.3f} of {rise:.3f}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class OcclusionMap:
    """Drop of the score of a class when a square of the scene is covered."""

    maps: Tensor
    """Mean of ``drops`` over the squares that cover a pixel, ``[B, H, W]``."""
    drops: Tensor
    """Score less covered score, for each row and column of squares ``[B, R, Q]``."""
    target: Tensor
    """Class of the score ``[B]``."""
    score: Tensor
    """Logit of that class with nothing covered ``[B]``."""

    def __str__(self) -> str:
        rows, columns = self.drops.shape[-2:]
        lines = [f"fall of a score behind {rows} x {columns} squares"]
        for number, drops in enumerate(self.drops):
            row, column = divmod(int(drops.argmax()), columns)
            lines.append(
                f"picture {number}: class {int(self.target[number])}, score "
                f"{float(self.score[number]):.3f}, falls by up to {float(drops.max()):.3f}, "
                f"behind square {row}, {column}"
            )
        return "\n".join(lines)


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def grad_cam(
    system: ImagingSystem,
    scenes: Tensor,
    *,
    target: int | Tensor | None = None,
    layer: nn.Module | None = None,
    generator: Generators | None = None,
) -> ActivationMap:
    """Map of where the last features support a class, Grad-CAM (Selvaraju et al., ICCV 2017).

    The map is ``relu(sum_k a_k A_k)`` of the feature maps ``A_k``, where ``a_k`` is the mean slope
    of the class's logit over map k. It is enlarged to the scene bilinearly. If the head is linear
    in the average of the map, as in most of :func:`classify.backbone`, ``h w a_k`` is the head's
    weight. The cost is one forward pass of the system and a backward pass from logits to map.

    Parameters
    ----------
    system : ImagingSystem
        Without ``layer``, its classifier must have ``trace``, which returns the logits and the
        feature map that they are a function of, as those of :func:`classify.backbone` do.
    scenes : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    target : int or Tensor ``[B]``, optional
        The class to explain, for all or for each picture; by default the predicted one.
    layer : nn.Module, optional
        A module of the classifier that returns a feature map ``[B, F, h, w]``, such as ``layer4``
        of torchvision's ResNets. It is needed for a classifier without ``trace``, or to choose
        another map. ``layer4`` has one cell per 32 pixels: for small pictures use ``layer2``,
        because a single cell shows no place.
    generator : torch.Generator, or one for each picture, optional
        State of the noise; by default that of seed 0.

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem, or ``scenes`` no Tensor.
    ValueError
        For a classifier without ``trace``, a layer that is no module of it, does not run exactly
        once or returns no feature map that the logits depend on, or scenes or classes that do not
        fit.
    """
    classifier = check_pictures(system, scenes)
    if layer is None and not isinstance(classifier, _Traceable):
        raise ValueError(
            f"grad_cam reads the feature map through classifier.trace(image) -> (logits, "
            f"features), which {type(classifier).__name__} does not have: name the layer of the "
            "map, with layer=system.classifier.<layer>, or use integrated_gradients"
        )
    if scenes.is_inference():
        scenes = scenes.clone()  # an ordinary tensor, which a backward pass may keep
    with evaluating(system), torch.no_grad():
        handed, _ = reach(system, scenes, "handed", Noise(generator, scenes.device))
        handed = as_weights(classifier, handed)
        if layer is not None:
            logits, features = _traced_at(classifier, layer, handed)
        else:
            assert isinstance(classifier, _Traceable)
            logits, features = classifier.trace(handed)
        classes = _targets(target, logits)
        with torch.enable_grad():
            score = _scores(logits, classes).sum()
        (slope,) = torch.autograd.grad(score, features, allow_unused=True)
        if slope is None:
            raise ValueError("the logits do not depend on the output of the layer: choose another")
        weight = slope.mean((-2, -1), keepdim=True)
        coarse = (weight * features).sum(1).relu()
        maps = functional.interpolate(coarse[:, None], scenes.shape[-2:], mode="bilinear")[:, 0]
    return ActivationMap(maps=maps, coarse=coarse.detach(), target=classes, logits=logits.detach())


def _traced_at(classifier: nn.Module, layer: nn.Module, image: Tensor) -> TracedLogits:
    """Logits as a function of a layer's output, which is a leaf of the graph; removes its hook."""
    if not any(module is layer for module in classifier.modules()):
        raise ValueError(
            f"layer must be a module of the system's classifier, but this {type(layer).__name__} "
            "is not"
        )
    found: list[Tensor] = []

    def leaf(_: nn.Module, __: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            given = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"the layer must return a feature map [B, F, h, w], but {type(layer).__name__} "
                f"returns {given}: choose one before the pooling"
            )
        # A copy, so that later layers may work in place, as ReLU(inplace=True) does.
        found.append(output.detach().requires_grad_())
        return found[-1].clone()

    hook = layer.register_forward_hook(leaf)
    try:
        with torch.enable_grad():
            logits = classifier(image.detach())
    finally:
        hook.remove()
    if len(found) != 1:
        raise ValueError(
            f"the layer must run once in a pass of the classifier, but this one ran {len(found)} "
            "times: choose another"
        )
    return TracedLogits(logits, found[0])


@torch.inference_mode(False)
def integrated_gradients(
    system: ImagingSystem,
    scenes: Tensor,
    *,
    plane: Plane = "scene",
    target: int | Tensor | None = None,
    baseline: float | Tensor | None = None,
    steps: int = 32,
    generator: Generators | None = None,
) -> Attribution:
    """Divide the score of a class among the values of a plane, by integrated gradients.

    The contributions are ``(x - b) int_0^1 f'(b + t (x - b)) dt`` (Sundararajan et al., ICML 2017),
    by Gauss-Legendre quadrature. ``x`` are the values of the plane for these scenes, and ``f`` is
    the logit as a function of them. The contributions sum to ``f(x) - f(b)``, up to
    :attr:`Attribution.residual`: exactly if the rest of the system is a polynomial of degree up to
    ``2 steps`` along the path, and within the error of the quadrature if it is piecewise smooth.
    The noise is the same along the path, so that ``f`` is a function.

    A converter, a rounded latent or a classical codec has the gradient of a surrogate. The
    contributions then sum to the rise of the surrogate, and the residual holds its difference to
    the staircase. More steps do not reduce it: for a linear classifier behind a converter it is at
    most one step of the converter times the sum of the weights' moduli.

    The cost is ``steps`` forward and backward passes of the stages behind the plane, two forward
    passes of them, and one of the stages before.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier.
    scenes : Tensor ``[B, C, H, W]``
        Pictures in 0..1. Half precision is converted to single if optics follow, which compute in
        single precision.
    plane : {"scene", "irradiance", "raw", "measurement", "handed"}
        A field of :class:`SystemOutput`.
    target : int or Tensor ``[B]``, optional
        The class to explain, for all or for each picture; by default the predicted one.
    baseline : float or Tensor, optional
        Reference values, of a shape that broadcasts to the plane's. By default 0, no light. A
        value that equals the baseline has no contribution: to see that of a dark lesion, use its
        surroundings as baseline, such as the mean colour ``[B, C, 1, 1]``.
    steps : int
        Points of the path.
    generator : torch.Generator, or one for each picture, optional
        State of the noise; by default that of seed 0.

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem, or ``scenes`` no Tensor.
    ValueError
        For a plane that the system does not have or that no gradient reaches, steps that are no
        whole number of 1 or more, or a baseline, scenes or classes that do not fit.
    """
    check_pictures(system, scenes)
    steps = whole_number("steps", steps)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    with evaluating(system):
        with torch.no_grad():
            value, score = reach(system, scenes, plane, Noise(generator, scenes.device))
            value = value.detach()
            if plane == "scene" and (system.front_end is not None or system.sensor is not None):
                # Optics convert half precision to single anyway, and the path and the contributions
                # need the digits.
                value = single(value)
            start = _broadcast(0.0 if baseline is None else baseline, value, "baseline")
            logits = score(value)
            classes = _targets(target, logits)
            end_score = _scores(logits, classes)
            start_score = _scores(score(start), classes)
            slope = torch.zeros_like(value)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            point = torch.lerp(start, value, (1 + node) / 2).requires_grad_()
            slope += weight / 2 * _slope(score, point, classes, plane)
    shares = (value - start) * slope
    residual = shares.flatten(1).sum(1) - (end_score - start_score)
    return Attribution(plane, shares, classes, end_score, start_score, residual)


def occlusion(
    system: ImagingSystem,
    scenes: Tensor,
    *,
    target: int | Tensor | None = None,
    patch: int = 16,
    stride: int | None = None,
    fill: float | Tensor | None = None,
    generator: Generators | None = None,
) -> OcclusionMap:
    """Occlusion map: cover one square of the scene after another (Zeiler and Fergus, ECCV 2014).

    It needs no slope, so that it can check the other maps where there are quantisers. The cost
    is one forward pass of the system for each square, and one more.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier.
    scenes : Tensor ``[B, C, H, W]``
        Pictures in 0..1.
    target : int or Tensor ``[B]``, optional
        The class to explain, for all or for each picture; by default the predicted one.
    patch : int, pixels
        Side of the square.
    stride : int, pixels, optional
        Distance from one square to the next, half a patch by default. The last squares end at the
        border, so that every pixel is covered.
    fill : float or Tensor, optional
        Values of a covered square, of a shape that broadcasts to the scenes'; by default the mean
        colour of each picture.
    generator : torch.Generator, or one for each picture, optional
        State of the noise; by default that of seed 0.

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem, or ``scenes`` no Tensor.
    ValueError
        For a patch that does not fit into the picture, a stride that leaves gaps, or a fill,
        scenes or classes that do not fit.
    """
    check_pictures(system, scenes)
    patch = whole_number("patch", patch)
    stride = stride if stride is None else whole_number("stride", stride)
    rows = _starts(scenes.shape[-2], patch, stride)
    columns = _starts(scenes.shape[-1], patch, stride)
    cover = scenes.mean((-2, -1), keepdim=True) if fill is None else fill
    cover = _broadcast(cover, scenes, "fill")
    noise = Noise(generator, scenes.device)
    with evaluating(system), torch.no_grad():
        _, judge = reach(system, scenes, "scene", noise)
        logits = judge(scenes)
        classes = _targets(target, logits)
        score = _scores(logits, classes)
        dtype = torch.promote_types(score.dtype, torch.float32)  # a count in bfloat16 stops at 256
        drops = score.new_zeros(len(scenes), len(rows), len(columns), dtype=dtype)
        total, count = (
            score.new_zeros(len(scenes), *scenes.shape[-2:], dtype=dtype) for _ in range(2)
        )
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                square = (..., slice(top, top + patch), slice(left, left + patch))
                covered = scenes.clone()
                covered[square] = cover[square]
                drops[:, i, j] = score - _scores(judge(covered), classes)
                total[square] += drops[:, i, j, None, None]
                count[square] += 1
    return OcclusionMap(maps=total / count, drops=drops, target=classes, score=score)


def _slope(
    score: Callable[[Tensor], Tensor], point: Tensor, classes: Tensor, plane: Plane
) -> Tensor:
    with torch.enable_grad():
        total = _scores(score(point), classes).sum()
    slope = None
    if total.requires_grad:
        (slope,) = torch.autograd.grad(total, point, allow_unused=True)
    if slope is None:
        raise ValueError(
            f"no gradient of the score reaches the plane {plane!r}, because a stage behind it has "
            "none; choose a plane behind that stage, or use occlusion"
        )
    return slope


def _targets(target: int | Tensor | None, logits: Tensor) -> Tensor:
    count, classes = logits.shape
    if target is None:
        return logits.detach().argmax(1)
    given = torch.as_tensor(target, device=logits.device)
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if not whole or given.shape not in ((), (count,)):
        raise ValueError(
            f"target must be a class, or a whole number for each of the {count} pictures, not "
            f"{given.dtype} {list(given.shape)}"
        )
    if given.min() < 0 or given.max() >= classes:
        raise ValueError(f"target must be in 0..{classes - 1}, not {given.tolist()}")
    return given.long().expand(count)


def _scores(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _broadcast(given: float | Tensor, like: Tensor, name: str) -> Tensor:
    tensor = torch.as_tensor(given, dtype=like.dtype, device=like.device).detach()
    try:
        return tensor.expand(like.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} {list(tensor.shape)} does not broadcast to {list(like.shape)}; give a number, "
            "or [B, C, 1, 1]"
        ) from None


def _starts(length: int, patch: int, stride: int | None) -> list[int]:
    step = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= length:
        raise ValueError(
            f"patch must be 1 to {length} pixels, the side of the picture, not {patch}"
        )
    if not 1 <= step <= patch:
        raise ValueError(f"stride must be 1 to {patch} pixels, to leave no gap, not {step}")
    last = length - patch
    return [*range(0, last, step), last]
