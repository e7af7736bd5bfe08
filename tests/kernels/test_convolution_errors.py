"""Errors of the convolutions: invalid formats, paddings, gradients and shapes.

tests/kernels/test_functional_errors.py has what all functions refuse.
"""

import re

import numpy as np
import pytest

from lenet5c import kernels

X, WEIGHT, DY = (2, 4, 6, 5), (6, 4, 3, 3), (2, 6, 4, 3)
SHAPES = {
    "conv2d": (X, WEIGHT),
    "conv2d_backward": (DY, X, WEIGHT),
    "conv_transpose2d": (DY, WEIGHT),
    "conv_transpose2d_backward": (X, DY, WEIGHT),
    "conv1d": ((2, 4, 5), (6, 4, 3)),
    "conv1d_backward": ((2, 6, 3), (2, 4, 5), (6, 4, 3)),
    "conv_transpose1d": ((2, 6, 3), (6, 4, 3)),
    "conv_transpose1d_backward": ((2, 4, 5), (2, 6, 3), (6, 4, 3)),
}
FORWARD = [name for name in SHAPES if not name.endswith("backward")]
BACKWARD = [name for name in SHAPES if name.endswith("backward")]


def call(name, shapes=(), **options):
    """Call a function on zeros of the default shapes, or the given ones."""
    shapes = {**dict(enumerate(SHAPES[name])), **dict(shapes)}
    return getattr(kernels, name)(*map(np.zeros, shapes.values()), **options)


def refuses(words, name, *arguments, error=ValueError, **options):
    with pytest.raises(error) as caught:
        call(name, *arguments, **options)
    assert re.search(words, str(caught.value)), caught.value


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_are_valid(name):
    call(name)


@pytest.mark.parametrize("name", SHAPES)
class TestSettings:
    def test_data_format(self, name):
        right, wrong = ("NCHW", "NCW") if "2d" in name else ("NCW", "NCHW")
        for value in (wrong, "nchw", None, 1, ["N", "C"]):
            refuses(f'^data_format must be "{right}" or .*got ', name, data_format=value)

    def test_groups(self, name):
        for value in (0, -1, 2.0, "2", None, (1, 1)):
            refuses("^groups must be ", name, groups=value)
        refuses("^weight must have the shape .* groups 5", name, groups=5)

    def test_padding(self, name):
        for value in ("full", -1, (1, -1), ((1, 2), (3,)), 1.5, None, (1, 2, 3), 2**40):
            refuses("^padding must be ", name, padding=value)

    def test_stride_and_dilation(self, name):
        for value in (0, -1, 1.5, "2", (1, 2, 3), None):
            refuses("^stride must be ", name, stride=value)
            refuses("^dilation must be ", name, dilation=value)

    def test_num_threads(self, name):
        for value in (0, -1, 1.5, 1025):
            refuses("^num_threads must be ", name, num_threads=value)


@pytest.mark.parametrize("name", [name for name in SHAPES if "transpose" in name])
def test_output_padding(name):
    for value in (-1, 1.5, "1", (1, 2, 3)):
        refuses("^output_padding must be (an|made of) integer", name, output_padding=value)
    for options in ({}, {"stride": 2}, {"dilation": 2}):
        refuses("^output_padding must be less than", name, output_padding=2, **options)


@pytest.mark.parametrize("name", ["conv_transpose2d", "conv_transpose1d"])
def test_padding_that_leaves_nothing(name):
    refuses("^padding must leave at least one of the .* got 3", name, padding=3)


@pytest.mark.parametrize("name", FORWARD)
class TestShapes:
    def test_x(self, name):
        axes = 2 if "2d" in name else 1
        for shape in ((), (4,), (1, 1, *SHAPES[name][0])):
            refuses(f"^x must have the {axes + 2} dimensions N.*, or {axes + 1}", name, {0: shape})
        x = SHAPES[name][0]
        refuses("^x must not be empty", name, {0: (*x[:-1], 0)})
        refuses("^weight must have .* 7 channels C of x", name, {0: (2, 7, *x[2:])})

    def test_weight(self, name):
        weight = SHAPES[name][1]
        form = r"\(C, O / groups, K" if "transpose" in name else r"\(O, C / groups, K"
        for shape in (weight[1:], (*weight, 1), (0, *weight[1:]), (*weight[:-1], 0)):
            refuses(f"^weight must have the shape {form}.*got", name, {1: shape})
        last = "NHWC" if "2d" in name else "NWC"
        refuses(r"^weight must .* \(K.* / groups, .\), got", name, {1: (3, 3)}, data_format=last)

    def test_bias(self, name):
        for shape in ((), (3,), (6, 1), (1, 6)):
            refuses(r"^bias must have the shape \(\d,\), got", name, {2: shape})

    def test_out(self, name):
        y = call(name)
        refuses("^out must have the shape", name, out=y[0])
        refuses("^out must have the dtype", name, out=y.astype("f4"), error=TypeError)

    def test_none(self, name):
        arrays = [np.zeros(shape) for shape in SHAPES[name]]
        for i, argument in enumerate(("x", "weight")):
            given = [None if k == i else array for k, array in enumerate(arrays)]
            with pytest.raises(TypeError, match=f"^{argument} must be an array"):
                getattr(kernels, name)(*given)


@pytest.mark.parametrize("name", BACKWARD)
class TestGradients:
    def test_need(self, name):
        for value in ((), "dx", ("dx", "dy"), [1], {"weight"}, None, 1, "dxdweight"):
            refuses('^need must have one or more of "dx", "dweight" and "dbias"', name, need=value)

    def test_a_shape_that_is_needed(self, name):
        dy, x, weight = (np.zeros(shape) for shape in SHAPES[name])
        function = getattr(kernels, name)
        with pytest.raises(TypeError, match="^x must be an array for dweight, got the shape"):
            function(dy, x.shape, weight)
        with pytest.raises(TypeError, match="^weight must be an array for dx, got the shape"):
            function(dy, x, weight.shape, need=("dx",))
        with pytest.raises(ValueError, match="^dy must have the shape"):
            function(dy, (3, *x.shape[1:]), weight, need=("dx",))
        with pytest.raises(ValueError, match="^x must"):
            function(dy, (), weight, need=("dx",))

    def test_dy(self, name):
        dy = SHAPES[name][0]
        for shape in (dy[1:], (*dy[:-1], dy[-1] + 1), (3, *dy[1:])):
            refuses(r"^dy must have the shape .* got", name, {0: shape})

    def test_out(self, name):
        dx, dweight, dbias = call(name)
        for outs in ((), (dx,), (dx, dweight), (dx, dweight, dbias, None), dx):
            refuses("^out must (have|be).* three", name, out=outs)
        refuses(r"^out\[0\] must be None", name, out=(dx, None, None), need=["dbias"])
        refuses(r"^out\[1\] must have the shape", name, out=(None, dweight[0], None))
        refuses(
            "^out must hold arrays that do not overlap",
            name,
            out=(None, dweight, dweight.ravel()[: len(dbias)]),
        )


@pytest.mark.parametrize("out", [3, "abc", np.zeros(3), (None, None)])
def test_outputs_that_are_no_three(out):
    with pytest.raises(ValueError, match="out must have three elements, for dx, dweight and dbias"):
        call("conv2d_backward", out=out)


@pytest.mark.parametrize("shape", [(-2, 4, 6, 5), (2, 0, 6, 5), (2, 4, -6, 5), (2, 4, 6, 0)])
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match="x must be a shape with sizes of at least 1"):
        kernels.conv2d_backward(np.zeros(DY), shape, np.zeros(WEIGHT), need=["dx"])
