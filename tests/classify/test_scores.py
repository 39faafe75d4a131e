import numpy as np
import pytest
import torch

import classify
from classify.scores import InvalidScores, as_array, check_labels, class_names


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_rank_nothing_are_an_error_of_their_own(wrong):
    with pytest.raises(InvalidScores, match="1 rows of scores are nan or infinite"):
        classify.report(np.array([[0, wrong], [0, 1]]), np.array([0, 1]), classes=2)


def test_anything_like_an_array_is_one():
    """Of tensors also those with a gradient or of half as many bits, which NumPy does not know."""
    given = torch.tensor([0.5, 0.25], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(as_array(given), [0.5, 0.25])
    assert as_array(given).dtype == np.float64
    assert as_array(torch.arange(3)).dtype == np.int64
    np.testing.assert_array_equal(as_array([1, 2]), [1, 2])


def test_names_of_classes_differ_and_are_their_numbers_where_there_are_none():
    assert class_names(3) == ("0", "1", "2")
    assert class_names("ab") == ("a", "b")
    with pytest.raises(ValueError, match="classes must be different names, not a, a"):
        class_names(["a", "a"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0.0, 1.0], "must be integers"), ([0, -1], "not -1 as in row 1"), ([0, 2], "beyond the 2")],
)
def test_labels_are_numbers_of_classes(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(np.array(labels), 2)
