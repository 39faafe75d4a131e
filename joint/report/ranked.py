"""Parts of the page on what the scores rank: each class at every threshold, the surest errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from classify import OperatingCurve, operating_curves
from classify.judged import judged_by
from joint.device import device_of
from joint.feed import Feed
from joint.panel.look import WRONG, blank_figure
from joint.panel.planes import draw_picture
from joint.panel.screen import as_codes, in_colours, plane_colours
from joint.saved.predictions import Predictions
from joint.system import evaluating

from .page import Html, note, picture, table
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ConfidentError", "confident_errors", "curves_of", "errors", "thresholds"]

_MOST = 8  # errors in a row of pictures
_LONGEST = 12  # letters of a class above a picture


def thresholds(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Receiver operating characteristics, and precision against recall."""
    from joint.figure import operating_figure  # noqa: PLC0415 - matplotlib

    found = judged(run)
    yield picture(
        operating_figure(curves_of(run), report=found),
        shows="ROC and precision-recall curves of each class",
        caption="Each class against the rest, at every threshold of its probability. Left: dashed "
        "is chance, an AUC of 0.5. Right: dotted is chance, the share of the pictures that are of "
        f"the class. [low, high]: intervals over {found.unit}. A threshold for use is chosen on "
        "other pictures than these.",
    )


def curves_of(run: SavedRun) -> dict[str, OperatingCurve]:
    """Of each class; none without a classifier."""
    said = run.predictions
    if said is None:
        return {}
    return operating_curves(said.logits, said.labels, classes=said.classes)


class ConfidentError(NamedTuple):
    """A picture of which a wrong class was predicted."""

    row: int
    """Among the predictions."""
    truth: str
    predicted: str
    probability: float
    """Of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def confident_errors(said: Predictions) -> list[ConfidentError]:
    """All pictures that are wrong, the one of the highest probability first."""
    found = judged_by(said.logits.astype(float), said.labels, said.classes)
    probabilities = torch.from_numpy(found.logits).softmax(1)
    wrong = (found.guesses != found.labels).nonzero()[0]
    # By log-odds, as probabilities next to 1 are one number.
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
    """The errors that the run was surest of, and their pictures where they are at hand."""
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
        caption=f"Of {len(every)} wrong among {len(said.labels)} test pictures, those of the "
        "highest probability, as the classifier says it",
    )
    if isinstance(scenes, str):
        yield note(f"No pictures of them. {scenes}")
        return
    names = [said.identifiers[each.row] for each in shown]
    places = {name: place for place, name in enumerate(scenes.test.identifiers)}
    if missing := [name for name in names if name not in places]:
        yield note(f"No pictures of them: the test part has no {missing[0]} any more.")
        return
    yield picture(
        _errors_figure(scenes, [places[name] for name in names], shown),
        shows="The most confident errors",
        caption="Above the scene, below what the classifier is handed; true and predicted class, "
        "and its probability.",
    )


def _errors_figure(scenes: Scenes, places: list[int], surest: list[ConfidentError]) -> "Figure":
    """A column for each, at these places of the test part."""
    camera = scenes.system.replace(classifier=None)
    feed = Feed(scenes.test.subset(places), device_of(camera), resident=False)
    with evaluating(camera), torch.no_grad():
        # The noise of a picture is that of its name, so that this is what was judged.
        (shown,) = feed.shown([torch.arange(len(places))], seed=0)
        output = camera(shown.scenes, generator=shown.noise)
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
