import pytest
from pages import RESAMPLES, Page, train
from phantoms import drawn_once  # noqa: F401 - a fixture

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


@pytest.fixture(scope="session")
def parsed(text):
    return Page(text)
