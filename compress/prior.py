"""The entropy models: the bits of a latent element, and the integer tables that code it.

:class:`FactorizedPrior` has one learned density per latent channel, independent of position, so the
tables are constants of the model. :func:`gaussian_bits` uses a Gaussian with a width for each
element, given as a level of a fixed scale. Its tables (:func:`gaussian_tables`) are constants of
the library, and a level is an integer: encoder and decoder need not agree on any floating-point
number.
"""

import copy
import functools
import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from .bitstream import MAX_SYMBOL, SymbolTable
from .given import is_number, whole_number
from .quantize import round_straight_through

__all__ = ["SCALE_LEVELS", "FactorizedPrior", "gaussian_bits", "gaussian_level", "gaussian_tables"]

# The ladder of widths: 0.11 steps, where all but 1e-5 of the mass lies on 0, to 390 steps.
SCALE_LEVELS = 60
_SMALLEST_SCALE = 0.11
_LEVELS_PER_OCTAVE = 5

# Share of the heavy tail in the density. It costs 0.0004 bit per element and buys a finite price,
# with a gradient, for a latent that no training picture ever had: the escape code in the file.
TAIL_WEIGHT = 2.0**-12

# Tables list the integers of [-TABLE_LIMIT, TABLE_LIMIT] that are at least this probable; the
# others are escaped, and coded exactly.
TABLE_LIMIT = 2048
TABLE_FLOOR = 2.0**-20

_MOST = 2**20  # channels of a latent, and of a layer

# The largest symbol; from here on prices are those of the tail alone, in another form.
_FAR = float(MAX_SYMBOL)


class FactorizedPrior(nn.Module):
    r"""A learned cumulative distribution for each channel of a latent.

    The cumulative is ``c(y) = (1 - w) sigmoid(f(y)) + w (1/2 + arctan(y) / pi)`` with ``f`` a
    small monotone network per channel (Ballé et al. 2018, appendix 6.1) and ``w = 2**-12`` the
    weight of a Cauchy tail. An element ``y`` then costs ``-log2(c(y + 1/2) - c(y - 1/2))`` bits:
    for an integer ``y`` this is the ideal length of its code word, for a noisy ``y`` a
    differentiable approximation of it.

    Parameters
    ----------
    channels : int
        Channels of the latent, each with its own density.
    filters : tuple of int
        Widths of the hidden layers of ``f``.
    init_scale : float
        Initial half-width of the density, in quantisation steps.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or ``init_scale`` is not positive and finite.

    Notes
    -----
    ``joint.fit`` trains it at ten times the learning rate of its codec
    (``learning_rate_factor``). Its few parameters per channel start with a broad density and must
    follow the latent; with a common rate they lag behind, which costs bits in a short training.

    References
    ----------
    Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale hyperprior",
    ICLR 2018, appendix 6.1.
    """

    learning_rate_factor = 10.0

    def __init__(
        self, channels: int, *, filters: tuple[int, ...] = (3, 3), init_scale: float = 10.0
    ) -> None:
        super().__init__()
        channels = whole_number("channels", channels, 1, _MOST)
        if not isinstance(filters, Iterable):
            raise ValueError(f"filters must be several, such as (3, 3), got {filters!r}.")
        filters = tuple(whole_number("filters", width, 1, _MOST) for width in filters)
        if not is_number(init_scale) or not 0 < init_scale < math.inf:
            raise ValueError(f"init_scale must be positive and finite, got {init_scale!r}.")
        self.channels = channels
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        widths = (1, *filters, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        for wide_in, wide_out in itertools.pairwise(widths):
            slope = math.log(math.expm1(1 / (scale * wide_out)))
            self.matrices.append(torch.full((channels, wide_out, wide_in), slope))
            # Spread, not drawn: the units must differ, and the start must not depend on a seed.
            # The last one is off centre, or the rate would have no gradient at a symbol of 0.
            bias = torch.linspace(-0.5, 0.5, wide_out) if wide_out > 1 else torch.full((1,), 0.25)
            self.biases.append(bias.expand(channels, wide_out).unsqueeze(-1).clone())
        # The last layer is affine.
        self.factors.extend(torch.zeros(channels, width, 1) for width in filters)

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"channels={self.channels}"

    def _logits(self, y: Tensor) -> Tensor:
        """Return ``f(y)``, increasing in ``y`` ``[M, 1, N]``."""
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            # Not a matmul: autocast and TF32 would round it, and the rate is a small difference
            # of two logits.
            weight = softplus(matrix.to(y.dtype))
            terms = (weight[:, :, i, None] * y[:, i, None] for i in range(weight.shape[2]))
            y = sum(terms, bias.to(y.dtype))
            if k < len(self.factors):
                y = y + self.factors[k].to(y.dtype).tanh() * y.tanh()
        return y

    def _columns(self, y: Tensor) -> Tensor:
        """Check a latent ``[B, M, ...]`` and lay it out as ``[M, 1, N]`` in at least float32."""
        if y.ndim < 2 or y.shape[1] != self.channels or not y.is_floating_point():
            raise ValueError(
                f"expected a floating-point latent [B, {self.channels}, ...], got "
                f"{y.dtype} {tuple(y.shape)}."
            )
        dtype = torch.promote_types(y.dtype, self.matrices[0].dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        return y.to(dtype).transpose(0, 1).reshape(self.channels, 1, -1)

    def cumulative(self, y: Tensor) -> Tensor:
        """Return the cumulative probability of every element.

        Parameters
        ----------
        y : Tensor ``[B, M, ...]``
            Latent, in quantisation steps.

        Returns
        -------
        Tensor of the shape of ``y``, at least float32

        Raises
        ------
        ValueError
            If the latent has other channels or is not floating point.
        """
        columns = self._columns(y)
        heavy = 0.5 + columns.atan() / math.pi
        c = (1 - TAIL_WEIGHT) * self._logits(columns).sigmoid() + TAIL_WEIGHT * heavy
        return c.reshape(y.shape[1], y.shape[0], *y.shape[2:]).transpose(0, 1)

    def bits(self, y: Tensor) -> Tensor:
        """Return ``-log2(c(y + 1/2) - c(y - 1/2))`` of every element.

        Computed from logarithms throughout, in float32 or better also under ``torch.autocast``:
        finite, non-negative and with a gradient back for ``|y| < 1e30``.

        Parameters
        ----------
        y : Tensor
            Noisy or rounded latent ``[B, M, ...]``, in quantisation steps.

        Returns
        -------
        Tensor
            Bits ``[B, M, ...]``, at least float32.

        Raises
        ------
        ValueError
            If the latent is not a floating-point tensor with this prior's channels.
        """
        columns = self._columns(y)
        both = self._logits(torch.cat([columns - 0.5, columns + 0.5], -1))
        # Not by chunk, for which torch.export would fix the number of pictures.
        lower, upper = both.unflatten(-1, (2, columns.shape[-1])).unbind(-2)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), exact in both tails.
        # u - l underflows to 0 only far out in the tail, where the Cauchy term has taken over.
        gap = (upper - lower).clamp_min(torch.finfo(columns.dtype).tiny)
        network = logsigmoid(upper) + logsigmoid(-lower) + torch.log(-torch.expm1(-gap))
        bits = _bits_with_tail(network, columns)
        return bits.reshape(y.shape[1], y.shape[0], *y.shape[2:]).transpose(0, 1)

    @torch.no_grad()
    def tables(self) -> list[SymbolTable]:
        """Build the integer coding table of every channel from the parameters as they are now.

        Computed in float64 on the CPU, whatever the device and dtype of the parameters.

        Raises
        ------
        ValueError
            If a parameter is not finite.
        """
        if not all(parameter.isfinite().all() for parameter in self.parameters()):
            raise ValueError("the prior holds NaN or infinite parameters: its training diverged.")
        exact = copy.deepcopy(self).to("cpu", torch.float64)
        return _tables(exact.bits(_integers().expand(1, self.channels, -1))[0])


def gaussian_bits(residual: Tensor, level: Tensor) -> Tensor:
    r"""Return the bits of elements under zero-mean Gaussians of given widths.

    The mass of an element v is ``Phi((v + 1/2) / s) - Phi((v - 1/2) / s)`` with the standard
    deviation ``s = 0.11 * 2**(level / 5)`` steps, mixed with a Cauchy tail of weight ``2**-12`` as
    in :class:`FactorizedPrior`. Finite for every finite residual.

    The gradients are those of this formula. The gradient to the residual is non-zero everywhere; in
    the tail it is about ``2 / (v ln 2)`` bits per step. The gradient to the level vanishes in the
    tail, because a slightly wider Gaussian contains no more mass there: beyond half a step plus 8
    standard deviations it is below 0.01 bit per level, and in float32 exactly 0 from 2 steps on at
    level 0. A collapsed width is widened again by elements closer to the mean. (With a lower bound
    of 1e-9 on the likelihood instead of the tail, it vanishes as fast, at most two standard
    deviations later.)

    Parameters
    ----------
    residual : Tensor
        Noisy or rounded differences to the mean, any shape, in quantisation steps.
    level : Tensor
        Same shape; 0 to ``SCALE_LEVELS - 1``, whole numbers for the bits of a file.

    References
    ----------
    Minnen, Ballé, Toderici, "Joint autoregressive and hierarchical priors for learned image
    compression", NeurIPS 2018, eq. 5.
    """
    scale = _SMALLEST_SCALE * torch.exp2(level / _LEVELS_PER_OCTAVE)
    size = residual.abs()
    far = size > _FAR
    # On the falling side, where the difference of two small numbers is exact.
    size = size.masked_fill(far, _FAR)
    upper, lower = (0.5 - size) / scale, (-0.5 - size) / scale
    mass = 0.5 * (torch.erfc(-upper / math.sqrt(2)) - torch.erfc(-lower / math.sqrt(2)))
    log_mass = mass.clamp_min(torch.finfo(mass.dtype).tiny).log()
    # In float32 that floor would be more than the tail is.
    return _bits_with_tail(log_mass.masked_fill(far, -math.inf), residual)


def gaussian_level(variance: Tensor) -> Tensor:
    """Return the nearest level of :func:`gaussian_bits` for a variance, straight-through.

    The variance of level 0 is added first, so that a variance of 0 has a level, the first one, and
    a gradient. The variances of levels 0 and 1 give levels 2 and 3; from level 7 on, a variance
    gives its own level.

    Parameters
    ----------
    variance : Tensor
        Any shape, 0 or more, steps squared; variances beyond the scale get its last level.
    """
    octaves = 0.5 * torch.log2(variance + _SMALLEST_SCALE**2) - math.log2(_SMALLEST_SCALE)
    return round_straight_through(_LEVELS_PER_OCTAVE * octaves).clamp(0, SCALE_LEVELS - 1)


@functools.cache
def gaussian_tables() -> tuple[SymbolTable, ...]:
    """Integer coding tables of :func:`gaussian_bits`, one for each level; built once."""
    levels = torch.arange(SCALE_LEVELS, dtype=torch.float64)[:, None]
    return tuple(_tables(gaussian_bits(_integers().expand(SCALE_LEVELS, -1), levels)))


def _bits_with_tail(log_mass: Tensor, y: Tensor) -> Tensor:
    """Mix a density, given by the logarithm of its mass at ``y``, with the heavy tail."""
    # arctan(y + 1/2) - arctan(y - 1/2) = arctan(1 / (y^2 + 3/4)), which far out is 1 / y^2 to all
    # digits. Of that the square would overflow, and before it the gradient underflow.
    size = y.abs()
    far = size > _FAR
    heavy = torch.log(torch.atan(1 / (torch.where(far, 1, y).square() + 0.75)) / math.pi)
    beyond = -2 * torch.where(far, size, 1).log() - math.log(math.pi)
    heavy = torch.where(far, beyond, heavy)
    mixed = torch.logaddexp(log_mass + math.log1p(-TAIL_WEIGHT), heavy + math.log(TAIL_WEIGHT))
    return (mixed / -math.log(2)).clamp_min(0)


def _integers() -> Tensor:
    return torch.arange(-TABLE_LIMIT, TABLE_LIMIT + 1, dtype=torch.float64)


def _tables(bits: Tensor) -> list[SymbolTable]:
    """Turn prices ``[rows, integers]`` into integer tables of what is probable enough."""
    tables = []
    for row in torch.exp2(-bits).numpy():
        # Never empty: the tail alone lists the integers around 0.
        first, last = (row >= TABLE_FLOOR).nonzero()[0][[0, -1]]
        tables.append(SymbolTable.from_mass(row[first : last + 1], first=int(first) - TABLE_LIMIT))
    return tables
