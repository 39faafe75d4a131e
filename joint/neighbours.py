"""Refuse a stranger under one of our four short names, as soon as ``joint`` is imported.

Installers do not notice when two distributions ship a package of the same name, and a folder
called ``optics`` in the working directory shadows ours.
"""

from pathlib import Path

import classify
import compress
import optics


def _check() -> None:
    home = Path(__file__).resolve().parent.parent
    for package in (optics, compress, classify):
        origin = package.__file__ or next(iter(package.__path__), "nowhere")
        found = Path(origin).resolve()
        found = found.parent if found.suffix == ".py" else found
        if found.parent != home:
            raise ImportError(
                f"'{package.__name__}' was found at {found}, not beside lens2label's 'joint' in "
                f"{home}: another distribution or folder has the same name. Remove it from the "
                "path, or reinstall lens2label"
            )


_check()
