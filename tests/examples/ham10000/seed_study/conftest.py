import copy
import functools
import json

import numpy as np
import pytest
import torch
from seed_study import published, results
from seed_study.protocol import Scale, plan
from seed_study.stages import at_seed

import classify
from joint import RunFolder, save_checkpoint

CLASSES = classify.LESION_CLASSES


@functools.cache
def _judged(right, wrong_class):
    """Scores of 70 test pictures, ten of each class, of which the first ``right`` are right."""
    labels = np.arange(70) % 7
    guesses = np.where(np.arange(70) < right, labels, (labels + 1) % 7)
    if wrong_class is not None:
        guesses = np.where(labels == wrong_class, (labels + 1) % 7, guesses)
    logits = 4 * np.eye(7, dtype=np.float32)[guesses]
    groups = [f"lesion{k}" for k in range(70)]
    report = classify.report(logits, labels, classes=CLASSES, groups=groups, resamples=5)
    return labels, logits, groups, report


class Invented:
    """Run folders of a study in which every accuracy is known beforehand."""

    def __init__(self, root, seeds=1):
        self.root = root
        scale = Scale(backbone="resnet_s", architectures=("resnet_s",), limit=84, resamples=5)
        self.study = plan(("seed", "honest"), scale, seeds=seeds)

    def write(self, stage, right, *, points=(), wrong_class=None):
        """A stage whose first ``right`` of 70 test pictures are right."""
        labels, logits, groups, report = _judged(right, wrong_class)
        test = {
            "loss": 0.5 + len(stage.name) / 100,
            "report": report.to_dict(),
            "bpp_bytes": 16.5,
            "psnr": 30.0,
        }
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc"):
            test[name] = getattr(report, name)
        folder = RunFolder(stage.folder(self.root))
        folder.path.mkdir(parents=True)
        head = {"classes": CLASSES, "groups": groups, "identifiers": groups}
        tensors = {"logits": torch.tensor(logits), "labels": torch.tensor(labels)}
        save_checkpoint(folder.path / "predictions.safetensors", tensors, head)
        line = {"train": {"total": 1.0}, "validation": {"loss": 0.9, "accuracy": 0.4}}
        (folder.path / "history.jsonl").write_text(json.dumps(line) + "\n")
        folder.finish(
            {
                "stage": stage.name,
                "seed": stage.seed,
                "digest": stage.digest,
                "epochs": 1,
                "best_epoch": 0,
                "pictures": {"train": 300, "validation": 90, "test": 70},
                "seconds": 1.0,
                "train": {**test, "loss": 0.4} if stage.judges_training else None,
                "validation": {**test, "loss": 0.6},
                "test": test,
                "adjusted": {"tau": 0.0, "offset": [0.0] * 7, "report": report.to_dict()},
                "points": list(points),
            }
        )

    def write_all(self, right=lambda stage: 60):
        """Every stage of the study that results read."""
        for stage in self.study.stages:
            if stage.seed and stage.name in ("autoencoder_3x", "codec"):
                continue  # its weights alone are asked for
            points = [
                {
                    "label": point.label,
                    "bpp_bytes": 0.1 * (k + 1) * (4 if "jpeg" in stage.name else 1),
                    "psnr": 30.0,
                    "accuracy": right(stage) / 70,
                    "macro_f1": right(stage) / 70,
                    "balanced_accuracy": right(stage) / 70,
                    "adjusted_balanced_accuracy": right(stage) / 70,
                }
                for k, point in enumerate(stage.points)
            ]
            self.write(stage, right(stage), points=points)

    def at(self, name, seed=0):
        return at_seed(self.study.rows["honest"][name], seed)


@pytest.fixture
def invented(tmp_path):
    return lambda seeds=1: Invented(tmp_path / "runs", seeds)


@pytest.fixture
def document(_document):
    """Results in which every number is invented, but in its place."""
    return copy.deepcopy(_document)


@pytest.fixture(scope="session")
def _document(tmp_path_factory):
    made = Invented(tmp_path_factory.mktemp("invented"))
    made.write_all(lambda stage: 40 + len(stage.name) % 7)
    leak = {"leaked": 0.4, "leaked_by_class": dict.fromkeys(CLASSES, 0.25)}
    counts = {"counts": published.COUNTS, "pictures": 10015, "lesions": 7452}
    honest_analyses = {
        "rated": {"quality 0": {"difference": -0.02, "interval": [-0.05, 0.01]}},
        "filters": {
            name: {"response": np.full((3, 3, 3), 0.1).tolist()}
            for name in ("optics_unsharp", "optics_learned")
        },
        "rate_map": {
            "rows": [
                {
                    "name": "all",
                    "pictures": 70,
                    "regions": [
                        {"region": region, "density": density}
                        for region, density in (
                            ("lesion", 1.5),
                            ("boundary", 1.25),
                            ("background", 0.75),
                        )
                    ],
                }
            ]
        },
    }
    return {
        "label": "Invented",
        "scale": {"pixels": 128, "limit": None},
        "command": "none",
        "protocols": {
            protocol: {
                "used": 4000,
                "data": {**counts, **leak},
                "rows": {name: results.row(stage, made.root) for name, stage in rows.items()},
                "analyses": honest_analyses if protocol == "honest" else {},
            }
            for protocol, rows in made.study.rows.items()
        },
        "claims": results.claims(made.study, made.root, draws=20),
        "goals": results.goals(made.study, made.root, draws=20),
    }
