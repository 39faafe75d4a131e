import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import joint
import optics
from joint.run.build import build_system
from joint.saved.checkpoint import CheckpointError, save_checkpoint
from joint.study.findings.element import Element, align, load_element, spreads, surrogate


def _blobs(generator, filters=1, signs=1, parts=1, size=15):
    """Smooth random parts that fade out well within their window."""
    y, x = np.mgrid[:size, :size] - size // 2
    found = np.zeros((filters, signs, parts, size, size))
    for each in found.reshape(-1, size, size):
        for _ in range(4):
            cy, cx = generator.uniform(-1.5, 1.5, 2)
            width = generator.uniform(1.0, 1.4)
            each += generator.normal() * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return found


def _shifted(parts, dy, dx):
    """Moved by fractions of a pixel, by the Fourier shift theorem."""
    fy = np.fft.fftfreq(parts.shape[-2])[:, None]
    fx = np.fft.fftfreq(parts.shape[-1])[None, :]
    moved = np.fft.ifft2(np.fft.fft2(parts) * np.exp(-2j * np.pi * (fy * dy + fx * dx)))
    return moved if np.iscomplexobj(parts) else moved.real


def _kernel(parts):
    return Element("kernel", parts, ("",) * (parts.shape[1] * parts.shape[2]))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    scale=st.floats(0.1, 10),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
def test_shift_sign_and_scale_make_no_other_element(seed, shift, scale, signs):
    parts = _blobs(np.random.default_rng(seed), signs=3)
    changed = scale * _shifted(parts, *shift) * np.array(signs)[:, None, None, None]
    found = align(_kernel(parts), _kernel(changed))
    assert found.similarity == pytest.approx(1, abs=2e-3)
    assert found.shifts[0] == pytest.approx(shift, abs=0.05)
    again = align(_kernel(changed), _kernel(parts))
    assert again.similarity == pytest.approx(found.similarity, abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**16), order=st.permutations(range(4)))
def test_the_order_of_filters_makes_no_other_element(seed, order):
    parts = _blobs(np.random.default_rng(seed), filters=4)
    found = align(_kernel(parts), _kernel(parts[order]))
    assert found.similarity == pytest.approx(1, abs=1e-6)
    assert [order[place] for place in found.order] == [0, 1, 2, 3]


@pytest.mark.parametrize(("orientation", "same"), [("kept", 1), ("turned", 2), ("dihedral", 8)])
def test_turns_are_undone_where_asked(orientation, same):
    parts = _blobs(np.random.default_rng(1), parts=2)
    turns = [np.rot90(p, k, (-2, -1)) for p in (parts, parts[..., ::-1]) for k in range(4)]
    alike = [
        align(_kernel(parts), _kernel(turned), orientation=orientation).similarity > 1 - 1e-6
        for turned in turns
    ]
    assert sum(alike) == same
    assert alike[0]


def test_elements_that_have_nothing_in_common_are_not_alike():
    generator = np.random.default_rng(0)
    noise = [_kernel(generator.normal(size=(1, 1, 1, 63, 63))) for _ in range(4)]
    values = [align(a, b).similarity for a in noise for b in noise if a is not b]
    assert max(values) < 0.1
    assert align(noise[0], noise[0]).similarity == pytest.approx(1)
    nothing = _kernel(np.zeros((1, 1, 1, 63, 63)))
    assert align(nothing, noise[0]).similarity == 0


def test_signs_that_belong_together_are_not_free():
    parts = _blobs(np.random.default_rng(4), parts=2)
    flipped = parts * np.array([1, -1])[None, None, :, None, None]
    assert align(_kernel(parts), _kernel(flipped)).similarity < 0.9
    apart = parts.transpose(0, 2, 1, 3, 4), flipped.transpose(0, 2, 1, 3, 4)
    assert align(*map(_kernel, apart)).similarity == pytest.approx(1)


def test_windows_and_numbers_of_filters_may_differ():
    parts = _blobs(np.random.default_rng(2), filters=2)
    parts[0] *= 0.3
    wide = np.pad(parts, [(0, 0)] * 3 + [(3, 3), (3, 3)])
    assert align(_kernel(parts), _kernel(wide)).similarity == pytest.approx(1)
    weights = np.sqrt(np.square(parts).sum((1, 2, 3, 4)))
    one = align(_kernel(parts), _kernel(parts[1:]))
    assert one.similarity == pytest.approx(weights[1] / np.hypot(*weights))
    assert one.order == (-1, 0)


def test_a_mask_is_compared_by_its_psf():
    """Piston, tilt and the twin change the phase, and not what light makes of a point."""
    steps = torch.linspace(-1, 1, 33)
    y, x = steps[:, None], steps[None, :]
    phase = 3 * x**3 + 2 * x * y + y**2

    def seen(phase):
        config = joint.LensConfig(element="phase", pupil_size=33, psf_size=25)
        lens = joint.build_front_end(config, (32, 32), 3)
        with torch.no_grad():
            lens.pupil.elements[0].phase.copy_(phase)
        return spreads(lens)

    plain = seen(phase)
    assert plain.kind == "psf"
    assert align(plain, seen(0.7 - phase.flip(0, 1))).similarity == pytest.approx(1, abs=1e-3)
    tilted = align(plain, seen(phase + 5.1 * x))  # two pixels: sharper than the pixels sample
    assert tilted.similarity > 0.99
    assert abs(tilted.shifts[0][1]) == pytest.approx(2, abs=0.05)
    assert abs(tilted.shifts[0][0]) < 0.1
    assert align(plain, seen(phase.mT)).similarity < 0.95
    assert align(plain, seen(phase.mT), orientation="dihedral").similarity > 0.99


def test_a_fourier_filter_is_compared_by_its_spread():
    filters = [optics.FourierFilter((24, 24), start, margin=4) for start in ("spiral", "random")]
    spiral, noise = map(spreads, filters)
    assert np.iscomplexobj(spiral.parts)
    piston = Element("spread", np.exp(0.8j) * spiral.parts, ("",))
    assert align(spiral, piston).similarity == pytest.approx(1)
    # The spiral of the other hand is the twin of this one turned over.
    assert align(spiral, Element("spread", spiral.parts.conj(), ("",))).similarity == pytest.approx(
        1
    )
    assert align(spiral, noise).similarity < 0.5
    seen = optics.FourierFilter((24, 24), "spiral", margin=4, illumination="incoherent")
    assert spreads(seen).kind == "psf"
    assert (spreads(seen).parts >= 0).all()


def test_filters_of_a_kernel_are_what_may_come_in_any_order():
    kernel = optics.LearnedKernel("gabor", 7)
    assert spreads(kernel).parts.shape == (4, 3, 1, 7, 7)
    mixed = optics.LearnedKernel("identity", 5, mix_channels=True)
    assert spreads(mixed).parts.shape == (3, 1, 3, 5, 5)

    class Strange(optics.LearnedKernel):
        pass

    assert spreads(Strange("identity", 5)).kind == "kernel"


@pytest.mark.parametrize("channels", [(), (3,)])
def test_psfs_that_change_are_one_filter_of_all_places(channels):
    blobs = np.square(_blobs(np.random.default_rng(3), parts=2 * 3 * (channels or (1,))[0]))
    psfs = torch.from_numpy(blobs / blobs.sum((-2, -1)).max()).reshape(2, 3, *channels, 15, 15)
    own = None if channels else 1
    element = spreads(optics.VaryingImaging(psfs, rank=1, channels=own))
    assert element.kind == "psf"
    assert element.places == (2, 3)
    assert element.parts.shape == (1, psfs[..., 0, 0].numel(), 1, 15, 15)
    places = [f"place {row}, {column}" for row in range(2) for column in range(3)]
    names = [f"{at} {c}" for at in places for c in ("red", "green", "blue")] if channels else places
    assert element.names == tuple(names)
    assert align(element, element).similarity == pytest.approx(1)
    # All places move together, and none is taken for another.
    moved = Element("psf", _shifted(element.parts, 0, 1), element.names)
    assert align(element, moved).shifts[0] == pytest.approx((0, 1), abs=0.05)
    turned = spreads(optics.VaryingImaging(psfs.flip(0), rank=1, channels=own))
    assert align(element, turned).similarity < 0.99


def test_a_surrogate_has_the_power_and_not_the_phases():
    parts = _blobs(np.random.default_rng(0), filters=2, signs=3)
    made = surrogate(parts, np.random.default_rng(1))
    np.testing.assert_allclose(made.sum((-2, -1)), parts.sum((-2, -1)))
    assert np.isrealobj(made)
    assert np.abs(np.fft.fft2(made)) == pytest.approx(np.abs(np.fft.fft2(parts)), abs=1e-9)
    assert not np.allclose(made, parts)
    # What the parts of a filter have in common stays.
    assert np.vdot(made[0, 0], made[0, 1]) == pytest.approx(np.vdot(parts[0, 0], parts[0, 1]))
    white = np.random.default_rng(2).normal(size=(1, 1, 1, 31, 31))
    drawn = surrogate(white, np.random.default_rng(3))
    assert align(_kernel(white), _kernel(drawn)).similarity < 0.25


def test_what_does_not_fit_is_refused():
    one, three = (_kernel(np.ones((1, n, 1, 5, 5))) for n in (1, 3))
    with pytest.raises(ValueError, match="elements of different kinds"):
        align(one, three)
    with pytest.raises(ValueError, match="elements of different kinds"):
        align(one, Element("psf", one.parts, ("",)))
    with pytest.raises(ValueError, match="orientation must be one of"):
        align(one, one, orientation="upside down")


@pytest.mark.parametrize(
    ("settings", "name", "root"),
    [
        ({"restore_best": True}, "best", ""),
        ({"restore_best": False}, "checkpoint", "system."),
        ({"restore_best": False, "averaging": 0.9}, "checkpoint", "average."),
    ],
)
def test_an_element_is_read_without_its_scenes(small_base, leave, tmp_path, settings, name, root):
    """The one that was tested: of the best epoch, of the last one, or the average."""
    base = small_base(**settings)
    kernel = joint.KernelConfig(start="random", kernel_size=5)
    config = base.model_copy(
        update={"system": base.system.model_copy(update={"front_end": kernel, "seed": 4})}
    )
    system = build_system(config.system, image_size=(16, 16), channels=3, classes=3)
    first = spreads(system.front_end)
    with torch.no_grad():
        system.front_end.raw.add_(torch.randn(system.front_end.raw.shape))
    weights = {f"{root}{key}": tensor for key, tensor in system.state_dict().items()}
    leave(tmp_path, weights, name=name)
    learned, start = load_element(tmp_path, config)
    assert start.parts == pytest.approx(first.parts)
    assert learned.parts == pytest.approx(spreads(system.front_end).parts)
    assert learned.names == ("red", "green", "blue")
    none = config.model_copy(
        update={"system": base.system.model_copy(update={"front_end": joint.NoneConfig()})}
    )
    with pytest.raises(ValueError, match="has no front end"):
        load_element(tmp_path, none)
    wider = config.model_copy(
        update={"system": base.system.model_copy(update={"front_end": joint.KernelConfig()})}
    )
    with pytest.raises(CheckpointError, match="another architecture"):
        load_element(tmp_path, wider)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_element(tmp_path / "elsewhere", config)


@pytest.mark.parametrize("size", [16, None])
def test_a_lens_is_that_of_the_light_of_its_scenes(small_base, leave, tmp_path, size):
    """A lens has no weights for its channels: grey scenes have one, which the files alone tell."""
    base = small_base(restore_best=True)
    system = base.system.model_copy(update={"front_end": joint.LensConfig(psf_size=9)})
    data = joint.MedMNISTConfig(path="grey.npz", image_size=size)
    config = base.model_copy(update={"system": system, "data": data})
    built = build_system(config.system, image_size=(16, 16), channels=1, classes=3)
    leave(tmp_path, built.state_dict(), channels=1)
    learned, start = load_element(tmp_path, config)
    assert learned.parts.shape == (1, 1, 1, 9, 9)
    assert np.array_equal(learned.parts, start.parts)
    assert np.array_equal(learned.parts, spreads(built.front_end).parts)


def test_weights_of_no_training_are_told(small_base, tmp_path):
    save_checkpoint(tmp_path / "best.safetensors", {}, {})
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        load_element(tmp_path, small_base(restore_best=True))


def test_what_is_no_number_is_like_nothing():
    parts = _blobs(np.random.default_rng(0))
    broken = parts.copy()
    broken[..., 3, 3] = np.nan
    for pair in ((parts, broken), (broken, parts)):
        with pytest.raises(ValueError, match="NaN or infinite numbers cannot be compared"):
            align(*map(_kernel, pair))
