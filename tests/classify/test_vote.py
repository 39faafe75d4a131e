"""Several classifiers as one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from sklearn.ensemble import VotingClassifier
from torch import nn

import classify

_SCORES = arrays(np.float64, (3, 4, 5), elements=st.floats(-1e3, 1e3))


class _Says(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = torch.as_tensor(scores)

    def forward(self, picture):
        del picture
        return self.scores


_PICTURE = torch.zeros(4, 3, 8, 8)


@given(scores=_SCORES)
@settings(max_examples=50, deadline=None)
def test_probabilities_are_the_mean_of_those_of_the_members(scores):
    said = classify.Vote(*map(_Says, scores))(_PICTURE)
    wanted = np.exp(log_softmax(scores, 2)).mean(0)
    np.testing.assert_allclose(said.exp().numpy(), wanted, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(said.exp().sum(1).numpy(), 1)


def test_it_is_the_soft_vote_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (2, 4, 5))

    class Fixed:
        def __init__(self, own):
            self.own = own

        def predict_proba(self, rows):
            return np.exp(log_softmax(self.own, 1))[rows.ravel()]

    theirs = VotingClassifier([("a", None), ("b", None)], voting="soft")
    theirs.estimators_ = [Fixed(own) for own in scores]
    theirs.le_ = theirs.classes_ = None
    wanted = theirs._collect_probas(np.arange(4)[:, None]).mean(0)
    found = classify.Vote(*map(_Says, scores))(_PICTURE).exp().numpy()
    np.testing.assert_allclose(found, wanted)


def test_alike_members_change_nothing_but_an_offset():
    scores = torch.randn(4, 5, dtype=torch.float64)
    said = classify.Vote(_Says(scores), _Says(scores + 7))(_PICTURE)
    torch.testing.assert_close(said, scores.log_softmax(1))


def test_improbable_classes_keep_their_digits_in_half_precision():
    scores = torch.tensor([[0.0, -30.0], [0.0, -31.0]] * 2, dtype=torch.bfloat16)
    said = classify.Vote(_Says(scores), _Says(scores))(_PICTURE)
    assert said.dtype == torch.float32
    torch.testing.assert_close(said[:2, 1], torch.tensor([-30.0, -31.0]))


def test_a_class_that_no_member_thinks_possible_has_no_slope():
    scores = torch.tensor([[0.0, 1.0, -torch.inf]] * 4, dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[0.0, -torch.inf, -torch.inf]] * 4, dtype=torch.float64)
    said = classify.Vote(_Says(scores), _Says(other))(_PICTURE)
    p = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    wanted = torch.stack([(2 - p) / 2, p / 2, 0 * p]).log().expand(4, 3)
    torch.testing.assert_close(said, wanted)
    classify.task_loss(said, torch.tensor([0, 1, 0, 1])).backward()
    # Of -log(1 - p / 2) and -log(p / 2), by the score of the second class.
    slopes = torch.stack([p * (1 - p) / (2 - p), p - 1]).repeat(2) / 4
    torch.testing.assert_close(scores.grad[:, 1], slopes)
    assert (scores.grad[:, 2] == 0).all()


def test_it_is_judged_and_trained_as_a_classifier():
    torch.manual_seed(0)
    nets = [classify.backbone("resnet_s", 3, image_size=(16, 16)) for _ in range(2)]
    vote = classify.Vote(*nets)
    assert vote.in_channels == 3
    assert vote.members[0] is nets[0]
    pictures = torch.rand(4, 3, 16, 16)
    nn.functional.cross_entropy(vote(pictures), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vote.parameters())
    other = classify.Vote(*[classify.backbone("resnet_s", 3, image_size=(16, 16)) for _ in nets])
    other.load_state_dict(vote.state_dict())
    torch.testing.assert_close(other.eval()(pictures), vote.eval()(pictures))


def test_what_cannot_vote_is_refused():
    net = _Says(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="two classifiers or more, not 1"):
        classify.Vote(net)
    with pytest.raises(TypeError, match="not list: give the classifiers one by one"):
        classify.Vote([net, net])
    with pytest.raises(ValueError, match=r"scores of shapes \(4, 3\), \(4, 5\)"):
        classify.Vote(net, _Says(torch.zeros(4, 3)))(_PICTURE)
    three, four = nn.Conv2d(3, 2, 1), nn.Conv2d(4, 2, 1)
    with pytest.raises(ValueError, match="the classifiers take 3, 4 channels"):
        classify.Vote(three, four)
