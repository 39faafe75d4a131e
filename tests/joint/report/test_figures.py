import re
from html import unescape

import pytest
from pages import RESAMPLES

from joint.panel.look import blank_figure
from joint.report import figures_in, report_html
from joint.report.page import (
    picture,
)


def test_the_figures_of_a_page_are_files_too(whole, tmp_path, undrawn):
    def page():
        return report_html([whole], quick=True, pictures=2, resamples=RESAMPLES)

    plain = page()
    with figures_in(tmp_path / "new" / "plots", ending="png"):
        assert page() == plain
    shown = re.findall(r'<img [^>]*alt="([^"]*)"', plain)
    files = sorted((tmp_path / "new" / "plots").iterdir())
    assert len(shown) == len(files) > 3
    for place, (shows, file) in enumerate(zip(shown, files, strict=True), 1):
        count, _, words = file.stem.partition("-")
        assert int(count) == place
        assert file.suffix == ".png"
        assert "-".join(re.findall("[a-z0-9]+", unescape(shows).lower())).startswith(words)
    picture(blank_figure(2, 2), shows="A figure after the block")
    assert len([*(tmp_path / "new" / "plots").iterdir()]) == len(files)


@pytest.mark.parametrize(
    ("ending", "head"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")]
)
def test_a_figure_is_of_the_kind_that_was_asked_for(tmp_path, ending, head):
    figure = blank_figure(2, 2)
    figure.subplots().plot([0, 1], [0, 1])
    with figures_in(tmp_path, ending=ending):
        picture(figure, shows="A line: 0 to 1 (m/s), " + "very " * 20)
    (file,) = tmp_path.iterdir()
    assert file.name == f"01-a-line-0-to-1-m-s{'-very' * 8}.{ending}"
    assert file.read_bytes().startswith(head)


def test_figures_go_into_a_folder_and_are_of_a_known_kind(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: name a folder"), figures_in(tmp_path / "file"):
        pass
    with pytest.raises(ValueError, match="as pdf, svg or png"), figures_in(tmp_path, ending="eps"):
        pass
