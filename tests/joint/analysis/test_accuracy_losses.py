import json

import pytest
import torch
from toys import Bright, scenes_of, unchanged

import classify
import compress
import joint
import optics
from joint.analysis.accuracy_losses import LOSSES, accuracy_losses


class _Grey(compress.Codec):
    """Forgets everything."""

    def forward(self, image, *, generator=None):
        none = image.new_zeros(len(image))
        flat = torch.full_like(image, 0.5)
        return compress.Coded(flat, None, none.view(-1, 1, 1, 1) + flat[:, :1], none, "rounded")

    def compress(self, image):
        return [b"four"] * len(image)

    def decompress(self, payloads):
        raise NotImplementedError


class _Shade(optics.FrontEnd):
    """Lets a share of the light pass."""

    def __init__(self, share, channels=3):
        super().__init__()
        self.share = share
        self.in_channels, self.out_channels, self.exposures = 3, channels, 1

    def forward(self, scene):
        return (self.share * scene)[:, :1].expand(-1, self.out_channels, -1, -1)

    def throughput(self):
        return torch.tensor(self.share)

    def combine(self, raw):
        return raw


def _flat(count=60, size=12, levels=(0.2, 0.5, 0.8), seed=0):
    """Grey pictures of three brightnesses, two to a lesion; some are in between."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    mean = torch.tensor(levels)[labels] + 0.09 * torch.randn(count, generator=generator)
    return scenes_of(mean.view(-1, 1, 1, 1).expand(-1, 3, size, size), labels)


def _system(**stages):
    return joint.ImagingSystem(classifier=Bright(), encoding="linear", **stages)


def _camera():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _system(
            front_end=optics.LearnedKernel("gaussian", 3, signed=False),
            sensor=optics.Sensor(
                30, read_noise=6.0, dark_current=20.0, bit_depth=3, gain=3.0, black_level=1
            ),
            codec=compress.JPEG(20),
        )


def test_the_last_row_is_the_system_and_the_steps_add_up():
    system, scenes = _camera(), _flat()
    table = accuracy_losses(system, scenes, resamples=50)
    real = joint.evaluate(system, scenes).report
    stages = ("optics", "shot_noise", "electronics", "converter", "codec")
    assert [step.stage for step in table.ladder] == [None, *stages]
    assert [row.stage for row in table.alone] == list(stages)
    last = table.ladder[-1].scores
    assert last.accuracy.value == real.accuracy
    assert last.balanced_accuracy.value == pytest.approx(real.balanced_accuracy)
    for metric in range(2):
        first = table.ladder[0].scores[metric].value
        lost = sum(step.lost[metric].value for step in table.ladder)
        assert lost == pytest.approx(table.lost[metric].value)
        assert table.lost[metric].value == pytest.approx(first - last[metric].value)
        for step, row in zip(table.ladder[1:], table.alone, strict=True):
            gained = row.scores[metric].value - last[metric].value
            assert row.gained[metric].value == pytest.approx(gained)
            apart = step.lost[metric].value - gained
            assert row.interaction[metric].value == pytest.approx(apart)
        every = sum(row.interaction[metric].value for row in table.alone)
        assert table.interaction[metric].value == pytest.approx(every)


def test_nothing_of_the_system_changes():
    system = _camera()
    with unchanged(system, evaluated=system.codec):
        accuracy_losses(system, _flat(12), resamples=10)


def _handed(sensor, stages, scenes, front_end=None):
    """What the classifier is handed with all of these stages ideal."""
    system = _system(sensor=sensor, front_end=front_end)
    accuracy_losses(system, scenes, stages=stages, resamples=1, batch_size=len(scenes))
    return system.classifier.seen[0], system.classifier.seen[len(stages)]


def test_each_ideal_sensor_is_ideal_in_one_respect():
    scenes = _flat(30, 32, levels=(0.3, 0.5, 0.7))
    light = scenes.gather(torch.arange(30)).images / 255.0
    quiet = {"quantum_efficiency": 0.5, "read_noise": 0.0, "shot_noise": "none"}
    # Photon noise: the variance is x / (QE Phi) and then nothing.
    still, noisy = _handed(
        optics.Sensor(200, quantum_efficiency=0.5, read_noise=0.0, bit_depth=None),
        ["shot_noise"], scenes,
    )  # fmt: skip
    assert torch.allclose(still, light, atol=1e-6)
    assert float(((noisy - light) ** 2 / light * 100).mean()) == pytest.approx(1, rel=0.03)
    # Electronics: 5 electrons of 100 at full scale, on top of 2 dark ones.
    clean, dim = _handed(
        optics.Sensor(
            200, quantum_efficiency=0.5, read_noise=5.0, dark_current=200.0, bit_depth=None,
            shot_noise="none", prnu=torch.full((32, 32), 0.1), dsnu=torch.ones(32, 32),
            full_well=70.0, gain=100.0,
        ),
        ["electronics"], scenes,
    )  # fmt: skip
    assert torch.allclose(clean, light, atol=1e-6)
    expected = (1.1 * light + 0.02).clamp_max(0.7) + 0.01
    assert float((dim - expected).mean()) == pytest.approx(0, abs=2e-4)
    assert float((dim - expected).std()) == pytest.approx(0.05, rel=0.02)
    # Either fixed pattern is electronics by itself.
    for pattern, expected in (("prnu", 1.1 * light), ("dsnu", light + 0.01)):
        clean, woven = _handed(
            optics.Sensor(
                200, quantum_efficiency=0.5, read_noise=0.0, bit_depth=None, shot_noise="none",
                gain=100.0, **{pattern: torch.full((32, 32), 0.1 if pattern == "prnu" else 1.0)},
            ),
            ["electronics"], scenes,
        )  # fmt: skip
        assert torch.allclose(clean, light, atol=1e-6)
        assert torch.allclose(woven, expected.clamp_max(1), atol=1e-5)
    # Converter: half a step of six, with black at the first code; the same noise and range.
    smooth, stepped = _handed(
        optics.Sensor(
            200, bit_depth=3, black_level=1, gain=100 * 0.8 / 6,
            quantum_efficiency=0.5, read_noise=4.5, shot_noise="none",
        ),
        ["converter"], scenes,
    )  # fmt: skip
    assert smooth.max() == stepped.max() == 1
    inside = light < 0.6
    noise = (smooth - light / 0.8)[inside]
    assert float(noise.std()) == pytest.approx(4.5 / 80, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=1e-3)
    assert float((stepped - smooth).abs().max()) == pytest.approx(0.5 / 6, rel=1e-2)
    # Mosaic: colours of one pixel are interpolated.
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, :, :3] = 255
    edge = classify.LesionDataset(
        images=images, labels=[0, 1], groups=["x", "y"], identifiers=["x", "y"],
        classes=("a", "b", "c"),
    )  # fmt: skip
    full, woven = _handed(optics.Sensor(200, cfa="rggb", bit_depth=None, **quiet), ["mosaic"], edge)
    assert torch.allclose(full, images / 255.0, atol=1e-6)
    assert not torch.allclose(woven, images / 255.0, atol=0.1)
    # Binning: by name only.
    whole, binned = _handed(
        optics.Sensor(200, binning=2, bit_depth=None, **quiet), ["binning"], scenes
    )
    assert torch.allclose(whole, light, atol=1e-6)
    assert binned.shape[-1] == 16
    # Optics.
    bright, dark = _handed(
        optics.Sensor(200, bit_depth=None, **quiet), ["optics"], scenes, _Shade(0.5)
    )
    assert torch.allclose(bright, light, atol=1e-6)
    assert torch.allclose(dark, light / 2, atol=1e-6)


def test_what_takes_a_mosaic_cannot_be_given_a_picture_in_all_colours():
    scenes = _flat(8)
    sensor = optics.Sensor(100, cfa="rggb", demosaicing="packed")
    system = joint.ImagingSystem(sensor=sensor, classifier=Bright(), encoding="linear")
    said = r"the next stages take the mosaic itself \(demosaicing='packed'\)"
    with pytest.raises(ValueError, match=f"mosaic cannot be made ideal: {said}"):
        accuracy_losses(system, scenes, stages=["mosaic", "shot_noise"], resamples=10)
    found = accuracy_losses(system, scenes, resamples=10)
    assert [row.stage for row in found.omitted] == ["mosaic"]
    assert [row.stage for row in found.alone] == ["shot_noise", "electronics", "converter"]
    # An interpolated one can.
    whole = joint.ImagingSystem(
        sensor=optics.Sensor(100, cfa="rggb"), classifier=Bright(), encoding="linear"
    )
    assert not accuracy_losses(whole, scenes, resamples=10).omitted


def test_learned_gain_and_dithered_converter_are_idealised_too():
    scenes = _flat(10)
    light = scenes.gather(torch.arange(10)).images / 255.0
    sensor = optics.Sensor(
        200, bit_depth=4, trainable_gain=True, converter="dithered", read_noise=5.0,
        shot_noise="none",
    )  # fmt: skip
    held = sensor.log_gain.detach().clone()
    ideal, _ = _handed(sensor, ["electronics", "converter"], scenes)
    assert torch.allclose(ideal, light, atol=1e-6)
    assert torch.equal(sensor.log_gain, held)
    assert sensor.converter == "dithered"


def test_a_stage_that_destroys_everything_takes_everything():
    scenes = _flat()
    table = accuracy_losses(
        _system(codec=_Grey(), sensor=optics.Sensor(read_noise=10)), scenes, resamples=200
    )
    best = table.ladder[0].scores.accuracy.value
    assert best > 0.9
    lost = {step.stage: step.lost.accuracy for step in table.ladder}
    # All that is left is the class of grey.
    assert lost["codec"].value == pytest.approx(best - 1 / 3)
    assert lost["codec"].interval.low > 0.4
    assert lost["shot_noise"].value == pytest.approx(0, abs=0.02)
    gained = {row.stage: row.gained.accuracy.value for row in table.alone}
    assert gained["codec"] == pytest.approx(best - 1 / 3, abs=0.02)
    assert table.interaction.accuracy.value == pytest.approx(0, abs=0.04)


def test_two_stages_that_hide_each_other_interact():
    system = _system(front_end=_Shade(0.0), codec=_Grey())
    table = accuracy_losses(system, _flat(), resamples=50)
    optics_row, codec_row = table.alone
    lost = [step.lost.accuracy.value for step in table.ladder]
    assert lost[1] > 0.5  # the first of them takes it
    assert lost[2] == 0
    # Mending one of them gives nothing, as the other still destroys it.
    assert [row.gained.accuracy.value for row in table.alone] == [0, 0]
    assert optics_row.interaction.accuracy.value == pytest.approx(lost[1])
    assert codec_row.interaction.accuracy.value == 0
    assert table.interaction.accuracy.value == pytest.approx(table.lost.accuracy.value)


def test_intervals_are_those_of_the_report_and_of_the_paired_bootstrap():
    system, scenes = _camera(), _flat()
    table = accuracy_losses(system, scenes, resamples=300)
    real = joint.evaluate(system, scenes, resamples=300).report
    scores = table.ladder[-1].scores
    assert tuple(scores.accuracy.interval) == pytest.approx(real.intervals["accuracy"])
    no_codec = joint.ImagingSystem(
        front_end=system.front_end,
        sensor=system.sensor,
        classifier=system.classifier,
        encoding="linear",
    )
    one, other = (joint.evaluate(s, scenes) for s in (no_codec, system))
    for name in ("accuracy", "balanced_accuracy"):
        paired = classify.bootstrap_difference(
            one.logits, other.logits, labels=one.labels, groups=one.groups,
            metric=name, resamples=300,
        )  # fmt: skip
        gained = getattr(table.alone[-1].gained, name)
        assert gained.value == pytest.approx(paired.difference)
        assert gained.interval == pytest.approx(paired.interval)


def test_tables_are_printed_and_json():
    system, scenes = _camera(), _flat(12)
    table = accuracy_losses(system, scenes, resamples=20)
    summary = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert summary["ladder"][0]["stage"] is None
    assert summary["alone"][4]["stage"] == "codec"
    gained = table.alone[4].gained.accuracy
    assert summary["alone"][4]["gained"]["accuracy"]["interval"] == list(gained.interval)
    assert summary["interaction"]["accuracy"]["value"] == table.interaction.accuracy.value
    assert f"shot_noise     {table.ladder[2].scores.accuracy}" in str(table)
    low, high = gained.interval
    lines = str(table).splitlines()
    codec = [line for line in lines if line.startswith("codec")]
    assert codec[1].startswith(f"{'codec':14} {gained.value:+.3f} [{low:+.3f}, {high:+.3f}]")
    assert "lost (+ is worse)" in lines[2]
    assert "gained (+ is better)" in str(table)
    # All ideal, nothing is lost yet.
    ideal = table.ladder[0].scores
    assert lines[3] == f"{'(all ideal)':14} {ideal.accuracy!s:23} {ideal.balanced_accuracy!s}"


def test_what_cannot_be_swapped_is_said_or_refused():
    scenes = _flat(12)
    more = _system(
        front_end=_Shade(0.5, channels=4), sensor=optics.Sensor(read_noise=10, binning=2)
    )
    table = accuracy_losses(more, scenes, resamples=5)
    assert [row.stage for row in table.omitted] == ["optics", "binning"]
    assert "optics stays real: it makes 4 channels from 3, and the next stages" in str(table)
    assert "lesions are larger" in table.omitted[1].reason
    with pytest.raises(ValueError, match="optics cannot be made ideal: it makes 4 channels from 3"):
        accuracy_losses(more, scenes, stages=["optics"])
    with pytest.raises(ValueError, match="codec cannot be made ideal: the system has none"):
        accuracy_losses(more, scenes, stages=["codec"])
    with pytest.raises(ValueError, match=f"{', '.join(LOSSES)}, once each, .*, not .'lens'"):
        accuracy_losses(more, scenes, stages=["lens"])
    with pytest.raises(ValueError, match=r"once each, .*, not \['converter', 'converter'\]"):
        accuracy_losses(more, scenes, stages=["converter", "converter"])
    for wrong in ("codec", [1]):
        with pytest.raises(
            ValueError, match=r"once each, such as \['codec'\], not ('codec'|\[1\])"
        ):
            accuracy_losses(more, scenes, stages=wrong)
    with pytest.raises(ValueError, match="no classifier, and without one there is no accuracy"):
        accuracy_losses(joint.ImagingSystem(), scenes)
    asked = _Shade(0.5)
    asked.register_forward_pre_hook(lambda *_: pytest.fail("it was asked"))
    with pytest.raises(ValueError, match="no classifier"):
        accuracy_losses(joint.ImagingSystem(front_end=asked, encoding="linear"), scenes)
    with pytest.raises(TypeError, match="the system comes first, the data set second: exchange"):
        accuracy_losses(scenes, more)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        accuracy_losses(more, scenes, resamples=0)


def test_a_sensor_without_a_loss_has_none_to_mend():
    scenes = _flat(12)
    perfect = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    for numbers, stage in (
        ({}, None),
        ({"read_noise": 1.0}, "electronics"),
        ({"dark_current": 1.0}, "electronics"),
        ({"full_well": 5e4}, "electronics"),
        ({"shot_noise": "gaussian"}, "shot_noise"),
        ({"bit_depth": 8}, "converter"),
    ):
        table = accuracy_losses(_system(sensor=optics.Sensor(200, **perfect | numbers)), scenes)
        assert [row.stage for row in table.alone] == ([] if stage is None else [stage])
        assert not table.omitted


def test_a_system_without_losses_loses_nothing():
    table = accuracy_losses(_system(), _flat(12), resamples=5)
    assert len(table.ladder) == 1
    assert not table.alone
    assert table.lost.accuracy.value == table.interaction.accuracy.value == 0


def test_what_restores_binned_pixels_takes_no_others():
    scenes = _flat(8)
    system = joint.ImagingSystem(
        sensor=optics.Sensor(100, binning=2),
        restoration=optics.RestorationUNet(upscaling=2, width=2, scales=1),
        classifier=Bright(),
        encoding="linear",
    )
    said = "the restoration was trained on binned pixels"
    with pytest.raises(ValueError, match=f"binning cannot be made ideal: {said}"):
        accuracy_losses(system, scenes, stages=["binning"], resamples=10)
    found = accuracy_losses(system, scenes, resamples=10)
    assert [(row.stage, row.reason[: len(said)]) for row in found.omitted] == [("binning", said)]
    # The others are made ideal in front of it.
    assert [row.stage for row in found.alone] == ["shot_noise", "electronics", "converter"]
