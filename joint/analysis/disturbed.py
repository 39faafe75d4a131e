"""Parts of a camera that sit elsewhere than designed, and a scene in other light."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from optics import Element, FrontEnd, PhaseElement

__all__ = ["Disturbed", "MovedElement", "MovedPhase", "moved", "shifted"]


class Disturbed(FrontEnd):
    """A front end, or none, in other light and on a sensor that is elsewhere."""

    gains: Tensor

    def __init__(
        self,
        inner: FrontEnd | None,
        channels: int,
        *,
        gains: Sequence[float] | None = None,
        shifts: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.in_channels = channels if inner is None else inner.in_channels
        self.out_channels = channels if inner is None else inner.out_channels
        self.exposures = 1 if inner is None else inner.exposures
        lamp = torch.ones(self.in_channels) if gains is None else torch.tensor(gains)
        self.register_buffer("gains", lamp)
        self.shifts = shifts

    def forward(self, scene: Tensor) -> Tensor:
        """Irradiance of a scene in the other light, each exposure moved by its own shift."""
        light = scene * self.gains.to(scene)[:, None, None]
        image = light if self.inner is None else self.inner(light)
        if self.shifts is None:
            return image
        each = image.unflatten(1, (self.exposures, -1)).unbind(1)
        return torch.cat([shifted(e, s) for e, s in zip(each, self.shifts, strict=True)], 1)

    def throughput(self) -> Tensor:
        """Of the front end; the lamp is not in it."""
        return self.gains.new_ones(()) if self.inner is None else self.inner.throughput()

    def combine(self, raw: Tensor) -> Tensor:
        """As the front end does, which does not know."""
        return raw if self.inner is None else self.inner.combine(raw)


class MovedPhase(PhaseElement):
    """A phase element that sits askew."""

    def __init__(self, inner: PhaseElement, *, shift: float, angle: float) -> None:
        super().__init__(inner.size, inner.spacing)
        self.inner, self.shift, self.angle = inner, shift, angle

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """Phase in radians, interpolated where the element sits."""
        phase = self.inner.phase_shift(wavelength)
        return moved(phase, shift=self.shift, angle=self.angle, outside="border")


class MovedElement(Element):
    """An element that sits askew."""

    def __init__(self, inner: Element, *, shift: float, angle: float) -> None:
        super().__init__(inner.size, inner.spacing)
        self.inner, self.shift, self.angle = inner, shift, angle

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Complex amplitude that passes, interpolated where the element sits."""
        given = self.inner.transmission(wavelength)
        parts = torch.stack((given.real, given.imag))
        return torch.complex(
            *moved(parts, shift=self.shift, angle=self.angle, outside="border").unbind()
        )


def moved(
    maps: Tensor, *, shift: float = 0.0, angle: float = 0.0, outside: Literal["zeros", "border"]
) -> Tensor:
    """Maps ``[..., H, W]`` turned by ``angle`` degrees (+x to +y) about ``N // 2``, then moved.

    ``shift`` is in samples along +x; in between samples they are interpolated linearly.
    """
    height, width = maps.shape[-2:]
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)[:, None] - height // 2
    x = torch.arange(width, dtype=maps.dtype, device=maps.device) - width // 2 - shift
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # Where each sample comes from, in -1..1 from the first to the last.
    rows = 2 * (c * y - s * x + height // 2) / max(1, height - 1) - 1
    columns = 2 * (c * x + s * y + width // 2) / max(1, width - 1) - 1
    flat = maps.reshape(1, -1, height, width)
    grid = torch.stack((columns, rows), -1)[None]
    found = functional.grid_sample(flat, grid, padding_mode=outside, align_corners=True)
    return found.reshape(maps.shape)


def shifted(image: Tensor, pixels: float) -> Tensor:
    """Move ``[B, C, H, W]`` along +x, with linear interpolation; the border is continued."""
    whole = math.floor(pixels)
    part = pixels - whole
    place = torch.arange(image.shape[-1], device=image.device) - whole
    near, far = (image[..., (place - k).clamp(0, image.shape[-1] - 1)] for k in (0, 1))
    return near if part == 0 else (1 - part) * near + part * far
