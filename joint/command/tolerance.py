"""``lens2label tolerance``: how many of the cameras that are built keep what the run promises.

::

    --limits defocus=0.25 read_noise=1:4 zernike_5=0.05 ── read_limits ──► tolerance, sensitivity
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from joint.analysis.tolerancing.alignment import Alignment, alignment
from joint.analysis.tolerancing.imperfection import Imperfection
from joint.analysis.tolerancing.perturbation import Perturbation
from joint.analysis.tolerancing.sensitivity import sensitivity
from joint.analysis.tolerancing.surface_error import SurfaceError, surface_error
from joint.analysis.tolerancing.tolerance import Limits, Tolerance, tolerance
from joint.analysis.tolerancing.wavefront import wavefront_error, zernike_error
from joint.device import usable_device
from joint.feed import some_of
from joint.record import print_json
from joint.run.trained import load_run
from joint.settings import ConfigError, OptionError

from .options import check_least, check_trained

__all__ = ["ToleranceOptions", "main", "read_limits"]

# Share of the cameras, and the confidence, of the promise that is printed where there are enough.
_SHARE, _CONFIDENCE = 0.9, 0.95

_ByName = dict[Perturbation | Imperfection, Limits]


@dataclass(frozen=True)
class ToleranceOptions:
    """Simulate cameras with random manufacturing errors, and print the results that they reach.

    Each tolerance is NAME=WIDTH, half the width about the design, or NAME=LOWEST:HIGHEST, in the
    unit of its name: defocus (waves at the rim), decentre and decentre_radial (pupil diameters),
    rotation, tilt_x (degrees), zernike_5 (waves RMS of Noll's 5), wavefront_4_11 (waves RMS, shared
    among these terms), height_error (metres RMS), shift (pixels), magnification, photons,
    read_noise (electrons), ...; of the surfaces of a compound lens radius (fraction), thickness
    (metres), index, surface_decentre (micrometres) and surface_tilt (arc minutes); of its elements
    element_decentre and element_tilt (the same), alone (element_tilt.0) or as a group
    (element_tilt.0-1). docs/howto/tolerance.md lists all. For example:

        lens2label tolerance runs/lens --limits defocus=0.25 tilt_x=0.5 read_noise=1:4 --good 0.6
        lens2label tolerance runs/lens --limits zernike_5=0.05 zernike_7=0.05 --alone
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    limits: tuple[str, ...]
    """The tolerances."""
    alone: bool = False
    """Instead of random errors of all at once, each tolerance alone at both of its limits: this
    shows which one costs most."""
    measure: str | None = None
    """Metric of each camera, one of evaluate, such as balanced_accuracy, recall.mel, psnr_scene; by
    default balanced_accuracy, or fidelity without a classifier."""
    good: float | None = None
    """Also print the yield: the share of cameras whose metric is at least this (for losses and
    bits, at most)."""
    devices: int | None = None
    """Number of simulated cameras, by default 50, which give a yield of 0.9 to within 0.12; with
    --alone, number of draws of each random error, by default 8."""
    distribution: Literal["uniform", "normal"] = "uniform"
    """Distribution of the errors between their limits; normal has a standard deviation of a quarter
    of the width."""
    refocus: float = 0.0
    """Refocus each camera, by up to this many waves at the rim, to where the metric is best."""
    part: Literal["validation", "test"] = "test"
    """Part of the split of that run."""
    pictures: int = 500
    """Largest number of its pictures on which each camera is evaluated."""
    batch_size: int = 64
    """Pictures per forward pass."""
    seed: int = 0
    """Random seed of the errors and of the noise: camera number i has the same errors whatever the
    other options are."""
    device: str = "cpu"
    """Device to compute on."""
    quiet: bool = False
    """Show no progress bar."""
    json: bool = False
    """Print everything as JSON."""

    def check(self) -> None:
        """Refuse what cannot be, by an OptionError."""
        check_least(self, pictures=1, batch_size=1, devices=1 if self.alone else 2)
        if not self.limits:
            raise OptionError("--limits names at least one tolerance, such as defocus=0.25")
        if self.good is not None and not math.isfinite(self.good):
            raise OptionError(f"--good must be a finite number, not {self.good}")
        if self.alone and self.good is not None:
            raise OptionError("--good is a yield of cameras with all errors: leave out --alone")
        if self.alone and self.distribution != "uniform":
            raise OptionError("--alone takes the limits themselves: leave out --distribution")


def main(arguments: Sequence[str]) -> int:
    """Print what tolerances cost a run; returns the exit status."""
    options = tyro.cli(ToleranceOptions, args=arguments, prog="lens2label tolerance")
    options.check()
    limits = read_limits(options.limits)
    device = usable_device(options.device)
    check_trained(options.run)
    _, system, parts = load_run(options.run)
    part = parts.test if options.part == "test" else parts.validation
    if part is None or not len(part):
        raise ConfigError(f"the run has no {options.part} part: it was divided without one")
    scenes = some_of(part, options.pictures)
    system.to(device)
    progress = not (options.quiet or options.json)
    if options.alone:
        alone = sensitivity(
            system,
            scenes,
            limits,
            measure=options.measure,
            devices=8 if options.devices is None else options.devices,
            refocus=options.refocus,
            batch_size=options.batch_size,
            seed=options.seed,
            progress=progress,
        )
        (print_json if options.json else print)(alone)
        return 0
    found = tolerance(
        system,
        scenes,
        limits,
        measure=options.measure,
        devices=50 if options.devices is None else options.devices,
        distribution=options.distribution,
        refocus=options.refocus,
        batch_size=options.batch_size,
        seed=options.seed,
        progress=progress,
    )
    if options.json:
        told = found.to_dict()
        if options.good is not None:
            told["yield"] = found.yield_at(options.good)
        print_json(told)
        return 0
    print(found)
    for line in _promises(found, options.good):
        print(line)
    return 0


def _promises(found: Tolerance, good: float | None) -> list[str]:
    lines = []
    if good is not None:
        than = "or more" if found.more_is_better else "or less"
        share = found.yield_at(good)
        lines.append(
            f"{found.measure} of {good:g} {than}: a share of {share} of all that are built"
        )
    try:
        kept = found.promised(_SHARE, confidence=_CONFIDENCE)
        lines.append(
            f"{100 * _SHARE:g} % of all that are built keep {kept:.4g}, with a confidence of "
            f"{_CONFIDENCE:g}"
        )
    except ValueError as error:  # too few
        lines.append(str(error))
    return lines


def read_limits(given: Sequence[str]) -> _ByName:
    """Tolerances as they are typed.

    Parameters
    ----------
    given : sequence of str
        ``NAME=WIDTH``, half the width about the design, or ``NAME=LOWEST:HIGHEST``. A name is one
        of :data:`joint.analysis.PERTURBATIONS`; ``zernike_5``, Noll's; ``wavefront_4_11``, shared
        among these terms; elements of the pupil that are moved together, ``decentre.1+2`` or
        ``decentre.all``; one surface or element of a traced lens, ``radius.0``,
        ``element_tilt.0``; or the first and the last one of a group, ``element_tilt.0-1``.

    Returns
    -------
    dict of perturbation to limits

    Raises
    ------
    OptionError
        For what is no such text, or a name that comes twice.
    """
    limits: _ByName = {}
    for text in given:
        name, equals, value = text.partition("=")
        low, colon, high = value.partition(":")
        try:
            limit: Limits = (float(low), float(high)) if colon else float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise OptionError(
                f"--limits takes NAME=WIDTH or NAME=LOWEST:HIGHEST, such as defocus=0.25 or "
                f"read_noise=1:4, not {text!r}"
            )
        try:
            kind = _kind(name)
        except ValueError as error:
            raise OptionError(f"--limits {text}: {error}") from error
        if any(_name(kind) == _name(other) for other in limits):
            raise OptionError(f"--limits names {name} twice")
        limits[kind] = limit
    return limits


def _name(kind: Perturbation | Imperfection) -> str:
    return kind if isinstance(kind, str) else kind.name


def _kind(name: str) -> Perturbation | Imperfection:
    """What a name stands for; one that is none is refused later, with those that there are."""
    term = re.fullmatch(r"zernike_(\d+)", name)
    if term is not None:
        return zernike_error(int(term[1]))
    terms = re.fullmatch(r"wavefront_(\d+)_(\d+)", name)
    if terms is not None:
        return wavefront_error(range(int(terms[1]), int(terms[2]) + 1), name=name)
    moved, _, elements = name.partition(".")
    for known in get_args(Alignment):
        if moved == known and elements == "all":
            return alignment(known)
        if moved == known and re.fullmatch(r"\d+(\+\d+)*", elements):
            return alignment(known, map(int, elements.split("+")))
    for error in get_args(SurfaceError):
        if moved != error:
            continue
        if re.fullmatch(r"\d+", elements):
            return surface_error(error, int(elements))
        if re.fullmatch(r"\d+-\d+", elements):
            first, last = map(int, elements.split("-"))
            return surface_error(error, (first, last))
        if error.endswith(("decentre", "tilt")) and re.fullmatch(r"[\d-]+\.[xy]", elements):
            raise ValueError(
                f"{name} is a row of results: a tolerance is of the size, in a random direction, "
                f"{name[:-2]}"
            )
    return name  # pyright: ignore[reportReturnType] - whatever was typed
