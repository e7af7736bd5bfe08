"""Saliency maps: gradient of a logit with respect to the pixels of an image."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets._checks import check_choice
from lenet5c.training.explanation.pixels import (
    Label,
    LevelPass,
    find_ground,
    find_label,
    one_hot,
    take_image,
)
from lenet5c.training.model_file import TrainedModel

KINDS = ("gradient", "absolute", "times_input")
#: Noisy images per batch.
BLOCK = 64


def saliency(
    trained: TrainedModel,
    image: ArrayLike,
    label: Label = None,
    *,
    kind: str = "gradient",
    smooth: int = 0,
    noise: float = 0.15,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Gradient of the logit of a class with respect to the pixels of an image.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`. After an `RBF` layer the logits are the penalties negated.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The class, by position or name. Default: the predicted one.
    kind : {'gradient', 'absolute', 'times_input'}
        The gradient; its absolute value; or the gradient times the difference between gray level
        and background (black or the paper of the training images), which is 0 without ink.
    smooth : int
        Number of noisy images whose gradients are averaged (SmoothGrad), which is less noisy. The
        default, 0, uses the image itself.
    noise : float
        Standard deviation of the noise, as a fraction of the range of gray levels of the image.
    seed : int
        Random seed of the noise.

    Returns
    -------
    ndarray of float32 (C, h, w)
        Change of the logit per gray level, or per pixel for 'times_input'.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above; the message says what it must be.

    References
    ----------
    Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks. Smilkov et al.
    (2017), SmoothGrad.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import saliency
    >>> from lenet5c.training import open_model
    >>> image = mnist()[1].images[0]
    >>> saliency(open_model(), image).shape
    (1, 28, 28)
    """
    check_choice("kind", kind, KINDS)
    pixels = take_image(trained, image)
    levels, way = pixels[np.newaxis].astype(np.float64), LevelPass(trained, pixels.shape[1:])
    logits = trained.logits(pixels[np.newaxis])[0]
    dlogits = one_hot(find_label(trained, label, logits), len(logits))
    if smooth < 0 or not 0 <= noise < np.inf:
        raise ValueError(f"smooth and noise must be at least 0, got {smooth!r} and {noise!r}")
    if smooth == 0:
        gradient = way.gradient(levels, dlogits)[0]
    else:
        rng, spread = np.random.default_rng(seed), noise * float(np.ptp(pixels))
        gradient = np.zeros(pixels.shape)
        for start in range(0, smooth, BLOCK):
            count = min(BLOCK, smooth - start)
            noisy = levels + spread * rng.standard_normal((count, *pixels.shape))
            gradient += way.gradient(noisy, np.repeat(dlogits, count, 0)).sum(axis=0)
        gradient /= smooth
    if kind == "absolute":
        gradient = np.abs(gradient)
    elif kind == "times_input":
        gradient *= levels[0] - find_ground(trained, pixels)[:, np.newaxis, np.newaxis]
    return gradient.astype(np.float32)
