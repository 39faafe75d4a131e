"""The gallery: the examples, run small enough to build the pages in a minute or two."""

import re
import shutil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]

# What is run, and how small; other examples are shown without being run.
SMALL = {
    "quickstart": ["--limit", "400", "--image-size", "32", "--epochs", "5"],
    "edge_filters": ["--count", "80", "--steps", "60"],
    "phase_mask": ["--size", "64", "--steps", "200"],
    "light_budget": ["--repeats", "24"],
    "depth_of_field": ["--pictures", "128", "--epochs", "20", "--points", "11"],
    "lens_design": ["--limit", "300", "--image-size", "32", "--epochs", "6", "--seeds", "1"],
    "phantom": ["--count", "70"],
    "width_ratio": ["--limit", "150", "--image-size", "32", "--epochs", "3"],
}


ORDER = (
    "quickstart", "light_budget", "edge_filters", "phase_mask", "depth_of_field",
    "lens_design", "phantom", "rate_distortion", "width_ratio", "contrast", "train_gpu",
)  # fmt: skip


class Order:
    """The order of the cards: from light to label; others follow by name."""

    def __init__(self, src_dir: str) -> None:
        pass

    def __call__(self, filename: str) -> tuple[int, str]:
        name = Path(filename).stem
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)


class Pictures:
    """Finds the pictures that an example writes; it keeps its figures to itself until then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[Path] = set()

    def __repr__(self) -> str:
        return "Pictures"  # stable, or everything would be built again

    def __call__(self, block: tuple, block_vars: dict[str, Any], gallery_conf: dict) -> str:
        from sphinx_gallery.scrapers import figure_rst  # noqa: PLC0415

        names = []
        for path in sorted(set(self.folder.rglob("*.png")) - self.seen):
            self.seen.add(path)
            target = next(block_vars["image_path_iterator"])
            shutil.copyfile(path, target)
            names.append(target)
        return figure_rst(names, gallery_conf["src_dir"])


class Arguments:
    """The command line of each example."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return "Arguments"

    def __call__(self, gallery_conf: dict, script_vars: dict[str, Any]) -> list[str]:
        name = Path(script_vars["src_file"]).stem
        return [*SMALL.get(name, []), "--output", str(self.folder / name)]


def _plain_card(folder: Path) -> Path:
    """The card of an example that is not run."""
    figure = Figure(figsize=(4.8, 3.0))
    figure.text(0.5, 0.5, "shown, not run", ha="center", va="center", color="#8a94a0", fontsize=17)
    # Not where the examples write: their pictures are found by looking there.
    path = folder.with_name(folder.name + "-card.png")
    figure.savefig(path, dpi=100)
    return path


def settings(folder: Path) -> dict[str, Any]:
    """Settings of sphinx-gallery; the examples write into ``folder``."""
    run = "|".join(SMALL)
    return {
        "examples_dirs": [str(ROOT / "examples")],
        "gallery_dirs": ["gallery"],
        "filename_pattern": rf"/examples/({run})\.py$",
        "ignore_pattern": r"__init__\.py",
        "image_scrapers": (Pictures(folder),),
        "reset_argv": Arguments(folder),
        "reset_modules": (),
        "within_subsection_order": "gallery.Order",
        "default_thumb_file": str(_plain_card(folder)),
        "download_all_examples": False,
        "show_signature": False,
        "show_memory": False,
        "min_reported_time": 10_000,
        "remove_config_comments": True,
        "plot_gallery": True,
        "capture_repr": (),
        "abort_on_example_error": True,
        "backreferences_dir": None,
        "thumbnail_size": (480, 300),
        "notebook_images": False,
        "write_computation_times": False,
    }


def give_titles(app: object, name: str, source: list[str]) -> None:
    """Make the first line of an example's docstring the title of its page.

    sphinx-gallery wants it underlined, which a docstring that PEP 257 describes is not. What
    stands behind a colon or a question goes below the title.
    """
    if name.startswith("gallery/"):
        bare = r"(\n\.\. _sphx_glr_gallery_\S+:\n\n)(.+)\n(?![-=]{3,}\n)"
        source[0] = re.sub(bare, _title, source[0], count=1)
        source[0] = re.sub(
            r'(<div class="sphx-glr-thumbnail-title">)(.+?)(</div>)',
            lambda card: card[1] + _short(card[2])[0] + card[3],
            source[0],
        )


def _title(match: re.Match) -> str:
    title, rest = _short(match[2])
    return f"{match[1]}{title}\n{'=' * len(title)}\n{rest}\n"


def _short(line: str) -> tuple[str, str]:
    title, *rest = re.split(r": |(?<=\?) ", line, maxsplit=1)
    return title.rstrip("."), f"\n{rest[0][0].upper()}{rest[0][1:]}\n" if rest else ""
