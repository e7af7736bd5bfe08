"""Explanations of predictions: the evidence for a class, and changes that alter the prediction.

The functions take a `TrainedModel` of any `Sequential`, including custom layers, and an image as
accepted by `TrainedModel.logits`, and return NumPy arrays. `lenet5c.report.pictures.why` draws
them.
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
