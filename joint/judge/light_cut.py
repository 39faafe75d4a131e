"""Light that the simulation of a lens leaves out, which no lens does, as numbers and in words.

::

    front end ── light_cut ─► shares ── cut_in_words ─► a sentence, or None where it is little
"""

from typing import NamedTuple

import torch

import optics
from optics.sampling import LOST, WRAPPED

__all__ = ["Cut", "cut_in_words", "light_cut", "what_is_cut"]

# Share of the light by which one PSF loses more than another for it to be told.
_MORE = 0.01


class Cut(NamedTuple):
    """Shares of the light that the simulation of a pupil misplaces: of its worst wavelength."""

    lost: float = 0.0
    """Outside of the window that holds the PSF."""
    wrapped: float = 0.0
    """Outside of the central half of the PSF's period."""


def light_cut(front_end: optics.FrontEnd | None, *, distance: float | None = None) -> Cut:
    """What the simulation of a pupil leaves out, which no light does; nothing without a pupil.

    Parameters
    ----------
    front_end : optics.FrontEnd, optional
    distance : float, metres, optional
        Of all scenes; by default the working distances of a front end that has some, or its focus.
    """
    pupil = getattr(front_end, "pupil", None)
    if front_end is None or not isinstance(pupil, optics.Pupil):
        return Cut()
    with torch.no_grad():
        # Of this pupil: a front end of one's own may hold others.
        own = getattr(front_end, "working_distances", None)
        audit = optics.audit_sampling(pupil, distance=own if distance is None else distance)
        return Cut(float(audit.window_loss.max()), float(audit.wrap_energy.max()))


def cut_in_words(
    pupil: optics.Pupil, cut: Cut, *, than: Cut | None = None, of: str = "", this: str = "This"
) -> str | None:
    """Sentences on what is cut, where it is much, and more than what one knows of; or None.

    Parameters
    ----------
    pupil : optics.Pupil
    cut : Cut
        Its own.
    than : Cut, optional
        What is cut already elsewhere, and is told beside it; by default nothing.
    of : str
        Where that is, in words.
    this : str
        Which PSF it is, in words.
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
    return f"{this} PSF is not that of the element as it would be made. {'; '.join(words)}."


def what_is_cut(front_end: optics.FrontEnd | None, *, distance: float | None = None) -> str | None:
    """What the simulation of a pupil leaves out, which no light does, in words; or None.

    Parameters
    ----------
    front_end : optics.FrontEnd, optional
    distance : float, metres, optional
        As of :func:`light_cut`. What a pupil is too coarse for is then told where the distance
        adds to it: the rest is the element's, as of a phase that is free at each sample, and alike
        at all distances.
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
