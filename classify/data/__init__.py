"""Labelled scenes.

Files: ``dataset`` what every loader returns, ``arrays`` what it may hold · ``ham10000``, ``isic``,
``folder``, ``image_table``, ``medmnist``, ``scene_file``, ``from_torch``, ``phantom`` the sources ·
``split`` parts that share no lesion · ``audit`` duplicates, leaks and contradictions · ``against``
what two data sets share · ``scan`` pictures as they are compared, ``near`` those that look alike ·
``archive`` files in folders and zips · ``table`` what is said of them, ``lesion_table`` pictures
that its rows name · ``decode`` files to arrays, ``sixteen`` with all their bits, ``colour`` by
profiles · ``cache`` decoded arrays on disk. The phantom: ``draws`` random numbers, ``canvas`` how
it is drawn, ``lesion`` and its ``structures`` what it consists of, ``skin`` and ``haemoglobin`` how
it reflects light, ``scene`` people, hair and camera.
"""

from .against import CrossAudit, audit_against
from .arrays import SceneEncoding, as_levels
from .audit import Audit, audit
from .dataset import (
    LESION_CLASSES,
    Batch,
    Lesion,
    LesionDataset,
    check_classes,
)
from .folder import ImageFolder
from .from_torch import from_torch
from .ham10000 import HAM10000
from .image_table import ImageTable
from .isic import ISIC
from .medmnist import MedMNIST
from .phantom import SKIN_TYPES, LesionPhantom, PhantomMaps, SkinType, phantom_maps
from .scene_file import SceneFile, save_scenes
from .skin import skin_reflectance
from .split import Split, given_split, k_folds, split

__all__ = [
    "HAM10000",
    "ISIC",
    "LESION_CLASSES",
    "SKIN_TYPES",
    "Audit",
    "Batch",
    "CrossAudit",
    "ImageFolder",
    "ImageTable",
    "Lesion",
    "LesionDataset",
    "LesionPhantom",
    "MedMNIST",
    "PhantomMaps",
    "SceneEncoding",
    "SceneFile",
    "SkinType",
    "Split",
    "as_levels",
    "audit",
    "audit_against",
    "check_classes",
    "from_torch",
    "given_split",
    "k_folds",
    "phantom_maps",
    "save_scenes",
    "skin_reflectance",
    "split",
]
