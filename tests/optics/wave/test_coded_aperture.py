import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optics

F64 = torch.float64
quick = settings(deadline=None, max_examples=25)


@pytest.mark.parametrize("prime", [3, 5, 7, 11, 13, 17, 31])
def test_mura_decodes_to_a_delta_exactly(prime):
    mask = optics.coded_aperture(prime, pattern="mura", dtype=F64)
    decoder = optics.mura_decoder(prime, dtype=F64)
    correlation = torch.stack(
        [
            (mask * decoder.roll((-k, -shift), (0, 1))).sum()
            for k in range(prime)
            for shift in range(prime)
        ]
    )
    assert correlation[0] == (prime**2 - 1) // 2 == mask.sum()
    assert not correlation[1:].any()
    assert set(decoder.unique().tolist()) == {-1.0, 1.0}
    assert optics.mura_decoder(5).dtype == torch.get_default_dtype()
    assert optics.coded_aperture(5, pattern="mura").dtype == torch.get_default_dtype()


def test_mura_cells_of_several_samples():
    mask = optics.coded_aperture((15, 20), pattern="mura", cells=5)
    one = optics.coded_aperture(5, pattern="mura")
    torch.testing.assert_close(mask[1::3, ::4], one)
    torch.testing.assert_close(mask[2::3, 3::4], one)


@given(seed=st.integers(0, 1000), fraction=st.floats(0, 1))
@quick
def test_random_has_the_light_it_is_asked_for(seed, fraction):
    def draw():
        generator = torch.Generator().manual_seed(seed)
        return optics.coded_aperture((8, 6), open_fraction=fraction, generator=generator)

    mask = draw()
    assert abs(float(mask.sum()) - 48 * fraction) <= 0.5 + 1e-9
    assert torch.equal(mask, draw())


def test_random_cells_differ():
    generator = torch.Generator().manual_seed(0)
    first = optics.coded_aperture(32, cells=16, generator=generator)
    assert not torch.equal(first, optics.coded_aperture(32, cells=16, generator=generator))
    assert torch.equal(first[::2, ::2], first[1::2, 1::2])
    # No order: rows and columns each hold about half of it.
    assert (first.mean(0) - 0.5).abs().max() < 0.45
    assert abs(float((first[:16, :16]).mean()) - 0.5) < 0.25


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_fractal_zones_are_the_cantor_set_in_the_squared_radius(stage):
    size = 257
    mask = optics.coded_aperture(size, pattern="fractal_zone", stage=stage, dtype=F64)
    area = math.pi * (size / 2) ** 2
    # Each removal leaves two thirds of the area.
    assert math.isclose(float(mask.sum()), area * (2 / 3) ** stage, rel_tol=1e-3)
    line = mask[size // 2, size // 2 :]
    for index in range(size // 2 - 1):
        squared, parts = (index / (size / 2)) ** 2, []
        edges = [((index + d) / (size / 2)) ** 2 for d in (-1.0, 1.0)]
        for _ in range(stage):
            # Ternary digits: a point with a digit 1 has been removed.
            squared *= 3
            parts.append(int(squared))
            squared -= int(squared)
        near = any(edges[0] <= k / 3**stage <= edges[1] for k in range(1, 3**stage))
        if not near and index > 0:
            assert float(line[index]) == pytest.approx(0.0 if 1 in parts else 1.0, abs=1e-9)


def test_fresnel_zones():
    mask = optics.coded_aperture(257, pattern="fresnel_zone", cells=8, dtype=F64)
    assert math.isclose(float(mask.sum()), math.pi * 128.5**2 / 2, rel_tol=1e-3)
    line = mask[128, 128:]
    zones = (torch.arange(129) / 128.5) ** 2 * 8
    middle = (zones - zones.floor() - 0.5).abs() < 0.2
    wanted = (zones.floor() % 2 == 0).to(F64)
    torch.testing.assert_close(line[middle], wanted[middle])
    # By default the outermost zone is two samples wide: r - r sqrt(1 - 1 / n) of n zones.
    assert optics.coded_aperture((40, 30), pattern="fresnel_zone").shape == (40, 30)
    plate = optics.coded_aperture((121, 81), pattern="fresnel_zone", dtype=F64)
    torch.testing.assert_close(
        plate, optics.coded_aperture((121, 81), pattern="fresnel_zone", cells=10, dtype=F64)
    )
    assert 40.5 * (1 - math.sqrt(1 - 1 / 10)) >= 2 > 40.5 * (1 - math.sqrt(1 - 1 / 11))


def test_a_plate_is_the_sum_of_its_zones_areas():
    mask = optics.coded_aperture(65, pattern="fresnel_zone", cells=7, dtype=F64)
    # Four of seven zones of equal area.
    assert float(mask.sum()) == pytest.approx(4 / 7 * math.pi * 32.5**2, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "fractal_zone", "stage": 18}, "stage=18 makes an outermost zone .* 0.02 at"),
        ({"pattern": "fractal_zone", "stage": 10**9}, "use more samples than .*lower stage"),
        ({"pattern": "fresnel_zone", "cells": 10**12}, "cells=1000000000000 makes an outermost"),
    ],
)
def test_zones_of_next_to_no_width_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optics.coded_aperture(64, **options)


def test_narrow_zones_are_a_warning_with_their_width():
    with pytest.warns(UserWarning, match=r"narrowest zone is 0\.\d+ samples wide"):
        optics.coded_aperture(33, pattern="fractal_zone", stage=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "spiral"}, r"pattern must be one of \('random', .*not 'spiral'"),
        ({}, "generator must be a torch.Generator"),
        ({"pattern": "mura"}, "cells must be an odd prime for pattern='mura', not 12"),
        ({"pattern": "mura", "cells": 9}, "not 9"),
        ({"pattern": "mura", "cells": 2}, "not 2"),
        ({"pattern": "mura", "cells": 5}, r"multiple of the 5 x 5 cells, not \(12, 12\)"),
        ({"pattern": "fractal_zone", "stage": -1}, "stage must be .* at least 0, not -1"),
        ({"pattern": "fresnel_zone", "cells": 0}, "at least 1, not 0"),
        ({"open_fraction": 1.5, "generator": torch.Generator()}, r"in \[0, 1\], not 1.5"),
        ({"open_fraction": math.nan, "generator": torch.Generator()}, r"in \[0, 1\], not nan"),
        (
            {"cells": 0, "generator": torch.Generator()},
            "cells must be a whole number of at least 1, not 0",
        ),
    ],
)
def test_bad_codes(arguments, message):
    with pytest.raises(ValueError, match=message):
        optics.coded_aperture(12, **arguments)


@pytest.mark.parametrize("several", [[0.3, 0.5], torch.tensor([0.3, 0.5])])
def test_a_code_has_one_fraction(several):
    with pytest.raises(TypeError, match=r"open_fraction must be one number, not \[0.3"):
        optics.coded_aperture(12, open_fraction=several, generator=torch.Generator())


@pytest.mark.parametrize("size", [(12, 10), (10, 12)])
def test_cells_divide_both_sides(size):
    with pytest.raises(ValueError, match=r"size must be a multiple of the 5 x 5 cells, not \(1"):
        optics.coded_aperture(size, pattern="mura", cells=5)


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator .*, not 3"):
        optics.coded_aperture(16, pattern="random", generator=3)
