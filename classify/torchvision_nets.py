"""The nets of torchvision: how each is built, and where its last feature map lies.

::

    convolutional   picture ─► children up to `last` ─► map [B,F,h,w] ─► average ─► head
    transformer     picture ─► patches ─► all blocks but one ─► map, class token ─► block ─► head
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

__all__ = [
    "average",
    "average_and_classifier",
    "average_and_dropout",
    "cifar_resnet",
    "convnext",
    "convnext_tail",
    "densenet",
    "last_block",
    "last_patches",
    "model",
    "up_to",
    "vit_b_16",
    "vit_tiny",
]

Build = Callable[[int], nn.Module]


def model(name: str, **options: object) -> Build:
    """A model of torchvision by its name, without weights."""

    def build(_: int) -> nn.Module:
        import torchvision  # seconds of import that most users never need

        return getattr(torchvision.models, name)(weights=None, **options)

    return build


def cifar_resnet(name: str) -> Build:
    """A ResNet whose stem is one 3x3 convolution, as He et al. took it for 32-pixel pictures."""

    def build(size: int) -> nn.Module:
        net = model(name)(size)
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
        return net

    return build


def densenet(name: str) -> Build:
    """A DenseNet that ends in its ReLU, so that its head is linear in the average of the map."""

    def build(size: int) -> nn.Module:
        net = model(name)(size)
        features = net.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        features.add_module("relu", nn.ReLU())
        return net

    return build


def convnext(widths: tuple[int, ...], depths: tuple[int, ...]) -> Build:
    """A ConvNeXt (Liu et al., CVPR 2022) of these stages."""

    def build(_: int) -> nn.Module:
        from torchvision.models.convnext import CNBlockConfig, ConvNeXt

        following = (*widths[1:], None)
        stages = zip(widths, following, depths, strict=True)
        return ConvNeXt([CNBlockConfig(*stage) for stage in stages])

    return build


def vit_b_16(size: int) -> nn.Module:
    """ViT-B/16 (Dosovitskiy et al., ICLR 2021) for square pictures of ``size`` pixels."""
    return model("vit_b_16", image_size=size)(size)


def vit_tiny(patch: int) -> Build:
    """ViT-Ti (Touvron et al., ICML 2021): 12 blocks of width 192 with three heads."""

    def build(size: int) -> nn.Module:
        from torchvision.models import VisionTransformer

        return VisionTransformer(size, patch, 12, 3, 192, 768)

    return build


def up_to(last: str) -> Callable[[nn.Module, Tensor], Tensor]:
    """What the children of a net make of a picture, one after the other, ``last`` included."""
    return partial(_up_to, last)  # and no closure, which could not be pickled


def _up_to(last: str, net: nn.Module, image: Tensor) -> Tensor:
    for name, child in net.named_children():
        image = child(image)
        if name == last:
            return image
    raise ValueError(f"{type(net).__name__} has no child called {last!r}")


def average(_: nn.Module, features: Tensor) -> Tensor:
    """Global average pooling, ``[B, F, h, w]`` to ``[B, F]``."""
    return features.mean((-2, -1))


def average_and_dropout(net: nn.Module, features: Tensor) -> Tensor:
    """Inception v3: the average, and a dropout of its own."""
    return net.get_submodule("dropout")(features.mean((-2, -1)))


def average_and_classifier(net: nn.Module, features: Tensor) -> Tensor:
    """EfficientNet and MobileNet: the average, and what stands in front of the last layer."""
    return net.get_submodule("classifier")(features.mean((-2, -1)))


def convnext_tail(net: nn.Module, features: Tensor) -> Tensor:
    """ConvNeXt: the average and its layer normalisation, which wants a map."""
    return net.get_submodule("classifier")(features.mean((-2, -1), keepdim=True))


def last_patches(net: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """What enters the last block of a vision transformer: the patches as a map, the class token.

    Behind that block the class token alone is read: the patches that it returns reach no logit.
    """
    embedded = net.get_submodule("conv_proj")(image)
    height, width = embedded.shape[-2:]
    # Not len(image), which would fix the number of pictures of an exported graph.
    token = net.get_parameter("class_token").expand(image.shape[0], -1, -1)
    tokens = torch.cat((token, embedded.flatten(2).transpose(1, 2)), 1)
    tokens = tokens + net.get_parameter("encoder.pos_embedding")
    tokens = net.get_submodule("encoder.dropout")(tokens)
    for block in _blocks(net)[:-1]:
        tokens = block(tokens)
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width)), tokens[:, 0]


def last_block(net: nn.Module, patches: Tensor, token: Tensor) -> Tensor:
    """The class token ``[B, F]`` after the last block has shown it the patches ``[B, F, h, w]``."""
    tokens = torch.cat((token[:, None], patches.flatten(2).transpose(1, 2)), 1)
    return net.get_submodule("encoder.ln")(_blocks(net)[-1](tokens)[:, 0])


def _blocks(net: nn.Module) -> list[nn.Module]:
    return list(net.get_submodule("encoder.layers").children())
