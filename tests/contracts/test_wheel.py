"""What is published works where there is no checkout.

The sdist is built, the wheel is built from the sdist, installed into an empty folder and used from
another directory.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("optics", "compress", "classify", "joint")

# A process with torch loaded, and nothing of the checkout.
_INSTALLED = """
import sys

sys.dont_write_bytecode = True  # tests of a module may run in any order
sys.path.insert(0, sys.argv[1])
"""

_USE = """
import importlib, pkgutil
from pathlib import Path

import pytest, torch

import classify, compress, joint, optics

site, source = (Path(each) for each in sys.argv[1:])
for package in (optics, compress, classify, joint):
    assert Path(package.__file__).is_relative_to(site), package.__file__
    assert (Path(package.__file__).parent / "py.typed").is_file(), package
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)

scenes = classify.LesionPhantom(40, image_size=32)
train, validation, test = classify.split(scenes)
system = joint.ImagingSystem(
    front_end=optics.LearnedKernel("identity", 3),
    sensor=optics.Sensor(photons=2000),
    codec=compress.FactorizedCodec(),
    classifier=classify.backbone("resnet_s", classes=7),
)
before = system.front_end.raw.detach().clone()
joint.fit(
    system,
    train,
    validation,
    objective=joint.Objective(task=1, rate=0.1, distortion=1),
    config=joint.Training(epochs=1),
)
assert not torch.equal(system.front_end.raw, before)
result = joint.evaluate(system, test, count_bytes=True)
assert 0 <= result.report.accuracy <= 1
assert result.bpp_bytes > 0
assert not list(Path.cwd().iterdir())  # nothing was written where nobody asked
print("trained", flush=True)

options = ["-c", str(source / "pyproject.toml"), "-n", "0", "-q", "-p", "no:cacheprovider"]
tests = ["tests/joint/test_settings.py", "tests/classify/test_residual.py"]
sys.exit(pytest.main([*options, *(str(source / test) for test in tests)]))
"""


def _run(*command, cwd, **variables):
    # Tests of a module may run in any order: what one of them runs leaves nothing in the sources.
    own = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **own, **variables}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _build(target, source, folder):
    done = _run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build needs it: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(_build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    return found


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    return _build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    done = _run(
        sys.executable, "-m", "pip", *install, cwd=folder, PIP_DISABLE_PIP_VERSION_CHECK="1"
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
        (about,) = {name.split("/")[0] for name in held if ".dist-info/" in name}
        metadata = archive.read(f"{about}/METADATA").decode()
        entries = archive.read(f"{about}/entry_points.txt").decode()
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert {name for name in held if not name.startswith(about)} == expected
    assert f"{about}/licenses/LICENSE" in held
    assert "lens2label = joint.cli:main" in entries
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "one graph" in metadata  # the README is its description


def test_the_sdist_holds_what_its_tests_need(unpacked):
    for name in ("tests", "examples", "docs", "README.md", "CHANGELOG.md", "constraints.txt"):
        assert (unpacked / name).exists(), name
    assert not (unpacked / "runs").exists()
    assert not list(unpacked.rglob("__pycache__"))


def test_an_installed_wheel_trains_and_passes_tests_of_the_sdist_elsewhere(
    site, unpacked, fresh, tmp_path
):
    done = fresh.run(_INSTALLED + _USE, site, unpacked, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained\n" in done.stdout
    assert " passed" in done.stdout


_ASK = """
import runpy

sys.argv[1:] = ["--help"]
runpy.run_module("joint.cli", run_name="__main__", alter_sys=True)
"""


def test_the_installed_command_line_answers(site, fresh, tmp_path):
    done = fresh.run(_INSTALLED + _ASK, site, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: lens2label COMMAND")
    (script,) = (path for path in (site / "bin").iterdir() if path.name.startswith("lens2label"))
    assert "from joint.cli import main" in script.read_text(encoding="utf-8")
