"""Classifiers by name: a small residual net of our own, and the large ones of torchvision.

::

    picture [B,C,H,W] 0..1 ─► normalise ─► (resize) ─► net ─► dropout ─► head ─► logits [B,K]
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BACKBONES", "BackboneRecord", "Classifier", "ResNetS", "backbone"]

# Mean and deviation of ImageNet, in sRGB.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneRecord:
    """What there is to know of a backbone before building it."""

    build: Callable[[int], nn.Module]
    """Make the net, with a head of its own, for pictures of this size along a side."""
    head: str
    """Name of its last linear layer, as in public weights."""
    stem: str
    """Name of its first convolution."""
    feature_layer: str
    """Module of the net whose output is the last feature map, for class activation maps."""
    smallest: int = 32
    """Smallest picture that is accepted, pixels along a side."""
    enlarge: int = 0
    """Smaller pictures are enlarged to this; 0 leaves the size as it is."""
    patch: int = 0
    """Pictures are resized to a square of the next multiple of this, fixed at construction."""
    mean: tuple[float, float, float] = _MEAN
    """Subtracted from red, green and blue, as public weights expect."""
    deviation: tuple[float, float, float] = _DEVIATION
    """Divides them afterwards."""


def _torchvision(name: str, **options: object) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        import torchvision  # noqa: PLC0415 - seconds of import that most users never need

        sized = {"image_size": size} if name.startswith("vit") else {}
        return getattr(torchvision.models, name)(weights=None, **options, **sized)

    return build


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


@final
class ResNetS(nn.Module):
    """A residual net of 0.7 M parameters that trains on two cores.

    A 5x5 stem and four stages of 24, 48, 96 and 192 channels, each but the first halving the
    picture; any size from 8 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 192)
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = zip((widths[0], *widths), widths, (1, 2, 2, 2), strict=False)
        self.stages = nn.Sequential(*(_Residual(a, b, stride) for a, b, stride in pairs))
        self.fc = nn.Linear(widths[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Picture ``[B, C, H, W]`` to what the head says of 192 averaged features."""
        features = self.stages(functional.relu(self.norm(self.stem(image))))
        return self.fc(features.mean((-2, -1)))


#: Every backbone by name.
BACKBONES: Mapping[str, BackboneRecord] = {
    "resnet_s": BackboneRecord(lambda _: ResNetS(), "fc", "stem", "stages", smallest=8),
    "resnet18": BackboneRecord(_torchvision("resnet18"), "fc", "conv1", "layer4"),
    "resnet50": BackboneRecord(_torchvision("resnet50"), "fc", "conv1", "layer4"),
    "inception_v3": BackboneRecord(
        _torchvision("inception_v3", aux_logits=False, init_weights=True),
        "fc",
        "Conv2d_1a_3x3.conv",
        "Mixed_7c",
        enlarge=75,
        # Its public weights come from TensorFlow, which scales pictures to -1..1.
        mean=(0.5, 0.5, 0.5),
        deviation=(0.5, 0.5, 0.5),
    ),
    "efficientnet_b0": BackboneRecord(
        _torchvision("efficientnet_b0"), "classifier.1", "features.0.0", "features"
    ),
    "convnext_tiny": BackboneRecord(
        _torchvision("convnext_tiny"), "classifier.2", "features.0.0", "features"
    ),
    "densenet121": BackboneRecord(
        _torchvision("densenet121"), "classifier", "features.conv0", "features"
    ),
    "mobilenet_v3_small": BackboneRecord(
        _torchvision("mobilenet_v3_small"), "classifier.3", "features.0.0", "features"
    ),
    "mobilenet_v3_large": BackboneRecord(
        _torchvision("mobilenet_v3_large"), "classifier.3", "features.0.0", "features"
    ),
    "vit_b_16": BackboneRecord(
        _torchvision("vit_b_16"), "heads.head", "conv_proj", "encoder", patch=16
    ),
}


@final
class Classifier(nn.Module):
    """A backbone between a normalisation and a head; made by :func:`backbone`.

    Attributes
    ----------
    in_channels, classes : int
        Channels of the pictures and number of classes.
    feature_layer : str
        Module of :attr:`net` whose output is the last feature map.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        record: BackboneRecord,
        in_channels: int,
        classes: int,
        side: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.feature_layer = record.feature_layer
        self._smallest, self._enlarge = record.smallest, record.enlarge
        self._side = side if record.patch else None
        mean, deviation = record.mean, record.deviation
        if in_channels != 3:
            mean = (sum(mean) / 3,) * in_channels
            deviation = (sum(deviation) / 3,) * in_channels
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        stem = net.get_submodule(record.stem)
        assert isinstance(stem, nn.Conv2d)
        if in_channels != stem.in_channels:
            _replace(net, record.stem, _stem_for(stem, in_channels))
        head = net.get_submodule(record.head)
        assert isinstance(head, nn.Linear)
        _replace(net, record.head, nn.Identity())
        self.net = net
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(head.in_features, classes)

    def forward(self, image: Tensor) -> Tensor:
        """SRGB pictures ``[B, C, H, W]`` in 0..1 to logits ``[B, K]``."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"the classifier takes pictures [B, {self.in_channels}, H, W], not "
                f"{tuple(image.shape)}"
            )
        height, width = image.shape[-2:]
        _check_size(self._smallest, (height, width))
        image = (image - self.mean) / self.deviation
        if self._side is not None:
            wanted = (self._side, self._side)
        else:
            wanted = (max(height, self._enlarge), max(width, self._enlarge))
        if wanted != (height, width):
            image = functional.interpolate(image, wanted, mode="bilinear", antialias=True)
        return self.head(self.dropout(self.net(image)))


def backbone(
    name: str = "resnet_s",
    classes: int = 7,
    *,
    in_channels: int = 3,
    image_size: int | tuple[int, int] | None = None,
    dropout: float = 0.0,
    weights: Path | str | None = None,
) -> Classifier:
    """Build a classifier of sRGB pictures in 0..1.

    Parameters
    ----------
    name : str
        A key of :data:`BACKBONES`. ``resnet_s`` is ours (0.7 M parameters); the others are
        torchvision's, for pictures of 32 pixels and more. Inception v3 enlarges pictures below
        75 pixels; ViT-B/16 resizes to a square of the next multiple of 16.
    classes : int
        Number of classes K.
    in_channels : int
        Channels of the pictures; other than three, the stem takes the mean of its colour weights.
    image_size : int or (int, int), pixels, optional
        Size of the pictures. Needed by ViT-B/16 alone (224 by default), whose positions are
        bound to it; given, an impossible size is refused at once rather than at the first
        picture.
    dropout : float
        In front of the head, beside what the backbone has of its own.
    weights : path, optional
        State dict to start from: ``.safetensors``, or ``.pth`` / ``.pt`` (read without executing
        anything in it), of this function's or of torchvision's model. A head for another number
        of classes is left out.

    Raises
    ------
    ValueError
        For an unknown name, a size that the backbone cannot take, or weights that do not fit.
    """
    if name not in BACKBONES:
        raise ValueError(f"no backbone is called {name!r}; choose from {', '.join(BACKBONES)}")
    if classes < 2 or in_channels < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"a classifier needs at least 2 classes, 1 channel and a dropout in [0, 1), not "
            f"{classes}, {in_channels} and {dropout}"
        )
    record = BACKBONES[name]
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None:
        _check_size(record.smallest, size)
    side = max(size) if size is not None else 224
    if record.patch:
        side = -(-side // record.patch) * record.patch
    classifier = Classifier(
        record.build(side),
        record=record,
        in_channels=in_channels,
        classes=classes,
        side=side,
        dropout=dropout,
    )
    if weights is not None:
        _load(classifier, Path(weights), record, name)
    return classifier


def _check_size(smallest: int, size: tuple[int, int]) -> None:
    if min(size) < smallest:
        raise ValueError(
            f"this backbone takes pictures of at least {smallest} pixels along a side, not "
            f"{size[0]} x {size[1]}; enlarge image_size, or use 'resnet_s' (8 and more)"
        )


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


def _stem_for(stem: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """The same convolution for another number of channels, of the same response to grey."""
    made = nn.Conv2d(
        in_channels,
        stem.out_channels,
        stem.kernel_size,  # pyright: ignore[reportArgumentType]
        stem.stride,  # pyright: ignore[reportArgumentType]
        stem.padding,  # pyright: ignore[reportArgumentType]
        bias=stem.bias is not None,
    )
    with torch.no_grad():
        made.weight.copy_(_spread(stem.weight, in_channels))
        if made.bias is not None and stem.bias is not None:
            made.bias.copy_(stem.bias)
    return made


def _spread(weight: Tensor, in_channels: int) -> Tensor:
    scale = weight.shape[1] / in_channels
    return weight.mean(1, keepdim=True).expand(-1, in_channels, -1, -1) * scale


def _load(classifier: Classifier, path: Path, record: BackboneRecord, name: str) -> None:
    """Copy a state dict of ours or of torchvision, head and stem adapted."""
    given = {_our_key(key, record.head): value for key, value in _read(path).items()}
    own = classifier.state_dict()
    stem = f"net.{record.stem}.weight"
    if stem in given and given[stem].ndim == 4 and given[stem].shape[1] != classifier.in_channels:
        given[stem] = _spread(given[stem], classifier.in_channels)
    positions = "net.encoder.pos_embedding"
    if positions in given and positions in own and given[positions].shape != own[positions].shape:
        given[positions] = _resampled(given[positions], own[positions].shape[1])
    if "head.weight" in given and given["head.weight"].shape != own["head.weight"].shape:
        given.pop("head.weight")
        given.pop("head.bias", None)
    head = {"head.weight", "head.bias"}
    missing = [key for key in own if key not in given and key not in head]
    unknown = [key for key in given if key not in own]
    shapes = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    if missing or unknown or shapes:
        raise ValueError(
            f"{path} does not hold weights of {name!r}: {len(missing)} missing "
            f"({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])}), "
            f"{len(shapes)} of another shape ({'; '.join(shapes[:3])})"
        )
    classifier.load_state_dict(given, strict=False)


def _resampled(positions: Tensor, length: int) -> Tensor:
    """Positions of a vision transformer for another grid of patches; the class token stays."""
    token, grid = positions[:, :1], positions[:, 1:]
    old, new = round(grid.shape[1] ** 0.5), round((length - 1) ** 0.5)
    square = grid.transpose(1, 2).unflatten(2, (old, old))
    square = functional.interpolate(square, (new, new), mode="bicubic", align_corners=True)
    return torch.cat((token, square.flatten(2).transpose(1, 2)), 1)


def _our_key(key: str, head: str) -> str:
    # Names of DenseNet's public weights, from before module names could not hold a dot.
    key = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
    if key.startswith(f"{head}."):
        return key.replace(head, "head", 1)
    return key if key.startswith(("net.", "head.")) else f"net.{key}"


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"there are no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a readable state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} does not hold a state dict, a mapping of names to tensors")
    # The auxiliary head of Inception is for its own training only.
    return {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
