"""ONNX's operator tests, each as one call of a kernel, a loss or a layer.

What no call expresses is listed, with the reason.
"""

from importlib import import_module
from math import prod

import numpy as np
import pytest
from numpy.testing import assert_allclose
from one_test import in_one_test

from lenet5c import kernels, nn

pytest.importorskip("onnx")
from onnx.backend.test.case import node as onnx_cases
from onnx.helper import get_attribute_value

# Modules of ONNX's tests: collecting all of them takes ten seconds.
MODULES = (
    *("averagepool", "col2im", "conv", "convtranspose", "flatten", "gelu", "globalaveragepool"),
    *("globalmaxpool", "leakyrelu", "logsoftmax", "maxpool", "negativeloglikelihoodloss", "relu"),
    *("sigmoid", "softmax", "softmax_cross_entropy_loss", "tanh"),
)
RTOL, ATOL = 2e-6, 1e-6
# Cases whose results ONNX has to four digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}


class NotExpressed(Exception):
    """Raised if no call is equivalent to an operator, with the reason."""


class Pads:
    """Return the ONNX settings of a window for an image of `shape`, with one or two axes."""

    def __init__(self, settings, shape, kernel_size):
        self.axes = len(shape)
        if self.axes > 2:
            raise NotExpressed("there are no forms for images of three axes")
        self.kernel_size = kernel_size
        self.stride = settings.get("strides", [1] * self.axes)
        self.dilation = settings.get("dilations", [1] * self.axes)
        pads = settings.get("pads", [0] * 2 * self.axes)
        pads = list(zip(pads[: self.axes], pads[self.axes :], strict=True))
        auto = settings.get("auto_pad", b"NOTSET").decode()
        if auto == "SAME_LOWER":  # the odd pixel before the image, where "same" has it after
            windows = zip(shape, kernel_size, self.stride, self.dilation, strict=True)
            totals = [max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in windows]
            pads = [(total - total // 2, total // 2) for total in totals]
        self.padding = {"SAME_UPPER": "same", "VALID": "valid"}.get(auto, tuple(pads))

    @property
    def window(self):
        """Return the settings with the names of the kernels."""
        plain = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return {
            name: value if isinstance(value, str) else tuple(value) for name, value in plain.items()
        }


def named(name, axes):
    return getattr(kernels, f"{name}{axes}d")


def conv(x, weight, bias=None, *, group=1, **settings):
    pads = Pads(settings, x.shape[2:], weight.shape[2:])
    return named("conv", pads.axes)(x, weight, bias, groups=group, **pads.window)


def conv_transpose(x, weight, bias=None, *, group=1, output_padding=None, **settings):
    pads = Pads(settings, x.shape[2:], weight.shape[2:])
    output_padding = output_padding or [0] * pads.axes
    if wanted := settings.get("output_shape"):
        windows = zip(
            *(x.shape[2:], pads.kernel_size, pads.stride, pads.dilation, output_padding, wanted),
            strict=True,
        )
        rest = [(n - 1) * s + d * (k - 1) + 1 + more - w for n, k, s, d, more, w in windows]
        output_padding = [more + max(0, -r) for more, r in zip(output_padding, rest, strict=True)]
        pads.padding = [(max(0, r) - max(0, r) // 2, max(0, r) // 2) for r in rest]
    return named("conv_transpose", pads.axes)(
        *(x, weight, bias), groups=group, output_padding=tuple(output_padding), **pads.window
    )


def pool(name, x, kernel_shape, settings, **more):
    pads = Pads(settings, x.shape[2:], kernel_shape)
    ceil = bool(settings.get("ceil_mode", 0))
    return named(name, pads.axes)(x, tuple(kernel_shape), ceil_mode=ceil, **pads.window, **more)


def max_pool(x, *, outputs, kernel_shape, storage_order=0, **settings):
    if outputs == 1:
        return pool("max_pool", x, kernel_shape, settings)
    y, indices = pool("max_pool", x, kernel_shape, settings, return_indices=True)
    # ONNX counts through the whole batch, by columns first if `storage_order` is 1.
    height, width = x.shape[2:]
    if storage_order:
        indices = indices % width * height + indices // width
    planes = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], 1, 1)
    return y, indices + planes * height * width


def avg_pool(x, *, kernel_shape, count_include_pad=0, **settings):
    count = bool(count_include_pad)
    return pool("avg_pool", x, kernel_shape, settings, count_include_pad=count)


def col2im(columns, image_shape, block_shape, **settings):
    pads = Pads(settings, image_shape, block_shape)
    image, block = tuple(image_shape.tolist()), tuple(block_shape.tolist())
    return kernels.col2im(columns, image, block, **pads.window)


def nll(log_probabilities, target, weight=None, *, reduction=b"mean", ignore_index=-100):
    loss = nn.NLLLoss(weight, ignore_index, reduction.decode())
    return loss.value(log_probabilities, target)


def cross_entropy(logits, target, weight=None, *, outputs, reduction=b"mean", ignore_index=-100):
    loss = nn.CrossEntropyLoss(weight, ignore_index, reduction.decode()).value(logits, target)
    return (loss, kernels.log_softmax(logits, axis=1))[:outputs] if outputs > 1 else loss


def flatten(x, *, axis=1):
    if axis not in (1, 1 - x.ndim):
        raise NotExpressed("a layer keeps the axis of the batch")
    return nn.Flatten().forward(x)


# Calls by the names of operators; the first nine compute in float64, too.
EXPRESSED = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": avg_pool,
    "GlobalMaxPool": lambda x: kernels.global_max_pool2d(x),
    "GlobalAveragePool": lambda x: kernels.global_avg_pool2d(x),
    "Col2Im": col2im,
    "Softmax": lambda x, axis=-1: kernels.softmax(x, axis=axis),
    "LogSoftmax": lambda x, axis=-1: kernels.log_softmax(x, axis=axis),
    "NegativeLogLikelihoodLoss": nll,
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "Flatten": flatten,
    "LeakyRelu": lambda x, alpha=0.01: nn.LeakyReLU(alpha).forward(x),
    "Relu": lambda x: nn.ReLU().forward(x),
    "Sigmoid": lambda x: nn.Sigmoid().forward(x),
    "Tanh": lambda x: nn.Tanh().forward(x),
    "Gelu": lambda x, approximate=b"none": nn.GELU(approximate.decode()).forward(x),
}
# The number of those that a call expresses, in ONNX 1.23; other versions may have more or fewer.
COUNTS = {
    "Conv": 6,
    "ConvTranspose": 10,
    "MaxPool": 15,
    "AveragePool": 14,
    "GlobalMaxPool": 2,
    "GlobalAveragePool": 2,
    "Col2Im": 4,
    "Softmax": 7,
    "LogSoftmax": 7,
    "NegativeLogLikelihoodLoss": 18,
    "SoftmaxCrossEntropyLoss": 34,
    "Flatten": 3,
    "LeakyRelu": 3,
    "Relu": 1,
    "Sigmoid": 2,
    "Tanh": 2,
    "Gelu": 4,
}
REASONS = {
    "there are no forms for images of three axes": [
        "test_averagepool_3d_default",
        "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False",
        "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True",
        "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False",
        "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
        "test_averagepool_3d_dilations_small",
        "test_col2im_5d",
        "test_convtranspose_3d",
        "test_maxpool_3d_default",
        "test_maxpool_3d_dilations",
        "test_maxpool_3d_dilations_use_ref_impl",
        "test_maxpool_3d_dilations_use_ref_impl_large",
    ],
    "a layer keeps the axis of the batch": [
        "test_flatten_axis0",
        "test_flatten_axis2",
        "test_flatten_axis3",
        "test_flatten_negative_axis1",
        "test_flatten_negative_axis2",
        "test_flatten_negative_axis4",
    ],
}


def collect():
    """Return ONNX's cases of one node of these operators."""
    for name in MODULES:
        import_module(f"onnx.backend.test.case.node.{name}")
    nodes = {case.name: case.model.graph.node for case in onnx_cases._NodeTestCases}
    return [
        case
        for case in onnx_cases._NodeTestCases
        if len(nodes[case.name]) == 1 and nodes[case.name][0].op_type in EXPRESSED
        if "_expanded" not in case.name
    ]


CASES = collect()


def operator(case):
    return case.model.graph.node[0].op_type


def express(case, dtype=None):
    """Return the results of the call for a case, with converted float arrays."""
    node = case.model.graph.node[0]
    settings = {each.name: get_attribute_value(each) for each in node.attribute}
    if node.op_type in ("MaxPool", "SoftmaxCrossEntropyLoss"):
        settings["outputs"] = len(node.output)
    if node.op_type in ("Conv", "ConvTranspose"):
        settings.pop("kernel_shape", None)  # that of the weight
    inputs = [
        each.astype(dtype) if dtype and each.dtype.kind == "f" else each
        for each in case.data_sets[0][0]
    ]
    results = EXPRESSED[node.op_type](*inputs, **settings)
    return results if isinstance(results, tuple) else (results,)


def check(case, results):
    expected = case.data_sets[0][1]
    assert len(results) == len(expected)
    for actual, wanted in zip(results, expected, strict=True):
        assert np.shape(actual) == wanted.shape
        assert_allclose(actual, wanted, ROUNDED.get(case.name, RTOL), ATOL)


@in_one_test
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_a_node(case):
    try:
        results = express(case)
    except NotExpressed as reason:
        assert case.name in REASONS[str(reason)]
        return
    check(case, results)


@in_one_test
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if operator(case) in tuple(EXPRESSED)[:9]],
    ids=lambda case: case.name.removeprefix("test_"),
)
def test_a_node_in_float64(case):
    try:
        results = express(case, np.float64)
    except NotExpressed:
        return
    assert results[0].dtype == (np.float32 if "uint8" in case.name else np.float64)
    check(case, results)


def test_most_nodes_are_expressed():
    """All except those with three axes, and foldings of the batch."""
    left_out = {name for names in REASONS.values() for name in names}
    for name, count in COUNTS.items():
        cases = [case.name for case in CASES if operator(case) == name]
        assert len(set(cases) - left_out) >= min(count, len(cases)) > 0
