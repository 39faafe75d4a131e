"""Design-space studies: which camera, at how much light, for how many bits.

::

    Study ──create_study──► STUDY/study.json ──run_study, or work on any machine──► runs/<digest>/
                                    │                                                    │
                                    └──────────────── report, rows ◄─────────────────────┘

Files: ``axis`` what may differ · ``sampler`` which combinations · ``constraint`` which of them
make sense · ``space`` the study and its plan · ``paths`` fields by dotted names · ``store`` the
folder · ``run`` one run · ``work`` the workers · ``significance`` tests over seeds, and luck ·
``inference`` intervals over seeds and lesions · ``statistics`` comparisons · ``table`` rows ·
``pareto`` the front · ``report`` what was shown · ``command`` the command line.
"""

from .axis import Axis, Design, Level
from .inference import STUDY_METRICS, Inference, Outcome, infer
from .pareto import pareto_front
from .paths import known_paths
from .report import DesignSummary, StudyReport, compare_designs, report
from .sampler import Grid, Listed, Random, Sobol
from .significance import (
    expected_maximum,
    holm,
    seeds_for_claim,
    seeds_needed,
    sign_flip_test,
    smallest_p,
)
from .space import Comparison, Pair, Plan, Study, load_study
from .statistics import Contrast, Estimate, adjusted, compare, estimate
from .store import Ledger, PlannedRun, StudyError, Tally, create_study, open_study
from .table import Row, outcomes, rows, to_csv, to_json, to_text
from .work import ProcessEach, Worked, WorkerLost, run_study, work

__all__ = [
    "STUDY_METRICS",
    "Axis",
    "Comparison",
    "Contrast",
    "Design",
    "DesignSummary",
    "Estimate",
    "Grid",
    "Inference",
    "Ledger",
    "Level",
    "Listed",
    "Outcome",
    "Pair",
    "Plan",
    "PlannedRun",
    "ProcessEach",
    "Random",
    "Row",
    "Sobol",
    "Study",
    "StudyError",
    "StudyReport",
    "Tally",
    "Worked",
    "WorkerLost",
    "adjusted",
    "compare",
    "compare_designs",
    "create_study",
    "estimate",
    "expected_maximum",
    "holm",
    "infer",
    "known_paths",
    "load_study",
    "open_study",
    "outcomes",
    "pareto_front",
    "report",
    "rows",
    "run_study",
    "seeds_for_claim",
    "seeds_needed",
    "sign_flip_test",
    "smallest_p",
    "to_csv",
    "to_json",
    "to_text",
    "work",
]
