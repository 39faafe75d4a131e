"""What is wrong with a configuration, in words: by its key in a file, by its option in a command.

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

# A field, by its name or a path of names, and what it is set to, as our errors write them.
_FIELD = re.compile(
    r"(?<![\w.'/-])(?P<name>[a-z]\w*(?:\.[a-z]\w*)*)\b(?:=(?P<value>'[^']*'|-?[\w.+-]*\w))?(?!\()"
)
_DIGITS = 24  # of a number that is shown whole
# How they write what a flag says.
_FLAGS = {"True": "", "true": "", "False": "no-", "false": "no-"}


def fault_line(
    fault: Fault, root: type[BaseModel], *, whole: str = "the file", kinds: bool = False
) -> str:
    """One line about an error in a file: the key, what is wrong with it, the nearest valid name.

    Parameters
    ----------
    fault : mapping
        Of ``ValidationError.errors()``.
    root : type
        The model that was to be read.
    whole : str
        Name of what has the error, where it is no key of its own.
    kinds : bool
        Write the kind that has no such key too, as where it was chosen elsewhere.
    """
    keys = (
        fault["loc"] if kinds and fault["type"] == "extra_forbidden" else _place(fault, root).keys
    )
    return f"{'.'.join(map(str, keys)) or whole}: {_said(fault, root)}"


def option_line(fault: Fault, root: type[BaseModel], arguments: Sequence[str]) -> str:
    """One line about an error on the command line: the option, as it is typed, and what is wrong.

    Fields that the error speaks of are written as options too, and what was given as it was typed.

    Parameters
    ----------
    fault : mapping
        Of ``ValidationError.errors()``.
    root : type
        The model that the options make, whose fields are ``--names`` of their own.
    arguments : sequence of str
        What was typed.
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
    # Those that were typed: of an error in several fields, the others have their defaults.
    about = [" ".join((name, *words)) for name, words in typed.items() if _within(name, path)]
    return f"{' '.join(about) or _option(path)}: {said}" if path else said


class _Typed(str):
    """A word of the command line, which is shown as it is."""

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
        case "value_error":  # one of ours: says what was given
            return fault["msg"].removeprefix("Value error, ")
        case "json_invalid":  # what is given is the whole file
            return fault["msg"]
        case "missing":  # what is given is the whole table above it
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
    """What was given, of a number of many digits the first."""
    if isinstance(given, Mapping):
        return f"{{{', '.join(f'{key!r}: {_shown(value)}' for key, value in given.items())}}}"
    text = repr(given)
    if isinstance(given, int) and len(text) > _DIGITS:
        return f"{text[:12]}... ({len(text)} digits)"
    return text


def _kinds(fault: Fault, root: type[BaseModel]) -> str:
    """Which kinds there are to choose from: those that have the keys that were given, if any do."""
    given = fault.get("input")
    keys = set(given) if isinstance(given, Mapping) else set()
    models = [m for m in _place(fault, root).models[-1] if _kind(m) is not None]
    fitting = [m for m in models if keys <= set(m.model_fields)] or models
    named = ", ".join(f"{_kind(model)}" for model in fitting)
    return f" (kind: {named})" if named else ""


class _Place(NamedTuple):
    """Where an error is."""

    keys: list[str]
    """As in a file: without the kinds that pydantic puts between them."""
    path: list[str]
    """Fields among them."""
    models: list[list[type[BaseModel]]]
    """Models that the fields lead to, from the root on."""


def _place(fault: Fault, root: type[BaseModel]) -> _Place:
    place = _Place([], [], [[root]])
    for part in fault["loc"]:
        here = place.models[-1]
        inner = [m.model_fields[part].annotation for m in here if part in m.model_fields]
        of_kind = [model for model in here if _kind(model) == part]
        # Of several kinds pydantic names one first: a lens, where a shutter has a field called so.
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
    """An option as it is typed, of the fields that lead to it."""
    if len(path) > 1 and path[-1] == "kind":  # --front-end lens
        path = path[-2:-1]
    return f"--{'.'.join(path).replace('_', '-')}"


def _typed(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Options that were typed, and the words of each."""
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
    """An error that speaks of fields, as in a file or in Python, with their options instead."""

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        # One word that is set to nothing may be English: it is a field where an error begins.
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
    """Path from the root of fields that are named from somewhere on the way; the nearest first."""
    for depth in reversed(range(len(models))):
        if any(_has(model, names) for model in models[depth]):
            return [*path[:depth], *names]
    return None


def _has(model: type[BaseModel], names: Sequence[str]) -> bool:
    field = model.model_fields.get(names[0])
    if field is None or len(names) == 1:
        return field is not None
    return any(_has(inner, names[1:]) for inner in models_in(field.annotation))
