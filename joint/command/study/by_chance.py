"""What ``list`` and ``report`` add of a search that drew designs by chance."""

from joint.study.store import Ledger

__all__ = ["tell_chance"]


def tell_chance(ledger: Ledger) -> None:
    """Say which designs a search has drawn, as it was asked for them and had no answer."""
    drawn = ledger.by_chance()
    if drawn:
        print(
            f"\ndrawn by chance after the first round of the search, as nothing was "
            f"known, or no proposal was allowed: designs {', '.join(map(str, drawn))}"
        )
