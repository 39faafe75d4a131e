import math

import pytest

from joint.analysis import DistortionCurve, DistortionPoint, RateDistortion
from joint.figure import distortion_figure, save_figure


def _found(metric="psnr"):
    lossy = [
        DistortionPoint(place, rate, psnr, 0.9, 0.95)
        for place, (rate, psnr) in enumerate([(0.4, 33.0), (0.1, 25.0)])
    ]
    exact = DistortionPoint(None, 8.0, math.inf, 1.0, 1.0)
    curves = (
        DistortionCurve("$a$", "quality", (*lossy, exact._replace(value=2)), ()),
        DistortionCurve("png", "", (exact,), ()),
    )
    return RateDistortion(metric, 0.95, 3, 300, 2, curves, "$a$", ())


def test_a_line_for_each_codec_and_where_it_is_lossless(tmp_path):
    (axis,) = distortion_figure(_found(), title="codecs").axes
    curve, exact, png = axis.lines
    assert curve.get_xydata().tolist() == [[0.1, 25], [0.4, 33]]
    assert [*exact.get_xdata()] == [*png.get_xdata()] == [8, 8]
    assert exact.get_linestyle() == png.get_linestyle() == ":"
    assert exact.get_color() == curve.get_color() != png.get_color()
    told = [text.get_text() for text in axis.get_legend().get_texts()]
    assert told == ["$a$", "png (lossless)"]
    assert (axis.get_xscale(), axis.get_xlabel()) == ("log", "bits/pixel")
    assert axis.get_ylabel() == "PSNR, dB"
    (axis,) = distortion_figure(_found("ssim")).axes
    assert axis.lines[0].get_ydata().tolist() == [0.9, 0.9, 1.0]
    assert axis.get_ylabel() == "SSIM"
    figure = distortion_figure(_found())
    save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_another_result_is_refused():
    with pytest.raises(TypeError, match=r"draws the RateDistortion of joint\.analysis.*not a dict"):
        distortion_figure({})
