"""Phantoms that are drawn once, for files that read and write many runs of the same scenes."""

import pytest

import classify

_DRAW = classify.LesionPhantom
_drawn: dict[str, classify.LesionDataset] = {}


def _once(*sizes, **options):
    # Nobody changes a data set, and a phantom is a function of what is asked for.
    key = repr((sizes, sorted(options.items())))
    if key not in _drawn:
        _drawn[key] = _DRAW(*sizes, **options)
    return _drawn[key]


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """Drawing them took a sixth of the time of these files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "LesionPhantom", _once)
        yield
