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
