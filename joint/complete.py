"""A run from its configuration to its end, from weights that other runs have reached.

::

    classifier alone ─┐ start
    codec alone ──────┴──► complete_run(joint) ──► run folder that is done ──► lens2label report
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from classify import Split

from .build import build_system
from .checkpoint import CheckpointError, load_checkpoint, load_weights
from .config import ConfigError, RunConfig, load_config, save_config
from .evaluate import evaluate
from .folder import BEST_FILE, hold, is_done
from .system import ImagingSystem, Stage
from .train import fit

__all__ = ["complete_run"]


def complete_run(
    config: RunConfig,
    parts: Split,
    directory: Path | str,
    *,
    start: Mapping[Stage, nn.Module] | None = None,
    resume: bool = True,
    device: torch.device | str = "cpu",
    resamples: int = 1000,
    progress: bool = True,
) -> ImagingSystem:
    """Train and test the run of a configuration, and leave a folder that is done.

    The folder is one of ``lens2label train``: :func:`joint.load_run`, ``lens2label evaluate`` and
    ``lens2label report`` read it.

    Parameters
    ----------
    config : RunConfig
        The run.
    parts : Split
        Its scenes, ``build_split(config, build_data(config.data))``: built once for many runs.
    directory : path
        The run folder.
    start : mapping of stage to module, optional
        Trained stages whose weights are copied before training; the others begin with those of
        ``config.system.seed``.
    resume : bool
        Go on with an interrupted run, and take a finished one as it is.
    device : torch.device or str
        Where to train.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals in ``result.json``.
    progress : bool
        Show bars and lines.

    Returns
    -------
    ImagingSystem
        With the weights of the best epoch, in evaluation mode, on ``device``.

    Raises
    ------
    ConfigError
        When the folder holds a run of another configuration.
    ValueError, CheckpointError, TrainingDiverged
        As :func:`joint.fit`; for a start that does not fit the system.
    """
    train, validation, test = parts.train, parts.validation, parts.test
    if validation is None:
        raise ValueError("a run needs a validation part: split into three")
    system = build_system(
        config.system,
        image_size=train.image_size,
        channels=train.channels,
        classes=len(train.classes),
    ).to(device)
    with hold(directory) as folder:
        if is_done(folder.path):
            _agreed(config, folder.path, resume)
        else:
            for stage, module in (start or {}).items():
                _copied(system, stage, module)
            folder.begin()
            save_config(config, folder.path)
            folder.record_environment(device)
            history = fit(
                system,
                train,
                validation,
                objective=config.objective,
                config=config.training,
                directory=folder,
                resume=resume,
                device=device,
                progress=progress,
            )
        weights, _ = load_checkpoint(folder.path / BEST_FILE)
        load_weights(system, weights, source=str(folder.path / BEST_FILE))
        if not is_done(folder.path):
            result = evaluate(
                system, test, objective=config.objective, count_bytes=True, resamples=resamples
            )
            folder.save_predictions(result, test.classes)
            folder.finish(
                {
                    "digest": config.digest(),
                    "start": sorted(start or {}),
                    "epochs": len(history.epochs),
                    "best_epoch": history.best_epoch,
                    "stopped_early": history.stopped_early,
                    "test": result.to_dict(),
                }
            )
    return system.eval()


def _agreed(config: RunConfig, path: Path, resume: bool) -> None:
    """Take a finished run only for what was asked for."""
    if not resume:
        raise CheckpointError(f"{path} already holds a run; resume it or choose another folder")
    if load_config(path) != config:
        raise ConfigError(
            f"{path} holds a finished run of another configuration: choose another folder"
        )


def _copied(system: ImagingSystem, stage: Stage, module: nn.Module) -> None:
    own = getattr(system, stage)
    if own is None:
        raise ValueError(f"the start gives a {stage}, and the system of the run has none")
    load_weights(own, dict(module.state_dict()), source=f"the start of the {stage}")
