"""Labels: the labelled scenes, honest splits, classifiers, and what may be claimed of them.

Files: ``data`` the scenes (HAM10000, class folders, tables of labels, MedMNIST, arrays of your own,
the embedded phantom) and their splits · ``backbone`` classifiers by name, ``registry`` which there
are (``inception`` and ``residual`` nets of our own, ``torchvision_nets`` and ``timm_nets`` the
others, ``weights`` their files), ``vote`` of several · ``imbalance`` weights, priors and losses for
rare classes · ``margin`` LDAM · ``sampling`` which pictures an epoch shows · ``mixing`` two
pictures in one · ``scores`` scores and labels, checked · ``metric_names`` what they are judged by ·
``judged`` the numbers, for any weights of the pictures · ``metrics`` the report with intervals ·
``intervals`` the bootstrap over lesions · ``comparison`` paired tests of two systems ·
``calibration`` the temperature · ``adjustment`` the class prior · ``referral`` classes to refer
against the rest · ``decision`` these three as one rule, kept · ``selective`` which pictures to
leave to others · ``operating_curve`` one class against the rest at every threshold ·
``given`` what is asked of arguments.
"""

from .adjustment import TauChoice, adjust_logits, choose_tau
from .backbone import Classifier, TracedLogits, backbone
from .calibration import (
    BiasCorrectedTemperature,
    calibrate_logits,
    fit_bias_corrected_temperature,
    fit_temperature,
)
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
    SKIN_TYPES,
    Audit,
    Batch,
    CrossAudit,
    ImageFolder,
    ImageTable,
    Lesion,
    LesionDataset,
    LesionPhantom,
    MedMNIST,
    PhantomMaps,
    SceneEncoding,
    SceneFile,
    SkinType,
    Split,
    as_levels,
    audit,
    audit_against,
    check_classes,
    from_torch,
    given_split,
    k_folds,
    phantom_maps,
    save_scenes,
    skin_reflectance,
    split,
)
from .decision import DecisionRule
from .imbalance import class_weights, effective_number_weights, log_prior, task_loss
from .inception import InceptionS
from .margin import CosineHead, ldam_margins
from .metrics import Interval, Reliability, Report, bootstrap, report
from .mixing import Mixing, mix
from .operating_curve import OperatingCurve, operating_curves
from .referral import PredictiveValues, Referral, choose_cutoff, predictive_values
from .registry import BACKBONES, BackboneRecord, backbone_record
from .residual import ResNetS
from .sampling import sample_order
from .selective import RiskCoverage, risk_coverage
from .vote import Vote

__all__ = [
    "BACKBONES",
    "HAM10000",
    "ISIC",
    "LESION_CLASSES",
    "SKIN_TYPES",
    "Audit",
    "BackboneRecord",
    "Batch",
    "BiasCorrectedTemperature",
    "Classifier",
    "CosineHead",
    "CrossAudit",
    "DecisionRule",
    "Difference",
    "ImageFolder",
    "ImageTable",
    "InceptionS",
    "Interval",
    "Lesion",
    "LesionDataset",
    "LesionPhantom",
    "McNemar",
    "MedMNIST",
    "Mixing",
    "OperatingCurve",
    "Permutation",
    "PhantomMaps",
    "PredictiveValues",
    "Referral",
    "Reliability",
    "Report",
    "ResNetS",
    "RiskCoverage",
    "SceneEncoding",
    "SceneFile",
    "SkinType",
    "Split",
    "TauChoice",
    "TracedLogits",
    "Vote",
    "adjust_logits",
    "as_levels",
    "audit",
    "audit_against",
    "backbone",
    "backbone_record",
    "bootstrap",
    "bootstrap_difference",
    "calibrate_logits",
    "check_classes",
    "choose_cutoff",
    "choose_tau",
    "class_weights",
    "effective_number_weights",
    "fit_bias_corrected_temperature",
    "fit_temperature",
    "from_torch",
    "given_split",
    "k_folds",
    "ldam_margins",
    "log_prior",
    "mcnemar",
    "mix",
    "operating_curves",
    "permutation_test",
    "phantom_maps",
    "predictive_values",
    "report",
    "risk_coverage",
    "sample_order",
    "save_scenes",
    "skin_reflectance",
    "split",
    "task_loss",
]
