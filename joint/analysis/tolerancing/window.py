"""Light of imperfect devices that falls outside the window of the simulated PSF.

::

    design, and requested levels ─► refocused ─► light_cut ─ compared ─► one warning
"""

from collections.abc import Mapping, Sequence

import torch

from joint.caution import caution
from joint.feed import derive_seed
from joint.judge.light_cut import Cut, cut_in_words, light_cut
from joint.system import ImagingSystem

from .imperfection import Imperfection, pupil_of
from .merit import places_of_focus
from .perturbation import perturbed

__all__ = ["warn_of_what_is_cut"]


def warn_of_what_is_cut(
    system: ImagingSystem,
    levels: Mapping[Imperfection, Sequence[float]],
    *,
    channels: int,
    refocus: float = 0.0,
    seed: int = 0,
) -> None:
    """Warn of levels, each by itself, at which the window of the PSF cuts off too much light.

    That is more than for the design. With ``refocus``, a device and the design are each at the
    focus, within that range, at which they lose least. Patterns that are random in each sample,
    such as ``phase_error``, are left out; so are tilts, whose PSF differs from place to place.

    Warns
    -----
    UserWarning
        Once, with the share that is lost at a level that is furthest from the design.
    """
    if pupil_of(system) is None:
        return
    own = _least(system, refocus, channels)
    told, found = "", dict[str, list[str]]()
    for kind, steps in levels.items():
        # What is random from sample to sample fills the period of any pupil, by itself.
        if kind.where in ("field", "around") or (kind.drawn and kind.shared is None):
            continue
        nominal = kind.nominal(system)
        for step in sorted({*steps}, key=lambda step: -abs(step - nominal)):
            if step == nominal:
                continue
            drawing = torch.Generator().manual_seed(derive_seed(seed, "device", 0, kind.name))
            made = perturbed(system, kind, step, channels=channels, generator=drawing)
            pupil = pupil_of(made)
            assert pupil is not None
            this = f"At {kind.name} = {step:g} {kind.unit} this"
            cut = cut_in_words(
                pupil, _least(made, refocus, channels), than=own, of="of the design", this=this
            )
            if cut is not None:
                told = told or cut
                found.setdefault(kind.name, []).append(f"{step:g}")
    if found:
        where = "; ".join(f"{name} = {', '.join(steps)}" for name, steps in found.items())
        caution(f"{told} So it is at {where}.")


def _least(system: ImagingSystem, refocus: float, channels: int) -> Cut:
    """Light cut off for a device, at the focus within ``refocus`` where it is least."""
    as_it_is = light_cut(system.front_end)
    pupil = pupil_of(system)
    assert pupil is not None
    if refocus == 0 or cut_in_words(pupil, as_it_is) is None:
        return as_it_is
    drawing = torch.Generator()  # nothing is drawn
    focused = (
        perturbed(system, "defocus", waves, channels=channels, generator=drawing)
        for waves in places_of_focus(refocus)
    )
    return min((light_cut(made.front_end) for made in focused), key=sum)
