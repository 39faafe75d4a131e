"""A study that compares the best of many designs with a baseline, on fresh seeds.

The best of many is partly lucky. A result that was selected is therefore tested by a study of its
own: two designs, one planned comparison, fresh seeds. The requirements of the old plan hold there
too, and exclude designs before the best is looked for. A margin to the best of all needs that best
design as the baseline: with any two designs, the better one is the best.
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
from .ledger import Ledger, StudyError, check_design
from .sampler import Listed, Search, is_sought
from .significance import settled
from .space import Comparison, Plan, Study, levels_shown
from .validation import on_validation

__all__ = ["Winner", "confirm", "winner"]


class Winner(NamedTuple):
    """The best design of a study so far: a selection, not a claim."""

    number: int
    value: float
    """Mean of the metric on the validation part over the seeds."""
    of: int
    """Number of designs among which it is the best."""
    equal: int
    """How many of them have this mean; the first one is taken."""


def winner(ledger: Ledger, *, first: int | None = None) -> Winner:
    """The design with the best mean of the plan's metric on the validation part.

    The test part is left for the claim. A failed run scores 0 in a share such as the accuracy; for
    other metrics, a design with a failed run is left out. For any metric, a design is left out if
    the machine gave up one of its runs, or if it does not meet the requirements of the plan, which
    :func:`select_designs` judges on the test part.

    Parameters
    ----------
    ledger : Ledger
        The study.
    first : int, optional
        Consider only so many of the first designs.

    Raises
    ------
    StudyError
        When no design has ended on all seeds, none meets, or may meet, the requirements of the
        plan, or the metric is not measured on the validation part.
    ValueError
        When no run has a number that the plan requires.
    """
    return _best(ledger, _among(ledger, first))


def _among(ledger: Ledger, first: int | None) -> np.ndarray:
    """Means of the first designs that may meet the requirements of the plan."""
    means = _validated(ledger)[:first]
    if ledger.study.plan.requirements and not np.isnan(means).all():
        allowed = [each.number for each in _good_enough(ledger) if each.number < len(means)]
        means = _only(means, allowed)
    return means


def _validated(ledger: Ledger) -> np.ndarray:
    """Mean of the metric on the validation part for each design; NaN if it is unknown."""
    metric = ledger.study.plan.metric
    if not is_sought(metric):
        raise StudyError(
            f"{metric} is not measured on the validation part, so the best design is unknown "
            "without the test part: name the designs, or plan another metric"
        )
    failed = 0.0 if scores_nothing(metric) else np.nan
    values = np.full((len(ledger.designs), len(ledger.study.seeds)), np.nan)
    place = {seed: number for number, seed in enumerate(ledger.study.seeds)}
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        if state in ("done", "failed") and not ledger.is_machine_fault(run):
            found = on_validation(ledger, run, metric) if state == "done" else failed
            values[run.design, place[run.seed]] = np.nan if found is None else found
    return settled(values.mean(1))


def _only(means: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """The means of some designs, NaN for all others."""
    return np.where(np.isin(np.arange(len(means)), numbers), means, np.nan)


def _best(ledger: Ledger, means: np.ndarray) -> Winner:
    metric = ledger.study.plan.metric
    if np.isnan(means).all():
        raise StudyError(
            f"no design of {ledger.folder}{_that_may(ledger)} has a {metric} on all of its seeds "
            "yet"
        )
    best = int((np.nanargmin if lower_is_better(metric) else np.nanargmax)(means))
    equal = int((means == means[best]).sum())
    return Winner(best, float(means[best]), int(np.isfinite(means).sum()), equal)


def _that_may(ledger: Ledger) -> str:
    """Phrase for the designs among which the choice is made, if not among all."""
    return " that may meet the requirements" if ledger.study.plan.requirements else ""


def _good_enough(ledger: Ledger) -> list[Candidate]:
    """Designs that meet, or may meet, the requirements of the plan; an error if there are none."""
    found = select_designs(ledger).designs
    left = [each for each in found if each.verdict != "does not"]
    if not left:
        wrong = Counter(each.held_back for each in found).most_common()
        raise StudyError(
            f"no design of {ledger.folder} meets the requirements of its plan; they fail by "
            f"{'; '.join(f'{what} ({count} of them)' for what, count in wrong)}. To confirm one "
            "anyway, name it (--design)"
        )
    return left


def _cheapest(ledger: Ledger, cost: str | Literal[True]) -> tuple[int, str]:
    """The cheapest design that meets the requirements of the plan, and why it was chosen."""
    study = ledger.study
    names = study.cost_names
    if not study.plan.requirements:
        raise ValueError(
            "the plan has no requirements, so the cheapest design means nothing: leave out the "
            "cheapest (--cheapest), or name a design (--design)"
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
    # Of equally cheap designs the better one; it is not always known which that is.
    one = least[0] if len(least) == 1 else _best(ledger, _only(_validated(ledger), least)).number
    which = "that meet" if shown else "that may meet"
    return one, f"the lowest {cost} of {len(spent)} {which} the requirements"


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
        Folder of the new study.
    seeds : int
        Number of fresh seeds: the first ones after all seeds of the old study.
    design : int, optional
        Number of the design; by default the :func:`winner`.
    baseline : int, optional
        Number of the baseline design. By default the first design of the study; for a search, the
        best of its first round, before it had learned anything, or with a warning the second best
        of that round if the best is the one to confirm. If the plan requires a margin to the best,
        and the design to confirm is not the best of all by its mean on the validation part, the
        baseline is that best design.
    cheapest : str or bool
        Name of a cost of the study, or True if it has one cost: confirm the cheapest design instead
        of the winner. It is chosen among designs that are shown to meet the requirements of the
        plan or, if there are none, among those that may (:func:`select_designs`). Of several with
        the same cost, the best is taken.

    Returns
    -------
    Ledger
        It has two listed designs, one planned comparison, and the requirements of the old plan.

    Raises
    ------
    ValueError
        For a number that is not a design, the same design twice, two designs tested on different
        pictures, or fewer than two seeds; for ``cheapest`` together with a named design, with a
        cost that the study does not have, or without requirements in the plan; for a baseline that
        is known not to be the best if the plan requires a margin to the best.
    StudyError
        When there is no winner yet, no design meets, or may meet, the requirements of the plan, or
        the folder holds another study.

    Warns
    -----
    UserWarning
        When so few seeds cannot show a claim, for a named design that does not meet the
        requirements of the plan, and if a search is to be confirmed by its own first round.
    """
    study = ledger.study
    if seeds < 2:
        raise ValueError(f"a claim needs pairs: at least 2 seeds, and 6 to show anything: {seeds}")
    last = max(study.seeds)
    if last + seeds >= 2**63:
        raise ValueError(f"there are no {seeds} seeds after {last}")
    if design is not None and cheapest is not False:
        raise ValueError("name a design, or choose the cheapest, not both (--design, --cheapest)")
    if design is not None:
        one, why = design, "chosen"
    elif cheapest is not False:
        one, why = _cheapest(ledger, cheapest)
    else:
        found = winner(ledger)
        one = found.number
        first = f"the first of {found.equal} equally good ones, " if found.equal > 1 else ""
        race = "" if study.race is None else f" that a race left of {len(ledger.designs)}"
        why = f"{first}the best on the validation part of {found.of}{race}{_that_may(ledger)}"
    for number in (one, baseline):
        if number is not None:
            check_design(ledger, number)
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
    return write_study(new, folder)  # the axes are fixed already


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
        f"anything: its baseline is the second best of that round, design {second}. Name another "
        "baseline (--baseline), or another design (--design)"
    )
    return second


def _best_beside(ledger: Ledger, one: int, baseline: int | None) -> int | None:
    """The best of all designs, if the plan requires a margin to it and it is not ``one``.

    Otherwise None; also if the best is unknown and a baseline is named for it.
    """
    plan = ledger.study.plan
    if plan.requirements.within is None:
        return None
    try:
        best = _best(ledger, _validated(ledger)).number  # also among those that cost too much
    except StudyError:
        if baseline is None:
            raise
        return None
    if best == one:
        return None
    if baseline not in (None, best, one):
        raise ValueError(
            f"the plan requires designs within {plan.requirements.within:g} of the best "
            f"{plan.metric}. That is design {best}, not design {baseline}: with another baseline, "
            "any design may be near the better of the two. Leave out the baseline (--baseline)"
        )
    return best


def _warn_of(ledger: Ledger, design: int) -> None:
    """Warn of a named design that does not meet what the plan requires."""
    if not ledger.study.plan.requirements:
        return
    with suppress(ValueError):  # a number that no run has measured yet excludes nothing
        (found,) = (each for each in select_designs(ledger).designs if each.number == design)
        if found.verdict == "does not":
            caution(f"design {design} fails the requirements of the plan: {found.held_back}")
