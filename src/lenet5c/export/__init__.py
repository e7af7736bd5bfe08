"""Export of models to ONNX, C, HTML and PyTorch, and import from PyTorch."""

from lenet5c.export.c import to_c
from lenet5c.export.errors import ExportError
from lenet5c.export.html import to_html
from lenet5c.export.integer import IntegerModel
from lenet5c.export.integer_build import quantize_int8
from lenet5c.export.onnx import to_onnx
from lenet5c.export.quantization import quantize_weights
from lenet5c.export.torch_source import torch_source
from lenet5c.export.torch_weights import import_torch, load_torch, to_torch, torch_state

__all__ = [
    "ExportError",
    "IntegerModel",
    "import_torch",
    "load_torch",
    "quantize_int8",
    "quantize_weights",
    "to_c",
    "to_html",
    "to_onnx",
    "to_torch",
    "torch_source",
    "torch_state",
]
