"""Smooth pictures that are not alike, and what people do to such."""

import io

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 64


def textures(count, seed=0):
    """Smooth random colour pictures with some grain, uint8 [N, 3, SIDE, SIDE]."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, 3, SIDE, SIDE))
    smooth = gaussian_filter(noise, (0, 0, 6, 6), mode="nearest")
    smooth = smooth / smooth.std((-2, -1), keepdims=True) + 0.05 * noise
    return torch.from_numpy((128 + 40 * smooth).clip(0, 255).astype(np.uint8))


def pil(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def jpeg(image):
    stream = io.BytesIO()
    pil(image).save(stream, "JPEG", quality=60)
    return tensor(Image.open(stream))


def crop(image, left=0.3, top=0.6):
    """Keep 0.95 of the side, at ``left`` and ``top`` of what is left over."""
    side = 0.95 * SIDE
    x, y = left * (SIDE - side), top * (SIDE - side)
    box = (x, y, x + side, y + side)
    return tensor(pil(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box))
