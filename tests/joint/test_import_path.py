import math

import pytest

from joint.import_path import NotHere, check_arguments, imported
from joint.settings import ConfigError


def test_what_python_finds_at_a_path_is_returned_and_not_called():
    assert imported("math.hypot", "objective.x") is math.hypot
    assert imported("os.path.join", "objective.x").__module__ == "posixpath"


@pytest.mark.parametrize(
    ("path", "here"), [("no_such.thing", False), ("math.no_such", True), ("torn.thing", False)]
)
def test_what_is_not_there_is_told_with_its_setting(path, here, tmp_path, monkeypatch):
    (tmp_path / "torn.py").write_text("import math\nmath.no_such\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=rf"objective\.x='{path}' cannot be imported") as told:
        imported(path, "objective.x")
    assert isinstance(told.value, NotHere) == (not here)
    if path == "torn.thing":
        assert "torn raises AttributeError: module 'math'" in str(told.value)


def test_arguments_that_are_not_taken_are_told_with_those_that_are():
    def function(first, second, *, scale=1.0, offset=0.0):
        raise AssertionError("nothing is called")

    check_arguments(function, (0, 0), {"scale": 2}, path="a.b", setting="x.args")
    message = r"a\.b does not take {'scal': 2}: .*'scal'; set x\.args from .*, scale, offset$"
    with pytest.raises(ConfigError, match=message):
        check_arguments(function, (0, 0), {"scal": 2}, path="a.b", setting="x.args")
    with pytest.raises(ConfigError, match=r"'second'; set x\.args from .*, second, scale, offset$"):
        check_arguments(function, (0,), {}, path="a.b", setting="x.args")
    with pytest.raises(ConfigError, match="of which it has none"):
        check_arguments(lambda: None, (), {"scale": 2}, path="a.b", setting="x.args")
