"""What every part of a configuration has in common: immutable, strict, JSON."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["NoneConfig", "Settings"]


class Settings(BaseModel):
    """Base of all configurations: unknown names are refused, and nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NoneConfig(Settings):
    """Leave this stage out."""

    kind: Literal["none"] = "none"
