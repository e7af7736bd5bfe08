"""The pictures of a training and of a model; each function returns a matplotlib Figure (extra ``plots``)."""

from lenet5c.training.curves import curves
from lenet5c.report.layers import activations, filters
from lenet5c.report.matrix import confusion
from lenet5c.report.samples import errors

__all__ = ["activations", "confusion", "curves", "errors", "filters"]
