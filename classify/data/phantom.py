"""Procedural dermoscopy: lesions of the seven classes with true masks, made from a recipe.

For testing pipelines, and for experiments that real pictures do not allow (the same lesion at
another contrast); **not for clinical claims**::

    (seed, lesion) ─► outline, structures ─► melanin, blood, keratin ─► reflectance ─► lesion
    (seed, picture) ─► pose, hair, light, camera ─────────────────────────────────────► sRGB codes

Around it: ``skin`` chromophores to colour · ``canvas`` noise, lattices, disks and lines in mm ·
``lesion`` the recipes of the classes and their structures · here: people, cameras, the data set.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from tqdm import trange

from .canvas import FIELD, Array, Canvas
from .dataset import LESION_CLASSES, LesionDataset, content_hash
from .lesion import draw_lesion
from .skin import skin_reflectance, srgb_codes

__all__ = ["LesionPhantom", "skin_reflectance"]

# Raise it when a picture of a given seed changes.
_VERSION = 1

# Lesions of HAM10000 with 1, 2, ... 6 pictures, by class (Tschandl et al., Sci Data 5:180161).
_LESIONS = np.array([
    (151, 57, 18, 2, 0, 0),
    (175, 118, 33, 1, 0, 0),
    (440, 220, 55, 8, 2, 2),
    (39, 26, 8, 0, 0, 0),
    (230, 278, 100, 4, 1, 1),
    (4415, 699, 268, 18, 2, 1),
    (64, 25, 8, 1, 0, 0),
])  # fmt: skip

# Gains that show light skin as in HAM10000: L*a*b* about 70, 17, 3.
_GAINS = np.array([1.28, 1.36, 1.92])
_HAIR = np.array([0.10, 0.08, 0.06])


def LesionPhantom(
    count: int = 1000,
    image_size: int = 128,
    *,
    seed: int = 0,
    difficulty: float = 0.5,
    contrast: float = 1.0,
    balance: float = 0.5,
    skin: tuple[float, float] = (0.013, 0.063),
    progress: bool = False,
) -> LesionDataset:
    """Procedural lesions of all seven classes, with true masks.

    Picture i is a function of ``seed``, i and the options: a larger ``count`` appends pictures
    and changes none, and another ``image_size``, ``contrast`` or ``skin`` shows the same lesions.
    Some lesions have several pictures, in other poses and light, as often as in HAM10000.

    Parameters
    ----------
    count : int
        Pictures.
    image_size : int, pixels
        Side of the square pictures, 16 to 512; the field is 9 mm wide.
    seed : int
        Source of everything, 0 or more.
    difficulty : float
        0..1: chance that a lesion resembles another class, in colour and by one of its
        structures, and the strength of what is irrelevant (light, camera, hair).
    contrast : float
        0..2: factor on what the lesion adds to the skin around it; 0 hides it.
    balance : float
        0..1: class shares are those of HAM10000 to this power; 1 is its imbalance of 58 to 1, 0
        is none.
    skin : (float, float)
        Range of the melanosome fraction of healthy skin: 0.013..0.063 light, 0.11..0.16 medium,
        0.18..0.43 dark.
    progress : bool
        Show a bar, on a terminal.

    Returns
    -------
    LesionDataset
        uint8 ``[count, 3, image_size, image_size]`` with masks (where the lesion covers more than
        half) and the columns ``melanosome_fraction`` (of the skin), ``radius_mm`` and
        ``structures`` (names, joined by "+") in ``metadata``.

    Raises
    ------
    ValueError
        When an option is outside of its range.

    Examples
    --------
    >>> easy = LesionPhantom(200, 64, difficulty=0.0)
    >>> faint = LesionPhantom(200, 64, difficulty=0.0, contrast=0.25)  # the same lesions
    """
    _check(count, image_size, seed, difficulty, contrast, balance, skin)
    lesions = _lesions(count, seed, balance)
    images = np.empty((count, 3, image_size, image_size), np.uint8)
    masks = np.empty((count, image_size, image_size), np.uint8)
    people, radii, structures = np.empty(count), np.empty(count), []
    for number in trange(count, unit="image", disable=None if progress else True):
        lesion, label = lesions[number]
        picture = np.random.default_rng((seed, 2, number))
        light, masks[number], *known = _scene(
            LESION_CLASSES[label],
            np.random.default_rng((seed, 1, lesion, label)),
            picture,
            size=image_size, difficulty=difficulty, contrast=contrast, skin=skin,
        )  # fmt: skip
        images[number] = srgb_codes(_photograph(light, picture, difficulty))
        people[number], radii[number] = known[:2]
        structures.append(known[2])
    options = (count, image_size, seed, difficulty, contrast, balance, list(skin))
    return LesionDataset(
        images=torch.from_numpy(images),
        labels=[label for _, label in lesions],
        groups=[f"phantom_s{seed}_lesion_{lesion:06d}" for lesion, _ in lesions],
        identifiers=[f"phantom_s{seed}_{number:06d}" for number in range(count)],
        masks=torch.from_numpy(masks),
        metadata={"melanosome_fraction": people, "radius_mm": radii, "structures": structures},
        fingerprint=content_hash("phantom", _VERSION, *options),
    )


def _check(
    count: int, image_size: int, seed: int, difficulty: float, contrast: float, balance: float,
    skin: tuple[float, float],
) -> None:  # fmt: skip
    for name, value, allowed, rule in (
        ("count", count, count >= 1, "at least 1"),
        ("image_size", image_size, 16 <= image_size <= 512, "16 to 512 pixels"),
        ("seed", seed, seed >= 0, "0 or more"),
        ("difficulty", difficulty, 0 <= difficulty <= 1, "0 to 1"),
        ("contrast", contrast, 0 <= contrast <= 2, "0 to 2"),
        ("balance", balance, 0 <= balance <= 1, "0 to 1"),
        ("skin", skin, 0 <= skin[0] <= skin[1] <= 0.5, "a rising range within 0 to 0.5"),
    ):
        if not allowed:
            raise ValueError(f"{name}={value!r} is out of range; give {rule}")


def _lesions(count: int, seed: int, balance: float) -> list[tuple[int, int]]:
    """Lesion and class of each picture: the class that lacks most of its share comes next."""
    times = np.arange(1, _LESIONS.shape[1] + 1)
    shares = (_LESIONS @ times) ** balance
    shares = shares / shares.sum()
    laws = _LESIONS / _LESIONS.sum(1, keepdims=True)
    given = np.zeros(len(shares))
    random = np.random.default_rng((seed, 0))
    pictures: list[tuple[int, int]] = []
    lesion = 0
    while len(pictures) < count:
        label = int(np.argmax(shares * (len(pictures) + 1) - given))
        number = int(random.choice(times, p=laws[label]))
        given[label] += number
        pictures += [(lesion, label)] * number
        lesion += 1
    return pictures[:count]


def _scene(
    kind: str,
    of_lesion: np.random.Generator,
    of_picture: np.random.Generator,
    *,
    size: int,
    difficulty: float,
    contrast: float,
    skin: tuple[float, float],
) -> tuple[Array, npt.NDArray[np.bool_], float, float, str]:
    """Reflectance ``[3, S, S]``, mask ``[S, S]``, melanosomes of the skin, radius, structures."""
    shift = of_picture.normal(0, 0.35, 2).clip(-1, 1)
    zoom = math.exp(min(max(of_picture.normal(0, 0.10), -0.2), 0.3))
    turns, mirrored = int(of_picture.integers(4)), bool(of_picture.integers(2))
    canvas = Canvas(size, of_lesion, zoom=zoom, shift=(shift[0], shift[1]))
    person, redness = of_lesion.uniform(), math.exp(of_lesion.normal(0, 0.35))
    fraction = skin[0] + person * (skin[1] - skin[0])
    freckles = 0.18 * canvas.noise(0.15) + 0.14 * canvas.noise(0.5) + 0.16 * canvas.noise(1.8)
    flush = 0.18 * canvas.noise(0.3) + 0.22 * canvas.noise(1.5)
    lesion, structures = draw_lesion(canvas, kind, difficulty)
    light = skin_reflectance(
        np.maximum(fraction * (1 + freckles) + contrast * lesion.melanin, 0),
        np.maximum(contrast * lesion.dermal, 0),
        np.maximum(0.006 * redness * (1 + flush) + contrast * lesion.blood, 0),
        np.clip(contrast * lesion.keratin, 0, 0.9),
    )
    mask = lesion.depth > 0
    if mirrored:
        light, mask = light[..., ::-1], mask[..., ::-1]
    light, mask = np.rot90(light, turns, (1, 2)), np.rot90(mask, turns)
    return light, mask, fraction, lesion.radius, "+".join(structures)


def _photograph(light: Array, random: np.random.Generator, difficulty: float) -> Array:
    """Hair, uneven light, vignette and the gains of a camera; linear ``[3, S, S]``."""
    frame = Canvas(light.shape[-1], random)
    if random.random() < 0.15 + 0.35 * difficulty:
        cover = 0.85 * _hair(frame, int(random.geometric(0.25)))
        light = light + cover * (_HAIR[:, None, None] - light).astype(np.float32)
    away = (frame.x**2 + frame.y**2) / (FIELD / 2) ** 2
    slope = random.normal(0, 0.03, 2)
    shade = 1 + slope[0] / FIELD * frame.x + slope[1] / FIELD * frame.y
    shade = shade - random.uniform(0, 0.08) * away
    if random.random() < 0.12:  # the tube of a contact dermatoscope
        rim = random.uniform(1.05, 1.35)
        shade = shade * np.clip(12 * (rim - np.sqrt(away)), 0.02, 1)
    exposure = math.exp(random.normal(0, 0.06 + 0.06 * difficulty))
    tint = np.exp(random.normal(0, 0.03 + 0.06 * difficulty, 3))
    return light * (shade * (_GAINS * exposure * tint)[:, None, None]).astype(np.float32)


def _hair(frame: Canvas, count: int) -> Array:
    """Arcs across the field."""
    random = frame.random
    lean = random.uniform(0, math.pi)
    angle = lean + random.normal(0, 0.5, (count, 1))
    along = np.linspace(-1, 1, 15) * random.uniform(1.5, 6.0, (count, 1))
    bow = random.normal(0, 0.06, (count, 1)) * (along**2 - np.mean(along**2, 1, keepdims=True))
    middle = random.uniform(-FIELD / 2, FIELD / 2, (2, count, 1))
    c, s = np.cos(angle), np.sin(angle)
    courses = np.stack((middle[0] + c * along - s * bow, middle[1] + s * along + c * bow), 2)
    return frame.lines(courses, random.uniform(0.04, 0.08, count))
