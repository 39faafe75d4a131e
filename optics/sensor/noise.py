"""Shot noise, the Poisson fluctuation of photoelectron counts, with a choice of gradients.

=============  ==============================  ===========================================
estimator      forward                         gradient
=============  ==============================  ===========================================
``gaussian``   ``x + sqrt(x) n``               pathwise, ``1 + n / (2 sqrt(x))``
``poisson``    exact counts n                  surrogate, ``1 + (n - x) / (2 x)``
``score``      exact counts, without a path    :func:`score_surrogate`, for any loss
``none``       the mean                        1
=============  ==============================  ===========================================
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from optics.quantity import check_number, check_tensor, differentiated, one_number, single

__all__ = [
    "Generators",
    "ShotNoise",
    "poisson_log_likelihood",
    "score_surrogate",
    "shot_noise",
]

#: Source of random numbers: one generator, or one for each picture. With one for each, the noise of
#: a picture does not depend on the other pictures in its batch.
Generators: TypeAlias = torch.Generator | Sequence[torch.Generator]

ShotNoise = Literal["gaussian", "poisson", "score", "none"]

# Below this many electrons the slope of the square root is held constant, to keep gradients finite.
_FEWEST_ELECTRONS = 1e-2
# The smallest mean whose logarithm and inverse are normal numbers in float32.
_TINY = 1e-30
# Larger counts do not fit into 64 bits; their relative fluctuation is less than a billionth.
_MOST_ELECTRONS = 2.0**62


def shot_noise(
    electrons: Tensor,
    *,
    kind: ShotNoise = "gaussian",
    read_noise: float = 0.0,
    generator: Generators | None = None,
) -> Tensor:
    """Counts with shot noise: the fluctuation of a Poisson process, whose variance is its mean.

    See EMVA Standard 1288, release 4.0.

    Parameters
    ----------
    electrons : Tensor ``[B, ...]``, electrons
        Mean counts x, non-negative. A negative mean, as rounding may leave in the dark, counts as
        zero but keeps a gradient of 1, so that training can raise it again. An infinite mean stays
        infinite.
    kind : {"gaussian", "poisson", "score", "none"}
        ``gaussian``: ``x + sqrt(x) n`` with the right mean and variance (0.1 electrons RMS remain
        in the dark), and nearly the right distribution above some ten electrons; its pathwise
        gradient is unbiased for mean and variance. ``poisson``: exact counts n; the gradient
        ``1 + (n - x) / (2 x)`` is that with the residual ``(n - x) / sqrt(x)`` held fixed. It is
        unbiased, as is its second derivative, for every loss that is linear in the count (at any
        x) or quadratic (above 0.01 electrons). ``score``: exact counts without a gradient, only
        for use where none is recorded, see :meth:`optics.Sensor.expose`. ``none``: the mean.
    read_noise : float, electrons RMS
        For ``gaussian`` only: read noise in the same draw, ``x + sqrt(x + s^2) n``. The sum of two
        Gaussian variables is Gaussian, and one draw costs half.
    generator : torch.Generator or a sequence of them, optional
        Source of the draw, or one for each picture; by default torch's global generator.

    Returns
    -------
    Tensor of the shape of ``electrons``, electrons
        Half precision, which counts only to 256 or 2048, is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When ``electrons`` is not a Tensor, or the read noise not one number.
    ValueError
        For electrons that are not real floating point, an unknown kind, read noise with a kind
        other than ``gaussian``, or ``score`` where a gradient is recorded.

    Notes
    -----
    ``E[1 + (n - x) / (2 x)] = 1 = dE[n]/dx``, and ``E[2 n (1 + (n - x) / (2 x))] = 2 x + Var n / x
    = 2 x + 1 = dE[n^2]/dx``. The variance of that slope is ``1 / (4 x)``: few electrons make a
    noisy gradient.
    """
    check_tensor("electrons", electrons)
    if not electrons.is_floating_point():
        raise ValueError(f"electrons must be real floating point, not {electrons.dtype}")
    electrons = single(electrons)
    read_noise = one_number("read_noise", read_noise, "electrons RMS")
    if read_noise != 0 and (kind != "gaussian" or not read_noise > 0):
        raise ValueError(
            f"read_noise joins gaussian shot noise only, as electrons RMS of 0 or more; it is "
            f"{read_noise} with kind={kind!r}"
        )
    match kind:
        case "none":
            return _not_negative(electrons)
        case "gaussian":
            draw = _Gaussian if torch.compiler.is_compiling() else _ForwardGaussian
            return draw.apply(electrons, read_noise**2, generator)[0]
        case "poisson":
            counts = poisson_counts(electrons, generator=generator)
            if not differentiated(electrons):
                return counts
            most = torch.finfo(electrons.dtype).max  # the difference of infinities is NaN
            finite = electrons.clamp_max(most)
            mean = finite.detach().clamp_min(0)
            held = mean.clamp_min(_FEWEST_ELECTRONS)
            root = held.sqrt()
            # Both differences are zero in value and only carry the gradient.
            change = finite - finite.detach()
            spread = (held + change).sqrt() - root
            residual = (counts.clamp_max(most) - mean).div_(root)
            return torch.addcmul(counts + change, residual, spread)
        case "score":
            refuse_path_gradient(electrons)
            return poisson_counts(electrons, generator=generator)
    raise ValueError(f"shot noise must be one of {get_args(ShotNoise)}, not {kind!r}")


def _not_negative(electrons: Tensor) -> Tensor:
    """Set negative means to zero, with a gradient of 1."""
    return torch.where(electrons < 0, electrons - electrons.detach(), electrons)


class _Gaussian(torch.autograd.Function):
    """``x + sqrt(x + v) n`` and its slope, which is computed in the forward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        electrons: Tensor, variance: float, generator: Generators | None
    ) -> tuple[Tensor, Tensor]:
        fewest = _fewest(variance)
        root = _spread(electrons, fewest, variance)
        normal = standard_normal(electrons, generator)
        counts = torch.addcmul(electrons.clamp_min(0), root, normal)
        # Below the least mean the root is constant: the slope is that of the mean alone.
        slope = (normal / root.mul_(2)).mul_(electrons >= fewest).add_(1)
        return counts, slope

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        ctx.mark_non_differentiable(output[1])
        ctx.variance = inputs[1]
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN001
        electrons, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            slope = _slope_of_the_mean(slope, electrons, ctx.variance)
        return grads[0] * slope, None, None


class _ForwardGaussian(_Gaussian):
    """With a derivative in forward mode, which torch.compile refuses."""

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: ANN001
        _Gaussian.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], output[1])

    @staticmethod
    def jvp(ctx, *changes: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        electrons, slope = ctx.saved_tensors
        return changes[0] * _slope_of_the_mean(slope, electrons, ctx.variance), None


def _fewest(variance: float) -> float:
    """Least mean whose square root is used; 0 if there is another variance too."""
    # A variance below the range of single precision counts as none.
    return 0.0 if variance >= torch.finfo(torch.float32).tiny else _FEWEST_ELECTRONS


def _spread(electrons: Tensor, fewest: float, variance: float) -> Tensor:
    """Standard deviation of the draw; finite for infinite light, to avoid NaN."""
    held = electrons.clamp(fewest, torch.finfo(electrons.dtype).max)
    return held.add_(variance).sqrt_()


def _slope_of_the_mean(slope: Tensor, electrons: Tensor, variance: float) -> Tensor:
    """The kept slope, a constant to autograd, with its derivative to the mean."""
    fewest = _fewest(variance)
    root = _spread(electrons, fewest, variance)
    # The factor is zero in value and only carries the derivative.
    return torch.addcmul(slope, slope - 1, root.detach() / root - 1)


def poisson_counts(electrons: Tensor, *, generator: Generators | None = None) -> Tensor:
    """Exact counts of the mean ``electrons``, without a gradient; from 2**62 on the mean."""
    mean = electrons.detach().clamp_min(0)
    # NaN stays NaN, as with the Gaussian draw, so that it shows in the loss. The sampler itself
    # raises another error for it on a CPU, and an unrecoverable one on a GPU.
    countable = mean < _MOST_ELECTRONS
    rate = torch.where(countable, mean, 0)
    if generator is None or isinstance(generator, torch.Generator):
        counts = torch.poisson(rate, generator=generator)
    else:
        counts = torch.empty_like(rate)
        for n, source in enumerate(for_pictures(rate, generator)):
            counts[n] = torch.poisson(rate[n], generator=source)
    return torch.where(countable, counts, mean)


def standard_normal(like: Tensor, generator: Generators | None) -> Tensor:
    """Draw normal numbers of mean 0 and deviation 1, of the shape, type and place of ``like``."""
    if generator is None:  # not given to torch, whose export fails at a batch of any size then
        return torch.randn(like.shape, dtype=like.dtype, device=like.device)
    if isinstance(generator, torch.Generator):
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    drawn = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    for picture, source in zip(drawn, for_pictures(like, generator), strict=True):
        picture.normal_(generator=source)
    return drawn


def one_of(count: int, pictures: Tensor, generator: Generators | None) -> Tensor:
    """Draw one of ``count`` for each picture ``[B, ...]``, evenly: int64 ``[B]`` in 0..count-1."""
    size, where = pictures.shape[0], pictures.device
    if generator is None:
        return torch.randint(count, (size,), device=where)
    if isinstance(generator, torch.Generator):
        return torch.randint(count, (size,), device=where, generator=generator)
    drawn = torch.empty(size, dtype=torch.int64, device=where)
    for n, source in enumerate(for_pictures(pictures, generator)):
        drawn[n : n + 1].random_(count, generator=source)
    return drawn


def between(low: float, high: float, pictures: Tensor, generator: Generators | None) -> Tensor:
    """Draw a number for each picture ``[B, ...]``, evenly in its logarithm: ``[B]``."""
    size, kind = pictures.shape[0], {"dtype": pictures.dtype, "device": pictures.device}
    if generator is None:
        drawn = torch.rand(size, **kind)
    elif isinstance(generator, torch.Generator):
        drawn = torch.rand(size, **kind, generator=generator)
    else:
        drawn = torch.empty(size, **kind)
        for n, source in enumerate(for_pictures(pictures, generator)):
            drawn[n : n + 1].uniform_(generator=source)
    return low * (high / low) ** drawn


#: Advice where a seed was given instead of a generator.
OF_A_SEED = "of a seed make torch.Generator().manual_seed(seed)"


def for_pictures(pictures: Tensor, generators: Sequence[torch.Generator]) -> list[torch.Generator]:
    """Return the generators as a list, one for each picture.

    Raises
    ------
    TypeError
        When this is not a sequence of generators, such as a seed.
    ValueError
        When their number is not that of the pictures.
    """
    if not isinstance(generators, Sequence) or isinstance(generators, str):
        raise TypeError(
            f"generator must be one torch.Generator, or one for each picture, not {generators!r}: "
            f"{OF_A_SEED}"
        )
    strange = next((each for each in generators if not isinstance(each, torch.Generator)), None)
    if strange is not None:
        raise TypeError(f"each generator must be a torch.Generator, not {strange!r}: {OF_A_SEED}")
    if pictures.ndim == 0 or len(generators) != len(pictures):
        raise ValueError(
            f"generator must be one torch.Generator, or one for each picture: {len(generators)} "
            f"were given for pictures of shape {tuple(pictures.shape)}"
        )
    return list(generators)


def refuse_path_gradient(electrons: Tensor) -> None:
    """Raise a ValueError when counts of ``kind="score"`` would be differentiated."""
    if differentiated(electrons):
        raise ValueError(
            "shot_noise='score' has no gradient through its counts: call "
            "Sensor.expose(...), which returns (measurement, log_likelihood), and "
            "give the loss of each picture and log_likelihood to score_surrogate; or choose "
            "shot_noise='gaussian' or 'poisson'; or use torch.no_grad()"
        )


def poisson_log_likelihood(counts: Tensor, electrons: Tensor) -> Tensor:
    """Log-likelihood of each picture's counts, given their means.

    It is ``sum n log x - x - log n!`` over all but the first dimension. Its gradient to the means,
    ``n / x - 1``, is the score. It is computed in float64, as the terms nearly cancel: each is
    millions at 1e6 electrons, and their sum about -8. For half precision it is returned in float32.
    Means of 2**62 and more, which are not drawn but returned as they are, contribute 0.

    Parameters
    ----------
    counts : Tensor ``[B, ...]``, electrons
        Counts n, without a gradient.
    electrons : Tensor ``[B, ...]``, electrons
        Means x.

    Returns
    -------
    Tensor ``[B]``

    Raises
    ------
    TypeError
        When one is not a Tensor.
    ValueError
        When the shapes differ.
    """
    check_tensor("counts", counts)
    check_tensor("electrons", electrons)
    if counts.shape != electrons.shape or not counts.ndim:
        raise ValueError(
            "counts and electrons must be of one shape [B, ...], not "
            f"{tuple(counts.shape)} and {tuple(electrons.shape)}"
        )
    kept = single(electrons).dtype
    counts, electrons = counts.detach().double(), electrons.double()
    # Too large counts equal their mean; for infinite light the difference would be NaN.
    certain = (counts == electrons) & (electrons >= _MOST_ELECTRONS)
    counts, electrons = torch.where(certain, 0, counts), torch.where(certain, 0, electrons)
    logarithm = electrons.clamp_min(_TINY).log()
    terms = counts * logarithm - _not_negative(electrons) - torch.lgamma(counts + 1)
    return (terms.flatten(1).sum(1) if terms.ndim > 1 else terms).to(kept)


def score_surrogate(
    loss: Tensor, log_likelihood: Tensor, *, baseline: Tensor | float | None = None
) -> Tensor:
    """Losses with the gradient of their expectation over the counts, for any loss.

    This is the score function (REINFORCE) estimator, Williams, Machine Learning 8:229 (1992):
    ``d E[loss] = E[d loss + (loss - baseline) d log p(counts)]``. The loss need not be
    differentiable: it may be a decision or a number of bits. The price is a variance that grows
    with the number of pixels.

    Parameters
    ----------
    loss : Tensor ``[B]``
        Loss of each picture. It must not depend on the noise of the other pictures, as it does
        through the batch statistics of a normalisation in training mode.
    log_likelihood : Tensor ``[B]``
        From :meth:`optics.Sensor.expose` or :func:`poisson_log_likelihood`.
    baseline : Tensor ``[B]`` or float, optional
        Value that is subtracted from a picture's loss; it must not depend on that picture's noise.
        It lowers the variance of the gradient and leaves its mean unchanged. By default the mean
        loss of the other pictures, or 0 for a single one.

    Returns
    -------
    Tensor ``[B]``
        The values of ``loss``; call ``backward`` on their mean.

    Raises
    ------
    TypeError
        When the loss or the log-likelihood is not a Tensor.
    ValueError
        When the two do not have the same shape ``[B]``, or the baseline has another one.
    """
    check_tensor("loss", loss)
    check_tensor("log_likelihood", log_likelihood)
    if loss.ndim != 1 or loss.shape != log_likelihood.shape:
        raise ValueError(
            f"loss and log_likelihood must both be [B], one number a picture, not "
            f"{tuple(loss.shape)} and {tuple(log_likelihood.shape)}"
        )
    value = loss.detach()
    if baseline is None:
        baseline = (value.sum() - value) / (len(value) - 1) if len(value) > 1 else 0.0
    elif isinstance(baseline, Tensor):
        if baseline.shape not in ((), loss.shape):
            raise ValueError(
                f"baseline must be one number, or one for each of the {len(value)} pictures, not "
                f"{tuple(baseline.shape)}"
            )
        baseline = baseline.detach()
    else:
        check_number("baseline", baseline)
    return loss + (value - baseline) * (log_likelihood - log_likelihood.detach())
