"""How options are read: kinds first, then the options that they have, checked as a whole.

::

    words ──► kinds of stages and scenes ──► options of these kinds ──► settings, checked at once
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args

import tyro
from pydantic import BaseModel, ValidationError

from joint.config.faults import option_line
from joint.config.run import RunConfig, SplitConfig
from joint.settings import NoneConfig, OptionError
from joint.train.augment import Augmentation, AugmentationName

from .options import Choice

__all__ = [
    "Source",
    "check_settings",
    "check_split",
    "read_choice",
    "read_given",
    "read_source",
]

# What divides the scenes without some other settings of the split.
_DIVIDES_ALONE = {"folds": ("fractions", "method"), "column": ("fractions", "by", "method", "seed")}

_O = TypeVar("_O")
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Source:
    """What has to be known before the options of the scenes are."""

    data: str | None = None
    against: str | None = None
    image_size: int | None = None


def read_source(arguments: Sequence[str]) -> Source:
    """Where the scenes lie, and others to compare them with, and how large they are to be."""
    return tyro.cli(Source, args=arguments, return_unknown_args=True, add_help=False)[0]


def read_choice(arguments: Sequence[str]) -> tuple[Choice, RunConfig]:
    """The kinds that were chosen, and the configuration before single options."""
    choice, _ = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    start, typed = choice.start(), _typed(arguments)
    for stage, settings in start.system:
        option = stage.replace("_", "-")
        of_it = sorted(word for word in typed if word.startswith(f"--system.{option}."))
        if of_it and isinstance(settings, NoneConfig):
            raise OptionError(
                f"{of_it[0]}: the system has no {stage.replace('_', ' ')} (none). Choose its kind "
                f"by --{option}, or leave {of_it[0]} out"
            )
    return choice, _emptied(start, typed)


def read_given(kind: type[_O], arguments: Sequence[str], prog: str, *, default: _O) -> _O:
    """The options as they were given, their settings as plain data."""
    return tyro.cli(
        kind,
        args=arguments,
        prog=prog,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
        registry=_REGISTRY,
    )


def check_settings(kind: type[_M], given: object, arguments: Sequence[str], prog: str) -> _M:
    """Settings of what was given."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        lines = dict.fromkeys(option_line(fault, kind, arguments) for fault in error.errors())
        raise OptionError(
            "\n  ".join([*lines, f"see {prog} --help for what each option takes"])
        ) from error


def check_split(split: SplitConfig, arguments: Sequence[str]) -> None:
    """Refuse options of a split that do nothing beside others, by an OptionError.

    Not the settings, as those of a saved run hold all of them, whichever divide its scenes.
    """
    typed = _typed(arguments)
    for chosen, unused in _DIVIDES_ALONE.items():
        for name in unused:
            if getattr(split, chosen) is not None and f"--split.{name}" in typed:
                raise OptionError(
                    f"--split.{name} does nothing beside the {chosen} of the split "
                    f"({getattr(split, chosen)}): leave it out, or give --split.{chosen} None"
                )


def _typed(arguments: Sequence[str]) -> set[str]:
    """The options that were typed, without values, among all other words."""
    return {word.partition("=")[0].replace("_", "-") for word in arguments}


def _emptied(settings: _M, typed: Set[str], *path: str) -> _M:
    """The same settings, without the entries of mappings whose own option is ``typed``.

    That option replaces them. A mapping with entries has one for each of these instead.
    """
    updates: dict[str, object] = {}
    for name, value in settings:
        here = (*path, name)
        if isinstance(value, BaseModel):
            updates[name] = _emptied(value, typed, *here)
        elif isinstance(value, dict) and f"--{'.'.join(here).replace('_', '-')}" in typed:
            updates[name] = type(value)()
    return settings.model_copy(update=updates)


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _augmentation(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Views by name, or as JSON: settings as options of their own would hide the names."""
    if Augmentation not in get_args(info.type):
        return None
    names = get_args(AugmentationName)

    def read(words: list[str]) -> Augmentation | str:
        if words[0] in names:
            return words[0]
        try:
            return Augmentation.model_validate_json(words[0])
        except ValidationError as error:
            raise ValueError(
                f"give one of {', '.join(names)}, or settings such as '{{\"dihedral\": true}}': "
                f"{error.errors()[0]['msg']}"
            ) from error

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(names)}}}|JSON",
        instance_from_str=read,
        is_instance=lambda value: value in names or isinstance(value, Augmentation),
        str_from_instance=lambda value: [
            value if isinstance(value, str) else value.model_dump_json(exclude_defaults=True)
        ],
    )


# Marks what is asked of tyro's own rules.
_OWN = object()
# A word or formula between backticks, and the role that may stand before it.
_MARKED = re.compile(r"(?::[a-z]+:)?(`+)(.+?)\1", re.DOTALL)


@_REGISTRY.struct_rule
def _unchecked(
    info: tyro.constructors.StructTypeInfo,
) -> tyro.constructors.StructConstructorSpec | None:
    """Settings as plain data: checked as a whole, later, an error has its place in it.

    The help of these and of the other options says what their docstrings say, without markup.
    """
    of_model = isinstance(info.type, type) and issubclass(info.type, BaseModel)
    if not (of_model or is_dataclass(info.type)) or _OWN in info.markers:
        return None
    found = tyro.constructors.ConstructorRegistry.get_struct_spec(
        replace(info, markers=(*info.markers, _OWN))
    )
    assert isinstance(found, tyro.constructors.StructConstructorSpec)
    told = (
        replace(each, helptext=partial(_without_markup, each.helptext)) for each in found.fields
    )
    return replace(found, fields=tuple(told), instantiate=dict if of_model else found.instantiate)


def _without_markup(docstring: str | Callable[[], str | None] | None) -> str | None:
    """A docstring as it is read: one paragraph, without roles and backticks."""
    text = docstring() if callable(docstring) else docstring
    return text and " ".join(_MARKED.sub(r"\2", text).split())
