"""Stability atlas: the learned elements of a study's runs, read and compared.

::

    runs/<digest>/ of a design's seeds ──learned_elements──► Learned ──stability──► Atlas

:mod:`.stability` describes what is compared, and with what.
"""

from collections.abc import Mapping, Sequence

from joint.saved.checkpoint import CheckpointError
from joint.settings import ConfigError
from joint.study.ledger import Ledger, check_design
from joint.study.space import numbers_shown
from joint.train.augment import augmentation

from .element import Orientation, load_element
from .stability import Atlas, Learned, learned_share, stability

__all__ = ["atlas", "learned_elements"]

_MOST = 240  # elements; time grows with the square of their number
_STILL = 1e-4  # learned share of an element below which nothing was learned


def atlas(
    ledger: Ledger,
    *,
    designs: Sequence[int] | None = None,
    elements: tuple[Sequence[Learned], Mapping[int, str]] | None = None,
    orientation: Orientation | None = None,
    surrogates: int = 49,
    seed: int = 0,
) -> Atlas:
    """Compare the elements that the runs of a study have learned.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.
    designs : sequence of int, optional
        Numbers of the designs to compare; by default all.
    elements : (sequence of Learned, mapping from int to str), optional
        Result of :func:`learned_elements`; by default it is computed.
    orientation : str, optional
        Turns that count as the same element, see :data:`Orientation`. By default ``dihedral`` if
        training flipped and turned the pictures of all designs, otherwise ``kept``.
    surrogates : int
        Draws for the similarity by chance.
    seed : int
        Seed of these draws.

    Raises
    ------
    ValueError
        For a number that is not a design, or more elements than can be compared in pairs.
    """
    there, reasons = elements or learned_elements(ledger, designs=designs)
    found, still = [], []
    for each in there:
        learned = learned_share(each.element, each.start) >= _STILL
        (found if learned else still).append(each)
    if len(found) > _MOST:
        raise ValueError(
            f"{len(found)} elements are more than the {_MOST} that can be compared in pairs: "
            "choose some designs"
        )
    if orientation is None:
        runs = {(run.design, run.seed): run for run in ledger.runs}
        turned = [
            augmentation(ledger.config(runs[each.design, each.seed]).training.augmentation).dihedral
            for each in found
        ]
        orientation = "dihedral" if turned and all(turned) else "kept"
    compared = {each.design for each in found}
    seeds: dict[int, list[int]] = {}
    for each in still:
        seeds.setdefault(each.design, []).append(each.seed)
    fixed = "the element is fixed, or has learned nothing"
    left_out = [
        *reasons.items(),
        *((n, _without(own, fixed) if n in compared else fixed) for n, own in seeds.items()),
    ]
    return stability(
        found,
        levels=dict(enumerate(ledger.designs)),
        orientation=orientation,
        surrogates=surrogates,
        seed=seed,
        left_out=left_out,
    )


def learned_elements(
    ledger: Ledger, *, designs: Sequence[int] | None = None
) -> tuple[list[Learned], dict[int, str]]:
    """Elements of the finished runs, by design and seed, and why designs lack some.

    Parameters
    ----------
    ledger : Ledger
    designs : sequence of int, optional
        Numbers of the designs to read; by default all.

    Returns
    -------
    (list of Learned, dict of int to str)

    Raises
    ------
    ValueError
        For a number that is not a design.
    """
    numbers = range(len(ledger.designs)) if designs is None else designs
    for number in numbers:
        check_design(ledger, number)
    found: list[Learned] = []
    reasons = dict.fromkeys(numbers, "no run is done")
    unread: dict[int, dict[str, list[int]]] = {}
    for run in ledger.done():
        if run.design not in reasons:
            continue
        try:
            learned, start = load_element(ledger.path(run), ledger.config(run))
        except (CheckpointError, ConfigError, ValueError) as error:
            unread.setdefault(run.design, {}).setdefault(str(error), []).append(run.seed)
            continue
        found.append(Learned(run.design, run.seed, learned, start))
    for design in {each.design for each in found}:
        del reasons[design]
    for design, why in unread.items():
        there = design not in reasons
        told = [_without(seeds, reason) if there else reason for reason, seeds in why.items()]
        reasons[design] = "; ".join(told)
    return sorted(found, key=lambda each: (each.design, each.seed)), reasons


def _without(seeds: Sequence[int], reason: str) -> str:
    """Note that names missing seeds: a design is judged by all of its seeds."""
    return f"without {numbers_shown('seed', seeds)}: {reason}"
