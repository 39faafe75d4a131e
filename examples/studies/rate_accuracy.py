"""How many bits does a label need? Codecs before a frozen classifier, and learning with it.

A classifier is trained on whole pictures first; every codec of the study starts before it. JPEG and
k-means learn nothing, so that before the frozen classifier they are only priced
(:func:`price_fixed`). Writes what ``runner.py`` writes, and ``fixed.json``, ``rates.txt`` (what
each codec needs at equal accuracy, against JPEG) and ``rates.png``::

    python examples/studies/rate_accuracy.py --workers 2
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runner
import tyro
from safetensors.torch import save

from joint import build_data, build_split, build_system, evaluate, fit
from joint.config.classifier import ClassifierConfig
from joint.config.run import RunConfig
from joint.figure import save_figure
from joint.saved.checkpoint import write_atomically
from joint.script import without_traceback
from joint.settings import NoneConfig
from joint.study import Ledger, Study
from joint.study.findings.rate_accuracy import rate_accuracy
from joint.study.page.charts import rate_accuracy_figure

FIXED = ("jpeg", "kmeans")


@dataclass(frozen=True)
class Options(runner.Options):
    """Accuracy against bits: autoencoders, learned codecs, JPEG and k-means, frozen and joint."""

    study: tyro.conf.Suppress[runner.Name] = "rate_accuracy"


def whole_pictures(study: Study, *, device: str = "cpu") -> None:
    """Train the classifier that the study starts from, on pictures without a codec."""
    wanted = study.base.system.classifier
    assert isinstance(wanted, ClassifierConfig)
    assert wanted.weights is not None
    if wanted.weights.exists():
        return
    fresh = wanted.model_copy(update={"weights": None})
    config = study.base.system.model_copy(update={"codec": NoneConfig(), "classifier": fresh})
    scenes = build_data(study.base.data)
    train, validation, _ = build_split(study.base, scenes)
    system = build_system(
        config,
        image_size=scenes.image_size,
        channels=scenes.channels,
        classes=len(scenes.classes),
    )
    objective = study.base.objective.model_copy(update={"rate": 0.0, "distortion": 0.0})
    # Twice as long as each codec learns: it is not to gain from mere training with them.
    training = study.base.training.model_copy(update={"epochs": 2 * study.base.training.epochs})
    fit(system, train, validation, objective=objective, config=training, device=device)
    assert system.classifier is not None
    wanted.weights.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.cpu().contiguous() for name, tensor in system.classifier.state_dict().items()
    }
    write_atomically(wanted.weights, save(state))


def price_fixed(ledger: Ledger) -> list[dict[str, Any]]:
    """Bits and balanced accuracy of the codecs that learn nothing, before the frozen classifier."""
    study = ledger.study
    scenes = build_data(study.base.data)
    _, _, test = build_split(study.base, scenes)
    found = []
    for design in ledger.designs:
        config: RunConfig = study.config(design, study.seeds[0])
        if config.system.codec.kind not in FIXED:
            continue
        system = build_system(
            config.system,
            image_size=scenes.image_size,
            channels=scenes.channels,
            classes=len(scenes.classes),
        )
        result = evaluate(system, test, objective=config.objective, count_bytes=True).scalars()
        found.append(
            {
                "codec": design["codec"],
                "bpp_bytes": result.get("bpp_bytes"),
                "balanced_accuracy": result["balanced_accuracy"],
            }
        )
    return found


def main(options: Options) -> dict[str, Any]:
    """Train the classifier, run the study, price the rest; print and return what that came to."""
    study = runner.sized("rate_accuracy", options.size, data=options.full)
    whole_pictures(study, device=options.device)
    ledger = runner.main(options)
    folder: Path = options.output / f"rate_accuracy_{options.size}" / "found"
    fixed, rates = price_fixed(ledger), rate_accuracy(ledger)
    write_atomically(folder / "fixed.json", (json.dumps(fixed, indent=1) + "\n").encode())
    write_atomically(folder / "rates.txt", f"{rates}\n".encode())
    save_figure(rate_accuracy_figure(rates), folder / "rates.png")
    print(f"\n{rates}\n\nbefore the frozen classifier, nothing learns")
    for row in fixed:
        bits = "-" if row["bpp_bytes"] is None else f"{row['bpp_bytes']:.3f}"
        print(f"  {row['codec']}: {row['balanced_accuracy']:.4f} at {bits} bits/pixel")
    return {"fixed": fixed, "rates": rates}


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
