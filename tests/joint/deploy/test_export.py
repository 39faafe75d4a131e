"""Files of a graph: what another runtime computes, and what is refused."""

import copy
import functools
import importlib
import json
import math
import re

import pytest
import small
import torch

import classify
import compress
import optics
from joint import ImagingSystem, export
from joint.deploy.export import check_target
from joint.deploy.graph_file import DESCRIPTION, FORMATS
from joint.saved.checkpoint import CheckpointError
from joint.system import seen_by

# A module to patch: `joint.export` is its function.
module = importlib.import_module("joint.deploy.export")

NAMES = ("a", "b", "c")


def build(codec: compress.Codec | None = None) -> ImagingSystem:
    """A camera with two exposures, so that raw codes are something else than a picture.

    Its classifier is small: what an export costs is the number of operations.
    """
    return ImagingSystem(
        front_end=optics.LearnedKernel("unsharp", 5),
        sensor=optics.Sensor(2000, bit_depth=10, black_level=64),
        codec=codec,
        classifier=small.Head(),
    )


@pytest.fixture(scope="module")
def scenes() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def scores(path, value: torch.Tensor) -> torch.Tensor:
    """What somebody without this library gets."""
    if path.suffix == ".pt2":
        return loaded(path, path.stat().st_mtime_ns)[0](value)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert taken.name == "pictures"
    assert given.name == description(path)["gives"].split(",")[0]
    return torch.from_numpy(session.run(None, {"pictures": value.numpy()})[0])


@functools.lru_cache(maxsize=8)
def loaded(path, written: int):
    """Function and description of a .pt2, which takes seconds to load."""
    extra = {DESCRIPTION: ""}
    return torch.export.load(path, extra_files=extra).module(), extra[DESCRIPTION]


def description(path) -> dict:
    if path.suffix == ".pt2":
        return json.loads(loaded(path, path.stat().st_mtime_ns)[1])
    runtime = pytest.importorskip("onnxruntime")
    properties = runtime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return json.loads(properties[DESCRIPTION])


@pytest.fixture(scope="module", params=[".pt2", ".onnx"])
def suffix(request):
    if request.param == ".onnx":
        pytest.importorskip("onnxscript")
    return request.param


@pytest.fixture
def path(suffix, tmp_path):
    return tmp_path / f"graph{suffix}"


@pytest.fixture(scope="module")
def exported(suffix, scenes, tmp_path_factory):
    """A system with all stages but a restoration, and its file for each plane."""
    torch.manual_seed(6)  # of this codec and head, the scores change well with the quality
    system = build(compress.FactorizedCodec(levels=3))
    system.codec.quality = 0.5
    before = {name: value.clone() for name, value in system.state_dict().items()}
    done = {}
    for plane in ("codes", "measurement", "handed"):
        system.train(plane != "codes")
        path = tmp_path_factory.mktemp("graph") / f"{plane}{suffix}"
        done[plane] = export(system, scenes, path, plane=plane, classes=NAMES)
        assert done[plane].path == path
        # The system is as it was: its modes, its weights, its exactness.
        assert all(part.training == (plane != "codes") for part in system.modules())
        assert system.codec.exact
    after = system.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    return system.eval(), done


@pytest.mark.parametrize("plane", ["codes", "measurement", "handed"])
def test_the_file_computes_what_the_system_does(exported, plane):
    system, done = exported[0], exported[1][plane]
    generator = torch.Generator().manual_seed(5)
    others = torch.rand(5, 3, 32, 32, generator=generator)  # other pictures, another number
    with torch.no_grad():
        output = system(others, generator=generator)
    if plane == "codes":  # integers from 0 to 1023, as a camera writes them
        taken = (output.raw * (1023 - 64) + 64).round()
        assert taken.min() >= 0
        assert taken.max() > 400
    else:
        taken = getattr(output, plane)
    # Without exact sums a code of the codec may fall to the other side of an edge.
    close = 5e-3 if done.path.suffix == ".onnx" and plane != "handed" else 1e-5
    for count in (5, 1):
        found, wanted = scores(done.path, taken[:count]), output.logits[:count]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=close)
    assert done.shape == tuple(taken.shape[1:])
    assert done.size == done.path.stat().st_size
    assert done.difference < close
    assert "a, b, c" in str(done)
    assert f"read again, of {done.pictures} pictures no score differs by more than" in str(done)
    camera = {"black_level": 64, "top": 1023, "exposures": 2, "cfa": None, "cfa_channels": None}
    codec = {} if plane == "handed" else {"quality": 0.5}  # by which files can be told apart
    for quality in (0.0, 2.0) if plane == "measurement" else ():
        of_quality = copy.deepcopy(system)
        of_quality.codec.quality = quality
        with torch.no_grad():
            other = of_quality(others, generator=torch.Generator().manual_seed(5)).logits
        assert (other - output.logits).abs().max() > 1e-4
    assert description(done.path) == (camera if plane == "codes" else {}) | codec | {
        "takes": plane,
        "shape": ["pictures", *done.shape],
        "encoding": "DN, 0 to 1023" if plane == "codes" else "srgb",
        "gives": "scores, before the softmax",
        "classes": list(NAMES),
    }


@pytest.mark.parametrize("codec", [compress.FactorizedCodec(levels=3), compress.Autoencoder()])
def test_a_camera_and_what_it_sends_to_meet_at_the_latent(
    suffix, tmp_path, scenes, exported, codec
):
    system = build(codec).eval()
    if isinstance(codec, compress.FactorizedCodec):
        codec.quality = 2.0
    elif suffix == ".pt2":
        pytest.skip("what is exact is so with either codec")
    camera, server = tmp_path / f"camera{suffix}", tmp_path / f"server{suffix}"
    done = export(system, scenes, camera, plane="codes", until="latent")
    export(system, scenes, server, plane="latent", classes=NAMES)
    with torch.no_grad():
        light = system.image(scenes)
        codes = system.sensor.codes(light, exposures=2, generator=torch.Generator().manual_seed(3))
        output = system(scenes, generator=torch.Generator().manual_seed(3))
    latent = scores(camera, codes)
    assert done.gives == tuple(latent.shape[1:]) == tuple(output.coded.latent.shape[1:])
    assert f"to latent [pictures, {', '.join(map(str, done.gives))}]; read again" in str(done)
    assert done.classes == ()
    apart = (latent - output.coded.latent).abs()
    if isinstance(codec, compress.FactorizedCodec):
        assert torch.equal(latent, latent.round())
        assert latent.abs().max() > 3
        assert float((apart > 0).double().mean()) <= (0 if suffix == ".pt2" else 2e-3)
    else:
        assert apart.max() <= 1e-3
    found = scores(server, output.coded.latent)
    torch.testing.assert_close(found, output.logits, rtol=1e-5, atol=1e-5)
    # Neither holds the half of the other.
    whole = exported[1]["codes"].size
    assert camera.stat().st_size < 0.75 * whole
    assert server.stat().st_size < 0.75 * whole
    told = description(camera)
    assert told["gives_shape"] == ["pictures", *done.gives]
    assert told["gives_encoding"] == (
        "latent units" if isinstance(codec, compress.Autoencoder) else "quantisation steps"
    )
    assert "classes" not in told
    assert told["pixels"] == description(server)["pixels"] == [32, 32]
    assert told["quality"] == description(server)["quality"] == getattr(codec, "quality", None)
    assert description(server)["encoding"] == told["gives_encoding"]


def test_a_camera_without_codec_and_classifier_gives_its_picture(path, scenes):
    system = build().replace(classifier=None).eval()
    done = export(system, scenes, path, plane="codes", until="handed")
    with torch.no_grad():
        output = system(scenes, generator=torch.Generator().manual_seed(3))
    codes = (output.raw * (1023 - 64) + 64).round()
    torch.testing.assert_close(scores(path, codes), output.handed, rtol=0, atol=1e-5)
    assert done.gives == (3, 32, 32)
    assert description(path)["gives_encoding"] == "srgb"


def test_a_hyperprior_is_an_onnx_from_its_latent_on(tmp_path, scenes):
    pytest.importorskip("onnxscript")
    system = build(compress.HyperpriorCodec()).eval()
    path = tmp_path / "server.onnx"
    export(system, scenes, path, plane="latent")
    with torch.no_grad():
        output = system(scenes, generator=torch.Generator().manual_seed(3))
    found = scores(path, output.coded.latent)
    torch.testing.assert_close(found, output.logits, rtol=1e-5, atol=1e-5)


def test_ends_that_are_not_there(tmp_path, scenes):
    file = tmp_path / "a.pt2"
    system = build(compress.FactorizedCodec())
    for plane, until in (("latent", "latent"), ("handed", "latent"), ("handed", "handed")):
        with pytest.raises(ValueError, match=f"until='{until}' does not come after plane='{plane}"):
            export(system, scenes, file, plane=plane, until=until)
    ends = "latent, handed, scores, probabilities"
    with pytest.raises(ValueError, match=f"until must be one of {ends}, not 'raw'"):
        export(system, scenes, file, until="raw")
    for codec, said in ((None, "no codec"), (compress.JPEG(80), "JPEG")):
        with pytest.raises(ValueError, match=f"needs a learned codec, not {said}"):
            export(build(codec), scenes, file, until="latent")
    with pytest.raises(ValueError, match="are one picture: begin at 'codes'"):
        export(build(), scenes, file, until="handed")
    with pytest.raises(ValueError, match=r"no classifier, and therefore.*until='handed' or until"):
        export(system.replace(classifier=None), scenes, file)
    assert not file.exists()


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_a_graph_gives_the_probabilities_of_a_rule(tmp_path, scenes, suffix):
    if suffix == "onnx":
        pytest.importorskip("onnxscript")
    file, system = tmp_path / f"a.{suffix}", build()
    rule = classify.DecisionRule(NAMES, 1.7, (0.5, -1.0, 0.5), fitted={"run": "x"})
    done = export(system, scenes, file, until="probabilities", classes=NAMES, rule=rule)
    assert (done.classes, done.gives, done.until) == (NAMES, (3,), "probabilities")
    assert "to probabilities [pictures, classes] (a, b, c); read again" in str(done)
    with torch.no_grad():
        output = system.eval()(scenes)
    wanted = (output.logits / 1.7 + torch.tensor([0.5, -1.0, 0.5])).softmax(1)
    found = scores(file, output.measurement)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    said = description(file)
    assert (said["gives"], said["classes"]) == ("probabilities", list(NAMES))
    assert classify.DecisionRule.from_dict(said["rule"]) == rule


def test_probabilities_without_a_rule_are_the_softmax(tmp_path, scenes):
    file, system = tmp_path / "a.pt2", build()
    done = export(system, scenes, file, until="probabilities")
    assert (done.classes, description(file)["rule"]) == (3, None)
    with torch.no_grad():
        output = system.eval()(scenes)
    torch.testing.assert_close(scores(file, output.measurement), output.logits.softmax(1))


def test_classes_that_nobody_named_are_those_of_the_rule(tmp_path, scenes):
    file, rule = tmp_path / "a.pt2", classify.DecisionRule(NAMES, 2.0)
    done = export(build(), scenes, file, until="probabilities", rule=rule)
    assert (done.classes, description(file)["classes"]) == (NAMES, list(NAMES))


@pytest.mark.parametrize("low", [-9.0, -300.0])
def test_a_wrong_probability_is_seen_where_it_is_small(tmp_path, scenes, monkeypatch, low):
    """One of seven times as much differs by less than 1e-2, where the class is a rare one."""
    rule = classify.DecisionRule(NAMES, 1.0, (0.0, -9.0, low))
    file = tmp_path / "a.pt2"
    export(build(), scenes, file, until="probabilities", rule=rule)  # 0 at times, on both sides
    file.unlink()

    class Wrong(module._Probabilities):
        def __init__(self, rule, like):
            super().__init__(rule, like)
            self.offset[1] += 2.0

    monkeypatch.setattr(module, "_Probabilities", Wrong)
    with pytest.raises(ValueError, match=r"probabilities of .*, and by up to 2 in their log"):
        export(build(), scenes, file, until="probabilities", rule=rule)
    assert not file.exists()


def test_a_rule_that_does_not_fit_is_refused(tmp_path, scenes):
    file, system, rule = tmp_path / "a.pt2", build(), classify.DecisionRule(NAMES, 2.0)
    with pytest.raises(ValueError, match=r"until='scores' ends before: give until='probabilities'"):
        export(system, scenes, file, rule=rule)
    how = {"until": "probabilities", "rule": rule}
    with pytest.raises(ValueError, match=r"the classes a, b, c, in this order, but the scores"):
        export(system, scenes, file, classes=("b", "a", "c"), **how)
    with pytest.raises(
        ValueError, match=r"this rule takes scores \[N, 2\] of the classes a, b, not"
    ):
        export(system, scenes, file, **{**how, "rule": classify.DecisionRule(("a", "b"))})
    with pytest.raises(ValueError, match="no classifier, and therefore no probabilities"):
        export(system.replace(classifier=None), scenes, file, **how)
    assert not file.exists()


@pytest.fixture
def told_to_give(monkeypatch):
    """Makes every .onnx give what a function of its input says; it needs no ONNX."""

    def give(run):
        false = FORMATS[".onnx"]._replace(
            check=lambda: None, write=lambda *given: b"graph", read=lambda content: run
        )
        monkeypatch.setitem(FORMATS, ".onnx", false)

    return give


@pytest.mark.parametrize(("share", "steps"), [(0.008, 1), (0.02, 1), (0.001, 2)])
@pytest.mark.parametrize("scale", [1, 4])
def test_some_codes_of_an_onnx_may_fall_to_the_other_side(
    tmp_path, scenes, told_to_give, share, steps, scale
):
    system = build(compress.FactorizedCodec()).eval()
    with torch.no_grad():  # larger codes are whole numbers, too
        system.codec.gain.log_gain += math.log2(scale)

    def wrong(value):
        made = system.codec.encode(value)
        assert float(made.abs().max()) > scale / 2
        made.view(-1)[: round(share * made.numel())] += steps
        return made

    told_to_give(wrong)
    many = scenes.repeat(3, 1, 1, 1)  # 4608 codes
    if (share, steps) != (0.008, 1):
        with pytest.raises(
            ValueError, match=r"latent of the file differ by .*% of its codes differ"
        ):
            export(system, many, tmp_path / "a.onnx", until="latent")
    else:
        done = export(system, many, tmp_path / "a.onnx", until="latent")
        assert done.difference == pytest.approx(1)
        assert 0.008 <= done.flipped < 0.01
        assert "% of the codes do by a step" in str(done)


def test_each_half_is_without_the_weights_of_the_other(tmp_path, scenes):
    system = build(compress.HyperpriorCodec()).eval()
    held = {}
    for name, ends in (("camera", {"until": "latent"}), ("server", {"plane": "latent"})):
        export(system, scenes, tmp_path / f"{name}.pt2", **ends)
        held[name] = {*torch.export.load(tmp_path / f"{name}.pt2").state_dict}
    assert not any("synthesis.layers" in key for key in held["camera"] if "side" not in key)
    assert any("analysis.layers" in key for key in held["camera"])
    assert not any("analysis" in key or "side" in key for key in held["server"])
    assert any("synthesis.layers" in key for key in held["server"])
    # The system itself keeps them.
    assert len(system.codec.synthesis.layers) > 1
    with pytest.raises(ValueError, match="until='latent' gives no scores"):
        export(system, scenes, tmp_path / "a.pt2", until="latent", classes=NAMES)


@pytest.mark.parametrize(
    ("form", "demosaicing"),
    [(".pt2", "bilinear"), (".pt2", "packed"), (".pt2", "none"), (".onnx", "bilinear")],
)
def test_behind_a_colour_filter_array_the_file_takes_the_mosaic(
    tmp_path, scenes, form, demosaicing
):
    if form == ".onnx":
        pytest.importorskip("onnxscript")
    path = tmp_path / f"graph{form}"
    sensor = optics.Sensor(
        500,
        cfa="rggb",
        black_level=64,
        quantum_efficiency=(0.5, 0.6, 0.4),
        white_balance=True,
        demosaicing=demosaicing,
    )
    channels, *size = sensor.picture_shape(3, 32, 32)
    assert size == ([16, 16] if demosaicing == "packed" else [32, 32])
    torch.manual_seed(0)
    system = ImagingSystem(sensor=sensor, classifier=small.Head(channels)).eval()
    done = export(system, scenes, path, plane="codes")
    assert done.shape == (1, 32, 32)
    assert description(path).items() >= {"cfa": ["rg", "gb"], "cfa_channels": "rgb"}.items()
    with torch.no_grad():
        output = system(scenes, generator=torch.Generator().manual_seed(3))
        light = system.image(scenes)
        mosaic = system.sensor.codes(light, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mosaic, mosaic.round())
    torch.testing.assert_close(scores(path, mosaic), output.logits, rtol=1e-4, atol=1e-5)


def test_it_holds_no_weights_of_stages_before_its_plane(exported):
    system, done = exported
    codec = sum(p.numel() for p in system.codec.parameters())
    # Of 4 bytes each, and some are not needed.
    assert done["measurement"].size - done["handed"].size > 2 * codec


def test_classes_are_those_that_the_system_knows(tmp_path, scenes):
    system = build()
    system.classes = NAMES
    assert export(system, scenes, tmp_path / "a.pt2").classes == NAMES
    assert description(tmp_path / "a.pt2")["classes"] == list(NAMES)
    renamed = tuple(name.upper() for name in NAMES)
    assert export(system, scenes, tmp_path / "b.pt2", classes=renamed).classes == renamed
    with pytest.raises(ValueError, match=r"in this order, not for .*: leave classes out"):
        export(system, scenes, tmp_path / "c.pt2", classes=NAMES[::-1])
    assert not (tmp_path / "c.pt2").exists()


def test_classes_without_names_are_counted(tmp_path, scenes):
    done = export(build(), scenes, tmp_path / "a.pt2")
    assert done.classes == 3
    assert description(tmp_path / "a.pt2")["classes"] == 3


def test_linear_light_says_so(tmp_path, scenes):
    system = ImagingSystem(classifier=build().classifier, encoding="linear")
    export(system, scenes, tmp_path / "a.PT2").path.rename(tmp_path / "a.pt2")
    assert description(tmp_path / "a.pt2")["encoding"] == "linear"


def test_a_file_with_other_scores_is_not_kept(tmp_path, scenes, monkeypatch):
    target = tmp_path / "a.pt2"
    target.write_bytes(b"before")
    real = torch.export.load

    class Wrong:
        def __init__(self, program):
            self.program = program

        def module(self):
            return lambda value: self.program.module()(value) + 0.5

    monkeypatch.setattr(torch.export, "load", lambda file: Wrong(real(file)))
    with pytest.raises(ValueError, match=r"differ by up to 0\.5.*nothing was written"):
        export(build(), scenes, target)
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt2"]


def test_no_number_for_a_picture_alone_is_another_score(tmp_path, scenes, monkeypatch):
    real = FORMATS[".pt2"]

    def read(content):
        run = real.read(content)
        return lambda value: run(value) * (1.0 if len(value) > 1 else float("nan"))

    monkeypatch.setitem(FORMATS, ".pt2", real._replace(read=read))
    with pytest.raises(ValueError, match="differ by up to nan"):
        export(ImagingSystem(classifier=small.Head()), scenes, tmp_path / "a.pt2")
    assert not [*tmp_path.iterdir()]


class _Constant(torch.nn.Module):
    """The same scores of every picture."""

    def __init__(self, *scores: float):
        super().__init__()
        self.register_buffer("scores", torch.tensor([scores]))

    def forward(self, pictures):
        return self.scores.expand(len(pictures), -1)


@pytest.mark.parametrize(
    ("said", "allowed"),
    [((1.0, -200.0), 2.0), ((0.01, 0.02), 0.01)],  # of the largest, and of 1 where all are smaller
)
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_may_differ_by_a_hundredth_of_the_largest(
    tmp_path, scenes, monkeypatch, said, allowed, sign
):
    real, system = FORMATS[".pt2"], ImagingSystem(classifier=_Constant(*said))

    def off_by(error: float):
        # One score of the last picture: neither the mean, nor the first one.
        def run(value):
            scores = torch.tensor([said]).repeat(len(value), 1)
            scores[-1, -1] += sign * error * (len(value) > 1)
            return scores

        false = real._replace(write=lambda *given: b"graph", read=lambda content: run)
        monkeypatch.setitem(FORMATS, ".pt2", false)
        return export(system, scenes, tmp_path / "a.pt2")

    assert off_by(0.9 * allowed).difference == pytest.approx(0.9 * allowed, rel=1e-5)
    with pytest.raises(ValueError, match="the scores of the file differ"):
        off_by(1.1 * allowed)


@pytest.mark.parametrize(
    ("codec", "plane"),
    [(compress.JPEG(50), "measurement"), (compress.KMeansCodec(4), "codes")],
)
def test_a_codec_outside_of_torch_is_left_out(tmp_path, scenes, codec, plane):
    with pytest.raises(ValueError, match=f"{type(codec).__name__} computes outside .*'handed'"):
        export(build(codec), scenes, tmp_path / "a.pt2", plane=plane)
    export(build(codec), scenes, tmp_path / "a.pt2", plane="handed")


def test_nothing_that_ends_at_a_codec_outside_of_torch_can_be_exported(tmp_path, scenes):
    message = r"outside of torch: give until='scores' and .*'handed' .*; or leave the codec out"
    with pytest.raises(ValueError, match=message):
        export(build(compress.JPEG(50)), scenes, tmp_path / "a.pt2", until="handed")


def test_a_hyperprior_is_no_onnx(tmp_path, scenes):
    pytest.importorskip("onnxscript")
    system = build(compress.HyperpriorCodec())
    with pytest.raises(
        ValueError, match=r"exact sums .* a \.pt2, or begin at plane='latent' or 'h"
    ):
        export(system, scenes, tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]
    export(system, scenes, tmp_path / "a.pt2")


def test_an_autoencoder_of_quantised_latents_is_an_onnx(tmp_path, scenes):
    pytest.importorskip("onnxscript")
    system = build(compress.Autoencoder(6, latent_bits=8)).eval()
    assert export(system, scenes, tmp_path / "a.onnx").difference < 5e-3
    assert system.codec.exact


def test_a_system_in_float64_is_no_onnx(tmp_path, scenes):
    pytest.importorskip("onnxscript")
    system = ImagingSystem(classifier=build().classifier).double()
    message = r"ONNX Runtime cannot run this system.* give system\.float\(\) and scenes\.float\(\)"
    with pytest.raises(ValueError, match=message):
        export(system, scenes.double(), tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_classifier_of_another_type_is_handed_it(tmp_path, scenes, kind):
    """Scores are of its type, probabilities single at least, of scores as far apart as any."""
    system = build().eval()
    system.classifier.net[-1].weight.data *= 2000
    system.classifier.to(kind)
    with torch.no_grad():
        handed = system(scenes, generator=torch.Generator().manual_seed(0)).handed
        wanted = seen_by(system.classifier, handed)
    assert wanted.amax() - wanted.amin() > 15
    for until, of in (("scores", kind), ("probabilities", torch.promote_types(kind, scenes.dtype))):
        done = export(system, scenes, tmp_path / "a.pt2", plane="handed", until=until)
        found = scores(done.path, handed)
        assert found.dtype == of
        expected = wanted if until == "scores" else wanted.to(of).softmax(1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_a_system_in_bfloat16_is_no_onnx(tmp_path, scenes):
    pytest.importorskip("onnxscript")
    system = ImagingSystem(classifier=build().classifier.bfloat16())
    message = r"ONNX Runtime cannot run this system.* in bfloat16: give system\.float\(\)$"
    with pytest.raises(ValueError, match=message):
        export(system, scenes, tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]


def test_one_example_is_enough_for_any_number_of_pictures(path, scenes, tmp_path):
    # One that is shipped.
    torch.manual_seed(0)
    classifier = classify.backbone("resnet_s", 3, image_size=(32, 32))
    system = ImagingSystem(classifier=classifier).eval()
    export(system, scenes[:1], path)
    with torch.no_grad():
        wanted = system(scenes).logits
    torch.testing.assert_close(scores(path, scenes), wanted)
    with pytest.raises(ValueError, match="no example scenes"):
        export(system, scenes[:0], tmp_path / "none.pt2")


def test_codes_that_fall_to_the_other_side_are_named(tmp_path, scenes, told_to_give):
    told_to_give(lambda value: torch.full((len(value), 3), 100.0))
    system = build(compress.Autoencoder(6))
    with pytest.raises(ValueError, match="a code at the edge between two steps"):
        export(system, scenes, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"nothing was written$"):
        export(system, scenes, tmp_path / "a.onnx", plane="handed")


def test_a_restoration_is_a_graph_of_torch_only(tmp_path, scenes):
    psf = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(2))
    system = ImagingSystem(
        front_end=optics.IncoherentImaging(psf / (30 * psf.mean()), restoration=optics.Wiener()),
        sensor=optics.Sensor(2000),
        classifier=build().classifier,
    ).eval()
    export(system, scenes, tmp_path / "a.pt2", plane="codes")
    with torch.no_grad():
        output = system(scenes, generator=torch.Generator().manual_seed(0))
    codes = (output.raw * 1023).round()
    torch.testing.assert_close(scores(tmp_path / "a.pt2", codes), output.logits)
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=r"ONNX cannot hold this system; a \.pt2 can: .*fft"):
        export(system, scenes, tmp_path / "a.onnx", plane="codes")


class _Priced(compress.Codec):
    """Hands pictures on, at a price of side information that has as many entries as they are."""

    channels = 3

    def __init__(self, side):
        super().__init__()
        self.side = side

    def forward(self, image, *, generator=None):
        return compress.Coded(
            reconstruction=image,
            latent=image,
            bits_map=image[:, :1],
            side_bits=self.side(image),
            rate="rounded",
        )

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


def test_a_codec_of_ones_own_that_computes_outside_is_told_where_to_begin(tmp_path, scenes):
    def side(image):
        return torch.from_numpy(image.numpy().sum((1, 2, 3)))

    system = build().replace(codec=_Priced(side))
    message = r"torch.export cannot make .* A stage takes values out of tensors; if it is the "
    codec = r"codec, begin behind it, at plane='handed' \(--plane handed\)$"
    with pytest.raises(ValueError, match=message + codec):
        export(system, scenes, tmp_path / "a.pt2")
    camera = r"sensor or the restoration, begin behind it, at plane='measurement' .*; if it is the "
    with pytest.raises(ValueError, match=message + camera + codec):
        export(system, scenes, tmp_path / "a.pt2", plane="codes")
    with pytest.raises(ValueError, match=r"out of tensors$"):  # nothing is behind it
        export(system, scenes, tmp_path / "a.pt2", until="handed")
    assert not [*tmp_path.iterdir()]
    export(system, scenes, tmp_path / "a.pt2", plane="handed")


class _Choosy(torch.nn.Module):
    """Gives what depends on the largest value."""

    def forward(self, pictures):
        means = pictures.mean((2, 3))
        return means if means.max() > 0.5 else -means


def test_a_classifier_that_takes_values_out_of_tensors_is_not_told_to_begin_behind_it(
    tmp_path, scenes
):
    system = build(compress.Autoencoder(6)).replace(classifier=_Choosy())
    message = r"A stage takes values out of tensors; if it is the codec, begin behind it, at plane="
    with pytest.raises(ValueError, match=message):
        export(system, scenes, tmp_path / "a.pt2")
    with pytest.raises(ValueError, match=r"A stage takes values out of tensors$"):
        export(system, scenes, tmp_path / "a.pt2", plane="handed")


@pytest.mark.parametrize("name", ["a.pt2", "a.onnx"])
def test_a_number_of_pictures_that_a_stage_fixed_is_named(name, tmp_path, scenes):
    if name.endswith("onnx"):
        pytest.importorskip("onnxscript")
    system = build()
    own = system.replace(codec=_Priced(lambda image: torch.zeros(len(image))))
    with pytest.raises(ValueError, match=r"fixed by len\(\) or int\(\) in the forward of a stage"):
        export(own, scenes, tmp_path / name)
    assert not list(tmp_path.iterdir())
    free = system.replace(codec=_Priced(lambda image: image.new_zeros(image.shape[0])))
    export(free, scenes, tmp_path / name)


class _Says(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pictures):
        return self.answer


def test_a_vision_transformer_is_a_graph_of_any_number_of_pictures(path, scenes):
    torch.manual_seed(0)
    classifier = classify.backbone("vit_tiny_16", 3, image_size=(32, 32))
    # One of its twelve blocks, which are alike.
    classifier.net.encoder.layers = classifier.net.encoder.layers[:1]
    export(ImagingSystem(classifier=classifier).eval(), scenes, path)
    with torch.no_grad():
        wanted = classifier.eval()(scenes[:3])
    torch.testing.assert_close(scores(path, scenes[:3]), wanted, rtol=1e-4, atol=1e-5)


def test_what_is_refused(tmp_path, scenes):
    system = build()
    for given in ((None, scenes), ("runs/mine", scenes)):
        with pytest.raises(TypeError, match=r"system must be a joint\.ImagingSystem, not"):
            export(*given, tmp_path / "a.pt2")
    for wrong in (None, scenes.numpy()):
        with pytest.raises(
            TypeError, match=r"scenes must be a Tensor \[B, C, H, W\] in 0\.\.1, not"
        ):
            export(system, wrong, tmp_path / "a.pt2")
    with pytest.raises(TypeError, match=r"path must be a path, .* not int"):
        export(system, scenes, 3)
    with pytest.raises(ValueError, match=r"written as \.pt2 or \.onnx, not as 'a\.pt'"):
        export(system, scenes, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="plane must be one of codes, measurement, latent, handed"):
        export(system, scenes, tmp_path / "a.pt2", plane="scene")
    with pytest.raises(ValueError, match="2 classes are named, but there are 3 scores"):
        export(system, scenes, tmp_path / "a.pt2", classes=("a", "b"))
    with pytest.raises(ValueError, match=r"names, such as .*, not the one word 'abc'"):
        export(system, scenes, tmp_path / "a.pt2", classes="abc")
    for odd, made in (((0, 0), "tuple"), (torch.zeros(len(scenes)), f"[{len(scenes)}]")):
        other = system.replace(classifier=_Says(odd))
        said = f"must give scores [pictures, classes], not {made}"
        with pytest.raises(ValueError, match=re.escape(said)):
            export(other, scenes, tmp_path / "a.pt2")
    with pytest.raises(ValueError, match="no classifier"):
        export(ImagingSystem(sensor=optics.Sensor(100)), scenes, tmp_path / "a.pt2")
    bare = ImagingSystem(classifier=system.classifier)
    with pytest.raises(ValueError, match="no plane 'codes', which needs a sensor"):
        export(bare, scenes, tmp_path / "a.pt2", plane="codes")
    with pytest.raises(ValueError, match="divide 8-bit codes by 255"):
        export(system, 255 * scenes, tmp_path / "a.pt2")
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write .*a\.pt2"):
        check_target(tmp_path / "file" / "a.pt2")
    with pytest.raises(ValueError, match=r"folder\.pt2 is a folder"):
        export(system, scenes, tmp_path / "folder.pt2")


def test_from_the_codes_of_a_packed_mosaic_to_the_scores_of_its_restored_picture(path, scenes):
    torch.manual_seed(0)
    net = optics.RestorationUNet(4, out_channels=3, upscaling=2, width=4)
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    system = ImagingSystem(
        sensor=optics.Sensor(500, cfa="rggb", black_level=64, demosaicing="packed"),
        restoration=net,
        classifier=small.Head(),
    ).eval()
    done = export(system, scenes, path, plane="codes")
    assert done.shape == (1, 32, 32)
    with torch.no_grad():
        output = system(scenes, generator=torch.Generator().manual_seed(3))
        codes = system.sensor.codes(
            system.image(scenes), generator=torch.Generator().manual_seed(3)
        )
    torch.testing.assert_close(scores(path, codes), output.logits, rtol=1e-4, atol=1e-5)
    if path.suffix == ".pt2":  # behind the restoration it is in no file
        later = path.with_stem("later")
        assert export(system, scenes, later, plane="measurement").size < done.size
