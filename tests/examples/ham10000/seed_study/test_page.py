import json
import re
from pathlib import Path

import pytest
from seed_study import page

ROOT = Path(__file__).parents[4]
RESULTS = ROOT / "docs" / "results" / "seed"
PAGE = ROOT / "docs" / "seed.md"


def test_the_numbers_of_the_page_are_those_of_the_results():
    text = PAGE.read_text()
    assert page.filled(text, page.blocks(page.read(RESULTS), page.drawn(RESULTS))) == text


def test_the_results_name_no_machine_and_no_picture():
    files = sorted(RESULTS.iterdir())
    assert {path.name for path in files} >= {"cpu.json", "cpu.csv", "cpu.txt"}
    for path in files:
        assert path.suffix in (".json", ".csv", ".txt", ".png")
        assert path.stat().st_size < 2**20
        assert "handed" not in path.name
        assert "optimal" not in path.name
        if path.suffix != ".png":
            assert not re.search(r"/(work|home|root|tmp)/|ISIC_", path.read_text()), path.name
    for name in re.findall(r"\]\((results/[^)]+)\)", PAGE.read_text()):
        assert (PAGE.parent / name).exists(), name


def test_a_small_run_says_that_it_claims_nothing():
    found = json.loads((RESULTS / "cpu.json").read_text())
    assert found["label"].startswith("CPU-scale run, one seed, ")
    assert found["label"].endswith("no claims")
    assert all("better" not in claim["verdict"] for claim in found["claims"])
    assert found["label"] in PAGE.read_text()


def test_a_run_that_is_not_there_says_so(document):
    document["environment"] = {"device": "cpu", "threads": 1, "pytorch": "0"}
    made = page.blocks({"cpu": document, "gpu": None})
    assert "| GPU | not yet measured |" in made["runs"]
    assert "| CPU | Invented | cpu, 1 threads, PyTorch 0 |" in made["runs"]
    rows = document["protocols"]["honest"]["rows"]
    rows["rated"]["machine"], rows["codec"]["machine"] = "abacus", "abacus"
    rows["joint_3x"]["machine"] = "cpu"
    partial = {**document, "stages": 34, "missing": ["honest, rated, seed 0"]}
    said = page.blocks({"cpu": partial, "gpu": None})["runs"]
    assert "Invented; 33 stages done, 1 not yet" in said
    assert "PyTorch 0; codec, rated: abacus |" in said
    assert "GPU run: not yet measured." in made["goals"]
    assert "not yet measured" in made["accuracies"]
    both = page.blocks({"cpu": document, "gpu": document})
    both = {name: text for name, text in both.items() if name not in page._FIGURES}
    made = {name: text for name, text in made.items() if name not in page._FIGURES}
    for name in ("contrast", "optimal"):  # analyses that nobody has invented
        assert "**: not yet measured" in both[name]
        both[name] = ""
    assert "not yet measured" not in "".join(both.values())
    assert both.keys() == made.keys()


def test_figures_that_are_there_are_shown():
    made = page.blocks({"cpu": None, "gpu": None}, ["gpu_rates.png", "cpu_seed_curves.png"])
    assert made["curves"] == (
        "![Balanced accuracy against bits per pixel, GPU run](results/seed/gpu_rates.png)"
    )
    assert made["matrices"].endswith("CPU run](results/seed/cpu_seed_curves.png)")
    assert made["filters"] == "Figures: not yet measured."


def test_blocks_are_renewed_between_their_markers():
    text = "a\n<!-- begin x -->\nold 1\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n"
    done = page.filled(text, {"x": r"new \1", "y": "2"})
    assert done == (
        "a\n<!-- begin x -->\n\nnew \\1\n\n<!-- end x -->\nb\n<!-- begin y -->\n\n2\n\n"
        "<!-- end y -->\n"
    )
    assert page.filled(done, {"x": r"new \1", "y": "2"}) == done
    with pytest.raises(ValueError, match="differ in their blocks: y"):
        page.filled(text, {"x": "1"})
    with pytest.raises(ValueError, match="the block x needs one end"):
        page.filled("<!-- begin x -->\n", {"x": "1"})


def test_publishing_takes_numbers_and_figures_and_no_pictures(document, tmp_path):
    output, docs = tmp_path / "output", tmp_path / "docs"
    (output / "pictures").mkdir(parents=True)
    (output / "pictures" / "honest-handed.png").touch()
    document["environment"] = {"device": "cpu", "threads": 1, "pytorch": "0"}
    (output / "results.json").write_text(json.dumps(document))
    for name in ("results.csv", "tables.txt", "rates.png"):
        (output / name).touch()
    docs.mkdir()
    (docs / "seed.md").write_text(PAGE.read_text())
    page.publish(output, docs, "gpu")
    assert sorted(path.name for path in (docs / "results" / "seed").iterdir()) == [
        "gpu.csv",
        "gpu.json",
        "gpu.txt",
        "gpu_rates.png",
    ]
    text = (docs / "seed.md").read_text()
    assert "| CPU | not yet measured |" in text
    folder = docs / "results" / "seed"
    assert text == page.filled(text, page.blocks(page.read(folder), page.drawn(folder)))
    assert "](results/seed/gpu_rates.png)" in text
