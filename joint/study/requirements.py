"""Requirements on a design: bounds of its numbers, and a margin to the best."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from joint.judge.metric import STUDY_METRICS, check_value, is_study_metric
from joint.settings import FrozenDict, Settings, nearest

from .significance import settled

__all__ = ["Bound", "Requirements", "check_reached"]


class Bound(NamedTuple):
    """A lower or upper bound of a number of a design."""

    name: str
    """Name of a metric or a cost."""
    value: float
    """Value of the bound."""
    least: bool
    """Whether ``value`` is a lower bound; otherwise an upper one."""

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.least else '<='} {self.value:g}"

    def spare(self, value: float) -> float:
        """Distance of a value from the bound, positive on the right side.

        Parameters
        ----------
        value : float
            Value of the metric or the cost.

        Returns
        -------
        float
            Less than 0 on the wrong side. A value that misses the bound by rounding alone is on it.
        """
        if settled(value) == settled(self.value):
            return 0.0
        return value - self.value if self.least else self.value - value


def _of_classes(given: object) -> object:
    """Names such as ``recall.mel``, which TOML reads as a table in a table."""
    if not isinstance(given, Mapping):
        return given
    flat: dict[object, object] = {}
    for name, value in given.items():
        inner = value if isinstance(value, Mapping) else None
        flat |= {name: value} if inner is None else {f"{name}.{of}": v for of, v in inner.items()}
    return flat


_Bounds = Annotated[dict[str, float], BeforeValidator(_of_classes), AfterValidator(FrozenDict)]


class Requirements(Settings):
    """Requirements that a design must all meet to be good enough.

    Examples
    --------
    >>> wanted = Requirements(at_least={"recall.mel": 0.8}, at_most={"bits": 4000}, within=0.02)
    >>> print(*wanted.bounds(), sep=", ")
    recall.mel >= 0.8, bits <= 4000
    """

    at_least: _Bounds = FrozenDict()
    """Lower bounds by name, of metrics (:data:`STUDY_METRICS`, also of one class, such as
    ``recall.mel``) and of the study's costs; a name that is both is the metric."""
    at_most: _Bounds = FrozenDict()
    """Upper bounds, likewise."""
    within: float | None = Field(default=None, gt=0)
    """Largest distance of a design from the best of all, in the metric of the plan."""

    def __bool__(self) -> bool:
        """Whether anything is required."""
        return bool(self.at_least or self.at_most or self.within is not None)

    def bounds(self) -> tuple[Bound, ...]:
        """The bounds, in the order in which they were given."""
        return (
            *(Bound(name, value, True) for name, value in self.at_least.items()),
            *(Bound(name, value, False) for name, value in self.at_most.items()),
        )

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that are bounded, each once."""
        return tuple(dict.fromkeys(b.name for b in self.bounds() if is_study_metric(b.name)))

    def told(self, metric: str) -> Iterator[str]:
        """Each requirement in words; ``metric`` is the metric for :attr:`within`."""
        yield from map(str, self.bounds())
        if self.within is not None:
            yield f"within {self.within:g} of the best {metric}"

    def check_names(self, costs: Sequence[str]) -> None:
        """Raise a ValueError for a bound that is neither of a metric nor of one of ``costs``."""
        for name in (each.name for each in self.bounds()):
            if not is_study_metric(name) and name not in costs:
                raise ValueError(
                    f"{name!r} is neither a metric of a study nor one of its costs, "
                    f"{', '.join(costs)}"
                    f"{nearest(name, (*costs, *STUDY_METRICS), always=False)}"
                )


def check_reached(wanted: Requirements) -> None:
    """Refuse a bound that its metric cannot reach, such as 30 for a share of 0.3.

    For new requirements only: those of a study that is there already are read as they are.

    Raises
    ------
    ValueError
        The message gives the range of the metric.
    """
    for name, value, _ in wanted.bounds():
        if is_study_metric(name):
            check_value(name, value)
