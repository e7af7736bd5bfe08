"""All explanations of one prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.training.explanation.cam import grad_cam, has_cam
from lenet5c.training.explanation.change import STEPS, Change, smallest_change
from lenet5c.training.explanation.neighbors import Nearest, Neighbors
from lenet5c.training.explanation.occlusion import occlusion
from lenet5c.training.explanation.pixels import Label, find_label, take_image
from lenet5c.training.explanation.saliency import saliency
from lenet5c.training.model_file import TrainedModel

#: Number of noisy images whose gradients are averaged.
SMOOTH = 32


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanations of the prediction of a model for an image.

    Attributes
    ----------
    image : ndarray of uint8 (C, h, w)
    label : int
        The explained class.
    probability : float
        Probability of this class.
    saliency : ndarray of float32 (C, h, w)
        See `saliency`, with `smooth`.
    cam : ndarray of float32 (h, w), or None
        See `grad_cam`; None if no convolution has maps.
    occlusion : ndarray of float32 (h, w)
    change : Change or None
        None if no change was found.
    nearest : Nearest or None
        None without `neighbors`.
    """

    image: NDArray[np.uint8]
    label: int
    probability: float
    saliency: NDArray[np.float32]
    cam: NDArray[np.float32] | None
    occlusion: NDArray[np.float32]
    change: Change | None
    nearest: Nearest | None


def explain(
    trained: TrainedModel,
    image: ArrayLike,
    label: Label = None,
    *,
    neighbors: Neighbors | None = None,
    target: Label = None,
    smooth: int = SMOOTH,
    steps: int = STEPS,
) -> Explanation:
    """Compute all explanations for a class of an image.

    Parameters
    ----------
    trained : TrainedModel
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The class, by position or name. Default: the predicted one.
    neighbors : Neighbors, optional
        Data set to search for the nearest images.
    target : int or str, optional
        Target class of the smallest change. Default: `label` if it is not the predicted class, else
        any other class.
    smooth : int
        See `saliency`.
    steps : int
        See `smallest_change`.

    Returns
    -------
    Explanation
    """
    pixels = take_image(trained, image)
    probabilities = trained.probabilities(pixels)[0]
    predicted = int(probabilities.argmax())
    number = find_label(trained, label, probabilities)
    if target is None and number != predicted:
        target = number
    return Explanation(
        pixels,
        number,
        float(probabilities[number]),
        saliency(trained, pixels, number, smooth=smooth),
        grad_cam(trained, pixels, number) if has_cam(trained) else None,
        occlusion(trained, pixels, number),
        smallest_change(trained, pixels, target, steps=steps),
        neighbors.find(pixels, min(5, len(neighbors.features))) if neighbors else None,
    )
