"""The available backbones: how each is built, and where its first and last layers are.

::

    name ──► BackboneRecord ──► build, stem, features, pool, head, sizes, normalisation
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from . import timm_nets
from . import torchvision_nets as theirs
from .inception import InceptionS
from .residual import ResNetS

__all__ = ["BACKBONES", "BackboneRecord", "backbone_record"]

# Mean and deviation of ImageNet, in sRGB.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FEATURES = theirs.up_to("features")
# In front of the names of timm's models.
_TIMM = "timm/"


@dataclass(frozen=True)
class BackboneRecord:
    """How a backbone is built: its layers, picture sizes and normalisation."""

    build: Callable[[int], nn.Module]
    """Function that builds the net, with its original head, for pictures of this side."""
    head: str
    """Name of its last linear layer, as in public weights."""
    stem: str
    """Name of its first convolution."""
    features: Callable[[nn.Module, Tensor], Tensor] = _FEATURES
    """Function from a picture to the last feature map."""
    pool: Callable[[nn.Module, Tensor], Tensor] = theirs.average
    """Function from a feature map to the input of the head."""
    smallest: int = 32
    """Smallest picture that is accepted, pixels along a side."""
    enlarge: int = 0
    """Smaller pictures are enlarged to this; 0 leaves the size as it is."""
    patch: int = 0
    """Of a transformer: pictures are resized to a square of the next multiple of this, fixed at
    construction, and the head reads the class token."""
    mean: tuple[float, float, float] = _MEAN
    """Subtracted from red, green and blue, as public weights expect."""
    deviation: tuple[float, float, float] = _DEVIATION
    """Divides them afterwards."""


def _own(build: Callable[[], nn.Module], stem: str, smallest: int) -> BackboneRecord:
    return BackboneRecord(lambda _: build(), "fc", stem, theirs.up_to("stages"), smallest=smallest)


def _resnet(build: Callable[[int], nn.Module], smallest: int = 32) -> BackboneRecord:
    return BackboneRecord(build, "fc", "conv1", theirs.up_to("layer4"), smallest=smallest)


def _mobile(name: str, head: str) -> BackboneRecord:
    return BackboneRecord(
        theirs.model(name), head, "features.0.0", pool=theirs.average_and_classifier
    )


def _convnext(build: Callable[[int], nn.Module]) -> BackboneRecord:
    return BackboneRecord(build, "classifier.2", "features.0.0", pool=theirs.convnext_tail)


def _vit(build: Callable[[int], nn.Module], patch: int) -> BackboneRecord:
    return BackboneRecord(build, "heads.head", "conv_proj", patch=patch)


#: Every backbone by name; :func:`backbone` has a table of them.
BACKBONES: Mapping[str, BackboneRecord] = {
    "resnet_s": _own(ResNetS, "stem", 8),
    "inception_s": _own(InceptionS, "stem.0.conv", 16),
    "resnet18_cifar": _resnet(theirs.cifar_resnet("resnet18"), smallest=8),
    "resnet18": _resnet(theirs.model("resnet18")),
    "resnet34": _resnet(theirs.model("resnet34")),
    "resnet50": _resnet(theirs.model("resnet50")),
    "inception_v3": BackboneRecord(
        theirs.model("inception_v3", aux_logits=False, init_weights=True),
        "fc",
        "Conv2d_1a_3x3.conv",
        theirs.up_to("Mixed_7c"),
        pool=theirs.average_and_dropout,
        enlarge=75,
        # Its public weights come from TensorFlow, which scales pictures to -1..1.
        mean=(0.5, 0.5, 0.5),
        deviation=(0.5, 0.5, 0.5),
    ),
    "densenet121": BackboneRecord(theirs.densenet("densenet121"), "classifier", "features.conv0"),
    "efficientnet_b0": _mobile("efficientnet_b0", "classifier.1"),
    "mobilenet_v3_small": _mobile("mobilenet_v3_small", "classifier.3"),
    "mobilenet_v3_large": _mobile("mobilenet_v3_large", "classifier.3"),
    "convnext_atto": _convnext(theirs.convnext((40, 80, 160, 320), (2, 2, 6, 2))),
    "convnext_femto": _convnext(theirs.convnext((48, 96, 192, 384), (2, 2, 6, 2))),
    "convnext_tiny": _convnext(theirs.model("convnext_tiny")),
    "vit_tiny_8": _vit(theirs.vit_tiny(8), 8),
    "vit_tiny_16": _vit(theirs.vit_tiny(16), 16),
    "vit_b_16": _vit(theirs.vit_b_16, 16),
}


def backbone_record(name: str) -> BackboneRecord:
    """Look up how a backbone is built, without building it.

    Parameters
    ----------
    name : str
        A key of :data:`BACKBONES`, or ``timm/NAME``.

    Returns
    -------
    BackboneRecord

    Raises
    ------
    TypeError
        When ``name`` is not a string.
    ValueError
        For an unknown name, or a net of timm without one first convolution and one last layer.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of a backbone, such as 'resnet_s', not {name!r}")
    if name.startswith(_TIMM):
        net = timm_nets.find(name.removeprefix(_TIMM))
        return BackboneRecord(
            net.build,
            net.head,
            net.stem,
            timm_nets.features,
            timm_nets.pooled,
            mean=net.mean,
            deviation=net.deviation,
        )
    if name not in BACKBONES:
        raise ValueError(
            f"no backbone is called {name!r}; choose from {', '.join(BACKBONES)}, or name a net of "
            f"timm as {_TIMM}NAME"
        )
    return BACKBONES[name]
