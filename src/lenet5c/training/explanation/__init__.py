"""Explanations of predictions: attribution maps, counterfactual changes and nearest images.

Functions of a `TrainedModel` and an image, NumPy arrays in and out; `lenet5c.recognition.why` has
them for users. They stand here, below `report`, which draws them, and `recognition`, since these do
not know each other.
"""

from lenet5c.training.explanation.cam import grad_cam
from lenet5c.training.explanation.change import Change, smallest_change
from lenet5c.training.explanation.explain import Explanation, explain
from lenet5c.training.explanation.neighbors import Nearest, Neighbors, nearest
from lenet5c.training.explanation.occlusion import occlusion
from lenet5c.training.explanation.saliency import saliency
from lenet5c.training.explanation.slide import Slide, slide

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
