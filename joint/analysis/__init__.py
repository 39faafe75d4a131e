"""What the system sees, what decides in it, what it costs, and where accuracy is lost.

Files: ``contrast`` the measures, ``gcnr`` that of histograms, ``plane`` at which plane · ``colour``
L*a*b* and CIEDE2000 with gradients · ``region`` lesion, ring and contour · ``segment`` masks where
there are none · ``by_class`` what is typical of a class, and which classes are confused ·
``correctness`` contrast against being right, within class · ``contrast_change`` between two
systems · ``causal`` the same lesions at another contrast, ``altered`` pictures without some of what
they tell · ``kept`` which details and regions are handed on,
``reliance`` which details decide, a ``ring`` of frequencies at a time ·
``optimal_image`` what the system takes for a class ·
``attribution`` where accuracy is lost, ``ledger`` what a picture costs, ``scores`` accuracies
paired over lesions · ``rate_map`` where bits go, ``rate_change`` and where they move to ·
``robustness`` away from the design, ``tolerance`` devices that are off in all ways at once,
``sensitivity`` and in one way, ``merit`` judged by one number, also when focused anew ·
``perturbation`` their means, ``imperfection`` what one is, ``alignment`` decentres and tilts,
``wavefront`` Zernike terms, ``disturbed`` the parts that sit elsewhere · ``observer``, ``usable``,
``gaussian`` information without training, ``cross_fit`` judged by other lesions ·
``information`` the gauges of a system and the screening of designs ·
``passes`` a data set with the noise of the evaluation · ``record`` results as JSON holds them.
"""

from .altered import Alteration, altered, equal_contrast, keep_region
from .attribution import LOSSES, Attribution, Loss, Mended, Omitted, Step, attribute
from .by_class import (
    ClassContrast,
    ConfusionContrast,
    ContrastByClass,
    PairContrast,
    confusion_against_contrast,
    contrast_by_class,
)
from .causal import ContrastSweep, recall_against_contrast, scalable, scale_contrast
from .colour import ciede2000
from .contrast import MEASURES, Contrast, Measure, Undefined, contrast
from .contrast_change import ContrastChange, contrast_change
from .correctness import (
    ContrastEffect,
    MatchedStrata,
    Slope,
    correctness_against_contrast,
    matched_strata,
)
from .gaussian import (
    GaussianInformation,
    gaussian_information,
    gaussian_mutual_information,
    sensor_information,
)
from .gcnr import generalised_cnr
from .imperfection import Imperfection
from .information import (
    PlaneInformation,
    RankCorrelations,
    Screened,
    Screening,
    information,
    screen,
)
from .kept import Annulus, Kept, KeptBy, RegionDifference, kept, radial_power
from .ledger import Ledger, StageCost, ledger
from .observer import Observer, PairAUC, hotelling_observer, random_features
from .optimal_image import OptimalImage, optimal_image
from .perturbation import PERTURBATIONS, ByImperfection, Perturbation, applicable
from .plane import PLANES, Plane, contrast_at, measure_contrast
from .rate_change import RateChange, RegionChange, rate_change
from .rate_map import REGIONS, ClassRate, RateMap, RegionRate, rate_map
from .region import skin_ring
from .reliance import Reliance, RingReliance, RingScores, reliance
from .ring import RingFilter, filter_ring, octave_rings
from .robustness import Curve, Point, Refused, Robustness, robustness
from .scores import Score, Scores
from .segment import fill_hair, intersection_over_union, segment
from .sensitivity import AtLimits, Sensitivity, sensitivity
from .tolerance import Limits, Tolerance, Yield, tolerance
from .usable import UsableInformation, usable_information
from .wavefront import wavefront_error, zernike_error

__all__ = [
    "LOSSES",
    "MEASURES",
    "PERTURBATIONS",
    "PLANES",
    "REGIONS",
    "Alteration",
    "Annulus",
    "AtLimits",
    "Attribution",
    "ByImperfection",
    "ClassContrast",
    "ClassRate",
    "ConfusionContrast",
    "Contrast",
    "ContrastByClass",
    "ContrastChange",
    "ContrastEffect",
    "ContrastSweep",
    "Curve",
    "GaussianInformation",
    "Imperfection",
    "Kept",
    "KeptBy",
    "Ledger",
    "Limits",
    "Loss",
    "MatchedStrata",
    "Measure",
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
    "Tolerance",
    "Undefined",
    "UsableInformation",
    "Yield",
    "altered",
    "applicable",
    "attribute",
    "ciede2000",
    "confusion_against_contrast",
    "contrast",
    "contrast_at",
    "contrast_by_class",
    "contrast_change",
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
    "ledger",
    "matched_strata",
    "measure_contrast",
    "octave_rings",
    "optimal_image",
    "radial_power",
    "random_features",
    "rate_change",
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
    "tolerance",
    "usable_information",
    "wavefront_error",
    "zernike_error",
]
