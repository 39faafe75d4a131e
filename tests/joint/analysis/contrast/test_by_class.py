import json

import numpy as np
import pytest
import torch

from joint.analysis import contrast_by_class

CLASSES = ("a", "b", "c", "d")


def test_medians_and_quartiles_by_class(mistaken):
    values, labels, _, groups = mistaken()
    values[[3, 11, 12]] = np.nan
    table = contrast_by_class(
        values, labels, classes=CLASSES, measure="gcnr", groups=groups, resamples=300
    )
    assert table.unit == "lesions"
    for k, row in enumerate(table.classes):
        own = values[(labels == k) & ~np.isnan(values)]
        assert row.name == CLASSES[k]
        assert row.pictures == len(own)
        assert row.undefined == (labels[[3, 11, 12]] == k).sum()
        assert (row.lower, row.median, row.upper) == tuple(np.quantile(own, (0.25, 0.5, 0.75)))
        assert row.interval.low <= row.median <= row.interval.high
        # Near the interval of a median of normal values, 1.96 * 1.25 * 0.1 / sqrt(n).
        half = 1.96 * 1.2533 * 0.1 / np.sqrt(len(own))
        assert 0.4 < (row.interval.high - row.interval.low) / (2 * half) < 2


def test_more_pictures_of_the_same_lesions_are_no_evidence(mistaken):
    values, labels, _, groups = mistaken(80)
    twice = [np.repeat(a, 2) for a in (values, labels)]
    names = [name for name in groups for _ in range(2)]

    def width(interval):
        return interval.high - interval.low

    once = contrast_by_class(values, labels, classes=CLASSES, groups=groups)
    again = contrast_by_class(*twice, classes=CLASSES, groups=names)
    alone = contrast_by_class(*twice, classes=CLASSES)
    assert [r.interval for r in once.classes] == [r.interval for r in again.classes]
    assert alone.unit == "pictures"
    assert np.mean([width(r.interval) for r in alone.classes]) < 0.85 * np.mean(
        [width(r.interval) for r in once.classes]
    )


def test_a_class_without_values_or_with_one_lesion_has_no_interval():
    values = np.array([0.1, 0.2, np.nan, 0.5, 0.6, 0.7])
    labels = np.array([0, 0, 1, 2, 2, 2])
    groups = ["x", "y", "z", "u", "u", "u"]
    table = contrast_by_class(values, labels, classes=CLASSES, groups=groups, resamples=50)
    none, one, absent = table.classes[1:]
    assert (none.pictures, none.undefined) == (0, 1)
    assert (absent.pictures, absent.undefined) == (0, 0)
    assert np.isnan(none.median)
    assert one.median == 0.6
    for row in (none, one, absent):
        assert np.isnan(row.interval.low)
    summary = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert summary["classes"][1]["median"] is None
    assert summary["classes"][0]["median"] == pytest.approx(0.15)


def test_a_median_of_few_lesions_has_no_interval():
    # All of five lie on one side of their median in 1 case of 16, which is more than 5 %.
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [5, 6, 12])
    values = random.normal(size=23)
    options = {"classes": CLASSES[:3], "resamples": 50}
    rows = contrast_by_class(values, labels, **options).classes
    assert [bool(np.isnan(row.interval).all()) for row in rows] == [True, False, False]
    assert np.isfinite([row.median for row in rows]).all()
    rows = contrast_by_class(values, labels, level=0.9, **options).classes
    assert np.isfinite([row.interval for row in rows]).all()
    # Two pictures of each lesion are no more of them.
    groups = [f"{i // 2}" for i in range(12)]
    rows = contrast_by_class(
        values[11:], np.r_[[0] * 8, [1] * 4], classes=CLASSES[:2], groups=groups, resamples=50
    ).classes
    assert all(np.isnan(row.interval).all() for row in rows)


def test_the_table_is_printed(mistaken):
    values, labels, _, groups = mistaken(40)
    table = contrast_by_class(
        values, labels, classes=CLASSES, measure="gcnr", groups=groups, resamples=20
    )
    assert "gcnr: medians, 95 % intervals over lesions" in str(table)
    assert f"a            10 {table.classes[0].median:8.3f}" in str(table)


def test_draws_come_from_the_generator(mistaken):
    values, labels, _, groups = mistaken(80)

    def table(seed):
        generator = torch.Generator().manual_seed(seed)
        return contrast_by_class(
            values, labels, classes=CLASSES, groups=groups, resamples=50, generator=generator
        )

    assert table(1) == table(1)
    assert table(1) != table(2)


def test_what_does_not_fit_is_refused(mistaken):
    values, labels, *_ = mistaken(16)
    with pytest.raises(ValueError, match=r"values must be one number for each picture \[N\]"):
        contrast_by_class(values[None], labels, classes=CLASSES)
    with pytest.raises(ValueError, match="labels must be 16 integers, one for each value"):
        contrast_by_class(values, labels[:3], classes=CLASSES)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1 for the classes a, b, not in"):
        contrast_by_class(values, labels, classes=("a", "b"))
    with pytest.raises(ValueError, match="none of the 16 pictures has a value"):
        contrast_by_class(np.full(16, np.nan), labels, classes=CLASSES)
    with pytest.raises(ValueError, match="at least 2 lesions, got 1"):
        contrast_by_class(values, labels, classes=CLASSES, groups=["one"] * 16)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        contrast_by_class(values, labels, classes=CLASSES, resamples=0)
