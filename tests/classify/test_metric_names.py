import numpy as np
import pytest

from classify.judged import Judged
from classify.metric_names import check_metric, is_metric, range_of


def test_a_class_that_there_is_not_is_told():
    judged = Judged(np.eye(3), np.arange(3), classes=("mel", "nevus", "df"))
    with pytest.raises(ValueError, match=r"names none of the 3 classes; use 'recall.nevus'"):
        judged.measure(np.ones((1, 3)), ["recall.nevi"])
    for said, told in {
        "melanoma": "'recall.mel'$",
        "NEVUS": "'recall.nevus'$",
        "m": "'recall.mel'$",
        "polyp": "'recall.mel' or 'recall.nevus' or 'recall.df'$",
    }.items():
        with pytest.raises(ValueError, match=f"names none of the 3 classes; use {told}"):
            judged.measure(np.ones((1, 3)), [f"recall.{said}"])
    with pytest.raises(ValueError, match=r"metric .recal.mel. is unknown"):
        judged.measure(np.ones((1, 3)), ["recal.mel"])
    for wrong in ("recal.mel", "accuracy.mel", "recall."):
        assert not is_metric(wrong)
        with pytest.raises(
            ValueError, match=r"or METRIC.CLASS for one class, with METRIC one of precision, "
        ):
            check_metric(wrong)
    with pytest.raises(
        ValueError, match=r"their mean, or the value of one class, such as 'auc.mel'"
    ):
        check_metric("class_auc", judged.classes)
    assert range_of("auc.mel") == (0, 1)
