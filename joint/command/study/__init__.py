"""``lens2label study``: one file for each of its commands, loaded when it is asked for.

Files: ``run`` all designs, ``work`` one more worker, ``watch`` how far it is, ``check`` that it
is whole · ``list`` the runs, ``report`` what they show, ``select`` what is good enough, ``judge``
them elsewhere, ``atlas`` of what was learned · ``confirm`` on fresh seeds · ``moved`` where the
scenes are now, ``by_chance`` what a search drew so.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

# Each is a file beside this one.
_COMMANDS = {
    "run": "train every design of a study that is not done yet",
    "work": "join a study as one more worker, on this machine or another",
    "watch": "how far it is, what is running, and how long it will take",
    "check": "whether every file is whole and in its place, and what to do if one is not",
    "list": "a row for each run: its design, its state, what it measured",
    "report": "designs with intervals, the comparisons that were planned, the Pareto front",
    "select": "the designs that are good enough, and the cheapest of them",
    "judge": "the designs in other light, at other rates or distances, without training",
    "atlas": "whether the seeds of each design have learned the same element",
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
        The exit status: 2 for an unknown command, 1 for a study of which every run failed.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command not in _COMMANDS:
        asked = command in ("-h", "--help")
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return import_module(f"{__name__}.{command}").main(rest)
