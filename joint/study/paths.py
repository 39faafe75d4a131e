"""Fields of a run's configuration, by dotted paths."""

import copy
import difflib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from joint.config.faults import models_in
from joint.config.run import RunConfig
from joint.settings import ConfigError

__all__ = ["check_path", "field_of", "is_within", "known_paths", "set_path"]


def known_paths() -> tuple[str, ...]:
    """Dotted path of every field of a run's configuration, for every kind of stage.

    In a path through a table, ``*`` stands for the key; in a path through a list of tables, it
    stands for the number, from 0.
    """
    return tuple(dict.fromkeys(path for path, _ in _fields(RunConfig, "")))


def _fields(model: Any, above: str) -> Iterator[tuple[str, bool]]:  # noqa: ANN401
    """Path of each field, and whether it is a table with arbitrary keys."""
    for name, field in model.model_fields.items():
        path, of = above + name, typing.get_origin(field.annotation)
        yield path, of is dict
        for inner in models_in(field.annotation):
            yield from _fields(inner, f"{path}.*." if of in (dict, tuple) else f"{path}.")


def is_within(path: str, table: str) -> bool:
    """Whether a ``path`` is that of the ``table``, or of a field inside it."""
    return path == table or path.startswith(f"{table}.")


def field_of(path: str) -> str:
    """The field in which a ``path`` ends: a radius of a surface is kept as its curvature."""
    surface, _, last = path.rpartition(".")
    return f"{surface}.curvature" if last == "radius" and ".surfaces." in path else path


def check_path(path: str) -> None:
    """Refuse a path that is not a field of a run's configuration; the message names similar ones.

    Keys of tables are checked by pydantic.
    """
    known, parent = known_paths(), path.rpartition(".")[0]
    if any(_leads_to(path, field) for field in known) or any(
        table and _leads_to(parent, field) for field, table in _fields(RunConfig, "")
    ):
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


def _leads_to(path: str, field: str) -> bool:
    """Whether a path is that of a field, with any keys for the tables on the way."""
    parts, names = path.split("."), field.split(".")
    return len(parts) == len(names) and all(
        name in ("*", part) for part, name in zip(parts, names, strict=True)
    )


def set_path(content: dict[str, Any], path: str, value: JsonValue) -> None:
    """Set a field of a configuration that is plain data.

    Missing settings on the way are created.
    """
    *parents, last = path.split(".")
    place: Any = content
    for depth, part in enumerate(parents, 1):
        key = _key(place, part, parents[: depth - 1])
        place = place[key] if isinstance(place, list) else place.setdefault(key, {})
        if not isinstance(place, dict | list):
            raise ConfigError(
                f"{'.'.join(parents[:depth])} is {place!r} and has no {last}: set it as a whole"
            )
    # Another axis may set something inside of it.
    place[_key(place, last, parents)] = copy.deepcopy(value)


def _key(place: dict[str, Any] | list[Any], part: str, above: list[str]) -> Any:  # noqa: ANN401
    """Part of a path as the key of a table, or as the number of an item of a list."""
    if isinstance(place, dict):
        return part
    if not part.isdecimal() or int(part) >= len(place):
        raise ConfigError(
            f"{'.'.join(above)} has {len(place)} items, by their numbers from 0, and no {part}"
        )
    return int(part)
