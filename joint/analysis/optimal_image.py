"""The picture with the highest score of a class, within a budget of light and bits.

::

    raw ─sigmoid─► 0..1 ─light budget─► scene ─► camera ─► codec ─► classifier ─► logit of the class
     ▲                                                       bits      │
     └──────────── gradient of logit - roughness - rate * bits ◄───────┘

The result shows what the *whole* system responds to: if the front end or the codec loses fine
detail, the optimal scene has none. A single picture depends on its start and on the training; make
several.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from joint.device import device_of
from joint.feed import generators
from joint.kinds import check_system
from joint.stages import Encoding
from joint.system import ImagingSystem, evaluating
from optics import linear_to_srgb, srgb_to_linear
from optics.quantity import whole_number

__all__ = ["OptimalImage", "optimal_image", "total_variation"]

# Smallest distance of the bounded scene from black and white, where its gradient is 0.
_MARGIN = 1e-3


@dataclass(frozen=True)
class OptimalImage:
    """Result of :func:`optimal_image`: scenes with high scores of a class."""

    target: int
    """The class."""
    scenes: Tensor
    """Best scene of each start ``[B, C, H, W]`` in 0..1, encoded as the system's scenes."""
    handed: Tensor
    """Input of the classifier for these scenes ``[B, C', H', W']``."""
    logits: Tensor
    """Class scores of these scenes ``[B, K]``."""
    best: Tensor
    """Best value of the objective so far, after each step ``[steps + 1, B]``; it never falls."""
    light: Tensor
    """Mean linear radiance of the scenes ``[B]``, full scale being 1."""
    bpp: Tensor | None
    """Bits per pixel of the codec ``[B]``; None without one."""
    encoding: Encoding = "srgb"
    """Encoding of scenes and ``handed``: that of the system."""


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, along rows plus along columns ``[B]``.

    Rudin, Osher, Fatemi, Physica D 60:259 (1992), the anisotropic form, for each pixel. Along an
    axis of one pixel it is 0.
    """

    def along(axis: int) -> Tensor:
        steps = images.diff(dim=axis).abs().flatten(1)
        return steps.mean(1) if steps.shape[1] > 0 else steps.sum(1)  # the mean of none is NaN

    return along(-2) + along(-1)


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def optimal_image(
    system: ImagingSystem,
    start: Tensor,
    target: int,
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
    roughness: float = 0.0,
    rate: float = 0.0,
    light: float | None = None,
    seed: int = 0,
) -> OptimalImage:
    """Maximise the logit of a class over the scene (Erhan et al. 2009), through every stage.

    The objective is ``logit - roughness * total_variation - rate * bpp``. The noise of the sensor
    is the same at every step. The system is not changed.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier; evaluated in evaluation mode.
    start : Tensor ``[B, C, H, W]`` in 0..1
        Initial scenes, encoded as the system's scenes: pictures, or grey with some noise. They keep
        their dtype if the system's weights have it too, otherwise they become float32; steps are
        computed in float32 at least.
    target : int
        The class.
    steps : int
        Steps of Adam.
    learning_rate : float
        Step size for the raw scene, whose sigmoid is the scene.
    roughness : float
        Price of the total variation of the scene, logits.
    rate : float
        Price of the codec's bits, logits/(bit/pixel).
    light : float, optional
        Largest mean linear radiance of a scene, full scale being 1; a brighter scene is dimmed as a
        whole. By default the scene is only limited to 0..1.
    seed : int
        Source of the noise.

    Returns
    -------
    OptimalImage

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``start`` not a Tensor.
    ValueError
        For a system without a classifier, an unknown class, scenes out of range, a
        rate without a codec whose bits have a gradient, or an option out of range.
    """
    _check(system, start, steps, learning_rate, roughness, rate, light)
    device = device_of(system)
    dtype = _precision(system, start)
    start = start.detach().to(device, torch.promote_types(dtype, torch.float32))
    raw = torch.logit(start.clamp(_MARGIN, 1 - _MARGIN)).requires_grad_()
    optimiser = torch.optim.Adam([raw], lr=learning_rate)
    seeds = [seed + row for row in range(len(start))]

    def look() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        scene = _within(torch.sigmoid(raw), system, light)
        output = system(scene.to(dtype), generator=generators(seeds, device))
        assert output.logits is not None
        if not 0 <= target < output.logits.shape[1]:
            raise ValueError(
                f"target must be a class 0..{output.logits.shape[1] - 1}, not {target}"
            )
        value = output.logits[:, target] - roughness * total_variation(scene)
        bpp = None if output.coded is None else output.coded.bpp
        if rate > 0 and bpp is not None:
            if not bpp.requires_grad:
                raise ValueError(
                    f"the bits of {type(system.codec).__name__} have no gradient: set rate=0, or "
                    "use a learned codec"
                )
            value = value - rate * bpp
        return value, scene.to(dtype), output.handed, output.logits, bpp

    with evaluating(system), torch.enable_grad():
        best = start.new_full((len(start),), -math.inf)
        kept = [torch.zeros(0)] * 4
        history = []
        for step in range(steps + 1):
            value, *found = look()
            with torch.no_grad():
                better = value > best
                best = torch.where(better, value, best)
                history.append(best.clone())
                if step == 0:
                    kept = [_copy(part) for part in found]
                else:
                    for old, new in zip(kept, found, strict=True):
                        if old is not None and new is not None:
                            old[better] = new[better].to(old)
            if step < steps:
                (raw.grad,) = torch.autograd.grad(-value.sum(), raw)
                optimiser.step()
    scenes, handed, logits, bpp = kept
    assert scenes is not None
    assert handed is not None
    assert logits is not None
    return OptimalImage(
        target=target,
        scenes=scenes,
        handed=handed,
        logits=logits,
        best=torch.stack(history),
        light=_radiance(scenes.to(start), system).flatten(1).mean(1),
        bpp=bpp,
        encoding=system.encoding,
    )


def _precision(system: ImagingSystem, start: Tensor) -> torch.dtype:
    """That of the start where weights of the system have it too, else single precision."""
    own = {parameter.dtype for parameter in system.parameters()}
    return start.dtype if start.dtype in own else torch.float32


def _copy(part: Tensor | None) -> Tensor | None:
    return None if part is None else part.detach().clone()


def _radiance(scene: Tensor, system: ImagingSystem) -> Tensor:
    return srgb_to_linear(scene) if system.encoding == "srgb" else scene


def _within(scene: Tensor, system: ImagingSystem, light: float | None) -> Tensor:
    """Dim scenes as a whole to the budget of light."""
    if light is None:
        return scene
    radiance = _radiance(scene, system)
    mean = radiance.flatten(1).mean(1)[:, None, None, None]
    radiance = radiance * (light / mean).clamp_max(1)
    return linear_to_srgb(radiance) if system.encoding == "srgb" else radiance


def _check(
    system: ImagingSystem,
    start: Tensor,
    steps: int,
    learning_rate: float,
    roughness: float,
    rate: float,
    light: float | None,
) -> None:
    check_system(system)
    if not isinstance(start, Tensor):
        raise TypeError(
            f"start must be a Tensor, float scenes [B, C, H, W], not {type(start).__name__}"
        )
    if system.classifier is None:
        raise ValueError("an optimal image needs a classifier, but the system has none")
    if light is not None and getattr(system.front_end, "phase_depth", None) is not None:
        raise ValueError(
            "scenes of this front end are transparent objects, not light (phase_depth): leave "
            "light out"
        )
    if start.ndim != 4 or not start.is_floating_point() or len(start) == 0:
        raise ValueError(
            f"start must be float scenes [B, C, H, W], not {start.dtype} {list(start.shape)}"
        )
    if not bool(((start >= 0) & (start <= 1)).all()):
        raise ValueError("start must lie in 0..1")
    whole_number("steps", steps)
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    if not (roughness >= 0 and rate >= 0):
        raise ValueError(f"roughness and rate must be 0 or more, not {roughness} and {rate}")
    if rate > 0 and system.codec is None:
        raise ValueError(f"rate={rate:g} weights the bits of a codec, but the system has none")
    if light is not None and not 0 < light <= 1:
        raise ValueError(f"light must lie in (0, 1], the share of full scale, not {light}")
