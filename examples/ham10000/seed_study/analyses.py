"""What the study looked at by eye, measured: contrast, optimal images, and where the bits go.

Each analysis is kept as a JSON file named by the stages that it looks at, and made once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import classify
from joint import ImagingSystem, build_split, evaluate, is_done
from joint.analysis import (
    confusion_against_contrast,
    contrast_by_class,
    correctness_against_contrast,
    matched_strata,
    measure_contrast,
    optimal_image,
    rate_map,
)
from joint.feed import as_scenes
from joint.figure import save_figure
from joint.saved.predictions import load_predictions
from joint.system import evaluating
from optics import LearnedKernel

from .protocol import LEVELS, WIDTHS
from .stages import Stage, has_weights, result, trained

JOINT = tuple(f"joint_{width}" for width in WIDTHS)
MEASURE = "gcnr"


def analyse(
    rows: Mapping[str, Stage],
    scenes: classify.LesionDataset,
    output: Path,
    *,
    device: str,
    steps: int = 200,
) -> dict[str, Any]:
    """All analyses of a protocol for which the stages are done.

    Pictures go to ``output/pictures``: they show lesions of the data set, and are not for sharing
    where its licence forbids it.
    """
    root = output / "runs"
    draws = rows["classifier"].resamples
    parts = build_split(rows["classifier"].config, scenes)
    test = parts.test
    protocol = rows["classifier"].protocol

    def system(name: str) -> ImagingSystem:
        return trained(rows[name], scenes, root).to(device)

    def there(*names: str) -> bool:
        return all(name in rows and is_done(rows[name].folder(root)) for name in names)

    found: dict[str, Any] = {}

    def once(name: str, stages: tuple[str, ...], make: Callable[[], dict[str, Any]]) -> None:
        if not there(*stages):
            return
        used = [rows[stage] for stage in stages]
        path = _kept(output, name, used)
        if not path.exists():
            if not all(has_weights(stage, root) for stage in used):
                return  # folders that were copied without them
            _keep(path, make())
        found[name] = json.loads(path.read_text())

    once(
        "contrast",
        JOINT,
        lambda: _contrast(test, {name: system(name) for name in JOINT}, rows, root, draws),
    )
    once(
        "optimal",
        JOINT,
        lambda: _optimal(
            test, {name: system(name) for name in JOINT}, output / "pictures", protocol, steps
        ),
    )
    once("rate_map", ("rated",), lambda: rate_map(system("rated"), test, resamples=draws).to_dict())
    once("rated", ("rated", "classifier"), lambda: _rated(test, system("rated"), rows, root, draws))
    filters = ("optics_unsharp", "optics_learned")
    once("filters", filters, lambda: {name: _kernel(system(name)) for name in filters})
    return found


def _kept(output: Path, name: str, stages: list[Stage]) -> Path:
    """Where the analysis of these very stages is kept."""
    key = hashlib.sha256(" ".join(stage.digest for stage in stages).encode()).hexdigest()[:12]
    return output / "analyses" / f"{stages[0].protocol}-{name}-{key}.json"


def _keep(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    draft.replace(path)


def _contrast(
    test: classify.LesionDataset,
    systems: Mapping[str, ImagingSystem],
    rows: Mapping[str, Stage],
    root: Path,
    draws: int,
) -> dict[str, Any]:
    """The two claims of the study on contrast: of classes that fail, and of those confused."""
    shown = test.subset(test.has_mask)
    labels, groups = shown.labels.numpy(), shown.groups
    common: dict[str, Any] = {"classes": test.classes, "measure": MEASURE, "resamples": draws}
    planes = {"scene": getattr(measure_contrast(shown), MEASURE)}
    for name, system in systems.items():
        planes[name] = getattr(measure_contrast(shown, system=system, plane="handed"), MEASURE)
    values = {name: value.double().cpu().numpy() for name, value in planes.items()}
    logits = load_predictions(rows["joint_3x"].folder(root)).logits
    guesses = logits.argmax(1)[test.has_mask.numpy()]
    right = guesses == labels
    found: dict[str, Any] = {
        "measure": MEASURE,
        "of": "joint_3x",
        "medians": {
            name: contrast_by_class(value, labels, groups=groups, **common).to_dict()
            for name, value in values.items()
        },
    }
    scene = values["scene"]
    effect = correctness_against_contrast(scene, labels, right, groups=groups, **common)
    strata = matched_strata(scene, labels, right, groups=groups, **common)
    confused = confusion_against_contrast(scene, labels, guesses, groups=groups, **common)
    return found | {
        "correctness": effect.to_dict(),
        "strata": strata.to_dict(),
        "confusion": confused.to_dict(),
    }


def _optimal(
    test: classify.LesionDataset,
    systems: Mapping[str, ImagingSystem],
    pictures: Path,
    protocol: str,
    steps: int,
) -> dict[str, Any]:
    """The optimal images in both senses, as pictures; and how far each class can be driven.

    The study shows what the joint model hands to its classifier. The other sense is the scene
    that the whole system takes for a class more than any other.
    """
    present = [k for k in range(len(test.classes)) if int(test.counts[k])]
    one = torch.stack([(test.labels == k).nonzero()[0, 0] for k in present])
    names = [test.classes[k] for k in present]
    handed, climbed, found = {}, {}, {}
    for name, system in systems.items():
        device = next(system.parameters()).device
        scenes, _ = as_scenes(test.gather(one), device)
        with evaluating(system), torch.no_grad():
            handed["original"] = scenes
            handed[name] = system(scenes).handed
        noise = torch.Generator().manual_seed(0)
        grey = 0.5 + 0.02 * torch.randn(1, *scenes.shape[1:], generator=noise)
        best = {}
        for k in present:
            image = optimal_image(system, grey.to(device), k, steps=steps, roughness=20.0)
            best[k] = image.scenes[0]
            found.setdefault(name, {})[test.classes[k]] = {
                "start": float(image.best[0, 0]),
                "reached": float(image.best[-1, 0]),
                "probability": float(image.logits[0].softmax(0)[k]),
            }
        climbed[name] = torch.stack([best[k] for k in present])
    pictures.mkdir(parents=True, exist_ok=True)
    save_figure(_grid(handed, names), pictures / f"{protocol}-handed.png")
    save_figure(_grid(climbed, names), pictures / f"{protocol}-optimal.png")
    return found


def _grid(columns: Mapping[str, torch.Tensor], names: list[str]) -> Figure:
    """Columns of pictures on one white sheet, with a gap between them."""
    pictures = torch.stack([batch.detach().float().clamp(0, 1).cpu() for batch in columns.values()])
    gap = -(-pictures.shape[-1] // 24)
    pictures = torch.nn.functional.pad(pictures, (gap, gap, gap, gap), value=1.0)
    across, down, _, height, width = pictures.shape
    sheet = pictures.permute(1, 3, 0, 4, 2).reshape(down * height, across * width, -1)
    figure = Figure(figsize=(1.4 * across + 0.6, 1.4 * down), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(sheet.numpy(), interpolation="nearest")
    axis.set_xticks((np.arange(across) + 0.5) * width, labels=[*columns], fontsize=8)
    axis.set_yticks((np.arange(down) + 0.5) * height, labels=names, rotation=90, va="center")
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    return figure


def _rated(
    test: classify.LesionDataset,
    system: ImagingSystem,
    rows: Mapping[str, Stage],
    root: Path,
    draws: int,
) -> dict[str, Any]:
    """Balanced accuracy at each quality less that of raw pictures, lesion by lesion."""
    raw = load_predictions(rows["classifier"].folder(root))
    shift = [
        np.asarray(result(rows[name], root)["adjusted"]["offset"])
        for name in ("classifier", "rated")
    ]
    found = {}
    for quality in range(LEVELS):
        seen = evaluate(system, test, quality=float(quality))
        assert seen.logits is not None
        gap = classify.bootstrap_difference(
            seen.logits + shift[1],
            raw.logits + shift[0],
            labels=raw.labels,
            metric="balanced_accuracy",
            groups=raw.groups,
            resamples=draws,
        )
        found[f"quality {quality}"] = {
            "difference": gap.difference,
            "interval": [float(end) for end in gap.interval],
        }
    return found


def _kernel(system: ImagingSystem) -> dict[str, Any]:
    """Signed response of a learned filter, and the light that it leaves."""
    assert isinstance(system.front_end, LearnedKernel)
    with torch.no_grad():
        response = system.front_end.response.double().cpu()
        return {
            "response": response.flatten(0, 2).tolist(),
            "sum": response.flatten(0, 2).sum((-2, -1)).tolist(),
            "throughput": float(system.front_end.throughput()),
            "exposures": system.front_end.exposures,
        }
