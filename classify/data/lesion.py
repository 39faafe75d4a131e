"""What a procedural lesion consists of: its outline, its structures, its maps of pigment.

Lengths are millimetres in the lesion's own frame. The structures of each class and their
frequencies follow DermNet; Mun et al., PLoS ONE 2016 (melanoma); Reiter et al. 2021 (basal cell
carcinoma); Zalaudek et al. 2006 (actinic keratosis); Zaballos et al. 2008 (dermatofibroma).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FIELD", "RECIPES", "Canvas", "Recipe", "outline", "pigment"]

Array = npt.NDArray[Any]
Random = np.random.Generator

FIELD = 9.0
"""Side of the field of view, mm: that of a 150 pixel crop of a HAM10000 frame."""


@dataclass(frozen=True)
class Recipe:
    """What the lesions of a class are drawn from; pairs are ranges, fractions chances."""

    radius: tuple[float, float]  # mm
    ragged: float  # relative variation of the outline
    edge: tuple[float, float]  # width over which it fades, mm
    melanin: tuple[float, float]
    blood: tuple[float, float] = (0.0, 0.0)
    mottled: float = 0.2  # relative variation of the pigment inside
    shift: float = 0.0  # asymmetry: gradient of pigment across the lesion
    network: float = 0.0
    globules: float = 0.0
    dots: float = 0.0
    veil: float = 0.0
    regression: float = 0.0
    streaks: float = 0.0
    ridges: float = 0.0
    milia: float = 0.0
    openings: float = 0.0
    vessels: float = 0.0
    nests: float = 0.0
    ulcer: float = 0.0
    follicles: float = 0.0
    scale: float = 0.0
    scar: float = 0.0
    lacunae: float = 0.0
    collarette: float = 0.0


RECIPES = {
    "akiec": Recipe(
        (2.0, 3.6), 0.14, (0.3, 0.7), (0.005, 0.03), (0.008, 0.03), 0.5,
        follicles=0.8, scale=0.8, dots=0.15, vessels=0.15,
    ),
    "bcc": Recipe(
        (1.7, 3.1), 0.12, (0.2, 0.5), (0.0, 0.02), (0.004, 0.016), 0.4,
        vessels=0.75, nests=0.55, ulcer=0.35, scale=0.15,
    ),
    "bkl": Recipe(
        (1.9, 3.5), 0.16, (0.04, 0.15), (0.008, 0.055), (0.0, 0.006), 0.35,
        ridges=0.5, milia=0.54, openings=0.56, scale=0.15,
    ),
    "df": Recipe(
        (1.9, 3.3), 0.08, (0.3, 0.6), (0.02, 0.08), (0.0, 0.015), 0.15,
        network=0.72, scar=0.6, vessels=0.2,
    ),
    "mel": Recipe(
        (2.0, 3.6), 0.20, (0.06, 0.2), (0.03, 0.16), (0.0, 0.015), 0.55, shift=0.6,
        network=0.4, dots=0.5, veil=0.5, regression=0.35, streaks=0.4, globules=0.2,
    ),
    "nv": Recipe(
        (1.6, 3.2), 0.09, (0.12, 0.45), (0.03, 0.12), (0.0, 0.012), 0.25, shift=0.15,
        network=0.45, globules=0.3,
    ),
    "vasc": Recipe(
        (0.9, 2.2), 0.10, (0.06, 0.15), (0.0, 0.01), (0.04, 0.22), 0.3,
        lacunae=0.8, veil=0.25, collarette=0.2,
    ),
}  # fmt: skip


class Canvas:
    """The field of view in the lesion's own coordinates, and ways to draw on it."""

    def __init__(self, size: int, random: Random, pose: tuple[float, float, float, float]) -> None:
        angle, zoom, right, down = pose
        steps = ((np.arange(size) - (size - 1) / 2) * (FIELD / size)).astype(np.float32)
        y, x = steps[:, None] - down, steps[None, :] - right
        c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
        self.x, self.y = c * x + s * y, -s * x + c * y
        self.random, self.size = random, size
        self.pixel = FIELD / size / zoom

    def noise(self, wavelength: float) -> Array:
        """Smooth noise of unit variance with structures of about ``wavelength`` mm."""
        waves = 6
        angles = self.random.uniform(0, 2 * math.pi, (2, waves))
        k = 2 * math.pi / wavelength * self.random.uniform(0.5, 1.2, waves)
        kx, ky = k * np.cos(angles[0]), k * np.sin(angles[0])
        total = np.zeros_like(self.x)
        for i in range(waves):
            total += np.cos(float(kx[i]) * self.x + float(ky[i]) * self.y + float(angles[1, i]))
        return total * math.sqrt(2 / waves)

    def cloud(self, wavelength: float) -> Array:
        """Noise of unit variance with structures from ``wavelength`` mm down to a tenth of it."""
        finest = 2 * self.pixel
        return (
            0.75 * self.noise(max(wavelength, finest))
            + 0.55 * self.noise(max(wavelength / 2.5, finest))
            + 0.37 * self.noise(max(wavelength / 6, finest))
        )

    def lattice(self, pitch: float) -> Array:
        """Irregular hexagonal lattice: 1 at the centres of its cells, 0 on their walls."""
        bend = 0.18 * pitch
        x = self.x + bend * self.noise(3 * pitch)
        y = self.y + bend * self.noise(3 * pitch)
        turn = self.random.uniform(0, math.pi / 3)
        total = 0.0
        for i in range(3):
            a = turn + i * 2 * math.pi / 3
            total = total + np.cos(
                (4 * math.pi / (math.sqrt(3) * pitch)) * (x * math.cos(a) + y * math.sin(a))
            )
        cells = (np.asarray(total) + 1.5) / 4.5
        # What the pixels cannot resolve is seen as its mean.
        seen = min(1.0, max(0.0, (pitch / self.pixel - 1.5) / 2))
        return 0.33 + (cells - 0.33) * seen

    def spots(self, x: Array, y: Array, radius: Array) -> Array:
        """Soft disks at (x, y) mm; one where any of them is full."""
        total = np.zeros((self.size, self.size))
        for px, py, r in zip(x, y, np.maximum(radius, 0.35 * self.pixel), strict=True):
            distance = ((self.x - px) ** 2 + (self.y - py) ** 2) / (r * r)
            total = np.maximum(total, np.exp(-(distance**2)))
        faint = np.minimum(1.0, (np.mean(radius) / (0.35 * self.pixel)) ** 2)
        return total * faint

    def paths(self, starts: Array, headings: Array, length: float, width: float) -> Array:
        """Wandering lines from ``starts`` [n, 2] mm; 1 on them."""
        step = max(self.pixel, 0.06)
        count = max(2, int(length / step))
        turns = np.cumsum(self.random.normal(0, 0.22, (len(starts), count)), 1)
        course = headings[:, None] + turns
        px = starts[:, :1] + np.cumsum(np.cos(course), 1) * step
        py = starts[:, 1:] + np.cumsum(np.sin(course), 1) * step
        taper = np.broadcast_to(np.linspace(1.0, 0.5, count), px.shape)
        return self.spots(px.ravel(), py.ravel(), width * taper.ravel())


def outline(canvas: Canvas, own: Recipe, radius: float) -> tuple[Array, Array]:
    """Depth inside the outline in radii (1 at the centre, 0 on it), and its soft mask."""
    random = canvas.random
    stretch = random.uniform(1.0, 1.35)
    x, y = canvas.x / stretch**0.5, canvas.y * stretch**0.5
    angle = np.arctan2(y, x)
    order = np.arange(2, 8)
    bumps = random.normal(0, own.ragged, len(order)) / order**0.7
    turns = random.uniform(0, 2 * math.pi, len(order))
    reach = 1.0 + sum(
        b * np.cos(n * angle + t) for b, n, t in zip(bumps, order, turns, strict=True)
    )
    fray = 0.4 * own.ragged * canvas.cloud(0.5 * radius)
    inside = np.maximum(reach, 0.3) - np.hypot(x, y) / radius + fray
    width = max(random.uniform(*own.edge), 0.5 * canvas.pixel)
    return inside, 1 / (1 + np.exp(-np.clip(4 * inside * radius / width, -40, 40)))


def pigment(
    canvas: Canvas,
    own: Recipe,
    recipe: Recipe,
    difficulty: float,
    radius: float,
    inside: Array,
    fade: Array,
) -> tuple[Array, Array, Array, Array]:
    """Maps of what the lesion adds: melanin, dermal melanin, blood, keratin."""
    random = canvas.random
    spread = 0.5 * difficulty
    level = math.exp(
        (1 - spread) * math.log(random.uniform(*own.melanin) + 0.004)
        + spread * math.log(random.uniform(0.01, 0.12))
    )
    red = (1 - spread) * random.uniform(*own.blood) + spread * random.uniform(0.0, 0.02)
    mottle = np.exp(1.3 * own.mottled * canvas.cloud(0.8 * radius) - 0.85 * own.mottled**2)
    slope = 1 + own.shift * np.clip(canvas.x / radius, -1, 1) * random.choice([-1, 1])
    melanin, blood = level * mottle * slope * fade, red * mottle * fade
    dermal, keratin = np.zeros_like(fade), np.zeros_like(fade)
    core = np.clip(3 * inside, 0, 1)
    rim = fade * np.exp(-(((inside - 0.12) / 0.12) ** 2))

    def has(structure: str) -> bool:
        return random.random() < getattr(recipe, structure)

    def within(count: int, reach: float = 0.75) -> tuple[Array, Array]:
        r = radius * reach * np.sqrt(random.random(count))
        a = random.uniform(0, 2 * math.pi, count)
        return r * np.cos(a), r * np.sin(a)

    if has("network"):
        walls = 1 - canvas.lattice(random.uniform(0.28, 0.45))
        strength = (1 - core) if recipe.scar > 0 else 1.0
        melanin = melanin * (1 + strength * 1.4 * (walls - 0.67))
    if has("globules"):
        count = int(random.integers(15, 40))
        melanin = melanin + 0.8 * level * fade * canvas.spots(
            *within(count, 0.9), random.uniform(0.08, 0.18, count)
        )
    if has("dots"):
        count = int(random.integers(6, 20))
        side = random.normal(0, 0.4 * radius, 2)
        x, y = within(count, 0.5)
        spots = canvas.spots(x + side[0], y + side[1], random.uniform(0.05, 0.12, count))
        melanin = melanin + 0.12 * spots * fade
    if has("veil"):
        patch = core * np.clip(2 * canvas.cloud(1.3 * radius) - 0.4, 0, 1)
        dermal = dermal + 0.05 * patch
    if has("regression"):
        melanin = melanin * (1 - 0.8 * core * np.clip(3 * canvas.cloud(1.2 * radius) - 1.5, 0, 1))
    if has("streaks"):
        angle = np.arctan2(canvas.y, canvas.x)
        rays = np.clip(np.cos(random.integers(18, 30) * angle + random.uniform(0, 6)), 0, 1)
        sided = np.clip(np.cos(angle - random.uniform(0, 2 * math.pi)) + 0.3, 0, 1)
        reach = np.exp(-(((inside + 0.06) / 0.12) ** 2))
        melanin = melanin + 0.9 * level * rays * sided * reach
    if has("ridges"):
        warp = canvas.x + 0.25 * canvas.noise(1.2)
        melanin = melanin * (1 + 0.4 * np.sin(2 * math.pi * warp / random.uniform(0.4, 0.7)))
    if has("milia"):
        count = int(random.integers(3, 14))
        keratin = keratin + 0.7 * core * canvas.spots(
            *within(count), random.uniform(0.06, 0.17, count)
        )
    if has("openings"):
        count = int(random.integers(3, 12))
        melanin = melanin + 0.15 * core * canvas.spots(
            *within(count), random.uniform(0.08, 0.2, count)
        )
    if has("vessels"):
        count = int(random.integers(3, 7))
        x, y = within(count, 0.8)
        lines = canvas.paths(
            np.stack((x, y), 1), random.uniform(0, 2 * math.pi, count), 1.2 * radius, 0.05
        )
        blood = blood + 0.10 * lines * fade
    if has("nests"):
        count = int(random.integers(2, 7))
        dermal = dermal + 0.045 * fade * canvas.spots(
            *within(count, 0.8), random.uniform(0.2, 0.5, count)
        )
    if has("ulcer"):
        x, y = within(1, 0.4)
        sore = canvas.spots(x, y, np.array([random.uniform(0.3, 0.7)])) * fade
        blood, melanin = blood + 0.05 * sore, melanin + 0.03 * sore
    if has("follicles"):
        cells = canvas.lattice(random.uniform(0.6, 0.9))
        blood = blood + 0.025 * fade * (1 - cells)
        keratin = keratin + 0.25 * fade * np.clip(2 * cells - 1, 0, 1)
    if has("scale"):
        flakes = np.clip(canvas.cloud(0.7) + 0.6 * canvas.noise(1.5) - 0.9, 0, 1.2)
        keratin = keratin + 0.22 * fade * flakes
    if has("scar"):
        centre = np.clip((inside - random.uniform(0.45, 0.65)) * 5, 0, 1)
        melanin = melanin * (1 - 0.85 * centre)
        keratin = keratin + 0.22 * centre
    if has("lacunae"):
        cells = canvas.lattice(random.uniform(0.5, 0.9))
        blood = blood * (0.35 + 1.3 * np.clip(1.6 * cells, 0, 1))
    if has("collarette"):
        keratin = keratin + 0.5 * rim
    return melanin, dermal, blood, keratin
