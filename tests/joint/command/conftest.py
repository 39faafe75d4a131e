import numpy as np
import pytest
from phantoms import drawn_once  # noqa: F401 - a fixture
from PIL import Image

# The small studies, for the commands of studies.
from studies import (  # noqa: F401 - fixtures
    cheap,
    finished,
    forked,
    ledger,
    pretend,
    small_study,
)

from joint.cli import main


@pytest.fixture(scope="session")
def coder(tmp_path_factory):
    """A run folder of little but a codec of three qualities."""
    folder = tmp_path_factory.mktemp("codec") / "run"
    arguments = [
        "train", "--output", folder, "--quiet", "--codec", "factorized", "--classifier", "none",
        "--front-end", "none", "--sensor", "none", "--system.codec.levels", "3",
        "--data.count", "60", "--data.image-size", "32", "--training.epochs", "1",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Three pictures, one in a folder of the folder, and a file that is none."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.bmp", "more/c.png"):
        noise = rng.integers(0, 60, (33, 20, 3))
        Image.fromarray((np.indices(noise.shape).sum(0) + noise).astype(np.uint8)).save(
            folder / name
        )
    (folder / "labels.csv").write_text("")
    return folder
