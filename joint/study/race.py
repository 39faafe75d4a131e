"""A race: every design gets the first seeds, and only the better ones get further seeds.

::

    designs, first seeds ──runs──► validation part ──the best share──► their next seeds ──► ...
                                        │
                                        └── all others stop: nothing is spent on them any more

This is successive halving (Jamieson and Talwalkar, AISTATS 2016; Li et al., JMLR 18 (2018) 185)
with seeds instead of epochs as the budget: every run is complete. It is a race (Maron and Moore,
NIPS 6, 1994) that decides by a share, not by a test.
"""

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from joint.judge.metric import STUDY_METRICS, is_study_metric
from joint.settings import Settings, nearest

from .sampler import is_sought

__all__ = ["Race"]


class Race(Settings):
    """Number of seeds that designs get before only the better ones continue.

    Examples
    --------
    Of 32 designs and eight seeds, 32 runs on the first seed, 16 on the second, 8 on the next two
    and 4 on the last four: 80 runs, of 256.

    >>> race = Race(rungs=(1, 2, 4), keep=0.5)
    >>> race.sizes(32, 8)
    {1: 32, 2: 16, 4: 8, 8: 4}
    """

    rungs: tuple[int, ...] = Field(min_length=1)
    """Numbers of seeds at which a decision is made, such as (1, 2, 4); designs that are left after
    the last one get all seeds of the study."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of the designs that continue, rounded up; all that are equal at the limit continue."""
    metric: str | None = None
    """Metric that decides: its mean on the validation part over the seeds so far. By default that
    of the plan."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.rungs[0] < 1 or any(one >= other for one, other in pairwise(self.rungs)):
            raise ValueError(
                f"the rungs must be increasing numbers of seeds, from 1, such as [1, 2, 4], not "
                f"{list(self.rungs)}"
            )
        return self

    def check(self, metric: str, seeds: int) -> None:
        """Refuse a race that never ends on so many ``seeds``, or whose metric it cannot measure.

        Parameters
        ----------
        metric : str
            Metric of the plan.
        seeds : int

        Raises
        ------
        ValueError
            The message says what is needed.
        """
        if self.rungs[-1] >= seeds:
            raise ValueError(
                f"the last rung of the race has {self.rungs[-1]} seeds, and the study {seeds}: "
                "no seeds are left for the designs that continue. Give the study more seeds, or "
                "leave out rungs"
            )
        sought = self.metric or metric
        if not (is_study_metric(sought) and is_sought(sought)):
            known = [name for name in STUDY_METRICS if is_sought(name)]
            raise ValueError(
                f"{sought} is not measured on the validation part, where a race decides: give the "
                f"race another metric{nearest(sought, known)}"
            )

    def kept(self, designs: int) -> int:
        """Number of ``designs`` that continue, if no two are equal at the limit."""
        return math.ceil(round(self.keep * designs, 9))  # 0.07 * 100 is slightly above 7

    def told(self, metric: str) -> str:
        """The race in words, for a plan with this ``metric``."""
        rungs = ", ".join(map(str, self.rungs))
        return (
            f"after {rungs} seeds, the best {self.keep:g} by {self.metric or metric} on the "
            "validation part continue"
        )

    def sizes(self, designs: int, seeds: int) -> dict[int, int]:
        """Number of designs that get each number of seeds, if no two are equal at a limit.

        Parameters
        ----------
        designs, seeds : int
            Numbers of the study.

        Returns
        -------
        dict from int to int
            Number of designs by number of seeds, for each rung and for all seeds.
        """
        found = {}
        for rung in (*self.rungs, seeds):
            found[rung] = designs
            designs = self.kept(designs)
        return found

    def further(self, have: Collection[int], seeds: int) -> int:
        """Number of further runs that it will call, or more if designs are equal at a limit.

        Parameters
        ----------
        have : collection of int
            Number of seeds that each design has got so far.
        seeds : int
            Of the study.

        Returns
        -------
        int
            0 after the last decision.
        """
        most = max(have, default=0)
        rungs = [rung for rung in (*self.rungs, seeds) if rung >= most]
        total, count = 0, [*have].count(most)
        for rung, after in pairwise(rungs):
            count = self.kept(count)
            total += count * (after - rung)
        return total
