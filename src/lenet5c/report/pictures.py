"""Pictures of a training and of a model, each a matplotlib Figure (extra ``plots``)."""

from lenet5c.report.layers import activations, filters
from lenet5c.report.matrix import confusion
from lenet5c.report.probability_pictures import rejections, reliability, roc
from lenet5c.report.samples import errors
from lenet5c.report.slide import slide
from lenet5c.report.why import why, why_wrong
from lenet5c.training.curves import curves

__all__ = [
    "activations",
    "confusion",
    "curves",
    "errors",
    "filters",
    "rejections",
    "reliability",
    "roc",
    "slide",
    "why",
    "why_wrong",
]
