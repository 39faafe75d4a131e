import json
import random
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from small import OBJECTIVE, Head, _fit, _same, _settings, _state, full_system
from torch import nn

import classify
import compress
import joint
import joint.train.loop
import optics


@pytest.fixture(scope="module")
def whole(lesions, others):
    """What a run leaves that nothing interrupts: its state and its history.

    Each is trained once, for all the tests that interrupt it elsewhere.
    """

    @cache
    def trained(made=full_system, objective=OBJECTIVE, **changes):
        system = made()
        history = _fit(system, lesions, others, objective=objective, config=_settings(**changes))
        return _state(system), history

    return trained


def test_training_learns(lesions, others):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = joint.ImagingSystem(classifier=Head())
    config = _settings(epochs=25, monitor="accuracy", augmentation="dihedral")
    history = _fit(system, lesions, others, objective=joint.Objective(), config=config)
    assert len(history.epochs) == 25
    assert history.epochs[-1].train["task"] < 0.5 * history.epochs[0].train["task"]
    assert history.best.validation["accuracy"] > 0.9
    # The weights of the best epoch are left in the system.
    result = joint.evaluate(system, others)
    assert result.report.accuracy == history.best.validation["accuracy"]


def test_joint_training_moves_all_four_stages(lesions, others):
    system = full_system()
    before = _state(system)
    history = _fit(system, lesions, others, config=_settings(restore_best=False))
    after = _state(system)
    for name, parameter in system.named_parameters():
        assert not torch.equal(before[name], after[name]), name
        assert torch.isfinite(parameter).all(), name
    assert set(history.epochs[0].train) == {"total", "task", "rate", "distortion"}
    assert history.epochs[-1].train["total"] < history.epochs[0].train["total"]


def test_the_same_seed_gives_the_same_bits_and_leaves_global_state_alone(lesions, others, whole):
    expected, _ = whole()
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    runs = {seed: full_system() for seed in (0, 1)}
    for seed, system in runs.items():
        _fit(system, lesions, others, config=_settings(seed=seed))
        assert torch.equal(state, torch.random.get_rng_state())
    assert _same(expected, _state(runs[0]))
    assert not _same(expected, _state(runs[1]))


@pytest.mark.parametrize("frozen", ["front_end", "codec", "classifier"])
def test_a_frozen_stage_keeps_its_weights_and_passes_the_gradient(lesions, others, frozen):
    system = full_system()
    before = _state(system)
    flags = [p.requires_grad for p in system.parameters()]
    learning = tuple(stage for stage in joint.STAGES if stage != frozen)
    config = _settings(stages=learning, restore_best=False, epochs=1)
    _fit(system, lesions, others, config=config)
    after = _state(system)
    for name in before:
        if name.startswith(frozen):
            assert torch.equal(before[name], after[name]), name
    for stage in {*learning} - {"restoration"}:  # those in front of the frozen one too
        assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith(stage))
    assert [p.requires_grad for p in system.parameters()] == flags
    assert system.training


@pytest.mark.parametrize("frozen", ["front_end", "codec", "classifier"])
def test_a_stage_frozen_the_torch_way_is_as_one_that_is_left_out(lesions, others, frozen):
    by_hand, left_out = full_system(), full_system()
    getattr(by_hand, frozen).requires_grad_(False)
    before = _state(by_hand)
    _fit(by_hand, lesions, others, config=_settings(epochs=1))
    learning = tuple(stage for stage in joint.STAGES if stage != frozen)
    _fit(left_out, lesions, others, config=_settings(epochs=1, stages=learning))
    after = _state(by_hand)
    # Neither batch statistics nor dropout: the step of the others is the same to the bit.
    assert _same(after, _state(left_out))
    kept = [name for name in before if name.startswith(frozen)]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert by_hand.training
    assert all(module.training for module in getattr(by_hand, frozen).modules())


def test_a_stage_of_which_a_part_is_frozen_learns(lesions, others):
    system = full_system()
    system.classifier.net[0].requires_grad_(False)
    before = _state(system)
    _fit(system, lesions, others, config=_settings(epochs=1))
    after = _state(system)
    assert torch.equal(before["classifier.net.0.weight"], after["classifier.net.0.weight"])
    for name in ("net.1.running_mean", "net.3.weight"):
        assert not torch.equal(before[f"classifier.{name}"], after[f"classifier.{name}"])


def test_a_frozen_norm_of_a_stage_that_learns_keeps_its_statistics(lesions, others, tmp_path):
    def system():
        made = joint.ImagingSystem(classifier=full_system().classifier)
        made.classifier.net[1].requires_grad_(False)
        return made

    modes = []

    def look(module, args):
        if torch.is_grad_enabled():
            modes.append((module.training, whole.classifier.net[0].training))

    whole, resumed = system(), system()
    before = _state(whole)
    whole.classifier.net[1].register_forward_pre_hook(look)
    given = {"objective": joint.Objective(), "config": _settings(epochs=2)}
    _fit(whole, lesions, others, **given)
    after = _state(whole)
    assert {*modes} == {(False, True), (False, False)}  # of training, and of the look before it
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("classifier.net.1"))
    assert not torch.equal(before["classifier.net.0.weight"], after["classifier.net.0.weight"])
    assert whole.classifier.net[1].training  # as it was
    polls = iter([False, False, True])
    given["directory"] = tmp_path
    _fit(system(), lesions, others, stop=lambda: next(polls), **given)
    _fit(resumed, lesions, others, resume=True, **given)
    assert _same(after, _state(resumed))


def test_learning_rates_of_single_stages(lesions, others):
    system = full_system()
    before = _state(system)
    config = _settings(
        learning_rates={"classifier": 1e-9, "sensor": 1e-9}, epochs=1, restore_best=False
    )
    _fit(system, lesions, others, config=config)
    after = _state(system)

    def moved(stage):
        return max(
            float((after[n] - before[n]).abs().max())
            for n, p in system.named_parameters()
            if n.startswith(stage)
        )

    assert moved("classifier") < 1e-6
    assert moved("front_end") > 1e-3


def test_weights_of_five_axes_are_trained_by_default(lesions, others):
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Conv3d(1, 4, 3, padding=1)
            self.flat = nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, image):
            seen = self.net(image[:, None]).tanh().mean(2)
            return self.head(self.flat(seen).mean((2, 3)))

    torch.manual_seed(0)
    system = joint.ImagingSystem(classifier=Spectral())
    before = system.classifier.net.weight.detach().clone()
    config = _settings(epochs=1, channels_last=True)
    _fit(system, lesions, others, objective=joint.Objective(), config=config)
    assert (system.classifier.net.weight - before).abs().max() > 1e-4
    assert system.classifier.flat.weight.is_contiguous()


def test_a_run_is_not_resumed_with_other_factors(lesions, others, tmp_path):
    def system(factor):
        torch.manual_seed(0)
        made = joint.ImagingSystem(classifier=Head())
        made.classifier.learning_rate_factor = factor
        return made

    options = {"objective": joint.Objective(), "directory": tmp_path}
    _fit(system(2), lesions, others, config=_settings(epochs=2), stop=lambda: True, **options)
    with pytest.raises(
        joint.CheckpointError, match=r"factors of learning rates were \[2.0\] and are \[3"
    ):
        _fit(system(3), lesions, others, config=_settings(epochs=2), resume=True, **options)
    _fit(system(2), lesions, others, config=_settings(epochs=2), resume=True, **options)


def test_an_entropy_model_follows_its_latent(lesions, others):
    # Bits of a short training: with one rate for all the prior stays as broad as it starts.
    bits = {}
    for factor in (1.0, 10.0):
        torch.manual_seed(0)
        system = joint.ImagingSystem(codec=compress.FactorizedCodec())
        system.codec.prior.learning_rate_factor = factor
        objective = joint.Objective(task=0, rate=1, distortion=10)
        config = joint.Training(epochs=12, batch_size=8, monitor="loss", stages=("codec",))
        joint.fit(system, lesions, others, objective=objective, config=config, progress=False)
        found = joint.evaluate(system, others, objective=objective)
        bits[factor] = found.bpp, found.losses["total"]
    assert compress.FactorizedCodec().prior.learning_rate_factor == 10
    assert bits[10.0][0] < 0.7 * bits[1.0][0]
    assert bits[10.0][1] < 0.8 * bits[1.0][1]


def test_a_norm_that_its_module_keeps_in_evaluation_stays_there(lesions, others):
    class Kept(Head):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.plain = nn.BatchNorm2d(3, affine=False)

        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

        def forward(self, image):
            return super().forward(self.plain(self.norm(image)))

    system = joint.ImagingSystem(classifier=Kept())
    _fit(system, lesions, others, objective=joint.Objective(), config=_settings(epochs=1))
    assert system.classifier.norm.num_batches_tracked == 0
    assert system.classifier.plain.num_batches_tracked > 0


_PARTS = {
    "rows": lambda whole: whole[2:5, :16],
    "columns": lambda whole: whole[:3, 4:20],
    "every other": lambda whole: whole[:3, ::2][:, :16],
    "one number": lambda whole: whole[:1, :1].expand(3, 16),
    "turned": lambda whole: whole[:16, :3].T,
}


@pytest.mark.parametrize("part", _PARTS)
def test_a_part_of_a_tensor_is_trained_as_one_of_its_own(lesions, others, part):
    def trained(own):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            system, whole = joint.ImagingSystem(classifier=Head()), torch.rand(40, 40)
        before, given = whole.clone(), _PARTS[part](whole)
        weight = nn.Parameter(torch.empty(3, 16).copy_(given) if own else given)
        system.classifier.net[8].weight = weight
        config = _settings(epochs=1, restore_best=False)
        _fit(system, lesions, others, objective=joint.Objective(), config=config)
        assert system.classifier.net[8].weight is weight  # as an optimiser of the caller's has it
        assert not torch.equal(weight, _PARTS[part](before))
        assert torch.equal(whole, before)
        return _state(system)

    assert _same(trained(own=True), trained(own=False))


def test_early_stopping_and_the_best_epoch(lesions, others, tmp_path):
    system = joint.ImagingSystem(classifier=Head())
    # After the first epoch it only gets worse.
    config = _settings(epochs=20, learning_rate=1.0, schedule="constant", patience=3)
    history = _fit(
        system, lesions, others, objective=joint.Objective(), config=config, directory=tmp_path
    )
    losses = [record.validation["loss"] for record in history.epochs]
    assert history.stopped_early
    assert history.best_epoch == losses.index(min(losses))
    assert len(losses) == history.best_epoch + 4
    best, head = joint.load_checkpoint(tmp_path / "best.safetensors")
    assert head["epoch"] == history.best_epoch
    assert _same(best, _state(system))


def test_the_run_folder_is_readable(lesions, others, tmp_path):
    history = _fit(full_system(), lesions, others, directory=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[1]["train"] == history.epochs[1].train
    assert lines[1]["validation"] == history.epochs[1].validation
    files = {path.name for path in tmp_path.iterdir()}
    checkpoints = {"checkpoint.safetensors", "checkpoint.previous.safetensors"}
    assert files == {"history.jsonl", "best.safetensors", *checkpoints}


def test_plans_say_which_stages_learn_in_which_epoch(lesions, others, monkeypatch):
    moved = []
    original = joint.train.loop.epoch

    def watching(runs, *rest, **settings):
        (run,) = runs
        before = _state(run.system)
        original(runs, *rest, **settings)
        after = _state(run.system)
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        moved.append({name.split(".")[0] for name in changed})

    monkeypatch.setattr(joint.train.loop, "epoch", watching)
    config = _settings(plan="alternating", turn_epochs=2, epochs=5)
    history = _fit(full_system(), lesions, others, config=config)
    camera, network = {"front_end", "sensor"}, {"codec", "classifier"}
    assert moved == [camera, camera, network, network, camera]
    assert [set(record.gradient_norms) for record in history.epochs] == moved
    moved.clear()
    _fit(full_system(), lesions, others, config=_settings(plan="frozen", epochs=1))
    assert moved == [{"front_end", "sensor", "codec"}]


def test_a_run_that_is_asked_to_stop_saves_and_resumes_to_equal_bits(
    lesions, others, whole, tmp_path
):
    state, expected = whole()
    polls = iter([False] * 7 + [True])
    history = _fit(full_system(), lesions, others, directory=tmp_path, stop=lambda: next(polls))
    assert history.interrupted
    assert len(history.epochs) == 1
    _, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert (head["epoch"], head["step"]) == (1, 3)
    resumed = full_system(seed=2)
    history = _fit(resumed, lesions, others, directory=tmp_path, resume=True)
    assert not history.interrupted
    assert _same(state, _state(resumed))
    assert [r.train for r in history.epochs] == [r.train for r in expected.epochs]


class _Interrupted(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 4, 5, 7, 12])
def test_an_interrupted_run_resumes_to_equal_bits(
    lesions, others, whole, tmp_path, monkeypatch, steps
):
    state, expected = whole()
    config = _settings(checkpoint_every=2)
    taken = 0
    original = joint.train.step._step

    def interrupted(*arguments):
        nonlocal taken
        taken += 1
        if taken > steps:
            raise _Interrupted
        return original(*arguments)

    monkeypatch.setattr(joint.train.step, "_step", interrupted)
    with pytest.raises(_Interrupted):
        _fit(full_system(), lesions, others, config=config, directory=tmp_path)
    monkeypatch.undo()
    resumed = full_system(seed=5)  # its own weights must not matter
    history = _fit(resumed, lesions, others, config=config, directory=tmp_path, resume=True)
    assert _same(state, _state(resumed))
    assert [r.train for r in history.epochs] == [r.train for r in expected.epochs]
    assert [r.validation for r in history.epochs] == [r.validation for r in expected.epochs]


_KILLED = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from conftest import _lesions
from small import OBJECTIVE, _settings, full_system
import joint
print("started", flush=True)
joint.fit(
    full_system(), _lesions(48, 16, 0), _lesions(18, 16, 1), objective=OBJECTIVE,
    config=_settings(epochs=6, checkpoint_every=1), directory=sys.argv[2], resume=True,
)
print("finished", flush=True)
"""


def _wait_for_step(folder, steps):
    """Until so many steps are saved."""
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        with suppress(joint.CheckpointError):  # between two renames there is none
            if joint.load_checkpoint(folder / "checkpoint.safetensors")[1]["steps"] >= steps:
                return
        time.sleep(0.005)
    raise AssertionError(f"{steps} steps were not taken")


def test_a_run_killed_at_random_points_resumes_to_equal_bits(
    fresh_joint, lesions, others, tmp_path
):
    config = _settings(epochs=6, checkpoint_every=1)
    expected = _fit(full_system(), lesions, others, config=config, directory=tmp_path / "whole")
    draw = random.Random(time.time_ns())
    # After the first half of the steps, at the latest, and some time: anywhere within a later one.
    points = [(steps, draw.uniform(0, 0.05)) for steps in sorted(draw.sample(range(1, 16), 2))]
    folder = tmp_path / "killed"
    killed, finished = 0, False
    for point in [*points, None]:
        with fresh_joint.start(_KILLED, Path(__file__).parents[1], folder) as process:
            assert process.stdout.readline() == "started\n"
            if point is not None:
                _wait_for_step(folder, point[0])
                time.sleep(point[1])
                process.kill()
            rest = process.stdout.read()
        finished = "finished" in rest
        killed += not finished
        if finished:
            break
    assert finished, points
    assert killed >= 1, points
    for name in ("checkpoint.safetensors", "best.safetensors"):
        one, first = joint.load_checkpoint(tmp_path / "whole" / name)
        other, second = joint.load_checkpoint(folder / name)
        assert _same(one, other), (name, points)
        for record in [*first.get("records", []), *second.get("records", [])]:
            record.pop("images_per_second")
            record.pop("peak_memory")
        for one, other in zip(first.get("records", []), second.get("records", []), strict=True):
            assert one == other
        assert first == second
    assert joint.load_checkpoint(folder / "best.safetensors")[1]["epoch"] == expected.best_epoch


def test_a_finished_run_is_not_trained_again(lesions, others, tmp_path, monkeypatch):
    system = full_system()
    history = _fit(system, lesions, others, directory=tmp_path)
    monkeypatch.setattr(joint.train.step, "_step", None)
    again = full_system(seed=3)
    assert _fit(again, lesions, others, directory=tmp_path, resume=True) == history
    assert _same(_state(system), _state(again))


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.filterwarnings("ignore:the rate was to end at")
def test_a_run_of_more_epochs_goes_on_to_equal_bits(lesions, others, whole, tmp_path, steps):
    """Finished, or interrupted in its second epoch, with all that a run carries along."""
    settings = {
        "schedule": "constant", "averaging": 0.9, "plan": "alternating", "sampling_power": 0.5,
        "patience": 4, "monitor": "accuracy",
    }  # fmt: skip
    objective = OBJECTIVE.model_copy(update={"rate_target": 1.0, "deferred_from": 1})
    long, short = (_settings(epochs=epochs, **settings) for epochs in (4, 2))
    state, expected = whole(objective=objective, epochs=4, **settings)
    polls = iter(range(100))
    _fit(
        full_system(), lesions, others, objective=objective, config=short, directory=tmp_path,
        stop=lambda: next(polls) == steps,
    )  # fmt: skip
    resumed = full_system(seed=2)
    history = _fit(
        resumed, lesions, others, objective=objective, config=long, directory=tmp_path, resume=True
    )
    assert _same(state, _state(resumed))
    assert [r.train for r in history.epochs] == [r.train for r in expected.epochs]
    assert [r.validation for r in history.epochs] == [r.validation for r in expected.epochs]
    assert (history.best_epoch, history.stopped_early) == (expected.best_epoch, False)


def test_a_folder_that_cannot_hold_a_run_is_found_out_first(lesions, others, tmp_path, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    (tmp_path / "file").touch()
    with pytest.raises(joint.CheckpointError, match="cannot write"):
        _fit(full_system(), lesions, others, directory=tmp_path / "file")


def test_tied_weights_are_saved(lesions, others, tmp_path):
    system = joint.ImagingSystem(classifier=Head())
    system.classifier.twin = system.classifier.net[0]
    _fit(system, lesions, others, objective=joint.Objective(), directory=tmp_path)
    assert (tmp_path / "best.safetensors").exists()


def test_a_perfect_score_is_printed_as_a_number():
    record = joint.EpochRecord(0, {"total": 0.0}, {"loss": 0.0, "auc": None}, 1.0, 9.0)
    line = joint.train.loop._line(record, joint.Training(monitor="auc"), best=False)
    assert "loss 0.0000 auc none" in line


def test_a_line_is_printed_for_each_epoch(lesions, others, capsys):
    _fit(full_system(), lesions, others, config=_settings(monitor="accuracy"), progress=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert "images/s" in lines[0]
    assert "accuracy" in lines[0]
    assert "rate" in lines[0]
    assert any(line.endswith("*") for line in lines)


def _system_of_two_levels(seed=0):
    made = full_system(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made.codec = compress.FactorizedCodec(levels=2)
    return made


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        *((steps, {"channels_last": True}) for steps in (1, 4, 8)),
        (4, {"channels_last": True, "averaging": 0.9}),
        (4, {"channels_last": False}),
    ],
)
def test_a_layout_resumes_to_equal_bits(lesions, others, whole, tmp_path, steps, changes):
    config = _settings(epochs=2, **changes)
    state, _ = whole(_system_of_two_levels, epochs=2, **changes)
    resumed = _system_of_two_levels(3)
    polls = iter([False] * (steps - 1) + [True])
    given = {"config": config, "directory": tmp_path}
    _fit(_system_of_two_levels(), lesions, others, stop=lambda: next(polls), **given)
    _fit(resumed, lesions, others, resume=True, **given)
    assert _same(state, _state(resumed))


@pytest.mark.parametrize("steps", [3, None])
@pytest.mark.parametrize("channels_last", [True, False, None])
def test_a_layout_is_a_matter_of_training_alone(lesions, others, channels_last, steps):
    given = {} if channels_last is None else {"channels_last": channels_last}
    system, layouts = full_system(), set()

    def look(module, args):
        if module.training:
            tensors = (
                args[0],
                module.classifier.net[0].weight,
                module.codec.analysis.layers[0].weight,
            )
            layouts.update(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)

    system.register_forward_pre_hook(look)
    asked = iter([False] * ((steps or 99) - 1) + [True])
    history = _fit(
        system, lesions, others, config=_settings(epochs=2, **given), stop=lambda: next(asked)
    )
    assert history.interrupted == (steps is not None)
    assert layouts == {channels_last is not False}
    # A layout rounds in its own way, and weights that are loaded are contiguous.
    assert all(tensor.is_contiguous() for tensor in system.state_dict().values())
    loaded = full_system(3)
    loaded.load_state_dict(system.state_dict())
    found, again = (joint.evaluate(s, others, objective=OBJECTIVE) for s in (system, loaded))
    assert (found.logits == again.logits).all()
    assert found.scalars() == again.scalars()


def test_a_run_begun_anew_has_the_history_of_one(lesions, others, tmp_path):
    config = _settings(epochs=1)
    for _ in range(2):
        _fit(full_system(), lesions, others, config=config, directory=tmp_path)
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("resume", [False, True])
def test_what_is_left_of_a_run_is_not_trained_over(lesions, others, tmp_path, resume):
    _fit(full_system(), lesions, others, config=_settings(epochs=1), directory=tmp_path)
    for path in tmp_path.glob("checkpoint*"):
        path.unlink()
    (tmp_path / "result.json").touch()
    for left, kept in (
        ("best.safetensors and result.json", ["best.safetensors", "result.json"]),
        ("result.json", ["result.json"]),
    ):
        for path in tmp_path.glob("*.*"):
            if path.suffix != ".jsonl" and path.name not in kept:
                path.unlink()
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(joint.CheckpointError, match=f"has {left} of a run, but no checkpoint"):
            _fit(full_system(3), lesions, others, directory=tmp_path, resume=resume)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_was_tested_is_not_made_longer_under_its_result(lesions, others, tmp_path):
    short, long = (_settings(epochs=epochs, schedule="constant") for epochs in (1, 2))
    _fit(full_system(), lesions, others, config=short, directory=tmp_path)
    (tmp_path / "result.json").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(joint.CheckpointError, match=r"was tested, .*complete_run, or lens2"):
        _fit(full_system(), lesions, others, config=long, directory=tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # As many as it had are what it is.
    _fit(full_system(), lesions, others, config=short, directory=tmp_path, resume=True)
    (tmp_path / "result.json").unlink()
    history = _fit(full_system(), lesions, others, config=long, directory=tmp_path, resume=True)
    assert len(history.epochs) == 2


def test_what_ends_in_an_error_leaves_the_layout_too(lesions, others):
    def raises(record):
        raise OSError(f"no room for {record.epoch}")

    system = full_system()
    with pytest.raises(OSError, match="no room for 0"):
        _fit(system, lesions, others, config=_settings(epochs=1), on_epoch=raises)
    assert all(tensor.is_contiguous() for tensor in system.state_dict().values())
    with pytest.raises(ValueError, match="deferred"):
        _fit(system, lesions, others, objective=joint.Objective(deferred_from=9, margin=1))
    assert all(tensor.is_contiguous() for tensor in system.state_dict().values())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_takes_gradients_in_any_mode(lesions, others, mode):
    expected, system = full_system(), full_system()
    _fit(expected, lesions, others, config=_settings(epochs=1))
    with mode():
        _fit(system, lesions, others, config=_settings(epochs=1))
        assert not torch.is_grad_enabled()
    assert _same(_state(expected), _state(system))


def test_a_restoration_brings_scenes_back_from_the_noise(lesions, others):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = joint.ImagingSystem(
            sensor=optics.Sensor(30, black_level=315),
            restoration=optics.RestorationUNet(width=8, scales=2),
        )
    before = joint.evaluate(system, others).psnr_scene
    config = joint.Training(epochs=6, batch_size=8, learning_rate=4e-3, monitor="psnr_scene")
    fidelity = joint.Objective(task=0, restoration=1, distortion_kind="mse")
    history = joint.fit(system, lesions, others, objective=fidelity, config=config, progress=False)
    assert joint.evaluate(system, others).psnr_scene > before + 3
    assert history.epochs[0].gradient_norms["restoration"] > 0
    kept = joint.Training(stages=("classifier",), epochs=1)
    with pytest.raises(ValueError, match="nothing to train"):
        joint.fit(system, lesions, others, objective=fidelity, config=kept, progress=False)


@pytest.mark.parametrize("after", [2, 5])
def test_the_speed_is_of_all_steps_of_the_epoch(lesions, others, tmp_path, monkeypatch, after):
    """By a clock that ticks when it is read, once a step and at the end of an epoch."""
    config, tick = _settings(epochs=1), iter(range(99))
    given = {"config": config, "directory": tmp_path}
    polls = iter([False] * (after - 1) + [True])
    monkeypatch.setattr(joint.train.loop.time, "perf_counter", lambda: next(tick))
    assert _fit(full_system(), lesions, others, stop=lambda: next(polls), **given).interrupted
    _, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert head["timed"] == [head["seen"], after]
    history = _fit(full_system(), lesions, others, resume=True, **given)
    assert history.epochs[0].images_per_second == 48 / (5 + 1)


def test_a_loss_that_no_step_looked_at_is_looked_at_after_the_epoch(lesions, others, monkeypatch):
    """As on a GPU, where not every step is waited for."""
    monkeypatch.setattr(joint.train.step, "check_finite", lambda *_: None)
    system = full_system()
    system.classifier.net[8].bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(joint.TrainingDiverged, match="the loss became nan in epoch 1"):
        _fit(system, lesions, others)


def test_weights_that_give_no_scores_have_diverged(lesions, others, tmp_path):
    """By the only step of an epoch, whose loss was of the weights before."""
    config = joint.Training(epochs=1, batch_size=48, learning_rate=1e9)
    system = joint.ImagingSystem(classifier=classify.backbone("resnet_s", 3, image_size=(16, 16)))
    message = (
        r"too large to compute with \(18 rows of scores are nan or infinite.*in epoch 1, step 1: lo"
    )
    with pytest.raises(joint.TrainingDiverged, match=message) as caught:
        joint.fit(system, lesions, others, config=config, directory=tmp_path, progress=False)
    assert isinstance(caught.value.__cause__, classify.scores.InvalidScores)
    assert not (tmp_path / "best.safetensors").exists()


def test_a_refusal_of_ones_own_is_no_divergence_whatever_it_says(lesions, others):
    class Own(torch.nn.Sequential):
        def forward(self, picture):
            if not self.training and len(picture) == len(others):  # the validation
                raise ValueError("2 rows of scores are not numbers")
            return super().forward(picture)

    net = Own(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
    system, config = joint.ImagingSystem(classifier=net), joint.Training(epochs=1, batch_size=24)
    with pytest.raises(ValueError, match=r"^2 rows of scores are not numbers$"):
        joint.fit(system, lesions, others, config=config, progress=False)


@pytest.mark.parametrize("given", [{}, [], 0, ""])
def test_what_is_no_configuration_is_not_taken_for_the_default(lesions, others, given):
    for name, kind in (("config", "Training"), ("objective", "Objective")):
        message = f"{name} must be a joint.{kind}, not {type(given).__name__}"
        with pytest.raises(TypeError, match=message):
            _fit(full_system(), lesions, others, **{name: given})


def test_a_folder_without_a_name_is_not_the_working_folder(lesions, others, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"directory is empty: name a folder, or give '\.'"):
        _fit(full_system(), lesions, others, directory="")
    with pytest.raises(TypeError, match="directory must be a path, a str or a Path, not int"):
        _fit(full_system(), lesions, others, directory=3)
    assert not [*tmp_path.iterdir()]
