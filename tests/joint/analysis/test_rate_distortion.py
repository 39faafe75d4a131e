import itertools
import json

import numpy as np
import pytest

import compress
from joint.analysis import rate_distortion
from joint.picture.measure import MeasuredCodec, MeasuredPictures

SETTINGS = 5


def _measured(count=6, *, factors=(1.0, 0.8), exact=(), seed=0):
    """Pictures of several sizes and codecs whose bits are about a factor of those of the first."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(500, 4000, count).astype(float)
    hard = rng.lognormal(0, 0.5, (count, 1))
    steps = 2.0 ** np.arange(SETTINGS)
    codecs = []
    for place, factor in enumerate(factors):
        luck = rng.lognormal(0, 0.1, (count, 1))
        size = np.round(pixels[:, None] * 0.05 * steps * hard * factor * luck)
        mse = np.outer(rng.lognormal(0, 0.3, count), 1e-2 / steps**1.3)
        mse[:, list(exact)] = 0
        ssim = 1 - 5 * mse
        codecs.append(
            MeasuredCodec(f"c{place}", "quality", tuple(range(SETTINGS)), size, mse, ssim, ssim**2)
        )
    names = tuple(f"{place}.png" for place in range(count))
    return MeasuredPictures(names, pixels, 3, tuple(codecs), ())


def _pooled(measured, codec, chosen):
    """Rate and PSNR at each setting, by hand."""
    pixels = measured.pixels[chosen]
    rate = 8 * codec.size[chosen].sum(0) / pixels.sum()
    mse = (codec.mse[chosen] * pixels[:, None]).sum(0) / pixels.sum()
    return rate, 10 * np.log10(1 / mse)


def test_rates_and_errors_are_pooled_over_pixels():
    measured = _measured()
    found = rate_distortion(measured)
    assert (found.pictures, found.pixels) == (6, int(measured.pixels.sum()))
    assert (found.anchor, found.metric) == ("c0", "psnr")
    for curve, codec in zip(found.curves, measured.codecs, strict=True):
        rate, psnr = _pooled(measured, codec, np.arange(6))
        assert [each.bpp for each in curve.points] == pytest.approx(rate)
        assert [each.psnr for each in curve.points] == pytest.approx(psnr)
        weighted = np.average(codec.ssim, axis=0, weights=measured.pixels)
        assert [each.ssim for each in curve.points] == pytest.approx(weighted)
        assert [each.value for each in curve.points] == [*range(SETTINGS)]


def test_the_interval_is_that_of_every_half_of_the_pictures():
    """Six pictures have 63 halves, which cut the line into 64 parts; 95 % leave out the ends."""
    measured = _measured()
    (difference,) = rate_distortion(measured).differences

    def bd_rate(chosen):
        one, other = (_pooled(measured, codec, list(chosen)) for codec in measured.codecs)
        return compress.bd_rate(*one, *other, minimum_overlap=0.3)

    assert difference.rate == pytest.approx(bd_rate(range(6)))
    halves = [
        bd_rate(chosen) for size in range(1, 7) for chosen in itertools.combinations(range(6), size)
    ]
    assert difference.rate_interval == pytest.approx((min(halves), max(halves)))
    assert difference.rate_known == 1


def test_the_same_files_differ_by_nothing_and_half_of_them_by_half():
    measured = _measured(factors=(1.0,))
    (codec,) = measured.codecs
    half = MeasuredCodec(
        "half", codec.setting, codec.values, codec.size / 2, codec.mse, codec.ssim, codec.ms_ssim
    )
    both = MeasuredPictures(measured.names, measured.pixels, 3, (codec, half), ())
    for metric in ("psnr", "ssim", "ms_ssim"):
        (difference,) = rate_distortion(both, metric=metric).differences
        assert difference.rate == pytest.approx(-50)
        assert difference.rate_interval == pytest.approx((-50, -50))
        assert difference.verdict == "fewer bits"
    (difference,) = rate_distortion(both, anchor="half").differences
    assert (difference.family, difference.anchor) == ("c0", "half")
    assert difference.rate == pytest.approx(100)


def test_lossless_points_are_said_and_left_out_of_the_differences():
    found = rate_distortion(_measured(exact=[4]))
    assert found.curves[0].points[4].psnr == np.inf
    whole = _measured()
    four = [_pooled(whole, codec, np.arange(6)) for codec in whole.codecs]
    expected = compress.bd_rate(
        *(part[:4] for part in four[0]), *(part[:4] for part in four[1]), minimum_overlap=0.3
    )
    assert found.differences[0].rate == pytest.approx(expected)
    assert "lossless" in str(found)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["curves"][0]["points"][4]["psnr"] is None
    assert told["differences"][0]["rate"] == found.differences[0].rate
    every = rate_distortion(_measured(exact=range(SETTINGS)))
    assert every.differences == ()
    every = _measured(exact=range(SETTINGS))
    exact = MeasuredPictures(
        every.names, every.pixels, 3, (every.codecs[0], _measured().codecs[1]), ()
    )
    (none,) = rate_distortion(exact).differences
    assert none.rate_reason.endswith("at least 4 are needed, and what is lossless is left out")


@pytest.mark.parametrize("metric", ["psnr", "ssim", "ms_ssim"])
def test_lossless_points_are_left_out_whatever_the_metric(metric):
    """A codec that is exact at a setting is as if that had not been measured."""
    with_it = _measured(exact=[2])
    kept = [0, 1, 3, 4]
    codecs = tuple(
        MeasuredCodec(
            codec.name, codec.setting, tuple(kept), codec.size[:, kept], codec.mse[:, kept],
            codec.ssim[:, kept], codec.ms_ssim[:, kept],
        )
        for codec in with_it.codecs
    )  # fmt: skip
    without = MeasuredPictures(with_it.names, with_it.pixels, 3, codecs, ())
    found = rate_distortion(with_it, metric=metric)
    (one,), (other,) = found.differences, rate_distortion(without, metric=metric).differences
    assert (one.rate, one.accuracy) == pytest.approx((other.rate, other.accuracy))
    assert one.rate_interval == pytest.approx(other.rate_interval)
    assert one.accuracy_interval == pytest.approx(other.accuracy_interval)
    assert [curve.falls for curve in found.curves] == [(), ()]


def test_a_setting_that_is_lossless_on_most_pictures_has_an_interval():
    measured = _measured(7)
    for codec in measured.codecs:
        codec.mse[:5, 4] = 0  # 31 of the 127 halves have none but these
    (difference,) = rate_distortion(measured).differences
    assert difference.rate_known == 1
    assert difference.rate_interval is not None


def test_what_cannot_be_told_has_a_reason():
    (one,) = rate_distortion(_measured(1)).differences
    assert one.rate_interval is None
    assert one.rate_reason == "1 picture is too few for it"
    (few,) = rate_distortion(_measured(5)).differences
    assert few.rate_reason == "5 pictures are too few for it"
    (few,) = rate_distortion(_measured(), resamples=20).differences
    assert few.rate_reason == "20 draws are too few for it"
    (none,) = rate_distortion(_measured(), resamples=0).differences
    assert np.isfinite(none.rate)
    assert none.rate_reason == "nothing was drawn"
    measured = _measured()
    codec = measured.codecs[1]
    codec.mse[:] = codec.mse[:, [0, 1, 2, 4, 3]]
    found = rate_distortion(measured)
    ((low, high),) = found.curves[1].falls
    assert f"c1: PSNR falls from {low:.4f} to {high:.4f} bits/pixel, and is pooled" in str(found)
    codec.mse[:, :] = 1e-3
    (flat,) = rate_distortion(measured).differences
    assert np.isnan(flat.rate)
    assert "after pooling where PSNR does not grow with the rate" in flat.rate_reason


def test_the_table_says_how_things_are_averaged():
    lines = str(rate_distortion(_measured())).splitlines()
    assert lines[0].endswith("bits/pixel: whole files, headers included, over all pixels;")
    assert "PSNR: of the mean squared error over all pixels" in lines[1]
    assert "MS-SSIM of 3 scales" in lines[1]
    assert lines[3].split()[:2] == ["c0", "quality=0"]
    assert lines[-1].startswith("  c1 against c0: -")


def test_mistakes_are_told_in_words():
    with pytest.raises(ValueError, match="metric must be one of psnr, ssim, ms_ssim, not 'mse'"):
        rate_distortion(_measured(), metric="mse")
    with pytest.raises(ValueError, match="there is no codec 'x': choose from c0, c1"):
        rate_distortion(_measured(), anchor="x")
    with pytest.raises(ValueError, match="minimum_overlap is a share"):
        rate_distortion(_measured(), minimum_overlap=2)
    small = MeasuredPictures(**{**vars(_measured()), "scales": None})
    said = "SSIM, MS-SSIM: none, as a picture is smaller than 11x11"
    assert str(rate_distortion(small)).splitlines()[1].endswith(said)
    with pytest.raises(ValueError, match="smaller than 11x11 pixels, and has no ms_ssim: leave"):
        rate_distortion(small, metric="ms_ssim")
    with pytest.raises(ValueError, match="level"):
        rate_distortion(_measured(), level=1.5)
