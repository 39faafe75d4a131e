"""What an import costs: which other packages it pulls in, by name.

A timing would depend on the machine; docs/benchmarks.md has the command and the numbers.
"""

import json
import sys

import pytest

# Third-party packages that an import may load beyond those that torch has loaded itself.
ALLOWED = {
    "optics": set(),
    "compress": {"PIL", "scipy"},
    "classify": {"PIL", "scipy", "tqdm"},
    "joint": {"PIL", "scipy", "tqdm", "pydantic", "safetensors"},
}
# What those packages bring themselves, where it is installed.
_BROUGHT = {
    "annotated_types", "charset_normalizer", "defusedxml", "packaging", "pydantic_core", "triton",
    "typing_extensions", "typing_inspection",
}  # fmt: skip
# Parts of allowed packages, and of our own, that are slow to load.
NEVER = {
    "optics": ("scipy", "numpy.testing"),
    "compress": ("scipy.stats", "scipy.signal"),
    "classify": ("scipy.signal", "scipy.stats"),
    "joint": (
        "scipy.signal",
        "scipy.stats",
        "joint.analysis",
        "joint.study",
        "joint.report",
        "joint.cli",
        "joint.command",
        "joint.figure",
    ),
}

_CODE = """
import json, sys, torch, numpy
before = set(sys.modules)
import {package}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("package", ALLOWED)
def test_an_import_loads_only_what_it_may(fresh, package):
    done = fresh.run(_CODE.format(package=package))
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    ours = {"optics", "compress", "classify", "joint"} if package == "joint" else {package}
    # Compiled parts of packages register names with a leading underscore.
    names = {name.split(".")[0] for name in loaded if not name.startswith("_")}
    allowed = {"numpy", "torch"} | ALLOWED[package] | _BROUGHT | sys.stdlib_module_names
    strangers = names - ours - allowed
    assert not strangers, f"import {package} loads {', '.join(sorted(strangers))}"
    slow = [part for part in NEVER[package] if part in loaded]
    assert not slow, f"import {package} loads {', '.join(slow)}"


_ROOMS = """
import sys, joint
for room in ("analysis", "figure", "report", "study"):  # none of these loads a later one
    assert f"joint.{room}" not in sys.modules, room
    assert getattr(joint, room) is sys.modules[f"joint.{room}"], room
try:
    joint.studies
except AttributeError as error:
    print(error)
"""


def test_a_room_of_joint_is_loaded_when_it_is_asked_for(fresh):
    done = fresh.run(_ROOMS)
    assert done.stdout == "module 'joint' has no attribute 'studies'\n", done.stderr


_COMMANDS = """
import contextlib, json, os, sys
from joint.cli import main
seen = set(sys.modules)
for command in ([], ["describe"], ["compress"], ["study"], ["tolerance"]):
    with contextlib.redirect_stdout(open(os.devnull, "w")), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    print(json.dumps(sorted(name for name in set(sys.modules) - seen if "joint." in name)))
    seen = set(sys.modules)
"""


def test_a_command_loads_no_other_command_and_no_room_that_it_does_not_need(fresh):
    done = fresh.run(_COMMANDS)
    assert done.returncode == 0, done.stderr
    usage, describe, compress, study, tolerance = map(json.loads, done.stdout.splitlines())
    assert usage == []
    rooms = ("joint.analysis", "joint.figure", "joint.report", "joint.study")
    assert not [name for name in (*describe, *compress, *study) if name.startswith(rooms)]
    assert "joint.analysis" in tolerance
    of_commands = [
        {
            name.removeprefix("joint.command.")
            for name in loaded
            if name.startswith("joint.command.")
        }
        for loaded in (describe, compress, study, tolerance)
    ]
    assert of_commands == [
        {"describe", "options", "reading"}, {"compress", "codec_files"}, {"study"}, {"tolerance"},
    ]  # fmt: skip
