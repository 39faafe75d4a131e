from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torch import nn

import classify
import compress
import joint
import optics
from joint.feed import Feed, generators
from joint.judge.evaluate import _light, try_points


class _Noisy(nn.Module):
    def forward(self, image):
        return image.mean((-2, -1)) * 50


@pytest.fixture
def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel("gaussian", 3, signed=False),
            sensor=optics.Sensor(500),
            codec=compress.FactorizedCodec(),
            classifier=_Noisy(),
        )


def test_numbers_agree_with_scikit_learn(system, lesions):
    result = joint.evaluate(system, lesions, batch_size=7)
    guesses = result.logits.argmax(1)
    assert result.count == len(result.labels) == len(lesions) == 48
    assert result.report.accuracy == accuracy_score(result.labels, guesses)
    assert result.report.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(result.labels, guesses)
    )
    assert result.report.macro_f1 == pytest.approx(
        f1_score(result.labels, guesses, average="macro")
    )
    assert result.identifiers == tuple(f"picture{i}" for i in range(48))
    assert list(result.labels) == lesions.targets.tolist()
    assert result.groups == lesions.groups


def test_intervals_resample_lesions(system, lesions):
    result = joint.evaluate(system, lesions, resamples=200)
    assert result.report.unit == "lesions"
    low, high = result.report.intervals["accuracy"]
    assert low <= result.report.accuracy <= high
    assert not joint.evaluate(system, lesions).report.intervals


def test_rate_and_fidelity_are_means_over_pictures(system, lesions):
    result = joint.evaluate(system, lesions, batch_size=48, count_bytes=True)
    system.eval()
    scenes = lesions.gather(torch.arange(48)).images / 255.0
    seeds = Feed(lesions, torch.device("cpu")).seeds(0, "evaluate")
    noise = generators(seeds, torch.device("cpu"))
    with torch.no_grad():
        output = system(scenes, generator=noise)
    sizes = [len(payload) for payload in system.codec.compress(output.measurement)]
    assert result.rate == "rounded"
    assert result.bpp == pytest.approx(float(output.coded.bpp.mean()), rel=1e-5)
    assert result.bpp_bytes == pytest.approx(8 * sum(sizes) / 48 / 256, rel=1e-5)
    assert result.bpp == pytest.approx(result.bpp_bytes, rel=0.01, abs=16 * 8 / 256)
    error = (output.handed.clamp(0, 1) - output.measurement).double().square().mean((-3, -2, -1))
    assert result.psnr == pytest.approx(float((-10 * error.log10()).mean()), rel=1e-4)
    error = (output.handed.clamp(0, 1) - scenes).double().square().mean((-3, -2, -1))
    assert result.psnr_scene == pytest.approx(float((-10 * error.log10()).mean()), rel=1e-4)
    assert result.scalars()["psnr_scene"] == result.psnr_scene
    assert result.throughput == pytest.approx(float(system.front_end.throughput().detach()))
    assert result.losses["rate"] == pytest.approx(result.bpp)


def test_evaluation_is_repeatable_and_restores_the_modes(system, lesions):
    system.train()
    system.codec.eval()
    first, again, other = (joint.evaluate(system, lesions, seed=seed) for seed in (1, 1, 2))
    assert (first.logits == again.logits).all()
    assert not (first.logits == other.logits).all()
    assert system.training
    assert not system.codec.training


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_a_seed_is_a_whole_number(system, lesions, seed):
    with pytest.raises(ValueError, match=f"seed must be a whole number, not {seed!r}"):
        joint.evaluate(system, lesions, seed=seed)


def test_a_seed_of_another_kind_is_the_same_seed(system, lesions):
    plain, same = (joint.evaluate(system, lesions, seed=s).logits for s in (1, np.int64(1)))
    assert (plain == same).all()


def test_a_picture_that_is_reproduced_exactly_does_not_outweigh_the_others(lesions):
    """It counts for 100 dB; the others for what they have, by scikit-image."""

    class Spoiling(compress.Codec):
        channels = 3

        def forward(self, image, *, generator=None):
            del generator
            # Of two pictures the first stays as it is; the other differs by up to 0.05.
            wave = torch.linspace(-0.05, 0.05, image.shape[-1])
            decoded = (image + wave * (torch.arange(len(image)) % 2)[:, None, None, None]).clamp(
                0, 1
            )
            bits = decoded[:, :1].square()
            return compress.Coded(decoded, None, bits, bits.new_zeros(len(image)), "rounded")

        def compress(self, image):
            raise NotImplementedError

        def decompress(self, payloads):
            raise NotImplementedError

    scenes = lesions.gather(torch.arange(48))[0].float() / 255
    codec = Spoiling()
    expected = []
    for start in range(0, 48, 8):
        given = scenes[start : start + 8]
        for one, other in zip(given.numpy(), codec(given).reconstruction.numpy(), strict=True):
            with np.errstate(divide="ignore"):
                found = peak_signal_noise_ratio(one, other, data_range=1)
            expected.append(min(found, 100))
    result = joint.evaluate(joint.ImagingSystem(codec=codec), lesions, batch_size=8)
    assert expected[::2] == [100] * 24
    assert result.psnr == result.psnr_scene == pytest.approx(np.mean(expected), rel=1e-4)


def test_light_beyond_white_is_white_to_fidelity():
    """By scikit-image, of pictures that a codec brightens beyond 1."""

    class Bright(compress.Codec):
        channels = 3

        def forward(self, image, *, generator=None):
            del generator
            bits = image[:, :1].square()
            return compress.Coded(image + 0.6, None, bits, bits.new_zeros(len(image)), "rounded")

        def compress(self, image):
            raise NotImplementedError

        def decompress(self, payloads):
            raise NotImplementedError

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    scenes = classify.LesionDataset(
        images=images, labels=[0, 1] * 2, groups=range(4), identifiers=range(4), classes="ab"
    )
    psnr, ssim = [], []
    for scene in images.double().numpy() / 255:
        white = np.minimum(scene + 0.6, 1)
        psnr.append(peak_signal_noise_ratio(scene, white, data_range=1))
        ssim.append(
            structural_similarity(
                scene, white, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                data_range=1, channel_axis=0,
            )
        )  # fmt: skip
    result = joint.evaluate(joint.ImagingSystem(codec=Bright()), scenes, batch_size=4)
    assert result.psnr == result.psnr_scene == pytest.approx(np.mean(psnr), abs=1e-4)
    assert result.ssim == pytest.approx(np.mean(ssim), abs=1e-5)


def test_parts_that_are_missing_are_none(lesions):
    result = joint.evaluate(joint.ImagingSystem(classifier=_Noisy()), lesions)
    assert result.bpp is result.psnr is result.throughput is result.rate is None
    assert set(result.losses) == {"total", "task"}
    judged = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    assert {name: result.scalars()[name] for name in judged} == {
        name: getattr(result.report, name) for name in judged
    }
    coded = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    assert coded.report is None
    assert coded.logits is None
    assert all(coded.scalars()[name] is None for name in judged)
    assert coded.bpp > 0
    assert coded.rate == "bytes"


def test_noise_of_a_picture_does_not_depend_on_its_batch(system, lesions):
    whole, parts = (joint.evaluate(system, lesions, batch_size=size) for size in (48, 7))
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    mixed = joint.evaluate(system, lesions.subset(order), batch_size=48)
    np.testing.assert_allclose(mixed.logits, whole.logits[order], rtol=1e-4, atol=1e-5)


def test_a_light_that_a_sensor_was_not_made_for_is_warned_of_once(lesions):
    system = joint.ImagingSystem(
        sensor=optics.Sensor(1000, full_well=600.0), classifier=classify.backbone(classes=3)
    )
    with pytest.warns(UserWarning, match="full_well=600") as told:
        joint.evaluate(system, lesions, photons=4000)
    assert ["full_well=600" in str(each.message) for each in told] == [True]


def test_other_light_and_other_quality_without_training(lesions):
    codec = compress.FactorizedCodec(levels=3)
    system = joint.ImagingSystem(
        sensor=optics.Sensor(10_000, read_noise=0.0, bit_depth=None, trainable_gain=True),
        codec=codec,
    )
    state = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    seen = []
    for photons in (None, 10_000, 400):
        scenes = []
        system.codec.register_forward_pre_hook(lambda _, args, kept=scenes: kept.append(args[0]))
        joint.evaluate(system, lesions, objective=joint.Objective(task=0), photons=photons)
        seen.append(torch.cat(scenes))
    assert torch.equal(seen[0], seen[1])
    assert float((seen[0].mean() - seen[2].mean()).abs()) < 2e-3  # as bright as it was
    clean = lesions.gather(torch.arange(48)).images / 255.0
    noise = optics.srgb_to_linear(seen[2]) - optics.srgb_to_linear(clean)
    light = optics.srgb_to_linear(clean)
    inside = (light > 0.1) & (light < 0.5)  # where nothing is clipped
    expected = (light[inside] / (400 * 0.6)).mean()  # Poisson: x / (photons * QE)
    assert float(noise[inside].square().mean()) == pytest.approx(float(expected), rel=0.05)
    rates = [
        joint.evaluate(system, lesions, objective=joint.Objective(task=0), quality=q).bpp
        for q in (0, 1, 2)
    ]
    assert rates[0] < rates[1] < rates[2]
    assert codec.quality is None
    assert system.sensor.photons == 10_000
    assert all(torch.equal(state[n], t) for n, t in system.state_dict().items())
    with pytest.raises(ValueError, match=r"photons=0\.0 is out of range; give a positive number"):
        joint.evaluate(system, lesions, objective=joint.Objective(task=0), photons=0.0)
    with pytest.raises(ValueError, match="JPEG2000 has no choice of qualities: leave quality out"):
        joint.evaluate(joint.ImagingSystem(codec=compress.JPEG2000(20)), lesions, quality=1)
    tables = joint.ImagingSystem(codec=compress.DifferentiableJPEG(50))
    coarse = joint.evaluate(tables, lesions, quality=10).bpp
    assert coarse < joint.evaluate(tables, lesions).bpp
    assert tables.codec.quality == 50
    with pytest.raises(ValueError, match="photons=5 needs a sensor"):
        joint.evaluate(joint.ImagingSystem(codec=codec), lesions, photons=5)


@pytest.mark.parametrize("name", ["distance", "photons", "quality", "motion"])
@pytest.mark.parametrize("several", [[1.0, 2.0], torch.tensor([1.0, 2.0])])
def test_one_pass_is_at_one_point(name, several, system, lesions):
    with pytest.raises(
        TypeError, match=f"{name} must be one number, .*; call once for each {name}"
    ):
        joint.evaluate(system, lesions, **{name: several})


def test_points_are_tried_with_one_picture(lesions):
    shutter = optics.CodedExposure(optics.shutter_code("open", 8), 2.0)
    system = joint.ImagingSystem(front_end=shutter).train()
    seen = []
    system.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    points = [joint.OperatingPoint(motion=pixels) for pixels in (0.0, 4.0, 1000.0)]
    try_points(system, lesions, points[:2])
    assert seen == [1, 1]
    with pytest.raises(ValueError, match="motion=1000 pixels RMS is more than"):
        try_points(system, lesions, points)
    assert (system.training, shutter.motion) == (True, 2.0)


def test_an_objective_is_one_of_joint(system, lesions):
    with pytest.raises(TypeError, match=r"must be a joint\.Objective, not dict; make one with jo"):
        joint.evaluate(system, lesions, objective={"task": 1})


class _Gain(optics.FrontEnd):
    """Brings a multiple of the light, and says so."""

    in_channels, out_channels, exposures = 3, 3, 1

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, scene):
        return self.gain * scene

    def throughput(self):
        return torch.tensor(self.gain)

    def combine(self, raw):
        return raw


def test_a_front_end_that_amplifies_is_spoken_of(lesions):
    plain = joint.Objective(task=0)
    system = joint.ImagingSystem(front_end=_Gain(3.0), sensor=optics.Sensor(500))
    with pytest.warns(UserWarning, match="_Gain has a throughput of 3, but passive optics"):
        joint.evaluate(system, lesions, objective=plain)


def test_more_light_in_the_frame_is_no_amplification():
    y, x = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    cell = (255 * torch.exp(-(x**2 + y**2) / 60)).to(torch.uint8).expand(1, 3, 32, 32)
    dark = torch.where(x.square() + y.square() < 169, 8, 204).to(torch.uint8).expand(1, 3, 32, 32)
    plate = optics.FourierFilter(32, "phase_contrast", phase_depth=2.0)
    blurred = joint.build_front_end(joint.LensConfig(defocus=3), (32, 32), 3)
    for front, images in ((plate, cell), (blurred, dark), (_Gain(1.0), dark)):
        scenes = classify.LesionDataset(
            images=images, labels=[0], groups=[0], identifiers=[0], classes=["a"], encoding="linear"
        )
        system = joint.ImagingSystem(front_end=front, encoding="linear")
        found = joint.evaluate(system, scenes, objective=joint.Objective(task=0))
        assert found.light_share > 1.1 or isinstance(front, _Gain)


@pytest.mark.parametrize(("views", "count"), [("mirror", 2), ("flips", 4), ("dihedral", 8)])
def test_views_average_the_probabilities_of_the_scene_turned(lesions, views, count):
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    blind = joint.ImagingSystem(classifier=classifier.requires_grad_(False))
    result = joint.evaluate(blind, lesions, views=views, batch_size=7)
    scenes = lesions.gather(torch.arange(48)).images / 255.0
    seen = [scenes.numpy(), scenes.flip(-1).numpy(), scenes.flip(-2).numpy()]
    seen += [scenes.flip(-2, -1).numpy()]
    seen += [np.swapaxes(view, -2, -1) for view in seen]
    turned = [torch.from_numpy(np.ascontiguousarray(view)) for view in seen[:count]]
    expected = sum(classifier(view).softmax(-1) for view in turned) / count
    assert np.exp(result.logits) == pytest.approx(expected.numpy(), abs=1e-6)
    assert result.losses["task"] == pytest.approx(
        float(-expected.log()[range(48), lesions.targets].mean()), rel=1e-5
    )
    assert result.report.accuracy == accuracy_score(lesions.targets, expected.argmax(-1))


def test_views_leave_rate_and_fidelity_those_of_the_scene(system, lesions):
    plain = joint.evaluate(system, lesions)
    turned = joint.evaluate(system, lesions, views="flips")
    assert (turned.bpp, turned.psnr, turned.ssim) == (plain.bpp, plain.psnr, plain.ssim)
    assert (turned.logits != plain.logits).any()


def test_each_view_of_a_picture_has_the_noise_of_the_picture(system, lesions):
    state = torch.get_rng_state()
    found = joint.evaluate(system, lesions, views="flips", batch_size=48)
    again, parts = (
        joint.evaluate(system, lesions, views="flips", batch_size=size).logits for size in (48, 7)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert (again == found.logits).all()
    np.testing.assert_allclose(parts, found.logits, rtol=1e-4, atol=1e-5)
    scenes = lesions.gather(torch.arange(48)).images / 255.0
    seeds = Feed(lesions, torch.device("cpu")).seeds(0, "evaluate")
    system.eval()
    with torch.no_grad():
        said = [
            system(scenes.flip(axes), generator=generators(seeds, torch.device("cpu"))).logits
            for axes in ((), (-1,), (-2,), (-2, -1))
        ]
    shares = torch.stack(said).softmax(-1).mean(0)
    assert np.exp(found.logits) == pytest.approx(shares.numpy(), abs=1e-5)


def test_views_need_a_name_and_a_classifier(system, lesions):
    with pytest.raises(ValueError, match="views must be one of identity, mirror"):
        joint.evaluate(system, lesions, views="turned")
    system.classifier = None
    with pytest.raises(ValueError, match="has no classifier, so that"):
        joint.evaluate(system, lesions, views="mirror")


def test_pictures_below_the_window_of_ssim_have_none(lesions):
    small = joint.ImagingSystem(sensor=optics.Sensor(500, binning=2), codec=compress.JPEG(50))
    result = joint.evaluate(small, lesions)
    assert result.ssim is None
    assert np.isfinite(result.psnr)


def test_scores_of_other_classes_are_refused_at_once(lesions):
    passes = []

    def five(image):
        passes.append(len(image))
        return image.mean((-3, -2, -1))[:, None].expand(-1, 5)

    class Five(nn.Module):
        def forward(self, image):
            return five(image)

    with pytest.raises(ValueError, match="tells 5 classes apart, the data set has 3: a, b, c"):
        joint.evaluate(joint.ImagingSystem(classifier=Five()), lesions, batch_size=8)
    assert passes == [8]


def _even(channels, size=32, code=180):
    return classify.LesionDataset(
        images=torch.full((4, channels, size, size), code, dtype=torch.uint8),
        labels=[0, 1] * 2,
        groups=range(4),
        identifiers=range(4),
        classes=("a", "b"),
        encoding="srgb" if channels == 3 else "linear",
    )


def _lens(colour, **options):
    bands = tuple(n * 1e-9 for n in range(450, 701, 50))
    return joint.LensConfig(wavelengths=bands, oversample=3, colour=colour, **options)


@pytest.mark.parametrize(
    "front_end",
    [
        lambda: optics.LearnedKernel("laplacian", 3),
        lambda: optics.LearnedKernel("sobel", mix_channels=True),
        lambda: optics.FourierFilter(32, "low_pass", illumination="incoherent"),
        lambda: optics.CodedExposure(optics.shutter_code("open", 8, share=0.25), 2.0),
        *(
            lambda config=config: joint.build_front_end(config, (32, 32), 6)
            for config in (
                _lens({"filters": "fixed"}),
                _lens({"filters": "fixed", "share": 1.0}),
                _lens({"lamps": "fixed", "patterns": 2}),
                _lens({"filters": "fixed"}, off_axis={"field_curvature": 0.01}),
                joint.ShutterConfig(lens=_lens({"filters": "fixed"})),
            )
        ),
    ],
)
def test_of_an_even_scene_the_share_of_light_is_the_throughput(front_end):
    front = front_end()
    scenes = _even(front.in_channels)
    system = joint.ImagingSystem(front_end=front, encoding=scenes.encoding)
    found = joint.evaluate(system, scenes, objective=joint.Objective(task=0), batch_size=3)
    assert found.light_share == pytest.approx(found.throughput, rel=2e-3)
    assert found.scalars()["light_share"] == found.to_dict()["light_share"] == found.light_share


def test_scenes_in_srgb_are_no_linear_light():
    with pytest.raises(ValueError, match="the scenes are sRGB codes and the system takes them for"):
        joint.evaluate(joint.ImagingSystem(encoding="linear"), _even(3))


def test_the_share_of_light_is_that_of_the_scenes(lesions):
    front = optics.FourierFilter(16, "high_pass")
    system = joint.ImagingSystem(front_end=front, sensor=optics.Sensor(500))
    plain = joint.Objective(task=0)
    found = joint.evaluate(system, lesions, objective=plain, batch_size=7)
    light = optics.srgb_to_linear(lesions.gather(torch.arange(48)).images / 255.0)
    with torch.no_grad():
        assert found.light_share == pytest.approx(float(front(light).sum() / light.sum()), rel=1e-5)
    assert found.light_share < 0.5 < 0.9 < found.throughput
    lines = str(found).splitlines()
    assert f"{'throughput':<18} {found.throughput:.4g} of a point's light" in lines
    assert f"{'light share':<18} {found.light_share:.4g} of these scenes' light" in lines
    # A field counts by its light.
    field = joint.ImagingSystem(front_end=front, encoding="linear")
    scene = torch.polar(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    with torch.no_grad():
        terms = dict(_light(field(scene), field))
    assert terms["light_of_scene"] == pytest.approx(float(scene.abs().square().mean()), rel=1e-6)
    bare = joint.ImagingSystem(sensor=optics.Sensor(500))
    assert joint.evaluate(bare, lesions, objective=plain).light_share is None
    dark = _even(3, 16, code=0)
    assert joint.evaluate(system, dark, objective=plain).light_share is None
    # A phase object takes none away, whatever its values.
    clear = optics.FourierFilter(16, "open", phase_depth=2.0)
    system = joint.ImagingSystem(front_end=clear, sensor=optics.Sensor(500))
    for scenes in (lesions, dark):
        share = joint.evaluate(system, scenes, objective=plain).light_share
        assert share == pytest.approx(0.995**2, rel=1e-5)


class _Lying(compress.JPEG):
    def forward(self, image, *, generator=None):
        coded = super().forward(image, generator=generator)
        return replace(coded, bits_map=coded.bits_map / 2, rate=self.said)


@pytest.mark.parametrize("levels", [1, 3])
def test_of_several_qualities_it_is_said_which(lesions, levels):
    system = joint.ImagingSystem(codec=compress.FactorizedCodec(levels=levels))
    plain = joint.Objective(task=0)
    found = joint.evaluate(system, lesions, objective=plain)
    if levels == 1:
        assert found.quality is None
        assert "quality" not in str(found)
        return
    assert f"{'quality':<18} 1 of 0 to 2 (the middle)" in str(found).splitlines()
    assert (
        joint.evaluate(system, lesions, objective=plain, quality=1.75).quality == "1.75 of 0 to 2"
    )


def test_files_that_decode_to_something_else_are_spoken_of(lesions):
    class Negative(compress.PNG):
        def decompress(self, payloads):
            decoded = super().decompress(payloads)
            return (1 - decoded if self.whole else decoded[..., 1:]) if self.wrong else decoded

        def forward(self, image, *, generator=None):
            self.wrong = False
            coded = super().forward(image, generator=generator)
            self.wrong = True
            return coded

    system, plain = joint.ImagingSystem(codec=Negative()), joint.Objective(task=0)
    system.codec.whole = True
    # Of black or white pixels the negative is 1 away; of those here the furthest is.
    first = lesions.gather(torch.arange(8)).images / 255
    gap = float((1 - 2 * first).abs().max())
    with pytest.warns(UserWarning, match=rf"files of Negative do not .*up to {gap:.3g} away"):
        found = joint.evaluate(system, lesions, objective=plain, count_bytes=True)
    assert found.psnr == 100
    system.codec.whole = False
    with pytest.warns(UserWarning, match=r"they are of the shape \[8, 3, 16, 15\]\): lab"):
        joint.evaluate(system, lesions, objective=plain, count_bytes=True)
    joint.evaluate(system, lesions, objective=plain)  # nothing is counted, nothing is decoded

    class Broken(compress.PNG):
        def compress(self, image):
            return [file + b"?" for file in super().compress(image)]

        def forward(self, image, *, generator=None):
            return replace(compress.PNG()(image), rate="rounded")

    system = joint.ImagingSystem(codec=Broken())
    with pytest.warns(UserWarning, match=r"reconstruction \(CorruptStream: payload 0: cut or too"):
        joint.evaluate(system, lesions, objective=plain, count_bytes=True)


@pytest.mark.parametrize(
    "codec", [compress.FactorizedCodec, lambda: compress.HyperpriorCodec(exact=False)]
)
def test_files_that_keep_the_promise_are_not_spoken_of(lesions, codec):
    system, plain = joint.ImagingSystem(codec=codec()), joint.Objective(task=0)
    assert joint.evaluate(system, lesions, objective=plain, count_bytes=True).bpp_bytes > 0
    wide = system.double()
    assert joint.evaluate(wide, lesions, objective=plain, count_bytes=True).bpp_bytes > 0


@pytest.mark.parametrize(("factor", "said"), [(-1.0, "-"), (float("nan"), "nan")])
def test_a_rate_that_is_none_is_spoken_of(lesions, factor, said):
    class Free(compress.JPEG):
        def forward(self, image, *, generator=None):
            coded = super().forward(image, generator=generator)
            return replace(coded, side_bits=coded.side_bits * factor, rate="rounded")

    system, plain = joint.ImagingSystem(codec=Free(10)), joint.Objective(task=0)
    with pytest.warns(UserWarning, match=f"the rate of Free is {said}"):
        joint.evaluate(system, lesions, objective=plain)


def test_a_rate_that_says_bytes_and_is_another_is_spoken_of(lesions):
    codec = _Lying(50)
    codec.said = "bytes"
    system, plain = joint.ImagingSystem(codec=codec), joint.Objective(task=0)
    with pytest.warns(
        UserWarning, match=r"_Lying declares .* of the bytes, .* but its files have "
    ):
        found = joint.evaluate(system, lesions, objective=plain, count_bytes=True)
    assert found.bpp < found.bpp_bytes
    joint.evaluate(system, lesions, objective=plain)  # nothing is counted, nothing is known
    codec.said = "rounded"
    joint.evaluate(system, lesions, objective=plain, count_bytes=True)
    honest = joint.ImagingSystem(codec=compress.JPEG(50))
    found = joint.evaluate(honest, lesions, objective=plain, count_bytes=True)
    assert found.rate == "bytes"
