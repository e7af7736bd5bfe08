"""Gradient checks by central differences."""

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
    max_elements: int = 40,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of a layer or a model with central differences, in float64.

    The loss is the sum of the outputs times fixed random numbers, which are passed to `backward` as
    `dy`. Each gradient is compared with the change of the loss when one element is increased and
    decreased by a small step. The check runs on copies; the layer itself is not changed.

    A custom layer written in NumPy runs in float64 unchanged; layers of the package run on their
    `lenet5c.reference` implementation (with the faster float64 kernels of `lenet5c.kernels` for the
    forward pass of convolution and pooling). If all gradients are right, the layer itself then runs
    in float32, as in training, and its gradients are compared with the float64 ones. A layer that
    only supports float32 is checked in float32 with larger steps, which is stated in a note.

    Parameters
    ----------
    layer : Layer
        A custom layer, a layer of the package, or a model such as a `Sequential`.
    input_shape : tuple of int, optional
        Shape of one sample, (C, H, W) or (features,). May be omitted for a model that defines it,
        such as a LeNet, or that has already processed an input.
    x : array_like (N, ...), optional
        Input to use instead of random numbers from the standard normal distribution, for example
        for a layer that requires positive numbers. No gradient is checked for an integer input.
    batch_size : int
        Number of samples to draw. With more than one, gradients that mix samples are detected.
    max_elements : int
        Maximum number of elements of an array to check one by one. From a larger array, this many
        are drawn at random, and all elements are checked together along a random direction. If that
        slope is wrong, a wrong element is located by bisection.
    seed : int
        Random seed of the input and everything else that is drawn.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError
        If the layer does not accept the input, returns different outputs for equal inputs, or
        returns outputs that are not finite.

    Notes
    -----
    With the gradient a and the difference n = (loss(p + h) - loss(p - h)) / 2h, the error of an
    element is ``|a - n| / max(|a|, |n|, m)``, where m is a hundredth of the largest n of its array.
    The step h is derived from the measured rounding error of the loss: about 1e-5 in float64 and
    5e-3 in float32. A gradient is wrong if its error is at least 1e-6 (1e-3 in float32) and cannot
    be explained by rounding.

    A function has a kink where the input of a `ReLU` is 0 or two values of a pooling window are
    equal, and a difference across it is wrong. Where gradient and difference disagree, smaller
    steps that do not reach the kink are therefore tried. At the kink itself, any number between the
    slopes of the two sides is accepted.

    Parameters are first perturbed by a tenth of their size, because some errors are invisible at
    the ones and zeros of a new layer.

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
    from lenet5c.nn.gradient_verdict import judge  # this also imports lenet5c.reference

    name = f"{layer!r}".partition("\n")[0].rstrip("(")
    title = f"{name}, {count(len(x), 'sample')} of {times(x.shape[1:])}"
    numbers = np.random.get_state()
    try:
        rows, notes = judge(layer, x, positive("max_elements", max_elements), generator)
    finally:
        np.random.set_state(numbers)
    return GradientCheck(title, rows, notes)


def _find_shape(layer: Layer, given: Shape | None) -> Shape:
    """Return the given sample shape, or the one that the layer defines."""
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
