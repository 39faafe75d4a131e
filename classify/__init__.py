"""Labels: the labelled scenes, honest splits, classifiers, and what may be claimed of them.

Files: ``data`` the scenes (HAM10000, class folders, MedMNIST, the embedded phantom) and their
splits · ``backbone`` classifiers by name · ``imbalance`` weights, priors and losses for rare
classes · ``metrics`` the report with its intervals · ``intervals`` the bootstrap over lesions ·
``comparison`` paired tests of two systems · ``calibration`` temperature and class prior.
"""

from .backbone import BACKBONES, BackboneRecord, Classifier, ResNetS, backbone
from .calibration import TauChoice, adjust_logits, choose_tau, fit_temperature
from .comparison import (
    Difference,
    McNemar,
    Permutation,
    bootstrap_difference,
    mcnemar,
    permutation_test,
)
from .data import (
    HAM10000,
    ISIC,
    LESION_CLASSES,
    Audit,
    Batch,
    ImageFolder,
    Lesion,
    LesionDataset,
    LesionPhantom,
    MedMNIST,
    Split,
    audit,
    check_classes,
    k_folds,
    skin_reflectance,
    split,
)
from .imbalance import class_weights, effective_number_weights, log_prior, task_loss
from .metrics import Interval, Reliability, Report, bootstrap, report

__all__ = [
    "BACKBONES",
    "HAM10000",
    "ISIC",
    "LESION_CLASSES",
    "Audit",
    "BackboneRecord",
    "Batch",
    "Classifier",
    "Difference",
    "ImageFolder",
    "Interval",
    "Lesion",
    "LesionDataset",
    "LesionPhantom",
    "McNemar",
    "MedMNIST",
    "Permutation",
    "Reliability",
    "Report",
    "ResNetS",
    "Split",
    "TauChoice",
    "adjust_logits",
    "audit",
    "backbone",
    "bootstrap",
    "bootstrap_difference",
    "check_classes",
    "choose_tau",
    "class_weights",
    "effective_number_weights",
    "fit_temperature",
    "k_folds",
    "log_prior",
    "mcnemar",
    "permutation_test",
    "report",
    "skin_reflectance",
    "split",
    "task_loss",
]
