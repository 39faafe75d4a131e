import pytest
import torch
from torch import nn

from joint.deploy import graph_file


class _Doubled(nn.Module):
    def forward(self, pictures):
        return 2 * pictures


class _Chosen(nn.Module):
    def forward(self, pictures):
        return pictures if pictures.max() > 0.5 else -pictures


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_file_computes_what_its_module_does(suffix):
    form = graph_file.FORMATS[suffix]
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
    form.check()
    pictures = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    read = form.read(form.write(_Doubled(), pictures, "handed", "{}", ""))
    for count in (3, 1):
        assert torch.equal(read(pictures[:count]), 2 * pictures[:count])


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_values_outside_of_tensors_are_told_with_what_to_do(suffix):
    form = graph_file.FORMATS[suffix]
    with pytest.raises(ValueError, match=r"A stage takes values out of tensors; leave it out$"):
        form.write(_Chosen(), torch.rand(2, 1, 4, 4), "handed", "{}", "; leave it out")


def test_an_error_without_words_is_told_by_its_name():
    said = r"^no graph: NotImplementedError$"
    with pytest.raises(ValueError, match=said), graph_file._traced("no graph"):
        raise NotImplementedError


def test_onnx_is_an_extra(monkeypatch):
    monkeypatch.setattr(graph_file, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs onnx and .*"lens2label\[onnx\]"'):
        graph_file.FORMATS[".onnx"].check()
    graph_file.FORMATS[".pt2"].check()
