import io
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import classify

# For `import small`, the system that several files train, `import phantom_runs`, their runs,
# `import gratings` and `import toys`, their scenes, `import pages`, reports as they read them, and
# `import commands`, the command line as they call it.
sys.path.append(str(Path(__file__).parent))


def _lesions(count: int, size: int, seed: int) -> classify.LesionDataset:
    """Disks on a light ground whose colour and size tell three classes apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    radius = 0.2 + 0.08 * labels + 0.04 * torch.rand(count, generator=generator)
    steps = torch.linspace(-1, 1, size)
    distance = torch.hypot(steps[:, None], steps[None, :])
    inside = (distance < radius[:, None, None]).float()[:, None]
    ground = torch.tensor([0.8, 0.6, 0.55])[:, None, None]
    colours = torch.tensor([[0.3, 0.2, 0.2], [0.6, 0.3, 0.3], [0.2, 0.2, 0.4]])[labels]
    picture = ground * (1 - inside) + colours[:, :, None, None] * inside
    picture = picture + 0.05 * torch.randn(picture.shape, generator=generator)
    return classify.LesionDataset(
        images=(picture.clamp(0, 1) * 255).round().to(torch.uint8),
        labels=labels,
        groups=[f"lesion{i // 2} of {seed}" for i in range(count)],
        identifiers=[f"picture{i}" for i in range(count)],
        classes=("a", "b", "c"),
    )


@pytest.fixture(scope="session")
def lesions():
    """48 pictures of 16 x 16 pixels."""
    return _lesions(48, 16, 0)


def odd_lesions():
    """Numbers that two processes cannot halve: 47 to train with, 17 to validate."""
    return _lesions(47, 16, 0), _lesions(17, 16, 1)


@pytest.fixture(name="odd", scope="session")
def _odd():
    return odd_lesions()


@pytest.fixture(scope="session")
def others():
    """18 more."""
    return _lesions(18, 16, 1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run folder of the command line, of one epoch; no test changes it."""
    from commands import TINY

    from joint.cli import main

    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "--output", str(folder), "--quiet", "--codec", "jpeg", *TINY]) == 0
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """A blank picture for each figure, which is built all the same: for who reads words alone.

    Two thirds of the time of a report are the letters and lines of its figures.
    """
    from matplotlib.figure import Figure

    content = io.BytesIO()
    Image.new("L", (3, 3)).save(content, "PNG")
    monkeypatch.setattr(
        Figure, "savefig", lambda _, file, **options: file.write(content.getvalue())
    )
