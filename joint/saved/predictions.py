"""Scores of a run for each picture of its test part, as saved in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from .checkpoint import CheckpointError, load_checkpoint
from .folder import PREDICTIONS_FILE, as_path

__all__ = ["Predictions", "load_predictions"]


@final
@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of each picture of the test part: two runs on the same part can be compared in pairs.

    See :func:`classify.bootstrap_difference` and :func:`classify.mcnemar`.
    """

    classes: tuple[str, ...]
    identifiers: tuple[str, ...]
    """Names of the pictures."""
    groups: tuple[str, ...]
    """Their lesions."""
    labels: np.ndarray
    """True classes, int64 ``[N]``."""
    logits: np.ndarray
    """Class scores, float32 ``[N, K]``."""

    def __repr__(self) -> str:
        return (
            f"Predictions({len(self.identifiers)} pictures in {len(set(self.groups))} groups, "
            f"classes={self.classes})"
        )


def load_predictions(path: Path | str) -> Predictions:
    """Read the predictions of a run; ``path`` is its folder or the file.

    Raises
    ------
    CheckpointError
        When there are none (the run is not done, or has no classifier), or they are damaged.
    """
    path = as_path(path, "path")
    if path.is_dir():
        path = path / PREDICTIONS_FILE
        if not path.exists():
            raise CheckpointError(
                f"there are no predictions in {path.parent}: its run is not done, or has no "
                "classifier"
            )
    tensors, head = load_checkpoint(path)
    if not _are_predictions(tensors, head):
        raise CheckpointError(f"{path} does not hold predictions")
    return Predictions(
        classes=tuple(head["classes"]),
        identifiers=tuple(head["identifiers"]),
        groups=tuple(head["groups"]),
        labels=tensors["labels"].numpy(),
        logits=tensors["logits"].numpy(),
    )


def _are_predictions(tensors: Mapping[str, Tensor], head: Mapping[str, Any]) -> bool:
    """Whether there is a label, a name, a lesion and finite scores for each picture."""
    if tensors.keys() != {"labels", "logits"}:
        return False
    labels, logits = tensors["labels"], tensors["logits"]
    counts = []
    for key in ("classes", "identifiers", "groups"):
        names = head.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return False
        counts.append(len(names))
    classes, *each = counts
    fitting = logits.shape == (len(labels), classes) and set(each) == {len(labels)}
    kinds = (labels.dtype, logits.dtype) == (torch.int64, torch.float32)
    return fitting and kinds and bool(((labels >= 0) & (labels < classes)).all())
