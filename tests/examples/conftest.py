import csv
import os
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

# As for a script beside it: its folder is where `contrast_study` is found.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


@pytest.fixture(scope="session")
def few_real(tmp_path_factory):
    """A zip of some of the real pictures, one of each lesion; None where there are none.

    To list all of them takes longer than to train on the few that are used. What is no zip is
    taken whole.
    """
    if not os.environ.get("HAM10000_ROOT"):
        return None
    root = Path(os.environ["HAM10000_ROOT"])
    if not root.is_file():
        return str(root)
    few = tmp_path_factory.mktemp("few") / root.name
    with zipfile.ZipFile(root) as everything, zipfile.ZipFile(few, "w") as archive:
        found = {Path(name).name: name for name in everything.namelist()}
        if "HAM10000_metadata.csv" not in found:
            return str(root)
        table = everything.read(found["HAM10000_metadata.csv"]).decode().splitlines()
        lesions, classes, kept = set(), Counter(), table[:1]
        for line, row in zip(table[1:], csv.DictReader(table), strict=True):
            enough = 120 if row["dx"] == "nv" else 30
            if row["lesion_id"] in lesions or classes[row["dx"]] == enough:
                continue
            lesions.add(row["lesion_id"])
            classes[row["dx"]] += 1
            kept.append(line)
            for end in (".jpg", "_segmentation.png"):
                if name := found.get(row["image_id"] + end):
                    archive.writestr(name, everything.read(name))
        archive.writestr(found["HAM10000_metadata.csv"], "\n".join(kept) + "\n")
    return str(few)
