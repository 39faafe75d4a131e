"""Samplers: which combinations of the axes are run.

All of them are known before the first run, except for a search: TPE, GP and NSGA-II learn from the
runs that have ended, see :mod:`joint.study.search`.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field
from scipy.stats import qmc

from joint.judge.metric import is_term, lower_is_better
from joint.settings import Settings, nearest

from .axis import Axis, Design, own_level
from .condition import axes_of, combinations

__all__ = [
    "GP",
    "IN_FORMULAS",
    "MEASURED_COSTS",
    "NSGA2",
    "OBJECTIVES",
    "TPE",
    "Grid",
    "LatinHypercube",
    "Listed",
    "Random",
    "Sampler",
    "Sobol",
    "is_sought",
]

MEASURED_COSTS = ("photons", "bits", "pixels", "macs", "parameters")
IN_FORMULAS = (*MEASURED_COSTS, "bpp")
"""Measured numbers of a run that the formula of a cost may read."""
OBJECTIVES = (
    *("balanced_accuracy", "accuracy", "macro_f1", "auc", "loss"),
    *("bpp", "psnr", "ssim", "psnr_scene", "throughput", "light_share"),
    *MEASURED_COSTS,
)
"""Possible objectives of a search: numbers on the validation part, and costs of a design. Terms of
its objective are possible too: ``loss_`` and their names."""


def is_sought(name: str) -> bool:
    """Whether a search can optimise this number, without the costs of a study."""
    return name in OBJECTIVES or is_term(name)


_SEEDS = 2**64  # torch's generators take no larger seeds


class Grid(Settings):
    """Every combination."""

    kind: Literal["grid"] = "grid"

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Every combination on ``axes``, the last axis fastest; a ValueError without its points."""
        for name, axis in axes.items():
            if axis.values is None and axis.points is None:
                raise ValueError(
                    f"a grid needs the points of each range: give the axis {name} some, such as "
                    "points = 5, or take another sampler, such as sobol"
                )
        yield from combinations(axes, {name: axis.levels() for name, axis in axes.items()})


class Random(Settings):
    """Independent draws on every axis."""

    kind: Literal["random"] = "random"
    count: int = Field(ge=1)
    """Number of designs."""
    seed: int = 0
    """Seed of the draws."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Endless random designs on ``axes``."""
        generator = torch.Generator().manual_seed(self.seed % _SEEDS)
        while True:
            places = torch.rand(len(axes), generator=generator, dtype=torch.float64)
            yield _at(axes, places.tolist())


class Sobol(Settings):
    """A scrambled Sobol sequence, which covers the space evenly; best with a power of two."""

    kind: Literal["sobol"] = "sobol"
    count: int = Field(ge=1)
    """Number of designs."""
    seed: int = 0
    """Seed of the scrambling."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Endless points of the sequence on ``axes``."""
        engine = torch.quasirandom.SobolEngine(len(axes), scramble=True, seed=self.seed % _SEEDS)
        while True:
            yield _at(axes, engine.draw(1, dtype=torch.float64)[0].tolist())


class LatinHypercube(Settings):
    """A Latin hypercube: each axis is cut into as many strata as designs, with one design in each.

    McKay, Beckman and Conover, Technometrics 21 (1979) 239. Strata have equal length along the
    axis, on a log scale in its logarithm; each of k values is chosen ``count / k`` times if that is
    a whole number. An axis that only some designs have is stratified over all designs, and
    so not evenly over those that have it.

    It is made for its count. With another count all designs change, so no run of a smaller study
    can be used in a larger one; :class:`Random` and :class:`Sobol` keep the first designs. Points
    cannot be replaced either: if constraints exclude one, or two are the same design,
    :meth:`Study.designs` refuses.
    """

    kind: Literal["latin_hypercube"] = "latin_hypercube"
    count: int = Field(ge=1)
    """Number of designs, which is the number of strata of each axis."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The ``count`` points on ``axes``, and no more."""
        # scipy calls it rng from 1.15 on and still takes seed; older versions know only seed.
        engine = qmc.LatinHypercube(
            len(axes),
            seed=np.random.default_rng(self.seed),  # pyright: ignore[reportCallIssue]
        )
        for places in engine.random(self.count).tolist():
            yield _at(axes, places)


class Listed(Settings):
    """These designs only, chosen by a person or a search."""

    kind: Literal["listed"] = "listed"
    chosen: tuple[Design, ...] = Field(min_length=1)
    """The level on each axis that the design has, by the name of the axis."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The designs in the order of the list; a ValueError for one that is not on ``axes``."""
        for design in self.chosen:
            there = axes_of(design, axes)
            if design.keys() != set(there):
                raise ValueError(
                    f"a listed design has levels on {', '.join(design)}; the axes that it has are "
                    f"{', '.join(there)}"
                )
            for name, level in design.items():
                try:
                    axes[name].assignments(level)
                except ValueError as error:
                    raise ValueError(f"a listed design, {name}: {error}") from error
            yield {name: own_level(axes[name], design[name]) for name in there}


# ---------------------------------------------------------------------------------- what learns


class Search(Settings):
    """Designs that are chosen from the results of earlier ones, with Optuna.

    They come in rounds. The first round is a Sobol sequence. In each later round, every design is
    requested with the results of all earlier rounds, while designs of its own round count as
    running. So a search depends only on its file and the results, not on which workers run, how
    many there are, or which are killed.
    """

    count: int = Field(ge=1)
    """Number of designs in total."""
    seed: int = 0
    """Seed of the draws."""
    objectives: dict[str, Literal["up", "down"]] = Field(default_factory=dict)
    """Objectives and their directions, such as {balanced_accuracy = "up", photons = "down"}: means
    over seeds; costs of the study may be included. By default the metric of the plan. They are
    measured on the validation part: the test part is for the report."""

    def check_objectives(self, costs: Collection[str] = ()) -> None:
        """Refuse objectives that are neither measured nor in ``costs``, or in a wrong direction.

        Raises
        ------
        ValueError
            The message says what is needed.
        """
        known = (*OBJECTIVES, *costs)
        for name, direction in self.objectives.items():
            if name not in costs and not is_sought(name):
                raise ValueError(f"a search cannot optimise {name!r}{nearest(name, known)}")
            down = name in MEASURED_COSTS or name in costs or lower_is_better(name)
            right = "down" if down else "up"
            if direction != right:
                raise ValueError(f"{name} is better {right}: write {name} = {right!r}")

    @property
    @abstractmethod
    def first(self) -> int:
        """Number of designs in the first round."""

    @abstractmethod
    def known_to(self, number: int) -> int:
        """Number of designs that have ended when the design ``number`` is requested."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Points of the first round on ``axes``, continued without end."""
        return Sobol(count=self.first, seed=self.seed).designs(axes)


class _InBatches(Search):
    startup: int = Field(default=16, ge=2)
    """Number of designs in the first round."""
    batch: int = Field(default=4, ge=1)
    """Number of designs in each later round: more keep more workers busy; with fewer, the search
    learns faster."""

    @property
    def first(self) -> int:
        """Number of designs in the first round."""
        return min(self.startup, self.count)

    def known_to(self, number: int) -> int:
        """Number of designs that have ended when the design ``number`` is requested."""
        return self.first + (number - self.first) // self.batch * self.batch


class TPE(_InBatches):
    """A tree-structured Parzen estimator; good with many axes and unordered choices.

    Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011.
    """

    kind: Literal["tpe"] = "tpe"


class GP(_InBatches):
    """A Gaussian process with expected improvement; good with few designs on few, smooth axes."""

    kind: Literal["gp"] = "gp"


class NSGA2(Search):
    """A genetic algorithm for several objectives, which looks for the whole front.

    Deb et al., IEEE Transactions on Evolutionary Computation 6 (2002) 182.
    """

    kind: Literal["nsga2"] = "nsga2"
    population: int = Field(default=16, ge=2)
    """Number of designs in each round."""

    @property
    def first(self) -> int:
        """Number of designs in the first round."""
        return min(self.population, self.count)

    def known_to(self, number: int) -> int:
        """Number of designs that have ended when the design ``number`` is requested."""
        return number // self.population * self.population


Sampler: TypeAlias = Annotated[
    Grid | Random | Sobol | LatinHypercube | Listed | TPE | GP | NSGA2, Field(discriminator="kind")
]


def _at(axes: Mapping[str, Axis], places: Sequence[float]) -> Design:
    levels = {n: axis.at(place) for (n, axis), place in zip(axes.items(), places, strict=True)}
    return {name: levels[name] for name in axes_of(levels, axes)}
