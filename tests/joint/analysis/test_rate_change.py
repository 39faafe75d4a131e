import json
import math

import pytest
import torch
from toys import densities_of, everywhere, spent_evenly

import compress
import joint
from joint.analysis.rate_change import rate_change
from joint.analysis.rate_map import REGIONS, rate_map

CLASSES = ("a", "b", "c")


def test_paired_change_between_two_systems(spending, disks):
    scenes = disks(
        24, draw=lambda away, g: 0.5 * (away > 0) + 0.2 * torch.rand(24, 1, 1, generator=g)
    )

    def inside(image):
        return 1 + (image[:, :1] < 0.3).float()

    before, after = (
        rate_map(joint.ImagingSystem(codec=spending(price)), scenes, resamples=50)
        for price in (spent_evenly, inside)
    )
    change = rate_change(before, after, resamples=200)
    assert change.pictures == 24
    rows = {(row.name, row.region): row for row in change.rows}
    assert len(rows) == 12
    for name in ("all", *CLASSES):
        for region in REGIONS:
            row = rows[name, region]
            assert row.before == pytest.approx(1)
            assert row.after == pytest.approx(densities_of(after, name)[region])
            assert row.change == pytest.approx(row.after - row.before)
            assert row.interval.low <= row.change <= row.interval.high
    assert rows["all", "lesion"].interval.low > 0.2
    assert rows["all", "background"].interval.high < 0
    # The same lesions are drawn for both: no change is none in every draw.
    none = rate_change(after, after, resamples=50)
    assert all(row.change == 0 and row.interval == (0, 0) for row in none.rows)
    summary = json.loads(json.dumps(change.to_dict(), allow_nan=False))
    assert summary["rows"][0]["change"] == change.rows[0].change
    assert "all      lesion" in str(change)


def test_change_pairs_pictures_by_name(disks):
    scenes = disks(12, draw=everywhere)
    system = joint.ImagingSystem(codec=compress.JPEG(50))
    whole = rate_map(system, scenes, resamples=5)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))[:9]
    part = rate_map(system, scenes.subset(order), resamples=5)
    change = rate_change(whole, part, resamples=20)
    assert change.pictures == 9
    assert all(row.change == 0 for row in change.rows)
    with pytest.raises(ValueError, match=r"differ in band \(3 and 2 pixels\) or classes"):
        rate_change(whole, rate_map(system, scenes, band=2, resamples=5))
    other = rate_map(system, scenes.subset(range(6)), resamples=5)
    rest = rate_map(system, scenes.subset(range(6, 12)), resamples=5)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        rate_change(whole, part, resamples=0)
    with pytest.raises(ValueError, match="no picture in common"):
        rate_change(other, rest)


def test_only_lesions_with_pixels_in_a_region_count_for_its_interval(spending, disks):
    scenes = disks(12, draw=everywhere)
    before, after = (
        rate_map(joint.ImagingSystem(codec=spending(price)), scenes, band=16, resamples=5)
        for price in (spent_evenly, lambda image: 1 + image[:, :1])
    )
    single = 0
    for row in rate_change(before, after, resamples=60).rows:
        pixels = before.areas[:, REGIONS.index(row.region)]
        lesions = {
            lesion
            for lesion, label, size in zip(before.groups, before.labels, pixels, strict=True)
            if size > 0 and row.name in ("all", CLASSES[label])
        }
        assert math.isnan(row.interval.low) == (len(lesions) < 2)
        single += len(lesions) == 1
    assert single
