"""Plans of the direct convolution: strips cover the output once, with bounded scratch."""

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.kernels.direct import strips

ROWS = 4  # of 16 results, in the works at a time

# units, groups, in_shape and out_shape of a unit, window; threads
SHAPES = [
    (1, 1, (64, 56, 56), (64, 56, 56), ((3, 3), (1, 1), (1, 1), (1, 1))),
    (1, 1, (3, 2000, 3000), (64, 1000, 1500), ((7, 7), (2, 2), (3, 3), (1, 1))),
    (8, 4, (2, 300, 301), (2, 296, 99), ((5, 5), (1, 3), (0, 0), (1, 1))),
    (1, 1, (512, 7, 7), (512, 7, 7), ((3, 3), (1, 1), (2, 2), (2, 2))),
    (1, 1, (4, 9, 9), (4, 5, 5), ((1, 1), (2, 2), (0, 0), (1, 1))),
]


def phases(shape, purpose, threads=1, dtype="f", layout="NCHW", axis=None):
    return strips.plan(dtype, purpose, *shape, threads, layout, axis).phases


@in_one_test
@pytest.mark.parametrize("threads", [1, 2, 64])
@pytest.mark.parametrize("axis", ["channels", "units", "pixels"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scratch_is_bounded(shape, dtype, layout, axis, threads):
    purposes = ["dx"] if axis == "pixels" else ["y", "dx", "dweight"]
    for purpose in purposes:
        for at in phases(shape, purpose, threads, dtype, layout, axis):
            rows = min(ROWS, at["rows"])
            vectors = at["strip"] * at["grid"][1]
            if axis == "pixels":
                vectors = vectors // at["lanes"]
            scratch = at["strip_size"] + rows * vectors * at["lanes"]
            assert at["strip"] == 1 or scratch * 16 // at["lanes"] <= strips.STRIP_FLOATS
            assert (at["strips"] - 1) * at["strip"] < at["grid"][0] <= at["strips"] * at["strip"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_phases_cover_the_input_once(shape):
    all_phases = phases(shape, "dx")
    covered = np.zeros(shape[2][1:], int)
    for at in all_phases:
        (top, left), (down, right) = at["y_start"], at["y_step"]
        covered[top::down, left::right] += 1
        assert at["grid"] == covered[top::down, left::right].shape
    assert np.all(covered == 1)
    assert sum(at["taps"][0] for at in all_phases if at["y_start"][1] == 0) == shape[4][0][0]
