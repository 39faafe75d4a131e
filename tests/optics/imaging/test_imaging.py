import math

import numpy as np
import pytest
import torch

import optics


def _pupil(elements=(), **options):
    grid = {} if elements else {"size": 64, "spacing": 1e-3 / 63}
    given = {
        "wavelengths": (450e-9, 550e-9, 650e-9),
        "focal_length": 10e-3,
        "pixel_pitch": 2e-6,
        "psf_size": 31,
    }
    return optics.Pupil(elements, **(grid | given | options))


def _mask(**options):
    phase = 2 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    return optics.PhaseMask(torch.nn.Parameter(phase), spacing=1e-3 / 63, **options)


def _scene(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_channel_is_blurred_with_the_psf_of_its_wavelength():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    scene = _scene(2, 3, 40, 41)
    expected = optics.convolve(scene, front_end.pupil(), boundary="replicate")
    torch.testing.assert_close(front_end(scene), expected)
    assert front_end.combine(expected) is expected


def test_a_constant_scene_comes_out_as_its_throughput():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    image = front_end(torch.full((1, 3, 40, 40), 0.7))
    light = front_end.psf().sum((-2, -1))
    torch.testing.assert_close(image, (0.7 * light)[None, :, None, None].expand_as(image))
    assert float(front_end.throughput().detach()) == pytest.approx(float(light.detach().mean()))
    assert light.max() <= 1


def test_light_is_not_negative_and_grows_with_the_scene():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    low, more = _scene(1, 3, 40, 40), _scene(1, 3, 40, 40, seed=2)
    image = front_end(low)
    assert image.min() >= -1e-6 * image.max()
    assert (front_end(low + more) >= image - 1e-6).all()


def test_a_response_mixes_wavelengths_into_channels():
    response = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.6]])
    front_end = optics.IncoherentImaging(_pupil(), spectral_response=response)
    assert front_end.in_channels == 2
    bands = front_end.pupil()
    torch.testing.assert_close(front_end.psf()[0], (bands[0] + bands[1]) / 2)
    torch.testing.assert_close(front_end.psf()[1], 0.2 * bands[1] + 0.6 * bands[2])
    assert front_end(_scene(1, 2, 32, 32)).shape == (1, 2, 32, 32)


def test_a_fixed_psf_is_used_as_it_is_and_a_parameter_stays_the_callers():
    psf = torch.nn.Parameter(torch.full((5, 5), 0.03))
    front_end = optics.IncoherentImaging(psf, channels=2)
    assert front_end.fixed_psf is psf
    scene = _scene(1, 2, 16, 16)
    torch.testing.assert_close(front_end(scene), optics.convolve(scene, psf, boundary="replicate"))
    assert float(front_end.throughput().detach()) == pytest.approx(0.75)


def test_what_is_given_as_a_parameter_is_trained():
    response = torch.nn.Parameter(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.6]]))
    distances = torch.nn.Parameter(torch.tensor([0.3, 0.8]))
    front_end = optics.IncoherentImaging(
        _pupil(focus=1.0), spectral_response=response, distances=distances
    )
    assert front_end.spectral_response is response
    assert front_end.distances is distances
    assert {name for name, _ in front_end.named_parameters()} == {"spectral_response", "distances"}
    layers = torch.full((1, 2, 32, 32), 0.5)
    front_end.image_layers(_scene(1, 2, 32, 32), layers).square().sum().backward()
    for parameter in (response, distances):
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).all()
    fixed = optics.IncoherentImaging(
        _pupil(focus=1.0), spectral_response=torch.eye(3, dtype=torch.long), distances=distances
    )
    assert torch.equal(fixed.psf(), _pupil(focus=1.0)())


@pytest.mark.parametrize("waves", [0.25, 0.5, 1.5])
def test_a_flat_scene_out_of_focus_has_the_strehl_ratio_of_the_closed_form(waves):
    # W = r^2 / 2 (1 / distance - 1 / focus) at the rim; on the axis sinc^2(W) (Goodman, sec. 6.4).
    samples, wavelength, diameter = 128, 550e-9, 1e-3
    spacing = diameter / (samples - 2)
    pupil = optics.Pupil(
        [],
        wavelengths=(wavelength,),
        focal_length=10e-3,
        pixel_pitch=1e-6,
        psf_size=41,
        size=samples,
        spacing=spacing,
        aperture=optics.circular_aperture(samples, diameter=diameter, spacing=spacing),
        focus=1.0,
    )
    front_end = optics.IncoherentImaging(pupil, boundary="zero")
    distance = 1 / (1 + 8 * waves * wavelength / diameter**2)
    point = torch.zeros(1, 1, 61, 61)
    point[..., 30, 30] = 1
    for at in (distance, torch.tensor(distance, dtype=torch.float64)):
        blurred = front_end(point, distance=at)
        ratio = float((blurred / front_end(point))[..., 30, 30])
        assert ratio == pytest.approx(float(torch.sinc(torch.tensor(waves))) ** 2, abs=5e-3)
    torch.testing.assert_close(front_end(point, distance=1.0), front_end(point))
    distance = torch.tensor(distance, requires_grad=True)
    front_end(point, distance=distance)[..., 30, 30].sum().backward()
    assert distance.grad != 0


def test_layers_share_each_point_and_equal_depths_are_one():
    distances = torch.tensor([0.3, 1.0, 4.0])
    front_end = optics.IncoherentImaging(_pupil(focus=1.0), distances=distances)
    scene = _scene(2, 3, 40, 40)
    layers = torch.softmax(3 * _scene(2, 3, 40, 40, seed=2), 1)
    stack = front_end.psf(distance=distances)
    torch.testing.assert_close(stack[1], front_end.psf())
    alone = torch.zeros_like(layers)
    alone[:, 1] = 1
    torch.testing.assert_close(front_end.image_layers(scene, alone), front_end(scene))
    expected = sum(
        optics.convolve(scene * layers[:, d, None], stack[d], boundary="replicate")
        for d in range(3)
    )
    torch.testing.assert_close(front_end.image_layers(scene, layers), expected)
    same = optics.layered_blur(scene, layers, stack[:1].expand(3, -1, -1, -1))
    torch.testing.assert_close(
        same, optics.convolve(scene, stack[0], boundary="replicate"), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular"])
def test_each_picture_may_have_a_distance_of_its_own(boundary):
    response = torch.tensor([[0.5, 0.3, 0.0], [0.0, 0.2, 0.6]])
    front_end = optics.IncoherentImaging(
        _pupil([_mask()]), spectral_response=response, boundary=boundary
    )
    scene, distances = _scene(4, 2, 40, 37), torch.tensor([0.3, 1.0, math.inf, 0.3])
    together = front_end(scene, distance=distances)
    for picture, image, distance in zip(scene, together, distances, strict=True):
        alone = front_end(picture[None], distance=distance)[0]
        torch.testing.assert_close(image, alone, rtol=1e-4, atol=1e-6)
    # So are the gradients, of the scenes and of the element.
    mask = front_end.pupil.elements[0].phase
    scene.requires_grad_()
    found = torch.autograd.grad(front_end(scene, distance=distances).square().sum(), (scene, mask))
    alone = [front_end(s[None], distance=d) for s, d in zip(scene, distances, strict=True)]
    expected = torch.autograd.grad(torch.cat(alone).square().sum(), (scene, mask))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def _sources(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


def test_scenes_lie_evenly_at_the_working_distances():
    distances = torch.tensor([0.3, 0.5, math.inf])
    front_end = optics.IncoherentImaging(_pupil(psf_size=15), working_distances=distances)
    assert front_end.draws
    assert not optics.IncoherentImaging(_pupil()).draws
    scene = _scene(1, 3, 16, 16).expand(300, -1, -1, -1)
    with torch.no_grad():
        drawn = front_end(scene, generator=_sources(300))
        choices = torch.cat([front_end(scene[:1], distance=distance) for distance in distances])
        apart = (drawn[:, None] - choices).abs().amax((-3, -2, -1))
        assert (apart.amin(1) < 1e-5).all()
        assert (apart.sort(1).values[:, 1] > 1e-3).all()
        shares = apart.argmin(1).bincount(minlength=3) / 300
        # Four standard deviations of a share of 300 draws.
        assert ((shares - 1 / 3).abs() < 4 * math.sqrt(2 / 9 / 300)).all()
        # That of a picture depends on nothing but its generator.
        again = front_end(scene[:7], generator=_sources(7, seed=5))
        torch.testing.assert_close(again, drawn[5:12], rtol=1e-4, atol=1e-6)
        one = front_end(scene[:9], generator=torch.Generator().manual_seed(3))
        same = front_end(scene[:9], generator=torch.Generator().manual_seed(3))
        assert torch.equal(one, same)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            torch.testing.assert_close(front_end(scene[:9]), one)
    with pytest.raises(ValueError, match="one for each picture: 3"):
        front_end(scene[:9], generator=_sources(3))


def test_working_distances_are_settings_and_no_state():
    distances = (0.3, 0.5, math.inf)
    front_end = optics.IncoherentImaging(_pupil(), working_distances=distances)
    given = optics.IncoherentImaging(_pupil(), working_distances=torch.tensor([0.5, 1.0]))
    assert not any("working" in name for name in front_end.state_dict())
    front_end.bfloat16()
    assert front_end.working_distances.dtype == torch.float64
    assert front_end.working_distances.tolist() == list(distances)
    assert given.working_distances.tolist() == [0.5, 1.0]
    assert "working_distances=(0.3, 0.5, inf) m" in repr(front_end)
    assert "working" not in repr(optics.IncoherentImaging(_pupil()))
    shown = front_end.working_distances
    shown *= 1e3  # in millimetres: a copy
    again = optics.IncoherentImaging(_pupil(), working_distances=distances)
    assert front_end.working_distances.tolist() == list(distances)
    assert again.working_distances.tolist() == list(distances)


def test_all_scenes_may_be_at_one_distance_for_a_while():
    distances = torch.tensor([0.3, 0.5])
    front_end = optics.IncoherentImaging(
        _pupil([_mask()]), working_distances=distances, restoration=optics.Wiener(0.1)
    )
    scene = _scene(2, 3, 40, 40)
    restored = front_end.combine(scene)
    light = front_end.psf(distance=distances).sum((-2, -1)).mean()
    torch.testing.assert_close(front_end.throughput(), light)
    with front_end.at(0.7):
        torch.testing.assert_close(front_end(scene), front_end(scene, distance=0.7))
        near = front_end.psf(distance=0.7).sum((-2, -1)).mean()
        torch.testing.assert_close(front_end.throughput(), near)
        torch.testing.assert_close(front_end.combine(scene), restored)
        with front_end.at(math.inf):
            torch.testing.assert_close(front_end(scene), front_end(scene, distance=math.inf))
        torch.testing.assert_close(front_end(scene), front_end(scene, distance=0.7))
    # Whatever is drawn after it stays as it was.
    here, there = _sources(2), _sources(2)
    front_end(scene, generator=here)
    with front_end.at(0.7):
        front_end(scene, generator=there)
    assert [a.get_state().tolist() for a in here] == [b.get_state().tolist() for b in there]
    expected = optics.wiener(
        scene, front_end.psf(distance=distances), noise_to_signal=0.1, boundary="replicate"
    )
    torch.testing.assert_close(restored, expected)


@pytest.mark.parametrize("kind", ["incoherent", "coherent"])
def test_pupils_are_trained_through_the_image(kind):
    mask = _mask()
    front_end = {"incoherent": optics.IncoherentImaging, "coherent": optics.CoherentImaging}[kind](
        _pupil([mask])
    )
    front_end(_scene(1, 3, 40, 40)).square().sum().backward()
    assert torch.isfinite(mask.phase.grad).all()
    assert mask.phase.grad.abs().sum() > 0
    dark = torch.zeros(1, 3, 40, 40, requires_grad=True)
    front_end(dark).sum().backward()
    assert torch.isfinite(dark.grad).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.IncoherentImaging(torch.ones(3)), r"psf must be a Pupil, or real \[h, w\]"),
        (lambda: optics.IncoherentImaging(torch.ones(3, 3)), "at most 1; here the sum reaches 9"),
        (
            lambda: optics.IncoherentImaging(torch.full((1, 1), 1.00003).double()),
            r"reaches 1\.00003\d* and .*: make one of a picture .* with optics\.measured_psf; of "
            "another, set what is negative to 0, divide by the sum",
        ),
        (
            lambda: optics.IncoherentImaging(-torch.ones(3, 3)),
            r"a PSF is not negative .* least value is -1: .* optics\.measured_psf",
        ),
        (lambda: optics.IncoherentImaging(torch.full((3, 3), math.nan)), "psf must be finite"),
        (lambda: optics.IncoherentImaging(_pupil(), boundary="wrap"), "boundary must be one of"),
        (lambda: optics.CoherentImaging(_pupil(), boundary="wrap"), "boundary must be one of"),
        (lambda: optics.IncoherentImaging(_pupil(), channels=5), "channels=5, but .* make 3"),
        (
            lambda: optics.IncoherentImaging(_pupil(), spectral_response=torch.ones(2, 2)),
            r"spectral_response must be \[C, 3\]",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1), distances=torch.ones(2)),
            "distances need a Pupil",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1))(_scene(1, 3, 9, 9), distance=2.0),
            "distances need a Pupil: a fixed PSF has one depth",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil())(
                _scene(1, 3, 40, 40), distance=torch.ones(3)
            ),
            r"distance must be one number, or one for each of the 1 pictures, not \(3,\)",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1), working_distances=torch.ones(2)),
            "distances need a Pupil",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil(), working_distances=torch.tensor([1.0, -2.0])),
            r"working_distances must be \[D\], positive metres, not \[1.0, -2.0\]",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil(), working_distances=torch.tensor(1.0)),
            r"working_distances must be \[D\], positive metres, not 1.0",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil()).at(0.0).__enter__(),
            "distance must be one positive number, in metres, not 0.0",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1)).at(1.0).__enter__(),
            "distances need a Pupil",
        ),
        (
            lambda: optics.CoherentImaging(_pupil())(torch.ones(1, 3, 9, 9, dtype=torch.uint8)),
            r"scene must be complex or real floating point .* not torch.uint8",
        ),
        (
            lambda: optics.layered_blur(
                torch.ones(1, 3, 9, 9, dtype=torch.uint8),
                torch.ones(1, 1, 9, 9),
                _scene(1, 3, 3, 3),
            ),
            r"scene must be real floating point .* not torch.uint8",
        ),
        (
            lambda: optics.IncoherentImaging(
                _pupil(), spectral_response=torch.ones(3, 3, dtype=torch.complex64) / 3
            ),
            r"spectral_response must be \[C, 3\]",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil())(_scene(1, 2, 40, 40)),
            r"takes scenes \[B, 3, H, W\], not \(1, 2, 40, 40\)",
        ),
        (
            lambda: optics.CoherentImaging(_pupil())(_scene(1, 2, 40, 40)),
            r"takes scenes \[B, 3, H, W\], not \(1, 2, 40, 40\)",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil()).image_layers(
                _scene(1, 3, 40, 40), _scene(1, 2, 40, 40)
            ),
            "image_layers needs distances, metres",
        ),
        (
            lambda: optics.layered_blur(_scene(1, 3, 9, 9), _scene(1, 2, 9, 9), _scene(3, 3, 3, 3)),
            "do not fit",
        ),
        (
            lambda: optics.layered_blur(
                _scene(1, 3, 9, 9), torch.ones(1, 2, 9, 9), _scene(2, 3, 3, 3)
            ),
            "not negative, that sum to 1 in each point; .* sum to 2 to 2: use softmax",
        ),
        (
            lambda: optics.layered_blur(
                _scene(1, 3, 9, 9),
                torch.tensor([1.5, -0.5]).view(1, 2, 1, 1).expand(1, 2, 9, 9),
                _scene(2, 3, 3, 3),
            ),
            "start from -0.5 and sum to 1",
        ),
        (
            lambda: optics.coherent_blur(_scene(1, 3, 9, 9), torch.ones(2, 3, 3)),
            r"field must be \[B, C, H, W\] and spread \[C, h, w\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [optics.IncoherentImaging, optics.CoherentImaging])
def test_one_graph_under_compile_and_full_precision_under_autocast(make):
    mask = _mask()
    front_end = make(_pupil([mask]))
    scene = _scene(1, 3, 24, 24)
    expected = front_end(scene)
    (slope,) = torch.autograd.grad(expected.square().sum(), mask.phase)
    compiled = torch.compile(front_end, backend="aot_eager", fullgraph=True)
    (again,) = torch.autograd.grad(compiled(scene).square().sum(), mask.phase)
    torch.testing.assert_close(again, slope)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(scene), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"restoration": 0.01}, r"restoration must be an optics.Wiener\(...\), not float"),
        ({"projection": optics.Projection}, r"not the class Projection"),
    ],
)
def test_what_a_lens_is_given_must_be_a_part(given, message):
    with pytest.raises(TypeError, match=message):
        optics.IncoherentImaging(torch.ones(1, 1), **given)


@pytest.mark.parametrize(
    "given", [(0.4, 0.9), np.array([0.4, 0.9]), torch.tensor([0.4, 0.9], dtype=torch.float64)]
)
def test_working_distances_are_taken_from_whatever_holds_numbers(given):
    front_end = optics.IncoherentImaging(_pupil(), working_distances=given)
    assert front_end.working_distances.tolist() == [0.4, 0.9]


@pytest.mark.parametrize("given", ["far", (0.4, None), [[0.4], [0.9, 1.0]], torch.ones(2) + 0j, ()])
def test_working_distances_that_are_no_numbers_are_refused(given):
    with pytest.raises(ValueError, match=r"working_distances must be \[D\], positive metres, not"):
        optics.IncoherentImaging(_pupil(), working_distances=given)


@pytest.mark.parametrize("distances", [None, (0.4, 0.9)])
def test_a_batch_without_pictures_comes_back_as_one(distances):
    front_end = optics.IncoherentImaging(
        _pupil(), working_distances=distances, restoration=optics.Wiener()
    )
    irradiance = front_end(torch.ones(0, 3, 20, 20))
    assert irradiance.shape == (0, 3, 20, 20)
    assert front_end(torch.ones(0, 3, 20, 20), distance=torch.ones(0)).shape == (0, 3, 20, 20)
    assert front_end.combine(irradiance).shape == (0, 3, 20, 20)


@pytest.mark.parametrize("distance", [None, "far", [0.4], 1j])
def test_a_distance_that_is_no_number_is_called_by_its_name(distance):
    front_end = optics.IncoherentImaging(_pupil())
    with pytest.raises(TypeError, match="distance must be one number or a Tensor, in metres, not"):
        front_end.at(distance).__enter__()
    with pytest.raises(ValueError, match="distance must be one positive number, in metres, not"):
        front_end.at(torch.ones(2)).__enter__()


def test_a_psf_and_a_response_are_tensors_of_numbers():
    with pytest.raises(TypeError, match=r"psf must be a Pupil, or a Tensor .* not ndarray"):
        optics.IncoherentImaging(np.ones((1, 1)))
    with pytest.raises(TypeError, match="spectral_response must be a Tensor, not list"):
        optics.IncoherentImaging(_pupil(), spectral_response=[[1, 0, 0]])
    with pytest.raises(ValueError, match="spectral_response must be finite"):
        optics.IncoherentImaging(_pupil(), spectral_response=torch.full((1, 3), float("nan")))
    for scene, layers, psf, name in (
        (_scene(1, 3, 9, 9), [1.0], _scene(1, 3, 3, 3), "layers"),
        (_scene(1, 3, 9, 9), torch.ones(1, 1, 9, 9), [1.0], "psf"),
    ):
        with pytest.raises(TypeError, match=f"{name} must be a Tensor, not list"):
            optics.layered_blur(scene, layers, psf)


def test_each_band_is_blurred_by_its_own_psf_before_bands_are_added():
    torch.manual_seed(0)
    filters = optics.ColourFilters(torch.rand(2, 3), share=0.5)
    colour = optics.ColourChannels(3, filters=filters)
    bands, scene = optics.IncoherentImaging(_pupil()), torch.rand(2, 3, 20, 20)
    camera = optics.IncoherentImaging(_pupil(), colour=colour)
    assert (camera.in_channels, camera.out_channels, camera.exposures) == (3, 2, 1)
    expected = torch.einsum("cl,blyx->bcyx", filters.transmittance / 2 / 3, bands(scene))
    torch.testing.assert_close(camera(scene), expected)
    passed = bands.psf().sum((-2, -1))
    share = float((filters.transmittance @ passed).detach().mean() / 3)
    assert float(camera.throughput().detach()) == pytest.approx(share, rel=1e-5)
    assert {name for name, _ in camera.named_parameters()} == {"colour.filters.raw"}


def test_colours_take_the_bands_and_neither_response_nor_restoration():
    colour = optics.ColourChannels(3)
    with pytest.raises(ValueError, match="colour has 2 bands, but the PSFs have 3"):
        optics.IncoherentImaging(_pupil(), colour=optics.ColourChannels(2))
    with pytest.raises(ValueError, match="spectral_response assumes one PSF for each channel"):
        optics.IncoherentImaging(_pupil(), colour=colour, spectral_response=torch.eye(3))
    with pytest.raises(ValueError, match="restoration takes one for each channel"):
        optics.IncoherentImaging(_pupil(), colour=colour, restoration=optics.Wiener(0.1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_of_half_precision_are_blurred_in_float32(dtype):
    layers = torch.softmax(_scene(1, 3, 16, 16), 1)
    scene, layers, psf = (x.to(dtype) for x in (_scene(1, 2, 16, 16), layers, _scene(3, 2, 5, 5)))
    found = optics.layered_blur(scene, layers, psf)
    assert torch.equal(found, optics.layered_blur(scene.float(), layers.float(), psf.float()))


@pytest.mark.parametrize("distances", [None, (0.3, 0.5)])
@pytest.mark.parametrize("made", [True, False])
def test_no_camera_knows_an_etch_error(made, distances):
    height = 5e-7 + 2e-7 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    glass = {"spacing": 1e-3 / 63, "material": 1.5}
    relief = (
        optics.Relief(height, **glass)
        if made
        else optics.HeightMap(height, design_wavelength=550e-9, **glass)
    )
    camera = optics.IncoherentImaging(
        _pupil([relief]), working_distances=distances, restoration=optics.Wiener(0.1)
    )
    raw, design = _scene(2, 3, 40, 40), camera.design_psf().detach()
    restored = camera.combine(raw).detach()
    relief.draw_etch_error(100e-9, generator=torch.Generator().manual_seed(1))
    error = relief.etch_error
    device = camera.psf(distance=camera.working_distances).detach()
    assert float(device.amax() / design.amax()) < 0.9
    assert torch.equal(camera.design_psf(), design)
    assert torch.equal(camera.combine(raw), restored)
    assert relief.etch_error is error
    expected = optics.wiener(raw, design, noise_to_signal=0.1, boundary="replicate")
    torch.testing.assert_close(restored, expected)


def _etched(**options):
    relief = optics.HeightMap(
        torch.full((64, 64), 5e-7), spacing=1e-3 / 63, material=1.5, design_wavelength=550e-9
    )
    return relief, optics.IncoherentImaging(_pupil([relief]), **options)


def test_an_etch_error_is_back_after_a_design_that_cannot_be_computed(monkeypatch):
    relief, camera = _etched()
    relief.draw_etch_error(1e-7, generator=torch.Generator().manual_seed(1))
    error = relief.etch_error

    def broken(**_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(camera, "psf", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        camera.design_psf()
    assert relief.etch_error is error


@pytest.mark.parametrize("boundary", ["zero", "replicate", "reflect", "circular"])
def test_a_camera_restores_with_its_own_boundary(boundary):
    _, camera = _etched(restoration=optics.Wiener(0.1), boundary=boundary)
    raw = _scene(2, 3, 40, 40)
    expected = optics.wiener(raw, camera.design_psf(), noise_to_signal=0.1, boundary=boundary)
    torch.testing.assert_close(camera.combine(raw), expected)


def _broad(**options):
    """A lens that is out of focus, with a stop of half the light, of two broad channels."""
    waves = (620e-9, 580e-9, 540e-9, 500e-9)
    size = 96
    mask = optics.AmplitudeMask(torch.full((size, size), 0.5), spacing=2e-3 / (size - 1))
    colour = optics.Aberration(
        size, spacing=2e-3 / (size - 1), diameter=2e-3, indices=[4, 8],
        coefficients=torch.tensor([[6, 4], [2, 4], [-2, 4], [-6, 4.0]]) * 1e-8,
    )  # fmt: skip
    pupil = optics.Pupil(
        [mask, colour],
        wavelengths=waves,
        focal_length=16e-3,
        pixel_pitch=1e-6,
        psf_size=121,
    )
    response = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.0, 0.1, 0.2, 0.4]])
    return optics.IncoherentImaging(pupil, spectral_response=response, **options)


def test_the_mtf_of_a_broad_channel_is_that_of_its_psf():
    camera = _broad()
    with torch.no_grad():
        psf = camera.psf().double()
        places = torch.arange(121) - 60
        for angle, axis in ((0.0, -1), (math.pi / 2, -2)):
            line = psf.sum(-2 if axis == -1 else -1)
            frequency = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.2], dtype=torch.float64)  # a pixel
            wave = torch.exp(-2j * math.pi * frequency[:, None] * places)
            expected = (line[:, None] * wave).sum(-1).abs() / line.sum(-1, keepdim=True)
            found = camera.mtf(frequency / 1e-6, angle=angle, pixel=False)
            # What the window loses, 1 % of the light, is in the transfer function.
            torch.testing.assert_close(found.double(), expected, atol=0.012, rtol=0)
            torch.testing.assert_close(found[:, 0], torch.ones(2), atol=1e-6, rtol=0)
            area = optics.pixel_mtf(frequency / 1e-6, pitch=1e-6)
            torch.testing.assert_close(
                camera.mtf(frequency / 1e-6, angle=angle).double(), found.double() * area
            )
    # A phase between the wavelengths costs contrast: less than the mean of their moduli.
    each = camera.pupil.mtf(torch.tensor([60e3]), angle=0.0).detach()[:, 0]
    mixed = camera.mtf(torch.tensor([60e3])).detach()[:, 0]
    weights = camera.spectral_response / camera.spectral_response.sum(1, keepdim=True)
    assert (mixed <= weights @ each + 1e-6).all()


def test_the_mtf_of_a_channel_behind_a_filter_is_of_all_bands_that_it_passes():
    broad = _broad()
    response = broad.spectral_response
    filters = optics.ColourFilters(response, share=1.0)
    colour = optics.ColourChannels(4, filters=filters)
    camera = optics.IncoherentImaging(broad.pupil, colour=colour)
    frequency = torch.tensor([0.0, 60e3, 120e3])
    with torch.no_grad():
        found = camera.mtf(frequency)
        seen = filters.transmittance / filters.transmittance.sum(1, keepdim=True)
        alike = optics.IncoherentImaging(broad.pupil, spectral_response=seen)
        assert found.shape == (2, 3)
        assert torch.allclose(found, alike.mtf(frequency), atol=1e-5)


def test_the_mtf_of_channels_that_see_one_wavelength_is_the_pupils_at_each_distance():
    pupil = _pupil(focus=1.0)
    camera = optics.IncoherentImaging(pupil)
    frequency = torch.tensor([0.0, 2e4, 6e4])
    distances = torch.tensor([0.8, 1.0])
    with torch.no_grad():
        found = camera.mtf(frequency, angle=0.3, distance=distances)
        expected = pupil.mtf(frequency, angle=0.3, distance=distances)
    assert found.shape == (2, 3, 3)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    fixed = optics.IncoherentImaging(torch.ones(3, 3) / 9)
    with pytest.raises(ValueError, match=r"for a fixed PSF.* optics\.mtf"):
        fixed.mtf(frequency)


def test_a_channel_that_sees_nothing_has_no_contrast():
    camera = optics.IncoherentImaging(
        _pupil(), spectral_response=torch.tensor([[1.0, 0, 0], [0, 0, 0]])
    )
    found = camera.mtf(torch.tensor([0.0, 2e4])).detach()
    assert torch.equal(found[1], torch.zeros(2))
    assert float(found[0, 1]) > 0.1
