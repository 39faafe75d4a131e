"""The next design of a search: Optuna by ask and tell, with the run folders as its memory.

::

    runs/<digest>/ ──validation part, mean over seeds──► trials ─┐
    designs of the round under way ──counted as running─────────┴─► Optuna ──► designs/0017.json

An Optuna study is built again for each request, from the run folders, and discarded: there is no
second memory that a killed worker could leave wrong. The answer depends only on the study's file
and the results; two workers that ask at once get the same one.
"""

import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from joint.feed import derive_seed
from joint.judge.metric import lower_is_better, scores_nothing
from joint.parse import is_number

from .axis import Axis, Design, Level
from .condition import axes_of
from .derived import cost
from .ledger import Ledger, PlannedRun, StudyError
from .sampler import GP, IN_FORMULAS, NSGA2, TPE, Random, Search
from .space import Study
from .store import add_design
from .validation import on_validation

if TYPE_CHECKING:  # slow to import, and only a search needs it
    import optuna

__all__ = ["Trial", "ask", "ask_next", "check_search", "known_trials"]

# Requests until a random draw decides: each refused answer counts as running in the next request.
_QUESTIONS = 32
_DRAWS = 1000
# Number of draws scored against the constraints if not all designs can be listed, and the largest
# number of designs that are scored.
_LOOKED_AT, _SCORED = 20_000, 1000
# Optuna's verbosity is shared by all threads.
_ALONE = threading.Lock()


class Trial(NamedTuple):
    """A requested design and its results."""

    design: Design
    digest: str
    """Digest of its first run: designs with the same configuration are the same trial."""
    values: tuple[float, ...] | None
    """Value of each objective; None while it is running, or if nothing is known of any."""


class Proposal(NamedTuple):
    """A design that a search has chosen."""

    design: Design
    by_chance: bool
    """Whether it was drawn at random, as nothing was known yet or no answer was allowed."""


def objectives(study: Study) -> dict[str, bool]:
    """Objectives of a study's search, and whether lower is better for each."""
    assert isinstance(study.sampler, Search)
    if not study.sampler.objectives:
        return {study.plan.metric: lower_is_better(study.plan.metric)}
    return {name: direction == "down" for name, direction in study.sampler.objectives.items()}


def check_search(study: Study) -> None:
    """Refuse a search if Optuna is not installed; other studies do not need it.

    Raises
    ------
    StudyError
        The message says what to install.
    """
    if isinstance(study.sampler, Search):
        with _optuna():
            pass


# ------------------------------------------------------------------------------ what is known


def known_trials(ledger: Ledger) -> list[Trial] | None:
    """The designs so far, with results as far as a search may use them for the next one.

    None while the previous round has pending runs.

    A failed run, or one without the number, counts as the worst value seen, and as 0 in a share
    such as the accuracy: it is an outcome, which the search must learn to avoid. A cost is not an
    outcome: it is given by the formula of the axes, or is the mean over the other seeds; only if
    neither exists is it the worst value seen. A run that its machine gave up is not an outcome
    either: its design is known by its other seeds.

    Raises
    ------
    StudyError
        When no run has one of the objectives, or the machine gave up all runs of a design.
    """
    study = ledger.study
    assert isinstance(study.sampler, Search)
    known = study.sampler.known_to(len(ledger.designs))
    states = dict(zip(ledger.runs, ledger.states(), strict=True))
    runs = [[run for run in states if run.design == number] for number in range(known)]
    # Only these: results of the current round must not depend on which worker asks.
    ended = {states[run] for run in chain.from_iterable(runs)}
    if not ended <= {"done", "failed"}:
        return None
    names = objectives(study)
    values = np.full((known, len(study.seeds), len(names)), np.nan)
    gone = np.zeros(values.shape[:2], dtype=bool)
    for number, own in enumerate(runs):
        for place, run in enumerate(own):
            gone[number, place] = ledger.is_machine_fault(run)
            tells = on_validation if states[run] == "done" else _without_a_run
            found = [tells(ledger, run, name) for name in names]
            values[number, place] = [math.nan if v is None else v for v in found]
    for column, (name, down) in enumerate(names.items()):
        if name in (*study.costs, *IN_FORMULAS):
            values[..., column] = _as_other_seeds(values[..., column])
        seen = values[..., column][np.isfinite(values[..., column])]
        if len(seen) == 0 and "done" in ended:
            raise StudyError(
                f"no run of {ledger.folder} has {name}, which the search optimises: its designs "
                "have no such stage; start a study with other objectives"
            )
        if len(seen):
            worst = 0.0 if scores_nothing(name) else seen.max() if down else seen.min()
            values[..., column] = np.nan_to_num(values[..., column], nan=worst)
    if gone.all(1).any():
        raise StudyError(
            f"all runs of design {int(gone.all(1).argmax())} of {ledger.folder} were given up, "
            "killed or out of memory, and the search cannot continue without it: fix the cause, "
            "then lens2label study run FOLDER --retry-failed"
        )
    first = {run.design: run.digest for run in reversed(ledger.runs)}
    return [
        Trial(
            design, first[number], _known(values[number][~gone[number]]) if number < known else None
        )
        for number, design in enumerate(ledger.designs)
    ]


def _without_a_run(ledger: Ledger, run: PlannedRun, name: str) -> float | None:
    """A cost that follows from the levels of a design alone; otherwise None."""
    text = ledger.study.costs.get(name)
    return None if text is None else cost(text, ledger.designs[run.design], {})


def _as_other_seeds(values: np.ndarray) -> np.ndarray:
    """Values ``[designs, seeds]``, with gaps filled by the mean over the design's other seeds."""
    means = np.ma.masked_invalid(values).mean(1, keepdims=True).filled(np.nan)
    return np.where(np.isnan(values), means, values)


def _known(values: np.ndarray) -> tuple[float, ...] | None:
    means = values.mean(0)
    return tuple(means.tolist()) if np.isfinite(means).all() else None


# -------------------------------------------------------------------------------- what is asked


def ask_next(ledger: Ledger) -> Ledger | None:
    """Let a search choose one more design, if the earlier rounds have ended.

    Returns
    -------
    Ledger or None
        With the new design, which another worker may have added; None if there is nothing to
        choose, or the results are not there yet.

    Raises
    ------
    StudyError
        Without Optuna, or when no other design can be found.
    """
    if not isinstance(ledger.study.sampler, Search) or len(ledger.runs) >= ledger.wanted:
        return None
    known = known_trials(ledger)
    if known is None:
        return None
    found = ask(ledger.study, known)
    return add_design(ledger, found.design, by_chance=found.by_chance)


def ask(study: Study, known: Sequence[Trial]) -> Proposal:
    """Choose the next design of a search.

    Optuna does not know the constraints, and answers with the best of all designs. If that design
    is not allowed, a Gaussian process chooses among allowed designs, by the same expected
    improvement; the other samplers draw their answers at random and are asked again.

    Parameters
    ----------
    study : Study
        Study whose sampler is a search.
    known : sequence of Trial
        All earlier designs, in order.

    Returns
    -------
    Proposal
        A level on each axis: it meets the constraints, is a valid configuration, and was not
        requested before.

    Raises
    ------
    StudyError
        Without Optuna, or when no such design can be found.
    """
    assert isinstance(study.sampler, Search)
    number, refused = len(known), []
    drawn = Random(count=1, seed=derive_seed(study.sampler.seed, "chance", number))
    if any(one.values is not None for one in known):
        space = {name: _distribution(axis) for name, axis in study.axes.items()}
        for attempt in range(_QUESTIONS):
            seed = derive_seed(study.sampler.seed, "ask", number, attempt) % 2**32
            found = _answer(study, space, [*known, *refused], seed)
            if _is_new(study, found, known):
                return Proposal(found, by_chance=False)
            if isinstance(study.sampler, GP):
                # Its best design of all hardly moves, however often it is refused.
                among = _to_score(study, drawn)
                if among:
                    found = _answer(study, space, known, seed, among=among)
                    if _is_new(study, found, known):
                        return Proposal(found, by_chance=False)
                break
            refused.append(Trial(found, "", None))
    for found in chain(islice(drawn.designs(study.axes), _DRAWS), study.every() or ()):
        if _is_new(study, found, known):
            return Proposal(found, by_chance=True)
    # If the last one is an invalid configuration, this says why.
    study.config(found, study.seeds[0])  # pyright: ignore[reportPossiblyUnboundVariable]
    raise StudyError(
        f"the search has found {number} designs, and no other one that meets the constraints and "
        "is a different configuration: it is finished; make its count smaller in a new study"
    )


def _allows(study: Study, design: Design) -> bool:
    try:
        return study.allows(design)
    except ValueError:  # a constraint has no value there
        return False


def _to_score(study: Study, drawn: Random) -> list[Design]:
    """Designs that meet the constraints: all in a small space, otherwise random ones."""
    every = study.every()
    if every is not None:
        order = np.random.default_rng(drawn.seed).permutation(len(every))
        return [every[number] for number in order[:_SCORED]]
    looked_at = islice(drawn.designs(study.axes), _LOOKED_AT)
    return [*islice((one for one in looked_at if _allows(study, one)), _SCORED)]


def _is_new(study: Study, design: Design, known: Sequence[Trial]) -> bool:
    if not _allows(study, design):
        return False
    try:
        digest = study.config(design, study.seeds[0]).digest()
    except ValueError:  # no configuration
        return False
    return all(digest != one.digest for one in known)


def _answer(
    study: Study,
    space: dict[str, Any],
    known: Sequence[Trial],
    seed: int,
    *,
    among: Sequence[Design] = (),
) -> Design:
    """Optuna's answer, allowed or not; it is asked for all axes, also those that are absent.

    A Gaussian process may be asked for the best ``among`` some designs that are not known yet.
    """
    with _optuna() as optuna:
        if among:
            sampler = _best_among(optuna, study, space, among, known, seed)
        else:
            sampler = _sampler(optuna, study, seed)
        asked = optuna.create_study(
            directions=["minimize" if down else "maximize" for down in objectives(study).values()],
            sampler=sampler,
        )
        tell = _replay if isinstance(study.sampler, NSGA2) else _put
        tell(optuna, asked, study, space, known)
        trial = asked.ask(space)
    levels = {name: _level(axis, trial.params[name]) for name, axis in study.axes.items()}
    return {name: levels[name] for name in axes_of(levels, study.axes)}


def _sampler(optuna: Any, study: Study, seed: int) -> "optuna.samplers.BaseSampler":  # noqa: ANN401
    match study.sampler:
        case TPE():
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=1,
                multivariate=True,
                # An axis that only some designs have is learned from those designs.
                group=any(axis.when for axis in study.axes.values()),
                constant_liar=True,
            )
        case GP():
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
        case search:
            # By default Optuna only recombines the numbers of the first round.
            blend = optuna.samplers.nsgaii.BLXAlphaCrossover()
            return optuna.samplers.NSGAIISampler(
                seed=seed,
                population_size=search.population,  # pyright: ignore[reportAttributeAccessIssue]
                crossover=blend,
            )


def _best_among(
    optuna: Any,  # noqa: ANN401
    study: Study,
    space: dict[str, Any],
    among: Sequence[Design],
    known: Sequence[Trial],
    seed: int,
) -> "optuna.samplers.BaseSampler":
    """A Gaussian process whose acquisition function is maximised over some designs only."""

    class BestAmong(optuna.samplers.GPSampler):
        # Optuna's method for overriding the search of the maximum.
        def _optimize_acqf(self, acqf: Any, best_params: object) -> np.ndarray:  # noqa: ANN401
            del best_params
            trials = [_optuna_trial(optuna, study, space, Trial(one, "", None)) for one in among]
            places = acqf.search_space.get_normalized_params(trials)
            order = np.argsort(-acqf.eval_acqf_no_grad(places), kind="stable")
            new = (n for n in order if _is_new(study, among[n], known))
            return places[next(new, order[0])]

    return BestAmong(seed=seed, n_startup_trials=1)


def _put(
    optuna: Any,  # noqa: ANN401
    asked: "optuna.Study",
    study: Study,
    space: dict[str, Any],
    known: Iterable[Trial],
) -> None:
    """Tell Optuna all known trials at once."""
    for one in known:
        asked.add_trial(_optuna_trial(optuna, study, space, one))


def _optuna_trial(
    optuna: Any,  # noqa: ANN401
    study: Study,
    space: dict[str, Any],
    one: Trial,
) -> "optuna.trial.FrozenTrial":
    states = optuna.trial.TrialState
    # A process over all axes needs a value on each: the same one wherever the axis is absent.
    middle = {name: axis.at(0.5) for name, axis in study.axes.items()}
    missing = middle if isinstance(study.sampler, GP) else {}
    params = _params(study, missing | one.design)
    return optuna.trial.create_trial(
        state=states.RUNNING if one.values is None else states.COMPLETE,
        values=one.values,
        params=params,
        distributions={name: space[name] for name in params},
    )


def _replay(
    optuna: Any,  # noqa: ANN401
    asked: "optuna.Study",
    study: Study,
    space: dict[str, Any],
    known: Sequence[Trial],
) -> None:
    """Ask and tell the known trials again, round by round, which defines the generations."""
    size = study.sampler.first  # pyright: ignore[reportAttributeAccessIssue]
    for start in range(0, len(known), size):
        generation = known[start : start + size]
        trials = []
        for one in generation:
            asked.enqueue_trial(_params(study, one.design))
            trial = asked.ask(space)
            _ = trial.relative_params  # the sampler records the generation when it is asked
            trials.append(trial)
        for trial, one in zip(trials, generation, strict=True):
            if one.values is not None:
                asked.tell(trial, one.values)


# ------------------------------------------------------------------- levels as Optuna's numbers


def _distribution(axis: Axis) -> Any:  # noqa: ANN401
    with _optuna() as optuna:
        kinds = optuna.distributions
        if axis.values is None:
            low, high = axis.ends()
            log = axis.scale == "log"
            if axis.integer:
                return kinds.IntDistribution(int(low), int(high), log=log)
            return kinds.FloatDistribution(low, high, log=log)
        levels = axis.levels()
        if _ordered(levels):  # neighbours are similar
            return kinds.IntDistribution(0, len(levels) - 1)
        return kinds.CategoricalDistribution(tuple(range(len(levels))))


def _ordered(levels: Sequence[Level]) -> bool:
    numbers = [level for level in levels if is_number(level)]
    return len(numbers) == len(levels) and numbers in (sorted(numbers), sorted(numbers)[::-1])


def _params(study: Study, design: Design) -> dict[str, Any]:
    return {
        name: design[name] if axis.values is None else axis.levels().index(design[name])
        for name, axis in study.axes.items()
        if name in design
    }


def _level(axis: Axis, param: float) -> Level:
    return axis.rounded(param) if axis.values is None else axis.levels()[int(param)]


@contextmanager
def _optuna() -> Iterator[Any]:
    """Optuna without its log messages on studies and its warnings on experimental features."""
    try:
        import optuna  # here, so that only a search pays for it
    except ImportError as error:
        raise StudyError(
            "a search needs Optuna, which is not installed: pip install 'lens2label[optuna]'"
        ) from error
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield optuna
        finally:
            optuna.logging.set_verbosity(before)
