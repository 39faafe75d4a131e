from typing import get_args, get_type_hints

import torch
import tyro
from contrast_study.runs import VIEWS, Options

from classify import LesionPhantom


def test_the_views_that_can_be_asked_for_are_those_there_are():
    views = get_args(get_args(get_type_hints(Options)["view"])[0])
    assert list(views) == list(VIEWS) == list(Options().view)
    asked = tyro.cli(Options, args=["--view", "whole", "boundary only", "--codec", "6X", "1.5X"])
    assert asked == Options(view=("whole", "boundary only"), codec=("6X", "1.5X"))


def test_each_view_but_the_whole_changes_the_pictures_within_their_range():
    made = LesionPhantom(12, 48, seed=0)
    images, masks = made.gather(range(12)).images / 255.0, made.gather_masks(range(12))
    for name, view in VIEWS.items():
        shown = view(images, masks)
        assert shown.shape == images.shape
        assert 0 <= shown.min() <= shown.max() <= 1
        assert torch.equal(shown, images) == (name == "whole"), name
