import importlib.util
import json
from pathlib import Path

import pytest

import classify
import joint

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpu.py"
SMALL = {"limit": 40, "image_size": 32, "batch_size": 32, "epochs": 1}


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
    pictures = len(classify.split(classify.LesionPhantom(40, image_size=32)).train)
    assert all(row["images/s"] > 0 and row["pictures an epoch"] == pictures for row in rows)
    # That of a CPU's process would be of the rows before, too.
    assert not any("peak memory, MB" in row for row in rows)
    assert json.loads((tmp_path / "speed.json").read_text()) == rows


_OF_SEVERAL = """
import runpy, sys
import joint
joint.preferred_precision = lambda device: "float32"  # bfloat16 takes long on some CPUs
small = joint.ClassifierConfig()  # most of the time is ResNet-18's, which the other test trains
joint.ClassifierConfig = lambda name: small
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_several_processes_time_as_one(example, fresh_joint, tmp_path):
    small = SMALL | {"image_size": 16}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in small.items()]
    place = ["--device", "cpu", "--output", tmp_path]
    first, second, _ = fresh_joint.together(_OF_SEVERAL, EXAMPLE, *place, *arguments)
    rows = json.loads((tmp_path / "speed.json").read_text())
    assert [row["system"] for row in rows[::2]] == list(example.SYSTEMS)
    assert first.count("system: ") == len(rows)
    assert "system: " not in second  # process 0 alone reports
