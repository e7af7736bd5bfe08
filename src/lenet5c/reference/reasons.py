"""Explanations of a prediction: Grad-CAM, and steps to the boundary between two classes."""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array


def grad_cam(maps: ArrayLike, gradient: ArrayLike) -> Array:
    """Grad-CAM: evidence for a class at each position of the maps of a layer.

    Parameters
    ----------
    maps : array_like (C, H, W)
        Output of the layer for one image.
    gradient : array_like (C, H, W)
        Gradient of the logit of the class with respect to the maps.

    Returns
    -------
    ndarray of float64 (H, W)

    References
    ----------
    Selvaraju et al. (2017), Grad-CAM, eq. 1 and 2.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.grad_cam([[[1, 3]], [[2, 0]]], [[[1, 1]], [[-2, 0]]])
    array([[0., 3.]])
    """
    maps, gradient = np.asarray(maps, np.float64), np.asarray(gradient, np.float64)
    cam = np.zeros(maps.shape[1:])
    for own, slope in zip(maps, gradient, strict=True):
        cam += slope.mean() * own
    return np.maximum(cam, 0)


def deepfool_step(logits: ArrayLike, gradients: ArrayLike, label: int) -> tuple[Array, int]:
    """Smallest step that would change the predicted label if the logits were linear.

    Parameters
    ----------
    logits : array_like (K,)
    gradients : array_like (K, n)
        Gradient of each logit with respect to the input.
    label : int
        The class to leave, which is the predicted one.

    Returns
    -------
    step : ndarray of float64 (n,)
        The step to a point where the logits of both classes are equal.
    target : int
        The new class.

    References
    ----------
    Moosavi-Dezfooli, Fawzi and Frossard (2016), DeepFool, algorithm 2.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.deepfool_step([3, 1, 0], [[1, 0], [0, 0], [0, 3]], 0)
    (array([-0.3,  0.9]), 2)
    """
    logits, gradients = np.asarray(logits, np.float64), np.asarray(gradients, np.float64)
    best, target, least = np.zeros(gradients.shape[1]), label, np.inf
    for other in range(len(logits)):
        if other == label:
            continue
        slope = gradients[other] - gradients[label]
        square = np.sum(slope**2)
        if square > 0 and (gap := abs(logits[other] - logits[label])) / np.sqrt(square) < least:
            best, target, least = gap / square * slope, other, gap / np.sqrt(square)
    return best, target


def boundary_step(
    slope: ArrayLike, margin: float, x: ArrayLike, low: float = 0.0, high: float = 255.0
) -> Array:
    """Smallest step from x, within bounds, to a point where a linear function is 0.

    Parameters
    ----------
    slope : array_like (n,)
        Gradient of the function.
    margin : float
        Its value at x.
    x : array_like (n,)
        Within the bounds.
    low, high : float
        Bounds of each element of x plus the step.

    Returns
    -------
    ndarray of float64 (n,)
        If the function is not 0 anywhere within the bounds, the step to the point where it is
        closest to 0.

    Notes
    -----
    By the Karush-Kuhn-Tucker conditions the step is ``clip(t * slope, low - x, high - x)`` for one
    t, which is found by halving an interval.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.boundary_step([1, 1], -4, [0, 254]).round(6)
    array([3., 1.])
    """
    slope, x = np.asarray(slope, np.float64), np.asarray(x, np.float64)

    def step(t: float) -> Array:
        return np.clip(t * slope, low - x, high - x)

    sign = -1.0 if margin > 0 else 1.0
    wanted, least = abs(margin), min((abs(each) for each in slope if each), default=1.0)
    lower, upper = 0.0, (high - low) / least
    for _ in range(200):
        middle = (lower + upper) / 2
        if np.sum(np.abs(slope * step(sign * middle))) < wanted:
            lower = middle
        else:
            upper = middle
    return step(sign * upper)
