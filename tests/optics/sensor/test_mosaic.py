import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import optics

BAYER = ("rggb", "bggr", "grbg", "gbrg")
PATTERNS = {
    **{name: (name, "rgb") for name in BAYER},
    "rgbw": ("rgwb", "rgbw"),
    "diagonal": (("rgb", "brg", "gbr"), "rgb"),
    "quad": (("rrgg", "rrgg", "ggbb", "ggbb"), "rgb"),
    "stripes": (("rgb",), "rgb"),
    "indices": (torch.tensor([[0, 1], [1, 1]]), "xy"),
    "x-trans": (("gbggrg", "rgrbgb", "gbggrg", "grggbg", "bgbrgr", "grggbg"), "rgb"),
}
# Malvar, He and Cutler, ICASSP 2004, fig. 2, in eighths, as printed there.
MALVAR = {
    "green": "0 0 -1 0 0  0 0 2 0 0  -1 2 4 2 -1  0 0 2 0 0  0 0 -1 0 0",
    "row": "0 0 0.5 0 0  0 -1 0 -1 0  -1 4 5 4 -1  0 -1 0 -1 0  0 0 0.5 0 0",
    "column": "0 0 -1 0 0  0 -1 4 -1 0  0.5 0 5 0 0.5  0 -1 4 -1 0  0 0 -1 0 0",
    "diagonal": "0 0 -1.5 0 0  0 2 0 2 0  -1.5 0 6 0 -1.5  0 2 0 2 0  0 0 -1.5 0 0",
}


def _picture(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _letters(name, height, width):
    """Channel of every pixel, written out by hand."""
    rows = [name[:2], name[2:]]
    tile = np.array([["rgb".index(letter) for letter in row] for row in rows])
    return np.tile(tile, (height, width))[:height, :width]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([*PATTERNS]), st.integers(1, 20), st.integers(1, 20))
def test_every_pixel_takes_exactly_one_channel(name, height, width):
    # P52: with a letter's number in each channel, the mosaic shows which one was taken.
    pattern, channels = PATTERNS[name]
    count = len(channels)
    image = torch.arange(count).float().view(1, count, 1, 1).expand(2, count, height, width)
    raw = optics.mosaic(image, pattern, channels=channels)
    assert raw.shape == (2, 1, height, width)
    period = optics.cfa_indices(pattern, channels=channels)
    for y, x in itertools.product(range(height), range(width)):
        expected = period[y % period.shape[0], x % period.shape[1]]
        assert (raw[:, 0, y, x] == expected).all()


def test_bayer_letters_are_where_their_names_say():
    assert optics.cfa_indices("rggb").tolist() == [[0, 1], [1, 2]]
    assert optics.cfa_indices("gbrg").tolist() == [[1, 2], [0, 1]]
    assert optics.cfa_indices(("rgb",)).tolist() == [[0, 1, 2]]
    assert optics.cfa_indices(torch.tensor([[1, 0]]), channels="ab").tolist() == [[1, 0]]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([*PATTERNS]), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_a_constant_colour_survives(name, more_rows, more_columns, seed):
    # P52
    pattern, channels = PATTERNS[name]
    period = optics.cfa_indices(pattern, channels=channels).shape
    colour = _picture(2, len(channels), 1, 1, seed=seed)
    image = colour.expand(-1, -1, period[0] + more_rows, period[1] + more_columns)
    raw = optics.mosaic(image, pattern, channels=channels)
    back = optics.demosaic(raw, pattern, channels=channels)
    torch.testing.assert_close(back, image, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(4, 4), (7, 9), (10, 5)])
@pytest.mark.parametrize("name", BAYER)
def test_malvar_keeps_a_constant_colour(name, size):
    image = _picture(2, 3, 1, 1).expand(2, 3, *size)
    back = optics.demosaic(optics.mosaic(image, name), name, method="malvar")
    torch.testing.assert_close(back, image, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["bilinear", "malvar"])
@pytest.mark.parametrize("name", BAYER)
def test_measured_values_stay_as_they_are(name, method):
    raw = _picture(2, 1, 9, 12)
    again = optics.mosaic(optics.demosaic(raw, name, method=method), name)
    torch.testing.assert_close(again, raw, rtol=0, atol=1e-15)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("pattern", ["rggb", ("rgb", "brg", "gbr")])
def test_a_pixel_that_is_no_number_spoils_its_own_colour_alone(pattern, wrong):
    raw = _picture(1, 1, 9, 12)
    image, raw[0, 0, 4, 4] = optics.demosaic(raw, pattern), wrong  # red
    spoiled = optics.demosaic(raw, pattern)
    assert torch.equal(spoiled[:, 1:], image[:, 1:])
    assert torch.equal(spoiled[0, 0].isfinite(), spoiled[0, 0] == image[0, 0])
    assert 1 < int((~spoiled.isfinite()).sum()) <= 25


@pytest.mark.parametrize("name", BAYER)
def test_bilinear_is_the_textbook_convolution(name):
    # By scipy: green from four neighbours, red and blue from two or four.
    raw = _picture(1, 1, 11, 14)
    letters = _letters(name, 11, 14)
    kernels = {1: np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4}
    kernels[0] = kernels[2] = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    ours = optics.demosaic(raw, name)[0].numpy()
    for channel in range(3):
        known = np.where(letters == channel, raw[0, 0].numpy(), 0)
        theirs = ndimage.convolve(known, kernels[channel], mode="constant")
        inside = (slice(1, -1), slice(1, -1))
        np.testing.assert_allclose(ours[channel][inside], theirs[inside], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BAYER)
def test_malvar_is_the_published_filters(name):
    raw = _picture(1, 1, 11, 14)
    letters = _letters(name, 11, 14)
    filtered = {
        key: ndimage.correlate(
            raw[0, 0].numpy(), np.array(taps.split(), float).reshape(5, 5) / 8, mode="mirror"
        )
        for key, taps in MALVAR.items()
    }
    ours = optics.demosaic(raw, name, method="malvar")[0].numpy()
    for y, x, channel in itertools.product(range(11), range(14), range(3)):
        own = letters[y, x]
        if own == channel:
            expected = raw[0, 0, y, x]
        elif channel == 1:
            expected = filtered["green"][y, x]
        elif own == 1:
            beside = letters[y, x + 1] if x + 1 < 14 else letters[y, x - 1]
            expected = filtered["row" if beside == channel else "column"][y, x]
        else:
            expected = filtered["diagonal"][y, x]
        assert ours[channel, y, x] == pytest.approx(float(expected), abs=1e-12)


def test_bilinear_reproduces_a_ramp_inside_and_malvar_does_better_on_detail():
    y, x = torch.meshgrid(*(torch.arange(32, dtype=torch.float64),) * 2, indexing="ij")
    ramp = (0.1 + 0.01 * x + 0.02 * y).expand(1, 3, -1, -1)
    back = optics.demosaic(optics.mosaic(ramp, "rggb"), "rggb")
    torch.testing.assert_close(back[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1])
    detail = (0.5 + 0.4 * torch.cos(0.8 * x + 0.5 * y)).expand(1, 3, -1, -1)
    errors = [
        (optics.demosaic(optics.mosaic(detail, "rggb"), "rggb", method=m) - detail).square().mean()
        for m in ("bilinear", "malvar")
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("name", "method"), [("rggb", "bilinear"), ("rggb", "malvar"), ("diagonal", "bilinear")]
)
def test_both_steps_are_differentiable(name, method):
    pattern, channels = PATTERNS[name]
    image = _picture(1, 3, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda i: optics.mosaic(i, pattern, channels=channels), image)
    raw = _picture(1, 1, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r: optics.demosaic(r, pattern, channels=channels, method=method), raw
    )


def test_half_precision_and_autocast_interpolate_in_single():
    raw = _picture(1, 1, 6, 6).float()
    expected = optics.demosaic(raw, "rggb")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(optics.demosaic(raw, "rggb"), expected)
        assert optics.demosaic(raw, "rggb", method="malvar").dtype == torch.float32
    assert optics.demosaic(raw.half(), "rggb").dtype == torch.float32


def test_exposures_are_mosaics_of_their_own():
    image = _picture(2, 6, 6, 8)
    array = optics.ColourFilterArray("grbg", method="malvar").double()
    raw = array(image, exposures=2)
    assert raw.shape == (2, 2, 6, 8)
    back = array.demosaic(raw)
    for exposure in range(2):
        part = image[:, 3 * exposure : 3 * exposure + 3]
        single = optics.mosaic(part, "grbg")
        assert torch.equal(raw[:, exposure : exposure + 1], single)
        torch.testing.assert_close(
            back[:, 3 * exposure : 3 * exposure + 3],
            optics.demosaic(single, "grbg", method="malvar"),
        )
    assert "gr/bg, channels='rgb', method='malvar'" in repr(array)
    assert not array.state_dict()


@pytest.mark.parametrize(
    ("pattern", "channels", "message"),
    [
        ("rgb", "rgb", "four letters for 2 x 2 pixels, such as 'rggb', not 'rgb'; give a larger"),
        (("rg", "b"), "rgb", "rows of one length"),
        ((), "rgb", "rows of one length"),
        ("rgxb", "rgb", r"has \['x'\], which are not among channels='rgb'"),
        ("rrgg", "rgb", r"every channel of 'rgb', 0 to 2, .* it has \[0, 1\]"),
        (torch.tensor([[0, 3]]), "rgb", r"but it has \[0, 3\]"),
        (torch.tensor([0, 1, 2]), "rgb", r"integer tensor \[h, w\], not torch.int64 \(3,\)"),
        (torch.ones(2, 2), "rgb", "integer tensor"),
        ("rggb", "rrgb", "channels must be different letters"),
    ],
)
def test_bad_patterns_are_refused(pattern, channels, message):
    with pytest.raises(ValueError, match=message):
        optics.cfa_indices(pattern, channels=channels)


@pytest.mark.parametrize("method", ["bilinear", "malvar"])
@pytest.mark.parametrize("channels", ["".join(order) for order in itertools.permutations("rgb")])
def test_channels_in_another_order_are_the_same_ones(channels, method):
    raw = torch.rand(2, 1, 8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = optics.demosaic(raw, "grbg", method=method)
    made = optics.demosaic(raw, "grbg", channels=channels, method=method)
    torch.testing.assert_close(made, expected[:, ["rgb".index(letter) for letter in channels]])


def test_bad_pictures_and_methods_are_refused():
    with pytest.raises(ValueError, match=r"image must be \[B, 3, H, W\] for channels='rgb', not"):
        optics.mosaic(torch.ones(1, 4, 4, 4), "rggb")
    with pytest.raises(ValueError, match=r"image must be \[B, 3, H, W\] for channels='rgb', not"):
        optics.mosaic(torch.ones(4, 3, 4), "rggb")
    with pytest.raises(ValueError, match=r"real floating point \[B, 1, H, W\], not torch.float32"):
        optics.demosaic(torch.ones(1, 3, 4, 4), "rggb")
    with pytest.raises(ValueError, match=r"at least 2 x 2 pixels .* not 1 x 4"):
        optics.demosaic(torch.ones(1, 1, 1, 4), "rggb")
    with pytest.raises(ValueError, match=r"at least 4 x 4 pixels .* not 3 x 4"):
        optics.demosaic(torch.ones(1, 1, 3, 4), "rggb", method="malvar")
    raw = torch.ones(1, 1, 6, 6)
    with pytest.raises(ValueError, match=r"method must be one of .* not 'guess'"):
        optics.ColourFilterArray("rggb", method="guess")
    with pytest.raises(ValueError, match=r"method must be one of .* not 'guess'"):
        optics.demosaic(raw, "rggb", method="guess")
    for pattern in (("rgb",), ("rb", "gg")):
        with pytest.raises(ValueError, match=r"a Bayer array.* use method='bilinear'"):
            optics.ColourFilterArray(pattern, method="malvar")
        with pytest.raises(ValueError, match=r"a Bayer array.* use method='bilinear'"):
            optics.demosaic(raw, pattern, method="malvar")
    with pytest.raises(ValueError, match=r"takes \[B, 2 exposures \* 3 channels 'rgb', H, W\]"):
        optics.ColourFilterArray("rggb")(torch.ones(1, 3, 4, 4), exposures=2)


def test_the_case_of_a_pattern_does_not_matter():
    for pattern, own in (("GBRG", "gbrg"), (("RGb", "BrG", "gBR"), ("rgb", "brg", "gbr"))):
        assert torch.equal(optics.cfa_indices(pattern), optics.cfa_indices(own))
    assert torch.equal(optics.cfa_indices("rggb", channels="RGB"), optics.cfa_indices("rggb"))
    assert optics.ColourFilterArray("RGGB").rows == "rg/gb"
    # Where channels differ by it, it does.
    assert optics.cfa_indices("rRRr", channels="rR").tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match=r"pattern 'RGGW' has .'W'., which are not among"):
        optics.cfa_indices("RGGW")


# ------------------------------------------------------------------------------ handed on as it is

QUAD = ("rrgg", "rrgg", "ggbb", "ggbb")  # Bayer's colours, four pixels each


def test_packing_is_torchs_pixel_unshuffle():
    raw = _picture(3, 2, 6, 10)
    packed = optics.pack_mosaic(raw)
    assert torch.equal(packed, torch.nn.functional.pixel_unshuffle(raw, 2))
    assert torch.equal(optics.unpack_mosaic(packed), raw)
    quad = optics.pack_mosaic(_picture(1, 3, 8, 12), (4, 4))
    assert torch.equal(quad, torch.nn.functional.pixel_unshuffle(_picture(1, 3, 8, 12), 4))


@pytest.mark.parametrize(("h", "w"), [(1, 3), (3, 2), (2, 1)])
def test_phases_are_in_raster_order(h, w):
    raw = _picture(2, 2, 6, 12)
    packed = optics.pack_mosaic(raw, (h, w))
    assert packed.shape == (2, 2 * h * w, 6 // h, 12 // w)
    for mosaic, i, j in itertools.product(range(2), range(h), range(w)):
        channel = mosaic * h * w + i * w + j
        assert torch.equal(packed[:, channel], raw[:, mosaic, i::h, j::w])
    assert torch.equal(optics.unpack_mosaic(packed, (h, w)), raw)
    assert torch.autograd.gradcheck(lambda r: optics.pack_mosaic(r, (h, w)), raw.requires_grad_())


def test_a_packed_mosaic_has_one_colour_a_channel():
    colours = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    image = colours.view(1, 3, 1, 1).expand(2, 3, 8, 8)
    for pattern in ("rggb", "grbg", QUAD):
        array = optics.ColourFilterArray(pattern, method="packed")
        packed = array.demosaic(array(image))
        own = array.indices.flatten()
        assert array.picture_channels == packed.shape[1] == len(own)
        assert torch.equal(packed, colours[own].view(1, -1, 1, 1).expand(packed.shape))
    # Nothing is done to a mosaic that is handed on as it is.
    whole = optics.ColourFilterArray("rggb", method="none")
    assert torch.equal(whole.demosaic(whole(image)), optics.mosaic(image, "rggb"))
    assert (whole.picture_channels, whole.interpolates) == (1, False)
    assert optics.ColourFilterArray("rggb").picture_channels == 3


@pytest.mark.parametrize("method", ["packed", "none"])
@pytest.mark.parametrize("pattern", ["gbrg", QUAD])
def test_a_step_of_single_pixels_is_the_same_on_a_mosaic(method, pattern):
    # The difference of two exposures, another factor for each colour: before or after the mosaic.
    factors = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64).view(1, 3, 1, 1)
    image = _picture(2, 6, 8, 12)

    def step(picture):
        return factors * (picture[:, :3] - picture[:, 3:])

    array = optics.ColourFilterArray(pattern, method=method)
    made = array.in_colour(array.demosaic(array(image, exposures=2)), step)
    torch.testing.assert_close(made, array.demosaic(array(step(image))), rtol=0, atol=0)
    raw = array.demosaic(array(image, exposures=2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: array.in_colour(r, step), raw)


def test_a_step_on_interpolated_colours_is_done_as_it_is():
    array = optics.ColourFilterArray("rggb").double()
    picture = _picture(1, 3, 4, 4)
    assert torch.equal(array.in_colour(picture, torch.cos), picture.cos())


def test_what_cannot_be_packed_is_refused():
    for shape in ((1, 1, 5, 4), (1, 1, 4, 5), (1, 4, 4)):
        with pytest.raises(ValueError, match=r"whole periods of 2 x 2 pixels .* crop it"):
            optics.pack_mosaic(torch.ones(shape))
    with pytest.raises(ValueError, match=r"packed must be \[B, E \* 4, H, W\], a channel for each"):
        optics.unpack_mosaic(torch.ones(1, 6, 2, 2))
    for function in (optics.pack_mosaic, optics.unpack_mosaic):
        with pytest.raises(
            ValueError, match=r"period must be .* whole numbers of at least 1 sample, not"
        ):
            function(torch.ones(1, 4, 4, 4), (0, 2))
    with pytest.raises(ValueError, match=r"not 'packed'; pack_mosaic rearranges"):
        optics.demosaic(torch.ones(1, 1, 4, 4), "rggb", method="packed")


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        ("rggb", "bilinear"),
        (("rgb", "brg", "gbr"), "bilinear"),
        ("grbg", "malvar"),
        (torch.tensor([[2, 1], [1, 0]]), "malvar"),
    ],
    ids=["bayer", "diagonal", "malvar", "malvar-indices"],
)
def test_a_mosaic_and_its_interpolation_compile_to_one_graph(pattern, method):
    def both(image):
        return optics.demosaic(optics.mosaic(image, pattern), pattern, method=method)

    image = torch.rand(1, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(both, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), both(image))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_a_pattern_may_be_an_array(kind):
    indices = np.array([[0, 1], [1, 2]], dtype=kind)  # as rawpy gives raw_pattern
    assert torch.equal(optics.cfa_indices(indices), optics.cfa_indices("rggb"))
    turned = optics.cfa_indices(indices[::-1])
    assert torch.equal(turned, optics.cfa_indices("gbrg"))
    assert optics.Sensor(cfa=indices).cfa.rows == "rg/gb"
    assert torch.equal(optics.cfa_indices(np.array(["rg", "gb"])), optics.cfa_indices("rggb"))
    with pytest.raises(ValueError, match=r"integer tensor \[h, w\], not torch.float32 \(2, 2\)"):
        optics.cfa_indices(indices.astype(float))
