"""Messages about an invalid configuration: by key for a file, by option for a command.

::

    pydantic's errors ──┬── fault_line ──► system.sensor.sensor.photons: must be greater than 0, ...
                        └── option_line ─► --system.sensor.photons must be greater than 0, not -3
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel

from joint.settings import nearest

__all__ = ["fault_line", "models_in", "option_line"]

#: An error of pydantic, as ``ValidationError.errors()`` lists them.
Fault: TypeAlias = Mapping[str, Any]

# A field, by its name or a path of names, and its value, as the errors of joint write them.
_FIELD = re.compile(
    r"(?<![\w.'/-])(?P<name>[a-z]\w*(?:\.[a-z]\w*)*)\b(?:=(?P<value>'[^']*'|-?[\w.+-]*\w))?(?!\()"
)
_DIGITS = 24  # longest number that is shown in full
# How those errors write the value of a flag.
_FLAGS = {"True": "", "true": "", "False": "no-", "false": "no-"}


def fault_line(
    fault: Fault, root: type[BaseModel], *, whole: str = "the file", kinds: bool = False
) -> str:
    """One line about an error in a file: the key, what is wrong with it, the nearest valid name.

    Parameters
    ----------
    fault : mapping
        One item of ``ValidationError.errors()``.
    root : type
        The model that was to be read.
    whole : str
        Name of the whole input, for an error that belongs to no single key.
    kinds : bool
        Also write the kind that has no such key, for a kind that was chosen elsewhere.
    """
    keys = (
        fault["loc"] if kinds and fault["type"] == "extra_forbidden" else _place(fault, root).keys
    )
    return f"{'.'.join(map(str, keys)) or whole}: {_said(fault, root)}"


def option_line(fault: Fault, root: type[BaseModel], arguments: Sequence[str]) -> str:
    """One line about an error on the command line: the option, as it is typed, and what is wrong.

    Fields that the error names are written as options too, and values as they were typed.

    Parameters
    ----------
    fault : mapping
        One item of ``ValidationError.errors()``.
    root : type
        The model that the options make, whose fields are the ``--names``.
    arguments : sequence of str
        The command line as typed.
    """
    _, path, models = _place(fault, root)
    typed = dict(_typed(arguments))
    if fault["type"] != "value_error":
        words = typed.get(_option(path))
        shown = fault if words is None else {**fault, "input": _Typed(" ".join(words))}
        return f"{_option(path)} {_said(shown, root)}"
    said = _as_options(_said(fault, root), path, models)
    if said.startswith("--"):
        return said
    # Only options that were typed: the other fields of the error have their defaults.
    about = [" ".join((name, *words)) for name, words in typed.items() if _within(name, path)]
    return f"{' '.join(about) or _option(path)}: {said}" if path else said


class _Typed(str):
    """A word of the command line, which is shown without quotes."""

    __repr__ = str.__str__


def models_in(annotation: object) -> list[Any]:
    """Models of settings that an annotation allows, those in its unions included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in models_in(part)]


def _said(fault: Fault, root: type[BaseModel]) -> str:
    """What is wrong, without its place."""
    given = fault.get("input")
    match fault["type"]:
        case "value_error":  # one of joint's own, which names the value
            return fault["msg"].removeprefix("Value error, ")
        case "json_invalid":  # here the input is the whole file
            return f"{fault['msg']} (a .toml is read as TOML, any other file as JSON)"
        case "missing":  # here the input is the whole table above the key
            return "it is missing"
        case "union_tag_invalid":
            tag, known = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", "")
            return f"there is no kind {tag!r}{nearest(str(tag), known.split(', '))}"
        case "union_tag_not_found":
            return f"give its kind, which {_shown(given)} does not{_kinds(fault, root)}"
        case "model_attributes_type" | "model_type":
            return f"must be a table of keys{_kinds(fault, root)}, not {_shown(given)}"
        case "tuple_type":
            return f"give a list, such as [{given!r}]"
        case "too_short":
            return f"give at least {fault['ctx']['min_length']}, not {_shown(given)}"
        case "extra_forbidden":
            known = [
                name for model in _place(fault, root).models[-1] for name in model.model_fields
            ]
            return f"no such key{nearest(str(fault['loc'][-1]), known, always=False)}"
    # "Input should be a valid integer, unable to parse ..." is what is allowed, in other words.
    allowed = re.split(", (?:unable to|got) ", fault["msg"])[0].replace(
        "Input should be", "must be"
    )
    allowed = allowed.replace("a valid integer", "a whole number").replace("valid number", "number")
    return f"{allowed}, not {_shown(given)}"


def _shown(given: object) -> str:
    """The given value as text; a number of many digits is shortened."""
    if isinstance(given, Mapping):
        return f"{{{', '.join(f'{key!r}: {_shown(value)}' for key, value in given.items())}}}"
    text = repr(given)
    if isinstance(given, int) and len(text) > _DIGITS:
        return f"{text[:12]}... ({len(text)} digits)"
    return text


def _kinds(fault: Fault, root: type[BaseModel]) -> str:
    """The kinds to choose from: those that have all given keys, or else all kinds."""
    given = fault.get("input")
    keys = set(given) if isinstance(given, Mapping) else set()
    models = [m for m in _place(fault, root).models[-1] if _kind(m) is not None]
    fitting = [m for m in models if keys <= set(m.model_fields)] or models
    named = ", ".join(f"{_kind(model)}" for model in fitting)
    return f" (kind: {named})" if named else ""


class _Place(NamedTuple):
    """The place of an error."""

    keys: list[str]
    """Keys as in a file, without the kinds that pydantic inserts."""
    path: list[str]
    """Those keys that are fields of a model."""
    models: list[list[type[BaseModel]]]
    """Possible models at each step of the path, from the root."""


def _place(fault: Fault, root: type[BaseModel]) -> _Place:
    place = _Place([], [], [[root]])
    for part in fault["loc"]:
        here = place.models[-1]
        inner = [m.model_fields[part].annotation for m in here if part in m.model_fields]
        of_kind = [model for model in here if _kind(model) == part]
        # For a union pydantic inserts the kind first: "lens" is a kind, and a field of a shutter.
        if of_kind and len(here) > 1:
            here[:] = of_kind
            continue
        if inner:
            place.path.append(str(part))
            place.models.append([model for annotation in inner for model in models_in(annotation)])
        elif of_kind:
            here[:] = of_kind
            continue
        elif str(part).startswith("function-wrap["):  # pydantic's name of settings without a kind
            continue
        place.keys.append(str(part))
    return place


def _kind(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _option(path: Sequence[str]) -> str:
    """The option of a field, as it is typed, from the path of fields to it."""
    if len(path) > 1 and path[-1] == "kind":  # --front-end lens
        path = path[-2:-1]
    return f"--{'.'.join(path).replace('_', '-')}"


def _typed(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Options that were typed, each with its words."""
    name: str | None = None
    words: list[str] = []
    for argument in arguments:
        if not argument.startswith("--"):
            words.append(argument)
            continue
        if name is not None:
            yield name, words
        option, equals, value = argument.partition("=")
        name, words = option.replace("_", "-"), [value] if equals else []
    if name is not None:
        yield name, words


def _within(option: str, path: Sequence[str]) -> bool:
    """Whether an option sets the field at a path, something in it, or its kind."""
    return option in (_option(path), _option([*path, "kind"])) or option.startswith(
        f"{_option(path)}."
    )


def _as_options(said: str, path: Sequence[str], models: Sequence[Sequence[type[BaseModel]]]) -> str:
    """The text of an error with options instead of the fields of a file or of Python."""

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        # A single word without a value may be English; at the start of an error it is a field.
        if value is None and match.start() and not re.search(r"[_.]", name):
            return match[0]
        field = _resolved(name.split("."), path, models)
        if field is None:
            return match[0]
        if value in _FLAGS:
            return _option([*field[:-1], _FLAGS[value] + field[-1]])
        return _option(field) if value is None else f"{_option(field)} {value.strip(chr(39))}"

    return _FIELD.sub(option, said)


def _resolved(
    names: Sequence[str], path: Sequence[str], models: Sequence[Sequence[type[BaseModel]]]
) -> list[str] | None:
    """Path from the root of named fields, relative to the innermost model that has them."""
    for depth in reversed(range(len(models))):
        if any(_has(model, names) for model in models[depth]):
            return [*path[:depth], *names]
    return None


def _has(model: type[BaseModel], names: Sequence[str]) -> bool:
    field = model.model_fields.get(names[0])
    if field is None or len(names) == 1:
        return field is not None
    return any(_has(inner, names[1:]) for inner in models_in(field.annotation))
