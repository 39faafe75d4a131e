"""What the study printed, by the numbers of its tables, and where it contradicts itself.

"Insights From HAM10000 Classification Using Learned Compression", a project of Duke's course
BME 548, by Yesh Doctor. Its tables are numbered 1, 2, 4 to 15; there is no table 3. The figures
that it numbers, 7 to 12, are the confusion matrices of tables 10 to 15.
"""

from collections.abc import Iterator
from typing import NamedTuple

#: Its names of the classes, in the order of its tables.
NAMES = {
    "BKL": "bkl",
    "AK": "akiec",
    "BCC": "bcc",
    "DF": "df",
    "MEL": "mel",
    "NEV": "nv",
    "VAS": "vasc",
}

#: Pictures of each class, from its page on the data.
COUNTS = {"akiec": 327, "bcc": 514, "df": 115, "mel": 1113, "nv": 6705, "bkl": 1099, "vasc": 142}
TOTAL = 10015


class Numbers(NamedTuple):
    """Loss and accuracy on a part."""

    loss: float
    accuracy: float | None


class LossTable(NamedTuple):
    """A table of losses and accuracies; the losses of an autoencoder's training are its own."""

    number: int
    title: str
    rows: dict[str, Numbers]
    """By part: train, validation, test."""


class ClassRow(NamedTuple):
    """A class, or a mean over them."""

    precision: float
    recall: float
    f1: float
    support: int


class ReportTable(NamedTuple):
    """A table of precision, recall, F1 and support."""

    number: int
    title: str
    rows: dict[str, ClassRow]
    """By the study's name of the class."""
    accuracy: float
    macro: ClassRow
    weighted: ClassRow
    figure: int | None = None
    """Number of its confusion matrix."""

    def right(self) -> float:
        """Accuracy that the recalls and supports add up to."""
        total = sum(row.support for row in self.rows.values())
        return sum(row.recall * row.support for row in self.rows.values()) / total


def _losses(number: int, title: str, *rows: tuple[float, float | None]) -> LossTable:
    parts = ("train", "validation", "test")
    return LossTable(number, title, dict(zip(parts, (Numbers(*row) for row in rows), strict=True)))


LOSSES = {
    table.number: table
    for table in (
        _losses(1, "Classifier Metrics", (0.3819, 0.9506), (0.8479, 0.8225), (0.473367, 0.923154)),
        _losses(4, "6X Autoencoder", (0.0149, None), (0.0149, None), (1.1768, 0.7538)),
        _losses(5, "3X Autoencoder", (0.0194, None), (0.0194, None), (1.2854, 0.7315)),
        _losses(6, "1.5X Autoencoder", (0.0193, None), (0.0193, None), (1.3058, 0.7196)),
        _losses(7, "6X Joint Model", (0.6933, 0.7699), (0.7685, 0.7432), (0.7198, 0.7555)),
        _losses(8, "3X Joint Model", (0.5469, 0.8261), (0.6289, 0.7898), (0.5478, 0.8183)),
        _losses(9, "1.5X Joint Model", (0.6291, 0.7869), (0.6870, 0.7621), (0.6098, 0.7814)),
    )
}

_SUPPORT = (110, 33, 51, 12, 111, 671, 14)


def _report(
    number: int,
    title: str,
    cells: tuple[tuple[float, float, float], ...],
    accuracy: float,
    macro: tuple[float, float, float],
    weighted: tuple[float, float, float],
    figure: int | None = None,
) -> ReportTable:
    rows = {
        name: ClassRow(*numbers, support)
        for name, numbers, support in zip(NAMES, cells, _SUPPORT, strict=True)
    }
    total = sum(_SUPPORT)
    means = (ClassRow(*macro, total), ClassRow(*weighted, total))
    return ReportTable(number, title, rows, accuracy, *means, figure)


_SIX = (
    (0.78, 0.26, 0.39),
    (0.57, 0.24, 0.34),
    (0.44, 0.78, 0.57),
    (0.00, 0.00, 0.00),
    (0.52, 0.32, 0.39),
    (0.81, 0.96, 0.88),
    (1.00, 0.07, 0.13),
)
_THREE = (
    (0.60, 0.60, 0.60),
    (0.67, 0.48, 0.56),
    (0.63, 0.78, 0.70),
    (0.00, 0.00, 0.00),
    (0.56, 0.48, 0.52),
    (0.91, 0.94, 0.92),
    (1.00, 0.93, 0.96),
)
_ONE_AND_A_HALF = (
    (0.60, 0.51, 0.55),
    (0.52, 0.33, 0.41),
    (0.56, 0.61, 0.58),
    (0.00, 0.00, 0.00),
    (0.53, 0.44, 0.48),
    (0.86, 0.94, 0.90),
    (0.70, 0.50, 0.58),
)
_MEANS = {
    "6X": (_SIX, 0.76, (0.59, 0.38, 0.39), (0.74, 0.76, 0.72)),
    "3X": (_THREE, 0.82, (0.62, 0.60, 0.61), (0.80, 0.82, 0.81)),
    "1.5X": (_ONE_AND_A_HALF, 0.78, (0.54, 0.48, 0.50), (0.76, 0.78, 0.77)),
}

REPORTS = {
    table.number: table
    for table in (
        _report(
            2,
            "Classifier Dataset",
            (
                (0.61, 0.69, 0.65),
                (0.67, 0.42, 0.52),
                (0.89, 0.65, 0.75),
                (0.70, 0.58, 0.64),
                (0.55, 0.56, 0.56),
                (0.91, 0.92, 0.92),
                (0.85, 0.79, 0.81),
            ),
            0.82,
            (0.74, 0.66, 0.69),
            (0.82, 0.82, 0.82),
        ),
        *(
            _report(10 + k, f"{width} Autoencoder + Pretrained Classifier", *means, 7 + k)
            for k, (width, means) in enumerate(_MEANS.items())
        ),
        *(
            _report(13 + k, f"{width} Compression Jointly Trained Model", *means, 10 + k)
            for k, (width, means) in enumerate(_MEANS.items())
        ),
    )
}


class Row(NamedTuple):
    """A row of the study, and the stage here that reproduces it."""

    stage: str
    title: str
    losses: int | None = None
    """Number of its table of losses."""
    report: int | None = None
    """Number of its table of classes."""
    training: str | None = None
    """Stage whose losses on training and validation part stand in that table."""


#: Every row with numbers, in the study's order.
ROWS = (
    Row("classifier", "classifier alone", 1, 2),
    Row("kmeans_frozen", "k-means palette + pretrained classifier"),
    Row("kmeans_joint", "soft k-means palette, trained jointly"),
    Row("frozen_6x", "6X autoencoder + pretrained classifier", 4, 10, "autoencoder_6x"),
    Row("frozen_3x", "3X autoencoder + pretrained classifier", 5, 11, "autoencoder_3x"),
    Row("frozen_1.5x", "1.5X autoencoder + pretrained classifier", 6, 12, "autoencoder_1.5x"),
    Row("joint_6x", "6X, trained jointly", 7, 13),
    Row("joint_3x", "3X, trained jointly", 8, 14),
    Row("joint_1.5x", "1.5X, trained jointly", 9, 15),
)


class Fault(NamedTuple):
    """A place where the study contradicts itself, or its numbers another reading."""

    where: str
    what: str


def faults() -> tuple[Fault, ...]:
    """What does not agree, worked out from its own numbers."""
    return tuple(_faults())


def _faults() -> Iterator[Fault]:
    alone, test = REPORTS[2], LOSSES[1].rows["test"].accuracy
    assert test is not None
    total = sum(row.support for row in alone.rows.values())
    yield Fault(
        "tables 1 and 2",
        f"the test accuracy is {test:.3f} in table 1 ({test * total:.0f} of {total} right) and "
        f"{alone.accuracy:.2f} in table 2, whose recalls add up to {alone.right():.3f}; one model "
        "has only one accuracy on one test part",
    )
    same = [n for n in (10, 11, 12) if REPORTS[n].rows == REPORTS[n + 3].rows]
    if len(same) == 3:
        yield Fault(
            "tables 10 to 12 and 13 to 15",
            "they are the same numbers to the last digit, under the names of two experiments",
        )
    frozen, joint, printed = (
        tuple(accuracies)
        for accuracies in (
            [LOSSES[n].rows["test"].accuracy for n in (4, 5, 6)],
            [LOSSES[n].rows["test"].accuracy for n in (7, 8, 9)],
            [REPORTS[n].accuracy for n in (10, 11, 12)],
        )
    )
    assert None not in (*frozen, *joint)
    if all(round(a or 0, 2) == b for a, b in zip(joint, printed, strict=True)):
        yield Fault(
            "tables 4 to 6 and 10 to 12",
            f"the accuracies of the frozen pairs are {_list(frozen)} in tables 4 to 6, but "
            f"{_list(printed)} in tables 10 to 12, which are those of the joint models (tables 7 "
            f"to 9: {_list(joint)}): the class tables of the frozen pairs are not printed anywhere",
        )
    best = joint[1]
    assert best is not None
    yield Fault(
        "summary of joint training",
        f"3X is called 10 % less accurate than the classifier alone (82 %); {best:.4f} is "
        f"{100 * (alone.accuracy - best):.1f} points below {alone.accuracy:.2f} and "
        f"{100 * (test - best):.1f} below {test:.3f}",
    )
    yield Fault(
        "summary of joint training",
        "3X above the others is said to follow the trend of the autoencoders, but that trend "
        f"(tables 4 to 6: {_list(frozen)}) is 6X above 3X above 1.5X",
    )
    narrow, wide = LOSSES[4].rows["train"].loss, LOSSES[6].rows["train"].loss
    yield Fault(
        "tables 4 and 6",
        f"the narrowest bottleneck reconstructs best (error {narrow} against {wide} of the widest, "
        "which has four times the room): the wide ones were not trained to convergence",
    )
    yield Fault(
        "6X, 3X, 1.5X",
        "these names count elements; the latents are 32-bit floats and take 16, 32 and 64 bits "
        "per pixel, the picture 24: 1.5 times smaller, 1.3 and 2.7 times larger",
    )
    yield Fault(
        "numbering",
        "there is no table 3, and the k-means rows have pictures but no numbers",
    )


def _list(values: tuple[float | None, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
