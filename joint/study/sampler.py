"""Which combinations of the axes are run.

All of them are known before the first run, but those of a search: TPE, GP and NSGA-II learn from
the runs that have ended, see :mod:`joint.study.search`.
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
"""What was measured on a run and a formula of a cost may read."""
OBJECTIVES = (
    *("balanced_accuracy", "accuracy", "macro_f1", "auc", "loss"),
    *("bpp", "psnr", "ssim", "psnr_scene", "throughput", "light_share"),
    *MEASURED_COSTS,
)
"""What a search can look for: numbers on the validation part, and what a design costs. So can the
terms of its objective, ``loss_`` and their names."""


def is_sought(name: str) -> bool:
    """Whether a search can look for this number, which is no cost of a study."""
    return name in OBJECTIVES or is_term(name)


_SEEDS = 2**64  # of torch's generators, which take no larger ones


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
    """Designs that are wanted."""
    seed: int = 0
    """Source of the draws."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Draws on ``axes`` without an end."""
        generator = torch.Generator().manual_seed(self.seed % _SEEDS)
        while True:
            places = torch.rand(len(axes), generator=generator, dtype=torch.float64)
            yield _at(axes, places.tolist())


class Sobol(Settings):
    """A scrambled Sobol sequence, which leaves no holes; best with a power of two."""

    kind: Literal["sobol"] = "sobol"
    count: int = Field(ge=1)
    """Designs that are wanted."""
    seed: int = 0
    """Source of the scrambling."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Points on ``axes`` without an end."""
        engine = torch.quasirandom.SobolEngine(len(axes), scramble=True, seed=self.seed % _SEEDS)
        while True:
            yield _at(axes, engine.draw(1, dtype=torch.float64)[0].tolist())


class LatinHypercube(Settings):
    """A Latin hypercube: cut each axis into as many strata as there are designs, and each has one.

    McKay, Beckman and Conover, Technometrics 21 (1979) 239. Strata are of equal length along the
    axis, of a log scale in its logarithm; of k values, each is chosen ``count / k`` times where
    that is a whole number. An axis that only some designs have is stratified over all of them, and
    so not over these.

    It is made for its count. With another one all designs are others, so that no run of a smaller
    study serves a larger one; of :class:`Random` and :class:`Sobol` the first designs stay. And no
    point stands in for another: where constraints exclude one, or two are the same design,
    :meth:`Study.designs` refuses.
    """

    kind: Literal["latin_hypercube"] = "latin_hypercube"
    count: int = Field(ge=1)
    """Designs that are wanted: the strata of each axis."""
    seed: int = Field(default=0, ge=0)
    """Source of the draws."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The ``count`` points on ``axes``, and no more."""
        # scipy calls it rng from 1.15 on, and takes seed as before: older ones know only that.
        engine = qmc.LatinHypercube(
            len(axes),
            seed=np.random.default_rng(self.seed),  # pyright: ignore[reportCallIssue]
        )
        for places in engine.random(self.count).tolist():
            yield _at(axes, places)


class Listed(Settings):
    """These designs and no others: what a person, or a search, has chosen."""

    kind: Literal["listed"] = "listed"
    chosen: tuple[Design, ...] = Field(min_length=1)
    """The choice on every axis that the design has, by the name of the axis."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The designs in the order of the list; a ValueError for one that is not on ``axes``."""
        for design in self.chosen:
            there = axes_of(design, axes)
            if design.keys() != set(there):
                raise ValueError(
                    f"a listed design chooses on {', '.join(design)}; the axes that it has are "
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
    """Designs that are chosen by what the ones before came to, with Optuna.

    They come in rounds. The first is a Sobol sequence; in each later one, every design is asked for
    with the results of all rounds before, and with those of its own round counted as running. So a
    search depends on its file and on the results alone: not on who works, how many do, or who is
    killed.
    """

    count: int = Field(ge=1)
    """Designs in all."""
    seed: int = 0
    """Source of the draws."""
    objectives: dict[str, Literal["up", "down"]] = Field(default_factory=dict)
    """What is looked for, and in which direction, such as {balanced_accuracy = "up", photons =
    "down"}: the mean over seeds; costs of the study may be among them. By default the metric of the
    plan. Measured on the validation part: the test part is for the report."""

    def check_objectives(self, costs: Collection[str] = ()) -> None:
        """Refuse what is not measured and is none of the ``costs`` of a study, or is turned round.

        Raises
        ------
        ValueError
            With what it should be.
        """
        known = (*OBJECTIVES, *costs)
        for name, direction in self.objectives.items():
            if name not in costs and not is_sought(name):
                raise ValueError(f"a search cannot look for {name!r}{nearest(name, known)}")
            down = name in MEASURED_COSTS or name in costs or lower_is_better(name)
            right = "down" if down else "up"
            if direction != right:
                raise ValueError(f"{name} is better {right}: write {name} = {right!r}")

    @property
    @abstractmethod
    def first(self) -> int:
        """Designs of the first round."""

    @abstractmethod
    def known_to(self, number: int) -> int:
        """How many designs have ended when that of this ``number`` is asked for."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The points of the first round on ``axes``, and on without an end."""
        return Sobol(count=self.first, seed=self.seed).designs(axes)


class _InBatches(Search):
    startup: int = Field(default=16, ge=2)
    """Designs of the first round."""
    batch: int = Field(default=4, ge=1)
    """Designs of each later round: with more, more workers have something to do; with fewer, the
    search learns faster."""

    @property
    def first(self) -> int:
        """Designs of the first round."""
        return min(self.startup, self.count)

    def known_to(self, number: int) -> int:
        """How many designs have ended when that of this ``number`` is asked for."""
        return self.first + (number - self.first) // self.batch * self.batch


class TPE(_InBatches):
    """A tree-structured Parzen estimator; good with many axes, and with choices without order.

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
    """Designs of each round."""

    @property
    def first(self) -> int:
        """Designs of the first round."""
        return min(self.population, self.count)

    def known_to(self, number: int) -> int:
        """How many designs have ended when that of this ``number`` is asked for."""
        return number // self.population * self.population


Sampler: TypeAlias = Annotated[
    Grid | Random | Sobol | LatinHypercube | Listed | TPE | GP | NSGA2, Field(discriminator="kind")
]


def _at(axes: Mapping[str, Axis], places: Sequence[float]) -> Design:
    levels = {n: axis.at(place) for (n, axis), place in zip(axes.items(), places, strict=True)}
    return {name: levels[name] for name in axes_of(levels, axes)}
