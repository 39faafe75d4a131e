"""Checks of the arguments of functions on systems: their types, and whether they fit together.

::

    system, dataset ──► check_kinds ──► check_suited ──► nothing, or an error with the remedy
    system, scenes ───► check_pictures ──► its classifier
"""

from numbers import Integral

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from classify import LesionDataset, Split
from classify.data.dataset import FROM_TORCH
from compress import Codec
from optics import FrontEnd, Sensor

from .system import ImagingSystem, SystemOutput

__all__ = [
    "check_batch_size",
    "check_dataset",
    "check_encoding",
    "check_kinds",
    "check_names",
    "check_pictures",
    "check_scores",
    "check_suited",
    "check_system",
]

# The stage that a module is by its class; any other is taken for a classifier.
_STAGES = {FrontEnd: "front_end", Sensor: "sensor", Codec: "codec"}
_MEANT = {"srgb": "sRGB codes", "linear": "linear light"}


def check_kinds(system: object, dataset: object, *, wanted: str | None = None) -> None:
    """Refuse a system and a data set in the wrong order, or of another type.

    Parameters
    ----------
    system : ImagingSystem
    dataset : LesionDataset
    wanted : str, optional
        What the class scores are needed for, such as ``accuracy``.

    Raises
    ------
    TypeError
        When one of them is of another type.
    ValueError
        When class scores are needed, but the system has no classifier.
    """
    if isinstance(system, LesionDataset) and isinstance(dataset, nn.Module):
        raise TypeError("the system comes first, the data set second: exchange the two")
    check_system(system)
    check_dataset(dataset)
    if wanted is not None and getattr(system, "classifier", None) is None:
        raise ValueError(f"the system has no classifier, and without one there is no {wanted}")


def check_system(system: object) -> None:
    """Raise a TypeError if ``system`` is no ImagingSystem."""
    # By what it has: a wrapper, as of torch.compile, has it too.
    if isinstance(system, nn.Module) and hasattr(system, "encoding"):
        return
    remedy = ""
    if isinstance(system, nn.Module):
        stages = (name for kind, name in _STAGES.items() if isinstance(system, kind))
        stage = next(stages, "classifier")
        remedy = f"; make one of a module with joint.ImagingSystem({stage}=...)"
    raise TypeError(f"system must be a joint.ImagingSystem, not {type(system).__name__}{remedy}")


def check_dataset(dataset: object) -> None:
    """Raise a TypeError if ``dataset`` is no LesionDataset."""
    if isinstance(dataset, LesionDataset):
        return
    remedy = ""
    if isinstance(dataset, Split):
        remedy = "; give one of its parts, such as .test"
    elif isinstance(dataset, Tensor):
        remedy = "; pictures alone go through the system itself, as system(scenes)"
    elif isinstance(dataset, Dataset | DataLoader):
        remedy = f"; {FROM_TORCH}"
    raise TypeError(
        f"dataset must be a classify.LesionDataset, not {type(dataset).__name__}{remedy}"
    )


def check_suited(system: ImagingSystem, dataset: LesionDataset) -> None:
    """Refuse scenes whose encoding or classes are not those of a system, and other types.

    Raises
    ------
    TypeError
        As :func:`check_kinds`.
    ValueError
        As :func:`check_encoding` and :func:`check_names`.
    """
    check_kinds(system, dataset)
    check_encoding(system, dataset)
    check_names(system, dataset)


def check_encoding(system: ImagingSystem, dataset: LesionDataset) -> None:
    """Raise a ValueError for sRGB codes and a system for linear light, and the reverse."""
    if dataset.encoding not in (None, system.encoding):
        raise ValueError(
            f"the scenes are {_MEANT[dataset.encoding]} and the system takes them for "
            f"{_MEANT[system.encoding]}: build it with encoding={dataset.encoding!r} "
            f"(--system.encoding {dataset.encoding}). If that is not what they are, say so where "
            f"they are loaded, or with taken_as({system.encoding!r})"
        )


def check_names(system: ImagingSystem, dataset: LesionDataset, *, what: str = "system") -> None:
    """Raise a ValueError if the classes differ from a system's in their names or order."""
    # The classes of a system are unknown if they were not set, and it was not trained.
    ours, theirs = getattr(system, "classes", None), dataset.classes
    if ours is None or tuple(ours) == theirs:
        return
    if set(theirs) <= set(ours):
        remedy = "load the data with all of these classes, in this order"
    elif len(theirs) != len(ours):
        remedy = "choose scenes of the classes that it was trained for"
    else:
        remedy = f"if the names mean the same, set {what}.classes = dataset.classes"
    raise ValueError(
        f"the scores of the {what} are of {', '.join(ours)}, and the classes of the data set are "
        f"{', '.join(theirs)}: {remedy}"
    )


def check_scores(output: SystemOutput, dataset: LesionDataset) -> None:
    """Refuse scores of other classes than the data set has, at the first batch."""
    if output.logits is not None and output.logits.shape[1] != len(dataset.classes):
        raise ValueError(
            f"the classifier tells {output.logits.shape[1]} classes apart, the data set has "
            f"{len(dataset.classes)}: {', '.join(dataset.classes)}. Load it with all classes that "
            "there were in training, in their order (classes=...)"
        )


def check_batch_size(batch_size: object) -> None:
    """Raise a ValueError if a batch size is no whole number of 1 or more."""
    # A NumPy integer is one, too.
    if not isinstance(batch_size, Integral):
        raise ValueError(f"batch_size must be a whole number, not {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")


def check_pictures(system: object, scenes: object) -> nn.Module:
    """The classifier of a system, after checks of the system and of scenes.

    Parameters
    ----------
    system : ImagingSystem
    scenes : Tensor ``[B, C, H, W]``

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        When ``system`` is no ImagingSystem, or ``scenes`` no Tensor.
    ValueError
        For a system without a classifier, and for scenes that are no floating-point pictures or an
        empty batch.
    """
    check_system(system)
    classifier = getattr(system, "classifier", None)
    if classifier is None:
        raise ValueError("the system has no classifier, so that there are no scores; give it one")
    if not isinstance(scenes, Tensor):
        remedy = ""
        if isinstance(scenes, LesionDataset):
            remedy = "; a data set has them as dataset.gather(rows).images over its largest code"
        raise TypeError(
            f"scenes must be a Tensor of pictures [B, C, H, W] in 0..1, not "
            f"{type(scenes).__name__}{remedy}"
        )
    if scenes.ndim == 4 and scenes.numel() == 0:
        raise ValueError(f"scenes must hold at least one picture, not {list(scenes.shape)}")
    if scenes.ndim != 4 or not scenes.is_floating_point():
        raise ValueError(
            f"scenes must be pictures [B, C, H, W] in 0..1, not {scenes.dtype} "
            f"{list(scenes.shape)}; add a batch axis with scenes[None], divide 8 bits by 255"
        )
    return classifier
