import json

import numpy as np
from commands import MISTAKE, run

import joint
from joint.command.audit import AuditOptions


def test_an_audit_fails_where_something_leaks(tmp_path, capsys):
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            noise = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    command = ["audit", "--data", tmp_path, "--image-size", "16"]
    status, out, _ = run(capsys, *command)
    assert status == 0, out
    assert "audit of 20 images" in out
    for number in range(10):
        original = (tmp_path / "cat" / f"{number}.png").read_bytes()
        (tmp_path / "cat" / f"copy{number}.png").write_bytes(original)
    status, out, _ = run(capsys, *command)
    assert status == 1
    assert "exact duplicates (equal pixels): 10 sets" in out
    status, out, _ = run(capsys, *command, "--json", "--split.folds", "4")
    assert status == 1
    assert {leak["kind"] for leak in json.loads(out)["leaks"]} == {"exact"}
    assert run(capsys, "audit", "--data", tmp_path / "nothing")[0] == MISTAKE


def test_the_audit_divides_as_training_does():
    assert AuditOptions().split == joint.SplitConfig()
