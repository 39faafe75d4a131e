"""Values that formulas derive from the levels of a design: configuration fields, and costs.

::

    design ──derived──► fields of the run's configuration
    design + photons, bits, pixels, macs, parameters, bpp of its runs ──costs──► what it costs
"""

from collections.abc import Iterable, Mapping
from typing import cast

from joint.settings import ConfigError, nearest

from .axis import SEEDS, Axis, Level
from .formula import evaluate, names_in, respelt
from .paths import check_path
from .sampler import IN_FORMULAS, is_sought

__all__ = ["check_costs", "check_derived", "cost", "derive"]


def check_derived(derived: Mapping[str, str], axes: Mapping[str, Axis]) -> None:
    """Refuse formulas for unknown fields or fields set otherwise, and axes that change nothing."""
    read: set[str] = set()
    for path, text in derived.items():
        check_path(path)
        if path in SEEDS:
            raise ValueError(f"{path} is set by the seeds of the study; list them there")
        setters = [name for name, axis in axes.items() if path in axis.paths()]
        if setters:
            raise ValueError(
                f"{path} is derived, and the axis {setters[0]} sets it too: leave out the path of "
                "the axis, so that only formulas read it"
            )
        names = names_in(text)
        if not names:
            raise ValueError(f"{path} is the same in all designs: set it in the base")
        _check_names(path, names, axes)
        read |= names
    for name, axis in axes.items():
        if not (axis.paths() or name in read):
            raise ValueError(
                f"the axis {name} sets nothing: give it the path of a field, such as "
                "system.sensor.photons, or let a formula of a derived field read it"
            )


def check_costs(costs: Mapping[str, str], axes: Mapping[str, Axis]) -> None:
    """Refuse costs with a name that is taken, or that read unknown numbers."""
    for name, text in costs.items():
        if not name.isidentifier():
            raise ValueError(f"a cost is named by one word, not {name!r}")
        if is_sought(name) and (name not in IN_FORMULAS or text.strip() != name):
            raise ValueError(f"{name} is measured: call the cost {text!r} by another name")
        if name in axes and text.strip() != name:
            raise ValueError(f"{name} is an axis: call the cost {text!r} by another name")
        names = names_in(text)
        both = sorted(names & axes.keys() & set(IN_FORMULAS))
        if both:
            raise ValueError(
                f"the cost {name} reads {both[0]}, which is measured and is an axis: call the axis "
                "by another name"
            )
        _check_names(f"the cost {name}", names - set(IN_FORMULAS), axes, IN_FORMULAS)


def _check_names(
    what: str, names: Iterable[str], axes: Mapping[str, Axis], others: Iterable[str] = ()
) -> None:
    for name in sorted(names):
        if name not in axes:
            known = [*dict.fromkeys([*axes, *others])]
            hint = respelt(name, axes) or nearest(name, known)
            raise ValueError(f"{what} reads {name}, which is not an axis{hint}")
        if not axes[name].is_numeric():
            raise ValueError(f"{what} reads the axis {name}, whose levels are not numbers")


def derive(derived: Mapping[str, str], design: Mapping[str, Level]) -> dict[str, float]:
    """Values of the ``derived`` fields of a ``design``, by path, if it has the axes they read.

    They are rounded to six digits, except for whole numbers from formulas without powers.

    Raises
    ------
    ConfigError
        When a formula has no value.
    """
    # Powers differ in their last bits between machines, and the name of a run must not; the other
    # operations are exact to the last bit everywhere.
    found = {}
    for path, text in derived.items():
        if not names_in(text) <= design.keys():
            continue
        numbers = {name: cast(float, design[name]) for name in names_in(text)}
        try:
            value = evaluate(text, numbers)
            exact = value.is_integer() and "**" not in text
            found[path] = value if exact else float(f"{value:.6g}")
        except ValueError as error:
            raise ConfigError(f"{path} cannot be derived: {error}") from error
    return found


def cost(
    text: str, design: Mapping[str, Level], measured: Mapping[str, float | None]
) -> float | None:
    """Value of a cost; None if it has none, or reads something not measured or absent."""
    numbers = {}
    for name in names_in(text):
        value = design[name] if name in design else measured.get(name)
        if value is None:
            return None
        numbers[name] = cast(float, value)
    try:
        return evaluate(text, numbers)
    except ValueError:
        return None
