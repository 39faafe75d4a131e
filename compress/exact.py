"""Arithmetic whose result does not depend on who computes it.

A sum of rounded numbers depends on its order, and the order on the batch, the threads, the device
and the library. A decoder that picks its tables by such a sum reads garbage on another machine, and
a picture decoded from a file differs in its last bits from the one that the encoder saw.

Here a net is evaluated in float64 on numbers that are whole multiples of ``2**-16``. Their products
are multiples of ``2**-32``; as long as sums stay below ``2**20`` in magnitude they fit the 53 bits
of a float64, so that no addition ever rounds and every order gives the same bits. After each layer
the result is rounded back to multiples of ``2**-16``. What is not a sum of products (a root, a
quotient) is one correctly rounded IEEE 754 operation for each element.

Numbers beyond that range are computed as well, and would differ between two orders only where a
float64 rounding error of one of them crosses a half of ``2**-16``.

References
----------
Ballé, Johnston, Minnen, "Integer networks for data compression with latent-variable models", ICLR
2019, for the reason; the fixed-point numbers held in floating point are ours.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

__all__ = ["FRACTION_BITS", "Residual", "evaluate", "snap"]

FRACTION_BITS = 16
"""Numbers are whole multiples of ``2**-FRACTION_BITS``."""


class Residual(nn.Sequential):
    """Layers whose result is added to their input: ``x + layers(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to features ``[B, C, H, W]``; the layers must keep the shape."""
        return x + super().forward(x)


def snap(x: Tensor, *, bits: int = FRACTION_BITS) -> Tensor:
    """Round to whole multiples of ``2**-bits`` in float64, ties to even.

    The gradient is the identity. Numbers from ``2**(51 - bits)`` in magnitude on have fewer digits
    than that, and lose up to the last three of those that they have.
    """
    # A float64 of this size has its last digit at 2**-bits, so adding rounds there and subtracting
    # is exact: two passes over memory instead of five, and its own straight-through gradient.
    shift = 1.5 * 2.0 ** (52 - bits)
    return x.double().add(shift).sub_(shift)


def evaluate(net: nn.Module, x: Tensor, *, exact: bool) -> Tensor:
    """Apply a net, in the arithmetic of its parameters or exactly.

    Parameters
    ----------
    net : nn.Module
        Layers without a memory of the batch; ``nn.Sequential`` and :class:`Residual` are taken
        apart, and every other module is one layer.
    x : Tensor
        Features.
    exact : bool
        Compute in float64 on multiples of ``2**-16``, as this module says; the result has that
        form. Otherwise in the type of the parameters.

    Returns
    -------
    Tensor
        Features, with a gradient to ``x`` and to the parameters either way.
    """
    if exact:
        with torch.autocast(x.device.type, enabled=False):
            return _exactly(net, snap(x))
    parameter = next(net.parameters(), None)
    return net(x if parameter is None else x.to(parameter.dtype))


def _exactly(net: nn.Module, x: Tensor) -> Tensor:
    if isinstance(net, nn.Sequential):
        y = x
        for layer in net:
            y = _exactly(layer, y)
        return x + y if isinstance(net, Residual) else y
    # `functional_call` puts the numbers into the module for as long as the call takes, where other
    # threads would find them: into their sums, and into the fingerprint of a file. When it is
    # traced nothing is put anywhere.
    tracing = torch.compiler.is_compiling()
    if tracing and any(parametrize.is_parametrized(module) for module in net.modules()):
        raise TypeError(
            f"a parametrized {parametrize.type_before_parametrizations(net).__name__} cannot be "
            "traced exactly: first make its weights plain ones, with "
            "torch.nn.utils.parametrize.remove_parametrizations."
        )
    layer = net if tracing else _double(net)
    numbers = {name: snap(value) for name, value in layer.named_parameters()}
    return snap(functional_call(layer, numbers, (x,)))


def _double(net: nn.Module) -> nn.Module:
    """Return a module of the same tensors, in which they can be replaced without a trace.

    A parametrized tensor is made in float64, and is then one of them.
    """
    kind = parametrize.type_before_parametrizations(net)
    # copy.copy would ask for what is pickled, which parametrized modules refuse.
    double: nn.Module = object.__new__(kind)
    double.__dict__.update(net.__dict__)
    double._parameters = dict(net._parameters)
    double._modules = {name: m if m is None else _double(m) for name, m in net._modules.items()}
    if parametrize.is_parametrized(net):
        for name, made in double.get_submodule("parametrizations").eval().named_children():
            parts = (*made.named_parameters(), *made.named_buffers())
            numbers = {part: x.double() for part, x in parts if x.is_floating_point()}
            double._parameters[name] = functional_call(made, numbers, ())
        del double._modules["parametrizations"]
    return double
