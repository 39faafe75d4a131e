import pytest
from pydantic import ValidationError

from joint import NoneConfig
from joint.settings import Settings


class _Part(Settings):
    size: float = 1.0


def test_settings_are_strict_and_do_not_change():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        _Part(sise=2)
    with pytest.raises(ValidationError, match="finite"):
        _Part(size=float("nan"))
    part = _Part()
    with pytest.raises(ValidationError, match="frozen"):
        part.size = 2
    assert NoneConfig().model_dump() == {"kind": "none"}
