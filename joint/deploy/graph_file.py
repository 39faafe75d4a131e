"""Graphs as files that are read without this library: .pt2 for torch, .onnx for any runtime.

::

    module, example ─ torch.export ─► graph ─┬─► .pt2
                                             └─► .onnx
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["DESCRIPTION", "FORMATS", "GraphFormat"]

#: Name of the description inside a file: a file of its own in a .pt2, a property in a .onnx.
DESCRIPTION = "lens2label.json"


class GraphFormat(NamedTuple):
    """Functions that write and read one file format."""

    check: Callable[[], None]
    """Raises an ImportError if the format cannot be written."""
    write: Callable[[nn.Module, Tensor, str, str, str], bytes]
    """Returns the file of a module. Arguments: module, example input, name of the output,
    description, and the remedy for a stage that takes values out of tensors."""
    read: Callable[[bytes], Callable[[Tensor], Tensor]]
    """Returns the function that a file computes, on the CPU."""
    exact: bool
    """Whether its runtime has sums in float64."""


def _free() -> tuple[dict[int, Any]]:
    """Dynamic shape with a free number of pictures."""
    return ({0: torch.export.Dim("pictures", min=1)},)


_FIXED = (
    "The number of pictures was fixed by len() or int() in the forward of a stage of your own: "
    "take pictures.shape[0], as in pictures.new_zeros(pictures.shape[0])"
)
# Messages of torch.export and ONNX Runtime, and their causes.
_HINTS = {
    "Constraints violated (pictures)": _FIXED,
    "Got invalid dimensions for input": _FIXED,
    "Could not find an implementation for": (
        "It has few operations in float64: give system.float() and scenes.float()"
    ),
    "tensor(bfloat16)": "It has few operations in bfloat16: give system.float()",
}
# Messages of torch about a stage that needs values of tensors while the graph is made.
_OUTSIDE = (".numpy() is not supported", "data pointer", "data-dependent", "unbacked symbol")


@contextmanager
def _traced(said: str, remedy: str | None = None) -> Iterator[None]:
    """Translate the various errors of the exporters into one kind of message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a torch about itself
            yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # an exporter wraps what happened in what to do about it
            cause = cause.__cause__
        words = str(cause).strip() or type(cause).__name__  # it may have been raised without any
        hints = [f" {hint}" for sign, hint in _HINTS.items() if sign in words]
        if remedy is not None and any(sign in words for sign in _OUTSIDE):
            hints.append(f" A stage takes values out of tensors{remedy}")
        raise ValueError(f"{said}: {words.splitlines()[0]}{''.join(hints)}") from error


def _graph(part: nn.Module, example: Tensor, remedy: str) -> torch.export.ExportedProgram:
    """Graph of torch operations of a module, for any number of pictures."""
    with _traced("torch.export cannot make a graph of this system", remedy):
        return torch.export.export(part, (example,), dynamic_shapes=_free())


def _write_pt2(
    part: nn.Module, example: Tensor, gives: str, description: str, remedy: str
) -> bytes:
    del gives  # outputs of a torch graph have no names
    file = io.BytesIO()
    torch.export.save(_graph(part, example, remedy), file, extra_files={DESCRIPTION: description})
    return file.getvalue()


def _read_pt2(content: bytes) -> Callable[[Tensor], Tensor]:
    graph = torch.export.load(io.BytesIO(content)).module()
    return lambda value: graph(value).cpu()


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f'a file of ONNX needs {" and ".join(missing)}: pip install "lens2label[onnx]", or '
            "write a .pt2"
        )


def _write_onnx(
    part: nn.Module, example: Tensor, gives: str, description: str, remedy: str
) -> bytes:
    graph = _graph(part, example, remedy)  # what a .pt2 holds
    with _traced("ONNX cannot hold this system; a .pt2 can"):
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=_free(),
            input_names=["pictures"],
            output_names=[gives],
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props[DESCRIPTION] = description
        return program.model_proto.SerializeToString()


def _read_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime  # noqa: PLC0415 - an extra

    said = "ONNX Runtime cannot run this system; write a .pt2"
    with _traced(said):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(value: Tensor) -> Tensor:
        with _traced(said):
            return torch.from_numpy(session.run(None, {"pictures": value.cpu().numpy()})[0])

    return run


FORMATS = {
    ".pt2": GraphFormat(lambda: None, _write_pt2, _read_pt2, exact=True),
    ".onnx": GraphFormat(_check_onnx, _write_onnx, _read_onnx, exact=False),
}
