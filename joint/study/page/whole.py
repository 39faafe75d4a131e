"""The report of a study as one HTML page.

::

    ledger ─┬─ report, draws, effects, fronts, rate_accuracy, atlas ──► numbers ─┐
            └─ plan, failures, costs ────────────────────────────────────────────┴─► HTML

The plan comes first, in a part of its own. Everything after it is exploration and is labelled so.
The page is self-contained, as those of :mod:`joint.report`: no script, no network access, all text
escaped. It contains no picture of the data set.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from joint.judge.metric import lower_is_better
from joint.panel.look import plain_text
from joint.report.page import (
    MISSING,
    Html,
    contents,
    details,
    note,
    number,
    page,
    paragraph,
    picture,
    section,
    table,
    with_interval,
)
from joint.report.recorded import by_chance
from joint.report.words import configuration_words
from joint.report.write import teller
from joint.saved.checkpoint import CheckpointError, write_atomically
from joint.saved.predictions import load_predictions
from joint.study.condition import condition_words
from joint.study.findings.draws import Draws, resample
from joint.study.findings.report import StudyReport, report
from joint.study.findings.selection import Selection
from joint.study.findings.statistics import PairedDifference
from joint.study.findings.table import Row, outcomes, rows, to_csv
from joint.study.ledger import Ledger, read_failure
from joint.study.sampler import Sampler
from joint.study.space import levels_shown
from joint.study.validation import epochs_of

from .atlas import elements as learned
from .charts import selection_figure
from .exploration import choices, costs, designs, notes, percent, rates

__all__ = ["study_html", "write_study_html"]


class _Found(NamedTuple):
    """Results that the sections are made from."""

    ledger: Ledger
    report: StudyReport
    table: tuple[Row, ...]
    draws: Draws
    elements: bool
    """Whether learned elements are read and compared."""

    @property
    def level(self) -> float:
        """Level of all intervals on the page."""
        return 1 - self.ledger.study.plan.alpha


def study_html(
    ledger: Ledger,
    *,
    metric: str | None = None,
    judged: StudyReport | None = None,
    elements: bool = True,
    progress: bool = False,
) -> str:
    """Make the HTML page of a study, finished or not.

    Parameters
    ----------
    ledger : Ledger
        The study.
    metric : str, optional
        Metric to judge by; by default that of the plan. With another one, nothing was planned.
    judged : StudyReport, optional
        The report by that metric, if it was made already; making it takes as long as the page.
    elements : bool
        Read, show and compare the learned elements of all runs. This takes minutes if there are
        many designs.
    progress : bool
        Print on standard error which part is being made, one line for each.

    Returns
    -------
    str
        A complete HTML document that loads nothing else.

    Raises
    ------
    ValueError
        As :func:`report`.
    """
    raced = ledger.study.race is not None
    sections = {title: make for title, make in _SECTIONS.items() if not (raced and title in _ALIKE)}
    say = teller(1 + len(sections), progress=progress)
    say("the intervals of the designs")
    if judged is None:
        judged = report(ledger, metric=metric)
    elif metric not in (None, judged.metric):
        raise ValueError(f"the given report is by {judged.metric}, not by {metric}")
    # The sections that are left out for a race are the only ones that need these results.
    ended = {} if raced else outcomes(ledger, judged.metric)
    draws = resample(ended, metric=judged.metric, resamples=ledger.study.plan.resamples)
    found = _Found(ledger, judged, rows(ledger), draws, elements)
    made = []
    with plain_text():
        for title, make in sections.items():
            say(title)
            parts = list(make(found))
            if parts:
                made.append((title, parts))
    links = [(_anchor(title), title) for title, _ in made]
    return page(
        f"study {judged.name!r}",
        *([paragraph(judged.question)] if judged.question else []),
        contents(links),
        *(section(title, *parts, level=2, anchor=_anchor(title)) for title, parts in made),
        note("Made by lens2label."),
    )


def write_study_html(
    ledger: Ledger,
    path: Path | str,
    *,
    metric: str | None = None,
    judged: StudyReport | None = None,
    elements: bool = True,
    progress: bool = False,
) -> None:
    """Write :func:`study_html` to a file; the file appears only when it is complete.

    Parameters
    ----------
    ledger : Ledger
    path : path
        The file.
    metric, judged, elements, progress : as in :func:`study_html`

    Raises
    ------
    ValueError
        As :func:`study_html`, and when ``path`` is a folder, before anything is read.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give the name of a file, such as {path / 'study.html'}"
        )
    text = study_html(ledger, metric=metric, judged=judged, elements=elements, progress=progress)
    write_atomically(path, text.encode())


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


# ------------------------------------------------------------------------------- what was asked


def _asked(found: _Found) -> Iterator[Html]:
    study, tally = found.ledger.study, found.report.tally
    up_to = "" if study.race is None else "up to "
    yield paragraph(
        f"{len(found.ledger.designs)} designs on {up_to}{len(study.seeds)} seeds: {tally.total} "
        f"runs, of which "
        f"{tally.done} are done, {tally.failed} failed, {tally.running} are running and "
        f"{tally.pending} are pending."
    )
    for difference in found.report.environments:
        yield note(f"Warning: {difference}.")
    if found.report.other_pictures is not None:
        yield note(f"Warning: {found.report.other_pictures}.")
    shown = []
    for name, axis in study.axes.items():
        there = [design[name] for design in found.ledger.designs if name in design]
        values = dict.fromkeys(map(str, there))
        listed = ", ".join(values) if len(values) <= 12 else f"{len(values)} values"
        when = f", where {condition_words(axis)}" if axis.when else ""
        shown.append((name + when, ", ".join(sorted(study.sets(name))), listed))
    yield table(("axis", "sets", "levels"), shown, words=True)
    plan = study.plan
    rows_ = [
        ("metric", plan.metric + (" (lower is better)" if lower_is_better(plan.metric) else "")),
        ("significance level", f"{plan.alpha:g} for all planned comparisons together"),
        ("designs", _sampled(study.sampler)),
        ("seeds", ", ".join(map(str, study.seeds))),
        *([] if study.race is None else [("race", study.race.told(plan.metric))]),
        ("resamples", f"{plan.resamples} of lesions and seeds"),
        *(("derived", f"{path} = {text}") for path, text in study.derived.items()),
        *(("required", told) for told in plan.requirements.told(plan.metric)),
        *(("cost", f"{name} = {text}") for name, text in study.costs.items()),
        *(("constraint", text) for text in study.constraints),
    ]
    yield table(("plan", ""), rows_, words=True, caption="Written down before the first run")
    yield from map(note, _chance(found.ledger))
    if found.ledger.designs:
        config = study.config(found.ledger.designs[0], study.seeds[0])
        yield table(
            ("design 0", "seed " + str(study.seeds[0])),
            list(configuration_words(config)),
            words=True,
            caption="The configuration of one run in full; the axes change it",
        )


def _chance(ledger: Ledger) -> Iterator[str]:
    """Scores of guessing on the test part, where all runs have the same."""
    if ledger.study.varies("data", "split"):
        return
    for run in ledger.done()[:1]:
        with suppress(CheckpointError):  # the run has no classifier
            saved = load_predictions(ledger.path(run))
            counts = np.bincount(saved.labels, minlength=len(saved.classes))
            yield from by_chance(saved.classes, counts.tolist())


def _sampled(sampler: Sampler) -> str:
    """How the designs were chosen; for a search, also by which objectives."""
    words = [sampler.kind.replace("_", " ")]
    for name, value in sampler.model_dump(exclude={"kind", "chosen"}).items():
        told = (
            ", ".join(f"{of} {way}" for of, way in value.items()) if name == "objectives" else value
        )
        words += [f"{name} {told}"] if told != "" else []
    return "; ".join(words)


def _planned(found: _Found) -> Iterator[Html]:
    judged = found.report
    if judged.metric != found.ledger.study.plan.metric:
        yield note(
            f"The plan judges by {found.ledger.study.plan.metric}. Nothing was planned for "
            f"{judged.metric}: its comparisons are exploration."
        )
        if judged.explored:
            yield _contrasts(judged.explored, judged.metric)
            yield from notes([judged.off_target])
            yield from _reasons(judged.explored)
        return
    if judged.doubt is not None:
        yield paragraph(judged.doubt + ".")
    if not (judged.planned or judged.selection or judged.unjudged):
        yield note("Nothing was planned: all that follows is exploration.")
        return
    if judged.before:
        yield note(f"{judged.before} of {judged.tally.total} runs were done before this plan.")
    if judged.planned:
        yield _contrasts(judged.planned, judged.metric)
    yield from notes([judged.off_target])
    yield from _reasons(judged.planned)
    if judged.selection is not None:
        yield from _selection(judged.selection)
    if judged.unjudged is not None:
        yield note(f"The requirements of the plan cannot be judged: {judged.unjudged}.")


def _reasons(contrasts: Sequence[PairedDifference]) -> Iterator[Html]:
    """Why differences were not shown, and what makes intervals too narrow."""
    for each in contrasts:
        if each.verdict not in ("better", "worse"):
            advice = each.advice
            yield note(f"{each.name}: {each.verdict}{'; ' if advice else ''}{advice}.")
    # Without a difference the verdict says why.
    yield from notes(each.note for each in contrasts if each.interval is not None)


def _contrasts(contrasts: Sequence[PairedDifference], metric: str) -> Html:
    rates = any(each.bpp is not None for each in contrasts)
    return table(
        (
            "comparison",
            "first",
            "second",
            *(["bpp of each"] if rates else []),
            "difference [interval]",
            "p",
            "Holm",
            "McNemar",
            "shown",
        ),
        [_contrast(each, rates) for each in contrasts],
        caption=f"{metric}, paired by seed; {percent(contrasts[0].level)} intervals over "
        f"{contrasts[0].unit}; p is the larger of the p of the sign-flip test and of the "
        "interval, and Holm is p adjusted for the number of comparisons; McNemar: on how many "
        "seeds the two runs differ significantly in what they label correctly, "
        "for information only",
    )


def _contrast(each: PairedDifference, rates: bool) -> tuple[str, ...]:
    bpp = MISSING if each.bpp is None else "{:.4g}, {:.4g}".format(*each.bpp)
    difference = (
        MISSING
        if each.difference is None
        else with_interval(each.difference, each.interval, "+.4f")
    )
    return (
        each.name,
        number(each.first, ".4f"),
        number(each.second, ".4f"),
        *([bpp] if rates else []),
        difference,
        f"{max(each.p, each.interval_p):.3g}",
        f"{each.adjusted_p:.3g}",
        f"{sum(p <= each.alpha for p in each.mcnemar)} of {len(each.mcnemar)}"
        if each.mcnemar
        else MISSING,
        each.verdict.partition(":")[0],
    )


def _selection(found: Selection) -> Iterator[Html]:
    """The designs with their requirements, and the cheapest of those that meet them."""
    head, *cells = found.cells()
    yield table(head, cells, words=True, caption=f"Requirements: {', '.join(found.requirements)}")
    for line in found.conclusions():
        yield paragraph(line[0].upper() + line[1:] + ".")
    yield picture(
        selection_figure(found),
        shows="Numbers and costs of each design, and the bounds that are required",
        caption="Filled: shown to meet all requirements; blue ring: undecided; grey: does not "
        "meet them. Bars: intervals of the means. Dashed: bounds.",
    )


# -------------------------------------------------------------------------------- how it went


def _failures(found: _Found) -> Iterator[Html]:
    for run, row in zip(found.ledger.runs, found.table, strict=True):
        if row.state != "failed":
            continue
        failure = read_failure(found.ledger.path(run))
        design = f"{row.design}: {levels_shown(row.levels)}"
        title = f"{design}, seed {row.seed}: {failure.get('error', 'unknown')}"
        message = str(failure.get("message", ""))
        yield details(title, str(failure.get("traceback") or message))


def _costs(found: _Found) -> Iterator[Html]:
    done = [
        run for run, row in zip(found.ledger.runs, found.table, strict=True) if row.state == "done"
    ]
    if not done:
        return
    epochs = sum(len(epochs_of(found.ledger, run)) for run in done)
    yield paragraph(f"{len(done)} runs were trained for {epochs} epochs in total.")
    yield details("All runs, as CSV", to_csv(found.table))


_SECTIONS: dict[str, Callable[[_Found], Iterable[Html]]] = {
    "What was asked": _asked,
    "Planned before the first run": _planned,
    "Exploration: designs": lambda found: designs(found.report, level=found.level),
    "Exploration: which choice matters": lambda found: choices(
        found.ledger.designs, found.draws, level=found.level
    ),
    "Exploration: fronts": lambda found: costs(found.table, found.draws, level=found.level),
    "Exploration: rate and accuracy": lambda found: rates(found.ledger, found.report.metric),
    "Exploration: learned elements": lambda found: learned(found.ledger) if found.elements else (),
    "Runs that failed": _failures,
    "All runs": _costs,
}
# Sections that need equal numbers of seeds, not chosen by results, which a race does not give.
_ALIKE = (
    "Exploration: which choice matters",
    "Exploration: fronts",
    "Exploration: rate and accuracy",
)
