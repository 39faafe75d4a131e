"""A lens whose surfaces are trained."""

import math

import lenses
import pytest
import torch

import optics


def test_untrained_it_is_the_lens_that_was_given():
    lens = optics.CompoundLens(
        lenses.mounted(), trained=("curvature", "thickness"), wavelength=550e-9
    )
    with torch.no_grad():
        made = lens()
    for found, given in zip(made, lenses.mounted(), strict=True):
        assert float(found.curvature) == pytest.approx(given.curvature, rel=1e-14)
        assert float(found.thickness) == pytest.approx(given.thickness, rel=1e-14)
        assert float(found.semi_diameter) == pytest.approx(given.semi_diameter, rel=1e-14)
        assert found.material == given.material
    assert lens.focal_length == pytest.approx(49.999783071431914e-3)
    assert "focal_length=0.0499998 m, f_number=5" in repr(lens)


@pytest.mark.parametrize("distance", [math.inf, 0.5])
def test_whatever_is_trained_focal_length_f_number_and_focus_are_kept(distance):
    options = {"wavelength": 550e-9, "object_distance": distance}
    surfaces = [s._replace(aspheric=(0.0,)) for s in lenses.mounted()]
    lens = optics.CompoundLens(
        surfaces, trained=("curvature", "thickness", "conic", "aspheric"), **options
    )
    before = optics.first_order(surfaces, **options)
    behind = surfaces[-1].thickness - float(before.image_distance)
    with torch.no_grad():
        for parameter in lens.parameters():
            parameter.uniform_(-8, 8, generator=torch.Generator().manual_seed(0))
        lens.raw_thickness[-1] = 3.0
        made = lens()
    after = optics.first_order(made, **options)
    assert float(after.focal_length) == pytest.approx(float(before.focal_length), rel=1e-12)
    assert float(after.f_number) == pytest.approx(float(before.f_number), rel=1e-12)
    # The last thickness is the focus: 3 micrometres of path at the rim of the pupil.
    moved = float(made[-1].thickness - after.image_distance) - behind
    assert moved == pytest.approx(3e-6 * 8 * float(before.f_number) ** 2, rel=1e-6)
    assert all(
        abs(float(new.curvature) - old.curvature) > 1e-4
        for new, old in zip(made, surfaces, strict=True)
    )


def test_a_raw_number_of_1_moves_a_surface_by_a_micrometre_at_its_rim():
    surfaces = [s._replace(aspheric=(0.0, 0.0)) for s in lenses.mounted()]
    lens = optics.CompoundLens(
        surfaces, trained={"curvature": [1], "conic": [2], "aspheric": [4]}, wavelength=550e-9
    )
    for name, number in (("curvature", 1), ("aspheric", 4)):
        rim = torch.tensor(surfaces[number].semi_diameter, dtype=torch.float64)
        unit = getattr(lens, f"unit_{name}")[0].double()
        moved = surfaces[number]._replace(
            **{name: surfaces[number].curvature + unit if name == "curvature" else unit}
        )
        change = optics.surface_sag(moved, rim) - optics.surface_sag(surfaces[number], rim)
        terms = unit.numel()
        assert float(change) == pytest.approx(terms * 1e-6, rel=0.01)
    assert float(lens.unit_conic[0]) == pytest.approx(
        8e-6 / abs(surfaces[2].curvature) ** 3 / lenses.RIMS[2] ** 4
    )


def test_small_lenses_have_aspheres_that_single_precision_has_not():
    surfaces = [
        s if s.stop else s._replace(semi_diameter=0.4e-3, aspheric=(0.0,) * 7 + (1e42,))
        for s in optics.set_stop(lenses.phone(), wavelength=550e-9, f_number=4.0)
    ]
    lens = optics.CompoundLens(surfaces, trained=("aspheric",), wavelength=550e-9)
    for made in (lens, lens.float(), lens.half().float()):
        with torch.no_grad():
            found = made()
        assert float(found[1].aspheric[-1]) == pytest.approx(1e42)
        assert float(made.unit_aspheric[0, -1]) == pytest.approx(1e-6 / 0.4e-3**18)
    assert lens.half().raw_aspheric.dtype == torch.float16


def test_training_goes_on_from_a_trained_lens():
    lens = optics.CompoundLens(lenses.mounted(), wavelength=550e-9)
    with torch.no_grad():
        lens.raw_curvature += 2.0
        trained = lens()
        again = optics.CompoundLens(trained, trained=("thickness",), wavelength=550e-9)()
    for new, old in zip(again, trained, strict=True):
        assert float(new.curvature) == pytest.approx(float(old.curvature), rel=1e-12)
        assert float(new.thickness) == pytest.approx(float(old.thickness), rel=1e-12)
    with pytest.raises(TypeError, match=r"under torch\.no_grad"):
        optics.CompoundLens(lens())


def test_gradients_of_the_surfaces_are_finite_differences():
    lens = optics.CompoundLens(
        lenses.cooke(), trained=("curvature", "thickness"), wavelength=550e-9
    ).double()

    def form(*raw):
        names = [name for name, _ in lens.named_parameters()]
        made = torch.func.functional_call(lens, dict(zip(names, raw, strict=True)), ())
        return torch.stack([v for s in made for v in (s.curvature / 50, s.thickness * 1e3)])

    raw = [torch.ones(6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(form, raw, eps=1e-4, atol=1e-9, rtol=1e-4)


def test_training_its_numbers_makes_a_lens_sharper():
    lens = optics.CompoundLens(
        lenses.cooke(), trained=("curvature", "thickness"), wavelength=550e-9
    )
    optimiser = torch.optim.Adam(lens.parameters(), lr=0.1)
    loss = []
    for _ in range(12):
        spots = optics.lens_spots(lens(), fields=[0.0, 0.2, 0.33], wavelengths=[550e-9], rings=3)
        blur = spots.radius.square().mean().sqrt() * 1e6
        loss.append(blur.item())
        optimiser.zero_grad()
        (blur + optics.lens_penalty(lens())).backward()
        optimiser.step()
    assert loss[-1] < 0.93 * loss[0]


def test_functions_of_functions_see_its_parameters():
    lens = optics.CompoundLens(lenses.cooke(), wavelength=550e-9)
    start = {name: value.detach().double() for name, value in lens.named_parameters()}

    def radius(parameters):
        surfaces = torch.func.functional_call(lens, parameters, ())
        return optics.lens_spots(surfaces, fields=[0.2], wavelengths=[550e-9], rings=3).radius.sum()

    slope = torch.func.grad(radius)(start)["raw_curvature"]
    radius(dict(lens.named_parameters())).backward()
    torch.testing.assert_close(slope.float(), lens.raw_curvature.grad, rtol=1e-4, atol=1e-12)


# --------------------------------------------------------------------------- Penalty


def test_the_penalty_is_what_is_missing():
    surfaces = [
        optics.Surface(100.0, 2e-3, 1.5, 5e-3),
        optics.Surface(-100.0, 50e-6, semi_diameter=4e-3),
        optics.Surface(0.0, 3e-3, 1.5, 4e-3),
        optics.Surface(0.0, 1e-2, semi_diameter=4e-3),
    ]
    found = optics.lens_penalty(surfaces, centre=1e-3, edge=1e-3, air=1e-4)
    sag = 10e-3 - math.sqrt(1e-4 - 16e-6)
    glass = 1 - (2e-3 - 2 * sag) / 1e-3
    air = 1 - 50e-6 / 1e-4
    assert float(found) == pytest.approx(glass**2 + air**2, rel=1e-12)
    whole = [surfaces[2], surfaces[3]]
    assert float(optics.lens_penalty(whole)) == 0
    thick = torch.tensor(0.5e-3, dtype=torch.float64, requires_grad=True)
    optics.lens_penalty([surfaces[2]._replace(thickness=thick), surfaces[3]]).backward()
    assert float(thick.grad) < 0


def _thin(**options):
    """Glass whose rim is too thin, and a stop too close to it."""
    surfaces = [
        optics.Surface(0.0, 50e-6, semi_diameter=3e-3, stop=True),
        optics.Surface(30.0, 1.2e-3, 1.5, 5e-3),
        optics.Surface(-30.0, 30e-3, semi_diameter=5e-3),
    ]
    given = {"trained": ("curvature", "thickness"), "wavelength": 550e-9}
    return optics.CompoundLens(surfaces, **given | options)


def test_the_penalty_of_a_lens_is_that_of_its_surfaces_with_its_own_least_thicknesses():
    lens = _thin()
    assert lens.penalty() == optics.lens_penalty(lens()) > 0.1
    assert "centre=0.001 m, edge=0.001 m, air=0.0001 m" in repr(lens)
    own = {"centre": 2e-3, "edge": 5e-4, "air": 2e-5}
    other = _thin(**own)
    assert other.penalty() == optics.lens_penalty(lens(), **own) > 0
    assert other.penalty() != lens.penalty()
    assert "centre=0.002 m, edge=0.0005 m, air=2e-05 m" in repr(other)
    assert other.state_dict().keys() == lens.state_dict().keys()


def test_the_penalty_of_a_lens_has_the_gradient_of_a_finite_difference():
    lens = _thin().double()
    names = [name for name, _ in lens.named_parameters()]
    forward = type(lens).penalty

    class Penalty(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lens = lens

        def forward(self):
            return forward(self.lens)

    def penalty(*raw):
        state = {f"lens.{name}": value for name, value in zip(names, raw, strict=True)}
        return torch.func.functional_call(Penalty(), state, ())

    raw = [0.5 * torch.ones_like(each.detach()).requires_grad_() for each in lens.parameters()]
    raw = [each.detach().requires_grad_() for each in raw]
    assert torch.autograd.gradcheck(penalty, raw, eps=1e-5, atol=1e-9, rtol=1e-5)
    gradients = torch.autograd.grad(penalty(*raw), raw)
    assert all(gradient.any() for gradient in gradients)


# --------------------------------------------------------------------------- Bad input


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"trained": "curvature"}, TypeError, "trained must be a sequence of"),
        ({"trained": ("radius",)}, ValueError, "not 'radius'"),
        ({"trained": {"curvature": [6]}}, ValueError, "not of [6]"),
        ({"trained": {"curvature": []}}, ValueError, "not of none"),
        ({"trained": {"curvature": [0, 2, 0]}}, ValueError, "each surface of curvature once"),
        ({"trained": {"curvature": [True]}}, ValueError, "not of [True]"),
        ({"trained": {"curvature": [0.0]}}, ValueError, "not of [0.0]"),
        ({"trained": {"curvature": 1}}, TypeError, "such as [0, 1], not 1"),
        ({"trained": {"curvature": "01"}}, TypeError, "such as [0, 1], not '01'"),
        ({"trained": ("aspheric",)}, ValueError, "an asphere that was given coefficients"),
        ({"wavelength": 550.0}, ValueError, "550 nm are 550e-9"),
        ({"object_distance": -1.0}, ValueError, "object_distance must be a float above 0"),
        ({"object_distance": 0.01}, ValueError, "must form a real image behind it"),
        ({"edge": 0.0}, ValueError, "edge must be positive and finite, in metres, not 0"),
        ({"centre": torch.ones(2)}, TypeError, "centre must be one number, in metres, not"),
    ],
)
def test_a_lens_that_is_none_is_refused(options, error, told):
    with pytest.raises(error) as found:
        optics.CompoundLens(lenses.cooke(), **options)
    assert told in str(found.value)


def test_numbers_that_would_be_trained_beside_it_are_refused():
    bend = torch.nn.Parameter(torch.tensor(50.0))
    surfaces = lenses.cooke()
    with pytest.raises(TypeError, match="named in trained="):
        optics.CompoundLens([surfaces[0]._replace(curvature=bend), *surfaces[1:]])


def test_an_image_in_glass_is_refused():
    surfaces = lenses.cooke()
    with pytest.raises(ValueError, match=r"image must be in air, not in 1\.333"):
        optics.CompoundLens([*surfaces[:-1], surfaces[-1]._replace(material=1.333)])


def test_a_penalty_of_no_length_is_refused():
    with pytest.raises(ValueError, match="edge must be positive"):
        optics.lens_penalty(lenses.cooke(), edge=0.0)


def test_the_penalty_grows_where_a_surface_ends_within_its_rim():
    mm = 1e-3

    def penalty(radius):
        curvature = torch.tensor(1 / (radius * mm), dtype=torch.float64, requires_grad=True)
        front = optics.Surface(curvature, 4 * mm, "n_bk7", 6 * mm, stop=True)
        found = optics.lens_penalty([front, optics.Surface(-curvature, 10 * mm, None, 6 * mm)])
        found.backward()
        return float(found.detach()), float(curvature.grad)

    found = [penalty(radius) for radius in (7.0, 6.001, 5.999, 5.0, 4.0)]
    values = [value for value, _ in found]
    assert values == sorted(values)
    assert values[2] == pytest.approx(values[1], rel=0.1)
    assert all(slope > 0 for _, slope in found)
    # A hollow in the air has no thickness that would be missing.
    hollow = optics.Surface(-1 / (5 * mm), 50 * mm, None, 6 * mm)
    assert float(optics.lens_penalty([hollow])) == pytest.approx((36 / 25 - 1) ** 2)


def test_a_state_makes_the_lens_that_it_is_of():
    start = lenses.mounted()
    lens = optics.CompoundLens(start, trained=("conic", "curvature"), wavelength=550e-9)
    with torch.no_grad():
        lens.raw_curvature[1] = 3.0
    smaller = [s._replace(curvature=1.1 * s.curvature, thickness=s.thickness / 1.1) for s in start]
    other = optics.CompoundLens(smaller, trained=("conic", "curvature"), wavelength=550e-9)
    assert other.focal_length == pytest.approx(50e-3 / 1.1, rel=1e-3)
    other.load_state_dict(lens.state_dict())
    assert (other.focal_length, other.f_number) == (lens.focal_length, lens.f_number)
    with torch.no_grad():
        for made, wanted in zip(other(), lens(), strict=True):
            assert float(made.curvature) == pytest.approx(float(wanted.curvature), rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"surfaces": [s._replace(material=s.material and (1.8, 25.0)) for s in lenses.mounted()]},
        {"surfaces": [s._replace(semi_diameter=s.semi_diameter * 1.1) for s in lenses.mounted()]},
        {"wavelength": 500e-9},
        {"object_distance": 2.0},
    ],
)
def test_a_state_of_another_lens_is_refused(change):
    given = {"surfaces": lenses.mounted(), "wavelength": 550e-9}
    lens, other = optics.CompoundLens(**given), optics.CompoundLens(**given | change)
    with pytest.raises(RuntimeError, match="of a lens with other glasses, rims, stop, wavelength"):
        other.load_state_dict(lens.state_dict())


def test_a_lens_is_designed_about_one_axis():
    moved = optics.misalign(lenses.cooke(), 2, decentre=(1e-5, 0.0))
    with pytest.raises(ValueError, match="surface 2 must have no decentre or tilt"):
        optics.CompoundLens(moved)
