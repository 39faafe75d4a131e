"""The report of a study as one HTML page.

::

    ledger ─┬─ report, draws, effects, fronts, rate_accuracy, atlas ──► numbers ─┐
            └─ plan, failures, costs ────────────────────────────────────────────┴─► HTML

What was planned stands first and by itself; everything after it is exploration and says so. The
page is whole in itself, as those of :mod:`joint.report`: no script, no network, all text escaped.
It holds no picture of the data set.
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
from joint.saved.folder import read_history
from joint.saved.predictions import load_predictions
from joint.study.condition import condition_words
from joint.study.findings.draws import Draws, resample
from joint.study.findings.report import StudyReport, report
from joint.study.findings.selection import Selection
from joint.study.findings.statistics import PairedDifference
from joint.study.findings.table import Row, outcomes, rows, to_csv
from joint.study.sampler import Sampler
from joint.study.space import levels_shown, varies
from joint.study.store import Ledger, read_failure

from .atlas import elements as learned
from .charts import selection_figure
from .exploration import choices, costs, designs, notes, percent, rates

__all__ = ["study_html", "write_study_html"]


class _Found(NamedTuple):
    """What the sections are made of."""

    ledger: Ledger
    report: StudyReport
    table: tuple[Row, ...]
    draws: Draws
    elements: bool
    """Whether learned elements are read and compared."""

    @property
    def level(self) -> float:
        """Of all intervals on the page."""
        return 1 - self.ledger.study.plan.alpha


def study_html(
    ledger: Ledger,
    *,
    metric: str | None = None,
    judged: StudyReport | None = None,
    elements: bool = True,
    progress: bool = False,
) -> str:
    """Make the page of a study, finished or not.

    Parameters
    ----------
    ledger : Ledger
        The study.
    metric : str, optional
        Another one than that of the plan; then nothing of it was planned.
    judged : StudyReport, optional
        The report of that metric, where it is there already; it takes as long as the page.
    elements : bool
        Read the learned elements of all runs, show them and compare them; with many designs that
        takes minutes.
    progress : bool
        Say on the standard error what is being made, a line for each part.

    Returns
    -------
    str
        A whole HTML document that needs nothing else.

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
        raise ValueError(f"the report that is there is of {judged.metric}, and not of {metric}")
    # What is left out of the page of a race is all that needs them.
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
    """Write :func:`study_html` to a file, whole or not at all.

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
        f"runs, of "
        f"which {tally.done} are done, {tally.failed} failed, {tally.running} are running and "
        f"{tally.pending} are to go."
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
        ("metric", plan.metric + (" (less is better)" if lower_is_better(plan.metric) else "")),
        ("level of the tests", f"{plan.alpha:g} over all planned comparisons together"),
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
            caption="One run in full; the axes change it",
        )


def _chance(ledger: Ledger) -> Iterator[str]:
    """What chance gives on the test part, where all runs have the same."""
    if varies(ledger.study, "data", "split"):
        return
    for run, state in zip(ledger.runs, ledger.states(), strict=True):
        if state != "done":
            continue
        with suppress(CheckpointError):  # it has no classifier
            saved = load_predictions(ledger.path(run))
            counts = np.bincount(saved.labels, minlength=len(saved.classes))
            yield from by_chance(saved.classes, counts.tolist())
        return


def _sampled(sampler: Sampler) -> str:
    """How the designs were chosen: who reads of a search must know what it looked for."""
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
            f"The plan judges by {found.ledger.study.plan.metric}: of {judged.metric} nothing was "
            "planned, and its comparisons are exploration."
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
        yield note(f"{judged.before} of {judged.tally.total} runs were there before this plan.")
    if judged.planned:
        yield _contrasts(judged.planned, judged.metric)
    yield from notes([judged.off_target])
    yield from _reasons(judged.planned)
    if judged.selection is not None:
        yield from _selection(judged.selection)
    if judged.unjudged is not None:
        yield note(f"What the plan requires is not known: {judged.unjudged}.")


def _reasons(contrasts: Sequence[PairedDifference]) -> Iterator[Html]:
    """Why differences were not shown, and what makes intervals too narrow."""
    for each in contrasts:
        if each.verdict not in ("better", "worse"):
            advice = each.advice
            yield note(f"{each.name}: {each.verdict}{'; ' if advice else ''}{advice}.")
    # Without a difference the verdict says it.
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
        caption=f"{metric}, paired by seed; intervals ({percent(contrasts[0].level)}) over "
        f"{contrasts[0].unit}; p is the larger of the sign-flip test's and the interval's, "
        "adjusted for the number of comparisons in the column Holm; McNemar: on how many seeds "
        "alone the two runs differ in what they get right, which decides nothing",
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
    """The designs beside their requirements, and the cheapest of those that meet them."""
    head, *cells = found.cells()
    yield table(head, cells, words=True, caption=f"Required: {', '.join(found.requirements)}")
    for line in found.conclusions():
        yield paragraph(line[0].upper() + line[1:] + ".")
    yield picture(
        selection_figure(found),
        shows="Numbers and costs of each design, and the bounds that they must keep",
        caption="Filled: shown to meet all requirements; blue ring: perhaps; grey: does not. "
        "Lines: intervals of the means. Dashed: bounds.",
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
    spent = [
        run for run, row in zip(found.ledger.runs, found.table, strict=True) if row.state == "done"
    ]
    if not spent:
        return
    epochs, starts = 0, 0
    for run in spent:
        epochs += len(read_history(found.ledger.path(run)))
        starts += 1
    yield paragraph(f"{starts} runs were trained for {epochs} epochs together.")
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
# What compares designs of which all have as many seeds, none chosen: that of a race has not.
_ALIKE = (
    "Exploration: which choice matters",
    "Exploration: fronts",
    "Exploration: rate and accuracy",
)
