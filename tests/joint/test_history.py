import pytest

import joint


def test_the_best_epoch_is_known_after_one_has_ended():
    record = joint.EpochRecord(0, {"total": 1.0}, {"loss": 1.0}, 1.0, 10.0)
    assert joint.History("loss", (record,), 0).best is record
    with pytest.raises(ValueError, match="no epoch has ended yet"):
        _ = joint.History("loss").best
