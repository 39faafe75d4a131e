import importlib.util
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "light_budget.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("light_budget", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_measured_noise_is_that_of_the_formula(example, tmp_path):
    budget = example.main(example.Options(image_size=48, repeats=40, output=tmp_path))
    for values in budget.values():
        assert values["measured noise, e-"] == pytest.approx(values["noise, e-"], rel=0.05)
    open_, tenth = budget["open"], budget["1/10 diameter"]
    # A tenth of the diameter is a hundredth of the light.
    assert tenth["throughput"] == pytest.approx(open_["throughput"] / 100, rel=0.15)
    assert tenth["electrons"] == pytest.approx(open_["electrons"] / 100, rel=0.15)
    snr = "SNR, dB (20 log10)"
    assert tenth[snr] < budget["1/2 diameter"][snr] < open_[snr]
    with Image.open(tmp_path / "light_budget.png") as figure:
        assert figure.size[0] > 1000
