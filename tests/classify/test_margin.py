import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from classify.imbalance import task_loss
from classify.margin import CosineHead, cosine_logits, ldam_margins

HAM = torch.tensor([327, 514, 1099, 115, 1113, 6705, 142])


def test_margins_of_ham10000():
    expected = torch.tensor([0.385, 0.344, 0.284, 0.5, 0.283, 0.181, 0.474])
    torch.testing.assert_close(ldam_margins(HAM), expected, rtol=0, atol=6e-4)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=9).filter(any), st.floats(0, 20))
def test_margins_follow_the_inverse_fourth_root_and_the_rarest_class_has_the_largest(counts, most):
    counts = torch.tensor(counts)
    margins = ldam_margins(counts, largest=most)
    present = counts > 0
    assert (margins[~present] == 0).all()
    rarest = counts[present].min()
    expected = most * (rarest / counts[present]).double() ** 0.25
    torch.testing.assert_close(margins[present], expected.float())


def test_loss_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    head = CosineHead(16, 7, scale=30.0)
    features = torch.randn(12, 16, generator=generator)
    labels = torch.randint(7, (12,), generator=generator)
    margins = ldam_margins(HAM)
    cosine = torch.nn.functional.cosine_similarity(
        features[:, None], head.weight.detach()[None], dim=2
    )
    # -log(e^{s (z_y - D_y)} / (e^{s (z_y - D_y)} + sum_{j != y} e^{s z_j}))
    costs = []
    for row, label in zip(cosine.double(), labels.tolist(), strict=True):
        true = torch.exp(30 * (row[label] - margins[label].double()))
        rest = torch.exp(30 * row).sum() - torch.exp(30 * row[label])
        costs.append(-torch.log(true / (true + rest)))
    loss = task_loss(head(features), labels, margins=30 * margins)
    torch.testing.assert_close(loss.double(), torch.stack(costs).mean(), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        task_loss(head(features), labels, margins=0 * margins),
        functional.cross_entropy(head(features), labels),
    )


def test_a_mixed_label_takes_its_share_of_the_margin():
    logits = torch.tensor([[1.0, 2.0]])
    loss = task_loss(logits, torch.tensor([[0.25, 0.75]]), margins=torch.tensor([4.0, 2.0]))
    moved = torch.tensor([[1.0 - 1.0, 2.0 - 1.5]])
    torch.testing.assert_close(loss, functional.cross_entropy(moved, torch.tensor([[0.25, 0.75]])))


def test_the_head_compares_directions():
    head = CosineHead(8, 5, scale=20.0)
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.directions.norm(dim=1), torch.ones(5))
    logits = head(features)
    torch.testing.assert_close(
        logits, 20 * features @ head.directions.T / features.norm(dim=1)[:, None]
    )
    assert logits.abs().max() <= 20 * (1 + 1e-6)  # a cosine may round above 1
    with torch.no_grad():
        head.weight *= torch.tensor([0.1, 3.0, 5.0, 1.0, 20.0])[:, None]
    torch.testing.assert_close(head(7 * features), logits)
    torch.testing.assert_close(head.directions.norm(dim=1), torch.ones(5))
    assert "8, 5, scale=20" in repr(head)


def test_it_learns_and_keeps_its_digits_under_autocast():
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    head = CosineHead(8, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features)
        halved = head(features.bfloat16())
    assert logits.dtype == halved.dtype == torch.float32
    torch.testing.assert_close(logits, head(features))
    assert torch.autograd.gradcheck(
        lambda x, w: cosine_logits(x, w, scale=3.0),
        (features.double().requires_grad_(), head.weight.detach().double().requires_grad_()),
    )


def test_features_without_a_direction_have_a_finite_gradient():
    features = torch.zeros(2, 8, requires_grad=True)
    logits = CosineHead(8, 3)(features)
    assert (logits == 0).all()
    task_loss(logits, torch.tensor([0, 1])).backward()
    assert features.grad.abs().max() < 1e6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ldam_margins(torch.zeros(3)), "at least one of them positive"),
        (lambda: ldam_margins(torch.tensor([0.75, 0.25])), "counts must be numbers of pictures"),
        (
            lambda: ldam_margins(HAM, largest=-1),
            "largest margin must be 0 or more, and finite, not -1",
        ),
        (lambda: ldam_margins(HAM, largest=float("inf")), "and finite, not inf"),
        (lambda: CosineHead(0, 3), "at least 1 feature, 2 classes and a positive scale, not 0, 3"),
        (lambda: CosineHead(4, 1), "not 4, 1 and 30"),
        (lambda: CosineHead(4, 3, scale=0), "not 4, 3 and 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
