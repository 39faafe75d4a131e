"""The colour correction matrix, from a camera's balanced colours to those that it should show.

::

    camera [.., C] ─ times matrix [K, C] ─► linear sRGB [.., K] ─ clip, encode ─► picture
    noise  s_c     ─────────────────────► sqrt(sum_c m_kc^2 s_c^2)
"""

import math

import torch
from torch import Tensor

from optics.quantity import (
    check_between,
    check_finite,
    check_real,
    check_tensor,
    looked_at,
    single,
)

__all__ = ["check_patches", "colour_correction", "noise_amplification"]

# Relative singular value below which channels or patches are alike, for single precision.
_ALIKE = 1e-6
# Largest reading: a computed white is 1 up to rounding.
_WHITE = 1 + 1e-6
# Largest target where white is 1: reflectances of 0..1 reach 1.6, in red under a lamp of 2000 K.
_BRIGHTEST = 4.0


def colour_correction(
    measured: Tensor,
    target: Tensor,
    *,
    white: bool = True,
    weights: Tensor | None = None,
    noise: float | Tensor = 0.0,
) -> Tensor:
    """Matrix that brings measured colours nearest to their targets, by least squares.

    It minimises ``sum_n w_n (|M a_n - t_n|^2 + sum_kc m_kc^2 s_c^2)``, the expected squared error
    of linear light with independent noise s_c in the channels. Where white is kept, it does so
    among the matrices whose rows sum to 1 (Finlayson and Drew, "White-point preserving color
    correction", Proc. IS&T Color Imaging Conf. 5:258, 1997), by elimination of the last channel.
    It has a gradient to the measured colours, targets, weights and noise, so that filters and lamps
    can be trained through it.

    Parameters
    ----------
    measured : Tensor ``[N, C]`` in 0..1
        Linear colours of N patches in C channels, as by :func:`optics.camera_colours`; white is 1.
        Without white to keep, their balance is free, and the matrix contains it.
    target : Tensor ``[N, K]``
        What they should be, as linear sRGB by :func:`optics.observer_colours`; of a chart's
        published sRGB codes take :func:`optics.srgb_to_linear`, in 0..1. Where white is kept, it is
        1.
    white : bool
        Keep white, and all greys, exactly: measured colours with equal channels stay as they are.
    weights : Tensor ``[N]``, optional
        Weights of the patches, 0 or more, and above 0 where they are trained; by default all count
        alike.
    noise : float or Tensor ``[C]``
        Standard deviation of the noise of the channels, in the unit of ``measured``. With more
        noise the matrix desaturates colours, and amplifies less of it.

    Returns
    -------
    Tensor ``[K, C]``
        For colours ``measured @ matrix.mT``, pictures ``optics.mix_colours(picture, matrix)``, or
        ``optics.Sensor(colour_matrix=matrix)``; where white does not read 1, over what it reads,
        ``matrix / white [C]``. Half precision is computed, and returned, in
        float32.

    Raises
    ------
    TypeError
        When colours or weights are no Tensors.
    ValueError
        For other shapes; measured colours that are not finite, negative, or above 1, where a
        channel is saturated; targets that are not finite, or far above a white of 1; weights or
        noise below 0; or patches too few, or too alike, to determine the matrix.

    Examples
    --------
    >>> measured = torch.tensor([[0.6, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.2, 0.5]])
    >>> true = torch.tensor([[1.5, -0.4, -0.1], [-0.3, 1.4, -0.1], [0.0, -0.6, 1.6]])
    >>> matrix = colour_correction(measured, measured @ true.mT)
    >>> torch.allclose(matrix, true, atol=1e-5)
    True
    """
    check_patches(measured, target, white=white)
    check_between("noise", noise, 0, math.inf, "the unit of measured")
    count, channels = measured.shape
    given, wanted = measured.double(), target.double()
    share = _shares(weights, given)
    spread = torch.as_tensor(noise).to(given)
    _check_noise(spread, channels)
    spread = spread.expand(channels)
    # Noise is as patches of nothing that each light one channel, and should stay dark.
    rows = torch.cat((share * given, share.norm() * spread.diag()))
    goals = torch.cat((share * wanted, wanted.new_zeros(channels, wanted.shape[1])))
    if white:
        first, last = rows[:, :-1], rows[:, -1:]
        free = _solved(first - last, goals - last, count).mT
        matrix = torch.cat((free, 1 - free.sum(1, keepdim=True)), 1)
    else:
        matrix = _solved(rows, goals, count).mT
    return matrix.to(torch.result_type(single(measured), single(target)))


def noise_amplification(matrix: Tensor, *, noise: float | Tensor = 1.0) -> Tensor:
    """Noise of each channel behind a colour correction: ``sqrt(sum_c m_kc^2 s_c^2)``.

    With noise of 1 in every channel it is the norm of the rows, 1 for the identity: the factor by
    which the correction multiplies noise (Vora and Herley, "Trade-offs between color saturation
    and noise sensitivity in image sensors", Proc. IEEE Int. Conf. Image Process., 1998). The
    noise of the channels is taken to be independent, which is not so in an interpolated mosaic.

    Parameters
    ----------
    matrix : Tensor ``[K, C]``
        As by :func:`colour_correction`.
    noise : float or Tensor ``[C]``
        Standard deviation of the noise of the channels, in any unit. After white balance it differs
        between them: photon noise as ``1 / sqrt(n_c)`` for n_c electrons of white.

    Returns
    -------
    Tensor ``[K]``
        In the unit of ``noise``. Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When the matrix is no Tensor.
    ValueError
        For a matrix that is not real, finite and ``[K, C]``, or noise that is negative, not finite,
        or not one number or one for each of the C channels.
    """
    check_real("matrix", matrix, "[K, C]")
    if matrix.ndim != 2:
        raise ValueError(f"matrix must be [K, C], not {list(matrix.shape)}")
    check_finite("matrix", matrix)
    check_between("noise", noise, 0, math.inf, "any unit")
    matrix = single(matrix)
    spread = torch.as_tensor(noise).to(matrix)
    _check_noise(spread, matrix.shape[1])
    return (matrix * spread).norm(dim=1)


def check_patches(measured: Tensor, target: Tensor, *, white: bool = True) -> None:
    """Raise an error for colours of patches that no linear camera reads, or none should show.

    ``measured [N, C]`` and ``target [N, K]`` are as in :func:`colour_correction`.
    """
    for name, colours in (("measured", measured), ("target", target)):
        check_tensor(name, colours)
        if colours.ndim != 2 or not colours.is_floating_point() or not colours.shape[1]:
            raise ValueError(
                f"{name} must be floating point [patches, channels], not {colours.dtype} "
                f"{list(colours.shape)}"
            )
    if len(measured) != len(target):
        raise ValueError(
            f"measured has {len(measured)} patches and target {len(target)}: give both of each"
        )
    check_finite("target", target, "linear light")
    if not looked_at(measured) or not looked_at(target):
        return
    brightest = float(target.detach().max()) if len(target) else 0.0
    if white and brightest > _BRIGHTEST:
        raise ValueError(
            f"target reaches {brightest:g}, but its white is 1: divide 8-bit codes by 255 and take "
            "srgb_to_linear of them, divide percent by 100"
        )
    wrong = (~((measured >= 0) & (measured <= _WHITE))).nonzero()
    if len(wrong):
        patch, channel = wrong[0].tolist()
        raise ValueError(
            f"measured must be finite linear light in 0..1, where white is 1; patch {patch} has "
            f"{float(measured[patch, channel].detach()):g} in channel {channel}, and "
            f"{len(wrong) - 1} others are wrong: leave out saturated patches, subtract the black "
            "level, and divide by white"
        )


def _check_noise(spread: Tensor, channels: int) -> None:
    if spread.ndim > 1 or (spread.ndim and len(spread) != channels):
        raise ValueError(
            f"noise must be one number, or one for each of {channels} channels, not "
            f"{list(spread.shape)}"
        )


def _shares(weights: Tensor | None, measured: Tensor) -> Tensor:
    """Roots of the weights of the patches ``[N, 1]``."""
    if weights is None:
        return measured.new_ones(len(measured), 1)
    check_tensor("weights", weights)
    if weights.shape != measured.shape[:1]:
        raise ValueError(
            f"weights must be one for each of {len(measured)} patches, not {list(weights.shape)}"
        )
    check_between("weights", weights, 0, math.inf, "weight of a patch")
    return weights.to(measured).sqrt()[:, None]


def _solved(rows: Tensor, goals: Tensor, patches: int) -> Tensor:
    """Least squares by QR, whose gradient needs no more than the full rank that is checked."""
    wanted = rows.shape[1]
    if looked_at(rows):
        found = int(torch.linalg.matrix_rank(rows.detach(), rtol=_ALIKE)) if wanted else 0
        if found < wanted:
            raise ValueError(
                f"{patches} patches determine {found} of the {wanted} free numbers in each row of "
                f"the matrix: give at least {wanted} patches of colours that are not mixtures of "
                "one another, channels that do not see the same, or noise above 0"
            )
    q, r = torch.linalg.qr(rows)
    return torch.linalg.solve_triangular(r, q.mT @ goals, upper=True)
