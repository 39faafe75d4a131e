"""MedMNIST's ``.npz`` files: small pictures in three fixed parts."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from .arrays import SceneEncoding, check_scene_encoding, warn_of_classes
from .dataset import LESION_CLASSES, LesionDataset
from .decode import Decoder, fit

__all__ = ["MedMNIST"]

Part: TypeAlias = Literal["train", "val", "test", "all"]

# One damaged label must not cost a name for each class up to it.
_MOST_CLASSES = 10_000


def MedMNIST(
    path: str | os.PathLike[str],
    *,
    part: Part = "all",
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
    encoding: SceneEncoding | None = None,
) -> LesionDataset:
    """Load a two-dimensional, single-label MedMNIST file [1]_, such as ``dermamnist.npz``.

    The file does not say which pictures show one lesion: each is a group of its own, and the parts
    of DermaMNIST share lesions [2]_. Results on it say little about new patients.

    Parameters
    ----------
    path : path
        The ``.npz``: arrays ``{train,val,test}_images``, uint8 ``[N, H, W]`` or ``[N, H, W, 3]``,
        and ``{train,val,test}_labels``, integers ``[N, 1]``.
    part : {"all", "train", "val", "test"}
        Fixed part to load; the metadata column ``part`` has the part of each picture.
    image_size : int, pixels, optional
        Resize to this side, 8 to 1024 (Lanczos, antialiased); as stored by default.
    classes : sequence of str, optional
        Names of the classes; by default those of DermaMNIST (:data:`LESION_CLASSES`) for seven
        classes and "0", "1", ... otherwise.
    encoding : {"srgb", "linear"}, optional
        Meaning of the codes. By default sRGB for colour pictures, and None for grey ones, which may
        be X-rays, ultrasound or fluorescence with an unknown curve.

    Returns
    -------
    LesionDataset
        Grey pictures keep one channel. Identifiers are ``<part>/<number>``.

    Raises
    ------
    FileNotFoundError
        When ``path`` does not exist.
    ValueError
        When it is not a MedMNIST file, has no picture in that part, has several labels for one
        picture, or is three-dimensional; when an option is unknown.

    Warns
    -----
    UserWarning
        When ``classes`` is not given, and there is only one class, or a number below the highest
        label has no picture.

    References
    ----------
    .. [1] Yang et al., "MedMNIST v2", Sci Data 10:41 (2023).
    .. [2] Abhishek, Jain, Hamarneh, Sci Data 12:196 (2025).
    """
    if part not in get_args(Part):
        raise ValueError(f"part must be one of {', '.join(get_args(Part))}, got {part!r}")
    check_scene_encoding(encoding)
    decoder = None if image_size is None else Decoder(image_size=image_size)
    parts = _read(Path(path).expanduser())
    kinds = 1 + max(int(labels.max(initial=0)) for _, labels in parts.values())
    if classes is None:
        every = np.concatenate([labels for _, labels in parts.values()])
        if every.size and kinds != len(LESION_CLASSES):
            warn_of_classes(every, list(map(str, range(kinds))), where=str(path))
        classes = LESION_CLASSES if kinds == len(LESION_CLASSES) else list(map(str, range(kinds)))
    chosen = list(parts) if part == "all" else [part]
    if not any(len(parts[name][1]) for name in chosen):
        filled = [name for name, (_, labels) in parts.items() if len(labels)]
        raise ValueError(
            f"{path}: no picture is in {' or '.join(chosen)}; its parts with some are "
            f"{', '.join(filled) or 'none'}"
        )
    try:
        images = np.concatenate([parts[name][0] for name in chosen])
        if decoder is not None and images.shape[1:3] != (decoder.image_size,) * 2:
            images = np.stack([_resized(image, decoder) for image in images])
        identifiers = [
            f"{name}/{number}" for name in chosen for number in range(len(parts[name][1]))
        ]
        dataset = LesionDataset(
            images=np.ascontiguousarray(
                images.reshape(*images.shape[:3], -1).transpose(0, 3, 1, 2)
            ),
            labels=np.concatenate([parts[name][1] for name in chosen]),
            groups=identifiers,
            identifiers=identifiers,
            classes=classes,
            metadata={"part": np.array([name.partition("/")[0] for name in identifiers])},
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if encoding is None and dataset.channels == 3:
        encoding = "srgb"
    return dataset.taken_as(encoding)


def _resized(image: np.ndarray, decoder: Decoder) -> np.ndarray:
    picture = Image.fromarray(image)
    return np.asarray(fit(picture, decoder.image_size, decoder.geometry, Image.Resampling.LANCZOS))


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and flat labels of each part, checked."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file; give a MedMNIST .npz")
    names = ("train", "val", "test")
    needed = [f"{name}_{what}" for name in names for what in ("images", "labels")]
    try:
        # Opened here, because NumPy leaves a file that is no zip open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if absent := [name for name in needed if name not in stored]:
                raise ValueError(f"it lacks the arrays {', '.join(absent)}")
            arrays = {name: stored[name] for name in needed}
            if strange := [name for name in needed if not isinstance(arrays[name], np.ndarray)]:
                raise ValueError(f"these are no arrays: {', '.join(strange)}")
    # NumPy raises nearly anything on a damaged file.
    except Exception as error:
        raise ValueError(f"{path} is not a MedMNIST .npz: {error}") from error
    parts = {}
    for name in names:
        images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
        if labels.ndim == 2 and labels.shape[1] > 1:
            raise ValueError(
                f"{path} is multi-label ({name}_labels has {labels.shape[1]} columns); "
                "only files with one label for each image can be used"
            )
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or images.shape[3:] not in ((), (3,))
        ):
            raise ValueError(
                f"{path}: {name}_images must be uint8 [N, H, W] or [N, H, W, 3], got "
                f"{images.dtype} {list(images.shape)}; volumes cannot be used"
            )
        if labels.size != len(images) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: {name}_labels must be {len(images)} integers, got {labels.dtype} "
                f"{list(labels.shape)}"
            )
        if labels.max(initial=0) >= _MOST_CLASSES:
            raise ValueError(
                f"{path}: {name}_labels name a class {labels.max()}; at most {_MOST_CLASSES} "
                "classes, counted from 0, are allowed"
            )
        parts[name] = images, labels.reshape(-1).astype(np.int64)
    return parts
