"""One class against the rest, at every threshold: ROC and precision-recall curves.

::

    logits [N, K] ──► the likeliest of the class first ──► recall, false positive rate, precision
    labels [N]    ──► of the class, or of another                  └──► AUC, average precision

The two areas are those of :func:`classify.report`, which has their intervals over lesions too. One
point of such a curve is chosen, on validation pictures, by :func:`classify.choose_cutoff`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from .judged import Judged
from .metrics import plain
from .scores import Array, Kind, as_array, as_logits, class_names

__all__ = ["OperatingCurve", "operating_curves"]


@dataclass(frozen=True, eq=False)
class OperatingCurve:
    """What calling a class from each probability on finds of it, and takes for it.

    Pictures of equal scores pass a threshold together. The first point is of no picture called.
    """

    threshold: Array
    """Probability of the class from which pictures are called it ``[T]``, never rising, and first
    inf; several may be 1, where the log-odds alone tell pictures apart."""
    recall: Array
    """Share of its pictures that are called ``[T]``, the sensitivity; nan without any."""
    false_positive_rate: Array
    """Share of the others that are called ``[T]``, 1 - specificity; nan without any."""
    precision: Array
    """Share of the called that are of the class ``[T]``; 1 where none is called."""
    pictures: int
    """Pictures of the class."""
    others: int
    """Pictures of all other classes."""
    auc: float
    """Area under recall against false positive rate, joined by straight lines: how likely a picture
    of the class ranks above another one, of equal ones by half. Nan where either is missing."""
    average_precision: float
    """Mean of the precision over the recall, each step by the precision at its end; nan without a
    picture of the class."""

    @property
    def prevalence(self) -> float:
        """Share of the pictures that are of the class: the precision of calling all of them."""
        return self.pictures / (self.pictures + self.others)

    def __str__(self) -> str:
        found = f"{self.pictures} of {self.pictures + self.others} pictures: "
        if not self.pictures:
            return f"{found}no AUC, no average precision"
        auc = f"AUC {self.auc:.3f}" if self.others else "no AUC"
        return (
            f"{found}{auc}, average precision {self.average_precision:.3f} "
            f"(by chance {self.prevalence:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a number that does not exist, or is infinite, is None."""
        return {name: plain(value) for name, value in asdict(self).items()}


def operating_curves(
    logits: Array | torch.Tensor,
    labels: Array | torch.Tensor,
    *,
    classes: Sequence[str] | None = None,
    kind: Kind = "logits",
) -> dict[str, OperatingCurve]:
    """Follow each class against the rest through all thresholds (Fawcett, 2006).

    Receiver operating characteristics as Fawcett (Pattern Recognit. Lett. 27:861, 2006) has them;
    between two points of precision and recall nothing is interpolated, which would promise too much
    (Davis and Goadrich, ICML 2006). Both curves are those of scikit-learn with all thresholds.

    They describe the ranking of these very pictures. A threshold for use is chosen on others, and a
    precision holds at this prevalence alone: see :func:`predictive_values`.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores, as ``kind`` says. The log-odds of a class against all others rank the
        pictures, so that probabilities next to 1 keep their order.
    labels : array of int ``[N]``
        True classes.
    classes : sequence of str, optional
        Names of the K classes; by default their numbers.
    kind : {"logits", "probabilities"}
        As in :func:`classify.report`.

    Returns
    -------
    dict of str to OperatingCurve
        By class, in their order, also of those without pictures.

    Raises
    ------
    ValueError
        When shapes, labels, scores or names do not fit.

    Warns
    -----
    UserWarning
        For logits each row of which sums to 1, as probabilities do.
    """
    scores = as_logits(as_array(logits), kind)
    names = class_names(scores.shape[1] if classes is None else classes)
    judged = Judged(scores, as_array(labels), classes=names)
    probabilities = softmax(judged.logits, axis=1)
    once = np.ones((1, len(judged.labels)))
    found = judged.measure(once, ("class_auc", "class_average_precision"))
    areas = zip(names, *(values[0].tolist() for values in found.values()), strict=True)
    return {
        name: _curve(judged, place, probabilities[:, place], auc=auc, average_precision=average)
        for place, (name, auc, average) in enumerate(areas)
    }


def _curve(
    judged: Judged, place: int, probability: Array, *, auc: float, average_precision: float
) -> OperatingCurve:
    order, last = judged.ranking(place)
    own = judged.labels[order] == place
    found, false = (np.append(0, each.cumsum()[last]) for each in (own, ~own))
    pictures, others = int(found[-1]), int(false[-1])
    with np.errstate(invalid="ignore"):  # of a class without pictures, or of all of them
        recall, false_positive_rate = found / pictures, false / others
        precision = np.where(found + false > 0, found / (found + false), 1.0)
    return OperatingCurve(
        # Of equal scores that differ in their last digit, the least.
        threshold=np.append(np.inf, np.minimum.accumulate(probability[order])[last]),
        recall=recall,
        false_positive_rate=false_positive_rate,
        precision=precision,
        pictures=pictures,
        others=others,
        auc=auc,
        average_precision=average_precision,
    )
