import math

import kornia
import numpy as np
import pytest
import torch
from skimage import transform

import optics
from optics import distort, distortion_fit, relative_illumination


def _scene(height=24, width=32, *, batch=2, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)


def _radius(height, width):
    """Radius of each pixel, 1 at the corner of the picture, and the unit in pixels."""
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    unit = math.hypot(height, width) / 2
    return torch.hypot(y, x) / unit, y / unit, x / unit, unit


def _spot(size, sigma, *, at=(0.0, 0.0)):
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    spot = torch.exp(-((x[:, None] - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sigma**2))
    return spot[None, None]


def test_nothing_is_nothing():
    scene = _scene()
    torch.testing.assert_close(distort(scene), scene, rtol=0, atol=1e-14)
    torch.testing.assert_close(distort(scene, radial=(0.0, 0.0)), scene, rtol=0, atol=1e-14)
    torch.testing.assert_close(distort(scene, magnification=(1.0, 1.0, 1.0)), scene)


@pytest.mark.parametrize("shape", [(24, 32), (31, 20)])
@pytest.mark.parametrize("radial", [(0.3,), (-0.15, 0.05), (0.1, -0.2, 0.15)])
@pytest.mark.parametrize("boundary", ["zero", "replicate"])
def test_points_lie_where_kornia_puts_them_and_scikit_image_looks(shape, radial, boundary):
    scene = _scene(*shape, batch=1, channels=1)
    _, y, x, unit = _radius(*shape)
    middle = [(side - 1) / 2 for side in shape]
    # Kornia's polynomial of (k1, k2, p1, p2, k3) takes the point of one plane to that of the other.
    k1, k2, k3 = (*radial, 0.0, 0.0)[:3]
    coefficients = torch.tensor([[k1, k2, 0.0, 0.0, k3]], dtype=torch.float64)
    points = torch.stack(torch.broadcast_tensors(x, y), -1).reshape(1, -1, 2)
    eye = torch.eye(3, dtype=torch.float64)[None]
    seen = kornia.geometry.calibration.distort_points(points, eye, coefficients)
    columns, rows = (seen[0] * unit).reshape(*shape, 2).unbind(-1)
    places = np.stack([(rows + middle[0]).numpy(), (columns + middle[1]).numpy()])
    mode = {"zero": "constant", "replicate": "edge"}[boundary]
    expected = transform.warp(scene[0, 0].numpy(), places, order=1, mode=mode)
    found = distort(scene, radial=radial, boundary=boundary)
    plain = found / distort(torch.ones_like(scene), radial=radial, boundary="replicate")
    np.testing.assert_allclose(plain[0, 0].numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("radial", [(0.25,), (-0.2,), (0.1, 0.1)])
def test_the_light_of_a_spot_is_only_moved(radial):
    spot = _spot(128, 5.0, at=(21.0, -14.0))
    image = distort(spot, radial=radial, boundary="zero")
    # What is linear between the pixels is not the spot itself.
    assert float(image.sum()) == pytest.approx(float(spot.sum()), rel=3e-3)
    # It lies where the polynomial, solved for the image, puts it.
    unit = math.hypot(128, 128) / 2
    seen = math.hypot(21, 14) / unit
    powers = [0.0] * (2 * len(radial) + 2)
    for number, term in enumerate((1.0, *radial)):
        powers[2 * number + 1] = term
    polynomial = np.polynomial.Polynomial([-seen, *powers[1:]])
    roots = polynomial.roots()
    real = min(float(r.real) for r in roots if abs(r.imag) < 1e-9 and r.real > 0)
    x = torch.arange(128, dtype=torch.float64) - 63.5
    row = float((image.sum(-1) * x).sum() / image.sum())
    column = float((image.sum(-2) * x).sum() / image.sum())
    assert row == pytest.approx(21 * real / seen, abs=0.15)
    assert column == pytest.approx(-14 * real / seen, abs=0.15)


def test_single_pixels_alias_and_keep_their_light_in_the_mean():
    # As the docstring of distort says: of a barrel whose corner comes in by 20 %.
    size, margin = 33, 6
    points = torch.eye(size * size, dtype=torch.float64).reshape(-1, 1, size, size)
    image = distort(points, radial=((1 / 0.8 - 1) / 0.8**2,), boundary="zero")
    light = image.sum((1, 2, 3)).reshape(size, size)[margin:-margin, margin:-margin]
    assert 0.9 <= float(light.min()) < 0.92
    assert 1.3 < float(light.max()) <= 1.4
    assert float(light.mean()) == pytest.approx(1, abs=0.01)


def test_terms_that_have_come_to_fold_make_no_negative_light():
    # Nobody looks at them here, as on an accelerator.
    folding = torch.tensor([[-0.6], [-0.9]], dtype=torch.float64)
    scene = _scene()
    images = torch.vmap(lambda terms: distort(scene, radial=terms))(folding)
    assert float(images.min()) >= 0


def test_colours_have_their_own_size():
    spot = _spot(128, 7.0, at=(20.0, 10.0)).expand(1, 3, 128, 128)
    image = distort(spot, magnification=(0.9, 1.0, 1.2), boundary="zero")
    x = torch.arange(128, dtype=torch.float64) - 63.5
    for channel, size in enumerate((0.9, 1.0, 1.2)):
        own = image[0, channel]
        assert float((own.sum(-1) * x).sum() / own.sum()) == pytest.approx(20 * size, abs=0.02)
        assert float((own.sum(-2) * x).sum() / own.sum()) == pytest.approx(10 * size, abs=0.02)
        assert float(own.sum()) == pytest.approx(float(spot[0, 0].sum()), rel=1e-3)


def test_one_magnification_is_that_of_all_channels():
    scene = _scene()
    assert torch.equal(distort(scene, magnification=[1.1]), distort(scene, magnification=[1.1] * 3))
    one = torch.tensor([1.1], dtype=torch.float64, requires_grad=True)
    optics.Projection(magnification=one)(scene).sum().backward()
    assert one.grad.shape == (1,)


def test_a_turned_scene_gives_a_turned_picture():
    scene = _scene(24, 24)
    for turn in range(4):
        turned = distort(scene.rot90(turn, (-2, -1)), radial=(0.2, 0.1))
        torch.testing.assert_close(turned, distort(scene, radial=(0.2, 0.1)).rot90(turn, (-2, -1)))


def test_a_lens_is_fitted_from_its_table():
    real = torch.linspace(0.05, 1, 40, dtype=torch.float64)
    radial = torch.tensor([0.2, -0.05, 0.03], dtype=torch.float64)
    powers = real[:, None] ** (2 * torch.arange(1, 4) + 1)
    ideal = real + powers @ radial
    torch.testing.assert_close(distortion_fit(ideal * 7, real * 7), radial)
    # A fisheye of 60 degrees: r = f theta, and the scene at f tan(theta).
    theta = torch.linspace(0.01, math.radians(60), 200, dtype=torch.float64)
    terms = distortion_fit(theta.tan(), theta, terms=6)
    radius = theta / theta[-1]
    seen = radius + radius[:, None] ** (2 * torch.arange(1, 7) + 1) @ terms
    torch.testing.assert_close(seen * theta[-1], theta.tan(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0])
def test_light_falls_off_as_the_fourth_power_of_the_cosine(degrees):
    half = math.radians(degrees)
    found = relative_illumination((24, 32), half_field=torch.tensor(half, dtype=torch.float64))
    radius, *_ = _radius(24, 32)
    expected = np.cos(np.arctan(radius.numpy() * math.tan(half))) ** 4
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert relative_illumination(8, half_field=half).shape == (8, 8)
    other_side = relative_illumination((24, 32), half_field=-half).double()
    torch.testing.assert_close(other_side, found, rtol=0, atol=1e-6)


def test_a_fisheye_has_its_own_law():
    # Equidistant, r = f theta: of a scene of even radiance sin(theta) cos(theta) / theta arrives.
    widest = math.radians(50)
    theta = torch.linspace(1e-3, widest, 300, dtype=torch.float64)
    terms = distortion_fit(theta.tan(), theta, terms=8)
    half = torch.tensor(widest, dtype=torch.float64).atan()  # tan(half) = f theta at the corner
    lens = optics.Projection(radial=terms, half_field=half)
    even = torch.ones(1, 1, 40, 56, dtype=torch.float64)
    image = lens(even) * lens.illumination((40, 56))
    radius, *_ = _radius(40, 56)
    angle = radius * widest
    torch.testing.assert_close(image[0, 0], angle.sin() * angle.cos() / angle, rtol=5e-3, atol=0)


def test_gradients_to_everything():
    scene = _scene(7, 6, batch=1, channels=2)
    radial = torch.tensor([0.12, 0.05], dtype=torch.float64)
    sizes = torch.tensor([0.97, 1.04], dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (scene, radial, sizes)]
    assert torch.autograd.gradcheck(lambda s, k, m: distort(s, radial=k, magnification=m), leaves)
    half = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda h, k: relative_illumination((5, 4), half_field=h, radial=k), (half, radial)
    )


def test_precision():
    scene = _scene().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distort(scene, radial=(0.1,))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, distort(scene.float(), radial=(0.1,)))
    exact = distort(scene.double(), radial=torch.tensor([0.1], dtype=torch.float64))
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-5)
    half = torch.tensor(0.75)  # a number of half precision too
    shade = relative_illumination((200, 300), half_field=half.bfloat16(), radial=(0.25,))
    assert shade.dtype == torch.float32
    torch.testing.assert_close(
        shade, relative_illumination((200, 300), half_field=half, radial=(0.25,))
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: distort(s[0]), r"scene must be \[B, C, H, W\]"),
        (lambda s: distort(s.long()), "scene must be real floating point"),
        (lambda s: distort(s, boundary="circular"), "boundary must be one of"),
        (lambda s: distort(s, boundary=["zero"]), "boundary must be one of"),
        (lambda s: distort(s, radial=[[0.1]]), "radial must be|float"),
        (lambda s: distort(s, radial=torch.zeros(1, 1)), r"radial must be \[K\]"),
        (lambda s: distort(s, radial=(float("nan"),)), "radial must be finite"),
        (lambda s: distort(s, radial=(-0.5,)), "folds the picture over"),
        # The slope 1 + 3 k1 r^2 ends at 0 in the corner.
        (lambda s: distort(s, radial=(-1 / 3,)), "folds the picture over"),
        (lambda s: distort(s, magnification=(1.0, 1.0)), "one for each of the 3"),
        (lambda s: distort(s, magnification=(1.0, 0.0, 1.0)), "magnification must be between"),
        (lambda s: relative_illumination(0, half_field=0.1), "size must be"),
        (lambda s: relative_illumination(8, half_field=2.0), "half_field must be between"),
        (lambda s: distortion_fit(torch.rand(4), torch.rand(5)), r"ideal and real must be"),
        (lambda s: distortion_fit(torch.rand(2), torch.rand(2)), r"at least terms = 3"),
        (
            lambda s: distortion_fit(torch.rand(9), torch.rand(9), terms=2.5),
            "terms must be a whole",
        ),
        (lambda s: distortion_fit(torch.rand(9), torch.rand(9), terms=0), "terms must be"),
        (lambda s: distortion_fit([1.0] * 4, torch.rand(4)), "ideal must be a Tensor, not list"),
        (lambda s: distortion_fit(torch.rand(4), np.ones(4)), "real must be a Tensor, not ndarray"),
        (
            lambda s: distortion_fit(torch.rand(4), torch.tensor([0.0, 1.0, 3.0, 2.0])),
            "real must increase from the axis to the corner of the picture",
        ),
        (lambda s: distortion_fit(torch.rand(1), torch.zeros(1), terms=1), "its last height, abov"),
        (lambda s: relative_illumination(8, half_field=torch.rand(8)), "half_field must be one nu"),
        (lambda s: optics.Projection(half_field=torch.rand(3)), "half_field must be one number"),
        (lambda s: optics.Projection(flat_field=torch.full((4, 4), 1.2)), "flat_field must be"),
        (lambda s: optics.Projection(flat_field=torch.ones(2, 3, 4, 4)), "one for all pictures"),
        (
            lambda s: optics.Projection(flat_field=torch.ones(3, 24, 32))(s[:, :1]),
            "the flat field has 3 channels, the scene 1: give",
        ),
        (lambda s: optics.Projection(boundary="reflect"), "boundary must be one of"),
        (lambda s: optics.Projection(boundary={}), "boundary must be one of"),
        (
            lambda s: optics.Projection(flat_field=torch.ones(4, 4)).illumination((8, 8)),
            r"flat field has \(4, 4\) pixels, the picture \(8, 8\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(_scene().float())


# --------------------------------------------------------------------------------------- in a lens


def _blur(channels=3):
    x = torch.arange(5) - 2.0
    psf = torch.exp(-(x[:, None] ** 2 + x**2) / 2)
    return (psf / psf.sum()).expand(channels, 5, 5)


def test_a_lens_moves_then_blurs_then_shades():
    scene = _scene().float()
    flat = torch.linspace(0.5, 1, 24 * 32).reshape(24, 32)
    projection = optics.Projection(
        radial=(0.2,), magnification=(0.99, 1.0, 1.01), half_field=0.6, flat_field=flat
    )
    lens = optics.IncoherentImaging(_blur(), projection=projection)
    moved = distort(scene, radial=(0.2,), magnification=(0.99, 1.0, 1.01))
    shade = relative_illumination((24, 32), half_field=0.6, radial=(0.2,)) * flat
    expected = optics.convolve(moved, _blur(), boundary="replicate") * shade
    torch.testing.assert_close(lens(scene), expected)


def test_channels_may_have_flat_fields_of_their_own():
    flat = 0.5 + _scene().float()[0] / 2
    projection = optics.Projection(half_field=0.6, flat_field=flat)
    expected = relative_illumination((24, 32), half_field=0.6) * flat
    torch.testing.assert_close(projection.illumination((24, 32)), expected)


def test_depths_are_moved_with_their_light():
    pupil = optics.Pupil(
        (), wavelengths=(620e-9, 540e-9, 460e-9), focal_length=20e-3, pixel_pitch=3e-6,
        psf_size=9, size=64, spacing=40e-6,
    )  # fmt: skip
    projection = optics.Projection(radial=(0.2,), magnification=(0.98, 1.0, 1.02), half_field=0.4)
    distances = torch.tensor([1.0, 5.0])
    lens = optics.IncoherentImaging(pupil, distances=distances, projection=projection)
    scene = _scene().float()
    for depth, distance in enumerate(distances.tolist()):
        layers = torch.zeros(2, 2, 24, 32)
        layers[:, depth] = 1.0
        torch.testing.assert_close(
            lens.image_layers(scene, layers), lens(scene, distance=distance), rtol=0, atol=1e-5
        )


def test_what_a_lens_is_off_by_can_be_learned():
    target = optics.IncoherentImaging(_blur(1), projection=optics.Projection(radial=(0.15,)))
    terms = torch.nn.Parameter(torch.zeros(1))
    own = optics.IncoherentImaging(_blur(1), projection=optics.Projection(radial=terms))
    scene = torch.nn.functional.interpolate(_scene(8, 8, channels=1).float(), 32, mode="bicubic")
    seen = target(scene)
    optimiser = torch.optim.Adam([terms], lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        (own(scene) - seen).square().mean().backward()
        optimiser.step()
    assert float(terms.detach()) == pytest.approx(0.15, abs=0.01)


def test_a_table_whose_ideal_heights_do_not_grow_is_refused():
    with pytest.raises(ValueError, match="ideal must increase from the axis"):
        distortion_fit(torch.tensor([0.0, 2.0, 1.0]), torch.tensor([0.0, 1.0, 2.0]), terms=1)


@pytest.mark.parametrize("name", ["radial", "magnification"])
def test_one_number_in_place_of_a_sequence_is_refused(name):
    for given in (1.02, "1"):
        with pytest.raises(TypeError, match=rf"{name} must be a Tensor or .* such as \(0.1,\)"):
            distort(torch.ones(1, 3, 8, 8), **{name: given})
        with pytest.raises(TypeError, match=rf"{name} must be a Tensor or .* such as \(0.1,\)"):
            optics.Projection(**{name: given})
    with pytest.raises(TypeError, match=f"each of {name} must be one number, not '1'"):
        optics.Projection(**{name: ["1"]})
