"""Pages of runs as tests read them, and the runs that they are of."""

from html.parser import HTMLParser

import numpy as np
import torch

import joint
from joint.cli import main
from joint.saved.predictions import Predictions

_TINY = ["--data.count", "140", "--data.image-size", "32", "--training.epochs", "1"]
RESAMPLES = 30
_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, and refuses one that is not well formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.images, self.tables, self.headings, self.text = [], [], [], [], []
        self.tags, self.attributes, self.links, self.anchors = set(), [], [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        given = dict(attrs)
        assert len(given) == len(attrs)
        if "id" in given:
            assert given["id"] not in self.anchors
            self.anchors.add(given["id"])
        if tag == "img":
            self.images.append(given)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)

    def rows(self):
        """Cells by the first of their row, of all tables; the first of a name."""
        found = {}
        for row in [row for rows in self.tables for row in rows]:
            found.setdefault(row[0], row[1:])
        return found


def train(folder, *arguments):
    """A run folder of the command line, of one epoch on phantoms."""
    command = ["train", "--output", str(folder), "--quiet", *_TINY, *arguments]
    assert main([str(argument) for argument in command]) == 0
    return folder


def scenes_of_test(folder):
    """The test part of a run."""
    return joint.load_run(folder)[2].test


class Grey(torch.nn.Module):
    """Gives seven classes one score."""

    def forward(self, image):
        return image[:, :1].mean((-2, -1)) * torch.ones(7)


def predictions_of(logits, labels, classes=("mel", "nv", "df")):
    logits = np.asarray(logits, np.float32)
    names = tuple(f"picture {n}" for n in range(len(labels)))
    return Predictions(classes, names, names, np.asarray(labels), logits)


HISTORY = [
    {"epoch": 0, "train": {"total": 2.0}, "validation": {"loss_total": 3.0, "bpp": None}},
    {"epoch": 1, "train": {"total": 1.0}, "validation": {"loss_total": 2.5, "auc": 0.7},
     "gradient_norms": {"codec": 0.5, "classifier": None}},
]  # fmt: skip
