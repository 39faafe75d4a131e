"""The system: compose, train, evaluate. The only package that imports the other three.

Files: ``system`` the graph · ``objective`` what it is trained for · ``train`` the one loop ·
``run`` its configuration, state and files · ``evaluate`` labels, bits and fidelity ·
``checkpoint`` files that are whole or absent · ``augment`` random views · ``config`` a run as
data, ``settings`` what its parts share, ``codecs`` every codec by its kind · ``build`` from data to
objects · ``picture`` single pictures as files · ``figure`` pictures of a run · ``cli`` the command
line · ``neighbours`` a guard of the four names.
"""

# First of all: before anything of a neighbour is used.
from . import neighbours as _neighbours  # noqa: F401  # isort: skip

from .augment import augment
from .build import build_data, build_split, build_system, load_codec, load_run
from .checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from .codecs import (
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
from .config import (
    ClassFolders,
    ClassifierConfig,
    ConfigError,
    FourierConfig,
    HAM10000Config,
    KernelConfig,
    MedMNISTConfig,
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
from .picture import CompressedFile, compress_file, decompress_file
from .run import EpochRecord, History, Training, TrainingDiverged
from .settings import NoneConfig
from .system import STAGES, ImagingSystem, SystemOutput
from .train import fit

__all__ = [
    "STAGES",
    "AVIFConfig",
    "AutoencoderConfig",
    "CheckpointError",
    "ClassFolders",
    "ClassifierConfig",
    "CompressedFile",
    "ConfigError",
    "DifferentiableJPEGConfig",
    "EpochRecord",
    "Evaluation",
    "FactorizedConfig",
    "FourierConfig",
    "HAM10000Config",
    "History",
    "HyperpriorConfig",
    "ImagingSystem",
    "JPEG2000Config",
    "JPEGConfig",
    "KMeansConfig",
    "KernelConfig",
    "Losses",
    "MedMNISTConfig",
    "NoneConfig",
    "Objective",
    "PNGConfig",
    "PhantomConfig",
    "RunConfig",
    "SensorConfig",
    "SplitConfig",
    "SystemConfig",
    "SystemOutput",
    "Training",
    "TrainingDiverged",
    "WebPConfig",
    "augment",
    "build_codec",
    "build_data",
    "build_split",
    "build_system",
    "compress_file",
    "data_config",
    "decompress_file",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_codec",
    "load_config",
    "load_run",
    "load_weights",
    "save_checkpoint",
    "save_config",
]
