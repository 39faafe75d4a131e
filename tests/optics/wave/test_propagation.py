import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from optics.wave import aperture, propagation
from optics.wave.propagation import angular_spectrum, fraunhofer, fresnel

F64 = torch.float64
quick = settings(deadline=None, max_examples=25)
far_away = pytest.mark.filterwarnings("ignore:at a distance of")

sizes = st.tuples(st.integers(8, 96), st.integers(8, 96))
seeds = st.integers(0, 2**31)
waves = st.floats(350e-9, 1100e-9)
pitches = st.floats(0.75, 50)  # in wavelengths: no evanescent waves
distances = st.builds(
    lambda exponent, sign: sign * 10**exponent, st.floats(-5, 0), st.sampled_from([-1, 1])
)
dtypes = st.sampled_from([torch.complex64, torch.complex128])


def noise(size, seed, dtype=torch.complex128, lead=()):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, *size, generator=generator, dtype=dtype)


def tolerance(dtype, double, single=1e-5):
    return double if dtype == torch.complex128 else single


def assert_near(a, b, bound):
    assert (a - b).abs().max() <= bound * max(1.0, float(b.abs().max()))


def phase_error(wave, pitch, distance):
    """Rounding of the largest phase: eps of z alone turns it by this much."""
    s = min(1.0, 0.5 / pitch**2)
    return 1e-15 * 2 * math.pi / wave * abs(distance) * s


def transfer(function, size, **quantities):
    """Transfer function by its action on an impulse, zero frequency first."""
    impulse = torch.zeros(size, dtype=torch.complex128)
    impulse[0, 0] = 1
    return torch.fft.fft2(function(impulse, pad=False, **quantities))


def squared(size, spacing):
    fy, fx = (np.fft.fftfreq(n, spacing) for n in size)
    return torch.from_numpy(fy[:, None] ** 2 + fx**2)


@given(sizes, seeds, waves, st.floats(0.2, 50), dtypes, st.booleans(), st.booleans())
@quick
def test_p1_no_distance_is_the_identity(size, seed, wave, pitch, dtype, pad, limit):
    field = noise(size, seed, dtype)
    for function in (angular_spectrum, fresnel):
        same = function(
            field,
            spacing=pitch * wave,
            wavelength=wave,
            distance=0.0,
            pad=pad,
            band_limit=limit,
        )
        assert same.dtype == dtype
        assert_near(same, field, tolerance(dtype, 1e-13, 1e-6))


@given(sizes, seeds, waves, pitches, distances, dtypes)
@quick
def test_p2_p3_p6_unitary(size, seed, wave, pitch, distance, dtype):
    """Power is kept, back and forth is nothing, and the adjoint is the way back."""
    field, other = noise(size, seed, dtype), noise(size, seed + 1, dtype)
    quantities = {"spacing": pitch * wave, "wavelength": wave, "pad": False, "band_limit": False}
    near = tolerance(dtype, 1e-12)
    for function in (angular_spectrum, fresnel):
        there = function(field, distance=distance, **quantities)
        power = field.abs().square().sum()
        assert abs(there.abs().square().sum() - power) <= near * power
        assert_near(function(there, distance=-distance, **quantities), field, near)
        back = function(other, distance=-distance, **quantities)
        left, right = (other.conj() * there).sum(), (back.conj() * field).sum()
        assert abs(left - right) <= near * power


@far_away
@given(sizes, seeds, waves, st.floats(0.3, 50), distances, dtypes)
@quick
def test_p2_power_never_grows(size, seed, wave, pitch, distance, dtype):
    field = noise(size, seed, dtype)
    there = angular_spectrum(field, spacing=pitch * wave, wavelength=wave, distance=distance)
    power = field.abs().square().sum()
    assert there.abs().square().sum() <= power * (1 + tolerance(dtype, 1e-12))


@given(sizes, seeds, waves, pitches, distances, st.floats(-1, 1), dtypes)
@quick
def test_p4_distances_add(size, seed, wave, pitch, distance, part, dtype):
    field = noise(size, seed, dtype)
    second = part * distance
    quantities = {"spacing": pitch * wave, "wavelength": wave, "pad": False, "band_limit": False}
    for function in (angular_spectrum, fresnel):
        two = function(
            function(field, distance=distance, **quantities), distance=second, **quantities
        )
        one = function(field, distance=distance + second, **quantities)
        error = tolerance(dtype, 1e-11) + phase_error(wave, pitch, 2 * distance)
        assert_near(two, one, error)


@far_away
@given(sizes, seeds, waves, pitches, distances, dtypes)
@quick
def test_p5_p8_linear_and_symmetric(size, seed, wave, pitch, distance, dtype):
    field, other = noise(size, seed, dtype), noise(size, seed + 1, dtype)
    near = tolerance(dtype, 1e-12)
    for pad in (False, True):

        def go(u, pad=pad):
            return angular_spectrum(
                u, spacing=pitch * wave, wavelength=wave, distance=distance, pad=pad
            )

        there = go(field)
        assert_near(go(2j * field - other), 2j * there - go(other), near)
        assert_near(go(field.mT), there.mT, near)
        assert_near(go(field.flip(-1)), there.flip(-1), near)
        assert_near(go(field.flip(-2)), there.flip(-2), near)


@far_away
@given(sizes, seeds, waves, pitches, distances, st.integers(-50, 50), st.integers(-50, 50))
@quick
def test_p7_shifts_commute(size, seed, wave, pitch, distance, down, right):
    field = noise(size, seed)
    quantities = {"spacing": pitch * wave, "wavelength": wave, "distance": distance, "pad": False}
    moved = angular_spectrum(field.roll((down, right), (0, 1)), **quantities)
    there = angular_spectrum(field, **quantities)
    assert_near(moved, there.roll((down, right), (0, 1)), 1e-12)


@given(sizes, waves, pitches, distances, st.floats(1, 2), st.tuples(seeds, seeds), dtypes)
@quick
def test_p9_a_tilted_plane_wave_keeps_its_shape(size, wave, pitch, distance, index, cycles, dtype):
    (height, width), dx = size, pitch * wave
    down, right = cycles[0] % height - height // 2, cycles[1] % width - width // 2
    y, x = torch.arange(height, dtype=F64)[:, None], torch.arange(width, dtype=F64)
    phase = 2 * math.pi * (down * y / height + right * x / width)
    plane = torch.polar(torch.ones_like(phase), phase)
    there = angular_spectrum(
        plane.to(dtype),
        spacing=dx,
        wavelength=wave,
        distance=distance,
        refractive_index=index,
        pad=False,
        band_limit=False,
    )
    # kz - k by extended precision, because the difference of two large numbers is wanted.
    wave_number = np.longdouble(2) * np.arctan(np.longdouble(1)) * 4 * index / np.longdouble(wave)
    s = (np.longdouble(wave) / index / dx) ** 2 * (
        (np.longdouble(down) / height) ** 2 + (np.longdouble(right) / width) ** 2
    )
    turned = np.remainder(wave_number * (np.sqrt(1 - s) - 1) * distance, 2 * np.pi)
    wanted = plane * complex(math.cos(turned), math.sin(turned))
    error = tolerance(dtype, 1e-11) + 4 * phase_error(wave / index, pitch * index, distance)
    # The carrier itself cancels in the comparison only to the last bits of long double.
    error += 1e-18 * float(wave_number) * abs(distance)
    assert_near(there, wanted.to(dtype), error)


@far_away
@given(sizes, waves, st.floats(0.15, 0.6), st.floats(-3, 3))
@quick
def test_p10_evanescent_waves_decay_both_ways(size, wave, pitch, turns):
    dx, distance = pitch * wave, turns * wave
    response = transfer(
        angular_spectrum,
        size,
        spacing=dx,
        wavelength=wave,
        distance=distance,
        band_limit=False,
    )
    s = wave**2 * squared(size, dx)
    decay = torch.exp(-2 * math.pi / wave * abs(distance) * (s - 1).clamp_min(0).sqrt())
    # At s = 1 the square root turns the rounding of s into its root.
    clear = (s - 1).abs() > 1e-10
    assert_near(response.abs()[clear], decay[clear], 1e-9)
    assert response.abs().max() <= 1 + 1e-12
    # exp(i (kz - k) z): with kz imaginary the carrier's phase is left.
    carrier = -2 * math.pi / wave * distance
    lost = decay * complex(math.cos(carrier), math.sin(carrier))
    assert_near(response[clear & (s > 1)], lost[clear & (s > 1)], 1e-9)
    # The band limit is for waves that travel.
    limited = transfer(angular_spectrum, size, spacing=dx, wavelength=wave, distance=distance)
    assert_near(limited[s > 1 + 1e-9], response[s > 1 + 1e-9], 1e-12)


@far_away
@given(sizes, waves, pitches, distances, st.floats(1, 1.6))
@quick
def test_p11_band_limit(size, wave, pitch, distance, index):
    dx = pitch * wave
    quantities = {
        "spacing": dx,
        "wavelength": wave,
        "distance": distance,
        "refractive_index": index,
    }
    limited = transfer(angular_spectrum, size, **quantities)
    whole = transfer(angular_spectrum, size, band_limit=False, **quantities)
    above, edge = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for axis, n in enumerate(size):
        limit = 1 / (wave / index * math.sqrt((2 * distance / (n * dx)) ** 2 + 1))
        f = torch.from_numpy(np.abs(np.fft.fftfreq(n, dx))).reshape((-1, 1) if axis == 0 else (-1,))
        above |= f > limit
        edge |= (f / limit - 1).abs() < 1e-9
    assert limited[above & ~edge].abs().sum() < 1e-10
    assert_near(limited[~above & ~edge], whole[~above & ~edge], 1e-12)


def test_p11_band_limit_of_the_fresnel_function():
    size, dx, wave = (32, 40), 5e-6, 500e-9
    quantities = {"spacing": dx, "wavelength": wave, "distance": torch.tensor(3e-3, dtype=F64)}
    limited = transfer(fresnel, size, **quantities)
    whole = transfer(fresnel, size, band_limit=False, **quantities)
    fy, fx = (torch.from_numpy(np.abs(np.fft.fftfreq(n, dx))) for n in size)
    above = (fy[:, None] > size[0] * dx / (2 * wave * 3e-3)) | (
        fx > size[1] * dx / (2 * wave * 3e-3)
    )
    assert 0 < above.sum() < above.numel()
    assert limited[above].abs().max() < 1e-12
    assert_near(limited[~above], whole[~above], 1e-12)


@far_away
@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
@pytest.mark.parametrize("distance", [0.5e-3, 2e-3])
def test_the_way_back_is_limited_as_the_way_there(function, distance):
    """Without evanescent waves, conj turns the time: H(-z) is conj H(z)."""
    field = noise((32, 32), 0)
    quantities = {"spacing": 2e-6, "wavelength": 550e-9}
    there = function(field.conj(), distance=distance, **quantities).conj()
    whole = function(field, distance=-distance, band_limit=False, **quantities)
    assert (there - whole).abs().max() > 0.1  # the limit bites
    assert_near(function(field, distance=-distance, **quantities), there, 1e-12)


@given(sizes, waves, st.floats(2, 50), st.floats(-6, -3))
@quick
def test_p12_fresnel_is_the_limit_of_small_angles(size, wave, pitch, exponent):
    dx, distance = pitch * wave, 10**exponent
    quantities = {"spacing": dx, "wavelength": wave, "distance": distance, "band_limit": False}
    exact, near = (
        transfer(angular_spectrum, size, **quantities),
        transfer(fresnel, size, **quantities),
    )
    s = wave**2 * squared(size, dx)
    # sqrt(1 - s) = 1 - s / 2 - s^2 / 8 - s^3 / 16 - ...; the rest is below s^3 / 8 for s < 1/2.
    kz = 2 * math.pi / wave * distance
    bound = kz * s**2 / 8 * (1 + s)
    assert (torch.abs(exact / near - 1) <= bound + 1e-9).all()
    small = bound < 0.5
    angle = torch.angle(near / exact)
    assert (angle[small] >= kz * s[small] ** 2 / 8 - 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("distance", [0.05, -0.1, 0.3])
@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
def test_p13_gaussian_beam(dtype, distance, function):
    """Closed form of the intensity, Saleh & Teich, eq. 3.1-12; guard of four radii."""
    wave, waist, dx = 633e-9, 200e-6, 16e-6
    rayleigh = math.pi * waist**2 / wave
    radius = waist * math.sqrt(1 + (distance / rayleigh) ** 2)
    size = 2 * math.ceil(4 * radius / dx)
    y, x = ((torch.arange(n, dtype=F64) - n // 2) * dx for n in (size, size + 1))
    r2 = y[:, None] ** 2 + x**2
    field = function(
        torch.exp(-r2 / waist**2).to(dtype), spacing=dx, wavelength=wave, distance=distance
    )
    wanted = (waist / radius) ** 2 * torch.exp(-2 * r2 / radius**2)
    error = (field.abs().double() ** 2 - wanted).abs().max() / wanted.max()
    assert error <= (1e-6 if dtype == torch.float64 else 1e-5)
    # Radius by the second moment: w(z) = 2 sigma.
    intensity = field.abs().double() ** 2
    sigma = ((intensity * x**2).sum() / intensity.sum()).sqrt()
    assert math.isclose(2 * float(sigma), radius, rel_tol=1e-5)


def test_gaussian_beam_phase_curves_the_right_way():
    """Phase k r^2 / 2R with R = z (1 + (zr / z)^2), and Gouy's phase -atan(z / zr)."""
    wave, waist, dx, distance = 633e-9, 200e-6, 16e-6, 0.1
    rayleigh = math.pi * waist**2 / wave
    radius = waist * math.sqrt(1 + (distance / rayleigh) ** 2)
    curvature = distance * (1 + (rayleigh / distance) ** 2)
    x = (torch.arange(128, dtype=F64) - 64) * dx
    r2 = x[:, None] ** 2 + x**2
    field = angular_spectrum(
        torch.exp(-r2 / waist**2), spacing=dx, wavelength=wave, distance=distance
    )
    phase = math.pi / wave * r2 / curvature - math.atan(distance / rayleigh)
    wanted = torch.polar(waist / radius * torch.exp(-r2 / radius**2), phase)
    assert_near(field, wanted, 2e-6)


@far_away
@given(sizes, seeds, waves, st.floats(0.3, 50), distances, st.floats(1, 2), st.booleans())
@quick
def test_p14_a_medium_shortens_the_wavelength(size, seed, wave, pitch, distance, index, pad):
    field = noise(size, seed)
    for function in (angular_spectrum, fresnel):
        quantities = {"spacing": pitch * wave, "distance": distance, "pad": pad}
        quantities["band_limit"] = False
        inside = function(field, wavelength=wave, refractive_index=index, **quantities)
        shorter = function(field, wavelength=wave / index, **quantities)
        assert_near(inside, shorter, 1e-12 + 4 * phase_error(wave / index, 0.7, distance))


@far_away
@pytest.mark.parametrize("distance", [-3e-3, 0.0, 1e-6, 2e-3])
@pytest.mark.parametrize("band_limit", [False, True])
def test_p15_gradients_where_a_frequency_hits_the_wave_number(distance, band_limit):
    """Powers of two: the highest frequency of the grid is 1 / wavelength exactly."""
    values = {"spacing": 2.0**-22, "wavelength": 2.0**-21, "distance": distance}
    tensors = {
        name: torch.tensor(value, dtype=F64, requires_grad=True) for name, value in values.items()
    }
    for pad in (False, True):
        there = angular_spectrum(noise((8, 8), 0), band_limit=band_limit, pad=pad, **tensors)
        loss = (there * noise((8, 8), 1)).real.sum()
        gradients = torch.autograd.grad(loss, list(tensors.values()))
        assert all(torch.isfinite(g) for g in gradients)


@pytest.mark.parametrize("name", ["distance", "wavelength", "spacing", "refractive_index"])
@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
@pytest.mark.parametrize("band_limit", [False, True])
def test_p15_gradient_is_the_finite_difference(name, function, band_limit):
    values = {"distance": 2e-4, "wavelength": 5e-7, "spacing": 3e-6, "refractive_index": 1.3}
    field, weight = noise((12, 9), 0), noise((12, 9), 1)

    def loss(value):
        there = function(field, band_limit=band_limit, **{**values, name: value})
        return (there * weight).real.sum()

    value = torch.tensor(values[name], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(value), value)
    step = 1e-6 * values[name]
    difference = sum(
        c * float(loss(torch.tensor(values[name] + d * step, dtype=F64)))
        for c, d in ((1 / 12, -2), (-2 / 3, -1), (2 / 3, 1), (-1 / 12, 2))
    )
    assert float(slope) == pytest.approx(difference / step, rel=1e-6)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel, fraunhofer])
def test_gradcheck(function):
    options = {"quadratic_phase": True} if function is fraunhofer else {"pad": True}

    def go(field, distance, wavelength, spacing):
        result = function(
            field, distance=distance, wavelength=wavelength, spacing=spacing, **options
        )
        return (result.field, *result.spacing) if function is fraunhofer else result

    quantities = [torch.tensor(v, dtype=F64, requires_grad=True) for v in ([7.3, 2.1], 1.0, 0.83)]
    torch.autograd.gradcheck(go, (noise((5, 4), 0).requires_grad_(), *quantities))


@far_away
@given(sizes, seeds, waves, pitches, distances)
@quick
def test_p16_padding_cuts_out_of_the_whole(size, seed, wave, pitch, distance):
    field = noise(size, seed)
    quantities = {"spacing": pitch * wave, "wavelength": wave, "band_limit": False}
    cut = angular_spectrum(field, distance=distance, **quantities)
    height, width = (propagation.fast_size(2 * n) for n in size)
    whole = torch.zeros(height, width, dtype=field.dtype)
    whole[: size[0], : size[1]] = field
    whole = angular_spectrum(whole, distance=distance, pad=False, **quantities)
    assert_near(cut, whole[: size[0], : size[1]], 1e-12)
    whole[: size[0], : size[1]] = 0
    total = cut.abs().square().sum() + whole.abs().square().sum()
    assert abs(total - field.abs().square().sum()) <= 1e-12 * total


@far_away
@given(sizes, seeds, pitches, st.floats(2, 7), st.booleans())
@quick
def test_p17_single_precision(size, seed, pitch, exponent, pad):
    wave = 500e-9
    distance = 10**exponent * wave / (2 * math.pi)
    field = noise(size, seed)
    for function in (angular_spectrum, fresnel):
        quantities = {"spacing": pitch * wave, "wavelength": wave, "distance": distance}
        double = function(field, pad=pad, **quantities)
        single = function(field.to(torch.complex64), pad=pad, **quantities)
        assert single.dtype == torch.complex64
        assert (single - double).abs().max() <= 1e-5 * field.abs().max()


@pytest.mark.parametrize(("number", "error"), [(5, 1.5e-2), (2, 4e-3), (1, 2e-3), (0.5, 2e-3)])
@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
def test_square_aperture_against_fresnel_integrals(number, error, function):
    """Goodman, eq. 4-28, at Fresnel number a^2 / (wavelength z); bound on the field's maximum."""
    wave, dx, size = 550e-9, 4e-6, 512
    side = 128 * dx
    distance = (side / 2) ** 2 / wave / number
    mask = aperture.rectangular_aperture(size, height=side, width=side, spacing=dx, dtype=F64)
    there = function(mask, spacing=dx, wavelength=wave, distance=distance)
    x = (np.arange(size) - size // 2) * dx
    scale = math.sqrt(2 / (wave * distance))
    (s1, c1), (s2, c2) = (special.fresnel(scale * (d * side / 2 - x)) for d in (-1, 1))
    line = torch.from_numpy(((c2 - c1) + 1j * (s2 - s1)) / np.sqrt(2) * np.exp(-1j * np.pi / 4))
    wanted = line[:, None] * line
    assert (there - wanted).abs().max() <= error * wanted.abs().max()


@given(depth=st.floats(0, 4), cycles=st.integers(3, 6))
@quick
def test_grating_orders_are_bessel_functions(depth, cycles):
    """Goodman, eq. 4-33: a phase m sin(2 pi f x) sends J_q(m)^2 of the power into order q."""
    width, dx, wave, distance = 180, 2e-6, 500e-9, 0.25
    x = torch.arange(width, dtype=F64) - width // 2
    phase = depth * torch.sin(2 * math.pi * cycles * x / width).expand(4, width)
    far, (rows, columns) = fraunhofer(
        torch.polar(torch.ones_like(phase), phase), spacing=dx, wavelength=wave, distance=distance
    )
    power = far.abs().square() * rows * columns / (4 * width * dx**2)
    assert columns == pytest.approx(wave * distance / (width * dx))
    for order in range(-6, 7):
        amplitude = far[2, width // 2 + order * cycles]
        assert float(power[2, width // 2 + order * cycles]) == pytest.approx(
            special.jv(order, depth) ** 2, abs=1e-9
        )
        # exp(i m sin a) = sum J_q exp(i q a), with the -i of the far field in front.
        scale = -1j * 4 * width * dx**2 / (wave * distance)
        assert abs(complex(amplitude) - scale * special.jv(order, depth)) < 1e-9 * abs(scale)


@given(sizes, seeds, waves, pitches, st.floats(1, 2), dtypes, st.booleans())
@quick
def test_fraunhofer_keeps_power(size, seed, wave, pitch, index, dtype, quadratic):
    field, dx = noise(size, seed, dtype), pitch * wave
    far, spacing = fraunhofer(
        field,
        spacing=dx,
        wavelength=wave,
        distance=0.1,
        refractive_index=index,
        quadratic_phase=quadratic,
    )
    assert far.dtype == dtype
    power = float(field.abs().double().square().sum()) * dx**2
    out = float(far.abs().double().square().sum()) * spacing[0] * spacing[1]
    assert math.isclose(out, power, rel_tol=tolerance(dtype, 1e-12))
    assert spacing[0] == pytest.approx(wave / index * 0.1 / (size[0] * dx))


def test_fraunhofer_of_a_gaussian_with_its_curvature():
    """Far from the waist the field is w0/w exp(-r^2/w^2) exp(i k r^2 / 2z - i pi/2)."""
    wave, waist, dx, distance, size = 633e-9, 50e-6, 6e-6, 500.0, 128
    x = (torch.arange(size, dtype=F64) - size // 2) * dx
    source = torch.exp(-(x[:, None] ** 2 + x**2) / waist**2)
    far, (rows, _) = fraunhofer(
        source, spacing=dx, wavelength=wave, distance=distance, quadratic_phase=True
    )
    x = (torch.arange(size, dtype=F64) - size // 2) * rows
    r2 = x[:, None] ** 2 + x**2
    radius = distance * wave / (math.pi * waist)
    amplitude = math.pi * waist**2 / (wave * distance) * torch.exp(-r2 / radius**2)
    wanted = -1j * torch.polar(amplitude, math.pi * r2 / (wave * distance))
    assert (far - wanted).abs().max() < 1e-9 * wanted.abs().max()
    plain = fraunhofer(source, spacing=dx, wavelength=wave, distance=distance).field
    assert (plain.imag + amplitude).abs().max() < 1e-9 * amplitude.max()
    assert plain.real.abs().max() < 1e-9 * amplitude.max()


def test_angular_spectrum_of_a_lens_focuses_where_fraunhofer_says():
    """A converging phase exp(-i k r^2 / 2f), a wedge to the right, and the same spot."""
    wave, focal, dx, size = 500e-9, 20e-3, 4e-6, 256
    x = (torch.arange(size, dtype=F64) - size // 2) * dx
    r2 = x[:, None] ** 2 + x**2
    pupil = aperture.circular_aperture(size, diameter=0.6e-3, spacing=dx, dtype=F64)
    angle = 20 * wave / (size * dx)
    wedge = 2 * math.pi / wave * angle * x
    focus = fresnel(
        torch.polar(pupil, wedge - math.pi / wave * r2 / focal),
        spacing=dx,
        wavelength=wave,
        distance=focal,
    )
    far, (_, columns) = fraunhofer(
        torch.polar(pupil, wedge.expand(size, size)), spacing=dx, wavelength=wave, distance=focal
    )
    spot = (focus.abs() ** 2).flatten().argmax()
    assert divmod(int(spot), size) == (size // 2, size // 2 + round(angle * focal / dx))
    assert divmod(int(far.abs().flatten().argmax()), size) == (size // 2, size // 2 + 20)
    assert columns * 20 == pytest.approx(angle * focal)
    assert float(focus.abs().max()) == pytest.approx(float(far.abs().max()), rel=2e-2)


def test_nothing_wraps_around():
    """A steep beam leaves the padded grid on the right and does not come in on the left."""
    wave, dx, size = 500e-9, 2e-6, 128
    x = (torch.arange(size, dtype=F64) - size // 2) * dx
    beam = torch.exp(-(x[:, None] ** 2 + x**2) / (40e-6) ** 2)
    tilt = torch.polar(beam, (2 * math.pi * 0.2 / dx * x).expand(size, size))
    # A tilt of 0.2 cycles a sample walks 0.05 z: 90 samples, out of a half width of 64.
    quantities = {"spacing": dx, "wavelength": wave, "distance": 90 * dx / 0.05}
    assert angular_spectrum(tilt, **quantities)[:, : size // 4].abs().max() < 1e-4
    wrapped = angular_spectrum(tilt, pad=False, band_limit=False, **quantities)
    assert wrapped[:, : size // 2].abs().max() > 0.1


def test_wavelengths_and_distances_broadcast():
    field = noise((8, 10), 0, lead=(2, 3))
    wavelength = torch.tensor([450e-9, 550e-9, 650e-9], dtype=F64)
    distance = torch.tensor([[1e-4], [2e-4]], dtype=F64)
    for function in (angular_spectrum, fresnel, lambda *a, **k: fraunhofer(*a, **k).field):
        every = function(field, spacing=3e-6, wavelength=wavelength, distance=distance)
        assert every.shape == field.shape
        for i in range(2):
            for j in range(3):
                one = function(
                    field[i, j],
                    spacing=3e-6,
                    wavelength=float(wavelength[j]),
                    distance=float(distance[i, 0]),
                )
                assert_near(every[i, j], one, 1e-13)
    assert angular_spectrum(
        field[0, 0], spacing=3e-6, wavelength=wavelength, distance=1e-4
    ).shape == (3, 8, 10)
    spacing = fraunhofer(field, spacing=3e-6, wavelength=wavelength, distance=0.1).spacing
    torch.testing.assert_close(spacing[1], wavelength * 0.1 / (10 * 3e-6))


@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float16, torch.complex64),
        (torch.bfloat16, torch.complex64),
        (torch.float32, torch.complex64),
        (torch.float64, torch.complex128),
        (torch.complex64, torch.complex64),
    ],
)
def test_types(given_type, result):
    field = torch.ones(8, 8, dtype=given_type)
    quantities = {"spacing": 1e-5, "wavelength": 5e-7, "distance": torch.tensor(1e-4)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert angular_spectrum(field, **quantities).dtype == result
        assert fresnel(field, **quantities).dtype == result
        assert fraunhofer(field, **quantities).field.dtype == result


@far_away
def test_layouts_and_compile():
    field = noise((12, 10), 0, torch.complex64, lead=(2, 3))
    distance = torch.tensor(1e-4, dtype=F64)

    def go(u, z):
        near = angular_spectrum(u, spacing=4e-6, wavelength=5e-7, distance=z)
        near = fresnel(near, spacing=4e-6, wavelength=5e-7, distance=1.0, pad=False)
        far = fraunhofer(near, spacing=4e-6, wavelength=5e-7, distance=0.1).field
        there = {"spacing": 4e-6, "wavelength": 5e-7, "output_spacing": 3e-6, "output_size": 9}
        near = angular_spectrum(far, distance=z, **there) + fresnel(far, distance=5 * z, **there)
        return near + fraunhofer(far, distance=9 * z, **there).field

    wanted = go(field, distance)
    strided = go(field.transpose(-2, 0).contiguous().transpose(-2, 0), distance)
    torch.testing.assert_close(strided, wanted)
    compiled = torch.compile(go, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(field, distance), wanted)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
def test_warnings_have_numbers(function):
    field = torch.ones(128, 128)
    quantities = {"spacing": 4e-6, "wavelength": 5e-7}
    # Band limit 1 / (wave sqrt((2 z / N dx)^2 + 1)) against 1 / 2 dx.
    part = 2 * 4e-6 / (5e-7 * math.hypot(2 * 0.02 / (128 * 4e-6), 1))
    with pytest.warns(UserWarning, match=rf"0\.02 m .* leaves {100 * part:.2g} % .*pad=True"):
        function(field, distance=0.02, pad=False, **quantities)
    # Padded, what is cut away has left the grid.
    function(field, distance=0.02, **quantities)
    left = 256 * 4e-6 / (5e-7 * math.hypot(2 * 0.1 / (256 * 4e-6), 1))
    with pytest.warns(UserWarning, match=rf"{left:.2g} frequencies .* fewer than 16; .*fraunh"):
        function(field, distance=0.1, **quantities)
    function(field, distance=0.1, band_limit=False, **quantities)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
@pytest.mark.parametrize("size", [(128, 1024), (1024, 128)])
def test_the_shorter_side_decides_on_the_warning(function, size):
    # 1024 samples would leave more than half of the band.
    quantities = {"spacing": 4e-6, "wavelength": 5e-7, "distance": 0.02}
    part = 2 * 4e-6 / (5e-7 * math.hypot(2 * 0.02 / (128 * 4e-6), 1))
    with pytest.warns(UserWarning, match=rf"0\.02 m .* leaves {100 * part:.2g} % "):
        function(torch.ones(size), pad=False, **quantities)
    function(torch.ones(1024, 1024), pad=False, **quantities)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel])
def test_tensors_are_warned_of_by_the_worst(function):
    """Fields of several colours have their wavelengths in a tensor."""
    field = torch.ones(3, 128, 128)
    waves = torch.tensor([5e-7, 7e-7, 6e-7])
    left = 256 * 4e-6 / (7e-7 * math.hypot(2 * 0.1 / (256 * 4e-6), 1))
    with pytest.warns(UserWarning, match=rf"0\.1 m .* {left:.2g} frequencies .* fewer than 16"):
        function(field, spacing=4e-6, wavelength=waves, distance=0.1)
    distances = torch.tensor([0.001, -0.1, 0.02], requires_grad=True)
    with pytest.warns(UserWarning, match=r"at a distance of -0\.1 m"):
        function(field, spacing=4e-6, wavelength=waves, distance=distances)
    function(field, spacing=4e-6, wavelength=waves, distance=distances[:1])


@pytest.mark.parametrize("function", [angular_spectrum, fresnel, fraunhofer])
@pytest.mark.parametrize("wavelength", [550.0, 0.55, torch.tensor([5e-7, 0.55], dtype=F64)])
@far_away
def test_a_wavelength_in_another_unit_is_longer_than_the_grid_is_wide(function, wavelength):
    field, lengths = torch.ones(2, 16, 32), {"spacing": 1e-5, "distance": 1e-3}
    with pytest.raises(
        ValueError,
        match=r"wavelength must be shorter than the grid is wide, both in metres: it is "
        r"(550|0\.55), and 32 samples 1e-05 apart are 0.00032 wide; 550 nm are 550e-9",
    ):
        function(field, wavelength=wavelength, **lengths)
    # It is that of the medium that counts, and the pair of tensors that belong together.
    grid, waves = torch.tensor([1e-5, 1.0]), torch.tensor([5e-7, 0.55])
    function(field, wavelength=waves, spacing=grid, distance=1e-5)
    function(field, wavelength=3.2e-4, **lengths)
    function(field, wavelength=6e-4, refractive_index=2.0, **lengths)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel, fraunhofer])
def test_bad_input(function):
    good = {"spacing": 1e-6, "wavelength": 5e-7, "distance": 1e-5}
    field = torch.ones(8, 8)
    cases = [
        ({"spacing": 0.0}, "spacing must be positive and finite, in metres, not 0.0"),
        ({"wavelength": torch.tensor(-1.0)}, "wavelength must be positive .* metres, not -1.0"),
        ({"refractive_index": 0.0}, "refractive_index must be positive and finite"),
        ({"distance": math.nan}, "distance must be .*finite, in metres"),
        (
            {"wavelength": torch.tensor([5e-7, 6e-7, 7e-7])},
            r"wavelength of shape \(3,\) must broadcast with .* field, \(2, 8, 8\)",
        ),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            function(field.expand(2, 8, 8), **{**good, **change})
    with pytest.raises(ValueError, match=r"field must be complex or real .* not torch.int64"):
        function(field.long(), **good)
    with pytest.raises(ValueError, match=r"field must be complex .* torch.float32 \(8,\)"):
        function(field[0], **good)
    with pytest.raises(ValueError, match="field must be finite"):
        function(field * math.nan, **good)
    if function is fraunhofer:
        with pytest.raises(ValueError, match="distance must be positive and finite, in metres"):
            function(field, **{**good, "distance": -1.0})


def plane(size, spacing, centre=(0.0, 0.0)):
    """Coordinates y ``[h, 1]`` and x ``[w]`` of an output plane."""
    y, x = ((torch.arange(n) - n // 2) * spacing + c for n, c in zip(size, centre, strict=True))
    return y.to(F64)[:, None], x.to(F64)


def beam(y, x, distance, wave=633e-9, waist=100e-6):
    """Gaussian beam with its phase but for the carrier, Saleh & Teich, eq. 3.1-7."""
    rayleigh = math.pi * waist**2 / wave
    radius, r2 = waist * math.hypot(1, distance / rayleigh), y**2 + x**2
    phase = math.pi / wave * r2 * distance / (distance**2 + rayleigh**2)
    phase = phase - math.atan(distance / rayleigh)
    return torch.polar(waist / radius * torch.exp(-r2 / radius**2), phase)


PLANES = [
    {"output_spacing": 1e-6, "output_size": (40, 51)},
    {"output_spacing": 8e-6},
    {"output_spacing": 31e-6, "output_size": 41, "output_centre": (2e-4, -1e-4)},
    {"output_size": (30, 97), "output_centre": (-3e-4, 4.321e-4)},
]
WAIST = {"spacing": 8e-6, "wavelength": 633e-9}


def at_output(asked, size=(104, 101)):
    size = asked.get("output_size", size)
    size = (size, size) if isinstance(size, int) else size
    return plane(size, asked.get("output_spacing", 8e-6), asked.get("output_centre", (0.0, 0.0)))


@pytest.mark.parametrize("asked", PLANES)
@pytest.mark.parametrize(
    ("function", "distance", "error"),
    [
        (angular_spectrum, 0.0, 1e-7),
        (angular_spectrum, 5e-3, 1e-6),
        (angular_spectrum, -0.05, 2e-6),
        (fresnel, -0.05, 3e-6),
        (fresnel, 0.2, 1e-6),
        (fresnel, 20.0, 1e-7),
    ],
)
def test_an_output_of_its_own_is_the_gaussian_beam_there(function, distance, error, asked):
    waist = beam(*plane((104, 101), 8e-6), 0.0)
    wanted = beam(*at_output(asked), distance)
    peak = beam(*plane((1, 1), 1.0), distance).abs().max()
    there = function(waist, distance=distance, **WAIST, **asked)
    assert there.dtype == torch.complex128
    assert (there - wanted).abs().max() < error * peak
    single = function(waist.to(torch.complex64), distance=distance, **WAIST, **asked)
    assert single.dtype == torch.complex64
    assert (single - there).abs().max() < 1e-5 * peak


@pytest.mark.parametrize("asked", PLANES)
def test_the_far_field_of_a_gaussian_at_an_output_of_its_own(asked):
    """Without the square of the field's own coordinate: far of the waist, or behind a lens."""
    distance, waist = 0.4, 100e-6
    y, x = at_output(asked)
    asked = {"output_spacing": 8e-6, **asked}
    reach = 633e-9 * distance
    radius = reach / (math.pi * waist)
    wanted = -1j * math.pi * waist**2 / reach * torch.exp(-(y**2 + x**2) / radius**2)
    source = beam(*plane((104, 101), 8e-6), 0.0)
    far, spacing = fraunhofer(source, distance=distance, **WAIST, **asked)
    assert spacing == (asked["output_spacing"],) * 2
    assert (far - wanted).abs().max() < 1e-6 * abs(wanted).max()
    curved = fraunhofer(source, distance=distance, quadratic_phase=True, **WAIST, **asked).field
    phase = math.pi * (y**2 + x**2) / reach
    assert (curved - wanted * torch.polar(torch.ones_like(phase), phase)).abs().max() < 1e-5


def test_the_light_is_all_there_in_a_coarse_output():
    """A tenth of the samples across a beam ten times as wide; and a fine output's share."""
    waist = beam(*plane((104, 104), 8e-6), 0.0)
    power = float(waist.abs().square().sum()) * 8e-6**2
    for function, distance in ((fresnel, 0.5), (angular_spectrum, 0.1)):
        wide = 100e-6 * math.hypot(1, distance / (math.pi * 100e-6**2 / 633e-9))
        d = wide / 5
        there = function(waist, distance=distance, **WAIST, output_spacing=d, output_size=40)
        assert float(there.abs().square().sum()) * d * d == pytest.approx(power, rel=1e-6)


@given(sizes, seeds, waves, pitches, distances, st.integers(-20, 20), dtypes)
@quick
@far_away
def test_an_output_on_the_same_samples_is_what_it_is_without(
    size, seed, wave, pitch, distance, shift, dtype
):
    field, near = noise(size, seed, dtype), tolerance(dtype, 1e-11)
    quantities = {"spacing": pitch * wave, "wavelength": wave, "distance": distance}
    for pad in (True, False):
        there = angular_spectrum(field, pad=pad, **quantities)
        same = angular_spectrum(field, pad=pad, output_size=size, **quantities)
        assert_near(same, there, near)
    # Unpadded the field is periodic, and an output beside the axis is the field rolled.
    moved = angular_spectrum(
        field, pad=False, output_centre=(shift * pitch * wave, 0.0), **quantities
    )
    assert_near(moved, there.roll(-shift, 0), near)
    quantities["distance"] = abs(distance)
    far, spacing = fraunhofer(field, **quantities)
    again, steps = fraunhofer(field, output_size=size, **quantities)
    assert_near(again, far, near)
    assert steps == spacing


def test_where_the_kernel_ends_it_fades():
    """Cut sharply, it would leave 2 % of the peak in the dark outer half of this output."""
    there = fresnel(
        beam(*plane((104, 101), 8e-6), 0.0),
        distance=0.05,
        **WAIST,
        output_spacing=140e-6,
        output_size=30,
    )
    assert (there - beam(*plane((30, 30), 140e-6), 0.05)).abs().max() < 5e-4


def test_nothing_comes_round_into_an_output_beside_the_axis():
    """A steep beam that walks 90 samples to the right, looked for 166 samples to the left."""
    wave, dx = 500e-9, 2e-6
    y, x = plane((128, 128), dx)
    tilt = torch.exp(-(y**2 + x**2) / (40e-6) ** 2 + 2j * math.pi * 0.2 / dx * x)
    quantities = {"spacing": dx, "wavelength": wave, "distance": 90 * dx / 0.05}
    for function in (angular_spectrum, fresnel):
        left, right = (
            function(tilt, **quantities, output_size=(128, 48), output_centre=(0.0, c * dx)).abs()
            for c in (-166, 90)
        )
        assert left.max() < 1e-4
        assert right.max() > 0.5


def test_a_mirrored_field_has_a_mirrored_output():
    """Also of its highest frequency, which is half of either sign between the samples."""
    field, quantities = noise((9, 7), 0), {"spacing": 2e-6, "wavelength": 5e-7, "distance": 4e-6}
    asked = {"output_spacing": 0.7e-6, "output_size": (11, 13)}
    for axis in (-1, -2):
        there = angular_spectrum(field.flip(axis), **quantities, **asked)
        assert_near(there, angular_spectrum(field, **quantities, **asked).flip(axis), 1e-12)


def test_an_output_takes_a_tensor_of_one_spacing_and_no_default_device():
    field, step = noise((64, 60), 0), torch.tensor(3e-6, dtype=F64)
    quantities = {"wavelength": 5e-7, "distance": 1e-3, "output_size": 6}
    for function in (angular_spectrum, fresnel, lambda *a, **k: fraunhofer(*a, **k).field):
        wanted = function(field, spacing=3e-6, **quantities)
        assert_near(function(field, spacing=step, **quantities), wanted, 1e-12)
        with torch.device("meta"):
            assert_near(function(field, spacing=3e-6, **quantities), wanted, 1e-12)


def test_fresnel_to_an_output_agrees_with_the_transfer_function():
    """Where both hold, for a hard edge, to what the function's own limit leaves of it."""
    mask = aperture.circular_aperture(96, diameter=0.5e-3, spacing=8e-6, dtype=F64)
    for distance in (0.1, -0.1):
        whole = fresnel(mask, distance=distance, **WAIST)
        there = fresnel(mask, distance=distance, output_size=96, **WAIST)
        assert (there - whole).abs().max() < 2e-2 * whole.abs().max()


@pytest.mark.parametrize("centre", [(0.0, 0.0), (7e-6, -11e-6)])
def test_steep_waves_against_rayleigh_and_sommerfelds_integral(centre):
    """A waist of two wavelengths, 20 wavelengths away; Goodman, eq. 3-41, by Gauss's rule."""
    wave, waist, distance = 0.5e-6, 1e-6, 10e-6
    y, x = plane((60, 61), 0.2e-6)
    there = angular_spectrum(
        torch.exp(-(y**2 + x**2) / waist**2),
        spacing=0.2e-6,
        wavelength=wave,
        distance=distance,
        output_spacing=1.7e-6,
        output_size=(5, 4),
        output_centre=centre,
    )
    nodes, weights = special.roots_legendre(80)
    nodes, weights = 5 * waist * nodes, 5 * waist * weights
    source = np.exp(-(nodes[:, None] ** 2 + nodes**2) / waist**2) * weights[:, None] * weights
    k = 2 * np.pi / wave
    rows, columns = plane((5, 4), 1.7e-6, centre)
    for i, row in enumerate(rows[:, 0].tolist()):
        for j, column in enumerate(columns.tolist()):
            r = np.sqrt(distance**2 + (row - nodes[:, None]) ** 2 + (column - nodes) ** 2)
            kernel = distance / (2 * np.pi * r**2) * (1 / r - 1j * k)
            wanted = (source * kernel * np.exp(1j * k * (r - distance))).sum()
            assert abs(complex(there[i, j]) - wanted) < 2e-4


def airy(radius, focal, wave, diameter):
    """Amplitude in the focus, Goodman, eq. 4-31."""
    v = math.pi * diameter * radius / (wave * focal)
    return math.pi * diameter**2 / (4 * wave * focal) * 2 * special.jv(1, v) / v


@pytest.mark.parametrize("function", [fresnel, angular_spectrum, fraunhofer])
def test_an_aperture_focused_is_airys_pattern_at_a_fine_pitch(function):
    wave, focal, diameter, dx, pitch = 550e-9, 25e-3, 1e-3, 5e-6, 1.1e-6
    y, x = plane((224, 224), dx)
    pupil = aperture.circular_aperture(224, diameter=diameter, spacing=dx, dtype=F64)
    lens = torch.polar(pupil, -math.pi / (wave * focal) * (y**2 + x**2))
    y, x = plane((48, 40), pitch, (pitch / 2, 0.0))
    focus = function(
        pupil if function is fraunhofer else lens,
        spacing=dx,
        wavelength=wave,
        distance=focal,
        output_spacing=pitch,
        output_size=(48, 40),
        output_centre=(pitch / 2, 0.0),
    )
    focus = focus.field if function is fraunhofer else focus
    wanted = airy((y**2 + x**2).sqrt().numpy(), focal, wave, diameter)
    assert np.abs(focus.abs().numpy() - np.abs(wanted)).max() < 3e-3 * wanted.max()
    if function is fraunhofer:
        assert np.abs(focus.numpy() - -1j * wanted).max() < 1e-3 * wanted.max()


@pytest.mark.parametrize("function", [angular_spectrum, fresnel, fraunhofer])
def test_gradcheck_at_an_output_of_its_own(function):
    options = {"quadratic_phase": True} if function is fraunhofer else {}
    asked = {"output_spacing": 0.7, "output_size": (3, 4), "output_centre": (0.4, -1.0)}

    def go(field, distance, wavelength, spacing):
        spacing = float(spacing) if function is angular_spectrum else spacing
        result = function(
            field, distance=distance, wavelength=wavelength, spacing=spacing, **options, **asked
        )
        return result.field if function is fraunhofer else result

    # Of the integrals some of the kernel fades at these distances.
    quantities = [torch.tensor(v, dtype=F64, requires_grad=True) for v in ([7.3, 4.1], 1.0)]
    spacing = torch.tensor(0.83, dtype=F64, requires_grad=function is not angular_spectrum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.autograd.gradcheck(go, (noise((5, 4), 0).requires_grad_(), *quantities, spacing))


def test_wavelengths_and_distances_broadcast_at_an_output_of_its_own():
    field = noise((64, 60), 0, lead=(2, 3))
    wavelength = torch.tensor([450e-9, 550e-9, 650e-9], dtype=F64)
    distance = torch.tensor([[9e-4], [1e-3]], dtype=F64)
    asked = {"spacing": 3e-6, "output_spacing": 2e-6, "output_size": (7, 5)}
    for function in (angular_spectrum, fresnel, lambda *a, **k: fraunhofer(*a, **k).field):
        every = function(field, wavelength=wavelength, distance=distance, **asked)
        assert every.shape == (2, 3, 7, 5)
        one = function(field[1, 2], wavelength=650e-9, distance=1e-3, **asked)
        assert_near(every[1, 2], one, 1e-12)
    # Of each wavelength its own samples, where the size alone is asked for.
    spacing = fraunhofer(
        field, spacing=3e-6, wavelength=wavelength, distance=0.1, output_size=(64, 4)
    ).spacing
    torch.testing.assert_close(spacing[1], wavelength * 0.1 / (60 * 3e-6))


def test_vmap_and_tensors_without_data_at_an_output_of_its_own():
    field = noise((64, 60), 0, torch.complex64, lead=(3,))
    distances = torch.tensor([1.1e-3, 1.2e-3, 1.3e-3], dtype=F64)
    asked = {"spacing": 4e-6, "wavelength": 5e-7, "output_spacing": 3e-6, "output_size": (8, 6)}

    def go(u, z):
        near = angular_spectrum(u, distance=z, **asked) + fresnel(u, distance=z, **asked)
        return near + fraunhofer(u, distance=z, **asked).field

    wanted = go(field, distances)
    torch.testing.assert_close(torch.vmap(go)(field, distances), wanted)
    assert go(field.to("meta"), distances.to("meta")).shape == (3, 8, 6)


def test_warnings_of_an_output_have_numbers():
    field, quantities = torch.ones(64, 64), {"spacing": 4e-6, "wavelength": 5e-7}
    left = 5e-7 * 5e-4 / (2 * 4e-6**2)
    with pytest.warns(UserWarning, match=rf"0\.0005 m .* {left:.3g} samples .* fewer than 16;"):
        fresnel(field, distance=torch.tensor([5e-4, 1e-2]), output_size=8, **quantities)
    # lambda z / 2 dx, and half of the field that sends it.
    lit = 5e-7 * 0.01 / 8e-6 + 32 * 4e-6
    wide = {"output_spacing": 1e-4, "output_size": 20}
    with pytest.warns(UserWarning, match=rf"reaches 0\.001 m .* only to {lit:.3g} m; .* dark"):
        fresnel(field, distance=0.01, **wide, **quantities)
    with pytest.warns(UserWarning, match=r"reaches 0\.001 m .* to 0\.000625 m; .* repeats itself"):
        fraunhofer(field, distance=0.01, **wide, **quantities)
    with pytest.warns(UserWarning, match=r"reaches 0\.002 m .*to 0\.000625"):
        fraunhofer(field, distance=0.01, **wide, output_centre=(1e-3, 0.0), **quantities)
    fresnel(field, distance=1e-4, **wide, band_limit=False, **quantities)
    fraunhofer(field, distance=0.01, output_size=64, **quantities)
    # The band is that of the grid that holds the output: 64 + 20 * 1e-4 / 4e-6 samples, or 576.
    angular_spectrum(field, distance=0.1, **wide, **quantities)
    with pytest.warns(UserWarning, match=r"fewer than 16; .* output_spacing"):
        angular_spectrum(field, distance=0.1, output_spacing=4e-6, **quantities)


@pytest.mark.parametrize("function", [angular_spectrum, fresnel, fraunhofer])
def test_bad_output(function):
    field, good = torch.ones(8, 8), {"spacing": 1e-6, "wavelength": 5e-7, "distance": 1e-4}
    cases = [
        ({"output_spacing": 0.0}, ValueError, "output_spacing must be positive and finite, in me"),
        ({"output_spacing": "1"}, TypeError, "output_spacing must be one number, in metres"),
        ({"output_spacing": (1e-6, 2e-6)}, TypeError, "must be one number.*call it for each"),
        ({"output_size": 0}, ValueError, r"output_size must be \(H, W\), whole numbers of at leas"),
        ({"output_size": (4, 4, 4)}, ValueError, r"output_size must be \(H, W\)"),
        ({"output_centre": 1e-6}, TypeError, r"output_centre must be two numbers \(y, x\) in metr"),
        ({"output_centre": (1e-6,)}, TypeError, r"output_centre must be two numbers \(y, x\)"),
        ({"output_centre": (None, 0.0)}, TypeError, "output_centre must be one number, in metres"),
        ({"output_centre": (0.0, math.inf)}, ValueError, "output_centre must be finite, in metres"),
    ]
    for change, kind, message in cases:
        with pytest.raises(kind, match=message):
            function(field, **{**good, **change})


def test_bad_output_of_one_function():
    field, good = torch.ones(8, 8), {"spacing": 1e-6, "wavelength": 5e-7, "distance": 1e-4}
    with pytest.raises(ValueError, match=r"8 \* 0\.5 m centred at 0 m, needs a grid of 4000008 "):
        angular_spectrum(field, **good, output_spacing=0.5)
    with pytest.raises(TypeError, match=r"spacing must be one number, in metres.*for each"):
        angular_spectrum(field, **{**good, "spacing": torch.tensor([1e-6, 2e-6])}, output_size=4)
    spacing = torch.tensor(1e-6, requires_grad=True)
    with pytest.raises(TypeError, match="spacing is not learned here"):
        angular_spectrum(field, **{**good, "spacing": spacing}, output_size=4)
    with pytest.raises(
        ValueError, match=r"pad=False propagates a periodic field.*angular_spectrum"
    ):
        fresnel(field, **good, output_size=4, pad=False)
    for distance in (0.0, torch.tensor([1e-4, 0.0])):
        with pytest.raises(ValueError, match=r"distance must not be 0 .*use angular_spectrum"):
            fresnel(field, **{**good, "distance": distance}, output_size=4)
