"""The system: compose, train, evaluate. The only package that imports the other three.

Files: ``system`` the differentiable graph, ``stages`` requirements on stages, ``stage_audit`` tests
of a custom stage, ``planes`` between stages, ``kinds`` argument types of functions on systems ·
``objective`` the training loss, ``term`` user-defined terms · ``feed`` loading of pictures,
``parallel`` several processes, ``device`` choice of device · ``explain`` explanation maps ·
``settings`` base of the configurations, ``import_path`` objects outside the library · ``cells``
text tables, ``parse`` JSON and TOML, ``record`` results and ``described`` modules as JSON ·
``caution`` warnings at the caller's line, ``neighbours`` a guard of the four package names ·
``cli`` the command line, ``script`` exit of a script.

Subpackages, each of which imports only those before it: ``judge`` evaluation · ``saved`` files of
runs · ``train`` the training loop · ``picture`` picture files · ``config`` configurations · ``run``
from data to a finished run, and back · ``deploy`` use of a trained system · ``analysis`` contrast,
and whether it decides · ``panel`` parts of figures, ``figure`` figures of runs and analyses ·
``report`` pages about runs · ``study`` many runs and their statistics · ``command`` the commands.
"""

import importlib
from types import ModuleType

# First: before anything of a neighbouring package is used.
from . import neighbours as _neighbours  # noqa: F401  # isort: skip

from .config.classifier import ClassifierConfig
from .config.codecs import (
    AutoencoderConfig,
    AVIFConfig,
    DifferentiableJPEGConfig,
    FactorizedConfig,
    HyperpriorConfig,
    JPEG2000Config,
    JPEGConfig,
    KMeansConfig,
    PNGConfig,
    WebPConfig,
    build_codec,
)
from .config.colour import ColourConfig
from .config.compound import CompoundConfig, SurfaceConfig
from .config.custom import CustomConfig
from .config.front_ends import FourierConfig, KernelConfig, LensConfig, build_front_end
from .config.psf import PSFConfig
from .config.restoration import UNetConfig
from .config.run import (
    RunConfig,
    SplitConfig,
    SystemConfig,
    load_config,
    run_directory,
    save_config,
)
from .config.scenes import (
    ClassFolders,
    HAM10000Config,
    ImageTableConfig,
    ISICConfig,
    MedMNISTConfig,
    PhantomConfig,
    SceneFileConfig,
    build_data,
    data_config,
)
from .config.sensor import SensorConfig
from .config.shutter import ShutterConfig
from .deploy.data_sheet import DataSheet, data_sheet
from .deploy.export import Exported, export
from .deploy.predict import Prediction, predict
from .explain import (
    ActivationMap,
    Attribution,
    OcclusionMap,
    grad_cam,
    integrated_gradients,
    occlusion,
)
from .judge.choose import RuleChoice, choose_rule
from .judge.evaluate import evaluate
from .judge.evaluation import Evaluation
from .judge.metric import STUDY_METRICS
from .judge.point import OperatingPoint
from .judge.view_average import ViewAverage, average_views
from .objective import Losses, Objective
from .parallel import ProcessLost, launched
from .picture.file import CompressedFile, compress_file, decompress_file
from .run.build import build_split, build_system
from .run.stop import StopRequest, graceful_stop
from .run.trained import load_codec, load_fitted, load_run, load_system
from .saved.checkpoint import (
    CheckpointDamaged,
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from .saved.environment import Environment, environment, preferred_precision
from .saved.folder import (
    RunFolder,
    RunSummary,
    is_done,
    list_runs,
    lock_run,
    read_history,
    summarise_run,
)
from .saved.lock import RunLocked
from .saved.predictions import Predictions, load_predictions
from .settings import ConfigError, NoneConfig
from .stage_audit import Promise, StageAudit, audit_stage
from .stages import STAGES
from .system import ImagingSystem, Measured, SystemOutput
from .term import Term, loss_term
from .train.augment import Augmentation, augment, augmentation
from .train.ensemble import fit_ensemble
from .train.history import EpochRecord, History
from .train.listen import tensorboard_writer
from .train.loop import fit
from .train.run import TrainingDiverged
from .train.training import Training
from .train.two_stage import FittedPSF, TwoStage, fit_psf, two_stage

__all__ = [
    "STAGES",
    "STUDY_METRICS",
    "AVIFConfig",
    "ActivationMap",
    "Attribution",
    "Augmentation",
    "AutoencoderConfig",
    "CheckpointDamaged",
    "CheckpointError",
    "ClassFolders",
    "ClassifierConfig",
    "ColourConfig",
    "CompoundConfig",
    "CompressedFile",
    "ConfigError",
    "CustomConfig",
    "DataSheet",
    "DifferentiableJPEGConfig",
    "Environment",
    "EpochRecord",
    "Evaluation",
    "Exported",
    "FactorizedConfig",
    "FittedPSF",
    "FourierConfig",
    "HAM10000Config",
    "History",
    "HyperpriorConfig",
    "ISICConfig",
    "ImageTableConfig",
    "ImagingSystem",
    "JPEG2000Config",
    "JPEGConfig",
    "KMeansConfig",
    "KernelConfig",
    "LensConfig",
    "Losses",
    "Measured",
    "MedMNISTConfig",
    "NoneConfig",
    "Objective",
    "OcclusionMap",
    "OperatingPoint",
    "PNGConfig",
    "PSFConfig",
    "PhantomConfig",
    "Prediction",
    "Predictions",
    "ProcessLost",
    "Promise",
    "RuleChoice",
    "RunConfig",
    "RunFolder",
    "RunLocked",
    "RunSummary",
    "SceneFileConfig",
    "SensorConfig",
    "ShutterConfig",
    "SplitConfig",
    "StageAudit",
    "StopRequest",
    "SurfaceConfig",
    "SystemConfig",
    "SystemOutput",
    "Term",
    "Training",
    "TrainingDiverged",
    "TwoStage",
    "UNetConfig",
    "ViewAverage",
    "WebPConfig",
    "audit_stage",
    "augment",
    "augmentation",
    "average_views",
    "build_codec",
    "build_data",
    "build_front_end",
    "build_split",
    "build_system",
    "choose_rule",
    "compress_file",
    "data_config",
    "data_sheet",
    "decompress_file",
    "environment",
    "evaluate",
    "export",
    "fit",
    "fit_ensemble",
    "fit_psf",
    "graceful_stop",
    "grad_cam",
    "integrated_gradients",
    "is_done",
    "launched",
    "list_runs",
    "load_checkpoint",
    "load_codec",
    "load_config",
    "load_fitted",
    "load_predictions",
    "load_run",
    "load_system",
    "load_weights",
    "lock_run",
    "loss_term",
    "occlusion",
    "predict",
    "preferred_precision",
    "read_history",
    "run_directory",
    "save_checkpoint",
    "save_config",
    "summarise_run",
    "tensorboard_writer",
    "two_stage",
]


def __getattr__(name: str) -> ModuleType:
    """Import a subpackage at its first use: together they take longer than all the rest."""
    if name in ("analysis", "figure", "report", "study"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
