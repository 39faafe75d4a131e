"""Parts of the page on scores: each class at every threshold, and the most confident errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from classify import OperatingCurve, operating_curves
from classify.judged import judged_by
from joint.analysis.passes import one_pass
from joint.panel.look import WRONG, blank_figure
from joint.panel.planes import draw_picture
from joint.panel.screen import as_codes, in_colours, plane_colours
from joint.saved.predictions import Predictions

from .page import Html, note, picture, table
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ConfidentError", "confident_errors", "curves_of", "errors", "thresholds"]

_MOST = 8  # errors in a row of pictures
_LONGEST = 12  # characters of a class name above a picture


def thresholds(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Receiver operating characteristics, and precision against recall."""
    from joint.figure import operating_figure  # noqa: PLC0415 - matplotlib

    found = judged(run)
    yield picture(
        operating_figure(curves_of(run), report=found),
        shows="ROC and precision-recall curves of each class",
        caption="Each class against the rest, at every threshold of its probability. Left: dashed "
        "is chance, an AUC of 0.5. Right: dotted is chance, the share of pictures of the class. "
        f"[low, high]: intervals over {found.unit}. Choose a threshold for use on other pictures "
        "than these.",
    )


def curves_of(run: SavedRun) -> dict[str, OperatingCurve]:
    """Operating curve of each class; none without a classifier."""
    said = run.predictions
    if said is None:
        return {}
    return operating_curves(said.logits, said.labels, classes=said.classes)


class ConfidentError(NamedTuple):
    """A picture for which a wrong class was predicted."""

    row: int
    """Row among the predictions."""
    truth: str
    predicted: str
    probability: float
    """Probability of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def confident_errors(said: Predictions) -> list[ConfidentError]:
    """All wrongly classified pictures, highest probability of the predicted class first."""
    found = judged_by(said.logits.astype(float), said.labels, said.classes)
    probabilities = torch.from_numpy(found.logits).softmax(1)
    wrong = (found.guesses != found.labels).nonzero()[0]
    # Sorted by log-odds, as probabilities near 1 round to the same number.
    order = wrong[(-found.log_odds()[wrong]).argsort(kind="stable")]
    return [
        ConfidentError(
            row,
            said.classes[truth],
            said.classes[guess],
            float(probabilities[row, guess]),
            float(probabilities[row, truth]),
        )
        for row, truth, guess in zip(
            order.tolist(), found.labels[order], found.guesses[order], strict=True
        )
    ]


def errors(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """The most confident errors of the run, with their pictures if the scenes are available."""
    said = run.predictions
    if said is None:
        raise NotHere("The system has no classifier.")
    every = confident_errors(said)
    if not every:
        raise NotHere("No test picture is classified wrongly.")
    shown = every[:_MOST]
    yield table(
        ("", "picture", "lesion", "true class", "predicted", "probability", "of the true class"),
        [
            (
                f"{place}",
                said.identifiers[each.row],
                said.groups[each.row],
                each.truth,
                each.predicted,
                f"{each.probability:.3f}",
                f"{each.of_truth:.3g}",
            )
            for place, each in enumerate(shown, 1)
        ],
        caption=f"Of {len(every)} wrong predictions on {len(said.labels)} test pictures, those "
        "with the highest probability of the predicted class",
    )
    if isinstance(scenes, str):
        yield note(f"The pictures are not shown. {scenes}")
        return
    names = [said.identifiers[each.row] for each in shown]
    places = {name: place for place, name in enumerate(scenes.test.identifiers)}
    if missing := [name for name in names if name not in places]:
        yield note(f"The pictures are not shown: the test part no longer has {missing[0]}.")
        return
    yield picture(
        _errors_figure(scenes, [places[name] for name in names], shown),
        shows="The most confident errors",
        caption="Top: the scene; bottom: what the classifier receives. True and predicted class, "
        "with the probability of the predicted one.",
    )


def _errors_figure(scenes: Scenes, places: list[int], surest: list[ConfidentError]) -> "Figure":
    """A column for each error, at these places of the test part."""
    # The noise of a picture depends on its name, so this is the picture that was classified.
    _, output = one_pass(scenes.system.replace(classifier=None), scenes.test, places)
    colours = plane_colours(scenes.system)
    rows = [
        in_colours(as_codes(plane, output.encoding), own)
        for plane, own in ((output.scene, colours.scene), (output.handed, colours.picture))
    ]
    figure = blank_figure(1.35 * max(len(places), 2), 3.3)
    axes = figure.subplots(2, len(places), squeeze=False)
    for column, error in enumerate(surest):
        for axis, plane in zip(axes[:, column], rows, strict=True):
            draw_picture(axis, plane[column])
        axes[0, column].set_title(f"{column + 1}: true {_short(error.truth)}", fontsize=8)
        axes[1, column].set_xlabel(
            f"says {_short(error.predicted)}\n{error.probability:.3f}", color=WRONG, fontsize=8
        )
    axes[0, 0].set_ylabel("scene", fontsize=8)
    axes[1, 0].set_ylabel("classifier sees", fontsize=8)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
