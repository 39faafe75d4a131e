"""``lens2label predict``: what pictures show, by a trained run."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from joint.cells import aligned, as_csv
from joint.deploy.decision import load_rule
from joint.deploy.predict import Prediction, predict
from joint.judge.view_average import Views
from joint.record import print_json
from joint.saved.checkpoint import write_atomically
from joint.settings import OptionError

from .options import RANGES, check_file, check_least, check_trained, tell_failed

__all__ = ["PredictOptions", "main"]


@dataclass(frozen=True)
class PredictOptions:
    """Classify pictures with a trained run.

    Each is cropped and reduced as the pictures that the run was trained on, and passes its whole
    system, including the simulated optics and sensor. The data of the run are not needed. A picture
    that cannot be used does not stop the others; it is named at the end, and the status is 1. For
    example:

        lens2label predict runs/edge lesion.jpg clinic/ --csv said.csv
        lens2label predict runs/edge clinic/ --photons 300 --temperature 1.6
        lens2label predict runs/edge clinic/ --rule rule.json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture files, or folders and zips of them."""
    views: Views = "identity"
    """Views of each picture over which the probabilities are averaged, as in evaluate."""
    photons: float | None = None
    """Another light level, photons/pixel, with the sensor's gain in proportion. Without it, a run
    with a photon range draws the light of each picture from its name."""
    quality: float | None = None
    """Another quality of a codec that has several, as in evaluate."""
    distance: float | None = None
    """Metres from a lens to all pictures."""
    motion: float | None = None
    """RMS distance by which pictures move during the exposure of a shutter, pixels."""
    white_level: int | None = None
    """White code of 16-bit pictures, such as 4095 for those of a 12-bit camera; by default that of
    the training."""
    bit_depth: Literal[8, 16] | None = None
    """16 keeps all bits of 16-bit files; 8 reduces all to 8 bits; by default as in the training."""
    temperature: float = 1.0
    """Divisor of the scores before the softmax: that of classify.fit_temperature on the validation
    part calibrates the probabilities."""
    rule: Path | None = None
    """File of lens2label evaluate --save-rule, whose rule gives the probabilities and the referred
    pictures, instead of a temperature."""
    seed: int = 0
    """Random seed of the sensor's noise, together with the name of each file: a picture under two
    names, such as a PNG and a TIFF, has different noise in each."""
    batch_size: int = 64
    """Pictures per forward pass."""
    device: str = "cpu"
    """Device to compute on."""
    json: bool = False
    """Print JSON, a list with the probability of each class, instead of a table; with a rule that
    refers, also whether the picture is referred."""
    csv: Path | None = None
    """Also write the probabilities to this file, a row for each picture."""
    quiet: bool = False
    """Show no progress."""

    def check(self) -> None:
        """Refuse numbers that are out of range and a folder for a file, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        check_least(self, batch_size=1)
        ranges = (*RANGES, ("temperature", "positive and finite", lambda t: 0 < t < math.inf))
        for name, needed, allowed in ranges:
            number = getattr(self, name)
            if number is not None and not allowed(number):
                raise OptionError(f"--{name} must be {needed}, not {number:g}")
        if self.rule is not None and self.temperature != 1:
            raise OptionError("--rule has its own temperature: leave --temperature out")
        if self.white_level is not None and not 1 <= self.white_level <= 65535:
            raise OptionError(
                f"--white-level must be a code of 16 bits, 1 to 65535, not {self.white_level}"
            )
        check_file("--csv", self.csv)
        if not self.pictures:
            raise OptionError("there is no picture: name files, folders or zips after the run")


def main(arguments: Sequence[str]) -> int:
    """Classify pictures; returns the exit status."""
    options = tyro.cli(PredictOptions, args=arguments, prog="lens2label predict")
    options.check()
    check_trained(options.run)
    failed: list[str] = []
    said = predict(
        options.run,
        options.pictures,
        views=options.views,
        photons=options.photons,
        quality=options.quality,
        distance=options.distance,
        motion=options.motion,
        white_level=options.white_level,
        bit_depth=options.bit_depth,
        temperature=options.temperature,
        rule=None if options.rule is None else load_rule(options.rule),
        seed=options.seed,
        batch_size=options.batch_size,
        device=options.device,
        progress=not options.quiet,
        failed=lambda *file: failed.append("{}: {}".format(*file)),
    )
    if options.json:
        print_json(said)
    elif said:
        print("\n".join(aligned([[each.name, *_told(each)] for each in said])))
    if options.csv is not None and said:
        write_atomically(options.csv, as_csv([each.cells() for each in said]).encode())
    return tell_failed(failed, len(said))


def _told(said: Prediction, count: int = 3) -> Iterator[str]:
    """Whether the picture is referred, if that was asked; the most probable classes."""
    if said.referred is not None:
        yield "refer" if said.referred else "leave"
    yield from (f"{name} {probability:.3f}" for name, probability in said.ranked()[:count])
