"""Reasons for the answers of a model: what speaks for a class, and what would have to change.

Functions of a `TrainedModel` and an image, NumPy arrays in and out; `lenet5c.recognition.why` has
them for users. This room stands below `report`, which draws them, and `recognition`.
"""

from lenet5c.explanation.cam import grad_cam
from lenet5c.explanation.change import Change, smallest_change
from lenet5c.explanation.neighbors import Nearest, Neighbors, nearest
from lenet5c.explanation.occlusion import occlusion
from lenet5c.explanation.saliency import saliency
from lenet5c.explanation.slide import Slide, slide

__all__ = [
    "Change",
    "Nearest",
    "Neighbors",
    "Slide",
    "grad_cam",
    "nearest",
    "occlusion",
    "saliency",
    "slide",
    "smallest_change",
]
