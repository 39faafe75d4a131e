import hashlib
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from classify.data import LESION_CLASSES, LesionDataset, Split, given_split, k_folds, split

SETTINGS = settings(deadline=None, max_examples=100)
PARTS = ("train", "validation", "test")


def make(labels, groups, classes=LESION_CLASSES):
    count = len(labels)
    return LesionDataset(
        images=torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
        labels=torch.as_tensor(labels),
        groups=list(map(str, groups)),
        identifiers=[f"image-{row}" for row in range(count)],
        classes=classes,
        fingerprint="made up",
    )


@st.composite
def datasets(draw, mixed=False, least=3):
    """Random lesions of 1 to 6 images; each of one class unless ``mixed``, ``least`` a class."""
    classes = draw(st.integers(2, 5))
    lesions = list(range(classes)) * least
    lesions += draw(st.lists(st.integers(0, classes - 1), max_size=60))
    labels, groups = [], []
    for group, label in enumerate(lesions):
        size = draw(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 6]))
        labels += [(label + k * mixed) % classes for k in range(size)]
        groups += [group] * size
    return make(labels, groups, [f"class-{label}" for label in range(classes)])


@st.composite
def shares(draw):
    """Two or three fractions of at least 5 % that sum to 1."""
    parts = draw(st.lists(st.integers(1, 12), min_size=2, max_size=3))
    return tuple(part / sum(parts) for part in parts)


def every(parts):
    return sorted(name for part in parts for name in part.identifiers)


def names(parts):
    return [sorted(part.identifiers) for part in parts]


@SETTINGS
@given(st.one_of(datasets(), datasets(mixed=True)), shares(), st.integers(0, 99))
def test_parts_are_disjoint_in_groups_and_complete(dataset, fractions, seed):
    parts = split(dataset, fractions, seed=seed)
    assert len(parts) == len(list(parts)) == len(fractions)
    groups = [set(part.groups) for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert every(parts) == sorted(dataset.identifiers)
    assert parts.shared_lesions == 0
    for part, index in zip(parts, parts.indices, strict=True):
        assert index.tolist() == sorted(index.tolist())
        assert dataset.subset(index).identifiers == part.identifiers


@SETTINGS
@given(datasets(), shares(), st.integers(0, 99))
def test_every_class_gets_its_share(dataset, fractions, seed):
    parts = split(dataset, fractions, seed=seed)
    largest = max(Counter(dataset.groups).values())
    for fraction, part in zip(fractions, parts, strict=True):
        # Lesions are dealt whole, and a class with few of them owes one to each part.
        off = (part.counts - fraction * dataset.counts).abs().max()
        assert off <= largest + 1


@SETTINGS
@given(datasets(), shares(), st.integers(0, 99))
def test_every_part_has_every_class(dataset, fractions, seed):
    parts = split(dataset, fractions, seed=seed)
    assert all((part.counts > 0).all() for part in parts)
    assert parts.absent == ()


@SETTINGS
@given(datasets(mixed=True), shares(), st.randoms(use_true_random=False))
def test_the_order_of_rows_is_of_no_account(dataset, fractions, random):
    order = list(range(len(dataset)))
    random.shuffle(order)
    for by in ("lesion", "image"):
        parts = split(dataset, fractions, by=by, seed=1)
        again = split(dataset.subset(order), fractions, by=by, seed=1)
        assert names(parts) == names(again)


@SETTINGS
@given(datasets(), shares(), st.integers(0, 99))
def test_split_by_image_is_stratified_and_counts_its_leak(dataset, fractions, seed):
    assume(min(fractions) * dataset.counts.min() > 0)
    parts = split(dataset, fractions, by="image", seed=seed)
    assert every(parts) == sorted(dataset.identifiers)
    for fraction, part in zip(fractions, parts, strict=True):
        assert (part.counts - fraction * dataset.counts).abs().max() <= 2
    known = set(parts.train.groups)
    leaked = [group in known for group in parts.test.groups]
    assert parts.shared_lesions == pytest.approx(np.mean(leaked))


def skin(count=2000, seed=0):
    """Lesions with the shares and the image counts of HAM10000."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(7, count, p=[0.031, 0.044, 0.097, 0.01, 0.082, 0.723, 0.013])
    size = rng.choice([1, 2, 3, 4, 5, 6], count, p=[0.738, 0.19, 0.066, 0.004, 0.001, 0.001])
    return make(np.repeat(kind, size), np.repeat(np.arange(count), size))


def share_error(dataset, part):
    return (part.counts / len(part) - dataset.counts / len(dataset)).abs().max().item()


def test_no_worse_than_scikit_learn():
    dataset = skin()
    labels, groups = dataset.labels.numpy(), np.array(dataset.groups)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    theirs = [
        share_error(dataset, dataset.subset(test))
        for _, test in folds.split(np.zeros(len(labels)), labels, groups)
    ]
    ours = [share_error(dataset, split(dataset, (0.8, 0.2), seed=seed).test) for seed in range(5)]
    assert max(ours) <= max(theirs)
    assert max(ours) < 0.002


def test_parts_are_like_each_other_in_images_per_lesion():
    dataset = skin()
    expected = len(dataset) / len(set(dataset.groups))
    for part in split(dataset):
        assert len(part) / len(set(part.groups)) == pytest.approx(expected, rel=0.02)


def test_seeds_give_other_parts_and_stay_what_they_were():
    dataset = skin(300)
    tests = [set(split(dataset, seed=seed).test.groups) for seed in range(20)]
    assert len({frozenset(test) for test in tests}) == 20
    # Every lesion that is alone in its size and class aside, each has its turn in the test part.
    overlap = np.mean([len(a & b) / len(a) for a, b in pairwise(tests)])
    assert overlap < 0.35
    assert names(split(dataset, seed=3)) == names(split(dataset, seed=3))


def patients(rng, count=100):
    """Patients, each of one class, who differ in how many pictures they have."""
    kind, size = rng.integers(2, size=count), rng.geometric(1 / 16, count)
    return make(np.repeat(kind, size), np.repeat(np.arange(count), size), ["a", "b"])


def test_seeds_give_other_parts_where_all_patients_have_other_numbers_of_pictures():
    dataset = make(np.repeat(np.arange(30) % 2, range(1, 31)), np.repeat(range(30), range(1, 31)))
    assert len({frozenset(k_folds(dataset, seed=seed)[0].test.groups) for seed in range(20)}) > 10
    dataset = patients(np.random.default_rng(0))
    tests = [set(split(dataset, seed=seed).test.groups) for seed in range(20)]
    assert len(set().union(*tests)) > 50  # of the 100; 19 in the order of exact sizes
    assert not set.intersection(*tests)


def test_parts_of_patients_of_all_sizes_have_their_shares():
    for seed in range(20):
        dataset = patients(np.random.default_rng(seed))
        largest = max(Counter(dataset.groups).values())
        for fraction, part in zip((0.7, 0.2, 0.1), split(dataset, seed=seed), strict=True):
            assert (part.counts - fraction * dataset.counts).abs().max() <= largest + 1
        for parts in k_folds(dataset, seed=seed):
            off = (parts.test.counts / len(parts.test) - dataset.counts / len(dataset)).abs().max()
            assert off <= (largest + 1) / len(parts.test)


def test_the_split_is_the_same_on_every_machine():
    dataset = make([0, 1] * 6, range(12))
    assert split(dataset).test.identifiers == ("image-6", "image-11")


def test_two_parts_are_training_and_test():
    dataset = skin(100)
    parts = split(dataset, (0.8, 0.2))
    train, test = parts
    assert parts.validation is None
    assert parts.train is train
    assert parts.test is test
    assert isinstance(parts, Split)
    train, validation, test = split(dataset)
    assert len(train) > len(validation) > len(test)


def test_mixed_groups_stay_close_to_their_shares():
    """Patients with lesions of several classes."""
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 400, 2000)
    dataset = make(rng.choice(7, 2000, p=[0.1, 0.1, 0.1, 0.05, 0.15, 0.45, 0.05]), groups)
    for part in split(dataset):
        assert share_error(dataset, part) < 0.02


def test_classes_with_too_few_lesions_are_reported():
    dataset = make([0, 0, 1, 1, 1, 1, 1], ["a", "a", "b", "c", "d", "e", "f"])
    parts = split(dataset, (0.5, 0.25, 0.25))
    assert parts.absent == (("akiec", "validation"), ("akiec", "test"))
    assert "akiec is absent from test: too few lesions" in str(parts)


def test_table():
    parts = split(skin(300), (0.8, 0.2), by="image", seed=4)
    text = str(parts)
    lines = text.splitlines()
    assert lines[0].split() == ["pictures", "lesions", *LESION_CLASSES]
    assert [line.split()[0] for line in lines[1:3]] == ["train", "test"]
    cells = [len(parts.test), len(set(parts.test.groups)), *parts.test.counts.tolist()]
    assert lines[2].split()[1:] == list(map(str, cells))
    assert len({len(line) for line in lines[:3]}) == 1
    assert f"split by image, seed 4: {parts.shared_lesions:.1%} of the test pictures share" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.7, 0.2, 0.2)}, r"must sum to 1, but \(0.7, 0.2, 0.2\) sum to 1.1"),
        ({"fractions": (0.8, 0.2, 0.0)}, r"fractions must be positive, got \(0.8, 0.2, 0.0\)"),
        ({"fractions": (1.5, -0.5)}, "fractions must be positive"),
        ({"fractions": (float("nan"), 0.5)}, "fractions must be positive"),
        ({"fractions": (1.0,)}, "two .* or three .* numbers, got"),
        ({"fractions": (0.25,) * 4}, "two .* or three .* numbers, got"),
        ({"fractions": 0.8}, "two .* or three .* numbers, got 0.8"),
        ({"fractions": "a"}, "two .* or three .* numbers, got 'a'"),
        ({"fractions": {"train": 0.8, "test": 0.2}}, "two .* or three .* numbers, got {'train'"),
        ({"by": "patient"}, "by must be 'lesion' or 'image', got 'patient'"),
        ({"method": "random"}, "method must be 'balanced' or 'hash', got 'random'"),
        ({"seed": 0.5}, "seed must be an integer, got 0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        split(skin(30), **options)


def test_one_class_cannot_be_split():
    with pytest.raises(ValueError, match=r"only one class \(akiec\); it cannot train a"):
        split(make([0] * 9, range(9)))


def test_too_few_groups():
    with pytest.raises(ValueError, match=r"2 pictures of 2 groups are too few .* have 2, 0, 0"):
        split(make([0, 1], range(2)))


@pytest.mark.parametrize(
    ("lesions", "fractions", "sizes"),
    [
        # One of each two for training; of the others two thirds and one third: 6.7 and 3.3.
        ([2] * 10, (0.7, 0.2, 0.1), [10, 7, 3]),
        ([2, 2], (0.5, 0.25, 0.25), [2, 1, 1]),
        ([1] * 6, (0.6, 0.2, 0.2), [4, 1, 1]),
        ([2, 1], (0.7, 0.2, 0.1), [1, 1, 1]),
    ],
)
def test_classes_of_few_lesions_fill_all_parts_together(lesions, fractions, sizes):
    labels = np.repeat(range(len(lesions)), lesions)
    dataset = make(labels, range(len(labels)), range(len(lesions)))
    for seed in range(3):
        parts = split(dataset, fractions, seed=seed)
        assert list(map(len, parts)) == sizes
        assert all(part.counts.max() == 1 for part in parts)  # no class has both in one


@pytest.mark.filterwarnings("ignore:each of the .* classes lies in one")  # so few groups
@pytest.mark.parametrize("mixed", [False, True])
@settings(deadline=None, max_examples=80)
@given(data=st.data(), seed=st.integers(0, 99))
def test_as_many_groups_as_parts_are_enough(mixed, data, seed):
    dataset = data.draw(datasets(mixed=mixed, least=1))
    fractions = data.draw(shares())
    assume(len(set(dataset.groups)) >= len(fractions))
    assert all(map(len, split(dataset, fractions, seed=seed)))


def test_only_the_part_of_a_subset_is_split():
    dataset = skin(200)
    some = dataset.subset(range(0, len(dataset), 3))
    assert every(split(some)) == sorted(some.identifiers)


def test_many_group_structures():
    rng = np.random.default_rng(0)
    for seed in range(120):
        lesions = int(rng.integers(24, 40))
        sizes = rng.choice([1, 2, 3, 6], lesions)
        groups = np.repeat(np.arange(lesions), sizes)
        dataset = make(np.repeat(rng.permutation(lesions) % 3, sizes), groups, ["a", "b", "c"])
        method = ("balanced", "hash")[seed % 2]
        for parts in (split(dataset, (0.5, 0.5), seed=seed, method=method), *k_folds(dataset, 3)):
            assert every(parts) == sorted(dataset.identifiers)
            assert not set(parts.train.groups) & set(parts.test.groups)


# ------------------------------------------------------------------------------------------ hash


@SETTINGS
@given(st.integers(0, 99), st.integers(0, 2**32), st.data())
def test_hashed_groups_stay_when_others_come_and_go(seed, salt, data):
    count = 120
    dataset = make(
        [row % 3 for row in range(count)], [f"{salt}-{row // 2}" for row in range(count)]
    )
    kept = data.draw(st.lists(st.integers(0, count - 1), min_size=60, max_size=119, unique=True))
    some = dataset.subset(kept)
    assume((some.counts > 0).sum() > 1)
    try:
        before = split(some, (0.6, 0.2, 0.2), seed=seed, method="hash")
        after = split(dataset, (0.6, 0.2, 0.2), seed=seed, method="hash")
    except ValueError:  # a part that happens to be empty
        assume(False)
        raise
    for old, new in zip(before, after, strict=True):
        assert set(old.identifiers) == set(new.identifiers) & set(some.identifiers)
    assert after.shared_lesions == 0


def test_balanced_groups_do_move():
    # What the hash is there for.
    dataset = skin(300)
    some = dataset.subset(range(len(dataset) - 40))
    old, new = split(some).test, split(dataset).test
    assert set(old.identifiers) != set(new.identifiers) & set(some.identifiers)


def test_hashed_parts_are_right_on_average():
    dataset = skin(2000)
    sizes = Counter(dataset.groups).values()
    shares = (0.7, 0.2, 0.1)
    totals = np.zeros((3, 7))
    for seed in range(30):
        parts = split(dataset, shares, seed=seed, method="hash")
        totals += np.array([part.counts.numpy() for part in parts])
        for share, part in zip(shares, parts, strict=True):
            deviation = np.sqrt(share * (1 - share) * sum(size**2 for size in sizes))
            assert abs(len(part) - share * len(dataset)) < 4.5 * deviation
    labels = dataset.labels.numpy()
    for label in range(7):
        squares = sum(n**2 for n in Counter(np.array(dataset.groups)[labels == label]).values())
        for row, share in enumerate(shares):
            deviation = np.sqrt(share * (1 - share) * squares * 30)
            expected = 30 * share * int(dataset.counts[label])
            assert abs(totals[row, label] - expected) < 4.5 * deviation


def test_a_larger_training_share_takes_nothing_away_from_it():
    dataset = skin(500)
    small = split(dataset, (0.5, 0.3, 0.2), method="hash").train
    large = split(dataset, (0.8, 0.1, 0.1), method="hash").train
    assert set(small.identifiers) < set(large.identifiers)


def test_the_hash_is_the_same_on_every_machine():
    dataset = make([0, 1] * 6, range(12))
    parts = split(dataset, (0.5, 0.5), method="hash")
    digests = {row: hashlib.sha256(f"0:{row}".encode()).digest()[0] for row in range(12)}
    expected = [f"image-{row}" for row, first in digests.items() if first >= 128]
    assert list(parts.test.identifiers) == expected
    assert "split by lesion and its hash, seed 0: every picture" in str(parts)


def test_hashing_too_few_groups():
    with pytest.raises(ValueError, match=r"2 pictures of 2 groups are too few for the fractions"):
        split(make([0, 1], range(2)), method="hash")


# ----------------------------------------------------------------------------------------- folds


@SETTINGS
@given(
    st.one_of(datasets(least=6), datasets(mixed=True, least=6)), st.integers(3, 6), st.booleans()
)
def test_folds_test_each_image_once_and_divide_no_group(dataset, folds, validation):
    splits = k_folds(dataset, folds, validation=validation)
    assert len(splits) == folds
    assert sorted(name for parts in splits for name in parts.test.identifiers) == sorted(
        dataset.identifiers
    )
    for number, parts in enumerate(splits):
        assert parts.fold == (number, folds)
        assert len(parts) == 2 + validation
        groups = [set(part.groups) for part in parts]
        assert sum(map(len, groups)) == len(set().union(*groups))
        assert every(parts) == sorted(dataset.identifiers)
        if validation:
            following = splits[(number + 1) % folds].test
            assert parts.parts["validation"].identifiers == following.identifiers
        for part, index in zip(parts, parts.indices, strict=True):
            assert dataset.subset(index).identifiers == part.identifiers


@SETTINGS
@given(datasets(least=6), st.integers(2, 6), st.integers(0, 99))
def test_folds_keep_the_share_of_every_class(dataset, folds, seed):
    largest = max(Counter(dataset.groups).values())
    for parts in k_folds(dataset, folds, seed=seed):
        assert (parts.test.counts > 0).all()
        off = (parts.test.counts / len(parts.test) - dataset.counts / len(dataset)).abs().max()
        assert off <= (largest + 1) / len(parts.test)


@SETTINGS
@given(datasets(mixed=True, least=6), st.integers(2, 6), st.randoms(use_true_random=False))
def test_folds_do_not_ask_for_the_order_of_rows(dataset, folds, random):
    order = list(range(len(dataset)))
    random.shuffle(order)
    for by in ("lesion", "image"):
        first = k_folds(dataset, folds, by=by, seed=1)
        second = k_folds(dataset.subset(order), folds, by=by, seed=1)
        assert [names(parts) for parts in first] == [names(parts) for parts in second]


def test_folds_no_worse_than_scikit_learn():
    dataset = skin()
    labels, groups = dataset.labels.numpy(), np.array(dataset.groups)
    theirs = [
        share_error(dataset, dataset.subset(test))
        for _, test in StratifiedGroupKFold(10, shuffle=True, random_state=0).split(
            np.zeros(len(labels)), labels, groups
        )
    ]
    ours = [share_error(dataset, parts.test) for parts in k_folds(dataset, 10)]
    assert max(ours) <= max(theirs)
    assert max(ours) < 0.004


def test_other_seeds_give_other_folds():
    dataset = skin(300)
    tests = {frozenset(k_folds(dataset, seed=seed)[0].test.groups) for seed in range(10)}
    assert len(tests) == 10


def test_folds_by_image_leak_and_say_so():
    dataset = skin(300)
    text = str(k_folds(dataset, 5, by="image", seed=2)[3])
    assert "fold 3 of 5 by image, seed 2: " in text
    assert "0.0% of the test" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, r"folds must be an integer of at least 2 \(train, test\), got 1"),
        ({"folds": 2, "validation": True}, r"at least 3 \(train, validation, test\), got 2"),
        ({"folds": 5.0}, r"folds must be an integer of at least 2 .*, got 5.0"),
        ({"folds": True}, r"folds must be an integer of at least 2 .*, got True"),
        ({"by": "patient"}, "by must be 'lesion' or 'image', got 'patient'"),
        ({"seed": "x"}, "seed must be an integer, got 'x'"),
    ],
)
def test_bad_folds(options, message):
    with pytest.raises(ValueError, match=message):
        k_folds(skin(30), **options)


def test_more_folds_than_groups():
    with pytest.raises(
        ValueError, match=r"4 pictures are too few, .* for 3 folds: .* 2, 2, 0; ask"
    ):
        k_folds(make([0, 0, 1, 1], ["a", "a", "b", "b"]), 3)
    with pytest.raises(ValueError, match="only one class"):
        k_folds(make([0] * 9, range(9)))


@pytest.mark.ham10000
def test_real_split_by_lesion(real):
    parts = split(real)
    for fraction, part in zip((0.7, 0.2, 0.1), parts, strict=True):
        assert share_error(real, part) < 0.002
        assert len(part) == pytest.approx(fraction * 10015, abs=4)
        assert (part.counts > 0).all()
    assert parts.shared_lesions == 0


@pytest.mark.ham10000
@pytest.mark.parametrize("seed", range(3))
def test_real_split_by_image_leaks(real, seed):
    parts = split(real, (0.8, 0.2), by="image", seed=seed)
    assert parts.shared_lesions == pytest.approx(0.388, abs=0.015)
    known = set(parts.train.groups)
    melanoma = parts.test.subset(parts.test.labels == LESION_CLASSES.index("mel"))
    leak = np.mean([group in known for group in melanoma.groups])
    assert leak == pytest.approx(0.67, abs=0.05)


@pytest.mark.ham10000
@pytest.mark.parametrize("folds", [5, 10])
def test_real_folds(real, folds):
    splits = k_folds(real, folds)
    assert sum(len(parts.test) for parts in splits) == 10015
    for parts in splits:
        # scikit-learn's StratifiedGroupKFold reaches 0.001, two images in a fold of ten.
        assert share_error(real, parts.test) < 0.001
        assert parts.shared_lesions == 0
        assert (parts.test.counts > 0).all()


@pytest.mark.ham10000
def test_real_hash_split(real):
    parts = split(real, (0.8, 0.2), method="hash")
    assert parts.shared_lesions == 0
    # 7452 lesions of 1.8 squared images on average: 0.4 * sqrt(7452 * 2.3) = 52 images.
    assert len(parts.test) == pytest.approx(2003, abs=4 * 52)


def test_a_split_of_pictures_on_their_own_claims_nothing():
    labels = [0, 1] * 30
    alone = str(split(make(labels, range(60)), (0.5, 0.5)))
    assert "every picture is a group of its own, so that no lesion can be shared" in alone
    pairs = str(split(make(labels, np.arange(60) // 2), (0.5, 0.5)))
    assert "0.0% of the test pictures share their lesion with training" in pairs
    # In each part on its own, and yet of one lesion: in training and in validation.
    train, validation, test = (make([0, 1], groups) for groups in ((0, 1), (0, 2), (3, 4)))
    rows = tuple(torch.tensor(pair) for pair in ((0, 1), (2, 3), (4, 5)))
    apart = Split(train, validation, test, indices=rows, by="image", seed=0)
    assert "0.0% of the test pictures share their lesion with training" in str(apart)


@pytest.mark.parametrize("divide", [split, k_folds])
def test_groups_as_coarse_as_the_labels_are_told(divide):
    labels = [0, 1, 2, 3, 4] * 12
    of_label, of_side = [f"dx-{k}" for k in labels], ["case" if k == 4 else "no" for k in labels]
    options = {"fractions": (0.5, 0.5)} if divide is split else {"folds": 2}
    for groups, told in (
        (of_label, r"only 5 groups \(dx-0, dx-1, dx-2 and 2 more\)"),
        (of_side, r"only 2 groups \(case, no\)"),
    ):
        with pytest.warns(UserWarning, match=rf"each of the 5 classes lies in one of {told}"):
            divide(make(labels, groups), **options)
        divide(make(labels, groups), by="image", **options)
    # Warnings are errors here: of a group that mixes, and of one more group of a class.
    for row, group in ((0, "dx-1"), (0, "new")):
        divide(make(labels, [group if k == row else g for k, g in enumerate(of_label)]), **options)


def test_integers_of_numpy_are_integers():
    dataset = make([0, 1] * 10, range(20), ("a", "b"))
    made, plain = split(dataset, seed=np.int64(2)), split(dataset, seed=2)
    assert made.test.identifiers == plain.test.identifiers
    assert type(made.seed) is int
    made, plain = k_folds(dataset, np.int64(3), seed=np.int32(1)), k_folds(dataset, 3, seed=1)
    assert [fold.test.identifiers for fold in made] == [fold.test.identifiers for fold in plain]
    with pytest.raises(ValueError, match="seed must be an integer, got True"):
        split(dataset, seed=True)


WORDS = {"train": ("train", "Training"), "validation": ("val", "VALID", "validation"),
         "test": ("test", " Test")}  # fmt: skip


@SETTINGS
@given(datasets(), st.data())
def test_a_split_that_is_given_is_taken(dataset, data):
    divided = split(dataset, seed=data.draw(st.integers(0, 9)))
    words = [""] * len(dataset)
    for name, index in zip(PARTS, divided.indices, strict=True):
        for row in index.tolist():
            words[row] = data.draw(st.sampled_from(WORDS[name]))
    for given_words in (words, np.array(words)):
        parts = given_split(dataset, given_words)
        assert (parts.method, parts.by, parts.fold) == ("given", "lesion", None)
        assert all(map(torch.equal, parts.indices, divided.indices))
        assert [part.identifiers for part in parts] == [part.identifiers for part in divided]
        assert "split as it was given: " in str(parts)
        assert "too few lesions" not in str(parts)
        assert "seed" not in str(parts)


def test_a_split_that_is_given_may_be_in_two():
    dataset = make([0, 1, 0, 1], range(4))
    parts = given_split(dataset, ["test", "train", "train", "train"])
    assert (len(parts), parts.validation, parts.test.identifiers) == (2, None, ("image-0",))
    assert parts.train.identifiers == ("image-1", "image-2", "image-3")
    assert "mel is absent" not in str(parts)
    assert str(parts).endswith("bcc is absent from test")


def test_a_lesion_in_two_given_parts_is_told():
    dataset = make([0, 1, 0, 1, 0, 1], ["a", "b", "a", "c", "d", "b"])
    with pytest.warns(UserWarning, match=r"^2 of 4 lesions .* in more than one part .*: a, b; "):
        parts = given_split(dataset, ["train", "train", "val", "val", "test", "test"])
    assert parts.by == "image"
    assert parts.shared_lesions == 0.5


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train", "val", "holdout", ""], "were given: 'holdout' \\(1 times\\), '' \\(1 times"),
        (np.array([0, 1, 2, 2]), "were given: '2' \\(2 times\\), '0'"),
        (["train", "val", "test"], "parts needs 4 words, one for each image, got 3"),
        (None, "parts needs 4 words, one for each image, got None"),
        ("part", "parts needs 4 words, one for each image, got 'part'"),
        (["train", "val", "train", "val"], "no picture is in the test part: parts has train, v"),
        (["test", "val", "test", "val"], "no picture is in the train part: parts has test, val"),
    ],
)
def test_what_names_no_parts_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        given_split(make([0, 1, 0, 1], range(4)), parts)


def test_the_whole_is_what_was_divided_in_its_order():
    dataset = make(np.arange(40) % 4, range(40))
    shuffled = dataset.subset(np.random.default_rng(0).permutation(40)[:31])
    words = ["test", "train", "val"] * 11
    for divided in (dataset, shuffled):
        parts = [split(divided, seed=3), given_split(divided, (words * 2)[: len(divided)])]
        for each in [*parts, *pickle.loads(pickle.dumps(parts))]:
            assert each.whole.identifiers == divided.identifiers
            assert torch.equal(each.whole.labels, divided.labels)
            assert each.whole.fingerprint == divided.fingerprint
    assert split(shuffled, (0.6, 0.4)).whole.identifiers == shuffled.identifiers


def test_parts_of_several_data_sets_have_no_whole():
    parts, others = (split(make(np.arange(40) % 4, range(40))) for _ in range(2))
    mixed = Split(parts.train, parts.validation, others.test, parts.indices, "lesion", 0)
    assert mixed.whole is None
    # Nor have parts that are no longer all of what their rows say.
    fewer = Split(
        parts.train.subset([0, 1, 2]), parts.validation, parts.test, parts.indices, "lesion", 0
    )
    assert fewer.whole is None


def test_a_given_split_is_refused_where_it_was_asked_for():
    dataset = make([0, 1, 0, 1], range(4))
    with pytest.raises(ValueError, match="parts needs 4 words, one for each image, got 5"):
        given_split(dataset, ["train", "test", "train", "test", "train"])
    with pytest.raises(ValueError, match="only one class"):
        given_split(make([1, 1], range(2)), ["train", "test"])
    with pytest.raises(TypeError, match=r"must be a classify\.LesionDataset, not list"):
        given_split(["a", "b"], ["train", "test"])
    with pytest.warns(UserWarning, match="in more than one part") as caught:
        given_split(make([0, 1, 0, 1], [0, 1, 0, 2]), ["train", "train", "test", "test"])
    assert caught[0].filename == __file__
