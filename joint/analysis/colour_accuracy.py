"""How true the colours of a camera are, and what their correction costs in noise.

::

    spectra ── optics.camera_colours ──┐
                                       ├─► measured [N, C] ─ matrix ─► CIEDE2000 ─► ColourAccuracy
    picture, masks ── patch_colours ───┘                                   ▲
    spectra, chart ── optics.observer_colours ──► target [N, 3] ───────────┘
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optics import colour_correction, noise_amplification
from optics.light.colour_correction import check_patches
from optics.quantity import check_finite, check_tensor, looked_at, single

from .colour import ciede2000, lab
from .region import check_masks

__all__ = ["ColourAccuracy", "colour_accuracy", "patch_colours"]


@dataclass(frozen=True, repr=False)
class ColourAccuracy:
    """Colour errors of a camera behind its correction; ``str`` of it is a table.

    Tensors have a gradient to the measured colours where these have one.
    """

    matrix: Tensor
    """Colour correction ``[3, C]``, to linear sRGB."""
    delta_e: Tensor
    """CIEDE2000 of each patch ``[N]``, with the matrix."""
    uncorrected: Tensor | None
    """The same without it, the channels taken as linear sRGB; None for other than three."""
    white_error: Tensor
    """CIEDE2000 of a white-balanced white with the matrix, scalar: 0 where its rows sum to 1."""
    noise_amplification: Tensor
    """Noise of red, green and blue behind the matrix ``[3]``: in units of that of a channel, or in
    that of the ``noise`` that was given."""
    names: tuple[str, ...]
    """Names of the patches."""

    @property
    def mean(self) -> Tensor:
        """Mean CIEDE2000 of the patches, scalar."""
        return self.delta_e.mean()

    @property
    def maximum(self) -> Tensor:
        """Largest CIEDE2000 of a patch, scalar."""
        return self.delta_e.max()

    @property
    def percentile_95(self) -> Tensor:
        """CIEDE2000 that 95 % of the patches do not exceed, interpolated linearly, scalar."""
        return self.delta_e.quantile(0.95)

    def __str__(self) -> str:
        lines = [f"{'CIEDE2000':<12}{'mean':>8}{'95 %':>8}{'largest':>9}"]
        for name, errors in (("without", self.uncorrected), ("with matrix", self.delta_e)):
            if errors is not None:
                each = errors.detach()
                lines.append(
                    f"{name:<12}{each.mean():>8.2f}{each.quantile(0.95):>8.2f}{each.max():>9.2f}"
                )
        worst = self.names[int(self.delta_e.detach().argmax())]
        noise = " ".join(f"{each:.3g}" for each in self.noise_amplification.tolist())
        numbers = (" ".join(f"{each:8.3f}" for each in row) for row in self.matrix.tolist())
        return "\n".join(
            (
                *lines,
                f"{'worst patch':<12}{worst}",
                f"{'white':<12}{float(self.white_error.detach()):.2f}",
                f"{'noise':<12}{noise}",
                *(f"{'matrix' if not at else '':<12}{row}" for at, row in enumerate(numbers)),
            )
        )

    __repr__ = __str__


def colour_accuracy(
    measured: Tensor,
    target: Tensor,
    *,
    matrix: Tensor | None = None,
    noise: float | Tensor = 1.0,
    names: Sequence[str] | None = None,
) -> ColourAccuracy:
    """Colour errors of a camera, CIEDE2000, with a colour correction matrix and without.

    A matrix that is fitted to the same patches, as by default, flatters a camera that has few of
    them: to judge it by others, give the ``matrix`` of the first.

    Parameters
    ----------
    measured : Tensor ``[N, C]`` in 0..1
        White-balanced linear colours of N patches: of spectra by :func:`optics.camera_colours`, of
        a picture by :func:`patch_colours`, divided by those of a white patch.
    target : Tensor ``[N, 3]``
        True colours, linear sRGB, as by :func:`optics.observer_colours`; of a chart's published
        sRGB codes, in 0..1, take :func:`optics.srgb_to_linear`.
    matrix : Tensor ``[3, C]``, optional
        Correction to judge; by default :func:`optics.colour_correction` of these patches, which
        keeps white.
    noise : float or Tensor ``[C]``
        Noise of the channels for :attr:`ColourAccuracy.noise_amplification`. The matrix does not
        follow it: for that give one of ``colour_correction(..., noise=)``.
    names : sequence of str, optional
        Names of the patches; by default their numbers, from 0 on.

    Returns
    -------
    ColourAccuracy
        Colours out of the gamut are judged as they are, not clipped. Half precision is computed in
        float32.

    Raises
    ------
    TypeError
        When colours or matrix are no Tensors.
    ValueError
        For shapes other than these, a matrix that is not finite, or what
        :func:`optics.colour_correction` refuses.
    """
    check_patches(measured, target)
    channels = measured.shape[1]
    if target.shape[1] != 3 or not len(target):
        raise ValueError(
            f"target must be [N, 3], linear sRGB of N patches, not {list(target.shape)}"
        )
    if matrix is None:
        matrix = colour_correction(measured, target)
    check_tensor("matrix", matrix)
    if matrix.shape != (3, channels):
        raise ValueError(
            f"matrix must be [3, {channels}], from the channels to sRGB, not {list(matrix.shape)}"
        )
    told = tuple(map(str, range(len(measured)) if names is None else names))
    if len(told) != len(measured):
        raise ValueError(f"names has {len(told)} for {len(measured)} patches: give one for each")
    kind = torch.result_type(single(measured), single(target))
    colours, wanted, applied = (each.to(kind) for each in (measured, target, matrix))
    white = applied.sum(1)[None]
    return ColourAccuracy(
        matrix=matrix,
        delta_e=_difference(colours @ applied.mT, wanted),
        uncorrected=_difference(colours, wanted) if channels == 3 else None,
        white_error=_difference(white, torch.ones_like(white))[0],
        noise_amplification=noise_amplification(applied, noise=noise),
        names=told,
    )


def patch_colours(picture: Tensor, masks: Tensor) -> Tensor:
    """Mean colours of the patches of a chart in one picture.

    For :func:`colour_accuracy` divide them by those of a white patch, which balances the channels.

    Parameters
    ----------
    picture : Tensor ``[C, H, W]``
        Linear light that is saturated at 1, not yet divided by white: what a sensor without colour
        matrix reads, or ``optics.srgb_to_linear`` of a file.
    masks : Tensor, bool ``[N, H, W]``
        True on the pixels of each patch, well within its border.

    Returns
    -------
    Tensor ``[N, C]``
        With a gradient to the picture.

    Raises
    ------
    TypeError
        When one is not a Tensor.
    ValueError
        For other shapes, a mask without a pixel, values that are not finite, or a patch with a
        saturated pixel, at 1 or above, whose mean is too dark. A full well below the top code
        saturates pixels below 1, which is not seen here.

    Examples
    --------
    >>> picture = torch.tensor([[[0.8, 0.4]], [[0.5, 0.1]]])  # a white pixel, and a coloured one
    >>> colours = patch_colours(picture, torch.tensor([[[True, False]], [[False, True]]]))
    >>> colours / colours[0]
    tensor([[1.0000, 1.0000],
            [0.5000, 0.2000]])
    """
    check_masks(masks)
    check_tensor("picture", picture)
    if picture.ndim != 3 or not picture.is_floating_point() or picture.shape[1:] != masks.shape[1:]:
        raise ValueError(
            f"picture must be floats [C, {masks.shape[1]}, {masks.shape[2]}], of the size of its "
            f"masks, not {picture.dtype} {list(picture.shape)}"
        )
    check_finite("picture", picture, "linear light")
    light = single(picture)
    chosen = masks.flatten(1).to(light)
    pixels = chosen.sum(1, keepdim=True)
    if looked_at(pixels) and looked_at(light):
        if not bool((pixels > 0).all()):
            raise ValueError(f"masks {_places(pixels[:, 0] == 0)} have no pixel: leave them out")
        full = (masks & (light >= 1).any(0)).flatten(1).any(1)
        if bool(full.any()):
            raise ValueError(
                f"patches {_places(full)} have saturated pixels, at 1 or above, so that their mean "
                "is too dark: expose less, or leave them out"
            )
    return (chosen @ light.flatten(1).mT) / pixels


def _places(which: Tensor) -> str:
    return ", ".join(map(str, which.nonzero().flatten().tolist()))


def _difference(colours: Tensor, wanted: Tensor) -> Tensor:
    """CIEDE2000 ``[N]`` of linear sRGB ``[N, 3]``."""
    first, second = (lab(each.mT[..., None])[..., 0] for each in (colours, wanted))
    return ciede2000(first, second, dim=0)
