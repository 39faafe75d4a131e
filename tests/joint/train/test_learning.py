"""What learns is chosen before the first step, whatever a listener does."""

import pytest
import torch
from small import _fit, _same, _settings, _state, full_system
from torch import nn

import joint


def _frozen_at_first():
    system = full_system()
    system.classifier.net[0].requires_grad_(False)
    return system


def test_what_a_listener_unfreezes_is_refused_before_an_epoch(lesions, others):
    system = _frozen_at_first()
    heard = []

    def unfreeze(record):
        heard.append(record.epoch)
        system.classifier.net[0].requires_grad_(True)

    said = (
        r"classifier\.net\.0\.weight was frozen, or not there, at the first step, when what learns "
        r"was chosen, and is to learn in epoch 2: leave it as it was \(requires_grad\); to train "
        r"it, begin another run with the weights of this one \(joint\.load_fitted\)"
    )
    with pytest.raises(ValueError, match=said):
        _fit(system, lesions, others, on_epoch=unfreeze)
    assert heard == [0]


def test_a_weight_that_a_listener_replaces_is_refused(lesions, others):
    system = full_system()

    def replace(record):
        system.classifier.net[-1] = nn.Linear(16, 3)

    with pytest.raises(ValueError, match=r"classifier\.net\.8\.weight was frozen, or not there"):
        _fit(system, lesions, others, on_epoch=replace)


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_weight_that_a_listener_replaces_unseen_is_refused_all_the_same(
    lesions, others, epoch, restore_best
):
    """By one that does not learn, or after the last epoch."""
    system = full_system()

    def replace(record):
        if record.epoch == epoch:
            system.classifier.net[-1] = nn.Linear(16, 3).requires_grad_(epoch == 1)

    said = (
        r"a parameter \[3, 16\] that learned is no longer in the system: a listener must not "
        r"replace modules or parameters; change weights in place \(load_state_dict, copy_\)"
    )
    config = _settings(epochs=2, batch_size=24, restore_best=restore_best)
    with pytest.raises(ValueError, match=said):
        _fit(system, lesions, others, config=config, on_epoch=replace)


def test_what_rests_in_the_plan_may_say_that_it_would_learn(lesions, others):
    system = full_system()
    system.codec.requires_grad_(False)
    config = _settings(epochs=3, batch_size=24, plan="alternating", turn_epochs=2)
    heard = []

    def switch(record):
        heard.append(record.epoch)
        system.codec.requires_grad_(True)

    with pytest.raises(ValueError, match=r"^codec\..* and is to learn in epoch 3: leave it"):
        _fit(system, lesions, others, config=config, on_epoch=switch)
    assert heard == [0, 1]


def test_what_a_listener_freezes_rests_and_may_learn_again(lesions, others, tmp_path):
    config = _settings(epochs=4, batch_size=24, restore_best=False)

    def trained(**options):
        """The weight after each epoch; it is frozen for the second one."""
        system, weights = full_system(), []

        def switch(record):
            weights.append(system.classifier.net[0].weight.detach().clone())
            system.classifier.net[0].requires_grad_(record.epoch != 0)

        history = _fit(system, lesions, others, config=config, on_epoch=switch, **options)
        return history, weights, _state(system)

    _, weights, whole = trained()
    assert torch.equal(weights[1], weights[0])
    assert not torch.equal(weights[2], weights[1])
    asked = iter([False] * 2 + [True])  # in the epoch in which it rests
    assert trained(directory=tmp_path, stop=lambda: next(asked))[0].interrupted
    again, _, resumed = trained(directory=tmp_path, resume=True)
    assert [record.epoch for record in again.epochs] == [0, 1, 2, 3]
    assert _same(resumed, whole)


def test_a_stage_that_is_not_to_learn_may_say_that_it_would(lesions, others):
    system = full_system()
    config = _settings(epochs=2, stages=("classifier",))
    history = _fit(
        system, lesions, others, config=config,
        on_epoch=lambda _: system.codec.requires_grad_(True),
    )  # fmt: skip
    assert {*history.epochs[1].gradient_norms} == {"classifier"}
    assert isinstance(history, joint.History)
