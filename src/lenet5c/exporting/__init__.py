"""Taking a model elsewhere: as ONNX, as a C file, to PyTorch and back."""

from lenet5c.exporting.c import to_c
from lenet5c.exporting.errors import ExportError
from lenet5c.exporting.onnx import to_onnx
from lenet5c.exporting.quantization import quantize_int8

__all__ = ["ExportError", "quantize_int8", "to_c", "to_onnx"]
