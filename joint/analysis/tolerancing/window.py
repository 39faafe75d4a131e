"""Light that imperfect devices send beyond the window of their PSF, where the simulation ends.

::

    levels that are asked ─► perturbed ─► what_is_cut ─► one warning
"""

import warnings
from collections.abc import Mapping, Sequence

import torch

from joint.config.lens import what_is_cut
from joint.feed import derive_seed
from joint.system import ImagingSystem

from .imperfection import Imperfection, pupil_of
from .perturbation import KINDS, perturbed

__all__ = ["warn_of_what_is_cut"]


def warn_of_what_is_cut(
    system: ImagingSystem,
    levels: Mapping[Imperfection, Sequence[float]],
    *,
    channels: int,
    refocus: float = 0.0,
    seed: int = 0,
) -> None:
    """Say at which levels, each by itself, a PSF is not that of the device as it would be.

    A defocus that ``refocus`` takes away is none, and patterns that are random from sample to
    sample, as ``phase_error``, are left out.

    Warns
    -----
    UserWarning
        Once, with the share that is lost at a level that is furthest from the design.
    """
    if pupil_of(system) is None:
        return
    own = what_is_cut(system.front_end)
    told, found = "", dict[str, list[str]]()
    for kind, steps in levels.items():
        # What is random from sample to sample fills the period of any pupil, by itself.
        if kind.where == "around" or (kind.drawn and kind.shared is None):
            continue
        nominal = kind.nominal(system)
        for step in sorted({*steps}, key=lambda step: -abs(step - nominal)):
            compensated = kind is KINDS["defocus"] and abs(step) <= refocus
            if step == nominal or compensated:
                continue
            drawing = torch.Generator().manual_seed(derive_seed(seed, "device", 0, kind.name))
            made = perturbed(system, kind, step, channels=channels, generator=drawing)
            cut = what_is_cut(made.front_end)
            if cut not in (None, own):  # what the design loses itself is no error of a device
                told = told or f"at {kind.name} = {step:g} {kind.unit}: {cut}"
                found.setdefault(kind.name, []).append(f"{step:g}")
    if found:
        where = "; ".join(f"{name} = {', '.join(steps)}" for name, steps in found.items())
        warnings.warn(f"{told} So it is at {where}.", UserWarning, stacklevel=2)
