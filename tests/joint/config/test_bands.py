import pytest
from pydantic import ValidationError

import joint
from joint.config.bands import check_bands
from optics.quantity import check_wavelength


@pytest.mark.parametrize("kind", [joint.LensConfig, joint.PSFConfig])
@pytest.mark.parametrize("wavelength", [550.0, 9e-10, 1.1e-2, 0.0, -550e-9])
def test_what_optics_refuses_no_configuration_takes(kind, wavelength):
    with pytest.raises(ValueError, match="wavelength") as refused:
        check_wavelength("wavelengths", wavelength)
    with pytest.raises(ValidationError) as found:
        kind(wavelengths=(500e-9, wavelength))
    (error,) = found.value.errors()
    assert error["loc"] == ("wavelengths",)
    assert error["msg"] == f"Value error, {refused.value}"


def test_a_lens_at_no_wavelength_is_refused_before_it_is_built():
    with pytest.raises(ValidationError, match="wavelengths must hold at least one, in metres, suc"):
        joint.LensConfig(wavelengths=())


@pytest.mark.parametrize("kind", [joint.LensConfig, joint.PSFConfig])
def test_wavelengths_are_one_a_channel_of_the_scenes(kind):
    camera = kind(wavelengths=(500e-9, 600e-9))
    assert joint.build_front_end(camera, (32, 32), 2).in_channels == 2
    with pytest.raises(joint.ConfigError, match="names 2 bands, but the scenes have 3 channels: g"):
        joint.build_front_end(camera, (32, 32), 3)
    check_bands(None, 3)
