"""The command line: the list of commands, and how each ends.

Options and actions of a command are in the file of :mod:`joint.command` with its name.
"""

import difflib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module, metadata

import torch

from .saved.checkpoint import CheckpointError
from .settings import ConfigError, OptionError
from .train.run import TrainingDiverged

__all__ = ["main"]

# Exit status; an unknown command or option gives 2, as is usual.
_MISTAKE, _UNKNOWN, _DIVERGED, _INTERRUPTED = 1, 2, 3, 130

# Each is a file of joint.command, imported only when the command is used.
_COMMANDS = {
    "describe": "print the numbers of a camera, before or after training",
    "train": "train a system and write a run folder",
    "evaluate": "evaluate a trained run",
    "predict": "classify pictures with a trained run",
    "report": "write a page on a run, or on several side by side",
    "contrast": "analyse whether a run decides by the contrast of lesions",
    "tolerance": "estimate how many cameras with errors keep what a run promises",
    "runs": "list run folders and their progress",
    "study": "train and judge many designs; lens2label study --help lists its commands",
    "audit": "look for duplicates and leaks in a data set and its split, or between two sets",
    "rate": "compare codecs: bits against fidelity, or against a run's accuracy",
    "compress": "compress pictures with the codec of a run",
    "decompress": "decompress such files",
    "export": "write the trained graph as one file that runs without this library",
}

_LISTED = "\n".join(f"  {name:<10} {words}" for name, words in _COMMANDS.items())
_USAGE = f"""usage: lens2label COMMAND [OPTIONS]

From light to label: train a camera element, a codec and a classifier in one graph.

commands:
{_LISTED}

examples:
  lens2label describe --front-end lens
  lens2label train --output runs/edge --front-end fourier --data ham10000.zip
  lens2label train --output runs/edge --resume
  lens2label evaluate runs/edge --json
  lens2label report runs/plain runs/edge --output report.html

exit status:
  0    done; or stopped by SIGTERM or Ctrl-C after saving, with the command to continue
  {_MISTAKE}    a mistake: a missing file, a folder in use, a full disk, a study that cannot be
       read, something that the run or this machine lacks
  1    of audit: something is in more than one part, or in both sets; of study check: a file is
       not whole; of compress, rate: a file could not be used; of study run: every run failed
  {_UNKNOWN}    an unknown command or option, a value out of range, options that contradict
  {_DIVERGED}    training diverged
  {_INTERRUPTED}  interrupted at once by a second Ctrl-C, or by one before the training

lens2label COMMAND --help explains the options, lens2label --version names the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``lens2label``; returns the exit status, see ``lens2label --help``."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command == "--version":
        print(f"lens2label {metadata.version('lens2label')}")
        return 0
    if command in ("-h", "--help"):
        print(_USAGE)
        return 0
    if command not in _COMMANDS:
        near = difflib.get_close_matches(command, _COMMANDS, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        print(f"lens2label: there is no command {command!r}{hint}\n\n{_USAGE}", file=sys.stderr)
        return _UNKNOWN
    with warnings.catch_warnings():
        warnings.showwarning = _once()
        try:
            status = import_module(f"joint.command.{command}").main(rest)
            sys.stdout.flush()
        except BrokenPipeError:  # `lens2label runs runs | head`: the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = _MISTAKE
        except TrainingDiverged as error:
            status = _DIVERGED
            print(f"lens2label: {error}", file=sys.stderr)
        except OptionError as error:
            status = _UNKNOWN
            print(f"lens2label: {error}", file=sys.stderr)
        except (ConfigError, CheckpointError, ValueError, OSError, ImportError) as error:
            status = _MISTAKE
            print(f"lens2label: {error}", file=sys.stderr)
        except torch.OutOfMemoryError as error:
            status = _MISTAKE
            print(
                "lens2label: the GPU is out of memory: choose a smaller batch size, or (to train) "
                f"more --training.micro-batches\n{str(error).splitlines()[0]}",
                file=sys.stderr,
            )
        except KeyboardInterrupt:
            status = _INTERRUPTED
            print("lens2label: interrupted", file=sys.stderr)
    return status


def _once() -> Callable[..., None]:
    """Print each warning of a command once: Python forgets which it gave when filters change."""
    told: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            print(f"lens2label: warning: {message}", file=sys.stderr)

    return show


if __name__ == "__main__":
    sys.exit(main())
