"""The two LeNet-5 networks written out, with forward and backward pass of every layer.

Parameters and gradients have the same names as in `lenet5c.nn`, so ``model.params`` can be used.
The forward pass returns the output of the net and a dict with the output of each layer, which the
backward pass needs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array
from lenet5c.reference.activation import (
    relu,
    relu_backward,
    scaled_tanh,
    scaled_tanh_backward,
    scaled_tanh_backward_second,
)
from lenet5c.reference.connections import (
    connected_conv2d,
    connected_conv2d_backward,
    connected_conv2d_backward_second,
)
from lenet5c.reference.convolution import conv2d, conv2d_backward, conv2d_backward_second
from lenet5c.reference.fully_connected import (
    flatten,
    flatten_backward,
    linear,
    linear_backward,
    linear_backward_second,
)
from lenet5c.reference.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from lenet5c.reference.radial_basis import rbf, rbf_backward, rbf_backward_second
from lenet5c.reference.subsampling import (
    subsample2d,
    subsample2d_backward,
    subsample2d_backward_second,
)

Arrays = Mapping[str, ArrayLike]


def lenet5(
    x: ArrayLike, params: Arrays, padding: int = 0, pooling: str = "avg"
) -> tuple[Array, dict[str, Array]]:
    """LeNet-5 as it is commonly built today.

    ::

        x       (N, 1, 32, 32), or (N, 1, 28, 28) with padding 2
        conv1   (N, 6, 28, 28)      5 by 5, then ReLU and pooling 2 by 2: (N, 6, 14, 14)
        conv2   (N, 16, 10, 10)     5 by 5, then ReLU and pooling 2 by 2: (N, 16, 5, 5)
        fc1     (N, 120)            from the 400 flattened values, then ReLU
        fc2     (N, 84)             then ReLU
        fc3     (N, 10)             logits

    Parameters
    ----------
    x : array_like (N, C, H, W)
    params : mapping of str to array_like
        'conv1.weight', 'conv1.bias', and so on.
    padding : int
        Padding of the first convolution.
    pooling : {'avg', 'max'}

    Returns
    -------
    logits : ndarray of float64 (N, 10)
    values : dict of str to ndarray of float64
        The input, 'x', and the output of each layer.

    References
    ----------
    After LeCun et al. (1998), figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, reference
    >>> model, x = nn.LeNet5(rng=0), np.ones((2, 1, 32, 32), np.float32)
    >>> logits, values = reference.lenet5(x, model.params)
    >>> bool(np.allclose(model.forward(x), logits, rtol=1e-5))
    True
    >>> values["pool2"].shape
    (2, 16, 5, 5)
    """
    p, v = params, {"x": np.asarray(x, np.float64)}
    pool = avg_pool2d if pooling == "avg" else max_pool2d
    v["conv1"] = conv2d(v["x"], p["conv1.weight"], p["conv1.bias"], padding=padding)
    v["act1"] = relu(v["conv1"])
    v["pool1"] = pool(v["act1"], 2)
    v["conv2"] = conv2d(v["pool1"], p["conv2.weight"], p["conv2.bias"])
    v["act2"] = relu(v["conv2"])
    v["pool2"] = pool(v["act2"], 2)
    v["flatten"] = flatten(v["pool2"])
    v["fc1"] = linear(v["flatten"], p["fc1.weight"], p["fc1.bias"])
    v["act3"] = relu(v["fc1"])
    v["fc2"] = linear(v["act3"], p["fc2.weight"], p["fc2.bias"])
    v["act4"] = relu(v["fc2"])
    v["fc3"] = linear(v["act4"], p["fc3.weight"], p["fc3.bias"])
    return v["fc3"], v


def _pool_backward(dy: Array, x: Array, pooling: str) -> Array:
    if pooling == "avg":
        return avg_pool2d_backward(dy, x.shape, 2)
    return max_pool2d_backward(dy, x, 2)


def lenet5_backward(
    dlogits: ArrayLike,
    params: Arrays,
    values: Mapping[str, Array],
    padding: int = 0,
    pooling: str = "avg",
) -> tuple[Array, dict[str, Array]]:
    """Gradients of `lenet5`, computed layer by layer in reverse order.

    Parameters
    ----------
    dlogits : array_like (N, 10)
        As returned by a loss such as `cross_entropy`.
    params, padding, pooling
        As given to `lenet5`.
    values : mapping of str to ndarray
        As returned by `lenet5`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    grads : dict of str to ndarray of float64
        Keyed by the names of the parameters.
    """
    p, v, grads = params, values, {}
    d, grads["fc3.weight"], grads["fc3.bias"] = linear_backward(dlogits, v["act4"], p["fc3.weight"])
    d = relu_backward(d, v["act4"])
    d, grads["fc2.weight"], grads["fc2.bias"] = linear_backward(d, v["act3"], p["fc2.weight"])
    d = relu_backward(d, v["act3"])
    d, grads["fc1.weight"], grads["fc1.bias"] = linear_backward(d, v["flatten"], p["fc1.weight"])
    d = flatten_backward(d, v["pool2"].shape)
    d = _pool_backward(d, v["act2"], pooling)
    d = relu_backward(d, v["act2"])
    d, grads["conv2.weight"], grads["conv2.bias"] = conv2d_backward(
        d, v["pool1"], p["conv2.weight"]
    )
    d = _pool_backward(d, v["act1"], pooling)
    d = relu_backward(d, v["act1"])
    d, grads["conv1.weight"], grads["conv1.bias"] = conv2d_backward(
        d, v["x"], p["conv1.weight"], padding=padding
    )
    return d, grads


def lenet5_1998(
    x: ArrayLike, params: Arrays, table: ArrayLike, codes: ArrayLike
) -> tuple[Array, dict[str, Array]]:
    """Forward pass of the LeNet-5 of LeCun et al. (1998).

    ::

        x       (N, 1, 32, 32)
        c1      (N, 6, 28, 28)      convolution, 5 by 5
        s2      (N, 6, 14, 14)      subsampling, 2 by 2
        c3      (N, 16, 10, 10)     convolution, 5 by 5, connected by a table
        s4      (N, 16, 5, 5)       subsampling, 2 by 2
        c5      (N, 120, 1, 1)      convolution, as large as its input
        f6      (N, 84)             fully connected
        output  (N, 10)             squared distances from the codes of the classes: penalties

    with a scaled hyperbolic tangent after each layer except the last.

    Parameters
    ----------
    x : array_like (N, C, H, W)
    params : mapping of str to array_like
        'c1.weight', 'c1.bias', and so on.
    table : array_like of bool (6, 16)
        The maps of S2 to which each map of C3 is connected, table I of the paper.
    codes : array_like (10, 84)

    Returns
    -------
    penalties : ndarray of float64 (N, 10)
    values : dict of str to ndarray of float64
        The input, 'x', and the output of each layer.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document
    recognition, section II-B.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, reference
    >>> model, x = nn.LeNet5_1998(rng=0), np.ones((2, 1, 32, 32), np.float32)
    >>> table, codes = model["c3"].connection_table, model["output"].buffers["codes"]
    >>> penalties, values = reference.lenet5_1998(x, model.params, table, codes)
    >>> bool(np.allclose(model.forward(x), penalties, rtol=1e-5))
    True
    """
    p, v = params, {"x": np.asarray(x, np.float64)}
    v["c1"] = conv2d(v["x"], p["c1.weight"], p["c1.bias"])
    v["act1"] = scaled_tanh(v["c1"])
    v["s2"] = subsample2d(v["act1"], p["s2.weight"], p["s2.bias"])
    v["act2"] = scaled_tanh(v["s2"])
    v["c3"] = connected_conv2d(v["act2"], p["c3.weight"], p["c3.bias"], table=table)
    v["act3"] = scaled_tanh(v["c3"])
    v["s4"] = subsample2d(v["act3"], p["s4.weight"], p["s4.bias"])
    v["act4"] = scaled_tanh(v["s4"])
    v["c5"] = conv2d(v["act4"], p["c5.weight"], p["c5.bias"])
    v["act5"] = scaled_tanh(v["c5"])
    v["flatten"] = flatten(v["act5"])
    v["f6"] = linear(v["flatten"], p["f6.weight"], p["f6.bias"])
    v["act6"] = scaled_tanh(v["f6"])
    v["output"] = rbf(v["act6"], codes)
    return v["output"], v


def lenet5_1998_backward(
    dpenalties: ArrayLike,
    params: Arrays,
    table: ArrayLike,
    codes: ArrayLike,
    values: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
    """Gradients of `lenet5_1998`.

    Parameters
    ----------
    dpenalties : array_like (N, 10)
        As returned by `mle_loss` or `map_loss`.
    params, table, codes
        As given to `lenet5_1998`.
    values : mapping of str to ndarray
        As returned by `lenet5_1998`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    grads : dict of str to ndarray of float64
        Keyed by the names of the parameters.
    """
    p, v, grads = params, values, {}
    d = rbf_backward(dpenalties, v["act6"], codes)
    d = scaled_tanh_backward(d, v["act6"])
    d, grads["f6.weight"], grads["f6.bias"] = linear_backward(d, v["flatten"], p["f6.weight"])
    d = flatten_backward(d, v["act5"].shape)
    d = scaled_tanh_backward(d, v["act5"])
    d, grads["c5.weight"], grads["c5.bias"] = conv2d_backward(d, v["act4"], p["c5.weight"])
    d = scaled_tanh_backward(d, v["act4"])
    d, grads["s4.weight"], grads["s4.bias"] = subsample2d_backward(d, v["act3"], p["s4.weight"])
    d = scaled_tanh_backward(d, v["act3"])
    d, grads["c3.weight"], grads["c3.bias"] = connected_conv2d_backward(
        d, v["act2"], p["c3.weight"], table=table
    )
    d = scaled_tanh_backward(d, v["act2"])
    d, grads["s2.weight"], grads["s2.bias"] = subsample2d_backward(d, v["act1"], p["s2.weight"])
    d = scaled_tanh_backward(d, v["act1"])
    d, grads["c1.weight"], grads["c1.bias"] = conv2d_backward(d, v["x"], p["c1.weight"])
    return d, grads


def lenet5_1998_backward_second(
    d2penalties: ArrayLike,
    dpenalties: ArrayLike,
    params: Arrays,
    table: ArrayLike,
    codes: ArrayLike,
    values: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
    """Second derivatives of `lenet5_1998`, which determine the step sizes of SDLM.

    Parameters
    ----------
    d2penalties, dpenalties : array_like (N, 10)
        Second and first derivatives of the loss with respect to the penalties. The step sizes of
        the paper are based on those of `mle_loss`.
    params, table, codes
        As given to `lenet5_1998`.
    values : mapping of str to ndarray
        As returned by `lenet5_1998`.

    Returns
    -------
    d2x : ndarray of float64 (N, C, H, W)
    curvatures : dict of str to ndarray of float64
        Keyed by the names of the parameters.

    References
    ----------
    LeCun et al. (1998), eq. 23 to 27.
    """
    p, v, h = params, values, {}
    d2 = rbf_backward_second(d2penalties, v["act6"], codes, dpenalties)
    d2 = scaled_tanh_backward_second(d2, v["act6"])
    d2, h["f6.weight"], h["f6.bias"] = linear_backward_second(d2, v["flatten"], p["f6.weight"])
    d2 = flatten_backward(d2, v["act5"].shape)
    d2 = scaled_tanh_backward_second(d2, v["act5"])
    d2, h["c5.weight"], h["c5.bias"] = conv2d_backward_second(d2, v["act4"], p["c5.weight"])
    d2 = scaled_tanh_backward_second(d2, v["act4"])
    d2, h["s4.weight"], h["s4.bias"] = subsample2d_backward_second(d2, v["act3"], p["s4.weight"])
    d2 = scaled_tanh_backward_second(d2, v["act3"])
    d2, h["c3.weight"], h["c3.bias"] = connected_conv2d_backward_second(
        d2, v["act2"], p["c3.weight"], table=table
    )
    d2 = scaled_tanh_backward_second(d2, v["act2"])
    d2, h["s2.weight"], h["s2.bias"] = subsample2d_backward_second(d2, v["act1"], p["s2.weight"])
    d2 = scaled_tanh_backward_second(d2, v["act1"])
    d2, h["c1.weight"], h["c1.bias"] = conv2d_backward_second(d2, v["x"], p["c1.weight"])
    return d2, h
