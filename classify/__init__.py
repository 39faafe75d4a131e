"""Labels: the labelled scenes, honest splits, classifiers, and what may be claimed of them.

Files: ``data`` the scenes (HAM10000, class folders, MedMNIST, the embedded phantom) and their
splits · ``backbone`` classifiers by name · ``imbalance`` weights, priors and losses for rare
classes · ``metrics`` the report with its intervals.
"""

from .backbone import BACKBONES, BackboneRecord, Classifier, ResNetS, backbone
from .data import (
    HAM10000,
    LESION_CLASSES,
    Batch,
    ImageFolder,
    Lesion,
    LesionDataset,
    LesionPhantom,
    MedMNIST,
    Split,
    check_classes,
    skin_reflectance,
    split,
)
from .imbalance import class_weights, effective_number_weights, log_prior, task_loss
from .metrics import Interval, Report, bootstrap, report

__all__ = [
    "BACKBONES",
    "HAM10000",
    "LESION_CLASSES",
    "BackboneRecord",
    "Batch",
    "Classifier",
    "ImageFolder",
    "Interval",
    "Lesion",
    "LesionDataset",
    "LesionPhantom",
    "MedMNIST",
    "Report",
    "ResNetS",
    "Split",
    "backbone",
    "bootstrap",
    "check_classes",
    "class_weights",
    "effective_number_weights",
    "log_prior",
    "report",
    "skin_reflectance",
    "split",
    "task_loss",
]
