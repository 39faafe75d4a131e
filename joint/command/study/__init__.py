"""``lens2label study``: one file for each of its commands, loaded when it is asked for.

Files: ``run`` all designs, ``work`` one more worker, ``watch`` progress, ``check`` the files ·
``list`` the runs, ``report`` results, ``select`` designs that meet requirements, ``judge`` at other
operating points, ``atlas`` of learned elements · ``confirm`` on fresh seeds · ``moved`` options for
scenes that were moved, ``by_chance`` a note on random designs of a search.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

# Each is a file beside this one.
_COMMANDS = {
    "run": "train every design of a study that is not done yet",
    "work": "join a study as one more worker, on this machine or another",
    "watch": "show progress, what is running, and how long it will take",
    "check": "check that every file is whole and in its place, and say what to do if not",
    "list": "print a row for each run: its design, its state, its results",
    "report": "print designs with intervals, the planned comparisons, the Pareto front",
    "select": "find the designs that are good enough, and the cheapest of them",
    "judge": "evaluate the designs at other light, rates or distances, without training",
    "atlas": "compare whether the seeds of each design learned the same element",
    "confirm": (
        "write a study of the best design, or the cheapest good one, and a baseline, fresh seeds"
    ),
}

_LISTED = "\n".join(f"  {name:<8} {words}" for name, words in _COMMANDS.items())
_USAGE = f"""usage: lens2label study COMMAND [OPTIONS]

commands:
{_LISTED}

lens2label study COMMAND --help explains the options."""


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands.

    Returns
    -------
    int
        The exit status: 2 for an unknown command, 1 if every run of a study failed.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command not in _COMMANDS:
        asked = command in ("-h", "--help")
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return import_module(f"{__name__}.{command}").main(rest)
