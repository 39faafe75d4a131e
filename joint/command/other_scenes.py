"""Other scenes than those of a run: whether it can judge them, and whether it has seen them."""

from collections.abc import Sequence
from functools import partial

from classify import LesionDataset, Split
from joint.caution import caution
from joint.config.scenes import DataConfig, build_data, read_like
from joint.settings import ConfigError

__all__ = ["other_scenes"]


def other_scenes(
    data: DataConfig, named: str, own: DataConfig, classes: tuple[str, ...], parts: Split | None
) -> LesionDataset:
    """Scenes that are no part of a run.

    Parameters
    ----------
    data : DataConfig
        Where they are and how they are read.
    named : str
        What they are called in a message.
    own : DataConfig
        The scenes of the run.
    classes : tuple of str
        Those that it tells apart.
    parts : Split, optional
        The scenes of the run, with which the others are compared; None where they are not to be
        had.

    Raises
    ------
    ConfigError
        When they have other classes, or the same in another order.

    Warns
    -----
    UserWarning
        When some of them are of the training or validation part of the run.
    """
    dataset = build_data(data)
    if dataset.classes != classes:
        raise ConfigError(
            f"{named} has the classes {', '.join(dataset.classes)}, but the run was "
            f"trained on {', '.join(classes)}{_remedy(data, dataset, classes)}"
        )
    if parts is None:
        return dataset
    alike = _shape(dataset) == _shape(parts.train) and read_like(data, own) == data
    _warn_of_seen(dataset, parts, named, alike=alike)
    return dataset


def _remedy(data: DataConfig, dataset: LesionDataset, classes: Sequence[str]) -> str:
    """What to do about scenes that lack a class, or have them in another order."""
    if "classes" not in type(data).model_fields:
        return ""
    if not set(dataset.classes) <= set(classes):
        return ""
    return f": give them all, in this order (--data.classes {' '.join(classes)})"


def _shape(dataset: LesionDataset) -> tuple[int, int, int, int]:
    return (*dataset.image_size, dataset.channels, dataset.bit_depth)


def _warn_of_seen(dataset: LesionDataset, parts: Split, where: str, *, alike: bool) -> None:
    """Say how many of other scenes the run has learned from, or was chosen by.

    Where they are not read alike, equal pictures have other codes, and are known by their names.
    """
    shared = dataset.shared if alike else partial(_named_alike, dataset)
    seen = {"training": parts.train, "validation": parts.validation}
    counts = {name: len(shared(part)) for name, part in seen.items() if part is not None}
    if not any(counts.values()):
        return
    told = " and ".join(f"{n} of its {name} part" for name, n in counts.items() if n)
    if alike:
        knows = f"the run knows {told}: the results are too good"
    else:
        knows = (
            f"the run knows names and classes ({told}), but these are read in another way: where "
            "they are the same pictures, the results are too good"
        )
    caution(
        f"of the {len(dataset)} pictures of {where} {knows}. Leave these out, or judge the test "
        "part of the run (without --data). lens2label audit --data PATH --against RUN lists them, "
        "and near duplicates",
    )


def _named_alike(dataset: LesionDataset, part: LesionDataset) -> list[str]:
    """Names of one class in both; none where names stand for other classes, as numbers from 0 do.

    Some labels may have been corrected, so that one name in ten may be of another class.
    """
    theirs = dict(zip(part.identifiers, part.targets.tolist(), strict=True))
    ours = zip(dataset.identifiers, dataset.targets.tolist(), strict=True)
    common = [(name, label == theirs[name]) for name, label in ours if name in theirs]
    alike = [name for name, agrees in common if agrees]
    return alike if 10 * len(alike) >= 9 * len(common) else []
