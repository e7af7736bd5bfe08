"""Convolutions by Winograd's algorithm; gradients with few or small terms."""

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program
from numpy.testing import assert_allclose
from one_test import in_one_test
from programs import TILES, each_isa

from lenet5c import reference
from lenet5c.kernels.engine import lowering, ops

# Image, filters, what `ops.Conv2d` takes beside.
CONVOLUTIONS = [
    ((6, 14, 14), 16, {"kernel_size": (5, 5)}),
    ((8, 9, 12), 10, {"kernel_size": (3, 5), "groups": 2, "dilation": (2, 1)}),
    ((4, 6, 10), 5, {"kernel_size": (6, 5)}),
    ((5, 4, 15), 4, {"kernel_size": (2, 5)}),
    ((4, 5, 7), 6, {"kernel_size": (3, 5)}),
    ((9, 7, 10), 11, {"kernel_size": (3, 3)}),
    ((32, 8, 9), 18, {"kernel_size": (3, 3), "groups": 2}),
]
BATCH = 37  # two tiles and a short one

each_convolution = pytest.mark.parametrize("image, filters, options", CONVOLUTIONS)


def weight_gradient(isa, x, dy, options):
    """Return the weight gradient, and the reference's, and that of the magnitudes of all terms."""
    groups = options.get("groups", 1)
    shape = dy.shape[1], x.shape[1] // groups, *options["kernel_size"]
    layer = ops.Conv2d(0, None, dy.shape[1], **options)
    program = Program(lowering.lower(x.shape[1:], [layer]), TILES[isa])
    weight, grads = np.ones((2, *shape), np.float32)
    results = []
    for num_threads in (1, 3):
        rows = (array.reshape(BATCH, -1) for array in (x, dy))
        program.backward(*rows, weight.ravel(), grads.ravel(), None, num_threads)
        results.append(grads.copy())
    assert results[0].tobytes() == results[1].tobytes()
    window = {name: value for name, value in options.items() if name != "kernel_size"}
    expected, terms = (
        reference.conv2d_backward(*arrays, weight, **window)[1]
        for arrays in ((dy, x), (abs(dy), abs(x)))
    )
    return grads, expected, terms


def draw(image, filters, options):
    """Return x as after a ReLU, and dy."""
    rng = np.random.default_rng(0)
    (height, width), (DH, DW) = options["kernel_size"], options.get("dilation", (1, 1))
    size = image[1] - (height - 1) * DH, image[2] - (width - 1) * DW
    x = rng.standard_normal((BATCH, *image), np.float32).clip(0)
    return x, rng.standard_normal((BATCH, filters, *size), np.float32)


@in_one_test
@each_isa
@each_convolution
@pytest.mark.parametrize("count", [1, 2, 4])
def test_gradients_without_terms_are_zero(isa, image, filters, options, count):
    x, dy = draw(image, filters, options)
    by_map = dy.swapaxes(0, 1).copy().reshape(filters, -1)
    by_map[:, count:] = 0
    by_map = np.random.default_rng(1).permuted(by_map, axis=1)
    dy = by_map.reshape(dy.swapaxes(0, 1).shape).swapaxes(0, 1).copy()
    grads, expected, terms = weight_gradient(isa, x, dy, options)
    assert 0 < np.mean(terms == 0) < 1
    assert not grads[terms == 0].any()
    assert_allclose(grads, expected, rtol=0, atol=1e-5 * terms.max())


@in_one_test
@each_isa
@each_convolution
def test_small_gradients_beside_large_ones_keep_their_digits(isa, image, filters, options):
    x, dy = draw(image, filters, options)
    x[..., :2] *= np.float32(1e-8)
    dy[..., 1:] = 0  # taps 0 and 1 see the small columns alone
    grads, expected, terms = weight_gradient(isa, x, dy, options)
    assert np.all(abs(grads - expected) <= 1e-5 * terms)
