"""User-defined terms of an objective.

::

    "mylab.losses.dullness" ──import──► function ──(output, labels, **args)──► number of a batch
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from optics.quantity import single

from .import_path import Argument, NotHere, check_arguments, imported
from .settings import ConfigError, FrozenDict, Settings
from .system import SystemOutput

__all__ = ["Term", "loss_term"]

_Function = TypeVar("_Function", bound=Callable[..., Tensor])

# Attribute of functions that may be called because a configuration names them.
_MARK = "__lens2label_loss_term__"


def loss_term(function: _Function) -> _Function:
    """Mark a function as a term of objectives: :class:`Term` calls no other function.

    A configuration may come from a stranger, and must not be able to call any function. ::

        @joint.loss_term
        def dullness(output, labels, *, floor=0.1):
            picture = output.handed
            return (floor - picture.std((-2, -1))).relu().mean((1,))

    Parameters
    ----------
    function : callable
        Takes a :class:`joint.SystemOutput` of B pictures and their labels, int64 ``[B]`` or shares
        of the classes ``[B, K]``, and the arguments of :attr:`Term.args`. Returns a number, the
        mean of the batch, or one for each picture ``[B]``.

    Returns
    -------
    callable
        The same function.
    """
    setattr(function, _MARK, True)
    return function


def _path_of(function: object) -> object:
    """The import path of a function; anything else unchanged."""
    if not callable(function):
        return function
    name = getattr(function, "__qualname__", "")
    if not name.isidentifier():
        raise ConfigError(
            f"{function!r} has no path that a file could name: define the function at the top of a "
            "module"
        )
    path = f"{function.__module__}.{name}"
    if imported(path, "function") is not function:
        raise ConfigError(f"{path} is another function: give one that its module has by its name")
    return path


class Term(Settings):
    """A user-defined function as a term of an objective, and its weight.

    In histories and evaluations its value has the name of the term in
    :attr:`joint.Objective.terms` with the prefix ``loss_``; a training or a study can use it as
    its metric, too, for which less is better. A run folder holds its path, and not its code.
    """

    function: Annotated[str, BeforeValidator(_path_of)] = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"
    )
    """Module and name, as in an import, such as mylab.losses.dullness, of a function that
    :func:`joint.loss_term` marks; in Python also that function."""
    weight: float = Field(default=1.0, ge=0)
    """Its weight, 1 over the function's unit; with 0 it is measured, and nothing learns from it."""
    args: Annotated[dict[str, Argument], AfterValidator(FrozenDict)] = FrozenDict()
    """Keyword arguments of the function."""

    def found(self, name: str) -> Callable[..., Any]:
        """Import the function, and check it.

        Parameters
        ----------
        name : str
            That of the term, for messages.

        Returns
        -------
        callable

        Raises
        ------
        ConfigError
            When it cannot be imported, is not marked, or takes other arguments.
        """
        setting = f"objective.terms.{name}"
        function = imported(self.function, f"{setting}.function")
        if not callable(function) or not getattr(function, _MARK, False):
            raise ConfigError(
                f"{setting}.function={self.function!r} is no term: write @joint.loss_term above "
                "its function of (output, labels)"
            )
        check_arguments(
            function, (None, None), self.args, path=self.function, setting=f"{setting}.args"
        )
        return function

    def check(self, name: str) -> None:
        """Raise the errors of :meth:`found`, except if the module cannot be imported here.

        Parameters
        ----------
        name : str
            That of the term, for messages.

        Raises
        ------
        ConfigError
            As :meth:`found`.
        """
        with suppress(NotHere):
            self.found(name)

    def measure(self, name: str, output: SystemOutput, labels: Tensor) -> Tensor:
        """Measure a batch.

        Parameters
        ----------
        name : str
            That of the term, for messages.
        output : SystemOutput
            One pass of a system, of B pictures.
        labels : Tensor, int64 ``[B]`` or float ``[B, K]``
            Their classes, or the share of each class.

        Returns
        -------
        Tensor, scalar
            Its mean, in the function's unit; detached where the weight is 0.

        Raises
        ------
        ConfigError
            As :meth:`found`.
        ValueError
            When the function returns neither a number nor one of each picture.
        """
        value = self.found(name)(output, labels, **self.args)
        if not isinstance(value, Tensor) or value.shape not in ((), labels.shape[:1]):
            told = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
            raise ValueError(
                f"{self.function} must return a tensor, a scalar or one number of each of the "
                f"{len(labels)} pictures, not {told}"
            )
        # A yes or no for each picture, and a count, have a mean too.
        mean = single(value if value.is_floating_point() else value.float()).mean()
        return mean if self.weight else mean.detach()
