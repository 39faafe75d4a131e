import json

import pytest
import torch
from PIL import Image

import joint
from joint.study import work

# The small sizes have two seeds, which can show nothing, and that is said.
pytestmark = pytest.mark.filterwarnings("ignore:2 paired seeds cannot:UserWarning")


@pytest.fixture
def tolerance(load, monkeypatch):
    module = load("tolerance")
    monkeypatch.setattr(module.runner, "run_study", lambda folder, *, device, **_: work(folder))
    monkeypatch.setattr(module.runner, "write_study_html", lambda *_, **__: None)  # test_runner.py
    return module


def _system(**front):
    config = joint.SystemConfig(
        front_end=joint.LensConfig(**front), codec=joint.NoneConfig(), classifier=joint.NoneConfig()
    )
    return joint.build_system(config, image_size=(16, 16), channels=3, classes=7)


def test_a_device_has_every_error_that_its_design_can_have(tolerance, monkeypatch):
    asked = []

    def note(system, name, level, **_):
        asked.append((name, level))
        return system

    monkeypatch.setattr(tolerance, "perturbed", note)
    for front, surface in (
        ({}, ["phase_error"]),
        ({"element": "phase", "strength": 0.1}, ["decentre", "rotation", "phase_error"]),
        ({"element": "height", "strength": 0.1}, ["decentre", "rotation", "height_error"]),
    ):
        asked.clear()
        tolerance.made(_system(**front), 3, channels=3)
        assert [name for name, _ in asked] == ["defocus", *surface]
        levels = dict(asked)
        generator = torch.Generator().manual_seed(3)
        # The same draw for all designs, whatever else they have.
        assert levels["defocus"] == 0.25 * float(torch.randn((), generator=generator))
        assert levels[surface[-1]] == tolerance.TOLERANCES[surface[-1]]


def test_devices_differ_and_are_the_same_again(tolerance):
    system = _system(element="phase", strength=0.1)

    def spread(device):
        return tolerance.made(system, device, channels=3).front_end.psf().detach()

    assert torch.equal(spread(1), spread(1))
    assert not torch.allclose(spread(1), spread(2))
    assert not torch.allclose(spread(1), system.front_end.psf().detach())


def test_the_worst_tenth_is_a_mean_of_the_lowest(tolerance):
    values = [0.9, 0.1, *[0.8] * 17, 0.2]
    assert tolerance.worst_tenth(values) == pytest.approx(0.15)
    assert tolerance.worst_tenth([0.5, 0.4]) == 0.4


def test_it_runs_small_and_ranks_by_both(tolerance, tmp_path, capsys):
    options = tolerance.Options(small=True, output=tmp_path, devices=3)
    found = tolerance.main(options)
    assert "worst tenth of 3 devices" in capsys.readouterr().out
    folder = tmp_path / "tolerance_small" / "found"
    written = json.loads((folder / "tolerance.json").read_text())
    assert written == json.loads(json.dumps({"devices": 3, **found}))
    with Image.open(folder / "tolerance.png") as figure:
        assert figure.size[0] > 500
    lens, height = found["designs"]
    assert (lens["levels"], height["levels"]) == (
        {"camera": "lens"},
        {"camera": "height of 4 levels"},
    )
    assert sorted(row["worst_rank"] for row in found["designs"]) in ([1, 2], [1, 1])
    against = height["against_first"]
    assert against["difference"] == pytest.approx(height["worst"] - lens["worst"])


def test_an_error_of_nothing_leaves_the_nominal_accuracy(tolerance, tmp_path, monkeypatch):
    monkeypatch.setattr(tolerance, "TOLERANCES", {})
    found = tolerance.main(tolerance.Options(small=True, output=tmp_path, devices=2))
    for row in found["designs"]:
        assert row["worst"] == pytest.approx(row["nominal"])
