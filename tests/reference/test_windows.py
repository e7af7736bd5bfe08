"""The number of windows, and their positions."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import reference
from lenet5c.reference import windows


@pytest.mark.parametrize(
    "size, kernel_size, stride, padding, dilation",
    [(5, 5, 1, 0, 1), (7, 3, 2, 0, 1), (8, 3, 2, 1, 1), (9, 2, 3, 1, 4), (1, 3, 1, 1, 1)],
)
def test_as_many_as_fit(size, kernel_size, stride, padding, dilation):
    starts = range(-padding, size + padding, stride)
    fitting = [at for at in starts if at + dilation * (kernel_size - 1) < size + padding]
    settings = (size, kernel_size, stride, padding, dilation)
    assert reference.output_shape(*settings) == (len(fitting), len(fitting))


def test_axes_are_apart():
    assert reference.output_shape((7, 9), (3, 2), (2, 3), (1, 0), (1, 4)) == (4, 2)
    assert reference.output_shape(7, 3) == (5, 5)
    assert reference.pair((4, 5)) == (4, 5) and reference.pair(4) == (4, 4)


def test_the_last_window_ends_in_the_image():
    rows, columns = np.mgrid[:9, :8]
    x = (10.0 * rows + columns)[None, None]
    at = windows.window(2, 1, kernel_size=(3, 2), stride=(2, 3), dilation=(2, 4))
    assert_array_equal(x[at], [[[[43, 47], [63, 67], [83, 87]]]])


def test_unpad_takes_the_border_off_again():
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    padded = windows.pad(x, (2, 1))
    assert padded.shape == (1, 1, 7, 6) and padded.sum() == x.sum()
    assert_array_equal(windows.unpad(padded, (2, 1)), x)
