import pytest
from pages import Page, train

from joint.report.sections import SECTIONS
from joint.saved.folder import read_result


def test_all_parts_are_there_in_their_order(parsed):
    assert parsed.headings == ["lens2label: whole", *SECTIONS]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            ["front_end", "sensor", "codec"],
            [
                "The system has no front end: the sensor sees the scene.",
                "The system has no codec, so there is no rate.",
                "No stage before the classifier could lose accuracy.",
            ],
        ),
        (["classifier"], ["The system has no classifier."]),
    ],
)
def test_a_part_that_does_not_apply_says_why(stages, said, tmp_path, whole_page, undrawn):
    options = [word for stage in stages for word in (f"--{stage.replace('_', '-')}", "none")]
    codec = [] if "codec" in stages else ["--codec", "png"]
    folder = train(tmp_path / "run", *codec, *options)
    read = Page(whole_page(folder))
    assert read.headings[1:] == [*SECTIONS]
    for line in said:
        assert line in "".join(read.text)
    if "classifier" in stages:
        assert "No rate by region: the bits of PNG are only known" in "".join(read.text)
    kept = read_result(folder)["test"]["psnr_scene"]
    shown = read.rows().get("PSNR against the scene")
    assert shown == (None if kept is None else [f"{kept:.2f}", "dB"])
