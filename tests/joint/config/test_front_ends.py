import pytest
import torch
from pydantic import ValidationError

import joint
import optics
from joint.config.front_ends import BASELINES, FRONT_END_KINDS
from joint.study import Axis, Study


def test_every_kind_is_built_by_its_name():
    for kind, config in FRONT_END_KINDS.items():
        assert config().kind == kind
        if kind == "custom":  # which awaits a class, see test_custom.py
            continue
        built = joint.build_front_end(config(), (32, 32), 3)
        assert (built is None) == (kind == "none")
        options = {"trained": True} if kind == "psf" else {}  # a system asks for its file
        again = joint.SystemConfig(front_end={"kind": kind, **options}).front_end
        assert again == config(**options)


def test_a_fourier_filter_may_be_lit_by_a_disc_and_be_read_by_whole_pixels():
    config = joint.FourierConfig(illumination="partial", source_radius=0.05, oversample=2, margin=0)
    element = joint.build_front_end(config, (16, 16), 3)
    assert (element.illumination, element.source_radius, element.oversample) == ("partial", 0.05, 2)
    with pytest.raises(ValidationError, match="source_radius is for illumination='partial'"):
        joint.FourierConfig(source_radius=0.05)
    widest = {"illumination": "partial", "source_radius": 0.5, "source_inner_radius": 0.5}
    joint.build_front_end(joint.FourierConfig(**widest), (16, 16), 3)
    with pytest.raises(ValidationError, match=r"source_radius\n.*less than or equal to 0\.5"):
        joint.FourierConfig(illumination="partial", source_radius=0.6)


def test_a_fourier_filter_may_be_lit_by_a_ring():
    given = {"illumination": "partial", "source_radius": 0.12, "source_inner_radius": 0.1}
    config = joint.FourierConfig(start="phase_contrast", margin=0, **given)
    built = joint.build_front_end(config, (32, 32), 3)
    wanted = optics.FourierFilter(32, "phase_contrast", margin=0, **given)
    assert repr(built) == repr(wanted)
    assert torch.equal(built.tilts, wanted.tilts)
    assert torch.equal(built.raw, wanted.raw)
    with pytest.raises(ValidationError, match="source_inner_radius is for illumination='par"):
        joint.FourierConfig(source_inner_radius=0.05)
    with pytest.raises(ValidationError, match=r"at most source_radius=0\.1 cycles/pixel, not 0\.2"):
        joint.FourierConfig(illumination="partial", source_inner_radius=0.2)


def test_a_stop_that_leaves_a_lamp_uncovered_is_warned_of():
    config = joint.FourierConfig(start="dark_field", illumination="partial", stop_radius=0.05)
    with pytest.warns(UserWarning, match=r"stop_radius=0\.05 .* does not cover the lamp"):
        joint.build_front_end(config, (16, 16), 3)


def test_a_fourier_filter_may_see_phase_objects():
    config = joint.FourierConfig(start="phase_contrast", phase_depth=0.4)
    assert joint.build_front_end(config, (16, 16), 1).phase_depth == 0.4
    with pytest.raises(ValidationError, match="incoherent light does not show phases"):
        joint.FourierConfig(illumination="incoherent", phase_depth=0.4)


def test_a_stop_is_as_large_as_asked_for():
    config = joint.FourierConfig(start="dark_field", stop_radius=0.2)
    built = joint.build_front_end(config, (16, 16), 3)
    wanted = optics.FourierFilter(16, "dark_field", stop_radius=0.2)
    assert torch.equal(built.transmission, wanted.transmission)
    assert built.throughput() < 0.9
    said = "stop_radius is for start='dark_field' or 'phase_contrast', not 'high_pass'"
    with pytest.raises(ValidationError, match=said):
        joint.FourierConfig(start="high_pass", stop_radius=0.2)
    with pytest.raises(ValidationError, match=r"a stop of 3 .* Fourier plane.*3 samples of 32 are"):
        joint.FourierConfig(start="dark_field", stop_radius=3.0)


# ----------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_written_as_its_name(name):
    written = joint.SystemConfig(front_end=name)
    assert written.front_end == BASELINES[name]
    # A configuration file holds what the name stood for when it was written.
    again = joint.SystemConfig.model_validate_json(written.model_dump_json())
    assert again == written
    assert "name" not in written.model_dump()["front_end"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = joint.build_front_end(written.front_end, (32, 32), 3)
    assert (built is None) == (name == "no_optics")
    if built is not None:
        with torch.no_grad():
            assert 0.01 < float(built.throughput()) <= 1 + 1e-6
            assert torch.isfinite(built(torch.rand(1, 3, 32, 32))).all()


def test_baselines_do_what_their_names_say():
    sharp, blurred, cubic, random = (
        joint.build_front_end(BASELINES[name], (32, 32), 3).psf().detach()
        for name in ("ideal_lens", "defocus", "cubic", "random_mask")
    )
    assert all(float(psf.max()) < 0.6 * float(sharp.max()) for psf in (blurred, cubic, random))
    middle = cubic[1]
    # A cubic phase throws light to one side along each axis, alike along both.
    assert float((middle - middle.flip(0, 1)).abs().sum()) > 0.3 * float(middle.sum())
    torch.testing.assert_close(middle, middle.mT, rtol=0, atol=1e-3)
    uniform = torch.full((1, 3, 32, 32), 0.5)
    for name in ("laplacian", "sobel"):
        kernel = joint.build_front_end(BASELINES[name], (32, 32), 3)
        assert float(kernel.response.detach().sum((-2, -1)).abs().max()) < 1e-3
    for name in ("spiral", "dark_field"):
        seen = joint.build_front_end(BASELINES[name], (32, 32), 3)(uniform).detach()
        assert float(seen.mean()) < 0.02  # an even field is dark


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ValidationError, match="no front end is called 'spiro'; choose from no_opt"):
        joint.SystemConfig(front_end="spiro")


def test_a_study_compares_all_baselines_and_what_may_learn_in_two_axes():
    stages = {
        "joint": ["front_end", "sensor", "codec", "classifier"],
        "frozen optics": ["sensor", "codec", "classifier"],
        "optics alone": ["front_end"],
    }
    study = Study(
        axes={
            "camera": Axis(path="system.front_end", values=tuple(BASELINES)),
            "learns": Axis(
                path="training.stages", values=tuple(stages.values()), labels=tuple(stages)
            ),
        },
        constraints=("camera != no_optics or learns == joint",),
    )
    designs = study.designs()
    assert len(designs) == 3 * len(BASELINES) - 2
    for design in designs:
        config = study.config(design, 3)
        assert config.system.front_end == BASELINES[design["camera"]]
        assert config.training.stages == joint.Training(stages=stages[design["learns"]]).stages


@pytest.mark.parametrize("kind", ["kernel", "fourier"])
def test_colours_of_a_kind_without_are_refused_with_a_remedy(kind):
    with pytest.raises(
        ValidationError, match=r"colour is a setting of a lens or a psf, .* choose one"
    ):
        joint.SystemConfig(front_end={"kind": kind, "colour": {"filters": "learned"}})
