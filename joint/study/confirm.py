"""The winner of many designs against a baseline, once more, on seeds that had no part in it.

The best of many has been lucky as well as good. What was found by looking is therefore tested by a
study of its own: two designs, one planned comparison, fresh seeds. What the plan required of a good
enough design is required there too, and rules designs out before the best is looked for. How far
one may be behind the best of all needs that one beside it: of two designs, the better is the best.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from joint.caution import caution
from joint.judge.metric import lower_is_better, scores_nothing
from joint.settings import nearest

from .create import write_study
from .findings.selection import Candidate, select_designs
from .sampler import Listed, Search, is_sought
from .space import Comparison, Plan, Study, levels_shown
from .store import Ledger, StudyError
from .validation import on_validation

__all__ = ["Winner", "confirm", "winner"]


class Winner(NamedTuple):
    """The best design of a study so far: a find, not a claim."""

    number: int
    value: float
    """Mean of the metric on the validation part over the seeds."""
    of: int
    """Designs among which it is the best."""


def winner(ledger: Ledger, *, first: int | None = None) -> Winner:
    """The design with the best mean of the plan's metric on the validation part.

    The test part is left for the claim. A run that failed counts as nothing in a share such as the
    accuracy; of other numbers, a design with one is left out. So is, of any, a design of which the
    machine gave up a run; and one that does not meet what the plan requires, as
    :func:`select_designs` says by the test part.

    Parameters
    ----------
    ledger : Ledger
        The study.
    first : int, optional
        Look among so many of the first designs only.

    Raises
    ------
    StudyError
        When no design has ended on all seeds, none of them meets, or may meet, what the plan
        requires, or the metric is not measured on the validation part.
    ValueError
        When no run has a number that the plan requires.
    """
    return _best(ledger, _among(ledger, first))


def _among(ledger: Ledger, first: int | None) -> np.ndarray:
    """Means of so many of the first designs, of those that may meet what the plan requires."""
    means = _validated(ledger)[:first]
    if ledger.study.plan.requirements and not np.isnan(means).all():
        allowed = [each.number for each in _good_enough(ledger) if each.number < len(means)]
        means = _only(means, allowed)
    return means


def _validated(ledger: Ledger) -> np.ndarray:
    """Mean of the metric on the validation part, of each design; NaN where it is not known."""
    metric = ledger.study.plan.metric
    if not is_sought(metric):
        raise StudyError(
            f"{metric} is not measured on the validation part, so that the best design cannot be "
            "told without the test part: name the designs, or plan another metric"
        )
    failed = 0.0 if scores_nothing(metric) else np.nan
    values = np.full((len(ledger.designs), len(ledger.study.seeds)), np.nan)
    place = {seed: number for number, seed in enumerate(ledger.study.seeds)}
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        if state in ("done", "failed") and not ledger.gave_up(run):
            found = on_validation(ledger, run, metric) if state == "done" else failed
            values[run.design, place[run.seed]] = np.nan if found is None else found
    return values.mean(1)


def _only(means: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """The same, of some designs alone."""
    return np.where(np.isin(np.arange(len(means)), numbers), means, np.nan)


def _best(ledger: Ledger, means: np.ndarray) -> Winner:
    metric = ledger.study.plan.metric
    if np.isnan(means).all():
        raise StudyError(
            f"no design of {ledger.folder}{_that_may(ledger)} has a {metric} on all of its seeds "
            "yet"
        )
    best = int((np.nanargmin if lower_is_better(metric) else np.nanargmax)(means))
    return Winner(best, float(means[best]), int(np.isfinite(means).sum()))


def _that_may(ledger: Ledger) -> str:
    """Which designs a choice is among, if not among all."""
    return " that may meet the requirements" if ledger.study.plan.requirements else ""


def _good_enough(ledger: Ledger) -> list[Candidate]:
    """The designs that meet what the plan requires, or may; refuses a study that has none."""
    found = select_designs(ledger).designs
    left = [each for each in found if each.verdict != "does not"]
    if not left:
        wrong = Counter(each.held_back for each in found).most_common()
        raise StudyError(
            f"no design of {ledger.folder} meets what its plan requires; they are held back by "
            f"{'; '.join(f'{what} ({count} of them)' for what, count in wrong)}. Name the one to "
            "confirm all the same (--design)"
        )
    return left


def _cheapest(ledger: Ledger, cost: str | Literal[True]) -> tuple[int, str]:
    """The cheapest design that meets what the plan requires, and why it was taken."""
    study = ledger.study
    names = study.cost_names
    if not study.plan.requirements:
        raise ValueError(
            "the plan requires nothing of a design, so that the cheapest one means nothing: leave "
            "out the cheapest (--cheapest), or name a design (--design)"
        )
    if cost is True:
        cost, *others = names
        if others:
            raise ValueError(
                f"the study has several costs, {', '.join(names)}: name one (--cheapest {cost})"
            )
    if cost not in names:
        raise ValueError(
            f"the study has no cost {cost!r}, but {', '.join(names)}{nearest(cost, names)}"
        )
    left = _good_enough(ledger)
    shown = [each for each in left if each.verdict == "meets"]
    among = shown or left
    spent = {each.number: value for each in among if (value := each.costs[cost]) is not None}
    if not spent:
        raise StudyError(f"no design of {ledger.folder}{_that_may(ledger)} has a {cost} yet")
    least = [number for number, value in spent.items() if value == min(spent.values())]
    # Of equal ones the better; it is not always known which that is.
    one = least[0] if len(least) == 1 else _best(ledger, _only(_validated(ledger), least)).number
    which = "that meet" if shown else "that may meet"
    return one, f"the least {cost} of {len(spent)} {which} the requirements"


def confirm(
    ledger: Ledger,
    folder: Path | str,
    *,
    seeds: int = 6,
    design: int | None = None,
    baseline: int | None = None,
    cheapest: str | bool = False,
) -> Ledger:
    """Write a study that tests a design against a baseline on fresh seeds; nothing is run yet.

    Parameters
    ----------
    ledger : Ledger
        The study in which the design was found.
    folder : path
        Of the new study.
    seeds : int
        How many; the first ones after all that the old study has.
    design : int, optional
        Number of the design; by default the :func:`winner`.
    baseline : int, optional
        Number of the other one; by default the first design of the study, and of a search, the best
        of its first round: what it found before it had learned anything. Where that is the one to
        confirm, the second best of that round, which is said. Where the plan requires
        designs within a margin of the best, and the one to confirm is not the best of all by its
        mean on the validation part, that one.
    cheapest : str or bool
        Name of a cost of the study, or True where it has one: instead of the winner, the design
        that costs least of those that are shown to meet what the plan requires; where none is, of
        those that may (:func:`select_designs`). Of several that cost as little, the best.

    Returns
    -------
    Ledger
        Of two listed designs and one planned comparison, with the requirements of the old plan.

    Raises
    ------
    ValueError
        For a number that no design has, one design twice, two that are tested on different
        pictures, or fewer than two seeds; for a cheapest one beside a named one, by no cost of the
        study, or of a plan without requirements; for a baseline that is known not to be the best
        where the plan requires a margin to it.
    StudyError
        When there is no winner yet, no design meets, or may meet, what the plan requires, or the
        folder holds another study.

    Warns
    -----
    UserWarning
        When a claim cannot be shown with so few seeds, for a named design that does not meet
        what the plan requires, and where a search is to be confirmed by its own first round.
    """
    study = ledger.study
    if seeds < 2:
        raise ValueError(f"a claim needs pairs: at least 2 seeds, and 6 to show anything: {seeds}")
    last = max(study.seeds)
    if last + seeds >= 2**63:
        raise ValueError(f"there are no {seeds} seeds after {last}")
    if design is not None and cheapest is not False:
        raise ValueError(
            "the design is named, or is to be the cheapest: leave out one (--design, --cheapest)"
        )
    if design is not None:
        one, why = design, "chosen"
    elif cheapest is not False:
        one, why = _cheapest(ledger, cheapest)
    else:
        one, _, of = winner(ledger)
        race = "" if study.race is None else f" that a race left of {len(ledger.designs)}"
        why = f"the best on the validation part of {of}{race}{_that_may(ledger)}"
    for number in (one, baseline):
        if number is not None and not 0 <= number < len(ledger.designs):
            raise ValueError(
                f"there is no design {number}: they are counted from 0 to {len(ledger.designs) - 1}"
            )
    best = _best_beside(ledger, one, baseline)
    if baseline is not None:
        other = baseline
    elif best is not None:
        other = best
    elif isinstance(study.sampler, Search):
        other = _best_of_first_round(ledger, study.sampler.first, one)
    else:
        other = 0
    if one == other:
        raise ValueError(
            f"design {one} is both the one to confirm and the baseline: name another baseline, or "
            "another design (--baseline, --design)"
        )
    chosen, against = ledger.designs[one], ledger.designs[other]
    if design is not None:
        _warn_of(ledger, design)
    if best is not None:
        aim = f"good enough beside {levels_shown(against)}, the best of all,"
    else:
        meets = "good enough, and " if study.plan.requirements else ""
        aim = f"{meets}better than {levels_shown(against)}"
    new = Study(
        name=f"{study.name}, confirmed",
        question=f"Is {levels_shown(chosen)} ({why}) {aim} on fresh seeds?",
        base=study.base,
        axes=study.axes,
        derived=study.derived,
        costs=study.costs,
        sampler=Listed(chosen=(chosen, against)),
        seeds=tuple(range(last + 1, last + 1 + seeds)),
        plan=Plan(
            metric=study.plan.metric,
            alpha=study.plan.alpha,
            comparisons=(Comparison(first=chosen, second=against),),
            resamples=study.plan.resamples,
            requirements=study.plan.requirements,
        ),
    )
    return write_study(new, folder)  # of axes that are fixed


def _best_of_first_round(ledger: Ledger, first: int, one: int) -> int:
    """The best design of the first round of a search; the second best, if it is ``one``."""
    means = _among(ledger, first)
    best = _best(ledger, means).number
    if best != one:
        return best
    others = _only(means, [number for number in range(len(means)) if number != one])
    if np.isnan(others).all():
        return one
    second = _best(ledger, others).number
    caution(
        f"design {one} is the best of the first round of the search, before it had learned "
        f"anything: it is put beside the second best of that round, design {second}. Name another "
        "baseline (--baseline), or another design (--design)"
    )
    return second


def _best_beside(ledger: Ledger, one: int, baseline: int | None) -> int | None:
    """The best of all designs, if the plan requires a margin to it and it is another than ``one``.

    None where that is not so, or the best is not known and a baseline is named for it.
    """
    plan = ledger.study.plan
    if plan.requirements.within is None:
        return None
    try:
        best = _best(ledger, _validated(ledger)).number  # also of those that cost too much
    except StudyError:
        if baseline is None:
            raise
        return None
    if best == one:
        return None
    if baseline not in (None, best, one):
        raise ValueError(
            f"the plan requires designs within {plan.requirements.within:g} of the best "
            f"{plan.metric}, which design {baseline} has not, but design {best}: beside another, "
            "any design may be near the better one. Leave out the baseline (--baseline)"
        )
    return best


def _warn_of(ledger: Ledger, design: int) -> None:
    """Warn of a named design that does not meet what the plan requires."""
    if not ledger.study.plan.requirements:
        return
    with suppress(ValueError):  # what no run has measured yet rules nothing out
        (found,) = (each for each in select_designs(ledger).designs if each.number == design)
        if found.verdict == "does not":
            caution(f"design {design} does not meet what the plan requires: {found.held_back}")
