import pytest

import joint


def test_the_best_epoch_is_known_after_one_has_ended():
    record = joint.EpochRecord(0, {"total": 1.0}, {"loss": 1.0}, 1.0, 10.0)
    assert joint.History("loss", (record,), 0).best is record
    with pytest.raises(ValueError, match="no epoch has ended yet"):
        _ = joint.History("loss").best


def test_a_history_prints_its_first_best_and_last_epoch():
    records = tuple(
        joint.EpochRecord(
            number,
            {"total": 2.0 - number / 10},
            {"loss": loss, "loss_task": 0.123, "auc": None, "balanced_accuracy": 0.25, "bpp": None},
            0.5,
            100.4,
            gradient_norms={"codec": 0.456},
        )
        for number, loss in enumerate([1.5, 1.25, 1.75, 1.5])
    )
    assert str(joint.History("loss", records, 1)) == (
        "4 epochs, counted from 1: epoch 2 is the best by validation loss\n"
        "       epoch  training loss  loss  balanced accuracy  rate factor  images/s\n"
        "first      1              2   1.5               0.25          0.5       100\n"
        "best       2            1.9  1.25               0.25          0.5       100\n"
        "last       4            1.7   1.5               0.25          0.5       100"
    )
    # The number that judged stands first, and an epoch that is two of them in one line.
    judged = joint.EpochRecord(0, {"total": 2.0}, {"loss": 1.0, "ssim": 0.5}, 1.0, 10.0)
    text = str(joint.History("ssim", (judged,), 0, stopped_early=True))
    assert text.splitlines()[1].split()[:5] == ["epoch", "training", "loss", "ssim", "loss"]
    assert text.startswith("1 epoch (stopped early), counted from 1: epoch 1 is the best by valida")
    assert "first, best, last" in text
    assert len(text.splitlines()) == 3
    assert "(interrupted, can be resumed)" in str(
        joint.History("loss", records, 1, stopped_early=True, interrupted=True)
    )
    text = str(joint.History("auc"))
    assert text == "no epoch has ended yet; the best is chosen by validation auc"
    assert str(records[1]).splitlines()[1].split() == ["2", "1.9", "1.25", "0.25", "0.5", "100"]
