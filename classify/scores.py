"""Conversion and checks of scores and labels as users give them."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from .data.arrays import as_integer
from .given import looked_at

__all__ = [
    "Array",
    "InvalidScores",
    "Kind",
    "as_array",
    "as_floats",
    "as_logits",
    "as_scores",
    "check_labels",
    "check_scores",
    "class_names",
    "plain",
    "warn_of_probabilities",
]

Array = npt.NDArray[Any]


class InvalidScores(ValueError):
    """Scores of some pictures are invalid: one is nan or infinite, or all are minus infinity.

    A diverged training gives such scores.
    """


def as_array(values: npt.ArrayLike | torch.Tensor) -> Array:
    """NumPy array of any array-like, including tensors with a gradient, on a GPU, or bfloat16."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def as_floats(logits: torch.Tensor) -> torch.Tensor:
    """Scores for computation: integers as floats, half precision as float32."""
    if not logits.is_floating_point():
        return logits.to(torch.get_default_dtype())
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def warn_of_probabilities(
    scores: Array | torch.Tensor, advice: str = "give their logarithms", *, stacklevel: int = 3
) -> None:
    """Warn if scores taken as logits are probabilities, but not all of them one-hot.

    A tensor on a GPU is not checked, because that would have to wait for the GPU; nor is anything
    that is neither a tensor nor an array, which other checks refuse.
    """
    if isinstance(scores, torch.Tensor) and looked_at(scores):
        scores = as_array(scores)
    if not isinstance(scores, np.ndarray) or scores.ndim != 2:
        return
    shares = (scores >= 0).all() and ((scores > 0) & (scores < 1)).any()
    if shares and (np.abs(scores.sum(1) - 1) <= 1e-4).all():
        warnings.warn(
            f"these scores are probabilities, but are taken as logits: {advice}",
            stacklevel=stacklevel,
        )


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Names of ``classes``: their numbers for a count, otherwise the given names, checked."""
    count = as_integer(classes)
    names = tuple(map(str, range(count) if count is not None else classes))  # pyright: ignore[reportArgumentType]
    if len(set(names)) < len(names):
        raise ValueError(f"classes must be different names, not {', '.join(names)}")
    return names


def check_labels(labels: Array, classes: int) -> None:
    """Raise an error unless labels are indices of this number of classes."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.dtype}: give the index of each "
            "picture's class, such as labels.astype(int)"
        )
    if len(labels) == 0:
        return
    if labels.min() < 0:
        raise ValueError(
            f"labels must be integers of 0 or more, not {labels.min()} as in row "
            f"{labels.argmin()}: leave out pictures of unknown class"
        )
    if labels.max() >= classes:
        raise ValueError(f"label {labels.max()} is beyond the {classes} classes")


def check_scores(logits: Array) -> None:
    """Raise an error for scores ``[N, K]`` with a row that does not rank the classes.

    A class may be impossible (-inf), but no score may be +inf or nan, and not all may be -inf.
    """
    bad = np.isnan(logits).any(1) | (logits.max(1) == np.inf) | (logits.max(1) == -np.inf)
    if bad.any():
        raise InvalidScores(
            f"{int(bad.sum())} rows of scores are nan or infinite, the first is row "
            f"{bad.argmax()}; "
            "check whether the training diverged"
        )


Kind = Literal["logits", "probabilities"]


def as_scores(scores: Array) -> Array:
    """Scores of either kind ``[N, K]`` as float64, not converted."""
    scores = as_array(scores)
    if np.iscomplexobj(scores):
        raise ValueError("scores must be real numbers, not complex ones")
    if scores.ndim != 2:
        raise ValueError(
            f"scores must be [N, K], not {scores.shape}; for two classes with one probability p "
            "per picture, give np.stack([1 - p, p], 1) and kind='probabilities'"
        )
    return scores.astype(float)


def as_logits(scores: Array, kind: Kind, *, stacklevel: int = 4) -> Array:
    """Scores of either kind as logits, float64; the warning points to the caller's caller."""
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
    # once more. The softmax divides out the remaining deviation of the sum.
    wrong = np.flatnonzero(np.abs(scores.sum(-1) - 1) > 2**-7)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"{len(wrong)} rows of probabilities do not sum to one (row {row} sums to "
            f"{scores[row].sum():.4g}); {advice}, or divide each row by its sum"
        )
    with np.errstate(divide="ignore"):
        return np.log(scores)


def plain(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Arrays, mappings and numbers as JSON types; a number that is not finite becomes None."""
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
