import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optics import (
    AmplitudeMask,
    CoherentImaging,
    Element,
    IncoherentImaging,
    Lens,
    PhaseMask,
    Pupil,
    audit_gradients,
    audit_sampling,
)

WAVELENGTH, FOCAL, SPACING = 550e-9, 0.05, 50e-6


def random_phase(size=16, scale=1.0):
    return scale * torch.rand(size, size, generator=torch.Generator().manual_seed(4))


def make_pupil(*elements, size=32, pitch=None, psf_size=16, wavelengths=(WAVELENGTH,), **options):
    # Q of the first wavelength is about 2.5.
    pitch = pitch or WAVELENGTH * FOCAL / ((size - 1) * SPACING) / 2.5
    if not elements:
        options |= {"size": size, "spacing": SPACING}
    return Pupil(
        elements,
        wavelengths=wavelengths,
        focal_length=FOCAL,
        pixel_pitch=pitch,
        psf_size=psf_size,
        **options,
    )


def phase_pupil(phase, **options):
    return make_pupil(PhaseMask(phase, spacing=SPACING), size=len(phase), **options)


@settings(deadline=None, max_examples=25)
@given(step=st.floats(-3.1, 3.1), axis=st.sampled_from([0, 1]))
def test_a_ramp_has_its_own_phase_step(step, axis):
    ramp = step * torch.arange(32, dtype=torch.float64)
    phase = (ramp[:, None] if axis == 0 else ramp[None]).expand(32, 32)
    audit = audit_sampling(phase_pupil(phase.contiguous()))
    assert audit.phase_step.item() == pytest.approx(abs(step), abs=1e-6)


def test_a_window_helps_coherent_light_where_there_is_a_seam():
    # What falls beside the window comes over the seam of the continued picture instead.
    scene = torch.linspace(0.05, 0.95, 64, dtype=torch.float64).expand(1, 1, 64, 64).contiguous()
    lit = torch.nn.functional.pad(scene, (480,) * 4, mode="replicate")
    far = CoherentImaging(make_pupil(size=128).double(), boundary="circular")
    wanted = far(lit)[..., 480:544, 480:544]
    errors, losses = [], []
    for psf_size in (9, 33):
        pupil = make_pupil(size=128, psf_size=psf_size).double()
        errors.append(float((CoherentImaging(pupil)(scene) - wanted).abs().max()))
        audit = audit_sampling(CoherentImaging(pupil))
        losses.append(float(audit.window_loss))
        assert any("use a larger psf_size" in line for line in audit.problems()) == (psf_size == 9)
        assert torch.equal(audit.window_loss, audit_sampling(pupil).window_loss)
    assert errors[1] < errors[0] / 2
    assert losses[1] < losses[0] / 2
    # A circular picture has none, and no window changes it.
    small, large = (
        CoherentImaging(make_pupil(size=128, psf_size=size), boundary="circular")
        for size in (9, 33)
    )
    assert torch.equal(small(scene), large(scene))
    assert audit_sampling(small).window_loss.tolist() == [0]
    assert not any("psf_size" in line for line in audit_sampling(small).problems())
    assert any("psf_size" in line for line in audit_sampling(small.pupil).problems())


def test_q_and_cutoff_are_their_formulas():
    wavelengths, pitch = (450e-9, 650e-9), 7e-6
    aperture = torch.zeros(32, 32)
    aperture[6:27, 10:20] = 1
    pupil = make_pupil(wavelengths=wavelengths, pitch=pitch, aperture=aperture)
    audit = audit_sampling(CoherentImaging(pupil))
    diameter = 21 * SPACING  # each lit sample stands for its spacing
    expected = [w * FOCAL / (diameter * pitch) for w in wavelengths]
    assert audit.q.tolist() == pytest.approx(expected, rel=1e-6)
    assert audit.cutoff.tolist() == pytest.approx([1 / q for q in expected], rel=1e-6)
    assert audit.wavelength.tolist() == list(wavelengths)
    assert all(value.shape == (2,) for value in audit)


def test_a_tilt_throws_the_psf_out_of_the_window_and_out_of_the_middle():
    columns = torch.arange(32, dtype=torch.float64)
    straight = audit_sampling(phase_pupil(torch.zeros(32, 32, dtype=torch.float64)))
    tilted = audit_sampling(phase_pupil((0.7 * math.pi * columns).expand(32, 32).contiguous()))
    assert straight.window_loss.item() < 0.06
    assert tilted.window_loss.item() > 0.98
    assert straight.wrap_energy.item() < 0.03
    assert tilted.wrap_energy.item() > 0.95


def test_wrapped_light_of_a_line_is_that_of_a_sinc():
    # One open sample in y and N in x: the irradiance over a period is sin^2(N u) / (N^2 sin^2 u),
    # and one sample spreads evenly, which leaves half of the light within half of the period.
    from scipy.integrate import quad

    n = 16
    aperture = torch.zeros(32, 32, dtype=torch.float64)
    aperture[16, 8 : 8 + n] = 1
    audit = audit_sampling(make_pupil(aperture=aperture))

    def irradiance(f):
        return (math.sin(math.pi * n * f) / math.sin(math.pi * f)) ** 2 / n if f else float(n)

    inside = 2 * quad(irradiance, 0, 0.25, limit=200)[0]
    assert audit.wrap_energy.item() == pytest.approx(1 - inside / 2, abs=1e-9)


@pytest.mark.parametrize("step", [0.4, -1.7, 2.5])
def test_wrapped_light_of_a_tilted_line_is_that_of_a_shifted_sinc(step):
    from scipy.integrate import quad

    # Two open rows, 1 + cos(2 pi f) of the period along y, so that no term vanishes by symmetry.
    n = 16
    aperture = torch.zeros(32, 32, dtype=torch.float64)
    aperture[16:18, 8 : 8 + n] = 1
    ramp = step * torch.arange(32, dtype=torch.float64)
    audit = audit_sampling(phase_pupil(ramp.expand(32, 32).contiguous(), aperture=aperture))

    def irradiance(f):
        u = math.pi * (f - step / (2 * math.pi))
        return (math.sin(n * u) / math.sin(u)) ** 2 / n if u else float(n)

    inside = quad(irradiance, -0.25, 0.25, limit=400)[0] * (1 / 2 + 1 / math.pi)
    assert audit.wrap_energy.item() == pytest.approx(1 - inside, abs=1e-7)


@pytest.mark.parametrize("gain", [1.5, 1.0])
def test_an_element_that_amplifies_is_warned_of(gain):
    class Gain(Element):
        def transmission(self, wavelength):
            return gain * torch.ones(len(wavelength), *self.size, dtype=torch.complex64)

    aperture = torch.zeros(32, 32)
    aperture[6:27, 10:20] = 0.5  # a grey one: what counts is the element, not what leaves
    pupil = make_pupil(Gain(32, SPACING), aperture=aperture)
    if gain == 1:
        audit_sampling(pupil)
        return
    with pytest.warns(UserWarning, match=r"elements of the pupil amplify: \|t\| reaches 1\.5"):
        audit_sampling(pupil)


def test_defocus_spreads_light_and_distance_is_passed_on():
    pupil = make_pupil(focus=1.0)
    audit = audit_sampling(pupil, distance=torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64))
    assert audit.wrap_energy.shape == (3, 1)
    assert audit.window_loss.shape == (3, 1)
    for values in (audit.wrap_energy, audit.window_loss, audit.phase_step):
        assert (values.diff(dim=0) > 0).all()
    # Path r^2 / 2 (1/z - 1/f): the steepest lit step is between samples 14 and 15 (or -16 and
    # -15) from the axis, up to a row or column of the rim.
    steepest = math.pi / WAVELENGTH * SPACING**2 * (15**2 - 14**2)
    assert audit.phase_step[1, 0].item() == pytest.approx(steepest * 1.0, rel=0.08)


def test_problems_are_named_with_numbers():
    assert audit_sampling(make_pupil(size=128, psf_size=64)).problems() == []
    columns = torch.arange(32, dtype=torch.float64)
    tilted = phase_pupil((0.7 * math.pi * columns).expand(32, 32).contiguous())
    text = audit_sampling(tilted).problems()
    assert len(text) == 3
    assert "at 550 nm the phase changes by up to 2.2 radians" in text[0]
    assert "of the PSF's period, more than 1 %" in text[1]
    assert "window, more than 5 %" in text[2]
    coarse = make_pupil(pitch=WAVELENGTH * FOCAL / (31 * SPACING) / 1.5, psf_size=32)
    assert any(
        "Q = lambda s' / (D p) is 1.5, below 2" in line
        for line in audit_sampling(coarse).problems()
    )


def test_light_that_is_made_is_a_problem():
    # An aperture that was trained to be wider: Q is 1 at 16 samples, and 1/2 at 32, where every
    # pixel but the one on the axis is at a zero of the sinc, and that one, twice as large as
    # lambda f / D along each side, is counted with the irradiance of its middle.
    aperture = nn.Parameter(torch.zeros(32, 32))
    aperture.data[8:24, 8:24] = 1
    pitch = WAVELENGTH * FOCAL / (16 * SPACING)
    pupil = make_pupil(aperture=aperture, pitch=pitch, psf_size=2)
    assert not any("more light" in line for line in audit_sampling(pupil).problems())
    aperture.data[:] = 1
    audit = audit_sampling(pupil)
    assert audit.window_loss.item() == pytest.approx(-3, abs=1e-5)
    assert any(
        "the window holds 300 % more light than passes the pupil" in line
        for line in audit.problems()
    )


def test_the_measures_are_penalties():
    pupil = phase_pupil(nn.Parameter(random_phase(16, 2.0).double()))

    def measures(module):
        return audit_sampling(module)[0], *audit_sampling(module)[3:5]

    audit_gradients(pupil, (), call=measures)
    lens = Lens(32, spacing=SPACING, focal_length=nn.Parameter(torch.tensor(0.7).double()))
    audit_gradients(make_pupil(lens), (), call=measures)


@pytest.mark.parametrize("size", [(16, 40), (40, 16)])
def test_the_steepest_step_may_lie_anywhere_in_an_oblong_pupil(size):
    phase = torch.zeros(size)
    phase[-1, -1] = 2.5
    aperture = torch.ones(size)
    pupil = make_pupil(PhaseMask(phase, spacing=SPACING), aperture=aperture, pitch=2e-6, psf_size=8)
    assert audit_sampling(pupil).phase_step.item() == pytest.approx(2.5, abs=1e-6)


def test_from_q_of_two_on_a_psf_is_sampled_in_full():
    # Powers of two, so that Q is 2 without a rounding error.
    slit = torch.zeros(64, 64)
    slit[28:36, 28:36] = 1
    lengths = {"focal_length": 2**-6, "size": 64, "spacing": 2**-13, "psf_size": 8}
    for pitch, aliased in ((2**-18, False), (1.01 * 2**-18, True)):
        pupil = Pupil([], wavelengths=(2**-21,), pixel_pitch=pitch, aperture=slit, **lengths)
        assert any("below 2" in line for line in audit_sampling(pupil).problems()) == aliased


def test_dark_samples_have_no_phase():
    phase = torch.zeros(32, 32)
    phase[:, 20:] = 3.0
    aperture = torch.zeros(32, 32)
    aperture[:, :20] = 1
    aperture[:, 20:] = 5e-4
    assert audit_sampling(phase_pupil(phase, aperture=aperture)).phase_step.item() == 0
    aperture[:, 20:] = 2e-3
    step = audit_sampling(phase_pupil(phase, aperture=aperture)).phase_step.item()
    assert step == pytest.approx(3.0, abs=1e-6)


def test_any_module_with_one_pupil_and_no_other():
    imaging = IncoherentImaging(make_pupil())
    assert audit_sampling(nn.Sequential(imaging)).q.tolist() == audit_sampling(imaging).q.tolist()
    with pytest.raises(ValueError, match="IncoherentImaging contains 0"):
        audit_sampling(IncoherentImaging(torch.ones(1, 3, 3) / 9))
    with pytest.raises(ValueError, match="Sequential contains 2"):
        audit_sampling(nn.Sequential(make_pupil(), make_pupil()))


def test_a_camera_is_audited_at_its_working_distances():
    pupil = Pupil(
        [],
        wavelengths=(550e-9,),
        focal_length=20e-3,
        pixel_pitch=2e-6,
        psf_size=15,
        size=64,
        spacing=40e-6,
    )
    distances = torch.tensor([0.2, 1.0, torch.inf], dtype=torch.float64)
    camera = IncoherentImaging(pupil, working_distances=distances)
    expected = audit_sampling(pupil, distance=distances)
    for module in (camera, torch.nn.Sequential(camera)):
        found = audit_sampling(module)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert audit_sampling(pupil).window_loss.shape == (1,)
    assert expected.window_loss.shape == (3, 1)


def test_what_is_no_module_and_what_passes_no_light_cannot_be_audited():
    with pytest.raises(
        TypeError, match="module must be a Pupil or contain exactly one, not Tensor"
    ):
        audit_sampling(torch.ones(3))
    opaque = AmplitudeMask(torch.zeros(32, 32), spacing=SPACING, trainable=False)
    with pytest.raises(ValueError, match="pupil passes no light"):
        audit_sampling(make_pupil(opaque))
