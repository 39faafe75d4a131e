"""Optics in two stages: learn the kernel that helps, then the element that makes it.

Training an element by a distant loss is harder than training a free kernel. Chang et al. (Sci Rep
8:12324, 2018) therefore learn the kernel first, and shape the element to it::

    fit (kernel) ──psf──► fit_psf (element) ──system──► fit (element, and all that follows)
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from classify import LesionDataset
from classify.data.arrays import as_integer
from joint.device import usable_device
from joint.objective import Objective
from joint.parallel import rank
from joint.saved.checkpoint import CheckpointError, digest, load_checkpoint, save_checkpoint
from joint.saved.folder import RunFolder, as_path, hold
from joint.system import ImagingSystem
from optics import IncoherentImaging, LearnedKernel
from optics.quantity import check_scalar

from .history import History
from .listen import EpochListener, listeners
from .loop import fit, goes_on
from .preflight import check_given, check_run
from .training import Training

__all__ = ["FittedPSF", "TwoStage", "fit_psf", "two_stage"]

_KERNEL, _ELEMENT = "kernel", "element"
_PSF_FILE = "psf.safetensors"  # in the folder of the second training


@dataclass(frozen=True)
class FittedPSF:
    """How near an element came to a point-spread function."""

    overlap: tuple[float, ...]
    """After each step, ``sum sqrt(psf * target)``, mean over the channels: at most the root of the
    light that reaches the window, and 1 where the two are equal."""


@dataclass(frozen=True)
class TwoStage:
    """A system whose element was shaped to a learned kernel, and how it came about."""

    system: ImagingSystem
    """Trained, with the element; with the kernel still, where the run was asked to stop before."""
    kernel: History
    """Training with the free kernel."""
    psf: FittedPSF | None
    """The element on its way to the kernel; None where it was not begun."""
    element: History | None
    """Training with the element in place of the kernel; None where it was not begun."""

    @property
    def interrupted(self) -> bool:
        """The run was asked to stop, saved, and can be resumed."""
        return self.element is None or self.element.interrupted


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def fit_psf(
    imaging: IncoherentImaging,
    target: Tensor,
    *,
    steps: int = 300,
    learning_rate: float = 0.05,
) -> FittedPSF:
    """Shape the elements of a pupil so that its PSF has the form of ``target``.

    What is raised is the overlap (Bhattacharyya's coefficient) of the two distributions of light;
    it asks for the form and, light that misses the window being lost, for throughput.

    Parameters
    ----------
    imaging : IncoherentImaging
        Its trainable parameters are moved.
    target : Tensor ``[C, h, w]`` or ``[h, w]``
        Non-negative; scaled to a sum of 1. A smaller or larger window than that of the pupil is
        centred in it.
    steps : int
        Steps of Adam.
    learning_rate : float
        In the units of the parameters: radians of a phase mask.

    Raises
    ------
    TypeError
        For what is no such pupil, no Tensor or no number.
    ValueError
        For a target that is negative, dark (also in the window of the pupil alone) or of other
        channels, an element that does not learn, no step or no rate.
    """
    parameters = _learning(imaging, steps, learning_rate)
    with torch.no_grad():
        shape = imaging.psf().shape
    wanted = _framed(target, shape)
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    overlaps, overlap = [], _overlap(imaging, wanted)
    for _ in range(steps):
        optimiser.zero_grad()
        (1 - overlap).backward()
        optimiser.step()
        overlap = _overlap(imaging, wanted)
        overlaps.append(float(overlap.detach()))
    return FittedPSF(tuple(overlaps))


def _learning(imaging: IncoherentImaging, steps: int, learning_rate: float) -> list[nn.Parameter]:
    """What of a pupil is moved; refuses what cannot be."""
    if not isinstance(imaging, IncoherentImaging):
        raise TypeError(
            f"what is shaped must be an optics.IncoherentImaging, not {type(imaging).__name__}; "
            "joint.build_front_end makes one, as of joint.LensConfig(element='phase')"
        )
    parameters = [p for p in imaging.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("fit_psf needs an element that learns; this front end has no parameters")
    check_scalar("learning_rate", learning_rate)
    if (as_integer(steps) or 0) < 1 or not 0 < learning_rate < math.inf:
        raise ValueError(
            "steps must be at least 1 and learning_rate positive and finite, not "
            f"{steps} and {learning_rate}"
        )
    return parameters


def _overlap(imaging: IncoherentImaging, wanted: Tensor) -> Tensor:
    psf = imaging.psf(distance=imaging.working_distances)  # in focus without them
    # The root has no slope at 0: a hundred-millionth of the light keeps it finite.
    return (psf.clamp_min(0) * wanted + 1e-16).sqrt().sum((-2, -1)).mean()


def two_stage(  # noqa: PLR0913 - those of two trainings and what lies between them
    system: ImagingSystem,
    element: IncoherentImaging,
    train: LesionDataset,
    validation: LesionDataset,
    *,
    objective: Objective | None = None,
    config: Training | None = None,
    teacher: ImagingSystem | None = None,
    psf_steps: int = 300,
    psf_learning_rate: float = 0.05,
    directory: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] | None = None,
    on_epoch: EpochListener | Sequence[EpochListener] | None = None,
    progress: bool = True,
) -> TwoStage:
    """Train a system with a free kernel, shape an element to that kernel, and go on with it.

    Parameters
    ----------
    system : ImagingSystem
        Its front end is a :class:`optics.LearnedKernel` of one exposure (``signed=False``) that
        does not mix channels: what a PSF can be. It is trained in place, and keeps its kernel.
    element : IncoherentImaging
        Takes the kernel's place; trained in place.
    train, validation, objective, config, teacher, device, on_epoch, progress
        As in :func:`joint.fit`, for both trainings, one after the other.
    psf_steps, psf_learning_rate
        As in :func:`fit_psf`.
    directory : path, optional
        Of the run folders ``kernel`` and ``element``; the second keeps how the element was shaped,
        too (``psf.safetensors``).
    resume : bool
        Continue them, whichever of them was interrupted. Once the second has begun, the element
        has the weights of its checkpoint, whatever it is given with, and is not shaped again.
    stop : callable, optional
        As in :func:`joint.fit`; asked in both trainings, not while the PSF is shaped in between.

    Raises
    ------
    TypeError, ValueError
        As :func:`joint.fit` and :func:`fit_psf`, of either training; when the front end is no such
        kernel, or the element does not suit it. All of it before any step is taken.
    CheckpointError
        As :func:`joint.fit`; when the second folder holds a run, before the first begins; when its
        element was shaped with other steps, at another rate, to another kernel, or to one of a
        first training of other epochs.
    """
    objective = Objective() if objective is None else objective
    config = Training() if config is None else config
    check_given(system, train, validation, objective, config, teacher, stop)
    told = listeners(on_epoch)
    kernel = system.front_end
    if not isinstance(kernel, LearnedKernel) or kernel.exposures != 1 or kernel.mix_channels:
        raise ValueError(
            "two_stage begins with a system whose front end is LearnedKernel(signed=False), one "
            "exposure that does not mix the channels, as of a lens; this one has "
            f"{kernel or 'none'}"
        )
    _learning(element, psf_steps, psf_learning_rate)
    if element.out_channels != kernel.out_channels or element.in_channels != kernel.in_channels:
        raise ValueError(
            f"the element images {element.in_channels} channels, the kernel {kernel.in_channels}; "
            "build it with as many wavelengths"
        )
    device = usable_device(device)
    if teacher is not None:
        teacher.to(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each training says it, too
        both = _with_element(system.to(device), element.to(device))
        check_run(both, train, validation, objective, config, teacher=teacher)
    del both  # or a second classifier lies on the device while the first is trained
    training = partial(
        fit, objective=objective, config=config, teacher=teacher, resume=resume, device=device,
        stop=stop, on_epoch=told, progress=progress,
    )  # fmt: skip
    with ExitStack() as held:
        folders: list[RunFolder | None] = [None, None]
        if directory is not None:
            place = as_path(directory)
            folders = [held.enter_context(hold(place / name)) for name in (_KERNEL, _ELEMENT)]
            for folder in folders:  # of both, before any is begun
                goes_on(folder, resume=resume)
        by = {
            "psf_steps": int(psf_steps),
            "psf_learning_rate": float(psf_learning_rate),
            # Of a longer first training, the second would have begun from another kernel.
            "epochs": config.epochs,
        }
        begun = _shaped_before(folders[1], by) if goes_on(folders[1], resume=resume) else None
        first = training(system, train, validation, directory=folders[0])
        if first.interrupted:
            return TwoStage(system, first, None, None)
        # The weights and not the kernel, which another device rounds otherwise.
        of = digest(kernel)
        if begun is None:
            target = kernel.kernels.detach()[0, 0, :, 0]  # convolved with: the image of a point
            shaped = fit_psf(element, target, steps=psf_steps, learning_rate=psf_learning_rate)
            if folders[1] is not None and rank() == 0:
                overlap = torch.tensor(shaped.overlap, dtype=torch.float64)
                head = by | {"kernel": of}
                save_checkpoint(folders[1].path / _PSF_FILE, {"overlap": overlap}, head)
        elif begun[1] != of:
            raise CheckpointError(
                f"the element in {folders[1]} was shaped to another kernel than the one in "
                f"{folders[0]}: put back the folders of one training, or train in another directory"
            )
        else:
            shaped = begun[0]
        second = _with_element(system, element)
        after = training(second, train, validation, directory=folders[1])
    return TwoStage(second, first, shaped, after)


def _shaped_before(folder: RunFolder | None, by: dict[str, Any]) -> tuple[FittedPSF, str]:
    """How the element was shaped with which the second training of a folder began, to which kernel.

    Raises
    ------
    CheckpointError
        When that was done in another way, or its file is not there.
    """
    assert folder is not None  # or no training goes on
    tensors, head = load_checkpoint(folder.path / _PSF_FILE)
    for name, now in by.items():
        if head.get(name) != now:
            raise CheckpointError(
                f"the element in {folder} was shaped to a kernel with {name}={head.get(name)}, not "
                f"{now}: resume it as it was, or train in another directory"
            )
    return FittedPSF(tuple(tensors["overlap"].tolist())), str(head.get("kernel"))


def _with_element(system: ImagingSystem, element: IncoherentImaging) -> ImagingSystem:
    """A copy of the system with the element for its front end, itself and no copy."""
    second = copy.deepcopy(system)
    second.front_end = element
    return second


def _framed(target: Tensor, shape: torch.Size) -> Tensor:
    """Centre a target in the window of a PSF and scale each channel to a sum of 1."""
    if not isinstance(target, Tensor):
        raise TypeError(
            f"target must be a Tensor, not {type(target).__name__}: torch.as_tensor makes one"
        )
    if target.ndim == 2:
        target = target.expand(shape[0], *target.shape)
    if target.ndim != 3 or len(target) != shape[0]:
        raise ValueError(
            f"target must be [h, w] or [{shape[0]}, h, w] like the PSF, not {tuple(target.shape)}"
        )
    if not bool((target >= 0).all()) or not bool((target.sum((-2, -1)) > 0).all()):
        raise ValueError("target must be an irradiance: non-negative, and some light a channel")
    framed = target.new_zeros(shape)
    ours, theirs = [], []
    for have, want in zip(shape[1:], target.shape[1:], strict=True):
        first = have // 2 - want // 2
        ours.append(slice(max(first, 0), min(first + want, have)))
        theirs.append(slice(max(-first, 0), max(-first, 0) + ours[-1].stop - ours[-1].start))
    framed[(slice(None), *ours)] = target[(slice(None), *theirs)]
    light = framed.sum((-2, -1), keepdim=True)
    if not bool((light > 0).all()):
        raise ValueError(
            f"all light of a channel of the target lies outside of the middle {tuple(shape[1:])} "
            "pixels, the window of the PSF: move it there, or give the pupil a larger psf_size"
        )
    return framed / light
