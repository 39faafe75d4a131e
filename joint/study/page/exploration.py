"""A study's exploration on its page: designs, what each axis does, costs, rate and accuracy."""

from collections.abc import Iterable, Iterator, Sequence

from joint.analysis.curve_difference import RateDifference
from joint.judge.metric import lower_is_better
from joint.report.page import MISSING, Html, note, number, paragraph, picture, table, with_interval
from joint.study.axis import Design
from joint.study.findings.draws import Draws
from joint.study.findings.effects import Effects, Share, effects
from joint.study.findings.front import Front, fronts
from joint.study.findings.rate_accuracy import rate_accuracy
from joint.study.findings.report import DesignSummary, StudyReport, known_costs
from joint.study.findings.table import Row, front_costs
from joint.study.significance import seeds_for_claim
from joint.study.space import levels_shown
from joint.study.store import Ledger

from .charts import (
    designs_figure,
    effects_figure,
    front_figure,
    pairs_figure,
    parallel_figure,
    rate_accuracy_figure,
    rate_families,
)

__all__ = ["choices", "costs", "designs", "notes", "percent", "rates"]


def percent(level: float) -> str:
    """The level of an interval as it is read."""
    return f"{100 * level:g} %"


def notes(lines: Iterable[str | None]) -> Iterator[Html]:
    """Each line once, as a sentence."""
    for line in dict.fromkeys(lines):
        if line is not None:
            yield note(line[0].upper() + line[1:] + ".")


def designs(judged: StudyReport, *, level: float = 0.95) -> Iterator[Html]:
    """All designs with intervals, of the ``level`` that they have, and costs; luck of the best."""
    known = known_costs(judged.designs)
    failed = any(each.estimate.failed for each in judged.designs)
    counted = front_costs([d.costs for d in judged.designs if d.estimate.mean is not None])
    order, others = "Best", "no design"
    if judged.race is not None:
        order, others = "Most seeds", "no other design with all seeds"
    yield table(
        ("design", judged.metric, "runs", *(["failed"] if failed else []), *known, "front"),
        [_design(each, known, failed) for each in judged.designs],
        caption=f"{order} first; intervals ({percent(level)}) over seeds and lesions where "
        f"predictions were kept. front: {others} is better at costs that are all as low"
        + (f", of {', '.join(counted)}" if counted else ""),
    )
    count = sum(each.estimate.mean is not None for each in judged.designs)
    if count > 0:
        yield picture(
            designs_figure(judged.designs, metric=judged.metric),
            shows=f"{judged.metric} of each design with its interval",
            caption=f"Means over seeds and their intervals ({percent(level)}); blue: on the front "
            "of all costs.",
        )
    if judged.luck is not None and round(judged.luck, 4) > 0 and count > 1:
        yield paragraph(
            f"The best of {count} equal designs lies {judged.luck:.4f} above them by the luck of "
            "its seeds. Nothing in this table is a claim: confirm a choice on fresh seeds."
        )
    yield from notes([*judged.notes, judged.race])
    if judged.race is not None:
        yield note(
            "What each axis does, the fronts against costs and curves are left out: they compare "
            "designs with equal numbers of seeds, none of them chosen."
        )
    if len(judged.designs) > 1 and count > 0:
        yield picture(
            parallel_figure(judged.designs, metric=judged.metric),
            shows="Each design as a line over its choices, costs and result",
            caption=f"Every design as a line; the lighter, the better its {judged.metric}.",
        )


def _design(each: DesignSummary, costs: list[str], failed: bool) -> tuple[str, ...]:
    judged = each.estimate
    mean = MISSING if judged.mean is None else with_interval(judged.mean, judged.interval, ".4f")
    return (
        f"{each.number}: {levels_shown(each.levels)}",
        mean,
        str(judged.count),
        *([str(judged.failed) if judged.failed else ""] if failed else []),
        *(number(each.costs[name], ",.6g") for name in costs),
        "yes" if each.on_front else "",
    )


def choices(levels: Sequence[Design], draws: Draws, *, level: float = 0.95) -> Iterator[Html]:
    """What each axis does, of the designs with these ``levels``."""
    try:
        told = effects(dict(enumerate(levels)), draws, level=level)
    except ValueError as error:
        yield note(f"{error}.")
        return
    if len(told.axes) == 1:
        return  # the table of designs says it all
    yield picture(
        effects_figure(told),
        shows="Mean of the levels of each axis",
        caption="Means of the levels over those of all other axes. Bars: intervals "
        f"({percent(level)}) of the difference from the mean of all levels (dashed), in which luck "
        "that all designs share is not.",
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
            f"{told.variance**0.5:.4f}; intervals of {percent(level)}",
        )
        yield picture(
            pairs_figure(told),
            shows="Shares of the variance of axes and pairs of axes",
            caption="Shares of the variance: of an axis alone on the diagonal, of what two axes do "
            "together below it.",
        )
    yield from notes(told.notes)


def _shares(told: Effects) -> Iterator[tuple[str, ...]]:
    def shown(share: Share | None) -> str:
        if share is None:
            return MISSING
        return with_interval(share.value, share.interval, ".2f")

    for each in told.axes:
        yield each.axis, shown(each.share), shown(each.total)
    for pair in told.pairs:
        yield " and ".join(pair.axes), shown(pair.share), ""


def costs(table_: Sequence[Row], draws: Draws, *, level: float = 0.95) -> Iterator[Html]:
    """The metric against each cost."""
    told = fronts(table_, draws, level=level)
    if not told:
        yield note("No cost differs between designs that have a number.")
    for front in told:
        if len(front.costs) == 1:
            yield picture(
                front_figure(front),
                shows=f"{front.metric} against {front.costs[0]}",
                caption=f"{front.metric} against {front.costs[0]}, by number of the design. Bars: "
                f"intervals ({percent(level)}) over {front.unit}; points of one cost stand side by "
                "side. The fuller a point, the more often it is on the front when these are drawn "
                "anew.",
            )
    if told:
        yield table(
            ("front against", "design", told[0].metric, "on the front", "in draws", "alone adds"),
            [line for front in told for line in _front(front)],
            caption="Designs on a front as measured, or in at least a tenth of the draws; "
            f"intervals of {percent(level)}; alone adds: share of the hypervolume that is lost "
            "without the design",
        )
    volumes = [line for front in told for line in _volume(front)]
    if volumes:
        yield table(
            ("front against", "hypervolume", "of the box", "reference"),
            volumes,
            caption="Volume that the front dominates, up to the reference, with intervals "
            f"({percent(level)}) over {told[0].unit}; of the box: of what one design as good as "
            "the best in each number would dominate. Volumes of two studies compare at one "
            "reference alone",
        )


def _volume(front: Front) -> Iterator[tuple[str, ...]]:
    whole = front.hypervolume
    if whole is not None:
        yield (
            ", ".join(front.costs),
            with_interval(whole.value, whole.interval, ".6g"),
            f"{whole.of_box:.0%}",
            ", ".join(f"{name} {value:.6g}" for name, value in whole.reference.items()),
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
                MISSING if point.share is None else f"{point.share:.1%}",
            )


def rates(ledger: Ledger, metric: str) -> Iterator[Html]:
    """The metric against bits, for each codec that was run at several rates."""
    if lower_is_better(metric):
        return
    told = rate_accuracy(ledger, metric=metric)
    level = percent(1 - ledger.study.plan.alpha)  # which it takes itself
    if not any(len(family.points) > 1 for family in told.families):
        return
    yield picture(
        rate_accuracy_figure(told),
        shows=f"{told.metric} against bits of a picture, for each codec",
        caption=f"{told.metric} against the bits of a picture. Bars: intervals ({level}) over "
        f"{told.unit}.",
    )
    drawn = rate_families(told)
    left_out = len(told.families) - len(drawn)
    if left_out:
        yield note(
            f"{len(drawn)} curves are drawn, {left_out} left out: no more can be told apart."
        )
    if told.differences:
        tested = sum(each.rate_p is not None for each in told.differences)
        least = seeds_for_claim(ledger.study.plan.alpha, max(1, tested))
        yield table(
            ("codec", "against", "bits at equal accuracy", f"{told.metric} at equal bits", "shown"),
            [_rate(each) for each in told.differences],
            caption=f"Bjøntegaard differences with intervals ({level}); where accuracy falls with "
            "the rate, neighbours are pooled. shown: the bits at equal accuracy differ, corrected "
            f"for as many differences as have an interval (Holm): of {least} seeds at the least",
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
