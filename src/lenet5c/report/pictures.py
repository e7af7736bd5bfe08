"""The pictures of a training and of a model; each function returns a matplotlib Figure (extra ``plots``)."""

from lenet5c.report.history import curves

__all__ = ["curves"]
