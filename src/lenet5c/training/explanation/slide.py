"""Sliding a net over a long image as a convolution: the SDNN of LeCun et al. (1998)."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets.conversion import to_pixels
from lenet5c.datasets.resampling import resize
from lenet5c.nn import Residual
from lenet5c.nn.layer import Shape, positive
from lenet5c.training.explanation.layers import (
    Items,
    find_window,
    is_elementwise,
    list_layers,
    run_layers,
)
from lenet5c.training.model_file import TrainedModel, check_outputs

#: Windows per batch.
BLOCK = 1024


class Slide(NamedTuple):
    """Scores of a net at positions of a long image, from left to right."""

    #: Left edge of each window in columns of the image, (P,); negative in the padding.
    positions: NDArray[np.float64]
    scores: NDArray[np.float32]  #: Logits of each window, (P, K); negated penalties.
    width: float  #: Width of a window in columns.


def slide(trained: TrainedModel, image: ArrayLike, stride: int | None = None) -> Slide:
    """Slide a net over a long image as a convolution and return its logits at each position.

    Computations shared by overlapping windows are done once: convolutions and subsampling run over
    the whole image, and fully connected layers are applied to each window of their maps.

    Parameters
    ----------
    trained : TrainedModel
        Model with any `Sequential`. Starting with the first layer that pads at the sides, layers
        that do not commute with shifts run window by window.
    image : array_like (h, w) or (C, h, w)
        Image with the height of the training images (it is resized if it differs) and at least
        their width. For pixel types, see `TrainedModel.logits`.
    stride : int, optional
        Columns between windows. Default: the stride at which everything is computed once, 4 for
        LeNet-5; with other strides, the net runs over the image several times.

    Returns
    -------
    Slide
        `positions` (P,), `scores` (P, K) and `width`. Scores equal, up to rounding, the logits of
        the windows ``framed[:, :, left : left + width]``, where ``framed`` is the image padded by
        `Preparation`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the model subtracts a mean image, which has a fixed position.

    References
    ----------
    LeCun et al. (1998), section VII: Space Displacement Neural Network.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import slide
    >>> from lenet5c.training import open_model
    >>> digits = mnist()[1].images[:3, 0]
    >>> found = slide(open_model(), np.concatenate(digits, axis=1))
    >>> found.positions.shape, found.scores.shape, found.scores[[0, 7, 14]].argmax(axis=1)
    ((15,), (15, 10), array([7, 2, 1]))
    """
    framed, border, scale = _frame(trained, image)
    items, window = list_layers(trained.model), trained.input_shape
    count, period = _count_shared(items, window)
    stride = period if stride is None else positive("stride", stride)
    starts = np.arange(0, framed.shape[2] - window[2] + 1, stride)
    shared, rest = items[:count], items[count:]
    shape: Shape = window
    for _, layer in shared:
        shape = tuple(layer.output_shape(shape))
    preparation, scores = trained.preparation, None
    offset = preparation.offset(len(framed))[:, :, :1]
    for phase in np.unique(starts % period):
        here = np.flatnonzero(starts % period == phase)
        x = framed[np.newaxis, :, :, phase:].astype(np.float32) * preparation.scale + offset
        maps = run_layers(shared, x)[-1][0]
        windows = np.moveaxis(sliding_window_view(maps, shape[2], axis=2), 2, 0)
        for at in range(0, len(here), BLOCK):
            rows = here[at : at + BLOCK]
            outputs = run_layers(rest, np.ascontiguousarray(windows[starts[rows] // period]))[-1]
            check_outputs(outputs)
            if scores is None:
                scores = np.empty((len(starts), outputs.shape[1]), np.float32)
            scores[rows] = trained.model.logits(outputs)
    assert scores is not None  # there is a window at 0
    return Slide((starts - border) / scale, scores, window[2] / scale)


def _frame(trained: TrainedModel, image: ArrayLike) -> tuple[NDArray[np.uint8], int, float]:
    """Return the long image at the net's input height, uint8 (C, H, W), its left padding and scale.

    The scale is the number of its columns per column of the original image.
    """
    preparation, (channels, height, width) = trained.preparation, trained.image_shape
    if preparation.mean_image is not None:
        raise ValueError(
            "model must prepare all columns in the same way to slide along an image, got one that "
            "subtracts a mean image; train it with --preparation default"
        )
    pixels = to_pixels(image)
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or len(pixels) != channels or 0 in pixels.shape:
        alone = "(h, w) or " if channels == 1 else ""
        raise ValueError(
            f"image must have {channels} channels, {alone}({channels}, h, w), got {np.shape(image)}"
        )
    whole, wide = preparation.size
    pad = preparation.fit == "pad"
    _, h, w = pixels.shape
    high, stretch = (height, 1.0) if pad else (whole, wide / width)
    length = w if h == high and stretch == 1 else max(1, round(w * height / h * stretch))
    fitted = resize(pixels, (high, length))
    left, right = ((wide - width) // 2, wide - width - (wide - width) // 2) if pad else (0, 0)
    top = (whole - high) // 2
    framed = np.pad(fitted, ((0, 0), (top, whole - high - top), (left, right)))
    if framed.shape[2] < wide:
        raise ValueError(
            f"image must be at least {wide - left - right} pixels wide when it is {high} high, got "
            f"{length}"
        )
    return framed, left, length / w


def _count_shared(items: Items, window: Shape) -> tuple[int, int]:
    """Return the number of layers that commute with column shifts, and the period in columns."""
    count, period, shape = 0, 1, window
    for _, layer in items:
        if len(shape) != 3 or isinstance(layer, Residual):
            break
        settings = find_window(layer, shape)
        if settings is None and not is_elementwise(layer):
            break
        after = tuple(layer.output_shape(shape))
        if settings is not None:
            kernel, stride, dilation, pad = (each[1] for each in settings)
            # The receptive fields of a window lie within it.
            if pad or (after[2] - 1) * stride + (kernel - 1) * dilation + 1 > shape[2]:
                break
            period *= stride
        count, shape = count + 1, after
    return count, period
