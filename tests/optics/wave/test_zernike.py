import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import optics as z
from optics.wave import aperture

F64 = torch.float64
quick = settings(deadline=None, max_examples=25)


def disk_rule(radial=24, angular=48):
    """Nodes and weights for the mean over the unit disk: exact for polynomials of low degree."""
    nodes, weights = np.polynomial.legendre.leggauss(radial)
    rho = torch.from_numpy(np.sqrt((nodes + 1) / 2))[:, None]
    theta = torch.arange(angular, dtype=F64) * (2 * math.pi / angular)
    return rho, theta, torch.from_numpy(weights / 2)[:, None] / angular


def test_noll_table():
    """Noll 1976, table I, in polar form."""
    rho = torch.linspace(0, 1, 17, dtype=F64)[:, None]
    theta = torch.linspace(-3, 3, 13, dtype=F64)
    one = torch.ones(17, 13, dtype=F64)
    table = [
        one,
        2 * rho * torch.cos(theta),
        2 * rho * torch.sin(theta),
        math.sqrt(3) * (2 * rho**2 - 1) * one,
        math.sqrt(6) * rho**2 * torch.sin(2 * theta),
        math.sqrt(6) * rho**2 * torch.cos(2 * theta),
        math.sqrt(8) * (3 * rho**3 - 2 * rho) * torch.sin(theta),
        math.sqrt(8) * (3 * rho**3 - 2 * rho) * torch.cos(theta),
        math.sqrt(8) * rho**3 * torch.sin(3 * theta),
        math.sqrt(8) * rho**3 * torch.cos(3 * theta),
        math.sqrt(5) * (6 * rho**4 - 6 * rho**2 + 1) * one,
    ]
    for index, wanted in enumerate(table, 1):
        torch.testing.assert_close(z.zernike(index, rho, theta), wanted, rtol=0, atol=1e-13)


def test_orthonormal_with_zero_mean_by_quadrature():
    """P18 and P19."""
    rho, theta, weight = disk_rule()
    basis = torch.stack([z.zernike(index, rho, theta) for index in range(1, 211)])
    gram = (basis * weight).flatten(1) @ basis.flatten(1).T
    assert (gram - torch.eye(210, dtype=F64)).abs().max() < 1e-12
    means = (basis * weight).sum((-2, -1))
    assert means[1:].abs().max() < 1e-12


@given(seed=st.integers(0, 2**31), count=st.integers(2, 45))
@quick
def test_rms_is_the_norm_of_the_coefficients(seed, count):
    coefficients = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=F64)
    rho, theta, weight = disk_rule()
    wave = sum(c * z.zernike(j, rho, theta) for j, c in enumerate(coefficients, 1))
    rms = (wave**2 * weight).sum().sqrt()
    torch.testing.assert_close(rms, coefficients.norm(), rtol=1e-12, atol=0)


@given(index=st.integers(1, 5000), fraction=st.floats(0, 1), angle=st.floats(-4, 4))
@quick
def test_high_orders_against_scipy(index, fraction, angle):
    order, frequency = z.noll_to_nm(index)
    size = abs(frequency)
    radial = fraction**size * special.eval_jacobi((order - size) // 2, 0, size, 2 * fraction**2 - 1)
    norm = math.sqrt((order + 1) * (2 if frequency else 1))
    wave = math.cos(size * angle) if frequency >= 0 else math.sin(size * angle)
    value = z.zernike(index, torch.tensor(fraction, dtype=F64), torch.tensor(angle, dtype=F64))
    assert abs(float(value) - norm * radial * wave) < 1e-10 * norm
    if index <= 210:
        assert abs(float(value) - norm * radial * wave) < 1e-12 * norm


@given(index=st.integers(1, 210), turn=st.floats(-4, 4), seed=st.integers(0, 1000))
@quick
def test_rotation_mixes_a_pair(index, turn, seed):
    """P20."""
    generator = torch.Generator().manual_seed(seed)
    rho = torch.rand(9, generator=generator, dtype=F64)
    theta = 6 * torch.rand(9, generator=generator, dtype=F64)
    order, m = z.noll_to_nm(index)
    rotated = z.zernike(index, rho, theta + turn)
    if m == 0:
        wanted = z.zernike(index, rho, theta)
    else:
        # cos(a + b) = cos a cos b - sin a sin b; sin(a + b) = sin a cos b + cos a sin b.
        partner = z.zernike(z.nm_to_noll(order, -m), rho, theta)
        wanted = math.cos(abs(m) * turn) * z.zernike(index, rho, theta)
        wanted = wanted - math.copysign(math.sin(abs(m) * turn), m * math.sin(abs(m) * turn)) * (
            partner
        )
    torch.testing.assert_close(rotated, wanted, rtol=0, atol=1e-12)


@given(rms=st.floats(0, 0.4))
@quick
def test_strehl_of_defocus_by_quadrature(rms):
    """P22: |mean exp(i 2 pi a Z4)|^2 = sinc(2 sqrt(3) a)^2, sinc(x) = sin(pi x) / (pi x)."""
    rho, theta, weight = disk_rule(40, 4)
    field = torch.exp(2j * math.pi * rms * z.zernike(4, rho, theta))
    strehl = (field * weight).sum().abs() ** 2
    assert abs(float(strehl) - np.sinc(2 * math.sqrt(3) * rms) ** 2) < 1e-6


def test_orientation():
    basis = z.zernike_basis(3, 9, diameter=8.0, spacing=1.0, dtype=F64)
    assert basis[1, 4, 7] > 0 > basis[1, 4, 1]
    assert basis[2, 7, 4] > 0 > basis[2, 1, 4]
    assert basis[2, 4, 7] == 0


@pytest.mark.parametrize("samples", [32, 64, 128])
def test_basis_on_a_grid_is_nearly_orthonormal(samples):
    """P18 on a grid, over the light of the soft aperture of the same diameter."""
    lengths = {"diameter": (samples - 1) * 1e-5, "spacing": 1e-5, "dtype": F64}
    basis = z.zernike_basis(15, samples, soft_edge=True, **lengths)
    weight = aperture.circular_aperture(samples, **lengths)
    gram = torch.einsum("ihw,jhw,hw->ij", basis, basis, weight / weight.sum())
    assert (gram - torch.eye(15, dtype=F64)).abs().max() < 3e-2 * 64 / samples


def test_errors_of_the_inner_products_are_those_that_are_told():
    # Samples come into the disk at radii whose squares are sums of two squares; the errors are
    # largest there, and shrink faster than 1 / N.
    told = {11: 3.5, 21: 5.0, 37: 7.5, 66: 18.0}
    worst = dict.fromkeys(told, 0.0)
    squares = {y * y + x * x for y in range(20) for x in range(20)}
    for square in sorted(k for k in squares if 144 < k < 300):
        for side in (1 - 1e-9, 1 + 1e-9):
            across = 2 * math.sqrt(square) * side
            samples = int(across) + 2
            basis = z.zernike_basis(66, samples, diameter=across, spacing=1.0, dtype=F64)
            inside = basis[:, basis[0] != 0]
            error = (inside @ inside.T / inside.shape[1] - torch.eye(66, dtype=F64)).abs()
            for count in told:
                worst[count] = max(worst[count], across * float(error[:count, :count].max()))
    for count, bound in told.items():
        assert 0.8 * bound < worst[count] < bound


def test_basis_is_the_polynomial_at_its_points():
    diameter, spacing = 7.3e-3, 1.1e-3
    basis = z.zernike_basis([11, 8, 5], (7, 10), diameter=diameter, spacing=spacing, dtype=F64)
    for row, column in ((3, 5), (1, 4), (5, 7), (0, 0), (3, 9)):
        y, x = (row - 3) * spacing, (column - 5) * spacing
        rho = torch.tensor(math.hypot(y, x) / (diameter / 2), dtype=F64)
        theta = torch.tensor(math.atan2(y, x), dtype=F64)
        for plane, index in zip(basis, (11, 8, 5), strict=True):
            torch.testing.assert_close(plane[row, column], z.zernike(index, rho, theta))


def test_soft_edge_reaches_every_sample_that_a_soft_aperture_lights():
    for diameter in (9.0, 10.3, 11.6, 13.1):
        lit = aperture.circular_aperture(16, diameter=diameter, spacing=1.0, dtype=F64) > 1e-9
        piston = z.zernike_basis(1, 16, diameter=diameter, spacing=1.0, soft_edge=True)[0]
        assert (piston[lit] == 1).all()
        assert piston.sum() < lit.sum() + 40
        hard = z.zernike_basis(1, 16, diameter=diameter, spacing=1.0)[0]
        assert hard.sum() < piston.sum()


def test_indices_of_noll():
    # Noll 1976, table I, and Wikipedia's table to 21.
    known = [(0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (3, 1), (3, -3), (3, 3)]
    known += [(4, 0), (4, 2), (4, -2), (4, 4), (4, -4), (5, 1), (5, -1), (5, 3), (5, -3), (5, 5)]
    known += [(5, -5)]
    assert [z.noll_to_nm(j) for j in range(1, 22)] == known
    ansi = [0, 2, 1, 4, 3, 5, 7, 8, 6, 9, 12, 13, 11, 14, 10]
    assert [z.noll_to_ansi(j) for j in range(1, 16)] == ansi


def test_indices_of_fringe():
    # The University of Arizona's table of 37 terms, (n, m) as it is printed, group by group.
    table = [
        [(0, 0)],
        [(1, 1), (1, -1), (2, 0)],
        [(2, 2), (2, -2), (3, 1), (3, -1), (4, 0)],
        [(3, 3), (3, -3), (4, 2), (4, -2), (5, 1), (5, -1), (6, 0)],
        [(4, 4), (4, -4), (5, 3), (5, -3), (6, 2), (6, -2), (7, 1), (7, -1), (8, 0)],
        [(5, 5), (5, -5), (6, 4), (6, -4), (7, 3), (7, -3), (8, 2), (8, -2), (9, 1), (9, -1)],
        [(10, 0), (12, 0)],
    ]
    known = [z.nm_to_noll(*nm) for group in table for nm in group]
    assert [z.fringe_to_noll(index) for index in range(1, 38)] == known
    # By Noll's numbers: defocus, coma and spherical, which are asked for most.
    assert [z.fringe_to_noll(index) for index in (4, 7, 8, 9, 37)] == [4, 8, 7, 11, 79]


def test_a_fringe_coefficient_is_divided_by_the_value_at_the_rim():
    # Fringe 9 is 6 r^4 - 6 r^2 + 1, 5 is r^2 cos 2 theta.
    rho, theta = torch.linspace(0, 1, 9, dtype=F64), torch.full((9,), 0.3, dtype=F64)
    spherical = z.zernike(z.fringe_to_noll(9), rho, theta) / math.sqrt(4 + 1)
    torch.testing.assert_close(spherical, 6 * rho**4 - 6 * rho**2 + 1)
    astigmatism = z.zernike(z.fringe_to_noll(5), rho, theta) / math.sqrt(2 * (2 + 1))
    torch.testing.assert_close(astigmatism, rho**2 * torch.cos(2 * theta))


@given(index=st.integers(1, 10**9))
@quick
def test_indices_come_back(index):
    order, frequency = z.noll_to_nm(index)
    assert abs(frequency) <= order
    assert z.nm_to_noll(order, frequency) == index
    assert z.ansi_to_noll(z.noll_to_ansi(index)) == index


def test_zero_outside_with_finite_gradients():
    rho = torch.tensor([0.0, 1.0, 1.0 + 1e-12, 3.0, 1e300], dtype=F64, requires_grad=True)
    theta = torch.zeros(5, dtype=F64, requires_grad=True)
    for index in (1, 2, 4, 10, 200):
        value = z.zernike(index, rho, theta)
        assert not value[2:].any()
        gradients = torch.autograd.grad(value.sum(), (rho, theta))
        assert all(torch.isfinite(g).all() for g in gradients)


def test_gradcheck():
    generator = torch.Generator().manual_seed(3)
    rho = torch.rand(6, generator=generator, dtype=F64).mul(0.9).requires_grad_()
    theta = torch.rand(6, generator=generator, dtype=F64).requires_grad_()
    for index in (1, 2, 4, 9, 22):
        torch.autograd.gradcheck(lambda r, t, j=index: z.zernike(j, r, t), (rho, theta))
    diameter = torch.tensor(9.3, dtype=F64, requires_grad=True)
    spacing = torch.tensor(1.1, dtype=F64, requires_grad=True)
    torch.autograd.gradcheck(
        lambda d, s: z.zernike_basis(8, 9, diameter=d, spacing=s, dtype=F64), (diameter, spacing)
    )


def test_types():
    half = z.zernike(4, torch.rand(3), torch.rand(3, dtype=torch.float32))
    assert half.dtype == torch.float32
    assert z.zernike(4, torch.rand(3, 1), torch.rand(4)).shape == (3, 4)
    assert z.zernike(1, torch.rand(3, 1), torch.rand(4)).shape == (3, 4)
    assert z.zernike_basis(2, 4, diameter=4.0, spacing=1.0).dtype == torch.get_default_dtype()


def test_bad_input():
    for function in (z.noll_to_nm, z.noll_to_ansi):
        with pytest.raises(
            ValueError, match="noll_index must be a whole number of at least 1, not 0"
        ):
            function(0)
    for bad in (-1, 4.0):
        with pytest.raises(ValueError, match=rf"ANSI Z80.28 must be a whole .* least 0, not {bad}"):
            z.ansi_to_noll(bad)
    with pytest.raises(ValueError, match=r"noll_index must be a whole number .* not 4\.0"):
        z.noll_to_ansi(4.0)
    with pytest.raises(ValueError, match=r"must be whole numbers .* not n = 4\.0, m = 0"):
        z.nm_to_noll(4.0, 0)
    with pytest.raises(ValueError, match="fringe index must be from 1 to 37, not 38"):
        z.fringe_to_noll(38)
    for bad in (0, 1.5):
        with pytest.raises(ValueError, match=f"fringe index must be a whole .* 1, not {bad}"):
            z.fringe_to_noll(bad)
    for order, frequency in ((2, 1), (1, 3), (-1, 1)):
        with pytest.raises(ValueError, match=f"not n = {order}, m = {frequency}"):
            z.nm_to_noll(order, frequency)
    with pytest.raises(ValueError, match="noll_index must be a whole number of at least 1, not -2"):
        z.zernike(-2, torch.rand(2), torch.rand(2))
    with pytest.raises(ValueError, match=r"rho must be a real floating-point .* torch.int64"):
        z.zernike(2, torch.ones(2, dtype=torch.long), torch.rand(2))
    with pytest.raises(ValueError, match=r"theta must be a real floating-point tensor, not float"):
        z.zernike(2, torch.rand(2), 0.5)
    with pytest.raises(ValueError, match="indices must hold at least one"):
        z.zernike_basis(0, 8, diameter=1.0, spacing=1.0)
    with pytest.raises(ValueError, match=r"each of indices must be a whole number .* 1, not 0"):
        z.zernike_basis([1, 0], 8, diameter=1.0, spacing=1.0)
    with pytest.raises(ValueError, match="diameter must be positive and finite, in metres"):
        z.zernike_basis(1, 8, diameter=-1.0, spacing=1.0)
    with pytest.raises(ValueError, match=r"spacing must be a scalar, in metres, not \(2,\)"):
        z.zernike_basis(1, 8, diameter=1.0, spacing=torch.ones(2))
    with pytest.raises(ValueError, match="size must be"):
        z.zernike_basis(1, 0, diameter=1.0, spacing=1.0)


def test_numbers_of_numpy_and_torch_are_indices():
    lengths = {"diameter": 8.0, "spacing": 1.0}
    expected = z.zernike_basis(4, 8, **lengths)
    assert torch.equal(z.zernike_basis(np.int64(4), 8, **lengths), expected)
    for numbers in (np.arange(1, 5), torch.arange(1, 5)):
        assert torch.equal(z.zernike_basis(numbers, 8, **lengths), expected)
    one = torch.tensor([4])  # an index, and no count
    assert torch.equal(z.zernike_basis(one, 8, **lengths), expected[3:])


def test_a_radius_that_is_no_number_is_not_outside():
    rho = torch.tensor([0.5, float("nan"), 2.0, float("inf")])
    for index in (1, 4, 8):
        found = z.zernike(index, rho, torch.zeros(4))
        assert found.isnan().tolist() == [False, True, False, False]
        assert found[2:].tolist() == [0, 0]


def test_compiles():
    compiled = torch.compile(z.zernike, backend="aot_eager", fullgraph=True)
    rho, theta = torch.rand(5), torch.rand(5)
    torch.testing.assert_close(compiled(12, rho, theta), z.zernike(12, rho, theta))
