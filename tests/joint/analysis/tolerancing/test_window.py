import pytest
import torch

import classify
import joint
import optics
from joint.analysis import robustness, sensitivity, tolerance
from joint.analysis.tolerancing.perturbation import perturbed


@pytest.fixture
def scenes():
    return classify.LesionPhantom(7, 16, progress=False)


@pytest.fixture
def system():
    """A lens whose window holds its PSF in focus, and not one that is 1.5 waves out of focus."""
    pupil = optics.Pupil(
        [], wavelengths=(550e-9,), focal_length=20e-3, pixel_pitch=2e-6, psf_size=21,
        size=65, spacing=2.5e-3 / 64,
    )  # fmt: skip
    return joint.ImagingSystem(
        front_end=optics.IncoherentImaging(pupil, spectral_response=torch.ones(3, 1)),
        classifier=classify.backbone("resnet_s", 7, image_size=16),
    )


def throughput(system):
    return float(system.front_end.throughput())


@pytest.mark.parametrize("function", [sensitivity, tolerance])
def test_light_that_is_lost_is_told_once_with_its_levels(function, system, scenes):
    with pytest.warns(UserWarning, match="at defocus = ") as caught:
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
    made = perturbed(system, "defocus", 1.5, channels=3, generator=torch.Generator())
    lost = 100 * (1 - float(made.front_end.psf()[0].sum()))
    assert f" {lost:.0f} % of the light falls outside of the window" in text
    assert "larger psf_size" in text


def test_each_level_of_a_sweep_is_told(system, scenes):
    with pytest.warns(UserWarning, match="at defocus = ") as caught:
        robustness(system, scenes, {"defocus": (-1.5, 0.0, 0.2, 2.0)}, resamples=20)
    assert len(caught) == 1
    assert str(caught[0].message).endswith("So it is at defocus = 2, -1.5.")


@pytest.mark.parametrize("function", [sensitivity, tolerance])
def test_what_is_focused_anew_is_not_lost(function, system, scenes):
    function(system, scenes, {"defocus": (-0.2, 1.5)}, devices=2, refocus=1.5, measure=throughput)


def test_what_a_window_holds_is_not_told(scenes, system):
    sensitivity(system, scenes, {"defocus": 0.2}, measure=throughput)


def test_a_camera_without_a_pupil_has_no_window(scenes):
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("identity", 3, signed=False))
    found = sensitivity(plain, scenes, {"shift": 1.0}, measure="psnr_scene")
    assert found.rows[0].change_high < 0
