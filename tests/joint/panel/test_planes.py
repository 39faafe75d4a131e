import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import joint
import optics
from joint.panel.planes import draw_light
from joint.panel.screen import plane_colours


def test_panels_need_no_matplotlib_before_something_is_drawn(fresh):
    parts = "joint.panel.element, joint.panel.planes, joint.panel.score, joint.panel.screen"
    code = f"import sys, {parts}; sys.exit('matplotlib' in sys.modules)"
    assert fresh.run(code).returncode == 0


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_what_an_open_camera_passes_looks_like_the_scene(encoding):
    scene = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    front_end = optics.LearnedKernel("identity", 3, signed=False)
    output = joint.ImagingSystem(front_end=front_end, encoding=encoding)(scene)
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    draw_light(whole, output, ["a"], "a")
    shown = [np.asarray(axis.images[0].get_array()) for axis in whole.axes]
    light = scene if encoding == "linear" else optics.srgb_to_linear(scene)
    codes = optics.linear_to_srgb(light)[0].permute(1, 2, 0).numpy()
    assert len(shown) == 4
    for picture in shown:
        np.testing.assert_allclose(picture, codes, atol=0.01)


def test_exposures_of_other_channels_than_the_scene_lie_side_by_side():
    # Five bands, of which two patterns of lamps and three filters make six channels.
    colour = optics.ColourChannels(
        5,
        lamps=optics.Illumination(5, patterns=2, start=torch.eye(5)[:2]),
        filters=optics.ColourFilters(torch.full((3, 5), 0.5)),
    )
    point = torch.zeros(5, 3, 3)
    point[:, 1, 1] = 1
    front_end = optics.IncoherentImaging(point, colour=colour)
    scene = torch.rand(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    system = joint.ImagingSystem(front_end=front_end, encoding="linear")
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    with torch.no_grad():
        output = system(scene)
        draw_light(whole, output, ["a"], "a")
    assert whole.axes[1].get_title() == "after the optics (2 of 2 exposures)"
    shown = np.asarray(whole.axes[1].images[0].get_array())
    light = 0.5 * torch.cat([scene[0, 0], scene[0, 1]], -1)  # a lamp a pattern, and its filter
    expected = optics.linear_to_srgb(light)[..., None].expand(-1, -1, 3)
    np.testing.assert_allclose(shown, expected, atol=0.01)


def test_a_packed_mosaic_is_drawn_in_its_colours():
    colour = torch.tensor([0.9, 0.5, 0.1])
    scene = colour.view(1, 3, 1, 1).expand(1, 3, 8, 12)
    quiet = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    for pattern in ("bggr", ("rrgg", "rrgg", "ggbb", "ggbb")):
        sensor = optics.Sensor(cfa=pattern, demosaicing="packed", **quiet)
        kernel = optics.LearnedKernel("identity", 3, signed=False)
        system = joint.ImagingSystem(front_end=kernel, sensor=sensor)
        (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
        with torch.no_grad():
            output = system(scene)
        draw_light(whole, output, ["a"], "a", colours=plane_colours(system))
        for axis in whole.axes:
            pixels = np.asarray(axis.images[0].get_array())
            np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=0.01)


def test_what_is_restored_is_drawn_beside_what_it_is_made_of():
    colour = torch.tensor([0.9, 0.5, 0.1])
    scene = colour.view(1, 3, 1, 1).expand(1, 3, 8, 12)
    quiet = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    sensor = optics.Sensor(cfa="bggr", demosaicing="packed", **quiet)

    class Phases(torch.nn.Module):
        """Blue, green, green, red to red, green, blue of twice the size."""

        in_channels, out_channels = 4, 3

        def forward(self, picture):
            return picture[:, [3, 1, 0]].repeat_interleave(2, -1).repeat_interleave(2, -2)

    system = joint.ImagingSystem(sensor=sensor, restoration=Phases())
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    with torch.no_grad():
        output = system(scene)
    draw_light(whole, output, ["a"], "a", colours=plane_colours(system))
    titles = [axis.get_title() for axis in whole.axes]
    assert titles[-3:] == ["after the sensor", "restored", "classifier sees"]
    shapes = [np.asarray(axis.images[0].get_array()).shape for axis in whole.axes]
    assert shapes[-3:] == [(4, 6, 3), (8, 12, 3), (8, 12, 3)]
    for axis in whole.axes:
        pixels = np.asarray(axis.images[0].get_array())
        np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=0.01)
