import numpy as np
import pytest
import torch

import optics


def test_filters_absorb_and_share():
    filters = optics.ColourFilters(torch.tensor([[0.2, 0.8, 1.0], [0.5, 0.0, 0.1]]), share=0.5)
    optimiser = torch.optim.SGD(filters.parameters(), lr=1e3)
    spectral = torch.rand(2, 3, 4, 5)
    expected = 0.5 * np.einsum("cl,blyx->bcyx", filters.transmittance.detach(), spectral)
    np.testing.assert_allclose(filters(spectral).detach(), expected, rtol=1e-5)
    filters(spectral).sum().backward()
    optimiser.step()
    assert 0 <= filters.transmittance.min() <= filters.transmittance.max() <= 1


def test_what_is_fixed_is_exactly_what_is_given():
    given = torch.tensor([[0.2, 0.8, 1.0], [0.5, 0.0, 0.1]])
    filters = optics.ColourFilters(given, trainable=False)
    lamps = optics.Illumination(3, patterns=2, budget=0.5, start=2 * given, trainable=False)
    # A sigmoid and a softmax of logarithms: a few roundings, and none of 0 and 1.
    few = {"rtol": 4 * torch.finfo(torch.float32).eps, "atol": 0}
    torch.testing.assert_close(filters.transmittance, given, **few)
    assert filters.transmittance[0, 2] == 1
    torch.testing.assert_close(lamps.weights, 0.5 * given / given.sum(1, keepdim=True), **few)
    assert filters.transmittance[1, 1] == lamps.weights[1, 1] == 0
    for fixed, learned in (
        (filters, optics.ColourFilters(1 - given)),
        (lamps, optics.Illumination(3, patterns=2, start=1 - given)),
    ):
        assert not [*fixed.parameters()]
        # A state of one is one of the other: runs that stored fixed ones as they learn are read.
        fixed.load_state_dict(learned.state_dict())
        assert torch.equal(fixed.raw, learned.raw)
        scene = torch.rand(1, 3, 4, 4, requires_grad=True)
        fixed(scene).sum().backward()
        assert scene.grad is not None


def test_lamps_and_filters_stay_in_full_precision_under_autocast():
    pictures, matrix = torch.rand(2, 3, 4, 4), torch.rand(2, 3)
    colour = optics.ColourChannels(3, filters=optics.ColourFilters(matrix, share=1 / 2))

    def results():
        return (
            optics.mix_colours(pictures, matrix),
            optics.Illumination(3)(pictures),
            colour.throughput(torch.tensor([0.3, 0.5, 0.7])),
        )

    plain = results()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = results()
    for one, other in zip(plain, mixed, strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)


def _channels():
    lamps = optics.Illumination(4, patterns=2, start=torch.rand(2, 4))
    return optics.ColourChannels(
        4, lamps=lamps, filters=optics.ColourFilters(torch.rand(3, 4), share=1 / 3)
    )


def test_channels_are_the_lamps_light_through_the_filters():
    torch.manual_seed(0)
    colour, spectral = _channels(), torch.rand(2, 4, 5, 6)
    assert (colour.channels, colour.exposures) == (6, 2)
    expected = np.einsum(
        "pl,cl,blyx->bpcyx", colour.lamps.weights.detach(),
        colour.filters.transmittance.detach(), spectral,
    )  # fmt: skip
    seen = colour(spectral).detach().unflatten(1, (2, 3))
    np.testing.assert_allclose(seen, expected / 2 / 3, rtol=1e-5)
    # All of what is detected, and no more than the white light.
    white = float(colour(torch.ones(1, 4, 1, 1)).detach().sum())
    assert float(colour.throughput(torch.ones(4)).detach()) == pytest.approx(white, rel=1e-5)
    assert white < 1


def test_white_light_is_divided_among_the_bands():
    plain = optics.ColourChannels(4)
    spectral = torch.rand(1, 4, 2, 2)
    torch.testing.assert_close(plain(spectral)[:, 0], spectral.mean(1))
    mosaic = optics.ColourChannels(
        2, filters=optics.ColourFilters(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    )
    assert float(mosaic.throughput(torch.ones(2)).detach()) == pytest.approx(0.5, abs=1e-3)


def test_colours_that_do_not_fit_are_refused():
    make = optics.ColourChannels
    with pytest.raises(ValueError, match="lamps are for 3 bands, not 4"):
        make(4, lamps=optics.Illumination(3))
    with pytest.raises(ValueError, match="filters are for 2 bands, not 4"):
        make(4, filters=optics.ColourFilters(torch.ones(1, 2)))
    with pytest.raises(ValueError, match="more power than the white light"):
        make(4, lamps=optics.Illumination(4, budget=2.0))
    with pytest.raises(TypeError, match=r"filters must be an optics.ColourFilters\(...\)"):
        make(4, filters=torch.ones(1, 4))


def test_fixed_colours_are_exact_and_learn_from_where_they_can():
    given = torch.tensor([[1.0, 0.0, 0.25], [0.0, 1.0, 0.5]])
    filters = optics.ColourFilters(given, trainable=False)
    assert torch.equal(filters.transmittance, given)
    lamps = optics.Illumination(3, patterns=2, start=given, trainable=False)
    torch.testing.assert_close(lamps.weights, given / given.sum(1, keepdim=True))
    for fixed, learned in (
        (filters, optics.ColourFilters(torch.full((2, 3), 0.5))),
        (lamps, optics.Illumination(3, patterns=2)),
    ):
        name = "transmittance" if fixed is filters else "weights"
        learned.load_state_dict(fixed.state_dict())
        assert learned.raw.isfinite().all()
        torch.testing.assert_close(getattr(learned, name), getattr(fixed, name), atol=2e-3, rtol=0)
        getattr(learned, name).square().sum().backward()
        assert (learned.raw.grad != 0).all()
        # And back: what was learned is what is fixed, to the last bit.
        fixed.load_state_dict(learned.state_dict())
        assert torch.equal(getattr(fixed, name), getattr(learned, name))
        again = type(learned)(given) if fixed is filters else optics.Illumination(3, patterns=2)
        again.load_state_dict(learned.state_dict())
        assert torch.equal(again.raw, learned.raw)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.ColourFilters(torch.ones(3)), r"transmittance must be \[C, L\]"),
        (lambda: optics.ColourFilters(torch.ones(1, 1), share=2), r"share must be a fraction"),
        (
            lambda: optics.ColourFilters(torch.full((1, 1), 2.0)),
            "transmittance must lie between 0 and 1",
        ),
        (lambda: optics.mix_colours(torch.ones(1, 3, 2, 2), torch.ones(2, 2)), "matrix"),
        (
            lambda: optics.mix_colours(
                torch.ones(1, 3, 2, 2, dtype=torch.complex64), torch.ones(3, 3)
            ),
            "light is real here",
        ),
    ],
)
def test_colours_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_share_is_not_learned():
    with pytest.raises(TypeError, match="share is not learned here"):
        optics.ColourFilters(torch.ones(1, 3), share=torch.nn.Parameter(torch.tensor(0.5)))


def test_light_and_its_matrix_are_tensors():
    light, matrix = torch.ones(1, 3, 4, 4), torch.eye(3)
    with pytest.raises(TypeError, match="spectral must be a Tensor, not ndarray"):
        optics.mix_colours(light.numpy(), matrix)
    with pytest.raises(TypeError, match="matrix must be a Tensor, not ndarray"):
        optics.mix_colours(light, matrix.numpy())
    with pytest.raises(TypeError, match="transmittance must be a Tensor, not list"):
        optics.ColourFilters([[1, 0, 0]])
