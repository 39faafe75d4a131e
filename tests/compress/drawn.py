"""Pictures for the codecs, and what Pillow writes of them."""

import io
import struct
from functools import cache

import numpy as np
import torch
from PIL import Image

from classify.data import LesionPhantom


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def phantoms() -> torch.Tensor:
    """Six pictures ``[6, 3, 64, 64]``."""
    dataset = LesionPhantom(6, 64, seed=3)
    return torch.stack([dataset[i].image for i in range(6)]).float() / 255


def pictures(count: int = 3, channels: int = 3, height: int = 48, width: int = 40, seed: int = 0):
    """Smooth random pictures."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, height + 8, width + 8, generator=generator)
    x = torch.nn.functional.avg_pool2d(x, 9, 1)
    return (x - x.min()) / (x.max() - x.min())


def scene(count: int = 1, side: int = 96, grain: float = 0.0) -> torch.Tensor:
    """Pictures whose colours mostly go together, as in photographs."""
    x = 0.8 * pictures(count, 1, side, side) + 0.2 * pictures(count, 3, side, side, seed=1)
    return (1 - grain) * x + grain * noise(1, side, side)


def noise(channels: int = 3, height: int = 48, width: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, height, width, generator=generator)


def levels(image: torch.Tensor) -> np.ndarray:
    """8-bit values ``[H, W, C]`` of one picture ``[C, H, W]``."""
    return (255 * image).round().byte().movedim(0, -1).numpy()


def levels_of(image: torch.Tensor) -> np.ndarray:
    """The 8-bit picture ``[H, W, C]`` or ``[H, W]`` of ``[C, H, W]``."""
    values = levels(image)
    return values[..., 0] if values.shape[-1] == 1 else values


def written(picture: Image.Image | np.ndarray, kind: str, options: dict | None = None) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(file, kind, **(options or {}))
    return file.getvalue()


def patched(data: bytes, place: int, code: str, *values: int) -> bytes:
    size = struct.calcsize(code)
    return data[:place] + struct.pack(code, *values) + data[place + size :]
