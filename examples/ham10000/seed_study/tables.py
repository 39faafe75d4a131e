"""The study's tables in its own form, with what was found here beside what it printed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import further
from .grid import PENDING, Grid, Source, grid, number, percent, sources
from .published import COUNTS, LOSSES, NAMES, REPORTS, ROWS, TOTAL, Row

PARTS = {"train": "Training", "validation": "Validation", "test": "Test"}
DIAGNOSES = {
    "akiec": "Actinic keratosis (akiec)",
    "bcc": "Basal cell carcinoma (bcc)",
    "df": "Dermatofibroma (df)",
    "mel": "Melanoma (mel)",
    "nv": "Nevus (nv)",
    "bkl": "Pigmented benign keratosis (bkl)",
    "vasc": "Vascular lesions (vasc)",
}

# ----------------------------------------------------------------------------- the study's tables


def counts(columns: Sequence[Source]) -> Grid:
    """Pictures of each class."""
    lines = [
        [name, str(COUNTS[key]), *(_count(c, key) for c in columns)]
        for key, name in DIAGNOSES.items()
    ]
    total = [_data(c, "pictures") for c in columns]
    lines.append(["Total", str(TOTAL), *total])
    lines.append(["Lesions", "not said", *(_data(c, "lesions") for c in columns)])
    used = [PENDING if c.found is None else str(c.found["used"]) for c in columns]
    lines.append(["Used", str(TOTAL), *used])
    head = ["Skin pathology", "published", *(c.label for c in columns)]
    return grid("Dataset: number of images", head, lines)


def leaks(columns: Sequence[Source]) -> Grid:
    """Share of the test pictures whose lesion is in training too."""
    known = [c for c in columns if c.found is not None]
    lines = [["all", *(percent(c.found["data"]["leaked"]) for c in known if c.found)]]
    for key in DIAGNOSES:
        shares = [c.found["data"]["leaked_by_class"].get(key) for c in known if c.found]
        lines.append([key, *map(percent, shares)])
    for name, label in (("leaked", "accuracy on those"), ("clean", "accuracy on the others")):
        lines.append([label, *(_by_leak(c, name) for c in known)])
    lines.append(["difference within class", *(_within(c) for c in known)])
    return grid(
        "Test pictures whose lesion is in training too (shares: all HAM10000; accuracies: "
        "classifier alone, images of the run)",
        ["class", *(c.label for c in known)],
        lines,
        _ceiling(max((c.found["data"]["leaked"] for c in known if c.found), default=0.0)),
    )


def losses(row: Row, columns: Sequence[Source]) -> Grid:
    """A table of losses and accuracies, such as table 1."""
    assert row.losses is not None
    table = LOSSES[row.losses]
    head = ["Data Set", "Loss", "Accuracy"]
    for column in columns:
        head += [f"{column.label}: Loss", "Accuracy"]
    lines = []
    for part, label in PARTS.items():
        numbers = table.rows[part]
        cells = [f"{numbers.loss:.4f}", number(numbers.accuracy, 4)]
        for column in columns:
            cells += _loss_and_accuracy(row, part, column)
        lines.append([label, *cells])
    return grid(f"Table {table.number}: {table.title} (published; here)", head, lines)


def classes(row: Row, columns: Sequence[Source]) -> Grid:
    """A table of precision, recall, F1 and support, such as table 2."""
    assert row.report is not None
    table = REPORTS[row.report]
    head = ["Skin Lesion", "Precision", "Recall", "F1-Score", "Support"]
    for column in columns:
        head += [f"{column.label}: Precision", "Recall", "F1-Score", "Support"]
    lines = []
    for name, own in NAMES.items():
        printed = table.rows[name]
        cells = [f"{value:.2f}" for value in printed[:3]] + [str(printed.support)]
        for column in columns:
            found = column.row(row.stage)
            cells += _class_cells(None if found is None else found["report"]["by_class"][own])
        lines.append([name, *cells])
    total = sum(printed.support for printed in table.rows.values())
    cells = ["", "", f"{table.accuracy:.2f}", str(total)]
    for column in columns:
        found = column.row(row.stage)
        accuracy = None if found is None else found["test"]["accuracy"]
        size = "" if found is None else str(found["pictures"]["test"])
        cells += ["", "", number(accuracy, 2), size]
    lines.append(["Accuracy", *cells])
    for label, key, printed in (
        ("Macro Average", "macro", table.macro),
        ("Weight Average", "weighted", table.weighted),
    ):
        cells = [f"{value:.2f}" for value in printed[:3]] + [str(total)]
        for column in columns:
            found = column.row(row.stage)
            means = None if found is None else found["report"][key]
            size = 0 if found is None else found["pictures"]["test"]
            cells += _class_cells(None if means is None else {**means, "support": size})
        lines.append([label, *cells])
    return grid(f"Table {table.number}: {table.title} (published; here)", head, lines)


def confusion(row: Row, column: Source) -> Grid | None:
    """A confusion matrix, true classes in lines."""
    found = column.row(row.stage)
    if found is None or row.report is None:
        return None
    figure = REPORTS[row.report].figure
    title = f"Figure {figure}" if figure else "Confusion matrix"
    lines = [
        [name, *map(str, line)]
        for name, line in zip(found["classes"], found["confusion"], strict=True)
    ]
    return grid(
        f"{title}: {row.title}, {column.label}", ["true \\ predicted", *found["classes"]], lines
    )


# -------------------------------------------------------------------------------- short tables


def accuracies(columns: Sequence[Source]) -> Grid:
    """Test accuracy of every row."""
    lines = []
    for row in ROWS:
        table = None if row.losses is None else LOSSES[row.losses].rows["test"].accuracy
        printed = "no number" if table is None else f"{table:.4f}"
        if row.stage == "classifier":
            printed = f"{REPORTS[2].accuracy:.2f} (and {table:.3f})"
        lines.append([row.title, printed, *(_test(c, row.stage, "accuracy") for c in columns)])
    head = ["test accuracy", "published", *(c.label for c in columns)]
    return grid("Accuracy on the test part", head, lines)


def recalls(columns: Sequence[Source], row: Row) -> Grid:
    """Recall of each class in one row of the study."""
    assert row.report is not None
    lines = []
    for name, own in NAMES.items():
        cells = [f"{REPORTS[row.report].rows[name].recall:.2f}"]
        for column in columns:
            found = column.row(row.stage)
            known = None if found is None else found["report"]["by_class"][own]["recall"]
            cells.append(PENDING if known is None else f"{known:.2f}")
        lines.append([name, *cells])
    head = [f"recall, {row.title}", f"table {row.report}", *(c.label for c in columns)]
    return grid(f"Recall: {row.title}", head, lines)


def palettes(columns: Sequence[Source]) -> Grid:
    """The k-means rows."""
    lines = []
    for name, label in (
        ("kmeans_frozen", "palette + pretrained classifier"),
        ("kmeans_joint", "soft palette, trained jointly"),
    ):
        for column in columns:
            found = column.row(name)
            if found is None:
                lines.append([label, column.label, PENDING, "", "", ""])
                continue
            test = found["test"]
            lines.append(
                [
                    label,
                    column.label,
                    f"{test['bytes']:.0f}",
                    f"{test['bpp_bytes']:.2f}",
                    f"{test['psnr']:.1f}",
                    f"{test['accuracy']:.3f}",
                ]
            )
    head = ["k-means, 16 colours", "", "bytes of a file", "bits per pixel", "PSNR, dB", "accuracy"]
    return grid("K-means (the study has pictures, and no number)", head, lines)


def every(document: Mapping[str, Any]) -> Iterator[Grid]:
    """All tables of a run, in the study's order and then beyond it."""
    columns = sources(document)
    yield counts(columns)
    yield leaks(columns)
    for row in ROWS:
        if row.losses is not None:
            yield losses(row, columns)
        if row.report is not None:
            yield classes(row, columns)
        for column in columns:
            if (matrix := confusion(row, column)) is not None:
                yield matrix
        if row.stage == "kmeans_joint":
            yield palettes(columns)
    yield accuracies(columns)
    for column in columns:
        yield further.bits(column)
        yield further.contrasts(column)
        yield further.optimal(column)
        if further.is_honest(column):
            yield further.rates(column)
            yield further.optics(column)
            yield further.remedies(column)
            yield further.architectures(column)
    yield further.inconsistencies()
    if document.get("claims"):
        yield further.claimed(document)
    if document.get("goals"):
        yield further.reached(document)


def text(document: Mapping[str, Any]) -> str:
    """All tables for a terminal."""
    head = f"{document['label']}\n{document['command']}"
    if document.get("missing"):
        head += f"\nnot done yet: {'; '.join(document['missing'])}"
    return "\n\n".join([head, *(each.text() for each in every(document) if each.lines)]) + "\n"


# ------------------------------------------------------------------------------------------ cells


def _ceiling(share: float) -> str:
    """What the leak could make of the study's own report at most."""
    report, printed = REPORTS[2].accuracy, LOSSES[1].rows["test"].accuracy
    assert printed is not None
    most = share + (1 - share) * report
    verdict = "does not explain" if most < printed else "could explain"
    return (
        f"If all of these images and {report:.2f} of the others were right, the accuracy would be "
        f"{most:.3f}: the leak alone {verdict} the {printed:.3f} of table 1."
    )


def _loss_and_accuracy(row: Row, part: str, column: Source) -> list[str]:
    """Of a part; the training of an autoencoder has a loss of its own, and no accuracy."""
    name = row.training if row.training is not None and part != "test" else row.stage
    found = column.row(name)
    if found is None:
        return [PENDING, ""]
    numbers = found[part]
    return [f"{numbers['loss']:.4f}", number(numbers.get("accuracy"), 4)]


def _class_cells(cells: Mapping[str, Any] | None) -> list[str]:
    if cells is None:
        return [PENDING, "", "", ""]
    return [
        *(f"{cells[name]:.2f}" for name in ("precision", "recall", "f1")),
        f"{cells['support']}",
    ]


def _count(column: Source, name: str) -> str:
    return PENDING if column.found is None else str(column.found["data"]["counts"][name])


def _data(column: Source, name: str) -> str:
    return PENDING if column.found is None else str(column.found["data"][name])


def _by_leak(column: Source, name: str) -> str:
    found = column.row("classifier")
    leak = None if found is None else found["by_leak"]
    return "-" if leak is None else number(leak[name]["accuracy"], 3)


def _within(column: Source) -> str:
    found = column.row("classifier")
    leak = None if found is None else found["by_leak"]
    if leak is None or leak["within_class"] is None:
        return "-"
    return f"{leak['within_class']:+.3f}"


def _test(column: Source, name: str, metric: str) -> str:
    found = column.row(name)
    return PENDING if found is None else f"{found['test'][metric]:.3f}"
