import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import classify
import joint

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpu.py"
SMALL = {"limit": 60, "image_size": 32, "batch_size": 16, "epochs": 1}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("train_gpu", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_system_is_timed(example, tmp_path):
    rows = example.main(example.Options(device="cpu", output=tmp_path, **SMALL))
    last = ["float32", joint.preferred_precision("cpu")]
    ways = dict.fromkeys(["float32, contiguous", *(f"{way}, channels last" for way in last)])
    expected = [(system, way) for system in example.SYSTEMS for way in ways]
    assert [(row["system"], row["way"]) for row in rows] == expected
    pictures = len(classify.split(classify.LesionPhantom(60, image_size=32)).train)
    assert all(row["images/s"] > 0 and row["pictures an epoch"] == pictures for row in rows)
    # That of a CPU's process would be of the rows before, too.
    assert not any("peak memory, MB" in row for row in rows)
    assert json.loads((tmp_path / "speed.json").read_text()) == rows


def test_the_line_for_several_processes(tmp_path):
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
            str(EXAMPLE), "--device", "cpu", "--output", str(tmp_path), *arguments,
        ],
        capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "speed.json").read_text())
    assert done.stdout.count("system: ") == len(rows)  # process 0 alone reports
