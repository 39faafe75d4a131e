import io

import pytest
from matplotlib.figure import Figure
from pages import RESAMPLES, Page, train
from PIL import Image

from joint.report import report_html


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """All four stages."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    return train(folder, "--codec", "jpeg")


@pytest.fixture(scope="session")
def lens(tmp_path_factory):
    """Another, on the same test part."""
    folder = tmp_path_factory.mktemp("lens") / "lens"
    element = ["--front-end", "lens", "--system.front-end.element", "phase"]
    return train(folder, "--codec", "webp", *element)


@pytest.fixture(scope="session")
def text(whole):
    return report_html([whole], resamples=RESAMPLES)


@pytest.fixture
def undrawn(monkeypatch):
    """A blank picture for each figure, which is built all the same: for who reads words alone.

    Two thirds of the time of a report are the letters and lines of its figures.
    """
    content = io.BytesIO()
    Image.new("L", (3, 3)).save(content, "PNG")
    monkeypatch.setattr(
        Figure, "savefig", lambda _, file, **options: file.write(content.getvalue())
    )


@pytest.fixture(scope="session")
def parsed(text):
    return Page(text)
