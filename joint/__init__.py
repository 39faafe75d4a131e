"""The system: compose, train, evaluate. The only package that imports the other three.

Files: ``system`` the graph · ``objective`` what it is trained for · ``train`` the one loop ·
``run`` its configuration, state and files · ``evaluate`` labels, bits and fidelity ·
``checkpoint`` files that are whole or absent · ``augment`` random views · ``config`` a run as
data · ``build`` from data to objects · ``figure`` pictures of a run · ``cli`` the command line ·
``neighbours`` a guard of the four names.
"""

# First of all: before anything of a neighbour is used.
from . import neighbours as _neighbours  # noqa: F401  # isort: skip

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
from .run import EpochRecord, History, Training, TrainingDiverged
from .system import STAGES, ImagingSystem, SystemOutput
from .train import fit

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
