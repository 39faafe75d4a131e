import json

import numpy as np
import pytest

from joint.analysis.contrast.change import contrast_change


def _data(count=200):
    random = np.random.default_rng(0)
    before = random.normal(1, 0.5, count)
    return before, [f"lesion{i // 2}" for i in range(count)]


def test_a_shift_of_all_is_found_without_an_error():
    before, groups = _data()
    found = contrast_change(before, before + 0.25, measure="gcnr", groups=groups, resamples=50)
    assert found.before == pytest.approx(np.median(before))
    assert found.change == pytest.approx(0.25)
    assert found.interval == pytest.approx((0.25, 0.25))  # the same lesions are drawn for both
    assert "+0.250 [+0.250, +0.250] (200 pictures, 0 without" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["interval"] == pytest.approx([0.25, 0.25])


def test_noise_alone_is_no_change():
    before, groups = _data()
    after = before + np.random.default_rng(1).normal(0, 0.3, 200)
    found = contrast_change(before, after, groups=groups, resamples=300)
    assert found.interval.low < 0 < found.interval.high
    assert found.interval.high - found.interval.low < 0.4
    assert found == contrast_change(before, after, groups=groups, resamples=300)
    assert found.unit == "lesions"


def test_a_change_of_five_lesions_has_no_interval():
    before, groups = _data(12)
    after = before + 0.1
    found = contrast_change(before, after, groups=groups, resamples=20)
    assert np.isfinite(found.interval).all()
    few = contrast_change(before[:10], after[:10], groups=groups[:10], resamples=20)
    assert np.isnan(few.interval).all()
    assert few.change == pytest.approx(0.1)


def test_pictures_without_a_value_are_counted_and_left_out():
    before, groups = _data(20)
    after = 2 * before
    before[3], after[7] = np.nan, np.nan
    found = contrast_change(before, after, groups=groups, resamples=20)
    kept = np.delete(np.arange(20), [3, 7])
    assert (found.pictures, found.undefined) == (18, 2)
    assert found.before == pytest.approx(np.median(before[kept]))
    assert found.after == pytest.approx(np.median(after[kept]))


def test_what_does_not_fit_is_refused():
    before, groups = _data(8)
    with pytest.raises(ValueError, match=r"one number for each picture, not \(8,\) and \(7,\)"):
        contrast_change(before, before[:7])
    with pytest.raises(ValueError, match="none of the 8 pictures has both values"):
        contrast_change(before, np.full(8, np.nan))
    for count in (7, 9):
        with pytest.raises(ValueError, match=f"8 rows need as many groups, not {count}"):
            contrast_change(before, before, groups=[str(k) for k in range(count)])
    with pytest.raises(ValueError, match="at least 2 lesions, got 1"):
        contrast_change(before[:2], before[:2], groups=groups[:2])
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        contrast_change(before, before, resamples=0)
