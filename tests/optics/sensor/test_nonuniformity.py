import math

import numpy as np
import pytest
import torch

import optics
from optics.sensor.nonuniformity import defective, nonuniformity


def _pattern(height, width, row, column, pixel, seed=0):
    draw = torch.Generator().manual_seed(seed)
    sizes = ((height, 1), (1, width), (height, width))
    parts = [torch.randn(size, generator=draw, dtype=torch.float64) for size in sizes]
    return row * parts[0] + column * parts[1] + pixel * parts[2]


def _all(pattern):
    return torch.ones_like(pattern, dtype=torch.bool)


def _left_over(pattern, sound):
    """Deviation about rows and columns of their own, by numpy's least squares."""
    y, x = np.nonzero(sound.numpy())
    design = np.zeros((len(y), sum(sound.shape)))
    design[np.arange(len(y)), y] = design[np.arange(len(y)), len(sound) + x] = 1
    values = pattern[sound].numpy()
    fit, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return math.sqrt(((values - design @ fit) ** 2).sum() / (len(y) - rank))


def test_parts_are_those_of_the_standard():
    """By its three equations, of the variances of all and of the means of columns and rows."""
    height, width = 300, 200
    pattern = _pattern(height, width, 3.0, 2.0, 20.0)  # a row's mean is of 1.4 by its pixels
    noise = torch.full_like(pattern, 40.0)
    found = nonuniformity(pattern, noise, _all(pattern)[None], _all(pattern))
    every = pattern.var(correction=0)
    rows, columns = pattern.mean(1).var(correction=0), pattern.mean(0).var(correction=0)
    equations = torch.tensor(
        [[1, 1, 1], [1, 0, 1 / width], [0, 1, 1 / height]], dtype=torch.float64
    )
    row, column, pixel = torch.linalg.solve(equations, torch.stack([every, rows, columns]))
    assert found.row == pytest.approx(row.sqrt().item(), rel=0.01)
    assert found.column == pytest.approx(column.sqrt().item(), rel=0.01)
    assert found.pixel == pytest.approx((pixel - 40).sqrt().item(), rel=0.004)
    assert found.total**2 == pytest.approx(every.item() - 40, rel=1e-4)
    together = sum(each**2 for each in found[1:])
    assert together == pytest.approx(found.total**2, rel=0.01)


def test_a_defective_pixel_counts_in_no_part():
    pattern = _pattern(60, 50, 3.0, 1.0, 2.0)
    noise, seen = torch.zeros_like(pattern), _all(pattern)[None]
    clean = nonuniformity(pattern, noise, seen, _all(pattern))
    draw = torch.Generator().manual_seed(1)
    far = torch.zeros_like(pattern, dtype=torch.bool)
    far.view(-1)[torch.randperm(3000, generator=draw)[:150]] = True
    spoilt = torch.where(far, 1e6, pattern)
    found = nonuniformity(spoilt, noise, seen, ~far)
    assert found == pytest.approx(clean, rel=0.05)
    assert clean.pixel == pytest.approx(_left_over(pattern, ~far | far))
    assert found.pixel == pytest.approx(_left_over(pattern, ~far), rel=0.003)
    assert torch.equal(defective(spoilt, seen, torch.zeros(1)), far)
    assert not defective(pattern, seen, torch.zeros(1)).any()


def test_a_pixel_is_far_by_the_others_of_its_colour():
    pattern = _pattern(40, 40, 0.0, 0.0, 1.0)
    seen = torch.zeros(2, 40, 40, dtype=torch.bool)
    seen[0, ::2], seen[1, 1::2] = True, True
    pattern[1::2] = 100 + 0.1 * pattern[1::2]
    pattern[7, 3] = 102  # twenty of its deviations, and two of the others'
    far = defective(pattern, seen, torch.zeros(2))
    assert far.nonzero().tolist() == [[7, 3]]
    assert not defective(pattern, seen, torch.tensor([0.0, 0.5])).any()


def test_one_row_has_no_parts():
    pattern = torch.tensor([[1.0, -1.0, 2.0, -2.0]], dtype=torch.float64)
    found = nonuniformity(pattern, 0 * pattern, _all(pattern)[None], _all(pattern))
    assert found.total == pytest.approx(math.sqrt(10 / 3))
    assert all(map(math.isnan, found[1:]))
    assert isinstance(found, optics.Nonuniformity)
