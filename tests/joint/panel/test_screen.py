import pytest
import torch

import joint
import optics
from joint.panel.element import shown_channels
from joint.panel.screen import as_codes, in_colours, plane_colours, seen_wavelengths


def test_a_field_is_drawn_as_its_light():
    modulus = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    field = torch.polar(modulus, 3 * modulus)
    assert torch.allclose(as_codes(field, "linear"), optics.linear_to_srgb(modulus**2), atol=1e-6)


def _numbered(channels):
    """Each channel of one value, its number."""
    return torch.arange(float(channels)).view(1, -1, 1, 1).expand(1, -1, 2, 3)


@pytest.mark.parametrize(
    ("channels", "red_green_blue"),
    [
        (1, [0]),
        (2, [0]),
        (3, [0, 1, 2]),
        (4, [3, 2, 0.5]),
        (6, [4.5, 2.5, 0.5]),
        (16, [13, 8, 2.5]),
    ],
)
def test_bands_are_shown_from_blue_to_red(channels, red_green_blue):
    shown = in_colours(_numbered(channels))
    assert shown.shape == (1, len(red_green_blue), 2, 3)
    assert shown[0, :, 0, 0].tolist() == red_green_blue


def test_bands_of_a_lens_lie_in_the_order_of_their_wavelengths():
    def shown(wavelengths, channels):
        lens = joint.LensConfig(wavelengths=wavelengths, oversample=3)
        front_end = joint.build_front_end(lens, (16, 16), channels)
        return plane_colours(joint.ImagingSystem(front_end=front_end))

    bands = shown((620e-9, 450e-9, 700e-9, 540e-9, 580e-9, 480e-9), 6)
    assert [sorted(each) for each in bands.scene] == [[0, 2], [3, 4], [1, 5]]
    assert bands.scene == bands.light == bands.picture
    assert shown((480e-9, 540e-9, 630e-9), 3).scene == ([2], [1], [0])
    assert shown(None, 3).scene == ([0], [1], [2])  # of a colour camera
    assert shown((550e-9,), 1).scene is None


def test_channels_of_filters_are_shown_by_what_they_pass():
    # The first passes the longest waves, the second the shortest.
    passes = torch.tensor([[0.1, 0.1, 0.9], [0.9, 0.1, 0.1], [0.1, 0.9, 0.1]])
    colour = optics.ColourChannels(
        3, lamps=optics.Illumination(3, patterns=2), filters=optics.ColourFilters(passes)
    )
    lens = joint.build_front_end(
        joint.LensConfig(wavelengths=(450e-9, 550e-9, 650e-9), oversample=3), (16, 16), 3
    )
    camera = optics.IncoherentImaging(lens.pupil, colour=colour)
    found = plane_colours(joint.ImagingSystem(front_end=camera))
    assert found.scene == ([2], [1], [0])
    assert found.light == found.picture == ([0], [2], [1])


@pytest.mark.parametrize(
    ("pattern", "demosaicing", "picture"),
    [
        ("rggb", "packed", ([0], [1, 2], [3])),
        ("gbrg", "packed", ([2], [0, 3], [1])),
        ("rggb", "none", ((0,), (0,), (0,))),
        ("rggb", "malvar", None),
    ],
)
def test_phases_of_a_mosaic_have_the_colour_of_their_pixels(pattern, demosaicing, picture):
    sensor = optics.Sensor(cfa=pattern, demosaicing=demosaicing)
    assert plane_colours(joint.ImagingSystem(sensor=sensor)).picture == picture


def test_the_first_filter_of_a_kernel_is_shown():
    kernel = optics.LearnedKernel("sobel", 3)
    assert plane_colours(joint.ImagingSystem(front_end=kernel)).picture == ((0,), (1,), (2,))
    many = optics.LearnedKernel("sobel", 3, channels=6)
    assert plane_colours(joint.ImagingSystem(front_end=many)).picture == ([4, 5], [2, 3], [0, 1])
    grey = optics.LearnedKernel("sobel", 3, channels=1)
    assert plane_colours(joint.ImagingSystem(front_end=grey)).picture == ((0,), (0,), (0,))
    one = optics.LearnedKernel("identity", 3)
    assert plane_colours(joint.ImagingSystem(front_end=one)).picture is None


def test_bands_that_are_restored_are_shown_as_those_of_the_scene():
    colour = joint.ColourConfig(filters="fixed", channels=3)
    waves = (650e-9, 450e-9, 500e-9, 550e-9, 600e-9)
    system = joint.build_system(
        joint.SystemConfig(
            front_end=joint.LensConfig(colour=colour, wavelengths=waves),
            codec=joint.NoneConfig(),
            restoration=joint.UNetConfig(width=2),
        ),
        image_size=(32, 32),
        channels=5,
        classes=2,
    )
    found = plane_colours(system)
    assert found.picture == found.scene != found.developed
    system.restoration = optics.RestorationUNet(3, width=2)
    assert plane_colours(system).picture is None


def test_a_channel_of_several_wavelengths_lies_at_their_mean():
    bands = (450e-9, 550e-9, 650e-9)

    def lens(*rows):
        response = torch.tensor(rows)
        pupil = optics.Pupil(
            [], size=32, spacing=1e-4, wavelengths=bands, focal_length=2e-2, pixel_pitch=2e-6,
            psf_size=15,
        )  # fmt: skip
        return optics.IncoherentImaging(pupil, spectral_response=response)

    grey = lens([0.2, 0.6, 0.2])
    assert plane_colours(joint.ImagingSystem(front_end=grey)).scene is None
    assert shown_channels(grey) == {0: ""}
    torch.testing.assert_close(seen_wavelengths(grey, grey.pupil), torch.tensor([550e-9]))
    # Three channels, of which the first is the reddest.
    red_first = lens([0.0, 0.2, 0.8], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0])
    assert plane_colours(joint.ImagingSystem(front_end=red_first)).scene == ([0], [1], [2])
    two = lens([0.5, 0.5, 0.0], [0.0, 0.5, 0.5])
    assert list(shown_channels(two).values()) == ["500 nm", "600 nm"]
