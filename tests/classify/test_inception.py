import torch

import classify


def test_inception_blocks_do_not_darken_their_rim():
    """An average over zeros beyond the border would: white must stay white."""
    with torch.random.fork_rng():
        net = classify.backbone("inception_s").net
    (pool,) = {type(m): m for m in net.modules() if isinstance(m, torch.nn.AvgPool2d)}.values()
    assert torch.equal(pool(torch.ones(1, 1, 5, 6)), torch.ones(1, 1, 5, 6))


def test_inception_s_learns_which_way_stripes_run():
    generator = torch.Generator().manual_seed(0)
    phase = 6.3 * torch.rand(32, 1, 1, 1, generator=generator)
    stripes = 0.5 + 0.4 * torch.sin(torch.arange(24.0) + phase).expand(-1, 3, 24, -1)
    labels = torch.arange(32) % 2
    stripes = torch.where(labels[:, None, None, None] == 1, stripes, stripes.transpose(-1, -2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = classify.backbone("inception_s", 2)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(stripes[:24]), labels[:24])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():  # of batch statistics: twelve steps are too few for running ones
        assert torch.equal(model(stripes).argmax(1)[24:], labels[24:])
