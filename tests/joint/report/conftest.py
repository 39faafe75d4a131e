import pytest
from pages import RESAMPLES, Page, train
from phantoms import drawn_once  # noqa: F401 - a fixture

from joint.report import report_html, why


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
def whole_page():
    """Makes a page with all parts; its optimal images are those of two steps."""

    def make(run):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(why, "_STEPS", 2)
            return report_html([run], resamples=RESAMPLES)

    return make


@pytest.fixture(scope="session")
def text(whole, whole_page):
    return whole_page(whole)


@pytest.fixture(scope="session")
def parsed(text):
    return Page(text)
