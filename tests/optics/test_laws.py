"""Laws that every shipped optics module obeys.

A new module is covered by an entry in ``MODULES``; one that is forgotten fails.
"""

import copy
import inspect
import pickle

import pytest
import torch

import optics

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

_SIZE = (9, 10)

_SPACING = 60e-6


def _pupil(*elements):
    return optics.Pupil(
        [*elements],
        wavelengths=(450e-9, 550e-9, 650e-9),
        focal_length=10e-3,
        pixel_pitch=2e-6,
        psf_size=7,
    )


def _phase_mask():
    return optics.PhaseMask(torch.nn.Parameter(torch.rand(16, 16)), spacing=_SPACING)


def _height_map(**options):
    return optics.HeightMap(
        1e-6 * torch.rand(16, 16),
        spacing=_SPACING,
        material="fused_silica",
        design_wavelength=550e-9,
        **options,
    )


def _restoration():
    net = optics.RestorationUNet(width=2, scales=2)
    torch.nn.init.normal_(net.tail.weight, std=0.1)  # as if trained: it begins as the identity
    return net


def _singlet():
    """A lens of 1 mm, whose corner of the picture is at 2 degrees."""
    surfaces = [
        optics.Surface(0.0, 0.1e-3, semi_diameter=0.2e-3, stop=True),
        optics.Surface(200.0, 0.3e-3, "n_bk7", 0.22e-3, conic=-0.5),
        optics.Surface(-1700.0, 0.9e-3, semi_diameter=0.22e-3, aspheric=(1e8,)),
    ]
    trained = {"curvature": [2], "thickness": [1, 2], "conic": [1], "aspheric": [2]}
    lens = optics.CompoundLens(surfaces, trained=trained)
    for parameter in lens.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    return optics.compound_imaging(
        lens,
        picture=_SIZE,
        pixel_pitch=5e-6,
        wavelengths=(450e-9, 550e-9, 650e-9),
        psf_size=5,
        rank=4,
        places=2,
        pupil_size=32,
        oversample=7,
    )


MODULES = {
    **{
        f"kernel-{start}": lambda start=start: optics.LearnedKernel(start, 3)
        for start in (
            "identity",
            "unsharp",
            "sobel",
            "laplacian",
            "log",
            "gaussian",
            "random",
            "scharr",
            "difference_of_gaussians",
        )
    },
    "kernel-even": lambda: optics.LearnedKernel("gabor", 5),
    "kernel-odd": lambda: optics.LearnedKernel("odd_gabor", 5),
    "kernel-unsigned": lambda: optics.LearnedKernel("gaussian", 3, signed=False),
    "kernel-mixed": lambda: optics.LearnedKernel("log", 3, mix_channels=True),
    "kernel-large": lambda: optics.LearnedKernel("log", 9, boundary="circular"),
    **{
        f"fourier-{start}-{light}": lambda start=start, light=light: optics.FourierFilter(
            _SIZE, start, illumination=light, margin=3
        )
        for start in ("open", "spiral", "dark_field", "knife_edge", "phase_contrast", "random")
        for light in ("coherent", "incoherent")
    },
    "fourier-partial": lambda: optics.FourierFilter(
        _SIZE, "low_pass", illumination="partial", margin=3, oversample=2
    ),
    "incoherent-phase": lambda: optics.IncoherentImaging(_pupil(_phase_mask())),
    "incoherent-height": lambda: optics.IncoherentImaging(
        _pupil(_height_map(minimum_feature=2 * _SPACING))
    ),
    "incoherent-levels": lambda: optics.IncoherentImaging(_pupil(_height_map(levels=4))),
    "incoherent-lens": lambda: optics.IncoherentImaging(
        _pupil(
            optics.Lens(16, spacing=_SPACING, focal_length=torch.nn.Parameter(torch.tensor(0.5)))
        )
    ),
    "incoherent-relief": lambda: optics.IncoherentImaging(
        _pupil(optics.Relief(1e-6 * torch.rand(16, 16), spacing=_SPACING, material="pmma"))
    ),
    "incoherent-measured": lambda: optics.IncoherentImaging(
        torch.nn.Parameter(torch.rand(3, 5, 4) / 20), channels=3
    ),
    "incoherent-response": lambda: optics.IncoherentImaging(
        _pupil(_phase_mask()), spectral_response=torch.nn.Parameter(torch.rand(3, 3) / 3)
    ),
    "incoherent-amplitude": lambda: optics.IncoherentImaging(
        _pupil(optics.AmplitudeMask(torch.rand(16, 16), spacing=_SPACING))
    ),
    "incoherent-aberration": lambda: optics.IncoherentImaging(
        _pupil(
            optics.Aberration(
                16,
                spacing=_SPACING,
                diameter=16 * _SPACING,
                coefficients=torch.nn.Parameter(torch.tensor([20e-9, 30e-9, -10e-9])),
                indices=(4, 7, 11),
            )
        )
    ),
    "incoherent-chromatic": lambda: optics.IncoherentImaging(
        _pupil(
            optics.Aberration(
                16,
                spacing=_SPACING,
                diameter=16 * _SPACING,
                coefficients=torch.nn.Parameter(50e-9 * torch.rand(3, 4)),
            )
        )
    ),
    "incoherent-cubic": lambda: optics.IncoherentImaging(
        _pupil(
            optics.CubicMask(
                16,
                spacing=_SPACING,
                diameter=16 * _SPACING,
                alpha=torch.nn.Parameter(torch.tensor(0.5)),
                design_wavelength=550e-9,
            )
        )
    ),
    "incoherent-projected": lambda: optics.IncoherentImaging(
        _pupil(_phase_mask()),
        projection=optics.Projection(
            radial=torch.nn.Parameter(torch.tensor([0.2, -0.05])),
            magnification=torch.nn.Parameter(torch.tensor([0.99, 1.0, 1.01])),
            half_field=torch.nn.Parameter(torch.tensor(0.5)),
        ),
    ),
    "incoherent-restored": lambda: optics.IncoherentImaging(
        _pupil(_phase_mask()), restoration=optics.Wiener()
    ),
    "incoherent-distances": lambda: optics.IncoherentImaging(
        _pupil(_phase_mask()), working_distances=(0.4, 0.5), restoration=optics.Wiener()
    ),
    "coherent-phase": lambda: optics.CoherentImaging(_pupil(_phase_mask())),
    "varying": lambda: optics.VaryingImaging(
        torch.nn.Parameter(torch.rand(2, 2, 5, 5) / 25), rank=3
    ),
    "varying-channels": lambda: optics.VaryingImaging(
        torch.nn.Parameter(torch.rand(2, 2, 3, 5, 5) / 25), rank=2
    ),
    "varying-pupil": lambda: optics.VaryingImaging(
        _pupil(
            optics.Aberration(
                16,
                spacing=_SPACING,
                diameter=16 * _SPACING,
                coefficients=torch.nn.Parameter(100e-9 * torch.rand(2, 3, 1, 6)),
            )
        ),
        rank=3,
        spectral_response=torch.nn.Parameter(torch.rand(3, 3) / 3),
        projection=optics.Projection(radial=[0.1], half_field=0.3),
    ),
    "varying-rim": lambda: optics.VaryingImaging(
        _pupil(
            _phase_mask(),
            optics.Vignetting(
                16,
                spacing=_SPACING,
                diameter=16 * _SPACING,
                shift=5 * _SPACING,
                places=3,
                picture=_SIZE,
            ),
        ),
        rank=3,
    ),
    "varying-compound": _singlet,
    "shutter": lambda: optics.CodedExposure("random", 1.5, slots=6),
    "shutter-lens": lambda: optics.CodedExposure(
        "fluttered", 1.5, lens=optics.IncoherentImaging(_pupil(_phase_mask()))
    ),
    "sensor": lambda: optics.Sensor(bit_depth=None, trainable_gain=True),
    "sensor-bits": lambda: optics.Sensor(200, bit_depth=6, black_level=6),
    "sensor-poisson": lambda: optics.Sensor(50, shot_noise="poisson", dark_current=100),
    "sensor-dithered": lambda: optics.Sensor(bit_depth=7, converter="dithered"),
    "sensor-patterns": lambda: optics.Sensor(prnu=0.01, dsnu=2.0, resolution=_SIZE),
    "sensor-bayer": lambda: optics.Sensor(cfa="rggb"),
    "sensor-colours": lambda: optics.Sensor(
        bit_depth=None, colour_matrix=torch.nn.Parameter(torch.eye(3) + 0.2 * torch.rand(3, 3))
    ),
    "illumination": lambda: optics.Illumination(3, patterns=2),
    "colour-filters": lambda: optics.ColourFilters(0.1 + 0.8 * torch.rand(2, 3)),
    "colour-channels": lambda: optics.ColourChannels(
        3,
        lamps=optics.Illumination(3, patterns=2),
        filters=optics.ColourFilters(0.1 + 0.8 * torch.rand(2, 3)),
    ),
    "colour-filter-array": lambda: optics.ColourFilterArray("rggb"),
    "sensor-malvar": lambda: optics.Sensor(cfa="gbrg", demosaicing="malvar"),
    "sensor-mosaic": lambda: optics.Sensor(cfa="grbg", demosaicing="none"),
    "restoration-unet": _restoration,
}


# Not the slope of what comes out: a surrogate, or an estimate in the mean, each tested where it is
# made (test_height_map, test_noise, test_converter).
_ESTIMATED = {"incoherent-levels", "sensor-bits", "sensor-poisson", "sensor-dithered"}
_ESTIMATED |= {"sensor-patterns", "sensor-bayer", "sensor-malvar", "sensor-mosaic"}


def _made(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODULES[name]()


@pytest.fixture(params=list(MODULES))
def module(request):
    return _made(request.param)


@pytest.fixture(params=[name for name in MODULES if name not in _ESTIMATED])
def differentiable(request):
    return _made(request.param).double()


def test_every_module_is_registered():
    public = {
        value
        for value in vars(optics).values()
        if inspect.isclass(value) and issubclass(value, torch.nn.Module)
    }
    constraints = {type_ for type_ in public if hasattr(type_, "right_inverse")}  # test_constraint
    seen = {type(part) for name in MODULES for part in _made(name).modules()}
    forgotten = {t for t in public - constraints - seen if not inspect.isabstract(t)}
    assert not forgotten


def _scene(dtype=torch.float32):
    return (0.1 + 0.8 * torch.rand(2, 3, *_SIZE, generator=torch.Generator().manual_seed(1))).to(
        dtype
    )


def _draws(module):
    return isinstance(module, optics.Sensor) or getattr(module, "draws", False)


def _run(module, scene):
    options = {"generator": torch.Generator().manual_seed(2)} if _draws(module) else {}
    image = module(scene, **options)
    return module.combine(image) if isinstance(module, optics.FrontEnd) else image


def test_state_copy_and_pickle_give_the_same_output(module):
    expected = _run(module, _scene())
    with torch.random.fork_rng():
        fresh = copy.deepcopy(module)
        for parameter in fresh.parameters():
            torch.nn.init.constant_(parameter, 0.3)
    fresh.load_state_dict(module.state_dict())
    for other in (fresh, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(_run(other, _scene()), expected)


def test_double_precision_moves_everything(module):
    single = _run(module, _scene())
    double = _run(module.double(), _scene(torch.float64))
    assert double.dtype == torch.float64
    if not isinstance(module, optics.Sensor):  # whose draws differ between precisions
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_no_tensor_is_left_behind_when_the_module_moves(module):
    for part in module.modules():
        held = [name for name, value in vars(part).items() if isinstance(value, torch.Tensor)]
        assert not held, type(part)
    moved = module.to("meta")
    for name, tensor in (*moved.named_parameters(), *moved.named_buffers()):
        assert tensor.is_meta, name


def test_autocast_changes_nothing(module):
    if isinstance(module, optics.RestorationUNet):
        pytest.skip("a network may be computed in half precision, as codec and classifier are")
    expected = _run(module, _scene())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_run(module, _scene()), expected)


def test_layout_of_the_input_does_not_matter(module):
    scene = _scene()
    expected = _run(module, scene)
    last = scene.contiguous(memory_format=torch.channels_last)
    strided = torch.stack((scene, scene), -1)[..., 0]
    torch.testing.assert_close(_run(module, last), expected)
    torch.testing.assert_close(_run(module, strided), expected)


def test_pictures_of_a_batch_do_not_see_each_other(module):
    if _draws(module):
        pytest.skip("each picture has noise, or a distance, of its own")
    together = _run(module, _scene())
    torch.testing.assert_close(together[1:], _run(module, _scene()[1:]), rtol=1e-6, atol=1e-6)


def test_gradcheck(differentiable):
    scene = _scene(torch.float64)[:1].requires_grad_()
    parameters = {name: p.detach() for name, p in differentiable.named_parameters()}
    # Some are metres, of 1e-8: gradcheck's steps are 1e-6 of each one's own size.
    sizes = [float(p.abs().max()) or 1.0 for p in parameters.values()]
    values = [
        (p / size).requires_grad_() for p, size in zip(parameters.values(), sizes, strict=True)
    ]

    def form(scene, *values):
        scaled = (value * size for value, size in zip(values, sizes, strict=True))
        given = dict(zip(parameters, scaled, strict=True))
        options = {"generator": torch.Generator().manual_seed(2)}
        return torch.func.functional_call(
            differentiable, given, (scene,), options if _draws(differentiable) else None
        )

    assert torch.autograd.gradcheck(form, (scene, *values), fast_mode=True)


@pytest.mark.parametrize("training", [True, False])
def test_every_trainable_number_has_a_gradient_that_a_finite_difference_confirms(
    differentiable, training
):
    module = differentiable.train(training)
    if not list(module.parameters()):
        pytest.skip("no trainable quantity")
    target = torch.rand(
        _run(module, _scene(torch.float64)).shape,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(3),
    )

    def loss():
        return (_run(module, _scene(torch.float64)) - target).square().sum()

    loss().backward()
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        direction = torch.randn(
            parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
        )
        step = 1e-6 * min(1.0, float(parameter.detach().abs().max()) or 1.0)
        with torch.no_grad():
            parameter.add_(step * direction)
            up = loss()
            parameter.sub_(2 * step * direction)
            down = loss()
            parameter.add_(step * direction)
        slope = float((gradient * direction).sum())
        assert slope != 0
        assert float(up - down) / (2 * step) == pytest.approx(slope, rel=1e-5)


def test_light_reaches_the_scene_gradient(module):
    scene = _scene().requires_grad_()
    _run(module.eval(), scene).square().sum().backward()
    assert scene.grad is not None
    assert torch.isfinite(scene.grad).all()
    assert scene.grad.abs().sum() > 0


def test_a_picture_without_data_has_the_shape_of_one_with(module):
    shape = _run(module, _scene()).shape
    empty = _scene().to("meta")
    moved = module.to("meta")
    raw = moved(empty)
    raw = moved.combine(raw) if isinstance(moved, optics.FrontEnd) else raw
    assert raw.shape == shape


def test_each_picture_has_a_gradient_by_vmap(module):
    scene, parameters = _scene(), dict(module.named_parameters())

    def loss(parameters, picture):
        made = torch.func.functional_call(module, parameters, (picture[None],))
        return (
            (module.combine(made) if isinstance(module, optics.FrontEnd) else made).square().sum()
        )

    slope = torch.func.grad(loss, argnums=1)
    each = torch.func.vmap(slope, in_dims=(None, 0), randomness="different")(parameters, scene)
    assert torch.isfinite(each).all()
    assert each.abs().sum() > 0
    if _draws(module):
        return  # of what is drawn, another one
    torch.testing.assert_close(each[1], slope(parameters, scene[1]), rtol=1e-4, atol=1e-4)


@_FORWARD
def test_forward_mode_agrees_with_the_gradient(module):
    scene = _scene(torch.float64)
    module = module.double()
    along, against = (
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        for shape in (scene.shape, _run(module, scene).shape)
    )
    _, change = torch.func.jvp(lambda light: _run(module, light), (scene,), (along,))
    _, pull = torch.func.vjp(lambda light: _run(module, light), scene)
    expected = float((pull(against)[0].detach() * along).sum())
    assert expected != 0
    assert float((change.detach() * against).sum()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "name",
    ["incoherent-distances", "incoherent-restored", "coherent-phase", "varying", "sensor-bayer"],
)
def test_one_export_serves_batches_of_any_size(name):
    module = _made(name)
    any_size = {0: torch.export.Dim("pictures", min=1, max=64)}
    program = torch.export.export(module, (_scene(),), dynamic_shapes=(any_size,)).module()
    five = _scene()[:1].expand(5, -1, -1, -1)
    made = program(five)
    if _draws(module):
        assert made.shape == five.shape
    else:
        torch.testing.assert_close(made, module(five))


def test_global_state_is_left_alone(module):
    state, dtype = torch.random.get_rng_state(), torch.get_default_dtype()
    _run(module, _scene())
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_default_dtype() == dtype


def test_import_is_light(fresh):
    code = (
        "import sys, optics; "
        "heavy = {'torchvision', 'matplotlib', 'sklearn', 'skimage', 'kornia', 'optuna'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = fresh.run(code)
    assert done.returncode == 0, done.stderr
