"""Results of a run on the validation part, by which designs are chosen.

The test part is left for claims about the chosen designs.
"""

from typing import Any

from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import read_history

from .derived import cost
from .formula import names_in
from .ledger import Ledger, PlannedRun
from .sampler import IN_FORMULAS

__all__ = ["epochs_of", "on_validation"]


def on_validation(ledger: Ledger, run: PlannedRun, name: str) -> float | None:
    """Objective of a finished run: a number on the validation part, or a cost.

    Returns
    -------
    float or None
        With the weights at the end of the run; None if it has no such stage.

    Raises
    ------
    CheckpointError
        When files of the run are damaged.
    """
    if name in ledger.study.costs and name not in IN_FORMULAS:
        text = ledger.study.costs[name]
        measured = {n: on_validation(ledger, run, n) for n in names_in(text) & {*IN_FORMULAS}}
        return cost(text, ledger.designs[run.design], measured)
    result = ledger.result(run)
    costs = result.get("costs", {})
    if name in costs and name != "bits":
        return costs[name]
    epochs = epochs_of(ledger, run)
    best = result.get("best_epoch") if _restores(ledger, run) else None
    place = len(epochs) - 1 if best is None else best
    if not 0 <= place < len(epochs):
        raise _damaged(ledger, run, f"its history has {len(epochs)} epochs")
    validation = epochs[place].get("validation")
    if not isinstance(validation, dict):
        raise _damaged(ledger, run, f"epoch {place} of its history has no validation part")
    if name == "bits" and validation.get("bpp") is not None:
        # The rate on the test part is for the report. Both are bits per picture.
        test = result["test"]
        rate = test["bpp"] if test.get("bpp_bytes") is None else test["bpp_bytes"]
        return costs["bits"] * validation["bpp"] / rate
    return costs.get(name, validation.get(name))


def epochs_of(ledger: Ledger, run: PlannedRun) -> list[dict[str, Any]]:
    """Lines of the history of a run, as :func:`joint.read_history` reads them.

    Raises
    ------
    CheckpointError
        When a line is damaged; the message names the command that says what to do.
    """
    try:
        return read_history(ledger.path(run))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. What to do about it, and about other files: lens2label study check "
            f"{ledger.folder}"
        ) from error


def _damaged(ledger: Ledger, run: PlannedRun, why: str) -> CheckpointError:
    return CheckpointError(
        f"{ledger.path(run)} is done and {why}: it is damaged, or was copied incompletely. Copy "
        "it again; or remove its result.json, and a worker writes both again from the checkpoint "
        "in the folder"
    )


def _restores(ledger: Ledger, run: PlannedRun) -> bool:
    """Whether a run ended with the weights of its best epoch rather than the last."""
    differ = ledger.study.varies("training.restore_best")
    config = ledger.config(run) if differ else ledger.study.base
    return config.training.restore_best
