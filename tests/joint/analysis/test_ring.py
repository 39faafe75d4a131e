import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
import torch
from gratings import RINGS, SIZE, WAVES, frequency, scene_of, wave

import optics
from joint.analysis import filter_ring, octave_rings


@pytest.fixture(scope="module")
def texture():
    generator = torch.Generator().manual_seed(0)
    return 0.4 + 0.1 * torch.rand(2, 3, 24, 40, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kind", ["stop", "pass"])
@pytest.mark.parametrize("ring", [(0.1, 0.2), (0.0, 0.05), (0.3, math.inf)])
def test_a_ring_is_that_of_scipys_cosine_transform(texture, ring, kind):
    spectrum = scipy.fft.dctn(texture.numpy(), axes=(-2, -1), norm="ortho")
    rows, columns = np.arange(24) / 48, np.arange(40) / 80
    frequency = np.hypot(rows[:, None], columns)
    gone = (frequency >= ring[0]) & (frequency < ring[1])
    if kind == "pass":
        gone = ~gone
    gone[0, 0] = False
    wanted = scipy.fft.idctn(np.where(gone, 0, spectrum), axes=(-2, -1), norm="ortho")
    found = filter_ring(texture, ring, kind=kind, encoding="linear")
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    assert not np.allclose(found, texture, atol=1e-4)


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_ring_takes_out_its_grating_and_no_other(gone, encoding):
    amplitudes = [0.1, 0.15, 0.12]
    left = [0 if k == gone else a for k, a in enumerate(amplitudes)]
    alone = [a if k == gone else 0 for k, a in enumerate(amplitudes)]
    scene, without, only = (scene_of(*each) for each in (amplitudes, left, alone))
    if encoding == "srgb":
        scene, without, only = map(optics.linear_to_srgb, (scene, without, only))
    # sRGB has one constant of six digits to each side of its toe.
    found = filter_ring(scene, RINGS[gone], encoding=encoding)
    assert torch.allclose(found, without, atol=1e-7)
    assert torch.allclose(
        filter_ring(scene, RINGS[gone], kind="pass", encoding=encoding), only, atol=1e-7
    )
    assert RINGS[gone][0] <= frequency(WAVES[gone]) < RINGS[gone][1]


@pytest.mark.parametrize("edge", [0.0, 0.3, 1.5])
def test_rings_side_by_side_are_the_picture_without_its_mean(texture, edge):
    whole = texture - texture.mean((-2, -1), keepdim=True)
    rings = [(0, 0.03), (0.03, 0.1), (0.1, 0.4), (0.4, math.inf)]
    taken = [texture - filter_ring(texture, r, edge=edge, encoding="linear") for r in rings]
    assert torch.allclose(sum(taken), whole, atol=1e-12)
    for ring, part in zip(rings, taken, strict=True):
        only = filter_ring(texture, ring, kind="pass", edge=edge, encoding="linear")
        assert torch.allclose(only, texture - whole + part, atol=1e-12)
        assert part.mean((-2, -1)).abs().max() < 1e-12
    octaves = [
        texture - filter_ring(texture, r, edge=edge, encoding="linear")
        for r in octave_rings((24, 40))
    ]
    assert torch.allclose(sum(octaves), whole, atol=1e-12)


def test_a_smooth_edge_is_a_raised_cosine_over_its_octaves():
    periods = 8
    for octaves, kept in ((0.0, 0.5), (0.2, 0), (-0.2, 1), (0.1, math.cos(3 * math.pi / 8) ** 2)):
        # The grating lies so many octaves above the lower edge, which is 0.4 octaves wide.
        low = periods / (2 * SIZE) / 2**octaves
        scene = (0.5 + 0.2 * wave((0, periods)))[None, None]
        found = filter_ring(scene, (low, math.inf), edge=0.4, encoding="linear")
        assert torch.allclose(found - 0.5, kept * (scene - 0.5), atol=1e-9), octaves


def test_the_frame_is_no_edge():
    # A lamp to one side: the transform without mirror images sees a jump from border to border.
    ramp = torch.linspace(0.2, 0.8, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    found = filter_ring(ramp, (0.125, math.inf), encoding="linear")
    assert (found - ramp).abs().max() < 0.012
    f = np.fft.fftfreq(64)
    low = np.hypot(f[:, None], f) < 0.125
    periodic = np.fft.ifft2(np.where(low, np.fft.fft2(ramp.numpy()), 0)).real
    assert np.abs(periodic - ramp.numpy()).max() > 0.2


def test_light_is_clipped_and_half_precision_stays():
    scene = 0.5 + 0.5 * (wave((0, 2)) - wave((0, 6)) / 3) / 0.943
    found = filter_ring(scene[None, None], (0.08, 0.2), encoding="linear")
    wanted = (0.5 + 0.5 / 0.943 * wave((0, 2))).clamp(0, 1)
    assert torch.allclose(found[0, 0], wanted, atol=1e-9)
    assert float(found.max()) == 1
    half = scene[None, None].bfloat16()
    assert filter_ring(half, (0.08, 0.2), encoding="linear").dtype == torch.bfloat16


def test_octaves_follow_the_shorter_side():
    corner = math.sqrt(0.5)
    ends = [0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, corner]
    assert octave_rings((48, 32)) == tuple(pairwise(ends))
    assert octave_rings((128, 300))[:2] == ((0, 1 / 64), (1 / 64, 1 / 32))
    assert octave_rings((4, 4)) == ((0, 1 / 4), (1 / 4, 1 / 2), (1 / 2, corner))
    with pytest.raises(ValueError, match="pictures of 3 x 90 pixels hold no octave"):
        octave_rings((3, 90))


@pytest.mark.parametrize(
    ("ring", "told"),
    [
        ((0.2, 0.2), r"0 <= low < high, in cycles/pixel, not \(0.2, 0.2\)"),
        ((0.3, 0.1), r"0 <= low < high, .* not \(0.3, 0.1\)"),
        ((-0.1, 0.1), r"0 <= low < high, .* not \(-0.1, 0.1\)"),
        ((math.nan, 0.1), r"0 <= low < high, .* not \(nan, 0.1\)"),
        ((0.1, math.nan), r"0 <= low < high, .* not \(0.1, nan\)"),
        ((0.1, 0.2, 0.3), r"a ring is \(low, high\)"),
        (0.1, r"a ring is \(low, high\) .* not 0.1"),
        (("a", "b"), r"a ring is \(low, high\) .* not \('a', 'b'\)"),
        ((0.71, 1), "0.71 to 1 cycles/pixel holds no frequency of pictures of 32 x 32"),
        ((0, 1 / 64), r"0 to 0.015625 .* in steps of 1/64 and 1/64 up to 0.6850"),
    ],
)
def test_what_is_no_ring_is_refused(ring, told):
    with pytest.raises(ValueError, match=told):
        filter_ring(torch.rand(1, 3, SIZE, SIZE), ring)


def test_what_cannot_be_filtered_is_refused():
    pictures = torch.rand(1, 3, 8, 8)
    with pytest.raises(TypeError, match=r"images must be a Tensor of pictures .* not ndarray"):
        filter_ring(pictures.numpy(), (0.1, 0.3))
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 3, 8, 8\]"):
        filter_ring((255 * pictures).byte(), (0.1, 0.3))
    with pytest.raises(ValueError, match=r"not torch.float32 \[3, 8, 8\]"):
        filter_ring(pictures[0], (0.1, 0.3))
    with pytest.raises(ValueError, match="divide 8-bit codes by 255"):
        filter_ring(255 * pictures, (0.1, 0.3))
    with pytest.raises(ValueError, match="encoding must be 'srgb' or 'linear', not 'log'"):
        filter_ring(pictures, (0.1, 0.3), encoding="log")
    with pytest.raises(ValueError, match="kind must be 'stop' or 'pass', not 'low'"):
        filter_ring(pictures, (0.1, 0.3), kind="low")
    for edge in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"0 or more octaves, and finite, not {edge}"):
            filter_ring(pictures, (0.1, 0.3), edge=edge)


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_what_is_not_meant_to_lie_in_0_to_1_is_refused(encoding):
    pictures = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for given in (5 * pictures, pictures - 1):
        with pytest.raises(ValueError, match=r"in 0\.\.1, (and|but) these reach from"):
            filter_ring(given, (0.1, 0.3), encoding=encoding)
    pictures[0, 0, 2, 2] = math.nan
    with pytest.raises(ValueError, match=r"reach from nan to nan: .* leave out what is NaN"):
        filter_ring(pictures, (0.1, 0.3), encoding=encoding)
