"""The bits of a JPEG: their gradient against differences, their Huffman code against the file."""

import itertools
import math

import pytest
import torch
from drawn import seeded
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compress import jpeg_rate
from compress.jpeg import DifferentiableJPEG
from compress.jpeg_rate import huffman_lengths
from compress.jpeg_scan import jpeg_block_bits

# Of a coefficient in a block: the first and the last are special.
PLACES = st.integers(0, 63) | st.sampled_from([0, 1, 62, 63])


# --- the smooth bits -------------------------------------------------------------------------


def coded_levels(seed: int = 0) -> torch.Tensor:
    """Blocks ``[1, 40, 64]`` of coefficients as in pictures: large and many, then few and small."""
    scale = 8 * torch.exp(-torch.arange(64.0) / 12)
    return (scale * torch.randn(1, 40, 64, generator=seeded(seed))).double()


def test_finite_differences_confirm_the_gradient_of_the_smooth_bits():
    steps = coded_levels().requires_grad_()
    runs = jpeg_rate._runs(steps.detach().round())
    prices = jpeg_rate._prices(runs)
    (gradient,) = torch.autograd.grad(jpeg_rate._smooth_bits(steps, runs, prices).sum(), steps)
    assert (gradient != 0).float().mean() > 0.3
    generator = seeded(1)
    for block, place in torch.randint(0, 40, (300, 2), generator=generator).tolist():
        change = torch.zeros_like(steps)
        change[0, block, place] = 1e-5
        above = jpeg_rate._smooth_bits(steps.detach() + change, runs, prices)
        below = jpeg_rate._smooth_bits(steps.detach() - change, runs, prices)
        slope = ((above - below).sum() / 2e-5).item()
        assert slope == pytest.approx(gradient[0, block, place].item(), rel=1e-3, abs=1e-3)


@settings(deadline=None, max_examples=60)
@example(0, 3, 5, 1)
@example(0, 3, 5, 2)
@given(st.integers(0, 2**31), st.integers(0, 39), PLACES, st.integers(0, 7))
def test_between_size_categories_the_smooth_bits_change_by_what_the_count_does(
    seed, block, place, category
):
    # One coefficient becomes 0, or the centre of a size category, all others being equal.
    levels = coded_levels(seed).round()
    runs = jpeg_rate._runs(levels)
    prices = jpeg_rate._prices(runs)
    counted, smooth = [], []
    for size in (0, category):
        changed, centred = levels.clone(), levels.clone()
        changed[0, block, place] = 0 if size == 0 else 2 ** (size - 1)
        centred[0, block, place] = 0 if size == 0 else 1.5 * 2 ** (size - 1) - 0.5
        counted.append(jpeg_rate._exact_bits(jpeg_rate._runs(changed), prices).sum().item())
        smooth.append(jpeg_rate._smooth_bits(centred, runs, prices).sum().item())
    assert smooth[1] - smooth[0] == pytest.approx(counted[1] - counted[0], abs=1e-4)


# --- the code --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=256).filter(any))
def test_code_words_are_short_and_one_is_left_over(counts):
    lengths = huffman_lengths(counts)
    assert len(lengths) == len(counts) + 1
    used = [n for n in lengths if n]
    assert [n > 0 for n in lengths] == [*(count > 0 for count in counts), True]
    assert max(used) <= 16
    assert sum(2.0**-n for n in used) == 1
    assert lengths[-1] == max(used)
    # Between the entropy, the reserved word counted in, and one bit more for each symbol.
    total = sum(counts) + 1
    entropy = sum(n * math.log2(total / n) for n in [*counts, 1] if n)
    cost = sum(n * length for n, length in zip([*counts, 1], lengths, strict=True))
    if max(used) < 16:
        assert entropy - 1e-6 <= cost <= entropy + total
    rare = sorted((count, -length) for count, length in zip(counts, lengths, strict=False) if count)
    for (few, longer), (many, shorter) in itertools.pairwise(rare):
        assert few == many or longer <= shorter


def test_code_words_of_known_lengths():
    assert huffman_lengths([5]) == [1, 1]
    assert huffman_lengths([0, 7, 0]) == [0, 1, 0, 1]
    assert huffman_lengths([4, 2, 1]) == [1, 2, 3, 3]
    # Fibonacci's numbers ask for words of up to 30 bits.
    fibonacci = [1, 2]
    while len(fibonacci) < 29:
        fibonacci.append(sum(fibonacci[-2:]))
    lengths = huffman_lengths(fibonacci)
    assert max(lengths) == 16
    assert sum(2.0**-n for n in lengths) == 1
    assert lengths == [*sorted(lengths[:-1], reverse=True), lengths[-1]]


def test_the_code_is_that_of_the_file():
    # Of the most unlikely kind: noise, and nearly nothing.
    image = torch.rand(2, 3, 64, 64, generator=seeded())
    image[1] = 0.5
    image[1, :, 3, 3] = 1
    for quality in (5, 60, 95):
        codec = DifferentiableJPEG(quality)
        coded = codec(image)
        for data, bits_map in zip(codec.compress(image), coded.bits_map, strict=True):
            blocks = torch.from_numpy(jpeg_block_bits(data))
            # Hardly any coefficient lies so close to a half that the two differ.
            assert bits_map.sum().item() == pytest.approx(blocks.sum().item(), abs=100)
