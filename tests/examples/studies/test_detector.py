import json

import numpy as np
import pytest
from PIL import Image

from joint.study import sign_flip_test, work

# The small sizes have two seeds, which can show nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore:2 paired seeds cannot:UserWarning")


@pytest.fixture
def detector(load, monkeypatch):
    module = load("detector")
    monkeypatch.setattr(module.runner, "run_study", lambda folder, *, device, **_: work(folder))
    monkeypatch.setattr(module.runner, "write_study_html", lambda *_, **__: None)  # test_runner.py
    return module


def _share(pictures, band):
    """Share of the variance within a band, cycles/pixel."""
    spectrum = np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdims=True))) ** 2
    frequency = np.fft.fftfreq(pictures.shape[-1])
    radius = np.hypot(frequency[:, None], frequency)
    inside = (radius >= band[0] - 1e-9) & (radius < band[1] + 1e-9)
    return spectrum[:, inside].sum() / spectrum.sum()


def _binned(pictures, block):
    count, side, _ = pictures.shape
    return pictures.reshape(count, side // block, block, side // block, block).mean((2, 4))


def test_a_texture_lies_in_its_band_and_runs_in_its_direction(detector):
    generator = np.random.default_rng(0)
    directions = np.repeat([0.0, np.pi / 2], 20)
    made = detector.texture(40, (0.1, 0.2), directions, generator=generator)
    assert made.shape == (40, 64, 64)
    assert np.square(made).mean((1, 2)) == pytest.approx(1)
    assert _share(made, (0.1, 0.2)) == pytest.approx(1)
    along_x, along_y = (np.square(np.diff(made, axis=axis)).mean((1, 2)) for axis in (2, 1))
    assert (along_x > 2 * along_y)[:20].all()
    assert (along_y > 2 * along_x)[20:].all()


def test_a_coarse_readout_folds_the_fine_textures_onto_the_class_and_a_full_one_does_not(detector):
    generator = np.random.default_rng(0)
    anywhere = np.pi * generator.random(200)
    for block, least in ((8, 0.2), (4, 0.03)):
        fine = detector.texture(200, detector.FOLDED_BANDS[block], anywhere, generator=generator)
        assert _share(fine, detector.TOLD_BAND) == pytest.approx(0, abs=1e-9)
        told = [block * frequency for frequency in detector.TOLD_BAND]  # per pixel of the readout
        assert _share(_binned(fine, block), told) > least


def test_scenes_are_balanced_and_reproducible(detector, tmp_path):
    pictures, labels = detector.scenes(40, seed=3)
    assert pictures.dtype == np.uint8
    assert np.bincount(labels).tolist() == [10, 10, 10, 10]
    assert pictures.mean() == pytest.approx(127.5, abs=2)
    assert np.array_equal(pictures, detector.scenes(40, seed=3)[0])
    detector.write_scenes(tmp_path / "made" / "scenes.npz", 40, seed=3)
    with np.load(tmp_path / "made" / "scenes.npz") as file:
        written = np.concatenate([file[f"{part}_images"] for part in ("val", "test", "train")])
    assert np.array_equal(written, pictures)


def test_it_runs_small_and_tells_how_the_gain_shrinks(detector, tmp_path, capsys):
    found = detector.main(detector.Options(small=True, output=tmp_path))
    printed = capsys.readouterr().out
    assert "4x4 readout: by" in printed
    folder = tmp_path / "detector_small" / "found"
    assert json.loads((folder / "gain.json").read_text()) == json.loads(json.dumps(found))
    with Image.open(folder / "gain.png") as figure:
        assert figure.size[0] > 500
    ledger = detector.runner.create_study(
        detector.runner.sized("detector", "small"), tmp_path / "detector_small"
    )
    right = {
        (*ledger.designs[run.design].values(), run.seed): ledger.result(run)["test"][
            "balanced_accuracy"
        ]
        for run in ledger.runs
    }
    assert len(right) == 8
    gains = {
        noise: [right["mask", "4x4", noise, s] - right["lens", "4x4", noise, s] for s in (0, 1)]
        for noise in (1, 400)
    }
    assert [gain["noise"] for gain in found["gains"]] == [1, 400]
    for gain in found["gains"]:
        assert gain["difference"] == pytest.approx(np.mean(gains[gain["noise"]]))
    (shrinks,) = found["shrinks"].values()
    differences = np.subtract(gains[1], gains[400])
    assert shrinks["seeds"] == pytest.approx(differences.tolist())
    assert shrinks["mean"] == pytest.approx(differences.mean())
    assert shrinks["adjusted_p"] == sign_flip_test(differences)
