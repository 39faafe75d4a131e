"""Figures of a run and of its analyses. Matplotlib is imported at module level only here.

Files: ``system`` planes, learned element, classifier input, optimal images · ``score`` a report,
and each class against the rest · ``contrast`` of classes, and recall and confusion against it ·
``frequency`` which frequencies are kept, and their effect · ``rate`` accuracy or fidelity against
bits · ``points`` numbers against light, quality, distance · ``robustness`` accuracy against
imperfections · ``lens`` contrast through focus · ``file`` a figure as PNG, PDF or SVG.

Single panels are drawn in :mod:`joint.panel`; most of those functions can be imported here too.
A dollar sign in a title or name is printed as it is and starts no formula.
"""

from joint.panel.element import draw_filter
from joint.panel.planes import draw_light
from joint.panel.score import (
    SHADE,
    draw_confusion,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
)

from .contrast import confused_pairs_figure, contrast_figure, sweep_figure
from .file import save_figure
from .frequency import kept_figure, reliance_figure
from .lens import lens_figure
from .points import points_figure
from .rate import distortion_figure, rate_figure
from .robustness import robustness_figure
from .score import operating_figure, report_figure, roc_figure
from .system import handed_figure, optimal_figure, system_figure

__all__ = [
    "SHADE",
    "confused_pairs_figure",
    "contrast_figure",
    "distortion_figure",
    "draw_confusion",
    "draw_filter",
    "draw_light",
    "draw_precision_recall",
    "draw_reliability",
    "draw_roc",
    "handed_figure",
    "kept_figure",
    "lens_figure",
    "operating_figure",
    "optimal_figure",
    "points_figure",
    "rate_figure",
    "reliance_figure",
    "report_figure",
    "robustness_figure",
    "roc_figure",
    "save_figure",
    "sweep_figure",
    "system_figure",
]
