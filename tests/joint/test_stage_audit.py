import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint import audit_stage

SIDE = (24, 28)


@pytest.fixture(scope="module")
def pictures():
    light = torch.tensor([1.0, 0.8, 0.6])[:, None, None, None]
    return light * torch.rand(3, 3, *SIDE, generator=torch.Generator().manual_seed(0))


def _pupil(**settings):
    plate = optics.CubicMask(
        48, spacing=40e-6, diameter=48 * 40e-6, alpha=1.0, design_wavelength=550e-9
    )
    return optics.Pupil(
        [plate], wavelengths=(620e-9, 540e-9, 460e-9), focal_length=20e-3, pixel_pitch=2.5e-6,
        psf_size=7, **settings,
    )  # fmt: skip


STAGES = {
    "sobel": lambda: optics.LearnedKernel("sobel", 5),
    "fourier": lambda: optics.FourierFilter(SIDE, "spiral"),
    "incoherent fourier": lambda: optics.FourierFilter(SIDE, "open", illumination="incoherent"),
    "lens": lambda: optics.IncoherentImaging(_pupil()),
    "distances": lambda: optics.IncoherentImaging(_pupil(), working_distances=(0.3, math.inf)),
    "restored": lambda: optics.IncoherentImaging(_pupil(), restoration=optics.Wiener()),
    "distorted": lambda: optics.IncoherentImaging(
        (torch.ones(1, 3, 3) / 9).expand(3, -1, -1),
        projection=optics.Projection(radial=(0.2,)),
    ),
    "shutter": lambda: optics.CodedExposure("open", motion=1.0, slots=3),
    "mixed": lambda: optics.LearnedKernel("log", 3, mix_channels=True),
    "wide": lambda: optics.LearnedKernel("random", 23, boundary="zero"),
    "autoencoder": lambda: compress.Autoencoder(3, latent_bits=6),
    "bare autoencoder": lambda: compress.Autoencoder(3),
    "factorized": compress.FactorizedCodec,
    "hyperprior": compress.HyperpriorCodec,
    "k-means": lambda: compress.KMeansCodec(4),
    "jpeg": lambda: compress.JPEG(50),
    "differentiable jpeg": lambda: compress.DifferentiableJPEG(50),
    "png": compress.PNG,
    "webp": lambda: compress.WebP(50),
    "residual net": lambda: classify.backbone("resnet_s", classes=7),
    "restoration": optics.RestorationUNet,
}


def test_light_that_falls_towards_the_border_is_that_of_the_whole_picture(pictures):
    side = torch.linspace(-1, 1, 5)
    falling = 0.9 - 0.2 * (side[:, None].square() + side.square())
    lens = optics.VaryingImaging(falling[..., None, None], rank=1, channels=3)
    found = audit_stage(lens, pictures)
    assert found.broken == (), str(found)


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_of_the_library_keep_every_promise(name, pictures):
    torch.manual_seed(0)
    found = audit_stage(STAGES[name](), pictures)
    assert found.broken == (), str(found)
    assert len(found.promises) > 3
    assert "0 of" in str(found).splitlines()[0]


class _Good(optics.FrontEnd):
    """Two exposures that share the light of a filter."""

    in_channels, out_channels, exposures = 3, 3, 2

    def __init__(self, gain: float = 0.75) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, scene):
        return torch.cat([scene, scene], 1) * self.gain / 2

    def throughput(self):
        return self.gain

    def combine(self, raw):
        return raw[:, :3] + raw[:, 3:]


class _Bright(_Good):
    def forward(self, scene):
        return super().forward(scene) * 1.5


class _Dim(_Good):
    def throughput(self):
        return self.gain * 1.2


class _Amplifying(_Good):
    def __init__(self):
        super().__init__(1.25)


class _Negative(_Good):
    def forward(self, scene):
        return super().forward(scene) - 0.1


class _Gamma(_Good):
    def forward(self, scene):
        return super().forward(scene).clamp_min(1e-6).sqrt() * 0.5


class _Three(_Good):
    def throughput(self):
        return self.gain.expand(3)


class _Difference(_Good):
    def combine(self, raw):
        return raw.mean(1, keepdim=True)


class _Normalising(_Good):
    def forward(self, scene):
        return super().forward(scene) / scene.amax()


class _Odd(_Good):
    def forward(self, scene):
        return super().forward(scene)[:, :5]

    def combine(self, raw):
        return raw[:, :3] * 2


class _Detached(_Good):
    def forward(self, scene):
        return super().forward(scene.detach())


class _Single(_Good):
    def forward(self, scene):
        return super().forward(scene.float())

    def double(self):
        return self


class _Hidden(_Good):
    def __init__(self, sigma: float = 1.75) -> None:
        super().__init__()
        self._sigma = torch.tensor([sigma])


class _Known(_Good):
    def __init__(self, sigma: float = 1.75, ends: tuple[float, float] = (1.0, 2.0)) -> None:
        super().__init__()
        self.sigma, self._ends = sigma, ends


class _Told(_Hidden):
    def __init__(self, sigma: float = -1.5, far: float = math.inf) -> None:
        super().__init__(sigma)
        self.far = far

    def extra_repr(self):
        return f"sigma={self._sigma.item()}, far={self.far}"


class _Similar(_Hidden):
    """Tells another setting, of a similar name."""

    def extra_repr(self):
        return "sigma_far=2"


class _Counting(_Good):
    def __init__(self):
        super().__init__()
        self.calls = self._quietly = 0

    def forward(self, scene):
        self.calls += 1
        self._quietly += 1
        return super().forward(scene)


class _Within(_Good):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(_Hidden())
        self.first.requires_grad_(False)


class _InCombine(_Good):
    def __init__(self):
        super().__init__()
        self.late = nn.Parameter(torch.ones(()))

    def combine(self, raw):
        return self.late * super().combine(raw)


class _Unused(_Good):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("stage", "broken"),
    [
        (_Good, {}),
        (_Known, {}),
        (_Told, {}),
        (_InCombine, {}),
        (_Within, {"settings": "_Hidden.sigma is no number"}),
        (_Bright, {"throughput": "0.75, but 1.125 of the light"}),
        (_Dim, {"throughput": "0.9, but 0.75 of the light"}),
        (_Amplifying, {"throughput": "1.25, but nothing passive"}),
        (_Negative, {"light": "no negative light", "linear": "is not that of", "throughput": ""}),
        (_Gamma, {"linear": "is not that of all", "throughput": ""}),
        (_Three, {"throughput": r"one number, a scalar Tensor, not [3]"}),
        (_Difference, {"combine": "[3, 1, 24, 28], but out_channels is 3"}),
        (_Normalising, {"linear": "", "batch": "another result alone than in a batch"}),
        (
            _Odd,
            {
                "shape": "[3, 5, 24, 28] of scenes [3, 3, 24, 28], and not [3, 2 * C",
            },
        ),
        (_Detached, {"gradient": "none reaches the pictures"}),
        (_Single, {"float64": "float32 for light in float64"}),
        (_Hidden, {"settings": "sigma is no number"}),
        (_Similar, {"settings": "sigma is no number"}),
        (_Counting, {"settings": "a pass changes what a run is known by (calls=0 there, calls="}),
        (_Unused, {"gradient": "none reaches spare"}),
    ],
)
def test_a_front_end_that_breaks_a_promise_is_told(stage, broken, pictures):
    found = audit_stage(stage(), pictures)
    assert {promise.name for promise in found.broken} == set(broken), str(found)
    for promise in found.broken:
        assert broken[promise.name] in promise.told
        assert promise.told in str(found)


def test_it_says_as_what_a_stage_was_audited(pictures):
    blur = audit_stage(nn.AvgPool2d(3, 1, 1), pictures)
    assert blur.kind == "classifier"
    said = str(blur).splitlines()[0]
    assert said.startswith("AvgPool2d, as a network")
    assert "a front end derives from optics.FrontEnd" in said
    for stage, kind in (_Good(), "front_end"), (_Raw(), "codec"):
        found = audit_stage(stage, pictures)
        assert found.kind == kind
        assert f", as a {kind.replace('_', ' ')}: " in str(found).splitlines()[0]


def test_what_raises_is_told_and_the_audit_goes_on(pictures):
    class Faulty(_Good):
        def combine(self, raw):
            raise RuntimeError("not\n  written")

    combine, gradient = audit_stage(Faulty(), pictures).broken
    assert gradient.told == combine.told
    assert combine == joint.Promise("combine", False, "RuntimeError: not written")


class _Raw(compress.Codec):
    """Pictures of 8 bits, as they are."""

    def forward(self, image, *, generator=None):
        bits = image.new_full((len(image), 1, *image.shape[-2:]), 24.0)
        made = compress.round_straight_through(255 * image) / 255
        return compress.Coded(
            reconstruction=made, latent=made, bits_map=bits,
            side_bits=image.new_full((len(image),), 32.0), rate="bytes",
        )  # fmt: skip

    def compress(self, image):
        codes = (255 * image).round().to(torch.uint8)
        size = bytes([*image.shape[-2:], 0, 0])
        return [size + one.numpy().tobytes() for one in codes.detach()]

    def decompress(self, payloads):
        return torch.stack([self._picture(payload) for payload in payloads])

    def _picture(self, payload):
        if len(payload) < 4 or len(payload) != 4 + 3 * payload[0] * payload[1]:
            raise compress.CorruptStream("cut")
        codes = torch.frombuffer(bytearray(payload[4:]), dtype=torch.uint8)
        return codes.reshape(3, payload[0], payload[1]) / 255


class _Padded(_Raw):
    def forward(self, image, *, generator=None):
        return super().forward(nn.functional.pad(image, (0, -image.shape[-1] % 4)))


class _Cheap(_Raw):
    def forward(self, image, *, generator=None):
        coded = super().forward(image)
        return replace(coded, bits_map=coded.bits_map / 2)


class _Estimated(_Raw):
    def forward(self, image, *, generator=None):
        coded = super().forward(image)
        return replace(coded, bits_map=coded.bits_map * 1.01, rate="rounded")


class _Free(_Raw):
    def forward(self, image, *, generator=None):
        coded = super().forward(image)
        return replace(coded, bits_map=coded.bits_map.index_fill(3, torch.tensor(0), -1.0))


class _Lossier(_Raw):
    def _picture(self, payload):
        return super()._picture(payload) * 0.9


class _Inexact(_Raw):
    exact = False

    def decompress(self, payloads):
        return super().decompress(payloads) + 1e-7 * len(payloads)


class _Shifted(_Raw):
    def forward(self, image, *, generator=None):
        coded = super().forward(image)
        share = torch.linspace(0.5, 1.5, len(image))[:, None, None, None]
        return replace(coded, bits_map=coded.bits_map * share)


class _Unpriced(_Raw):
    def forward(self, image, *, generator=None):
        return replace(super().forward(image), rate=None)


class _Together(_Raw):
    def decompress(self, payloads):
        return super().decompress(payloads) / (1 if len(payloads) == 3 else 2)


class _Averaged(_Raw):
    def compress(self, image):
        return super().compress(image - image.mean() + 0.5)


class _Tolerant(_Raw):
    def _picture(self, payload):
        return super()._picture(payload) if len(payload) > 1000 else torch.zeros(3, 4, 4)


class _Careless(_Raw):
    def _picture(self, payload):
        return super()._picture(payload) if payload else {}["header"]


class _Stepped(_Raw):
    def forward(self, image, *, generator=None):
        return super().forward(image.detach())


class _Tensors(_Raw):
    def forward(self, image, *, generator=None):
        return image


@pytest.mark.parametrize(
    ("stage", "broken"),
    [
        (_Raw, {}),
        (_Estimated, {}),
        (_Inexact, {}),
        (_Padded, {"shape": "[3, 3, 21, 28] for [3, 3, 21, 27]", "files": "", "rate": ""}),
        (_Cheap, {"rate": "times its file, but the rate is declared as 'bytes'"}),
        (_Free, {"rate": "negative or not finite"}),
        (_Lossier, {"files": "up to 0.1 from forward's"}),
        (_Averaged, {"files": ""}),
        (_Shifted, {"rate": "sum to 0.5"}),
        (_Unpriced, {"rate": "in evaluation mode it is bytes or rounded, not None"}),
        (_Together, {"files": "a file alone decodes to another picture"}),
        (_Tolerant, {"damage": "a file that was cut to 0 of"}),
        (_Careless, {"damage": "raises KeyError, not compress.CorruptStream"}),
        (_Stepped, {"gradient": "detached from the pictures"}),
        (
            _Tensors,
            dict.fromkeys(
                ("shape", "files", "rate", "gradient"), "must return a compress.Coded, not Tensor"
            ),
        ),
    ],
)
def test_a_codec_that_breaks_a_promise_is_told(stage, broken, pictures):
    found = audit_stage(stage(), pictures)
    assert {promise.name for promise in found.broken} == set(broken), str(found)
    for promise in found.broken:
        assert broken[promise.name] in promise.told


class _Scores(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, picture):
        return self.net(picture.mean((2, 3)))


class _Normed(_Scores):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, picture):
        return super().forward(self.norm(picture).square())


class _Named(_Scores):
    def forward(self, picture):
        return {"logits": super().forward(picture)}


class _Guesses(_Scores):
    def forward(self, picture):
        return super().forward(picture).argmax(1)


class _FromZero(_Scores):
    """Whose features stay, as an explanation may want them."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.net.weight)

    def forward(self, picture):
        self.features = picture.mean((2, 3))
        return self.net(self.features)


class _Auxiliary(_Scores):
    def __init__(self):
        super().__init__()
        self.aside = nn.Linear(3, 4)

    def forward(self, picture):
        scores = super().forward(picture)
        return scores + self.aside(picture.mean((2, 3))) if self.training else scores


class _Gated(_Scores):
    """A residual that begins at zero: what leads to it learns from the second step on."""

    def __init__(self):
        super().__init__()
        self.inner, self.gate = nn.Linear(3, 3), nn.Parameter(torch.zeros(3))

    def forward(self, picture):
        found = picture.mean((2, 3))
        return self.net(found + self.gate * self.inner(found))


class _Shut(_Gated):
    """A gate that stays at zero: what leads to it never learns."""

    def __init__(self):
        super().__init__()
        self.gate.requires_grad_(False)


class _Rounded(_Scores):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.2))

    def forward(self, picture):
        return super().forward(picture) * self.scale.round()


class _Infinite(_Scores):
    def forward(self, picture):
        return super().forward(picture) / 0.0


@pytest.mark.parametrize(
    ("stage", "broken"),
    [
        (_Scores, {}),
        (_FromZero, {}),
        (_Auxiliary, {}),
        (_Gated, {}),
        (_Shut, {"gradient": "none reaches inner"}),
        (_Rounded, {"gradient": "none reaches scale: "}),
        (_Normed, {"batch": "another result alone"}),
        (_Named, {"shape": "must return a Tensor, not dict", "batch": "", "gradient": ""}),
        (_Guesses, {"shape": "int64 [3]; a classifier returns scores", "gradient": ""}),
        (_Infinite, {"shape": "NaN or infinite", "batch": "", "gradient": ""}),
    ],
)
def test_a_network_that_breaks_a_promise_is_told(stage, broken, pictures):
    torch.manual_seed(0)
    found = audit_stage(stage(), pictures)
    assert {promise.name for promise in found.broken} == set(broken), str(found)
    for promise in found.broken:
        assert broken[promise.name] in promise.told


class _InPlace(_Scores):
    def forward(self, picture):
        picture -= picture.mean((2, 3), keepdim=True)
        return super().forward(picture.square())


class _InPlaceKernel(optics.LearnedKernel):
    def forward(self, scene):
        return 2 * super().forward(scene.mul_(0.5))


class _InPlaceCodec(compress.FactorizedCodec):
    def compress(self, image):
        return super().compress(image.mul_(0.5))


@pytest.mark.parametrize(
    ("stage", "broken"),
    [
        (_InPlace, {"input"}),
        (lambda: _InPlaceKernel("gaussian", 3), {"input"}),
        # Its files are of other pictures than its forward's.
        (_InPlaceCodec, {"input", "files", "rate"}),
    ],
)
def test_a_stage_that_changes_what_it_is_given_is_told_and_nothing_is_lost(stage, broken, pictures):
    torch.manual_seed(0)
    given = pictures.clone()
    found = audit_stage(stage(), given)
    assert torch.equal(given, pictures)
    assert {promise.name for promise in found.broken} <= broken, str(found)
    (told,) = [promise.told for promise in found.broken if promise.name == "input"]
    assert "a pass changes the pictures that it is given" in told


def test_the_stage_is_left_as_it_was(pictures):
    stage = classify.backbone("resnet_s", classes=7).train()
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    audit_stage(stage, pictures)
    assert stage.training
    assert all(parameter.grad is None for parameter in stage.parameters())
    assert all(torch.equal(before[name], after) for name, after in stage.state_dict().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((lambda x: x, torch.rand(2, 3, 8, 8)), "a torch.nn.Module, not function"),
        ((optics.Sensor(), torch.rand(2, 3, 8, 8)), "a torch.nn.Module, not Sensor"),
        ((_Good(), [[1]]), r"pictures must be a Tensor \[B, C, H, W\], not list"),
    ],
)
def test_what_is_no_stage_is_refused(given, message):
    with pytest.raises(TypeError, match=message):
        audit_stage(*given)


@pytest.mark.parametrize(
    "pictures",
    [torch.rand(1, 3, 8, 8), torch.rand(3, 8, 8), torch.rand(2, 3, 8, 8).double()],
)
def test_two_pictures_are_needed(pictures):
    with pytest.raises(ValueError, match="at least two of float32"):
        audit_stage(_Good(), pictures)


@pytest.mark.parametrize("seed", [True, 1.5])
def test_a_seed_is_whole(pictures, seed):
    with pytest.raises(ValueError, match=f"seed must be a whole number, not {seed}"):
        audit_stage(_Good(), pictures, seed=seed)
