"""Second derivatives of layers by the float64 reference."""

import numpy as np

from lenet5c import reference


def reference_backward(layer, x, name, options):
    """Dy -> [dx, gradients of the parameters...], in float64."""
    backward = getattr(reference, f"{name}_backward")
    params = [array.astype(np.float64) for array in layer.params.values()]
    if name in ("conv2d", "linear", "connected_conv2d", "subsample2d"):
        return lambda dy: backward(dy, x, params[0], **options)[: 1 + len(params)]
    if name == "rbf":
        return lambda dy: [backward(dy, x, layer.buffers["codes"])]
    if name == "avg_pool2d":
        return lambda dy: [backward(dy, x.shape, **options)]
    if name == "max_pool2d":
        return lambda dy: [backward(dy, x, **options)]
    y = getattr(reference, name)(x, **options)
    return lambda dy: [backward(dy, y, **options)]
