"""Labels of values that are whole tables: each label must describe its designs completely."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from joint.caution import caution
from joint.config.run import RunConfig

from .axis import SEEDS, Level
from .condition import exclusive, never_meets
from .formula import names_in
from .paths import set_path
from .space import Study

__all__ = ["check_labels"]


def check_labels(study: Study) -> None:
    """Refuse a new study whose labels would not describe its designs.

    The value of an axis may be a whole table, which replaces that of the base. A study that was
    written earlier is fixed and continues as it is.

    Raises
    ------
    ValueError
        When another axis or a formula sets a field inside a table, or a table has a run's seed.

    Warns
    -----
    UserWarning
        When a table leaves out what the base sets in a table of the same kind.
    """
    dropped: dict[str, dict[str, None]] = {}
    for name, axis in study.axes.items():
        for level in axis.levels() if axis.values is not None else ():
            for path, table in axis.assignments(level).items():
                if isinstance(table, dict):
                    _check_table(study, name, level, path, table)
                    left = _left_out(_at(study.base, path), table, path)
                    made = _with(study.base, path, table)
                    # Some defaults depend on the kind of run, and were not chosen in the base.
                    lost = (p for p in left if made is None or _at(made, p) != _at(study.base, p))
                    dropped.setdefault(name, {}).update(dict.fromkeys(lost))
    set_elsewhere = {path for axis in study.axes.values() for path in axis.paths()}
    for name, paths in dropped.items():
        left = [path for path in paths if path not in {*set_elsewhere, *study.derived, *SEEDS}]
        if left:
            caution(
                f"values of the axis {name} are whole tables, which replace that of the base: what "
                f"the base sets for {', '.join(left)} is at its default in designs whose values do "
                "not name it. Name it in each value; or use an axis without a path, whose values "
                "name the single fields that differ"
            )


def _check_table(
    study: Study, name: str, level: Level, path: str, table: Mapping[str, JsonValue]
) -> None:
    """Refuse a table with a field that something else sets, in a design that may have both."""

    def is_inside(other: str) -> bool:
        return other.startswith(f"{path}.") and _has(table, other.removeprefix(f"{path}."))

    for seed in filter(is_inside, SEEDS):
        raise ValueError(f"axes.{name}: {seed} is set by the seeds of the study; list them there")
    here = {name: level}

    def is_absent(other: str) -> bool:
        return never_meets(other, here, study.axes) or exclusive(other, name, study.axes)

    for other, axis in study.axes.items():
        both = sorted(filter(is_inside, axis.paths()))
        if other != name and both and not is_absent(other):
            raise ValueError(
                f"two axes set {both[0]}; make them one, or leave it out of the values of {name}"
            )
    for derived, text in study.derived.items():
        if is_inside(derived) and not any(map(is_absent, names_in(text))):
            raise ValueError(
                f"{derived} is derived, and the axis {name} sets it too: leave it out of the "
                "values of the axis"
            )


def _has(table: object, path: str) -> bool:
    """Whether a table, or a table inside it, has a field."""
    for part in path.split("."):
        if not (isinstance(table, Mapping) and part in table):
            return False
        table = table[part]
    return True


def _at(config: object, path: str) -> Any:  # noqa: ANN401
    """Value of a configuration at a path; None if there is none."""
    for part in path.split("."):
        inside = config.get(part) if isinstance(config, Mapping) else getattr(config, part, None)
        config = inside
    return config


def _with(base: RunConfig, path: str, value: JsonValue) -> RunConfig | None:
    """The base with a value at a path; None if that is not a valid configuration."""
    content = base.model_dump(mode="json")
    try:
        set_path(content, path, value)
        return RunConfig.model_validate(content)
    except ValueError:
        return None


def _left_out(base: object, table: JsonValue, path: str) -> Iterator[str]:
    """Fields that the base sets and a table of the same kind does not name."""
    if not (isinstance(base, BaseModel) and isinstance(table, dict)):
        return
    kind = getattr(base, "kind", None)
    if table.get("kind", kind) != kind:
        return
    for name, value in base:
        if name in table:
            yield from _left_out(value, table[name], f"{path}.{name}")
        else:
            field = type(base).model_fields[name]
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield from _changed(value, default, f"{path}.{name}")


def _changed(value: object, default: object, path: str) -> Iterator[str]:
    """The path if a value differs from the default; for a whole table, those of its fields."""
    if value == default:
        return
    if isinstance(value, BaseModel) and type(value) is type(default):
        for name, inside in value:
            yield from _changed(inside, getattr(default, name), f"{path}.{name}")
    else:
        yield path
