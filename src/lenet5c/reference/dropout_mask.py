"""Dropout: random elements are set to 0 in each training step.

The mask is drawn separately, so that both passes use the same one.
"""

from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.reference._arrays import Array, float64


def draw_dropout_mask(shape: tuple[int, ...], p: float, seed: int, passes: int = 0) -> Array:
    """Draw the mask: 0 for dropped elements, and the scaling factor for all others.

    ::

        mask = 0 with probability p, else 1 / (1 - p)

    so that the mean of mask * x is x. There is no sequence of random numbers: element e of sample n
    has its own random number, a hash of its position, so it does not depend on the order of
    computation.

    ::

        key[n] = hash64(hash64(seed, passes), n)
        number[n, e] = mix(mix(e * 0x9e3779b9 + low half of key[n]) ^ high half of key[n])
        mask[n, e] = 0 where number[n, e] < p 2^32

    Parameters
    ----------
    shape : tuple of int
        The shape of a batch (N, ...).
    p : float
        At least 0 and less than 1.
    seed : int
    passes : int
        Training passes before this one.

    Returns
    -------
    ndarray of float64, of this shape

    References
    ----------
    Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting,
    section 4; divided by 1 - p in training instead of multiplied by it afterward, as in
    `torch.nn.Dropout`. Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.draw_dropout_mask((2, 4), p=0.5, seed=0)
    array([[0., 0., 0., 0.],
           [2., 0., 2., 0.]])
    """
    samples = np.arange(shape[0], dtype=np.uint64)
    elements = np.arange(prod(shape[1:]), dtype=np.uint32)
    stream = _hash64(np.array([seed], np.uint64), np.array([passes], np.uint64))
    keys = _hash64(stream, samples)
    low, high = keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.uint32)
    numbers = _mix(elements * np.uint32(0x9E3779B9) + low[:, None])
    numbers = _mix(numbers ^ high[:, None])
    return np.where(numbers < np.uint32(p * 2**32), 0, 1 / (1 - p)).reshape(shape)


def _hash64(stream: NDArray[np.uint64], number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 bits for each number of a stream (splitmix64; Steele, Lea and Flood, 2014)."""
    z = stream + (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix(z: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return 32 bits that each depend on all bits of z, one to one (Wellons' lowbias32)."""
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D)
    z = (z ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B)
    return z ^ (z >> np.uint32(16))


def dropout(x: ArrayLike, mask: ArrayLike) -> Array:
    """Zero the dropped elements and scale the others: y = mask * x.

    Parameters
    ----------
    x, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    x, mask = float64(x, mask)
    return mask * x


def dropout_backward(dy: ArrayLike, mask: ArrayLike) -> Array:
    """Gradient of `dropout`: dx = mask * dy.

    Parameters
    ----------
    dy, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of dy
    """
    dy, mask = float64(dy, mask)
    return mask * dy


def dropout_backward_second(d2y: ArrayLike, mask: ArrayLike) -> Array:
    """Second derivatives of `dropout`: d2x = mask^2 * d2y.

    Parameters
    ----------
    d2y, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of d2y
    """
    d2y, mask = float64(d2y, mask)
    return mask**2 * d2y
