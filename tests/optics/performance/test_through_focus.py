import importlib
import json
import math

import lenses
import pytest
import torch
from scipy import integrate

import optics
from optics.performance.examined import examine
from optics.performance.through_focus import _foci

FOCAL, DIAMETER, PITCH, WAVE = 10e-3, 3.5e-3, 3e-6, 550e-9
SAMPLES = 64
SPACING = DIAMETER / (0.9 * SAMPLES)
NUMBER = FOCAL / DIAMETER
DEPTH = 2 * WAVE * NUMBER**2  # of a quarter wave


def _pupil(*elements, wavelengths=(WAVE,), aperture=None, diameter=DIAMETER, **options):
    y = optics.coordinates(SAMPLES, spacing=SPACING)
    circle = (y[:, None] ** 2 + y**2 <= (diameter / 2) ** 2).float()
    given = {"focal_length": FOCAL, "pixel_pitch": PITCH, "psf_size": 15, "oversample": 3} | options
    return optics.Pupil(
        elements,
        size=SAMPLES,
        spacing=SPACING,
        aperture=circle if aperture is None else aperture,
        wavelengths=wavelengths,
        **given,
    )


def _aberration(coefficients, indices=None):
    return optics.Aberration(
        SAMPLES,
        spacing=SPACING,
        diameter=DIAMETER,
        coefficients=torch.as_tensor(coefficients),
        indices=indices,
    )


def _path(position, diameter=DIAMETER):
    """At the rim, metres."""
    return diameter**2 / 8 * (1 / (FOCAL + position) - 1 / FOCAL)


def test_a_slit_out_of_focus_is_goodmans():
    """Fourier Optics, eq. 6-41, of a square aperture."""
    width = 41 * SPACING
    aperture = torch.zeros(SAMPLES, SAMPLES)
    aperture[12:53, 12:53] = 1.0
    pupil = _pupil(aperture=aperture)
    position = torch.linspace(-4, 4, 9, dtype=torch.float64) * DEPTH
    frequency = [2e4, 1e5, 2.5e5]
    found = optics.through_focus(pupil, position=position, frequency=frequency, pixel=False)
    for z, plane in enumerate(position.tolist()):
        waves = _path(plane, width) / WAVE
        for f, line in enumerate(frequency):
            part = line * WAVE * (FOCAL + plane) / width
            inner = 8 * waves * part * (1 - part)
            expected = (1 - part) * abs(torch.sinc(torch.tensor(inner)).item())
            assert found.contrast[0, z, f].tolist() == pytest.approx([expected] * 2, abs=3e-3)


def test_a_circle_out_of_focus_is_hopkins():
    """Proc. R. Soc. A 231:91, 1955: the path across the overlap of two circles is linear."""
    pupil = _pupil()
    position = torch.linspace(-4, 4, 9, dtype=torch.float64) * DEPTH
    frequency = [2e4, 8e4, 3e5]
    found = optics.through_focus(pupil, position=position, frequency=frequency, pixel=False)
    for z, plane in enumerate(position.tolist()):
        waves = _path(plane) / WAVE
        for f, line in enumerate(frequency):
            half = line * WAVE * (FOCAL + plane) / DIAMETER

            def overlap(x, half=half, waves=waves):
                return math.sqrt(1 - (x + half) ** 2) * math.cos(8 * math.pi * waves * half * x)

            expected = abs(4 / math.pi * integrate.quad(overlap, 0, 1 - half)[0])
            assert found.contrast[0, z, f].tolist() == pytest.approx([expected] * 2, abs=6e-3)


def test_a_perfect_lens_is_best_in_focus_and_symmetric():
    found = optics.through_focus(_pupil())
    assert found.frequency.tolist() == [0.25 / PITCH]
    assert 0.0 in found.position.tolist()
    curve = found.contrast[0, :, 0, 0]
    assert int(curve.argmax()) == len(curve) // 2
    assert (curve - curve.flip(0)).abs().max() < 2e-3
    assert found.best_focus.abs().max() < DEPTH / 100
    # Half of the best contrast lies as many depths away whatever the f-number.
    away = []
    for diameter in (DIAMETER, DIAMETER / 1.5):
        number = FOCAL / diameter
        frequency = 0.3 / (WAVE * number)
        planes = torch.linspace(0, 8, 129, dtype=torch.float64) * WAVE * number**2
        stopped = optics.through_focus(
            _pupil(diameter=diameter), position=planes, frequency=[frequency], pixel=False
        )
        relative = stopped.contrast[0, :, 0, 0] / stopped.contrast[0, 0, 0, 0]
        away.append(int((relative < 0.5).double().argmax()))
    assert abs(away[0] - away[1]) <= 1


def test_seidels_terms_have_the_foci_of_the_textbook():
    """W220 + W222 of the tangential one, W220 of the sagittal: ``8 W N^2`` (Mahajan, sec. 1.6)."""
    w222, w220, picture = 1.5 * WAVE, -1.0 * WAVE, (30, 40)
    coefficients = optics.seidel_coefficients(
        3, size=picture, astigmatism=w222, field_curvature=w220
    )
    found = optics.through_focus(_pupil(_aberration(coefficients)), picture=picture)
    assert found.best_focus.shape == (3, 3, 1, 1, 2)
    assert found.places is not None
    for height, both in zip(
        found.places.norm(dim=-1).flatten().tolist(),
        found.best_focus[:, :, 0, 0].flatten(0, 1).tolist(),
        strict=True,
    ):
        expected = [8 * each * NUMBER**2 * height**2 for each in (w220 + w222, w220)]
        assert both == pytest.approx(expected, abs=DEPTH / 20)
    # All planes are told from one image: the course is the field curvature, the gap astigmatism.
    text = str(found)
    assert text.splitlines()[-1].split()[3:5] == ["1.00", f"{8e6 * 0.5 * WAVE * NUMBER**2:+.1f}"]


def test_axial_colour_of_a_thin_singlet_is_that_of_its_glass():
    waves = (486.1e-9, 587.6e-9, 656.3e-9)
    index = optics.refractive_index("n_bk7", torch.tensor(waves, dtype=torch.float64))
    lengths = FOCAL * (index[1] - 1) / (index - 1)  # 1 / f goes as n - 1
    rim = DIAMETER**2 / 8 * (1 / FOCAL - 1 / lengths)
    pupil = _pupil(_aberration((rim / math.sqrt(12))[:, None].float(), [4]), wavelengths=waves)
    found = optics.through_focus(pupil)
    assert (lengths[2] - lengths[0]) / FOCAL == pytest.approx(1 / 64.17, rel=2e-2)  # Abbe's number
    expected = (lengths - FOCAL)[:, None].expand(3, 2)
    torch.testing.assert_close(found.best_focus[:, 0], expected, atol=DEPTH / 10, rtol=0)
    # All together are as good as each at the same place cannot be.
    assert found.polychromatic.max() < found.contrast.amax((1, 2, 3)).min() - 0.05


def test_a_plane_is_that_of_a_lens_with_this_image_distance():
    coma = _aberration([0.15 * WAVE], [8])
    pupil = _pupil(coma, focus=0.2, wavelengths=(WAVE, 460e-9))
    frequency = torch.tensor([3e4, 9e4])
    position = [-1.8e-4, -2e-5, 0.0, 3e-5, 1.8e-4]
    found = optics.through_focus(pupil, position=position, frequency=frequency)
    for z, plane in enumerate(position):
        image = pupil.image_distance + plane
        other = _pupil(coma, focal_length=image, wavelengths=pupil.wavelengths)
        bent = 1 / image - 1 / pupil.image_distance
        distance = 1 / bent if bent else None
        for direction, angle in enumerate((math.pi / 2, 0.0)):
            expected = other.mtf(frequency, angle=angle, distance=distance)
            torch.testing.assert_close(
                found.contrast[:, z, :, direction], expected.double(), atol=3e-6, rtol=0
            )


def test_against_the_distance_of_the_scene():
    """A cubic mask keeps its contrast where a lens alone loses it (Dowski and Cathey, 1995)."""
    distances, frequency = [0.3, 0.35, 0.4, 0.46, 0.55], [6e4]
    cubic = optics.CubicMask(
        SAMPLES, spacing=SPACING, diameter=DIAMETER, alpha=3.0, design_wavelength=WAVE
    )
    held = []
    for pupil in (_pupil(focus=0.4), _pupil(cubic, focus=0.4)):
        found = optics.through_focus(pupil, position=[0.0], frequency=frequency, distance=distances)
        assert found.contrast.shape == (5, 1, 1, 1, 2)
        assert found.best_focus.isnan().all()  # of one plane
        assert "none T none S um" in str(found)
        sheet = optics.lens_performance(pupil, frequency=frequency, distance=distances)
        torch.testing.assert_close(found.contrast[:, :, 0], sheet.contrast, atol=1e-6, rtol=0)
        curve = found.contrast[:, 0, 0, 0, 0]
        held.append(float(curve.min() / curve.max()))
    assert held[1] > 2 * held[0]
    # A scene at another distance has its focus where the lens law says.
    found = optics.through_focus(_pupil(focus=0.4), distance=distances)
    image = [1 / (1 / FOCAL - 1 / each) - found.image_distance for each in distances]
    assert found.best_focus[:, 0, 0, 0].tolist() == pytest.approx(image, abs=DEPTH / 20)
    assert "550 mm" in str(found)


def test_all_together_are_the_complex_sum():
    """Colours beside each other: half a period apart, nothing is left."""
    frequency = 5e4
    waves, shift = (WAVE, 500e-9), 1 / (2 * frequency)
    tilt = shift * DIAMETER / (4 * FOCAL)  # of a path W x, moves by W / (D / 2) s'
    pupil = _pupil(_aberration(torch.tensor([[tilt / 2], [-tilt / 2]]), [2]), wavelengths=waves)
    found = optics.through_focus(pupil, position=[0.0], frequency=[frequency], weights=[1, 1])
    alone = found.contrast[:, 0, 0, 1]
    apart = abs(float(alone[0] - alone[1])) / 2
    assert alone.min() > 0.5
    assert float(found.polychromatic[0, 0, 1]) == pytest.approx(apart, abs=2e-3)
    one = optics.through_focus(pupil, position=[0.0], frequency=[frequency], weights=[0, 3])
    torch.testing.assert_close(one.polychromatic, found.contrast[1])
    assert one.weights.tolist() == [0, 1]
    assert "all, 0 %, 100 %" in str(one)
    assert "all, equal parts" in str(found)


def test_what_lies_at_an_end_or_is_dark_has_no_best_focus():
    pupil = _pupil()
    beyond = optics.through_focus(pupil, position=[1e-5, 2e-5, 3e-5])
    assert beyond.best_focus.isnan().all()
    assert "beyond T beyond S um" in str(beyond)
    dark = optics.through_focus(pupil, frequency=[1e6])  # above the cut-off
    assert dark.best_focus.isnan().all()
    assert "none T none S um" in str(dark)
    assert json.loads(json.dumps(dark.to_dict(), allow_nan=False))["best_focus"] == [[[None] * 2]]
    slow = optics.through_focus(_pupil(pixel_pitch=5e-7, oversample=1))
    assert slow.frequency.item() < 0.25 / 5e-7  # half of the cut-off
    assert slow.best_focus.abs().max() < DEPTH / 50


def test_rounding_is_no_best_focus():
    """Contrast at no frequency is 1 in all planes, to 2e-7."""
    found = optics.through_focus(_pupil(), frequency=[0.0, 2e3])
    assert found.contrast[0, :, 0].max() > found.contrast[0, :, 0].min()
    assert found.best_focus.isnan().flatten().tolist() == [True, True, False, False]
    assert found.polychromatic_focus[0].isnan().all()
    none, some = str(found).splitlines()[1:]
    assert "none T none S um" in none
    assert "none" not in some
    assert "beyond" not in some


def test_the_planes_by_default_reach_the_foci_of_rays_and_are_not_too_many(monkeypatch):
    far = optics.Lens(SAMPLES, spacing=SPACING, focal_length=-0.5)
    focus = 1 / (1 / FOCAL - 1 / 0.5) - FOCAL  # 22 depths away
    found = optics.through_focus(_pupil(far))
    assert found.best_focus.flatten().tolist() == pytest.approx([focus] * 2, abs=DEPTH / 20)
    steps = found.position.diff()
    assert steps.tolist() == pytest.approx([DEPTH / 2] * len(steps), rel=3e-2)
    assert found.position[0] < -7 * DEPTH / 2
    assert found.position[-1] > focus + 7 * DEPTH / 2
    module = importlib.import_module("optics.performance.through_focus")
    monkeypatch.setattr(module, "_MOST", 33)
    few = optics.through_focus(_pupil(far))
    assert len(few.position) <= 33
    assert few.position[-1] > focus + 3 * DEPTH


def test_foci_of_slanting_light_are_those_of_the_plane_that_undoes_its_defocus():
    lens = optics.CompoundLens(lenses.menisci(), wavelength=WAVE)
    camera = optics.compound_imaging(
        lens, picture=(23904, 3), pixel_pitch=6e-6, wavelengths=(WAVE,), psf_size=15, rank=4,
        places=2, pupil_size=64, oversample=1,
    )  # fmt: skip
    pupil, distances = camera.pupil, torch.tensor([math.inf, 4.0], dtype=torch.float64)
    found = examine(
        pupil, distance=distances, frequency=[1e3], picture=(23904, 3), weights=None, stacklevel=1
    )
    image = pupil.image_distance
    away = 1 / (image + _foci(found)[..., 0, :]) - 1 / image
    # In both directions: the sums are of tangential and sagittal focus.
    moved = -(away[1] - away[0]).sum(-1)
    vergence = 2 / (4.0 + pupil.entrance_pupil)
    torch.testing.assert_close(moved, torch.full_like(moved, vergence), rtol=0.01, atol=0)


def test_planes_too_far_for_the_samples_are_told():
    pupil = _pupil(focus=0.4)
    with pytest.warns(UserWarning, match=r"coarsely for planes from -10 to \+2000 um: at") as told:
        optics.through_focus(pupil, position=[-1e-5, 2e-3])
    assert [each.filename for each in told] == [__file__]
    # The pupil still warns of a scene, and then planes are not blamed too.
    with pytest.warns(UserWarning, match="sampled too coarsely for a point") as told:
        optics.through_focus(pupil, position=[0.0, 2e-3], distance=0.05)
    assert len(told) == 1


def test_planes_that_nobody_asked_for_are_not_blamed():
    """Those of a near scene are far from the focus of a far one: 5 dioptres, of 2.6 that hold."""
    pupil = _pupil(focus=0.4)
    found = optics.through_focus(pupil, distance=[0.21, 5.0])
    assert (found.best_focus[0] - found.best_focus[1]).min() > 50 * DEPTH
    with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
        pupil(distance=torch.tensor([0.05]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": []}, "position must hold planes in growing order"),
        ({"position": [1e-5, 0.0]}, "growing order, not"),
        ({"position": [0.0, 0.0]}, "growing order, not"),
        ({"position": [math.nan]}, "position must be finite"),
        ({"position": [-0.01, 0.0]}, r"the pupil is at -0.01: planes must lie behind it"),
        ({"frequency": [math.inf]}, "frequency must be finite"),
        ({"weights": [1.0, 1.0]}, "one for each of 1 wavelengths"),
        ({"weights": [0.0]}, "not all 0"),
        ({"weights": [-1.0]}, "weights must be"),
        ({"weights": [math.nan]}, "weights must be"),
        ({"weights": [math.inf]}, "weights must be"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optics.through_focus(_pupil(), **options)


def test_what_is_no_lens_is_refused():
    with pytest.raises(TypeError, match="must be a Pupil"):
        optics.through_focus(_pupil)  # pyright: ignore[reportArgumentType]
