"""A study's exploration on its page: designs, what each axis does, costs, rate and accuracy."""

from collections.abc import Iterable, Iterator, Sequence

from joint.analysis.curve_difference import RateDifference
from joint.judge.metric import lower_is_better
from joint.report.page import MISSING, Html, note, number, paragraph, picture, table, with_interval
from joint.study.axis import Design
from joint.study.findings.design_summary import DesignSummary, known_costs
from joint.study.findings.draws import Draws
from joint.study.findings.effects import Effects, Share, effects
from joint.study.findings.front import Front, fronts
from joint.study.findings.rate_accuracy import rate_accuracy
from joint.study.findings.report import StudyReport
from joint.study.findings.table import Row, front_costs
from joint.study.ledger import Ledger
from joint.study.significance import seeds_for_claim
from joint.study.space import levels_shown

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
    """The level of an interval in percent, as text."""
    return f"{100 * level:g} %"


def notes(lines: Iterable[str | None]) -> Iterator[Html]:
    """Each different line once, as a sentence."""
    for line in dict.fromkeys(lines):
        if line is not None:
            yield note(line[0].upper() + line[1:] + ".")


def designs(judged: StudyReport, *, level: float = 0.95) -> Iterator[Html]:
    """Table of all designs with intervals of this ``level`` and costs; chance lead of the best."""
    known = known_costs(judged.designs)
    failed = any(each.estimate.failed for each in judged.designs)
    counted = front_costs([d.costs for d in judged.designs if d.estimate.mean is not None])
    order, others = "Best", "no design"
    if judged.race is not None:
        order, others = "Most seeds", "no other design with all seeds"
    yield table(
        ("design", judged.metric, "runs", *(["failed"] if failed else []), *known, "front"),
        [_design(each, known, failed) for each in judged.designs],
        caption=f"{order} first; intervals ({percent(level)}) over seeds, and over lesions where "
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
            f"By chance over seeds alone, the best of {count} equal designs would be "
            f"{judged.luck:.4f} above their mean. This table is exploration: confirm a choice on "
            "fresh seeds."
        )
    yield from notes([*judged.notes, judged.race])
    if judged.race is not None:
        yield note(
            "Effects of axes, fronts against costs and rate-accuracy curves are left out: they "
            "need designs with equal numbers of seeds, not chosen by results."
        )
    if len(judged.designs) > 1 and count > 0:
        yield picture(
            parallel_figure(judged.designs, metric=judged.metric),
            shows="Each design as a line over its choices, costs and result",
            caption=f"Each line is a design; lighter lines have a better {judged.metric}.",
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
    """Effect of each axis over the designs with these ``levels``."""
    try:
        told = effects(dict(enumerate(levels)), draws, level=level)
    except ValueError as error:
        yield note(f"{error}.")
        return
    if len(told.axes) == 1:
        return  # with one axis the table of designs shows it all
    yield picture(
        effects_figure(told),
        shows="Mean of the levels of each axis",
        caption="Mean of each level over the levels of all other axes. Bars: intervals "
        f"({percent(level)}) of the difference from the mean of all levels (dashed); variation "
        "common to all designs cancels in it.",
    )
    if not told.variance > 0:
        yield paragraph(
            "The designs differ no more than expected by chance over seeds and lesions: there is "
            "no variance to divide among axes."
        )
    else:
        yield table(
            ("axis or pair", "share of the variance", "with its interactions"),
            _shares(told),
            caption=f"Variance over designs, less that over {told.unit}: a standard deviation of "
            f"{told.variance**0.5:.4f}; {percent(level)} intervals",
        )
        yield picture(
            pairs_figure(told),
            shows="Shares of the variance of axes and pairs of axes",
            caption="Shares of the variance: each axis alone on the diagonal, the interaction of "
            "two axes below it.",
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
        yield note("No cost differs between designs with results.")
    for front in told:
        if len(front.costs) == 1:
            yield picture(
                front_figure(front),
                shows=f"{front.metric} against {front.costs[0]}",
                caption=f"{front.metric} against {front.costs[0]}; points are labelled with the "
                f"number of the design. Bars: intervals ({percent(level)}) over {front.unit}; "
                "points of equal cost are drawn side by side. The fuller a point, the more often "
                "it is on the front when these are resampled.",
            )
    if told:
        yield table(
            ("front against", "design", told[0].metric, "on the front", "in draws", "alone adds"),
            [line for front in told for line in _front(front)],
            caption="Designs on a front as measured, or in at least a tenth of the draws, which "
            f"resample seeds and lesions; {percent(level)} intervals; alone adds: share of the "
            "hypervolume that is lost without the design",
        )
    volumes = [line for front in told for line in _volume(front)]
    if volumes:
        yield table(
            ("front against", "hypervolume", "of the box", "reference"),
            volumes,
            caption="Hypervolume that the front dominates, up to the reference, with intervals "
            f"({percent(level)}) over {told[0].unit}; of the box: as a fraction of what one design "
            "with the best value of every number would dominate. Hypervolumes of two studies can "
            "be compared only at the same reference",
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
    level = percent(1 - ledger.study.plan.alpha)  # the level that rate_accuracy uses
    if not any(len(family.points) > 1 for family in told.families):
        return
    yield picture(
        rate_accuracy_figure(told),
        shows=f"{told.metric} against bits per picture, for each codec",
        caption=f"{told.metric} against the bits per picture. Bars: intervals ({level}) over "
        f"{told.unit}.",
    )
    drawn = rate_families(told)
    left_out = len(told.families) - len(drawn)
    if left_out:
        yield note(
            f"{len(drawn)} curves are drawn and {left_out} left out: more could not be told apart."
        )
    if told.differences:
        tested = sum(each.rate_p is not None for each in told.differences)
        least = seeds_for_claim(ledger.study.plan.alpha, max(1, tested))
        yield table(
            ("codec", "against", "bits at equal accuracy", f"{told.metric} at equal bits", "shown"),
            [_rate(each) for each in told.differences],
            caption=f"Bjøntegaard differences with {level} intervals; where accuracy falls with "
            "the rate, neighbouring points are pooled. shown: the bits at equal accuracy differ, "
            "after Holm's correction for the number of differences that have an interval; this "
            f"takes at least {least} seeds",
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
        yield note(f"The measured accuracy falls at some higher rate for {'; '.join(falls)}.")


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
