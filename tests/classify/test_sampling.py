import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.sampling import sample_order

HAM = torch.tensor([327, 514, 1099, 115, 1113, 6705, 142])
LABELS = torch.repeat_interleave(torch.arange(7), HAM)[
    torch.randperm(10015, generator=torch.Generator().manual_seed(5))
]


def _order(power, seed=0, labels=LABELS):
    return sample_order(labels, power=power, generator=torch.Generator().manual_seed(seed))


def test_power_0_shows_every_picture_once_in_random_order():
    order = _order(0.0)
    assert torch.equal(order.sort().values, torch.arange(10015))
    assert torch.equal(order, torch.randperm(10015, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("power", [0.25, 0.5, 0.75, 1.0])
def test_classes_have_their_share_over_a_hundred_thousand_draws(power):
    drawn = torch.cat([LABELS[_order(power, seed)] for seed in range(10)])
    assert len(drawn) == 100_150
    shares = HAM.double() ** (1 - power)
    expected = shares / shares.sum()
    found = drawn.bincount(minlength=7).double() / len(drawn)
    # Independent draws would scatter by this much; rounding alone by less than a picture an epoch.
    sigma = (expected * (1 - expected) / len(drawn)).sqrt()
    assert ((found - expected).abs() < 4 * sigma).all()
    assert ((found - expected).abs() * 10015 < 1).all()


def test_rounding_favours_no_class():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2])
    drawn = torch.stack(
        [labels[_order(1.0, seed, labels)].bincount(minlength=3) for seed in range(3000)]
    ).double()
    # 10 / 3 each: 3 or 4, each a third of the time 4, with a binomial scatter of 0.009 at most.
    assert ((drawn == 3) | (drawn == 4)).all()
    torch.testing.assert_close(
        drawn.mean(0), torch.full((3,), 10 / 3, dtype=torch.float64), rtol=0, atol=0.035
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 2**31))
def test_an_epoch_is_as_long_as_the_data_and_repeats_as_little_as_it_can(labels, power, seed):
    labels = torch.tensor(labels)
    order = _order(power, seed, labels)
    assert order.dtype == torch.int64
    assert len(order) == len(labels)
    times = order.bincount(minlength=len(labels))
    for kind in labels.unique():
        shown = times[labels == kind]
        assert shown.max() - shown.min() <= 1
    assert torch.equal(order, _order(power, seed, labels))
    if power == 0:
        assert (times == 1).all()


def test_square_roots_lie_between():
    rare = [float((LABELS[_order(power)] == 3).double().mean()) for power in (0, 0.5, 1)]
    assert rare == sorted(rare)
    assert rare == pytest.approx([115 / 10015, 115**0.5 / float((HAM**0.5).sum()), 1 / 7], abs=1e-4)


def test_pictures_of_a_class_come_in_random_order_and_choice():
    first, second = _order(1.0, 0), _order(1.0, 1)
    assert not torch.equal(first, second)
    nevi = [set(order[LABELS[order] == 5].tolist()) for order in (first, second)]
    # 1431 of 6705 each time: two independent choices share 305 on average, 14 off on a bad day.
    assert 240 < len(nevi[0] & nevi[1]) < 370
    # Classes are spread over the epoch, not one after the other.
    assert LABELS[first[:700]].bincount(minlength=7).min() > 60


@pytest.mark.parametrize(
    ("labels", "power", "message"),
    [
        (LABELS, 1.5, r"power must lie in \[0, 1\].*not 1.5"),
        (LABELS, -0.1, r"power must lie in \[0, 1\].*not -0.1"),
        (LABELS.float(), 1, r"int64 \[N\].*not torch.float32 \[10015\]"),
        (LABELS[:0], 1, r"N of at least 1, not torch.int64 \[0\]"),
    ],
)
def test_bad_input_is_refused(labels, power, message):
    with pytest.raises(ValueError, match=message):
        _order(power, labels=labels)
