"""Topics of `same_bits.py` and their data: integer inputs, passes, training."""

import numpy as np

from lenet5c import nn

FEW = 20  # samples: one full tile and a short one
MANY = 300  # more tiles than gradient shards


def whole_numbers(shape, seed, low, high):
    """Return integers from low to high - 1, hashes of their positions (MurmurHash3 finalizer)."""
    x = np.arange(np.prod(shape), dtype=np.uint32) + np.uint32(seed * 2654435761 % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return low + (x % np.uint32(high - low)).astype(np.int64).reshape(shape)


def numbers(shape, seed):
    """Return float32 from -2 to 2 in steps of 2^-20: exact numbers with inexact products."""
    return (whole_numbers(shape, seed, -(2**21), 2**21) * 2.0**-20).astype(np.float32)


def steps(shape, seed):
    """Return float32 from -2 to 2 in steps of 1/4, with many ties and zeros."""
    return (whole_numbers(shape, seed, -8, 9) / 4).astype(np.float32)


def special(count):
    """Return signed zeros, denormals, infinities, NaN and the limits of exp, in every lane."""
    values = [
        0.0,
        -0.0,
        2.0**-149,
        -(2.0**-149),
        2.0**-127,
        -(2.0**-130),
        2.0**-126,
        np.inf,
        -np.inf,
        np.nan,
        1,
        -1,
        0.625,
        -0.625,
        44,
        -44,
        87,
        -87,
        87.25,
        88.25,
        88.5,
        -87.5,
        -88.5,
        104,
        -104,
        2.0**127,
        -(2.0**127),
        2.0**-20,
        -(2.0**-20),
        16.5,
        -16.5,
    ]
    return np.resize(np.array(values, np.float32), (FEW, count))


TOPICS = {}


def topic(function):
    TOPICS[function.__name__.replace("_", " ")] = function
    return function


def both_ways(layer, x, seed):
    """Yield a layer's output and all its gradients, for one sample and for all of x."""
    for array in layer.params.values():
        seed += 1
        array[...] = numbers(array.shape, seed)
    for batch in (x[:1], x):
        y = layer.forward(batch, training=True)
        yield y
        yield layer.backward(numbers(y.shape, seed + 50))
        yield from layer.grads.values()


def trained(model, image, make, batch, loss, distort=None):
    """Yield gradients and parameters of three steps on indexed bytes, and the final outputs."""
    model.vector[:] = numbers(model.num_params, 900) / 16
    optimizer = make(model)
    samples = whole_numbers((batch + 5, *image), 901, 0, 256).astype(np.uint8)
    labels = whole_numbers(batch, 902, 0, 10)
    scale, offset = 2.0**-7 + 2.0**-20, numbers(image, 903)
    for step in range(3):
        index = whole_numbers(batch, 904 + step, 0, batch + 5)
        batch_of = nn.Samples(samples, index, scale, offset, distort)
        yield from model.train_step(batch_of, labels, loss)
        yield model.grad_vector
        optimizer.step()
        yield model.vector
    yield model.outputs(nn.Samples(samples, None, scale, offset))
