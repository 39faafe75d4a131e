"""``lens2label rate``: what codecs make of pictures, or a run's classifier of theirs, at each rate.

::

    pictures ──────────┬─ each codec, each setting ─► bits/pixel, PSNR, SSIM, MS-SSIM ─┐
    test part of --run ┴───────────────────────────► bits/pixel, accuracy ─────────────┴─► BD-rate
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import tyro

from classify import Interval
from classify.metric_names import METRICS, check_metric, is_metric
from compress.metrics import SSIM_WINDOW
from joint.analysis.curve_difference import RateDifference
from joint.analysis.rate_accuracy import AccuracyPoint, RateCurves, rate_curves
from joint.analysis.rate_distortion import DISTORTIONS, RateDistortion, rate_distortion
from joint.cells import as_csv
from joint.device import usable_device
from joint.feed import as_scenes
from joint.judge.evaluate import evaluate
from joint.judge.metric import lower_is_better
from joint.picture.folder import FailedFile
from joint.picture.measure import check_sweeps, measure_pictures
from joint.record import as_json, print_json
from joint.run.trained import load_run
from joint.saved.checkpoint import write_atomically
from joint.settings import ConfigError, OptionError, nearest

from .codec_files import CodecWord, read_codec, sweep_of
from .options import (
    RESAMPLES,
    check_figure,
    check_file,
    check_least,
    check_trained,
    tell_failed,
)

__all__ = ["RateOptions", "main"]

_CODECS = ("jpeg", "jpeg2000", "webp", "avif")


@dataclass(frozen=True)
class RateOptions:
    """Compare codecs: bits per pixel against fidelity, or against accuracy.

    Each picture file is coded by each codec at each setting, and decoded. Printed are the bits per
    pixel of all files, headers included; PSNR, SSIM and MS-SSIM of the decoded pictures; and by how
    many percent each codec needs more bits than the first one at equal PSNR (BD-rate). A picture
    that one codec does not take, or that is too small, is left out for all codecs. It is named at
    the end, and the status is 1. With --run instead: the accuracy of that run, on its test part,
    behind each codec. For example:

        lens2label rate pictures/ --codec jpeg webp avif runs/edge --figure curves.png
        lens2label rate ham10000.zip --image-size 128 --codec jpeg:quality=5,10,20,40 kmeans
        lens2label rate --run runs/edge --codec jpeg avif runs/edge --json
    """

    pictures: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")
    ] = ()
    """Picture files of 8 bits, or folders and zips of them; before the options."""
    codec: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CODEC [CODEC ...]")] = _CODECS
    """Codecs to compare, each with the first: run folders of lens2label train, or jpeg, webp,
    jpeg2000, avif, png and kmeans. Settings of train follow a colon, and one of them may have
    several values: jpeg:quality=10,30,50,subsampling=4:4:4, jpeg2000:rate=80,20,5,
    kmeans:colors=4,16, runs/edge:quality=0,0.5,1. Without settings, common ones are used."""
    run: Path | None = None
    """Instead of pictures: compare the accuracy of this run; its other stages stay as trained."""
    image_size: int | None = None
    """Crop each picture to its largest centred square, and reduce that to this many pixels along a
    side, as in train; smaller pictures are left out. By default each keeps its own size."""
    limit: int | None = None
    """Use at most this many of the pictures, evenly spread."""
    metric: str | None = None
    """Metric at whose equal values bits are compared: psnr (the default), ssim or ms_ssim, for
    which pictures of less than 11x11 pixels are left out; with --run a metric of its report, by
    default balanced_accuracy."""
    resamples: int = RESAMPLES
    """Number of random halves of the pictures (with --run, of bootstrap resamples of the lesions)
    for the intervals; 0 for none, but not with --run."""
    batch_size: int = 64
    """With --run: pictures per forward pass."""
    device: str = "cpu"
    """With --run: device to compute on."""
    json: bool = False
    """Print JSON instead of a table."""
    csv: Path | None = None
    """Also write a row for each codec and setting to this file."""
    figure: Path | None = None
    """Also draw the curves to this .png, .pdf or .svg."""
    quiet: bool = False
    """Show no progress."""

    def check(self) -> list[CodecWord]:
        """Refuse what contradicts or cannot be, by an OptionError; returns what codecs are.

        By a CheckpointError, files that cannot be written.
        """
        if bool(self.pictures) == (self.run is not None):
            raise OptionError(
                "name picture files, folders or zips before the options, or a run whose accuracy "
                f"is compared, --run runs/edge{', not both' if self.pictures else ''}"
            )
        least = 0 if self.run is None else 1
        check_least(self, resamples=least, batch_size=1, image_size=1, limit=1)
        for name in ("image_size", "limit"):
            if self.run is not None and getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise OptionError(f"{option} is for pictures; a run uses its whole test part")
        self._check_metric()
        check_file("--csv", self.csv)
        check_figure("--figure", self.figure)
        if not self.codec:
            raise OptionError("--codec names no codec: give one or several, such as jpeg webp")
        return [read_codec(word) for word in self.codec]

    def _check_metric(self) -> None:
        metric = self.chosen_metric
        allowed = [*DISTORTIONS]
        if self.run is not None:
            allowed = [name for name in METRICS if not lower_is_better(name)]
            if is_metric(metric) and not lower_is_better(metric):
                return
        if metric not in allowed:
            raise OptionError(
                f"--metric: curves are of what grows with the rate, and {metric!r} is no such "
                f"number{nearest(metric, allowed)}"
            )

    @property
    def chosen_metric(self) -> str:
        """The metric, or what it is by default."""
        return self.metric or ("psnr" if self.run is None else "balanced_accuracy")


def main(arguments: Sequence[str]) -> int:
    """Compare codecs; returns the exit status."""
    options = tyro.cli(RateOptions, args=arguments, prog="lens2label rate")
    words = options.check()
    compared = _on_pictures(options, words) if options.run is None else _of_run(options, words)
    found, failed = compared.found, compared.failed
    if options.json:
        print_json(_told(found) | {"failed": failed})
    else:
        print(found)
    if options.csv is not None:
        write_atomically(options.csv, as_csv(compared.rows).encode())
    if options.figure is not None:
        _draw(found, options.figure)
    return tell_failed(failed, compared.pictures)


class _Compared(NamedTuple):
    """Curves, and what is reported beside them."""

    found: RateCurves | RateDistortion
    rows: list[dict[str, Any]]
    pictures: int
    failed: Sequence[FailedFile] = ()


def _told(found: RateCurves | RateDistortion) -> dict[str, Any]:
    """For JSON; rates and differences of pictures and of a run by the same names, as in CSV."""
    told = found.to_dict()
    of_point = {"rate": "bpp"}
    for curve in told["curves"]:
        curve["points"] = [_renamed(each, of_point) for each in curve["points"]]
    if told.get("uncoded"):
        told["uncoded"] = _renamed(told["uncoded"], of_point)
    names = {"family": "codec", "rate": "bd_rate", "accuracy": "bd_quality"}
    told["differences"] = [_renamed(each, names) for each in told["differences"]]
    return told


def _renamed(told: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same by other names, of which those of an interval and the like begin with one."""
    parts = ((*name.partition("_"), value) for name, value in told.items())
    return {names.get(head, head) + bar + rest: value for head, bar, rest, value in parts}


def _draw(found: RateCurves | RateDistortion, path: Path) -> None:
    from joint.figure import distortion_figure, rate_figure, save_figure  # noqa: PLC0415 - slow

    accurate = isinstance(found, RateCurves)
    save_figure(rate_figure(found) if accurate else distortion_figure(found), path, dpi=150)


def _on_pictures(options: RateOptions, words: Sequence[CodecWord]) -> _Compared:
    """The fidelity of picture files behind each codec."""
    measured = measure_pictures(
        options.pictures,
        [sweep_of(word) for word in words],
        image_size=options.image_size,
        limit=options.limit,
        least_side=1 if options.chosen_metric == "psnr" else SSIM_WINDOW,
        progress=not options.quiet,
    )
    found = rate_distortion(
        measured,
        metric=options.chosen_metric,  # pyright: ignore[reportArgumentType] - looked at
        resamples=options.resamples,
    )
    rows = [
        {"codec": curve.name, "setting": curve.setting, **each._asdict()}
        | _bits(curve.name, found.differences)
        for curve in found.curves
        for each in curve.points
    ]
    return _Compared(found, [_there(row) for row in rows], found.pictures, measured.failed)


def _of_run(options: RateOptions, words: Sequence[CodecWord]) -> _Compared:
    """The accuracy of a run behind each codec."""
    run = options.run
    assert run is not None  # looked at
    check_trained(run)
    _, system, parts = load_run(run)
    if system.classifier is None:
        raise ConfigError(f"the run in {run} has no classifier: compare codecs on pictures instead")
    check_metric(options.chosen_metric, parts.test.classes)
    scene, _ = as_scenes(parts.test.gather(torch.tensor([0])), torch.device("cpu"))
    with torch.no_grad():
        channels = system.measure(scene).measurement.shape[1]  # what a codec is given
    sweeps = [sweep_of(word, channels=channels) for word in words]
    check_sweeps(sweeps)
    for word, sweep in zip(words, sweeps, strict=True):
        if not word.is_standard and sweep.encoding != system.encoding:
            raise ConfigError(
                f"{sweep.name} was trained on pictures as {sweep.encoding}, and {run} on "
                f"{system.encoding}: compare runs of one encoding"
            )
    device = usable_device(options.device)
    system.to(device)
    judge = partial(
        evaluate, dataset=parts.test, batch_size=options.batch_size, progress=not options.quiet
    )
    evaluations = {}
    for sweep in sweeps:
        evaluations[sweep.name] = []
        for point in sweep.points:
            try:
                behind = system.replace(codec=point.codec.to(device))
                judged = judge(behind, quality=point.quality, count_bytes=True)
            except ValueError as error:
                raise ConfigError(f"{sweep.name}: {error}") from error
            evaluations[sweep.name].append(judged)
    found = rate_curves(
        evaluations,
        metric=options.chosen_metric,
        uncoded=judge(system.replace(codec=None)),
        settings={
            sweep.name: (sweep.setting, [point.value for point in sweep.points]) for sweep in sweeps
        },
        resamples=options.resamples,
    )
    rows = [
        {"codec": curve.name, "setting": curve.setting, "value": each.value, "bpp": each.rate}
        | _ends(found.metric, each.accuracy, each.interval)
        | _against(each)
        | _bits(curve.name, found.differences)
        for curve in found.curves
        for each in curve.points
    ]
    return _Compared(found, [_there(row) for row in rows], len(parts.test))


def _bits(name: str, differences: Sequence[RateDifference]) -> dict[str, Any]:
    """The BD-rate of a codec; nothing of the first one."""
    own = [each for each in differences if each.family == name]
    return _ends("bd_rate", own[0].rate, own[0].rate_interval) if own else {}


def _against(each: AccuracyPoint) -> dict[str, Any]:
    """The paired difference of a point from the system without a codec."""
    found = each.against_uncoded
    return {} if found is None else _ends("against_uncoded", found.difference, found.interval)


def _ends(name: str, value: float, interval: Interval | None) -> dict[str, Any]:
    """A number, and the ends of its interval."""
    ends = {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: value, **ends}


def _there(row: dict[str, Any]) -> dict[str, Any]:
    """What there is of a row: neither a PSNR of no error, nor a BD-rate where there is none."""
    return {name: each for name, each in row.items() if as_json(each) is not None}
