import numpy as np
import pytest
from scipy import stats
from sklearn.cluster import AgglomerativeClustering

from joint.study.findings.element import Element
from joint.study.findings.stability import Learned, _clusters, _p, by_reason, stability

SIZE = 9


def _element(parts):
    return Element("kernel", parts, ("",) * (parts.shape[1] * parts.shape[2]))


def _smooth(generator, size=SIZE):
    noise = generator.normal(size=(1, 1, 1, size, size))
    low = np.exp(-18 * (np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size)[None, :] ** 2))
    return np.fft.ifft2(np.fft.fft2(noise) * low).real


def _point():
    parts = np.zeros((1, 1, 1, SIZE, SIZE))
    parts[..., SIZE // 2, SIZE // 2] = 1
    return parts


def _runs(change, *, design=0, start=None, seeds=6):
    """Elements of so many seeds, from one start or from one each."""
    found = []
    for seed in range(seeds):
        begun = _point() if start is None else start(seed)
        found.append(Learned(design, seed, _element(begun + change(seed)), _element(begun)))
    return found


def _judge(elements, **options):
    levels = {each.design: {"camera": each.design} for each in elements}
    return stability(elements, levels=levels, **options)


def test_seeds_that_learn_one_thing_agree():
    common = 0.2 * _smooth(np.random.default_rng(0))
    found = _judge(_runs(lambda seed: common * (1 + 0.1 * seed)))
    (design,) = found.designs
    assert design.agreement > 0.9
    assert design.p < 1e-3
    assert design.verdict() == "the same element"
    assert design.of_starts == pytest.approx(1)
    assert design.chance < design.similarity
    assert set(found.clusters) == {1}


def test_a_shared_start_is_no_agreement():
    generator = np.random.default_rng(1)
    own = [0.05 * _smooth(generator) for _ in range(6)]
    (design,) = _judge(_runs(own.__getitem__)).designs
    assert design.similarity > 0.9  # they look the same, as all began from one point
    assert abs(design.agreement) < 0.3
    assert design.p > 0.01
    assert design.verdict() == "no more than start and chance"


@pytest.mark.parametrize("shared", [True, False])
def test_chance_is_not_taken_for_agreement(shared):
    """p of seeds that learn each its own thing is even, or nearly so."""
    generator = np.random.default_rng(2)
    values = []
    for _ in range(20):
        own = [0.3 * _smooth(generator) for _ in range(4)]
        starts = [_smooth(generator) for _ in range(4)]
        elements = _runs(own.__getitem__, start=None if shared else starts.__getitem__, seeds=4)
        values.append(_judge(elements, surrogates=15).designs[0].p)
    assert np.mean(np.array(values) < 0.05) <= 0.2
    assert 0.25 < np.mean(values) < 0.75


def _windowed(generator, width, size=15):
    place = np.arange(size) - size // 2
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * width**2))
    return window * generator.normal(size=(1, 1, 1, size, size))


@pytest.mark.parametrize("width", [1.5, 2.5])
def test_a_shared_window_is_no_agreement(width):
    """White noise under one window has nothing in common but where it ends."""
    generator = np.random.default_rng(11)
    nothing = np.zeros((1, 1, 1, 15, 15))
    found = []
    for _ in range(16):
        own = [_windowed(generator, width) for _ in range(4)]
        elements = _runs(own.__getitem__, start=lambda _: nothing, seeds=4)
        found.append(_judge(elements, surrogates=15).designs[0])
    assert np.mean([each.p < 0.05 for each in found]) <= 0.2
    assert abs(np.mean([each.agreement for each in found])) < 0.06


def test_what_is_alike_under_a_window_is_found():
    generator = np.random.default_rng(12)
    common = _windowed(generator, 2.5)
    own = [common + 0.5 * _windowed(generator, 2.5) for _ in range(4)]
    elements = _runs(own.__getitem__, start=lambda _: np.zeros_like(common), seeds=4)
    (design,) = _judge(elements).designs
    assert design.p < 1e-3
    assert 0.6 < design.agreement < 0.95  # 0.8 of the power is common


def test_a_larger_gain_of_the_start_is_not_learned_together():
    generator = np.random.default_rng(6)
    own = [0.3 * _point() + 0.02 * _smooth(generator) for _ in range(6)]
    (design,) = _judge(_runs(own.__getitem__)).designs
    assert design.learned < 0.2
    assert abs(design.agreement) < 0.3
    assert design.p > 0.01


def test_one_element_is_found_from_starts_of_their_own():
    generator = np.random.default_rng(3)
    goal = _smooth(generator)
    starts = [0.1 * _smooth(generator) for _ in range(5)]
    moved = [np.roll(goal, (seed % 2, -(seed % 3)), (-2, -1)) * (-1) ** seed for seed in range(5)]
    elements = _runs(moved.__getitem__, start=starts.__getitem__, seeds=5)
    (design,) = _judge(elements).designs
    assert design.agreement > 0.5
    assert design.p < 1e-3
    assert design.of_starts < 0.9


def test_designs_are_compared_and_put_together():
    generator = np.random.default_rng(4)
    one, other = (0.3 * _smooth(generator) for _ in range(2))
    wobble = [1 + 0.02 * k for k in range(6)]
    elements = [
        *_runs(lambda s: one * wobble[s], design=0, seeds=3),
        *_runs(lambda s: other * wobble[s], design=1, seeds=4),
        *_runs(lambda s: one * wobble[s], design=2, seeds=3),
    ]
    found = _judge(elements)
    assert found.clusters == (1, 1, 1, 2, 2, 2, 2, 1, 1, 1)
    assert found.similarity.shape == found.agreement.shape == (10, 10)
    assert found.similarity == pytest.approx(found.similarity.T)
    assert found.agreement[0, 7] > 0.8 > 0.5 > found.agreement[0, 3]
    assert [d.adjusted_p >= d.p for d in found.designs] == [True] * 3
    assert "10 elements are 2 different ones" in str(found)


def test_elements_of_other_kinds_are_not_compared():
    first = _runs(lambda s: 0.1 * _smooth(np.random.default_rng(s)), seeds=2)
    second = [
        Learned(1, each.seed, Element("psf", each.element.parts, ("",)), each.start)
        for each in first
    ]
    second = [each._replace(start=Element("psf", each.start.parts, ("",))) for each in second]
    found = _judge([*first, *second])
    assert np.isnan(found.similarity[0, 2])
    assert set(found.clusters[:2]).isdisjoint(found.clusters[2:])
    with pytest.raises(ValueError, match="9 surrogates are too few for their spread"):
        _judge(first, surrogates=9)
    with pytest.raises(ValueError, match="seed must be a whole number, not True"):
        _judge(first, seed=True)


def test_nothing_is_an_empty_atlas():
    found = _judge([])
    assert (found.designs, found.clusters, found.elements) == ((), (), ())
    assert str(found)


def test_reasons_that_are_alike_are_told_once():
    assert by_reason([(4, "a"), (2, "b"), (7, "a")]) == {"a": [4, 7], "b": [2]}


def test_an_element_belongs_to_a_design_that_is_given():
    runs = _runs(lambda s: 0.1 * _smooth(np.random.default_rng(s)), seeds=2)
    with pytest.raises(ValueError, match=r"levels of design 0 are not given: \[7\]"):
        stability(runs, levels={7: {}})


def test_nothing_learned_is_no_agreement():
    # All is as it began, and what differs from chance is rounding.
    generator = np.random.default_rng(0)
    for _ in range(8):
        starts = [generator.normal(size=(1, 1, 1, SIZE, SIZE)) for _ in range(5)]
        (design,) = _judge(_runs(lambda _: 0.0, start=starts.__getitem__, seeds=5)).designs
        assert design.p == 1
        assert design.verdict() == "no more than start and chance"


def test_p_is_that_of_a_t_test_of_one_against_the_draws():
    generator = np.random.default_rng(0)
    for _ in range(20):
        drawn, seen = generator.normal(size=20), generator.normal() + 1
        expected = stats.ttest_ind([seen], drawn, alternative="greater").pvalue
        assert _p(seen, drawn) == pytest.approx(expected, rel=1e-9)
    assert [_p(seen, np.ones(20)) for seen in (1.0, 1.0 + 1e-15, 1.1)] == [1, 1, 0]


def test_clusters_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    for count in (2, 3, 5, 8, 8, 8, 8):
        agreement = generator.uniform(-1, 1, (count, count))
        agreement = (agreement + agreement.T) / 2
        np.fill_diagonal(agreement, 1)
        tree = AgglomerativeClustering(
            None, metric="precomputed", linkage="average", distance_threshold=0.5
        )
        theirs, ours = tree.fit_predict(1 - agreement), _clusters(agreement)
        assert len({*zip(ours, theirs, strict=True)}) == len({*ours}) == len({*theirs})


def test_elements_that_cannot_be_judged_are_refused():
    runs = _runs(lambda s: 0.1 * _smooth(np.random.default_rng(s)), seeds=3)
    broken = [*runs[:2], runs[2]._replace(element=_element(runs[2].element.parts * np.nan))]
    with pytest.raises(ValueError, match=r"NaN or infinite .* leave out that of design 0, seed 2$"):
        _judge(broken)
    other = Element("psf", runs[2].element.parts, ("",))
    with pytest.raises(
        ValueError, match=r"elements of design 0 are of different kinds, .*: give each kind"
    ):
        _judge([*runs[:2], runs[2]._replace(element=other, start=other)])
    with pytest.raises(ValueError, match=r"orientation must be one of .*, not 'upright'"):
        _judge(runs, orientation="upright")
