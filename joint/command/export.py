"""``lens2label export``: what is deployed of a run, as one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from joint.deploy.decision import load_rule, place, tell_elsewhere
from joint.deploy.export import DeployedEnd, DeployedPlane, check_target, export
from joint.feed import as_scenes
from joint.judge.point import OperatingPoint, operating
from joint.record import print_json
from joint.run.trained import load_run
from joint.settings import OptionError

from .options import check_least, check_trained

__all__ = ["ExportOptions", "main"]


@dataclass(frozen=True)
class ExportOptions:
    """Write the software part of a trained run as one file that runs without this library.

    The file takes any number of pictures of the run's size and gives the scores of its classes,
    their probabilities, or an earlier plane. It is read again and compared with the run on some of
    its test pictures. For example:

        lens2label export runs/edge edge.onnx
        lens2label export runs/edge camera.onnx --plane codes --until latent
        lens2label export runs/edge server.onnx --plane latent
        lens2label export runs/edge sure.onnx --until probabilities --rule rule.json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of lens2label train."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File to write; an existing one is replaced. A .pt2 is read by torch.export.load, a .onnx by
    ONNX Runtime and the like (pip install "lens2label[onnx]")."""
    plane: DeployedPlane = "measurement"
    """Input of the file: the codes that the camera writes (DN), the camera's picture (measurement),
    the latent of a learned codec, or the input of the classifier (handed)."""
    until: DeployedEnd = "scores"
    """Output of the file: the latent that a learned codec would write, the picture behind the codec
    (handed), the scores of the classes, or their probabilities."""
    rule: Path | None = None
    """With --until probabilities: file of lens2label evaluate --save-rule with the rule that turns
    scores into probabilities; the file's description contains it, with the cutoff of a referral."""
    quality: float | None = None
    """Quality of a learned codec with several levels, 0 to levels - 1."""
    pictures: int = 64
    """Number of pictures of the test part to compare on."""
    json: bool = False
    """Print JSON instead of a line."""

    def check(self) -> None:
        """Refuse numbers that are out of range, and a rule of no use, by an OptionError."""
        check_least(self, pictures=1)
        if self.rule is not None and self.until != "probabilities":
            raise OptionError("--rule turns scores into probabilities: give --until probabilities")


def main(arguments: Sequence[str]) -> int:
    """Write the file; returns the exit status."""
    options = tyro.cli(ExportOptions, args=arguments, prog="lens2label export")
    options.check()
    check_trained(options.run)
    check_target(options.file)  # before what takes time
    rule = None if options.rule is None else load_rule(options.rule)
    config, system, parts = load_run(options.run)
    point = OperatingPoint(quality=options.quality)
    if rule is not None:
        rule.check_classes(parts.test.classes)
        here = place(config, point, "identity")
        # The light is that of the camera, wherever it will be.
        tell_elsewhere(rule, {name: here[name] for name in ("run", "views", "quality")})
    test = parts.test
    rows = torch.arange(min(options.pictures, len(test)))
    scenes, _ = as_scenes(test.gather(rows), torch.device("cpu"))
    with operating(system, point):
        done = export(
            system,
            scenes,
            options.file,
            plane=options.plane,
            until=options.until,
            classes=test.classes if options.until in ("scores", "probabilities") else None,
            rule=rule,
        )
    (print_json if options.json else print)(done)
    return 0
