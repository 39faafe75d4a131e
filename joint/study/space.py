"""A study as data: the designs to compare, their seeds, and the plan by which it is judged.

::

    axes ──sampler──► designs ──constraints──► designs ──derived, × seeds──► run configurations
    plan ──comparisons──► pairs of designs that will be tested, named before the first run

A search (:class:`TPE`, :class:`GP`, :class:`NSGA2`) defines only its first round; the rest follows
from the results, see :mod:`joint.study.search`. A :class:`Race` spends the later seeds only on the
better designs.

A *design* is one level on every axis; a *run* is a design with a seed. The seed sets the initial
weights, the order of the pictures, their views and the noise; the scenes and their split do not
depend on it: two designs with the same seed are a pair.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from classify.metric_names import CLASS_METRICS
from joint.config.faults import fault_line
from joint.config.run import RunConfig
from joint.judge.metric import STUDY_METRICS, is_study_metric
from joint.parse import parse_json, parse_toml, with_nulls
from joint.settings import ConfigError, FrozenDict, Settings, nearest

from .axis import Axis, Design, Level
from .condition import axes_of, check_conditions, combinations, exclusive, never_meets
from .constraint import Term, satisfied, terms
from .derived import check_costs, check_derived, derive
from .formula import evaluate, names_in, respelt
from .paths import check_path, field_of, is_within, set_path
from .race import Race
from .requirements import Requirements
from .sampler import (
    MEASURED_COSTS,
    OBJECTIVES,
    Grid,
    LatinHypercube,
    Sampler,
    Search,
    is_sought,
)
from .significance import seeds_for_claim

__all__ = ["Comparison", "Pair", "Plan", "Study", "load_study"]

_MANY = 100_000  # largest number of designs that are listed one by one
_GRID = 1_000_000  # largest number of combinations of a grid, about half a minute
_TWICE = (
    "a comparison must choose on the same axes twice, such as first = {camera = 'lens'} "
    "and second = {camera = 'none'}"
)


class Comparison(Settings):
    """Two kinds of designs that are tested against each other, at every level of the other axes."""

    first: Design
    """Levels on some axes."""
    second: Design
    """Other levels on the same axes, except for axes that only one of the two has."""

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if not self.first.keys() & self.second.keys():
            raise ValueError(_TWICE)
        if self.first == self.second:
            raise ValueError("a comparison needs two different designs")
        return self


class Plan(Settings):
    """Plan by which the study is judged, fixed before the first run."""

    metric: str = "balanced_accuracy"
    """The metric that decides."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Significance level for all planned comparisons together."""
    comparisons: tuple[Comparison, ...] = ()
    """Comparisons that will be claimed if they are shown; everything else is exploration."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples of the lesions."""
    requirements: Requirements = Requirements()
    """Requirements on a design. Which designs meet them is claimed too (:func:`select_designs`), at
    half of :attr:`alpha` over all designs, in addition to the comparisons."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not is_study_metric(self.metric):
            name, _, of = self.metric.partition(".")
            one = [f"{each}.{of or 'CLASS'}" for each in CLASS_METRICS]
            choices = one if of or name in CLASS_METRICS else STUDY_METRICS
            raise ValueError(f"there is no metric {self.metric!r}{nearest(self.metric, choices)}")
        return self


class Pair(NamedTuple):
    """Two designs that the plan compares, by their numbers."""

    name: str
    first: int
    second: int


# ---------------------------------------------------------------------------------------- study


def _of_paths(derived: object) -> object:
    """Paths such as ``system.sensor.photons``, which TOML reads as tables in tables unquoted."""
    if isinstance(derived, Mapping):
        for name, formula in derived.items():
            if isinstance(formula, Mapping):
                raise ValueError(
                    f"{name} is a table: write the whole path in quotes, such as "
                    '"system.sensor.photons" = "light * (pitch / stop)**2"'
                )
    return derived


class Study(Settings):
    """Designs, seeds, and the plan by which they are judged.

    Examples
    --------
    >>> study = Study(
    ...     name="camera and light",
    ...     axes={
    ...         "light": Axis(path="system.sensor.photons", values=(50, 300, 2000)),
    ...         "bits": Axis(path="system.sensor.bit_depth", values=(4, 8)),
    ...     },
    ...     plan=Plan(comparisons=(Comparison(first={"bits": 8}, second={"bits": 4}),)),
    ... )
    """

    name: str = "study"
    """Name of the study."""
    question: str = ""
    """Question that it is to answer."""
    base: RunConfig = RunConfig()
    """Configuration of everything that the axes do not set."""
    axes: dict[str, Axis] = Field(min_length=1)
    """Axes in which designs differ, by a short name."""
    derived: Annotated[dict[str, str], BeforeValidator(_of_paths), AfterValidator(FrozenDict)] = (
        FrozenDict()
    )
    """Fields that follow from the axes: a formula by path, such as ``{"system.sensor.photons":
    "light * (pitch / stop)**2"}``. It reads numeric axes and knows ``+ - * / **``, min, max, round,
    floor, ceil and sqrt. Its value is rounded to six digits, like ranges, unless it is a whole
    number and the formula has no power. It is not an axis: designs differ by their levels. A design
    without an axis that the formula reads has the field of the base."""
    costs: Annotated[dict[str, str], AfterValidator(FrozenDict)] = FrozenDict()
    """Costs of designs, where lower is better: a formula by name, such as ``{"lamp": "light",
    "seconds": "bits / 2e6"}``, of numeric axes and of the measured photons, bits, pixels, macs,
    parameters and bpp. By default the first five of these."""
    sampler: Sampler = Grid()
    """Which combinations are run."""
    constraints: tuple[str, ...] = ()
    """Conditions on designs, such as ``camera != none or light >= 300``: an axis equals (``==``) or
    does not equal (``!=``) a level or another axis, or an order of numbers or formulas of axes,
    such as ``pitch <= 463e-9 * stop``; joined by ``or``. An order may also read :attr:`costs` that
    depend only on axes and so are known before a run. A constraint does not apply to designs that
    lack an axis that it reads."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4, 5), min_length=1)
    """Seeds, each of which gives one run per design; from 0 up to below 2**63."""
    race: Race | None = None
    """After how many seeds only the better designs continue; by default all get all seeds."""
    plan: Plan = Plan()
    """Plan by which the study is judged."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, axis in self.axes.items():
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(f"an axis is named by one word, not {name!r}")
            for path in axis.paths():
                _check_path(path, f"axes.{name}")
        check_conditions(self.axes)
        for (one, axis), (two, other) in itertools.combinations(self.axes.items(), 2):
            both = sorted({*map(field_of, axis.paths())} & {*map(field_of, other.paths())})
            if both and not exclusive(one, two, self.axes):
                own = both[0] in axis.paths() & other.paths()
                also = "" if own else ", to which a radius is converted"
                raise ValueError(f"two axes set {both[0]}{also}; make them one")
        check_derived(self.derived, self.axes)
        check_costs(self.costs, self.axes)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"the seeds must differ: {list(self.seeds)}")
        beyond = [seed for seed in self.seeds if not 0 <= seed < 2**63]
        if beyond:
            raise ValueError(f"a seed is a whole number from 0 to 2**63 - 1, not {beyond[0]}")
        for text in self.constraints:
            for term in terms(text):
                for name in sorted(term.axes()):
                    if name in self.costs and name not in self.axes:
                        self._check_cost(name, term, text)
                        continue
                    axis = self._axis(name)
                    if not term.is_order and term.right not in self.axes:
                        # A misspelt level would never be matched.
                        _check_level(axis, term.right, f"the constraint {text!r}, {name}")
        for number, comparison in enumerate(self.plan.comparisons):
            for name, level in (*comparison.first.items(), *comparison.second.items()):
                where = f"comparison {number} of the plan, {name}"
                _check_level(self._axis(name), level, where)
            self._check_twice(comparison)
        self.plan.requirements.check_names(self.cost_names)
        if isinstance(self.sampler, Search):
            self._check_search(self.sampler)
        if self.race is not None:
            self._check_race(self.race)
        return self

    def _check_unplanned(self, what: str, why: str) -> None:
        """Refuse a plan for designs or seeds that follow from results."""
        for planned, there in (
            ("comparisons", self.plan.comparisons),
            ("requirements", self.plan.requirements),
        ):
            if there:
                raise ValueError(
                    f"a {what} cannot plan {planned}, as {why}: leave them out, and confirm its "
                    "result with `lens2label study confirm`"
                )

    def _check_race(self, race: Race) -> None:
        if isinstance(self.sampler, Search):
            raise ValueError(
                f"a search ({self.sampler.kind}) cannot be a race, as it learns from designs that "
                "have all seeds: leave out the race, or take a grid, random, sobol, "
                "latin_hypercube or listed designs"
            )
        self._check_unplanned("race", "which designs have all seeds follows from their results")
        race.check(self.plan.metric, len(self.seeds))

    def _check_search(self, search: Search) -> None:
        self._check_unplanned("search", "its designs are not known before the first run")
        search.check_objectives(self.costs)
        if not search.objectives and not is_sought(self.plan.metric):
            raise ValueError(
                f"{self.plan.metric} is not measured on the validation part, where a search looks: "
                f"give the sampler objectives, from {', '.join(OBJECTIVES)}"
            )

    def _check_twice(self, comparison: Comparison) -> None:
        """Refuse a comparison that leaves open an axis that both of its designs may have."""
        first, second = comparison.first, comparison.second
        for one, other in ((first, second), (second, first)):
            for name in one.keys() - other.keys():
                if not never_meets(name, other, self.axes):
                    raise ValueError(
                        f"{_TWICE}; here only one of them chooses on {name}, which the other may "
                        "have too: choose on it in both, or say with when which designs have it"
                    )

    def _check_cost(self, cost: str, term: Term, constraint: str) -> None:
        """Refuse a constraint on a cost that is not an order, or that is known only after a run."""
        if not term.is_order:
            raise ValueError(
                f"the constraint {constraint!r} tests equality of the cost {cost}, a number that "
                f"only orders may read (<, <=, >, >=), such as {cost} <= {term.right}"
            )
        measured = sorted(names_in(self.costs[cost]) - self.axes.keys())
        if measured:
            raise ValueError(
                f"the constraint {constraint!r} reads the cost {cost}, which is known only after a "
                f"run, as {measured[0]} is measured: constrain the axes, or read the fronts of "
                f"{self.plan.metric} against {cost}"
            )

    def _axis(self, name: str) -> Axis:
        if name not in self.axes:
            hint = respelt(name, self.axes) or nearest(name, [*self.axes])
            raise ValueError(f"there is no axis {name!r}{hint}")
        return self.axes[name]

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of the costs: :attr:`costs`, or those that every run measures."""
        return tuple(self.costs) or MEASURED_COSTS

    def sets(self, axis: str) -> frozenset[str]:
        """Paths of the fields that change with ``axis``, also derived ones."""
        read = {path for path, text in self.derived.items() if axis in names_in(text)}
        return frozenset(self.axes[axis].paths() | read)

    def varies(self, *fields: str) -> bool:
        """Whether any of these fields differs between designs.

        Parameters
        ----------
        fields : str
            Paths, such as ``data`` or ``training.epochs``.

        Returns
        -------
        bool
            Whether an axis, or a field derived from it, sets one of these fields, a field inside
            it, or a table around it.
        """
        return any(
            is_within(path, field) or is_within(field, path)
            for axis in self.axes
            for path in self.sets(axis)
            for field in fields
        )

    def designs(self) -> tuple[Design, ...]:
        """The designs that meet the constraints, each once; for a search, those of its first round.

        Raises
        ------
        ValueError
            When the constraints exclude all designs, or leave fewer than the sampler wants; for a
            Latin hypercube, when one of its points is excluded; for a grid, when it has more than
            100 000 designs, or more than a million combinations to check.
        """
        return self.drawn()[0]

    def drawn(self) -> tuple[tuple[Design, ...], int]:
        """The :meth:`designs`, and the number of draws that repeated one.

        Raises
        ------
        ValueError
            As :meth:`designs`.
        """
        search = self.sampler if isinstance(self.sampler, Search) else None
        wanted = search.first if search else getattr(self.sampler, "count", None)
        tries = _GRID + 1 if wanted is None else 1000 + 100 * wanted
        found: dict[tuple[tuple[str, Level], ...], Design] = {}
        tried = repeats = 0
        for design in itertools.islice(self.sampler.designs(self.axes), tries):
            tried += 1
            if self.allows(design):
                repeats += found.setdefault(tuple(design.items()), design) is not design
            if len(found) == (_MANY + 1 if wanted is None else wanted):
                break
        if wanted is None and (tried > _GRID or len(found) > _MANY):
            size = f"{_MANY} designs" if len(found) > _MANY else f"{_GRID} combinations"
            raise ValueError(
                f"the grid has more than {size}: give its axes fewer values or points, or take "
                "another sampler, such as sobol"
            )
        if not found:
            raise ValueError(
                f"the constraints exclude all of the {tried} designs tried: "
                f"{'; '.join(self.constraints)}. Leave one out, or widen an axis"
            )
        if wanted is not None and len(found) < wanted:
            if isinstance(self.sampler, LatinHypercube):
                raise ValueError(
                    f"of the {wanted} points of the Latin hypercube, only {len(found)} are "
                    "different designs that meet the constraints, and replacing the rest would "
                    "break it: take sobol or random, leave out a constraint, or take a grid "
                    "if axes have few choices"
                )
            raise ValueError(
                f"{wanted} designs are wanted, and {tried} draws gave only {len(found)} different "
                "ones that meet the constraints: ask for fewer, or use a grid"
            )
        for name in self.axes if isinstance(self.sampler, Grid) else ():
            if not any(name in design for design in found.values()):
                raise ValueError(
                    f"no design has the axis {name}: the constraints, or the points of a range, "
                    "leave none with which its condition holds"
                )
        every = self.every() if search else None
        if search and every is not None and len(every) < search.count:
            raise ValueError(
                f"the search wants {search.count} designs, and only {len(every)} meet the "
                "constraints: ask for fewer, or use a grid"
            )
        return tuple(found.values()), repeats

    def allows(self, design: Design) -> bool:
        """Whether ``design`` meets the constraints on axes that it has."""
        lacks = self.axes.keys() - design.keys()
        return all(
            satisfied(text, _WithCosts(design, self.costs), is_level=self._is_level)
            for text in self.constraints
            if not lacks & self._read_by(text)
        )

    def _is_level(self, term: Term) -> bool:
        """Whether a comparison is with a level of its axis, whatever else has that name."""
        axis = self.axes.get(term.left)
        return not (term.is_order or axis is None or axis.values is None) and (
            term.right in axis.levels()
        )

    def _read_by(self, constraint: str) -> set[str]:
        """Axes that a constraint reads, also through costs."""
        read: set[str] = set()
        for term in terms(constraint):
            read |= term.axes() | (set() if self._is_level(term) else {str(term.right)})
            for name in term.axes() & (self.costs.keys() - self.axes.keys()):
                read |= names_in(self.costs[name])
        return read & self.axes.keys()

    def every(self) -> tuple[Design, ...] | None:
        """Every design that meets the constraints; None if there are infinitely or too many.

        For a range, every number in it counts, whatever its points.
        """
        choices: dict[str, Sequence[Level]] = {}
        for name, axis in self.axes.items():
            levels = axis.every()
            if levels is None or len(levels) > _MANY:
                return None
            choices[name] = levels
        found = tuple(itertools.islice(combinations(self.axes, choices), _MANY + 1))
        return None if len(found) > _MANY else tuple(filter(self.allows, found))

    def config(self, design: Mapping[str, Level], seed: int) -> RunConfig:
        """Configuration of the run of ``design`` with ``seed``.

        Parameters
        ----------
        design : mapping
            Its levels.
        seed : int

        Raises
        ------
        ConfigError
            When the levels do not fit together, with the design and the reason; when the design
            does not have levels on exactly the axes that it has.
        """
        there = axes_of(design, self.axes)
        if design.keys() != set(there):
            raise ConfigError(
                f"a design with these levels has the axes {', '.join(there)}, but it chooses on "
                f"{', '.join(design)}"
            )
        content = self.base.model_dump(mode="json")
        sets = {
            p: v for name in there for p, v in self.axes[name].assignments(design[name]).items()
        }
        sets |= derive(self.derived, design)
        # Whole sub-configurations first, then fields inside them that other axes set.
        for path in sorted(sets, key=lambda path: path.count(".")):
            set_path(content, path, sets[path])
        for part in (content["system"], content["training"]):
            if isinstance(part, dict):  # otherwise it is invalid, as reported below
                part["seed"] = seed
        try:
            return RunConfig.model_validate(content)
        except ValidationError as error:
            faults = "\n  ".join(
                fault_line(fault, RunConfig, whole="the run", kinds=True)
                for fault in error.errors()
            )
            raise ConfigError(
                f"the design {levels_shown(design)} is not a valid configuration:\n  {faults}\n"
                "Say with when which designs have an axis, exclude the design by a constraint, or "
                "set what belongs together on one axis"
            ) from error

    def pairs(self, designs: Sequence[Design]) -> tuple[Pair, ...]:
        """Pairs among ``designs`` that the plan compares.

        Raises
        ------
        ValueError
            When a comparison matches no two designs that are equal in everything else.
        """
        found = []
        for comparison in self.plan.comparisons:
            here = list(_pairs(comparison, designs))
            if not here:
                raise ValueError(
                    f"no two designs compare {levels_shown(comparison.first)} with "
                    f"{levels_shown(comparison.second)} and are equal in everything else: "
                    + self._advice(comparison)
                )
            found += here
        return tuple(found)

    def _advice(self, comparison: Comparison) -> str:
        """What to do if a comparison matches no designs."""
        first, second = comparison.first, comparison.second
        for name in (name for name in self.axes if name not in first | second):
            if never_meets(name, first, self.axes) != never_meets(name, second, self.axes):
                return f"choose on {name} too, which only one of the two has"
        return "use a grid, or list both"

    def doubt(self, pairs: int) -> str | None:
        """Why so many planned ``pairs`` cannot show anything with these seeds, or None."""
        if pairs == 0:
            return None
        seeds, needed = len(self.seeds), seeds_for_claim(self.plan.alpha, pairs)
        if seeds >= needed:
            return None
        return (
            f"{seeds} paired seed{'s' * (seeds > 1)} cannot give a p below "
            f"{2.0 ** (1 - seeds):.4g}, and the smallest of {pairs} planned "
            f"comparison{'s' * (pairs > 1)} must reach {self.plan.alpha / pairs:.4g}: nothing can "
            f"be shown. Use at least {needed} seeds"
        )


def load_study(path: Path | str) -> Study:
    """Read a study from ``path``, a ``.toml`` or JSON file.

    TOML has no null: the word ``"null"`` stands for it in the base, in the values of an axis and
    in what the plan and the sampler choose.

    Raises
    ------
    ConfigError
        When the file cannot be read, or a key or value is unknown; with the place of each.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        toml = path.suffix.lower() == ".toml"
        given = _with_nulls(parse_toml(content)) if toml else parse_json(content)
        if isinstance(given, dict) and not given.keys() & Study.model_fields.keys():
            # A run's configuration, or the sizes of studies: the keys tell what was taken for one.
            raise ConfigError(
                f"{path} is no study file, whose keys are {', '.join(Study.model_fields)}: it has "
                f"{', '.join(given) or 'none'}"
            )
        return Study.model_validate(given)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror or error}. Name a study file, a .toml or .json "
            "with axes and seeds; lens2label study run also takes the folder that an earlier one "
            "wrote"
        ) from error
    except ConfigError:
        raise
    except ValidationError as error:
        faults = "\n  ".join(
            fault_line(fault, Study, whole="the study") for fault in error.errors()
        )
        raise ConfigError(f"{path} is not a valid study:\n  {faults}") from error
    except ValueError as error:  # neither JSON nor TOML, nor text
        kind = (
            "TOML" if path.suffix.lower() == ".toml" else "JSON, which all but a .toml is read as"
        )
        raise ConfigError(f"{path} is not {kind}: {error}") from error


class _WithCosts(dict[str, Level]):
    """A design with its costs, each computed only when a constraint reads it."""

    def __init__(self, design: Design, costs: Mapping[str, str]) -> None:
        super().__init__(design)
        self._costs = costs

    def __missing__(self, name: str) -> float:
        return evaluate(self._costs[name], cast(Mapping[str, float], self))


def _check_path(path: str, where: str) -> None:
    try:
        check_path(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_level(axis: Axis, level: Level, where: str) -> None:
    try:
        axis.assignments(level)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _with_nulls(study: dict[str, Any]) -> dict[str, Any]:
    """A study read from TOML, with the word null replaced by None wherever a value may be."""
    axes = study.get("axes")
    if isinstance(axes, dict):
        axes = {
            name: {k: with_nulls(v) if k in ("values", "when") else v for k, v in axis.items()}
            if isinstance(axis, dict)
            else axis
            for name, axis in axes.items()
        }
        study = {**study, "axes": axes}
    return {
        key: with_nulls(value) if key in ("base", "plan", "sampler") else value
        for key, value in study.items()
    }


def _pairs(comparison: Comparison, designs: Sequence[Design]) -> Iterator[Pair]:
    chosen = comparison.first.keys() | comparison.second.keys()

    def rest(design: Design) -> Design:
        return {name: level for name, level in design.items() if name not in chosen}

    partners = {
        tuple(rest(design).items()): number
        for number, design in enumerate(designs)
        if comparison.second.items() <= design.items()
    }
    several = len(partners) > 1
    for number, design in enumerate(designs):
        partner = partners.get(tuple(rest(design).items()))
        if partner is None or not comparison.first.items() <= design.items():
            continue
        where = f" at {levels_shown(rest(design))}" if several else ""
        name = f"{levels_shown(comparison.first)} against {levels_shown(comparison.second)}{where}"
        yield Pair(name, number, partner)


def levels_shown(design: Mapping[str, Level]) -> str:
    """The levels of a design as text."""
    return ", ".join(f"{name}={level}" for name, level in design.items())


def numbers_shown(word: str, numbers: Sequence[int]) -> str:
    """Numbers of designs or seeds after their name: ``design 3``, ``designs 3, 5``."""
    return f"{word}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
