"""What a page of results says is what the committed files say."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = sorted((DOCS / "results" / "studies").iterdir())


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_page_of_studies_has_the_numbers_of_their_reports(folder):
    page = (DOCS / "studies.md").read_text().replace("*", "")
    report = json.loads((folder / "report.json").read_text())
    assert report["planned"]
    for contrast in report["planned"]:
        low, high = contrast["interval"]
        shown = f"{contrast['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows = [line for line in page.splitlines() if line.startswith("|") and shown in line]
        assert rows, f"{contrast['name']}: {shown} is not in a table of the page"
        assert any(contrast["verdict"] in row for row in rows), (contrast["name"], rows)
    for link in ("report.txt", "rows.csv"):
        assert f"results/studies/{folder.name}/{link}" in page
