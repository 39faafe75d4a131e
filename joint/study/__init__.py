"""Design-space studies: which camera, at how much light, for how many bits.

::

    Study ──create_study──► STUDY/study.json ──run_study, or work on any machine──► runs/<digest>/
                                    │                                                    │
                                    └──────────────── report, rows ◄─────────────────────┘

Folders: ``findings`` results from the files of the runs · ``page`` the same as one HTML page.

Files: ``axis`` what may differ, ``condition`` in which designs · ``sampler`` which combinations ·
``formula`` arithmetic, ``derived`` fields and costs from formulas · ``constraint`` which designs
make sense · ``space`` the study and its plan, ``rehearsal`` whether each design can run,
``requirements`` what is good enough, ``significance`` how many seeds show something · ``paths``
fields by dotted names · ``create`` a study in its folder, after the checks of ``labels`` and
``preflight``; ``ledger`` its designs and runs, ``store`` their files · ``scenes`` of the runs,
``run`` one run, ``together`` several on one device, ``attempt`` starts of runs, ``machine``
failures of a machine · ``work`` the workers, ``process_pool`` on this machine, ``ray_pool`` on a
cluster · ``validation`` results by which designs are chosen, ``search`` designs that follow from
results, ``race`` seeds that do, ``race_decision`` which · ``confirm`` a result on fresh seeds,
``elsewhere`` designs at other points · ``live`` progress, ``check`` whether the files are whole,
``provenance`` versions and inputs of the runs.
"""

from joint.analysis.curve_difference import RateDifference, rate_difference

from .axis import Axis, Design, Level
from .check import StudyCheck, StudyFault, check_study
from .confirm import Winner, confirm, winner
from .create import create_study
from .elsewhere import Elsewhere, Place, elsewhere
from .findings.atlas import atlas, learned_elements
from .findings.design_summary import DesignSummary
from .findings.draws import Draws, resample
from .findings.effects import AxisEffect, Effects, LevelMean, PairEffect, Share, effects
from .findings.element import Element, Registration, align, load_element, spreads
from .findings.front import Front, FrontPoint, Hypervolume, fronts
from .findings.inference import Inference, Outcome, infer
from .findings.pareto import front_probability, hypervolume, hypervolume_shares, pareto_front
from .findings.rate_accuracy import RateAccuracy, RateFamily, RatePoint, rate_accuracy
from .findings.report import Failure, StudyReport, compare_designs, report
from .findings.selection import Candidate, Selection, select_designs
from .findings.stability import Atlas, DesignStability, Learned, stability
from .findings.statistics import Estimate, PairedDifference, adjusted, compare, estimate
from .findings.table import COSTS, Row, design_costs, outcomes, rows, to_csv, to_json, to_text
from .ledger import Ledger, PlannedRun, StudyError, Tally
from .live import Progress, progress, watch
from .page.whole import study_html, write_study_html
from .paths import known_paths
from .process_pool import ProcessEach, WorkerLost
from .provenance import EnvironmentDifference, environment_differences
from .race import Race
from .ray_pool import RayEach
from .requirements import Bound, Requirements
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
from .store import open_study, refreshed
from .work import Worked, run_study, work

__all__ = [
    "COSTS",
    "GP",
    "NSGA2",
    "TPE",
    "Atlas",
    "Axis",
    "AxisEffect",
    "Bound",
    "Candidate",
    "Comparison",
    "Design",
    "DesignStability",
    "DesignSummary",
    "Draws",
    "Effects",
    "Element",
    "Elsewhere",
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
    "PairedDifference",
    "Place",
    "Plan",
    "PlannedRun",
    "ProcessEach",
    "Progress",
    "Race",
    "Random",
    "RateAccuracy",
    "RateDifference",
    "RateFamily",
    "RatePoint",
    "RayEach",
    "Registration",
    "Requirements",
    "Row",
    "Selection",
    "Share",
    "Sobol",
    "Study",
    "StudyCheck",
    "StudyError",
    "StudyFault",
    "StudyReport",
    "Tally",
    "Winner",
    "Worked",
    "WorkerLost",
    "adjusted",
    "align",
    "atlas",
    "check_study",
    "compare",
    "compare_designs",
    "confirm",
    "create_study",
    "design_costs",
    "effects",
    "elsewhere",
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
    "refreshed",
    "report",
    "resample",
    "rows",
    "run_study",
    "seeds_for_claim",
    "seeds_needed",
    "select_designs",
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
