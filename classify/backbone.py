"""Classifiers by name: small nets of this library, and the large ones of torchvision and timm.

::

    picture [B,C,H,W] 0..1 ─► normalise ─► (resize) ─► net ─► average ─► dropout ─► head ─► logits
                              └──────── features() ────────┘└───── from_features() ──────┘   [B,K]
                                        [B,F,h,w]
"""

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self, final, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import torchvision_nets as theirs
from .data.arrays import as_integer
from .given import check_number
from .margin import CosineHead
from .registry import BackboneRecord, backbone_record
from .weights import load_state, read_state, spread

__all__ = ["Classifier", "TracedLogits", "backbone"]

Head = Literal["linear", "cosine"]


class TracedLogits(NamedTuple):
    """Class scores of pictures, as a function of the last feature map."""

    logits: Tensor
    """Class scores ``[B, K]``; their graph begins at ``features``."""
    features: Tensor
    """The last feature map ``[B, F, h, w]``."""


@final
class Classifier(nn.Module):
    """A backbone between a normalisation and a head; made by :func:`backbone`.

    ``forward(x)`` equals ``from_features(features(x))``, except for vision transformers, whose
    class token is not part of the feature map.

    Parameters
    ----------
    net : nn.Module
        The backbone. Its first layer is adapted to the channels, and its last layer is replaced by
        the head.
    record : BackboneRecord
        Properties of this kind of backbone.
    side : int
        Side of the pictures that a transformer is built for, pixels.
    dropout : float
        Dropout probability in front of the head.
    head : {"linear", "cosine"}
        See :func:`backbone`.
    frozen : str or None
        See :func:`backbone`.

    Raises
    ------
    ValueError
        When the net has no layer of the name ``frozen``.

    Attributes
    ----------
    in_channels, classes : int
        Channels of the pictures and number of classes.
    smallest : int
        Smallest picture that is accepted, pixels along a side.
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
        head: Head,
        frozen: str | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.smallest = record.smallest
        self._enlarge = record.enlarge
        self._side = side if record.patch else None
        self._features, self._pool = record.features, record.pool
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
        last = net.get_submodule(record.head)
        assert isinstance(last, nn.Linear)
        _replace(net, record.head, nn.Identity())
        self.net = net
        self.dropout = nn.Dropout(dropout)
        kind = CosineHead if head == "cosine" else nn.Linear
        self.head = kind(last.in_features, classes)
        self._head_fault: str | None = None
        self._frozen = frozen
        self._frozen_names = () if frozen is None else _up_to(net, frozen)
        for name in self._frozen_names:
            net.get_submodule(name).requires_grad_(False)
        for name in () if frozen is None else _around(frozen):
            for own in net.get_submodule(name).parameters(recurse=False):
                own.requires_grad_(False)
        self.train(self.training)

    @property
    def head_left_out(self) -> str | None:
        """Why the head of the file of initial weights was not loaded, so that it was random.

        None if it was loaded, or if there is no such file.
        """
        return self._head_fault

    @head_left_out.setter
    def head_left_out(self, reason: str | None) -> None:
        self._head_fault = reason

    def extra_repr(self) -> str:
        """Name the net and the frozen layer."""
        if self._frozen is None:
            return ""
        return f"{type(self.net).__name__}, frozen={self._frozen!r}"

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except in the frozen layers, whose statistics stay fixed.

        Parameters
        ----------
        mode : bool
            True for training, False for evaluation.

        Returns
        -------
        Classifier
            The classifier itself.
        """
        super().train(mode)
        for name in self._frozen_names:
            self.net.get_submodule(name).eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of sRGB pictures.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]`` in 0..1

        Returns
        -------
        Tensor ``[B, K]``

        Raises
        ------
        ValueError
            When the pictures have another number of channels, are smaller than :attr:`smallest`, or
            are integer codes.
        """
        return self._judge(*self._see(image))

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map of pictures.

        For a convolutional net, this is the map that is averaged for the head. For a vision
        transformer, it is the patches that enter the last block: the patches that leave it do not
        affect the logits.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]`` in 0..1

        Returns
        -------
        Tensor ``[B, F, h, w]``

        Raises
        ------
        ValueError
            When the pictures have another number of channels, are smaller than :attr:`smallest`, or
            are integer codes.
        """
        return self._see(image)[0]

    def from_features(self, features: Tensor) -> Tensor:
        """Return the logits of a feature map of any height and width.

        ``head(dropout(pool(features)))``. The pool is the average over the map, followed in
        Inception v3 by its dropout, in EfficientNet and MobileNet by the layers in front of their
        last one, and in ConvNeXt by its layer normalisation.

        Parameters
        ----------
        features : Tensor ``[B, F, h, w]``

        Returns
        -------
        Tensor ``[B, K]``

        Raises
        ------
        ValueError
            For a vision transformer, whose head reads the class token.
        """
        return self._judge(features, None)

    def trace(self, image: Tensor) -> TracedLogits:
        """Return the logits as a function of the last feature map, where their graph begins.

        For class activation maps: one forward pass, and a backward pass through the head only.

        Parameters
        ----------
        image : Tensor ``[B, C, H, W]`` in 0..1

        Returns
        -------
        TracedLogits

        Raises
        ------
        ValueError
            When the pictures have another number of channels, are smaller than :attr:`smallest`, or
            are integer codes.
        """
        with torch.no_grad():
            features, token = self._see(image)
        with torch.enable_grad():
            features = features.detach().requires_grad_()
            return TracedLogits(self._judge(features, token), features)

    def _see(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The feature map, and the class token of a transformer (otherwise None)."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"the classifier takes pictures [B, {self.in_channels}, H, W], not "
                f"{tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise ValueError(
                f"the classifier takes pictures in 0..1, not codes of {image.dtype}; divide them "
                "by the code of white, such as codes.float() / 255"
            )
        height, width = image.shape[-2:]
        _check_size(self.smallest, (height, width))
        image = (image - self.mean) / self.deviation
        if self._side is not None:
            wanted = (self._side, self._side)
        else:
            wanted = (max(height, self._enlarge), max(width, self._enlarge))
        if wanted != (height, width):
            # On a CPU there is no such resampling in half precision.
            wide = image.to(torch.promote_types(image.dtype, torch.float32))
            resized = functional.interpolate(wide, wanted, mode="bilinear", antialias=True)
            image = resized.to(image.dtype)
        if self._side is not None:
            return theirs.last_patches(self.net, image)
        return self._features(self.net, image), None

    def _judge(self, features: Tensor, token: Tensor | None) -> Tensor:
        if token is not None:
            read = theirs.last_block(self.net, features, token)
        elif self._side is None:
            read = self._pool(self.net, features)
        else:
            raise ValueError(
                "the head of a vision transformer reads its class token, which is not a function "
                "of the feature map; use trace(image), which keeps both"
            )
        return self.head(self.dropout(read))


def backbone(
    name: str = "resnet_s",
    classes: int = 7,
    *,
    in_channels: int = 3,
    image_size: int | tuple[int, int] | None = None,
    dropout: float = 0.0,
    head: Head = "linear",
    weights: Path | str | None = None,
    frozen: str | None = None,
) -> Classifier:
    """Build a classifier of sRGB pictures in 0..1.

    The table lists millions of parameters, 10^9 multiplications per forward pass (GMAC) and the
    side of the last feature map, for seven classes and colour pictures of 128 pixels. ``smallest``
    is the smallest side of a picture, in pixels.

    ==================  ==========  =====  =====  ========  ====================================
    name                parameters  GMAC   grid   smallest  remarks
    ==================  ==========  =====  =====  ========  ====================================
    resnet_s            0.693       0.149  8      8         ours; trains on two cores
    inception_s         1.847       0.397  8      16        ours, after Inception v3
    resnet18_cifar      11.172      8.887  16     8         3x3 stem for small pictures
    resnet18            11.180      0.592  4      32        public weights
    resnet34            21.288      1.196  4      32        public weights
    resnet50            23.522      1.335  4      32        public weights
    inception_v3        21.800      0.731  2      32        public weights; enlarges to 75 pixels
    densenet121         6.961       0.925  4      32        public weights
    efficientnet_b0     4.017       0.126  4      32        public weights
    mobilenet_v3_small  1.525       0.019  4      32        public weights
    mobilenet_v3_large  4.211       0.072  4      32        public weights
    convnext_atto       3.377       0.179  4      32
    convnext_femto      4.835       0.254  4      32
    convnext_tiny       27.826      1.455  4      32        public weights
    vit_tiny_8          5.427       1.678  16     32        patches of 8; poor without pretraining
    vit_tiny_16         5.500       0.374  8      32        patches of 16; likewise
    vit_b_16            85.703      3.718  8      32        public weights
    ==================  ==========  =====  =====  ========  ====================================

    "Public weights" means that the weights of torchvision's model of that name fit.

    ``timm/NAME`` is timm's convolutional net NAME, without weights, such as
    ``timm/tf_efficientnet_lite0``. Its ``smallest`` is 32. It needs
    ``pip install 'lens2label[timm]'``.

    Parameters
    ----------
    name : str
        A key of :data:`BACKBONES`, or ``timm/NAME``.
    classes : int
        Number of classes K.
    in_channels : int
        Channels of the pictures. If not three, the first layer uses the mean of its weights over
        the colours, and the normalisation the mean of its values.
    image_size : int or (int, int), pixels, optional
        Size of the pictures. Only vision transformers need it (224 by default), because their
        position embeddings depend on it: they resize every picture to a square whose side is the
        next multiple of their patch. An impossible size is refused at once rather than at the first
        picture.
    dropout : float
        Dropout probability in front of the head, in addition to the backbone's own dropout.
    head : {"linear", "cosine"}
        The last layer: linear, or :class:`classify.CosineHead`, for LDAM.
    weights : path, optional
        State dict to start from: ``.safetensors``, or ``.pth`` / ``.pt`` (read without executing
        code). It may be of a classifier of this function, alone or in a system
        (``best.safetensors`` of a run), or of the torchvision or timm model. The head is not loaded
        if it has another number of classes or another type (linear or cosine). If it is loaded, its
        classes must be those of the data, in the same order; only their number is compared here.
    frozen : str, optional
        Name of a layer of the backbone, such as ``layer2`` of a ResNet. This layer and all layers
        built before it are not trained, and their normalisation statistics stay fixed. Gradients
        still pass through them to what is in front of the classifier. Weights that belong directly
        to the modules around the layer are frozen too: with a block of a vision transformer, the
        class token and the positions. Name the last child to train the head only.

    Raises
    ------
    ValueError
        For an unknown name, a size that the backbone cannot take, weights that do not fit or are
        not finite floats, a layer to freeze that does not exist, or a timm net that cannot be used.
    TypeError
        When ``name`` is not a string, ``dropout`` not a number or ``weights`` not a path.

    Warns
    -----
    UserWarning
        When the head of ``weights`` is not loaded, and stays random.
    """
    record = backbone_record(name)
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise TypeError(
            f"weights must be the path of a file, not {type(weights).__name__}: save a state dict "
            "with torch.save, or pass it to load_state_dict of the returned classifier"
        )
    check_number("dropout", dropout)
    kinds, channels = as_integer(classes) or 0, as_integer(in_channels) or 0
    if kinds < 2 or channels < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"a classifier needs at least 2 classes, 1 channel and a dropout in [0, 1), not "
            f"{classes}, {in_channels} and {dropout}"
        )
    if head not in get_args(Head):
        raise ValueError(f"head must be one of {', '.join(get_args(Head))}, not {head!r}")
    size = None if image_size is None else _as_size(image_size)
    if size is not None:
        _check_size(record.smallest, size)
    side = max(size) if size is not None else 224
    if record.patch:
        side = -(-side // record.patch) * record.patch
    classifier = Classifier(
        record.build(side),
        record=record,
        in_channels=channels,
        classes=kinds,
        side=side,
        dropout=dropout,
        head=head,
        frozen=frozen,
    )
    if weights is not None:
        path = Path(weights)
        left_out = load_state(classifier, read_state(path), source=path, record=record, name=name)
        classifier.head_left_out = left_out
        if left_out is not None:
            warnings.warn(left_out, stacklevel=2)
    return classifier


def _as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    given = size if isinstance(size, Sequence) else (size, size)
    sides = [side for side in map(as_integer, given) if side is not None]
    if len(given) != 2 or len(sides) != 2:
        raise ValueError(f"image_size must be pixels, one int or (H, W), not {size!r}")
    return sides[0], sides[1]


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
    """The same convolution for another number of channels, of about the same response to grey."""
    made = copy.deepcopy(stem)  # a subclass may pad in its own way
    made.in_channels = in_channels
    made.weight = nn.Parameter(spread(stem.weight.detach(), in_channels).clone())
    return made


def _around(layer: str) -> Iterator[str]:
    """Names of the modules that contain a layer, beginning with the net itself, ``""``.

    Their own parameters, such as the class token and the positions of a transformer, are mostly
    used before the layer; the scale of a ConvNeXt block, which is used after it, is frozen too.
    """
    parts = layer.split(".")
    return (".".join(parts[:depth]) for depth in range(len(parts)))


def _up_to(net: nn.Module, layer: str) -> tuple[str, ...]:
    """Names of a layer, of the modules in it, and of all that were built before it."""
    names = [name for name, _ in net.named_modules() if name]
    ends = [k for k, name in enumerate(names) if name == layer or name.startswith(f"{layer}.")]
    if not ends:
        children = ", ".join(name for name, _ in net.named_children())
        raise ValueError(
            f"the backbone has no layer {layer!r} to freeze up to; its children are {children}"
        )
    return tuple(name for name in names[: ends[-1] + 1] if not layer.startswith(f"{name}."))
