"""Where can a mask beat a lens? Where the detector is coarse and quiet, and nowhere else.

At full readout no phase mask tells more of the label than a lens (arXiv:2606.09792): every spatial
frequency passes a lens at least as well. A coarse readout folds fine detail onto coarse one before
anybody can tell them apart; a mask that blurs the fine detail away *before* the pixels saves what a
coarse label needs, and pays with contrast, which read noise takes back.

The scenes are made for that (:func:`scenes`): the class is the direction of a faint texture of
0.3 to 0.45 cycles a block of 8 x 8 pixels. Over it lie two stronger ones whose directions are
chance, of 0.55 to 0.7 cycles a block of 8 x 8, and of 0.72 to 0.88 cycles a block of 4 x 4: what
these readouts fold onto it. At full readout nothing is folded, and a network learns to tell the
three apart. On them

* mask minus lens is tested at full, 4 x 4 and 8 x 8 readout, by the plan in ``detector.toml``;
* the gain at low read noise minus the gain at high read noise is tested here (:func:`shrinkage`).

Writes the scenes, and what ``runner.py`` writes, and ``gain.json`` and ``gain.png``. ``--full``
asks the same of HAM10000::

    python examples/studies/detector.py --workers 2
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import runner
import tyro
from matplotlib.figure import Figure

from joint.figure import save_figure
from joint.panel.look import looks, open_axis
from joint.saved.checkpoint import write_atomically
from joint.script import without_traceback
from joint.study import Ledger, compare_designs, holm, outcomes, sign_flip_test

Array = npt.NDArray[Any]

DIRECTIONS = 4
TOLD, FINE, FINEST = 0.05, 0.12, 0.25
"""RMS contrast of the texture that tells the class, and of the two that tell nothing."""
TOLD_BAND = (0.3 / 8, 0.45 / 8)
"""Cycles a pixel of the scene."""
FOLDED_BANDS = {8: (0.55 / 8, 0.7 / 8), 4: (0.72 / 4, 0.88 / 4)}
"""Those of the other two, by the side of the blocks whose readout folds them onto it."""
SIDE = 64


@dataclass(frozen=True)
class Options(runner.Options):
    """Learned mask against lens at full, 4 x 4 and 8 x 8 readout, with read noise."""

    study: tyro.conf.Suppress[runner.Name] = "detector"


# ------------------------------------------------------------------------------------- the scenes


def texture(
    count: int, band: tuple[float, float], directions: Array, *, generator: np.random.Generator
) -> Array:
    """Random textures of one band and, each, one direction, of unit RMS.

    Parameters
    ----------
    count : int
    band : (float, float), cycles/pixel
        Lowest frequency, and the first one above the highest.
    directions : array ``[count]``, radians
        Middle of the angles of the frequencies, which reach 22.5 degrees to either side.
    generator : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    array ``[count, SIDE, SIDE]``
    """
    frequency = np.fft.fftfreq(SIDE)
    fy, fx = frequency[:, None], frequency[None, :]
    radius, angle = np.hypot(fy, fx), np.arctan2(fy, fx)
    # A direction and its opposite are the same.
    off = np.abs((angle - directions[:, None, None] + np.pi / 2) % np.pi - np.pi / 2)
    passed = (radius >= band[0]) & (radius < band[1]) & (off < np.pi / 8)
    noise = generator.standard_normal((count, SIDE, SIDE))
    made = np.fft.ifft2(np.fft.fft2(noise) * passed).real
    return made / np.sqrt(np.square(made).mean((1, 2), keepdims=True))


def scenes(count: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Pictures, uint8 ``[count, SIDE, SIDE]`` of linear light, and their classes ``[count]``."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % DIRECTIONS
    told = texture(count, TOLD_BAND, labels * np.pi / DIRECTIONS, generator=generator)
    fine, finest = (
        texture(count, band, np.pi * generator.random(count), generator=generator)
        for band in FOLDED_BANDS.values()
    )
    light = 0.5 + TOLD * told + FINE * fine + FINEST * finest
    return np.clip(np.round(255 * light), 0, 255).astype(np.uint8), labels


def write_scenes(path: Path, count: int, *, seed: int = 7) -> None:
    """Write scenes as a MedMNIST file; its parts are of no account, studies split by themselves."""
    if path.exists():
        return
    pictures, labels = scenes(count, seed=seed)
    parts = {"train": slice(2, None), "val": slice(0, 1), "test": slice(1, 2)}
    content = {f"{name}_images": pictures[part] for name, part in parts.items()}
    content |= {f"{name}_labels": labels[part, None] for name, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.savez_compressed(file, **content)  # pyright: ignore[reportArgumentType]
    write_atomically(path, file.getvalue())


# ---------------------------------------------------------------------------------- how it shrinks


def shrinkage(ledger: Ledger) -> dict[str, Any]:
    """Gain of the mask over the lens at each readout and noise, and whether it shrinks.

    Planned beside the comparisons of the TOML file: at each coarse readout, the gain of a seed at
    the lowest read noise less its gain at the highest, by an exact sign-flip test over seeds,
    two-sided, adjusted for the readouts (Holm).

    Returns
    -------
    dict
        JSON-able: ``gains``, a list of contrasts with readout and noise; ``shrinks``, the mean
        difference, its p and the values of the seeds for each coarse readout.
    """
    metric = ledger.study.plan.metric
    number = {tuple(design.values()): place for place, design in enumerate(ledger.designs)}
    values = {
        place: {run.seed: 0.0 if run.value is None else run.value for run in runs}
        for place, runs in outcomes(ledger, metric).items()
    }
    gains, differences = [], {}
    for readout in ledger.study.axes["readout"].levels():
        noises = [n for n in ledger.study.axes["noise"].levels() if ("mask", readout, n) in number]
        pairs = [(number["mask", readout, n], number["lens", readout, n]) for n in noises]
        for noise, (mask, lens) in zip(noises, pairs, strict=True):
            found = compare_designs(ledger, mask, lens)
            gains.append({"readout": readout, "noise": noise, **found.to_dict()})
        if len(noises) > 1:
            (quiet, noisy) = (
                {s: one - values[lens][s] for s, one in values[mask].items() if s in values[lens]}
                for mask, lens in (pairs[0], pairs[-1])
            )
            differences[readout] = [quiet[seed] - noisy[seed] for seed in quiet if seed in noisy]
    differences = {readout: each for readout, each in differences.items() if each}
    tests = holm([sign_flip_test(each) for each in differences.values()])
    return {
        "gains": gains,
        "shrinks": {
            readout: {"mean": float(np.mean(each)), "adjusted_p": p, "seeds": each}
            for (readout, each), p in zip(differences.items(), tests, strict=True)
        },
    }


def gain_figure(found: dict[str, Any]) -> Figure:
    """Draw the gain over the read noise, a line a readout, with intervals."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axis = figure.subplots()
    noises = sorted({gain["noise"] for gain in found["gains"]})
    readouts = [*dict.fromkeys(gain["readout"] for gain in found["gains"])]
    for place, (readout, look) in enumerate(zip(readouts, looks(len(readouts)), strict=True)):
        own = [g for g in found["gains"] if g["readout"] == readout and g["interval"] is not None]
        spots = [noises.index(gain["noise"]) + 0.06 * (place - 1) for gain in own]
        means = np.array([gain["difference"] for gain in own])
        ends = np.array([gain["interval"] for gain in own]).reshape(-1, 2)
        reach = np.abs(ends.T - means)
        axis.errorbar(
            spots, means, reach, fmt=f"{look.marker}-", color=look.colour, ms=5, capsize=3,
            label=f"{readout} readout",
        )  # fmt: skip
    axis.axhline(0, color="grey", linewidth=1)
    axis.set_xticks(range(len(noises)), labels=[f"{noise:g}" for noise in noises])
    level = found["gains"][0]["level"]
    axis.set(
        xlabel="read noise, electrons RMS (steps, not to scale); "
        f"bars: {100 * level:g} % intervals",
        ylabel="balanced accuracy, mask less lens",
    )
    open_axis(axis)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def main(options: Options) -> dict[str, Any]:
    """Make the scenes, run the study, judge it; print and return how the gain shrinks."""
    study = runner.sized("detector", options.size, data=options.full)
    if study.base.data.kind == "medmnist":
        write_scenes(study.base.data.path, 80 if options.small else 800)
    ledger = runner.main(options)
    found = shrinkage(ledger)
    folder = options.output / f"detector_{options.size}" / "found"
    write_atomically(folder / "gain.json", (json.dumps(found, indent=1) + "\n").encode())
    save_figure(gain_figure(found), folder / "gain.png")
    print("\nhow the gain of the mask shrinks with read noise, planned too")
    for readout, told in found["shrinks"].items():
        verdict = "it shrinks" if told["mean"] > 0 and told["adjusted_p"] <= 0.05 else "not shown"
        print(
            f"  {readout} readout: by {told['mean']:+.4f} from the least to the most, "
            f"Holm's p = {told['adjusted_p']:.3g} over {len(told['seeds'])} seeds: {verdict}"
        )
    return found


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
