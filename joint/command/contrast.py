"""``lens2label contrast``: whether contrast decides for a run, or for each of several.

::

    run folder ─► system, masked pictures ─► contrast_dependence ─► text, JSON; of several a table
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import tyro

from joint.analysis.contrast.dependence import ContrastDependence, contrast_dependence
from joint.analysis.contrast.measures import OneNumber
from joint.analysis.contrast.plane import Plane
from joint.cells import aligned
from joint.device import usable_device
from joint.feed import some_of
from joint.record import print_json
from joint.run.trained import load_run
from joint.settings import ConfigError, OptionError

from .options import RESAMPLES, check_figure, check_least, check_trained

__all__ = ["ContrastOptions", "main"]


@dataclass(frozen=True)
class ContrastOptions:
    """Analyse whether a run decides by the contrast of lesions.

    It prints the contrast of each class; correctness against contrast, over all classes and within
    each; whether classes with similar contrast are confused; and the recall of the same lesions at
    other contrasts. It needs masks of the lesions. For example:

        lens2label contrast runs/edge
        lens2label contrast runs/plain runs/edge --factors 0.5 1 1.5 --figure recall.pdf
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of lens2label train."""
    measures: tuple[OneNumber, ...] = ()
    """Measures of contrast; by default gcnr and delta_e, or weber if the plane does not have three
    colours."""
    factors: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Factors on the contrast at which lesions are shown; 1 is their own contrast. --factors
    without a number leaves this part out."""
    plane: Plane = "scene"
    """Plane in which contrast is measured: the scene, the light on the sensor, the camera's
    picture, or the input of the classifier. The factors always apply to the scene."""
    inner: float = 2.0
    """Least distance of the skin from the lesion, pixels of the scene."""
    outer: float = 10.0
    """Greatest distance of the skin from the lesion, pixels of the scene. The defaults are meant
    for 200 x 150 pixels; fewer pixels need a narrower ring."""
    bins: int = 64
    """Number of bins of the histograms of gCNR. In lesions of few pixels, fewer have less bias."""
    part: Literal["validation", "test"] = "test"
    """Part of the split of that run."""
    pictures: int | None = None
    """Largest number of its pictures to use; by default all."""
    batch_size: int = 64
    """Pictures per forward pass."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the lesions, for the intervals."""
    seed: int = 0
    """Random seed of the sensor's noise."""
    device: str = "cpu"
    """Device to compute on."""
    figure: Path | None = None
    """Also draw recall against contrast, a panel for each run, to this .png, .pdf or .svg."""
    quiet: bool = False
    """Show no progress bar."""
    json: bool = False
    """Print everything as JSON: an object, or a list for several runs."""

    def check(self) -> None:
        """Refuse what cannot be, by an OptionError."""
        check_least(self, batch_size=1, resamples=1, pictures=1, bins=2)
        if not self.runs:
            raise OptionError("name a run folder, such as lens2label contrast runs/edge")
        twice = [str(run) for run in set(self.runs) if self.runs.count(run) > 1]
        if twice:
            raise OptionError(f"{twice[0]} is named twice")
        if len(set(self.measures)) < len(self.measures):
            raise OptionError("--measures names one twice")
        rising = all(0 <= a < b < math.inf for a, b in pairwise(self.factors))
        if len(self.factors) == 1 or not rising:
            raise OptionError(
                "--factors takes at least two contrasts of 0 or more, rising, such as 0.5 1 1.5, "
                f"not {' '.join(f'{factor:g}' for factor in self.factors)}"
            )
        if not 0 <= self.inner < self.outer < math.inf:
            raise OptionError(
                "--inner and --outer take a ring of skin, 0 <= inner < outer pixels, not "
                f"{self.inner:g} and {self.outer:g}"
            )
        check_figure("--figure", self.figure)
        if self.figure is not None and not self.factors:
            raise OptionError("--figure draws recall at the --factors, and there are none")


def main(arguments: Sequence[str]) -> int:
    """Print whether contrast decides for runs; returns the exit status."""
    options = tyro.cli(ContrastOptions, args=arguments, prog="lens2label contrast")
    options.check()
    usable_device(options.device)
    for run in options.runs:  # before the first takes its time
        check_trained(run)
    found: dict[str, ContrastDependence] = {}
    for run in options.runs:
        name = str(run)
        found[name] = _of_run(run, options)
        if not options.json:
            print(f"{name}: {found[name]}\n" if len(options.runs) > 1 else found[name])
    if options.json:
        told = [{"run": name} | each.to_dict() for name, each in found.items()]
        print_json(told if len(told) > 1 else told[0])
    elif len(found) > 1:
        print(_at_a_glance(found))
    if options.figure is not None:
        _draw(found, options.figure)
        if not options.json:
            print(f"wrote {options.figure}")
    return 0


def _of_run(run: Path, options: ContrastOptions) -> ContrastDependence:
    _, system, parts = load_run(run)
    part = parts.test if options.part == "test" else parts.validation
    if part is None or not len(part):
        raise ConfigError(f"{run} has no {options.part} part: it was divided without one")
    system.to(usable_device(options.device))
    return contrast_dependence(
        system,
        part if options.pictures is None else some_of(part, options.pictures),
        measures=options.measures or None,
        factors=options.factors,
        plane=options.plane,
        inner=options.inner,
        outer=options.outer,
        bins=options.bins,
        batch_size=options.batch_size,
        seed=options.seed,
        resamples=options.resamples,
        progress=not (options.quiet or options.json),
    )


def _at_a_glance(found: Mapping[str, ContrastDependence]) -> str:
    """A row for each run: the slopes within class, and balanced accuracy at each contrast."""
    head, rows = ["run"], []
    for name, each in found.items():
        row = {"run": name}
        for measure, by_measure in each.measures.items():
            slope, interval = by_measure.effect.within_class
            row[f"{measure} within class"] = f"{slope:+.3f} {interval:+.3f}"
        if each.sweep is not None:
            for factor, share in zip(
                each.sweep.factors, each.sweep.balanced_accuracy.tolist(), strict=True
            ):
                row[f"at {factor:g}"] = f"{share:.3f}"
        head += [column for column in row if column not in head]
        rows.append(row)
    table = aligned([head, *([row.get(column, "") for column in head] for row in rows)])
    told = "log-odds of being right per SD of contrast, and balanced accuracy at each contrast"
    return "\n".join([told, *table])


def _draw(found: Mapping[str, ContrastDependence], file: Path) -> None:
    from joint.figure import save_figure, sweep_figure  # noqa: PLC0415 - matplotlib

    sweeps = {name: each.sweep for name, each in found.items() if each.sweep is not None}
    save_figure(sweep_figure(sweeps), file, dpi=150)
