"""A rule from scores to probabilities and decisions, chosen on validation pictures and saved.

::

    fit_temperature, choose_tau, choose_cutoff ──► DecisionRule ◄──► JSON
    logits [N, K] of other pictures ──scores──► [N, K] ──softmax──► probabilities [N, K]
                                                  └────Referral───► refers [N]
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, overload

import numpy as np
from scipy.special import softmax
from torch import Tensor

from .calibration import calibrated, check_temperature
from .given import check_fields, check_names
from .referral import Referral, over_cutoff
from .scores import Array, as_array, class_names, warn_of_probabilities

__all__ = ["DecisionRule"]


@dataclass(frozen=True)
class DecisionRule:
    """Probabilities ``softmax(logits / temperature + offset)``, and referral based on them.

    The offset holds the biases of :func:`classify.fit_bias_corrected_temperature`, the
    ``-tau * log_prior`` of a logit adjustment, or the sum of both.

    Raises
    ------
    TypeError
        When ``classes`` are not names, ``temperature`` is not a number, ``referral`` not a
        :class:`Referral`, or ``fitted`` not a mapping.
    ValueError
        When classes repeat, the temperature is not positive and finite, the offset is not one
        finite number for each class, or the referral has other classes.
    """

    classes: tuple[str, ...]
    """Names of the K classes, in the order of the scores."""
    temperature: float = 1.0
    """Divisor of the scores."""
    offset: tuple[float, ...] = ()
    """Added to the divided score of each class ``[K]``; zeros by default."""
    referral: Referral | None = None
    """Classes to refer, with a cutoff for the probabilities of this rule."""
    fitted: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Origin of the rule, as plain data: run, part of the data, light, quality and the like."""

    def __post_init__(self) -> None:
        classes = class_names(check_names("classes", self.classes))
        check_temperature(self.temperature)
        offset = as_array(self.offset)
        offset = np.zeros(len(classes)) if offset.shape == (0,) else offset
        # Strings and bools are refused, although NumPy converts some of them.
        numbers = offset.dtype.kind in "iuf" and np.isfinite(offset).all()
        if offset.shape != (len(classes),) or not numbers:
            raise ValueError(
                f"offset must be one finite number for each of the classes {', '.join(classes)}, "
                f"not {offset.tolist()}"
            )
        if not isinstance(self.fitted, Mapping):
            raise TypeError(f"fitted must be a mapping, not {type(self.fitted).__name__}")
        if self.referral is not None and not isinstance(self.referral, Referral):
            raise TypeError(f"referral must be a Referral, not {type(self.referral).__name__}")
        if self.referral is not None and self.referral.classes != classes:
            raise ValueError(
                f"the referral has the classes {', '.join(self.referral.classes)}, but this rule "
                f"{', '.join(classes)}"
            )
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "offset", tuple(map(float, offset)))
        object.__setattr__(self, "fitted", dict(self.fitted))

    @overload
    def scores(self, logits: Tensor) -> Tensor: ...
    @overload
    def scores(self, logits: Array) -> Array: ...
    def scores(self, logits: Array | Tensor) -> Array | Tensor:
        """Return the scores of this rule, see :func:`classify.calibrate_logits`.

        Parameters
        ----------
        logits : array or Tensor ``[N, K]``
            Class scores of a classifier.

        Returns
        -------
        array or Tensor ``[N, K]``, as ``logits``

        Raises
        ------
        TypeError
            For scores that are neither an array nor a tensor.
        ValueError
            When there are not K classes.

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        return self._scores(logits)

    def _scores(self, logits: Array | Tensor) -> Array | Tensor:
        """Scores of this rule; the warning of probabilities points to the caller's line."""
        shape = tuple(getattr(logits, "shape", (0, len(self.classes))))
        if len(shape) != 2 or shape[1] != len(self.classes):
            raise ValueError(
                f"this rule takes scores [N, {len(self.classes)}] of the classes "
                f"{', '.join(self.classes)}, not {shape}"
            )
        warn_of_probabilities(logits, stacklevel=4)
        return calibrated(logits, self.temperature, self.offset)

    @overload
    def probabilities(self, logits: Tensor) -> Tensor: ...
    @overload
    def probabilities(self, logits: Array) -> Array: ...
    def probabilities(self, logits: Array | Tensor) -> Array | Tensor:
        """Return the probability of each class by this rule.

        Parameters
        ----------
        logits : array or Tensor ``[N, K]``
            Class scores of a classifier.

        Returns
        -------
        array or Tensor ``[N, K]``, as ``logits``
            Float32 for scores in half precision.

        Raises
        ------
        TypeError
            For scores that are neither an array nor a tensor.
        ValueError
            When there are not K classes.

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        scores = self._scores(logits)
        return scores.softmax(1) if isinstance(scores, Tensor) else softmax(scores, axis=1)

    def refers(self, logits: Array | Tensor) -> Array:
        """Return whether each picture is referred by this rule.

        Parameters
        ----------
        logits : array or Tensor ``[N, K]``
            Class scores of a classifier.

        Returns
        -------
        array of bool ``[N]``

        Raises
        ------
        TypeError
            For scores that are neither an array nor a tensor.
        ValueError
            When the rule has no referral, there are not K classes, or a row of scores is invalid
            (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            When each row of the scores sums to 1, as probabilities do.
        """
        if self.referral is None:
            raise ValueError("this rule has no referral: give it one from choose_cutoff")
        return over_cutoff(self.referral, self._scores(logits)) >= 0

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raise an error for scores of other classes, or of the same classes in another order.

        Parameters
        ----------
        classes : sequence of str
            Names of the classes of the scores, in their order.

        Raises
        ------
        ValueError
            When they differ from those of the rule.
        """
        if tuple(classes) != self.classes:
            order = ", in this order," if sorted(classes) == sorted(self.classes) else ""
            raise ValueError(
                f"the rule has the classes {', '.join(self.classes)}{order} but the scores have "
                f"{', '.join(classes)}: choose a rule for this classifier"
            )

    def __str__(self) -> str:
        text = f"softmax(scores / {self.temperature:.4g}"
        if any(self.offset):
            both = zip(self.classes, self.offset, strict=True)
            text += f" + [{', '.join(f'{name} {shift:+.3g}' for name, shift in both)}]"
        return f"{text})" + ("" if self.referral is None else f"; {self.referral}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        referral = None if self.referral is None else self.referral.to_dict()
        return asdict(self) | {"referral": referral}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the rule that :meth:`to_dict` described.

        Parameters
        ----------
        values : mapping of str to object
            As read from JSON.

        Returns
        -------
        DecisionRule

        Raises
        ------
        TypeError
            When a field has the wrong type.
        ValueError
            When a field is missing, a field is unknown, or the fields do not fit.
        """
        check_fields("a decision rule", values, [each.name for each in fields(cls)])
        referral = values["referral"]
        kept = None if referral is None else Referral.from_dict(referral)
        return cls(**{**values, "referral": kept})
