import json
import shutil

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image

import classify
import joint
from joint.cli import main
from joint.command.other_scenes import _named_alike


def _folders(root):
    """Class folders of pictures that are no squares."""
    random = np.random.default_rng(5)
    for name, mean in (("fine", 90), ("pit", 160)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            codes = random.normal(mean, 25, (24, 20 + number, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(codes).save(root / name / f"{number}.png")
    return root


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_other_scenes_are_read_as_those_of_the_run(tmp_path, capsys):
    own, other = _folders(tmp_path / "own"), tmp_path / "other"
    folder = tmp_path / "run"
    blind = ["--front-end", "none", "--sensor", "none", "--codec", "none", "--training.epochs", "1"]
    squeezed = ["--data.image-size", "16", "--data.geometry", "squeeze", "--data.channels", "1"]
    given = ["--data", str(own), *squeezed, *blind, "--quiet"]
    assert main(["train", "--output", str(folder), *given]) == 0
    capsys.readouterr()
    _, system, parts = joint.load_run(folder)
    for name in parts.test.identifiers:  # none that the run knows
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(own / name, other / name)

    def judged(where, *more):
        status, out, err = run(
            capsys, "evaluate", folder, "--data", where, *more, "--resamples", 0, "--json"
        )
        assert status == 0, err
        return json.loads(out), err

    found, err = judged(other)
    assert err == ""
    dataset = classify.ImageFolder(other, image_size=16, geometry="squeeze", channels=1)
    assert found == joint.evaluate(system, dataset, resamples=0).to_dict()
    cropped, err = judged(other, "--data.geometry", "crop")  # what is asked for is done
    assert err == ""
    assert cropped["loss"] != found["loss"]
    count = len(parts.train), len(parts.validation)
    parts_known = f"{count[0]} of its training part and {count[1]} of its validation part"
    assert f"the run knows {parts_known}: the results are too good" in judged(own)[1]
    assert "lens2label audit --data PATH --against RUN lists them" in judged(own)[1]
    for more in (["--data.geometry", "crop"], ["--data.image-size", "24"]):
        _, err = judged(own, *more)
        assert f"the run knows names and classes ({parts_known}), but these are read in an" in err


def test_names_that_stand_for_other_classes_are_no_leak(lesions):
    """Many sets number their pictures from 0."""

    def seen(labels):
        other = classify.LesionDataset(
            images=torch.zeros(len(lesions), 3, 8, 8, dtype=torch.uint8),
            labels=labels,
            groups=lesions.groups,
            identifiers=lesions.identifiers,
            classes=lesions.classes,
        )
        return _named_alike(other, lesions)

    corrected = lesions.labels.clone()
    corrected[0] = (corrected[0] + 1) % len(lesions.classes)
    assert seen(lesions.labels) == [*lesions.identifiers]
    assert seen(corrected) == [*lesions.identifiers[1:]]
    assert seen(lesions.labels.flip(0).roll(1)) == []
