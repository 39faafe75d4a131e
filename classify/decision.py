"""How scores become probabilities and a decision: what is chosen on validation pictures, kept.

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

from .calibration import calibrated, check_temperature, warn_of_shares
from .referral import Referral, as_names, over_cutoff
from .scores import Array, as_array, class_names

__all__ = ["DecisionRule"]


@dataclass(frozen=True)
class DecisionRule:
    """``softmax(logits / temperature + offset)``, and which pictures are referred by that.

    The offset holds the biases of :func:`classify.fit_bias_corrected_temperature`, the
    ``-tau * log_prior`` of a logit adjustment, or the sum of both.

    Raises
    ------
    TypeError
        For classes that are no names, a temperature that is no number, a referral that is none, or
        when what was fitted is no mapping.
    ValueError
        When classes repeat, the temperature is not positive and finite, the offset is not one
        finite number for each class, or the referral is of other classes.
    """

    classes: tuple[str, ...]
    """Names of the K classes, in the order of the scores."""
    temperature: float = 1.0
    """By which scores are divided."""
    offset: tuple[float, ...] = ()
    """What is then added to the score of each class ``[K]``; zeros where none is given."""
    referral: Referral | None = None
    """Classes to refer, with a cutoff of the probabilities by this rule."""
    fitted: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Where all this was chosen, as plain data: run, part, light, quality and the like."""

    def __post_init__(self) -> None:
        classes = class_names(as_names("classes", self.classes))
        check_temperature(self.temperature)
        offset = as_array(self.offset)
        offset = np.zeros(len(classes)) if offset.shape == (0,) else offset
        # Words and truth values are no numbers, though NumPy would make some of them.
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
                f"the referral is of the classes {', '.join(self.referral.classes)}, and this rule "
                f"of {', '.join(classes)}"
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
        """Scores by this rule, see :func:`classify.calibrate_logits`.

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
            For scores that are neither.
        ValueError
            When there are not K classes.

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        return self._scores(logits)

    def _scores(self, logits: Array | Tensor) -> Array | Tensor:
        """Scores by this rule; of probabilities, the line is told that asked the rule."""
        shape = tuple(getattr(logits, "shape", (0, len(self.classes))))
        if len(shape) != 2 or shape[1] != len(self.classes):
            raise ValueError(
                f"this rule is of scores [N, {len(self.classes)}] of the classes "
                f"{', '.join(self.classes)}, not of {shape}"
            )
        warn_of_shares(logits, stacklevel=4)
        return calibrated(logits, self.temperature, self.offset)

    @overload
    def probabilities(self, logits: Tensor) -> Tensor: ...
    @overload
    def probabilities(self, logits: Array) -> Array: ...
    def probabilities(self, logits: Array | Tensor) -> Array | Tensor:
        """Probability of each class by this rule.

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
            For scores that are neither.
        ValueError
            When there are not K classes.

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        scores = self._scores(logits)
        return scores.softmax(1) if isinstance(scores, Tensor) else softmax(scores, axis=1)

    def refers(self, logits: Array | Tensor) -> Array:
        """Whether each picture is referred by this rule.

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
            When the rule has no referral, there are not K classes, or a row of scores ranks none of
            them (:class:`classify.scores.InvalidScores`).

        Warns
        -----
        UserWarning
            For probabilities, each row of which sums to 1.
        """
        if self.referral is None:
            raise ValueError("this rule refers nothing: give it a referral, of choose_cutoff")
        return over_cutoff(self.referral, self._scores(logits)) >= 0

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse the scores of other classes, or of the same ones in another order.

        Parameters
        ----------
        classes : sequence of str
            Names of the classes of the scores, in their order.

        Raises
        ------
        ValueError
            When they are not those of the rule.
        """
        if tuple(classes) != self.classes:
            order = ", in this order," if sorted(classes) == sorted(self.classes) else ""
            raise ValueError(
                f"the rule is of the classes {', '.join(self.classes)}{order} and the scores are "
                f"of {', '.join(classes)}: choose a rule for this classifier"
            )

    def __str__(self) -> str:
        text = f"softmax(scores / {self.temperature:.4g}"
        if any(self.offset):
            both = zip(self.classes, self.offset, strict=True)
            text += f" + [{', '.join(f'{name} {shift:+.3g}' for name, shift in both)}]"
        return f"{text})" + ("" if self.referral is None else f"; {self.referral}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        referral = None if self.referral is None else self.referral.to_dict()
        return asdict(self) | {"referral": referral}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The rule that :meth:`to_dict` wrote down.

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
            When a field is of another kind.
        ValueError
            When a field is missing, there is one that it does not have, or they do not fit.
        """
        names = [each.name for each in fields(cls)]
        missing = [name for name in names if name not in values]
        unknown = [name for name in values if name not in names]
        if missing or unknown:
            raise ValueError(
                f"a decision rule has the fields {', '.join(names)}: missing are "
                f"{', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}"
            )
        referral = values["referral"]
        kept = None if referral is None else Referral.from_dict(referral)
        return cls(**{**values, "referral": kept})
