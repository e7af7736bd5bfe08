"""Explanations of an answer: the evidence in an image for a class, and changes of the answer.

All take a `TrainedModel` of any `Sequential`, with layers of one's own, and an image as
`TrainedModel.logits` takes it, and return NumPy arrays. `lenet5c.report.pictures.why` draws them.
"""

from lenet5c.training.explanation import (
    Change,
    Explanation,
    Nearest,
    Neighbors,
    Slide,
    explain,
    grad_cam,
    nearest,
    occlusion,
    saliency,
    slide,
    smallest_change,
)

__all__ = [
    "Change",
    "Explanation",
    "Nearest",
    "Neighbors",
    "Slide",
    "explain",
    "grad_cam",
    "nearest",
    "occlusion",
    "saliency",
    "slide",
    "smallest_change",
]
