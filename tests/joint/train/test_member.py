import pytest
import torch
from small import Head, _settings, full_system
from torch import nn

import joint
from joint.described import described
from joint.train.member import member_of, prepare

GIVEN = {
    "objective": None, "config": None, "teacher": None, "directory": None, "stop": None,
    "on_epoch": None,
}  # fmt: skip


class Counting(nn.Module):
    """A pass changes what it is described by."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = Head(), 0

    def forward(self, picture):
        self.calls += 1
        return self.net(picture)


def test_what_is_not_given_is_the_default(lesions, others):
    one = member_of(full_system(), lesions, others, **GIVEN)
    assert one.objective == joint.Objective()
    assert one.config == joint.Training()
    assert one.listeners == ()
    heard = []
    two = member_of(full_system(), lesions, others, **GIVEN | {"on_epoch": heard.append})
    assert two.listeners == (heard.append,)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"config": {}}, TypeError, "config must be a joint.Training, not dict"),
        ({"objective": 0}, TypeError, "objective must be a joint.Objective, not int"),
        ({"teacher": "run"}, TypeError, "teacher must be a joint.ImagingSystem, not str"),
        ({"stop": True}, TypeError, "stop must be a function"),
        ({"on_epoch": 3}, ValueError, "on_epoch=3 cannot be called"),
    ],
)
def test_what_is_of_another_kind_is_refused(lesions, others, given, kind, message):
    with pytest.raises(kind, match=message):
        member_of(full_system(), lesions, others, **GIVEN | given)


def test_it_remembers_what_the_system_was_before_any_pass(lesions, others):
    system = joint.ImagingSystem(classifier=Counting())
    one = member_of(system, lesions, others, **GIVEN)
    prepare([one], lesions, others, torch.device("cpu"))
    assert system.classifier.calls > 0
    assert one.made["classifier"]["settings"] == {"calls": 0}
    assert described(system)["classifier"]["settings"] != {"calls": 0}


def test_each_of_them_is_checked(lesions, others):
    wrong = {"config": _settings(monitor="psnr"), "objective": joint.Objective(task=1)}
    members = [
        member_of(full_system(), lesions, others, **GIVEN),
        member_of(joint.ImagingSystem(classifier=Head()), lesions, others, **GIVEN | wrong),
    ]
    prepare(members[:1], lesions, others, torch.device("cpu"))
    with pytest.raises(ValueError, match="monitor='psnr' needs a codec"):
        prepare(members, lesions, others, torch.device("cpu"))


def test_systems_and_teachers_go_to_their_device(lesions, others, monkeypatch):
    went = []
    monkeypatch.setattr(nn.Module, "to", lambda module, device: went.append((module, device)))
    monkeypatch.setattr(joint.train.member, "check_run", lambda *_, **__: None)
    systems, teacher = [full_system(), full_system()], full_system()
    members = [
        member_of(system, lesions, others, **GIVEN | {"teacher": given})
        for system, given in zip(systems, (None, teacher), strict=True)
    ]
    prepare(members, lesions, others, torch.device("meta"))
    assert [id(module) for module, _ in went] == [id(m) for m in (*systems, teacher)]
    assert {device for _, device in went} == {torch.device("meta")}
