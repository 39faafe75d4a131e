"""Light that the simulation of a lens loses although the lens does not, as numbers and as text.

::

    front end ── light_cut ─► shares ── cut_in_words ─► a sentence, or None where it is little
"""

from typing import NamedTuple

import torch

import optics
from optics.performance.sampling import LOST, WRAPPED

__all__ = ["Cut", "cut_in_words", "light_cut", "what_is_cut"]

# Difference in lost light between two PSFs from which it is reported.
_MORE = 0.01


class Cut(NamedTuple):
    """Shares of the light that the simulation of a pupil misplaces, at its worst wavelength."""

    lost: float = 0.0
    """Share outside the window that holds the PSF."""
    wrapped: float = 0.0
    """Share outside the central half of the PSF's period."""


def light_cut(front_end: optics.FrontEnd | None, *, distance: float | None = None) -> Cut:
    """Light that the simulation of a pupil loses; zero without a pupil.

    Parameters
    ----------
    front_end : optics.FrontEnd, optional
    distance : float, metres, optional
        Distance of all scenes; by default the working distances of the front end, or its focus.
    """
    pupil = getattr(front_end, "pupil", None)
    if front_end is None or not isinstance(pupil, optics.Pupil):
        return Cut()
    with torch.no_grad():
        # Of this pupil: a custom front end may hold others.
        own = getattr(front_end, "working_distances", None)
        audit = optics.audit_sampling(pupil, distance=own if distance is None else distance)
        return Cut(float(audit.window_loss.max()), float(audit.wrap_energy.max()))


def cut_in_words(
    pupil: optics.Pupil, cut: Cut, *, than: Cut | None = None, of: str = "", this: str = "This"
) -> str | None:
    """Text about lost light, if it is much and clearly more than a known loss; otherwise None.

    Parameters
    ----------
    pupil : optics.Pupil
    cut : Cut
        Loss of this pupil.
    than : Cut, optional
        Known loss elsewhere, which the text gives for comparison; by default none.
    of : str
        Place of the known loss, for the text.
    this : str
        Name of the PSF, for the text.
    """
    known = Cut() if than is None else than

    def beside(share: float) -> str:
        return f" ({100 * share:.0f} % {of})" if share > 0 else ""

    words = []
    if cut.lost > max(LOST, known.lost + _MORE):
        words.append(
            f"{100 * cut.lost:.0f} % of the light falls outside of the window of "
            f"{pupil.psf_size[0]} x {pupil.psf_size[1]} pixels that holds the PSF"
            f"{beside(known.lost)}, and is missing from picture and throughput: train with a "
            "larger psf_size"
        )
    if cut.wrapped > max(WRAPPED, known.wrapped + _MORE):
        words.append(
            f"{100 * cut.wrapped:.0f} % of {'it' if words else 'the light'} falls outside of the "
            f"central half of the PSF's period{beside(known.wrapped)}, where a pupil of "
            f"{pupil.size[0]} x {pupil.size[1]} samples is too coarse: train with a larger "
            "pupil_size"
        )
    if not words:
        return None
    return f"{this} PSF is not that of the manufactured element. {'; '.join(words)}."


def what_is_cut(front_end: optics.FrontEnd | None, *, distance: float | None = None) -> str | None:
    """Text about light that the simulation of a pupil loses, or None.

    Parameters
    ----------
    front_end : optics.FrontEnd, optional
    distance : float, metres, optional
        As in :func:`light_cut`. With a distance, loss from a coarsely sampled pupil is reported
        only if the distance adds to it. The rest comes from the element, such as a phase that is
        free at each sample, and is the same at all distances.
    """
    pupil = getattr(front_end, "pupil", None)
    if not isinstance(pupil, optics.Pupil):
        return None
    cut = light_cut(front_end, distance=distance)
    if distance is None:
        return cut_in_words(pupil, cut)
    focus = Cut()
    if cut.wrapped > WRAPPED:
        with torch.no_grad():
            focus = Cut(wrapped=float(optics.audit_sampling(pupil).wrap_energy.max()))
    return cut_in_words(pupil, cut, than=focus, of="in focus", this=f"At {distance:g} m this")
