"""Grad-CAM: the maps of a layer, weighted by how they move the logit of a class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.explanation.layers import (
    Items,
    Place,
    find_places,
    is_elementwise,
    list_layers,
    open_layer,
)
from lenet5c.explanation.pixels import Label, find_label, one_hot, take_image
from lenet5c.nn import Conv2d, Residual
from lenet5c.nn.layer import Layer
from lenet5c.training import TrainedModel


def grad_cam(
    trained: TrainedModel,
    image: ArrayLike,
    label: Label = None,
    layer: str | None = None,
    *,
    enlarge: bool = True,
) -> NDArray[np.float32]:
    """Places of an image that speak for a class, by the maps of a layer: Grad-CAM.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`. After an `RBF` layer the logits are the penalties negated.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    label : int or str, optional
        The class, by position or name. Default: the predicted one.
    layer : str, optional
        Dotted name of a layer with maps as output, of any depth, such as 'conv2' or
        'block.layers.conv'. Default: the last convolution with maps of more than one place, or
        `Residual` with one, after the normalization and activation that follow.
    enlarge : bool
        Return the map in the size of the image. Its values stay where the centers of what they
        see are in the image, with linear interpolation between.

    Returns
    -------
    ndarray of float32 (h, w), or of the layer's maps (H, W) if not `enlarge`
        0 or more, in units of the logit.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above, or no layer has maps; the message says what it must be.

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
    place = _choose(items, find_places(items, x.shape[1:]), layer)
    logits = trained.logits(pixels[np.newaxis])[0]
    dlogits = one_hot(find_label(trained, label, logits), len(logits))
    dy = trained.model.logits(dlogits)  # of the outputs, which are the logits or these negated
    maps, gradient = open_layer(items, place.name, x, dy)
    weight = gradient[0].astype(np.float64).mean(axis=(1, 2))
    cam = np.maximum(np.tensordot(weight, maps[0].astype(np.float64), 1), 0)
    if enlarge:
        cam = _enlarge(cam, place, trained, pixels.shape[1:])
    return cam.astype(np.float32)


def _choose(items: Items, places: list[Place], name: str | None) -> Place:
    """Return the place of the layer of this name, or the default one."""
    with_maps = {place.name: place for place in places if place.has_maps}
    if name is None:
        chosen, follows = None, False
        for each, layer in items:
            # After the convolution its normalization and activation, until something else comes.
            follows = each in with_maps and (
                _convolves(layer) or (follows and is_elementwise(layer))
            )
            chosen = each if follows else chosen
        if chosen is None:
            raise ValueError(
                "model must have a convolution whose output is maps of more than one place, got "
                "none; name another layer that has maps"
            )
        return with_maps[chosen]
    if name not in with_maps:
        some = ", ".join(with_maps) or "none"
        raise ValueError(
            f"layer must be the name of one with maps of more than one place as output, {some}; "
            f"got {name!r}"
        )
    return with_maps[name]


def _convolves(layer: Layer) -> bool:
    within = layer.all_layers() if isinstance(layer, Residual) else (layer,)
    return any(isinstance(each, Conv2d) for each in within)


def _enlarge(
    cam: NDArray[np.float64], place: Place, trained: TrainedModel, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a map in the size of the image, by linear interpolation between its places."""
    preparation = trained.preparation
    for axis, own in enumerate(size):
        whole, count = preparation.size[axis], cam.shape[axis]
        if preparation.fit == "pad":
            pixels = np.arange(own) + (whole - own) // 2
        else:
            pixels = (np.arange(own) + 0.5) * whole / own - 0.5
        at = (pixels - place.start[axis]) / place.step[axis]
        weights = [np.interp(at, np.arange(count), row) for row in np.eye(count)]
        cam = np.moveaxis(np.tensordot(np.transpose(weights), cam, (1, axis)), 0, axis)
    return cam
