"""Classifiers: their configurations by kind and their construction."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from torch import nn

import classify
from classify.weights import load_state, read_state
from joint.settings import NoneConfig, Settings

from .custom import CustomConfig, build_custom

__all__ = ["CLASSIFIER_KINDS", "ClassifierConfig", "build_classifier"]


class ClassifierConfig(Settings):
    """A classifier network, see classify.backbone."""

    kind: Literal["classifier"] = "classifier"
    name: str = "resnet_s"
    """One of classify.BACKBONES, or timm/NAME."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        classify.backbone_record(name)
        return name

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability before the last layer."""
    head: Literal["linear", "cosine"] = "linear"
    """Last layer: linear, or cosine, as is usual with a margin (LDAM)."""
    weights: Path | None = None
    """File of initial weights, a state dict in .safetensors or .pth."""
    frozen: str | None = None
    """Name of the last frozen layer of the backbone, such as layer2 of a ResNet: layers up to it
    are not trained."""


CLASSIFIER_KINDS: dict[str, type[Settings]] = {
    "classifier": ClassifierConfig,
    "custom": CustomConfig,
    "none": NoneConfig,
}


def build_classifier(
    config: ClassifierConfig | CustomConfig | NoneConfig,
    channels: int,
    *,
    classes: int,
    image_size: tuple[int, int],
    mosaic: bool = False,
) -> nn.Module | None:
    """Build the classifier of a configuration; weights come from a file or torch's generator.

    Parameters
    ----------
    config : ClassifierConfig, CustomConfig or NoneConfig
    channels : int
        Channels of its input pictures.
    classes : int
        Number of classes.
    image_size : (int, int), pixels
        Height and width of the pictures.
    mosaic : bool
        Whether the pictures are a sensor's mosaic, whose pixels have one colour each.

    Returns
    -------
    nn.Module or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        For a file whose weights do not fit this classifier, or, if its input is a mosaic, whose
        first layer was trained on colours. As :func:`build_custom`.
    """
    match config:
        case CustomConfig():
            return build_custom(
                config,
                nn.Module,
                "classifier",
                image_size=image_size,
                channels=channels,
                in_channels=channels,
                classes=classes,
            )
        case ClassifierConfig():
            made = classify.backbone(
                config.name,
                classes,
                in_channels=channels,
                image_size=image_size,
                dropout=config.dropout,
                head=config.head,
                frozen=config.frozen,
            )
            if config.weights is not None:
                _load(made, config.name, config.weights, mosaic=mosaic)
            return made
        case NoneConfig():
            return None


def _load(classifier: classify.Classifier, name: str, weights: Path, *, mosaic: bool) -> None:
    """Load the initial weights of a classifier from a file.

    If the input is a mosaic, weights whose first layer takes another number of channels are
    refused.
    """
    record, state = classify.backbone_record(name), read_state(weights)
    handed = classifier.in_channels
    if mosaic:
        for key in (f"net.{record.stem}.weight", f"{record.stem}.weight"):
            known = state[key].shape[1] if key in state and state[key].ndim == 4 else handed
            if known != handed:
                raise ValueError(
                    f"{weights} is of a classifier for {known} channels, but the sensor gives a "
                    f"mosaic of {handed}, whose pixels have one colour each: start from random "
                    "weights, or from those of a run with the same demosaicing, or set "
                    "sensor.demosaicing='bilinear'"
                )
    left_out = load_state(classifier, state, source=weights, record=record, name=name)
    classifier.head_left_out = left_out
