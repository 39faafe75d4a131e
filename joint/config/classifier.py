"""The judge, by its kind: how it is configured, and how it is built."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from torch import nn

import classify
from classify.weights import load_state, read_state
from joint.settings import NoneConfig, Settings, added

from .custom import CustomConfig, build_custom

__all__ = ["CLASSIFIER_KINDS", "ClassifierConfig", "build_classifier"]


class ClassifierConfig(Settings):
    """A classifier, see classify.backbone."""

    kind: Literal["classifier"] = "classifier"
    name: str = "resnet_s"
    """One of classify.BACKBONES, or timm/NAME."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        classify.backbone_record(name)
        return name

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the last layer."""
    head: Literal["linear", "cosine"] = "linear"
    """The last layer: linear, or of cosines, as a margin (LDAM) wants it."""
    weights: Path | None = None
    """State dict to start from, .safetensors or .pth."""
    frozen: str | None = added(None)
    """Layer of the backbone up to which nothing is trained, as layer2 of a ResNet."""


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
    """Build the classifier of a configuration; its weights come from torch's generator, or a file.

    Parameters
    ----------
    config : ClassifierConfig, CustomConfig or NoneConfig
    channels : int
        Of the pictures that it is handed.
    classes : int
        How many there are to tell apart.
    image_size : (int, int), pixels
        Height and width of the pictures.
    mosaic : bool
        Whether they are a sensor's mosaic, whose pixels have one colour each.

    Returns
    -------
    nn.Module or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        For a file of weights that are not those of this classifier, or, where it is handed a
        mosaic, of one that knows colours. As :func:`build_custom` does.
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
    """Let a classifier begin at the weights of a file.

    Refused are those whose first layer knows colours where it is handed a mosaic.
    """
    record, state = classify.backbone_record(name), read_state(weights)
    handed = classifier.in_channels
    if mosaic:
        for key in (f"net.{record.stem}.weight", f"{record.stem}.weight"):
            known = state[key].shape[1] if key in state and state[key].ndim == 4 else handed
            if known != handed:
                raise ValueError(
                    f"{weights} is of a classifier of {known} channels, and the sensor hands it a "
                    f"mosaic of {handed}, whose pixels have one colour each: begin at random "
                    "weights, or at those of a run with the same demosaicing, or set "
                    "sensor.demosaicing='bilinear'"
                )
    load_state(classifier, state, source=weights, record=record, name=name)
