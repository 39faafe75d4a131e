"""Whether contrast is what decides.

Five claims about skin lesions are put to a test, each with numbers, intervals and figures. Trains a
classifier, codecs of several widths alone, and each of them with the classifier (run folders like
those of ``lens2label train``); or takes the runs of ``quickstart.py`` (``--run``). Writes
``contrast.json`` and figures.
"""

import json
from dataclasses import asdict
from pathlib import Path

import tyro
from contrast_study.claims import CLAIMS, Numbers, measure, pictures
from contrast_study.runs import Options, load, train

from joint.record import as_json
from joint.script import without_traceback


def main(options: Options) -> Numbers:
    """Train or load, judge each claim, draw; return the numbers."""
    study = train(options) if options.run is None else load(options.run, options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    m = measure(study, options)
    given = asdict(options) | {"data": Path(options.data).name, "run": str(options.run)}
    given.pop("output")
    numbers: Numbers = {"options": given, "parts": str(study.parts), "pictures": len(m.test)}
    for number, (claim, judge) in enumerate(CLAIMS.items(), 1):
        print(f"\n{number}. Claim: {claim}\n")
        numbers[claim] = judge(m)
    print("\nWhat is kept\n")
    numbers["kept"] = pictures(m)
    text = json.dumps(as_json(numbers), indent=1, allow_nan=False)
    (options.output / "contrast.json").write_text(text + "\n")
    print("\nA dash (-): too few pictures, or all judged alike, so that there is no such number.")
    print(f"{options.output} holds the numbers and the figures.")
    return numbers


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
