"""Fields of a run's configuration by dotted paths, and what is wrong with a name, in words."""

import copy
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, JsonValue

from joint.config.run import RunConfig, models_in
from joint.settings import ConfigError

__all__ = ["check_path", "fault_line", "known_paths", "nearest", "set_path"]


def known_paths() -> tuple[str, ...]:
    """Dotted path of every field of a run's configuration, those of every kind of stage too."""
    return tuple(dict.fromkeys(_paths(RunConfig, "")))


def _paths(model: Any, above: str) -> Iterator[str]:  # noqa: ANN401
    for name, field in model.model_fields.items():
        yield above + name
        for inner in models_in(field.annotation):
            yield from _paths(inner, f"{above}{name}.")


def check_path(path: str) -> None:
    """Refuse what is no field of a run's configuration; the nearest ones are named."""
    known = known_paths()
    if path in known or _is_table(path.rpartition(".")[0]):
        return
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75)
    last = path.rpartition(".")[2]
    by_name = [p for p in known if p.rpartition(".")[2] == last]
    if not (near or by_name):
        ends = difflib.get_close_matches(last, [p.rpartition(".")[2] for p in known], n=1)
        by_name = [p for p in known if ends and p.rpartition(".")[2] == ends[0]]
    hints = (by_name or near)[:3]
    hint = f"; did you mean {' or '.join(map(repr, hints))}?" if hints else ""
    raise ValueError(f"no field of a run is called {path!r}{hint}")


def _is_table(path: str) -> bool:
    """Whether a path leads to a dictionary, whose keys pydantic checks."""
    models: list[Any] = [RunConfig]
    annotations: list[Any] = []
    for part in path.split("."):
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [model for annotation in annotations for model in models_in(annotation)]
    return any(typing.get_origin(annotation) is dict for annotation in annotations)


def set_path(content: dict[str, Any], path: str, value: JsonValue) -> None:
    """Set a field of a configuration that is plain data.

    Settings on the way that are not there, as those are not written that were added later and are
    at their defaults, are made.
    """
    *parents, last = path.split(".")
    place: Any = content
    for depth, part in enumerate(parents, 1):
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ConfigError(
                f"{'.'.join(parents[:depth])} is {place!r} and has no {last}: set it as a whole"
            )
    place[last] = copy.deepcopy(value)  # another axis may set something inside of it


def fault_line(fault: Mapping[str, Any], root: type[BaseModel]) -> str:
    """One line about an error of pydantic: the place, what is wrong, the nearest valid name."""
    place = ".".join(str(part) for part in fault["loc"]) or "the study"
    if fault["type"] == "value_error":  # one of ours: says what was given
        return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
    if fault["type"] == "missing":  # what is given is the whole table above it
        return f"{place}: it is missing"
    if fault["type"] == "union_tag_invalid":
        given, known = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", "")
        return f"{place}: there is no kind {given!r}{nearest(given, known.split(', '))}"
    if fault["type"] == "union_tag_not_found":
        return f"{place}: give its kind, which {fault.get('input')!r} does not"
    if fault["type"] == "tuple_type":
        return f"{place}: give a list, such as [{fault.get('input')!r}]"
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg']}, not {fault.get('input')!r}"
    *parents, key = fault["loc"]
    models: list[Any] = [root]
    for part in parents:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if inner:
            models = [model for annotation in inner for model in models_in(annotation)]
        else:  # the kind of a stage
            models = [m for m in models if _kind(m) == part] or models
    names = [name for model in models for name in model.model_fields]
    return f"{place}: no such key{nearest(str(key), names, always=False)}"


def _kind(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def nearest(word: str, choices: Sequence[object], *, always: bool = True) -> str:
    """End of a message about an unknown word: the nearest choice, or (``always``) all of them."""
    names = {str(choice): choice for choice in choices}
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {names[near[0]]!r}?"  # a number without quotes
    return f"; choose from {', '.join(names)}" if always else ""
