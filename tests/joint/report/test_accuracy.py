import numpy as np
import pytest

import joint
import optics
from joint.report.accuracy import small_sweeps


@pytest.mark.parametrize(
    ("light", "levels"),
    [
        ({"photons": 320.0}, (20.0, 80.0, 320.0)),
        ({"photons": 300.0, "photon_range": (30.0, 3000.0)}, (30.0, 2970 / np.log(100), 3000.0)),
    ],
)
def test_light_is_swept_around_that_of_the_camera(light, levels):
    sensor = optics.Sensor(**light)
    system = joint.ImagingSystem(sensor=sensor)
    found = small_sweeps(system, 3)["photons"]
    assert found == pytest.approx(levels)
    assert sensor.mean_photons in found
