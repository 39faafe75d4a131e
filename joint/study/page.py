"""The report of a study as one HTML page.

::

    ledger ─┬─ report, draws, effects, fronts, rate_accuracy, atlas ──► numbers ─┐
            └─ plan, failures, costs ────────────────────────────────────────────┴─► HTML

What was planned stands first and by itself; everything after it is exploration and says so. The
page is whole in itself, as those of :mod:`joint.report`: no script, no network, all text escaped.
It holds no picture of the data set.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from joint.checkpoint import write_atomically
from joint.folder import read_history
from joint.report.draw import plain_text
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
from joint.report.words import configuration_words

from .atlas import ORIENTATIONS, Atlas, Learned, atlas, by_reason, learned_elements
from .draw import (
    designs_figure,
    effects_figure,
    front_figure,
    pairs_figure,
    parallel_figure,
    rate_figure,
)
from .draw_atlas import atlas_figure, contact_figures
from .draws import Draws, resample
from .effects import Effects, Share, effects
from .inference import lower_is_better
from .pareto import Front, fronts
from .rate_accuracy import RateDifference, rate_accuracy
from .report import DesignSummary, StudyReport, report
from .statistics import Contrast
from .store import Ledger, read_failure
from .table import COSTS, Row, outcomes, rows, to_csv

__all__ = ["study_html", "write_study_html"]


class _Found(NamedTuple):
    """What the sections are made of."""

    ledger: Ledger
    report: StudyReport
    table: tuple[Row, ...]
    draws: Draws
    elements: bool
    """Whether learned elements are read and compared."""


def study_html(ledger: Ledger, *, metric: str | None = None, elements: bool = True) -> str:
    """Make the page of a study, finished or not.

    Parameters
    ----------
    ledger : Ledger
        The study.
    metric : str, optional
        Another one than that of the plan; then nothing of it was planned.
    elements : bool
        Read the learned elements of all runs, show them and compare them; with many designs that
        takes minutes.

    Returns
    -------
    str
        A whole HTML document that needs nothing else.

    Raises
    ------
    ValueError
        As :func:`report`.
    """
    judged = report(ledger, metric=metric)
    ended = outcomes(ledger, judged.metric)
    draws = resample(ended, metric=judged.metric, resamples=ledger.study.plan.resamples)
    found = _Found(ledger, judged, rows(ledger), draws, elements)
    made = []
    with plain_text():
        for title, make in _SECTIONS.items():
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
    ledger: Ledger, path: Path | str, *, metric: str | None = None, elements: bool = True
) -> None:
    """Write :func:`study_html` to a file, whole or not at all.

    Parameters
    ----------
    ledger : Ledger
    path : path
        The file.
    metric, elements : as in :func:`study_html`

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
    write_atomically(path, study_html(ledger, metric=metric, elements=elements).encode())


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


# ------------------------------------------------------------------------------- what was asked


def _asked(found: _Found) -> Iterator[Html]:
    study, tally = found.ledger.study, found.report.tally
    yield paragraph(
        f"{len(found.ledger.designs)} designs on {len(study.seeds)} seeds: {tally.total} runs, of "
        f"which {tally.done} are done, {tally.failed} failed, {tally.running} are running and "
        f"{tally.pending} are to go."
    )
    shown = []
    for name, axis in study.axes.items():
        values = dict.fromkeys(str(design[name]) for design in found.ledger.designs)
        listed = ", ".join(values) if len(values) <= 12 else f"{len(values)} values"
        shown.append((name, ", ".join(sorted(axis.paths())), listed))
    yield table(("axis", "sets", "levels"), shown, words=True)
    plan = study.plan
    rows_ = [
        ("metric", plan.metric + (" (less is better)" if lower_is_better(plan.metric) else "")),
        ("level of the tests", f"{plan.alpha:g} over all planned comparisons together"),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("resamples", f"{plan.resamples} of lesions and seeds"),
        *(("constraint", text) for text in study.constraints),
    ]
    yield table(("plan", ""), rows_, words=True, caption="Written down before the first run")
    if found.ledger.designs:
        config = study.config(found.ledger.designs[0], study.seeds[0])
        yield table(
            ("design 0", "seed " + str(study.seeds[0])),
            list(configuration_words(config)),
            words=True,
            caption="One run in full; the axes change it",
        )


def _planned(found: _Found) -> Iterator[Html]:
    judged = found.report
    if judged.metric != found.ledger.study.plan.metric:
        yield note(
            f"The plan judges by {found.ledger.study.plan.metric}: of {judged.metric} nothing was "
            "planned."
        )
        return
    if judged.doubt is not None:
        yield paragraph(judged.doubt + ".")
    if not judged.planned:
        yield note("Nothing was planned: all that follows is exploration.")
        return
    yield table(
        ("comparison", "first", "second", "difference [interval]", "p", "Holm", "McNemar", "shown"),
        [_contrast(each) for each in judged.planned],
        caption=f"{judged.metric}, paired by seed; intervals over {judged.planned[0].unit}; p is "
        "the larger of the sign-flip test's and the interval's, adjusted for the number of "
        "comparisons in the column Holm; McNemar: on how many seeds alone the two runs differ in "
        "what they get right, which decides nothing",
    )
    for each in judged.planned:
        if each.verdict not in ("better", "worse"):
            yield note(f"{each.name}: {each.verdict}; {each.advice}.")
    yield from _notes(each.note for each in judged.planned)


def _contrast(each: Contrast) -> tuple[str, ...]:
    difference = (
        MISSING
        if each.difference is None
        else with_interval(each.difference, each.interval, "+.4f")
    )
    return (
        each.name,
        number(each.first, ".4f"),
        number(each.second, ".4f"),
        difference,
        f"{max(each.p, each.interval_p):.3g}",
        f"{each.adjusted_p:.3g}",
        f"{sum(p <= each.alpha for p in each.mcnemar)} of {len(each.mcnemar)}"
        if each.mcnemar
        else MISSING,
        each.verdict.partition(":")[0],
    )


def _notes(lines: Iterator[str | None]) -> Iterator[Html]:
    for line in dict.fromkeys(lines):
        if line is not None:
            yield note(line[0].upper() + line[1:] + ".")


# -------------------------------------------------------------------------------------- exploration


def _designs(found: _Found) -> Iterator[Html]:
    judged = found.report
    costs = [name for name in COSTS if any(d.costs[name] is not None for d in judged.designs)]
    failed = any(each.estimate.failed for each in judged.designs)
    yield table(
        ("design", judged.metric, "runs", *(["failed"] if failed else []), *costs, "front"),
        [_design(each, costs, failed) for each in judged.designs],
        caption="Best first; intervals over seeds and lesions where predictions were kept. front: "
        "no design is better at costs that are all as low",
    )
    if any(each.estimate.mean is not None for each in judged.designs):
        yield picture(
            designs_figure(judged.designs, metric=judged.metric),
            shows=f"{judged.metric} of each design with its interval",
            caption="Means over seeds and their intervals; blue: on the front of all costs.",
        )
    if judged.luck is not None and len(judged.designs) > 1:
        yield paragraph(
            f"The best of {len(judged.designs)} equal designs lies {judged.luck:.4f} above them by "
            "the luck of its seeds. Nothing in this table is a claim: confirm a choice on fresh "
            "seeds."
        )
    yield from _notes(each.estimate.note for each in judged.designs)
    if len(judged.designs) > 1 and any(d.estimate.mean is not None for d in judged.designs):
        yield picture(
            parallel_figure(judged.designs, metric=judged.metric),
            shows="Each design as a line over its choices, costs and result",
            caption=f"Every design as a line; the lighter, the better its {judged.metric}.",
        )


def _design(each: DesignSummary, costs: list[str], failed: bool) -> tuple[str, ...]:
    judged = each.estimate
    mean = MISSING if judged.mean is None else with_interval(judged.mean, judged.interval, ".4f")
    return (
        f"{each.number}: " + ", ".join(f"{name}={level}" for name, level in each.levels.items()),
        mean,
        str(judged.count),
        *([str(judged.failed) if judged.failed else ""] if failed else []),
        *(number(each.costs[name], ",.6g") for name in costs),
        "yes" if each.on_front else "",
    )


def _effects(found: _Found) -> Iterator[Html]:
    try:
        told = effects(dict(enumerate(found.ledger.designs)), found.draws)
    except ValueError as error:
        yield note(f"{error}.")
        return
    if len(told.axes) == 1:
        return  # the table of designs says it all
    yield picture(
        effects_figure(told),
        shows="Mean of the levels of each axis",
        caption="Means of the levels over those of all other axes. Bars: intervals of the "
        "difference from the mean of all levels (dashed), in which luck that all designs share "
        "is not.",
    )
    if not told.variance > 0:
        yield paragraph(
            "The designs do not differ by more than the luck of seeds and lesions: there is no "
            "variance to share out."
        )
    else:
        yield table(
            ("axis or pair", "share of the variance", "with all it joins"),
            _shares(told),
            caption=f"Variance over designs less that of {told.unit}: a standard deviation of "
            f"{told.variance**0.5:.4f}",
        )
        yield picture(
            pairs_figure(told),
            shows="Shares of the variance of axes and pairs of axes",
            caption="Shares of the variance: of an axis alone on the diagonal, of what two axes do "
            "together below it.",
        )
    yield from _notes(iter(told.notes))


def _shares(told: Effects) -> Iterator[tuple[str, ...]]:
    def shown(share: Share | None) -> str:
        if share is None:
            return MISSING
        return with_interval(share.value, share.interval, ".2f")

    for each in told.axes:
        yield each.axis, shown(each.share), shown(each.total)
    for pair in told.pairs:
        yield " and ".join(pair.axes), shown(pair.share), ""


def _fronts(found: _Found) -> Iterator[Html]:
    told = fronts(found.table, found.draws)
    if not told:
        yield note("No cost differs between designs that have a number.")
    for front in told:
        if len(front.costs) == 1:
            yield picture(
                front_figure(front),
                shows=f"{front.metric} against {front.costs[0]}",
                caption=f"{front.metric} against {front.costs[0]}, by number of the design. Bars: "
                f"intervals over {front.unit}; points of one cost stand side by side. The fuller a "
                "point, the more often it is on the front when these are drawn anew.",
            )
    if told:
        yield table(
            ("front against", "design", told[0].metric, "on the front", "in draws"),
            [line for front in told for line in _front(front)],
            caption="Designs on a front as measured, or in at least a tenth of the draws",
        )


def _front(front: Front) -> Iterator[tuple[str, ...]]:
    for point in front.points:
        if point.on_front or (point.probability or 0) >= 0.1:
            yield (
                ", ".join(front.costs),
                str(point.design),
                with_interval(point.value, point.interval, ".4f"),
                "yes" if point.on_front else "",
                MISSING if point.probability is None else f"{point.probability:.0%}",
            )


def _rates(found: _Found) -> Iterator[Html]:
    if lower_is_better(found.report.metric):
        return
    told = rate_accuracy(found.ledger, metric=found.report.metric)
    if not any(len(family.points) > 1 for family in told.families):
        return
    yield picture(
        rate_figure(told),
        shows=f"{told.metric} against bits of a picture, for each codec",
        caption=f"{told.metric} against the bits of a picture. Bars: intervals over {told.unit}.",
    )
    if told.differences:
        yield table(
            ("codec", "against", "bits at equal accuracy", f"{told.metric} at equal bits", "shown"),
            [_rate(each) for each in told.differences],
            caption="Bjøntegaard differences with intervals; where accuracy falls with the rate, "
            "neighbours are pooled",
        )
    reasons = [
        f"{each.family} against {each.anchor}, {what}: {reason}."
        for each in told.differences
        for what, reason in (("bits", each.rate_reason), ("accuracy", each.accuracy_reason))
        if reason is not None
    ]
    for reason in reasons:
        yield note(reason)
    falls = [family.name for family in told.families if family.falls]
    if falls:
        yield note(
            f"The measured accuracy falls somewhere as the rate grows for {'; '.join(falls)}."
        )


def _rate(each: RateDifference) -> tuple[str, ...]:
    def shown(value: float, interval: object, form: str, unit: str) -> str:
        text = with_interval(value, interval, form)  # pyright: ignore
        return text if text == MISSING else text + unit

    return (
        each.family,
        each.anchor,
        shown(each.rate, each.rate_interval, "+.1f", " %"),
        shown(each.accuracy, each.accuracy_interval, "+.4f", ""),
        each.verdict,
    )


# ------------------------------------------------------------------------------- what was learned


def _elements(found: _Found) -> Iterator[Html]:
    if not found.elements:
        return
    there, reasons = learned_elements(found.ledger)
    if not there:
        return
    levels = dict(enumerate(found.ledger.designs))
    for figure, designs in contact_figures(there, levels):
        yield picture(
            figure,
            shows=f"Elements and transfer functions of the designs {', '.join(map(str, designs))}",
            caption="What each element makes of a point, and below it the modulus of its transfer "
            "function, each in its own scale; the first column is the start of the first seed.",
        )
    yield from _atlas(found, there, reasons)


def _atlas(found: _Found, there: list[Learned], reasons: dict[int, str]) -> Iterator[Html]:
    try:
        told = atlas(found.ledger, elements=(there, reasons))
    except ValueError as error:
        yield note(f"{error}.")
        return
    if told.designs:
        yield table(
            (
                "design",
                "seeds",
                "learned",
                "similarity",
                "starts",
                "chance",
                "agreement",
                "p",
                "shown",
            ),
            _stability(told),
            caption="Is the element the same on every seed?",
        )
        yield note(
            "learned: share of the element that is no multiple of its start. similarity: mean over "
            f"pairs of seeds, 1 where two are the same {ORIENTATIONS[told.orientation]}. starts: "
            "of what training began from. chance: of elements that learned as much, each in its "
            "own way. agreement: beyond chance, 1 at most; its p is adjusted for the number of "
            "designs."
        )
        yield picture(
            atlas_figure(told),
            shows="Similarity and agreement of every two learned elements",
            caption=f"Every element against every other: {len(told.elements)} elements in "
            f"{len(set(told.clusters))} groups of an agreement of a half or more.",
        )
    for reason, designs in by_reason(told.left_out).items():
        which = (
            f"Designs {', '.join(map(str, designs))} are"
            if designs[1:]
            else (f"Design {designs[0]} is")
        )
        yield note(f"{which} not compared: {reason}.")


def _stability(told: Atlas) -> Iterator[tuple[str, ...]]:
    for each in told.designs:
        yield (
            f"{each.design}: " + ", ".join(f"{name}={v}" for name, v in each.levels.items()),
            str(len(each.seeds)),
            f"{each.learned:.2%}",
            number(each.similarity),
            number(each.of_starts),
            number(each.chance),
            number(each.agreement, "+.2f"),
            f"{each.adjusted_p:.2g}",
            each.verdict(),
        )


# -------------------------------------------------------------------------------- how it went


def _failures(found: _Found) -> Iterator[Html]:
    for run, row in zip(found.ledger.runs, found.table, strict=True):
        if row.state != "failed":
            continue
        failure = read_failure(found.ledger.path(run))
        levels = ", ".join(f"{name}={level}" for name, level in row.levels.items())
        title = f"{row.design}: {levels}, seed {row.seed}: {failure.get('error', 'unknown')}"
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


_SECTIONS: dict[str, Callable[[_Found], Iterator[Html]]] = {
    "What was asked": _asked,
    "Planned before the first run": _planned,
    "Exploration: designs": _designs,
    "Exploration: which choice matters": _effects,
    "Exploration: fronts": _fronts,
    "Exploration: rate and accuracy": _rates,
    "Exploration: learned elements": _elements,
    "Runs that failed": _failures,
    "All runs": _costs,
}
