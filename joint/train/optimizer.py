"""The optimiser of a training: what learns at which rate, and its state by the names of that."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from joint.stages import NETWORKS
from joint.system import ImagingSystem

from .training import Training

__all__ = ["factors_of", "make_optimizer", "optimised", "restore_state", "state_by_name"]

# `weight` of a layer, `in_proj_weight` of attention, `weight_hh_l0` of a recurrent net, and
# `weight_orig` of one that was pruned.
_WEIGHT = re.compile(r"(\w+_)?weight(_orig|_(ih|hh|hr)(_l\d+(_reverse)?)?)?")
_NORMS_AND_ROWS = (
    nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase, nn.Embedding, nn.EmbeddingBag,
)  # fmt: skip


def make_optimizer(system: ImagingSystem, config: Training) -> torch.optim.Optimizer:
    """Adam over the learning stages; weights of networks decay, everything else does not.

    A module may have a ``learning_rate_factor``, that of its own parameters and of those within. A
    parameter with gaps or overlaps in memory gets memory of its own.
    """
    groups = []
    for name, stage in system.stages():
        if name not in config.stages:
            continue
        peak = config.learning_rates.get(name, config.learning_rate)
        network = name in NETWORKS
        factors: dict[nn.Parameter, float] = {}
        for part, factor in factors_of(stage):  # from outside in: the innermost one counts
            factors |= dict.fromkeys(part.parameters(), factor)
        alike: dict[tuple[float, float], list[nn.Parameter]] = {}
        for own, parameter in stage.named_parameters():
            if parameter.requires_grad:
                _make_dense(parameter)
                decays = network and parameter.ndim > 1 and _is_weight(stage, own)
                rule = (config.weight_decay if decays else 0.0, factors.get(parameter, 1.0))
                alike.setdefault(rule, []).append(parameter)
        for (decay, factor), members in alike.items():
            groups.append({"params": members, "peak": peak * factor, "weight_decay": decay})
    if not groups:
        raise ValueError(
            f"nothing to train: the stages {', '.join(config.stages)} have no trainable "
            "parameters in this system"
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    # A fused step knows real numbers only; None is torch's own choice.
    real = all(p.is_floating_point() for group in groups for p in group["params"])
    return kind(groups, lr=config.learning_rate, fused=True if real else None)


def _make_dense(parameter: nn.Parameter) -> None:
    """Give a parameter that has gaps or overlaps in memory, as a slice has, memory of its own.

    A fused step walks as many numbers from the first one on as the parameter has: in a slice those
    are its neighbours', and of an expanded tensor nobody's.
    """
    if torch.empty_like(parameter, device="meta").stride() != parameter.stride():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _is_weight(stage: nn.Module, name: str) -> bool:
    """Whether a parameter is what a layer multiplies its input by, neither a norm's nor a row.

    Gains and quantisation tables are logarithms, the entropy model's numbers are biases and slopes,
    tokens and places are no weights either: a weight is known by its name, as torch gives it. One
    that is parametrized is its ``original``, as of spectral normalisation. Where there are several,
    as a length and a direction of weight normalisation, none is: the length is a scale, and that of
    the direction says nothing.
    """
    *path, own = name.split(".")
    if own == "original" and path[-2:-1] == ["parametrizations"]:
        own = path.pop()  # of `parametrizations.weight.original`
        path.pop()
    owner = stage.get_submodule(".".join(path))
    return _WEIGHT.fullmatch(own) is not None and not isinstance(owner, _NORMS_AND_ROWS)


def factors_of(stage: nn.Module) -> Iterator[tuple[nn.Module, float]]:
    """Modules that learn at a rate of their own, and by what that of the stage is multiplied."""
    for name, part in stage.named_modules():
        factor = getattr(part, "learning_rate_factor", None)
        if factor is None:
            continue
        known = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not (known and 0 < factor < math.inf):
            where = f"{name} " if name else ""
            raise ValueError(
                f"learning_rate_factor of {where}({type(part).__name__}) must be a positive "
                f"number, and finite, not {factor!r}"
            )
        yield part, float(factor)


def optimised(optimizer: torch.optim.Optimizer, system: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a system that learn, by their names, as the optimiser counts them.

    Raises
    ------
    ValueError
        When one of them is no longer in the system.
    """
    names = {id(parameter): name for name, parameter in system.named_parameters()}
    learning = [p for group in optimizer.param_groups for p in group["params"]]
    for gone in (p for p in learning if id(p) not in names):
        raise ValueError(
            f"a parameter {[*gone.shape]} that learned is no longer in the system: a listener must "
            "not replace modules or parameters; change weights in place (load_state_dict, copy_)"
        )
    return {names[id(p)]: p for p in learning}


def state_by_name(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """State of an optimiser, as ``"classifier.net.0.weight.exp_avg"``, of any shapes.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    names : iterable of str
        Of its parameters, as :func:`optimised` orders them.

    Returns
    -------
    dict of str to Tensor
        Nothing of a parameter that was in no step yet.
    """
    named = list(names)
    return {
        f"{named[number]}.{slot}": tensor
        for number, state in optimizer.state_dict()["state"].items()
        for slot, tensor in state.items()
    }


def restore_state(
    optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the state that :func:`state_by_name` returned, in the memory of its own."""
    numbers = {name: number for number, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(".")
        state.setdefault(numbers[name], {})[slot] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            # Not the count of steps, which has the shape of a scalar and not its type.
            if slot != "step" and value.shape == parameter.shape:
                # A fused optimiser walks the memory: moments must lie as the weights do.
                slots[slot] = torch.empty_like(parameter).copy_(value)
