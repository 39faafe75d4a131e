"""The structures of dermoscopy: each adds its pigment to lesions and tells where it is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from .canvas import Canvas
from .draws import Draws

__all__ = ["PAINTERS", "STRUCTURES", "LesionMaps"]

_RADIUS: Final = (0.8, 4.2)  # mm; of all lesions


@dataclass(eq=False, kw_only=True)
class LesionMaps:
    """What B lesions add to skin, and the shapes that structures fit into."""

    canvas: Canvas
    radius: Tensor
    """mm, ``[B, 1, 1]``."""
    depth: Tensor
    """Distance inside of the outline, mm, about, ``[B, S, S]``."""
    cover: Tensor
    """0 outside, 1 inside, fading over the edge."""
    level: Tensor
    """Typical melanin, ``[B, 1, 1]``."""
    weathered: Tensor
    """Factor on how uneven the skin around it is, ``[B, 1, 1]``."""
    melanin: Tensor
    blood: Tensor
    dermal: Tensor
    keratin: Tensor

    def of(self, rows: Tensor) -> "LesionMaps":
        """A copy of some of the lesions."""
        return LesionMaps(
            canvas=self.canvas.of(rows),
            radius=self.radius[rows],
            depth=self.depth[rows],
            cover=self.cover[rows],
            level=self.level[rows],
            weathered=self.weathered[rows],
            melanin=self.melanin[rows],
            blood=self.blood[rows],
            dermal=self.dermal[rows],
            keratin=self.keratin[rows],
        )

    def put(self, rows: Tensor, part: "LesionMaps") -> None:
        """Take over the pigment of a part."""
        self.melanin[rows] = part.melanin
        self.blood[rows] = part.blood
        self.dermal[rows] = part.dermal
        self.keratin[rows] = part.keratin

    def within(self, draws: Draws, count: int, reach: float = 0.75) -> tuple[Tensor, Tensor]:
        """Points (x, y) mm ``[B, count]`` spread over ``reach`` radii around the centre."""
        r = reach * self.radius[..., 0] * torch.sqrt(draws.uniform(count=count))
        a = draws.uniform(0, 7, count)
        return r * torch.cos(a), r * torch.sin(a)

    def deep(self, depth: float | Tensor) -> Tensor:
        """0 at the outline, 1 from ``depth`` mm inside on."""
        return (self.depth / depth).clamp(0, 1)

    def replace(
        self, where: Tensor, *, melanin: float, blood: float, keratin: float | Tensor
    ) -> None:
        """Fill ``where`` (0..1) with these instead of what is there."""
        self.melanin += where * (melanin - self.melanin)
        self.blood += where * (blood - self.blood)
        self.dermal *= 1 - where
        self.keratin += where * (keratin - self.keratin)


Painter: TypeAlias = Callable[[LesionMaps, Draws], Tensor]


def _one(draws: Draws, low: float, high: float) -> Tensor:
    """A number a lesion, to multiply maps with: ``[B, 1, 1]``."""
    return draws.uniform(low, high)[..., None]


def _some(draws: Draws, low: int, high: int) -> Tensor:
    """The first low..high - 1 of ``high - 1`` things are there: 1.0 or 0.0, ``[B, high - 1]``."""
    number = draws.integers(low, high)
    return (torch.arange(high - 1, device=number.device) < number).float()


def _network(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Rete ridges: a brown grid that fades at the rim."""
    disorder = _one(draws, 0.2, 0.4)
    cells = lesion.canvas.honeycomb(draws, _one(draws, 0.38, 0.6), least=0.38, disorder=disorder)
    here = (0.8 + 0.5 * lesion.canvas.noise(draws, 0.8)).clamp(0, 1.3)
    lesion.melanin *= (1 + _one(draws, 1.0, 1.8) * here * (1 / 3 - cells)).clamp(min=0.1)
    return lesion.cover * (1 - cells)


def _rim_network(lesion: LesionMaps, draws: Draws) -> Tensor:
    """The delicate network around a dermatofibroma."""
    cells = lesion.canvas.honeycomb(draws, _one(draws, 0.38, 0.55), least=0.38)
    rim = 1 - lesion.deep(0.7 * lesion.radius)
    lesion.melanin *= (1 + 1.6 * rim * (1 / 3 - cells)).clamp(min=0.1)
    return lesion.cover * rim * (1 - cells)


def _globules(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Brown balls of 0.2 to 0.35 mm, all over."""
    some = _some(draws, 20, 55)
    x, y = lesion.within(draws, 54, 0.95)
    balls = lesion.canvas.disks(
        x, y, draws.uniform(0.10, 0.18, 54), largest=0.18, level=some
    )  # fmt: skip
    balls *= lesion.cover
    lesion.melanin += _one(draws, 0.7, 1.4) * lesion.level * balls
    return balls


def _dots(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Black dots, off to one side."""
    some = _some(draws, 8, 26)
    side = 0.35 * lesion.radius[..., 0] * draws.normal(count=2)
    x, y = lesion.within(draws, 25, 0.5)
    radius = draws.uniform(0.06, 0.13, 25)
    dots = lesion.canvas.disks(x + side[:, :1], y + side[:, 1:], radius, largest=0.13, level=some)
    dots *= lesion.cover
    lesion.melanin += 0.18 * dots
    return dots


def _blotch(lesion: LesionMaps, draws: Draws) -> Tensor:
    """A structureless dark area away from the centre."""
    patch = _patch(lesion, draws, 0.35, 0.6)
    lesion.melanin += _one(draws, 0.06, 0.2) * patch
    return patch


def _veil(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Blue-white veil: pigment in the dermis under a whitish haze."""
    patch = _patch(lesion, draws, 0.4, 0.65)
    cloudy = torch.exp(0.6 * lesion.canvas.noise(draws, 0.4))
    lesion.dermal += _one(draws, 0.015, 0.05) * patch * cloudy
    lesion.melanin *= 1 - 0.7 * patch
    lesion.keratin += _one(draws, 0.0, 0.08) * patch
    return patch


def _regression(lesion: LesionMaps, draws: Draws) -> Tensor:
    """White scar where the tumour has gone, peppered with blue-grey."""
    patch = _patch(lesion, draws, 0.3, 0.55)
    lesion.replace(0.85 * patch, melanin=0.0, blood=0.0, keratin=0.15)
    lesion.dermal += 0.015 * patch * (lesion.canvas.noise(draws, 0.15) > 1)
    return patch


def _streaks(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Dark rays over the border, on one side."""
    some = _some(draws, 10, 22)
    angle = draws.uniform(0, 7) + draws.uniform(-1.3, 1.3, 21)
    near, far = draws.uniform(0.6, 0.85, 21), draws.uniform(1.1, 1.4, 21)
    steps = torch.linspace(0, 1, 9, device=near.device)
    reach = lesion.radius * (near[..., None] + (far - near)[..., None] * steps)
    rays = torch.stack(
        (reach * torch.cos(angle)[..., None], reach * torch.sin(angle)[..., None]), 3
    )
    widths, longest = draws.uniform(0.08, 0.18, 21), (1.4 - 0.6) * _RADIUS[1] / 8
    drawn = lesion.canvas.lines(rays, widths, longest=longest, widest=0.18, level=some)
    drawn *= (1 + lesion.depth / (0.35 * lesion.radius)).clamp(0, 1)
    lesion.melanin += 1.2 * lesion.level * drawn
    return drawn


def _ridges(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Gyri and sulci of a seborrhoeic keratosis: contours of a smooth surface."""
    surface = lesion.canvas.noise(draws, _one(draws, 1.0, 1.8), least=1.0)
    waves = torch.cos(_one(draws, 5.0, 8.0) * surface)
    lesion.melanin *= 1 + _one(draws, 0.4, 0.75) * waves
    return lesion.cover * (0.5 + 0.5 * waves)


def _milia(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Milia-like cysts: white, round, bright."""
    some = _some(draws, 4, 16)
    x, y = lesion.within(draws, 15)
    cysts = lesion.canvas.disks(x, y, draws.uniform(0.08, 0.18, 15), largest=0.18, level=some)
    cysts *= lesion.cover
    lesion.replace(0.6 * cysts, melanin=0.0, blood=0.0, keratin=0.6)
    return cysts


def _openings(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Comedo-like openings: brown-black plugs."""
    some = _some(draws, 3, 13)
    x, y = lesion.within(draws, 12)
    plugs = lesion.canvas.disks(x, y, draws.uniform(0.09, 0.22, 12), largest=0.22, level=some)
    plugs *= lesion.cover
    lesion.melanin += 0.12 * plugs
    return plugs


def _vessels(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Arborising vessels: bright red trees, in focus."""
    radius = lesion.radius[..., 0]
    trees, forks = 4, 3
    grown = _some(draws, 2, trees + 1)
    start = 0.6 * radius * draws.normal(count=2 * trees)
    heading = draws.uniform(0, 7, trees)
    trunks = _wander(draws, start.unflatten(1, (trees, 2)), heading, 1.3 * radius, 0.16)
    place = draws.integers(3, 18, trees * forks).long().unflatten(1, (trees, forks))
    fork = trunks.gather(2, place[..., None].expand(-1, -1, -1, 2)).flatten(1, 2)
    side = 2 * draws.integers(0, 2, trees * forks) - 1
    aside = heading.repeat_interleave(forks, 1) + side * draws.uniform(0.4, 1.0, trees * forks)
    twigs = _wander(draws, fork, aside, 0.7 * radius, 0.22)
    number = draws.integers(1, forks + 1, trees)[..., None]
    sprouted = (torch.arange(forks, device=number.device) < number) * grown[..., None]
    drawn = lesion.canvas.lines(
        torch.cat((trunks, twigs), 1),
        torch.cat((draws.uniform(0.09, 0.15, trees), draws.uniform(0.05, 0.09, trees * forks)), 1),
        longest=1.3 * _RADIUS[1] / 20, widest=0.15,
        level=torch.cat((grown, sprouted.flatten(1)), 1),
    )  # fmt: skip
    drawn *= (1.3 + lesion.depth / (0.4 * lesion.radius)).clamp(0, 1)
    lesion.blood += _one(draws, 0.10, 0.20) * drawn
    return drawn


def _vessel_dots(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Dotted and glomerular vessels, in clusters."""
    some = _some(draws, 15, 45)
    x, y = lesion.within(draws, 44, 0.85)
    dots = lesion.canvas.disks(x, y, draws.uniform(0.06, 0.11, 44), largest=0.11, level=some)
    dots *= lesion.cover
    lesion.blood += 0.08 * dots
    return dots


def _nests(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Blue-grey ovoid nests: pigment deep in the dermis, blurred by what lies above."""
    some = _some(draws, 2, 8)
    x, y = lesion.within(draws, 7, 0.8)
    radius = draws.uniform(0.18, 0.5, 7)
    nests = torch.zeros_like(lesion.cover)
    for i in range(7):
        centre = (part[:, i, None, None] for part in (x, y, radius, some))
        cx, cy, r, there = centre
        near = ((lesion.canvas.x - cx) ** 2 + (lesion.canvas.y - cy) ** 2) / r**2
        nests = torch.maximum(nests, there * torch.exp(-(near**2)))
    nests *= lesion.cover
    lesion.dermal += _one(draws, 0.015, 0.04) * nests
    return nests


def _ulcer(lesion: LesionMaps, draws: Draws) -> Tensor:
    """A sore: dark red crust."""
    away = _away(lesion, draws, 0.4)
    rough = 0.15 * lesion.canvas.noise(draws, 0.35)
    sore = (3 * (1 - away / _one(draws, 0.35, 0.75) + rough)).clamp(0, 1) * lesion.cover
    lesion.blood += 0.15 * sore
    lesion.melanin += 0.05 * sore
    return sore


def _shine(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Shiny white blotches and strands."""
    some = _some(draws, 5, 14)
    x, y = lesion.within(draws, 13, 0.7)
    angle = math.pi / 2 * draws.integers(0, 2, 13) + draws.normal(0, 0.25, 13)
    half = draws.uniform(0.3, 0.8, 13)[..., None] * torch.linspace(-0.5, 0.5, 3, device=x.device)
    strands = torch.stack(
        (
            x[..., None] + half * torch.cos(angle)[..., None],
            y[..., None] + half * torch.sin(angle)[..., None],
        ),
        3,
    )
    widths = draws.uniform(0.07, 0.14, 13)
    drawn = lesion.canvas.lines(strands, widths, longest=0.4, widest=0.14, level=some)
    lesion.keratin += 0.3 * drawn
    return drawn


def _follicles(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Red pseudonetwork: red between pale follicles ("strawberry")."""
    disorder = _one(draws, 0.2, 0.4)
    cells = lesion.canvas.honeycomb(draws, _one(draws, 0.6, 0.95), least=0.6, disorder=disorder)
    follicles = lesion.cover * (2.4 * cells - 1.2).clamp(0, 1)
    lesion.blood += _one(draws, 0.010, 0.025) * lesion.cover * (1 - 1.7 * cells).clamp(0, 1)
    lesion.keratin += _one(draws, 0.08, 0.2) * follicles
    return follicles


def _scale(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Patches of white to yellow scale."""
    canvas = lesion.canvas
    rough = canvas.noise(draws, 0.9) + 0.7 * canvas.noise(draws, 0.3) - _one(draws, 0.6, 1.2)
    scale = lesion.cover * (0.8 * rough).clamp(0, 1)
    lesion.keratin += _one(draws, 0.2, 0.45) * scale
    return scale


def _scar(lesion: LesionMaps, draws: Draws) -> Tensor:
    """White scar-like patch in the centre of a dermatofibroma."""
    start = _one(draws, 0.45, 0.65) * lesion.radius
    rough = 0.1 * lesion.radius * lesion.canvas.noise(draws, 0.5)
    patch = ((lesion.depth - start + rough) / (0.25 * lesion.radius)).clamp(0, 1)
    lesion.replace(0.85 * patch, melanin=0.0, blood=0.002, keratin=_one(draws, 0.12, 0.3))
    return patch


def _lacunae(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Red to purple lakes between pale septa."""
    cells = lesion.canvas.honeycomb(draws, _one(draws, 0.5, 0.95), least=0.5, disorder=0.35)
    lakes = (2.2 * cells).clamp(0, 1)
    lesion.blood *= 0.15 + 1.1 * lakes
    return lesion.cover * lakes


def _thrombosis(lesion: LesionMaps, draws: Draws) -> Tensor:
    """Dark lakes: clotted blood, blue-black."""
    patch = _patch(lesion, draws, 0.5, 1.1)
    lesion.dermal += 0.08 * patch
    lesion.melanin += 0.12 * patch
    return patch


def _collarette(lesion: LesionMaps, draws: Draws) -> Tensor:
    """White scaly rim of a pyogenic granuloma."""
    rim = torch.exp(-(((lesion.depth - 0.05) / 0.16) ** 2))
    lesion.keratin += _one(draws, 0.35, 0.55) * rim
    return rim


#: How each is drawn; later ones over earlier ones.
PAINTERS: Final[Mapping[str, Painter]] = {
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

#: Names of the structures, in the order in which they are drawn.
STRUCTURES: Final = tuple(PAINTERS)


def _away(lesion: LesionMaps, draws: Draws, reach: float) -> Tensor:
    """Distance from a point within ``reach`` radii, mm ``[B, S, S]``."""
    x, y = lesion.within(draws, 1, reach)
    return torch.hypot(lesion.canvas.x - x[..., None], lesion.canvas.y - y[..., None])


def _patch(lesion: LesionMaps, draws: Draws, low: float, high: float) -> Tensor:
    """A soft irregular patch of low..high radii, off the centre, inside of the lesion."""
    size = _one(draws, low, high)
    away = _away(lesion, draws, 0.6) / (size * lesion.radius)
    rough = 0.3 * lesion.canvas.noise(draws, 0.35 * lesion.radius, least=0.35 * _RADIUS[0])
    return (2.5 * (1 - away + rough)).clamp(0, 1) * lesion.deep(0.2)


def _wander(draws: Draws, start: Tensor, heading: Tensor, length: Tensor, turning: float) -> Tensor:
    """Random walks of ``length`` ``[B, 1]`` mm from ``start`` ``[B, L, 2]``: ``[B, L, 21, 2]``."""
    walks, steps = heading.shape[1], 20
    turns = draws.normal(0, turning, walks * steps).unflatten(1, (walks, steps))
    course = heading[..., None] + turns.cumsum(2)
    way = torch.stack((torch.cos(course), torch.sin(course)), 3).cumsum(2)
    way = torch.nn.functional.pad(way, (0, 0, 1, 0))
    return start[:, :, None] + length[..., None, None] / steps * way
