"""Grad-CAM: feature maps of a layer weighted by their gradients."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn import Conv2d, Residual
from lenet5c.nn.layer import Layer, Shape
from lenet5c.training.explanation.layers import (
    Items,
    Place,
    find_places,
    is_elementwise,
    list_layers,
    open_layer,
)
from lenet5c.training.explanation.pixels import Label, find_label, one_hot, take_image
from lenet5c.training.model_file import TrainedModel


def grad_cam(
    trained: TrainedModel,
    image: ArrayLike,
    label: Label = None,
    layer: str | None = None,
    *,
    enlarge: bool = True,
) -> NDArray[np.float32]:
    """Grad-CAM: regions of an image that support a class, from the maps of a layer.

    Parameters
    ----------
    trained : TrainedModel
        Model with any `Sequential`. After an `RBF` layer, the logits are the negated penalties.
    image : array_like (h, w) or (C, h, w)
        See `TrainedModel.logits`.
    label : int or str, optional
        The class, by index or name. Default: the predicted class.
    layer : str, optional
        Dotted name of a layer whose output is maps, such as 'conv2' or 'block.layers.conv'.
        Default: the last convolution, or `Residual` with one, whose maps are larger than 1 by 1,
        including the following normalization and activation.
    enlarge : bool
        Return the map at the size of the image. Values are placed at the centers of their receptive
        fields and interpolated linearly, down to 0 beyond the outermost ones.

    Returns
    -------
    ndarray of float32 (h, w), or of the layer's maps (H, W) if not `enlarge`
        Nonnegative values, in units of the logit.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or no layer has maps.

    Notes
    -----
    ::

        weight[c] = mean over i, j of dlogit / dmaps[c, i, j]
        cam[i, j] = max(0, sum over c of weight[c] * maps[c, i, j])

    Reference: `lenet5c.reference.grad_cam`.

    References
    ----------
    Selvaraju et al. (2017), Grad-CAM.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import grad_cam
    >>> from lenet5c.training import open_model
    >>> trained, image = open_model(), mnist()[1].images[0]
    >>> grad_cam(trained, image).shape, grad_cam(trained, image, layer="conv1").max() > 0
    ((28, 28), np.True_)
    """
    pixels = take_image(trained, image)
    x = trained.preparation(pixels[np.newaxis])
    items = list_layers(trained.model)
    place = _choose(items, _with_maps(items, x.shape[1:]), layer)
    logits = trained.logits(pixels[np.newaxis])[0]
    dlogits = one_hot(find_label(trained, label, logits), len(logits))
    dy = trained.model.logits(dlogits)  # negated if the outputs are penalties
    maps, gradient = open_layer(items, place.name, x, dy)
    weight = gradient[0].astype(np.float64).mean(axis=(1, 2))
    cam = np.maximum(np.tensordot(weight, maps[0].astype(np.float64), 1), 0)
    if enlarge:
        cam = _enlarge(cam, place, trained, pixels.shape[1:])
    return cam.astype(np.float32)


def has_cam(trained: TrainedModel) -> bool:
    """Return True if `grad_cam` has a default layer."""
    items = list_layers(trained.model)
    return _find_default(items, _with_maps(items, trained.input_shape)) is not None


def _with_maps(items: Items, shape: Shape) -> dict[str, Place]:
    return {place.name: place for place in find_places(items, shape) if place.has_maps}


def _choose(items: Items, with_maps: dict[str, Place], name: str | None) -> Place:
    """Return the `Place` of the layer with this name, or of the default layer."""
    if name is None and (name := _find_default(items, with_maps)) is None:
        raise ValueError(
            "model must have a convolution with output maps larger than 1 by 1, got none; pass "
            "another layer with maps"
        )
    if name not in with_maps:
        some = ", ".join(with_maps) or "none"
        raise ValueError(
            f"layer must be the name of a layer with output maps larger than 1 by 1, {some}, got "
            f"{name!r}"
        )
    return with_maps[name]


def _find_default(items: Items, with_maps: dict[str, Place]) -> str | None:
    """Return the last convolution, with the normalization and activation that follow."""
    chosen, follows = None, False
    for name, layer in items:
        follows = _convolves(layer) or (follows and is_elementwise(layer))
        follows = follows and name in with_maps
        chosen = name if follows else chosen
    return chosen


def _convolves(layer: Layer) -> bool:
    within = layer.all_layers() if isinstance(layer, Residual) else (layer,)
    return any(isinstance(each, Conv2d) for each in within)


def _enlarge(
    cam: NDArray[np.float64], place: Place, trained: TrainedModel, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Interpolate a map linearly to the size of the image."""
    preparation = trained.preparation
    for axis, own in enumerate(size):
        whole, count = preparation.size[axis], cam.shape[axis]
        if preparation.fit == "pad":
            pixels = np.arange(0.0, own) + (whole - own) // 2
        else:
            pixels = (np.arange(own) + 0.5) * whole / own - 0.5
        at = (pixels - place.start[axis]) / place.step[axis]
        weights = [
            np.interp(at, np.arange(-1, count + 1), row) for row in np.eye(count, count + 2, 1)
        ]
        cam = np.moveaxis(np.tensordot(np.transpose(weights), cam, (1, axis)), 0, axis)
    return cam
