import pytest
import torch

import classify
import joint
import optics
from joint.analysis import robustness, sensitivity, tolerance, zernike_error
from joint.analysis.tolerancing.perturbation import perturbed

SPACING = 2.5e-3 / 64


@pytest.fixture
def scenes():
    return classify.LesionPhantom(7, 16, progress=False)


@pytest.fixture
def system():
    """A lens whose window holds its PSF in focus, and not one that is 1.5 waves out of focus."""
    return camera()


def camera(*elements):
    pupil = optics.Pupil(
        elements, wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=21,
        size=65, spacing=SPACING,
    )  # fmt: skip
    return joint.ImagingSystem(
        front_end=optics.IncoherentImaging(pupil, spectral_response=torch.ones(3, 1)),
        classifier=classify.backbone("resnet_s", 7, image_size=16),
    )


def throughput(system):
    return float(system.front_end.throughput())


def defocused(system, waves):
    return perturbed(system, "defocus", waves, channels=3, generator=torch.Generator())


def lost(system):
    """Percent of the light that passes the pupil, in words."""
    return f"{100 * (1 - float(system.front_end.psf()[0].sum())):.0f} %"


@pytest.mark.parametrize("function", [sensitivity, tolerance])
def test_light_that_is_lost_is_told_once_with_its_levels(function, system, scenes):
    with pytest.warns(UserWarning, match="At defocus = ") as caught:
        function(
            system,
            scenes,
            {"defocus": (-0.2, 1.5), "tilt_x": 0.1},
            devices=2,
            measure=throughput,
        )
    assert len(caught) == 1
    text = str(caught[0].message)
    assert caught[0].filename == __file__
    assert text.endswith("So it is at defocus = 1.5.")
    assert f" {lost(defocused(system, 1.5))} of the light falls outside of the window" in text
    assert "larger psf_size" in text


def test_each_level_of_a_sweep_is_told(system, scenes):
    with pytest.warns(UserWarning, match="At defocus = ") as caught:
        robustness(system, scenes, {"defocus": (-1.5, 0.0, 0.2, 2.0)}, resamples=20)
    assert len(caught) == 1
    assert str(caught[0].message).endswith("So it is at defocus = 2, -1.5.")


@pytest.mark.parametrize("function", [sensitivity, tolerance])
def test_what_is_focused_anew_is_not_lost(function, system, scenes):
    function(system, scenes, {"defocus": (-0.2, 1.5)}, devices=2, refocus=1.5, measure=throughput)


@pytest.mark.parametrize(
    ("imperfection", "level", "refocus"), [("defocus", 1.5, 1.4), (zernike_error(4), 0.5, 2.0)]
)
def test_what_is_left_when_it_is_focused_anew_is_what_counts(
    system, scenes, imperfection, level, refocus
):
    limits = {imperfection: (0.0, level)}
    sensitivity(system, scenes, limits, refocus=refocus, measure=throughput)
    with pytest.warns(UserWarning, match="% of the light falls outside of the window"):
        sensitivity(system, scenes, limits, refocus=0.1, measure=throughput)


def test_what_the_design_loses_is_no_error_of_a_device(system, scenes):
    wide = defocused(system, 1.2)
    assert lost(wide) == "10 %"
    assert lost(defocused(wide, -0.3)) == "6 %"
    sensitivity(wide, scenes, {"defocus": (-0.3, 0.0), "decentre": 0.01}, measure=throughput)
    with pytest.warns(UserWarning, match=f"{lost(defocused(wide, 0.3))} of the light") as caught:
        sensitivity(wide, scenes, {"defocus": 0.3}, measure=throughput)
    text = str(caught[0].message)
    assert "that holds the PSF (10 % of the design), and is missing" in text
    assert text.endswith("So it is at defocus = 0.3.")


def test_what_a_free_phase_scatters_is_the_designs(scenes):
    rough = 2 * torch.rand(65, 65, generator=torch.Generator().manual_seed(0))
    plate = optics.PhaseMask(rough, spacing=SPACING, design_wavelength=550e-9)
    sensitivity(camera(plate), scenes, {"decentre": 0.01}, measure=throughput)


def test_what_a_window_holds_is_not_told(scenes, system):
    sensitivity(system, scenes, {"defocus": 0.2}, measure=throughput)


def test_a_camera_without_a_pupil_has_no_window(scenes):
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("identity", 3, signed=False))
    found = sensitivity(plain, scenes, {"shift": 1.0}, measure="psnr_scene")
    assert found.rows[0].change_high < 0
