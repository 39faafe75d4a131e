"""Labelled scenes.

Files: ``dataset`` what every loader returns · ``ham10000``, ``folder``, ``medmnist``, ``phantom``
the sources · ``split`` parts that share no lesion · ``archive`` files in folders and zips ·
``decode`` files to arrays · ``cache`` decoded arrays on disk · ``lesion``, ``canvas``, ``skin``
what a phantom consists of, how it is drawn, and how it reflects light.
"""

from .dataset import LESION_CLASSES, Batch, Lesion, LesionDataset, check_classes
from .folder import ImageFolder
from .ham10000 import HAM10000
from .medmnist import MedMNIST
from .phantom import LesionPhantom
from .skin import skin_reflectance
from .split import Split, split

__all__ = [
    "HAM10000",
    "LESION_CLASSES",
    "Batch",
    "ImageFolder",
    "Lesion",
    "LesionDataset",
    "LesionPhantom",
    "MedMNIST",
    "Split",
    "check_classes",
    "skin_reflectance",
    "split",
]
