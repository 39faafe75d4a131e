import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage

import optics
from optics.imaging.shutter import open_slots

RASKAR = "1010000111000001010000110011110111010111001001100111"


def _source(seed=0):
    return torch.Generator().manual_seed(seed)


def _random_code(slots, seed=0):
    return torch.rand(slots, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("moved", [(0.0, 0.0), (5.0, 0.0), (0.0, -7.3), (3.7, 6.1), (-8.0, 0.4)])
def test_a_psf_is_the_time_that_a_point_spends_at_each_pixel(moved):
    """Against scipy's integral over time of bilinear interpolation, slot by slot."""
    code = _random_code(5)
    psf = optics.motion_psf(torch.tensor(moved, dtype=torch.float64), code, size=9)
    slots = np.linspace(-0.5, 0.5, 6)

    def spent(y, x):
        def near(t):
            dy, dx = abs(y - moved[1] * t), abs(x - moved[0] * t)
            return max(0.0, 1 - dx) * max(0.0, 1 - dy)

        return sum(
            float(c) * integrate.quad(near, *span, limit=200, epsabs=1e-7)[0]
            for c, span in zip(code, itertools.pairwise(slots), strict=True)
        )

    expected = [[spent(y, x) for x in range(-4, 5)] for y in range(-4, 5)]
    np.testing.assert_allclose(psf.numpy(), expected, atol=5e-4)


@pytest.mark.parametrize("name", ["open", "fluttered"])
def test_the_transform_of_a_long_motion_is_that_of_the_code(name):
    """Closed form: a sinc a slot, their phases, and the sinc squared of the interpolation."""
    code, length = optics.shutter_code(name, 7).double(), 60.0
    psf = optics.motion_psf(torch.tensor([length, 0.0], dtype=torch.float64), code, size=63)
    # Sampled finely enough that what the pixels fold back is below what is asked for.
    frequencies = np.linspace(0, 0.1, 41)
    places = np.arange(63) - 31
    found = np.exp(-2j * np.pi * np.outer(frequencies, places)) @ psf.sum(0).numpy()
    times = (np.arange(len(code)) + 0.5) / len(code) - 0.5
    slot = np.sinc(frequencies * length / len(code)) / len(code)
    phases = np.exp(-2j * np.pi * np.outer(frequencies * length, times)) @ code.numpy()
    np.testing.assert_allclose(found, phases * slot * np.sinc(frequencies) ** 2, atol=2e-3)


def test_the_picture_is_the_mean_of_shifted_scenes():
    """Against scipy's bilinear shift at many moments."""
    scene = torch.rand(
        1, 1, 24, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    code, moved = _random_code(4, 1), (4.5, -3.2)
    shutter = optics.CodedExposure(code, 3.0, channels=1, trainable=False)
    found = shutter(scene, displacement=torch.tensor(moved, dtype=torch.float64))[0, 0]
    moments = (np.arange(800) + 0.5) / 800 - 0.5
    light = np.repeat(code.numpy(), 200)
    expected = np.mean(
        [
            weight * ndimage.shift(scene[0, 0].numpy(), (moved[1] * t, moved[0] * t), order=1)
            for t, weight in zip(moments, light, strict=True)
        ],
        0,
    )
    inner = slice(4, -4)  # scipy continues its border in another way
    np.testing.assert_allclose(found[inner, inner], expected[inner, inner], atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-10, 10),
    y=st.floats(-10, 10),
    code=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_light_is_counted(x, y, code):
    code = torch.tensor(code, dtype=torch.float64)
    psf = optics.motion_psf(torch.tensor([x, y], dtype=torch.float64), code, size=11)
    assert bool((psf >= 0).all())
    torch.testing.assert_close(psf.sum(), code.mean(), rtol=1e-12, atol=1e-12)
    turned = optics.motion_psf(torch.tensor([-x, -y], dtype=torch.float64), code.flip(0), size=11)
    torch.testing.assert_close(psf, turned)  # the same path backwards
    flipped = optics.motion_psf(torch.tensor([y, x], dtype=torch.float64), code, size=11)
    torch.testing.assert_close(psf, flipped.mT)


def test_light_beyond_the_window_is_lost():
    psf = optics.motion_psf([20.0, 0.0], size=5)
    torch.testing.assert_close(psf.sum(), torch.tensor(5 / 20), rtol=1e-2, atol=0)


def test_a_picture_moves_no_farther_than_the_window_holds():
    shutter = optics.CodedExposure("open", 4.0, channels=1, trainable=False)
    scene = torch.ones(2, 1, 16, 16)
    torch.testing.assert_close(shutter(scene, displacement=[[12.0, 0.0], [0, -12]]), scene)
    message = "displacement must be at most 12 pixels .* not 20: .* a motion of 7 or more"
    with pytest.raises(ValueError, match=message):
        shutter(scene, displacement=torch.tensor([0.0, -20.0]))
    with pytest.raises(ValueError, match="displacement must be finite"):
        shutter(scene, displacement=[float("inf"), 0.0])
    wider = optics.CodedExposure("open", 7, channels=1, trainable=False)
    torch.testing.assert_close(wider(scene, displacement=torch.tensor([0.0, -20.0])), scene)


def test_codes_by_name():
    for slots in (1, 2, 7, 16):
        assert optics.shutter_code("open", slots).tolist() == [1.0] * slots
    assert optics.shutter_code("open", 8, share=0.25).tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert optics.shutter_code("open", 7, share=0.1).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert optics.shutter_code("open", 16, share=0.5).sum() == 8
    fluttered = optics.shutter_code("fluttered")
    assert "".join(str(int(slot)) for slot in fluttered) == RASKAR
    drawn = [
        optics.shutter_code("random", 20, share=0.3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert [float(code.sum()) for code in drawn] == [6, 6, 6]


def test_the_fluttered_code_keeps_what_an_open_shutter_loses():
    """The claim that it was searched for: no zero of the spectrum, where a line has many."""
    least = [
        float(torch.fft.rfft(optics.shutter_code(name, 52).double(), 1040).abs().min()) / 26
        for name in ("open", "fluttered")
    ]
    assert least[0] < 1e-9
    assert least[1] > 0.05


def test_throughput_and_photons():
    shutter = optics.CodedExposure(optics.shutter_code("open", 8, share=0.25), 2.0, trainable=False)
    assert float(shutter.throughput()) == 0.25
    scene = torch.full((4, 3, 16, 16), 0.6)
    image = shutter(scene, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image, 0.25 * scene)
    assert torch.equal(shutter.combine(image), image)


def test_each_scene_has_a_motion_of_its_own():
    shutter = optics.CodedExposure("open", 2.0, channels=1)
    assert shutter.draws
    assert shutter.psf_size == 7
    point = torch.zeros(400, 1, 13, 13)
    point[:, :, 6, 6] = 1
    image = shutter(point, generator=torch.Generator().manual_seed(0))[:, 0].detach()
    assert len({tuple(picture.flatten().tolist()) for picture in image}) == 400
    normal = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    expected = optics.motion_psf(2.0 * normal, shutter.code.detach(), size=7)
    torch.testing.assert_close(image[:, 3:10, 3:10], expected)
    assert float(image[:, 0].abs().max()) < 1e-6  # nothing is as far
    # Every picture from its own generator: as alone.
    sources = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    both = shutter(point[:2], generator=sources)
    alone = shutter(point[1:2], generator=[torch.Generator().manual_seed(4)])
    torch.testing.assert_close(both[1:], alone)


def test_all_channels_of_a_picture_move_together():
    shutter = optics.CodedExposure("random", 2.0, generator=torch.Generator().manual_seed(1))
    scene = torch.rand(3, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    moved = torch.tensor([[3.0, 0.0], [-1.0, 2.0], [0.5, -3.5]])
    together = shutter(scene, displacement=moved)
    for k in range(3):
        for channel in range(3):
            alone = shutter(scene[k : k + 1, [channel] * 3], displacement=moved[k])
            torch.testing.assert_close(together[k, channel], alone[0, 0])


def test_a_share_that_no_slots_come_near_is_told():
    for name in ("open", "random"):
        for slots in range(1, 9):
            for share in (0.1, 0.25, 0.5, 0.75, 1.0):
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    code = optics.shutter_code(name, slots, share=share, generator=_source())
                assert open_slots(name, slots, share) == int(code.sum())
                off = abs(float(code.mean()) - share)
                assert bool(told) == (off > share / 2 + 1e-6), (name, slots, share)
    with pytest.warns(
        UserWarning, match=r"share=0\.1 of 4 slots, .* is rounded to 2, 0\.5 of the expos"
    ):
        optics.shutter_code("open", 4, share=0.1)


def test_a_shutter_that_moves_nothing_draws_nothing():
    still = optics.CodedExposure("open", 0.0, trainable=False)
    scene = torch.rand(3, 3, 8, 8, generator=_source())
    before, source = torch.get_rng_state(), _source(1)
    torch.testing.assert_close(still(scene), scene)
    torch.testing.assert_close(still(scene, generator=source), scene)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(source.get_state(), _source(1).get_state())
    torch.testing.assert_close(torch.func.vmap(lambda one: still(one[None])[0])(scene), scene)


def test_motion_of_many_pictures_is_refused():
    far = optics.CodedExposure("open", 500.0)
    with pytest.raises(
        ValueError, match=r"motion=500 .* pictures of 24 x 32: give at most 128, pix"
    ):
        far(torch.zeros(1, 3, 24, 32))
    near = optics.CodedExposure("open", 32.0, trainable=False)
    scene = torch.full((1, 3, 8, 4), 0.5)
    torch.testing.assert_close(near(scene, generator=_source()), scene)
    with pytest.raises(ValueError, match="give at most 32"), near.moving(33):
        near(scene)


def test_a_scene_at_rest_is_only_darker():
    scene = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    still = optics.CodedExposure("fluttered", 0.0, trainable=False)
    assert not still.draws
    assert still.psf_size == 1
    torch.testing.assert_close(still(scene), 0.5 * scene)
    assert still(scene[:0]).shape == (0, 3, 9, 8)


def test_scenes_move_farther_for_a_while_in_the_directions_that_they_had():
    shutter = optics.CodedExposure("open", 2.0, channels=1, trainable=False)
    point = torch.zeros(8, 1, 21, 21)
    point[:, :, 10, 10] = 1
    normal = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)

    for motion, size in ((5.0, 17), (0.5, 3), (0.0, 1)):
        with shutter.moving(motion):
            assert shutter.draws  # so that what is drawn after it stays what it was
            image = shutter(point, generator=torch.Generator().manual_seed(0))[:, 0]
        window = optics.motion_psf(motion * normal, shutter.code, size=size)
        side = (21 - size) // 2
        torch.testing.assert_close(
            image, torch.nn.functional.pad(window, (side,) * 4), atol=1e-6, rtol=0
        )
    assert (shutter.motion, shutter.psf_size) == (2.0, 7)
    still = optics.CodedExposure("open", 0.0, channels=1)
    with still.moving(1.0):
        assert still.draws
        assert still.psf_size == 5
    assert not still.draws
    still.motion = 3.0
    assert still.draws
    with pytest.raises(RuntimeError, match="broken"), shutter.moving(9.0):
        raise RuntimeError("broken")
    assert shutter.motion == 2.0
    for wrong, error in ((-1.0, ValueError), (float("inf"), ValueError), ("far", TypeError)):
        with pytest.raises(error, match="motion"), shutter.moving(wrong):
            pass


def test_a_start_is_held_closely_and_learned():
    shutter = optics.CodedExposure("fluttered", 2.0)
    start = optics.shutter_code("fluttered")
    torch.testing.assert_close(shutter.code.detach(), start, atol=1.1e-3, rtol=0)
    fixed = optics.CodedExposure(start, 2.0, trainable=False)
    assert torch.equal(fixed.code, start)
    assert not list(fixed.parameters())
    # More light is asked for: every slot opens.
    optimizer = torch.optim.Adam(shutter.parameters(), 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        (-shutter.throughput()).backward()
        optimizer.step()
    assert float(shutter.code.detach().min()) > 0.99


def test_the_lens_follows_the_motion():
    lens = optics.IncoherentImaging(torch.full((3, 3), 1 / 12))
    shutter = optics.CodedExposure("open", 2.0, trainable=False, lens=lens)
    scene = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = torch.tensor([[1.0, 3.0], [0.0, -2.0]])
    alone = optics.CodedExposure("open", 2.0, trainable=False)
    found = shutter(scene, displacement=moved)
    torch.testing.assert_close(found, lens(alone(scene, displacement=moved)))
    assert float(shutter.throughput()) == pytest.approx(0.75)
    assert torch.equal(shutter.combine(found), found)
    signed = optics.LearnedKernel("sobel", 3)
    with pytest.raises(ValueError, match=r"the lens takes 4 exposures.* different motion: give"):
        optics.CodedExposure(lens=signed)
    with pytest.raises(TypeError, match=r"lens must be an optics.FrontEnd\(...\), not Linear"):
        optics.CodedExposure(lens=torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    "lens",
    [
        lambda **options: optics.CoherentImaging(
            optics.Pupil(
                [], size=16, spacing=1e-4, wavelengths=(550e-9,), focal_length=10e-3,
                pixel_pitch=2e-6, psf_size=5,
            ),
            **options,
        ),
        *(
            lambda light=light, **options: optics.FourierFilter(
                16, "low_pass", channels=1, illumination=light, **options
            )
            for light in ("coherent", "partial")
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"phase_depth": 0.5}])
def test_a_lens_is_linear_in_the_light_that_passes_in_each_slot(lens, options):
    lens = lens(**options)
    one, other = torch.rand(2, 1, 1, 16, 16, generator=_source())
    together = lens(one + other)
    assert (lens(one) + lens(other) - together).abs().max() > 0.01 * together.max()
    with pytest.raises(ValueError, match=f"light interferes in the lens, {type(lens).__name__}"):
        optics.CodedExposure(lens=lens)


def test_a_filter_in_incoherent_light_is_a_lens_behind_a_shutter():
    lens = optics.FourierFilter(16, "low_pass", illumination="incoherent")
    shutter = optics.CodedExposure("fluttered", 2.0, trainable=False, lens=lens)
    assert not lens.interferes
    even = shutter(torch.full((1, 3, 16, 16), 0.5), generator=_source())
    passed = float(shutter.throughput().detach())
    torch.testing.assert_close(even, torch.full_like(even, 0.5 * passed))


def test_gradients():
    moved = torch.tensor([[2.3, -1.1], [0.4, 3.3]], dtype=torch.float64, requires_grad=True)
    code = (0.1 + 0.8 * _random_code(5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda moved, code: optics.motion_psf(moved, code, size=7), (moved, code), eps=1e-7
    )


def test_transforms():
    moved = torch.tensor([[2.3, -1.1], [0.4, 3.3]])
    code = _random_code(5).float()

    def psf(moved):
        return optics.motion_psf(moved, code, size=7)

    together = psf(moved)
    torch.testing.assert_close(torch.func.vmap(psf)(moved), together)
    torch.testing.assert_close(torch.stack([psf(one) for one in moved]), together)
    compiled = torch.compile(psf, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(moved), together)


def test_bad_input_is_refused_in_words():
    for refused, message in (
        (lambda: optics.motion_psf(torch.zeros(3), size=5), r"displacement must be \[..., 2\]"),
        (lambda: optics.motion_psf([0.0, float("nan")], size=5), "displacement must be finite"),
        (lambda: optics.motion_psf([0.0, 0.0], size=4), "size must be odd.* not 4"),
        (
            lambda: optics.motion_psf([0.0, 0.0], torch.tensor([1.5]), size=5),
            "code must be between 0 and 1, in transmission; it reaches 1.5",
        ),
        (lambda: optics.CodedExposure(torch.zeros(2, 2)), r"code must be \[T\]"),
        (lambda: optics.CodedExposure("closed"), "a shutter name must be one of .* not 'closed'"),
        (lambda: optics.CodedExposure("open", -1.0), "motion must be pixels RMS.* not -1"),
        (lambda: optics.CodedExposure("open", boundary="wrap"), "boundary must be one of"),
        (lambda: optics.shutter_code("open", 0), "slots must be a whole number of at least 1"),
        (lambda: optics.shutter_code("open", share=0.0), "share must be a fraction of the slots"),
        (lambda: optics.shutter_code("fluttered", share=0.4), "always has a share of one half"),
        (
            lambda: optics.CodedExposure()(torch.zeros(1, 2, 8, 8)),
            r"takes scenes \[B, 3, H, W\], not \(1, 2, 8, 8\)",
        ),
        (
            lambda: optics.CodedExposure()(torch.zeros(2, 3, 8, 8), displacement=torch.zeros(3, 2)),
            r"displacement must be \[2\].* each of the 2 pictures, not \(3, 2\)",
        ),
        (lambda: optics.CodedExposure().combine(torch.zeros(1, 2, 8, 8)), "combine takes"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    with pytest.raises(TypeError, match="code must be a Tensor"):
        optics.CodedExposure([1.0, 0.0])
    with pytest.raises(TypeError, match="motion is not learned here"):
        optics.CodedExposure(motion=torch.nn.Parameter(torch.tensor(4.0)))


@pytest.mark.parametrize("kind", [torch.uint8, torch.complex64])
def test_scenes_are_real_floating_point(kind):
    with pytest.raises(ValueError, match="scene must be real floating point"):
        optics.CodedExposure("open", 1.0, channels=2)(torch.zeros(1, 2, 9, 9, dtype=kind))
