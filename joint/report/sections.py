"""The parts of the page on one run; a part that does not apply says why in one line."""

from collections.abc import Callable, Iterator

from joint.panel.look import plain_text

from .accuracy import accuracy_lost, costs, imperfections
from .page import Html, joined, note, section
from .ranked import errors, thresholds
from .recorded import classification, training, what_it_is
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes
from .shown import camera, contrast_of_classes, element, light, rate
from .why import contrast_decides, informed, kept_of_scenes, optimal_images

__all__ = ["LONG", "SECTIONS", "run_sections", "sections_of"]

_Part = Callable[[SavedRun, Scenes | str, Measuring], Iterator[Html]]


def run_sections(
    run: SavedRun, scenes: Scenes | str, how: Measuring, *, begin: Callable[[str], object]
) -> Html:
    """All parts of one run; ``begin`` is called with the title of each before it is made."""
    parts = []
    for title, make in sections_of(how).items():
        begin(title)
        with plain_text():
            try:
                parts.append(section(title, *make(run, scenes, how)))
            except NotHere as error:
                parts.append(section(title, note(str(error))))
    return joined(parts)


def sections_of(how: Measuring) -> dict[str, _Part]:
    """Those of :data:`SECTIONS` that this report has."""
    return {title: make for title, make in SECTIONS.items() if not (how.quick and title in LONG)}


#: Parts that evaluate the system many times; a quick report leaves them out.
LONG = (
    "Optimal images",
    "Information about the class",
    "Where accuracy is lost",
    "Robustness",
)
#: Title of each part and the function that makes it, in the order of the page.
SECTIONS: dict[str, _Part] = {
    "What the run is": what_it_is,
    "Training": training,
    "Classification": classification,
    "ROC and precision-recall": thresholds,
    "Most confident errors": errors,
    "What the classifier sees": light,
    "The camera in numbers": camera,
    "The element": element,
    "Rate and fidelity": rate,
    "What is kept of the scene": kept_of_scenes,
    "Contrast by class": contrast_of_classes,
    "Whether contrast decides": contrast_decides,
    "Optimal images": optimal_images,
    "Information about the class": informed,
    "Where accuracy is lost": accuracy_lost,
    "What a picture costs": costs,
    "Robustness": imperfections,
}
