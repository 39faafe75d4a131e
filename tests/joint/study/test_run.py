import hashlib
import shutil

import numpy as np
import pytest
import torch

import joint
import joint.analysis
from joint.config.scenes import build_data
from joint.run.build import build_split, build_system
from joint.saved.folder import is_done, lock_run, read_result
from joint.saved.predictions import load_predictions
from joint.study import Plan, create_study, rows, work
from joint.study.run import costs, execute


def test_a_run_is_that_of_fit_and_evaluate(small_base, tmp_path):
    config = small_base(epochs=2, seed=3)
    dataset = build_data(config.data)
    with lock_run(tmp_path) as folder:
        assert execute(config, folder, dataset)
    assert joint.load_config(tmp_path) == config
    parts = build_split(config, dataset)
    system = build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    joint.fit(
        system, parts.train, parts.validation,
        objective=config.objective, config=config.training, progress=False,
    )  # fmt: skip
    expected = joint.evaluate(system, parts.test, objective=config.objective, count_bytes=True)
    result = read_result(tmp_path)
    assert result["test"] == expected.to_dict()
    assert result["digest"] == config.digest()
    assert result["epochs"] == 2
    found = load_predictions(tmp_path)
    assert (found.logits == expected.logits).all()
    assert found.identifiers == expected.identifiers
    assert result["costs"]["parameters"] == sum(p.numel() for p in system.parameters())


def test_the_rate_of_two_exposures_is_of_the_picture(small_base, small_study, tmp_path):
    """Not of what the sensor reads for it, which is twice as much."""
    base = small_base()
    system = joint.SystemConfig(
        front_end=joint.KernelConfig(kernel_size=3, signed=True), codec=joint.JPEGConfig()
    )
    base = base.model_copy(
        update={"system": system, "objective": joint.Objective(rate=0, distortion=0)}
    )
    ledger = create_study(small_study(base=base, costs={"sent": "bpp"}), tmp_path)
    (run, *_) = ledger.runs
    with lock_run(ledger.path(run)) as folder:
        assert execute(ledger.config(run), folder, build_data(base.data))
    row = rows(ledger)[0]
    assert row.numbers["pixels"] == 2 * 3 * 16 * 16
    assert row.costs["sent"] == row.numbers["bpp"]
    assert row.costs["sent"] == pytest.approx(row.numbers["bits"] / (16 * 16))


def test_a_run_that_was_stopped_goes_on_to_the_same_end(small_base, tmp_path):
    config = small_base(epochs=2, checkpoint_every=1, batch_size=8)
    dataset = build_data(config.data)
    with lock_run(tmp_path / "whole") as folder:
        assert execute(config, folder, dataset)
    asked = iter([False] * 7)
    with lock_run(tmp_path / "parts") as folder:
        assert not execute(config, folder, dataset, stop=lambda: next(asked, True))
        assert not is_done(folder.path)
        assert execute(config, folder, dataset)
    whole, parts = (read_result(tmp_path / name) for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize(
    ("sensor", "bpp", "expected"),
    [
        (joint.SensorConfig(photons=500, bit_depth=10), None, (500, 10 * 3 * 16 * 16)),
        (joint.SensorConfig(photons=500, bit_depth=10, binning=2), None, (500, 10 * 3 * 8 * 8)),
        (joint.SensorConfig(photons=500, bit_depth=8, cfa="rggb"), None, (500, 8 * 16 * 16)),
        (joint.SensorConfig(cfa="rggb", demosaicing="packed"), None, (1e4, 10 * 16 * 16)),
        (joint.SensorConfig(cfa="rggb", demosaicing="packed"), 0.5, (1e4, 0.5 * 8 * 8)),
        (joint.SensorConfig(cfa="rggb", demosaicing="none"), 0.5, (1e4, 0.5 * 16 * 16)),
        (joint.SensorConfig(photons=500, bit_depth=None), None, (500, None)),
        (joint.SensorConfig(photons=500, binning=2), 0.5, (500, 0.5 * 8 * 8)),
        (joint.NoneConfig(), 0.5, (None, 0.5 * 16 * 16)),
        (joint.NoneConfig(), None, (None, None)),
    ],
)
def test_costs_are_light_and_bits_of_a_picture(small_base, sensor, bpp, expected):
    base = small_base()
    config = base.model_copy(
        update={"system": base.system.model_copy(update={"sensor": sensor, "seed": 0})}
    )
    system = build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    found = costs(system, (3, 16, 16), bpp=bpp)
    assert (found.photons, found.bits) == expected
    assert found.parameters > 100_000


@pytest.mark.parametrize(
    ("front_end", "cfa", "codes"),
    [
        (joint.NoneConfig(), None, 3),
        (joint.KernelConfig(kernel_size=3, signed=False), None, 3),
        (joint.KernelConfig(kernel_size=3, signed=True), None, 2 * 3),
        (joint.KernelConfig(kernel_size=3, signed=True, mix_channels=True), None, 2 * 3),
        (joint.KernelConfig(kernel_size=3, signed=True, start="sobel"), None, 2 * 2 * 3),
        (joint.KernelConfig(kernel_size=3, signed=True), "rggb", 2),
        (joint.LensConfig(), None, 3),
        (joint.LensConfig(colour={"filters": "fixed", "channels": 1}), None, 1),
        (joint.LensConfig(colour={"lamps": "fixed", "patterns": 2}), None, 2),
        (joint.LensConfig(colour={"filters": "fixed", "share": 1.0}), "rggb", 1),
    ],
)
def test_bits_are_those_of_every_exposure(small_base, front_end, cfa, codes):
    sensor = joint.SensorConfig(photons=500, bit_depth=10, cfa=cfa)
    base = small_base()
    update = {"front_end": front_end, "sensor": sensor, "seed": 0}
    config = base.model_copy(update={"system": base.system.model_copy(update=update)})
    system = build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    found = costs(system, (3, 16, 16), bpp=None).bits
    assert found == 10 * codes * 16 * 16
    # What the sensor hands on, before missing colours are interpolated.
    raw = system.measure(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))).raw
    assert found == 10 * raw.numel() / (1 if cfa is None else 3)
    assert costs(system, (3, 16, 16), bpp=0.5).pixels == codes * 16 * 16


def test_computation_is_that_of_codec_and_classifier(small_base):
    base = small_base()
    system = build_system(base.system, image_size=(16, 16), channels=3, classes=7)
    wanted = joint.analysis.system_costs(system, build_data(base.data), resamples=10)
    found = costs(system, (3, 16, 16), bpp=None)
    assert found.macs == wanted.macs > 0
    assert found.pixels == wanted.pixels_read
    system.classifier = None
    assert costs(system, (3, 16, 16), bpp=None).macs == 0
    system.sensor = None
    assert costs(system, (3, 16, 16), bpp=0.5).pixels is None


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_computation_is_that_of_a_classifier_of_another_type(small_base, kind):
    system = build_system(small_base().system, image_size=(16, 16), channels=3, classes=7)
    wanted = costs(system, (3, 16, 16), bpp=None)
    system.classifier.to(kind)
    assert costs(system, (3, 16, 16), bpp=None) == wanted


@pytest.mark.parametrize(
    "sensor",
    [
        joint.SensorConfig(binning=2),
        joint.SensorConfig(cfa="rggb", demosaicing="packed"),
        joint.SensorConfig(),
        joint.NoneConfig(),
    ],
)
def test_what_a_restoration_computes_and_makes_is_in_the_costs(small_base, sensor):
    base = small_base()
    update = {
        "sensor": sensor,
        "restoration": joint.UNetConfig(width=4),
        "codec": joint.JPEGConfig(),
    }
    config = base.model_copy(update={"system": base.system.model_copy(update=update)})
    system = build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    wanted = joint.analysis.system_costs(system, build_data(base.data), resamples=10)
    computed = {stage.stage: stage.macs for stage in wanted.stages}
    found = costs(system, (3, 16, 16), bpp=0.5)
    assert found.macs == wanted.macs == computed["restoration"] + computed["classifier"]
    assert found.bits == 0.5 * 16 * 16  # of the picture that it makes, which is that of the scene
    assert found.pixels == wanted.pixels_read


def test_bits_are_those_of_the_files_that_the_codec_writes(small_base, tmp_path):
    base = small_base()
    system = base.system.model_copy(update={"codec": joint.JPEGConfig()})
    config = base.model_copy(update={"system": system})
    with lock_run(tmp_path) as folder:
        execute(config, folder, build_data(config.data))
    result = read_result(tmp_path)
    assert result["test"]["bpp_bytes"] > 0
    assert result["costs"]["bits"] == result["test"]["bpp_bytes"] * 16 * 16


def test_a_result_names_the_files_that_its_run_began_with(small_base, small_study, tmp_path):
    np.save(tmp_path / "psf.npy", np.full((3, 3), 1 / 9, np.float32))
    base = small_base(batch_size=8)
    camera = joint.PSFConfig(file=tmp_path / "psf.npy")
    system = base.system.model_copy(update={"front_end": camera})
    base = base.model_copy(update={"system": system})
    ledger = create_study(small_study(base=base, plan=Plan(), seeds=(0,)), tmp_path / "study")
    for together in (1, 2):  # one by one, and as an ensemble
        work(ledger.folder, together=together)
        digest = hashlib.sha256((tmp_path / "psf.npy").read_bytes()).hexdigest()
        for run in ledger.runs:
            assert read_result(ledger.path(run))["files"] == {str(tmp_path / "psf.npy"): digest}
            shutil.rmtree(ledger.path(run))
