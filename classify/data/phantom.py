"""Synthetic dermoscopy: procedural lesions of the seven classes with exact masks.

For tests of pipelines, and for experiments that real pictures do not allow (the same lesion at
another contrast, at other wavelengths); **not for clinical claims**::

    (seed, lesion) ─► outline, structures ─► melanin, blood, keratin ─► reflectance ─► lesion
    (seed, picture) ─► pose, hair, light, camera ─────────────────────────────────────► codes

Around it: ``skin`` chromophores to light · ``draws`` numbers by counter · ``canvas`` noise,
lattices, disks and lines in mm · ``structures`` what dermoscopy sees · ``lesion`` the recipes of
the classes · ``scene`` people, poses, hair, light and cameras · here: the data set.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from classify.given import check_number

from .arrays import SceneEncoding, as_integer, content_hash
from .dataset import LesionDataset
from .draws import Draws, keys_of
from .scene import Look, Scene, draw_scene, photograph
from .skin import WAVELENGTHS, checked_wavelengths, light_codes, srgb_codes
from .structures import STRUCTURES

__all__ = ["SKIN_TYPES", "LesionPhantom", "PhantomMaps", "SkinType", "phantom_maps"]

SkinType: TypeAlias = Literal["light", "medium", "dark"]

#: Melanosome fractions of healthy skin (Jacques; Fitzpatrick I and II, III and IV, V and VI).
SKIN_TYPES: Final[dict[SkinType, tuple[float, float]]] = {
    "light": (0.013, 0.063),
    "medium": (0.11, 0.16),
    "dark": (0.18, 0.43),
}

# Raise it when a picture of a given seed changes.
_VERSION = 2

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

_PIXELS = 2**20  # drawn at once


class PhantomMaps(NamedTuple):
    """Ground truth of some pictures of a phantom, in the pose of each picture."""

    mask: Tensor
    """True on the lesion, bool ``[N, S, S]``."""
    melanin: Tensor
    """Volume fraction of melanosomes in the epidermis, skin and lesion, ``[N, S, S]``."""
    dermal: Tensor
    """Volume fraction of melanosomes in the dermis, ``[N, S, S]``."""
    blood: Tensor
    """Volume fraction of blood in the dermis, ``[N, S, S]``."""
    keratin: Tensor
    """Coverage by scale or fibrosis, 0..1, ``[N, S, S]``."""
    structures: Tensor
    """Map of each structure, 0..1, ``[N, K, S, S]``; all 0 for a structure that is absent."""
    names: tuple[str, ...]
    """Names of the K structures."""


def LesionPhantom(  # noqa: PLR0913 - what a picture of skin depends on
    count: int = 1000,
    image_size: int = 128,
    *,
    seed: int = 0,
    difficulty: float = 0.5,
    contrast: float = 1.0,
    balance: float = 0.5,
    skin: tuple[float, float] | SkinType = "light",
    blur: float = 0.0,
    wavelengths: Sequence[float] | None = None,
    bit_depth: Literal[8, 16] = 8,
    encoding: SceneEncoding = "srgb",
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> LesionDataset:
    """Generate synthetic lesions of all seven classes, with exact masks.

    Picture i depends only on ``seed``, i and the options. A larger ``count`` appends pictures
    without changing the others, and another ``image_size``, ``contrast``, ``skin``, ``blur``,
    ``wavelengths`` or ``encoding`` shows the same lesions. Some lesions have several pictures, in
    other poses and light, as often as in HAM10000. Contrast against the skin, colour and size match
    HAM10000, class by class (``docs/phantom.md``).

    Parameters
    ----------
    count : int
        Number of pictures.
    image_size : int, pixels
        Side of the square pictures, 16 to 512; the field is 9 mm wide.
    seed : int
        Seed of all random numbers, 0 to 2^63 - 1.
    difficulty : float
        0..1: the probability that a lesion resembles another class, in colour and in one of its
        structures; the faintness of lesions; and the strength of irrelevant variation (light,
        camera, hair).
    contrast : float
        0..2: factor on the difference between the lesion and the skin around it; 0 hides it.
    balance : float
        0..1: class shares are those of HAM10000 to this power; 1 keeps its imbalance of 58 to 1, 0
        balances the classes.
    skin : (float, float) or {"light", "medium", "dark"}
        Range of the melanosome fraction of healthy skin, within 0..0.5, or one of
        ``SKIN_TYPES``: 0.013..0.063, 0.11..0.16 and 0.18..0.43.
    blur : float, metres
        Standard deviation of a Gaussian blur, in metres on the skin, 0 to 1e-3.
    wavelengths : sequence of float, metres, optional
        Bands of a spectral camera, 400e-9 to 1000e-9, in place of red, green and blue.
    bit_depth : {8, 16}
        Bits of the codes. The rounding error of 8 bits is 0.26 % of the light in white (RMS), as
        much as the shot noise of 150 000 photons. Use 16 for that much light, or such low contrast.
    encoding : {"srgb", "linear"}
        Meaning of the codes: ``srgb`` applies the sRGB curve, also to more than three bands;
        ``linear`` codes are proportional to light, for systems that take light. With 8 bits, linear
        codes have little resolution for dark skin.
    device : str or torch.device
        Device that computes the pictures. The lesions are the same on every device, and the codes
        are reproducible on one device; between devices, codes may differ by rounding.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    LesionDataset
        Codes ``[count, C, image_size, image_size]`` with masks (they extend to where the lesion has
        a quarter of its pigment, as a person would draw them). ``metadata`` has the columns
        ``melanosome_fraction`` (of the skin), ``radius_mm`` and ``structures`` (names, joined by
        "+"). Without ``wavelengths``, C is 3, the primaries of sRGB. With ``wavelengths``, C is
        their number, and a channel is the reflectance relative to a white standard under the
        picture's light.

    Raises
    ------
    ValueError
        When an option is out of its range.
    TypeError
        When ``count``, ``image_size`` or ``seed`` is not an integer, or another numeric option is
        not a number.

    Examples
    --------
    >>> easy = LesionPhantom(200, 64, difficulty=0.0)
    >>> faint = LesionPhantom(200, 64, difficulty=0.0, contrast=0.25)  # the same lesions
    >>> infrared = LesionPhantom(200, 64, difficulty=0.0, wavelengths=(660e-9, 940e-9))
    """
    look = _checked(
        size=image_size, seed=seed, difficulty=difficulty, contrast=contrast, balance=balance,
        skin=skin, blur=blur, wavelengths=wavelengths, device=device,
    )  # fmt: skip
    if (count := _integer("count", count)) < 1:
        raise ValueError(f"count={count!r} is out of range; give at least 1")
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth={bit_depth!r} is out of range; give 8 or 16")
    if encoding not in ("srgb", "linear"):
        raise ValueError(f"encoding={encoding!r} is unknown; give 'srgb' or 'linear'")
    codes = srgb_codes if encoding == "srgb" else light_codes
    image_size, seed, balance = look.size, look.seed, float(balance)
    pictures = _lesions(count, seed, balance)
    channels = len(look.wavelengths or WAVELENGTHS)
    # A NumPy array: torch can assign single rows only for uint8.
    images = np.empty((count, channels, image_size, image_size), f"u{bit_depth // 8}")
    masks = np.empty((count, image_size, image_size), np.uint8)
    people, radii, structures = np.empty(count), np.empty(count), []
    with tqdm(total=count, unit="image", disable=None if progress else True) as bar:
        for rows, scene, draws in _scenes(pictures, range(count), look):
            images[rows] = codes(photograph(scene, draws, look), bit_depth).cpu().numpy()
            masks[rows] = scene.mask.cpu().numpy()
            people[rows], radii[rows] = scene.people.cpu(), scene.radius.cpu()
            structures += [
                "+".join(sorted(name for name, there in zip(STRUCTURES, row, strict=True) if there))
                for row in scene.shown.tolist()
            ]
            bar.update(len(rows))
    options = [count, image_size, seed, look.difficulty, look.contrast, balance]
    options += [list(look.skin), look.blur]
    options += [] if bit_depth == 8 else [16]  # keeps the earlier hashes of 8-bit data
    options += [] if encoding == "srgb" else [encoding]
    return LesionDataset(
        images=images,
        labels=[label for _, label in pictures],
        groups=[f"phantom_s{seed}_lesion_{lesion:06d}" for lesion, _ in pictures],
        identifiers=[f"phantom_s{seed}_{number:06d}" for number in range(count)],
        masks=masks,
        metadata={"melanosome_fraction": people, "radius_mm": radii, "structures": structures},
        fingerprint=content_hash("phantom", _VERSION, *options, look.wavelengths),
    ).taken_as(encoding)


def phantom_maps(
    rows: Sequence[int],
    image_size: int = 128,
    *,
    seed: int = 0,
    difficulty: float = 0.5,
    contrast: float = 1.0,
    balance: float = 0.5,
    skin: tuple[float, float] | SkinType = "light",
    device: str | torch.device = "cpu",
) -> PhantomMaps:
    """Return masks, pigments and structures of the pictures ``rows`` of a :func:`LesionPhantom`.

    ``skin_reflectance(maps.melanin, maps.dermal, maps.blood, maps.keratin)`` is the reflectance
    that the camera sees, before hair, blur and its light.

    Parameters
    ----------
    rows : sequence of int
        Indices of the pictures, 0 or more.
    image_size, seed, difficulty, contrast, balance, skin, device
        As given to :func:`LesionPhantom`.

    Returns
    -------
    PhantomMaps
        On ``device``.

    Raises
    ------
    ValueError
        When an option is out of its range or there is no row.
    TypeError
        When ``image_size``, ``seed`` or a row is not an integer, or another option not a number.
    """
    look = _checked(
        size=image_size, seed=seed, difficulty=difficulty, contrast=contrast, balance=balance,
        skin=skin, blur=0.0, wavelengths=None, device=device,
    )  # fmt: skip
    rows = [_integer("a row", row) for row in rows]
    if len(rows) == 0 or min(rows) < 0:
        raise ValueError(f"rows={rows} must name at least one picture, by indices of 0 or more")
    pictures = _lesions(max(rows) + 1, look.seed, float(balance))
    scenes = [scene for _, scene, _ in _scenes(pictures, rows, look, trace=True)]
    return PhantomMaps(
        mask=torch.cat([scene.mask for scene in scenes]),
        melanin=torch.cat([scene.melanin for scene in scenes]),
        dermal=torch.cat([scene.dermal for scene in scenes]),
        blood=torch.cat([scene.blood for scene in scenes]),
        keratin=torch.cat([scene.keratin for scene in scenes]),
        structures=torch.cat([scene.where for scene in scenes if scene.where is not None]),
        names=STRUCTURES,
    )


def _checked(
    *, size: int, seed: int, difficulty: float, contrast: float, balance: float,
    skin: tuple[float, float] | SkinType, blur: float, wavelengths: Sequence[float] | None,
    device: str | torch.device,
) -> Look:  # fmt: skip
    size, seed, tone = _integer("image_size", size), _integer("seed", seed), _tone(skin)
    for name, value in (
        ("difficulty", difficulty),
        ("contrast", contrast),
        ("balance", balance),
        ("blur", blur),
    ):
        check_number(name, value)
    for name, value, allowed, rule in (
        ("image_size", size, 16 <= size <= 512, "16 to 512 pixels"),
        ("seed", seed, 0 <= seed < 2**63, "0 or more, below 2^63"),
        ("difficulty", difficulty, 0 <= difficulty <= 1, "0 to 1"),
        ("contrast", contrast, 0 <= contrast <= 2, "0 to 2"),
        ("balance", balance, 0 <= balance <= 1, "0 to 1"),
        ("blur", blur, 0 <= blur <= 1e-3, "0 to 1e-3; it is in metres"),
    ):
        if not allowed:
            raise ValueError(f"{name}={value!r} is out of range; give {rule}")
    try:
        # Only a tensor shows whether the device can be used.
        where = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here ({error}); give 'cpu'") from None
    return Look(
        # One type per value: the hash distinguishes 0 from 0.0, and takes no NumPy numbers.
        size=size, seed=seed, difficulty=float(difficulty), contrast=float(contrast), skin=tone,
        blur=float(blur),
        wavelengths=None if wavelengths is None else checked_wavelengths(wavelengths),
        device=where,
    )  # fmt: skip


def _integer(name: str, value: int) -> int:
    number = as_integer(value)
    if number is None:
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return number


def _tone(skin: tuple[float, float] | SkinType) -> tuple[float, float]:
    if isinstance(skin, str):
        if skin not in SKIN_TYPES:
            raise ValueError(f"skin={skin!r} is unknown; give one of {tuple(SKIN_TYPES)}")
        return SKIN_TYPES[skin]
    try:
        low, high = map(float, skin)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 0.5:
        raise ValueError(
            f"skin={skin!r} is out of range; give a rising range within 0 to 0.5, "
            f"or one of {tuple(SKIN_TYPES)}"
        )
    return low, high


def _lesions(count: int, seed: int, balance: float) -> list[tuple[int, int]]:
    """Lesion and class of each picture: the class furthest below its share comes next."""
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


def _scenes(
    pictures: list[tuple[int, int]], rows: Sequence[int], look: Look, *, trace: bool = False
) -> Iterator[tuple[list[int], Scene, Draws]]:
    """Batches of rows, each with its scenes and the remaining random draws of their pictures."""
    step = max(1, _PIXELS // look.size**2)
    for start in range(0, len(rows), step):
        some = list(rows[start : start + step])
        lesions, labels = torch.tensor([pictures[row] for row in some]).unbind(1)
        pictured = keys_of(look.seed, 2, torch.tensor(some), torch.zeros_like(labels))
        draws = Draws(pictured.to(look.device))
        of_lesion = Draws(keys_of(look.seed, 1, lesions, labels).to(look.device))
        yield some, draw_scene(labels.to(look.device), of_lesion, draws, look, trace=trace), draws
