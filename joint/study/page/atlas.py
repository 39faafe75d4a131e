"""Part of a study's page: its learned elements."""

from collections.abc import Iterator, Mapping, Sequence

from joint.report.page import Html, note, number, picture, table
from joint.study.findings.atlas import atlas, learned_elements
from joint.study.findings.stability import ORIENTATIONS, Atlas, Learned, by_reason
from joint.study.ledger import Ledger
from joint.study.space import levels_shown, numbers_shown

from .elements import atlas_figure, contact_figures

__all__ = ["elements"]


def elements(ledger: Ledger) -> Iterator[Html]:
    """Learned elements of the runs, side by side and compared."""
    there, reasons = learned_elements(ledger)
    if not there:
        return
    levels = dict(enumerate(ledger.designs))
    for figure, designs in contact_figures(there, levels):
        yield picture(
            figure,
            shows=f"Elements and transfer functions of the designs {', '.join(map(str, designs))}",
            caption="Image of a point through each element, and below it the modulus of its "
            "transfer function, each on its own scale; the first column is the start of the first "
            "seed.",
        )
    yield from _atlas(ledger, there, reasons)


def _atlas(ledger: Ledger, there: Sequence[Learned], reasons: Mapping[int, str]) -> Iterator[Html]:
    try:
        told = atlas(ledger, elements=(there, reasons))
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
            _stability(told, ledger.study.plan.alpha),
            caption="Is the element the same on every seed?",
        )
        yield note(
            "learned: share of the element that is not a multiple of its start. similarity: mean "
            f"over pairs of seeds, 1 if two are the same {ORIENTATIONS[told.orientation]}. starts: "
            "similarity of the elements before training. chance: similarity of elements that "
            "learned as much, each independently. agreement: similarity beyond chance, at most 1; "
            "its p is adjusted for the number of designs. shown: a claim only where p is at "
            f"most {ledger.study.plan.alpha:g}."
        )
        yield picture(
            atlas_figure(told),
            shows="Similarity and agreement of every two learned elements",
            caption=f"Each element against each other one: {len(told.elements)} elements in "
            f"{len(set(told.clusters))} groups with an agreement of at least one half.",
        )
    for reason, designs in by_reason(told.left_out).items():
        which = numbers_shown("Design", designs)
        if reason.startswith("without seed"):
            yield note(f"{which}, {reason}.")
        else:
            yield note(f"{which} {'are' if designs[1:] else 'is'} not compared: {reason}.")


def _stability(told: Atlas, alpha: float) -> Iterator[tuple[str, ...]]:
    for each in told.designs:
        yield (
            f"{each.design}: {levels_shown(each.levels)}",
            str(len(each.seeds)),
            f"{each.learned:.2%}",
            number(each.similarity),
            number(each.of_starts),
            number(each.chance),
            number(each.agreement, "+.2f"),
            f"{each.adjusted_p:.2g}",
            each.verdict(alpha),
        )
