"""The seven recipes, and the lesions that are drawn from them.

Frequencies and forms: DermNet; Soyer et al.; Mun et al., PLoS ONE 2016 (melanoma); Reiter et al.
2021 (basal cell carcinoma); Zalaudek et al. 2006 (actinic keratosis); Zaballos et al. 2008
(dermatofibroma). Amounts of pigment: set so that the contrast of the classes is that of HAM10000.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from .canvas import Canvas
from .dataset import LESION_CLASSES
from .draws import Draws
from .structures import PAINTERS, STRUCTURES, LesionMaps

__all__ = ["RECIPES", "Recipe", "draw_lesion"]

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A class: ranges of its size and pigment, chances of its structures."""

    radius: Range  # mm
    ragged: float  # variation of the outline, in radii
    edge: Range  # width over which it fades, mm
    melanin: Range  # volume fraction of melanosomes added in the epidermis
    blood: Range  # volume fraction of blood added in the dermis
    mottled: float  # variation of the pigment, natural logarithm
    lopsided: float = 0.0  # gradient of the pigment from side to side
    weathered: float = 1.0  # factor on how uneven the skin around it is
    chances: Mapping[str, float]  # of each structure
    resembles: tuple[str, ...]  # classes that it is confused with


RECIPES: Mapping[str, Recipe] = {
    "akiec": Recipe(
        radius=(2.8, 4.2), ragged=0.20, edge=(0.5, 1.0), melanin=(0.001, 0.013),
        blood=(0.002, 0.008), mottled=1.1, lopsided=0.5, weathered=1.7, resembles=("bkl", "bcc"),
        chances={"follicles": 0.85, "scale": 0.8, "vessel_dots": 0.35},
    ),
    "bcc": Recipe(
        radius=(1.6, 3.2), ragged=0.14, edge=(0.35, 0.8), melanin=(0.0, 0.010),
        blood=(0.002, 0.012), mottled=0.8, lopsided=0.5, weathered=1.1,
        resembles=("akiec", "bkl", "df"),
        chances={"vessels": 0.75, "nests": 0.55, "ulcer": 0.35, "shine": 0.3},
    ),
    "bkl": Recipe(
        radius=(1.9, 3.5), ragged=0.20, edge=(0.08, 0.3), melanin=(0.006, 0.030),
        blood=(0.0, 0.009), mottled=0.85, lopsided=0.5, resembles=("mel", "nv", "akiec"),
        chances={"ridges": 0.6, "milia": 0.6, "openings": 0.56, "scale": 0.15},
    ),
    "df": Recipe(
        radius=(2.1, 3.4), ragged=0.10, edge=(0.6, 1.2), melanin=(0.020, 0.060),
        blood=(0.003, 0.014), mottled=0.25, resembles=("nv", "bkl", "bcc"),
        chances={"rim_network": 0.72, "scar": 0.7, "vessel_dots": 0.3},
    ),
    "mel": Recipe(
        radius=(1.8, 3.7), ragged=0.26, edge=(0.1, 0.35), melanin=(0.015, 0.110),
        blood=(0.008, 0.032), mottled=0.8, lopsided=0.5, resembles=("nv", "bkl"),
        chances={"network": 0.4, "blotch": 0.55, "dots": 0.55, "veil": 0.55,
                 "regression": 0.4, "streaks": 0.45},
    ),
    "nv": Recipe(
        radius=(1.6, 3.2), ragged=0.11, edge=(0.25, 0.8), melanin=(0.028, 0.103),
        blood=(0.005, 0.020), mottled=0.35, resembles=("mel", "bkl", "df"),
        chances={"network": 0.55, "globules": 0.40},
    ),
    "vasc": Recipe(
        radius=(0.8, 1.9), ragged=0.12, edge=(0.1, 0.35), melanin=(0.0, 0.01),
        blood=(0.055, 0.26), mottled=0.6, resembles=("bcc", "nv", "mel"),
        chances={"lacunae": 0.8, "thrombosis": 0.3, "collarette": 0.2},
    ),
}  # fmt: skip

_FAINT = math.log(3)  # at the outline, where people see a lesion end, it has 1/4 of its pigment
_RADIUS: Final = min(recipe.radius[0] for recipe in RECIPES.values())

# What the recipes say, by class: least and greatest of what a lesion draws, chances, likeness.
_LIMITS = torch.tensor([
    [
        recipe.radius, (0.6 * recipe.ragged, 1.4 * recipe.ragged), recipe.edge, recipe.melanin,
        recipe.blood, (0.6 * recipe.mottled, 1.4 * recipe.mottled),
        (0.4 * recipe.lopsided, 1.6 * recipe.lopsided),
        (0.7 * recipe.weathered, 1.3 * recipe.weathered),
    ]
    for recipe in (RECIPES[name] for name in LESION_CLASSES)
])  # fmt: skip
_CHANCES = torch.tensor(
    [
        [RECIPES[name].chances.get(structure, 0.0) for structure in STRUCTURES]
        for name in LESION_CLASSES
    ]
)
_LIKE = torch.tensor(
    [
        [float(other in RECIPES[name].resembles) for other in LESION_CLASSES]
        for name in LESION_CLASSES
    ]
)


def draw_lesion(
    canvas: Canvas, labels: Tensor, draws: Draws, *, difficulty: float, trace: bool = False
) -> tuple[LesionMaps, Tensor, Tensor | None]:
    """Draw lesions of the classes ``labels``, int64 ``[B]``.

    With a chance of ``difficulty`` a lesion resembles another class: its size, outline and colour
    move towards that class by 20 to 60 %, and it shows one of that class's structures beside its
    own.

    Returns
    -------
    lesions : LesionMaps
    shown : Tensor, bool ``[B, STRUCTURES]``
        Which structures each shows.
    where : Tensor ``[B, STRUCTURES, S, S]`` or None
        Where each structure is, 0..1, if ``trace``.
    """
    device = labels.device
    chances, like = _CHANCES.to(device), _LIKE.to(device)
    random = draws.stream(1)
    other = _pick(like[labels], random.uniform())
    look, theirs = _looks(labels, random), _looks(other, random)
    count = len(STRUCTURES)
    shown = random.uniform(count=count) < chances[labels]
    borrowed = _pick(chances[other], random.uniform())
    share, resembles = random.uniform(0.2, 0.6), random.uniform() < difficulty
    look = look + share * resembles * (theirs - look)
    shown |= resembles & (borrowed[:, None] == torch.arange(count, device=device))
    lesion = _body(canvas, look, draws.stream(2))
    where = canvas.x.new_zeros(len(labels), count, canvas.size, canvas.size) if trace else None
    for number, name in enumerate(STRUCTURES):
        rows = torch.nonzero(shown[:, number])[:, 0]
        if len(rows) > 0:
            part = lesion.of(rows)
            drawn = PAINTERS[name](part, draws.stream(10 + number).of(rows))
            lesion.put(rows, part)
            if where is not None:
                where[rows, number] = drawn
    return lesion, shown, where


def _pick(weights: Tensor, at: Tensor) -> Tensor:
    """Column ``[B]`` of ``weights`` ``[B, K]`` that ``at`` ``[B, 1]`` in [0, 1) falls on."""
    edges = weights.cumsum(1)
    return (edges <= at * edges[:, -1:]).sum(1).clamp(max=weights.shape[1] - 1)


def _looks(labels: Tensor, random: Draws) -> Tensor:
    """What _LIMITS limits, in its order, ``[B, 8]``; melanin as its logarithm."""
    low, high = _LIMITS.to(labels.device)[labels].unbind(2)
    look = random.uniform(low, high, count=low.shape[1])
    look[:, 3] = torch.log(0.004 + look[:, 3])
    return look


def _body(canvas: Canvas, look: Tensor, random: Draws) -> LesionMaps:
    """Outline and plain pigment."""
    radius, ragged, edge, logarithm, blood, mottled, lopsided, weathered = look[
        ..., None, None
    ].unbind(1)
    level = torch.exp(logarithm)
    turn = random.uniform(0, math.pi)[..., None]
    stretch = torch.sqrt(random.uniform(1.0, 1.5))[..., None]
    c, s = torch.cos(turn), torch.sin(turn)
    along, across = c * canvas.x + s * canvas.y, c * canvas.y - s * canvas.x
    away = torch.hypot(along / stretch, across * stretch) / radius
    wobble = canvas.noise(random, 0.85 * radius, least=0.85 * _RADIUS)
    wobble += 0.45 * canvas.noise(random, 0.35 * radius, least=0.35 * _RADIUS)
    depth = radius * (1 - away + ragged * wobble)
    cover = torch.sigmoid(4 / torch.hypot(edge, canvas.pixel) * depth - _FAINT)
    spots = canvas.noise(random, 0.6 * radius, least=0.6 * _RADIUS)
    mottle = torch.exp(mottled * (spots + 0.4 * canvas.noise(random, 0.25)))
    slope = (1 + lopsided * along / radius).clamp(0.1, 2.5)
    mottle *= cover
    return LesionMaps(
        canvas=canvas,
        radius=radius,
        depth=depth,
        cover=cover,
        level=level,
        weathered=weathered,
        melanin=level * slope * mottle,
        blood=blood * mottle,
        dermal=torch.zeros_like(cover),
        keratin=torch.zeros_like(cover),
    )
