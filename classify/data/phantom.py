"""Procedural dermoscopy: lesions of the seven classes with true masks, made from a recipe.

For testing pipelines and for experiments that real pictures do not allow (the same lesion at
another contrast); **not for clinical claims**. A lesion is a set of maps over a field of 9 mm
(epidermal melanin, dermal melanin, blood, keratin), drawn by the structures that dermatologists
describe for its class, and turned into light by a two-layer model of skin:

::

    lesion ─► outline, maps of pigment and blood ─► reflectance at 3 wavelengths ─► camera ─► sRGB
    (seed, lesion)                                                    (seed, picture): pose, gain,
                                                                       light, hair, vignette, noise

Optics: absorption of melanosomes and of skin without pigment, and scattering, after Jacques,
"Optical properties of biological tissues", Phys. Med. Biol. 58:R37 (2013), with the constants of
S-SYNTH (Kim et al., MICCAI 2024); haemoglobin after the tabulation of S. Prahl. What
lesions consist of is in ``lesion``.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from .dataset import LESION_CLASSES, LesionDataset, content_hash
from .lesion import FIELD, RECIPES, Canvas, outline, pigment

__all__ = ["LesionPhantom", "skin_reflectance"]

Array = npt.NDArray[Any]
Random = np.random.Generator

# Raise it when a picture of a given seed changes.
_VERSION = 1
_IMAGES = (327, 514, 1099, 115, 1113, 6705, 142)  # of each class in HAM10000
_PER_LESION = (0.738, 0.190, 0.072)  # share of its lesions with 1, 2, 3 and more pictures

# At 612, 545 and 463 nm, the red, green and blue of a camera. Absorption and scattering in 1/cm.
_WAVELENGTHS = np.array([612.0, 545.0, 463.0])
_MELANIN = 6.6e11 * _WAVELENGTHS**-3.33
_BASELINE = 0.244 + 85.3 * np.exp(-(_WAVELENGTHS - 154) / 66.2)
_BLOOD = 2.303 * np.array([1400.0, 51000.0, 40500.0]) * 150 / 64500  # 150 g/l of HbO2
_DERMIS = 45.3 * (_WAVELENGTHS / 500) ** -1.292
_EPIDERMIS = 68.7 * (_WAVELENGTHS / 500) ** -1.161
_KERATIN = np.array([0.86, 0.80, 0.72])
_WHITE = np.array([1.0, 1.02, 1.30])  # white balance of the camera, towards that of HAM10000


def skin_reflectance(melanin: Array, dermal: Array, blood: Array, keratin: Array) -> Array:
    """Diffuse reflectance of skin at 612, 545 and 463 nm.

    The epidermis (60 um) absorbs on the way in and out; the dermis reflects diffusely; melanin
    in the dermis is seen through scattering tissue, which makes it blue-grey (Tyndall effect);
    keratin lies on top.

    Parameters
    ----------
    melanin : array ``[...]``
        Volume fraction of melanosomes in the epidermis.
    dermal : array ``[...]``
        Volume fraction of melanosomes in the dermis.
    blood : array ``[...]``
        Volume fraction of blood in the dermis.
    keratin : array ``[...]``
        Cover by scale, 0..1.

    Returns
    -------
    array ``[3, ...]`` in 0..1
    """
    shape = (3,) + (1,) * np.ndim(melanin)
    of = [c.reshape(shape) for c in (_MELANIN, _BASELINE, _BLOOD, _DERMIS, _EPIDERMIS, _KERATIN)]
    mel, base, red, scatter, top_scatter, scale = of
    absorption = base + blood * red + dermal * mel
    dermis = np.exp(-7 / np.sqrt(3 * (1 + scatter / absorption)))
    # Backscatter in front of dermal pigment, in proportion to how much of it there is to cover.
    top = (1 - np.exp(-0.35 * 0.012 * top_scatter)) * (1 - np.exp(-dermal / 0.02))
    reflected = np.exp(-2 * 1.9 * 0.006 * melanin * mel) * ((1 - top) * dermis + 0.55 * top)
    return reflected + keratin * (scale - reflected)


def LesionPhantom(
    count: int = 1000,
    image_size: int = 128,
    *,
    seed: int = 0,
    difficulty: float = 0.5,
    contrast: float = 1.0,
    balance: float = 0.5,
    skin: tuple[float, float] = (0.015, 0.06),
    progress: bool = False,
) -> LesionDataset:
    """Procedural lesions of all seven classes, with true masks.

    A picture is a function of ``seed``, of its number and of the options: a larger ``count``
    appends pictures and changes none. Some lesions have several pictures, in other poses and
    under other light, as in HAM10000.

    Parameters
    ----------
    count : int
        Pictures.
    image_size : int, pixels
        Side of the square pictures, 16 to 512; the field is 9 mm wide.
    seed : int
        Source of everything.
    difficulty : float
        0..1: chance with which a lesion takes its structures from another class, spread of its
        pigment towards that of the others, and strength of what is irrelevant (light, hair).
    contrast : float
        0..2: factor on the difference of all pigments and of blood to the skin around. The same
        lesions otherwise.
    balance : float
        0..1: class shares are those of HAM10000 to this power; 1 is its imbalance of 58 to 1, 0
        is none.
    skin : (float, float)
        Range of the melanosome fraction of healthy skin: 0.013..0.063 light, 0.11..0.16 medium,
        0.18..0.43 dark.
    progress : bool
        Show a bar.

    Returns
    -------
    LesionDataset
        ``metadata`` has the columns ``skin`` (melanosome fraction) and ``radius`` (mm).

    Raises
    ------
    ValueError
        When an option is outside of its range.
    """
    for name, value, allowed, rule in (
        ("count", count, count >= 1, "at least 1"),
        ("image_size", image_size, 16 <= image_size <= 512, "16 to 512 pixels"),
        ("difficulty", difficulty, 0 <= difficulty <= 1, "0 to 1"),
        ("contrast", contrast, 0 <= contrast <= 2, "0 to 2"),
        ("balance", balance, 0 <= balance <= 1, "0 to 1"),
        ("skin", skin, 0 <= skin[0] <= skin[1] <= 0.5, "a range within 0 to 0.5"),
    ):
        if not allowed:
            raise ValueError(f"{name}={value!r} is out of range; give {rule}")
    lesions = _lesions(count, seed, balance)

    def make(number: int) -> tuple[Array, Array, float, float]:
        lesion, label = lesions[number]
        of_lesion = np.random.default_rng((seed, 1, lesion))
        of_picture = np.random.default_rng((seed, 2, number))
        return _picture(label, image_size, of_lesion, of_picture, difficulty, contrast, skin)

    with ThreadPoolExecutor() as pool:
        made = list(
            tqdm(
                pool.map(make, range(count)),
                total=count,
                unit="image",
                disable=None if progress else True,
            )
        )
    images, masks, melanin, radius = (np.stack(parts) for parts in zip(*made, strict=True))
    options = (_VERSION, count, image_size, seed, difficulty, contrast, balance, list(skin))
    return LesionDataset(
        images=torch.from_numpy(images),
        labels=[label for _, label in lesions],
        groups=[f"phantom_s{seed}_l{lesion:06d}" for lesion, _ in lesions],
        identifiers=[f"phantom_s{seed}_{number:06d}" for number in range(count)],
        masks=torch.from_numpy(masks),
        metadata={"skin": melanin, "radius": radius},
        fingerprint=content_hash("phantom", *options),
    )


def _lesions(count: int, seed: int, balance: float) -> list[tuple[int, int]]:
    """Lesion and class of each picture; classes are dealt so that each keeps its share."""
    shares = np.array(_IMAGES, dtype=float) ** balance
    shares /= shares.sum()
    given = np.zeros(len(shares))
    random = np.random.default_rng((seed, 0))
    pictures: list[tuple[int, int]] = []
    lesion = 0
    while len(pictures) < count:
        label = int(np.argmax(shares * (len(pictures) + 1) - given))
        times = 1 + int(random.choice(len(_PER_LESION), p=_PER_LESION))
        given[label] += times
        pictures += [(lesion, label)] * times
        lesion += 1
    return pictures[:count]


def _picture(
    label: int,
    size: int,
    of_lesion: Random,
    of_picture: Random,
    difficulty: float,
    contrast: float,
    skin: tuple[float, float],
) -> tuple[Array, Array, float, float]:
    """One picture: uint8 ``[3, S, S]``, mask ``[S, S]``, and what its metadata says."""
    own = RECIPES[LESION_CLASSES[label]]
    recipe = own
    if of_lesion.random() < 0.6 * difficulty:
        recipe = RECIPES[LESION_CLASSES[of_lesion.integers(len(LESION_CLASSES))]]
    healthy = of_lesion.uniform(*skin)
    pose = (
        of_picture.uniform(0, 2 * math.pi),
        math.exp(of_picture.normal(0, 0.12)),
        *of_picture.normal(0, 0.35, 2),
    )
    canvas = Canvas(size, of_lesion, pose)
    radius = of_lesion.uniform(*own.radius)
    inside, fade = outline(canvas, own, radius)
    maps = pigment(canvas, own, recipe, difficulty, radius, inside, fade)
    melanin, dermal, blood, keratin = (contrast * part for part in maps)
    base_blood = 0.010 * math.exp(of_lesion.normal(0, 0.3))
    texture = 1 + 0.12 * canvas.cloud(1.2) + 0.10 * canvas.noise(3.0)
    light = skin_reflectance(
        np.maximum(healthy * texture + melanin, 0.0),
        np.maximum(dermal, 0.0),
        np.maximum(base_blood * (2 - texture) + blood, 0.0),
        np.clip(keratin, 0.0, 1.0),
    )
    return (
        _camera(canvas, light, of_picture, difficulty),
        (fade >= 0.5).astype(np.uint8),
        healthy,
        radius,
    )


def _camera(canvas: Canvas, light: Array, random: Random, difficulty: float) -> Array:
    """Light, hair, vignette, gains, noise; then sRGB codes ``[3, S, S]``."""
    frame = Canvas(canvas.size, random, (0.0, 1.0, 0.0, 0.0))
    if random.random() < 0.35 * difficulty:
        count = int(random.integers(1, 4))
        starts = random.uniform(-FIELD / 2, FIELD / 2, (count, 2))
        hair = frame.paths(starts, random.uniform(0, 2 * math.pi, count), 0.7 * FIELD, 0.05)
        light = light * (1 - 0.8 * hair)
    gain = 1.42 * np.exp(random.normal(0, 0.10))
    tint = np.exp(random.normal(0, 0.05 + 0.06 * difficulty, 3))
    slope = random.normal(0, 0.02, 2)
    r2 = (frame.x**2 + frame.y**2) / (FIELD / 2) ** 2
    falloff = (1 + slope[0] * frame.x + slope[1] * frame.y) * (1 - random.uniform(0, 0.12) * r2)
    light = light * falloff * (gain * _WHITE * tint)[:, None, None]
    light = light + random.normal(0, 0.006, light.shape)
    light = np.clip(light, 0.0, 1.0)
    codes = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )
    return np.round(255 * codes).astype(np.uint8)
