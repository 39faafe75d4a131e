import threading

import numpy as np
import torch

from classify import LesionDataset
from joint.feed import (
    _RESIDENT_SHARE,
    Feed,
    _fits,
    as_scenes,
    derive_seed,
    generators,
    uniforms,
)

CPU = torch.device("cpu")


def test_batches_are_the_rows_asked_for(lesions):
    rows = torch.randperm(48, generator=torch.Generator().manual_seed(0)).split(10)
    for resident in (False, True, None):
        feed = Feed(lesions, CPU, resident=resident)
        assert feed.resident == bool(resident)
        shown = list(feed.batches(rows))
        assert len(shown) == len(rows)
        for index, (scenes, labels) in zip(rows, shown, strict=True):
            expected = lesions.gather(index)
            assert torch.equal(scenes, expected.images / 255.0)
            assert torch.equal(labels, expected.labels)


def test_codes_of_16_bits_become_the_light_that_they_are(lesions):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**16, (48, 2, 5, 7)).astype(np.uint16)
    deep = LesionDataset(
        images=codes,
        labels=lesions.labels,
        groups=lesions.groups,
        identifiers=lesions.identifiers,
    )
    rows = torch.randperm(48, generator=torch.Generator().manual_seed(0)).split(10)
    for resident in (False, True):
        shown = list(Feed(deep, CPU, resident=resident).batches(rows))
        for index, (scenes, _) in zip(rows, shown, strict=True):
            expected = codes[index].astype(np.float64) / 65535
            np.testing.assert_allclose(scenes.numpy(), expected, rtol=2e-7)


def test_another_device_is_fed_one_batch_ahead_in_the_same_order(lesions, monkeypatch):
    asked, taken = [], []
    gather = type(lesions).gather
    monkeypatch.setattr(
        type(lesions), "gather", lambda self, index: (asked.append(index), gather(self, index))[1]
    )
    feed = Feed(lesions, torch.device("meta"))
    assert not feed.resident
    rows = torch.arange(48).split(20)
    for scenes, labels in feed.batches(rows):
        assert scenes.device.type == labels.device.type == "meta"
        assert scenes.dtype == torch.float32
        taken.append(len(scenes))
    assert taken == [20, 20, 8]
    assert all(torch.equal(a, b) for a, b in zip(asked, rows, strict=True))
    assert list(feed.batches([])) == []


def test_pictures_stay_on_a_device_that_has_room_for_all_their_bytes(lesions, monkeypatch):
    deep = LesionDataset(
        images=np.zeros((48, 2, 5, 7), np.uint16),
        labels=lesions.labels,
        groups=lesions.groups,
        identifiers=lesions.identifiers,
    )
    for dataset, size in ((lesions, 48 * 3 * 16 * 16), (deep, 48 * 2 * 5 * 7 * 2)):
        for free, fits in ((size / _RESIDENT_SHARE + 1, True), (size / _RESIDENT_SHARE - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
            assert _fits(dataset, torch.device("cuda")) is fits


def test_seeds_follow_the_names_and_spread(lesions):
    feed = Feed(lesions, CPU)
    seeds = feed.seeds(7, "noise", 3)
    assert seeds.dtype == np.uint64
    assert len(set(seeds.tolist())) == len(lesions)
    assert (seeds < 2**63).all()
    part = Feed(lesions.subset([5, 2, 40]), CPU)
    assert np.array_equal(part.seeds(7, "noise", 3), seeds[[5, 2, 40]])
    for other in (feed.seeds(7, "noise", 4), feed.seeds(7, "view", 3), feed.seeds(8, "noise", 3)):
        assert not np.isin(other, seeds).any()
    # Half of the bits differ from one picture to another, and from one epoch to the next.
    for one, two in ((seeds[:-1], seeds[1:]), (seeds, feed.seeds(7, "noise", 4))):
        changed = np.unpackbits((one ^ two).view(np.uint8)).mean() * 64 / 63
        assert abs(changed - 0.5) < 4 * 0.5 / (63 * len(one)) ** 0.5


def test_a_repeated_row_has_other_seeds(lesions):
    feed = Feed(lesions, CPU)
    rows = torch.tensor([3, 9, 3, 3, 1])
    seeds = feed.drawn_seeds(rows, 0)
    assert len(set(seeds.tolist())) == 5
    assert np.array_equal(feed.drawn_seeds(torch.tensor([1, 3, 3]), 0), seeds[[4, 0, 2]])


def test_what_is_shown_is_the_rows_with_noise_that_can_be_asked_for_again(lesions):
    feed = Feed(lesions, torch.device("cpu"))
    rows = [torch.tensor([5, 2]), torch.tensor([7])]
    first, last = feed.shown(rows, seed=3)
    assert torch.equal(first.rows, rows[0])
    assert torch.equal(first.scenes, as_scenes(lesions.gather(rows[0]), feed.device)[0])
    assert first.labels.tolist() == lesions.targets[rows[0]].tolist()
    assert [each.initial_seed() for each in last.noise] == feed.seeds(3, "evaluate")[[7]].tolist()
    drawn = [torch.rand(2, generator=each) for each in first.noise]
    again = [torch.rand(2, generator=each) for each in first.noise]
    assert torch.equal(torch.stack(drawn), torch.stack(again))


def test_generators_start_from_their_seeds():
    drawn = [torch.rand(1, generator=g) for g in generators(np.array([3, 4], np.uint64), CPU)]
    assert drawn == [torch.rand(1, generator=torch.Generator().manual_seed(s)) for s in (3, 4)]
    assert derive_seed(1, "a") == derive_seed(1, "a") != derive_seed(1, "b")


def test_uniform_numbers_are_those_of_splitmix64():
    # The first outputs for the seeds 0 and 1234567, of Vigna's reference implementation.
    published = [
        [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
        [0x599ED017FB08FC85, 0x2C73F08458540FA5, 0x883EBCE5A3F27C77],
    ]
    wanted = [[(bits >> 40) / 2**24 for bits in line] for line in published]
    assert uniforms(np.array([0, 1234567], dtype=np.uint64), 3).tolist() == wanted
    many = uniforms(np.arange(2000, dtype=np.uint64), 20)
    assert many.dtype == torch.float32
    assert 0 <= many.min() < many.max() < 1
    assert np.abs(np.histogram(many.numpy(), 50, (0, 1))[0] - 800).max() < 4.5 * 800**0.5
    between = np.corrcoef(many.numpy().T) - np.eye(20)
    assert np.abs(between).max() < 4.5 / 2000**0.5


def test_the_next_batch_is_gathered_while_one_is_used_and_none_where_all_are_held(
    lesions, monkeypatch
):
    second, asked, gather = threading.Event(), [], type(lesions).gather

    def noted(self, index):
        asked.append(len(index))
        if len(asked) == 2:
            second.set()
        return gather(self, index)

    monkeypatch.setattr(type(lesions), "gather", noted)
    rows = torch.arange(48).split(20)
    batches = Feed(lesions, torch.device("meta")).batches(rows)
    next(batches)
    assert second.wait(60)  # before anybody asks for it
    batches.close()
    asked.clear()
    held = Feed(lesions, torch.device("meta"), resident=True)
    assert [scenes.shape for scenes, _ in held.batches(rows)] == [
        (20, 3, 16, 16), (20, 3, 16, 16), (8, 3, 16, 16),
    ]  # fmt: skip
    assert asked == [48]
