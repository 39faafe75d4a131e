import torch

import joint
import optics
from joint.judge.light_cut import light_cut, what_is_cut


def _build(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.build_front_end(joint.LensConfig(**options), (32, 32), 3)


def test_a_front_end_with_pupils_of_its_own_is_looked_at_by_the_one_that_images():
    lens = _build(psf_size=9, defocus=3.0)
    alone = what_is_cut(lens)
    assert "falls outside of the window of 9 x 9 pixels" in alone

    class Twice(optics.IncoherentImaging):
        def __init__(self, pupil, other):
            super().__init__(pupil)
            self.other = other

    assert what_is_cut(Twice(lens.pupil, _build().pupil)) == alone
    assert what_is_cut(_build(psf_size=63, pupil_size=160)) is None


def test_what_is_cut_is_that_of_the_distance_asked_for():
    lens = _build(focus=0.3)
    assert what_is_cut(lens) is what_is_cut(lens, distance=0.3) is None
    lost = 1 - float(lens.psf(distance=0.12).sum((-2, -1)).min())
    assert lost > 0.1
    near = what_is_cut(lens, distance=0.12)
    assert near.startswith("At 0.12 m this PSF is not that of the manufactured element. ")
    assert f" {100 * lost:.0f} % of the light falls outside of the window of 31 x 31" in near


def test_what_a_free_phase_scatters_is_not_told_of_each_distance():
    lens = _build(element="phase", strength=0.1, psf_size=63, pupil_size=128)
    assert ". 4 % of the light falls outside of the central half" in what_is_cut(lens)
    assert what_is_cut(lens, distance=10.0) is None


def test_what_a_distance_adds_to_what_an_element_scatters_is_told_with_both():
    lens = _build(element="phase", strength=0.5, psf_size=63, pupil_size=128, focus=0.3)
    focus, near = light_cut(lens), light_cut(lens, distance=0.08)
    assert near.wrapped > focus.wrapped + 0.01 > 0.05
    assert (
        f"{100 * near.wrapped:.0f} % of it falls outside of the central half of the PSF's period "
        f"({100 * focus.wrapped:.0f} % in focus), where a pupil of 128 x 128 samples"
    ) in what_is_cut(lens, distance=0.08)
    assert light_cut(None) == light_cut(optics.LearnedKernel("identity", 3)) == (0, 0)
