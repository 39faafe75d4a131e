"""Learned elements by their effect on light, and the similarity of two of them.

::

    run folder ─ load_element ─► front end ─ spreads ─► parts [F, S, P, h, w]
                     └─ the same as training began ─► start

    parts, parts ──align──► similarity 0..1 over shifts, signs, orders, turns

Elements are compared by the image of a point, not by their parameters: the phase of a mask may
have another piston or tilt, or be mirrored with its sign reversed (the twin), and the image is the
same or only shifted. Differences that a trained classifier can undo at no cost are removed first:
position of the picture, sign of a signed kernel, order of filters.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, final, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft
from scipy.optimize import linear_sum_assignment

import optics
from joint.config.front_ends import build_front_end
from joint.config.run import RunConfig
from joint.run.trained import load_trained
from joint.saved.checkpoint import load_weights

__all__ = [
    "Element",
    "Orientation",
    "Registration",
    "align",
    "load_element",
    "spreads",
    "surrogate",
]

Array = npt.NDArray[Any]

Orientation = Literal["kept", "turned", "dihedral"]
"""Which turns count as the same element: none, half a turn, or all flips and quarter turns."""

_WINDOW = 65  # compared pixels of the spread of a Fourier filter
_ROUNDS = ((0.5, 9), (0.125, 9), (1 / 32, 9))  # reach in pixels and points of finer searches


@final
@dataclass(frozen=True, eq=False)
class Element:
    """Image of a point through an element."""

    kind: str
    """``kernel`` of a learned kernel, ``psf`` of a lens, ``spread`` of a coherent field. Only
    elements of the same kind are compared."""
    parts: Array
    """``[F, S, P, h, w]``, real or complex: F filters in any order, each with S parts whose signs
    are free, each with P components that share a sign. Centre: ``[h // 2, w // 2]``."""
    names: tuple[str, ...]
    """Names of the S * P components of a filter."""
    places: tuple[int, int] | None = None
    """Rows and columns of the places whose PSFs are the S parts, channel by channel within each
    place; None if the PSF is the same everywhere."""


class Registration(NamedTuple):
    """How one element is aligned with another."""

    similarity: float
    """0..1; 1 if the two are the same except for what the alignment removes, and scale."""
    order: tuple[int, ...]
    """Filter of the other element for each filter of the first; -1 if none is left."""
    shifts: tuple[tuple[float, float], ...]
    """Rows and columns by which each filter of the other element is shifted."""
    turn: int
    """Best of the orientations; 0 is as they are."""


def spreads(front_end: optics.FrontEnd) -> Element:
    """Image of a point through the element of ``front_end``.

    Raises
    ------
    ValueError
        For a front end without a kernel, pupil, PSFs or Fourier plane, or if both a shutter and
        the lens behind it are trained.
    """
    with torch.no_grad():
        if isinstance(front_end, optics.LearnedKernel):
            response = front_end.response.detach().cpu().double().numpy()
            if front_end.mix_channels:  # [F, C, C, k, k]: each output has a sign and a place
                parts = response.reshape(-1, 1, *response.shape[2:])
            else:
                parts = response
            return Element("kernel", parts, _names(parts.shape[1] * parts.shape[2]))
        if isinstance(front_end, optics.FourierFilter):
            transmission = front_end.transmission.detach().cpu().to(torch.complex128)
            field = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(transmission)))
            field = _middle(field.numpy())
            if front_end.illumination == "incoherent":
                return Element("psf", np.square(np.abs(field))[None, None, None], ("",))
            return Element("spread", field[None, None, None], ("",))
        if isinstance(front_end, optics.CodedExposure):
            lens = front_end.lens
            if lens is not None and any(True for _ in lens.parameters()):
                if any(True for _ in front_end.parameters(recurse=False)):
                    raise ValueError(
                        "both a shutter and the lens behind it are trained, which is not one "
                        "element: compare them in studies in which one of them is fixed"
                    )
                return spreads(lens)
            # For a motion along x by the RMS motion.
            psf = front_end.psf(displacement=(front_end.motion, 0.0)).detach().cpu().double()
            return Element("psf", psf.numpy()[None, None, None], ("",))
        if isinstance(front_end, optics.IncoherentImaging):
            psf = front_end.psf().detach().cpu().double().numpy()
            if psf.ndim == 3:
                return Element("psf", psf[None, :, None], _names(len(psf)))
        if isinstance(front_end, optics.VaryingImaging):
            psfs = front_end.psf().detach().cpu().double().numpy()
            # One filter whose parts shift together: places are not interchangeable.
            names = [
                f"place {row}, {column}{name and ' '}{name}"
                for row, column in np.ndindex(front_end.places)
                for name in _names(psfs.shape[2])
            ]
            parts = psfs.reshape(1, -1, 1, *psfs.shape[-2:])
            return Element("psf", parts, tuple(names), front_end.places)
    raise ValueError(f"{type(front_end).__name__} has no element that can be compared")


def _names(count: int) -> tuple[str, ...]:
    if count == 3:
        return ("red", "green", "blue")
    return ("",) if count == 1 else tuple(map(str, range(count)))


def _middle(field: Array) -> Array:
    rows, columns = ((n // 2, min(n, _WINDOW) // 2) for n in field.shape)
    return field[
        rows[0] - rows[1] : rows[0] + rows[1] + 1,
        columns[0] - columns[1] : columns[0] + columns[1] + 1,
    ]


def load_element(folder: Path | str, config: RunConfig) -> tuple[Element, Element]:
    """Element with which a run was tested, and the one from which its training started.

    The scenes are not needed: a run folder copied from elsewhere is enough.

    Parameters
    ----------
    folder : path
        The run folder.
    config : RunConfig
        Configuration with which the run was started.

    Returns
    -------
    (Element, Element)

    Raises
    ------
    CheckpointError
        When the weights are missing, or of another element than the configuration describes, or
        when the run is from a version that did not record the kind of its scenes.
    ValueError
        Without a front end.
    """
    trained = load_trained(Path(folder), config.training)
    # Not from the configuration: a lens takes any number of channels, each of other light.
    size, channels, _ = trained.scenes
    with torch.random.fork_rng(devices=[]):
        # As in build_system, the front end is built first.
        torch.default_generator.manual_seed(config.system.seed)
        front_end = build_front_end(config.system.front_end, size, channels)
    if front_end is None:
        raise ValueError("the run has no front end: the sensor sees the scene")
    start = spreads(front_end)
    load_weights(front_end, trained.of_stage("front_end"), source=str(trained.path))
    return spreads(front_end), start


def surrogate(parts: Array, generator: np.random.Generator) -> Array:
    """Parts with the same sum and power at each frequency but random phases.

    All parts of a filter get the same random phases, so that their relation is kept
    (Prichard and Theiler, Physical Review Letters 73 (1994) 951).

    Parameters
    ----------
    parts : array ``[F, S, P, h, w]``
    generator : numpy.random.Generator
        Source of the phases.
    """
    spectrum = np.fft.fft2(parts)
    noise = np.fft.fft2(generator.standard_normal((len(parts), 1, 1, *parts.shape[-2:])))
    # Phases of real noise are odd, so real parts stay real. The sum of a part is kept too: the sign
    # of its light is not learned by chance.
    noise[..., 0, 0] = 1
    size = np.abs(noise)
    turned = np.fft.ifft2(
        spectrum * np.divide(noise, size, out=np.ones_like(noise), where=size > 0)
    )
    return turned if np.iscomplexobj(parts) else turned.real


def align(
    one: Element,
    other: Element,
    *,
    orientation: Orientation = "kept",
) -> Registration:
    """Align an element with another as well as possible.

    Parameters
    ----------
    one, other : Element
        Elements of the same kind.
    orientation : str
        Turns that are also removed, see :data:`Orientation`.

    Returns
    -------
    Registration
        Similarity is ``sum_f |<a_f, shifted b_f>| / (|a| |b|)`` over the best order of the filters
        (Kuhn, 1955). Each filter is shifted by fractions of a pixel to the maximum of its
        cross-correlation. The sign of each part is free; for complex spreads the phase, and the
        twin, which gives the same picture of a scene without phase.

    Raises
    ------
    ValueError
        For elements of different kinds or parts, elements with numbers that are not finite, or an
        unknown orientation.
    """
    if orientation not in get_args(Orientation):
        raise ValueError(f"orientation must be one of {get_args(Orientation)}, not {orientation!r}")
    if one.kind != other.kind or one.parts.shape[1:3] != other.parts.shape[1:3]:
        raise ValueError(
            f"a {one.kind} of {one.parts.shape[1:3]} parts and a {other.kind} of "
            f"{other.parts.shape[1:3]} cannot be compared: they are elements of different kinds"
        )
    if not (np.isfinite(one.parts).all() and np.isfinite(other.parts).all()):
        raise ValueError("an element with NaN or infinite numbers cannot be compared: leave it out")
    side = max(*one.parts.shape[-2:], *other.parts.shape[-2:])
    return align_prepared(prepared(one, side), prepared(other, side, orientation))


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """Fourier transforms of an element, for quick comparison of many pairs."""

    spectra: tuple[Array, ...]
    """``[F, S, P, n, n]`` for each turn; for real parts, the half that determines the other."""
    size: int
    """Size n, odd, so that only frequency 0 is its own opposite."""
    norm: float


def prepared(element: Element, side: int, orientation: Orientation = "kept") -> Prepared:
    """Fourier transforms of an element in each of its turns, in a frame of ``side`` pixels."""
    parts = _framed(element.parts, side)
    size = _window(2 * side + 1)  # large enough to avoid wrap-around
    transform = fft.fft2 if np.iscomplexobj(parts) else fft.rfft2
    spectra = tuple(
        np.asarray(transform(turned, (size, size))) for turned in _turns(parts, orientation)
    )
    return Prepared(spectra, size, float(np.linalg.norm(parts)))


def align_prepared(one: Prepared, other: Prepared) -> Registration:
    """Same as :func:`align`, for prepared elements of one kind and frame."""
    conjugate = one.spectra[0].conj()
    count, size = len(conjugate), one.size
    scale = one.norm * other.norm
    if scale == 0:
        return Registration(0.0, (-1,) * count, ((0.0, 0.0),) * count, 0)
    real = conjugate.shape[-1] < size
    found = []
    for number, spectrum in enumerate(other.spectra):
        cross = (conjugate[:, None] * spectrum).sum(3)
        lags = fft.irfft2(cross, (size, size)) if real else fft.ifft2(cross)
        strength = _strength(np.asarray(lags)).reshape(count, len(spectrum), -1)
        peaks = strength.max(-1)
        ours, theirs = linear_sum_assignment(-peaks)
        found.append((float(peaks[ours, theirs].sum()), number, cross, ours, theirs, strength))
    _, number, cross, ours, theirs, strength = max(found, key=lambda each: each[0])
    order, shifts = [-1] * count, [(0.0, 0.0)] * count
    total = 0.0
    for f, g in zip(ours, theirs, strict=True):
        place = divmod(int(strength[f, g].argmax()), size)
        peak, shifts[f] = _refined(cross[f, g], place, size)
        total += peak
        order[f] = int(g)
    return Registration(total / scale, tuple(order), tuple(shifts), number)


def _window(least: int) -> int:
    """Smallest odd size of at least ``least`` with a fast Fourier transform."""
    size = least
    while fft.next_fast_len(size, real=True) != size:
        size += 2
    return size


def _framed(parts: Array, side: int) -> Array:
    """Parts in the middle of a square frame."""
    height, width = parts.shape[-2:]
    top, left = side // 2 - height // 2, side // 2 - width // 2
    room = ((0, 0),) * 3 + ((top, side - height - top), (left, side - width - left))
    return np.pad(parts, room)


def _turns(parts: Array, orientation: Orientation) -> Iterator[Array]:
    """Parts in each orientation; for complex parts also their twins."""
    turns = {"kept": (0,), "turned": (0, 2), "dihedral": (0, 1, 2, 3)}[orientation]
    for flipped in (False, True) if orientation == "dihedral" else (False,):
        for quarter in turns:
            turned = np.rot90(parts[..., ::-1] if flipped else parts, quarter, (-2, -1))
            yield turned
            if np.iscomplexobj(parts):
                yield turned.conj()


def _strength(cross: Array) -> Array:
    """Correlation ``[..., S, y, x]`` of a filter whose parts have free signs or phases."""
    return np.abs(cross).sum(-3)


def _refined(cross: Array, place: tuple[int, int], size: int) -> tuple[float, tuple[float, float]]:
    """Sub-pixel maximum of the correlation, from its transform ``[S, n, n or half]``."""
    real = cross.shape[-1] < size
    down = fft.fftfreq(size)
    across = fft.rfftfreq(size) if real else down
    share = np.where(across > 0, 2, 1) if real else 1
    centre = [float((p + size // 2) % size - size // 2) for p in place]
    peak = -math.inf
    for reach, points in _ROUNDS:
        steps = np.linspace(-reach, reach, points)
        y, x = centre[0] + steps, centre[1] + steps
        rows = np.exp(2j * np.pi * y[:, None] * down) / size
        columns = np.exp(2j * np.pi * across[:, None] * x) / size
        sums = rows @ (cross * share) @ columns
        values = _strength(sums.real if real else sums)
        best = divmod(int(values.argmax()), points)
        peak = float(values[best])
        centre = [float(y[best[0]]), float(x[best[1]])]
    return peak, (centre[0], centre[1])
