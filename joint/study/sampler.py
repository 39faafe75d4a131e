"""Which combinations of the axes are run."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field

from joint.settings import Settings

from .axis import Axis, Design

__all__ = ["Grid", "Listed", "Random", "Sampler", "Sobol"]


class Grid(Settings):
    """Every combination."""

    kind: Literal["grid"] = "grid"

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Every combination, the last axis fastest."""
        for levels in itertools.product(*(axis.levels() for axis in axes.values())):
            yield dict(zip(axes, levels, strict=True))


class Random(Settings):
    """Independent draws on every axis."""

    kind: Literal["random"] = "random"
    count: int = Field(ge=1)
    """Designs that are wanted."""
    seed: int = 0
    """Source of the draws."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """Draws without an end."""
        generator = torch.Generator().manual_seed(self.seed)
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
        """Points without an end."""
        engine = torch.quasirandom.SobolEngine(len(axes), scramble=True, seed=self.seed)
        while True:
            yield _at(axes, engine.draw(1, dtype=torch.float64)[0].tolist())


class Listed(Settings):
    """These designs and no others: what a person, or a search, has chosen."""

    kind: Literal["listed"] = "listed"
    chosen: tuple[Design, ...] = Field(min_length=1)
    """The choice on every axis, by the name of the axis."""

    def designs(self, axes: Mapping[str, Axis]) -> Iterator[Design]:
        """The designs in the order of the list."""
        for design in self.chosen:
            if design.keys() != axes.keys():
                raise ValueError(
                    f"a listed design chooses on {', '.join(design)}; the axes are "
                    f"{', '.join(axes)}"
                )
            for name, level in design.items():
                axes[name].assignments(level)
            yield {name: design[name] for name in axes}


Sampler: TypeAlias = Annotated[Grid | Random | Sobol | Listed, Field(discriminator="kind")]


def _at(axes: Mapping[str, Axis], places: Sequence[float]) -> Design:
    return {name: axis.at(place) for (name, axis), place in zip(axes.items(), places, strict=True)}
