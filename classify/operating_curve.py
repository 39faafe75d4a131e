"""One class against the rest, at every threshold: ROC and precision-recall curves.

::

    logits [N, K] ──► the likeliest of the class first ──► recall, false positive rate, precision
    labels [N]    ──► of the class, or of another                  └──► AUC, average precision

The two areas equal those of :func:`classify.report`, which also has their intervals over lesions.
:func:`classify.choose_cutoff` chooses one point of such a curve, on validation pictures.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from .judged import Judged
from .scores import Array, Kind, as_array, as_logits, class_names, plain

__all__ = ["OperatingCurve", "operating_curves"]


@dataclass(frozen=True, eq=False)
class OperatingCurve:
    """Recall, false positive rate and precision of one class at every threshold.

    Pictures with equal scores pass a threshold together. At the first point no picture is called,
    that is, predicted to be of the class.
    """

    threshold: Array
    """Threshold: pictures with at least this probability of the class are called ``[T]``. The
    values never increase and begin with inf. Several may be 1, where only the log-odds differ."""
    recall: Array
    """Share of the pictures of the class that are called ``[T]``, the sensitivity; nan if there
    are none."""
    false_positive_rate: Array
    """Share of the other pictures that are called ``[T]``, 1 - specificity; nan if there are
    none."""
    precision: Array
    """Share of the called pictures that are of the class ``[T]``; 1 where none is called."""
    pictures: int
    """Number of pictures of the class."""
    others: int
    """Number of pictures of all other classes."""
    auc: float
    """Area under recall against false positive rate, joined by straight lines: the probability that
    a picture of the class ranks above another one, where ties count half. Nan if the class or the
    others have no picture."""
    average_precision: float
    """Mean of the precision over the recall, with the precision at the end of each step; nan
    without a picture of the class."""

    @property
    def prevalence(self) -> float:
        """Share of the pictures that are of the class: the precision when all are called."""
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
        """Return the fields as JSON types; undefined and infinite numbers become None."""
        return plain(asdict(self))


def operating_curves(
    logits: Array | torch.Tensor,
    labels: Array | torch.Tensor,
    *,
    classes: Sequence[str] | None = None,
    kind: Kind = "logits",
) -> dict[str, OperatingCurve]:
    """Return the ROC and precision-recall curves of each class against the rest.

    Receiver operating characteristics follow Fawcett (Pattern Recognit. Lett. 27:861, 2006).
    Precision and recall are not interpolated between points, which would be too optimistic (Davis
    and Goadrich, ICML 2006). Both curves equal those of scikit-learn with all thresholds.

    The curves describe the ranking of these pictures only. Choose a threshold for use on other
    pictures. A precision holds only at this prevalence: see :func:`predictive_values`.

    Parameters
    ----------
    logits : array ``[N, K]``
        Class scores of the given ``kind``. Pictures are ranked by the log-odds of a class against
        all others, so that probabilities close to 1 keep their order.
    labels : array of int ``[N]``
        True classes.
    classes : sequence of str, optional
        Names of the K classes; by default their numbers.
    kind : {"logits", "probabilities"}
        As in :func:`classify.report`.

    Returns
    -------
    dict of str to OperatingCurve
        One curve for each class, in their order, including classes without pictures.

    Raises
    ------
    ValueError
        When shapes, labels, scores or names do not fit.

    Warns
    -----
    UserWarning
        When each row of the logits sums to 1, as probabilities do.
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
        # The least of scores that are equal up to their last digit.
        threshold=np.append(np.inf, np.minimum.accumulate(probability[order])[last]),
        recall=recall,
        false_positive_rate=false_positive_rate,
        precision=precision,
        pictures=pictures,
        others=others,
        auc=auc,
        average_precision=average_precision,
    )
