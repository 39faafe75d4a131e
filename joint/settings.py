"""What every part of a configuration has in common: immutable, strict, JSON."""

import difflib
import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from textwrap import dedent, indent
from typing import Any, Literal, Never, Self, TypeVar

import numpy as np
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from torch import Tensor

__all__ = ["ConfigError", "FrozenDict", "NoneConfig", "OptionError", "Settings", "nearest"]

_K = TypeVar("_K")
_V = TypeVar("_V")
_PART = re.compile(r"[^\W_]+")


class ConfigError(ValueError):
    """A configuration that cannot be read; the message names the place and the remedy."""


class OptionError(ConfigError):
    """An option of the command line that is not allowed; the message names it as it is typed."""


class Settings(BaseModel):
    """Base of all configurations: unknown names are refused, and nothing changes afterwards."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        # help() shows no docstring that stands below a field.
        told = [
            f"{name}\n{indent(dedent(field.description), '    ')}"
            for name, field in cls.model_fields.items()
            if field.description
        ]
        if told:
            text = cleandoc(cls.__doc__ or "")
            cls.__doc__ = "\n".join([text, "", "Attributes", "----------", *told])

    @model_validator(mode="wrap")
    @classmethod
    def _of_their_types(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        # Not pydantic's strict mode, which refuses a list for a tuple and a path as a string. Not
        # for each field either, which the kinds of a union do not allow.
        try:
            settings = read(given)
        except ValidationError as error:
            raise _in_words(error, cls) from None
        if isinstance(given, Mapping):
            casts = [
                InitErrorDetails(type=fault, loc=(name,), input=value)
                for name, value in given.items()
                if (fault := _cast(value, getattr(settings, name)))
            ]
            if casts:
                raise ValidationError.from_exception_data(cls.__name__, casts)
        return settings


def nearest(word: str, choices: Sequence[object], *, always: bool = True) -> str:
    """End of a message about an unknown word: the nearest choice, or (``always``) all of them.

    The nearest of those that the word abbreviates, and otherwise of those that are like it.
    """
    names, word = {str(choice).lower(): choice for choice in choices}, word.lower()
    short_for = [name for name in names if _abbreviates(word, name)]
    near = difflib.get_close_matches(word, short_for, n=1, cutoff=0)
    near = near or difflib.get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {names[near[0]]!r}?"  # a number without quotes
    return f"; choose from {', '.join(map(str, choices))}" if always else ""


def _abbreviates(word: str, name: str) -> bool:
    """Whether the parts of a word begin parts of a name, in their order: bal_acc, f1 of macro_f1.

    Parts are parted by underscores and points. One letter alone is short for nothing.
    """
    parts, rest = _PART.findall(word), iter(_PART.findall(name))
    return sum(map(len, parts)) > 1 and all(
        any(own.startswith(part) for own in rest) for part in parts
    )


def _in_words(error: ValidationError, settings: type[Settings]) -> ValidationError:
    """The same errors, each once; those about a name that ``settings`` lack say what they have."""
    every = error.errors()
    faults = [fault for fault in every if not _follows(fault, every)]
    if len(faults) == len(every) and not any(_is_unknown(fault) for fault in faults):
        return error
    names = [*settings.model_fields]
    told = []
    for fault in faults:
        said, name = fault["msg"], "".join(map(str, fault["loc"][-1:]))
        if _is_unknown(fault):
            said = f"{settings.__name__} has no {name}{nearest(name, names)}"
        # In braces, as what was typed may have some, which are none of a template.
        kind = PydanticCustomError(fault["type"], "{said}", {**fault.get("ctx", {}), "said": said})  # pyright: ignore[reportArgumentType]
        told.append(InitErrorDetails(type=kind, loc=fault["loc"], input=fault["input"]))
    return ValidationError.from_exception_data(error.title, told)


def _follows(fault: ErrorDetails, every: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only as elements failed, which pydantic does not count."""
    place = fault["loc"]
    least = fault.get("ctx", {}).get("min_length", 0)
    if fault["type"] != "too_short" or len(fault["input"]) < least:
        return False
    return any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in every
    )


def _is_unknown(fault: ErrorDetails) -> bool:
    """Whether it is about a name on the level of the settings, and not within."""
    return fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1


def _cast(given: object, read: object) -> PydanticCustomError | None:
    """What to say where pydantic took ``true`` for the number 1, or 1 for ``true``.

    In sequences and mappings too, whose lengths differ where a validator added something. Settings
    in settings have said it of their own. A number as a string is one: JSON has no other infinity.
    """
    if isinstance(read, Mapping) and isinstance(given, Mapping):
        given, read = tuple(given.values()), tuple(read.values())
    if isinstance(read, tuple) and isinstance(given, list | tuple):
        found = (_cast(one, other) for one, other in zip(given, read, strict=False))
        return next(filter(None, found), None)
    switch = isinstance(given, bool | np.bool_)
    switch = switch or (isinstance(given, Tensor) and given.dtype == torch.bool)
    if isinstance(read, bool) and not switch:
        return PydanticCustomError("cast", "Input should be true or false")
    if switch and isinstance(read, int | float) and not isinstance(read, bool):
        return PydanticCustomError("cast", "Input should be a number")
    return None


class NoneConfig(Settings):
    """Leave this stage out."""

    kind: Literal["none"] = "none"


class FrozenDict(dict[_K, _V]):
    """A dict that does not change once it is made, and has a hash where its values have one.

    It is a dict, so that it equals one, and is validated, written and asked for on the command
    line as one. What takes a part of it away or adds to it raises a TypeError; ``dict(it)`` and
    ``it | other`` are ordinary dicts.
    """

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the entries, whatever their order: equal ones have equal hashes."""
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled whole: entry by entry would change it."""
        return type(self), (dict(self),)

    def _frozen(self, *_: object, **__: object) -> Never:
        raise TypeError(
            "these settings do not change: make new ones, with dict(settings) | {...} as a start"
        )

    __setitem__ = __delitem__ = __ior__ = _frozen  # pyright: ignore[reportAssignmentType]
    clear = pop = popitem = setdefault = update = _frozen  # pyright: ignore[reportAssignmentType]
