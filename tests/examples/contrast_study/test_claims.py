import math

import numpy as np
import pytest
from contrast_study.claims import _ranked, _tell, rate_figure
from matplotlib.colors import to_hex

import compress
import joint
from classify import LesionPhantom
from joint.analysis import REGIONS, rate_map


def test_each_region_has_its_own_colour_whatever_the_number_of_codecs():
    pictures = LesionPhantom(8, 32, seed=0)
    rated = {
        f"JPEG {quality}": rate_map(
            joint.ImagingSystem(codec=compress.JPEG(quality)), pictures, resamples=5
        )
        for quality in (10, 20, 30, 40, 50, 60, 70, 80, 90)
    }
    (axis,) = rate_figure(rated).axes
    legend = axis.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(REGIONS)
    assert len({to_hex(handle.get_color()) for handle in legend.legend_handles}) == len(REGIONS)
    assert [label.get_text() for label in axis.get_xticklabels()] == list(rated)
    drawn = [line.get_ydata() for line in axis.get_lines() if len(line.get_ydata()) == 9]
    densities = [[region.density for region in each.rows[0].regions] for each in rated.values()]
    assert np.array_equal(drawn, np.transpose(densities))


def test_a_number_that_is_not_there_is_a_dash_in_its_place(capsys):
    _tell("bcc  1.000    nan   +nan [+nan, -0.5]", {"gcnr": math.nan}, "a nanometre")
    said = "bcc  1.000      -      - [   -, -0.5]\n{'gcnr':   -}\na nanometre\n"
    assert capsys.readouterr().out == said


def test_a_rank_correlation_takes_three():
    assert math.isnan(_ranked([1, 2], [1, 2]))
    assert _ranked([1, 2, 3], [2, 4, 9]) == pytest.approx(1)
    assert _ranked([1, 2, 3], np.array([3, 2, 1])) == pytest.approx(-1)
