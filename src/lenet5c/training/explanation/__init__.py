"""Explanations of predictions: attribution maps, counterfactual changes and nearest images.

These are functions of a `TrainedModel` and an image that return NumPy arrays, and are public in
`lenet5c.recognition.why`. They are in a package below `report`, which draws them, and
`recognition`, since these do not import each other.
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
