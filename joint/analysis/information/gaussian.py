"""Gaussian information of noisy patches about noiseless ones: of a sensor, for any task.

::

    scenes ─► front end ─► sensor ─┬─ raw values ─────── patches [M, D] ─┐
                                   └─ noise of each value ── [M, D] ─────┴─► bits/pixel
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import digamma
from scipy.stats import t
from torch import Tensor

from classify import Interval, LesionDataset
from classify.intervals import check_resampling, check_units, membership, source
from joint.analysis.passes import passes
from joint.kinds import check_kinds
from joint.record import Record
from joint.system import ImagingSystem, evaluating
from optics import Sensor
from optics.quantity import whole_number
from optics.sensor.pixel import bin_pixels

__all__ = [
    "GaussianInformation",
    "gaussian_information",
    "gaussian_mutual_information",
    "sensor_information",
    "sensor_obstacle",
]

Array = npt.NDArray[Any]

_JACKKNIFE = 20  # parts of the lesions


@dataclass(frozen=True)
class GaussianInformation(Record):
    """Information of noisy patches about noiseless ones, if both were Gaussian."""

    bits: float
    """Bits/pixel, over all channels and exposures."""
    interval: Interval
    """Interval of :attr:`bits`, by Student's t and a jackknife."""
    patch: int
    """Side of a patch, pixels."""
    patches: int
    """Number of patches used."""
    level: float
    unit: str
    """What the jackknife leaves out: ``lesions`` where groups were given, else ``patches``."""

    def __str__(self) -> str:
        return (
            f"Gaussian information {self.bits:.3f} {self.interval:.3f} bits/pixel "
            f"({self.patches} patches of {self.patch} x {self.patch}, {100 * self.level:g} % over "
            f"{self.unit})"
        )


def gaussian_mutual_information(signal: Array, noise: Array) -> float:
    """Mutual information of a Gaussian signal and the signal plus independent Gaussian noise.

    ``1/2 log2 det(I + N^-1 S)`` (Cover and Thomas, Elements of Information Theory, ch. 9).

    Parameters
    ----------
    signal, noise : array ``[D, D]``
        Covariances: symmetric, that of the noise positive definite, that of the signal without
        negative variances.

    Returns
    -------
    float, bits

    Raises
    ------
    ValueError
        When they are no covariances of one size, or that of the noise is not positive definite.
    """
    given = [np.asarray(matrix, np.float64) for matrix in (signal, noise)]
    for name, matrix in zip(("signal", "noise"), given, strict=True):
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
        if not square or matrix.shape != given[0].shape:
            shapes = " and ".join(str(other.shape) for other in given)
            raise ValueError(f"covariances must be [D, D], of one size, not {shapes}")
        if not np.isfinite(matrix).all() or not np.allclose(
            matrix, matrix.T, rtol=1e-6, atol=1e-6 * float(np.abs(matrix).max())
        ):
            raise ValueError(f"the covariance of the {name} must be finite and symmetric")
    try:
        root = np.linalg.cholesky(given[1])
    except np.linalg.LinAlgError:
        raise ValueError(
            "the covariance of the noise must be positive definite: is there noise?"
        ) from None
    # Of the signal in units of the noise: the gains of parallel channels.
    half = np.linalg.solve(root, given[0])
    gains = np.linalg.eigvalsh(np.linalg.solve(root, half.T))
    if gains[0] < -1e-6 * max(1.0, float(gains[-1])):
        raise ValueError("the covariance of the signal has negative variances: is it a covariance?")
    return float(np.log1p(gains.clip(min=0)).sum() / (2 * math.log(2)))


def gaussian_information(
    patches: Array,
    noise_variance: Array,
    *,
    side: int,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
) -> GaussianInformation:
    """Mutual information of noisy patches and the same patches without noise.

    It is ``h(Y) - h(Y | X)``: the entropy of a Gaussian with the covariance of the noisy patches,
    an upper bound of theirs, minus the entropy of the noise (as in Pinkard et al.,
    arXiv:2405.20559). The log-determinant is corrected for the number of patches, exactly if they
    are Gaussian and independent.

    Parameters
    ----------
    patches : array ``[M, D]``
        Noisy values, D of a patch, with more patches than values.
    noise_variance : array ``[M, D]``
        Variance of the noise of each value. If values of a patch share noise: the variance of each,
        given the noise of those before it, since these variances multiply to the determinant.
    side : int, pixels
        Side of a patch.
    groups : sequence of str, length M, optional
        Lesion of each patch.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    GaussianInformation

    Raises
    ------
    ValueError
        When shapes, side or groups do not fit, there are too few patches, a value is not finite, or
        a variance not positive.
    """
    check_resampling(1, level)
    patches, variance = np.asarray(patches, float), np.asarray(noise_variance, float)
    if patches.ndim != 2 or patches.shape != variance.shape:
        raise ValueError(
            f"patches and noise_variance must both be [M, D], not {patches.shape} and "
            f"{variance.shape}"
        )
    if side < 1 or patches.shape[1] % side**2:
        raise ValueError(
            f"patches of {patches.shape[1]} values are not C x {side} x {side} pixels: give their "
            "side"
        )
    if not (np.isfinite(patches).all() and np.isfinite(variance).all()):
        raise ValueError("patches and noise_variance must be finite: leave the others out")
    if not (variance > 0).all():
        raise ValueError("the noise must have a variance above 0: without noise all is known")
    count, size = patches.shape
    member = membership(groups, count)
    check_units(member, groups)
    part = member % min(_JACKKNIFE, int(member.max()) + 1)
    parts = int(part.max()) + 1
    if count - np.bincount(part).max() < size + 2:
        raise ValueError(
            f"{count} patches are too few for the covariance of {size} values: give more, or "
            "smaller ones"
        )
    centred = patches - patches.mean(0)
    # Sums of each part, so that leaving one out is a subtraction.
    sums = np.stack([centred[part == k].sum(0) for k in range(parts)])
    products = np.stack([centred[part == k].T @ centred[part == k] for k in range(parts)])
    counts = np.bincount(part, minlength=parts)
    noise = np.stack([np.log(variance[part == k]).sum() for k in range(parts)])

    def bits(kept: Array) -> float:
        total = counts[kept].sum()
        mean = sums[kept].sum(0) / total
        scatter = products[kept].sum(0) - total * np.outer(mean, mean)
        entropy = _log_determinant(scatter, int(total) - 1)
        return (entropy - noise[kept].sum() / total) / (2 * math.log(2)) / side**2

    every = np.arange(parts)
    value = bits(every)
    left = np.array([bits(every[every != k]) for k in every])
    error = math.sqrt((parts - 1) / parts * ((left - left.mean()) ** 2).sum())
    reach = float(t.ppf((1 + level) / 2, parts - 1)) * error
    interval = Interval(value - reach, value + reach)
    unit = "patches" if groups is None else "lesions"
    return GaussianInformation(value, interval, side, count, level, unit)


def sensor_information(
    system: ImagingSystem,
    dataset: LesionDataset,
    *,
    side: int = 6,
    patches: int = 8,
    batch_size: int = 64,
    seed: int = 0,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> GaussianInformation:
    """Gaussian information of a sensor's readings, all exposures together.

    Parameters
    ----------
    system : ImagingSystem
        A system whose sensor has noise, no colour matrix and no colour filter array, because mixed
        and interpolated values share noise. The noise is that of photons, dark current, read-out
        and rounding, and the fixed patterns, which are noise unless they have been measured. A
        pattern counts by its spread, as if drawn for each pixel and patch, but once for all
        channels and exposures, which share it; the interval does not include the variation between
        sensors. Clipped values vary less than assumed: with few photons and no black level, or with
        many values at the top code, the result is too low, and may be below 0. Rounding counts as
        independent noise of 1/12 code squared, which holds if values spread over codes. For
        pictures that are uniform to within a code, with less other noise than about half a code,
        the result is wrong: for a single grey at 6 bits and 20000 photons it is 0.9 bits/pixel
        instead of 0.
    dataset : LesionDataset
    side : int, pixels
        Side of a patch.
    patches : int
        Patches of each picture, at random places, the same for all systems.
    batch_size : int
        Pictures in one pass.
    seed : int
        Source of the sensor's noise, as in :func:`joint.evaluate`.
    level : float
        Confidence level in (0, 1).
    generator : torch.Generator, optional
        Source of the places; by default a new one of seed 0.

    Raises
    ------
    TypeError
        When ``system`` is not a system, or ``dataset`` not a data set.
    ValueError
        For a system without such a sensor, patches that do not fit, or scenes whose encoding or
        classes are not those of the system.
    """
    check_kinds(system, dataset)
    sensor = _noisy_sensor(system)
    drawing = source(generator)
    shown = passes(dataset, system, batch_size=batch_size, seed=seed)
    found: list[tuple[Array, Array]] = []
    with evaluating(system), torch.no_grad():
        for part in shown:
            seen = system.measure(part.scenes, generator=part.noise)
            assert seen.irradiance is not None  # both are there where there is a sensor
            assert seen.raw is not None
            variance = _noise_variance(sensor, seen.irradiance, system.exposures)
            found.append(_cut((seen.raw, variance), side, patches, drawing))
    values, variances = (np.concatenate(part) for part in zip(*found, strict=True))
    groups = np.repeat(np.asarray(dataset.groups), patches)
    return gaussian_information(values, variances, side=side, groups=groups.tolist(), level=level)


def sensor_obstacle(sensor: Sensor) -> str | None:
    """Reason why the noise of a sensor is not known value by value, or None."""
    if sensor.cfa is not None and not sensor.cfa.interpolates:
        return "light behind a colour filter array is not counted value by value: give cfa=None"
    if sensor.cfa is not None:
        return "values that a colour filter array interpolates have noise in common: give cfa=None"
    if sensor.colour_matrix is not None:
        return (
            "colours behind a colour matrix have noise in common: give colour_matrix=None, which "
            "has as much information where the matrix has an inverse"
        )
    if isinstance(sensor.quantum_efficiency, tuple):
        return "channels with efficiencies of their own are not counted: give one of all"
    if sensor.photon_range is not None:
        return "the light of pictures is drawn from a range: judge one, with sensor.under(photons)"
    if sensor.shot_noise == "none" and sensor.read_noise == 0 and sensor.bit_depth is None:
        return "the sensor has no noise, and without noise all is known"
    return None


def _log_determinant(scatter: Array, freedom: int) -> float:
    """Natural log-determinant of the covariance behind a Wishart scatter matrix, unbiased.

    ``E ln |scatter| = ln |S| + D ln 2 + sum psi((f + 1 - i) / 2)`` (Anderson, Introduction to
    Multivariate Statistical Analysis, sec. 7.5).
    """
    size = len(scatter)
    expected = size * math.log(2) + digamma((freedom + 1 - np.arange(1, size + 1)) / 2).sum()
    sign, value = np.linalg.slogdet(scatter)
    if sign <= 0:
        raise ValueError(
            "the patches do not span their values: some of them have no noise, as those that are "
            "clipped at black or at the top code have none"
        )
    return float(value - expected)


def _noisy_sensor(system: ImagingSystem) -> Sensor:
    if system.sensor is None:
        raise ValueError("the system has no sensor, and without noise all is known")
    obstacle = sensor_obstacle(system.sensor)
    if obstacle is not None:
        raise ValueError(obstacle)
    return system.sensor


def _noise_variance(sensor: Sensor, irradiance: Tensor, exposures: int) -> Tensor:
    """Variance of the raw values, fractions of the range squared ``[B, E * C, h, w]``.

    Of each channel given the noise of those before it, with which it shares the fixed patterns.
    """
    assert not isinstance(sensor.quantum_efficiency, tuple)  # see sensor_obstacle
    electrons = sensor.electrons(irradiance, exposures=exposures).clamp_min(0)
    light = irradiance.clamp_min(0) * (sensor.photons * sensor.quantum_efficiency)
    if sensor.full_well is not None:
        electrons, light = (part.clamp_max(sensor.full_well) for part in (electrons, light))
    if sensor.shot_noise == "none":
        electrons = torch.zeros_like(electrons)
    square = light.square()
    if sensor.binning > 1:
        electrons, square = (bin_pixels(part, sensor.binning) for part in (electrons, square))
    own = electrons + sensor.read_noise**2
    if sensor.bit_depth is not None:
        own = own + float(sensor.gain) ** 2 / 12  # of rounding
    offset, response = (
        0.0 if pattern is None else float(pattern.double().var(correction=0))
        for pattern in (sensor.dsnu_map, sensor.prnu_map)
    )
    variance = _innovations(own, square.sqrt(), sensor.binning**2 * offset, response)
    return variance / (float(sensor.gain) * (sensor.top - sensor.black_level)) ** 2


def _innovations(own: Tensor, light: Tensor, offset: float, response: float) -> Tensor:
    """Variance of each channel given the ones before it ``[B, C, h, w]``.

    The noise of a pixel is ``o + r light + n``, with an offset o and a response r that its
    channels share and an n of its own. A Kalman filter over the channels (Kalman, J. Basic Eng.
    82:35, 1960) learns o and r from each for the next: the product of these variances is the
    determinant of the covariance, that of all channels as if independent were too much.
    """
    if offset == response == 0:
        return own
    own, light = own.double(), light.double()
    oo, rr = (torch.full_like(own[:, 0], part) for part in (offset, response))
    cross = torch.zeros_like(oo)  # covariance of o and r, of what is not known yet
    found = []
    for noise, gain in zip(own.unbind(1), light.unbind(1), strict=True):
        o, r = oo + gain * cross, cross + gain * rr
        total = o + gain * r + noise
        oo, cross, rr = oo - o * o / total, cross - o * r / total, rr - r * r / total
        found.append(total)
    return torch.stack(found, 1)


def _cut(
    maps: tuple[Tensor, Tensor], side: int, patches: int, generator: torch.Generator
) -> tuple[Array, Array]:
    """The same random patches of two maps ``[B, C, H, W]``, each ``[B * patches, C side side]``."""
    count, _, height, width = maps[0].shape
    side, patches = whole_number("side", side), whole_number("patches", patches)
    if min(height, width) < side:
        raise ValueError(
            f"{patches} patches of {side} x {side} do not fit pictures of {height} x {width}"
        )
    places = torch.rand((count, patches, 2), generator=generator, device=generator.device).cpu()
    size = torch.tensor([height - side + 1, width - side + 1])
    corners = (places * size).long().clamp_max(size - 1)
    step = torch.arange(side)
    rows = (corners[..., 0, None] + step)[:, :, None, :, None]
    columns = (corners[..., 1, None] + step)[:, :, None, None, :]
    picture = torch.arange(count)[:, None, None, None, None]
    channel = torch.arange(maps[0].shape[1])[None, None, :, None, None]
    first, second = (
        values.cpu()[picture, channel, rows, columns].flatten(0, 1).flatten(1).double().numpy()
        for values in maps
    )
    return first, second
