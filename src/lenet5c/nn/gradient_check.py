"""Checks of backward passes by central differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lenet5c._text import count
from lenet5c.nn.gradient_table import GradientCheck, GradientRow, times
from lenet5c.nn.layer import Layer, Shape, positive

__all__ = ["GradientCheck", "GradientRow", "check_gradients"]


def check_gradients(
    layer: Layer,
    input_shape: Shape | None = None,
    *,
    x: ArrayLike | None = None,
    batch_size: int = 3,
    most: int = 40,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of a layer or a model with central differences, in float64.

    The loss is the sum of the outputs times fixed random numbers, the `dy` that `backward` gets;
    these stand for any loss. A gradient is compared with the change of the loss when one element is
    moved to both sides. Copies are run, and nothing of the layer itself changes.

    A layer of one's own, in NumPy, runs in float64 as it is, and the package's layers by their
    twins in `lenet5c.reference` (convolution and pooling go forward by `lenet5c.kernels` in
    float64, which is faster). If all is right, the layer itself runs in float32, as in training,
    and its gradients are compared with those in float64. What takes float32 alone is checked in
    float32, with larger steps, and a note says so.

    Parameters
    ----------
    layer : Layer
        Of one's own or of the package; or a model, such as a `Sequential`.
    input_shape : tuple of int, optional
        Of one sample: (C, H, W) or (features,). A LeNet has one itself, and so has a model that has
        had an input.
    x : array_like (N, ...), optional
        The input, instead of one from the standard normal distribution: for a layer that takes
        positive numbers only, say. By integers there is no gradient.
    batch_size : int
        The number of samples to draw: several, so that a gradient that mixes them up is found.
    most : int
        Elements of an array to look at one by one. Of a larger array so many are drawn, and all are
        looked at together, along a random direction. If the slope there is wrong, so are the halves
        of the array, down to one element that is wrong.
    seed : int
        Draws the input and all else.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError
        The layer does not take this input, has different outputs for equal inputs, or outputs that
        are not finite.

    Notes
    -----
    With the gradient a and the difference n = (loss(p + h) - loss(p - h)) / 2h, the error of an
    element is ``|a - n| / max(|a|, |n|, m)``, where m is a hundredth of the largest n of its array.
    The step h follows from the rounding of the loss, which is measured: about 1e-5 in float64, 5e-3
    in float32. An error is a fault from 1e-6 on (in float32, from 1e-3 on), as far as it is beyond
    what rounding can make.

    A function has a kink where the input of a `ReLU` is 0 or two values of a pooling window are
    equal; a difference across it is wrong. So where the two disagree, smaller steps are tried,
    which do not reach the kink. On the kink itself any number between the slopes of both sides is
    right.

    Parameters are moved by a tenth of their size at first: at ones and zeros, with which layers
    begin, some faults do not show.

    Examples
    --------
    >>> from lenet5c import nn
    >>> nn.check_gradients(nn.ReLU(), (4,)).ok
    True
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a lenet5c.nn.Layer, got {type(layer).__name__}")
    generator = np.random.default_rng(seed)
    if x is None:
        shape = (positive("batch_size", batch_size), *_find_shape(layer, input_shape))
        x = generator.standard_normal(shape, np.float32)
    x = np.array(x)
    if x.ndim < 2 or not x.size:
        raise ValueError(f"x must be a batch (N, ...) of at least one sample, got {x.shape}")
    from lenet5c.nn.gradient_verdict import judge  # and with it all of the reference

    name = f"{layer!r}".partition("\n")[0].rstrip("(")
    title = f"{name}, {count(len(x), 'sample')} of {times(x.shape[1:])}"
    numbers = np.random.get_state()
    try:
        rows, notes = judge(layer, x, positive("most", most), generator)
    finally:
        np.random.set_state(numbers)
    return GradientCheck(title, rows, notes)


def _find_shape(layer: Layer, given: Shape | None) -> Shape:
    """Return the shape of a sample for a layer: the given one, or that which it has itself."""
    shape = given
    for name in ("input_shape", "accepted"):
        shape = getattr(layer, name, None) if shape is None else shape
    if shape is None:
        raise ValueError(
            f"input_shape must be given for {type(layer).__name__}, which does not define one, got "
            "None; pass the shape of one sample, (C, H, W) or (features,)"
        )
    whole = isinstance(shape, (tuple, list)) and all(isinstance(each, int) for each in shape)
    if not whole or not shape or min(shape) < 1:
        raise ValueError(
            f"input_shape must be the shape of one sample, (C, H, W) or (features,), got {shape!r}"
        )
    return tuple(shape)
