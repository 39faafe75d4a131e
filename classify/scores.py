"""Scores and labels as they are given: arrays of anything like one, and what cannot be judged."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from .data.arrays import as_integer

__all__ = [
    "Array",
    "InvalidScores",
    "Kind",
    "as_array",
    "as_logits",
    "as_scores",
    "check_labels",
    "check_scores",
    "class_names",
    "warn_of_probabilities",
]

Array = npt.NDArray[Any]


class InvalidScores(ValueError):
    """Scores of some pictures rank no class: one is nan or endless, or all are minus infinity.

    As a training leaves them that diverged.
    """


def as_array(values: npt.ArrayLike | torch.Tensor) -> Array:
    """NumPy's array of anything like one: of tensors with a gradient, on a GPU, or bfloat16 too."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def warn_of_probabilities(scores: Array, advice: str, *, stacklevel: int = 3) -> None:
    """Warn where all scores that are taken for logits are shares of one, and not votes for one."""
    if scores.ndim != 2 or not ((scores > 0) & (scores < 1)).any():
        return
    if (scores >= 0).all() and (np.abs(scores.sum(1) - 1) <= 1e-4).all():
        warnings.warn(
            f"these scores are probabilities, and are taken for logits: {advice}",
            stacklevel=stacklevel,
        )


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Names of so many ``classes``, which are their numbers, or of those named, which differ."""
    count = as_integer(classes)
    names = tuple(map(str, range(count) if count is not None else classes))  # pyright: ignore[reportArgumentType]
    if len(set(names)) < len(names):
        raise ValueError(f"classes must be different names, not {', '.join(names)}")
    return names


def check_labels(labels: Array, classes: int) -> None:
    """Refuse labels that are no numbers of so many classes."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.dtype}: give the number of each "
            "picture's class, as labels.astype(int)"
        )
    if len(labels) == 0:
        return
    if labels.min() < 0:
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.min()} as in row "
            f"{labels.argmin()}: leave out pictures of no known class"
        )
    if labels.max() >= classes:
        raise ValueError(f"label {labels.max()} is beyond the {classes} classes")


def check_scores(logits: Array) -> None:
    """Refuse scores ``[N, K]`` a row of which ranks no class.

    A class may be impossible (-inf), but no score can be endless, and not all of them nothing.
    """
    bad = np.isnan(logits).any(1) | (logits.max(1) == np.inf) | (logits.max(1) == -np.inf)
    if bad.any():
        raise InvalidScores(
            f"{int(bad.sum())} rows of scores are not numbers, the first is row {bad.argmax()}; "
            "look for a training that diverged"
        )


Kind = Literal["logits", "probabilities"]


def as_scores(scores: Array) -> Array:
    """Scores of either kind ``[N, K]``, float64, as they are."""
    scores = as_array(scores)
    if np.iscomplexobj(scores):
        raise ValueError("scores must be real numbers, not complex ones")
    if scores.ndim != 2:
        raise ValueError(
            f"scores must be [N, K], not {scores.shape}; of one probability p for each picture of "
            "two classes give np.stack([1 - p, p], 1) and kind='probabilities'"
        )
    return scores.astype(float)


def as_logits(scores: Array, kind: Kind, *, stacklevel: int = 4) -> Array:
    """Scores of either kind as logits, float64; warns of probabilities at the caller's caller."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be 'logits' or 'probabilities', not {kind!r}")
    scores = as_scores(scores)
    if kind == "logits":
        warn_of_probabilities(scores, "give kind='probabilities'", stacklevel=stacklevel)
        return scores
    advice = "pass kind='logits' for scores before the softmax"
    if ((scores < 0) | (scores > 1 + 1e-3)).any():
        raise ValueError(f"probabilities must lie in 0..1; {advice}")
    # Wide enough for bfloat16, which rounds each by up to 2^-8 of itself, and their mean over views
    # once more. What is left of the sum, the softmax divides out.
    wrong = np.flatnonzero(np.abs(scores.sum(-1) - 1) > 2**-7)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"{len(wrong)} rows of probabilities do not sum to one (row {row} sums to "
            f"{scores[row].sum():.4g}); {advice}, or divide each row by its sum"
        )
    with np.errstate(divide="ignore"):
        return np.log(scores)
