"""Analysis of a trained system: what it uses, what it costs, and where accuracy is lost.

Folders: ``contrast`` contrast of lesions, and whether it decides · ``information`` information of a
picture about its class, without training · ``tolerancing`` deviations from the design.

Files: ``region`` lesion, ring and contour, ``segment`` masks for pictures without, ``colour``
L*a*b* and CIEDE2000 with gradients, ``colour_accuracy`` of a camera · ``altered`` pictures with
some information removed · ``kept`` details and regions that reach the classifier, ``reliance``
frequencies that decide, a ``ring`` at a time · ``optimal_image`` the best picture of a class ·
``accuracy_losses`` by stage, ``system_costs`` of a picture, ``scores`` accuracies paired over
lesions · ``rate_map`` bits by region, ``rate_change`` their change between systems,
``rate_accuracy`` accuracy against rate, ``rate_distortion`` fidelity against rate,
``curve_difference`` differences of such curves · ``passes`` passes of a data set with the noise of
the evaluation, ``by_lesion`` intervals by resampling lesions.
"""

from .accuracy_losses import LOSSES, AccuracyLosses, Loss, Mended, Omitted, Step, accuracy_losses
from .altered import Alteration, altered, equal_contrast, keep_region
from .colour import ciede2000
from .colour_accuracy import ColourAccuracy, colour_accuracy, patch_colours
from .contrast.by_class import ClassContrast, ContrastByClass, contrast_by_class
from .contrast.causal import ContrastSweep, recall_against_contrast, scalable, scale_contrast
from .contrast.change import ContrastChange, contrast_change
from .contrast.confusion import ConfusionContrast, PairContrast, confusion_against_contrast
from .contrast.correctness import (
    ContrastEffect,
    MatchedStrata,
    Slope,
    correctness_against_contrast,
    matched_strata,
)
from .contrast.dependence import (
    ContrastDependence,
    MeasureDependence,
    contrast_dependence,
)
from .contrast.gcnr import generalised_cnr
from .contrast.measures import MEASURES, Contrast, Measure, Undefined, contrast
from .contrast.plane import PLANES, Plane, contrast_at, measure_contrast
from .curve_difference import RateDifference, rate_difference
from .information.gaussian import (
    GaussianInformation,
    gaussian_information,
    gaussian_mutual_information,
    sensor_information,
)
from .information.observer import Observer, PairAUC, hotelling_observer, random_features
from .information.screening import (
    PlaneInformation,
    RankCorrelations,
    Screened,
    Screening,
    information,
    screen,
)
from .information.usable import UsableInformation, usable_information
from .kept import Annulus, Kept, KeptBy, RegionDifference, kept, radial_power
from .optimal_image import OptimalImage, optimal_image
from .rate_accuracy import AccuracyCurve, AccuracyPoint, RateCurves, rate_curves
from .rate_change import RateChange, RegionChange, rate_change
from .rate_distortion import DistortionCurve, DistortionPoint, RateDistortion, rate_distortion
from .rate_map import REGIONS, ClassRate, RateMap, RegionRate, rate_map
from .region import skin_ring
from .reliance import Reliance, RingReliance, RingScores, reliance
from .ring import RingFilter, filter_ring, octave_rings
from .scores import Score, Scores
from .segment import fill_hair, intersection_over_union, segment
from .system_costs import StageCost, SystemCosts, system_costs
from .tolerancing.alignment import Alignment, alignment
from .tolerancing.imperfection import Imperfection
from .tolerancing.perturbation import PERTURBATIONS, ByImperfection, Perturbation, applicable
from .tolerancing.robustness import Curve, Point, Refused, Robustness, robustness
from .tolerancing.sensitivity import AtLimits, Sensitivity, sensitivity
from .tolerancing.surface_error import SurfaceError, surface_error
from .tolerancing.tolerance import LevelCorrelation, Limits, Tolerance, Yield, tolerance
from .tolerancing.wavefront import wavefront_error, zernike_error

__all__ = [
    "LOSSES",
    "MEASURES",
    "PERTURBATIONS",
    "PLANES",
    "REGIONS",
    "AccuracyCurve",
    "AccuracyLosses",
    "AccuracyPoint",
    "Alignment",
    "Alteration",
    "Annulus",
    "AtLimits",
    "ByImperfection",
    "ClassContrast",
    "ClassRate",
    "ColourAccuracy",
    "ConfusionContrast",
    "Contrast",
    "ContrastByClass",
    "ContrastChange",
    "ContrastDependence",
    "ContrastEffect",
    "ContrastSweep",
    "Curve",
    "DistortionCurve",
    "DistortionPoint",
    "GaussianInformation",
    "Imperfection",
    "Kept",
    "KeptBy",
    "LevelCorrelation",
    "Limits",
    "Loss",
    "MatchedStrata",
    "Measure",
    "MeasureDependence",
    "Mended",
    "Observer",
    "Omitted",
    "OptimalImage",
    "PairAUC",
    "PairContrast",
    "Perturbation",
    "Plane",
    "PlaneInformation",
    "Point",
    "RankCorrelations",
    "RateChange",
    "RateCurves",
    "RateDifference",
    "RateDistortion",
    "RateMap",
    "Refused",
    "RegionChange",
    "RegionDifference",
    "RegionRate",
    "Reliance",
    "RingFilter",
    "RingReliance",
    "RingScores",
    "Robustness",
    "Score",
    "Scores",
    "Screened",
    "Screening",
    "Sensitivity",
    "Slope",
    "StageCost",
    "Step",
    "SurfaceError",
    "SystemCosts",
    "Tolerance",
    "Undefined",
    "UsableInformation",
    "Yield",
    "accuracy_losses",
    "alignment",
    "altered",
    "applicable",
    "ciede2000",
    "colour_accuracy",
    "confusion_against_contrast",
    "contrast",
    "contrast_at",
    "contrast_by_class",
    "contrast_change",
    "contrast_dependence",
    "correctness_against_contrast",
    "equal_contrast",
    "fill_hair",
    "filter_ring",
    "gaussian_information",
    "gaussian_mutual_information",
    "generalised_cnr",
    "hotelling_observer",
    "information",
    "intersection_over_union",
    "keep_region",
    "kept",
    "matched_strata",
    "measure_contrast",
    "octave_rings",
    "optimal_image",
    "patch_colours",
    "radial_power",
    "random_features",
    "rate_change",
    "rate_curves",
    "rate_difference",
    "rate_distortion",
    "rate_map",
    "recall_against_contrast",
    "reliance",
    "robustness",
    "scalable",
    "scale_contrast",
    "screen",
    "segment",
    "sensitivity",
    "sensor_information",
    "skin_ring",
    "surface_error",
    "system_costs",
    "tolerance",
    "usable_information",
    "wavefront_error",
    "zernike_error",
]
