"""End of a script with one line for a wrong option or file, as a command does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from .config.faults import fault_line
from .saved.checkpoint import CheckpointError
from .settings import Settings

__all__ = ["without_traceback"]


@contextmanager
def without_traceback() -> Iterator[None]:
    """End a script with one line on stderr and status 1 if a value, a file or a module is wrong.

    It gives a script with its own options the error messages of ``lens2label``::

        with without_traceback():
            main(tyro.cli(Options))

    Other errors keep their traceback. A ValueError of the script's own fault loses it: it is the
    ``__cause__`` of the exit.

    Raises
    ------
    SystemExit
        For a ValueError, settings that are not allowed, a checkpoint that cannot be used, an
        OSError or an ImportError.
    """
    try:
        yield
    except (ValueError, CheckpointError, OSError, ImportError) as error:
        said = str(error)
        if isinstance(error, ValidationError):
            told = (fault_line(fault, Settings, whole=error.title) for fault in error.errors())
            said = "; ".join(told)
        raise SystemExit(f"{Path(sys.argv[0]).name}: {said}") from error
