"""The command line, read: kinds first, then the options that they have, checked as a whole.

::

    words ──► kinds of stages and scenes ──► options of these kinds ──► settings, checked at once
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args

import tyro
from pydantic import BaseModel, ValidationError

from .config.faults import option_line
from .config.run import RunConfig, SplitConfig
from .config.scenes import DataConfig, read_like
from .options import (
    AuditOptions,
    Choice,
    Described,
    DescribeOptions,
    EvaluateOptions,
    Scenes,
    TrainOptions,
    scenes_at,
)
from .settings import OptionError
from .train.augment import Augmentation, AugmentationName

__all__ = [
    "read_audit_options",
    "read_describe_options",
    "read_evaluate_options",
    "read_train_options",
]


class _Audited(Scenes):
    """Of the options of an audit, those that are settings."""

    split: SplitConfig = SplitConfig()


@dataclass(frozen=True)
class _Source:
    """What has to be known before the options of the scenes are."""

    data: str | None = None
    image_size: int = 128


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


# What is asked of a training beside its configuration; all of that has a default here.
_Beside = make_dataclass(
    "_Beside",
    [
        (each.name, each.type, field(default=each.default))
        for each in fields(TrainOptions)
        if each.default is not MISSING
    ],
)


def read_train_options(arguments: Sequence[str]) -> TrainOptions:
    """Read the kinds first, then everything with the options that these kinds have.

    Raises
    ------
    OptionError
        When options have values that cannot be, alone or together: each as it is typed.
    SystemExit
        Of status 2, after a word on the screen, for options that are not known or not read, and of
        status 0 after ``--help``.
    """
    choice, start = _start(arguments)
    prog = "lens2label train"
    options = _options(
        TrainOptions, arguments, prog, default=TrainOptions(choice=choice, run=start)
    )
    # An option that is given at its default is given: the values do not tell.
    _, settings = tyro.cli(_Beside, args=arguments, return_unknown_args=True, add_help=False)
    run = _checked(RunConfig, options.run, arguments, prog)
    return replace(options, run=run, configured=bool(settings))


def read_describe_options(arguments: Sequence[str]) -> DescribeOptions:
    """Read the kinds first, then what a camera is with the options that these kinds have.

    Raises what :func:`read_train_options` does.
    """
    choice, start = _start(arguments)
    prog = "lens2label describe"
    described = Described(system=start.system, data=start.data)
    options = _options(
        DescribeOptions,
        arguments,
        prog,
        default=DescribeOptions(choice=choice, described=described),
    )
    options = replace(options, described=_checked(Described, options.described, arguments, prog))
    options.check()
    return options


def read_evaluate_options(
    arguments: Sequence[str], *, image_size: int = 128, like: DataConfig | None = None
) -> EvaluateOptions:
    """Read where other scenes lie first, if any, then everything with the options they have.

    By default these are of ``image_size``, and read ``like`` others, see
    :func:`joint.config.scenes.read_like`. Raises what :func:`read_train_options` does.
    """
    data, scenes = _source(arguments).data, None
    if data is not None:
        found = scenes_at(data, image_size)
        scenes = Scenes(data=found if like is None else read_like(found, like))
    prog = "lens2label evaluate"
    options = _options(
        EvaluateOptions, arguments, prog, default=EvaluateOptions(run=tyro.MISSING, scenes=scenes)
    )
    if options.scenes is None:
        return options
    return replace(options, scenes=_checked(Scenes, options.scenes, arguments, prog))


def read_audit_options(arguments: Sequence[str]) -> AuditOptions:
    """Read where the scenes lie first, then everything with the options they have.

    Raises what :func:`read_train_options` does.
    """
    source = _source(arguments)
    scenes = Scenes(data=scenes_at(source.data or "phantom", source.image_size))
    prog = "lens2label audit"
    options = _options(AuditOptions, arguments, prog, default=AuditOptions(scenes=scenes))
    given = {**dict(options.scenes), "split": options.split}
    checked = _checked(_Audited, given, arguments, prog)
    return replace(options, scenes=Scenes(data=checked.data), split=checked.split)


_O = TypeVar("_O")
_M = TypeVar("_M", bound=BaseModel)


def _options(kind: type[_O], arguments: Sequence[str], prog: str, *, default: _O) -> _O:
    """The options as they were given, their settings as plain data."""
    return tyro.cli(
        kind,
        args=arguments,
        prog=prog,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
        registry=_REGISTRY,
    )


def _checked(kind: type[_M], given: object, arguments: Sequence[str], prog: str) -> _M:
    """Settings of what was given."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        lines = dict.fromkeys(option_line(fault, kind, arguments) for fault in error.errors())
        raise OptionError(
            "\n  ".join([*lines, f"see {prog} --help for what each option takes"])
        ) from error


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


def _start(arguments: Sequence[str]) -> tuple[Choice, RunConfig]:
    """The kinds that were chosen, and the configuration before single options."""
    choice, _ = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    typed = {word.partition("=")[0].replace("_", "-") for word in arguments}
    return choice, _emptied(choice.start(), typed)


def _source(arguments: Sequence[str]) -> _Source:
    return tyro.cli(_Source, args=arguments, return_unknown_args=True, add_help=False)[0]
