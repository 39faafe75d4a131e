import math

import numpy as np
import pytest
import torch

from joint.train.history import EpochRecord
from joint.train.outcome import grown, missed, ran_out, score, sizes


def _record(epoch=0, **validation):
    return EpochRecord(epoch, {}, validation, 1.0, 1.0)


def _best(records, **rule):
    return max(range(len(records)), key=lambda k: score(records[k], **rule))


@pytest.mark.parametrize(("monitor", "best"), [("loss", 1), ("psnr", 2)])
def test_the_best_epoch_is_the_lowest_loss_or_the_highest_quality(monitor, best):
    records = [_record(loss=2.0, psnr=20.0), _record(loss=1.0), _record(loss=None, psnr=30.0)]
    assert _best(records, monitor=monitor, target=None) == best


def test_within_its_target_the_monitor_decides_and_beyond_it_the_rate():
    rates_and_losses = [(1.2, 0.1), (1.04, 0.5), (0.96, 0.4), (1.0, 0.6), (None, 0.0)]
    records = [_record(bpp=rate, loss=loss) for rate, loss in rates_and_losses]
    assert _best(records, monitor="loss", target=1.0) == 2
    assert _best(records, monitor="loss", target=1.25) == 0
    assert _best(records, monitor="loss", target=None) == 4
    assert score(records[4], monitor="loss", target=1.0) == (-math.inf, 0.0)
    assert score(records[0], monitor="auc", target=1.0)[1] == -math.inf


@pytest.mark.parametrize(
    ("rates", "kept", "said"),
    [
        ([1.5, 1.02], None, None),
        ([1.5, 1.02], 1, None),
        ([1.5, 1.02], 0, "1.5 after epoch 0, 1.02 after epoch 1 (the weights kept are of epoch 0)"),
        ([1.02, 0.5], 0, "1.02 after epoch 0, 0.5 after epoch 1 (the weights kept are of epoch 0)"),
        ([1.02, None], None, "and is none after epoch 1 (the weights kept are of epoch 1)"),
    ],
)
def test_a_rate_that_is_off_its_target_is_told(rates, kept, said):
    records = [_record(epoch, bpp=rate) for epoch, rate in enumerate(rates)]
    told = missed(records, kept=kept, target=1.0)
    assert (told is None) == (said is None)
    if said is not None:
        assert told.startswith("the rate was to end at 1 bits/pixel, and is ")
        assert said in told
    assert missed(records, kept=kept, target=None) is None


def test_sizes_are_root_mean_squares():
    given = {
        "real": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "complex": torch.tensor([3 + 4j]),
        "half": torch.full((5,), 300.0, dtype=torch.float16),  # whose square is none
        "none": torch.empty(0),
    }
    expected = {
        name: np.sqrt(np.mean(np.abs(tensor.numpy().astype(np.complex128)) ** 2))
        for name, tensor in given.items()
        if name != "none"
    }
    assert sizes(given) == pytest.approx(expected)


def test_what_has_grown_by_more_than_a_hundred_is_told_with_the_farthest_first():
    before = {"codec.a": 0.01, "codec.b": 2.0, "sensor.c": 1.0, "gone": 1.0}
    assert grown(before, {"codec.a": 99.0, "codec.b": 199.0, "sensor.c": 99.0}) is None
    told = grown(before, {"codec.a": 101.0, "codec.b": 199.0, "sensor.c": 500.0})
    assert told is not None
    assert told.startswith("sensor.c went from 1 to 500 (root mean square) in training, and 1 oth")
    assert "Lower the learning rate of sensor (" in told
    alone = grown(before, {"codec.b": 201.0})
    assert alone is not None
    assert "in training: steps" in alone


@pytest.mark.parametrize(
    ("patience", "epochs", "best", "over"),
    [(None, 9, 0, False), (1, 0, None, False), (1, 1, 0, False), (1, 2, 0, True), (3, 5, 1, True)],
)
def test_patience_runs_out_after_so_many_epochs_without_a_better_one(patience, epochs, best, over):
    assert ran_out(patience, epochs, best) == over
