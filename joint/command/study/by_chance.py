"""Note of ``list`` and ``report`` on designs that a search drew at random."""

from joint.study.ledger import Ledger

__all__ = ["tell_chance"]


def tell_chance(ledger: Ledger) -> None:
    """Print which designs a search has drawn at random for lack of a proposal."""
    drawn = ledger.by_chance()
    if drawn:
        print(
            f"\ndrawn at random after the first round of the search, because no result "
            f"was known or no proposal was allowed: designs {', '.join(map(str, drawn))}"
        )
