"""What lesions are drawn from: the seven recipes and their structures.

Frequencies and forms: DermNet; Soyer et al.; Mun et al., PLoS ONE 2016 (melanoma); Reiter et al.
2021 (basal cell carcinoma); Zalaudek et al. 2006 (actinic keratosis); Zaballos et al. 2008
(dermatofibroma).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .canvas import Array, Canvas

__all__ = ["RECIPES", "LesionMaps", "Recipe", "draw_lesion"]

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
    chances: Mapping[str, float]  # of each structure
    resembles: tuple[str, ...]  # classes that it is confused with


RECIPES: Mapping[str, Recipe] = {
    "akiec": Recipe(
        radius=(2.8, 4.2), ragged=0.20, edge=(0.5, 1.0), melanin=(0.004, 0.022),
        blood=(0.004, 0.014), mottled=0.45, resembles=("bkl", "bcc"),
        chances={"follicles": 0.85, "scale": 0.8, "vessel_dots": 0.35},
    ),
    "bcc": Recipe(
        radius=(1.6, 3.2), ragged=0.14, edge=(0.35, 0.8), melanin=(0.0, 0.018),
        blood=(0.003, 0.014), mottled=0.4, resembles=("akiec", "bkl", "df"),
        chances={"vessels": 0.75, "nests": 0.55, "ulcer": 0.35, "shine": 0.3},
    ),
    "bkl": Recipe(
        radius=(1.9, 3.5), ragged=0.20, edge=(0.08, 0.3), melanin=(0.010, 0.045),
        blood=(0.0, 0.008), mottled=0.35, resembles=("mel", "nv", "akiec"),
        chances={"ridges": 0.6, "milia": 0.6, "openings": 0.56, "scale": 0.15},
    ),
    "df": Recipe(
        radius=(2.1, 3.4), ragged=0.10, edge=(0.6, 1.2), melanin=(0.022, 0.065),
        blood=(0.003, 0.014), mottled=0.2, resembles=("nv", "bkl", "bcc"),
        chances={"rim_network": 0.72, "scar": 0.7, "vessel_dots": 0.3},
    ),
    "mel": Recipe(
        radius=(1.8, 3.7), ragged=0.26, edge=(0.1, 0.35), melanin=(0.025, 0.12),
        blood=(0.004, 0.018), mottled=0.65, lopsided=0.5, resembles=("nv", "bkl"),
        chances={"network": 0.4, "blotch": 0.55, "dots": 0.55, "veil": 0.55,
                 "regression": 0.4, "streaks": 0.45},
    ),
    "nv": Recipe(
        radius=(1.6, 3.2), ragged=0.11, edge=(0.25, 0.8), melanin=(0.035, 0.13),
        blood=(0.004, 0.016), mottled=0.2, resembles=("mel", "bkl", "df"),
        chances={"network": 0.55, "globules": 0.40},
    ),
    "vasc": Recipe(
        radius=(0.8, 1.9), ragged=0.12, edge=(0.1, 0.35), melanin=(0.0, 0.01),
        blood=(0.06, 0.25), mottled=0.3, resembles=("bcc", "nv", "mel"),
        chances={"lacunae": 0.8, "thrombosis": 0.3, "collarette": 0.2},
    ),
}  # fmt: skip


@dataclass(eq=False)
class LesionMaps:
    """What a lesion adds to skin, ``[S, S]`` each, and the shape that structures fit into."""

    canvas: Canvas
    radius: float  # mm
    depth: Array  # distance inside of the outline, mm, about
    cover: Array  # 0 outside, 1 inside, fading over the edge
    level: float  # its typical melanin
    melanin: Array
    blood: Array
    dermal: Array = field(init=False)
    keratin: Array = field(init=False)

    def __post_init__(self) -> None:
        self.dermal, self.keratin = np.zeros_like(self.cover), np.zeros_like(self.cover)

    def within(self, count: int, reach: float = 0.75) -> tuple[Array, Array]:
        """Points (x, y) mm spread over ``reach`` radii around the centre."""
        random = self.canvas.random
        r, a = self.radius * reach * np.sqrt(random.random(count)), random.uniform(0, 7, count)
        return r * np.cos(a), r * np.sin(a)

    def deep(self, depth: float) -> Array:
        """0 at the outline, 1 from ``depth`` mm inside on."""
        return np.clip(self.depth / depth, 0, 1)

    def replace(self, where: Array, *, melanin: float, blood: float, keratin: float = 0.0) -> None:
        """Fill ``where`` (0..1) with these instead of what is there."""
        self.melanin += where * (melanin - self.melanin)
        self.blood += where * (blood - self.blood)
        self.dermal *= 1 - where
        self.keratin += where * (keratin - self.keratin)


def draw_lesion(canvas: Canvas, kind: str, difficulty: float) -> tuple[LesionMaps, tuple[str, ...]]:
    """Draw a lesion of class ``kind``; also tell which structures it shows.

    With a chance of ``difficulty`` it resembles another class: its size, outline and colour move
    towards that class by 20 to 60 %, and it shows one of that class's structures beside its own.
    """
    random = canvas.random
    own = RECIPES[kind]
    look = _looks(own, random)
    shown = [name for name, chance in own.chances.items() if random.random() < chance]
    other = RECIPES[own.resembles[random.integers(len(own.resembles))]]
    theirs, share = _looks(other, random), random.uniform(0.2, 0.6)
    names = list(other.chances)
    borrowed = names[random.choice(len(names), p=_shares(other.chances))]
    if random.random() < difficulty:
        look = look + share * (theirs - look)
        shown += [borrowed] if borrowed not in shown else []
    lesion = _body(canvas, look)
    for name, structure in _STRUCTURES.items():
        if name in shown:
            structure(lesion)
    return lesion, tuple(sorted(shown))


def _shares(chances: Mapping[str, float]) -> Array:
    values = np.array(list(chances.values()))
    return values / values.sum()


def _looks(recipe: Recipe, random: np.random.Generator) -> Array:
    """Radius, raggedness, edge, melanin (as its logarithm), blood, mottling, lopsidedness."""
    return np.array([
        random.uniform(*recipe.radius),
        recipe.ragged * random.uniform(0.6, 1.4),
        random.uniform(*recipe.edge),
        math.log(0.004 + random.uniform(*recipe.melanin)),
        random.uniform(*recipe.blood),
        recipe.mottled * random.uniform(0.6, 1.4),
        recipe.lopsided * random.uniform(0.4, 1.6),
    ])  # fmt: skip


def _body(canvas: Canvas, look: Array) -> LesionMaps:
    """Outline and plain pigment."""
    random = canvas.random
    radius, ragged, edge, logarithm, blood, mottled, lopsided = map(float, look)
    level = math.exp(logarithm)
    turn, stretch = random.uniform(0, math.pi), math.sqrt(random.uniform(1.0, 1.5))
    c, s = math.cos(turn), math.sin(turn)
    along, across = c * canvas.x + s * canvas.y, c * canvas.y - s * canvas.x
    away = np.hypot(along / stretch, across * stretch) / radius
    wobble = canvas.noise(0.85 * radius) + 0.45 * canvas.noise(0.35 * radius)
    depth = radius * (1 - away + ragged * wobble)
    width = math.hypot(edge, canvas.pixel)
    cover = 1 / (1 + np.exp(np.clip(-4 / width * depth, -30, 30)))
    mottle = np.exp(mottled * (canvas.noise(0.6 * radius) + 0.4 * canvas.noise(0.25)))
    slope = np.clip(1 + lopsided * along / radius, 0.1, 2.5)
    return LesionMaps(
        canvas, radius, depth, cover, level, level * mottle * slope * cover, blood * mottle * cover
    )


# ---------------------------------------------------------------------------- structures


def _network(lesion: LesionMaps) -> None:
    """Rete ridges: a brown grid that fades at the rim."""
    random = lesion.canvas.random
    cells = lesion.canvas.honeycomb(random.uniform(0.38, 0.6), disorder=random.uniform(0.2, 0.4))
    here = np.clip(0.8 + 0.5 * lesion.canvas.noise(0.8), 0, 1.3)
    lesion.melanin *= np.clip(1 + random.uniform(1.0, 1.8) * here * (1 / 3 - cells), 0.1, None)


def _rim_network(lesion: LesionMaps) -> None:
    """The delicate network around a dermatofibroma."""
    random = lesion.canvas.random
    cells = lesion.canvas.honeycomb(random.uniform(0.38, 0.55), disorder=0.2)
    rim = 1 - lesion.deep(0.7 * lesion.radius)
    lesion.melanin *= np.clip(1 + 1.6 * rim * (1 / 3 - cells), 0.1, None)


def _globules(lesion: LesionMaps) -> None:
    """Brown balls of 0.2 to 0.35 mm, all over."""
    random = lesion.canvas.random
    count = int(random.integers(20, 55))
    balls = lesion.canvas.disks(*lesion.within(count, 0.95), random.uniform(0.10, 0.18, count))
    lesion.melanin += random.uniform(0.7, 1.4) * lesion.level * balls * lesion.cover


def _dots(lesion: LesionMaps) -> None:
    """Black dots, off to one side."""
    random = lesion.canvas.random
    count, side = int(random.integers(8, 26)), random.normal(0, 0.35 * lesion.radius, 2)
    x, y = lesion.within(count, 0.5)
    dots = lesion.canvas.disks(x + side[0], y + side[1], random.uniform(0.06, 0.13, count))
    lesion.melanin += 0.18 * dots * lesion.cover


def _blotch(lesion: LesionMaps) -> None:
    """A structureless dark area away from the centre."""
    random = lesion.canvas.random
    patch = _patch(lesion, random.uniform(0.35, 0.6))
    lesion.melanin += random.uniform(0.06, 0.2) * patch


def _veil(lesion: LesionMaps) -> None:
    """Blue-white veil: pigment in the dermis under a whitish haze."""
    random = lesion.canvas.random
    patch = _patch(lesion, random.uniform(0.4, 0.65))
    lesion.dermal += random.uniform(0.015, 0.05) * patch * np.exp(0.6 * lesion.canvas.noise(0.4))
    lesion.melanin *= 1 - 0.7 * patch
    lesion.keratin += random.uniform(0.0, 0.08) * patch


def _regression(lesion: LesionMaps) -> None:
    """White scar where the tumour has gone, peppered with blue-grey."""
    patch = _patch(lesion, lesion.canvas.random.uniform(0.3, 0.55))
    lesion.replace(0.85 * patch, melanin=0.0, blood=0.0, keratin=0.15)
    lesion.dermal += 0.015 * patch * (lesion.canvas.noise(0.15) > 1)


def _streaks(lesion: LesionMaps) -> None:
    """Dark rays over the border, on one side."""
    random, radius = lesion.canvas.random, lesion.radius
    count = int(random.integers(10, 22))
    angle = random.uniform(0, 7) + random.uniform(-1.3, 1.3, count)
    reach = (
        np.stack((random.uniform(0.6, 0.85, count), random.uniform(1.1, 1.4, count)), 1) * radius
    )
    rays = np.stack((reach * np.cos(angle)[:, None], reach * np.sin(angle)[:, None]), 2)
    drawn = lesion.canvas.lines(rays, random.uniform(0.08, 0.18, count))
    near = np.clip(1 + lesion.depth / (0.35 * radius), 0, 1)
    lesion.melanin += 1.2 * lesion.level * drawn * near


def _ridges(lesion: LesionMaps) -> None:
    """Gyri and sulci of a seborrhoeic keratosis: contours of a smooth surface."""
    random = lesion.canvas.random
    surface = lesion.canvas.noise(random.uniform(1.0, 1.8))
    waves = np.cos(random.uniform(5.0, 8.0) * surface)
    lesion.melanin *= 1 + random.uniform(0.4, 0.75) * waves


def _milia(lesion: LesionMaps) -> None:
    """Milia-like cysts: white, round, bright."""
    random = lesion.canvas.random
    count = int(random.integers(4, 16))
    cysts = lesion.canvas.disks(*lesion.within(count), random.uniform(0.08, 0.18, count))
    lesion.replace(0.6 * cysts * lesion.cover, melanin=0.0, blood=0.0, keratin=0.6)


def _openings(lesion: LesionMaps) -> None:
    """Comedo-like openings: brown-black plugs."""
    random = lesion.canvas.random
    count = int(random.integers(3, 13))
    plugs = lesion.canvas.disks(*lesion.within(count), random.uniform(0.09, 0.22, count))
    lesion.melanin += 0.12 * plugs * lesion.cover


def _vessels(lesion: LesionMaps) -> None:
    """Arborising vessels: bright red trees, in focus."""
    random, radius = lesion.canvas.random, lesion.radius
    courses, widths = [], []
    for _ in range(int(random.integers(2, 5))):
        start, heading = random.normal(0, 0.6 * radius, 2), random.uniform(0, 7)
        trunk = _wander(random, start, heading, 1.3 * radius, 0.16)
        courses.append(trunk)
        widths.append(random.uniform(0.09, 0.15))
        for _ in range(int(random.integers(1, 4))):
            fork = trunk[random.integers(3, len(trunk) - 3)]
            aside = heading + random.choice((-1, 1)) * random.uniform(0.4, 1.0)
            courses.append(_wander(random, fork, aside, 0.7 * radius, 0.22))
            widths.append(random.uniform(0.05, 0.09))
    near = np.clip(1.3 + lesion.depth / (0.4 * radius), 0, 1)
    lesion.blood += random.uniform(0.10, 0.20) * lesion.canvas.lines(courses, widths) * near


def _vessel_dots(lesion: LesionMaps) -> None:
    """Dotted and glomerular vessels, in clusters."""
    random = lesion.canvas.random
    count = int(random.integers(15, 45))
    dots = lesion.canvas.disks(*lesion.within(count, 0.85), random.uniform(0.06, 0.11, count))
    lesion.blood += 0.08 * dots * lesion.cover


def _nests(lesion: LesionMaps) -> None:
    """Blue-grey ovoid nests: pigment deep in the dermis, blurred by what lies above."""
    random = lesion.canvas.random
    count = int(random.integers(2, 8))
    x, y = lesion.within(count, 0.8)
    radius = random.uniform(0.18, 0.5, count)
    nests = np.zeros_like(lesion.cover)
    for i in range(count):
        near = ((lesion.canvas.x - x[i]) ** 2 + (lesion.canvas.y - y[i]) ** 2) / radius[i] ** 2
        nests = np.maximum(nests, np.exp(-(near**2)))
    lesion.dermal += random.uniform(0.015, 0.04) * nests * lesion.cover


def _ulcer(lesion: LesionMaps) -> None:
    """A sore: dark red crust."""
    x, y = lesion.within(1, 0.4)
    near = np.hypot(lesion.canvas.x - x[0], lesion.canvas.y - y[0])
    rough = 0.15 * lesion.canvas.noise(0.35)
    sore = np.clip(3 * (1 - near / lesion.canvas.random.uniform(0.35, 0.75) + rough), 0, 1)
    lesion.blood += 0.15 * sore * lesion.cover
    lesion.melanin += 0.05 * sore * lesion.cover


def _shine(lesion: LesionMaps) -> None:
    """Shiny white blotches and strands."""
    random = lesion.canvas.random
    count = int(random.integers(5, 14))
    x, y = lesion.within(count, 0.7)
    angle = random.choice((0.0, math.pi / 2), count) + random.normal(0, 0.25, count)
    half = 0.5 * random.uniform(0.3, 0.8, (count, 1)) * np.stack((np.cos(angle), np.sin(angle)), 1)
    middle = np.stack((x, y), 1)
    strands = np.stack((middle - half, middle + half), 1)
    lesion.keratin += 0.3 * lesion.canvas.lines(strands, random.uniform(0.07, 0.14, count))


def _follicles(lesion: LesionMaps) -> None:
    """Red pseudonetwork: red between pale follicles ("strawberry")."""
    random = lesion.canvas.random
    cells = lesion.canvas.honeycomb(random.uniform(0.6, 0.95), disorder=random.uniform(0.2, 0.4))
    lesion.blood += random.uniform(0.010, 0.025) * lesion.cover * np.clip(1 - 1.7 * cells, 0, 1)
    lesion.keratin += random.uniform(0.08, 0.2) * lesion.cover * np.clip(2.4 * cells - 1.2, 0, 1)


def _scale(lesion: LesionMaps) -> None:
    """Patches of white to yellow scale."""
    canvas = lesion.canvas
    rough = canvas.noise(0.9) + 0.7 * canvas.noise(0.3) - canvas.random.uniform(0.6, 1.2)
    lesion.keratin += canvas.random.uniform(0.2, 0.45) * lesion.cover * np.clip(0.8 * rough, 0, 1)


def _scar(lesion: LesionMaps) -> None:
    """White scar-like patch in the centre of a dermatofibroma."""
    random = lesion.canvas.random
    start = random.uniform(0.45, 0.65) * lesion.radius
    rough = 0.1 * lesion.radius * lesion.canvas.noise(0.5)
    patch = np.clip((lesion.depth - start + rough) / (0.25 * lesion.radius), 0, 1)
    lesion.replace(0.85 * patch, melanin=0.0, blood=0.002, keratin=random.uniform(0.12, 0.3))


def _lacunae(lesion: LesionMaps) -> None:
    """Red to purple lakes between pale septa."""
    random = lesion.canvas.random
    cells = lesion.canvas.honeycomb(random.uniform(0.5, 0.95), disorder=0.35)
    lesion.blood *= 0.15 + 1.1 * np.clip(2.2 * cells, 0, 1)


def _thrombosis(lesion: LesionMaps) -> None:
    """Dark lakes: clotted blood, blue-black."""
    patch = _patch(lesion, lesion.canvas.random.uniform(0.5, 1.1))
    lesion.dermal += 0.08 * patch
    lesion.melanin += 0.12 * patch


def _collarette(lesion: LesionMaps) -> None:
    """White scaly rim of a pyogenic granuloma."""
    rim = np.exp(-(((lesion.depth - 0.05) / 0.16) ** 2))
    lesion.keratin += 0.45 * rim


_STRUCTURES: Mapping[str, Callable[[LesionMaps], None]] = {
    "network": _network,
    "rim_network": _rim_network,
    "ridges": _ridges,
    "lacunae": _lacunae,
    "follicles": _follicles,
    "blotch": _blotch,
    "globules": _globules,
    "dots": _dots,
    "streaks": _streaks,
    "veil": _veil,
    "thrombosis": _thrombosis,
    "nests": _nests,
    "regression": _regression,
    "scar": _scar,
    "vessels": _vessels,
    "vessel_dots": _vessel_dots,
    "ulcer": _ulcer,
    "openings": _openings,
    "milia": _milia,
    "shine": _shine,
    "scale": _scale,
    "collarette": _collarette,
}


def _patch(lesion: LesionMaps, size: float) -> Array:
    """A soft irregular patch of ``size`` radii, off the centre, inside of the lesion."""
    x, y = lesion.within(1, 0.6)
    away = np.hypot(lesion.canvas.x - x[0], lesion.canvas.y - y[0]) / (size * lesion.radius)
    rough = 0.3 * lesion.canvas.noise(0.35 * lesion.radius)
    return np.clip(2.5 * (1 - away + rough), 0, 1) * lesion.deep(0.2)


def _wander(
    random: np.random.Generator, start: Array, heading: float, length: float, turning: float
) -> Array:
    """A random walk of ``length`` mm, points ``[n, 2]``."""
    steps = 20
    course = heading + np.cumsum(random.normal(0, turning, steps))
    step = length / steps * np.stack((np.cos(course), np.sin(course)), 1)
    return start + np.concatenate((np.zeros((1, 2)), np.cumsum(step, 0)))
