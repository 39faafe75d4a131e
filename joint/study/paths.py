"""Fields of a run's configuration by dotted paths."""

import copy
import difflib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from joint.config.faults import models_in
from joint.config.run import RunConfig
from joint.settings import ConfigError

__all__ = ["check_path", "known_paths", "set_path"]


def known_paths() -> tuple[str, ...]:
    """Dotted path of every field of a run's configuration, those of every kind of stage too.

    Where it leads through a table, ``*`` stands for the key.
    """
    return tuple(dict.fromkeys(path for path, _ in _fields(RunConfig, "")))


def _fields(model: Any, above: str) -> Iterator[tuple[str, bool]]:  # noqa: ANN401
    """Path of each field, and whether it is a table, with keys that are not known here."""
    for name, field in model.model_fields.items():
        path, table = above + name, typing.get_origin(field.annotation) is dict
        yield path, table
        for inner in models_in(field.annotation):
            yield from _fields(inner, f"{path}.*." if table else f"{path}.")


def check_path(path: str) -> None:
    """Refuse what is no field of a run's configuration; the nearest ones are named.

    Keys of tables are left to pydantic.
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
    """Whether a path is that of a field, with any keys of the tables on the way."""
    parts, names = path.split("."), field.split(".")
    return len(parts) == len(names) and all(
        name in ("*", part) for part, name in zip(parts, names, strict=True)
    )


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
