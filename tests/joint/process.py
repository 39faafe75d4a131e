"""One process of the runs that test_parallel.py starts as torchrun does: FOLDER RUNS.

``RUNS`` is JSON: the options of :func:`train` by the names of the folders in ``FOLDER``.
"""

import json
import sys
import time
from pathlib import Path

import torch
from small import OBJECTIVE, Head, Uneven, _gradients, _settings
from torch import nn

import compress
import joint
import optics


def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Head()
    head.net[7] = nn.Identity()  # dropout has no sources of its own
    # What it remembers is of the pictures of its process.
    head.net[4] = nn.Sequential(nn.InstanceNorm2d(16, track_running_stats=True), nn.ReLU())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=Uneven("identity", 3),
            sensor=optics.Sensor(2000, trainable_gain=True),
            codec=compress.FactorizedCodec(),
            classifier=head,
        )


def train(
    folder,
    scenes,
    *,
    epochs=1,
    batch_size=48,
    micro_batches=1,
    every=None,
    resume=False,
    stay=None,
    target=None,
    restore_best=True,
):
    """Train together; what this process has at the end goes to files of its own.

    ``scenes`` are those to train and to validate with.

    After the epoch ``stay`` it waits for a file ``go`` in ``folder``.
    """
    folder.mkdir(exist_ok=True)
    with joint.launched("cpu") as place:
        own = system()
        config = _settings(
            epochs=epochs, batch_size=batch_size, micro_batches=micro_batches,
            checkpoint_every=every, augmentation="dihedral", restore_best=restore_best,
        )  # fmt: skip
        objective = OBJECTIVE.model_copy(update={"rate_target": target, "penalty": 0.3})
        told = []

        def hear(record):
            told.append(record)
            while record.epoch == stay and not (folder / "go").exists():
                time.sleep(0.01)

        history = joint.fit(
            own, *scenes, objective=objective, config=config, directory=folder / "run",
            resume=resume, device=place, progress=False, on_epoch=hear,
        )  # fmt: skip
        gradients = _gradients(own)
        number = joint.parallel.rank()
    joint.save_checkpoint(folder / f"gradients{number}.safetensors", gradients, {})
    joint.save_checkpoint(folder / f"weights{number}.safetensors", own.state_dict(), {})
    record = history.epochs[-1]
    summary = {"train": record.train, "validation": record.validation}
    summary["norms"] = record.gradient_norms
    (folder / f"summary{number}.json").write_text(json.dumps(summary))
    (folder / f"told{number}.json").write_text(json.dumps([record.epoch for record in told]))
    print("finished", number, flush=True)


if __name__ == "__main__":
    # Here this is the conftest.py beside this file; in a session of pytest it may be another.
    from conftest import odd_lesions

    torch.set_num_threads(1)
    for name, options in json.loads(sys.argv[2]).items():
        train(Path(sys.argv[1], name), odd_lesions(), **options)
