"""Gauges of a system; as a script, how well they rank designs that are then trained.

``python tests/joint/analysis/information/test_screening.py`` builds 15 designs and prints their
numbers.
"""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import classify
import compress
import joint
import optics
from joint.analysis.information.screening import information, screen


@pytest.fixture(scope="module")
def phantoms():
    return classify.LesionPhantom(140, 32, difficulty=0.0, balance=0.0)


def _design(front_end, photons):
    return joint.ImagingSystem(front_end=front_end, sensor=optics.Sensor(photons, read_noise=2.0))


def test_information_falls_from_plane_to_plane(phantoms):
    blur = optics.LearnedKernel("gaussian", 9, signed=False)
    system = _design(blur, 20)
    system.codec = compress.JPEG(5)
    system.train()
    rows = information(system, phantoms, resamples=10, count=8)
    assert [row.plane for row in rows] == ["scene", "measurement", "handed"]
    aucs = [row.observer.auc for row in rows]
    assert aucs[0] > aucs[1] + 0.02
    assert aucs[1] > aucs[2] - 0.02
    assert rows[0].usable.bits > rows[1].usable.bits > 0.1
    assert rows[0].usable.label_bits == pytest.approx(math.log2(7), abs=0.05)
    assert system.training
    (alone,) = information(system, phantoms, planes=["measurement"], resamples=10, count=8)
    assert alone == rows[1]  # the same filters, parts and draws
    assert information(system, phantoms, planes=["irradiance"], resamples=5, count=8)


def test_the_measurement_is_the_restored_one(phantoms):
    grid = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Upsample(scale_factor=4))
    rows = torch.arange(len(phantoms))
    coarse = classify.LesionDataset(
        images=(255 * grid(phantoms.gather(rows).images / 255)).round().to(torch.uint8),
        labels=phantoms.labels,
        groups=phantoms.groups,
        identifiers=phantoms.identifiers,
        classes=phantoms.classes,
    )
    options = {"resamples": 5, "count": 8, "scales": (1,)}
    system = joint.ImagingSystem(restoration=grid)
    scene, measured = information(system, phantoms, planes=["scene", "measurement"], **options)
    (expected,) = information(joint.ImagingSystem(), coarse, planes=["scene"], **options)
    assert measured.observer.auc == pytest.approx(expected.observer.auc, abs=5e-3)
    assert abs(scene.observer.auc - expected.observer.auc) > 0.02


@pytest.fixture(scope="module")
def three_kinds():
    """Pictures of three classes that a few epochs can tell apart."""
    scenes = classify.LesionPhantom(350, 32, difficulty=0.0, balance=0.0)
    kinds = torch.tensor([scenes.classes.index(name) for name in ("bcc", "nv", "vasc")])
    return scenes.subset(torch.isin(scenes.targets, kinds).nonzero().flatten())


def test_small_screening_ranks_designs_like_trained_probes(three_kinds):
    """Six designs; those of 15 are what this file prints as a script."""
    kinds = ("identity", "gaussian")
    designs = {
        f"{kind} {photons}": _design(
            optics.LearnedKernel(kind, 9 if kind == "gaussian" else 3, signed=False), photons
        )
        for kind in kinds
        for photons in (5, 50, 2000)
    }
    found = screen(designs, three_kinds, resamples=20, count=8)
    assert [row.name for row in found.rows] == list(designs)
    parts = classify.split(three_kinds, fractions=(0.5, 0.1, 0.4), seed=0)
    scores = {name: _trained(s, parts, epochs=20, seed=0) for name, s in designs.items()}
    ranks = found.spearman(scores)
    assert ranks.observer > 0.5
    assert ranks.usable > 0.5
    theirs = spearmanr([row.observer.auc for row in found.rows], list(scores.values())).statistic
    assert ranks.observer == pytest.approx(theirs)
    aucs = {row.name: row.observer.auc for row in found.rows}
    for kind in kinds:  # more light, more to see
        assert aucs[f"{kind} 5"] < aucs[f"{kind} 50"] < aucs[f"{kind} 2000"]
    bits = {row.name: row.gaussian.bits for row in found.rows}
    assert all(bits[f"identity {p}"] > bits[f"gaussian {p}"] for p in (5, 50, 2000))
    with pytest.raises(ValueError, match="there is no score of gaussian 50"):
        found.spearman({name: 0.0 for name in designs if name != "gaussian 50"})
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["rows"][1]["observer"]["auc"] == found.rows[1].observer.auc
    assert summary["rows"][1]["gaussian"]["interval"] == list(found.rows[1].gaussian.interval)
    assert f"identity 50              {found.rows[1].observer.auc:.3f} [" in str(found)


def test_results_are_printed_and_json(phantoms):
    (row,) = information(joint.ImagingSystem(), phantoms, planes=["scene"], resamples=5, count=8)
    text = str(row.observer)
    assert "Hotelling observer, 72 features, 140 pictures: AUC 0." in text
    assert f"akiec-bcc      {row.observer.pairs[0].auc:.3f}" in text
    assert f"usable information {row.usable.bits:.3f}" in str(row.usable)
    for part in (row.observer, row.usable):
        summary = json.loads(json.dumps(part.to_dict(), allow_nan=False))
        assert summary["interval"] == list(part.interval)
    assert json.dumps(row.observer.to_dict()["pairs"][0])
    only = screen({"plain": joint.ImagingSystem()}, phantoms, resamples=5, count=8)
    assert only.rows[0].gaussian is None
    assert only.spearman({"plain": 1.0}).gaussian is None


def test_a_screening_draws_the_same_for_every_design(phantoms):
    noisy = _design(None, 50)
    silent = joint.ImagingSystem(
        sensor=optics.Sensor(50, read_noise=0.0, bit_depth=None, shot_noise="none")
    )
    designs = {"one": noisy, "silent": silent, "two": noisy}
    own = torch.Generator().manual_seed(9)
    one, silent_row, two = screen(designs, phantoms, resamples=5, count=8, generator=own).rows
    assert (one.observer, one.usable, one.gaussian) == (two.observer, two.usable, two.gaussian)
    assert silent_row.gaussian is None  # of no noise there is no Gaussian information
    expected = joint.analysis.sensor_information(
        noisy, phantoms, generator=torch.Generator().manual_seed(9)
    )
    assert one.gaussian == expected
    assert one.gaussian != joint.analysis.sensor_information(noisy, phantoms)


def test_designs_of_smaller_pictures_are_screened_at_scales_that_fit_them(phantoms):
    binned = joint.ImagingSystem(sensor=optics.Sensor(200, binning=2))
    designs = {"binned": binned, "whole": joint.ImagingSystem(sensor=optics.Sensor(200))}
    with pytest.raises(
        ValueError, match=r"16, 16.* choose smaller scales, such as scales=\(1, 2\)"
    ):
        screen(designs, phantoms, resamples=5)
    options = {"count": 8, "scales": (1, 2), "folds": 3}
    found = screen(designs, phantoms, resamples=5, side=3, **options)
    for row in found.rows:
        (alone,) = information(
            designs[row.name], phantoms, planes=["handed"], resamples=5, **options
        )
        assert (row.observer, row.usable) == (alone.observer, alone.usable)


def test_few_pictures_are_screened_by_smaller_patches():
    few = classify.LesionPhantom(14, 32, balance=0.0)
    designs = {"a": joint.ImagingSystem(sensor=optics.Sensor(100))}
    with pytest.raises(ValueError, match=r"112 patches are too few .* of 108 values"):
        screen(designs, few, resamples=5)
    (row,) = screen(designs, few, side=3, patches=9, resamples=5).rows
    expected = joint.analysis.sensor_information(designs["a"], few, side=3, patches=9)
    assert row.gaussian == expected


def test_what_does_not_fit_is_refused(phantoms):
    with pytest.raises(ValueError, match=r"planes must be some of scene, .*, not lens"):
        information(joint.ImagingSystem(), phantoms, planes=["lens"])
    with pytest.raises(ValueError, match="no irradiance, as it has neither"):
        information(joint.ImagingSystem(), phantoms, planes=["irradiance"])
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        information(joint.ImagingSystem(), phantoms, resamples=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        information(joint.ImagingSystem(), phantoms, batch_size=0)


# ------------------------------------------------------------------------------- the measurement


class _Probe(nn.Module):
    """Three convolutions, behind a normalisation: derivatives are faint."""

    def __init__(self, channels, classes):
        super().__init__()
        self.net = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.GroupNorm(4, 48), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(48, classes)

    def forward(self, image):
        return self.head(self.net(image).mean((-2, -1)))


def _trained(design, parts, *, epochs, seed):
    """Balanced accuracy on the test part of a small net trained behind a fixed design."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        channels = 3 if design.front_end is None else design.front_end.out_channels
        system = joint.ImagingSystem(
            front_end=design.front_end,
            sensor=design.sensor,
            classifier=_Probe(channels, len(parts.train.classes)),
        )
    config = joint.Training(
        epochs=epochs, stages=("classifier",), learning_rate=5e-3, seed=seed, monitor="loss"
    )
    joint.fit(system, parts.train, parts.validation, config=config, progress=False)
    return joint.evaluate(system, parts.test, seed=seed).report.balanced_accuracy


def _designs(photons):
    """Five front ends at each light level."""

    def lens(**options):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return joint.build_front_end(joint.LensConfig(**options), (32, 32), 3)

    kinds = {
        "identity": lambda: optics.LearnedKernel("identity", 3, signed=False),
        "gaussian 9": lambda: optics.LearnedKernel("gaussian", 9, signed=False),
        "log 5": lambda: optics.LearnedKernel("log", 5),
        "lens 2 waves off": lambda: lens(defocus=2.0),
        "lens random phase": lambda: lens(element="random", strength=0.6),
    }
    return {f"{kind}, {p:g}": _design(make(), p) for p in photons for kind, make in kinds.items()}


def _main(photons=(10.0, 100.0, 2000.0), count=800, epochs=10, seeds=2):
    """Screen, train, and compare the ranks; what is known after each seed is printed."""
    scenes = classify.LesionPhantom(count, 32, difficulty=0.2, balance=0.0)
    parts = classify.split(scenes, fractions=(0.5, 0.1, 0.4), seed=0)
    designs = _designs(photons)
    found = screen(designs, scenes, resamples=100)
    print(found, flush=True)
    runs = {name: [] for name in designs}
    for seed in range(seeds):
        for name, design in designs.items():
            runs[name].append(_trained(design, parts, epochs=epochs, seed=seed))
            print(f"seed {seed}, {name:24} balanced accuracy {runs[name][-1]:.3f}", flush=True)
        scores = {name: float(np.mean(values)) for name, values in runs.items()}
        print(f"Spearman over {len(designs)} designs: {found.spearman(scores)}")
        for p in photons:
            own = type(found)(tuple(r for r in found.rows if r.name.endswith(f", {p:g}")))
            print(f"at {p:g} photons/pixel: {own.spearman(scores)}", flush=True)
    each = np.array(list(runs.values()))
    print(f"of one seed with another: {spearmanr(each[:, 0], each[:, -1]).statistic:.3f}")


if __name__ == "__main__":
    _main()
