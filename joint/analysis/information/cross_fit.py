"""Cross-fitting: pictures are divided by lesion, so that fit and test share no lesion."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from classify.intervals import membership
from joint.analysis.by_lesion import check_labels
from optics.quantity import whole_number

__all__ = ["Dealt", "deal", "standard"]

Array = npt.NDArray[Any]

# Deals that are tried for one that leaves each class lesions to learn from.
_DEALS = 100


class Dealt(NamedTuple):
    """Pictures of all classes with at least two lesions, divided into parts."""

    features: Array
    labels: Array
    member: Array
    fold: Array
    present: Array
    """Classes that are left, ascending."""

    def parts(self) -> list[tuple[Array, Array]]:
        """Rows to learn from and rows to judge, for each part."""
        return [
            (np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k))
            for k in np.unique(self.fold)
        ]

    def left_out(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Names of the classes that are not there."""
        return tuple(name for k, name in enumerate(classes) if k not in self.present)


def deal(
    features: Array,
    labels: Array,
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None,
    folds: int,
    generator: torch.Generator,
) -> Dealt:
    """Check pictures and divide their lesions into parts, class by class.

    Parameters
    ----------
    features : array ``[N, D]``
    labels : array of int ``[N]``
        Classes.
    classes : sequence of str
        Their names. Those of fewer than two lesions are left out, with their pictures.
    groups : sequence of str, length N, optional
        Lesion of each picture; by default each is its own. One that is of several classes stays in
        one part.
    folds : int
        Parts, 2 or more; there are fewer where there are fewer lesions.
    generator : torch.Generator
        Source of the order of the lesions.

    Raises
    ------
    ValueError
        When shapes, labels or groups do not fit, a feature is not finite, fewer than two classes
        are left, or no deal was found that leaves each of them lesions to learn from.
    """
    features = np.asarray(features, dtype=float)
    bad = int((~np.isfinite(features)).sum())
    if features.ndim != 2 or features.shape[1] == 0 or bad:
        raise ValueError(
            f"features must be finite numbers [N, D], not {features.shape}"
            + (f" of which {bad} are nan or infinite: leave these pictures out" if bad else "")
        )
    folds = whole_number("folds", folds, least=2)
    labels = check_labels(labels, len(features), classes, "labels")
    member = membership(groups, len(features))
    lesions = [np.unique(member[labels == k]) for k in range(len(classes))]
    present = np.array([k for k, own in enumerate(lesions) if len(own) >= 2])
    if len(present) < 2:
        raise ValueError(
            f"at least 2 classes of 2 lesions are needed, not {len(present)}: give more pictures"
        )
    for _ in range(_DEALS):
        fold_of = _folds([lesions[k] for k in present], folds, generator)
        whole = [k for k in present if len(np.unique(fold_of[lesions[k]])) < 2]
        if not whole:
            break
    else:
        raise ValueError(
            f"in {_DEALS} deals all lesions of a class, as of {classes[whole[0]]}, came into one "
            f"of {folds} parts, as they are of other classes too: none is left to learn from. Give "
            "more folds, or more lesions"
        )
    kept = np.isin(labels, present)
    unique = np.unique(member[kept], return_inverse=True)[1]
    return Dealt(features[kept], labels[kept], unique, fold_of[member[kept]], present)


def _folds(lesions: Sequence[Array], folds: int, generator: torch.Generator) -> Array:
    """Part of each lesion, of those of each class: where its classes have the fewest.

    A lesion of several classes is dealt once, and before the others, which can make room for it.
    """
    orders = []
    for own in lesions:
        order = torch.randperm(len(own), generator=generator, device=generator.device)
        orders.append(own[order.cpu().numpy()])
    count = 1 + max(int(own.max()) for own in lesions)
    of = np.stack([np.bincount(own, minlength=count) for own in lesions], 1)
    found, dealt = np.full(count, -1), np.zeros((len(lesions), folds), dtype=int)
    for several in (True, False):
        start = 0
        for order in orders:
            parts = (start + np.arange(folds)) % folds
            for lesion in order[(of[order].sum(1) > 1) == several]:
                if found[lesion] < 0:
                    found[lesion] = parts[(of[lesion] @ dealt)[parts].argmin()]
                    dealt[:, found[lesion]] += of[lesion]
            start += len(order)  # so that small classes do not all end in the first parts
    return found


def standard(features: Array) -> tuple[Array, Array]:
    """Mean and deviation of each feature ``[D]``; inf of a constant one, which then counts 0."""
    spread = features.std(0)
    # The rounding of a constant feature is no spread.
    constant = spread <= 1e-12 * np.abs(features).max(0)
    return features.mean(0), np.where(constant, np.inf, spread)
