"""What the data sheet says of a lens of several surfaces."""

import pytest
import torch

import joint
import optics
from joint.deploy.traced_lens import traced_lens

_FRONT, _BACK, _THICK = 1.25e-3, -0.9e-3, 0.3e-3
_SMALL = {"places": (2, 2), "rank": 2, "psf_size": 5, "pupil_size": 16, "oversample": 3}


def _camera(size=(30, 40), **options):
    surfaces = [
        {"thickness": 0.1e-3, "semi_diameter": 0.1e-3, "stop": True},
        {"radius": _FRONT, "thickness": _THICK, "material": 1.5, "semi_diameter": 0.12e-3},
        {"radius": _BACK, "thickness": 0.9e-3},
    ]
    given = {"surfaces": surfaces, "wavelengths": (450e-9, 550e-9)} | _SMALL | options
    return joint.build_front_end(joint.CompoundConfig(**given), size, 2)


def test_lengths_and_field_are_those_of_the_lens_and_the_pixels():
    found = traced_lens(_camera())
    # The lensmaker's formula of a thick lens.
    power = 0.5 * (1 / _FRONT - 1 / _BACK + 0.5 * _THICK / (1.5 * _FRONT * _BACK))
    assert found.focal_length == pytest.approx(1 / power, rel=1e-9)
    assert found.f_number == pytest.approx(1 / power / 0.2e-3, rel=1e-9)
    assert found.length == pytest.approx(1.3e-3)
    # Corners of 30 x 40 pixels are 25 pixels away.
    assert found.heights[-1] == pytest.approx(25 * 3.5e-6, rel=1e-6)
    # A paraxial chief ray of slope 1 through the middle of the stop, from vertex to vertex.
    front = 0.1e-3
    slope = 1 - 0.5 / _FRONT * front
    back = front + _THICK / 1.5 * slope
    scale = back + 0.9e-3 * (slope + 0.5 / _BACK * back)
    ideal = scale * found.fields.tan()
    torch.testing.assert_close(found.heights[1:], (ideal * (1 + found.distortion))[1:])
    assert found.illumination[0] == 1
    # The rim behind the stop cuts off what a field displaces: on the axis nothing.
    assert found.lit[0] == pytest.approx(1)
    assert found.lateral_colour.abs().max() < 1e-15  # one index for all wavelengths
    assert found.spots.shape == (6, 2)


def test_it_is_of_the_lens_as_it_is_trained():
    camera = _camera()
    before = traced_lens(camera)
    (raw,) = camera.parameters()
    with torch.no_grad():
        raw.add_(torch.tensor([0.5, -0.5]))
    after = traced_lens(camera)
    assert after.focal_length == pytest.approx(before.focal_length, rel=1e-6)
    assert after.surfaces[1].curvature > before.surfaces[1].curvature
    assert not torch.allclose(after.spots, before.spots, rtol=5e-4)
    spots = optics.lens_spots(after.surfaces, fields=after.fields, wavelengths=after.wavelengths)
    assert torch.equal(after.spots, spots.radius)


def test_a_near_object_has_heights_for_fields():
    found = traced_lens(_camera(object_distance=20e-3, focus=20e-3))
    text = str(found)
    assert "scenes 20 mm in front of it" in text
    assert "deg" not in text
    assert found.fields[-1] == pytest.approx(20e-3 * 87.5e-6 / found.focal_length, rel=0.1)


def test_the_sheet_of_a_camera_prints_it():
    none = joint.NoneConfig()
    system = joint.ImagingSystem(front_end=_camera(), encoding="linear")
    sheet = joint.data_sheet(system, image_size=(30, 40), channels=2)
    assert sheet.traced is not None
    assert "traced 3 surfaces, 1.3 mm to the image: 1.098 mm, f/5.49\n" in str(sheet)
    assert "spot at 550 nm" in str(sheet)
    told = sheet.to_dict()["traced"]
    assert told["surfaces"][1]["curvature"] == pytest.approx(1 / _FRONT)
    assert told["surfaces"][2]["semi_diameter"] is None
    assert len(told["distortion"]) == 6
    assert told["object_distance"] is None  # infinite
    plain = joint.build_system(
        joint.SystemConfig(front_end=joint.LensConfig(), sensor=none, codec=none, classifier=none),
        image_size=16, channels=3, classes=2,
    )  # fmt: skip
    assert joint.data_sheet(plain, image_size=16).traced is None
