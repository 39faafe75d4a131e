"""Design-space studies: which camera, at how much light, for how many bits.

::

    Study ──create_study──► STUDY/study.json ──run_study, or work on any machine──► runs/<digest>/
                                    │                                                    │
                                    └──────────────── report, rows ◄─────────────────────┘

Files: ``axis`` what may differ, ``condition`` and where · ``sampler`` which combinations ·
``formula`` what follows from others · ``constraint`` which of them make sense · ``space`` the study
and its plan · ``paths`` fields by dotted names · ``store`` the folder · ``run`` one run · ``work``
the workers · ``ray_pool`` workers on a cluster · ``search`` designs that follow from results ·
``confirm`` a find on fresh seeds · ``live`` how far it is · ``significance`` tests over seeds, and
luck · ``inference`` intervals over seeds and lesions · ``draws`` of all designs together ·
``statistics`` comparisons · ``table`` rows · ``pareto`` what no other beats, ``front`` that of a
study · ``effects`` which choice matters · ``rate_accuracy`` bits for an accuracy · ``element``,
``stability`` and ``atlas`` what was learned, and whether again · ``report`` what was shown,
``provenance`` by which versions · ``draw`` charts, ``draw_atlas`` elements · ``page``,
``page_exploration`` and ``page_atlas`` HTML · ``command`` the command line.
"""

from .atlas import atlas, learned_elements
from .axis import Axis, Design, Level
from .confirm import Winner, confirm, winner
from .draws import Draws, resample
from .effects import AxisEffect, Effects, LevelMean, PairEffect, Share, effects
from .element import Alignment, Element, align, load_element, spreads
from .front import Front, FrontPoint, Hypervolume, fronts
from .inference import Inference, Outcome, infer
from .live import Progress, progress, watch
from .page import study_html, write_study_html
from .pareto import front_probability, hypervolume, hypervolume_shares, pareto_front
from .paths import known_paths
from .process_pool import ProcessEach, WorkerLost
from .provenance import EnvironmentDifference, environment_differences
from .rate_accuracy import (
    RateAccuracy,
    RateDifference,
    RateFamily,
    RatePoint,
    rate_accuracy,
    rate_difference,
)
from .ray_pool import RayEach
from .report import DesignSummary, Failure, StudyReport, compare_designs, report
from .sampler import GP, NSGA2, TPE, Grid, LatinHypercube, Listed, Random, Sobol
from .significance import (
    expected_maximum,
    holm,
    seeds_for_claim,
    seeds_needed,
    sign_flip_test,
    smallest_p,
)
from .space import Comparison, Pair, Plan, Study, load_study
from .stability import Atlas, DesignStability, Learned, stability
from .statistics import Contrast, Estimate, adjusted, compare, estimate
from .store import Ledger, PlannedRun, StudyError, Tally, create_study, open_study
from .table import COSTS, Row, design_costs, outcomes, rows, to_csv, to_json, to_text
from .work import Worked, run_study, work

__all__ = [
    "COSTS",
    "GP",
    "NSGA2",
    "TPE",
    "Alignment",
    "Atlas",
    "Axis",
    "AxisEffect",
    "Comparison",
    "Contrast",
    "Design",
    "DesignStability",
    "DesignSummary",
    "Draws",
    "Effects",
    "Element",
    "EnvironmentDifference",
    "Estimate",
    "Failure",
    "Front",
    "FrontPoint",
    "Grid",
    "Hypervolume",
    "Inference",
    "LatinHypercube",
    "Learned",
    "Ledger",
    "Level",
    "LevelMean",
    "Listed",
    "Outcome",
    "Pair",
    "PairEffect",
    "Plan",
    "PlannedRun",
    "ProcessEach",
    "Progress",
    "Random",
    "RateAccuracy",
    "RateDifference",
    "RateFamily",
    "RatePoint",
    "RayEach",
    "Row",
    "Share",
    "Sobol",
    "Study",
    "StudyError",
    "StudyReport",
    "Tally",
    "Winner",
    "Worked",
    "WorkerLost",
    "adjusted",
    "align",
    "atlas",
    "compare",
    "compare_designs",
    "confirm",
    "create_study",
    "design_costs",
    "effects",
    "environment_differences",
    "estimate",
    "expected_maximum",
    "front_probability",
    "fronts",
    "holm",
    "hypervolume",
    "hypervolume_shares",
    "infer",
    "known_paths",
    "learned_elements",
    "load_element",
    "load_study",
    "open_study",
    "outcomes",
    "pareto_front",
    "progress",
    "rate_accuracy",
    "rate_difference",
    "report",
    "resample",
    "rows",
    "run_study",
    "seeds_for_claim",
    "seeds_needed",
    "sign_flip_test",
    "smallest_p",
    "spreads",
    "stability",
    "study_html",
    "to_csv",
    "to_json",
    "to_text",
    "watch",
    "winner",
    "work",
    "write_study_html",
]
