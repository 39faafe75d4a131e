"""The learned kernel: a convolution that an optical element could perform.

Light cannot be negative. A kernel with a signed response therefore takes two exposures with
non-negative kernels, each for half of the time. Their difference is formed after the sensor and has
the noise of both.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from optics.constraint import clip, energy_limited, energy_limited_inverse
from optics.fourier import Boundary, convolve
from optics.front_end import FrontEnd, check_raw, check_scene
from optics.quantity import check_tensor, index_of, whole_number

__all__ = ["KernelStart", "LearnedKernel", "kernel_start", "raw_taps", "signed_difference"]

# Light that all dark taps of a kernel pass together at the start. Up to 9 x 9 taps they are as dark
# as energy_limited_inverse makes them; the thousand taps of 31 x 31 would pass a veil of 6 %.
_VEIL = 0.0055
# Light that a tap at the floor of energy_limited_inverse passes, log(1 + exp(-5)) / 100.
_AT_THE_FLOOR = math.log1p(math.exp(-5)) / 100
# Smallest range of a difference of exposures, of the light: training may darken both of them.
_LEAST_RANGE = 1e-6

KernelStart = Literal[
    "identity",
    "unsharp",
    "sobel",
    "scharr",
    "laplacian",
    "log",
    "difference_of_gaussians",
    "gabor",
    "odd_gabor",
    "gaussian",
    "random",
]


def kernel_start(
    name: KernelStart, size: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Signed kernels by name, as starts for :class:`LearnedKernel`.

    Each is scaled so that the larger of its two parts, positive and negative, sums to 1: neither
    needs more light than there is.

    Parameters
    ----------
    name : str
        ``identity``; ``unsharp``, an identity minus half of a Gaussian surround with sigma =
        size / 6 pixels, which enhances edges and keeps about half of the mean (0.53 with 7 taps);
        ``sobel``, the horizontal and the vertical derivative; ``scharr``, the same with the weights
        3, 10, 3 across, whose direction is more accurate (Jaehne, Scharr and Koerkel, Handbook of
        Computer Vision 2:125, 1999); ``laplacian``, four neighbours; ``log``, Laplacian of a
        Gaussian with sigma = size / 7 pixels (Marr and Hildreth, Proc. R. Soc. Lond. B 207:187,
        1980); ``difference_of_gaussians``, a centre minus a surround that is 1.6 times as wide
        (same paper) and has sigma = size / 6 pixels; ``gabor``, even filters at 0, 45, 90 and 135
        degrees with a wavelength of size / 2 pixels (Daugman, JOSA A 2:1160, 1985), which respond
        to lines; ``odd_gabor``, the odd ones, which respond to edges; ``gaussian``, sigma =
        size / 6 pixels; ``random``, white noise. ``laplacian`` and ``log`` have a positive centre,
        the opposite sign of ``scipy.ndimage.laplace`` and ``gaussian_laplace``; ``sobel`` is
        ``scipy.ndimage.sobel`` over 4, ``scharr`` is ``skimage.filters.scharr_v`` and
        ``scharr_h``.
    size : int
        Odd number of taps along a side: at least 3, except 1 for ``identity`` and 5 for ``gabor``
        and ``odd_gabor``, whose wavelength is then 2.5 pixels. A wavelength of 1.5 pixels cannot be
        sampled on this grid.
    generator : torch.Generator, optional
        Source of ``random``.

    Returns
    -------
    Tensor, float64 ``[F, size, size]``
        F filters; the positive taps of each sum to at most 1, and so do the negative ones.

    Raises
    ------
    ValueError
        For an unknown name, or a size that is even or too small.
    """
    if name not in get_args(KernelStart):
        raise ValueError(f"no kernel is called {name!r}; choose from {get_args(KernelStart)}")
    taps = index_of(size)
    least = {"identity": 1, "gabor": 5, "odd_gabor": 5}.get(name, 3)
    if taps is None or taps < least or taps % 2 == 0:
        raise ValueError(f"kernel size must be odd and at least {least}, not {size}")
    steps = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    if name == "random":
        filters = torch.randn(1, size, size, dtype=torch.float64, generator=generator)
    else:
        filters = _STARTS[name](y, x, size)
    parts = torch.stack((filters.clamp_min(0), (-filters).clamp_min(0)))
    return filters / parts.sum((-2, -1)).amax(0)[:, None, None]


def _identity(y: Tensor, x: Tensor, size: int) -> Tensor:
    return ((y == 0) & (x == 0)).double()[None]


def _unsharp(y: Tensor, x: Tensor, size: int) -> Tensor:
    surround = _gaussian(y, x, size)
    return _identity(y, x, size) - 0.5 * surround / surround.sum()


def _sobel(y: Tensor, x: Tensor, size: int) -> Tensor:
    return _derivatives(y, x, middle=2, side=1)


def _scharr(y: Tensor, x: Tensor, size: int) -> Tensor:
    return _derivatives(y, x, middle=10, side=3)


def _derivatives(y: Tensor, x: Tensor, *, middle: float, side: float) -> Tensor:
    # (side, middle, side) across and (1, 0, -1) along. For a true convolution the response is
    # positive where the picture gets brighter towards +x (+y).
    inside = (y.abs() <= 1) & (x.abs() <= 1)
    fall = middle - side
    return torch.stack((-x * (middle - fall * y.abs()), -y * (middle - fall * x.abs()))) * inside


def _laplacian(y: Tensor, x: Tensor, size: int) -> Tensor:
    distance = y.abs() + x.abs()
    return ((distance == 0).double() * 4 - (distance == 1).double())[None]


def _log(y: Tensor, x: Tensor, size: int) -> Tensor:
    s = (y.square() + x.square()) / (2 * (size / 7) ** 2)
    return _without_mean((1 - s) * torch.exp(-s))[None]


def _difference_of_gaussians(y: Tensor, x: Tensor, size: int) -> Tensor:
    centre, surround = _gaussian(y, x, size / 1.6), _gaussian(y, x, size)
    return centre / centre.sum() - surround / surround.sum()


def _odd_gabor(y: Tensor, x: Tensor, size: int) -> Tensor:
    envelope, phase = _waves(y, x, size)
    # The sign of a derivative: positive where the picture gets brighter along the direction.
    return -envelope * torch.sin(phase)


def _waves(y: Tensor, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Envelope of Gabor's filters, and the phases of their carriers in four directions."""
    envelope = torch.exp(-(y.square() + x.square()) / (2 * (size / 5) ** 2))
    angles = torch.arange(4, dtype=torch.float64)[:, None, None] * torch.pi / 4
    along = x * torch.cos(angles) + y * torch.sin(angles)
    return envelope, 2 * torch.pi * along / (size / 2)


def _gabor(y: Tensor, x: Tensor, size: int) -> Tensor:
    envelope, phase = _waves(y, x, size)
    carrier = torch.cos(phase)
    # Remove the mean under the envelope, not a constant, so that the kernel still fades out.
    dc = (envelope * carrier).sum((-2, -1), keepdim=True) / envelope.sum()
    return envelope * (carrier - dc)


def _gaussian(y: Tensor, x: Tensor, size: float) -> Tensor:
    return torch.exp(-(y.square() + x.square()) / (2 * (size / 6) ** 2))[None]


def _without_mean(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean()


_STARTS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "identity": _identity,
    "unsharp": _unsharp,
    "sobel": _sobel,
    "scharr": _scharr,
    "laplacian": _laplacian,
    "log": _log,
    "difference_of_gaussians": _difference_of_gaussians,
    "gabor": _gabor,
    "odd_gabor": _odd_gabor,
    "gaussian": _gaussian,
}


def raw_taps(kernels: Tensor, *, darkest: float | None = None) -> Tensor:
    """Raw taps that :func:`optics.energy_limited` maps to ``kernels``, with dark taps kept dark.

    :func:`optics.energy_limited_inverse` starts dark taps at 7e-5, where their gradient is 0.7 % of
    that of a bright tap. Where many of them would add up to a veil of light, they start darker.
    Their gradient is then smaller as well: 100 times the light that they pass.

    Parameters
    ----------
    kernels : Tensor ``[..., C_out, C_in, k, k]``
        Wanted kernels.
    darkest : float, optional
        Least light that a tap passes; by default such that k k of them pass 0.55 % together.

    Returns
    -------
    Tensor of the shape of ``kernels``
    """
    least = _VEIL / (kernels.shape[-2] * kernels.shape[-1]) if darkest is None else darkest
    raw = energy_limited_inverse(kernels)
    # Inverse of softplus(100 raw) / 100 = log(1 + exp(100 raw)) / 100, accurate where it is small.
    faint = torch.expm1(100 * kernels.to(raw).clamp_min(least)).log() / 100
    return torch.minimum(raw, torch.where(kernels < _AT_THE_FLOOR, faint, raw))


def signed_difference(plus: Tensor, minus: Tensor, kernels: Tensor) -> Tensor:
    """Difference of two exposures, mapped so that its attainable range becomes 0..1.

    With kernel sums ``S+`` and ``S-`` a scene in 0..1 gives differences from ``-S-`` to ``S+``;
    the result is ``(plus - minus + S-) / (S+ + S-)``. An identity kernel thus returns the scene,
    and a derivative returns grey with bright and dark edges. Both sums are properties of the
    element, and known to the camera.

    Parameters
    ----------
    plus, minus : Tensor ``[B, F, C, H, W]``
        The two exposures, scaled to the full exposure time.
    kernels : Tensor ``[F, 2, C, C or 1, kh, kw]``
        The non-negative kernels of both exposures.

    Returns
    -------
    Tensor ``[B, F, C, H, W]`` in 0..1
        Noise beyond the range is clipped. A range ``S+ + S-`` below one millionth of the light is
        taken as one millionth: a filter that passes no light in either exposure gives 0.

    Raises
    ------
    TypeError, ValueError
        When one is not a Tensor, or the shapes are not these.
    """
    for name, value in (("plus", plus), ("minus", minus), ("kernels", kernels)):
        check_tensor(name, value)
    if kernels.ndim != 6 or kernels.shape[1] != 2 or plus.ndim != 5 or plus.shape != minus.shape:
        raise ValueError(
            "plus and minus must both be [B, F, C, H, W] and kernels [F, 2, C, C or 1, kh, kw], "
            f"not {tuple(plus.shape)}, {tuple(minus.shape)} and {tuple(kernels.shape)}"
        )
    reach = kernels.sum((-3, -2, -1))[..., None, None]
    upper, lower = reach[:, 0], reach[:, 1]
    span = (upper + lower).clamp_min(_LEAST_RANGE)
    return clip((plus - minus + lower) / span)


class LearnedKernel(FrontEnd):
    """A trainable convolution kernel that an optical element could perform.

    Parameters
    ----------
    start : str or Tensor
        A name for :func:`kernel_start`, or signed kernels ``[F, k, k]`` of your own. The positive
        taps of each may sum to at most 1, and so may the absolute values of the negative ones.
    kernel_size : int, pixels
        Odd number of taps along a side; ignored when ``start`` is a tensor.
    channels : int
        Channels of the scene.
    signed : bool
        If True, each filter takes two exposures, one with the positive and one with the negative
        taps, which are subtracted after the sensor. If False, it takes one exposure with a
        non-negative kernel; ``start`` must then be non-negative too.
    mix_channels : bool
        If True, each output channel collects light from all channels of the scene.
    boundary : str
        As in :func:`optics.convolve`.
    generator : torch.Generator, optional
        Source of ``start="random"``.

    Raises
    ------
    TypeError
        For a start that is neither a name nor a Tensor.
    ValueError
        For an unknown start or boundary, an even size, taps that sum to more than 1, or negative
        taps with ``signed=False``.

    Notes
    -----
    :attr:`kernels` is non-negative and energy-limited by construction, see
    :func:`optics.energy_limited`. ``F`` filters take ``F * (2 if signed else 1)`` exposures,
    which share one exposure time. The same number of images side by side on one sensor, formed by
    a single PSF that contains all kernels (Chang et al., Sci. Rep. 8:12324, 2018), shares the light
    in the same way; only the dark current differs.

    For several random filters give ``torch.cat([kernel_start("random", 7, generator=generator) for
    _ in range(F)])``.
    """

    def __init__(
        self,
        start: KernelStart | Tensor = "identity",
        kernel_size: int = 7,
        *,
        channels: int = 3,
        signed: bool = True,
        mix_channels: bool = False,
        boundary: Boundary = "replicate",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        channels = whole_number("channels", channels)
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {get_args(Boundary)}, not {boundary!r}")
        if isinstance(start, str):
            filters = kernel_start(start, kernel_size, generator=generator)
            if start == "random" and not signed:
                filters = filters.abs() / filters.abs().sum()
        else:
            filters = _checked_filters(start)
        if not signed and (filters < 0).any():
            raise ValueError(
                f"start={start!r} has negative taps, and one exposure cannot subtract light; "
                "use signed=True"
                if isinstance(start, str)
                else "start has negative taps, and one exposure cannot subtract light; use "
                "signed=True"
            )
        parts = [filters.clamp_min(0), (-filters).clamp_min(0)] if signed else [filters]
        kernels = torch.stack(parts, 1)[:, :, None, None]
        if mix_channels:
            kernels = kernels * torch.eye(channels, dtype=kernels.dtype)[..., None, None]
        else:
            kernels = kernels.expand(-1, -1, channels, -1, -1, -1)
        self.raw = nn.Parameter(raw_taps(kernels).to(torch.get_default_dtype()))
        self.in_channels = channels
        self.out_channels = len(filters) * channels
        self.exposures = len(filters) * len(parts)
        self.signed = signed
        self.mix_channels = mix_channels
        self.boundary: Boundary = boundary

    @property
    def kernels(self) -> Tensor:
        """Non-negative kernels ``[F, 2 or 1, C, C or 1, k, k]``, as fractions of the light."""
        return energy_limited(self.raw)

    @property
    def response(self) -> Tensor:
        """Signed kernels ``[F, C, C or 1, k, k]``: the positive exposure minus the negative."""
        kernels = self.kernels
        return kernels[:, 0] - kernels[:, 1] if self.signed else kernels[:, 0]

    def throughput(self) -> Tensor:
        """Fraction of the scene's light that reaches the sensor, scalar in 0..1."""
        kernels = self.kernels
        return kernels.sum() / (self.exposures * self.in_channels)

    def forward(self, scene: Tensor) -> Tensor:
        """Form the irradiance ``[B, exposures * C, H, W]`` of a scene ``[B, C, H, W]``.

        Raises
        ------
        TypeError, ValueError
            When the scene is not a Tensor, or has the wrong channels.
        """
        check_scene(scene, self.in_channels)
        stack = self.kernels.flatten(0, 2) / self.exposures
        return convolve(scene, stack, boundary=self.boundary)

    def combine(self, raw: Tensor) -> Tensor:
        """Subtract the exposures, see :func:`signed_difference`; ``[B, F * C, H, W]`` in 0..1."""
        kernels = self.kernels
        check_raw(raw, self.exposures * self.in_channels)
        exposures = raw.unflatten(1, kernels.shape[:3]) * self.exposures
        if self.signed:
            plus, minus = exposures.unbind(2)
        else:
            plus, minus = exposures[:, :, 0], torch.zeros_like(exposures[:, :, 0])
            kernels = torch.cat((kernels, torch.zeros_like(kernels)), 1)
        return signed_difference(plus, minus, kernels).flatten(1, 2)

    def extra_repr(self) -> str:
        """Name the geometry."""
        size = self.raw.shape[-1]
        return (
            f"{size}x{size} pixels, in_channels={self.in_channels}, "
            f"out_channels={self.out_channels}, exposures={self.exposures}, "
            f"mix_channels={self.mix_channels}, boundary={self.boundary!r}"
        )


def _checked_filters(start: Tensor) -> Tensor:
    if not isinstance(start, Tensor):
        raise TypeError(
            f"start must be a name of optics.kernel_start or a Tensor [F, k, k], not "
            f"{type(start).__name__}"
        )
    odd = start.ndim == 3 and start.shape[-1] == start.shape[-2] and start.shape[-1] % 2 == 1
    if not odd or len(start) == 0:
        raise ValueError(f"start must be [F, k, k] with odd k, not of shape {tuple(start.shape)}")
    filters = start.detach().double()
    light = torch.stack((filters.clamp_min(0), (-filters).clamp_min(0))).sum((-2, -1)).max()
    if not torch.isfinite(filters).all() or light > 1 + 1e-6:
        raise ValueError(
            f"the positive (and the negative) taps of each kernel may sum to at most 1, the "
            f"incident light; here they reach {float(light):.4g}: divide by it"
        )
    return filters
