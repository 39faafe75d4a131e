"""The system: compose, train, evaluate. The only package that imports the other three.

Files: ``system`` the graph · ``objective`` what it is trained for · ``train`` the one loop ·
``run`` its configuration, state and files · ``evaluate`` labels, bits and fidelity ·
``checkpoint`` files that are whole or absent · ``augment`` random views · ``config`` a run as
data · ``build`` from data to objects · ``figure`` pictures of a run · ``cli`` the command line.
"""

from pathlib import Path as _Path

import classify as _classify
import compress as _compress
import optics as _optics

from .augment import augment
from .build import build_data, build_split, build_system, load_run
from .checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from .config import (
    AutoencoderConfig,
    ClassFolders,
    ClassifierConfig,
    ConfigError,
    FactorizedConfig,
    FourierConfig,
    HAM10000Config,
    JPEGConfig,
    KernelConfig,
    MedMNISTConfig,
    NoneConfig,
    PhantomConfig,
    RunConfig,
    SensorConfig,
    SplitConfig,
    SystemConfig,
    data_config,
    load_config,
    save_config,
)
from .evaluate import Evaluation, evaluate
from .objective import Losses, Objective
from .run import EpochRecord, History, Training
from .system import STAGES, ImagingSystem, SystemOutput
from .train import TrainingDiverged, fit

__all__ = [
    "STAGES",
    "AutoencoderConfig",
    "CheckpointError",
    "ClassFolders",
    "ClassifierConfig",
    "ConfigError",
    "EpochRecord",
    "Evaluation",
    "FactorizedConfig",
    "FourierConfig",
    "HAM10000Config",
    "History",
    "ImagingSystem",
    "JPEGConfig",
    "KernelConfig",
    "Losses",
    "MedMNISTConfig",
    "NoneConfig",
    "Objective",
    "PhantomConfig",
    "RunConfig",
    "SensorConfig",
    "SplitConfig",
    "SystemConfig",
    "SystemOutput",
    "Training",
    "TrainingDiverged",
    "augment",
    "build_data",
    "build_split",
    "build_system",
    "data_config",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_config",
    "load_run",
    "load_weights",
    "save_checkpoint",
    "save_config",
]


def _check_neighbours() -> None:
    """Refuse a stranger under one of our four short names.

    Installers do not notice when two distributions ship a package of the same name, and a folder
    called ``optics`` in the working directory shadows ours.
    """
    home = _Path(__file__).resolve().parent.parent
    for package in (_optics, _compress, _classify):
        found = _Path(str(package.__file__)).resolve().parent
        if found.parent != home:
            raise ImportError(
                f"'{package.__name__}' was found at {found}, not beside lens2label's 'joint' in "
                f"{home}: another distribution or folder has the same name. Remove it from the "
                "path, or reinstall lens2label"
            )


_check_neighbours()
