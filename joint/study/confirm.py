"""The winner of many designs against a baseline, once more, on seeds that had no part in it.

The best of many has been lucky as well as good. What was found by looking is therefore tested by a
study of its own: two designs, one planned comparison, fresh seeds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from joint.metric import lower_is_better, scores_nothing

from .create import create_study
from .sampler import Listed, Search, is_sought
from .search import on_validation
from .space import Comparison, Plan, Study, levels_shown
from .store import Ledger, StudyError

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
    machine gave up a run.

    Parameters
    ----------
    ledger : Ledger
        The study.
    first : int, optional
        Look among so many of the first designs only.

    Raises
    ------
    StudyError
        When no design has ended on all seeds, or the metric is not measured on the validation part.
    """
    metric = ledger.study.plan.metric
    if not is_sought(metric):
        raise StudyError(
            f"{metric} is not measured on the validation part, so that the best design cannot be "
            "told without the test part: name the designs, or plan another metric"
        )
    failed = 0.0 if scores_nothing(metric) else np.nan
    values = np.full((len(ledger.designs[:first]), len(ledger.study.seeds)), np.nan)
    place = {seed: number for number, seed in enumerate(ledger.study.seeds)}
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        if run.design < len(values) and state in ("done", "failed") and not ledger.gave_up(run):
            found = on_validation(ledger, run, metric) if state == "done" else failed
            values[run.design, place[run.seed]] = np.nan if found is None else found
    means = values.mean(1)
    if np.isnan(means).all():
        raise StudyError(f"no design of {ledger.folder} has a {metric} on all of its seeds yet")
    best = int((np.nanargmin if lower_is_better(metric) else np.nanargmax)(means))
    return Winner(best, float(means[best]), int(np.isfinite(means).sum()))


def confirm(
    ledger: Ledger,
    folder: Path | str,
    *,
    seeds: int = 6,
    design: int | None = None,
    baseline: int | None = None,
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
        of its first round: what it found before it had learned anything.

    Returns
    -------
    Ledger
        Of two listed designs and one planned comparison.

    Raises
    ------
    ValueError
        For a number that no design has, one design twice, two that are tested on different
        pictures, or fewer than two seeds.
    StudyError
        When there is no winner yet, or the folder holds another study.

    Warns
    -----
    UserWarning
        When a claim cannot be shown with so few seeds.
    """
    study = ledger.study
    if seeds < 2:
        raise ValueError(f"a claim needs pairs: at least 2 seeds, and 6 to show anything: {seeds}")
    last = max(study.seeds)
    if last + seeds >= 2**63:
        raise ValueError(f"there are no {seeds} seeds after {last}")
    found = winner(ledger) if design is None else None
    one = design if found is None else found.number
    if baseline is not None:
        other = baseline
    elif isinstance(study.sampler, Search):
        other = winner(ledger, first=study.sampler.first).number
    else:
        other = 0
    for number in (one, other):
        if number is None or not 0 <= number < len(ledger.designs):
            raise ValueError(
                f"there is no design {number}: they are counted from 0 to {len(ledger.designs) - 1}"
            )
    assert one is not None
    if one == other:
        raise ValueError(
            f"design {one} is both the one to confirm and the baseline: name another baseline, or "
            "another design (--baseline, --design)"
        )
    chosen, against = ledger.designs[one], ledger.designs[other]
    why = "chosen" if found is None else f"the best of {found.of} on the validation part"
    new = Study(
        name=f"{study.name}, confirmed",
        question=f"Is {levels_shown(chosen)} ({why}) better than {levels_shown(against)} "
        "on fresh seeds?",
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
        ),
    )
    return create_study(new, folder)
