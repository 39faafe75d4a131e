"""Rank optics as it is drawn, and as it will be made.

Each trained camera of the study is made ``--devices`` times, with errors of fabrication and of
alignment drawn from :data:`TOLERANCES`, the same draws for all; its *worst tenth* is the mean of
the lowest tenth of their accuracies. Designs are ranked by both numbers. Writes what ``runner.py``
writes, and ``tolerance.json`` and ``tolerance.png``::

    python examples/studies/tolerance.py --workers 2
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import runner
import torch
import tyro
from matplotlib.figure import Figure
from scipy import stats

from classify import LesionDataset
from joint import build_data, build_split, build_system, evaluate
from joint.analysis.tolerancing.perturbation import Perturbation, applicable, perturbed
from joint.figure import save_figure
from joint.panel.look import looks, open_axis
from joint.saved.checkpoint import load_checkpoint, load_weights, write_atomically
from joint.saved.folder import BEST_FILE
from joint.script import without_traceback
from joint.study import Ledger, Outcome, compare, estimate
from joint.system import ImagingSystem

#: Standard deviations of what is drawn for each device. The last two are the surface: of a relief
#: in glass the height, of any other pupil the phase.
TOLERANCES: dict[Perturbation, float] = {
    "defocus": 0.25,  # waves at the rim
    "decentre": 0.02,  # pupil diameters
    "rotation": 2.0,  # degrees
    "height_error": 20e-9,  # metres RMS
    "phase_error": 0.2,  # radians RMS
}
_SURFACE = ("height_error", "phase_error")
WORST = 0.1


@dataclass(frozen=True)
class Options(runner.Options):
    """Designs ranked nominally and by their 10 % worst case."""

    study: tyro.conf.Suppress[runner.Name] = "tolerance"
    devices: int = 20
    """Times that each trained camera is made."""


def made(system: ImagingSystem, device: int, *, channels: int) -> ImagingSystem:
    """One device of a design, with every error that it can have; the same draws for all designs."""
    possible = applicable(system, channels=channels)
    generator = torch.Generator().manual_seed(device)
    for name, spread in TOLERANCES.items():
        level = spread * float(torch.randn((), generator=generator))
        if name in _SURFACE:
            level = spread  # it is the RMS of an error that is drawn there
        if name not in possible or (name == "phase_error" and "height_error" in possible):
            continue
        surface = torch.Generator().manual_seed(device)
        system = perturbed(system, name, level, channels=channels, generator=surface)
    return system


def worst_tenth(accuracies: Sequence[float]) -> float:
    """Mean of the lowest tenth, of one at least."""
    count = max(1, math.floor(WORST * len(accuracies)))
    return float(np.mean(sorted(accuracies)[:count]))


def devices_of(
    ledger: Ledger, scenes: LesionDataset, *, devices: int
) -> dict[int, dict[int, list[float]]]:
    """Balanced accuracies of all devices, by design and seed."""
    found: dict[int, dict[int, list[float]]] = {n: {} for n in range(len(ledger.designs))}
    for run in ledger.runs:
        if ledger.state(run) != "done":
            continue
        config = ledger.config(run)
        _, _, test = build_split(config, scenes)
        system = build_system(
            config.system,
            image_size=scenes.image_size,
            channels=scenes.channels,
            classes=len(scenes.classes),
        )
        path = ledger.path(run) / BEST_FILE
        load_weights(system, load_checkpoint(path)[0], source=str(path))
        each = [made(system, device, channels=scenes.channels) for device in range(devices)]
        found[run.design][run.seed] = [
            float(evaluate(one, test).scalars()["balanced_accuracy"] or 0.0) for one in each
        ]
    return found


def ranked(ledger: Ledger, made_ones: dict[int, dict[int, list[float]]]) -> dict[str, Any]:
    """Designs by their nominal accuracy and by their worst tenth.

    Returns
    -------
    dict
        JSON-able: ``designs``, each with both numbers, their intervals and ranks, and its worst
        tenth against that of the first design; ``agreement``, Kendall's tau of the two ranks.
    """
    metric = ledger.study.plan.metric
    values = {
        number: [Outcome(seed, worst_tenth(each)) for seed, each in own.items()]
        for number, own in made_ones.items()
        if own
    }
    nominal = {
        number: [
            Outcome(run.seed, ledger.result(run)["test"][metric])
            for run in ledger.runs
            if run.design == number and run.seed in made_ones[number]
        ]
        for number in values
    }
    rows = []
    for number, own in values.items():
        drawn, worst = estimate(nominal[number]), estimate(own)
        first = values.get(0) if number else None
        against = None if first is None else compare(own, first, metric=metric)
        rows.append(
            {
                "levels": ledger.designs[number],
                "nominal": drawn.mean,
                "nominal_interval": drawn.interval,
                "worst": worst.mean,
                "worst_interval": worst.interval,
                "against_first": None if against is None else against.to_dict(),
            }
        )
    for name in ("nominal", "worst"):
        places = stats.rankdata([-row[name] for row in rows], method="min")
        for row, place in zip(rows, places, strict=True):
            row[f"{name}_rank"] = int(place)
    numbers = [[row[name] for row in rows] for name in ("nominal", "worst")]
    tau = float(np.asarray(stats.kendalltau(*numbers))[0])
    return {"designs": rows, "agreement": None if math.isnan(tau) else tau}


def tolerance_figure(found: dict[str, Any]) -> Figure:
    """Draw both numbers of each design, with intervals over seeds."""
    figure = Figure(figsize=(7.0, 1.2 + 0.4 * len(found["designs"])), layout="constrained")
    axis = figure.subplots()
    rows = sorted(found["designs"], key=lambda row: -row["nominal"])
    for name, off, look in zip(("nominal", "worst"), (-0.12, 0.12), looks(2), strict=True):
        means = np.array([row[name] for row in rows])
        ends = [row[f"{name}_interval"] or (row[name], row[name]) for row in rows]
        reach = np.abs(np.array(ends).T - means)
        label = "as drawn" if name == "nominal" else "worst tenth of the devices"
        places = np.arange(len(rows)) + off
        axis.errorbar(
            means, places, xerr=reach, fmt=look.marker, color=look.colour, ms=5, capsize=3,
            label=label,
        )  # fmt: skip
    names = [", ".join(map(str, row["levels"].values())) for row in rows]
    axis.set_yticks(range(len(rows)), labels=names)
    axis.invert_yaxis()
    axis.set_xlabel("balanced accuracy; bars: intervals over seeds")
    open_axis(axis)
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    return figure


def main(options: Options) -> dict[str, Any]:
    """Run the study, make the devices, print and return both rankings."""
    ledger = runner.main(options)
    scenes = build_data(ledger.study.base.data)
    found = ranked(ledger, devices_of(ledger, scenes, devices=options.devices))
    folder: Path = options.output / f"tolerance_{options.size}" / "found"
    text = json.dumps({"devices": options.devices, **found}, indent=1) + "\n"
    write_atomically(folder / "tolerance.json", text.encode())
    save_figure(tolerance_figure(found), folder / "tolerance.png")
    print(f"\nas drawn, and the worst tenth of {options.devices} devices (exploration)")
    for row in sorted(found["designs"], key=lambda row: row["worst_rank"]):
        name = ", ".join(map(str, row["levels"].values()))
        print(
            f"  {row['worst_rank']}. {name}: {row['worst']:.4f}; as drawn {row['nominal']:.4f}, "
            f"rank {row['nominal_rank']}"
        )
    if found["agreement"] is not None:
        print(f"  Kendall's tau of the two ranks is {found['agreement']:+.2f}")
    return found


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
