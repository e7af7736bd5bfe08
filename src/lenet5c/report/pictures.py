"""Pictures of a training and of a model, each a matplotlib Figure (extra ``plots``)."""

from lenet5c.report.history import curves
from lenet5c.report.layers import activations, filters
from lenet5c.report.matrix import confusion
from lenet5c.report.samples import errors

__all__ = ["activations", "confusion", "curves", "errors", "filters"]
