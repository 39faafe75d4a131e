"""Optics trained in two stages: first a free kernel, then an element shaped to that kernel.

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
from joint.saved.folder import RunFolder, as_path, lock_run
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
    """Result of :func:`fit_psf`: how closely an element approached a point-spread function."""

    overlap: tuple[float, ...]
    """Overlap after each step, ``sum sqrt(psf * target)``, mean over the channels. It is at most
    the square root of the share of light in the window, and 1 if PSF and target are equal."""


@dataclass(frozen=True)
class TwoStage:
    """Result of :func:`two_stage`: the trained system, and the records of its training."""

    system: ImagingSystem
    """The trained system with the element; still with the kernel if the run was stopped before."""
    kernel: History
    """Record of the training with the free kernel."""
    psf: FittedPSF | None
    """Record of shaping the element to the kernel; None if that was not begun."""
    element: History | None
    """Record of the training with the element in place of the kernel; None if not begun."""

    @property
    def interrupted(self) -> bool:
        """Whether the run was stopped on request; with a directory it is saved."""
        return self.element is None or self.element.interrupted


@torch.inference_mode(False)  # gradients, whatever mode the caller is in
def fit_psf(
    imaging: IncoherentImaging,
    target: Tensor,
    *,
    steps: int = 300,
    learning_rate: float = 0.05,
) -> FittedPSF:
    """Train the elements of a pupil so that its PSF has the form of ``target``.

    The overlap (Bhattacharyya coefficient) of the two distributions of light is maximised. It
    favours the form of the target and, because light outside the window is lost, throughput.

    Parameters
    ----------
    imaging : IncoherentImaging
        Its trainable parameters are changed in place.
    target : Tensor ``[C, h, w]`` or ``[h, w]``
        Non-negative; scaled to a sum of 1. If its window is smaller or larger than that of the
        pupil, it is centred.
    steps : int
        Steps of Adam.
    learning_rate : float
        In the units of the parameters: radians of a phase mask.

    Raises
    ------
    TypeError
        When an argument is no IncoherentImaging, Tensor or number, respectively.
    ValueError
        For a target that is negative, dark (or dark within the window of the pupil) or has another
        number of channels; when no parameter is trainable; for steps that are no whole number of 1
        or more, or a learning rate that is not positive and finite.
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
    """The trainable parameters of a pupil; an error if there are none."""
    if not isinstance(imaging, IncoherentImaging):
        raise TypeError(
            f"imaging must be an optics.IncoherentImaging, not {type(imaging).__name__}; "
            "joint.build_front_end makes one, for example of joint.LensConfig(element='phase')"
        )
    parameters = [p for p in imaging.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("fit_psf needs a trainable element; this front end has no parameters")
    check_scalar("learning_rate", learning_rate)
    if (as_integer(steps) or 0) < 1 or not 0 < learning_rate < math.inf:
        raise ValueError(
            "steps must be at least 1 and learning_rate positive and finite, not "
            f"{steps} and {learning_rate}"
        )
    return parameters


def _overlap(imaging: IncoherentImaging, wanted: Tensor) -> Tensor:
    psf = imaging.psf(distance=imaging.working_distances)  # in focus without them
    # The slope of the square root is infinite at 0: a hundred-millionth of the light limits it.
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
    """Train a system with a free kernel, shape an element to that kernel, and train with it.

    Parameters
    ----------
    system : ImagingSystem
        Its front end is a :class:`optics.LearnedKernel` of one exposure (``signed=False``) that
        does not mix channels, so that a PSF can take its form. It is trained in place, and keeps
        its kernel.
    element : IncoherentImaging
        Replaces the kernel in the second training; trained in place.
    train, validation, objective, config, teacher, device, on_epoch, progress
        As in :func:`joint.fit`, for both trainings, one after the other.
    psf_steps, psf_learning_rate
        As in :func:`fit_psf`.
    directory : path, optional
        Parent of the run folders ``kernel`` and ``element``; the second also records how the
        element was shaped (``psf.safetensors``).
    resume : bool
        Continue whichever training was interrupted. Once the second has begun, the element takes
        the weights of its checkpoint, whatever its own are, and is not shaped again.
    stop : callable, optional
        As in :func:`joint.fit`; called in both trainings, but not while the element is shaped.

    Raises
    ------
    TypeError, ValueError
        As :func:`joint.fit` and :func:`fit_psf`, for either training; when the front end is no such
        kernel, or the element does not suit it. All this is checked before the first step.
    CheckpointError
        As :func:`joint.fit`; when the second folder already holds a run; when it has lost the
        record of how its element was shaped, and it is to be continued; when its element was shaped
        with other steps, another learning rate or to another kernel, or when the first
        training had another number of epochs.
    """
    objective = Objective() if objective is None else objective
    config = Training() if config is None else config
    check_given(system, train, validation, objective, config, teacher, stop)
    told = listeners(on_epoch)
    kernel = system.front_end
    if not isinstance(kernel, LearnedKernel) or kernel.exposures != 1 or kernel.mix_channels:
        raise ValueError(
            "two_stage starts with a system whose front end is LearnedKernel(signed=False), one "
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
        warnings.simplefilter("ignore")  # each training repeats these warnings
        both = _with_element(system.to(device), element.to(device))
        check_run(both, train, validation, objective, config, teacher=teacher)
    del both  # otherwise a second classifier stays on the device during the first training
    training = partial(
        fit, objective=objective, config=config, teacher=teacher, resume=resume, device=device,
        stop=stop, on_epoch=told, progress=progress,
    )  # fmt: skip
    with ExitStack() as held:
        folders: list[RunFolder | None] = [None, None]
        if directory is not None:
            place = as_path(directory)
            folders = [held.enter_context(lock_run(place / name)) for name in (_KERNEL, _ELEMENT)]
        on = [goes_on(folder, resume=resume) for folder in folders]  # both, before any is begun
        by = {
            "psf_steps": int(psf_steps),
            "psf_learning_rate": float(psf_learning_rate),
            # After a longer first training, the second would start from another kernel.
            "epochs": config.epochs,
        }
        begun = _shaped_before(folders[1], by) if on[1] else None
        first = training(system, train, validation, directory=folders[0])
        if first.interrupted:
            return TwoStage(system, first, None, None)
        # The weights and not the kernel, which another device rounds differently.
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
    """How the element of a folder's second training was shaped, and the digest of the kernel.

    Raises
    ------
    CheckpointError
        When it was shaped with other settings, or when the file is missing or damaged.
    """
    assert folder is not None  # a training can only be resumed in a folder
    try:
        tensors, head = load_checkpoint(folder.path / _PSF_FILE)
    except CheckpointError as error:
        raise type(error)(
            f"{error}: it says how the element in {folder} was shaped, of which the weights are in "
            "the checkpoint there. Put the file back; or train on with joint.fit(..., "
            f"directory={str(folder)!r}, resume=True), and the element in place of the kernel; or "
            "train in another directory"
        ) from error
    for name, now in by.items():
        if head.get(name) != now:
            raise CheckpointError(
                f"the element in {folder} was shaped to a kernel with {name}={head.get(name)}, not "
                f"{now}: resume it with the same settings, or train in another directory"
            )
    return FittedPSF(tuple(tensors["overlap"].tolist())), str(head.get("kernel"))


def _with_element(system: ImagingSystem, element: IncoherentImaging) -> ImagingSystem:
    """A copy of the system with the element as front end; the element is not copied."""
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
        raise ValueError("target must be non-negative, with some light in each channel")
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
