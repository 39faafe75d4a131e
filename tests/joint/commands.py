"""The command line as tests call it."""

from joint.cli import main

MISTAKE, OPTION = 1, 2
"""Exit status of what the user got wrong, and of an option that there is not."""
TINY = ["--data.count", "60", "--data.image-size", "32", "--training.epochs", "1"]
"""A run that trains in a second."""


def run(capsys, *arguments):
    """Exit status, and what was printed and told."""
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
