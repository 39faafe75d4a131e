import importlib.util
import math
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "depth_of_field.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("depth_of_field", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_stop_has_the_depth_and_a_large_one_the_light(example, tmp_path, capsys):
    options = example.Options(
        working_distances=(0.3, 0.5, 1.5),
        photons=2000,
        pictures=16,
        epochs=1,
        points=5,
        output=tmp_path,
    )
    systems = example.cameras(options)
    photons = {name: system.sensor.photons for name, system in systems.items()}
    assert photons["lens, f/16"] == photons["lens, f/8"] / 4
    results = example.main(options)
    assert results.keys() == systems.keys()
    middle = len(results["lens, f/8"]) // 2
    wide, small = results["lens, f/8"], results["lens, f/16"]
    for curve in (wide, small):
        assert curve[middle] > max(curve[0], curve[-1])
    assert min(small) > min(wide) + 1
    # The ends are 0.3 dioptres beyond 0.3 m and 1.5 m; no lens is worst in between.
    ends = "0.275", f"{1 / (1 / 1.5 - 0.3):.3g}"
    head, *told = capsys.readouterr().out.splitlines()[-5:]
    assert head == f"PSNR from {' to '.join(ends)} m; the cameras are trained for 0.3, 0.5, 1.5 m"
    assert all(line.endswith(" m") and line.split()[-2] in ends for line in told if "lens" in line)
    with Image.open(tmp_path / "depth_of_field.png") as figure:
        assert figure.size[0] > 1000


@pytest.mark.parametrize("distances", [(0.5, math.inf), (5.0,)])
def test_no_scene_is_farther_than_infinity_and_one_distance_is_a_range(
    example, tmp_path, capsys, distances
):
    options = example.Options(
        working_distances=distances, pictures=16, epochs=1, points=2, output=tmp_path
    )
    results = example.main(options)
    assert all(len(curve) == 2 and all(map(math.isfinite, curve)) for curve in results.values())
    nearest = 1 / (1 / min(distances) + 0.3)
    assert capsys.readouterr().out.startswith(f"PSNR from {nearest:.3g} to inf m; ")
    assert (tmp_path / "depth_of_field.png").exists()
