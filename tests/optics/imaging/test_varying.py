import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch

import optics

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")


def _spots(rows=3, columns=4, size=15):
    """Gaussians whose width and place grow across the field."""
    i = torch.arange(size, dtype=torch.float64) - size // 2
    psfs = []
    for p in range(rows):
        for q in range(columns):
            x, y = i - 0.3 * q, i[:, None] + 0.2 * p
            spot = torch.exp(-(x**2 + y**2) / (2 * (1 + 0.2 * p + 0.1 * q) ** 2))
            psfs.append(0.9 * spot / spot.sum())
    return torch.stack(psfs).reshape(rows, columns, size, size)


def _scene(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _exact(scene, psfs):
    """Each point spreads its own, bilinearly interpolated PSF (zero boundary).

    The outermost places are on the borders, half a pixel beyond the centres of the outer pixels.
    """
    rows, columns, h, w = psfs.shape
    height, width = scene.shape[-2:]
    out = torch.zeros(height + h, width + w, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * (rows - 1) / height, (x + 0.5) * (columns - 1) / width
            a, b = min(int(v), rows - 2), min(int(u), columns - 2)
            s, t = v - a, u - b
            psf = (1 - s) * ((1 - t) * psfs[a, b] + t * psfs[a, b + 1]) + s * (
                (1 - t) * psfs[a + 1, b] + t * psfs[a + 1, b + 1]
            )
            out[y : y + h, x : x + w] += scene[0, 0, y, x] * psf
    return out[h // 2 : h // 2 + height, w // 2 : w // 2 + width]


def test_full_rank_is_the_sum_over_all_points():
    scene, psfs = _scene(1, 1, 20, 18), _spots()
    basis, weights, bound = optics.low_rank_psf(psfs, 12)
    image = optics.varying_blur(scene, basis, weights, boundary="zero")
    torch.testing.assert_close(image[0, 0], _exact(scene, psfs), rtol=1e-10, atol=1e-12)
    assert bound < 1e-12


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_error_stays_within_its_bound_and_falls_with_rank(rank):
    scene, psfs = _scene(1, 1, 20, 18), _spots()
    basis, weights, bound = optics.low_rank_psf(psfs, rank)
    image = optics.varying_blur(scene, basis, weights, boundary="zero")
    wrong = (image[0, 0] - _exact(scene, psfs)).abs().sum() / scene.sum()
    assert 0 < wrong <= bound
    assert bound < optics.low_rank_psf(psfs, max(1, rank // 2)).error_bound + 1e-15


def test_the_bound_is_reached_by_a_point_in_the_worst_place():
    spots = _spots()[:, :3]
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1
    wrong = []
    for p in range(3):
        for q in range(3):
            psfs = spots.roll((1 - p, 1 - q), (0, 1))  # this place, to the middle
            basis, weights, bound = optics.low_rank_psf(psfs, 2)
            blurred = optics.varying_blur(point, basis, weights, boundary="circular")
            exact = optics.convolve(point, psfs[1, 1], boundary="circular")
            wrong.append(float((blurred - exact).abs().sum()))
    assert max(wrong) == pytest.approx(float(bound))


@pytest.mark.parametrize("size", [(16, 12), (40, 24)])
def test_a_uniform_scene_arrives_with_the_throughput(size):
    # Light that falls linearly between places: pixels that divide the steps evenly sum it exactly.
    light = 1 - 0.05 * torch.arange(15, dtype=torch.float64).reshape(5, 3)
    camera = optics.VaryingImaging(light[..., None, None], rank=1, channels=1)
    image = camera(torch.ones(1, 1, *size, dtype=torch.float64))
    assert float(image.mean()) == pytest.approx(float(camera.throughput()), rel=1e-12)


def test_equal_psfs_are_one_convolution():
    psf = _spots()[1, 2]
    scene = _scene(2, 3, 16, 17)
    front_end = optics.VaryingImaging(psf.expand(3, 4, 15, 15).clone(), rank=1)
    expected = optics.convolve(scene, psf, boundary="replicate")
    torch.testing.assert_close(front_end(scene), expected, rtol=1e-10, atol=1e-12)
    assert float(front_end.throughput()) == pytest.approx(0.9)


@pytest.mark.parametrize("places", [(2, 2), (3, 3), (3, 4)])
def test_equal_psfs_that_are_trained_have_the_gradient_of_one_convolution(places):
    psf = _spots()[1, 2]
    scene = _scene(1, 1, 16, 17)
    psfs = torch.nn.Parameter(psf.expand(*places, 15, 15).clone())
    optics.VaryingImaging(psfs, rank=1, channels=1)(scene).square().sum().backward()
    one = psf.clone().requires_grad_()
    optics.convolve(scene, one, boundary="replicate").square().sum().backward()
    # Together the places are the one PSF, whose directions all lie within rank 1.
    torch.testing.assert_close(psfs.grad.sum((0, 1)), one.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_eigen_psfs_than_there_are_have_a_finite_gradient(rank, dtype):
    psfs = torch.nn.Parameter(_spots()[1, 2].to(dtype).expand(2, 2, 15, 15).clone())
    front_end = optics.VaryingImaging(psfs, rank=rank, channels=1)
    image = front_end(_scene(1, 1, 16, 17).to(dtype))
    (image.square().sum() + front_end.error_bound()).backward()
    assert torch.isfinite(psfs.grad).all()
    assert psfs.grad.abs().sum() > 0


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 3])
def test_the_gradient_is_that_of_torch_where_singular_values_differ(rank, size):
    psfs = _scene(2, 2, size, 3).requires_grad_()  # as many places as pixels, more, and fewer
    ours = optics.low_rank_psf(psfs, rank)
    basis, weights = ours.basis.flatten(1), ours.weights.flatten(1)
    table = psfs.reshape(4, -1)
    light = table.sum(1, keepdim=True)
    mean = torch.linalg.lstsq(light, table).solution
    u, s, v = torch.linalg.svd(table - light @ mean, full_matrices=False)
    kept = min(rank, *table.shape) - 1
    their_basis = torch.cat((mean, s[:kept, None] * v[:kept]))
    their_weights = torch.cat((light, u[:, :kept]), 1).T
    pairs = [(weights.T @ basis, their_weights.T @ their_basis)]
    if kept + 1 < min(table.shape):  # of each factor by itself, not only of their product
        sign = (weights * their_weights).detach().sum(1, keepdim=True).sign()
        pairs += [(basis, sign * their_basis), (weights, sign * their_weights)]
    for made, wanted in pairs:
        torch.testing.assert_close(made, wanted, rtol=1e-9, atol=1e-10)
        found, expected = (
            torch.autograd.grad((_scene(*made.shape) * m.sin()).sum(), psfs, retain_graph=True)[0]
            for m in (made, wanted)
        )
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


_ALIKE = {
    "all equal": lambda: torch.full((2, 2, 3, 3), 1 / 9, dtype=torch.float64),
    "two rows equal": lambda: (_scene(1, 2, 3, 3) / 9).repeat(2, 1, 1, 1),
    "one is dark": lambda: _scene(2, 2, 3, 3) * (torch.arange(4.0) > 0).reshape(2, 2, 1, 1),
    "as many pixels as places": lambda: torch.full((2, 2, 2, 2), 0.2, dtype=torch.float64),
    "fewer pixels than places": lambda: torch.full((2, 3, 1, 3), 0.3, dtype=torch.float64),
    "colours": lambda: torch.full((2, 2, 2, 2, 2), 0.2, dtype=torch.float64),
}


@pytest.mark.parametrize("start", _ALIKE.values(), ids=_ALIKE)
def test_at_full_rank_the_picture_is_linear_in_psfs_that_are_alike(start):
    psfs = start().requires_grad_()
    rank = math.prod(psfs.shape[:2])
    scene = _scene(1, 2, 4, 5)

    def image(psfs):
        return optics.varying_blur(scene, *optics.low_rank_psf(psfs, rank)[:2])

    assert torch.autograd.gradcheck(image, (psfs,))


@_FORWARD
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_psfs_of_few_differences_follow_in_the_weights_that_are_held(dtype):
    psfs = (_spots(1, 2, 5) / 2).to(dtype).repeat(3, 1, 1, 1).requires_grad_()  # two of six

    def loss(psfs):
        basis, weights, _ = optics.low_rank_psf(psfs, 4)
        image = optics.varying_blur(_scene(1, 1, 6, 7).to(dtype), basis, weights)
        return (_scene(*image.shape).to(dtype) * image).sum(), weights

    (slope,) = torch.autograd.grad(loss(psfs)[0], psfs)
    differs = _scene(3, 5, 5) - _scene(3, 5, 5).mean((1, 2), keepdim=True)
    weights = loss(psfs.detach())[1][1:]  # across the light
    change = torch.einsum("rpq,rhw->pqhw", weights, differs.to(dtype))
    step = 1e-6 if dtype == torch.float64 else 1e-3
    ahead, behind = (loss(psfs.detach() + sign * step * change)[0] for sign in (1, -1))
    expected = float((ahead - behind) / (2 * step))
    assert float((slope * change).sum()) == pytest.approx(expected, rel=1e-2)
    forward = torch.func.jvp(lambda p: loss(p)[0], (psfs.detach(),), (change,))[1]
    assert float(forward) == pytest.approx(float((slope * change).sum()), rel=1e-4)


def test_a_lens_that_starts_without_differences_is_trained_in_all_places():
    raw = torch.nn.Parameter(torch.zeros(2, 2, 1, 8, dtype=torch.float64))
    front_end = optics.VaryingImaging(_pupil(raw), rank=4).double()
    scene, seen = _scene(1, 1, 6, 6), _scene(1, 1, 15, 6)[..., :6, :]

    def loss(raw):
        named = {"pupil.elements.0.raw": raw}
        return (torch.func.functional_call(front_end, named, (scene,)) * seen).sum()

    (parameter,) = front_end.parameters()
    start = parameter.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(start), start)
    assert float(slope[..., 1:3].abs().min()) > 1e-3 * float(slope.abs().max())  # tilts
    assert torch.autograd.gradcheck(loss, (start,), atol=1e-6)


@_FORWARD
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 3])
def test_forward_mode_agrees_with_the_gradient(rank, size):
    psfs = _scene(2, 2, size, 3)

    def factors(psfs):
        found = optics.low_rank_psf(psfs, rank)
        return torch.cat([found.basis.flatten(), found.weights.flatten(), found.error_bound[None]])

    forward, backward = torch.func.jacfwd(factors)(psfs), torch.func.jacrev(factors)(psfs)
    torch.testing.assert_close(forward, backward, rtol=1e-8, atol=1e-9)


@_FORWARD
def test_the_psfs_of_a_field_have_a_slope_in_forward_mode():
    front_end = optics.VaryingImaging(torch.nn.Parameter(_spots(2, 2, 5)), rank=2, channels=1)
    scene, change = _scene(1, 1, 8, 9), _scene(2, 2, 5, 5)

    def image(psfs):
        return torch.func.functional_call(front_end, {"psfs": psfs}, (scene,))

    psfs = front_end.psfs.detach()
    _, slope = torch.func.jvp(image, (psfs,), (change,))
    step = 1e-6
    difference = (image(psfs + step * change) - image(psfs - step * change)) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


def test_equal_singular_values_that_are_kept_leave_the_product_its_gradient():
    u, v = (torch.linalg.qr(_scene(n, n))[0] for n in (4, 6))
    table = (u[:, :3] * torch.tensor([2.0, 2.0, 1.0])) @ v[:, :3].T

    def product(psfs):
        basis, weights, _ = optics.low_rank_psf(psfs, 2)
        return torch.einsum("rpq,rhw->pqhw", weights, basis)

    values = torch.linalg.svdvals(table)
    assert float(values[0] - values[1]) < 1e-14
    psfs = table.reshape(2, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(product, (psfs,))
    generic = _scene(2, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(product, (generic,))


def test_each_channel_may_have_psfs_of_its_own():
    psfs = torch.stack([_spots().roll(n, -1) for n in range(3)], 2)
    scene = _scene(2, 3, 20, 18)
    front_end = optics.VaryingImaging(psfs, rank=12, boundary="zero")
    assert front_end.in_channels == front_end.out_channels == 3
    alone = [
        optics.VaryingImaging(psfs[:, :, c], rank=12, channels=1, boundary="zero")(
            scene[:, c, None]
        )
        for c in range(3)
    ]
    torch.testing.assert_close(front_end(scene), torch.cat(alone, 1), rtol=1e-9, atol=1e-12)
    same = optics.VaryingImaging(_spots()[:, :, None].expand(-1, -1, 3, -1, -1), rank=2)
    shared = optics.VaryingImaging(_spots(), rank=2)
    torch.testing.assert_close(same(scene), shared(scene), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(same.error_bound(), shared.error_bound(), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="channels=2, but the PSFs and their response make 3"):
        optics.VaryingImaging(psfs, rank=2, channels=2)


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 12])
def test_no_place_has_more_or_less_light_at_a_low_rank(rank):
    psfs = _spots() * _scene(3, 4, 1, 1)  # each with another throughput
    basis, weights, _ = optics.low_rank_psf(psfs, rank)
    made = torch.einsum("rpq,rhw->pqhw", weights, basis)
    light = psfs.sum((-2, -1))
    torch.testing.assert_close(made.sum((-2, -1)), light, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights[0], light, rtol=1e-12, atol=1e-12)
    # The picture of a point has what is made of it, wherever it lies: a mean of its neighbours'.
    front_end = optics.VaryingImaging(psfs, rank=rank, channels=1, boundary="zero")
    exact = optics.VaryingImaging(psfs, rank=12, channels=1, boundary="zero")
    point = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    point[..., 11, 23] = 1
    assert float(front_end(point).sum()) == pytest.approx(float(exact(point).sum()), rel=1e-10)


@pytest.mark.parametrize("rank", [2, 3])
def test_of_what_keeps_the_light_it_is_the_best(rank):
    """Against a search: M = A B with the sums of the PSFs, by least squares in turn."""
    psfs = _scene(2, 3, 2, 4)
    table = psfs.reshape(6, 8)
    light = table.sum(1, keepdim=True)
    basis, weights, _ = optics.low_rank_psf(psfs, rank)
    ours = float((weights.reshape(rank, 6).T @ basis.reshape(rank, 8) - table).square().sum())
    best = []
    for start in range(4):
        generator = torch.Generator().manual_seed(start)
        columns = torch.randn(6, rank - 1, dtype=torch.float64, generator=generator)
        for _ in range(500):
            # M = s u + A B: rows u and B free but for the sums u 1 = 1 and B 1 = 0.
            left = torch.cat((light, columns), 1)
            rows = torch.linalg.lstsq(left, table).solution
            free = rows - (rows.sum(1, keepdim=True) - torch.eye(rank, 1).double()) / 8
            rest = table - light @ free[:1]
            columns = torch.linalg.lstsq(free[1:].T, rest.T).solution.T
        made = light @ free[:1] + columns @ free[1:]
        torch.testing.assert_close(made.sum(1, keepdim=True), light, rtol=1e-9, atol=0)
        best.append(float((made - table).square().sum()))
    assert ours == pytest.approx(min(best), rel=1e-6)


def test_channels_of_one_light_keep_it_each_and_others_together():
    psfs = torch.stack([_spots(), 0.5 * _spots().flip(-1)], 2) * _scene(3, 4, 1, 1, 1)
    for given, kept in ((psfs, (-2, -1)), (psfs * _scene(1, 4, 2, 1, 1), (-3, -2, -1))):
        basis, weights, _ = optics.low_rank_psf(given, 3)
        made = torch.einsum("rpq,rchw->pqchw", weights, basis)
        torch.testing.assert_close(made.sum(kept), given.sum(kept), rtol=1e-12, atol=1e-12)


def test_dark_places_are_no_division_by_nothing():
    psfs = torch.nn.Parameter(torch.zeros(2, 2, 3, 3))
    basis, weights, bound = optics.low_rank_psf(psfs, 2)
    (basis.sum() + weights.sum() + bound).backward()
    assert torch.isfinite(psfs.grad).all()
    assert float(bound.detach()) == 0


def _counted(monkeypatch):
    calls, real = [], torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda *a, **b: calls.append(1) or real(*a, **b))
    return calls


def test_psfs_that_stay_the_same_are_taken_apart_once(monkeypatch):
    front_end = optics.VaryingImaging(_spots(), rank=4, channels=1)
    file = len(pickle.dumps(front_end))
    calls, scene = _counted(monkeypatch), _scene(1, 1, 16, 17)
    first = front_end(scene)
    bound = float(front_end.error_bound())
    front_end.error_bound().zero_()  # the caller's own, not the one that is kept
    assert float(front_end.error_bound()) == bound
    assert torch.equal(front_end(scene), first)
    assert len(calls) == 1
    assert len(pickle.dumps(front_end)) == file
    learned = optics.VaryingImaging(torch.nn.Parameter(_spots()), rank=4, channels=1)
    for _ in range(2):
        learned(scene)
    assert len(calls) == 4  # one more when it was made
    with torch.no_grad():
        assert torch.equal(learned(scene), learned(scene))
    assert len(calls) == 5


_CHANGES = {
    "in place": lambda camera, new: camera.psfs.copy_(new),
    "behind autograd": lambda camera, new: camera.psfs.data.copy_(new),
    "another tensor": lambda camera, new: setattr(camera, "psfs", new),
    "a state": lambda camera, new: camera.load_state_dict({"psfs": new}),
    "an assigned state": lambda camera, new: camera.load_state_dict({"psfs": new}, assign=True),
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
@pytest.mark.parametrize("copied", [lambda m: m, copy.deepcopy, copy.copy])
def test_psfs_that_change_are_taken_apart_anew(change, copied):
    camera = optics.VaryingImaging(_spots(), rank=3, channels=1)
    scene, new = _scene(1, 1, 16, 17), _spots().flip(0)
    before = camera(scene)
    other = copied(camera)
    change(other, new)
    expected = optics.VaryingImaging(new, rank=3, channels=1)(scene)
    assert torch.equal(other(scene), expected)
    assert not torch.equal(expected, before)
    assert list(camera.state_dict()) == ["psfs"]
    assert torch.equal(pickle.loads(pickle.dumps(other))(scene), expected)
    single = other.float()
    assert single(scene.float()).dtype == torch.float32
    assert single.error_bound().dtype == torch.float32


def test_psfs_of_another_precision_are_taken_apart_in_it_though_their_values_are_equal():
    psfs = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    psfs[..., 1, 1], psfs[0, 1, 0, 0] = 0.5, 0.25
    camera = optics.VaryingImaging(psfs, rank=2, channels=1)
    assert camera.error_bound().dtype == torch.float64
    assert camera.float().error_bound().dtype == torch.float32


def test_what_was_taken_apart_while_testing_serves_to_train():
    camera = optics.VaryingImaging(_spots(), rank=3, channels=1)
    scene = _scene(2, 1, 16, 17)
    with torch.inference_mode():
        seen = camera(scene)
    lit = scene.clone().requires_grad_()
    camera(lit).square().sum().backward()
    expected = optics.varying_blur(lit, *optics.low_rank_psf(_spots(), 3)[:2])
    torch.testing.assert_close(seen, expected.detach())
    (wanted,) = torch.autograd.grad(expected.square().sum(), lit)
    torch.testing.assert_close(lit.grad, wanted)
    mapped = torch.func.vmap(lambda one: camera(one[None])[0])(scene)
    torch.testing.assert_close(mapped, seen)
    fresh = optics.VaryingImaging(_spots(), rank=3, channels=1)
    torch.testing.assert_close(torch.func.vmap(lambda one: fresh(one[None])[0])(scene), seen)
    torch.testing.assert_close(fresh(scene), seen)
    both = torch.stack((_spots(), _spots().flip(0)))
    several = torch.func.vmap(
        lambda psfs: torch.func.functional_call(fresh, {"psfs": psfs}, (scene,))
    )(both)
    torch.testing.assert_close(several[0], seen)
    compiled = torch.compile(camera, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(scene), seen)


def test_the_bound_is_formed_in_full_precision_under_autocast():
    psfs = _spots().float()
    expected = optics.low_rank_psf(psfs, 2).error_bound
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(optics.low_rank_psf(psfs, 2).error_bound, expected)


def test_psfs_that_are_trained_have_the_gradient_of_a_finite_difference():
    psfs = torch.nn.Parameter(_spots(2, 2, 5))
    front_end = optics.VaryingImaging(psfs, rank=2, channels=1)
    assert front_end.psfs is psfs
    scene = _scene(1, 1, 8, 8)

    def image(value):
        return torch.func.functional_call(front_end, {"psfs": value}, (scene,))

    assert torch.autograd.gradcheck(image, (psfs.detach().requires_grad_(),), fast_mode=True)


def test_what_does_not_fit_is_refused():
    edges = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(2, 2, 3, 3)
    with pytest.raises(ValueError, match="psfs sum to 0 at all places, but their sums are kept"):
        optics.low_rank_psf(edges, 2)
    assert not optics.low_rank_psf(0 * edges, 2).error_bound  # darkness is exact
    with pytest.raises(ValueError, match="rank must be from 1 to the 12 places, not 13"):
        optics.low_rank_psf(_spots(), 13)
    with pytest.raises(ValueError, match=r"psfs must be \[P, Q, \(C,\) h, w\], not \(4, 15"):
        optics.low_rank_psf(_spots()[0], 1)
    with pytest.raises(ValueError, match=r"at most 1; here the sum .*optics\.measured_psf"):
        optics.VaryingImaging(2 * _spots(), rank=1)
    partly = _spots()
    partly[1, 2, 0, 0] = -0.01
    with pytest.raises(ValueError, match=r"a PSF is not negative .* least value is -0\.01: "):
        optics.VaryingImaging(partly, rank=1)
    with pytest.raises(ValueError, match=r"takes scenes \[B, 3, H, W\], not \(1, 1, 8, 8\)"):
        optics.VaryingImaging(_spots(), rank=1)(_scene(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"basis \[R, \(C,\) h, w\] and weights \[R, P,"):
        optics.varying_blur(_scene(1, 1, 8, 8), torch.ones(2, 3, 3), torch.ones(1, 2, 2))
    with pytest.raises(TypeError, match="basis must be a Tensor, not ndarray"):
        optics.varying_blur(_scene(1, 1, 8, 8), torch.ones(1, 3, 3).numpy(), torch.ones(1, 2, 2))
    with pytest.raises(TypeError, match="weights must be a Tensor, not list"):
        optics.varying_blur(_scene(1, 1, 8, 8), torch.ones(1, 3, 3), [[[1.0]]])
    with pytest.raises(ValueError, match=r"scene must be real floating point .* not torch.uint8"):
        optics.VaryingImaging(_spots(), rank=1)(torch.ones(1, 3, 8, 8, dtype=torch.uint8))


def test_psfs_of_half_precision_are_taken_apart_in_float32():
    psfs = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(7)) / 25
    for dtype in (torch.float16, torch.bfloat16):
        found, expected = (optics.low_rank_psf(p, 4) for p in (psfs.to(dtype), psfs))
        assert found.basis.dtype == torch.float32
        made, wanted = (
            torch.einsum("rpq,ryx->pqyx", r.weights, r.basis) for r in (found, expected)
        )
        torch.testing.assert_close(made, wanted, rtol=1e-2, atol=1e-4)


def _pupil(coefficients, *, wavelengths=(550e-9,), size=32, **options):
    element = optics.Aberration(
        size, spacing=80e-6, diameter=(size - 1) * 80e-6, coefficients=coefficients, **options
    )
    return optics.Pupil(
        [element], wavelengths=wavelengths, focal_length=20e-3, pixel_pitch=2e-6, psf_size=15
    )


def _random(*shape):
    return 60e-9 * torch.randn(*shape, generator=torch.Generator().manual_seed(3))


_BANDS = (450e-9, 550e-9, 650e-9)


def test_each_place_has_the_mtf_of_a_lens_with_its_wavefront():
    frequency = torch.tensor([0.0, 3e4, 6e4])
    coefficients, waves = _random(2, 3, 1, 11), (500e-9, 600e-9)
    response = torch.tensor([[0.4, 0.6]])
    camera = optics.VaryingImaging(
        _pupil(coefficients, wavelengths=waves), rank=2, spectral_response=response
    )
    found = camera.mtf(frequency, angle=0.7)
    assert found.shape == (2, 3, 1, 3)
    for row, column in itertools.product(range(2), range(3)):
        alone = optics.IncoherentImaging(
            _pupil(coefficients[row, column], wavelengths=waves), spectral_response=response
        )
        torch.testing.assert_close(found[row, column], alone.mtf(frequency, angle=0.7))


@pytest.mark.parametrize("bands", [1, 3])
def test_a_pupil_has_in_each_place_the_psf_that_its_wavefront_has_alone(bands):
    coefficients = _random(3, 2, bands, 11)
    front_end = optics.VaryingImaging(_pupil(coefficients, wavelengths=_BANDS), rank=6)
    psfs = front_end.psf()
    assert psfs.shape == (3, 2, 3, 15, 15)
    grid = {"diameter": 31 * 80e-6, "spacing": 80e-6}
    basis = optics.zernike_basis(11, 32, soft_edge=True, dtype=torch.float64, **grid)
    aperture = optics.circular_aperture(32, **grid).double()
    for p in range(3):
        for q in range(2):
            for band, wavelength in enumerate(_BANDS):
                own = coefficients[p, q, min(band, bands - 1)].double()
                phase = 2 * torch.pi / wavelength * torch.tensordot(own, basis, 1)
                alone = optics.psf_from_pupil(
                    torch.polar(aperture, phase),
                    wavelength=wavelength,
                    focal_length=20e-3,
                    pupil_spacing=80e-6,
                    pixel_pitch=2e-6,
                    size=15,
                )
                torch.testing.assert_close(psfs[p, q, band].double(), alone, rtol=1e-4, atol=1e-7)
    light = psfs.sum((-2, -1))
    assert float(light.max()) <= 1 + 1e-6
    # Of two columns both are borders; of three rows, two.
    parts = torch.tensor([0.25, 0.5, 0.25])
    torch.testing.assert_close(front_end.throughput(), parts @ light.mean((1, 2)))


@pytest.mark.parametrize("places", [(3, 3), (2, 5), (1, 4), (1, 1)])
def test_the_throughput_is_the_light_of_an_even_scene(places):
    psfs = _spots(1, 1, 5) * _scene(*places, 1, 1).sqrt()  # each place with its own light
    front_end = optics.VaryingImaging(psfs, rank=math.prod(places), channels=2)
    even = front_end(torch.ones(1, 2, 256, 256, dtype=torch.float64)).mean()
    assert float(front_end.throughput()) == pytest.approx(float(even), abs=2e-3)


def test_equal_wavefronts_in_all_places_are_incoherent_imaging():
    own = _random(3, 8)
    scene = _scene(2, 3, 16, 18).float()
    one = optics.IncoherentImaging(_pupil(own, wavelengths=_BANDS))
    several = optics.VaryingImaging(
        _pupil(own.expand(2, 3, 3, 8).clone(), wavelengths=_BANDS), rank=1
    )
    torch.testing.assert_close(several(scene), one(scene), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(several.throughput(), one.throughput())


def test_the_coefficients_of_every_place_have_the_gradient_of_a_finite_difference():
    front_end = optics.VaryingImaging(
        _pupil(torch.nn.Parameter(_random(2, 2, 1, 6).double())), rank=3
    ).double()
    (parameter,) = front_end.parameters()
    assert parameter.shape == (2, 2, 1, 6)
    scene = _scene(1, 1, 9, 8)

    def image(raw):
        return torch.func.functional_call(front_end, {"pupil.elements.0.raw": raw}, (scene,))

    assert torch.autograd.gradcheck(image, (parameter.detach().requires_grad_(),), fast_mode=True)
    front_end(scene).square().sum().backward()
    assert (parameter.grad[..., 3:].abs().sum(-1) > 0).all()


def test_training_finds_the_field_curvature_of_a_lens():
    places, size = (3, 3), (24, 24)
    truth = optics.seidel_coefficients(places, size=size, field_curvature=0.3 * 550e-9)
    scene = _scene(2, 1, *size).float()
    with torch.no_grad():
        seen = optics.VaryingImaging(_pupil(truth[..., 3:4], indices=[4]), rank=9)(scene)
    start = torch.full_like(truth[..., 3:4], 0.02 * 550e-9)
    front_end = optics.VaryingImaging(_pupil(torch.nn.Parameter(start), indices=[4]), rank=9)
    optimiser = torch.optim.Adam(front_end.parameters(), 2e-3)
    for _ in range(150):
        optimiser.zero_grad()
        (front_end(scene) - seen).square().mean().backward()
        optimiser.step()
    found = front_end.pupil.elements[0].coefficients.detach() / 550e-9
    # In the corner 0.3 waves of r^2 are 0.3 / sqrt(12) RMS; the sign of defocus shows in no PSF.
    assert float(found[0, 0, 0, 0].abs()) == pytest.approx(0.3 / 12**0.5, abs=0.01)
    assert float(found[0, 1, 0, 0].abs()) == pytest.approx(0.15 / 12**0.5, abs=0.01)


def test_a_response_mixes_the_wavelengths_of_each_place():
    coefficients = _random(2, 2, 3, 6)
    response = torch.tensor([[0.2, 0.3, 0.1], [0.0, 0.5, 0.5]])
    pupil = _pupil(coefficients, wavelengths=_BANDS)
    front_end = optics.VaryingImaging(pupil, rank=4, spectral_response=response)
    assert front_end.in_channels == 2
    expected = torch.einsum("cl,pqlyx->pqcyx", response, pupil())
    torch.testing.assert_close(front_end.psf(), expected)
    with pytest.raises(ValueError, match=r"spectral_response must be \[C, 3\], not negative"):
        optics.VaryingImaging(pupil, rank=4, spectral_response=torch.ones(2, 2) / 2)


def test_a_projection_stands_before_the_blur_and_falls_off_behind_it():
    projection = optics.Projection(radial=[-0.1], half_field=0.5)
    scene = _scene(1, 1, 16, 18).float()
    pupil = _pupil(_random(2, 2, 1, 6))
    plain = optics.VaryingImaging(pupil, rank=4)
    whole = optics.VaryingImaging(pupil, rank=4, projection=projection)
    expected = plain(projection(scene)) * projection.illumination((16, 18))
    torch.testing.assert_close(whole(scene), expected)


def test_several_distances_lie_in_front_of_the_places():
    pupil = _pupil(_random(2, 3, 1, 6), wavelengths=_BANDS)
    distances = torch.tensor([0.5, 1.0])
    both = pupil(distance=distances)
    assert both.shape == (2, 2, 3, 3, 15, 15)
    torch.testing.assert_close(both[1], pupil(distance=1.0))
    assert optics.audit_sampling(pupil).window_loss.shape == (2, 3, 3)


def test_psfs_are_a_tensor_or_of_a_pupil_that_changes():
    one = _pupil(_random(6))
    with pytest.raises(ValueError, match="the pupil has one PSF for all places: use"):
        optics.VaryingImaging(one, rank=2)
    with pytest.raises(TypeError, match=r"psfs must be a Pupil, or a Tensor .* not list"):
        optics.VaryingImaging([[1.0]], rank=2)
    changing = _pupil(_random(2, 3, 1, 6))
    with pytest.raises(ValueError, match="rank must be from 1 to the 6 places, not 7"):
        optics.VaryingImaging(changing, rank=7)
    with pytest.raises(ValueError, match="a different wavefront or opening at each of 2 x 3"):
        optics.IncoherentImaging(changing)
    with pytest.raises(ValueError, match="a different wavefront or opening at each of 2 x 3"):
        optics.CoherentImaging(changing)
    with pytest.raises(ValueError, match=r"one grid of places, not \[\(2, 2\), \(2, 3\)\]"):
        optics.Pupil(
            [changing.elements[0], _pupil(_random(2, 2, 1, 6)).elements[0]],
            wavelengths=(550e-9,),
            focal_length=20e-3,
            pixel_pitch=2e-6,
            psf_size=15,
        )


def test_one_psf_for_all_channels_is_that_of_each():
    front_end = optics.VaryingImaging(_spots(), rank=12)
    assert front_end.places == (3, 4)
    assert front_end.psf().shape == (3, 4, 3, 15, 15)
    assert (front_end.psf() == _spots()[:, :, None]).all()


def test_lamps_and_filters_mix_what_was_blurred():
    coefficients = _random(2, 2, 3, 6)
    pupil = _pupil(coefficients, wavelengths=_BANDS)
    colour = optics.ColourChannels(
        3,
        lamps=optics.Illumination(3, patterns=2),
        filters=optics.ColourFilters(torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.3, 0.8]])),
    )
    plain = optics.VaryingImaging(pupil, rank=4)
    mixed = optics.VaryingImaging(pupil, rank=4, colour=colour)
    scene = _scene(2, 3, 12, 14).float()
    assert (mixed.in_channels, mixed.out_channels, mixed.exposures) == (3, 4, 2)
    expected = torch.einsum("cl,blyx->bcyx", colour.matrix, plain(scene))
    torch.testing.assert_close(mixed(scene), expected)
    light = pupil().sum((-2, -1)).mean((0, 1))
    torch.testing.assert_close(mixed.throughput(), colour.throughput(light))
    # With the same wavefront everywhere it is incoherent imaging with these colours.
    own = coefficients[0, 0]
    same = _pupil(own.expand(2, 2, 3, 6).clone(), wavelengths=_BANDS)
    one = optics.IncoherentImaging(_pupil(own, wavelengths=_BANDS), colour=colour)
    several = optics.VaryingImaging(same, rank=1, colour=colour)
    torch.testing.assert_close(several(scene), one(scene), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(several.throughput(), one.throughput())
    with pytest.raises(ValueError, match="colour has 2 bands, but the PSFs have 3"):
        optics.VaryingImaging(pupil, rank=4, colour=optics.ColourChannels(2))
    with pytest.raises(ValueError, match="a spectral_response assumes one PSF for each"):
        optics.VaryingImaging(
            pupil, rank=4, colour=optics.ColourChannels(3), spectral_response=torch.eye(3)
        )
    with pytest.raises(ValueError, match=r"boundary must be one of .* not 'mirror'"):
        optics.VaryingImaging(pupil, rank=4, boundary="mirror")


def test_inside_of_a_picture_no_light_is_made_or_lost_whatever_the_rank_is():
    # PSFs of one sum s: the weights and sums of the eigen-PSFs add up to s where rank is full,
    # and a point between places has the mean of its neighbours.
    psfs = _spots(3, 3, 9) / _spots(3, 3, 9).sum((-2, -1), keepdim=True) * 0.7
    front_end = optics.VaryingImaging(psfs, rank=9, channels=1, boundary="zero")
    for y, x in ((20, 20), (10, 31), (20, 13), (8, 8)):
        point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
        point[..., y, x] = 1
        assert float(front_end(point).sum()) == pytest.approx(0.7, rel=1e-10)
    few = optics.VaryingImaging(psfs, rank=3, channels=1, boundary="zero")
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 10, 31] = 1
    assert abs(float(few(point).sum()) - 0.7) <= float(few.error_bound())


def test_psfs_that_move_magnify_the_picture_to_the_border():
    # A PSF displaced by s (x - c) is a magnification 1 + s about the middle c; whole pixels at the
    # places, between which a point is split between its neighbours in proportion.
    size, places = 40, 5
    shift = [-2, -1, 0, 1, 2]  # of a tenth of the place from the middle, -20 to 20 at the borders
    psfs = torch.zeros(places, places, 7, 7, dtype=torch.float64)
    for p, q in torch.cartesian_prod(torch.arange(places), torch.arange(places)).tolist():
        psfs[p, q, 3 + shift[p], 3 + shift[q]] = 1
    front_end = optics.VaryingImaging(psfs, rank=25, channels=1, boundary="zero")
    steps = torch.arange(size, dtype=torch.float64)
    for y, x in ((20, 20), (10, 30), (15, 8), (33, 37), (36, 20)):
        point = torch.zeros(1, 1, size, size, dtype=torch.float64)
        point[..., y, x] = 1
        image = front_end(point)[0, 0]
        assert float(image.sum()) == pytest.approx(1, rel=1e-10)
        centre = [float((image.sum(1 - d) * steps).sum()) for d in (0, 1)]
        wanted = [19.5 + 1.1 * (y - 19.5), 19.5 + 1.1 * (x - 19.5)]
        assert centre == pytest.approx(wanted, abs=1e-9)


def test_a_side_of_one_pixel_lies_in_the_middle_of_the_places():
    psfs = _scene(3, 4, 1, 1) / 2
    front_end = optics.VaryingImaging(psfs, rank=1, channels=1)
    for size, expected in (
        ((1, 4), np.interp([0.375, 1.125, 1.875, 2.625], range(4), psfs[1, :, 0, 0])),
        ((3, 1), np.interp([1 / 3, 1, 5 / 3], range(3), psfs[:, 1:3, 0, 0].mean(1))),
        ((1, 1), psfs[1, 1:3].mean()),
    ):
        image = front_end(torch.ones(1, 1, *size, dtype=torch.float64))
        torch.testing.assert_close(image, torch.as_tensor(expected).reshape(1, 1, *size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scenes_of_half_precision_are_blurred_in_float32(dtype):
    camera = optics.VaryingImaging(_spots().float(), rank=4)
    scene = _scene(1, 3, 16, 16).to(dtype)
    assert torch.equal(camera(scene), camera(scene.float()))


def test_a_scene_that_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="scene must be a Tensor, not list"):
        optics.VaryingImaging(_spots(), rank=1)([1])


_FAR = (0.8, 2.0, math.inf)


def _deep(coefficients=None, *, rank=4, distances=_FAR, **options):
    coefficients = _random(2, 2, 1, 6) if coefficients is None else coefficients
    return optics.VaryingImaging(
        _pupil(coefficients), rank=rank, working_distances=distances, **options
    )


def _sources(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


@pytest.mark.parametrize("coloured", [False, True])
def test_of_one_place_it_is_incoherent_imaging_at_each_distance(coloured):
    own = _random(3, 8)
    filters = optics.ColourFilters(torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.3, 0.8]]))
    options = {
        "working_distances": torch.tensor(_FAR),
        "projection": optics.Projection(radial=[-0.1], half_field=0.5),
        "colour": optics.ColourChannels(3, filters=filters) if coloured else None,
    }
    one = optics.IncoherentImaging(_pupil(own, wavelengths=_BANDS), **options)
    place = optics.VaryingImaging(_pupil(own[None, None], wavelengths=_BANDS), rank=1, **options)
    scene = _scene(5, 3, 16, 18).float()
    frequency = torch.tensor([0.0, 3e4, 6e4])
    close = {"rtol": 1e-4, "atol": 1e-5}
    for distance in (*_FAR, torch.tensor(2.0), torch.tensor([2.0, 0.8, 3.0, math.inf, 0.8])):
        expected = one(scene, distance=distance)
        torch.testing.assert_close(place(scene, distance=distance), expected, **close)
    where = place.working_distances
    torch.testing.assert_close(place.psf(distance=where)[:, 0, 0], one.psf(distance=where))
    made = place.mtf(frequency, distance=where)[:, 0, 0]
    torch.testing.assert_close(made, one.mtf(frequency, distance=where))
    assert place.draws
    drawn = place(scene, generator=_sources(5))
    torch.testing.assert_close(drawn, one(scene, generator=_sources(5)), **close)
    torch.testing.assert_close(place.throughput(), one.throughput())
    with place.at(0.9), one.at(0.9):
        torch.testing.assert_close(place(scene), one(scene), **close)
        torch.testing.assert_close(place.throughput(), one.throughput())
    assert place(scene[:0]).shape == place(scene[:0], distance=torch.ones(0)).shape
    assert place(scene[:0]).shape == (0, 2 if coloured else 3, 16, 18)


def test_each_point_has_the_psf_of_its_place_and_of_the_distance_of_its_picture():
    camera = _deep(_random(2, 3, 1, 6).double(), rank=6, boundary="zero").double()
    scene = _scene(3, 1, 12, 10)
    distances = torch.tensor([2.0, 0.8, 2.0])
    together = camera(scene, distance=distances)
    for picture, image, distance in zip(scene, together, distances, strict=True):
        exact = _exact(picture[None], camera.psf(distance=distance)[:, :, 0])
        torch.testing.assert_close(image[0], exact, rtol=1e-9, atol=1e-11)
    assert (together[0] - camera(scene[:1], distance=0.8)[0]).abs().max() > 1e-2
    assert camera.error_bound() < 1e-10


@pytest.mark.parametrize("trained", [False, True])
def test_a_picture_depends_on_its_own_generator_alone(trained):
    coefficients = _random(2, 2, 1, 6).double()
    camera = _deep(torch.nn.Parameter(coefficients) if trained else coefficients, rank=2).double()
    scene = _scene(1, 1, 9, 10).expand(40, -1, -1, -1)
    drawn = camera(scene, generator=_sources(40))
    choices = torch.cat([camera(scene[:1], distance=distance) for distance in _FAR])
    apart = (drawn[:, None] - choices).abs().amax((-3, -2, -1))
    assert (apart.amin(1) < 1e-12).all()
    assert set(apart.argmin(1).tolist()) == {0, 1, 2}
    close = {"rtol": 1e-10, "atol": 1e-13}
    torch.testing.assert_close(camera(scene[:7], generator=_sources(7, 5)), drawn[5:12], **close)
    alone = [camera(scene[:1], generator=source) for source in _sources(4)]
    torch.testing.assert_close(torch.cat(alone), drawn[:4], **close)
    # At one distance nothing else is drawn otherwise, as by a sensor.
    here, there = _sources(2), _sources(2)
    camera(scene[:2], generator=here)
    with camera.at(0.9):
        seen = camera(scene[:2], generator=there)
        torch.testing.assert_close(seen, camera(scene[:2], distance=0.9))
    assert [a.get_state().tolist() for a in here] == [b.get_state().tolist() for b in there]
    if trained:  # the gradient of a batch is the sum of those of its pictures
        (weight,) = camera.parameters()
        (found,) = torch.autograd.grad(drawn[:4].square().sum(), weight)
        (wanted,) = torch.autograd.grad(torch.cat(alone).square().sum(), weight)
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


def test_the_gradient_at_two_distances_is_that_of_a_finite_difference():
    camera = _deep(torch.nn.Parameter(_random(2, 2, 1, 6).double()), rank=3).double()
    (parameter,) = camera.parameters()
    scene, distances = _scene(2, 1, 9, 8), torch.tensor([0.8, 2.0])

    def image(raw):
        options = {"distance": distances}
        return torch.func.functional_call(camera, {"pupil.elements.0.raw": raw}, (scene,), options)

    assert torch.autograd.gradcheck(image, (parameter.detach().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_light_is_that_of_the_distance_at_every_rank(rank):
    camera = _deep(_random(2, 2, 1, 6).double(), rank=rank, boundary="zero").double()
    light = camera.psf(distance=camera.working_distances).sum((-2, -1))[..., 0]
    assert (light.flatten(1).amax(1) - light.max() < -0.01).any()  # which differs
    corner = torch.zeros(3, 1, 31, 31, dtype=torch.float64)
    corner[:, 0, 15, 15] = 1  # in the middle of four places
    seen = camera(corner, distance=torch.tensor(_FAR)).sum((-3, -2, -1))
    torch.testing.assert_close(seen, light.mean((1, 2)))
    torch.testing.assert_close(camera.throughput(), light.mean())


def test_the_bound_is_the_largest_of_all_distances():
    camera = _deep(rank=2)
    each = []
    for distance in _FAR:
        with camera.at(distance):
            each.append(camera.error_bound())
    assert len({float(bound) for bound in each}) == 3
    torch.testing.assert_close(camera.error_bound(), torch.stack(each).max())
    camera.error_bound().zero_()  # the caller's own, not the one that is kept
    assert camera.error_bound() > 0


def test_psfs_of_all_distances_are_taken_apart_once(monkeypatch):
    camera, scene = _deep(rank=3), _scene(4, 1, 9, 10).float()
    file = len(pickle.dumps(camera))
    calls = _counted(monkeypatch)
    first = camera(scene, generator=_sources(4))
    assert torch.equal(camera(scene, generator=_sources(4)), first)
    camera(scene, generator=_sources(4, seed=9))
    camera.error_bound()
    assert len(calls) == len(_FAR)
    assert len(pickle.dumps(camera)) == file
    with torch.no_grad():
        camera.pupil.elements[0].raw[0, 0] += 0.05
    assert not torch.equal(camera(scene, generator=_sources(4)), first)
    assert len(calls) == 2 * len(_FAR)
    plain = optics.VaryingImaging(camera.pupil, rank=3)
    assert list(camera.state_dict()) == list(plain.state_dict())
    assert "boundary='replicate', working_distances=(0.8, 2, inf) m" in repr(camera)


def test_pictures_at_one_distance_share_what_is_taken_apart(monkeypatch):
    camera, scene = _deep(rank=3), _scene(4, 1, 9, 10).float()
    alone = [camera(scene[i : i + 1], distance=d) for i, d in enumerate((0.8, 2.0, 0.8, 2.0))]
    camera = _deep(rank=3)
    calls = _counted(monkeypatch)
    together = camera(scene, distance=torch.tensor([0.8, 2.0, 0.8, 2.0], dtype=torch.float64))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)
    assert len(calls) == 2
    # An empty batch, which needs none, does not take the place of what is kept.
    assert camera(scene[:0]).shape == (0, *together.shape[1:])
    camera(scene, distance=torch.tensor([0.8, 2.0, 2.0, 0.8], dtype=torch.float64))
    assert len(calls) == 2
    camera.rank = 2
    camera(scene, distance=torch.tensor([0.8, 2.0, 2.0, 0.8], dtype=torch.float64))
    assert len(calls) == 4


def test_a_graph_of_drawn_distances_takes_any_number_of_pictures():
    camera, scene = _deep(rank=3), _scene(4, 1, 9, 10).float()
    shapes = {"scene": {0: torch.export.Dim("batch", min=2, max=64)}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = torch.export.export(
            camera, (), {"scene": scene}, dynamic_shapes=shapes, strict=False
        )
        assert made.module()(scene=torch.cat([scene, scene[:3]])).shape[0] == 7


def test_drawn_distances_are_one_graph_under_compile_and_full_precision_under_autocast():
    start = torch.nn.Parameter(_random(1, 2, 1, 6).double())
    camera = _deep(start, rank=2, distances=(0.8, 2.0)).double()
    scene = _scene(2, 1, 9, 10)
    compiled = torch.compile(camera, backend="eager", fullgraph=True)
    images, slopes = [], []
    for made in (camera, compiled):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            images.append(made(scene))
        slopes += torch.autograd.grad(images[-1].square().sum(), camera.parameters())
    torch.testing.assert_close(*images)
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = camera(scene, distance=2.0)
    assert torch.equal(seen, camera(scene, distance=2.0))


def test_distances_that_do_not_fit_are_refused():
    scene = _scene(2, 1, 9, 10).float()
    with pytest.raises(ValueError, match="distances need a Pupil: a fixed PSF has one depth"):
        optics.VaryingImaging(_spots(), rank=1, working_distances=(0.5,))
    with pytest.raises(ValueError, match=r"working_distances must be \[D\], positive metres"):
        _deep(distances=(0.5, 0.0))
    camera = _deep()
    with pytest.raises(ValueError, match=r"or one for each of the 2 pictures, not \(3,\)"):
        camera(scene, distance=torch.ones(3))
    with pytest.raises(ValueError, match="one for each picture: 3"):
        camera(scene, generator=_sources(3))


def test_pictures_may_have_eigen_psfs_of_their_own():
    scene, ours = _scene(2, 3, 12, 13), (_spots(), _spots().flip(0))
    parts = [optics.low_rank_psf(psfs, 4) for psfs in ours]
    basis, weights = (torch.stack(part) for part in list(zip(*parts, strict=True))[:2])
    expected = [
        optics.varying_blur(one[None], *own[:2]) for one, own in zip(scene, parts, strict=True)
    ]
    expected = torch.cat(expected)
    torch.testing.assert_close(optics.varying_blur(scene, basis, weights), expected)
    coloured = basis[:, :, None].expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(optics.varying_blur(scene, coloured, weights), expected)
    assert optics.varying_blur(scene[:0], basis[:0], weights[:0]).shape == (0, 3, 12, 13)
    for wrong in ((basis[:1], weights[:1]), (basis, weights[:, :3]), (basis[0], weights)):
        with pytest.raises(ValueError, match=r"or both with \[B\] in front, not \(2, 3, 12, 13\)"):
            optics.varying_blur(scene, *wrong)
