"""Pictures of skin: people, poses, hair, light and cameras around the lesions."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .canvas import FIELD, ZOOM, Canvas
from .draws import Draws
from .lesion import draw_lesion
from .skin import WAVELENGTHS, reflectance

__all__ = ["Look", "Scene", "draw_scene", "photograph"]

# Gains that show light skin as in HAM10000: L*a*b* about 70, 17, 3.
_GAINS = (1.26, 1.34, 1.90)
_HAIR = (0.10, 0.08, 0.06)
_SATURATION = 1.0  # of the blood
_BLOOD = 0.006  # volume fraction in healthy skin
_HAIRS = 16  # at most


@dataclass(frozen=True, kw_only=True)
class Look:
    """How pictures are drawn."""

    size: int
    seed: int
    difficulty: float
    contrast: float
    skin: tuple[float, float]
    blur: float
    """metres."""
    wavelengths: tuple[float, ...] | None
    """metres; None for a colour camera."""
    device: torch.device


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """Skin with a lesion, in the pose of the picture; maps ``[B, S, S]``."""

    melanin: Tensor
    dermal: Tensor
    blood: Tensor
    keratin: Tensor
    mask: Tensor
    people: Tensor
    """Melanosomes of healthy skin, ``[B]``."""
    radius: Tensor
    """mm, ``[B]``."""
    shown: Tensor
    """Which structures there are, bool ``[B, K]``."""
    where: Tensor | None
    """Where, ``[B, K, S, S]``."""


def draw_scene(
    labels: Tensor, of_lesion: Draws, of_picture: Draws, look: Look, *, trace: bool
) -> Scene:
    """Lesions of the classes ``labels`` ``[B]``, each in a person's skin and in a pose."""
    pose, person = of_picture.stream(0), of_lesion.stream(0)
    shift = pose.normal(0, 0.35, 2).clamp(-1, 1)
    zoom = torch.exp(pose.normal(0, 0.10).clamp(math.log(ZOOM[0]), math.log(ZOOM[1])))
    turns = pose.uniform(count=3) < 0.5
    canvas = Canvas.seen(look.size, zoom=zoom, shift=shift)
    people = person.uniform(*look.skin)
    red = _BLOOD * torch.exp(person.normal(0, 0.35))[..., None]
    freckles = 0.15 * canvas.noise(person, 0.15)
    freckles += 0.12 * canvas.noise(person, 0.5) + 0.13 * canvas.noise(person, 1.8)
    flush = 0.15 * canvas.noise(person, 0.3) + 0.18 * canvas.noise(person, 1.5)
    lesion, shown, where = draw_lesion(
        canvas, labels, of_lesion, difficulty=look.difficulty, trace=trace
    )
    strength = look.contrast * math.exp(0.5 * (0.5 - look.difficulty))
    melanin = people[..., None] * (1 + lesion.weathered * freckles) + strength * lesion.melanin
    blood = red * (1 + lesion.weathered * flush) + strength * lesion.blood
    return Scene(
        melanin=_turned(melanin.clamp(min=0), turns),
        dermal=_turned(strength * lesion.dermal, turns),
        blood=_turned(blood.clamp(min=0), turns),
        keratin=_turned((strength * lesion.keratin).clamp(0, 0.9), turns),
        mask=_turned(lesion.depth > 0, turns),
        people=people[:, 0],
        radius=lesion.radius[:, 0, 0],
        shown=shown,
        where=None if where is None else _turned(where, turns),
    )


def _turned(maps: Tensor, turns: Tensor) -> Tensor:
    """Maps ``[B, ..., S, S]`` mirrored and turned as bool ``[B, 3]`` says: the 8 poses."""
    left, up, over = turns.reshape(-1, 3, *(1,) * (maps.ndim - 1)).unbind(1)
    maps = torch.where(left, maps.flip(-1), maps)
    maps = torch.where(up, maps.flip(-2), maps)
    return torch.where(over, maps.mT, maps)


def photograph(scene: Scene, draws: Draws, look: Look) -> Tensor:
    """Hair, blur, uneven light, vignette and the gains of a camera; linear ``[B, C, S, S]``."""
    bands = look.wavelengths or WAVELENGTHS
    light = reflectance(
        scene.melanin, scene.dermal, scene.blood, scene.keratin,
        wavelengths=bands, saturation=_SATURATION,
    ).transpose(0, 1)  # fmt: skip
    random, still = draws.stream(1), torch.zeros(len(light), 2, device=light.device)
    frame = Canvas.seen(look.size, zoom=still[:, :1] + 1, shift=still)
    hairy = torch.nonzero(random.uniform()[:, 0] < 0.15 + 0.35 * look.difficulty)[:, 0]
    if len(hairy) > 0:
        cover = 0.85 * _hair(frame.of(hairy), draws.stream(2).of(hairy))[:, None]
        of_hair = _at(_HAIR, bands, light)[:, None, None]
        light[hairy] = light[hairy] + cover * (of_hair - light[hairy])
    if look.blur > 0:
        light = _blurred(light, look.blur * 1e3 / FIELD * look.size)
    away = (frame.x**2 + frame.y**2) / (FIELD / 2) ** 2
    slope = random.normal(0, 0.03, 2)[..., None, None] / FIELD
    shade = 1 + slope[:, 0] * frame.x + slope[:, 1] * frame.y
    shade -= random.uniform(0, 0.08)[..., None] * away
    # The tube of a contact dermatoscope.
    tube, rim = random.uniform()[..., None] < 0.12, random.uniform(1.05, 1.35)[..., None]
    shade *= torch.where(tube, (12 * (rim - torch.sqrt(away))).clamp(0.02, 1), 1)
    exposure = random.normal(0, 0.06 + 0.06 * look.difficulty)
    tint = random.normal(0, 0.03 + 0.06 * look.difficulty, 3)
    gains = torch.exp(exposure + _blend(tint, bands))
    if look.wavelengths is None:
        gains = gains * torch.tensor(_GAINS, device=light.device)
    return light * shade[:, None] * gains[..., None, None]


def _at(colour: tuple[float, float, float], bands: tuple[float, ...], like: Tensor) -> Tensor:
    """A colour ``[C]`` at other wavelengths, straight between the three of a camera."""
    return _blend(torch.tensor([colour], device=like.device, dtype=like.dtype), bands)[0]


def _blend(colours: Tensor, bands: tuple[float, ...]) -> Tensor:
    """Colours ``[B, 3]`` at other wavelengths ``[B, C]``; beyond the camera's as at its ends."""
    corner = np.eye(3)[::-1]
    share = [[np.interp(band, WAVELENGTHS[::-1], corner[k]) for band in bands] for k in range(3)]
    red, green, blue = torch.tensor(share, device=colours.device, dtype=colours.dtype)
    return colours[:, :1] * red + colours[:, 1:2] * green + colours[:, 2:] * blue


def _hair(frame: Canvas, random: Draws) -> Tensor:
    """Arcs across the field, ``[B, S, S]``."""
    few = torch.floor(torch.log1p(-random.uniform()) / math.log(0.75)) + 1
    there = (torch.arange(_HAIRS, device=few.device) < few).float()
    angle = random.uniform(0, math.pi) + random.normal(0, 0.5, _HAIRS)
    step = random.uniform(1.5, 6.0, _HAIRS)[..., None] / 14
    place = torch.arange(-14, 15, device=few.device)
    course = angle[..., None] + random.normal(0, 0.12, _HAIRS)[..., None] * step * place
    way = step[..., None] * torch.stack((torch.cos(course), torch.sin(course)), 3)
    way = way.cumsum(2) - way.cumsum(2).mean(2, keepdim=True)
    middle = random.uniform(-FIELD / 2, FIELD / 2, 2 * _HAIRS).unflatten(1, (_HAIRS, 1, 2))
    widths = random.uniform(0.04, 0.08, _HAIRS)
    return frame.lines(middle + way, widths, longest=6 / 14, widest=0.08, level=there)


def _blurred(light: Tensor, sigma: float) -> Tensor:
    """Gaussian blur by ``sigma`` pixels; beyond the rim as on the rim."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    for axis in (2, 3):
        last = light.shape[axis] - 1
        index = torch.arange(last + 1, device=light.device)
        total = torch.zeros_like(light)
        for step, weight in zip(range(-reach, reach + 1), weights / weights.sum(), strict=True):
            total += float(weight) * light.index_select(axis, (index + step).clamp(0, last))
        light = total
    return light
